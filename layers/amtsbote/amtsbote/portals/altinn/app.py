"""One app's own API: it creates instances, takes data under its rules, validates, and moves processes on.

v1 is documented by the apps' library, the proposal by its page. What only one of them has says so.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from amtsbote.http import Answer, Query, StreamedAnswer
from amtsbote.portals.altinn.connection import Dialect
from amtsbote.portals.altinn.content import Content, DataPart, new_instance_body
from amtsbote.portals.altinn.errors import AltinnHttp
from amtsbote.portals.altinn.models import (
    Application,
    CreatedData,
    Instance,
    InstanceId,
    Issue,
    Process,
    ProcessStep,
    Record,
    read,
    read_all,
)
from amtsbote.portals.altinn.queries import given, instance_path, path
from amtsbote.portals.altinn.storage import JSON_ANSWER, history_of


class App:
    """One app, spoken to through one account."""

    def __init__(self, http: AltinnHttp, base_path: str, dialect: Dialect, check: Callable[[], None]) -> None:
        self._http = http
        self._base = base_path
        self._dialect = dialect
        self._check = check

    @property
    def _is_proposal(self) -> bool:
        return self._dialect is Dialect.PROPOSAL

    # --- the app itself ----------------------------------------------------------------------------------------------

    def metadata(self) -> Application:
        """Return what the app says of itself: the data types it takes, above all."""
        return read(Application, self._call("GET", "" if self._is_proposal else "/api/v1/applicationmetadata").json())

    def process_model(self) -> bytes:
        """Return the app's process as BPMN."""
        where = "/process" if self._is_proposal else "/api/v1/meta/process"
        return self._http.call("GET", self._base + where).body

    # --- instances ---------------------------------------------------------------------------------------------------

    def create(self, template: bytes, parts: Sequence[DataPart] = ()) -> Instance:
        """Create an instance from a template (JSON) and the files that go with it.

        It cannot be looked up whether a call whose answer was lost has created one.
        """
        content_type, body = new_instance_body(template, parts)
        headers = {**JSON_ANSWER, "Content-Type": content_type}
        return read(Instance, self._http.call("POST", f"{self._base}/instances", headers=headers, body=body).json())

    def create_simple(self, order: Record) -> Instance:
        """Create an instance from a JSON order: instanceOwner, dueBefore, visibleAfter, prefill (v1)."""
        return read(Instance, self._call("POST", "/instances/create", body=order).json())

    def get(self, instance: InstanceId) -> Instance:
        """Return one instance; Unavailable where it is gone."""
        return read(Instance, self._call("GET", instance_path(instance)).json())

    def active(self, party_id: str) -> tuple[Record, ...]:
        """Return a party's instances that have not ended, in short (v1)."""
        said = self._call("GET", path("instances", party_id, "active")).json()
        return tuple(each for each in said if isinstance(each, dict)) if isinstance(said, list) else ()

    def delete(self, instance: InstanceId, *, hard: bool = False) -> None:
        """Delete an instance (v1)."""
        self._call("DELETE", instance_path(instance), given(hard=hard))

    def complete(self, instance: InstanceId) -> Answer:
        """Confirm that the app's owner needs the instance no more (v1)."""
        return self._call("POST", instance_path(instance, "complete"))

    def set_substatus(self, instance: InstanceId, label: str, description: str) -> None:
        """Show the user a status of the app's own (v1)."""
        self._call("PUT", instance_path(instance, "substatus"), body={"label": label, "description": description})

    # --- data --------------------------------------------------------------------------------------------------------

    def add_data(self, instance: InstanceId, data_type: str, content: Content) -> CreatedData:
        """Send a file under the app's rules. Reject, with the issues, where they refuse it; Undone while locked."""
        if self._is_proposal:
            return self._send_data("POST", instance_path(instance, "data"), content, given(dataType=data_type))
        return self._send_data("POST", instance_path(instance, "data", data_type), content)

    def open_data(self, instance: InstanceId, element_id: str) -> AbstractContextManager[StreamedAnswer]:
        """Open a file, streamed while the context lasts."""
        return self._http.stream(self._base + instance_path(instance, "data", element_id))

    def replace_data(self, instance: InstanceId, element_id: str, content: Content) -> None:
        """Replace a file under the app's rules, which may calculate and change it."""
        where, headers = instance_path(instance, "data", element_id), {**JSON_ANSWER, **content.headers()}
        self._http.call("PUT", self._base + where, headers=headers, body=content.body(self._check))

    def patch_data(self, instance: InstanceId, element_id: str, patch: Record) -> Any:
        """Change parts of a form's data (v1): a JSON patch, and the validators to leave out."""
        return self._call("PATCH", instance_path(instance, "data", element_id), body=patch).json()

    def delete_data(self, instance: InstanceId, element_id: str) -> None:
        """Delete a file (v1)."""
        self._call("DELETE", instance_path(instance, "data", element_id))

    # --- validation --------------------------------------------------------------------------------------------------

    def validate(self, instance: InstanceId) -> tuple[Issue, ...]:
        """Have an instance validated for its current task; nothing is returned where nothing is wrong."""
        return read_all(Issue, self._call("GET", instance_path(instance, "validate")).json())

    def validate_data(self, instance: InstanceId, element_id: str) -> tuple[Issue, ...]:
        """Have one file validated."""
        return read_all(Issue, self._call("GET", instance_path(instance, "data", element_id, "validate")).json())

    # --- process -----------------------------------------------------------------------------------------------------

    def process(self, instance: InstanceId) -> Process:
        """Return how far an instance is."""
        return read(Process, self._call("GET", instance_path(instance, "process")).json())

    def start_process(self, instance: InstanceId, start_event: str | None = None) -> Process:
        """Start the process; `start_event` says where, if there are several ways to begin."""
        answer = self._call("POST", instance_path(instance, "process", "start"), given(startEvent=start_event))
        return read(Process, answer.json())

    def next_elements(self, instance: InstanceId) -> tuple[str, ...]:
        """Return the ids of the tasks and events that can be reached from here (proposal; obsolete in v1)."""
        said = self._call("GET", instance_path(instance, "process", "next")).json()
        return tuple(each for each in said if isinstance(each, str)) if isinstance(said, list) else ()

    def move_on(
        self, instance: InstanceId, *, action: str | None = None, element_id: str | None = None
    ) -> Process | None:
        """End the current task and begin the next one, by `action` (v1) or to `element_id` (proposal).

        Undone where another call holds the instance, Reject with the issues where the task cannot be ended. None where
        the portal answers nothing that says where the process is now.
        """
        where = instance_path(instance, "process", "next")
        if self._is_proposal:
            return _process_or_none(self._call("PUT", where, given(id=element_id)))
        return _process_or_none(self._call("PUT", where, body={"action": action} if action else {}))

    def complete_process(self, instance: InstanceId) -> Process | None:
        """Move the process on to its end; it stops at a task that cannot be ended."""
        return _process_or_none(self._call("PUT", instance_path(instance, "process", "completeProcess")))

    def process_history(self, instance: InstanceId) -> tuple[ProcessStep, ...]:
        """Return the steps of the instance's process."""
        return history_of(self._call("GET", instance_path(instance, "process", "history")).json())

    # -----------------------------------------------------------------------------------------------------------------

    def _call(self, method: str, where: str, query: Query = (), *, body: Mapping[str, Any] | None = None) -> Answer:
        return self._http.call(method, self._base + where, query=query, headers=JSON_ANSWER, json_body=body)

    def _send_data(self, method: str, where: str, content: Content, query: Query = ()) -> CreatedData:
        headers = {**JSON_ANSWER, **content.headers()}
        answer = self._http.call(
            method, self._base + where, query=query, headers=headers, body=content.body(self._check)
        )
        return read(CreatedData, answer.json())


def _process_or_none(answer: Answer) -> Process | None:
    return read(Process, answer.json()) if answer.body.strip() else None
