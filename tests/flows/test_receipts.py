"""Receipts: one for each key that was dropped; it speaks of the newest version, and says no more than it should."""

import json
from itertools import permutations
from typing import Any

import pytest

from sandbox.portals.docxworld import Step
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.world import OUTBOX

NAMES = ["brief.pdf", "Brief an März & Söhne (2).pdf", "a+b%20c.pdf", "receipt.json", "ohne Endung"]


def follow(world: MortalWorld) -> None:
    """Let some minutes pass in which everything is tracked."""
    for _ in range(3):
        world.later("track", minutes=5)


def put(world: MortalWorld, key: str, body: bytes) -> dict[str, Any]:
    """Put a version into the outbox and return its event, which has not arrived yet."""
    answer = world.client("s3").put_object(Bucket=OUTBOX, Key=key, Body=body)
    return world.drop_event(key, answer["VersionId"], len(body))


def version_of(event: dict[str, Any]) -> str:
    """Return the version that an event speaks of."""
    return str(event["detail"]["object"]["version-id"])


# --- what it says ---


@pytest.mark.parametrize("name", NAMES)
def test_every_drop_has_a_receipt_at_its_key(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, name: str
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/{name}"
    event = docxworld_world.drop(key, b"ein Brief")
    docxworld_world.drain()
    follow(docxworld_world)
    receipt = docxworld_world.receipt(key)
    assert (receipt["outboxKey"], receipt["versionId"]) == (key, version_of(event))
    assert receipt["status"] == "DELIVERED"
    assert docxworld_world.inbox_keys() == [f"receipts/{key}.json"]


def test_the_receipt_of_a_delivery_is_what_the_contract_promises(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    event = docxworld_world.drop(key, b"ein Brief", {"reference-id": "Vorgang-7"})
    docxworld_world.drain()
    follow(docxworld_world)
    (job,), receipt = docxworld.jobs(), docxworld_world.receipt(key)
    assert set(receipt) == {
        "schema", "outboxKey", "versionId", "status", "portalId", "updatedAt", "history", "result", "error",
    }  # fmt: skip
    assert (receipt["schema"], receipt["versionId"]) == ("amtsbote.receipt/1", version_of(event))
    assert (receipt["status"], receipt["portalId"], receipt["error"]) == ("DELIVERED", job.id, None)
    assert [each["state"] for each in receipt["history"]] == [
        "RECEIVED", "SENDING", "SENT", "SCHEDULED", "UPLOADED", "TRANSFERRED", "DELIVERED",
    ]  # fmt: skip
    assert receipt["updatedAt"] == receipt["history"][-1]["at"]
    assert receipt["updatedAt"].endswith("Z")
    assert (receipt["result"]["processId"], receipt["result"]["referenceId"]) == (job.id, job.reference_id)


def test_the_receipt_of_a_failure_names_mistake_and_mend(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld_world.drop("docxworld/klinikum/NIRGENDWO/brief.pdf", b"ein Brief")
    docxworld_world.drain()
    receipt = docxworld_world.receipt("docxworld/klinikum/NIRGENDWO/brief.pdf")
    assert receipt["status"] == "FAILED" and receipt["portalId"] is None
    assert set(receipt["error"]) == {"code", "message", "retryable"}
    assert "abbreviation that the key names; use an abbreviation that docxworld lists" in receipt["error"]["message"]
    assert receipt["history"][-1]["state"] == "FAILED"


def test_a_receipt_is_there_before_the_file_goes_out(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    docxworld.faults.add(Fault(Kind.RESET, "PUT /v1/uploads"))
    docxworld_world.drop(key, b"ein Brief")
    docxworld_world.run("own")
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["history"][-1]["state"]) == ("IN_PROGRESS", "SENDING")


def test_the_downloads_that_came_of_an_upload_are_named(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    target = docxworld.add_target("Anderes", "ANDERES", script=(Step(0, "UPLOADED"), Step(60, "TRANSFERRED")))
    key = f"docxworld/klinikum/{target.id}/brief.pdf"
    docxworld_world.drop(key, b"ein Brief")
    docxworld_world.drain()
    download = docxworld.add_download(target, process_id=docxworld.jobs()[0].id)
    follow(docxworld_world)
    assert docxworld_world.receipt(key)["result"]["downloads"] == [download.id]


# --- which version it speaks of ---


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_it_speaks_of_the_newest_version_in_whatever_order_the_events_come(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, order: tuple[int, ...]
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    events = [put(docxworld_world, key, f"Fassung {number}".encode()) for number in range(3)]
    newest = -1
    for number in order:
        newest = max(newest, number)
        docxworld_world.arrive(events[number])
        docxworld_world.drain()
        assert docxworld_world.receipt(key)["versionId"] == version_of(events[newest])
    follow(docxworld_world)
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["versionId"]) == ("DELIVERED", version_of(events[2]))
    assert sorted(docxworld.read_upload(job.id) for job in docxworld.jobs()) == [
        b"Fassung 0", b"Fassung 1", b"Fassung 2",
    ]  # fmt: skip


def test_a_late_step_of_an_older_version_does_not_overwrite_it(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    slow = (Step(0, "UPLOADED"), Step(3600, "TRANSFER_FAILED"))
    target = docxworld.add_target("Anderes", "ANDERES", script=slow)
    key = f"docxworld/klinikum/{target.id}/brief.pdf"
    old = docxworld_world.drop(key, b"Fassung 1")
    docxworld_world.drain()
    docxworld.follow_script(target.id, (Step(0, "UPLOADED"), Step(1, "TRANSFERRED")))
    new = docxworld_world.drop(key, b"Fassung 2")
    docxworld_world.drain()
    follow(docxworld_world)
    for _ in range(8):
        docxworld_world.later("track", minutes=15)
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["versionId"]) == ("DELIVERED", version_of(new))
    ends = {
        each["versionId"]: each["status"]
        for each in docxworld_world.events_of("Delivery Updated")
        if each["status"] in ("DELIVERED", "FAILED")
    }
    assert ends == {version_of(old): "FAILED", version_of(new): "DELIVERED"}, "the older one's end is told all the same"
    assert docxworld_world.due() == []


def test_a_worker_that_is_late_with_the_receipt_does_not_overwrite_a_newer_step(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    """Given a worker that is stuck just before it writes the receipt of an old version, when a new one overtakes it."""
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    old, new = put(docxworld_world, key, b"Fassung 1"), put(docxworld_world, key, b"Fassung 2")

    def overtake() -> None:
        docxworld_world.arrive(new)
        docxworld_world.run("own")

    docxworld_world.before("s3", "PutObject", overtake, key="receipts/")
    docxworld_world.arrive(old)
    docxworld_world.drain()
    assert docxworld_world.receipt(key)["versionId"] == version_of(new)
    follow(docxworld_world)
    assert docxworld_world.receipt(key)["versionId"] == version_of(new)
    assert len(docxworld.jobs()) == 2


def test_an_older_version_that_fails_does_not_overwrite_it_either(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    empty, full = put(docxworld_world, key, b""), put(docxworld_world, key, b"Fassung 2")
    for event in (full, empty):
        docxworld_world.arrive(event)
        docxworld_world.drain()
    follow(docxworld_world)
    receipt = docxworld_world.receipt(key)
    assert (receipt["status"], receipt["versionId"]) == ("DELIVERED", version_of(full))


def test_an_event_that_names_no_version_delivers_all_there_are_once(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    for number in range(2):
        put(docxworld_world, key, f"Fassung {number}".encode())
    event = docxworld_world.drop_event(key, "null", 9)
    del event["detail"]["object"]["version-id"]
    for _ in range(2):
        docxworld_world.arrive(json.loads(json.dumps(event)))
    docxworld_world.drain()
    assert sorted(docxworld.read_upload(job.id) for job in docxworld.jobs()) == [b"Fassung 0", b"Fassung 1"]


# --- events ---


def test_an_update_is_told_with_its_status_and_nothing_personal(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    version = version_of(docxworld_world.drop(key, b"ein Brief", {"reference-id": "Kanarienvogel"}))
    docxworld_world.drain()
    follow(docxworld_world)
    (job,) = docxworld.jobs()
    common = {"portal": "docxworld", "connection": "klinikum", "id": job.id, "key": f"receipts/{key}.json"}
    assert docxworld_world.events_of("Delivery Updated") == [
        {**common, "status": "IN_PROGRESS", "versionId": version, "states": ["SCHEDULED", "UPLOADED"]},
        {**common, "status": "DELIVERED", "versionId": version, "states": ["SCHEDULED", "UPLOADED", "TRANSFERRED"]},
    ]


def test_the_receipt_is_written_before_its_event_is_sent(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    docxworld_world.drop(key, b"ein Brief")
    with docxworld_world.lifeline.cut(0, after=False):
        docxworld_world.drain()
    calls = docxworld_world.lifeline.calls
    assert calls.index("put_events") > max(n for n, call in enumerate(calls) if call == "PutObject")


def test_a_key_whose_receipt_would_be_too_long_for_s3_is_delivered_without_one(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    start = f"docxworld/klinikum/{docxworld.letters.id}/"
    key = start + "b" * (1024 - len(start))
    docxworld_world.drop(key, b"ein Brief")
    docxworld_world.drain()
    follow(docxworld_world)
    assert len(docxworld.jobs()) == 1 and docxworld_world.inbox_keys() == []
    (_, end) = docxworld_world.events_of("Delivery Updated")
    assert (end["status"], end["key"]) == ("DELIVERED", None)
