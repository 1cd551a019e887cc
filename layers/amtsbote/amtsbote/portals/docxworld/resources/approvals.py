"""Approval tasks (page, "Getting approval-tasks", "Approve approval-tasks")."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from amtsbote.portals.docxworld.models import ApprovalTask, Decision, Role, read
from amtsbote.portals.docxworld.resources.base import WHATEVER, Filter, Page, Paging, Resource, path, query_of


@dataclass(frozen=True)
class ApprovalFilter(Filter):
    """What the list of approval tasks can be narrowed to."""

    target_name: str | None = None
    process_ids: Sequence[str] = ()
    approval_states: Sequence[str] = ()
    free_search: str | None = None
    upload_start_period: datetime | None = None
    upload_end_period: datetime | None = None


@dataclass(frozen=True)
class Attachment:
    """The changed PDF that goes with a decision."""

    name: str
    content: bytes
    content_type: str = "application/pdf"


class Approvals(Resource):
    """The approval tasks that the account may see under a role."""

    def page(
        self,
        narrowed: ApprovalFilter = ApprovalFilter(),
        paging: Paging = WHATEVER,
        *,
        role: str = Role.CUSTOMER_APPROVER,
    ) -> Page[ApprovalTask]:
        """Return one page of approval tasks."""
        return self._page(path("approval-tasks"), role, query_of(narrowed, paging), partial(read, ApprovalTask))

    def all(
        self,
        narrowed: ApprovalFilter = ApprovalFilter(),
        *,
        sort: Sequence[str] = ("uploadCreated,ASC",),
        role: str = Role.CUSTOMER_APPROVER,
    ) -> Iterator[ApprovalTask]:
        """Yield all approval tasks, page by page."""
        return self._all(path("approval-tasks"), role, narrowed, sort, partial(read, ApprovalTask))

    def decide(
        self,
        task_id: str,
        decision: Decision,
        file: Attachment | None = None,
        *,
        role: str = Role.CUSTOMER_APPROVER,
    ) -> ApprovalTask:
        """Decide a task, with the changed PDF where there is one."""
        parts = [] if file is None else [_part("file", file.name, file.content, file.content_type)]
        words = json.dumps(decision.body(), ensure_ascii=False).encode()
        parts.append(_part("decision", "decision.json", words, "application/json"))
        body, content_type = encode_multipart_formdata(parts)
        where = path("approval-tasks", task_id, "decide")
        return self._ask(ApprovalTask, "POST", where, role, body=body, content_type=content_type)


def _part(name: str, file_name: str, content: bytes, content_type: str) -> RequestField:
    part = RequestField(name=name, data=content, filename=file_name)
    part.make_multipart(content_type=content_type)
    return part
