"""A small host of the Lambda Runtime API: it runs a function's process as Lambda does, one invocation at a time.

The process is AWS's own runtime interface client with the real handler. It fetches each invocation from here, answers
here, and is killed when its time is up. What Lambda itself would say to the caller (timeout, a process that ended, a
failed initialisation) is said here in Lambda's words.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, Self

API = "/2018-06-01/runtime"
NEXT = f"{API}/invocation/next"
INIT_ERROR = f"{API}/init/error"
ERROR_TYPE_HEADER = "Lambda-Runtime-Function-Error-Type"
ACCOUNT = "123456789012"
INIT_SECONDS = 30.0  # Lambda grants 10; this machine may be busy with other tests
STOP_SECONDS = 5.0
SHUTDOWN_POLL_SECONDS = 0.1

TIMED_OUT = "Sandbox.Timedout"
EXITED = "Runtime.ExitError"


class Kind(StrEnum):
    """What can be heard of a process."""

    READY = "READY"  # it asks for the next invocation
    ANSWERED = "ANSWERED"
    FAILED = "FAILED"  # an error escaped the handler
    INIT_FAILED = "INIT_FAILED"
    ENDED = "ENDED"  # the process is gone
    SILENT = "SILENT"  # nothing was heard in time


@dataclass(frozen=True)
class Heard:
    """One thing heard of a process; `body` is JSON, or the exit status where it ended."""

    kind: Kind
    body: Any = None
    error_type: str | None = None


@dataclass(frozen=True)
class Invocation:
    """One event on its way to the handler; `deadline_ms` is the moment of the cut in milliseconds since 1970."""

    request_id: str
    event: bytes
    deadline_ms: int
    function_arn: str

    def headers(self) -> Mapping[str, str]:
        """Return the headers of the Runtime API's answer to `next`."""
        return {
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": str(self.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.function_arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
            "Content-Type": "application/json",
        }


@dataclass(frozen=True)
class Result:
    """What a caller of the function gets: the handler's answer, or Lambda's error object in `payload`."""

    request_id: str
    payload: Any
    failed: bool
    cold: bool
    seconds: float
    log: str

    @property
    def failures(self) -> list[str]:
        """The message ids of the partial batch answer; AssertionError when the answer is none."""
        assert not self.failed, f"{self.payload}\n{self.log}"
        assert self.payload.keys() == {"batchItemFailures"}, self.payload
        assert all(each.keys() == {"itemIdentifier"} for each in self.payload["batchItemFailures"]), self.payload
        return [each["itemIdentifier"] for each in self.payload["batchItemFailures"]]

    @property
    def error_type(self) -> str | None:
        """The type of the error that came instead of an answer."""
        return str(self.payload["errorType"]) if self.failed else None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines, without the metrics; ValueError when one is no JSON."""
        return [line for line in self._parsed() if "_aws" not in line]

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of this invocation: name → sum of its values."""
        blobs = [line for line in self._parsed() if "_aws" in line]
        names = {(index, m["Name"]) for index, blob in enumerate(blobs) for m in _definitions(blob)}
        sums: dict[str, float] = {}
        for index, name in names:
            sums[name] = sums.get(name, 0) + sum(blobs[index][name])
        return sums

    def _parsed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line]


def _definitions(blob: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [metric for directive in blob["_aws"]["CloudWatchMetrics"] for metric in directive["Metrics"]]


class _Server(ThreadingTCPServer):
    """The Runtime API of one process. `ThreadingHTTPServer` would look up the machine's name first."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Endpoint)
        self.invocations: queue.Queue[Invocation | None] = queue.Queue()
        self.heard: queue.Queue[Heard] = queue.Queue()

    @property
    def address(self) -> str:
        """The host and port that the process is told."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Endpoint(BaseHTTPRequestHandler):
    """The four calls that a runtime makes."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement

    def do_GET(self) -> None:
        """Hand out the next invocation as soon as there is one."""
        if self.path != NEXT:
            self._answer(404, b"")
            return
        self.server.heard.put(Heard(Kind.READY))
        invocation = self.server.invocations.get()
        if invocation is None:  # the host shuts down
            self.close_connection = True
            return
        self._answer(200, invocation.event, invocation.headers())

    def do_POST(self) -> None:
        """Take an answer or an error."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or "null")
        kind = _kind_of(self.path)
        if kind is None:
            self._answer(404, b"")
            return
        self._answer(202, b'{"status":"OK"}')
        self.server.heard.put(Heard(kind, body, self.headers.get(ERROR_TYPE_HEADER)))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the test's output is the function's log."""


def _kind_of(path: str) -> Kind | None:
    if path == INIT_ERROR:
        return Kind.INIT_FAILED
    return {"response": Kind.ANSWERED, "error": Kind.FAILED}.get(path.rsplit("/", 1)[-1])


class _Log:
    """The log of a function: a file without a name, to which its processes and the host append."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115 - open as long as this object
        self._told = 0

    @property
    def descriptor(self) -> int:
        """The file, as a process inherits it."""
        return self._file.fileno()

    def write(self, line: str) -> None:
        """Append a line of the host's."""
        self._file.write(f"{line}\n".encode())

    def whole(self) -> str:
        """Return everything that was logged."""
        return self._from(0)

    def new(self) -> str:
        """Return what was logged since this was last asked."""
        start, self._told = self._told, os.fstat(self.descriptor).st_size
        return self._from(start)

    def _from(self, start: int) -> str:
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size - start, start).decode()


