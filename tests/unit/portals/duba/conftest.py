"""A portal that answers exactly what a test tells it to, over real HTTP on this machine."""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from amtsbote.deadline import Deadline
from amtsbote.http import Transport
from amtsbote.portals.duba import DubaClient

USERNAME, PASSWORD = "klinikum", "pässwort:mit-Doppelpunkt"


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedPortal:
    """Answers each route with what was scripted for it; the last answer of a route repeats."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    script: dict[tuple[str, str], deque[tuple[int, dict[str, str], Any]]] = field(
        default_factory=lambda: defaultdict(deque)
    )

    def answers(self, route: str, body: Any = b"", *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Script `METHOD /path`. A body that is no bytes is sent as JSON, a callable is given the request."""
        method, path = route.split(" ")
        self.script[method, path].append((status, headers or {}, body))

    def answer_to(self, request: Asked) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(request)
        answers = self.script[request.method, request.path]
        if not answers:
            return 418, {}, b"nothing was scripted for this route"
        status, headers, body = answers[0] if len(answers) == 1 else answers.popleft()
        if callable(body):
            status, body = body(request)
        return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


def handler_of(portal: ScriptedPortal) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Asked(self.command, parts.path, parse_qsl(parts.query), dict(self.headers.items()), body)
            status, headers, content = portal.answer_to(request)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                if value:  # an empty Content-Length in the script leaves the length unannounced
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    return Handler


@pytest.fixture
def portal() -> Iterator[ScriptedPortal]:
    scripted = ScriptedPortal()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(scripted))
    scripted.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    yield scripted
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def transport() -> Transport:
    return Transport(Deadline(30), allow_loopback=True, sleep=lambda _seconds: None)


@pytest.fixture
def client(portal: ScriptedPortal, transport: Transport) -> DubaClient:
    return DubaClient(portal.url, USERNAME, PASSWORD, transport=transport)


def message(message_id: Any = 214, **changes: Any) -> dict[str, Any]:
    """A listed message as the guide shows it."""
    return {
        "id": message_id,
        "messageId": "gov2test_17623381049230a53d2f5",
        "jobId": "job-2024-001",
        "aktenzeichen": "AZ-12345-2024",
        "direction": "INCOMING",
        "createdAt": "2025-11-26T14:30:00Z",
        "receivedAt": "2025-11-26T15:00:00Z",
        "hydratedAt": "2025-11-26T15:01:00Z",
        "url": f"/api/duba/v1/download/{message_id}",
    } | changes
