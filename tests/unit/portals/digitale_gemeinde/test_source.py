"""Digitale-Gemeinde as a source: what is found, what is fetched, what is told to the portal."""

import base64
import logging
import tracemalloc
from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Quarantine, Reject, Retry, Unavailable
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Acknowledgement, AcknowledgeOutcome, Finding, Item, LeftOut, Source
from tests.unit.portals.digitale_gemeinde.conftest import (
    FORM,
    OTHER_FORM,
    Document,
    TinyPortal,
    data_url,
    file_field,
    item,
    source_of,
)
from tests.unit.support import findings

DONE, TRY_AGAIN = AcknowledgeOutcome.DONE, AcknowledgeOutcome.TRY_AGAIN
UNAVAILABLE = AcknowledgeOutcome.UNAVAILABLE


# --- discover ---------------------------------------------------------------------------------------------------------


def found(source: Source) -> list[str]:
    return [finding.id for finding in findings(source, None)]


def test_where_count_says_that_nothing_is_new_nothing_else_is_asked(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM, "Abgeschlossen"), Document("d2", OTHER_FORM, "In Bearbeitung"))
    assert found(source) == []
    assert portal.names == ["token", "count"]


@pytest.mark.parametrize("answer", [[], [{"id": FORM, "count": 0}]])
def test_a_tenant_without_documents_is_not_searched(source: Source, portal: TinyPortal, answer: Any) -> None:
    portal.answers("count", answer)
    assert found(source) == []
    assert portal.names == ["token", "count"]


def test_new_documents_of_all_forms_are_found_in_one_search(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM), Document("d2", OTHER_FORM), Document("d3", FORM, "In Bearbeitung"))
    assert found(source) == ["d1", "d2"]
    assert [asked.json.get("formId") for asked in portal.calls("search")] == [None]


def test_a_finding_keeps_the_row_and_the_form_but_no_time(source: Source, portal: TinyPortal) -> None:
    document = Document("d1", FORM)
    portal.has(document)
    (finding,) = findings(source, None)
    assert (finding.record, finding.hints, finding.created_at) == (document.row(), {"formId": FORM}, None)


def test_a_count_without_a_split_is_followed_by_a_search(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM))
    portal.answers("count", [{"id": FORM, "name": "Baugesuch", "count": 1, "request": {"page": 0, "pageSize": 50}}])
    assert found(source) == ["d1"]
    assert portal.calls("search")[0].json["page"] == 1


def test_a_count_in_an_unknown_shape_is_followed_by_a_search(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM))
    portal.answers("count", {"total": "many"})
    assert found(source) == ["d1"]


def test_only_the_configured_forms_that_may_have_something_are_searched(portal: TinyPortal, tools: Tools) -> None:
    portal.has(Document("d1", FORM), Document("d2", OTHER_FORM), Document("d3", "third"))
    portal.has(Document("d4", "done", "Abgeschlossen"))
    source = source_of(portal, tools, formIds=[FORM, "done", OTHER_FORM.upper(), FORM])
    portal.documents["d2"].form_id = OTHER_FORM.upper()
    assert found(source) == ["d1", "d2"]
    assert [asked.json["formId"] for asked in portal.calls("search")] == [FORM, OTHER_FORM.upper()]


def test_a_configured_form_that_count_does_not_mention_is_searched(portal: TinyPortal, tools: Tools) -> None:
    portal.has(Document("d1", FORM))
    portal.answers("count", [{"id": OTHER_FORM, "count": 0}])
    assert found(source_of(portal, tools, formIds=[FORM])) == ["d1"]


def test_the_status_names_are_settings(portal: TinyPortal, tools: Tools) -> None:
    portal.has(Document("d1", FORM, "Eingegangen"), Document("d2", FORM, "Neu"))
    source = source_of(portal, tools, statuses={"new": "Eingegangen"})
    assert found(source) == ["d1"]


def test_a_portal_that_ignores_the_filters_brings_nothing_that_was_not_asked_for(
    portal: TinyPortal, tools: Tools
) -> None:
    rows = [Document("d1", FORM), Document("d2", OTHER_FORM), Document("d3", FORM, "Abgeschlossen")]
    portal.has(rows[0])
    portal.answers("search", {"data": [row.row() for row in rows], "totalCount": 3})
    assert found(source_of(portal, tools, formIds=[FORM])) == ["d1"]


def test_a_document_under_two_forms_is_taken_once_and_reported(
    source: Source, portal: TinyPortal, caplog: pytest.LogCaptureFixture
) -> None:
    portal.has(Document("d1", FORM))
    rows = [Document("d1", form).row() for form in (FORM, OTHER_FORM, FORM)]
    portal.answers("search", {"data": rows, "totalCount": 3})
    with caplog.at_level(logging.WARNING):
        (finding,) = findings(source, None)
    assert finding.hints == {"formId": FORM}
    assert "d1 is listed under two forms" in caplog.text


