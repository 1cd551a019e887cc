"""poll: ask a portal what is there, open ledger rows, queue fetches. It never changes anything at the portal."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from amtsbote.batches import in_batches
from amtsbote.deadline import Deadline
from amtsbote.events import Event, EventType
from amtsbote.health import report_recovery
from amtsbote.keys import receipt_key
from amtsbote.ledger import record_fits
from amtsbote.lifecycle import (
    SETTLED,
    AcknowledgeWanted,
    Hydrated,
    ItemEvent,
    ItemRow,
    Reopened,
    Requeued,
    State,
    Work,
    may_reopen,
    opened,
    watermark_after,
)
from amtsbote.messages import ConnectionTask, FetchRequest, Task
from amtsbote.observability import count, log, seconds
from amtsbote.portals.portal import AcknowledgePolicy, Connection
from amtsbote.portals.protocols import Finding, LeftOut
from amtsbote.services import Services
from amtsbote.status import ConnectionStatus, asks_since, polled
from amtsbote.verbs.accounts import for_connection, left_alone, report_oldest_unacknowledged, source_of
from amtsbote.verbs.listing import Listing

ROWS_AT_ONCE = 100  # opened and then queued, so that fetching begins while the rest of a long list is opened
ID_BYTES = 4096  # ten ids, each letter escaped, fit into one call to a queue or to the bus (256 KB)
HINTS_BYTES = 4096
NAMED_AT_MOST = 10  # of the rows left out, in the log
ID_SHOWN = 40  # letters of one
RECEIVED_BY_RECIPIENT = "RECEIVED_BY_RECIPIENT"


@dataclass(frozen=True)
class Polled:
    """What a poll found: how many items the portal lists, how many of them are new, how many fetches were queued."""

    listed: int = 0
    new: int = 0
    queued: int = 0


def poll(task: ConnectionTask, services: Services, deadline: Deadline) -> Polled:
    """Bring ledger and queue up to what the portal lists. A failing login marks the connection, and only it.

    Task.RECONCILE lists everything, and then compares portal, ledger and buckets.
    """
    return for_connection(task, services, lambda connection: _poll(connection, task, services, deadline), Polled())


def _poll(connection: Connection, task: ConnectionTask, services: Services, deadline: Deadline) -> Polled:
    status = services.ledger.status(connection.portal, connection.name)
    source = source_of(services, connection, deadline)
    if not connection.secret.enabled or left_alone(services, status, task):
        return Polled()
    if task.goes_on is not None and _went_on_unlisted(connection, task, services, deadline):
        return Polled()
    if source is None:
        return _only_sends(connection, task, status, services, deadline)
    asked_since, started_at = asks_since(status, services.settings.overlap), services.clock()
    since = None if task.task is Task.RECONCILE else asked_since
    listed, left_out = _sorted(source.discover(since))
    findings = {finding.id: finding for finding in listed if finding.wanted}
    known = services.ledger.items(connection.portal, connection.name, list(findings))
    fresh = [finding for finding in findings.values() if finding.id not in known]
    new, queued = _open(fresh, connection, services)
    to_fetch = _follow_up(findings.values(), known, connection, services)
    due = list(services.ledger.due_items(Work.FETCH, connection.portal, connection.name))
    requeued = services.ledger.advance_all([(row, Requeued()) for row in due])
    queued += _queue([*to_fetch, *(row.id for row in requeued)], connection, services)
    _report(left_out, connection)
    _measure(known.values(), due, connection, services)
    settled = frozenset(id_ for id_, row in known.items() if row.state in SETTLED)
    created = {finding.id: finding.created_at for finding in findings.values()}
    created |= dict.fromkeys(each.id or "" for each in left_out)  # without a moment: the watermark stays where it is
    watermark = watermark_after(status.watermark, created, settled)
    _tell_proofs(listed, connection, services)
    services.ledger.change_status(
        report_recovery(services, status), lambda each: polled(each, watermark, services.clock(), whole=since is None)
    )
    if task.task is Task.RECONCILE:
        listing = Listing(started_at, findings, known, tuple(fresh), asked_since, source)
        _compare(connection, task, listing, services, deadline)
    return _logged(Polled(len(findings), new, queued), connection, task)


def _only_sends(
    connection: Connection, task: ConnectionTask, status: ConnectionStatus, services: Services, deadline: Deadline
) -> Polled:
    """Note that there was nothing to ask for, or an alarm would wait for a poll; and compare what was dropped."""
    now = services.clock()
    services.ledger.change_status(status, lambda each: replace(each, polled_at=now))
    if task.task is Task.RECONCILE:
        _compare(connection, task, Listing(now, {}, {}, (), None, None), services, deadline)
    return Polled()


def _went_on_unlisted(connection: Connection, task: ConnectionTask, services: Services, deadline: Deadline) -> bool:
    from amtsbote.verbs.reconcile import go_on_unlisted  # one poll of a day compares

    return go_on_unlisted(connection, task, services, deadline)


def _compare(
    connection: Connection, task: ConnectionTask, listing: Listing, services: Services, deadline: Deadline
) -> None:
    from amtsbote.verbs.reconcile import compare

    compare(connection, task, listing, services, deadline)


def _sorted(listed: Iterable[Finding | LeftOut]) -> tuple[list[Finding], list[LeftOut]]:
    """Return the items of a list, and the rows that are left out: also those that no request has room for."""
    findings, left_out = list[Finding](), list[LeftOut]()
    for each in listed:
        out = each if isinstance(each, LeftOut) else _misfit(each)
        if out is not None:
            left_out.append(out)
        elif isinstance(each, Finding):
            findings.append(each)
    return findings, left_out


def _misfit(finding: Finding) -> LeftOut | None:
    sizes = {"id": (finding.id, ID_BYTES), "hints": (json.dumps(dict(finding.hints), ensure_ascii=False), HINTS_BYTES)}
    wrong = tuple(name for name, (text, most) in sizes.items() if not _has_room(text, most))
    return LeftOut(wrong, finding.id) if wrong else None


def _has_room(text: str, most: int) -> bool:
    try:
        return len(text.encode()) <= most
    except UnicodeEncodeError:  # half a character, which neither a row nor a key takes
        return False


def _report(left_out: Sequence[LeftOut], connection: Connection) -> None:
    for row in left_out[:NAMED_AT_MOST]:
        said = {"connection": connection.name, "id": (row.id or "")[:ID_SHOWN], "fields": row.fields}
        log.warning("a listed row was left out", extra=said)
    count("ListedUnreadable", len(left_out), connection=connection.name)
    count("Crashed", len(left_out))  # nobody knows what it is, and somebody has to ask the portal


def _open(fresh: Sequence[Finding], connection: Connection, services: Services) -> tuple[int, int]:
    """Open the rows of new items and queue what can be fetched; return how many were opened, and how many queued."""
    now, new, queued = services.clock(), 0, 0
    for some in in_batches(fresh, ROWS_AT_ONCE):
        rows = [opened(connection.portal, connection.name, finding, _record(finding), now) for finding in some]
        mine = services.ledger.open_all(rows)
        _report_set_aside(mine)
        new += len(mine)
        queued += _queue([row.id for row in mine if row.due is not None], connection, services)
    return new, queued


def _report_set_aside(rows: Iterable[ItemRow]) -> None:
    for row in rows:
        if row.state is State.QUARANTINED:
            log.error("quarantined", extra={"connection": row.connection, "id": row.id, "code": row.reason})
            count("Quarantined", connection=row.connection)


def _follow_up(
    findings: Iterable[Finding], known: dict[str, ItemRow], connection: Connection, services: Services
) -> list[str]:
    """Let happen to known items what the list says of them; return the ids of those that can be fetched now."""
    policy = connection.secret.acknowledge
    events = [
        (known[finding.id], event)
        for finding in findings
        if finding.id in known and (event := _news(finding, known[finding.id], policy, services.clock()))
    ]
    advanced = services.ledger.advance_all(events)
    _report_set_aside(advanced)
    return [row.id for row in advanced if row.state is State.DISCOVERED]


def _news(finding: Finding, row: ItemRow, policy: AcknowledgePolicy, now: datetime) -> ItemEvent | None:
    """Return what a portal's list says that the row does not know yet."""
    if row.state is State.DISCOVERED and row.waiting_for and finding.waiting_for is None:
        return Hydrated(_record(finding))
    if may_reopen(row, now) and finding.waiting_for is None:
        return Reopened(_record(finding))
    if row.state is State.STORED and row.due is None and policy is not AcknowledgePolicy.NEVER:
        return AcknowledgeWanted()
    return None


