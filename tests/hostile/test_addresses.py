"""Where a portal may send us: to the world, never to this machine, its cloud's metadata, or the office's network."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from ipaddress import ip_address
from typing import Any

import pytest

from amtsbote import wire
from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry
from amtsbote.http import PortalHttp, Transport, new_session
from amtsbote.portals.docxworld.presigned import Content, opened, put
from amtsbote.wire import Limits, Reach, may_be_reached
from tests.hostile.bounds import within
from tests.hostile.server import head, hostile_portal, says

CANARY = "kanarienvogel-4711"

THIS_MACHINE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "localhost",
    "LOCALHOST",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[0:0:0:0:0:0:0:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd00:0ec2:0:0:0:0:0:254]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[2002:a9fe:a9fe::1]",
    "2852039166",
    "0xa9fea9fe",
    "025177524776",
    "169.16689662",
    "169.254.43518",
    "0251.0376.0251.0376",
    "0xa9.0xfe.0xa9.0xfe",
    "169.254.0xa9fe",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
]
PRIVATE = [
    "10.0.0.1",
    "10.255.255.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.178.1",
    "[fd12:3456::1]",
    "[fc00::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:192.168.0.1]",
    "167772161",
    "0x0a000001",
    "012.0.0.1",
    "10.1",
    "[64:ff9b::10.0.0.1]",
    "[2002:a00:1::]",
]
NOWHERE = [
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
    "[fec0::1]",
    "[2001:db8::1]",
    "[100::1]",
    "[::ffff:224.0.0.1]",
]
DISGUISED = ["１２７.０.０.１", "127。0。0。1", "①②⑦.0.0.1", "localhost%00.example", "127.0.0.1\\@storage.example"]
NEVER = (*THIS_MACHINE, *METADATA, *NOWHERE)


@pytest.fixture(autouse=True)
def no_line_is_opened(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Fail where a connection is tried at all; the tests with a server allow it."""
    if "lines" in request.fixturenames:
        return

    def connect(*_: object, **__: object) -> None:
        pytest.fail("a connection was tried")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)


@pytest.fixture
def lines() -> None:
    """Allow connections in a test."""


def cloud() -> Transport:
    """Return a transport as the functions in the cloud have it."""
    return Transport(Deadline(10), sleep=lambda _: None)


def refusal(transport: Transport, url: str) -> Reject:
    """Return how following an address that a portal gave is refused; the same for reading and for writing."""
    with pytest.raises(Reject) as reading, opened(transport, url):
        pytest.fail("it was followed")
    with pytest.raises(Reject) as writing:
        put(transport, url, {}, Content(BytesIO(b"Brief"), 5, lambda: None))
    assert reading.value.message == writing.value.message
    return reading.value


@pytest.mark.parametrize("host", [*NEVER, *PRIVATE, *DISGUISED])
def test_an_address_of_a_portal_leads_into_no_closed_network(host: str) -> None:
    with within(seconds=5, mebibytes=8):
        error = refusal(cloud(), f"https://{host}:1/{CANARY}?X-Amz-Signature={CANARY}")
    assert error.code == "LINK_NOT_ALLOWED"
    assert CANARY not in str(error) and host not in error.message


@pytest.mark.parametrize("host", NEVER)
def test_not_even_the_operator_can_name_such_a_host(host: str) -> None:
    with pytest.raises(Misconfigured, match="HOST_NOT_ALLOWED"):
        cloud().call("GET", f"https://{host}:1/")


@pytest.mark.parametrize("host", DISGUISED)
def test_nor_one_in_disguise(host: str) -> None:
    with pytest.raises(Misconfigured):
        cloud().call("GET", f"https://{host}:1/")


@pytest.mark.parametrize("host", PRIVATE)
def test_an_operator_may_name_a_portal_in_the_offices_own_network(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    def connect(*_: object, **__: object) -> None:
        raise OSError("tried, and that is what counts")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    with pytest.raises(Retry, match="PORTAL_UNREACHABLE"):
        cloud().call("POST", f"https://{host}:1/")


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "gopher", "unix", "data", "HTTP", ""])
def test_nothing_but_https_is_spoken_to_what_a_portal_names(scheme: str) -> None:
    assert refusal(cloud(), f"{scheme}://storage.example/{CANARY}").code == "LINK_NOT_ALLOWED"


@pytest.mark.parametrize(
    "url", ["https://", "https:///etc/passwd", "https://[", "https://a..b/", f"https://{'x' * 300}/", "//x/", "x", ""]
)
def test_what_is_no_address_is_refused_in_the_same_way(url: str) -> None:
    assert refusal(cloud(), url).code == "LINK_NOT_ALLOWED"


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "52.219.170.1", "2a05:d050::1", "2606:4700::1111"])
@pytest.mark.parametrize("reach", Reach)
def test_the_world_may_be_reached(address: str, reach: Reach) -> None:
    assert may_be_reached(ip_address(address), Limits(Deadline(1), reach))


