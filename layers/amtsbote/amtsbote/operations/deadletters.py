"""Requests that were given up: what they ask for, and the way back to the queue that each was for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amtsbote.errors import Misconfigured, Retry
from amtsbote.keys import DROP_RULES
from amtsbote.messages import ConnectionTask, DropRequest, FetchRequest, Tick
from amtsbote.operations.office import QUEUE_OF, Office
from amtsbote.operations.sentences import said
from amtsbote.operations.trail import WHOLE_STACK, leaving_trail
from amtsbote.portals import NAMES

PER_CALL = 10
HIDDEN_SECONDS = 120  # while it is looked at nobody else takes it
AT_MOST = 1000  # per run; what is left is for the next
UNROUTED = "unrouted"


@dataclass(frozen=True)
class DeadLetter:
    """A request that was given up: the function that it is for (None where that cannot be told), and what about."""

    verb: str | None
    portal: str | None
    about: str
    body: str
    handle: str


@dataclass(frozen=True)
class Redriven:
    """How many requests went back to their queues; what was not understood stays where it is."""

    sent: int
    left: int


def read_dead_letters(office: Office, portal: str | None = None) -> list[DeadLetter]:
    """Return what lies in the dead-letter queue, or what of it is for one portal; the others are put back."""
    letters = list(_receive(office))
    others = [letter for letter in letters if portal not in (None, letter.portal)]
    put_back(office, others)
    return [letter for letter in letters if letter not in others]


def put_back(office: Office, letters: list[DeadLetter]) -> None:
    """Let letters be seen again that were only looked at."""
    for letter in letters:
        office.sqs.change_message_visibility(
            QueueUrl=office.stack.dead_letter_queue_url, ReceiptHandle=letter.handle, VisibilityTimeout=0
        )


def redrive(office: Office, letters: list[DeadLetter]) -> Redriven:
    """Send letters back to their queues. Each is sent before it is deleted: repeated by a crash, it does no harm."""
    if not letters:
        return Redriven(0, 0)
    with leaving_trail(office, "redrive", [WHOLE_STACK], f"{len(letters)} requests"):
        left = [letter for letter in letters if not _send(office, letter)]
        put_back(office, left)
    return Redriven(len(letters) - len(left), len(left))


def _send(office: Office, letter: DeadLetter) -> bool:
    if letter.verb is None or letter.portal is None:
        return False
    try:
        url = office.stack.queue_url(letter.verb, letter.portal)
    except Misconfigured:  # of a portal that this stack no longer has
        return False
    office.sqs.send_message(QueueUrl=url, MessageBody=letter.body)
    office.sqs.delete_message(QueueUrl=office.stack.dead_letter_queue_url, ReceiptHandle=letter.handle)
    return True


def _receive(office: Office) -> Iterator[DeadLetter]:
    received = 0
    while received < AT_MOST:
        answer = office.sqs.receive_message(
            QueueUrl=office.stack.dead_letter_queue_url,
            MaxNumberOfMessages=PER_CALL,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=1,  # long polling asks every server of the queue
        )
        found = answer.get("Messages", [])
        if not found:
            return
        received += len(found)
        for message in found:
            yield letter_of(message["Body"], message["ReceiptHandle"])
    why = said("there are more than {count} dead letters; redrive one portal at a time", count=AT_MOST)
    raise Retry("MANY_DEAD_LETTERS", why)


def letter_of(body: str, handle: str) -> DeadLetter:
    """Return what a request was for, told by its shape: a drop's comes from EventBridge and from no queue."""
    for read in (_drop, _task, _fetch, _tick):
        try:
            verb, portal, about = read(json.loads(body))
        except (ValueError, KeyError, TypeError):
            continue
        return DeadLetter(verb, portal, about, body, handle)
    return DeadLetter(None, None, "a request that nobody here understands", body, handle)


def _drop(said: Any) -> tuple[str, str, str]:
    key = DropRequest.model_validate(said).detail.object.key
    portal = key.partition("/")[0]
    return "deliver", portal if portal in DROP_RULES else UNROUTED, key


def _task(said: Any) -> tuple[str, str, str]:
    task = ConnectionTask.model_validate(said)
    return QUEUE_OF[task.task], _known(task.portal), f"{task.task} of {task.portal}/{task.connection}"


def _fetch(said: Any) -> tuple[str, str, str]:
    wanted = FetchRequest.model_validate(said)
    return "fetch", _known(wanted.portal), f"fetch of {wanted.portal}/{wanted.connection}/{wanted.id}"


def _tick(said: Any) -> tuple[str, str, str]:
    tick = Tick.model_validate(said)
    return "dispatch", _known(tick.portal), f"{tick.task} of all of {tick.portal}"


def _known(portal: str) -> str:
    if portal not in NAMES:
        raise KeyError(portal)
    return portal
