"""The boundary of a process: every call to AWS or to a portal crosses it, and may fail there in every way there is.

What may happen to a call, chosen by the dice or by a list of strokes (to repeat and to shorten a run):

    before it           the process dies; it is stalled, up to its function's timeout and death; the call is refused
                        (throttled, unreachable) or answered wrongly (429, 5xx, an expired token, a page, garbage)
    after its effect    the process dies; the answer is lost (botocore then asks again, or gives up); the body is cut
    both                others have their turns
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from io import BytesIO
from types import SimpleNamespace
from typing import IO, Any, NoReturn, TypeVar

import requests
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from tests.simulation.chance import Chance
from tests.simulation.turns import Process, Turns

Answer = TypeVar("Answer")
STALL_SECONDS = (20.0, 900.0)
PORTAL_WEIGHT = 4.0  # portals are called more rarely than AWS, and fail more often
RARE_CALLS, RARE_WEIGHT = 3, 6.0  # the first calls of a kind are struck more often, so that rare kinds are too
DECISIVE, DECISIVE_WEIGHT = ("s3.complete_multipart_upload", "PUT /s3/dwc-upload/"), 6.0
"""Calls in the middle of what a later worker has to go on with; a run has few of them."""

LIKELY_AT_MOST = 0.5
LATE_SECONDS = (1.0, 20.0)
AMAZON = "https://amazonaws.invalid"


class Stroke(StrEnum):
    """What can happen to one call."""

    DIES_BEFORE = "dies before the call"
    DIES_AFTER = "dies after its effect"
    LANDS_LATE = "dies, and the call has its effect later"
    STALLS = "stalls before the call"
    # AWS
    ANSWER_LOST = "answer lost, asked again"
    ANSWER_LOST_FOR_GOOD = "answer lost for good"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    ONE_REFUSED = "one entry of the batch refused"
    # portals
    PORTAL_RESET = "portal: connection reset"
    PORTAL_ANSWER_LOST = "portal: answer lost"
    PORTAL_429 = "portal: 429"
    PORTAL_5XX = "portal: 5xx"
    PORTAL_BODY_CUT = "portal: body cut"
    PORTAL_TOKEN_EXPIRED = "portal: token expired"
    PORTAL_PAGE = "portal: a page of HTML"
    PORTAL_GARBAGE = "portal: broken JSON"


DEATHS = (Stroke.DIES_BEFORE, Stroke.DIES_AFTER, Stroke.LANDS_LATE, Stroke.STALLS)
OF_AWS = (Stroke.ANSWER_LOST, Stroke.ANSWER_LOST_FOR_GOOD, Stroke.THROTTLED, Stroke.UNREACHABLE)
OF_PORTALS = tuple(stroke for stroke in Stroke if stroke.name.startswith("PORTAL_"))


@dataclass
class Strokes:
    """Which calls are struck, and how: `given` names them by number, otherwise the dice decide until `calm`."""

    chance: Chance
    rate: float
    given: Mapping[int, Stroke] | None = None
    calm: bool = False
    calls: int = 0
    struck: dict[int, Stroke] = field(default_factory=dict)

    def next(self, kinds: Sequence[Stroke], weight: float = 1.0, *, restless: bool = False) -> Stroke | None:
        """Return what happens to the next call, of these kinds; None: nothing. `weight` makes it more likely.

        Where the caller is `restless`, it is struck in calm times too.
        """
        number, self.calls = self.calls, self.calls + 1
        calm = self.calm and not restless
        stroke = self._drawn(kinds, weight, calm) if self.given is None else self.given.get(number)
        if stroke is None or stroke not in kinds:
            return None
        self.struck[number] = stroke
        return stroke

    def _drawn(self, kinds: Sequence[Stroke], weight: float, calm: bool) -> Stroke | None:
        if calm or not self.chance.happens(min(self.rate * weight, LIKELY_AT_MOST)):
            return None
        if len(kinds) == 1:
            return kinds[0]
        return self.chance.one_of(DEATHS if self.chance.happens(0.5) else kinds[len(DEATHS) :] or DEATHS)


@dataclass
class Tally:
    """What the calls of a run were."""

    calls: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    strokes: Counter[str] = field(default_factory=Counter)
    struck: set[tuple[str, Stroke]] = field(default_factory=set)  # which process was struck by what


class Boundary:
    """Where all calls of all processes pass; `tell` takes a line of the run's history."""

    def __init__(
        self, turns: Turns, clock: Callable[[], datetime], strokes: Strokes, tell: Callable[[str], None]
    ) -> None:
        self._turns = turns
        self._clock = clock
        self._tell = tell
        self.strokes = strokes
        self.tally = Tally()
        self.later: Callable[[float, Callable[[], object]], None] = _no_time
        self.is_restless: Callable[[str], bool] = _is_calm

    def call_aws(self, name: str, effect: Callable[[], Answer], kinds: Sequence[Stroke] = OF_AWS) -> Answer:
        """Carry a call to AWS out, unless something happens to it."""
        stroke = self._before(name, (*DEATHS, *kinds), effect)
        if stroke is Stroke.THROTTLED:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, name)
        if stroke is Stroke.UNREACHABLE:
            raise EndpointConnectionError(endpoint_url=AMAZON)
        answer = effect()
        if stroke is Stroke.ANSWER_LOST_FOR_GOOD:
            raise ReadTimeoutError(endpoint_url=AMAZON)
        if stroke is Stroke.ANSWER_LOST:
            self._turns.pause()
            answer = effect()
        self._after(name, stroke)
        return answer

    def call_portal(self, name: str, effect: Callable[[Stroke | None], Answer]) -> Answer:
        """Carry a call to a portal out; what happens on its side, the effect is told."""
        stroke = self._before(name, (*DEATHS, *OF_PORTALS), lambda: effect(None), PORTAL_WEIGHT)
        answer = effect(stroke)
        self._after(name, stroke)
        return answer

    def reads_on(self) -> None:
        """Let others have their turns while a body is read."""
        self._turns.pause()

    def _before(
        self, name: str, kinds: Sequence[Stroke], effect: Callable[[], object], weight: float = 1.0
    ) -> Stroke | None:
        process = self._process()
        if name.startswith(DECISIVE):
            weight *= DECISIVE_WEIGHT
        name = f"{process.name}: {name}"
        self.tally.calls[name] += 1
        if self.tally.calls[name] <= RARE_CALLS:
            weight *= RARE_WEIGHT
        restless = self.is_restless(process.name)
        number, stroke = self.strokes.calls, self.strokes.next(kinds, weight, restless=restless)
        if stroke is not None:
            self.tally.strokes[stroke] += 1
            self.tally.struck.add((process.name, stroke))
            self._tell(f"#{number} {name} - {stroke}")
        else:
            self._tell(f"#{number} {name}")
        self._turns.pause()
        match stroke:
            case Stroke.DIES_BEFORE:
                self._die(process, f"before {name}")
            case Stroke.LANDS_LATE:
                self.later(self.strokes.chance.between(*LATE_SECONDS), lambda: _unheard(effect))
                self._die(process, f"before {name}")
            case Stroke.STALLS:
                self._turns.pause(self._clock() + timedelta(seconds=self.strokes.chance.between(*STALL_SECONDS)))
        return stroke

    def _after(self, name: str, stroke: Stroke | None) -> None:
        process = self._process()
        if stroke is Stroke.DIES_AFTER:
            self._die(process, f"after {process.name}: {name}")
        self._turns.pause()

    def _process(self) -> Process:
        worker = self._turns.current()
        assert worker is not None, "only processes call"
        return worker.process

    def _die(self, process: Process, where: str) -> NoReturn:
        self.tally.deaths[where] += 1
        self._turns.kill(process)
        raise AssertionError("the dead do not go on")


