"""dispatch with many connections (moto's secrets and table): few calls, and messages only where there is work."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws
from moto.secretsmanager.models import secretsmanager_backends

from amtsbote.ledger import due_queue
from amtsbote.lifecycle import Work
from amtsbote.messages import Task, Tick
from amtsbote.services import Services
from amtsbote.settings import Settings
from amtsbote.status import polled
from amtsbote.times import sortable
from amtsbote.verbs.dispatch import dispatch
from tests.flows.alarms import Line, MetricLines
from tests.unit.support import NOW, REGION, Bus, Clock, Logged, Recorder, aws_client, later, new_table

ACCOUNT = "123456789012"
SECRET = {"baseUrl": "https://elim.example.com", "username": "amtsbote", "password": "geheim"}
QUEUES = {"poll_queue_url": "poll", "acknowledge_queue_url": "acknowledge", "track_queue_url": "track"}
LONG_AGO = NOW - timedelta(days=30)
MANY = 205


class Queues:
    """An SQS that remembers which connections it was sent messages for, by queue."""

    def __init__(self) -> None:
        self.sent: dict[str, list[str]] = {}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        bodies = [json.loads(entry["MessageBody"]) for entry in Entries]
        self.sent.setdefault(QueueUrl, []).extend(body["connection"] for body in bodies)
        return {}


class Portal:
    """The connections of one portal, and the function that dispatches for them."""

    def __init__(self) -> None:
        self.secrets, self.dynamodb = Recorder(aws_client("secretsmanager")), Recorder(aws_client("dynamodb"))
        self.table = new_table(self.dynamodb)
        self.queues, self.clock = Queues(), Clock()
        self.services = self.new_services()

    def new_services(self) -> Services:
        settings = Settings(portal="duba", ledger_table=self.table, event_bus="bus", queue_url="own", **QUEUES)
        clients = {
            "secretsmanager": self.secrets,
            "dynamodb": self.dynamodb,
            "sqs": self.queues,
            "events": Bus(),
        }
        return Services(settings, clients.__getitem__, self.clock)

    def connect(self, *names: str, changed_at: datetime = LONG_AGO, **changes: Any) -> None:
        for name in names:
            full = f"amtsbote/duba/{name}"
            self.secrets.create_secret(Name=full, SecretString=json.dumps(SECRET | changes))
            stored: Any = secretsmanager_backends[ACCOUNT][REGION].secrets[full]
            stored.last_changed_date = int(changed_at.timestamp())

    def has_due(self, work: Work, connection: str, at: datetime = NOW) -> None:
        row = {"pk": f"{work}#{connection}", "sk": sortable(at), "dueAt": sortable(at)}
        row["dueQueue"] = due_queue(work, "duba", connection)
        self.dynamodb.put_item(TableName=self.table, Item={name: {"S": value} for name, value in row.items()})

    def was_polled(self, connection: str, at: datetime) -> None:
        status = self.services.ledger.status("duba", connection)
        self.services.ledger.change_status(status, lambda each: polled(each, None, at, whole=False))

    def tick(self, task: Task) -> int:
        self.secrets.calls.clear()
        self.dynamodb.calls.clear()
        self.queues.sent.clear()
        return dispatch(Tick(portal="duba", task=task), self.services)

    def asked(self) -> Mapping[str, int]:
        names = [name for name, _ in (*self.secrets.calls, *self.dynamodb.calls) if name != "meta"]
        return {name: names.count(name) for name in names if name != "get_paginator"}

    def pages(self, recorder: Recorder) -> int:
        return len(recorder.named("get_paginator"))


@pytest.fixture
def portal() -> Iterator[Portal]:
    with mock_aws():
        yield Portal()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> MetricLines:
    return MetricLines(monkeypatch, "duba")


# --- many connections ---


def test_hundreds_of_connections_cost_a_call_per_twenty_secrets_once_and_one_per_hundred_statuses(
    portal: Portal,
) -> None:
    portal.connect(*(f"k{number}" for number in range(MANY)))
    assert portal.tick(Task.POLL) == MANY
    assert portal.asked() == {"batch_get_secret_value": 11, "batch_get_item": 3}
    assert portal.tick(Task.POLL) == MANY
    assert portal.asked() == {"batch_get_item": 3}, "no secret has changed"


def test_a_tick_that_finds_no_work_sends_nothing_and_asks_one_bounded_question_per_kind(portal: Portal) -> None:
    portal.connect(*(f"k{number}" for number in range(20)))
    portal.tick(Task.POLL)
    for task, kinds in ((Task.ACKNOWLEDGE, 1), (Task.TRACK, 2)):
        assert portal.tick(task) == 0
        assert portal.queues.sent == {}
        assert portal.pages(portal.dynamodb) == 20 * kinds
        assert portal.asked() == {"batch_get_item": 1}


# --- only where there is work ---


@pytest.mark.parametrize(
    ("work", "task", "queue"),
    [
        (Work.ACKNOWLEDGE, Task.ACKNOWLEDGE, "acknowledge"),
        (Work.TRACK, Task.TRACK, "track"),
        (Work.FORGET, Task.TRACK, "track"),
    ],
)
def test_a_task_is_sent_where_its_work_is_due_and_nowhere_else(
    portal: Portal, work: Work, task: Task, queue: str
) -> None:
    portal.connect("idle", "busy", "soon", "other")
    portal.has_due(work, "busy")
    portal.has_due(work, "soon", later(seconds=1))
    portal.has_due(Work.FETCH, "other")
    assert portal.tick(task) == 1
    assert portal.queues.sent == {queue: ["busy"]}
    portal.clock.forward(seconds=1)
    assert portal.tick(task) == 2
    assert sorted(portal.queues.sent[queue]) == ["busy", "soon"]


def test_what_the_index_does_not_show_yet_is_found_at_the_next_tick(portal: Portal) -> None:
    portal.connect("busy")
    assert portal.tick(Task.ACKNOWLEDGE) == 0
    portal.has_due(Work.ACKNOWLEDGE, "busy")
    assert portal.tick(Task.ACKNOWLEDGE) == 1


@pytest.mark.parametrize("task", [Task.POLL, Task.RECONCILE])
def test_a_poll_is_sent_to_everybody_as_only_the_portal_knows_what_is_new(portal: Portal, task: Task) -> None:
    portal.connect("idle", "busy")
    portal.connect("off", enabled=False)
    assert portal.tick(task) == 2
    assert sorted(portal.queues.sent["poll"]) == ["busy", "idle"]


def test_a_backlog_is_seen_by_one_row_of_it(portal: Portal) -> None:
    asked: list[int | None] = []
    portal.dynamodb.meta.events.register(
        "before-parameter-build.dynamodb.Query", lambda params, **_: asked.append(params.get("Limit"))
    )
    portal.connect("busy")
    for number in range(30):
        portal.has_due(Work.ACKNOWLEDGE, "busy", later(seconds=-number))
    assert portal.tick(Task.ACKNOWLEDGE) == 1
    assert asked == [1]


# --- broken ones ---


def test_a_broken_connection_does_not_keep_the_others(portal: Portal, logged: Logged) -> None:
    portal.connect("a-good", "z-good")
    portal.connect("broken", acknowledge="sometimes")
    assert portal.tick(Task.POLL) == 2
    assert not portal.services.ledger.status("duba", "broken").healthy
    assert "acknowledge: " in logged()


def test_a_status_that_cannot_be_read_does_not_keep_the_others(portal: Portal) -> None:
    portal.connect("damaged", "good")
    row = {"pk": "CONNECTION#duba#damaged", "sk": "STATUS", "failures": "many"}
    portal.dynamodb.put_item(TableName=portal.table, Item={name: {"S": value} for name, value in row.items()})
    assert portal.tick(Task.POLL) == 2


# --- how long nobody polled ---


def ages(lines: list[Line]) -> dict[str | None, list[float]]:
    return {line.get("connection"): line["PollAge"] for line in lines if "PollAge" in line}


@pytest.mark.parametrize("task", [Task.ACKNOWLEDGE, Task.TRACK])
def test_each_tick_reports_how_long_the_longest_waits(portal: Portal, lines: MetricLines, task: Task) -> None:
    portal.connect("polled", "waiting")
    portal.was_polled("polled", later(minutes=-1))
    portal.was_polled("waiting", later(minutes=-50))
    portal.tick(task)
    assert ages(lines.period()) == {None: [3000.0]}


def test_when_polls_are_due_each_connection_is_named(portal: Portal, lines: MetricLines) -> None:
    portal.connect("polled", "mended", changed_at=later(minutes=-7))
    portal.was_polled("polled", later(minutes=-1))
    portal.was_polled("mended", later(minutes=-50))
    portal.tick(Task.POLL)
    assert ages(lines.period()) == {None: [420.0], "polled": [60.0], "mended": [420.0]}


def test_a_portal_that_nobody_uses_reports_zero(portal: Portal, lines: MetricLines) -> None:
    portal.tick(Task.TRACK)
    assert ages(lines.period()) == {None: [0.0]}
