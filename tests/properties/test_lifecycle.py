"""Whatever happens to an inbound item, in whatever order: its life keeps to the documented one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from amtsbote.errors import LeaseLost
from amtsbote.lifecycle import (
    BY_HAND,
    HISTORY_AT_MOST,
    LISTING,
    REOPEN_AFTER,
    AcknowledgeDeferred,
    AcknowledgeWanted,
    Committed,
    ContentLost,
    Deferred,
    Due,
    Erased,
    ErasureBegun,
    FoundGone,
    FoundUnreadable,
    ImpossibleTransition,
    ItemEvent,
    ItemRow,
    LeaseTaken,
    Past,
    Released,
    Reopened,
    Requeued,
    RetryWanted,
    State,
    Work,
    advance,
    has_been_stored,
    lease_is_free,
    may_reopen,
    remembered,
)
from amtsbote.portals.portal import AcknowledgePolicy
from tests.properties.strategies import (
    EXAMPLES_FOR_ALL_OF_A_GRAPH,
    FIRST_ITEMS,
    ITEM_EVENTS,
    ITEM_LIVES,
    LIKELY_FOR_ITEMS,
    PAUSES,
    REASONS,
    START,
    ItemTurn,
    lives,
)

GRAPH = {
    State.DISCOVERED: {State.DISCOVERED, State.FETCHING, State.STORED},
    State.FETCHING: {State.DISCOVERED, State.FETCHING, State.STORED, State.QUARANTINED, State.UNAVAILABLE},
    State.STORED: {State.DISCOVERED, State.STORED, State.ACKNOWLEDGED, State.UNAVAILABLE, State.ERASING},
    State.UNAVAILABLE: {State.DISCOVERED, State.STORED, State.ERASING},
    State.ACKNOWLEDGED: {State.ERASING},
    State.QUARANTINED: {State.DISCOVERED, State.STORED},
    State.ERASING: {State.ERASED},
    State.ERASED: {State.DISCOVERED},
}
"""Which state a change may lead to; a state that leads to itself may change in other respects."""

EDGES = {(before, after) for before, successors in GRAPH.items() for after in successors}
FINISHED = {State.ACKNOWLEDGED, State.QUARANTINED, State.UNAVAILABLE, State.ERASED}
LONGEST_PAUSE = timedelta(hours=1)  # between a fetch that nobody takes up and the next request for it


def changes(life: Sequence[ItemTurn]) -> list[ItemTurn]:
    """Return the turns that changed the row."""
    return [turn for turn in life if turn.after != turn.before]


# --- the graph ---


@given(ITEM_LIVES)
def test_a_row_makes_only_transitions_of_the_documented_graph(life: list[ItemTurn]) -> None:
    assert {(turn.before.state, turn.after.state) for turn in changes(life)} <= EDGES


@settings(max_examples=EXAMPLES_FOR_ALL_OF_A_GRAPH)
@given(life=ITEM_LIVES)
def visit(life: list[ItemTurn], seen: set[tuple[State, State]]) -> None:
    """Collect the transitions that the examples make."""
    seen.update((turn.before.state, turn.after.state) for turn in changes(life))


def test_the_examples_make_every_transition_of_the_graph() -> None:
    seen: set[tuple[State, State]] = set()
    visit(seen=seen)
    assert seen == EDGES


@given(ITEM_LIVES)
def test_an_unavailable_item_comes_back_only_when_it_is_listed_again_or_wanted(life: list[ItemTurn]) -> None:
    left = [turn for turn in changes(life) if turn.before.state is State.UNAVAILABLE]
    assert all(isinstance(turn.event, Reopened | RetryWanted | ErasureBegun) for turn in left)


@given(ITEM_LIVES)
def test_what_is_in_quarantine_leaves_it_by_a_persons_decision_alone(life: list[ItemTurn]) -> None:
    left = [turn for turn in changes(life) if turn.before.state is State.QUARANTINED]
    assert all(isinstance(turn.event, RetryWanted | Released) for turn in left)
    assert all(turn.after.reason == BY_HAND for turn in left)


@given(ITEM_LIVES)
def test_a_person_who_wants_what_was_stored_has_it_told_and_never_fetched(life: list[ItemTurn]) -> None:
    for turn in changes(life):
        if isinstance(turn.event, RetryWanted):
            known = has_been_stored(turn.before)
            wanted = (State.STORED, Work.ACKNOWLEDGE) if known else (State.DISCOVERED, Work.FETCH)
            assert turn.after.due is not None
            assert (turn.after.state, turn.after.due.work) == wanted


@given(ITEM_LIVES)
def test_what_is_to_be_fetched_anew_waits_for_the_list_and_is_told_of_by_nobody(life: list[ItemTurn]) -> None:
    for turn in changes(life):
        if isinstance(turn.event, ContentLost):
            assert (turn.before.state, turn.after.state) == (State.STORED, State.DISCOVERED)
            assert (turn.after.due, turn.after.waiting_for, turn.after.reason) == (None, LISTING, BY_HAND)
            assert not has_been_stored(turn.after)


def as_poll_does(row: ItemRow, event: ItemEvent, now: datetime) -> ItemRow:
    """Reopen only what may be reopened, without a person's decision."""
    theirs = isinstance(event, RetryWanted | Released | ContentLost)
    return row if theirs or (isinstance(event, Reopened) and not may_reopen(row, now)) else advance(row, event, now)


