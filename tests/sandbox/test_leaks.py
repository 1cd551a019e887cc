"""What the demo looks for in the logs, and that it finds it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from moto import mock_aws

from sandbox.demo.leaks import private_texts, read_logs
from sandbox.demo.scenario import Scenario, seed
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
    read = read_logs(logs, texts)
    assert (read.lines, read.looked_for, read.leaks) == (2, len(texts), ())


@pytest.mark.parametrize("spelled", [str, lambda text: quote(text, safe=""), lambda text: text.replace("\n", "\\n")])
def test_every_private_text_is_found_however_it_is_spelled(
    portals: Portals, scenario: Scenario, logs: Any, spelled: Any
) -> None:
    texts = private_texts(portals, scenario)
    write(logs, *(f"before {spelled(text)} after" for text in texts))
    assert set(read_logs(logs, texts).leaks) == {f"{name} is in {GROUP}" for name in texts.values()}


def test_only_our_own_logs_are_read(portals: Portals, scenario: Scenario, logs: Any) -> None:
    write(logs, *private_texts(portals, scenario), group=OTHER)
    assert read_logs(logs, private_texts(portals, scenario)).lines == 0
