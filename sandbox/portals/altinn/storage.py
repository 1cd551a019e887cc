"""The Storage API of today, and what the proposal says in its place."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from aiohttp import web
from multidict import MultiMapping
from yarl import URL

from .bodies import Part, json_object, one_file
from .calls import ELEMENT, INSTANCE, Call, Rule, served
from .errors import Refusal, bad_request, forbidden, json_answer
from .identity import WRITE
from .instants import parsed
from .records import Element, Instance, InstanceEvent
from .search import (
    COMPARISONS,
    DEFAULT_SIZE,
    Page,
    check_known,
    flag,
    proposal_condition,
    search,
    search_proposal,
)
from .wire import Wire
from .world import World

TOKEN_PARAMETER = "continuationToken"
APP_EVENT_PARAMETERS = ("created", "process.currentTask")


class Storage:
    """The calls that both dialects have. `next_host` set: `next` links lead there instead of back here.
    `after_page` is called after each page of a query, with the lock held. A page has `page_size` instances."""

    def __init__(self, world: World, wire: Wire) -> None:
        self.world, self.wire = world, wire
        self.page_size = DEFAULT_SIZE
        self.next_host: str | None = None
        self.after_page: Callable[[], None] | None = None

    def rules(self) -> list[Rule]:
        """All calls, below the dialect's base path."""
        at = self.wire.storage_path
        return [
            Rule("GET", f"{at}/instances", self._list),
            Rule("GET", f"{at}{INSTANCE}", self._show),
            Rule("GET", f"{at}{INSTANCE}{ELEMENT}", self._download),
            Rule("GET", f"{at}{INSTANCE}/dataelements", self._elements),
            Rule("POST", f"{at}{INSTANCE}/data", self._add, WRITE, one_file),
            Rule("GET", f"{at}{INSTANCE}/events", self._events),
        ]

    def _instance(self, call: Call) -> Instance:
        return self.world.instance(call.instance_id, call.org)

    def _element(self, call: Call) -> tuple[Instance, Element]:
        instance = self._instance(call)
        return instance, self.world.element(instance, call.named("element"))

    def _shown(self, instance: Instance) -> web.Response:
        return json_answer(self.wire.instance(instance))

    def _list(self, call: Call) -> web.Response:
        """GET instances."""
        page = self._search(call)
        answer = json_answer(self._page(call, page))
        if self.after_page is not None:
            self.after_page()
        return answer

    def _search(self, call: Call) -> Page:
        return search(self.world.instances.values(), call.query, call.request.headers, call.org, self.page_size)

    def _page(self, call: Call, page: Page) -> dict[str, Any]:
        elements = flag(call.query.get("includeDataElements", "true"), "includeDataElements")
        link = self._link(call)
        return {
            "count": len(page.instances),
            "self": str(link),
            "next": self._next(link, page.token),
            "instances": [self.wire.instance(each, elements=elements) for each in page.instances],
        }

    def _link(self, call: Call) -> URL:
        return URL(f"{self.wire.storage_url}/instances").with_query(call.query)

    def _next(self, link: URL, token: str | None) -> str | None:
        """The same query with another token, encoded to the last character."""
        if token is None:
            return None
        query = link.without_query_params(TOKEN_PARAMETER)
        joint = "&" if query.query_string else "?"
        there = f"{query}{joint}{TOKEN_PARAMETER}={quote(token, safe='')}"
        return there if self.next_host is None else there.replace(str(link.origin()), self.next_host, 1)

    def _show(self, call: Call) -> web.Response:
        return self._shown(self._instance(call))

    def _download(self, call: Call) -> web.StreamResponse:
        _, element = self._element(call)
        element.downloads.append(self.world.clock())
        return served(element)

    def _elements(self, call: Call) -> web.Response:
        return json_answer(self.wire.elements(self._instance(call)))

    def _add(self, call: Call) -> web.Response:
        """POST data: the type must be named, refs must be data elements of the instance."""
        instance, part = self._instance(call), call.body
        check_known(call.query, ("dataType", "refs", "generatedFromTask"))
        refs = tuple(call.query.getall("refs", []))
        if not set(refs) <= set(instance.elements):
            raise bad_request("refs must be data elements of the instance")
        task = call.query.get("generatedFromTask")
        element = self.world.store(instance, _data_type(call.query), part, refs=refs, generated_from=task)
        return json_answer(self.wire.element(instance, element), HTTPStatus.CREATED)

    def _events(self, call: Call) -> web.Response:
        """GET events of one instance."""
        check_known(call.query, ("eventTypes", "from", "to"))
        instance = self._instance(call)
        of_instance = [each for each in self.world.instance_events if each.instance is instance]
        return json_answer(self.wire.event_list([each for each in of_instance if _is_wanted(each, call.query)]))


