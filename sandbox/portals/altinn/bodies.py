"""Reading what a client sends: JSON, a data element, or an instance with its data elements in parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.multipart import content_disposition_filename, parse_content_disposition

from .errors import Refusal, bad_request

JSON = "application/json"
MULTIPART = "multipart/form-data"
MAX_REQUEST_BYTES = 2000 * 1024 * 1024


@dataclass(frozen=True)
class Part:
    """One file as it came: a part of a multipart body, or a whole body. `name` is the part's; None for a whole body."""

    name: str | None
    filename: str | None
    content_type: str | None
    content: bytes


async def nothing(_: web.Request) -> None:
    """A call whose body is not read."""


async def json_object(request: web.Request) -> dict[str, Any]:
    """A JSON object; 415 for another content type, 400 for another content."""
    if request.content_type != JSON:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return parse_object(await request.read())


async def optional_object(request: web.Request) -> dict[str, Any]:
    """The same, where no body at all counts as an empty object."""
    return await json_object(request) if request.body_exists and await request.read() else {}


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object from bytes."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise bad_request("The body is no JSON") from error
    if not isinstance(document, dict):
        raise bad_request("The body must be a JSON object")
    return document


async def one_file(request: web.Request) -> Part:
    """A data element: the whole body, or the first part of a multipart body."""
    _check_length(request)
    if request.content_type == MULTIPART:
        parts = await multipart(request)
        return parts[0]
    declared = request.headers.get("Content-Type")
    filename = _filename(request.headers)
    return Part(None, filename, declared, await request.read())


async def form_file(request: web.Request) -> Part:
    """A file that must come as form data."""
    if request.content_type != MULTIPART:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return (await multipart(request))[0]


async def instance_parts(request: web.Request) -> list[Part]:
    """The parts of an instantiation; empty when there is no body. Any other content type is refused with 415."""
    _check_length(request)
    if request.content_type == MULTIPART:
        return await multipart(request)
    if request.body_exists and await request.read():
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return []


async def instance_parts_or_json(request: web.Request) -> list[Part]:
    """The same, where a JSON body is the template alone."""
    if request.content_type == JSON and request.body_exists:
        return [Part("instance", None, JSON, await request.read())]
    return await instance_parts(request)


async def multipart(request: web.Request) -> list[Part]:
    """All parts of a multipart body, at least one."""
    try:
        reader = await request.multipart()
        parts = [await _part(part) async for part in reader if isinstance(part, BodyPartReader)]
    except ValueError as error:
        raise bad_request("The body is not multipart") from error
    if not parts:
        raise bad_request("The body has no part")
    return parts


async def _part(part: BodyPartReader) -> Part:
    """A part in memory, piece by piece: aiohttp's own read knows no unlimited size."""
    chunks = []
    while chunk := await part.read_chunk():
        chunks.append(chunk)
    return Part(part.name, part.filename, part.headers.get("Content-Type"), b"".join(chunks))


def _check_length(request: web.Request) -> None:
    if (request.content_length or 0) > MAX_REQUEST_BYTES:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _filename(headers: Mapping[str, str]) -> str | None:
    """The file name of a Content-Disposition, `filename*` before `filename`. A header in bytes beyond ASCII is
    refused: what it means is nobody's agreement."""
    disposition = headers.get("Content-Disposition")
    if disposition is None:
        return None
    if not disposition.isascii():
        raise bad_request("Content-Disposition must be ASCII; other characters go into filename*")
    kind, parameters = parse_content_disposition(disposition)
    if kind is None:
        raise bad_request("Content-Disposition cannot be read")
    return content_disposition_filename(parameters)
