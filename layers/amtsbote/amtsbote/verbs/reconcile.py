"""reconcile: the part of poll that compares portal, ledger and buckets once a day. It reports, and repairs nothing.

A report is written as far as the time of an invocation goes; the rest is a request to the function's own queue, which
goes on where the report says. Memory: one page of rows or objects, the ids that the portal lists, and the report.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from amtsbote.batches import side_by_side
from amtsbote.deadline import Deadline
from amtsbote.deliveries import DropRow
from amtsbote.errors import AmtsboteError, OutOfTime
from amtsbote.keys import item_prefix
from amtsbote.ledger import Key, drop_partition
from amtsbote.ledger import Kind as RowKind
from amtsbote.ledger import Place as ShelfPlace
from amtsbote.lifecycle import ItemRow, Shelf
from amtsbote.messages import ConnectionTask, Task
from amtsbote.observability import count, log
from amtsbote.portals.portal import Connection
from amtsbote.portals.protocols import Finding
from amtsbote.reconciliation import (
    DEEP_BYTES,
    OF_THE_PORTAL,
    Compared,
    Difference,
    Part,
    Place,
    Report,
    added,
    differs,
    files_differ,
    finished,
    id_at,
    is_stored,
    missing_here,
    no_row,
    not_sent,
    still_there,
    stuck,
    unknown_there,
)
from amtsbote.services import Services
from amtsbote.verbs.accounts import destination_of
from amtsbote.verbs.listing import Listing

ROWS_AT_ONCE = 100
DOCUMENTS_AT_ONCE = 25  # of which each is two requests
READERS = 8
SHELVES = {
    Part.ARRIVING: Shelf.ARRIVING,
    Part.QUARANTINED: Shelf.QUARANTINED,
    Part.WAITING: Shelf.STORED,
    Part.STORED: Shelf.STORED,
    Part.ACKNOWLEDGED: Shelf.ACKNOWLEDGED,
}
Steps = Iterator[Compared]


def compare(
    connection: Connection, task: ConnectionTask, listing: Listing, services: Services, deadline: Deadline
) -> None:
    """Compare from the beginning, or go on where a request says and the portal's list is needed."""
    if task.goes_on is None:
        _reconcile(_first_report(connection, task, listing), listing, connection, services, deadline)
        return
    begun = _begun(connection, task.goes_on, services)
    if begun is not None:
        _reconcile(begun, listing, connection, services, deadline, counted=begun.found)


def go_on_unlisted(connection: Connection, task: ConnectionTask, services: Services, deadline: Deadline) -> bool:
    """Go on with a comparison as a request says; False where that needs to know what the portal lists."""
    begun = None if task.goes_on is None else _begun(connection, task.goes_on, services)
    if begun is None:
        return True  # the request came twice
    if begun.goes_on_at is None or begun.goes_on_at.part in OF_THE_PORTAL:
        return False
    _reconcile(begun, None, connection, services, deadline, counted=begun.found)
    return True


def _begun(connection: Connection, started_at: datetime, services: Services) -> Report | None:
    """Return the report to go on with; None where it is complete."""
    report = services.reports.read(connection.portal, connection.name, started_at)
    return None if report is None or report.complete else report


def _first_report(connection: Connection, task: ConnectionTask, listing: Listing) -> Report:
    """Return the report of a comparison that begins: what the portal's list alone shows."""
    report = Report(
        portal=connection.portal,
        connection=connection.name,
        started_at=listing.started_at.replace(microsecond=0),
        whole=bool(task.everything),
        deep=bool(task.deep),
        listed=len(listing.findings),
    )
    missing = missing_here(_late(listing), _seen_by_polls(listing))
    still = still_there(listing.findings.values(), listing.known, listing.started_at)
    step = Compared(number=len(listing.findings), differences=(*missing, *still))
    return added(report, step, Place(part=Part.ARRIVING))


def _seen_by_polls(listing: Listing) -> frozenset[str]:
    """Return what an ordinary poll would list; the portal is asked only where that matters."""
    if not _late(listing) or listing.source is None:
        return frozenset()
    return frozenset(each.id for each in listing.source.discover(listing.asked_since) if isinstance(each, Finding))


def _late(listing: Listing) -> list[Finding]:
    """Return the new items that are older than what a poll asks for; whether it would have found them is asked next."""
    since = listing.asked_since
    return [each for each in listing.fresh if since and each.created_at is not None and each.created_at < since]


