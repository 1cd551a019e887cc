"""A tiny docxworld on 127.0.0.1 for these tests: token service, downloads, uploads and the storage behind them.

It answers what a test has put into it and remembers every request; it is no simulation of the portal.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

CODE = "de.profiforms.docxworld."


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]  # lower-case names
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def role(self) -> str | None:
        return self.headers.get("x-pf-dwc-requester-role")


@dataclass(frozen=True)
class Reply:
    """An answer: JSON where `body` is no bytes. `vanish` does the work and cuts the line before the answer."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    vanish: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Route = Callable[[Request], Reply]


def refusal(status: int, code: str, *more: str) -> Reply:
    """Return docxworld's error answer; `code` comes after the common prefix."""
    said = {"id": "1", "message": "Frau Muster sagt nein", "messageCode": CODE + code, "debugMessages": list(more)}
    return Reply(status, said)


def page(content: list[Any], *, number: int = 0, last: bool = True) -> Reply:
    return Reply(body={"content": content, "number": number, "last": last, "totalPages": 1})


class Server:
    """Routes are looked up by method and path; a list of replies is used up one by one, its last one stays."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.routes: dict[tuple[str, str], Route] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.on("POST", "/cognito/", Reply(body={"AuthenticationResult": {"AccessToken": "jwt", "ExpiresIn": 3600}}))

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Answer a method and path with these replies, one after the other."""
        left = list(replies)
        self.routes[(method, path)] = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def when(self, method: str, path: str, route: Route) -> None:
        """Answer a method and path with what a function says."""
        self.routes[(method, path)] = route

    def sent(self, method: str, path: str) -> list[Request]:
        """Return the requests that came for a method and path."""
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _answer(self, request: Request) -> Reply:
        self.requests.append(request)
        route = self.routes.get((request.method, request.path))
        return route(request) if route else Reply(404, {"message": f"no route {request.method} {request.path}"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                parts = urlsplit(self.path)
                reply = answer(Request(self.command, parts.path, tuple(parse_qsl(parts.query)), headers, body))
                self.close_connection = reply.vanish or "Connection" in reply.headers
                if not reply.vanish:
                    self.say(reply)

            def say(self, reply: Reply) -> None:
                content = reply.content()
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = serve  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Keep the tests' output quiet."""

        return Handler


class Storage:
    """The storage behind presigned addresses: what was put where, and how."""

    def __init__(self, server: Server, urls: int = 1, *, expires: str = "", upload_id: str = "") -> None:
        self.server = server
        self.paths = [f"/storage/part-{number}" for number in range(urls)]
        query = "&".join(part for part in (expires, upload_id and f"uploadId={upload_id}") if part)
        self.urls = [f"{server.url}{path}?{query}" for path in self.paths]
        for path in self.paths:
            server.on("PUT", path, Reply(headers={"ETag": f'"{path[-1]}"'}, body=b""))

    def puts(self) -> list[Request]:
        return [r for r in self.server.requests if r.method == "PUT" and r.path.startswith("/storage/")]

    def content(self) -> bytes:
        """Return what the parts make together, each in its last edition."""
        parts = {request.path: request.body for request in self.puts()}
        return b"".join(parts[path] for path in self.paths if path in parts)
