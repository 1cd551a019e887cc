"""What every office offers: its portal on a wire, things that happen there by chance, and what the judge asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import requests

from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import SimulatedPortal
from tests.simulation.account import INBOX
from tests.simulation.boundary import Stroke
from tests.simulation.chance import Chance
from tests.simulation.cloud.s3 import Version
from tests.simulation.machine import Machine
from tests.simulation.wire import InProcessPortal, WireAnswer

SOON = (0.0, 900.0)
LOOKS_AGAIN_SECONDS = 600.0  # a backend whose document is gone for now
KINDS = {
    Stroke.PORTAL_429: Kind.TOO_MANY_REQUESTS,
    Stroke.PORTAL_5XX: Kind.SERVER_ERROR,
    Stroke.PORTAL_BODY_CUT: Kind.TRUNCATED_BODY,
    Stroke.PORTAL_TOKEN_EXPIRED: Kind.EXPIRED_TOKEN,
    Stroke.PORTAL_PAGE: Kind.HTML_WITH_200,
    Stroke.PORTAL_GARBAGE: Kind.GARBAGE_JSON,
}
STATUSES = (500, 502, 503)
PROCESSED = {"TagSet": [{"Key": "processed", "Value": "true"}]}


@dataclass
class ExpectedItem:
    """One item at a portal and the states in which it may end.

    `others_take_it`: somebody else may be quicker. `ready_seconds`: when it can be fetched, since the run's start.
    """

    connection: str
    id: str
    ends: frozenset[str]
    story: str = ""
    others_take_it: bool = False
    ready_seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.connection, self.id


@dataclass
class ExpectedDrop:
    """One version of an outbox object, how it may end, and how often the portal may at most get it.

    `codes` are the errors that may stand in a FAILED receipt. `newest`: the receipt of the key speaks of this version.
    """

    key: str
    version: str
    body: bytes = field(repr=False)
    ends: frozenset[str] = frozenset({"DELIVERED"})
    codes: frozenset[str] = frozenset()
    at_most: int = 1
    story: str = ""
    newest: bool = True


ACKNOWLEDGED, STORED = frozenset({"ACKNOWLEDGED"}), frozenset({"STORED"})
ABSENT = frozenset({"absent"})
QUARANTINED, UNAVAILABLE = frozenset({"QUARANTINED"}), frozenset({"UNAVAILABLE"})


class Office:
    """One portal during a run. A subclass fills it by chance in `open`, and knows what should come of it."""

    name: str
    secrets: tuple[str, ...] = ()
    """Words that must not stand in any line of a log: passwords, tokens, names."""

    def __init__(self, machine: Machine, chance: Chance, loop: asyncio.AbstractEventLoop) -> None:
        self.machine = machine
        self.chance = chance
        self.loop = loop
        self.items: dict[tuple[str, str], ExpectedItem] = {}
        self.drops: list[ExpectedDrop] = []
        self.policies: dict[str, str] = {}
        self.ahead = 0
        """How many things have yet to happen."""
        machine.account.s3.observers.append(self._process)

    @classmethod
    def conditions(cls) -> AbstractContextManager[Any]:
        """Return what has to be smaller during a run, so that it costs little: pages, chunks."""
        return nullcontext()

    # --- for subclasses to fill --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Set the portal up, connect it, and say what will happen there."""
        raise NotImplementedError

    def acknowledged(self) -> Iterable[tuple[str, str]]:
        """Return the items (connection, id) that the portal takes for acknowledged by us."""
        raise NotImplementedError

    def is_content(self, item: ExpectedItem, files: Mapping[str, bytes], document: Mapping[str, Any]) -> bool:
        """Return whether these files (by their key) are what the portal holds, or held, for this item."""
        raise NotImplementedError

    def arrivals(self, drop: ExpectedDrop) -> int:
        """Return how often a drop has taken effect at the portal."""
        raise NotImplementedError

    def complaints(self) -> Iterable[str]:
        """Return what the portal itself has to complain of at the end."""
        return ()

    def close(self) -> None:
        """Put away what the portal keeps outside of this process's memory."""

    # --- what subclasses use -----------------------------------------------------------------------------------------

    @cached_property
    def clock(self) -> Any:
        """The machine's clock."""
        return self.machine.clock

    def serve(self, portal: SimulatedPortal, host: str) -> None:
        """Put a portal on the wire."""
        self.machine.serve(host, InProcessPortal(portal, f"http://{host}", self.loop), self._effect)

    def connect(self, connection: str, secret: Mapping[str, Any]) -> None:
        """Create or change the secret of a connection."""
        name, body = f"amtsbote/{self.name}/{connection}", json.dumps(secret)
        secrets = self.machine.account.secretsmanager
        try:
            secrets.create_secret(Name=name, SecretString=body)
        except secrets.exceptions.ResourceExistsException:
            secrets.put_secret_value(SecretId=name, SecretString=body)
        self.policies[connection] = secret.get("acknowledge", "stored")

    def expect(self, connection: str, id_: str, ends: frozenset[str], story: str = "", **more: Any) -> ExpectedItem:
        """Say of an item how it should end."""
        item = ExpectedItem(connection, id_, self.end_of(connection) if ends == ACKNOWLEDGED else ends, story, **more)
        self.items[item.key] = item
        return item

    def end_of(self, connection: str) -> frozenset[str]:
        """Return the end of an item with which nothing is wrong."""
        return STORED if self.policies[connection] == "never" else ACKNOWLEDGED

    def happens(self, story: str, seconds: float, happen: Any) -> None:
        """Let something happen at the portal; the run's history tells of it."""

        def told() -> None:
            self.ahead -= 1
            self.machine.tell(f"* {story}")
            happen()

        self.ahead += 1
        self.machine.at(seconds, told)

    def drop(self, seconds: float, key: str, body: bytes, metadata: dict[str, str] | None = None, **more: Any) -> None:
        """Let an object be dropped at that time; `more` goes into what is expected of it."""

        def now() -> None:
            for other in self.drops:
                other.newest = other.newest and other.key != key
            version = self.machine.drop(key, body, metadata or {})
            self.drops.append(ExpectedDrop(key, version, body, **more))

        self.happens(f"drop {key}", seconds, now)

    def at_some_time(self) -> float:
        """Return a moment in the first part of the run, in seconds since its start."""
        return self.chance.between(*SOON)

    def _process(self, bucket: str, key: str, version: Version) -> None:
        """Do as a backend does that has to say when it has processed a document: some time later."""
        parts = key.split("/")
        if bucket != INBOX or parts[-1] != "document.json" or self.policies.get(parts[1]) != "processed":
            return

        def processed() -> None:
            there = self.machine.account.s3.versions(INBOX, key)
            if not there:
                return  # erased meanwhile, as a portal was told of it that did not wait for that
            if there[0].is_delete_marker:
                after(LOOKS_AGAIN_SECONDS)
            else:
                self.machine.account.s3.put_object_tagging(Bucket=INBOX, Key=key, Tagging=PROCESSED)

        def after(seconds: float) -> None:
            self.happens(f"the backend has processed {key}", self.clock.seconds() + seconds, processed)

        after(self.chance.between(0, 4000))

    # --- the wire ----------------------------------------------------------------------------------------------------

    def _effect(
        self,
        wire: InProcessPortal,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        stroke: Stroke | None,
    ) -> WireAnswer:
        """Let a request have its effect, or what a stroke leaves of it."""
        if stroke is Stroke.PORTAL_RESET:
            raise requests.ConnectionError("reset")
        if stroke in KINDS:
            wire.portal.faults.add(self._fault(KINDS[stroke]))
        try:
            answer = wire.call(method, path, headers, body)
        finally:
            wire.portal.faults.clear()
        if stroke is Stroke.PORTAL_ANSWER_LOST:
            raise requests.ConnectionError("the answer is lost")
        return answer

    def _fault(self, kind: Kind) -> Fault:
        status = self.chance.one_of(STATUSES) if kind is Kind.SERVER_ERROR else None
        return Fault(kind, times=1, status=status, retry_after=self.chance.number(1, 240))
