"""The client by itself: counts, pages, details, statuses and uploads, and what the portal's refusals mean."""

import dataclasses
from io import BytesIO
from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Quarantine, Reject, Retry, Unavailable
from amtsbote.portals.digitale_gemeinde import DigitaleGemeindeClient
from amtsbote.portals.digitale_gemeinde.models import FormCount
from amtsbote.portals.digitale_gemeinde.multipart import FileToSend, MultipartBody, disposition
from amtsbote.portals.portal import Tools
from tests.unit.portals.digitale_gemeinde.conftest import (
    API_KEY,
    FORM,
    OTHER_FORM,
    TENANT,
    Document,
    TinyPortal,
    file_field,
    part_of,
)


def counted(**said: Any) -> FormCount:
    count = FormCount.read({"id": FORM, "name": "Baugesuch", "count": 5} | said)
    assert count
    return count


@pytest.mark.parametrize(
    "split",
    [
        {"formNavigations": [{"name": "Neu", "count": 2}, {"name": "Abgeschlossen", "count": 3}]},
        {"statuses": [{"Status": "Neu", "Count": 2}]},
        {"statusCounts": {"Neu": 2, "Abgeschlossen": 3}},
    ],
)
def test_the_new_ones_are_counted_however_the_split_is_shaped(split: dict[str, Any]) -> None:
    assert counted(**split).of("Neu") == 2


def test_a_status_that_a_complete_split_leaves_out_has_none() -> None:
    assert counted(split=[{"name": "Abgeschlossen", "count": 5}]).of("Neu") == 0


@pytest.mark.parametrize(
    "split",
    [{}, {"split": None}, {"split": [{"name": "Abgeschlossen", "count": 4}]}, {"split": [{"name": "Neu"}]},
     {"request": {"page": 0, "pageSize": 5}}],
)  # fmt: skip
def test_what_does_not_add_up_says_nothing_of_the_new_ones(split: dict[str, Any]) -> None:
    assert counted(**split).of("Neu") is None


def test_a_form_without_documents_has_no_new_ones() -> None:
    assert counted(count=0).of("Neu") == 0


def test_search_begins_at_page_one_and_always_asks_for_an_order(
    client: DigitaleGemeindeClient, portal: TinyPortal
) -> None:
    client.search(form_id=FORM, status="Neu")
    asked = portal.calls("search")[0]
    assert asked.query == [("tenantId", str(TENANT))]
    assert asked.json == {
        "formId": FORM,
        "status": "Neu",
        "page": 1,
        "pageSize": 100,
        "orderBy": "submittedDate",
        "orderByDirection": "Ascending",
    }


def test_all_pages_are_read_and_nothing_after_them(portal: TinyPortal, tools: Tools) -> None:
    portal.has(*(Document(f"d{number}", FORM) for number in range(7)))
    client = DigitaleGemeindeClient(
        portal.url, API_KEY, TENANT, transport=tools.transport, clock=tools.clock, page_size=3
    )
    assert [form.document_id for form in client.search_all()] == [f"d{number}" for number in range(7)]
    assert [asked.json["page"] for asked in portal.calls("search")] == [1, 2, 3]


