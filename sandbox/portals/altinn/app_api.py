"""The API of each app: instantiation, data elements, process, validation, metadata; today's and the proposal's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web

from .bodies import (
    JSON,
    Part,
    form_file,
    instance_parts,
    instance_parts_or_json,
    json_object,
    one_file,
    optional_object,
    parse_object,
)
from .calls import ELEMENT, INSTANCE, Call, Rule, served
from .errors import Refusal, bad_request, json_answer, not_found, problem
from .identity import WRITE
from .records import Element, Instance, Issue
from .search import check_known, flag
from .wire import Wire
from .world import World, check_start_event, current_task, file_issues, only_way

APP = "/{org}/{app}"
ONE = APP + INSTANCE
OWNER_PARAMETER = "instanceOwnerPartyId"


class AppApi:
    """The calls that both dialects have."""

    def __init__(self, world: World, wire: Wire) -> None:
        self.world, self.wire = world, wire

    def rules(self) -> list[Rule]:
        """All calls, below `/org/app`."""
        element, process = f"{ONE}{ELEMENT}", f"{ONE}/process"
        return [
            Rule("GET", ONE, self._show),
            Rule("GET", f"{ONE}/validate", self._validate),
            Rule("GET", element, self._download),
            Rule("GET", f"{element}/validate", self._validate_element),
            Rule("PUT", element, self._replace, WRITE, one_file),
            Rule("GET", process, self._process),
            Rule("POST", f"{process}/start", self._start, WRITE),
            Rule("PUT", f"{process}/completeProcess", self._finish, WRITE),
            Rule("GET", f"{process}/history", self._history),
        ]

    def _instance(self, call: Call) -> Instance:
        self.world.app(call.app_id, call.org)
        return self.world.instance(call.instance_id, call.org, call.app_id)

    def _element(self, call: Call) -> tuple[Instance, Element]:
        instance = self._instance(call)
        return instance, self.world.element(instance, call.named("element"))

    def _unlocked(self, call: Call) -> Instance:
        instance = self._instance(call)
        self.world.check_lock(instance)
        return instance

    def _shown(self, instance: Instance, status: int = HTTPStatus.OK) -> web.Response:
        return json_answer(self.wire.instance(instance), status)

    def _state(self, instance: Instance) -> web.Response:
        return json_answer(self.wire.process(instance.process))

    # --- instances ---

    def _show(self, call: Call) -> web.Response:
        return self._shown(self._instance(call))

    def _instantiated(self, call: Call, template: Mapping[str, Any], parts: Sequence[Part] = ()) -> web.Response:
        app = self.world.app(call.app_id, call.org)
        document = self.wire.instance(self.world.instantiate(app, template, parts))
        answer = json_answer(document, HTTPStatus.CREATED)
        answer.headers["Location"] = document["selfLinks"]["apps"]
        return answer

    def _instantiate(self, call: Call) -> web.Response:
        """POST instances: the first part is the template, each other one a data element of the type that it names."""
        check_known(call.query, (OWNER_PARAMETER,))
        parts: list[Part] = call.body
        if OWNER_PARAMETER not in call.query:
            return self._instantiated(call, _template(parts), parts[1:])
        if any(part.name == "instance" for part in parts):
            raise bad_request(f"Either {OWNER_PARAMETER} or an instance template, not both")
        return self._instantiated(call, {"instanceOwner": {"partyId": call.query[OWNER_PARAMETER]}}, parts)

    # --- data ---

    def _download(self, call: Call) -> web.StreamResponse:
        _, element = self._element(call)
        element.downloads.append(self.world.clock())
        return served(element)

    def _added(self, call: Call, type_id: str) -> web.Response:
        instance = self._instance(call)
        current_task(instance.process)
        element = self.world.add(instance, type_id, call.body, "app")
        return json_answer(self.wire.element(instance, element), HTTPStatus.CREATED)

    def _replace(self, call: Call) -> web.Response:
        """PUT data: the same rules for the content as when it was new; only its number is not counted."""
        instance, element = self._element(call)
        current_task(instance.process)
        data_type = instance.app.data_type(element.data_type)
        if data_type is not None:
            self.world.refuse_issues(file_issues(data_type, call.body), HTTPStatus.BAD_REQUEST)
        self.world.replace(instance, element, call.body, "app")
        return self._replaced(instance, element)

    def _replaced(self, instance: Instance, _element: Element) -> web.Response:
        return json_answer(self.wire.element(instance, _element))

    # --- process and validation ---

    def _process(self, call: Call) -> web.Response:
        return self._state(self._instance(call))

    def _start(self, call: Call) -> web.Response:
        """POST process/start: 409 when it was started before."""
        instance = self._unlocked(call)
        if instance.process.started is not None:
            raise problem(HTTPStatus.CONFLICT, "Process is already started. Use next.")
        check_start_event(call.query.get("startEvent"))
        self.world.start(instance)
        self.world.changed(instance)
        return self._state(instance)

    def _finish(self, call: Call) -> web.Response:
        instance = self._unlocked(call)
        self.world.finish(instance)
        return self._state(instance)

    def _history(self, call: Call) -> web.Response:
        return json_answer(self.wire.history(self._instance(call).process))

    def _validate(self, call: Call) -> web.Response:
        instance = self._instance(call)
        current_task(instance.process)
        return json_answer(self.wire.issues(self.world.issues(instance)))

    def _validate_element(self, call: Call) -> web.Response:
        instance, element = self._element(call)
        current_task(instance.process)
        issues = [issue for issue in self.world.issues(instance) if issue.element is element]
        return json_answer(self.wire.issues(issues))


class AppApiV1(AppApi):
    """What runs today."""

    def rules(self) -> list[Rule]:
        """All calls."""
        return [
            Rule("POST", f"{APP}/instances", self._instantiate, WRITE, instance_parts),
            Rule("POST", f"{APP}/instances/create", self._create, WRITE, json_object),
            *super().rules(),
            Rule("DELETE", ONE, self._delete, WRITE),
            Rule("POST", f"{ONE}/complete", self._complete, WRITE),
            Rule("POST", f"{ONE}/data/{{type}}", lambda call: self._added(call, call.named("type")), WRITE, one_file),
            Rule("DELETE", f"{ONE}{ELEMENT}", self._remove, WRITE),
            Rule("PUT", f"{ONE}/process/next", self._next, WRITE, optional_object),
            Rule("GET", f"{APP}/api/v1/applicationmetadata", self._metadata),
        ]

    def _create(self, call: Call) -> web.Response:
        return self._instantiated(call, call.body)

    def _delete(self, call: Call) -> web.Response:
        instance = self._instance(call)
        self.world.delete(instance, hard=flag(call.query.get("hard", "false"), "hard"))
        return self._shown(instance)

    def _complete(self, call: Call) -> web.Response:
        instance = self._instance(call)
        self.world.complete(instance, call.org)
        return self._shown(instance)

    def _remove(self, call: Call) -> web.Response:
        instance, element = self._element(call)
        current_task(instance.process)
        self.world.remove(instance, element)
        return web.Response()

    def _next(self, call: Call) -> web.Response:
        """PUT process/next: the body may name an action that the task has; an element in the query counts for nothing.
        Where the flow branches, the app decides: here always for the first branch."""
        instance = self._unlocked(call)
        task = instance.app.task(current_task(instance.process))
        action = call.body.get("action")
        if action is not None and action not in task.actions:
            raise problem(HTTPStatus.FORBIDDEN, f"Action {action} is not allowed at {task.id}")
        self.world.advance(instance, instance.app.reachable(task.id)[0])
        return self._state(instance)

    def _metadata(self, call: Call) -> web.Response:
        return json_answer(self.world.app(call.app_id, call.org).document())


class AppApiProposal(AppApi):
    """What the proposal says."""

    def rules(self) -> list[Rule]:
        """All calls."""
        return [
            Rule("POST", f"{APP}/instances", self._instantiate, WRITE, instance_parts_or_json),
            *super().rules(),
            Rule("POST", f"{ONE}/data", self._add, WRITE, one_file),
            Rule("GET", f"{ONE}/process/next", self._reachable),
            Rule("PUT", f"{ONE}/process/next", self._next, WRITE),
            Rule("PUT", f"{APP}/validate", self._validate_file, WRITE, form_file),
            Rule("PUT", f"{APP}/calculate", self._calculate, WRITE, one_file),
            Rule("GET", APP, self._metadata),
            Rule("GET", f"{APP}/process", self._model),
        ]

    def _add(self, call: Call) -> web.Response:
        if not call.query.get("dataType"):
            raise bad_request("dataType is missing")
        return self._added(call, call.query["dataType"])

    def _replaced(self, instance: Instance, _element: Element) -> web.Response:
        return self._shown(instance)

    def _reachable(self, call: Call) -> web.Response:
        instance = self._instance(call)
        return json_answer(list(instance.app.reachable(current_task(instance.process))))

    def _next(self, call: Call) -> web.Response:
        """PUT process/next?id=: the element to go to, which may be left out where there is only one."""
        check_known(call.query, ("id",))
        instance = self._unlocked(call)
        reachable = instance.app.reachable(current_task(instance.process))
        target = call.query.get("id") or only_way(reachable)
        if target not in reachable:
            raise problem(HTTPStatus.CONFLICT, f"{target} cannot be reached from here")
        self.world.advance(instance, target)
        return self._state(instance)

    def _file_issues(self, call: Call) -> list[Issue]:
        app = self.world.app(call.app_id, call.org)
        data_type = app.data_type(call.query.get("dataType", ""))
        if data_type is None:
            raise not_found(f"No data type {call.query.get('dataType')}")
        return list(file_issues(data_type, call.body))

    def _validate_file(self, call: Call) -> web.Response:
        return json_answer(self.wire.issues(self._file_issues(call)))

    def _calculate(self, call: Call) -> web.Response:
        """PUT calculate: the file as the app's rules leave it; this app's leave it as it was."""
        issues = self._file_issues(call)
        if issues:
            raise Refusal(HTTPStatus.BAD_REQUEST, self.wire.issues(issues))
        return web.Response(body=call.body.content, headers={"Content-Type": call.body.content_type})

    def _metadata(self, call: Call) -> web.Response:
        return json_answer(self.world.app(call.app_id, call.org).document())

    def _model(self, call: Call) -> web.Response:
        return web.Response(text=self.world.app(call.app_id, call.org).bpmn(), content_type="application/xml")


def _template(parts: Sequence[Part]) -> dict[str, Any]:
    """The template is the first part, it is called `instance`, and it is JSON."""
    if not parts or parts[0].name != "instance":
        raise bad_request(f"The first part must be 'instance', or {OWNER_PARAMETER} must be given")
    if (parts[0].content_type or "").partition(";")[0].strip() != JSON:
        raise bad_request(f"The part 'instance' must be {JSON}")
    return parse_object(parts[0].content)
