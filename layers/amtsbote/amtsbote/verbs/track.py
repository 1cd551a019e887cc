"""track: follow deliveries to their last state, rewrite their receipts, forget secrets that end. It never uploads."""

from datetime import timedelta

from amtsbote.batches import in_batches, side_by_side
from amtsbote.deadline import Deadline
from amtsbote.deliveries import ENDED, DropRow, Failed, Failure, Forgotten, Reported, Told, TrackLater
from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Retry
from amtsbote.health import report_recovery
from amtsbote.lifecycle import ImpossibleTransition, Work
from amtsbote.messages import ConnectionTask
from amtsbote.observability import count, log
from amtsbote.portals.portal import Connection
from amtsbote.portals.protocols import Destination
from amtsbote.queues import describe
from amtsbote.services import Services
from amtsbote.verbs.accounts import destination_of, for_connection, left_alone
from amtsbote.verbs.deliver import publish_update

TRACKERS = 8  # deliveries asked about side by side
LATER = timedelta(minutes=1)


def track(task: ConnectionTask, services: Services, deadline: Deadline) -> int:
    """Ask the portal about all deliveries of the connection that are due, and return how many were asked about."""
    return for_connection(task, services, lambda connection: _track(connection, task, services, deadline), 0)


def _track(connection: Connection, task: ConnectionTask, services: Services, deadline: Deadline) -> int:
    _forget_expired(connection, services, deadline)
    destination = destination_of(services, connection, deadline)
    status = services.ledger.status(connection.portal, connection.name)
    if destination is None or left_alone(services, status, task):
        return 0
    asked = 0
    for rows in in_batches(services.ledger.due_drops(connection.portal, connection.name), TRACKERS):
        deadline.check()
        side_by_side(lambda row: _track_one(row, destination, services), rows, TRACKERS)
        asked += len(rows)
    if asked:
        report_recovery(services, status)
    return asked


def _forget_expired(connection: Connection, services: Services, deadline: Deadline) -> None:
    """Delete the receipts whose secret has ended. No portal is asked, so an unhealthy connection does not delay it."""
    for row in list(services.ledger.due_drops(connection.portal, connection.name, Work.FORGET)):
        deadline.check()
        try:
            services.receipts.forget(row)
            services.ledger.advance_drop(row, Forgotten())
            count("Forgotten", connection=row.connection)
        except Retry as retry:  # the row stays due, and keeps neither the others nor the tracking
            log.warning("not forgotten yet", extra={"connection": row.connection, **describe(retry)})


def _track_one(row: DropRow, destination: Destination, services: Services) -> None:
    try:
        told = row if row.state in ENDED else _ask(row, destination, services)
        if told.state in ENDED or (told.steps, told.result) != (row.steps, row.result):
            publish_update(told, services)
        if told.state in ENDED:
            services.ledger.advance_drop(told, Told())
            count("Delivered" if told.failure is None else "DeliveryFailed", connection=row.connection)
    except ImpossibleTransition:
        log.info("changed meanwhile", extra={"connection": row.connection, "version": row.version_id})


def _ask(row: DropRow, destination: Destination, services: Services) -> DropRow:
    try:
        delivery = destination.track(row.tracked_as or row.portal_id or "")
    except (Misconfigured, OutOfTime):
        raise
    except Retry as retry:
        if retry.after_seconds is not None:
            raise
        log.info("asked in vain", extra={"connection": row.connection, **describe(retry)})
        return services.ledger.advance_drop(row, TrackLater(services.clock() + LATER))
    except AmtsboteError as error:
        message = error.message if error.portal_words is None else f"{error.message}: {error.portal_words}"
        return services.ledger.advance_drop(row, Failed(Failure(error.code, message)))
    return services.ledger.advance_drop(row, Reported(delivery))
