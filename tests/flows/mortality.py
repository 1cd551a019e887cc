"""Processes that die at a chosen call: to any AWS service or to a portal, before the call or after its effect."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests

from amtsbote.http import new_session
from amtsbote.queues import BatchResponse
from amtsbote.services import Services
from amtsbote.wire import GuardedAdapter
from tests.flows.world import LEDGER, World

FAKES = ("sqs", "events")  # stand-ins for clients, which have no botocore events to listen to


class Death(BaseException):
    """The process died. No handler of the package gets hold of it."""


class Lifeline:
    """Counts the calls of a process and cuts it at one of them; from then on nothing it tries has an effect."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.cut_at_call = ""
        """Where the process died, for messages; empty while it has not."""
        self.dead = False
        self._cut_at: int | None = None
        self._after = False
        self._armed = False
        self._lock = threading.Lock()
        self._own = threading.local()

    @contextmanager
    def cut(self, at: int, *, after: bool) -> Iterator[None]:
        """Let the process die at its call number `at` (from 1), before the call or after its effect."""
        self.calls, self.dead, self.cut_at_call = [], False, ""
        self._cut_at, self._after, self._armed = at, after, True
        try:
            yield
        finally:
            self._armed = False

    def before(self, call: str) -> None:
        """Take note of a call that is about to be made."""
        with self._lock:
            if not self._armed:
                return
            if self.dead:
                raise Death
            self.calls.append(call)
            self._own.number = len(self.calls)
            self._die_if(not self._after)

    def after(self) -> None:
        """Take note that the latest call of this thread has had its effect."""
        with self._lock:
            if not self._armed:
                return
            if self.dead:
                raise Death
            self._die_if(self._after)

    def _die_if(self, this_side: bool) -> None:
        if this_side and self._own.number == self._cut_at:
            self.dead = True
            self.cut_at_call = f"{'after' if self._after else 'before'} call {self._cut_at}, {self.calls[-1]}"
            raise Death


def moments(calls: list[str], *, after: bool) -> list[int]:
    """Return the numbers of the calls at which it is worth dying: at each of a portal's, and at every third to AWS.

    To die before a call leaves what dying after the one before has left; so of the deaths before a call only those
    before a portal's are tried once more. The simulation dies at every call there is, in thousands of runs.
    """
    return [number for number, call in enumerate(calls, start=1) if " /" in call or (after and number % 3 == 0)]


class MortalWorld(World):
    """A world whose processes die where `lifeline` cuts them; what was received then comes again, as with Lambda."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.lifeline = Lifeline()
        super().__init__(*args, **more)
        for service in ("s3", "dynamodb", "secretsmanager"):
            events = self.client(service).meta.events
            events.register("before-call", lambda model, **_: self.lifeline.before(f"{model.name}"))
            events.register("after-call", lambda **_: self.lifeline.after())
        for service in FAKES:
            self.clients[service] = _Overheard(self.clients[service], self.lifeline)
        self.services = self.new_services()

    def new_services(self) -> Services:
        """Return services as a fresh process has them."""
        services = super().new_services()
        session = new_session()
        for scheme in ("https://", "http://"):
            session.mount(scheme, _MortalAdapter(self.lifeline))
        services.__dict__["_session"] = session
        return services

    def run(self, queue: str, *, workers: int = 1) -> dict[str, Any]:
        """Invoke the function of a queue once; one that dies leaves what it has received to come again."""
        try:
            return super().run(queue, workers=workers)
        except Death:
            self.lifeline.dead = False
            self.services = self.new_services()
            lost: BatchResponse = {"batchItemFailures": []}
            return {"worked": 1, **lost}

    def due(self) -> list[str]:
        """Return the keys of the rows with work, whenever it is due."""
        return [row["pk"]["S"] for row in self.rows() if "dueQueue" in row]

    def rows(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return the ledger's rows whose key begins so, as DynamoDB has them."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=LEDGER)
        return [row for page in pages for row in page["Items"] if row["pk"]["S"].startswith(prefix)]


class _Overheard:
    """A stand-in for a client whose calls the lifeline counts."""

    def __init__(self, client: Any, lifeline: Lifeline) -> None:
        self._client = client
        self._lifeline = lifeline

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**parameters: Any) -> Any:
            self._lifeline.before(name)
            answer = method(**parameters)
            self._lifeline.after()
            return answer

        return call


class _MortalAdapter(GuardedAdapter):
    """Sends requests to a portal, and lets the lifeline count them."""

    def __init__(self, lifeline: Lifeline) -> None:
        super().__init__()
        self._lifeline = lifeline

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        """Send a request."""
        self._lifeline.before(f"{request.method} {urlsplit(str(request.url)).path}")
        answer = super().send(request, *args, **more)
        self._lifeline.after()
        return answer
