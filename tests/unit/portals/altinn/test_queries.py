"""Queries: every parameter under its name, every moment with its operator."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from amtsbote.errors import Reject
from amtsbote.portals.altinn.queries import Bound, InstanceQuery, Operator, given, instant, path

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def test_what_is_not_given_is_not_sent() -> None:
    assert InstanceQuery(app_id="org/app").parameters() == [("appId", "org/app")]


def test_false_and_zero_are_given() -> None:
    query = InstanceQuery(app_id="org/app", confirmed=False, is_archived=True, main_version_include=0)
    assert query.parameters()[1:] == [
        ("confirmed", "false"),
        ("status.isArchived", "true"),
        ("mainVersionInclude", "0"),
    ]


def test_every_parameter_has_its_name() -> None:
    bound = (Bound(Operator.AFTER, NOON),)
    texts = ("a", "b", "c")
    flags = (True, True, True, True)
    moments = (bound,) * 5
    query = InstanceQuery(*texts, *moments, "d", "e", 1, "f", True, "g", *flags, 3, 2, True, "h")
    names = [name for name, _ in query.parameters()]
    assert names == [
        "appId",
        "org",
        "process.currentTask",
        "process.ended",
        "lastChanged",
        "created",
        "visibleAfter",
        "dueBefore",
        "instanceOwner.partyId",
        "appOwner.label",
        "size",
        "order",
        "confirmed",
        "excludeConfirmedBy",
        "process.isComplete",
        "status.isArchived",
        "status.isSoftDeleted",
        "status.isHardDeleted",
        "mainVersionInclude",
        "mainVersionExclude",
        "includeDataElements",
        "searchString",
    ]


@pytest.mark.parametrize("operator", list(Operator))
def test_a_moment_is_never_sent_without_its_operator(operator: Operator) -> None:
    query = InstanceQuery(org="org", last_changed=(Bound(operator, NOON),))
    assert query.parameters()[1] == ("lastChanged", f"{operator.value}:2026-03-10T12:00:00Z")


def test_two_ends_make_a_range() -> None:
    ends = (Bound(Operator.FROM, NOON), Bound(Operator.BEFORE, NOON + timedelta(days=1)))
    assert InstanceQuery(org="org", due_before=ends).parameters()[1:] == [
        ("dueBefore", "gte:2026-03-10T12:00:00Z"),
        ("dueBefore", "lt:2026-03-11T12:00:00Z"),
    ]


def test_one_operator_twice_would_break_the_portal() -> None:
    twice = (Bound(Operator.FROM, NOON), Bound(Operator.FROM, NOON))
    with pytest.raises(ValueError, match="once"):
        InstanceQuery(org="org", created=twice).parameters()


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2026-03-10T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=2))), "2026-03-10T12:00:00Z"),
        (NOON.replace(microsecond=5), "2026-03-10T12:00:00.000005Z"),
    ],
)
def test_a_moment_is_written_in_utc(moment: datetime, text: str) -> None:
    assert instant(moment) == text


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        instant(datetime(2026, 3, 10))  # noqa: DTZ001 - what is refused


def test_segments_are_escaped() -> None:
    assert path("a b", "c/d", "æ") == "/a%20b/c%2Fd/%C3%A6"


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_segments_that_climb_are_refused(segment: str) -> None:
    with pytest.raises(Reject, match="WRONG_ID"):
        path("instances", segment)


def test_what_has_no_value_is_left_out() -> None:
    assert given(a=None, b="x", c=True, d=0) == [("b", "x"), ("c", "true"), ("d", "0")]
