"""From what is wanted and what is there to the steps between them: pure functions, no I/O.

Steps come in the order in which one needs the other: companies, workflows, technical accesses, users, settings. What
pruning takes away comes last, users first; only deleted technical accesses come before new ones, to make room.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from amtsbote.admin import steps
from amtsbote.admin.actual import Actual, Numbered, contracts_of, later_states, same, status_of, targets_of
from amtsbote.admin.steps import Step
from amtsbote.admin.wanted import (
    CONTRACT_ROLES,
    TARGET_ROLES,
    Wanted,
    WantedAccess,
    WantedCompany,
    WantedContract,
    WantedNumber,
    WantedRole,
    WantedUser,
    WantedWorkflow,
)
from amtsbote.portals.docxworld.administration import (
    Company,
    CompanyOrder,
    ContractOrder,
    CustomerContract,
    CustomerNumber,
    CustomerNumberOrder,
    StateTransition,
    TechnicalAccess,
    User,
)
from amtsbote.portals.docxworld.models import (
    ExternalReceiver,
    Role,
    Status,
    Workflow,
    WorkflowOrder,
    WorkflowSettings,
)

FIXED_OF_CONTRACT = ("approvable", "collectable", "output_type", "file_type", "upload_type")
SETTINGS_OF_WORKFLOW: Mapping[str, str] = {
    "approval_needed": "approval_needed",
    "escalation_email": "escalation_deadline_notification_email",
    "escalation_days": "escalation_notification_deadline",
    "approvers_days": "approvers_notification_deadline",
}
"""The settings of a workflow: our name, then docxworld's."""


@dataclass(frozen=True)
class Plan:
    """The steps to be done, in their order, and the obstacles: wishes that docxworld's API cannot fulfil."""

    steps: tuple[Step, ...] = ()
    obstacles: tuple[str, ...] = ()


def plan(wanted: Wanted, actual: Actual, now: datetime, *, prune: bool = False) -> Plan:
    """Return what has to be done at `now` (UTC). Without `prune`, what the file does not list stays as it is."""
    planner = _Planner(wanted, actual, now, prune)
    found = tuple(planner.steps())
    return Plan(found, tuple(planner.obstacles))


