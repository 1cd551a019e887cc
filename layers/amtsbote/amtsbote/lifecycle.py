"""The life of an inbound item, as pure functions: (row, event, now) → row. No I/O, no clock, no table.

DISCOVERED → FETCHING → STORED → ACKNOWLEDGED
                ├→ QUARANTINED   bytes kept verbatim, never acknowledged, a person decides
                └→ UNAVAILABLE   gone at the portal, or held by another client

What nobody waits for any more is ERASED after the time set (`retention`), by way of ERASING: its content goes, the row
stays.

A person may want an item again that is QUARANTINED or UNAVAILABLE (→ DISCOVERED, or STORED where it had been that), and
release what is QUARANTINED (→ STORED). A STORED item whose files were lost may be wanted anew (→ DISCOVERED).

That document.json is in the inbox is a fact, and makes any item STORED that was not: also where its writer's lease was
over by then, and another worker has found it gone.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from amtsbote.errors import AmtsboteError, LeaseLost
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import Finding

REQUEUE_AFTER = timedelta(seconds=60)  # a fetch request not taken up by then is queued again, doubling each time
REQUEUE_AT_MOST = timedelta(hours=1)
REOPEN_AFTER = timedelta(hours=1)  # an unavailable item that the portal still lists is tried again, doubling each time
REOPEN_AT_MOST = timedelta(days=1)
RETRY_GRACE = timedelta(seconds=30)  # the queue brings a deferred item back; the ledger waits this much longer
PROCESSED_CHECK_FIRST = timedelta(seconds=30)
PROCESSED_CHECK_AT_MOST = timedelta(minutes=15)
HISTORY_AT_MOST = 200  # steps; a row of the ledger holds 400 KB
WORDS_AT_MOST = 20  # per item; each is one write
WORD_BYTES = 200
WORDS_KEPT_AT_MOST = 100  # of all the words that an item was ever found by: 20 KB of its row
LISTING = "LISTING"  # what an item waits for that is to be fetched anew
RECORD_TOO_LARGE = "RECORD_TOO_LARGE"  # the reason of an item whose record no row has room for
BY_HAND = "BY_HAND"  # the reason of a step that a person wanted
COMMON_NAMES: Mapping[str, str] = {"form.json": "digitale-gemeinde", "instance.json": "altinn"}
"""File names that every item of a portal has (contract, section 2), and the portal; nobody is found by them."""
NAMED_BY_ID = re.compile(r"message-(.+)\.zip", re.DOTALL)  # likewise, the item's id in it


class State(StrEnum):
    """Where an inbound item is in its life."""

    DISCOVERED = "DISCOVERED"
    FETCHING = "FETCHING"
    STORED = "STORED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    QUARANTINED = "QUARANTINED"
    UNAVAILABLE = "UNAVAILABLE"
    ERASING = "ERASING"
    ERASED = "ERASED"


SETTLED = frozenset(State) - {State.DISCOVERED, State.FETCHING}
"""States that no longer hold the watermark back: the item is safe, or waits for a person."""


class Work(StrEnum):
    """The kinds of work that become due on a row; each is a queue of the sparse index."""

    FETCH = "fetch"
    ACKNOWLEDGE = "acknowledge"
    TRACK = "track"
    FORGET = "forget"
    ERASE = "erase"


@dataclass(frozen=True)
class Due:
    """Work that is due at a moment (UTC)."""

    work: Work
    at: datetime


class Shelf(StrEnum):
    """Where a row stands in the ledger's index `shelves`. States that pass by themselves share one."""

    ARRIVING = "ARRIVING"
    STORED = "STORED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    QUARANTINED = "QUARANTINED"
    UNAVAILABLE = "UNAVAILABLE"
    UNDER_WAY = "UNDER_WAY"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    ERASED = "ERASED"


class Subject(StrEnum):
    """What a word says of a row; people look for rows by it."""

    CASE = "CASE"
    JOB = "JOB"
    FILE = "FILE"
    PORTAL_ID = "PORTAL_ID"
    REFERENCE = "REFERENCE"  # of a drop, by which what arrives later says that it answers it


