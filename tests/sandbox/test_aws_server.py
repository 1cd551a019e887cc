"""What the server adds to MiniStack, tried on applications of our own."""

import asyncio
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sandbox.aws_server import (
    TAKEN_PATH,
    Durable,
    Message,
    Receive,
    Scope,
    Send,
    SharedLayer,
    Taken,
    changes_something,
    save_parts,
)

OTHERS = ("lambda", "cloudformation", "sns")


def request(method: str, action: str | None = None) -> Scope:
    headers = [(b"X-Amz-Target", action.encode())] if action else []
    return {"type": "http", "method": method, "headers": headers}


@pytest.mark.parametrize(
    ("method", "action", "changes"),
    [
        ("GET", None, False),
        ("HEAD", None, False),
        ("PUT", None, True),
        ("DELETE", None, True),
        ("POST", None, True),
        ("POST", "DynamoDB_20120810.GetItem", False),
        ("POST", "DynamoDB_20120810.Query", False),
        ("POST", "DynamoDB_20120810.PutItem", True),
        ("POST", "DynamoDB_20120810.TransactWriteItems", True),
        ("POST", "DynamoDB_20120810.TransactGetItems", False),
        ("POST", "AmazonSQS.SendMessage", True),
        ("POST", "AmazonSQS.ReceiveMessage", False),
        ("POST", "secretsmanager.ListSecrets", False),
        ("POST", "secretsmanager.CreateSecret", True),
    ],
)
def test_a_request_is_known_to_change_something_by_method_and_action(
    method: str, action: str | None, changes: bool
) -> None:
    assert changes_something(request(method, action)) is changes


class Store:
    """An application that counts its changes and, told to shut down, how many of them it had saved."""

    def __init__(self) -> None:
        self.changes = 0
        self.saved = 0
        self.saves = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert await receive() == {"type": "lifespan.shutdown"}
            self.saved, self.saves = self.changes, self.saves + 1
            return
        self.changes += scope["method"] != "GET"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})


async def answered(application: Durable, store: Store, method: str) -> tuple[int, int]:
    """Serve a request; how many changes there had been, and how many were saved, when its answer began."""
    seen: list[tuple[int, int]] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.append((store.changes, store.saved))

    async def receive() -> Message:
        raise AssertionError

    await application(request(method), receive, send)
    return seen[0]


def test_a_change_is_answered_only_when_it_is_saved() -> None:
    store = Store()
    assert asyncio.run(answered(Durable(store), store, "PUT")) == (1, 1)


def test_reading_waits_for_nothing() -> None:
    store = Store()
    asyncio.run(answered(Durable(store), store, "GET"))
    assert store.saves == 0


def test_changes_that_arrive_together_share_a_save() -> None:
    store = Store()

    async def many() -> list[Any]:
        durable = Durable(store)
        return await asyncio.gather(*(answered(durable, store, "PUT") for _ in range(20)))

    assert asyncio.run(many()) == [(20, 20)] * 20
    assert store.saves == 1


def saved_by(method: str, path: str, action: str | None, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Serve two requests, the second as described; which states were saved for each."""
    saves: list[set[str]] = []
    module: Any = ModuleType("ministack_like")
    module.save_all = lambda services: saves.append(set(services))
    monkeypatch.setitem(sys.modules, "ministack_like", module)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            states: dict[str, Callable[[], object]] = dict.fromkeys(("sqs", *OTHERS), dict)
            module.save_all(states)
            return
        await send({"type": "http.response.start", "status": 200})

    async def send(_: Message) -> None:
        return None

    async def receive() -> Message:
        raise AssertionError

    durable = Durable(application)
    save_parts("ministack_like:app", durable)

    async def both() -> None:
        await durable({**request("PUT"), "path": "/bucket/key"}, receive, send)
        await durable({**request(method, action), "path": path}, receive, send)

    asyncio.run(both())
    return saves


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("PUT", "/bucket/key", None),
        ("POST", "/bucket/key", None),
        ("POST", "/", "DynamoDB_20120810.PutItem"),
        ("POST", "/", "AmazonSQS.SendMessage"),
    ],
)
def test_a_change_of_data_saves_no_code_of_functions(
    method: str, path: str, action: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved_by(method, path, action, monkeypatch) == [{"sqs", *OTHERS}, {"sqs"}]


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("PUT", "/2015-03-31/functions/f/configuration", None),
        ("POST", "/2020-06-30/x", None),
        ("POST", "/", None),
        ("POST", "/", "AWSCognitoIdentityProviderService.CreateUserPool"),
    ],
)
def test_a_change_of_anything_else_is_saved_before_its_answer_too(
    method: str, path: str, action: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved_by(method, path, action, monkeypatch) == [{"sqs", *OTHERS}] * 2


# --- what is taken down ---


class Reader:
    """An application that reads each body and says it back."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})


ASKED: Scope = {**request("GET"), "path": TAKEN_PATH}


async def said(application: Taken, scope: Scope, *parts: bytes) -> bytes:
    """Send a body in parts and return the answer's."""
    coming = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    coming.append({"type": "http.request", "body": b"", "more_body": False})
    answered: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        answered.append(message)

    await application(scope, receive, send)
    return b"".join(each.get("body", b"") for each in answered)


def test_what_is_sent_is_taken_down_and_goes_on_as_it_came() -> None:
    taken = Taken(Reader())
    for action in ("AmazonSQS.SendMessageBatch", "AWSEvents.PutEvents", "AmazonSQS.ReceiveMessage", None):
        scope = {**request("POST", action), "path": "/"}
        assert asyncio.run(said(taken, scope, str(action).encode(), "ü".encode())) == f"{action}ü".encode()
    told = json.loads(asyncio.run(said(taken, ASKED)))
    assert told["sent"] == ["AmazonSQS.SendMessageBatchü", "AWSEvents.PutEventsü"]


def test_what_is_judged_is_counted_by_who_asked_for_what_and_was_allowed() -> None:
    taken = Taken(Reader())
    for allowed in (True, False, True):
        taken.judged("somebody", "s3:GetObject", allowed=allowed)
    told = json.loads(asyncio.run(said(taken, ASKED)))
    assert told["judged"] == [["somebody", "s3:GetObject", True, 2], ["somebody", "s3:GetObject", False, 1]]


# --- layers ---


def unpacked(worker: Path, name: str, content: str) -> Path:
    """Let a worker unpack an archive as MiniStack does, and return where its file is."""
    worker.mkdir(exist_ok=True)
    archive, folder = worker / f"{name}.zip", worker / name
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("python/module.py", content)
    folder.mkdir()
    with SharedLayer(archive) as found:
        found.namelist()
        found.extractall(folder)
    return folder / "python" / "module.py"


def test_workers_share_what_is_unpacked_of_a_layer_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, other = (unpacked(tmp_path / worker, "layer_0", "shared") for worker in ("one", "other"))
    assert one.read_text() == other.read_text() == "shared"
    assert one.resolve() == other.resolve()
    newer = unpacked(tmp_path / "third", "layer_0", "newer")
    assert (newer.read_text(), one.read_text()) == ("newer", "shared")
    codes = [unpacked(tmp_path / worker, "code", "own") for worker in ("one", "other")]
    assert codes[0].resolve() != codes[1].resolve()
