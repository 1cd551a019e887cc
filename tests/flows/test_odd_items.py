"""What a list may hold and a row of the ledger cannot: it is kept another way, or set aside, and stops no other."""

import random
from typing import Any

import pytest

from amtsbote import observability
from amtsbote.lifecycle import RetryWanted
from amtsbote.messages import FetchRequest
from amtsbote.verbs.poll import ID_BYTES
from sandbox.portals.duba import SimulatedDuba, court_zip
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.world import LEDGER, Clock, World

DOWNLOAD = "GET .*/download/.*"
UNPACKABLE = random.Random(7).randbytes(500_000).hex()  # a letter holds four bits, so half of it is left


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Provide what is counted from now on, by the metric's name."""
    counts: dict[str, float] = {}

    def add(name: str, unit: Any, value: float, **_: Any) -> None:
        counts[name] = counts.get(name, 0) + value

    monkeypatch.setattr(observability.metrics, "add_metric", add)
    return counts


def add(docxworld: ObservedDocxworld, **more: Any) -> str:
    """Lay a download ready and return its id."""
    return docxworld.add_download(docxworld.letters, b"%PDF-1.7", file_name="ergebnis.pdf", **more).id


def spoil(world: World, id: int) -> None:
    """Let the row of an item be none any more."""
    table = world.client("dynamodb")
    key = {"pk": {"S": f"ITEM#duba#klinikum#{id}"}, "sk": {"S": "STATE"}}
    row = table.get_item(TableName=LEDGER, Key=key)["Item"]
    table.put_item(TableName=LEDGER, Item={**row, "state": {"S": "SOMETHING"}, "discovered_at": {"S": "yesterday"}})


# --- ids that a key has no room for ---


@pytest.mark.parametrize("length", [2_020, 2_100, ID_BYTES])
def test_an_id_that_is_longer_than_a_key_arrives_and_is_told_of_as_a_whole(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, length: int
) -> None:
    long, other = add(docxworld, id="x" * length), add(docxworld)
    docxworld_world.settle()
    assert {docxworld_world.state("klinikum", id_) for id_ in (long, other)} == {"ACKNOWLEDGED"}
    assert {each["id"] for each in docxworld_world.events_of("Document Received")} == {long, other}
    assert {each.download_id for each in docxworld.acknowledgements()} == {long, other}
    docxworld_world.later("reconcile", hours=24)
    assert len(docxworld_world.events_of("Document Received")) == 2


