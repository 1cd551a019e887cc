"""Users with their roles and settings, and the life of technical accesses."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.portals.server import Clock

from .api import Call, Rule, read_json
from .catalogue import Catalogue, contains
from .companies import STATES, Companies
from .errors import RefusedError, denied, invalid, not_found, refused
from .fields import page_of, show_instant
from .identity import ROLES, Account, Identities
from .rotation import Rotations
from .uploads import ADMINISTRATORS

NO_ROLE, NO_COMPANY = "ROLE_NO_ROLE", "SYS_COMPANY"
CONTRACT_ROLES = ("ROLE_PF_ADMIN", "ROLE_CUSTOMER_ADMIN")
TARGET_ROLES = (
    "ROLE_CUSTOMER_UPLOADER",
    "ROLE_CUSTOMER_DOWNLOADER_RESULTS",
    "ROLE_CUSTOMER_DOWNLOADER_REPORTS",
    "ROLE_CUSTOMER_APPROVER",
)
UPLOADER, APPROVER = "ROLE_CUSTOMER_UPLOADER", "ROLE_CUSTOMER_APPROVER"
USER_FILTERS = ("freeSearch", "roles", "companyIds", "page", "size", "sort")
ACCESS_FILTERS = ("companyIds", "page", "size", "sort")
NOTIFICATION, MODES = "UPLOADER_APPROVAL_SUCCESS_NOTIFICATION", ("ALL_ASSIGNED", "SELECTED", "NONE")


@dataclass
class User:
    """What the administration knows of an account that is a person's."""

    account: Account
    first_name: str | None = None
    last_name: str | None = None
    company_id: str | None = None
    status: str = "ACTIVE"
    contracts: dict[str, set[str]] = field(default_factory=dict)
    targets: dict[str, set[str]] = field(default_factory=dict)
    mode: str = "ALL_ASSIGNED"
    selected: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, account: Account) -> User:
        """A user who was there before the administration looked."""
        first, _, last = account.name.partition(" ")
        return cls(account, first, last, account.company_id)