# --- names ------------------------------------------------------------------------------------------------------------


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, ...]) -> Iterator[list[str]]:
    """Let every name resolve to these addresses, another answer each time; yields the names that were asked for."""
    asked: list[str] = []
    literal = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if not str(host).endswith(".example"):
            return literal(host, port, *rest, **more)
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(str(host))
        return [found for address in answer for found in literal(address, port, *rest, **more)]

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", resolve)
        yield asked


@pytest.mark.parametrize(
    "addresses",
    [
        ("169.254.169.254",),
        ("fd00:ec2::254",),
        ("127.0.0.1",),
        ("10.0.0.1",),
        ("::ffff:10.0.0.1",),
        ("8.8.8.8", "10.0.0.1"),
    ],
)
def test_a_name_that_leads_into_a_closed_network_is_refused(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    with names(monkeypatch, addresses):
        assert refusal(cloud(), f"https://{CANARY}.example/").code == "LINK_NOT_ALLOWED"


def test_a_name_is_resolved_once_and_that_answer_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> None:
        connected.append(address[0])
        raise OSError("far enough")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    with (
        names(monkeypatch, ("8.8.8.8",), ("169.254.169.254",)) as asked,
        pytest.raises(Reject),
        opened(Transport(Deadline(10), sleep=lambda _: None), "https://rebinding.example/"),
    ):
        pytest.fail("nobody is there")
    assert connected == ["8.8.8.8"], "the retries of a read find the second answer, and refuse it"
    assert asked == ["rebinding.example"] * 2


def test_a_name_with_a_thousand_addresses_is_given_up_after_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> None:
        connected.append(address[0])
        raise OSError("nobody is there")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    many = tuple(f"8.8.{number // 250}.{number % 250 + 1}" for number in range(1000))
    with names(monkeypatch, many), pytest.raises(Retry, match="PORTAL_UNREACHABLE"):
        cloud().call("POST", "https://viele.example/")
    assert len(connected) == wire.ADDRESSES_AT_MOST == 3


@pytest.mark.usefixtures("lines")
def test_an_open_line_is_judged_again_for_who_uses_it_next() -> None:
    session = new_session()
    sandbox = Transport(Deadline(10), allow_loopback=True, session=session)
    with hostile_portal(says(b"{}")) as portal:
        assert sandbox.call("GET", portal.url).status == 200
        limits = Limits(Deadline(10), Reach.NAMED_BY_PORTAL, allow_loopback=False)
        with wire.limited(limits), pytest.raises(Misconfigured, match="HOST_NOT_ALLOWED"):
            session.get(portal.url, timeout=5)
    assert len(portal.asked) == portal.connections == 1


def test_a_request_that_nobody_limited_goes_to_the_world_only() -> None:
    with pytest.raises(Misconfigured, match="HOST_NOT_ALLOWED"):
        new_session().get("https://10.0.0.1/", timeout=5)


# --- the sandbox ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("lines")
def test_the_setting_of_the_sandbox_allows_this_machine_and_nothing_else() -> None:
    sandbox = Transport(Deadline(10), allow_loopback=True, sleep=lambda _: None)
    with hostile_portal(says(b"Brief")) as portal:
        with opened(sandbox, f"{portal.url}/brief.pdf") as answer:
            assert b"".join(answer.chunks) == b"Brief"
        for host in ("169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "[fe80::1]", "192.168.0.1"):
            assert refusal(sandbox, f"https://{host}/").code == "LINK_NOT_ALLOWED"
            assert refusal(sandbox, f"http://{host}/").code == "LINK_NOT_ALLOWED"


# --- redirects --------------------------------------------------------------------------------------------------------


class Key:
    """A login."""

    def headers(self) -> dict[str, str]:
        """Return the credentials."""
        return {"Authorization": f"Bearer {CANARY}", "Ocp-Apim-Subscription-Key": CANARY}

    def renew(self) -> bool:
        """Return that there is another token."""
        return True


def ask(kind: str, http: PortalHttp, url: str) -> None:
    """Ask in one of the ways in which the adapters do."""
    if kind == "stream":
        with http.stream("/file"):
            pytest.fail("it was followed")
    if kind == "presigned":
        with opened(http.transport, url):
            pytest.fail("it was followed")
    http.call(kind, "/list")


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "300 Many"]
)
@pytest.mark.parametrize("kind", ["GET", "POST", "stream", "presigned"])
def test_a_redirect_is_not_followed_and_no_token_leaves(status: str, kind: str) -> None:
    transport = Transport(Deadline(10), allow_loopback=True, sleep=lambda _: None)
    with (
        hostile_portal(says(b"{}")) as thief,
        hostile_portal(
            lambda _: [head(status, Location=f"{thief.url}/", Refresh=f"0; url={thief.url}/", Content_Length="0")]
        ) as portal,
    ):
        http = PortalHttp(transport, portal.url, Key(), lambda _: None)
        with pytest.raises(AmtsboteError):
            ask(kind, http, f"{portal.url}/file")
    assert thief.asked == [] and thief.connections == 0
    sent = [CANARY in str(request.headers) for request in portal.asked]
    assert sent == ([False] if kind == "presigned" else [True])
