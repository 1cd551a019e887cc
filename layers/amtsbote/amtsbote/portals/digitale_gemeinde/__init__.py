"""Digitale-Gemeinde (GemeindeConnect): forms that citizens send to a municipality, and the results that go back.

`DigitaleGemeindeClient` is the whole API, usable on its own; `PORTAL` is what the verbs use. Both are loaded when
asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amtsbote.portals.digitale_gemeinde.client import DigitaleGemeindeClient
    from amtsbote.portals.digitale_gemeinde.connection import DigitaleGemeindeSecret
    from amtsbote.portals.digitale_gemeinde.portal import PORTAL

__all__ = ["PORTAL", "DigitaleGemeindeClient", "DigitaleGemeindeSecret"]

_HOMES = {"PORTAL": "portal", "DigitaleGemeindeClient": "client", "DigitaleGemeindeSecret": "connection"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
