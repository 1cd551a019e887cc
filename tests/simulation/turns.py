"""Workers side by side in one thread: each is a greenlet that gives its turn away where it crosses a boundary.

Nothing runs at the same time as anything else, so that a run is repeated by repeating who had which turn. A process is
a group of workers that lives and dies as one: what is killed gets no further turn, and nothing it still tries has an
effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ALL_COMPLETED
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

Thing = TypeVar("Thing")
Result = TypeVar("Result")


class Death(BaseException):
    """The process died. No handler of the package gets hold of it."""


@dataclass(eq=False)
class Process:
    """A group of workers with one life; `name` is for messages."""

    name: str
    dead: bool = False
    workers: list[Worker] = field(default_factory=list)
    memory: dict[object, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Return whether all of its workers have ended."""
        return all(worker.over for worker in self.workers)


@dataclass(eq=False)
class Worker:
    """One line of work; it has no turn before `wake_at`, nor while it waits for those in `awaits`.

    Its end wakes the worker in `wakes`, whatever that one sleeps for.
    """

    process: Process
    work: Callable[[], Any]
    wake_at: datetime | None = None
    awaits: Sequence[Worker] = ()
    over: bool = False
    result: Any = None
    error: BaseException | None = None
    thread: greenlet | None = None
    wakes: Worker | None = None

    def run(self) -> None:
        """Do the work, and keep what came of it."""
        try:
            self.result = self.work()
        except BaseException as error:  # whatever it is, it belongs to whoever waits for it
            self.error = error
        self.over = True
        if self.wakes is not None:
            self.wakes.wake_at = None

    def may_run(self, now: datetime) -> bool:
        """Return whether a turn would be of use."""
        asleep = self.wake_at is not None and self.wake_at > now
        return not self.over and not asleep and all(other.over for other in self.awaits)


class Turns:
    """Who is there, and whose turn it is."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._hub = getcurrent()
        self._by_thread: dict[greenlet, Worker] = {}
        self.workers: list[Worker] = []

    def start(self, process: Process, work: Callable[[], Any]) -> Worker:
        """Add a worker to a process; it begins when it gets its first turn."""
        worker = Worker(process, work)
        worker.thread = greenlet(worker.run, parent=self._hub)
        self._by_thread[worker.thread] = worker
        process.workers.append(worker)
        self.workers.append(worker)
        return worker

    def current(self) -> Worker | None:
        """Return the worker whose turn it is, None outside of all turns."""
        return self._by_thread.get(getcurrent())

    def ready(self) -> list[Worker]:
        """Return the workers that could have a turn now."""
        now = self._clock()
        return [worker for worker in self.workers if worker.may_run(now)]

    def next_wake(self) -> datetime | None:
        """Return when the first of the sleeping workers wakes."""
        return min((each.wake_at for each in self.workers if not each.over and each.wake_at is not None), default=None)

    def give(self, worker: Worker) -> None:
        """Let a worker go on until it gives its turn away or ends."""
        worker.wake_at = None
        cast(greenlet, worker.thread).switch()
        self._tidy()

    def pause(self, until: datetime | None = None) -> None:
        """Give the turn away (until a moment); Death where the process was killed meanwhile."""
        worker = self.current()
        if worker is None:
            return
        if worker.process.dead:
            raise Death
        worker.wake_at = until
        self._hub.switch()
        if worker.process.dead:
            raise Death

    def now(self) -> datetime:
        """Return the time."""
        return self._clock()

    def pause_for_one_of(self, others: Sequence[Worker], until: datetime) -> None:
        """Give the turn away until one of the others has ended, or until a moment."""
        me = self.current()
        for other in others:
            other.wakes = me
        self.pause(until)
        for other in others:
            other.wakes = None

    def kill(self, process: Process) -> None:
        """End a process: each of its workers ends where it stands. The caller's own ends by the Death raised here."""
        process.dead = True
        me = self.current()
        for worker in process.workers:
            if worker is not me and not worker.over:
                self._end(worker)
        if me is not None and me.process is process:
            raise Death
        self._tidy()

    def _end(self, worker: Worker) -> None:
        thread = cast(greenlet, worker.thread)
        if not thread:  # never begun: there is nothing to unwind
            worker.over, worker.error = True, Death()
            return
        thread.parent = getcurrent()
        thread.throw(Death)
        assert worker.over, "a dead worker went on"

    def _tidy(self) -> None:
        over = [worker for worker in self.workers if worker.over]
        for worker in over:
            self.workers.remove(worker)
            del self._by_thread[cast(greenlet, worker.thread)]

    def side_by_side(self, work: Callable[[Thing], Result], things: Sequence[Thing], workers: int) -> list[Result]:
        """Do what the package's function of this name does, with workers that take turns in place of threads."""
        me = self.current()
        if me is None or workers == 1 or len(things) < 2:
            return [work(thing) for thing in things]
        todo = list(enumerate(things))[::-1]
        results: dict[int, Result] = {}
        failed: list[BaseException] = []

        def go_on() -> None:
            while todo and not failed:
                number, thing = todo.pop()
                try:
                    results[number] = work(thing)
                except Exception as error:
                    failed.append(error)

        me.awaits = [self.start(me.process, go_on) for _ in range(min(workers, len(things)))]
        self.pause()
        me.awaits = ()
        if failed:
            raise failed[0]
        return [results[number] for number in range(len(things))]


