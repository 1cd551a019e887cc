"""The ways in which docxworld says no: the services' code prefixes, and the body that every refusal carries."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus

from aiohttp import web

MILLISECONDS = 1000
RESOURCE = 2  # "/v1/uploads/…" split at the slashes: the third piece names the resource


class Service(StrEnum):
    """The services behind the one API; the value is what their message codes begin with."""

    UPLOAD = "de.profiforms.docxworld.upload.error"
    COMPANY = "de.profiforms.docxworld.connect.company.error"
    DOWNLOAD = "de.profiforms.docxworld.connect.download.error"
    USERS = "de.profiforms.docxworld.connect.usermanagement.error"


_SERVICE_OF_PATH = {
    "uploads": Service.UPLOAD,
    "approval-tasks": Service.UPLOAD,
    "targets": Service.COMPANY,
    "workflows": Service.COMPANY,
    "companies": Service.COMPANY,
    "customer-contracts": Service.COMPANY,
    "downloads": Service.DOWNLOAD,
}
_NO_ROLE_HEADER = {Service.UPLOAD: "client.bad_request"}
_UNAUTHORIZED = {Service.UPLOAD: "client.unauthorized"}


def service_of(path: str) -> Service:
    """The service that answers a path of the API, `/v1/<resource>/…`."""
    parts = path.split("/")
    return _SERVICE_OF_PATH.get(parts[RESOURCE] if len(parts) > RESOURCE else "", Service.USERS)


@dataclass
class RefusedError(Exception):
    """A request that docxworld refuses; `code` is the part of the message code after the service's prefix."""

    status: HTTPStatus
    code: str
    message: str
    debug: str | None = None


def invalid(debug: str) -> RefusedError:
    """400: a value breaks its documented constraint."""
    return RefusedError(HTTPStatus.BAD_REQUEST, "client.validation", "Validation error", debug)


def malformed(debug: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> RefusedError:
    """400 (or 415): the body cannot be read as what is documented."""
    return RefusedError(status, "client.malformed_request", "Malformed JSON request", debug)


def bad_sort(debug: str) -> RefusedError:
    """400: a sort that is not allowed here."""
    return RefusedError(
        HTTPStatus.BAD_REQUEST, "client.invalid_sort_argument", "Invalid sort argument exception", debug
    )


def refused(code: str, message: str, debug: str | None = None) -> RefusedError:
    """400 with one of the documented codes."""
    return RefusedError(HTTPStatus.BAD_REQUEST, code, message, debug)


def not_found(code: str, message: str, debug: str | None = None) -> RefusedError:
    """404 with one of the documented codes."""
    return RefusedError(HTTPStatus.NOT_FOUND, code, message, debug)


def denied(debug: str) -> RefusedError:
    """403: the caller may not do this in this role."""
    return RefusedError(HTTPStatus.FORBIDDEN, "client.access_denied", "Access denied", debug)


def role_header_missing(service: Service) -> RefusedError:
    """400; the upload service lists no code of its own for it and says bad request."""
    code = _NO_ROLE_HEADER.get(service, "client.role_header_missing")
    return refused(code, "Required request header is missing", "X-PF-DWC-Requester-Role")


def unauthorized(service: Service) -> RefusedError:
    """401: no access token, or one that is not good (any more)."""
    code = _UNAUTHORIZED.get(service, "client.access_denied")
    return RefusedError(HTTPStatus.UNAUTHORIZED, code, "Unauthorized access error.")


def error_answer(refusal: RefusedError, path: str, now: datetime) -> web.Response:
    """The documented error body; the status is its name, as in the examples."""
    service = service_of(path)
    body = {
        "id": str(uuid.uuid4()),
        "status": refusal.status.name,
        "timestamp": str(int(now.timestamp() * MILLISECONDS)),
        "message": refusal.message,
        "messageCode": f"{service}.{refusal.code}",
        "debugMessages": [refusal.debug],
        "path": path,
    }
    return web.Response(status=refusal.status, body=json.dumps(body).encode(), content_type="application/json")
