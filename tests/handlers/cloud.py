"""What the functions find around them: the template's queues, buckets, table and bus in an embedded AWS."""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sandbox.embedded import EmbeddedAws
from tests.handlers.runtime_api import HostedFunction
from tests.template.loading import ROOT, Function, Stack, stack

EVENTS = ROOT / "events"
PACKAGE = ROOT / "layers" / "amtsbote"
BUS = "amtsbote"
PASSWORD = "Kanarienvogel-Passwort"  # of every connection; in no log
REFERENCE = re.compile(r"\$\{(\w+)\}")
MADE_FROM_TABLE = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


class Cloud:
    """An AWS with the template's resources, each made when it is first referred to."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws = aws
        self.stack: Stack = stack(AllowLoopbackPortals="true", RoutingRules="[ ]")
        self._names: dict[str, str] = {}
        self._functions: dict[str, HostedFunction] = {}
        self._all_functions: list[HostedFunction] = []
        session: Any = aws.session()
        self.client: Callable[[str], Any] = cache(lambda name: session.client(name, endpoint_url=aws.endpoint))

    # --- functions ---

    def definition(self, verb: str, portal: str) -> Function:
        """Return what the template says of a function."""
        return next(each for each in self.stack.all_functions() if (each.verb, each.portal) == (verb, portal))

    def function(self, verb: str, portal: str) -> HostedFunction:
        """Return the running function of a verb and a portal, the same at each call."""
        key = f"{verb}-{portal}"
        if key not in self._functions:
            self._functions[key] = self.new_function(verb, portal)
        return self._functions[key]

    def new_function(self, verb: str, portal: str, **overrides: str | None) -> HostedFunction:
        """Return a function with a process of its own and other variables than the template's (None: without it)."""
        definition = self.definition(verb, portal)
        variables = {**self.environment(definition), **overrides}
        function = HostedFunction(
            name=f"{verb}-{portal}",
            folder=ROOT / "functions" / verb,
            environment={name: value for name, value in variables.items() if value is not None},
            timeout_seconds=definition.timeout_seconds,
            memory_megabytes=int(definition.properties["MemorySize"]),
            handler=str(definition.properties["Handler"]),
            python_path=str(PACKAGE),
        )
        self._all_functions.append(function)
        return function

    def environment(self, definition: Function) -> dict[str, str]:
        """Return a function's variables as CloudFormation would fill them in, and the way to the embedded AWS."""
        return self.aws.environment() | {name: self._filled(value) for name, value in definition.environment.items()}

    def logs(self) -> str:
        """Return everything that any function has logged."""
        return "".join(function.whole_log() for function in self._all_functions)

    def stop(self) -> None:
        """End the processes of all functions."""
        for function in self._all_functions:
            function.stop()

    # --- resources ---

    def name(self, logical_id: str) -> str:
        """Return what `!Ref` of a resource gives: a name, or a queue's URL."""
        if logical_id not in self._names:
            self._names[logical_id] = self._made(logical_id)
        return self._names[logical_id]

    def _filled(self, value: str) -> str:
        return REFERENCE.sub(lambda found: self.name(found[1]), str(value))

    def _made(self, logical_id: str) -> str:
        resource = self.stack.resources[logical_id]
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::SQS::Queue":
                return self._queue(logical_id, properties)
            case "AWS::S3::Bucket":
                return self._bucket(logical_id.lower(), properties)
            case "AWS::DynamoDB::Table":
                made = {name: properties[name] for name in MADE_FROM_TABLE}
                self.client("dynamodb").create_table(TableName=logical_id, **made)
                return logical_id
            case "AWS::Events::EventBus":
                self.client("events").create_event_bus(Name=BUS)
                return BUS
        raise NotImplementedError(resource["Type"])

    def _queue(self, name: str, properties: Mapping[str, Any]) -> str:
        attributes = {"VisibilityTimeout": str(properties["VisibilityTimeout"])}
        return str(self.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def _bucket(self, name: str, properties: Mapping[str, Any]) -> str:
        s3 = self.client("s3")
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": self.aws.region})
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=properties["VersioningConfiguration"])
        return name

    # --- what an operator and a backend do and see ---

    def connect(self, portal: str, secret: Mapping[str, Any]) -> str:
        """Create a connection's secret and return the connection's name, another one each time."""
        name = f"klinikum-{uuid.uuid4().hex[:8]}"
        self.client("secretsmanager").create_secret(Name=f"amtsbote/{portal}/{name}", SecretString=json.dumps(secret))
        return name

    def inbox(self, key: str) -> Any:
        """Return a JSON object of the inbox."""
        answer = self.client("s3").get_object(Bucket=self.name("InboxBucket"), Key=key)
        return json.loads(answer["Body"].read())

    def inbox_keys(self, prefix: str) -> set[str]:
        """Return the keys of the inbox below a prefix."""
        answer = self.client("s3").list_objects_v2(Bucket=self.name("InboxBucket"), Prefix=prefix)
        return {each["Key"] for each in answer.get("Contents", [])}

    def row(self, portal: str, connection: str, id_: str) -> dict[str, Any]:
        """Return an item's row in the ledger as plain text values; empty when there is none."""
        key = {"pk": {"S": f"ITEM#{portal}#{connection}#{id_}"}, "sk": {"S": "STATE"}}
        found = self.client("dynamodb").get_item(TableName=self.name("LedgerTable"), Key=key).get("Item", {})
        return {name: next(iter(value.values())) for name, value in found.items()}

    def change_row(self, portal: str, connection: str, id_: str, **values: str) -> None:
        """Spoil an item's row: overwrite text attributes of it."""
        key = {"pk": {"S": f"ITEM#{portal}#{connection}#{id_}"}, "sk": {"S": "STATE"}}
        self.client("dynamodb").update_item(
            TableName=self.name("LedgerTable"),
            Key=key,
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
            ExpressionAttributeNames={f"#{name}": name for name in values},
            ExpressionAttributeValues={f":{name}": {"S": value} for name, value in values.items()},
        )

    # --- queues ---

    def bodies(self, queue: str) -> list[dict[str, Any]]:
        """Take every message that is visible in a queue and return the bodies."""
        taken = self._receive(queue, 0)
        return [json.loads(each["Body"]) for each in taken]

    def received(self, queue: str, wait_seconds: int = 0) -> set[str]:
        """Receive what is visible, or becomes so in that time; returns the message ids."""
        return {each["MessageId"] for each in self._receive(queue, wait_seconds)}

    def delivered(self, queue: str, *bodies: Mapping[str, Any] | str) -> list[dict[str, Any]]:
        """Send the bodies through a real queue and return them as the records of its function's event.

        Everything but id, receipt handle and body is as in the sample of that verb.
        """
        sqs, url = self.client("sqs"), self.name(queue)
        self.client("sqs").purge_queue(QueueUrl=url)
        for body in bodies:
            sqs.send_message(QueueUrl=url, MessageBody=body if isinstance(body, str) else json.dumps(body))
        messages = self._receive(queue, 0)
        assert len(messages) == len(bodies)
        pattern = sample("fetch")["Records"][0]
        return [
            pattern | {"messageId": m["MessageId"], "receiptHandle": m["ReceiptHandle"], "body": m["Body"]}
            for m in messages
        ]

    def _receive(self, queue: str, wait_seconds: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while True:
            answer = self.client("sqs").receive_message(
                QueueUrl=self.name(queue),
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0 if messages else wait_seconds,
            )
            if not answer.get("Messages"):
                return messages
            messages += answer["Messages"]


def sample(name: str, **changes: Any) -> dict[str, Any]:
    """Return an event of events/, its bodies with other values (by their names in the body)."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    for record in event["Records"]:
        record["body"] = json.dumps(json.loads(record["body"]) | changes)
    return event