def test_a_row_without_a_form_or_an_id_is_left_out(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM))
    rows = [Document("d1", FORM).row() | {"formId": None}, Document("d2", FORM).row(), {"name": "no id"}]
    portal.answers("search", {"data": rows, "totalCount": 3})
    listed = list(source.discover(None))
    assert [each.id for each in listed if isinstance(each, Finding)] == ["d2"]
    assert {each for each in listed if isinstance(each, LeftOut)} == {
        LeftOut(("formId",), "d1"),
        LeftOut(("documentId",)),
    }


# --- fetch ------------------------------------------------------------------------------------------------------------


def fetched(source: Source, wanted: Item) -> list[tuple[str, bytes, str, str | None]]:
    """The files of an item, each read before the next one is asked for."""
    return [(file.name, b"".join(file.chunks), file.content_type, file.portal_name) for file in source.fetch(wanted)]


def test_the_details_come_first_byte_by_byte_as_answered(source: Source, portal: TinyPortal) -> None:
    answered = b'{ "State" : "Neu",\n "fields":[], "name": "B\\u00e4r" }\n'
    portal.answers("details", answered)
    assert fetched(source, item("d1")) == [("form.json", answered, "application/json", None)]


def test_each_inline_file_follows_under_its_own_name(source: Source, portal: TinyPortal) -> None:
    two = file_field("beilagen", ("a/ß.pdf", b"one"), ("plan.pdf", b"\x00\xff"))
    single = file_field("ausweis", ("pass.png", b"png"))
    single["fileUploadAdditionalData"] = single["fileUploadAdditionalData"][0] | {
        "base64File": data_url(b"png", "image/png")
    }
    portal.has(Document("d1", FORM, fields=[two, {"id": "t", "datatype": "text", "value": "x"}, single]))
    assert fetched(source, item("d1"))[1:] == [
        ("a/ß.pdf", b"one", "application/pdf", "a/ß.pdf"),
        ("plan.pdf", b"\x00\xff", "application/pdf", "plan.pdf"),
        ("pass.png", b"png", "image/png", "pass.png"),
    ]


@pytest.mark.parametrize(
    ("entry", "content", "content_type"),
    [
        ({"base64File": "YWJj"}, b"abc", "application/octet-stream"),
        ({"base64File": "YWJj", "type": "image/png"}, b"abc", "image/png"),
        ({"base64File": "data:;base64,YWJj", "type": "pdf"}, b"abc", "application/octet-stream"),
        ({"base64File": "data:text/plain;charset=utf-8;base64,YQ=="}, b"a", "text/plain"),
        ({"base64File": "data:text/plain;base64,YW\r\nJj \n"}, b"abc", "text/plain"),
        ({"base64File": "data:a/b\r\nX: y;base64,YWJj", "type": "x\r\ny"}, b"abc", "application/octet-stream"),
        ({"base64File": "data:application/pdf;base64,"}, b"", "application/pdf"),
    ],
)
def test_data_urls_are_read_in_all_their_kinds(
    source: Source, portal: TinyPortal, entry: dict[str, Any], content: bytes, content_type: str
) -> None:
    field = {"id": "f", "datatype": "file", "fileUploadAdditionalData": entry}
    portal.has(Document("d1", FORM, fields=[field]))
    assert fetched(source, item("d1"))[1:] == [("f.bin", content, content_type, None)]


@pytest.mark.parametrize("nothing", [None, [], {}, {"name": "a.pdf", "base64File": None}, {"base64File": ""}])
def test_a_file_field_without_a_file_gives_none(source: Source, portal: TinyPortal, nothing: Any) -> None:
    field = {"id": "f", "datatype": "file", "value": None, "fileUploadAdditionalData": nothing}
    portal.has(Document("d1", FORM, fields=[field]))
    assert [name for name, *_ in fetched(source, item("d1"))] == ["form.json"]


@pytest.mark.parametrize(
    "content",
    ["data:a/b;base64,YWJ", "data:a/b;base64,YW=Jj", "data:a/b;base64,Y*Jj", "data:a/b,abc", "https://x/y", "ä"],
)
def test_what_is_no_base64_is_quarantined_with_the_fields_name(
    source: Source, portal: TinyPortal, content: str
) -> None:
    field = {"id": "beilage", "datatype": "file", "fileUploadAdditionalData": {"name": "a.pdf", "base64File": content}}
    portal.has(Document("d1", FORM, fields=[field]))
    with pytest.raises(Quarantine, match="'beilage'") as damage:
        fetched(source, item("d1"))
    assert "a.pdf" not in str(damage.value)


def test_a_large_file_is_decoded_piece_by_piece(source: Source, portal: TinyPortal) -> None:
    content = bytes(range(251)) * 40_000
    portal.has(Document("d1", FORM, fields=[file_field("plan", ("plan.pdf", content))]))
    files = source.fetch(item("d1"))
    next(files)
    plan = next(files)
    tracemalloc.start()
    decoded, largest = 0, 0
    for chunk in plan.chunks:
        assert content.startswith(chunk, decoded)
        decoded, largest = decoded + len(chunk), max(largest, len(chunk))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoded == len(content)
    assert peak < 2 * 1024 * 1024


