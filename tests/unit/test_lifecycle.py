"""The life of an inbound item: every event in every state, lost leases, and what the watermark may skip."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amtsbote.errors import LeaseLost
from amtsbote.lifecycle import (
    HISTORY_AT_MOST,
    REOPEN_AFTER,
    REOPEN_AT_MOST,
    REQUEUE_AFTER,
    Acknowledged,
    AcknowledgeDeferred,
    AcknowledgeWanted,
    Committed,
    Deferred,
    Due,
    FoundGone,
    FoundUnreadable,
    Hydrated,
    ImpossibleTransition,
    ItemEvent,
    ItemRow,
    LeaseTaken,
    Past,
    Reopened,
    Requeued,
    RetryWanted,
    State,
    Work,
    advance,
    lease_is_free,
    may_reopen,
    next_processed_check,
    opened,
    remembered,
    watermark_after,
)
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import Finding
from tests.unit.support import NOW, later

LEASE_END = later(minutes=4)
STORED_POLICY, PROCESSED, NEVER = AcknowledgePolicy.STORED, AcknowledgePolicy.PROCESSED, AcknowledgePolicy.NEVER


def discovered(**changes: object) -> ItemRow:
    finding = Finding("214", NOW - timedelta(hours=1), {}, None, {"account": "7"})
    return replace(opened("duba", "klinikum", finding, '{"id": 214}', NOW), **changes)  # type: ignore[arg-type]


def waiting() -> ItemRow:
    return opened("duba", "klinikum", Finding("214", None, {}, "hydration"), "{}", NOW)


def fetching() -> ItemRow:
    return advance(discovered(), LeaseTaken(LEASE_END), NOW)


def stored(policy: AcknowledgePolicy = STORED_POLICY) -> ItemRow:
    return advance(fetching(), Committed(policy), later(minutes=1))


def quarantined() -> ItemRow:
    return advance(fetching(), FoundUnreadable(1, "NO_ZIP"), NOW)


def unavailable() -> ItemRow:
    return advance(fetching(), FoundGone("GONE", 1), NOW)


def acknowledged() -> ItemRow:
    return advance(stored(), Acknowledged("DELETED"), NOW)


ROWS = {
    "discovered": discovered(),
    "waiting": waiting(),
    "fetching": fetching(),
    "stored": stored(),
    "acknowledged": acknowledged(),
    "quarantined": quarantined(),
    "unavailable": unavailable(),
}
EVENTS: dict[str, ItemEvent] = {
    "hydrated": Hydrated("{}"),
    "hydrated too large": Hydrated(None),
    "requeued": Requeued(),
    "reopened": Reopened("{}"),
    "reopened too large": Reopened(None),
    "leased": LeaseTaken(LEASE_END),
    "committed": Committed(STORED_POLICY),
    "deferred": Deferred(1, LEASE_END, "OUTAGE"),
    "unreadable": FoundUnreadable(1, "NO_ZIP"),
    "gone while fetched": FoundGone("GONE", 1),
    "gone when told": FoundGone("GONE"),
    "told wanted": AcknowledgeWanted(),
    "told": Acknowledged("DELETED"),
    "told later": AcknowledgeDeferred(LEASE_END, "NOT_YET"),
}
POSSIBLE = {
    ("discovered", "requeued"): State.DISCOVERED,
    ("discovered", "leased"): State.FETCHING,
    ("discovered", "committed"): State.STORED,
    ("waiting", "committed"): State.STORED,
    ("waiting", "hydrated"): State.DISCOVERED,
    ("waiting", "hydrated too large"): State.QUARANTINED,
    ("fetching", "committed"): State.STORED,
    ("fetching", "deferred"): State.DISCOVERED,
    ("fetching", "unreadable"): State.QUARANTINED,
    ("fetching", "gone while fetched"): State.UNAVAILABLE,
    ("stored", "committed"): State.STORED,
    ("stored", "gone when told"): State.UNAVAILABLE,
    ("stored", "told wanted"): State.STORED,
    ("stored", "told"): State.ACKNOWLEDGED,
    ("stored", "told later"): State.STORED,
    ("acknowledged", "committed"): State.ACKNOWLEDGED,
    ("acknowledged", "told"): State.ACKNOWLEDGED,
    ("quarantined", "committed"): State.STORED,
    ("unavailable", "committed"): State.STORED,
    ("unavailable", "reopened"): State.DISCOVERED,
    ("unavailable", "reopened too large"): State.QUARANTINED,
}
UNDER_LEASE = {"deferred", "unreadable", "gone while fetched"}


@pytest.mark.parametrize(("row", "event"), POSSIBLE, ids="-".join)
def test_a_possible_event_leads_to_its_state(row: str, event: str) -> None:
    assert advance(ROWS[row], EVENTS[event], NOW).state is POSSIBLE[row, event]


@pytest.mark.parametrize(
    ("row", "event"), [(r, e) for r in ROWS for e in EVENTS if (r, e) not in POSSIBLE], ids="-".join
)
def test_every_other_event_is_refused(row: str, event: str) -> None:
    with pytest.raises(LeaseLost if event in UNDER_LEASE else ImpossibleTransition):
        advance(ROWS[row], EVENTS[event], NOW)


def test_a_fetch_is_queued_again_only_when_its_worker_is_out_of_time() -> None:
    assert advance(fetching(), Requeued(), LEASE_END).due == Due(Work.FETCH, LEASE_END + REQUEUE_AFTER)
    with pytest.raises(ImpossibleTransition):
        advance(fetching(), Requeued(), LEASE_END - timedelta(seconds=1))


def test_an_item_listed_again_starts_with_the_first_pause() -> None:
    often = replace(unavailable(), queued=9)
    again = advance(often, Reopened("{}"), NOW)
    assert (again.queued, again.due) == (0, Due(Work.FETCH, NOW + REQUEUE_AFTER))


def test_each_vain_try_doubles_the_wait_before_an_unavailable_item_is_reopened() -> None:
    thrice = replace(unavailable(), attempts=3)
    assert not may_reopen(thrice, NOW + 4 * REOPEN_AFTER - timedelta(seconds=1))
    assert may_reopen(thrice, NOW + 4 * REOPEN_AFTER)
    assert may_reopen(replace(unavailable(), attempts=99), NOW + REOPEN_AT_MOST)


def test_an_impossible_transition_names_event_and_state() -> None:
    with pytest.raises(ImpossibleTransition, match="Acknowledged cannot happen in state DISCOVERED"):
        advance(discovered(), Acknowledged("DELETED"), NOW)


# --- opening ---


def test_an_opened_item_remembers_what_the_portal_listed() -> None:
    row = discovered()
    assert (row.portal, row.connection, row.id, row.version) == ("duba", "klinikum", "214", 1)
    assert (row.created_at, row.discovered_at) == (NOW - timedelta(hours=1), NOW)
    assert (row.record, row.hints) == ('{"id": 214}', {"account": "7"})
    assert row.history == (Past(NOW, "DISCOVERED"),)


def test_an_opened_item_is_queued_again_when_nobody_takes_it_up_within_a_minute() -> None:
    assert discovered().due == Due(Work.FETCH, later(seconds=60))


def test_an_item_that_waits_is_due_only_when_it_can_be_fetched() -> None:
    row = waiting()
    assert (row.due, row.waiting_for) == (None, "hydration")
    ready = advance(row, Hydrated('{"now": "readable"}'), later(hours=1))
    assert (ready.due, ready.waiting_for) == (Due(Work.FETCH, later(hours=1, seconds=60)), None)
    assert ready.record == '{"now": "readable"}'
    assert ready.history[-1] == Past(later(hours=1), "DISCOVERED", "READY")


def test_an_item_that_waits_is_not_queued() -> None:
    with pytest.raises(ImpossibleTransition):
        advance(waiting(), Requeued(), NOW)


def test_a_request_that_nobody_takes_up_is_queued_ever_more_rarely_up_to_an_hour() -> None:
    row, pauses = discovered(), []
    for _ in range(9):
        row = advance(row, Requeued(), NOW)
        assert row.due is not None
        pauses.append((row.due.at - NOW) / timedelta(minutes=1))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_being_queued_again_is_no_step_of_the_history() -> None:
    assert advance(discovered(), Requeued(), NOW).history == discovered().history


def test_an_item_listed_again_starts_anew_with_the_new_record() -> None:
    row = replace(unavailable(), queued=9)
    again = advance(row, Reopened('{"new": 1}'), later(hours=2))
    assert (again.record, again.queued) == ('{"new": 1}', 0)
    assert again.history[-1] == Past(later(hours=2), "DISCOVERED", "LISTED_AGAIN")
    assert again.due is not None


# --- leases ---


def test_a_lease_counts_up_the_fence_and_the_attempts_and_is_due_when_it_runs_out() -> None:
    row = fetching()
    assert (row.fence, row.attempts, row.lease_until) == (1, 1, LEASE_END)
    assert row.due == Due(Work.FETCH, LEASE_END)


def test_a_lease_that_runs_is_not_taken_over() -> None:
    with pytest.raises(ImpossibleTransition):
        advance(fetching(), LeaseTaken(later(hours=1)), LEASE_END - timedelta(seconds=1))


def test_a_lease_that_has_run_out_is_taken_over_with_a_new_fence() -> None:
    taken = advance(fetching(), LeaseTaken(later(hours=1)), LEASE_END)
    assert (taken.fence, taken.attempts, taken.lease_until) == (2, 2, later(hours=1))


@pytest.mark.parametrize("event", sorted(UNDER_LEASE))
def test_the_worker_whose_lease_was_taken_over_can_write_nothing(event: str) -> None:
    taken = advance(fetching(), LeaseTaken(later(hours=1)), LEASE_END)
    with pytest.raises(LeaseLost):
        advance(taken, EVENTS[event], LEASE_END)


@pytest.mark.parametrize(
    ("row", "now", "free"),
    [
        (discovered(), NOW, True),
        (waiting(), NOW, False),
        (fetching(), LEASE_END - timedelta(seconds=1), False),
        (fetching(), LEASE_END, True),
        (replace(fetching(), lease_until=None), LEASE_END, False),
        (stored(), later(days=9), False),
        (quarantined(), later(days=9), False),
        (unavailable(), later(days=9), False),
        (acknowledged(), later(days=9), False),
    ],
)
def test_a_lease_is_free_only_where_nobody_works_on_a_fetchable_item(row: ItemRow, now: datetime, free: bool) -> None:
    assert lease_is_free(row, now) is free


# --- what a fetch ends in ---


@pytest.mark.parametrize(
    ("policy", "due"),
    [
        (STORED_POLICY, Due(Work.ACKNOWLEDGE, later(minutes=1))),
        (PROCESSED, Due(Work.ACKNOWLEDGE, later(minutes=1))),
        (NEVER, None),
    ],
)
def test_a_stored_item_is_due_for_acknowledging_unless_nobody_shall_be_told(
    policy: AcknowledgePolicy, due: Due | None
) -> None:
    assert stored(policy).due == due


def test_a_stored_item_lets_go_of_lease_record_and_attempts_but_not_of_its_hints() -> None:
    row = stored()
    assert (row.lease_until, row.record, row.attempts, row.hints) == (None, None, 0, {"account": "7"})


@pytest.mark.parametrize("row", [stored(), acknowledged(), advance(stored(), FoundGone("GONE"), NOW)])
def test_a_second_commit_of_the_same_document_changes_nothing(row: ItemRow) -> None:
    assert advance(row, Committed(STORED_POLICY), later(hours=1)) is row


def test_a_deferred_fetch_waits_half_a_minute_longer_than_the_queue_does() -> None:
    row = advance(fetching(), Deferred(1, later(minutes=10), "OUTAGE"), NOW)
    assert row.due == Due(Work.FETCH, later(minutes=10, seconds=30))
    assert (row.lease_until, row.reason, row.attempts, row.record) == (None, "OUTAGE", 1, '{"id": 214}')


@pytest.mark.parametrize(("minutes", "free"), [(0, False), (9, False), (10, True), (11, True)])
def test_a_deferred_item_is_taken_by_no_request_before_its_time(minutes: int, free: bool) -> None:
    row = advance(fetching(), Deferred(1, later(minutes=10), "OUTAGE"), NOW)
    assert lease_is_free(row, later(minutes=minutes)) is free
    if free:
        assert advance(row, LeaseTaken(LEASE_END), later(minutes=minutes)).not_before is None


def test_an_item_whose_record_is_too_large_is_set_aside_without_it_and_due_for_nothing() -> None:
    huge = opened("duba", "klinikum", Finding("214", NOW, {}), None, NOW)
    later_known = advance(waiting(), Hydrated(None), NOW)
    for row in (huge, later_known, advance(unavailable(), Reopened(None), NOW)):
        assert (row.state, row.reason, row.record) == (State.QUARANTINED, "RECORD_TOO_LARGE", None)
        assert (row.due, row.waiting_for, lease_is_free(row, later(days=9))) == (None, None, False)


def test_what_was_set_aside_waits_for_the_list_when_a_person_wants_it() -> None:
    huge = opened("duba", "klinikum", Finding("214", NOW, {}), None, NOW)
    wanted = advance(huge, RetryWanted(), later(hours=1))
    assert (wanted.state, wanted.waiting_for, wanted.due) == (State.DISCOVERED, "LISTING", None)
    listed = advance(wanted, Hydrated("{}"), later(hours=2))
    assert (listed.record, listed.waiting_for) == ("{}", None)
    assert advance(quarantined(), RetryWanted(), NOW).waiting_for is None, "its record is kept"


@pytest.mark.parametrize("row", [quarantined(), unavailable(), acknowledged()])
def test_what_has_ended_is_due_for_nothing(row: ItemRow) -> None:
    assert (row.due, row.lease_until) == (None, None)


def test_a_quarantined_item_keeps_its_record_for_the_person_who_decides() -> None:
    assert (quarantined().record, quarantined().reason) == ('{"id": 214}', "NO_ZIP")


# --- telling the portal ---


def test_an_item_gone_when_the_portal_was_told_is_unavailable() -> None:
    row = advance(stored(), FoundGone("NOT_FOUND"), NOW)
    assert (row.state, row.reason, row.due) == (State.UNAVAILABLE, "NOT_FOUND", None)


def test_the_wish_to_tell_the_portal_makes_a_stored_item_due() -> None:
    assert advance(stored(NEVER), AcknowledgeWanted(), later(days=1)).due == Due(Work.ACKNOWLEDGE, later(days=1))


def test_a_deferred_acknowledgement_counts_its_attempts_and_leaves_the_history_alone() -> None:
    row = advance(stored(), AcknowledgeDeferred(later(hours=1), "NOT_YET"), NOW)
    assert (row.due, row.attempts, row.reason) == (Due(Work.ACKNOWLEDGE, later(hours=1)), 1, "NOT_YET")
    assert row.history == stored().history


def test_a_second_confirmation_changes_nothing() -> None:
    assert advance(acknowledged(), Acknowledged("ALREADY_DELETED"), later(hours=1)) == acknowledged()


@pytest.mark.parametrize(("attempts", "pause"), [(0, 30), (1, 60), (4, 480), (5, 900), (10_000, 900)])
def test_the_backends_tag_is_looked_for_ever_more_rarely_up_to_a_quarter_of_an_hour(attempts: int, pause: int) -> None:
    assert next_processed_check(attempts, NOW) == later(seconds=pause)


# --- history ---


def test_a_try_that_fails_in_the_same_way_for_a_month_leaves_a_short_history() -> None:
    row = discovered()
    for hour in range(24 * 30):
        row = advance(row, LeaseTaken(later(hours=hour, minutes=4)), later(hours=hour))
        row = advance(row, Deferred(row.fence, later(hours=hour + 1), "OUTAGE"), later(hours=hour, minutes=1))
    assert len(row.history) <= 6
    assert row.history[0] == Past(NOW, "DISCOVERED")
    assert row.history[2] == Past(later(minutes=1), "DISCOVERED", "OUTAGE")
    assert row.history[-1] == Past(later(hours=719, minutes=1), "DISCOVERED", "OUTAGE")


def test_a_try_that_fails_in_changing_ways_keeps_its_first_and_its_latest_steps() -> None:
    history: tuple[Past, ...] = ()
    for number in range(5 * HISTORY_AT_MOST):
        history = remembered(history, Past(later(minutes=number), "DISCOVERED", f"WAY_{number}"))
    assert len(history) == HISTORY_AT_MOST
    assert (history[0].reason, history[1].reason) == ("WAY_0", f"WAY_{4 * HISTORY_AT_MOST + 1}")
    assert history[-1].reason == f"WAY_{5 * HISTORY_AT_MOST - 1}"


def test_a_short_history_is_kept_whole() -> None:
    row = acknowledged()
    assert [past.state for past in row.history] == ["DISCOVERED", "FETCHING", "STORED", "ACKNOWLEDGED"]


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(["x", None])), max_size=60))
def test_no_history_forgets_its_first_or_its_latest_step(steps: list[tuple[str, str | None]]) -> None:
    pasts = [Past(later(seconds=number), *step) for number, step in enumerate(steps)]
    history: tuple[Past, ...] = ()
    for past in pasts:
        history = remembered(history, past)
        assert (history[0], history[-1]) == (pasts[0], past)
    assert list(history) == sorted(history, key=lambda each: each.at)


@pytest.mark.parametrize(
    ("row", "now", "may"),
    [
        (unavailable(), later(minutes=59), False),
        (unavailable(), later(minutes=60), True),
        (advance(stored(), FoundGone("NOT_FOUND"), NOW), later(days=9), False),
        (quarantined(), later(days=9), False),
        (stored(), later(days=9), False),
    ],
)
def test_only_what_never_was_stored_is_tried_again_and_only_after_an_hour(
    row: ItemRow, now: datetime, may: bool
) -> None:
    assert may_reopen(row, now) is may


# --- watermark ---

HOURS = st.integers(0, 500).map(lambda hours: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours))
LISTED = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | HOURS)
SETTLED_IDS = st.frozensets(st.sampled_from("abcdefgh"))


@given(st.none() | HOURS, LISTED, SETTLED_IDS)
def test_the_watermark_never_passes_an_item_that_is_not_settled(
    previous: datetime | None, listed: Mapping[str, datetime | None], settled: frozenset[str]
) -> None:
    mark = watermark_after(previous, listed, settled)
    unsettled = [moment for id_, moment in listed.items() if id_ not in settled and moment is not None]
    assert mark is None or all(mark <= moment for moment in unsettled)


@given(HOURS, LISTED, SETTLED_IDS)
def test_a_watermark_once_set_is_never_lost(
    previous: datetime, listed: Mapping[str, datetime | None], settled: frozenset[str]
) -> None:
    assert watermark_after(previous, listed, settled) is not None


@given(st.none() | HOURS, LISTED, SETTLED_IDS)
def test_an_unsettled_item_without_a_moment_keeps_the_watermark_from_advancing(
    previous: datetime | None, listed: Mapping[str, datetime | None], settled: frozenset[str]
) -> None:
    mark = watermark_after(previous, {**listed, "x": None}, settled)
    assert mark is None if previous is None else mark is not None and mark <= previous


def test_the_watermark_advances_to_the_newest_item_when_all_are_settled() -> None:
    assert watermark_after(NOW, {"a": later(hours=2), "b": later(hours=1)}, frozenset("ab")) == later(hours=2)


def test_the_watermark_does_not_go_back_when_only_older_settled_items_are_listed() -> None:
    assert watermark_after(NOW, {"a": later(hours=-2)}, frozenset("a")) == NOW


def test_an_item_that_appears_late_takes_the_watermark_back() -> None:
    assert watermark_after(NOW, {"a": later(hours=-2), "b": later(hours=1)}, frozenset("b")) == later(hours=-2)


def test_a_late_item_takes_the_watermark_back_also_beside_one_without_a_moment() -> None:
    assert watermark_after(NOW, {"late": later(hours=-2), "timeless": None}, frozenset()) == later(hours=-2)


def test_a_settled_item_without_a_moment_is_no_obstacle() -> None:
    assert watermark_after(None, {"a": None, "b": NOW}, frozenset("ab")) == NOW


def test_where_nothing_was_ever_listed_there_is_no_watermark() -> None:
    assert watermark_after(None, {}, frozenset()) is None
