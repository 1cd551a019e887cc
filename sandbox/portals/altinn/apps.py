"""An app: its data types, its process, and what its policy lets the owner do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

START_EVENT = "StartEvent_1"
END_EVENT = "EndEvent_1"
UNLIMITED = -1
BYTES_PER_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class DataType:
    """What one kind of data element may be. `content_types` empty allows any; the limits are off with UNLIMITED."""

    id: str
    content_types: tuple[str, ...] = ()
    max_megabytes: int = UNLIMITED
    min_count: int = 0
    max_count: int = UNLIMITED
    task_id: str | None = None
    class_ref: str | None = None
    auto_create: bool = False
    scanned: bool = False

    @property
    def max_bytes(self) -> int | None:
        """The most that one element may hold; None: anything."""
        return None if self.max_megabytes == UNLIMITED else self.max_megabytes * BYTES_PER_MEGABYTE

    def allows(self, content_type: str) -> bool:
        """Whether elements may have this content type (parameters such as a charset left away)."""
        return not self.content_types or content_type.partition(";")[0].strip().lower() in self.content_types

    def is_full(self, elements: int) -> bool:
        """Whether no element more may be added to so many."""
        return self.max_count != UNLIMITED and elements >= self.max_count

    def document(self) -> dict[str, Any]:
        """The data type in the application's metadata; `maxSize` is in megabytes."""
        logic = {"autoCreate": self.auto_create, "classRef": self.class_ref} if self.class_ref else None
        return {
            "id": self.id,
            "allowedContentTypes": list(self.content_types) or None,
            "appLogic": logic,
            "taskId": self.task_id,
            "maxSize": self.max_megabytes,
            "minCount": self.min_count,
            "maxCount": self.max_count,
            "enableFileScan": self.scanned,
        }


@dataclass(frozen=True)
class Task:
    """One task of the process. `leads_to` empty: to the task after it, or to the end; several: the flow branches."""

    id: str
    name: str
    type: str = "data"
    leads_to: tuple[str, ...] = ()

    @property
    def actions(self) -> frozenset[str]:
        """What `process/next` may be asked to do at this task."""
        return frozenset({"write", "complete", ACTION_OF_TYPE.get(self.type, "write")})


ACTION_OF_TYPE = {"confirmation": "confirm", "signing": "sign", "payment": "pay"}
DEFAULT_TASKS = (Task("Task_1", "Utfylling"), Task("Task_2", "Bekreftelse", "confirmation"))
DEFAULT_DATA_TYPES = (
    DataType("model", ("application/xml", "application/json"), max_count=1, class_ref="Skjema"),
    DataType("attachment"),
    DataType("ref-data-as-pdf", ("application/pdf",)),
)


@dataclass
class App:
    """An application. `id` is `org/app`; what may change while it runs are the policy's switches."""

    org: str
    name: str
    tasks: Sequence[Task] = DEFAULT_TASKS
    data_types: Sequence[DataType] = DEFAULT_DATA_TYPES
    title: str = "Testapplikasjon"
    may_complete: bool = True
    """Whether the policy has the action `complete` for the owner."""
    no_deletion_for_days: int | None = None

    @property
    def id(self) -> str:
        """`org/app`."""
        return f"{self.org}/{self.name}"

    def task(self, task_id: str) -> Task:
        """A task by its id; KeyError when the process has none such."""
        return {task.id: task for task in self.tasks}[task_id]

    def data_type(self, type_id: str) -> DataType | None:
        """A data type by its id."""
        return next((each for each in self.data_types if each.id == type_id), None)

    def reachable(self, task_id: str) -> tuple[str, ...]:
        """The tasks and end events that the flow leads to from a task."""
        task = self.task(task_id)
        following = [each.id for each in self.tasks][list(self.tasks).index(task) + 1 :]
        return task.leads_to or (following[0] if following else END_EVENT,)

    def document(self) -> dict[str, Any]:
        """The application's metadata."""
        return {
            "id": self.id,
            "versionId": "v1.0.0",
            "org": self.org,
            "app": self.name,
            "title": {"nb": self.title},
            "processId": "Process_1",
            "maxSize": UNLIMITED,
            "preventInstanceDeletionForDays": self.no_deletion_for_days,
            "dataTypes": [each.document() for each in self.data_types],
        }

    def bpmn(self) -> str:
        """The process in BPMN: start, tasks, end and every flow between them."""
        flows = [(START_EVENT, self.tasks[0].id)]
        flows += [(task.id, target) for task in self.tasks for target in self.reachable(task.id)]
        tasks = "".join(
            f"<bpmn2:task id={quoteattr(t.id)} name={quoteattr(t.name)} altinn:tasktype={quoteattr(t.type)}/>"
            for t in self.tasks
        )
        sequence = "".join(
            f'<bpmn2:sequenceFlow id="Flow_{number}" sourceRef={quoteattr(source)} targetRef={quoteattr(target)}/>'
            for number, (source, target) in enumerate(flows, start=1)
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><bpmn2:definitions xmlns:altinn="http://altinn.no" '
            'xmlns:bpmn2="http://www.omg.org/spec/BPMN/20100524/MODEL"><bpmn2:process id="Process_1">'
            f'<bpmn2:startEvent id="{START_EVENT}"/>{tasks}<bpmn2:endEvent id="{END_EVENT}"/>{sequence}'
            "</bpmn2:process></bpmn2:definitions>"
        )
