"""The life of an outbound drop, as pure functions: (row, event, now) → row. No I/O, no clock, no table.

RECEIVED → SENDING → SENT → DELIVERED | FAILED → (after the time set) ERASING → ERASED

Where it FAILED and may yet succeed, a person may want it sent again (→ RECEIVED).
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from amtsbote.chain import Provenance
from amtsbote.errors import LeaseLost
from amtsbote.lifecycle import (
    BY_HAND,
    Due,
    Erased,
    ErasureBegun,
    ImpossibleTransition,
    Past,
    Shelf,
    Subject,
    Word,
    Work,
    remembered,
    spelled,
)
from amtsbote.portals.protocols import Delivery, Outcome

TRACK_FIRST = timedelta(seconds=5)
TRACK_AT_MOST = timedelta(minutes=15)
RECEIPT_DUE_AFTER = timedelta(minutes=1)
NOTHING = "{}"


class DropState(StrEnum):
    """Where a drop is in its life."""

    RECEIVED = "RECEIVED"
    SENDING = "SENDING"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    ERASING = "ERASING"
    ERASED = "ERASED"


ENDED = frozenset({DropState.DELIVERED, DropState.FAILED})
ERASED_STATES = frozenset({DropState.ERASING, DropState.ERASED})
"""States of which there is nothing to send and nothing to tell any more."""


@dataclass(frozen=True)
class Failure:
    """Why a drop failed, as its receipt says it. `retryable`: dropping it again may help."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True)
class DropRow:
    """One version of an outbox object in the ledger; `sequence` orders the versions of one key.

    `journal` is the adapter's memory of the delivery (JSON). `steps` are the portal's own steps. From `secret_until`
    on, the receipt is neither kept nor written again. `tracked_as` is what the portal's adapter is asked for, None
    where that is `portal_id`.
    """

    bucket: str
    key: str
    version_id: str
    state: DropState
    sequence: str
    received_at: datetime
    portal: str = ""
    connection: str = ""
    version: int = 1
    fence: int = 0
    lease_until: datetime | None = None
    attempts: int = 0
    due: Due | None = None
    portal_id: str | None = None
    journal: str = "{}"
    steps: tuple[Past, ...] = ()
    result: str = NOTHING  # JSON: what the portal answered that the backend needs
    failure: Failure | None = None
    history: tuple[Past, ...] = ()
    secret_until: datetime | None = None
    tracked_as: str | None = None
    provenance: Provenance | None = None  # of a drop that a routing rule made
    answered_as: str | None = None  # the name by which what arrives later says that it answers such a drop
    seal: str | None = None  # over the whole history: `audit`
    expires_at: datetime | None = None  # when the table forgets the row itself


class SendLease(NamedTuple):
    """A worker begins to send and has until then."""

    until: datetime


class Noted(NamedTuple):
    """The adapter wrote down how far it is, under its lease."""

    fence: int
    journal: str


class Originated(NamedTuple):
    """A routing rule made this drop; what answers it will name it so, None where nothing does."""

    fence: int
    provenance: Provenance
    answered_as: str | None


class Paused(NamedTuple):
    """The worker stops for now and lets its lease go; `reason` is empty when it only ran out of time."""

    fence: int
    reason: str | None = None


class Reported(NamedTuple):
    """The portal said how far the delivery is. `fence` is None when a tracker asked, which holds no lease.

    `size_bytes` is what was sent, where that is known.
    """

    delivery: Delivery
    fence: int | None = None
    size_bytes: int | None = None


class Told(NamedTuple):
    """The receipt and the event of the delivery's end are out."""


class Forgotten(NamedTuple):
    """No receipt holds the secret any more, and none will: the row need not either."""


class TrackLater(NamedTuple):
    """The portal could not be asked; the question is due again at `until`."""

    until: datetime


class Failed(NamedTuple):
    """The delivery has failed for good."""

    failure: Failure
    fence: int | None = None


class ResendWanted(NamedTuple):
    """A person wants a delivery tried again that failed although it may succeed; its request is queued afterwards."""


DropEvent = (
    SendLease
    | Noted
    | Originated
    | Paused
    | Reported
    | Told
    | Forgotten
    | TrackLater
    | Failed
    | ResendWanted
    | ErasureBegun
    | Erased
)


