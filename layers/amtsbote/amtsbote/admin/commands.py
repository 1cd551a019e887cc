"""The commands over docxworld's administration: what each takes, the one operation it is, and what is shown of it."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from amtsbote.admin.handover import Handover
from amtsbote.admin.names import Names
from amtsbote.admin.wanted import DEADLINE_AT_MOST_DAYS, LIMIT_AT_MOST, role_named
from amtsbote.errors import Reject
from amtsbote.portals.docxworld.administration import (
    CompanyOrder,
    ContractOrder,
    CustomerNumberOrder,
    SettingsOrder,
    StateTransition,
    TechnicalAccessOrder,
    TechnicalAccessWithSecret,
    UserOrder,
)
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.models import (
    AnyModel,
    ExternalReceiver,
    Status,
    WorkflowOrder,
    WorkflowSettings,
)
from amtsbote.portals.docxworld.resources.companies import CompanyFilter, Contract, ContractFilter, Customer
from amtsbote.portals.docxworld.resources.technical_access import TechnicalAccessFilter
from amtsbote.portals.docxworld.resources.users import UserFilter
from amtsbote.portals.docxworld.resources.workflows import TargetFilter, WorkflowFilter

OUTPUT_TYPES = ("DW24", "EXTERNAL_OUTPUT", "TRANSFER_TO_DOWNLOAD_SERVICE", "EMAIL_OUTPUT")
FILE_TYPES = ("PDF", "RAW")
UPLOAD_TYPES = ("JOB", "SINGLE")
NOTIFICATION = "UPLOADER_APPROVAL_SUCCESS_NOTIFICATION"


@dataclass(frozen=True)
class Desk:
    """What a command works with: an account, the role it acts in, and where one-time secrets go."""

    client: DocxworldClient
    role: str
    handover: Handover

    @property
    def names(self) -> Names:
        """Return the ids by name."""
        return Names(self.client, self.role)


@dataclass(frozen=True)
class Argument:
    """An argument as argparse takes it."""

    flags: tuple[str, ...]
    more: Mapping[str, Any]


Run = Callable[[Desk, Namespace], Any]


@dataclass(frozen=True)
class Command:
    """One operation: `<resource> <action> …`."""

    resource: str
    action: str
    help: str
    run: Run
    arguments: tuple[Argument, ...] = ()
    columns: tuple[str, ...] = field(default=())


def arg(*flags: str, **more: Any) -> Argument:
    """Return an argument."""
    return Argument(flags, more)


# --- reading arguments -----------------------------------------------------------------------------------------------


def moment(text: str) -> datetime:
    """Return a moment with an offset; ValueError for one without."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("needs an offset, such as Z")
    return found.astimezone(UTC)


def transition(text: str) -> StateTransition:
    """Return a state: `ACTIVE`, from now on, or `ACTIVE@2027-01-01T00:00:00Z`."""
    state, _, begins = text.partition("@")
    if not begins:
        return StateTransition(state=Status(state))
    return StateTransition(state=Status(state), valid_from=moment(begins))


def days(text: str) -> int:
    """Return a deadline in days, 0 for none."""
    return _within(int(text), DEADLINE_AT_MOST_DAYS)


def limit(text: str) -> int:
    """Return how many technical accesses a company may have."""
    return _within(int(text), LIMIT_AT_MOST)


def _within(number: int, at_most: int) -> int:
    if not 0 <= number <= at_most:
        raise ValueError(f"must be 0 to {at_most}")
    return number


def yes_or_no(text: str) -> bool:
    """Return `yes` or `no` as a boolean; ValueError for anything else."""
    return ("no", "yes").index(text) == 1


def _given(args: Namespace, model: type[AnyModel], **more: Any) -> AnyModel:
    """Return a model of the arguments that were given, and of no others: they are not sent."""
    values = {name: getattr(args, name, None) for name in model.model_fields} | more
    return model.model_validate({name: value for name, value in values.items() if value is not None})


