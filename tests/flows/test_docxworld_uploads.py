"""What is dropped for docxworld is uploaded there, byte for byte and exactly once, whatever happens on the way."""

import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from sandbox.portals.docxworld import Job
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import CHUNKED_FROM_BYTES, ObservedDocxworld
from tests.flows.mortality import MortalWorld, moments
from tests.flows.world import LEDGER, OUTBOX

MIB = 1024 * 1024
LETTER = b"%PDF-1.7 ein Brief"
REQUEST_URLS, COMPLETE, STORAGE = "PUT /v1/uploads", "PUT /v1/uploads/complete", "PUT /s3/.*"
A_LONG_CALM = timedelta(minutes=11)  # longer than a lease and than a message stays hidden


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes of which no two pieces are alike."""
    return random.Random(seed).randbytes(size)


def key_of(docxworld: ObservedDocxworld, name: str = "brief.pdf") -> str:
    """Return the outbox key of a file for the letters."""
    return f"docxworld/klinikum/{docxworld.letters.id}/{name}"


def deliver(world: MortalWorld, key: str, content: bytes = LETTER, **metadata: str) -> dict[str, Any]:
    """Drop a file, let the function work, and return the event."""
    event = world.drop(key, content, {name.replace("_", "-"): value for name, value in metadata.items()})
    world.drain()
    return event


def follow(world: MortalWorld) -> None:
    """Let some minutes pass in which everything is tracked that can be."""
    for _ in range(3):
        world.later("track", minutes=5)


def recover(world: MortalWorld) -> None:
    """Let everything come again that a dead process has left behind."""
    for _ in range(4):
        world.clock.now += A_LONG_CALM
        world.drain()
        world.tick("track")
        world.drain()
        if not world.due() and not world.sqs.queue("own"):
            return


def arrived_once(docxworld: ObservedDocxworld, world: MortalWorld, key: str, content: bytes) -> bool:
    """Return whether the portal has exactly one upload of that name, with this content, and the receipt says so.

    A file that goes as a whole was also taken by the storage just once: a second time might be printed a second time.
    """
    name = key.rpartition("/")[2]
    jobs = [job for job in docxworld.jobs() if job.file_name == name]
    receipt = world.receipt(key)
    return (
        len(jobs) == 1
        and docxworld.read_upload(jobs[0].id) == content
        and (jobs[0].upload_id is not None or docxworld.storage_puts(jobs[0].id) == 1)
        and [state for _, state in jobs[0].events].count("UPLOADED") == 1
        and (receipt["status"], receipt["portalId"]) == ("DELIVERED", jobs[0].id)
    )


def forget_journals(world: MortalWorld) -> None:
    """Take from every drop in the ledger what the adapter has written down."""
    table = world.client("dynamodb")
    for row in table.scan(TableName=LEDGER)["Items"]:
        if "journal" in row:
            table.put_item(TableName=LEDGER, Item={**row, "journal": {"S": "{}"}})


def only_job(docxworld: ObservedDocxworld) -> Job:
    """Return the one upload that the portal has."""
    (job,) = docxworld.jobs()
    return job


# --- how files get there ---


def test_a_drop_is_uploaded_to_the_target_of_that_uuid(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    deliver(docxworld_world, key_of(docxworld))
    job = only_job(docxworld)
    assert (job.target.id, job.file_name, job.file_size) == (docxworld.letters.id, "brief.pdf", len(LETTER))
    assert docxworld.read_upload(job.id) == LETTER
    assert {request.headers["x-pf-dwc-requester-role"] for request in docxworld.asked("PUT", "/v1/uploads")} == {
        "ROLE_CUSTOMER_UPLOADER"
    }


@pytest.mark.parametrize("spelling", ["BRIEF", "brief"])
def test_a_drop_is_uploaded_to_the_target_of_that_abbreviation(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, spelling: str
) -> None:
    docxworld.add_target("Briefpost extern", "BRIEFEXTERN")  # so that a search that finds more is noticed
    deliver(docxworld_world, f"docxworld/klinikum/{spelling}/brief.pdf")
    assert only_job(docxworld).target is docxworld.letters


def test_the_role_of_the_secret_is_used(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld_world.connect("klinikum", docxworld.secret(uploader={"role": "ROLE_CUSTOMER_ADMIN"}))
    deliver(docxworld_world, key_of(docxworld))
    (request,) = docxworld.asked("PUT", "/v1/uploads")
    assert request.headers["x-pf-dwc-requester-role"] == "ROLE_CUSTOMER_ADMIN"


def test_a_single_upload_sends_the_portals_headers_and_no_credentials(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    deliver(docxworld_world, key_of(docxworld), priority="HI")
    job = only_job(docxworld)
    assert docxworld.storage.objects[job.key].metadata == {
        "x-amz-meta-id": job.id,
        "x-amz-meta-contractnumber": "customerContract-1-1",
        "x-amz-meta-jobpriority": "HI",
        "x-amz-meta-userid": docxworld.user.id,
    }
    (put,) = docxworld.asked("PUT", "/s3/.*")
    assert {"authorization", "x-pf-dwc-requester-role"}.isdisjoint(put.header_names)
    assert put.headers["content-length"] == str(len(LETTER))
    assert not docxworld.asked("PUT", "/v1/uploads/complete")


def test_25_megabytes_go_in_chunks_byte_for_byte_and_without_any_of_the_headers(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    content = noise(25 * MIB + 1)
    deliver(docxworld_world, key_of(docxworld, "gross.pdf"), content)
    puts = docxworld.asked("PUT", "/s3/.*")
    sizes = [put.body_bytes for put in puts]
    assert len(puts) > 2 and sum(sizes) == len(content) and min(sizes[:-1]) >= 5 * MIB
    assert not [
        name for put in puts for name in put.header_names if name.startswith(("x-amz", "authorization", "x-pf"))
    ]
    assert len(docxworld.asked("PUT", "/v1/uploads/complete")) == 1
    follow(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld, "gross.pdf"), content)


@pytest.mark.parametrize("base", [0, 1])
def test_the_etags_are_counted_as_the_secret_says(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, base: int
) -> None:
    docxworld.uploads.options.etag_base = base
    docxworld_world.connect("klinikum", docxworld.secret(uploader={"etagBase": base}))
    deliver(docxworld_world, key_of(docxworld), noise(CHUNKED_FROM_BYTES))
    assert only_job(docxworld).content_complete


@pytest.mark.parametrize("size", [CHUNKED_FROM_BYTES - 1, CHUNKED_FROM_BYTES])
def test_the_portal_decides_whether_a_file_goes_in_chunks(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, size: int
) -> None:
    deliver(docxworld_world, key_of(docxworld), noise(size))
    assert (len(docxworld.asked("PUT", "/s3/.*")) > 1) == (size >= CHUNKED_FROM_BYTES)
    assert only_job(docxworld).content_complete


def test_metadata_becomes_priority_and_references(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    references = {f"customer_reference_{number}": f"Akte {number}" for number in range(1, 7)}
    deliver(docxworld_world, key_of(docxworld), LETTER, priority="HI", reference_id="Vorgang-7", **references)
    job = only_job(docxworld)
    assert job.priority == "HI"
    assert job.customer_references == tuple(f"Akte {number}" for number in range(1, 7))
    assert "Vorgang-7" in str(job.reference_id)


def test_without_metadata_priority_is_normal_and_the_reference_is_the_versions_own(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    deliver(docxworld_world, key_of(docxworld))
    deliver(docxworld_world, key_of(docxworld))
    deliver(docxworld_world, key_of(docxworld, "zwei.pdf"))
    jobs = docxworld.jobs()
    assert {job.priority for job in jobs} == {"NORMAL"}
    assert len({job.reference_id for job in jobs}) == 3
    assert all(job.reference_id and len(job.reference_id) <= 100 for job in jobs)


def test_a_technical_access_uploads_too(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld.add_technical_access("client-1", "geheim", {"ROLE_CUSTOMER_UPLOADER"})
    auth = {"kind": "client-credentials", "tokenUrl": docxworld.token_url, "clientId": "client-1"}
    scopes = {"clientSecret": "geheim", "scopes": ["tower/customer-uploader"]}
    docxworld_world.connect("klinikum", docxworld.secret(auth={**auth, **scopes}))
    deliver(docxworld_world, key_of(docxworld))
    assert docxworld.read_upload(only_job(docxworld).id) == LETTER


# --- exactly once ---


@pytest.mark.parametrize("size", [len(LETTER), CHUNKED_FROM_BYTES])
def test_the_same_event_many_times_is_one_upload(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, size: int
) -> None:
    content = noise(size)
    event = docxworld_world.drop(key_of(docxworld), content)
    docxworld_world.arrive(event)  # in the same batch
    docxworld_world.drain()
    docxworld_world.arrive(event)
    follow(docxworld_world)
    docxworld_world.arrive(event)
    docxworld_world.drain()
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)
    assert len(docxworld.asked("PUT", "/v1/uploads")) == 1
    assert not docxworld_world.due()


def test_an_event_that_comes_while_another_worker_sends_is_no_second_upload(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    event = docxworld_world.drop(key_of(docxworld), LETTER)

    def again() -> None:
        docxworld_world.arrive(event)
        docxworld_world.run("own")

    docxworld_world.before("s3", "GetObject", again, key="brief.pdf?")  # when the first begins to read
    docxworld_world.drain()
    assert len(docxworld.asked("PUT", "/s3/.*")) == 1
    assert len(docxworld_world.sqs.queue("own")) == 1, "it waits, in case the other dies"
    recover(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), LETTER)
    assert len(docxworld.asked("PUT", "/v1/uploads")) == 1
    assert not docxworld_world.sqs.queue("own")


def test_a_worker_whose_lease_was_taken_over_writes_nothing_more(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    """Given a worker that is stuck just before it writes down its first part, when another takes over and finishes."""
    content = noise(CHUNKED_FROM_BYTES)
    docxworld_world.drop(key_of(docxworld), content)

    def overtake() -> None:
        docxworld_world.clock.now += A_LONG_CALM
        docxworld_world.run("own")

    docxworld_world.before("dynamodb", "PutItem", overtake, key="etags")
    docxworld_world.drain()
    recover(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)
    assert len(docxworld.asked("PUT", "/v1/uploads/complete")) == 1
    assert len(docxworld.asked("PUT", "/s3/.*")) <= 2 + 2, "what the first had under way, and both by the second"


def test_each_version_of_a_key_is_delivered_once(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    events = [docxworld_world.drop(key_of(docxworld), f"Fassung {number}".encode()) for number in (1, 2, 3)]
    for event in events:
        docxworld_world.arrive(event)
    docxworld_world.drain()
    follow(docxworld_world)
    contents = Counter(docxworld.read_upload(job.id) for job in docxworld.jobs())
    assert contents == {b"Fassung 1": 1, b"Fassung 2": 1, b"Fassung 3": 1}


def test_two_versions_with_the_same_reference_id_are_two_uploads(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    deliver(docxworld_world, key_of(docxworld), b"Fassung 1", reference_id="Vorgang-7")
    deliver(docxworld_world, key_of(docxworld), b"Fassung 2", reference_id="Vorgang-7")
    assert [docxworld.read_upload(job.id) for job in docxworld.jobs()] == [b"Fassung 1", b"Fassung 2"]


# --- answers that are lost ---


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.TRUNCATED_BODY, Kind.HTML_WITH_200])
@pytest.mark.parametrize("call", [REQUEST_URLS, STORAGE, COMPLETE])
def test_a_lost_or_unreadable_answer_leads_to_one_upload_all_the_same(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, call: str, kind: Kind
) -> None:
    content = noise(CHUNKED_FROM_BYTES) if call == COMPLETE else LETTER
    docxworld.faults.add(Fault(kind, call, times=1))
    docxworld_world.drop(key_of(docxworld), content)
    docxworld_world.drain()
    recover(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)
    assert not docxworld_world.due() and not docxworld_world.sqs.queue("own")


def test_a_lost_completion_is_no_failure_where_the_portal_refuses_to_repeat_it(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    """Given a portal that no longer knows the chunked upload once it is complete."""
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, COMPLETE, times=1))
    content = noise(CHUNKED_FROM_BYTES)
    deliver(docxworld_world, key_of(docxworld), content)
    assert only_job(docxworld).content_complete
    assert not docxworld_world.sqs.queue("own"), "an error is believed only after a look"
    recover(docxworld_world)
    assert len(docxworld.asked("PUT", "/v1/uploads/complete")) == 1
    assert docxworld.storage_puts(only_job(docxworld).id) == 2


def test_a_repeated_reference_that_is_refused_is_found_in_the_list(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    """Given a file that is at the portal, and a ledger that does not know so."""
    docxworld.uploads.options.existing_refused = True
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, STORAGE, times=1))
    deliver(docxworld_world, key_of(docxworld))
    forget_journals(docxworld_world)
    recover(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), LETTER)
    assert docxworld.asked("GET", "/v1/uploads"), "by looking it up"


def some_hours(world: MortalWorld, count: int = 8) -> None:
    """Let hours pass, so that whatever waits for its next try has it."""
    for _ in range(count):
        world.clock.forward(hours=1)
        world.drain()


@pytest.mark.parametrize("refused", [False, True])
def test_an_upload_whose_addresses_are_lost_for_good_is_replaced_by_one_of_another_reference(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, refused: bool
) -> None:
    docxworld.uploads.options.fresh_urls_for_existing = False
    docxworld.uploads.options.existing_refused = refused
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, REQUEST_URLS, times=1))
    docxworld_world.drop(key_of(docxworld), LETTER)
    some_hours(docxworld_world)
    follow(docxworld_world)
    lost, arrived = docxworld.jobs()
    assert (lost.content_complete, docxworld.read_upload(arrived.id)) == (False, LETTER)
    assert arrived.reference_id == f"{lost.reference_id}.2"
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert (receipt["status"], receipt["portalId"]) == ("DELIVERED", arrived.id)
    assert receipt["result"]["replaces"] == [lost.id]


def test_after_three_uploads_that_could_not_be_gone_on_with_a_person_is_told(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld.uploads.options.fresh_urls_for_existing = False
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, REQUEST_URLS, after=0, times=1))
    docxworld.faults.add(Fault(Kind.EXPIRED_TOKEN, STORAGE))
    docxworld_world.drop(key_of(docxworld), LETTER)
    some_hours(docxworld_world, 24)
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", "UPLOAD_STUCK")
    assert "drop the file again" in receipt["error"]["message"]
    assert len(docxworld.jobs()) == 3 and not any(job.content_complete for job in docxworld.jobs())


def test_an_upload_is_not_replaced_while_its_last_step_may_still_have_an_effect(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    """Given a storage whose answer is lost and whose portal notices the file late, with no new address meanwhile."""
    docxworld.uploads.options.fresh_urls_for_existing = False
    held: list[str] = []
    docxworld.uploads.stored = held.append  # type: ignore[assignment, method-assign]
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, STORAGE, times=1))
    docxworld.faults.add(Fault(Kind.EXPIRED_TOKEN, STORAGE))
    docxworld_world.drop(key_of(docxworld), LETTER)
    for _ in range(9):
        docxworld_world.clock.forward(minutes=1)
        docxworld_world.drain()
    assert len(docxworld.jobs()) == 1, "nothing is certain yet"
    del docxworld.uploads.stored
    docxworld.uploads.stored(held[0])
    recover(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), LETTER)


def test_an_upload_that_was_replaced_and_arrives_after_all_is_the_one(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    """Given an upload that was given up, when it turns out to have arrived just before the next one is sent."""
    docxworld.uploads.options.fresh_urls_for_existing = False
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, REQUEST_URLS, times=1))
    docxworld_world.drop(key_of(docxworld), LETTER)

    def arrive_late() -> None:
        (first, *_) = docxworld.jobs()
        docxworld.storage.put_content(first.key, LETTER)
        docxworld.uploads.stored(first.key)

    docxworld_world.before("dynamodb", "PutItem", arrive_late, key="generation")
    some_hours(docxworld_world)
    follow(docxworld_world)
    first, second = docxworld.jobs()
    assert (first.content_complete, second.content_complete) == (True, False)
    assert docxworld_world.receipt(key_of(docxworld))["portalId"] == first.id
    assert not docxworld.asked("PUT", "/s3/.*")


def test_a_lost_answer_to_one_chunk_sends_only_that_chunk_again(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    content = noise(25 * MIB)
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, STORAGE, after=1, times=1))
    docxworld_world.drop(key_of(docxworld), content)
    docxworld_world.drain()
    parts = only_job(docxworld).url_count
    recover(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)
    assert docxworld.storage_puts(only_job(docxworld).id) == parts + 1


# --- addresses that have ended ---


@pytest.mark.parametrize("size", [len(LETTER), CHUNKED_FROM_BYTES])
def test_an_address_that_the_storage_refuses_is_asked_for_again_at_once(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, size: int
) -> None:
    docxworld.faults.add(Fault(Kind.EXPIRED_TOKEN, STORAGE, times=1))
    content = noise(size)
    deliver(docxworld_world, key_of(docxworld), content)
    assert len(docxworld.asked("PUT", "/v1/uploads")) == 2
    follow(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)


def test_parts_that_are_there_stay_when_the_addresses_end_before_the_rest(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    content = noise(25 * MIB)
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, after=1, times=1, status=500))
    docxworld_world.drop(key_of(docxworld), content)
    docxworld_world.drain()
    docxworld_world.clock.forward(hours=2)
    docxworld_world.drain()
    follow(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)
    assert docxworld.storage_puts(only_job(docxworld).id) == only_job(docxworld).url_count


# --- time that runs out ---


def test_a_delivery_that_runs_out_of_time_goes_on_with_what_is_missing(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    content = noise(25 * MIB)
    docxworld_world.before("dynamodb", "PutItem", docxworld_world.use_up_time, key="etags")
    event = docxworld_world.drop(key_of(docxworld), content)
    docxworld_world.run("own")
    assert not only_job(docxworld).content_complete
    assert docxworld_world.receipt(key_of(docxworld))["status"] == "IN_PROGRESS"
    assert len(docxworld_world.sqs.queue("own")) == 1, "its continuation, at once"
    docxworld_world.arrive(event)  # and the event once more, which has to wait or to help
    docxworld_world.drain()
    follow(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)
    assert docxworld.storage_puts(only_job(docxworld).id) == only_job(docxworld).url_count
    assert len(docxworld.asked("PUT", "/v1/uploads")) == 1


@pytest.mark.parametrize("size", [len(LETTER), CHUNKED_FROM_BYTES])
def test_time_that_runs_out_in_the_middle_of_a_transfer_leaves_nothing_half(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, size: int
) -> None:
    content = noise(size)
    docxworld_world.before("dynamodb", "PutItem", docxworld_world.use_up_time, key="touched")
    docxworld_world.drop(key_of(docxworld), content)
    docxworld_world.run("own")
    assert docxworld.storage_puts(only_job(docxworld).id) == 0
    docxworld_world.drain()
    follow(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), content)


def test_a_drop_that_has_no_time_at_all_waits_without_using_up_its_tries(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld_world.deadline_seconds, docxworld_world.tries = 0, 1  # each try would be the last
    docxworld_world.drop(key_of(docxworld), LETTER)
    for _ in range(3):
        docxworld_world.run("own")
        docxworld_world.clock.forward(hours=1, minutes=15)
    docxworld_world.deadline_seconds = 60
    docxworld_world.drain()
    follow(docxworld_world)
    assert arrived_once(docxworld, docxworld_world, key_of(docxworld), LETTER)


# --- processes that die ---


def calls_of_a_delivery(docxworld: ObservedDocxworld, world: MortalWorld, content: bytes) -> list[str]:
    """Return all calls that a fresh process makes to deliver a file."""
    world.drop(key_of(docxworld, "probe.pdf"), content)
    world.services = world.new_services()
    with world.lifeline.cut(0, after=False):
        world.drain()
    recover(world)
    return world.lifeline.calls


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
@pytest.mark.parametrize(
    ("size", "at_once"),
    [(len(LETTER), 4), (CHUNKED_FROM_BYTES, 1), (CHUNKED_FROM_BYTES, 4)],
    ids=["single", "chunked", "side by side"],
)
def test_a_process_that_dies_at_any_call_of_a_delivery_has_delivered_once_in_the_end(
    docxworld: ObservedDocxworld,
    docxworld_world: MortalWorld,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    at_once: int,
    after: bool,
) -> None:
    monkeypatch.setattr("amtsbote.portals.docxworld.uploads.PARTS_IN_FLIGHT", at_once)
    monkeypatch.setattr("amtsbote.portals.docxworld.parts.GLANCE_SECONDS", 60)  # a slow machine looks no more often
    content, world = noise(size), docxworld_world
    calls = calls_of_a_delivery(docxworld, world, content)
    first = 1 if size == len(LETTER) else next(n for n, call in enumerate(calls) if "/s3/" in call)  # the rest is alike
    for number in (each for each in moments(calls, after=after) if each >= first):
        key = key_of(docxworld, f"brief-{number}.pdf")
        event = world.drop(key, content)
        world.services = world.new_services()
        with world.lifeline.cut(number, after=after):
            world.drain()
        together = size != len(LETTER) and at_once > 1  # then two parts may be written down by one call, or by two
        assert world.lifeline.cut_at_call or together, "there is a call of this number"
        if number % 2:
            world.arrive(event)  # and the event comes once more
        recover(world)
        assert arrived_once(docxworld, world, key, content), world.lifeline.cut_at_call
        assert world.due() == [], world.lifeline.cut_at_call
        assert not any(world.sqs.queue(name) for name in ("own", "track")), world.lifeline.cut_at_call
    assert not world.sqs.dead_letters


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
def test_a_process_that_dies_at_any_call_of_tracking_has_told_the_end_in_the_end(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, after: bool
) -> None:
    world = docxworld_world
    for number in range(1, 200):
        key = key_of(docxworld, f"brief-{number}.pdf")
        deliver(world, key)
        world.clock.forward(minutes=1)
        world.services = world.new_services()
        with world.lifeline.cut(number, after=after):
            world.tick("track")
            world.drain()
        if not world.lifeline.cut_at_call:
            break
        recover(world)
        assert arrived_once(docxworld, world, key, LETTER), world.lifeline.cut_at_call
        assert world.due() == [], world.lifeline.cut_at_call
        updates = [
            each["status"] for each in world.events_of("Delivery Updated") if each["key"] == f"receipts/{key}.json"
        ]
        assert updates[-1] == "DELIVERED", world.lifeline.cut_at_call
    assert number > 10, "tracking makes at least so many calls"


def test_an_object_is_read_in_its_own_version_even_when_a_newer_one_lies_above(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    first = docxworld_world.drop(key_of(docxworld), b"Fassung 1")
    docxworld_world.client("s3").put_object(Bucket=OUTBOX, Key=key_of(docxworld), Body=b"Fassung 2, ohne Ereignis")
    docxworld_world.drain()
    assert docxworld.read_upload(only_job(docxworld).id) == b"Fassung 1"
    assert docxworld_world.receipt(key_of(docxworld))["versionId"] == first["detail"]["object"]["version-id"]


# --- what a backend sees meanwhile ---


def test_the_receipt_shows_how_many_bytes_are_sent_while_they_are(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    content = noise(25 * MIB)
    written = docxworld_world.calls("s3", "PutObject")
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, after=3, times=1, status=500))
    docxworld_world.drop(key_of(docxworld), content)
    docxworld_world.drain()
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert receipt["status"] == "IN_PROGRESS"
    assert 0 < receipt["result"]["bytesSent"] < receipt["result"]["bytesTotal"] == len(content)
    recover(docxworld_world)
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert receipt["status"] == "DELIVERED"
    assert not receipt["result"].keys() & {"bytesSent", "bytesTotal"}
    assert len([call for call in written if "receipts/" in call]) < 12


@pytest.mark.parametrize("size", [len(LETTER), 25 * MIB])
def test_every_byte_is_counted_once(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    counted: list[float] = []

    def count(name: str, value: float = 1, *, connection: str | None = None) -> None:
        if name == "BytesSent":
            assert connection == "klinikum"
            counted.append(value)

    monkeypatch.setattr("amtsbote.verbs.deliver.count", count)
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, times=1, status=500))
    docxworld_world.drop(key_of(docxworld), noise(size))
    docxworld_world.drain()
    docxworld_world.services = docxworld_world.new_services()
    recover(docxworld_world)
    assert sum(counted) == size
