"""The rotation of a connection's secret: where it stands and what is next. Pure functions only.

Where it stands is written in two places: in the staging labels of the secret's versions, and at the portal, which
keeps the old secret alive until it is told that the rotation is complete. A label of our own, `AMTSBOTE_STAGED…`,
marks the version that holds the newer secret of a rotation that is still open at the portal. It is written together
with the value and taken away after the portal's last word, so that a stop at any place is seen and gone on from.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from amtsbote.errors import Misconfigured, Reject

CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"
STAGED = "AMTSBOTE_STAGED"
STARTED_AT = "_%Y%m%dT%H%M%SZ"  # behind STAGED, where the portal says when the rotation was started
ROTATION_TOKEN = re.compile(r"[a-zA-Z0-9-]{36,256}")
ENDING = "AMTSBOTE_ENDING_"  # and until when whoever put this label there may end an older secret
UNTIL = "%Y%m%dT%H%M%SZ"
SAME_ROTATION = timedelta(minutes=1)  # how far a moment may differ that the portal has told twice
START_OVER = "docs/rotation.md says how to start over"


class Step(StrEnum):
    """The four steps, as Secrets Manager names them; its documentation also spells them create_secret and so on."""

    CREATE = "createSecret"
    SET = "setSecret"
    TEST = "testSecret"
    FINISH = "finishSecret"

    @classmethod
    def _missing_(cls, value: object) -> "Step | None":
        spelled = str(value).replace("_s", "S")
        return next((step for step in cls if step.value == spelled), None)


class RotationRequest(BaseModel):
    """One step of a rotation, as Secrets Manager asks for it. The token becomes the id of the new version."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    secret_id: str = Field(alias="SecretId", min_length=1)
    token: str = Field(alias="ClientRequestToken", min_length=32, max_length=64)  # what PutSecretValue takes
    step: Step = Field(alias="Step")
    rotation_token: SecretStr | None = Field(default=None, alias="RotationToken")

    def token_to_pass_on(self) -> str | None:
        """Return the rotation token, None where PutSecretValue would not take it: storing must not fail for that."""
        token = "" if self.rotation_token is None else self.rotation_token.get_secret_value()
        return token if ROTATION_TOKEN.fullmatch(token) else None


class RotationLost(Reject):
    """A rotation is open at the portal whose new secret nobody has: only a person can go on."""


class RotationOpen(Reject):
    """The portal does not start a rotation, because one is open."""


class NoRotation(Reject):
    """The portal has no rotation that could be completed."""


@dataclass(frozen=True)
class Fresh:
    """A new secret, which exists nowhere else, and when the portal started the rotation (UTC), if it said so."""

    value: str = field(repr=False)
    started_at: datetime | None


@dataclass(frozen=True)
class PortalState:
    """Whether a rotation is open at the portal, and since when (UTC)."""

    is_open: bool
    started_at: datetime | None = None


class Rotator(Protocol):
    """A portal's half of a rotation, for one connection."""

    def look(self) -> PortalState | None:
        """Return what the portal says of the rotation, None where it does not say."""
        ...

    def begin(self) -> Fresh:
        """Start a rotation: the portal makes a second secret. RotationOpen where one is open already."""
        ...

    def log_in(self, secret: Any) -> None:
        """Log in with the secret of a connection, past every cache; Misconfigured where the login is refused."""
        ...

    def complete(self) -> None:
        """End the older secret. NoRotation where no rotation is open."""
        ...


@dataclass(frozen=True)
class Staged:
    """The version that holds the newer secret of a rotation, and the label that says so."""

    version: str
    label: str

    @property
    def started_at(self) -> datetime | None:
        """Return when the portal started the rotation (UTC), None where it did not say."""
        try:
            return datetime.strptime(self.label.removeprefix(STAGED), STARTED_AT).replace(tzinfo=UTC)
        except ValueError:
            return None


def staged_label(started_at: datetime | None) -> str:
    """Return the label of the version that holds the newer secret of a rotation started then."""
    return STAGED if started_at is None else f"{STAGED}{started_at.astimezone(UTC):{STARTED_AT}}"


def _is_ending(label: str) -> bool:
    return label.startswith(ENDING)