class _Planner:
    def __init__(self, wanted: Wanted, actual: Actual, now: datetime, prune: bool) -> None:
        self.wanted = wanted
        self.actual = actual
        self.now = now
        self.prune = prune
        self.obstacles: list[str] = []

    def steps(self) -> Iterator[Step]:
        """Yield the steps in their order."""
        for company in self.wanted.companies or ():
            yield from self._company(company)
        for workflow in self.wanted.workflows or ():
            yield from self._workflow(workflow)
        if self.prune:
            yield from self._prune_accesses()
        for access in self.wanted.technical_access or ():
            yield from self._access(access)
        for user in self.wanted.users or ():
            yield from self._user(user)
        yield from self._settings()
        if self.prune:
            yield from self._prune()

    def _prune(self) -> Iterator[Step]:
        yield from self._prune_users()
        yield from self._prune_workflows()
        for company in self.wanted.companies or ():
            yield from self._prune_company(company)

    # --- companies ---

    def _company(self, wanted: WantedCompany) -> Iterator[Step]:
        company = self.actual.company(wanted.name)
        if company is None:
            yield from self._new_company(wanted)
            return
        if company.name != wanted.name and same(company.name, wanted.name):
            yield steps.RenameCompany(company.name or wanted.name, wanted.name)
        limit = wanted.technical_access_limit
        if limit is not None and limit != company.technical_access_limit:
            yield steps.SetAccessLimit(wanted.name, limit)
        yield from self._numbers(wanted, company)

    def _new_company(self, wanted: WantedCompany) -> Iterator[Step]:
        if not wanted.customer_numbers:
            self.obstacles.append(f"company {wanted.name} does not exist, and a new one needs a customer number")
            return
        orders = self._number_orders(wanted.customer_numbers)
        if wanted.technical_access_limit is None:
            yield steps.CreateCompany(CompanyOrder(name=wanted.name, customer_numbers=orders))
            return
        limit = wanted.technical_access_limit
        yield steps.CreateCompany(CompanyOrder(name=wanted.name, technical_access_limit=limit, customer_numbers=orders))

    def _numbers(self, wanted: WantedCompany, company: Company) -> Iterator[Step]:
        held = {number.number.casefold(): number for number in company.customer_numbers or ()}
        listed = wanted.customer_numbers or ()
        new = [number for number in listed if number.number.casefold() not in held]
        if new:
            yield steps.AddNumbers(wanted.name, self._number_orders(new))
        for number in listed:
            there = held.get(number.number.casefold())
            if there is not None:
                yield from self._number(wanted.name, number, there)

    def _number(self, company: str, wanted: WantedNumber, number: CustomerNumber) -> Iterator[Step]:
        held = {contract.number.casefold(): contract for contract in number.customer_contracts or ()}
        listed = wanted.contracts or ()
        yield from self._states(company, number.number, None, wanted, number)
        new = [contract for contract in listed if contract.number.casefold() not in held]
        if new:
            yield steps.AddContracts(company, number.number, self._contract_orders(new))
        for contract in listed:
            there = held.get(contract.number.casefold())
            if there is not None:
                yield from self._contract(company, number.number, contract, there)

    def _contract(
        self, company: str, number: str, wanted: WantedContract, contract: CustomerContract
    ) -> Iterator[Step]:
        for name in FIXED_OF_CONTRACT:
            self._require_equal(
                f"contract {contract.number}", name, getattr(wanted, name), getattr(contract, name), "at docxworld"
            )
        if wanted.description is not None and wanted.description != (contract.description or ""):
            yield steps.Describe(company, number, contract.number, wanted.description)
        yield from self._states(company, number, contract.number, wanted, contract)

    def _states(
        self,
        company: str,
        number: str,
        contract: str | None,
        wanted: WantedNumber | WantedContract,
        there: Numbered,
    ) -> Iterator[Step]:
        """Yield the deletion of states that are in the way, then the states that are missing."""
        later = later_states(there, self.now)
        listed = {state.begins: state.state for state in wanted.states or () if state.begins > self.now}
        wrong = [begin for begin, state in later.items() if listed.get(begin, state) != state]
        if self.prune and wanted.states is not None:
            wrong += [begin for begin in later if begin not in listed]
        if wrong:
            yield steps.DeleteStates(company, number, contract, tuple(sorted(wrong)))
        missing = _transitions({begin: state for begin, state in listed.items() if later.get(begin) != state})
        status = wanted.status_at(self.now)
        if status is not None and status != status_of(there, self.now):
            missing.insert(0, StateTransition(state=status))
        if missing:
            yield steps.AddStates(company, number, contract, tuple(missing))

    def _number_orders(self, numbers: Iterable[WantedNumber]) -> tuple[CustomerNumberOrder, ...]:
        return tuple(self._number_order(number) for number in numbers)

    def _number_order(self, wanted: WantedNumber) -> CustomerNumberOrder:
        self._require_free("customer number", wanted.number, [number.number for _, number in self.actual.numbers()])
        given: dict[str, object] = {"number": wanted.number}
        if states := self._first_states(wanted):
            given["states"] = states
        if wanted.contracts:
            given["customer_contracts"] = self._contract_orders(wanted.contracts)
        return CustomerNumberOrder.model_validate(given)

    def _contract_orders(self, contracts: Iterable[WantedContract]) -> tuple[ContractOrder, ...]:
        return tuple(self._contract_order(contract) for contract in contracts)

    def _contract_order(self, wanted: WantedContract) -> ContractOrder:
        self._require_free("contract", wanted.number, [each.number for _, each in self.actual.contracts()])
        names = ("number", "description", *FIXED_OF_CONTRACT)
        given = {name: getattr(wanted, name) for name in names if getattr(wanted, name) is not None}
        if states := self._first_states(wanted):
            given["states"] = states
        return ContractOrder.model_validate(given)

    def _first_states(self, wanted: WantedNumber | WantedContract) -> tuple[StateTransition, ...]:
        status = wanted.status_at(self.now)
        now = [StateTransition(state=status)] if status else []
        later = {state.begins: state.state for state in wanted.states or () if state.begins > self.now}
        if later and not now:
            now = [StateTransition(state=Status.INACTIVE)]  # what docxworld gives by default, where no state is sent
        return (*now, *_transitions(later))

    def _prune_company(self, wanted: WantedCompany) -> Iterator[Step]:
        company = self.actual.company(wanted.name)
        if company is None or wanted.customer_numbers is None:
            return
        listed = {number.number.casefold(): number for number in wanted.customer_numbers}
        for number in company.customer_numbers or ():
            of_number = listed.get(number.number.casefold())
            if of_number is None:
                yield from self._switch_off(wanted.name, number.number, None, number)
            elif of_number.contracts is not None:
                yield from self._prune_contracts(wanted.name, number, of_number.contracts)

    def _prune_contracts(
        self, company: str, number: CustomerNumber, wanted: Iterable[WantedContract]
    ) -> Iterator[Step]:
        listed = {contract.number.casefold() for contract in wanted}
        for contract in number.customer_contracts or ():
            if contract.number.casefold() not in listed:
                yield from self._switch_off(company, number.number, contract.number, contract)

    def _switch_off(self, company: str, number: str, contract: str | None, there: Numbered) -> Iterator[Step]:
        """Yield what takes something out of use for good; docxworld does not delete what has been in use."""
        if later := later_states(there, self.now):
            yield steps.DeleteStates(company, number, contract, tuple(sorted(later)))
        if status_of(there, self.now) == Status.ACTIVE:
            yield steps.AddStates(company, number, contract, (StateTransition(state=Status.INACTIVE),))

    # --- workflows ---

    def _workflow(self, wanted: WantedWorkflow) -> Iterator[Step]:
        workflow = self.actual.workflow(wanted.abbreviation)
        if workflow is None:
            yield steps.CreateWorkflow(_workflow_order(wanted))
            return
        self._check_fixed(wanted, workflow)
        description = workflow.description if wanted.description is None else wanted.description
        names = (workflow.abbreviation, workflow.name, workflow.description or "")
        if names != (wanted.abbreviation, wanted.name, description or ""):
            old = workflow.abbreviation or wanted.abbreviation
            yield steps.UpdateWorkflow(old, wanted.abbreviation, wanted.name, description)
        settings = _settings_of(wanted, workflow)
        if any(getattr(settings, name) != getattr(workflow, name) for name in SETTINGS_OF_WORKFLOW.values()):
            yield steps.UpdateWorkflowSettings(wanted.abbreviation, settings)
        if wanted.status is not None and wanted.status != workflow.status:
            yield steps.SetWorkflowStatus(wanted.abbreviation, wanted.status)

    def _check_fixed(self, wanted: WantedWorkflow, workflow: Workflow) -> None:
        what, receiver = f"workflow {wanted.abbreviation}", workflow.external_receiver
        if not same(wanted.contract, workflow.customer_contract):
            self._require_equal(what, "contract", wanted.contract, workflow.customer_contract, "at docxworld")
        url = receiver.url if receiver else None
        self._require_equal(what, "external receiver", wanted.external_receiver, url, "at docxworld")

    def _prune_workflows(self) -> Iterator[Step]:
        if self.wanted.workflows is None:
            return
        listed = {workflow.abbreviation.casefold() for workflow in self.wanted.workflows}
        for workflow in self.actual.workflows:
            known = (workflow.abbreviation or "").casefold() not in listed and workflow.status != Status.INACTIVE
            if known and self._in_scope(workflow.company_id):
                yield steps.SetWorkflowStatus(workflow.abbreviation or workflow.id, Status.INACTIVE)

    # --- technical accesses ---

    def _access(self, wanted: WantedAccess) -> Iterator[Step]:
        company_id = self._known_company(wanted.company, f"technical access {wanted.name}")
        found = self.actual.accesses_named(company_id, wanted.name) if company_id else []
        if len(found) > 1:
            self.obstacles.append(f"{wanted.company} has {len(found)} technical accesses called {wanted.name}")
        elif not found:
            yield from self._new_access(wanted)
        else:
            yield from self._known_access(wanted, found[0])

    def _new_access(self, wanted: WantedAccess) -> Iterator[Step]:
        self._require_own_secret(wanted, None)
        yield steps.CreateAccess(wanted.company, wanted.name, wanted.roles, wanted.secret)
        if wanted.status == Status.INACTIVE:
            yield steps.SetAccessStatus(wanted.company, wanted.name, Status.INACTIVE)

    def _known_access(self, wanted: WantedAccess, access: TechnicalAccess) -> Iterator[Step]:
        self._require_equal(
            f"technical access {wanted.name}",
            "roles",
            sorted(wanted.roles),
            sorted(access.allowed_roles or ()),
            "as is",
        )
        if wanted.secret is not None and self.actual.held.get(wanted.secret) is None:
            yield steps.RenewSecret(wanted.company, wanted.name, wanted.secret, bool(access.rotation_in_progress))
        self._require_own_secret(wanted, access.cognito_client_id)
        if wanted.status is not None and wanted.status != access.status:
            yield steps.SetAccessStatus(wanted.company, wanted.name, wanted.status)

    def _require_own_secret(self, wanted: WantedAccess, client_id: str | None) -> None:
        """Note that a secret keeps another login: it would be lost."""
        held = self.actual.held.get(wanted.secret or "")
        if held is not None and held != client_id:
            said = f"the secret {wanted.secret} keeps the login of another technical access than {wanted.name}"
            self.obstacles.append(f"{said}; name another secret, or delete that one")

    def _prune_accesses(self) -> Iterator[Step]:
        if self.wanted.technical_access is None:
            return
        listed = {(self.actual.company_id(each.company), each.name) for each in self.wanted.technical_access}
        for access in self.actual.accesses:
            if (access.company_id, access.name) not in listed and self._in_scope(access.company_id):
                yield steps.DeleteAccess(access.company_id or "", access.name or access.id)

    # --- users ---

    def _user(self, wanted: WantedUser) -> Iterator[Step]:
        user = self.actual.user(wanted.email)
        company_id = self._known_company(wanted.company, f"user {wanted.email}") if wanted.company else None
        if user is None:
            names = (wanted.first_name, wanted.last_name)
            yield steps.CreateUser(wanted.email, *names, wanted.company, wanted.status)
        else:
            if wanted.company:
                self._require_equal(f"user {wanted.email}", "company", company_id, user.company_id, "at docxworld")
            yield from self._known_user(wanted, user)
        for role, scope in (wanted.roles or {}).items():
            yield from self._role(wanted.email, role, scope, user)

    def _known_user(self, wanted: WantedUser, user: User) -> Iterator[Step]:
        there = (user.first_name or "", user.last_name or "")
        names = (_first(wanted.first_name, user.first_name), _first(wanted.last_name, user.last_name))
        if names != there:
            yield steps.UpdateUser(wanted.email, *names)
        if wanted.status is not None and wanted.status != user.status:
            yield steps.SetUserStatus(wanted.email, wanted.status)

    def _role(self, email: str, role: Role, scope: WantedRole, user: User | None) -> Iterator[Step]:
        if user is None or role not in (user.roles or ()):
            yield steps.AssignRole(email, role)
        held = {number.casefold() for number in (contracts_of(user, role) if user else ())}
        contracts = [number for number in scope.contracts or () if number.casefold() not in held]
        if contracts:
            yield steps.AssignContracts(email, role, tuple(contracts))
        assigned = set(targets_of(user, role)) if user else set()
        targets = [named for named in scope.targets or () if not assigned & set(self._targets(named))]
        if targets:
            yield steps.AssignTargets(email, role, tuple(targets))

    def _targets(self, named: str) -> list[str]:
        """Return the id that a target's name stands for; none for one that comes with a new workflow."""
        found = self.actual.target_ids(named)
        if len(found) > 1:
            self._note(f"workflow {named} has {len(found)} targets; name the target by its UUID")
        new = any(same(workflow.abbreviation, named) for workflow in self.wanted.workflows or ())
        if not found and not new:
            self._note(f"there is no target {named}; name a workflow's abbreviation or a target's UUID")
        return found

    def _prune_users(self) -> Iterator[Step]:
        listed = {user.email.casefold(): user for user in self.wanted.users or ()}
        for user in self.actual.users if self.wanted.users is not None else ():
            wanted = listed.get((user.email or "").casefold())
            if wanted is not None:
                yield from self._prune_roles(wanted, user)
            elif user.status != Status.INACTIVE and self._in_scope(user.company_id) and user.id != self.actual.own_id:
                yield steps.SetUserStatus(user.email or user.id, Status.INACTIVE)

    def _prune_roles(self, wanted: WantedUser, user: User) -> Iterator[Step]:
        if wanted.roles is None:
            return
        for held in user.roles or ():
            if held not in wanted.roles:
                if user.id != self.actual.own_id and held in list(Role):
                    yield steps.RetractRole(wanted.email, Role(held))
            else:
                yield from self._prune_scope(wanted, Role(held), wanted.roles[Role(held)], user)

    def _prune_scope(self, wanted: WantedUser, role: Role, scope: WantedRole, user: User) -> Iterator[Step]:
        listed = {number.casefold() for number in scope.contracts or ()}
        contracts = [number for number in contracts_of(user, role) if number.casefold() not in listed]
        if contracts and scope.contracts is not None and role in CONTRACT_ROLES:
            yield steps.RemoveContracts(wanted.email, role, tuple(contracts))
        kept = {id_ for named in scope.targets or () for id_ in self._targets(named)}
        targets = [id_ for id_ in targets_of(user, role) if id_ not in kept]
        if targets and scope.targets is not None and role in TARGET_ROLES:
            yield steps.RemoveTargets(wanted.email, role, tuple(targets))

    def _settings(self) -> Iterator[Step]:
        wanted = self.wanted.settings.approval_success_notification if self.wanted.settings else None
        if wanted is None:
            return
        there = self.actual.notification
        ids = [self._targets(named) for named in wanted.targets]
        selected = set(there.selected_targets or ()) if there else set()
        unselected = [each for each in ids if not selected & set(each)] or len(ids) != len(selected)
        if there is None or there.mode != wanted.mode or (wanted.targets and unselected):
            yield steps.SetNotification(wanted.mode, wanted.targets)

    # --- what all parts share ---

    def _in_scope(self, company_id: str | None) -> bool:
        """Return whether pruning may touch a company: one that the file names."""
        named = [company.name for company in self.wanted.companies or ()]
        named += [access.company for access in self.wanted.technical_access or ()]
        named += [user.company for user in self.wanted.users or () if user.company]
        return company_id is not None and company_id in {self.actual.company_id(name) for name in named}

    def _known_company(self, named: str, of: str) -> str | None:
        """Return a company's id, None for one that is about to be created."""
        found = self.actual.company_id(named)
        if found is None and not any(same(company.name, named) for company in self.wanted.companies or ()):
            self._note(f"{of}: there is no company {named} that this account sees; list it, or give its UUID")
        return found

    def _require_free(self, kind: str, number: str, taken: Iterable[str]) -> None:
        if any(same(number, other) for other in taken):
            self._note(f"{kind} {number} belongs elsewhere; docxworld gives each number once")

    def _require_equal(self, what: str, field: str, wanted: object, there: object, where: str) -> None:
        if wanted is not None and wanted != there:
            name = field.replace("_", " ")
            self._note(f"{what}: the {name} is {there} {where} and cannot be changed there; the file says {wanted}")

    def _note(self, obstacle: str) -> None:
        if obstacle not in self.obstacles:
            self.obstacles.append(obstacle)


