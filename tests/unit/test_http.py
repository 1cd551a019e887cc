"""HTTP against a real server on this machine: what is retried, what is refused, and where credentials go."""

import gzip
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Reject, Retry
from amtsbote.http import (
    CHUNK_BYTES,
    JSON_LIMIT_BYTES,
    READ_RETRIES,
    Answer,
    PortalHttp,
    Transport,
    error_of_status,
    retry_after_seconds,
)
from tests.unit.support import NOW, later

CANARY = "canary-4711-geheim"
MIB = 1024 * 1024
Handler = BaseHTTPRequestHandler
Behaviour = Callable[[Handler], None]


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Server:
    """Answers one request after the other with the behaviours that a test lays down; the last one repeats."""

    url: str = ""
    behaviours: list[Behaviour] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def does(self, *behaviours: Behaviour) -> None:
        self.behaviours = list(behaviours)

    def handle(self, handler: Handler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.asked.append(Asked(handler.command, handler.path, headers, body))
        behaviour = self.behaviours[0] if len(self.behaviours) == 1 else self.behaviours.pop(0)
        behaviour(handler)


def answers(status: int = 200, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer whole; a header's underscores stand for hyphens, an empty value leaves the header out."""

    def behaviour(handler: Handler) -> None:
        handler.send_response(status)
        fields = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in fields.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return behaviour


def says(content: Any, status: int = 200, **headers: str) -> Behaviour:
    return answers(status, json.dumps(content).encode(), Content_Type="application/json", **headers)


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


def pours(megabytes: int, status: int = 200) -> Behaviour:
    """Answer with so much, without announcing it, until the client has had enough."""

    def behaviour(handler: Handler) -> None:
        handler.send_response(status)
        handler.end_headers()
        try:
            for _ in range(megabytes):
                handler.wfile.write(b" " * MIB)
        except OSError:
            handler.close_connection = True

    return behaviour


def serving(server: Server) -> Iterator[Server]:
    class Handling(BaseHTTPRequestHandler):
        def answer(self) -> None:
            server.handle(self)

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handling)
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=lambda: listening.serve_forever(poll_interval=0.005))
    thread.start()
    yield server
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serving(Server())


@pytest.fixture
def other_server() -> Iterator[Server]:
    yield from serving(Server())


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def transport(pauses: list[float]) -> Transport:
    return Transport(Deadline(30), allow_loopback=True, sleep=pauses.append)


class Key:
    """Credentials that are `key-1` until they are renewed."""

    def __init__(self, *, renewable: bool = True) -> None:
        self.number = 1
        self._renewable = renewable

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"key-{self.number}"}

    def renew(self) -> bool:
        self.number += self._renewable
        return self._renewable


def nothing_known(_: Answer) -> AmtsboteError | None:
    return None


def portal_at(server: Server, transport: Transport, login: Any = None, translate: Any = nothing_known) -> PortalHttp:
    return PortalHttp(transport, f"{server.url}/api/", login or Key(), translate)


# --- a whole answer ---


def test_an_answer_is_brought_whole(server: Server, transport: Transport) -> None:
    server.does(says({"größe": [1.5, None]}, status=201, X_Trace="t-1"))
    answer = transport.call(
        "POST", f"{server.url}/a/b", query=[("q", "ü&x"), ("q", "2")], body=b"body", headers={"X": "1"}
    )
    assert (answer.status, answer.ok, answer.headers["x-trace"]) == (201, True, "t-1")
    assert (answer.method, answer.path, answer.json()) == ("POST", "/a/b", {"größe": [1.5, None]})
    (asked,) = server.asked
    assert (asked.path, asked.body, asked.headers["x"]) == ("/a/b?q=%C3%BC%26x&q=2", b"body", "1")


@pytest.mark.parametrize(("status", "ok"), [(200, True), (299, True), (300, False), (404, False), (500, False)])
def test_only_2xx_is_ok(status: int, ok: bool) -> None:
    assert Answer("GET", "/", status, {}, b"").ok is ok


