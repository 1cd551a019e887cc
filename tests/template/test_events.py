"""The samples in events/: one per trigger, in the shape that the handlers get, and true to the template."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from tests.template.loading import ROOT, Function, stack
from tests.template.patterns import matches

STACK = stack(RoutingRules="[1]")  # with every function that there may be
FUNCTIONS = {f.queue_name: f for f in STACK.functions()}
ROTATION = ROOT / "events" / "rotate.json"  # the one that comes through no queue
SAMPLES = sorted(set((ROOT / "events").glob("*.json")) - {ROTATION})
EVENTS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in SAMPLES}
RECORDS = [(name, record) for name, event in EVENTS.items() for record in event["Records"]]
IDS = [f"{name}-{record['messageId'][-2:]}" for name, record in RECORDS]
EACH_RECORD = pytest.mark.parametrize(("name", "record"), RECORDS, ids=IDS)
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def receiver(record: dict[str, Any]) -> Function:
    """The function whose queue a record came from."""
    queue = record["eventSourceARN"].rsplit(":", 1)[1]
    return FUNCTIONS[queue.split("-")[1]]


def bodies(name: str) -> list[Any]:
    return [json.loads(record["body"]) for record in EVENTS[name]["Records"]]


def test_there_is_a_sample_for_each_verb_and_for_the_unrouted_drops() -> None:
    received = {(receiver(record).verb, receiver(record).portal == "unrouted") for _, record in RECORDS}
    assert received == {(f.verb, f.portal == "unrouted") for f in FUNCTIONS.values()}


@EACH_RECORD
def test_a_record_is_one_that_sqs_hands_to_lambda(name: str, record: dict[str, Any]) -> None:
    assert record.keys() == {
        "messageId",
        "receiptHandle",
        "body",
        "attributes",
        "messageAttributes",
        "md5OfBody",
        "eventSource",
        "eventSourceARN",
        "awsRegion",
    }
    assert re.fullmatch(UUID, record["messageId"])
    assert record["eventSource"] == "aws:sqs"
    assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()
    assert {"ApproximateReceiveCount", "SentTimestamp"} <= record["attributes"].keys()
    assert all(isinstance(value, str) for value in record["attributes"].values())
    assert receiver(record).verb == name.split("-", maxsplit=1)[0]


@EACH_RECORD
def test_no_sample_is_larger_than_the_batch_of_its_function(name: str, record: dict[str, Any]) -> None:
    assert len(EVENTS[name]["Records"]) <= receiver(record).properties["Events"]["Work"]["Properties"]["BatchSize"]


def test_message_ids_are_unique_so_that_a_partial_failure_names_one_record() -> None:
    ids = [record["messageId"] for _, record in RECORDS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["dispatch", "dispatch-reconcile", "retain"])
def test_a_tick_is_what_a_schedule_sends(name: str) -> None:
    sent = {t["Input"] for r in STACK.of_type("AWS::Events::Rule").values() for t in r["Targets"] if "Input" in t}
    assert {record["body"] for record in EVENTS[name]["Records"]} <= sent


@pytest.mark.parametrize(
    ("name", "portal", "task"),
    [
        ("poll", "duba", "poll"),
        ("poll-reconcile", "duba", "reconcile"),
        ("acknowledge", "duba", "acknowledge"),
        ("track", "docxworld", "track"),
    ],
)
def test_a_task_is_for_one_connection(name: str, portal: str, task: str) -> None:
    assert bodies(name) == [{"portal": portal, "connection": "klinikum", "task": task}]


def test_a_fetch_request_names_one_item() -> None:
    assert [set(body) for body in bodies("fetch")] == [{"portal", "connection", "id"}] * 2
    assert [body["id"] for body in bodies("fetch")] == ["214", "215"]


@pytest.mark.parametrize(
    ("name", "rule", "key"),
    [
        ("deliver", "DocxworldDropsRule", rf"docxworld/klinikum/{UUID}/brief\.pdf"),
        ("deliver-unrouted", "UnroutedDropsRule", r"klinikum/brief\.pdf"),
    ],
)
def test_a_drop_is_an_event_of_s3_that_its_rule_passes_on(name: str, rule: str, key: str) -> None:
    (event,) = bodies(name)
    assert (event["source"], event["detail-type"]) == ("aws.s3", "Object Created")
    dropped = event["detail"]["object"]
    assert dropped.keys() == {"key", "size", "etag", "version-id", "sequencer"}
    assert re.fullmatch(key, dropped["key"])
    assert event["resources"] == [f"arn:aws:s3:::{event['detail']['bucket']['name']}"]
    event["detail"]["bucket"]["name"] = "${OutboxBucket}"
    assert matches(STACK.of_type("AWS::Events::Rule")[rule]["EventPattern"], event)


def test_the_sample_of_a_rotation_is_what_secrets_manager_sends() -> None:
    event = json.loads(ROTATION.read_text(encoding="utf-8"))
    assert event.keys() == {"SecretId", "ClientRequestToken", "Step", "RotationToken"}
    assert event["Step"] == "createSecret"
    assert re.fullmatch(UUID, event["ClientRequestToken"])
    assert ":secret:amtsbote/docxworld/klinikum-" in event["SecretId"]


def test_no_sample_holds_a_secret_or_a_link() -> None:
    assert not re.search(r"https?://|password|token|X-Amz-", json.dumps(EVENTS), re.IGNORECASE)
