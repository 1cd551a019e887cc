"""Queues: ten requests a call, how long a failed one waits, and that one bad record never takes the others with it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from amtsbote.errors import LeaseLost, Reject, Retry
from amtsbote.messages import FetchRequest
from amtsbote.queues import (
    VISIBILITY_AT_MOST_SECONDS,
    Attempt,
    BatchResponse,
    Queue,
    backoff_seconds,
    describe,
    each_record,
)
from tests.unit.support import Logged, refusal

CANARY = "Aktenzeichen-4711-geheim"
SQS_LIMIT_SECONDS = 12 * 3600


class Sqs:
    """An SQS that remembers what it is told."""

    def __init__(self, *, refused: int = 0, error: Exception | None = None) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.hidden: dict[str, int] = {}
        self._refused = refused
        self._error = error

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == "https://sqs/fetch"
        self.batches.append(Entries)
        return {"Successful": [], "Failed": [{}] * self._refused} if self._refused else {"Successful": []}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        assert QueueUrl == "https://sqs/fetch"
        if self._error:
            raise self._error
        self.hidden[ReceiptHandle] = VisibilityTimeout


def queue_on(sqs: Any) -> Queue:
    return Queue(sqs, "https://sqs/fetch")


def record(id_: str, *, received: int = 1, body: str | None = None) -> dict[str, Any]:
    content = json.dumps({"portal": "duba", "connection": "klinikum", "id": id_}) if body is None else body
    return {
        "messageId": f"message-{id_}",
        "receiptHandle": f"handle-{id_}",
        "body": content,
        "attributes": {"ApproximateReceiveCount": str(received)},
    }


def work_off(records: list[dict[str, Any]], work: Any, sqs: Any, *, tries: int = 12, workers: int = 1) -> BatchResponse:
    return each_record(records, FetchRequest, work, queue=queue_on(sqs), tries=tries, workers=workers)


def come_again(answer: BatchResponse) -> list[str]:
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def failing(errors: Mapping[str, Exception]) -> Any:
    def work(request: FetchRequest, _: Attempt) -> None:
        if request.id in errors:
            raise errors[request.id]

    return work


# --- sending ---


def test_requests_are_sent_ten_a_call() -> None:
    sqs = Sqs()
    assert queue_on(sqs).send_all({"id": number} for number in range(25)) == 25
    batches = sorted([json.loads(entry["MessageBody"])["id"] for entry in batch] for batch in sqs.batches)
    assert batches == [list(range(10)), list(range(10, 20)), list(range(20, 25))]  # sent side by side, in any order
    assert all(len({entry["Id"] for entry in batch}) == len(batch) for batch in sqs.batches)


def test_nothing_to_send_needs_no_call() -> None:
    sqs = Sqs()
    assert queue_on(sqs).send_all([]) == 0
    assert sqs.batches == []


@pytest.mark.parametrize(("asked", "delays"), [({}, [0, 0]), ({"delay_seconds": 900}, [900, 900])])
def test_requests_are_delayed_as_asked(asked: dict[str, int], delays: list[int]) -> None:
    sqs = Sqs()
    queue_on(sqs).send_all([{}, {}], **asked)
    assert [entry["DelaySeconds"] for entry in sqs.batches[0]] == delays


def test_requests_that_the_queue_refuses_are_a_retry() -> None:
    with pytest.raises(Retry, match="QUEUE_NOT_TAKEN: the queue refused 3 requests"):
        queue_on(Sqs(refused=3)).send_all([{}] * 5)


# --- waiting ---


@pytest.mark.parametrize(
    ("asked", "seconds"), [(0.0, 0), (-5.0, 0), (7.1, 8), (1e12, VISIBILITY_AT_MOST_SECONDS), (float("inf"), 39600)]
)
def test_a_request_is_hidden_within_what_sqs_takes(asked: float, seconds: int) -> None:
    sqs = Sqs()
    queue_on(sqs).hide("handle", asked)
    assert sqs.hidden == {"handle": seconds}


def test_the_longest_pause_leaves_room_for_the_time_since_the_request_was_received() -> None:
    assert VISIBILITY_AT_MOST_SECONDS + 900 < SQS_LIMIT_SECONDS


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_pause_is_between_4_seconds_and_72_minutes(attempt: int, unit: float) -> None:
    assert 4 <= backoff_seconds(attempt, random_unit=unit) <= 4320


@given(st.integers(1, 10_000))
def test_by_itself_the_pause_varies_by_a_fifth(attempt: int) -> None:
    middle = backoff_seconds(attempt, random_unit=0.5)
    assert 0.8 * middle <= backoff_seconds(attempt) <= 1.2 * middle


def test_the_pause_doubles_from_5_seconds_to_an_hour() -> None:
    pauses = [backoff_seconds(attempt, random_unit=0.5) for attempt in range(1, 13)]
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


def test_jitter_reaches_from_a_fifth_less_to_a_fifth_more() -> None:
    assert (backoff_seconds(1, random_unit=0.0), backoff_seconds(1, random_unit=1.0)) == (4, 6)


@given(st.integers(1, 100), st.floats(0, 1e6))
def test_what_the_portal_asked_for_is_what_is_waited(attempt: int, asked: float) -> None:
    assert backoff_seconds(attempt, asked=asked) == asked


# --- working off ---


def test_what_is_done_does_not_come_again() -> None:
    done: list[str] = []
    answer = work_off([record("a"), record("b")], lambda request, _: done.append(request.id), Sqs())
    assert (done, come_again(answer)) == (["a", "b"], [])


def test_a_retry_comes_back_after_what_the_portal_asked_for() -> None:
    sqs = Sqs()
    answer = work_off([record("a")], failing({"a": Retry("X", "x", after_seconds=77)}), sqs)
    assert (come_again(answer), sqs.hidden) == (["message-a"], {"handle-a": 77})


def test_a_retry_without_a_wish_waits_longer_at_each_try() -> None:
    sqs = Sqs()
    work_off([record("a", received=1), record("b", received=5)], failing({"a": LeaseLost(), "b": LeaseLost()}), sqs)
    assert 4 <= sqs.hidden["handle-a"] <= 6
    assert 64 <= sqs.hidden["handle-b"] <= 96


@pytest.mark.parametrize("error", [refusal("AccessDenied"), EndpointConnectionError(endpoint_url="https://sqs")])
def test_a_request_that_cannot_be_hidden_comes_again_all_the_same(error: Exception) -> None:
    answer = work_off([record("a"), record("b")], failing({"a": Retry("X", "x")}), Sqs(error=error))
    assert come_again(answer) == ["message-a"]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("error", [RuntimeError(CANARY), refusal("AccessDenied"), Reject("X", "x"), KeyError(CANARY)])
def test_a_crash_takes_no_other_record_with_it(error: Exception, workers: int) -> None:
    sqs = Sqs()
    done: list[str] = []

    def work(request: FetchRequest, _: Attempt) -> None:
        if request.id == "b":
            raise error
        done.append(request.id)

    answer = work_off([record("a"), record("b"), record("c")], work, sqs, workers=workers)
    assert (come_again(answer), sorted(done), sqs.hidden) == (["message-b"], ["a", "c"], {})


def test_an_unreadable_record_takes_no_other_with_it() -> None:
    done: list[str] = []
    bad = [record("b", body="no JSON"), record("c", body="{}"), {"messageId": "message-d", "receiptHandle": "d"}]
    answer = work_off([record("a"), *bad], lambda request, _: done.append(request.id), Sqs())
    assert (come_again(answer), done) == (["message-b", "message-c", "message-d"], ["a"])


def test_a_crash_is_logged_by_type_and_place_and_never_by_its_text(logged: Logged) -> None:
    work_off([record(CANARY, body=f'{{"{CANARY}'), record("a")], failing({"a": RuntimeError(CANARY)}), Sqs())
    said = logged()
    assert "RuntimeError" in said
    assert "test_queues.py" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    ("received", "attempt"), [(1, Attempt(1, False)), (2, Attempt(2, False)), (3, Attempt(3, True))]
)
def test_work_is_told_which_try_it_is_and_whether_it_is_the_last(received: int, attempt: Attempt) -> None:
    seen: list[Attempt] = []
    work_off([record("a", received=received)], lambda _, which: seen.append(which), Sqs(), tries=3)
    assert seen == [attempt]


def test_a_record_without_a_count_is_a_first_try() -> None:
    seen: list[Attempt] = []
    work_off([record("a") | {"attributes": {}}], lambda _, which: seen.append(which), Sqs())
    assert seen == [Attempt(1, last=False)]


def test_an_error_is_described_by_our_words_alone() -> None:
    assert describe(Reject("X", "ours", portal_words=CANARY)) == {"code": "X", "error": "ours"}
