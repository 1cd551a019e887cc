"""The health of connections: one that fails is tried at a decreasing rate, and everybody is told once."""

from collections.abc import Callable
from datetime import timedelta

from amtsbote.errors import AmtsboteError, Retry
from amtsbote.events import Event, EventType
from amtsbote.observability import count, log
from amtsbote.services import Services
from amtsbote.status import TOO_SLOW, ConnectionStatus, failed, recovered, throttled, timed_out


def report_failure(services: Services, connection: str, error: AmtsboteError) -> ConnectionStatus:
    """Note that the connection itself does not work. The event goes out when it was healthy before."""
    _complain(connection, error.code, error.message)
    return _note(services, connection, lambda status: failed(status, error.code, services.clock()))


def report_timeout(services: Services, connection: str, retry: Retry) -> ConnectionStatus:
    """Note that the portal let a try wait in vain; the second in a row is a failure of the connection."""
    noted = _note(services, connection, lambda status: timed_out(status, services.clock()))
    if not noted.healthy:
        _complain(connection, TOO_SLOW, retry.message)
    return noted


def report_recovery(services: Services, status: ConnectionStatus) -> ConnectionStatus:
    """Note that the connection works; the event goes out when it did not before."""
    if recovered(status) == status:
        return status
    if not status.healthy:
        _tell(services, EventType.CONNECTION_RECOVERED, status.connection, "RECOVERED")
    return services.note_status(services.ledger.change_status(status, recovered))


def report_throttle(services: Services, connection: str, retry: Retry) -> None:
    """Leave the portal alone for as long as it asked to be left, with all of the connection's work."""
    if retry.after_seconds is None:
        return
    until = services.clock() + timedelta(seconds=retry.after_seconds)
    status = services.ledger.status(services.settings.portal, connection)
    services.note_status(services.ledger.change_status(status, lambda current: throttled(current, until)))


def _note(
    services: Services, connection: str, change: Callable[[ConnectionStatus], ConnectionStatus]
) -> ConnectionStatus:
    """Change the status of a connection; the event goes out first where that makes it unhealthy."""
    with services.health_lock:
        before = services.ledger.status(services.settings.portal, connection)
        wanted = change(before)
        if before.healthy and not wanted.healthy:
            _tell(services, EventType.CONNECTION_UNHEALTHY, connection, str(wanted.reason))
        after = services.ledger.change_status(before, change)
    return services.note_status(after)


def _complain(connection: str, code: str, said: str) -> None:
    log.error("connection unhealthy", extra={"connection": connection, "code": code, "error": said})
    count("ConnectionUnhealthy", connection=connection)


def _tell(services: Services, kind: EventType, connection: str, code: str) -> None:
    services.bus.publish(Event(kind, services.settings.portal, connection, more={"code": code}))
