"""The simulated DUBA: an EGVP mailbox behind the four published endpoints, as strict as the vendor's guide allows.

Written from the integration guide (version 0.2.1) and the published OpenAPI alone. Where they are silent the stricter
reading is taken for requests; the choices are named where they are made.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.portals.server import CONTROL_PREFIX, Clock, SimulatedPortal, StreamedResponse, utc_now

API = "/api/duba/v1"
REALM = 'Basic realm="DUBA", charset="UTF-8"'
ZIP_TYPE = "application/zip"
DEFAULT_SAFE_ID = "gov2test"
MAX_ACKNOWLEDGED_AT_ONCE = 100
INT64_MAX = 2**63 - 1
CHUNK_BYTES = 256 * 1024
MAGIC_LINK_LIFETIME = timedelta(hours=1)
ALWAYS_USED_JOB = "00000000-0000-0000-0000-000000000001"
"""The reserved job id whose form always counts as used already."""
NEVER = datetime.max.replace(tzinfo=UTC)
"""For `visible_after`: not listed until `reveal` is called."""
TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|\+00:00)")
ZIP_EPOCH = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
ZIP_CLOCK_STEP = timedelta(seconds=2)  # the resolution of a ZIP's time stamps


class AckStatus(StrEnum):
    """What became of one acknowledged message."""

    DELETED = "DELETED"
    ALREADY_DELETED = "ALREADY_DELETED"
    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    ERROR = "ERROR"


ACK_TEXT = {
    AckStatus.DELETED: "Message acknowledged and deleted",
    AckStatus.ALREADY_DELETED: "Message was already deleted",
    AckStatus.NOT_FOUND: "Message index entry does not exist",
    AckStatus.FORBIDDEN: "User does not have access to this message",
    AckStatus.ERROR: "An error occurred during processing",
}


class Deletion(StrEnum):
    """Why a message's content is gone: the three cleanup triggers."""

    ACKNOWLEDGED = "ACKNOWLEDGED"
    SYNCED_AWAY = "SYNCED_AWAY"
    RETENTION = "RETENTION"


@dataclass
class Message:
    """One entry of the message index. `content` is gone once it is deleted; the rest stays for the audit trail."""

    id: int
    message_id: str
    job_id: str | None
    aktenzeichen: str
    direction: str
    created_at: datetime
    safe_id: str
    content: bytes | Path | None
    content_type: str
    received_at: datetime | None = None
    hydrated_at: datetime | None = None
    visible_after: datetime | None = None
    listed_times: int = 1
    forbidden: bool = False
    deletion: Deletion | None = None
    downloads: int = 0

    @property
    def hydrated(self) -> bool:
        """Whether the message has been downloaded and parsed by the portal."""
        return self.hydrated_at is not None

    def known_at(self, now: datetime) -> bool:
        """Whether the portal has indexed the message yet."""
        return self.visible_after is None or now > self.visible_after

    def info(self) -> dict[str, Any]:
        """The MessageInfo that the list shows. What hydration finds out is null before it."""
        return {
            "id": self.id,
            "messageId": self.message_id,
            "jobId": self.job_id if self.hydrated else None,
            "aktenzeichen": self.aktenzeichen if self.hydrated else None,
            "direction": self.direction,
            "createdAt": _timestamp(self.created_at),
            "receivedAt": _timestamp(self.received_at),
            "hydratedAt": _timestamp(self.hydrated_at),
            "url": f"{API}/download/{self.id}",
        }


@dataclass(frozen=True)
class Memento:
    """One form prepared through the API, with the link that opens it."""

    job_id: str
    form: Mapping[str, Any]
    memento: str
    token: str
    created_at: datetime


@dataclass
class _AckOverride:
    """A status to answer in place of acknowledging; `times` None means always."""

    status: AckStatus
    times: int | None


