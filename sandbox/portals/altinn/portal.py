"""The simulated Altinn: where its parts are, who may use them, and what tests prepare and ask."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar

from aiohttp import web

from sandbox.portals.server import CONTROL_PREFIX, Clock, SimulatedPortal, utc_now

from .app_api import AppApiProposal, AppApiV1
from .apps import END_EVENT, App
from .bodies import parse_object
from .calls import Call, Rule
from .errors import Refusal, json_answer, problem
from .events_api import EventsApi
from .identity import READ, WRITE, Identities, Login, new_key_pair, unauthorized
from .instants import parsed
from .records import MAIN_VERSION, SCAN_RESULTS, CloudEvent, Confirmation, Element, File, Instance, Issue, Upload
from .search import DEFAULT_SIZE
from .storage import StorageProposal, StorageV1
from .wire import ProposalWire, Wire
from .world import Lock, World

V1, PROPOSAL = "v1", "proposal"
TOKEN_PATH = "/maskinporten/token"
AUDIENCE_PATH = "/maskinporten/"
EXCHANGE_PATH = "/authentication/api/v1/exchange/maskinporten"
DEFAULT_PARTY = 50001


class SimulatedAltinn(SimulatedPortal):
    """Altinn below one base URL: Maskinporten, the exchange, Storage, the apps, and events.

    `dialect` says which pages are spoken: "v1" what runs today, "proposal" the early proposal. What one of them does
    not have is a 404 there. Contents that clients upload are held in memory. A page of a query has `page_size`
    instances where the client does not ask for another number.
    """

    name: ClassVar[str] = "altinn"

    def __init__(self, *, dialect: str = V1, page_size: int = DEFAULT_SIZE, clock: Clock = utc_now) -> None:
        if dialect not in (V1, PROPOSAL):
            raise ValueError(f"{dialect} is no dialect")
        super().__init__(clock=clock)
        self.dialect = dialect
        wire = self._wire = (Wire if dialect == V1 else ProposalWire)(lambda: self.base_url)
        self.identities = Identities(self._now, lambda: self.audience)
        self.world = world = World(self._now, wire.issues)
        self.storage = StorageV1(world, wire) if dialect == V1 else StorageProposal(world, wire)
        self.storage.page_size = page_size
        self.events = EventsApi(world, wire)
        self._app_api = AppApiV1(world, wire) if dialect == V1 else AppApiProposal(world, wire)

    def _now(self) -> datetime:
        """The portal's clock, also when it is exchanged later."""
        return self.clock()

    # --- where everything is ---

    @property
    def token_url(self) -> str:
        """Maskinporten's token endpoint."""
        return self.base_url + TOKEN_PATH

    @property
    def audience(self) -> str:
        """Maskinporten's issuer, which is what `aud` must be."""
        return self.base_url + AUDIENCE_PATH

    @property
    def exchange_url(self) -> str:
        """Where Altinn gives a token for one of Maskinporten's."""
        return self.base_url + EXCHANGE_PATH

    @property
    def storage_url(self) -> str:
        """The base of Storage in this dialect."""
        return self._wire.storage_url

    @property
    def apps_url(self) -> str:
        """The pattern of an app's base, with `{org}` and `{app}` in it."""
        return f"{self.base_url}/{{org}}/{{app}}"

    @property
    def events_url(self) -> str:
        """The base of the Events API."""
        return f"{self.base_url}/events/api/v1"

    # --- who may call ---

    def add_login(
        self,
        org: str = "org",
        client_id: str = "amtsbote",
        *,
        key_id: str = "key-1",
        scopes: Iterable[str] = (READ, WRITE),
    ) -> Login:
        """A new Maskinporten client with a fresh key."""
        private, public = new_key_pair()
        self.add_client(client_id, org, scopes, {key_id: public})
        return Login(client_id, key_id, private, tuple(scopes))

    def add_client(self, client_id: str, org: str, scopes: Iterable[str], keys: Mapping[str, str]) -> None:
        """A Maskinporten client, or other keys for one that is there: public keys (PEM) by key id."""
        with self.lock:
            self.identities.add_client(client_id, org, scopes, keys)

    def add_bearer(self, token: str, org: str = "org", scopes: Iterable[str] = (READ, WRITE)) -> None:
        """A token that is good without any login, until `revoke_bearer`."""
        with self.lock:
            self.identities.add_bearer(token, org, scopes)

    def revoke_bearer(self, token: str) -> None:
        """Take such a token away."""
        with self.lock:
            self.identities.revoke(token)

    def expire_tokens(self) -> None:
        """Every token issued so far, by Maskinporten and by Altinn, is no longer good."""
        with self.lock:
            self.identities.expire_all()

    # --- what a test or a demonstration prepares ---

    def add_app(self, app_id: str = "org/app", **more: Any) -> App:
        """An app (further fields of `App` by name)."""
        org, _, name = app_id.partition("/")
        with self.lock:
            self.world.apps[app_id] = app = App(org, name, **more)
            return app

    def add_instance(
        self,
        app: str = "org/app",
        party_id: int = DEFAULT_PARTY,
        files: Iterable[File | tuple[Any, ...]] = (),
        *,
        task: str | None = "Task_1",
        ended: bool = False,
        created: datetime | None = None,
        last_changed: datetime | None = None,
        confirmed: bool | Sequence[str] = False,
        hard_deleted: bool = False,
        soft_deleted: bool = False,
        main_version: int = MAIN_VERSION,
        **more: Any,
    ) -> Instance:
        """An instance that somebody has filled in (further fields of `Instance` by name); an unknown app is added.

        It is at `task` (None: its process has not been started), or `ended` and thereby archived. `confirmed` by its
        owner, or by the organisations named. It was last changed when it was created unless `last_changed` says else.
        """
        created = created or self.clock()
        changed = last_changed or created
        with self.lock:
            owner = self.world.apps.get(app) or self.add_app(app)
            number = self.world.next_number()
            instance = Instance(number, owner, party_id, created, str(party_id), changed, **more)
            instance.main_version = main_version
            for file in files:
                self._put_file(instance, File(*file))
            self._tell_the_story(instance, task, ended=ended)
            stakeholders = confirmed or ()
            names = [owner.org] if stakeholders is True else list(stakeholders or ())
            instance.confirmations = [Confirmation(name, changed) for name in names]
            instance.hard_deleted = changed if hard_deleted else None
            instance.soft_deleted = changed if hard_deleted or soft_deleted else None
            self.world.instances[instance.id] = instance
            return instance

    def _put_file(self, instance: Instance, file: File) -> Element:
        if instance.app.data_type(file.data_type) is None or file.scan_result not in SCAN_RESULTS:
            raise ValueError(f"no data type {file.data_type}, or no scan result {file.scan_result}")
        at = instance.created
        element = Element(
            file.data_type, file.filename, file.content_type, file.content, at, instance.created_by, at,
            scan_result=file.scan_result,
        )  # fmt: skip
        instance.elements[element.id] = element
        return element

    def _tell_the_story(self, instance: Instance, task: str | None, *, ended: bool) -> None:
        """Bring the process where it is, with the events of the way there."""
        world, at = self.world, instance.created
        if task is None and not ended:
            world.note(instance, "Created", at=at)
            world.publish(instance, "created", at)
            return
        ids = [each.id for each in instance.app.tasks]
        way = ids[1:] if ended else ids[1 : ids.index(task or "") + 1]
        world.begin(instance, at)
        for target in way:
            world.enter(instance, target, at)
        if ended:
            world.enter(instance, END_EVENT, instance.last_changed)

    def add_element(self, instance: Instance | str, file: File | tuple[Any, ...]) -> Element:
        """One more data element, put there by the instance's owner."""
        with self.lock:
            found = self.instance(instance)
            element = self._put_file(found, File(*file))
            element.created = element.last_changed = self.clock()
            self.world.changed(found)
            return element

    def set_scan_result(self, instance: Instance | str, result: str, element_id: str | None = None) -> None:
        """The result of the virus scan of one data element, or of all. ValueError for one that there is not."""
        if result not in SCAN_RESULTS:
            raise ValueError(f"{result} is no scan result")
        with self.lock:
            for element in self.instance(instance).elements.values():
                if element_id in (None, element.id):
                    element.scan_result = result

    def set_issues(self, instance: Instance | str, issues: Iterable[Issue]) -> None:
        """Validation issues that the app finds from now on, besides those that follow from its data types."""
        with self.lock:
            self.world.forced_issues[self.instance(instance).id] = list(issues)

    def lock_instance(self, instance: Instance | str, *, times: int = 1, status: int = HTTPStatus.CONFLICT) -> None:
        """Somebody else holds the lock: the next calls that move its process are answered with 409 or 423."""
        with self.lock:
            self.world.locks[self.instance(instance).id] = Lock(HTTPStatus(status), times)

    def touch(self, instance: Instance | str, at: datetime | None = None) -> None:
        """The instance is changed now, or at an instant of the test's choice."""
        with self.lock:
            self.instance(instance).last_changed = at or self.clock()

    def after_each_page(self, do: Callable[[], None] | None) -> None:
        """Call this after each page of a query for instances has been put together, before it is sent."""
        self.storage.after_page = do

    def lead_next_to(self, host: str | None) -> None:
        """Let `next` links lead to another scheme and host, such as `http://127.0.0.1:9`; None: back to this one."""
        self.storage.next_host = host

    def purge(self, instance: Instance | str) -> None:
        """The instance is gone."""
        with self.lock:
            del self.world.instances[self.instance(instance).id]

    # --- what a test asks ---

    def instance(self, instance: Instance | str) -> Instance:
        """The instance with this id (or the one given) as it is now; KeyError when it is gone."""
        with self.lock:
            self.world.clean_up()
            return self.world.instances[instance if isinstance(instance, str) else instance.id]

    def confirmations(self, instance: Instance | str, org: str | None = None) -> list[datetime]:
        """When the instance was confirmed as complete: once per organisation, however often it was told."""
        with self.lock:
            found = self.instance(instance).confirmations
            return [each.at for each in found if org in (None, each.stakeholder)]

    def complete_calls(self, instance: Instance | str) -> int:
        """How often `complete` was granted for the instance, repeats among them."""
        with self.lock:
            return self.world.complete_calls.get(instance if isinstance(instance, str) else instance.id, 0)

    def confirmed_downloads(self, instance: Instance | str) -> dict[str, list[datetime]]:
        """When the download of each data element was confirmed (proposal), by its id."""
        with self.lock:
            return {id: list(each.confirmed) for id, each in self.instance(instance).elements.items()}

    def downloads(self, instance: Instance | str) -> dict[str, int]:
        """How often each data element was handed out, by its id."""
        with self.lock:
            return {id: len(each.downloads) for id, each in self.instance(instance).elements.items()}

    def uploads(self, instance: Instance | str | None = None) -> list[Upload]:
        """What came in through the APIs, in order; for one instance or all."""
        wanted = instance.id if isinstance(instance, Instance) else instance
        with self.lock:
            return [each for each in self.world.uploads if wanted in (None, each.instance_id)]

    def process_steps(self, instance: Instance | str) -> list[str]:
        """The tasks and end events that clients moved the instance to."""
        with self.lock:
            return list(self.world.steps.get(instance if isinstance(instance, str) else instance.id, []))

    def created_instances(self) -> list[Instance]:
        """The instances that clients created, in order, as far as they are still there."""
        with self.lock:
            found = (self.world.instances.get(each) for each in self.world.created)
            return [each for each in found if each is not None]

    def published_events(self) -> list[CloudEvent]:
        """All CloudEvents, readable yet or not, in the order in which they came about."""
        with self.lock:
            return list(self.world.cloud_events)

    def calls(self, match: str) -> int:
        """How many recorded requests were "METHOD /path/regex", answered or not."""
        method, _, path = match.partition(" ")
        with self.lock:
            return sum(each.method == method and re.fullmatch(path, each.path) is not None for each in self.requests)

    def state(self) -> Mapping[str, Any]:
        """Counts only."""
        instances = self.world.instances.values()
        return {
            "dialect": self.dialect,
            "instances": len(instances),
            "created": len(self.world.created),
            "confirmed": sum(bool(each.confirmations) for each in instances),
            "uploads": len(self.world.uploads),
            "downloads": sum(len(element.downloads) for each in instances for element in each.elements.values()),
            "processSteps": sum(len(steps) for steps in self.world.steps.values()),
            "grants": self.identities.grants,
            "exchanges": self.identities.exchanges,
        }

    # --- answers ---

    def error(self, status: int, message: str) -> web.Response:
        """Problem details, as the apps give them."""
        return problem(HTTPStatus(status), message).answer()

    def expired_token(self, request: web.Request) -> web.Response:
        """Credentials that are no longer good, as Maskinporten and as Altinn say it."""
        if request.path == TOKEN_PATH:
            body = {"error": "invalid_grant", "error_description": "MP-110: the assertion is no longer good"}
            return json_answer(body, HTTPStatus.BAD_REQUEST)
        return unauthorized()

    # --- routes ---

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Maskinporten, the exchange, and the APIs of the dialect. (The proposal has events of its own.)"""
        rules = [*self.storage.rules(), *(self.events.rules() if self.dialect == V1 else []), *self._app_api.rules()]
        return [
            web.post(TOKEN_PATH, self._maskinporten),
            web.get(EXCHANGE_PATH, self._exchange, allow_head=False),
            *(web.route(rule.method, rule.path, self._serving(rule)) for rule in rules),
        ]

    def _serving(self, rule: Rule) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The call behind its token: first who calls, then what they send, then the effect, under the lock."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                with self.lock:
                    org = self.identities.caller(request.headers.get("Authorization", ""), rule.scope)
                body = await rule.read(request)
                with self.lock:
                    self.world.clean_up()
                    return rule.handle(Call(request, org, body))
            except Refusal as refusal:
                return unauthorized() if refusal.status == HTTPStatus.UNAUTHORIZED else refusal.answer()

        return answer

    async def _maskinporten(self, request: web.Request) -> web.Response:
        form = await request.post()
        with self.lock:
            return self.identities.maskinporten(request.content_type, form)

    async def _exchange(self, request: web.Request) -> web.Response:
        with self.lock:
            return self.identities.exchange(request.headers.get("Authorization", ""), request.headers)

    # --- control ---

    def control_routes(self) -> Sequence[web.AbstractRouteDef]:
        """`POST instances` (the fields of `CONTROL_FIELDS`, all optional), and for one of them `POST scan` with
        `{"result": …, "elementId": …}` and `POST touch`."""
        one = f"{CONTROL_PREFIX}/instances/{{party:\\d+}}/{{guid}}"
        return [
            web.post(f"{CONTROL_PREFIX}/instances", self._controlled(self._control_add)),
            web.post(f"{one}/scan", self._controlled(self._control_scan)),
            web.post(f"{one}/touch", self._controlled(self._control_touch)),
        ]

    def _controlled(
        self, handle: Callable[[web.Request, dict[str, Any]], Instance]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                body = parse_object(await request.read() or b"{}")
                with self.lock:
                    return json_answer(self._wire.instance(handle(request, body)), HTTPStatus.CREATED)
            except (Refusal, ValueError, TypeError, KeyError) as error:
                return self.error(HTTPStatus.BAD_REQUEST, str(error))

        return answer

    def _control_add(self, _: web.Request, body: dict[str, Any]) -> Instance:
        return self.add_instance(**control_instance(body))

    def _control_scan(self, request: web.Request, body: dict[str, Any]) -> Instance:
        instance = self.instance(_id_of(request))
        self.set_scan_result(instance, body["result"], body.get("elementId"))
        return instance

    def _control_touch(self, request: web.Request, _: dict[str, Any]) -> Instance:
        instance = self.instance(_id_of(request))
        self.touch(instance)
        return instance


def _id_of(request: web.Request) -> str:
    return f"{request.match_info['party']}/{request.match_info['guid']}"


CONTROL_FIELDS: Mapping[str, tuple[str, type]] = {
    "app": ("app", str),
    "partyId": ("party_id", int),
    "files": ("files", list),
    "task": ("task", str),
    "ended": ("ended", bool),
    "hardDeleted": ("hard_deleted", bool),
    "softDeleted": ("soft_deleted", bool),
    "confirmed": ("confirmed", bool),
    "created": ("created", str),
    "lastChanged": ("last_changed", str),
    "labels": ("labels", list),
}
FILE_FIELDS = frozenset({"dataType", "filename", "contentType", "contentBase64", "scanResult"})


def control_instance(body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `add_instance` from what `POST /_sandbox/instances` takes."""
    wrong = [name for name, value in body.items() if type(value) is not CONTROL_FIELDS.get(name, ("", None))[1]]
    if wrong:
        raise ValueError(f"unknown, or of a wrong type: {', '.join(wrong)}")
    arguments = {CONTROL_FIELDS[name][0]: value for name, value in body.items()}
    for name in ("created", "last_changed"):
        if name in arguments:
            arguments[name] = parsed(arguments[name])
    arguments["files"] = [_control_file(each) for each in arguments.get("files", [])]
    arguments["labels"] = tuple(arguments.get("labels", ()))
    return arguments


def _control_file(body: object) -> File:
    if not isinstance(body, dict) or not set(body) <= FILE_FIELDS:
        raise ValueError(f"a file is an object of {', '.join(sorted(FILE_FIELDS))}")
    return File(
        body.get("dataType", "attachment"),
        body.get("filename", "Vedlegg.txt"),
        body.get("contentType", "text/plain"),
        base64.b64decode(body.get("contentBase64", ""), validate=True) or json.dumps(body).encode(),
        body.get("scanResult", "NotApplicable"),
    )
