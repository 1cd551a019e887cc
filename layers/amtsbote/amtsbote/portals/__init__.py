"""The portals, each in a folder of its own; a function imports only the one it serves."""

from importlib import import_module
from typing import cast

from amtsbote.portals.portal import Portal

NAMES = ("altinn", "digitale-gemeinde", "duba", "docxworld")


def portal_named(name: str) -> Portal:
    """Return the portal of that name; KeyError when there is none."""
    if name not in NAMES:
        raise KeyError(name)
    return cast(Portal, import_module(f"amtsbote.portals.{name.replace('-', '_')}.portal").PORTAL)