def _tell_proofs(listed: Iterable[Finding], connection: Connection, services: Services) -> None:
    """Tell once of each delivery that an item shows to have arrived. Told before it is noted: a crash tells again."""
    proofs = {finding.id: finding.proves for finding in listed if finding.proves is not None}
    awaited = services.ledger.awaited(connection.portal, connection.name, sorted(set(proofs.values())))
    for id_, name in proofs.items():
        known = awaited.get(name)
        if known is not None and id_ not in known.proven_by:
            more = {"status": RECEIVED_BY_RECIPIENT, "versionId": known.version_id}
            key = receipt_key(known.key)
            services.bus.publish(Event(EventType.DELIVERY_UPDATED, known.portal, known.connection, id_, key, more))
            awaited[name] = services.ledger.note_proof(known, id_)


def _queue(ids: Iterable[str], connection: Connection, services: Services) -> int:
    requests = (FetchRequest(portal=connection.portal, connection=connection.name, id=id_).body() for id_ in ids)
    return services.queue(services.settings.fetch_queue_url).send_all(requests)


def _record(finding: Finding) -> str | None:
    """Return the portal's own record as JSON, None where no row has room for it."""
    record = json.dumps(finding.record)
    return record if record_fits(record) else None


def _measure(known: Iterable[ItemRow], due: Iterable[ItemRow], connection: Connection, services: Services) -> None:
    """Report how old the oldest work is, in seconds since it was discovered, and since the portal has it."""
    waiting = [row for row in (*known, *due) if row.state not in SETTLED]
    oldest = min((row.discovered_at for row in waiting), default=services.clock())
    seconds("OldestWorkAge", (services.clock() - oldest).total_seconds(), connection=connection.name)
    report_oldest_unacknowledged(waiting, connection.name, services)


def _logged(result: Polled, connection: Connection, task: ConnectionTask) -> Polled:
    counts = {"listed": result.listed, "new": result.new, "queued": result.queued}
    log.info("polled", extra={"connection": connection.name, "task": task.task, **counts})
    count("PollSucceeded", connection=connection.name)
    count("Found", result.new, connection=connection.name)
    return result
