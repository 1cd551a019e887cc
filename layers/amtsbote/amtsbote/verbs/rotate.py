"""rotate: one step of the rotation of a connection's secret, each of them repeatable.

The older secret works until the portal is told that the rotation is complete. That is never said before the newer one
is the current version, has been used to log in, and has been current for longer than anybody caches a secret.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from amtsbote.connections import validated
from amtsbote.deadline import RESERVE_SECONDS, Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry
from amtsbote.keys import CONNECTION_NAME, administrator_secret, secret_prefix
from amtsbote.observability import count, log, log_crash
from amtsbote.portals.portal import Rotation
from amtsbote.queues import describe
from amtsbote.rotation import (
    CURRENT,
    PENDING,
    STAGED,
    START_OVER,
    Completion,
    Creation,
    Fresh,
    NoRotation,
    RotationLost,
    RotationOpen,
    RotationRequest,
    Rotator,
    Staged,
    Step,
    Versions,
    check_turn,
    ending_label,
    may_still_end,
    plan_completion,
    plan_creation,
    seconds_to_settle,
    staged_label,
)
from amtsbote.secret_versions import SecretVersions, VersionTaken
from amtsbote.services import Services

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0  # between the tries to store a secret that exists nowhere else
LATE_SECONDS = 60.0  # after its process has ended, a call may still reach the portal
GLANCES, GLANCE_SECONDS = 3, 2.0  # how often, how far apart another worker's answer is waited for

Sleep = Callable[[float], None]


def rotate(request: RotationRequest, services: Services, deadline: Deadline, sleep: Sleep = time.sleep) -> None:
    """Do one step. What it raises makes Secrets Manager try again, and is counted as RotationFailed."""
    names = {"secret": request.secret_id, "step": request.step}
    try:
        outcome = _Turn(request, services, deadline, sleep).done()
    except AmtsboteError as error:
        log.error("rotation failed", extra={**names, **describe(error)})
        count("RotationFailed")
        raise
    except Exception as error:
        log_crash(error)
        count("RotationFailed")
        raise Retry("ROTATION_CRASHED", type(error).__name__) from None  # its own text might hold a value
    log.info("rotation step done", extra={**names, "outcome": outcome})


@dataclass
class _Turn:
    """One step, and what it works with."""

    request: RotationRequest
    services: Services
    deadline: Deadline
    sleep: Sleep

    def done(self) -> str:
        """Do the step and return what was done, in a word for the log."""
        versions = self.secret.describe()
        check_turn(versions, self.request.token)
        match self.request.step:
            case Step.CREATE:
                return self._create(versions)
            case Step.SET:
                return "NOTHING_TO_SET"  # the portal accepts both secrets from the start
            case Step.TEST:
                return self._test()
            case Step.FINISH:
                return self._finish(versions)

    # --- the four steps ---

    def _create(self, versions: Versions) -> str:
        if versions.has(self.request.token, CURRENT) or self._has_new_secret():
            return "CREATED_BEFORE"
        state = self.rotator.look()
        plan = plan_creation(versions, state)
        if plan is Creation.ADOPT and (adopted := self._adopted(versions)):
            return adopted
        if plan is Creation.COMPLETE_FIRST:
            self._complete(versions, versions.changed_at)
        elif plan is Creation.BEGIN:
            self._forget_staged(versions)
        return self._begin()

    def _test(self) -> str:
        self.rotator.log_in(self._read(self.secret.text(self.request.token)))
        return "LOGGED_IN"

    def _finish(self, versions: Versions) -> str:
        moved_at = versions.changed_at
        if not versions.has(self.request.token, CURRENT):
            self._test()
            self.secret.label(CURRENT, to=self.request.token, away_from=versions.holder(CURRENT))
            moved_at = self.services.clock()
            versions = self.secret.describe()
        if versions.has(self.request.token, PENDING):
            self.secret.label(PENDING, away_from=self.request.token)
        return self._complete(versions, moved_at)

    # --- the portal's first word: a new secret ---

    def _begin(self) -> str:
        self._require_that_nobody_ends()
        try:
            fresh = self.rotator.begin()
        except RotationOpen:
            return self._wait_for_the_other()
        self._store(fresh)
        return "CREATED"

    def _require_that_nobody_ends(self) -> None:
        """Retry while another worker may still end an older secret: by then it would be the one that we work with."""
        for version, label in self.secret.describe().endings():
            if may_still_end(label, self.services.clock()):
                raise Retry("ROTATION_ENDING", "another worker may still end the older secret of the rotation before")
            self.secret.label(label, away_from=version)

    def _store(self, fresh: Fresh) -> None:
        """Store the new secret, as long as there is time: after that nobody has it."""
        text, label = self._text_with(fresh.value), staged_label(fresh.started_at)
        try:
            self._insist(lambda: self._put(text, {PENDING, label}))
        except VersionTaken:  # not made by Secrets Manager: kept all the same, and adopted by the next rotation
            self._insist(lambda: self.secret.put(text, {label}, token=self.request.token_to_pass_on()))
            raise

    def _insist(self, store: Callable[[], None]) -> None:
        for pause in _pauses():
            try:
                store()
            except VersionTaken:
                raise
            except Exception:  # whatever it is: this value exists nowhere else
                if self.deadline.remaining_seconds() <= pause:
                    raise
                log.warning("storing the new secret again", extra={"secret": self.request.secret_id})
                self.sleep(pause)
            else:
                return

    def _put(self, text: str, labels: set[str]) -> None:
        self.secret.put(text, labels, version=self.request.token, token=self.request.token_to_pass_on())

    def _wait_for_the_other(self) -> str:
        """Give another worker, who may have the answer in hand, the time to store it; then call it lost."""
        for _ in range(GLANCES):
            if self._has_new_secret():
                return "CREATED_BEFORE"
            self.sleep(GLANCE_SECONDS)
        said = "a rotation is open at the portal, and its new secret was not stored: the answer that held it was lost"
        raise RotationLost("ROTATION_LOST", f"{said}. The old secret works on; {START_OVER}")

    def _adopted(self, versions: Versions) -> str | None:
        """Take over the secret of a rotation that was given up before; None where it is of no use any more."""
        staged = versions.staged()
        older = self._read(self.secret.text(staged.version)) if staged else None
        if staged is None or older is None or older.auth.client_id != self.connection.auth.client_id:
            self._forget_staged(versions)
            return None
        self._put(self._text_with(self.rotation.value_of(older)), {PENDING, staged.label})
        self._take_away(staged, self.secret.describe())
        return "ADOPTED"

    def _take_away(self, staged: Staged, versions: Versions) -> None:
        if versions.has(staged.version, staged.label):
            self.secret.label(staged.label, away_from=staged.version)

    def _forget_staged(self, versions: Versions) -> None:
        """Take our label away from versions whose rotation is not the open one any more."""
        for version, labels in versions.labels.items():
            for label in labels:
                if label.startswith(STAGED):
                    self.secret.label(label, away_from=version)

    # --- the portal's last word: the end of the older secret ---

    def _complete(self, versions: Versions, moved_at: datetime | None) -> str:
        """End the older secret, if it is the current version that the portal's open rotation has made.

        This is announced before the portal is looked at, and taken back only when the portal has answered. So whoever
        would begin a rotation either sees the announcement, and waits until this worker is dead, or has begun before
        the look, which then shows it.
        """
        if versions.staged() is None:
            return Completion.DONE_BEFORE
        announced = self._announce_end(versions)
        versions = self.secret.describe()
        plan = plan_completion(versions, self.rotator.look())
        if plan is Completion.COMPLETE:
            self.rotator.log_in(self._read(self.secret.current()))
            self._settle(moved_at)
            plan = self._told()
        if plan is not Completion.NOT_OURS:
            self._forget_staged(versions)
        self.secret.label(announced.label, away_from=announced.version)
        return plan

    def _announce_end(self, versions: Versions) -> Staged:
        """Put the label on the current version that says until when a word of ours may still reach the portal."""
        alive = self.deadline.remaining_seconds() + RESERVE_SECONDS + LATE_SECONDS
        label = ending_label(self.services.clock() + timedelta(seconds=alive))
        current = versions.holder(CURRENT) or self.request.token
        self.secret.label(label, to=current)
        return Staged(current, label)

    def _told(self) -> Completion:
        try:
            self.rotator.complete()
        except NoRotation:
            return Completion.DONE_BEFORE  # the answer to an earlier try was lost
        return Completion.COMPLETE

    def _settle(self, moved_at: datetime | None) -> None:
        """Wait until no process can have the older secret in its cache."""
        seconds = seconds_to_settle(moved_at, self.services.clock(), self.services.settings.settle_seconds or 0)
        if seconds > self.deadline.remaining_seconds():
            raise Retry("ROTATION_SETTLING", "the new secret is current, and too new to end the old one")
        if seconds > 0:
            self.sleep(seconds)

    # --- what it works with ---

    @cached_property
    def secret(self) -> SecretVersions:
        """Return the secret that is rotated."""
        return self.services.secret_versions(self.request.secret_id)

    @cached_property
    def rotation(self) -> Rotation:
        """Return how the portal rotates; Misconfigured where it does not."""
        if self.services.portal.rotation is None:
            raise Misconfigured("NOT_ROTATABLE", f"{self.services.portal.name} does not rotate secrets")
        return self.services.portal.rotation()

    @cached_property
    def connection(self) -> Any:
        """Return the current secret of the connection; Misconfigured, naming the field, where it is wrong."""
        return self._read(self.current_text)

    @cached_property
    def current_text(self) -> str:
        """Return the body of the current secret, read before the portal is asked for a new one."""
        return self.secret.current()

    @cached_property
    def rotator(self) -> Rotator:
        """Return the portal's half of this rotation."""
        name = administrator_secret(self.services.portal.name, self._connection_name())
        try:
            text = self.services.secret_versions(name).current()
        except Misconfigured as missing:
            raise Misconfigured("ADMINISTRATOR_MISSING", f"{missing.message}; {START_OVER}") from None
        administrator = validated(self.rotation.administrator, name, text)
        return self.rotation.rotator(administrator, self.connection, self.services.tools(self.deadline))

    def _connection_name(self) -> str:
        prefix = secret_prefix(self.services.portal.name)
        name = self.secret.describe().name
        if not name.startswith(prefix) or not CONNECTION_NAME.fullmatch(name.removeprefix(prefix)):
            raise Reject("NOT_A_CONNECTION", f"{name} is no connection of {self.services.portal.name}")
        return name.removeprefix(prefix)

    def _read(self, text: str | None) -> Any:
        if text is None:
            raise Misconfigured("ROTATION_EMPTY", "the version of this rotation has no value; createSecret comes first")
        return validated(self.services.portal.secret, self.request.secret_id, text)

    def _has_new_secret(self) -> bool:
        """Return whether the version of this rotation holds another secret than the current one.

        A copy of the current one is none: it is what Secrets Manager puts there to try a function out.
        """
        text = self.secret.text(self.request.token)
        if text is None:
            return False
        try:
            return self.rotation.value_of(self._read(text)) != self.rotation.value_of(self.connection)
        except Misconfigured:
            return False

    def _text_with(self, value: str) -> str:
        """Return the body of the current secret with another value; every other field stays as it is."""
        return json.dumps(self.rotation.with_value(json.loads(self.current_text), value), ensure_ascii=False)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