def _objects(path: str) -> Any:
    """Return the JSON in a file, `-` for standard input; Reject where it is none."""
    try:
        return json.loads(sys.stdin.read() if path == "-" else Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Reject("FILE_UNREADABLE", f"{path} is no JSON file that can be read: {type(error).__name__}") from None


def _read(model: type[AnyModel], value: object) -> AnyModel:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        said = ", ".join(sorted({".".join(map(str, problem["loc"])) or "all of it" for problem in error.errors()}))
        raise Reject("FILE_INVALID", f"the JSON is no {model.__name__}: {said}") from None


def _read_all(model: type[AnyModel], path: str) -> list[AnyModel]:
    values = _objects(path)
    return [_read(model, value) for value in (values if isinstance(values, list) else [values])]


USER = arg("user", help="e-mail address or id")
COMPANY = arg("company", help="name or id")
WORKFLOW = arg("workflow", help="abbreviation or id")
ACCESS = arg("access", help="name or id")
ROLE = arg("assigned", metavar="ROLE", type=role_named, help="such as customer-uploader or ROLE_CUSTOMER_UPLOADER")
STATUS = arg("status", type=Status, choices=tuple(Status), help="ACTIVE or INACTIVE")
NUMBER = arg("number", help="customer number")
CONTRACT = arg("contract", help="contract number")
STATES = arg("states", nargs="+", type=transition, metavar="STATE[@MOMENT]", help="from now on, or from MOMENT on")
BEGINS = arg("begins", nargs="+", type=moment, metavar="MOMENT", help="such as 2027-01-01T00:00Z")
FIRST = arg("--first", type=int, metavar="N", help="show the first N entries only")
SORT = arg("--sort", action="append", default=[], metavar="FIELD[,ASC|DESC]", help="may be given several times")
SEARCH = arg("--search", dest="free_search", help="a part of what is looked for")
BODY = arg("--body", metavar="FILE", required=True, help="JSON as documented by docxworld, - for standard input")
KEEP = (
    arg("--secret-file", metavar="FILE", type=Path, help="write the secret to this new file, mode 0600"),
    arg("--secret-name", metavar="NAME", help="keep the secret in this secret of Secrets Manager"),
)
CONTRACT_FIELDS = (
    arg("--description"),
    arg("--approvable", type=yes_or_no, metavar="yes|no"),
    arg("--collectable", type=yes_or_no, metavar="yes|no"),
    arg("--output-type", choices=OUTPUT_TYPES),
    arg("--file-type", choices=FILE_TYPES),
    arg("--upload-type", choices=UPLOAD_TYPES),
    arg("--state", dest="states", action="append", type=transition, metavar="STATE[@MOMENT]"),
)
APPROVAL = (
    arg("--approval-needed", type=yes_or_no, metavar="yes|no"),
    arg("--escalation-email", dest="escalation_deadline_notification_email"),
    arg("--escalation-days", dest="escalation_notification_deadline", type=days, metavar="0-30"),
    arg("--approvers-days", dest="approvers_notification_deadline", type=days, metavar="0-30"),
)


def _many(flag: str, dest: str, help_: str, **more: Any) -> Argument:
    return arg(flag, dest=dest, action="append", default=[], help=f"{help_}; may be given several times", **more)


def _first(entries: Iterable[Any], args: Namespace) -> list[Any]:
    return list(islice(entries, args.first))


# --- users, roles and what they are restricted to --------------------------------------------------------------------

USER_COLUMNS = ("id", "email", "firstName", "lastName", "companyName", "status", "roles")


def _users(desk: Desk, args: Namespace) -> list[Any]:
    companies = [desk.names.company(each) if each != "SYS_COMPANY" else each for each in args.companies]
    narrowed = UserFilter(args.free_search, [_role_or_none(each) for each in args.roles], companies)
    return _first(desk.client.users.all(narrowed, sort=args.sort or ("email,ASC",), role=desk.role), args)


def _role_or_none(text: str) -> str:
    return text if text == "ROLE_NO_ROLE" else role_named(text)


def _create_user(desk: Desk, args: Namespace) -> Any:
    company_id = desk.names.company(args.company) if args.company else None
    return desk.client.users.create(_given(args, UserOrder, company_id=company_id), role=desk.role)


def _update_user(desk: Desk, args: Namespace) -> Any:
    names = {"first_name": args.first_name, "last_name": args.last_name}
    return desk.client.users.update(desk.names.user(args.user), **names, role=desk.role)


def _scope(operation: str) -> Run:
    """Return the run of an operation that adds to, or takes from, what a user's role is restricted to."""

    def run(desk: Desk, args: Namespace) -> Any:
        find = desk.names.target if operation.endswith("targets") else str
        change = getattr(desk.client.users, operation)
        names = [find(name) for name in args.names]
        return change(desk.names.user(args.user), names, target_role=args.assigned, role=desk.role)

    return run


SCOPED_CONTRACTS = arg("names", nargs="+", metavar="CONTRACT")
SCOPED_TARGETS = arg("names", nargs="+", metavar="TARGET", help="workflow abbreviation or UUID")

USERS = (
    Command(
        "users",
        "list",
        "list users",
        _users,
        (
            SEARCH,
            _many("--with-role", "roles", "only users in this role, ROLE_NO_ROLE for those in none"),
            _many("--company", "companies", "only users of this company, SYS_COMPANY for those of none"),
            SORT,
            FIRST,
        ),
        USER_COLUMNS,
    ),
    Command("users", "get", "show a user", lambda d, a: d.client.users.get(d.names.user(a.user), role=d.role), (USER,)),
    Command(
        "users",
        "create",
        "register a user",
        _create_user,
        (
            arg("email"),
            arg("--first-name"),
            arg("--last-name"),
            arg("--company", help="name or id"),
            arg("--status", type=Status, choices=tuple(Status)),
        ),
    ),
    Command(
        "users",
        "update",
        "change a user's name",
        _update_user,
        (USER, arg("--first-name", required=True), arg("--last-name", required=True)),
    ),
    Command(
        "users",
        "set-state",
        "switch a user on or off",
        lambda d, a: d.client.users.set_state(d.names.user(a.user), a.status, role=d.role),
        (USER, STATUS),
    ),
    Command(
        "users",
        "reset-initial-password",
        "send a user a new initial password",
        lambda d, a: d.client.users.reset_initial_password(d.names.user(a.user), role=d.role),
        (USER,),
    ),
    Command(
        "roles",
        "list",
        "show what this account may do in each of its roles",
        lambda d, _: d.client.users.grants(role=d.role),
        columns=("role", "companies", "contracts", "grants"),
    ),
    Command(
        "roles",
        "assign",
        "give a user a role",
        lambda d, a: d.client.users.assign_role(d.names.user(a.user), a.assigned, role=d.role),
        (USER, ROLE),
    ),
    Command(
        "roles",
        "retract",
        "take a role from a user",
        lambda d, a: d.client.users.retract_role(d.names.user(a.user), a.assigned, role=d.role),
        (USER, ROLE),
    ),
    Command(
        "contracts",
        "assign",
        "restrict a user's role to further contracts",
        _scope("assign_contracts"),
        (USER, ROLE, SCOPED_CONTRACTS),
    ),
    Command(
        "contracts",
        "remove",
        "take contracts from a user's role",
        _scope("remove_contracts"),
        (USER, ROLE, SCOPED_CONTRACTS),
    ),
    Command(
        "targets",
        "assign",
        "restrict a user's role to further targets",
        _scope("assign_targets"),
        (USER, ROLE, SCOPED_TARGETS),
    ),
    Command(
        "targets", "remove", "take targets from a user's role", _scope("remove_targets"), (USER, ROLE, SCOPED_TARGETS)
    ),
)


# --- the account itself ----------------------------------------------------------------------------------------------


def _update_settings(desk: Desk, args: Namespace) -> Any:
    targets = tuple(desk.names.target(name) for name in args.targets)
    order = SettingsOrder(type=args.type, mode=args.mode, target_ids=targets)
    return desk.client.users.update_settings(order, role=desk.role)


SETTINGS = (
    Command("settings", "get", "show this account and its settings", lambda d, _: d.client.users.settings(role=d.role)),
    Command(
        "settings",
        "update",
        "change one setting of this account",
        _update_settings,
        (
            arg("mode", help="such as ALL_ASSIGNED or SELECTED"),
            _many("--target", "targets", "workflow abbreviation or UUID"),
            arg("--type", default=NOTIFICATION),
        ),
    ),
)


# --- contracts and targets -------------------------------------------------------------------------------------------


def _contracts(desk: Desk, args: Namespace) -> list[Any]:
    narrowed = ContractFilter(
        args.contracts,
        args.numbers,
        [desk.names.company(each) for each in args.companies],
        args.upload_types,
        args.file_types,
        args.approvable,
        args.collectable,
        args.state,
        args.expected_file_format,
    )
    return _first(desk.client.contracts.all(narrowed, sort=args.sort, role=desk.role), args)


def _targets(desk: Desk, args: Namespace) -> list[Any]:
    narrowed = TargetFilter(
        args.contracts,
        [desk.names.company(each) for each in args.companies],
        [desk.names.workflow(each) for each in args.workflows],
    )
    return _first(desk.client.targets.all(narrowed, role=desk.role), args)


OF_CONTRACTS = _many("--contract", "contracts", "only of this contract")
OF_COMPANIES = _many("--company", "companies", "only of this company")

PLACES = (
    Command(
        "contracts",
        "list",
        "list contracts",
        _contracts,
        (
            OF_CONTRACTS,
            _many("--number", "numbers", "only of this customer number"),
            OF_COMPANIES,
            _many("--upload-type", "upload_types", "only of this type", choices=UPLOAD_TYPES),
            _many("--file-type", "file_types", "only of this type", choices=FILE_TYPES),
            arg("--approvable", type=yes_or_no, metavar="yes|no"),
            arg("--collectable", type=yes_or_no, metavar="yes|no"),
            arg("--state", choices=tuple(Status)),
            arg("--expected-file-format"),
            SORT,
            FIRST,
        ),
        ("number", "description", "isActive", "approvable", "collectable", "outputType", "fileType", "uploadType"),
    ),
    Command(
        "targets",
        "list",
        "list targets",
        _targets,
        (OF_CONTRACTS, OF_COMPANIES, _many("--workflow", "workflows", "only of this workflow"), FIRST),
        ("id", "targetType", "workflow.abbreviation", "workflow.name", "workflow.status"),
    ),
    Command(
        "targets",
        "get",
        "show a target",
        lambda d, a: d.client.targets.get(d.names.target(a.target), role=d.role),
        (arg("target", help="UUID or workflow abbreviation"),),
    ),
)


# --- companies, customer numbers, customer contracts -----------------------------------------------------------------


def _create_company(desk: Desk, args: Namespace) -> Any:
    numbers = [CustomerNumberOrder(number=number) for number in args.numbers]
    if args.body:
        order = _read(CompanyOrder, _objects(args.body))
    elif args.name and numbers:
        order = _given(args, CompanyOrder, customer_numbers=numbers)
    else:
        raise Reject("INCOMPLETE", "a company needs a name and a --number, or all of it as --body")
    return desk.client.companies.create(order, role=desk.role)


def _customer(desk: Desk, args: Namespace) -> Customer:
    return desk.client.companies.customer(desk.names.company(args.company), args.number)


def _contract(desk: Desk, args: Namespace) -> Contract:
    return _customer(desk, args).contract(args.contract)


def _add_number(desk: Desk, args: Namespace) -> None:
    company = desk.names.company(args.company)
    desk.client.companies.add_customer_numbers(company, [_given(args, CustomerNumberOrder)], role=desk.role)


def _add_numbers(desk: Desk, args: Namespace) -> None:
    company, orders = desk.names.company(args.company), _read_all(CustomerNumberOrder, args.body)
    desk.client.companies.add_customer_numbers(company, orders, role=desk.role)


def _add_contract(desk: Desk, args: Namespace) -> None:
    order = _given(args, ContractOrder, number=args.contract)
    _customer(desk, args).add_contracts([order], role=desk.role)


def _add_contracts(desk: Desk, args: Namespace) -> None:
    _customer(desk, args).add_contracts(_read_all(ContractOrder, args.body), role=desk.role)


COMPANIES = (
    Command(
        "companies",
        "list",
        "list companies",
        lambda d, a: _first(d.client.companies.all(CompanyFilter(a.free_search), role=d.role), a),
        (SEARCH, FIRST),
        ("id", "name", "technicalAccessLimit", "customerNumbers"),
    ),
    Command(
        "companies",
        "get",
        "show a company",
        lambda d, a: d.client.companies.get(d.names.company(a.company), role=d.role),
        (COMPANY,),
    ),
    Command(
        "companies",
        "create",
        "register a company",
        _create_company,
        (
            arg("name", nargs="?"),
            _many("--number", "numbers", "a customer number"),
            arg("--limit", dest="technical_access_limit", type=limit, metavar="0-100"),
            arg("--body", metavar="FILE", help="all of it as JSON, - for standard input"),
        ),
    ),
    Command(
        "companies",
        "rename",
        "change a company's name",
        lambda d, a: d.client.companies.rename(d.names.company(a.company), a.name, role=d.role),
        (COMPANY, arg("name")),
    ),
    Command(
        "companies",
        "set-limit",
        "set how many technical accesses a company may have",
        lambda d, a: d.client.companies.set_technical_access_limit(d.names.company(a.company), a.limit, role=d.role),
        (COMPANY, arg("limit", type=limit, metavar="0-100")),
    ),
    Command(
        "companies",
        "dw24",
        "list the companies as DW24 knows them",
        lambda d, _: d.client.companies.dw24(role=d.role),
        columns=("customerNumber", "customerName", "feedbackAddress", "contracts"),
    ),
    Command(
        "customer-numbers",
        "add",
        "add a customer number to a company",
        _add_number,
        (COMPANY, NUMBER, arg("--state", dest="states", action="append", type=transition, metavar="STATE[@MOMENT]")),
    ),
    Command(
        "customer-numbers",
        "add-all",
        "add customer numbers with their contracts",
        _add_numbers,
        (COMPANY, BODY),
    ),
    Command(
        "customer-numbers",
        "delete",
        "delete a customer number",
        lambda d, a: _customer(d, a).delete(role=d.role),
        (COMPANY, NUMBER),
    ),
    Command(
        "customer-numbers",
        "add-states",
        "add states to a customer number",
        lambda d, a: _customer(d, a).add_states(a.states, role=d.role),
        (COMPANY, NUMBER, STATES),
    ),
    Command(
        "customer-numbers",
        "delete-states",
        "delete states of a customer number that have not begun",
        lambda d, a: _customer(d, a).delete_states(a.begins, role=d.role),
        (COMPANY, NUMBER, BEGINS),
    ),
    Command(
        "customer-contracts",
        "add",
        "add a contract to a customer number",
        _add_contract,
        (COMPANY, NUMBER, CONTRACT, *CONTRACT_FIELDS),
    ),
    Command(
        "customer-contracts",
        "add-all",
        "add contracts to a customer number",
        _add_contracts,
        (COMPANY, NUMBER, BODY),
    ),
    Command(
        "customer-contracts",
        "describe",
        "change a contract's description",
        lambda d, a: _contract(d, a).describe(a.description, role=d.role),
        (COMPANY, NUMBER, CONTRACT, arg("description")),
    ),
    Command(
        "customer-contracts",
        "delete",
        "delete a contract",
        lambda d, a: _contract(d, a).delete(role=d.role),
        (COMPANY, NUMBER, CONTRACT),
    ),
    Command(
        "customer-contracts",
        "add-states",
        "add states to a contract",
        lambda d, a: _contract(d, a).add_states(a.states, role=d.role),
        (COMPANY, NUMBER, CONTRACT, STATES),
    ),
    Command(
        "customer-contracts",
        "delete-states",
        "delete states of a contract that have not begun",
        lambda d, a: _contract(d, a).delete_states(a.begins, role=d.role),
        (COMPANY, NUMBER, CONTRACT, BEGINS),
    ),
)


# --- workflows -------------------------------------------------------------------------------------------------------


def _workflows(desk: Desk, args: Namespace) -> list[Any]:
    companies = [desk.names.company(each) for each in args.companies]
    narrowed = WorkflowFilter(
        args.free_search, args.name, args.contracts, companies, args.abbreviation, args.approval_needed
    )
    return _first(desk.client.workflows.all(narrowed, role=desk.role), args)


def _create_workflow(desk: Desk, args: Namespace) -> Any:
    receiver = ExternalReceiver(url=args.receiver) if args.receiver else None
    order = _given(args, WorkflowOrder, customer_contract=args.contract, external_receiver=receiver)
    return desk.client.workflows.create(order, role=desk.role)


def _update_workflow(desk: Desk, args: Namespace) -> None:
    """What is not given stays as it is: docxworld takes all three together."""
    there = desk.client.workflows.get(desk.names.workflow(args.workflow), role=desk.role)
    desk.client.workflows.update(
        there.id,
        name=args.name or there.name or "",
        abbreviation=args.abbreviation or there.abbreviation or "",
        description=there.description if args.description is None else args.description,
        role=desk.role,
    )


WORKFLOWS = (
    Command(
        "workflows",
        "list",
        "list workflows",
        _workflows,
        (
            SEARCH,
            arg("--name"),
            OF_CONTRACTS,
            OF_COMPANIES,
            arg("--abbreviation"),
            arg("--approval-needed", type=yes_or_no, metavar="yes|no"),
            FIRST,
        ),
        ("id", "abbreviation", "name", "customerContract", "approvalNeeded", "status"),
    ),
    Command(
        "workflows",
        "get",
        "show a workflow",
        lambda d, a: d.client.workflows.get(d.names.workflow(a.workflow), role=d.role),
        (WORKFLOW,),
    ),
    Command(
        "workflows",
        "create",
        "register a workflow",
        _create_workflow,
        (
            arg("abbreviation"),
            arg("name"),
            CONTRACT,
            arg("--description"),
            *APPROVAL,
            arg("--status", type=Status, choices=tuple(Status)),
            arg("--receiver", metavar="URL", help="external receiver"),
        ),
    ),
    Command(
        "workflows",
        "update",
        "change what a workflow is called",
        _update_workflow,
        (WORKFLOW, arg("--name"), arg("--abbreviation"), arg("--description")),
    ),
    Command(
        "workflows",
        "update-settings",
        "change how a workflow asks for approval",
        lambda d, a: d.client.workflows.update_settings(
            d.names.workflow(a.workflow), _given(a, WorkflowSettings), role=d.role
        ),
        (WORKFLOW, *APPROVAL),
    ),
    Command(
        "workflows",
        "set-status",
        "switch a workflow on or off",
        lambda d, a: d.client.workflows.set_status(d.names.workflow(a.workflow), a.status, role=d.role),
        (WORKFLOW, STATUS),
    ),
)


# --- technical accesses ----------------------------------------------------------------------------------------------


def _accesses(desk: Desk, args: Namespace) -> list[Any]:
    narrowed = TechnicalAccessFilter([desk.names.company(each) for each in args.companies])
    sort = args.sort or ("createdAt,ASC",)
    return _first(desk.client.technical_access.all(narrowed, sort=sort, role=desk.role), args)


def _create_access(desk: Desk, args: Namespace) -> Any:
    company_id = desk.names.company(args.company)
    order = TechnicalAccessOrder(company_id=company_id, name=args.name, allowed_roles=tuple(args.roles))
    return _kept(desk, args, lambda: desk.client.technical_access.create(order, role=desk.role))


def _rotate(desk: Desk, args: Namespace) -> Any:
    id_ = desk.names.access(args.access)
    return _kept(desk, args, lambda: desk.client.technical_access.start_rotation(id_, role=desk.role))


def _kept(desk: Desk, args: Namespace, make: Callable[[], TechnicalAccessWithSecret]) -> dict[str, Any]:
    """Return what is to be seen of a technical access once its new secret has been handed over."""
    keep: Callable[..., str] = desk.handover.to_screen
    if args.secret_file and args.secret_name:
        raise Reject("INCOMPLETE", "give either --secret-file or --secret-name")
    if args.secret_file:
        keep = desk.handover.to_file(args.secret_file)
    elif args.secret_name:
        keep = desk.handover.to_secret(args.secret_name)
    made = make()
    said = desk.handover.hand(made.oauth, keep)
    return {**made.technical_access.model_dump(mode="json", by_alias=True), "clientSecret": said}


ACCESSES = (
    Command(
        "technical-access",
        "list",
        "list technical accesses",
        _accesses,
        (OF_COMPANIES, SORT, FIRST),
        ("id", "name", "companyName", "status", "cognitoClientId", "allowedRoles", "rotationInProgress"),
    ),
    Command(
        "technical-access",
        "get",
        "show a technical access",
        lambda d, a: d.client.technical_access.get(d.names.access(a.access), role=d.role),
        (ACCESS,),
    ),
    Command(
        "technical-access",
        "create",
        "create a technical access; its secret is handed over once",
        _create_access,
        (COMPANY, arg("name"), arg("roles", nargs="+", type=role_named, metavar="ROLE"), *KEEP),
    ),
    Command(
        "technical-access",
        "set-state",
        "switch a technical access on or off",
        lambda d, a: d.client.technical_access.set_state(d.names.access(a.access), a.status, role=d.role),
        (ACCESS, STATUS),
    ),
    Command(
        "technical-access",
        "delete",
        "delete a technical access for good",
        lambda d, a: d.client.technical_access.delete(d.names.access(a.access), role=d.role),
        (ACCESS,),
    ),
    Command(
        "technical-access",
        "start-rotation",
        "make a second secret, handed over once; the first one stays valid",
        _rotate,
        (ACCESS, *KEEP),
    ),
    Command(
        "technical-access",
        "complete-rotation",
        "make the first secret invalid",
        lambda d, a: d.client.technical_access.complete_rotation(d.names.access(a.access), role=d.role),
        (ACCESS,),
    ),
)

COMMANDS: Sequence[Command] = (*USERS, *SETTINGS, *PLACES, *COMPANIES, *WORKFLOWS, *ACCESSES)
"""Every command, in the order of docxworld's page."""
