"""Portal against ledger against buckets, as pure functions: what differs, and the report that says so.

Nothing is repaired here or by what calls it. A difference says what can be done about it (`repair`), which a person
asks for (`operations.reconciliation`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from amtsbote.deliveries import DropRow, DropState
from amtsbote.keys import DOCUMENT, document_key, item_prefix
from amtsbote.lifecycle import ItemRow, State, Work
from amtsbote.portals.protocols import Finding

if TYPE_CHECKING:
    from amtsbote.outbox import Dropped

SCHEMA = "amtsbote.reconciliation/1"
DIFFERENCES_AT_MOST = 1000  # of one report; the others are counted
LOOKS_BACK = timedelta(days=3)  # of the daily comparison; `whole` looks at everything
STILL_THERE_AFTER = timedelta(hours=1)
GONE_AFTER = timedelta(minutes=10)  # a fetch that is under way finds out by itself
TOLD_AFTER = timedelta(hours=1)  # likewise an acknowledgement
NOT_SENT_AFTER = timedelta(minutes=15)  # S3's events come within seconds, seldom within minutes
STUCK_AFTER = timedelta(hours=2)  # a queue hides what has to wait for up to 72 minutes
DEEP_BYTES = 512 * 1024 * 1024  # per document: read and hashed within one invocation


class Kind(StrEnum):
    """What differs."""

    MISSING_HERE = "MISSING_HERE"
    UNKNOWN_THERE = "UNKNOWN_THERE"
    STILL_THERE = "STILL_THERE"
    FILES_DIFFER = "FILES_DIFFER"
    NO_ROW = "NO_ROW"
    NOT_SENT = "NOT_SENT"
    STUCK = "STUCK"


class Repair(StrEnum):
    """What can be done about a difference, when a person wants it."""

    ASK_PORTAL = "ASK_PORTAL"  # fetch it once more: the portal says whether it is gone
    TELL_PORTAL = "TELL_PORTAL"  # acknowledge it once more: likewise
    RESTORE_FILES = "RESTORE_FILES"  # from older versions in the bucket; else fetched again, if not acknowledged yet
    DELIVER = "DELIVER"


class Part(StrEnum):
    """What is compared, in this order. The first three need the portal's list."""

    ARRIVING = "ARRIVING"
    QUARANTINED = "QUARANTINED"
    WAITING = "WAITING"  # stored, and the portal is to be told
    STORED = "STORED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    UNDER_WAY = "UNDER_WAY"
    INBOX = "INBOX"
    OUTBOX = "OUTBOX"


OF_THE_PORTAL = frozenset({Part.ARRIVING, Part.QUARANTINED, Part.WAITING})
"""Parts that compare with what the portal lists."""


class Written(BaseModel):
    """A part of a report, in JSON with camelCase names."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, defer_build=True)


class Difference(Written):
    """One difference: what it is about, a sentence, and what can be done.

    `id` is an item's, `outbox_key` with `version_id` a drop's, `key` that of an object in the inbox. `since` (UTC) is
    when the row reached its state, or when the object was written.
    """

    kind: Kind
    says: str
    id: str | None = None
    outbox_key: str | None = None
    version_id: str | None = None
    key: str | None = None
    state: str | None = None
    since: datetime | None = None
    repair: Repair | None = None

    @property
    def about(self) -> str:
        """Return what it is about, in one word."""
        return self.id or self.outbox_key or self.key or ""


class Place(Written):
    """Where a comparison goes on: in a part, after a place there (None: at its begin)."""

    part: Part
    after: str | None = None


class Report(Written):
    """What a comparison of one connection found. `complete` is False while it goes on at `goes_on_at`.

    `listed` counts what the portal lists, `compared` the rows and objects that were looked at, `counts` the differences
    by kind; `more` of them are left out of `differences`. `not_hashed` counts the documents that were too large to be
    read. `whole`: everything was looked at, and not only what was opened in the last three days.
    """

    schema_: str = Field(default=SCHEMA, alias="schema")
    portal: str
    connection: str
    started_at: datetime
    finished_at: datetime | None = None
    whole: bool = False
    deep: bool = False
    listed: int = 0
    compared: int = 0
    not_hashed: int = 0
    counts: Mapping[str, int] = {}
    differences: tuple[Difference, ...] = ()
    more: int = 0
    complete: bool = False
    goes_on_at: Place | None = None

    @property
    def found(self) -> int:
        """Return how many differences there are."""
        return sum(self.counts.values())

    def looks_since(self) -> datetime | None:
        """Return from when on rows and objects are looked at, None where all are."""
        return None if self.whole else self.started_at - LOOKS_BACK


@dataclass(frozen=True)
class Compared:
    """What one step of a comparison found: how much it looked at, what differs, and what stands `after` it."""

    after: str | None = None
    number: int = 0
    differences: tuple[Difference, ...] = ()
    not_hashed: int = 0


def report_prefix(portal: str, connection: str) -> str:
    """Return what the keys of a connection's reports begin with, in the inbox bucket."""
    return f"reports/{portal}/{connection}/"


