"""Receipts on a real bucket (moto's): what they say, and that nothing older ever overwrites what is newer."""

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from amtsbote.deliveries import DropRow, Failed, Failure, Reported, SendLease, received
from amtsbote.errors import Retry
from amtsbote.ledger import Ledger
from amtsbote.lifecycle import Past
from amtsbote.portals.protocols import Delivery, Outcome, Step
from amtsbote.receipts import ROUNDS, Receipts, receipt_of
from tests.unit.support import NOW, Clock, Recorder, later, refusal

KEY = "docxworld/klinikum/ziel/brief.pdf"
RECEIPT = f"receipts/{KEY}.json"


@pytest.fixture
def ledger(dynamodb: Any, table: str, clock: Clock) -> Ledger:
    return Ledger(dynamodb, table, clock)


@pytest.fixture
def client(s3: Any) -> Any:
    return Recorder(s3)


@pytest.fixture
def receipts(client: Any, bucket: str, ledger: Ledger) -> Receipts:
    return Receipts(client, bucket, ledger)


def drop(version_id: str = "v1", sequence: str = "01", key: str = KEY) -> DropRow:
    return received("outbox", key, version_id, sequence, ("docxworld", "klinikum"), NOW)


def sending(ledger: Ledger, row: DropRow) -> DropRow:
    return ledger.advance_drop(ledger.open_drop(row), SendLease(later(minutes=4)))


def report(ledger: Ledger, row: DropRow, outcome: Outcome, **more: Any) -> DropRow:
    return ledger.advance_drop(row, Reported(Delivery("up-7", outcome, **more), row.fence))


def receipt(s3: Any, bucket: str, key: str = RECEIPT) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return content


# --- what a receipt says ---


def test_the_receipt_of_a_delivery_is_the_contracts(ledger: Ledger, clock: Clock) -> None:
    row = sending(ledger, drop())
    clock.forward(minutes=2)
    row = report(ledger, row, Outcome.DELIVERED, steps=(Step(later(minutes=1), "PRINTED"),), result={"ort": "Köln"})
    assert receipt_of(row) == {
        "schema": "amtsbote.receipt/1",
        "outboxKey": KEY,
        "versionId": "v1",
        "status": "DELIVERED",
        "portalId": "up-7",
        "updatedAt": "2026-02-19T14:32:00Z",
        "history": [
            {"at": "2026-02-19T14:30:00Z", "state": "RECEIVED"},
            {"at": "2026-02-19T14:30:00Z", "state": "SENDING"},
            {"at": "2026-02-19T14:31:00Z", "state": "PRINTED"},
            {"at": "2026-02-19T14:32:00Z", "state": "DELIVERED"},
        ],
        "result": {"ort": "Köln"},
        "error": None,
    }


def test_a_failed_receipt_names_the_reason(ledger: Ledger) -> None:
    row = ledger.advance_drop(sending(ledger, drop()), Failed(Failure("VIRUS", "infiziert", retryable=True)))
    assert receipt_of(row)["status"] == "FAILED"
    assert receipt_of(row)["error"] == {"code": "VIRUS", "message": "infiziert", "retryable": True}


def test_whatever_has_not_ended_is_in_progress(ledger: Ledger) -> None:
    leased = sending(ledger, drop())
    rows = [drop(), leased, report(ledger, leased, Outcome.IN_PROGRESS)]
    assert [receipt_of(row)["status"] for row in rows] == ["IN_PROGRESS"] * 3


def test_a_state_repeated_many_times_is_told_once() -> None:
    row = replace(drop(), history=(*drop().history, *(Past(later(hours=hour), "SENDING", "X") for hour in range(9))))
    assert [each["state"] for each in receipt_of(row)["history"]] == ["RECEIVED", "SENDING"]


# --- writing ---


