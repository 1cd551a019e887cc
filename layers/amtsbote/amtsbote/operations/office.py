"""What the operations work with: one stack's ledger, buckets, queues and connections, each made when it is needed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from amtsbote.admin.account import Vault
from amtsbote.audit import pseudonym
from amtsbote.connections import Connections
from amtsbote.events import EventBus
from amtsbote.inbox import Inbox
from amtsbote.keys import CONNECTION_NAME, secret_prefix
from amtsbote.ledger import Ledger
from amtsbote.messages import ConnectionTask, Message, Task
from amtsbote.operations.stack import Stack
from amtsbote.outbox import Outbox
from amtsbote.portals import NAMES, portal_named
from amtsbote.queues import Queue
from amtsbote.receipts import Receipts
from amtsbote.reports import Reports
from amtsbote.times import now

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

QUEUE_OF = {
    Task.POLL: "poll",
    Task.RECONCILE: "poll",
    Task.ACKNOWLEDGE: "acknowledge",
    Task.TRACK: "track",
}
"""The function that does a task of a connection."""


class ClientFactory(Protocol):
    """Makes a boto3 client of a service."""

    def __call__(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class Account:
    """A connection by its names."""

    portal: str
    name: str

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.portal}/{self.name}"

    @property
    def secret(self) -> str:
        """Return the name of its secret."""
        return f"{secret_prefix(self.portal)}{self.name}"


@dataclass(frozen=True)
class Intent:
    """A change that has not happened yet: a sentence that says what will, and the doing of it."""

    says: str
    do: Callable[[], object]


class Office:
    """One stack as its operator sees it. `client(name)` makes a boto3 client, `clock` tells the time (UTC)."""

    def __init__(
        self,
        stack: Stack,
        client: ClientFactory,
        clock: Callable[[], datetime] = now,
        *,
        allow_loopback: bool = False,
    ) -> None:
        self.stack = stack
        self.clock = clock
        self.allow_loopback = allow_loopback
        self._client = client

    @cached_property
    def ledger(self) -> Ledger:
        """Return the ledger."""
        return Ledger(self._client("dynamodb"), self.stack.ledger_table, self.clock, lambda: self.actor)

    @cached_property
    def actor(self) -> str:
        """Return the pseudonym by which the trail names whoever works here; AWS is asked when something is changed."""
        return pseudonym(self._client("sts").get_caller_identity()["Arn"])

    @cached_property
    def s3(self) -> "S3Client":
        """Return a client of S3."""
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def sqs(self) -> "SQSClient":
        """Return a client of SQS."""
        client: SQSClient = self._client("sqs")
        return client

    @cached_property
    def inbox(self) -> Inbox:
        """Return the inbox."""
        return Inbox(self.s3, self.stack.inbox_bucket)

    @cached_property
    def receipts(self) -> Receipts:
        """Return the receipts."""
        return Receipts(self.s3, self.stack.inbox_bucket, self.ledger)

    @cached_property
    def outbox(self) -> Outbox:
        """Return the outbox."""
        return Outbox(self.s3)

    @cached_property
    def reports(self) -> Reports:
        """Return the reports of comparisons."""
        return Reports(self.s3, self.stack.inbox_bucket)

    @cached_property
    def bus(self) -> EventBus:
        """Return the stack's event bus."""
        return EventBus(self._client("events"), self.stack.event_bus)

    @cached_property
    def vault(self) -> Vault:
        """Return Secrets Manager."""
        return Vault(self._client("secretsmanager"))

    def connections(self, portal: str) -> Connections:
        """Return the connections of one portal."""
        return Connections(self._client("secretsmanager"), portal_named(portal))

    def accounts(self, portal: str | None = None, connection: str | None = None) -> list[Account]:
        """Return the connections that have a secret, all of them or those of one portal, in order of their names.

        With both a portal and a connection it is that one, whether or not its secret is still there.
        """
        if portal and connection:
            return [Account(portal, connection)]
        names = (each for each in NAMES if portal in (None, each))
        found = [Account(name, each.name) for name in names for each in self.connections(name).listed()]
        return sorted((each for each in found if connection in (None, each.name)), key=str)

    def accounts_with_rows(self, portal: str | None = None, connection: str | None = None) -> list[Account]:
        """Return these connections, and those that only have documents or deliveries in the ledger.

        Such a connection had a secret once, or a key in the outbox named it by mistake.
        """
        past = (Account(*names) for names in self.ledger.accounts() if all(names))
        also = {each for each in past if portal in (None, each.portal) and connection in (None, each.name)}
        return sorted(also.union(self.accounts(portal, connection)), key=str)

    def ask(self, verb: str, portal: str, requests: Iterable[Message]) -> None:
        """Queue requests for a function; Retry when the queue does not take all of them."""
        Queue(self.sqs, self.stack.queue_url(verb, portal)).send_all(request.body() for request in requests)

    def ask_for(self, task: Task, account: Account, **more: bool | None) -> None:
        """Queue a task of a connection, as its schedule would, or with more than the schedule asks for."""
        request = ConnectionTask(portal=account.portal, connection=account.name, task=task, **more)
        self.ask(QUEUE_OF[task], account.portal, [request])


def is_connection(portal: str, name: str) -> bool:
    """Return whether there can be a connection of that name at that portal."""
    return portal in NAMES and CONNECTION_NAME.fullmatch(name) is not None
