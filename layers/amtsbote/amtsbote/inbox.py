"""The inbox: every file of an item is written once, and document.json last; that last write is the commit.

A file is streamed: hashed while it passes, checked, and only then visible under its key. An object that is there
already was written by an earlier try of the same item after the same checks, so it is adopted, never overwritten;
two workers on one item therefore always agree on its bytes, whatever the portal answers the second time.

Memory per file: two parts (16 MiB) plus one chunk. A file that has to be seen whole to be checked is spooled to disk.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from botocore.exceptions import ClientError

from amtsbote.errors import Quarantine, Retry
from amtsbote.keys import DOCUMENT, document_key, quarantine_key, safe_name
from amtsbote.lifecycle import Contents
from amtsbote.portals.protocols import IncomingFile
from amtsbote.storage import (
    JSON_TYPE,
    MARKED_DELETED,
    MISSING,
    TAKEN,
    code_of,
    delete_below,
    exists,
    get_or_none,
    json_text,
    put_once,
)
from amtsbote.times import written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 8 * 1024 * 1024  # S3 takes at least 5 MiB
READ_BYTES = 256 * 1024
SPOOL_BYTES = 1024 * 1024 * 1024  # what is larger and needs no check of its structure is not kept as evidence
FILE_BYTES_AT_MOST = 10_000 * PART_BYTES  # S3 takes no more parts
FILE_TOO_LARGE = "FILE_TOO_LARGE"
SCHEMA = "amtsbote.document/1"
PROCESSED_TAG = ("processed", "true")


@dataclass(frozen=True)
class StoredFile:
    """One file that is safe in the inbox; `size` in bytes, `sha256` in hexadecimal."""

    key: str
    name: str
    portal_name: str | None
    size: int
    sha256: str
    content_type: str

    def as_json(self) -> dict[str, Any]:
        """Return the entry of document.json."""
        return {
            "key": self.key,
            "name": self.name,
            "portalName": self.portal_name,
            "size": self.size,
            "sha256": self.sha256,
            "contentType": self.content_type,
        }


@dataclass(frozen=True)
class Identity:
    """Which item a document is: where it comes from, its id there, and its prefix in the inbox."""

    portal: str
    connection: str
    id: str
    prefix: str


class Inbox:
    """The inbox bucket."""

    def __init__(self, client: "S3Client", bucket: str, file_bytes_at_most: int = FILE_BYTES_AT_MOST) -> None:
        self._client = client
        self._bucket = bucket
        self._file_bytes_at_most = file_bytes_at_most

    def store_all(self, prefix: str, files: Iterable[IncomingFile], *, last_try: bool) -> list[StoredFile]:
        """Store the files of an item in order, under safe and unique names.

        Nothing is read beyond what a file announces, or beyond what any file may have.
        Quarantine when a file is unreadable; its bytes are then kept in quarantine. What looks like a passing fault is
        a Retry, until `last_try`.
        """
        stored: list[StoredFile] = []
        for file in files:
            name = safe_name(file.name, [other.name for other in stored])
            stored.append(self._store(prefix, name, file, last_try=last_try))
        return stored

    def commit(
        self, identity: Identity, files: list[StoredFile], metadata: Mapping[str, Any], now: datetime
    ) -> dict[str, Any]:
        """Write document.json, or adopt the one that another worker has written. Returns what it says."""
        document = {
            "schema": SCHEMA,
            "portal": identity.portal,
            "connection": identity.connection,
            "id": identity.id,
            "receivedAt": written(now),
            "files": [file.as_json() for file in files],
            "metadata": metadata,
        }
        key = document_key(identity.prefix)
        if put_once(self._client, self._bucket, key, json_text(document), ContentType=JSON_TYPE):
            return document
        committed = self.document(identity.prefix)
        if committed is None:  # 409: another worker's write is under way
            raise Retry("COMMIT_CONTENDED", "another worker is writing the same document.json")
        return committed

    def document(self, prefix: str) -> dict[str, Any] | None:
        """Return the item's document.json, None while the item is not there yet."""
        found = get_or_none(self._client, self._bucket, document_key(prefix))
        return None if found is None else cast(dict[str, Any], json.loads(found[0]))

    def is_committed(self, prefix: str) -> bool:
        """Return whether the item's document.json is there."""
        return exists(self._client, self._bucket, document_key(prefix))

    def is_processed(self, prefix: str) -> bool:
        """Return whether the backend has tagged document.json with processed=true."""
        try:
            answer = self._client.get_object_tagging(Bucket=self._bucket, Key=document_key(prefix))
        except ClientError as error:
            if code_of(error) in MISSING | MARKED_DELETED:
                return False
            raise
        return PROCESSED_TAG in [(tag["Key"], tag["Value"]) for tag in answer["TagSet"]]

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the objects of an item and their sizes in bytes, by key."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{prefix}/")
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}

    def documents(self, prefix: str, after: str | None) -> Iterator[tuple[str, dict[str, datetime]]]:
        """Yield, for each thousand keys below a prefix and after a key, the last of them and which are document.json.

        With each of these comes when it was written (UTC).
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, StartAfter=after or prefix
        )
        for page in pages:
            found = page.get("Contents", [])
            if found:
                written_at = {each["Key"]: each["LastModified"] for each in found}
                yield found[-1]["Key"], {key: at for key, at in written_at.items() if key.endswith(f"/{DOCUMENT}")}

    def sha256(self, key: str, check: Callable[[], None], version_id: str | None = None) -> str | None:
        """Return the SHA-256 of an object, or of a version of it, None where there is none.

        `check` is called while it is read, and may end that by an error.
        """
        version: Any = {"VersionId": version_id} if version_id else {}
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=key, **version)["Body"]
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
        digest = hashlib.sha256()
        for chunk in body.iter_chunks(READ_BYTES):
            check()
            digest.update(chunk)
        return digest.hexdigest()

    def erase(self, prefix: str) -> None:
        """Delete an item's files, document.json and what is in quarantine of it, in every version; no other item's.

        Repeating is safe. Retry when S3 does not delete all of them.
        """
        for place in (f"{prefix}/", quarantine_key(prefix, "")):
            delete_below(self._client, self._bucket, place)

    def _store(self, prefix: str, name: str, file: IncomingFile, *, last_try: bool) -> StoredFile:
        upload = _Upload(self._client, self._bucket, f"{prefix}/{name}", file.content_type)
        with upload, _spool(file) as spool:
            try:
                for chunk in file.chunks:
                    upload.write(chunk)
                    _refuse_excess(file, upload.size, self._file_bytes_at_most)
                    if spool is not None:
                        _keep(spool, chunk)
                _check(file, upload, spool)
            except Quarantine as error:
                self._set_aside(prefix, name, upload, spool, error, last_try=last_try)
                raise
            adopted = not upload.finish()
        size, sha256 = self._facts(upload.key) if adopted else (upload.size, upload.sha256)
        return StoredFile(upload.key, name, file.portal_name, size, sha256, file.content_type)

    def _set_aside(
        self, prefix: str, name: str, upload: "_Upload", spool: IO[bytes] | None, error: Quarantine, *, last_try: bool
    ) -> None:
        if error.may_pass and not last_try:
            raise Retry(error.code, error.message) from error
        if error.code == FILE_TOO_LARGE or (spool is None and upload.is_partly_sent):
            return  # its beginning is gone, and an end alone would pass for the whole
        evidence = spool if spool is not None else BytesIO(upload.buffered)
        evidence.seek(0)
        self._client.upload_fileobj(evidence, self._bucket, quarantine_key(prefix, name))

    def _facts(self, key: str) -> tuple[int, str]:
        """Return size and SHA-256 of an object as it lies in the bucket."""
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
        except ClientError as error:
            if code_of(error) in MISSING:  # 409: another worker's write is under way
                raise Retry("FILE_CONTENDED", "another worker is writing the same file") from error
            raise
        digest, size = hashlib.sha256(), 0
        for chunk in body.iter_chunks(READ_BYTES):
            digest.update(chunk)
            size += len(chunk)
        return size, digest.hexdigest()


def contents_of(document: Mapping[str, Any]) -> Contents:
    """Return what the ledger keeps of a document, given what its document.json says."""
    files = document["files"]
    names = [name for each in files for name in _names(each["name"], each.get("portalName"))]
    size = sum(each["size"] for each in files)
    return Contents(tuple(dict.fromkeys(names)), size, hashlib.sha256(json_text(document)).hexdigest())


def _names(name: str, portal_name: str | None) -> tuple[str, ...]:
    """Return the names that people know a file by: one that only has something put before it is no other name."""
    if not portal_name:
        return (name,)
    return (portal_name,) if name.endswith(portal_name) else (portal_name, name)


@contextmanager
def _spool(file: IncomingFile) -> Iterator[IO[bytes] | None]:
    """Provide a file (in memory while small) for content that may have to be seen whole, None where it need not be."""
    if file.verify is None and (file.size is None or file.size > SPOOL_BYTES):
        yield None
        return
    with SpooledTemporaryFile(max_size=PART_BYTES) as spool:
        yield cast(IO[bytes], spool)


def _refuse_excess(file: IncomingFile, received: int, at_most: int) -> None:
    if file.size is not None and received > file.size:
        raise _other_size(f"{received} or more", file.size)
    limit = at_most if file.verify is None else min(at_most, SPOOL_BYTES)
    if received > limit:
        raise Quarantine(FILE_TOO_LARGE, f"the file has more than {limit} bytes; its beginning was not kept")


def _other_size(received: str, announced: int) -> Quarantine:
    return Quarantine("SIZE_DIFFERS", f"{received} bytes came, {announced} were announced", may_pass=True)


def _keep(spool: IO[bytes], chunk: bytes) -> None:
    """Keep a piece of a file; Retry where other workers have filled the disk."""
    try:
        spool.write(chunk)
    except OSError as error:
        raise Retry("NO_ROOM", f"the disk takes no more of the file: {error.strerror}") from error


def _check(file: IncomingFile, upload: "_Upload", spool: IO[bytes] | None) -> None:
    if file.size is not None and upload.size != file.size:
        raise _other_size(str(upload.size), file.size)
    if file.verify is not None and spool is not None:
        spool.seek(0)
        file.verify(cast(BinaryIO, spool))


class _Upload:
    """One object on its way into the bucket: small ones in one call, large ones in parts; visible only by `finish`."""

    def __init__(self, client: "S3Client", bucket: str, key: str, content_type: str) -> None:
        self._client = client
        self._bucket = bucket
        self.key = key
        self._content_type = content_type
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._upload_id: str | None = None
        self._etags: list[str] = []
        self._finished = False
        self.size = 0

    def __enter__(self) -> "_Upload":
        return self

    def __exit__(self, *_: object) -> None:
        if self._upload_id is not None and not self._finished:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=self.key, UploadId=self._upload_id)

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of what was written so far."""
        return self._digest.hexdigest()

    @property
    def is_partly_sent(self) -> bool:
        """Return whether some of the content has left the buffer."""
        return bool(self._etags)

    @property
    def buffered(self) -> bytes:
        """Return what has not been sent yet; everything, while the content is smaller than a part."""
        return bytes(self._buffer)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(chunk)
        self.size += len(chunk)
        self._buffer += chunk
        while len(self._buffer) >= PART_BYTES:
            self._send_part(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def finish(self) -> bool:
        """Make the object visible; False when there is one already, which is left as it is."""
        if self._upload_id is None:
            body = bytes(self._buffer)
            self._finished = True
            return put_once(self._client, self._bucket, self.key, body, ContentType=self._content_type)
        if self._buffer:
            self._send_part(bytes(self._buffer))
        return self._complete(self._upload_id)

    def _send_part(self, part: bytes) -> None:
        if self._upload_id is None:
            created = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self.key, ContentType=self._content_type
            )
            self._upload_id = created["UploadId"]
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=self.key,
            UploadId=self._upload_id,
            PartNumber=len(self._etags) + 1,
            Body=part,
        )
        self._etags.append(answer["ETag"])

    def _complete(self, upload_id: str) -> bool:
        parts: Any = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, start=1)]
        try:
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self.key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
        except ClientError as error:
            if code_of(error) in TAKEN:
                return False
            raise
        self._finished = True
        return True
