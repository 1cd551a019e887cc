"""Moments as people say them, in the time of the machine."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from amtsbote.cli.moments import end_of_day, moment, shown
from amtsbote.errors import Reject

THURSDAY = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine be in Germany."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("today", "2026-02-18T23:00:00+00:00"),
        ("yesterday", "2026-02-17T23:00:00+00:00"),
        ("Tuesday", "2026-02-16T23:00:00+00:00"),
        ("thursday", "2026-02-11T23:00:00+00:00"),
        ("friday", "2026-02-12T23:00:00+00:00"),
        ("2026-02-17", "2026-02-16T23:00:00+00:00"),
        ("2026-07-01T08:00", "2026-07-01T06:00:00+00:00"),
        ("2026-02-17T08:00Z", "2026-02-17T08:00:00+00:00"),
    ],
)
def test_a_day_begins_at_midnight_where_the_person_is(text: str, begins: str) -> None:
    assert moment(text, THURSDAY).isoformat() == begins


@pytest.mark.parametrize("text", ["Dienstag", "", "17.2.2026", "2026-13-01"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(Reject):
        moment(text, THURSDAY)


@pytest.mark.parametrize(("day", "hours"), [("2026-02-17", 24), ("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_is_as_long_as_it_is(day: str, hours: int) -> None:
    begin = moment(day, THURSDAY)
    assert end_of_day(begin) - begin == timedelta(hours=hours)


def test_people_read_local_time() -> None:
    assert shown(THURSDAY) == "2026-02-19 15:30"
