"""What the tests of the operations share: a stack in moto, rows in its ledger, the index that only operators use."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from amtsbote.ledger import Ledger
from amtsbote.lifecycle import Acknowledged, Committed, FoundUnreadable, ItemRow, LeaseTaken, opened
from amtsbote.operations.office import Office
from amtsbote.operations.stack import OUTPUTS, queue_id, stack_named
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import Finding
from tests.template.loading import load_template
from tests.unit.support import NOW, Clock, aws_client, new_bucket, refusal

MADE_FROM_TABLE = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")

SHELVES_INDEX: dict[str, Any] = {
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"}
        for name in ("pk", "sk", "dueQueue", "dueAt", "shelf", "shelvedAt")
    ],
    "GlobalSecondaryIndexUpdates": [
        {
            "Create": {
                "IndexName": "shelves",
                "KeySchema": [
                    {"AttributeName": "shelf", "KeyType": "HASH"},
                    {"AttributeName": "shelvedAt", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        }
    ],
}
"""The change that gives a ledger table the index; a table that the template makes has it from the beginning."""


STACK = "amtsbote"
PORTAL_VERBS = ("dispatch", "poll", "fetch", "acknowledge", "deliver", "track")


class StackDescriptions:
    """A stand-in for the CloudFormation client: one stack with outputs and queues, described as CloudFormation does."""

    def __init__(self, outputs: Mapping[str, str], resources: Mapping[str, str]) -> None:
        self._outputs = outputs
        self._resources = resources

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        """Return the stack with its outputs."""
        if StackName != STACK:
            raise refusal("ValidationError", "DescribeStacks")
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self._outputs.items()]
        return {"Stacks": [{"StackName": STACK, "Outputs": outputs}]}

    def describe_stack_resource(self, *, StackName: str, LogicalResourceId: str) -> dict[str, Any]:
        """Return a resource of the stack."""
        if LogicalResourceId not in self._resources:
            raise refusal("ValidationError", "DescribeStackResource")
        return {"StackResourceDetail": {"PhysicalResourceId": self._resources[LogicalResourceId]}}


def create_stack() -> StackDescriptions:
    """Create what the template describes: table, buckets, bus, and the queues of DUBA; return its description."""
    sqs = aws_client("sqs")
    table = load_template()["Resources"]["LedgerTable"]["Properties"]
    aws_client("dynamodb").create_table(TableName="ledger", **{name: table[name] for name in MADE_FROM_TABLE})
    aws_client("events").create_event_bus(Name=STACK)
    names = ["DeliverUnroutedQueue", "DeadLetterQueue", *(queue_id(verb, "duba") for verb in PORTAL_VERBS)]
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in names}
    inbox, outbox = (new_bucket(aws_client("s3")) for _ in range(2))
    values = (inbox, outbox, "ledger", STACK, queues.pop("DeadLetterQueue"))
    return StackDescriptions(dict(zip(OUTPUTS, values, strict=True)), queues)


def office(described: Any, clock: Clock, *, allow_loopback: bool = False) -> Office:
    """Return the operator's view of the stack that `create_stack` made."""
    return Office(stack_named(described, STACK), cache(aws_client), clock, allow_loopback=allow_loopback)


def found(id: str = "214", at: datetime = NOW, **record: Any) -> ItemRow:
    """Return the first row of an item that DUBA listed."""
    return opened("duba", "klinikum", Finding(id, at, record), json.dumps(record), at)


def quarantined(ledger: Ledger, row: ItemRow, reason: str = "NO_ZIP") -> ItemRow:
    """Open an item and let its bytes be unreadable."""
    ledger.open(row)
    leased = ledger.advance(row, LeaseTaken(NOW + timedelta(minutes=4)))
    return ledger.advance(leased, FoundUnreadable(leased.fence, reason))


def acknowledged(ledger: Ledger, row: ItemRow) -> ItemRow:
    """Open an item and let it go its usual way to the end."""
    ledger.open(row)
    leased = ledger.advance(row, LeaseTaken(NOW + timedelta(minutes=4)))
    stored = ledger.advance(leased, Committed(AcknowledgePolicy.STORED))
    return ledger.advance(stored, Acknowledged("DELETED"))
