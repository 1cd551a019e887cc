"""Deliveries to Altinn: a file into an instance, or a new instance from a template.

The portal cannot tell a repeat, so nothing is sent again blindly:

- A file: what the instance held before is written down first. After a lost answer, an equal file (data type, name,
  size, and then its bytes) that was not there before is the one that was sent, and is adopted.
- `process/next`: the task that is to be left is written down first. If the process is elsewhere later, it has moved.
- A new instance cannot even be looked up. It is asked for once; after a lost answer only a person can tell.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from amtsbote.errors import AmtsboteError, OutOfTime, Reject, Retry, Unavailable
from amtsbote.http import was_never_sent
from amtsbote.portals.altinn.client import AltinnClient
from amtsbote.portals.altinn.connection import AltinnSecret, Dialect
from amtsbote.portals.altinn.content import Content, StreamedBody
from amtsbote.portals.altinn.errors import Undone
from amtsbote.portals.altinn.models import DataElement, Instance, InstanceId, Process, id_of
from amtsbote.portals.altinn.templates import SUFFIX, new_instance
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Delivery, Drop, Journal, Outcome, Step

if TYPE_CHECKING:
    from amtsbote.portals.altinn.app import App

RULES = "<org>/<app>/<partyId>/<instanceGuid>/<dataType>/<file name> or <org>/<app>/<name>.instance.json"
PROCESS_NEXT = "process-next"
CREATE_SECONDS_AT_LEAST = 10  # with less time left, an answer could be lost only because nobody waits for it
LISTED_AT_MOST = 20

HELD = "held"  # journal: ids of the equal files that the instance held before the upload was tried
ELEMENT = "dataElementId"
LEAVING = "leaving"  # journal: the task that process/next was asked to end
ASKED = "asked"  # journal: a new instance was asked for
CREATED = "created"  # journal: its id, at once, because nothing at the portal tells it from another

ACTIONS = {"data": "write", "feedback": "write", "confirmation": "confirm"}  # what an app's library takes for granted
"""The action that ends a task, by the task's type; others are left to the app."""


