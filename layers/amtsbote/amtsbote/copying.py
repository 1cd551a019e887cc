"""Server-side copies between the buckets: no byte passes through us, and one upload makes at most one version."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from amtsbote.deadline import Deadline
from amtsbote.errors import Reject, Retry
from amtsbote.outbox import UNNAMED_VERSION
from amtsbote.storage import MARKED_DELETED, MISSING, TAKEN, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 1024 * 1024 * 1024  # S3 copies up to 5 GiB at once; less, so that each part fits into an invocation
CHANGED_MEANWHILE = frozenset({"InvalidPart", "InvalidPartOrder"})


class Unmade(Enum):
    """Why an upload did not become a version."""

    KEY_TAKEN = "KEY_TAKEN"  # an object lies there
    UPLOAD_GONE = "UPLOAD_GONE"  # completed by somebody, or aborted


@dataclass(frozen=True)
class Place:
    """Where an object lies."""

    bucket: str
    key: str


class Copier:
    """Copies objects of one bucket into another by an upload that anybody can go on with who knows its id."""

    def __init__(self, client: "S3Client") -> None:
        self._client = client

    def begin(self, target: Place, content_type: str, metadata: Mapping[str, str]) -> str:
        """Begin an upload and return its id; nothing is visible yet."""
        created = self._client.create_multipart_upload(
            Bucket=target.bucket, Key=target.key, ContentType=content_type, Metadata=dict(metadata)
        )
        return created["UploadId"]

    def abort(self, target: Place, upload_id: str) -> None:
        """Forget an upload that another worker's has made needless."""
        try:
            self._client.abort_multipart_upload(Bucket=target.bucket, Key=target.key, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) not in MISSING:
                raise

    def finish(self, source: Place, size: int, target: Place, upload_id: str, deadline: Deadline) -> str | Unmade:
        """Copy the parts that are missing and make them an object, unless one lies there; return its version.

        Reject where the source is gone, OutOfTime between two parts.
        """
        try:
            parts = self._copied(target, upload_id)
            for number, span in enumerate(_spans(size), start=1):
                if number not in parts:
                    deadline.check()
                    parts[number] = self._copy_part(source, span, target, upload_id, number)
            return self._complete(target, upload_id, parts)
        except ClientError as error:
            return _judged(error)

    def _copied(self, target: Place, upload_id: str) -> dict[int, str]:
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=target.bucket, Key=target.key, UploadId=upload_id
        )
        return {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", [])}

    def _copy_part(self, source: Place, span: str | None, target: Place, upload_id: str, number: int) -> str:
        given: Any = {"Bucket": target.bucket, "Key": target.key, "UploadId": upload_id, "PartNumber": number}
        if span is None:  # nothing can be copied of an empty object
            return self._client.upload_part(**given, Body=b"")["ETag"]
        copied = self._client.upload_part_copy(
            **given, CopySource={"Bucket": source.bucket, "Key": source.key}, CopySourceRange=span
        )
        return str(copied["CopyPartResult"]["ETag"])

    def _complete(self, target: Place, upload_id: str, parts: Mapping[int, str]) -> str:
        chosen: Any = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(parts.items())]
        done = self._client.complete_multipart_upload(
            Bucket=target.bucket,
            Key=target.key,
            UploadId=upload_id,
            MultipartUpload={"Parts": chosen},
            IfNoneMatch="*",
        )
        return done.get("VersionId", UNNAMED_VERSION)

    def version_with(self, place: Place, mark: Mapping[str, str]) -> str | None:
        """Return the version of an object that carries this user metadata, None where there is none any more."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=place.bucket, Prefix=place.key)
        listed = (each for page in pages for each in page.get("Versions", []))
        own = (each["VersionId"] for each in listed if each["Key"] == place.key)
        return next((each for each in own if self._carries(place, each, mark)), None)

    def _carries(self, place: Place, version_id: str, mark: Mapping[str, str]) -> bool:
        try:
            head = self._client.head_object(Bucket=place.bucket, Key=place.key, VersionId=version_id)
        except ClientError as error:
            if code_of(error) in MISSING | MARKED_DELETED:
                return False
            raise
        carried = {name.lower(): value for name, value in head.get("Metadata", {}).items()}
        return all(carried.get(name) == value for name, value in mark.items())


def _spans(size: int) -> list[str | None]:
    """Return the ranges of bytes that are copied, part by part; of an empty object one that is None."""
    starts = range(0, size, PART_BYTES)
    return [f"bytes={start}-{min(start + PART_BYTES, size) - 1}" for start in starts] or [None]


def _judged(error: ClientError) -> Unmade:
    code = code_of(error)
    if code == "NoSuchUpload":
        return Unmade.UPLOAD_GONE
    if code in MISSING:
        raise Reject("FILE_GONE", "the file is no longer in the inbox") from error
    if code in CHANGED_MEANWHILE:
        raise Retry("COPY_CONTENDED", "another worker copies the same file") from error
    if code in TAKEN:
        return Unmade.KEY_TAKEN
    raise error
