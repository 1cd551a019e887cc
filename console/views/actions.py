"""What a person decides: first a page with the sentence that says what will happen, then the doing of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from amtsbote.cli.commands import account_of
from amtsbote.errors import Reject
from amtsbote.lifecycle import State
from amtsbote.operations import accounts, deadletters, decisions
from amtsbote.operations.deadletters import DeadLetter
from amtsbote.operations.documents import document_of, require_item
from amtsbote.operations.office import Account, Intent, Office
from amtsbote.operations.reconciliation import repair, report
from amtsbote.operations.sentences import said
from amtsbote.operations.trail import on_trail
from console.desk import Desk, Form
from console.pages import Notice, Reader, back_to, digest, with_notice
from console.views.reconciliation import moment_of
from console.words import Words

SEE_OTHER = 303


@dataclass(frozen=True)
class Plan:
    """What an action would do now. `says` is the operation's own sentence; empty where there is none."""

    do: Callable[[Words], Notice]
    says: str = ""
    letters: tuple[DeadLetter, ...] = ()


Planned = Callable[[Office, str], Plan]


def view(desk: Desk, request: Request) -> Response:
    """Ask whether an action is meant."""
    query = request.query_params
    return _ask(desk, request, query.get("action", ""), query.get("of", ""), query.get("back", "/"))


def do(desk: Desk, request: Request, form: Form) -> Response:
    """Carry an action out, unless it would no longer do what the person has read; then ask again."""
    action, of, back = form.get("action", ""), unquote(form.get("of", "")), form.get("back", "/")
    plan = plan_of(desk, action, of)
    if digest(plan.says) != form.get("says"):
        return _ask(desk, request, action, of, back, plan)
    notice = plan.do(Words(Reader.of(request).language))
    return RedirectResponse(with_notice(back_to(back), desk.pages.notices.keep(notice)), SEE_OTHER)


def plan_of(desk: Desk, action: str, of: str) -> Plan:
    """Return what an action would do; Reject where it cannot, or where there is no such action."""
    if action not in ACTIONS:
        raise Reject("UNKNOWN_ACTION", said("there is no such action"))
    return ACTIONS[action](desk.office, of)


def _ask(desk: Desk, request: Request, action: str, of: str, back: str, changed: Plan | None = None) -> Response:
    plan = changed or _rehearsed(desk, action, of)
    template = "confirm_part.html" if "hx-request" in request.headers else "confirm.html"
    return desk.pages.show(
        request,
        template,
        200 if changed is None else 409,
        action=action,
        of=of,
        back=back_to(back),
        plan=plan,
        has_changed=changed is not None,
    )


def _rehearsed(desk: Desk, action: str, of: str) -> Plan:
    """Return the plan; dead letters that it has looked at can be seen again by others."""
    plan = plan_of(desk, action, of)
    deadletters.put_back(desk.office, list(plan.letters))
    return plan


# --- the actions -----------------------------------------------------------------------------------------------------


def _of_intent(action: str, intent: Intent) -> Plan:
    def carry_out(words: Words) -> Notice:
        intent.do()
        return Notice(words(f"action.{action}.done"))

    return Plan(carry_out, intent.says)


def _document(action: str, operation: Callable[[Office, str], Intent], office: Office, of: str) -> Plan:
    return _of_intent(action, operation(office, of))


def _connection(action: str, operation: Callable[[Office, Account], Intent], office: Office, of: str) -> Plan:
    return _of_intent(action, operation(office, account_of(of)))


def _keep(office: Office, of: str) -> Plan:
    """Leave a document in quarantine. That is how it is already; that somebody has decided so is left in the trail."""
    row = require_item(office, of)
    name = document_of(row).name
    if row.state is not State.QUARANTINED:
        why = said("{name} is {state}; only what is in quarantine can be kept", name=name, state=row.state)
        raise Reject("NOT_QUARANTINED", why)
    intent = Intent(said("leave {name} in quarantine, and note that this was decided", name=name), lambda: None)
    return _of_intent("keep", on_trail(office, "keep", [Account(row.portal, row.connection)], intent, row.id))


def _test(office: Office, of: str) -> Plan:
    account = account_of(of)

    def carry_out(words: Words) -> Notice:
        tested = accounts.check(office, account)
        spoken, tongue = words.spoken(tested.says), words.tongue(tested.says) if tested.works else "en"
        return Notice(f"{tested.connection}: {spoken}", went_well=tested.works, said_in=tongue)

    return Plan(carry_out)


def _reconcile(office: Office, of: str) -> Plan:
    portal, _, name = of.partition("/")
    return _of_intent("reconcile", accounts.reconcile(office, portal or None, name or None))


def _repair(office: Office, of: str) -> Plan:
    """Do what can be done about one difference of a report; `of` is what `reference_of` made of it."""
    name, moment, number = [*of.split(" "), "", ""][:3]
    account = account_of(name)
    found = report(office, account, moment_of(moment)).differences
    if not number.isascii() or not number.isdigit() or int(number) >= len(found):
        raise Reject("NO_REPORT", said("there is no such difference in that report"))
    return _of_intent("repair", repair(office, account, found[int(number)]))


def _redrive(office: Office, of: str) -> Plan:
    letters = deadletters.read_dead_letters(office, of or None)

    def carry_out(words: Words) -> Notice:
        result = deadletters.redrive(office, letters)
        return Notice(words("action.redrive.result", sent=result.sent, left=result.left), went_well=not result.left)

    return Plan(carry_out, letters=tuple(letters))


ACTIONS: dict[str, Planned] = {
    "retry": partial(_document, "retry", decisions.retry),
    "release": partial(_document, "release", decisions.release),
    "acknowledge": partial(_document, "acknowledge", decisions.acknowledge),
    "keep": _keep,
    "pause": partial(_connection, "pause", accounts.pause),
    "resume": partial(_connection, "resume", accounts.resume),
    "test": _test,
    "reconcile": _reconcile,
    "repair": _repair,
    "redrive": _redrive,
}
