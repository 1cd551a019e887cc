"""One call of an API: who makes it, what it says, and the rule that it goes by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from multidict import MultiMapping

from sandbox.portals.server import StreamedResponse

from .bodies import nothing
from .identity import READ
from .records import Element

CHUNK_BYTES = 256 * 1024
NOT_PLAIN = re.compile(r'[^ -~]|["\\]')
"""What the plain form of a file name cannot hold: beyond ASCII, control characters, what ends a quoted string."""
INSTANCE = "/instances/{party:\\d+}/{guid}"
ELEMENT = "/data/{element}"


@dataclass(frozen=True)
class Call:
    """A request that may go ahead. `body` is what the rule's reader has read."""

    request: web.Request
    org: str
    body: Any = None

    @property
    def query(self) -> MultiMapping[str]:
        """The decoded query."""
        return self.request.query

    def named(self, name: str) -> str:
        """A variable part of the path."""
        return self.request.match_info[name]

    @property
    def instance_id(self) -> str:
        """`partyId/guid` of the path."""
        return f"{self.named('party')}/{self.named('guid')}"

    @property
    def app_id(self) -> str:
        """`org/app` of the path."""
        return f"{self.named('org')}/{self.named('app')}"


@dataclass(frozen=True)
class Rule:
    """One call of an API; `scope` None: any service owner's token will do."""

    method: str
    path: str
    handle: Callable[[Call], web.StreamResponse]
    scope: str | None = READ
    read: Callable[[web.Request], Awaitable[Any]] = nothing


def served(element: Element) -> web.StreamResponse:
    """The content of a data element, streamed, with its file name in both forms."""
    headers = {}
    if element.filename is not None:
        plain = NOT_PLAIN.sub("_", element.filename)
        encoded = quote(element.filename, safe="")
        headers["Content-Disposition"] = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
    return StreamedResponse(
        chunks_of(element), size=element.size, headers={**headers, "Content-Type": element.content_type}
    )


def chunks_of(element: Element) -> Iterable[bytes] | AsyncIterator[bytes]:
    """The content in pieces."""
    content = element.content
    if isinstance(content, Path):
        return _read(content)
    return (content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES))


async def _read(path: Path) -> AsyncIterator[bytes]:
    """A file in chunks, without keeping the loop from other requests while the disk works."""
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
