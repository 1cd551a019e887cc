"""The watermark is only an optimisation: it saves asking for the whole mailbox, and never hides a message."""

import json
from datetime import datetime, timedelta

from sandbox.portals.duba import NEVER, SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from tests.flows.world import EVENTS, World

OVERLAP = timedelta(hours=48)
LISTING = "/api/duba/v1/messages"


def asked_since(duba: SimulatedDuba) -> list[str | None]:
    """Return the `since` of each listing so far, None where there was none."""
    return [dict(request.query).get("since") for request in duba.requests if request.path == LISTING]


def written(moment: datetime) -> str:
    """Return a moment as DUBA wants it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def poll(world: World, duba: SimulatedDuba) -> str | None:
    """Let one poll happen, with what follows, and return the `since` that it asked with."""
    world.clock.forward(minutes=1)
    duba.forget_requests()
    world.settle("poll", rounds=1)
    (since,) = asked_since(duba)
    return since


def test_the_first_poll_asks_for_everything(duba: SimulatedDuba, duba_world: World) -> None:
    old = duba.add_message(created_at=duba_world.clock() - timedelta(days=900))
    assert poll(duba_world, duba) is None
    assert duba_world.received("klinikum") == {str(old)}


def test_later_polls_ask_from_the_newest_message_less_the_overlap_in_utc(
    duba: SimulatedDuba, duba_world: World
) -> None:
    newest = duba_world.clock() - timedelta(hours=5)
    duba.add_message(created_at=newest)
    duba.add_message(created_at=newest - timedelta(days=3))
    poll(duba_world, duba)
    poll(duba_world, duba)
    assert duba_world.watermark("klinikum") == newest
    assert poll(duba_world, duba) == written(newest - OVERLAP)


def test_an_empty_mailbox_sets_no_watermark(duba: SimulatedDuba, duba_world: World) -> None:
    poll(duba_world, duba)
    assert duba_world.watermark("klinikum") is None
    assert poll(duba_world, duba) is None


def test_an_empty_answer_does_not_move_the_watermark(duba: SimulatedDuba, duba_world: World) -> None:
    newest = duba_world.clock()
    duba.add_message(created_at=newest)
    duba_world.settle()
    assert duba.listed_ids() == []
    duba_world.later("poll", days=30)
    assert duba_world.watermark("klinikum") == newest


def test_an_unhydrated_message_holds_the_watermark_back(duba: SimulatedDuba, duba_world: World) -> None:
    oldest = duba_world.clock() - timedelta(days=10)
    waiting = duba.add_message(created_at=oldest, hydrated=False)
    newest = duba_world.clock()
    duba.add_message(created_at=newest)
    for _ in range(3):
        poll(duba_world, duba)
    assert duba_world.watermark("klinikum") == oldest
    assert poll(duba_world, duba) == written(oldest - OVERLAP)
    duba.hydrate(waiting)
    for _ in range(2):
        poll(duba_world, duba)
    assert duba_world.received("klinikum") == {"1", "2"}
    assert duba_world.watermark("klinikum") == newest


def test_a_message_that_hydrates_after_weeks_is_still_found(duba: SimulatedDuba, duba_world: World) -> None:
    waiting = duba.add_message(hydrated=False)
    for _ in range(5):
        duba_world.clock.forward(days=5)
        duba.add_message()
        duba_world.settle(rounds=1)
    duba.hydrate(waiting)
    duba_world.later(minutes=1)
    assert str(waiting) in duba_world.received("klinikum")
    assert waiting in duba.acknowledged_ids()


def test_a_failed_fetch_holds_the_watermark_back(duba: SimulatedDuba, duba_world: World) -> None:
    oldest = duba_world.clock() - timedelta(days=10)
    failing = duba.add_message(created_at=oldest)
    duba.faults.add(Fault(Kind.SERVER_ERROR, f"GET .*/download/{failing}"))
    newest = duba_world.clock()
    duba.add_message(created_at=newest)
    for _ in range(3):
        poll(duba_world, duba)
    assert duba_world.received("klinikum") == {"2"}
    assert duba_world.watermark("klinikum") == oldest
    duba.faults.clear()
    duba_world.later("poll", hours=2, rounds=2)
    assert duba_world.received("klinikum") == {"1", "2"}
    assert duba_world.watermark("klinikum") == newest


def test_a_quarantined_message_does_not_hold_it_back(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(created_at=duba_world.clock() - timedelta(days=10), content=b"no ZIP")
    newest = duba_world.clock()
    duba.add_message(created_at=newest)
    for _ in range(2):
        poll(duba_world, duba)
    assert duba_world.watermark("klinikum") == newest


def test_a_message_just_opened_is_not_settled_yet(duba: SimulatedDuba, duba_world: World) -> None:
    oldest = duba_world.clock() - timedelta(days=10)
    duba.add_message(created_at=oldest)
    duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    assert duba_world.watermark("klinikum") == oldest


def test_a_late_message_within_the_overlap_is_found_by_a_usual_poll(duba: SimulatedDuba, duba_world: World) -> None:
    late = duba.add_message(created_at=duba_world.clock() - OVERLAP + timedelta(seconds=1), visible_after=NEVER)
    duba.add_message()
    duba_world.settle("poll")
    duba.reveal(late)
    assert poll(duba_world, duba) is not None
    assert str(late) in duba_world.received("klinikum")


def test_a_late_message_beyond_the_overlap_is_found_by_the_daily_reconciliation(
    duba: SimulatedDuba, duba_world: World
) -> None:
    late = duba.add_message(created_at=duba_world.clock() - OVERLAP - timedelta(days=40), visible_after=NEVER)
    duba.add_message()
    duba_world.settle("poll")
    duba.reveal(late)
    poll(duba_world, duba)
    assert str(late) not in duba_world.received("klinikum")
    duba.forget_requests()
    duba_world.settle("reconcile", rounds=1)
    whole, as_a_poll_asks = asked_since(duba)  # whether it would have been found is asked, not guessed
    assert whole is None
    assert as_a_poll_asks is not None
    assert str(late) in duba_world.received("klinikum")


def test_a_late_unhydrated_message_pulls_the_watermark_back(duba: SimulatedDuba, duba_world: World) -> None:
    older = duba_world.clock() - timedelta(days=90)
    late = duba.add_message(created_at=older, visible_after=NEVER, hydrated=False)
    duba.add_message()
    duba_world.settle("poll")
    duba.reveal(late)
    duba_world.settle("reconcile", rounds=1)
    assert duba_world.watermark("klinikum") == older
    duba.hydrate(late)
    poll(duba_world, duba)
    assert str(late) in duba_world.received("klinikum")


def test_a_message_without_a_readable_moment_keeps_the_watermark_where_it_is(
    duba: SimulatedDuba, duba_world: World
) -> None:
    first = duba_world.clock() - timedelta(days=3)
    duba.add_message(created_at=first)
    duba_world.settle("poll")
    duba.add_message(2, hydrated=False)
    duba.messages[2].created_at = Unreadable.of(duba_world.clock())
    poll(duba_world, duba)
    assert duba_world.watermark("klinikum") == first


def test_the_sample_of_the_schedules_event_asks_without_a_watermark(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message()
    duba_world.settle("poll")
    duba.forget_requests()
    sample = json.loads((EVENTS / "dispatch-reconcile.json").read_text())
    duba_world.arrive_in("dispatch", json.loads(sample["Records"][0]["body"]) | {"portal": "duba"})
    duba_world.drain()
    assert asked_since(duba) == [None]


class Unreadable(datetime):
    """A moment that the portal writes as nobody can read it."""

    @classmethod
    def of(cls, moment: datetime) -> "Unreadable":
        """Return the same moment, unreadable."""
        return cls.fromtimestamp(moment.timestamp(), moment.tzinfo)

    def strftime(self, format: str) -> str:
        """Return no moment."""
        return "vorgestern"


def test_a_date_in_the_future_hides_nothing(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(created_at=duba_world.clock() + timedelta(days=27_000))
    poll(duba_world, duba)
    poll(duba_world, duba)
    letter = duba.add_message(created_at=duba_world.clock())
    poll(duba_world, duba)
    assert str(letter) in duba_world.received("klinikum")


def test_a_date_before_all_time_stops_no_poll(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(created_at=datetime.min.replace(tzinfo=duba_world.clock().tzinfo))
    poll(duba_world, duba)
    poll(duba_world, duba)
    letter = duba.add_message(created_at=duba_world.clock())
    assert poll(duba_world, duba) is None
    assert str(letter) in duba_world.received("klinikum")
