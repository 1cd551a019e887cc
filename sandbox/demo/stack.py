"""The deployed stack as the demo uses it: drops objects, hears the bus, repeats an event, looks into the queues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.demo.large import NoiseFile, Transfer
from sandbox.demo.observation import (
    InboxReader,
    Judged,
    Observation,
    Published,
    Searched,
    StoredObject,
    UploadReader,
    magic_links,
    moves_at_altinn,
    refunds_made,
    statuses_set,
    told_to_altinn,
    told_to_digitale_gemeinde,
    told_to_docxworld,
    told_to_duba,
    uploads_to_altinn,
    uploads_to_digitale_gemeinde,
)
from sandbox.demo.scenario import ExpectedDrop
from sandbox.deployment import STACK_NAME, StackOutputs
from sandbox.embedded import EmbeddedAws
from sandbox.portals.catalog import Portals, connect

TICK_SECONDS = 2.0
TICK_AT_MOST_SECONDS = 6.0
LISTENER = "demo-listener"
TASK_VERBS = ("Dispatch", "Poll", "Acknowledge", "Track")
DELIVER_QUEUES = {
    "docxworld": "DeliverDocxworldQueue",
    "digitale-gemeinde": "DeliverDigitaleGemeindeQueue",
    "altinn": "DeliverAltinnQueue",
}
ENDED = ("DELIVERED", "FAILED")
FROM_S3, FROM_US = "aws.s3", "amtsbote"
MESSAGES_AT_ONCE = 10
COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


@dataclass(frozen=True)
class Clients:
    """The AWS clients of the demo, with the administrator's keys."""

    s3: Any
    sqs: Any
    events: Any
    cloudformation: Any
    secretsmanager: Any

    @classmethod
    def of(cls, aws: EmbeddedAws) -> Clients:
        """Clients of this AWS."""
        client: Callable[..., Any] = aws.session().client  # its overloads take only literal names
        names = ("s3", "sqs", "events", "cloudformation", "secretsmanager")
        return cls(*(client(name, endpoint_url=aws.endpoint) for name in names))


def _not_closely(_: Mapping[str, StoredObject]) -> tuple[Searched, Judged]:
    return Searched(), Judged()


