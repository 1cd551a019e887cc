"""Companies, their customer numbers and contracts (page, "Company", "Contract").

Where the page shows no answer to a call, the call returns nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from amtsbote.errors import Retry
from amtsbote.http import PortalHttp
from amtsbote.portals.docxworld.administration import (
    Company,
    CompanyOrder,
    ContractOrder,
    CustomerContract,
    CustomerNumberOrder,
    Dw24Company,
    StateTransition,
)
from amtsbote.portals.docxworld.models import Role, instant_text, read
from amtsbote.portals.docxworld.resources.base import WHATEVER, Filter, Page, Paging, Resource, path, query_of


@dataclass(frozen=True)
class CompanyFilter(Filter):
    """What the list of companies can be narrowed to."""

    free_search: str | None = None


@dataclass(frozen=True)
class ContractFilter(Filter):
    """What the list of contracts can be narrowed to."""

    customer_contracts: Sequence[str] = ()
    customer_numbers: Sequence[str] = ()
    company_ids: Sequence[str] = ()
    upload_types: Sequence[str] = ()
    file_types: Sequence[str] = ()
    approvable: bool | None = None
    collectable: bool | None = None
    state: str | None = None
    expected_file_format: str | None = None


class Companies(Resource):
    """The companies that the account may see under a role."""

    def get(self, company_id: str, *, role: str = Role.PF_ADMIN) -> Company:
        """Return one company."""
        return self._ask(Company, "GET", path("companies", company_id), role)

    def page(
        self, narrowed: CompanyFilter = CompanyFilter(), paging: Paging = WHATEVER, *, role: str = Role.PF_ADMIN
    ) -> Page[Company]:
        """Return one page of companies."""
        return self._page(path("companies"), role, query_of(narrowed, paging), partial(read, Company))

    def all(self, narrowed: CompanyFilter = CompanyFilter(), *, role: str = Role.PF_ADMIN) -> Iterator[Company]:
        """Yield all companies, page by page."""
        return self._all(path("companies"), role, narrowed, (), partial(read, Company))

    def create(self, order: CompanyOrder, *, role: str = Role.PF_ADMIN) -> Company:
        """Register a company; its name and numbers must be new, whatever their case."""
        return self._ask(Company, "POST", path("companies"), role, json_body=order.body())

    def rename(self, company_id: str, name: str, *, role: str = Role.PF_ADMIN) -> None:
        """Change a company's name."""
        self._send("PUT", path("companies", company_id), role, json_body={"name": name})

    def set_technical_access_limit(self, company_id: str, limit: int, *, role: str = Role.PF_ADMIN) -> None:
        """Set how many technical accesses a company may have, 0 to 100."""
        where = path("companies", company_id, "settings")
        self._send("PUT", where, role, json_body={"technicalAccessLimit": limit})

    def dw24(self, *, role: str = Role.PF_ADMIN) -> tuple[Dw24Company, ...]:
        """Return the companies as DW24 knows them."""
        answered = self._send("GET", path("companies", "dw24"), role).json()
        if not isinstance(answered, list):
            raise Retry("PORTAL_ANSWER_UNREADABLE", "docxworld's DW24 companies are no list")
        return tuple(read(Dw24Company, entry) for entry in answered)

    def customer(self, company_id: str, number: str) -> "Customer":
        """Return one customer number of a company, to work on."""
        return Customer(self._http, company_id, number)

    def add_customer_numbers(
        self, company_id: str, numbers: Sequence[CustomerNumberOrder], *, role: str = Role.PF_ADMIN
    ) -> None:
        """Add customer numbers to a company."""
        where = path("companies", company_id, "customer-numbers")
        self._send("POST", where, role, json_body=[number.body() for number in numbers])


class _Numbered(Resource):
    """A customer number or a contract: it has states and can be deleted."""

    _segments: tuple[str, ...]

    def delete(self, *, role: str = Role.PF_ADMIN) -> None:
        """Delete it; Reject where it has been in use."""
        self._send("DELETE", path(*self._segments), role)

    def add_states(self, states: Sequence[StateTransition], *, role: str = Role.PF_ADMIN) -> None:
        """Add states that begin now or in the future."""
        where = path(*self._segments, "states")
        self._send("POST", where, role, json_body=[state.body() for state in states])

    def delete_states(self, begins: Sequence[datetime], *, role: str = Role.PF_ADMIN) -> None:
        """Delete the states that begin at these moments in the future."""
        where = path(*self._segments, "states")
        self._send("DELETE", where, role, json_body=[instant_text(begin) for begin in begins])


class Customer(_Numbered):
    """One customer number of a company."""

    def __init__(self, http: PortalHttp, company_id: str, number: str) -> None:
        super().__init__(http)
        self._segments = ("companies", company_id, "customer-numbers", number)

    def add_contracts(self, contracts: Sequence[ContractOrder], *, role: str = Role.PF_ADMIN) -> None:
        """Add contracts to the customer number."""
        where = path(*self._segments, "customer-contracts")
        self._send("POST", where, role, json_body=[contract.body() for contract in contracts])

    def contract(self, number: str) -> "Contract":
        """Return one contract of the customer number, to work on."""
        return Contract(self._http, (*self._segments, "customer-contracts", number))


class Contract(_Numbered):
    """One contract of a customer number."""

    def __init__(self, http: PortalHttp, segments: tuple[str, ...]) -> None:
        super().__init__(http)
        self._segments = segments

    def describe(self, description: str, *, role: str = Role.PF_ADMIN) -> None:
        """Change the contract's description."""
        self._send("PUT", path(*self._segments), role, json_body={"description": description})


class Contracts(Resource):
    """The contracts that the account may see under a role."""

    def page(
        self,
        narrowed: ContractFilter = ContractFilter(),
        paging: Paging = WHATEVER,
        *,
        role: str = Role.CUSTOMER_ADMIN,
    ) -> Page[CustomerContract]:
        """Return one page of contracts."""
        where = path("customer-contracts")
        return self._page(where, role, query_of(narrowed, paging), partial(read, CustomerContract))

    def all(
        self,
        narrowed: ContractFilter = ContractFilter(),
        *,
        sort: Sequence[str] = (),
        role: str = Role.CUSTOMER_ADMIN,
    ) -> Iterator[CustomerContract]:
        """Yield all contracts, page by page."""
        return self._all(path("customer-contracts"), role, narrowed, sort, partial(read, CustomerContract))
