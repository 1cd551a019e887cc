"""Decisions where the file beside them is not what it should be; the rest is told by the flows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest

from amtsbote.errors import Reject
from amtsbote.portals.docxworld import PORTAL
from amtsbote.portals.docxworld.approvals import ANOTHER_DECISION, DECISION_WAIT, FILE_LIMIT_BYTES
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Destination, Drop, KnownDrop, Outcome
from tests.unit.portals.docxworld.server import Reply, Request, Server, page, refusal

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TASKS, DECIDE = "/v1/approval-tasks", "/v1/approval-tasks/T1/decide"
TASK = {"id": "T1", "processId": "p1", "approvalState": "WAITING_APPROVAL"}
APPROVED = {**TASK, "approvalState": "APPROVED"}


@dataclass
class Memory:
    """A journal that a test can look into."""

    state: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Nothing: the state is all there is."""


@dataclass
class Book:
    """What is known of one key's drops."""

    sent: KnownDrop | None = None

    def newest(self, bucket: str, key: str) -> KnownDrop | None:
        """Return what was sent."""
        return self.sent

    newest_sent = newest


class SeenBook(Book):
    """A book in which something stands that the portal does not have."""

    def newest_sent(self, bucket: str, key: str) -> KnownDrop | None:
        """Return nothing."""
        return None


def a_drop(name: str, content: bytes, *, beside: Drop | None = None, **more: Any) -> Drop:
    drop = Drop(
        key=f"docxworld/klinikum/approvals/T1/{name}",
        version_id=f"version of {name}",
        path=("approvals", "T1", name),
        size=len(content),
        content_type="application/octet-stream",
        metadata={},
        reference="amtsbote-1",
        read=lambda start, length: BytesIO(content[start : start + length]),
        bucket="outbox",
        modified=NOON,
        beside=lambda wanted: beside if wanted == "file.pdf" else None,
    )
    return replace(drop, **more)


def decision(beside: Drop | None = None, **said: str) -> Drop:
    return a_drop("decision.json", json.dumps({"approvalState": "APPROVED", **said}).encode(), beside=beside)


def a_file(**more: Any) -> Drop:
    return a_drop("file.pdf", b"%PDF-1.7", **more)


@pytest.fixture
def destination(server: Server, connection: Connection, tools: Tools) -> Destination:
    """A portal with one task that waits."""
    server.on("GET", TASKS, page([TASK]))
    server.on("POST", DECIDE, Reply(body=APPROVED))
    made = PORTAL.destination(connection, tools)
    assert made is not None
    return made


def decided(server: Server) -> list[Request]:
    return [each for each in server.requests if each.path == DECIDE]


def test_the_decision_goes_with_its_file_as_an_approver(server: Server, destination: Destination) -> None:
    delivery = destination.deliver(decision(a_file()), Memory())
    (sent,) = decided(server)
    assert sent.role == "ROLE_CUSTOMER_APPROVER" and b"%PDF-1.7" in sent.body
    assert (delivery.portal_id, delivery.outcome) == ("T1", Outcome.DELIVERED)
    assert delivery.result["fileVersionId"] == "version of file.pdf"


@pytest.mark.parametrize(
    ("file", "state", "code"),
    [
        (a_file(modified=NOON + timedelta(seconds=1)), {}, "FILE_CAME_LATER"),
        (a_file(size=0), {}, "FILE_EMPTY"),
        (a_file(size=FILE_LIMIT_BYTES + 1), {}, "FILE_TOO_LARGE"),
        (a_file(), {"fileVersionId": "another"}, "FILE_CHANGED"),
        (a_file(), {"fileVersionId": None}, "FILE_CHANGED"),
        (None, {"fileVersionId": "version of file.pdf"}, "FILE_CHANGED"),
    ],
)
def test_a_file_that_is_not_certain_to_belong_to_it_stops_the_decision(
    server: Server, destination: Destination, file: Drop | None, state: Mapping[str, Any], code: str
) -> None:
    with pytest.raises(Reject) as raised:
        destination.deliver(decision(file), Memory(dict(state)))
    assert raised.value.code == code
    assert decided(server) == []


def test_the_words_of_somebody_else_who_decided_alike_are_not_taken_for_ours(
    server: Server, destination: Destination
) -> None:
    server.on("GET", TASKS, page([{**APPROVED, "message": "von mir"}]))
    with pytest.raises(Reject, match="APPROVAL_TASK_NOT_DECIDABLE"):
        destination.deliver(decision(message="von uns"), Memory({"asked": True, "processId": "p1"}))
    assert destination.deliver(decision(), Memory({"asked": True})).outcome is Outcome.DELIVERED


