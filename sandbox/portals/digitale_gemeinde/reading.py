"""Reading requests as strictly as the portal's pages allow; whatever breaks a rule is `Refused` with its status."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from .records import StoredFile

INT32 = range(-(2**31), 2**31)
INTEGER = re.compile(r"-?\d{1,10}", re.ASCII)
TENANT = "tenantId"
FILE_PART = "file"
DEFAULT_PAGE, DEFAULT_PAGE_SIZE = 1, 100
ROW_FIELDS = ("id", "name", "documentId", "status", "tenantId", "formId", "tenantName", "submittedDate")
ORDERABLE: Mapping[str, str] = {name.lower(): name for name in ROW_FIELDS}
TEXT_FILTERS = ("keyword", "formId", "status", "orderBy")
DIRECTIONS = ("Ascending", "Descending")
SEARCH_FIELDS: Mapping[str, tuple[type, ...]] = {
    **{name: (str, type(None)) for name in TEXT_FILTERS},
    "page": (int,),
    "pageSize": (int,),
    "orderByDirection": (str,),
}
UNEXPECTED = "An unexpected error occurred"


class Refused(Exception):
    """The request cannot be served; the answer's status and what it says."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def require(condition: bool, complaint: str, status: int = 400) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(status, complaint)


@dataclass(frozen=True)
class Search:
    """A search request. Empty filters do not filter; without `order_by` no order is promised."""

    keyword: str
    form_id: str
    status: str
    page: int
    page_size: int
    order_by: tuple[str, ...]
    descending: bool

    @property
    def offset(self) -> int:
        """How many rows come before the page."""
        return (self.page - 1) * self.page_size


def tenant_of(request: web.Request) -> int:
    """The tenant that every call on forms must name, once, and beside which it may name nothing."""
    unknown = sorted(set(request.query) - {TENANT})
    require(not unknown, f"Unknown query parameter: {', '.join(unknown)}")
    given = request.query.getall(TENANT, [])
    require(len(given) == 1, f"{TENANT} is required, once")
    require(INTEGER.fullmatch(given[0]) is not None and int(given[0]) in INT32, f"{TENANT} must be an int32")
    return int(given[0])


async def json_object(request: web.Request) -> dict[str, Any]:
    """The body, which must be a JSON object and say so."""
    require(request.content_type == "application/json", "Unsupported Media Type", 415)
    try:
        body = json.loads((await request.read()).decode())
    except ValueError as error:
        raise Refused(400, "The body is no JSON") from error
    require(isinstance(body, dict), "The body must be an object")
    return dict(body)


def search_of(body: Mapping[str, Any]) -> Search:
    """A search request. A page below 1 is an offset below 0, which the database does not survive."""
    wrong = [name for name, value in body.items() if type(value) not in SEARCH_FIELDS.get(name, ())]
    require(not wrong, f"Unknown, or of a wrong type: {', '.join(wrong)}")
    texts = {name: (body.get(name) or "").strip() and body[name] for name in TEXT_FILTERS}
    direction = body.get("orderByDirection", DIRECTIONS[0])
    require(direction in DIRECTIONS, f"orderByDirection must be one of {', '.join(DIRECTIONS)}")
    search = Search(
        keyword=texts["keyword"],
        form_id=texts["formId"],
        status=texts["status"],
        page=body.get("page", DEFAULT_PAGE),
        page_size=body.get("pageSize", DEFAULT_PAGE_SIZE),
        order_by=_order(texts["orderBy"]),
        descending=direction == DIRECTIONS[1],
    )
    require(search.page in INT32 and search.page_size in INT32, "page and pageSize must be int32")
    require(search.offset >= 0 and search.page_size > 0, UNEXPECTED, 500)
    return search


def _order(order_by: str) -> tuple[str, ...]:
    """The fields of a row to sort by, separated by commas, in any case; an unknown one is an error of the server."""
    names = order_by.split(",") if order_by else []
    require(all(name.lower() in ORDERABLE for name in names), UNEXPECTED, 500)
    return tuple(ORDERABLE[name.lower()] for name in names)


def status_of(body: Mapping[str, Any]) -> str:
    """The status that an update sets: the one field that it has."""
    require(set(body) == {"status"} and isinstance(body.get("status"), str), "The body must be an object with 'status'")
    return str(body["status"])


# --- the one part of an upload ---------------------------------------------------------------------------------------


async def uploaded_file(request: web.Request) -> StoredFile:
    """The file of a multipart/form-data body that has exactly one part, named `file`, with a file name."""
    require(request.content_type == "multipart/form-data", "Unsupported Media Type", 415)
    try:
        parts = [await _part(part) async for part in MultipartReader(request.headers, request.content)]
    except (ValueError, AssertionError, BadHttpMessage) as error:
        raise Refused(400, "The body is no multipart/form-data") from error
    require(len(parts) == 1, f"Exactly one part '{FILE_PART}' is expected")
    return parts[0]


async def _part(part: MultipartReader | BodyPartReader | None) -> StoredFile:
    """One part with its content, as it was sent."""
    if not isinstance(part, BodyPartReader):
        raise Refused(400, "A part must not be multipart itself")
    kind, parameters = disposition(part.headers.get("Content-Disposition", ""))
    require(kind == "form-data" and parameters.get("name") == FILE_PART, f"The part must be named '{FILE_PART}'")
    name = parameters.get("filename", "")
    require(bool(name), "The part needs a file name")
    content_type = part.headers.get("Content-Type", "application/octet-stream")
    return StoredFile(name, bytes(await part.read()), content_type)


def disposition(header: str) -> tuple[str, Mapping[str, str]]:
    """A Content-Disposition's kind and parameters; an extended one (`filename*`) wins over a plain one.

    File names come as extended values, in continuations, or as raw UTF-8 between quotes.
    """
    require(_is_unicode(header), "A header of the part is no UTF-8")
    message = Message()
    message["Content-Disposition"] = header
    given: list[tuple[str, Any]] = [*(message.get_params(header="Content-Disposition") or [("", "")])]
    (kind, _), *parameters = given
    plain = {name: value for name, value in parameters if isinstance(value, str)}
    extended = {name: collapse_rfc2231_value(value) for name, value in parameters if isinstance(value, tuple)}
    return kind.lower(), {**plain, **extended}


def _is_unicode(header: str) -> bool:
    """Whether all bytes of a header could be decoded; those that could not came as lone surrogates."""
    try:
        header.encode()
        return True
    except UnicodeEncodeError:
        return False
