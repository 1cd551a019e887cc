"""The ledger: one DynamoDB table with a row per inbound item, per drop version and per connection.

Every change is read → pure function → conditional write on the row's version, so that two workers can never both
believe that theirs is the change that happened. Layout of the keys:

    ITEM#<portal>#<connection>#<id>       STATE           one inbound item
    DROP#<bucket>/<key>                   <version id>    one version of an outbox object
    DROP#<bucket>/<key>                   NEWEST          which version of the key is the newest
    PROOF#<portal>#<connection>#<name>    AWAITED         the delivery that an item of this name will prove
    ROUTE#<portal>/<connection>/<id>      <origin>#<rule>#<file>   one file copied by a rule, in the chain of that item
    CONNECTION#<portal>#<connection>      STATUS          watermark and health of a connection
    WORD#<portal>#<connection>            <subject>#<word>#<digest>   the row (of that key's digest) found by a word
    ACCOUNTS                              <portal>#<connection>   a connection that rows were opened for
    AUDIT#<portal>#<connection>           <number>        one action of a person (`AUDIT##`: on the whole stack)

The sparse index `due` holds the rows with work: dueQueue `<work>#<portal>#<connection>`, dueAt. The index `shelves`
holds the key of every item and drop for people who look for one: shelf `<kind>#<portal>#<connection>#<shelf>`,
shelvedAt `<begin>#<digest>`, where begin is the moment at which the row was opened. The table itself deletes what
has an `expiresAt` (seconds since 1970) then.

A key takes 2,048 bytes: a portal's name that is longer stands in it by its digest, and wholly in the row. A row takes
400 KB: a long record is kept packed. A row that cannot be read is logged, counted and left out, so that it stops no
other.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError
from pydantic import ValidationError

from amtsbote.attributes import attribute_of, value_of
from amtsbote.audit import WITNESS_LETTERS, Deed, next_deed, sealed
from amtsbote.batches import in_batches
from amtsbote.chain import CopyEvent, RoutedCopy, advance_copy
from amtsbote.codec import Codec
from amtsbote.deliveries import (
    DropEvent,
    DropRow,
    SendLease,
    advance_drop,
    shelf_of_drop,
    words_of_drop,
)
from amtsbote.errors import Retry
from amtsbote.lifecycle import (
    ImpossibleTransition,
    ItemEvent,
    ItemRow,
    Past,
    Shelf,
    Subject,
    Word,
    Work,
    advance,
    shelf_of,
    spelled,
)
from amtsbote.observability import count, log
from amtsbote.proofs import Awaited, awaited_again, proven
from amtsbote.status import ConnectionStatus
from amtsbote.times import sortable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import PaginatorConfigTypeDef, PutTypeDef

Row = TypeVar("Row", ItemRow, DropRow, Awaited, ConnectionStatus, RoutedCopy)
Lived = TypeVar("Lived", ItemRow, DropRow)
Key = tuple[str, str]
Attributes = dict[str, Any]

BATCH_GET_LIMIT = 100
BATCH_GET_ROUNDS = 5
CONFLICT_ROUNDS = 10
DIGEST_LETTERS = 16
QUERY_PAGE = 1000
AFTER_ALL = "\U0010ffff"  # sorts behind every text
NEWEST = "NEWEST"
ACCOUNTS = "ACCOUNTS"
NOBODY = "unknown"
NUMBER_DIGITS = 12  # of an action in its trail, so that text order is its order
PARTITION_BYTES = 2048  # what DynamoDB takes
HASHED_NAME = re.compile(r"sha256:[0-9a-f]{64}")  # how a name is written that a key has no room for
TRANSACTION_ACTIONS = 100  # what DynamoDB takes, of 4 MB together
TRANSACTION_ROW_BYTES = 2_000  # of a record; a larger row is written by itself: a transaction is twice the units
PACKED_FROM_BYTES = 30_000
RECORD_BYTES = 300_000  # packed; the rest of the 400 KB is for 200 steps, 100 words, hints and id

_ITEM = Codec(ItemRow)
_DROP = Codec(DropRow)
_AWAITED = Codec(Awaited)
_STATUS = Codec(ConnectionStatus)
_COPY = Codec(RoutedCopy)
_DEED = Codec(Deed)


class Kind(StrEnum):
    """Which way a document goes."""

    ITEM = "ITEM"
    DROP = "DROP"


@dataclass(frozen=True)
class Place:
    """One shelf of one connection. Drops whose key fits no rule stand with a portal and a connection of no name."""

    kind: Kind
    portal: str
    connection: str
    shelf: Shelf


@dataclass(frozen=True)
class Shelved:
    """One entry of the index `shelves`; `at` orders the entries and is unique."""

    at: str
    key: Key


@dataclass(frozen=True)
class Opened:
    """The row of a drop. `is_new`: it was written just now. `is_first`: no version of its key had been seen before."""

    row: DropRow
    is_new: bool
    is_first: bool


class Ledger:
    """The table, seen as rows. `clock` returns the current moment in UTC, `by` whose steps the trail will say they are.

    `by` is asked only when something is changed.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        clock: Callable[[], datetime],
        by: Callable[[], str] = lambda: NOBODY,
    ) -> None:
        self._client = client
        self._table = table
        self.clock = clock
        self._by = by
        self._enrolled: set[tuple[str, str]] = set()

    # --- inbound items ---

    def open(self, row: ItemRow) -> bool:
        """Write the first row of an item; False when there is one already, which is left as it is."""
        return bool(self.open_all([row]))

    def open_all(self, rows: Sequence[ItemRow]) -> list[ItemRow]:
        """Write the first rows of items, and return those that had none; the others are left as they are."""
        for portal, connection in {(row.portal, row.connection) for row in rows}:
            self._enrol(portal, connection)
        bundles = [*_bundles(filter(_is_small, rows)), *([row] for row in rows if not _is_small(row))]
        return [opened for bundle in bundles for opened in self._open_bundle(bundle)]

    def _open_bundle(self, rows: Sequence[ItemRow]) -> list[ItemRow]:
        """Write rows and their words at once; where one of the rows is there already, each by itself."""
        first = [sealed(row, self._by()) for row in rows]
        if len(first) == 1 or not self._write_all([put for row in first for put in self._puts_of(row, _ITEM)]):
            first = [row for row in first if self._create_found(row, _ITEM)]
        for row in first:
            _witness(row, row.history[-1])
        return first

    def item(self, portal: str, connection: str, id_: str) -> ItemRow | None:
        """Return the row of an item as it is now."""
        found = self._get(item_key(portal, connection, id_))
        return None if found is None else _readable(found, _ITEM)

    def items(self, portal: str, connection: str, ids: Sequence[str]) -> dict[str, ItemRow]:
        """Return the rows of those items that the ledger knows, by id: one batched read per 100."""
        rows: dict[str, ItemRow] = {}
        for some in in_batches(ids, BATCH_GET_LIMIT):
            for found in self._batch_get([item_key(portal, connection, id_) for id_ in some]):
                row = _readable(found, _ITEM)
                if row is not None:
                    rows[row.id] = row
        return rows

    def advance(self, row: ItemRow, event: ItemEvent) -> ItemRow:
        """Let an event happen to an item and return its row; a row changed meanwhile is read and judged anew."""
        key = item_key(row.portal, row.connection, row.id)
        return self._step(key, row, lambda current: advance(current, event, self.clock()), _ITEM)

    def advance_all(self, events: Sequence[tuple[ItemRow, ItemEvent]]) -> list[ItemRow]:
        """Let events happen to items, a hundred at once, and return the rows that they happened to, in that order.

        A row changed meanwhile is read and judged anew; one to which its event cannot happen any more is left out.
        """
        return [row for some in in_batches(events, TRANSACTION_ACTIONS) for row in self._advance_some(some)]

    def _advance_some(self, events: Sequence[tuple[ItemRow, ItemEvent]]) -> list[ItemRow]:
        if len(events) > 1 and all(_is_small(row) for row, _ in events):
            at_once = self._advance_at_once(events)
            if at_once is not None:
                return at_once
        return [row for row in (self._advance_if_possible(row, event) for row, event in events) if row is not None]

    def _advance_if_possible(self, row: ItemRow, event: ItemEvent) -> ItemRow | None:
        try:
            return self.advance(row, event)
        except ImpossibleTransition:
            log.info("changed meanwhile", extra={"connection": row.connection, "id": row.id})
            return None

    def _advance_at_once(self, events: Sequence[tuple[ItemRow, ItemEvent]]) -> list[ItemRow] | None:
        """Write all changes or none; None where a row cannot be changed so, or was changed meanwhile."""
        try:
            advanced = [self._advanced(row, event) for row, event in events]
        except ImpossibleTransition:
            return None
        changes = [(before, after) for (before, _), after in zip(events, advanced, strict=True) if after != before]
        puts = [put for before, after in changes for put in self._change_of(before, after, _ITEM)]
        if len(puts) > TRANSACTION_ACTIONS or (puts and not self._write_all(puts)):
            return None
        for _, after in (change for change in changes if change[0].seal != change[1].seal):
            _witness(after, after.history[-1])
        return advanced

    def _advanced(self, row: ItemRow, event: ItemEvent) -> ItemRow:
        changed = advance(row, event, self.clock())
        return row if changed == row else replace(sealed(changed, self._by(), row), version=row.version + 1)

    def due_items(self, work: Work, portal: str, connection: str) -> Iterator[ItemRow]:
        """Yield the items whose work is due, the longest waiting first."""
        for found in self._due(work, portal, connection):
            row = _readable(found, _ITEM)
            if row is not None:
                yield row

    # --- drops ---

    def open_drop(self, row: DropRow) -> DropRow:
        """Write the first row of a drop, or return the one there is; remember it if it is the newest version."""
        return self._open_drop(row).row

    def begin_drop(self, row: DropRow, lease: SendLease) -> Opened:
        """Open a drop under a lease, which it has only where the row is new."""
        return self._open_drop(advance_drop(row, lease, self.clock()))

    def _open_drop(self, row: DropRow) -> Opened:
        """Note the version before its row is written, so that no crash leaves a newest one that is not known as such.

        Whoever finds the key without a note has the first version of it, and need not look for its row.
        """
        is_first = self._note(row, over_older=False)
        known = None if is_first else self._get(drop_key(row))
        if known is not None:
            return Opened(_DROP.read(known), is_new=False, is_first=False)
        self._enrol(row.portal, row.connection)
        if not is_first:
            self._note(row, over_older=True)
        opened = self._open(row, _DROP)
        return Opened(opened or self.drop(row), is_new=opened is not None, is_first=is_first)

    def drop(self, row: DropRow) -> DropRow:
        """Return the drop's row as it is now."""
        found = self._get(drop_key(row))
        return row if found is None else _DROP.read(found)

    def advance_drop(self, row: DropRow, event: DropEvent) -> DropRow:
        """Let an event happen to a drop and return its row; a row changed meanwhile is read and judged anew."""
        return self._step(drop_key(row), row, lambda current: advance_drop(current, event, self.clock()), _DROP)

    def due_drops(self, portal: str, connection: str, work: Work = Work.TRACK) -> Iterator[DropRow]:
        """Yield the deliveries whose work is due, the longest waiting first."""
        for found in self._due(work, portal, connection):
            yield _DROP.read(found)

    def is_newest(self, row: DropRow) -> bool:
        """Return whether no newer version of the drop's key has been seen."""
        newest = self._get(newest_key(row))
        return newest is None or newest["versionId"] == row.version_id

    def newest_drop(self, bucket: str, key: str) -> DropRow | None:
        """Return the row of the newest version of an outbox key that has been seen."""
        noted = self._get((drop_partition(bucket, key), NEWEST))
        found = None if noted is None else self._get((drop_partition(bucket, key), noted["versionId"]))
        return None if found is None else _DROP.read(found)

    def newest_sent_drop(self, bucket: str, key: str) -> DropRow | None:
        """Return the row of the newest version of an outbox key that the portal has; all its versions are read."""
        place = {":place": drop_partition(bucket, key)}
        found = self._query("pk = :place", place, {}, ConsistentRead=True)
        sent = (_DROP.read(each) for each in found if "portal_id" in each)
        return max(sent, key=lambda row: row.sequence, default=None)

    def _note(self, row: DropRow, *, over_older: bool) -> bool:
        """Note that a row is the newest of its key, where none is noted, or over an older one; False where not."""
        attributes, nobody = {"sequence": row.sequence, "versionId": row.version_id}, "attribute_not_exists(pk)"
        if not over_older:
            return self._put(newest_key(row), attributes, nobody)
        condition, values = f"{nobody} OR #sequence < :sequence", {":sequence": row.sequence}
        return self._put(newest_key(row), attributes, condition, values, {"#sequence": "sequence"})

    # --- what was routed ---

    def open_copy(self, copy: RoutedCopy) -> RoutedCopy:
        """Write the first row of a copy, or return the one there is."""
        found = self._get(copy_key(copy))
        if found is None and self._create(copy_key(copy), copy, _COPY):
            return copy
        return _COPY.read(found or self._get(copy_key(copy)))

    def advance_copy(self, copy: RoutedCopy, event: CopyEvent) -> RoutedCopy:
        """Let an event happen to a copy and return its row; a row changed meanwhile is read and judged anew."""
        return self._change(copy_key(copy), copy, lambda current: advance_copy(current, event, self.clock()), _COPY)

    def chain(self, root: str) -> list[RoutedCopy]:
        """Return all copies of the chain that began at an item (`<portal>/<connection>/<id>`), the first hop first."""
        found = self._query("pk = :root", {":root": copy_partition(root)}, {}, ConsistentRead=True)
        return sorted((_COPY.read(each) for each in found), key=lambda each: (each.hops, each.changed_at))

    def answered_by(self, portal: str, connection: str, name: str) -> DropRow | None:
        """Return the routed drop that what arrives at a connection answers under a name, None where there is none.

        Another connection of the portal may have sent it: some accounts only send, and others only receive.
        """
        others = [other for at, other in self.accounts() if at == portal and other != connection]
        for account in (connection, *others):
            begin = {":place": word_partition(portal, account), ":begin": f"{Subject.REFERENCE}#{spelled(name)}#"}
            found = self._query("pk = :place AND begins_with(sk, :begin)", begin, {}, ConsistentRead=True)
            for row in self.rows([(each["ofPk"], each["ofSk"]) for each in found]).values():
                if isinstance(row, DropRow) and row.answered_as == name:
                    return row
        return None

    # --- proofs ---

    def await_proof(self, row: DropRow, name: str) -> None:
        """Remember that an item named `name` will prove the arrival of this drop; a later drop takes the name over."""
        first = Awaited(row.portal, row.connection, name, row.key, row.version_id)
        key = proof_key(row.portal, row.connection, name)
        if self._create(key, replace(first, version=1), _AWAITED):
            return
        found = self._get(key)
        known = first if found is None else _AWAITED.read(found)
        self._change(key, known, lambda current: awaited_again(current, row.key, row.version_id), _AWAITED)

    def awaited(self, portal: str, connection: str, names: Sequence[str]) -> dict[str, Awaited]:
        """Return the deliveries that await proofs of these names, by name: one batched read per 100."""
        known: dict[str, Awaited] = {}
        for some in in_batches(names, BATCH_GET_LIMIT):
            for found in self._batch_get([proof_key(portal, connection, name) for name in some]):
                each = _readable(found, _AWAITED)
                if each is not None:
                    known[each.name] = each
        return known

    def note_proof(self, known: Awaited, item_id: str) -> Awaited:
        """Remember that the proof by this item has been told of."""
        key = proof_key(known.portal, known.connection, known.name)
        return self._change(key, known, lambda current: proven(current, item_id), _AWAITED)

    # --- connections ---

    def status(self, portal: str, connection: str) -> ConnectionStatus:
        """Return what is known of a connection; a fresh status where nothing is."""
        found = self._get(status_key(portal, connection))
        return ConnectionStatus(portal, connection) if found is None else _STATUS.read(found)

    def statuses(self, portal: str, connections: Sequence[str]) -> dict[str, ConnectionStatus]:
        """Return what is known of these connections, by name: one batched read per 100."""
        known = {name: ConnectionStatus(portal, name) for name in connections}
        for some in in_batches(connections, BATCH_GET_LIMIT):
            for found in self._batch_get([status_key(portal, name) for name in some]):
                status = _readable(found, _STATUS)
                if status is not None:
                    known[status.connection] = status
        return known

    def is_due(self, work: Work, portal: str, connection: str) -> bool:
        """Return whether any work of a kind is due, by the index, which may be a moment behind: one row is read."""
        values = {":queue": due_queue(work, portal, connection), ":now": sortable(self.clock())}
        return bool(self._pages("dueQueue = :queue AND dueAt <= :now", values, 1, IndexName="due"))

    def change_status(
        self, status: ConnectionStatus, change: Callable[[ConnectionStatus], ConnectionStatus]
    ) -> ConnectionStatus:
        """Let a pure change happen to a connection's status and return it."""
        return self._change(status_key(status.portal, status.connection), status, change, _STATUS)

    def accounts(self) -> list[tuple[str, str]]:
        """Return portal and connection of all that rows were ever opened for; both are empty for keys of no rule.

        A connection whose secret is deleted stays among them.
        """
        found = self._query("pk = :place", {":place": ACCOUNTS}, {"PageSize": QUERY_PAGE}, ConsistentRead=True)
        return [(portal, connection) for portal, _, connection in (each["sk"].partition("#") for each in found)]

    def _enrol(self, portal: str, connection: str) -> None:
        """Remember a connection, before its first row; a process writes that once."""
        if (portal, connection) not in self._enrolled:
            self._put((ACCOUNTS, f"{portal}#{connection}"), {}, "attribute_not_exists(pk)")
            self._enrolled.add((portal, connection))

    # --- what is kept no longer ---

    def erasing(self, portal: str, connection: str) -> Iterator[ItemRow | DropRow]:
        """Yield the rows whose erasure was begun and has not ended, the longest waiting first."""
        for found in self._due(Work.ERASE, portal, connection):
            row = _row_of(found)
            if row is not None:
                yield row

    def opened_before(self, place: Place, moment: datetime) -> Iterator[ItemRow | DropRow]:
        """Yield the rows of a shelf that were opened before then, oldest first, a hundred of them in memory."""
        found = self._query(
            "shelf = :shelf AND shelvedAt < :before",
            {":shelf": shelf_name(place), ":before": sortable(moment)},
            {"PageSize": BATCH_GET_LIMIT},
            IndexName="shelves",
        )
        for some in in_batches((_shelved(each).key for each in found), BATCH_GET_LIMIT):
            yield from self.rows(some).values()

    def forget_words(self, row: ItemRow | DropRow) -> None:
        """Take away the words that a row is found by; repeating is safe."""
        for word in _words_of(row):
            self._client.delete_item(TableName=self._table, Key=_dump_key(word_key(row, word)))

    def expire_notes(self, row: DropRow, at: datetime) -> None:
        """Let the note that a drop is the newest of its key end with its row; that of a newer drop stays."""
        attributes = {"sequence": row.sequence, "versionId": row.version_id, "expiresAt": int(at.timestamp())}
        is_own = {":version": row.version_id}
        self._put(newest_key(row), attributes, "#version = :version", is_own, {"#version": "versionId"})

    # --- what people did ---

    def note_deed(self, deed: Deed) -> Deed:
        """Append an action to the trail of its connection, or of the stack, and return it numbered and sealed."""
        for _ in range(CONFLICT_ROUNDS):
            last = self._last_deed(deed.portal, deed.connection)
            noted = next_deed(replace(deed, by=deed.by or self._by()), last)
            key = deed_key(noted.portal, noted.connection, noted.number)
            if self._put(key, _DEED.written(noted), "attribute_not_exists(pk)"):
                return noted
        raise Retry("TRAIL_CONTENDED", "too many people do something with this connection at once")

    def deeds(self, portal: str, connection: str, *, after: int = 0, limit: int) -> list[Deed]:
        """Return up to `limit` actions of a trail, the first of them the one `after` that number."""
        pk, since = deed_key(portal, connection, after)
        condition = "pk = :place AND sk > :after"
        return [_DEED.read(each) for each in self._pages(condition, {":place": pk, ":after": since}, limit)]

    def _last_deed(self, portal: str, connection: str) -> Deed | None:
        place = {":place": deed_key(portal, connection, 0)[0]}
        found = self._pages("pk = :place", place, 1, ScanIndexForward=False, ConsistentRead=True)
        return _DEED.read(found[0]) if found else None

    # --- what people look for ---

    def on_shelf(
        self, place: Place, *, since: datetime | None = None, before: str | None = None, limit: int
    ) -> list[Shelved]:
        """Return up to `limit` entries of a shelf, newest first: opened `since` then (UTC), before an `at`."""
        return [_shelved(found) for found in self._shelf(place, since, before, limit, newest_first=True)]

    def oldest_on_shelf(self, place: Place) -> ItemRow | DropRow | None:
        """Return the row of the entry that was opened first, None where the shelf is empty."""
        entries = [_shelved(found) for found in self._shelf(place, None, None, 1, newest_first=False)]
        return next(iter(self.rows([entry.key for entry in entries]).values()), None)

    def count_on_shelf(self, place: Place, *, since: datetime | None = None, at_most: int) -> int:
        """Return how many entries a shelf has, or `at_most` where it has that many or more."""
        return len(self._shelf(place, since, None, at_most, newest_first=True))

    def found_by(
        self, portal: str, connection: str, word: Word, *, only_begins: bool = False, limit: int
    ) -> list[Shelved]:
        """Return up to `limit` rows that a word, or all that begin so, speak of: by word, in no order of time."""
        begin = f"{word.subject}#{word.text}" + ("" if only_begins else "#")
        values = {":place": word_partition(portal, connection), ":begin": begin}
        pages = self._pages("pk = :place AND begins_with(sk, :begin)", values, limit)
        return [Shelved(each["at"], (each["ofPk"], each["ofSk"])) for each in pages]

    def versions_of(self, bucket: str, key: str, *, limit: int) -> list[DropRow]:
        """Return up to `limit` versions of an outbox key, in no order."""
        found = self._pages("pk = :place", {":place": drop_partition(bucket, key)}, limit)
        return [_DROP.read(each) for each in found if "state" in each]

    def rows(self, keys: Sequence[Key]) -> dict[Key, ItemRow | DropRow]:
        """Return the rows of items and drops by their keys, in that order; one that is not there is left out."""
        found: dict[Key, ItemRow | DropRow] = {}
        for some in in_batches(keys, BATCH_GET_LIMIT):
            for each in self._batch_get(some):
                row = _row_of(each)
                if row is not None:
                    found[key_of(row)] = row
        return {key: found[key] for key in keys if key in found}

    def _shelf(
        self, place: Place, since: datetime | None, before: str | None, limit: int, *, newest_first: bool
    ) -> list[Attributes]:
        first, last = sortable(since) if since else " ", before or AFTER_ALL
        found = self._pages(
            "shelf = :shelf AND shelvedAt BETWEEN :first AND :last",
            {":shelf": shelf_name(place), ":first": first, ":last": last},
            limit + 1,  # BETWEEN takes its ends along, so `before` itself may be among them
            IndexName="shelves",
            ScanIndexForward=not newest_first,
        )
        return [each for each in found if each["shelvedAt"] != before][:limit]

    def _pages(self, condition: str, values: Mapping[str, str], limit: int, **more: Any) -> list[Attributes]:
        """Return the first `limit` answers to a query, key attributes and all."""
        return list(self._query(condition, values, {"MaxItems": limit, "PageSize": min(limit, QUERY_PAGE)}, **more))

    def _query(
        self, condition: str, values: Mapping[str, str], paging: "PaginatorConfigTypeDef", **more: Any
    ) -> Iterator[Attributes]:
        """Yield the answers to a query, key attributes and all, one page in memory."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues={name: attribute_of(value) for name, value in values.items()},
            PaginationConfig=paging,
            **more,
        )
        for page in pages:
            yield from ({name: value_of(value) for name, value in each.items()} for each in page["Items"])

    # --- the table ---

    def _open(self, row: Lived, codec: Codec[Lived]) -> Lived | None:
        """Write the first row of an item or a drop and return it sealed; None where there is one."""
        first = sealed(row, self._by())
        if not self._create_found(first, codec):
            return None
        for past in first.history:
            _witness(first, past)
        return first

    def _step(self, key: Key, row: Lived, change: Callable[[Lived], Lived], codec: Codec[Lived]) -> Lived:
        """Let a change happen to an item or a drop, with its steps sealed in the same write."""

        def seal(current: Lived) -> Lived:
            changed = change(current)
            return current if changed == current else sealed(changed, self._by(), current)

        def write(before: Lived, after: Lived) -> bool:
            return self._replace_found(before, after, codec)

        changed = self._change(key, row, seal, codec, write)
        if changed.seal != row.seal:
            _witness(changed, changed.history[-1])
        return changed

    def _change(
        self,
        key: Key,
        row: Row,
        change: Callable[[Row], Row],
        codec: Codec[Row],
        write: Callable[[Row, Row], bool] | None = None,
    ) -> Row:
        for _ in range(CONFLICT_ROUNDS):
            changed = change(row)
            if changed == row:
                return row
            changed = replace(changed, version=row.version + 1)
            if write(row, changed) if write else self._replace(key, changed, codec, row.version):
                return changed
            found = self._get(key)
            if found is None:
                raise Retry("LEDGER_ROW_VANISHED", "the row was deleted while it was worked on")
            current = _readable(found, codec)
            if current is None:
                raise Retry("LEDGER_ROW_UNREADABLE", "the row was changed meanwhile into one that cannot be read")
            row = current
        raise Retry("LEDGER_CONTENDED", "the row is being changed by too many workers at once")

    def _write_all(self, puts: Sequence["PutTypeDef"]) -> bool:
        """Write rows, all or none; False where one of them cannot be written now."""
        try:
            self._client.transact_write_items(TransactItems=[{"Put": put} for put in puts])
        except ClientError as error:
            if error.response["Error"]["Code"] == "TransactionCanceledException":
                return False
            raise
        return True

    def _create_found(self, row: Lived, codec: Codec[Lived]) -> bool:
        """Write a first row with the words that it is found by; False where there is one."""
        if not _words_of(row):
            return self._create(key_of(row), row, codec)
        for _ in range(CONFLICT_ROUNDS):
            if self._write_all(list(self._puts_of(row, codec))):
                return True
            if self._get(key_of(row)) is not None:
                return False
        raise Retry("LEDGER_CONTENDED", "the row is being written by too many workers at once")

    def _replace_found(self, before: Lived, after: Lived, codec: Codec[Lived]) -> bool:
        """Write a row over the one it was, with the words that it is found by since; False where it is another now."""
        puts = list(self._change_of(before, after, codec))
        if len(puts) > 1:
            return self._write_all(puts)
        return self._replace(key_of(after), after, codec, before.version)

    def _puts_of(self, row: Lived, codec: Codec[Lived]) -> Iterator["PutTypeDef"]:
        """Yield the writes of a first row and of its words.

        A row and its words are written at once: whoever erases the row knows them all, and none is missing.
        """
        yield from self._puts_of_words(row, _words_of(row))
        first = _dump_row(key_of(row), _attributes(row, codec))
        yield {"TableName": self._table, "Item": first, "ConditionExpression": "attribute_not_exists(pk)"}

    def _change_of(self, before: Lived, after: Lived, codec: Codec[Lived]) -> Iterator["PutTypeDef"]:
        """Yield the writes of a row over the one it was, and of the words that are new to it."""
        known = _words_of(before)
        yield from self._puts_of_words(after, [word for word in _words_of(after) if word not in known])
        yield {
            "TableName": self._table,
            "Item": _dump_row(key_of(after), _attributes(after, codec)),
            "ConditionExpression": "#version = :version",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":version": attribute_of(before.version)},
        }

    def _puts_of_words(self, row: ItemRow | DropRow, words: Iterable[Word]) -> Iterator["PutTypeDef"]:
        for word in words:
            yield {"TableName": self._table, "Item": _dump_row(word_key(row, word), _said_of(row))}

    def _create(self, key: Key, row: Row, codec: Codec[Row]) -> bool:
        return self._put(key, _attributes(row, codec), "attribute_not_exists(pk)")

    def _replace(self, key: Key, row: Row, codec: Codec[Row], version: int) -> bool:
        condition = "#version = :version" if version else "attribute_not_exists(pk)"
        values = {":version": version} if version else {}
        names = {"#version": "version"} if version else {}
        return self._put(key, _attributes(row, codec), condition, values, names)

    def _put(
        self,
        key: Key,
        attributes: Attributes,
        condition: str,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> bool:
        extra: dict[str, Any] = {}
        if values and names:
            extra["ExpressionAttributeValues"] = {name: attribute_of(value) for name, value in values.items()}
            extra["ExpressionAttributeNames"] = dict(names)
        try:
            self._client.put_item(
                TableName=self._table,
                Item=_dump_row(key, attributes),
                ConditionExpression=condition,
                **extra,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _get(self, key: Key) -> Attributes | None:
        answer = self._client.get_item(TableName=self._table, Key=_dump_key(key), ConsistentRead=True)
        return _load(answer["Item"]) if "Item" in answer else None

    def _batch_get(self, keys: Sequence[Key]) -> Iterator[Attributes]:
        wanted: Any = {self._table: {"Keys": [_dump_key(key) for key in dict.fromkeys(keys)], "ConsistentRead": True}}
        for _ in range(BATCH_GET_ROUNDS):
            answer = self._client.batch_get_item(RequestItems=wanted)
            yield from (_load(found) for found in answer["Responses"].get(self._table, []))
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return
        raise Retry("LEDGER_THROTTLED", "the ledger does not answer a batched read completely")

    def _due(self, work: Work, portal: str, connection: str) -> Iterator[Attributes]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="due",
            KeyConditionExpression="dueQueue = :queue AND dueAt <= :now",
            ExpressionAttributeValues={
                ":queue": attribute_of(due_queue(work, portal, connection)),
                ":now": attribute_of(sortable(self.clock())),
            },
        )
        for page in pages:
            yield from (_load(found) for found in page["Items"])


def item_key(portal: str, connection: str, id_: str) -> Key:
    """Return the key of an inbound item's row."""
    return _partition(f"ITEM#{portal}#{connection}", id_), "STATE"


