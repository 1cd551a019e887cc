"""The portal is told of nothing but what is safe, in its own batches, and only its answer for just that item counts."""

from typing import Any

import pytest

from amtsbote.inbox import Identity
from amtsbote.lifecycle import Committed, LeaseTaken, advance, opened
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import Finding
from sandbox.portals.duba import AckStatus, SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from tests.flows.world import INBOX, World

ACKNOWLEDGE = "POST .*/messages/ack"


def reconnect(world: World, duba: SimulatedDuba, **more: Any) -> None:
    """Give the connection `klinikum` other settings."""
    secret = {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"}
    world.clock.forward(seconds=1)
    world.connect("klinikum", secret | more)


def stored(world: World, duba: SimulatedDuba, count: int = 1) -> list[int]:
    """Bring messages into the inbox, and tell the portal nothing yet."""
    ids = [duba.add_message() for _ in range(count)]
    world.settle("poll", rounds=1)
    assert world.received("klinikum") >= {str(id) for id in ids}
    return ids


def put_into_inbox(world: World, id: str) -> None:
    """Leave inbox and ledger as a fetch leaves them, in a tenth of its time."""
    now, services = world.clock(), world.services
    fetching = advance(opened("duba", "klinikum", Finding(id, now, {}), "{}", now), LeaseTaken(now), now)
    services.inbox.commit(Identity("duba", "klinikum", id, f"duba/klinikum/{id}"), [], {}, now)
    services.ledger.open(advance(fetching, Committed(AcknowledgePolicy.STORED), now))


def tell(world: World) -> None:
    """Let the portal be told of what is due now."""
    world.settle("acknowledge", rounds=1)


# --- batches and answers ---


def test_201_messages_are_acknowledged_in_three_calls(duba: SimulatedDuba, duba_world: World) -> None:
    ids = [duba.add_message() for _ in range(201)]
    for id in ids:
        put_into_inbox(duba_world, str(id))
    duba.forget_requests()
    tell(duba_world)
    assert [(request.method, request.status) for request in duba.requests] == [("POST", 200)] * 3
    assert sorted(len(batch) for batch in duba.ack_batches) == [1, 100, 100]
    assert duba.acknowledged_ids() == ids
    assert {duba_world.state("klinikum", str(id)) for id in (ids[0], ids[99], ids[100], ids[200])} == {"ACKNOWLEDGED"}


def test_each_message_is_judged_by_its_own_answer(duba: SimulatedDuba, duba_world: World) -> None:
    done, error, forbidden, unknown, already = stored(duba_world, duba, 5)
    duba.fail_ack_once(error)
    duba.override_ack(forbidden, AckStatus.FORBIDDEN)
    duba.override_ack(unknown, AckStatus.NOT_FOUND)
    duba.sync_delete(already)
    tell(duba_world)
    states = {id: duba_world.state("klinikum", str(id)) for id in (done, error, forbidden, unknown, already)}
    assert states == {
        done: "ACKNOWLEDGED",
        error: "STORED",
        forbidden: "UNAVAILABLE",
        unknown: "UNAVAILABLE",
        already: "ACKNOWLEDGED",
    }


def test_an_error_is_tried_again_and_alone(duba: SimulatedDuba, duba_world: World) -> None:
    ids = stored(duba_world, duba, 3)
    duba.fail_ack_once(ids[1])
    tell(duba_world)
    tell(duba_world)
    assert duba.ack_batches == [tuple(ids)], "an error is not tried again at once"
    duba_world.clock.forward(minutes=1)
    tell(duba_world)
    assert duba.ack_batches == [tuple(ids), (ids[1],)]
    assert duba.acknowledged_ids() == ids


def test_a_lasting_error_is_tried_more_and_more_rarely(duba: SimulatedDuba, duba_world: World) -> None:
    (id,) = stored(duba_world, duba)
    duba.override_ack(id, AckStatus.ERROR)
    for _ in range(2 * 60):
        duba_world.clock.forward(minutes=1)
        tell(duba_world)
    assert 8 <= len(duba.ack_batches) <= 12
    assert duba_world.state("klinikum", str(id)) == "STORED"


@pytest.mark.parametrize("status", [AckStatus.FORBIDDEN, AckStatus.NOT_FOUND])
def test_a_refused_acknowledgement_becomes_visible_and_is_not_repeated(
    duba: SimulatedDuba, duba_world: World, status: AckStatus
) -> None:
    (id,) = stored(duba_world, duba)
    duba.override_ack(id, status)
    for _ in range(4):
        duba_world.later(hours=7)
    assert duba.ack_batches == [(id,)]
    row = duba_world.services.ledger.item("duba", "klinikum", str(id))
    assert row is not None and (row.state, row.reason) == ("UNAVAILABLE", status)
    assert duba_world.events_of("Document Unavailable") == [
        {
            "portal": "duba",
            "connection": "klinikum",
            "id": str(id),
            "key": f"duba/klinikum/{id}/document.json",
        }
    ]
    assert str(id) in duba_world.received("klinikum"), "the document stays where it is"
    assert duba.downloads_of(id) == 1


# --- answers that get lost, and portals that stumble ---


def test_a_lost_answer_is_repeated_and_already_deleted_is_done(duba: SimulatedDuba, duba_world: World) -> None:
    (id,) = stored(duba_world, duba)
    duba.faults.add(Fault(Kind.LOST_ANSWER, ACKNOWLEDGE, times=1))
    tell(duba_world)
    assert duba.acknowledged_ids() == [id]
    assert duba_world.state("klinikum", str(id)) == "STORED"
    duba_world.clock.forward(minutes=1)
    tell(duba_world)
    row = duba_world.services.ledger.item("duba", "klinikum", str(id))
    assert row is not None and (row.state, row.reason) == ("ACKNOWLEDGED", "ALREADY_DELETED")
    assert duba.ack_batches == [(id,), (id,)]
    assert len(duba_world.events_of("Document Acknowledged")) == 1


def test_a_crash_after_the_answer_is_healed_by_asking_again(duba: SimulatedDuba, duba_world: World) -> None:
    (id,) = stored(duba_world, duba)
    duba_world.crash("dynamodb", "PutItem", key="ACKNOWLEDGED")
    tell(duba_world)
    assert duba_world.state("klinikum", str(id)) == "STORED"
    duba_world.clock.forward(minutes=1)
    tell(duba_world)
    assert duba_world.state("klinikum", str(id)) == "ACKNOWLEDGED"


@pytest.mark.parametrize("kind", [Kind.HTML_WITH_200, Kind.GARBAGE_JSON, Kind.SERVER_ERROR, Kind.RESET])
def test_an_acknowledgement_that_did_not_happen_is_not_believed(
    duba: SimulatedDuba, duba_world: World, kind: Kind
) -> None:
    (id,) = stored(duba_world, duba)
    duba.faults.add(Fault(kind, ACKNOWLEDGE, times=1))
    tell(duba_world)
    assert duba_world.state("klinikum", str(id)) == "STORED"
    assert not duba_world.events_of("Document Acknowledged")
    duba_world.clock.forward(minutes=1)
    tell(duba_world)
    assert duba_world.state("klinikum", str(id)) == "ACKNOWLEDGED"


def test_a_batch_refused_as_a_whole_does_not_hold_the_others_up(duba: SimulatedDuba, duba_world: World) -> None:
    ids = stored(duba_world, duba, 5)
    duba.faults.add(Fault(Kind.SERVER_ERROR, ACKNOWLEDGE, times=1, status=400))
    tell(duba_world)
    assert duba.acknowledged_ids() == ids


# --- when the portal is told ---


def test_never_means_never_and_can_be_changed_to_stored_later(duba: SimulatedDuba, duba_world: World) -> None:
    reconnect(duba_world, duba, acknowledge="never")
    ids = stored(duba_world, duba, 2)
    for _ in range(3):
        duba_world.later(hours=1)
    assert duba.ack_batches == []
    reconnect(duba_world, duba, acknowledge="stored")
    duba_world.settle()
    assert duba.acknowledged_ids() == ids
    assert [duba.downloads_of(id) for id in ids] == [1, 1]


def test_never_changed_to_stored_reaches_old_messages_by_the_daily_reconciliation(
    duba: SimulatedDuba, duba_world: World
) -> None:
    reconnect(duba_world, duba, acknowledge="never")
    (old,) = stored(duba_world, duba)
    duba_world.clock.forward(days=30)
    (new,) = stored(duba_world, duba)
    duba_world.later(minutes=1)
    reconnect(duba_world, duba, acknowledge="stored")
    duba_world.settle()
    assert duba.acknowledged_ids() == [new]
    duba_world.settle("reconcile", "acknowledge")
    assert duba.acknowledged_ids() == [old, new]


def test_stored_changed_to_never_tells_nothing_more(duba: SimulatedDuba, duba_world: World) -> None:
    ids = stored(duba_world, duba, 2)
    reconnect(duba_world, duba, acknowledge="never")
    for _ in range(3):
        duba_world.later(hours=1)
    assert duba.ack_batches == []
    reconnect(duba_world, duba)
    duba_world.settle()
    assert duba.acknowledged_ids() == ids


def test_processed_waits_for_the_backends_tag(duba: SimulatedDuba, duba_world: World) -> None:
    reconnect(duba_world, duba, acknowledge="processed")
    first, second = stored(duba_world, duba, 2)
    duba_world.later(minutes=10)
    assert duba.ack_batches == []
    duba_world.mark_processed("klinikum", str(second))
    duba_world.later(minutes=20)
    assert duba.acknowledged_ids() == [second]
    duba_world.mark_processed("klinikum", str(first))
    duba_world.later(minutes=20)
    assert duba.acknowledged_ids() == [first, second]


def test_another_tag_is_not_enough(duba: SimulatedDuba, duba_world: World) -> None:
    reconnect(duba_world, duba, acknowledge="processed")
    (id,) = stored(duba_world, duba)
    tags = {"TagSet": [{"Key": "processed", "Value": "false"}]}
    duba_world.client("s3").put_object_tagging(Bucket=INBOX, Key=f"duba/klinikum/{id}/document.json", Tagging=tags)
    duba_world.later(minutes=20)
    assert duba.ack_batches == []


# --- what must be there first ---


def test_nothing_is_acknowledged_whose_document_json_is_missing(duba: SimulatedDuba, duba_world: World) -> None:
    safe, lost = stored(duba_world, duba, 2)
    duba_world.client("s3").delete_object(Bucket=INBOX, Key=f"duba/klinikum/{lost}/document.json")
    for _ in range(3):
        duba_world.later(hours=1)
    assert duba.ack_batches == [(safe,)]
    assert duba_world.state("klinikum", str(lost)) == "STORED"


def test_a_message_in_quarantine_is_never_acknowledged(duba: SimulatedDuba, duba_world: World) -> None:
    bad, good = duba.add_message(content=b"no ZIP"), duba.add_message()
    for _ in range(3):
        duba_world.later(hours=7)
    assert duba.ack_batches == [(good,)]
    assert duba.listed_ids() == [bad]


def test_the_events_of_a_message_say_what_is_documented_and_no_more(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1, aktenzeichen="12 XVII 4711/26")
    duba_world.settle()
    detail = {"portal": "duba", "connection": "klinikum", "id": "1", "key": "duba/klinikum/1/document.json"}
    assert duba_world.events() == [("Document Received", detail), ("Document Acknowledged", detail)]