def _first(wanted: str | None, there: str | None) -> str:
    return wanted if wanted is not None else there or ""


def _transitions(states: Mapping[datetime, Status]) -> list[StateTransition]:
    return [StateTransition(state=states[begin], valid_from=begin) for begin in sorted(states)]


def _workflow_order(wanted: WantedWorkflow) -> WorkflowOrder:
    given: dict[str, object] = {
        "customer_contract": wanted.contract,
        "name": wanted.name,
        "abbreviation": wanted.abbreviation,
        "description": wanted.description,
        "status": wanted.status,
        "external_receiver": ExternalReceiver(url=wanted.external_receiver) if wanted.external_receiver else None,
        **{theirs: getattr(wanted, ours) for ours, theirs in SETTINGS_OF_WORKFLOW.items()},
    }
    return WorkflowOrder.model_validate({name: value for name, value in given.items() if value is not None})


def _settings_of(wanted: WantedWorkflow, workflow: Workflow) -> WorkflowSettings:
    """Return all settings: the wanted ones, and what is there for the rest."""
    given = {
        theirs: getattr(workflow, theirs) if getattr(wanted, ours) is None else getattr(wanted, ours)
        for ours, theirs in SETTINGS_OF_WORKFLOW.items()
    }
    return WorkflowSettings.model_validate(given)