def report_key(portal: str, connection: str, started_at: datetime) -> str:
    """Return the key of the report of a comparison."""
    return f"{report_prefix(portal, connection)}{started_at:%Y-%m-%dT%H%M%SZ}.json"


def added(report: Report, step: Compared, goes_on_at: Place | None) -> Report:
    """Return the report with what a step found. A difference that stands there already is not counted again."""
    new = [each for each in step.differences if each not in report.differences]
    room = DIFFERENCES_AT_MOST - len(report.differences)
    return report.model_copy(
        update={
            "compared": report.compared + step.number,
            "not_hashed": report.not_hashed + step.not_hashed,
            "counts": dict(Counter(report.counts) + Counter(each.kind.value for each in new)),
            "differences": (*report.differences, *new[:room]),
            "more": report.more + len(new[room:]),
            "goes_on_at": goes_on_at,
        }
    )


def finished(report: Report, now: datetime, *, complete: bool) -> Report:
    """Return the report as it is written now."""
    rest = {"goes_on_at": None} if complete else {}
    return report.model_copy(update={"finished_at": now.replace(microsecond=0), "complete": complete, **rest})


# --- portal against ledger -------------------------------------------------------------------------------------------


def missing_here(fresh: Iterable[Finding], seen_by_polls: Collection[str]) -> Iterator[Difference]:
    """Yield the items that had no row, although no ordinary poll would have found them any more."""
    for finding in fresh:
        if finding.id not in seen_by_polls:
            says = "the portal has it and no poll found it; it was opened by this comparison and is being fetched"
            yield Difference(kind=Kind.MISSING_HERE, id=finding.id, since=finding.created_at, says=says)


def still_there(findings: Iterable[Finding], known: Mapping[str, ItemRow], now: datetime) -> Iterator[Difference]:
    """Yield the items that the portal was told of long ago and lists as new."""
    for finding in findings:
        row = known.get(finding.id)
        if row is None or finding.stays or row.state is not State.ACKNOWLEDGED:
            continue
        if row.history[-1].at <= now - STILL_THERE_AFTER:
            says = "the portal confirmed that it was told, and lists it as new; ask its operator, or who uses it there"
            yield _of_item(Kind.STILL_THERE, row, says)


def unknown_there(row: ItemRow, listed: Collection[str], started_at: datetime) -> Difference | None:
    """Return what differs where a row waits for the portal, which does not list the item (any more).

    What changed while the list was read, or only just before, is not judged.
    """
    if row.id in listed or not _waits_for_portal(row, started_at):
        return None
    says, repair = _gone(row)
    return _of_item(Kind.UNKNOWN_THERE, row, says, repair)


def _waits_for_portal(row: ItemRow, started_at: datetime) -> bool:
    if row.discovered_at > started_at - GONE_AFTER or row.history[-1].at >= started_at:
        return False
    if row.state is State.STORED:
        told = row.due is not None and row.due.work is Work.ACKNOWLEDGE
        return told and row.history[-1].at <= started_at - TOLD_AFTER
    return row.state in (State.DISCOVERED, State.FETCHING, State.QUARANTINED)