def _partition(begin: str, name: str) -> str:
    """Return the partition of what a portal calls so; what a key has no room for stands in it by its digest."""
    whole = f"{begin}#{name}"
    if len(whole.encode()) <= PARTITION_BYTES and not HASHED_NAME.fullmatch(name):  # no two names have one place
        return whole
    return f"{begin}#sha256:{sha256(name.encode()).hexdigest()}"


def drop_partition(bucket: str, key: str) -> str:
    """Return what the rows of all versions of an outbox key share."""
    return f"DROP#{bucket}/{key}"


def drop_key(row: DropRow) -> Key:
    """Return the key of a drop version's row."""
    return drop_partition(row.bucket, row.key), row.version_id


def newest_key(row: DropRow) -> Key:
    """Return the key of the note which version of an outbox key is the newest."""
    return drop_partition(row.bucket, row.key), NEWEST


def copy_partition(root: str) -> str:
    """Return what the copies of one chain share."""
    return f"ROUTE#{root}"


def copy_key(copy: RoutedCopy) -> Key:
    """Return the key of a copy's row."""
    return copy_partition(copy.root), f"{copy.origin}#{copy.rule}#{copy.file}"


def proof_key(portal: str, connection: str, name: str) -> Key:
    """Return the key of the delivery that a proof of this name is awaited for."""
    return _partition(f"PROOF#{portal}#{connection}", name), "AWAITED"


