"""Companies, their customer numbers and contracts, and the administration of workflows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from sandbox.portals.server import Clock

from .api import Call, Rule, array, read_json
from .catalogue import Catalogue, Target, Workflow, contains
from .errors import RefusedError, denied, invalid, not_found, refused
from .fields import ITEMS, Body, page_of, show_instant
from .identity import COMPANY_ID
from .uploads import ADMINISTRATORS

OPERATORS = frozenset({"ROLE_PF_ADMIN", "ROLE_SYS_ADMIN"})
"""Who administers companies; the documentation shows ROLE_PF_ADMIN and names nobody who may not."""

STATES = ("ACTIVE", "INACTIVE")
OUTPUT_TYPES = ("DW24", "EXTERNAL_OUTPUT", "TRANSFER_TO_DOWNLOAD_SERVICE", "EMAIL_OUTPUT")
FILE_TYPES = ("PDF", "RAW")
UPLOAD_TYPES = ("JOB", "SINGLE")
LIMIT_AT_MOST = 100
DEADLINE_AT_MOST_DAYS = 30
LEEWAY = timedelta(seconds=60)  # how far in the past a state may begin; the page gives no figure
PAGED = ("page", "size", "sort")
CONTRACT_FILTERS = (
    "customerContracts",
    "customerNumbers",
    "companyIds",
    "uploadTypes",
    "fileTypes",
    "approvable",
    "collectable",
    "state",
    "expectedFileFormat",
    *PAGED,
)


def _milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass
class State:
    """From `valid_from` on, something is ACTIVE or INACTIVE."""

    state: str
    valid_from: datetime

    def show(self) -> dict[str, Any]:
        """The state as docxworld answers it."""
        return {"state": self.state, "validFrom": show_instant(self.valid_from)}


@dataclass
class Numbered:
    """A customer number or a contract."""

    number: str
    states: list[State] = field(default_factory=list)
    version: int = 0

    def active(self, now: datetime) -> bool:
        """Whether the state that began last is ACTIVE."""
        begun = [state for state in self.states if state.valid_from <= now]
        return bool(begun) and max(begun, key=lambda state: state.valid_from).state == "ACTIVE"

    def was_active(self, now: datetime) -> bool:
        """Whether it has ever been in use."""
        return any(state.state == "ACTIVE" and state.valid_from <= now for state in self.states)

    def add_states(self, added: Sequence[State]) -> None:
        """Add states; refused where one begins at a moment at which another does."""
        begins = [state.valid_from for state in [*self.states, *added]]
        if len(set(begins)) < len(begins):
            raise _refusal("transition_state_already_exists", "TransitionState already exists exception")
        self.states = sorted([*self.states, *added], key=lambda state: state.valid_from)
        self.version += 1

    def delete_states(self, begins: Sequence[datetime], now: datetime) -> None:
        """Delete states that have not begun."""
        if len(set(begins)) < len(begins):
            raise _refusal("instant_duplicate_in_request", "Request contains duplicate instants")
        if any(begin <= now for begin in begins):
            raise _refusal("instant_state_in_the_past", "States from the past cannot be deleted")
        if not set(begins) <= {state.valid_from for state in self.states}:
            raise invalid(f"{ITEMS}: no state begins then")
        self.states = [state for state in self.states if state.valid_from not in begins]
        self.version += 1


@dataclass
class Contract(Numbered):
    """A contract."""

    description: str | None = None
    approvable: bool = False
    collectable: bool = False
    output_type: str | None = "DW24"
    file_type: str | None = "PDF"
    upload_type: str | None = "JOB"

    def show(self, now: datetime, *, listed: bool = False) -> dict[str, Any]:
        """The contract as docxworld answers it; lists leave the version out."""
        return {
            "number": self.number,
            "version": None if listed else self.version,
            "description": self.description,
            "states": [state.show() for state in self.states],
            "approvable": self.approvable,
            "collectable": self.collectable,
            "outputType": self.output_type,
            "fileType": self.file_type,
            "uploadType": self.upload_type,
            "isActive": self.active(now),
        }


@dataclass
class CustomerNumber(Numbered):
    """A customer number with its contracts."""

    contracts: list[Contract] = field(default_factory=list)

    def show(self, now: datetime, *, listed: bool = False) -> dict[str, Any]:
        """The number as docxworld answers it; no contracts are null."""
        return {
            "number": self.number,
            "version": None if listed else self.version,
            "states": [state.show() for state in self.states],
            "customerContracts": [each.show(now, listed=listed) for each in self.contracts] or None,
            "isActive": self.active(now),
        }


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Company:
    """A company."""

    name: str
    numbers: list[CustomerNumber] = field(default_factory=list)
    limit: int = 0
    id: str = field(default_factory=_new_id)
    version: int = 0

    def show(self, now: datetime, *, listed: bool = False) -> dict[str, Any]:
        """The company as docxworld answers it."""
        return {
            "id": self.id,
            "version": None if listed else self.version,
            "name": self.name,
            "technicalAccessLimit": self.limit,
            "customerNumbers": [number.show(now, listed=listed) for number in self.numbers],
        }


class Companies:
    """All companies. One is there from the beginning: the one that accounts and workflows belong to by default."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        begun = State("ACTIVE", datetime.fromisoformat("2020-01-01T00:00:00Z"))
        contract = Contract("customerContract-1-1", [begun], approvable=True)
        number = CustomerNumber("customerNumber-1", [begun], contracts=[contract])
        self.companies = {COMPANY_ID: Company("Musterfirma GmbH", [number], limit=10, id=COMPANY_ID)}

    @property
    def now(self) -> datetime:
        """The portal's time, as exact as it tells it."""
        return _milliseconds(self.clock())

    def company(self, company_id: str) -> Company:
        """The company of this id; 404 when there is none."""
        if company_id not in self.companies:
            raise not_found("client.company_not_exists", "Company not exist", company_id)
        return self.companies[company_id]

    def contracts(self) -> Iterator[tuple[Company, CustomerNumber, Contract]]:
        """Every contract with what it belongs to."""
        for company in self.companies.values():
            for number in company.numbers:
                for contract in number.contracts:
                    yield company, number, contract

    # --- reading ---

    def list_companies(self, call: Call) -> dict[str, Any]:
        """GET /v1/companies; a customer's administrator sees the own company."""
        free = call.query.one("freeSearch")
        found = [each for each in self._visible(call) if contains(free, each.name, *(n.number for n in each.numbers))]
        return page_of(call.query, found, {}, lambda each: each.show(self.now, listed=True))

    def get(self, call: Call) -> dict[str, Any]:
        """GET /v1/companies/{id}."""
        company = self.company(call.id)
        if company not in self._visible(call):
            raise denied(f"company {call.id}")
        return company.show(self.now)

    def _visible(self, call: Call) -> list[Company]:
        all_of_them = list(self.companies.values())
        return all_of_them if call.role in OPERATORS else [c for c in all_of_them if c.id == call.account.company_id]

    def dw24(self, _: Call) -> list[dict[str, Any]]:
        """GET /v1/companies/dw24."""
        return [self._dw24(company, number) for company in self.companies.values() for number in company.numbers]

    def _dw24(self, company: Company, number: CustomerNumber) -> dict[str, Any]:
        contracts = [
            {
                "contractNumber": contract.number,
                "description": contract.description or "",
                "name": contract.number,
                "validFrom": "2020-09-14T13:56:01.314Z",
                "validTo": "2099-09-14T13:56:01.314Z",
            }
            for contract in number.contracts
        ]
        return {
            "customerNumber": number.number,
            "customerName": company.name,
            "feedbackAddress": "feedback@example.com",
            "contracts": contracts,
        }

    def list_contracts(self, call: Call) -> dict[str, Any]:
        """GET /v1/customer-contracts."""
        visible, now, query = self._visible(call), self.now, call.query
        matches = _contract_filter(call, now)
        found = [c for company, number, c in self.contracts() if company in visible and matches(company, number, c)]
        keys: dict[str, Callable[[Contract], Any]] = {
            "number": lambda c: c.number,
            "fileType": lambda c: c.file_type or "",
            "uploadType": lambda c: c.upload_type or "",
        }
        return page_of(query, found, keys, lambda c: c.show(now, listed=True))

    # --- changing ---

    def create(self, call: Call) -> dict[str, Any]:
        """POST /v1/companies."""
        body, name = call.body, call.body.required_text("name")
        limit = body.number("technicalAccessLimit", LIMIT_AT_MOST) or 0
        numbers = self._read_numbers(body.objects("customerNumbers") or [])
        body.close()
        if not numbers:
            raise invalid("customerNumbers: must not be empty")
        self._check_name(name)
        company = Company(name, numbers, limit)
        self.companies[company.id] = company
        return company.show(self.now)

    def _check_name(self, name: str, own: Company | None = None) -> None:
        if any(each is not own and each.name.casefold() == name.casefold() for each in self.companies.values()):
            raise _refusal("customer_already_exists", "Customer already exists")

    def rename(self, call: Call) -> None:
        """PUT /v1/companies/{id}."""
        company, name = self.company(call.id), call.body.required_text("name")
        call.body.close()
        self._check_name(name, company)
        company.name = name
        company.version += 1

    def set_limit(self, call: Call) -> None:
        """PUT /v1/companies/{id}/settings."""
        company, limit = self.company(call.id), call.body.required_number("technicalAccessLimit", LIMIT_AT_MOST)
        call.body.close()
        company.limit = limit
        company.version += 1

    def add_numbers(self, call: Call) -> None:
        """POST …/customer-numbers."""
        company = self.company(call.id)
        company.numbers += self._read_numbers(call.body.objects(ITEMS) or [])
        company.version += 1

    def add_contracts(self, call: Call) -> None:
        """POST …/customer-contracts."""
        number = self._number(call)
        number.contracts += self._read_contracts(call.body.objects(ITEMS) or [])
        number.version += 1

    def describe(self, call: Call) -> None:
        """PUT …/customer-contracts/{contract}."""
        contract, description = self._contract(call), call.body.text("description")
        call.body.close()
        contract.description = description
        contract.version += 1

    def add_states(self, call: Call) -> None:
        """POST …/states."""
        self._named(call).add_states(self._read_states(call.body.objects(ITEMS) or []))

    def delete_states(self, call: Call) -> None:
        """DELETE …/states."""
        self._named(call).delete_states(call.body.instants(), self.now)

    def delete(self, call: Call) -> None:
        """DELETE of a customer number or contract that has never been in use."""
        number, named = self._number(call), self._named(call)
        kind, siblings = ("Contract", number.contracts) if named is not number else ("Number", None)
        parts: list[Numbered] = [named, *(number.contracts if named is number else [])]
        if any(part.was_active(self.now) for part in parts):
            raise _refusal(f"customer_{kind.lower()}_cant_be_deleted", f"Customer{kind} can't be deleted")
        owner: list[Any] = siblings if siblings is not None else self.company(call.id).numbers
        owner.remove(named)

    # --- finding and reading parts ---

    def _named(self, call: Call) -> Numbered:
        return self._contract(call) if "contract" in call.request.match_info else self._number(call)

    def _number(self, call: Call) -> CustomerNumber:
        wanted = call.request.match_info["number"]
        for number in self.company(call.id).numbers:
            if number.number == wanted:
                return number
        raise not_found("client.customer_number_not_exists", "Customer number not exist", wanted)

    def _contract(self, call: Call) -> Contract:
        wanted = call.request.match_info["contract"]
        for contract in self._number(call).contracts:
            if contract.number == wanted:
                return contract
        raise not_found("client.customer_contract_not_exists", "Customer contract not exist", wanted)

    def _read_numbers(self, bodies: Sequence[Body]) -> list[CustomerNumber]:
        taken = [number.number for company in self.companies.values() for number in company.numbers]
        return [self._read_number(body, taken) for body in bodies]

    def _read_number(self, body: Body, taken: list[str]) -> CustomerNumber:
        number = _new_number(body, taken, "number")
        states = self._read_states(body.objects("states"))
        contracts = self._read_contracts(body.objects("customerContracts") or [])
        body.close()
        return CustomerNumber(number, states, contracts=contracts)

    def _read_contracts(self, bodies: Sequence[Body]) -> list[Contract]:
        taken = [contract.number for _, _, contract in self.contracts()]
        return [self._read_contract(body, taken) for body in bodies]

    def _read_contract(self, body: Body, taken: list[str]) -> Contract:
        contract = Contract(
            _new_number(body, taken, "contract"),
            self._read_states(body.objects("states")),
            description=body.text("description"),
            approvable=bool(body.flag("approvable")),
            collectable=bool(body.flag("collectable")),
            output_type=body.choice("outputType", OUTPUT_TYPES),
            file_type=body.choice("fileType", FILE_TYPES),
            upload_type=body.choice("uploadType", UPLOAD_TYPES),
        )
        body.close()
        return contract

    def _read_states(self, bodies: Sequence[Body] | None) -> list[State]:
        """The states in their order; none at all are INACTIVE from now on."""
        if not bodies:
            return [State("INACTIVE", self.now)]
        states = [self._read_state(body) for body in bodies]
        begun = Numbered("")
        begun.add_states(states)
        return begun.states

    def _read_state(self, body: Body) -> State:
        state, begins = body.required_choice("state", STATES), body.instant("validFrom")
        body.close()
        if begins is not None and begins < self.now - LEEWAY:
            raise invalid("validFrom: must be in the future or the present within leeway")
        return State(state, begins or self.now)


