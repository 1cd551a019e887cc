"""fetch: bring one item into the inbox. It never acknowledges."""

import json
from datetime import datetime, timedelta
from enum import StrEnum

from amtsbote.connections import UnknownConnection
from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, LeaseLost, Misconfigured, Quarantine, Reject, Retry, Unavailable
from amtsbote.events import Event, EventType
from amtsbote.health import report_throttle
from amtsbote.inbox import Identity, contents_of
from amtsbote.keys import document_key, item_prefix
from amtsbote.lifecycle import (
    Committed,
    Deferred,
    FoundGone,
    FoundUnreadable,
    ImpossibleTransition,
    ItemRow,
    LeaseTaken,
    lease_is_free,
)
from amtsbote.messages import FetchRequest
from amtsbote.observability import count, log
from amtsbote.portals.portal import Connection
from amtsbote.portals.protocols import Item
from amtsbote.queues import Attempt, backoff_seconds, describe
from amtsbote.services import Services
from amtsbote.verbs.accounts import as_retry, require_unpaused, source_of

LEDGER_RETRY = timedelta(hours=1)  # after the queue's last try the ledger brings the item back at this rate


class Fetched(StrEnum):
    """What became of a fetch request."""

    STORED = "STORED"
    SKIPPED = "SKIPPED"  # nothing to do: done already, in other hands, or its connection is gone
    QUARANTINED = "QUARANTINED"
    UNAVAILABLE = "UNAVAILABLE"
    DEFERRED = "DEFERRED"  # the queue has given up on it, the ledger brings it back


def fetch(request: FetchRequest, attempt: Attempt, services: Services, deadline: Deadline) -> Fetched:
    """Bring the item into the inbox, once. Retry when it has to come again."""
    row = services.ledger.item(request.portal, request.connection, request.id)
    if row is None or not lease_is_free(row, services.clock()):
        return Fetched.SKIPPED
    if not attempt.last:
        require_unpaused(services, request.connection)
    try:
        leased = services.ledger.advance(row, LeaseTaken(_lease_end(services)))
    except ImpossibleTransition:
        return Fetched.SKIPPED  # another worker was quicker
    try:
        outcome = _fetch_leased(leased, attempt, services, deadline)
    except (LeaseLost, ImpossibleTransition):
        outcome = Fetched.SKIPPED
    log.info("fetched", extra={"connection": row.connection, "id": row.id, "outcome": outcome})
    return outcome


def _fetch_leased(row: ItemRow, attempt: Attempt, services: Services, deadline: Deadline) -> Fetched:
    used: Connection | None = None
    try:
        used = services.connections.get(row.connection)
        return _store(row, used, attempt, services, deadline)
    except UnknownConnection as error:
        later = Retry(error.code, error.message)  # switched off by deleting its secret: the ledger keeps the item
        return _defer(row, later, Attempt(attempt.number, last=True), services)
    except Quarantine as error:
        return _quarantined(row, error, services)
    except (Unavailable, Reject) as error:
        return _gone(row, error, services)
    except Misconfigured as error:
        if used is not None and not services.connections.is_current(used):
            return _defer(row, Retry("SECRET_CHANGED", "the secret was changed meanwhile"), attempt, services)
        return _defer(row, as_retry(services, row.connection, error), attempt, services)
    except LeaseLost:
        raise
    except Retry as retry:
        report_throttle(services, row.connection, retry)
        return _defer(row, retry, attempt, services)


def _store(row: ItemRow, connection: Connection, attempt: Attempt, services: Services, deadline: Deadline) -> Fetched:
    prefix = item_prefix(row.portal, row.connection, row.id)
    document = services.inbox.document(prefix) if row.fence > 1 else None  # committed before
    if document is None:
        source = source_of(services, connection, deadline)
        if source is None:
            raise Retry("CONNECTION_PAUSED", "the connection is switched off", after_seconds=60)
        require_unpaused(services, row.connection)  # the last try, too, goes to the ledger instead
        record = json.loads(row.record or "{}")
        files = source.fetch(Item(row.id, prefix, record, row.hints))
        stored = services.inbox.store_all(prefix, files, last_try=attempt.last)
        identity = Identity(row.portal, row.connection, row.id, prefix)
        document = services.inbox.commit(identity, stored, record, services.clock())
    services.bus.publish(_event(EventType.DOCUMENT_RECEIVED, row, prefix))
    contents = contents_of(document)
    services.ledger.advance(row, Committed(connection.secret.acknowledge, contents))
    count("Stored", connection=row.connection)
    return Fetched.STORED


def _quarantined(row: ItemRow, error: Quarantine, services: Services) -> Fetched:
    log.error("quarantined", extra={"connection": row.connection, "id": row.id, **describe(error)})
    count("Quarantined", connection=row.connection)
    services.ledger.advance(row, FoundUnreadable(row.fence, error.code))
    return Fetched.QUARANTINED


def _gone(row: ItemRow, error: AmtsboteError, services: Services) -> Fetched:
    log.warning("unavailable", extra={"connection": row.connection, "id": row.id, **describe(error)})
    count("Unavailable", connection=row.connection)
    services.bus.publish(_event(EventType.DOCUMENT_UNAVAILABLE, row, None))
    services.ledger.advance(row, FoundGone(error.code, row.fence))
    return Fetched.UNAVAILABLE


def _defer(row: ItemRow, retry: Retry, attempt: Attempt, services: Services) -> Fetched:
    """Let the lease go and give the request back to the queue; after its last try the ledger takes over."""
    seconds = backoff_seconds(attempt.number, asked=retry.after_seconds)
    pause = LEDGER_RETRY if attempt.last else timedelta(seconds=seconds)
    services.ledger.advance(row, Deferred(row.fence, services.clock() + pause, retry.code))
    if attempt.last:
        log.warning("deferred to the ledger", extra={"connection": row.connection, "id": row.id, **describe(retry)})
        return Fetched.DEFERRED
    raise Retry(retry.code, retry.message, after_seconds=seconds)


def _lease_end(services: Services) -> datetime:
    return services.clock() + timedelta(seconds=services.settings.lease_seconds)


def _event(kind: EventType, row: ItemRow, prefix: str | None) -> Event:
    key = None if prefix is None else document_key(prefix)
    return Event(kind, row.portal, row.connection, row.id, key)
