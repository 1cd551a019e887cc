"""A delivery is followed to its last state at the portal, and the receipt says what became of it, in its words."""

from datetime import timedelta

import pytest

from sandbox.portals.docxworld import Script, Step, Target
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld

CANARY = "kanarienvogel"
WAITING = "WAITING_APPROVAL"
GET_UPLOAD = "GET /v1/uploads/[^/]+"


def drop_for(world: MortalWorld, target: Target, name: str = "brief.pdf") -> str:
    """Drop a letter for a target, deliver it, and return its outbox key."""
    key = f"docxworld/klinikum/{target.id}/{name}"
    world.drop(key, b"%PDF-1.7 ein Brief")
    world.drain()
    return key


def follow(world: MortalWorld, hours: int = 1) -> None:
    """Let some time pass in which everything is tracked."""
    for _ in range(6):
        world.later("track", minutes=hours * 10)


def states(world: MortalWorld, key: str) -> list[str]:
    """Return the states of a receipt's history."""
    return [each["state"] for each in world.receipt(key)["history"]]


def said_in_public(world: MortalWorld, log_lines: LogLines) -> str:
    """Return everything that is logged, published or queued."""
    return "\n".join([log_lines.text, str(world.events()), *(body for _, body in world.sqs.sent)])


# --- last states ---

SUCCESSES: dict[str, Script] = {
    "TRANSFERRED": (Step(0, "UPLOADED"), Step(60, "TRANSFERRED")),
    "COLLECTED": (Step(0, "UPLOADED"), Step(60, "WAITING_FOR_COLLECT"), Step(600, "COLLECTED")),
    "DUPLICATED": (Step(0, "UPLOADED"), Step(60, "DUPLICATED")),
}
FAILURES: dict[str, Script] = {
    "TRANSFER_FAILED": (Step(0, "UPLOADED"), Step(60, "TRANSFER_FAILED")),
    "DELETED": (Step(0, "UPLOADED"), Step(60, "DELETED")),
}


@pytest.mark.parametrize("state", list(SUCCESSES))
def test_a_document_that_reaches_its_target_is_delivered(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, state: str
) -> None:
    key = drop_for(docxworld_world, docxworld.add_target("Anderes", "ANDERES", script=SUCCESSES[state]))
    assert docxworld_world.receipt(key)["status"] == "IN_PROGRESS"
    follow(docxworld_world)
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["error"]) == ("DELIVERED", None)
    portals = [step.state for step in SUCCESSES[state]]
    assert [each for each in states(docxworld_world, key) if each in portals] == portals
    assert states(docxworld_world, key)[-1] == "DELIVERED"


@pytest.mark.parametrize("state", list(FAILURES))
def test_a_document_that_does_not_is_failed_with_its_state(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, state: str
) -> None:
    key = drop_for(docxworld_world, docxworld.add_target("Anderes", "ANDERES", script=FAILURES[state]))
    follow(docxworld_world)
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", state)
    assert receipt["error"]["message"] and not receipt["error"]["retryable"]
    assert states(docxworld_world, key)[-2:] == [state, "FAILED"]


@pytest.mark.parametrize("last", ["TRANSFERRED", "COLLECTED", "DUPLICATED"])
def test_a_later_deletion_does_not_undo_a_delivery(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, last: str
) -> None:
    """Given a portal that has tidied up before we first ask."""
    script = (Step(0, "UPLOADED"), Step(1, last), Step(1, "DELETED"))
    key = drop_for(docxworld_world, docxworld.add_target("Anderes", "ANDERES", script=script))
    follow(docxworld_world)
    assert docxworld_world.receipt(key)["status"] == "DELIVERED"


