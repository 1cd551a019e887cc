"""What the server adds to MiniStack, tried on applications of our own."""

import asyncio
from typing import Any

import pytest

from sandbox.aws_server import Durable, Message, Receive, Scope, Send, changes_something


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
