"""A tiny Digitale-Gemeinde on 127.0.0.1 for these tests: forms with documents that tests put into it.

It answers what a test has put into it and remembers every request; it is no simulation of the portal.
"""

import base64
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from amtsbote.deadline import Deadline
from amtsbote.http import Transport
from amtsbote.portals.digitale_gemeinde import PORTAL, DigitaleGemeindeClient, DigitaleGemeindeSecret
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Destination, Drop, Item, Source
from amtsbote.tokens import TokenCache

API_KEY = "key-of-the-tenant"
TENANT = 17
FORM, OTHER_FORM = "7d3c-baugesuch", "9e1f-hundesteuer"
NOW = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Document:
    """A document as the portal keeps it; `statuses` counts how often each was set."""

    id: str
    form_id: str
    status: str = "Neu"
    fields: list[dict[str, Any]] = field(default_factory=list)
    offered: tuple[str, ...] = ("Neu", "In Bearbeitung", "Abgeschlossen", "Refund")
    was_set: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        return {
            "id": f"row-{self.id}",
            "documentId": self.id,
            "formId": self.form_id,
            "name": "Baugesuch",
            "status": self.status,
            "submittedDate": "2026-02-19T09:12:44.123",
        }

    def details(self) -> dict[str, Any]:
        states = [{"label": each, "value": each} for each in self.offered if each != self.status]
        return {
            "id": 4711,
            "name": "Baugesuch",
            "State": self.status,
            "formStatesConfig": states,
            "fields": self.fields,
        }


def file_field(field_id: str, *files: tuple[str, bytes]) -> dict[str, Any]:
    """A file field and the files that it holds inline."""
    held = [
        {"key": field_id, "name": name, "type": "application/pdf", "base64File": data_url(content)}
        for name, content in files
    ]
    return {
        "id": field_id,
        "name": field_id.title(),
        "datatype": "file",
        "value": None,
        "fileUploadAdditionalData": held,
    }


