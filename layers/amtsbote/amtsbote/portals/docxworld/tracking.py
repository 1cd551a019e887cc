"""What became of an upload: from docxworld's steps and approval to a Delivery. No I/O."""

from collections.abc import Mapping
from typing import Any

from amtsbote.portals.docxworld.models import ApprovalState, ApprovalTask, JobState, Upload
from amtsbote.portals.protocols import Delivery, Outcome, Step

ARRIVED = frozenset({JobState.TRANSFERRED, JobState.COLLECTED, JobState.DUPLICATED})
BEFORE_APPROVAL = frozenset({JobState.SCHEDULED, JobState.UPLOADED})
REFUSED = frozenset({ApprovalState.REJECTED, ApprovalState.CANCELLED, ApprovalState.EXPIRED})
DECIDED = REFUSED | {ApprovalState.APPROVED}

FAILURES: Mapping[str, tuple[str, str]] = {
    ApprovalState.REJECTED: ("APPROVAL_REJECTED", "the approval was rejected"),
    ApprovalState.CANCELLED: ("APPROVAL_CANCELLED", "the approval was cancelled"),
    ApprovalState.EXPIRED: ("APPROVAL_EXPIRED", "nobody decided on the approval in time"),
    JobState.TRANSFER_FAILED: ("TRANSFER_FAILED", "docxworld could not pass the file on to its target"),
    JobState.DELETED: ("DELETED", "docxworld deleted the file before it reached its target"),
}
"""What a failed delivery is called, by the state that made it fail."""


def has_arrived(upload: Upload) -> bool:
    """Return whether docxworld has the file: any step beyond SCHEDULED says so."""
    return any(event.action != JobState.SCHEDULED for event in upload.events or ())


def was_refused(upload: Upload) -> bool:
    """Return whether the upload failed at its approval, so that the task's words are worth asking for."""
    return _failure(upload) in REFUSED


def delivery_of(upload: Upload, task: ApprovalTask | None = None) -> Delivery:
    """Return how far an upload is.

    TRANSFERRED, COLLECTED and DUPLICATED are success, whatever follows (a later DELETED is docxworld's clean-up). A
    refused approval, TRANSFER_FAILED or DELETED without success is failure; everything else is on its way. The
    approver's name and words (`task`) are personal: they are for the receipt only.
    """
    failure = _failure(upload)
    code, sentence = FAILURES[failure] if failure else (None, None)
    words = task.message if task else None
    return Delivery(
        portal_id=upload.process_id,
        outcome=_outcome(upload, failure),
        steps=_steps(upload),
        result=_result(upload, task),
        error_code=code,
        error_message=f"{sentence}: {words}" if words else sentence,
    )


def _actions(upload: Upload) -> set[str]:
    return {event.action for event in upload.events or ()}


def _failure(upload: Upload) -> str | None:
    """Return the state that made the delivery fail, None where it has not failed."""
    actions = _actions(upload)
    if actions & ARRIVED:
        return None
    if upload.approval_state in REFUSED:
        return upload.approval_state
    return next((state for state in (JobState.TRANSFER_FAILED, JobState.DELETED) if state in actions), None)


def _outcome(upload: Upload, failure: str | None) -> Outcome:
    if failure:
        return Outcome.FAILED
    return Outcome.DELIVERED if _actions(upload) & ARRIVED else Outcome.IN_PROGRESS


def _steps(upload: Upload) -> tuple[Step, ...]:
    """Return the portal's steps in order; the approval, whose states have no times, stands after the upload."""
    events = sorted(upload.events or (), key=lambda event: event.created)
    before = [Step(event.created, event.action) for event in events if event.action in BEFORE_APPROVAL]
    after = [Step(event.created, event.action) for event in events if event.action not in BEFORE_APPROVAL]
    return (*before, *_approval(upload, before), *after)


def _approval(upload: Upload, before: list[Step]) -> list[Step]:
    at = before[-1].at if before else upload.created
    if at is None or upload.approval_state in (None, ApprovalState.NOT_REQUIRED):
        return []
    waited = [ApprovalState.WAITING_APPROVAL] if upload.approval_state in DECIDED else []
    return [Step(at, str(state)) for state in (*waited, upload.approval_state)]


def _result(upload: Upload, task: ApprovalTask | None) -> dict[str, Any]:
    """Return what the backend needs to find the upload and its downloads again."""
    said = {
        "processId": upload.process_id,
        "targetId": upload.target_id,
        "referenceId": upload.reference_id,
        "downloads": [download.id for download in upload.downloads or ()],
        "approver": (task and task.approver_name) or upload.approver_name,
    }
    return {name: value for name, value in said.items() if value}
