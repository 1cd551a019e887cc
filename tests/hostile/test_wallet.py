"""What a portal that never works can make us spend: tries per drop, fetches per item and calls per poll are bounded.

Simulated hours pass, poll by poll; every request that reaches the portal is counted.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from amtsbote import wire
from amtsbote.http import READ_RETRIES
from tests.flows.mortality import MortalWorld
from tests.flows.world import Clock
from tests.hostile.server import Behaviour, Bytes, HostilePortal, Request, drips, head, hostile_portal, says
from tests.hostile.test_answers import GOOD, JSON, PORTALS, after_login, secret_of, wrapped

HOURS = 6
POLL_MINUTES = 15
POLLS = HOURS * 60 // POLL_MINUTES
FETCH_TRIES = 10  # as in the template
CALL = 1 + READ_RETRIES  # requests that one read costs at most
PAUSES = 8 + HOURS * 4  # doubling from 30 s, then every quarter of an hour

DROPS = {
    "duba": ("duba/klinikum/BetreuungAnregung/a.json", json.dumps({"jobId": "job-1"}).encode()),
    "digitale-gemeinde": ("digitale-gemeinde/klinikum/f/d/3/a.pdf", b"%PDF"),
    "altinn": ("altinn/klinikum/org/app/1/0c1b54f2/attachment/a.pdf", b"%PDF"),
    "docxworld": ("docxworld/klinikum/00000000-1111-2222-3333-444444444444/a.pdf", b"%PDF"),
}


def world_at(portal: str, hostile: HostilePortal, clock: Clock, tries: int = FETCH_TRIES) -> MortalWorld:
    """Return a world whose one connection leads to a hostile portal."""
    secret: dict[str, Any] = secret_of(portal, hostile.url)
    if portal == "docxworld":
        secret["uploader"] = {}
    world = MortalWorld(portal, clock=clock, tries=tries)
    world.connect("klinikum", secret)
    return world


def some_hours(world: MortalWorld) -> None:
    """Let some hours pass with all that is scheduled."""
    for minute in range(HOURS * 60):
        world.clock.forward(minutes=1)
        if any(each.visible_at <= world.clock() for name in ("fetch", "own") for each in world.sqs.queue(name)):
            world.drain()
        if minute % POLL_MINUTES == 0:
            world.tick("poll")
            world.drain()


@pytest.mark.parametrize("portal", PORTALS)
@pytest.mark.parametrize("status", ["500 Oh", "404 No", "400 No"])
def test_a_portal_that_always_fails_is_asked_a_few_things_per_poll(portal: str, status: str, clock: Clock) -> None:
    with hostile_portal(says(b"{}", status)) as hostile:
        some_hours(world_at(portal, hostile, clock))
    assert 0 < len(hostile.asked) <= POLLS * CALL


@pytest.mark.parametrize("portal", PORTALS)
@pytest.mark.parametrize("status", ["401 No", "302 Found"])
def test_a_connection_that_is_refused_is_asked_ever_more_rarely(portal: str, status: str, clock: Clock) -> None:
    with hostile_portal(says(b"{}", status)) as hostile:
        world = world_at(portal, hostile, clock)
        some_hours(world)
    assert 0 < len(hostile.asked) <= PAUSES * 2
    assert len(world.events_of("Connection Unhealthy")) == 1


@pytest.mark.parametrize("portal", PORTALS)
def test_a_portal_that_asks_for_a_century_is_left_alone_for_some_hours(portal: str, clock: Clock) -> None:
    with hostile_portal(says(b"{}", "429 Wait", Retry_After="3153600000")) as hostile:
        some_hours(world_at(portal, hostile, clock))
    assert len(hostile.asked) <= 2


def lists_but_never_gives(portal: str) -> Behaviour:
    """List one item for ever, and fail at everything else."""
    row = {**GOOD[portal], "hydratedAt": "2026-01-01T00:00:00Z"}
    page = wrapped(portal, json.dumps(row))
    lists = ("/v1/messages ", "/v1/messages?", "/Form/search", "/instances?", "/v1/downloads?")

    def answer(request: Request) -> Bytes:
        is_list = any(part in request.line for part in lists)
        return [head("200 OK" if is_list else "500 Oh", Content_Length=str(len(page)), **JSON) + page]

    login = after_login(lambda _: b"")
    return lambda request: login(request) if "oken" in request.line or "/count" in request.line else answer(request)


@pytest.mark.parametrize("portal", PORTALS)
def test_an_item_that_never_comes_is_fetched_a_few_times_and_then_after_an_hour(portal: str, clock: Clock) -> None:
    with hostile_portal(lists_but_never_gives(portal)) as hostile:
        world = world_at(portal, hostile, clock)
        fetches = world.sqs
        some_hours(world)
    received = [body for queue, body in fetches.sent if queue == "fetch"]
    in_vain = [asked for asked in hostile.asked if _is_download(asked)]
    at_most = FETCH_TRIES * (1 + HOURS // 2)  # ten tries take an hour and a half, and an hour later they begin anew
    assert 0 < len(in_vain) <= at_most * CALL
    assert len(received) <= HOURS + 2
    assert len(hostile.asked) - len(in_vain) <= POLLS * (CALL + 2) + len(in_vain), "before each there may be a login"


def _is_download(asked: Request) -> bool:
    parts = ("/download/", "/document/", "/instances/1/", "/generate-link")
    return any(part in asked.line for part in parts)


@pytest.mark.parametrize("portal", PORTALS)
@pytest.mark.parametrize("status", ["500 Oh", "503 Wait", "401 No", "200 OK"])
def test_a_drop_that_never_arrives_is_given_up_after_its_tries(portal: str, status: str, clock: Clock) -> None:
    tries = 5
    key, content = DROPS[portal]
    with hostile_portal(says(b"<html>", status, Content_Type="text/html")) as hostile:
        world = world_at(portal, hostile, clock, tries)
        world.drop(key, content)
        for _ in range(3 * tries):
            world.clock.forward(hours=1, minutes=15)
            world.run("own")
        spent = len(hostile.asked)
        receipt = world.receipt(key)
        for _ in range(10):
            world.clock.forward(hours=1, minutes=15)
            world.run("own")
    assert receipt["status"] == "FAILED"
    assert 0 < spent <= tries * 4 * CALL
    assert len(hostile.asked) == spent, "nothing more is asked afterwards"
    assert not world.sqs.queue("own") and not world.due()


SLOW: dict[str, Callable[[], Behaviour]] = {
    "answers": lambda: drips(head(Content_Length="1000000", **JSON), b" "),
    "headers": lambda: drips(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
}


@pytest.mark.parametrize("portal", PORTALS)
@pytest.mark.parametrize("slow", SLOW)
def test_a_portal_that_uses_up_all_time_uses_up_the_tries(
    portal: str, slow: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "GRACE_SECONDS", 0.1)
    key, content = DROPS[portal]
    with hostile_portal(SLOW[slow]()) as hostile:
        world = world_at(portal, hostile, clock, tries=3)
        world.deadline_seconds = 0.5
        world.drop(key, content)
        for _ in range(8):  # one that is out of time before it asks is no try
            world.clock.forward(hours=1, minutes=15)
            world.run("own")
        receipt = world.receipt(key)
    assert (receipt["status"], receipt["error"]["retryable"]) == ("FAILED", True)
    assert 0 < len(hostile.asked) <= 3 * CALL