class Client:
    """A client of AWS whose calls cross the boundary; `service` has the methods of a boto3 client."""

    def __init__(self, name: str, service: Any, boundary: Boundary) -> None:
        self._name = name
        self._service = service
        self._boundary = boundary
        self.exceptions = service.exceptions
        self.meta = SimpleNamespace(events=SimpleNamespace(register=_nothing))  # Powertools signs its user agent there

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._service, operation)
        if operation == "get_paginator":
            return lambda name: _Pages(self._name, name, method(name), self._boundary)

        if operation == "upload_fileobj":
            return self._upload

        def call(*positional: Any, **parameters: Any) -> Any:
            name = f"{self._name}.{operation} {subject(parameters)}".rstrip()
            if "Entries" in parameters:
                return _call_batch(self._boundary, name, method, parameters)
            return self._boundary.call_aws(name, lambda: method(*positional, **parameters))

        return call

    def _upload(self, content: IO[bytes], bucket: str, key: str) -> Any:
        """Upload what can be read now; a repeat, or a call that lands late, brings the same bytes."""
        name, body = f"{self._name}.upload_fileobj {_kind_of_key(key)}", content.read()
        return self._boundary.call_aws(name, lambda: self._service.upload_fileobj(BytesIO(body), bucket, key))


class _Pages:
    """A paginator each of whose pages is a call."""

    def __init__(self, service: str, operation: str, paginator: Any, boundary: Boundary) -> None:
        self._name = f"{service}.{operation}"
        self._paginator = paginator
        self._boundary = boundary

    def paginate(self, **parameters: Any) -> Any:
        """Yield the pages."""
        pages = iter(self._paginator.paginate(**parameters))
        read_only = tuple(stroke for stroke in OF_AWS if stroke is not Stroke.ANSWER_LOST)  # its repeat changes nothing
        while (page := self._boundary.call_aws(self._name, lambda: next(pages, None), read_only)) is not None:
            yield page


