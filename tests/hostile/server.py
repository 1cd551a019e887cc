"""A portal that means harm: whatever bytes a test lays down, at whatever pace, to whoever connects.

It speaks no HTTP of its own, because HTTP servers refuse to say much of what is said here.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import sleep

LISTENERS = 32
HEAD_LIMIT_BYTES = 64 * 1024
MIB = 1024 * 1024

Bytes = Iterable[bytes]
Behaviour = Callable[["Request"], Bytes]


@dataclass(frozen=True)
class Request:
    """What came in: the request line, the headers (names in lower case) and the body as far as it was announced."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HostilePortal:
    """Answers every request as `behaviour` says; `asked` are the requests in their order."""

    behaviour: Behaviour
    port: int = 0
    asked: list[Request] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Return the address of the portal."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, line: socket.socket) -> None:
        """Answer the requests of one connection until it ends."""
        self.connections += 1
        with line, suppress(OSError, ValueError):
            line.settimeout(30)
            while request := _read_request(line):
                self.asked.append(request)
                for piece in self.behaviour(request):
                    if self.stopped.is_set():
                        return
                    line.sendall(piece)


def _read_request(line: socket.socket) -> Request | None:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = line.recv(4096)
        if not piece or len(head) > HEAD_LIMIT_BYTES:
            return None
        head += piece
    first, _, body = head.partition(b"\r\n\r\n")
    begin, *rest = first.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    missing = int(headers.get("content-length", "0")) - len(body)
    while missing > 0:
        piece = line.recv(min(missing, MIB))
        if not piece:
            return None
        body, missing = body + piece, missing - len(piece)
    return Request(begin, headers, body)


@contextmanager
def hostile_portal(behaviour: Behaviour) -> Iterator[HostilePortal]:
    """Let a portal misbehave on this machine while the context lasts."""
    portal = HostilePortal(behaviour)
    with socket.create_server(("127.0.0.1", 0), backlog=LISTENERS) as listening:
        portal.port = listening.getsockname()[1]
        threading.Thread(target=_accept, args=(listening, portal), daemon=True).start()
        try:
            yield portal
        finally:
            portal.stopped.set()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, portal: HostilePortal) -> None:
    with suppress(OSError):
        while True:
            line, _ = listening.accept()
            threading.Thread(target=portal.serve, args=(line,), daemon=True).start()


# --- what it may say ------------------------------------------------------------------------------------------------


def head(status: str = "200 OK", **headers: str) -> bytes:
    """Return a status line and headers; underscores stand for hyphens."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join([f"HTTP/1.1 {status}", *lines]) + "\r\n\r\n").encode("latin-1")


def says(body: bytes, status: str = "200 OK", **headers: str) -> Behaviour:
    """Answer whole."""
    announced = {"Content_Length": str(len(body)), "Content_Type": "application/json"} | headers
    begin = head(status, **announced)
    return lambda _: [begin + body] if len(body) < MIB else [begin, body]


def pours(piece: bytes, pieces: int, **headers: str) -> Behaviour:
    """Send so many pieces after the headers, without announcing how many; the connection ends with them."""

    def behaviour(_: Request) -> Bytes:
        yield head(Connection="close", **headers)
        yield from (piece for _ in range(pieces))
        raise OSError("the end")

    return behaviour


def drips(begin: bytes, drop: bytes, pause_seconds: float = 0.05, drops: int = 100_000) -> Behaviour:
    """Say something, then a little more again and again, each time before a reader would lose patience."""

    def behaviour(_: Request) -> Bytes:
        yield begin
        for _drop in range(drops):
            sleep(pause_seconds)
            yield drop

    return behaviour


def stalls(seconds: float) -> Behaviour:
    """Say nothing for so long, then hang up."""

    def behaviour(_: Request) -> Bytes:
        sleep(seconds)
        yield from hung_up()

    return behaviour


def hung_up() -> Bytes:
    """Hang up."""
    raise OSError("the end")
