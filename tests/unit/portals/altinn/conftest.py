"""An Altinn that answers exactly what a test tells it to, over real HTTP on this machine."""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from amtsbote.deadline import Deadline
from amtsbote.http import Transport
from amtsbote.portals.altinn import PORTAL, AltinnClient, AltinnSecret
from amtsbote.portals.altinn.models import InstanceId
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Destination, Drop, Item, Source
from amtsbote.tokens import TokenCache

PARTY, GUID = "50001", "762011d1-d341-4c0a-8641-d8a104e83d30"
INSTANCE = InstanceId(party_id=PARTY, guid=GUID)
ID = f"{PARTY}/{GUID}"
ELEMENT = "692ee7df-82a9-4bba-b2f2-c8c4dac69aff"
STORAGE, APP = "/storage/api/v1", "/org/app"
LIST = f"GET {STORAGE}/instances"
OF_STORAGE, OF_APP = f"{STORAGE}/instances/{ID}", f"{APP}/instances/{ID}"
GET_INSTANCE = f"GET {OF_STORAGE}"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEFINED = "test-token"

LOST = object()
"""An answer that never comes: the portal has read the request, then the connection ends."""


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedPortal:
    """Answers each route with what was scripted for it; the last answer of a route repeats."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    script: dict[str, deque[tuple[int, dict[str, str], Any]]] = field(default_factory=lambda: defaultdict(deque))

    def answers(self, route: str, body: Any = b"", *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Script `METHOD /path`. A body that is no bytes is sent as JSON; a callable is given the request for one."""
        self.script[route].append((status, headers or {}, body))

    def forgets(self, route: str) -> None:
        """Drop what was scripted for a route, so that it can be scripted anew."""
        self.script.pop(route, None)

    def routes(self) -> list[str]:
        return [request.route for request in self.asked]

    def requests(self, route: str) -> list[Asked]:
        return [request for request in self.asked if request.route == route]

    def answer_to(self, request: Asked) -> tuple[int, dict[str, str], Any]:
        self.asked.append(request)
        answers = self.script[request.route]
        if not answers:
            return 418, {}, b"nothing was scripted for this route"
        status, headers, body = answers[0] if len(answers) == 1 else answers.popleft()
        body = body(request) if callable(body) else body
        if body is LOST:
            return 0, {}, LOST
        return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


def handler_of(portal: ScriptedPortal) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = parse_qsl(parts.query, keep_blank_values=True)
            status, headers, content = portal.answer_to(
                Asked(self.command, parts.path, query, dict(self.headers.items()), body)
            )
            if content is LOST:
                return
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815

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
def tools(transport: Transport) -> Tools:
    return Tools(transport, TokenCache(lambda: NOW), lambda: NOW)


Secret = Callable[..., AltinnSecret]


@pytest.fixture
def secret(portal: ScriptedPortal) -> Secret:
    def made(**settings: Any) -> AltinnSecret:
        body = {
            "storageUrl": portal.url + STORAGE,
            "appsUrl": portal.url + "/{org}/{app}",
            "apps": ["org/app"],
            "auth": {"kind": "bearer", "token": DEFINED},
        }
        return AltinnSecret.model_validate(body | settings)

    return made


@pytest.fixture
def client(secret: Secret, tools: Tools) -> AltinnClient:
    return AltinnClient.of(secret(), transport=tools.transport, tokens=tools.tokens, clock=tools.clock)


@pytest.fixture
def proposal(secret: Secret, tools: Tools) -> AltinnClient:
    spoken = secret(dialect="proposal")
    return AltinnClient.of(spoken, transport=tools.transport, tokens=tools.tokens, clock=tools.clock)


ToSource = Callable[..., Source]
ToDestination = Callable[..., Destination]


@pytest.fixture
def source_of(secret: Secret, tools: Tools) -> ToSource:
    def connected(**settings: Any) -> Source:
        source = PORTAL.source(Connection("altinn", "etat", secret(**settings)), tools)
        assert source is not None
        return source

    return connected


@pytest.fixture
def destination_of(secret: Secret, tools: Tools) -> ToDestination:
    def connected(**settings: Any) -> Destination:
        destination = PORTAL.destination(Connection("altinn", "etat", secret(**settings)), tools)
        assert destination is not None
        return destination

    return connected


def element(element_id: str = ELEMENT, **changes: Any) -> dict[str, Any]:
    """A data element as Storage shows it."""
    return {
        "id": element_id,
        "instanceGuid": GUID,
        "dataType": "model1",
        "filename": "default.xml",
        "contentType": "application/xml",
        "size": 7,
        "locked": False,
        "refs": None,
        "fileScanResult": "Clean",
        "lastChanged": "2026-02-06T15:00:23.1234567Z",
    } | changes


def instance(**changes: Any) -> dict[str, Any]:
    """An instance as Storage shows it."""
    return {
        "id": ID,
        "appId": "org/app",
        "org": "org",
        "instanceOwner": {"partyId": PARTY, "organisationNumber": "897069652"},
        "created": "2026-02-06T13:46:48.6882148Z",
        "lastChanged": "2026-02-06T15:00:23.1234567Z",
        "process": {"started": "2026-02-06T13:46:48Z", "currentTask": {"elementId": "Task_2", "flow": 2}},
        "status": {"isArchived": True, "isHardDeleted": False, "hardDeleted": None},
        "data": [element()],
    } | changes


def page(*instances: Any, **more: Any) -> dict[str, Any]:
    """One page of a list."""
    return {"count": len(instances), "self": "…", "next": None, "instances": list(instances)} | more


def item(item_id: str = ID) -> Item:
    return Item(item_id, f"altinn/etat/{item_id}", {}, {"appId": "org/app"})


def drop(*path: str, content: bytes = b"<svar/>", content_type: str = "application/xml", **metadata: str) -> Drop:
    """A dropped object; its user metadata are given with underscores for dashes."""
    return Drop(
        key="/".join(("altinn", "etat", *path)),
        version_id="v1",
        path=path,
        size=len(content),
        content_type=content_type,
        metadata={name.replace("_", "-"): value for name, value in metadata.items()},
        reference="amtsbote-1",
        read=lambda start, length: BytesIO(content[start : start + length]),
    )


@dataclass
class Notes:
    """A journal, as the ledger keeps it: what is not saved is forgotten by a crash."""

    state: dict[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        self.saved = json.loads(json.dumps(self.state))

    def after_a_crash(self) -> "Notes":
        """Return the journal that the next worker reads."""
        return Notes(json.loads(json.dumps(self.saved)), dict(self.saved))