SUBJECTS: Mapping[str, Subject] = {"aktenzeichen": Subject.CASE, "jobid": Subject.JOB, "filename": Subject.FILE}
"""The fields of a portal's record (whatever their case) that rows are found by; none that is there to name a person."""


@dataclass(frozen=True)
class Word:
    """A word that a row is found by, as `spelled` returns it."""

    subject: Subject
    text: str


@dataclass(frozen=True)
class Past:
    """One step of a row's life: when, which state it reached, and the code that says why (the portal's, if it said).

    `by` is the function that made it, or a person's pseudonym; `size_bytes` and `sha256` are of what it is about. The
    rest is the seal, which `audit` explains: `number` counts the steps from 1, `after` is set where steps before this
    one are no longer kept.
    """

    at: datetime
    state: str
    reason: str | None = None
    by: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    number: int | None = None
    digest: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Contents:
    """What the ledger keeps of a document: its files' names and bytes, and the SHA-256 of its document.json."""

    names: tuple[str, ...] = ()
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class ItemRow:
    """One inbound item in the ledger. `fence` counts the leases taken, `version` the writes of the row."""

    portal: str
    connection: str
    id: str
    state: State
    discovered_at: datetime
    version: int = 1
    created_at: datetime | None = None
    waiting_for: str | None = None
    fence: int = 0
    lease_until: datetime | None = None
    not_before: datetime | None = None  # a fetch that comes earlier was asked for before the item was deferred
    queued: int = 0
    attempts: int = 0
    due: Due | None = None
    reason: str | None = None
    record: str | None = None  # JSON; dropped once document.json holds it
    hints: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Past, ...] = ()
    seal: str | None = None  # over the whole history: `audit`
    words: tuple[Word, ...] = ()  # that the item was ever found by
    expires_at: datetime | None = None  # when the table forgets the row itself


class ImpossibleTransition(AmtsboteError):
    """The event cannot happen in this state: the caller acts on an outdated picture."""

    def __init__(self, state: str, event: object) -> None:
        super().__init__("IMPOSSIBLE_TRANSITION", f"{type(event).__name__} cannot happen in state {state}")


class Hydrated(NamedTuple):
    """A waiting item can now be fetched; its record is the new one, None where that is too large to be kept."""

    record: str | None


class Requeued(NamedTuple):
    """The fetch request has to be queued again: it was not taken up, or its worker's lease ran out."""


class Reopened(NamedTuple):
    """The portal still lists an item that was unavailable; its record is None where that is too large to be kept."""

    record: str | None


class LeaseTaken(NamedTuple):
    """A worker begins to fetch and has until then."""

    until: datetime


class Committed(NamedTuple):
    """document.json is there, whoever has written it under whatever lease: that write was the commit."""

    policy: AcknowledgePolicy
    contents: Contents = Contents()


class Deferred(NamedTuple):
    """The fetch failed for now and is tried again at `until`."""

    fence: int
    until: datetime
    reason: str


class FoundUnreadable(NamedTuple):
    """The bytes are in quarantine."""

    fence: int
    reason: str


class FoundGone(NamedTuple):
    """The portal has the item no longer, or another client holds it."""

    reason: str
    fence: int | None = None  # None: said in answer to an acknowledgement, where no lease is held


class AcknowledgeWanted(NamedTuple):
    """The portal shall be told of a stored item, which so far nobody meant to tell it of; or a person wants it now."""

    by_hand: bool = False


class Acknowledged(NamedTuple):
    """The portal has confirmed this very item."""

    reason: str


class AcknowledgeDeferred(NamedTuple):
    """The portal could not be told yet, or the backend has not processed the document yet."""

    until: datetime
    reason: str


class ErasureBegun(NamedTuple):
    """The content is being deleted, of a row that was in this state and had made its last step by then."""

    state: str
    ended_by: datetime


