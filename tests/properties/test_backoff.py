"""Pauses: within their bounds, longer each time, and never what a header's odd text makes of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amtsbote.http import RETRY_AFTER_AT_MOST_SECONDS, retry_after_seconds
from amtsbote.lifecycle import (
    PROCESSED_CHECK_AT_MOST,
    PROCESSED_CHECK_FIRST,
    REOPEN_AFTER,
    REOPEN_AT_MOST,
    REQUEUE_AFTER,
    REQUEUE_AT_MOST,
    ItemRow,
    Past,
    Requeued,
    State,
    advance,
    lease_is_free,
    may_reopen,
    next_processed_check,
)
from amtsbote.queues import BACKOFF_AT_MOST_SECONDS, BACKOFF_FIRST_SECONDS, JITTER, backoff_seconds
from amtsbote.status import (
    PAUSE_AT_MOST,
    PAUSE_FIRST,
    ConnectionStatus,
    failed,
    paused,
    polled,
    recovered,
    throttled,
)
from tests.properties.strategies import ANY_CHARACTER, FIRST_ITEMS, MOMENTS, PAUSES, REASONS, START

ATTEMPTS = st.integers(1, 30) | st.integers(1, 10**9)
UNITS = st.floats(0, 1)
MIDDLE = 0.5  # of the jitter: none

# --- Retry-After ---

DATES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - added
ZONES = st.sampled_from(["GMT", "UTC", "-0000", "+0100", "-1200", "+9999", "EST", "", "MEZ"])
DATE_PIECES = st.sampled_from(
    [
        *("Thu,", "Do,", "19", "0", "32", "-1", "Feb", "feb", "Mär", "2026", "26", "0001", "9999", "10000", ",", ":"),
        *("14:30:00", "25:61:61", "14.30.00", "14:30", "GMT", "+0100", "(so)", "(", '"', "\\", "²", "٣", "½", "1e9"),
    ]
)
HEADERS = st.one_of(
    st.text(ANY_CHARACTER, max_size=40),
    st.integers(-(10**30), 10**30).map(str),
    st.text("0123456789٠١٢²½ .+-e_", max_size=12),
    st.lists(DATE_PIECES, max_size=8).map(" ".join),
    st.builds(lambda at, zone: f"{at:%a, %d %b %Y %H:%M:%S} {zone}", DATES, ZONES),
)
NUMBERS_BEYOND_A_DATE = ["Thu, 01 Jan 99999999999999999999 00:00:00 GMT", "Thu, 01 Jan 2026 00:00:00 +99999999999999"]


@given(HEADERS, MOMENTS)
def test_a_header_of_any_text_asks_for_no_wait_or_for_a_day_at_most(text: str, now: datetime) -> None:
    seconds = retry_after_seconds({"Retry-After": text}, now)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_AT_MOST_SECONDS


@pytest.mark.parametrize("text", NUMBERS_BEYOND_A_DATE)
def test_a_header_with_numbers_beyond_any_date_asks_for_no_wait(text: str) -> None:
    assert retry_after_seconds({"Retry-After": text}, START) is None


@given(st.integers(0, 10**6))
def test_a_number_of_seconds_is_the_wait(seconds: int) -> None:
    asked = retry_after_seconds({"Retry-After": str(seconds)}, START)
    assert asked == min(seconds, RETRY_AFTER_AT_MOST_SECONDS)


@given(st.integers(-(10**6), 10**6), st.booleans())
def test_a_date_is_the_wait_until_then(seconds: int, usegmt: bool) -> None:
    header = format_datetime(START + timedelta(seconds=seconds), usegmt=usegmt)
    asked = retry_after_seconds({"Retry-After": header}, START)
    assert asked == min(max(0, seconds), RETRY_AFTER_AT_MOST_SECONDS)


# --- the queue ---


@given(ATTEMPTS, UNITS)
@example(1, 0.0)
@example(10**9, 1.0)
def test_a_pause_is_within_its_bounds(attempt: int, unit: float) -> None:
    seconds = backoff_seconds(attempt, random_unit=unit)
    assert BACKOFF_FIRST_SECONDS * (1 - JITTER) <= seconds <= BACKOFF_AT_MOST_SECONDS * (1 + JITTER)


@given(ATTEMPTS, ATTEMPTS)
def test_without_jitter_a_later_try_never_pauses_less(one: int, other: int) -> None:
    first, second = (backoff_seconds(attempt, random_unit=MIDDLE) for attempt in sorted((one, other)))
    assert first <= second


@given(ATTEMPTS, UNITS, UNITS)
def test_jitter_spreads_a_pause_by_a_fifth_to_each_side(attempt: int, one: float, other: float) -> None:
    shorter, longer = (backoff_seconds(attempt, random_unit=unit) for unit in sorted((one, other)))
    middle = backoff_seconds(attempt, random_unit=MIDDLE)
    assert shorter <= longer
    assert abs(shorter - middle) <= JITTER * middle * 1.000001


@given(ATTEMPTS, st.floats(0, RETRY_AFTER_AT_MOST_SECONDS), UNITS)
def test_what_was_asked_for_is_waited_whatever_the_try(attempt: int, asked: float, unit: float) -> None:
    assert backoff_seconds(attempt, asked=asked, random_unit=unit) == asked


# --- the ledger ---


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_backends_tag_is_looked_for_within_bounds_and_ever_more_rarely(one: int, other: int) -> None:
    first, second = (next_processed_check(attempts, START) - START for attempts in sorted((one, other)))
    assert PROCESSED_CHECK_FIRST <= first <= second <= PROCESSED_CHECK_AT_MOST


@given(FIRST_ITEMS.filter(lambda row: lease_is_free(row, START)), st.integers(1, 30))
def test_a_request_that_nobody_takes_up_is_queued_ever_more_rarely(row: ItemRow, times: int) -> None:
    pauses = []
    for _ in range(times):
        row = advance(row, Requeued(), START)
        assert row.due is not None
        pauses.append(row.due.at - START)
    assert pauses == sorted(pauses)
    assert pauses[0] == REQUEUE_AFTER and pauses[-1] <= REQUEUE_AT_MOST


def unavailable(row: ItemRow, attempts: int) -> ItemRow:
    """Return the item after so many tries, found gone at START."""
    return replace(row, state=State.UNAVAILABLE, attempts=attempts, history=(Past(START, State.UNAVAILABLE, "GONE"),))


@given(FIRST_ITEMS, st.integers(0, 10**6), PAUSES, PAUSES)
def test_what_may_be_reopened_may_be_later_too_and_with_fewer_tries_behind_it(
    row: ItemRow, attempts: int, pause: timedelta, more: timedelta
) -> None:
    if may_reopen(unavailable(row, attempts), START + pause):
        assert pause >= REOPEN_AFTER
        assert may_reopen(unavailable(row, attempts), START + pause + more)
        assert may_reopen(unavailable(row, attempts // 2), START + pause)
    assert may_reopen(unavailable(row, attempts), START + REOPEN_AT_MOST)


# --- a connection ---

FRESH = ConnectionStatus("duba", "klinikum")
CHANGES = st.lists(st.tuples(st.sampled_from(["fails", "throttles", "works"]), PAUSES, REASONS, PAUSES), max_size=12)


def changed(status: ConnectionStatus, what: str, reason: str, ahead: timedelta, now: datetime) -> ConnectionStatus:
    """Return the status after one of the things that may happen to a connection."""
    if what == "fails":
        return failed(status, reason, now)
    return throttled(status, now + ahead) if what == "throttles" else recovered(status)


@given(CHANGES)
def test_a_pause_never_shrinks_but_by_a_recovery_and_ends(changes: list[tuple[str, timedelta, str, timedelta]]) -> None:
    status, now, asked = FRESH, START, START
    for what, pause, reason, ahead in changes:
        now += pause
        before, status = status, changed(status, what, reason, ahead, now)
        asked = max(asked, now + ahead) if what == "throttles" else asked
        if what != "works" and before.pause_until is not None:
            assert status.pause_until is not None and status.pause_until >= before.pause_until
        if status.pause_until is not None:
            assert status.pause_until <= max(asked, now + PAUSE_AT_MOST)
            assert not paused(status, status.pause_until, None)


@given(st.integers(1, 30))
def test_each_failure_after_its_pause_makes_the_next_one_longer_up_to_its_bound(times: int) -> None:
    status, now, pauses = FRESH, START, []
    for _ in range(times):
        status = failed(status, "LOGIN_REFUSED", now)
        assert status.pause_until is not None
        pauses.append(status.pause_until - now)
        now = status.pause_until
    assert pauses == sorted(pauses)
    assert (pauses[0], status.failures) == (PAUSE_FIRST, times)
    assert pauses[-1] <= PAUSE_AT_MOST


@given(CHANGES)
def test_a_secret_changed_since_the_failure_ends_the_pause_and_a_poll_that_works_forgets_it(
    changes: list[tuple[str, timedelta, str, timedelta]],
) -> None:
    status, now = FRESH, START
    for what, pause, reason, ahead in changes:
        now += pause
        status = changed(status, what, reason, ahead, now)
        if what == "fails":
            assert status.failed_at == now
            assert not paused(status, now, now + timedelta(seconds=1))
            assert polled(status, None, now, whole=False).healthy
