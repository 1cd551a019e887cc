"""The API of Digitale-Gemeinde for back ends (guide, steps 1 to 6), typed.

client = DigitaleGemeindeClient("https://portal.example.ch", "the API key", tenant_id=17)
for form in client.search_all(status="Neu"):
    details = client.details(form.form_id, form.document_id)
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import SecretStr
from pydantic_core import from_json

from amtsbote import times
from amtsbote.deadline import Deadline
from amtsbote.errors import Misconfigured, Retry, Unavailable
from amtsbote.foreign_json import check_shape
from amtsbote.http import Answer, Transport
from amtsbote.portals.digitale_gemeinde.account import TenantHttp
from amtsbote.portals.digitale_gemeinde.connection import DEFAULT_KEY_HEADER, DigitaleGemeindeSecret, Routes, address
from amtsbote.portals.digitale_gemeinde.login import Clock, TokenLogin, account_of, ask_for_token
from amtsbote.portals.digitale_gemeinde.models import FormCount, FormDetails, FoundForm, Page
from amtsbote.portals.digitale_gemeinde.multipart import FileToSend, MultipartBody
from amtsbote.portals.portal import Tools
from amtsbote.tokens import Token, TokenCache

A_DAY_SECONDS = 86_400.0  # how long a client outside of a Lambda function may work
PAGE_SIZE = 100
NONSENSE = "PORTAL_ANSWERED_NONSENSE"
PAGE_LIMIT = 10_000
FORM_LIMIT_BYTES = 64 * 1024 * 1024
"""How large a form may be, its files as base64 included. Reading one takes twice that memory."""


class DigitaleGemeindeClient:
    """One tenant. Every method raises the errors of `amtsbote.errors`.

    Misconfigured when the key is refused, also after it was tried once more with a new token; Retry when the portal
    cannot answer, with the time that it asks for; Unavailable when a document is gone.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | SecretStr,
        tenant_id: int,
        *,
        api_key_header: str = DEFAULT_KEY_HEADER,
        routes: Routes | None = None,
        transport: Transport | None = None,
        tokens: TokenCache | None = None,
        clock: Clock = times.now,
        page_size: int = PAGE_SIZE,
        form_limit_bytes: int = FORM_LIMIT_BYTES,
    ) -> None:
        self._routes = routes or Routes()
        self._transport = transport or Transport(Deadline(A_DAY_SECONDS))
        self._page_size = page_size
        self._form_limit_bytes = form_limit_bytes
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        base_url = base_url.rstrip("/")
        account = account_of(base_url, self._routes.token, api_key_header, key)
        method, path = address(self._routes.token, {})

        def log_in() -> Token:
            return ask_for_token(self._transport, method, base_url + path, {api_key_header: key}, clock())

        self._login = TokenLogin(account, tokens or TokenCache(), log_in)
        self._http = TenantHttp(self._transport, base_url, self._login, tenant_id)

    @classmethod
    def of(cls, secret: DigitaleGemeindeSecret, tools: Tools) -> "DigitaleGemeindeClient":
        """Return the client of a connection."""
        return cls(
            secret.base_url,
            secret.api_key,
            secret.tenant_id,
            api_key_header=secret.api_key_header,
            routes=secret.routes,
            transport=tools.transport,
            tokens=tools.tokens,
            clock=tools.clock,
        )

    def token(self) -> str:
        """Return the JWT that is good now, bought with the key when there is none. (guide, step 1)"""
        return self._login.token()

    def count(self) -> list[FormCount]:
        """Return how many documents each form of the tenant has. (guide, step 2; reference, Form/count)"""
        answer = self._ask("count")
        rows = answer.json()
        if not isinstance(rows, list):
            raise _nonsense(answer, "no list")
        read = [FormCount.read(row) if isinstance(row, dict) else None for row in rows]
        if None in read:
            raise _nonsense(answer, "a row without an id")
        return [row for row in read if row is not None]

    def search(
        self,
        *,
        form_id: str | None = None,
        status: str | None = None,
        keyword: str | None = None,
        page: int = 1,
        page_size: int | None = None,
    ) -> Page:
        """Return one page (from 1) of the documents that match, oldest first. (guide, step 3; reference, Form/search)

        The order is always asked for: without one the portal's pages have none, and documents would be missed.
        """
        wanted: dict[str, Any] = {"formId": form_id, "status": status, "keyword": keyword}
        body = {name: value for name, value in wanted.items() if value is not None}
        body |= {"page": page, "pageSize": page_size or self._page_size}
        body |= {"orderBy": "submittedDate", "orderByDirection": "Ascending"}
        answer = self._ask("search", body)
        said = answer.json()
        found = Page.read(said) if isinstance(said, dict) else None
        if found is None:
            raise _nonsense(answer, "no data")
        return found

    def search_all(
        self, *, form_id: str | None = None, status: str | None = None, keyword: str | None = None
    ) -> Iterator[FoundForm]:
        """Yield the documents that match, page after page, each once."""
        for page in self.pages(form_id=form_id, status=status, keyword=keyword):
            yield from page.forms

    def pages(
        self, *, form_id: str | None = None, status: str | None = None, keyword: str | None = None
    ) -> Iterator[Page]:
        """Yield the pages of the documents that match; a page has only those that no page before it had.

        Change none of them before the last one has come: a list by status shrinks under who changes statuses. A
        document may be listed twice, so the end is where as many different ones have come as there are, or where
        nothing new comes any more. Retry where the portal does not come to an end.
        """
        known: set[tuple[str, str | None]] = set()
        received = 0
        for number in range(1, PAGE_LIMIT + 1):
            page = self.search(form_id=form_id, status=status, keyword=keyword, page=number)
            listed = {(form.document_id, form.form_id): form for form in page.forms}
            fresh = tuple(form for key, form in listed.items() if key not in known)
            known.update(listed)
            yield replace(page, forms=fresh)
            received += page.rows
            if not page.rows or (page.total is not None and len(known) >= page.total):
                return
            if not fresh and (page.total is None or received >= page.total):
                return  # some portals answer their last page to any higher number
            if not fresh:
                raise Retry("PORTAL_PAGING_BROKEN", f"page {number} of the search brought nothing that was not known")
        raise Retry("PORTAL_PAGING_BROKEN", f"the search has not ended after {PAGE_LIMIT} pages")

    def details(self, form_id: str, document_id: str) -> FormDetails:
        """Return a document with its files. (guide, step 4)

        Unavailable or, as the portal has it, `InternalError` where there is no such document; Quarantine when it is
        larger than `form_limit_bytes`.
        """
        method, path = self._address("details", formId=form_id, documentId=document_id)
        body = self._http.read_large(method, path, self._form_limit_bytes)
        try:
            check_shape(body)
            details = FormDetails.read(from_json(body, allow_inf_nan=False), body)
        except ValueError:
            details = None
        if details is None:
            raise Retry(NONSENSE, f"{method} {path} answered {len(body)} bytes that are no form")
        return details

    def update_status(self, form_id: str, document_id: str, status: str) -> None:
        """Set the status of a document, whatever it was: the portal has no compare-and-set. (guide, step 5)

        The status that stands for a refund makes the portal pay money back.
        """
        method, path = self._address("update", formId=form_id, documentId=document_id)
        self._http.call(method, path, json_body={"status": status})

    def upload(self, form_id: str, document_id: str, field_id: str, file: FileToSend) -> None:
        """Send a file to a file field, streamed. The portal cannot tell a repeat. (guide, step 6)"""
        method, path = self._address("upload", formId=form_id, documentId=document_id, fieldId=field_id)
        body = MultipartBody(file, self._transport.deadline.check)
        self._http.call(method, path, headers={"Content-Type": body.content_type}, body=body)

    def _address(self, route: str, **ids: str) -> tuple[str, str]:
        return address(getattr(self._routes, route), ids)

    def _ask(self, route: str, body: Any = None) -> Answer:
        """Return the answer of a route that is not about one document: where it is not found, the route is wrong."""
        method, path = self._address(route)
        try:
            return self._http.call(method, path, json_body=body)
        except Unavailable as error:
            mend = f"check baseUrl and routes.{route}"
            raise Misconfigured("ROUTE_UNKNOWN", f"{error.message}; {mend}", portal_words=error.portal_words) from None


def _nonsense(answer: Answer, missing: str) -> Retry:
    return Retry(NONSENSE, f"{answer.method} {answer.path} answered {answer.kind()}: {missing}")
