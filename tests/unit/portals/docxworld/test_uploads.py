"""The Destination over real HTTP: single and chunked uploads, resumed, repeated, lost and refused."""

import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest

from amtsbote.deadline import Deadline
from amtsbote.errors import Misconfigured, OutOfTime, Reject, Retry
from amtsbote.portals.docxworld import PORTAL
from amtsbote.portals.docxworld.uploads import (
    FRUITLESS_LIMIT,
    GENERATIONS,
    SLOW_LIMIT,
    reference_of_generation,
)
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Destination, Drop, Outcome
from tests.unit.portals.docxworld.conftest import Clock, Countdown
from tests.unit.portals.docxworld.server import Reply, Request, Route, Server, Storage, page, refusal

TARGET = "a84397c4-fadd-4fb7-9145-7d580646cc86"
UPLOADS, COMPLETE, UPLOAD = "/v1/uploads", "/v1/uploads/complete", "/v1/uploads/p1"
ROLE = "ROLE_CUSTOMER_UPLOADER"
MIB = 1024 * 1024
LARGE = bytes(range(256)) * (11 * 4096)  # 11 MiB: two parts
SMALL = b"Guten Tag"
SCHEDULED = {"processId": "p1", "events": [{"created": "2026-03-01T12:00:00Z", "action": "SCHEDULED"}]}
UPLOADED = {"processId": "p1", "events": [{"created": "2026-03-01T12:00:00Z", "action": "UPLOADED"}]}
PARTS = [5 * MIB + MIB // 2, 5 * MIB + MIB // 2]


class Memory:
    """A journal as the ledger keeps it: JSON, as it was when it was last saved."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.saved: dict[str, Any] = {}
        self.saves = 0

    def save(self) -> None:
        self.saves += 1
        self.saved = json.loads(json.dumps(self.state))

    def after_a_crash(self) -> "Memory":
        again = Memory()
        again.state = self.saved
        again.save()
        return again


@pytest.fixture
def destination(connection: Connection, tools: Tools) -> Destination:
    made = PORTAL.destination(connection, tools)
    assert made is not None
    return made


@pytest.fixture
def journal() -> Memory:
    return Memory()


def a_drop(
    content: bytes = SMALL,
    reads: list[tuple[int, int]] | None = None,
    *,
    target: str = TARGET,
    metadata: Mapping[str, str] | None = None,
) -> Drop:
    """Return a drop; what is read of it is noted in `reads`."""

    def read(start: int, length: int) -> BytesIO:
        if reads is not None:
            reads.append((start, length))
        return BytesIO(content[start : start + length])

    return Drop(
        key=f"docxworld/klinikum/{target}/brief.pdf",
        version_id="v1",
        path=(target, "brief.pdf"),
        size=len(content),
        content_type="application/pdf",
        metadata=metadata or {},
        reference="amtsbote-1",
        read=read,
    )


def addresses(storage: Storage, *, exists: bool = False, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(body={"id": "p1", "uploadUrls": storage.urls, "headers": headers or {}, "jobAlreadyExists": exists})


NO_ADDRESS = Reply(body={"id": "p1", "uploadUrls": [], "headers": {}, "jobAlreadyExists": True})


@pytest.fixture
def single(server: Server) -> Storage:
    """A portal that takes a file in one piece."""
    storage = Storage(server)
    server.on("PUT", UPLOADS, addresses(storage, headers={"x-amz-meta-id": "p1", "x-amz-meta-Odd": "a b"}))
    server.on("GET", UPLOAD, Reply(body=UPLOADED))
    return storage


@pytest.fixture
def chunked(server: Server) -> Storage:
    """A portal that takes a file in two pieces."""
    storage = Storage(server, 2, upload_id="m1")
    server.on("PUT", UPLOADS, addresses(storage, headers={"x-amz-meta-id": "p1"}))
    server.on("PUT", COMPLETE, Reply(body={"message": "complete"}))
    server.on("GET", UPLOAD, Reply(body=UPLOADED))
    return storage


def then_runs_out(countdown: Countdown, route: Route) -> Route:
    """Answer as before, after which the invocation's time is used up."""

    def answer(request: Request) -> Reply:
        countdown.run_out()
        return route(request)

    return answer


# --- one piece -------------------------------------------------------------------------------------------------------


def test_a_small_file_goes_out_in_one_piece(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    delivery = destination.deliver(a_drop(), journal)
    assert single.content() == SMALL
    assert (delivery.portal_id, delivery.outcome) == ("p1", Outcome.IN_PROGRESS)
    assert not server.sent("PUT", COMPLETE)


def test_the_order_speaks_of_the_drop(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    destination.deliver(a_drop(metadata={"priority": "HI", "customer-reference-3": "file 7"}), journal)
    (asked,) = server.sent("PUT", UPLOADS)
    assert asked.role == ROLE
    assert asked.json == {
        "supportedUploadFeatures": ["MULTIPART"],
        "targetId": TARGET,
        "referenceId": "amtsbote-1",
        "jobCustomerReference3": "file 7",
        "fileName": "brief.pdf",
        "priority": "HI",
        "fileSize": len(SMALL),
    }


def test_the_portals_headers_are_sent_verbatim_and_none_of_ours(
    single: Storage, destination: Destination, journal: Memory
) -> None:
    destination.deliver(a_drop(), journal)
    (put,) = single.puts()
    ours = {"host", "user-agent", "accept-encoding", "accept", "connection", "content-length"}
    assert set(put.headers) - ours == {"x-amz-meta-id", "x-amz-meta-odd"}
    assert put.headers["x-amz-meta-odd"] == "a b"


def test_the_length_is_announced(single: Storage, destination: Destination, journal: Memory) -> None:
    destination.deliver(a_drop(), journal)
    (put,) = single.puts()
    assert put.headers["content-length"] == str(len(SMALL))
    assert "transfer-encoding" not in put.headers


def test_a_file_that_is_sent_is_not_sent_again(single: Storage, destination: Destination, journal: Memory) -> None:
    destination.deliver(a_drop(), journal)
    destination.deliver(a_drop(), journal.after_a_crash())
    assert len(single.puts()) == 1


def test_a_lost_answer_of_the_storage_is_looked_at_before_anything_is_sent(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", single.paths[0], Reply(vanish=True))
    with pytest.raises(Retry):
        destination.deliver(a_drop(), journal)
    destination.deliver(a_drop(), journal.after_a_crash())
    assert len(single.puts()) == 1


def test_a_file_that_did_not_arrive_is_sent_again(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", single.paths[0], Reply(500, b""), Reply(headers={"ETag": '"1"'}, body=b""))
    server.on("GET", UPLOAD, Reply(body=SCHEDULED), Reply(body=UPLOADED))
    with pytest.raises(Retry):
        destination.deliver(a_drop(), journal)
    destination.deliver(a_drop(), journal.after_a_crash())
    assert len(single.puts()) == 2
    assert len(server.sent("PUT", UPLOADS)) == 1


def test_a_transfer_that_fails_says_nothing_about_the_address(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", single.paths[0], Reply(vanish=True))
    with pytest.raises(Retry) as lost:
        destination.deliver(a_drop(), journal)
    assert "/storage/" not in "".join(traceback.format_exception(lost.value))


def test_a_drop_that_ends_early_is_tried_again(single: Storage, destination: Destination, journal: Memory) -> None:
    plain = a_drop()
    short = Drop(**{**plain.__dict__, "size": plain.size + 1})
    with pytest.raises(Retry, match="DROP_CUT"):
        destination.deliver(short, journal)


# --- several pieces --------------------------------------------------------------------------------------------------


def test_a_large_file_goes_out_in_pieces_without_headers(
    chunked: Storage, destination: Destination, journal: Memory
) -> None:
    destination.deliver(a_drop(LARGE), journal)
    assert chunked.content() == LARGE
    assert [len(put.body) for put in chunked.puts()] == PARTS
    assert not any(
        name.startswith("x-amz") or name == "authorization" for put in chunked.puts() for name in put.headers
    )


def test_the_pieces_are_put_together_by_the_counter_of_their_address(
    chunked: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    destination.deliver(a_drop(LARGE), journal)
    (asked,) = server.sent("PUT", COMPLETE)
    assert asked.json == {"processId": "p1", "etags": {"1": '"0"', "2": '"1"'}}


def test_the_counter_can_begin_at_zero(
    chunked: Storage, server: Server, connect: Callable[..., Connection], tools: Tools, journal: Memory
) -> None:
    zero = PORTAL.destination(connect(uploader={"etagBase": 0}), tools)
    assert zero is not None
    zero.deliver(a_drop(LARGE), journal)
    assert server.sent("PUT", COMPLETE)[0].json["etags"] == {"0": '"0"', "1": '"1"'}


def test_time_that_runs_out_leaves_between_two_pieces_and_the_next_try_goes_on(
    chunked: Storage, server: Server, destination: Destination, journal: Memory, countdown: Countdown
) -> None:
    first = server.routes["PUT", chunked.paths[0]]
    server.when("PUT", chunked.paths[0], then_runs_out(countdown, first))
    reads: list[tuple[int, int]] = []
    with pytest.raises(OutOfTime):
        destination.deliver(a_drop(LARGE, reads), journal)
    assert reads[0] == (0, PARTS[0])
    countdown.refill()
    destination.deliver(a_drop(LARGE), journal.after_a_crash())
    assert chunked.content() == LARGE
    assert len(server.sent("PUT", chunked.paths[0])) == 1


def test_a_piece_that_fails_does_not_cost_the_others(
    chunked: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", chunked.paths[1], Reply(500, b""), Reply(headers={"ETag": '"1"'}, body=b""))
    with pytest.raises(Retry):
        destination.deliver(a_drop(LARGE), journal)
    destination.deliver(a_drop(LARGE), journal.after_a_crash())
    assert Counter(put.path for put in chunked.puts()) == {chunked.paths[0]: 1, chunked.paths[1]: 2}


def test_a_piece_without_an_etag_is_sent_again(
    chunked: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", chunked.paths[0], Reply(body=b""), Reply(headers={"ETag": '"0"'}, body=b""))
    with pytest.raises(Retry):
        destination.deliver(a_drop(LARGE), journal)
    destination.deliver(a_drop(LARGE), journal.after_a_crash())
    assert chunked.content() == LARGE


@pytest.mark.parametrize("lost", [Reply(vanish=True), refusal(400, "upload.error.client.s3_complete_upload")])
def test_a_complete_that_seems_to_fail_is_believed_only_after_a_look(
    chunked: Storage, server: Server, destination: Destination, journal: Memory, lost: Reply
) -> None:
    server.on("PUT", COMPLETE, lost)
    assert destination.deliver(a_drop(LARGE), journal).portal_id == "p1"


def test_a_crash_around_complete_is_looked_at_before_it_is_repeated(
    chunked: Storage, server: Server, destination: Destination, journal: Memory, countdown: Countdown
) -> None:
    server.when("PUT", COMPLETE, then_runs_out(countdown, lambda _: Reply(vanish=True)))
    with pytest.raises(Retry):
        destination.deliver(a_drop(LARGE), journal)
    countdown.refill()
    destination.deliver(a_drop(LARGE), journal.after_a_crash())
    assert len(server.sent("PUT", COMPLETE)) == 1


def test_pieces_that_cannot_be_put_together_are_sent_afresh(
    chunked: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", COMPLETE, refusal(400, "upload.error.client.chunk_missing"), Reply(body={"message": "ok"}))
    server.on("GET", UPLOAD, Reply(body=SCHEDULED), Reply(body=SCHEDULED), Reply(body=UPLOADED))
    with pytest.raises(Retry, match="etagBase"):
        destination.deliver(a_drop(LARGE), journal)
    destination.deliver(a_drop(LARGE), journal.after_a_crash())
    assert len(chunked.puts()) == 4
    assert len(server.sent("PUT", UPLOADS)) == 2


# --- addresses that end, repeats --------------------------------------------------------------------------------------


def test_an_address_that_is_refused_is_asked_for_again(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", single.paths[0], Reply(403, b"<Error/>"), Reply(headers={"ETag": '"1"'}, body=b""))
    server.on("GET", UPLOAD, Reply(body=SCHEDULED), Reply(body=UPLOADED))
    server.on("PUT", UPLOADS, addresses(single), addresses(single, exists=True))
    destination.deliver(a_drop(), journal)
    references = [asked.json["referenceId"] for asked in server.sent("PUT", UPLOADS)]
    assert references == ["amtsbote-1", "amtsbote-1"]
    assert single.content() == SMALL


def test_addresses_that_are_refused_twice_wait(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", single.paths[0], Reply(403, b"<Error/>"))
    with pytest.raises(Retry, match="LINK_REFUSED"):
        destination.deliver(a_drop(), journal)
    assert len(single.puts()) == 2


@pytest.mark.parametrize(("upload_id", "resent"), [("m1", 1), ("", 2)])
def test_addresses_that_ended_are_renewed_and_pieces_of_the_same_upload_are_kept(
    server: Server, destination: Destination, clock: Clock, upload_id: str, resent: int
) -> None:
    journal, expires = Memory(), "X-Amz-Date={}&X-Amz-Expires=3600"
    old = Storage(server, 2, expires=expires.format("20260301T120000Z"), upload_id=upload_id)
    new = Storage(server, 2, expires=expires.format("20260301T140000Z"), upload_id=upload_id)
    server.on("PUT", UPLOADS, addresses(old), addresses(new, exists=True))
    server.on("PUT", COMPLETE, Reply(body={}))
    server.on("GET", UPLOAD, Reply(body=SCHEDULED))
    server.on("PUT", old.paths[1], Reply(500, b""), Reply(headers={"ETag": '"1"'}, body=b""))
    with pytest.raises(Retry):
        destination.deliver(a_drop(LARGE), journal)
    clock.now += timedelta(hours=2)
    destination.deliver(a_drop(LARGE), journal.after_a_crash())
    assert len(server.sent("PUT", UPLOADS)) == 2
    assert len(new.puts()) == 2 + resent


def test_a_repeat_that_the_portal_has_already_is_not_sent(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", UPLOADS, addresses(single, exists=True))
    assert destination.deliver(a_drop(), journal).portal_id == "p1"
    assert not single.puts()


def test_a_repeat_that_never_arrived_is_sent_to_its_new_address(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", UPLOADS, addresses(single, exists=True))
    server.on("GET", UPLOAD, Reply(body=SCHEDULED), Reply(body=UPLOADED))
    destination.deliver(a_drop(), journal)
    assert single.content() == SMALL


def test_a_repeat_without_an_address_waits_a_few_times_is_replaced_twice_and_then_refused(
    server: Server, destination: Destination
) -> None:
    server.on("PUT", UPLOADS, NO_ADDRESS)
    server.on("GET", UPLOAD, Reply(body=SCHEDULED))
    journal = Memory()
    for _ in range(GENERATIONS * (FRUITLESS_LIMIT - 1)):
        with pytest.raises(Retry):
            destination.deliver(a_drop(), journal)
        journal = journal.after_a_crash()
    with pytest.raises(Reject, match="drop the file again"):
        destination.deliver(a_drop(), journal)
    asked = Counter(request.json["referenceId"] for request in server.sent("PUT", UPLOADS))
    assert asked == dict.fromkeys(["amtsbote-1", "amtsbote-1.2", "amtsbote-1.3"], FRUITLESS_LIMIT)


ALREADY = refusal(409, "upload.error.client.job_already_exists")


def test_an_upload_that_the_portal_only_says_to_have_is_found_in_its_list(
    server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", UPLOADS, ALREADY)
    others = [{"processId": "p0", "referenceId": "amtsbote-0"}, {"processId": "p1", "referenceId": "amtsbote-1"}]
    server.on("GET", UPLOADS, page(others))
    server.on("GET", UPLOAD, Reply(body=UPLOADED))
    assert destination.deliver(a_drop(), journal).portal_id == "p1"
    assert ("freeSearch", "brief.pdf") in server.sent("GET", UPLOADS)[0].query


def test_an_upload_that_is_nowhere_to_be_found_is_refused(
    server: Server, destination: Destination, journal: Memory
) -> None:
    server.on("PUT", UPLOADS, ALREADY)
    server.on("GET", UPLOADS, page([]))
    with pytest.raises(Reject, match="JOB_ALREADY_EXISTS"):
        destination.deliver(a_drop(), journal)


def test_an_abbreviation_is_looked_up_once_per_delivery(
    single: Storage, server: Server, destination: Destination, journal: Memory
) -> None:
    workflow = {"id": "w1", "abbreviation": "W1", "status": "ACTIVE"}
    server.on("GET", "/v1/workflows", page([workflow]))
    server.on("GET", "/v1/targets", page([{"id": TARGET, "targetType": "DEFAULT", "workflow": workflow}]))
    server.on("PUT", UPLOADS, Reply(500, {}), addresses(single))
    with pytest.raises(Retry):
        destination.deliver(a_drop(target="w1"), journal)
    server.on("GET", "/v1/workflows", page([]))
    destination.deliver(a_drop(target="w1"), journal.after_a_crash())
    assert {asked.json["targetId"] for asked in server.sent("PUT", UPLOADS)} == {TARGET}


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["target_not_exists", "target_inactive", "customer_contract_inactive", "validation"])
def test_what_docxworld_refuses_is_refused_with_its_code(
    server: Server, destination: Destination, journal: Memory, code: str
) -> None:
    server.on("PUT", UPLOADS, refusal(400, f"upload.error.client.{code}", "targetId: wrong"))
    with pytest.raises(Reject) as refused:
        destination.deliver(a_drop(), journal)
    assert refused.value.code == code.upper()
    assert refused.value.portal_words == "Frau Muster sagt nein; targetId: wrong"


DENIED = refusal(403, "upload.error.client.access_denied")


def test_a_denied_target_is_the_drops_mistake(server: Server, destination: Destination, journal: Memory) -> None:
    server.on("PUT", UPLOADS, DENIED)
    server.on("GET", UPLOADS, page([]))
    with pytest.raises(Reject, match="TARGET_DENIED"):
        destination.deliver(a_drop(), journal)


def test_a_denied_role_is_the_connections_mistake(server: Server, destination: Destination, journal: Memory) -> None:
    server.on("PUT", UPLOADS, DENIED)
    server.on("GET", UPLOADS, DENIED)
    with pytest.raises(Misconfigured):
        destination.deliver(a_drop(), journal)


def test_nothing_is_asked_for_an_empty_file(server: Server, destination: Destination, journal: Memory) -> None:
    with pytest.raises(Reject, match="no bytes"):
        destination.deliver(a_drop(b""), journal)
    assert not server.requests


# --- following -------------------------------------------------------------------------------------------------------


def test_an_upload_is_followed_under_the_uploaders_role(server: Server, destination: Destination) -> None:
    server.on("GET", UPLOAD, Reply(body=UPLOADED))
    assert [step.state for step in destination.track("p1").steps] == ["UPLOADED"]
    assert server.sent("GET", UPLOAD)[0].role == ROLE


REJECTED = {**UPLOADED, "approvalState": "REJECTED"}
TASKS = "/v1/approval-tasks"


def test_a_rejection_comes_with_the_approvers_words(server: Server, destination: Destination) -> None:
    server.on("GET", UPLOAD, Reply(body=REJECTED))
    task = {"id": "t1", "processId": "p1", "approvalState": "REJECTED", "message": "wrong letterhead"}
    server.on("GET", TASKS, page([{"id": "t0", "processId": "p0", "approvalState": "REJECTED"}, task]))
    said = destination.track("p1")
    assert (said.outcome, said.error_message) == (Outcome.FAILED, "the approval was rejected: wrong letterhead")
    assert ("processIds", "p1") in server.sent("GET", TASKS)[0].query
    assert server.sent("GET", TASKS)[0].role == "ROLE_CUSTOMER_APPROVER"


def test_a_rejection_whose_words_an_uploader_may_not_read_is_a_rejection_still(
    server: Server, destination: Destination
) -> None:
    server.on("GET", UPLOAD, Reply(body=REJECTED))
    server.on("GET", TASKS, DENIED)
    assert destination.track("p1").error_message == "the approval was rejected"


def test_an_upload_that_docxworld_does_not_know_is_refused(server: Server, destination: Destination) -> None:
    server.on("GET", UPLOAD, refusal(404, "upload.error.client.job_not_found"))
    with pytest.raises(Reject):
        destination.track("p1")


# --- a line that is too slow ------------------------------------------------------------------------------------------


def test_a_file_that_never_gets_through_in_a_whole_invocation_is_given_up(
    chunked: Storage, server: Server, destination: Destination, journal: Memory, countdown: Countdown, tools: Tools
) -> None:
    tools.transport.deadline = Deadline(600, clock=countdown)
    for path in chunked.paths:
        server.when("PUT", path, then_runs_out(countdown, lambda _: Reply(500, b"")))
    drop = a_drop(LARGE)
    for _ in range(SLOW_LIMIT - 1):
        with pytest.raises(OutOfTime):
            destination.deliver(out_of_time_while_reading(drop, countdown), journal)
        countdown.refill()
        journal = journal.after_a_crash()
    with pytest.raises(Reject, match="in time"):
        destination.deliver(out_of_time_while_reading(drop, countdown), journal)


def out_of_time_while_reading(drop: Drop, countdown: Countdown) -> Drop:
    """Return a drop whose first block takes all the time there is."""

    def read(start: int, length: int) -> BytesIO:
        countdown.run_out()
        return BytesIO(bytes(length))

    return replace(drop, read=read)


def test_a_long_reference_keeps_its_length_when_it_is_counted() -> None:
    assert reference_of_generation("a", 1) == "a"
    assert reference_of_generation("a", 3) == "a.3"
    assert reference_of_generation("a" * 100, 2) == "a" * 98 + ".2"


@pytest.fixture(autouse=True)
def no_storage_ever_sees_our_credentials(server: Server) -> Iterator[None]:
    yield
    assert all("authorization" not in request.headers for request in server.requests if "/storage/" in request.path)
