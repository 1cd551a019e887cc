"""The lean AWS in a process of its own, and the few things that a benchmark asks of it directly."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import local
from types import TracebackType
from typing import Any, Self

from benchmarks.processes import started

HOST = "127.0.0.1"
REGION = "eu-central-1"
REQUEST_SECONDS = 600.0


@dataclass(frozen=True)
class Counted:
    """What was asked: requests by service and operation, entries in batches, DynamoDB's units; and what is there."""

    requests: Mapping[str, int]
    entries: Mapping[str, int]
    units: Mapping[str, float]
    rows: int
    documents: int

    @property
    def total(self) -> int:
        """All requests together."""
        return sum(self.requests.values())


class RunningAws:
    """A lean AWS until the end of the with-block. `latency` multiplies the time that AWS would take; 0 is none."""

    def __init__(self, *, latency: float = 1.0, table: Path | None = None) -> None:
        arguments = ["--latency", str(latency), *(["--table", str(table)] if table else [])]
        self._stack = ExitStack()
        self._process = self._stack.enter_context(
            started([sys.executable, "-m", "benchmarks.cloud.server", *arguments])
        )
        self.port = int(self._process.first_line)
        self.endpoint = f"http://{HOST}:{self.port}"
        self._local = local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def process(self) -> "subprocess.Popen[str]":
        """The server's process."""
        return self._process.popen

    def environment(self) -> dict[str, str]:
        """Return the variables that point a function at it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "BENCHMARK",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def connect(self, portal: str, secrets: Mapping[str, Mapping[str, Any]]) -> None:
        """Create the secrets of connections by their names."""
        self.ask("secrets", **{f"amtsbote/{portal}/{name}": json.dumps(body) for name, body in secrets.items()})

    def send(self, queue: str, *bodies: Mapping[str, Any]) -> None:
        """Send messages."""
        self.ask("send", queue=queue, bodies=[json.dumps(body) for body in bodies])

    def take(self, queue: str, most: int, wait_seconds: float) -> list[dict[str, Any]]:
        """Take messages as records of a function's event."""
        taken = self.ask("take", queue=queue, most=most, wait=wait_seconds)
        return [_record(message) for message in taken]

    def done(self, queue: str, ids: Sequence[str]) -> None:
        """Forget messages."""
        self.ask("done", queue=queue, ids=list(ids))

    def counted(self) -> Counted:
        """Return what was asked since the last `forget`."""
        return Counted(**self.ask("state"))

    def ask(self, what: str, **body: Any) -> Any:
        """Ask the server's control; one connection per thread."""
        connection: HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = HTTPConnection(HOST, self.port, timeout=REQUEST_SECONDS)
        connection.request("POST", f"/_bench/{what}", json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{what}: {answer.status} {content[:200]!r}")
        return json.loads(content)


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "messageId": message["id"],
        "receiptHandle": message["id"],
        "body": message["body"],
        "attributes": {"ApproximateReceiveCount": str(message["receives"])},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "awsRegion": REGION,
    }
