"""CloudWatch's arithmetic over metric lines, as much of it as the alarms of the template need.

No AWS of this repository turns metric lines into metrics and evaluates alarms, so this stands in for it: it reads a
line by the embedded metric format's rules and an alarm by CloudWatch's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from amtsbote.observability import metrics
from tests.template.loading import stack

Line = Mapping[str, Any]
STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {"Sum": sum, "Maximum": max}
BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
}


def alarm(name: str, **parameters: str) -> dict[str, Any]:
    """Return an alarm of the template, deployed with these parameters."""
    return stack(**parameters).of_type("AWS::CloudWatch::Alarm")[name]


def is_raised(definition: Mapping[str, Any], *periods: Iterable[Line]) -> bool:
    """Return whether the alarm is in ALARM after its periods, given the lines of each, the latest last."""
    latest = periods[-int(definition["EvaluationPeriods"]) :]
    assert len(latest) == int(definition["EvaluationPeriods"]), "the alarm looks at more periods than there are"
    return all(_is_bad(definition, list(values(definition, lines))) for lines in latest)


def dimensions(definition: Mapping[str, Any]) -> dict[str, str]:
    """Return what the alarm watches: dimension → value."""
    return {each["Name"]: each["Value"] for each in definition["Dimensions"]}


def _is_bad(definition: Mapping[str, Any], values: Sequence[float]) -> bool:
    if not values:
        return bool(definition["TreatMissingData"] == "breaching")
    statistic = STATISTICS[definition["Statistic"]]
    return BREACHES[definition["ComparisonOperator"]](statistic(values), float(definition["Threshold"]))


def values(definition: Mapping[str, Any], lines: Iterable[Line]) -> Iterator[float]:
    """Yield the values that count for the metric with just these dimensions."""
    for line in lines:
        for directive in line["_aws"]["CloudWatchMetrics"]:
            sets = [{name: line[name] for name in names} for names in directive["Dimensions"]]
            named = {each["Name"] for each in directive["Metrics"]}
            same = directive["Namespace"] == definition["Namespace"] and definition["MetricName"] in named
            if same and dimensions(definition) in sets:
                yield from line[definition["MetricName"]]


class MetricLines:
    """What the functions in this process count, period by period."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, portal: str) -> None:
        monkeypatch.setattr(metrics, "portal", portal)
        monkeypatch.setattr(metrics, "write", self._take)
        self._lines: list[Line] = []
        self.period()

    def period(self) -> list[Line]:
        """Return the lines since this was last asked."""
        metrics.flush_metrics()
        lines, self._lines = self._lines, []
        return lines

    def _take(self, line: Line) -> None:
        self._lines.append(line)
