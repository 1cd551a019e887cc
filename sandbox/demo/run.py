"""The course of the demo: seed, connect, let things happen, watch until everything has reached its end, judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sandbox.demo.observation import Observation
from sandbox.demo.scenario import End, ExpectedDrop, Scenario
from sandbox.demo.verdict import Finding, Verdict, judge

LOOK_SECONDS = 0.5
ENDS = frozenset(End)
WRONG_END_SECONDS = 15.0
"""So long after everything has come to some end it is waited whether a wrong end was only seen too early."""
SETTLE_SECONDS = 15.0
SETTLE_LOOK_SECONDS = 0.25
QUIET_LOOKS = 3
"""So many times in a row the queues must be found empty: a message that is just being handed over is in none."""


class Stack(Protocol):
    """What a run needs of the deployed stack."""

    def drop(self, expected: ExpectedDrop) -> ExpectedDrop:
        """Put the object into the outbox; returns the drop with its version."""

    def tick(self) -> None:
        """Fire every schedule, when it is time to."""

    def observe(self, *, anew: bool = False) -> Observation:
        """Look at everything from outside."""

    def left_in_queues(self) -> dict[str, int]:
        """How many messages each working queue has."""


@dataclass(frozen=True)
class Moment:
    """How things stand so many seconds after the start; `seconds_taken` in the order of documents, then drops."""

    seconds: float
    scenario: Scenario
    verdict: Verdict
    seen: Observation
    seconds_taken: tuple[float | None, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of the documents, then of the drops."""
        return (*self.verdict.documents, *self.verdict.drops)


class Run:
    """One run of a scenario against a stack. `report` hears how things stand, about twice a second."""

    def __init__(self, scenario: Scenario, stack: Stack, report: Callable[[Moment], object]) -> None:
        self._stack = stack
        self._report = report
        self._documents = scenario.documents
        self._drops = list(scenario.drops)
        self._changes = sorted(scenario.changes, key=lambda change: change.at_seconds)
        self._to_drop = sorted(range(len(self._drops)), key=lambda number: self._drops[number].from_seconds)
        self._ended: dict[int, float] = {}
        self._all_at_an_end_since: float | None = None
        self._started = time.monotonic()

    def watch(self, limit_seconds: float) -> Moment:
        """Let everything happen; returns when all has reached its end, or when the time is up."""
        while True:
            self._let_happen()
            self._stack.tick()
            moment = self._look()
            self._report(moment)
            if self._over(moment) or moment.seconds > limit_seconds:
                return moment
            time.sleep(LOOK_SECONDS)

    def settle(self) -> Moment:
        """Wait until the queues are empty, now that nothing new is asked for, and look at everything anew."""
        deadline, quiet = time.monotonic() + SETTLE_SECONDS, 0
        while quiet < QUIET_LOOKS and time.monotonic() < deadline:
            quiet = 0 if any(self._stack.left_in_queues().values()) else quiet + 1
            time.sleep(SETTLE_LOOK_SECONDS)
        return self._look(anew=True)

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _let_happen(self) -> None:
        while self._changes and self._changes[0].at_seconds <= self._now():
            self._changes.pop(0).happen()
        for number in [number for number in self._to_drop if self._is_due(self._drops[number])]:
            self._to_drop.remove(number)
            self._drops[number] = replace(self._stack.drop(self._drops[number]), from_seconds=self._now())

    def _is_due(self, drop: ExpectedDrop) -> bool:
        return drop.from_seconds <= self._now() and drop.ready()

    def _over(self, moment: Moment) -> bool:
        if self._changes or self._to_drop:
            return False
        return moment.verdict.ended or self._at_wrong_ends(moment)

    def _at_wrong_ends(self, moment: Moment) -> bool:
        """Whether nothing is under way any more and still not everything is as it should be."""
        if not all(finding.ok or finding.reached in ENDS for finding in moment.findings):
            self._all_at_an_end_since = None
            return False
        if self._all_at_an_end_since is None:
            self._all_at_an_end_since = moment.seconds
        return moment.seconds - self._all_at_an_end_since > WRONG_END_SECONDS

    def _look(self, *, anew: bool = False) -> Moment:
        seen, now = self._stack.observe(anew=anew), self._now()
        scenario = Scenario(self._documents, tuple(self._drops))
        verdict = judge(scenario, seen)
        return Moment(now, scenario, verdict, seen, self._taken(scenario, verdict, now))

    def _taken(self, scenario: Scenario, verdict: Verdict, now: float) -> tuple[float | None, ...]:
        """How long each took from when it could be had, for those that have reached their end."""
        begun = [each.from_seconds for each in scenario.documents] + [each.from_seconds for each in scenario.drops]
        for number, finding in enumerate((*verdict.documents, *verdict.drops)):
            if finding.ok:
                self._ended.setdefault(number, now - begun[number])
        return tuple(self._ended.get(number) for number in range(len(begun)))
