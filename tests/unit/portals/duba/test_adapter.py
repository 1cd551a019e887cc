"""DUBA as the verbs see it: what is found, what is fetched, what becomes of an acknowledgement."""

import io
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, OutOfTime, Quarantine, Retry, Unavailable
from amtsbote.http import Transport
from amtsbote.portals.duba import PORTAL, DubaSecret
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Acknowledgement, AcknowledgeOutcome, IncomingFile, Item, LeftOut, Source
from amtsbote.tokens import TokenCache
from tests.unit.portals.duba.conftest import Asked, ScriptedPortal, message
from tests.unit.support import findings

LIST = "GET /api/duba/v1/messages"
DOWNLOAD = "GET /api/duba/v1/download/214"
ACK = "POST /api/duba/v1/messages/ack"
UNANNOUNCED = {"Content-Length": ""}
DONE, TRY_AGAIN, UNAVAILABLE = AcknowledgeOutcome.DONE, AcknowledgeOutcome.TRY_AGAIN, AcknowledgeOutcome.UNAVAILABLE

Connect = Callable[..., Source]


@pytest.fixture
def connect(portal: ScriptedPortal, transport: Transport) -> Connect:
    def connected(**settings: Any) -> Source:
        body = {"baseUrl": portal.url, "username": "u", "password": "p"} | settings
        connection = Connection("duba", "klinikum", DubaSecret.model_validate(body))
        source = PORTAL.source(connection, Tools(transport, TokenCache(), lambda: datetime.now(UTC)))
        assert source is not None
        return source

    return connected


@pytest.fixture
def source(connect: Connect) -> Source:
    return connect()


def item(item_id: object = 214, **record: Any) -> Item:
    return Item(str(item_id), f"duba/klinikum/{item_id}", message(item_id, **record), {})


def a_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xjustiz_nachricht.xml", "<nachricht/>" * 100)
    return content.getvalue()


# discover


def test_a_message_is_found_under_its_id_with_its_record(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(214)])
    (finding,) = findings(source, None)
    assert (finding.id, finding.waiting_for, finding.hints) == ("214", None, {})
    assert finding.created_at == datetime(2025, 11, 26, 14, 30, tzinfo=UTC)
    assert finding.record == message(214)


def test_the_filters_of_the_connection_and_the_watermark_are_asked(connect: Connect, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [])
    findings(connect(jobIds=["job-1"], safeIds=["a", "b"]), datetime(2025, 11, 25, tzinfo=UTC))
    assert portal.asked[0].query == [
        ("jobId", "job-1"),
        ("safeId", "a"),
        ("safeId", "b"),
        ("since", "2025-11-25T00:00:00Z"),
    ]


@pytest.mark.parametrize(
    ("directions", "found"), [(["INCOMING"], ["1"]), (["OUTGOING"], ["2"]), (["OUTGOING", "INCOMING"], ["1", "2"])]
)
def test_only_the_wanted_directions_are_found(
    connect: Connect, portal: ScriptedPortal, directions: list[str], found: list[str]
) -> None:
    portal.answers(LIST, [message(1), message(2, direction="OUTGOING")])
    assert [finding.id for finding in findings(connect(directions=directions), None) if finding.wanted] == found


@pytest.mark.parametrize(
    ("changes", "proves"),
    [
        ({}, "job-1"),
        ({"direction": "INCOMING"}, None),
        ({"receivedAt": None}, None),
        ({"receivedAt": "soon"}, None),
        ({"jobId": None}, None),
        ({"jobId": 7}, None),
    ],
)
def test_a_message_of_ours_that_was_fetched_proves_that_its_job_arrived(
    connect: Connect, portal: ScriptedPortal, changes: dict[str, Any], proves: str | None
) -> None:
    ours = {"direction": "OUTGOING", "receivedAt": "2025-11-26T15:00:00Z", "jobId": "job-1"}
    portal.answers(LIST, [message(1, **(ours | changes))])
    found = findings(connect(directions=["INCOMING"]), None)
    assert [finding.proves for finding in found if finding.proves] == ([proves] if proves else [])
    assert all(finding.wanted is (finding.record["direction"] == "INCOMING") for finding in found)


def test_an_unhydrated_message_waits(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(hydratedAt=None, aktenzeichen=None)])
    assert [finding.waiting_for for finding in findings(source, None)] == ["hydration"]


def test_a_message_listed_twice_is_found_once_and_hydrated_if_any_says_so(
    source: Source, portal: ScriptedPortal
) -> None:
    portal.answers(LIST, [message(1, hydratedAt=None), message(1), message(1, hydratedAt=None)])
    assert [(finding.id, finding.waiting_for) for finding in findings(source, None)] == [("1", None)]


