"""The course of a soak: a stream under violence, then peace until everything has reached its end, then judgement."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from sandbox.demo.observation import Observation
from sandbox.demo.scenario import ExpectedDrop, Scenario
from sandbox.soak.scenario import Arrival, Stream
from sandbox.soak.verdict import DeadLetter, SoakVerdict, judge_soak, open_since
from sandbox.soak.violence import Violence
from sandbox.soak.witness import Witness

STEP_SECONDS = 0.1
TICK_SECONDS = 4.0
LOOK_SECONDS = 5.0
LOOK_SHARE = 0.1
"""Looking takes this share of the time at most."""
QUIET_LOOKS = 3
"""So many times in a row the queues must be found empty: a message that is just being handed over is in none."""
QUIET_SECONDS = 0.5
DEAD_LETTERS_READ_AT_MOST = 50


class Stack(Protocol):
    """What a soak needs of the deployed stack."""

    def drop(self, expected: ExpectedDrop) -> ExpectedDrop:
        """Put the object into the outbox; returns the drop with its version."""

    def tick(self) -> None:
        """Fire every schedule, when the functions have taken up what the last round asked for."""

    def observe(self, *, anew: bool = False) -> Observation:
        """Look at everything from outside."""

    def left_in_queues(self) -> dict[str, int]:
        """How many messages each working queue has."""


@dataclass(frozen=True)
class Moment:
    """How things stand so many seconds after the start."""

    seconds: float
    scenario: Scenario
    verdict: SoakVerdict
    seen: Observation
    oldest_open_seconds: float
    longest_seconds: float
    """The longest that anything took, or has taken so far."""
    dead_letters: tuple[DeadLetter, ...] = ()


@dataclass
class Soak:
    """One soak. `report` hears how things stand every few seconds.

    Documents and violence come in a thread of their own, so that they do not wait for an AWS that is slow. `plug` is
    held while the stack is spoken to: the AWS is not killed then.
    """

    stream: Stream
    stack: Stack
    plug: threading.Lock
    violence: Violence
    witness: Witness
    dead_letters: Callable[[], Sequence[DeadLetter]]
    report: Callable[[Moment], object]
    _started: float = field(default_factory=time.monotonic)
    _ticked_at: float = float("-inf")
    _look_at: float = LOOK_SECONDS
    _longest: float = 0.0

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def rage(self, arrivals: list[Arrival], seconds: float) -> None:
        """Let documents and drops come, and violence happen, for that time; then nothing is wrong any more."""
        documents = [each for each in arrivals if not each.is_drop]
        drops = [each for each in arrivals if each.is_drop]
        with ThreadPoolExecutor(1, "outside") as threads:
            outside = threads.submit(self._outside, documents, seconds)
            while drops or not outside.done():
                self._drop(drops)
                self._go_on()
                time.sleep(STEP_SECONDS)
            outside.result()

    def drain(self, limit_seconds: float) -> Moment:
        """Wait until everything has reached its end and the queues are empty, and look at all of it anew."""
        deadline = self.now() + limit_seconds
        while not self._look().verdict.ended and self.now() < deadline:
            self._tick()
            time.sleep(QUIET_SECONDS)
        self._wait_until_quiet(deadline)
        return self._look(anew=True)

    def _outside(self, documents: list[Arrival], seconds: float) -> None:
        """What happens at the portals and to the machine, whatever the stack does meanwhile."""
        try:
            while self.now() < seconds:
                self.violence.strike(self.now())
                while documents and documents[0].at_seconds <= self.now():
                    self.stream.add_document(documents.pop(0).portal, self.now())
                time.sleep(STEP_SECONDS)
        finally:
            self.violence.end()

    def _drop(self, drops: list[Arrival]) -> None:
        """Drop what is due."""
        while drops and drops[0].at_seconds <= self.now():
            drop = self.stream.next_drop(drops.pop(0).portal, self.now())
            with self.plug:
                self.stream.dropped(self.stack.drop(drop))

    def _go_on(self) -> None:
        self._tick()
        began = self.now()
        if began >= self._look_at:
            self._look()
            self._look_at = self.now() + max(LOOK_SECONDS, (self.now() - began) / LOOK_SHARE)

    def _tick(self) -> None:
        now = self.now()
        if now - self._ticked_at > TICK_SECONDS:
            self._ticked_at = now
            with self.plug:
                self.stack.tick()

    def _wait_until_quiet(self, deadline: float) -> None:
        quiet = 0
        while quiet < QUIET_LOOKS and self.now() < deadline:
            quiet = 0 if any(self.stack.left_in_queues().values()) else quiet + 1
            time.sleep(QUIET_SECONDS)

    def _look(self, *, anew: bool = False) -> Moment:
        scenario = self.stream.scenario()
        with self.plug:
            seen, now = self.stack.observe(anew=anew), self.now()
        dead = tuple(self.dead_letters()) if anew and seen.dead_letters else ()
        verdict = judge_soak(scenario, seen, self.witness.too_early, dead)
        since = open_since(scenario.documents, scenario.drops, verdict.verdict)
        oldest = 0.0 if since is None else now - since
        self._longest = max(self._longest, oldest)
        moment = Moment(now, scenario, verdict, seen, oldest, self._longest, dead)
        self.report(moment)
        return moment


def read_dead_letters(client: Any, url: str) -> list[DeadLetter]:
    """What lies in the dead-letter queue. It stays there."""
    found: list[DeadLetter] = []
    while len(found) < DEAD_LETTERS_READ_AT_MOST:
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        if not messages:
            break
        found += [DeadLetter(each["Body"], "task" in json.loads(each["Body"])) for each in messages]
    return found
