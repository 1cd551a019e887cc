"""One portal's functions on an account of their own, with a portal that does as it is told.

The verbs call AWS in the same way for every portal, so here the portal is scripted; the simulation has the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, NoReturn, cast

from amtsbote.deadline import Deadline
from amtsbote.errors import Misconfigured, OutOfTime, Retry
from amtsbote.messages import ConnectionTask, DropRequest, FetchRequest, Message, Task, Tick
from amtsbote.portals.portal import ConnectionSecret, Portal, Tools
from amtsbote.portals.protocols import (
    Acknowledgement,
    AcknowledgeOutcome,
    Delivery,
    Drop,
    Finding,
    IncomingFile,
    Item,
    Journal,
    Outcome,
)
from amtsbote.queues import Attempt, each_record
from amtsbote.retention import read_rules
from amtsbote.routing import RoutingRules
from amtsbote.services import Services
from amtsbote.settings import Settings
from amtsbote.verbs.acknowledge import acknowledge
from amtsbote.verbs.deliver import deliver
from amtsbote.verbs.dispatch import dispatch
from amtsbote.verbs.fetch import fetch
from amtsbote.verbs.poll import poll
from amtsbote.verbs.retain import retain
from amtsbote.verbs.track import track
from tests.privileges.recorder import EVERY, FOR_ALL_PORTALS, Caller, Record, RecordingClient
from tests.simulation.account import BUS, INBOX, LEDGER, OUTBOX, VAULT_KEY, Account
from tests.simulation.chance import Chance
from tests.simulation.cloud.dynamodb import InMemoryDynamoDb
from tests.simulation.cloud.errors import refused
from tests.simulation.cloud.s3 import InMemoryS3
from tests.simulation.machine import Clock

CONNECTION, ITEM = "konto", "214"
GUID = "7b4f6a1e-6a5c-4c0e-9e57-2f6d0c7c1a10"
DROPS = {
    "duba": f"duba/{CONNECTION}/BetreuungAnregung/anregung.json",
    "docxworld": f"docxworld/{CONNECTION}/BRIEF/brief.pdf",
    "digitale-gemeinde": f"digitale-gemeinde/{CONNECTION}/1/2/3/antwort.pdf",
    "altinn": f"altinn/{CONNECTION}/org/app/50003/{GUID}/vedtak/vedtak.pdf",
}
PRINTED = f"docxworld/{CONNECTION}/BRIEF/{ITEM}-brief.pdf"
REFERENCE = "R-1"
UNROUTED, NO_PORTALS = "unrouted", "nobody/brief.pdf"
QUEUES = ("dispatch", "poll", "fetch", "acknowledge", "track", "deliver", "retain", "route")
TASKS: Mapping[str, Callable[[ConnectionTask, Services, Deadline], object]] = {
    "poll": poll,
    "acknowledge": acknowledge,
    "track": track,
}
TICKED: Mapping[str, Callable[[Tick, Services, Deadline], object]] = {
    "dispatch": lambda tick, own, _: dispatch(tick, own),
    "retain": retain,
}
LONG_SECONDS = 600.0
FEW_TRIES = 10
FIRST, ONLY = Attempt(1, last=False), Attempt(1, last=True)


@dataclass
class ScriptedPortal:
    """A portal that lists one item and takes every drop, as it is told."""

    tools: Tools | None = None
    chunks: Sequence[bytes] = (b"brief",)
    size: int = 5
    out_of_time: bool = False
    asks_for_seconds: float = 0.0
    refuses: bool = False
    verify: Callable[[Any], None] | None = None
    outcome: Outcome = Outcome.IN_PROGRESS
    record: Mapping[str, str] = field(default_factory=dict)
    acknowledge_batch: int = field(default=100)

    def _ask_for_time(self) -> None:
        if self.asks_for_seconds:
            raise Retry("THROTTLED", "the portal asks for time", after_seconds=self.asks_for_seconds)

    def discover(self, since: object) -> Iterable[Finding]:
        """List the item."""
        self._ask_for_time()
        if self.refuses:
            raise Misconfigured("LOGIN_REFUSED", "the portal refuses the login")
        return [Finding(ITEM, None, self.record)]

    def fetch(self, item: Item) -> Iterator[IncomingFile]:
        """Hand its one file out."""
        yield IncomingFile("brief.pdf", iter(self.chunks), "application/pdf", self.size, verify=self.verify)

    def acknowledge(self, items: Sequence[Item]) -> Iterable[Acknowledgement]:
        """Take note of all."""
        self._ask_for_time()
        return [Acknowledgement(item.id, AcknowledgeOutcome.DONE, "OK") for item in items]

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Take the drop, whose key goes through the vault where there is one; or use up the time."""
        vault = self.tools.vault if self.tools else None
        if vault is not None:
            assert vault.open(vault.seal(b"key", drop.reference), drop.reference) == b"key"
        if self.out_of_time:
            raise OutOfTime
        return self.track("1")

    def track(self, portal_id: str) -> Delivery:
        """Say how far the delivery is."""
        self._ask_for_time()
        return Delivery(portal_id, self.outcome)


