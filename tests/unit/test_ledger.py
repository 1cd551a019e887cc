"""The ledger on a real table (moto's): conditional writes, the sparse index, batched reads, what survives in a row."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from amtsbote.audit import sealed, verify
from amtsbote.deliveries import DropRow, DropState, Failed, Failure, Reported, SendLease, Told, TrackLater, received
from amtsbote.dropbook import LedgerDropBook
from amtsbote.errors import Retry
from amtsbote.ledger import (
    BATCH_GET_ROUNDS,
    CONFLICT_ROUNDS,
    PARTITION_BYTES,
    RECORD_BYTES,
    Ledger,
    Opened,
    item_key,
    record_fits,
)
from amtsbote.lifecycle import (
    HISTORY_AT_MOST,
    WORDS_KEPT_AT_MOST,
    Acknowledged,
    Committed,
    Deferred,
    FoundGone,
    Hydrated,
    ImpossibleTransition,
    ItemRow,
    LeaseTaken,
    Past,
    Requeued,
    Subject,
    Word,
    Work,
    opened,
)
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import Delivery, Finding, KnownDrop, Outcome, Step
from amtsbote.status import ConnectionStatus, failed, throttled
from tests.unit.support import NOW, Clock, Logged, Recorder, items_of, later, refusal

RECORD = {"id": 214, "aktenzeichen": "Müller ./. Größe €", "preis": 1.25, "leer": None, "liste": [], "emoji": "🙂"}


@pytest.fixture
def client(dynamodb: Any) -> Recorder:
    return Recorder(dynamodb)


@pytest.fixture
def ledger(client: Any, table: str, clock: Clock) -> Ledger:
    return Ledger(client, table, clock)


def item(id_: str = "214", connection: str = "klinikum", **finding: Any) -> ItemRow:
    found = Finding(id_, finding.pop("created_at", NOW), RECORD, **finding)
    return opened("duba", connection, found, json.dumps(RECORD, ensure_ascii=False), NOW)


def drop(version_id: str = "v1", sequence: str = "0001", key: str = "docxworld/klinikum/t/a.pdf") -> DropRow:
    return received("outbox", key, version_id, sequence, ("docxworld", "klinikum"), NOW)


def sent(ledger: Ledger, row: DropRow) -> DropRow:
    leased = ledger.advance_drop(ledger.open_drop(row), SendLease(later(minutes=4)))
    return ledger.advance_drop(leased, Reported(Delivery("up-7", Outcome.IN_PROGRESS), leased.fence))


class Elsewhere:
    """A client through which another worker gets in a change just before each of the first `times` writes."""

    def __init__(self, client: Any, change: Any, times: int = 1) -> None:
        self._client = client
        self._change = change
        self._left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_item(self, **arguments: Any) -> Any:
        if self._left:
            self._left -= 1
            self._change()
        return self._client.put_item(**arguments)


# --- inbound items ---


def test_an_item_is_opened_once(ledger: Ledger) -> None:
    assert ledger.open(item())
    assert not ledger.open(replace(item(), record="other"))
    assert ledger.item("duba", "klinikum", "214") == sealed(item(), "unknown")


def case(number: int) -> ItemRow:
    """Return the first row of an item that is found by two words."""
    record = {"aktenzeichen": f"12 XVII {number}/26", "jobId": f"job-{number}"}
    return opened("duba", "klinikum", Finding(str(number), NOW, record), json.dumps(record), NOW)


def test_rows_are_opened_with_their_words_as_many_at_once_as_a_transaction_takes(
    ledger: Ledger, client: Recorder
) -> None:
    rows = [case(number) for number in range(34)]
    assert [row.id for row in ledger.open_all(rows)] == [row.id for row in rows]
    written = [len(items) for items in client.written()]
    assert written == [1, 99, 3], "the connection, 33 rows and their words, then the last and its words"
    assert len(ledger.items("duba", "klinikum", [row.id for row in rows])) == 34
    assert [each.key for each in ledger.found_by("duba", "klinikum", Word(Subject.JOB, "job-7"), limit=9)] == [
        item_key("duba", "klinikum", "7")
    ]


def test_of_rows_opened_at_once_those_that_are_there_are_left_as_they_are(
    ledger: Ledger, client: Recorder, logged: Logged
) -> None:
    ledger.open(case(2))
    leased = ledger.advance(case(2), LeaseTaken(later(minutes=4)))
    assert [row.id for row in ledger.open_all([case(1), case(2), case(3)])] == ["1", "3"]
    rows = ledger.items("duba", "klinikum", ["1", "2", "3"])
    assert (rows["1"].seal, rows["2"]) == (sealed(case(1), "unknown").seal, leased)
    assert len(ledger.found_by("duba", "klinikum", Word(Subject.CASE, "12 xvii"), only_begins=True, limit=9)) == 3
    opened_ids = [line["id"] for line in map(json.loads, logged().splitlines()) if line["state"] == "DISCOVERED"]
    assert sorted(opened_ids) == ["1", "2", "3"], "each once"


def test_a_transaction_that_fails_otherwise_opens_nothing(table: str, clock: Clock) -> None:
    class Refusing:
        def put_item(self, **_: Any) -> None:
            """Take the connection's name."""

        def transact_write_items(self, **_: Any) -> None:
            raise refusal("AccessDeniedException")

    client: Any = Refusing()
    with pytest.raises(ClientError):
        Ledger(client, table, clock).open_all([case(1), case(2)])


