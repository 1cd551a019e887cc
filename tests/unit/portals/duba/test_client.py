"""The client against scripted answers: what it asks, and what it makes of what it is told."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry, Unavailable
from amtsbote.http import Transport
from amtsbote.portals.duba import DubaClient
from amtsbote.portals.duba.connection import Direction
from amtsbote.portals.duba.models import Absender, AckStatus, Betroffener, FormData, FormName, PersonenName
from tests.unit.portals.duba.conftest import PASSWORD, USERNAME, ScriptedPortal, message

LIST = "GET /api/duba/v1/messages"
DOWNLOAD = "GET /api/duba/v1/download/214"
ACK = "POST /api/duba/v1/messages/ack"
MEMENTO = "POST /api/duba/v1/memento"
PROBLEM = {"Content-Type": "application/problem+json"}


def test_the_client_logs_in_with_basic_authentication_in_utf8(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [])
    client.list_messages()
    kind, pair = portal.asked[0].headers["Authorization"].split(" ")
    assert (kind, base64.b64decode(pair).decode()) == ("Basic", f"{USERNAME}:{PASSWORD}")


def test_a_message_is_read_as_the_guide_shows_it(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message()])
    (read,) = client.list_messages().messages
    assert (read.id, read.direction, read.job_id) == (214, Direction.INCOMING, "job-2024-001")
    assert read.created_at == datetime(2025, 11, 26, 14, 30, tzinfo=UTC)
    assert read.hydrated_at == datetime(2025, 11, 26, 15, 1, tzinfo=UTC)


def test_an_unhydrated_message_is_read_with_its_nulls(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(jobId=None, aktenzeichen=None, receivedAt=None, hydratedAt=None)])
    (read,) = client.list_messages().messages
    assert (read.job_id, read.aktenzeichen, read.received_at, read.hydrated_at) == (None, None, None, None)


def test_the_record_is_kept_as_it_was_answered(client: DubaClient, portal: ScriptedPortal) -> None:
    answered = message(createdAt="2025-11-26T14:30:00+00:00", futureField={"a": [1]})
    portal.answers(LIST, [answered])
    assert client.list_messages().messages[0].record == answered


def test_a_time_without_a_zone_is_utc(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [message(createdAt="2025-11-26T14:30:00")])
    assert client.list_messages().messages[0].created_at == datetime(2025, 11, 26, 14, 30, tzinfo=UTC)


def test_without_filters_nothing_is_asked_but_the_list(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [])
    client.list_messages()
    assert portal.asked[0].query == []


def test_filters_are_repeated_parameters(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [])
    client.list_messages(job_ids=["job-1", "job & 2"], safe_ids=["safe-abc"])
    assert portal.asked[0].query == [("jobId", "job-1"), ("jobId", "job & 2"), ("safeId", "safe-abc")]


@pytest.mark.parametrize(
    "since",
    [
        datetime(2025, 11, 25, 10, 0, tzinfo=UTC),
        datetime(2025, 11, 25, 10, 0, 0, 999_999, tzinfo=UTC),  # rounded down: rounding up would miss messages
        datetime(2025, 11, 25, 11, 0, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_since_is_written_in_utc_to_the_second(client: DubaClient, portal: ScriptedPortal, since: datetime) -> None:
    portal.answers(LIST, [])
    client.list_messages(since=since)
    assert portal.asked[0].query == [("since", "2025-11-25T10:00:00Z")]


def test_since_without_a_zone_is_refused_before_anything_is_asked(client: DubaClient, portal: ScriptedPortal) -> None:
    with pytest.raises(ValueError, match="time zone"):
        client.list_messages(since=datetime(2025, 11, 25, 10, 0))  # noqa: DTZ001
    assert portal.asked == []


@pytest.mark.parametrize(
    ("bad", "read_id", "field"),
    [
        (message(1, createdAt="gestern"), 1, "createdAt"),
        (message(1, createdAt="0001-01-01T00:00:00+14:00"), 1, "createdAt"),
        (message(1, direction="SIDEWAYS"), 1, "direction"),
        (message(1, messageId=None), 1, "messageId"),
        ({"id": 1}, 1, "url"),
        (message(None), None, "id"),
        (message(True), None, "id"),
        (message("1; DROP"), None, "id"),
    ],
)
def test_a_bad_row_is_reported_and_hides_no_other(
    client: DubaClient, portal: ScriptedPortal, bad: dict[str, Any], read_id: int | None, field: str
) -> None:
    portal.answers(LIST, [message(213), bad, message(215)])
    listing = client.list_messages()
    assert [each.id for each in listing.messages] == [213, 215]
    (row,) = listing.unreadable
    assert row.id == read_id
    assert field in row.wrong_fields
    assert row.record == bad


@pytest.mark.parametrize("row", [None, 7, "row", [], ["id"]])
def test_a_row_that_is_no_object_is_reported(client: DubaClient, portal: ScriptedPortal, row: Any) -> None:
    portal.answers(LIST, [row, message()])
    listing = client.list_messages()
    assert (len(listing.messages), listing.unreadable[0].id) == (1, None)


@pytest.mark.parametrize("body", [{}, {"messages": []}, "[]", None, 0])
def test_a_list_that_is_no_list_is_asked_for_again_later(client: DubaClient, portal: ScriptedPortal, body: Any) -> None:
    portal.answers(LIST, body)
    with pytest.raises(Retry):
        client.list_messages()


def test_a_page_in_place_of_the_list_is_asked_for_again_later(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, b"<html>Wartung</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(Retry):
        client.list_messages()


@pytest.mark.parametrize(
    ("route", "status", "error", "code"),
    [
        (LIST, 400, Misconfigured, "FILTER_REFUSED"),
        (LIST, 401, Misconfigured, "LOGIN_REFUSED"),
        (LIST, 403, Misconfigured, "FORBIDDEN"),
        (LIST, 404, Misconfigured, "NO_DUBA_HERE"),
        (LIST, 422, Misconfigured, "FILTER_REFUSED"),
        (LIST, 500, Retry, "PORTAL_ERROR"),
        (LIST, 302, Misconfigured, "REDIRECT_REFUSED"),
        (DOWNLOAD, 400, Reject, "PORTAL_REFUSED"),
        (DOWNLOAD, 401, Misconfigured, "LOGIN_REFUSED"),
        (DOWNLOAD, 403, Unavailable, "FORBIDDEN"),
        (DOWNLOAD, 404, Unavailable, "NOT_FOUND"),
        (DOWNLOAD, 410, Unavailable, "NOT_FOUND"),
        (DOWNLOAD, 500, Retry, "PORTAL_ERROR"),
        (DOWNLOAD, 503, Retry, "PORTAL_THROTTLED"),
        (ACK, 400, Reject, "BATCH_REFUSED"),
        (ACK, 401, Misconfigured, "LOGIN_REFUSED"),
        (ACK, 403, Misconfigured, "LOGIN_REFUSED"),
        (ACK, 404, Reject, "BATCH_REFUSED"),
        (ACK, 422, Reject, "BATCH_REFUSED"),
        (ACK, 500, Retry, "PORTAL_ERROR"),
        (MEMENTO, 400, Reject, "FORM_DATA_INVALID"),
        (MEMENTO, 401, Misconfigured, "LOGIN_REFUSED"),
        (MEMENTO, 404, Reject, "PORTAL_REFUSED"),
        (MEMENTO, 422, Reject, "FORM_DATA_INVALID"),
        (MEMENTO, 500, Retry, "PORTAL_ERROR"),
    ],
)
def test_a_refusal_says_what_now(
    client: DubaClient, portal: ScriptedPortal, route: str, status: int, error: type[AmtsboteError], code: str
) -> None:
    portal.answers(route, {"title": "Worte des Portals"}, status=status, headers=PROBLEM)
    with pytest.raises(error) as raised:
        ask(client, route)
    assert raised.value.code == code
    assert "Worte des Portals" not in str(raised.value)  # they may name persons, and str() goes into logs


def ask(client: DubaClient, route: str) -> None:
    if route == LIST:
        client.list_messages()
    elif route == DOWNLOAD:
        with client.download(214):
            pass
    elif route == ACK:
        client.acknowledge([214])
    else:
        client.create_memento({"jobId": "job-1"})


def test_a_refused_login_is_not_tried_twice(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, b"", status=401)
    with pytest.raises(Misconfigured):
        client.list_messages()
    assert len(portal.asked) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"error": "Validation failed", "errors": ["Field 'jobId' is required", {"field": "ä"}]},
            'Validation failed; Field \'jobId\' is required; {"field": "ä"}',
        ),
        ({"type": "about:blank", "title": "Ungültig", "status": 400, "detail": "jobId fehlt"}, "Ungültig; jobId fehlt"),
        ({"errors": "no list"}, None),
        (["no object"], None),
        (b"<html>", None),
        ({"detail": "x" * 5000}, "x" * 2000),
    ],
)
def test_the_portals_explanation_is_kept(
    client: DubaClient, portal: ScriptedPortal, body: Any, expected: str | None
) -> None:
    portal.answers(MEMENTO, body, status=400)
    with pytest.raises(Reject) as raised:
        client.create_memento({"invalid": "data"})
    assert raised.value.portal_words == expected


def test_a_download_is_streamed_with_its_length(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(DOWNLOAD, b"PK" * 300_000, headers={"Content-Type": "application/zip"})
    with client.download(214) as answer:
        assert answer.size == 600_000
        assert sum(map(len, answer.chunks)) == 600_000


def test_headers_are_read_without_the_body(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers("HEAD /api/duba/v1/download/214", b"", headers={"Content-Length": "48213"})
    assert client.download_headers(214)["content-length"] == "48213"
    assert [asked.method for asked in portal.asked] == ["HEAD"]


def test_acknowledging_sends_the_ids_as_integers_and_returns_each_answer(
    client: DubaClient, portal: ScriptedPortal
) -> None:
    rows = [{"id": 42, "status": "DELETED", "message": "deleted"}, {"id": 43, "status": "FORBIDDEN"}]
    portal.answers(ACK, {"results": rows})
    results = client.acknowledge([42, 43])
    assert portal.asked[0].json == {"messageIds": [42, 43]}
    assert portal.asked[0].headers["Content-Type"] == "application/json"
    assert [(each.id, each.status) for each in results] == [(42, AckStatus.DELETED), (43, AckStatus.FORBIDDEN)]


def test_an_unreadable_answer_for_one_message_leaves_the_others(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(ACK, {"results": [None, {"id": 42}, {"id": 43, "status": "DELETED"}]})
    assert [each.id for each in client.acknowledge([42, 43])] == [43]


@pytest.mark.parametrize("body", [[], {}, {"results": {}}, None])
def test_an_acknowledgement_without_results_is_repeated_later(
    client: DubaClient, portal: ScriptedPortal, body: Any
) -> None:
    portal.answers(ACK, body)
    with pytest.raises(Retry):
        client.acknowledge([42])


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_that_the_guide_forbids_is_not_sent(client: DubaClient, portal: ScriptedPortal, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        client.acknowledge(range(count))
    assert portal.asked == []


def test_a_failed_acknowledgement_is_left_to_the_queue(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(ACK, b"", status=500)
    with pytest.raises(Retry):
        client.acknowledge([42])
    assert len(portal.asked) == 1


def test_a_memento_is_created_from_a_mapping_as_it_is(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(MEMENTO, {"memento": "eyJ.a", "magicLink": "/mtl/t/duba/?m=eyJ.a"})
    form = {"jobId": "job-1", "absender": {"egvp_account_id": 42}, "betroffener": {"name": {"vorname": "Jürgen"}}}
    memento = client.create_memento(form)
    assert portal.asked[0].json == form
    assert (memento.memento, memento.magic_link) == ("eyJ.a", "/mtl/t/duba/?m=eyJ.a")


def test_form_data_is_sent_in_the_portals_names_without_empty_fields(
    client: DubaClient, portal: ScriptedPortal
) -> None:
    portal.answers(MEMENTO, {"memento": "eyJ.a", "magicLink": None})
    form = FormData(
        job_id="job-1",
        melde_zeitpunkt=datetime(2025, 12, 10, 14, 30, tzinfo=timezone(timedelta(hours=1))),
        absender=Absender(egvp_account_id=42),
        betroffener=Betroffener(name=PersonenName(vorname="Max"), anschrift_telefon="+49 123"),
    )
    assert client.create_memento(form).magic_link is None
    assert portal.asked[0].json == {
        "jobId": "job-1",
        "meldeZeitpunkt": "2025-12-10T14:30:00+01:00",
        "absender": {"egvp_account_id": 42},
        "betroffener": {"name": {"vorname": "Max"}, "anschriftTelefon": "+49 123"},
    }


def test_links_show_in_no_representation(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(MEMENTO, {"memento": "eyJ.geheim", "magicLink": "/mtl/geheim"})
    assert "geheim" not in repr(client.create_memento({"jobId": "job-1"}))


@pytest.mark.parametrize("body", [{}, [], {"memento": None}, {"magicLink": "/mtl/x"}])
def test_an_answer_without_a_memento_is_no_success(client: DubaClient, portal: ScriptedPortal, body: Any) -> None:
    portal.answers(MEMENTO, body)
    with pytest.raises(Retry):
        client.create_memento({"jobId": "job-1"})


def test_a_magic_link_becomes_absolute_below_the_instance(transport: Transport) -> None:
    client = DubaClient("https://elim.example.com/", "u", "p", transport=transport)
    assert client.absolute("/mtl/t/duba/?m=x") == "https://elim.example.com/mtl/t/duba/?m=x"


@pytest.mark.parametrize("link", ["https://evil.example/mtl", "//evil.example/mtl", "@evil.example", ""])
def test_a_magic_link_to_another_host_is_refused(client: DubaClient, link: str) -> None:
    with pytest.raises(Reject):
        client.absolute(link)


def test_a_form_of_a_logged_in_user_is_addressed_by_its_memento(client: DubaClient, portal: ScriptedPortal) -> None:
    portal.answers(MEMENTO, {"memento": "eyJ..a+b&c"})
    memento = client.create_memento({"jobId": "job-1"})
    assert client.form_url(FormName.BETREUUNG_ANREGUNG, memento).endswith("/duba/BetreuungAnregung?m=eyJ..a%2Bb%26c")


def test_the_client_works_without_a_transport_and_then_insists_on_https(portal: ScriptedPortal) -> None:
    with pytest.raises(Misconfigured):
        DubaClient(portal.url, "u", "p").list_messages()