def _new_number(body: Body, taken: list[str], kind: str) -> str:
    number = body.required_text("number")
    if number.casefold() in {each.casefold() for each in taken}:
        raise _refusal(
            f"customer_{kind}_already_exists", f"Customer{kind.capitalize()} already exists exception", number
        )
    taken.append(number)
    return number


def _contract_filter(call: Call, now: datetime) -> Callable[[Company, CustomerNumber, Contract], bool]:
    query = call.query
    contracts, numbers, companies = (query.many(n) for n in ("customerContracts", "customerNumbers", "companyIds"))
    uploads, files = query.many("uploadTypes", UPLOAD_TYPES), query.many("fileTypes", FILE_TYPES)
    approvable, collectable, state = query.flag("approvable"), query.flag("collectable"), query.one("state")
    expected = query.one("expectedFileFormat")

    def matches(company: Company, number: CustomerNumber, contract: Contract) -> bool:
        listed = (
            (contracts, contract.number),
            (numbers, number.number),
            (companies, company.id),
            (uploads, contract.upload_type),
            (files, contract.file_type),
        )
        single = (
            (approvable, contract.approvable),
            (collectable, contract.collectable),
            (state, "ACTIVE" if contract.active(now) else "INACTIVE"),
            (expected, "PDF" if contract.file_type == "PDF" else "UNKNOWN"),
        )
        return all(not wanted or value in wanted for wanted, value in listed) and all(
            wanted in (None, value) for wanted, value in single
        )

    return matches


