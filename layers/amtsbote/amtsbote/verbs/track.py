"""track: follow deliveries to their last state, rewrite their receipts, forget secrets that end. It never uploads."""

from collections.abc import Sequence
from datetime import timedelta

from amtsbote.batches import in_batches, side_by_side
from amtsbote.deadline import Deadline
from amtsbote.deliveries import ENDED, DropRow, Failed, Forgotten, Reported, TrackLater
from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Retry
from amtsbote.events import Event
from amtsbote.health import report_recovery
from amtsbote.lifecycle import ImpossibleTransition, Work
from amtsbote.messages import ConnectionTask
from amtsbote.observability import count, log
from amtsbote.portals.portal import Connection
from amtsbote.portals.protocols import Destination
from amtsbote.queues import describe
from amtsbote.services import Services
from amtsbote.storage import NOT_DELETED
from amtsbote.verbs.accounts import destination_of, for_connection, left_alone
from amtsbote.verbs.deliver import end, failure_of, update_of

TRACKERS = 8  # deliveries asked about side by side
LATER = timedelta(minutes=1)
Answer = Reported | TrackLater | Failed


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
        _track_some(rows, destination, services)
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
            if retry.code == NOT_DELETED:  # locked, and so is every younger one: one is asked for at each turn
                break


def _track_some(rows: Sequence[DropRow], destination: Destination, services: Services) -> None:
    """Ask about some deliveries side by side, and tell of them in one go; then raise what some could not be asked for.

    Nothing is written before all have been asked, so that of a row that has changed everybody is told soon.
    """
    asked = side_by_side(lambda row: _ask(row, destination, services), rows, TRACKERS)
    answered = [(row, said) for row, said in zip(rows, asked, strict=True) if not isinstance(said, AmtsboteError)]
    changed: list[tuple[DropRow, Event]] = []
    try:
        side_by_side(lambda each: _move(*each, changed, services), answered, TRACKERS)
    finally:  # where one could not be written, the others are told of all the same
        services.bus.publish_all(update for _, update in changed)
        side_by_side(lambda each: _end(each[0], services), changed, TRACKERS)
    for refusal in asked:
        if isinstance(refusal, AmtsboteError):
            raise refusal


def _ask(row: DropRow, destination: Destination, services: Services) -> Answer | AmtsboteError | None:
    """Return what happens to a delivery, None where it has ended, and the error where that is the connection's."""
    if row.state in ENDED:
        return None
    try:
        return Reported(destination.track(row.tracked_as or row.portal_id or ""))
    except AmtsboteError as error:
        if isinstance(error, Misconfigured | OutOfTime):
            return error
        if not isinstance(error, Retry):
            return Failed(failure_of(error))
        if error.after_seconds is not None:
            return error
        log.info("asked in vain", extra={"connection": row.connection, **describe(error)})
        return TrackLater(services.clock() + LATER)


def _move(row: DropRow, said: Answer | None, changed: list[tuple[DropRow, Event]], services: Services) -> None:
    """Let it happen; where there is something to tell, write the receipt and note what has `changed`."""
    try:
        moved = row if said is None else services.ledger.advance_drop(row, said)
    except ImpossibleTransition:
        log.info("changed meanwhile", extra={"connection": row.connection, "version": row.version_id})
        return
    if moved.state in ENDED or (moved.steps, moved.result) != (row.steps, row.result):
        changed.append((moved, update_of(moved, services, None if said is None else row)))


def _end(row: DropRow, services: Services) -> None:
    try:
        end(row, services)
    except ImpossibleTransition:
        log.info("changed meanwhile", extra={"connection": row.connection, "version": row.version_id})