class Erased(NamedTuple):
    """Nothing of the content is left. The row itself is kept until then; None: for ever."""

    keep_until: datetime | None


class RetryWanted(NamedTuple):
    """A person wants an item again that is in quarantine or unavailable: fetched, or told of where it is stored."""


class ContentLost(NamedTuple):
    """A person wants a stored item, of which files are lost, fetched anew; its record comes with the portal's list."""


class Released(NamedTuple):
    """A person has let quarantined bytes into the inbox as they are; document.json is written."""

    policy: AcknowledgePolicy
    contents: Contents = Contents()


ItemEvent = (
    Hydrated
    | Requeued
    | Reopened
    | LeaseTaken
    | Committed
    | Deferred
    | FoundUnreadable
    | FoundGone
    | AcknowledgeWanted
    | Acknowledged
    | AcknowledgeDeferred
    | RetryWanted
    | Released
    | ContentLost
    | ErasureBegun
    | Erased
)


def opened(portal: str, connection: str, finding: Finding, record: str | None, now: datetime) -> ItemRow:
    """Return the first row of an item that a portal lists; one that waits for something is not due yet.

    One whose record is too large to be kept (None) is set aside in QUARANTINED: document.json would have to hold it.
    """
    row = ItemRow(
        portal=portal,
        connection=connection,
        id=finding.id,
        state=State.DISCOVERED,
        discovered_at=now,
        created_at=finding.created_at,
        hints=dict(finding.hints),
    )
    if record is None:
        return _set_aside(row, now)
    due = None if finding.waiting_for else Due(Work.FETCH, now + REQUEUE_AFTER)
    known = replace(row, waiting_for=finding.waiting_for, due=due, record=record, words=words_of(record))
    return _step(known, State.DISCOVERED, now, finding.waiting_for)


def _set_aside(row: ItemRow, now: datetime) -> ItemRow:
    return _step(replace(row, waiting_for=None, due=None, record=None), State.QUARANTINED, now, RECORD_TOO_LARGE)


def advance(row: ItemRow, event: ItemEvent, now: datetime) -> ItemRow:
    """Return the row after the event; the same row where the event says what is so already.

    LeaseLost when the event belongs to a lease that another worker has taken over, ImpossibleTransition when it cannot
    happen in this state.
    """
    match event:
        case Hydrated() | Requeued() | Reopened():
            return _queued_again(row, event, now)
        case LeaseTaken(until):
            return _leased(row, until, now)
        case Committed() | Deferred() | FoundUnreadable():
            return _fetched(row, event, now)
        case FoundGone(reason, fence):
            return _gone(row, event, fence, reason, now)
        case AcknowledgeWanted() | Acknowledged() | AcknowledgeDeferred():
            return _told(row, event, now)
        case RetryWanted() | Released() | ContentLost():
            return _decided(row, event, now)
        case ErasureBegun() | Erased():
            return _erased(row, event, now)


def lease_is_free(row: ItemRow, now: datetime) -> bool:
    """Return whether a worker may take the item: nobody works on it, or the one who did is out of time.

    One that was deferred is not taken before its time, however many requests for it are in the queue.
    """
    ready = row.waiting_for is None and (row.not_before is None or row.not_before <= now)
    waiting = row.state is State.DISCOVERED and ready
    expired = row.state is State.FETCHING and row.lease_until is not None and row.lease_until <= now
    return waiting or expired


