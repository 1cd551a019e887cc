"""DUBA: court messages of EGVP mailboxes. `DubaClient` is its whole API; `PORTAL` is what the verbs use.

Both are imported when first asked for, so that a function that needs the schema of the secret pays for nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amtsbote.portals.duba.client import DubaClient
    from amtsbote.portals.duba.connection import DubaSecret
    from amtsbote.portals.duba.portal import PORTAL

__all__ = ["PORTAL", "DubaClient", "DubaSecret"]

_HOMES = {"PORTAL": "portal", "DubaClient": "client", "DubaSecret": "connection"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