class Users:
    """All users: every account that is no technical access."""

    def __init__(self, identities: Identities, companies: Companies, catalogue: Catalogue) -> None:
        self.identities = identities
        self.companies = companies
        self.catalogue = catalogue
        self._known: dict[str, User] = {}

    def all(self) -> list[User]:
        """All users, in the order in which they came."""
        accounts = [each for each in self.identities.accounts.values() if not each.technical]
        return [self._known.setdefault(account.id, User.of(account)) for account in accounts]

    def by_email(self, email: str) -> User:
        """The user with this login. KeyError when there is none."""
        found = {user.account.login.casefold(): user for user in self.all()}
        return found[email.casefold()]

    def _user(self, call: Call) -> User:
        for user in self._visible(call):
            if user.account.id == call.id:
                return user
        raise not_found("client.user_not_exists", "User not exists exception", call.id)

    def _own(self, call: Call) -> User:
        return next(user for user in self.all() if user.account is call.account)

    def _visible(self, call: Call) -> list[User]:
        if call.role != "ROLE_CUSTOMER_ADMIN":
            return self.all()
        return [user for user in self.all() if user.company_id == call.account.company_id]

    def show(self, user: User) -> dict[str, Any]:
        """A user as docxworld answers it."""
        company = self.companies.companies.get(user.company_id or "")
        return {
            "id": user.account.id,
            "firstName": user.first_name,
            "lastName": user.last_name,
            "companyId": user.company_id,
            "companyName": company.name if company else None,
            "email": user.account.login,
            "status": user.status,
            "lastLogin": None,
            "roles": sorted(user.account.roles),
            "scopedCustomerContracts": {role: self._scope(numbers) for role, numbers in user.contracts.items()},
            "scopedTargets": {role: sorted(ids) for role, ids in user.targets.items()},
        }

    def _scope(self, contracts: set[str]) -> list[dict[str, Any]]:
        """The contracts by the customer number that each belongs to."""
        scope: dict[str, list[dict[str, str]]] = {}
        for _, number, contract in self.companies.contracts():
            if contract.number in contracts:
                scope.setdefault(number.number, []).append({"number": contract.number})
        return [{"number": number, "customerContracts": found} for number, found in scope.items()]

    # --- the calls ---

    def create(self, call: Call) -> dict[str, Any]:
        """POST /v1/users: a user without roles, who gets an initial password by mail."""
        body, email = call.body, call.body.email("email")
        first, last, company_id = body.text("firstName"), body.text("lastName"), body.text("companyId")
        status = body.choice("status", STATES) or "ACTIVE"
        body.close()
        if not email:
            raise invalid("email: must not be blank")
        if company_id is not None and company_id not in self.companies.companies:
            raise not_found("client.company_not_exists", "Company not exists exception", company_id)
        if any(each.casefold() == email.casefold() for each in self.identities.accounts):
            raise refused("client.user_already_exists", "User already exists exception")
        account = Account(email, {secrets.token_urlsafe()}, set(), targets=set(), must_change_password=True)
        account.name, account.company_id = f"{first or ''} {last or ''}".strip(), company_id or NO_COMPANY
        self.identities.add(account)
        self._known[account.id] = user = User(account, first, last, company_id, status)
        return self.show(user)

    def get(self, call: Call) -> dict[str, Any]:
        """GET /v1/users/{id}."""
        return self.show(self._user(call))

    def list_users(self, call: Call) -> dict[str, Any]:
        """GET /v1/users."""
        query = call.query
        roles, companies = query.many("roles", (*sorted(ROLES), NO_ROLE)), query.many("companyIds")
        free = query.one("freeSearch")
        found = [
            user
            for user in self._visible(call)
            if contains(free, user.last_name, user.first_name, user.account.login)
            and (not companies or (user.company_id or NO_COMPANY) in companies)
            and (not roles or (user.account.roles or {NO_ROLE}) & set(roles))
        ]
        return page_of(query, found, {"email": lambda u: u.account.login, "status": lambda u: u.status}, self.show)

    def update(self, call: Call) -> dict[str, Any]:
        """PUT /v1/users/{id}."""
        user = self._user(call)
        user.first_name, user.last_name = call.body.text("firstName"), call.body.text("lastName")
        call.body.close()
        return self.show(user)

    def set_state(self, call: Call) -> dict[str, Any]:
        """PUT …/state."""
        user = self._user(call)
        user.status = call.body.required_choice("status", STATES)
        call.body.close()
        return self.show(user)

    def assign_role(self, call: Call) -> dict[str, Any]:
        """PUT …/roles; a role that is there already stays."""
        user, role = self._user(call), call.body.required_choice("role", sorted(ROLES))
        call.body.close()
        user.account.roles.add(role)
        return self.show(user)

    def retract_role(self, call: Call) -> dict[str, Any]:
        """DELETE …/roles; what the role was restricted to goes with it."""
        user, role = self._user(call), call.body.required_choice("role", sorted(ROLES))
        call.body.close()
        _check_role(user, role)
        user.account.roles.remove(role)
        user.contracts.pop(role, None)
        user.targets.pop(role, None)
        return self.show(user)

    def change_contracts(self, call: Call) -> dict[str, Any]:
        """PUT and DELETE …/customer-contracts."""
        user, role = self._user(call), call.body.required_choice("targetRole", CONTRACT_ROLES)
        numbers = set(call.body.texts("customerContracts"))
        call.body.close()
        _check_role(user, role)
        known = {contract.number for _, _, contract in self.companies.contracts()}
        if not numbers <= known:
            raise refused("client.invalid_parameter_exception", "Invalid parameter exception.", "customerContracts")
        of_role = user.contracts.setdefault(role, set())
        _change(call, of_role, numbers)
        return self.show(user)

    def change_targets(self, call: Call) -> dict[str, Any]:
        """PUT and DELETE …/targets."""
        user, role = self._user(call), call.body.required_choice("targetRole", TARGET_ROLES)
        ids = set(call.body.uuids("targets"))
        call.body.close()
        if not ids:
            raise invalid("targets: must not be empty")
        _check_role(user, role)
        of_role = user.targets.setdefault(role, set())
        self._check_targets(call, role, ids, of_role)
        _change(call, of_role, ids)
        if user.account.targets is not None:
            user.account.targets = set().union(*user.targets.values())
        return self.show(user)

    def _check_targets(self, call: Call, role: str, ids: set[str], of_role: set[str]) -> None:
        if call.request.method == "DELETE":
            if not ids <= of_role:
                raise refused("client.targets_not_assigned", "Targets are not assigned")
            return
        known = self.catalogue.targets
        if not ids <= set(known):
            raise refused("client.invalid_parameter_exception", "Invalid parameter exception.", "targets")
        if role == APPROVER and not all(known[id_].workflow.approval_needed for id_ in ids):
            raise refused("client.targets_not_approvable", "Targets are not approvable")

    def reset_password(self, call: Call) -> dict[str, Any]:
        """PUT …/reset-initial-password, while the initial one has not been replaced."""
        user = self._user(call)
        if not user.account.must_change_password:
            raise refused("client.initial_password_reset_not_allowed", "Initial password reset not allowed.")
        user.account.secrets = {secrets.token_urlsafe()}
        return self.show(user)

    def grants(self, call: Call) -> list[dict[str, Any]]:
        """GET /v1/users/grants."""
        user = self._own(call)
        companies = [user.company_id or NO_COMPANY]
        return [
            {
                "role": role,
                "grants": [{"action": "user:updateState"}, {"action": "role:addUser", "target": role}],
                "companies": [".*"] if role == "ROLE_PF_ADMIN" else companies,
                "contracts": sorted(user.contracts[role]) if role in user.contracts else None,
            }
            for role in sorted(user.account.roles)
        ]

    def settings(self, call: Call) -> dict[str, Any]:
        """GET /v1/users/me/settings."""
        user = self._own(call)
        allowed = sorted(user.targets.get(UPLOADER, set()))
        selected = allowed if user.mode == "ALL_ASSIGNED" else user.selected if user.mode == "SELECTED" else []
        setting = {"mode": user.mode, "allowedTargets": allowed, "selectedTargets": selected}
        return {**self.show(user), "settings": {"uploader": {"approvalSuccessNotification": setting}}}

    def update_settings(self, call: Call) -> dict[str, Any]:
        """PUT /v1/users/me/settings/."""
        user, body = self._own(call), call.body
        body.required_choice("type", (NOTIFICATION,))
        mode, selected = body.required_choice("mode", MODES), body.uuids("targetIds")
        body.close()
        if not set(selected) <= user.targets.get(UPLOADER, set()):
            raise refused("client.targets_not_assigned", "Targets are not assigned")
        user.mode, user.selected = mode, selected
        return self.settings(call)


