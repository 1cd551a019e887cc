"""The alarms of every portal, alike but for their thresholds, and the dashboard; what they show, the code counts."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.template.loading import ROOT, load_template, logical, stack

STACK = stack()
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
PORTALS = ["duba", "docxworld", "digitale-gemeinde", "altinn"]
KINDS = {  # of a portal's alarms on metrics of our own: what is watched, and from when on
    "QuarantineAlarm": ("Quarantined", "Sum", "GreaterThanThreshold"),
    "OldestWorkAlarm": ("OldestWorkAge", "Maximum", "GreaterThanThreshold"),
    "UnacknowledgedAlarm": ("OldestUnacknowledgedAge", "Maximum", "GreaterThanThreshold"),
    "NotPolledAlarm": ("PollAge", "Maximum", "GreaterThanThreshold"),
    "UnhealthyAlarm": ("ConnectionUnhealthy", "Sum", "GreaterThanOrEqualToThreshold"),
    "CrashesAlarm": ("Crashed", "Sum", "GreaterThanOrEqualToThreshold"),
    "DifferencesAlarm": ("Differences", "Sum", "GreaterThanThreshold"),
}
THRESHOLDS = {
    "OldestWorkAlarm": "OldestWorkAlarmSeconds",
    "NotPolledAlarm": "NotPolledAlarmSeconds",
    "UnhealthyAlarm": "UnhealthyAlarmCount",
    "CrashesAlarm": "CrashesAlarmCount",
}
DESCRIPTION_AT_MOST = 1024  # characters, says CloudWatch
POLL_SECONDS = 300  # PollRate's default
FAILING_TRY_SECONDS = 1200  # a connection that fails is tried after 15 minutes at most, at the next poll
SEARCH = re.compile(r"SEARCH\('\{(\S+)\} MetricName=\"(\w+)\"( \S+)?', '(\w+)', (\d+)\)")
WIDTH = 24


def alarm_of(portal: str, kind: str) -> dict[str, Any]:
    return ALARMS[f"{logical(portal)}{kind}"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("portal", PORTALS)
def test_every_portal_has_every_alarm_on_its_own_metrics(portal: str, kind: str) -> None:
    alarm = alarm_of(portal, kind)
    assert (alarm["MetricName"], alarm["Statistic"], alarm["ComparisonOperator"]) == KINDS[kind]
    assert alarm["Namespace"] == STACK.all_functions()[0].environment["POWERTOOLS_METRICS_NAMESPACE"]
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "amtsbote"}, {"Name": "portal", "Value": portal}]


@pytest.mark.parametrize(("kind", "parameter"), THRESHOLDS.items())
@pytest.mark.parametrize("portal", PORTALS)
def test_a_threshold_is_its_parameter(portal: str, kind: str, parameter: str) -> None:
    changed = stack(**{parameter: "77"}).of_type("AWS::CloudWatch::Alarm")
    assert changed[f"{logical(portal)}{kind}"]["Threshold"] == "77"


@pytest.mark.parametrize("portal", PORTALS)
def test_how_old_a_document_may_become_is_set_for_each_portal(portal: str) -> None:
    parameter = f"{logical(portal)}UnacknowledgedAlarmSeconds"
    changed = stack(**{parameter: "77"}).of_type("AWS::CloudWatch::Alarm")
    seventy_seven = [name for name, alarm in changed.items() if alarm["Threshold"] == "77"]
    assert seventy_seven == [f"{logical(portal)}UnacknowledgedAlarm"]


@pytest.mark.parametrize("portal", PORTALS)
def test_what_is_missing_is_bad_only_where_somebody_always_reports(portal: str) -> None:
    missing = {kind: alarm_of(portal, kind)["TreatMissingData"] for kind in KINDS}
    assert [kind for kind, treated in missing.items() if treated == "breaching"] == ["NotPolledAlarm"]
    drained = stack(Schedules="DISABLED").of_type("AWS::CloudWatch::Alarm")
    assert drained[f"{logical(portal)}NotPolledAlarm"]["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("portal", PORTALS)
def test_an_alarm_looks_long_enough_to_see_the_next_report(portal: str) -> None:
    not_polled = alarm_of(portal, "NotPolledAlarm")
    assert not_polled["Period"] * not_polled["EvaluationPeriods"] >= 3 * POLL_SECONDS
    assert int(not_polled["Threshold"]) > not_polled["Period"]
    assert alarm_of(portal, "UnhealthyAlarm")["Period"] > FAILING_TRY_SECONDS


@pytest.mark.parametrize("name", ALARMS)
def test_a_description_fits_and_names_a_command_and_the_place_in_the_runbook(name: str) -> None:
    said = ALARMS[name]["AlarmDescription"]
    assert len(said) < DESCRIPTION_AT_MOST
    assert re.search(r"python -m amtsbote\.cli [a-z]+", said)
    (section,) = re.findall(r"docs/runbook\.md, (\w+Alarm)", said)
    assert name.endswith(section)


# ── the dashboard ────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def widgets() -> list[dict[str, Any]]:
    """The widgets as CloudWatch gets them, `${AWS::…}` aside."""
    (dashboard,) = STACK.of_type("AWS::CloudWatch::Dashboard").values()
    body = json.loads(dashboard["DashboardBody"].replace("${!", "${"))
    assert body.keys() == {"widgets"}
    return list(body["widgets"])


def searches() -> Iterator[tuple[str, str, str]]:
    """Namespace with dimensions, metric and further words of each search."""
    for widget in widgets():
        for (metric,) in widget["properties"].get("metrics", []):
            found = SEARCH.fullmatch(metric["expression"])
            assert found, metric
            assert (found[4], int(found[5])) == (widget["properties"]["stat"], widget["properties"]["period"])
            yield found[1], found[2], found[3] or ""


@cache
def counted() -> set[str]:
    """The names that the code counts or reports: every text in the first argument of `count` and `seconds`."""
    names: set[str] = set()
    for path in (ROOT / "layers" / "amtsbote" / "amtsbote").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("count", "seconds") and node.args:
                texts = [each.value for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)]
                names.update(text for text in texts if isinstance(text, str))
    return names


def test_the_dashboard_shows_only_what_the_code_counts() -> None:
    ours = {metric for schema, metric, _ in searches() if schema.startswith("Amtsbote,")}
    assert ours <= counted()
    assert ours >= {alarm["MetricName"] for alarm in ALARMS.values() if alarm["Namespace"] == "Amtsbote"}
    assert ours >= {"Found", "Stored", "Acknowledged", "Delivered", "DeliveryFailed", "Unavailable", "PollSucceeded"}


def test_an_alarm_watches_only_what_the_code_counts() -> None:
    assert {alarm["MetricName"] for alarm in ALARMS.values() if alarm["Namespace"] == "Amtsbote"} <= counted()


def test_the_queries_of_the_docs_ask_for_what_the_code_counts() -> None:
    said = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    queries = [line for line in said.splitlines() if line.startswith("    ")]
    asked = {name for line in queries for name in re.findall(r"\b([A-Z]\w+)\.0", line)}
    assert {"Found", "Stored", "Acknowledged", "Delivered", "DeliveryFailed", "PollAge"} <= asked <= counted()


def test_the_dashboard_needs_no_names_of_portals_queues_or_functions() -> None:
    text = json.dumps(widgets())
    assert not [name for name in (*PORTALS, *STACK.resources) if re.search(rf"\b{name}\b", text)]
    schemas = {schema for schema, *_ in searches()}
    of_portal = "Amtsbote,service,portal"
    assert schemas == {of_portal, "AWS/SQS,QueueName", "AWS/Lambda,FunctionName"}, "of connections there may be none"
    of_aws = {words for schema, _, words in searches() if schema.startswith("AWS/")}
    assert of_aws == {" ${AWS::StackName}"}, "and those of no other stack"


def test_the_widgets_fill_rows_without_covering_one_another() -> None:
    cells = [
        (x, y)
        for widget in widgets()
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(cells) == len(set(cells)) == WIDTH * (max(y for _, y in cells) + 1)
    for widget in widgets():
        ids = [metric["id"] for (metric,) in widget["properties"].get("metrics", [])]
        assert len(ids) == len(set(ids))


def test_there_is_one_dashboard_as_each_has_its_price() -> None:
    boards = [r for r in load_template()["Resources"].values() if r["Type"] == "AWS::CloudWatch::Dashboard"]
    assert [board["Properties"]["DashboardName"] for board in boards] == [{"Ref": "AWS::StackName"}]
