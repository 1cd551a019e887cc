"""HTTP without sockets: requests' own sessions talk to simulated portals in this process, one call at a time.

A request runs through the whole aiohttp application of its portal (routes, credentials, armed faults, record), only the
wire is left out. What a portal can do to its wire (cut a body, lose an answer) is done here.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast
from unittest.mock import Mock
from urllib.parse import urlsplit

import requests
from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from yarl import URL

from sandbox.portals.server import SimulatedPortal, StreamedResponse, each_chunk

BODY_LIMIT = 2**16
NO_LIMIT = 0


@dataclass(frozen=True)
class WireAnswer:
    """What came back: `whole` is False where the connection broke in the middle of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


class InProcessPortal:
    """One simulated portal, called directly."""

    def __init__(self, portal: SimulatedPortal, base_url: str, loop: asyncio.AbstractEventLoop) -> None:
        portal.base_url = base_url
        self.portal = portal
        self._loop = loop
        self._app = portal.application()
        self._app.freeze()

    def call(self, method: str, path_and_query: str, headers: Mapping[str, str], body: bytes) -> WireAnswer:
        """Let a request have its whole effect and return the answer."""
        return self._loop.run_until_complete(self._call(method, path_and_query, headers, body))

    async def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> WireAnswer:
        answer = await self._app._handle(self._request(method, path, headers, body))
        content, whole = await _content(answer)
        if answer.content_type and "Content-Type" not in answer.headers:
            answer.headers["Content-Type"] = answer.content_type
        answer.headers["Content-Length"] = str(_announced(answer, content))
        return WireAnswer(answer.status, dict(answer.headers), b"" if method == "HEAD" else content, whole)

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> web.Request:
        given = CIMultiDict(headers)
        given.setdefault("Host", urlsplit(self.portal.base_url).netloc)
        raw = tuple((name.encode(), value.encode("latin-1")) for name, value in given.items())
        url = URL(path, encoded=True)
        message = RawRequestMessage(
            method, path, HttpVersion11, CIMultiDictProxy(given), raw, False, None, False, False, url
        )
        return web.Request(
            message, self._payload(body), _PROTOCOL, _WRITER, _TASK, self._loop, client_max_size=NO_LIMIT
        )

    def _payload(self, body: bytes) -> StreamReader:
        payload = StreamReader(_PROTOCOL, BODY_LIMIT, loop=self._loop)
        if body:
            payload.feed_data(body)
        payload.feed_eof()
        return payload


_PROTOCOL: Any = Mock(
    _reading_paused=False, transport=None, ssl_context=None, peername=None, max_field_size=8190, max_headers=128
)  # the limits are aiohttp's own
_WRITER: Any = Mock()
_TASK: Any = Mock()


async def _content(answer: web.StreamResponse) -> tuple[bytes, bool]:
    """Return the body that reaches the client, and whether it is all of it."""
    if isinstance(answer, StreamedResponse):
        content = b"".join([chunk async for chunk in each_chunk(answer._chunks)])
        limit = answer._allowed
        return (content, True) if limit is None else (content[:limit], False)
    body = cast(web.Response, answer).body
    return (body if isinstance(body, bytes) else b""), True


def _announced(answer: web.StreamResponse, content: bytes) -> int:
    return answer._size if isinstance(answer, StreamedResponse) else len(content)


class _Body(BytesIO):
    """The body on its way to the client; `pause` lets other things happen while it is read."""

    def __init__(self, answer: WireAnswer, pause: Callable[[], None]) -> None:
        super().__init__(answer.body)
        self._whole = answer.whole
        self._pause = pause

    def read1(self, size: int | None = -1) -> bytes:
        """Return the next bytes; the connection may end before the body does."""
        self._pause()
        piece = super().read1(-1 if size is None else size)
        if not piece and not self._whole:
            raise http.client.IncompleteRead(b"", 1)
        return piece

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes (see `read1`)."""
        return self.read1(size)


Carrier = Callable[[requests.PreparedRequest, bytes], WireAnswer]


class InProcessAdapter(HTTPAdapter):
    """Carries the requests of a session: `carry` decides what becomes of each."""

    def __init__(self, carry: Carrier, pause: Callable[[], None]) -> None:
        super().__init__()
        self._carry = carry
        self._pause = pause

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        """Send a request and return the answer, whose body is read later."""
        answer = self._carry(request, body_of(request, self._pause))
        raw = HTTPResponse(
            body=_Body(answer, self._pause), headers=answer.headers, status=answer.status, preload_content=False
        )
        return self.build_response(request, raw)


def body_of(request: requests.PreparedRequest, pause: Callable[[], None]) -> bytes:
    """Return the body of a request, whichever way it is given; `pause` lets other things happen between its pieces."""
    body: Any = request.body
    if body is None or isinstance(body, bytes):
        return body or b""
    return body.encode() if isinstance(body, str) else b"".join(_in_turns(body, pause))


def _in_turns(pieces: Iterable[bytes], pause: Callable[[], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        pause()


def path_of(url: str) -> str:
    """Return path and query of an address, as a request line has them."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")