def _reconcile(
    begun: Report,
    listing: Listing | None,
    connection: Connection,
    services: Services,
    deadline: Deadline,
    *,
    counted: int = 0,
) -> Report:
    """Go on with a comparison until it is complete or the time is up; write its report, and queue the rest.

    `counted` differences of the report have been counted before.
    """
    compared = _compared(begun, _Comparison(begun, listing, connection, services, deadline), deadline)
    complete = compared.goes_on_at is None
    report = finished(compared, services.clock(), complete=complete)
    services.reports.write(report)
    count("Differences", report.found - counted, connection=connection.name)
    if not complete:
        more = ConnectionTask(
            portal=report.portal, connection=report.connection, task=Task.RECONCILE, goes_on=report.started_at
        )
        services.queue(services.settings.poll_queue_url).send_all([more.body()])
    log.info("reconciled", extra={"connection": connection.name, "complete": complete, "counts": dict(report.counts)})
    return report


def _compared(report: Report, comparison: "_Comparison", deadline: Deadline) -> Report:
    """Return the report with as many steps as there is time for, one at least."""
    place = report.goes_on_at or Place(part=Part.ARRIVING)
    parts = list(Part)[list(Part).index(place.part) :]
    for number, part in enumerate(parts):
        try:
            for step in comparison.steps(part, place.after):
                report = added(report, step, Place(part=part, after=step.after))
                deadline.check()
        except OutOfTime:
            return report
        following = parts[number + 1 : number + 2]
        place = Place(part=following[0]) if following else place
        report = report.model_copy(update={"goes_on_at": place if following else None})
    return report


