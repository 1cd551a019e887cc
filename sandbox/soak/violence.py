"""What goes wrong during a soak: killed workers, a killed AWS, portals that cannot be reached, faults in bursts."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from sandbox.embedded import EmbeddedAws, EmbeddedAwsError
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import RunningPortal, SimulatedPortal, serve
from sandbox.workers import Worker, workers_of

Started = TypeVar("Started")
GLANCE_SECONDS = 0.05
PORT_TRIES = 25
PORT_PAUSE_SECONDS = 0.2


class Act(StrEnum):
    """What can be done to the system."""

    KILL_WORKER = "worker killed"
    KILL_AWS = "AWS killed"
    OUTAGE = "portal unreachable"
    FAULTS = "faults"


EACH_SECONDS: Mapping[Act, float] = {Act.KILL_WORKER: 5.0, Act.KILL_AWS: 75.0, Act.OUTAGE: 20.0, Act.FAULTS: 6.0}
"""How often each happens, on average."""
LASTS_SECONDS: Mapping[Act, tuple[float, float]] = {
    Act.KILL_WORKER: (0.0, 0.0),
    Act.KILL_AWS: (0.0, 1.5),
    Act.OUTAGE: (2.0, 7.0),
    Act.FAULTS: (3.0, 8.0),
}
"""How long each lasts, at least and at most."""
KINDS = (
    Kind.TOO_MANY_REQUESTS,
    Kind.SERVER_ERROR,
    Kind.RESET,
    Kind.LOST_ANSWER,
    Kind.TRUNCATED_BODY,
    Kind.LATENCY,
)
PROBABILITY = (0.2, 0.7)
RETRY_AFTER_SECONDS = (1, 4)
DELAY_SECONDS = (0.3, 2.0)


@dataclass(frozen=True)
class Blow:
    """One act: when it begins, how long it lasts, and at which portal and with which fault where it has one."""

    at_seconds: float
    act: Act
    seconds: float
    portal: str = ""
    fault: Fault | None = None


def plan(dice: random.Random, seconds: float, portals: Sequence[str]) -> list[Blow]:
    """Everything that happens within that time, in order. Each act happens at least once."""
    blows = (blow for act in Act for blow in _blows(dice, act, seconds, portals))
    return sorted(blows, key=lambda blow: blow.at_seconds)


def _blows(dice: random.Random, act: Act, seconds: float, portals: Sequence[str]) -> Iterator[Blow]:
    at_seconds = min(EACH_SECONDS[act], seconds) * dice.uniform(0.3, 0.8)
    while at_seconds < seconds:
        lasts = min(dice.uniform(*LASTS_SECONDS[act]), seconds - at_seconds)
        yield Blow(at_seconds, act, lasts, dice.choice(portals), _fault(dice) if act is Act.FAULTS else None)
        at_seconds += EACH_SECONDS[act] * dice.uniform(0.5, 1.5)


def _fault(dice: random.Random) -> Fault:
    return Fault(
        dice.choice(KINDS),
        probability=dice.uniform(*PROBABILITY),
        seed=dice.getrandbits(32),
        retry_after=dice.randint(*RETRY_AFTER_SECONDS),
        delay_seconds=dice.uniform(*DELAY_SECONDS),
    )


# --- the embedded AWS and its workers --------------------------------------------------------------------------------


class Mains:
    """The embedded AWS with its folder, and the plug that can be pulled. `aws` is the one that runs now.

    The plug is not pulled while somebody holds `lock`: what we ourselves ask of it shall have an answer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lock = threading.Lock()
        self.aws = EmbeddedAws.start(folder)

    def cut(self, seconds: float) -> None:
        """Kill the server and all its workers at once, and start it again in the same folder after that time."""
        port = int(self.aws.endpoint.rpartition(":")[2])
        with self.lock:
            os.killpg(self.aws.process_id, signal.SIGKILL)
            self.aws.stop()
            time.sleep(seconds)
            self.aws = _patiently(lambda: EmbeddedAws.start(self._folder, port), EmbeddedAwsError)

    def busy_worker(self, dice: random.Random) -> Worker | None:
        """One of the workers that are computing just now, any if none is, None if there is no worker."""
        before = {each.process_id: each.ticks for each in workers_of(self.aws.process_id)}
        time.sleep(GLANCE_SECONDS)
        now = workers_of(self.aws.process_id)
        busy = [each for each in now if each.ticks > before.get(each.process_id, 0)]
        return dice.choice(busy or now) if now else None

    def stop(self) -> None:
        """End it for good."""
        self.aws.stop()


