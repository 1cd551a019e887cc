"""The simulated Digitale-Gemeinde: one municipality's forms behind the core API's six calls.

Two of them, count and search, are published; routes, the key's header, the token's shape and the rest are `Options`.
Where the pages are silent the stricter reading is taken for requests.
"""

from __future__ import annotations

import hmac
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.portals.server import Clock, SimulatedPortal, utc_now

from .control import control_routes
from .options import DEFAULT_ROUTES, FileShape, Options, RateLimiter
from .reading import UNEXPECTED, Refused, Search, json_object, require, search_of, status_of, tenant_of, uploaded_file
from .records import DEFAULT_FIELDS, FILE, Document, Form, FormField, StatusChange, StoredFile, counted
from .tokens import Tokens, worded

IDS = UUID("6f1d3d0a-7d55-4c1e-9a52-2f1f0f6b7c11")
FIRST_DOCUMENT_NUMBER = 100001
DEFAULT_RETENTION_DAYS = 180
SERVER_ERRORS = range(500, 600)
WRONG_KEY = "Invalid API key"
CITIZEN, API, CLERK = "citizen", "api", "clerk"

File = tuple[str, bytes, str]
"""A citizen's file: name, content, content type."""


class SimulatedDigitaleGemeinde(SimulatedPortal):
    """One installation with one API key. `outage` True fails every call, worded exactly like a missing document."""

    name = "digitale-gemeinde"

    def __init__(
        self,
        api_key: str = "ein-Schluessel",
        tenant_id: int = 17,
        *,
        options: Options | None = None,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(clock=clock)
        self.tenant_id = tenant_id
        self.options = options or Options()
        self.outage = False
        self.forms: dict[str, Form] = {}
        self.documents: dict[str, Document] = {}
        self._api_key: str | None = api_key
        self._tokens = Tokens()
        self._limiter = RateLimiter()
        self._calls: Counter[tuple[str, str | None]] = Counter()
        self._after_page: dict[int, list[Callable[[], object]]] = {}
        self._searches = 0

    # --- what a test or a demo does to the portal --------------------------------------------------------------------

    def add_form(
        self,
        name: str = "Wohnsitzbestätigung",
        fields: Sequence[FormField] = DEFAULT_FIELDS,
        *,
        form_id: str | None = None,
        tenant_id: int | None = None,
        states: Sequence[str] | None = None,
        category: str = "Einwohnerdienste",
        tags: Sequence[str] = (),
        data_retention_days: int = DEFAULT_RETENTION_DAYS,
    ) -> str:
        """Publish a form and return its id, a GUID that the order of the forms decides. `states` None: the four of
        the guide; the first of them is the one that a submission gets."""
        with self.lock:
            number = len(self.forms) + 1
            form_id = form_id or str(uuid5(IDS, f"form {number}"))
            if form_id in self.forms:
                raise ValueError(f"form {form_id} exists")
            tenant_id = self.tenant_id if tenant_id is None else tenant_id
            self.forms[form_id] = Form(
                id=form_id,
                number=number,
                name=name,
                tenant_id=tenant_id,
                tenant_name=f"Gemeinde {tenant_id}",
                fields=tuple(fields),
                states=tuple(states or self.options.statuses.all()),
                category=category,
                tags=tuple(tags),
                data_retention_days=data_retention_days,
            )
            return form_id

    def add_document(
        self,
        form_id: str,
        fields: Mapping[str, str] | None = None,
        files: Mapping[str, Sequence[File]] | None = None,
        status: str | None = None,
        submitted: datetime | None = None,
        *,
        document_id: str | None = None,
        visible_after: datetime | None = None,
        listed_times: int = 1,
    ) -> str:
        """A citizen submits a form; its document id comes back. `fields` and `files` are by field name.

        Until the clock has passed `visible_after` nobody sees the document, however early it was `submitted` (a late
        row). `listed_times` 2 shows it twice on its page.
        """
        with self.lock:
            form = self._form(form_id)
            document_id = document_id or str(FIRST_DOCUMENT_NUMBER + len(self.documents))
            if document_id in self.documents:
                raise ValueError(f"document {document_id} exists")
            submitted = submitted or self.clock()
            self.documents[document_id] = Document(
                id=document_id,
                row_id=str(uuid5(IDS, f"row {document_id}")),
                form=form,
                values=self._values(form, fields or {}),
                files=self._files(form, files or {}),
                submitted=submitted,
                history=[StatusChange(submitted, status or form.states[0], CITIZEN)],
                visible_after=visible_after,
                listed_times=listed_times,
            )
            return document_id

    def _form(self, form_id: str) -> Form:
        if form_id not in self.forms:
            raise ValueError(f"there is no form {form_id}")
        return self.forms[form_id]

    def _values(self, form: Form, fields: Mapping[str, str]) -> Mapping[str, str]:
        wrong = [name for name in fields if form.field_named(name).datatype == FILE]
        if wrong:
            raise ValueError(f"takes files: {', '.join(wrong)}")
        return dict(fields)

    def _files(self, form: Form, files: Mapping[str, Sequence[File]]) -> dict[str, list[StoredFile]]:
        wrong = [name for name in files if form.field_named(name).datatype != FILE]
        if wrong:
            raise ValueError(f"takes no files: {', '.join(wrong)}")
        if self.options.file_shape is not FileShape.LIST and any(len(given) > 1 for given in files.values()):
            raise ValueError("only Options(file_shape=FileShape.LIST) shows several files of one field")
        return {name: [StoredFile(*file) for file in given] for name, given in files.items()}

    def set_status(self, document_id: str, status: str, *, who: str = CLERK) -> None:
        """A person changes the status in the Cockpit; ValueError when document or status are unknown."""
        with self.lock:
            if document_id not in self.documents or status not in self.documents[document_id].form.states:
                raise ValueError(f"there is no document {document_id}, or no status {status}")
            self._change(self.documents[document_id], status, who)

    def remove(self, document_id: str, *, keep_row: bool = False) -> None:
        """Retention deletes the document. With `keep_row` the search goes on listing what can no longer be read."""
        with self.lock:
            document = self.documents[document_id]
            document.removed, document.listed = True, keep_row
            document.files.clear()

    def reveal(self, document_id: str) -> None:
        """Show a document that was added with `visible_after`."""
        with self.lock:
            self.documents[document_id].visible_after = None

    def garble(self, document_id: str, field_name: str) -> None:
        """Make the content of the files in this field unreadable: no base64."""
        with self.lock:
            for file in self.documents[document_id].files[field_name]:
                file.garbled = True

    def after_page(self, page: int, action: Callable[[], object]) -> None:
        """Do something once, just after a search has read this page: rows come, go or change while a client pages."""
        with self.lock:
            self._after_page.setdefault(page, []).append(action)

    def expire_tokens(self) -> None:
        """Refuse every token issued so far, whatever its `exp` says; the key gets new ones."""
        with self.lock:
            self._tokens.withdraw_all()

    def revoke_key(self) -> None:
        """Refuse the API key and all its tokens, until `change_key`."""
        with self.lock:
            self._api_key = None
            self._tokens.withdraw_all()

    def change_key(self, api_key: str) -> None:
        """Accept only this API key from now on. Tokens live on until they expire."""
        with self.lock:
            self._api_key = api_key

    # --- what a test asks ---------------------------------------------------------------------------------------------

    def status_of(self, document_id: str) -> str:
        """The document's status now."""
        with self.lock:
            return self.documents[document_id].status

    def history(self, document_id: str) -> list[StatusChange]:
        """Every status that the document has had, with when and who, also where it was set to what it was already."""
        with self.lock:
            return list(self.documents[document_id].history)

    def uploads(self, document_id: str, field_id: int | str) -> list[StoredFile]:
        """What came through the API into this field, in order; the same file twice is there twice."""
        with self.lock:
            return list(self.documents[document_id].uploads.get(int(field_id), []))

    def refunds(self, document_id: str) -> int:
        """How often the citizen's money was sent back, whoever caused it."""
        with self.lock:
            return self.documents[document_id].refunds

    def calls(self, route: str, document_id: str | None = None) -> int:
        """How many requests came to a route (`token`, `count`, …), of one document or of all, whatever the answer was.
        One that a fault kept from the portal does not count."""
        with self.lock:
            counts = self._calls.items()
            return sum(n for (name, id), n in counts if name == route and document_id in (None, id))

    def state(self) -> Mapping[str, Any]:
        """Counts for `GET /_sandbox/state`."""
        documents = self.documents.values()
        return {
            "forms": len(self.forms),
            "documents": len(documents),
            "statuses": dict(Counter(document.status for document in documents)),
            "uploads": sum(len(files) for document in documents for files in document.uploads.values()),
            "refunds": sum(document.refunds for document in documents),
            "calls": {route: self.calls(route) for route in DEFAULT_ROUTES},
        }

    # --- the API ------------------------------------------------------------------------------------------------------

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The six calls, each where the options say that it is."""
        handlers = {
            "token": self._token,
            "count": self._count,
            "search": self._search,
            "details": self._details,
            "update": self._update,
            "upload": self._upload,
        }
        return [_route(self._template(name), self._guarded(name, handler)) for name, handler in handlers.items()]

    def _template(self, route: str) -> str:
        return self.options.routes.get(route, DEFAULT_ROUTES[route])

    def control_routes(self) -> Sequence[web.AbstractRouteDef]:
        """Add a document, look at one, change its status."""
        return control_routes(self)

    def error(self, status: int, message: str) -> web.Response:
        """ProblemDetails. Every failure of the server is worded alike: nothing in it tells one from another."""
        problem = {
            "type": f"https://tools.ietf.org/html/rfc9110#status.{status}",
            "title": UNEXPECTED if status in SERVER_ERRORS else message,
            "status": status,
            "traceId": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00",
        }
        return web.json_response(problem, status=status, content_type="application/problem+json")

    def expired_token(self, request: web.Request) -> web.Response:
        """401 or 403, as the options say; the token call itself refuses a key with 401."""
        if request.path == self._template("token").partition(" ")[2]:
            return self.error(401, WRONG_KEY)
        response = self.error(self.options.refusal_status, "The token is missing, expired or not ours")
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return response

    def _guarded(self, route: str, handler: Handler) -> Handler:
        """The handler behind the count of calls, an outage, the rate limit and the token."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            with self.lock:
                self._calls[route, request.match_info.get("documentId")] += 1
                turned_away = self._turned_away(route, request)
            if turned_away is not None:
                return turned_away
            try:
                return await handler(request)
            except Refused as refusal:
                return self.error(refusal.status, str(refusal))

        return guarded

    def _turned_away(self, route: str, request: web.Request) -> web.Response | None:
        if self.outage:
            return self.error(500, UNEXPECTED)
        limit = self.options.rate_limit
        wait = 0 if limit is None else self._limiter.seconds_to_wait(limit, self.clock())
        if wait:
            return self._too_many(wait)
        if route != "token" and not self._admits(request.headers.get("Authorization", "")):
            return self.expired_token(request)
        return None

    def _too_many(self, seconds: int) -> web.Response:
        response = self.error(429, "Too Many Requests")
        response.headers["Retry-After"] = str(seconds)
        return response

    def _admits(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self._tokens.accepts(token, self.clock())

    async def _token(self, request: web.Request) -> web.Response:
        """API key in, token out."""
        given = request.headers.get(self.options.api_key_header, "")
        with self.lock:
            if self._api_key is None or not hmac.compare_digest(given.encode(), self._api_key.encode()):
                return self.error(401, WRONG_KEY)
            lifetime, signed = self.options.token_lifetime, self.options.token_signed
            token = self._tokens.issue(self.clock(), lifetime, signed=signed)
        return worded(token, self.options.token_shape)

    async def _count(self, request: web.Request) -> web.Response:
        """How many documents each form of the tenant has."""
        tenant = tenant_of(request)
        with self.lock:
            rows = self._listed(tenant)
            forms = [form for form in self.forms.values() if form.tenant_id == tenant]
            answer = [counted(form, [row.status for row in rows if row.form is form], self.options) for form in forms]
        return web.json_response(answer)

    async def _search(self, request: web.Request) -> web.Response:
        """One page of the documents that match. `totalCount` counts matches, not rows shown."""
        tenant, search = tenant_of(request), search_of(await json_object(request))
        with self.lock:
            matches = [row for row in self._listed(tenant) if _matches(row, search)]
            page = self._ordered(matches, search)[search.offset : search.offset + search.page_size]
            data = [row.row(self.options.time_zone) for row in page for _ in range(row.listed_times)]
            for action in self._after_page.pop(search.page, []):
                action()
        answer = {"data": data, "totalCount": len(matches), "pageNumber": search.page, "pageSize": search.page_size}
        return web.json_response(answer)

    def _listed(self, tenant: int) -> list[Document]:
        now = self.clock()
        return [
            document
            for document in self.documents.values()
            if document.listed and document.form.tenant_id == tenant and document.known_at(now)
        ]

    def _ordered(self, rows: list[Document], search: Search) -> list[Document]:
        """As asked for; whatever that leaves open falls differently at each call, and the same in each run."""
        self._searches += 1
        ordered = list(rows)
        random.Random(self._searches).shuffle(ordered)
        for name in reversed(search.order_by):
            ordered.sort(key=lambda row: _sort_value(row, name), reverse=search.descending)
        return ordered

    async def _details(self, request: web.Request) -> web.Response:
        """A document whole, its files inline."""
        tenant = tenant_of(request)
        with self.lock:
            answer = self._found(request, tenant).details(self.options)
        return web.json_response(answer)

    async def _update(self, request: web.Request) -> web.Response:
        """Set the status, whatever it was. No version is asked for: the last one wins."""
        tenant, status = tenant_of(request), status_of(await json_object(request))
        with self.lock:
            document = self._found(request, tenant)
            require(status in document.form.states, "The form does not know this status")
            self._change(document, status, API)
            answer = document.details(self.options)
        return web.json_response(answer)

    async def _upload(self, request: web.Request) -> web.Response:
        """Put a file into a field, beside those that are there; nobody asks whether it is there already."""
        tenant, file = tenant_of(request), await uploaded_file(request)
        with self.lock:
            document = self._found(request, tenant)
            field = document.form.file_field(request.match_info["fieldId"])
            if field is None:
                raise Refused(400, "The form has no file field of this id")
            document.files.setdefault(field.name, []).append(file)
            document.uploads.setdefault(field.id, []).append(file)
        if self.options.upload_status == web.HTTPNoContent.status_code:
            return web.Response(status=self.options.upload_status)
        answer = {"documentId": document.id, "fieldId": field.id, "name": file.name}
        return web.json_response(answer, status=self.options.upload_status)

    def _found(self, request: web.Request, tenant: int) -> Document:
        """The document that the path names, if this tenant has it, by this form."""
        document = self.documents.get(request.match_info["documentId"])
        if document is not None and not document.removed and document.known_at(self.clock()):
            form_id = request.match_info.get("formId", document.form.id)
            if (document.form.tenant_id, document.form.id) == (tenant, form_id):
                return document
        raise Refused(self.options.missing_status, "The requested resource was not found")

    def _change(self, document: Document, status: str, who: str) -> None:
        """Every change to the refund status sends the money back, also from that status."""
        document.history.append(StatusChange(self.clock(), status, who))
        document.refunds += status == self.options.statuses.refund


def _route(template: str, handler: Handler) -> web.RouteDef:
    method, _, path = template.partition(" ")
    return web.route(method, path, handler)


def _matches(row: Document, search: Search) -> bool:
    named: Iterable[str] = (row.form.name, *row.form.tags)
    return (
        any(search.keyword in name for name in named)
        and search.form_id in ("", row.form.id)
        and search.status in ("", row.status)
    )


def _sort_value(row: Document, name: str) -> Any:
    return row.submitted if name == "submittedDate" else row.row(UTC)[name]
