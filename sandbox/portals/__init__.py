"""Simulated portals: stateful, strict HTTP servers, written from the portals' own pages and from nothing of ours."""
