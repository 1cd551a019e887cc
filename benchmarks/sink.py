"""The storage behind presigned addresses: a server that takes whatever is put to it, as fast as it comes.

    python -m benchmarks.sink

prints its address as the first line, and ends when its standard input does. It answers each PUT with an ETag.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

from benchmarks.processes import PYTHON, started

BUFFER_BYTES = 1024 * 1024
ANSWER = b'HTTP/1.1 200 OK\r\nETag: "00112233445566778899aabbccddeeff"\r\nContent-Length: 0\r\n\r\n'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Sink(BaseRequestHandler):
    """One connection: request after request."""

    def handle(self) -> None:
        """Take bodies until the client leaves."""
        buffer, rest = bytearray(BUFFER_BYTES), b""
        while (head := self._head(rest)) is not None:
            headers, rest = head
            if "expect" in headers:
                self.request.sendall(CONTINUE)
            left = int(headers["content-length"]) - len(rest)
            while left > 0:
                received = self.request.recv_into(buffer, min(left, BUFFER_BYTES))
                if not received:
                    return
                left -= received
            rest = b""
            self.request.sendall(ANSWER)

    def _head(self, text: bytes) -> tuple[Mapping[str, str], bytes] | None:
        """Return the headers of the next request, and what came of its body with them."""
        while b"\r\n\r\n" not in text:
            received = self.request.recv(65536)
            if not received:
                return None
            text += received
        head, _, rest = text.partition(b"\r\n\r\n")
        pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        return {name.strip().lower(): value.strip() for name, _, value in pairs}, rest


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left."""


@contextmanager
def sink() -> Iterator[str]:
    """Run it in a process of its own; hand over its address."""
    with started([PYTHON, "-m", "benchmarks.sink"]) as process:
        yield process.first_line


def main() -> None:
    """Serve until told."""
    with _Server(("127.0.0.1", 0), _Sink) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