def test_a_receipt_is_written_beside_the_inbox_and_its_key_returned(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    assert receipts.write(ledger.open_drop(drop())) == RECEIPT
    assert receipt(s3, bucket)["history"] == [{"at": "2026-02-19T14:30:00Z", "state": "RECEIVED"}]
    assert s3.head_object(Bucket=bucket, Key=RECEIPT)["ContentType"] == "application/json"


def test_a_receipt_is_readable_text(receipts: Receipts, ledger: Ledger, s3: Any, bucket: str) -> None:
    receipts.write(report(ledger, sending(ledger, drop()), Outcome.IN_PROGRESS, result={"ort": "Köln"}))
    assert "Köln".encode() in s3.get_object(Bucket=bucket, Key=RECEIPT)["Body"].read()


def test_each_step_rewrites_the_receipt(receipts: Receipts, ledger: Ledger, s3: Any, bucket: str) -> None:
    row = sending(ledger, drop())
    receipts.write(row)
    receipts.write(report(ledger, row, Outcome.DELIVERED))
    assert receipt(s3, bucket)["status"] == "DELIVERED"


def test_a_receipt_that_says_the_same_already_is_not_written_again(
    receipts: Receipts, ledger: Ledger, client: Recorder
) -> None:
    row = ledger.open_drop(drop())
    assert (receipts.write(row), receipts.write(row)) == (RECEIPT, RECEIPT)
    assert len(client.named("put_object")) == 1


def test_a_worker_with_a_stale_row_writes_what_the_ledger_knows(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    stale = sending(ledger, drop())
    receipts.write(report(ledger, stale, Outcome.DELIVERED))
    receipts.write(stale)
    assert receipt(s3, bucket)["status"] == "DELIVERED"


def test_a_late_step_of_an_older_version_never_overwrites_the_receipt(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    old = sending(ledger, drop("v1", "01"))
    receipts.write(ledger.open_drop(drop("v2", "02")))
    assert receipts.write(report(ledger, old, Outcome.DELIVERED)) == RECEIPT
    assert receipt(s3, bucket)["versionId"] == "v2"


def test_an_older_version_whose_event_came_late_writes_no_receipt(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    ledger.open_drop(drop("v2", "02"))
    receipts.write(ledger.open_drop(drop("v1", "01")))
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_newer_version_takes_the_receipt_over(receipts: Receipts, ledger: Ledger, s3: Any, bucket: str) -> None:
    receipts.write(ledger.advance_drop(ledger.open_drop(drop("v1", "01")), Failed(Failure("X", "x"))))
    receipts.write(ledger.open_drop(drop("v2", "02")))
    assert (receipt(s3, bucket)["versionId"], receipt(s3, bucket)["error"]) == ("v2", None)


class Overtaken:
    """A bucket in which another worker is quicker just before each of the first `times` writes."""

    def __init__(self, client: Any, overtake: Any, times: int = 1) -> None:
        self._client = client
        self._overtake = overtake
        self._left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def let_overtake(self) -> None:
        self._left = 1

    def put_object(self, **arguments: Any) -> Any:
        if self._left:
            self._left -= 1
            self._overtake()
        return self._client.put_object(**arguments)


@pytest.mark.parametrize("there_before", [False, True])
def test_a_newer_version_that_writes_in_between_is_not_overwritten(
    s3: Any, bucket: str, ledger: Ledger, there_before: bool
) -> None:
    old = ledger.open_drop(drop("v1", "01"))
    others = Receipts(s3, bucket, ledger)
    if there_before:
        others.write(old)
        old = ledger.advance_drop(old, SendLease(later(minutes=4)))
    overtaken: Any = Overtaken(s3, lambda: others.write(ledger.open_drop(drop("v2", "02"))))
    Receipts(overtaken, bucket, ledger).write(old)
    assert receipt(s3, bucket)["versionId"] == "v2"


def test_a_newer_step_that_is_written_in_between_is_not_overwritten(s3: Any, bucket: str, ledger: Ledger) -> None:
    row = sending(ledger, drop())
    others = Receipts(s3, bucket, ledger)
    overtaken: Any = Overtaken(s3, lambda: others.write(report(ledger, row, Outcome.DELIVERED)))
    Receipts(overtaken, bucket, ledger).write(row)
    assert receipt(s3, bucket)["status"] == "DELIVERED"


# --- where the caller knows what lies there ---


@pytest.fixture
def table_calls(dynamodb: Any, table: str, clock: Clock) -> tuple[Ledger, Recorder]:
    """Provide a second ledger of the same table, and what it is asked."""
    recorder: Any = Recorder(dynamodb)
    return Ledger(recorder, table, clock), recorder


def asked(*clients: Recorder) -> list[str]:
    return [name for client in clients for name, _ in client.calls]


def test_the_first_receipt_of_a_key_is_one_request(
    s3: Any, bucket: str, ledger: Ledger, table_calls: tuple[Ledger, Recorder]
) -> None:
    row, client = sending(ledger, drop()), Recorder(s3)
    assert Receipts(client, bucket, table_calls[0]).write_first(row) == RECEIPT  # type: ignore[arg-type]
    assert receipt(s3, bucket) == json.loads(json.dumps(receipt_of(row)))
    assert asked(client, table_calls[1]) == ["put_object"]


def test_a_first_receipt_never_overwrites_one_that_came_in_between(s3: Any, bucket: str, ledger: Ledger) -> None:
    old = sending(ledger, drop("v1", "01"))
    others = Receipts(s3, bucket, ledger)
    overtaken: Any = Overtaken(s3, lambda: others.write(ledger.open_drop(drop("v2", "02"))))
    assert Receipts(overtaken, bucket, ledger).write_first(old) == RECEIPT
    assert receipt(s3, bucket)["versionId"] == "v2"


def test_a_key_too_long_for_a_receipt_has_no_first_one_either(receipts: Receipts, client: Recorder) -> None:
    assert receipts.write_first(drop(key="docxworld/klinikum/ü/".ljust(1020, "x"))) is None
    assert client.calls == []


def test_the_next_step_in_the_same_process_is_one_request(
    s3: Any, bucket: str, ledger: Ledger, table_calls: tuple[Ledger, Recorder]
) -> None:
    row, client = sending(ledger, drop()), Recorder(s3)
    receipts = Receipts(client, bucket, table_calls[0])  # type: ignore[arg-type]
    receipts.write_first(row)
    assert receipts.write(report(ledger, row, Outcome.DELIVERED), over=row) == RECEIPT
    assert receipt(s3, bucket)["status"] == "DELIVERED"
    assert asked(client, table_calls[1]) == ["put_object", "put_object"]


def test_the_next_step_in_another_process_looks_at_the_receipt_and_not_at_the_ledger(
    s3: Any, bucket: str, ledger: Ledger, table_calls: tuple[Ledger, Recorder]
) -> None:
    row, client = sending(ledger, drop()), Recorder(s3)
    Receipts(s3, bucket, ledger).write(row)
    other = Receipts(client, bucket, table_calls[0])  # type: ignore[arg-type]
    assert other.write(report(ledger, row, Outcome.DELIVERED), over=row) == RECEIPT
    assert receipt(s3, bucket)["status"] == "DELIVERED"
    assert asked(client, table_calls[1]) == ["get_object", "put_object"]


def of_a_newer_version(ledger: Ledger, _: DropRow) -> DropRow:
    return ledger.open_drop(drop("v2", "02"))


def of_a_newer_step(ledger: Ledger, row: DropRow) -> DropRow:
    return ledger.advance_drop(row, Reported(Delivery("up-7", Outcome.DELIVERED)))


@pytest.mark.parametrize("newer", [of_a_newer_version, of_a_newer_step])
@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("in_between", [True, False])
def test_a_step_never_overwrites_what_is_newer_than_what_the_caller_knows(
    s3: Any, bucket: str, ledger: Ledger, newer: Any, remembers: bool, in_between: bool
) -> None:
    others, before = Receipts(s3, bucket, ledger), sending(ledger, drop())
    row = report(ledger, before, Outcome.IN_PROGRESS)
    overtaken: Any = Overtaken(s3, lambda: others.write(newer(ledger, row)), times=0)
    own = Receipts(overtaken, bucket, ledger)
    (own if remembers else others).write_first(before)
    if in_between:
        overtaken.let_overtake()
    else:
        others.write(newer(ledger, row))
    assert own.write(row, over=before) == RECEIPT
    said = receipt(s3, bucket)
    assert (said["versionId"], said["status"]) in [("v2", "IN_PROGRESS"), ("v1", "DELIVERED")]


@pytest.mark.parametrize("remembers", [True, False])
def test_a_receipt_that_was_forgotten_is_not_written_over_from_memory(
    s3: Any, bucket: str, ledger: Ledger, clock: Clock, remembers: bool
) -> None:
    before = sending(ledger, drop())
    own = Receipts(s3, bucket, ledger)
    (own if remembers else Receipts(s3, bucket, ledger)).write_first(before)
    done = report(ledger, before, Outcome.DELIVERED, secret_until=later(hours=1), result={"magicLink": "geheim"})
    own.forget(done)
    clock.forward(hours=2)
    assert own.write(done, over=before) == RECEIPT
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_secret_that_has_ended_is_not_written_though_the_receipt_before_lies_there(
    s3: Any, bucket: str, ledger: Ledger, clock: Clock
) -> None:
    before, receipts = sending(ledger, drop()), Receipts(s3, bucket, ledger)
    receipts.write_first(before)
    done = report(ledger, before, Outcome.DELIVERED, secret_until=later(hours=1), result={"magicLink": "geheim"})
    clock.forward(hours=2)
    receipts.write(done, over=before)
    assert "geheim" not in json.dumps(receipt(s3, bucket))


def test_only_so_many_etags_are_remembered(
    s3: Any, bucket: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amtsbote.receipts.REMEMBERED_ETAGS", 2)
    client = Recorder(s3)
    receipts, rows = Receipts(client, bucket, ledger), []  # type: ignore[arg-type]
    for number in range(3):
        rows.append(sending(ledger, drop(key=f"{KEY}.{number}")))
        receipts.write_first(rows[-1])
    client.calls.clear()
    for row in reversed(rows):
        receipts.write(report(ledger, row, Outcome.DELIVERED), over=row)
    assert asked(client).count("get_object") == 2, "of two the ETag is forgotten, and they are looked at"


def test_a_receipt_that_others_keep_changing_is_a_retry(s3: Any, bucket: str, ledger: Ledger) -> None:
    row = ledger.open_drop(drop())
    bodies = iter(range(100))
    overtaken: Any = Overtaken(
        s3, lambda: s3.put_object(Bucket=bucket, Key=RECEIPT, Body=str(next(bodies)).encode()), times=ROUNDS
    )
    with pytest.raises(Retry, match="RECEIPT_CONTENDED"):
        Receipts(overtaken, bucket, ledger).write(row)
    assert next(bodies) == ROUNDS


def test_a_refusal_of_the_bucket_is_passed_on(s3: Any, bucket: str, ledger: Ledger) -> None:
    def refuse() -> None:
        raise refusal("AccessDenied")

    refusing: Any = Overtaken(s3, refuse)
    with pytest.raises(ClientError):
        Receipts(refusing, bucket, ledger).write(ledger.open_drop(drop()))


@pytest.mark.parametrize(("length", "written"), [(1010, True), (1011, False)])
def test_where_the_key_would_be_too_long_for_s3_there_is_no_receipt(
    receipts: Receipts, ledger: Ledger, client: Recorder, length: int, written: bool
) -> None:
    key = "docxworld/klinikum/ü/".ljust(length - 1, "x")
    assert len(key.encode()) == length
    assert (receipts.write(ledger.open_drop(drop(key=key))) is not None) is written
    assert bool(client.named("put_object")) is written
