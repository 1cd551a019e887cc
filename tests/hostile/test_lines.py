"""Lines that never end: slow ones, endless ones, packed ones. Each costs a bounded time and a bounded memory."""

import gzip
import socket
import zlib
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from time import sleep

import pytest

from amtsbote import http, wire
from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Retry
from amtsbote.http import ERROR_LIMIT_BYTES, JSON_LIMIT_BYTES, PortalHttp, Transport
from tests.hostile.bounds import MIB, within
from tests.hostile.server import Behaviour, Bytes, Request, drips, head, hostile_portal, hung_up, pours, says, stalls

SECONDS = 0.4  # of the deadline
ENDS_WITHIN = 3.0  # deadline, grace and what a busy machine adds
JSON = {"Content_Type": "application/json"}


class NoKey:
    """No login at all."""

    def headers(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def renew(self) -> bool:
        """Return that there is nothing to renew."""
        return False


@pytest.fixture(autouse=True)
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time beyond the deadline be short, as the deadline is."""
    monkeypatch.setattr(wire, "GRACE_SECONDS", 0.2)


def transport(seconds: float = SECONDS) -> Transport:
    """Return a transport that may work so long."""
    return Transport(Deadline(seconds), allow_loopback=True, sleep=lambda _: None)


def read_whole(url: str, method: str = "POST", seconds: float = SECONDS) -> bytes:
    """Call as the adapters do for JSON; POST, so that each answer is looked at once."""
    return PortalHttp(transport(seconds), url, NoKey(), lambda _: None).call(method, "/list").body


def read_stream(url: str, seconds: float = SECONDS) -> int:
    """Download as the adapters do for files, and return how many bytes came."""
    with transport(seconds).stream("GET", url) as answer:
        return sum(len(chunk) for chunk in answer.chunks)


# --- slow -------------------------------------------------------------------------------------------------------------

CHUNKED = head(Transfer_Encoding="chunked", **JSON)
GZIPPED = head(Content_Encoding="gzip", Connection="close", **JSON)
SLOW: dict[str, Behaviour] = {
    "a status line": drips(b"HTTP/1.1 200 ", b"O"),
    "before the status line": drips(b"", b"\r\n"),
    "a header": drips(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "headers": drips(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", pause_seconds=0.03),
    "headers that go on": drips(b"HTTP/1.1 200 OK\r\nX-A: b\r\n", b" more\r\n", pause_seconds=0.03),
    "provisional answers": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "provisional headers": drips(b"HTTP/1.1 100 Continue\r\n", b"X-A: b\r\n", pause_seconds=0.03),
    "a body": drips(head(Content_Length="1000000", **JSON), b" "),
    "a body without an end": drips(head(Connection="close", **JSON), b" "),
    "chunks": drips(CHUNKED, b"1\r\n \r\n"),
    "a chunk's size": drips(CHUNKED, b"0"),
    "a chunk's extension": drips(CHUNKED + b"5;", b"x"),
    "trailers": drips(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n"),
    "a packed body": drips(
        head(Content_Encoding="gzip", Connection="close", **JSON) + b"\x1f\x8b\x08\x08" + b"\0" * 6, b"n"
    ),
    "nothing": stalls(ENDS_WITHIN + 1),
}


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_an_answer_that_drips_ends_with_the_deadline(slow: Behaviour) -> None:
    with hostile_portal(slow) as portal, within(seconds=ENDS_WITHIN, mebibytes=8), pytest.raises(Retry) as retry:
        read_whole(portal.url)
    assert not isinstance(retry.value, OutOfTime), "a portal that is this slow uses up a try"
    assert len(portal.asked) == 1


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_a_download_that_drips_ends_with_the_deadline(slow: Behaviour) -> None:
    with hostile_portal(slow) as portal, within(seconds=ENDS_WITHIN, mebibytes=8), pytest.raises(Retry):
        read_stream(portal.url)


def test_an_answer_that_drips_does_not_get_all_the_time_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_SECONDS", SECONDS)
    for slow in (SLOW["headers"], SLOW["a body"]):
        with hostile_portal(slow) as portal, within(seconds=ENDS_WITHIN, mebibytes=8), pytest.raises(Retry):
            read_whole(portal.url, seconds=600)


def test_a_file_does_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_SECONDS", SECONDS / 2)
    slow = drips(head(Content_Length="20"), b"x" * 2, drops=10)
    with hostile_portal(slow) as portal:
        assert read_stream(portal.url, seconds=60) == 20


def test_a_portal_that_takes_a_file_slowly_ends_with_the_deadline() -> None:
    class Endless:
        """A file of a gigabyte, made while it is sent."""

        def __len__(self) -> int:
            return 1024 * MIB

        def __iter__(self) -> Iterator[bytes]:
            return chain.from_iterable(repeat([b"x" * 64 * 1024], 16 * 1024))

    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it accepts by its backlog alone, and reads nothing
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        http_ = PortalHttp(transport(), url, NoKey(), lambda _: None)
        with within(seconds=ENDS_WITHIN, mebibytes=8), pytest.raises(Retry) as retry:
            http_.call("POST", "/file", body=Endless())
    assert not isinstance(retry.value, OutOfTime)


# --- endless and packed -----------------------------------------------------------------------------------------------


def gzip_of(megabytes: int) -> bytes:
    """Return zeros, packed a thousandfold."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(megabytes)), packer.flush()])


PACKED = gzip_of(64)


FIVEFOLD = gzip.compress(gzip.compress(gzip.compress(gzip.compress(PACKED))))


def packed(content: bytes, times: int = 160) -> Behaviour:
    """Answer 64 packed megabytes again and again: a file of several members."""
    return pours(content, times, Content_Encoding="gzip", **JSON)


ENDLESS: dict[str, Behaviour] = {
    "10 GB": pours(b" " * MIB, 10 * 1024, **JSON),
    "10 GB in chunks": pours(b"100000\r\n" + b" " * MIB + b"\r\n", 10 * 1024, Transfer_Encoding="chunked", **JSON),
    "10 GB packed": packed(PACKED),
    "10 GB packed twice": pours(gzip.compress(PACKED), 160, Content_Encoding="gzip, gzip", **JSON),
    "packed five times": pours(FIVEFOLD, 160, Content_Encoding=", ".join(["gzip"] * 5), **JSON),
    "deflated": pours(zlib.compress(bytes(64 * MIB), 9), 1, Content_Encoding="deflate", **JSON),
    "a header line": pours(b"x" * MIB, 10 * 1024),
    "a thousand packings": says(b"x", Content_Encoding=", ".join(["gzip"] * 1000)),
    "a chunk's size": pours(b"0" * MIB, 1024, Transfer_Encoding="chunked", **JSON),
}
ENDLESS["a header line"] = lambda _: chain([b"HTTP/1.1 200 OK\r\nX-Long: "], repeat(b"x" * MIB, 10 * 1024))
ENDLESS["headers"] = lambda _: chain([b"HTTP/1.1 200 OK\r\n"], repeat(b"X-A: b\r\n" * 1024, 1024 * 1024))
ENDLESS["a status line"] = lambda _: repeat(b"HTTP/1.1" * 1024, 1024 * 1024)
ENDLESS["provisional answers"] = lambda _: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1024, 1024 * 1024)


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_an_endless_answer_is_left_after_16_mebibytes(endless: Behaviour, status: str) -> None:
    def behaviour(request: Request) -> Bytes:
        return (piece.replace(b"200 OK", status.encode(), 1) for piece in endless(request))

    limit = JSON_LIMIT_BYTES if status == "200 OK" else ERROR_LIMIT_BYTES
    with hostile_portal(behaviour) as portal, within(seconds=10, mebibytes=2 * limit / MIB + 16), pytest.raises(Retry):
        read_whole(portal.url, seconds=5)


