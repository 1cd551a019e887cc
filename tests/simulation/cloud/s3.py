"""S3 in memory: versioned buckets, conditional writes, ranges, multipart uploads."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import BytesIO
from typing import Any, Protocol

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from tests.simulation.cloud.client import PAGE_SIZE, Answer, Client, Clock, Pages, in_pages
from tests.simulation.cloud.errors import (
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    RANGE_NOT_SATISFIABLE,
    Exceptions,
    refused,
    unsendable,
)

DEFAULT_TYPE = "binary/octet-stream"
KEY_BYTES = 1024
SMALLEST_PART_BYTES = 5 * 1024 * 1024
MOST_PARTS = 10_000
MOST_DELETED = 1000
ANY = "*"
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
CODES = ("NoSuchBucket", "NoSuchKey", "NoSuchUpload")


class Readable(Protocol):
    """A file, as far as an upload needs one."""

    def read(self) -> bytes:
        """Return the rest of the content."""


Content = bytes | bytearray | Readable


@dataclass(frozen=True)
class Version:
    """One version of an object, or a delete marker; `deleted` once it has been removed for good."""

    number: int
    body: bytes
    etag: str
    content_type: str
    metadata: Mapping[str, str]
    written_at: datetime
    is_delete_marker: bool = False
    deleted: bool = False

    @property
    def id(self) -> str:
        """The version id."""
        return f"version-{self.number:06d}"


Versions = list[Version]
Observer = Callable[[str, str, Version], None]
Listed = tuple[str, Version, bool]
"""A key, one of its versions, and whether that is the latest."""


@dataclass
class Upload:
    """A multipart upload that is under way."""

    bucket: str
    key: str
    content_type: str
    parts: dict[int, bytes] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


class InMemoryS3(Client):
    """A stand-in for the S3 client; all its buckets are versioned.

    `observers` are called after each write and each deletion, with bucket, key and the version that was written (an
    object or a delete marker) or removed (`deleted`). Moments have whole seconds, as S3's.
    """

    exceptions = Exceptions(*CODES)

    def __init__(
        self,
        clock: Clock,
        buckets: Iterable[str],
        *,
        page_size: int = PAGE_SIZE,
        smallest_part_bytes: int = SMALLEST_PART_BYTES,
    ) -> None:
        super().__init__(clock)
        self.observers: list[Observer] = []
        self._page_size = page_size
        self._smallest_part_bytes = smallest_part_bytes
        self._buckets: dict[str, dict[str, Versions]] = {name: {} for name in buckets}
        self._uploads: dict[str, Upload] = {}
        self._completed: dict[str, tuple[object, Answer]] = {}
        self._tags: dict[str, list[dict[str, str]]] = {}

    # --- what the simulation looks at ---

    def keys(self, bucket: str) -> list[str]:
        """Return the keys of the objects that are there now, in the order of S3's lists."""
        return [key for key, _ in self._current_objects(bucket, "")]

    def all_keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys that begin so of which there is any version, delete markers too."""
        return [key for key in self._buckets[bucket] if key.startswith(prefix)]

    def versions(self, bucket: str, key: str) -> Sequence[Version]:
        """Return the versions of a key, delete markers too, the newest first."""
        return self._buckets[bucket].get(key, [])[::-1]

    @property
    def uploads(self) -> Sequence[Upload]:
        """The multipart uploads that were neither completed nor aborted."""
        return list(self._uploads.values())

    # --- one object ---

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: Content = b"",
        IfNoneMatch: str | None = None,
        IfMatch: str | None = None,
        ContentType: str = DEFAULT_TYPE,
        Metadata: Mapping[str, str] | None = None,
    ) -> Answer:
        """Write a version; 412 or 404 when a condition does not hold."""
        versions = self._versions_to_write("PutObject", Bucket, Key)
        _check_conditions("PutObject", versions, IfNoneMatch, IfMatch)
        body = _bytes_of(Body)
        version = self._write(Bucket, Key, body, _etag(body), ContentType, _as_sent(Metadata or {}))
        return {"ETag": version.etag, "VersionId": version.id}

    def get_object(
        self,
        *,
        Bucket: str,
        Key: str,
        VersionId: str | None = None,
        Range: str | None = None,
        IfMatch: str | None = None,
    ) -> Answer:
        """Return an object's current version or the named one, whole or in part."""
        version = self._version("GetObject", Bucket, Key, VersionId)
        if IfMatch is not None and not _is_same(version.etag, IfMatch):
            raise refused("GetObject", "PreconditionFailed", status=PRECONDITION_FAILED)
        body, extra = _part_of(version.body, Range)
        stream: Any = BytesIO(body)
        return _facts(version, len(body)) | {"Body": StreamingBody(stream, len(body))} | extra

    def head_object(self, *, Bucket: str, Key: str, VersionId: str | None = None) -> Answer:
        """Return what S3 says of an object; an error has no body, so its code is the HTTP status."""
        try:
            version = self._version("HeadObject", Bucket, Key, VersionId)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            raise refused("HeadObject", str(status), status=status) from None
        return _facts(version, len(version.body))

    def delete_object(self, *, Bucket: str, Key: str, VersionId: str | None = None) -> Answer:
        """Put a delete marker on an object, or remove one version for good; one that is not there is no error."""
        if VersionId is None:
            self._versions_to_write("DeleteObject", Bucket, Key)
            marker = self._write(Bucket, Key, b"", "", "", {}, is_delete_marker=True)
            return {"DeleteMarker": True, "VersionId": marker.id}
        removed = self._remove(Bucket, Key, VersionId)
        return {"VersionId": VersionId} | ({"DeleteMarker": True} if removed and removed.is_delete_marker else {})

    def delete_objects(self, *, Bucket: str, Delete: Mapping[str, Any]) -> Answer:
        """Remove up to a thousand versions for good; one that is not there is no error."""
        if not 1 <= len(Delete["Objects"]) <= MOST_DELETED:
            raise refused("DeleteObjects", "MalformedXML", "The XML you provided was not well-formed")
        if Delete.get("Quiet") is not True or any(each.keys() != {"Key", "VersionId"} for each in Delete["Objects"]):
            raise NotImplementedError("to delete without naming a version, or to be told of each")
        for each in Delete["Objects"]:
            self._remove(Bucket, each["Key"], each["VersionId"])
        return {}

    def upload_fileobj(self, Fileobj: Readable, Bucket: str, Key: str) -> None:
        """Write the rest of a file."""
        self.put_object(Bucket=Bucket, Key=Key, Body=Fileobj)

    def get_object_tagging(self, *, Bucket: str, Key: str) -> Answer:
        """Return the tags of an object's current version."""
        version = self._tagged("GetObjectTagging", Bucket, Key)
        return {"VersionId": version.id, "TagSet": [dict(tag) for tag in self._tags.get(version.id, [])]}

    def put_object_tagging(self, *, Bucket: str, Key: str, Tagging: Mapping[str, Any]) -> Answer:
        """Replace the tags of an object's current version."""
        version = self._tagged("PutObjectTagging", Bucket, Key)
        self._tags[version.id] = [dict(tag) for tag in Tagging["TagSet"]]
        return {"VersionId": version.id}

    # --- multipart uploads ---

    def create_multipart_upload(
        self, *, Bucket: str, Key: str, ContentType: str = DEFAULT_TYPE, Metadata: Mapping[str, str] | None = None
    ) -> Answer:
        """Begin an upload in parts."""
        self._versions_to_write("CreateMultipartUpload", Bucket, Key)
        upload_id = f"upload-{self._next_number():06d}"
        self._uploads[upload_id] = Upload(Bucket, Key, ContentType, metadata=_as_sent(Metadata or {}))
        return {"Bucket": Bucket, "Key": Key, "UploadId": upload_id}

    def upload_part(self, *, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: Content) -> Answer:
        """Take a part; one of the same number is replaced."""
        upload = self._upload("UploadPart", Bucket, Key, UploadId)
        if not 1 <= PartNumber <= MOST_PARTS:
            raise refused("UploadPart", "InvalidArgument", "Part number must be an integer between 1 and 10000")
        upload.parts[PartNumber] = body = _bytes_of(Body)
        return {"ETag": _etag(body)}

    def upload_part_copy(
        self,
        *,
        Bucket: str,
        Key: str,
        UploadId: str,
        PartNumber: int,
        CopySource: Mapping[str, str],
        CopySourceRange: str,
    ) -> Answer:
        """Take a part from another object, of which it is these bytes."""
        self._upload("UploadPartCopy", Bucket, Key, UploadId)
        source = self._version("UploadPartCopy", CopySource["Bucket"], CopySource["Key"], None)
        found = RANGE.fullmatch(CopySourceRange)
        if found is None or not found[2] or int(found[2]) >= len(source.body):
            raise refused("UploadPartCopy", "InvalidArgument", "The range is not valid for the source object")
        part = source.body[int(found[1]) : int(found[2]) + 1]
        taken = self.upload_part(Bucket=Bucket, Key=Key, UploadId=UploadId, PartNumber=PartNumber, Body=part)
        return {"CopyPartResult": taken}

    def complete_multipart_upload(
        self,
        *,
        Bucket: str,
        Key: str,
        UploadId: str,
        MultipartUpload: Mapping[str, Any],
        IfNoneMatch: str | None = None,
    ) -> Answer:
        """Make the parts an object. One that is refused stays under way, until it is aborted.

        A repeat of what has succeeded is answered as it was, which AWS does and does not document.
        """
        repeated = self._completed.get(UploadId)
        if repeated is not None and repeated[0] == (Bucket, Key, MultipartUpload):
            return dict(repeated[1])
        upload = self._upload("CompleteMultipartUpload", Bucket, Key, UploadId)
        parts = self._chosen_parts(upload, MultipartUpload["Parts"])
        _check_conditions("CompleteMultipartUpload", self._buckets[Bucket].get(Key, []), IfNoneMatch, None)
        del self._uploads[UploadId]
        version = self._write(Bucket, Key, b"".join(parts), _etag_of_parts(parts), upload.content_type, upload.metadata)
        answer = {"Bucket": Bucket, "Key": Key, "ETag": version.etag, "VersionId": version.id}
        self._completed[UploadId] = (Bucket, Key, MultipartUpload), answer
        return dict(answer)

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> Answer:
        """Forget an upload and its parts."""
        self._upload("AbortMultipartUpload", Bucket, Key, UploadId)
        del self._uploads[UploadId]
        return {}

    # --- lists ---

    def _paginators(self) -> dict[str, Pages]:
        return {
            "list_objects_v2": self._object_pages,
            "list_object_versions": self._version_pages,
            "list_parts": self._part_pages,
        }

    def _object_pages(self, *, Bucket: str, Prefix: str = "", StartAfter: str = "") -> Iterator[Answer]:
        self._keys("ListObjectsV2", Bucket)

        def listed() -> list[tuple[str, Version]]:
            return [each for each in self._current_objects(Bucket, Prefix) if each[0].encode() > StartAfter.encode()]

        for page, more in in_pages(listed, _place_of_object, self._page_size):
            contents = [_listed_object(key, version) for key, version in page]
            answer = {"Name": Bucket, "Prefix": Prefix, "KeyCount": len(page), "IsTruncated": more}
            yield answer | ({"Contents": contents} if contents else {})

    def _version_pages(
        self, *, Bucket: str, Prefix: str = "", Delimiter: str = "", KeyMarker: str = "", VersionIdMarker: str = ""
    ) -> Iterator[Answer]:
        """List versions; what lies behind a delimiter is left out, and not told of as S3 does (`CommonPrefixes`)."""
        self._keys("ListObjectVersions", Bucket)

        def listed() -> list[Listed]:
            found = self._all_versions(Bucket, Prefix)
            marker = next((each for each in found if (each[0], each[1].id) == (KeyMarker, VersionIdMarker)), None)
            if KeyMarker and marker is None:
                raise NotImplementedError("to go on behind a version that is not there")
            found = found[found.index(marker) + 1 :] if marker else found
            return [each for each in found if not Delimiter or Delimiter not in each[0].removeprefix(Prefix)]

        for page, more in in_pages(listed, _place_of_version, self._page_size):
            versions = [_listed_version(each) for each in page if not each[1].is_delete_marker]
            markers = [_listed_marker(each) for each in page if each[1].is_delete_marker]
            answer = {"Name": Bucket, "Prefix": Prefix, "IsTruncated": more}
            answer |= {"Versions": versions} if versions else {}
            yield answer | ({"DeleteMarkers": markers} if markers else {})

    def _part_pages(self, *, Bucket: str, Key: str, UploadId: str) -> Iterator[Answer]:
        upload = self._upload("ListParts", Bucket, Key, UploadId)
        parts = [{"PartNumber": number, "ETag": _etag(body)} for number, body in sorted(upload.parts.items())]
        yield {"Bucket": Bucket, "Key": Key, "UploadId": UploadId} | ({"Parts": parts} if parts else {})

    def _current_objects(self, bucket: str, prefix: str) -> list[tuple[str, Version]]:
        newest = [(key, found[-1]) for key, found in self._buckets[bucket].items() if key.startswith(prefix)]
        return sorted((each for each in newest if not each[1].is_delete_marker), key=_place_of_object)

    def _all_versions(self, bucket: str, prefix: str) -> list[Listed]:
        keys = ((key, found) for key, found in self._buckets[bucket].items() if key.startswith(prefix))
        listed = [(key, version, version is found[-1]) for key, found in keys for version in found]
        return sorted(listed, key=_place_of_version)

    # --- the buckets ---

    def _keys(self, operation: str, bucket: str) -> dict[str, Versions]:
        keys = self._buckets.get(bucket)
        if keys is None:
            raise refused(operation, "NoSuchBucket", status=NOT_FOUND)
        return keys

    def _versions_to_write(self, operation: str, bucket: str, key: str) -> Versions:
        if not key:
            raise unsendable("Invalid length for parameter Key, value: 0, valid min length: 1")
        if len(key.encode()) > KEY_BYTES:
            raise refused(operation, "KeyTooLongError", "Your key is too long")
        return self._keys(operation, bucket).get(key, [])

    def _version(self, operation: str, bucket: str, key: str, version_id: str | None) -> Version:
        versions = self._keys(operation, bucket).get(key, [])
        if version_id is None:
            if not versions or versions[-1].is_delete_marker:
                raise refused(operation, "NoSuchKey", "The specified key does not exist.", NOT_FOUND)
            return versions[-1]
        version = _named(versions, version_id)
        if version is None:
            raise refused(operation, "NoSuchVersion", "The specified version does not exist.", NOT_FOUND)
        if version.is_delete_marker:
            raise refused(operation, "MethodNotAllowed", "This is a delete marker.", METHOD_NOT_ALLOWED)
        return version

    def _tagged(self, operation: str, bucket: str, key: str) -> Version:
        """Return the version whose tags are meant. For tags alone, a marker on top is not the same as nothing."""
        versions = self._keys(operation, bucket).get(key, [])
        if versions and versions[-1].is_delete_marker:
            raise refused(operation, "MethodNotAllowed", "This is a delete marker.", METHOD_NOT_ALLOWED)
        return self._version(operation, bucket, key, None)

    def _write(
        self,
        bucket: str,
        key: str,
        body: bytes,
        etag: str,
        content_type: str,
        metadata: Mapping[str, str],
        *,
        is_delete_marker: bool = False,
    ) -> Version:
        moment = self.clock().replace(microsecond=0)
        version = Version(self._next_number(), body, etag, content_type, metadata, moment, is_delete_marker)
        self._buckets[bucket].setdefault(key, []).append(version)
        self._tell(bucket, key, version)
        return version

    def _remove(self, bucket: str, key: str, version_id: str) -> Version | None:
        keys = self._keys("DeleteObject", bucket)
        version = _named(keys.get(key, []), version_id)
        if version is not None:
            keys[key].remove(version)
            if not keys[key]:
                del keys[key]
            self._tell(bucket, key, replace(version, deleted=True))
        return version

    def _tell(self, bucket: str, key: str, version: Version) -> None:
        for observer in self.observers:
            observer(bucket, key, version)

    def _upload(self, operation: str, bucket: str, key: str, upload_id: str) -> Upload:
        self._keys(operation, bucket)
        upload = self._uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise refused(operation, "NoSuchUpload", "The specified upload does not exist.", NOT_FOUND)
        return upload

    def _chosen_parts(self, upload: Upload, chosen: Sequence[Mapping[str, Any]]) -> list[bytes]:
        operation, numbers = "CompleteMultipartUpload", [each["PartNumber"] for each in chosen]
        if not chosen:
            raise refused(operation, "MalformedXML", "There is no part")
        if numbers != sorted(set(numbers)):
            raise refused(operation, "InvalidPartOrder", "The list of parts was not in ascending order")
        parts = [upload.parts.get(number) for number in numbers]
        found = [
            part for part, each in zip(parts, chosen, strict=True) if part is not None and _is_etag(part, each["ETag"])
        ]
        if len(found) < len(chosen):
            raise refused(operation, "InvalidPart", "One or more of the specified parts could not be found")
        if any(len(part) < self._smallest_part_bytes for part in found[:-1]):
            raise refused(operation, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        return found


def _bytes_of(content: Content) -> bytes:
    match content:
        case bytes():
            return content
        case bytearray():
            return bytes(content)
        case str():
            raise unsendable("Invalid type for parameter Body")
        case _:
            return content.read()


def _as_sent(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """Metadata travels in headers: names in any case, values in ASCII."""
    if not all(name.isascii() and value.isascii() for name, value in metadata.items()):
        raise unsendable("Non ascii characters found in S3 metadata")
    return {name.lower(): value for name, value in metadata.items()}


def _check_conditions(operation: str, versions: Versions, if_none_match: str | None, if_match: str | None) -> None:
    current = versions[-1] if versions and not versions[-1].is_delete_marker else None
    if if_none_match is not None:
        if if_none_match != ANY:
            raise NotImplementedError(f"S3 takes no IfNoneMatch but {ANY} in a write")
        if current is not None:
            raise refused(operation, "PreconditionFailed", status=PRECONDITION_FAILED)
    if if_match is not None:
        if current is None:
            raise refused(operation, "NoSuchKey", "The specified key does not exist.", NOT_FOUND)
        if not _is_same(current.etag, if_match):
            raise refused(operation, "PreconditionFailed", status=PRECONDITION_FAILED)


def _part_of(body: bytes, wanted: str | None) -> tuple[bytes, Answer]:
    """Return the wanted bytes and what the answer says of them; a range that makes no sense is ignored, as in HTTP."""
    found = RANGE.fullmatch(wanted or "")
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        return body, {}
    start, end = int(found[1]), int(found[2]) if found[2] else len(body) - 1
    if start >= len(body):
        message = "The requested range is not satisfiable"
        raise refused("GetObject", "InvalidRange", message, RANGE_NOT_SATISFIABLE)
    part = body[start : end + 1]
    return part, {"ContentRange": f"bytes {start}-{start + len(part) - 1}/{len(body)}"}


def _facts(version: Version, length: int) -> Answer:
    return {
        "AcceptRanges": "bytes",
        "LastModified": version.written_at,
        "ContentLength": length,
        "ETag": version.etag,
        "VersionId": version.id,
        "ContentType": version.content_type,
        "Metadata": dict(version.metadata),
    }


def _listed_object(key: str, version: Version) -> Answer:
    return {"Key": key, "LastModified": version.written_at, "ETag": version.etag, "Size": len(version.body)}


def _listed_version(listed: Listed) -> Answer:
    key, version, is_latest = listed
    return _listed_object(key, version) | {"VersionId": version.id, "IsLatest": is_latest}


def _listed_marker(listed: Listed) -> Answer:
    key, version, is_latest = listed
    return {"Key": key, "LastModified": version.written_at, "VersionId": version.id, "IsLatest": is_latest}


def _place_of_object(each: tuple[str, Version]) -> bytes:
    return each[0].encode()


def _place_of_version(listed: Listed) -> tuple[bytes, int]:
    return listed[0].encode(), -listed[1].number


def _named(versions: Versions, version_id: str) -> Version | None:
    return next((version for version in versions if version.id == version_id), None)


def _digest(content: bytes) -> "hashlib._Hash":
    return hashlib.md5(content, usedforsecurity=False)


def _etag(body: bytes) -> str:
    return f'"{_digest(body).hexdigest()}"'


def _etag_of_parts(parts: Sequence[bytes]) -> str:
    return f'"{_digest(b"".join(_digest(part).digest() for part in parts)).hexdigest()}-{len(parts)}"'


def _is_etag(body: bytes, etag: str) -> bool:
    return _is_same(_etag(body), etag)


def _is_same(etag: str, other: str) -> bool:
    return etag.strip('"') == other.strip('"')
