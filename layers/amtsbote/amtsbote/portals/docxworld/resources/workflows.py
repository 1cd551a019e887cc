"""Workflows and targets (page, "Workflow", "Target")."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from amtsbote.portals.docxworld.models import Role, Status, Target, Workflow, WorkflowOrder, WorkflowSettings, read
from amtsbote.portals.docxworld.resources.base import WHATEVER, Filter, Page, Paging, Resource, path, query_of


@dataclass(frozen=True)
class WorkflowFilter(Filter):
    """What the list of workflows can be narrowed to."""

    free_search: str | None = None
    name: str | None = None
    customer_contracts: Sequence[str] = ()
    company_ids: Sequence[str] = ()
    abbreviation: str | None = None
    approval_needed: bool | None = None


@dataclass(frozen=True)
class TargetFilter(Filter):
    """What the list of targets can be narrowed to."""

    customer_contracts: Sequence[str] = ()
    company_ids: Sequence[str] = ()
    workflow_ids: Sequence[str] = ()


class Workflows(Resource):
    """The workflows that the account may see under a role."""

    def create(self, order: WorkflowOrder, *, role: str = Role.CUSTOMER_ADMIN) -> Workflow:
        """Register a workflow; its name and its abbreviation must be new, whatever their case."""
        return self._ask(Workflow, "POST", path("workflows"), role, json_body=order.body())

    def update(
        self,
        workflow_id: str,
        *,
        name: str,
        abbreviation: str,
        description: str | None = None,
        role: str = Role.CUSTOMER_ADMIN,
    ) -> None:
        """Change what a workflow is called."""
        order = {"name": name, "abbreviation": abbreviation, "description": description}
        self._send("PUT", path("workflows", workflow_id), role, json_body=order)

    def update_settings(self, workflow_id: str, settings: WorkflowSettings, *, role: str = Role.CUSTOMER_ADMIN) -> None:
        """Change how a workflow asks for approval."""
        self._send("PUT", path("workflows", workflow_id, "settings"), role, json_body=settings.body())

    def set_status(self, workflow_id: str, status: Status, *, role: str = Role.CUSTOMER_ADMIN) -> None:
        """Switch a workflow on or off."""
        self._send("PUT", path("workflows", workflow_id, "status"), role, json_body={"status": status})

    def get(self, workflow_id: str, *, role: str = Role.CUSTOMER_ADMIN) -> Workflow:
        """Return one workflow."""
        return self._ask(Workflow, "GET", path("workflows", workflow_id), role)

    def page(
        self,
        narrowed: WorkflowFilter = WorkflowFilter(),
        paging: Paging = WHATEVER,
        *,
        role: str = Role.CUSTOMER_ADMIN,
    ) -> Page[Workflow]:
        """Return one page of workflows."""
        return self._page(path("workflows"), role, query_of(narrowed, paging), partial(read, Workflow))

    def all(
        self, narrowed: WorkflowFilter = WorkflowFilter(), *, role: str = Role.CUSTOMER_ADMIN
    ) -> Iterator[Workflow]:
        """Yield all workflows, page by page."""
        return self._all(path("workflows"), role, narrowed, (), partial(read, Workflow))


class Targets(Resource):
    """The targets that the account may see under a role."""

    def get(self, target_id: str, *, role: str = Role.CUSTOMER_ADMIN) -> Target:
        """Return one target."""
        return self._ask(Target, "GET", path("targets", target_id), role)

    def page(
        self,
        narrowed: TargetFilter = TargetFilter(),
        paging: Paging = WHATEVER,
        *,
        role: str = Role.CUSTOMER_ADMIN,
    ) -> Page[Target]:
        """Return one page of targets."""
        return self._page(path("targets"), role, query_of(narrowed, paging), partial(read, Target))

    def all(self, narrowed: TargetFilter = TargetFilter(), *, role: str = Role.CUSTOMER_ADMIN) -> Iterator[Target]:
        """Yield all targets, page by page."""
        return self._all(path("targets"), role, narrowed, (), partial(read, Target))