def _gone(row: ItemRow) -> tuple[str, Repair | None]:
    if row.state is State.QUARANTINED:
        return "its bytes are in quarantine, and the portal no longer lists it: only a release can bring it", None
    if row.state is State.STORED:
        return "it is in the inbox, and the portal no longer lists it, although it was not told", Repair.TELL_PORTAL
    if row.waiting_for:
        return f"it waits for its {row.waiting_for}, and the portal no longer lists it", None
    return "it is not in the inbox, and the portal no longer lists it", Repair.ASK_PORTAL


def _of_item(kind: Kind, row: ItemRow, says: str, repair: Repair | None = None) -> Difference:
    return Difference(kind=kind, id=row.id, state=row.state, since=row.history[-1].at, says=says, repair=repair)


# --- ledger against inbox --------------------------------------------------------------------------------------------


def files_differ(row: ItemRow, document: Mapping[str, Any] | None, sizes: Mapping[str, int]) -> Difference | None:
    """Return what differs between a stored item's document.json (None: there is none) and its objects, key → bytes."""
    if document is None:
        return differs(row, f"{DOCUMENT} is missing")
    mistakes = [_mistake(each, sizes) for each in document["files"]]
    told = [mistake for mistake in mistakes if mistake]
    return differs(row, "; ".join(told[:3]) + (f"; {len(told) - 3} more" if len(told) > 3 else "")) if told else None


def _mistake(file: Mapping[str, Any], sizes: Mapping[str, int]) -> str | None:
    size = sizes.get(file["key"])
    if size is None:
        return f"a file of {file['size']} bytes is missing"
    return None if size == file["size"] else f"a file has {size} bytes and not {file['size']}"


def differs(row: ItemRow, says: str) -> Difference:
    """Return the difference between a stored item and what lies in the inbox."""
    return _of_item(Kind.FILES_DIFFER, row, says, Repair.RESTORE_FILES)


def is_stored(row: ItemRow) -> bool:
    """Return whether the item's document must be in the inbox. Of one that is erased nothing is there to differ."""
    return row.state in (State.STORED, State.ACKNOWLEDGED)


def id_at(portal: str, connection: str, key: str) -> str | None:
    """Return the id of the item whose document.json has this key; None where the key does not say it."""
    prefix = key.removesuffix(f"/{DOCUMENT}")
    id_ = unquote(prefix.removeprefix(f"{portal}/{connection}/"))
    return id_ if item_prefix(portal, connection, id_) == prefix else None


def no_row(portal: str, connection: str, ids: Mapping[str, datetime], known: Collection[str]) -> Iterator[Difference]:
    """Yield the documents (id → when written) that the ledger does not know."""
    for id_, written_at in ids.items():
        if id_ not in known:
            key = document_key(item_prefix(portal, connection, id_))
            says = "a document is in the inbox, and the ledger has never heard of it"
            yield Difference(kind=Kind.NO_ROW, id=id_, key=key, since=written_at, says=says)


# --- ledger against outbox -------------------------------------------------------------------------------------------


def not_sent(
    versions: Sequence["Dropped"], known: Collection[tuple[str, str]], started_at: datetime
) -> Iterator[Difference]:
    """Yield the versions that no row knows, though their event should have come long ago."""
    for each in versions:
        if (each.key, each.version_id) not in known and each.at <= started_at - NOT_SENT_AFTER:
            says = "it was dropped, and its event never came"
            yield Difference(
                kind=Kind.NOT_SENT,
                outbox_key=each.key,
                version_id=each.version_id,
                since=each.at,
                says=says,
                repair=Repair.DELIVER,
            )


def stuck(row: DropRow, now: datetime) -> Difference | None:
    """Return what differs where a delivery is to be sent and nobody has worked on it for long: its request is lost."""
    quiet_since = row.lease_until or row.history[-1].at
    if row.state not in (DropState.RECEIVED, DropState.SENDING) or quiet_since > now - STUCK_AFTER:
        return None
    return Difference(
        kind=Kind.STUCK,
        outbox_key=row.key,
        version_id=row.version_id,
        state=row.state,
        since=quiet_since,
        says="it is to be sent, and nobody has worked on it for hours",
        repair=Repair.DELIVER,
    )
