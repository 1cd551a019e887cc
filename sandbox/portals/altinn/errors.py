"""The ways in which Altinn says no: problem details, plain text, or a list of validation issues."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web


@dataclass
class Refusal(Exception):
    """A request that is not carried out. `body` goes out as JSON, a string as plain text, None as no body at all."""

    status: HTTPStatus
    body: Any = None

    def answer(self) -> web.Response:
        """The refusal as it is sent."""
        if isinstance(self.body, str):
            return web.Response(status=self.status, text=self.body)
        return web.Response(status=self.status) if self.body is None else json_answer(self.body, self.status)


def problem(status: HTTPStatus, detail: str) -> Refusal:
    """A refusal with problem details (RFC 7807), as the apps give them."""
    return Refusal(status, {"title": status.phrase, "status": status.value, "detail": detail})


def bad_request(detail: str) -> Refusal:
    """400 with plain text."""
    return Refusal(HTTPStatus.BAD_REQUEST, detail)


def not_found(detail: str) -> Refusal:
    """404 with plain text."""
    return Refusal(HTTPStatus.NOT_FOUND, detail)


def forbidden() -> Refusal:
    """403 without a body."""
    return Refusal(HTTPStatus.FORBIDDEN)


def broken_query(detail: str) -> Refusal:
    """500 with plain text: how Storage answers a query that its database cannot read."""
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"Unable to perform query: {detail}")


def json_answer(document: Any, status: int = HTTPStatus.OK) -> web.Response:
    """A JSON document with a Content-Length."""
    body = json.dumps(document, ensure_ascii=False).encode()
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8")
