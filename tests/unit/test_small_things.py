"""Deadlines, batches, settings, moments and errors: small promises that everything else leans on."""

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from requests import HTTPError, Response

from amtsbote import times
from amtsbote.batches import in_batches, side_by_side
from amtsbote.deadline import RESERVE_SECONDS, Deadline
from amtsbote.errors import (
    AmtsboteError,
    LeaseLost,
    Misconfigured,
    OutOfTime,
    Quarantine,
    Reject,
    Retry,
    Unavailable,
)
from amtsbote.observability import log_crash
from amtsbote.settings import read_settings
from tests.unit.support import Logged, refusal

CANARY = "Aktenzeichen-4711-geheim"

# --- deadline ---


class Stopwatch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Context:
    """A Lambda context with that many milliseconds left."""

    def __init__(self, milliseconds: int) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


def test_a_deadline_passes() -> None:
    watch = Stopwatch()
    deadline = Deadline(10, clock=watch)
    assert deadline.remaining_seconds() == 10
    watch.seconds += 9.5
    deadline.check()
    assert deadline.remaining_seconds() == 0.5
    watch.seconds += 0.5
    with pytest.raises(OutOfTime):
        deadline.check()


def test_no_less_than_nothing_remains_after_a_deadline() -> None:
    watch = Stopwatch()
    deadline = Deadline(10, clock=watch)
    watch.seconds += 99
    assert deadline.remaining_seconds() == 0


def test_the_deadline_of_an_invocation_keeps_a_reserve() -> None:
    deadline = Deadline.of(Context(60_000))
    assert 51 < deadline.remaining_seconds() <= 60 - RESERVE_SECONDS


def test_an_invocation_with_less_than_the_reserve_begins_nothing() -> None:
    with pytest.raises(OutOfTime):
        Deadline.of(Context(int(RESERVE_SECONDS * 1000))).check()


# --- batches ---


@given(st.lists(st.integers()), st.integers(1, 12))
def test_batches_are_full_but_for_the_last_and_lose_nothing(things: list[int], size: int) -> None:
    batches = list(in_batches(things, size))
    assert [thing for batch in batches for thing in batch] == things
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches)


def test_batches_are_made_while_the_things_come() -> None:
    things = iter(range(1000))
    assert next(in_batches(things, 3)) == [0, 1, 2]
    assert next(things) == 3


@pytest.mark.parametrize("workers", [1, 2, 8, 100])
def test_results_come_in_the_order_of_the_things(workers: int) -> None:
    assert side_by_side(lambda number: number * 2, range(50), workers) == [number * 2 for number in range(50)]


def test_as_many_things_are_worked_on_at_once_as_there_are_workers() -> None:
    together = threading.Barrier(3, timeout=5)
    assert len(side_by_side(lambda _: together.wait(), range(3), 3)) == 3


def test_a_single_worker_works_in_the_callers_thread() -> None:
    assert set(side_by_side(lambda _: threading.current_thread(), range(3), 1)) == {threading.current_thread()}


@pytest.mark.parametrize("workers", [1, 4])
def test_the_first_error_reaches_the_caller_when_nothing_is_under_way_any_more(workers: int) -> None:
    under_way: set[int] = set()

    def work(number: int) -> None:
        under_way.add(number)
        try:
            if number % 2:
                raise Reject("X", str(number))
        finally:
            under_way.discard(number)

    with pytest.raises(Reject, match="X: 1"):
        side_by_side(work, range(8), workers)
    assert under_way == set()


# --- settings ---

NEEDED = {
    "AMTSBOTE_PORTAL": "duba",
    "AMTSBOTE_LEDGER_TABLE": "ledger",
    "AMTSBOTE_EVENT_BUS": "bus",
    "AMTSBOTE_QUEUE_URL": "https://sqs/own",
}