class Scene:
    """One portal's functions on an account of their own, whose calls are taken down."""

    def __init__(self, portal: str, record: Record, account: Account | None = None) -> None:
        self.portal = portal
        self.clock = Clock()
        self.account = account or new_account(self.clock)
        self.script = ScriptedPortal()
        self._record = record
        self.account.secretsmanager.create_secret(Name=f"amtsbote/{portal}/{CONNECTION}", SecretString="{}")

    def another(self) -> Scene:
        """Return the same functions on an account of their own."""
        return Scene(self.portal, self._record)

    def beside(self, portal: str) -> Scene:
        """Return another portal's functions on the same account."""
        return Scene(portal, self._record, self.account)

    def services(self, verb: str, rules: RoutingRules | None = None) -> Services:
        """Return the services of a new process of a function."""
        caller = Caller(EVERY if verb in FOR_ALL_PORTALS else self.portal, verb)
        settings = Settings(
            portal=caller.portal,
            verb=verb,
            ledger_table=LEDGER,
            inbox_bucket=INBOX,
            outbox_bucket=OUTBOX,
            event_bus=BUS,
            queue_url=verb,
            poll_queue_url="poll",
            fetch_queue_url="fetch",
            acknowledge_queue_url="acknowledge",
            track_queue_url="track",
            lease_seconds=60,
            vault_key=VAULT_KEY if (self.portal, verb) == ("docxworld", "deliver") else "",
            routing_rules=rules or RoutingRules(),
            retention_rules=read_rules('{"*": {"ACKNOWLEDGED": 1, "DELIVERED": 1}}'),
        )
        made = Services(settings, lambda name: self._client(name, caller), self.clock)
        if self.portal in DROPS:
            made.__dict__["portal"] = Portal(
                self.portal, ConnectionSecret, self._adapter, self._adapter, answered_as=lambda _: REFERENCE
            )
        return made

    def _client(self, name: str, caller: Caller) -> RecordingClient:
        return RecordingClient(name, self.account.service(name), lambda: caller, self._record)

    def _adapter(self, _: object, tools: Tools) -> Any:
        self.script.tools = tools
        return self.script

    def task(self, task: Task, **more: Any) -> ConnectionTask:
        """Return a task of the one connection."""
        return ConnectionTask(portal=self.portal, connection=CONNECTION, task=task, **more)

    def deadline(self, seconds: float = LONG_SECONDS) -> Deadline:
        """Return a deadline that comes nearer by a second each time somebody looks."""
        ticks = count()
        return Deadline(seconds, clock=lambda: float(next(ticks)))

    def secret(self, body: str) -> None:
        """Give the connection's secret another body."""
        self.account.secretsmanager.put_secret_value(SecretId=f"amtsbote/{self.portal}/{CONNECTION}", SecretString=body)

    def drop(self, key: str) -> DropRequest:
        """Drop an object and return its event."""
        self.account.s3.put_object(Bucket=OUTBOX, Key=key, Body=b"brief")
        return self.event_of(key)

    def event_of(self, key: str) -> DropRequest:
        """Return the event of the newest version of a drop."""
        version = self.account.s3.versions(OUTBOX, key)[0].id
        dropped = {"key": key, "version-id": version, "sequencer": "1"}
        return DropRequest.model_validate({"detail": {"bucket": {"name": OUTBOX}, "object": dropped}})

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object, all of its versions."""
        for version in list(self.account.s3.versions(bucket, key)):
            self.account.s3.delete_object(Bucket=bucket, Key=key, VersionId=version.id)

    def store(self) -> None:
        """Let the item arrive in the inbox."""
        poll(self.task(Task.POLL), self.services("poll"), self.deadline())
        fetch(self.item, FIRST, self.services("fetch"), self.deadline())

    def send(self) -> None:
        """Let a drop be sent, and time pass."""
        deliver(self.drop(DROPS[self.portal]), FIRST, self.services("deliver"), self.deadline())
        self.clock.now += timedelta(days=2)

    def contended(self) -> Scene:
        """Let the portal ask for time from now on, and the ledger take no change."""
        self.script.asks_for_seconds = 60.0
        self.account.dynamodb = cast(Any, Contended(self.account.dynamodb))
        return self

    def invoke(self, verb: str, task: Task) -> None:
        """Invoke a function with a task of its schedule."""
        if verb in TICKED:
            tick = Tick(portal=self.portal, task=task)
            self.handle(verb, tick, lambda own: TICKED[verb](tick, own, self.deadline()))
        else:
            request = self.task(task)
            self.handle(verb, request, lambda own: TASKS[verb](request, own, self.deadline()))

    def handle(self, verb: str, request: Message, work: Callable[[Services], object]) -> None:
        """Do the work of a message as a function's handler does it."""
        own = self.services(verb)
        self.account.send(verb, json.dumps(request.body()))
        records = self.account.receive(verb, 1)
        answer = each_record(records, type(request), lambda *_: work(own), queue=own.own_queue, tries=FEW_TRIES)
        assert answer["batchItemFailures"], "it comes again"

    @property
    def item(self) -> FetchRequest:
        """The request for the one item."""
        return FetchRequest(portal=self.portal, connection=CONNECTION, id=ITEM)


def new_account(clock: Clock) -> Account:
    """Return an account with the queues of a stack."""
    account = Account(clock, Chance(1, "rare"), lambda: True)
    for name in QUEUES:
        account.add_queue(name, 60, 3)
    return account


class Overtaken:
    """DynamoDB, where somebody else is always quicker."""

    def __init__(self, table: InMemoryDynamoDb) -> None:
        self._table = table

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._table, operation)

    def put_item(self, **_: Any) -> NoReturn:
        """Refuse."""
        raise refused("PutItem", "ConditionalCheckFailedException")


class Contended(Overtaken):
    """DynamoDB which leaves every batch for later, too."""

    def batch_get_item(self, *, RequestItems: Any) -> Any:
        """Leave all of it for later."""
        return {"Responses": {}, "UnprocessedKeys": RequestItems}


class SomebodyDeletes:
    """S3, where somebody deletes each version just before it is read."""

    def __init__(self, s3: InMemoryS3) -> None:
        self._s3 = s3

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._s3, operation)

    def get_object(self, **wanted: Any) -> Any:
        """Answer that it is not there."""
        self._s3.delete_object(**wanted)
        return self._s3.get_object(**wanted)
