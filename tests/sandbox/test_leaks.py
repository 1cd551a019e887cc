"""What the demo looks for and where, and that it finds it; and what it says of calls that a role forbids."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import responses
from moto import mock_aws

from sandbox.demo.leaks import LINK, Taken, private_texts, search
from sandbox.demo.observation import Judged, StoredObject
from sandbox.demo.scenario import Fingerprint, Scenario, seed
from sandbox.embedded import EmbeddedAwsError
from sandbox.portals.catalog import Portals, open_portals, secrets

GROUP, OTHER = "/amtsbote/duba/poll", "/somebody/else"


@pytest.fixture(scope="module")
def portals() -> Iterator[Portals]:
    with ExitStack() as running:
        yield open_portals(running)


@pytest.fixture(scope="module")
def scenario(portals: Portals) -> Scenario:
    return seed(portals)


@pytest.fixture
def logs() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("logs", region_name="eu-central-1")
        for group in (GROUP, OTHER):
            client.create_log_group(logGroupName=group)
            client.create_log_stream(logGroupName=group, logStreamName="one")
        yield client


def write(client: Any, *lines: str, group: str = GROUP) -> None:
    now = int(time.time() * 1000)  # what is older than two weeks is not taken
    events = [{"timestamp": now, "message": line} for line in lines]
    client.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)


def test_every_login_of_every_connection_is_looked_for(portals: Portals, scenario: Scenario) -> None:
    texts = private_texts(portals, scenario)
    assert secrets(portals).keys() <= set(texts.values())
    assert portals.altinn_login.private_key in texts
    assert "12 XVII 201/26" in texts


def test_lines_that_hold_nothing_private_are_counted(portals: Portals, scenario: Scenario, logs: Any) -> None:
    write(logs, '{"message":"polled","connection":"klinikum"}', "START")
    texts = private_texts(portals, scenario)
    found = search(logs, ['{"task":"poll"}'], receipt('{"status":"SENT"}'), texts)
    assert found.read == {"log lines": 2, "messages and events": 1, "receipts": 1}
    assert (found.looked_for, found.leaks) == (len(texts), ())


def receipt(text: str, key: str = "receipts/duba/klinikum/a.json") -> dict[str, StoredObject]:
    return {key: StoredObject(1, Fingerprint.of(text.encode()), json.loads(text))}


@pytest.mark.parametrize("spelled", [str, lambda text: quote(text, safe=""), lambda text: text.replace("\n", "\\n")])
def test_every_private_text_is_found_however_it_is_spelled(
    portals: Portals, scenario: Scenario, logs: Any, spelled: Any
) -> None:
    texts = private_texts(portals, scenario)
    write(logs, *(f"before {spelled(text)} after" for text in texts))
    assert set(search(logs, [], {}, texts).leaks) == {f"{name} is in {GROUP}" for name in texts.values()}


def test_every_private_text_is_found_in_what_is_sent(portals: Portals, scenario: Scenario, logs: Any) -> None:
    texts = private_texts(portals, scenario)
    leaks = search(logs, [json.dumps({"said": text}) for text in texts], {}, texts).leaks
    assert set(leaks) == {f"{name} is in a message or an event" for name in texts.values()}


def test_a_receipt_may_hold_its_link_and_nothing_else(logs: Any) -> None:
    texts, key = {"geheim": "a login", "marke": f"{LINK} of job 1"}, "receipts/duba/klinikum/ü.json"
    inbox = receipt('{"result":{"url":"https://x/marke","said":"geheim"}}', key)
    assert search(logs, [], inbox | receipt('"geheim"', "duba/klinikum/1/document.json"), texts).leaks == (
        f"a login is in {key}",
    )


def test_only_our_own_logs_are_read(portals: Portals, scenario: Scenario, logs: Any) -> None:
    write(logs, *private_texts(portals, scenario), group=OTHER)
    assert search(logs, [], {}, private_texts(portals, scenario)).read["log lines"] == 0


def test_what_the_embedded_aws_has_taken_down_is_told_by_role() -> None:
    poll, fetch, person = (f"arn:aws:sts::1:{who}" for who in ("assumed-role/Poll/x", "assumed-role/Fetch/y", "root"))
    judged = [
        [poll, "sqs:SendMessage", True, 3],
        [poll, "s3:PutObject", False, 2],
        [fetch, "s3:PutObject", True, 4],
        [person, "iam:CreateUser", False, 1],
    ]
    sent = [json.dumps({"Entries": [{"MessageBody": "eins"}, {"MessageBody": "zwei"}]})]
    with responses.RequestsMock() as aws:
        aws.get("http://127.0.0.1:1/_sandbox/taken", json={"judged": judged, "sent": sent})
        taken = Taken.of("http://127.0.0.1:1")
    assert taken.sent == ["eins", "zwei"]
    assert taken.judged == Judged(9, 3, ("Poll was refused s3:PutObject, 2 times",))


def test_a_record_without_any_call_of_a_function_proves_nothing() -> None:
    nobody = {"judged": [["arn:aws:iam::1:root", "sqs:SendMessage", True, 3]], "sent": ["{}"]}
    with responses.RequestsMock() as aws:
        aws.get("http://127.0.0.1:1/_sandbox/taken", json=nobody)
        with pytest.raises(EmbeddedAwsError, match="no call of a function"):
            Taken.of("http://127.0.0.1:1")
