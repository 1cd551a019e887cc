"""Makes the stack wait less for its dead. A function in the cloud may run for ten minutes, so what a worker that was
killed had in its hands comes again after up to an hour; a soak has no hour. Everything else stays as the template says.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sandbox.deployment import STACK_NAME
from sandbox.embedded import EmbeddedAws

TIMEOUT_SECONDS = 60
LEASE_SECONDS = 65
"""Longer than the timeout, as in the template, so that no worker outlives its lease."""
VISIBILITY_SECONDS = 75
SIDE_BY_SIDE = 8
LEASE = "AMTSBOTE_LEASE_SECONDS"


def hurry(aws: EmbeddedAws) -> None:
    """Shorten the timeouts of the functions, their leases, and how long a queue waits for an answer."""
    functions: Any = aws.session().client("lambda", endpoint_url=aws.endpoint)
    queues = aws.session().client("sqs", endpoint_url=aws.endpoint)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:  # changes that come together are saved together
        changes = [_shorter(function) for function in _functions(functions)]
        list(threads.map(lambda change: functions.update_function_configuration(**change), changes))
    for url in queues.list_queues(QueueNamePrefix=f"{STACK_NAME}-").get("QueueUrls", []):
        queues.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})


def _functions(client: Any) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_functions").paginate():
        yield from page["Functions"]


def _shorter(function: dict[str, Any]) -> dict[str, Any]:
    """The changes of one function."""
    variables = dict(function.get("Environment", {}).get("Variables", {}))
    if LEASE in variables:
        variables[LEASE] = str(LEASE_SECONDS)
    return {
        "FunctionName": function["FunctionName"],
        "Timeout": min(function["Timeout"], TIMEOUT_SECONDS),
        "Environment": {"Variables": variables},
    }
