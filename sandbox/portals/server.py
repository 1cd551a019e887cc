"""The HTTP server under every simulated portal: it runs in a thread of its own, records requests, carries out faults.

A portal subclasses `SimulatedPortal`, names its routes, and answers with `web.Response` or, for a body that should
not be held in memory, `StreamedResponse`. A handler must not prepare and write an answer by itself: only an answer
that is handed back can be lost, cut short or recorded before the client sees it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.portals.faults import DEFAULT_SERVER_ERROR_STATUS, Fault, Faults, Kind

Clock = Callable[[], datetime]

CONTROL_PREFIX = "/_sandbox"
LOOPBACK = "127.0.0.1"
NO_LIMIT = 0  # aiohttp's way to say that a request body may have any size
MAX_RECORDED_REQUESTS = 10_000
SHUTDOWN_SECONDS = 1.0
START_STOP_SECONDS = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: closing sends RST instead of FIN
MAINTENANCE_PAGE = (
    "<!DOCTYPE html><html><head><title>Wartung</title></head><body><h1>Wartungsarbeiten</h1></body></html>"
)
GARBAGE = '{"data": [{"id": 1, "na'


def utc_now() -> datetime:
    """The real time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class RecordedRequest:
    """One request as the portal saw it. `status` is None when the client got no answer; header names in lower case."""

    at: datetime
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    header_names: tuple[str, ...]
    headers: Mapping[str, str]
    body_bytes: int
    status: int | None
    faults: tuple[Kind, ...]


