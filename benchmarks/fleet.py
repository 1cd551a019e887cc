"""What Lambda does with the functions: each queue's messages in batches, to as many processes as the template allows.

A process is AWS's runtime client with the real handler, as in the contract tests. What a batch reports as failed comes
again, all else is done.
"""

import json
import re
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import LifoQueue
from threading import BoundedSemaphore, Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from benchmarks.cloud.running import RunningAws
from benchmarks.processes import PACKAGE, ROOT, cpu_seconds, peak_megabytes
from tests.handlers.runtime_api import HostedFunction, Result
from tests.template.loading import Function, Stack, stack

REFERENCE = re.compile(r"\$\{(\w+)\}")
TAKE_SECONDS = 0.5
GLANCE_SECONDS = 0.01
MOST_AT_ONCE = 10  # invocations of one function, as the template's MaximumConcurrency says
BUS = "amtsbote"
INBOX, OUTBOX, LEDGER = "InboxBucket", "OutboxBucket", "LedgerTable"


@dataclass(frozen=True)
class Invoked:
    """One invocation: when it began and ended (monotonic clock), how many records it had, and what it said."""

    verb: str
    began: float
    seconds: float
    cold: bool
    records: int
    failures: int


def environment_of(function: Function, aws: RunningAws) -> dict[str, str]:
    """Return a function's variables as CloudFormation would fill them in, and the way to the lean AWS."""

    def filled(value: str) -> str:
        return REFERENCE.sub(lambda found: _name(found[1], aws), str(value))

    return aws.environment() | {name: filled(value) for name, value in function.environment.items()}


def _name(logical_id: str, aws: RunningAws) -> str:
    if logical_id.endswith("Queue"):
        return f"{aws.endpoint}/000000000000/{logical_id}"
    return BUS if logical_id == "EventBus" else logical_id.lower() if logical_id.endswith("Bucket") else logical_id


class Source:
    """The event source of one function: a queue, a batch size, and the processes that serve it."""

    def __init__(self, function: Function, aws: RunningAws, most_at_once: int, invoked: list[Invoked]) -> None:
        (mapping,) = (event["Properties"] for event in function.properties["Events"].values())
        self.function = function
        self.queue = function.queue_name
        self._batch = int(mapping["BatchSize"])
        self._aws = aws
        self._most = most_at_once
        self._invoked = invoked
        self._free: LifoQueue[HostedFunction] = LifoQueue()
        self._all: list[HostedFunction] = []
        self._lock = Lock()
        self._slots = BoundedSemaphore(most_at_once)
        self._pool = ThreadPoolExecutor(most_at_once)

    def warm_up(self) -> None:
        """Start all processes and let each import what it needs, by an event without records."""
        for done in [self._pool.submit(self._warmed) for _ in range(self._most)]:
            self._free.put(done.result())

    def _warmed(self) -> HostedFunction:
        hosted = self._new()
        hosted.invoke({"Records": []})
        return hosted

    def work(self, stopped: Event) -> None:
        """Hand out batches until told to stop."""
        running: list[Future[None]] = []
        while not stopped.is_set():
            self._slots.acquire()
            records = self._aws.take(self.queue, self._batch, TAKE_SECONDS)
            if not records:
                self._slots.release()
                continue
            running.append(self._pool.submit(self._invoke, records))
        for done in running:
            if done.done():
                done.result()  # an error of the benchmark's own

    def _invoke(self, records: list[dict[str, Any]]) -> None:
        try:
            hosted = self._free.get_nowait() if not self._free.empty() else self._new()
            began = time.monotonic()
            result = hosted.invoke({"Records": records})
            self._free.put(hosted)
            failed = set(_failures(result, records))
            self._aws.done(self.queue, [each["messageId"] for each in records if each["messageId"] not in failed])
            seconds = time.monotonic() - began
            self._invoked.append(Invoked(self.function.verb, began, seconds, result.cold, len(records), len(failed)))
        finally:
            self._slots.release()

    def _new(self) -> HostedFunction:
        function = self.function
        hosted = HostedFunction(
            name=f"{function.verb}-{function.portal}",
            folder=ROOT / "functions" / function.verb,
            environment=environment_of(function, self._aws),
            timeout_seconds=function.timeout_seconds,
            memory_megabytes=int(function.properties["MemorySize"]),
            python_path=str(PACKAGE),
        )
        with self._lock:
            self._all.append(hosted)
        return hosted

    def peak_megabytes(self) -> float:
        """Return the most memory that any of its processes has had resident."""
        return max(peak_megabytes(pid) for pid in self._process_ids())

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have used."""
        return sum(cpu_seconds(pid) for pid in self._process_ids())

    def _process_ids(self) -> list[int]:
        return [each._process.popen.pid for each in self._all if each._process is not None]

    def logs(self) -> str:
        """Return what the function has logged."""
        return "".join(hosted.whole_log() for hosted in self._all)

    def stop(self) -> None:
        """End all processes, also those that are at work."""
        for hosted in self._all:
            hosted.stop()
        self._pool.shutdown()


def _failures(result: Result, records: list[dict[str, Any]]) -> list[str]:
    """Return the ids that come again: all of them where the invocation itself failed."""
    return [each["messageId"] for each in records] if result.failed else result.failures


class Fleet:
    """The functions of one portal, of these verbs, at work while the with-block lasts."""

    def __init__(self, aws: RunningAws, portal: str, *verbs: str, at_once: Mapping[str, int] | None = None) -> None:
        definitions: Stack = stack(AllowLoopbackPortals="true")
        self.aws = aws
        self.invoked: list[Invoked] = []
        chosen = [each for each in definitions.functions() if each.portal == portal and each.verb in verbs]
        limits = at_once or {}
        self.sources = {
            each.verb: Source(each, aws, limits.get(each.verb, MOST_AT_ONCE), self.invoked) for each in chosen
        }
        self._stopped = Event()
        self._threads = [Thread(target=source.work, args=(self._stopped,)) for source in self.sources.values()]
        self._portal = portal

    def __enter__(self) -> Self:
        for source in self.sources.values():
            source.warm_up()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        for source in self.sources.values():
            source.stop()
        for thread in self._threads:
            thread.join()

    def tick(self, task: str) -> None:
        """Let a schedule's turn come."""
        self.aws.send(self.sources["dispatch"].queue, {"portal": self._portal, "task": task})

    def drop(self, *keys: str) -> None:
        """Let the events of dropped objects arrive."""
        sample = json.loads((ROOT / "events" / "deliver.json").read_text())
        for number, key in enumerate(keys):
            body = json.loads(sample["Records"][0]["body"])
            body["detail"]["bucket"]["name"] = OUTBOX.lower()
            body["detail"]["object"] |= {"key": key, "version-id": "version-1", "sequencer": f"{number:016X}"}
            self.aws.send(self.sources["deliver"].queue, body)

    def wait_until_quiet(self, *verbs: str, timeout_seconds: float = 600.0) -> None:
        """Wait until the queues of these verbs (default: all) have no message that is not done."""
        names = {self.sources[verb].queue for verb in verbs or self.sources}
        end = time.monotonic() + timeout_seconds
        while names & self.aws.ask("open").keys():
            if time.monotonic() > end:
                raise TimeoutError(f"not quiet: {self.aws.ask('open')}\n{self.logs()[-4000:]}")
            time.sleep(GLANCE_SECONDS)

    def logs(self) -> str:
        """Return what all functions have logged."""
        return "".join(source.logs() for source in self.sources.values())