def deed_key(portal: str, connection: str, number: int) -> Key:
    """Return the key of an action in the trail of a connection; both empty, of the stack."""
    return f"AUDIT#{portal}#{connection}", f"{number:0{NUMBER_DIGITS}d}"


def status_key(portal: str, connection: str) -> Key:
    """Return the key of a connection's status."""
    return f"CONNECTION#{portal}#{connection}", "STATUS"


def due_queue(work: Work, portal: str, connection: str) -> str:
    """Return the partition of the sparse index for one kind of work of one connection."""
    return f"{work}#{portal}#{connection}"


def word_partition(portal: str, connection: str) -> str:
    """Return the partition of the words by which rows of a connection are found."""
    return f"WORD#{portal}#{connection}"


def word_key(row: ItemRow | DropRow, word: Word) -> Key:
    """Return where it is noted that a word finds a row: the same place, however often and by whomever it is noted."""
    return word_partition(row.portal, row.connection), f"{word.subject}#{word.text}#{_digest_of_key(row)}"


def shelf_name(place: Place) -> str:
    """Return the partition of the index `shelves` for one shelf."""
    return f"{place.kind}#{place.portal}#{place.connection}#{place.shelf}"


def key_of(row: ItemRow | DropRow) -> Key:
    """Return the key of an item's or a drop's row."""
    return drop_key(row) if isinstance(row, DropRow) else item_key(row.portal, row.connection, row.id)