class TurnFuture:
    """What a future is among workers that take turns. An error of the work belongs to whoever asks the future."""

    def __init__(self, turns: Turns, process: Process, work: Callable[[], Any]) -> None:
        self._error: Exception | None = None
        self._work = work
        self.worker = turns.start(process, self._carry)

    def _carry(self) -> Any:
        try:
            return self._work()
        except Exception as error:
            self._error = error

    def exception(self) -> BaseException | None:
        """Return what the work ended with instead of a result."""
        assert self.worker.over, "nobody asks for what is under way"
        return self._error or self.worker.error

    def result(self) -> Any:
        """Return what came of the work."""
        if (error := self.exception()) is not None:
            raise error
        return self.worker.result


class TurnPool:
    """What a pool of threads is among workers that take turns; the work that is handed in begins side by side."""

    turns: Turns

    def __init__(self, max_workers: int) -> None:
        self._most = max_workers
        self._workers: list[Worker] = []

    def submit(self, work: Callable[..., Any], *given: Any) -> TurnFuture:
        """Begin a piece of work."""
        me = self.turns.current()
        assert me is not None and sum(not each.over for each in self._workers) < self._most, (
            "nothing waits for its turn"
        )
        future = TurnFuture(self.turns, me.process, partial(work, *given))
        self._workers.append(future.worker)
        return future

    def __enter__(self) -> TurnPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        me = self.turns.current()
        if me is None or me.process.dead:
            return
        me.awaits = self._workers
        self.turns.pause()
        me.awaits = ()


def wait(futures: Collection[TurnFuture], timeout: float, return_when: str) -> tuple[set[TurnFuture], set[TurnFuture]]:
    """Do what `concurrent.futures.wait` does: return what has ended and what has not, after `timeout` seconds."""
    turns = TurnPool.turns
    until = turns.now() + timedelta(seconds=timeout)
    while True:
        ended = {each for each in futures if each.worker.over}
        under_way = set(futures) - ended
        enough = not under_way if return_when == ALL_COMPLETED else bool(ended)
        if enough or turns.now() >= until:
            return ended, under_way
        turns.pause_for_one_of([each.worker for each in under_way], until)


class TurnLock:
    """What a lock is among workers that take turns."""

    turns: Turns

    def __init__(self) -> None:
        self._holder: Worker | None = None

    def __enter__(self) -> None:
        while self._holder is not None and not self._holder.over:
            self.turns.pause()
        self._holder = self.turns.current()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._holder = None
