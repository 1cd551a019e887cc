"""A model of docxworld's administration: what each step does to it, without any I/O."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import singledispatch
from typing import Any

from amtsbote.admin import steps
from amtsbote.admin.actual import Actual, contracts_of, targets_of
from amtsbote.portals.docxworld.administration import (
    Company,
    ContractOrder,
    CustomerContract,
    CustomerNumber,
    CustomerNumberOrder,
    NotificationSetting,
    ScopedContract,
    ScopedCustomer,
    StateSince,
    StateTransition,
    TechnicalAccess,
    User,
)
from amtsbote.portals.docxworld.models import Status, Target, Workflow

Change = Callable[[Any], Any]


def uuid_of(kind: str, name: str) -> str:
    """Return an id that looks like docxworld's and is the same for the same name."""
    digits = f"{kind}{name}".casefold().encode().hex()[-32:].rjust(32, "0")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def done(actual: Actual, taken: Iterable[steps.Step], now: datetime) -> Actual:
    """Return the state after some steps at `now`."""
    for step in taken:
        actual = do(step, actual, now)
    return actual


@singledispatch
def do(step: steps.Step, actual: Actual, now: datetime) -> Actual:
    """Return the state after a step."""
    raise NotImplementedError(type(step).__name__)


def _changed(items: tuple[Any, ...], concerned: Callable[[Any], bool], change: Change) -> tuple[Any, ...]:
    """Return the items with one of them changed; a step that names none of them is a mistake of the plan."""
    assert sum(map(concerned, items)) == 1
    return tuple(change(item) if concerned(item) else item for item in items)


def _update(item: Any, **changes: Any) -> Any:
    return item.model_copy(update=changes)


# --- companies ---


def _states(orders: Iterable[StateTransition] | None, now: datetime) -> dict[str, Any]:
    given = tuple(orders or (StateTransition(state=Status.INACTIVE),))
    states = tuple(StateSince(state=each.state, valid_from=each.valid_from or now) for each in given)
    return {"states": states, "is_active": _is_active(states, now)}


def _is_active(states: Iterable[StateSince], now: datetime) -> bool:
    begun = [state for state in states if state.valid_from and state.valid_from <= now]
    return bool(begun) and max(begun, key=lambda state: state.valid_from or now).state == Status.ACTIVE


def _contract(order: ContractOrder, now: datetime) -> CustomerContract:
    more = order.model_dump(exclude={"states"})
    return CustomerContract.model_validate(more | _states(order.states, now))


def _number(order: CustomerNumberOrder, now: datetime) -> CustomerNumber:
    contracts = tuple(_contract(each, now) for each in order.customer_contracts or ()) or None
    fields = {"number": order.number, "customer_contracts": contracts}
    return CustomerNumber.model_validate(fields | _states(order.states, now))


@do.register
def _(step: steps.CreateCompany, actual: Actual, now: datetime) -> Actual:
    assert actual.company(step.order.name) is None
    company = Company(
        id=uuid_of("company", step.order.name),
        name=step.order.name,
        technical_access_limit=step.order.technical_access_limit or 0,
        customer_numbers=tuple(_number(each, now) for each in step.order.customer_numbers),
    )
    return replace(actual, companies=(*actual.companies, company))


def _company(actual: Actual, named: str, change: Change) -> Actual:
    company = actual.company(named)
    return replace(actual, companies=_changed(actual.companies, lambda each: each is company, change))


@do.register
def _(step: steps.RenameCompany, actual: Actual, _now: datetime) -> Actual:
    return _company(actual, step.company, lambda each: _update(each, name=step.name))


@do.register
def _(step: steps.SetAccessLimit, actual: Actual, _now: datetime) -> Actual:
    return _company(actual, step.company, lambda each: _update(each, technical_access_limit=step.limit))


@do.register
def _(step: steps.AddNumbers, actual: Actual, now: datetime) -> Actual:
    added = tuple(_number(order, now) for order in step.orders)
    return _company(
        actual, step.company, lambda each: _update(each, customer_numbers=(*(each.customer_numbers or ()), *added))
    )


def _of_number(actual: Actual, company: str, number: str, change: Change) -> Actual:
    def change_company(there: Any) -> Any:
        numbers = _changed(there.customer_numbers, lambda each: each.number == number, change)
        return _update(there, customer_numbers=numbers)

    return _company(actual, company, change_company)


@do.register
def _(step: steps.AddContracts, actual: Actual, now: datetime) -> Actual:
    added = tuple(_contract(order, now) for order in step.orders)
    return _of_number(
        actual,
        step.company,
        step.number,
        lambda each: _update(each, customer_contracts=(*(each.customer_contracts or ()), *added)),
    )


