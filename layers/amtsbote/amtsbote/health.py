"""The health of connections: one that fails is tried at a decreasing rate, and everybody is told once."""

from datetime import timedelta

from amtsbote.errors import AmtsboteError, Retry
from amtsbote.events import Event, EventType
from amtsbote.observability import count, log
from amtsbote.services import Services
from amtsbote.status import ConnectionStatus, failed, recovered, throttled


def report_failure(services: Services, connection: str, error: AmtsboteError) -> ConnectionStatus:
    """Note that the connection itself does not work. The event goes out when it was healthy before."""
    log.error("connection unhealthy", extra={"connection": connection, "code": error.code, "error": error.message})
    count("ConnectionUnhealthy", connection=connection)
    with services.health_lock:
        before = services.ledger.status(services.settings.portal, connection)
        if before.healthy:
            _tell(services, EventType.CONNECTION_UNHEALTHY, connection, error.code)
        after = services.ledger.change_status(before, lambda status: failed(status, error.code, services.clock()))
    return services.note_status(after)


def report_recovery(services: Services, status: ConnectionStatus) -> ConnectionStatus:
    """Note that the connection works; the event goes out when it did not before."""
    if status.healthy:
        return status
    _tell(services, EventType.CONNECTION_RECOVERED, status.connection, "RECOVERED")
    return services.note_status(services.ledger.change_status(status, recovered))


def report_throttle(services: Services, connection: str, retry: Retry) -> None:
    """Leave the portal alone for as long as it asked to be left, with all of the connection's work."""
    if retry.after_seconds is None:
        return
    until = services.clock() + timedelta(seconds=retry.after_seconds)
    status = services.ledger.status(services.settings.portal, connection)
    services.note_status(services.ledger.change_status(status, lambda current: throttled(current, until)))


def _tell(services: Services, kind: EventType, connection: str, code: str) -> None:
    services.bus.publish(Event(kind, services.settings.portal, connection, more={"code": code}))