def test_an_end_that_is_reached_at_once_is_told_by_deliver_itself(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    script = (Step(0, "UPLOADED"), Step(0, "TRANSFERRED"))
    key = drop_for(docxworld_world, docxworld.add_target("Anderes", "ANDERES", script=script))
    assert docxworld_world.receipt(key)["status"] == "DELIVERED"
    assert docxworld_world.due() == []
    docxworld.forget_requests()
    follow(docxworld_world)
    assert docxworld.requests == [], "nothing is asked after the end"


def test_what_waits_for_months_is_followed_for_months_and_asked_ever_more_rarely(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    script = (Step(0, "UPLOADED"), Step(60, "WAITING_FOR_COLLECT"), Step(86400 * 90, "COLLECTED"))
    key = drop_for(docxworld_world, docxworld.add_target("Anderes", "ANDERES", script=script))
    follow(docxworld_world)
    docxworld.forget_requests()
    for _ in range(60):
        docxworld_world.later("track", minutes=1)
    assert 3 <= len(docxworld.asked("GET", "/v1/uploads/.*")) <= 5
    docxworld_world.later("track", days=89)
    assert docxworld_world.receipt(key)["status"] == "IN_PROGRESS"
    docxworld_world.later("track", days=2)
    assert docxworld_world.receipt(key)["status"] == "DELIVERED"


# --- approvals ---


def test_an_approved_document_is_delivered_and_its_history_names_the_approval(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = drop_for(docxworld_world, docxworld.add_target("Mit Freigabe", "FREI", approval_needed=True))
    follow(docxworld_world)
    assert docxworld_world.receipt(key)["status"] == "IN_PROGRESS"
    assert WAITING in states(docxworld_world, key)
    docxworld.decide_approval(docxworld.jobs()[0].id, "APPROVED")
    follow(docxworld_world)
    assert docxworld_world.receipt(key)["status"] == "DELIVERED"
    assert [each for each in states(docxworld_world, key) if each in ("APPROVED", "TRANSFERRED")] == [
        "APPROVED",
        "TRANSFERRED",
    ]


@pytest.mark.parametrize("decision", ["REJECTED", "EXPIRED", "CANCELLED"])
def test_a_refused_approval_is_failed_with_the_approvers_words_in_the_receipt_and_nowhere_else(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, log_lines: LogLines, decision: str
) -> None:
    approver = docxworld.add_user(f"{CANARY}@example.com", "x", {"ROLE_CUSTOMER_APPROVER"}, name=f"Frau {CANARY}")
    key = drop_for(docxworld_world, docxworld.add_target("Mit Freigabe", "FREI", approval_needed=True))
    words = f"Der Briefkopf ist veraltet, sagt Frau {CANARY}"
    docxworld.decide_approval(docxworld.jobs()[0].id, decision, approver, words)
    follow(docxworld_world)
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", f"APPROVAL_{decision}")
    assert words in receipt["error"]["message"] and not receipt["error"]["retryable"]
    assert decision in states(docxworld_world, key)
    assert CANARY not in said_in_public(docxworld_world, log_lines)


def test_a_refusal_whose_words_we_may_not_read_is_a_refusal_still_and_blames_nobody(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld.user.roles.remove("ROLE_CUSTOMER_APPROVER")
    key = drop_for(docxworld_world, docxworld.add_target("Mit Freigabe", "FREI", approval_needed=True))
    docxworld.decide_approval(docxworld.jobs()[0].id, "REJECTED", None, "Der Briefkopf ist veraltet")
    follow(docxworld_world)
    error = docxworld_world.receipt(key)["error"]
    assert error["code"] == "APPROVAL_REJECTED" and "veraltet" not in error["message"]
    assert docxworld_world.events_of("Connection Unhealthy") == []


# --- portals that stutter ---


@pytest.mark.parametrize(
    "kind", [Kind.SERVER_ERROR, Kind.HTML_WITH_200, Kind.GARBAGE_JSON, Kind.RESET, Kind.EXPIRED_TOKEN]
)
def test_a_question_that_is_not_answered_is_asked_again(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, kind: Kind
) -> None:
    key = drop_for(docxworld_world, docxworld.letters)
    docxworld.faults.add(Fault(kind, GET_UPLOAD, times=3))
    follow(docxworld_world)
    assert docxworld_world.receipt(key)["status"] == "DELIVERED"


def test_one_delivery_that_cannot_be_asked_about_delays_no_other(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    keys = [drop_for(docxworld_world, docxworld.letters, f"{number}.pdf") for number in range(3)]
    stuck = docxworld_world.receipt(keys[0])["portalId"]
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, f"GET /v1/uploads/{stuck}"))
    follow(docxworld_world)
    assert [docxworld_world.receipt(key)["status"] for key in keys] == ["IN_PROGRESS", "DELIVERED", "DELIVERED"]
    docxworld.faults.clear()
    follow(docxworld_world)
    assert docxworld_world.receipt(keys[0])["status"] == "DELIVERED"


def test_retry_after_is_honoured_by_tracking(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    key = drop_for(docxworld_world, docxworld.letters)
    docxworld.faults.add(Fault(Kind.TOO_MANY_REQUESTS, GET_UPLOAD, times=1, retry_after=120))
    docxworld_world.later("track", seconds=10)
    docxworld.forget_requests()
    for _ in range(10):
        docxworld_world.later("track", seconds=11)
    assert docxworld.requests == []
    docxworld_world.later("track", seconds=30)
    assert docxworld_world.receipt(key)["status"] == "DELIVERED"


def test_an_upload_that_the_portal_has_forgotten_is_failed(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = drop_for(docxworld_world, docxworld.letters)
    docxworld.uploads.jobs.clear()
    follow(docxworld_world)
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", "JOB_NOT_FOUND")


def test_tracking_never_uploads(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    for number in range(3):
        drop_for(docxworld_world, docxworld.letters, f"{number}.pdf")
    docxworld.forget_requests()
    follow(docxworld_world)
    assert {request.method for request in docxworld.requests} <= {"GET"}


# --- receipts and events at each step ---


def test_the_receipt_is_rewritten_at_each_step_and_an_event_says_so(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    script = (Step(0, "UPLOADED"), Step(600, "WAITING_FOR_COLLECT"), Step(600, "COLLECTED"))
    start = docxworld_world.clock()
    key = drop_for(docxworld_world, docxworld.add_target("Anderes", "ANDERES", script=script))
    seen = [states(docxworld_world, key)]
    for _ in range(30):
        docxworld_world.later("track", minutes=1)
        if states(docxworld_world, key) != seen[-1]:
            seen.append(states(docxworld_world, key))
    assert [each[-1] for each in seen] == ["UPLOADED", "WAITING_FOR_COLLECT", "DELIVERED"]
    history = docxworld_world.receipt(key)["history"]
    moments = {each["state"]: each["at"] for each in history}
    assert moments["COLLECTED"] == (start + timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [each["at"] for each in history] == sorted(each["at"] for each in history)
    assert [each["status"] for each in docxworld_world.events_of("Delivery Updated")] == [
        "IN_PROGRESS",
        "IN_PROGRESS",
        "DELIVERED",
    ]


def test_a_turn_in_which_nothing_happened_writes_and_tells_nothing(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = drop_for(docxworld_world, docxworld.add_target("Anderes", "ANDERES", script=(Step(0, "UPLOADED"),)))
    follow(docxworld_world)
    before = (docxworld_world.versions(f"receipts/{key}.json"), len(docxworld_world.events()))
    follow(docxworld_world)
    assert (docxworld_world.versions(f"receipts/{key}.json"), len(docxworld_world.events())) == before
