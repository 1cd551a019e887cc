"""Logs and metrics: one logger, one set of metrics, one decorator for handlers. Nothing personal, nothing secret."""

import gc
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import PurePath
from threading import Lock
from typing import Any, TypeVar, cast

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit

Handler = TypeVar("Handler", bound=Callable[..., Any])

METRICS_PER_LINE = 100  # CloudWatch reads no more of one line
PORTAL_DIMENSIONS = ["service", "portal"]
CONNECTION_DIMENSIONS = [*PORTAL_DIMENSIONS, "connection"]


class Metrics:
    """What one invocation counts, written at its end as lines of CloudWatch's embedded metric format.

    One invocation may serve several connections side by side, so each has a line of its own, which names it and counts
    for the portal; where `by_connection` is set, the connection is a dimension, too, and has its price. What belongs to
    no connection counts for the portal alone. Counters of an invocation are summed, of its ages the highest is kept: a
    line never grows with the work. Safe in threads.
    """

    def __init__(self, namespace: str, portal: str = "none", *, by_connection: bool = False) -> None:
        self._namespace = namespace
        self.portal = portal
        self.by_connection = by_connection
        self._lock = Lock()
        self._values: dict[str | None, dict[str, tuple[MetricUnit, float]]] = {}
        self._cold = True

    def add_metric(self, name: str, unit: MetricUnit, value: float, connection: str | None = None) -> None:
        """Add to a counter, or report an age in seconds; with a connection, of it and of its portal."""
        with self._lock:
            values = self._values.setdefault(connection or None, {})
            _, known = values.get(name, (unit, 0.0))
            values[name] = unit, known + value if unit is MetricUnit.Count else max(known, value)

    def add_cold_start(self) -> None:
        """Count the first invocation of this process."""
        if self._cold:
            self.add_metric(name="ColdStart", unit=MetricUnit.Count, value=1)
        self._cold = False

    def flush_metrics(self) -> None:
        """Write down what was counted, and begin anew; nothing where nothing was."""
        with self._lock:
            counted, self._values = self._values, {}
        for connection, values in counted.items():
            for some in _lines_of(values):
                self.write(self._line(connection, some))

    @staticmethod
    def write(line: Mapping[str, Any]) -> None:
        """Write a line to where Lambda reads it; in one piece, because the logger writes there too."""
        sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
        sys.stdout.flush()

    def _line(self, connection: str | None, values: Mapping[str, tuple[MetricUnit, float]]) -> dict[str, Any]:
        described = [{"Name": name, "Unit": unit.value} for name, (unit, _) in values.items()]
        by_connection = self.by_connection and connection is not None
        sets = [PORTAL_DIMENSIONS, CONNECTION_DIMENSIONS] if by_connection else [PORTAL_DIMENSIONS]
        directive = {"Namespace": self._namespace, "Dimensions": sets, "Metrics": described}
        line: dict[str, Any] = {
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
            "service": "amtsbote",
            "portal": self.portal,
        }
        if connection is not None:
            line["connection"] = connection
        return line | {name: [value] for name, (_, value) in values.items()}


def _lines_of(values: Mapping[str, tuple[MetricUnit, float]]) -> Iterator[dict[str, tuple[MetricUnit, float]]]:
    names = list(values)
    for start in range(0, len(names), METRICS_PER_LINE):
        yield {name: values[name] for name in names[start : start + METRICS_PER_LINE]}


CHATTY = ("boto3", "botocore", "s3transfer", "requests", "urllib3")
"""Libraries whose warnings already hold whole addresses, presigned ones too, and whose DEBUG lines hold all else."""

for _name in CHATTY:
    logging.getLogger(_name).setLevel(logging.CRITICAL)

log = Logger(service="amtsbote", utc=True)
metrics = Metrics(
    os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Amtsbote"),
    by_connection=os.environ.get("AMTSBOTE_CONNECTION_METRICS") == "true",
)


def observed(handler: Handler) -> Handler:
    """Decorate a handler: request id in each log line, metrics flushed, cold starts counted; no event is logged.

    It ends what `initialisation` has begun.
    """
    gc.freeze()
    gc.enable()
    metrics.portal = os.environ.get("AMTSBOTE_PORTAL") or "none"

    @wraps(handler)
    def counted(event: Any, context: Any) -> Any:
        metrics.add_cold_start()
        try:
            return handler(event, context)
        finally:
            metrics.flush_metrics()

    return cast(Handler, log.inject_lambda_context(log_event=False)(counted))


def count(name: str, value: float = 1, *, connection: str | None = None) -> None:
    """Add to a counter of this portal and, if given, of a connection that exists; nothing is written of a zero.

    A connection's name may become a dimension, which is kept for months and has its price: never pass what a drop
    merely claims to be for.
    """
    if value:
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value, connection=connection)


@contextmanager
def counted_for(portal: str) -> Iterator[None]:
    """Let what is counted meanwhile be of that portal, in a function that serves several; one portal at a time."""
    own = metrics.portal
    metrics.flush_metrics()
    metrics.portal = portal or own
    try:
        yield
    finally:
        metrics.flush_metrics()
        metrics.portal = own


def seconds(name: str, value: float, *, connection: str | None = None) -> None:
    """Report an age in seconds, zero too; of several in one invocation the highest counts."""
    metrics.add_metric(name=name, unit=MetricUnit.Seconds, value=value, connection=connection)


def log_crash(error: BaseException) -> None:
    """Log an unexpected error by its type and the places it went through; its text might hold data, so it stays out."""
    frames = [
        f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    response = getattr(error, "response", None)  # botocore's is a dict, that of requests is not
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    log.error("crashed", extra={"code": code or type(error).__name__, "error_type": type(error).__name__, "at": frames})
    count("Crashed")
