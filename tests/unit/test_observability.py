"""Metrics carry just the dimensions that the template's alarms watch, whatever the threads of an invocation count."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.metrics import MetricUnit

from amtsbote import observability
from amtsbote.observability import METRICS_PER_LINE, Metrics, count, seconds
from tests.template.loading import stack

ROOT = Path(__file__).parents[2]
PROGRAM = """
from types import SimpleNamespace
from amtsbote.observability import count, observed

@observed
def handler(event, context):
    count("Quarantined")
    if event.get("fails"):
        raise ValueError

context = SimpleNamespace(function_name="f", memory_limit_in_mb=1, invoked_function_arn="a", aws_request_id="r")
for event in ({}, {}, {"fails": True}):
    try:
        handler(event, context)
    except ValueError:
        pass
"""


class Written(Metrics):
    """Metrics whose lines are kept."""

    def __init__(self) -> None:
        super().__init__("Amtsbote", "duba")
        self.lines: list[Mapping[str, Any]] = []

    def write(self, line: Mapping[str, Any]) -> None:  # type: ignore[override] # it needs no self to write
        """Keep a line."""
        self.lines.append(line)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """Provide the metrics that `count` and `seconds` add to."""
    metrics = Written()
    monkeypatch.setattr(observability, "metrics", metrics)
    return metrics


def test_a_metric_has_the_dimensions_of_its_alarm_at_every_invocation_and_after_an_error() -> None:
    environment = {**os.environ, "AMTSBOTE_PORTAL": "duba", "PYTHONPATH": str(ROOT / "layers" / "amtsbote")}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    blobs = [json.loads(line) for line in answer.stdout.splitlines()]
    counted = [blob for blob in blobs if "Quarantined" in blob]
    alarm = stack().of_type("AWS::CloudWatch::Alarm")["DubaQuarantineAlarm"]
    wanted = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
    assert len(counted) == 3
    assert [blob.get("ColdStart") for blob in counted] == [[1], None, None]
    for blob in counted:
        (directive,) = blob["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == alarm["Namespace"]
        assert [{name: blob[name] for name in names} for names in directive["Dimensions"]] == [wanted]


def test_what_belongs_to_a_connection_counts_for_its_portal_and_names_it(written: Written) -> None:
    count("Stored", 2, connection="klinikum")
    seconds("OldestWorkAge", 7.0, connection="gericht")
    written.flush_metrics()
    told = [(line["connection"], line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]) for line in written.lines]
    assert told == [("klinikum", [["service", "portal"]]), ("gericht", [["service", "portal"]])]


def test_with_metrics_by_connection_it_counts_for_both(written: Written) -> None:
    written.by_connection = True
    count("Stored", connection="klinikum")
    count("Stored", 2, connection="klinikum")
    count("Stored", connection="gericht")
    count("Crashed")
    written.flush_metrics()
    portal, connection = ["service", "portal"], ["service", "portal", "connection"]
    told = [(line.get("connection"), line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]) for line in written.lines]
    assert told == [
        ("klinikum", [portal, connection]),
        ("gericht", [portal, connection]),
        (None, [portal]),
    ]
    assert [line.get("Stored") for line in written.lines] == [[3], [1], None]


@pytest.mark.parametrize(("said", "sets"), [("true", 2), ("false", 1), ("", 1)])
def test_whether_connections_are_dimensions_is_said_by_the_environment(said: str, sets: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "layers" / "amtsbote"), "AMTSBOTE_CONNECTION_METRICS": said}
    program = (
        "from amtsbote.observability import count, metrics; count('Stored', connection='k'); metrics.flush_metrics()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    (directive,) = json.loads(answer.stdout)["_aws"]["CloudWatchMetrics"]
    assert len(directive["Dimensions"]) == sets


def test_of_an_age_the_highest_is_kept_and_zero_is_said(written: Written) -> None:
    for age in (3.0, 40.0, 5.0):
        seconds("OldestWorkAge", age, connection="klinikum")
    seconds("PollAge", 0.0)
    written.flush_metrics()
    assert [line.get("OldestWorkAge", line.get("PollAge")) for line in written.lines] == [[40.0], [0.0]]
    units = [each["Unit"] for line in written.lines for each in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert units == ["Seconds", "Seconds"]


def test_nothing_counted_is_nothing_written(written: Written) -> None:
    count("Found", 0, connection="klinikum")
    written.flush_metrics()
    assert written.lines == []


def test_a_flush_begins_anew(written: Written) -> None:
    for _ in range(2):
        count("Stored")
        written.flush_metrics()
    assert [line["Stored"] for line in written.lines] == [[1], [1]]


def test_a_line_has_no_more_metrics_than_cloudwatch_reads(written: Written) -> None:
    names = [f"Metric{number}" for number in range(2 * METRICS_PER_LINE + 1)]
    for name in names:
        count(name, connection="klinikum")
    written.flush_metrics()
    described = [[each["Name"] for each in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]] for line in written.lines]
    assert [len(some) for some in described] == [METRICS_PER_LINE, METRICS_PER_LINE, 1]
    assert [name for some in described for name in some] == names
    for line, some in zip(written.lines, described, strict=True):
        assert {name for name in line if name.startswith("Metric")} == set(some)


def test_threads_lose_no_count(written: Written) -> None:
    switches = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda number: count("Stored", connection=f"c{number % 3}"), range(3000)))
    finally:
        sys.setswitchinterval(switches)
    written.flush_metrics()
    assert sum(line["Stored"][0] for line in written.lines) == 3000


def test_a_line_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("Amtsbote", "duba")
    metrics.add_metric(name="Stored", unit=MetricUnit.Count, value=1, connection="klinikum")
    metrics.flush_metrics()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["Stored"] == [1]
