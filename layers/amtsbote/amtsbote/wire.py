"""The lines to portals: they lead only where they may, and end when they must.

Where: a host's name says nothing, as its owner decides what it resolves to, and may decide otherwise a moment later. So
a name is resolved once, all of its addresses are judged, and one of these is connected to.

When: a timeout of the HTTP library bounds each read and not their sum, so that a portal that sends one byte now and
then holds a worker for ever, in the status line, in headers, between chunks or behind the last one. So each read gets
what is left of the time, and not more.
"""

import ipaddress
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from amtsbote.deadline import READ_TIMEOUT_SECONDS, Deadline
from amtsbote.errors import Misconfigured

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ANSWER_SECONDS = 90.0  # from the end of a request to the end of its headers, and of its body where it is no file
GRACE_SECONDS = 1.0  # so that a call which began in time ends with a timeout, which says more than the deadline
LEAST_PATIENCE_SECONDS = 0.01  # none at all would mean not to wait, which is another kind of socket
ADDRESSES_AT_MOST = 3  # that are tried of one name, each with a connect timeout of its own
CONNECTIONS_PER_HOST = 32

PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
CLOSED = tuple(  # to everybody: the metadata and services of clouds, and what some versions of Python call global
    map(ipaddress.ip_network, ("fd00:ec2::/32", "100.64.0.0/10", "192.0.0.0/24", "fec0::/10"))
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")
COMPATIBLE = ipaddress.ip_network("::/96")  # an old way to write an IPv4 address
IPV4_MASK = 0xFFFFFFFF

Address = IPv4Address | IPv6Address


class Reach(Enum):
    """How far a request may go: as far as the operator may send it, or only where everybody may."""

    NAMED_BY_OPERATOR = "named by operator"  # a portal may live in the organisation's own network
    NAMED_BY_PORTAL = "named by portal"  # it must not lead us into that network


@dataclass
class Limits:
    """What holds for one request. `answer_ends_at` is set when the request is sent; None lifts it, as for a file."""

    deadline: Deadline
    reach: Reach = Reach.NAMED_BY_OPERATOR
    allow_loopback: bool = False
    answer_ends_at: float | None = None

    def __post_init__(self) -> None:
        self._ends_at = time.monotonic() + self.deadline.remaining_seconds() + GRACE_SECONDS

    def patience_seconds(self) -> float:
        """Return how long to wait for the other side now; zero or less when its time is used up."""
        ends = self._ends_at if self.answer_ends_at is None else min(self._ends_at, self.answer_ends_at)
        return min(READ_TIMEOUT_SECONDS, ends - time.monotonic())


_LIMITS: ContextVar[Limits | None] = ContextVar("limits", default=None)


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Let these limits hold for the requests that this thread sends meanwhile, and for their answers until the end."""
    before = _LIMITS.set(limits)
    try:
        yield
    finally:
        _LIMITS.reset(before)


def current_limits() -> Limits:
    """Return the limits of the request that this thread is sending; what nobody limited may only go to the world."""
    return _LIMITS.get() or Limits(Deadline(READ_TIMEOUT_SECONDS), Reach.NAMED_BY_PORTAL)


# --- where --------------------------------------------------------------------------------------------------------


def may_be_reached(address: Address, limits: Limits) -> bool:
    """Return whether a request may go to an address, however it is written."""
    plain = _plain(address)
    if plain.is_loopback or plain.is_unspecified:  # a connection to 0.0.0.0 or :: stays on this machine
        return limits.allow_loopback
    if plain.is_link_local or plain.is_multicast or _is_in(plain, CLOSED):
        return False
    if _is_in(plain, PRIVATE):
        return limits.reach is Reach.NAMED_BY_OPERATOR
    return plain.is_global and not plain.is_reserved


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address leads to, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & IPV4_MASK)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def _is_in(address: Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def addresses_of(host: str, port: int | None = None) -> list[Address]:
    """Return what a host's name resolves to now, each address once; OSError where it resolves to nothing."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(text) for text in dict.fromkeys(str(info[4][0]).split("%")[0] for info in found)]


def _judged(host: str, port: int | None, limits: Limits) -> list[Address]:
    addresses = addresses_of(host, port)
    if not all(may_be_reached(address, limits) for address in addresses):
        raise _not_allowed(host)
    return addresses[:ADDRESSES_AT_MOST]


def _not_allowed(host: str) -> Misconfigured:
    said = f"{host} leads to this machine itself, or into a network that is closed to portals"
    return Misconfigured("HOST_NOT_ALLOWED", f"{said}; name the portal's host")


# --- when ---------------------------------------------------------------------------------------------------------


class _PunctualReader(RawIOBase):
    """What comes in on a line, while there is time for it; TimeoutError afterwards."""

    def __init__(self, line: RawIOBase, sock: socket.socket, limits: Limits) -> None:
        super().__init__()
        self._line = line
        self._sock = sock
        self._limits = limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        patience = self._limits.patience_seconds()
        if patience <= 0:
            raise TimeoutError("the time for the answer is used up")
        self._sock.settimeout(patience)
        return self._line.readinto(buffer)

    def close(self) -> None:
        self._line.close()
        super().close()


class _PunctualResponse(HTTPResponse):
    """An answer whose whole reading, from the status line to the last trailer, keeps within the limits."""

    def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        limits = current_limits()
        limits.answer_ends_at = time.monotonic() + ANSWER_SECONDS
        line: RawIOBase = self.fp.detach()
        self.fp = BufferedReader(_PunctualReader(line, sock, limits))


class _Guarded(HTTPConnection):
    """A connection to an address that was judged, whose sends and reads keep within the limits."""

    response_class = _PunctualResponse

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            addresses = _judged(name, self.port, current_limits())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        failure: Exception | None = None
        for address in addresses:
            try:
                self._dns_host = str(address)
                return super()._new_conn()
            except (ConnectTimeoutError, NewConnectionError) as error:
                failure = error
            finally:
                self._dns_host = name  # a certificate is checked against the name
        raise failure or Misconfigured("URL_INVALID", "the address names no host that can exist")

    def request(self, *args: Any, **named: Any) -> None:
        """Send a request; a line that was opened for another one may lead where this one must not go."""
        sock = self.sock
        if sock is not None:
            peer = ipaddress.ip_address(str(sock.getpeername()[0]).split("%")[0])
            if not may_be_reached(peer, current_limits()):
                raise _not_allowed(self.host)
        super().request(*args, **named)

    def send(self, data: Any) -> None:
        """Send a piece, within what is left of the time."""
        if self.sock is not None:
            self.sock.settimeout(max(LEAST_PATIENCE_SECONDS, current_limits().patience_seconds()))
        super().send(data)


class _GuardedTls(_Guarded, HTTPSConnection):
    """The same through TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Guarded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTls


class GuardedAdapter(HTTPAdapter):
    """How a session of requests sends: by connections that keep within the limits of their request."""

    def __init__(self) -> None:
        super().__init__(pool_maxsize=CONNECTIONS_PER_HOST)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        """Make the connections."""
        super().init_poolmanager(*args, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