class _Comparison:
    """The comparison of one connection, part by part; each part is walked through in steps of bounded size."""

    def __init__(
        self, report: Report, listing: Listing | None, connection: Connection, services: Services, deadline: Deadline
    ) -> None:
        self._report = report
        self._listing = listing
        self._connection = connection
        self._services = services
        self._deadline = deadline
        self._has_time_behind = False

    def steps(self, part: Part, after: str | None) -> Steps:
        """Yield what comes after a place of a part."""
        if part in OF_THE_PORTAL:
            return self._waiting(part, after)
        if part in SHELVES:
            return self._documents(part, after)
        walks = {Part.UNDER_WAY: self._under_way, Part.INBOX: self._inbox, Part.OUTBOX: self._outbox}
        return walks[part](after)

    # --- rows ---

    def _waiting(self, part: Part, after: str | None) -> Steps:
        """Compare the rows that wait for the portal with what it lists; a connection that only sends lists nothing."""
        if self._listing is None or self._listing.source is None:
            return
        listed = self._listing.findings
        for place, rows in self._shelf(RowKind.ITEM, SHELVES[part], after, ROWS_AT_ONCE, None):
            items = [row for row in rows if isinstance(row, ItemRow)]
            found = (unknown_there(row, listed, self._report.started_at) for row in items)
            yield Compared(place, len(items), tuple(filter(None, found)))

    def _documents(self, part: Part, after: str | None) -> Steps:
        """Compare stored items with what lies in the inbox."""
        since = self._report.looks_since()
        if self._report.deep:
            yield from self._deep_documents(part, after, since)
            return
        for place, rows in self._shelf(RowKind.ITEM, SHELVES[part], after, DOCUMENTS_AT_ONCE, since):
            items = [row for row in rows if isinstance(row, ItemRow)]
            found = side_by_side(self._difference, items, READERS)
            yield Compared(place, len(items), tuple(filter(None, found)))

    def _deep_documents(self, part: Part, after: str | None, since: datetime | None) -> Steps:
        """Do the same one by one, and read what lies there; what does not fit into one invocation is left out."""
        for place, rows in self._shelf(RowKind.ITEM, SHELVES[part], after, 1, since):
            for row in rows:
                if isinstance(row, ItemRow):
                    yield self._deep_step(place, row)
                    self._has_time_behind = True

    def _deep_step(self, place: str, row: ItemRow) -> Compared:
        """Read one document; OutOfTime where it is to be begun anew by the next invocation, with all of its time."""
        found = self._difference(row)
        if found is not None:
            return Compared(place, 1, (found,))
        try:
            hashed, found = self._hashed(row)
        except OutOfTime:
            if self._has_time_behind:
                raise
            hashed = False
        return Compared(place, 1, (found,) if found else (), not_hashed=0 if hashed else 1)

    def _difference(self, row: ItemRow) -> Difference | None:
        """Return what differs for a row; a row that was changed meanwhile is judged anew."""
        if not is_stored(row):
            return None
        found = self._difference_now(row)
        if found is None:
            return None
        current = self._services.ledger.item(row.portal, row.connection, row.id)
        return self._difference_now(current) if current is not None and is_stored(current) else None

    def _difference_now(self, row: ItemRow) -> Difference | None:
        prefix = item_prefix(row.portal, row.connection, row.id)
        document = self._services.inbox.document(prefix)
        sizes = self._services.inbox.sizes(prefix) if document is not None else {}
        return files_differ(row, document, sizes)

    def _hashed(self, row: ItemRow) -> tuple[bool, Difference | None]:
        """Return whether a document was small enough to be read, and what differs."""
        document = self._services.inbox.document(item_prefix(row.portal, row.connection, row.id))
        files: list[dict[str, Any]] = document["files"] if document else []
        if sum(each["size"] for each in files) > DEEP_BYTES:
            return False, None
        for each in files:
            if self._services.inbox.sha256(each["key"], self._deadline.check) not in (None, each["sha256"]):
                return True, differs(row, "the content of a file is not what was stored: its SHA-256 differs")
        return True, None

    def _under_way(self, after: str | None) -> Steps:
        """Look for deliveries that nobody works on; where the connection does not send, they wait rightly."""
        if self._sends():
            for place, rows in self._shelf(RowKind.DROP, Shelf.UNDER_WAY, after, ROWS_AT_ONCE, None):
                drops = [row for row in rows if isinstance(row, DropRow)]
                found = (stuck(row, self._services.clock()) for row in drops)
                yield Compared(place, len(drops), tuple(filter(None, found)))

    def _sends(self) -> bool:
        with suppress(AmtsboteError):
            return destination_of(self._services, self._connection, self._deadline) is not None
        return True

    def _shelf(
        self, kind: RowKind, shelf: Shelf, after: str | None, size: int, since: datetime | None
    ) -> Iterator[tuple[str, list[ItemRow | DropRow]]]:
        """Yield the rows of a shelf, newest first, some at a time, each time with the place that they end at."""
        ledger, place = self._services.ledger, ShelfPlace(kind, self._report.portal, self._report.connection, shelf)
        while True:
            entries = ledger.on_shelf(place, since=since, before=after, limit=size)
            if not entries:
                return
            after = entries[-1].at
            yield after, list(ledger.rows([entry.key for entry in entries]).values())

    # --- objects ---

    def _inbox(self, after: str | None) -> Steps:
        """Look for documents that no row knows of."""
        portal, connection = self._report.portal, self._report.connection
        for last, found in self._services.inbox.documents(f"{portal}/{connection}/", after):
            ids = dict(self._ids(found))
            known = self._services.ledger.items(portal, connection, list(ids))
            yield Compared(last, len(ids), tuple(no_row(portal, connection, ids, known)))

    def _ids(self, found: Mapping[str, datetime]) -> Iterator[tuple[str, datetime]]:
        since = self._report.looks_since()
        for key, written_at in found.items():
            if since is None or written_at >= since:
                id_ = id_at(self._report.portal, self._report.connection, key) or self._id_in(key)
                yield id_, written_at

    def _id_in(self, key: str) -> str:
        """Return the id that a document.json says; its key, where it says none."""
        document = self._services.inbox.document(key.rpartition("/")[0])
        return str((document or {}).get("id", key))

    def _outbox(self, after: str | None) -> Steps:
        """Look for dropped versions that no row knows of."""
        bucket, prefix = self._services.settings.outbox_bucket, f"{self._report.portal}/{self._report.connection}/"
        since = self._report.looks_since()
        for last, page in self._services.outbox.dropped(bucket, prefix, after):
            versions = [each for each in page if since is None or each.at >= since]
            keys = [(drop_partition(bucket, each.key), each.version_id) for each in versions]
            found = not_sent(versions, self._known_drops(keys), self._report.started_at)
            yield Compared(last, len(versions), tuple(found))

    def _known_drops(self, keys: list[Key]) -> frozenset[tuple[str, str]]:
        rows = self._services.ledger.rows(keys).values()
        return frozenset((row.key, row.version_id) for row in rows if isinstance(row, DropRow))
