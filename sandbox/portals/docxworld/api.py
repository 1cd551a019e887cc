"""The calls of the API: their paths, the roles that may make them, their query parameters, and how bodies are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import BodyPartReader, web

from .catalogue import TARGET_FILTERS, WORKFLOW_FILTERS, Catalogue
from .downloads import FILTERS as DOWNLOAD_FILTERS
from .downloads import TYPES_OF_ROLE, Downloads
from .errors import RefusedError, denied, malformed, role_header_missing, service_of, unauthorized
from .fields import Body, Query, json_array, json_object, parse_object
from .identity import ROLES, Account, Identities
from .uploads import ADMINISTRATORS, TASK_FILTERS, UPLOAD_FILTERS, Uploads

ROLE_HEADER = "X-PF-DWC-Requester-Role"
MULTIPART = "multipart/form-data"
PART_TYPES = {"file": "application/pdf", "decision": "application/json"}

UPLOADER = frozenset({"ROLE_CUSTOMER_UPLOADER"})
APPROVER = frozenset({"ROLE_CUSTOMER_APPROVER"})
DOWNLOADERS = frozenset(TYPES_OF_ROLE)
UPLOAD_READERS = UPLOADER | APPROVER | ADMINISTRATORS | {"ROLE_CUSTOMER_USER"}
DOWNLOAD_READERS = DOWNLOADERS | ADMINISTRATORS


@dataclass(frozen=True)
class Call:
    """A request that may go ahead: who makes it in which role, and what it says."""

    request: web.Request
    account: Account
    role: str | None
    query: Query
    body: Body
    file: bytes | None = None

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.request.match_info["id"]


Handler = Callable[[Call], dict[str, Any] | list[Any] | None]
"""Answers a call: an object or an array, or None where the documentation shows no answer."""

Reader = Callable[[web.Request], Awaitable[tuple[Body, bytes | None]]]


async def _none(_: web.Request) -> tuple[Body, None]:
    return Body({}), None


@dataclass(frozen=True)
class Rule:
    """One call of the API. `roles` None: in any role, but without the header of a role and by technical access only."""

    method: str
    path: str
    handle: Handler
    roles: frozenset[str] | None
    read: Reader = _none
    parameters: tuple[str, ...] = ()
    role_optional: bool = False
    status: HTTPStatus = HTTPStatus.OK


def upload_rules(uploads: Uploads) -> list[Rule]:
    """Uploads and approval tasks. Completing a chunked upload is documented without the header of a role."""
    up, one, task = uploads, "/v1/uploads/{id}", "/v1/approval-tasks/{id}"

    def listed(call: Call) -> dict[str, Any]:
        return up.list_uploads(call.account, call.role, call.query)

    def decided(call: Call) -> dict[str, Any]:
        return up.decide(call.account, call.id, call.body, call.file)

    def completed(call: Call) -> dict[str, Any]:
        return up.complete(call.account, call.body)

    return [
        Rule("PUT", "/v1/uploads", lambda c: up.request_urls(c.account, c.body), UPLOADER, read_json),
        Rule("GET", "/v1/uploads", listed, UPLOAD_READERS, parameters=UPLOAD_FILTERS),
        Rule("PUT", "/v1/uploads/complete", completed, UPLOADER, read_json, role_optional=True),
        Rule("GET", one, lambda c: up.upload(c.account, c.role, c.id), UPLOAD_READERS),
        Rule("PUT", f"{one}/cancel", lambda c: up.cancel(c.account, c.id, c.body), UPLOADER, read_json),
        Rule("GET", f"{one}/generate-link", lambda c: up.link(c.account, c.role, c.id), UPLOAD_READERS),
        Rule(
            "GET", "/v1/approval-tasks", lambda c: up.list_tasks(c.account, c.query), APPROVER, parameters=TASK_FILTERS
        ),
        Rule("POST", f"{task}/decide", decided, APPROVER, _decision),
    ]


def catalogue_rules(places: Catalogue) -> list[Rule]:
    """Targets and workflows; the documentation names no role that may not look at them."""
    targets, workflows = "/v1/targets", "/v1/workflows"
    return [
        Rule("GET", targets, lambda c: places.list_targets(c.account, c.query), ROLES, parameters=TARGET_FILTERS),
        Rule("GET", f"{targets}/{{id}}", lambda c: places.target(c.account, c.id), ROLES),
        Rule("GET", workflows, lambda c: places.list_workflows(c.account, c.query), ROLES, parameters=WORKFLOW_FILTERS),
        Rule("GET", f"{workflows}/{{id}}", lambda c: places.workflow(c.account, c.id), ROLES),
    ]


def download_rules(downloads: Downloads) -> list[Rule]:
    """Downloads, their acknowledgement, and drafts (the only path that ends in a slash)."""
    down, one = downloads, "/v1/downloads/{id}"

    def listed(call: Call) -> dict[str, Any]:
        return down.list_downloads(call.account, call.role, call.query)

    def acknowledged(call: Call) -> dict[str, Any]:
        return down.acknowledge(call.account, call.role, call.id, call.body)

    return [
        Rule("GET", "/v1/downloads", listed, DOWNLOAD_READERS, parameters=DOWNLOAD_FILTERS),
        Rule("POST", "/v1/downloads/", lambda c: down.draft(c.account, c.body), None, read_json),
        Rule("GET", one, lambda c: down.download(c.account, c.role, c.id), DOWNLOAD_READERS),
        Rule("GET", f"{one}/generate-link", lambda c: down.link(c.account, c.role, c.id), DOWNLOAD_READERS),
        Rule("POST", f"{one}/acknowledge", acknowledged, DOWNLOADERS, read_json),
    ]


def caller(request: web.Request, rule: Rule, identities: Identities) -> tuple[Account, str | None]:
    """Who calls, and in which role; 401, 400 or 403 when they may not."""
    service = service_of(request.path)
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    token = identities.token(text) if scheme == "Bearer" else None
    if token is None:
        raise unauthorized(service)
    role = request.headers.get(ROLE_HEADER)
    if rule.roles is None:
        _check_technical(token.account, role)
    elif role is None and not rule.role_optional:
        raise role_header_missing(service)
    elif role is not None and (role not in token.roles or role not in rule.roles):
        raise denied(f"role {role}")
    return token.account, role


def _check_technical(account: Account, role: str | None) -> None:
    if not account.technical:
        raise RefusedError(HTTPStatus.FORBIDDEN, "client.technical_access_required", "Technical access required")
    if role is not None:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, "client.validation", "Validation error", f"{ROLE_HEADER}: must not be sent"
        )


# --- reading bodies ---


async def read_json(request: web.Request) -> tuple[Body, None]:
    """Read a body that is an object."""
    return await json_object(request), None


async def array(request: web.Request) -> tuple[Body, None]:
    """Read a body that is an array."""
    return await json_array(request), None


async def _decision(request: web.Request) -> tuple[Body, bytes | None]:
    """The two parts of a decision: `decision` is JSON, `file` is a PDF and may be missing."""
    if request.content_type != MULTIPART:
        raise malformed("Content type not supported", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    parts = await _parts(request)
    if "decision" not in parts:
        raise malformed("Required part 'decision' is not present")
    return parse_object(parts["decision"]), parts.get("file")


async def _parts(request: web.Request) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader):
                _check_part(part)
                parts[str(part.name)] = await _whole(part)
    except ValueError as error:
        raise malformed("not multipart") from error
    return parts


async def _whole(part: BodyPartReader) -> bytes:
    """A part in memory, piece by piece: aiohttp's own read knows no unlimited size."""
    chunks = []
    while chunk := await part.read_chunk():
        chunks.append(chunk)
    return b"".join(chunks)


def _check_part(part: BodyPartReader) -> None:
    wanted = PART_TYPES.get(str(part.name))
    if wanted is None:
        raise malformed(f"unknown part {part.name}")
    if part.headers.get("Content-Type", "").partition(";")[0] != wanted:
        raise malformed(f"part {part.name}: must be {wanted}", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