def test_a_download_asks_for_no_packing_and_stays_small_where_it_is_packed_all_the_same() -> None:
    with hostile_portal(packed(PACKED, 4)) as portal, within(seconds=60, mebibytes=8):
        assert read_stream(portal.url, seconds=60) == 256 * MIB
    assert portal.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("length", ["9" * 18, "9" * 5000, "-1", "1e9", "0x10", "5, 7", "５", ""])
def test_a_length_that_is_none_does_no_harm(length: str) -> None:
    text = length.encode().decode("latin-1")
    answer = chain_of(head(Content_Length=text, **JSON) + b"{}")
    with hostile_portal(answer) as portal, within(seconds=ENDS_WITHIN, mebibytes=8):
        for read in READERS:
            outcome(lambda read=read: read(portal.url))  # type: ignore[misc]


def chain_of(said: bytes) -> Behaviour:
    """Say something and hang up."""
    return lambda _: chain([said], stop())


def stop() -> Iterator[bytes]:
    """Hang up when asked for more."""
    yield from hung_up()


READERS: tuple[Callable[[str], object], ...] = (read_whole, read_stream)


def outcome(work: Callable[[], object]) -> str:
    """Return what became of a piece of work: done, or the code of our error. Any other error is a failure."""
    try:
        work()
    except AmtsboteError as error:
        return error.code
    return "DONE"