class SimulatedDuba(SimulatedPortal):
    """One API user's DUBA. `safe_ids` are the mailboxes that the user may see (None: all).

    `zip_varies` packs a message (not one that is a file) anew at each download: other time stamps, another hash.
    `latency_seconds` is spent on each authenticated request, as deriving the key from the password takes.
    `magic_links` False answers `magicLink: null`, which the guide allows.
    """

    name = "duba"

    def __init__(
        self,
        username: str = "amtsbote",
        password: str = "geheim",
        *,
        safe_ids: Iterable[str] | None = None,
        zip_varies: bool = False,
        latency_seconds: float = 0.0,
        magic_links: bool = True,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(clock=clock)
        self._credentials = (username, password)
        self._safe_ids = None if safe_ids is None else frozenset(safe_ids)
        self._zip_varies = zip_varies
        self._latency_seconds = latency_seconds
        self._magic_links = magic_links
        self._ack_overrides: dict[int, _AckOverride] = {}
        self._left_out_of_ack: set[int] = set()
        self._used_jobs: set[str] = {ALWAYS_USED_JOB}
        self.messages: dict[int, Message] = {}
        self.ack_batches: list[tuple[int, ...]] = []
        """The ids of each well-formed acknowledgement, in order of arrival."""
        self.mementos: list[Memento] = []

    # --- what a test or a demo does to the mailbox -------------------------------------------------------------------

    def add_message(
        self,
        id: int | None = None,
        *,
        message_id: str | None = None,
        job_id: str | None = None,
        aktenzeichen: str | None = None,
        direction: str = "INCOMING",
        created_at: datetime | None = None,
        hydrated: bool = True,
        safe_id: str = DEFAULT_SAFE_ID,
        content: bytes | Path | None = None,
        content_type: str = ZIP_TYPE,
        visible_after: datetime | None = None,
        listed_times: int = 1,
    ) -> int:
        """Put a message into the mailbox and return its id.

        `content` None makes a real ZIP, always the same for one id; bytes or a file are served as they are, ZIP or
        not. Until the clock has passed `visible_after` the portal does not know the message, however old its
        `created_at` is (a late row). `listed_times` 2 shows it twice in one listing. `created_at` loses its fraction
        of a second, as in the API.
        """
        with self.lock:
            id = max(self.messages, default=0) + 1 if id is None else id
            if id in self.messages or direction not in ("INCOMING", "OUTGOING"):
                raise ValueError(f"message {id} exists, or {direction} is no direction")
            aktenzeichen = aktenzeichen or f"12 XVII {id}/26"
            self.messages[id] = Message(
                id=id,
                message_id=message_id or f"gov2test_{hashlib.sha256(str(id).encode()).hexdigest()[:32]}",
                job_id=job_id,
                aktenzeichen=aktenzeichen,
                direction=direction,
                created_at=(created_at or self.clock()).astimezone(UTC).replace(microsecond=0),
                safe_id=safe_id,
                content=court_zip(id, aktenzeichen) if content is None else content,
                content_type=content_type,
                visible_after=visible_after,
                listed_times=listed_times,
            )
            if hydrated:
                self.hydrate(id)
            return id

    def hydrate(self, id: int, *, aktenzeichen: str | None = None) -> None:
        """The portal has fetched and parsed the message: from now it can be downloaded and matched to its job."""
        with self.lock:
            message = self.messages[id]
            message.aktenzeichen = aktenzeichen or message.aktenzeichen
            message.hydrated_at = max(self.clock(), message.created_at)
            if message.direction == "INCOMING":
                message.received_at = message.received_at or message.hydrated_at

    def reveal(self, id: int) -> None:
        """The portal indexes a message that was added with `visible_after`."""
        with self.lock:
            self.messages[id].visible_after = None

    def forbid(self, id: int) -> None:
        """Take away the access: still listed, but 403 on download and FORBIDDEN on acknowledgement."""
        with self.lock:
            self.messages[id].forbidden = True

    def fail_ack_once(self, id: int) -> None:
        """Answer the next acknowledgement of this message with ERROR, without effect."""
        self.override_ack(id, AckStatus.ERROR, times=1)

    def override_ack(self, id: int, status: AckStatus, *, times: int | None = None) -> None:
        """Answer acknowledgements of this id, `times` times or always, with `status` and without effect."""
        with self.lock:
            self._ack_overrides[id] = _AckOverride(status, times)

    def leave_out_of_ack_once(self, id: int) -> None:
        """Let the next acknowledgement of this message pass without effect, and without a word of it."""
        with self.lock:
            self._left_out_of_ack.add(id)

    def retention_delete(self, id: int) -> None:
        """The time-based backstop removes the message, acknowledged or not."""
        self._delete(id, Deletion.RETENTION)

    def sync_delete(self, id: int) -> None:
        """The message is gone from the EGVP server, so the portal removes it too."""
        self._delete(id, Deletion.SYNCED_AWAY)

    def change_password(self, password: str) -> None:
        """Accept only this password from now on; as documented, existing magic links die with the old one."""
        with self.lock:
            self._credentials = (self._credentials[0], password)
            self.mementos = [replace(memento, token="") for memento in self.mementos]

    # --- what a test asks ---------------------------------------------------------------------------------------------

    def acknowledged_ids(self) -> list[int]:
        """The ids whose content was deleted by an acknowledgement, in ascending order."""
        with self.lock:
            return sorted(m.id for m in self.messages.values() if m.deletion is Deletion.ACKNOWLEDGED)

    def downloads_of(self, id: int) -> int:
        """How many GET requests for this message's content were granted."""
        with self.lock:
            return self.messages[id].downloads

    def listed_ids(self) -> list[int]:
        """The ids that an unfiltered listing would show now, in its order."""
        with self.lock:
            return [message.id for message in self._listed(lambda _: True)]

    def state(self) -> Mapping[str, Any]:
        """Counts for `GET /_sandbox/state`."""
        messages = self.messages.values()
        return {
            "messages": len(messages),
            "hydrated": sum(message.hydrated for message in messages),
            "acknowledged": len(self.acknowledged_ids()),
            "deleted": sum(message.deletion is not None for message in messages),
            "downloads": sum(message.downloads for message in messages),
            "ackBatches": len(self.ack_batches),
            "mementos": len(self.mementos),
        }

    # --- the API ------------------------------------------------------------------------------------------------------

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The four documented endpoints, and the page that a magic link opens."""
        return [
            web.get(f"{API}/messages", self._authenticated(self._list)),
            web.get(f"{API}/download/{{id}}", self._authenticated(self._download)),
            web.post(f"{API}/messages/ack", self._authenticated(self._acknowledge)),
            web.post(f"{API}/memento", self._authenticated(self._prepare_form)),
            web.get("/mtl/{token}/duba/{form:.*}", self._open_form, allow_head=False),
        ]

    def control_routes(self) -> Sequence[web.AbstractRouteDef]:
        """`POST messages` with the fields of MessageInfo (all optional), `POST messages/{id}/hydrate`."""
        messages = f"{CONTROL_PREFIX}/messages"
        return [
            web.post(messages, self._control_add),
            web.post(f"{messages}/{{id:\\d+}}/hydrate", self._control_hydrate),
        ]

    def expired_token(self, _request: web.Request) -> web.Response:
        """401 as for wrong credentials: Basic knows no other."""
        response = self.error(401, "Missing or invalid credentials")
        response.headers["WWW-Authenticate"] = REALM
        return response

    def _authenticated(self, handler: Handler) -> Handler:
        """The handler behind HTTP Basic, at the price of deriving a key from the password."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if not self._admits(request.headers.get("Authorization", "")):
                return self.expired_token(request)
            await asyncio.sleep(self._latency_seconds)
            try:
                return await handler(request)
            except BadRequest as refusal:
                return self.error(400, str(refusal))

        return guarded

    def _admits(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return False
        expected = ":".join(self._credentials).encode()
        return scheme.lower() == "basic" and hmac.compare_digest(given, expected)

    async def _list(self, request: web.Request) -> web.Response:
        """GET messages. No paging, and no order is promised: rows come as they were indexed."""
        accepts = self._filter(request)
        with self.lock:
            rows = [message.info() for message in self._listed(accepts) for _ in range(message.listed_times)]
        return web.json_response(rows)

    def _filter(self, request: web.Request) -> Callable[[Message], bool]:
        """What the query asks for. Unknown, empty and repeated single parameters are refused."""
        query = request.query
        unknown = sorted(set(query) - {"jobId", "safeId", "since"})
        _require(not unknown, f"Unknown query parameter: {', '.join(unknown)}")
        _require(all(query.values()), "Empty query parameter")
        _require(len(query.getall("since", [])) <= 1, "Parameter 'since' may be given once")
        jobs, safe_ids = set(query.getall("jobId", [])), set(query.getall("safeId", []))
        since = _instant(query["since"], "since") if "since" in query else None

        def accepts(message: Message) -> bool:
            return (
                (not jobs or (message.hydrated and message.job_id in jobs))
                and (not safe_ids or message.safe_id in safe_ids)
                and (since is None or message.created_at > since)
            )

        return accepts

    def _listed(self, accepts: Callable[[Message], bool]) -> list[Message]:
        now = self.clock()
        return [
            message
            for message in self.messages.values()
            if message.known_at(now) and message.deletion is None and self._shows(message) and accepts(message)
        ]

    def _shows(self, message: Message) -> bool:
        """Whether the message lies in a mailbox of this user."""
        return self._safe_ids is None or message.safe_id in self._safe_ids

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD download/{id}. Only GET counts as a download."""
        text = request.match_info["id"]
        _require(text.isascii() and text.isdigit(), "id must be an integer")
        with self.lock:
            message = self._known(int(text))
            if message is None or message.deletion is not None or not message.hydrated:
                return self.error(404, "Message does not exist")
            if message.forbidden or not self._shows(message):
                return self.error(403, "No access to this message or account")
            message.downloads += request.method == "GET"
            return self._content(message)

    def _known(self, id: int) -> Message | None:
        message = self.messages.get(id)
        return message if message is not None and message.known_at(self.clock()) else None

    def _content(self, message: Message) -> StreamedResponse:
        content = message.content
        if isinstance(content, Path):
            return StreamedResponse(_read(content), size=content.stat().st_size, content_type=message.content_type)
        body = content or b""
        if self._zip_varies:
            body = repacked(body, ZIP_EPOCH + message.downloads * ZIP_CLOCK_STEP)
        return StreamedResponse(_chunks(body), size=len(body), content_type=message.content_type)

    async def _acknowledge(self, request: web.Request) -> web.Response:
        """POST messages/ack: a status for each id, in the order asked; some may fail while others succeed."""
        ids = _message_ids(await _json(request))
        with self.lock:
            self.ack_batches.append(tuple(ids))
            left_out = self._left_out_of_ack.intersection(ids)
            self._left_out_of_ack -= left_out
            results = [(id, self._acknowledged(id)) for id in ids if id not in left_out]
        answer = [{"id": id, "status": status.value, "message": ACK_TEXT[status]} for id, status in results]
        return web.json_response({"results": answer})

    def _acknowledged(self, id: int) -> AckStatus:
        """Acknowledge one message. Nothing asks whether it was ever downloaded, or even hydrated."""
        overridden = self._overridden(id)
        if overridden is not None:
            return overridden
        message = self._known(id)
        if message is None:
            return AckStatus.NOT_FOUND
        if message.forbidden or not self._shows(message):
            return AckStatus.FORBIDDEN
        if message.deletion is not None:
            return AckStatus.ALREADY_DELETED
        self._delete(id, Deletion.ACKNOWLEDGED)
        return AckStatus.DELETED

    def _overridden(self, id: int) -> AckStatus | None:
        override = self._ack_overrides.get(id)
        if override is None or override.times == 0:
            return None
        if override.times is not None:
            override.times -= 1
        return override.status

    def _delete(self, id: int, reason: Deletion) -> None:
        with self.lock:
            message = self.messages[id]
            message.content = None
            message.deletion = message.deletion or reason

    async def _prepare_form(self, request: web.Request) -> web.Response:
        """POST memento. The same data gives another memento each time, and a job may be prepared again."""
        form = await _json(request)
        errors = form_errors(form)
        if errors:
            return web.json_response({"error": "Validation failed", "errors": errors}, status=400)
        with self.lock:
            memento = Memento(form["jobId"], form, _sealed(form), secrets.token_urlsafe(32), self.clock())
            self.mementos.append(memento)
        link = f"/mtl/{memento.token}/duba/?m={memento.memento}" if self._magic_links else None
        return web.json_response({"memento": memento.memento, "magicLink": link})

    async def _open_form(self, request: web.Request) -> web.Response:
        """What the clerk sees. The link may be opened again for its hour, but a job's form only once."""
        with self.lock:
            memento = self._linked(request.match_info["token"], request.query.get("m", ""))
            if memento is None:
                return web.Response(status=302, headers={"Location": "/login"})
            if memento.job_id in self._used_jobs:
                return web.Response(status=302, headers={"Location": "/duba/error"})
            self._used_jobs.add(memento.job_id)
        return web.Response(text=f"<h1>DUBA</h1><p>{escape(memento.job_id)}</p>", content_type="text/html")

    def _linked(self, token: str, sealed: str) -> Memento | None:
        oldest = self.clock() - MAGIC_LINK_LIFETIME
        alive = (memento for memento in self.mementos if memento.token and memento.created_at >= oldest)
        return next((each for each in alive if (each.token, each.memento) == (token, sealed)), None)

    async def _control_add(self, request: web.Request) -> web.Response:
        try:
            id = self.add_message(**_control_message(await _json(request)))
        except ValueError as error:
            return self.error(400, str(error))
        return web.json_response(self.messages[id].info(), status=201)

    async def _control_hydrate(self, request: web.Request) -> web.Response:
        id = int(request.match_info["id"])
        if id not in self.messages:
            return self.error(404, "Message does not exist")
        self.hydrate(id)
        return web.json_response(self.messages[id].info())


# --- reading requests ------------------------------------------------------------------------------------------------


class BadRequest(ValueError):
    """The request breaks the documented rules; the text goes into the 400 answer."""


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise BadRequest(complaint)


async def _json(request: web.Request) -> Any:
    _require(request.content_type == "application/json", "Content-Type must be application/json")
    try:
        return json.loads((await request.read()).decode())
    except ValueError as error:
        raise BadRequest("The body is no JSON") from error


def _instant(text: str, parameter: str) -> datetime:
    """A time stamp in UTC. (An unencoded `+` in a query arrives as a blank, and is refused like any other mistake.)"""
    _require(TIMESTAMP.fullmatch(text) is not None, f"'{parameter}' must read YYYY-MM-DDTHH:MM:SSZ")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"'{parameter}' is no date") from error


def _timestamp(instant: datetime | None) -> str | None:
    return None if instant is None else instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _message_ids(body: object) -> list[int]:
    """The ids of an AckRequest: 1 to 100 integers of 64 bits, and no other field beside them."""
    if not isinstance(body, dict) or set(body) != {"messageIds"} or not isinstance(body["messageIds"], list):
        raise BadRequest("The body must be an object with the array 'messageIds'")
    ids = body["messageIds"]
    _require(1 <= len(ids) <= MAX_ACKNOWLEDGED_AT_ONCE, "'messageIds' must hold 1 to 100 items")
    _require(all(type(id) is int and abs(id) <= INT64_MAX for id in ids), "'messageIds' must hold integers")
    return ids


CONTROL_FIELDS: Mapping[str, tuple[str, type]] = {
    "id": ("id", int),
    "messageId": ("message_id", str),
    "jobId": ("job_id", str),
    "aktenzeichen": ("aktenzeichen", str),
    "direction": ("direction", str),
    "createdAt": ("created_at", str),
    "hydrated": ("hydrated", bool),
    "safeId": ("safe_id", str),
    "contentBase64": ("content", str),
    "contentType": ("content_type", str),
}


def _control_message(body: object) -> dict[str, Any]:
    """The arguments of `add_message` from what `POST /_sandbox/messages` takes; null counts as absent."""
    if not isinstance(body, dict) or not set(body) <= set(CONTROL_FIELDS):
        raise BadRequest(f"a message is an object of {', '.join(CONTROL_FIELDS)}")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        _require(type(value) is CONTROL_FIELDS[name][1], f"{name} must be of type {CONTROL_FIELDS[name][1].__name__}")
    arguments = {CONTROL_FIELDS[name][0]: value for name, value in given.items()}
    if "created_at" in arguments:
        arguments["created_at"] = _instant(arguments["created_at"], "createdAt")
    if "content" in arguments:
        arguments["content"] = base64.b64decode(arguments["content"], validate=True)
    return arguments


# --- form data -------------------------------------------------------------------------------------------------------

MISSING = object()


@dataclass(frozen=True)
class FieldRule:
    """One row of the guide's field reference: where the field is, and when a value is accepted."""

    path: str
    expected: str
    accepts: Callable[[Any], bool] = field(default=lambda value: isinstance(value, str))


def _is_datetime(value: object) -> bool:
    """ISO 8601 with a time; the guide's own example has an offset."""
    try:
        return isinstance(value, str) and "T" in value and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in values


ADDRESS = ("strasse", "plz", "stadt")
RECIPIENTS = ("Gericht", "Sonstige")
MARITAL_STATUSES = ("Ledig", "Verheiratet", "Geschieden", "Verwitwet")
FORM_RULES = (
    FieldRule("jobId", "a string that is not empty", lambda value: isinstance(value, str) and bool(value.strip())),
    FieldRule("meldeZeitpunkt", "an ISO 8601 datetime", _is_datetime),
    FieldRule("absender.name", "a string"),
    FieldRule("absender.aktenzeichen", "a string"),
    FieldRule("absender.egvp_account_id", "an integer", lambda value: type(value) is int),
    FieldRule("empfaenger.name", "a string"),
    FieldRule("empfaenger.type", f"one of {', '.join(RECIPIENTS)}", _one_of(*RECIPIENTS)),
    FieldRule("empfaenger.safeId", "a string"),
    FieldRule("empfaenger.aktenzeichen", "a string"),
    *(FieldRule(f"empfaenger.adresse.{name}", "a string") for name in ADDRESS),
    *(FieldRule(f"betroffener.name.{name}", "a string") for name in ("vorname", "nachname")),
    FieldRule("betroffener.geburtsdatum", "a date YYYY-MM-DD", _is_date),
    FieldRule("betroffener.familienstand", f"one of {', '.join(MARITAL_STATUSES)}", _one_of(*MARITAL_STATUSES)),
    *(FieldRule(f"betroffener.anschrift.{name}", "a string") for name in ADDRESS),
    FieldRule("betroffener.anschriftTelefon", "a string"),
    FieldRule("betroffener.gegenwaertigerAufenthalt", "a string"),
)
FORM_OBJECTS = (
    "absender",
    "empfaenger",
    "empfaenger.adresse",
    "betroffener",
    "betroffener.name",
    "betroffener.anschrift",
)


def form_errors(form: object) -> list[str]:
    """What is wrong with form data, one sentence per field. Fields beside the documented ones are left alone (the
    forms have more than the guide lists), and null counts as absent."""
    if not isinstance(form, dict):
        return ["The body must be an object"]
    missing = ["Field 'jobId' is required"] if form.get("jobId") is None else []
    shapes = [f"Field '{path}' must be an object" for path in FORM_OBJECTS if not _is_object(_at(form, path))]
    values = [f"Field '{rule.path}' must be {rule.expected}" for rule in FORM_RULES if not _is_met(rule, form)]
    return missing + shapes + values


def _at(form: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or MISSING when it or an object above it is absent, null or no object."""
    value: Any = form
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return MISSING if value is None else value


def _is_object(value: object) -> bool:
    return value is MISSING or isinstance(value, dict)


def _is_met(rule: FieldRule, form: Mapping[str, Any]) -> bool:
    value = _at(form, rule.path)
    return value is MISSING or rule.accepts(value)


def _sealed(form: Mapping[str, Any]) -> str:
    """A string of the form and size of a memento: compact JWE, `dir` with A256GCM. Nothing can be read from it."""
    header = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0"
    body_bytes = len(json.dumps(form).encode())
    return f"{header}..{secrets.token_urlsafe(12)}.{secrets.token_urlsafe(body_bytes)}.{secrets.token_urlsafe(16)}"


# --- message contents ------------------------------------------------------------------------------------------------


def court_zip(id: int, aktenzeichen: str) -> bytes:
    """A court's message as the portal hands it out: the XJustiz file, the PDF that it lists, and a metadata file."""
    attachment = f"Beschluss_{id}.pdf"
    files = {
        "xjustiz_nachricht.xml": _xjustiz(aktenzeichen, attachment).encode(),
        attachment: _pdf(f"Beschluss in der Sache {aktenzeichen}"),
        "metadata.json": json.dumps({"id": id, "aktenzeichen": aktenzeichen}).encode(),
    }
    return _zipped(files, ZIP_EPOCH)


def repacked(content: bytes, stamp: datetime) -> bytes:
    """The same files in a ZIP with other time stamps; content that is no readable ZIP comes back as it is."""
    try:
        with ZipFile(BytesIO(content)) as archive:
            return _zipped({name: archive.read(name) for name in archive.namelist()}, stamp)
    except (BadZipFile, RuntimeError):
        return content


def _zipped(files: Mapping[str, bytes], stamp: datetime) -> bytes:
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = ZipInfo(name, stamp.timetuple()[:6])
            archive.writestr(info, data, ZIP_DEFLATED)
    return out.getvalue()


def _xjustiz(aktenzeichen: str, attachment: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<tns:nachricht.gds.uebermittlungSchriftgutobjekte.0005005 xmlns:tns="http://www.xjustiz.de">
  <tns:nachrichtenkopf>
    <tns:aktenzeichen.absender>{escape(aktenzeichen)}</tns:aktenzeichen.absender>
    <tns:absender><tns:name>Amtsgericht Musterstadt</tns:name></tns:absender>
  </tns:nachrichtenkopf>
  <tns:schriftgutobjekte><tns:datei><tns:dateiname>{escape(attachment)}</tns:dateiname></tns:datei></tns:schriftgutobjekte>
</tns:nachricht.gds.uebermittlungSchriftgutobjekte.0005005>
"""


def _pdf(text: str) -> bytes:
    """A PDF of one page with one line of text (no parentheses in it)."""
    line = f"BT /F1 14 Tf 72 720 Td ({text}) Tj ET"
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(line)} >>\nstream\n{line}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    body, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return (body + end + trailer).encode("latin-1", "replace")


def _chunks(body: bytes) -> Iterable[bytes]:
    return (body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES))


async def _read(path: Path) -> AsyncIterator[bytes]:
    """A file in chunks, without keeping the loop from other requests while the disk works."""
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