class AltinnDestination:
    """What goes to the apps of one organisation."""

    def __init__(self, client: AltinnClient, secret: AltinnSecret, tools: Tools) -> None:
        self._client = client
        self._secret = secret
        self._tools = tools

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Send a drop; its path is one of RULES.

        Reject names the mistake: an app that is not connected, an instance that is gone, a file that the app refuses.
        """
        match drop.path:
            case (org, app, last) if last.endswith(SUFFIX):
                return self._deliver_instance(self._known(org, app), drop, journal)
            case (org, app, party_id, guid, data_type, _):
                instance = InstanceId.parse(f"{party_id}/{guid}")
                return self._deliver_data(self._known(org, app), instance, data_type, drop, journal)
        raise Reject("KEY_FITS_NO_RULE", f"what follows the connection's name in the key must look like {RULES}")

    def track(self, portal_id: str) -> Delivery:
        """Return that the delivery has arrived: the portal has no later state to follow."""
        return Delivery(portal_id, Outcome.DELIVERED)

    def _known(self, org: str, app: str) -> str:
        app_id = f"{org}/{app}"
        if app_id not in self._secret.apps:
            known = ", ".join(self._secret.apps[:LISTED_AT_MOST])
            raise Reject("APP_UNKNOWN", f"the connection has no app {app_id[:200]!r}; its `apps` are {known}")
        return app_id

    def _delivered(self, portal_id: str, result: dict[str, str], *states: str) -> Delivery:
        now = self._tools.clock()
        return Delivery(portal_id, Outcome.DELIVERED, tuple(Step(now, state) for state in states), result)

    # --- a file ------------------------------------------------------------------------------------------------------

    def _deliver_data(
        self, app_id: str, instance: InstanceId, data_type: str, drop: Drop, journal: Journal
    ) -> Delivery:
        moves_on = _moves_on(drop)
        self._client.freshen()
        app = self._client.app(app_id)
        if ELEMENT not in journal.state:
            journal.state[ELEMENT] = self._upload(app, app_id, instance, data_type, drop, journal)
            if moves_on:  # else nothing follows that could not be done again by looking
                journal.save()
        element_id = str(journal.state[ELEMENT])
        states = ["UPLOADED"]
        if moves_on:
            states.append(self._move_on(app, instance, element_id, journal))
        return self._delivered(element_id, {"dataElementId": element_id, "instanceId": str(instance)}, *states)

    def _upload(
        self, app: "App", app_id: str, instance: InstanceId, data_type: str, drop: Drop, journal: Journal
    ) -> str:
        """Send the file and return its id there; the one that an earlier try has brought there, if it did."""
        found = self._instance(app_id, instance)
        held = _equal_files(found, data_type, drop)
        before = journal.state.setdefault(HELD, [each.id for each in held])
        arrived = next((each for each in held if each.id not in before and self._is_drop(instance, each, drop)), None)
        if arrived is not None:
            return arrived.id
        journal.save()
        self._tools.transport.deadline.check()
        missing = f"the app has no data type {data_type[:60]!r}, or the instance has just gone"
        with _named(missing, "write to it"), _ended_is_no_lock(found):
            created = app.add_data(instance, data_type, _content(drop))
        if created.element_id is None:
            raise Retry("PORTAL_ANSWER_UNREADABLE", "Altinn took the file and did not say under which id")
        return created.element_id

    def _is_drop(self, instance: InstanceId, element: DataElement, drop: Drop) -> bool:
        """Return whether a file has the bytes of the drop: another version of its key may be as long.

        True also for one that the portal does not hand out, as it may do before a virus scan. Retry where something
        else comes in its place, such as the page of a portal in maintenance.
        """
        try:
            with self._client.storage.open_data(instance, element.id) as answer:
                size, there = _digest(answer.chunks)
        except Unavailable:
            return True
        if element.size is not None and size != element.size:
            raise Retry("PORTAL_ANSWER_UNREADABLE", f"Altinn handed out {size} bytes as a file of {element.size}")
        return there == _digest(StreamedBody(_content(drop), self._tools.transport.deadline.check))[1]

    def _instance(self, app_id: str, instance_id: InstanceId) -> Instance:
        with _named("the portal has no such instance, or no longer; check partyId and instanceGuid", "read it"):
            instance = self._client.storage.get(instance_id)
        if instance.app_id is not None and instance.app_id.casefold() != app_id.casefold():
            raise Reject("APP_DIFFERS", f"the instance belongs to another app than {app_id}; correct the key")
        return instance

    def _move_on(self, app: "App", instance: InstanceId, element_id: str, journal: Journal) -> str:
        """End the current task, unless an earlier try has done so; return what became of the process."""
        with _named(
            "the instance has gone after the upload", "move its process on", f"the file is there: {element_id}"
        ):
            process = app.process(instance)
            place = _place(process)
            if process.ended and place is None:
                return "PROCESS_ENDED"
            if journal.state.setdefault(LEAVING, place) == place:
                journal.save()
                self._tools.transport.deadline.check()
                self._end_task(app, instance, process)
        return "PROCESS_MOVED_ON"

    def _end_task(self, app: "App", instance: InstanceId, process: Process) -> None:
        """End the current task by its action (v1), or by naming the one element that follows it (proposal)."""
        if self._secret.dialect is Dialect.PROPOSAL:
            app.move_on(instance, element_id=_only_way(app.next_elements(instance)))
        else:
            app.move_on(instance, action=_action(process))

    # --- an instance -------------------------------------------------------------------------------------------------

    def _deliver_instance(self, app_id: str, drop: Drop, journal: Journal) -> Delivery:
        """Create an instance, once: a crash before its id is written down, too, is an unknown outcome."""
        if CREATED in journal.state:
            return self._created(str(journal.state[CREATED]))
        if journal.state.get(ASKED):
            raise _unknown_outcome()
        wanted = new_instance(drop, app_id)
        app = self._client.app(app_id)
        self._client.freshen()
        if self._tools.transport.deadline.remaining_seconds() < CREATE_SECONDS_AT_LEAST:
            raise OutOfTime
        journal.state[ASKED] = True
        journal.save()
        try:
            with _named("the app does not exist, or does not know what the template names", "create instances in it"):
                created = app.create(wanted.template, wanted.parts)
        except AmtsboteError as error:
            if not nothing_happened(error):
                raise _unknown_outcome() from error
            del journal.state[ASKED]
            journal.save()
            raise
        try:
            instance_id = str(id_of(created))
        except Reject as error:
            raise _unknown_outcome() from error
        journal.state[CREATED] = instance_id
        journal.save()
        return self._created(instance_id)

    def _created(self, instance_id: str) -> Delivery:
        return self._delivered(instance_id, {"instanceId": instance_id}, "CREATED")


def nothing_happened(error: AmtsboteError) -> bool:
    """Return whether a failed call certainly changed nothing: it was refused, or never left this machine."""
    return not isinstance(error, Retry) or isinstance(error, Undone) or was_never_sent(error)


def _unknown_outcome() -> Reject:
    said = "an instance was asked for, and the answer was lost"
    mend = "check at the portal whether the instance exists; drop it again only if it does not"
    return Reject("OUTCOME_UNKNOWN", f"{said}; {mend}")


@contextmanager
def _named(missing: str, forbidden: str, done: str | None = None) -> Iterator[None]:
    """Say what is wrong with the drop where the portal says that something is gone, or forbidden, or invalid."""
    more = f"; {done}" if done else ""
    try:
        yield
    except Unavailable as error:
        mistake = missing if error.code == "NOT_FOUND" else f"the account may not {forbidden}; check the app's policy"
        raise Reject(error.code, mistake + more, portal_words=error.portal_words) from error
    except Reject as error:
        raise Reject(error.code, error.message + more, portal_words=error.portal_words) from error


def _moves_on(drop: Drop) -> bool:
    """Return whether the process is to be moved on; Reject where the user metadata is neither true nor false."""
    value = drop.metadata.get(PROCESS_NEXT, "false").strip().lower()
    if value not in ("true", "false"):
        raise Reject("METADATA_INVALID", f"the user metadata {PROCESS_NEXT} must be true or false")
    return value == "true"


@contextmanager
def _ended_is_no_lock(instance: Instance) -> Iterator[None]:
    """Reject where the app answers as if it were locked and will for ever: without a current task it takes no file."""
    try:
        yield
    except Undone as error:
        ended = instance.process is not None and instance.process.ended is not None
        if error.code != "LOCKED" or not ended:
            raise
        mistake = "the instance's process has ended, the app takes no more files"
        raise Reject("PROCESS_ENDED", mistake, portal_words=error.portal_words) from error


def _equal_files(instance: Instance, data_type: str, drop: Drop) -> list[DataElement]:
    """Return the instance's files that equal the drop as far as their description goes."""
    name = _normal(drop.file_name)
    return [
        element
        for element in instance.present
        if element.data_type == data_type
        and element.size in (None, drop.size)
        and _normal(element.filename or "") == name
    ]


def _only_way(elements: Sequence[str]) -> str | None:
    """Return the element that the process goes on to, None where the portal names none; Reject where it branches."""
    if len(elements) > 1:
        names = ", ".join(elements[:LISTED_AT_MOST])
        raise Reject("PROCESS_BRANCHES", f"the process can go on to each of {names}; a person has to choose")
    return elements[0] if elements else None


def _place(process: Process) -> list[str | int | None] | None:
    """Return what tells one visit of a task from another, None without a current task."""
    task = process.current_task
    return None if task is None else [task.element_id, task.started if task.flow is None else task.flow]


def _action(process: Process) -> str | None:
    task = process.current_task
    return None if task is None else ACTIONS.get(task.altinn_task_type or "")


def _digest(chunks: Iterable[bytes]) -> tuple[int, bytes]:
    """Return how many bytes came, and their SHA-256."""
    size, digest = 0, sha256()
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
    return size, digest.digest()


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _content(drop: Drop) -> Content:
    def opened() -> BinaryIO:
        return drop.read(0, drop.size) if drop.size else BytesIO()

    return Content(drop.size, drop.content_type, drop.file_name, opened)
