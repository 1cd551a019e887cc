"""SQS in memory: standard queues with visibility timeouts, receive counts and dead letters, on a given clock."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.cloud.client import Answer, Client, Clock
from tests.simulation.cloud.errors import Exceptions, refused

MOST_ENTRIES = 10
MOST_DELAY_SECONDS = 900
MOST_VISIBILITY_SECONDS = 12 * 3600
MOST_BYTES = 1024 * 1024  # of all messages of a call together
DEFAULT_VISIBILITY_SECONDS = 30.0
ENTRY_FIELDS = {"Id", "MessageBody", "DelaySeconds"}
PREFIX = "AWS.SimpleQueueService."  # of the codes that come from the days of SQS's query protocol
RECEIPT_HANDLE = "ReceiptHandleIsInvalid"
INVALID = "InvalidParameterValue"
CODES = ("ReceiptHandleIsInvalid",)


@dataclass(eq=False)
class Message:
    """One message in a queue. Moments are in UTC; `receipt_handle` is that of the latest receive."""

    id: str
    body: str
    sent_at: datetime
    visible_at: datetime
    receives: int = 0
    received_at: datetime | None = None
    first_received_at: datetime | None = None
    receipt_handle: str = ""


@dataclass
class Queue:
    """A queue and its settings: `max_receives` times a message is handed out, then it goes to `dead_letters`."""

    url: str
    visibility_seconds: float = DEFAULT_VISIBILITY_SECONDS
    max_receives: int | None = None
    dead_letters: "Queue | None" = None
    messages: list[Message] = field(default_factory=list)


Order = Callable[[list[Message]], object]


class InMemorySqs(Client):
    """A stand-in for the SQS client; its queues are made by `add_queue`.

    `order` may put the visible messages of a receive into another order, in place (a seeded `shuffle`), for a standard
    queue promises none; without it they come in the order of sending.
    """

    exceptions = Exceptions(*CODES)

    def __init__(self, clock: Clock, *, order: Order | None = None) -> None:
        super().__init__(clock)
        self._order = order
        self._queues: dict[str, Queue] = {}
        self._handles: dict[str, Message] = {}

    # --- what the simulation does and looks at ---

    def add_queue(
        self,
        url: str,
        *,
        visibility_seconds: float = DEFAULT_VISIBILITY_SECONDS,
        max_receives: int | None = None,
        dead_letters: str | None = None,
    ) -> Queue:
        """Make a queue. `dead_letters` is the URL of the queue for what was handed out `max_receives` times."""
        letters = None if dead_letters is None else self._queues[dead_letters]
        if (max_receives is None) != (letters is None):
            raise ValueError("max_receives and dead_letters belong together")
        self._queues[url] = queue = Queue(url, visibility_seconds, max_receives, letters)
        return queue

    def messages(self, url: str) -> Sequence[Message]:
        """Return the messages of a queue: visible, delayed and in flight; to read and not to change."""
        return self._queues[url].messages

    @property
    def dead_letters(self) -> Sequence[Message]:
        """What lies in the dead-letter queues."""
        letters = {id(queue.dead_letters): queue.dead_letters for queue in self._queues.values() if queue.dead_letters}
        return [message for queue in letters.values() for message in queue.messages]

    @property
    def next_visible_at(self) -> datetime | None:
        """The moment at which the next message can be received, dead letters apart; None when there is none."""
        letters = {id(queue.dead_letters) for queue in self._queues.values()}
        moments = [
            each.visible_at for queue in self._queues.values() if id(queue) not in letters for each in queue.messages
        ]
        return min(moments, default=None)

    # --- sending ---

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> Answer:
        """Take up to ten messages; those with an impossible delay are `Failed`."""
        queue = self._queue("SendMessageBatch", QueueUrl)
        _check_entries(Entries)
        good = [entry for entry in Entries if _is_delay(entry.get("DelaySeconds", 0))]
        sent = [self._sent(queue, entry) for entry in good]
        failed = [_failure(entry) for entry in Entries if entry not in good]
        return ({"Successful": sent} if sent else {}) | ({"Failed": failed} if failed else {})

    def _sent(self, queue: Queue, entry: Mapping[str, Any]) -> Answer:
        now, body = self.clock(), entry["MessageBody"]
        message_id = f"message-{self._next_number():06d}"
        visible_at = now + timedelta(seconds=entry.get("DelaySeconds", 0))
        queue.messages.append(Message(message_id, body, now, visible_at))
        return {"Id": entry["Id"], "MessageId": message_id, "MD5OfMessageBody": _md5(body)}

    # --- receiving ---

    def receive_message(
        self, *, QueueUrl: str, MaxNumberOfMessages: int = 1, MessageSystemAttributeNames: Sequence[str] = ()
    ) -> Answer:
        """Hand out visible messages and hide them; what was handed out often enough becomes a dead letter instead."""
        queue = self._queue("ReceiveMessage", QueueUrl)
        if not 1 <= MaxNumberOfMessages <= MOST_ENTRIES:
            raise refused("ReceiveMessage", INVALID, "MaxNumberOfMessages must be between 1 and 10")
        received = [self._received(queue, message) for message in self._visible(queue)[:MaxNumberOfMessages]]
        messages = [_answered(message, MessageSystemAttributeNames) for message in received]
        return {"Messages": messages} if messages else {}

    def _visible(self, queue: Queue) -> list[Message]:
        """Return the messages that can be handed out now, after the exhausted ones have been set aside."""
        now = self.clock()
        visible = [message for message in queue.messages if message.visible_at <= now]
        if queue.dead_letters is not None and queue.max_receives is not None:
            for message in [each for each in visible if each.receives >= queue.max_receives]:
                visible.remove(message)
                queue.messages.remove(message)
                queue.dead_letters.messages.append(message)
        if self._order is not None:
            self._order(visible)
        return visible

    def _received(self, queue: Queue, message: Message) -> Message:
        now = self.clock()
        message.receives += 1
        message.received_at = now
        message.first_received_at = message.first_received_at or now
        message.visible_at = now + timedelta(seconds=queue.visibility_seconds)
        message.receipt_handle = f"{message.id}-receipt-{self._next_number():06d}"
        self._handles[message.receipt_handle] = message
        return message

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> Answer:
        """Delete a message. One that is gone is no error, and the handle of an earlier receive has no effect."""
        queue, message = self._queue("DeleteMessage", QueueUrl), self._message("DeleteMessage", ReceiptHandle)
        if message in queue.messages and message.receipt_handle == ReceiptHandle:
            queue.messages.remove(message)
        return {}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> Answer:
        """Let a received message come again that many seconds from now; at most 12 hours after it was received."""
        operation = "ChangeMessageVisibility"
        queue, message = self._queue(operation, QueueUrl), self._message(operation, ReceiptHandle)
        now = self.clock()
        if not 0 <= VisibilityTimeout <= MOST_VISIBILITY_SECONDS:
            raise refused(operation, INVALID, "VisibilityTimeout must be between 0 and 43200")
        if message not in queue.messages or message.receipt_handle != ReceiptHandle:
            raise refused(
                operation, INVALID, "Message does not exist or is not available for visibility timeout change"
            )
        if message.visible_at <= now:
            raise refused(operation, f"{PREFIX}MessageNotInflight", "The message is not in flight")
        visible_at, latest = now + timedelta(seconds=VisibilityTimeout), timedelta(seconds=MOST_VISIBILITY_SECONDS)
        if message.received_at is not None and visible_at > message.received_at + latest:
            raise refused(operation, INVALID, "Total VisibilityTimeout for the message is beyond the limit")
        message.visible_at = visible_at
        return {}

    def purge_queue(self, *, QueueUrl: str) -> Answer:
        """Lose all messages of a queue."""
        self._queue("PurgeQueue", QueueUrl).messages.clear()
        return {}

    def _queue(self, operation: str, url: str) -> Queue:
        queue = self._queues.get(url)
        if queue is None:
            raise refused(operation, f"{PREFIX}NonExistentQueue", "The specified queue does not exist.")
        return queue

    def _message(self, operation: str, receipt_handle: str) -> Message:
        message = self._handles.get(receipt_handle)
        if message is None:
            raise refused(operation, RECEIPT_HANDLE, "The input receipt handle is invalid.")
        return message


def record_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a received message as a record of the Lambda event that it would be part of."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
    }


def _check_entries(entries: Sequence[Mapping[str, Any]]) -> None:
    operation = "SendMessageBatch"
    if unknown := {name for entry in entries for name in entry} - ENTRY_FIELDS:
        raise NotImplementedError(f"an entry with {sorted(unknown)}")
    if not entries:
        raise refused(operation, f"{PREFIX}EmptyBatchRequest")
    if len(entries) > MOST_ENTRIES:
        raise refused(operation, f"{PREFIX}TooManyEntriesInBatchRequest")
    if len({entry["Id"] for entry in entries}) < len(entries):
        raise refused(operation, f"{PREFIX}BatchEntryIdsNotDistinct")
    if sum(len(entry["MessageBody"].encode()) for entry in entries) > MOST_BYTES:
        raise refused(operation, f"{PREFIX}BatchRequestTooLong")


def _is_delay(seconds: int) -> bool:
    return 0 <= seconds <= MOST_DELAY_SECONDS


def _failure(entry: Mapping[str, Any]) -> Answer:
    return {"Id": entry["Id"], "SenderFault": True, "Code": INVALID, "Message": "DelaySeconds is out of range"}


def _answered(message: Message, names: Sequence[str]) -> Answer:
    attributes = _attributes(message)
    unknown = set(names) - attributes.keys() - {"All"}
    if unknown:
        raise NotImplementedError(f"the attributes {sorted(unknown)}")
    chosen = {name: value for name, value in attributes.items() if name in names or "All" in names}
    answer = {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt_handle,
        "Body": message.body,
        "MD5OfBody": _md5(message.body),
    }
    return answer | ({"Attributes": chosen} if chosen else {})


def _attributes(message: Message) -> dict[str, str]:
    return {
        "ApproximateReceiveCount": str(message.receives),
        "SentTimestamp": _milliseconds(message.sent_at),
        "ApproximateFirstReceiveTimestamp": _milliseconds(message.first_received_at or message.sent_at),
    }


def _milliseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))


def _md5(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
