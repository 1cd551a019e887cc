"""Fires the template's schedules faster than they fire by themselves, with exactly what they would send."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_events import EventBridgeClient
from mypy_boto3_sqs import SQSClient

from sandbox.embedded import EmbeddedAws


@dataclass(frozen=True)
class Tick:
    """What one target of one schedule receives: this body in this queue."""

    rule: str
    queue_name: str
    body: str


def ticks(events: EventBridgeClient) -> Iterator[Tick]:
    """Everything that the deployed schedules send when they fire, switched on or not.

    All of them feed queues with a constant input; a schedule that does anything else is a KeyError or ValueError here.
    """
    for page in events.get_paginator("list_rules").paginate():
        for rule in page["Rules"]:
            if "ScheduleExpression" in rule:
                yield from _ticks_of(events, rule["Name"])


def _ticks_of(events: EventBridgeClient, rule: str) -> Iterator[Tick]:
    for target in events.list_targets_by_rule(Rule=rule)["Targets"]:
        service, _, queue_name = target["Arn"].removeprefix("arn:aws:").partition(":")
        if service != "sqs":
            raise ValueError(f"{rule} does not feed a queue: {target['Arn']}")
        yield Tick(rule, queue_name.rpartition(":")[2], target["Input"])


class Ticker:
    """A thread that fires every schedule each `seconds`, the first time at once, until it is stopped."""

    def __init__(self, aws: EmbeddedAws, seconds: float) -> None:
        session = aws.session()
        self._sqs: SQSClient = session.client("sqs", endpoint_url=aws.endpoint)
        self._ticks = tuple(ticks(session.client("events", endpoint_url=aws.endpoint)))
        self._queue_urls = {tick.queue_name: self._queue_url(tick.queue_name) for tick in self._ticks}
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> Self:
        """Begin; returns itself."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Fire no more; returns when a round that had begun is over."""
        self._stopped.set()
        self._thread.join()

    def fire(self) -> None:
        """One round: every schedule's message to its queue."""
        for tick in self._ticks:
            self._sqs.send_message(QueueUrl=self._queue_urls[tick.queue_name], MessageBody=tick.body)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _queue_url(self, name: str) -> str:
        return self._sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.fire()
            except (BotoCoreError, ClientError) as error:
                print(f"a round of schedules did not fire: {error}", file=sys.stderr, flush=True)
            self._stopped.wait(self._seconds)
