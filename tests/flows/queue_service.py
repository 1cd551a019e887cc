"""SQS on simulated time: what the package calls of it, with visibility timeouts that follow a given clock."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

VISIBILITY_TIMEOUT = timedelta(minutes=10)


@dataclass
class Stored:
    """One message in a queue."""

    id: str
    body: str
    visible_at: datetime
    receives: int = 0


@dataclass
class QueueService:
    """A stand-in for the SQS client; queues come into being when they are first used."""

    clock: Callable[[], datetime]
    max_receives: int = 1000
    queues: dict[str, list[Stored]] = field(default_factory=dict)
    dead_letters: list[Stored] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    """Every message that was ever sent: (queue, body)."""

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Take messages into a queue."""
        for entry in Entries:
            self.sent.append((QueueUrl, entry["MessageBody"]))
            visible_at = self.clock() + timedelta(seconds=entry.get("DelaySeconds", 0))
            self.queue(QueueUrl).append(Stored(str(uuid.uuid4()), entry["MessageBody"], visible_at))
        return {"Successful": Entries}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        """Let a received message come again at another time."""
        for message in self.queue(QueueUrl):
            if message.id == ReceiptHandle:
                message.visible_at = self.clock() + timedelta(seconds=VisibilityTimeout)

    def queue(self, url: str) -> list[Stored]:
        """Return the messages of a queue."""
        return self.queues.setdefault(url, [])

    def lose(self, url: str) -> int:
        """Lose all messages of a queue, and return how many there were."""
        lost = self.queues.pop(url, [])
        return len(lost)

    def receive(self, url: str, limit: int) -> list[dict[str, Any]]:
        """Return up to `limit` visible messages as the records of a Lambda event, and hide them for a while."""
        visible = [message for message in self.queue(url) if message.visible_at <= self.clock()][:limit]
        for message in list(visible):
            message.receives += 1
            message.visible_at = self.clock() + VISIBILITY_TIMEOUT
            if message.receives > self.max_receives:
                self.queue(url).remove(message)
                self.dead_letters.append(message)
                visible.remove(message)
        return [_record(message) for message in visible]

    def delete(self, url: str, ids: set[str]) -> None:
        """Delete messages, as Lambda does with those that were worked on."""
        self.queues[url] = [message for message in self.queue(url) if message.id not in ids]


def _record(message: Stored) -> dict[str, Any]:
    return {
        "messageId": message.id,
        "receiptHandle": message.id,
        "body": message.body,
        "attributes": {"ApproximateReceiveCount": str(message.receives)},
    }
