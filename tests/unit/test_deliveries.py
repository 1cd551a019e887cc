"""The life of a drop: every event in every state, lost leases, and when the portal is asked again."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amtsbote.deliveries import (
    DropEvent,
    DropRow,
    DropState,
    Failed,
    Failure,
    Noted,
    Paused,
    Reported,
    SendLease,
    Told,
    TrackLater,
    advance_drop,
    may_send,
    next_track,
    received,
)
from amtsbote.errors import LeaseLost
from amtsbote.lifecycle import HISTORY_AT_MOST, Due, ImpossibleTransition, Past, Work
from amtsbote.portals.protocols import Delivery, Outcome, Step
from tests.unit.support import NOW, later

LEASE_END = later(minutes=4)
FAILURE = Failure("PORTAL_REFUSED", "the portal refuses it")


def delivery(outcome: Outcome, **more: object) -> Delivery:
    return Delivery("up-7", outcome, **more)  # type: ignore[arg-type]


def fresh(address: tuple[str, str] = ("docxworld", "klinikum")) -> DropRow:
    return received("outbox", "docxworld/klinikum/ziel/brief.pdf", "v1", "0001", address, NOW)


def sending() -> DropRow:
    return replace(advance_drop(fresh(), SendLease(LEASE_END), NOW), journal='{"part": 3}')


def sent(*steps: Step) -> DropRow:
    return advance_drop(sending(), Reported(delivery(Outcome.IN_PROGRESS, steps=steps), 1), NOW)


def delivered() -> DropRow:
    return advance_drop(sending(), Reported(delivery(Outcome.DELIVERED), 1), NOW)


def failed() -> DropRow:
    return advance_drop(sending(), Failed(FAILURE, 1), NOW)


ROWS = {
    "received": fresh(),
    "sending": sending(),
    "sent": sent(),
    "delivered": delivered(),
    "failed": failed(),
}
EVENTS: dict[str, DropEvent] = {
    "leased": SendLease(LEASE_END),
    "noted": Noted(1, "{}"),
    "paused": Paused(1),
    "reported by the sender": Reported(delivery(Outcome.IN_PROGRESS), 1),
    "reported to a tracker": Reported(delivery(Outcome.IN_PROGRESS)),
    "told": Told(),
    "later": TrackLater(LEASE_END),
    "failed for the sender": Failed(FAILURE, 1),
    "failed": Failed(FAILURE),
}
POSSIBLE = {
    ("received", "leased"): DropState.SENDING,
    ("received", "failed"): DropState.FAILED,
    ("sending", "noted"): DropState.SENDING,
    ("sending", "paused"): DropState.SENDING,
    ("sending", "reported by the sender"): DropState.SENT,
    ("sending", "failed for the sender"): DropState.FAILED,
    ("sending", "failed"): DropState.FAILED,
    ("sent", "reported to a tracker"): DropState.SENT,
    ("sent", "later"): DropState.SENT,
    ("sent", "failed"): DropState.FAILED,
    ("delivered", "told"): DropState.DELIVERED,
    ("failed", "told"): DropState.FAILED,
    ("failed", "failed for the sender"): DropState.FAILED,
    ("failed", "failed"): DropState.FAILED,
}
UNDER_LEASE = {"noted", "paused", "reported by the sender", "failed for the sender"}
ENDED_ALREADY = {("delivered", "failed for the sender")}


@pytest.mark.parametrize(("row", "event"), POSSIBLE, ids="-".join)
def test_a_possible_event_leads_to_its_state(row: str, event: str) -> None:
    assert advance_drop(ROWS[row], EVENTS[event], NOW).state is POSSIBLE[row, event]


@pytest.mark.parametrize(
    ("row", "event"), [(r, e) for r in ROWS for e in EVENTS if (r, e) not in POSSIBLE], ids="-".join
)
def test_every_other_event_is_refused(row: str, event: str) -> None:
    lost = event in UNDER_LEASE and (row, event) not in ENDED_ALREADY
    with pytest.raises(LeaseLost if lost else ImpossibleTransition):
        advance_drop(ROWS[row], EVENTS[event], NOW)


@pytest.mark.parametrize("event", sorted(UNDER_LEASE))
def test_the_worker_whose_lease_was_taken_over_can_write_nothing(event: str) -> None:
    taken = advance_drop(sending(), SendLease(later(hours=1)), LEASE_END)
    with pytest.raises(LeaseLost):
        advance_drop(taken, EVENTS[event], LEASE_END)


# --- receiving and sending ---


def test_a_received_drop_knows_its_version_and_its_address() -> None:
    row = fresh()
    assert (row.bucket, row.key, row.version_id) == ("outbox", "docxworld/klinikum/ziel/brief.pdf", "v1")
    assert (row.sequence, row.portal, row.connection) == ("0001", "docxworld", "klinikum")
    assert (row.received_at, row.history, row.version) == (NOW, (Past(NOW, "RECEIVED"),), 1)


def test_a_lease_counts_up_the_fence_and_the_attempts() -> None:
    row = sending()
    assert (row.fence, row.attempts, row.lease_until) == (1, 1, LEASE_END)


@pytest.mark.parametrize(
    ("row", "now", "may"),
    [
        (fresh(), NOW, True),
        (sending(), LEASE_END - timedelta(seconds=1), False),
        (sending(), LEASE_END, True),
        (advance_drop(sending(), Paused(1), NOW), NOW, True),
        (sent(), later(days=9), False),
        (delivered(), later(days=9), False),
        (failed(), later(days=9), False),
    ],
)
def test_only_a_drop_that_nobody_sends_may_be_taken(row: DropRow, now: datetime, may: bool) -> None:
    assert may_send(row, now) is may


def test_a_drop_taken_over_goes_on_with_the_journal_of_the_worker_before() -> None:
    taken = advance_drop(sending(), SendLease(later(hours=1)), LEASE_END)
    assert (taken.journal, taken.fence, taken.attempts) == ('{"part": 3}', 2, 2)


def test_a_note_replaces_the_journal_and_nothing_else() -> None:
    assert advance_drop(sending(), Noted(1, '{"part": 4}'), NOW) == replace(sending(), journal='{"part": 4}')


def test_a_pause_lets_the_lease_go_and_keeps_the_journal() -> None:
    row = advance_drop(sending(), Paused(1), NOW)
    assert (row.lease_until, row.journal, row.history) == (None, '{"part": 3}', sending().history)


def test_a_pause_with_a_reason_is_a_step_of_the_history() -> None:
    row = advance_drop(sending(), Paused(1, "OUTAGE"), later(minutes=1))
    assert row.history[-1] == Past(later(minutes=1), "SENDING", "OUTAGE")


def test_a_drop_that_is_tried_for_weeks_keeps_a_short_history() -> None:
    row = fresh()
    for hour in range(500):
        row = advance_drop(row, SendLease(later(hours=hour, minutes=4)), later(hours=hour))
        row = advance_drop(row, Paused(row.fence, "OUTAGE" if hour % 3 else "LOCKED"), later(hours=hour))
    assert len(row.history) <= HISTORY_AT_MOST
    assert row.history[0] == Past(NOW, "RECEIVED")


# --- what the portal says ---


def test_a_sent_drop_keeps_the_portals_id_lets_go_of_journal_and_lease_and_is_asked_about() -> None:
    row = sent()
    assert (row.portal_id, row.journal, row.lease_until) == ("up-7", "{}", None)
    assert row.due == Due(Work.TRACK, later(seconds=5))


def test_each_answer_of_the_portal_adds_to_the_result() -> None:
    row = advance_drop(sending(), Reported(delivery(Outcome.IN_PROGRESS, result={"a": 1, "b": "ü"}), 1), NOW)
    row = advance_drop(row, Reported(delivery(Outcome.IN_PROGRESS, result={"b": "ö", "at": NOW})), NOW)
    assert json.loads(row.result) == {"a": 1, "b": "ö", "at": str(NOW)}
    assert "ö" in row.result


def test_an_answer_without_steps_keeps_those_known() -> None:
    row = sent(Step(NOW, "UPLOADED"))
    assert advance_drop(row, Reported(delivery(Outcome.IN_PROGRESS)), NOW).steps == (Past(NOW, "UPLOADED"),)


def test_an_answer_with_steps_replaces_those_known() -> None:
    steps = (Step(NOW, "UPLOADED"), Step(later(minutes=1), "PRINTED"))
    row = advance_drop(sent(steps[0]), Reported(delivery(Outcome.IN_PROGRESS, steps=steps)), later(minutes=2))
    assert [past.state for past in row.steps] == ["UPLOADED", "PRINTED"]


def test_being_asked_about_again_is_no_step_of_our_history() -> None:
    assert advance_drop(sent(), Reported(delivery(Outcome.IN_PROGRESS)), later(hours=1)).history == sent().history


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ({"error_code": "VIRUS", "error_message": "infected"}, Failure("VIRUS", "infected")),
        ({}, Failure("PORTAL_FAILED", "the portal gives no reason")),
    ],
)
def test_a_delivery_that_failed_at_the_portal_says_why(said: dict[str, str], failure: Failure) -> None:
    row = advance_drop(sent(), Reported(delivery(Outcome.FAILED, **said)), NOW)
    assert (row.state, row.failure) == (DropState.FAILED, failure)
    assert row.history[-1] == Past(NOW, "FAILED", failure.code)


def test_a_failure_is_kept_as_it_was_told() -> None:
    assert (failed().failure, failed().history[-1].reason) == (FAILURE, "PORTAL_REFUSED")


def test_a_failure_that_is_written_again_changes_nothing_and_another_one_is_refused() -> None:
    assert advance_drop(failed(), Failed(FAILURE, 1), later(hours=1)) == failed()
    with pytest.raises(ImpossibleTransition):
        advance_drop(failed(), Failed(replace(FAILURE, code="ANOTHER"), 1), NOW)


def test_a_failure_is_final_unless_it_says_otherwise() -> None:
    assert not FAILURE.retryable


@pytest.mark.parametrize("row", [delivered(), failed()])
def test_an_ended_delivery_stays_due_until_its_receipt_is_out(row: DropRow) -> None:
    assert (row.due, row.journal, row.lease_until) == (Due(Work.TRACK, later(minutes=1)), "{}", None)
    assert advance_drop(row, Told(), NOW).due is None


def test_a_drop_without_an_address_is_never_due() -> None:
    assert advance_drop(fresh(("", "")), Failed(FAILURE), NOW).due is None


def test_a_question_that_could_not_be_asked_is_due_again_when_told() -> None:
    assert advance_drop(sent(), TrackLater(later(hours=3)), NOW).due == Due(Work.TRACK, later(hours=3))


# --- when the portal is asked again ---


@pytest.mark.parametrize(("quiet", "pause"), [(0, 5), (20, 5), (40, 10), (3600, 900), (999_999, 900)])
def test_the_portal_is_asked_soon_after_something_happened_and_rarely_while_nothing_does(
    quiet: int, pause: int
) -> None:
    assert next_track(sent(), (), later(seconds=quiet)) == later(seconds=quiet + pause)


def test_a_step_of_the_portal_counts_as_something_that_happened() -> None:
    assert next_track(sent(), (Past(later(hours=1), "PRINTED"),), later(hours=1)) == later(hours=1, seconds=5)


def test_a_step_in_the_future_does_not() -> None:
    assert next_track(sent(), (Past(later(days=1), "PRINTED"),), later(hours=2)) == later(hours=2, minutes=15)


@given(st.lists(st.integers(-(10**7), 10**7)), st.integers(0, 10**7))
def test_the_next_question_is_never_sooner_than_5_seconds_nor_later_than_15_minutes(
    steps: Sequence[int], now: int
) -> None:
    moment = later(seconds=now)
    pause = next_track(sent(), tuple(Past(later(seconds=at), "X") for at in steps), moment) - moment
    assert timedelta(seconds=5) <= pause <= timedelta(minutes=15)
