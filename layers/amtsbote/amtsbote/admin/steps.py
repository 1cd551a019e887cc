"""The steps by which docxworld's administration is changed, as values: what is named, is named as people name it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from amtsbote.portals.docxworld.administration import (
    CompanyOrder,
    ContractOrder,
    CustomerNumberOrder,
    StateTransition,
)
from amtsbote.portals.docxworld.models import Role, Status, WorkflowOrder, WorkflowSettings, instant_text


@dataclass(frozen=True)
class Step:
    """One call, or one small group of calls that belong together."""

    def __str__(self) -> str:
        """Return the step as a sentence without a full stop."""
        raise NotImplementedError


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


# --- companies -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CreateCompany(Step):
    """Register a company with all its numbers and contracts: one call."""

    order: CompanyOrder

    def __str__(self) -> str:
        return f"create company {self.order.name} with {_numbers(self.order.customer_numbers)}"


@dataclass(frozen=True)
class RenameCompany(Step):
    """Change how a company's name is written."""

    company: str
    name: str

    def __str__(self) -> str:
        return f"rename company {self.company} to {self.name}"


@dataclass(frozen=True)
class SetAccessLimit(Step):
    """Set how many technical accesses a company may have."""

    company: str
    limit: int

    def __str__(self) -> str:
        return f"allow company {self.company} {self.limit} technical accesses"


@dataclass(frozen=True)
class AddNumbers(Step):
    """Add customer numbers with their contracts."""

    company: str
    orders: tuple[CustomerNumberOrder, ...]

    def __str__(self) -> str:
        return f"add {_numbers(self.orders)} to company {self.company}"


@dataclass(frozen=True)
class AddContracts(Step):
    """Add contracts to a customer number."""

    company: str
    number: str
    orders: tuple[ContractOrder, ...]

    def __str__(self) -> str:
        return f"add contract {_names([order.number for order in self.orders])} to customer number {self.number}"


@dataclass(frozen=True)
class _OfNumber(Step):
    company: str
    number: str
    contract: str | None

    @property
    def place(self) -> str:
        """Return the customer number or contract, as people name it."""
        return f"contract {self.contract}" if self.contract else f"customer number {self.number}"


@dataclass(frozen=True)
class Describe(_OfNumber):
    """Change a contract's description."""

    description: str

    def __str__(self) -> str:
        return f"describe {self.place} as: {self.description}"


@dataclass(frozen=True)
class AddStates(_OfNumber):
    """Add states to a customer number or contract."""

    states: tuple[StateTransition, ...]

    def __str__(self) -> str:
        return f"make {self.place} {_names([_state(state) for state in self.states])}"


@dataclass(frozen=True)
class DeleteStates(_OfNumber):
    """Delete states that have not begun."""

    begins: tuple[datetime, ...]

    def __str__(self) -> str:
        return f"delete the states of {self.place} from {_names([instant_text(begin) for begin in self.begins])}"


def _numbers(orders: Sequence[CustomerNumberOrder]) -> str:
    numbers = [f"customer number {order.number}{_contracts(order.customer_contracts)}" for order in orders]
    return _names(numbers)


def _contracts(orders: Sequence[ContractOrder] | None) -> str:
    return f" (contract {_names([order.number for order in orders])})" if orders else ""


def _state(state: StateTransition) -> str:
    return f"{state.state} from {instant_text(state.valid_from) if state.valid_from else 'now'}"


# --- workflows -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CreateWorkflow(Step):
    """Register a workflow."""

    order: WorkflowOrder

    def __str__(self) -> str:
        return (
            f"create workflow {self.order.abbreviation} ({self.order.name}) on contract {self.order.customer_contract}"
        )


@dataclass(frozen=True)
class UpdateWorkflow(Step):
    """Change what a workflow is called."""

    workflow: str
    abbreviation: str
    name: str
    description: str | None

    def __str__(self) -> str:
        return f"call workflow {self.workflow} {self.abbreviation} ({self.name}): {self.description or ''}".rstrip(": ")


@dataclass(frozen=True)
class UpdateWorkflowSettings(Step):
    """Change how a workflow asks for approval."""

    workflow: str
    settings: WorkflowSettings

    def __str__(self) -> str:
        said = ", ".join(f"{name} {value}" for name, value in self.settings.body().items())
        return f"set the approval of workflow {self.workflow}: {said}"


