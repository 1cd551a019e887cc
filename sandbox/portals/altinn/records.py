"""What Altinn keeps: instances, their data elements, their process, and the events of both kinds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from .apps import END_EVENT, START_EVENT, App, Task

Content = bytes | Path
SCAN_RESULTS = ("NotApplicable", "Pending", "Clean", "Infected")
MAIN_VERSION = 3
CLEAN_UP_AFTER_CONFIRMATION = timedelta(days=7)
CLEAN_UP_INTERVAL = timedelta(days=1)


class File(NamedTuple):
    """A data element as a test prepares it; a plain tuple in this order will do."""

    data_type: str
    filename: str | None
    content_type: str
    content: Content
    scan_result: str = "NotApplicable"


def new_guid() -> str:
    """A fresh guid."""
    return str(uuid.uuid4())


@dataclass
class Element:
    """One data element. `downloads` and `confirmed` are kept in both dialects; only the proposal shows them."""

    data_type: str
    filename: str | None
    content_type: str
    content: Content
    created: datetime
    created_by: str
    last_changed: datetime
    refs: tuple[str, ...] = ()
    locked: bool = False
    scan_result: str = "NotApplicable"
    generated_from: str | None = None
    id: str = field(default_factory=new_guid)
    downloads: list[datetime] = field(default_factory=list)
    confirmed: list[datetime] = field(default_factory=list)
    announced_size: int | None = None

    @property
    def size(self) -> int:
        """How many bytes the content has."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


@dataclass
class Step:
    """One element of the process that was visited; a start or end event has no `ended`."""

    kind: str
    element_id: str
    started: datetime
    ended: datetime | None = None


@dataclass
class Process:
    """Where an instance is in its app's process."""

    started: datetime | None = None
    task: Task | None = None
    task_started: datetime | None = None
    ended: datetime | None = None
    end_event: str | None = None
    history: list[Step] = field(default_factory=list)

    @property
    def flow(self) -> int:
        """The number of the current step in the sequence of all steps."""
        return len(self.history)

    def start(self, now: datetime) -> None:
        """Pass the start event. The first task is entered after it."""
        self.started = now
        self.history.append(Step("startEvent", START_EVENT, now, None))

    def enter(self, task: Task, now: datetime) -> None:
        """Leave the current task, if there is one, and begin another."""
        self._leave(now)
        self.task, self.task_started = task, now
        self.history.append(Step("task", task.id, now))

    def end(self, now: datetime, end_event: str = END_EVENT) -> None:
        """Leave the current task and reach an end event."""
        self._leave(now)
        self.task, self.task_started = None, None
        self.ended, self.end_event = now, end_event
        self.history.append(Step("endEvent", end_event, now))

    def _leave(self, now: datetime) -> None:
        if self.task is not None:
            self.history[-1].ended = now


@dataclass(frozen=True)
class Confirmation:
    """One stakeholder's word that it needs the instance no longer."""

    stakeholder: str
    at: datetime


@dataclass
class Instance:
    """One instance of an app. `number` is Storage's own key, in the order of creation."""

    number: int
    app: App
    party_id: int
    created: datetime
    created_by: str
    last_changed: datetime
    guid: str = field(default_factory=new_guid)
    owner: Mapping[str, str] = field(default_factory=dict)
    """`personNumber` or `organisationNumber`, where it is known."""
    process: Process = field(default_factory=Process)
    elements: dict[str, Element] = field(default_factory=dict)
    confirmations: list[Confirmation] = field(default_factory=list)
    archived: datetime | None = None
    soft_deleted: datetime | None = None
    hard_deleted: datetime | None = None
    due_before: str | None = None
    visible_after: str | None = None
    labels: tuple[str, ...] = ()
    title: Mapping[str, str] | None = None
    substatus: Mapping[str, str] | None = None
    presentation_texts: dict[str, str] = field(default_factory=dict)
    data_values: dict[str, str] = field(default_factory=dict)
    main_version: int = MAIN_VERSION

    @property
    def id(self) -> str:
        """`partyId/guid`."""
        return f"{self.party_id}/{self.guid}"

    def confirmed_by(self, org: str) -> datetime | None:
        """When this organisation confirmed the instance as complete."""
        return next((each.at for each in self.confirmations if each.stakeholder == org), None)

    def of_type(self, data_type: str) -> list[Element]:
        """The data elements of one type."""
        return [element for element in self.elements.values() if element.data_type == data_type]

    def is_purged(self, now: datetime) -> bool:
        """Whether the clean-up has removed it: hard-deleted, and either confirmed by its owner a week ago, or
        never archived (then the next nightly run takes it)."""
        if self.hard_deleted is None:
            return False
        if self.archived is None:
            return now - self.hard_deleted >= CLEAN_UP_INTERVAL
        confirmed = self.confirmed_by(self.app.org)
        return confirmed is not None and now - confirmed >= CLEAN_UP_AFTER_CONFIRMATION


@dataclass(frozen=True)
class InstanceEvent:
    """An entry of an instance's own event list. `task` is the task it was at, `ended` whether its process was over."""

    instance: Instance
    kind: str
    at: datetime
    task: Task | None
    element_id: str | None = None
    id: str = field(default_factory=new_guid)


@dataclass(frozen=True)
class CloudEvent:
    """An event that the app published."""

    app: App
    instance_id: str
    party_id: int
    type: str
    at: datetime
    id: str = field(default_factory=new_guid)


@dataclass(frozen=True)
class Issue:
    """A validation issue. `element` None is about the whole instance."""

    code: str
    description: str
    severity: str = "Error"
    element: Element | None = None


@dataclass(frozen=True)
class Upload:
    """A data element that came in through an API, `api` being `storage` or `app`; `replaced` for a PUT."""

    instance_id: str
    element_id: str
    data_type: str
    filename: str | None
    content_type: str
    content: bytes
    at: datetime
    api: str
    replaced: bool = False
