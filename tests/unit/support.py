"""What the unit tests share: a clock as a value, clients of moto's AWS, and the table as the template describes it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
from botocore.exceptions import ClientError

from amtsbote.portals.protocols import Finding, Source

Logged = Callable[[], str]

REGION = "eu-central-1"
NOW = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)

LEDGER_SCHEMA: dict[str, Any] = {
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "dueQueue", "dueAt")
    ],
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
        }
    ],
}


def later(**delta: float) -> datetime:
    """Return a moment after NOW."""
    return NOW + timedelta(**delta)


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        """Let time pass."""
        self.now += timedelta(**delta)


def aws_client(name: str) -> Any:
    """Return a client that no configuration of this machine can lead to a real AWS."""
    make: Any = boto3.client  # its overloads take only literal names
    return make(name, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")


def new_bucket(s3: Any, *, versioned: bool = True) -> str:
    """Create an empty bucket and return its name."""
    name = f"bucket-{uuid4().hex}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def new_table(dynamodb: Any) -> str:
    """Create an empty ledger table and return its name."""
    name = f"ledger-{uuid4().hex}"
    dynamodb.create_table(TableName=name, **LEDGER_SCHEMA)
    return name


class Bus:
    """An EventBridge that takes everything and remembers what it is told: (kind, detail)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, int]:
        self.told += [(entry["DetailType"], json.loads(entry["Detail"])) for entry in Entries]
        return {"FailedEntryCount": 0}


def findings(source: Source, since: datetime | None) -> list[Finding]:
    """Return what a source lists, of which nothing is left out."""
    listed = list(source.discover(since))
    found = [each for each in listed if isinstance(each, Finding)]
    assert found == listed
    return found


def refusal(code: str, operation: str = "Operation") -> ClientError:
    """Return the error with which AWS refuses a call."""
    return ClientError({"Error": {"Code": code, "Message": "geheim: nothing of this belongs into a log"}}, operation)


def items_of(write: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the items that a PutItem or a TransactWriteItems writes."""
    return [each["Put"]["Item"] for each in write.get("TransactItems", [{"Put": write}])]


class Recorder:
    """A client that passes every call on to a real one and remembers it: (method, arguments)."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if not callable(real):
            return real

        def call(*args: Any, **arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return real(*args, **arguments)

        return call

    def named(self, method: str) -> list[dict[str, Any]]:
        """Return the arguments of the calls of one method."""
        return [arguments for name, arguments in self.calls if name == method]

    def written(self) -> list[list[dict[str, Any]]]:
        """Return the items of each write to DynamoDB."""
        return [items_of(arguments) for name, arguments in self.calls if name in ("put_item", "transact_write_items")]
