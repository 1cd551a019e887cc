"""The commands: the operation that each is, and how its answer is told to people."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from amtsbote.cli.answers import Printer, as_json
from amtsbote.cli.asking import Questions, body_asked_for, body_in_file
from amtsbote.cli.moments import end_of_day, moment, shown
from amtsbote.errors import Reject
from amtsbote.lifecycle import Past, Shelf
from amtsbote.operations import accounts, deadletters, decisions, reconciliation, trail
from amtsbote.operations.details import Detail, download, receipt, show
from amtsbote.operations.documents import Direction, Document, Question, documents
from amtsbote.operations.office import Account, Intent, Office
from amtsbote.operations.overview import COUNTED_AT_MOST, Health, Overview, overview
from amtsbote.operations.retention import outlook
from amtsbote.reconciliation import Difference, Report

FINE, FAILED, ATTENTION = 0, 1, 3
"""Exit codes; 2 is argparse's, for a command line that makes no sense. ATTENTION: something waits for a person."""

DOCUMENT_COLUMNS = ("seenAt", "direction", "portal", "connection", "state", "id", "reason")
DOOMED_COLUMNS = ("portal", "connection", "state", "days", "count", "oldest")
LETTER_COLUMNS = ("verb", "portal", "about")


@dataclass(frozen=True)
class Desk:
    """What a command works with."""

    office: Office
    args: Namespace
    printer: Printer
    questions: Questions


Run = Callable[[Desk], int]


# --- looking ---------------------------------------------------------------------------------------------------------


def run_status(desk: Desk) -> int:
    """Tell how everything is; ATTENTION where somebody has to do something."""
    found = overview(desk.office, desk.args.portal, desk.args.connection)
    desk.printer.json(found)
    for each in found.connections:
        desk.printer.line(_health(each))
    for sentence in _waiting(found):
        desk.printer.line(sentence)
    calm = not _waiting(found) and all(each.problem is None for each in found.connections)
    return FINE if calm else ATTENTION


def _health(each: Health) -> str:
    counts = ", ".join(f"{_number(count)} {name.lower().replace('_', ' ')}" for name, count in _told(each))
    return f"{each.connection}: {_condition(each)}; {counts or 'nothing there'}{_oldest(each)}"


def _condition(each: Health) -> str:
    if each.problem is not None:
        since = f" since {shown(each.failing_since)}" if each.failing_since else ""
        return f"NOT WORKING{since} ({each.problem})"
    if not each.enabled:
        return "paused"
    polled = f"polled at {shown(each.polled_at)}" if each.polled_at else "not polled yet"
    left = f", left alone until {shown(each.left_alone_until)}" if each.left_alone_until else ""
    return f"healthy, {polled}{left}"


def _told(each: Health) -> list[tuple[str, int]]:
    names = {Shelf.ACKNOWLEDGED: "acknowledged in a day", Shelf.DELIVERED: "delivered in a day"}
    names |= {Shelf.STORED: "not acknowledged", Shelf.UNDER_WAY: "deliveries under way", Shelf.FAILED: "failed"}
    return [(names.get(Shelf(shelf), shelf), count) for shelf, count in each.counts.items() if count]


def _oldest(each: Health) -> str:
    waits = each.oldest_unacknowledged
    return f"; the oldest not acknowledged is of {shown(waits)}" if waits else ""


def _number(count: int) -> str:
    return f"{count} or more" if count >= COUNTED_AT_MOST else str(count)


def _waiting(found: Overview) -> list[str]:
    told = (
        (found.dead_letters, "requests were given up: look with `redrive --dry-run`"),
        (found.quarantined, "documents are in quarantine: look with `documents --state QUARANTINED`"),
        (found.failed, "deliveries of the last day failed: look with `documents --out --state FAILED`"),
    )
    return [f"{_number(count)} {text}" for count, text in told if count]


def run_documents(desk: Desk) -> int:
    """List documents."""
    question = question_of(desk.args, desk.office.clock())
    page = documents(desk.office, question, limit=desk.args.limit, after=desk.args.after)
    desk.printer.json(page)
    if page.documents:
        desk.printer.table(page.documents, DOCUMENT_COLUMNS)
    else:
        desk.printer.line("nothing found")
    if page.more:
        desk.printer.line(f"there are more: add --after '{page.more}'")
    return FINE