def data_url(content: bytes, media_type: str = "application/pdf") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def jwt(expires_at: datetime, serial: int = 1) -> str:
    """A token whose signature nobody checks."""
    claims = {"exp": int(expires_at.timestamp()), "jti": serial}
    parts = [json.dumps({"alg": "RS256"}), json.dumps(claims), "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


Script = Callable[[Asked], tuple[int, Any, Mapping[str, str]] | None]


class TinyPortal:
    """Answers by its documents, unless something else was scripted for the next calls of a route."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.asked: list[Asked] = []
        self.tokens: list[str] = []
        self.dead: set[str] = set()
        self.lifetime = timedelta(hours=1)
        self.scripts: dict[str, deque[Any]] = {}
        self.lost: set[str] = set()  # routes whose work is done and whose answer never comes
        self.url = ""

    # --- what a test says --------------------------------------------------------------------------------------------

    def has(self, *documents: Document) -> None:
        self.documents |= {document.id: document for document in documents}

    def answers(self, name: str, body: Any, status: int = 200, *, times: int = 1, **headers: str) -> None:
        """Answer the next calls of a route (token, count, search, details, update, upload) with this."""
        self.scripts.setdefault(name, deque()).extend([(status, body, headers)] * times)

    def calls(self, name: str) -> list[Asked]:
        return [each for each in self.asked if route_of(each) == name]

    @property
    def names(self) -> list[str]:
        return [route_of(each) for each in self.asked]

    # --- what the portal does ----------------------------------------------------------------------------------------

    def answer_to(self, asked: Asked) -> tuple[int, Any, Mapping[str, str]] | None:
        self.asked.append(asked)
        name = route_of(asked)
        if self.scripts.get(name):
            return cast("tuple[int, Any, Mapping[str, str]]", self.scripts[name].popleft())
        refusal = self._refusal(name, asked)
        answer = refusal or getattr(self, f"_{name}")(asked)
        if name in self.lost:
            self.lost.discard(name)
            return None
        return cast("tuple[int, Any, Mapping[str, str]]", answer)

    def _refusal(self, name: str, asked: Asked) -> tuple[int, Any, Mapping[str, str]] | None:
        if name == "token":
            return None if asked.headers.get("Ocp-Apim-Subscription-Key") == API_KEY else (401, {}, {})
        token = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens or token in self.dead:
            return 401, {"title": "Unauthorized"}, {}
        return None if asked.query == [("tenantId", str(TENANT))] else (400, {"title": "no tenant"}, {})

    def _token(self, _: Asked) -> Any:
        self.tokens.append(jwt(NOW + self.lifetime, len(self.tokens)))
        return 200, {"token": self.tokens[-1]}, {}

    def _count(self, _: Asked) -> Any:
        forms = dict.fromkeys(each.form_id for each in self.documents.values())
        return 200, [self._counted(form) for form in forms], {}

    def _counted(self, form_id: str) -> dict[str, Any]:
        own = [each.status for each in self.documents.values() if each.form_id == form_id]
        request = {"formId": form_id, "page": 0, "pageSize": 50}
        split = [
            {"id": f"{form_id}-{status}", "name": status, "count": own.count(status), "request": request}
            for status in dict.fromkeys(own)
        ]
        return {"id": form_id, "name": "Form", "count": len(own), "request": request, "formNavigations": split}

    def _search(self, asked: Asked) -> Any:
        wanted = asked.json
        rows = [
            each.row()
            for each in self.documents.values()
            if wanted.get("formId") in (None, each.form_id) and wanted.get("status") in (None, each.status)
        ]
        page, size = wanted["page"], wanted["pageSize"]
        data = rows[(page - 1) * size : page * size]
        return 200, {"data": data, "totalCount": len(rows), "pageNumber": page, "pageSize": size}, {}

    def _document(self, asked: Asked) -> Document | None:
        return self.documents.get(unquote(asked.path.split("/")[4]))

    def _details(self, asked: Asked) -> Any:
        document = self._document(asked)
        return (200, document.details(), {}) if document else (500, {"title": "FileNotFoundException"}, {})

    def _update(self, asked: Asked) -> Any:
        document = self._document(asked)
        assert document and set(asked.json) == {"status"}
        document.status = asked.json["status"]
        document.was_set.append(document.status)
        return 200, document.details(), {}

    def _upload(self, asked: Asked) -> Any:
        document = self._document(asked)
        assert document
        name, content = part_of(asked)
        field_id = unquote(asked.path.split("/")[6])
        held = next(each for each in document.fields if each["id"] == field_id)
        held["fileUploadAdditionalData"].append({"name": name, "base64File": data_url(content)})
        return 200, {}, {}


def route_of(asked: Asked) -> str:
    known = {"POST /Token": "token", "GET /Form/count": "count", "POST /Form/search": "search"}
    methods = {"GET": "details", "PUT": "update", "POST": "upload"}
    return known.get(asked.route) or methods[asked.method]


def part_of(asked: Asked) -> tuple[str, bytes]:
    """Name and content of the one part `file` of a multipart body."""
    boundary = asked.headers["Content-Type"].split("boundary=")[1].encode()
    before, part, after = asked.body.split(b"--" + boundary)
    assert (before, after) == (b"", b"--\r\n")
    head, content = part.removeprefix(b"\r\n").removesuffix(b"\r\n").split(b"\r\n\r\n", 1)
    assert b'form-data; name="file"; filename="' in head
    return head.decode().split('filename="')[1].split('"')[0], content


def handler_of(portal: TinyPortal) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def answer(self) -> None:
            parts = urlsplit(self.path)
            assert "Transfer-Encoding" not in self.headers
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                return  # a body that was cut is no request
            asked = Asked(self.command, parts.path, parse_qsl(parts.query), dict(self.headers.items()), body)
            answer = portal.answer_to(asked)
            if answer is None:
                self.close_connection = True
                return
            status, said, headers = answer
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"Content_Length": str(len(content)), **headers}.items():
                if value:  # an empty Content_Length leaves the length unannounced
                    self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = headers.get("Content_Length") == ""

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    return Handler


@pytest.fixture
def portal() -> Iterator[TinyPortal]:
    tiny = TinyPortal()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(tiny))
    server.daemon_threads = True
    server.block_on_close = False
    tiny.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    yield tiny
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Clock:
    """Time that stands still until a test moves it."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tools(clock: Clock) -> Tools:
    transport = Transport(Deadline(30), allow_loopback=True, sleep=lambda _seconds: None)
    return Tools(transport, TokenCache(clock), clock)


def secret(portal: TinyPortal, **changes: Any) -> DigitaleGemeindeSecret:
    body = {"baseUrl": portal.url, "apiKey": API_KEY, "tenantId": TENANT} | changes
    return DigitaleGemeindeSecret.model_validate(body)


@pytest.fixture
def client(portal: TinyPortal, tools: Tools) -> DigitaleGemeindeClient:
    return DigitaleGemeindeClient.of(secret(portal), tools)


def source_of(portal: TinyPortal, tools: Tools, **changes: Any) -> Source:
    source = PORTAL.source(Connection(PORTAL.name, "stadt", secret(portal, **changes)), tools)
    assert source
    return source


def destination_of(portal: TinyPortal, tools: Tools) -> Destination:
    destination = PORTAL.destination(Connection(PORTAL.name, "stadt", secret(portal)), tools)
    assert destination
    return destination


@pytest.fixture
def source(portal: TinyPortal, tools: Tools) -> Source:
    return source_of(portal, tools)


@pytest.fixture
def destination(portal: TinyPortal, tools: Tools) -> Destination:
    return destination_of(portal, tools)


def item(document_id: str, form_id: str = FORM) -> Item:
    """An item as acknowledge gets it: without its record."""
    return Item(document_id, f"digitale-gemeinde/stadt/{document_id}", {}, {"formId": form_id})


@dataclass
class Journal:
    """The memory of one delivery; `written` is what a crash would leave."""

    state: dict[str, Any] = field(default_factory=dict)
    written: list[dict[str, Any]] = field(default_factory=list)

    def save(self) -> None:
        self.written.append(json.loads(json.dumps(self.state)))


def drop(*path: str, content: bytes = b"%PDF-1.7 Bescheid", **metadata: str) -> Drop:
    def read(start: int, length: int) -> BinaryIO:
        assert length > 0, "S3 knows no empty range"
        return BytesIO(content[start : start + length])

    key = "/".join(("digitale-gemeinde", "stadt", *path))
    return Drop(key, "v1", path, len(content), "application/pdf", metadata, "amtsbote-1", read)


def status_drop(document_id: str, body: Any) -> Drop:
    return drop(
        FORM, document_id, "status.json", content=body if isinstance(body, bytes) else json.dumps(body).encode()
    )
