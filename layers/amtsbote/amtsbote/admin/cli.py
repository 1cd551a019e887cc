"""The command line: `python -m amtsbote.admin docxworld [options] <resource> <action> …`, `plan FILE`, `apply FILE`."""

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from amtsbote.admin.account import (
    ENVIRONMENT,
    AdministratorAccount,
    Vault,
    account_in_environment,
    account_in_file,
    account_in_vault,
    vault_of,
)
from amtsbote.admin.commands import COMMANDS, Argument, Command, Desk
from amtsbote.admin.handover import Handover
from amtsbote.admin.output import SHOWN_ONCE, write_json, write_table
from amtsbote.admin.perform import Performer
from amtsbote.admin.plan import Plan, plan
from amtsbote.admin.rehearsal import Call, NotSent, RehearsedHttp
from amtsbote.admin.steps import Step
from amtsbote.admin.survey import look
from amtsbote.admin.wanted import read_wanted, role_named
from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Retry
from amtsbote.http import PortalHttp, Transport
from amtsbote.portals.docxworld.client import A_DAY_SECONDS, DocxworldClient
from amtsbote.portals.docxworld.errors import translate
from amtsbote.portals.docxworld.login import login_of
from amtsbote.tokens import TokenCache

FINE, FAILED, PENDING = 0, 1, 3
"""Exit codes; 2 is argparse's, for a command line that makes no sense. PENDING is only ever the answer of `plan`."""

EPILOG = f"""
The login comes from the secret amtsbote-admin/docxworld/NAME (--connection), from a JSON file of the same form that
only its owner can read (--config), or, with --base-url, from {", ".join(ENVIRONMENT)}.
Exit codes: 0 fine, 1 refused or failed, 2 wrong usage; plan: 0 nothing to do, 3 changes pending.
"""


class Screen:
    """Where results go, in the form that was asked for."""

    def __init__(self, out: TextIO, err: TextIO, *, as_json: bool) -> None:
        self.out = out
        self.err = err
        self.as_json = as_json
        self.calls: list[Call] = []
        self.shown_once: list[dict[str, Any]] = []

    def tell(self, call: Call) -> None:
        """Take note of a call of a rehearsal."""
        self.calls.append(call)
        if not self.as_json:
            self.line(str(call))

    def show_once(self, login: dict[str, Any]) -> None:
        """Show a one-time secret: at once, or with the JSON that is printed at the end."""
        self.err.write(SHOWN_ONCE + "\n")
        if self.as_json:
            self.shown_once.append(login)
        else:
            write_table(login, (), self.out)
            self.out.flush()

    def line(self, text: str) -> None:
        """Print a line for people."""
        self.out.write(text + "\n")
        self.out.flush()

    def finish(self, result: Any, columns: Sequence[str], *, rehearsed: bool) -> None:
        """Print the result of a command."""
        if not self.as_json:
            write_table(result, columns, self.out)
            return
        found = {**result, "auth": self.shown_once[0]} if self.shown_once else result
        write_json(
            {"calls": [call.as_json() for call in self.calls], "result": found} if rehearsed else found, self.out
        )


class Session:
    """One run of the command line: the account, its client and where secrets go, each made when it is first needed."""

    def __init__(self, args: Namespace, screen: Screen, environment: Mapping[str, str]) -> None:
        self.args = args
        self.screen = screen
        self._environment = environment

    @cached_property
    def vault(self) -> Vault:
        """Secrets Manager of the AWS account that the options name."""
        return vault_of(self.args.profile, self.args.region, self.args.endpoint_url)

    @cached_property
    def account(self) -> AdministratorAccount:
        """The administrator's account."""
        if self.args.connection:
            return account_in_vault(self.args.connection, self.vault)
        if self.args.config:
            return account_in_file(self.args.config)
        return account_in_environment(self.args.base_url, self._environment)

    @property
    def role(self) -> str:
        """The role that calls are made in."""
        return str(self.args.role or self.account.role)

    @cached_property
    def client(self) -> DocxworldClient:
        """The portal, or its rehearsal."""
        transport = Transport(Deadline(A_DAY_SECONDS), allow_loopback=self.args.allow_loopback)
        login = login_of(self.account.auth, transport, TokenCache(), lambda: datetime.now(UTC))
        if not self.args.dry_run:
            return DocxworldClient(PortalHttp(transport, self.account.base_url, login, translate))
        http = RehearsedHttp(transport, self.account.base_url, login, translate)
        http.tell = self.screen.tell
        return DocxworldClient(http)

    @cached_property
    def handover(self) -> Handover:
        """Where one-time secrets go."""
        folder: Path | None = getattr(self.args, "secrets_folder", None)
        return Handover(self.account.base_url, self.screen.show_once, lambda: self.vault, folder)