def _queued_again(row: ItemRow, event: Hydrated | Requeued | Reopened, now: datetime) -> ItemRow:
    first = replace(row, queued=0, due=Due(Work.FETCH, now + REQUEUE_AFTER))
    match event:
        case Hydrated(None) if row.state is State.DISCOVERED and row.waiting_for:
            return _set_aside(row, now)
        case Hydrated(record) if row.state is State.DISCOVERED and row.waiting_for:
            ready = found_by(replace(first, waiting_for=None, record=record), words_of(record))
            return _step(ready, State.DISCOVERED, now, "READY")
        case Requeued() if lease_is_free(row, now):
            pause = min(REQUEUE_AFTER * 2 ** min(row.queued, 10), REQUEUE_AT_MOST)
            return replace(row, queued=row.queued + 1, due=Due(Work.FETCH, now + pause))
        case Reopened(None) if _may_come_again(row):
            return _set_aside(replace(row, expires_at=None), now)
        case Reopened(record) if _may_come_again(row):
            again = found_by(replace(first, record=record, expires_at=None), words_of(record))
            return _step(again, State.DISCOVERED, now, "LISTED_AGAIN")
    raise ImpossibleTransition(row.state, event)


def _leased(row: ItemRow, until: datetime, now: datetime) -> ItemRow:
    if not lease_is_free(row, now):
        raise ImpossibleTransition(row.state, LeaseTaken(until))
    tried = replace(row, fence=row.fence + 1, attempts=row.attempts + 1)
    taken = replace(tried, lease_until=until, not_before=None, due=Due(Work.FETCH, until))
    return _step(taken, State.FETCHING, now)


def _fetched(row: ItemRow, event: Committed | Deferred | FoundUnreadable, now: datetime) -> ItemRow:
    if isinstance(event, Committed):
        return _committed(row, event, now)
    _require_lease(row, event.fence)
    free = replace(row, lease_until=None, due=None)
    match event:
        case Deferred(until=until, reason=reason):
            later = replace(free, not_before=until, due=Due(Work.FETCH, until + RETRY_GRACE))
            return _step(later, State.DISCOVERED, now, reason)
        case FoundUnreadable(reason=reason):
            return _step(free, State.QUARANTINED, now, reason)


def _committed(row: ItemRow, event: Committed, now: datetime) -> ItemRow:
    """Return the row of what is in the inbox, also where a worker that came later had found it gone or unreadable."""
    if row.state in (State.STORED, State.ACKNOWLEDGED) or (row.state is State.UNAVAILABLE and has_been_stored(row)):
        return row  # another worker has adopted the same document.json
    if row.state in (State.ERASING, State.ERASED):
        raise ImpossibleTransition(row.state, event)
    free = replace(row, lease_until=None, not_before=None, waiting_for=None)
    return _stored(free, event.policy, event.contents, now)


def _stored(
    row: ItemRow, policy: AcknowledgePolicy, contents: Contents, now: datetime, reason: str | None = None
) -> ItemRow:
    due = None if policy is AcknowledgePolicy.NEVER else Due(Work.ACKNOWLEDGE, now)
    known = found_by(row, words_of_files(row.id, contents.names))
    return _step(replace(known, record=None, attempts=0, due=due), State.STORED, now, reason, contents)


def _decided(row: ItemRow, event: RetryWanted | Released | ContentLost, now: datetime) -> ItemRow:
    """Let a person's decision happen."""
    match event:
        case RetryWanted() if row.state is State.UNAVAILABLE and has_been_stored(row):
            return _step(replace(row, due=Due(Work.ACKNOWLEDGE, now)), State.STORED, now, BY_HAND)
        case RetryWanted() if row.state is State.QUARANTINED and row.record is None:
            return _step(replace(row, waiting_for=LISTING), State.DISCOVERED, now, BY_HAND)  # its record comes with it
        case RetryWanted() if row.state in (State.QUARANTINED, State.UNAVAILABLE):
            again = replace(row, queued=0, due=Due(Work.FETCH, now + REQUEUE_AFTER))
            return _step(again, State.DISCOVERED, now, BY_HAND)
        case Released(policy, contents) if row.state is State.QUARANTINED:
            return _stored(row, policy, contents, now, BY_HAND)
        case ContentLost() if row.state is State.STORED:
            return _step(replace(row, waiting_for=LISTING, due=None), State.DISCOVERED, now, BY_HAND)
    raise ImpossibleTransition(row.state, event)


