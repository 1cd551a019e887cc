"""What a delivery asks of AWS, request by request: each has its price, and each is there for a reason."""

import json

import pytest

from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.flows.altinn_office import FORM, LETTER, ObservedAltinn, new_world
from tests.flows.conftest import ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.world import Clock

OPENED = ["PutItem", "TransactWriteItems"]  # which version is the newest; the row under its lease, with its word
TOLD = ["TransactWriteItems", "PutObject", "put_events"]  # the row with its id at the portal, the receipt, the event


@pytest.fixture
def duba_world(duba: SimulatedDuba, clock: Clock) -> MortalWorld:
    """Provide a world with one DUBA connection whose calls are counted."""
    world = MortalWorld("duba", clock=clock)
    world.connect("klinikum", {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"})
    return world


def asked_of_aws(world: MortalWorld, *queues: str) -> list[str]:
    """Let the functions of these queues work in processes that are warm, and return what they ask of AWS, in order."""
    with world.lifeline.cut(0, after=False):
        for queue in queues:
            world.run(queue)
    return [call for call in world.lifeline.calls if " /" not in call]


def test_a_magic_link_takes_nine_requests(duba_world: MortalWorld) -> None:
    for name in ("warm", "fall"):
        form = {"jobId": f"job-{name}", "absender": {"egvp_account_id": 42}}
        duba_world.drop(f"duba/klinikum/BetreuungAnregung/{name}.json", json.dumps(form).encode())
        asked = asked_of_aws(duba_world, "own")
    assert asked == [
        *OPENED,
        "PutObject",  # the receipt, before anything else
        "GetObject",  # the drop, whole
        "PutItem",  # the proof that is awaited
        *TOLD,
        "PutItem",  # no longer due
    ]


def test_a_letter_takes_eight_requests_until_it_is_sent(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    for name in ("warm", "brief"):
        docxworld_world.drop(f"docxworld/klinikum/{docxworld.letters.id}/{name}.pdf", b"ein Brief")
        asked = asked_of_aws(docxworld_world, "own")
    assert asked == [
        *OPENED,
        "PutObject",  # the receipt, before anything else
        "GetObject",  # the drop, whole
        "PutItem",  # the journal: the address, and that it is going to be used
        *TOLD,
    ]


@pytest.mark.parametrize(("moves_on", "notes"), [("false", 1), ("true", 3)])
def test_a_data_element_is_noted_before_it_is_sent_and_after_it_where_something_follows(
    clock: Clock, moves_on: str, notes: int
) -> None:
    altinn = ObservedAltinn(clock)
    with serve(altinn):
        world = new_world(altinn, clock)
        for name in ("warm", "vedtak"):
            instance = altinn.submit(FORM)
            key = f"altinn/etat/{instance.app.id}/{instance.id}/attachment/{name}.pdf"
            world.drop(key, LETTER, {"process-next": moves_on})
            asked = asked_of_aws(world, "own")
    assert world.receipt(key)["status"] == "DELIVERED"
    journal = ["PutItem"] * notes
    assert asked == [*OPENED, "PutObject", "GetObject", *journal, *TOLD, "PutItem"]


def test_of_several_deliveries_that_are_tracked_together_is_told_in_one_request(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    for number in range(4):
        docxworld_world.drop(f"docxworld/klinikum/{docxworld.letters.id}/{number}.pdf", b"ein Brief")
    docxworld_world.drain()
    docxworld_world.clock.forward(minutes=5)
    docxworld_world.tick("track")
    docxworld_world.services = docxworld_world.new_services()  # a process that has written none of the receipts
    asked = asked_of_aws(docxworld_world, "track")
    each = {name: asked.count(name) for name in sorted(set(asked)) if name not in ("GetSecretValue", "Query")}
    assert each == {
        "GetItem": 1,  # the status of the connection
        "GetObject": 4, "PutObject": 4,  # each receipt, by a look at it
        "PutItem": 8,  # each row, before and after it is told of
        "put_events": 1,
    }  # fmt: skip
    ends = docxworld_world.events_of("Delivery Updated")[-4:]
    assert [end["status"] for end in ends] == ["DELIVERED"] * 4


def told_of(world: MortalWorld) -> list[str]:
    """Return of which drops it was published that they have arrived."""
    ends = (each["key"] for each in world.events_of("Delivery Updated") if each["status"] == "DELIVERED")
    return sorted(key.removeprefix("receipts/").removesuffix(".json") for key in ends)


def four_sent(docxworld: ObservedDocxworld, world: MortalWorld) -> list[str]:
    """Let four letters be on their way, and be due to be asked about; returns their keys."""
    keys = [f"docxworld/klinikum/{docxworld.letters.id}/{number}.pdf" for number in range(4)]
    for key in keys:
        world.drop(key, b"ein Brief")
    world.drain()
    world.clock.forward(minutes=5)
    return keys


def test_a_receipt_that_cannot_be_written_keeps_no_other_delivery_from_being_told_of(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    keys = four_sent(docxworld, docxworld_world)
    docxworld_world.crash("s3", "PutObject", key=f"receipts/{keys[1]}")
    docxworld_world.tick("track")
    docxworld_world.run("track")
    # one that had not begun when the crash came is left to the next turn
    written = [key for key in keys if docxworld_world.receipt(key)["status"] == "DELIVERED"]
    assert written and keys[1] not in written
    assert told_of(docxworld_world) == written
    docxworld_world.later("track", minutes=5)
    assert told_of(docxworld_world) == keys and docxworld_world.due() == []


def test_a_delivery_that_cannot_be_asked_about_keeps_no_other_from_being_told_of(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    keys = four_sent(docxworld, docxworld_world)
    docxworld.faults.add(Fault(Kind.TOO_MANY_REQUESTS, "GET /v1/uploads/.*", times=1, retry_after=120))
    docxworld_world.tick("track")
    docxworld_world.drain()
    states = [docxworld_world.receipt(key)["status"] for key in keys]
    assert sorted(states) == ["DELIVERED"] * 3 + ["IN_PROGRESS"]
    assert len(docxworld_world.due()) == 1
