"""The Source: listing, fetching from presigned addresses, acknowledging one by one."""

import traceback
from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Quarantine, Retry, Unavailable
from amtsbote.portals.docxworld import PORTAL
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import AcknowledgeOutcome, Item, LeftOut, Source
from tests.unit.portals.docxworld.conftest import Countdown
from tests.unit.portals.docxworld.server import Reply, Request, Server, page, refusal
from tests.unit.support import findings

DOWNLOADS = "/v1/downloads"
DOWNLOAD = "download.error.client."
ROLES = {"RESULT": "ROLE_CUSTOMER_DOWNLOADER_RESULTS", "REPORT": "ROLE_CUSTOMER_DOWNLOADER_REPORTS"}


@pytest.fixture
def source(connection: Connection, tools: Tools) -> Source:
    made = PORTAL.source(connection, tools)
    assert made is not None
    return made


def record(number: int = 1, kind: str = "RESULT", **more: Any) -> dict[str, Any]:
    plain = {"id": f"d{number}", "type": kind, "fileName": "Bescheid Müller.pdf", "size": 5}
    return plain | {"created": "2026-02-01T10:00:00.5Z", "somethingNew": 1} | more


def item(number: int = 1, kind: str = "RESULT", **more: Any) -> Item:
    prefix = f"docxworld/klinikum/d{number}"
    return Item(f"d{number}", prefix, record(number, kind, **more), {"type": kind})


def listed(server: Server, **by_type: list[list[dict[str, Any]]]) -> None:
    """Let the portal list these pages of downloads, per type."""

    def answer(request: Request) -> Reply:
        query = dict(request.query)
        pages, number = by_type.get(query["downloadTypes"], [[]]), int(query["page"])
        return page(pages[number], number=number, last=number == len(pages) - 1)

    server.when("GET", DOWNLOADS, answer)


# --- discover --------------------------------------------------------------------------------------------------------


def test_each_type_is_listed_with_its_own_role(server: Server, source: Source) -> None:
    listed(server)
    assert findings(source, None) == []
    asked = [(dict(request.query), request.role) for request in server.sent("GET", DOWNLOADS)]
    assert asked == [
        (
            {
                "downloaded": "false",
                "downloadTypes": kind,
                "page": "0",
                "size": "100",
                "sort": "created,ASC",
            },
            role,
        )
        for kind, role in ROLES.items()
    ]


def test_all_pages_are_read(server: Server, source: Source) -> None:
    listed(server, RESULT=[[record(1), record(2)], [record(3)]], REPORT=[[record(4, "REPORT")]])
    found = findings(source, None)
    assert [(one.id, one.hints["type"]) for one in found] == [
        ("d1", "RESULT"),
        ("d2", "RESULT"),
        ("d3", "RESULT"),
        ("d4", "REPORT"),
    ]


def test_the_record_is_kept_as_it_was_answered(server: Server, source: Source) -> None:
    listed(server, RESULT=[[record(1)]])
    (found,) = findings(source, None)
    assert found.record == record(1)
    assert found.created_at is not None
    assert found.created_at.isoformat() == "2026-02-01T10:00:00.500000+00:00"


def test_an_item_that_moved_to_the_next_page_is_found_once(server: Server, source: Source) -> None:
    listed(server, RESULT=[[record(1)], [record(1), record(2)]])
    assert [one.id for one in findings(source, None)] == ["d1", "d2"]


def test_a_list_that_ignores_the_page_number_is_not_read_for_ever(server: Server, source: Source) -> None:
    server.on("GET", DOWNLOADS, page([record(1)], number=0, last=False))
    with pytest.raises(Retry, match="PAGING"):
        findings(source, None)
    assert len(server.sent("GET", DOWNLOADS)) == 2


def test_an_empty_page_ends_a_list(server: Server, source: Source) -> None:
    server.when("GET", DOWNLOADS, lambda request: page([], number=int(dict(request.query)["page"]), last=False))
    assert findings(source, None) == []


ODD = {"fileName": "x"}, record(2) | {"id": 7}, record(3) | {"size": "much"}, ["d4"], None, "d5"


