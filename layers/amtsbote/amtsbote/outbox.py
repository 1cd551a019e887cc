"""The outbox: one version of a dropped object, and how its bytes are read."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO, RawIOBase
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from amtsbote.chain import provenance_of, without_mark
from amtsbote.errors import Reject, Retry
from amtsbote.keys import DropAddress, drop_reference
from amtsbote.messages import DropRequest
from amtsbote.portals.protocols import UNREADABLE, Drop
from amtsbote.storage import MARKED_DELETED, MISSING, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UNNAMED_VERSION = "null"
FIRST_BYTES = 64 * 1024  # of a drop, which come with the answer that says how large it is; most drops are no larger
NOTHING_THERE = "InvalidRange"  # what S3 answers to a range of an empty object
SKIP_BYTES = 1024 * 1024
BROKEN_LINE = (BotoCoreError, HTTPError, OSError)  # whichever layer notices first


class Dropped(NamedTuple):
    """One version in the outbox, and when it was written (UTC)."""

    key: str
    version_id: str
    at: datetime


@dataclass(frozen=True)
class Version:
    """One version of an outbox object; `sequence` orders the versions of one key as text."""

    bucket: str
    key: str
    version_id: str
    sequence: str


class Content(RawIOBase):
    """The bytes of an object as they come; Retry where the line to the outbox breaks."""

    def __init__(self, body: BinaryIO) -> None:
        super().__init__()
        self._body = body

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to so many bytes, all that are left where none are named."""
        try:
            return self._body.read() if size is None or size < 0 else self._body.read(size)
        except BROKEN_LINE as error:
            raise _unreadable(error) from error

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def close(self) -> None:
        """Let the line go."""
        self._body.close()
        super().close()