def begin_of(row: ItemRow | DropRow) -> str:
    """Return what orders rows by the moment at which they were opened, and is each row's own."""
    return f"{sortable(opened_at_of(row))}#{_digest_of_key(row)}"


def _digest_of_key(row: ItemRow | DropRow) -> str:
    return sha256("\n".join(key_of(row)).encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LETTERS]


def opened_at_of(row: ItemRow | DropRow) -> datetime:
    """Return the moment at which a row was opened, which never changes."""
    return row.received_at if isinstance(row, DropRow) else row.discovered_at


def _attributes(row: Row, codec: Codec[Row]) -> Attributes:
    """Return what is written of a row: itself, and where the indexes hold it."""
    return {
        **_packed(codec.written(row)),
        **_due(row),
        **_shelf_attributes(row),
        **_expiry(row),
    }


def _witness(row: ItemRow | DropRow, past: Past) -> None:
    """Log the begin of a step's digest: what the trail says can so be held against a second place."""
    which = {"version": row.version_id} if isinstance(row, DropRow) else {"id": row.id}
    said = {"state": past.state, "number": past.number, "seal": str(past.digest)[:WITNESS_LETTERS]}
    log.info("step", extra={"connection": row.connection, **which, **said})


def _due(row: object) -> Attributes:
    if not isinstance(row, ItemRow | DropRow) or row.due is None:
        return {}
    return {"dueQueue": due_queue(row.due.work, row.portal, row.connection), "dueAt": sortable(row.due.at)}


