"""Takes down every call that the functions make to AWS while the simulation runs the real verbs over all of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from amtsbote.storage import MARKED_DELETED, MISSING
from tests.privileges.uses import Use, use_of_the_missing, uses_of
from tests.simulation.machine import Machine

READ_AN_OBJECT = frozenset({"s3.get_object", "s3.head_object", "s3.get_object_tagging"})
NO_CALLS = frozenset({"exceptions", "meta"})
FOR_ALL_PORTALS = frozenset({"retain", "route"})
EVERY = "all"


@dataclass(frozen=True, order=True)
class Caller:
    """Which function calls."""

    portal: str
    verb: str


@dataclass
class Record:
    """What each function has used; `unknown` are calls of which nobody has looked up yet what they need."""

    uses: dict[Caller, set[Use]] = field(default_factory=lambda: defaultdict(set))
    unknown: set[str] = field(default_factory=set)

    def take(self, caller: Caller, call: str, parameters: Mapping[str, Any]) -> None:
        """Take a call down."""
        try:
            self.uses[caller].update(uses_of(call, parameters))
        except KeyError:  # it must not change what the verb does
            self.unknown.add(call)

    def take_missing(self, caller: Caller, parameters: Mapping[str, Any]) -> None:
        """Take down that S3 has said that an object is not there."""
        self.uses[caller].add(use_of_the_missing(parameters))


class RecordingClient:
    """A boto3 client whose calls are taken down; `caller` says whose they are when they are made."""

    def __init__(self, service: str, client: Any, caller: Callable[[], Caller], record: Record) -> None:
        self._service = service
        self._client = client
        self._caller = caller
        self._record = record

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)
        if operation in NO_CALLS:
            return method
        if operation == "get_paginator":
            return lambda name: _RecordingPages(name, method(name), self)
        if operation == "upload_fileobj":
            return self._upload

        def call(**parameters: Any) -> Any:
            return self._carry(operation, parameters, lambda: method(**parameters))

        return call

    def take(self, operation: str, parameters: Mapping[str, Any]) -> None:
        """Take a call down."""
        self._record.take(self._caller(), f"{self._service}.{operation}", parameters)

    def _upload(self, content: Any, bucket: str, key: str) -> Any:
        self.take("upload_fileobj", {"Bucket": bucket, "Key": key})
        return self._client.upload_fileobj(content, bucket, key)

    def _carry(self, operation: str, parameters: Mapping[str, Any], method: Callable[[], Any]) -> Any:
        self.take(operation, parameters)
        try:
            return method()
        except ClientError as error:
            missing = error.response.get("Error", {}).get("Code") in MISSING | MARKED_DELETED
            if missing and f"{self._service}.{operation}" in READ_AN_OBJECT:
                self._record.take_missing(self._caller(), parameters)
            raise


class _RecordingPages:
    """A paginator whose use is taken down."""

    def __init__(self, operation: str, paginator: Any, client: RecordingClient) -> None:
        self._operation = operation
        self._paginator = paginator
        self._client = client

    def paginate(self, **parameters: Any) -> Any:
        """Return the pages."""
        self._client.take(self._operation, parameters)
        return self._paginator.paginate(**parameters)


@contextmanager
def recorded(record: Record) -> Iterator[None]:
    """Take down what functions call in every simulated run meanwhile. What the operator calls is not among it."""
    make = Machine.client

    def client(machine: Machine, name: str) -> Any:
        return RecordingClient(name, make(machine, name), lambda: _caller_in(machine), record)

    with patch.object(Machine, "client", client):
        yield


def _caller_in(machine: Machine) -> Caller:
    worker = machine.turns.current()
    assert worker is not None, "only functions call"
    verb = worker.process.name
    return Caller(EVERY if verb in FOR_ALL_PORTALS else machine.portal, verb)
