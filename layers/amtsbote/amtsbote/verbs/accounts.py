"""What the verbs share: the connection of a request, its adapter, and whether it is to be left alone for now."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from amtsbote.connections import UnknownConnection
from amtsbote.deadline import READ_TIMEOUT_SECONDS, Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.health import report_failure, report_throttle, report_timeout
from amtsbote.lifecycle import ItemRow
from amtsbote.messages import ConnectionTask
from amtsbote.observability import count, log, seconds
from amtsbote.portals.portal import Connection
from amtsbote.portals.protocols import Destination, Source
from amtsbote.queues import describe
from amtsbote.services import Services
from amtsbote.status import TOO_SLOW, ConnectionStatus, paused

STATUS_CACHE = timedelta(seconds=5)  # how old the status may be that a fetch or a delivery looks at
OF_A_PORTAL = ("PORTAL_", "LOGIN_")  # how the codes begin that say what a portal did
Result = TypeVar("Result")


def for_connection(
    task: ConnectionTask, services: Services, work: Callable[[Connection], Result], nothing: Result
) -> Result:
    """Do a scheduled task of one connection and return its result, or `nothing` when it could not be done.

    No error leaves here: one that concerns the connection marks it, and only it; what may pass is left to the
    schedule, which comes again anyway.
    """
    used: Connection | None = None
    began = services.clock()
    try:
        used = services.connections.get(task.connection, changed_at=task.changed_at)
        return work(used)
    except UnknownConnection as gone:
        log.info("connection switched off", extra={"connection": task.connection, **describe(gone)})
    except Retry as retry:
        report_throttle(services, task.connection, retry)
        if _waited_in_vain(retry, began, services):
            report_timeout(services, task.connection, retry)
        log.warning(
            "left to the next turn", extra={"connection": task.connection, "task": task.task, **describe(retry)}
        )
        count("TaskDeferred", connection=task.connection)
    except AmtsboteError as error:
        if used is None or services.connections.is_current(used):
            report_failure(services, task.connection, error)
        else:  # it was made with a secret that has been replaced since, as a rotation does
            log.info("left to the new secret", extra={"connection": task.connection, **describe(error)})
    return nothing


def source_of(services: Services, connection: Connection, deadline: Deadline) -> Source | None:
    """Return the connection's source, None where that direction is off."""
    return services.portal.source(connection, services.tools(deadline)) if connection.secret.enabled else None


def destination_of(services: Services, connection: Connection, deadline: Deadline) -> Destination | None:
    """Return the connection's destination, None where that direction is off."""
    return services.portal.destination(connection, services.tools(deadline)) if connection.secret.enabled else None


def left_alone(services: Services, status: ConnectionStatus, task: ConnectionTask) -> bool:
    """Return whether the connection must not be tried now, because it failed or its portal asked for time."""
    if not paused(status, services.clock(), task.changed_at):
        return False
    log.info(
        "left alone", extra={"connection": task.connection, "task": task.task, "code": status.reason or "THROTTLED"}
    )
    return True


def require_unpaused(services: Services, connection: str) -> None:
    """Raise Retry while the connection is to be left alone, judged by a status that may be a few seconds old."""
    status = services.recent_status(connection, STATUS_CACHE)
    if paused(status, services.clock(), None):
        raise Retry(
            "CONNECTION_LEFT_ALONE", "its portal is not to be asked now", after_seconds=_pause(services, status)
        )


def as_retry(services: Services, connection: str, error: Misconfigured) -> Retry:
    """Mark the connection and return the Retry that brings the request back when it is tried again."""
    status = report_failure(services, connection, error)
    return Retry(error.code, error.message, after_seconds=_pause(services, status))


def report_oldest_unacknowledged(rows: Iterable[ItemRow], connection: str, services: Services) -> None:
    """Report how long the oldest of these items has been at its portal, in seconds; 0 where there is none.

    Its portal may delete it some day, so its age counts from when the portal says that it was made.
    """
    now = services.clock()
    ages = [(now - (row.created_at or row.discovered_at)).total_seconds() for row in rows]
    seconds("OldestUnacknowledgedAge", max([0.0, *ages]), connection=connection)


def _waited_in_vain(retry: Retry, began: datetime, services: Services) -> bool:
    """Return whether a portal kept a try for as long as a single read may take, and gave nothing in the end."""
    if retry.code == TOO_SLOW:
        return True
    took = (services.clock() - began).total_seconds()
    return took >= READ_TIMEOUT_SECONDS and retry.after_seconds is None and retry.code.startswith(OF_A_PORTAL)


def _pause(services: Services, status: ConnectionStatus) -> float:
    return 0.0 if status.pause_until is None else max(0.0, (status.pause_until - services.clock()).total_seconds())