def test_a_task_decided_between_look_and_call_is_somebody_elses(server: Server, destination: Destination) -> None:
    server.on("POST", DECIDE, refusal(400, "upload.error.server.approval_task_not_decidable"))
    with pytest.raises(Reject, match="APPROVAL_TASK_NOT_DECIDABLE"):
        destination.deliver(decision(), Memory())


def failed_with(code: str, ago: timedelta) -> KnownDrop:
    return KnownDrop("d", False, Outcome.FAILED, None, error_code=code, ended_at=NOON - ago)


@pytest.mark.parametrize(
    ("decision_beside", "dropped_ago", "code"),
    [
        (None, DECISION_WAIT - timedelta(seconds=1), None),
        (None, DECISION_WAIT, "DECISION_MISSING"),
        (KnownDrop("d", True, Outcome.IN_PROGRESS, None), DECISION_WAIT, None),
        (failed_with("DECISION_INVALID", ANOTHER_DECISION - timedelta(seconds=1)), timedelta(0), None),
        (failed_with("DECISION_INVALID", ANOTHER_DECISION), timedelta(0), "DECISION_FAILED"),
        (failed_with("APPROVAL_TASK_NOT_DECIDABLE", timedelta(0)), timedelta(0), "DECISION_FAILED"),
    ],
)
def test_a_file_does_not_wait_for_ever(
    connection: Connection, tools: Tools, decision_beside: KnownDrop | None, dropped_ago: timedelta, code: str | None
) -> None:
    unsent = SeenBook(decision_beside)
    destination = PORTAL.destination(connection, replace(tools, drops=unsent, clock=lambda: NOON))
    assert destination is not None
    delivery = destination.deliver(a_file(modified=NOON - dropped_ago), Memory())
    assert (delivery.portal_id, delivery.error_code) == ("T1", code)
    again = destination.track(delivery.tracked_as or "")
    assert (again.outcome, again.error_code) == (Outcome.FAILED if code else Outcome.IN_PROGRESS, code)


def test_a_file_of_an_older_release_that_does_not_say_since_when_it_waits_waits_on(
    connection: Connection, tools: Tools
) -> None:
    destination = PORTAL.destination(connection, replace(tools, drops=SeenBook(None)))
    assert destination is not None
    assert destination.track("approvals|T1|v|outbox|a/file.pdf").outcome is Outcome.IN_PROGRESS


def test_a_file_that_has_failed_goes_with_no_later_decision(
    server: Server, connection: Connection, tools: Tools
) -> None:
    server.on("GET", TASKS, page([TASK]))
    known = KnownDrop("version of file.pdf", False, Outcome.FAILED, None, error_code="DECISION_FAILED")
    destination = PORTAL.destination(connection, replace(tools, drops=SeenBook(known)))
    assert destination is not None
    with pytest.raises(Reject, match="FILE_FAILED"):
        destination.deliver(decision(a_file()), Memory())
    assert decided(server) == []


@pytest.mark.parametrize(
    ("sent", "outcome", "code"),
    [
        (None, Outcome.IN_PROGRESS, None),
        (KnownDrop("d", False, Outcome.FAILED, "T1"), Outcome.IN_PROGRESS, None),
        (KnownDrop("d", False, Outcome.DELIVERED, "T1"), Outcome.FAILED, "FILE_NOT_USED"),
        (KnownDrop("d", False, Outcome.DELIVERED, "T1", {"fileVersionId": "x"}), Outcome.FAILED, "FILE_NOT_USED"),
        (
            KnownDrop("d", False, Outcome.DELIVERED, "T1", {"fileVersionId": "version of file.pdf"}),
            Outcome.DELIVERED,
            None,
        ),
    ],
)
def test_a_file_is_as_far_as_its_decision(
    server: Server, connection: Connection, tools: Tools, sent: KnownDrop | None, outcome: Outcome, code: str | None
) -> None:
    destination = PORTAL.destination(connection, replace(tools, drops=Book(sent)))
    assert destination is not None
    delivery = destination.deliver(a_file(), Memory())
    assert (delivery.portal_id, delivery.outcome, delivery.error_code) == ("T1", outcome, code)
    assert destination.track(delivery.tracked_as or "approvals|T1|v|outbox|a/file.pdf").portal_id == "T1"
    assert server.requests == []