def _call_batch(boundary: Boundary, name: str, method: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """Send entries; the service may refuse one of them."""
    entries = parameters["Entries"]
    process = boundary._process()
    refused = boundary.strokes.next((Stroke.ONE_REFUSED,), PORTAL_WEIGHT) if len(entries) > 1 else None
    if refused is None:
        return boundary.call_aws(name, lambda: method(**parameters))
    boundary.tally.strokes[refused] += 1
    boundary._tell(f"{process.name}: {name} - {refused}")
    answer = boundary.call_aws(name, lambda: method(**{**parameters, "Entries": entries[1:]}), ())
    failed = {"Id": entries[0].get("Id", ""), "Code": "InternalError", "SenderFault": False}
    return {**answer, "Failed": [failed], "FailedEntryCount": 1}


def subject(parameters: Mapping[str, Any]) -> str:
    """Return what a call to AWS is about, in a word that stays the same for all items."""
    if "Item" in parameters:
        return str(parameters["Item"]["pk"]["S"]).partition("#")[0]
    key = parameters.get("Key")
    if isinstance(key, dict):
        return str(key["pk"]["S"]).partition("#")[0]
    return _kind_of_key(str(key)) if isinstance(key, str) else ""


def _kind_of_key(key: str) -> str:
    if key.endswith("document.json"):
        return "document.json"
    first = key.partition("/")[0]
    return first if first in ("receipts", "quarantine") else "file"


def _no_time(seconds: float, happen: Callable[[], object]) -> None:
    raise AssertionError("no machine has been set up")


def _is_calm(process: str) -> bool:
    """Nobody is struck in calm times."""
    return False


def _nothing(*_: object) -> None:
    """Register nothing."""


def _unheard(effect: Callable[[], object]) -> None:
    """Let a call have its effect, of which nobody hears the outcome."""
    with suppress(ClientError, requests.RequestException):
        effect()