def _gone(row: ItemRow, event: FoundGone, fence: int | None, reason: str, now: datetime) -> ItemRow:
    if fence is not None:
        _require_lease(row, fence)
    elif row.state is not State.STORED:
        raise ImpossibleTransition(row.state, event)
    return _step(replace(row, lease_until=None, due=None), State.UNAVAILABLE, now, reason)


def _told(row: ItemRow, event: AcknowledgeWanted | Acknowledged | AcknowledgeDeferred, now: datetime) -> ItemRow:
    if isinstance(event, Acknowledged) and row.state is State.ACKNOWLEDGED:
        return row
    if row.state is not State.STORED:
        raise ImpossibleTransition(row.state, event)
    match event:
        case AcknowledgeWanted(by_hand):
            wanted = replace(row, due=Due(Work.ACKNOWLEDGE, now))
            return _step(wanted, State.STORED, now, BY_HAND) if by_hand else wanted
        case Acknowledged(reason):
            return _step(replace(row, due=None), State.ACKNOWLEDGED, now, reason)
        case AcknowledgeDeferred(until, reason):
            return replace(row, due=Due(Work.ACKNOWLEDGE, until), attempts=row.attempts + 1, reason=reason)


def _erased(row: ItemRow, event: ErasureBegun | Erased, now: datetime) -> ItemRow:
    match event:
        case ErasureBegun() if may_be_erased(row, event):
            return _step(replace(row, due=Due(Work.ERASE, now)), State.ERASING, now)
        case Erased(keep_until) if row.state is State.ERASING:
            kept = replace(row, record=None, hints={}, words=(), due=None, expires_at=keep_until)
            return _step(kept, State.ERASED, now)
        case Erased() if row.state is State.ERASED:
            return row  # another worker was quicker
    raise ImpossibleTransition(row.state, event)


def may_be_erased(row: ItemRow, event: ErasureBegun) -> bool:
    """Return whether the content may go: the row is where the rule is for, for long enough, and due for nothing.

    A stored item that is due for nothing is one of a connection that never tells its portal.
    """
    erasable = row.state in (State.STORED, State.ACKNOWLEDGED, State.UNAVAILABLE) and row.due is None
    return erasable and row.state == event.state and row.history[-1].at <= event.ended_by


def _require_lease(row: ItemRow, fence: int) -> None:
    if row.state is not State.FETCHING or row.fence != fence:
        raise LeaseLost


def _step(
    row: ItemRow, state: State, now: datetime, reason: str | None = None, contents: Contents | None = None
) -> ItemRow:
    known = contents or Contents()
    past = Past(now, state, reason, size_bytes=known.size_bytes, sha256=known.sha256)
    return replace(row, state=state, reason=reason, history=remembered(row.history, past))


def remembered(history: tuple[Past, ...], past: Past) -> tuple[Past, ...]:
    """Return the history with one step more.

    Of a try that fails again and again in the same way, only the first and the latest are kept, so that a row that is
    tried every hour for a month does not grow without bound. Where the ways change, the oldest steps but the first are
    forgotten beyond HISTORY_AT_MOST.
    """
    kinds = [(entry.state, entry.reason) for entry in history[-5:]]
    repeats = len(kinds) == 5 and kinds[0] == kinds[2] == kinds[4] and kinds[1] == kinds[3]
    if repeats and (past.state, past.reason) == kinds[1]:
        return (*history[:-3], history[-1], past)
    return (*history, past) if len(history) < HISTORY_AT_MOST else (history[0], *history[2:], past)


def may_reopen(row: ItemRow, now: datetime) -> bool:
    """Return whether an unavailable item that the portal lists again is worth another try: it never was stored.

    Neither was it if it has been erased since; one that was stored and erased never comes again.
    """
    pause: timedelta = min(REOPEN_AFTER * 2 ** min(max(row.attempts - 1, 0), 10), REOPEN_AT_MOST)
    return _may_come_again(row) and not has_been_stored(row) and row.history[-1].at + pause <= now