def _row_of(found: Attributes) -> ItemRow | DropRow | None:
    """Return an item's or a drop's row, whichever it is."""
    return _readable(found, _ITEM) if "id" in found else _readable(found, _DROP)


def _readable(found: Attributes, codec: Codec[Row]) -> Row | None:
    """Return a row, None where it cannot be read: that is said and counted, and must not stop the others."""
    try:
        return codec.read(found)
    except ValidationError as error:
        fields = sorted({str(wrong["loc"][0]) for wrong in error.errors(include_input=False) if wrong["loc"]})
        said = {"connection": str(found.get("connection")), "id": str(found.get("id")), "fields": fields}
        log.error("a row of the ledger cannot be read", extra=said)
        count("LedgerRowUnreadable")
        count("Crashed")  # a defect, for whose alarm somebody looks
        return None


def record_fits(record: str) -> bool:
    """Return whether a row has room for a portal's record (JSON)."""
    return len(record) <= PACKED_FROM_BYTES or len(zlib.compress(record.encode())) <= RECORD_BYTES


def _packed(attributes: Attributes) -> Attributes:
    record = attributes.get("record", "")
    return attributes if len(record) <= PACKED_FROM_BYTES else {**attributes, "record": zlib.compress(record.encode())}


def _is_small(row: ItemRow) -> bool:
    """Return whether a hundred such rows fit into one write."""
    return len(row.record or "") <= TRANSACTION_ROW_BYTES


