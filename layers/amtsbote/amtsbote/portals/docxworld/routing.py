"""From the target in an outbox key to the target's id: a UUID as it is, a workflow's abbreviation looked up.

No error repeats the abbreviation: it is whatever somebody made a part of a key, and errors are logged. The receipt
stands beside its key.
"""

import re
from datetime import datetime, timedelta
from typing import TypeVar

from amtsbote.errors import Misconfigured, Reject
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.models import Status, Target, Workflow
from amtsbote.portals.docxworld.resources.workflows import TargetFilter, WorkflowFilter

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
REMEMBERED = timedelta(minutes=5)
REMEMBERED_TARGETS = 500
DEFAULT_TYPE = "DEFAULT"

Found = TypeVar("Found", Workflow, Target)


class TargetBook:
    """Targets by abbreviation, remembered for five minutes in the memory of the process."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[str, datetime]] = {}

    def find(self, account: str, target: str, client: DocxworldClient, role: str, now: datetime) -> str:
        """Return the target's id; Reject where it leads to no target in use."""
        if UUID.fullmatch(target):
            return target
        key = (account, target.casefold())
        known, until = self._known.get(key, ("", now))
        if until <= now:
            known = look_up(target, client, role)
            self._remember(key, known, now + REMEMBERED)
        return known

    def _remember(self, key: tuple[str, str], target_id: str, until: datetime) -> None:
        if len(self._known) >= REMEMBERED_TARGETS:
            self._known.clear()
        self._known[key] = (target_id, until)


def look_up(abbreviation: str, client: DocxworldClient, role: str) -> str:
    """Ask docxworld for the target of the workflow with this abbreviation, whatever its case."""
    try:
        workflow = _workflow(abbreviation, client, role)
        targets = list(client.targets.all(TargetFilter(workflow_ids=(workflow.id,)), role=role))
    except Misconfigured as error:
        if error.code != "ACCESS_DENIED":
            raise
        mend = "use the target's UUID in the key, or give the role the right to read workflows and targets"
        said = f"{role} may not look up the abbreviation that the key names; {mend}"
        raise Reject("TARGET_NOT_READABLE", said, portal_words=error.portal_words) from None
    return _target(workflow, targets)


def _workflow(abbreviation: str, client: DocxworldClient, role: str) -> Workflow:
    listed = client.workflows.all(WorkflowFilter(abbreviation=abbreviation), role=role)
    matching = [one for one in listed if (one.abbreviation or "").casefold() == abbreviation.casefold()]
    if not matching:
        mend = "use an abbreviation that docxworld lists, or the target's UUID"
        raise Reject("TARGET_UNKNOWN", f"no workflow has the abbreviation that the key names; {mend}")
    active = [one for one in matching if one.status == Status.ACTIVE]
    if not active:
        mend = "have it activated at docxworld, or name another"
        raise Reject("TARGET_INACTIVE", f"the workflow that the key names is not active; {mend}")
    return _only(active)


def _target(workflow: Workflow, listed: list[Target]) -> str:
    """Return the id of the workflow's one target; of several, the one of the default type counts."""
    own = [target for target in listed if target.workflow is None or target.workflow.id == workflow.id]
    if not own:
        mend = "have one made at docxworld, or name another"
        raise Reject("TARGET_UNKNOWN", f"the workflow that the key names has no target for this account; {mend}")
    return _only([target for target in own if target.target_type == DEFAULT_TYPE] or own).id


def _only(found: list[Found]) -> Found:
    if len(found) > 1:
        said = f"the abbreviation in the key leads to {len(found)} targets; use the target's UUID there"
        raise Reject("TARGET_AMBIGUOUS", said)
    return found[0]