@dataclass(frozen=True)
class SetWorkflowStatus(Step):
    """Switch a workflow on or off."""

    workflow: str
    status: Status

    def __str__(self) -> str:
        return f"set workflow {self.workflow} {self.status}"


# --- technical accesses ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OfAccess(Step):
    company: str
    name: str

    @property
    def access(self) -> str:
        """Return the technical access, as people name it."""
        return f"technical access {self.name} of {self.company}"


@dataclass(frozen=True)
class CreateAccess(_OfAccess):
    """Create a technical access and hand its secret over."""

    roles: tuple[Role, ...]
    secret: str | None = field(default=None)

    def __str__(self) -> str:
        kept = f", its login kept in the secret {self.secret}" if self.secret else ""
        return f"create {self.access} for {_names(self.roles)}{kept}"


@dataclass(frozen=True)
class RenewSecret(_OfAccess):
    """Make a new client secret, keep it, and end the old one. `rotating`: an earlier rotation has to be ended first."""

    secret: str
    rotating: bool

    def __str__(self) -> str:
        return f"renew the client secret of {self.access}, because the secret {self.secret} does not hold its login"


@dataclass(frozen=True)
class SetAccessStatus(_OfAccess):
    """Switch a technical access on or off."""

    status: Status

    def __str__(self) -> str:
        return f"set {self.access} {self.status}"


@dataclass(frozen=True)
class DeleteAccess(_OfAccess):
    """Delete a technical access for good."""

    def __str__(self) -> str:
        return f"delete {self.access}"


# --- users -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _OfUser(Step):
    email: str


@dataclass(frozen=True)
class CreateUser(_OfUser):
    """Register a user."""

    first_name: str | None
    last_name: str | None
    company: str | None
    status: Status | None

    def __str__(self) -> str:
        return f"create user {self.email}" + (f" of {self.company}" if self.company else "")


@dataclass(frozen=True)
class UpdateUser(_OfUser):
    """Change a user's name."""

    first_name: str
    last_name: str

    def __str__(self) -> str:
        return f"name user {self.email} {self.first_name} {self.last_name}".rstrip()


@dataclass(frozen=True)
class SetUserStatus(_OfUser):
    """Switch a user on or off."""

    status: Status

    def __str__(self) -> str:
        return f"set user {self.email} {self.status}"


@dataclass(frozen=True)
class _OfRole(_OfUser):
    role: Role


@dataclass(frozen=True)
class AssignRole(_OfRole):
    """Give a user one more role."""

    def __str__(self) -> str:
        return f"give user {self.email} {self.role}"


@dataclass(frozen=True)
class RetractRole(_OfRole):
    """Take a role away from a user."""

    def __str__(self) -> str:
        return f"take {self.role} from user {self.email}"


@dataclass(frozen=True)
class _OfScope(_OfRole):
    names: tuple[str, ...]


@dataclass(frozen=True)
class AssignContracts(_OfScope):
    """Add contracts to those that a role is restricted to."""

    def __str__(self) -> str:
        return f"add contract {_names(self.names)} to {self.role} of user {self.email}"


@dataclass(frozen=True)
class RemoveContracts(_OfScope):
    """Remove contracts from those that a role is restricted to."""

    def __str__(self) -> str:
        return f"remove contract {_names(self.names)} from {self.role} of user {self.email}"


@dataclass(frozen=True)
class AssignTargets(_OfScope):
    """Add targets to those that a role is restricted to."""

    def __str__(self) -> str:
        return f"add target {_names(self.names)} to {self.role} of user {self.email}"


@dataclass(frozen=True)
class RemoveTargets(_OfScope):
    """Remove targets from those that a role is restricted to."""

    def __str__(self) -> str:
        return f"remove target {_names(self.names)} from {self.role} of user {self.email}"


@dataclass(frozen=True)
class SetNotification(Step):
    """Change for which targets the account itself is told of an approval."""

    mode: str
    targets: tuple[str, ...]

    def __str__(self) -> str:
        return f"tell this account of approvals: {self.mode} {_names(self.targets)}".rstrip()