def test_base64_in_lines_is_decoded_across_the_pieces(source: Source, portal: TinyPortal) -> None:
    content = bytes(range(256)) * 4000
    field = file_field("plan", ("plan.pdf", b""))
    field["fileUploadAdditionalData"][0]["base64File"] = "data:a/b;base64," + base64.encodebytes(content).decode()
    portal.has(Document("d1", FORM, fields=[field]))
    assert fetched(source, item("d1"))[1] == ("plan.pdf", content, "a/b", "plan.pdf")


def test_the_form_is_asked_for_by_its_hint_when_the_record_is_gone(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", OTHER_FORM))
    list(source.fetch(item("d1", OTHER_FORM)))
    assert portal.calls("details")[0].path == f"/Form/{OTHER_FORM}/document/d1"


def test_an_item_of_an_unknown_form_cannot_be_fetched(source: Source) -> None:
    with pytest.raises(Reject, match="FORM_UNKNOWN"):
        list(source.fetch(Item("d1", "p", {}, {})))


@pytest.mark.parametrize("status", [500, 404])
def test_a_document_that_a_working_portal_no_longer_lists_is_gone(
    source: Source, portal: TinyPortal, status: int
) -> None:
    portal.answers("details", {"title": "FileNotFoundException"}, status, times=3)
    with pytest.raises(Unavailable, match="NOT_FOUND"):
        list(source.fetch(item("gone")))
    assert portal.names[-3:] == ["count", "search", "search"]


@pytest.mark.parametrize("status", ["Neu", "In Bearbeitung"])
def test_a_document_that_is_still_listed_is_asked_for_again(source: Source, portal: TinyPortal, status: str) -> None:
    portal.has(Document("d1", FORM, status))
    portal.answers("details", {"title": "NullReferenceException"}, 500, times=3)
    with pytest.raises(Retry, match="DETAILS_UNAVAILABLE"):
        list(source.fetch(item("d1")))


def test_an_outage_is_no_missing_document(source: Source, portal: TinyPortal) -> None:
    portal.answers("details", {}, 500, times=3)
    portal.answers("count", {}, 500, times=3)
    with pytest.raises(Retry, match="PORTAL_ERROR"):
        list(source.fetch(item("d1")))
    assert portal.calls("search") == []


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateways_error_is_an_outage_at_once(source: Source, portal: TinyPortal, status: int) -> None:
    portal.answers("details", {}, status, times=3)
    with pytest.raises(Retry):
        list(source.fetch(item("d1")))
    assert portal.calls("count") == []


# --- acknowledge ------------------------------------------------------------------------------------------------------


def acknowledged(source: Source, *ids: str) -> list[Acknowledgement]:
    return list(source.acknowledge([item(id_) for id_ in ids]))


def test_a_new_document_is_set_to_processing(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM))
    assert acknowledged(source, "d1") == [Acknowledgement("d1", DONE, "ACKNOWLEDGED")]
    assert portal.documents["d1"].status == "In Bearbeitung"


@pytest.mark.parametrize(
    ("status", "reason"), [("Abgeschlossen", "ALREADY_ABGESCHLOSSEN"), ("In Bearbeitung", "ALREADY_IN_BEARBEITUNG")]
)
def test_a_status_that_a_person_has_set_is_never_overwritten(
    source: Source, portal: TinyPortal, status: str, reason: str
) -> None:
    portal.has(Document("d1", FORM, status))
    assert acknowledged(source, "d1") == [Acknowledgement("d1", DONE, reason)]
    assert portal.calls("update") == []


def test_a_lost_answer_is_made_good_by_the_next_look(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM))
    portal.lost.add("update")
    assert [answer.outcome for answer in acknowledged(source, "d1")] == [TRY_AGAIN]
    assert [answer.outcome for answer in acknowledged(source, "d1")] == [DONE]
    assert portal.documents["d1"].was_set == ["In Bearbeitung"]


def test_each_item_gets_its_own_answer(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM), Document("d3", FORM))
    answers = acknowledged(source, "d1", "gone", "d3")
    assert [(answer.id, answer.outcome) for answer in answers] == [("d1", DONE), ("gone", UNAVAILABLE), ("d3", DONE)]


def test_a_failed_update_does_not_stop_the_others(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM), Document("d2", FORM))
    portal.answers("update", {}, 500)
    assert [answer.outcome for answer in acknowledged(source, "d1", "d2")] == [TRY_AGAIN, DONE]


def test_details_without_a_status_are_settled_by_the_list(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM, "Abgeschlossen"))
    portal.answers("details", {"fields": []})
    assert acknowledged(source, "d1") == [Acknowledgement("d1", DONE, "ALREADY_ABGESCHLOSSEN")]


def test_a_throttle_is_raised_with_its_wait(source: Source, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM))
    portal.answers("update", {}, 429, Retry_After="90")
    with pytest.raises(Retry) as wait:
        acknowledged(source, "d1")
    assert wait.value.after_seconds == 90


def test_a_refused_login_is_raised(source: Source, portal: TinyPortal) -> None:
    portal.answers("token", {}, 401)
    with pytest.raises(Misconfigured):
        acknowledged(source, "d1")


def test_a_batch_is_small_enough_for_two_calls_each(source: Source) -> None:
    assert source.acknowledge_batch == 25
