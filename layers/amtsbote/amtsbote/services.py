"""What the verbs work with, made once per process from the settings: each part, its client and its module when needed.

This is the one place that imports late. A function uses a few of the parts, and what it has not loaded costs its first
invocation nothing.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from amtsbote.ledger import Ledger
from amtsbote.queues import Queue
from amtsbote.settings import Settings
from amtsbote.status import ConnectionStatus
from amtsbote.times import now
from amtsbote.tokens import TokenCache

if TYPE_CHECKING:
    import requests
    from mypy_boto3_s3 import S3Client

    from amtsbote.connections import Connections
    from amtsbote.copying import Copier
    from amtsbote.deadline import Deadline
    from amtsbote.events import EventBus
    from amtsbote.inbox import Inbox
    from amtsbote.outbox import Outbox
    from amtsbote.portals.portal import Portal, Tools
    from amtsbote.receipts import Receipts
    from amtsbote.reports import Reports
    from amtsbote.secret_versions import SecretVersions
    from amtsbote.vault import KmsVault

ClientFactory = Callable[[str], Any]


class Services:
    """The outside world of one function. `client(name)` makes a boto3 client, `clock` tells the time (UTC)."""

    def __init__(self, settings: Settings, client: ClientFactory, clock: Callable[[], datetime] = now) -> None:
        self.settings = settings
        self.clock = clock
        self.tokens = TokenCache(clock)
        self._client = client
        self.health_lock = Lock()  # so that the many workers of a process tell of one failure once
        self._statuses: dict[str, tuple[datetime, ConnectionStatus]] = {}

    @cached_property
    def portal(self) -> "Portal":
        """Return the portal that this function serves."""
        from amtsbote.portals import portal_named

        return portal_named(self.settings.portal)

    @cached_property
    def ledger(self) -> Ledger:
        """Return the ledger."""
        return Ledger(self._client("dynamodb"), self.settings.ledger_table, self.clock, lambda: self.settings.verb)

    @cached_property
    def connections(self) -> "Connections":
        """Return the connections of this function's portal."""
        from amtsbote.connections import Connections

        return Connections(self._client("secretsmanager"), self.portal, self.clock)

    def secret_versions(self, secret_id: str) -> "SecretVersions":
        """Return the versions of a secret, by its name or ARN; nothing of it is cached."""
        from amtsbote.secret_versions import SecretVersions

        return SecretVersions(self._client("secretsmanager"), secret_id)

    @cached_property
    def inbox(self) -> "Inbox":
        """Return the inbox."""
        from amtsbote.inbox import Inbox

        return Inbox(self._s3, self.settings.inbox_bucket, self.settings.file_bytes_at_most)

    @cached_property
    def outbox(self) -> "Outbox":
        """Return the outbox."""
        from amtsbote.outbox import Outbox

        return Outbox(self._s3)

    @cached_property
    def copier(self) -> "Copier":
        """Return what copies from the inbox into the outbox."""
        from amtsbote.copying import Copier

        return Copier(self._s3)

    @cached_property
    def receipts(self) -> "Receipts":
        """Return the receipts."""
        from amtsbote.receipts import Receipts

        return Receipts(self._s3, self.settings.inbox_bucket, self.ledger)

    @cached_property
    def reports(self) -> "Reports":
        """Return the reports of comparisons."""
        from amtsbote.reports import Reports

        return Reports(self._s3, self.settings.inbox_bucket)

    @cached_property
    def bus(self) -> "EventBus":
        """Return the stack's event bus."""
        from amtsbote.events import EventBus

        return EventBus(self._client("events"), self.settings.event_bus)

    @cached_property
    def own_queue(self) -> Queue:
        """Return the queue that feeds this function."""
        return self.queue(self.settings.queue_url)

    def queue(self, url: str) -> Queue:
        """Return a queue."""
        return Queue(self._sqs, url)

    def tools(self, deadline: "Deadline") -> "Tools":
        """Return what an adapter works with during one invocation."""
        from amtsbote.dropbook import LedgerDropBook
        from amtsbote.http import Transport
        from amtsbote.portals.portal import Tools

        transport = Transport(deadline, allow_loopback=self.settings.allow_loopback, session=self._session)
        return Tools(transport, self.tokens, self.clock, LedgerDropBook(self.ledger), self._vault)

    def recent_status(self, connection: str, age: timedelta) -> ConnectionStatus:
        """Return a connection's status, read from the ledger at most once per `age`."""
        read_at, status = self._statuses.get(connection, (None, None))
        if status is None or read_at is None or self.clock() - read_at >= age:
            status = self.note_status(self.ledger.status(self.settings.portal, connection))
        return status

    def note_status(self, status: ConnectionStatus) -> ConnectionStatus:
        """Let `recent_status` know a status at once, so that this process does not act on the one before."""
        self._statuses[status.connection] = (self.clock(), status)
        return status

    @cached_property
    def _vault(self) -> "KmsVault | None":
        from amtsbote.vault import KmsVault

        key = self.settings.vault_key
        return KmsVault(self._client("kms"), key) if key else None

    @cached_property
    def _s3(self) -> "S3Client":
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def _sqs(self) -> Any:
        return self._client("sqs")

    @cached_property
    def _session(self) -> "requests.Session":
        from amtsbote.http import new_session

        return new_session()