def _check_role(user: User, role: str) -> None:
    if role not in user.account.roles:
        raise refused("client.role_not_assigned", "User has not assigned requested role", role)


def _change(call: Call, held: set[str], named: set[str]) -> None:
    if call.request.method == "DELETE":
        held.difference_update(named)
    else:
        held.update(named)


# --- technical accesses ----------------------------------------------------------------------------------------------


@dataclass
class Life:
    """What the administration knows of a technical access beside its login."""

    created_by: str = "creator@example.com"
    created_at: datetime | None = None
    status: str = "ACTIVE"
    disabled_at: datetime | None = None
    deleted_at: datetime | None = None
    kept_secrets: set[str] = field(default_factory=set)


class Accesses:
    """The technical accesses. A deleted one is no account any more."""

    def __init__(self, clock: Clock, identities: Identities, companies: Companies, rotations: Rotations) -> None:
        self.clock = clock
        self.identities = identities
        self.companies = companies
        self.rotations = rotations
        self._lives: dict[str, Life] = {}
        rotations.more = self._more

    def _life(self, account: Account) -> Life:
        return self._lives.setdefault(account.id, Life())

    def _more(self, account: Account) -> dict[str, Any]:
        life, company = self._life(account), self.companies.companies.get(account.company_id)
        return {
            "companyName": company.name if company else None,
            "status": life.status,
            "createdBy": life.created_by,
            "createdByDisplay": life.created_by,
            "createdAt": show_instant(life.created_at) or "2024-01-10T10:15:30Z",
            "disabledAt": show_instant(life.disabled_at),
            "deletedAt": show_instant(life.deleted_at),
        }

    def all(self) -> list[Account]:
        """All technical accesses that are not deleted."""
        return [account for account in self.identities.accounts.values() if account.technical]

    def create(self, call: Call) -> dict[str, Any]:
        """POST /v1/technical-access."""
        body, company_id = call.body, call.body.required_uuid("companyId")
        name, roles = body.required_text("name"), body.required_choices("allowedRoles", sorted(ROLES))
        body.close()
        self._check(call, company_id, roles)
        secret = secrets.token_urlsafe(24)
        account = Account(f"client-{uuid.uuid4().hex[:12]}", {secret}, set(roles), technical=True, name=name)
        account.company_id = company_id
        self.identities.add(account)
        self._lives[account.id] = Life(call.account.login, self.clock())
        return self.rotations.with_secret(account, secret)

    def _check(self, call: Call, company_id: str, roles: Iterable[str]) -> None:
        company = self.companies.companies.get(company_id)
        if company is None:
            raise not_found("client.company_not_exists", "Company not exists exception", company_id)
        if call.role == "ROLE_CUSTOMER_ADMIN" and call.account.company_id != company_id:
            raise denied(f"company {company_id}")
        if not set(roles) <= set(TARGET_ROLES):
            raise _refusal("role_not_supported", "role not supported")
        if sum(each.company_id == company_id for each in self.all()) >= company.limit:
            raise _refusal("limit_exceeded", "limit exceeded")

    def list_accesses(self, call: Call) -> dict[str, Any]:
        """GET /v1/technical-access."""
        companies = call.query.many("companyIds")
        own = call.role == "ROLE_CUSTOMER_ADMIN"
        found = [
            account
            for account in self.all()
            if (not companies or account.company_id in companies)
            and (not own or account.company_id == call.account.company_id)
        ]
        keys = {
            name: lambda each, name=name: self.rotations.show(each)[name] for name in ("name", "status", "createdAt")
        }
        return page_of(call.query, found, keys, self.rotations.show)

    def set_state(self, call: Call) -> dict[str, Any]:
        """PUT …/state: while it is INACTIVE, no secret is good."""
        account, status = self.rotations.visible(call), call.body.text("status")
        call.body.close()
        if status is None:
            raise invalid("status: must not be null")
        if status not in STATES:
            raise _refusal("status_not_supported", "status not supported")
        life = self._life(account)
        if status != life.status:
            life.status, life.disabled_at = status, None if status == "ACTIVE" else self.clock()
            life.kept_secrets, account.secrets = account.secrets, life.kept_secrets
        return self.rotations.show(account)

    def delete(self, call: Call) -> dict[str, Any]:
        """DELETE …: the client is gone, and its entry leaves the list."""
        account = self.rotations.visible(call)
        life = self._life(account)
        life.status, life.deleted_at = "DELETED", self.clock()
        del self.identities.accounts[account.login]
        return self.rotations.show(account)


