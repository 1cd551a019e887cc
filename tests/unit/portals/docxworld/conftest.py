"""What the docxworld tests share: the tiny server, the tools of an invocation, connections."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amtsbote.deadline import Deadline
from amtsbote.http import Transport
from amtsbote.portals.docxworld import DocxworldSecret
from amtsbote.portals.portal import Connection, Tools
from amtsbote.tokens import TokenCache
from tests.unit.portals.docxworld.server import Server


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


class Countdown:
    """A monotonic clock for a deadline: runs out after so many looks at it, where a test wants that."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def run_out(self) -> None:
        self.seconds = 1e9

    def refill(self) -> None:
        self.seconds = 0.0


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def countdown() -> Countdown:
    return Countdown()


@pytest.fixture
def tools(clock: Clock, countdown: Countdown) -> Tools:
    transport = Transport(Deadline(100, clock=countdown), allow_loopback=True, sleep=lambda _: None)
    return Tools(transport, TokenCache(clock), clock)


@pytest.fixture
def body(server: Server) -> dict[str, Any]:
    """The body of a connection's secret, as the contract shows it."""
    return {
        "baseUrl": server.url,
        "acknowledge": "stored",
        "auth": {
            "kind": "user-password",
            "cognitoUrl": f"{server.url}/cognito",
            "clientId": "app",
            "username": "amtsbote@example.org",
            "password": "geheim",
        },
        "uploader": {"role": "ROLE_CUSTOMER_UPLOADER", "encryption": "none", "etagBase": 1},
        "downloader": {"clientId": "amtsbote-test", "types": ["RESULT", "REPORT"]},
    }


@pytest.fixture
def connection(body: dict[str, Any]) -> Connection:
    return Connection("docxworld", "klinikum", DocxworldSecret.model_validate(body))


@pytest.fixture
def connect(body: dict[str, Any]) -> Callable[..., Connection]:
    """Return a maker of connections whose secret differs in the given fields."""

    def make(**changes: Any) -> Connection:
        return Connection("docxworld", "klinikum", DocxworldSecret.model_validate(body | changes))

    return make