def received(bucket: str, key: str, version_id: str, sequence: str, address: tuple[str, str], now: datetime) -> DropRow:
    """Return the first row of a drop; `address` is (portal, connection), empty where the key fits no rule."""
    return DropRow(
        bucket=bucket,
        key=key,
        version_id=version_id,
        state=DropState.RECEIVED,
        sequence=sequence,
        received_at=now,
        portal=address[0],
        connection=address[1],
        history=(Past(now, DropState.RECEIVED),),
    )


def may_send(row: DropRow, now: datetime) -> bool:
    """Return whether a worker may take the drop: nobody works on it, or the one who did is out of time."""
    if row.state is DropState.SENDING:
        return row.lease_until is None or row.lease_until <= now
    return row.state is DropState.RECEIVED


def advance_drop(row: DropRow, event: DropEvent, now: datetime) -> DropRow:
    """Return the row after the event.

    LeaseLost when the event belongs to a lease that another worker has taken over, ImpossibleTransition when it cannot
    happen in this state.
    """
    match event:
        case SendLease(until) if may_send(row, now):
            taken = replace(row, lease_until=until, fence=row.fence + 1, attempts=row.attempts + 1)
            return _step(taken, DropState.SENDING, now)
        case Noted() | Originated():
            return _written_down(row, event)
        case Paused(fence, reason):
            _require_lease(row, fence)
            return _step(replace(row, lease_until=None), DropState.SENDING, now, reason)
        case Reported(delivery, fence, size_bytes):
            return _reported(row, delivery, fence, size_bytes, now)
        case Told() if row.state in ENDED:
            return replace(row, due=_forget(row))
        case Forgotten() if row.state in ENDED and has_expired(row, now):
            return replace(row, result=NOTHING, due=None)
        case TrackLater(until) if row.state is DropState.SENT:
            return replace(row, due=Due(Work.TRACK, until))
        case Failed():
            return _failed(row, event, now)
        case ResendWanted() | ErasureBegun() | Erased():
            return _afterwards(row, event, now)
    raise ImpossibleTransition(row.state, event)


def _written_down(row: DropRow, event: Noted | Originated) -> DropRow:
    """Let the worker that has the lease write something down."""
    _require_lease(row, event.fence)
    if isinstance(event, Noted):
        return replace(row, journal=event.journal)
    return replace(row, provenance=event.provenance, answered_as=event.answered_as)


def _afterwards(row: DropRow, event: ResendWanted | ErasureBegun | Erased, now: datetime) -> DropRow:
    """Let happen what may happen to a delivery long after its end."""
    return _wanted_again(row, event, now) if isinstance(event, ResendWanted) else _erased(row, event, now)


def _wanted_again(row: DropRow, event: ResendWanted, now: datetime) -> DropRow:
    if row.state is DropState.RECEIVED:
        return row  # wanted before, and perhaps not queued
    failure = row.failure if row.state is DropState.FAILED else None
    if failure is None or not failure.retryable or row.portal_id is not None:
        raise ImpossibleTransition(row.state, event)
    return _step(replace(row, failure=None, due=None), DropState.RECEIVED, now, BY_HAND)


def _erased(row: DropRow, event: ErasureBegun | Erased, now: datetime) -> DropRow:
    match event:
        case ErasureBegun() if drop_may_be_erased(row, event):
            return _step(replace(row, due=Due(Work.ERASE, now)), DropState.ERASING, now)
        case Erased(keep_until) if row.state is DropState.ERASING:
            kept = replace(row, result=NOTHING, failure=None, answered_as=None, due=None, expires_at=keep_until)
            return _step(kept, DropState.ERASED, now)
        case Erased() if row.state is DropState.ERASED:
            return row  # another worker was quicker
    raise ImpossibleTransition(row.state, event)


def drop_may_be_erased(row: DropRow, event: ErasureBegun) -> bool:
    """Return whether the content may go: the delivery ended so, long enough ago, was told of, and keeps no secret."""
    ended = row.state in ENDED and row.state == event.state and row.due is None
    return ended and row.history[-1].at <= event.ended_by


