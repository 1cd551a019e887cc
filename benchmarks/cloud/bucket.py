"""Objects in memory, and large ones in files: conditional writes, ranges, what S3 answers of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

VERSION = "version-1"
META = "x-amz-meta-"


@dataclass(frozen=True)
class StoredObject:
    """One object: its bytes, or the file that holds them."""

    body: bytes | Path
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.body.stat().st_size if isinstance(self.body, Path) else len(self.body)

    @property
    def etag(self) -> str:
        """Its ETag; of a file only something that stays the same."""
        content = str(self.body).encode() if isinstance(self.body, Path) else self.body
        return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'

    def headers(self) -> dict[str, str]:
        """What S3 says of it."""
        own = {"ETag": self.etag, "x-amz-version-id": VERSION, "Content-Type": self.content_type}
        own["Last-Modified"] = "Thu, 19 Feb 2026 14:30:00 GMT"
        return own | {META + name: value for name, value in self.metadata.items()}


class Buckets:
    """All objects by "bucket/key"; `documents` counts those that are a document.json."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.documents = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of the REST API; 501 for what is not known here."""
        path = request.path.strip("/")
        if not path.partition("/")[2]:
            return _error(501, "NotImplemented")
        if request.method == "PUT" and set(request.query) <= {"x-id"}:
            return await self._put(request, path)
        found = self.objects.get(path)
        if request.method not in ("GET", "HEAD") or set(request.query) - {"versionId", "x-id"}:
            return _error(501, "NotImplemented")
        if found is None:
            return web.Response(status=404) if request.method == "HEAD" else _error(404, "NoSuchKey")
        return await _head(request, found) if request.method == "HEAD" else _content(request, found)

    async def _put(self, request: web.Request, path: str) -> web.StreamResponse:
        body = await request.read()
        known = self.objects.get(path)
        expected = request.headers.get("If-Match")
        if (request.headers.get("If-None-Match") == "*" and known) or (expected and known and known.etag != expected):
            return _error(412, "PreconditionFailed")
        if expected and known is None:
            return _error(404, "NoSuchKey")
        kind = request.headers.get("Content-Type", "binary/octet-stream")
        names = [name for name in request.headers if name.lower().startswith(META)]
        metadata = {name.lower().removeprefix(META): request.headers[name] for name in names}
        self.documents += known is None and path.endswith("/document.json")
        self.objects[path] = stored = StoredObject(body, kind, metadata)
        return web.Response(headers={"ETag": stored.etag, "x-amz-version-id": VERSION})


async def _head(request: web.Request, found: StoredObject) -> web.StreamResponse:
    answer = web.StreamResponse(headers=found.headers())
    answer.content_length = found.size
    await answer.prepare(request)
    return answer


def _content(request: web.Request, found: StoredObject) -> web.StreamResponse:
    if isinstance(found.body, Path):
        return web.FileResponse(found.body, headers=found.headers(), chunk_size=1024 * 1024)
    asked = request.http_range
    if asked.start is None:
        return web.Response(body=found.body, headers=found.headers())
    part = found.body[asked]
    place = f"bytes {asked.start}-{asked.start + len(part) - 1}/{found.size}"
    return web.Response(status=206, body=part, headers=found.headers() | {"Content-Range": place})


def _error(status: int, code: str) -> web.Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return web.Response(status=status, body=body.encode(), content_type="application/xml")
