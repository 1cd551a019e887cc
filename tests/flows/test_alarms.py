"""Each cause that an alarm is for raises it, by the lines that the functions write, and its end lets it go."""

import pytest

from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from tests.flows.alarms import Line, MetricLines, alarm, is_raised
from tests.flows.conftest import ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.test_connections import secret_of
from tests.flows.world import INBOX, World

FIVE_MINUTES = {"minutes": 5}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> MetricLines:
    """Provide what duba's functions count."""
    return MetricLines(monkeypatch, "duba")


def turns(world: World, lines: MetricLines, number: int, **delta: float) -> list[list[Line]]:
    """Let so many turns of every schedule come, each after this time, and return the lines of each."""
    periods = []
    for _ in range(number):
        world.later("poll", "acknowledge", **(delta or FIVE_MINUTES))
        periods.append(lines.period())
    return periods


# --- nothing polled ---


def test_a_dead_portal_is_told_after_an_hour_and_not_before(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    raised = alarm("DubaNotPolledAlarm")
    assert not is_raised(raised, *turns(duba_world, lines, 3))
    duba.faults.add(Fault(Kind.RESET, "* /.*"))
    first_hour = turns(duba_world, lines, 12)
    assert not any(is_raised(raised, *first_hour[n : n + 3]) for n in range(10))
    assert is_raised(raised, *turns(duba_world, lines, 3))
    duba.faults.clear()
    assert not is_raised(raised, *turns(duba_world, lines, 4))


def test_one_dead_portal_of_two_is_told(duba: SimulatedDuba, duba_world: World, lines: MetricLines) -> None:
    duba_world.connect("gericht", secret_of(duba, baseUrl="http://127.0.0.1:1"))
    assert is_raised(alarm("DubaNotPolledAlarm"), *turns(duba_world, lines, 16))
    succeeded = [line for period in turns(duba_world, lines, 1) for line in period if "PollSucceeded" in line]
    assert {line["connection"] for line in succeeded} == {"klinikum"}


def test_a_schedule_that_stands_still_is_told_unless_it_was_stopped_on_purpose() -> None:
    assert is_raised(alarm("DubaNotPolledAlarm"), [], [], [])
    assert not is_raised(alarm("DubaNotPolledAlarm", Schedules="DISABLED"), [], [], [])


def test_a_portal_that_nobody_uses_is_in_order(duba_world: World, lines: MetricLines) -> None:
    duba_world.disconnect("klinikum")
    periods = turns(duba_world, lines, 15)
    for name in ("NotPolled", "Unacknowledged", "Unhealthy", "Crashes", "Quarantine", "OldestWork"):
        assert not is_raised(alarm(f"Duba{name}Alarm"), *periods), name


def test_a_connection_that_is_switched_on_again_begins_anew(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    turns(duba_world, lines, 1)
    duba_world.connect("klinikum", secret_of(duba, enabled=False))
    turns(duba_world, lines, 2, days=7)
    duba_world.connect("klinikum", secret_of(duba))
    duba.faults.add(Fault(Kind.RESET, "* /.*"))
    assert not is_raised(alarm("DubaNotPolledAlarm"), *turns(duba_world, lines, 3))


# --- not acknowledged, not finished ---


def test_a_document_that_the_portal_may_soon_delete_is_told_while_it_refuses_the_acknowledgement(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    duba.add_message()
    duba.faults.add(Fault(Kind.SERVER_ERROR, "POST /.*ack.*"))
    raised = alarm("DubaUnacknowledgedAlarm")
    assert not is_raised(raised, *turns(duba_world, lines, 19, days=1))
    assert is_raised(raised, *turns(duba_world, lines, 2, days=1))
    duba.faults.clear()
    assert not is_raised(raised, *turns(duba_world, lines, 3, hours=2)[2:])
    assert duba.acknowledged_ids() == [1]


def test_it_is_told_too_while_the_login_is_refused(duba: SimulatedDuba, duba_world: World, lines: MetricLines) -> None:
    duba.add_message()
    duba.faults.add(Fault(Kind.SERVER_ERROR, "POST /.*ack.*"))
    turns(duba_world, lines, 1)
    duba.change_password("neu")
    assert is_raised(alarm("DubaUnacknowledgedAlarm"), *turns(duba_world, lines, 1, days=21))


def test_a_document_that_the_backend_never_processes_is_told(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    duba_world.connect("klinikum", secret_of(duba, acknowledge="processed"))
    duba.add_message()
    turns(duba_world, lines, 2)
    raised = alarm("DubaUnacknowledgedAlarm")
    assert is_raised(raised, *turns(duba_world, lines, 1, days=21))
    hour = [line for period in turns(duba_world, lines, 12) for line in period]
    assert is_raised(raised, hour), "in each hour, although it is looked at more rarely each time"


def test_a_document_that_nobody_shall_acknowledge_is_not_told(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    duba_world.connect("klinikum", secret_of(duba, acknowledge="never"))
    duba.add_message()
    turns(duba_world, lines, 1)
    assert not is_raised(alarm("DubaUnacknowledgedAlarm"), *turns(duba_world, lines, 1, days=30))


def test_an_item_that_never_becomes_ready_is_told_after_a_day(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    duba.add_message(1, hydrated=False)
    turns(duba_world, lines, 2)
    raised = alarm("DubaOldestWorkAlarm")
    assert not is_raised(raised, *turns(duba_world, lines, 1, hours=23))
    assert is_raised(raised, *turns(duba_world, lines, 1, hours=2))
    assert is_raised(alarm("DubaUnacknowledgedAlarm"), *turns(duba_world, lines, 1, days=21))


# --- unreadable, unhealthy, crashed ---


def test_an_unreadable_message_is_told(duba: SimulatedDuba, duba_world: World, lines: MetricLines) -> None:
    duba.add_message(1, content=b"kein ZIP")
    (period,) = turns(duba_world, lines, 1)
    assert duba_world.state("klinikum", "1") == "QUARANTINED"
    assert is_raised(alarm("DubaQuarantineAlarm"), period)
    assert not is_raised(alarm("DubaQuarantineAlarm"), *turns(duba_world, lines, 1))


def test_a_refused_login_is_told_for_as_long_as_it_lasts(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    duba.change_password("neu")
    raised = alarm("DubaUnhealthyAlarm")
    for _ in range(4):
        half_an_hour = [line for period in turns(duba_world, lines, 6) for line in period]
        assert is_raised(raised, half_an_hour)
    duba_world.connect("klinikum", secret_of(duba, password="neu"))
    turns(duba_world, lines, 1)
    assert not is_raised(raised, [line for period in turns(duba_world, lines, 6) for line in period])


def test_an_invalid_secret_is_told(duba_world: World, lines: MetricLines) -> None:
    duba_world.connect("klinikum", "{}")
    assert is_raised(alarm("DubaUnhealthyAlarm"), *turns(duba_world, lines, 1))


@pytest.mark.parametrize(("crashes", "told"), [(1, False), (5, True)])
def test_crashes_are_told_when_they_are_many(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines, crashes: int, told: bool
) -> None:
    duba.add_message()
    for _ in range(crashes):
        duba_world.crash("dynamodb", "BatchGetItem")
        duba_world.tick("poll")
    assert is_raised(alarm("DubaCrashesAlarm"), lines.period()) is told


# --- dimensions ---


def test_a_drop_for_a_connection_that_does_not_exist_makes_no_dimension(
    docxworld_world: MortalWorld, docxworld: ObservedDocxworld, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = MetricLines(monkeypatch, "docxworld")
    docxworld_world.drop("docxworld/frau-mueller/BRIEF/brief.pdf", b"%PDF-1.7")
    docxworld_world.drop("docxworld/klinikum/NIEMAND/brief.pdf", b"%PDF-1.7")
    docxworld_world.drain()
    failed = [line for line in lines.period() if "DeliveryFailed" in line]
    assert sorted(line.get("connection", "") for line in failed) == ["", "klinikum"]
    assert "mueller" not in str(failed)


# --- what differs ---


def test_a_difference_is_told_with_the_comparison_that_finds_it_and_no_longer(
    duba: SimulatedDuba, duba_world: World, lines: MetricLines
) -> None:
    id = duba.add_message()
    duba_world.settle()
    duba_world.settle("reconcile", rounds=1)
    assert not is_raised(alarm("DubaDifferencesAlarm"), lines.period())
    duba_world.client("s3").delete_object(Bucket=INBOX, Key=f"duba/klinikum/{id}/document.json")
    duba_world.later("reconcile", days=1)
    assert is_raised(alarm("DubaDifferencesAlarm"), lines.period())
    assert not is_raised(alarm("DubaDifferencesAlarm"), *turns(duba_world, lines, 1))
