"""acknowledge: tell the portal what is safely stored. It acts on nothing but ledger rows that say STORED."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice

from amtsbote.batches import in_batches, side_by_side
from amtsbote.deadline import Deadline
from amtsbote.events import Event, EventType
from amtsbote.health import report_recovery
from amtsbote.keys import document_key, item_prefix
from amtsbote.lifecycle import (
    Acknowledged,
    AcknowledgeDeferred,
    FoundGone,
    ItemEvent,
    ItemRow,
    State,
    Work,
    next_processed_check,
)
from amtsbote.messages import ConnectionTask
from amtsbote.observability import count, log
from amtsbote.portals.portal import AcknowledgePolicy, Connection
from amtsbote.portals.protocols import Acknowledgement, AcknowledgeOutcome, Item, Source
from amtsbote.queues import backoff_seconds
from amtsbote.services import Services
from amtsbote.verbs.accounts import for_connection, left_alone, report_oldest_unacknowledged, source_of

READERS = 16  # checks of document.json side by side: as many as there are connections to S3
LOOKED_AT = 100  # of those that have been due for longest, when the oldest is looked for
NOT_STORED = "DOCUMENT_JSON_MISSING"
NOT_PROCESSED = "NOT_PROCESSED_YET"
NO_ANSWER = "NO_ANSWER_FOR_THIS_ITEM"


def acknowledge(task: ConnectionTask, services: Services, deadline: Deadline) -> int:
    """Tell the portal of all documents of the connection that are due, and return how many it confirmed."""
    _measure(task, services)
    return for_connection(task, services, lambda connection: _acknowledge(connection, task, services, deadline), 0)


def _measure(task: ConnectionTask, services: Services) -> None:
    """Report the age of what the portal has not been told of. Said first, so also of a connection that does not work.

    What had to be deferred is due again within the hour, so that each row is seen in some turn. Where there is nothing,
    poll says so.
    """
    due = list(islice(services.ledger.due_items(Work.ACKNOWLEDGE, task.portal, task.connection), LOOKED_AT))
    if due:
        report_oldest_unacknowledged(due, task.connection, services)


def _acknowledge(connection: Connection, task: ConnectionTask, services: Services, deadline: Deadline) -> int:
    source = source_of(services, connection, deadline)
    status = services.ledger.status(connection.portal, connection.name)
    policy: AcknowledgePolicy = connection.secret.acknowledge
    if source is None or policy is AcknowledgePolicy.NEVER or left_alone(services, status, task):
        return 0
    confirmed = 0
    due = services.ledger.due_items(Work.ACKNOWLEDGE, connection.portal, connection.name)
    for rows in in_batches(due, source.acknowledge_batch):
        deadline.check()
        ready = _ready(rows, policy, services)
        if ready:
            confirmed += _tell(source, ready, services)
            status = report_recovery(services, status)
    return confirmed


def _ready(rows: Sequence[ItemRow], policy: AcknowledgePolicy, services: Services) -> list[ItemRow]:
    """Return the rows whose document is in the inbox (and processed, where that is asked for); defer the others."""

    def obstacle(row: ItemRow) -> str | None:
        prefix = item_prefix(row.portal, row.connection, row.id)
        if row.state is not State.STORED or not services.inbox.is_committed(prefix):
            return NOT_STORED
        if policy is AcknowledgePolicy.PROCESSED and not services.inbox.is_processed(prefix):
            return NOT_PROCESSED
        return None

    obstacles = side_by_side(obstacle, rows, READERS)
    for row, reason in zip(rows, obstacles, strict=True):
        if reason is not None:
            _defer(row, reason, services)
    return [row for row, reason in zip(rows, obstacles, strict=True) if reason is None]


def _defer(row: ItemRow, reason: str, services: Services) -> None:
    if reason == NOT_STORED:
        log.error("document.json is missing", extra={"connection": row.connection, "id": row.id, "code": reason})
        count("DocumentMissing", connection=row.connection)
    later = AcknowledgeDeferred(next_processed_check(row.attempts, services.clock()), reason)
    services.ledger.advance_all([(row, later)])


def _tell(source: Source, rows: Sequence[ItemRow], services: Services) -> int:
    """Acknowledge one batch; each row by the portal's answer for just this item."""
    items = [Item(row.id, item_prefix(row.portal, row.connection, row.id), {}, row.hints) for row in rows]
    answers = {answer.id: answer for answer in source.acknowledge(items)}
    pairs = [(row, answers.get(row.id, _unanswered(row))) for row in rows]
    services.bus.publish_all(_events(pairs))
    services.ledger.advance_all([(row, _what_happened(row, answer, services)) for row, answer in pairs])
    done = sum(answer.outcome is AcknowledgeOutcome.DONE for _, answer in pairs)
    count("Acknowledged", done, connection=rows[0].connection)
    log.info("acknowledged", extra={"connection": rows[0].connection, "asked": len(rows), "confirmed": done})
    return done


def _unanswered(row: ItemRow) -> Acknowledgement:
    return Acknowledgement(row.id, AcknowledgeOutcome.TRY_AGAIN, NO_ANSWER)


def _events(pairs: Sequence[tuple[ItemRow, Acknowledgement]]) -> Iterator[Event]:
    kinds = {
        AcknowledgeOutcome.DONE: EventType.DOCUMENT_ACKNOWLEDGED,
        AcknowledgeOutcome.UNAVAILABLE: EventType.DOCUMENT_UNAVAILABLE,
    }
    for row, answer in pairs:
        if answer.outcome in kinds:
            key = document_key(item_prefix(row.portal, row.connection, row.id))
            yield Event(kinds[answer.outcome], row.portal, row.connection, row.id, key)


def _what_happened(row: ItemRow, answer: Acknowledgement, services: Services) -> ItemEvent:
    if answer.outcome is AcknowledgeOutcome.DONE:
        return Acknowledged(answer.reason)
    extra = {"connection": row.connection, "id": row.id, "code": answer.reason}
    if answer.outcome is AcknowledgeOutcome.UNAVAILABLE:
        log.error("the portal refuses the acknowledgement", extra=extra)
        count("Unavailable", connection=row.connection)
        return FoundGone(answer.reason)
    log.warning("acknowledgement deferred", extra=extra)
    pause = timedelta(seconds=backoff_seconds(row.attempts + 1))
    return AcknowledgeDeferred(services.clock() + pause, answer.reason)