def _refusal(code: str, message: str, debug: str | None = None) -> RefusedError:
    return refused(f"client.{code}", message, debug)


# --- workflows -------------------------------------------------------------------------------------------------------

NAME_AT_MOST, ABBREVIATION_AT_MOST, DESCRIPTION_AT_MOST = 64, 16, 255


class Workflows:
    """The administration of workflows. A new workflow gets a target of its own: no call makes one."""

    def __init__(self, catalogue: Catalogue, companies: Companies) -> None:
        self.catalogue = catalogue
        self.companies = companies

    def create(self, call: Call) -> dict[str, Any]:
        """POST /v1/workflows."""
        body, name, abbreviation = call.body, *_names(call.body)
        company, number, contract = self._contract(body.required_text("customerContract"))
        workflow = Workflow(
            name,
            abbreviation,
            body.text("description", DESCRIPTION_AT_MOST) or "",
            contract.number,
            number.number,
            company.id,
            active=(body.choice("status", STATES) or "ACTIVE") == "ACTIVE",
            file_type=contract.file_type,
            external_receiver=_receiver(body),
        )
        self._set(workflow, body)
        body.close()
        self._check_names(workflow, name, abbreviation)
        self.catalogue.add(Target(workflow))
        return workflow.show()

    def update(self, call: Call) -> None:
        """PUT /v1/workflows/{id}."""
        workflow, (name, abbreviation) = self._workflow(call), _names(call.body)
        description = call.body.text("description", DESCRIPTION_AT_MOST)
        call.body.close()
        self._check_names(workflow, name, abbreviation)
        workflow.name, workflow.abbreviation, workflow.description = name, abbreviation, description or ""
        workflow.version += 1

    def update_settings(self, call: Call) -> None:
        """PUT /v1/workflows/{id}/settings."""
        workflow = self._workflow(call)
        self._set(workflow, call.body)
        call.body.close()
        workflow.version += 1

    def set_status(self, call: Call) -> None:
        """PUT /v1/workflows/{id}/status."""
        workflow, status = self._workflow(call), call.body.required_choice("status", STATES)
        call.body.close()
        workflow.active = status == "ACTIVE"
        workflow.version += 1

    def _workflow(self, call: Call) -> Workflow:
        return self.catalogue.workflow_named(call.account, call.id)

    def _set(self, workflow: Workflow, body: Body) -> None:
        needed = bool(body.flag("approvalNeeded"))
        email = body.email("escalationDeadlineNotificationEmail")
        escalation = body.number("escalationNotificationDeadline", DEADLINE_AT_MOST_DAYS) or 0
        approvers = body.number("approversNotificationDeadline", DEADLINE_AT_MOST_DAYS) or 0
        if escalation and not email:
            said = "Deadline notification email is required when deadline is set"
            raise _refusal("deadline_email_required", said)
        if needed and not self._approvable(workflow):
            raise _refusal("workflow_not_approvable", "Workflow is not approvable")
        workflow.approval_needed, workflow.escalation_email = needed, email
        workflow.escalation_days, workflow.approvers_days = escalation, approvers

    def _approvable(self, workflow: Workflow) -> bool:
        known = {contract.number: contract.approvable for _, _, contract in self.companies.contracts()}
        return known.get(workflow.customer_contract or "", True)

    def _contract(self, number: str) -> tuple[Company, CustomerNumber, Contract]:
        for found in self.companies.contracts():
            if found[2].number == number:
                return found
        raise not_found("client.customer_contract_not_exists", "Customer contract not exist", number)

    def _check_names(self, workflow: Workflow, name: str, abbreviation: str) -> None:
        if any(each.workflow is not workflow for each in self.catalogue.of_same_name(name, abbreviation)):
            said = "workflow with such name or abbreviation already exists"
            raise _refusal("workflow_already_exists", said)


