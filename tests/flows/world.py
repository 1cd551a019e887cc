"""A small world for flow tests: the real verbs and adapters, moto, queues and time simulated, portals by HTTP."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from moto.secretsmanager.models import secretsmanager_backends

from amtsbote.deadline import Deadline
from amtsbote.messages import ConnectionTask, DropRequest, FetchRequest, Message, Task, Tick
from amtsbote.queues import BatchResponse, each_record
from amtsbote.services import Services
from amtsbote.settings import Settings
from amtsbote.verbs.acknowledge import acknowledge
from amtsbote.verbs.deliver import deliver
from amtsbote.verbs.dispatch import dispatch
from amtsbote.verbs.fetch import fetch
from amtsbote.verbs.poll import poll
from amtsbote.verbs.track import track
from tests.flows.queue_service import QueueService

REGION = "eu-central-1"
INBOX, OUTBOX, LEDGER, BUS = "inbox", "outbox", "ledger", "amtsbote"
EVENTS = Path(__file__).parents[2] / "events"
BATCH_SIZES = {"dispatch": 1, "poll": 1, "acknowledge": 1, "track": 1}  # as in the template; the others take 10
BATCH = 10
DEADLINE_SECONDS = 60.0
MOTO_ACCOUNT = "123456789012"


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        """Let time pass."""
        self.now += timedelta(**delta)


class Crash(Exception):
    """The process died, just there."""


class World:
    """One portal's functions with everything around them. Requires an active moto."""

    def __init__(self, portal: str, *, clock: Clock | None = None, tries: int = 12) -> None:
        self.portal = portal
        self.clock = clock or Clock()
        self.tries = tries
        self.sqs = QueueService(self.clock)
        self.clients: dict[str, Any] = {"sqs": self.sqs}
        self.deadline_seconds = DEADLINE_SECONDS
        self._lost_seconds = 0.0
        self._create_resources()
        self.services = self.new_services()

    def client(self, name: str) -> Any:
        """Return the one client of a service; clients are what costs time in moto."""
        if name not in self.clients:
            make: Any = _session().client  # its overloads take only literal names
            self.clients[name] = make(name, region_name=REGION)
        return self.clients[name]

    def new_services(self) -> Services:
        """Return services as a fresh process has them: nothing cached."""
        settings = Settings(
            portal=self.portal,
            ledger_table=LEDGER,
            inbox_bucket=INBOX,
            outbox_bucket=OUTBOX,
            event_bus=BUS,
            queue_url="own",
            poll_queue_url="poll",
            fetch_queue_url="fetch",
            acknowledge_queue_url="acknowledge",
            track_queue_url="track",
            lease_seconds=240,
            tries=self.tries,
            allow_loopback=True,
        )
        return Services(settings, self.client, self.clock)

    # --- what the operator and the backend do ---

    def connect(self, name: str, secret: dict[str, Any] | str, *, same_process: bool = False) -> None:
        """Create the secret of a connection, or give it another body. `same_process` keeps what is cached."""
        body = secret if isinstance(secret, str) else json.dumps(secret)
        full = f"amtsbote/{self.portal}/{name}"
        secrets = self.client("secretsmanager")
        try:
            secrets.create_secret(Name=full, SecretString=body)
        except secrets.exceptions.ResourceExistsException:
            secrets.put_secret_value(SecretId=full, SecretString=body)
        stored: Any = secretsmanager_backends[MOTO_ACCOUNT][REGION].secrets[full]
        stored.last_changed_date = int(self.clock().timestamp())  # moto would take the real time
        if not same_process:
            self.services = self.new_services()

    def disconnect(self, name: str, *, same_process: bool = False) -> None:
        """Delete the secret of a connection."""
        full = f"amtsbote/{self.portal}/{name}"
        self.client("secretsmanager").delete_secret(SecretId=full, ForceDeleteWithoutRecovery=True)
        if not same_process:
            self.services = self.new_services()

    def mark_processed(self, connection: str, id_: str) -> None:
        """Let the backend say that it has processed a document."""
        key = f"{self.portal}/{connection}/{id_}/document.json"
        tags = {"TagSet": [{"Key": "processed", "Value": "true"}]}
        self.client("s3").put_object_tagging(Bucket=INBOX, Key=key, Tagging=tags)

    def drop(self, key: str, body: bytes, metadata: dict[str, str] | None = None) -> dict[str, Any]:
        """Put an object into the outbox and let its event arrive; returns the event."""
        answer = self.client("s3").put_object(Bucket=OUTBOX, Key=key, Body=body, Metadata=metadata or {})
        event = self.drop_event(key, answer["VersionId"], len(body))
        self.arrive(event)
        return event

    def drop_event(self, key: str, version_id: str, size: int) -> dict[str, Any]:
        """Return the event of a drop, from the sample in events/."""
        sample = json.loads((EVENTS / "deliver.json").read_text())
        event: dict[str, Any] = json.loads(sample["Records"][0]["body"])
        event["detail"]["bucket"]["name"] = OUTBOX
        self._sequence = getattr(self, "_sequence", 0) + 1
        event["detail"]["object"] |= {
            "key": key,
            "version-id": version_id,
            "size": size,
            "sequencer": f"{self._sequence:016X}",
        }
        return event

    def arrive(self, event: dict[str, Any]) -> None:
        """Let an event arrive in the queue of deliver."""
        self._send("own", event)

    def arrive_in(self, queue: str, request: dict[str, Any]) -> None:
        """Let a request arrive in any queue."""
        self._send(queue, request)

    # --- what goes wrong on our side ---

    def before(self, service: str, call: str, do: Callable[[], object], *, key: str = "") -> None:
        """Do something once, just before a call to AWS (its name as in the API) whose parameters contain `key`."""
        self._hook(f"before-call.{service}.{call}", lambda _: do(), key)

    def crash(self, service: str, call: str, *, key: str = "") -> None:
        """Let the process die once, just before such a call, of an error that repeats what it was about to say."""
        self._hook(f"before-call.{service}.{call}", _crash, key)

    def calls(self, service: str, call: str) -> list[str]:
        """Return a list that fills with the parameters of each such call from now on."""
        seen: list[str] = []
        events = self.client(service).meta.events
        events.register(f"before-call.{service}.{call}", lambda params, **_: seen.append(_spelled(params)))
        return seen

    def use_up_time(self) -> None:
        """Let the invocation that runs now have no time left; the next one has its own again."""
        self._lost_seconds += self.deadline_seconds

    def _stopwatch(self) -> float:
        return time.monotonic() + self._lost_seconds

    def _hook(self, event: str, do: Callable[[str], object], key: str) -> None:
        armed = [True]

        def handler(params: dict[str, Any], **_: Any) -> None:
            if armed and key in _spelled(params):
                armed.clear()
                do(_spelled(params))

        self.client(event.split(".")[1]).meta.events.register(event, handler)

    # --- turns of the machine ---

    def tick(self, task: Task | str) -> BatchResponse:
        """Let a schedule's turn come, and do everything that follows at once."""
        self._send("dispatch", Tick(portal=self.portal, task=Task(task)).body())
        return self.run("dispatch")

    def settle(self, *tasks: str, rounds: int = 4) -> None:
        """Tick all tasks and work until the queues have nothing visible, a few rounds of it."""
        for _ in range(rounds):
            for task in tasks or ("poll", "acknowledge"):
                self.tick(task)
                self.drain()

    def drain(self) -> None:
        """Work off every request that is visible now."""
        while any(self.run(name)["worked"] for name in ("dispatch", "poll", "fetch", "acknowledge", "own", "track")):
            pass

    def later(self, *tasks: str, rounds: int = 1, **delta: float) -> None:
        """Let time pass, then settle."""
        self.clock.forward(**delta)
        self.settle(*tasks, rounds=rounds)

    def run(self, queue: str, *, workers: int = 1) -> dict[str, Any]:
        """Invoke the function of a queue once with what is visible there."""
        model, work = self._functions()[queue]
        records = self.sqs.receive(queue, BATCH_SIZES.get(queue, BATCH))
        own = self.services.queue(queue)
        answer = each_record(records, model, work, queue=own, tries=self.tries, workers=workers)
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        self.sqs.delete(queue, {record["messageId"] for record in records} - failed)
        return {"worked": len(records), **answer}

    def _functions(self) -> dict[str, tuple[type[Message], Callable[[Any, Any], object]]]:
        own, deadline = self.services, Deadline(self.deadline_seconds, clock=self._stopwatch)
        return {
            "dispatch": (Tick, lambda request, _: dispatch(request, own)),
            "poll": (ConnectionTask, lambda request, _: poll(request, own, deadline)),
            "fetch": (FetchRequest, lambda request, attempt: fetch(request, attempt, own, deadline)),
            "acknowledge": (ConnectionTask, lambda request, _: acknowledge(request, own, deadline)),
            "own": (DropRequest, lambda request, attempt: deliver(request, attempt, own, deadline)),
            "track": (ConnectionTask, lambda request, _: track(request, own, deadline)),
        }

    # --- what a backend and an operator see ---

    def inbox_keys(self, prefix: str = "") -> list[str]:
        """Return the keys in the inbox."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=INBOX, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def content(self, key: str) -> bytes:
        """Return an object of the inbox."""
        body: bytes = self.client("s3").get_object(Bucket=INBOX, Key=key)["Body"].read()
        return body

    def document(self, connection: str, id_: str) -> dict[str, Any]:
        """Return a document.json."""
        document: dict[str, Any] = json.loads(self.content(f"{self.portal}/{connection}/{id_}/document.json"))
        return document

    def received(self, connection: str) -> set[str]:
        """Return the ids of the documents that are there, judged by document.json alone."""
        prefix = f"{self.portal}/{connection}/"
        return {
            key.removeprefix(prefix).removesuffix("/document.json")
            for key in self.inbox_keys(prefix)
            if key.endswith("/document.json")
        }

    def receipt(self, outbox_key: str) -> dict[str, Any]:
        """Return a receipt."""
        receipt: dict[str, Any] = json.loads(self.content(f"receipts/{outbox_key}.json"))
        return receipt

    def versions(self, key: str) -> int:
        """Return how often an object of the inbox was written."""
        answer = self.client("s3").list_object_versions(Bucket=INBOX, Prefix=key)
        return sum(each["Key"] == key for each in answer.get("Versions", []))

    def state(self, connection: str, id_: str) -> str | None:
        """Return the state of an item in the ledger."""
        row = self.services.ledger.item(self.portal, connection, id_)
        return None if row is None else row.state

    def watermark(self, connection: str) -> datetime | None:
        """Return how far the connection's portal is known."""
        return self.services.ledger.status(self.portal, connection).watermark

    def events_of(self, detail_type: str) -> list[dict[str, Any]]:
        """Return the details of the events of one type."""
        return [detail for kind, detail in self.events() if kind == detail_type]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was published on the bus so far: (detail type, detail)."""
        return [(each["DetailType"], json.loads(each["Detail"])) for each in self._published()]

    def _published(self) -> Iterator[dict[str, Any]]:
        for message in self.sqs.queue("__bus__"):
            yield json.loads(message.body)

    # --- set-up ---

    def _send(self, queue: str, body: dict[str, Any]) -> None:
        self.sqs.send_message_batch(
            QueueUrl=queue, Entries=[{"Id": str(uuid.uuid4()), "MessageBody": json.dumps(body)}]
        )

    def _create_resources(self) -> None:
        s3 = self.client("s3")
        for bucket in (INBOX, OUTBOX):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self.client("dynamodb").create_table(TableName=LEDGER, **_ledger_schema())
        self.clients["events"] = RecordingBus(self.sqs)


class RecordingBus:
    """A stand-in for the EventBridge client that keeps what is published, which EventBridge itself does not."""

    def __init__(self, sqs: QueueService) -> None:
        self._sqs = sqs

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Take events."""
        bodies = [{"Id": str(uuid.uuid4()), "MessageBody": json.dumps(entry)} for entry in Entries]
        self._sqs.send_message_batch(QueueUrl="__bus__", Entries=bodies)
        return {"FailedEntryCount": 0}


@cache
def _session() -> boto3.Session:
    """Return the one session, which has read the descriptions of the services once."""
    return boto3.Session()


def _crash(said: str) -> None:
    raise Crash(said)


def _spelled(params: dict[str, Any]) -> str:
    """Return the address and the small body of a call to AWS."""
    body = params.get("body", b"")
    return f"{params.get('url', '')} {body.decode(errors='replace') if isinstance(body, bytes) else body}"


def _ledger_schema() -> dict[str, Any]:
    names = ("pk", "sk", "dueQueue", "dueAt", "shelf", "shelvedAt")
    return {
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "BillingMode": "PAY_PER_REQUEST",
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "dueQueue", "KeyType": "HASH"},
                    {"AttributeName": "dueAt", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            },
            {
                "IndexName": "shelves",
                "KeySchema": [
                    {"AttributeName": "shelf", "KeyType": "HASH"},
                    {"AttributeName": "shelvedAt", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
    }
