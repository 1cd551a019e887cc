"""The framework of the simulated portals, by a portal that only counts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected
from typing import Any

import pytest
from aiohttp import web

from sandbox.portals import server
from sandbox.portals.faults import Fault, Faults, Kind
from sandbox.portals.server import RunningPortal, SimulatedPortal, StreamedResponse, serve
from tests.sandbox.client import Answer, ask, ask_json

NOW = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
PIECE, PIECES = b"0123456789" * 100, 300
SIZE = len(PIECE) * PIECES
LARGE_BODY = b"x" * 3_000_000


class CountingPortal(SimulatedPortal):
    """Counts the requests that have had an effect."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.effects = 0
        self.received_bytes = 0

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        return [
            web.get("/json", self.count),
            web.post("/json", self.count),
            web.get("/streamed", self.stream),
            web.get("/streamed-async", self.stream_async),
            web.get("/broken", self.breaks),
            web.get("/raised", self.raises),
            web.get("/nodelay", self.nodelay),
        ]

    def state(self) -> Mapping[str, Any]:
        return {"effects": self.effects}

    def expired_token(self, request: web.Request) -> web.Response:
        return web.Response(status=401, text="gone")

    async def count(self, request: web.Request) -> web.Response:
        with self.lock:
            self.effects += 1
        self.received_bytes = len(await request.read())
        return web.json_response({"effects": self.effects})

    async def stream(self, _: web.Request) -> StreamedResponse:
        return StreamedResponse((PIECE for _ in range(PIECES)), size=SIZE, content_type="application/zip")

    async def stream_async(self, _: web.Request) -> StreamedResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(PIECES):
                yield PIECE

        return StreamedResponse(pieces(), size=SIZE)

    async def breaks(self, _: web.Request) -> web.Response:
        raise ZeroDivisionError("broken on purpose")

    async def nodelay(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        connection = request.transport.get_extra_info("socket")
        return web.json_response(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def raises(self, _: web.Request) -> web.Response:
        raise web.HTTPConflict(text="held by another")


@pytest.fixture
def running() -> Iterator[RunningPortal[CountingPortal]]:
    with serve(CountingPortal()) as portal:
        yield portal


def get(running: RunningPortal[CountingPortal], path: str = "/json") -> Answer:
    return ask(running.port, "GET", path)


# --- serving ---


def test_it_answers_at_its_base_url(running: RunningPortal[CountingPortal]) -> None:
    assert running.base_url == running.portal.base_url == f"http://127.0.0.1:{running.port}"
    assert get(running).json() == {"effects": 1}


def test_after_stop_nobody_listens_and_the_same_port_and_state_serve_again() -> None:
    portal = CountingPortal()
    with serve(portal) as first:
        get(first)
    with pytest.raises(ConnectionRefusedError):
        get(first)
    with serve(portal, port=first.port) as second:
        assert second.port == first.port
        assert get(second).json() == {"effects": 2}


def test_stop_closes_connections_that_are_kept_alive_at_once() -> None:
    running = serve(CountingPortal())
    connection = HTTPConnection("127.0.0.1", running.port, timeout=5)
    connection.request("GET", "/json")
    connection.getresponse().read()
    started = time.monotonic()
    running.stop()
    running.stop()
    assert time.monotonic() - started < server.SHUTDOWN_SECONDS
    assert connection.sock is not None and connection.sock.recv(1) == b""
    connection.close()


def test_a_taken_port_is_told_to_the_caller(running: RunningPortal[CountingPortal]) -> None:
    with pytest.raises(OSError, match="address already in use"):
        serve(CountingPortal(), port=running.port)


@pytest.mark.parametrize("path", ["/streamed", "/streamed-async"])
def test_a_streamed_body_arrives_whole_and_is_not_sent_for_head(
    running: RunningPortal[CountingPortal], path: str
) -> None:
    answer, head = get(running, path), ask(running.port, "HEAD", path)
    assert answer.body == PIECE * PIECES
    assert head.body == b"" and head.headers["content-length"] == str(SIZE)


def test_a_request_body_may_be_large(running: RunningPortal[CountingPortal]) -> None:
    assert ask(running.port, "POST", "/json", body=LARGE_BODY).status == 200
    assert running.portal.received_bytes == len(LARGE_BODY)


def test_who_hangs_up_in_the_middle_of_a_body_leaves_no_trace_on_the_screen(
    running: RunningPortal[CountingPortal], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as line:
        line.sendall(b"POST /json HTTP/1.1\r\nHost: portal\r\nContent-Length: 1000\r\n\r\nonly this")
        while running.portal.effects == 0:
            time.sleep(0.01)
    assert get(running).status == 200
    while len(running.portal.requests) < 2:
        time.sleep(0.01)
    assert caplog.records == []


def test_connections_do_not_wait_for_full_packets(running: RunningPortal[CountingPortal]) -> None:
    assert get(running, "/nodelay").json() != 0


# --- recording ---


def test_a_request_is_recorded_before_its_answer_arrives(running: RunningPortal[CountingPortal]) -> None:
    secret = {"Authorization": "Basic c2VjcmV0", "Content-Type": "text/plain", "X-Own": "1"}
    ask(running.port, "POST", "/json?a=1&a=2&b=%C3%BC", body=b"12345", headers=secret)
    (recorded,) = running.portal.requests
    assert (recorded.method, recorded.path, recorded.status) == ("POST", "/json", 200)
    assert recorded.query == (("a", "1"), ("a", "2"), ("b", "ü"))
    assert {"authorization", "x-own"} <= set(recorded.header_names)
    assert recorded.headers["content-type"] == "text/plain"
    assert "authorization" not in recorded.headers
    assert (recorded.body_bytes, recorded.at) == (5, NOW)


def test_what_a_handler_raises_is_recorded_with_its_status(running: RunningPortal[CountingPortal]) -> None:
    assert [get(running, path).status for path in ("/broken", "/raised", "/nowhere")] == [500, 409, 404]
    assert [recorded.status for recorded in running.portal.requests] == [500, 409, 404]


def test_the_record_is_bounded(running: RunningPortal[CountingPortal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_RECORDED_REQUESTS", 3)
    for number in range(5):
        get(running, f"/json?n={number}")
    assert [recorded.query for recorded in running.portal.requests] == [(("n", str(n)),) for n in (2, 3, 4)]
    running.portal.forget_requests()
    assert running.portal.requests == []


# --- each fault ---


def arm(running: RunningPortal[CountingPortal], kind: Kind, times: int | None = 1, **options: Any) -> None:
    running.portal.faults.add(Fault(kind, times=times, **options))


def test_latency_delays_a_request_that_then_has_its_effect(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.LATENCY, delay_seconds=0.15)
    started = time.monotonic()
    assert get(running).status == 200
    assert time.monotonic() - started >= 0.15
    assert running.portal.requests[0].faults == (Kind.LATENCY,)


def test_too_many_requests_in_seconds(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.TOO_MANY_REQUESTS, retry_after=7)
    answer = get(running)
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert running.portal.effects == 0


def test_too_many_requests_as_an_http_date_of_the_portals_clock(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.TOO_MANY_REQUESTS, retry_after=7, retry_after_date=True)
    header = get(running).headers["retry-after"]
    assert header.endswith("GMT")
    assert parsedate_to_datetime(header) == NOW + timedelta(seconds=7)


def test_a_server_error_with_json_and_one_without_a_body(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.SERVER_ERROR)
    arm(running, Kind.SERVER_ERROR, status=503, empty=True)
    first, second = get(running), get(running)
    assert first.status == 500 and "error" in first.json()
    assert (second.status, second.body) == (503, b"")
    assert running.portal.effects == 0


def test_a_reset_comes_before_the_effect(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.RESET)
    with pytest.raises(ConnectionResetError) as reset:
        get(running)
    assert not isinstance(reset.value, RemoteDisconnected), "closed in good order, not reset"
    assert running.portal.effects == 0
    assert running.portal.requests[0].status is None


def test_a_lost_answer_comes_after_the_effect(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.LOST_ANSWER)
    with pytest.raises(ConnectionResetError):
        get(running)
    assert running.portal.effects == 1
    assert running.portal.requests[0].status is None
    assert get(running).json() == {"effects": 2}


@pytest.mark.parametrize(("path", "size"), [("/json", 14), ("/streamed", SIZE), ("/streamed-async", SIZE)])
def test_a_truncated_body_promises_the_whole_and_sends_half(
    running: RunningPortal[CountingPortal], path: str, size: int
) -> None:
    arm(running, Kind.TRUNCATED_BODY)
    with pytest.raises(IncompleteRead) as cut:
        get(running, path)
    assert len(cut.value.partial) == size // 2
    assert cut.value.expected == size - size // 2


def test_an_error_is_truncated_like_any_body(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.TRUNCATED_BODY)
    with pytest.raises(IncompleteRead):
        get(running, "/raised")
    assert running.portal.requests[0].status == 409


def test_a_maintenance_page_looks_like_success(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.HTML_WITH_200)
    answer = get(running)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html")
    assert b"<html>" in answer.body and running.portal.effects == 0


def test_an_expired_token_is_answered_as_the_portal_words_it(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.EXPIRED_TOKEN)
    answer = get(running)
    assert (answer.status, answer.body, running.portal.effects) == (401, b"gone", 0)


def test_garbage_says_json_and_is_none(running: RunningPortal[CountingPortal]) -> None:
    arm(running, Kind.GARBAGE_JSON)
    answer = get(running)
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/json")
    with pytest.raises(json.JSONDecodeError):
        answer.json()


# --- which requests meet a fault ---


def struck(faults: Faults, requests: int, method: str = "GET", path: str = "/a/1") -> list[bool]:
    return [bool(faults.strike(method, path)) for _ in range(requests)]


def test_a_fault_strikes_as_often_as_it_says_after_sparing_the_first() -> None:
    faults = Faults()
    faults.add(Fault(Kind.RESET, after=1, times=2))
    assert struck(faults, 5) == [False, True, True, False, False]
    assert faults.struck(Kind.RESET) == 2


@pytest.mark.parametrize(
    ("match", "strikes"),
    [
        ("GET /a/1", True),
        ("get /a/\\d+", True),
        ("* /a/.*", True),
        ("POST /a/1", False),
        ("GET /a", False),
        ("GET /a/1/b", False),
    ],
)
def test_a_match_is_a_method_and_the_whole_path(match: str, strikes: bool) -> None:
    faults = Faults()
    faults.add(Fault(Kind.RESET, match=match))
    assert struck(faults, 1) == [strikes]


def test_a_probability_is_repeated_by_its_seed() -> None:
    def run(seed: int) -> list[bool]:
        faults = Faults()
        faults.add(Fault(Kind.RESET, probability=0.5, seed=seed))
        return struck(faults, 40)

    assert run(1) == run(1) != run(2)
    assert 5 < sum(run(1)) < 35


def test_latency_combines_and_of_the_others_one_strikes_at_a_time() -> None:
    faults = Faults()
    for kind in (Kind.LATENCY, Kind.RESET, Kind.SERVER_ERROR):
        faults.add(Fault(kind, times=1))
    met = [[fault.kind for fault in faults.strike("GET", "/")] for _ in range(3)]
    assert met == [[Kind.LATENCY, Kind.RESET], [Kind.SERVER_ERROR], []]


def test_cleared_faults_strike_no_more() -> None:
    faults = Faults()
    faults.add(Fault(Kind.RESET))
    faults.clear()
    assert struck(faults, 1) == [False]


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "NONE"},
        {"match": "GET /"},
        {"kind": "RESET", "match": "GET"},
        {"kind": "RESET", "match": "GET /("},
        {"kind": "RESET", "probability": 2},
        {"kind": "RESET", "unknown": 1},
        {"kind": "RESET", "times": "many"},
        {"kind": "LATENCY", "delay_seconds": "1"},
        {"kind": "SERVER_ERROR", "status": 99},
        ["RESET"],
    ],
)
def test_a_malformed_fault_is_refused_when_it_is_armed(running: RunningPortal[CountingPortal], body: object) -> None:
    assert ask_json(running.port, "POST", "/_sandbox/faults", body).status == 400
    assert get(running).status == 200


# --- control over HTTP ---


def test_faults_are_armed_and_disarmed_over_http(running: RunningPortal[CountingPortal]) -> None:
    fault = {"kind": "SERVER_ERROR", "match": "GET /json", "status": 502}
    assert ask_json(running.port, "POST", "/_sandbox/faults", fault).status == 201
    assert get(running).status == 502
    assert ask(running.port, "DELETE", "/_sandbox/faults").status == 204
    assert get(running).status == 200


def test_the_state_shows_counts_and_the_control_routes_are_neither_recorded_nor_struck(
    running: RunningPortal[CountingPortal],
) -> None:
    arm(running, Kind.SERVER_ERROR, times=None)
    get(running)
    state = get(running, "/_sandbox/state").json()
    assert state == {
        "portal": "counting",
        "requests": 1,
        "effects": 0,
        "faults": [{"kind": "SERVER_ERROR", "match": "* /.*", "times": None, "struck": 1}],
    }
    assert len(running.portal.requests) == 1
