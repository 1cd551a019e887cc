"""The life of one upload: what has happened to it, and what its target lets happen next as time goes by."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .catalogue import Target
from .encryption import TAG_BYTES, Encryption
from .fields import show_instant
from .identity import Account

JOB_STATES = (
    "SCHEDULED",
    "UPLOADED",
    "TRANSFER_FAILED",
    "TRANSFERRED",
    "DUPLICATED",
    "DELETED",
    "WAITING_FOR_COLLECT",
    "COLLECTED",
)
APPROVAL_STATES = (
    "REQUIRED",
    "NOT_REQUIRED",
    "WAITING_APPROVAL",
    "APPROVED",
    "REJECTED",
    "CANCELLED",
    "EXPIRED",
)
WAITING = "WAITING_APPROVAL"
DECIDED = frozenset({"APPROVED", "REJECTED", "CANCELLED", "EXPIRED"})
AFTER_REFUSAL = frozenset({"DELETED", "TRANSFER_FAILED"})
"""The only states that a job still reaches when its approval was not given."""

TRANSFER_SECONDS = 0.5
REFERENCES = 6


@dataclass(frozen=True)
class Step:
    """A job or approval state that comes `after_seconds` after the step before it, or after the decision waited for.

    `task_id` is the id of the approval task from then on, so that somebody can know it beforehand.
    """

    after_seconds: float
    state: str
    approver: Account | None = None
    message: str | None = None
    task_id: str | None = None

    def __post_init__(self) -> None:
        if self.state not in JOB_STATES and self.state not in APPROVAL_STATES:
            raise ValueError(f"unknown state {self.state}")


Script = Sequence[Step]

TRANSFERRED_SOON: Script = (Step(0, "UPLOADED"), Step(TRANSFER_SECONDS, "TRANSFERRED"))
APPROVED_FIRST: Script = (Step(0, "UPLOADED"), Step(0, WAITING), Step(TRANSFER_SECONDS, "TRANSFERRED"))
CUT_SHORT: Script = (Step(0, "UPLOADED"), Step(0, "TRANSFER_FAILED"))


@dataclass
class Job:
    """An upload. `upload_id` names its chunked upload at the storage; None for a single one."""

    owner: Account
    target: Target
    file_name: str
    file_size: int
    created: datetime
    approval_state: str
    reference_id: str | None = None
    customer_references: tuple[str | None, ...] = (None,) * REFERENCES
    priority: str = "NORMAL"
    upload_id: str | None = None
    url_count: int = 1
    encryption: Encryption | None = None
    approver: Account | None = None
    message: str | None = None
    task_created: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self.events: list[tuple[datetime, str]] = [(self.created, "SCHEDULED")]
        self.content_complete = False
        self._pending: list[Step] = []
        self._since = self.created

    @property
    def key(self) -> str:
        """Where the content is stored."""
        return f"dwc-upload/{self.id}{self.file_name.replace('/', '_')}"

    @property
    def state(self) -> str:
        """The last job state reached."""
        return self.events[-1][1]

    @property
    def scheduled(self) -> bool:
        """Whether the content has still to come."""
        return not self.content_complete

    @property
    def downloadable(self) -> bool:
        """Whether the content is there."""
        return self.content_complete and self.state != "DELETED"

    def accepts_size(self, size: int) -> bool:
        """Whether content of this size is what was announced; an encrypted one may have its tag on top."""
        return size == self.file_size or (self.encryption is not None and size == self.file_size + TAG_BYTES)

    def start(self, script: Script, now: datetime) -> None:
        """The content is complete; from now on time moves the job along the script."""
        self._pending, self._since, self.content_complete = list(script), now, True
        self.advance(now)

    def advance(self, now: datetime) -> None:
        """Take every step that is due; a job that waits for a decision stays until it has one."""
        while self._pending and self._due(self._pending[0], now):
            step = self._pending.pop(0)
            self._since += timedelta(seconds=step.after_seconds)
            self._take(step)

    def _due(self, step: Step, now: datetime) -> bool:
        held = self.approval_state == WAITING and step.state not in DECIDED
        return not held and now >= self._since + timedelta(seconds=step.after_seconds)

    def _take(self, step: Step) -> None:
        if step.state in JOB_STATES:
            self.events.append((self._since, step.state))
            return
        self.approval_state = step.state
        self.task_created = self.task_created or step.state == WAITING
        self.task_id = step.task_id or self.task_id
        if step.state in DECIDED:
            self._note_decision(step.state, step.approver, step.message)

    def decide(self, state: str, approver: Account | None, message: str | None, now: datetime) -> None:
        """A decision from outside takes the place of the scripted one."""
        self.approval_state, self._since = state, now
        self._pending = [step for step in self._pending if step.state not in DECIDED]
        self._note_decision(state, approver, message)
        self.advance(now)

    def _note_decision(self, state: str, approver: Account | None, message: str | None) -> None:
        self.approver, self.message = approver, message
        if state != "APPROVED":
            self._pending = [step for step in self._pending if step.state in AFTER_REFUSAL]

    # --- as docxworld shows it ---

    def _common(self) -> dict[str, Any]:
        return {
            "processId": self.id,
            "created": show_instant(self.created),
            "targetId": self.target.id,
            "targetName": self.target.workflow.name,
            "targetAbbreviation": self.target.workflow.abbreviation,
            "referenceId": self.reference_id,
            "fileName": self.file_name,
            "approvalState": self.approval_state,
            "approvalCancelable": self.approval_state == WAITING,
            **self._approver(),
        }

    def _approver(self) -> dict[str, Any]:
        approver = self.approver
        return {
            "approverId": approver and approver.id,
            "approverName": approver and approver.name,
            "approverEmail": approver and approver.login,
        }

    def show(self, downloads: list[dict[str, Any]]) -> dict[str, Any]:
        """GET /v1/uploads/{id}: the whole history, and no job state."""
        references = {f"jobCustomerReference{n}": value for n, value in enumerate(self.customer_references, start=1)}
        return {
            **self._common(),
            **references,
            "fileSize": self.file_size,
            "events": [{"created": show_instant(at), "action": state} for at, state in self.events],
            "downloads": downloads,
            "userId": self.owner.id,
            "companyId": self.target.workflow.company_id,
            "customerContract": self.target.workflow.customer_contract,
            "customerNumber": self.target.workflow.customer_number,
            "idInSpooler": None,
        }

    def show_in_list(self, downloads: list[dict[str, Any]]) -> dict[str, Any]:
        """The upload as the list and the cancellation answer it."""
        return {
            **self._common(),
            "jobState": self.state,
            "expectedFileFormat": self.target.expected_file_format,
            "pdfValidationState": "NOT_REQUIRED",
            "downloads": downloads,
            "downloadable": self.downloadable,
            "hasApprovalTaskMessage": self.message is not None,
        }

    def show_task(self, downloads: list[dict[str, Any]]) -> dict[str, Any]:
        """The approval task of this upload."""
        return {
            "targetName": self.target.workflow.name,
            "targetId": self.target.id,
            "processId": self.id,
            "id": self.task_id,
            "uploadCreated": show_instant(self.created),
            "fileName": self.file_name,
            "approvalState": self.approval_state,
            "uploaderName": self.owner.name,
            "uploaderId": self.owner.id,
            "uploaderEmail": self.owner.login,
            **self._approver(),
            "message": self.message,
            "downloads": downloads,
        }