@pytest.mark.parametrize(("odd", "id_"), list(zip(ODD, (None, None, "d3", None, None, None), strict=True)))
def test_a_row_that_is_no_download_is_left_out_and_said(server: Server, source: Source, odd: Any, id_: str) -> None:
    listed(server, RESULT=[[record(1), odd], [record(9)]])
    first, last, left_out = source.discover(None)
    assert [each.id for each in (first, last)] == ["d1", "d9"]
    assert isinstance(left_out, LeftOut)
    assert left_out.id == id_
    if isinstance(odd, dict):
        assert set(left_out.fields) <= {"id", "type", "size"} and left_out.fields


@pytest.mark.parametrize("answer", [Reply(body=[]), Reply(body={"content": "none", "last": True})])
def test_an_unreadable_list_is_asked_for_again(server: Server, source: Source, answer: Reply) -> None:
    server.on("GET", DOWNLOADS, answer)
    with pytest.raises(Retry, match="UNREADABLE"):
        findings(source, None)


def test_a_type_that_the_account_may_not_list_is_named(server: Server, source: Source) -> None:
    server.on("GET", DOWNLOADS, page([]), refusal(403, "connect." + DOWNLOAD + "access_denied"))
    with pytest.raises(Misconfigured, match=r"downloader\.types names REPORT.*ROLE_CUSTOMER_DOWNLOADER_REPORTS"):
        findings(source, None)


# --- fetch -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(server: Server) -> Server:
    link = {"id": "d1", "downloadLink": f"{server.url}/storage/secret-name.pdf?X-Amz-Signature=abc"}
    server.on("GET", f"{DOWNLOADS}/d1/generate-link", Reply(body=link))
    server.on("GET", "/storage/secret-name.pdf", Reply(body=b"hello", headers={"Content-Type": "application/pdf"}))
    return server


def test_a_download_is_one_file_under_its_own_name(stored: Server, source: Source) -> None:
    (got,) = [(file, b"".join(file.chunks)) for file in source.fetch(item())]
    file, content = got
    assert (file.name, file.portal_name, file.content_type, file.size) == (
        "Bescheid Müller.pdf",
        "Bescheid Müller.pdf",
        "application/pdf",
        5,
    )
    assert content == b"hello"


def test_the_storage_gets_no_credentials(stored: Server, source: Source) -> None:
    [b"".join(file.chunks) for file in source.fetch(item())]
    (asked,) = stored.sent("GET", "/storage/secret-name.pdf")
    assert asked.query == (("X-Amz-Signature", "abc"),)
    assert not {"authorization", "x-pf-dwc-requester-role", "cookie"} & set(asked.headers)


def test_the_link_is_asked_for_with_the_items_role(stored: Server, source: Source) -> None:
    [b"".join(file.chunks) for file in source.fetch(item(kind="REPORT"))]
    assert stored.sent("GET", f"{DOWNLOADS}/d1/generate-link")[0].role == ROLES["REPORT"]


def test_a_download_without_a_name_is_called_by_its_id(stored: Server, source: Source) -> None:
    assert [file.name for file in source.fetch(item(fileName=None))] == ["d1"]


def test_a_file_of_another_size_than_recorded_is_held_back(stored: Server, source: Source) -> None:
    with pytest.raises(Quarantine) as held:
        [b"".join(file.chunks) for file in source.fetch(item(size=6))]
    assert held.value.may_pass


def test_a_record_without_a_size_is_taken_as_it_comes(stored: Server, source: Source) -> None:
    assert [b"".join(file.chunks) for file in source.fetch(item(size=None))] == [b"hello"]


def test_a_body_that_is_cut_is_fetched_again(stored: Server, source: Source) -> None:
    short = {"Content-Length": "5", "Connection": "close"}
    stored.on("GET", "/storage/secret-name.pdf", Reply(body=b"hell", headers=short))
    with pytest.raises(Retry):
        [b"".join(file.chunks) for file in source.fetch(item())]


def test_a_storage_that_does_not_answer_is_asked_again_without_a_word_about_the_file(
    stored: Server, source: Source
) -> None:
    stored.on("GET", "/storage/secret-name.pdf", Reply(vanish=True))
    with pytest.raises(Retry) as lost:
        list(source.fetch(item()))
    assert "secret-name" not in "".join(traceback.format_exception(lost.value))


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Retry), (400, Retry), (500, Retry), (503, Retry), (404, Unavailable), (410, Unavailable)]
)
def test_what_the_storages_refusal_means(stored: Server, source: Source, status: int, kind: type[Exception]) -> None:
    stored.on("GET", "/storage/secret-name.pdf", Reply(status, b"<Error/>"))
    with pytest.raises(kind) as refused:
        list(source.fetch(item()))
    assert "secret-name" not in str(refused.value)