class Outbox:
    """The outbox bucket."""

    def __init__(self, client: "S3Client") -> None:
        self._client = client

    def versions(self, request: DropRequest) -> Iterator[Version]:
        """Yield the version that an event speaks of; all versions of the key where the event names none."""
        bucket, dropped = request.detail.bucket.name, request.detail.object
        if dropped.version_id != UNNAMED_VERSION:
            yield Version(bucket, dropped.key, dropped.version_id, dropped.sequencer)
            return
        yield from self._all_versions(bucket, dropped.key)

    def drop(self, version: Version, address: DropAddress) -> Drop:
        """Return the drop that a version is, a small one read already. Reject when the object has vanished since."""
        try:
            facts, first = self._look(version)
        except ClientError as error:
            if code_of(error) in MISSING | MARKED_DELETED:
                raise Reject(
                    "OBJECT_VANISHED", "the object was deleted before it could be delivered; drop it again"
                ) from error
            raise
        except BROKEN_LINE as error:
            raise _unreadable(error) from error
        return self._drop_of(version, address, facts, first)

    def dropped(self, bucket: str, prefix: str, after: str | None) -> Iterator[tuple[str, list[Dropped]]]:
        """Yield the versions below a prefix, a thousand at a time, each time with the place that they end at.

        They come by key and then newest first; `after` is such a place.
        """
        version, _, key = (after or "").partition(" ")
        place: Any = {"KeyMarker": key, "VersionIdMarker": version} if after else {}
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix, **place)
        for page in pages:
            found = [Dropped(each["Key"], each["VersionId"], each["LastModified"]) for each in page.get("Versions", [])]
            if found:
                yield f"{found[-1].version_id} {found[-1].key}", found

    def erase(self, bucket: str, key: str, version_id: str) -> None:
        """Delete one version of an object for good; one that is not there is no error."""
        self._client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)

    def _look(self, version: Version) -> tuple[Mapping[str, Any], bytes]:
        """Return what S3 says of a version, and its first bytes."""
        place: Any = {"Bucket": version.bucket, "Key": version.key, "VersionId": version.version_id}
        try:
            answer = self._client.get_object(**place, Range=f"bytes=0-{FIRST_BYTES - 1}")
        except ClientError as error:
            if code_of(error) != NOTHING_THERE:
                raise
            return cast(Any, self._client.head_object(**place)), b""
        with closing(Content(cast(BinaryIO, answer["Body"]))) as body:
            return answer, _read_whole(body, min(_size_of(answer), FIRST_BYTES))

    def _drop_of(self, version: Version, address: DropAddress, facts: Mapping[str, Any], first: bytes = b"") -> Drop:
        metadata = {name.lower(): value for name, value in facts.get("Metadata", {}).items()}
        return Drop(
            key=version.key,
            version_id=version.version_id,
            path=address.path,
            size=_size_of(facts),
            content_type=facts.get("ContentType", "application/octet-stream"),
            metadata=without_mark(metadata),
            reference=drop_reference(version.bucket, version.key, version.version_id),
            read=lambda start, length: self._part(version, start, length, first),
            bucket=version.bucket,
            modified=facts.get("LastModified"),
            beside=lambda name: self._beside(version, address, name),
            provenance=provenance_of(metadata),
        )

    def _beside(self, version: Version, address: DropAddress, name: str) -> Drop | None:
        """Return the newest version of the object of that name beside a drop, None where there is none."""
        key = f"{version.key.rpartition('/')[0]}/{name}"
        try:
            head = self._client.head_object(Bucket=version.bucket, Key=key)
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
        found = Version(version.bucket, key, head.get("VersionId", UNNAMED_VERSION), version.sequence)
        return self._drop_of(found, replace(address, path=(*address.path[:-1], name)), cast(Any, head))

    def _part(self, version: Version, start: int, length: int, first: bytes) -> BinaryIO:
        end = start + length
        return BytesIO(first[start:end]) if end <= len(first) else self._read(version, start, length)

    def _read(self, version: Version, start: int, length: int) -> BinaryIO:
        try:
            answer = self._client.get_object(
                Bucket=version.bucket,
                Key=version.key,
                VersionId=version.version_id,
                Range=f"bytes={start}-{start + length - 1}",
            )
        except ClientError as error:
            if code_of(error) in MISSING:
                raise Reject("OBJECT_VANISHED", "the object was deleted while it was delivered") from error
            raise Retry(UNREADABLE, f"the outbox answered {code_of(error)}") from error
        except BROKEN_LINE as error:
            raise _unreadable(error) from error
        body = cast(BinaryIO, Content(cast(BinaryIO, answer["Body"])))
        if answer.get("ContentRange") is None:  # a server may ignore the range and answer with the whole object
            _skip(body, start)
        return body

    def _all_versions(self, bucket: str, key: str) -> Iterator[Version]:
        """Yield all versions of a key, oldest first. Each is delivered once, so too many do no harm."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
        found = [each for page in pages for each in page.get("Versions", []) if each["Key"] == key]
        for number, each in enumerate(reversed(found)):
            yield Version(bucket, key, each["VersionId"], f"{each['LastModified']:%Y%m%dT%H%M%S}-{number:06d}")


def _size_of(facts: Mapping[str, Any]) -> int:
    """Return an object's whole length, also where a range of it was answered."""
    whole = facts.get("ContentRange", "").rpartition("/")[2]
    return int(whole or facts["ContentLength"])


def _read_whole(body: Content, length: int) -> bytes:
    blocks = bytearray()
    while len(blocks) < length:
        block = body.read(length - len(blocks))
        if not block:
            raise Retry(UNREADABLE, "the object is shorter than it was")
        blocks += block
    return bytes(blocks)


def _skip(body: BinaryIO, count: int) -> None:
    while count > 0:
        skipped = len(body.read(min(count, SKIP_BYTES)))
        if skipped == 0:
            raise Retry(UNREADABLE, "the object is shorter than it was")
        count -= skipped


def _unreadable(error: Exception) -> Retry:
    return Retry(UNREADABLE, f"the dropped object cannot be read: {type(error).__name__}")
