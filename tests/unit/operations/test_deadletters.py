"""Dead letters: what each was for, and the way back to its queue."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from amtsbote.errors import Misconfigured
from amtsbote.messages import ConnectionTask, FetchRequest, Message, Task, Tick
from amtsbote.operations.deadletters import letter_of, put_back, read_dead_letters, redrive
from amtsbote.operations.office import Office
from amtsbote.operations.overview import dead_letters
from amtsbote.operations.stack import queue_id, stack_named
from amtsbote.portals import NAMES
from tests.template.loading import load_template
from tests.unit.operations.support import PORTAL_VERBS, StackDescriptions, create_stack, office
from tests.unit.support import Clock

EVENTS = Path(__file__).parents[3] / "events"


def drop(key: str) -> dict[str, Any]:
    """Return the event of a drop, from the sample."""
    sample: dict[str, Any] = json.loads(json.loads((EVENTS / "deliver.json").read_text())["Records"][0]["body"])
    sample["detail"]["object"]["key"] = key
    return sample


@pytest.fixture
def desk() -> Iterator[Office]:
    with mock_aws():
        yield office(create_stack(), Clock())


def give_up(desk: Office, body: object) -> None:
    """Let a request be a dead letter."""
    said = body.body() if isinstance(body, Message) else body
    desk.sqs.send_message(QueueUrl=desk.stack.dead_letter_queue_url, MessageBody=json.dumps(said))


def bodies(desk: Office, verb: str, portal: str = "duba") -> list[Any]:
    """Return what lies in a function's queue."""
    answer = desk.sqs.receive_message(QueueUrl=desk.stack.queue_url(verb, portal), MaxNumberOfMessages=10)
    return [json.loads(each["Body"]) for each in answer.get("Messages", [])]


FETCH = FetchRequest(portal="duba", connection="klinikum", id="214")


@pytest.mark.parametrize(
    ("body", "verb", "portal", "about"),
    [
        (FETCH.body(), "fetch", "duba", "fetch of duba/klinikum/214"),
        (
            ConnectionTask(portal="duba", connection="klinikum", task=Task.RECONCILE).body(),
            "poll",
            "duba",
            "reconcile of duba/klinikum",
        ),
        (
            ConnectionTask(portal="altinn", connection="a", task=Task.TRACK).body(),
            "track",
            "altinn",
            "track of altinn/a",
        ),
        (Tick(portal="duba", task=Task.ACKNOWLEDGE).body(), "dispatch", "duba", "acknowledge of all of duba"),
        (drop("duba/klinikum/F/a.json"), "deliver", "duba", "duba/klinikum/F/a.json"),
        (drop("nowhere/a.json"), "deliver", "unrouted", "nowhere/a.json"),
    ],
)
def test_what_a_request_was_for_is_told_by_its_shape(body: object, verb: str, portal: str, about: str) -> None:
    letter = letter_of(json.dumps(body), "handle")
    assert (letter.verb, letter.portal, letter.about) == (verb, portal, about)


@pytest.mark.parametrize("body", ["no JSON", "[]", "null", "{}", '{"portal": "bauamt", "connection": "a", "id": "1"}'])
def test_what_nobody_understands_is_for_nobody(body: str) -> None:
    letter = letter_of(body, "handle")
    assert (letter.verb, letter.portal) == (None, None)


def test_each_letter_goes_back_to_the_queue_that_it_was_for(desk: Office) -> None:
    tick = Tick(portal="duba", task=Task.POLL)
    for body in (FETCH, tick, drop("duba/klinikum/F/a.json"), drop("nowhere/a.json")):
        give_up(desk, body)
    result = redrive(desk, read_dead_letters(desk))
    assert (result.sent, result.left) == (4, 0)
    assert bodies(desk, "fetch") == [FETCH.body()]
    assert bodies(desk, "dispatch") == [tick.body()]
    assert bodies(desk, "deliver") == [drop("duba/klinikum/F/a.json")]
    assert bodies(desk, "deliver", "unrouted") == [drop("nowhere/a.json")]
    assert dead_letters(desk) == 0


def test_what_is_not_understood_or_has_no_queue_stays(desk: Office) -> None:
    give_up(desk, {"unknown": True})
    give_up(desk, FetchRequest(portal="altinn", connection="a", id="1"))
    result = redrive(desk, read_dead_letters(desk))
    assert (result.sent, result.left) == (0, 2)
    assert dead_letters(desk) == 2


def test_looking_leaves_all_of_them_to_be_seen_again(desk: Office) -> None:
    give_up(desk, FETCH)
    put_back(desk, read_dead_letters(desk))
    assert [letter.about for letter in read_dead_letters(desk)] == ["fetch of duba/klinikum/214"]


def test_the_letters_of_one_portal_leave_the_others_where_they_are(desk: Office) -> None:
    give_up(desk, FETCH)
    give_up(desk, drop("altinn/a/o/p/1/2/t/f.pdf"))
    assert redrive(desk, read_dead_letters(desk, "duba")).sent == 1
    assert [letter.portal for letter in read_dead_letters(desk)] == ["altinn"]


def test_a_stack_that_is_not_there_is_told_with_what_to_check() -> None:
    with pytest.raises(Misconfigured, match="check --stack"):
        stack_named(StackDescriptions({}, {}), "amtsbote-2")  # type: ignore[arg-type]


def test_a_stack_of_something_else_is_told_by_what_it_lacks() -> None:
    with pytest.raises(Misconfigured, match="has no output InboxBucketName"):
        stack_named(StackDescriptions({}, {}), "amtsbote")  # type: ignore[arg-type]


def test_every_queue_has_the_name_that_the_template_gives_it() -> None:
    resources = load_template()["Resources"]
    named = [queue_id(verb, portal) for portal in NAMES for verb in PORTAL_VERBS]
    assert {resources[name]["Type"] for name in [*named, queue_id("deliver", "unrouted")]} == {"AWS::SQS::Queue"}
