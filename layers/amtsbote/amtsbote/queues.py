"""SQS: requests between the verbs, and the one place where a failed request is given back to its queue."""

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel

from amtsbote.batches import in_batches, side_by_side
from amtsbote.errors import AmtsboteError, Retry
from amtsbote.observability import log, log_crash

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

Request = TypeVar("Request", bound=BaseModel)
BatchResponse = dict[str, list[dict[str, str]]]

ENTRIES_PER_CALL = 10
SENDERS = 8  # calls side by side
BACKOFF_FIRST_SECONDS = 5.0
BACKOFF_AT_MOST_SECONDS = 3600.0
VISIBILITY_AT_MOST_SECONDS = 11 * 3600  # SQS takes 12 hours, counted from when the request was received
JITTER = 0.2


@dataclass(frozen=True)
class Attempt:
    """Which try of a request this is (from 1), and whether it is the last that its queue grants."""

    number: int
    last: bool


class Queue:
    """One SQS queue."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def send_all(self, bodies: Iterable[Mapping[str, Any]], *, delay_seconds: int = 0) -> int:
        """Send the requests, ten a call, and return how many; Retry when the queue does not take all of them."""

        def send(some: Sequence[Mapping[str, Any]]) -> int:
            entries: Any = [
                {"Id": str(index), "MessageBody": json.dumps(body), "DelaySeconds": delay_seconds}
                for index, body in enumerate(some)
            ]
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            if answer.get("Failed"):
                raise Retry("QUEUE_NOT_TAKEN", f"the queue refused {len(answer['Failed'])} requests")
            return len(some)

        return sum(side_by_side(send, list(in_batches(bodies, ENTRIES_PER_CALL)), SENDERS))

    def hide(self, receipt_handle: str, seconds: float) -> None:
        """Let a received request come again after that time."""
        timeout = math.ceil(min(max(seconds, 0), VISIBILITY_AT_MOST_SECONDS))  # never before a portal asked for it
        self._client.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=timeout
        )


def backoff_seconds(attempt: int, *, asked: float | None = None, random_unit: float | None = None) -> float:
    """Return the pause before the next try: what the portal asked for, else doubling from 5 s to 1 h with jitter."""
    if asked is not None:
        return asked
    unit = random.random() if random_unit is None else random_unit  # noqa: S311 - jitter
    pause = min(BACKOFF_FIRST_SECONDS * 2.0 ** min(attempt - 1, 20), BACKOFF_AT_MOST_SECONDS)
    return pause * (1 + JITTER * (2 * unit - 1))


def each_record(
    records: Sequence[Mapping[str, Any]],
    model: type[Request],
    work: Callable[[Request, Attempt], object],
    *,
    queue: Queue,
    tries: int,
    workers: int = 1,
) -> BatchResponse:
    """Do the work of each record of an SQS event; return those that must come again, in the partial batch shape.

    A Retry brings its request back after its pause. Anything else that escapes `work` is a defect: it is logged without
    its text and comes again after the queue's visibility timeout, at last as a dead letter.
    """

    def failed(record: Mapping[str, Any]) -> str | None:
        try:
            request = model.model_validate_json(record["body"])
            work(request, _attempt(record, tries))
        except Retry as retry:
            _come_again(queue, record, retry)
        except Exception as error:  # the one top boundary: a record must not take the others with it
            log_crash(error)
        else:
            return None
        return str(record["messageId"])

    failures = [identifier for identifier in side_by_side(failed, records, workers) if identifier]
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failures]}


def _attempt(record: Mapping[str, Any], tries: int) -> Attempt:
    number = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1"))
    return Attempt(number, last=number >= tries)


def _come_again(queue: Queue, record: Mapping[str, Any], retry: Retry) -> None:
    number = _attempt(record, 1).number
    pause = backoff_seconds(number, asked=retry.after_seconds)
    log.info("deferred", extra={"code": retry.code, "error": retry.message, "attempt": number, "pause_seconds": pause})
    try:
        queue.hide(record["receiptHandle"], pause)
    except (ClientError, BotoCoreError) as error:  # it then comes again after the visibility timeout, only later
        log_crash(error)


def describe(error: AmtsboteError) -> dict[str, str]:
    """Return what a log line may say of an error: our code and our words, never the portal's."""
    return {"code": error.code, "error": error.message}
