"""What nothing of ours can prevent: a lost event of S3, a deleted file. Comparisons report it, people repair it.

The operator reads the reports some hours after each comparison, and has everything repaired that can be. The operator's
own calls are not struck: what is tried here is what the functions make of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amtsbote.errors import Reject
from amtsbote.operations.office import Account, Office
from amtsbote.operations.reconciliation import repair, report, reports
from amtsbote.operations.stack import Stack
from amtsbote.reconciliation import Kind
from tests.simulation.account import BUS, DEAD_LETTERS, INBOX, LEDGER, OUTBOX
from tests.simulation.chance import Chance
from tests.simulation.machine import Machine
from tests.simulation.offices.office import Office as PortalOffice

OFTEN = 1 / 3
LOSING = frozenset({"duba"})  # where a drop means the same whenever it is sent
DELETES_AFTER = (1200.0, 20000.0)


class Caller:
    """Who the operator is, as STS says it."""

    def get_caller_identity(self) -> dict[str, str]:
        """Return an identity."""
        return {"Arn": "arn:aws:iam::123456789012:user/operator"}


class Mishaps:
    """What goes wrong from outside in one run; `reported` fills with what comparisons say: (kind, about, version)."""

    def __init__(self, machine: Machine, office: PortalOffice) -> None:
        self._machine = machine
        self._office = office
        self._chance = Chance(machine.conditions.seed, "mishaps")
        self._loses = machine.portal in LOSING and self._chance.happens(OFTEN)
        deletes = not machine.conditions.rules.kept_for and self._chance.happens(OFTEN)
        self.lost: set[tuple[str, str]] = set()
        self.deleted: set[str] = set()
        self.reported: set[tuple[str, str | None, str | None]] = set()
        machine.loses_event = self._loses_event
        machine.after_comparison = self._repair
        if deletes:
            machine.after(self._chance.between(*DELETES_AFTER), self._delete)

    def written(self, body: Mapping[str, Any]) -> None:
        """Take a report."""
        for each in body["differences"]:
            self.reported.add((each["kind"], each["id"] or each["outboxKey"], each["versionId"]))

    @property
    def is_open(self) -> bool:
        """Return whether something is still to be mended."""
        return any(self._open())

    def complaints(self) -> Iterator[str]:
        """Yield what was not reported, and what was not mended."""
        for key, version in sorted(self.lost):
            if (Kind.NOT_SENT, key, version) not in self.reported:
                yield f"the event of {key} {version} was lost, and no comparison says so"
        for key in sorted(self.deleted):
            if not [each for each in self.reported if each[0] == Kind.FILES_DIFFER and f"/{each[1]}/" in key]:
                yield f"{key} was deleted, and no comparison says so"
        yield from (f"{each} was not mended" for each in self._open())

    def _open(self) -> Iterator[str]:
        rows = self._machine.account.dynamodb.rows
        yield from (key for key, version in sorted(self.lost) if (f"DROP#{OUTBOX}/{key}", version) not in rows)
        yield from sorted(self.deleted - set(self._machine.account.s3.keys(INBOX)))

    def _loses_event(self, key: str, version: str) -> bool:
        lost = self._loses and self._chance.happens(OFTEN)
        if lost:
            self._machine.tell(f"* the event of {key} {version} is lost")
            self.lost.add((key, version))
        return lost

    def _delete(self) -> None:
        """Delete a file of a document that its portal has been told of."""
        told = {f"{self._office.name}/{connection}/{id_}" for connection, id_ in self._acknowledged()}
        keys = [key for key in self._machine.account.s3.keys(INBOX) if key.rpartition("/")[0] in told]
        if keys:
            key = self._chance.one_of(keys)
            self._machine.tell(f"* somebody deletes {key}")
            self.deleted.add(key)
            self._machine.account.s3.delete_object(Bucket=INBOX, Key=key)

    def _acknowledged(self) -> Iterator[tuple[str, str]]:
        for (name, _), row in self._machine.account.dynamodb.rows.items():
            if name.startswith("ITEM#") and row["state"]["S"] == "ACKNOWLEDGED":
                yield row["connection"]["S"], row["id"]["S"]

    def _repair(self) -> None:
        """Do what an operator does with `reconcile --repair`."""
        desk = self._desk()
        for connection in self._office.policies:
            account = Account(self._office.name, connection)
            for difference in report(desk, account).differences if reports(desk, account) else ():
                try:
                    intent = repair(desk, account, difference)
                except Reject as refusal:
                    self._machine.tell(f"* the operator: {refusal.message}")
                    continue
                self._machine.tell(f"* the operator: {intent.says}")
                intent.do()

    def _desk(self) -> Office:
        account = self._machine.account
        stack = Stack(INBOX, OUTBOX, LEDGER, BUS, DEAD_LETTERS, lambda verb, _: verb)
        return Office(stack, lambda name: Caller() if name == "sts" else account.service(name), self._machine.clock)
