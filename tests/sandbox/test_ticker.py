"""The ticker sends what the deployed schedules would send, and nothing else."""

import time
from collections.abc import Iterator

import pytest
from mypy_boto3_events import EventBridgeClient
from mypy_boto3_sqs import SQSClient

from sandbox.embedded import EmbeddedAws
from sandbox.ticker import Tick, Ticker, ticks

POLL = '{"portal":"duba","task":"poll"}'
TRACK = '{"portal":"docxworld","task":"track"}'
NEVER = "cron(0 0 1 1 ? 2099)"


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    with EmbeddedAws.start() as running:
        sqs: SQSClient = running.session().client("sqs", endpoint_url=running.endpoint)
        events: EventBridgeClient = running.session().client("events", endpoint_url=running.endpoint)
        for queue, body in (("dispatch-duba", POLL), ("dispatch-docxworld", TRACK)):
            url = sqs.create_queue(QueueName=queue)["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            events.put_rule(Name=queue, ScheduleExpression=NEVER, State="DISABLED")
            events.put_targets(Rule=queue, Targets=[{"Id": "dispatch", "Arn": arn, "Input": body}])
        events.put_rule(Name="drops", EventPattern='{"source": ["aws.s3"]}')
        yield running


def bodies(aws: EmbeddedAws, queue: str) -> list[str]:
    sqs: SQSClient = aws.session().client("sqs", endpoint_url=aws.endpoint)
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [message["Body"] for message in messages]


def test_it_finds_every_schedule_even_a_disabled_one_and_no_other_rule(aws: EmbeddedAws) -> None:
    found = set(ticks(aws.session().client("events", endpoint_url=aws.endpoint)))
    assert found == {
        Tick("dispatch-duba", "dispatch-duba", POLL),
        Tick("dispatch-docxworld", "dispatch-docxworld", TRACK),
    }


def test_a_round_sends_each_input_to_its_queue(aws: EmbeddedAws) -> None:
    Ticker(aws, seconds=1).fire()
    assert bodies(aws, "dispatch-duba") == [POLL]
    assert bodies(aws, "dispatch-docxworld") == [TRACK]


def test_it_fires_again_and_again_until_it_is_stopped(aws: EmbeddedAws) -> None:
    with Ticker(aws, seconds=0.1):
        time.sleep(0.5)
    assert len(bodies(aws, "dispatch-duba")) > 1
    assert bodies(aws, "dispatch-docxworld")
    time.sleep(0.2)
    assert bodies(aws, "dispatch-duba") == []


def test_a_schedule_that_feeds_no_queue_is_refused(aws: EmbeddedAws) -> None:
    events: EventBridgeClient = aws.session().client("events", endpoint_url=aws.endpoint)
    events.put_rule(Name="direct", ScheduleExpression=NEVER)
    function = f"arn:aws:lambda:{aws.region}:000000000000:function:poll"
    events.put_targets(Rule="direct", Targets=[{"Id": "function", "Arn": function, "Input": POLL}])
    with pytest.raises(ValueError, match="direct does not feed a queue"):
        Ticker(aws, seconds=1)
