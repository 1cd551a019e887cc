"""Control over HTTP, below `/_sandbox`: what a test calls in Python, for a demo in another process."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sandbox.portals.server import CONTROL_PREFIX

from .reading import Refused, json_object, require
from .records import Document

if TYPE_CHECKING:
    from .portal import SimulatedDigitaleGemeinde

NEW_DOCUMENT: Mapping[str, tuple[str, type]] = {
    "formId": ("form_id", str),
    "fields": ("fields", dict),
    "files": ("files", dict),
    "status": ("status", str),
    "submitted": ("submitted", str),
    "documentId": ("document_id", str),
}
NEW_FILE = frozenset({"name", "contentBase64", "contentType"})


def control_routes(portal: SimulatedDigitaleGemeinde) -> Sequence[web.AbstractRouteDef]:
    """`POST documents` (all fields optional; without a form the first one), `GET documents/{id}`, and
    `POST documents/{id}/status` as a person in the Cockpit."""

    async def add(request: web.Request) -> web.Response:
        try:
            arguments = _document(await json_object(request))
            form_id = arguments.pop("form_id", None) or next(iter(portal.forms), "")
            document = portal.documents[portal.add_document(form_id, **arguments)]
        except (Refused, ValueError) as error:
            return portal.error(400, str(error))
        return web.json_response(document.row(portal.options.time_zone), status=201)

    async def show(request: web.Request) -> web.Response:
        document = portal.documents.get(request.match_info["id"])
        return portal.error(404, "Not Found") if document is None else web.json_response(_summary(document))

    async def change(request: web.Request) -> web.Response:
        id = request.match_info["id"]
        try:
            body = await json_object(request)
            portal.set_status(id, str(body.get("status")))
        except (Refused, ValueError) as error:
            return portal.error(400, str(error))
        return web.json_response(_summary(portal.documents[id]))

    documents = f"{CONTROL_PREFIX}/documents"
    return [
        web.post(documents, add),
        web.get(f"{documents}/{{id}}", show),
        web.post(f"{documents}/{{id}}/status", change),
    ]


def _summary(document: Document) -> dict[str, Any]:
    """What became of a document, without what is in it."""
    return {
        "documentId": document.id,
        "status": document.status,
        "history": [[change.status, change.who] for change in document.history],
        "uploads": {str(id): [file.name for file in files] for id, files in document.uploads.items()},
        "refunds": document.refunds,
    }


def _document(body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `add_document`; null counts as absent."""
    require(set(body) <= set(NEW_DOCUMENT), f"a document is an object of {', '.join(NEW_DOCUMENT)}")
    given = {name: value for name, value in body.items() if value is not None}
    wrong = [name for name, value in given.items() if type(value) is not NEW_DOCUMENT[name][1]]
    require(not wrong, f"of a wrong type: {', '.join(wrong)}")
    arguments = {NEW_DOCUMENT[name][0]: value for name, value in given.items()}
    if "files" in arguments:
        arguments["files"] = {name: [_file(each) for each in files] for name, files in arguments["files"].items()}
    if "submitted" in arguments:
        arguments["submitted"] = _instant(arguments["submitted"])
    return arguments


def _instant(text: str) -> datetime:
    """A time stamp; without a zone it is UTC."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _file(body: object) -> tuple[str, bytes, str]:
    if not isinstance(body, dict) or set(body) != NEW_FILE:
        raise Refused(400, f"a file is an object of {', '.join(sorted(NEW_FILE))}")
    try:
        return str(body["name"]), base64.b64decode(body["contentBase64"], validate=True), str(body["contentType"])
    except (TypeError, binascii.Error) as error:
        raise Refused(400, "contentBase64 is no base64") from error
