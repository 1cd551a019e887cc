"""Amtsbote carries documents between an organisation's backend and public-sector portals, each exactly once."""
