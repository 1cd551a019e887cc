"""The offices behind the portals: what happens at each portal during a simulated run, and what should become of it."""
