"""Everything that this Altinn holds, and what may be done to it; the APIs are two ways to ask for the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from sandbox.portals.server import Clock

from .apps import START_EVENT, App, DataType
from .bodies import Part
from .errors import Refusal, bad_request, forbidden, not_found, problem
from .instants import is_zulu
from .records import (
    CloudEvent,
    Confirmation,
    Element,
    Instance,
    InstanceEvent,
    Issue,
    Process,
    Upload,
)

MAX_STEPS = 100
FIRST_PARTY = 50000
PARTIES = 1_000_000
PERSON_DIGITS, ORGANISATION_DIGITS = 11, 9
OWNER_NUMBERS = {"personNumber": PERSON_DIGITS, "organisationNumber": ORGANISATION_DIGITS}


@dataclass
class Lock:
    """An instance lock that somebody else holds: the answer, and how often it is still given."""

    status: HTTPStatus
    left: int


@dataclass(frozen=True)
class Owner:
    """Whom an instance is about."""

    party_id: int
    numbers: Mapping[str, str]


class World:
    """Apps, instances and events. `issues_answer` writes validation issues in the dialect that is spoken."""

    def __init__(self, clock: Clock, issues_answer: Callable[[Sequence[Issue]], Any]) -> None:
        self.clock = clock
        self._issues_answer = issues_answer
        self.apps: dict[str, App] = {}
        self.instances: dict[str, Instance] = {}
        self.instance_events: list[InstanceEvent] = []
        self.cloud_events: list[CloudEvent] = []
        self.locks: dict[str, Lock] = {}
        self.forced_issues: dict[str, list[Issue]] = {}
        self.uploads: list[Upload] = []
        self.created: list[str] = []
        """The ids of the instances that a client created."""
        self.steps: dict[str, list[str]] = {}
        """The elements that an instance's process was moved to by a client."""
        self.complete_calls: dict[str, int] = {}
        self._numbers = 0

    def clean_up(self) -> None:
        """Remove what the nightly run would have removed by now."""
        now = self.clock()
        for gone in [each.id for each in self.instances.values() if each.is_purged(now)]:
            del self.instances[gone]

    def next_number(self) -> int:
        """Storage's key for one more instance."""
        self._numbers += 1
        return self._numbers

    # --- finding ---

    def app(self, app_id: str, org: str) -> App:
        """An app of the caller's; 404 when there is none, 403 when it is another's."""
        app = self.apps.get(app_id)
        if app is None:
            raise not_found(f"Application {app_id} not found")
        if app.org != org:
            raise forbidden()
        return app

    def instance(self, instance_id: str, org: str, app_id: str | None = None) -> Instance:
        """An instance of the caller's, of this app where one is named."""
        found = self.instances.get(instance_id)
        if found is None or app_id not in (None, found.app.id):
            raise not_found(f"Did not find an instance with instanceId={instance_id}")
        if found.app.org != org:
            raise forbidden()
        return found

    def element(self, instance: Instance, element_id: str) -> Element:
        """One data element; 404 when the instance has none such."""
        if element_id not in instance.elements:
            raise not_found(f"Unable to find any data element with id: {element_id}.")
        return instance.elements[element_id]

    # --- events ---

    def note(self, instance: Instance, kind: str, element: Element | None = None, at: datetime | None = None) -> None:
        """An entry in the instance's own list of events."""
        element_id = element.id if element else None
        self.instance_events.append(
            InstanceEvent(instance, kind, at or self.clock(), instance.process.task, element_id)
        )

    def publish(self, instance: Instance, kind: str, at: datetime | None = None) -> None:
        """A CloudEvent of the app."""
        self.cloud_events.append(
            CloudEvent(instance.app, instance.id, instance.party_id, f"app.instance.{kind}", at or self.clock())
        )

    def changed(self, instance: Instance) -> None:
        """The instance changes now."""
        instance.last_changed = max(self.clock(), instance.last_changed)

    # --- instances ---

    def instantiate(self, app: App, template: Mapping[str, Any], parts: Sequence[Part]) -> Instance:
        """A new instance from a template and the files that come with it, at its first task."""
        owner = _owner(template.get("instanceOwner"))
        _check_template(app, template)
        instance = Instance(self.next_number(), app, owner.party_id, self.clock(), app.org, self.clock())
        instance.owner = owner.numbers
        _fill(instance, template)
        for part, data_type in self._all_checked(instance, parts):
            self._keep(instance, data_type, part, "app")
        self.instances[instance.id] = instance
        self.created.append(instance.id)
        self.begin(instance)
        return instance

    def begin(self, instance: Instance, at: datetime | None = None) -> None:
        """Created, and at its first task with the data elements that the app makes by itself."""
        self.note(instance, "Created", at=at)
        self.publish(instance, "created", at)
        self.start(instance, at)

    def start(self, instance: Instance, at: datetime | None = None) -> None:
        """Start the process."""
        now = at or self.clock()
        instance.process.start(now)
        self.note(instance, "process_StartEvent", at=now)
        self.enter(instance, instance.app.tasks[0].id, now)

    def delete(self, instance: Instance, *, hard: bool) -> None:
        """Mark an instance as deleted; 403 while the app forbids it."""
        if instance.app.no_deletion_for_days is not None:
            raise Refusal(HTTPStatus.FORBIDDEN, "The instance cannot be deleted yet")
        instance.soft_deleted = instance.soft_deleted or self.clock()
        instance.hard_deleted = self.clock() if hard else instance.hard_deleted
        self.changed(instance)
        self.note(instance, "Deleted")

    def complete(self, instance: Instance, org: str) -> None:
        """The organisation needs the instance no longer: noted once per organisation, counted each time."""
        if not instance.app.may_complete:
            raise forbidden()
        self.complete_calls[instance.id] = self.complete_calls.get(instance.id, 0) + 1
        if instance.confirmed_by(org) is None:
            instance.confirmations.append(Confirmation(org, self.clock()))
            self.changed(instance)
            self.note(instance, "ConfirmedComplete")

    # --- data elements ---

    def add(self, instance: Instance, type_id: str, part: Part, api: str, **more: Any) -> Element:
        """Keep a new data element that the app's rules allow."""
        element = self._keep(instance, self._checked(instance, part, type_id), part, api, **more)
        self.changed(instance)
        return element

    def store(self, instance: Instance, type_id: str, part: Part, **more: Any) -> Element:
        """Keep a new data element as Storage does: the type must exist, the content must not be empty."""
        data_type = self._data_type(instance, type_id, HTTPStatus.BAD_REQUEST)
        _check_not_empty(part)
        element = self._keep(instance, data_type, part, "storage", **more)
        self.changed(instance)
        return element

    def _keep(self, instance: Instance, data_type: DataType, part: Part, api: str, **more: Any) -> Element:
        now, content_type = self.clock(), part.content_type or "application/octet-stream"
        scan = "Pending" if data_type.scanned else "NotApplicable"
        element = Element(
            data_type.id,
            part.filename,
            content_type,
            part.content,
            now,
            instance.app.org,
            now,
            scan_result=scan,
            **more,
        )
        instance.elements[element.id] = element
        self._record(instance, element, part, api, replaced=False)
        return element

    def replace(self, instance: Instance, element: Element, part: Part, api: str) -> None:
        """New content for a data element; 409 when it is locked, 422 when there is nothing."""
        _check_unlocked(element)
        _check_not_empty(part)
        element.content, element.last_changed = part.content, self.clock()
        element.content_type = part.content_type or element.content_type
        element.filename = part.filename or element.filename
        self._record(instance, element, part, api, replaced=True)
        self.changed(instance)

    def remove(self, instance: Instance, element: Element) -> None:
        """Delete a data element; 409 when it is locked."""
        _check_unlocked(element)
        del instance.elements[element.id]
        self.changed(instance)
        self.note(instance, "Deleted", element)

    def set_lock(self, instance: Instance, element: Element, *, locked: bool) -> None:
        """Lock or unlock a data element."""
        element.locked = locked
        self.changed(instance)

    def _record(self, instance: Instance, element: Element, part: Part, api: str, *, replaced: bool) -> None:
        self.uploads.append(
            Upload(
                instance.id, element.id, element.data_type, element.filename, element.content_type, part.content,
                self.clock(), api, replaced,
            )
        )  # fmt: skip
        self.note(instance, "Saved", element)

    def _data_type(self, instance: Instance, type_id: str, status: HTTPStatus) -> DataType:
        data_type = instance.app.data_type(type_id)
        if data_type is None:
            raise Refusal(status, f"Element type {type_id} not allowed for instance {instance.id}.")
        return data_type

    def _all_checked(self, instance: Instance, parts: Sequence[Part]) -> list[tuple[Part, DataType]]:
        """All files of an instantiation with their data types: none is kept unless every one may be."""
        names = [part.name or "" for part in parts]
        return [
            (part, self._checked(instance, part, names[at], beside=names[:at].count(names[at])))
            for at, part in enumerate(parts)
        ]

    def _checked(self, instance: Instance, part: Part, type_id: str, beside: int = 0) -> DataType:
        """The data type of a file that may be uploaded, `beside` others of its type that come with it; 413 or 400
        with all issues when it may not."""
        data_type = self._data_type(instance, type_id, HTTPStatus.BAD_REQUEST)
        if data_type.max_bytes is not None and len(part.content) > data_type.max_bytes:
            raise problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{type_id} may have {data_type.max_megabytes} MB")
        issues = list(file_issues(data_type, part))
        if data_type.is_full(len(instance.of_type(type_id)) + beside):
            issues.append(Issue("TooManyDataElementsOfType", f"{type_id}: {data_type.max_count} at most"))
        self.refuse_issues(issues, HTTPStatus.BAD_REQUEST)
        return data_type

    # --- process ---

    def check_lock(self, instance: Instance) -> None:
        """409 or 423 while somebody else holds the lock of the instance."""
        lock = self.locks.get(instance.id)
        if lock is not None and lock.left > 0:
            lock.left -= 1
            raise problem(lock.status, "The instance is locked by another process")

    def refuse_issues(self, issues: Iterable[Issue], status: HTTPStatus) -> None:
        """Refuse with the list of issues, if there is an error among them."""
        listed = list(issues)
        if any(issue.severity == "Error" for issue in listed):
            raise Refusal(status, self._issues_answer(listed))

    def issues(self, instance: Instance) -> list[Issue]:
        """What keeps the current task from being completed."""
        return [*self.forced_issues.get(instance.id, []), *_count_issues(instance), *_scan_issues(instance)]

    def advance(self, instance: Instance, target: str) -> None:
        """Complete the current task and move to another element of the process."""
        self.refuse_issues(self.issues(instance), HTTPStatus.CONFLICT)
        self.note(instance, "process_EndTask")
        self.steps.setdefault(instance.id, []).append(target)
        self.enter(instance, target, self.clock())
        self.changed(instance)

    def enter(self, instance: Instance, target: str, now: datetime) -> None:
        """Be at this task, or at the end: then the instance is archived."""
        if target not in {task.id for task in instance.app.tasks}:
            instance.process.end(now, target)
            instance.archived = now
            self.note(instance, "process_EndEvent", at=now)
            self.publish(instance, "process.completed", now)
            return
        instance.process.enter(instance.app.task(target), now)
        self.note(instance, "process_StartTask", at=now)
        self.publish(instance, f"process.movedTo.{target}", now)
        self._create_automatically(instance, target, now)

    def _create_automatically(self, instance: Instance, task_id: str, now: datetime) -> None:
        for each in instance.app.data_types:
            if each.auto_create and each.task_id in (None, task_id) and not instance.of_type(each.id):
                element = Element(each.id, None, "application/xml", b"<model/>", now, instance.app.org, now)
                instance.elements[element.id] = element

    def finish(self, instance: Instance) -> None:
        """Move from task to task until the end; it stops at the first task that cannot be completed."""
        for _ in range(MAX_STEPS):
            task = current_task(instance.process)
            self.advance(instance, only_way(instance.app.reachable(task)))
            if instance.process.ended is not None:
                return
        raise problem(HTTPStatus.INTERNAL_SERVER_ERROR, "More than the maximum number of tasks")