def main(
    arguments: Sequence[str] | None = None,
    *,
    out: TextIO = sys.stdout,
    err: TextIO = sys.stderr,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Run one command; returns the exit code. Wrong usage raises SystemExit with 2, as argparse does."""
    args = parser().parse_args(arguments)
    screen = Screen(out, err, as_json=args.as_json)
    try:
        code: int = args.run(Session(args, screen, environment))
    except AmtsboteError as error:
        err.write(complaint(error) + "\n")
        return FAILED
    return code


def complaint(error: AmtsboteError) -> str:
    """Return an error as a sentence, with what the portal said of it."""
    said = f"; docxworld says: {error.portal_words}" if error.portal_words else ""
    return f"{error.code}: {error.message}{said}"


# --- running ---------------------------------------------------------------------------------------------------------


def _run_command(command: Command) -> Callable[[Session], int]:
    def run(session: Session) -> int:
        desk = Desk(session.client, session.role, session.handover)
        try:
            result = command.run(desk, session.args)
        except NotSent:
            result = {"dryRun": "nothing was changed"}
        session.screen.finish(result, command.columns, rehearsed=session.args.dry_run)
        return FINE

    return run


def run_plan(session: Session) -> int:
    """Print what has to be done; PENDING where there is something, FAILED where docxworld cannot do it."""
    found = _plan(session)
    if session.screen.as_json:
        steps = [_step_json(step) for step in found.steps]
        session.screen.finish({"steps": steps, "obstacles": list(found.obstacles)}, (), rehearsed=session.args.dry_run)
    else:
        _print_plan(session.screen, found)
    return FAILED if found.obstacles else PENDING if found.steps else FINE


def _plan(session: Session) -> Plan:
    wanted, prune = read_wanted(session.args.file), session.args.prune
    session.args.wanted = wanted
    session.args.actual = look(session.client, wanted, session.role, lambda: session.vault, prune=prune)
    return plan(wanted, session.args.actual, datetime.now(UTC), prune=prune)


def _step_json(step: Step) -> dict[str, str]:
    return {"kind": type(step).__name__, "says": str(step)}


def _print_plan(screen: Screen, found: Plan) -> None:
    for obstacle in found.obstacles:
        screen.line(f"cannot be done: {obstacle}")
    for number, step in enumerate(found.steps, start=1):
        screen.line(f"{number}. {step}")
    if not found.steps and not found.obstacles:
        screen.line("nothing to do")


class _Progress:
    """How far an apply has come."""

    def __init__(self, screen: Screen, steps: Iterable[Step], *, rehearsed: bool) -> None:
        self._screen = screen
        self._rehearsed = rehearsed
        self.left = list(steps)
        self.done: list[dict[str, str]] = []
        self.failed: dict[str, str] | None = None

    def did(self, step: Step, said: str | None) -> None:
        """Take note of a step that is done."""
        self.left.remove(step)
        self.done.append(_step_json(step) | ({"secret": said} if said else {}))
        word = "rehearsed" if self._rehearsed else "done"
        self._say(f"{word}: {step}" + (f" ({said})" if said else ""))

    def failed_at(self, step: Step, error: AmtsboteError) -> None:
        """Take note of the step at which all ends."""
        self.left.remove(step)
        unknown = "; whether it took effect is not known: look at the plan" if isinstance(error, Retry) else ""
        self.failed = _step_json(step) | {"error": complaint(error) + unknown}
        self._say(f"FAILED: {step}: {self.failed['error']}")

    def finish(self) -> None:
        """Print what was not done, or everything as JSON."""
        for step in self.left:
            self._say(f"not done: {step}")
        if not self._screen.as_json:
            return
        calls = {"calls": [call.as_json() for call in self._screen.calls]} if self._rehearsed else {}
        once = {"shownOnce": self._screen.shown_once} if self._screen.shown_once else {}
        left = [_step_json(step) for step in self.left]
        write_json({**calls, "done": self.done, "failed": self.failed, "notDone": left, **once}, self._screen.out)

    def _say(self, text: str) -> None:
        if not self._screen.as_json:
            self._screen.line(text)


def run_apply(session: Session) -> int:
    """Do what has to be done, step by step, up to the first that fails; with obstacles nothing at all is done."""
    found = _plan(session)
    if found.obstacles or not found.steps:
        if session.screen.as_json:
            write_json({"done": [], "failed": None, "notDone": [], "obstacles": found.obstacles}, session.screen.out)
        else:
            _print_plan(session.screen, Plan(obstacles=found.obstacles))
        return FAILED if found.obstacles else FINE
    progress = _Progress(session.screen, found.steps, rehearsed=session.args.dry_run)
    try:
        _perform(session, found, progress)
    finally:
        progress.finish()
    return FAILED if progress.failed else FINE


def _perform(session: Session, found: Plan, progress: _Progress) -> None:
    args = session.args
    performer = Performer(session.client, args.actual, args.wanted.acting, session.role, session.handover)
    for step in found.steps:
        try:
            progress.did(step, performer.do(step))
        except AmtsboteError as error:
            progress.failed_at(step, error)
            return


# --- the parser ------------------------------------------------------------------------------------------------------


def parser() -> ArgumentParser:
    """Return the whole command line's grammar."""
    whole = ArgumentParser(prog="python -m amtsbote.admin", description="Administration of portals.")
    portals = whole.add_subparsers(dest="portal", required=True, metavar="PORTAL")
    docxworld = portals.add_parser("docxworld", help="administer docxworld", epilog=EPILOG)
    _add_options(docxworld)
    resources = docxworld.add_subparsers(dest="resource", required=True, metavar="RESOURCE")
    for name in dict.fromkeys(command.resource for command in COMMANDS):
        actions = resources.add_parser(name, help=f"administer {name}").add_subparsers(
            dest="action", required=True, metavar="ACTION"
        )
        for command in COMMANDS:
            if command.resource == name:
                _add_command(actions, command)
    _add_file_commands(resources)
    return whole


def _add_command(actions: Any, command: Command) -> None:
    added = actions.add_parser(command.action, help=command.help, description=command.help)
    _add_arguments(added, command.arguments)
    _add_format(added, default=SUPPRESS)
    added.set_defaults(run=_run_command(command))


def _add_arguments(added: ArgumentParser, arguments: Iterable[Argument]) -> None:
    for argument in arguments:
        added.add_argument(*argument.flags, **argument.more)


def _add_file_commands(resources: Any) -> None:
    for name, run, help_ in (
        ("plan", run_plan, "show what it takes to make docxworld as a file says"),
        ("apply", run_apply, "make docxworld as a file says"),
    ):
        added = resources.add_parser(name, help=help_, description=help_)
        added.add_argument("file", type=Path, metavar="FILE", help="TOML")
        added.add_argument("--prune", action="store_true", help="also take away what the file does not list")
        if name == "apply":
            added.add_argument("--secrets-folder", type=Path, metavar="DIR", help="write new client secrets there")
        _add_format(added, default=SUPPRESS)
        added.set_defaults(run=run)


def _add_options(docxworld: ArgumentParser) -> None:
    login = docxworld.add_mutually_exclusive_group(required=True)
    login.add_argument("--connection", metavar="NAME", help="log in with the secret amtsbote-admin/docxworld/NAME")
    login.add_argument("--config", type=Path, metavar="FILE", help="log in with this JSON file")
    login.add_argument("--base-url", metavar="URL", help="log in with what the environment holds")
    docxworld.add_argument("--role", type=role_named, help="act in this role of the account")
    docxworld.add_argument("--profile", help="profile of the AWS configuration")
    docxworld.add_argument("--region", help="AWS region")
    docxworld.add_argument("--endpoint-url", metavar="URL", help="Secrets Manager elsewhere, such as the sandbox")
    docxworld.add_argument("--allow-loopback", action="store_true", help="allow a portal on this machine: the sandbox")
    _add_format(docxworld, default=False)


def _add_format(added: ArgumentParser, *, default: Any) -> None:
    """Add the options that may stand before the resource or at the end."""
    added.add_argument(
        "--dry-run", action="store_true", default=default, help="print every call and send none that changes anything"
    )
    form = added.add_mutually_exclusive_group()
    form.add_argument("--json", dest="as_json", action="store_true", default=default, help="print JSON")
    form.add_argument("--table", dest="as_json", action="store_false", default=default, help="print a table (default)")
