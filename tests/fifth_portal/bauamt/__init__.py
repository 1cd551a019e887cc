"""Bauamt: building applications and the office's replies. `BauamtClient` is its whole API; `PORTAL` is for the verbs.

Each is imported when it is first asked for, so that whoever needs one module of this folder pays for no other.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import BauamtClient
    from .connection import BauamtSecret
    from .portal import PORTAL

__all__ = ["PORTAL", "BauamtClient", "BauamtSecret"]

_HOMES = {"PORTAL": "portal", "BauamtClient": "client", "BauamtSecret": "connection"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