def question_of(args: Namespace, now: datetime) -> Question:
    """Return what is looked for; Reject for a moment that is none."""
    since, until = _time_of(args, now)
    direction = {True: Direction.IN, False: Direction.OUT}.get(args.incoming)
    states = tuple(state.upper() for state in args.state)
    words = {"file": args.file, "case": args.case, "job": args.job, "portal_id": args.portal_id}
    return Question(args.portal, args.connection, direction, states, since, until, **words)


def _time_of(args: Namespace, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return since when and until when, as far as that is said."""
    if args.on:
        begin = moment(args.on, now)
        return begin, end_of_day(begin)
    since, until = (moment(text, now) if text else None for text in (args.since, args.until))
    return since, until


def run_audit(desk: Desk) -> int:
    """Tell what happened to each document and what people did, step by step; or whether all of that is whole."""
    args = desk.args
    since, until = _time_of(args, desk.office.clock())
    question = Question(args.portal, args.connection, since=since, until=until)
    if args.verify:
        return _check_trails(desk, question)
    for line in trail.lines(desk.office, question):
        if args.jsonl or args.as_json:
            desk.printer.json_line(line)
        else:
            desk.printer.line(_told_line(line))
    return FINE


def _check_trails(desk: Desk, question: Question) -> int:
    checked = trail.check(desk.office, question)
    desk.printer.json(checked)
    counts = f"{checked.documents} documents with {checked.steps} steps, {checked.actions} actions of people"
    before = f" ({checked.unsealed} steps were kept before the trail was sealed)" if checked.unsealed else ""
    desk.printer.line(f"{counts}: {checked.broken_count} broken{before}")
    for each in checked.broken:
        _print_trail(desk.printer, each)
    return FAILED if checked.broken_count else FINE


def _told_line(line: trail.Line) -> str:
    name = line.get("id") or line.get("key")
    where = "/".join(filter(None, (line["portal"], line["connection"], name if "id" in line else None)))
    what = line.get("state") or f"{line['action']}{' FAILED' if 'failed' in line else ''}"
    why = next((f" ({line[each]})" for each in ("reason", "failed", "about") if each in line), "")
    by = f" by {line['by']}" if "by" in line else ""
    return f"{shown(datetime.fromisoformat(line['at']))}  {line.get('key') or where or 'the stack'}  {what}{why}{by}"


def run_show(desk: Desk) -> int:
    """Tell everything about one document, and download it where that is asked for."""
    detail = show(desk.office, desk.args.id)
    verified = trail.verified(desk.office, desk.args.id) if desk.args.verify else None
    desk.printer.json({**as_json(detail), "trail": verified} if verified else detail)
    _print_detail(desk.printer, detail)
    if verified:
        _print_trail(desk.printer, verified)
    if desk.args.files:
        for path in download(desk.office, detail, desk.args.files):
            desk.printer.line(f"written: {path}")
    return FAILED if verified and verified.wrong else FINE


def _print_trail(printer: Printer, verified: trail.Verified) -> None:
    """Tell whether a trail is whole, and where not."""
    before = f"; {verified.unsealed} of them were kept before the trail was sealed" if verified.unsealed else ""
    condition = "BROKEN" if verified.wrong else "whole"
    printer.line(f"trail of {verified.document}: {condition}, {verified.steps} steps{before}")
    for wrong in verified.wrong:
        printer.line(f"  {wrong}")


def _print_detail(printer: Printer, detail: Detail) -> None:
    printer.facts(_facts(detail.document) | _places(detail))
    if detail.note:
        printer.line(detail.note)
    printer.line("history:")
    for past in (*detail.history, *detail.steps):
        printer.line(f"  {_past(past)}")
    for step in detail.chain:
        where = f"{step.outbox_key} ({step.delivery or step.state})" if step.outbox_key else step.state
        printer.line(f"routed: {step.origin}, {step.file} by {step.rule} to {where}")
        if step.why:
            printer.line(f"  {step.why}")
    for file in detail.files:
        printer.line(f"file: {file.name}, {file.size} bytes, s3://{detail.bucket}/{file.key}")
        if file.sha256:
            printer.line(f"  SHA-256 {file.sha256}")


def _facts(document: Document) -> dict[str, Any]:
    return {
        "document": document.name,
        "state": document.state,
        "reason": document.reason,
        "seen": document.seen_at,
        "version": document.version_id,
        "id at portal": document.portal_id,
    }


def _places(detail: Detail) -> dict[str, Any]:
    failure = detail.failure
    return {
        "waits for": detail.due_for,
        "failure": failure and f"{failure.code}: {failure.message}",
        "document.json": detail.document_key and f"s3://{detail.bucket}/{detail.document_key}",
        "receipt": detail.receipt_key,
        "origin": detail.origin,
        "answers": detail.answers,
        "portal's record": detail.metadata,
    }


def _past(past: Past) -> str:
    size = f", {past.size_bytes} bytes" if past.size_bytes is not None else ""
    by = f" by {past.by}" if past.by else ""
    return f"{shown(past.at)}  {past.state}" + (f" ({past.reason})" if past.reason else "") + by + size


def run_retention(desk: Desk) -> int:
    """Tell what would be deleted now, and delete nothing."""
    found = outlook(desk.office)
    desk.printer.json(found)
    if not found.rules:
        desk.printer.line("nothing is ever deleted: the stack's parameter RetentionRules is empty")
    elif found.doomed:
        desk.printer.table(found.doomed, DOOMED_COLUMNS)
    else:
        desk.printer.line("nothing is to be deleted now")
    return FINE


def run_receipt(desk: Desk) -> int:
    """Print a receipt."""
    said = receipt(desk.office, desk.args.key, reveal=desk.args.reveal)
    desk.printer.json(said)
    desk.printer.facts(said)
    return FINE


# --- deciding --------------------------------------------------------------------------------------------------------


def intend(operation: Callable[[Office, str], Intent]) -> Run:
    """Return the command that carries out what an operation intends with one document."""
    return lambda desk: carry_out(desk, operation(desk.office, desk.args.id))


def carry_out(desk: Desk, intent: Intent) -> int:
    """Say what will happen, and do it unless it is a rehearsal."""
    desk.printer.line(f"{'would' if desk.args.dry_run else 'will'} {intent.says}")
    if not desk.args.dry_run:
        intent.do()
        desk.printer.line("done")
    desk.printer.json({"says": intent.says, "done": not desk.args.dry_run})
    return FINE


def run_redrive(desk: Desk) -> int:
    """Send dead letters back to their queues."""
    letters = deadletters.read_dead_letters(desk.office, desk.args.portal)
    desk.printer.table(letters, LETTER_COLUMNS) if letters else desk.printer.line("there are no dead letters")
    if desk.args.dry_run:
        deadletters.put_back(desk.office, letters)
        desk.printer.json({"letters": letters, "done": False})
        return FINE
    result = deadletters.redrive(desk.office, letters)
    desk.printer.line(f"{result.sent} sent back to their queues, {result.left} left where they are")
    desk.printer.json({"letters": letters, **vars(result), "done": True})
    return FAILED if result.left else FINE


def run_reconcile(desk: Desk) -> int:
    """Compare portals, ledger and buckets now; or print the latest reports, or repair what they list."""
    office, args = desk.office, desk.args
    if args.show:
        return _print_reports(desk, [reconciliation.report(office, each) for each in _compared_accounts(desk)])
    if args.repair:
        return _repair(desk)
    asked_at = office.clock()
    intent = accounts.reconcile(office, args.portal, args.connection, everything=args.everything, deep=args.deep)
    if args.dry_run or not args.wait:
        return carry_out(desk, intent)
    desk.printer.line(f"will {intent.says}")
    intent.do()
    return _print_reports(desk, [reconciliation.awaited(office, each, asked_at) for each in _accounts(desk)])


def _accounts(desk: Desk) -> list[Account]:
    found = desk.office.accounts(desk.args.portal, desk.args.connection)
    if not found:
        raise Reject("NO_CONNECTION", "there is no such connection")
    return found


def _compared_accounts(desk: Desk) -> list[Account]:
    """Return the connections that have a report; Reject where none has."""
    found = [each for each in _accounts(desk) if reconciliation.reports(desk.office, each)]
    if not found:
        raise Reject("NO_REPORT", "there is no report yet; ask for one with `reconcile --wait`")
    return found


def _print_reports(desk: Desk, found: Sequence[Report]) -> int:
    desk.printer.json({"reports": [each.model_dump(mode="json", by_alias=True) for each in found]})
    for report in found:
        desk.printer.line(_summary(report))
        for each in report.differences:
            desk.printer.line(f"  {_told_difference(each)}")
        if report.more:
            desk.printer.line(f"  and {report.more} more")
    return FINE


def _summary(report: Report) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(report.counts.items()))
    unread = f", {report.not_hashed} too large to be read" if report.not_hashed else ""
    going_on = "" if report.complete else " (it goes on)"
    name, at = f"{report.portal}/{report.connection}", shown(report.started_at)
    return f"{name} at {at}: {report.compared} compared{unread}, {counts or 'nothing differs'}{going_on}"


def _told_difference(each: Difference) -> str:
    version = f" version {each.version_id}" if each.version_id else ""
    state = f" ({each.state})" if each.state else ""
    return f"{each.kind} {each.about}{version}{state}: {each.says}" + ("; can be repaired" if each.repair else "")


def _repair(desk: Desk) -> int:
    """Repair what the latest reports list; what cannot be repaired is told, and keeps nothing else from it."""
    told = [
        _repair_one(desk, account, each)
        for account in _compared_accounts(desk)
        for each in reconciliation.report(desk.office, account).differences
    ]
    desk.printer.json({"repairs": told})
    if not told:
        desk.printer.line("the latest reports list nothing to repair")
    return FINE


def _repair_one(desk: Desk, account: Account, difference: Difference) -> dict[str, Any]:
    try:
        intent = reconciliation.repair(desk.office, account, difference)
    except Reject as refusal:
        desk.printer.line(f"nothing to do: {refusal.message}")
        return {"about": difference.about, "says": refusal.message, "done": False}
    desk.printer.line(f"{'would' if desk.args.dry_run else 'will'} {intent.says}")
    if not desk.args.dry_run:
        intent.do()
    return {"about": difference.about, "says": intent.says, "done": not desk.args.dry_run}


# --- connections -----------------------------------------------------------------------------------------------------


def run_list(desk: Desk) -> int:
    """List the connections."""
    found = accounts.connections(desk.office, desk.args.portal)
    desk.printer.json(found)
    desk.printer.table(found, ("connection", "enabled", "acknowledge", "problem"))
    return FINE


def run_test(desk: Desk) -> int:
    """Test a connection."""
    tested = accounts.check(desk.office, account_of(desk.args.account))
    desk.printer.json(tested)
    desk.printer.line(f"{tested.connection}: {'fine' if tested.works else 'NOT WORKING'}: {tested.says}")
    return FINE if tested.works else FAILED


def run_add(desk: Desk) -> int:
    """Ask for what a portal needs, try it, and store it."""
    account = account_of(desk.args.account)
    file: Path | None = desk.args.file
    accounts.require_free(desk.office, account)
    body = body_in_file(file) if file else body_asked_for(account.portal, desk.questions)
    tested, intent = accounts.add(desk.office, account, body)
    desk.printer.line(f"{tested.connection}: {tested.says}")
    return carry_out(desk, intent)


def switch(operation: Callable[[Office, Account], Intent]) -> Run:
    """Return the command that carries out what an operation intends with one connection."""
    return lambda desk: carry_out(desk, operation(desk.office, account_of(desk.args.account)))


def account_of(text: str) -> Account:
    """Return the connection that `<portal>/<connection>` names; Reject where that is none."""
    portal, slash, name = text.partition("/")
    if not slash:
        raise Reject("WRONG_CONNECTION", f"{text} is no <portal>/<connection>, such as duba/klinikum")
    return Account(portal, name)


RETRY, RELEASE, ACKNOWLEDGE = (intend(each) for each in (decisions.retry, decisions.release, decisions.acknowledge))
PAUSE, RESUME = switch(accounts.pause), switch(accounts.resume)
