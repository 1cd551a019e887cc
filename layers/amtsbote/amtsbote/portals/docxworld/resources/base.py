"""What all of docxworld's resources share: paths, the role header, queries, pages."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic.alias_generators import to_camel

from amtsbote.errors import Reject, Retry
from amtsbote.http import Answer, Body, PortalHttp, Query
from amtsbote.portals.docxworld.models import AnyModel, instant_text, read

ROLE_HEADER = "X-PF-DWC-Requester-Role"
PAGE_LIMIT = 2_000  # pages of one list; more of them is a portal that goes round in circles
PAGE_SIZE = 100  # entries; the portal's own default is 35

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Page(Generic[Entry]):
    """One page of a list; pages are counted from 0."""

    content: tuple[Entry, ...]
    number: int | None
    last: bool
    total_pages: int | None
    total_elements: int | None


@dataclass(frozen=True)
class Paging:
    """Which page, how many entries on it, in which order (`property[,ASC|DESC]`); None leaves it to the portal."""

    page: int | None = None
    size: int | None = None
    sort: Sequence[str] = ()


WHATEVER = Paging()
"""The first page in the portal's own size and order."""


@dataclass(frozen=True)
class Filter:
    """What a list is narrowed to: the fields of a subclass are the query parameters, None and () are not sent."""


def query_of(*parts: Filter | Paging) -> Query:
    """Return the query parameters of filters and paging: camelCase names, one parameter per value."""
    return [
        (to_camel(field.name), _query_text(value))
        for part in parts
        for field in fields(part)
        for value in _values(getattr(part, field.name))
    ]


def _values(value: object) -> Sequence[object]:
    if value is None:
        return ()
    return value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _query_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return instant_text(value) if isinstance(value, datetime) else str(value)


def path(*segments: str) -> str:
    """Return `/v1/…` with every segment escaped; Reject for one that would lead elsewhere."""
    if any(segment in ("", ".", "..") for segment in segments):
        raise Reject("WRONG_ID", "an id is empty or consists of dots; give the portal's id")
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


class Resource:
    """A part of docxworld's API, spoken to through one account."""

    def __init__(self, http: PortalHttp) -> None:
        self._http = http

    def _send(
        self,
        method: str,
        where: str,
        role: str | None,
        *,
        query: Query = (),
        json_body: object = None,
        body: Body = None,
        content_type: str | None = None,
    ) -> Answer:
        headers = {ROLE_HEADER: str(role)} if role else {}
        if content_type:
            headers["Content-Type"] = content_type
        return self._http.call(method, where, query=query, headers=headers, json_body=json_body, body=body)

    def _ask(
        self,
        model: type[AnyModel],
        method: str,
        where: str,
        role: str | None,
        *,
        json_body: object = None,
        body: Body = None,
        content_type: str | None = None,
    ) -> AnyModel:
        answer = self._send(method, where, role, json_body=json_body, body=body, content_type=content_type)
        return read(model, answer.json())

    def _page(
        self, where: str, role: str, query: Query, read_entry: Callable[[Any], Entry], page: int | None = None
    ) -> Page[Entry]:
        answered = self._send("GET", where, role, query=query).json()
        return _page_of(answered, page, read_entry)

    def _all(
        self, where: str, role: str, narrowed: Filter, sort: Sequence[str], read_entry: Callable[[Any], Entry]
    ) -> Iterator[Entry]:
        """Yield the entries of all pages; Retry where the portal does not come to an end."""
        for number in range(PAGE_LIMIT):
            query = query_of(narrowed, Paging(number, PAGE_SIZE, sort))
            page = self._page(where, role, query, read_entry, number)
            if page.number not in (None, number):
                raise Retry("PORTAL_PAGING_BROKEN", f"docxworld answered page {page.number} when asked for {number}")
            yield from page.content
            if page.last:
                return
        raise Retry("PORTAL_PAGING_BROKEN", f"docxworld's list has not ended after {PAGE_LIMIT} pages")


def _page_of(answered: object, asked: int | None, read_entry: Callable[[Any], Entry]) -> Page[Entry]:
    """Return a page; one that is empty is the last one, whatever it says of itself."""
    if not isinstance(answered, dict) or not isinstance(answered.get("content"), list):
        raise Retry("PORTAL_ANSWER_UNREADABLE", "docxworld's list has no content")
    content, total_pages = answered["content"], answered.get("totalPages")
    last = answered.get("last")
    if last is None:
        last = total_pages is not None and (asked or 0) + 1 >= total_pages
    return Page(
        content=tuple(read_entry(entry) for entry in content),
        number=answered.get("number"),
        last=bool(last) or not content,
        total_pages=total_pages,
        total_elements=answered.get("totalElements"),
    )
