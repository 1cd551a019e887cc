"""What a portal looks like to the verbs: a Source of documents, a Destination of drops, or both.

An adapter implements these two protocols and knows neither Lambda nor DynamoDB; the verbs know no portal.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    from amtsbote.chain import Provenance

Record = Mapping[str, Any]
"""A portal's own record of an item, as it was answered (JSON object)."""


@dataclass(frozen=True)
class Finding:
    """One item that a portal lists.

    `created_at` (UTC) feeds the watermark, None where the portal has none. `waiting_for` names what is missing before
    the item can be fetched. `hints` is the little that acknowledge needs later, when the record is no longer kept.
    `proves` names the delivery (its `proven_by`) that this item shows to have reached its recipient. What is not
    `wanted` is listed for that alone, and neither fetched nor acknowledged. What `stays` is listed whether or not the
    portal has been told of it.
    """

    id: str
    created_at: datetime | None
    record: Record
    waiting_for: str | None = None
    hints: Mapping[str, str] = field(default_factory=dict)
    proves: str | None = None
    wanted: bool = True
    stays: bool = False


@dataclass(frozen=True)
class LeftOut:
    """One listed row that nobody can tell an item from: `fields` says what is wrong with it, `id` what it says it is.

    It is left out and stops no other, and the watermark does not pass it.
    """

    fields: tuple[str, ...]
    id: str | None = None


@dataclass(frozen=True)
class Item:
    """One item that a verb works on; `prefix` is its key prefix in the inbox, without a trailing slash."""

    id: str
    prefix: str
    record: Record
    hints: Mapping[str, str]


@dataclass(frozen=True)
class IncomingFile:
    """One file of an item, streamed: `chunks` may be consumed once, before the next file is asked for.

    `size` is the length in bytes that was announced, None where nothing was. `name` is made safe by the inbox; the
    portal's own name is `portal_name`, None where the portal gives none. `verify` is given the whole content, seekable,
    and raises Quarantine when it is unreadable.
    """

    name: str
    chunks: Iterator[bytes]
    content_type: str
    size: int | None = None
    portal_name: str | None = None
    verify: Callable[[BinaryIO], None] | None = None


class AcknowledgeOutcome(StrEnum):
    """What the portal said of one acknowledged item."""

    DONE = "DONE"
    TRY_AGAIN = "TRY_AGAIN"
    UNAVAILABLE = "UNAVAILABLE"  # gone, forbidden, or another client's: a person decides, it is not asked again


@dataclass(frozen=True)
class Acknowledgement:
    """The portal's answer for one item; `reason` is the portal's stable code."""

    id: str
    outcome: AcknowledgeOutcome
    reason: str


class Source(Protocol):
    """One portal account that documents come from."""

    acknowledge_batch: int
    """How many items one acknowledge call of the portal takes."""

    def discover(self, since: datetime | None) -> Iterable[Finding | LeftOut]:
        """Return what the portal lists, all pages read; `since` (UTC) is a hint that it may ignore."""
        ...

    def fetch(self, item: Item) -> Iterator[IncomingFile]:
        """Stream the item's files in a stable order. Unavailable when it is gone at the portal."""
        ...

    def acknowledge(self, items: Sequence[Item]) -> Iterable[Acknowledgement]:
        """Tell the portal that these items (at most `acknowledge_batch`) are safe; one answer per item."""
        ...


@dataclass(frozen=True)
class Drop:
    """One version of an outbox object on its way to a portal.

    `path` is the key below `<portal>/<connection>/`, `metadata` the object's user metadata (lower-case names),
    `reference` derives from bucket, key and version and is the same at every try. `read(start, length)` streams bytes
    of just this version, and raises Retry(UNREADABLE) where the line breaks. `modified` (UTC) is when it was dropped.
    `beside(file name)` returns the newest version of the object whose key differs in its last part only, None where
    there is none. `provenance` says where a drop comes from that a routing rule made; `metadata` does not hold it.
    """

    key: str
    version_id: str
    path: tuple[str, ...]
    size: int
    content_type: str
    metadata: Mapping[str, str]
    reference: str
    read: Callable[[int, int], BinaryIO]
    bucket: str = ""
    modified: datetime | None = None
    beside: Callable[[str], "Drop | None"] = lambda _: None
    provenance: "Provenance | None" = None

    @property
    def file_name(self) -> str:
        """Return the last segment of the key."""
        return self.path[-1]


UNREADABLE = "OUTBOX_UNREADABLE"
"""The code of a Retry where a drop's bytes cannot be read for now."""

SHOWN = "shownMeanwhile"
"""Where a journal's state may hold `{"at": <ISO moment>, "result": {…}}` for the receipt of a delivery under way."""


class Journal(Protocol):
    """The memory of one delivery: a small JSON object in the ledger that outlives a crash.

    A row holds 400 KB; keep far below. What `state[SHOWN]` says is in the receipt as long as the drop is being sent; a
    receipt is rewritten at each change of it, so change it rarely.
    """

    state: dict[str, Any]

    def save(self) -> None:
        """Write `state` down; LeaseLost when another worker has taken the delivery over."""
        ...


@dataclass(frozen=True)
class Step:
    """One step of a delivery as its receipt shows it; `at` is UTC."""

    at: datetime
    state: str


class Outcome(StrEnum):
    """How far a delivery is; these are the receipt's `status` values."""

    IN_PROGRESS = "IN_PROGRESS"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Delivery:
    """What the portal knows of a delivery: its id there, how far it is, its own steps and words.

    `secret_until` (UTC): `result` holds a secret that ends then, and no trace of it is kept longer. `proven_by` is the
    name under which the source will list what proves that the recipient has it, None where nothing ever does.
    `tracked_as` is what `track` is to be asked for, None where that is `portal_id`.
    """

    portal_id: str
    outcome: Outcome
    steps: Sequence[Step] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    error_message: str | None = None
    secret_until: datetime | None = None
    proven_by: str | None = None
    tracked_as: str | None = None


@dataclass(frozen=True)
class KnownDrop:
    """What is known of one version of another drop; `pending` says that it has still to be sent.

    Where it has failed, `error_code` and `ended_at` (UTC) say why and when.
    """

    version_id: str
    pending: bool
    outcome: Outcome
    portal_id: str | None
    result: Mapping[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    ended_at: datetime | None = None


class DropBook(Protocol):
    """What became of other drops."""

    def newest(self, bucket: str, key: str) -> KnownDrop | None:
        """Return the newest version of an outbox key that has been seen."""
        ...

    def newest_sent(self, bucket: str, key: str) -> KnownDrop | None:
        """Return the newest version of an outbox key that the portal has."""
        ...


class NoDrops:
    """The book of somebody who has dropped nothing."""

    def newest(self, bucket: str, key: str) -> KnownDrop | None:  # noqa: ARG002  (the protocol's)
        """Return None."""
        return None

    newest_sent = newest


class Destination(Protocol):
    """One portal account that drops are delivered to."""

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Send the drop, going on where `journal` says an earlier try stopped. Reject when the portal refuses it."""
        ...

    def track(self, portal_id: str) -> Delivery:
        """Ask the portal how far the delivery is, by its id there or by its `tracked_as`."""
        ...
