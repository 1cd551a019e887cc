"""Doing the steps of a plan, one by one, each through the portal's client."""

from collections.abc import Callable
from datetime import datetime
from functools import partial, singledispatchmethod
from typing import TypeVar

from amtsbote.admin import steps
from amtsbote.admin.actual import Actual
from amtsbote.admin.handover import Handover
from amtsbote.admin.names import Names
from amtsbote.admin.rehearsal import NotSent
from amtsbote.admin.survey import acting_role
from amtsbote.admin.wanted import Acting
from amtsbote.errors import Reject
from amtsbote.portals.docxworld.administration import SettingsOrder, TechnicalAccessOrder, UserOrder
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.resources.companies import Contract, Customer

NOTIFICATION = "UPLOADER_APPROVAL_SUCCESS_NOTIFICATION"

Said = TypeVar("Said")


class Performer:
    """Does steps on one account. What it creates, later steps find by name.

    In a rehearsal every call that would be made is told, and what would have been created is called `new …`.
    """

    def __init__(
        self, client: DocxworldClient, actual: Actual, acting: Acting, own_role: str, handover: Handover
    ) -> None:
        self._client = client
        self._actual = actual
        self._handover = handover
        self._role = partial(acting_role, acting, own=own_role)
        self._created: dict[tuple[str, str], str] = {}

    @singledispatchmethod
    def do(self, step: steps.Step) -> str | None:
        """Do a step; returns what is to be said of it beside that it is done."""
        raise NotImplementedError(type(step).__name__)

    # --- companies ---

    @do.register
    def _(self, step: steps.CreateCompany) -> None:
        company = self._send(partial(self._client.companies.create, step.order, role=self._role("companies")))
        self._note("company", step.order.name, company.id if company else None)

    @do.register
    def _(self, step: steps.RenameCompany) -> None:
        id_ = self._company(step.company)
        self._send(partial(self._client.companies.rename, id_, step.name, role=self._role("companies")))

    @do.register
    def _(self, step: steps.SetAccessLimit) -> None:
        change = self._client.companies.set_technical_access_limit
        self._send(partial(change, self._company(step.company), step.limit, role=self._role("companies")))

    @do.register
    def _(self, step: steps.AddNumbers) -> None:
        add = self._client.companies.add_customer_numbers
        self._send(partial(add, self._company(step.company), step.orders, role=self._role("companies")))

    @do.register
    def _(self, step: steps.AddContracts) -> None:
        customer = self._client.companies.customer(self._company(step.company), step.number)
        self._send(partial(customer.add_contracts, step.orders, role=self._role("companies")))

    @do.register
    def _(self, step: steps.Describe) -> None:
        customer = self._client.companies.customer(self._company(step.company), step.number)
        contract = customer.contract(step.contract or "")
        self._send(partial(contract.describe, step.description, role=self._role("companies")))

    @do.register
    def _(self, step: steps.AddStates) -> None:
        place = self._numbered(step.company, step.number, step.contract)
        self._send(partial(place.add_states, step.states, role=self._role("companies")))

    @do.register
    def _(self, step: steps.DeleteStates) -> None:
        place, begins = self._numbered(step.company, step.number, step.contract), list[datetime](step.begins)
        self._send(partial(place.delete_states, begins, role=self._role("companies")))

    def _numbered(self, company: str, number: str, contract: str | None) -> Customer | Contract:
        customer = self._client.companies.customer(self._company(company), number)
        return customer.contract(contract) if contract else customer

    # --- workflows ---

    @do.register
    def _(self, step: steps.CreateWorkflow) -> None:
        workflow = self._send(partial(self._client.workflows.create, step.order, role=self._role("workflows")))
        self._note("workflow", step.order.abbreviation, workflow.id if workflow else None)

    @do.register
    def _(self, step: steps.UpdateWorkflow) -> None:
        change = partial(self._client.workflows.update, self._workflow(step.workflow), name=step.name)
        names = {"abbreviation": step.abbreviation, "description": step.description}
        self._send(partial(change, **names, role=self._role("workflows")))

    @do.register
    def _(self, step: steps.UpdateWorkflowSettings) -> None:
        change = self._client.workflows.update_settings
        self._send(partial(change, self._workflow(step.workflow), step.settings, role=self._role("workflows")))

    @do.register
    def _(self, step: steps.SetWorkflowStatus) -> None:
        change = self._client.workflows.set_status
        self._send(partial(change, self._workflow(step.workflow), step.status, role=self._role("workflows")))

    # --- technical accesses ---

    @do.register
    def _(self, step: steps.CreateAccess) -> str | None:
        keep = self._handover.place(step.secret, step.name)
        order = TechnicalAccessOrder(
            company_id=self._company(step.company), name=step.name, allowed_roles=tuple(step.roles)
        )
        create = partial(self._client.technical_access.create, order, role=self._role("technical_access"))
        made = self._send(create)
        self._note("access", f"{step.company}/{step.name}", made.technical_access.id if made else None)
        return self._handover.hand(made.oauth, keep) if made else None

    @do.register
    def _(self, step: steps.RenewSecret) -> str | None:
        """End a rotation whose new secret nobody has, start one, keep its secret, and only then end the old one."""
        accesses, id_ = self._client.technical_access, self._access(step.company, step.name)
        keep, role = self._handover.place(step.secret, step.name), self._role("technical_access")
        if step.rotating:
            self._send(partial(accesses.complete_rotation, id_, role=role))
        made = self._send(partial(accesses.start_rotation, id_, role=role))
        said = self._handover.hand(made.oauth, keep) if made else None
        self._send(partial(accesses.complete_rotation, id_, role=role))
        return said

    @do.register
    def _(self, step: steps.SetAccessStatus) -> None:
        id_, role = self._access(step.company, step.name), self._role("technical_access")
        self._send(partial(self._client.technical_access.set_state, id_, step.status, role=role))

    @do.register
    def _(self, step: steps.DeleteAccess) -> None:
        id_, role = self._access(step.company, step.name), self._role("technical_access")
        self._send(partial(self._client.technical_access.delete, id_, role=role))

    # --- users ---

    @do.register
    def _(self, step: steps.CreateUser) -> None:
        given: dict[str, object] = {
            "email": step.email,
            "first_name": step.first_name,
            "last_name": step.last_name,
            "company_id": self._company(step.company) if step.company else None,
            "status": step.status,
        }
        order = UserOrder.model_validate({name: value for name, value in given.items() if value is not None})
        user = self._send(partial(self._client.users.create, order, role=self._role("users")))
        self._note("user", step.email, user.id if user else None)

    @do.register
    def _(self, step: steps.UpdateUser) -> None:
        change = partial(self._client.users.update, first_name=step.first_name, last_name=step.last_name)
        self._send(partial(change, self._user(step.email), role=self._role("users")))

    @do.register
    def _(self, step: steps.SetUserStatus) -> None:
        self._send(partial(self._client.users.set_state, self._user(step.email), step.status, role=self._role("users")))

    @do.register
    def _(self, step: steps.AssignRole) -> None:
        self._send(partial(self._client.users.assign_role, self._user(step.email), step.role, role=self._role("users")))

    @do.register
    def _(self, step: steps.RetractRole) -> None:
        change = self._client.users.retract_role
        self._send(partial(change, self._user(step.email), step.role, role=self._role("users")))

    @do.register
    def _(self, step: steps.AssignContracts) -> None:
        change = partial(self._client.users.assign_contracts, target_role=step.role, role=self._role("users"))
        self._send(partial(change, self._user(step.email), step.names))

    @do.register
    def _(self, step: steps.RemoveContracts) -> None:
        change = partial(self._client.users.remove_contracts, target_role=step.role, role=self._role("users"))
        self._send(partial(change, self._user(step.email), step.names))

    @do.register
    def _(self, step: steps.AssignTargets) -> None:
        change = partial(self._client.users.assign_targets, target_role=step.role, role=self._role("users"))
        self._send(partial(change, self._user(step.email), [self._target(name) for name in step.names]))

    @do.register
    def _(self, step: steps.RemoveTargets) -> None:
        change = partial(self._client.users.remove_targets, target_role=step.role, role=self._role("users"))
        self._send(partial(change, self._user(step.email), step.names))

    @do.register
    def _(self, step: steps.SetNotification) -> None:
        targets = tuple(self._target(name) for name in step.targets)
        order = SettingsOrder(type=NOTIFICATION, mode=step.mode, target_ids=targets)
        self._send(partial(self._client.users.update_settings, order, role=self._role("settings")))

    # --- sending and finding ---

    def _send(self, call: Callable[[], Said]) -> Said | None:
        """Make a call; None where it is a rehearsal."""
        try:
            return call()
        except NotSent:
            return None

    def _note(self, kind: str, name: str, id_: str | None) -> None:
        self._created[(kind, name.casefold())] = id_ or f"new-{kind}"

    def _found(self, kind: str, name: str, there: str | None) -> str:
        id_ = self._created.get((kind, name.casefold()), there)
        if id_ is None:
            raise Reject("NAME_NOT_FOUND", f"there is no {kind} {name}; make the plan anew")
        return id_

    def _company(self, name: str) -> str:
        return self._found("company", name, self._actual.company_id(name))

    def _workflow(self, abbreviation: str) -> str:
        workflow = self._actual.workflow(abbreviation)
        return self._found("workflow", abbreviation, workflow.id if workflow else None)

    def _user(self, email: str) -> str:
        user = self._actual.user(email)
        return self._found("user", email, user.id if user else None)

    def _access(self, company: str, name: str) -> str:
        there = self._actual.accesses_named(self._company(company), name)
        return self._found("access", f"{company}/{name}", there[0].id if there else None)

    def _target(self, named: str) -> str:
        """Return a target's id; that of a workflow that has just been created is asked for."""
        created = self._created.get(("workflow", named.casefold()))
        if created == "new-workflow":
            return "new-target"
        if created is not None:
            return Names(self._client, self._role("workflows")).target_of(created, named)
        return next(iter(self._actual.target_ids(named)), named)