def _numbered(actual: Actual, step: Any, change: Change) -> Actual:
    if step.contract is None:
        return _of_number(actual, step.company, step.number, change)

    def change_number(there: Any) -> Any:
        contracts = _changed(there.customer_contracts, lambda each: each.number == step.contract, change)
        return _update(there, customer_contracts=contracts)

    return _of_number(actual, step.company, step.number, change_number)


@do.register
def _(step: steps.Describe, actual: Actual, _now: datetime) -> Actual:
    return _numbered(actual, step, lambda each: _update(each, description=step.description))


@do.register
def _(step: steps.AddStates, actual: Actual, now: datetime) -> Actual:
    def change(there: Any) -> Any:
        held = {state.valid_from for state in there.states or ()}
        assert not held & {state.valid_from for state in step.states if state.valid_from}
        more = _states(step.states, now)["states"]
        replaced = {state.valid_from for state in more}  # by time that stands still: one state from now after another
        states = (*(state for state in there.states or () if state.valid_from not in replaced), *more)
        return _update(there, states=states, is_active=_is_active(states, now))

    return _numbered(actual, step, change)


@do.register
def _(step: steps.DeleteStates, actual: Actual, now: datetime) -> Actual:
    def change(there: Any) -> Any:
        held = {state.valid_from for state in there.states or ()}
        assert set(step.begins) <= held and all(begin > now for begin in step.begins)
        return _update(there, states=tuple(each for each in there.states if each.valid_from not in step.begins))

    return _numbered(actual, step, change)


# --- workflows ---


@do.register
def _(step: steps.CreateWorkflow, actual: Actual, _now: datetime) -> Actual:
    assert actual.workflow(step.order.abbreviation) is None
    owner = next(
        company.id
        for company in actual.companies
        for number in company.customer_numbers or ()
        for contract in number.customer_contracts or ()
        if contract.number == step.order.customer_contract
    )
    given = {"approval_needed": False, "escalation_notification_deadline": 0, "approvers_notification_deadline": 0}
    given |= {"description": "", "status": "ACTIVE"} | step.order.model_dump(exclude_none=True)
    id_ = uuid_of("workflow", step.order.abbreviation)
    workflow = Workflow.model_validate(given | {"id": id_, "company_id": owner})
    target = Target(id=uuid_of("target", step.order.abbreviation), target_type="DEFAULT", workflow=workflow)
    return replace(actual, workflows=(*actual.workflows, workflow), targets=(*actual.targets, target))


def _workflow(actual: Actual, named: str, /, **changes: Any) -> Actual:
    workflow = actual.workflow(named)
    assert workflow is not None
    changed = _update(workflow, **changes)
    targets = tuple(
        _update(each, workflow=changed) if each.workflow and each.workflow.id == workflow.id else each
        for each in actual.targets
    )
    workflows = tuple(changed if each is workflow else each for each in actual.workflows)
    return replace(actual, workflows=workflows, targets=targets)


@do.register
def _(step: steps.UpdateWorkflow, actual: Actual, _now: datetime) -> Actual:
    names = {"abbreviation": step.abbreviation, "name": step.name, "description": step.description}
    return _workflow(actual, step.workflow, **names)


@do.register
def _(step: steps.UpdateWorkflowSettings, actual: Actual, _now: datetime) -> Actual:
    return _workflow(actual, step.workflow, **step.settings.model_dump())


@do.register
def _(step: steps.SetWorkflowStatus, actual: Actual, _now: datetime) -> Actual:
    return _workflow(actual, step.workflow, status=step.status)


# --- technical accesses ---


@do.register
def _(step: steps.CreateAccess, actual: Actual, _now: datetime) -> Actual:
    company_id = actual.company_id(step.company)
    assert company_id is not None and not actual.accesses_named(company_id, step.name)
    access = TechnicalAccess(
        id=uuid_of("access", step.name),
        company_id=company_id,
        name=step.name,
        status="ACTIVE",
        cognito_client_id=f"client-{step.name}",
        allowed_roles=tuple(step.roles),
        rotation_in_progress=False,
    )
    held = {**actual.held, step.secret: access.cognito_client_id} if step.secret else actual.held
    return replace(actual, accesses=(*actual.accesses, access), held=held)


def _is(actual: Actual, step: Any) -> Callable[[TechnicalAccess], bool]:
    company_id = actual.company_id(step.company) or step.company
    return lambda each: each.company_id == company_id and each.name == step.name