class StorageV1(Storage):
    """What runs today."""

    def rules(self) -> list[Rule]:
        """All calls; those below the instance by its guid alone are the ones without a party."""
        at, element = self.wire.storage_path, f"{self.wire.storage_path}{INSTANCE}{ELEMENT}"
        return [
            *super().rules(),
            Rule("GET", f"{at}/instances/{{guid}}", self._show_by_guid),
            Rule("DELETE", f"{at}{INSTANCE}", self._delete, WRITE),
            Rule("POST", f"{at}{INSTANCE}/complete", self._complete, WRITE),
            Rule("PUT", f"{at}{INSTANCE}/substatus", self._substatus, WRITE, json_object),
            Rule("PUT", f"{at}{INSTANCE}/presentationtexts", self._texts, WRITE, json_object),
            Rule("PUT", f"{at}{INSTANCE}/datavalues", self._values, WRITE, json_object),
            Rule("PUT", element, self._replace, WRITE, one_file),
            Rule("DELETE", element, self._remove, WRITE),
            Rule("PUT", f"{element}/lock", lambda call: self._lock(call, locked=True), WRITE),
            Rule("DELETE", f"{element}/lock", lambda call: self._lock(call, locked=False), WRITE),
            Rule("GET", f"{at}{INSTANCE}/process/history", self._history),
            Rule("GET", f"{at}/applications/{{org}}", self._applications, None),
            Rule("GET", f"{at}/applications/{{org}}/{{app}}", self._application, None),
        ]

    def _show_by_guid(self, call: Call) -> web.Response:
        guid = call.named("guid")
        found = next((each.id for each in self.world.instances.values() if each.guid == guid), guid)
        return self._shown(self.world.instance(found, call.org))

    def _delete(self, call: Call) -> web.Response:
        instance = self._instance(call)
        self.world.delete(instance, hard=flag(call.query.get("hard", "false"), "hard"))
        return self._shown(instance)

    def _complete(self, call: Call) -> web.Response:
        """POST complete: whatever the body says."""
        instance = self._instance(call)
        self.world.complete(instance, call.org)
        return self._shown(instance)

    def _substatus(self, call: Call) -> web.Response:
        instance = self._instance(call)
        if not call.body.get("label"):
            raise bad_request("The substatus needs a label")
        instance.substatus = {"label": call.body["label"], "description": call.body.get("description")}
        return self._changed(instance)

    def _texts(self, call: Call) -> web.Response:
        instance = self._instance(call)
        instance.presentation_texts.update(_strings(call.body, "texts"))
        return self._changed(instance)

    def _values(self, call: Call) -> web.Response:
        instance = self._instance(call)
        instance.data_values.update(_strings(call.body, "values"))
        return self._changed(instance)

    def _changed(self, instance: Instance) -> web.Response:
        self.world.changed(instance)
        return self._shown(instance)

    def _replace(self, call: Call) -> web.Response:
        instance, element = self._element(call)
        self.world.replace(instance, element, call.body, "storage")
        return json_answer(self.wire.element(instance, element))

    def _remove(self, call: Call) -> web.Response:
        instance, element = self._element(call)
        self.world.remove(instance, element)
        return json_answer(self.wire.element(instance, element))

    def _lock(self, call: Call, *, locked: bool) -> web.Response:
        instance, element = self._element(call)
        self.world.set_lock(instance, element, locked=locked)
        return json_answer(self.wire.element(instance, element))

    def _history(self, call: Call) -> web.Response:
        return json_answer(self.wire.history(self._instance(call).process))

    def _applications(self, call: Call) -> web.Response:
        if call.named("org") != call.org:
            raise forbidden()
        owned = [app.document() for app in self.world.apps.values() if app.org == call.org]
        return json_answer({"applications": owned})

    def _application(self, call: Call) -> web.Response:
        return json_answer(self.world.app(call.app_id, call.org).document())