@given(lives(FIRST_ITEMS, ITEM_EVENTS, LIKELY_FOR_ITEMS, as_poll_does))
def test_an_item_is_stored_once_where_only_what_may_be_reopened_is(life: list[ItemTurn]) -> None:
    stored = [turn for turn in changes(life) if turn.after.state is State.STORED is not turn.before.state]
    assert len(stored) <= 1


# --- erasures ---


@given(ITEM_LIVES)
def test_only_what_nobody_waits_for_is_erased_and_only_after_its_time(life: list[ItemTurn]) -> None:
    for turn in changes(life):
        if turn.after.state is State.ERASING:
            assert isinstance(turn.event, ErasureBegun)
            assert turn.before.state == turn.event.state != State.QUARANTINED
            assert (turn.before.due, turn.before.lease_until) == (None, None)
            assert turn.before.history[-1].at <= turn.event.ended_by
            assert turn.after.due == Due(Work.ERASE, turn.now)


@given(ITEM_LIVES)
def test_a_stored_item_is_erased_unacknowledged_only_where_nobody_means_to_tell(life: list[ItemTurn]) -> None:
    """By whoever stored it last: a person's wish to tell, or a poll's, is a due acknowledgement."""
    meant = False
    for turn in changes(life):
        if isinstance(turn.event, Committed | Released):
            meant = turn.event.policy is not AcknowledgePolicy.NEVER
        elif isinstance(turn.event, AcknowledgeWanted | AcknowledgeDeferred | RetryWanted):
            meant = True
        assert not (meant and turn.before.state is State.STORED and turn.after.state is State.ERASING)


@given(ITEM_LIVES)
def test_of_what_is_erased_the_history_stays_and_nothing_of_the_content(life: list[ItemTurn]) -> None:
    for turn in changes(life):
        if turn.after.state is State.ERASED:
            row = turn.after
            assert (row.record, dict(row.hints), row.words, row.reason, row.due) == (None, {}, (), None, None)
            assert isinstance(turn.event, Erased)
            assert row.expires_at == turn.event.keep_until
            assert turn.before.history[0] == row.history[0]
            assert row.history[-1].state == State.ERASED


def polled(row: ItemRow, event: ItemEvent, now: datetime) -> ItemRow:
    """Let only what a list says happen to what is erased, as poll does."""
    erased = row.state in (State.ERASING, State.ERASED)
    if not erased or (isinstance(event, Reopened) and may_reopen(row, now)) or isinstance(event, Erased):
        return as_poll_does(row, event, now)
    return row


@given(lives(FIRST_ITEMS, ITEM_EVENTS, LIKELY_FOR_ITEMS, polled))
def test_what_was_stored_and_erased_never_comes_again(life: list[ItemTurn]) -> None:
    left = [
        turn for turn in changes(life) if turn.before.state is State.ERASED and turn.after.state is not State.ERASED
    ]
    for turn in left:
        assert not any(past.state == State.STORED for past in turn.before.history)
        assert turn.now >= turn.before.history[-1].at + REOPEN_AFTER, "nobody can still be erasing"
        assert turn.after.expires_at is None


# --- leases ---


