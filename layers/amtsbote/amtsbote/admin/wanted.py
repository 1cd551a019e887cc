"""The declarative file: what docxworld's administration should look like, by natural names (TOML).

What a file does not mention is left as it is. A list that is not there at all is never pruned.
"""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.models import Role, Status

SCHEMA = "amtsbote.docxworld/1"
LIMIT_AT_MOST = 100  # technical accesses of a company
DEADLINE_AT_MOST_DAYS = 30
NAME_AT_MOST, ABBREVIATION_AT_MOST, DESCRIPTION_AT_MOST = 64, 16, 255  # of a workflow
COMPLAINTS_AT_MOST = 8

CONTRACT_ROLES = frozenset({Role.PF_ADMIN, Role.CUSTOMER_ADMIN})
TARGET_ROLES = frozenset(
    {
        Role.CUSTOMER_UPLOADER,
        Role.CUSTOMER_DOWNLOADER_RESULTS,
        Role.CUSTOMER_DOWNLOADER_REPORTS,
        Role.CUSTOMER_APPROVER,
    }
)


def role_named(text: str) -> Role:
    """Return a role by its name at docxworld or the short one: `customer-uploader` is ROLE_CUSTOMER_UPLOADER."""
    name = text.upper().replace("-", "_")
    return Role(name if name.startswith("ROLE_") else f"ROLE_{name}")


def _role(value: object) -> object:
    return role_named(value) if isinstance(value, str) else value


