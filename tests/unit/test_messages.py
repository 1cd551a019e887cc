"""The samples in events/ against the models that read them, and what travels between the verbs."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from amtsbote.messages import ConnectionTask, DropRequest, FetchRequest, Message, RouteRequest, Task, Tick
from amtsbote.queues import Attempt, Queue, each_record
from amtsbote.rotation import RotationRequest, Step
from tests.unit.support import NOW

EVENTS = Path(__file__).parents[2] / "events"
MODELS: dict[str, type[Message]] = {
    "acknowledge": ConnectionTask,
    "deliver": DropRequest,
    "deliver-unrouted": DropRequest,
    "dispatch": Tick,
    "dispatch-reconcile": Tick,
    "retain": Tick,
    "route": RouteRequest,
    "fetch": FetchRequest,
    "poll": ConnectionTask,
    "poll-reconcile": ConnectionTask,
    "track": ConnectionTask,
}

ROTATE = "rotate"  # which Secrets Manager sends, and no queue


def records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))["Records"]
    return found


def requests(name: str) -> list[Any]:
    return [MODELS[name].model_validate_json(record["body"]) for record in records(name)]


def test_there_is_a_model_for_each_sample() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == set(MODELS) | {ROTATE}


def test_the_sample_of_a_rotation_is_read() -> None:
    request = RotationRequest.model_validate_json((EVENTS / f"{ROTATE}.json").read_text(encoding="utf-8"))
    assert request.step is Step.CREATE


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_is_worked_off_as_an_sqs_event(name: str) -> None:
    done: list[tuple[Message, Attempt]] = []
    silent: Any = None
    answer = each_record(
        records(name), MODELS[name], lambda *what: done.append(what), queue=Queue(silent, ""), tries=12
    )
    assert answer == {"batchItemFailures": []}
    assert len(done) == len(records(name))


@pytest.mark.parametrize("name", MODELS)
def test_a_request_sent_on_says_the_same(name: str) -> None:
    for request in requests(name):
        assert MODELS[name].model_validate_json(json.dumps(request.body())) == request


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("poll", Task.POLL),
        ("poll-reconcile", Task.RECONCILE),
        ("acknowledge", Task.ACKNOWLEDGE),
        ("track", Task.TRACK),
        ("dispatch", Task.POLL),
        ("dispatch-reconcile", Task.RECONCILE),
    ],
)
def test_a_sample_asks_for_its_task(name: str, task: Task) -> None:
    assert [request.task for request in requests(name)] == [task]


def test_the_samples_of_fetch_ask_for_items() -> None:
    assert [(each.portal, each.connection, each.id) for each in requests("fetch")] == [
        ("duba", "klinikum", "214"),
        ("duba", "klinikum", "215"),
    ]


def test_a_drop_event_names_bucket_key_version_and_order() -> None:
    (request,) = requests("deliver")
    assert request.detail.bucket.name == "amtsbote-outboxbucket-9x2m4c7v1b8n"
    dropped = request.detail.object
    assert dropped.key == "docxworld/klinikum/5b7f2a34-9c1d-4e8a-b6f0-2d3c4e5f6a7b/brief.pdf"
    assert (dropped.version_id, dropped.sequencer) == ("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", "006997203D4E1A2B3C")


def test_a_drop_event_of_a_bucket_without_versions_says_so() -> None:
    request = DropRequest.model_validate({"detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}})
    assert (request.detail.object.version_id, request.detail.object.sequencer) == ("null", "")


def test_a_request_is_sent_in_camel_case_without_what_is_not_known() -> None:
    task = ConnectionTask(portal="duba", connection="klinikum", task=Task.POLL)
    assert task.body() == {"portal": "duba", "connection": "klinikum", "task": "poll"}
    changed = ConnectionTask(portal="duba", connection="klinikum", task=Task.POLL, changed_at=NOW)
    assert changed.body()["changedAt"] == "2026-02-19T14:30:00Z"


def test_the_moment_of_a_change_survives_to_the_microsecond() -> None:
    moment = datetime(2026, 2, 19, 14, 30, 0, 123456, tzinfo=UTC)
    task = ConnectionTask(portal="duba", connection="klinikum", task=Task.POLL, changed_at=moment)
    assert ConnectionTask.model_validate_json(json.dumps(task.body())).changed_at == moment


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (Tick, {"portal": "duba", "task": "refund"}),
        (Tick, {"task": "poll"}),
        (FetchRequest, {"portal": "duba", "connection": "klinikum"}),
        (DropRequest, {"detail": {"object": {"key": "k"}}}),
    ],
)
def test_a_request_that_lacks_what_it_needs_is_refused(model: type[Message], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(body)