def _bundles(rows: Iterable[ItemRow]) -> Iterator[list[ItemRow]]:
    """Yield rows in lists that are written at once, each with its words."""
    bundle, actions = list[ItemRow](), 0
    for row in rows:
        if actions + 1 + len(row.words) > TRANSACTION_ACTIONS:
            yield bundle
            bundle, actions = [], 0
        bundle.append(row)
        actions += 1 + len(row.words)
    if bundle:
        yield bundle


def _words_of(row: ItemRow | DropRow) -> tuple[Word, ...]:
    """Return the words that a row says it is found by."""
    return words_of_drop(row) if isinstance(row, DropRow) else row.words


def _said_of(row: ItemRow | DropRow) -> Attributes:
    """Return what a word says of the row that it finds."""
    pk, sk = key_of(row)
    return {"ofPk": pk, "ofSk": sk, "at": begin_of(row)}


def _expiry(row: object) -> Attributes:
    if not isinstance(row, ItemRow | DropRow) or row.expires_at is None:
        return {}
    return {"expiresAt": int(row.expires_at.timestamp())}


def _shelf_attributes(row: object) -> Attributes:
    if not isinstance(row, ItemRow | DropRow):
        return {}
    kind, shelf = (Kind.DROP, shelf_of_drop(row)) if isinstance(row, DropRow) else (Kind.ITEM, shelf_of(row))
    return {"shelf": shelf_name(Place(kind, row.portal, row.connection, shelf)), "shelvedAt": begin_of(row)}


def _shelved(found: Attributes) -> Shelved:
    return Shelved(found["shelvedAt"], (found["pk"], found["sk"]))


def _dump(attributes: Attributes) -> dict[str, Any]:
    return {name: attribute_of(value) for name, value in attributes.items() if value is not None}


def _dump_key(key: Key) -> dict[str, Any]:
    return _dump({"pk": key[0], "sk": key[1]})


def _dump_row(key: Key, attributes: Attributes) -> dict[str, Any]:
    return _dump({"pk": key[0], "sk": key[1], **attributes})


def _load(found: Mapping[str, Any]) -> Attributes:
    technical = {"pk", "sk", "dueQueue", "dueAt", "shelf", "shelvedAt", "expiresAt"}
    attributes = {name: value_of(value) for name, value in found.items() if name not in technical}
    if isinstance(packed := attributes.get("record"), bytes):
        attributes["record"] = zlib.decompress(packed).decode()
    return attributes
