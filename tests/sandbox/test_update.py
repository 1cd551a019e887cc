"""An update by the real `sam deploy`: what waits, what is written down and all names stay as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.deployment import STACK_NAME, StackOutputs, deploy
from sandbox.embedded import EmbeddedAws

HIDDEN_SECONDS = 900  # longer than the update, so that no function takes the message meanwhile
ROW = {"pk": {"S": "ITEM#duba#klinikum#214"}, "sk": {"S": "STATE"}, "state": {"S": "DISCOVERED"}}
BEFORE = {"Schedules": "DISABLED"}
AFTER = {**BEFORE, "LogLevel": "DEBUG", "DeliverTries": "5", "OverlapHours": "24", "FileMebibytesAtMost": "100"}

pytestmark = pytest.mark.once


@dataclass
class Updated:
    """A stack before and after an update: its outputs and what CloudFormation calls each resource."""

    aws: EmbeddedAws
    outputs: list[StackOutputs]
    names: list[dict[str, str]]

    def client(self, name: str) -> Any:
        """Return an administrator's client."""
        session: Any = self.aws.session()
        return session.client(name, endpoint_url=self.aws.endpoint)

    def deploy(self, parameters: dict[str, str]) -> None:
        """Deploy, and note what there is."""
        self.outputs.append(deploy(self.aws, parameters=parameters))
        listed = self.client("cloudformation").describe_stack_resources(StackName=STACK_NAME)["StackResources"]
        self.names.append({each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed})

    def queue(self, logical_id: str) -> str:
        """Return the URL of a queue."""
        name = self.names[0][logical_id].rpartition("/")[2].rpartition(":")[2]
        return str(self.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


@pytest.fixture(scope="module")
def updated() -> Iterator[Updated]:
    """Provide a stack that was updated while something was under way."""
    with EmbeddedAws.start() as aws:
        stack = Updated(aws, [], [])
        stack.deploy(BEFORE)
        stack.client("dynamodb").put_item(TableName=stack.outputs[0].ledger_table, Item=ROW)
        request = json.dumps({"portal": "duba", "connection": "klinikum", "id": "214"})
        for queue in ("FetchDubaQueue", "DeadLetterQueue"):
            stack.client("sqs").send_message(
                QueueUrl=stack.queue(queue), MessageBody=request, DelaySeconds=HIDDEN_SECONDS
            )
        stack.deploy(AFTER)
        yield stack


def test_everything_keeps_its_name(updated: Updated) -> None:
    first, second = updated.outputs
    assert first == second
    before, after = updated.names
    layers = {name for name in before if "Layer" in name}  # a new version of a layer is another resource
    assert {name: after[name] for name in before.keys() - layers} == {n: before[n] for n in before.keys() - layers}


@pytest.mark.parametrize("queue", ["FetchDubaQueue", "DeadLetterQueue"])
def test_a_message_that_waits_goes_on_waiting(updated: Updated, queue: str) -> None:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    told = updated.client("sqs").get_queue_attributes(QueueUrl=updated.queue(queue), AttributeNames=names)
    assert sum(int(count) for count in told["Attributes"].values()) == 1


def test_a_row_stays_as_it_was(updated: Updated) -> None:
    key = {name: ROW[name] for name in ("pk", "sk")}
    assert updated.client("dynamodb").get_item(TableName=updated.outputs[1].ledger_table, Key=key)["Item"] == ROW


def test_the_functions_are_those_of_the_update(updated: Updated) -> None:
    name = updated.names[1]["FetchDubaFunction"]
    variables = updated.client("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    assert (variables["POWERTOOLS_LOG_LEVEL"], variables["AMTSBOTE_FILE_MEBIBYTES"]) == ("DEBUG", "100")
    queue = updated.client("sqs").get_queue_attributes(
        QueueUrl=updated.queue("DeliverDubaQueue"), AttributeNames=["RedrivePolicy"]
    )
    assert int(json.loads(queue["Attributes"]["RedrivePolicy"])["maxReceiveCount"]) == int(AFTER["DeliverTries"]) + 2
