"""What the functions use of AWS, as amounts that are billed: counted, measured, and what Lambda adds by itself."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

FULL_CORE_MEGABYTES = 1769  # of memory, for which Lambda gives a function one core
PLATFORM_LOG_BYTES = 420  # START, END and REPORT of each invocation
QUEUE_REQUESTS = 2  # of Lambda itself, for each batch that it hands to a function
GIGABYTE = 1_000_000_000
MEGABYTES_PER_GIGABYTE = 1024
EVENTS = "EventBridge"
WRITING_METHODS = ("s3 PUT", "s3 POST")


@dataclass(frozen=True)
class Work:
    """What invocations of one function took: how many, how long (wall), how much of a core, with how much memory."""

    invocations: float
    wall_seconds: float
    cpu_seconds: float
    memory_megabytes: float

    @property
    def billed_seconds(self) -> float:
        """Return how long they take in Lambda, where a small function has a small part of a core."""
        slower = max(1.0, FULL_CORE_MEGABYTES / self.memory_megabytes)
        return max(0.0, self.wall_seconds - self.cpu_seconds) + self.cpu_seconds * slower

    @property
    def gigabyte_seconds(self) -> float:
        """Return what their duration is billed as."""
        return self.billed_seconds * self.memory_megabytes / MEGABYTES_PER_GIGABYTE


@dataclass(frozen=True)
class Usage:
    """Amounts by the name of their price. They can be added and multiplied."""

    amounts: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: "Usage") -> "Usage":
        names = {**self.amounts, **other.amounts}
        return Usage({name: self.amounts.get(name, 0.0) + other.amounts.get(name, 0.0) for name in names})

    def times(self, factor: float) -> "Usage":
        """Return the usage so many times."""
        return Usage({name: amount * factor for name, amount in self.amounts.items()})

    def less(self, other: "Usage") -> "Usage":
        """Return what is left when another usage is taken off; nothing falls below zero."""
        left = self + other.times(-1)
        return Usage({name: max(0.0, amount) for name, amount in left.amounts.items()})


def usage_of(
    requests: Mapping[str, float], units: Mapping[str, float], works: Iterable[Work], log_bytes: float
) -> Usage:
    """Return what counted requests, DynamoDB's units, invocations and logs are billed as.

    For each invocation Lambda receives a batch from its queue and deletes it.
    """
    works = list(works)
    invocations = sum(work.invocations for work in works)
    sums: Counter[str] = Counter()
    for name, number in requests.items():
        sums[_price_of(name)] += number  # type: ignore[assignment]
    taken = {"SQS": sums["SQS"] + QUEUE_REQUESTS * invocations}
    return Usage(
        {
            **{name: amount for name, amount in sums.items() if not name.startswith("DynamoDB")},
            **taken,
            "DynamoDB, writes": units.get("write units", 0.0),
            "DynamoDB, reads": units.get("read units", 0.0),
            "Lambda, duration": sum(work.gigabyte_seconds for work in works),
            "Lambda, requests": invocations,
            "CloudWatch, logs": (log_bytes + invocations * PLATFORM_LOG_BYTES) / GIGABYTE,
        }
    )


def _price_of(request: str) -> str:
    service = request.split(maxsplit=1)[0]
    if service == "s3":
        return "S3, writes" if request in WRITING_METHODS else "S3, reads"
    names = {"sqs": "SQS", "events": EVENTS, "secretsmanager": "Secrets Manager, calls", "kms": "KMS, calls"}
    return names.get(service, "DynamoDB")


def metrics_in(log: str) -> tuple[set[str], set[str]]:
    """Return the custom metrics that a log's lines make: names of those of a connection, and of those of the portal."""
    of_connection: set[str] = set()
    of_portal: set[str] = set()
    for line in log.splitlines():
        if '"_aws"' not in line:
            continue
        written = json.loads(line)
        names = {metric["Name"] for each in written["_aws"]["CloudWatchMetrics"] for metric in each["Metrics"]}
        of_portal |= names
        if "connection" in written:
            of_connection |= names
    return of_connection, of_portal