@do.register
def _(step: steps.RenewSecret, actual: Actual, _now: datetime) -> Actual:
    ended = _changed(actual.accesses, _is(actual, step), lambda each: _update(each, rotation_in_progress=False))
    return replace(actual, accesses=ended, held={**actual.held, step.secret: f"client-{step.name}"})


@do.register
def _(step: steps.SetAccessStatus, actual: Actual, _now: datetime) -> Actual:
    changed = _changed(actual.accesses, _is(actual, step), lambda each: _update(each, status=step.status))
    return replace(actual, accesses=changed)


@do.register
def _(step: steps.DeleteAccess, actual: Actual, _now: datetime) -> Actual:
    concerned = _is(actual, step)
    assert any(map(concerned, actual.accesses))
    return replace(actual, accesses=tuple(each for each in actual.accesses if not concerned(each)))


# --- users ---


@do.register
def _(step: steps.CreateUser, actual: Actual, _now: datetime) -> Actual:
    assert actual.user(step.email) is None
    user = User(
        id=uuid_of("user", step.email),
        email=step.email,
        first_name=step.first_name,
        last_name=step.last_name,
        company_id=actual.company_id(step.company) if step.company else None,
        status=step.status or "ACTIVE",
        roles=(),
    )
    return replace(actual, users=(*actual.users, user))


def _user(actual: Actual, email: str, change: Change) -> Actual:
    user = actual.user(email)
    return replace(actual, users=_changed(actual.users, lambda each: each is user, change))


@do.register
def _(step: steps.UpdateUser, actual: Actual, _now: datetime) -> Actual:
    names = {"first_name": step.first_name, "last_name": step.last_name}
    return _user(actual, step.email, lambda each: _update(each, **names))


@do.register
def _(step: steps.SetUserStatus, actual: Actual, _now: datetime) -> Actual:
    return _user(actual, step.email, lambda each: _update(each, status=step.status))


@do.register
def _(step: steps.AssignRole, actual: Actual, _now: datetime) -> Actual:
    return _user(actual, step.email, lambda each: _update(each, roles=(*each.roles, step.role)))


@do.register
def _(step: steps.RetractRole, actual: Actual, _now: datetime) -> Actual:
    def change(user: Any) -> Any:
        assert step.role in user.roles
        contracts = {role: held for role, held in (user.scoped_customer_contracts or {}).items() if role != step.role}
        targets = {role: held for role, held in (user.scoped_targets or {}).items() if role != step.role}
        roles = tuple(role for role in user.roles if role != step.role)
        return _update(user, roles=roles, scoped_customer_contracts=contracts, scoped_targets=targets)

    return _user(actual, step.email, change)


def _with_contracts(actual: Actual, step: Any, change: Callable[[list[str]], list[str]]) -> Actual:
    def rescope(user: Any) -> Any:
        assert step.role in user.roles
        held = tuple(ScopedContract(number=number) for number in change(contracts_of(user, step.role)))
        scoped = {**(user.scoped_customer_contracts or {})}
        scoped[step.role] = (ScopedCustomer(number="any", customer_contracts=held),)
        return _update(user, scoped_customer_contracts=scoped)

    return _user(actual, step.email, rescope)


@do.register
def _(step: steps.AssignContracts, actual: Actual, _now: datetime) -> Actual:
    return _with_contracts(actual, step, lambda held: [*held, *step.names])


@do.register
def _(step: steps.RemoveContracts, actual: Actual, _now: datetime) -> Actual:
    return _with_contracts(actual, step, lambda held: [number for number in held if number not in step.names])


def _with_targets(actual: Actual, step: Any, change: Callable[[list[str]], list[str]]) -> Actual:
    def rescope(user: Any) -> Any:
        assert step.role in user.roles
        held = change(list(targets_of(user, step.role)))
        return _update(user, scoped_targets={**(user.scoped_targets or {}), step.role: tuple(held)})

    return _user(actual, step.email, rescope)


def _targets(actual: Actual, names: Iterable[str]) -> list[str]:
    found = [actual.target_ids(name) for name in names]
    assert all(len(ids) == 1 for ids in found)
    return [ids[0] for ids in found]


@do.register
def _(step: steps.AssignTargets, actual: Actual, _now: datetime) -> Actual:
    return _with_targets(actual, step, lambda held: [*held, *_targets(actual, step.names)])


@do.register
def _(step: steps.RemoveTargets, actual: Actual, _now: datetime) -> Actual:
    return _with_targets(actual, step, lambda held: [id_ for id_ in held if id_ not in step.names])


@do.register
def _(step: steps.SetNotification, actual: Actual, _now: datetime) -> Actual:
    selected = tuple(_targets(actual, step.targets))
    return replace(actual, notification=NotificationSetting(mode=step.mode, selected_targets=selected))