@dataclass(frozen=True)
class Versions:
    """The versions of a secret: the labels of each; `changed_at` is when anything of the secret changed last (UTC)."""

    name: str
    labels: Mapping[str, frozenset[str]]
    rotation_enabled: bool = True
    changed_at: datetime | None = None

    def holder(self, label: str) -> str | None:
        """Return the version with this label."""
        return next((version for version, labels in self.labels.items() if label in labels), None)

    def has(self, version: str, label: str) -> bool:
        """Return whether a version has a label."""
        return label in self.labels.get(version, ())

    def endings(self) -> list[tuple[str, str]]:
        """Return the labels of workers that are about to end an older secret, each with its version."""
        return [(version, label) for version, labels in self.labels.items() for label in labels if _is_ending(label)]

    def staged(self) -> Staged | None:
        """Return the version of the rotation that was started last: the current one before all others."""
        found = [
            Staged(version, label)
            for version, labels in self.labels.items()
            for label in labels
            if label.startswith(STAGED)
        ]
        return max(found, key=lambda each: (self.has(each.version, CURRENT), each.label), default=None)


def ending_label(until: datetime) -> str:
    """Return a label of its own for a worker that may tell the portal to end an older secret, until then (UTC)."""
    return f"{ENDING}{until.astimezone(UTC):{UNTIL}}_{uuid4().hex}"


def may_still_end(label: str, now: datetime) -> bool:
    """Return whether the worker that put this label there may still be alive."""
    try:
        return now <= datetime.strptime(label.removeprefix(ENDING).partition("_")[0], UNTIL).replace(tzinfo=UTC)
    except ValueError:
        return False


def check_turn(versions: Versions, token: str) -> None:
    """Raise the error of a step that must not be done: the checks of Secrets Manager's own template, in their order.

    A version that is current already passes: what is left of its rotation is for the step to judge.
    """
    if not versions.rotation_enabled:
        raise Misconfigured("ROTATION_NOT_ENABLED", f"the secret {versions.name} does not rotate; switch it on first")
    if token not in versions.labels:
        raise Misconfigured("ROTATION_UNKNOWN", f"the secret {versions.name} has no version of this rotation")
    if not (versions.has(token, CURRENT) or versions.has(token, PENDING)):
        said = f"the version of this rotation is neither {PENDING} nor {CURRENT}"
        raise Misconfigured("ROTATION_NOT_PENDING", f"{said} of the secret {versions.name}; {START_OVER}")


def still_open(staged: Staged, state: PortalState | None) -> bool:
    """Return whether the portal's open rotation is the one of this version; True where the portal does not say."""
    if state is None:
        return True
    if not state.is_open:
        return False
    ours, theirs = staged.started_at, state.started_at
    return ours is None or theirs is None or abs(theirs - ours) <= SAME_ROTATION


class Creation(StrEnum):
    """What createSecret has to do when its version has no new secret yet."""

    BEGIN = "BEGIN"  # ask the portal for a new secret
    ADOPT = "ADOPT"  # take the secret of an open rotation that did not get further
    COMPLETE_FIRST = "COMPLETE_FIRST"  # an earlier rotation lacks nothing but the portal's last word


def plan_creation(versions: Versions, state: PortalState | None) -> Creation:
    """Return what createSecret does, by what is left of an earlier rotation."""
    staged = versions.staged()
    if staged is None or not still_open(staged, state):
        return Creation.BEGIN
    return Creation.COMPLETE_FIRST if versions.has(staged.version, CURRENT) else Creation.ADOPT


class Completion(StrEnum):
    """What is left to be done at the portal once the new secret is the current one."""

    COMPLETE = "COMPLETE"  # tell the portal to end the older secret
    DONE_BEFORE = "DONE_BEFORE"  # the portal's rotation is not open any more
    NOT_OURS = "NOT_OURS"  # a rotation is open whose newer secret is not the current one: hands off


def plan_completion(versions: Versions, state: PortalState | None) -> Completion:
    """Return what is left to be done; COMPLETE only where the newer secret of the open rotation is the current one."""
    staged = versions.staged()
    if staged is None or not still_open(staged, state):
        return Completion.DONE_BEFORE
    return Completion.COMPLETE if versions.has(staged.version, CURRENT) else Completion.NOT_OURS


def seconds_to_settle(moved_at: datetime | None, now: datetime, settle_seconds: int) -> float:
    """Return how long the older secret must still live: until no cache can hold it. `moved_at` None: from now on."""
    passed = 0.0 if moved_at is None else (now - moved_at).total_seconds()
    return min(max(0.0, settle_seconds - passed), float(settle_seconds))