def _patiently(start: Callable[[], Started], error: type[Exception]) -> Started:
    """Start on a port that was ours before: for a moment it may belong to a connection that somebody just made."""
    for _ in range(PORT_TRIES):
        try:
            return start()
        except error:
            time.sleep(PORT_PAUSE_SECONDS)
    return start()


# --- portals ---------------------------------------------------------------------------------------------------------


class Listeners:
    """The listening sockets of the portals. A portal whose socket is closed keeps its state."""

    def __init__(self, portals: Iterable[SimulatedPortal]) -> None:
        self._running: dict[str, RunningPortal[SimulatedPortal]] = {each.name: serve(each) for each in portals}

    def close(self, name: str) -> None:
        """From now on the portal refuses connections."""
        self._running[name].stop()

    def open_again(self, name: str) -> None:
        """Listen where it listened before."""
        before = self._running[name]
        self._running[name] = _patiently(lambda: serve(before.portal, port=before.port), OSError)

    def stop(self) -> None:
        """End all."""
        for each in self._running.values():
            each.stop()


# --- violence --------------------------------------------------------------------------------------------------------


@dataclass
class Violence:
    """Carries out a plan, in the thread that calls `strike`. `say` hears of each blow in a line."""

    mains: Mains
    listeners: Listeners
    portals: Mapping[str, SimulatedPortal]
    blows: list[Blow]
    dice: random.Random
    say: Callable[[str], object]
    kills: Counter[str] = field(default_factory=Counter)
    """Killed workers by function, and how often the whole AWS was killed."""
    outages: Counter[str] = field(default_factory=Counter)
    """By portal."""
    faults: Counter[str] = field(default_factory=Counter)
    """Requests that met a fault, by kind."""
    _closed: dict[str, float] = field(default_factory=dict)
    _armed: dict[str, float] = field(default_factory=dict)

    def strike(self, now_seconds: float) -> None:
        """Do what is due, and end what has lasted long enough."""
        for name in [name for name, until in self._closed.items() if until <= now_seconds]:
            self._open(name)
        for name in [name for name, until in self._armed.items() if until <= now_seconds]:
            self._disarm(name)
        while self.blows and self.blows[0].at_seconds <= now_seconds:
            self._do(self.blows.pop(0), now_seconds)

    def end(self) -> None:
        """All portals can be reached again and there are no more faults."""
        self.blows.clear()
        for name in list(self._closed):
            self._open(name)
        for name in list(self._armed):
            self._disarm(name)

    def _do(self, blow: Blow, now_seconds: float) -> None:
        match blow.act:
            case Act.KILL_WORKER:
                self._kill_worker()
            case Act.KILL_AWS:
                self._kill_aws(blow)
            case Act.OUTAGE:
                self._close(blow, now_seconds)
            case Act.FAULTS:
                self._arm(blow, now_seconds)

    def _kill_worker(self) -> None:
        worker = self.mains.busy_worker(self.dice)
        if worker is not None:
            os.kill(worker.process_id, signal.SIGKILL)
            self.kills[worker.function] += 1
            self.say(f"kill -9 of the worker {worker.function} ({worker.process_id})")

    def _kill_aws(self, blow: Blow) -> None:
        self.mains.cut(blow.seconds)
        self.kills[Act.KILL_AWS] += 1
        self.say(f"kill -9 of the whole AWS; started again after {blow.seconds:.1f} s")

    def _close(self, blow: Blow, now_seconds: float) -> None:
        if blow.portal not in self._closed:
            self.say(f"{blow.portal} cannot be reached for {blow.seconds:.1f} s")
            self.listeners.close(blow.portal)
            self.outages[blow.portal] += 1
        self._closed[blow.portal] = now_seconds + blow.seconds

    def _open(self, name: str) -> None:
        self.listeners.open_again(name)
        del self._closed[name]

    def _arm(self, blow: Blow, now_seconds: float) -> None:
        if blow.fault is not None:
            self.say(f"{blow.portal}: {blow.fault.kind} at {blow.fault.probability:.0%} for {blow.seconds:.1f} s")
            self.portals[blow.portal].faults.add(blow.fault)
            until = now_seconds + blow.seconds
            self._armed[blow.portal] = max(until, self._armed.get(blow.portal, until))

    def _disarm(self, name: str) -> None:
        """Faults that overlap end together."""
        faults = self.portals[name].faults
        self.faults.update({kind.value: faults.struck(kind) for kind in KINDS if faults.struck(kind)})
        faults.clear()
        del self._armed[name]
