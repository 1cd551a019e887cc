"""docxworld (profiforms): a print and output service that documents are uploaded to and results come from.

`PORTAL` is what the verbs use; `DocxworldClient` is the whole API, usable on its own. Both are loaded when asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amtsbote.portals.docxworld.client import DocxworldClient as DocxworldClient
    from amtsbote.portals.docxworld.connection import DocxworldSecret as DocxworldSecret
    from amtsbote.portals.docxworld.portal import PORTAL as PORTAL

_HOMES = {"PORTAL": "portal", "DocxworldClient": "client", "DocxworldSecret": "connection"}

__all__ = ["PORTAL", "DocxworldClient", "DocxworldSecret"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
