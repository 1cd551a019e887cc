"""One run: a seed, a portal, and what came of it. The same seed gives the same run, call by call."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import amtsbote.verbs.acknowledge
import amtsbote.verbs.dispatch
import amtsbote.verbs.reconcile
import amtsbote.verbs.retain
import amtsbote.verbs.track
from amtsbote import observability, queues, services, tokens
from amtsbote.lifecycle import State
from amtsbote.portals.docxworld import DocxworldClient, parts
from amtsbote.portals.docxworld.routing import TargetBook
from amtsbote.portals.docxworld.uploads import DocxworldDestination
from amtsbote.retention import EVERY_PORTAL, SHELVES, Rules
from amtsbote.routing import RoutingRules
from tests.simulation.boundary import Stroke, Strokes, Tally
from tests.simulation.chance import Chance
from tests.simulation.judge import Judge
from tests.simulation.machine import Conditions, Machine
from tests.simulation.mishaps import Mishaps
from tests.simulation.offices.altinn import AltinnOffice
from tests.simulation.offices.digitale_gemeinde import DigitaleGemeindeOffice
from tests.simulation.offices.docxworld import DocxworldOffice
from tests.simulation.offices.duba import DubaOffice
from tests.simulation.offices.office import Office
from tests.simulation.routes import Routes, rules_for
from tests.simulation.turns import TurnLock, TurnPool, wait

OFFICES: Mapping[str, type[Office]] = {
    office.name: office
    for office in (
        DubaOffice,
        DigitaleGemeindeOffice,
        AltinnOffice,
        DocxworldOffice,
    )
}
ERASING = 1 / 3  # of the runs
KEPT_HOURS = (2.0, 24.0)
KEPT_UNACKNOWLEDGED_HOURS = (0.2, 1.0)  # so short that documents which wait for their backend are old enough, too
RATES = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08)
SIDE_BY_SIDE = (
    queues,
    amtsbote.verbs.dispatch,
    amtsbote.verbs.acknowledge,
    amtsbote.verbs.track,
    amtsbote.verbs.retain,
    amtsbote.verbs.reconcile,
)


@dataclass(frozen=True)
class Script:
    """What makes a run what it is. Without `strokes` the dice decide; `orderly` lets the first in line go first."""

    seed: int
    portal: str
    strokes: Mapping[int, Stroke] | None = None
    orderly: bool = False


@dataclass
class Outcome:
    """What came of a run. `complaints` is empty where all went as it should."""

    script: Script
    complaints: list[str]
    struck: Mapping[int, Stroke]
    tally: Tally
    items: int
    drops: int
    steps: int
    history: list[str] = field(repr=False, default_factory=list)
    log: list[str] = field(repr=False, default_factory=list)


def script_of(seed: int) -> Script:
    """Return the script of a seed: the portals take turns."""
    names = list(OFFICES)
    return Script(seed, names[seed % len(names)])


def run(script: Script, *, with_history: bool = False) -> Outcome:
    """Carry out a script."""
    history: list[str] = []
    chance = Chance(script.seed, "conditions")
    erasing = rules_of(script.seed)
    routing = RoutingRules() if erasing.kept_for else rules_for(script.seed, script.portal)
    conditions = Conditions(script.seed, chance.one_of(RATES), orderly=script.orderly, rules=erasing, routing=routing)
    strokes = Strokes(Chance(script.seed, "strokes"), conditions.rate, script.strokes)
    loop = asyncio.new_event_loop()
    with _reproducible(script.seed), _logs() as log:
        machine = Machine(script.portal, conditions, strokes, history.append if with_history else _nobody)
        with _in_turns(machine), OFFICES[script.portal].conditions():
            office = OFFICES[script.portal](machine, Chance(script.seed, "office"), loop)
            office.open()
            judge = Judge(machine, office, Mishaps(machine, office))
            routes = Routes(machine)
            settled = machine.run(
                lambda: not judge.has_work() and not routes.has_work(),
                lambda: bool(judge.complaints or routes.complaints),
            )
            complaints = judge.close(settled, "\n".join(log)) + routes.close()
            office.close()
    loop.close()
    return Outcome(
        script,
        complaints,
        strokes.struck,
        machine.boundary.tally,
        len(office.items),
        len(office.drops),
        strokes.calls,
        history,
        log,
    )


def rules_of(seed: int) -> Rules:
    """Return how long content is kept in this run: for ever in two of three, else for some hours each state."""
    chance = Chance(seed, "retention")
    if not chance.happens(ERASING):
        return Rules()
    spans = {state: KEPT_UNACKNOWLEDGED_HOURS if state == State.STORED else KEPT_HOURS for state in SHELVES}
    return Rules({EVERY_PORTAL: {state: timedelta(hours=chance.between(*span)) for state, span in spans.items()}})


def _nobody(line: str) -> None:
    """Listen to no history."""


@contextmanager
def _in_turns(machine: Machine) -> Iterator[None]:
    """Let the package's threads and locks be workers that take turns, and its clocks the machine's."""
    TurnLock.turns = machine.turns
    with (
        patch.object(tokens, "Lock", TurnLock),
        patch.object(services, "Lock", TurnLock),
        _everywhere("side_by_side", machine.turns.side_by_side),
        _parts_in_turns(machine),
    ):
        yield


@contextmanager
def _parts_in_turns(machine: Machine) -> Iterator[None]:
    """Let the parts of an upload to docxworld be workers too, and what a process remembers be its container's own."""
    TurnPool.turns = machine.turns
    with (
        patch.object(parts, "ThreadPoolExecutor", TurnPool),
        patch.object(parts, "wait", wait),
        patch.object(parts, "time", SimpleNamespace(monotonic=machine.clock.seconds)),
        patch.object(DocxworldDestination.__init__, "__defaults__", (_OwnBook(machine),)),
    ):
        yield


class _OwnBook(TargetBook):
    """The book of targets that the container keeps whose turn it is."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def find(self, account: str, target: str, client: DocxworldClient, role: str, now: datetime) -> str:
        """Ask the container's book."""
        return self._machine.own(TargetBook).find(account, target, client, role, now)


@contextmanager
def _everywhere(name: str, thing: Any) -> Iterator[None]:
    before = [(module, getattr(module, name)) for module in SIDE_BY_SIDE]
    for module in SIDE_BY_SIDE:
        setattr(module, name, thing)
    try:
        yield
    finally:
        for module, original in before:
            setattr(module, name, original)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Let everything random in this process follow from the seed: jitter, ids, boundaries of forms."""
    dice = random.Random(f"{seed} process")
    random.seed(seed)
    with patch.object(os, "urandom", dice.randbytes), patch.object(random, "_urandom", dice.randbytes):
        yield


class _Lines(logging.Handler):
    """Keeps what a record holds."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self._lines.append(f"{record.__dict__}")


@contextmanager
def _logs() -> Iterator[list[str]]:
    """Collect all log lines, and print none; metrics are not collected."""
    lines: list[str] = []
    logger = logging.getLogger("amtsbote")
    handlers, logger.handlers = logger.handlers, [_Lines(lines)]
    with patch.object(observability.metrics, "add_metric", lambda **_: None):
        try:
            yield lines
        finally:
            logger.handlers = handlers
