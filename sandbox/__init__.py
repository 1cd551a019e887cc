"""The whole system on one machine: an embedded AWS, the real template deployed to it, and simulated portals."""
