"""From the portal's steps to a Delivery: the whole table."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amtsbote.portals.docxworld.models import ApprovalTask, Upload
from amtsbote.portals.docxworld.tracking import delivery_of, has_arrived
from amtsbote.portals.protocols import Outcome, Step

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def upload(*actions: str, approval: str = "NOT_REQUIRED", **more: Any) -> Upload:
    """Return an upload whose steps are a minute apart."""
    events = [
        {"created": (NOON + timedelta(minutes=number)).isoformat(), "action": action}
        for number, action in enumerate(actions)
    ]
    return Upload.model_validate({"processId": "p1", "events": events, "approvalState": approval, **more})


@pytest.mark.parametrize(
    ("actions", "approval", "outcome", "code"),
    [
        ([], "NOT_REQUIRED", Outcome.IN_PROGRESS, None),
        (["SCHEDULED"], "NOT_REQUIRED", Outcome.IN_PROGRESS, None),
        (["SCHEDULED", "UPLOADED"], "NOT_REQUIRED", Outcome.IN_PROGRESS, None),
        (["SCHEDULED", "UPLOADED"], "REQUIRED", Outcome.IN_PROGRESS, None),
        (["SCHEDULED", "UPLOADED"], "WAITING_APPROVAL", Outcome.IN_PROGRESS, None),
        (["SCHEDULED", "UPLOADED"], "APPROVED", Outcome.IN_PROGRESS, None),
        (["SCHEDULED", "UPLOADED", "WAITING_FOR_COLLECT"], "NOT_REQUIRED", Outcome.IN_PROGRESS, None),
        (["SCHEDULED", "UPLOADED", "SOMETHING_NEW"], "NOT_REQUIRED", Outcome.IN_PROGRESS, None),
        (["SCHEDULED", "UPLOADED", "TRANSFERRED"], "NOT_REQUIRED", Outcome.DELIVERED, None),
        (["SCHEDULED", "UPLOADED", "TRANSFERRED"], "APPROVED", Outcome.DELIVERED, None),
        (["SCHEDULED", "UPLOADED", "DUPLICATED"], "NOT_REQUIRED", Outcome.DELIVERED, None),
        (["UPLOADED", "WAITING_FOR_COLLECT", "COLLECTED"], "NOT_REQUIRED", Outcome.DELIVERED, None),
        (["UPLOADED", "TRANSFERRED", "DELETED"], "NOT_REQUIRED", Outcome.DELIVERED, None),
        (["UPLOADED", "TRANSFER_FAILED", "TRANSFERRED"], "NOT_REQUIRED", Outcome.DELIVERED, None),
        (["UPLOADED", "TRANSFER_FAILED"], "NOT_REQUIRED", Outcome.FAILED, "TRANSFER_FAILED"),
        (["UPLOADED", "DELETED"], "NOT_REQUIRED", Outcome.FAILED, "DELETED"),
        (["UPLOADED"], "REJECTED", Outcome.FAILED, "APPROVAL_REJECTED"),
        (["UPLOADED"], "CANCELLED", Outcome.FAILED, "APPROVAL_CANCELLED"),
        (["UPLOADED"], "EXPIRED", Outcome.FAILED, "APPROVAL_EXPIRED"),
        (["UPLOADED", "DELETED"], "REJECTED", Outcome.FAILED, "APPROVAL_REJECTED"),
    ],
)
def test_the_outcome(actions: list[str], approval: str, outcome: Outcome, code: str | None) -> None:
    delivery = delivery_of(upload(*actions, approval=approval))
    assert (delivery.outcome, delivery.error_code) == (outcome, code)
    assert (delivery.error_message is None) == (code is None)


def test_the_steps_are_the_portals_own() -> None:
    assert delivery_of(upload("SCHEDULED", "UPLOADED")).steps == (
        Step(NOON, "SCHEDULED"),
        Step(NOON + timedelta(minutes=1), "UPLOADED"),
    )


def test_the_approval_stands_between_upload_and_transfer() -> None:
    delivery = delivery_of(upload("SCHEDULED", "UPLOADED", "TRANSFERRED", approval="APPROVED"))
    assert [step.state for step in delivery.steps] == [
        "SCHEDULED",
        "UPLOADED",
        "WAITING_APPROVAL",
        "APPROVED",
        "TRANSFERRED",
    ]
    assert list(delivery.steps) == sorted(delivery.steps, key=lambda step: step.at)


@pytest.mark.parametrize("decided", ["APPROVED", "REJECTED", "EXPIRED", "CANCELLED"])
def test_what_was_decided_has_waited_before(decided: str) -> None:
    assert [step.state for step in delivery_of(upload("UPLOADED", approval=decided)).steps] == [
        "UPLOADED",
        "WAITING_APPROVAL",
        decided,
    ]


def test_an_unneeded_approval_is_no_step() -> None:
    assert [step.state for step in delivery_of(upload("SCHEDULED")).steps] == ["SCHEDULED"]


def test_the_approvers_words_are_in_the_message() -> None:
    task = ApprovalTask.model_validate({"id": "t", "message": "wrong letterhead", "approverName": "Frau Muster"})
    delivery = delivery_of(upload("UPLOADED", approval="REJECTED"), task)
    assert delivery.error_message == "the approval was rejected: wrong letterhead"
    assert delivery.result["approver"] == "Frau Muster"


def test_the_result_leads_back_to_the_upload_and_its_downloads() -> None:
    said = upload("UPLOADED", targetId="t1", referenceId="r1", downloads=[{"id": "d1"}, {"id": "d2"}])
    assert delivery_of(said).result == {
        "processId": "p1",
        "targetId": "t1",
        "referenceId": "r1",
        "downloads": ["d1", "d2"],
    }


@pytest.mark.parametrize(
    ("actions", "arrived"),
    [([], False), (["SCHEDULED"], False), (["SCHEDULED", "UPLOADED"], True), (["SCHEDULED", "DELETED"], True)],
)
def test_any_step_beyond_scheduled_says_that_the_file_is_there(actions: list[str], arrived: bool) -> None:
    assert has_arrived(upload(*actions)) is arrived
