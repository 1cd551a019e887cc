"""What the comparisons of portal, ledger and buckets found: the latest of each connection, and any one as a whole."""

from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from amtsbote.batches import side_by_side
from amtsbote.cli.commands import account_of
from amtsbote.errors import Reject
from amtsbote.operations.documents import READERS
from amtsbote.operations.office import Account, Office
from amtsbote.operations.reconciliation import report, reports
from amtsbote.operations.sentences import said
from amtsbote.reconciliation import Difference, Report
from console.desk import Desk

REPORTS_AT_HAND = 10  # of one connection; there is one per day


@dataclass(frozen=True)
class Compared:
    """One connection with its latest report, None while it has none."""

    account: Account
    latest: Report | None


def view(desk: Desk, request: Request) -> Response:
    """Show the latest report of every connection, or one report with all that differs."""
    named = request.query_params.get("connection")
    if named:
        return _one(desk, request, account_of(named))
    found = side_by_side(lambda account: _latest(desk.office, account), desk.office.accounts(), READERS)
    return desk.pages.show(request, "reconciliation.html", compared=found)


def name_of(account: Account, difference: Difference) -> str | None:
    """Return the name under which the document is found that a difference is about; None where it is none."""
    return f"{account}/{difference.id}" if difference.id else difference.outbox_key


def reference_of(account: Account, report: Report, number: int) -> str:
    """Return what names one difference of a report to the action that repairs it."""
    return f"{account} {report.started_at.isoformat()} {number}"


def _one(desk: Desk, request: Request, account: Account) -> Response:
    moments = reports(desk.office, account)
    return desk.pages.show(
        request,
        "report.html",
        account=account,
        report=report(desk.office, account, moment_of(request.query_params.get("at"))),
        reference_of=reference_of,
        moments=moments[:REPORTS_AT_HAND],
        name_of=name_of,
    )


def _latest(office: Office, account: Account) -> Compared:
    try:
        return Compared(account, report(office, account))
    except Reject:
        return Compared(account, None)


def moment_of(text: str | None) -> datetime | None:
    """Return the moment that an address names; Reject where it is none."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise Reject("NO_REPORT", said("there is no report of such a moment")) from None
