"""The command line: `python -m amtsbote.cli [options] <command> …`."""

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from botocore.exceptions import BotoCoreError, ClientError

from amtsbote.cli import commands
from amtsbote.cli.answers import Printer, printable
from amtsbote.cli.asking import Questions
from amtsbote.cli.commands import FAILED, Desk, Run
from amtsbote.errors import AmtsboteError, Misconfigured
from amtsbote.operations.documents import PAGE_ROWS
from amtsbote.operations.office import Office
from amtsbote.operations.stack import reason, stack_named
from amtsbote.portals import NAMES
from amtsbote.times import now

DEFAULT_STACK = "amtsbote"
EPILOG = """
Exit codes: 0 fine, 1 refused or failed, 2 wrong usage, 3 (status) something waits for a person.
A document is named by <portal>/<connection>/<id>, by the portal's id alone, or by its key in the outbox bucket.
"""
OpenOffice = Callable[[Namespace], Office]


def main(
    arguments: Sequence[str] | None = None,
    *,
    out: TextIO = sys.stdout,
    err: TextIO = sys.stderr,
    questions: Questions | None = None,
    open_office: OpenOffice | None = None,
) -> int:
    """Run one command; returns the exit code. Wrong usage raises SystemExit with 2, as argparse does."""
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")  # the package's log lines are for its functions
    args = parser().parse_args(arguments)
    try:
        desk = Desk(
            (open_office or office_of)(args), args, Printer(out, as_json=args.as_json), questions or Questions()
        )
        code: int = args.run(desk)
    except AmtsboteError as error:
        err.write(printable(f"{error.code}: {error.message}") + "\n")
        return FAILED
    except (ClientError, BotoCoreError) as error:
        mend = "check --stack, --profile, --region, --endpoint-url and the permissions"
        err.write(f"AWS_REFUSED: {reason(error)}; {mend}\n")
        return FAILED
    return code


def office_of(args: Namespace, clock: Callable[[], datetime] = now) -> Office:
    """Return the stack that the options name."""
    import boto3  # slow to load, and not needed for --help

    try:
        session = boto3.Session(profile_name=args.profile, region_name=args.region)
        make: Any = session.client  # its overloads take only literal names
        stack = stack_named(make("cloudformation", endpoint_url=args.endpoint_url), args.stack)
    except (BotoCoreError, ValueError) as error:
        raise Misconfigured("AWS_INVALID", f"{error}; check --profile, --region and --endpoint-url") from None
    client = _ready(lambda name: make(name, endpoint_url=args.endpoint_url))
    return Office(stack, client, clock, allow_loopback=args.allow_loopback)


def _ready(make: Callable[[str], Any]) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def client(name: str) -> Any:
        if name not in made:
            made[name] = make(name)
        return made[name]

    return client


# --- the parser ------------------------------------------------------------------------------------------------------


def parser() -> ArgumentParser:
    """Return the whole command line's grammar."""
    whole = ArgumentParser(prog="python -m amtsbote.cli", description="What an operator asks.", epilog=EPILOG)
    whole.add_argument("--stack", default=DEFAULT_STACK, metavar="NAME", help=f"default: {DEFAULT_STACK}")
    whole.add_argument("--profile", help="profile of the AWS configuration")
    whole.add_argument("--region", help="AWS region")
    whole.add_argument("--endpoint-url", metavar="URL", help="AWS elsewhere, such as the sandbox")
    whole.add_argument("--allow-loopback", action="store_true", help="allow portals on this machine: the sandbox")
    _add_format(whole, default=False)
    added = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_looking(added)
    _add_deciding(added)
    connections = added.add_parser("connections", help="the accounts at the portals")
    _add_connections(connections.add_subparsers(dest="action", required=True, metavar="ACTION"))
    return whole


def _add_looking(added: Any) -> None:
    _add_scope(_command(added, "status", commands.run_status, "how each connection is, and what waits for a person"))
    documents = _command(added, "documents", commands.run_documents, "look for documents, newest first")
    _add_scope(documents)
    _add_question(documents)
    shown = _command(added, "show", commands.run_show, "everything about one document")
    shown.add_argument("id", metavar="ID")
    shown.add_argument("--files", type=Path, metavar="DIR", help="download its files into this folder")
    shown.add_argument("--verify", action="store_true", help="check that nobody has changed its history; exit code 1")
    audit = _command(added, "audit", commands.run_audit, "every step of every document and every action of people")
    _add_scope(audit)
    _add_time(audit)
    audit.add_argument("--jsonl", action="store_true", help="JSON Lines, with the digests")
    audit.add_argument("--verify", action="store_true", help="only check that all is whole; exit code 1 where not")
    _command(added, "retention", commands.run_retention, "what the rules of retention would delete now")
    receipt = _command(added, "receipt", commands.run_receipt, "what became of a drop")
    receipt.add_argument("key", metavar="KEY", help="its key in the outbox bucket")
    receipt.add_argument("--reveal", action="store_true", help="show a secret in it, such as a magic link")


