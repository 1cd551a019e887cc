"""Altinn's Storage: the instances of all apps of an organisation, their data elements and events.

v1 is documented by Storage's controllers, the proposal by its page. What only one of them has says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from amtsbote.errors import Misconfigured, Retry
from amtsbote.http import Answer, Query, StreamedAnswer
from amtsbote.portals.altinn.connection import Dialect
from amtsbote.portals.altinn.content import Content
from amtsbote.portals.altinn.errors import AltinnHttp
from amtsbote.portals.altinn.models import (
    Application,
    DataElement,
    Instance,
    InstanceEvent,
    InstanceEvents,
    InstanceId,
    ProcessHistory,
    ProcessStep,
    Record,
    read,
    read_all,
)
from amtsbote.portals.altinn.parts import Part, boundary_of, parts_of
from amtsbote.portals.altinn.queries import Bounds, InstanceQuery, given, instance_path, instant, path

PAGE_LIMIT = 10_000  # pages of one list; more of them is a portal that goes round in circles
DEFAULT_PORTS = {"https": 443, "http": 80}
JSON_ANSWER: Mapping[str, str] = {"Accept": "application/json"}


@dataclass(frozen=True)
class Page:
    """One page of instances, as they were answered. `total_hits` is said by the proposal only."""

    instances: tuple[Record, ...]
    next: str | None
    count: int | None
    total_hits: int | None


class Storage:
    """Altinn's Storage, spoken to through one account."""

    def __init__(self, http: AltinnHttp, dialect: Dialect, check: Callable[[], None]) -> None:
        self._http = http
        self._dialect = dialect
        self._check = check

    # --- instances ---------------------------------------------------------------------------------------------------

    def page(self, query: InstanceQuery) -> Page:
        """Return the first page of a query."""
        return self._page("/instances", query.parameters())

    def next_page(self, link: str) -> Page:
        """Return the page that a `next` link leads to, as it is; Misconfigured where it leads out of Storage."""
        return self._page(self._own_path(link), ())

    def instances(self, query: InstanceQuery) -> Iterator[Record]:
        """Yield all instances, page by page, as they were answered; Retry where the pages do not come to an end."""
        page, followed = self.page(query), set[str]()
        while page.instances:
            yield from page.instances
            if page.next is None:
                return
            if page.next in followed or len(followed) >= PAGE_LIMIT:
                raise Retry("PORTAL_PAGING_BROKEN", f"Altinn's list goes round in circles after {len(followed)} pages")
            followed.add(page.next)
            page = self.next_page(page.next)

    def get(self, instance: InstanceId) -> Instance:
        """Return one instance; Unavailable where it is gone, or kept from this account."""
        return read(Instance, self.get_answer(instance).json())

    def get_by_guid(self, guid: str) -> Instance:
        """Return one instance whose owner is not known (v1)."""
        return read(Instance, self._call("GET", path("instances", guid)).json())

    def get_answer(self, instance: InstanceId) -> Answer:
        """Return the whole answer of one instance, byte by byte."""
        return self._call("GET", instance_path(instance))

    def delete(self, instance: InstanceId, *, hard: bool = False) -> None:
        """Delete an instance; softly, a user can bring it back."""
        self._call("DELETE", instance_path(instance), given(hard=hard))

    def complete(self, instance: InstanceId) -> Answer:
        """Confirm that the app's owner needs the instance no more (v1); repeating it is safe."""
        return self._call("POST", instance_path(instance, "complete"))

    def set_substatus(self, instance: InstanceId, label: str, description: str) -> None:
        """Show the user a status of the app's own (v1)."""
        self._call("PUT", instance_path(instance, "substatus"), body={"label": label, "description": description})

    def set_read_status(self, instance: InstanceId, status: str) -> None:
        """Mark an instance as Read, Unread or UpdatedSinceLastReview (v1)."""
        self._call("PUT", instance_path(instance, "readstatus"), given(status=status))

    def set_presentation_texts(self, instance: InstanceId, texts: Mapping[str, str]) -> None:
        """Set the texts by which a user tells instances apart (v1)."""
        self._call("PUT", instance_path(instance, "presentationtexts"), body={"texts": dict(texts)})

    def set_data_values(self, instance: InstanceId, values: Mapping[str, str]) -> None:
        """Set the values that are kept with an instance (v1)."""
        self._call("PUT", instance_path(instance, "datavalues"), body={"values": dict(values)})

    def events(
        self,
        instance: InstanceId,
        *,
        event_types: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[InstanceEvent, ...]:
        """Return what happened to an instance, all of it without filters."""
        query = [("eventTypes", kind) for kind in event_types]
        query += [(name, instant(moment)) for name, moment in (("from", since), ("to", until)) if moment]
        said = self._call("GET", instance_path(instance, "events"), query).json()
        return read(InstanceEvents, said).instance_events if isinstance(said, dict) else read_all(InstanceEvent, said)

    def process_history(self, instance: InstanceId) -> tuple[ProcessStep, ...]:
        """Return the steps of the instance's process (v1; the app has them in both dialects)."""
        return history_of(self._call("GET", instance_path(instance, "process", "history")).json())

    # --- data --------------------------------------------------------------------------------------------------------

    def data_elements(self, instance: InstanceId) -> tuple[DataElement, ...]:
        """Return the descriptions of an instance's files."""
        last = "data" if self._dialect is Dialect.PROPOSAL else "dataelements"
        said = self._call("GET", instance_path(instance, last)).json()
        return read_all(DataElement, said.get("dataElements") if isinstance(said, dict) else said)

    def open_data(self, instance: InstanceId, element_id: str) -> AbstractContextManager[StreamedAnswer]:
        """Open a file, streamed while the context lasts; Unavailable where it is gone."""
        return self._http.stream(instance_path(instance, "data", element_id))

    def add_data(
        self,
        instance: InstanceId,
        data_type: str,
        content: Content,
        *,
        refs: Sequence[str] = (),
        generated_from_task: str | None = None,
    ) -> DataElement:
        """Store a file that belongs to others, as a receipt does; without the checks of the app."""
        query = [*given(dataType=data_type), *(("refs", ref) for ref in refs)]
        query += given(generatedFromTask=generated_from_task)
        return self._send_data("POST", instance_path(instance, "data"), content, query)

    def replace_data(self, instance: InstanceId, element_id: str, content: Content) -> DataElement:
        """Replace a file; Undone while it is locked (v1)."""
        return self._send_data("PUT", instance_path(instance, "data", element_id), content)

    def delete_data(self, instance: InstanceId, element_id: str) -> None:
        """Delete a file (v1)."""
        self._call("DELETE", instance_path(instance, "data", element_id))

    def lock_data(self, instance: InstanceId, element_id: str) -> None:
        """Protect a file from changes (v1)."""
        self._call("PUT", instance_path(instance, "data", element_id, "lock"))

    def unlock_data(self, instance: InstanceId, element_id: str) -> None:
        """Take the protection away (v1)."""
        self._call("DELETE", instance_path(instance, "data", element_id, "lock"))

    def confirm_download(self, instance: InstanceId, element_id: str | None = None) -> Answer:
        """Confirm the download of one file, or of all files of the instance (proposal); repeating it is safe."""
        which = () if element_id is None else (element_id,)
        return self._call("PUT", instance_path(instance, "dataelements", *which, "confirmDownload"))

    @contextmanager
    def download_all(self, instance: InstanceId) -> Iterator[Iterator[Part]]:
        """Open an instance with all its files (proposal): the instance as JSON first, then each file, streamed."""
        with self._http.stream(instance_path(instance, "downloadAll")) as answer:
            yield parts_of(answer.chunks, boundary_of(answer.headers.get("Content-Type", "")))

    # --- applications ------------------------------------------------------------------------------------------------

    def applications(self, org: str) -> tuple[Application, ...]:
        """Return the apps of an organisation (v1)."""
        said = self._call("GET", path("applications", org)).json()
        return read_all(Application, said.get("applications") if isinstance(said, dict) else said)

    def application(self, app_id: str) -> Application:
        """Return what Storage knows of an app (v1)."""
        return read(Application, self._call("GET", path("applications", *app_id.split("/"))).json())

    def application_events(
        self, app_id: str, *, created: Bounds = (), current_task: str | None = None
    ) -> tuple[InstanceEvent, ...]:
        """Return what happened to an app's instances (proposal)."""
        query = [*given(created=created), *given(**{"process.currentTask": current_task})]
        return read_all(
            InstanceEvent, self._call("GET", path("applications", *app_id.split("/"), "events"), query).json()
        )

    # -----------------------------------------------------------------------------------------------------------------

    def _call(self, method: str, where: str, query: Query = (), *, body: Any = None) -> Answer:
        return self._http.call(method, where, query=query, headers=JSON_ANSWER, json_body=body)

    def _send_data(self, method: str, where: str, content: Content, query: Query = ()) -> DataElement:
        headers = {**JSON_ANSWER, **content.headers()}
        answer = self._http.call(method, where, query=query, headers=headers, body=content.body(self._check))
        return read(DataElement, answer.json())

    def _page(self, where: str, query: Query) -> Page:
        said = self._call("GET", where, query).json()
        rows = said.get("instances") if isinstance(said, dict) else None
        if not isinstance(rows, list):
            raise Retry("PORTAL_ANSWER_UNREADABLE", "Altinn's list has no instances")
        link = said.get("next")
        records = tuple(row for row in rows if isinstance(row, dict))
        return Page(records, link if isinstance(link, str) and link else None, said.get("count"), said.get("totalHits"))

    def _own_path(self, link: str) -> str:
        """Return what of a link comes after Storage's base; credentials go nowhere else."""
        base = urlsplit(self._http.url("/"))
        try:
            target = urlsplit(urljoin(base.geturl(), link))
        except ValueError:
            raise Misconfigured(
                "FOREIGN_NEXT_LINK", "a next link is no address; it must stay below storageUrl"
            ) from None
        below = target.path.removeprefix(base.path)
        climbs = any(part in (".", "..") for part in unquote(below).replace("\\", "/").split("/"))
        if _origin(target) != _origin(base) or not target.path.startswith(base.path) or climbs:
            raise Misconfigured("FOREIGN_NEXT_LINK", "foreign next link refused; it must stay below storageUrl")
        return f"/{below}?{target.query}"


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None, str | None] | None:
    try:
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme), parts.username
    except ValueError:
        return None


def history_of(said: object) -> tuple[ProcessStep, ...]:
    """Return a process's history, wrapped in an object (v1) or as it is (proposal)."""
    return read(ProcessHistory, said).process_history if isinstance(said, dict) else read_all(ProcessStep, said)