NOT_HTTP = {
    "garbage": b"\x00\xff\xfe" * 1000,
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "an older one": b"HTTP/0.9 200\r\n\r\n",
    "a newer one": b"HTTP/9.9 200 OK\r\n\r\n",
    "no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "a number too large": b"HTTP/1.1 99999 OK\r\n\r\n",
    "a negative number": b"HTTP/1.1 -200 OK\r\n\r\n",
    "nul in a header": b"HTTP/1.1 200 OK\r\nX-\x00: \x00\r\nContent-Length: 2\r\n\r\n{}",
    "no colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\n{}",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-5\r\n{}\r\n0\r\n\r\n",
    "a huge chunk": CHUNKED + b"f" * 30 + b"\r\n{}",
    "an unknown packing": head(Content_Encoding="aes-kanarienvogel", Content_Length="2") + b"{}",
    "a broken packing": head(Content_Encoding="gzip", Content_Length="9") + b"\x1f\x8bnonsens",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "no content, with content": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhallo",
    "two answers": head(Content_Length="2", **JSON) + b"{}" + head(Content_Length="2", **JSON) + b"[]",
}


@pytest.mark.parametrize("nonsense", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_no_http_is_tried_again_later_or_taken_for_what_it_says(nonsense: bytes) -> None:
    with hostile_portal(chain_of(nonsense)) as portal, within(seconds=ENDS_WITHIN, mebibytes=8):
        for read in READERS:
            outcome(lambda read=read: read(portal.url))  # type: ignore[misc]


def test_a_second_answer_behind_the_first_is_never_taken_for_the_answer_to_the_next_request() -> None:
    answers = iter([b'{"mine": 1}', b'{"mine": 2}'])

    def smuggles(_: Request) -> Bytes:
        mine, foreign = next(answers), b'{"foreign": 1}'
        yield head(Content_Length=str(len(mine)), **JSON) + mine
        yield head(Content_Length=str(len(foreign)), **JSON) + foreign

    with hostile_portal(smuggles) as portal:
        portals = PortalHttp(transport(30), portal.url, NoKey(), lambda _: None)
        said = [portals.call("POST", "/list").json()]
        sleep(0.1)  # so that the second answer is there
        said += [portals.call("POST", "/list").json()]
    assert said == [{"mine": 1}, {"mine": 2}]


@pytest.mark.parametrize(
    "name", ["Set-Cookie", "Set-Cookie2", "Authorization", "Proxy-Authenticate", "WWW-Authenticate"]
)
def test_nothing_that_an_answer_says_is_sent_with_the_next_request(name: str) -> None:
    said = says(b"{}", **{name.replace("-", "_"): "kanarienvogel=4711; Path=/; Domain=127.0.0.1"})
    with hostile_portal(said) as portal:
        portals = PortalHttp(transport(30), portal.url, NoKey(), lambda _: None)
        for _ in range(2):
            portals.call("POST", "/list")
    assert len(portal.asked) == 2 and "kanarienvogel" not in str(portal.asked)


@pytest.mark.parametrize(
    "value", ["gehe\r\nX-Injected: 1", "gehe\nX-Injected: 1", "gehe\rX-Injected: 1", "\u4e2d\u6587"]
)
def test_no_header_is_smuggled_by_a_value(value: str) -> None:
    with hostile_portal(says(b"{}")) as portal:
        portals = PortalHttp(transport(30), portal.url, NoKey(), lambda _: None)
        with pytest.raises(Misconfigured, match="HEADER_INVALID") as refusal:
            portals.call("POST", "/list", headers={"Content-Disposition": f"{value} kanarienvogel"})
    assert portal.asked == [] and "kanarienvogel" not in str(refusal.value)


def test_the_limits_are_what_the_tests_take_them_for() -> None:
    assert (http.JSON_LIMIT_BYTES, http.ERROR_LIMIT_BYTES, wire.ANSWER_SECONDS) == (16 * MIB, MIB, 90)
