"""Digitale-Gemeinde as a destination: results into fields, statuses, and a refund that is asked for once."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from amtsbote.deadline import Deadline
from amtsbote.errors import LeaseLost, Misconfigured, OutOfTime, Reject, Retry
from amtsbote.http import Transport
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Destination, Drop, Outcome
from tests.unit.portals.digitale_gemeinde.conftest import (
    FORM,
    Document,
    Journal,
    TinyPortal,
    destination_of,
    drop,
    file_field,
    part_of,
    status_drop,
)

Deliver = Callable[..., Any]


@pytest.fixture
def document(portal: TinyPortal) -> Document:
    text = {"id": "name", "name": "Name", "datatype": "text", "value": "Muster"}
    document = Document("d1", FORM, "In Bearbeitung", [text, file_field("bescheid")])
    portal.has(document)
    return document


def result_drop(name: str = "Bescheid.pdf", **more: Any) -> Drop:
    return drop(FORM, "d1", "bescheid", name, **more)


def names_held(document: Document) -> list[str]:
    return [held["name"] for held in document.fields[1]["fileUploadAdditionalData"]]


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_result_is_uploaded_and_the_document_completed(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    delivery = destination.deliver(result_drop("Größe 日本.pdf"), Journal())
    assert delivery.outcome is Outcome.DELIVERED
    assert delivery.result == {"documentId": "d1", "status": "Abgeschlossen"}
    assert [step.state for step in delivery.steps] == ["UPLOADED", "COMPLETED"]
    assert part_of(portal.calls("upload")[0]) == ("Größe 日本.pdf", b"%PDF-1.7 Bescheid")
    assert document.was_set == ["Abgeschlossen"]


def test_the_portal_id_holds_no_file_name(destination: Destination, document: Document) -> None:
    delivery = destination.deliver(result_drop("Frau Muster.pdf"), Journal())
    assert delivery.portal_id == f"{FORM}/d1"
    assert destination.track(delivery.portal_id).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("said", ["false", " False "])
def test_complete_false_leaves_the_status_alone(destination: Destination, document: Document, said: str) -> None:
    delivery = destination.deliver(result_drop(complete=said), Journal())
    assert delivery.result == {"documentId": "d1", "status": "In Bearbeitung"}
    assert document.was_set == []
    assert names_held(document) == ["Bescheid.pdf"]


def test_a_misspelt_complete_is_refused_before_anything_is_sent(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    with pytest.raises(Reject, match="complete must be true or false"):
        destination.deliver(result_drop(complete="flase"), Journal())
    assert portal.asked == []


def test_an_empty_file_is_delivered(destination: Destination, document: Document) -> None:
    destination.deliver(result_drop(content=b""), Journal())
    assert names_held(document) == ["Bescheid.pdf"]


def test_that_an_upload_may_be_under_way_is_written_down_before(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    class Crash(Journal):
        def save(self) -> None:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        destination.deliver(result_drop(), Crash())
    assert portal.calls("upload") == []


def test_an_upload_whose_answer_was_lost_is_looked_up_and_not_repeated(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.lost.add("upload")
    with pytest.raises(Retry):
        destination.deliver(result_drop(), journal)
    destination.deliver(result_drop(), Journal(journal.written[-1]))
    assert names_held(document) == ["Bescheid.pdf"]
    assert document.status == "Abgeschlossen"


def test_an_upload_that_did_not_arrive_is_repeated(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.answers("upload", {}, 500)
    with pytest.raises(Retry):
        destination.deliver(result_drop(), journal)
    destination.deliver(result_drop(), Journal(journal.written[-1]))
    assert names_held(document) == ["Bescheid.pdf"]


def test_a_file_of_the_same_name_from_before_is_not_taken_for_the_lost_one(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    document.fields[1] = file_field("bescheid", ("Bescheid.pdf", b"%PDF-1.7 bescheid"))
    journal = Journal()
    portal.answers("upload", {}, 500)
    with pytest.raises(Retry):
        destination.deliver(result_drop(), journal)
    destination.deliver(result_drop(), Journal(journal.written[-1]))
    assert names_held(document) == ["Bescheid.pdf", "Bescheid.pdf"]


def test_a_file_of_the_same_name_and_another_size_is_not_the_lost_one(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.answers("upload", {}, 500)
    with pytest.raises(Retry):
        destination.deliver(result_drop(), journal)
    document.fields[1] = file_field("bescheid", ("Bescheid.pdf", b"a person's own"))
    destination.deliver(result_drop(), Journal(journal.written[-1]))
    assert len(names_held(document)) == 2


def test_a_lost_file_is_found_by_its_name_alone_where_its_content_is_not_shown(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.answers("upload", {}, 500)
    with pytest.raises(Retry):
        destination.deliver(result_drop("Gr\u00f6\u00dfe.pdf"), journal)
    document.fields[1] = {"id": "bescheid", "datatype": "file", "value": "Gro\u0308\u00dfe.pdf"}
    destination.deliver(result_drop("Gr\u00f6\u00dfe.pdf"), Journal(journal.written[-1]))
    assert len(portal.calls("upload")) == 1


def test_after_a_lost_completion_only_the_status_is_looked_at_again(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.lost.add("update")
    with pytest.raises(Retry):
        destination.deliver(result_drop(), journal)
    destination.deliver(result_drop(), Journal(journal.written[-1]))
    assert (len(portal.calls("upload")), document.was_set) == (1, ["Abgeschlossen"])


def test_a_file_that_arrived_is_not_sent_again_even_where_the_details_do_not_show_it(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.answers("update", {}, 500)
    with pytest.raises(Retry):
        destination.deliver(result_drop(), journal)
    document.fields[1] = file_field("bescheid")
    destination.deliver(result_drop(), Journal(journal.written[-1]))
    assert len(portal.calls("upload")) == 1


def test_a_file_that_no_invocation_has_the_time_for_uses_up_its_tries(
    portal: TinyPortal, document: Document, tools: Tools
) -> None:
    clock = itertools.chain([0.0] * 20, itertools.count(start=100.0))
    transport = Transport(Deadline(30, clock=lambda: next(clock)), allow_loopback=True)
    destination = destination_of(portal, dataclasses.replace(tools, transport=transport))
    with pytest.raises(Retry, match="UPLOAD_CUT") as cut:
        destination.deliver(result_drop(content=b"x" * 20_000_000), Journal())
    assert not isinstance(cut.value, OutOfTime)


def test_an_unknown_field_is_refused_with_those_that_there_are(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    with pytest.raises(Reject, match="no field of the id in the key; its file fields are 'bescheid'"):
        destination.deliver(drop(FORM, "d1", "beilage", "a.pdf"), Journal())
    assert portal.calls("upload") == []


def test_a_field_that_takes_no_file_is_refused(destination: Destination, document: Document) -> None:
    with pytest.raises(Reject, match="no file field of the id"):
        destination.deliver(drop(FORM, "d1", "name", "a.pdf"), Journal())


def test_a_document_that_is_gone_is_refused(destination: Destination, portal: TinyPortal) -> None:
    with pytest.raises(Reject, match="formId and documentId"):
        destination.deliver(drop(FORM, "gone", "bescheid", "a.pdf"), Journal())


def test_a_refused_file_fails_with_the_portals_words(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    portal.answers("upload", {"title": "file type not allowed"}, 415)
    with pytest.raises(Reject) as refusal:
        destination.deliver(result_drop(), Journal())
    assert refusal.value.portal_words == "file type not allowed"
    assert document.was_set == []


def test_a_throttled_upload_waits_as_long_as_the_portal_says(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    portal.answers("upload", {}, 429, Retry_After="33")
    with pytest.raises(Retry) as wait:
        destination.deliver(result_drop(), Journal())
    assert wait.value.after_seconds == 33


@pytest.mark.parametrize("path", [("f",), (FORM, "d1"), (FORM, "d1", "bescheid"), (FORM, "d1", "bescheid", "x", "y")])
def test_a_key_that_fits_no_rule_is_refused(destination: Destination, path: tuple[str, ...]) -> None:
    with pytest.raises(Reject, match="KEY_FITS_NO_RULE"):
        destination.deliver(drop(*path), Journal())


# --- statuses ---------------------------------------------------------------------------------------------------------


def test_a_status_is_set(destination: Destination, document: Document) -> None:
    delivery = destination.deliver(status_drop("d1", {"status": "Abgeschlossen"}), Journal())
    assert delivery.result == {"documentId": "d1", "status": "Abgeschlossen"}
    assert document.was_set == ["Abgeschlossen"]


def test_a_status_of_the_forms_own_is_set(destination: Destination, document: Document) -> None:
    document.offered = ("Neu", "Rückfrage")
    destination.deliver(status_drop("d1", {"status": "Rückfrage"}), Journal())
    assert document.status == "Rückfrage"


def test_a_status_that_the_form_does_not_know_is_refused_with_those_it_does(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    document.offered = ("Rückfrage",)
    with pytest.raises(Reject, match="'Rückfrage', 'Neu', 'In Bearbeitung', 'Abgeschlossen', 'Refund'"):
        destination.deliver(status_drop("d1", {"status": "Erledigt"}), Journal())
    assert portal.calls("update") == []


def test_a_status_that_is_there_already_is_not_set_again(destination: Destination, document: Document) -> None:
    destination.deliver(status_drop("d1", {"status": "In Bearbeitung"}), Journal())
    assert document.was_set == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Refund",
        b'"Refund"',
        b"\xff",
        b'{"status": "Neu", "status": "Refund"}',
        {},
        {"status": ""},
        {"status": None},
        {"status": ["Refund"]},
        {"Status": "Refund"},
        {"status": "Refund", "reason": "x"},
    ],
)
def test_a_status_file_that_is_none_is_refused_unasked(
    destination: Destination, portal: TinyPortal, document: Document, body: Any
) -> None:
    with pytest.raises(Reject, match=r"STATUS_INVALID.*status\.json"):
        destination.deliver(status_drop("d1", body), Journal())
    assert portal.asked == []


def test_a_status_file_that_is_too_large_is_not_read(destination: Destination, document: Document) -> None:
    huge = dataclasses.replace(status_drop("d1", {"status": "Neu"}), size=64 * 1024 + 1)
    with pytest.raises(Reject, match="STATUS_TOO_LARGE"):
        destination.deliver(huge, Journal())


# --- refund -----------------------------------------------------------------------------------------------------------


REFUND = {"status": "Refund"}


def test_a_refund_is_written_down_before_it_is_asked_for(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    class Crash(Journal):
        def save(self) -> None:
            assert self.state == {"refundAsked": True}
            raise LeaseLost

    with pytest.raises(LeaseLost):
        destination.deliver(status_drop("d1", REFUND), Crash())
    assert document.was_set == []


def test_a_refund_is_asked_for_once(destination: Destination, document: Document) -> None:
    delivery = destination.deliver(status_drop("d1", REFUND), Journal())
    assert delivery.result == {"documentId": "d1", "status": "Refund"}
    assert document.was_set == ["Refund"]


def test_another_drop_for_the_same_refund_asks_for_none(destination: Destination, document: Document) -> None:
    for _ in range(2):
        assert destination.deliver(status_drop("d1", REFUND), Journal()).outcome is Outcome.DELIVERED
    assert document.was_set == ["Refund"]


def test_a_refund_whose_answer_was_lost_is_seen_in_the_portal(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.lost.add("update")
    with pytest.raises(Retry):
        destination.deliver(status_drop("d1", REFUND), journal)
    assert destination.deliver(status_drop("d1", REFUND), Journal(journal.written[-1])).outcome is Outcome.DELIVERED
    assert document.was_set == ["Refund"]


@pytest.mark.parametrize("meanwhile", ["In Bearbeitung", "Abgeschlossen"])
def test_a_refund_that_the_portal_does_not_show_is_never_asked_for_again(
    destination: Destination, portal: TinyPortal, document: Document, meanwhile: str
) -> None:
    journal = Journal()
    portal.answers("update", {}, 500)
    with pytest.raises(Retry):
        destination.deliver(status_drop("d1", REFUND), journal)
    document.status = meanwhile
    with pytest.raises(Reject, match=r"OUTCOME_UNKNOWN.*before you drop it again"):
        destination.deliver(status_drop("d1", REFUND), Journal(journal.written[-1]))
    assert len(portal.calls("update")) == 1


def test_a_crash_after_the_note_counts_as_asked(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    with pytest.raises(Reject, match="OUTCOME_UNKNOWN"):
        destination.deliver(status_drop("d1", REFUND), Journal({"refundAsked": True}))
    assert portal.calls("update") == []


@pytest.mark.parametrize(("status", "error"), [(429, Retry), (403, Misconfigured)])
def test_a_refund_that_was_certainly_not_carried_out_may_be_asked_for_later(
    destination: Destination, portal: TinyPortal, document: Document, status: int, error: type[Exception]
) -> None:
    journal = Journal()
    portal.answers("update", {}, status, times=1 if status == 429 else 2)
    with pytest.raises(error):
        destination.deliver(status_drop("d1", REFUND), journal)
    assert journal.written[-1] == {}
    destination.deliver(status_drop("d1", REFUND), Journal(journal.written[-1]))
    assert document.was_set == ["Refund"]


def test_a_busy_portal_may_have_made_the_refund(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    journal = Journal()
    portal.answers("update", {}, 503, Retry_After="5")
    with pytest.raises(Retry):
        destination.deliver(status_drop("d1", REFUND), journal)
    assert journal.written[-1] == {"refundAsked": True}


def test_another_spelling_of_the_refund_is_bound_by_the_same_rule(
    destination: Destination, portal: TinyPortal, document: Document
) -> None:
    document.offered = ("REFUND",)
    journal = Journal()
    destination.deliver(status_drop("d1", {"status": "REFUND"}), journal)
    assert journal.written == [{"refundAsked": True}]


def test_a_file_never_asks_for_a_refund(destination: Destination, portal: TinyPortal, document: Document) -> None:
    destination.deliver(result_drop("status.json", content=json.dumps(REFUND).encode()), Journal())
    assert "Refund" not in document.was_set