class DemoStack:
    """The stack with a queue of our own that hears its bus and what S3 says of the outbox."""

    def __init__(
        self,
        clients: Clients,
        outputs: StackOutputs,
        portals: Portals,
        fire_schedules: Callable[[], object],
        tick_at_most_seconds: float = TICK_AT_MOST_SECONDS,
        transfers: Callable[[], Mapping[str, Transfer]] = dict,
        look_closely: Callable[[Mapping[str, StoredObject]], tuple[Searched, Judged]] = _not_closely,
    ) -> None:
        self._clients = clients
        self._fire_schedules = fire_schedules
        self._tick_at_most_seconds = tick_at_most_seconds
        self._transfers = transfers
        self._look_closely = look_closely
        self._fired_at = 0.0
        self._outputs = outputs
        self._portals = portals
        self._inbox = InboxReader(clients.s3, outputs.inbox_bucket)
        self._uploads = UploadReader(portals.docxworld)
        self._events: list[Published] = []
        self._repeat: set[str] = set()
        self._held: dict[str, str] = {}
        self._queues = self._own_queues()
        self._task_queues = [url for url in self._queues if any(verb in _name(url) for verb in TASK_VERBS)]
        self._listener = self._listen()
        self._deliver_queues = {portal: self._resource(name) for portal, name in DELIVER_QUEUES.items()}

    def connect(self) -> None:
        """Create the connections' secrets."""
        connect(self._portals, self._clients.secretsmanager)

    def drop(self, expected: ExpectedDrop) -> ExpectedDrop:
        """Put the object into the outbox; returns the drop with its version."""
        if expected.event_twice:
            self._repeat.add(expected.key)
        answer = self._clients.s3.put_object(
            Bucket=self._outputs.outbox_bucket,
            Key=expected.key,
            Body=expected.content if expected.generated is None else NoiseFile(expected.generated),
            Metadata=dict(expected.metadata),
        )
        return replace(expected, version_id=answer["VersionId"])

    def tick(self) -> None:
        """Fire every schedule, if its time has come and the functions have taken up what the last round asked for."""
        waited = time.monotonic() - self._fired_at
        if waited > self._tick_at_most_seconds or (waited > TICK_SECONDS and not self._backlog()):
            self._fire_schedules()
            self._fired_at = time.monotonic()

    def observe(self, *, anew: bool = False) -> Observation:
        """Look at everything. `anew` reads every object, log and message, and counts what is left in the queues."""
        if anew:
            self._inbox.forget()
        self._hear()
        municipality, altinn = self._portals.digitale_gemeinde, self._portals.altinn
        inbox = self._inbox.read()
        searched, judged = (self._look_closely if anew else _not_closely)(inbox)
        return Observation(
            inbox=inbox,
            told=[
                *told_to_duba(self._portals.duba),
                *told_to_docxworld(self._portals.docxworld),
                *told_to_digitale_gemeinde(municipality),
                *told_to_altinn(altinn),
            ],
            uploads=[
                *self._uploads.read(),
                *uploads_to_digitale_gemeinde(municipality),
                *uploads_to_altinn(altinn),
            ],
            statuses=(*statuses_set(municipality), *moves_at_altinn(altinn)),
            refunds=refunds_made(municipality),
            links=magic_links(self._portals.duba),
            events=tuple(self._events),
            dead_letters=self._count(self._outputs.dead_letter_queue_url),
            left_in_queues=self.left_in_queues() if anew else {},
            transfers=self._transfers(),
            searched=searched,
            judged=judged,
        )

    def left_in_queues(self) -> dict[str, int]:
        """How many messages each of the stack's working queues has, received ones included."""
        return {_name(url): self._count(url) for url in self._queues}

    def _backlog(self) -> bool:
        """Whether a function has not yet taken up a task that a schedule has set off."""
        return any(self._count(url, COUNTS[:1]) for url in self._task_queues)

    def _count(self, url: str, counts: Sequence[str] = COUNTS) -> int:
        answer = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(counts))
        return sum(int(answer["Attributes"].get(name, 0)) for name in counts)

    def _resource(self, logical_id: str) -> str:
        """The physical id of a resource of the stack."""
        answer = self._clients.cloudformation.describe_stack_resource(
            StackName=STACK_NAME, LogicalResourceId=logical_id
        )
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    def _own_queues(self) -> list[str]:
        urls = self._clients.sqs.list_queues(QueueNamePrefix=f"{STACK_NAME}-").get("QueueUrls", [])
        return [url for url in urls if url != self._outputs.dead_letter_queue_url]

    # --- listening ---

    def _listen(self) -> str:
        """Make the queue and the rules that feed it, before anything happens."""
        url: str = self._clients.sqs.create_queue(QueueName=LISTENER)["QueueUrl"]
        attributes = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        arn = attributes["QueueArn"]
        self._clients.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(_policy(arn))})
        dropped = {"source": [FROM_S3], "detail": {"bucket": {"name": [self._outputs.outbox_bucket]}}}
        self._rule(arn, self._outputs.event_bus, {"source": [FROM_US]})
        self._rule(arn, "default", dropped)
        return url

    def _rule(self, queue_arn: str, bus: str, pattern: Mapping[str, Any]) -> None:
        self._clients.events.put_rule(Name=LISTENER, EventBusName=bus, EventPattern=json.dumps(pattern))
        self._clients.events.put_targets(Rule=LISTENER, EventBusName=bus, Targets=[{"Id": LISTENER, "Arn": queue_arn}])

    def _hear(self) -> None:
        for body in self._messages():
            event = json.loads(body)
            if event["source"] == FROM_US:
                self._events.append(Published.of(event["detail-type"], event["detail"]))
            else:
                self._hold(event["detail"]["object"]["key"], body)
        for key in [key for key in self._held if self._has_ended(key)]:
            queue = self._deliver_queues[key.partition("/")[0]]
            self._clients.sqs.send_message(QueueUrl=queue, MessageBody=self._held.pop(key))

    def _hold(self, key: str, body: str) -> None:
        """Keep the event of a drop that is to come twice until the drop has ended: what comes while the drop is being
        sent waits in its queue for minutes, in case the sender dies."""
        if key in self._repeat:
            self._repeat.discard(key)
            self._held[key] = body

    def _has_ended(self, key: str) -> bool:
        return any(each.key == f"receipts/{key}.json" and each.status in ENDED for each in self._events)

    def _messages(self) -> Iterator[str]:
        """Everything that lies in the listener's queue."""
        while received := self._clients.sqs.receive_message(
            QueueUrl=self._listener, MaxNumberOfMessages=MESSAGES_AT_ONCE
        ).get("Messages", []):
            for message in received:
                yield message["Body"]
            handles = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(received)]
            self._clients.sqs.delete_message_batch(QueueUrl=self._listener, Entries=handles)


def _name(queue_url: str) -> str:
    return queue_url.rpartition("/")[2]


def _policy(queue_arn: str) -> dict[str, Any]:
    """EventBridge may send to the queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