def test_settings_come_from_the_variables_with_our_prefix_alone() -> None:
    more = {"AMTSBOTE_LEASE_SECONDS": "240", "AMTSBOTE_TRIES": "12", "AMTSBOTE_NEWER": "x", "INBOX_BUCKET": "not ours"}
    settings = read_settings(NEEDED | more)
    assert (settings.portal, settings.ledger_table, settings.inbox_bucket) == ("duba", "ledger", "")
    assert (settings.event_bus, settings.queue_url) == ("bus", "https://sqs/own")
    assert (settings.lease_seconds, settings.tries) == (240, 12)


def test_by_default_loopback_is_off_and_two_days_overlap() -> None:
    settings = read_settings(NEEDED)
    assert (settings.allow_loopback, settings.overlap) == (False, timedelta(hours=48))


@pytest.mark.parametrize(("value", "allowed"), [("false", False), ("true", True), ("0", False), ("1", True)])
def test_loopback_is_allowed_as_the_template_says(value: str, allowed: bool) -> None:
    assert read_settings(NEEDED | {"AMTSBOTE_ALLOW_LOOPBACK": value}).allow_loopback is allowed


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("value", [{}, ""])
def test_a_function_without_what_every_function_needs_does_not_start(name: str, value: Any) -> None:
    others = {key: each for key, each in NEEDED.items() if key != name}
    with pytest.raises(ValidationError, match=name.removeprefix("AMTSBOTE_").lower()):
        read_settings(others | ({name: value} if isinstance(value, str) else {}))


def test_settings_are_those_of_the_process_where_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    assert read_settings() == read_settings(NEEDED)


def test_settings_never_change() -> None:
    settings: Any = read_settings(NEEDED)
    with pytest.raises(ValidationError):
        settings.portal = "docxworld"


# --- moments ---

BERLIN = timezone(timedelta(hours=1))


def test_a_moment_is_written_in_utc_to_the_second() -> None:
    assert times.written(datetime(2026, 2, 19, 15, 30, 0, 999999, tzinfo=BERLIN)) == "2026-02-19T14:30:00Z"


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone is added below
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
)
def test_the_order_of_sortable_moments_is_that_of_time(one: datetime, other: datetime) -> None:
    first, second = one.replace(tzinfo=UTC), other.replace(tzinfo=BERLIN)
    assert (times.sortable(first) < times.sortable(second)) is (first < second)
    assert len(times.sortable(first)) == 27


def test_now_is_in_utc() -> None:
    assert times.now().tzinfo is UTC


# --- errors ---


@pytest.mark.parametrize(
    "error",
    [Retry("C", "m"), Reject("C", "m"), Quarantine("C", "m"), Unavailable("C", "m"), Misconfigured("C", "m")],
)
def test_every_error_has_a_code_a_message_and_one_root(error: AmtsboteError) -> None:
    assert isinstance(error, AmtsboteError)
    assert (error.code, error.message, str(error), error.portal_words) == ("C", "m", "C: m", None)


def test_the_portals_words_are_not_in_the_text_of_an_error() -> None:
    error = Retry("C", "m", after_seconds=7, portal_words=CANARY)
    assert (error.after_seconds, error.portal_words) == (7, CANARY)
    assert CANARY not in f"{error} {error!r} {error.args}"


@pytest.mark.parametrize("error", [OutOfTime(), LeaseLost()])
def test_running_out_of_time_or_of_a_lease_may_be_tried_again(error: Retry) -> None:
    assert isinstance(error, Retry)
    assert error.after_seconds is None


@pytest.mark.parametrize("may_pass", [False, True])
def test_a_quarantine_says_whether_it_may_pass(may_pass: bool) -> None:
    assert Quarantine("C", "m", may_pass=may_pass).may_pass is may_pass


# --- crashes ---


def crash(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError(CANARY), "RuntimeError"),
        (refusal("AccessDenied"), "AccessDenied"),
        (HTTPError(CANARY), "HTTPError"),
        (HTTPError(CANARY, response=Response()), "HTTPError"),
    ],
)
def test_a_crash_is_logged_by_code_and_place_and_never_by_its_text(error: Exception, code: str, logged: Logged) -> None:
    log_crash(crash(error))
    said = logged()
    assert f'"code":"{code}"' in said.replace(": ", ":")
    assert "test_small_things.py" in said
    assert CANARY not in said
    assert "geheim" not in said
