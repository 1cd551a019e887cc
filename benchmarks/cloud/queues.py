"""Queues as a function's event source sees them: messages are taken in batches, and are done or come again."""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

VISIBILITY_SECONDS = 60.0
Answer = dict[str, Any]


@dataclass
class Message:
    """One message. Moments are of the monotonic clock."""

    id: str
    body: str
    visible_at: float
    receives: int = 0


@dataclass
class Queue:
    """The messages that are not done, by id; `arrived` wakes whoever waits for one."""

    messages: dict[str, Message] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class Queues:
    """All queues by their names."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self._number = 0

    def operate(self, operation: str, request: Mapping[str, Any]) -> Answer:
        """Answer a request of the API; KeyError for one that is not known here."""
        name = request["QueueUrl"].rpartition("/")[2]
        if operation == "SendMessageBatch":
            return {"Successful": [self._send(name, each) for each in request["Entries"]]}
        if operation == "ChangeMessageVisibility":
            message = self._queue(name).messages.get(request["ReceiptHandle"])
            if message is not None:
                message.visible_at = time.monotonic() + request["VisibilityTimeout"]
            return {}
        raise KeyError(operation)

    def open(self) -> dict[str, int]:
        """Return how many messages of each queue are not done."""
        return {name: len(queue.messages) for name, queue in self._queues.items() if queue.messages}

    def send(self, name: str, bodies: Sequence[str]) -> None:
        """Send messages from outside."""
        for body in bodies:
            self._send(name, {"Id": "0", "MessageBody": body})

    async def take(self, name: str, most: int, wait_seconds: float) -> list[Answer]:
        """Hand out up to `most` visible messages, waiting for the first; empty when none came in time."""
        end = time.monotonic() + wait_seconds
        while not (visible := self._visible(name, most)):
            left = min(end - time.monotonic(), self._next_in(name))
            if time.monotonic() >= end:
                return []
            await self._wait(name, max(left, 0.001))
        return [_handed_out(message) for message in visible]

    def done(self, name: str, ids: Sequence[str]) -> None:
        """Forget messages whose work is done."""
        for each in ids:
            self._queue(name).messages.pop(each, None)

    def _queue(self, name: str) -> Queue:
        return self._queues.setdefault(name, Queue())

    def _send(self, name: str, entry: Mapping[str, Any]) -> Answer:
        self._number += 1
        queue, body, id_ = self._queue(name), entry["MessageBody"], f"message-{self._number:07d}"
        queue.messages[id_] = Message(id_, body, time.monotonic() + entry.get("DelaySeconds", 0))
        queue.arrived.set()
        digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        return {"Id": entry["Id"], "MessageId": id_, "MD5OfMessageBody": digest}

    def _visible(self, name: str, most: int) -> list[Message]:
        now, messages = time.monotonic(), self._queue(name).messages.values()
        return list(islice((message for message in messages if message.visible_at <= now), most))

    def _next_in(self, name: str) -> float:
        now = time.monotonic()
        return min((each.visible_at - now for each in self._queue(name).messages.values()), default=1.0)

    async def _wait(self, name: str, seconds: float) -> None:
        arrived = self._queue(name).arrived
        arrived.clear()
        try:
            await asyncio.wait_for(arrived.wait(), seconds)
        except TimeoutError:
            return


def _handed_out(message: Message) -> Answer:
    message.receives += 1
    message.visible_at = time.monotonic() + VISIBILITY_SECONDS
    return {"id": message.id, "body": message.body, "receives": message.receives}
