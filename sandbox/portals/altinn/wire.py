"""How Altinn writes what it keeps: the documents of today, and those of the proposal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .apps import START_EVENT
from .instants import text_of, written
from .records import CloudEvent, Element, Instance, InstanceEvent, Issue, Process, Step

SEVERITIES = {"Error": 1, "Warning": 2, "Informational": 3}
HISTORY_KINDS = {"startEvent": "process_StartEvent", "task": "process_StartTask", "endEvent": "process_EndEvent"}


class Wire:
    """The documents of today. `origin` is where everything is served."""

    storage_path = "/storage/api/v1"

    def __init__(self, origin: Callable[[], str]) -> None:
        self._origin = origin

    @property
    def storage_url(self) -> str:
        """Where Storage answers."""
        return self._origin() + self.storage_path

    def app_url(self, app_id: str) -> str:
        """Where an app answers."""
        return f"{self._origin()}/{app_id}"

    # --- instances and elements ---

    def instance(self, instance: Instance, *, elements: bool = True) -> dict[str, Any]:
        """An instance, without `data` when it is not wanted."""
        data = [self.element(instance, each) for each in instance.elements.values()] if elements else []
        return {
            "id": instance.id,
            "instanceOwner": {"partyId": str(instance.party_id), **instance.owner},
            "appId": instance.app.id,
            "org": instance.app.org,
            "selfLinks": self._links(instance),
            "dueBefore": instance.due_before,
            "visibleAfter": instance.visible_after,
            "process": self.process(instance.process),
            "status": self._status(instance),
            **self._particulars(instance),
            "data": data,
            "created": written(instance.created),
            "createdBy": instance.created_by,
            "lastChanged": written(instance.last_changed),
            "lastChangedBy": instance.app.org,
        }

    def _particulars(self, instance: Instance) -> dict[str, Any]:
        confirmations = [
            {"stakeholderId": each.stakeholder, "confirmedOn": written(each.at)} for each in instance.confirmations
        ]
        return {
            "completeConfirmations": confirmations or None,
            "presentationTexts": instance.presentation_texts or None,
            "dataValues": instance.data_values or None,
        }

    def _status(self, instance: Instance) -> dict[str, Any]:
        return {
            "isArchived": instance.archived is not None,
            "archived": written(instance.archived),
            "isSoftDeleted": instance.soft_deleted is not None,
            "softDeleted": written(instance.soft_deleted),
            "isHardDeleted": instance.hard_deleted is not None,
            "hardDeleted": written(instance.hard_deleted),
            "readStatus": 0,
            "substatus": instance.substatus,
        }

    def _links(self, instance: Instance, tail: str = "") -> dict[str, str]:
        path = f"/instances/{instance.id}{tail}"
        return {"apps": self.app_url(instance.app.id) + path, "platform": self.storage_url + path}

    def element(self, instance: Instance, element: Element) -> dict[str, Any]:
        """A data element. There is a field for a hash, and nobody fills it."""
        return {
            "id": element.id,
            "instanceGuid": instance.guid,
            "dataType": element.data_type,
            "filename": element.filename,
            "contentType": element.content_type,
            "blobStoragePath": f"{instance.app.id}/{instance.guid}/data/{element.id}",
            "selfLinks": self._links(instance, f"/data/{element.id}"),
            "size": element.size if element.announced_size is None else element.announced_size,
            "locked": element.locked,
            "refs": list(element.refs),
            **self._element_particulars(element),
            "created": written(element.created),
            "createdBy": element.created_by,
            "lastChanged": written(element.last_changed),
            "lastChangedBy": element.created_by,
        }

    def _element_particulars(self, element: Element) -> dict[str, Any]:
        return {"contentHash": None, "isRead": False, "tags": [], "fileScanResult": element.scan_result}

    # --- process ---

    def process(self, process: Process) -> dict[str, Any]:
        """The state of a process."""
        return {
            "started": written(process.started),
            "startEvent": START_EVENT if process.started else None,
            "currentTask": self._current_task(process),
            "ended": written(process.ended),
            "endEvent": process.end_event,
        }

    def _current_task(self, process: Process) -> dict[str, Any] | None:
        task = process.task
        if task is None:
            return None
        return {
            "flow": process.flow,
            "started": written(process.task_started),
            "elementId": task.id,
            "name": task.name,
            "altinnTaskType": task.type,
            "validated": None,
        }

    def history(self, process: Process) -> Any:
        """Everything that the process went through."""
        return {"processHistory": [self._step(step) for step in process.history]}

    def _step(self, step: Step) -> dict[str, Any]:
        return {"eventType": HISTORY_KINDS[step.kind], "elementId": step.element_id, **_times(step)}

    # --- lists, issues, events ---

    def elements(self, instance: Instance) -> Any:
        """All data elements of an instance."""
        return {"dataElements": self.element_list(instance)}

    def element_list(self, instance: Instance) -> list[dict[str, Any]]:
        """The same as a plain list."""
        return [self.element(instance, each) for each in instance.elements.values()]

    def issues(self, issues: Sequence[Issue]) -> list[dict[str, Any]]:
        """Validation issues; the severity is a number."""
        return [
            {
                "severity": SEVERITIES[issue.severity],
                "dataElementId": issue.element.id if issue.element else None,
                "field": None,
                "code": issue.code,
                "description": issue.description,
                "source": "File",
            }
            for issue in issues
        ]

    def event_list(self, events: Sequence[InstanceEvent]) -> Any:
        """Instance events."""
        return {"instanceEvents": [self.event(event) for event in events]}

    def event(self, event: InstanceEvent) -> dict[str, Any]:
        """One instance event."""
        return {
            "id": event.id,
            "instanceId": event.instance.id,
            "dataId": event.element_id,
            "eventType": self._event_kind(event.kind),
            "created": written(event.at),
            "instanceOwnerPartyId": str(event.instance.party_id),
            "user": {"userId": None, "authenticationLevel": 3, "orgId": event.instance.app.org},
            "process": {
                "started": written(event.instance.process.started),
                "startEvent": START_EVENT,
                "currentTask": {"elementId": event.task.id} if event.task else None,
            },
        }

    def _event_kind(self, kind: str) -> str:
        return kind

    def cloud_event(self, event: CloudEvent) -> dict[str, Any]:
        """A CloudEvent (1.0); its source is the instance at its app."""
        org, app = event.app.org, event.app.name
        return {
            "id": event.id,
            "source": f"{self.app_url(event.app.id)}/instances/{event.instance_id}",
            "specversion": "1.0",
            "type": event.type,
            "subject": f"/party/{event.party_id}",
            "time": text_of(event.at),
            "resource": f"urn:altinn:resource:app_{org}_{app}",
            "resourceinstance": event.instance_id,
        }


class ProposalWire(Wire):
    """The documents of the proposal."""

    storage_path = "/storage"

    def _particulars(self, instance: Instance) -> dict[str, Any]:
        return {"title": instance.title, "appOwner": {"labels": list(instance.labels)}}

    def _status(self, instance: Instance) -> dict[str, Any]:
        return {
            "archived": written(instance.archived),
            "softDeleted": written(instance.soft_deleted),
            "hardDeleted": written(instance.hard_deleted),
        }

    def _element_particulars(self, element: Element) -> dict[str, Any]:
        lists = {"downloaded": element.downloads, "downloadConfirmed": element.confirmed}
        return {"applicationOwner": {name: [text_of(at) for at in times] for name, times in lists.items() if times}}

    def elements(self, instance: Instance) -> Any:
        """All data elements, as a plain list."""
        return self.element_list(instance)

    def issues(self, issues: Sequence[Issue]) -> list[dict[str, Any]]:
        """Validation issues; the severity is a word."""
        return [
            {
                "severity": issue.severity,
                "scope": issue.element.data_type if issue.element else "INSTANCE",
                "targetId": issue.element.id if issue.element else None,
                "field": None,
                "code": issue.code,
                "description": issue.description,
            }
            for issue in issues
        ]

    def history(self, process: Process) -> Any:
        """Everything that the process went through, as a plain list."""
        return [
            {"flow": flow, "type": f"process:{step.kind}", "elementId": step.element_id, **_times(step)}
            for flow, step in enumerate(process.history, start=1)
        ]

    def event_list(self, events: Sequence[InstanceEvent]) -> Any:
        """Instance events. (The page shows one event and no list around it: a plain list is the nearest reading.)"""
        return [self.event(event) for event in events]

    def _event_kind(self, kind: str) -> str:
        return kind.replace("process_", "process:") if kind.startswith("process_") else kind.lower()


def _times(step: Step) -> dict[str, Any]:
    if step.kind == "task":
        return {"started": written(step.started), "ended": written(step.ended)}
    return {"occured": written(step.started)}
