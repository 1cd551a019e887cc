"""Fixtures of the flow tests: a world per test, with a simulated portal over HTTP."""

import logging
import os
import re
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from amtsbote import http
from amtsbote.portals.docxworld import uploads
from sandbox.portals.catalog import ExampleDocxworld
from sandbox.portals.docxworld import Target, UploadOptions
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import RecordedRequest, serve
from tests.flows.mortality import MortalWorld
from tests.flows.world import REGION, Clock, World

CHUNKED_FROM_BYTES = 5 * 1024 * 1024 + 1  # two chunks, the second of one byte
MOST_PER_PAGE = 25
USER_LOGIN = ("amtsbote@klinikum.example", "kanarienvogel-Passwort")
USER_NAME = "Kanarienvogel Amtsbote"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Provide an empty AWS in this process, with no way to a real one."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let HTTP's own retries of a read follow at once."""
    monkeypatch.setattr(http, "RETRY_PAUSE_SECONDS", 0.01)


@pytest.fixture
def clock() -> Clock:
    """Provide the time of the world and of its portal."""
    return Clock()


class LogLines(logging.Handler):
    """Keeps everything a log record holds: text, extra fields, traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        self.lines.append(f"{record.getMessage()} {vars(record)} {trace}")

    @property
    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self.lines)


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """Provide what is logged by anything in this process."""
    handler = LogLines()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def duba(clock: Clock) -> Iterator[SimulatedDuba]:
    """Provide a simulated DUBA, reachable over HTTP."""
    portal = SimulatedDuba(username="amtsbote", password="geheim", clock=clock)
    with serve(portal):
        yield portal


@pytest.fixture
def duba_world(duba: SimulatedDuba, clock: Clock) -> World:
    """Provide a world with one DUBA connection, `klinikum`."""
    world = World("duba", clock=clock)
    world.connect("klinikum", {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"})
    return world


class ObservedDocxworld(ExampleDocxworld):
    """A docxworld with one user and two targets that also records which role a request came in."""

    recorded_headers = ExampleDocxworld.recorded_headers | {"x-pf-dwc-requester-role"}

    def __init__(self, clock: Clock) -> None:
        super().__init__(options=UploadOptions(chunk_threshold_bytes=CHUNKED_FROM_BYTES), most_per_page=MOST_PER_PAGE)
        self.clock = clock
        self.user = self.add_user(*USER_LOGIN, name=USER_NAME)
        self.letters: Target = self.add_target("Briefpost", "BRIEF")

    def secret(self, **more: Any) -> dict[str, Any]:
        """Return the body of a secret for the user, both directions switched on, or one that differs from it."""
        auth = {"kind": "user-password", "cognitoUrl": self.cognito_url, "clientId": self.app_client_id}
        login = dict(zip(("username", "password"), USER_LOGIN, strict=True))
        sides = {"uploader": {}, "downloader": {"clientId": "amtsbote-test"}}
        return {"baseUrl": self.base_url, "auth": {**auth, **login}, **sides, **more}

    def asked(self, method: str, path: str) -> list[RecordedRequest]:
        """Return the requests of this method whose whole path matches, in their order."""
        return [each for each in self.requests if each.method == method and re.fullmatch(path, each.path)]


@pytest.fixture
def docxworld(clock: Clock) -> Iterator[ObservedDocxworld]:
    """Provide a simulated docxworld, reachable over HTTP."""
    uploads._BOOK._known.clear()  # an earlier test's portal may have had the same port
    portal = ObservedDocxworld(clock)
    with serve(portal):
        yield portal
    portal.close()


@pytest.fixture
def docxworld_world(docxworld: ObservedDocxworld, clock: Clock) -> MortalWorld:
    """Provide a world with one docxworld connection, `klinikum`."""
    world = MortalWorld("docxworld", clock=clock)
    world.connect("klinikum", docxworld.secret())
    return world


assert os.environ.get("AWS_ENDPOINT_URL") is None, "flow tests must not reach a running AWS"
