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
        self.row = self.services.ledger.advance_drop(self.row, Noted(self.row.fence, json.dumps(self.state)))
        if self.state.get(SHOWN) != self._shown:
            self._shown = self.state.get(SHOWN)
            self.count_bytes(self._bytes_shown())
            self.services.receipts.write(self.row)

    def count_bytes(self, sent: int) -> None:
        """Report what has been sent beyond what was reported before."""
        count("BytesSent", max(0, sent - self.bytes_counted), connection=self.row.connection)
        self.bytes_counted = max(sent, self.bytes_counted)

    def _bytes_shown(self) -> int:
        return int((self._shown or {"result": {}})["result"].get("bytesSent", 0))


def deliver(request: DropRequest, attempt: Attempt, services: Services, deadline: Deadline) -> None:
    """Deliver the version that was dropped, or go on with it. Retry when the request has to come again."""
    for version in services.outbox.versions(request):
        try:
            _deliver(version, attempt, services, deadline)
        except (OutOfTime, ConnectionOff) as pause:
            _continue_later(request, pause, services)


def _deliver(version: Version, attempt: Attempt, services: Services, deadline: Deadline) -> None:
    now = services.clock()
    address, refusal = _address(version.key)
    row = services.ledger.open_drop(
        received(version.bucket, version.key, version.version_id, version.sequence, address_of(address), now)
    )
    if row.state in ERASED_STATES:
        return
    if row.state in ENDED or row.state is DropState.SENT:
        _tell(row, services)  # the event came again, or a worker died just before it told
    elif address is None or refusal is not None:
        _fail(row, refusal or Reject("KEY_FITS_NO_RULE", "the key fits no rule"), services)
    elif not may_send(row, now):
        _wait_for_the_other(row, attempt, services)
    else:
        _send(row, version, address, attempt, services, deadline)


def _address(key: str) -> tuple[DropAddress | None, Reject | None]:
    try:
        return parse_drop(key), None
    except Reject as refusal:
        return None, refusal


def address_of(address: DropAddress | None) -> tuple[str, str]:
    """Return (portal, connection), empty where the key fits no rule."""
    return ("", "") if address is None else (address.portal, address.connection)


def _send(
    row: DropRow, version: Version, address: DropAddress, attempt: Attempt, services: Services, deadline: Deadline
) -> None:
    if not attempt.last:
        _require_unpaused(row, services)
    until = services.clock() + timedelta(seconds=services.settings.lease_seconds)
    try:
        leased = services.ledger.advance_drop(row, SendLease(until))
    except ImpossibleTransition:
        return _wait_for_the_other(services.ledger.drop(row), attempt, services)
    try:
        _send_leased(leased, version, address, services, deadline)
    except LeaseLost:
        log.warning("lease lost", extra={"connection": row.connection, "version": row.version_id})
    except (OutOfTime, ConnectionOff):
        services.ledger.advance_drop(leased, Paused(leased.fence))
        raise
    except Misconfigured as error:
        _retry(leased, as_retry(services, row.connection, error), attempt, services)
    except Retry as retry:
        report_throttle(services, row.connection, retry)
        _retry(leased, retry, attempt, services)
    except AmtsboteError as error:
        _fail(leased, error, services, fence=leased.fence)


def _send_leased(row: DropRow, version: Version, address: DropAddress, services: Services, deadline: Deadline) -> None:
    services.receipts.write(row)  # first of all, so that a drop that has to wait has a receipt too
    connection = services.connections.get(address.connection)
    destination = destination_of(services, connection, deadline)
    if destination is None:
        raise ConnectionOff("CONNECTION_PAUSED", "the connection, or its sending direction, is switched off")
    drop = services.outbox.drop(version, address)
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
    _tell(services.ledger.advance_drop(journal.row, Reported(delivery, row.fence, drop.size)), services)


def _with_origin(row: DropRow, drop: Drop, services: Services) -> DropRow:
    """Write down where a routed drop comes from, and what its answer will call it: before there can be one."""
    if drop.provenance is None or row.provenance == drop.provenance:
        return row
    answered_as = services.portal.answered_as(drop) if services.portal.answered_as else None
    originated = services.ledger.advance_drop(row, Originated(row.fence, drop.provenance, answered_as))
    services.receipts.write(originated)
    return originated


def _require_unpaused(row: DropRow, services: Services) -> None:
    """Raise Retry while the connection is to be left alone; the receipt says meanwhile that the drop has been seen."""
    try:
        require_unpaused(services, row.connection)
    except Retry:
        services.receipts.write(row)
        raise


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
    message = error.message if error.portal_words is None else f"{error.message}: {error.portal_words}"
    log.error("delivery failed", extra={"connection": row.connection, "version": row.version_id, **describe(error)})
    _tell(services.ledger.advance_drop(row, Failed(Failure(error.code, message, retryable), fence)), services)


def _tell(row: DropRow, services: Services) -> None:
    """Bring receipt and event up to the row; only then an ended delivery is no longer due."""
    publish_update(row, services)
    if row.state in ENDED:
        connection = existing_connection(row)
        count("Delivered" if row.state is DropState.DELIVERED else "DeliveryFailed", connection=connection)
        services.ledger.advance_drop(row, Told())


def existing_connection(row: DropRow) -> str | None:
    """Return the drop's connection, None where the key's part in its place is none: that might be any word."""
    unknown = row.failure is not None and row.failure.code == UNKNOWN_CONNECTION
    return None if unknown or not row.connection else row.connection


def publish_update(row: DropRow, services: Services) -> None:
    """Write the receipt of a drop and send the event that says so."""
    key = services.receipts.write(row)
    more: Mapping[str, str | list[str]] = {
        "status": status_of(row),
        "versionId": row.version_id,
        "states": [step.state for step in row.steps if STATE_NAME.fullmatch(step.state)],
    }
    services.bus.publish(Event(EventType.DELIVERY_UPDATED, row.portal, row.connection, row.portal_id, key, more))


def _wait_for_the_other(row: DropRow, attempt: Attempt, services: Services) -> None:
    """Come again when the lease of the worker that has the drop runs out, in case it dies."""
    if row.state is not DropState.SENDING or row.lease_until is None or attempt.last:
        return
    seconds = max(1.0, (row.lease_until - services.clock()).total_seconds())
    raise Retry("DELIVERY_UNDER_WAY", "another worker is sending this drop", after_seconds=seconds)


def _continue_later(request: DropRequest, pause: Retry, services: Services) -> None:
    delay = PAUSED_SECONDS if isinstance(pause, ConnectionOff) else 0
    services.own_queue.send_all([request.body()], delay_seconds=delay)