class _Process:
    """One execution environment: a process, its Runtime API and its log."""

    def __init__(self, folder: Path, environment: Mapping[str, str], log: "_Log") -> None:
        self._server = _Server()
        threading.Thread(target=self._server.serve_forever, args=(SHUTDOWN_POLL_SECONDS,), daemon=True).start()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", environment["_HANDLER"]],
            cwd=folder,
            env={**environment, "AWS_LAMBDA_RUNTIME_API": self._server.address},
            stdin=subprocess.DEVNULL,
            stdout=log.descriptor,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._tell_end, daemon=True).start()

    def hear(self, timeout_seconds: float) -> Heard:
        """Return what is heard next."""
        try:
            return self._server.heard.get(timeout=timeout_seconds)
        except queue.Empty:
            return Heard(Kind.SILENT)

    def hand_over(self, invocation: Invocation) -> None:
        """Give the process its next invocation."""
        self._server.invocations.put(invocation)

    def kill(self) -> None:
        """End process and server at once."""
        self.popen.kill()
        self.popen.wait(STOP_SECONDS)
        self._server.invocations.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _tell_end(self) -> None:
        self._server.heard.put(Heard(Kind.ENDED, self.popen.wait()))


@dataclass
class HostedFunction:
    """One function: `folder` holds app.py, `environment` is what its configuration gives it.

    The process starts with the first invocation, serves the following ones, and is replaced after it died.
    """

    name: str
    folder: Path
    environment: Mapping[str, str]
    timeout_seconds: float
    memory_megabytes: int = 256
    handler: str = "app.handler"
    python_path: str = ""
    _process: _Process | None = field(default=None, repr=False)
    _log: _Log = field(default_factory=_Log, repr=False)

    def invoke(self, event: Any, *, timeout_seconds: float | None = None) -> Result:
        """Invoke the function and return what its caller gets; `timeout_seconds` overrides the configured timeout."""
        cold = self._process is None
        process = self._process = self._process or _Process(self.folder, self._whole_environment(), self._log)
        request_id = str(uuid.uuid4())
        started = time.monotonic()
        payload, failed = self._invoke(process, request_id, event, timeout_seconds or self.timeout_seconds)
        return Result(request_id, payload, failed, cold, time.monotonic() - started, self._log.new())

    def whole_log(self) -> str:
        """Return everything that all processes of the function have logged."""
        return self._log.whole()

    def stop(self) -> None:
        """End the process; its log stays. May be called any number of times."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _invoke(self, process: _Process, request_id: str, event: Any, timeout: float) -> tuple[Any, bool]:
        """Return the payload, and whether it is an error object."""
        heard = process.hear(INIT_SECONDS)
        if heard.kind is Kind.READY:
            deadline_ms = int((time.time() + timeout) * 1000)
            arn = f"arn:aws:lambda:{self.environment.get('AWS_REGION')}:{ACCOUNT}:function:{self.name}"
            process.hand_over(Invocation(request_id, json.dumps(event).encode(), deadline_ms, arn))
            heard = process.hear(timeout)
        if heard.kind is Kind.ANSWERED:
            return heard.body, False
        if heard.kind is Kind.FAILED:
            return heard.body, True
        self.stop()
        return self._obituary(heard, request_id, timeout), True

    def _obituary(self, heard: Heard, request_id: str, timeout: float) -> Mapping[str, Any]:
        """Return the error object of an invocation whose process did not survive it; Lambda logs the same."""
        if heard.kind is Kind.INIT_FAILED:
            return {**heard.body, "errorType": heard.error_type}
        if heard.kind is Kind.SILENT:
            said, kind = f"Task timed out after {timeout:.2f} seconds", TIMED_OUT
        else:
            said, kind = f"Runtime exited with error: exit status {heard.body}", EXITED
        self._log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {request_id} {said}")
        return {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {said}"}

    def _whole_environment(self) -> Mapping[str, str]:
        """Return the configured variables and those that Lambda adds; nothing of this process's own."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": self.python_path,
            "PYTHONDONTWRITEBYTECODE": "1",  # a function's folder is part of what is deployed
            "LAMBDA_TASK_ROOT": str(self.folder),
            "_HANDLER": self.handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_megabytes),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            **self.environment,
        }
