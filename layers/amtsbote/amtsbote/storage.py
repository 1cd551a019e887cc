"""What the package needs of S3 beyond one call: objects written once or deleted for good; errors that say what now."""

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from amtsbote.errors import Retry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

JSON_TYPE = "application/json"
MISSING = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound", "NoSuchUpload"})
MARKED_DELETED = frozenset({"405", "MethodNotAllowed"})
"""What S3 answers where the version asked for is a delete marker."""
REFUSED = "AccessDenied"
NOT_DELETED = "NOT_DELETED"
TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})


def json_text(content: Any) -> bytes:
    """Return an object as UTF-8 JSON for people to read; what UTF-8 cannot hold (a lone surrogate) stays an escape."""
    return json.dumps(content, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace")


def code_of(error: ClientError) -> str:
    """Return the error code that S3 answered."""
    return str(error.response.get("Error", {}).get("Code", ""))


def put_once(client: "S3Client", bucket: str, key: str, body: bytes, **extra: Any) -> bool:
    """Write an object unless there is one of that key; False when there is, which is then left as it is."""
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*", **extra)
    except ClientError as error:
        if code_of(error) in TAKEN:
            return False
        raise
    return True


def get_or_none(client: "S3Client", bucket: str, key: str) -> tuple[bytes, str] | None:
    """Return an object's content and ETag, None when there is no such object."""
    try:
        answer = client.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if code_of(error) in MISSING:
            return None
        raise
    return answer["Body"].read(), answer["ETag"]


def exists(client: "S3Client", bucket: str, key: str) -> bool:
    """Return whether there is an object of that key."""
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if code_of(error) in MISSING:
            return False
        raise
    return True


def delete_version(client: "S3Client", bucket: str, key: str, version_id: str) -> None:
    """Delete one version of an object for good; one that is not there is no error.

    Retry while S3 keeps it: it is locked (docs/security.md), or the role may not.
    """
    try:
        client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
    except ClientError as error:
        if code_of(error) == REFUSED:
            raise Retry(NOT_DELETED, "S3 keeps an object that is to be deleted") from error
        raise


def delete_below(client: "S3Client", bucket: str, prefix: str) -> None:
    """Delete every version of the objects directly below a prefix, which ends with a slash; what lies deeper stays.

    Repeating is safe. Retry when S3 does not delete all of them.
    """
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    for page in pages:  # a thousand at most, as many as one call deletes
        listed = [(each["Key"], each["VersionId"]) for each in page.get("Versions", [])]
        listed += [(each["Key"], each["VersionId"]) for each in page.get("DeleteMarkers", [])]
        _delete(client, bucket, [each for each in listed if "/" not in each[0].removeprefix(prefix)])


def _delete(client: "S3Client", bucket: str, versions: list[tuple[str, str]]) -> None:
    if not versions:
        return
    objects: Any = [{"Key": key, "VersionId": version_id} for key, version_id in versions]
    refused = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors", [])
    if refused:
        raise Retry(NOT_DELETED, f"S3 refused to delete {len(refused)} objects: {refused[0].get('Code')}")
