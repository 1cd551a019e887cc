"""Approvals at docxworld: decided by a decision.json, cancelled by a .cancel.json, told of in receipts and events."""

import json
from datetime import timedelta
from typing import Any

import pytest

from sandbox.portals.docxworld import Job, Step, Target
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld, moments

LETTER, CHANGED = b"%PDF-1.7 ein Brief", b"%PDF-1.7 ein Brief, mit neuem Briefkopf"
WAITING: tuple[Step, ...] = (Step(0, "UPLOADED"), Step(0, "WAITING_APPROVAL"), Step(60, "TRANSFERRED"))
APPROVED = {"approvalState": "APPROVED"}
CANCEL, DECIDE, TASKS = "PUT /v1/uploads/[^/]+/cancel", "POST /v1/approval-tasks/.*", "GET /v1/approval-tasks"
A_LONG_CALM = timedelta(minutes=11)  # longer than a lease and than a message stays hidden
CANARY = "kanarienvogel"


@pytest.fixture
def target(docxworld: ObservedDocxworld) -> Target:
    """Provide a target whose uploads wait for an approval."""
    return docxworld.add_target("Mit Freigabe", "FREI", script=WAITING, approval_needed=True)


def drop(world: MortalWorld, key: str, said: object) -> str:
    """Drop an object (JSON unless it is bytes), let the function work, and return its key."""
    world.drop(key, said if isinstance(said, bytes) else json.dumps(said).encode())
    world.drain()
    return key


def letter(world: MortalWorld, name: str = "brief.pdf", content: bytes = LETTER) -> str:
    """Drop a letter that has to be approved, deliver it, and return its key."""
    return drop(world, f"docxworld/klinikum/FREI/{name}", content)


def cancel(world: MortalWorld, key: str, **said: Any) -> str:
    """Drop a cancellation of the letter's approval and return its key."""
    return drop(world, f"{key}.cancel.json", said or {"message": "veraltet"})


def decide(world: MortalWorld, job: Job, said: object = APPROVED) -> str:
    """Drop a decision on the task of an upload and return its key."""
    return drop(world, f"docxworld/klinikum/approvals/{job.task_id}/decision.json", said)


def file_for(world: MortalWorld, job: Job, content: bytes = CHANGED) -> str:
    """Drop a changed file for the decision on an upload and return its key."""
    return drop(world, f"docxworld/klinikum/approvals/{job.task_id}/file.pdf", content)


def follow(world: MortalWorld) -> None:
    """Let some time pass in which everything is tracked."""
    for _ in range(6):
        world.later("track", minutes=10)


def recover(world: MortalWorld) -> None:
    """Let everything come again that a dead process has left behind."""
    for _ in range(4):
        world.clock.now += A_LONG_CALM
        world.drain()
        world.tick("track")
        world.drain()
        if not world.due() and not world.sqs.queue("own"):
            return


def end(world: MortalWorld, key: str) -> tuple[str, str | None]:
    """Return the status and the error's code of a receipt."""
    receipt = world.receipt(key)
    return receipt["status"], receipt["error"] and receipt["error"]["code"]


def states(world: MortalWorld, key: str) -> list[str]:
    """Return the states of a receipt's history."""
    return [each["state"] for each in world.receipt(key)["history"]]


def newest_job(docxworld: ObservedDocxworld) -> Job:
    """Return the upload that was asked for last."""
    return docxworld.jobs()[-1]


# --- decisions ---


def test_a_decision_approves_the_task_and_the_delivery_goes_on(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    file = letter(docxworld_world)
    job = newest_job(docxworld)
    said = {"approvalState": "APPROVED", "message": "in Ordnung", "emailOptions": "CC_APPROVER"}
    key = decide(docxworld_world, job, said)
    (decision,) = docxworld.decisions()
    assert (decision.state, decision.message, decision.email_option, decision.file) == (
        "APPROVED",
        "in Ordnung",
        "CC_APPROVER",
        None,
    )
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["portalId"]) == ("DELIVERED", job.task_id)
    assert receipt["result"] == {"taskId": job.task_id, "processId": job.id, "approvalState": "APPROVED"}
    follow(docxworld_world)
    assert end(docxworld_world, file) == ("DELIVERED", None)
    assert [each for each in states(docxworld_world, file) if "APPRO" in each] == ["WAITING_APPROVAL", "APPROVED"]


