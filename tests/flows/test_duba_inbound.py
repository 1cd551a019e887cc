"""What DUBA lists arrives in the inbox: every message once, verbatim, with document.json last."""

import json
import random
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import pytest

from sandbox.portals.duba import NEVER, SimulatedDuba
from sandbox.portals.server import RecordedRequest
from tests.flows.world import INBOX, World

LISTING = "/api/duba/v1/messages"
SECRET = {"username": "amtsbote", "password": "geheim"}


def reconnect(world: World, duba: SimulatedDuba, **more: Any) -> None:
    """Give the connection `klinikum` further settings."""
    world.connect("klinikum", {"baseUrl": duba.base_url, **SECRET, **more})


def listings(duba: SimulatedDuba) -> list[RecordedRequest]:
    """Return the requests for the list of messages."""
    return [request for request in duba.requests if request.path == LISTING and request.method == "GET"]


def content_of(duba: SimulatedDuba, id: int) -> bytes:
    """Return what the portal holds of a message."""
    content = duba.messages[id].content
    assert isinstance(content, bytes)
    return content


def zip_of(**files: bytes) -> bytes:
    """Return a ZIP whose files are not compressed."""
    out = BytesIO()
    with ZipFile(out, "w", ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


# --- what arrives ---


def test_every_message_arrives_once_and_is_acknowledged(duba: SimulatedDuba, duba_world: World) -> None:
    ids = [duba.add_message() for _ in range(7)]
    duba_world.settle()
    assert duba_world.received("klinikum") == {str(id) for id in ids}
    assert duba.acknowledged_ids() == ids
    assert [duba.downloads_of(id) for id in ids] == [1] * 7


def test_the_zip_is_stored_as_it_came(duba: SimulatedDuba, duba_world: World) -> None:
    id = duba.add_message()
    content = content_of(duba, id)
    duba_world.settle()
    assert duba_world.content(f"duba/klinikum/{id}/message-{id}.zip") == content


def test_document_json_says_what_the_contract_promises(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(214, job_id="7e57", aktenzeichen="12 XVII 214/26")
    content, record = content_of(duba, 214), duba.messages[214].info()
    duba_world.settle()
    assert duba_world.document("klinikum", "214") == {
        "schema": "amtsbote.document/1",
        "portal": "duba",
        "connection": "klinikum",
        "id": "214",
        "receivedAt": duba_world.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": [
            {
                "key": "duba/klinikum/214/message-214.zip",
                "name": "message-214.zip",
                "portalName": None,
                "size": len(content),
                "sha256": sha256(content).hexdigest(),
                "contentType": "application/zip",
            }
        ],
        "metadata": record,
    }


def test_a_large_message_goes_up_in_parts_and_is_hashed_all_the_same(duba: SimulatedDuba, duba_world: World) -> None:
    content = zip_of(scan=random.Random(1).randbytes(17 * 1024 * 1024))
    id = duba.add_message(content=content)
    whole, parts = duba_world.calls("s3", "PutObject"), duba_world.calls("s3", "UploadPart")
    duba_world.settle(rounds=1)
    (file,) = duba_world.document("klinikum", str(id))["files"]
    assert duba_world.content(file["key"]) == content
    assert (file["size"], file["sha256"]) == (len(content), sha256(content).hexdigest())
    assert len(parts) == 3
    assert not any("message-" in each.split(" ")[0] for each in whole)


def test_document_json_is_written_after_the_file(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    written = duba_world.calls("s3", "PutObject")
    duba_world.settle()
    assert [each.split(" ")[0].rpartition("/")[2] for each in written] == ["message-1.zip", "document.json"]


def test_document_json_is_the_last_step_before_the_acknowledgement(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba_world.crash("s3", "PutObject", key="document.json")
    duba_world.settle()
    assert duba_world.inbox_keys() == ["duba/klinikum/1/message-1.zip"]
    assert not duba.ack_batches
    assert not duba_world.events()


# --- exactly once ---


def test_the_same_request_many_times_stores_once(duba: SimulatedDuba, duba_world: World) -> None:
    id = duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    (request,) = duba_world.sqs.queue("fetch")
    for _ in range(3):
        duba_world.arrive_in("fetch", json.loads(request.body))
    duba_world.drain()
    assert duba.downloads_of(id) == 1
    assert duba_world.versions(f"duba/klinikum/{id}/document.json") == 1
    assert duba_world.versions(f"duba/klinikum/{id}/message-{id}.zip") == 1


def test_many_turns_store_once(duba: SimulatedDuba, duba_world: World) -> None:
    reconnect(duba_world, duba, acknowledge="never")  # so that the portal goes on listing it
    id = duba.add_message()
    for _ in range(4):
        duba_world.later(minutes=30)
    duba_world.later("reconcile", hours=24)
    assert duba.downloads_of(id) == 1
    assert duba_world.versions(f"duba/klinikum/{id}/document.json") == 1
    assert len(duba_world.events_of("Document Received")) == 1


def test_one_message_id_under_several_ids_is_several_messages(duba: SimulatedDuba, duba_world: World) -> None:
    ids = [duba.add_message(message_id="gov2test_same") for _ in range(3)]
    duba_world.settle()
    assert duba_world.received("klinikum") == {str(id) for id in ids}
    assert duba.acknowledged_ids() == ids
    assert {duba_world.document("klinikum", str(id))["metadata"]["messageId"] for id in ids} == {"gov2test_same"}


def test_a_row_that_is_listed_twice_is_one_message(duba: SimulatedDuba, duba_world: World) -> None:
    id = duba.add_message(listed_times=2)
    duba_world.settle()
    assert [body for queue, body in duba_world.sqs.sent if queue == "fetch"] == [
        json.dumps({"portal": "duba", "connection": "klinikum", "id": str(id)})
    ]
    assert duba.downloads_of(id) == 1
    assert duba.ack_batches == [(id,)]


def test_two_accounts_that_share_a_mailbox_have_an_inbox_each(duba: SimulatedDuba, duba_world: World) -> None:
    duba_world.connect("gericht", {"baseUrl": duba.base_url, **SECRET, "acknowledge": "never"})
    reconnect(duba_world, duba, acknowledge="never")
    duba.add_message(1)
    duba_world.settle()
    assert duba_world.received("klinikum") == duba_world.received("gericht") == {"1"}


# --- which messages ---


def test_messages_that_we_sent_are_left_at_the_portal(duba: SimulatedDuba, duba_world: World) -> None:
    incoming, outgoing = duba.add_message(), duba.add_message(direction="OUTGOING")
    duba_world.settle()
    assert duba_world.received("klinikum") == {str(incoming)}
    assert duba.listed_ids() == [outgoing]


@pytest.mark.parametrize(
    ("directions", "wanted"), [(["OUTGOING"], {"2"}), (["INCOMING", "OUTGOING"], {"1", "2"}), (["INCOMING"], {"1"})]
)
def test_the_directions_can_be_chosen(
    duba: SimulatedDuba, duba_world: World, directions: list[str], wanted: set[str]
) -> None:
    reconnect(duba_world, duba, directions=directions)
    duba.add_message(1)
    duba.add_message(2, direction="OUTGOING")
    duba_world.settle()
    assert duba_world.received("klinikum") == wanted
    assert set(map(str, duba.acknowledged_ids())) == wanted


def test_only_the_configured_jobs_and_mailboxes_are_asked_for(duba: SimulatedDuba, duba_world: World) -> None:
    reconnect(duba_world, duba, jobIds=["a", "b"], safeIds=["safe-1", "safe-2"])
    wanted = [duba.add_message(job_id="a", safe_id="safe-1"), duba.add_message(job_id="b", safe_id="safe-2")]
    duba.add_message(job_id="c", safe_id="safe-1")
    duba.add_message(job_id="a", safe_id="safe-3")
    duba_world.settle(rounds=1)
    assert duba_world.received("klinikum") == {str(id) for id in wanted}
    assert [value for name, value in listings(duba)[0].query if name == "jobId"] == ["a", "b"]
    assert [value for name, value in listings(duba)[0].query if name == "safeId"] == ["safe-1", "safe-2"]


def test_without_filters_everything_is_asked_for(duba: SimulatedDuba, duba_world: World) -> None:
    duba_world.settle(rounds=1)
    assert listings(duba)[0].query == ()


# --- messages that are not ready, or not readable ---


def test_an_unhydrated_message_waits_and_then_arrives_with_what_hydration_found(
    duba: SimulatedDuba, duba_world: World
) -> None:
    waiting, ready = duba.add_message(hydrated=False, job_id="7e57"), duba.add_message()
    duba_world.settle()
    assert duba_world.received("klinikum") == {str(ready)}
    assert duba_world.state("klinikum", str(waiting)) == "DISCOVERED"
    assert not [request for request in duba.requests if request.path.endswith(f"/download/{waiting}")]
    duba.hydrate(waiting)
    duba_world.later(minutes=1)
    assert duba_world.received("klinikum") == {str(waiting), str(ready)}
    assert duba_world.document("klinikum", str(waiting))["metadata"]["jobId"] == "7e57"


def test_a_row_that_breaks_the_schema_elsewhere_arrives_all_the_same(duba: SimulatedDuba, duba_world: World) -> None:
    broken, sound = duba.add_message(), duba.add_message()
    duba.messages[broken].message_id = None  # type: ignore[assignment]
    duba_world.settle()
    assert duba_world.received("klinikum") == {str(broken), str(sound)}


def test_a_row_without_a_readable_direction_is_not_fetched_and_so_not_deleted(
    duba: SimulatedDuba, duba_world: World
) -> None:
    odd, sound = duba.add_message(), duba.add_message()
    duba.messages[odd].direction = "SIDEWAYS"
    duba_world.settle()
    assert duba_world.received("klinikum") == {str(sound)}
    assert duba.acknowledged_ids() == [sound]
    duba.messages[odd].direction = "INCOMING"
    duba_world.later(minutes=1)
    assert duba_world.received("klinikum") == {str(odd), str(sound)}


def test_a_late_message_arrives(duba: SimulatedDuba, duba_world: World) -> None:
    late = duba.add_message(created_at=duba_world.clock() - timedelta(hours=3), visible_after=NEVER)
    duba.add_message()
    duba_world.settle()
    duba.reveal(late)
    duba_world.later(minutes=1)
    assert str(late) in duba_world.received("klinikum")


# --- costs ---


def test_known_messages_cost_one_batched_read_per_hundred(duba: SimulatedDuba, duba_world: World) -> None:
    for _ in range(201):
        duba.add_message(hydrated=False)
    duba_world.settle("poll", rounds=1)
    batches, single = duba_world.calls("dynamodb", "BatchGetItem"), duba_world.calls("dynamodb", "GetItem")
    duba_world.settle("poll", rounds=1)
    assert len([each for each in batches if "ITEM#" in each]) == 3
    assert not [each for each in single if "ITEM#" in each]


def test_the_inbox_holds_nothing_but_what_the_contract_names(duba: SimulatedDuba, duba_world: World) -> None:
    for _ in range(2):
        duba.add_message()
    duba_world.settle()
    assert sorted(duba_world.inbox_keys()) == [
        "duba/klinikum/1/document.json",
        "duba/klinikum/1/message-1.zip",
        "duba/klinikum/2/document.json",
        "duba/klinikum/2/message-2.zip",
    ]
    uploads = duba_world.client("s3").list_multipart_uploads(Bucket=INBOX)
    assert not uploads.get("Uploads")
