"""What docxworld's administration looks like now, as a value, and finding things in it by their natural names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from amtsbote.portals.docxworld.administration import (
    Company,
    CustomerContract,
    CustomerNumber,
    NotificationSetting,
    TechnicalAccess,
    User,
)
from amtsbote.portals.docxworld.models import Status, Target, Workflow

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
DEFAULT_TARGET = "DEFAULT"

Numbered = CustomerNumber | CustomerContract


@dataclass(frozen=True)
class Actual:
    """The administration as far as an account sees it and as far as it was looked at.

    `own_id` is the account's own user id. `held` are the secrets that a file names and that exist: the client id of
    the login that each keeps, None where it keeps no login of a technical access.
    """

    companies: tuple[Company, ...] = ()
    workflows: tuple[Workflow, ...] = ()
    targets: tuple[Target, ...] = ()
    accesses: tuple[TechnicalAccess, ...] = ()
    users: tuple[User, ...] = ()
    own_id: str | None = None
    notification: NotificationSetting | None = None
    held: Mapping[str, str | None] = field(default_factory=dict)

    def company(self, named: str) -> Company | None:
        """Return the company of this name or id."""
        return next((each for each in self.companies if named == each.id or same(each.name, named)), None)

    def company_id(self, named: str) -> str | None:
        """Return a company's id; an id stands for itself, also where the account sees no companies."""
        found = self.company(named)
        return found.id if found else named if UUID.fullmatch(named) else None

    def numbers(self) -> Iterator[tuple[Company, CustomerNumber]]:
        """Yield every customer number with its company."""
        return ((company, number) for company in self.companies for number in company.customer_numbers or ())

    def contracts(self) -> Iterator[tuple[CustomerNumber, CustomerContract]]:
        """Yield every contract with its customer number."""
        return ((number, contract) for _, number in self.numbers() for contract in number.customer_contracts or ())

    def workflow(self, abbreviation: str) -> Workflow | None:
        """Return the workflow of this abbreviation."""
        return next((each for each in self.workflows if same(each.abbreviation, abbreviation)), None)

    def user(self, email: str) -> User | None:
        """Return the user with this e-mail address."""
        return next((each for each in self.users if same(each.email, email)), None)

    def accesses_named(self, company_id: str, name: str) -> list[TechnicalAccess]:
        """Return the technical accesses of this name; docxworld does not keep them apart."""
        return [each for each in self.accesses if each.company_id == company_id and each.name == name]

    def target_ids(self, named: str) -> list[str]:
        """Return the ids of the targets that a UUID or a workflow's abbreviation stands for: one, where it is clear."""
        if UUID.fullmatch(named):
            return [target.id for target in self.targets if same(target.id, named)]
        found = [each for each in self.targets if each.workflow and same(each.workflow.abbreviation, named)]
        default = [target for target in found if target.target_type in (None, DEFAULT_TARGET)]
        return [target.id for target in default or found]


def same(one: str | None, other: str | None) -> bool:
    """Return whether docxworld takes two names for one: it does not tell upper from lower case."""
    return one is not None and other is not None and one.casefold() == other.casefold()


def status_of(numbered: Numbered, now: datetime) -> Status:
    """Return the present status: what docxworld says, before what follows from the states."""
    if numbered.is_active is not None:
        return Status.ACTIVE if numbered.is_active else Status.INACTIVE
    begun = [state for state in numbered.states or () if state.valid_from and state.valid_from <= now]
    last = max(begun, key=lambda state: state.valid_from or now, default=None)
    return Status.ACTIVE if last and last.state == Status.ACTIVE else Status.INACTIVE


def later_states(numbered: Numbered, now: datetime) -> dict[datetime, str]:
    """Return the states that have not begun, by the moment at which they begin."""
    states = numbered.states or ()
    return {each.valid_from: each.state for each in states if each.valid_from and each.valid_from > now}


def contracts_of(user: User, role: str) -> list[str]:
    """Return the contracts that a user's role is restricted to."""
    customers = (user.scoped_customer_contracts or {}).get(role) or ()
    return [contract.number for customer in customers for contract in customer.customer_contracts or ()]


def targets_of(user: User, role: str) -> Sequence[str]:
    """Return the ids of the targets that a user's role is restricted to."""
    return (user.scoped_targets or {}).get(role) or ()