def _may_come_again(row: ItemRow) -> bool:
    return row.state is State.UNAVAILABLE or (row.state is State.ERASED and not has_been_stored(row))


def has_been_stored(row: ItemRow) -> bool:
    """Return whether the item's document has been in the inbox, and nobody has given its content up since."""
    states = [past.state for past in row.history]
    stored = [number for number, state in enumerate(states) if state == State.STORED]
    return bool(stored) and State.DISCOVERED not in states[stored[-1] :]


def shelf_of(row: ItemRow) -> Shelf:
    """Return the shelf that an item stands on."""
    if row.state in (State.DISCOVERED, State.FETCHING):
        return Shelf.ARRIVING
    return Shelf.ERASED if row.state in (State.ERASING, State.ERASED) else Shelf(row.state)


def words_of(record: str | None) -> tuple[Word, ...]:
    """Return the words that an item is found by, from the portal's record (JSON), 20 at most; none where it is odd."""
    try:
        found = dict.fromkeys(_words(json.loads(record or "{}")))
    except (ValueError, RecursionError):  # that nobody finds it by a word must not keep it from arriving
        return ()
    return tuple(found)[:WORDS_AT_MOST]


def words_of_files(id_: str, names: Iterable[str]) -> tuple[Word, ...]:
    """Return the words that an item is found by, from the names of its files, 20 at most.

    Names that every item of its portal has, or that follow from its id, are none: it is found by its id.
    """
    spelt = dict.fromkeys(text for name in names if (text := spelled(name)))
    own = (text for text in spelt if text not in COMMON_NAMES and id_in_name(text) != spelled(id_))
    return tuple(Word(Subject.FILE, text) for text in own)[:WORDS_AT_MOST]


def found_by(row: ItemRow, words: Iterable[Word]) -> ItemRow:
    """Return the row, which is found by these words too; it remembers the latest, so that they can be taken away."""
    return replace(row, words=tuple(dict.fromkeys((*row.words, *words)))[-WORDS_KEPT_AT_MOST:])


def id_in_name(text: str) -> str | None:
    """Return the item's id that a file's name (as `spelled`) follows from, None where it is a name of its own."""
    found = NAMED_BY_ID.fullmatch(text)
    return found and found[1]


def _words(value: Any) -> Iterator[Word]:
    """Yield what the fields of SUBJECTS hold, however deep."""
    if isinstance(value, list):
        for entry in value:
            yield from _words(entry)
    elif isinstance(value, dict):
        for name, entry in value.items():
            subject = SUBJECTS.get(name.casefold())
            if subject is not None and isinstance(entry, str) and (text := spelled(entry)):
                yield Word(subject, text)
            yield from _words(entry)


def spelled(text: str) -> str:
    """Return a word as rows are found by it: without regard to case, spaces and how letters are composed."""
    plain = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8")).casefold()
    return re.sub(r"[\s#]+", " ", plain).strip().encode()[:WORD_BYTES].decode("utf-8", "ignore")


def watermark_after(
    previous: datetime | None, listed: Mapping[str, datetime | None], settled: frozenset[str]
) -> datetime | None:
    """Return how far the portal's list is known, from the items just listed (id → createdAt) and the settled ones.

    It is the newest createdAt seen, but never later than the oldest item that is not settled yet: that one must
    stay within what the next poll asks for.
    """
    unsettled = [moment for id_, moment in listed.items() if id_ not in settled]
    seen = () if None in unsettled else tuple(listed.values())  # without a moment, nobody can say how far back it lies
    newest = max([moment for moment in (previous, *seen) if moment is not None], default=None)
    if newest is None:
        return None
    return min([moment for moment in (*unsettled, newest) if moment is not None])


def next_processed_check(attempts: int, now: datetime) -> datetime:
    """Return when to look again whether the backend has processed a document, more rarely each time."""
    pause: timedelta = PROCESSED_CHECK_FIRST * 2 ** min(attempts, 10)
    return now + min(pause, PROCESSED_CHECK_AT_MOST)