@given(ITEM_LIVES)
def test_the_fence_counts_the_leases_and_nothing_else(life: list[ItemTurn]) -> None:
    for turn in life:
        taken = isinstance(turn.event, LeaseTaken) and turn.refused is None
        assert turn.after.fence == turn.before.fence + taken


@given(ITEM_LIVES)
def test_a_stale_fence_never_changes_anything(life: list[ItemTurn]) -> None:
    for turn in life:
        fence = getattr(turn.event, "fence", None)
        if fence is not None and fence != turn.before.fence:
            assert turn.after == turn.before
            assert isinstance(turn.refused, LeaseLost)


@given(ITEM_LIVES)
def test_a_lease_is_held_while_an_item_is_fetched_and_never_else(life: list[ItemTurn]) -> None:
    assert all((turn.after.lease_until is not None) is (turn.after.state is State.FETCHING) for turn in life)


def watched(row: ItemRow, event: ItemEvent, now: datetime) -> ItemRow:
    """Let the event happen, and look whether the row that it was given is still what it was."""
    shown = repr(row)
    try:
        return advance(row, event, now)
    finally:
        assert repr(row) == shown


@given(lives(FIRST_ITEMS, ITEM_EVENTS, LIKELY_FOR_ITEMS, watched))
def test_what_is_refused_leaves_nothing_half_done(life: list[ItemTurn]) -> None:
    assert all(turn.after == turn.before for turn in life if turn.refused)


# --- history ---


@given(ITEM_LIVES)
def test_a_history_begins_with_the_first_step_and_ends_with_the_present_state(life: list[ItemTurn]) -> None:
    for turn in life:
        assert turn.after.history[0] == Past(START, State.DISCOVERED, life[0].before.waiting_for)
        assert turn.after.history[-1].state == turn.after.state
        assert list(turn.after.history) == sorted(turn.after.history, key=lambda past: past.at)


@given(ITEM_LIVES)
def test_a_change_adds_one_step_at_most_and_that_of_its_moment(life: list[ItemTurn]) -> None:
    for turn in changes(life):
        if turn.after.history != turn.before.history:
            assert turn.after.history[-1].at == turn.now
            assert set(turn.after.history[:-1]) <= set(turn.before.history)


PASTS = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([None, "x", "y"])), max_size=80)
MANY_PASTS = st.builds(lambda some, times: some * times, PASTS, st.sampled_from([1, 10]))


@given(MANY_PASTS)
def test_below_its_limit_a_history_forgets_no_way_of_failing(kinds: list[tuple[str, str | None]]) -> None:
    history: tuple[Past, ...] = ()
    for number, kind in enumerate(kinds):
        before, history = history, remembered(history, Past(START + timedelta(seconds=number), *kind))
        forgotten = {(past.state, past.reason) for past in before} - {(past.state, past.reason) for past in history}
        assert not forgotten or len(before) == HISTORY_AT_MOST
        assert len(history) <= HISTORY_AT_MOST
        assert len(history) in (len(before) + 1, len(before), len(before) - 1)


@given(st.permutations(["x", "y", None]), st.integers(1, 400))
def test_a_history_of_one_endless_failure_does_not_grow(reasons: list[str | None], times: int) -> None:
    history: tuple[Past, ...] = (Past(START, "DISCOVERED"),)
    for _ in range(times):
        history = remembered(history, Past(START, "FETCHING", reasons[0]))
        history = remembered(history, Past(START, "DISCOVERED", reasons[1]))
    assert len(history) <= 1 + 6


# --- work ---


@given(ITEM_LIVES)
def test_an_item_that_can_be_fetched_is_due_and_a_worker_may_take_it_then(life: list[ItemTurn]) -> None:
    for turn in life:
        row = turn.after
        if row.state is State.FETCHING or (row.state is State.DISCOVERED and row.waiting_for is None):
            assert row.due is not None and row.due.work is Work.FETCH
            assert lease_is_free(row, row.due.at)
            assert advance(row, Requeued(), row.due.at).due is not None


@given(ITEM_LIVES)
def test_an_item_that_nobody_works_on_is_due_within_an_hour_or_what_was_asked_for(life: list[ItemTurn]) -> None:
    for turn in changes(life):
        if turn.after.due is not None:
            asked = getattr(turn.event, "until", turn.now)
            assert turn.after.due.at <= max(asked, turn.now) + LONGEST_PAUSE