def _failed(row: DropRow, event: Failed, now: datetime) -> DropRow:
    if row.state is DropState.FAILED and row.failure == event.failure:
        return row  # by this very write, whose answer was lost
    if row.state in ENDED | ERASED_STATES:
        raise ImpossibleTransition(row.state, event)
    if event.fence is not None:
        _require_lease(row, event.fence)
    return _ended(replace(row, failure=event.failure), DropState.FAILED, now, event.failure.code)


def _reported(row: DropRow, delivery: Delivery, fence: int | None, size_bytes: int | None, now: datetime) -> DropRow:
    if fence is not None:
        _require_lease(row, fence)
    elif row.state is not DropState.SENT:
        raise ImpossibleTransition(row.state, Reported(delivery))
    steps = tuple(Past(step.at, step.state) for step in delivery.steps) or row.steps
    result = json.dumps({**json.loads(row.result), **delivery.result}, ensure_ascii=False, default=str)
    secret_until = delivery.secret_until or row.secret_until
    known = replace(row, portal_id=delivery.portal_id, result=result, secret_until=secret_until)
    told = replace(known, steps=steps, lease_until=None, tracked_as=delivery.tracked_as or row.tracked_as)
    if delivery.outcome is Outcome.IN_PROGRESS:
        waiting = replace(told, journal="{}", due=Due(Work.TRACK, next_track(row, steps, now)))
        return waiting if row.state is DropState.SENT else _step(waiting, DropState.SENT, now, size_bytes=size_bytes)
    if delivery.outcome is Outcome.DELIVERED:
        return _ended(told, DropState.DELIVERED, now, size_bytes=size_bytes)
    failure = Failure(delivery.error_code or "PORTAL_FAILED", delivery.error_message or "the portal gives no reason")
    return _ended(replace(told, failure=failure), DropState.FAILED, now, failure.code)


def has_expired(row: DropRow, now: datetime) -> bool:
    """Return whether the secret in the row's result has ended, if it ever held one."""
    return row.secret_until is not None and row.secret_until <= now


def _forget(row: DropRow) -> Due | None:
    """Return when the secret of a delivery that has been told of must go; None where there is none, or no longer."""
    if row.secret_until is None or row.result == NOTHING:
        return None
    return Due(Work.FORGET, row.secret_until)


def shelf_of_drop(row: DropRow) -> Shelf:
    """Return the shelf that a delivery stands on."""
    if row.state in ERASED_STATES:
        return Shelf.ERASED
    return Shelf(row.state) if row.state in ENDED else Shelf.UNDER_WAY


def words_of_drop(row: DropRow) -> tuple[Word, ...]:
    """Return the words that a delivery is found by: the file's name, once the portal has it, its id there.

    A routed drop is found by what answers it, too.
    """
    named = [
        (Subject.FILE, row.key.rpartition("/")[2]),
        (Subject.REFERENCE, row.answered_as or ""),
        (Subject.PORTAL_ID, row.portal_id or ""),
    ]
    return tuple(Word(subject, text) for subject, name in named if (text := spelled(name)))


def next_track(row: DropRow, steps: tuple[Past, ...], now: datetime) -> datetime:
    """Return when to ask the portal again: soon after something happened, more rarely while nothing does."""
    latest = max([row.history[-1].at, *(step.at for step in steps if step.at <= now)])
    return now + min(max(TRACK_FIRST, (now - latest) / 4), TRACK_AT_MOST)


def _ended(
    row: DropRow, state: DropState, now: datetime, reason: str | None = None, *, size_bytes: int | None = None
) -> DropRow:
    """End the delivery. It stays due until the receipt says so too, so that a crash in between is made good."""
    due = Due(Work.TRACK, now + RECEIPT_DUE_AFTER) if row.portal else None
    return _step(replace(row, journal="{}", lease_until=None, due=due), state, now, reason, size_bytes=size_bytes)


def _require_lease(row: DropRow, fence: int) -> None:
    if row.state is not DropState.SENDING or row.fence != fence:
        raise LeaseLost


def _step(
    row: DropRow, state: DropState, now: datetime, reason: str | None = None, *, size_bytes: int | None = None
) -> DropRow:
    if row.history[-1].state == state and reason is None:
        return replace(row, state=state)
    past = Past(now, state, reason, size_bytes=size_bytes)
    return replace(row, state=state, history=remembered(row.history, past))
