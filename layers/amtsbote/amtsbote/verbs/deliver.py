"""deliver: send one outbox object version, resumably. It never sends a version twice."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from amtsbote.connections import UNKNOWN_CONNECTION
from amtsbote.deadline import Deadline
from amtsbote.deliveries import (
    ENDED,
    ERASED_STATES,
    DropRow,
    DropState,
    Failed,
    Failure,
    Noted,
    Originated,
    Paused,
    Reported,
    SendLease,
    Told,
    may_send,
    received,
)
from amtsbote.errors import AmtsboteError, LeaseLost, Misconfigured, OutOfTime, Reject, Retry
from amtsbote.events import Event, EventType
from amtsbote.health import report_throttle
from amtsbote.keys import DropAddress, parse_drop
from amtsbote.lifecycle import ImpossibleTransition
from amtsbote.messages import DropRequest
from amtsbote.observability import count, log
from amtsbote.outbox import Version
from amtsbote.portals.protocols import SHOWN, Drop
from amtsbote.queues import Attempt, describe
from amtsbote.receipts import status_of
from amtsbote.services import Services
from amtsbote.verbs.accounts import as_retry, destination_of, require_unpaused

STATE_NAME = re.compile(r"[A-Z][A-Z_]{0,39}")  # nothing else that a portal may say gets into an event
PAUSED_SECONDS = 900  # how long a drop for a switched-off connection waits before it is looked at again


class ConnectionOff(Retry):
    """The connection is paused or this direction is off; the drop waits without using up its tries."""


@dataclass
class LedgerJournal:
    """The adapter's memory of one delivery, kept in the drop's row under this worker's lease."""

    services: Services
    row: DropRow
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._shown = self.state.get(SHOWN)
        self.bytes_counted = self._bytes_shown()

    def save(self) -> None:
        """Write the state down; LeaseLost when another worker has taken the delivery over."""
        before = self.row
        self.row = self.services.ledger.advance_drop(before, Noted(before.fence, json.dumps(self.state)))
        if self.state.get(SHOWN) != self._shown:
            self._shown = self.state.get(SHOWN)
            self.count_bytes(self._bytes_shown())
            self.services.receipts.write(self.row, over=before)

    def count_bytes(self, sent: int) -> None:
        """Report what has been sent beyond what was reported before."""
        count("BytesSent", max(0, sent - self.bytes_counted), connection=self.row.connection)
        self.bytes_counted = max(sent, self.bytes_counted)

    def _bytes_shown(self) -> int:
        return int((self._shown or {"result": {}})["result"].get("bytesSent", 0))


@dataclass(frozen=True)
class Turn:
    """One try at one version of a drop, and what it is made with."""

    version: Version
    address: DropAddress
    attempt: Attempt
    services: Services
    deadline: Deadline


def deliver(request: DropRequest, attempt: Attempt, services: Services, deadline: Deadline) -> None:
    """Deliver the version that was dropped, or go on with it. Retry when the request has to come again."""
    for version in services.outbox.versions(request):
        try:
            _deliver(version, attempt, services, deadline)
        except (OutOfTime, ConnectionOff) as pause:
            _continue_later(request, pause, services)


def _deliver(version: Version, attempt: Attempt, services: Services, deadline: Deadline) -> None:
    try:
        address = parse_drop(version.key)
    except Reject as refusal:
        return _refuse(_received(version, ("", ""), services), refusal, services)
    first = _received(version, (address.portal, address.connection), services)
    pause = None if attempt.last else _pause(address.connection, services)
    if pause is not None:
        return _put_off(services.ledger.open_drop(first), pause, attempt, services)
    opened, turn = (
        services.ledger.begin_drop(first, _lease(services)),
        Turn(version, address, attempt, services, deadline),
    )
    if not opened.is_new:
        return _go_on(opened.row, turn)
    return _send(opened.row, turn, is_first=opened.is_first)


def _received(version: Version, account: tuple[str, str], services: Services) -> DropRow:
    return received(version.bucket, version.key, version.version_id, version.sequence, account, services.clock())


def _lease(services: Services) -> SendLease:
    return SendLease(services.clock() + timedelta(seconds=services.settings.lease_seconds))


def _refuse(first: DropRow, refusal: Reject, services: Services) -> None:
    """Fail a drop whose key fits no rule."""
    row = services.ledger.open_drop(first)
    if not _is_settled(row, services):
        _fail(row, refusal, services)


def _put_off(row: DropRow, pause: Retry, attempt: Attempt, services: Services) -> None:
    """Come again when the connection may be tried; the receipt says meanwhile that the drop has been seen."""
    if _is_settled(row, services):
        return
    if may_send(row, services.clock()):
        services.receipts.write(row)
        raise pause
    _wait_for_the_other(row, attempt, services)


def _is_settled(row: DropRow, services: Services) -> bool:
    """Return whether there is nothing to send; what is out is told: the event came again, or a worker died before."""
    if row.state in ENDED or row.state is DropState.SENT:
        _tell(row, services)
        return True
    return row.state in ERASED_STATES


def _go_on(row: DropRow, turn: Turn) -> None:
    """Take up a drop that another invocation has opened."""
    services = turn.services
    if _is_settled(row, services):
        return None
    try:
        leased = services.ledger.advance_drop(row, _lease(services))
    except ImpossibleTransition:
        return _wait_for_the_other(services.ledger.drop(row), turn.attempt, services)
    return _send(leased, turn)


