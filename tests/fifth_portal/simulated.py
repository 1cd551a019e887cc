"""A simulated Bauamt: strict, stateful, and without a line of the adapter's code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web

from sandbox.portals.server import Clock, SimulatedPortal, utc_now

PER_PAGE = 2
KEY_HEADER = "X-Api-Key"


@dataclass
class Application:
    """One application, its PDF, and how often it was downloaded and confirmed."""

    id: str
    submitted_at: datetime
    pdf: bytes
    downloads: int = 0
    confirmations: int = 0

    def record(self) -> dict[str, Any]:
        """The application as it is listed."""
        return {"id": self.id, "submittedAt": self.submitted_at.isoformat(), "street": "Ahornweg 3"}


@dataclass
class Reply:
    """One file sent to an applicant."""

    id: str
    application_id: str
    name: str
    content: bytes
    state: str = "QUEUED"


@dataclass
class _Books:
    applications: dict[str, Application] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)  # by Idempotency-Key


class SimulatedBauamt(SimulatedPortal):
    """One office with one API key."""

    name: ClassVar[str] = "bauamt"

    def __init__(self, api_key: str, *, clock: Clock = utc_now) -> None:
        super().__init__(clock=clock)
        self._api_key = api_key
        self._books = _Books()

    def add_application(self, pdf: bytes = b"%PDF-1.7 Bauantrag") -> str:
        """Let somebody apply; returns the application's id."""
        with self.lock:
            id_ = f"2026-{len(self._books.applications) + 1}"
            self._books.applications[id_] = Application(id_, self.clock(), pdf)
            return id_

    def submitted(self, id_: str) -> Application:
        """Return an application."""
        return self._books.applications[id_]

    def withdraw(self, id_: str) -> None:
        """Let an application vanish."""
        with self.lock:
            del self._books.applications[id_]

    @property
    def replies(self) -> Sequence[Reply]:
        """What was sent, in its order."""
        return list(self._books.replies.values())

    def move_replies(self, state: str) -> None:
        """Let every reply reach a state."""
        with self.lock:
            for reply in self._books.replies.values():
                reply.state = state

    def state(self) -> Mapping[str, Any]:
        """Counts, for `GET /_sandbox/state`."""
        return {"applications": len(self._books.applications), "replies": len(self._books.replies)}

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The API."""
        return [
            web.get("/applications", self._list),
            web.get("/applications/{id}/file", self._file),
            web.post("/applications/{id}/confirmation", self._confirm),
            web.put("/applications/{id}/replies/{name}", self._reply),
            web.get("/replies/{id}", self._reply_state),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        self._check_key(request)
        number = int(request.query.get("page", "1"))
        since = datetime.fromisoformat(request.query.get("since", "1970-01-01T00:00:00+00:00")).astimezone(UTC)
        if number < 1 or set(request.query) - {"page", "since"}:
            return self.error(400, "page counts from 1; only page and since are known")
        with self.lock:
            fresh = [a for a in self._books.applications.values() if not a.confirmations and a.submitted_at >= since]
            page = [a.record() for a in fresh[(number - 1) * PER_PAGE : number * PER_PAGE]]
        return web.json_response({"applications": page, "pages": math.ceil(len(fresh) / PER_PAGE)})

    async def _file(self, request: web.Request) -> web.Response:
        with self.lock:
            application = self._asked(request)
            application.downloads += 1
        return web.Response(body=application.pdf, content_type="application/pdf")

    async def _confirm(self, request: web.Request) -> web.Response:
        with self.lock:
            self._asked(request).confirmations += 1
        return web.Response(status=204)

    async def _reply(self, request: web.Request) -> web.Response:
        content, key = await request.read(), request.headers.get("Idempotency-Key", "")
        with self.lock:
            application = self._asked(request)
            if not key or not content:
                return self.error(400, "a reply has content and an Idempotency-Key")
            number = len(self._books.replies) + 1
            new = Reply(f"R{number}", application.id, request.match_info["name"], content)
            return _shown(self._books.replies.setdefault(key, new))

    async def _reply_state(self, request: web.Request) -> web.Response:
        self._check_key(request)
        with self.lock:
            found = [reply for reply in self._books.replies.values() if reply.id == request.match_info["id"]]
        return _shown(found[0]) if found else self.error(404, "no such reply")

    def _asked(self, request: web.Request) -> Application:
        """Return the application that a request is about, to whoever has the key."""
        self._check_key(request)
        application = self._books.applications.get(request.match_info["id"])
        if application is None:
            raise web.HTTPNotFound(text="no such application")
        return application

    def _check_key(self, request: web.Request) -> None:
        if request.headers.get(KEY_HEADER) != self._api_key:
            raise web.HTTPUnauthorized(text="unknown key")


def _shown(reply: Reply) -> web.Response:
    return web.json_response({"id": reply.id, "state": reply.state})
