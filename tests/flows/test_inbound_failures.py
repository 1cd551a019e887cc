"""Whatever fails between DUBA and the inbox: nothing is lost, nothing is stored twice, and nothing else is delayed."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from amtsbote.lifecycle import opened
from amtsbote.portals.protocols import Finding
from sandbox.portals.duba import SimulatedDuba, court_zip
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.flows.world import Clock, World

DOWNLOAD = "GET .*/download/.*"
LISTING = "GET .*/messages"
ACKNOWLEDGE = "POST .*/messages/ack"
BY_TASK = {"poll": LISTING, "fetch": DOWNLOAD, "acknowledge": ACKNOWLEDGE}
QUEUE_VISIBILITY = timedelta(minutes=10)  # also longer than a lease


def damaged_zip() -> bytes:
    """Return a ZIP whose structure is whole, and whose content does not have the CRC that it says."""
    content = bytearray(court_zip(1, "12 XVII 1/26"))
    with ZipFile(BytesIO(content)) as archive:
        entry = archive.infolist()[1]
    start = content.index(entry.filename.encode(), entry.header_offset) + len(entry.filename)
    content[start + entry.compress_size // 2] ^= 0xFF
    return bytes(content)


def bomb() -> bytes:
    """Return a small ZIP that unpacks to a thousand times its size."""
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        archive.writestr("nothing.bin", bytes(8 * 1024 * 1024))
    return out.getvalue()


def facts_agree(world: World, id: int) -> bool:
    """Return whether document.json says of the stored bytes what they are, and both were written once."""
    (file,) = world.document("klinikum", str(id))["files"]
    content = world.content(file["key"])
    written_once = world.versions(file["key"]) == 1 == world.versions(f"duba/klinikum/{id}/document.json")
    return written_once and (file["size"], file["sha256"]) == (len(content), sha256(content).hexdigest())


def calls_to(duba: SimulatedDuba) -> list[datetime]:
    """Return when the portal was called."""
    return [request.at for request in duba.requests]


# --- bytes that are no document ---


@pytest.mark.parametrize(
    "content",
    [b"no ZIP at all", court_zip(1, "12 XVII 1/26")[:-40], damaged_zip(), bomb(), b"PK\x03\x04" + bytes(200)],
    ids=["no ZIP", "cut ZIP", "wrong CRC", "bomb", "only a beginning"],
)
def test_unreadable_bytes_are_kept_verbatim_never_acknowledged_and_delay_nobody(
    duba: SimulatedDuba, duba_world: World, content: bytes
) -> None:
    bad = duba.add_message(content=content)
    good = duba.add_message()
    duba_world.settle()
    assert duba_world.content(f"quarantine/duba/klinikum/{bad}/message-{bad}.zip") == content
    assert duba_world.inbox_keys(f"duba/klinikum/{bad}/") == []
    assert duba_world.state("klinikum", str(bad)) == "QUARANTINED"
    assert duba_world.received("klinikum") == {str(good)}
    duba_world.later(days=2, rounds=3)
    assert duba.acknowledged_ids() == [good]
    assert duba.downloads_of(bad) == 1
    assert not duba_world.sqs.dead_letters


def test_a_maintenance_page_once_is_tried_again(duba: SimulatedDuba, duba_world: World) -> None:
    duba.faults.add(Fault(Kind.HTML_WITH_200, DOWNLOAD, times=1))
    id = duba.add_message()
    duba_world.settle()
    assert duba_world.received("klinikum") == set()
    duba_world.later(minutes=1)
    assert duba_world.received("klinikum") == {str(id)}
    assert duba_world.inbox_keys("quarantine/") == []
    assert duba.acknowledged_ids() == [id]


def test_a_page_for_ever_is_quarantined_at_the_last_try(duba: SimulatedDuba, duba_world: World) -> None:
    duba.faults.add(Fault(Kind.HTML_WITH_200, "GET .*/download/1"))
    bad, good = duba.add_message(), duba.add_message()
    duba_world.settle("poll", rounds=1)
    for _ in range(duba_world.tries - 2):
        duba_world.clock.forward(hours=1, minutes=15)
        duba_world.drain()
    assert duba_world.state("klinikum", str(bad)) == "DISCOVERED", "not before the last try"
    duba_world.clock.forward(hours=1, minutes=15)
    duba_world.drain()
    assert duba_world.state("klinikum", str(bad)) == "QUARANTINED"
    assert b"Wartungsarbeiten" in duba_world.content(f"quarantine/duba/klinikum/{bad}/message-{bad}.zip")
    duba_world.settle()
    assert duba.acknowledged_ids() == [good]
    assert not duba_world.sqs.dead_letters


@pytest.mark.parametrize("kind", [Kind.TRUNCATED_BODY, Kind.RESET, Kind.SERVER_ERROR])
def test_a_download_that_breaks_off_is_tried_again_and_stored_once(
    duba: SimulatedDuba, duba_world: World, kind: Kind
) -> None:
    id = duba.add_message()
    content = duba.messages[id].content
    duba.faults.add(Fault(kind, DOWNLOAD, times=3))  # three, as HTTP itself repeats a read twice
    duba_world.settle()
    assert duba_world.inbox_keys() == []
    for _ in range(3):
        duba_world.later(minutes=5)
    assert duba_world.content(f"duba/klinikum/{id}/message-{id}.zip") == content
    assert facts_agree(duba_world, id)
    assert duba.acknowledged_ids() == [id]


def test_a_download_that_always_breaks_off_is_given_to_the_ledger_and_not_to_the_dead(
    duba: SimulatedDuba, duba_world: World
) -> None:
    id = duba.add_message()
    duba.faults.add(Fault(Kind.TRUNCATED_BODY, DOWNLOAD))
    duba_world.settle("poll", rounds=1)
    for _ in range(duba_world.tries + 2):
        duba_world.clock.forward(hours=1, minutes=15)
        duba_world.drain()
    assert duba_world.state("klinikum", str(id)) == "DISCOVERED"
    assert not duba_world.sqs.queue("fetch")
    assert not duba_world.sqs.dead_letters
    duba.faults.clear()
    duba_world.later(hours=1)
    assert duba_world.received("klinikum") == {str(id)}


@pytest.mark.parametrize("kind", [Kind.HTML_WITH_200, Kind.GARBAGE_JSON, Kind.TRUNCATED_BODY, Kind.SERVER_ERROR])
def test_a_list_that_cannot_be_read_is_asked_for_again(duba: SimulatedDuba, duba_world: World, kind: Kind) -> None:
    id = duba.add_message()
    duba.faults.add(Fault(kind, LISTING, times=3))  # three, as HTTP itself repeats a read twice
    duba_world.settle(rounds=1)
    assert duba_world.received("klinikum") == set()
    for _ in range(3):
        duba_world.later(minutes=1)
    assert duba_world.received("klinikum") == {str(id)}
    assert duba_world.events_of("Connection Unhealthy") == []
    assert not duba_world.sqs.queue("poll")


# --- messages that are gone ---


def test_a_message_that_is_gone_becomes_unavailable_and_everybody_is_told(
    duba: SimulatedDuba, duba_world: World
) -> None:
    gone, there = duba.add_message(), duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    duba.retention_delete(gone)
    duba_world.settle()
    row = duba_world.services.ledger.item("duba", "klinikum", str(gone))
    assert row is not None and (row.state, row.reason) == ("UNAVAILABLE", "NOT_FOUND")
    assert duba_world.events_of("Document Unavailable") == [
        {"portal": "duba", "connection": "klinikum", "id": str(gone), "key": None}
    ]
    assert duba_world.received("klinikum") == {str(there)}
    assert not duba_world.sqs.queue("fetch")


def test_a_message_that_is_listed_again_is_fetched_after_all(duba: SimulatedDuba, duba_world: World) -> None:
    id = duba.add_message()
    duba.faults.add(Fault(Kind.SERVER_ERROR, DOWNLOAD, times=1, status=404))
    duba_world.settle()
    assert duba_world.state("klinikum", str(id)) == "UNAVAILABLE"
    duba_world.later(minutes=30)
    assert duba_world.state("klinikum", str(id)) == "UNAVAILABLE", "not hammered"
    duba_world.later(minutes=31)
    assert duba_world.received("klinikum") == {str(id)}
    assert duba.acknowledged_ids() == [id]


def test_a_forbidden_download_is_unavailable_and_the_connection_stays_healthy(
    duba: SimulatedDuba, duba_world: World
) -> None:
    forbidden, open_ = duba.add_message(), duba.add_message()
    duba.forbid(forbidden)
    duba_world.settle()
    assert duba_world.state("klinikum", str(forbidden)) == "UNAVAILABLE"
    assert duba_world.received("klinikum") == {str(open_)}
    assert duba_world.events_of("Connection Unhealthy") == []


# --- crashes ---


def test_a_crash_between_opening_and_queueing_is_healed_by_the_next_poll(
    duba: SimulatedDuba, duba_world: World
) -> None:
    id = duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    assert duba_world.sqs.lose("fetch") == 1
    duba_world.later(minutes=2)
    assert duba_world.received("klinikum") == {str(id)}
    assert duba.downloads_of(id) == 1


def test_two_polls_at_once_open_each_message_once(duba: SimulatedDuba, duba_world: World) -> None:
    ids = [duba.add_message() for _ in range(3)]
    duba_world.tick("poll")
    duba_world.tick("poll")
    duba_world.before("dynamodb", "TransactWriteItems", lambda: duba_world.run("poll"))
    duba_world.run("poll")
    assert not duba_world.sqs.queue("poll")
    assert sorted(json.loads(each.body)["id"] for each in duba_world.sqs.queue("fetch")) == ["1", "2", "3"]
    duba_world.settle()
    assert [duba.downloads_of(id) for id in ids] == [1, 1, 1]


@pytest.mark.parametrize("known", [0, 1])
def test_a_crash_while_opening_rows_loses_none(duba: SimulatedDuba, duba_world: World, known: int) -> None:
    """Where another poll has opened one of them meanwhile, they are opened one by one."""
    ids = [duba.add_message() for _ in range(5)]
    if known:
        row = opened("duba", "klinikum", Finding("1", None, {}), "{}", duba_world.clock())
        duba_world.before("dynamodb", "TransactWriteItems", lambda: duba_world.services.ledger.open(row))
        duba_world.crash("dynamodb", "PutItem", key="ITEM#duba#klinikum#3")
    else:
        duba_world.crash("dynamodb", "TransactWriteItems")
    duba_world.settle("poll", rounds=1)
    assert duba_world.received("klinikum") < {str(id) for id in ids}
    duba_world.clock.forward(seconds=QUEUE_VISIBILITY.total_seconds())
    duba_world.settle(rounds=2)
    assert duba_world.received("klinikum") == {str(id) for id in ids}


def test_a_crash_after_the_commit_is_adopted_without_a_second_download(duba: SimulatedDuba, duba_world: World) -> None:
    id = duba.add_message()
    duba_world.crash("dynamodb", "PutItem", key='"STORED"')
    duba_world.settle()
    assert duba_world.received("klinikum") == {str(id)}
    assert duba_world.state("klinikum", str(id)) == "FETCHING"
    assert duba.ack_batches == []
    duba_world.clock.forward(seconds=QUEUE_VISIBILITY.total_seconds())
    duba_world.settle()
    assert duba_world.state("klinikum", str(id)) == "ACKNOWLEDGED"
    assert duba.downloads_of(id) == 1
    assert facts_agree(duba_world, id)


def test_a_crash_between_file_and_document_is_finished_by_the_next_try(duba: SimulatedDuba, duba_world: World) -> None:
    id = duba.add_message()
    duba_world.crash("s3", "PutObject", key="document.json")
    duba_world.settle()
    assert duba_world.received("klinikum") == set()
    duba_world.clock.forward(seconds=QUEUE_VISIBILITY.total_seconds())
    duba_world.settle()
    assert facts_agree(duba_world, id)
    assert duba.acknowledged_ids() == [id]


# --- two workers on one item ---


@pytest.fixture
def varying_duba(clock: Clock) -> Iterator[SimulatedDuba]:
    """Provide a DUBA whose ZIPs are packed anew for each download."""
    portal = SimulatedDuba(zip_varies=True, clock=clock)
    with serve(portal):
        yield portal


@pytest.fixture
def varying_world(varying_duba: SimulatedDuba, clock: Clock) -> World:
    """Provide a world that is connected to it."""
    world = World("duba", clock=clock)
    world.connect("klinikum", {"baseUrl": varying_duba.base_url, "username": "amtsbote", "password": "geheim"})
    return world


@pytest.mark.parametrize("moment", ["message-1.zip", "document.json"])
def test_a_second_worker_overtakes_one_whose_lease_ran_out(
    varying_duba: SimulatedDuba, varying_world: World, moment: str
) -> None:
    """Given a worker that is stuck just before this write, when another one fetches the same item, with other bytes."""
    id = varying_duba.add_message()
    varying_world.tick("poll")
    varying_world.run("poll")
    (request,) = varying_world.sqs.queue("fetch")

    def overtake() -> None:
        varying_world.clock.forward(seconds=QUEUE_VISIBILITY.total_seconds())
        varying_world.run("fetch")

    varying_world.before("s3", "PutObject", overtake, key=moment)
    varying_world.run("fetch")
    assert varying_duba.downloads_of(id) == 2
    assert facts_agree(varying_world, id)
    assert request.receives == 2
    varying_world.settle()
    assert varying_world.state("klinikum", str(id)) == "ACKNOWLEDGED"


@pytest.mark.parametrize(("status", "found"), [(404, "UNAVAILABLE"), (503, "DISCOVERED")])
def test_what_a_worker_without_a_lease_brings_in_is_stored_whatever_another_one_has_found(
    duba: SimulatedDuba, duba_world: World, status: int, found: str
) -> None:
    """Given a worker that is stuck just before document.json, when another one finds the item gone, or puts it off."""
    id = duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")

    def find_it_so() -> None:
        duba_world.clock.forward(seconds=QUEUE_VISIBILITY.total_seconds())
        duba.faults.add(Fault(Kind.SERVER_ERROR, DOWNLOAD, times=3, status=status))
        duba_world.run("fetch")
        assert duba_world.state("klinikum", str(id)) == found

    duba_world.before("s3", "PutObject", find_it_so, key="document.json")
    duba_world.run("fetch")
    assert duba_world.state("klinikum", str(id)) == "STORED"
    duba_world.settle()
    assert duba_world.state("klinikum", str(id)) == "ACKNOWLEDGED"
    assert duba.acknowledged_ids() == [id]


def test_bytes_that_vary_between_two_tries_agree_with_document_json(
    varying_duba: SimulatedDuba, varying_world: World
) -> None:
    id = varying_duba.add_message()
    varying_world.crash("s3", "PutObject", key="document.json")
    varying_world.settle()
    varying_world.clock.forward(seconds=QUEUE_VISIBILITY.total_seconds())
    varying_world.settle()
    assert varying_duba.downloads_of(id) == 2
    assert facts_agree(varying_world, id)


def test_a_large_varying_zip_agrees_with_document_json_too(varying_duba: SimulatedDuba, varying_world: World) -> None:
    out = BytesIO()
    with ZipFile(out, "w") as archive:
        archive.writestr("scan.bin", random.Random(1).randbytes(10 * 1024 * 1024))
    varying_duba.add_message(1, content=out.getvalue())
    varying_world.tick("poll")
    varying_world.run("poll")

    def overtake() -> None:
        varying_world.clock.forward(seconds=QUEUE_VISIBILITY.total_seconds())
        varying_world.run("fetch")

    varying_world.before("s3", "PutObject", overtake, key="document.json")
    varying_world.run("fetch")
    assert varying_duba.downloads_of(1) == 2
    assert facts_agree(varying_world, 1)


# --- a portal that asks for time ---


@pytest.mark.parametrize("task", ["poll", "fetch", "acknowledge"])
def test_retry_after_is_honoured_to_the_second_by_all_work_of_the_connection(
    duba: SimulatedDuba, duba_world: World, task: str
) -> None:
    ids = [duba.add_message() for _ in range(12)]
    throttled_at = duba_world.clock()
    duba.faults.add(Fault(Kind.TOO_MANY_REQUESTS, BY_TASK[task], times=1, retry_after=90))
    duba_world.settle(rounds=1)
    assert duba.requests[-1].status == 429
    duba.forget_requests()
    for _ in range(89):
        duba_world.clock.forward(seconds=1)
        duba_world.settle(rounds=1)
    assert calls_to(duba) == []
    duba_world.clock.forward(seconds=1)
    duba_world.settle(rounds=1)
    assert set(calls_to(duba)) == {throttled_at + timedelta(seconds=90)}
    duba_world.later(seconds=5)
    assert duba.acknowledged_ids() == ids
    assert duba_world.events_of("Connection Unhealthy") == []


def test_a_retry_after_in_the_form_of_a_date_is_honoured(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message()
    duba.faults.add(Fault(Kind.TOO_MANY_REQUESTS, LISTING, times=1, retry_after=300, retry_after_date=True))
    duba_world.settle(rounds=1)
    duba.forget_requests()
    duba_world.later(seconds=280)
    assert calls_to(duba) == []
    duba_world.later(seconds=25)
    assert duba_world.received("klinikum") == {"1"}


def test_an_outage_of_the_portal_is_no_fault_of_the_connection(duba: SimulatedDuba, duba_world: World) -> None:
    duba.faults.add(Fault(Kind.SERVER_ERROR, "* /.*", status=503, empty=True))
    id = duba.add_message()
    for _ in range(3):
        duba_world.later(minutes=1)
    duba.faults.clear()
    duba_world.later(hours=1)
    assert duba_world.received("klinikum") == {str(id)}
    assert duba_world.events_of("Connection Unhealthy") == []
