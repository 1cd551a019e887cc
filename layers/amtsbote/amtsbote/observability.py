"""Logs and metrics: one logger, one set of metrics, one decorator for handlers. Nothing personal, nothing secret."""

import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeVar, cast

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

Handler = TypeVar("Handler", bound=Callable[..., Any])

warnings.filterwarnings("ignore", message="No application metrics to publish")  # a turn with nothing to do is normal
log = Logger(service="amtsbote", utc=True)
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Amtsbote"), service="amtsbote")


def observed(handler: Handler) -> Handler:
    """Decorate a handler: request id in each log line, metrics flushed, cold starts counted; no event is logged."""
    portal = os.environ.get("AMTSBOTE_PORTAL", "")
    metrics.set_default_dimensions(portal=portal or "none")
    counted = metrics.log_metrics(capture_cold_start_metric=True)(handler)
    return cast(Handler, log.inject_lambda_context(log_event=False)(counted))


def count(name: str, value: float = 1) -> None:
    """Add to a counter of this portal."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def seconds(name: str, value: float) -> None:
    """Report a duration of this portal."""
    metrics.add_metric(name=name, unit=MetricUnit.Seconds, value=value)


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
