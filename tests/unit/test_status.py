"""The health of a connection: pauses that double, throttles that are kept, and what ends them."""

from dataclasses import replace
from datetime import datetime

import pytest

from amtsbote.status import ConnectionStatus, failed, paused, polled, recovered, throttled, timed_out
from tests.unit.support import NOW, later

FRESH = ConnectionStatus("duba", "klinikum")


def test_a_connection_of_which_nothing_is_known_is_healthy_and_may_be_tried() -> None:
    assert (FRESH.healthy, FRESH.version) == (True, 0)
    assert not paused(FRESH, NOW, None)


def test_each_failure_in_a_row_doubles_the_pause_up_to_a_quarter_of_an_hour() -> None:
    status, now, pauses = FRESH, NOW, []
    for _ in range(7):
        status = failed(status, "LOGIN_REFUSED", now)
        assert status.pause_until is not None
        pauses.append((status.pause_until - now).total_seconds())
        now = status.pause_until
    assert pauses == [30, 60, 120, 240, 480, 900, 900]
    assert (status.failures, status.healthy, status.reason) == (7, False, "LOGIN_REFUSED")


def test_many_workers_that_find_the_same_thing_count_as_one_failure() -> None:
    status = failed(FRESH, "LOGIN_REFUSED", NOW)
    again = failed(status, "LOGIN_REFUSED", later(seconds=29))
    assert again == replace(status, failed_at=later(seconds=29))


def test_a_failure_does_not_shorten_the_pause_that_the_portal_asked_for() -> None:
    assert failed(throttled(FRESH, later(hours=1)), "LOGIN_REFUSED", NOW).pause_until == later(hours=1)


def test_a_new_secret_that_is_as_wrong_is_not_tried_at_every_turn() -> None:
    status = failed(FRESH, "LOGIN_REFUSED", NOW)
    tried_again = failed(status, "LOGIN_REFUSED", later(seconds=10))
    assert paused(tried_again, later(seconds=11), changed_at=later(seconds=5))


@pytest.mark.parametrize(("reason", "seconds"), [("LOGIN_REFUSED", 30), ("SECRET_INVALID", 29)])
def test_a_failure_after_the_pause_or_for_another_reason_counts(reason: str, seconds: int) -> None:
    assert failed(failed(FRESH, "LOGIN_REFUSED", NOW), reason, later(seconds=seconds)).failures == 2


def test_a_connection_that_works_again_is_as_if_it_had_never_failed() -> None:
    assert recovered(failed(FRESH, "LOGIN_REFUSED", NOW)) == FRESH


def test_a_throttled_connection_stays_healthy_but_is_left_alone() -> None:
    status = throttled(FRESH, later(minutes=10))
    assert status.healthy
    assert paused(status, later(minutes=9), None)
    assert not paused(status, later(minutes=10), None)


def test_a_shorter_throttle_never_shortens_a_longer_one() -> None:
    assert throttled(throttled(FRESH, later(hours=1)), later(minutes=1)).pause_until == later(hours=1)
    assert throttled(throttled(FRESH, later(minutes=1)), later(hours=1)).pause_until == later(hours=1)


def test_a_success_elsewhere_does_not_end_the_pause_that_the_portal_asked_for() -> None:
    status = throttled(FRESH, later(minutes=10))
    assert paused(polled(status, None, NOW, whole=False), later(minutes=9), None)


def test_a_successful_poll_is_noted_and_recovers_the_connection() -> None:
    status = polled(failed(FRESH, "LOGIN_REFUSED", NOW), later(hours=-1), later(minutes=1), whole=False)
    assert status == replace(FRESH, watermark=later(hours=-1), polled_at=later(minutes=1))


def test_only_a_poll_without_watermark_reconciles() -> None:
    whole = polled(FRESH, NOW, NOW, whole=True)
    assert whole.reconciled_at == NOW
    assert polled(whole, NOW, later(hours=1), whole=False).reconciled_at == NOW


@pytest.mark.parametrize(
    ("changed_at", "left_alone"), [(None, True), (later(minutes=-1), True), (NOW, True), (later(seconds=1), False)]
)
def test_a_secret_changed_since_the_failure_ends_the_pause(changed_at: datetime | None, left_alone: bool) -> None:
    assert paused(failed(FRESH, "LOGIN_REFUSED", NOW), later(seconds=5), changed_at) is left_alone


def test_a_changed_secret_does_not_end_a_throttle() -> None:
    assert paused(throttled(FRESH, later(minutes=10)), later(minutes=5), later(minutes=4))


def test_one_slow_answer_is_no_outage_and_the_second_in_a_row_is_one() -> None:
    once = timed_out(FRESH, NOW)
    assert (once.healthy, paused(once, NOW, None)) == (True, False)
    twice = timed_out(once, later(minutes=5))
    assert (twice.healthy, twice.reason, twice.pause_until) == (False, "PORTAL_TOO_SLOW", later(minutes=5, seconds=30))


def test_an_answer_between_two_that_were_too_slow_counts_from_the_beginning() -> None:
    answered = recovered(timed_out(FRESH, NOW))
    assert answered == FRESH
    assert timed_out(answered, later(minutes=5)).healthy


def test_a_portal_that_hangs_on_is_tried_more_and_more_rarely() -> None:
    status, now, pauses = timed_out(FRESH, NOW), NOW, []
    for _ in range(7):
        status = timed_out(status, now)
        assert status.pause_until is not None
        pauses.append((status.pause_until - now).total_seconds())
        now = status.pause_until
    assert pauses == [30, 60, 120, 240, 480, 900, 900]


def test_a_connection_that_hung_and_answers_is_as_if_it_had_never_failed() -> None:
    assert recovered(timed_out(timed_out(FRESH, NOW), NOW)) == FRESH
