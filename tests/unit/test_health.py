"""The health of connections in the ledger (moto's): everybody is told once, and a throttle is no illness."""

from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Retry
from amtsbote.health import report_failure, report_recovery, report_throttle, report_timeout
from amtsbote.services import Services
from amtsbote.settings import Settings
from amtsbote.status import ConnectionStatus, paused
from tests.unit.support import Bus, Clock, Logged, later

HUNG = Retry("PORTAL_UNREACHABLE", "GET /messages: ReadTimeout")
REFUSED = Misconfigured("LOGIN_REFUSED", "check the credentials", portal_words="Frau Müller, Zimmer 7")


@pytest.fixture
def services(dynamodb: Any, table: str, clock: Clock, bus: Bus) -> Services:
    clients = {"dynamodb": dynamodb, "events": bus}
    return Services(
        Settings(portal="duba", ledger_table=table, event_bus="bus", queue_url="own"), clients.__getitem__, clock
    )


def status_of(services: Services) -> ConnectionStatus:
    return services.ledger.status("duba", "klinikum")


def test_a_connection_that_fails_is_paused_and_everybody_is_told_the_code(services: Services, bus: Bus) -> None:
    status = report_failure(services, "klinikum", REFUSED)
    assert status == status_of(services)
    assert (status.healthy, status.reason, status.pause_until) == (False, "LOGIN_REFUSED", later(seconds=30))
    ((kind, detail),) = bus.told
    assert kind == "Connection Unhealthy"
    assert detail == {"portal": "duba", "connection": "klinikum", "id": None, "key": None, "code": "LOGIN_REFUSED"}


def test_a_connection_that_fails_on_is_told_of_once_and_paused_longer(
    services: Services, bus: Bus, clock: Clock
) -> None:
    for _ in range(3):
        report_failure(services, "klinikum", REFUSED)
        clock.forward(minutes=5)
    assert len(bus.told) == 1
    assert status_of(services).failures == 3


def test_the_portals_words_are_not_logged(services: Services, logged: Logged) -> None:
    report_failure(services, "klinikum", REFUSED)
    assert "LOGIN_REFUSED" in logged()
    assert "Müller" not in logged()


def test_a_connection_that_works_again_is_told_of_once(services: Services, bus: Bus) -> None:
    status = report_failure(services, "klinikum", REFUSED)
    healthy = report_recovery(services, status)
    assert healthy.healthy
    assert healthy.pause_until is None
    assert status_of(services) == healthy
    report_recovery(services, healthy)
    assert [kind for kind, _ in bus.told] == ["Connection Unhealthy", "Connection Recovered"]


def test_a_connection_that_always_worked_is_not_told_of(services: Services, bus: Bus) -> None:
    assert report_recovery(services, status_of(services)).version == 0
    assert bus.told == []


def test_a_throttled_connection_is_left_alone_and_nobody_is_told(services: Services, bus: Bus, clock: Clock) -> None:
    report_throttle(services, "klinikum", Retry("PORTAL_THROTTLED", "x", after_seconds=600))
    assert paused(status_of(services), later(minutes=9), None)
    clock.forward(minutes=10)
    assert not paused(status_of(services), clock(), None)
    assert (status_of(services).healthy, bus.told) == (True, [])


def test_a_throttle_outlasts_the_success_of_another_worker(services: Services, bus: Bus) -> None:
    report_throttle(services, "klinikum", Retry("PORTAL_THROTTLED", "x", after_seconds=600))
    report_recovery(services, status_of(services))
    assert paused(status_of(services), later(minutes=9), None)
    assert bus.told == []


def test_a_retry_that_asks_for_no_wait_changes_nothing(services: Services) -> None:
    report_throttle(services, "klinikum", Retry("PORTAL_ERROR", "x"))
    assert status_of(services).version == 0


def test_one_connections_failure_is_not_anothers(services: Services) -> None:
    report_failure(services, "klinikum", REFUSED)
    assert services.ledger.status("duba", "stadt").healthy


def test_a_portal_that_hangs_once_is_told_to_nobody(services: Services, bus: Bus, logged: Logged) -> None:
    status = report_timeout(services, "klinikum", HUNG)
    assert (status.healthy, status.timeouts, bus.told) == (True, 1, [])
    assert "unhealthy" not in logged()
    assert report_recovery(services, status).timeouts == 0
    assert status_of(services).timeouts == 0
    assert bus.told == []


def test_a_portal_that_hangs_twice_in_a_row_is_left_alone_and_told_of_once(
    services: Services, bus: Bus, clock: Clock, logged: Logged
) -> None:
    for _ in range(4):
        status = report_timeout(services, "klinikum", HUNG)
        clock.forward(minutes=5)
    assert [(kind, detail["code"]) for kind, detail in bus.told] == [("Connection Unhealthy", "PORTAL_TOO_SLOW")]
    assert (status.reason, status.failures) == ("PORTAL_TOO_SLOW", 3)
    assert "PORTAL_TOO_SLOW" in logged()
    report_recovery(services, status)
    assert [kind for kind, _ in bus.told] == ["Connection Unhealthy", "Connection Recovered"]
    assert status_of(services).healthy