class StorageProposal(Storage):
    """What the proposal says: downloads are logged and confirmed per data element, answers count all hits."""

    def rules(self) -> list[Rule]:
        """All calls."""
        at = self.wire.storage_path
        return [
            *super().rules(),
            Rule("GET", f"{at}{INSTANCE}/data", self._elements),
            Rule("GET", f"{at}{INSTANCE}/dataelements/{{element}}", self._show_element),
            Rule("PUT", f"{at}{INSTANCE}/dataelements/confirmDownload", self._confirm_all, WRITE),
            Rule("PUT", f"{at}{INSTANCE}/dataelements/{{element}}/confirmDownload", self._confirm, WRITE),
            Rule("GET", f"{at}{INSTANCE}/downloadAll", self._download_all),
            Rule("GET", f"{at}/applications/{{org}}/{{app}}/events", self._app_events),
        ]

    def _search(self, call: Call) -> Page:
        return search_proposal(self.world.instances.values(), call.query, call.org, self.page_size)

    def _page(self, call: Call, page: Page) -> dict[str, Any]:
        document = {"totalHits": page.total, **super()._page(call, page)}
        return {name: value for name, value in document.items() if value is not None}

    def _show_element(self, call: Call) -> web.Response:
        return json_answer(self.wire.element(*self._element(call)))

    def _confirm(self, call: Call) -> web.Response:
        instance, element = self._element(call)
        element.confirmed.append(self.world.clock())
        return self._shown(instance)

    def _confirm_all(self, call: Call) -> web.Response:
        instance = self._instance(call)
        for element in instance.elements.values():
            element.confirmed.append(self.world.clock())
        return self._shown(instance)

    def _download_all(self, call: Call) -> web.Response:
        """GET downloadAll: the instance, then every data element, as the parts of one answer."""
        instance = self._instance(call)
        for element in instance.elements.values():
            element.downloads.append(self.world.clock())
        metadata = json.dumps(self.wire.instance(instance)).encode()
        parts = [Part("instance", None, "application/json", metadata)]
        parts += [_as_part(element) for element in instance.elements.values()]
        boundary = uuid.uuid4().hex
        body = b"".join(_framed(part, boundary) for part in parts) + f"--{boundary}--\r\n".encode()
        return web.Response(body=body, headers={"Content-Type": f'multipart/mixed; boundary="{boundary}"'})

    def _app_events(self, call: Call) -> web.Response:
        """GET the events of an app's instances: of those at a task, and created as a condition says."""
        check_known(call.query, APP_EVENT_PARAMETERS)
        app = self.world.app(call.app_id, call.org)
        conditions = [proposal_condition(value) for value in call.query.getall("created", [])]
        task = call.query.get("process.currentTask")
        events = [each for each in self.world.instance_events if each.instance.app is app]
        wanted = [e for e in events if task is None or (e.task is not None and e.task.id == task)]
        return json_answer(self.wire.event_list([e for e in wanted if _meets(e, conditions)]))


def _data_type(query: MultiMapping[str]) -> str:
    if not query.get("dataType"):
        raise bad_request("Element type must be provided.")
    return query["dataType"]


def _strings(body: dict[str, Any], name: str) -> dict[str, str]:
    values = body.get(name)
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"'{name}' must hold strings")
    return values


def _is_wanted(event: InstanceEvent, query: MultiMapping[str]) -> bool:
    kinds = [kind for value in query.getall("eventTypes", []) for kind in value.split(",")]
    try:
        since, until = (parsed(query[name]) if name in query else None for name in ("from", "to"))
    except ValueError as error:
        raise bad_request("from and to must be times") from error
    in_time = (since is None or event.at >= since) and (until is None or event.at <= until)
    return in_time and (not kinds or event.kind in kinds)


def _meets(event: InstanceEvent, conditions: list[tuple[str, Any]]) -> bool:
    return all(COMPARISONS[op](event.at, wanted) for op, wanted in conditions)


def _as_part(element: Element) -> Part:
    content = element.content if isinstance(element.content, bytes) else element.content.read_bytes()
    return Part(element.data_type, element.filename, element.content_type, content)


def _framed(part: Part, boundary: str) -> bytes:
    """One part of a multipart answer."""
    head = [f"--{boundary}", f"Content-Type: {part.content_type}", f"Content-Length: {len(part.content)}"]
    if part.filename is not None:
        head.append(f'Content-Disposition: attachment; name="{part.name}"; filename="{part.filename}"')
    return "\r\n".join([*head, "", ""]).encode() + part.content + b"\r\n"