def test_one_transport_id_under_two_ids_is_two_messages(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(1, messageId="same"), message(2, messageId="same")])
    assert [finding.id for finding in findings(source, None)] == ["1", "2"]


def test_a_message_with_an_unreadable_date_is_found_all_the_same(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(1, createdAt="gestern"), message(2)])
    found = {finding.id: (finding.created_at is None, finding.waiting_for) for finding in findings(source, None)}
    assert found == {"1": (True, None), "2": (False, None)}


def test_an_unreadable_message_of_an_unwanted_direction_is_not_found(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(1, direction="OUTGOING", url=None)])
    assert not [finding for finding in findings(source, None) if finding.wanted]


def test_a_message_of_unknown_direction_waits_for_it_to_be_readable(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(1, direction="SIDEWAYS")])
    assert [finding.waiting_for for finding in findings(source, None)] == ["readable direction"]


def test_a_row_without_an_id_is_left_out_and_logged_without_its_content(
    source: Source, portal: ScriptedPortal, caplog: pytest.LogCaptureFixture
) -> None:
    portal.answers(LIST, [message(None, aktenzeichen="12 XVII 456/24"), message(2)])
    two, left_out = source.discover(None)
    assert not isinstance(two, LeftOut) and two.id == "2"
    assert left_out == LeftOut(("id",))
    assert "id None" in caplog.text
    assert "XVII" not in caplog.text


# fetch


def fetched(source: Source, of: Item) -> tuple[IncomingFile, bytes, Exception | None]:
    """Fetch the one file of an item as the inbox does: read it whole, then let it be verified."""
    files = source.fetch(of)
    file = next(files)
    content = b"".join(file.chunks)
    assert file.verify is not None
    try:
        file.verify(io.BytesIO(content))
    except AmtsboteError as error:
        return file, content, error
    assert next(files, None) is None
    return file, content, None


def test_a_message_is_fetched_as_one_zip(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(DOWNLOAD, a_zip(), headers={"Content-Type": "application/zip"})
    file, content, error = fetched(source, item())
    assert (file.name, file.portal_name, file.content_type) == ("message-214.zip", None, "application/zip")
    assert (file.size, content, error) == (len(a_zip()), a_zip(), None)


def test_the_url_of_the_record_is_not_followed(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(DOWNLOAD, a_zip())
    fetched(source, item(url=f"{portal.url}/elsewhere"))
    assert [asked.path for asked in portal.asked] == ["/api/duba/v1/download/214"]


@pytest.mark.parametrize(("status", "code"), [(404, "NOT_FOUND"), (403, "FORBIDDEN")])
def test_a_message_that_is_gone_or_forbidden_is_unavailable(
    source: Source, portal: ScriptedPortal, status: int, code: str
) -> None:
    portal.answers(DOWNLOAD, b"", status=status)
    with pytest.raises(Unavailable) as raised:
        next(source.fetch(item()))
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>Wartung</html>", "application/zip"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html>", "application/octet-stream"),
        (b"Wartung", "text/html; charset=utf-8"),
        (b'{"error": "Wartung"}', "application/zip"),
        (b"", "application/zip"),
    ],
)
def test_a_page_instead_of_a_zip_may_pass(
    source: Source, portal: ScriptedPortal, body: bytes, content_type: str
) -> None:
    portal.answers(DOWNLOAD, body, headers={"Content-Type": content_type})
    _file, content, error = fetched(source, item())
    assert content == body  # the evidence is there before it is judged
    assert isinstance(error, Quarantine)
    assert error.may_pass