@given(ITEM_LIVES)
def test_an_item_that_waits_is_left_to_the_list_and_an_end_is_due_for_nothing(life: list[ItemTurn]) -> None:
    for turn in life:
        if turn.after.state in FINISHED or turn.after.waiting_for is not None:
            assert (turn.after.due, turn.after.lease_until) == (None, None)


@given(ITEM_LIVES)
def test_a_stored_item_is_due_for_the_portal_unless_nobody_wants_it_told(life: list[ItemTurn]) -> None:
    for turn in changes(life):
        if turn.after.state is State.STORED:
            silent = isinstance(turn.event, Committed | Released) and turn.event.policy is AcknowledgePolicy.NEVER
            assert (turn.after.due is None) is silent
            assert turn.after.due is None or turn.after.due.work is Work.ACKNOWLEDGE


# --- two workers and a clock ---


@dataclass
class Worker:
    """A worker that believes to hold a lease, until it lets it go or time says otherwise."""

    fence: int = 0
    until: datetime = START

    def works(self, now: datetime) -> bool:
        """Return whether the worker may believe in its lease."""
        return now < self.until


WORKERS = st.sampled_from([0, 1])
LEASES = st.integers(1, 300).map(lambda seconds: timedelta(seconds=seconds))


class TwoFetchers(RuleBasedStateMachine):
    """Two workers fetch one item; each knows only the lease that it once took."""

    @initialize(row=FIRST_ITEMS)
    def given_an_item(self, row: ItemRow) -> None:
        self.row, self.now, self.workers = row, START, (Worker(), Worker())
        self.is_stored = row.state is State.STORED

    @rule(pause=PAUSES)
    def time_passes(self, pause: timedelta) -> None:
        self.now += pause

    @rule(worker=WORKERS, length=LEASES)
    def a_worker_begins(self, worker: int, length: timedelta) -> None:
        free, until = lease_is_free(self.row, self.now), self.now + length
        if self.happens(LeaseTaken(until)):
            self.workers[worker].fence, self.workers[worker].until = self.row.fence, until
            assert free

    @rule(worker=WORKERS, pause=PAUSES, reason=REASONS)
    def a_worker_defers(self, worker: int, pause: timedelta, reason: str) -> None:
        self.ends(worker, Deferred(self.workers[worker].fence, self.now + pause, reason))

    @rule(worker=WORKERS)
    def a_worker_commits(self, worker: int) -> None:
        """Also one whose lease is long over: that document.json is there is a fact."""
        self.ends(worker, Committed(AcknowledgePolicy.STORED))
        self.is_stored = True

    @invariant()
    def what_is_in_the_inbox_is_stored(self) -> None:
        assert (self.row.state is State.STORED) is self.is_stored

    @rule(worker=WORKERS, reason=REASONS)
    def a_worker_finds_nothing(self, worker: int, reason: str) -> None:
        self.ends(worker, FoundGone(reason, self.workers[worker].fence))

    @rule(worker=WORKERS, reason=REASONS)
    def a_worker_finds_bytes_that_are_unreadable(self, worker: int, reason: str) -> None:
        self.ends(worker, FoundUnreadable(self.workers[worker].fence, reason))

    @rule(event=st.sampled_from([Requeued(), Reopened("{}")]))
    def a_poll_looks(self, event: ItemEvent) -> None:
        self.happens(event)

    @invariant()
    def at_most_one_holds_a_lease(self) -> None:
        assert sum(worker.works(self.now) for worker in self.workers) <= 1

    @invariant()
    def whoever_works_is_the_one_that_the_row_speaks_of(self) -> None:
        for worker in self.workers:
            if worker.works(self.now):
                assert self.row.fence == worker.fence
                assert self.row.state is State.FETCHING or self.is_stored  # what is there is there
                assert not lease_is_free(self.row, self.now)

    def happens(self, event: ItemEvent) -> bool:
        """Let an event happen to the row as the ledger does: judged by what the row is now."""
        try:
            self.row = advance(self.row, event, self.now)
        except (ImpossibleTransition, LeaseLost):
            return False
        return True

    def ends(self, worker: int, event: ItemEvent) -> None:
        """Let a worker end its fetch. One that believes in its lease is refused only what another one has brought."""
        believed = self.workers[worker].works(self.now)
        assert self.happens(event) or not believed or self.is_stored
        self.workers[worker].until = START


TestTwoFetchers = TwoFetchers.TestCase
