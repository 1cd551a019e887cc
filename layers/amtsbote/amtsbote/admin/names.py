"""Finding the portal's ids by the names that people use; an id stands for itself."""

from collections.abc import Iterable

from amtsbote.admin.actual import DEFAULT_TARGET, UUID, same
from amtsbote.errors import Reject
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.resources.companies import CompanyFilter
from amtsbote.portals.docxworld.resources.users import UserFilter
from amtsbote.portals.docxworld.resources.workflows import TargetFilter, WorkflowFilter


class Names:
    """The names that an account sees under a role."""

    def __init__(self, client: DocxworldClient, role: str) -> None:
        self._client = client
        self._role = role

    def user(self, named: str) -> str:
        """Return a user's id; an e-mail address is looked up."""
        if "@" not in named:
            return named
        found = self._client.users.all(UserFilter(free_search=named), role=self._role)
        return _only("user", named, [user.id for user in found if same(user.email, named)])

    def company(self, named: str) -> str:
        """Return a company's id; a name is looked up."""
        if UUID.fullmatch(named):
            return named
        found = self._client.companies.all(CompanyFilter(free_search=named), role=self._role)
        return _only("company", named, [company.id for company in found if same(company.name, named)])

    def workflow(self, named: str) -> str:
        """Return a workflow's id; an abbreviation is looked up."""
        if UUID.fullmatch(named):
            return named
        found = self._client.workflows.all(WorkflowFilter(abbreviation=named), role=self._role)
        return _only("workflow", named, [each.id for each in found if same(each.abbreviation, named)])

    def target(self, named: str) -> str:
        """Return a target's id; the abbreviation of its workflow is looked up."""
        return named if UUID.fullmatch(named) else self.target_of(self.workflow(named), named)

    def target_of(self, workflow_id: str, named: str) -> str:
        """Return the id of the target of a workflow, the default one where it has several."""
        found = list(self._client.targets.all(TargetFilter(workflow_ids=(workflow_id,)), role=self._role))
        default = [target for target in found if target.target_type in (None, DEFAULT_TARGET)]
        return _only("target", named, [target.id for target in default or found])

    def access(self, named: str) -> str:
        """Return a technical access's id; a name is looked up."""
        if UUID.fullmatch(named):
            return named
        found = self._client.technical_access.all(role=self._role)
        return _only("technical access", named, [access.id for access in found if access.name == named])


def _only(kind: str, named: str, ids: Iterable[str]) -> str:
    found = list(ids)
    if len(found) == 1:
        return found[0]
    said = f"there is no {kind} {named}" if not found else f"{named} names {len(found)} of kind {kind}"
    raise Reject("NAME_NOT_FOUND" if not found else "NAME_AMBIGUOUS", f"{said}; give the id")