def _add_question(documents: ArgumentParser) -> None:
    way = documents.add_mutually_exclusive_group()
    way.add_argument("--in", dest="incoming", action="store_const", const=True, help="only what arrives")
    way.add_argument("--out", dest="incoming", action="store_const", const=False, help="only what is sent")
    documents.add_argument("--state", action="append", default=[], help="such as QUARANTINED; may be repeated")
    _add_time(documents)
    documents.add_argument("--file", metavar="NAME", help="a file's name; end it with * for its beginning only")
    documents.add_argument("--case", metavar="NUMBER", help="case number (Aktenzeichen); * likewise")
    documents.add_argument("--job", metavar="ID", help="the portal's job")
    documents.add_argument("--portal-id", metavar="ID", help="the portal's id of a delivery")
    documents.add_argument("--limit", type=int, default=PAGE_ROWS, metavar="N", help=f"default: {PAGE_ROWS}")
    documents.add_argument("--after", metavar="TOKEN", help="go on where a page ended")


def _add_time(command: ArgumentParser) -> None:
    command.add_argument("--on", metavar="DAY", help="first seen on that day: tuesday, yesterday, 2026-02-17")
    command.add_argument("--since", metavar="MOMENT", help="a day as above, or 2026-02-17T08:00, in local time")
    command.add_argument("--until", metavar="MOMENT")


def _add_deciding(added: Any) -> None:
    one_document = (
        ("retry", commands.RETRY, "fetch a quarantined or unavailable document again, or send a failed delivery again"),
        ("release", commands.RELEASE, "put a quarantined document into the inbox as it is"),
        ("acknowledge", commands.ACKNOWLEDGE, "have the portal told of a stored document now"),
    )
    for name, run, help_ in one_document:
        _add_dry_run(_command(added, name, run, help_)).add_argument("id", metavar="ID")
    redrive = _command(added, "redrive", commands.run_redrive, "send dead letters back to their queues")
    _add_dry_run(redrive).add_argument("--portal", choices=NAMES)
    reconcile = _command(added, "reconcile", commands.run_reconcile, "compare portals, ledger and buckets now")
    _add_scope(_add_dry_run(reconcile))
    _add_comparison(reconcile)


def _add_comparison(reconcile: ArgumentParser) -> None:
    reconcile.add_argument("--all", dest="everything", action="store_true", help="not only what is of the last 3 days")
    reconcile.add_argument("--deep", action="store_true", help="read what is stored and compare its SHA-256")
    then = reconcile.add_mutually_exclusive_group()
    then.add_argument("--wait", action="store_true", help="wait for the report and print it")
    then.add_argument("--show", action="store_true", help="only print the latest report")
    then.add_argument("--repair", action="store_true", help="only repair what the latest report lists")


def _add_connections(added: Any) -> None:
    _command(added, "list", commands.run_list, "list the connections").add_argument("--portal", choices=NAMES)
    _add_account(_command(added, "test", commands.run_test, "log in, list, and say what is wrong"))
    new = _command(added, "add", commands.run_add, "ask for what a portal needs, try it, and store it")
    _add_account(_add_dry_run(new))
    new.add_argument("--file", type=Path, metavar="FILE", help="the secret's body as JSON, instead of questions")
    _add_account(_add_dry_run(_command(added, "pause", commands.PAUSE, "switch a connection off, and lose nothing")))
    _add_account(_add_dry_run(_command(added, "resume", commands.RESUME, "switch a connection on again")))


def _command(added: Any, name: str, run: Run, help_: str) -> ArgumentParser:
    found: ArgumentParser = added.add_parser(name, help=help_, description=help_)
    _add_format(found, default=SUPPRESS)
    found.set_defaults(run=run)
    return found


def _add_scope(command: ArgumentParser) -> None:
    command.add_argument("--portal", choices=NAMES)
    command.add_argument("--connection", metavar="NAME")


def _add_account(command: ArgumentParser) -> None:
    command.add_argument("account", metavar="PORTAL/CONNECTION")


def _add_dry_run(command: ArgumentParser) -> ArgumentParser:
    command.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")
    return command


def _add_format(command: ArgumentParser, *, default: Any) -> None:
    command.add_argument("--json", dest="as_json", action="store_true", default=default, help="print JSON")
