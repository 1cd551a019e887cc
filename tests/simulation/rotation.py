"""Secrets Manager as it rotates a secret in a simulated run: four steps, each tried again, at times repeated or twice
at once; and the operator, who takes AWSPENDING away from what was given up and lets it rotate again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from amtsbote.deadline import RESERVE_SECONDS, Deadline
from amtsbote.errors import AmtsboteError
from amtsbote.messages import Tick
from amtsbote.rotation import PENDING, RotationLost, RotationRequest
from amtsbote.rotation import Step as RotationStep
from amtsbote.verbs.rotate import rotate
from tests.simulation.chance import Chance
from tests.simulation.machine import Function, Invocation, Machine
from tests.simulation.turns import Process

ROTATE = Function("rotate", Tick, timeout=300, visibility=0, receives=0)  # called by Secrets Manager, not by a queue
SETTLE_SECONDS = 90
GLANCE_SECONDS = 5.0
TRIES = 5
PAUSE_SECONDS = (5.0, 120.0)
REPEATED, TWICE_AT_ONCE = 0.1, 0.15


@dataclass
class Try:
    """One call of the function; `ended` is None until it answers, which a dead one never does."""

    process: Process
    ended: str | None = None

    @property
    def done(self) -> bool:
        """Return whether the step was done."""
        return self.ended == ""


@dataclass
class Rotations:
    """The rotation of one secret. `busy` hears +1 when a rotation begins and -1 when it has ended."""

    machine: Machine
    chance: Chance
    name: str
    busy: Callable[[int], object]
    lost: bool = False
    """Whether the function has said that a new secret is lost, so that only a person can go on."""
    codes: list[str] = field(default_factory=list)
    """What failed steps were told with."""
    _under_way: bool = False

    def begin(self) -> None:
        """Rotate, unless a rotation is under way or lost; what an earlier one has left is put aside first."""
        if self.lost or self._under_way:
            return
        self._put_pending_aside()
        token = str(uuid.UUID(bytes=self.chance.bytes(16), version=4))
        self.machine.account.secretsmanager.begin_rotation(self.name, token)
        self._under_way = True
        self.busy(1)
        self._step(token, list(RotationStep), 1)

    def _put_pending_aside(self) -> None:
        secrets = self.machine.account.secretsmanager
        for version, labels in secrets.describe_secret(SecretId=self.name)["VersionIdsToStages"].items():
            if PENDING in labels:
                secrets.update_secret_version_stage(
                    SecretId=self.name, VersionStage=PENDING, RemoveFromVersionId=version
                )

    def _step(self, token: str, left: list[RotationStep], number: int) -> None:
        """Call the function for the next step, at times twice."""
        tries = [self._call(token, left[0]) for _ in range(2 if self.chance.happens(TWICE_AT_ONCE) else 1)]
        until = self.machine.clock.now + timedelta(seconds=ROTATE.timeout)
        self._look(tries, until, partial(self._ended, token, left, number))

    def _look(self, tries: list[Try], until: Any, then: Callable[[bool], object]) -> None:
        """Wait for an answer, as long as the function may take; a dead one is noticed at once."""
        over = all(each.process.over for each in tries) or any(each.done for each in tries)
        if over or self.machine.clock.now >= until:
            then(any(each.done for each in tries))
        else:
            self.machine.after(GLANCE_SECONDS, lambda: self._look(tries, until, then))

    def _ended(self, token: str, left: list[RotationStep], number: int, done: bool) -> None:
        pause = 0.0 if done else self.chance.between(*PAUSE_SECONDS)
        if (done and len(left) == 1) or self.lost or (not done and number >= TRIES):
            self._under_way = False
            self.busy(-1)
        elif done and not self.chance.happens(REPEATED):
            self.machine.after(pause, lambda: self._step(token, left[1:], 1))
        else:
            self.machine.after(pause, lambda: self._step(token, left, number + 1))

    def _call(self, token: str, step: RotationStep) -> Try:
        machine, container = self.machine, self.machine._container(ROTATE)
        own = container.services
        own.settings = own.settings.model_copy(update={"settle_seconds": SETTLE_SECONDS})
        tried = Try(Process(ROTATE.name, memory=container.memory))
        request = RotationRequest(SecretId=self.name, ClientRequestToken=token, Step=step)
        deadline = Deadline(ROTATE.timeout - RESERVE_SECONDS, clock=machine.clock.seconds)

        def sleep(seconds: float) -> None:
            machine.turns.pause(machine.clock.now + timedelta(seconds=seconds))

        def work() -> None:
            try:
                rotate(request, own, deadline, sleep)
                tried.ended = ""
            except AmtsboteError as error:
                tried.ended = error.code
                self.codes.append(error.code)
                self.lost = self.lost or isinstance(error, RotationLost)
                machine.tell(f"{ROTATE.name}: {step} failed with {error.code}")

        machine.invocations += 1
        machine.turns.start(tried.process, work)
        ends_at = machine.clock.now + timedelta(seconds=ROTATE.timeout)
        machine.running.append(Invocation(ROTATE, container, tried.process, ends_at))
        return tried
