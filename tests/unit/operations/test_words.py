"""Words and shelves: what rows are found by, what is never a key, and what that costs in writes."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import chain
from typing import Any

import pytest
from moto import mock_aws

from amtsbote.deliveries import DropState, Failed, Failure, Reported, SendLease, received, shelf_of_drop, words_of_drop
from amtsbote.errors import Reject
from amtsbote.inbox import contents_of
from amtsbote.ledger import Kind, Ledger, Place
from amtsbote.lifecycle import (
    Committed,
    Contents,
    LeaseTaken,
    Shelf,
    State,
    Subject,
    Word,
    shelf_of,
    spelled,
    words_of,
    words_of_files,
)
from amtsbote.operations.documents import Question, documents
from amtsbote.operations.office import Office
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import Delivery, Outcome
from tests.unit.operations.support import acknowledged, create_stack, found, office, quarantined
from tests.unit.support import NOW, Clock, aws_client, items_of, later

STORED_ITEM = Place(Kind.ITEM, "duba", "klinikum", Shelf.STORED)
DONE = Place(Kind.ITEM, "duba", "klinikum", Shelf.ACKNOWLEDGED)


class Observed:
    """A maker of clients that keeps the calls to DynamoDB: (operation, parameters)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.client = cache(self._make)

    def _make(self, name: str) -> Any:
        client = aws_client(name)
        if name == "dynamodb":
            client.meta.events.register("before-call.dynamodb", self._keep)
        return client

    def _keep(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        self.calls.append((model.name, json.loads(params["body"])))

    def named(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of each call of an operation."""
        return [params for name, params in self.calls if name == operation]

    def written(self) -> list[list[dict[str, Any]]]:
        """Return the items of each write."""
        return [items_of(params) for name, params in self.calls if name in ("PutItem", "TransactWriteItems")]


@pytest.fixture
def desk() -> Iterator[Office]:
    with mock_aws():
        yield office(create_stack(), Clock())


# --- words ---


def test_case_number_job_and_file_names_are_words_however_deep() -> None:
    record = {
        "Aktenzeichen": "12 XVII 214/26",
        "jobId": "7e57",
        "data": [{"filename": "Scan.PDF"}, {"fileName": "Brief.pdf"}, {"filename": "scan.pdf"}],
    }
    assert words_of(json.dumps(record)) == (
        Word(Subject.CASE, "12 xvii 214/26"),
        Word(Subject.JOB, "7e57"),
        Word(Subject.FILE, "scan.pdf"),
        Word(Subject.FILE, "brief.pdf"),
    )


def test_nothing_that_names_a_person_is_a_word() -> None:
    person = {"name": "Erika Muster", "vorname": "Erika", "email": "e@example.com", "submittedBy": "Erika Muster"}
    record = {"data": [{"filename": "a.pdf", "createdBy": "Erika"}], "betroffener": person, "targetName": "Erika"}
    assert words_of(json.dumps(record)) == (Word(Subject.FILE, "a.pdf"),)


@pytest.mark.parametrize("record", [None, "", "no JSON", "[]", "null", '{"jobId": 7}', '{"jobId": " "}', "[" * 100_000])
def test_an_odd_record_has_no_words_and_does_no_harm(record: str | None) -> None:
    assert words_of(record) == ()


def test_a_record_with_very_many_files_costs_twenty_writes_at_most() -> None:
    record = {"data": [{"filename": f"{number}.pdf"} for number in range(500)]}
    assert len(words_of(json.dumps(record))) == 20


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("  12\tXVII   214/26 ", "12 xvii 214/26"),
        ("Ma\u0308rz.pdf", "märz.pdf"),
        ("a#b", "a b"),
        ("\ud800", "?"),
        ("ä" * 300, "ä" * 100),
    ],
)
def test_a_word_is_spelled_without_regard_to_case_spaces_and_composition(said: str, word: str) -> None:
    assert spelled(said) == word
    assert spelled(spelled(said)) == word


def test_a_drop_is_found_by_its_file_and_then_by_its_id_at_the_portal() -> None:
    row = received("outbox", "docxworld/k/z/Brief.pdf", "v1", "1", ("docxworld", "k"), NOW)
    assert words_of_drop(row) == (Word(Subject.FILE, "brief.pdf"),)
    assert words_of_drop(replace(row, portal_id="UP-7"))[1:] == (Word(Subject.PORTAL_ID, "up-7"),)


def test_the_names_of_files_are_words_unless_every_item_has_them() -> None:
    names = ["form.json", "message-214.zip", "message-7.zip", "Antrag.PDF", "antrag.pdf", " ", "instance.json"]
    assert words_of_files("214", names) == (Word(Subject.FILE, "message-7.zip"), Word(Subject.FILE, "antrag.pdf"))


def test_an_item_with_very_many_files_costs_twenty_writes_at_most() -> None:
    assert len(words_of_files("214", [f"{number}.pdf" for number in range(500)])) == 20


def test_of_two_names_of_a_file_one_that_only_has_something_before_it_is_none() -> None:
    """As Altinn's data elements have it; both names of other files are kept."""
    files = [("0c1b-Bericht.pdf", "Bericht.pdf"), ("a.pdf", "A?.pdf"), ("form.json", None), ("b.pdf", "b.pdf")]
    said = [{"name": name, "portalName": portal_name, "size": 7} for name, portal_name in files]
    contents = contents_of({"files": said})
    assert contents.names == ("Bericht.pdf", "A?.pdf", "a.pdf", "form.json", "b.pdf")
    assert contents.size_bytes == 28


def stored(ledger: Ledger, names: tuple[str, ...], **record: Any) -> None:
    """Let an item be stored whose files have these names."""
    ledger.open(found(**record))
    leased = ledger.advance(found(**record), LeaseTaken(later(minutes=4)))
    ledger.advance(leased, Committed(AcknowledgePolicy.STORED, Contents(names)))


def test_a_document_is_found_by_the_names_of_its_files(desk: Office) -> None:
    stored(desk.ledger, ("form.json", "Antrag.pdf", "Scan 1.pdf"))
    desk.vault.write("amtsbote/duba/klinikum", "{}")
    for name in ("antrag.PDF", "Antrag*", "scan  1.pdf", "message-214.zip"):
        assert [each.id for each in documents(desk, Question(file=name)).documents] == ["214"]
    for name in ("message-215.zip", "Antrag", "form*"):
        assert documents(desk, Question(file=name)).documents == ()


def test_a_document_whose_zip_is_asked_for_is_found_in_its_time_only(desk: Office) -> None:
    stored(desk.ledger, ())
    desk.vault.write("amtsbote/duba/klinikum", "{}")
    assert documents(desk, Question(file="message-214.zip", since=later(minutes=1))).documents == ()
    assert documents(desk, Question(file="message-214.zip", until=later(minutes=1))).documents != ()


@pytest.mark.parametrize(("name", "portal"), [("form.json", "digitale-gemeinde"), ("Instance.JSON", "altinn")])
def test_a_name_that_every_document_has_is_refused_with_what_to_ask(desk: Office, name: str, portal: str) -> None:
    with pytest.raises(Reject, match=f"--portal {portal}") as refused:
        documents(desk, Question(file=name))
    assert refused.value.code == "EVERY_ONE_HAS_IT"


def test_a_file_name_that_the_record_has_is_written_once_and_with_the_step(desk: Office) -> None:
    seen = Observed()
    stored(
        Ledger(seen.client("dynamodb"), desk.stack.ledger_table, Clock()), ("Neu.pdf", "Alt.pdf"), filename="Alt.pdf"
    )
    assert written_at_once(seen) == [["FILE#alt.pdf", "ITEM"], ["FILE#neu.pdf", "ITEM"]]


def test_every_state_has_a_shelf() -> None:
    row = found()
    drop = received("outbox", "k", "v1", "1", ("docxworld", "k"), NOW)
    assert {shelf_of(replace(row, state=state)) for state in State} == {
        Shelf.ARRIVING,
        Shelf.STORED,
        Shelf.ACKNOWLEDGED,
        Shelf.QUARANTINED,
        Shelf.UNAVAILABLE,
        Shelf.ERASED,
    }
    shelves = {shelf_of_drop(replace(drop, state=state)) for state in DropState}
    assert shelves == {Shelf.UNDER_WAY, Shelf.DELIVERED, Shelf.FAILED, Shelf.ERASED}


# --- the ledger ---


def test_a_row_stands_on_one_shelf_at_a_time_under_the_moment_of_its_beginning(desk: Office) -> None:
    ledger = desk.ledger
    acknowledged(ledger, found("1"))
    quarantined(ledger, found("2", later(minutes=1)))
    assert [entry.key[0] for entry in ledger.on_shelf(DONE, limit=9)] == ["ITEM#duba#klinikum#1"]
    assert ledger.on_shelf(STORED_ITEM, limit=9) == []
    assert ledger.count_on_shelf(DONE, at_most=9) == 1
    assert ledger.count_on_shelf(DONE, since=later(seconds=1), at_most=9) == 0


def test_a_shelf_is_read_in_pages_without_a_gap_where_moments_are_equal(desk: Office) -> None:
    for number in range(5):
        acknowledged(desk.ledger, found(str(number)))
    first = desk.ledger.on_shelf(DONE, limit=2)
    second = desk.ledger.on_shelf(DONE, before=first[-1].at, limit=9)
    assert len({entry.key for entry in [*first, *second]}) == 5
    assert desk.ledger.count_on_shelf(DONE, at_most=3) == 3


def test_a_hostile_id_or_word_fits_into_the_keys(desk: Office) -> None:
    row = found("x" * 1500, aktenzeichen="y" * 5000, jobId="z#z#z")
    assert desk.ledger.open(row)
    page = documents(desk, Question("duba", "klinikum", case="Y" * 5000))
    assert [each.id for each in page.documents] == [row.id]
    assert [each.id for each in documents(desk, Question("duba", "klinikum", job="z z z")).documents] == [row.id]


def written_at_once(seen: Observed) -> list[list[str]]:
    """Return the word or the kind of row of each entry, of those writes that have more than one."""
    return [[word_or_kind(item) for item in items] for items in seen.written() if len(items) > 1]


def word_or_kind(item: dict[str, Any]) -> str:
    kind: str = item["pk"]["S"].partition("#")[0]
    word: str = item["sk"]["S"].rpartition("#")[0]
    return word if kind == "WORD" else kind


def test_a_row_and_its_words_are_written_at_once(desk: Office) -> None:
    """So that no crash leaves a row that is not found, nor a word that no erasure knows of."""
    seen = Observed()
    ledger = Ledger(seen.client("dynamodb"), desk.stack.ledger_table, Clock())
    ledger.open(found(aktenzeichen="9 M 1"))
    ledger.open_drop(received("outbox", "docxworld/k/z/Brief.pdf", "v1", "1", ("docxworld", "k"), NOW))
    assert written_at_once(seen) == [["CASE#9 m 1", "ITEM"], ["FILE#brief.pdf", "DROP"]]


def test_an_item_that_two_polls_see_at_once_is_found_once(desk: Office) -> None:
    assert desk.ledger.open(found("1", jobId="7e57", aktenzeichen="9 M 1"))
    assert not desk.ledger.open(found("1", later(seconds=2), jobId="7e57", aktenzeichen="9 M 1"))
    page = documents(desk, Question("duba", "klinikum", job="7e57", case="9 M 1"), limit=1)
    assert [each.id for each in page.documents] == ["1"]
    assert page.more is None


# --- what it costs ---


def index_writes(seen: Observed) -> int:
    """Return how many writes the index `shelves` sees, by DynamoDB's rule: one for a new entry, two for a moved one."""
    entries: dict[str, tuple[str, str]] = {}
    writes = 0
    for item in chain.from_iterable(seen.written()):
        if "shelf" not in item:
            continue
        key, entry = f"{item['pk']['S']} {item['sk']['S']}", (item["shelf"]["S"], item["shelvedAt"]["S"])
        before = entries.get(key)
        writes += 0 if before == entry else 1 if before is None else 2
        entries[key] = entry
    return writes


def test_a_document_costs_five_writes_of_the_index_and_one_per_word(desk: Office) -> None:
    seen = Observed()
    ledger = Ledger(seen.client("dynamodb"), desk.stack.ledger_table, Clock())
    acknowledged(ledger, found(aktenzeichen="9 M 1", jobId="7e57"))
    rows = Counter(item["pk"]["S"].partition("#")[0] for item in chain.from_iterable(seen.written()))
    assert rows == {"ITEM": 4, "WORD": 2, "ACCOUNTS": 1}
    assert index_writes(seen) == 5
    acknowledged(ledger, found("215"))
    accounts = [item for item in chain.from_iterable(seen.written()) if item["pk"]["S"] == "ACCOUNTS"]
    assert len(accounts) == 1, "once a process"


def test_a_delivery_costs_three_writes_of_the_index_and_two_words(desk: Office) -> None:
    seen = Observed()
    ledger = Ledger(seen.client("dynamodb"), desk.stack.ledger_table, Clock())
    row = ledger.open_drop(received("outbox", "docxworld/k/z/a.pdf", "v1", "1", ("docxworld", "k"), NOW))
    leased = ledger.advance_drop(row, SendLease(later(minutes=4)))
    sent = ledger.advance_drop(leased, Reported(Delivery("up-7", Outcome.IN_PROGRESS), leased.fence))
    ledger.advance_drop(sent, Reported(Delivery("up-7", Outcome.DELIVERED)))
    rows = Counter(item["pk"]["S"].partition("#")[0] for item in chain.from_iterable(seen.written()))
    assert rows["WORD"] == 2
    assert index_writes(seen) == 3


def test_a_question_costs_the_same_few_calls_however_many_rows_there_are(desk: Office) -> None:
    desk.vault.write("amtsbote/duba/klinikum", "{}")
    costs = []
    for count in (30, 270):
        for number in range(count):
            desk.ledger.open(
                found(f"{count}-{number}", later(seconds=number + count * 1000), aktenzeichen=f"{number} M {count}")
            )
        seen = Observed()
        asking = Office(desk.stack, seen.client, desk.clock)
        assert len(documents(asking, Question(), limit=25).documents) == 25
        assert len(documents(asking, Question(case=f"7 M {count}")).documents) == 1
        costs.append(Counter(name for name, _ in seen.calls))
        assert all(call.get("KeyConditionExpression") for call in seen.named("Query"))
    assert costs[0] == costs[1]
    shelves, unrouted, words, accounts = 10, 4, 2, 2
    assert (costs[1]["Query"], costs[1]["BatchGetItem"]) == (shelves + unrouted + words + accounts, 2)
    assert not costs[1]["Scan"]


# --- questions that make no sense ---


@pytest.mark.parametrize(
    ("question", "limit", "said"),
    [
        (Question(states=("LOST",)), 25, "LOST is no state"),
        (Question(), 0, "1 to 500"),
        (Question(), 501, "1 to 500"),
        (Question("duba", "Klinikum!"), 25, "cannot be a connection"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(desk: Office, question: Question, limit: int, said: str) -> None:
    with pytest.raises(Reject, match=said):
        documents(desk, question, limit=limit)


def test_a_failed_delivery_is_listed_with_its_code(desk: Office) -> None:
    row = desk.ledger.open_drop(received("outbox", "docxworld/k/z/a.pdf", "v1", "1", ("docxworld", "k"), NOW))
    desk.ledger.advance_drop(row, Failed(Failure("NO_SUCH_TARGET", "there is none")))
    (listed,) = documents(desk, Question("docxworld", "k", states=("FAILED",))).documents
    assert (listed.reason, listed.name) == ("NO_SUCH_TARGET", "docxworld/k/z/a.pdf")


def test_what_came_before_or_after_is_not_asked_for(desk: Office) -> None:
    for hours in range(4):
        desk.ledger.open(found(str(hours), NOW + timedelta(hours=hours), jobId="7e57"))
    by_time = Question("duba", "klinikum", since=later(hours=1), until=later(hours=3))
    assert [each.id for each in documents(desk, by_time).documents] == ["2", "1"]
    by_word = replace(by_time, job="7e57")
    assert [each.id for each in documents(desk, by_word).documents] == ["2", "1"]
