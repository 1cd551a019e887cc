"""The deployed stack: the names of its buckets and its table, and the queues of its functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from amtsbote.errors import Misconfigured

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

OUTPUTS = ("InboxBucketName", "OutboxBucketName", "LedgerTableName", "EventBusName", "DeadLetterQueueUrl")
"""The outputs that are needed (contract, section 5)."""


@dataclass(frozen=True)
class Stack:
    """Where a stack keeps its things, and the parameters that it was deployed with.

    `queue_url(verb, portal)` returns the URL of the queue that feeds a function.
    """

    inbox_bucket: str
    outbox_bucket: str
    ledger_table: str
    event_bus: str
    dead_letter_queue_url: str
    queue_url: Callable[[str, str], str]
    parameters: Mapping[str, str] = field(default_factory=dict)


def stack_named(client: "CloudFormationClient", name: str) -> Stack:
    """Return the stack of that name; Misconfigured, saying what to check, where there is none or it is not ours."""
    described = _described(client, name)
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", [])}
    missing = [output for output in OUTPUTS if output not in outputs]
    if missing:
        raise Misconfigured("STACK_INVALID", f"the stack {name} has no output {', '.join(missing)}; check --stack")

    @cache
    def queue_url(verb: str, portal: str) -> str:
        return _resource(client, name, queue_id(verb, portal))

    inbox, outbox, table, bus, dead_letters = (outputs[output] for output in OUTPUTS)
    return Stack(inbox, outbox, table, bus, dead_letters, queue_url, parameters)


def queue_id(verb: str, portal: str) -> str:
    """Return how the template calls the queue of a function."""
    return f"{verb.title()}{portal.title().replace('-', '')}Queue"


def _described(client: "CloudFormationClient", name: str) -> "StackTypeDef":
    try:
        (found,) = client.describe_stacks(StackName=name)["Stacks"]
    except (ClientError, BotoCoreError) as error:
        mend = "check --stack, --profile, --region and --endpoint-url"
        raise Misconfigured("STACK_MISSING", f"there is no stack {name} to be seen: {reason(error)}; {mend}") from None
    return found


def _resource(client: "CloudFormationClient", name: str, logical_id: str) -> str:
    try:
        found = client.describe_stack_resource(StackName=name, LogicalResourceId=logical_id)
    except (ClientError, BotoCoreError) as error:
        raise Misconfigured("QUEUE_MISSING", f"the stack {name} has no {logical_id}: {reason(error)}") from None
    return found["StackResourceDetail"]["PhysicalResourceId"]


def reason(error: Exception) -> str:
    """Return what AWS, or the way to it, refused: a code, never more of its words."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
