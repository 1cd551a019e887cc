"""What differs, judged as functions of values; and the report, as it grows and as it is written."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amtsbote.deliveries import DropRow, DropState, received
from amtsbote.keys import document_key, item_prefix
from amtsbote.lifecycle import Due, ItemRow, Past, State, Work, opened
from amtsbote.outbox import Dropped
from amtsbote.portals.protocols import Finding
from amtsbote.reconciliation import (
    DIFFERENCES_AT_MOST,
    Compared,
    Difference,
    Kind,
    Part,
    Place,
    Report,
    added,
    files_differ,
    finished,
    id_at,
    missing_here,
    no_row,
    not_sent,
    report_key,
    still_there,
    stuck,
    unknown_there,
)
from tests.unit.support import NOW

HOUR = timedelta(hours=1)


def row(state: State, age: timedelta = 3 * HOUR, **more: Any) -> ItemRow:
    """Return a row that has been in its state for that long."""
    first = opened("duba", "klinikum", Finding("7", None, {}), "{}", NOW - age)
    due = Due(Work.ACKNOWLEDGE, NOW) if state is State.STORED else None
    return replace(first, **{"state": state, "due": due, "history": (Past(NOW - age, state),), **more})


def drop(state: DropState, age: timedelta, **more: Any) -> DropRow:
    """Return a delivery that has been in its state for that long."""
    first = received("outbox", "duba/klinikum/a/b.json", "v1", "01", ("duba", "klinikum"), NOW - age)
    return replace(first, state=state, history=(Past(NOW - age, state),), **more)


def report() -> Report:
    return Report(portal="duba", connection="klinikum", started_at=NOW)


# --- portal against ledger ---


def test_only_what_no_poll_sees_is_missing_here() -> None:
    fresh = [Finding("1", NOW, {}), Finding("2", NOW, {})]
    assert [each.id for each in missing_here(fresh, {"2"})] == ["1"]


@pytest.mark.parametrize(
    ("state", "repair"),
    [
        (State.DISCOVERED, "ASK_PORTAL"),
        (State.FETCHING, "ASK_PORTAL"),
        (State.QUARANTINED, None),
        (State.STORED, "TELL_PORTAL"),
    ],
)
def test_what_waits_for_the_portal_is_unknown_there_unless_it_is_listed(state: State, repair: str | None) -> None:
    found = unknown_there(row(state), set(), NOW)
    assert found is not None
    assert (found.kind, found.id, found.state, found.repair) == (Kind.UNKNOWN_THERE, "7", state, repair)
    assert unknown_there(row(state), {"7"}, NOW) is None


@pytest.mark.parametrize("state", [State.ACKNOWLEDGED, State.UNAVAILABLE, State.ERASING, State.ERASED])
def test_what_waits_for_nothing_may_be_gone_at_the_portal(state: State) -> None:
    assert unknown_there(row(state), set(), NOW) is None


def test_what_changed_lately_is_not_judged() -> None:
    assert unknown_there(row(State.DISCOVERED, timedelta(minutes=9)), set(), NOW) is None
    assert unknown_there(row(State.STORED, timedelta(minutes=59)), set(), NOW) is None
    changed = row(State.DISCOVERED, history=(Past(NOW, State.DISCOVERED),))
    assert unknown_there(changed, set(), NOW) is None


def test_what_waits_for_something_at_the_portal_cannot_be_asked_for() -> None:
    found = unknown_there(row(State.DISCOVERED, waiting_for="HYDRATION"), set(), NOW)
    assert found is not None
    assert found.repair is None
    assert "HYDRATION" in found.says


def test_what_is_never_told_of_waits_for_nothing() -> None:
    assert unknown_there(row(State.STORED, due=None), set(), NOW) is None


def test_an_item_is_still_there_after_an_hour_unless_it_stays_anyway() -> None:
    finding = Finding("7", NOW, {})
    assert [each.kind for each in still_there([finding], {"7": row(State.ACKNOWLEDGED)}, NOW)] == [Kind.STILL_THERE]
    assert not list(still_there([finding], {"7": row(State.ACKNOWLEDGED, timedelta(minutes=59))}, NOW))
    assert not list(still_there([replace(finding, stays=True)], {"7": row(State.ACKNOWLEDGED)}, NOW))
    assert not list(still_there([finding], {"7": row(State.STORED)}, NOW))
    assert not list(still_there([finding], {}, NOW))


# --- ledger against buckets ---


def test_a_document_is_whole_when_every_file_has_its_size() -> None:
    document = {"files": [{"key": "a", "size": 3}, {"key": "b", "size": 0}]}
    assert files_differ(row(State.STORED), document, {"a": 3, "b": 0, "other": 9}) is None


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"b": 0}, "a file of 3 bytes is missing"),
        ({"a": 4, "b": 0}, "a file has 4 bytes and not 3"),
        ({}, "a file of 3 bytes is missing; a file of 0 bytes is missing"),
    ],
)
def test_a_missing_and_a_changed_file_differ(sizes: dict[str, int], says: str) -> None:
    found = files_differ(row(State.STORED), {"files": [{"key": "a", "size": 3}, {"key": "b", "size": 0}]}, sizes)
    assert found is not None
    assert (found.says, found.repair) == (says, "RESTORE_FILES")


def test_of_many_files_a_few_are_told() -> None:
    found = files_differ(row(State.STORED), {"files": [{"key": str(n), "size": n} for n in range(9)]}, {})
    assert found is not None
    assert found.says.endswith("; 6 more")


def test_without_document_json_it_is_not_there() -> None:
    found = files_differ(row(State.ACKNOWLEDGED), None, {})
    assert found is not None
    assert found.says == "document.json is missing"


@given(st.text(min_size=1, max_size=40))
def test_an_id_is_read_from_its_key_or_not_at_all(id_: str) -> None:
    key = document_key(item_prefix("altinn", "stadt", id_))
    assert id_at("altinn", "stadt", key) in (id_, None)


@pytest.mark.parametrize("id_", ["214", "50012/0a1b", "ein Brief", "ä%2F?"])
def test_an_ordinary_id_is_read_from_its_key(id_: str) -> None:
    assert id_at("altinn", "stadt", document_key(item_prefix("altinn", "stadt", id_))) == id_


def test_a_document_without_a_row_is_told_by_its_key() -> None:
    (found,) = no_row("duba", "klinikum", {"1": NOW, "2": NOW}, {"1"})
    assert (found.kind, found.key, found.about) == (Kind.NO_ROW, "duba/klinikum/2/document.json", "2")


def test_a_version_without_a_row_is_told_after_a_quarter_of_an_hour() -> None:
    old, new = Dropped("k", "v1", NOW - timedelta(minutes=15)), Dropped("k", "v2", NOW - timedelta(minutes=14))
    assert [each.version_id for each in not_sent([old, new], set(), NOW)] == ["v1"]
    assert not list(not_sent([old], {("k", "v1")}, NOW))
    assert list(not_sent([old], {("k", "v0"), ("l", "v1")}, NOW))


def test_a_delivery_is_stuck_when_nobody_has_worked_on_it_for_two_hours() -> None:
    for state in (DropState.RECEIVED, DropState.SENDING):
        assert stuck(drop(state, 2 * HOUR), NOW)
        assert not stuck(drop(state, timedelta(minutes=119)), NOW)
    assert not stuck(drop(DropState.SENDING, 9 * HOUR, lease_until=NOW - HOUR), NOW)
    for ended in (DropState.SENT, DropState.DELIVERED, DropState.FAILED, DropState.ERASED):
        assert not stuck(drop(ended, 9 * HOUR), NOW)


# --- the report ---


def many(number: int) -> tuple[Difference, ...]:
    return tuple(Difference(kind=Kind.NO_ROW, id=str(n), says="it is there") for n in range(number))


def test_a_report_counts_all_and_lists_a_thousand() -> None:
    place = Place(part=Part.INBOX, after="x")
    full = added(report(), Compared("x", 1500, many(1500)), place)
    assert (full.counts, len(full.differences), full.more) == ({"NO_ROW": 1500}, DIFFERENCES_AT_MOST, 500)
    assert (full.compared, full.found, full.goes_on_at) == (1500, 1500, place)


def test_what_a_report_says_already_is_not_counted_twice() -> None:
    twice = added(added(report(), Compared(None, 3, many(3)), None), Compared(None, 3, many(3)), None)
    assert twice.counts == {"NO_ROW": 3}


def test_a_report_is_read_as_it_was_written() -> None:
    place = Place(part=Part.OUTBOX, after="v1 duba/klinikum/a")
    one = finished(added(report(), Compared("v1", 2, many(2), not_hashed=1), place), NOW, complete=False)
    assert Report.model_validate_json(one.model_dump_json(by_alias=True)) == one
    assert finished(one, NOW, complete=True).goes_on_at is None


def test_the_key_of_a_report_names_connection_and_moment() -> None:
    assert report_key("duba", "klinikum", NOW) == f"reports/duba/klinikum/{NOW:%Y-%m-%dT%H%M%SZ}.json"


def test_a_report_looks_back_three_days_or_at_everything() -> None:
    assert report().looks_since() == NOW - timedelta(days=3)
    assert report().model_copy(update={"whole": True}).looks_since() is None