@pytest.mark.parametrize(
    "code", ["download_not_exists", "file_not_exists", "no_file_attached", "download_not_available"]
)
def test_a_download_that_is_gone_is_unavailable(server: Server, source: Source, code: str) -> None:
    server.on("GET", f"{DOWNLOADS}/d1/generate-link", refusal(404, "connect." + DOWNLOAD + code))
    with pytest.raises(Unavailable):
        list(source.fetch(item()))


# --- acknowledge -----------------------------------------------------------------------------------------------------


def acknowledging(server: Server, number: int, *replies: Reply) -> str:
    path = f"{DOWNLOADS}/d{number}/acknowledge"
    server.on("POST", path, *(replies or [Reply(body=record(number))]))
    return path


def test_an_item_is_acknowledged_under_our_name_and_its_prefix(server: Server, source: Source) -> None:
    path = acknowledging(server, 1)
    (said,) = source.acknowledge([item(kind="REPORT")])
    assert (said.id, said.outcome) == ("d1", AcknowledgeOutcome.DONE)
    (asked,) = server.sent("POST", path)
    assert asked.json == {"clientId": "amtsbote-test", "referenceId": "docxworld/klinikum/d1"}
    assert asked.role == ROLES["REPORT"]


@pytest.mark.parametrize("code", ["download_already_saved", "download_not_exists"])
def test_an_item_that_is_not_ours_is_unavailable_with_the_code(server: Server, source: Source, code: str) -> None:
    acknowledging(server, 1, refusal(409, "connect." + DOWNLOAD + code))
    (said,) = source.acknowledge([item()])
    assert (said.outcome, said.reason) == (AcknowledgeOutcome.UNAVAILABLE, code.upper())


def test_each_item_has_its_own_answer(server: Server, source: Source) -> None:
    acknowledging(server, 1, Reply(500, {}))
    acknowledging(server, 2, refusal(409, "connect." + DOWNLOAD + "download_already_saved"))
    acknowledging(server, 3)
    said = [one.outcome for one in source.acknowledge([item(1), item(2), item(3)])]
    assert said == [AcknowledgeOutcome.TRY_AGAIN, AcknowledgeOutcome.UNAVAILABLE, AcknowledgeOutcome.DONE]


def test_a_lost_answer_is_asked_for_again(server: Server, source: Source) -> None:
    acknowledging(server, 1, Reply(vanish=True), Reply(body=record()))
    assert [one.outcome for one in source.acknowledge([item()])] == [AcknowledgeOutcome.TRY_AGAIN]
    assert [one.outcome for one in source.acknowledge([item()])] == [AcknowledgeOutcome.DONE]


def test_items_for_which_no_time_is_left_are_tried_again(server: Server, source: Source, countdown: Countdown) -> None:
    acknowledging(server, 1)
    answers = iter(source.acknowledge([item(1), item(2)]))
    assert next(answers).outcome is AcknowledgeOutcome.DONE
    countdown.run_out()
    assert next(answers).outcome is AcknowledgeOutcome.TRY_AGAIN


def test_a_throttle_stops_the_batch_and_says_how_long(server: Server, source: Source) -> None:
    acknowledging(server, 1, Reply(429, {}, headers={"Retry-After": "30"}))
    with pytest.raises(Retry) as throttle:
        list(source.acknowledge([item(1), item(2)]))
    assert throttle.value.after_seconds == 30
    assert not server.sent("POST", f"{DOWNLOADS}/d2/acknowledge")


def test_a_wrong_connection_is_raised(server: Server, source: Source) -> None:
    acknowledging(server, 1, refusal(403, "connect." + DOWNLOAD + "access_denied"))
    with pytest.raises(Misconfigured):
        list(source.acknowledge([item()]))


def test_the_batch_fits_into_one_invocation(source: Source) -> None:
    assert source.acknowledge_batch == 25
