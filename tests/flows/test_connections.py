"""Connections: switched by their secrets, told apart in sickness and in health, and silent about what they know."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from amtsbote.observability import metrics
from sandbox.portals.duba import AckStatus, SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.flows.conftest import LogLines
from tests.flows.world import Clock, World

CANARY = "kanarienvogel"
EVENING = 3 * 60  # minutes


def secret_of(duba: SimulatedDuba, **more: Any) -> dict[str, Any]:
    """Return a valid secret, or one that differs from it."""
    return {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"} | more


def a_minute_later(world: World) -> None:
    """Let every schedule's next turn come."""
    world.later("poll", "acknowledge", minutes=1)


def unhealthy(world: World) -> list[tuple[str, str]]:
    """Return of which connections a failure was told, and its code."""
    return [(each["connection"], each["code"]) for each in world.events_of("Connection Unhealthy")]


def recovered(world: World) -> list[str]:
    """Return of which connections a recovery was told."""
    return [each["connection"] for each in world.events_of("Connection Recovered")]


@pytest.fixture
def other_duba(clock: Clock) -> Iterator[SimulatedDuba]:
    """Provide a second DUBA."""
    portal = SimulatedDuba(clock=clock)
    with serve(portal):
        yield portal


@pytest.fixture
def two_worlds(other_duba: SimulatedDuba, duba_world: World) -> World:
    """Provide a world with two connections: `klinikum` to the first DUBA, `gericht` to the second."""
    duba_world.connect("gericht", secret_of(other_duba))
    return duba_world


# --- switching on and off ---


def test_creating_a_secret_switches_a_connection_on(duba: SimulatedDuba, duba_world: World) -> None:
    duba_world.disconnect("klinikum")
    duba.add_message()
    a_minute_later(duba_world)
    assert duba.requests == []
    duba_world.connect("neu", secret_of(duba))
    a_minute_later(duba_world)
    assert duba_world.received("neu") == {"1"}


