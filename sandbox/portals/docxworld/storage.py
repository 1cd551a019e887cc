"""The bucket behind docxworld: presigned URLs that hold only as they were signed, objects and parts kept on disk."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BufferedReader
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

from aiohttp import web

from sandbox.portals.server import Clock, StreamedResponse

PREFIX = "/s3/"
MIN_PART_BYTES = 5 * 1024 * 1024
READ_BYTES = 256 * 1024
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
ALGORITHM = "AWS4-HMAC-SHA256"
REGION = "eu-central-1"
META_PREFIX = "x-amz-meta-"
_HOST_ONLY: Mapping[str, str] = {}


class StorageError(Exception):
    """What the storage refuses, with S3's own status and code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message

    def answer(self) -> web.Response:
        """S3's error body, which is XML."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
            f"<RequestId>{secrets.token_hex(8).upper()}</RequestId><HostId>simulated</HostId></Error>"
        )
        return web.Response(status=self.status, body=body.encode(), content_type="application/xml")


@dataclass(frozen=True)
class Blob:
    """Bytes on disk; the ETag has no quotes."""

    path: Path
    size: int
    etag: str

    def read(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on, a piece at a time."""
        with self.path.open("rb") as file:
            file.seek(start)
            yield from iter(lambda: file.read(READ_BYTES), b"")