def _send(leased: DropRow, turn: Turn, *, is_first: bool = False) -> None:
    """Send under the lease; `is_first`: the key cannot have a receipt yet."""
    services, attempt = turn.services, turn.attempt
    write_receipt = services.receipts.write_first if is_first else services.receipts.write
    try:
        write_receipt(leased)  # first of all, so that a drop that has to wait has a receipt too
        _send_leased(leased, turn)
    except LeaseLost:
        log.warning("lease lost", extra={"connection": leased.connection, "version": leased.version_id})
    except (OutOfTime, ConnectionOff):
        services.ledger.advance_drop(leased, Paused(leased.fence))
        raise
    except Misconfigured as error:
        _retry(leased, as_retry(services, leased.connection, error), attempt, services)
    except Retry as retry:
        report_throttle(services, leased.connection, retry)
        _retry(leased, retry, attempt, services)
    except AmtsboteError as error:
        _fail(leased, error, services, fence=leased.fence)


def _send_leased(row: DropRow, turn: Turn) -> None:
    services = turn.services
    connection = services.connections.get(turn.address.connection)
    destination = destination_of(services, connection, turn.deadline)
    if destination is None:
        raise ConnectionOff("CONNECTION_PAUSED", "the connection, or its sending direction, is switched off")
    drop = services.outbox.drop(turn.version, turn.address)
    row = _with_origin(row, drop, services)
    journal = LedgerJournal(services, row, json.loads(row.journal))
    try:
        delivery = destination.deliver(drop, journal)
    except Misconfigured:
        if services.connections.is_current(connection):
            raise
        raise Retry("SECRET_CHANGED", "the secret was changed meanwhile") from None
    journal.count_bytes(drop.size)
    if delivery.proven_by is not None:
        services.ledger.await_proof(row, delivery.proven_by)
    _tell(services.ledger.advance_drop(journal.row, Reported(delivery, row.fence, drop.size)), services, journal.row)


def _with_origin(row: DropRow, drop: Drop, services: Services) -> DropRow:
    """Write down where a routed drop comes from, and what its answer will call it: before there can be one."""
    if drop.provenance is None or row.provenance == drop.provenance:
        return row
    answered_as = services.portal.answered_as(drop) if services.portal.answered_as else None
    originated = services.ledger.advance_drop(row, Originated(row.fence, drop.provenance, answered_as))
    services.receipts.write(originated, over=row)
    return originated


def _pause(connection: str, services: Services) -> Retry | None:
    """Return the Retry of a connection that is to be left alone for now."""
    try:
        require_unpaused(services, connection)
    except Retry as pause:
        return pause
    return None


def _retry(row: DropRow, retry: Retry, attempt: Attempt, services: Services) -> None:
    """Give the request back to its queue; after the last try the drop has failed, and may be dropped again."""
    if attempt.last:
        _fail(row, retry, services, fence=row.fence, retryable=True)
        return
    services.ledger.advance_drop(row, Paused(row.fence, retry.code))
    raise retry


def _fail(
    row: DropRow, error: AmtsboteError, services: Services, *, fence: int | None = None, retryable: bool = False
) -> None:
    log.error("delivery failed", extra={"connection": row.connection, "version": row.version_id, **describe(error)})
    failed = services.ledger.advance_drop(row, Failed(failure_of(error, retryable=retryable), fence))
    _tell(failed, services, row if fence else None)


def failure_of(error: AmtsboteError, *, retryable: bool = False) -> Failure:
    """Return an error as a receipt says it, with the portal's words."""
    message = error.message if error.portal_words is None else f"{error.message}: {error.portal_words}"
    return Failure(error.code, message, retryable)


def _tell(row: DropRow, services: Services, before: DropRow | None = None) -> None:
    """Bring receipt and event up to the row (`before` its latest step); only then an ended delivery is not due."""
    services.bus.publish(update_of(row, services, before))
    end(row, services)


def end(row: DropRow, services: Services) -> None:
    """Take note that an ended delivery has been told of; one that goes on stays as it is."""
    if row.state in ENDED:
        connection = existing_connection(row)
        count("Delivered" if row.state is DropState.DELIVERED else "DeliveryFailed", connection=connection)
        services.ledger.advance_drop(row, Told())


def existing_connection(row: DropRow) -> str | None:
    """Return the drop's connection, None where the key's part in its place is none: that might be any word."""
    unknown = row.failure is not None and row.failure.code == UNKNOWN_CONNECTION
    return None if unknown or not row.connection else row.connection


def update_of(row: DropRow, services: Services, before: DropRow | None = None) -> Event:
    """Write the receipt of a drop and return the event that says so; `before` is `over` of `Receipts.write`."""
    key = services.receipts.write(row, before)
    more: Mapping[str, str | list[str]] = {
        "status": status_of(row),
        "versionId": row.version_id,
        "states": [step.state for step in row.steps if STATE_NAME.fullmatch(step.state)],
    }
    return Event(EventType.DELIVERY_UPDATED, row.portal, row.connection, row.portal_id, key, more)


def _wait_for_the_other(row: DropRow, attempt: Attempt, services: Services) -> None:
    """Come again when the lease of the worker that has the drop runs out, in case it dies."""
    if row.state is not DropState.SENDING or row.lease_until is None or attempt.last:
        return
    seconds = max(1.0, (row.lease_until - services.clock()).total_seconds())
    raise Retry("DELIVERY_UNDER_WAY", "another worker is sending this drop", after_seconds=seconds)


def _continue_later(request: DropRequest, pause: Retry, services: Services) -> None:
    delay = PAUSED_SECONDS if isinstance(pause, ConnectionOff) else 0
    services.own_queue.send_all([request.body()], delay_seconds=delay)
