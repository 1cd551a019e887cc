"""What docxworld says in its administration: users, technical access, companies and their contracts.

A module of its own: the functions that carry documents do not load it.
"""

from pydantic import Field

from amtsbote.portals.docxworld.models import Instant, Model, Role, Status

# --- users -----------------------------------------------------------------------------------------------------------


class UserOrder(Model):
    """What a user is registered with (page, "Register new user request")."""

    email: str
    first_name: str | None = None
    last_name: str | None = None
    company_id: str | None = None
    status: Status | None = None


class ScopedContract(Model):
    """A contract that a role is restricted to."""

    number: str


class ScopedCustomer(Model):
    """A customer number that a role is restricted to, with the contracts of it."""

    number: str
    customer_contracts: tuple[ScopedContract, ...] | None = None


class User(Model):
    """A user with roles; the scopes say, per role, which contracts and targets it is restricted to."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    company_id: str | None = None
    company_name: str | None = None
    email: str | None = None
    status: str | None = None
    last_login: Instant | None = None
    roles: tuple[str, ...] | None = None
    scoped_customer_contracts: dict[str, tuple[ScopedCustomer, ...] | None] | None = None
    scoped_targets: dict[str, tuple[str, ...] | None] | None = None


class Grants(Model):
    """What one role of the current user may do, and within which companies and contracts."""

    role: str
    grants: tuple[dict[str, str], ...] | None = None
    companies: tuple[str, ...] | None = None
    contracts: tuple[str, ...] | None = None


class NotificationSetting(Model):
    """For which targets a user is notified: those that it may be, and those that were selected."""

    mode: str | None = None
    allowed_targets: tuple[str, ...] | None = None
    selected_targets: tuple[str, ...] | None = None


class UploaderSettings(Model):
    """What an uploader has set."""

    approval_success_notification: NotificationSetting | None = None


class Settings(Model):
    """What a user has set, by what the user is."""

    uploader: UploaderSettings | None = None


class UserWithSettings(User):
    """The current user with the settings."""

    settings: Settings | None = None


class SettingsOrder(Model):
    """One setting of the current user (page, "Update current user settings")."""

    type: str
    mode: str
    target_ids: tuple[str, ...]


# --- technical access ------------------------------------------------------------------------------------------------


class TechnicalAccessOrder(Model):
    """What a technical access is created from."""

    company_id: str
    name: str
    allowed_roles: tuple[Role, ...]


class TechnicalAccess(Model):
    """A login for machines. While `rotation_in_progress`, the old and the new secret are both valid."""

    id: str
    company_id: str | None = None
    company_name: str | None = None
    name: str | None = None
    status: str | None = None
    cognito_client_id: str | None = None
    allowed_roles: tuple[str, ...] | None = None
    created_by: str | None = None
    created_by_display: str | None = None
    created_at: Instant | None = None
    last_authenticated_at: Instant | None = None
    last_rotated_at: Instant | None = None
    rotation_in_progress: bool | None = None
    rotation_started_at: Instant | None = None
    disabled_at: Instant | None = None
    deleted_at: Instant | None = None


class OAuth(Model):
    """How to log in with a technical access; the secret is shown this once and never again."""

    client_id: str
    client_secret: str = Field(repr=False)
    issuer: str | None = None
    token_url: str
    grant_type: str | None = None
    token_endpoint_auth_method: str | None = None
    scope_separator: str | None = None
    supported_scopes: tuple[str, ...] | None = None


class TechnicalAccessWithSecret(Model):
    """A technical access and its new credentials."""

    technical_access: TechnicalAccess
    oauth: OAuth


# --- companies and contracts -----------------------------------------------------------------------------------------


class StateTransition(Model):
    """From `valid_from` on (now, where none is given), a customer number or contract is in `state`."""

    state: Status
    valid_from: Instant | None = None


class ContractOrder(Model):
    """A contract to be added."""

    number: str
    description: str | None = None
    states: tuple[StateTransition, ...] | None = None
    approvable: bool | None = None
    collectable: bool | None = None
    output_type: str | None = None
    file_type: str | None = None
    upload_type: str | None = None


class CustomerNumberOrder(Model):
    """A customer number to be added."""

    number: str
    states: tuple[StateTransition, ...] | None = None
    customer_contracts: tuple[ContractOrder, ...] | None = None


class CompanyOrder(Model):
    """What a company is registered with (page, "Register new company request")."""

    name: str
    technical_access_limit: int | None = None
    customer_numbers: tuple[CustomerNumberOrder, ...]


class StateSince(Model):
    """A state of a customer number or contract and the moment from which it holds."""

    state: str
    valid_from: Instant | None = None


class CustomerContract(Model):
    """A contract under which documents are sent."""

    number: str
    version: int | None = None
    description: str | None = None
    states: tuple[StateSince, ...] | None = None
    approvable: bool | None = None
    collectable: bool | None = None
    output_type: str | None = None
    file_type: str | None = None
    upload_type: str | None = None
    is_active: bool | None = None


class CustomerNumber(Model):
    """A customer number with its contracts."""

    number: str
    version: int | None = None
    states: tuple[StateSince, ...] | None = None
    customer_contracts: tuple[CustomerContract, ...] | None = None
    is_active: bool | None = None


class Company(Model):
    """A company with its customer numbers."""

    id: str
    version: int | None = None
    name: str | None = None
    technical_access_limit: int | None = None
    customer_numbers: tuple[CustomerNumber, ...] | None = None


class Dw24Contract(Model):
    """A contract of a DW24 company; the page gives its dates as plain text."""

    contract_number: str
    description: str | None = None
    name: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None


class Dw24Company(Model):
    """A company as DW24 knows it."""

    customer_number: str
    customer_name: str | None = None
    feedback_address: str | None = None
    contracts: tuple[Dw24Contract, ...] | None = None