def _refusal(code: str, message: str) -> RefusedError:
    return refused(f"client.technical_access_{code}", f"Technical access {message}")


# --- the calls -------------------------------------------------------------------------------------------------------


def user_rules(users: Users) -> list[Rule]:
    """Users; the two calls about oneself come before the ones that name an id."""
    one, me = "/v1/users/{id}", "/v1/users/me/settings"
    changes = [
        Rule(method, f"{one}/{what}", handle, ADMINISTRATORS, read_json)
        for method, what, handle in (
            ("PUT", "state", users.set_state),
            ("PUT", "roles", users.assign_role),
            ("DELETE", "roles", users.retract_role),
            ("PUT", "customer-contracts", users.change_contracts),
            ("DELETE", "customer-contracts", users.change_contracts),
            ("PUT", "targets", users.change_targets),
            ("DELETE", "targets", users.change_targets),
        )
    ]
    return [
        Rule("GET", "/v1/users/grants", users.grants, ROLES, role_optional=True),
        Rule("GET", me, users.settings, ROLES),
        Rule("PUT", f"{me}/", users.update_settings, ROLES, read_json),
        Rule("POST", "/v1/users", users.create, ADMINISTRATORS, read_json),
        Rule("GET", "/v1/users", users.list_users, ADMINISTRATORS, parameters=USER_FILTERS),
        Rule("GET", one, users.get, ADMINISTRATORS),
        Rule("PUT", one, users.update, ADMINISTRATORS, read_json),
        Rule("PUT", f"{one}/reset-initial-password", users.reset_password, ADMINISTRATORS),
        *changes,
    ]


def access_rules(accesses: Accesses) -> list[Rule]:
    """Technical accesses but for their rotation."""
    one = "/v1/technical-access/{id}"
    return [
        Rule("POST", "/v1/technical-access", accesses.create, ADMINISTRATORS, read_json),
        Rule("GET", "/v1/technical-access", accesses.list_accesses, ADMINISTRATORS, parameters=ACCESS_FILTERS),
        Rule("PUT", f"{one}/state", accesses.set_state, ADMINISTRATORS, read_json),
        Rule("DELETE", one, accesses.delete, ADMINISTRATORS),
    ]