def test_a_damaged_zip_of_the_announced_length_will_not_pass(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(DOWNLOAD, a_zip()[:-5])
    _file, _content, error = fetched(source, item())
    assert isinstance(error, Quarantine)
    assert not error.may_pass


def test_a_damaged_zip_of_unannounced_length_may_pass(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(DOWNLOAD, a_zip()[:-30], headers=UNANNOUNCED)
    file, _content, error = fetched(source, item())
    assert file.size is None
    assert isinstance(error, Quarantine)
    assert (error.code, error.may_pass) == ("ZIP_TRUNCATED", True)


def test_a_body_shorter_than_announced_is_fetched_again(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(DOWNLOAD, a_zip()[:-5], headers={"Content-Length": str(len(a_zip()))})
    file = next(source.fetch(item()))
    with pytest.raises(Retry):
        b"".join(file.chunks)


def test_the_check_of_a_long_zip_stops_at_the_deadline(portal: ScriptedPortal) -> None:
    clock = [0.0]
    deadline = Deadline(30, clock=lambda: clock[0])
    secret = DubaSecret.model_validate({"baseUrl": portal.url, "username": "u", "password": "p"})
    tools = Tools(Transport(deadline, allow_loopback=True), TokenCache(), lambda: datetime.now(UTC))
    source = PORTAL.source(Connection("duba", "klinikum", secret), tools)
    assert source is not None
    portal.answers(DOWNLOAD, a_zip())
    files = source.fetch(item())
    file = next(files)
    content = io.BytesIO(b"".join(file.chunks))
    clock[0] = 31.0
    assert file.verify is not None
    with pytest.raises(OutOfTime):
        file.verify(content)


# acknowledge


def told(acknowledgements: Iterable[Acknowledgement]) -> dict[str, AcknowledgeOutcome]:
    return {each.id: each.outcome for each in acknowledgements}


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        ("DELETED", DONE, "DELETED"),
        ("ALREADY_DELETED", DONE, "ALREADY_DELETED"),
        ("ERROR", TRY_AGAIN, "ERROR"),
        ("FORBIDDEN", UNAVAILABLE, "FORBIDDEN"),
        ("NOT_FOUND", UNAVAILABLE, "NOT_FOUND"),
        ("Müller ist im Urlaub", TRY_AGAIN, "UNKNOWN_STATUS"),
        ("deleted", TRY_AGAIN, "UNKNOWN_STATUS"),
    ],
)
def test_each_message_is_judged_by_its_own_status(
    source: Source, portal: ScriptedPortal, status: str, outcome: AcknowledgeOutcome, reason: str
) -> None:
    portal.answers(ACK, {"results": [{"id": 42, "status": status}]})
    assert list(source.acknowledge([item(42)])) == [Acknowledgement("42", outcome, reason)]


def test_partial_success_is_told_message_by_message(source: Source, portal: ScriptedPortal) -> None:
    rows = [{"id": 44, "status": "FORBIDDEN"}, {"id": 42, "status": "DELETED"}, {"id": 43, "status": "ERROR"}]
    portal.answers(ACK, {"results": rows})
    outcomes = told(source.acknowledge([item(42), item(43), item(44)]))
    assert outcomes == {"42": DONE, "43": TRY_AGAIN, "44": UNAVAILABLE}
    assert portal.asked[0].json == {"messageIds": [42, 43, 44]}


def test_a_message_that_the_answer_is_silent_about_is_tried_again(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(ACK, {"results": [{"id": 42, "status": "DELETED"}, {"id": 99, "status": "DELETED"}]})
    assert told(source.acknowledge([item(42), item(43)])) == {"42": DONE, "43": TRY_AGAIN}


def test_nothing_to_acknowledge_asks_nothing(source: Source, portal: ScriptedPortal) -> None:
    assert list(source.acknowledge([])) == []
    assert portal.asked == []


def refusing(*bad: int, status: int) -> Callable[[Asked], tuple[int, Any]]:
    """A portal that refuses every batch with one of the bad ids in it."""

    def answer(request: Asked) -> tuple[int, Any]:
        ids = request.json["messageIds"]
        if set(ids) & set(bad):
            return status, {"error": "Validation failed"}
        return 200, {"results": [{"id": each, "status": "DELETED"} for each in ids]}

    return answer


@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize("bad", [1, 50, 51, 100])
def test_one_bad_id_blocks_no_other(source: Source, portal: ScriptedPortal, status: int, bad: int) -> None:
    portal.answers(ACK, refusing(bad, status=status))
    outcomes = told(source.acknowledge([item(number) for number in range(1, 101)]))
    assert [item_id for item_id, outcome in outcomes.items() if outcome is not DONE] == [str(bad)]
    assert (len(outcomes), outcomes[str(bad)]) == (100, UNAVAILABLE)
    assert len(portal.asked) <= 15  # 1 + 2 for each halving of a hundred


def test_a_refusal_of_every_id_is_not_blamed_on_the_ids(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(ACK, {"error": "broken"}, status=400)
    outcomes = told(source.acknowledge([item(1), item(2), item(3)]))
    assert outcomes == {"1": TRY_AGAIN, "2": TRY_AGAIN, "3": TRY_AGAIN}
    assert len(portal.asked) == 5


def test_an_outage_splits_nothing(source: Source, portal: ScriptedPortal) -> None:
    portal.answers(ACK, b"", status=500)
    with pytest.raises(Retry):
        list(source.acknowledge([item(1), item(2)]))
    assert len(portal.asked) == 1


def test_the_package_says_which_portal_it_is() -> None:
    assert (PORTAL.name, PORTAL.secret) == ("duba", DubaSecret)