def _moment(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("needs an offset, such as Z")
    return value.astimezone(UTC).replace(microsecond=value.microsecond // 1000 * 1000)  # as exact as docxworld tells it


AnyRole = Annotated[Role, BeforeValidator(_role)]
Moment = Annotated[datetime, AfterValidator(_moment)]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]


class Part(BaseModel):
    """A part of the file: names in kebab-case, unknown ones are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )


class WantedState(Part):
    """From a moment on, ACTIVE or INACTIVE."""

    state: Status
    begins: Moment = Field(alias="from")


class _Numbered(Part):
    number: Name
    status: Status | None = None
    states: tuple[WantedState, ...] | None = None

    @model_validator(mode="after")
    def _one_state_at_a_time(self) -> "_Numbered":
        begins = [state.begins for state in self.states or ()]
        if len(set(begins)) < len(begins):
            raise ValueError("two states begin at the same moment")
        return self

    def status_at(self, now: datetime) -> Status | None:
        """Return the wanted status: that of the listed state that has begun last, before all else `status`."""
        begun = [state for state in self.states or () if state.begins <= now]
        return max(begun, key=lambda state: state.begins).state if begun else self.status


class WantedContract(_Numbered):
    """A contract. What its uploads are like cannot be changed at docxworld once it is there."""

    description: str | None = None
    approvable: bool | None = None
    collectable: bool | None = None
    output_type: str | None = None
    file_type: str | None = None
    upload_type: str | None = None


class WantedNumber(_Numbered):
    """A customer number with its contracts."""

    contracts: tuple[WantedContract, ...] | None = None


class WantedCompany(Part):
    """A company. A new one needs a customer number."""

    name: Name
    technical_access_limit: int | None = Field(default=None, ge=0, le=LIMIT_AT_MOST)
    customer_numbers: tuple[WantedNumber, ...] | None = None


class WantedWorkflow(Part):
    """A workflow, known by its abbreviation; its target comes with it."""

    abbreviation: str = Field(min_length=1, max_length=ABBREVIATION_AT_MOST)
    name: str = Field(min_length=1, max_length=NAME_AT_MOST)
    contract: Name
    description: str | None = Field(default=None, max_length=DESCRIPTION_AT_MOST)
    approval_needed: bool | None = None
    escalation_email: str | None = None
    escalation_days: int | None = Field(default=None, ge=0, le=DEADLINE_AT_MOST_DAYS)
    approvers_days: int | None = Field(default=None, ge=0, le=DEADLINE_AT_MOST_DAYS)
    status: Status | None = None
    external_receiver: str | None = None


class WantedRole(Part):
    """What a role of a user is restricted to: contract numbers, or targets by workflow abbreviation or UUID."""

    contracts: tuple[Name, ...] | None = None
    targets: tuple[Name, ...] | None = None


class WantedUser(Part):
    """A user, known by the e-mail address."""

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    status: Status | None = None
    roles: dict[AnyRole, WantedRole] | None = None

    @model_validator(mode="after")
    def _restricted_as_docxworld_allows(self) -> "WantedUser":
        for role, scope in (self.roles or {}).items():
            if scope.contracts and role not in CONTRACT_ROLES:
                raise ValueError(f"{role} cannot be restricted to contracts")
            if scope.targets and role not in TARGET_ROLES:
                raise ValueError(f"{role} cannot be restricted to targets")
        return self


class WantedAccess(Part):
    """A technical access, known by company and name. `secret` names the Secrets Manager secret that keeps its login."""

    name: Name
    company: Name
    roles: tuple[AnyRole, ...] = Field(min_length=1)
    status: Status | None = None
    secret: str | None = Field(default=None, pattern=r"^[A-Za-z0-9/_+=.@-]{1,512}$")


class WantedNotification(Part):
    """For which targets the account itself is told of an approval."""

    mode: Name
    targets: tuple[Name, ...] = ()


class WantedSettings(Part):
    """The settings of the account itself."""

    approval_success_notification: WantedNotification | None = None


class Acting(Part):
    """In which of the account's roles each part is administered; without one, in the role of the secret."""

    companies: AnyRole | None = None
    workflows: AnyRole | None = None
    technical_access: AnyRole | None = None
    users: AnyRole | None = None
    settings: AnyRole | None = None


class Wanted(Part):
    """The whole file."""

    schema_name: Literal["amtsbote.docxworld/1"] = Field(alias="schema")
    acting: Acting = Acting()
    companies: tuple[WantedCompany, ...] | None = None
    workflows: tuple[WantedWorkflow, ...] | None = None
    technical_access: tuple[WantedAccess, ...] | None = None
    users: tuple[WantedUser, ...] | None = None
    settings: WantedSettings | None = None

    @model_validator(mode="after")
    def _everything_once(self) -> "Wanted":
        numbers = [number for company in self.companies or () for number in company.customer_numbers or ()]
        contracts = [contract for number in numbers for contract in number.contracts or ()]
        _require_distinct("company", [company.name for company in self.companies or ()])
        _require_distinct("customer number", [number.number for number in numbers])
        _require_distinct("contract", [contract.number for contract in contracts])
        _require_distinct("workflow abbreviation", [workflow.abbreviation for workflow in self.workflows or ()])
        _require_distinct("workflow name", [workflow.name for workflow in self.workflows or ()])
        _require_distinct("user", [user.email for user in self.users or ()])
        accesses = self.technical_access or ()
        _require_distinct("technical access", [f"{access.name} of {access.company}" for access in accesses])
        _require_distinct("secret", [access.secret for access in accesses if access.secret])
        return self


def _require_distinct(kind: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"the {kind} {name} is listed twice; docxworld does not tell upper from lower case")
        seen.add(name.casefold())


def read_wanted(path: Path) -> Wanted:
    """Return a file's content; Reject, naming the place of each mistake, when it is none."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Reject("FILE_UNREADABLE", f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Reject("FILE_NO_TOML", f"{path} is no TOML: {error}") from None
    return wanted_of(content, str(path))


def wanted_of(content: dict[str, object], where: str) -> Wanted:
    """Return a parsed file as its model; Reject, naming the place of each mistake, when it is none."""
    try:
        return Wanted.model_validate(content)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}"
            for one in error.errors()[:COMPLAINTS_AT_MOST]
        )
        raise Reject("FILE_INVALID", f"{where}: {said}") from None