@pytest.mark.parametrize("body", [b"<html>Wartung</html>", b"", b'{"data": [1, ', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_is_a_retry_that_shows_none_of_it(body: bytes) -> None:
    answer = Answer("GET", "/list", 200, {"Content-Type": "text/html; charset=utf-8"}, body)
    with pytest.raises(Retry) as raised:
        answer.json()
    assert raised.value.code == "PORTAL_ANSWERED_NO_JSON"
    assert raised.value.message == f"GET /list answered 200 with {len(body)} bytes of text/html"


def test_a_maintenance_page_with_200_is_a_retry(server: Server, transport: Transport) -> None:
    server.does(answers(200, b"<html>Wartung</html>", Content_Type="text/html"))
    with pytest.raises(Retry, match="PORTAL_ANSWERED_NO_JSON"):
        portal_at(server, transport).call("GET", "/list").json()


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_cut_off(server: Server, transport: Transport, status: int) -> None:
    server.does(pours(JSON_LIMIT_BYTES // MIB + 8, status))
    with pytest.raises(Retry, match="PORTAL_ANSWER_TOO_LARGE"):
        transport.call("POST", server.url)


def test_an_answer_that_unpacks_to_too_much_is_cut_off(server: Server, transport: Transport) -> None:
    bomb = gzip.compress(b" " * (JSON_LIMIT_BYTES + MIB), compresslevel=1)
    assert len(bomb) < MIB
    server.does(answers(200, bomb, Content_Encoding="gzip"))
    with pytest.raises(Retry, match="PORTAL_ANSWER_TOO_LARGE"):
        transport.call("GET", server.url)


def test_an_answer_that_is_cut_is_a_retry(server: Server, transport: Transport) -> None:
    server.does(answers(200, b"12345", Content_Length="10", Connection="close"))
    with pytest.raises(Retry, match="PORTAL_BODY_CUT"):
        transport.call("POST", server.url)


# --- retries ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "fault", [hangs_up, answers(500), answers(502), answers(504)], ids=["cut", "500", "502", "504"]
)
def test_a_read_is_tried_three_times_in_all(
    server: Server, transport: Transport, pauses: list[float], method: str, fault: Behaviour
) -> None:
    server.does(fault, fault, answers(200))
    assert transport.call(method, server.url).status == 200
    assert len(server.asked) == 1 + READ_RETRIES == 3
    assert 0.25 <= pauses[0] <= 0.75
    assert 0.5 <= pauses[1] <= 1.5


def test_a_read_that_fails_three_times_says_so(server: Server, transport: Transport) -> None:
    server.does(answers(500))
    assert transport.call("GET", server.url).status == 500
    server.does(hangs_up)
    with pytest.raises(Retry, match="PORTAL_UNREACHABLE: GET /list: ConnectionError"):
        transport.call("GET", f"{server.url}/list", query=[("token", CANARY)])
    assert len(server.asked) == 6


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_but_a_read_is_repeated(server: Server, transport: Transport, method: str) -> None:
    server.does(answers(500))
    assert transport.call(method, server.url).status == 500
    server.does(hangs_up)
    with pytest.raises(Retry, match="PORTAL_UNREACHABLE"):
        transport.call(method, server.url)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "answer", [answers(429), answers(404), answers(503, Retry_After="5"), answers(500, Retry_After="5")]
)
def test_a_read_is_not_repeated_where_the_portal_has_decided(
    server: Server, transport: Transport, answer: Behaviour
) -> None:
    server.does(answer)
    transport.call("GET", server.url)
    assert len(server.asked) == 1


def test_a_stream_is_opened_three_times_in_all(server: Server, transport: Transport) -> None:
    server.does(hangs_up, answers(500), answers(200, b"x"))
    with transport.stream("GET", server.url) as answer:
        assert b"".join(answer.chunks) == b"x"
    assert len(server.asked) == 3


# --- time ---


class Stopwatch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_after_the_deadline_nothing_is_asked(server: Server) -> None:
    with pytest.raises(OutOfTime):
        Transport(Deadline(0), allow_loopback=True).call("GET", server.url)
    assert server.asked == []


def test_a_retry_does_not_outlast_the_deadline(server: Server) -> None:
    watch = Stopwatch()

    def sleep(_: float) -> None:
        watch.seconds += 10

    server.does(answers(500))
    with pytest.raises(OutOfTime):
        Transport(Deadline(10, clock=watch), allow_loopback=True, sleep=sleep).call("GET", server.url)
    assert len(server.asked) == 1


def test_reading_stops_at_the_deadline(server: Server) -> None:
    watch = Stopwatch()
    server.does(answers(200, b"x" * 3 * CHUNK_BYTES))
    with Transport(Deadline(10, clock=watch), allow_loopback=True).stream("GET", server.url) as answer:
        next(answer.chunks)
        watch.seconds = 10
        with pytest.raises(OutOfTime):
            next(answer.chunks)


def test_a_portal_that_does_not_answer_is_left_soon_after_the_deadline(server: Server) -> None:
    done = threading.Event()

    def stalls(_: Handler) -> None:
        done.wait(5)

    server.does(stalls)
    try:
        with pytest.raises(Retry, match="PORTAL_UNREACHABLE: POST /: ReadTimeout"):
            Transport(Deadline(0.2), allow_loopback=True).call("POST", f"{server.url}/")
    finally:
        done.set()


# --- streams ---


def test_a_stream_brings_the_body_in_pieces_with_its_announced_size(server: Server, transport: Transport) -> None:
    content = bytes(range(256)) * 4096
    server.does(answers(200, content, Content_Type="application/zip"))
    with transport.stream("GET", server.url) as answer:
        pieces = list(answer.chunks)
    assert (answer.status, answer.size, answer.headers["content-type"]) == (200, len(content), "application/zip")
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_stream_that_comes_packed_all_the_same_has_no_size_and_is_whole(server: Server, transport: Transport) -> None:
    content = b"a file" * 1000
    server.does(answers(200, gzip.compress(content), Content_Encoding="gzip"))
    with transport.stream("GET", server.url) as answer:
        assert answer.size is None
        assert b"".join(answer.chunks) == content


def test_a_packed_stream_that_ends_early_is_a_retry_too(server: Server, transport: Transport) -> None:
    packed = gzip.compress(random.Random(1).randbytes(5000))
    server.does(
        answers(200, packed[:-40], Content_Encoding="gzip", Content_Length=str(len(packed)), Connection="close")
    )
    with transport.stream("GET", server.url) as answer, pytest.raises(Retry, match="PORTAL_BODY_CUT"):
        list(answer.chunks)


def test_a_stream_without_announced_size_has_none(server: Server, transport: Transport) -> None:
    server.does(answers(200, b"x", Content_Length="", Connection="close"))
    with transport.stream("GET", server.url) as answer:
        assert (answer.size, b"".join(answer.chunks)) == (None, b"x")


def test_a_stream_that_ends_early_is_a_retry_after_what_came(server: Server, transport: Transport) -> None:
    server.does(answers(200, b"12345", Content_Length="10", Connection="close"))
    with transport.stream("GET", server.url) as answer, pytest.raises(Retry, match="PORTAL_BODY_CUT"):
        list(answer.chunks)


@pytest.mark.parametrize("status", [200, 206])
def test_a_download_may_be_as_large_as_it_likes(server: Server, transport: Transport, status: int) -> None:
    server.does(pours(JSON_LIMIT_BYTES // MIB + 1, status))
    with transport.stream("GET", server.url) as answer:
        assert sum(map(len, answer.chunks)) > JSON_LIMIT_BYTES


def test_an_error_in_place_of_a_download_may_not(server: Server, transport: Transport) -> None:
    server.does(pours(JSON_LIMIT_BYTES // MIB + 8, 404))
    portal = portal_at(server, transport)
    with pytest.raises(Retry, match="PORTAL_ANSWER_TOO_LARGE"), portal.stream("/file"):
        pytest.fail("an error is no download")


# --- where a request may go ---


@pytest.mark.parametrize(
    "url", ["http://portal.example", "ftp://portal.example", "file:///etc/passwd", "portal.example", "", "https://"]
)
def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(Misconfigured, match="URL_NOT_HTTPS"):
        Transport(Deadline(30)).call("GET", url)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.8.8.8", "localhost", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "127.1", "2130706433"],
)
def test_this_machine_is_refused_as_a_portal(host: str) -> None:
    with pytest.raises(Misconfigured, match="HOST_NOT_ALLOWED"):
        Transport(Deadline(30)).call("GET", f"https://{host}:1/")


def test_where_loopback_is_allowed_other_hosts_still_need_https() -> None:
    with pytest.raises(Misconfigured, match="URL_NOT_HTTPS"):
        Transport(Deadline(30), allow_loopback=True).call("GET", "http://192.0.2.1/")


def test_a_host_that_does_not_exist_is_unreachable() -> None:
    with pytest.raises(Retry, match="PORTAL_UNREACHABLE"):
        Transport(Deadline(30)).call("POST", "https://no-such-host.invalid/")


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "[::1", "[x]"])
def test_a_host_that_cannot_exist_is_a_mistake_of_the_connection(host: str) -> None:
    with pytest.raises(Misconfigured, match="URL_INVALID"):
        Transport(Deadline(30)).call("POST", f"https://{host}/")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(
    server: Server, other_server: Server, transport: Transport, method: str, status: int
) -> None:
    server.does(answers(status, Location=f"{other_server.url}/"))
    with pytest.raises(Misconfigured, match=r"REDIRECT_REFUSED.*put the final address in baseUrl"):
        portal_at(server, transport).call(method, "/list")
    assert (len(server.asked), other_server.asked) == (1, [])


def test_credentials_go_to_the_portals_own_host(server: Server, transport: Transport) -> None:
    server.does(answers(200, b"x"))
    portal = portal_at(server, transport)
    portal.call("GET", "/list")
    with portal.stream("/file"):
        pass
    assert [(asked.path, asked.headers["authorization"]) for asked in server.asked] == [
        ("/api/list", "key-1"),
        ("/api/file", "key-1"),
    ]


@pytest.mark.parametrize(
    "path", ["https://evil.example/", "//evil.example/", "list", "", "@evil.example/", ".evil.example"]
)
def test_an_address_of_another_host_gets_no_credentials(server: Server, transport: Transport, path: str) -> None:
    portal = portal_at(server, transport)
    with pytest.raises(Reject, match="FOREIGN_URL"):
        portal.call("GET", path)
    with pytest.raises(Reject, match="FOREIGN_URL"), portal.stream(path):
        pytest.fail("a foreign address is not opened")
    assert server.asked == []


def test_a_request_of_the_transport_alone_carries_no_credentials(server: Server, transport: Transport) -> None:
    server.does(answers(200))
    portal_at(server, transport).call("GET", "/list")
    transport.call("PUT", f"{server.url}/presigned", body=b"x")
    assert "authorization" not in server.asked[1].headers


def test_one_accounts_cookie_is_not_sent_with_anothers_request(server: Server, transport: Transport) -> None:
    server.does(answers(200, Set_Cookie=f"session={CANARY}; Path=/"))
    portal_at(server, transport, Key()).call("GET", "/list")
    portal_at(server, transport, Key()).call("GET", "/list")
    assert all("cookie" not in asked.headers for asked in server.asked)


def test_the_environment_adds_neither_proxy_nor_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login x password {CANARY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.does(answers(200))
    Transport(Deadline(30), allow_loopback=True).call("POST", server.url)
    assert "authorization" not in server.asked[0].headers


# --- a portal account ---


def test_a_json_body_is_sent_as_such(server: Server, transport: Transport) -> None:
    server.does(says({}))
    portal_at(server, transport).call("POST", "/ack", json_body={"ort": "Köln"})
    assert server.asked[0].body == '{"ort": "Köln"}'.encode()
    assert server.asked[0].headers["content-type"] == "application/json"


def test_an_empty_json_body_is_sent_too(server: Server, transport: Transport) -> None:
    server.does(says({}))
    portal_at(server, transport).call("POST", "/ack", json_body={})
    assert server.asked[0].body == b"{}"


def test_a_login_cannot_be_overridden_by_a_request(server: Server, transport: Transport) -> None:
    server.does(answers(200))
    portal_at(server, transport).call("GET", "/list", headers={"Authorization": "other", "X-Role": "r"})
    assert (server.asked[0].headers["authorization"], server.asked[0].headers["x-role"]) == ("key-1", "r")


def test_after_a_401_the_login_is_renewed_once_and_the_request_repeated(server: Server, transport: Transport) -> None:
    server.does(answers(401), says([1]))
    assert portal_at(server, transport).call("POST", "/ack", json_body=[7]).json() == [1]
    assert [asked.headers["authorization"] for asked in server.asked] == ["key-1", "key-2"]
    assert [asked.body for asked in server.asked] == [b"[7]", b"[7]"]


def test_a_second_401_is_a_refused_login(server: Server, transport: Transport) -> None:
    server.does(answers(401))
    with pytest.raises(Misconfigured, match="LOGIN_REFUSED"):
        portal_at(server, transport).call("GET", "/list")
    assert len(server.asked) == 2


def test_a_login_that_cannot_be_renewed_is_refused_at_once(server: Server, transport: Transport) -> None:
    server.does(answers(401))
    with pytest.raises(Misconfigured, match="LOGIN_REFUSED"):
        portal_at(server, transport, Key(renewable=False)).call("GET", "/list")
    assert len(server.asked) == 1


def test_a_download_renews_the_login_once(server: Server, transport: Transport) -> None:
    server.does(answers(401), answers(200, b"zip"))
    with portal_at(server, transport).stream("/file", headers={"X-Role": "r"}) as answer:
        assert b"".join(answer.chunks) == b"zip"
    assert [asked.headers["authorization"] for asked in server.asked] == ["key-1", "key-2"]
    assert server.asked[1].headers["x-role"] == "r"


@pytest.mark.parametrize("status", [204, 206, 404])
def test_a_download_is_only_what_comes_with_200(server: Server, transport: Transport, status: int) -> None:
    server.does(answers(status))
    with pytest.raises(AmtsboteError), portal_at(server, transport).stream("/file"):
        pytest.fail("this is no download")


def test_the_portals_own_meaning_of_an_error_comes_first(server: Server, transport: Transport) -> None:
    def translate(answer: Answer) -> AmtsboteError | None:
        return Reject("GONE", answer.body.decode()) if answer.status == 404 else None

    server.does(answers(404, b"weg"), answers(404, b"weg"), answers(400))
    portal = portal_at(server, transport, translate=translate)
    with pytest.raises(Reject, match="GONE: weg"):
        portal.call("GET", "/list")
    with pytest.raises(Reject, match="GONE: weg"), portal.stream("/file"):
        pytest.fail("this is no download")
    with pytest.raises(Reject, match="PORTAL_REFUSED"):
        portal.call("GET", "/list")


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttle_is_a_throttle_whatever_the_portal_means_by_it(
    server: Server, transport: Transport, status: int
) -> None:
    server.does(answers(status, Retry_After="120"))
    with pytest.raises(Retry, match=f"PORTAL_THROTTLED: POST /api/ack answered {status}") as raised:
        portal_at(server, transport, translate=lambda _: Reject("X", "x")).call("POST", "/ack")
    assert raised.value.after_seconds == 120


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (302, Misconfigured, "REDIRECT_REFUSED"),
        (400, Reject, "PORTAL_REFUSED"),
        (401, Misconfigured, "LOGIN_REFUSED"),
        (403, Misconfigured, "LOGIN_REFUSED"),
        (404, Reject, "PORTAL_REFUSED"),
        (408, Retry, "PORTAL_ERROR"),
        (425, Retry, "PORTAL_ERROR"),
        (500, Retry, "PORTAL_ERROR"),
        (599, Retry, "PORTAL_ERROR"),
    ],
)
def test_a_status_means_what_it_means_and_shows_nothing_of_the_body(
    status: int, kind: type[AmtsboteError], code: str
) -> None:
    error = error_of_status(Answer("GET", "/list", status, {}, CANARY.encode()))
    assert (type(error), error.code) == (kind, code)
    assert f"GET /list answered {status} with {len(CANARY)} bytes of nothing" in error.message
    assert CANARY not in str(error)


# --- Retry-After ---


def gmt(**delta: float) -> str:
    return format_datetime(later(**delta), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        (gmt(minutes=5), 300.0),
        (gmt(minutes=-5), 0.0),
        ("99999999999999999999", 86400.0),
        ("9" * 400, 86400.0),
        (gmt(days=3650), 86400.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Thu, 99 Feb 2026 14:30:00 GMT", None),
    ],
)
def test_a_portal_asks_for_a_wait_in_seconds_or_until_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(CaseInsensitiveDict({"retry-after": value}), NOW) == seconds


def test_a_portal_that_asks_for_no_wait_gets_none() -> None:
    assert retry_after_seconds({}, NOW) is None
