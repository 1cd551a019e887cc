"""Altinn: Norwegian public forms, for the owners of apps. `AltinnClient` is its API; `PORTAL` is what the verbs use.

Each is imported when first asked for, so that a function that needs the schema of the secret pays for nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amtsbote.portals.altinn.client import AltinnClient
    from amtsbote.portals.altinn.connection import AltinnSecret
    from amtsbote.portals.altinn.portal import PORTAL

__all__ = ["PORTAL", "AltinnClient", "AltinnSecret"]

_HOMES = {"PORTAL": "portal", "AltinnClient": "client", "AltinnSecret": "connection"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