class StreamedResponse(web.StreamResponse):
    """An answer of `size` bytes that is read from `chunks` while it is sent; nothing of it is sent for HEAD."""

    def __init__(
        self,
        chunks: Iterable[bytes] | AsyncIterable[bytes],
        *,
        size: int,
        content_type: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = size
        if content_type is not None:
            self.content_type = content_type
        self._chunks = chunks
        self._size = size
        self._allowed: int | None = None
        self._without_body = False

    def cut_in_half(self) -> None:
        """Promise the whole length, send half of it and close the connection."""
        self._allowed = self._size // 2

    async def prepare(self, request: web.BaseRequest) -> Any:
        """Send the headers (called by aiohttp)."""
        self._without_body = request.method == "HEAD"
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body (called by aiohttp)."""
        if not self._without_body:
            await self._send_body()
        await super().write_eof(data)

    async def _send_body(self) -> None:
        left = self._size if self._allowed is None else self._allowed
        async for chunk in each_chunk(self._chunks):
            await self.write(chunk[:left])
            left -= len(chunk)
            if left <= 0:
                break
        if self._allowed is not None or left > 0:
            self.force_close()


async def each_chunk(chunks: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The chunks, whichever way they come."""
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk


class SimulatedPortal:
    """What all simulated portals share: a clock, armed faults, the record of requests and one lock around the state.

    Handlers and the methods that tests call both change state, from different threads: each does so under `lock`,
    and no handler awaits while it holds it.
    """

    name: ClassVar[str] = "portal"
    recorded_headers: ClassVar[frozenset[str]] = frozenset(
        {
            "accept",
            "content-length",
            "content-type",
            "expect",
            "if-match",
            "if-none-match",
            "range",
            "transfer-encoding",
            "user-agent",
        }
    )
    """Headers whose values are recorded too, in lower case. Never one that carries a secret."""

    def __init__(self, *, clock: Clock = utc_now) -> None:
        self.clock = clock
        self.faults = Faults()
        self.requests: list[RecordedRequest] = []
        self.lock = threading.RLock()
        self.base_url = ""
        """Where this portal is served, without a slash at the end; set by `serve`."""
        self.middlewares: list[Any] = []
        """Middlewares of aiohttp that see a request, and its answer, behind recording and faults."""

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The portal's API."""
        raise NotImplementedError

    def control_routes(self) -> Sequence[web.AbstractRouteDef]:
        """Further routes below `/_sandbox`, without credentials, faults or recording."""
        return []

    def state(self) -> Mapping[str, Any]:
        """Counts of what the portal holds, for `GET /_sandbox/state`: no secrets, no contents."""
        return {}

    def expired_token(self, _request: web.Request) -> web.Response:
        """The answer to credentials that are no longer good."""
        return self.error(401, "Unauthorized")

    def error(self, status: int, message: str) -> web.Response:
        """An error as this portal words it."""
        return web.json_response({"error": message}, status=status)

    def forget_requests(self) -> None:
        """Empty the record, so that a test speaks only of what follows."""
        with self.lock:
            self.requests.clear()

    def record(self, request: RecordedRequest) -> None:
        """Keep a request, and let go of the oldest beyond the limit."""
        with self.lock:
            self.requests.append(request)
            del self.requests[:-MAX_RECORDED_REQUESTS]

    def application(self) -> web.Application:
        """The whole server: API, control routes and the middleware that records and applies faults."""
        application = web.Application(middlewares=[_middleware(self), *self.middlewares], client_max_size=NO_LIMIT)
        application.add_routes([*self.routes(), *_control_routes(self), *self.control_routes()])
        return application


# --- faults, carried out ---------------------------------------------------------------------------------------------


def _middleware(portal: SimulatedPortal) -> Any:
    """The one middleware: each request meets its faults and is recorded before its answer leaves."""

    @web.middleware
    async def meet_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(f"{CONTROL_PREFIX}/"):
            return await handler(request)
        met = portal.faults.strike(request.method, request.path)
        status: int | None = web.HTTPInternalServerError.status_code
        try:
            response = await _answer(portal, request, handler, met)
            status = None if _unanswered(met) else response.status
            return response
        finally:
            portal.record(_recorded(portal, request, status, met))

    return meet_faults


async def _answer(
    portal: SimulatedPortal, request: web.Request, handler: Handler, met: Sequence[Fault]
) -> web.StreamResponse:
    """The answer to a request after the faults it met."""
    await asyncio.sleep(sum(fault.delay_seconds for fault in met))
    fault = next((each for each in met if each.kind is not Kind.LATENCY), None)
    if fault is None:
        return await _handled(request, handler)
    match fault.kind:
        case Kind.RESET:
            return _reset(request)
        case Kind.LOST_ANSWER:
            await _handled(request, handler)
            return _reset(request)
        case Kind.TRUNCATED_BODY:
            return _cut_in_half(await _handled(request, handler))
        case _:
            return _in_place_of(portal, request, fault)


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, also when it is one that aiohttp raises. Who has hung up gets none, and no trace of it."""
    try:
        return await handler(request)
    except web.HTTPException as raised:
        return web.Response(status=raised.status, body=raised.body, headers=raised.headers)
    except ConnectionResetError:
        return web.Response(status=web.HTTPBadRequest.status_code)


def _in_place_of(portal: SimulatedPortal, request: web.Request, fault: Fault) -> web.Response:
    """The answer of a fault that keeps the request from the portal."""
    match fault.kind:
        case Kind.TOO_MANY_REQUESTS:
            response = portal.error(429, "Too Many Requests")
            response.headers["Retry-After"] = _retry_after(portal, fault)
            return response
        case Kind.EXPIRED_TOKEN:
            return portal.expired_token(request)
        case Kind.HTML_WITH_200:
            return web.Response(status=fault.status or 200, text=MAINTENANCE_PAGE, content_type="text/html")
        case Kind.GARBAGE_JSON:
            return web.Response(status=fault.status or 200, text=GARBAGE, content_type="application/json")
        case _:
            return _server_error(portal, fault)


def _server_error(portal: SimulatedPortal, fault: Fault) -> web.Response:
    status = fault.status or DEFAULT_SERVER_ERROR_STATUS
    return web.Response(status=status) if fault.empty else portal.error(status, "Internal Server Error")


def _retry_after(portal: SimulatedPortal, fault: Fault) -> str:
    """Seconds, or the instant that is so many seconds away by the portal's clock."""
    if not fault.retry_after_date:
        return str(fault.retry_after)
    return format_datetime(portal.clock() + timedelta(seconds=fault.retry_after), usegmt=True)


def _cut_in_half(response: web.StreamResponse) -> web.StreamResponse:
    """The same answer with half of its body; an answer without one stays as it is."""
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        response = StreamedResponse(
            [response.body], size=len(response.body), status=response.status, headers=response.headers
        )
    if isinstance(response, StreamedResponse):
        response.cut_in_half()
    return response


def _reset(request: web.Request) -> web.Response:
    """Break the connection so that the client sees a reset; what is handed back can reach nobody."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
    return web.Response()


def _unanswered(met: Sequence[Fault]) -> bool:
    return any(fault.kind in (Kind.RESET, Kind.LOST_ANSWER) for fault in met)


def _recorded(
    portal: SimulatedPortal, request: web.Request, status: int | None, met: Sequence[Fault]
) -> RecordedRequest:
    names = tuple(sorted({name.lower() for name in request.headers}))
    return RecordedRequest(
        at=portal.clock(),
        method=request.method,
        path=request.path,
        query=tuple(request.query.items()),
        header_names=names,
        headers={name: request.headers[name] for name in names if name in portal.recorded_headers},
        body_bytes=request.content.total_bytes,
        status=status,
        faults=tuple(fault.kind for fault in met),
    )


# --- control over HTTP -----------------------------------------------------------------------------------------------


def _control_routes(portal: SimulatedPortal) -> Sequence[web.AbstractRouteDef]:
    """Look at the portal and arm its faults from outside the process: `GET state`, `POST faults`, `DELETE faults`."""

    async def show(_: web.Request) -> web.Response:
        with portal.lock:
            counts = {"portal": portal.name, "requests": len(portal.requests), **portal.state()}
        return web.json_response({**counts, "faults": portal.faults.describe()})

    async def arm(request: web.Request) -> web.Response:
        try:
            portal.faults.add(Fault.from_json(json.loads(await request.text())))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"faults": portal.faults.describe()}, status=201)

    async def disarm(_: web.Request) -> web.Response:
        portal.faults.clear()
        return web.Response(status=204)

    faults = f"{CONTROL_PREFIX}/faults"
    return [web.get(f"{CONTROL_PREFIX}/state", show), web.post(faults, arm), web.delete(faults, disarm)]


# --- running ---------------------------------------------------------------------------------------------------------

PortalT = TypeVar("PortalT", bound=SimulatedPortal)


class RunningPortal(Generic[PortalT]):
    """A portal that answers at `base_url` until `stop()` or the end of the with-block."""

    def __init__(self, portal: PortalT, host: str, port: int) -> None:
        self.portal = portal
        self.base_url = ""
        self.port = port
        self._host = host
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"portal-{portal.name}", daemon=True)

    def start(self) -> None:
        """Listen; OSError when the port is taken."""
        self._thread.start()
        if not self._started.wait(START_STOP_SECONDS):
            raise TimeoutError(f"the simulated {self.portal.name} did not start")
        if self._failure is not None:
            self._thread.join(START_STOP_SECONDS)
            raise self._failure

    def stop(self) -> None:
        """Close all connections and free the port. Repeating it is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(START_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        """The thread: listen, serve until the loop is stopped, clean up."""
        runner = web.AppRunner(self.portal.application(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        try:
            self._loop.run_until_complete(self._listen(runner))
        except Exception as error:
            self._failure = error
        self._started.set()
        if self._failure is None:
            self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _listen(self, runner: web.AppRunner) -> None:
        """Bind, and note where. (asyncio sets TCP_NODELAY on every connection.)"""
        await runner.setup()
        await web.TCPSite(runner, self._host, self.port).start()
        self.port = int(runner.addresses[0][1])
        self.base_url = self.portal.base_url = f"http://{self._host}:{self.port}"


def serve(portal: PortalT, host: str = LOOPBACK, port: int = 0) -> RunningPortal[PortalT]:
    """Serve a portal from a daemon thread; `port` 0 takes a free one. The same portal can be served again later,
    also on the same port, and keeps its state."""
    running = RunningPortal(portal, host, port)
    running.start()
    return running
