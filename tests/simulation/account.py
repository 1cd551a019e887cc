"""The AWS account of a simulated run: the stand-ins, with an index that lags and batches left unfinished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.simulation.chance import Chance
from tests.simulation.cloud.dynamodb import InMemoryDynamoDb
from tests.simulation.cloud.events import InMemoryEventBridge
from tests.simulation.cloud.kms import InMemoryKms
from tests.simulation.cloud.s3 import InMemoryS3
from tests.simulation.cloud.secretsmanager import InMemorySecretsManager
from tests.simulation.cloud.sqs import InMemorySqs, record_of

INBOX, OUTBOX, LEDGER, BUS = "inbox", "outbox", "ledger", "amtsbote"
DEAD_LETTERS = "dead-letters"
VAULT_KEY = "vault"
INDEX_LAG_SECONDS = 3.0
UNPROCESSED = 0.05


class Account:
    """All of AWS that the package uses. `is_calm` says that the time of faults is over."""

    def __init__(self, clock: Callable[[], datetime], chance: Chance, is_calm: Callable[[], bool]) -> None:
        self._chance = chance
        self._is_calm = is_calm
        self.s3 = InMemoryS3(clock, [INBOX, OUTBOX])
        self.dynamodb = InMemoryDynamoDb(clock, LEDGER, lag=self._lag, unprocessed=self._unprocessed)
        self.sqs = InMemorySqs(clock, order=chance.shuffle)
        self.secretsmanager = InMemorySecretsManager(clock)
        self.events = InMemoryEventBridge(clock, BUS)
        self.kms = InMemoryKms(clock, [VAULT_KEY])
        self.sqs.add_queue(DEAD_LETTERS)
        self._clock = clock
        self._sent = 0

    def service(self, name: str) -> Any:
        """Return the stand-in for a boto3 client."""
        return getattr(self, name)

    def add_queue(self, name: str, visibility_seconds: float, max_receives: int) -> None:
        """Make the queue of a function."""
        self.sqs.add_queue(
            name, visibility_seconds=visibility_seconds, max_receives=max_receives, dead_letters=DEAD_LETTERS
        )

    def send(self, queue: str, body: str) -> None:
        """Put a message into a queue."""
        self._sent += 1
        self.sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": str(self._sent), "MessageBody": body}])

    def has_visible(self, queue: str) -> bool:
        """Return whether a queue has a message to hand out."""
        messages = self.sqs.messages(queue)
        return bool(messages) and min(message.visible_at for message in messages) <= self._clock()

    def next_visible_at(self) -> datetime | None:
        """Return when the next message can be received, None when there is none."""
        return self.sqs.next_visible_at

    def receive(self, queue: str, limit: int) -> list[Mapping[str, Any]]:
        """Hand out up to so many messages as the records of a Lambda event."""
        answer = self.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=limit, MessageSystemAttributeNames=["ApproximateReceiveCount"]
        )
        return [record_of(message) for message in answer.get("Messages", [])]

    def delete(self, queue: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Delete what was worked on."""
        for record in records:
            self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=record["receiptHandle"])

    def _lag(self) -> float:
        return 0.0 if self._is_calm() else self._chance.between(0, INDEX_LAG_SECONDS)

    def _unprocessed(self, count: int) -> int:
        """Leave some of the keys out; all of them would be a throttle, which is the boundary's to draw."""
        return 0 if self._is_calm() or not self._chance.happens(UNPROCESSED) else self._chance.number(0, count - 1)
