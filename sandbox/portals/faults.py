"""What can go wrong between a client and a portal, as values: the faults that are armed, and those a request meets.

Nothing here does I/O: `sandbox.portals.server` asks for the faults of a request and carries them out.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

ANY_METHOD = "*"
DEFAULT_RETRY_AFTER_SECONDS = 1
DEFAULT_SERVER_ERROR_STATUS = 500
STATUSES = range(200, 600)
JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "kind": (str,),
    "match": (str,),
    "times": (int, type(None)),
    "after": (int,),
    "probability": (int, float),
    "seed": (int,),
    "status": (int, type(None)),
    "retry_after": (int,),
    "retry_after_date": (bool,),
    "delay_seconds": (int, float),
    "empty": (bool,),
}
"""What each field of a fault may be when it comes as JSON."""


class Kind(StrEnum):
    """The faults that every simulated portal knows. One that answers in the portal's place has no effect there."""

    LATENCY = "LATENCY"
    """The request waits `delay_seconds` and then goes its usual way; combines with one fault of another kind."""
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    """429 with Retry-After: `retry_after` in seconds, or that instant as an HTTP date with `retry_after_date`."""
    SERVER_ERROR = "SERVER_ERROR"
    """`status` (default 500) with a JSON body, or with none at all with `empty`."""
    RESET = "RESET"
    """The connection is reset before the request has any effect."""
    LOST_ANSWER = "LOST_ANSWER"
    """The request has its full effect, then the connection is reset in place of the answer."""
    TRUNCATED_BODY = "TRUNCATED_BODY"
    """Effect and headers are whole, the connection closes after half of the body. An answer without a body stays."""
    HTML_WITH_200 = "HTML_WITH_200"
    """A maintenance page with `status` (default 200)."""
    EXPIRED_TOKEN = "EXPIRED_TOKEN"
    """The answer that this portal gives to credentials that are no longer good."""
    GARBAGE_JSON = "GARBAGE_JSON"
    """`status` (default 200), content type JSON, and a body that is none."""


@dataclass(frozen=True)
class Fault:
    """One fault, the requests it is for, and how often it strikes.

    `match` is "METHOD /path/regex": the method or `*`, and a regular expression for the whole decoded path without
    the query. The first `after` matching requests are spared, then `times` are struck (None: all), each with
    `probability`; the dice are seeded with `seed`, so that a run can be repeated.
    """

    kind: Kind
    match: str = f"{ANY_METHOD} /.*"
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int = 0
    status: int | None = None
    retry_after: int = DEFAULT_RETRY_AFTER_SECONDS
    retry_after_date: bool = False
    delay_seconds: float = 0.0
    empty: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))
        method, _, path = self.match.partition(" ")
        if not method or not path:
            raise ValueError('match must read "METHOD /path/regex"')
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError("probability must be between 0 and 1")
        if self.status is not None and self.status not in STATUSES:
            raise ValueError(f"status must be between {STATUSES.start} and {STATUSES.stop - 1}")
        self.path_pattern  # noqa: B018 - a bad regular expression is told here, not at the first request

    @cached_property
    def path_pattern(self) -> re.Pattern[str]:
        """The path part of `match`; ValueError when it is no regular expression."""
        try:
            return re.compile(self.match.partition(" ")[2])
        except re.error as error:
            raise ValueError(f"match: {error}") from error

    def concerns(self, method: str, path: str) -> bool:
        """Whether a request with this method and decoded path is one that this fault is for."""
        wanted = self.match.partition(" ")[0].upper()
        return wanted in (ANY_METHOD, method.upper()) and self.path_pattern.fullmatch(path) is not None

    @classmethod
    def from_json(cls, body: object) -> Self:
        """Read what `POST /_sandbox/faults` takes: an object of the fields above. ValueError says what is wrong."""
        if not isinstance(body, dict) or "kind" not in body:
            raise ValueError("a fault is an object with a kind")
        wrong = [name for name, value in body.items() if type(value) not in JSON_TYPES.get(name, ())]
        if wrong:
            raise ValueError(f"unknown, or of a wrong type: {', '.join(wrong)}")
        return cls(**body)


@dataclass
class _Armed:
    """A fault with what is left of it."""

    fault: Fault
    dice: random.Random
    matched: int = 0
    struck: int = 0

    def strikes(self) -> bool:
        """Count one matching request, and say whether it is struck."""
        self.matched += 1
        if self.matched <= self.fault.after or self.exhausted or self.dice.random() >= self.fault.probability:
            return False
        self.struck += 1
        return True

    @property
    def exhausted(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times


@dataclass
class Faults:
    """The armed faults of one portal, in the order in which they were added. Safe to use from any thread."""

    _armed: list[_Armed] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        """Arm a fault from the next request on."""
        with self._lock:
            self._armed.append(_Armed(fault, random.Random(fault.seed)))

    def clear(self) -> None:
        """Disarm all."""
        with self._lock:
            self._armed.clear()

    def strike(self, method: str, path: str) -> tuple[Fault, ...]:
        """The faults that this request meets: every latency that strikes, and at most one other, the first."""
        with self._lock:
            met: list[Fault] = []
            for armed in self._armed:
                if armed.fault.concerns(method, path) and not _taken(met, armed.fault) and armed.strikes():
                    met.append(armed.fault)
            return tuple(met)

    def describe(self) -> list[Mapping[str, Any]]:
        """What is armed and how often each fault has struck, for `GET /_sandbox/state`."""
        with self._lock:
            return [
                {"kind": a.fault.kind, "match": a.fault.match, "times": a.fault.times, "struck": a.struck}
                for a in self._armed
            ]

    def struck(self, kind: Kind) -> int:
        """How often faults of this kind have struck since they were armed."""
        with self._lock:
            return sum(armed.struck for armed in self._armed if armed.fault.kind is kind)


def _taken(met: list[Fault], fault: Fault) -> bool:
    """Whether the one place for a fault other than a latency is taken already."""
    return fault.kind is not Kind.LATENCY and any(each.kind is not Kind.LATENCY for each in met)
