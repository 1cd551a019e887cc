"""Altinn as a source: what is found, what is fetched, what is confirmed."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, Quarantine, Retry, Unavailable
from amtsbote.http import Transport
from amtsbote.inbox import Inbox
from amtsbote.portals.altinn import PORTAL
from amtsbote.portals.altinn.adapter import file_name_of
from amtsbote.portals.altinn.models import DataElement
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Acknowledgement, AcknowledgeOutcome, IncomingFile, LeftOut, Source
from amtsbote.tokens import TokenCache
from tests.unit.portals.altinn.conftest import (
    ELEMENT,
    GET_INSTANCE,
    GUID,
    ID,
    LIST,
    NOW,
    OF_STORAGE,
    PARTY,
    ScriptedPortal,
    Secret,
    ToSource,
    element,
    instance,
    item,
    page,
)
from tests.unit.support import findings

OTHER = "c15f0401-e19d-4f1d-8ad1-1ce8cc96eb5d"
SINCE = datetime(2026, 2, 1, 8, 30, tzinfo=UTC)
GET_DATA, GET_OTHER = f"GET {OF_STORAGE}/data/{ELEMENT}", f"GET {OF_STORAGE}/data/{OTHER}"
COMPLETE = f"POST {OF_STORAGE}/complete"
CONFIRM_ALL = f"PUT {OF_STORAGE}/dataelements/confirmDownload"
DONE, TRY_AGAIN, UNAVAILABLE = AcknowledgeOutcome.DONE, AcknowledgeOutcome.TRY_AGAIN, AcknowledgeOutcome.UNAVAILABLE


@pytest.fixture
def source(source_of: ToSource) -> Source:
    return source_of()


@pytest.fixture
def proposed(source_of: ToSource) -> Source:
    return source_of(dialect="proposal")


def read_all(files: Iterator[IncomingFile]) -> dict[str, bytes]:
    return {file.name: b"".join(file.chunks) for file in files}


def ids(source: Source, since: datetime | None = None) -> list[str]:
    return [finding.id for finding in findings(source, since)]


# discover: the question


def test_an_app_is_asked_for_what_is_not_confirmed_oldest_change_first(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page())
    findings(source, None)
    assert portal.asked[0].query == [
        ("appId", "org/app"),
        ("order", "asc:lastChanged"),
        ("confirmed", "false"),
        ("status.isHardDeleted", "false"),
    ]


def test_the_hint_is_ignored_where_the_list_is_exact(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page(instance(lastChanged="2020-01-01T00:00:00Z")))
    assert ids(source, SINCE) == [ID]
    assert "lastChanged" not in dict(portal.asked[0].query)


def test_the_task_narrows_the_question(source_of: ToSource, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page())
    findings(source_of(currentTask="Task_2"), None)
    assert ("process.currentTask", "Task_2") in portal.asked[0].query


def test_the_proposal_is_asked_only_what_it_documents(source_of: ToSource, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page())
    findings(source_of(dialect="proposal", currentTask="Task_2"), SINCE)
    assert portal.asked[0].query == [
        ("appId", "org/app"),
        ("process.currentTask", "Task_2"),
        ("lastChanged", "gte:2026-02-01T08:30:00Z"),
    ]


def test_each_app_is_asked_once(source_of: ToSource, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page(instance()))
    portal.answers(LIST, page(instance(id=f"1/{OTHER}")))
    found = findings(source_of(apps=["org/one", "org/two", "org/one"]), None)
    assert [(finding.id, finding.hints) for finding in found] == [
        (ID, {"appId": "org/one"}),
        (f"1/{OTHER}", {"appId": "org/two"}),
    ]


# discover: the answer


def test_an_instance_is_found_with_its_record(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page(instance()))
    (finding,) = findings(source, None)
    assert (finding.id, finding.waiting_for, finding.record) == (ID, None, instance())
    assert finding.created_at == datetime(2026, 2, 6, 15, 0, 23, 123456, tzinfo=UTC)


def test_a_guid_alone_is_completed_by_its_owner(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page(instance(id=GUID, instanceOwner={"partyId": 50001})))
    assert ids(source) == [f"{PARTY}/{GUID}"]


def test_all_pages_are_read_by_their_links(source: Source, portal: ScriptedPortal) -> None:
    token = "continuationToken=638%3b12%252b%2522"
    portal.answers(LIST, page(instance(), next=f"{portal.url}/storage/api/v1/instances?appId=org/app&{token}"))
    portal.answers(LIST, page(instance(id=f"1/{OTHER}")))
    assert ids(source) == [ID, f"1/{OTHER}"]
    assert portal.asked[1].query == [("appId", "org/app"), ("continuationToken", "638;12%2b%22")]


def test_an_instance_that_moved_to_a_later_page_is_found_once_and_as_it_is_last(
    source: Source, portal: ScriptedPortal
) -> None:
    portal.answers(LIST, page(instance(), next=f"{portal.url}/storage/api/v1/instances?page=2"))
    portal.answers(LIST, page(instance(lastChanged="2026-02-07T00:00:00Z")))
    (finding,) = findings(source, None)
    assert finding.created_at == datetime(2026, 2, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    "status", [{"isHardDeleted": True}, {"hardDeleted": "2026-01-01T00:00:00Z"}, {"isHardDeleted": True, "x": 1}]
)
def test_what_is_deleted_for_good_is_left_out(source: Source, portal: ScriptedPortal, status: dict[str, Any]) -> None:
    portal.answers(LIST, page(instance(status=status), instance(id=f"1/{OTHER}", status=None)))
    assert ids(source) == [f"1/{OTHER}"]


def test_what_is_deleted_softly_can_come_back_and_is_found(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page(instance(status={"isSoftDeleted": True})))
    assert ids(source) == [ID]


@pytest.mark.parametrize(
    ("results", "waits"),
    [
        (["Clean", "Pending"], "virus scan"),
        (["NotApplicable", "Clean"], None),
        (["Infected", "Pending"], None),
        ([None], None),
    ],
)
def test_a_virus_scan_is_waited_for(
    source: Source, portal: ScriptedPortal, results: list[str], waits: str | None
) -> None:
    portal.answers(LIST, page(instance(data=[element(fileScanResult=result) for result in results])))
    assert [finding.waiting_for for finding in findings(source, None)] == [waits]


@pytest.mark.parametrize(
    "broken", [{"id": None}, {"id": GUID, "instanceOwner": None}, {"id": "../.."}, {"id": "1/2/3"}, {"id": ""}]
)
def test_a_row_without_an_id_does_not_hide_the_others(
    source: Source, portal: ScriptedPortal, broken: dict[str, Any]
) -> None:
    portal.answers(LIST, page(instance(**broken), instance()))
    one, left_out = source.discover(None)
    assert not isinstance(one, LeftOut) and one.id == ID
    assert left_out == LeftOut(("id",))


@pytest.mark.parametrize(
    "odd",
    [{"lastChanged": "2019-10-10T32:22.00Z"}, {"status": "?"}, {"process": 7}, {"data": [{"size": 1}, element()]}],
)
def test_an_instance_that_is_odd_elsewhere_is_found_all_the_same(
    source: Source, portal: ScriptedPortal, odd: dict[str, Any]
) -> None:
    portal.answers(LIST, page(instance(**odd)))
    assert ids(source) == [ID]


def confirmed(*moments: str) -> dict[str, Any]:
    return {"downloaded": list(moments), "downloadConfirmed": list(moments)}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ([element(applicationOwner=confirmed("2019-05-16T10:23:00Z"))], []),
        ([element(applicationOwner=confirmed("2019-05-16T10:23:00Z")), element(OTHER)], [ID]),
        ([element(applicationOwner={"downloaded": ["2019-05-16T10:23:00Z"]})], [ID]),
        ([element(applicationOwner=confirmed())], [ID]),
        ([element(applicationOwner=None)], [ID]),
        ([], [ID]),
        (None, [ID]),
    ],
)
def test_in_the_proposal_the_files_say_whether_they_are_confirmed(
    proposed: Source, portal: ScriptedPortal, data: Any, found: list[str]
) -> None:
    portal.answers(LIST, {"totalHits": 1} | page(instance(data=data)))
    assert ids(proposed) == found


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refused_question_is_a_wrong_connection(source: Source, portal: ScriptedPortal, status: int) -> None:
    portal.answers(LIST, b"", status=status)
    with pytest.raises(Misconfigured):
        findings(source, None)


# fetch


def test_the_instance_comes_first_and_byte_by_byte_then_each_file(source: Source, portal: ScriptedPortal) -> None:
    said = json.dumps(instance(data=[element(), element(OTHER, filename="søknad.pdf", size=4)]), indent=3).encode()
    portal.answers(GET_INSTANCE, said)
    portal.answers(GET_DATA, b"<xml/>!")
    portal.answers(GET_OTHER, b"%PDF")
    files = read_all(source.fetch(item()))
    assert list(files.items()) == [
        ("instance.json", said),
        (f"{ELEMENT}-default.xml", b"<xml/>!"),
        (f"{OTHER}-søknad.pdf", b"%PDF"),
    ]


def test_a_file_is_announced_as_the_portal_describes_it(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance())
    portal.answers(GET_DATA, b"<xml/>!", headers={"Content-Type": "text/html"})
    first, second = list(source.fetch(item()))
    assert (first.content_type, first.portal_name, first.verify) == ("application/json", None, None)
    assert (second.content_type, second.portal_name, second.size) == ("application/xml", "default.xml", 7)


def test_a_file_of_another_size_is_announced_with_the_size_it_should_have(
    source: Source, portal: ScriptedPortal
) -> None:
    portal.answers(GET_INSTANCE, instance())
    portal.answers(GET_DATA, b"more than seven bytes")
    assert [file.size for file in source.fetch(item())][1] == 7


def test_a_file_without_a_size_is_announced_with_the_length_of_the_answer(
    source: Source, portal: ScriptedPortal
) -> None:
    portal.answers(GET_INSTANCE, instance(data=[element(size=None)]))
    portal.answers(GET_DATA, b"12345")
    assert [file.size for file in source.fetch(item())][1] == 5


def test_a_file_that_was_deleted_is_not_fetched(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[element(deleteStatus={"isHardDeleted": True})]))
    assert list(read_all(source.fetch(item()))) == ["instance.json"]


@pytest.mark.parametrize(
    ("described", "name"),
    [
        ({"filename": "vedlegg æøå.pdf"}, "vedlegg æøå.pdf"),
        ({"dataType": "model1", "contentType": "application/xml; charset=utf-8"}, "model1.xml"),
        ({"dataType": "certificate", "contentType": "application/pdf"}, "certificate.pdf"),
        ({"dataType": "blob", "contentType": "application/x-nobody-knows"}, "blob"),
        ({"filename": "", "dataType": "model1"}, "model1"),
        ({}, "data"),
    ],
)
def test_a_file_without_a_name_is_called_after_its_data_type(described: dict[str, Any], name: str) -> None:
    assert file_name_of(DataElement.model_validate({"id": ELEMENT} | described)) == name


@pytest.mark.parametrize("status", [404, 410, 403])
def test_what_is_gone_or_forbidden_is_unavailable(source: Source, portal: ScriptedPortal, status: int) -> None:
    portal.answers(GET_INSTANCE, b"", status=status)
    with pytest.raises(Unavailable):
        list(source.fetch(item()))


def test_what_was_deleted_for_good_meanwhile_is_unavailable(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(status={"isHardDeleted": True}))
    with pytest.raises(Unavailable, match="HARD_DELETED"):
        list(source.fetch(item()))


def test_a_file_that_is_scanned_again_meanwhile_is_tried_later(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[element(), element(OTHER, fileScanResult="Pending")]))
    with pytest.raises(Retry, match="VIRUS_SCAN_PENDING"):
        list(source.fetch(item()))
    assert portal.routes() == [GET_INSTANCE]


def test_of_an_infected_instance_only_its_description_leaves_the_portal(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[element(), element(OTHER, fileScanResult="Infected")]))
    files = source.fetch(item())
    first = next(files)
    assert first.name == "instance.json" and first.verify is not None
    with pytest.raises(Quarantine, match="INFECTED"):
        first.verify(io.BytesIO(b"".join(first.chunks)))
    with pytest.raises(Quarantine, match="INFECTED"):
        next(files)
    assert portal.routes() == [GET_INSTANCE]


def keys_in(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_an_infected_instance_leaves_its_description_in_quarantine_and_nothing_in_the_inbox(
    source: Source, portal: ScriptedPortal, s3: Any, bucket: str
) -> None:
    portal.answers(GET_INSTANCE, instance(data=[element(fileScanResult="Infected")]))
    with pytest.raises(Quarantine, match="INFECTED"):
        Inbox(s3, bucket).store_all(item().prefix, source.fetch(item()), last_try=False)
    assert keys_in(s3, bucket) == [f"quarantine/altinn/etat/{ID}/instance.json"]


def test_a_cut_file_is_fetched_again_and_the_instance_is_stored_once(
    source: Source, portal: ScriptedPortal, s3: Any, bucket: str
) -> None:
    portal.answers(GET_INSTANCE, instance())
    portal.answers(GET_DATA, b"<xml")
    portal.answers(GET_DATA, b"<xml/>!")
    inbox = Inbox(s3, bucket)
    with pytest.raises(Retry, match="SIZE_DIFFERS"):
        inbox.store_all(item().prefix, source.fetch(item()), last_try=False)
    stored = inbox.store_all(item().prefix, source.fetch(item()), last_try=False)
    assert [file.name for file in stored] == ["instance.json", f"{ELEMENT}-default.xml"]
    assert keys_in(s3, bucket) == sorted(file.key for file in stored)


@pytest.mark.parametrize("answer", [b"<html>maintenance</html>", b"[]", json.dumps(instance(data=[{}])).encode()])
def test_an_instance_that_cannot_be_read_is_tried_later(source: Source, portal: ScriptedPortal, answer: bytes) -> None:
    portal.answers(GET_INSTANCE, answer)
    with pytest.raises(Retry):
        list(source.fetch(item()))


# acknowledge


def test_each_instance_is_completed_once(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(COMPLETE, instance(completeConfirmations=[{"stakeholderId": "org"}]))
    assert list(source.acknowledge([item()])) == [Acknowledgement(ID, DONE, "COMPLETED")]
    assert portal.routes() == [COMPLETE]


def test_in_the_proposal_the_download_of_all_files_is_confirmed(proposed: Source, portal: ScriptedPortal) -> None:
    portal.answers(CONFIRM_ALL, instance())
    assert list(proposed.acknowledge([item()])) == [Acknowledgement(ID, DONE, "DOWNLOAD_CONFIRMED")]
    assert portal.routes() == [CONFIRM_ALL]


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason"),
    [
        (200, b"", DONE, "COMPLETED"),
        (200, b"<html>maintenance</html>", TRY_AGAIN, "PORTAL_ANSWERED_NO_JSON"),
        (400, b"", UNAVAILABLE, "REFUSED"),
        (403, b"", UNAVAILABLE, "FORBIDDEN"),
        (404, b"", UNAVAILABLE, "NOT_FOUND"),
        (410, b"", UNAVAILABLE, "NOT_FOUND"),
        (409, b"", TRY_AGAIN, "LOCKED"),
        (423, b"", TRY_AGAIN, "LOCKED"),
        (500, b"", TRY_AGAIN, "PORTAL_ERROR"),
        (499, b"", TRY_AGAIN, "PORTAL_ERROR"),
    ],
)
def test_each_answer_is_judged_by_itself(
    source: Source,
    portal: ScriptedPortal,
    status: int,
    body: bytes,
    outcome: AcknowledgeOutcome,
    reason: str,
) -> None:
    portal.answers(COMPLETE, body, status=status)
    assert list(source.acknowledge([item()])) == [Acknowledgement(ID, outcome, reason)]


def test_a_refused_instance_does_not_stop_the_others(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(COMPLETE, b"", status=403)
    portal.answers(f"POST /storage/api/v1/instances/1/{OTHER}/complete", {})
    answers = {answer.id: answer.outcome for answer in source.acknowledge([item(), item(f"1/{OTHER}")])}
    assert answers == {ID: UNAVAILABLE, f"1/{OTHER}": DONE}


@pytest.mark.parametrize(("status", "kind"), [(429, Retry), (503, Retry), (401, Misconfigured)])
def test_what_the_next_call_would_meet_too_is_raised(
    source: Source, portal: ScriptedPortal, status: int, kind: type[AmtsboteError]
) -> None:
    portal.answers(COMPLETE, b"", status=status)
    with pytest.raises(kind):
        list(source.acknowledge([item(), item(f"1/{OTHER}")]))
    assert len(portal.asked) == 1


def test_out_of_time_leaves_the_rest_to_the_next_turn(secret: Secret, portal: ScriptedPortal) -> None:
    tools = Tools(Transport(Deadline(0), allow_loopback=True), TokenCache(), lambda: NOW)
    source = PORTAL.source(Connection("altinn", "etat", secret()), tools)
    assert source is not None
    assert list(source.acknowledge([item()])) == [Acknowledgement(ID, TRY_AGAIN, "OUT_OF_TIME")]
    assert portal.asked == []


def test_a_batch_fits_into_one_invocation(source: Source) -> None:
    assert source.acknowledge_batch == 25
