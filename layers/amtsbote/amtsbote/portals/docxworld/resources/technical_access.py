"""Technical access: logins for machines, and the staged rotation of their secrets (page, "Technical Access")."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from amtsbote.portals.docxworld.administration import (
    TechnicalAccess,
    TechnicalAccessOrder,
    TechnicalAccessWithSecret,
)
from amtsbote.portals.docxworld.models import Role, Status, read
from amtsbote.portals.docxworld.resources.base import WHATEVER, Filter, Page, Paging, Resource, path, query_of

FORM = "application/x-www-form-urlencoded"  # the page's content type of the two calls that have no body


@dataclass(frozen=True)
class TechnicalAccessFilter(Filter):
    """What the list of technical accesses can be narrowed to; deleted ones are never in it."""

    company_ids: Sequence[str] = ()


class TechnicalAccesses(Resource):
    """The technical accesses that the account may see under a role."""

    def create(self, order: TechnicalAccessOrder, *, role: str = Role.CUSTOMER_ADMIN) -> TechnicalAccessWithSecret:
        """Create a technical access; its secret is in this answer and nowhere else."""
        where = path("technical-access")
        return self._ask(TechnicalAccessWithSecret, "POST", where, role, json_body=order.body())

    def page(
        self,
        narrowed: TechnicalAccessFilter = TechnicalAccessFilter(),
        paging: Paging = WHATEVER,
        *,
        role: str = Role.CUSTOMER_ADMIN,
    ) -> Page[TechnicalAccess]:
        """Return one page of technical accesses."""
        return self._page(path("technical-access"), role, query_of(narrowed, paging), partial(read, TechnicalAccess))

    def all(
        self,
        narrowed: TechnicalAccessFilter = TechnicalAccessFilter(),
        *,
        sort: Sequence[str] = ("createdAt,ASC",),
        role: str = Role.CUSTOMER_ADMIN,
    ) -> Iterator[TechnicalAccess]:
        """Yield all technical accesses, page by page."""
        return self._all(path("technical-access"), role, narrowed, sort, partial(read, TechnicalAccess))

    def get(self, access_id: str, *, role: str = Role.CUSTOMER_ADMIN) -> TechnicalAccess:
        """Return one technical access; the page describes this call without an example."""
        return self._ask(TechnicalAccess, "GET", path("technical-access", access_id), role)

    def set_state(self, access_id: str, status: Status, *, role: str = Role.CUSTOMER_ADMIN) -> TechnicalAccess:
        """Switch a technical access on or off."""
        where = path("technical-access", access_id, "state")
        return self._ask(TechnicalAccess, "PUT", where, role, json_body={"status": status})

    def delete(self, access_id: str, *, role: str = Role.CUSTOMER_ADMIN) -> TechnicalAccess:
        """Delete a technical access for good; it leaves the list."""
        return self._ask(TechnicalAccess, "DELETE", path("technical-access", access_id), role)

    def start_rotation(self, access_id: str, *, role: str = Role.CUSTOMER_ADMIN) -> TechnicalAccessWithSecret:
        """Make a second secret; it is in this answer and nowhere else, and the first one stays valid."""
        return read(TechnicalAccessWithSecret, self.begin_rotation(access_id, role=role))

    def begin_rotation(self, access_id: str, *, role: str = Role.CUSTOMER_ADMIN) -> Any:
        """As `start_rotation`, with the answer as it came: nothing that is wrong with it may lose the secret in it."""
        where = path("technical-access", access_id, "rotate-secret")
        return self._send("POST", where, role, content_type=FORM).json()

    def complete_rotation(self, access_id: str, *, role: str = Role.CUSTOMER_ADMIN) -> TechnicalAccess:
        """Make the first secret invalid."""
        where = path("technical-access", access_id, "rotate-secret", "complete")
        return self._ask(TechnicalAccess, "POST", where, role, content_type=FORM)
