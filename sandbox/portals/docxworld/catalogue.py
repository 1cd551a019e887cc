"""Where uploads can go: workflows, and the targets that stand for them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import RefusedError, denied, not_found
from .fields import Query, page_of
from .identity import COMPANY_ID, Account

WORKFLOW_FILTERS = (
    "freeSearch",
    "name",
    "customerContracts",
    "companyIds",
    "abbreviation",
    "approvalNeeded",
    "page",
    "size",
)
TARGET_FILTERS = ("customerContracts", "companyIds", "workflowIds", "page", "size", "sort")


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Workflow:
    """A workflow; `file_type` is PDF, RAW or None."""

    name: str
    abbreviation: str
    description: str = ""
    customer_contract: str | None = "customerContract-1-1"
    customer_number: str = "customerNumber-1"
    company_id: str = COMPANY_ID
    approval_needed: bool = False
    encryption_allowed: bool = True
    active: bool = True
    file_type: str | None = None
    escalation_email: str | None = None
    escalation_days: int = 0
    approvers_days: int = 0
    external_receiver: str | None = "https://external-receiver.example.com"
    version: int = 1
    id: str = field(default_factory=_new_id)

    def show(self) -> dict[str, Any]:
        """The workflow as docxworld answers it."""
        return {
            "id": self.id,
            "version": self.version,
            "companyId": self.company_id,
            "customerContract": self.customer_contract,
            "name": self.name,
            "abbreviation": self.abbreviation,
            "description": self.description,
            "approvalNeeded": self.approval_needed,
            "status": "ACTIVE" if self.active else "INACTIVE",
            "encryptionAllowed": self.encryption_allowed,
            "fileType": self.file_type,
            "escalationDeadlineNotificationEmail": self.escalation_email,
            "escalationNotificationDeadline": self.escalation_days,
            "approversNotificationDeadline": self.approvers_days,
            "externalReceiver": {"url": self.external_receiver} if self.external_receiver else None,
        }


@dataclass
class Target:
    """A target: what `targetId` of an upload names. Its name and abbreviation are those of its workflow."""

    workflow: Workflow
    type: str = "DEFAULT"
    id: str = field(default_factory=_new_id)

    def show(self) -> dict[str, Any]:
        """The target as docxworld answers it."""
        workflow = _without_version(self.workflow)
        return {"id": self.id, "version": None, "targetType": self.type, "workflow": workflow}

    @property
    def expected_file_format(self) -> str:
        """PDF or UNKNOWN."""
        return "PDF" if self.workflow.file_type == "PDF" else "UNKNOWN"


class Catalogue:
    """All targets with their workflows."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}

    def add(self, target: Target) -> Target:
        """Make a target known. ValueError when another workflow has its name or abbreviation (case is ignored)."""
        workflow = target.workflow
        if any(other.id != target.id for other in self.of_same_name(workflow.name, workflow.abbreviation)):
            raise ValueError("workflow with such name or abbreviation already exists")
        self.targets[target.id] = target
        return target

    def of_same_name(self, name: str, abbreviation: str) -> list[Target]:
        """The targets whose workflow has this name or abbreviation; case is ignored."""
        return [
            target
            for target in self.targets.values()
            if _same(target.workflow.name, name) or _same(target.workflow.abbreviation, abbreviation)
        ]

    def workflow_named(self, account: Account, workflow_id: str) -> Workflow:
        """The workflow of this id, as far as this account sees it; 404 when there is none."""
        for target in self._visible(account):
            if target.workflow.id == workflow_id:
                return target.workflow
        raise not_found("client.workflow_not_exists", "Workflow not exist", workflow_id)

    def named(self, account: Account, target_id: str, missing: RefusedError) -> Target:
        """The target of this id for this account; `missing` when there is none, 403 when it is not theirs."""
        target = self.targets.get(target_id)
        if target is None:
            raise missing
        if not account.may_use(target_id):
            raise denied(f"target {target_id}")
        return target

    def target(self, account: Account, target_id: str) -> dict[str, Any]:
        """GET /v1/targets/{id}."""
        return self.named(
            account, target_id, not_found("client.target_not_exists", "Target not exist", target_id)
        ).show()

    def workflow(self, account: Account, workflow_id: str) -> dict[str, Any]:
        """GET /v1/workflows/{id}."""
        return self.workflow_named(account, workflow_id).show()

    def list_targets(self, account: Account, query: Query) -> dict[str, Any]:
        """GET /v1/targets."""
        workflow_ids, matches = query.uuids("workflowIds"), _contract_and_company(query)
        found = [
            target
            for target in self._visible(account)
            if matches(target.workflow) and (not workflow_ids or target.workflow.id in workflow_ids)
        ]
        return page_of(query, found, {"workflow": lambda target: target.workflow.name}, Target.show)

    def list_workflows(self, account: Account, query: Query) -> dict[str, Any]:
        """GET /v1/workflows; the list leaves the version out."""
        matches, contract_and_company = _workflow_filter(query), _contract_and_company(query)
        found = [target.workflow for target in self._visible(account)]
        found = [workflow for workflow in found if matches(workflow) and contract_and_company(workflow)]
        return page_of(query, found, {}, _without_version)

    def _visible(self, account: Account) -> list[Target]:
        return [target for target in self.targets.values() if account.may_use(target.id)]


def _without_version(workflow: Workflow) -> Mapping[str, Any]:
    return {**workflow.show(), "version": None}


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def contains(needle: str | None, *texts: str | None) -> bool:
    """Whether a free search for `needle` finds one of these texts; case does not matter."""
    return not needle or any(needle.casefold() in (text or "").casefold() for text in texts)


class _Matches:
    """The filters by contract and company, which targets and workflows share."""

    def __init__(self, contracts: list[str], companies: list[str]) -> None:
        self.contracts, self.companies = contracts, companies

    def __call__(self, workflow: Workflow) -> bool:
        in_contract = not self.contracts or workflow.customer_contract in self.contracts
        return in_contract and (not self.companies or workflow.company_id in self.companies)


def _contract_and_company(query: Query) -> _Matches:
    return _Matches(query.many("customerContracts"), query.uuids("companyIds"))


class _WorkflowMatches:
    """The filters that only workflows have. Name and abbreviation are equal but for case."""

    def __init__(self, query: Query) -> None:
        self.free, self.name, self.abbreviation = (query.one(name) for name in ("freeSearch", "name", "abbreviation"))
        self.approval_needed = query.flag("approvalNeeded")

    def __call__(self, workflow: Workflow) -> bool:
        return (
            contains(self.free, workflow.name, workflow.abbreviation, workflow.description)
            and (self.name is None or _same(self.name, workflow.name))
            and (self.abbreviation is None or _same(self.abbreviation, workflow.abbreviation))
            and self.approval_needed in (None, workflow.approval_needed)
        )


def _workflow_filter(query: Query) -> _WorkflowMatches:
    return _WorkflowMatches(query)