def test_pages_without_a_total_end_where_nothing_more_comes(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.answers("search", {"data": [Document("d1", FORM).row(), Document("d1", FORM).row()]})
    portal.answers("search", {"data": [Document("d2", FORM).row()]})
    portal.answers("search", {"data": None})
    assert [form.document_id for form in client.search_all()] == ["d1", "d2"]


def test_a_portal_that_repeats_a_page_for_ever_is_left(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    same_page = {"data": [Document("d1", FORM).row()], "totalCount": 999}
    portal.answers("search", same_page, times=50)
    with pytest.raises(Retry, match="PORTAL_PAGING_BROKEN"):
        list(client.search_all())
    assert len(portal.calls("search")) == 2


def test_a_bad_row_does_not_hide_the_others(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    row = Document("d2", FORM).row()
    portal.answers("search", {"data": [{"name": "no id"}, None, row | {"documentId": 4711}], "totalCount": 3})
    page = client.search()
    assert [form.document_id for form in page.forms] == ["4711"]
    assert page.unreadable == 2


def test_a_portal_that_answers_its_last_page_to_any_number_has_come_to_its_end(
    client: DigitaleGemeindeClient, portal: TinyPortal
) -> None:
    portal.answers("search", {"data": [Document("d1", FORM).row()]}, times=2)
    assert [form.document_id for form in client.search_all()] == ["d1"]


@pytest.mark.parametrize("body", [[], {"items": []}, {"data": "none"}])
def test_an_answer_that_is_no_page_is_asked_again(
    client: DigitaleGemeindeClient, portal: TinyPortal, body: Any
) -> None:
    portal.answers("search", body)
    with pytest.raises(Retry, match="NONSENSE"):
        client.search()


def test_a_list_route_that_is_not_found_is_a_wrong_setting(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.answers("count", {}, 404)
    with pytest.raises(Misconfigured, match=r"routes\.count"):
        client.count()


def test_a_throttle_says_how_long_to_wait(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.answers("search", {}, 429, Retry_After="41")
    with pytest.raises(Retry) as wait:
        client.search()
    assert wait.value.after_seconds == 41


def test_details_say_status_offers_and_files(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    fields = [
        {"id": 7, "name": "Name", "datatype": "text", "value": "Muster"},
        file_field("plan", ("plan.pdf", b"abc")),
    ]
    portal.has(Document("d1", FORM, "In Bearbeitung", fields))
    details = client.details(FORM, "d1")
    assert details.status == "In Bearbeitung"
    assert details.offered == ("Neu", "Abgeschlossen", "Refund")
    assert [(field.id, field.is_file_field) for field in details.fields] == [("7", False), ("plan", True)]
    assert [(file.name, file.size, b"".join(file.chunks())) for file in details.files] == [("plan.pdf", 3, b"abc")]
    assert "Muster" not in repr(details) and "plan.pdf" not in repr(list(details.files))


@pytest.mark.parametrize("headers", [{}, {"Content_Length": ""}])
def test_a_form_beyond_the_limit_is_not_read(portal: TinyPortal, tools: Tools, headers: Any) -> None:
    portal.answers("details", {"fields": [], "name": "x" * 5000}, **headers)
    client = DigitaleGemeindeClient(
        portal.url, API_KEY, TENANT, transport=tools.transport, clock=tools.clock, form_limit_bytes=4000
    )
    with pytest.raises(Quarantine, match="FORM_TOO_LARGE"):
        client.details(FORM, "d1")


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"error": "none"}', b'{"fields": 7}', b'{"fields": [], "a": NaN}']
)
def test_details_that_are_no_form_are_asked_again(
    client: DigitaleGemeindeClient, portal: TinyPortal, body: bytes
) -> None:
    portal.answers("details", body)
    with pytest.raises(Retry, match="NONSENSE"):
        client.details(FORM, "d1")


def test_a_missing_document_is_unavailable_where_the_portal_says_so(
    client: DigitaleGemeindeClient, portal: TinyPortal
) -> None:
    portal.answers("details", {}, 404)
    with pytest.raises(Unavailable):
        client.details(FORM, "d1")


def test_an_id_is_escaped_on_its_way(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.has(Document("d/1 ü?", OTHER_FORM))
    assert client.details(OTHER_FORM, "d/1 ü?").status == "Neu"


def test_a_status_is_sent_and_nothing_else(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM))
    client.update_status(FORM, "d1", "In Bearbeitung")
    assert portal.calls("update")[0].json == {"status": "In Bearbeitung"}


def test_a_refused_update_keeps_the_portals_words_apart(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.answers("update", {"title": "Bad Request", "detail": "Frau Muster"}, 400)
    with pytest.raises(Reject) as refusal:
        client.update_status(FORM, "d1", "x")
    assert refusal.value.portal_words == "Bad Request; Frau Muster"
    assert "Muster" not in str(refusal.value)


class Once(BytesIO):
    """A file that cannot be rewound and gives no more than asked for."""

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None and 0 < size <= 64 * 1024, "the content must be streamed"
        return super().read(size)


def to_send(name: str, content: bytes, size: int | None = None) -> FileToSend:
    return FileToSend(name, len(content) if size is None else size, "application/pdf", lambda: Once(content))


def test_a_file_is_streamed_with_its_length(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    content = bytes(range(256)) * 4096
    portal.has(Document("d1", FORM, fields=[file_field("bescheid")]))
    client.upload(FORM, "d1", "bescheid", to_send("Bescheid.pdf", content))
    asked = portal.calls("upload")[0]
    assert int(asked.headers["Content-Length"]) == len(asked.body)
    assert part_of(asked) == ("Bescheid.pdf", content)
    assert b"Content-Type: application/pdf\r\n" in asked.body[:400]


def test_a_file_is_sent_whole_again_after_its_token_was_refused(
    client: DigitaleGemeindeClient, portal: TinyPortal
) -> None:
    portal.has(Document("d1", FORM, fields=[file_field("bescheid")]))
    portal.answers("upload", {}, 403)
    client.upload(FORM, "d1", "bescheid", to_send("Bescheid.pdf", b"abc"))
    assert [part_of(asked)[1] for asked in portal.calls("upload")] == [b"abc", b"abc"]


def test_an_empty_file_is_sent(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.has(Document("d1", FORM, fields=[file_field("bescheid")]))
    client.upload(FORM, "d1", "bescheid", to_send("leer.pdf", b""))
    assert part_of(portal.calls("upload")[0]) == ("leer.pdf", b"")


def test_a_file_that_ends_early_is_not_passed_off_as_whole(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    with pytest.raises(Retry, match="DROP_CUT"):
        client.upload(FORM, "d1", "bescheid", to_send("a.pdf", b"abc", size=5))
    assert portal.calls("upload") == []


def test_a_plain_name_needs_one_parameter() -> None:
    assert disposition("a b.pdf") == 'name="file"; filename="a b.pdf"'


def test_a_name_in_any_unicode_comes_in_both_ways() -> None:
    said = disposition("Größe 日本.pdf")
    assert said == (
        'name="file"; filename="Größe 日本.pdf"; filename*=UTF-8\'\'Gr%C3%B6%C3%9Fe%20%E6%97%A5%E6%9C%AC.pdf'
    )


def test_a_content_type_cannot_break_out_of_its_part() -> None:
    file = dataclasses.replace(to_send("a.pdf", b"abc"), content_type="text/plain\r\nX: y")
    assert b"Content-Type: application/octet-stream\r\n\r\nabc" in b"".join(MultipartBody(file))


def test_a_name_cannot_break_out_of_its_header() -> None:
    assert disposition('a"\r\nX: y.pdf') == 'name="file"; filename="a%22%0D%0AX: y.pdf"'