def test_deleting_a_secret_switches_it_off_whatever_is_under_way(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    duba_world.tick("poll")  # so that a poll and a fetch are under way
    duba_world.disconnect("klinikum")
    duba.forget_requests()
    for _ in range(3):
        a_minute_later(duba_world)
    assert duba.requests == []
    assert not any(duba_world.sqs.queue(name) for name in ("poll", "fetch", "acknowledge"))
    assert not duba_world.events()


def test_a_secret_created_again_goes_on_where_it_was(duba: SimulatedDuba, duba_world: World) -> None:
    ids = [duba.add_message() for _ in range(3)]
    duba_world.tick("poll")
    duba_world.run("poll")
    duba_world.disconnect("klinikum")
    a_minute_later(duba_world)
    duba_world.connect("klinikum", secret_of(duba))
    duba_world.later(hours=2, rounds=2)
    assert duba.acknowledged_ids() == ids
    assert [duba.downloads_of(id) for id in ids] == [1, 1, 1]


def test_enabled_false_pauses_a_connection(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    duba_world.connect("klinikum", secret_of(duba, enabled=False))
    duba.forget_requests()
    for _ in range(3):
        a_minute_later(duba_world)
    assert duba.requests == []
    assert not duba_world.events()
    duba_world.connect("klinikum", secret_of(duba))
    duba_world.later(hours=2)
    assert duba.acknowledged_ids() == [1]


def test_a_changed_secret_is_noticed_by_a_process_that_has_the_old_one_cached(
    duba: SimulatedDuba, duba_world: World
) -> None:
    a_minute_later(duba_world)
    duba_world.connect("klinikum", secret_of(duba, enabled=False), same_process=True)
    duba.forget_requests()
    a_minute_later(duba_world)
    assert duba.requests == []


def test_a_secret_whose_name_breaks_the_rule_is_left_out_and_named(
    duba: SimulatedDuba, duba_world: World, log_lines: LogLines
) -> None:
    names = ("Klinikum", "klinikum_1", "-klinikum", "k" * 41, "klinikum/zwei")
    for name in names:
        duba_world.connect(name, secret_of(duba))
    duba.add_message()
    a_minute_later(duba_world)
    assert duba_world.received("klinikum") == {"1"}
    assert {json.loads(body)["connection"] for queue, body in duba_world.sqs.sent if queue == "poll"} == {"klinikum"}
    assert not [name for name in names if f"amtsbote/duba/{name}" not in log_lines.text]


def test_the_secrets_of_other_portals_are_not_ours(duba: SimulatedDuba, duba_world: World) -> None:
    secrets = duba_world.client("secretsmanager")
    secrets.create_secret(Name="amtsbote/docxworld/fremd", SecretString=json.dumps(secret_of(duba)))
    secrets.create_secret(Name="amtsbote/duba-2/fremd", SecretString=json.dumps(secret_of(duba)))
    a_minute_later(duba_world)
    assert {json.loads(body)["connection"] for queue, body in duba_world.sqs.sent if queue == "poll"} == {"klinikum"}


# --- invalid secrets ---

WRONG = {
    "baseUrl": ["ftp://kanarienvogel.example.com", "kanarienvogel", 17, None, "https://u:kanarienvogel@example.com"],
    "username": ["", "kanarienvogel:x", 17, None],
    "password": ["", 17, ["kanarienvogel"], None],
    "safeIds": ["kanarienvogel", [""], [17], None],
    "jobIds": ["kanarienvogel", [""], [17], None],
    "directions": ["INCOMING", [], ["kanarienvogel"], None],
    "acknowledge": ["kanarienvogel", True, None],
    "enabled": ["kanarienvogel", None],
    "passwort": ["kanarienvogel"],
}


@pytest.mark.parametrize(("field", "values"), WRONG.items())
def test_an_invalid_secret_is_told_by_its_field_and_without_its_value(
    duba: SimulatedDuba, duba_world: World, log_lines: LogLines, field: str, values: list[Any]
) -> None:
    names = [f"kaputt-{number}" for number, _ in enumerate(values)]
    for name, value in zip(names, values, strict=True):
        duba_world.connect(name, secret_of(duba) | {field: value})
    duba.add_message()
    a_minute_later(duba_world)
    a_minute_later(duba_world)
    assert unhealthy(duba_world) == [(name, "SECRET_INVALID") for name in names]
    told = [line for line in log_lines.lines if line.startswith("connection unhealthy")]
    assert {name for name in names for line in told if f"{name}: {field}" in line} == set(names)
    assert CANARY not in log_lines.text + str(duba_world.sqs.sent)
    assert duba_world.received("klinikum") == {"1"}, "the others go on"


def test_missing_fields_are_named(duba: SimulatedDuba, duba_world: World, log_lines: LogLines) -> None:
    duba_world.connect("kaputt", {"safeIds": []})
    a_minute_later(duba_world)
    assert unhealthy(duba_world) == [("kaputt", "SECRET_INVALID")]
    for field in ("baseUrl", "username", "password"):
        assert f"{field}: Field required" in log_lines.text


def test_a_secret_that_is_no_json_object_is_told_without_its_content(
    duba: SimulatedDuba, duba_world: World, log_lines: LogLines
) -> None:
    bodies = (" ", "kanarienvogel", '{"password": "kanarienvogel"', "[]", '"kanarienvogel"', "null")
    for number, body in enumerate(bodies):
        duba_world.connect(f"kaputt-{number}", body)
    duba.add_message()
    a_minute_later(duba_world)
    assert len(unhealthy(duba_world)) == len(bodies)
    assert {code for _, code in unhealthy(duba_world)} == {"SECRET_INVALID"}
    assert CANARY not in log_lines.text + str(duba_world.sqs.sent)
    assert duba_world.received("klinikum") == {"1"}


def test_a_mended_secret_works_at_the_next_turn_and_everybody_is_told(duba: SimulatedDuba, duba_world: World) -> None:
    duba_world.connect("klinikum", secret_of(duba, directions=["incoming"]))
    duba.add_message()
    for _ in range(20):
        a_minute_later(duba_world)
    assert duba_world.received("klinikum") == set()
    duba_world.clock.forward(minutes=1)
    duba_world.connect("klinikum", secret_of(duba), same_process=True)
    a_minute_later(duba_world)
    assert duba_world.received("klinikum") == {"1"}
    assert unhealthy(duba_world) == [("klinikum", "SECRET_INVALID")]
    assert recovered(duba_world) == ["klinikum"]


# --- a login that is refused ---


def test_a_refused_login_is_told_once_and_tried_more_and_more_rarely(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message()
    duba.change_password("neu")
    for _ in range(EVENING):
        duba_world.later("poll", minutes=1)
    calls = [request.at for request in duba.requests]
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(calls)]
    assert unhealthy(duba_world) == [("klinikum", "LOGIN_REFUSED")]
    assert pauses == sorted(pauses)
    assert max(pauses) >= 15 * 60
    assert len(calls) <= 6 + EVENING / 15


def test_a_password_that_changes_while_fetches_wait_costs_one_call_per_pause(
    duba: SimulatedDuba, duba_world: World
) -> None:
    ids = [duba.add_message() for _ in range(12)]
    duba_world.tick("poll")
    duba_world.run("poll")
    duba.change_password("neu")
    duba.forget_requests()
    for _ in range(30):
        a_minute_later(duba_world)
    assert len(duba.requests) <= 8
    assert len({request.at for request in duba.requests}) == len(duba.requests)
    assert unhealthy(duba_world) == [("klinikum", "LOGIN_REFUSED")]
    duba_world.connect("klinikum", secret_of(duba, password="neu"))
    for _ in range(3):
        duba_world.later(hours=1)
    assert duba.acknowledged_ids() == ids
    assert recovered(duba_world) == ["klinikum"]


def test_a_mended_login_works_at_once_and_is_told_once(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message()
    duba.change_password("neu")
    for _ in range(20):
        a_minute_later(duba_world)
    assert duba_world.received("klinikum") == set()
    duba_world.clock.forward(seconds=1)
    duba_world.connect("klinikum", secret_of(duba, password="neu"), same_process=True)
    duba_world.settle()
    assert duba_world.received("klinikum") == {"1"}
    assert duba.acknowledged_ids() == [1]
    for _ in range(5):
        a_minute_later(duba_world)
    assert unhealthy(duba_world) == [("klinikum", "LOGIN_REFUSED")]
    assert recovered(duba_world) == ["klinikum"]


def test_a_fetch_that_still_has_the_old_password_does_not_make_a_mended_connection_ill(
    duba: SimulatedDuba, duba_world: World
) -> None:
    """Given two processes: fetch has the old secret in its cache, poll has read the new one."""
    duba_world.settle("poll", rounds=1)
    process_of_fetch = duba_world.services
    process_of_fetch.connections.get("klinikum")
    duba.change_password("neu")
    duba.add_message()
    duba_world.connect("klinikum", secret_of(duba, password="neu"))
    duba_world.tick("poll")
    duba_world.run("poll")
    duba_world.services = process_of_fetch
    duba_world.run("fetch")
    duba_world.later(minutes=2)
    assert duba_world.received("klinikum") == {"1"}
    assert unhealthy(duba_world) == []


def test_a_login_refused_at_the_acknowledgement_loses_nothing(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message()
    duba_world.settle("poll", rounds=1)
    duba.change_password("neu")
    duba_world.settle("acknowledge", rounds=1)
    assert duba_world.state("klinikum", "1") == "STORED"
    assert unhealthy(duba_world) == [("klinikum", "LOGIN_REFUSED")]
    duba_world.clock.forward(seconds=1)
    duba_world.connect("klinikum", secret_of(duba, password="neu"))
    duba_world.settle("acknowledge", rounds=1)
    assert duba.acknowledged_ids() == [1]
    assert recovered(duba_world) == ["klinikum"]


def test_ten_workers_that_are_refused_at_once_tell_it_once(duba: SimulatedDuba, duba_world: World) -> None:
    for _ in range(10):
        duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    duba.change_password("neu")
    duba_world.run("fetch", workers=10)
    assert unhealthy(duba_world) == [("klinikum", "LOGIN_REFUSED")]
    assert duba_world.services.ledger.status("duba", "klinikum").failures == 1


# --- a portal that hangs ---


def polled_in_vain(duba_world: World) -> None:
    duba_world.clock.forward(minutes=5)
    duba_world.tick("poll")
    duba_world.run("poll")


def test_a_portal_that_hangs_is_left_alone_after_the_second_time_and_nothing_is_lost(
    duba: SimulatedDuba, duba_world: World
) -> None:
    """Given a message whose fetch waits in the queue."""
    duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    duba.faults.add(Fault(Kind.LATENCY, "* /.*", delay_seconds=10))
    duba_world.deadline_seconds = 0.5
    polled_in_vain(duba_world)
    assert unhealthy(duba_world) == [], "one slow answer is no outage"
    polled_in_vain(duba_world)
    assert unhealthy(duba_world) == [("klinikum", "PORTAL_TOO_SLOW")]
    duba.forget_requests()
    duba_world.deadline_seconds = 60
    duba_world.tick("poll")
    duba_world.drain()
    assert duba.requests == [], "neither a poll nor a fetch keeps an invocation waiting now"
    row = duba_world.services.ledger.item("duba", "klinikum", "1")
    assert row is not None
    assert row.attempts == 0, "being left alone is no try"
    duba.faults.clear()
    duba_world.later(hours=2, rounds=2)
    assert duba.acknowledged_ids() == [1]
    assert recovered(duba_world) == ["klinikum"]


def test_a_portal_that_answers_in_between_is_slow_and_not_down(duba: SimulatedDuba, duba_world: World) -> None:
    for _ in range(3):
        duba.faults.add(Fault(Kind.LATENCY, "* /.*", delay_seconds=10))
        duba_world.deadline_seconds = 0.5
        polled_in_vain(duba_world)
        duba.faults.clear()
        duba_world.deadline_seconds = 60
        duba_world.later("poll", minutes=5)
    assert unhealthy(duba_world) == []


# --- isolation ---


def test_a_refused_login_does_not_concern_the_others(
    duba: SimulatedDuba, other_duba: SimulatedDuba, two_worlds: World
) -> None:
    other_duba.change_password("neu")
    for _ in range(5):
        duba.add_message()
        other_duba.add_message()
        a_minute_later(two_worlds)
    assert duba.acknowledged_ids() == [1, 2, 3, 4, 5]
    assert unhealthy(two_worlds) == [("gericht", "LOGIN_REFUSED")]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.SERVER_ERROR, "* /.*"),
        Fault(Kind.RESET, "* /.*"),
        Fault(Kind.HTML_WITH_200, "* /.*"),
        Fault(Kind.TOO_MANY_REQUESTS, "* /.*", retry_after=3600),
        Fault(Kind.LATENCY, "* /.*", delay_seconds=10),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_portal_in_trouble_does_not_concern_the_others(
    duba: SimulatedDuba, other_duba: SimulatedDuba, two_worlds: World, fault: Fault
) -> None:
    two_worlds.deadline_seconds = 3 if fault.kind is Kind.LATENCY else 60
    other_duba.add_message()
    other_duba.faults.add(fault)
    ids = [duba.add_message() for _ in range(3)]
    two_worlds.settle(rounds=1)
    assert two_worlds.received("klinikum") == {str(id) for id in ids}
    assert duba.acknowledged_ids() == ids
    assert two_worlds.received("gericht") == set()
    other_duba.faults.clear()
    two_worlds.deadline_seconds = 60
    two_worlds.later(hours=2, rounds=2)
    assert other_duba.acknowledged_ids() == [1]
    assert unhealthy(two_worlds) == []


def test_the_same_id_at_two_portals_is_two_documents(
    duba: SimulatedDuba, other_duba: SimulatedDuba, two_worlds: World
) -> None:
    duba.add_message(1, aktenzeichen="eins")
    other_duba.add_message(1, aktenzeichen="zwei")
    two_worlds.settle()
    assert two_worlds.document("klinikum", "1")["metadata"]["aktenzeichen"] == "eins"
    assert two_worlds.document("gericht", "1")["metadata"]["aktenzeichen"] == "zwei"


# --- what nobody may read ---


@pytest.fixture
def discreet_duba(clock: Clock) -> Iterator[SimulatedDuba]:
    """Provide a DUBA whose login and content can be recognised wherever they leak."""
    portal = SimulatedDuba(username=f"{CANARY}-user", password=f"{CANARY}-password", clock=clock)
    with serve(portal):
        yield portal


def test_no_secret_and_no_content_leaves_by_a_log_line_a_queue_or_an_event(
    discreet_duba: SimulatedDuba, clock: Clock, log_lines: LogLines, capfd: pytest.CaptureFixture[str]
) -> None:
    """Given a bit of everything that can happen to a message."""
    duba, world = discreet_duba, World("duba", clock=clock)
    secret = {"baseUrl": duba.base_url, "username": f"{CANARY}-user", "password": f"{CANARY}-password"}
    world.connect("klinikum", secret)
    for _ in range(8):
        duba.add_message(aktenzeichen=f"{CANARY} XVII", message_id=f"{CANARY}-message", job_id=f"{CANARY}-job")
    duba.add_message(9, aktenzeichen=CANARY, content=f"{CANARY} no ZIP".encode())
    duba.add_message(10, aktenzeichen=CANARY, hydrated=False)
    duba.add_message(11, aktenzeichen=CANARY)
    duba.messages[11].direction = CANARY
    duba.forbid(1)
    duba.override_ack(2, AckStatus.FORBIDDEN)
    duba.fail_ack_once(3)
    for kind in (Kind.HTML_WITH_200, Kind.SERVER_ERROR, Kind.RESET, Kind.TRUNCATED_BODY, Kind.GARBAGE_JSON):
        duba.faults.add(Fault(kind, "* /.*", times=2, after=3))
    world.crash("dynamodb", "PutItem", key="ITEM#duba#klinikum#4")
    for _ in range(12):
        world.later(minutes=20)
    duba.change_password("other")
    world.later(minutes=20)
    assert duba.acknowledged_ids() == [3, 4, 5, 6, 7, 8]
    assert {"quarantined", "crashed", "connection unhealthy"} <= {line.split(" {")[0] for line in log_lines.lines}
    assert world.document("klinikum", "3")["metadata"]["aktenzeichen"].startswith(CANARY), "the bird is alive"
    metrics.flush_metrics()
    assert CANARY not in log_lines.text + "".join(capfd.readouterr())
    assert CANARY not in str(world.sqs.sent)
    assert CANARY not in str(world.events())


def test_the_events_of_a_connection_name_it_and_a_code_of_ours(duba: SimulatedDuba, duba_world: World) -> None:
    duba.change_password("neu")
    a_minute_later(duba_world)
    duba_world.clock.forward(seconds=1)
    duba_world.connect("klinikum", secret_of(duba, password="neu"))
    a_minute_later(duba_world)
    nothing = {"portal": "duba", "connection": "klinikum", "id": None, "key": None}
    assert duba_world.events() == [
        ("Connection Unhealthy", nothing | {"code": "LOGIN_REFUSED"}),
        ("Connection Recovered", nothing | {"code": "RECOVERED"}),
    ]