def test_a_rejection_ends_the_delivery_with_its_words(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, log_lines: LogLines
) -> None:
    file = letter(docxworld_world)
    words = f"Der Briefkopf ist veraltet, sagt {CANARY}"
    key = decide(docxworld_world, newest_job(docxworld), {"approvalState": "REJECTED", "message": words})
    follow(docxworld_world)
    assert end(docxworld_world, key) == ("DELIVERED", None)
    assert end(docxworld_world, file) == ("FAILED", "APPROVAL_REJECTED")
    assert words in docxworld_world.receipt(file)["error"]["message"]
    public = [log_lines.text, str(docxworld_world.events()), *(body for _, body in docxworld_world.sqs.sent)]
    assert CANARY not in "\n".join(public)


def test_a_file_dropped_before_goes_with_the_decision_and_is_delivered_by_it(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    letter(docxworld_world)
    job = newest_job(docxworld)
    file_for(docxworld_world, job, b"%PDF-1.7 ein Entwurf")
    file = file_for(docxworld_world, job)
    follow(docxworld_world)
    assert end(docxworld_world, file) == ("IN_PROGRESS", None)
    assert states(docxworld_world, file)[-1] in ("SENT", "WAITING_FOR_DECISION")
    key = decide(docxworld_world, job)
    assert [each.file for each in docxworld.decisions()] == [CHANGED]
    assert docxworld_world.receipt(key)["result"]["fileVersionId"] == docxworld_world.receipt(file)["versionId"]
    follow(docxworld_world)
    assert end(docxworld_world, file) == ("DELIVERED", None)
    assert docxworld_world.due() == []


def test_a_file_whose_event_comes_after_the_decision_has_gone_with_it_all_the_same(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    letter(docxworld_world)
    job = newest_job(docxworld)
    key = f"docxworld/klinikum/approvals/{job.task_id}/file.pdf"
    answer = docxworld_world.client("s3").put_object(Bucket="outbox", Key=key, Body=CHANGED)
    decide(docxworld_world, job)
    assert [each.file for each in docxworld.decisions()] == [CHANGED]
    docxworld_world.arrive(docxworld_world.drop_event(key, answer["VersionId"], len(CHANGED)))
    docxworld_world.drain()
    assert end(docxworld_world, key) == ("DELIVERED", None)


def test_a_file_that_comes_after_the_decision_is_told_that_it_was_not_used(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    letter(docxworld_world)
    job = newest_job(docxworld)
    decide(docxworld_world, job)
    assert end(docxworld_world, file_for(docxworld_world, job)) == ("FAILED", "FILE_NOT_USED")


def test_a_file_waits_for_the_decision_that_follows_a_wrong_one(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    letter(docxworld_world)
    job = newest_job(docxworld)
    file = file_for(docxworld_world, job)
    assert end(docxworld_world, decide(docxworld_world, job, {"approvalState": "JA"})) == ("FAILED", "DECISION_INVALID")
    follow(docxworld_world)
    assert end(docxworld_world, file) == ("IN_PROGRESS", None)
    assert end(docxworld_world, decide(docxworld_world, job)) == ("DELIVERED", None)
    follow(docxworld_world)
    assert end(docxworld_world, file) == ("DELIVERED", None)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({}, "approvalState must be APPROVED or REJECTED"),
        ({"approvalState": "EXPIRED"}, "approvalState must be APPROVED or REJECTED"),
        ({"approvalState": "APPROVED", "message": 7}, "message must be a text"),
        ({"approvalState": "APPROVED", "message": "x" * 256}, "at most 255 characters; it has 256"),
        ({"approvalState": "APPROVED", "emailOptions": "ALL"}, "emailOptions must be ONLY_UPLOADER or CC_APPROVER"),
        ({"approvalState": "APPROVED", "approver": "ich"}, "'approver' is unknown; the fields are approvalState"),
        (["APPROVED"], "must be a JSON object"),
        (b"", "no JSON"),
        (b'{"approvalState": "APPROVED", "approvalState": "REJECTED"}', "twice"),
    ],
)
def test_a_wrong_decision_is_refused_by_naming_the_field_and_decides_nothing(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, said: object, named: str
) -> None:
    letter(docxworld_world)
    key = decide(docxworld_world, newest_job(docxworld), said)
    assert end(docxworld_world, key) == ("FAILED", "DECISION_INVALID")
    assert named in docxworld_world.receipt(key)["error"]["message"]
    assert docxworld.decisions() == [] and docxworld.asked("GET", "/v1/approval-tasks") == []


def test_a_task_is_decided_once_however_many_decisions_are_dropped(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    letter(docxworld_world)
    job = newest_job(docxworld)
    decide(docxworld_world, job)
    second = decide(docxworld_world, job, {"approvalState": "REJECTED"})
    assert end(docxworld_world, second) == ("FAILED", "APPROVAL_TASK_NOT_DECIDABLE")
    assert "APPROVED" in docxworld_world.receipt(second)["error"]["message"]
    assert [each.state for each in docxworld.decisions()] == ["APPROVED"]


def test_a_task_that_nobody_knows_is_refused_at_once(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = drop(docxworld_world, "docxworld/klinikum/approvals/17/decision.json", APPROVED)
    assert end(docxworld_world, key) == ("FAILED", "APPROVAL_TASK_NOT_FOUND")


def test_an_account_that_is_no_approver_is_told_so_and_stays_healthy(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    docxworld.user.roles.remove("ROLE_CUSTOMER_APPROVER")
    letter(docxworld_world)
    key = decide(docxworld_world, newest_job(docxworld))
    assert end(docxworld_world, key) == ("FAILED", "APPROVER_ROLE_MISSING")
    assert "ROLE_CUSTOMER_APPROVER" in docxworld_world.receipt(key)["error"]["message"]
    assert docxworld_world.events_of("Connection Unhealthy") == []


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.GARBAGE_JSON, Kind.RESET, Kind.SERVER_ERROR])
def test_a_decision_whose_answer_is_lost_is_looked_for_before_it_is_sent_again(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, kind: Kind
) -> None:
    letter(docxworld_world)
    docxworld.faults.add(Fault(kind, DECIDE, times=1))
    key = decide(docxworld_world, newest_job(docxworld))
    recover(docxworld_world)
    assert end(docxworld_world, key) == ("DELIVERED", None)
    assert len(docxworld.decisions()) == 1


def test_somebody_else_who_decided_otherwise_is_not_taken_for_us(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    letter(docxworld_world)
    job = newest_job(docxworld)
    docxworld.faults.add(Fault(Kind.RESET, DECIDE, times=1))
    key = decide(docxworld_world, job)
    docxworld.decide_approval(job.id, "REJECTED", None, "nein")
    recover(docxworld_world)
    assert end(docxworld_world, key) == ("FAILED", "APPROVAL_TASK_NOT_DECIDABLE")


# --- cancellations ---


def test_a_cancellation_ends_the_delivery_that_waits(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    file = letter(docxworld_world)
    key = cancel(docxworld_world, file, message="falscher Empfänger")
    job = newest_job(docxworld)
    assert (job.approval_state, job.message) == ("CANCELLED", "falscher Empfänger")
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["portalId"]) == ("DELIVERED", job.id)
    follow(docxworld_world)
    assert end(docxworld_world, file) == ("FAILED", "APPROVAL_CANCELLED")
    assert [each for each in states(docxworld_world, file) if each in ("WAITING_APPROVAL", "CANCELLED")] == [
        "WAITING_APPROVAL",
        "CANCELLED",
    ]


@pytest.mark.parametrize("said", [{"message": None}, {"message": ""}])
def test_the_message_may_be_left_out(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, said: dict[str, Any]
) -> None:
    file = letter(docxworld_world)
    assert end(docxworld_world, drop(docxworld_world, f"{file}.cancel.json", said)) == ("DELIVERED", None)


@pytest.mark.parametrize(
    ("said", "named"),
    [({"reason": "x"}, "'reason' is unknown"), ({"message": "x" * 256}, "it has 256"), (b"weg damit", "no JSON")],
)
def test_a_wrong_cancellation_is_refused_by_naming_the_field(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, said: object, named: str
) -> None:
    key = drop(docxworld_world, f"{letter(docxworld_world)}.cancel.json", said)
    assert end(docxworld_world, key) == ("FAILED", "CANCELLATION_INVALID")
    assert named in docxworld_world.receipt(key)["error"]["message"]
    assert newest_job(docxworld).approval_state == "WAITING_APPROVAL"


@pytest.mark.parametrize("decided", ["APPROVED", "REJECTED", "EXPIRED", "CANCELLED"])
def test_what_waits_no_more_is_not_cancelled(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, decided: str
) -> None:
    file = letter(docxworld_world)
    docxworld.decide_approval(newest_job(docxworld).id, decided)
    key = cancel(docxworld_world, file)
    assert end(docxworld_world, key) == ("FAILED", "NOTHING_TO_CANCEL")
    assert decided in docxworld_world.receipt(key)["error"]["message"]


def test_what_needs_no_approval_is_not_cancelled(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    file = drop(docxworld_world, "docxworld/klinikum/BRIEF/brief.pdf", LETTER)
    assert end(docxworld_world, cancel(docxworld_world, file)) == ("FAILED", "NOTHING_TO_CANCEL")


def test_a_file_that_was_never_dropped_is_not_cancelled(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = drop(docxworld_world, "docxworld/klinikum/BRIEF/brief.pdf.cancel.json", {})
    assert end(docxworld_world, key) == ("FAILED", "NOTHING_TO_CANCEL")
    assert not docxworld.asked("PUT", ".*/cancel")


def test_the_newest_version_that_the_portal_has_is_the_one_that_is_cancelled(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    """Given three versions, of which the last is refused before it reaches the portal."""
    for content in (b"%PDF-1.7 eins", b"%PDF-1.7 zwei", b""):
        file = letter(docxworld_world, content=content)
    assert end(docxworld_world, file) == ("FAILED", "FILE_EMPTY")
    assert end(docxworld_world, cancel(docxworld_world, file)) == ("DELIVERED", None)
    assert [job.approval_state for job in docxworld.jobs()] == ["WAITING_APPROVAL", "CANCELLED"]


def test_a_cancellation_that_overtakes_its_file_waits_for_it(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    file = "docxworld/klinikum/FREI/brief.pdf"
    answer = docxworld_world.client("s3").put_object(Bucket="outbox", Key=file, Body=LETTER)
    key = cancel(docxworld_world, file)
    assert end(docxworld_world, key) == ("IN_PROGRESS", None)
    docxworld_world.arrive(docxworld_world.drop_event(file, answer["VersionId"], len(LETTER)))
    recover(docxworld_world)
    assert end(docxworld_world, key) == ("DELIVERED", None)
    assert newest_job(docxworld).approval_state == "CANCELLED"


def test_a_cancellation_waits_until_the_approval_does(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    docxworld.follow_script(target.id, (Step(0, "UPLOADED"), Step(30, "WAITING_APPROVAL")))
    key = cancel(docxworld_world, letter(docxworld_world))
    assert end(docxworld_world, key) == ("IN_PROGRESS", None)
    recover(docxworld_world)
    assert end(docxworld_world, key) == ("DELIVERED", None)


def test_a_repeat_cancels_no_version_that_was_dropped_meanwhile(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    file = letter(docxworld_world, content=b"%PDF-1.7 eins")
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, CANCEL, times=1))
    key = cancel(docxworld_world, file)
    letter(docxworld_world, content=b"%PDF-1.7 zwei")
    recover(docxworld_world)
    assert end(docxworld_world, key) == ("DELIVERED", None)
    assert [job.approval_state for job in docxworld.jobs()] == ["CANCELLED", "WAITING_APPROVAL"]


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.RESET, Kind.SERVER_ERROR, Kind.HTML_WITH_200])
def test_a_cancellation_whose_answer_is_lost_is_looked_for_before_it_is_sent_again(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, kind: Kind
) -> None:
    file = letter(docxworld_world)
    docxworld.faults.add(Fault(kind, CANCEL, times=1))
    key = cancel(docxworld_world, file)
    recover(docxworld_world)
    assert end(docxworld_world, key) == ("DELIVERED", None)
    assert newest_job(docxworld).approval_state == "CANCELLED"
    assert len(docxworld.asked("PUT", ".*/cancel")) <= 2


# --- events ---


@pytest.mark.parametrize("decided", ["APPROVED", "REJECTED", "EXPIRED", "CANCELLED"])
def test_the_states_of_an_approval_are_in_the_events(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, decided: str
) -> None:
    letter(docxworld_world)
    follow(docxworld_world)
    docxworld.decide_approval(newest_job(docxworld).id, decided, None, f"sagt {CANARY}")
    follow(docxworld_world)
    told = [each["states"] for each in docxworld_world.events_of("Delivery Updated")]
    assert told[0][-1] == "WAITING_APPROVAL"
    assert told[-1][:4] == ["SCHEDULED", "UPLOADED", "WAITING_APPROVAL", decided]
    assert CANARY not in str(docxworld_world.events())


def test_what_a_portal_says_that_is_no_name_of_a_state_is_in_no_event(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target
) -> None:
    docxworld.follow_script(target.id, (Step(0, "UPLOADED"),))
    letter(docxworld_world)
    job = newest_job(docxworld)
    job.events.append((docxworld_world.clock(), f"von Frau {CANARY}"))
    follow(docxworld_world)
    assert any(CANARY in each for each in states(docxworld_world, "docxworld/klinikum/FREI/brief.pdf"))
    assert CANARY not in str(docxworld_world.events())


# --- processes that die ---


def calls_of(world: MortalWorld, key: str, said: object) -> list[str]:
    """Return all calls that a fresh process makes for a drop."""
    world.drop(key, json.dumps(said).encode())
    world.services = world.new_services()
    with world.lifeline.cut(0, after=False):
        world.drain()
    recover(world)
    return world.lifeline.calls


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
def test_a_process_that_dies_at_any_call_of_a_decision_has_decided_once_in_the_end(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, after: bool
) -> None:
    world = docxworld_world

    def task(name: str) -> tuple[str, Job]:
        letter(world, name)
        job = newest_job(docxworld)
        file_for(world, job)
        return f"docxworld/klinikum/approvals/{job.task_id}/decision.json", job

    calls = calls_of(world, task("probe.pdf")[0], APPROVED)
    for number in moments(calls, after=after):
        key, job = task(f"brief-{number}.pdf")
        event = world.drop(key, json.dumps(APPROVED).encode())
        world.services = world.new_services()
        with world.lifeline.cut(number, after=after):
            world.drain()
        assert world.lifeline.cut_at_call, "there is a call of this number"
        if number % 2:
            world.arrive(event)  # and the event comes once more
        recover(world)
        where = world.lifeline.cut_at_call
        assert end(world, key) == ("DELIVERED", None), where
        assert [each.file for each in docxworld.decisions() if each.task_id == job.task_id] == [CHANGED], where
        assert end(world, key.replace("decision.json", "file.pdf")) == ("DELIVERED", None), where
        assert not any(world.sqs.queue(name) for name in ("own", "track")), where
    assert len(calls) > 8 and not world.sqs.dead_letters


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
def test_a_process_that_dies_at_any_call_of_a_cancellation_has_cancelled_in_the_end(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: Target, after: bool
) -> None:
    world, said = docxworld_world, {"message": "veraltet"}
    calls = calls_of(world, f"{letter(world, 'probe.pdf')}.cancel.json", said)
    for number in moments(calls, after=after):
        file = letter(world, f"brief-{number}.pdf")
        world.drop(f"{file}.cancel.json", json.dumps(said).encode())
        world.services = world.new_services()
        with world.lifeline.cut(number, after=after):
            world.drain()
        assert world.lifeline.cut_at_call, "there is a call of this number"
        recover(world)
        where = world.lifeline.cut_at_call
        assert end(world, f"{file}.cancel.json") == ("DELIVERED", None), where
        assert end(world, file) == ("FAILED", "APPROVAL_CANCELLED"), where
        assert newest_job(docxworld).approval_state == "CANCELLED", where
        assert world.due() == [] and not any(world.sqs.queue(name) for name in ("own", "track")), where
    assert len(calls) > 8 and not world.sqs.dead_letters