def _names(body: Body) -> tuple[str, str]:
    name = body.required_text("name", NAME_AT_MOST)
    return name, body.required_text("abbreviation", ABBREVIATION_AT_MOST)


def _receiver(body: Body) -> str | None:
    receiver = body.object("externalReceiver")
    if receiver is None:
        return None
    url = receiver.text("url") or ""
    receiver.close()
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise _refusal("external_receiver_url_validation_error", "External receiver URL validation error")
    return url


# --- the calls -------------------------------------------------------------------------------------------------------

ONE = "/v1/companies/{id}"
NUMBERS = f"{ONE}/customer-numbers"
NUMBER = f"{NUMBERS}/{{number}}"
CONTRACTS = f"{NUMBER}/customer-contracts"
CONTRACT = f"{CONTRACTS}/{{contract}}"
CREATED, CHANGED = HTTPStatus.CREATED, HTTPStatus.NO_CONTENT


def company_rules(companies: Companies) -> list[Rule]:
    """Companies, customer numbers and contracts; where no answer is shown, there is none."""
    states = [
        rule
        for place in (NUMBER, CONTRACT)
        for rule in (
            Rule("POST", f"{place}/states", companies.add_states, OPERATORS, array, status=CHANGED),
            Rule("DELETE", f"{place}/states", companies.delete_states, OPERATORS, array, status=CHANGED),
            Rule("DELETE", place, companies.delete, OPERATORS, status=CHANGED),
        )
    ]
    return [
        Rule("GET", "/v1/companies/dw24", companies.dw24, OPERATORS),
        Rule(
            "GET",
            "/v1/companies",
            companies.list_companies,
            ADMINISTRATORS,
            parameters=("freeSearch", "page", "size"),
        ),
        Rule("POST", "/v1/companies", companies.create, OPERATORS, read_json, status=CREATED),
        Rule("GET", ONE, companies.get, ADMINISTRATORS),
        Rule("PUT", ONE, companies.rename, OPERATORS, read_json, status=CHANGED),
        Rule("PUT", f"{ONE}/settings", companies.set_limit, OPERATORS, read_json, status=CHANGED),
        Rule("POST", NUMBERS, companies.add_numbers, OPERATORS, array, status=CHANGED),
        Rule("POST", CONTRACTS, companies.add_contracts, OPERATORS, array, status=CHANGED),
        Rule("PUT", CONTRACT, companies.describe, OPERATORS, read_json, status=CHANGED),
        Rule("GET", "/v1/customer-contracts", companies.list_contracts, ADMINISTRATORS, parameters=CONTRACT_FILTERS),
        *states,
    ]


def workflow_rules(workflows: Workflows) -> list[Rule]:
    """The changing of workflows."""
    one = "/v1/workflows/{id}"
    return [
        Rule("POST", "/v1/workflows", workflows.create, ADMINISTRATORS, read_json, status=CREATED),
        Rule("PUT", one, workflows.update, ADMINISTRATORS, read_json, status=CHANGED),
        Rule("PUT", f"{one}/settings", workflows.update_settings, ADMINISTRATORS, read_json, status=CHANGED),
        Rule("PUT", f"{one}/status", workflows.set_status, ADMINISTRATORS, read_json, status=CHANGED),
    ]