def test_two_long_ids_that_begin_alike_are_two_items(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    ids = {add(docxworld, id="x" * 3_000 + letter) for letter in "ab"}
    docxworld_world.settle()
    assert {each["id"] for each in docxworld_world.events_of("Document Acknowledged")} == ids


def test_an_id_that_no_request_has_room_for_is_left_out_and_said(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, counted: dict[str, float], log_lines: LogLines
) -> None:
    add(docxworld, id="x" * (ID_BYTES + 1))
    other = add(docxworld)
    docxworld_world.settle(rounds=1)
    assert docxworld_world.received("klinikum") == {other}
    assert counted["ListedUnreadable"] == 1
    assert "a listed row was left out" in log_lines.text
    assert docxworld_world.watermark("klinikum") is None, "it does not pass what was left out"


# --- records that a row has no room for ---


def test_a_record_larger_than_a_row_is_packed_and_arrives_as_it_was_answered(
    duba: SimulatedDuba, duba_world: World
) -> None:
    large = duba.add_message(aktenzeichen="ä" * 1_000_000, content=court_zip(1, "12 XVII 1/26"))
    other = duba.add_message()
    record = duba.messages[large].info()
    duba_world.settle()
    assert duba.acknowledged_ids() == [large, other]
    assert duba_world.document("klinikum", str(large))["metadata"] == record


def test_a_record_that_cannot_be_packed_is_set_aside_and_delays_nobody(
    duba: SimulatedDuba, duba_world: World, counted: dict[str, float]
) -> None:
    huge, other = duba.add_message(aktenzeichen=UNPACKABLE), duba.add_message()
    duba_world.settle(rounds=2)
    row = duba_world.services.ledger.item("duba", "klinikum", str(huge))
    assert row is not None and (row.state, row.reason) == ("QUARANTINED", "RECORD_TOO_LARGE")
    assert duba.acknowledged_ids() == [other]
    assert duba.downloads_of(huge) == 0
    assert counted["Quarantined"] == 1


def test_what_was_set_aside_arrives_when_a_person_wants_it_and_its_record_has_become_smaller(
    duba: SimulatedDuba, duba_world: World
) -> None:
    huge = duba.add_message(aktenzeichen=UNPACKABLE)
    duba_world.settle(rounds=1)

    def want() -> None:
        row = duba_world.services.ledger.item("duba", "klinikum", str(huge))
        assert row is not None
        duba_world.services.ledger.advance(row, RetryWanted())
        duba_world.later("reconcile", minutes=1)

    want()
    assert duba_world.state("klinikum", str(huge)) == "QUARANTINED", "it is as large as before"
    duba.messages[huge].aktenzeichen = "12 XVII 1/26"
    want()
    duba_world.settle()
    assert duba_world.document("klinikum", str(huge))["metadata"]["aktenzeichen"] == "12 XVII 1/26"
    assert duba.acknowledged_ids() == [huge]


@pytest.mark.parametrize("waits", ["for its hydration", "since its portal lost it"])
def test_a_record_that_grows_later_sets_the_item_aside_too(duba: SimulatedDuba, duba_world: World, waits: str) -> None:
    if waits == "for its hydration":
        id = duba.add_message(hydrated=False)
        duba_world.settle(rounds=1)
        duba.hydrate(id)
    else:
        id = duba.add_message()
        duba.faults.add(Fault(Kind.SERVER_ERROR, DOWNLOAD, times=1, status=404))
        duba_world.settle(rounds=1)
    duba.messages[id].aktenzeichen = UNPACKABLE
    duba_world.later(hours=2)
    assert duba_world.state("klinikum", str(id)) == "QUARANTINED"
    assert not duba.acknowledged_ids()


# --- rows of the ledger that are none ---


def test_a_row_that_cannot_be_read_stops_no_other(
    duba: SimulatedDuba, duba_world: World, counted: dict[str, float], log_lines: LogLines
) -> None:
    bad, stored = duba.add_message(), duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    spoil(duba_world, bad)
    duba_world.drain()
    late = duba.add_message()
    for _ in range(3):
        duba_world.later(minutes=30)
    assert duba.acknowledged_ids() == [stored, late]
    assert "a row of the ledger cannot be read" in log_lines.text
    assert counted["LedgerRowUnreadable"] >= 3, "the read before the fetch, the list, and what is due"
    assert counted["Crashed"] == counted["LedgerRowUnreadable"], "so there is an alarm"
    assert not duba_world.sqs.dead_letters


def test_a_stored_row_that_cannot_be_read_does_not_keep_the_portal_from_being_told_of_the_others(
    duba: SimulatedDuba, duba_world: World
) -> None:
    bad, good = duba.add_message(), duba.add_message()
    duba_world.settle("poll", rounds=1)
    spoil(duba_world, bad)
    duba_world.settle()
    duba_world.later("reconcile", hours=24)
    assert duba.acknowledged_ids() == [good]


def test_a_row_that_cannot_be_read_holds_the_watermark_back(duba: SimulatedDuba, duba_world: World) -> None:
    bad = duba.add_message(created_at=duba_world.clock())
    duba_world.settle("poll", rounds=1)
    spoil(duba_world, bad)
    created = duba_world.clock()
    duba_world.clock.forward(hours=72)
    duba.add_message(created_at=duba_world.clock())
    duba_world.settle()
    assert duba_world.watermark("klinikum") == created


# --- requests that come before their time ---


def test_a_request_for_an_item_that_was_deferred_is_dropped_until_its_time_has_come(clock: Clock) -> None:
    """Given an outage, in which more than one request for one item has come to be in the queue."""
    duba = SimulatedDuba(username="amtsbote", password="geheim", clock=clock)
    world = World("duba", clock=clock, tries=1)
    with serve(duba):
        world.connect("klinikum", {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"})
        id = duba.add_message()
        duba.faults.add(Fault(Kind.TRUNCATED_BODY, DOWNLOAD))
        world.settle("poll", rounds=1)
        tries = duba.downloads_of(id)
        for _ in range(5):
            world.arrive_in("fetch", FetchRequest(portal="duba", connection="klinikum", id=str(id)).body())
        world.drain()
        assert duba.downloads_of(id) == tries, "it was deferred for an hour"
        assert not world.sqs.queue("fetch")
        duba.faults.clear()
        world.later(hours=2)
        assert world.received("klinikum") == {str(id)}


# --- listed rows that are none ---


def test_a_listed_row_that_cannot_be_read_is_left_out_alone(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, counted: dict[str, float], log_lines: LogLines
) -> None:
    bad = add(docxworld, metadata={"sourceSystem": 7})
    goods = {add(docxworld), add(docxworld)}
    docxworld_world.settle(rounds=1)
    assert docxworld_world.received("klinikum") == goods
    assert counted["ListedUnreadable"] == 1 and "TaskDeferred" not in counted
    assert counted["Crashed"] == 1, "for whose alarm somebody looks"
    assert "a listed row was left out" in log_lines.text and "metadata" in log_lines.text
    assert docxworld_world.watermark("klinikum") is None, "it does not pass what was left out"
    docxworld.downloads.downloads[bad].metadata = {"sourceSystem": "sap"}
    docxworld_world.settle()
    assert docxworld_world.received("klinikum") == {bad, *goods}
    assert docxworld_world.watermark("klinikum") is not None