# --- rules of the process ---


def current_task(process: Process) -> str:
    """Where the process is; 409 when it has not started or is over."""
    if process.task is None:
        raise problem(HTTPStatus.CONFLICT, "Process is not started" if process.started is None else "Process is ended")
    return process.task.id


def only_way(reachable: Sequence[str]) -> str:
    """The one element that the flow leads to; 409 when the client would have to choose."""
    if len(reachable) != 1:
        raise problem(HTTPStatus.CONFLICT, f"There is a choice: {', '.join(reachable)}")
    return reachable[0]


def check_start_event(start_event: str | None) -> None:
    """409 for a start event that the process does not have."""
    if start_event not in (None, START_EVENT):
        raise problem(HTTPStatus.CONFLICT, f"No start event {start_event}")


# --- rules of data elements ---


def file_issues(data_type: DataType, part: Part) -> Iterable[Issue]:
    """What is wrong with a file: a content type that is allowed, a name (but for form data), and any bytes."""
    if not part.content_type:
        yield Issue("MissingContentType", "Content-Type is missing")
    elif not data_type.allows(part.content_type):
        yield Issue("ContentTypeNotAllowed", f"{part.content_type} is not allowed for {data_type.id}")
    if not part.filename and data_type.class_ref is None:
        yield Issue("MissingFileName", "Content-Disposition must contain a filename")
    if not part.content:
        yield Issue("DataElementEmpty", "The file is zero bytes")