@dataclass(frozen=True)
class StoredObject:
    """An object: one blob, or the parts of a completed chunked upload in their order."""

    blobs: tuple[Blob, ...]
    metadata: Mapping[str, str]
    created: datetime

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs)

    @property
    def etag(self) -> str:
        """The MD5 of the content, or that of the parts' MD5s with their number."""
        if len(self.blobs) == 1:
            return self.blobs[0].etag
        digests = b"".join(bytes.fromhex(blob.etag) for blob in self.blobs)
        return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(self.blobs)}"

    def read(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on, a piece at a time."""
        for blob in self.blobs:
            if start < blob.size:
                yield from blob.read(start)
            start = max(0, start - blob.size)


@dataclass
class MultipartUpload:
    """A chunked upload that is not completed; part numbers start at 1."""

    key: str
    parts: dict[int, Blob] = field(default_factory=dict)
    puts: dict[int, int] = field(default_factory=dict)


class Storage:
    """Objects by key. Its URLs are `<origin>/s3/<key>?X-Amz-…`."""

    def __init__(self, clock: Clock, folder: Path, origin: Callable[[], str]) -> None:
        self.clock = clock
        self.folder = folder
        self.origin = origin
        self.objects: dict[str, StoredObject] = {}
        self.multiparts: dict[str, MultipartUpload] = {}
        self.puts: dict[str, int] = {}
        self.flags: list[str] = []
        """What no good client does, in words: credentials on a presigned address, one key for different bytes, …"""
        self.expired_uses = 0
        self.watchers: list[Callable[[web.Request, int], object]] = []
        """Told of every piece of a body that has come: of which request, and how many bytes."""
        self._never_twice: set[str] = set()
        self._longest: dict[str, Path] = {}
        self._secret = secrets.token_bytes(32)

    # --- presigned URLs ---

    def presign(
        self,
        method: str,
        key: str,
        seconds: int,
        headers: Mapping[str, str] = _HOST_ONLY,
        parameters: Mapping[str, str] = _HOST_ONLY,
    ) -> str:
        """A URL for one method and one key that holds for `seconds` with exactly these headers."""
        now, origin = self.clock().astimezone(UTC), self.origin()
        signed = {"host": urlsplit(origin).netloc, **headers}
        query = {
            **parameters,
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Date": now.strftime(DATE_FORMAT),
            "X-Amz-SignedHeaders": ";".join(sorted(signed)),
            "X-Amz-Expires": str(seconds),
            "X-Amz-Credential": f"SIMULATED/{now:%Y%m%d}/{REGION}/s3/aws4_request",
        }
        query["X-Amz-Signature"] = self._signature(method, PREFIX + key, query, signed)
        encoded = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return f"{origin}{PREFIX}{quote(key, safe='/')}?{encoded}"

    def _signature(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        unsigned = {name: value for name, value in query.items() if name != "X-Amz-Signature"}
        text = repr((method, path, sorted(unsigned.items()), sorted((n, v.strip()) for n, v in headers.items())))
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def check(self, request: web.Request, free_metadata: bool = False) -> None:
        """Refuse a request that is not what was signed, or comes too late. Headers of S3 that were not signed are
        refused too, except for user metadata when that is left free."""
        query = dict(request.query)
        if "Authorization" in request.headers:
            self.flags.append("credentials were sent to a presigned address")
            raise _two_mechanisms()
        if "X-Amz-Signature" not in query or "X-Amz-SignedHeaders" not in query:
            raise StorageError(403, "AccessDenied", "Access Denied")
        names = query["X-Amz-SignedHeaders"].split(";")
        signed = {name: request.headers[name] for name in names if name in request.headers}
        expected = self._signature(request.method, request.path, query, signed)
        if not hmac.compare_digest(expected, query["X-Amz-Signature"]):
            raise StorageError(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        self._check_expiry(query)
        _check_unsigned(request, names, META_PREFIX if free_metadata else None)

    def _check_expiry(self, query: Mapping[str, str]) -> None:
        signed_at = datetime.strptime(query["X-Amz-Date"], DATE_FORMAT).replace(tzinfo=UTC)
        if self.clock() >= signed_at + timedelta(seconds=int(query["X-Amz-Expires"])):
            self.expired_uses += 1
            raise StorageError(403, "AccessDenied", "Request has expired")

    # --- one key and IV, one content ---

    def never_other_bytes(self, key: str) -> None:
        """Flag it when bytes are sent for this object that differ from those sent to the same address before."""
        self._never_twice.add(key)

    def _compare(self, request: web.Request, path: Path) -> None:
        """Compare what has come, whole or broken off, with the longest that came before; keep the longer one."""
        if request.path.removeprefix(PREFIX) not in self._never_twice:
            return
        slot = hashlib.sha256(f"{request.path} {request.query.get('partNumber')}".encode()).hexdigest()
        before, kept = self._longest.get(slot), self.folder / f"longest-{slot}"
        if before is not None and not _agree(before, path):
            self.flags.append(f"different bytes under one key and IV: {request.path} {request.query.get('partNumber')}")
        if before is None or before.stat().st_size < path.stat().st_size:
            kept.unlink(missing_ok=True)
            kept.hardlink_to(path)
            self._longest[slot] = kept

    # --- writing ---

    async def receive(self, request: web.Request) -> Blob:
        """Keep the body of a PUT on disk. One of unknown length is refused, and so is one that is not what its
        Content-MD5 says; one that breaks off leaves nothing."""
        if request.content_length is None:
            raise StorageError(
                501, "NotImplemented", "A header you provided implies functionality that is not implemented"
            )
        path = self.folder / uuid.uuid4().hex
        try:
            with path.open("wb") as file:
                digest = hashlib.md5(usedforsecurity=False)
                async for chunk in request.content.iter_chunked(READ_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
                    self._tell(request, len(chunk))
            self._compare(request, path)
            _check_digest(request, digest.digest())
        except BaseException:
            if path.exists():
                self._compare(request, path)
            path.unlink(missing_ok=True)
            raise
        return Blob(path, path.stat().st_size, digest.hexdigest())

    def _tell(self, request: web.Request, count: int) -> None:
        for watcher in self.watchers:
            watcher(request, count)

    def keep(self, key: str, blob: Blob, metadata: Mapping[str, str]) -> None:
        """Store an object, over one that has the key already."""
        self.objects[key] = StoredObject((blob,), metadata, self.clock())
        self.puts[key] = self.puts.get(key, 0) + 1

    def keep_part(self, upload_id: str, number: int, blob: Blob) -> None:
        """Store a part, over one that has the number already. 404 when there is no such upload (any more)."""
        upload = self.multiparts.get(upload_id)
        if upload is None:
            blob.path.unlink()
            raise StorageError(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        if number in upload.parts:
            upload.parts[number].path.unlink()
        upload.parts[number] = blob
        upload.puts[number] = upload.puts.get(number, 0) + 1
        self.puts[upload.key] = self.puts.get(upload.key, 0) + 1

    def put_content(self, key: str, content: bytes | Path, metadata: Mapping[str, str] = _HOST_ONLY) -> StoredObject:
        """Store what a test hands over. A file is read where it is, and must stay there."""
        path = content if isinstance(content, Path) else self._written(content)
        with path.open("rb") as file:
            blob = Blob(path, path.stat().st_size, _md5(file))
        self.objects[key] = StoredObject((blob,), metadata, self.clock())
        return self.objects[key]

    def _written(self, content: bytes) -> Path:
        path = self.folder / uuid.uuid4().hex
        path.write_bytes(content)
        return path

    def start_multipart(self, key: str) -> str:
        """Begin a chunked upload; answers its id."""
        upload_id = secrets.token_urlsafe(32)
        self.multiparts[upload_id] = MultipartUpload(key)
        return upload_id

    def complete_multipart(self, upload_id: str) -> StoredObject:
        """Make one object of all parts. The caller has checked them."""
        upload = self.multiparts.pop(upload_id)
        blobs = tuple(upload.parts[number] for number in sorted(upload.parts))
        self.objects[upload.key] = StoredObject(blobs, {}, self.clock())
        return self.objects[upload.key]

    # --- reading ---

    def serve(self, request: web.Request, key: str) -> web.StreamResponse:
        """The answer to a GET: the whole object, or from a byte on when a range is asked for."""
        stored = self.objects.get(key)
        if stored is None:
            raise StorageError(404, "NoSuchKey", "The specified key does not exist.")
        start, stop = _range(request, stored.size)
        headers = {
            "ETag": f'"{stored.etag}"',
            "Accept-Ranges": "bytes",
            "Last-Modified": format_datetime(stored.created.astimezone(UTC), usegmt=True),
            **stored.metadata,
        }
        partial = "Range" in request.headers
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
        return StreamedResponse(
            _first(stored.read(start), stop - start),
            size=stop - start,
            content_type="binary/octet-stream",
            status=206 if partial else 200,
            headers=headers,
        )


def _agree(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes as far as both of them go."""
    with one.open("rb") as a, other.open("rb") as b:
        while (x := a.read(READ_BYTES)) and (y := b.read(READ_BYTES)):
            if x[: len(y)] != y[: len(x)]:
                return False
    return True


def metadata_of(request: web.Request) -> dict[str, str]:
    """The user metadata that a PUT carries."""
    return {name.lower(): value for name, value in request.headers.items() if name.lower().startswith(META_PREFIX)}


def _check_unsigned(request: web.Request, signed: list[str], free: str | None) -> None:
    names = {name.lower() for name in request.headers if name.lower().startswith("x-amz-")} - set(signed)
    if not all(free is not None and name.startswith(free) for name in names):
        raise StorageError(403, "AccessDenied", "There were headers present in the request which were not signed")


def _check_digest(request: web.Request, digest: bytes) -> None:
    if request.headers.get("Content-MD5", "") not in ("", base64.b64encode(digest).decode()):
        raise StorageError(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


def _two_mechanisms() -> StorageError:
    return StorageError(
        400,
        "InvalidArgument",
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter "
        "or the Authorization header should be specified",
    )


def _range(request: web.Request, size: int) -> tuple[int, int]:
    """First byte, and the one after the last."""
    try:
        asked = request.http_range
    except ValueError:
        asked = slice(None)
    start, stop, _ = asked.indices(size)
    if "Range" in request.headers and start >= size:
        raise StorageError(416, "InvalidRange", "The requested range is not satisfiable")
    return start, stop


def _first(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        if size <= 0:
            return
        yield chunk[:size]
        size -= len(chunk)


def _md5(file: BufferedReader) -> str:
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
