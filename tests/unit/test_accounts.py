"""What becomes of a scheduled task whose portal lets it wait (moto's table and secrets)."""

import json
from typing import Any

import pytest

from amtsbote.errors import OutOfTime, Retry
from amtsbote.messages import ConnectionTask, Task
from amtsbote.portals.portal import Connection
from amtsbote.services import Services
from amtsbote.settings import Settings
from amtsbote.verbs.accounts import for_connection
from tests.unit.support import Bus, Clock

TASK = ConnectionTask(portal="duba", connection="klinikum", task=Task.POLL)
SECRET = {"baseUrl": "https://elim.example.com", "username": "amtsbote", "password": "geheim"}
UNREACHABLE = Retry("PORTAL_UNREACHABLE", "GET /messages: ReadTimeout")


@pytest.fixture(scope="module")
def connected(secrets: Any) -> None:
    secrets.create_secret(Name="amtsbote/duba/klinikum", SecretString=json.dumps(SECRET))


@pytest.fixture
def services(connected: None, secrets: Any, dynamodb: Any, table: str, clock: Clock, bus: Bus) -> Services:
    clients = {"dynamodb": dynamodb, "secretsmanager": secrets, "events": bus}
    settings = Settings(portal="duba", ledger_table=table, event_bus="bus", queue_url="own")
    return Services(settings, clients.__getitem__, clock)


def tried(services: Services, clock: Clock, retry: Retry, seconds: float) -> int:
    """Let a try end so after that time, and return how many in a row have waited in vain."""

    def work(_: Connection) -> str:
        clock.forward(seconds=seconds)
        raise retry

    assert for_connection(TASK, services, work, "nothing") == "nothing"
    return services.ledger.status("duba", "klinikum").timeouts


@pytest.mark.parametrize(
    ("retry", "seconds"),
    [
        (UNREACHABLE, 60),
        (Retry("LOGIN_UNAVAILABLE", "the token endpoint did not answer"), 61),
        (Retry("PORTAL_BODY_CUT", "the body ended after 7 bytes"), 90),
        (Retry("PORTAL_TOO_SLOW", "GET /messages was not answered within the invocation's time"), 0),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_a_try_that_a_portal_let_wait_is_counted(
    services: Services, clock: Clock, retry: Retry, seconds: float
) -> None:
    assert tried(services, clock, retry, seconds) == 1


@pytest.mark.parametrize(
    ("retry", "seconds"),
    [
        (UNREACHABLE, 59),
        (Retry("PORTAL_THROTTLED", "429", after_seconds=5), 100),
        (Retry("LEDGER_CONTENDED", "ours"), 100),
        (OutOfTime(), 112),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_a_try_that_was_refused_soon_or_used_its_time_itself_is_not_counted(
    services: Services, clock: Clock, retry: Retry, seconds: float
) -> None:
    assert tried(services, clock, retry, seconds) == 0


def test_a_portal_that_hangs_on_is_told_of_once(services: Services, clock: Clock, bus: Bus) -> None:
    for number in range(1, 5):
        assert tried(services, clock, UNREACHABLE, 112) == number
    assert [detail["code"] for _, detail in bus.told] == ["PORTAL_TOO_SLOW"]
