"""A receipt is a function of its row: the contract's fields, all of them, and nothing of the ledger's bookkeeping."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from amtsbote.deliveries import DropRow, DropState
from amtsbote.keys import KEY_BYTES
from amtsbote.lifecycle import Due, Work
from amtsbote.portals.protocols import SHOWN
from amtsbote.receipts import Receipts, receipt_of, status_of
from amtsbote.storage import json_text
from tests.properties.strategies import DROPS, JSON_VALUES, MOMENTS, START

FIELDS = ["schema", "outboxKey", "versionId", "status", "portalId", "updatedAt", "history", "result", "error"]
WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
LONGEST_OUTBOX_KEY = KEY_BYTES - len("receipts/") - len(".json")
STATUS = {DropState.DELIVERED: "DELIVERED", DropState.FAILED: "FAILED"}
AS_KEPT = TypeAdapter(DropRow)


@given(DROPS)
def test_the_receipt_of_a_row_that_was_kept_is_that_of_the_row(row: DropRow) -> None:
    kept = AS_KEPT.validate_python(json.loads(AS_KEPT.dump_json(row)))
    assert receipt_of(kept) == receipt_of(row)


@given(DROPS, st.integers(1, 99), MOMENTS.map(lambda at: Due(Work.TRACK, at)))
def test_the_ledgers_bookkeeping_does_not_show(row: DropRow, number: int, due: Due) -> None:
    other = replace(row, version=number, fence=number, attempts=number, sequence=str(number), due=due)
    assert receipt_of(replace(other, lease_until=START)) == receipt_of(row)


@given(DROPS)
def test_no_field_of_the_contract_is_missing(row: DropRow) -> None:
    receipt = receipt_of(row)
    assert list(receipt) == FIELDS
    assert (receipt["schema"], receipt["outboxKey"], receipt["versionId"]) == (
        "amtsbote.receipt/1",
        row.key,
        row.version_id,
    )
    assert all(set(step) == {"at", "state"} for step in receipt["history"])
    assert isinstance(receipt["result"], dict)


@given(DROPS)
def test_the_history_goes_with_time_and_says_nothing_twice_in_a_row(row: DropRow) -> None:
    history = receipt_of(row)["history"]
    assert [step["at"] for step in history] == sorted(step["at"] for step in history)
    assert all(one["state"] != other["state"] for one, other in pairwise(history))
    assert receipt_of(row)["updatedAt"] >= history[-1]["at"]


@given(DROPS)
def test_what_an_adapter_shows_is_in_the_receipt_while_it_sends_and_no_longer(row: DropRow) -> None:
    receipt, shown = receipt_of(row), json.loads(row.journal).get(SHOWN)
    assert receipt["result"] == json.loads(row.result) | (shown["result"] if shown else {})
    assert shown is None or row.state is DropState.SENDING
    assert shown or receipt["updatedAt"] == receipt["history"][-1]["at"]


@given(DROPS)
def test_every_state_that_was_reached_is_told_and_no_other(row: DropRow) -> None:
    told = {step["state"] for step in receipt_of(row)["history"]}
    assert told == {past.state for past in (*row.history, *row.steps)}


@given(DROPS)
def test_the_status_is_that_of_the_state(row: DropRow) -> None:
    assert receipt_of(row)["status"] == status_of(row) == STATUS.get(row.state, "IN_PROGRESS")


@given(DROPS)
def test_an_error_stands_in_the_receipt_of_a_failure_and_only_there(row: DropRow) -> None:
    error = receipt_of(row)["error"]
    assert (error is None) is (row.failure is None)
    assert row.failure is None or row.state in (DropState.FAILED, DropState.ERASING, DropState.ERASED)
    assert error is None or (set(error) == {"code", "message", "retryable"} and error["code"])


@given(DROPS, st.dictionaries(st.text(), JSON_VALUES, max_size=3))
def test_a_receipt_as_it_lies_in_the_bucket_is_the_receipt(row: DropRow, result: dict[str, Any]) -> None:
    receipt = receipt_of(replace(row, result=json.dumps(result)))
    assert json.loads(json_text(receipt), parse_constant=pytest.fail) == receipt


@given(DROPS)
def test_moments_are_written_as_the_contract_shows_them(row: DropRow) -> None:
    for step in receipt_of(row)["history"]:
        assert WRITTEN.fullmatch(step["at"])


# --- where it lies ---


class Looked(Exception):
    """The bucket was asked for the receipt."""


class Bucket:
    """A bucket of which only matters whether it is asked."""

    def get_object(self, **_: object) -> None:
        """Say so."""
        raise Looked


def is_looked_for(key: str) -> bool:
    """Return whether the receipt of a drop with this key is looked for; it never is where it cannot lie."""
    nobody: Any = None
    bucket: Any = Bucket()
    row = DropRow("outbox", key, "v1", DropState.RECEIVED, "01", START)
    try:
        return Receipts(bucket, "inbox", nobody).write(row) is not None
    except Looked:
        return True


@given(st.text(max_size=4), st.text("aä漢🙂/", min_size=1, max_size=20), st.integers(1, 400))
@example("", "a", LONGEST_OUTBOX_KEY)
@example("", "a", LONGEST_OUTBOX_KEY + 1)
def test_a_receipt_is_written_where_its_key_is_one_that_s3_takes(start: str, piece: str, times: int) -> None:
    key = start + piece * times
    assume(len(key.encode()) <= 4 * KEY_BYTES)
    assert is_looked_for(key) is (len(key.encode()) <= LONGEST_OUTBOX_KEY)
