"""Whatever happens to a drop, in whatever order: its life keeps to the documented one, and it is sent once."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amtsbote.deliveries import (
    ENDED,
    NOTHING,
    TRACK_AT_MOST,
    TRACK_FIRST,
    DropEvent,
    DropRow,
    DropState,
    Failed,
    Forgotten,
    Noted,
    Paused,
    Reported,
    ResendWanted,
    SendLease,
    Told,
    TrackLater,
    advance_drop,
    may_send,
)
from amtsbote.errors import LeaseLost
from amtsbote.lifecycle import HISTORY_AT_MOST, Due, Erased, ErasureBegun, ImpossibleTransition, Past, Work
from amtsbote.portals.protocols import Delivery, Outcome
from tests.properties.strategies import (
    DELIVERIES,
    DROP_EVENTS,
    DROP_LIVES,
    EXAMPLES_FOR_ALL_OF_A_GRAPH,
    FAILURES,
    FIRST_DROPS,
    LIKELY_FOR_DROPS,
    PAUSES,
    REASONS,
    START,
    DropTurn,
    lives,
)

GRAPH = {
    DropState.RECEIVED: {DropState.SENDING, DropState.FAILED},
    DropState.SENDING: {DropState.SENDING, DropState.SENT, *ENDED},
    DropState.SENT: {DropState.SENT, *ENDED},
    DropState.DELIVERED: {DropState.DELIVERED, DropState.ERASING},
    DropState.FAILED: {DropState.FAILED, DropState.RECEIVED, DropState.ERASING},
    DropState.ERASING: {DropState.ERASED},
    DropState.ERASED: set(),
}
"""Which state a change may lead to; a state that leads to itself may change in other respects."""

EDGES = {(before, after) for before, successors in GRAPH.items() for after in successors}


def changes(life: list[DropTurn]) -> list[DropTurn]:
    """Return the turns that changed the row."""
    return [turn for turn in life if turn.after != turn.before]


# --- the graph ---


@given(DROP_LIVES)
def test_a_drop_makes_only_transitions_of_the_documented_graph(life: list[DropTurn]) -> None:
    assert {(turn.before.state, turn.after.state) for turn in changes(life)} <= EDGES


@settings(max_examples=EXAMPLES_FOR_ALL_OF_A_GRAPH)
@given(life=DROP_LIVES)
def visit(life: list[DropTurn], seen: set[tuple[DropState, DropState]]) -> None:
    """Collect the transitions that the examples make."""
    seen.update((turn.before.state, turn.after.state) for turn in changes(life))


def test_the_examples_make_every_transition_of_the_graph() -> None:
    seen: set[tuple[DropState, DropState]] = set()
    visit(seen=seen)
    assert seen == EDGES


@given(DROP_LIVES)
def test_what_has_ended_only_has_its_receipt_told_and_its_secret_forgotten(life: list[DropTurn]) -> None:
    for turn in changes(life):
        if turn.before.state in ENDED and not isinstance(turn.event, ResendWanted | ErasureBegun):
            before, after = turn.before, turn.after
            assert (after.state, after.failure, after.portal_id) == (before.state, before.failure, before.portal_id)
            assert (after.history, after.steps) == (before.history, before.steps)
            assert after.result == before.result or isinstance(turn.event, Forgotten)
            assert isinstance(turn.event, Told | Forgotten)


@given(DROP_LIVES)
def test_a_person_may_want_again_only_what_failed_for_now_and_the_portal_does_not_have(life: list[DropTurn]) -> None:
    for turn in changes(life):
        if isinstance(turn.event, ResendWanted):
            assert turn.before.failure is not None
            assert turn.before.failure.retryable
            assert turn.before.portal_id is None
            assert (turn.after.state, turn.after.failure, turn.after.due) == (DropState.RECEIVED, None, None)
            assert may_send(turn.after, turn.now)


@given(DROP_LIVES)
def test_a_drop_is_handed_over_once(life: list[DropTurn]) -> None:
    accepted = [turn.event for turn in life if isinstance(turn.event, Reported) and turn.refused is None]
    assert sum(event.fence is not None for event in accepted) <= 1


@given(DROP_LIVES)
def test_a_failure_is_named_where_a_drop_has_failed_and_only_there(life: list[DropTurn]) -> None:
    erasing = DropState.ERASING
    known = [turn for turn in life if turn.after.state is not erasing]
    assert all((turn.after.failure is not None) is (turn.after.state is DropState.FAILED) for turn in known)


@given(DROP_LIVES)
def test_only_what_ended_was_told_of_and_keeps_no_secret_is_erased_and_only_after_its_time(
    life: list[DropTurn],
) -> None:
    for turn in changes(life):
        if turn.after.state is DropState.ERASING:
            assert isinstance(turn.event, ErasureBegun)
            assert turn.before.state in ENDED
            assert (turn.before.state, turn.before.due) == (turn.event.state, None)
            assert turn.before.history[-1].at <= turn.event.ended_by
            assert turn.after.due == Due(Work.ERASE, turn.now)


@given(DROP_LIVES)
def test_of_what_is_erased_the_history_stays_and_nothing_that_the_portal_said(life: list[DropTurn]) -> None:
    for turn in changes(life):
        if turn.after.state is DropState.ERASED:
            row = turn.after
            assert isinstance(turn.event, Erased)
            assert (row.result, row.failure, row.journal, row.due) == (NOTHING, None, "{}", None)
            assert row.expires_at == turn.event.keep_until
            assert (row.history[0], row.portal_id) == (turn.before.history[0], turn.before.portal_id)


@given(DROP_LIVES)
def test_a_secret_is_forgotten_only_when_it_has_ended(life: list[DropTurn]) -> None:
    for turn in life:
        if isinstance(turn.event, Forgotten) and turn.refused is None:
            assert turn.before.secret_until is not None and turn.before.secret_until <= turn.now
            assert (turn.after.result, turn.after.due) == (NOTHING, None)


# --- leases ---


@given(DROP_LIVES)
def test_the_fence_counts_the_leases_and_nothing_else(life: list[DropTurn]) -> None:
    for turn in life:
        taken = isinstance(turn.event, SendLease) and turn.refused is None
        assert turn.after.fence == turn.before.fence + taken


@given(DROP_LIVES)
def test_a_stale_fence_never_changes_anything(life: list[DropTurn]) -> None:
    for turn in life:
        fence = getattr(turn.event, "fence", None)
        if fence is not None and fence != turn.before.fence:
            assert turn.after == turn.before
            assert turn.refused is not None


@given(DROP_LIVES)
def test_a_lease_is_held_only_while_a_drop_is_sent(life: list[DropTurn]) -> None:
    assert all(turn.after.lease_until is None or turn.after.state is DropState.SENDING for turn in life)


@given(DROP_LIVES)
def test_a_drop_whose_worker_paused_may_be_taken_at_once(life: list[DropTurn]) -> None:
    paused = [turn for turn in life if isinstance(turn.event, Paused) and turn.refused is None]
    assert all(may_send(turn.after, turn.now) for turn in paused)


@given(DROP_LIVES)
def test_the_journal_lasts_as_long_as_the_sending(life: list[DropTurn]) -> None:
    for turn in changes(life):
        if turn.after.state is not DropState.SENDING:
            assert turn.after.journal == "{}"
        elif not isinstance(turn.event, Noted):
            assert turn.after.journal == turn.before.journal


def watched(row: DropRow, event: DropEvent, now: datetime) -> DropRow:
    """Let the event happen, and look whether the row that it was given is still what it was."""
    shown = repr(row)
    try:
        return advance_drop(row, event, now)
    finally:
        assert repr(row) == shown


@given(lives(FIRST_DROPS, DROP_EVENTS, LIKELY_FOR_DROPS, watched))
def test_what_is_refused_leaves_nothing_half_done(life: list[DropTurn]) -> None:
    assert all(turn.after == turn.before for turn in life if turn.refused)


# --- history and result ---


@given(DROP_LIVES)
def test_a_history_begins_with_the_first_step_and_ends_with_the_present_state(life: list[DropTurn]) -> None:
    for turn in life:
        assert turn.after.history[0] == Past(START, DropState.RECEIVED)
        assert turn.after.history[-1].state == turn.after.state
        assert list(turn.after.history) == sorted(turn.after.history, key=lambda past: past.at)


@given(DROP_LIVES)
def test_a_change_adds_one_step_at_most_and_that_of_its_moment(life: list[DropTurn]) -> None:
    for turn in changes(life):
        assert len(turn.after.history) <= HISTORY_AT_MOST
        if turn.after.history != turn.before.history:
            assert turn.after.history[-1].at == turn.now
            assert set(turn.after.history[:-1]) <= set(turn.before.history)


@given(DROP_LIVES)
def test_an_answer_of_the_portal_loses_nothing_that_it_said_before(life: list[DropTurn]) -> None:
    for turn in changes(life):
        if isinstance(turn.event, Reported):
            said = turn.event.delivery.result
            assert set(json.loads(turn.after.result)) == {*json.loads(turn.before.result), *said}
            assert turn.after.steps or not turn.before.steps


# --- work ---


@given(DROP_LIVES)
def test_a_drop_that_is_not_sent_may_be_taken_when_its_lease_is_over(life: list[DropTurn]) -> None:
    for turn in life:
        if turn.after.state in (DropState.RECEIVED, DropState.SENDING):
            assert may_send(turn.after, max(turn.after.lease_until or turn.now, turn.now))


@given(DROP_LIVES)
def test_a_sent_drop_is_asked_about_within_a_quarter_of_an_hour_or_when_it_was_said(life: list[DropTurn]) -> None:
    for turn in changes(life):
        if turn.after.state is DropState.SENT:
            due = turn.after.due
            assert due is not None and due.work is Work.TRACK
            exact = isinstance(turn.event, TrackLater) and due.at == turn.event.until
            assert exact or turn.now + TRACK_FIRST <= due.at <= turn.now + TRACK_AT_MOST


@given(DROP_LIVES)
def test_an_end_is_due_until_it_is_told_and_then_only_for_its_secret(life: list[DropTurn]) -> None:
    for turn in changes(life):
        row = turn.after
        if row.state not in ENDED:
            continue
        if isinstance(turn.event, Told):
            secret = row.secret_until is not None and row.result != NOTHING
            assert row.due == (Due(Work.FORGET, row.secret_until) if secret and row.secret_until else None)
        elif not isinstance(turn.event, Forgotten):
            assert (row.due is not None and row.due.work is Work.TRACK) is bool(row.portal)


# --- two workers, a tracker and a clock ---


@dataclass
class Sender:
    """A worker that believes to hold a lease, until it lets it go or time says otherwise."""

    fence: int = 0
    until: datetime = START

    def works(self, now: datetime) -> bool:
        """Return whether the worker may believe in its lease."""
        return now < self.until


WORKERS = st.sampled_from([0, 1])
LEASES = st.integers(1, 300).map(lambda seconds: timedelta(seconds=seconds))
NOTES = st.integers(0, 3).map(lambda part: json.dumps({"part": part}))


class TwoSenders(RuleBasedStateMachine):
    """Two workers send one drop, and a tracker follows it; each worker knows only the lease that it once took."""

    silent: ClassVar = (DropState.RECEIVED, DropState.SENDING)

    @initialize(row=FIRST_DROPS)
    def given_a_drop(self, row: DropRow) -> None:
        self.row, self.now, self.workers = row, START, (Sender(), Sender())
        self.noted, self.handed_over = "{}", 0

    @rule(pause=PAUSES)
    def time_passes(self, pause: timedelta) -> None:
        self.now += pause

    @rule(worker=WORKERS, length=LEASES)
    def a_worker_begins(self, worker: int, length: timedelta) -> None:
        free, until = may_send(self.row, self.now), self.now + length
        assert self.happens(SendLease(until)) is free
        if free:
            self.workers[worker].fence, self.workers[worker].until = self.row.fence, until

    @rule(worker=WORKERS, journal=NOTES)
    def a_worker_notes(self, worker: int, journal: str) -> None:
        noted = self.happens(Noted(self.workers[worker].fence, journal))
        assert noted or not self.workers[worker].works(self.now)
        self.noted = journal if noted else self.noted

    @rule(worker=WORKERS, reason=st.none() | REASONS)
    def a_worker_pauses(self, worker: int, reason: str | None) -> None:
        self.ends(worker, Paused(self.workers[worker].fence, reason))

    @rule(worker=WORKERS, delivery=DELIVERIES)
    def a_worker_hands_over(self, worker: int, delivery: Delivery) -> None:
        self.handed_over += self.ends(worker, Reported(delivery, self.workers[worker].fence))

    @rule(worker=WORKERS, event=st.builds(Failed, FAILURES))
    def a_worker_gives_up(self, worker: int, event: Failed) -> None:
        self.ends(worker, Failed(event.failure, self.workers[worker].fence))

    @rule(delivery=DELIVERIES)
    def the_tracker_asks(self, delivery: Delivery) -> None:
        asked = self.row.state is DropState.SENT
        assert self.happens(Reported(delivery)) is asked
        assert self.row.state not in ENDED or not asked or delivery.outcome is not Outcome.IN_PROGRESS

    @precondition(lambda self: self.row.state in ENDED)
    @rule(event=st.sampled_from([Told(), Forgotten()]))
    def the_end_is_told(self, event: DropEvent) -> None:
        state = self.row.state
        self.happens(event)
        assert self.row.state is state

    @invariant()
    def at_most_one_holds_a_lease(self) -> None:
        assert sum(worker.works(self.now) for worker in self.workers) <= 1

    @invariant()
    def whoever_works_is_the_one_that_the_row_speaks_of(self) -> None:
        for worker in self.workers:
            if worker.works(self.now):
                assert (self.row.state, self.row.fence) == (DropState.SENDING, worker.fence)
                assert not may_send(self.row, self.now)

    @invariant()
    def the_journal_is_the_last_note_that_was_accepted(self) -> None:
        assert self.row.journal == (self.noted if self.row.state in self.silent else "{}")

    @invariant()
    def the_drop_was_handed_over_once_at_most(self) -> None:
        assert self.handed_over <= 1

    def happens(self, event: DropEvent) -> bool:
        """Let an event happen to the row as the ledger does: judged by what the row is now."""
        try:
            self.row = advance_drop(self.row, event, self.now)
        except (ImpossibleTransition, LeaseLost):
            return False
        return True

    def ends(self, worker: int, event: DropEvent) -> bool:
        """Let a worker end its sending. One that believes in its lease is never refused."""
        believed = self.workers[worker].works(self.now)
        ended = self.happens(event)
        assert ended or not believed
        self.workers[worker].until = START
        return ended


TestTwoSenders = TwoSenders.TestCase