class Contended:
    """A client whose transactions are cancelled some times, though nothing has been written by anybody."""

    def __init__(self, client: Recorder, times: int) -> None:
        self._client = client
        self._times = times

    def transact_write_items(self, **params: Any) -> Any:
        if self._times:
            self._times -= 1
            raise refusal("TransactionCanceledException")
        return self._client.transact_write_items(**params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_rows_whose_writing_another_one_came_between_are_written_again(
    client: Recorder, table: str, clock: Clock
) -> None:
    contended: Any = Contended(client, 1)
    assert Ledger(contended, table, clock).open(case(1))
    contended = Contended(client, 2)
    assert [row.id for row in Ledger(contended, table, clock).open_all([case(1), case(2)])] == ["2"]
    contended = Contended(client, 2)
    ledger = Ledger(contended, table, clock)
    assert sent(ledger, drop()).portal_id == "up-7"
    assert ledger.found_by("docxworld", "klinikum", Word(Subject.PORTAL_ID, "up-7"), limit=2)


def test_rows_that_too_many_write_at_once_come_again(client: Recorder, table: str, clock: Clock) -> None:
    contended: Any = Contended(client, 1000)
    ledger = Ledger(contended, table, clock)
    with pytest.raises(Retry, match="too many workers") as pause:
        ledger.open(case(1))
    assert pause.value.code == "LEDGER_CONTENDED"
    assert ledger.item("duba", "klinikum", "1") is None
    assert ledger.found_by("duba", "klinikum", Word(Subject.JOB, "job-1"), limit=1) == []


@pytest.mark.parametrize("letter", ["x", "ä", "🙂"])
def test_a_long_record_is_kept_packed_and_comes_back_as_it_was(ledger: Ledger, client: Recorder, letter: str) -> None:
    rows = [replace(item(str(number)), record=json.dumps({"text": letter * 400_000})) for number in range(3)]
    assert len(ledger.open_all(rows)) == 3
    assert ledger.items("duba", "klinikum", ["0", "1", "2"])["1"].record == rows[1].record
    assert [len(items) for items in client.written()[1:]] == [2] * 3, "each by itself: a write takes four megabytes"
    row = ledger.advance(rows[1], LeaseTaken(later(minutes=4)))
    assert row.record == rows[1].record == replace(ledger.item("duba", "klinikum", "1") or row).record


def test_a_row_that_is_as_full_as_it_gets_has_room(ledger: Ledger) -> None:
    """The largest packed record, with the longest id, all words and the longest history."""
    noise = Random(7).randbytes(RECORD_BYTES - 8_000)
    record = json.dumps({"text": b64encode(noise).decode()})
    assert record_fits(record) and not record_fits(record + b64encode(Random(8).randbytes(20_000)).decode())
    step = Past(NOW, "DISCOVERED", "R" * 40, by="acknowledge", number=1_000_000, digest="d" * 32, after="a" * 32)
    words = tuple(Word(Subject.CASE, f"{number:0200d}") for number in range(WORDS_KEPT_AT_MOST))
    row = replace(
        item("x" * 4096), record=record, hints={"formId": "f" * 4_000}, words=words, history=(step,) * HISTORY_AT_MOST
    )
    assert ledger.open(replace(row, words=()))
    ledger.advance(replace(row, history=row.history[:-1], seal="s" * 32), Requeued())
    found = ledger.item("duba", "klinikum", "x" * 4096)
    assert found is not None and found.record == record


def test_a_name_that_looks_like_a_digest_does_not_take_the_place_of_a_long_one(ledger: Ledger) -> None:
    long = "x" * 3_000
    (pk, _), digest = item_key("duba", "klinikum", long), sha256(long.encode()).hexdigest()
    assert pk == f"ITEM#duba#klinikum#sha256:{digest}"
    assert item_key("duba", "klinikum", f"sha256:{digest}")[0] != pk
    assert ledger.open(item(long)) and ledger.open(item(f"sha256:{digest}"))
    assert ledger.items("duba", "klinikum", [long, f"sha256:{digest}"]).keys() == {long, f"sha256:{digest}"}


def test_a_key_is_the_name_itself_as_long_as_there_is_room(ledger: Ledger) -> None:
    longest = "x" * (PARTITION_BYTES - len("ITEM#duba#klinikum#"))
    assert item_key("duba", "klinikum", longest)[0].endswith("#" + longest)
    assert len(item_key("duba", "klinikum", longest + "x")[0]) < 100
    assert ledger.awaited("duba", "klinikum", ["job-" + longest]) == {}, "what proves may be called anything"


# --- rows that cannot be read ---


def spoilt(ledger: Ledger, dynamodb: Any, table: str, id_: str, **more: dict[str, str]) -> None:
    """Open an item and let its row be none any more."""
    ledger.open(item(id_))
    pk, sk = item_key("duba", "klinikum", id_)
    row = dynamodb.get_item(TableName=table, Key={"pk": {"S": pk}, "sk": {"S": sk}})["Item"]
    dynamodb.put_item(TableName=table, Item={**row, **(more or {"state": {"S": "Müller"}})})


def test_a_row_that_cannot_be_read_is_said_without_its_values_and_left_out(
    ledger: Ledger, dynamodb: Any, table: str, clock: Clock, logged: Logged
) -> None:
    spoilt(ledger, dynamodb, table, "bad")
    ledger.open(item("good"))
    clock.forward(hours=1)
    keys = [item_key("duba", "klinikum", id_) for id_ in ("bad", "good")]
    assert list(ledger.items("duba", "klinikum", ["bad", "good"])) == ["good"]
    assert [row.id for row in ledger.due_items(Work.FETCH, "duba", "klinikum")] == ["good"]
    assert list(ledger.rows(keys)) == keys[1:]
    assert ledger.item("duba", "klinikum", "bad") is None
    said = [line for line in map(json.loads, logged().splitlines()) if line["level"] == "ERROR"]
    assert [(line["id"], line["fields"]) for line in said] == [("bad", ["state"])] * 4
    assert "Müller" not in logged()


def test_a_row_that_becomes_unreadable_while_it_is_worked_on_is_a_retry(
    ledger: Ledger, dynamodb: Any, table: str
) -> None:
    spoilt(ledger, dynamodb, table, "bad", state={"S": "Müller"}, version={"N": "7"})
    with pytest.raises(Retry, match="LEDGER_ROW_UNREADABLE"):
        ledger.advance(item("bad"), LeaseTaken(later(minutes=4)))


def test_an_unreadable_row_is_not_written_over(ledger: Ledger, dynamodb: Any, table: str) -> None:
    spoilt(ledger, dynamodb, table, "bad")
    assert not ledger.open(item("bad"))
    assert ledger.open_all([item("bad"), item("good")]) == [sealed(item("good"), "unknown")]


def test_an_unknown_item_has_no_row(ledger: Ledger) -> None:
    assert ledger.item("duba", "klinikum", "214") is None


def test_the_same_id_in_another_connection_is_another_item(ledger: Ledger) -> None:
    assert ledger.open(item(connection="a"))
    assert ledger.open(item(connection="b"))


def test_floats_nothing_and_umlauts_of_a_record_survive(ledger: Ledger) -> None:
    ledger.open(item(hints={"größe": "ß"}))
    row = ledger.item("duba", "klinikum", "214")
    assert row is not None
    assert json.loads(row.record or "") == RECORD
    assert row.hints == {"größe": "ß"}


def test_a_row_comes_back_as_it_was_after_every_step(ledger: Ledger, clock: Clock) -> None:
    row = item(created_at=None)
    ledger.open(row)
    for event in (
        LeaseTaken(later(minutes=4)),
        Deferred(1, later(minutes=9), "OUTAGE"),
        LeaseTaken(later(hours=1)),
        Committed(AcknowledgePolicy.STORED),
        Acknowledged("DELETED"),
    ):
        clock.forward(minutes=9)
        row = ledger.advance(row, event)
        assert ledger.item("duba", "klinikum", "214") == row


def test_each_write_counts_up_the_version_and_happens_at_the_clocks_time(ledger: Ledger, clock: Clock) -> None:
    ledger.open(item())
    clock.forward(seconds=7)
    row = ledger.advance(item(), LeaseTaken(later(minutes=4)))
    assert (row.version, row.history[-1].at, row.history[-1].state) == (2, later(seconds=7), "FETCHING")


def test_an_event_that_changes_nothing_writes_nothing(ledger: Ledger, client: Recorder) -> None:
    ledger.open(item())
    row = ledger.advance(ledger.advance(item(), LeaseTaken(later(minutes=4))), Committed(AcknowledgePolicy.NEVER))
    written = len(client.named("put_item"))
    assert ledger.advance(row, Committed(AcknowledgePolicy.NEVER)) == row
    assert len(client.named("put_item")) == written


def test_of_two_workers_with_the_same_row_one_gets_the_lease(ledger: Ledger) -> None:
    ledger.open(item())
    ledger.advance(item(), LeaseTaken(later(minutes=4)))
    with pytest.raises(ImpossibleTransition):
        ledger.advance(item(), LeaseTaken(later(minutes=5)))
    row = ledger.item("duba", "klinikum", "214")
    assert row is not None
    assert (row.fence, row.lease_until) == (1, later(minutes=4))


def test_an_event_that_still_fits_is_judged_anew_on_the_changed_row(ledger: Ledger) -> None:
    ledger.open(item())
    ledger.advance(item(), Requeued())
    row = ledger.advance(item(), Requeued())
    assert (row.queued, row.version) == (2, 3)


def test_a_change_between_reading_and_writing_is_not_overwritten(table: str, dynamodb: Any, clock: Clock) -> None:
    other = Ledger(dynamodb, table, clock)
    mine: Any = Elsewhere(dynamodb, lambda: other.advance(item(), Requeued()))
    other.open(item())
    row = Ledger(mine, table, clock).advance(item(), LeaseTaken(later(minutes=4)))
    assert (row.queued, row.fence, row.version) == (1, 1, 3)


def test_a_row_that_everybody_changes_at_once_is_a_retry(table: str, dynamodb: Any, clock: Clock) -> None:
    other = Ledger(dynamodb, table, clock)
    mine: Any = Elsewhere(dynamodb, lambda: other.advance(item(), Requeued()), times=CONFLICT_ROUNDS)
    other.open(item())
    with pytest.raises(Retry, match="LEDGER_CONTENDED"):
        Ledger(mine, table, clock).advance(item(), Requeued())


def test_a_row_deleted_while_it_was_worked_on_is_a_retry_and_stays_deleted(ledger: Ledger) -> None:
    with pytest.raises(Retry, match="LEDGER_ROW_VANISHED"):
        ledger.advance(item(), LeaseTaken(later(minutes=4)))
    assert ledger.item("duba", "klinikum", "214") is None


def test_any_other_refusal_of_the_table_is_passed_on(clock: Clock) -> None:
    class Refusing:
        def put_item(self, **_: Any) -> None:
            raise refusal("AccessDeniedException")

    client: Any = Refusing()
    with pytest.raises(ClientError):
        Ledger(client, "ledger", clock).open(item())


# --- many changes at once ---


def stored_rows(ledger: Ledger, *ids: str) -> list[ItemRow]:
    """Return the rows of items that are in the inbox."""
    leased = [ledger.advance(_opened(ledger, id_), LeaseTaken(later(minutes=4))) for id_ in ids]
    return [ledger.advance(row, Committed(AcknowledgePolicy.STORED)) for row in leased]


def test_many_events_are_one_write_for_as_many_as_it_takes(
    ledger: Ledger, client: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amtsbote.ledger.TRANSACTION_ACTIONS", 10)
    rows = stored_rows(ledger, *map(str, range(11)))
    client.calls.clear()
    done = ledger.advance_all([(row, Acknowledged("DELETED")) for row in rows])
    assert [row.id for row in done] == [row.id for row in rows]
    assert [len(items) for items in client.written()] == [10, 1], "the last by itself"
    found = ledger.items("duba", "klinikum", [row.id for row in rows])
    assert list(found.values()) and [found[row.id] for row in done] == done
    assert all(verify(row) == [] and row.state == "ACKNOWLEDGED" for row in found.values())


def test_many_rows_that_say_more_now_are_one_write_with_their_words_while_it_has_room(
    ledger: Ledger, client: Recorder
) -> None:
    unready = [Finding(str(number), NOW, {}, waiting_for="hydration") for number in range(67)]
    rows = [opened("duba", "klinikum", finding, "{}", NOW) for finding in unready]
    ledger.open_all(rows)
    hydrated = [(row, Hydrated(case(int(row.id)).record)) for row in rows]
    client.calls.clear()
    for some, written in ((hydrated[:33], [99]), (hydrated[33:], [3] * 34)):
        assert [row.id for row in ledger.advance_all(some)] == [row.id for row, _ in some]
        assert [len(items) for items in client.written()] == written
        client.calls.clear()
    for number in range(67):
        assert ledger.found_by("duba", "klinikum", Word(Subject.JOB, f"job-{number}"), limit=2)


def test_of_many_rows_one_that_was_changed_meanwhile_is_judged_anew(ledger: Ledger, logged: Logged) -> None:
    first, second, third = stored_rows(ledger, "1", "2", "3")
    ledger.advance(first, Acknowledged("BY_ANOTHER"))
    ledger.advance(second, FoundGone("GONE"))
    done = ledger.advance_all([(row, Acknowledged("DELETED")) for row in (first, second, third)])
    assert [(row.id, row.reason) for row in done] == [("1", "BY_ANOTHER"), ("3", "DELETED")]
    states = {id_: row.state for id_, row in ledger.items("duba", "klinikum", ["1", "2", "3"]).items()}
    assert states == {"1": "ACKNOWLEDGED", "2": "UNAVAILABLE", "3": "ACKNOWLEDGED"}
    assert "changed meanwhile" in logged()


def test_an_event_that_cannot_happen_keeps_no_other_from_happening(ledger: Ledger) -> None:
    stored, opened_only = stored_rows(ledger, "1")[0], _opened(ledger, "2")
    done = ledger.advance_all([(opened_only, Acknowledged("DELETED")), (stored, Acknowledged("DELETED"))])
    assert [row.id for row in done] == ["1"]


def test_events_that_change_nothing_are_no_write_at_all(ledger: Ledger, client: Recorder) -> None:
    done = ledger.advance_all([(row, Acknowledged("DELETED")) for row in stored_rows(ledger, "1", "2")])
    calls = len(client.calls)
    assert ledger.advance_all([(row, Acknowledged("DELETED")) for row in done]) == done
    assert len(client.calls) == calls


def test_each_step_of_many_is_logged_once(ledger: Ledger, logged: Logged) -> None:
    ledger.advance_all([(row, Acknowledged("DELETED")) for row in stored_rows(ledger, "1", "2")])
    assert logged().count('"state":"ACKNOWLEDGED"') == 2


def test_rows_that_are_too_large_together_are_changed_one_by_one(ledger: Ledger, client: Recorder) -> None:
    rows = [replace(item(str(number)), record=json.dumps({"text": "x" * 50_000})) for number in range(3)]
    ledger.open_all(rows)
    client.calls.clear()
    assert [row.queued for row in ledger.advance_all([(row, Requeued()) for row in rows])] == [1, 1, 1]
    assert [len(items) for items in client.written()] == [1, 1, 1]


# --- batched reads ---


def test_250_ids_are_read_in_three_calls(ledger: Ledger, client: Recorder) -> None:
    for number in range(0, 250, 5):
        ledger.open(item(str(number)))
    rows = ledger.items("duba", "klinikum", [str(number) for number in range(250)])
    assert sorted(map(int, rows)) == list(range(0, 250, 5))
    assert all(row.id == id_ for id_, row in rows.items())
    assert len(client.named("batch_get_item")) == 3


def test_an_id_asked_for_twice_is_read_once(ledger: Ledger) -> None:
    ledger.open(item())
    assert list(ledger.items("duba", "klinikum", ["214", "214"])) == ["214"]


def test_no_ids_need_no_call(ledger: Ledger, client: Recorder) -> None:
    assert ledger.items("duba", "klinikum", []) == {}
    assert client.calls == []


class Sparing:
    """A table that answers only some keys of a batched read and hands the others back."""

    def __init__(self, client: Any, keys_per_call: int) -> None:
        self._client = client
        self._some = keys_per_call
        self.calls = 0

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> Any:
        self.calls += 1
        ((table, wanted),) = RequestItems.items()
        some, others = wanted["Keys"][: self._some], wanted["Keys"][self._some :]
        left = {table: {**wanted, "Keys": others}} if others else {}
        if not some:
            return {"Responses": {}, "UnprocessedKeys": left}
        answer = self._client.batch_get_item(RequestItems={table: {**wanted, "Keys": some}})
        return {"Responses": answer["Responses"], "UnprocessedKeys": left}


def test_keys_that_the_table_hands_back_are_asked_for_again(ledger: Ledger, dynamodb: Any, table: str) -> None:
    for id_ in "abcdef":
        ledger.open(item(id_))
    sparing: Any = Sparing(dynamodb, keys_per_call=2)
    rows = Ledger(sparing, table, Clock()).items("duba", "klinikum", list("abcdef"))
    assert (set(rows), sparing.calls) == (set("abcdef"), 3)


def test_a_table_that_answers_nothing_is_a_retry_and_never_a_missing_item(dynamodb: Any, table: str) -> None:
    sparing: Any = Sparing(dynamodb, keys_per_call=0)
    with pytest.raises(Retry, match="LEDGER_THROTTLED"):
        Ledger(sparing, table, Clock()).items("duba", "klinikum", ["a"])
    assert sparing.calls == BATCH_GET_ROUNDS


# --- what is due ---


def test_due_items_come_longest_waiting_first_and_only_when_their_time_has_come(ledger: Ledger, clock: Clock) -> None:
    for id_, minutes in (("late", 3), ("early", 1), ("middle", 2), ("future", 60)):
        row = item(id_)
        assert row.due is not None
        ledger.open(replace(row, due=replace(row.due, at=later(minutes=minutes))))
    clock.forward(minutes=3)
    assert [row.id for row in ledger.due_items(Work.FETCH, "duba", "klinikum")] == ["early", "middle", "late"]


def test_what_is_due_is_found_by_work_and_connection_alone(ledger: Ledger, clock: Clock) -> None:
    ledger.open(item("a"))
    ledger.open(item("b", connection="other"))
    ledger.advance(ledger.advance(_opened(ledger, "c"), LeaseTaken(NOW)), Committed(AcknowledgePolicy.STORED))
    clock.forward(hours=1)
    assert [row.id for row in ledger.due_items(Work.FETCH, "duba", "klinikum")] == ["a"]
    assert [row.id for row in ledger.due_items(Work.ACKNOWLEDGE, "duba", "klinikum")] == ["c"]


def _opened(ledger: Ledger, id_: str) -> ItemRow:
    ledger.open(item(id_))
    return item(id_)


def test_rows_without_work_are_not_in_the_index(ledger: Ledger, dynamodb: Any, table: str) -> None:
    ledger.open(item("waits", waiting_for="hydration"))
    row = ledger.advance(_opened(ledger, "gone"), LeaseTaken(later(minutes=4)))
    ledger.advance(row, FoundGone("GONE", row.fence))
    ledger.open_drop(drop())
    ledger.change_status(ledger.status("duba", "klinikum"), lambda each: throttled(each, NOW))
    assert dynamodb.scan(TableName=table, IndexName="due")["Items"] == []


def test_an_item_done_leaves_the_index(ledger: Ledger, clock: Clock) -> None:
    row = ledger.advance(_opened(ledger, "a"), LeaseTaken(NOW))
    row = ledger.advance(row, Committed(AcknowledgePolicy.STORED))
    ledger.advance(row, Acknowledged("DELETED"))
    clock.forward(days=9)
    assert not [*ledger.due_items(Work.ACKNOWLEDGE, "duba", "klinikum")]
    assert not [*ledger.due_items(Work.FETCH, "duba", "klinikum")]


def test_more_due_rows_than_a_page_holds_are_all_found(ledger: Ledger, clock: Clock) -> None:
    for number in range(15):
        ledger.open(replace(item(f"{number:02d}"), record="x" * 100_000))  # a page of the index holds 1 MB
    clock.forward(hours=1)
    assert len([*ledger.due_items(Work.FETCH, "duba", "klinikum")]) == 15


# --- drops ---


def test_a_drop_is_opened_once_and_a_repeat_gets_the_row_there_is(ledger: Ledger) -> None:
    ledger.open_drop(drop())
    leased = ledger.advance_drop(drop(), SendLease(later(minutes=4)))
    again = ledger.open_drop(replace(drop(), received_at=later(hours=1)))
    assert again == leased
    assert again.state is DropState.SENDING


LEASE = SendLease(later(minutes=4))


def test_a_new_drop_is_opened_under_a_lease_in_one_write(ledger: Ledger, client: Recorder) -> None:
    begun = ledger.begin_drop(drop(), LEASE)
    assert (begun.is_new, begun.is_first) == (True, True)
    assert begun.row == ledger.drop(drop()) and verify(begun.row) == []
    assert (begun.row.state, begun.row.fence, begun.row.attempts) == (DropState.SENDING, 1, 1)
    assert [past.state for past in begun.row.history] == ["RECEIVED", "SENDING"]
    assert begun.row.lease_until == LEASE.until


def test_the_first_version_of_a_key_is_opened_without_a_read(ledger: Ledger, client: Recorder) -> None:
    """Written are the note which version is the newest, and then the row with the word that it is found by."""
    ledger.begin_drop(drop(key="docxworld/klinikum/t/other.pdf"), LEASE)  # and with it the connection is known
    client.calls.clear()
    ledger.begin_drop(drop(), LEASE)
    assert [[each["sk"]["S"][:6] for each in items] for items in client.written()] == [["NEWEST"], ["FILE#a", "v1"]]
    assert len(client.calls) == 2


def test_a_drop_that_was_opened_before_is_returned_without_a_lease(ledger: Ledger) -> None:
    first = ledger.open_drop(drop())
    begun = ledger.begin_drop(drop(), LEASE)
    assert (begun.row, begun.is_new, begun.is_first) == (first, False, False)


@pytest.mark.parametrize("order", [("v1", "v2"), ("v2", "v1")])
def test_a_further_version_of_a_key_is_new_and_not_the_first(ledger: Ledger, order: tuple[str, str]) -> None:
    for version, is_first in zip(order, (True, False), strict=True):
        begun = ledger.begin_drop(drop(version, f"000{version[1]}"), LEASE)
        assert (begun.is_new, begun.is_first, begun.row.version_id) == (True, is_first, version)
    assert ledger.is_newest(drop("v2")) and not ledger.is_newest(drop("v1"))


class Overtaking:
    """A table in which another worker is quicker with the row of a drop."""

    def __init__(self, client: Any, overtake: Callable[[], object]) -> None:
        self._client = client
        self._overtake = overtake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, **arguments: Any) -> Any:
        if any("state" in item for item in items_of(arguments)):
            self._overtake()
        return self._client.transact_write_items(**arguments)


def test_of_two_that_open_a_drop_at_once_one_has_the_lease(ledger: Ledger, dynamodb: Any, table: str) -> None:
    quicker: list[Opened] = []
    slow: Any = Overtaking(dynamodb, lambda: quicker.append(ledger.begin_drop(drop(), LEASE)))
    late = Ledger(slow, table, Clock()).begin_drop(drop(), LEASE)
    assert [each.is_new for each in (*quicker, late)] == [True, False]
    assert late.row == quicker[0].row and late.row.fence == 1


def test_a_death_between_the_note_and_the_row_leaves_a_drop_that_is_opened_by_the_repeat(
    ledger: Ledger, dynamodb: Any, table: str
) -> None:
    def die() -> None:
        raise refusal("AccessDeniedException")

    dying: Any = Overtaking(dynamodb, die)
    with pytest.raises(ClientError):
        Ledger(dying, table, Clock()).begin_drop(drop(), LEASE)
    begun = ledger.begin_drop(drop(), LEASE)
    assert (begun.is_new, begun.is_first) == (True, False), "whether another version has a receipt is to be looked up"
    assert ledger.newest_drop("outbox", drop().key) == begun.row


def test_both_steps_of_a_drop_that_is_opened_under_a_lease_are_logged(ledger: Ledger, logged: Logged) -> None:
    row = ledger.begin_drop(drop(), LEASE).row
    said = [json.loads(line) for line in logged().splitlines()]
    assert [(each["state"], each["seal"]) for each in said] == [
        (past.state, str(past.digest)[:16]) for past in row.history
    ]


def test_a_drop_that_was_never_opened_is_as_it_was_given(ledger: Ledger) -> None:
    assert ledger.drop(drop()) == drop()


def test_a_drops_row_comes_back_as_it_was(ledger: Ledger) -> None:
    row = ledger.advance_drop(ledger.open_drop(drop()), SendLease(later(minutes=4)))
    said = Delivery("up-7", Outcome.IN_PROGRESS, (Step(NOW, "Größe"),), {"preis": 1.25, "x": None, "ü": [1]})
    row = ledger.advance_drop(row, Reported(said, row.fence))
    assert ledger.drop(drop()) == row
    row = ledger.advance_drop(row, Failed(Failure("C", "Müller", retryable=True)))
    assert ledger.drop(drop()) == row


def test_of_two_senders_one_gets_the_lease(ledger: Ledger) -> None:
    row = ledger.open_drop(drop())
    ledger.advance_drop(row, SendLease(later(minutes=4)))
    with pytest.raises(ImpossibleTransition):
        ledger.advance_drop(row, SendLease(later(minutes=4)))


def test_due_drops_are_those_to_be_asked_about(ledger: Ledger, clock: Clock) -> None:
    row = sent(ledger, drop("v1"))
    sent(ledger, drop("v2", key="docxworld/klinikum/t/b.pdf"))
    ledger.advance_drop(row, TrackLater(later(hours=1)))
    clock.forward(minutes=1)
    assert [each.version_id for each in ledger.due_drops("docxworld", "klinikum")] == ["v2"]
    assert [*ledger.due_drops("docxworld", "other")] == []


def test_an_ended_drop_is_due_until_it_is_told(ledger: Ledger, clock: Clock) -> None:
    row = ledger.advance_drop(sent(ledger, drop()), Reported(Delivery("up-7", Outcome.DELIVERED)))
    clock.forward(minutes=1)
    assert [*ledger.due_drops("docxworld", "klinikum")] == [row]
    ledger.advance_drop(row, Told())
    assert [*ledger.due_drops("docxworld", "klinikum")] == []


@pytest.mark.parametrize("order", [("v1", "v2"), ("v2", "v1")])
def test_the_newest_version_is_the_one_of_the_highest_sequence_in_whatever_order_events_come(
    ledger: Ledger, order: tuple[str, str]
) -> None:
    sequences = {"v1": "0055AED6DCD90281E5", "v2": "0055AED6DCD90281E6"}
    for version in order:
        ledger.open_drop(drop(version, sequences[version]))
    assert not ledger.is_newest(drop("v1"))
    assert ledger.is_newest(drop("v2"))


def test_a_repeated_event_does_not_change_which_version_is_the_newest(ledger: Ledger) -> None:
    ledger.open_drop(drop("v1", "01"))
    ledger.open_drop(drop("v2", "02"))
    ledger.open_drop(drop("v1", "01"))
    assert ledger.is_newest(drop("v2"))


def test_each_key_has_its_own_newest_version(ledger: Ledger) -> None:
    ledger.open_drop(drop("v1", "01", key="a"))
    ledger.open_drop(drop("v2", "02", key="b"))
    assert ledger.is_newest(drop("v1", key="a"))


def test_a_version_of_a_key_never_seen_counts_as_the_newest(ledger: Ledger) -> None:
    assert ledger.is_newest(drop())


def test_the_newest_version_that_the_portal_has_may_be_older_than_the_newest(ledger: Ledger) -> None:
    assert ledger.newest_drop("outbox", drop().key) is None and ledger.newest_sent_drop("outbox", drop().key) is None
    older = sent(ledger, drop("v1", "01"))
    newest = ledger.advance_drop(ledger.open_drop(drop("v2", "02")), Failed(Failure("FILE_EMPTY", "…")))
    assert ledger.newest_drop("outbox", older.key) == newest
    assert ledger.newest_sent_drop("outbox", older.key) == older


@pytest.mark.parametrize("order", [("v1", "v2"), ("v2", "v1")])
def test_of_two_that_the_portal_has_the_newer_is_found_in_whatever_order_they_got_there(
    ledger: Ledger, order: tuple[str, str]
) -> None:
    for version in order:
        sent(ledger, drop(version, f"000{version[1]}"))
    found = ledger.newest_sent_drop("outbox", drop().key)
    assert found is not None and found.version_id == "v2"


def test_the_id_at_the_portal_is_a_word_as_soon_as_the_row_says_it(ledger: Ledger, client: Recorder) -> None:
    """So that no crash leaves a word that nobody knows of who erases the row, nor a row that is not found."""
    row = sent(ledger, drop())
    last = [item["sk"]["S"] for item in client.written()[-1]]
    assert last[0].startswith("PORTAL_ID#up-7#") and last[1:] == [row.version_id]


def test_what_is_known_of_another_key_that_begins_alike_is_not_taken_for_this_one(ledger: Ledger) -> None:
    sent(ledger, drop("v1", key=f"{drop().key}.cancel.json"))
    assert ledger.newest_sent_drop("outbox", drop().key) is None


def test_a_name_that_awaits_a_proof_is_written_without_a_read(ledger: Ledger, client: Recorder) -> None:
    row = sent(ledger, drop())
    client.calls.clear()
    ledger.await_proof(row, "job-7")
    assert [name for name, _ in client.calls] == ["put_item"]


def test_the_book_of_drops_says_what_an_adapter_may_know(ledger: Ledger) -> None:
    book = LedgerDropBook(ledger)
    assert book.newest("outbox", drop().key) is None and book.newest_sent("outbox", drop().key) is None
    row = ledger.open_drop(drop())
    assert book.newest("outbox", row.key) == KnownDrop("v1", True, Outcome.IN_PROGRESS, None)
    leased = ledger.advance_drop(row, SendLease(later(minutes=4)))
    delivery = Delivery("up-7", Outcome.DELIVERED, result={"a": "b"}, tracked_as="x|up-7")
    done = ledger.advance_drop(leased, Reported(delivery, leased.fence))
    assert done.tracked_as == "x|up-7"
    assert book.newest_sent("outbox", row.key) == KnownDrop("v1", False, Outcome.DELIVERED, "up-7", {"a": "b"})


# --- connections ---


def test_a_connection_never_seen_has_a_fresh_status(ledger: Ledger) -> None:
    assert ledger.status("duba", "klinikum") == ConnectionStatus("duba", "klinikum")


def test_a_status_comes_back_as_it_was(ledger: Ledger) -> None:
    fresh = ledger.status("duba", "klinikum")
    status = ledger.change_status(fresh, lambda each: replace(failed(each, "X", NOW), watermark=later(days=-2)))
    assert ledger.status("duba", "klinikum") == status
    assert (status.version, status.reason, status.watermark) == (1, "X", NOW - timedelta(days=2))


def test_two_workers_that_change_a_status_at_once_both_have_their_change(ledger: Ledger) -> None:
    fresh = ledger.status("duba", "klinikum")
    ledger.change_status(fresh, lambda each: replace(each, watermark=NOW))
    status = ledger.change_status(fresh, lambda each: throttled(each, later(hours=1)))
    assert (status.watermark, status.pause_until, status.version) == (NOW, later(hours=1), 2)


def test_statuses_of_connections_are_apart(ledger: Ledger) -> None:
    ledger.change_status(ledger.status("duba", "a"), lambda each: failed(each, "X", NOW))
    assert ledger.status("duba", "b").healthy


def test_an_item_and_a_connection_of_the_same_names_are_apart(ledger: Ledger) -> None:
    ledger.open(item("x"))
    assert ledger.status("duba", "klinikum").version == 0


# --- the trail ---


def test_a_step_is_sealed_as_that_of_whoever_the_ledger_works_for(table: str, dynamodb: Any, clock: Clock) -> None:
    for name in ("poll", "fetch"):
        ledger = Ledger(dynamodb, table, clock, lambda name=name: name)  # type: ignore[misc]
        row = ledger.item("duba", "klinikum", "214")
        ledger.open(item()) if row is None else ledger.advance(row, LeaseTaken(later(minutes=4)))
    row = ledger.item("duba", "klinikum", "214")
    assert row is not None
    assert [(past.state, past.by) for past in row.history] == [("DISCOVERED", "poll"), ("FETCHING", "fetch")]
    assert verify(row) == []


def test_a_drop_that_was_opened_is_returned_as_it_was_written(ledger: Ledger) -> None:
    row = ledger.open_drop(drop())
    assert row == ledger.drop(drop()) == sealed(drop(), "unknown")


def test_a_step_that_came_in_between_is_in_the_trail(table: str, dynamodb: Any, clock: Clock) -> None:
    """The step is judged and sealed anew on the row that another worker has changed."""
    other = Ledger(dynamodb, table, clock, lambda: "other")
    other.open(item())
    row = other.item("duba", "klinikum", "214")
    assert row is not None
    mine: Any = Elsewhere(dynamodb, lambda: other.advance(row, Requeued()))
    taken = Ledger(mine, table, clock, lambda: "mine").advance(row, LeaseTaken(later(minutes=4)))
    assert ([past.by for past in taken.history], taken.version) == (["other", "mine"], 3)
    assert verify(taken) == []


def test_each_step_is_logged_once_with_the_begin_of_its_digest_and_nothing_personal(
    ledger: Ledger, logged: Logged
) -> None:
    ledger.open(item())
    row = ledger.item("duba", "klinikum", "214")
    assert row is not None
    ledger.advance(row, Requeued())  # a change, and no step
    (line,) = [json.loads(line) for line in logged().splitlines()]
    said = {name: line[name] for name in ("message", "connection", "id", "state", "number", "seal")}
    digest = str(row.history[0].digest)
    assert said == {
        "message": "step",
        "connection": "klinikum",
        "id": "214",
        "state": "DISCOVERED",
        "number": 1,
        "seal": digest[:16],
    }
    assert line.keys() - said.keys() <= {"level", "location", "timestamp", "service"}


def test_a_drops_step_is_logged_by_its_version_as_its_key_may_name_somebody(ledger: Ledger, logged: Logged) -> None:
    ledger.open_drop(drop(key="docxworld/klinikum/t/Erika Muster.pdf"))
    assert json.loads(logged())["version"] == "v1"
    assert "Erika" not in logged()


def test_what_is_empty_in_a_step_is_not_stored(ledger: Ledger, client: Recorder) -> None:
    ledger.open(item())
    (step,) = client.written()[-1][-1]["history"]["L"]
    assert step["M"].keys() == {"at", "state", "by", "number", "digest"}
