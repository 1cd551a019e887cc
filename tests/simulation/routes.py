"""Routing in a run: forms of the municipality go to the printer's outbox, whatever happens on the way there.

Events that a document has arrived come late and twice. A backend drops something of its own under a key that a rule
will want, and deletes what lies there, before and after. An operator sends dead letters back once a day.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial

from amtsbote.chain import RULE
from amtsbote.routing import RECORDS, RoutingRules, read_routing_rules
from tests.simulation.account import DEAD_LETTERS, INBOX, OUTBOX
from tests.simulation.chance import Chance
from tests.simulation.cloud.events import Published
from tests.simulation.cloud.s3 import Version
from tests.simulation.machine import DAY_SECONDS, Machine

PORTAL, OFTEN = "digitale-gemeinde", 2 / 3
NAME = "forms-to-print"
RULES = [{"name": NAME, "from": {"portal": PORTAL}, "to": "docxworld/druck/BRIEF/{id}-{name}"}]
DELAYS = (0.0, 1.0, 600.0, 5000.0)
BLOCKED_SECONDS = (60.0, 1500.0)
LETTERS = 10
DELETED_AFTER = (0.0, 4000.0)


def rules_for(seed: int, portal: str) -> RoutingRules:
    """Return the rules of a run: none in some, so that there it is as if routing did not exist."""
    routes = portal == PORTAL and Chance(seed, "routing").happens(OFTEN)
    return read_routing_rules(json.dumps(RULES)) if routes else RoutingRules()


class Routes:
    """What rules make of the documents of one run, and whether that is right: every file once, none over another's."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._chance = Chance(machine.conditions.seed, "routes")
        self._wanted: dict[str, bytes] = {}
        self._copied: Counter[str] = Counter()
        self._blocked: set[str] = set()
        self.complaints: list[str] = []
        if machine.conditions.routing.rules:
            machine.account.events.observers.append(self._published)
            machine.account.s3.observers.append(self._written)
            machine.after(DAY_SECONDS, self._redrive)

    def has_work(self) -> bool:
        """Return whether a file has yet to be copied, or something lies in its way."""
        return bool(self._blocked or self._wanted.keys() - self._copied.keys())

    def close(self) -> list[str]:
        """Return all that must not be."""
        return [*self.complaints, *self._wrong_counts()]

    def _wrong_counts(self) -> Iterator[str]:
        for key in self._wanted:
            if self._copied[key] != 1:
                yield f"{key} was routed {self._copied[key]} times"
        yield from (f"{key} was routed, and did not arrive" for key in self._copied if key not in self._wanted)

    # --- what happens ------------------------------------------------------------------------------------------------

    def _published(self, event: Published) -> None:
        if event.detail_type != "Document Received":
            return
        for key, content in self._files(event.detail["key"]):
            if key not in self._wanted and self._chance.happens(0.2):
                self._block(key)
            self._wanted[key] = content
        body = json.dumps({"detail-type": event.detail_type, "detail": event.detail})
        for _ in range(2 if self._chance.happens(0.3) else 1):
            seconds = self._chance.between(0, self._chance.one_of(DELAYS))
            self._machine.after(seconds, partial(self._machine.account.send, "route", body))

    def _files(self, key: str) -> Iterator[tuple[str, bytes]]:
        document = json.loads(self._body(key))
        for file in document["files"]:
            if file["name"] not in RECORDS:
                yield f"docxworld/druck/BRIEF/{document['id']}-{file['name']}", self._body(file["key"])

    def _body(self, key: str) -> bytes:
        return next(each.body for each in self._machine.account.s3.versions(INBOX, key) if each.body)

    def _block(self, key: str) -> None:
        """Let a backend drop something of its own under the key, and take it away later."""
        self._machine.tell(f"* a backend drops its own {key}")
        self._blocked.add(key)
        self._machine.account.s3.put_object(Bucket=OUTBOX, Key=key, Body=b"something of its own")
        self._machine.after(self._chance.between(*BLOCKED_SECONDS), partial(self._delete, key))

    def _delete(self, key: str) -> None:
        self._machine.tell(f"* a backend deletes {key}")
        self._blocked.discard(key)
        self._machine.account.s3.delete_object(Bucket=OUTBOX, Key=key)

    def _written(self, bucket: str, key: str, version: Version) -> None:
        """Take note of a copy; it must not lie over anything, and must be the file."""
        if bucket != OUTBOX or version.deleted or version.is_delete_marker or RULE not in version.metadata:
            return
        self._copied[key] += 1
        before = [each for each in self._machine.account.s3.versions(OUTBOX, key) if each is not version][:1]
        if before and not before[0].is_delete_marker:
            self.complaints.append(f"{key} was routed over what lay there")
        if self._copied[key] > 1:
            self.complaints.append(f"{key} was routed again")
        if version.body != self._wanted.get(key):
            self.complaints.append(f"{key} is not what arrived")
        if self._chance.happens(0.7):
            self._machine.after(self._chance.between(*DELETED_AFTER), partial(self._delete, key))

    def _redrive(self) -> None:
        """Send back what route could not do within its tries, as an operator does."""
        account = self._machine.account
        letters = [each for each in account.receive(DEAD_LETTERS, LETTERS) if "Document Received" in each["body"]]
        for each in letters:
            account.send("route", each["body"])
        account.delete(DEAD_LETTERS, letters)
        self._machine.after(DAY_SECONDS, self._redrive)
