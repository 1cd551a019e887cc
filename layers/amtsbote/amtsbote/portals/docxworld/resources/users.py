"""Users, their roles and what these are restricted to (page, "User")."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from amtsbote.errors import Retry
from amtsbote.portals.docxworld.administration import Grants, SettingsOrder, User, UserOrder, UserWithSettings
from amtsbote.portals.docxworld.models import Role, Status, read
from amtsbote.portals.docxworld.resources.base import WHATEVER, Filter, Page, Paging, Resource, path, query_of

NO_ROLE = "ROLE_NO_ROLE"
"""In a filter: users that have no role."""

NO_COMPANY = "SYS_COMPANY"
"""In a filter: users that belong to no company."""


@dataclass(frozen=True)
class UserFilter(Filter):
    """What the list of users can be narrowed to."""

    free_search: str | None = None
    roles: Sequence[str] = ()
    company_ids: Sequence[str] = ()


class Users(Resource):
    """The users that the account may see under a role, and the account itself."""

    def create(self, order: UserOrder, *, role: str = Role.PF_ADMIN) -> User:
        """Register a user; the e-mail address must be new."""
        return self._ask(User, "POST", path("users"), role, json_body=order.body())

    def get(self, user_id: str, *, role: str = Role.PF_ADMIN) -> User:
        """Return one user."""
        return self._ask(User, "GET", path("users", user_id), role)

    def page(
        self, narrowed: UserFilter = UserFilter(), paging: Paging = WHATEVER, *, role: str = Role.PF_ADMIN
    ) -> Page[User]:
        """Return one page of users."""
        return self._page(path("users"), role, query_of(narrowed, paging), partial(read, User))

    def all(
        self,
        narrowed: UserFilter = UserFilter(),
        *,
        sort: Sequence[str] = ("email,ASC",),
        role: str = Role.PF_ADMIN,
    ) -> Iterator[User]:
        """Yield all users, page by page."""
        return self._all(path("users"), role, narrowed, sort, partial(read, User))

    def update(self, user_id: str, *, first_name: str, last_name: str, role: str = Role.PF_ADMIN) -> User:
        """Change a user's name."""
        return self._put(user_id, (), {"firstName": first_name, "lastName": last_name}, role)

    def set_state(self, user_id: str, status: Status, *, role: str = Role.PF_ADMIN) -> User:
        """Switch a user on or off."""
        return self._put(user_id, ("state",), {"status": status}, role)

    def assign_role(self, user_id: str, assigned: Role, *, role: str = Role.PF_ADMIN) -> User:
        """Give a user one more role."""
        return self._put(user_id, ("roles",), {"role": assigned}, role)

    def retract_role(self, user_id: str, retracted: Role, *, role: str = Role.PF_ADMIN) -> User:
        """Take a role away from a user."""
        return self._delete(user_id, "roles", {"role": retracted}, role)

    def assign_contracts(
        self, user_id: str, contracts: Sequence[str], *, target_role: Role, role: str = Role.PF_ADMIN
    ) -> User:
        """Add contracts to those that a user's role is restricted to."""
        order = {"customerContracts": list(contracts), "targetRole": target_role}
        return self._put(user_id, ("customer-contracts",), order, role)

    def remove_contracts(
        self, user_id: str, contracts: Sequence[str], *, target_role: Role, role: str = Role.PF_ADMIN
    ) -> User:
        """Remove contracts from those that a user's role is restricted to."""
        order = {"customerContracts": list(contracts), "targetRole": target_role}
        return self._delete(user_id, "customer-contracts", order, role)

    def assign_targets(
        self, user_id: str, targets: Sequence[str], *, target_role: Role, role: str = Role.PF_ADMIN
    ) -> User:
        """Add targets to those that a user's role is restricted to."""
        return self._put(user_id, ("targets",), {"targets": list(targets), "targetRole": target_role}, role)

    def remove_targets(
        self, user_id: str, targets: Sequence[str], *, target_role: Role, role: str = Role.PF_ADMIN
    ) -> User:
        """Remove targets from those that a user's role is restricted to."""
        return self._delete(user_id, "targets", {"targets": list(targets), "targetRole": target_role}, role)

    def reset_initial_password(self, user_id: str, *, role: str = Role.PF_ADMIN) -> User:
        """Send a user a new initial password; Reject where there is none to replace."""
        return self._put(user_id, ("reset-initial-password",), None, role)

    def grants(self, *, role: str | None = None) -> tuple[Grants, ...]:
        """Return what the account may do, per role; the page's example names no role here."""
        answered = self._send("GET", path("users", "grants"), role).json()
        return tuple(read(Grants, entry) for entry in _list(answered))

    def settings(self, *, role: str = Role.PF_ADMIN) -> UserWithSettings:
        """Return the account with its settings."""
        return self._ask(UserWithSettings, "GET", path("users", "me", "settings"), role)

    def update_settings(self, order: SettingsOrder, *, role: str = Role.PF_ADMIN) -> UserWithSettings:
        """Change one setting of the account."""
        where = path("users", "me", "settings") + "/"
        return self._ask(UserWithSettings, "PUT", where, role, json_body=order.body())

    def _put(self, user_id: str, what: Sequence[str], order: object, role: str) -> User:
        return self._ask(User, "PUT", path("users", user_id, *what), role, json_body=order)

    def _delete(self, user_id: str, what: str, order: object, role: str) -> User:
        return self._ask(User, "DELETE", path("users", user_id, what), role, json_body=order)


def _list(answered: object) -> list[object]:
    if not isinstance(answered, list):
        raise Retry("PORTAL_ANSWER_UNREADABLE", "docxworld's grants are no list")
    return answered