def _check_unlocked(element: Element) -> None:
    if element.locked:
        raise Refusal(HTTPStatus.CONFLICT, f"Data element {element.id} is locked and cannot be updated")


def _check_not_empty(part: Part) -> None:
    if not part.content:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "Could not process attached file")


def _count_issues(instance: Instance) -> Iterable[Issue]:
    task = instance.process.task
    for data_type in instance.app.data_types:
        if data_type.task_id is not None and (task is None or data_type.task_id != task.id):
            continue
        if len(instance.of_type(data_type.id)) < data_type.min_count:
            yield Issue("TooFewDataElementsOfType", f"{data_type.id}: {data_type.min_count} at least")


def _scan_issues(instance: Instance) -> Iterable[Issue]:
    for element in instance.elements.values():
        if element.scan_result == "Infected":
            yield Issue("DataElementFileInfected", "The file is infected", element=element)


# --- templates ---


def _owner(given: Any) -> Owner:
    """The party of a template: by its id, or looked up by a national number (here: computed from it)."""
    owner = given if isinstance(given, dict) else {}
    numbers = {name: str(owner[name]) for name in OWNER_NUMBERS if owner.get(name)}
    for name, number in numbers.items():
        if not number.isdecimal() or len(number) != OWNER_NUMBERS[name]:
            raise bad_request(f"instanceOwner.{name} must have {OWNER_NUMBERS[name]} digits")
    party_id = str(owner.get("partyId") or next((_party_of(number) for number in numbers.values()), ""))
    if not party_id.isdecimal() or int(party_id) == 0:
        raise bad_request("Missing instanceOwner: partyId, personNumber or organisationNumber")
    return Owner(int(party_id), numbers)


def _party_of(number: str) -> str:
    return str(FIRST_PARTY + int(hashlib.sha256(number.encode()).hexdigest(), 16) % PARTIES)


def _check_template(app: App, template: Mapping[str, Any]) -> None:
    if template.get("appId") not in (None, app.id):
        raise bad_request(f"The template is for {template['appId']}, not for {app.id}")
    for name in ("dueBefore", "visibleAfter"):
        if template.get(name) is not None and not is_zulu(template[name]):
            raise bad_request(f"{name} must be a time in UTC that ends with Z")
    prefill = template.get("prefill") or {}
    if not isinstance(prefill, dict) or not all(isinstance(value, str) for value in prefill.values()):
        raise bad_request("prefill must hold strings")


def _fill(instance: Instance, template: Mapping[str, Any]) -> None:
    instance.due_before, instance.visible_after = template.get("dueBefore"), template.get("visibleAfter")
    app_owner, title = template.get("appOwner") or {}, template.get("title")
    instance.labels = tuple(app_owner.get("labels") or ()) if isinstance(app_owner, dict) else ()
    instance.title = title if isinstance(title, dict) else None
