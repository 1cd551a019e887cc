"""The stand-ins for AWS answer what AWS answers: the same tests against them, against moto and the embedded AWS.

Where moto or the embedded AWS deviates from what AWS documents, the test leaves that one out by `besides` and says why.
"""

import hashlib
import inspect
import json
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from io import BytesIO
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from moto import mock_aws

from sandbox.embedded import REGION, EmbeddedAws
from tests.simulation.cloud import (
    InMemoryDynamoDb,
    InMemoryEventBridge,
    InMemoryKms,
    InMemoryS3,
    InMemorySecretsManager,
    InMemorySqs,
)
from tests.simulation.cloud.client import Client
from tests.simulation.cloud.sqs import record_of
from tests.template.loading import ROOT, stack

STAND_IN, MOTO, EMBEDDED = "stand-in", "moto", "embedded"
BUCKET, TABLE, BUS = "contract", "ledger", "amtsbote"
SEALING_KEYS = ("sealing-key-1", "sealing-key-2")
PAGE_SIZE = 3
PART = b"p" * (5 * 1024 * 1024)
MADE_FROM_TABLE = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
SERVICES = ("s3", "dynamodb", "sqs", "secretsmanager", "events", "kms")
IS_VERSION = {":version": {"N": "1"}}
VERSION_NAME = {"#version": "version"}
CALLS = 200
AFFORDABLE_SECONDS = 0.0005


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass
class Cloud:
    """One implementation of AWS: its clients, and how time passes in it."""

    name: str
    s3: Any
    dynamodb: Any
    sqs: Any
    secretsmanager: Any
    events: Any
    kms: Any
    wait: Callable[[float], None]

    def pages(self, client: Any, operation: str, **parameters: Any) -> list[Any]:
        """Return the pages of a list, three entries each."""
        paging = {} if self.name == STAND_IN else {"PaginationConfig": {"PageSize": PAGE_SIZE}}
        return list(client.get_paginator(operation).paginate(**parameters, **paging))

    def keys(self) -> tuple[str, str]:
        """Return two keys of KMS."""
        if self.name == STAND_IN:
            return SEALING_KEYS
        one, other = (str(self.kms.create_key()["KeyMetadata"]["KeyId"]) for _ in SEALING_KEYS)
        return one, other

    def queue(self, name: str, *, visibility_seconds: int = 30, tries: int = 0, dead_letters: str = "") -> str:
        """Make a queue and return its URL; what was handed out as often as `tries` goes to `dead_letters`."""
        if self.name == STAND_IN:
            redrive = {"max_receives": tries, "dead_letters": dead_letters} if tries else {}
            return str(self.sqs.add_queue(name, visibility_seconds=visibility_seconds, **redrive).url)
        attributes = {"VisibilityTimeout": str(visibility_seconds)}
        if tries:
            arn = self.sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])
            policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": tries}
            attributes["RedrivePolicy"] = json.dumps(policy)
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def stand_in(_: ExitStack) -> Cloud:
    """Return the stand-ins, with a time of their own."""
    return stand_ins(Clock())


def stand_ins(clock: Clock) -> Cloud:
    """Return the stand-ins."""
    return Cloud(
        STAND_IN,
        InMemoryS3(clock, [BUCKET]),
        InMemoryDynamoDb(clock, TABLE),
        InMemorySqs(clock),
        InMemorySecretsManager(clock),
        InMemoryEventBridge(clock, BUS),
        InMemoryKms(clock, SEALING_KEYS),
        clock.forward,
    )


def moto(undo: ExitStack) -> Cloud:
    """Return moto's AWS in this process."""
    undo.enter_context(mock_aws())
    return with_resources(MOTO, boto3.Session("testing", "testing", region_name=REGION), None)


def embedded(undo: ExitStack) -> Cloud:
    """Return the embedded AWS, a server of its own."""
    aws = undo.enter_context(EmbeddedAws.start())
    return with_resources(EMBEDDED, aws.session(), aws.endpoint)


def with_resources(name: str, session: Any, endpoint: str | None) -> Cloud:
    """Return a cloud with bucket, table and bus as the template makes them."""
    clients: dict[str, Any] = {service: session.client(service, endpoint_url=endpoint) for service in SERVICES}
    cloud = Cloud(name, **clients, wait=time.sleep)
    cloud.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    cloud.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    table = stack().resources["LedgerTable"]["Properties"]
    cloud.dynamodb.create_table(TableName=TABLE, **{each: table[each] for each in MADE_FROM_TABLE})
    cloud.events.create_event_bus(Name=BUS)
    return cloud


MAKERS: dict[str, Callable[[ExitStack], Cloud]] = {STAND_IN: stand_in, MOTO: moto, EMBEDDED: embedded}


@pytest.fixture(scope="module")
def made() -> Iterator[Callable[[str], Cloud]]:
    """Provide each AWS by its name, made when it is first asked for."""
    with ExitStack() as undo:
        yield cache(lambda name: MAKERS[name](undo))


@pytest.fixture(params=list(MAKERS))
def cloud(request: pytest.FixtureRequest, made: Callable[[str], Cloud]) -> Cloud:
    """Provide each AWS in turn."""
    return made(request.param)


def besides(*names: str) -> pytest.MarkDecorator:
    """Leave out the implementations that deviate from AWS here."""
    kept = [name for name in MAKERS if name not in names]
    return pytest.mark.parametrize("cloud", kept, indirect=True)


numbers = count(1)


@pytest.fixture
def key() -> str:
    """Provide a key, or another name, that no other test uses."""
    return f"test-{next(numbers):03d}"


def code(call: Callable[..., object], **parameters: Any) -> str:
    """Return the code of the error that a call answers."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


# --- S3: one object ---


def put(cloud: Cloud, key: str, body: bytes = b"brief", **more: Any) -> Any:
    return cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)


def read(cloud: Cloud, key: str, **more: Any) -> bytes:
    content: bytes = cloud.s3.get_object(Bucket=BUCKET, Key=key, **more)["Body"].read()
    return content


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_an_object_comes_back_with_all_that_was_said_of_it(cloud: Cloud, key: str) -> None:
    written = put(cloud, key, ContentType="text/plain", Metadata={"Reference-Id": "A 1"})
    for answer in (cloud.s3.get_object(Bucket=BUCKET, Key=key), cloud.s3.head_object(Bucket=BUCKET, Key=key)):
        assert answer["ContentLength"] == 5
        assert answer["ContentType"] == "text/plain"
        assert answer["Metadata"] == {"reference-id": "A 1"}
        assert answer["ETag"] == written["ETag"] == f'"{md5(b"brief")}"'
        assert answer["VersionId"] == written["VersionId"]
        assert answer["LastModified"].tzinfo is not None
        assert answer["LastModified"].microsecond == 0
        assert "ContentRange" not in answer


@besides(EMBEDDED)  # it says application/octet-stream
def test_without_a_content_type_an_object_is_bytes(cloud: Cloud, key: str) -> None:
    put(cloud, key)
    assert cloud.s3.head_object(Bucket=BUCKET, Key=key)["ContentType"] == "binary/octet-stream"


def test_a_body_is_read_in_pieces(cloud: Cloud, key: str) -> None:
    put(cloud, key, b"0123456789")
    body = cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"]
    assert body.read(4) == b"0123"
    assert body.read() == b"456789"
    assert body.read() == b""
    body = cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"]
    assert list(body.iter_chunks(4)) == [b"0123", b"4567", b"89"]
    body.close()


def test_a_file_is_uploaded(cloud: Cloud, key: str) -> None:
    file = BytesIO(b"evidence")
    cloud.s3.upload_fileobj(file, BUCKET, key)
    assert read(cloud, key) == b"evidence"
    put(cloud, key, BytesIO(b"other evidence"))  # type: ignore[arg-type]
    assert read(cloud, key) == b"other evidence"


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-3", b"0123"),
        ("bytes=4-9", b"456789"),
        ("bytes=8-99", b"89"),
        ("bytes=9-9", b"9"),
        ("bytes=7-", b"789"),
    ],
)
def test_a_part_is_read(cloud: Cloud, key: str, wanted: str, part: bytes) -> None:
    put(cloud, key, b"0123456789")
    answer = cloud.s3.get_object(Bucket=BUCKET, Key=key, Range=wanted)
    assert answer["Body"].read() == part
    assert answer["ContentLength"] == len(part)
    start = b"0123456789".index(part)
    assert answer["ContentRange"] == f"bytes {start}-{start + len(part) - 1}/10"


def test_a_part_of_a_version_is_read(cloud: Cloud, key: str) -> None:
    version = put(cloud, key, b"0123456789")["VersionId"]
    for _ in range(2):
        answer = cloud.s3.get_object(Bucket=BUCKET, Key=key, VersionId=version, Range="bytes=2-4")
        assert (answer["ContentLength"], answer["ContentRange"]) == (3, "bytes 2-4/10")
        assert answer["Body"].read() == b"234"
        put(cloud, key, b"other")  # and then it is no longer the newest
    assert read(cloud, key, VersionId=version, Range="bytes=8-99") == b"89"
    assert read(cloud, key, VersionId=version) == b"0123456789"


def test_a_part_behind_the_end_cannot_be_read(cloud: Cloud, key: str) -> None:
    put(cloud, key, b"0123456789")
    assert code(cloud.s3.get_object, Bucket=BUCKET, Key=key, Range="bytes=10-12") == "InvalidRange"
    put(cloud, key, b"")
    assert code(cloud.s3.get_object, Bucket=BUCKET, Key=key, Range="bytes=0-0") == "InvalidRange"


@besides(EMBEDDED)  # it answers with a part of no length
@pytest.mark.parametrize("wanted", ["bytes=0--1", "bytes=3-2"])
def test_a_range_that_ends_before_it_starts_is_ignored(cloud: Cloud, key: str, wanted: str) -> None:
    put(cloud, key, b"0123456789")
    answer = cloud.s3.get_object(Bucket=BUCKET, Key=key, Range=wanted)
    assert answer["Body"].read() == b"0123456789"
    assert "ContentRange" not in answer


def test_what_is_not_there_is_missing(cloud: Cloud, key: str) -> None:
    assert code(cloud.s3.get_object, Bucket=BUCKET, Key=key) == "NoSuchKey"
    assert code(cloud.s3.head_object, Bucket=BUCKET, Key=key) == "404"
    assert code(cloud.s3.get_object_tagging, Bucket=BUCKET, Key=key) == "NoSuchKey"
    assert code(cloud.s3.get_object, Bucket="no-bucket", Key=key) == "NoSuchBucket"
    assert code(cloud.s3.put_object, Bucket="no-bucket", Key=key, Body=b"") == "NoSuchBucket"


def test_an_error_can_be_caught_by_its_name(cloud: Cloud, key: str) -> None:
    with pytest.raises(cloud.s3.exceptions.NoSuchKey):
        cloud.s3.get_object(Bucket=BUCKET, Key=key)


@besides(MOTO, EMBEDDED)  # they take keys of any length
def test_a_key_has_an_end(cloud: Cloud, key: str) -> None:
    put(cloud, key.ljust(1024, "x"))
    assert code(cloud.s3.put_object, Bucket=BUCKET, Key=key.ljust(1025, "x"), Body=b"") == "KeyTooLongError"


def test_metadata_is_ascii(cloud: Cloud, key: str) -> None:
    with pytest.raises(ParamValidationError):
        put(cloud, key, Metadata={"reference-id": "Grüße"})


def test_tags_are_of_the_current_version(cloud: Cloud, key: str) -> None:
    put(cloud, key)
    tags = {"TagSet": [{"Key": "processed", "Value": "true"}]}
    assert cloud.s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] == []
    cloud.s3.put_object_tagging(Bucket=BUCKET, Key=key, Tagging=tags)
    assert cloud.s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] == tags["TagSet"]
    put(cloud, key)
    assert cloud.s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] == []


# --- S3: conditions ---


def test_an_object_is_written_once(cloud: Cloud, key: str) -> None:
    put(cloud, key, b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed") as caught:
        put(cloud, key, b"second", IfNoneMatch="*")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert read(cloud, key) == b"first"


def test_an_object_is_replaced_only_as_it_was_seen(cloud: Cloud, key: str) -> None:
    seen = put(cloud, key, b"first")["ETag"]
    put(cloud, key, b"second", IfMatch=seen)
    assert code(cloud.s3.put_object, Bucket=BUCKET, Key=key, Body=b"", IfMatch=seen) == "PreconditionFailed"
    assert read(cloud, key) == b"second"


def test_an_object_that_is_not_there_cannot_match(cloud: Cloud, key: str) -> None:
    seen = put(cloud, f"{key}-other")["ETag"]
    assert code(cloud.s3.put_object, Bucket=BUCKET, Key=key, Body=b"", IfMatch=seen) == "NoSuchKey"


def test_an_object_is_read_only_as_it_was_seen(cloud: Cloud, key: str) -> None:
    seen = put(cloud, key, b"first")["ETag"]
    assert read(cloud, key, IfMatch=seen) == b"first"
    put(cloud, key, b"second")
    assert code(cloud.s3.get_object, Bucket=BUCKET, Key=key, IfMatch=seen) == "PreconditionFailed"


def test_a_deleted_object_can_be_written_once_again(cloud: Cloud, key: str) -> None:
    seen = put(cloud, key)["ETag"]
    cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    assert code(cloud.s3.put_object, Bucket=BUCKET, Key=key, Body=b"", IfMatch=seen) == "NoSuchKey"
    put(cloud, key, b"again", IfNoneMatch="*")
    assert read(cloud, key) == b"again"


# --- S3: versions ---


def versions(cloud: Cloud, prefix: str, kind: str = "Versions") -> list[Any]:
    pages = cloud.pages(cloud.s3, "list_object_versions", Bucket=BUCKET, Prefix=prefix)
    return [each for page in pages for each in page.get(kind, [])]


def test_every_version_is_kept(cloud: Cloud, key: str) -> None:
    first, second = put(cloud, key, b"first"), put(cloud, key, b"second")
    assert first["VersionId"] != second["VersionId"]
    assert read(cloud, key, VersionId=first["VersionId"]) == b"first"
    assert cloud.s3.head_object(Bucket=BUCKET, Key=key, VersionId=first["VersionId"])["ContentLength"] == 5
    assert read(cloud, key) == b"second"


def test_versions_are_listed_newest_first_over_all_pages(cloud: Cloud, key: str) -> None:
    ids = {name: [put(cloud, f"{key}/{name}", bytes(n))["VersionId"] for n in range(4)] for name in "ba"}
    listed = versions(cloud, f"{key}/")
    assert [each["VersionId"] for each in listed] == ids["a"][::-1] + ids["b"][::-1]
    assert [each["Key"] for each in listed] == [f"{key}/a"] * 4 + [f"{key}/b"] * 4
    assert [each["IsLatest"] for each in listed] == [True, False, False, False] * 2
    assert [each["Size"] for each in listed] == [3, 2, 1, 0] * 2
    assert all(each["LastModified"].tzinfo for each in listed)


def test_a_list_of_versions_comes_in_pages(cloud: Cloud, key: str) -> None:
    for _ in range(4):
        put(cloud, key)
    pages = cloud.pages(cloud.s3, "list_object_versions", Bucket=BUCKET, Prefix=key)
    assert [len(page["Versions"]) for page in pages] == [3, 1]
    assert [page["IsTruncated"] for page in pages] == [True, False]


def test_a_list_of_nothing_is_one_empty_page(cloud: Cloud, key: str) -> None:
    (page,) = cloud.pages(cloud.s3, "list_object_versions", Bucket=BUCKET, Prefix=key)
    assert "Versions" not in page
    (page,) = cloud.pages(cloud.s3, "list_objects_v2", Bucket=BUCKET, Prefix=key)
    assert "Contents" not in page


def test_what_lies_behind_a_delimiter_is_not_among_the_versions(cloud: Cloud, key: str) -> None:
    for name in ("a", "a", "b", "b/c", "d/e/f"):
        put(cloud, f"{key}/{name}")
    pages = cloud.pages(cloud.s3, "list_object_versions", Bucket=BUCKET, Prefix=f"{key}/", Delimiter="/")
    listed = [each["Key"].removeprefix(f"{key}/") for page in pages for each in page.get("Versions", [])]
    assert listed == ["a", "a", "b"]


def test_many_versions_are_removed_at_once_and_markers_too(cloud: Cloud, key: str) -> None:
    doomed = [(f"{key}/{name}", put(cloud, f"{key}/{name}")["VersionId"]) for name in ("a", "a", "b")]
    kept = put(cloud, f"{key}/b")["VersionId"]
    put(cloud, f"{key}/c")
    cloud.s3.delete_object(Bucket=BUCKET, Key=f"{key}/c")
    of_c = [each for kind in ("Versions", "DeleteMarkers") for each in versions(cloud, f"{key}/c", kind)]
    doomed += [(each["Key"], each["VersionId"]) for each in of_c]
    objects = [{"Key": name, "VersionId": version} for name, version in doomed]
    for _ in range(2):  # what is gone already is no error
        answer = cloud.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects, "Quiet": True})
        assert "Errors" not in answer
        assert [each["VersionId"] for each in versions(cloud, f"{key}/")] == [kept]
        assert versions(cloud, f"{key}/", "DeleteMarkers") == []


@besides(EMBEDDED)  # deletes nothing, and says so
def test_to_delete_nothing_is_refused(cloud: Cloud, key: str) -> None:
    assert code(cloud.s3.delete_objects, Bucket=BUCKET, Delete={"Objects": [], "Quiet": True}) == "MalformedXML"


def test_a_deleted_object_lies_under_its_marker(cloud: Cloud, key: str) -> None:
    version = put(cloud, key)["VersionId"]
    deleted = cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    assert deleted["DeleteMarker"] is True
    assert code(cloud.s3.get_object, Bucket=BUCKET, Key=key) == "NoSuchKey"
    assert code(cloud.s3.head_object, Bucket=BUCKET, Key=key) == "404"
    assert read(cloud, key, VersionId=version) == b"brief"
    (marker,) = versions(cloud, key, "DeleteMarkers")
    assert (marker["VersionId"], marker["IsLatest"]) == (deleted["VersionId"], True)
    (listed,) = versions(cloud, key)
    assert (listed["VersionId"], listed["IsLatest"]) == (version, False)


@besides(MOTO)  # it takes a marker for no version at all
def test_a_marker_has_no_content(cloud: Cloud, key: str) -> None:
    put(cloud, key)
    marker = cloud.s3.delete_object(Bucket=BUCKET, Key=key)["VersionId"]
    assert code(cloud.s3.get_object, Bucket=BUCKET, Key=key, VersionId=marker) == "MethodNotAllowed"
    assert code(cloud.s3.head_object, Bucket=BUCKET, Key=key, VersionId=marker) == "405"


@besides(MOTO, EMBEDDED)  # they answer NoSuchKey; AWS makes a difference here that it does not make for content
def test_a_marker_has_no_tags(cloud: Cloud, key: str) -> None:
    put(cloud, key)
    cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    assert code(cloud.s3.get_object_tagging, Bucket=BUCKET, Key=key) == "MethodNotAllowed"


@besides(EMBEDDED)  # it answers NoSuchKey
def test_a_marker_cannot_be_tagged(cloud: Cloud, key: str) -> None:
    put(cloud, key)
    cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    tags = {"TagSet": [{"Key": "processed", "Value": "true"}]}
    assert code(cloud.s3.put_object_tagging, Bucket=BUCKET, Key=key, Tagging=tags) == "MethodNotAllowed"


@besides(MOTO)  # it makes none
def test_what_never_was_gets_a_marker_too(cloud: Cloud, key: str) -> None:
    marker = cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    assert marker["DeleteMarker"] is True
    assert [each["VersionId"] for each in versions(cloud, key, "DeleteMarkers")] == [marker["VersionId"]]


def test_without_its_marker_an_object_is_there_again(cloud: Cloud, key: str) -> None:
    put(cloud, key)
    marker = cloud.s3.delete_object(Bucket=BUCKET, Key=key)["VersionId"]
    answer = cloud.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=marker)
    assert answer["VersionId"] == marker
    assert answer.get("DeleteMarker", cloud.name == MOTO) is True  # moto does not say what it was
    assert read(cloud, key) == b"brief"


def test_a_version_that_is_removed_uncovers_the_one_beneath(cloud: Cloud, key: str) -> None:
    first, second = (put(cloud, key, body)["VersionId"] for body in (b"first", b"second"))
    answer = cloud.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=second)
    assert answer["VersionId"] == second
    assert "DeleteMarker" not in answer
    assert read(cloud, key) == b"first"
    assert [each["IsLatest"] for each in versions(cloud, key)] == [True]
    assert code(cloud.s3.get_object, Bucket=BUCKET, Key=key, VersionId=second) == "NoSuchVersion"
    cloud.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=second)
    cloud.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=first)
    assert versions(cloud, key) == versions(cloud, key, "DeleteMarkers") == []


def test_objects_are_listed_in_the_order_of_their_bytes_over_all_pages(cloud: Cloud, key: str) -> None:
    names = ["B", "a", "a/b", "ä", "z", "gone", "Ω", "1"]
    for name in names:
        put(cloud, f"{key}/{name}", name.encode())
    cloud.s3.delete_object(Bucket=BUCKET, Key=f"{key}/gone")
    pages = cloud.pages(cloud.s3, "list_objects_v2", Bucket=BUCKET, Prefix=f"{key}/")
    listed = [each["Key"].removeprefix(f"{key}/") for page in pages for each in page["Contents"]]
    assert listed == ["1", "B", "a", "a/b", "z", "ä", "Ω"]
    assert [page["KeyCount"] for page in pages] == [3, 3, 1]
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    assert pages[0]["Contents"][0]["ETag"] == f'"{md5(b"1")}"'


# --- S3: multipart uploads ---


def test_parts_are_copied_from_another_object_and_listed_and_become_one_that_is_marked(cloud: Cloud, key: str) -> None:
    put(cloud, f"{key}-source", b"0123456789")
    mark = {"amtsbote-rule": "forms-to-print"}
    upload = cloud.s3.create_multipart_upload(Bucket=BUCKET, Key=key, Metadata=mark)["UploadId"]
    given = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    assert [page.get("Parts", []) for page in cloud.pages(cloud.s3, "list_parts", **given)] == [[]]
    source = {"Bucket": BUCKET, "Key": f"{key}-source"}
    copied = cloud.s3.upload_part_copy(**given, PartNumber=1, CopySource=source, CopySourceRange="bytes=2-4")
    (page,) = cloud.pages(cloud.s3, "list_parts", **given)
    (part,) = [{name: each[name] for name in ("PartNumber", "ETag")} for each in page["Parts"]]
    assert part == {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}
    cloud.s3.complete_multipart_upload(**given, MultipartUpload={"Parts": [part]}, IfNoneMatch="*")
    assert read(cloud, key) == b"234"
    assert cloud.s3.head_object(Bucket=BUCKET, Key=key)["Metadata"] == mark


def test_nothing_is_copied_of_an_object_that_is_not_there(cloud: Cloud, key: str) -> None:
    upload = cloud.s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    given = {"Bucket": BUCKET, "Key": key, "UploadId": upload, "PartNumber": 1, "CopySourceRange": "bytes=0-0"}
    refusal = code(cloud.s3.upload_part_copy, **given, CopySource={"Bucket": BUCKET, "Key": "none"})
    assert refusal == ("404" if cloud.name == MOTO else "NoSuchKey")  # moto gives no name


def begin(cloud: Cloud, key: str) -> str:
    created = cloud.s3.create_multipart_upload(Bucket=BUCKET, Key=key, ContentType="application/zip")
    return str(created["UploadId"])


def send(cloud: Cloud, key: str, upload: str, number: int, body: bytes) -> dict[str, Any]:
    answer = cloud.s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(cloud: Cloud, key: str, upload: str, parts: list[dict[str, Any]], **more: Any) -> Any:
    chosen = {"Parts": parts}
    return cloud.s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=chosen, **more)


def test_parts_become_an_object(cloud: Cloud, key: str) -> None:
    upload = begin(cloud, key)
    parts = [send(cloud, key, upload, 1, PART), send(cloud, key, upload, 2, b"end")]
    assert code(cloud.s3.head_object, Bucket=BUCKET, Key=key) == "404"
    answer = complete(cloud, key, upload, parts, IfNoneMatch="*")
    digests = hashlib.md5(PART, usedforsecurity=False).digest() + hashlib.md5(b"end", usedforsecurity=False).digest()
    assert answer["ETag"] == f'"{md5(digests)}-2"'
    head = cloud.s3.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentLength"], head["ContentType"]) == (len(PART) + 3, "application/zip")
    assert head["VersionId"] == answer["VersionId"]
    assert read(cloud, key, Range=f"bytes={len(PART) - 1}-") == b"pend"


def test_a_part_that_is_sent_again_is_replaced(cloud: Cloud, key: str) -> None:
    upload = begin(cloud, key)
    former = send(cloud, key, upload, 1, b"former")
    part = send(cloud, key, upload, 1, b"latter")
    with pytest.raises(ClientError, match="InvalidPart"):
        complete(cloud, key, upload, [former])
    complete(cloud, key, upload, [part])
    assert read(cloud, key) == b"latter"


def test_parts_that_lie_are_refused(cloud: Cloud, key: str) -> None:
    upload = begin(cloud, key)
    parts = [send(cloud, key, upload, 1, PART), send(cloud, key, upload, 2, PART)]
    with pytest.raises(ClientError, match="InvalidPart"):
        complete(cloud, key, upload, [*parts, {"PartNumber": 3, "ETag": parts[0]["ETag"]}])
    complete(cloud, key, upload, parts)


@besides(MOTO, EMBEDDED)  # they put them in order themselves
def test_parts_are_named_in_order(cloud: Cloud, key: str) -> None:
    upload = begin(cloud, key)
    parts = [send(cloud, key, upload, 1, PART), send(cloud, key, upload, 2, PART)]
    with pytest.raises(ClientError, match="InvalidPartOrder"):
        complete(cloud, key, upload, parts[::-1])


@besides(EMBEDDED)  # it takes parts of any length
def test_only_the_last_part_may_be_small(cloud: Cloud, key: str) -> None:
    upload = begin(cloud, key)
    parts = [send(cloud, key, upload, number, b"small") for number in (1, 2)]
    with pytest.raises(ClientError, match="EntityTooSmall"):
        complete(cloud, key, upload, parts)


def test_an_upload_does_not_overwrite_unless_it_may(cloud: Cloud, key: str) -> None:
    upload = begin(cloud, key)
    part = send(cloud, key, upload, 1, b"late")
    put(cloud, key, b"early")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        complete(cloud, key, upload, [part], IfNoneMatch="*")
    assert read(cloud, key) == b"early"
    cloud.s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


def test_an_upload_ends_once(cloud: Cloud, key: str) -> None:
    given = {"Bucket": BUCKET, "Key": key, "UploadId": begin(cloud, key)}
    send(cloud, key, given["UploadId"], 1, b"brief")
    cloud.s3.abort_multipart_upload(**given)
    assert code(cloud.s3.abort_multipart_upload, **given) == "NoSuchUpload"
    assert code(cloud.s3.head_object, Bucket=BUCKET, Key=key) == "404"


@besides(MOTO)  # it fails by an error of its own
def test_an_upload_that_has_ended_goes_no_further(cloud: Cloud, key: str) -> None:
    given = {"Bucket": BUCKET, "Key": key, "UploadId": begin(cloud, key)}
    part = send(cloud, key, given["UploadId"], 1, b"brief")
    cloud.s3.abort_multipart_upload(**given)
    assert code(cloud.s3.upload_part, **given, PartNumber=1, Body=b"") == "NoSuchUpload"
    assert code(cloud.s3.complete_multipart_upload, **given, MultipartUpload={"Parts": [part]}) == "NoSuchUpload"


def test_a_repeated_completion_is_answered_as_the_first_was(cloud: Cloud, key: str) -> None:
    upload = begin(cloud, key)
    parts = [send(cloud, key, upload, 1, b"brief")]
    first = complete(cloud, key, upload, parts, IfNoneMatch="*")
    again = complete(cloud, key, upload, parts, IfNoneMatch="*")
    assert again["ETag"] == first["ETag"]
    assert [each["VersionId"] for each in versions(cloud, key)] == [first["VersionId"]]


# --- DynamoDB ---


def row(pk: str, sk: str = "STATE", **more: dict[str, Any]) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}, **more}


def write(cloud: Cloud, item: dict[str, Any], **more: Any) -> Any:
    return cloud.dynamodb.put_item(TableName=TABLE, Item=item, **more)


def stored(cloud: Cloud, pk: str, sk: str = "STATE") -> Any:
    return cloud.dynamodb.get_item(TableName=TABLE, Key=row(pk, sk), ConsistentRead=True).get("Item")


def write_if(cloud: Cloud, item: dict[str, Any], condition: str, **values: dict[str, Any]) -> bool:
    """Write a row on a condition; its names and values are given by their attributes' names."""
    extra: Any = {}
    if values:
        extra["ExpressionAttributeNames"] = {f"#{name}": name for name in values}
        extra["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
    try:
        write(cloud, item, ConditionExpression=condition, **extra)
    except cloud.dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def test_a_row_comes_back_as_it_was_written(cloud: Cloud, key: str) -> None:
    nested = {"L": [{"M": {"at": {"S": "2026"}, "code": {"NULL": True}}}, {"BOOL": False}]}
    item = row(key, version={"N": "3"}, text={"S": "ä"}, history=nested, blob={"B": b"\x00\xff"}, empty={"S": ""})
    write(cloud, item)
    assert stored(cloud, key) == item
    write(cloud, row(key, version={"N": "4"}))
    assert stored(cloud, key) == row(key, version={"N": "4"})
    assert stored(cloud, key, "OTHER") is None


def test_a_row_is_created_once(cloud: Cloud, key: str) -> None:
    assert write_if(cloud, row(key, n={"N": "1"}), "attribute_not_exists(pk)")
    assert not write_if(cloud, row(key, n={"N": "2"}), "attribute_not_exists(pk)")
    assert stored(cloud, key) == row(key, n={"N": "1"})
    assert write_if(cloud, row(key, "OTHER"), "attribute_not_exists(pk)")


def test_a_row_is_replaced_only_at_its_version(cloud: Cloud, key: str) -> None:
    condition = "#version = :version"
    assert not write_if(cloud, row(key), condition, version={"N": "1"})
    write(cloud, row(key, version={"N": "1"}))
    assert write_if(cloud, row(key, version={"N": "2"}), condition, version={"N": "1"})
    assert not write_if(cloud, row(key, version={"N": "9"}), condition, version={"N": "1"})
    assert not write_if(cloud, row(key, version={"N": "9"}), condition, version={"S": "2"})
    assert write_if(cloud, row(key, version={"N": "3"}), condition, version={"N": "2.0"})
    assert stored(cloud, key) == row(key, version={"N": "3"})


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        (None, {"S": "1"}, True),
        ({"S": "1"}, {"S": "2"}, True),
        ({"S": "2"}, {"S": "2"}, False),
        ({"S": "10"}, {"S": "9"}, True),
        ({"N": "10"}, {"N": "9"}, False),
        ({"S": "z"}, {"S": "ä"}, True),
        ({"S": "Ω"}, {"S": "ä"}, False),
    ],
)
def test_the_newest_wins(cloud: Cloud, key: str, before: Any, after: Any, written: bool) -> None:
    if before is not None:
        write(cloud, row(key, sequence=before))
    condition = "attribute_not_exists(pk) OR #sequence < :sequence"
    assert write_if(cloud, row(key, sequence=after), condition, sequence=after) is written
    assert stored(cloud, key)["sequence"] == (after if written else before)


@besides(MOTO)  # it fails by an error of its own
def test_what_is_of_another_type_is_not_less(cloud: Cloud, key: str) -> None:
    write(cloud, row(key, sequence={"N": "1"}))
    condition = "attribute_not_exists(pk) OR #sequence < :sequence"
    assert not write_if(cloud, row(key), condition, sequence={"S": "2"})


def test_a_row_without_the_attribute_is_not_less(cloud: Cloud, key: str) -> None:
    write(cloud, row(key))
    condition = "attribute_not_exists(pk) OR #sequence < :sequence"
    assert not write_if(cloud, row(key), condition, sequence={"S": "1"})


@besides(MOTO)  # it fails by errors of its own, or does not mind
@pytest.mark.parametrize(
    "more",
    [
        {"ExpressionAttributeNames": VERSION_NAME},
        {"ExpressionAttributeValues": IS_VERSION},
        {"ExpressionAttributeNames": {**VERSION_NAME, "#x": "x"}, "ExpressionAttributeValues": IS_VERSION},
        {"ExpressionAttributeNames": VERSION_NAME, "ExpressionAttributeValues": {**IS_VERSION, ":x": {"S": ""}}},
    ],
)
def test_names_and_values_are_given_exactly(cloud: Cloud, key: str, more: dict[str, Any]) -> None:
    given = {"TableName": TABLE, "Item": row(key), "ConditionExpression": "#version = :version"}
    assert code(cloud.dynamodb.put_item, **given, **more) == "ValidationException"


def test_a_row_has_a_whole_key(cloud: Cloud, key: str) -> None:
    items: list[Any] = [{"pk": {"S": key}}, row(""), {"pk": {"N": "1"}, "sk": {"S": "STATE"}}]
    for item in items:
        assert code(cloud.dynamodb.put_item, TableName=TABLE, Item=item) == "ValidationException"


@besides(MOTO)  # it does not mind
@pytest.mark.parametrize("due_at", [{"N": "1"}, {"S": ""}])
def test_the_index_has_texts_that_are_not_empty(cloud: Cloud, key: str, due_at: dict[str, str]) -> None:
    item = row(key, dueAt=due_at, dueQueue={"S": "q"})
    assert code(cloud.dynamodb.put_item, TableName=TABLE, Item=item) == "ValidationException"


def test_a_row_has_at_most_400_kilobytes(cloud: Cloud, key: str) -> None:
    write(cloud, row(key, text={"S": "ä" * 200_000}))
    item = row(key, parts={"L": [{"S": "x" * 210_000}] * 2})
    assert code(cloud.dynamodb.put_item, TableName=TABLE, Item=item) == "ValidationException"


def test_a_key_has_2048_and_1024_bytes_at_most(cloud: Cloud, key: str) -> None:
    write(cloud, row(key.ljust(2048, "x"), "y" * 1024))
    for item in (row(key.ljust(2049, "x")), row(key, "y" * 1025)):
        assert code(cloud.dynamodb.put_item, TableName=TABLE, Item=item) == "ValidationException"


def at_once(cloud: Cloud, rows: list[dict[str, Any]]) -> Any:
    """Write rows in one transaction, each on the condition that there is none."""
    condition = {"ConditionExpression": "attribute_not_exists(pk)"}
    puts: Any = [{"Put": {"TableName": TABLE, "Item": item, **condition}} for item in rows]
    return cloud.dynamodb.transact_write_items(TransactItems=puts)


def test_rows_are_written_all_or_none(cloud: Cloud, key: str) -> None:
    at_once(cloud, [row(key, "a"), row(key, "b")])
    assert stored(cloud, key, "a") and stored(cloud, key, "b")
    late = [row(key, "c"), row(key, "a", late={"S": "x"})]
    assert code(at_once, cloud=cloud, rows=late) == "TransactionCanceledException"
    assert stored(cloud, key, "c") is None and stored(cloud, key, "a") == row(key, "a")


def test_a_transaction_has_1_to_100_different_rows(cloud: Cloud, key: str) -> None:
    at_once(cloud, [row(key, str(number)) for number in range(100)])
    same = [row(f"{key}-same"), row(f"{key}-same")]
    for rows in ([row(f"{key}-{number}") for number in range(101)], same):
        assert code(at_once, cloud=cloud, rows=rows) == "ValidationException"


def test_an_unknown_table_is_named(cloud: Cloud, key: str) -> None:
    given = {"TableName": "other", "Key": row(key), "ConsistentRead": True}
    assert code(cloud.dynamodb.get_item, **given) == "ResourceNotFoundException"


def batch(cloud: Cloud, keys: list[dict[str, Any]]) -> Any:
    return cloud.dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})


def test_many_rows_are_read_at_once(cloud: Cloud, key: str) -> None:
    for number in range(0, 100, 10):
        write(cloud, row(f"{key}-{number}", number={"N": str(number)}))
    answer = batch(cloud, [row(f"{key}-{number}") for number in range(100)])
    assert {found["number"]["N"] for found in answer["Responses"][TABLE]} == {str(n) for n in range(0, 100, 10)}
    assert not answer["UnprocessedKeys"]
    assert batch(cloud, [row(f"{key}-other")])["Responses"] == {TABLE: []}


def test_a_batched_read_has_1_to_100_different_keys(cloud: Cloud, key: str) -> None:
    many = [row(f"{key}-{number}") for number in range(101)]
    for keys in (many, [row(key), row(key)]):
        assert code(batch, cloud=cloud, keys=keys) == "ValidationException"


def due(cloud: Cloud, queue: str, now: str) -> list[Any]:
    return cloud.pages(
        cloud.dynamodb,
        "query",
        TableName=TABLE,
        IndexName="due",
        KeyConditionExpression="dueQueue = :queue AND dueAt <= :now",
        ExpressionAttributeValues={":queue": {"S": queue}, ":now": {"S": now}},
    )


def names(pages: list[Any]) -> list[str]:
    return [found["pk"]["S"].rpartition("-")[2] for page in pages for found in page["Items"]]


def test_what_is_due_is_found_the_longest_waiting_first(cloud: Cloud, key: str) -> None:
    for number in (5, 1, 4, 2, 3, 6):
        write(cloud, row(f"{key}-{number}", dueQueue={"S": key}, dueAt={"S": f"2026-0{number}"}, more={"S": "x"}))
    write(cloud, row(f"{key}-7", dueQueue={"S": f"{key}-other"}, dueAt={"S": "2026-01"}))
    write(cloud, row(f"{key}-8", dueAt={"S": "2026-01"}))
    pages = due(cloud, key, "2026-05")
    assert names(pages) == ["1", "2", "3", "4", "5"]
    assert pages[0]["Items"][0] == row(f"{key}-1", dueQueue={"S": key}, dueAt={"S": "2026-01"}, more={"S": "x"})
    assert ["LastEvaluatedKey" in page for page in pages] == [True, False]
    assert due(cloud, f"{key}-none", "2026-05")[0]["Items"] == []


def test_a_row_leaves_the_index_and_comes_back(cloud: Cloud, key: str) -> None:
    write(cloud, row(f"{key}-1", dueQueue={"S": key}, dueAt={"S": "1"}))
    write(cloud, row(f"{key}-1"))
    assert names(due(cloud, key, "9")) == []
    write(cloud, row(f"{key}-1", dueQueue={"S": key}, dueAt={"S": "5"}))
    assert names(due(cloud, key, "4")) == []
    assert names(due(cloud, key, "5")) == ["1"]


def queried(cloud: Cloud, condition: str, index: str | None = None, **values: str) -> list[Any]:
    where = {"IndexName": index} if index else {"ConsistentRead": True}
    asked = {f":{name}": {"S": value} for name, value in values.items()}
    return cloud.pages(
        cloud.dynamodb,
        "query",
        TableName=TABLE,
        KeyConditionExpression=condition,
        ExpressionAttributeValues=asked,
        **where,
    )


def test_what_stands_on_a_shelf_is_found_by_its_key_those_before_a_moment_oldest_first(cloud: Cloud, key: str) -> None:
    for number in (3, 1, 4, 2, 5):
        write(cloud, row(f"{key}-{number}", shelf={"S": key}, shelvedAt={"S": f"2026-0{number}"}, more={"S": "x"}))
    pages = queried(cloud, "shelf = :shelf AND shelvedAt < :before", "shelves", shelf=key, before="2026-05")
    assert names(pages) == ["1", "2", "3", "4"]
    assert pages[0]["Items"][0].keys() == {"pk", "sk", "shelf", "shelvedAt"}
    assert [len(page["Items"]) for page in pages] == [3, 1]


def test_rows_of_a_partition_are_found_between_two_keys_both_taken_along(cloud: Cloud, key: str) -> None:
    for sort in ("b", "a", "d", "c", "c-", "e"):
        write(cloud, row(key, sort))
    found = queried(cloud, "pk = :place AND sk BETWEEN :first AND :last", place=key, first="b", last="d")
    assert [each["sk"]["S"] for page in found for each in page["Items"]] == ["b", "c", "c-", "d"]
    whole = queried(cloud, "pk = :place", place=key)
    assert [len(page["Items"]) for page in whole][:2] == [3, 3]


def test_a_deleted_row_is_gone_from_the_table_and_from_its_indexes(cloud: Cloud, key: str) -> None:
    write(cloud, row(key, dueQueue={"S": key}, dueAt={"S": "1"}, shelf={"S": key}, shelvedAt={"S": "1"}))
    for _ in range(2):
        cloud.dynamodb.delete_item(TableName=TABLE, Key=row(key))
        assert "Item" not in cloud.dynamodb.get_item(TableName=TABLE, Key=row(key), ConsistentRead=True)
        assert names(due(cloud, key, "9")) == []
        assert names(queried(cloud, "shelf = :shelf AND shelvedAt < :before", "shelves", shelf=key, before="9")) == []
    assert code(cloud.dynamodb.delete_item, TableName=TABLE, Key={"pk": {"S": key}}) == "ValidationException"


# --- SQS ---


def send_all(cloud: Cloud, url: str, *bodies: str, delay: int = 0) -> Any:
    entries = [{"Id": str(n), "MessageBody": body, "DelaySeconds": delay} for n, body in enumerate(bodies)]
    return cloud.sqs.send_message_batch(QueueUrl=url, Entries=entries)


def receive(cloud: Cloud, url: str, most: int = 10) -> list[Any]:
    answer = cloud.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=most, MessageSystemAttributeNames=["ApproximateReceiveCount"]
    )
    return list(answer.get("Messages", []))


def bodies(messages: list[Any]) -> set[str]:
    return {message["Body"] for message in messages}


def counts(messages: list[Any]) -> set[str]:
    return {message["Attributes"]["ApproximateReceiveCount"] for message in messages}


def test_what_is_sent_is_received_once_at_a_time(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    answer = send_all(cloud, url, "a", "ä")
    assert [each["Id"] for each in answer["Successful"]] == ["0", "1"]
    assert not answer.get("Failed")
    messages = receive(cloud, url)
    assert bodies(messages) == {"a", "ä"}
    assert {each["MessageId"] for each in messages} == {each["MessageId"] for each in answer["Successful"]}
    assert {each["MD5OfBody"] for each in messages} == {md5(b"a"), md5("ä".encode())}
    assert counts(messages) == {"1"}
    assert receive(cloud, url) == []


def test_no_more_is_received_than_was_asked_for(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "a", "b", "c")
    assert len(receive(cloud, url, 2)) == 2
    assert len(receive(cloud, url, 2)) == 1


def test_what_is_deleted_does_not_come_again(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key, visibility_seconds=1)
    send_all(cloud, url, "kept", "deleted")
    handles = {message["Body"]: message["ReceiptHandle"] for message in receive(cloud, url)}
    cloud.sqs.delete_message(QueueUrl=url, ReceiptHandle=handles["deleted"])
    cloud.wait(1.1)
    messages = receive(cloud, url)
    assert (bodies(messages), counts(messages)) == ({"kept"}, {"2"})
    assert messages[0]["ReceiptHandle"] != handles["kept"]


@besides(EMBEDDED)  # it forgets the handle with the message
def test_what_is_deleted_can_be_deleted_again(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "deleted")
    (message,) = receive(cloud, url)
    for _ in range(2):
        cloud.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_what_is_delayed_comes_later(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "later", delay=1)
    send_all(cloud, url, "now")
    assert bodies(receive(cloud, url)) == {"now"}
    cloud.wait(1.1)
    assert bodies(receive(cloud, url)) == {"later"}


def test_what_is_given_back_comes_again_when_it_should(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "soon", "at once")
    for message in receive(cloud, url):
        timeout = 1 if message["Body"] == "soon" else 0
        cloud.sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=timeout
        )
    assert bodies(receive(cloud, url)) == {"at once"}
    cloud.wait(1.1)
    assert bodies(receive(cloud, url)) == {"soon"}


def test_what_is_hidden_longer_stays_hidden(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key, visibility_seconds=1)
    send_all(cloud, url, "slow")
    (message,) = receive(cloud, url)
    cloud.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=60)
    cloud.wait(1.1)
    assert receive(cloud, url) == []


def hiding(cloud: Cloud, url: str, handle: str, seconds: int) -> str:
    given = {"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": seconds}
    return code(cloud.sqs.change_message_visibility, **given)


@besides(EMBEDDED)  # it hides for any time
def test_nothing_is_hidden_for_more_than_12_hours(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "slow")
    (message,) = receive(cloud, url)
    assert hiding(cloud, url, message["ReceiptHandle"], 43201) == "InvalidParameterValue"


@besides(EMBEDDED)  # it hides for any time
def test_the_12_hours_begin_when_a_message_is_received(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "slow")
    (message,) = receive(cloud, url)
    cloud.wait(1.1)
    assert hiding(cloud, url, message["ReceiptHandle"], 43200) == "InvalidParameterValue"


def test_only_what_was_received_can_be_hidden(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    assert hiding(cloud, url, "no-handle", 1) == "ReceiptHandleIsInvalid"
    send_all(cloud, url, "a")
    (deleted,) = receive(cloud, url)
    cloud.sqs.delete_message(QueueUrl=url, ReceiptHandle=deleted["ReceiptHandle"])
    refusal = hiding(cloud, url, deleted["ReceiptHandle"], 1)
    assert refusal == (
        "InvalidParameterValue" if cloud.name == STAND_IN else "ReceiptHandleIsInvalid"
    )  # AWS: the first


@besides(MOTO, EMBEDDED)  # they do not mind
def test_what_is_visible_again_cannot_be_hidden(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "a")
    (visible,) = receive(cloud, url)
    cloud.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=visible["ReceiptHandle"], VisibilityTimeout=0)
    cloud.wait(0.1)
    assert hiding(cloud, url, visible["ReceiptHandle"], 1).endswith("MessageNotInflight")


def test_what_is_never_done_becomes_a_dead_letter(cloud: Cloud, key: str) -> None:
    letters = cloud.queue(f"{key}-dead")
    url = cloud.queue(key, visibility_seconds=0, tries=2, dead_letters=letters)
    sent = send_all(cloud, url, "poison")["Successful"][0]["MessageId"]
    assert [counts(receive(cloud, url)) for _ in range(2)] == [{"1"}, {"2"}]
    assert receive(cloud, url) == []
    assert [message["MessageId"] for message in receive(cloud, letters)] == [sent]
    assert receive(cloud, url) == []


def test_a_batch_has_1_to_10_entries_with_ids_of_their_own(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    entry = {"Id": "0", "MessageBody": "x"}
    cases = {
        "EmptyBatch": [],
        "TooManyEntries": [{**entry, "Id": str(n)} for n in range(11)],
        "NotDistinct": [entry] * 2,
    }
    for name, entries in cases.items():
        assert name in code(cloud.sqs.send_message_batch, QueueUrl=url, Entries=entries)
    assert receive(cloud, url) == []


@besides(EMBEDDED)  # it takes any delay
def test_an_impossible_delay_fails_by_itself(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    entries = [{"Id": str(delay), "MessageBody": "x", "DelaySeconds": delay} for delay in (0, 901)]
    answer = cloud.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == ["0"]
    assert [each["Id"] for each in answer["Failed"]] == ["901"]
    assert answer["Failed"][0]["SenderFault"] is True


def test_an_unknown_queue_is_named(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key) + "-not"
    assert code(cloud.sqs.receive_message, QueueUrl=url).endswith("NonExistentQueue")
    entries = [{"Id": "0", "MessageBody": "x"}]
    assert code(cloud.sqs.send_message_batch, QueueUrl=url, Entries=entries).endswith("NonExistentQueue")


def test_a_queue_is_purged(cloud: Cloud, key: str) -> None:
    url = cloud.queue(key)
    send_all(cloud, url, "a", "b")
    cloud.sqs.purge_queue(QueueUrl=url)
    assert receive(cloud, url) == []


# --- Secrets Manager ---

TOKEN = "11111111-2222-4333-8444-{:012d}"


def token() -> str:
    return TOKEN.format(next(numbers))


def value(cloud: Cloud, name: str, **more: Any) -> str:
    return str(cloud.secretsmanager.get_secret_value(SecretId=name, **more)["SecretString"])


def add(cloud: Cloud, name: str, text: str, version: str, *stages: str) -> Any:
    more = {"VersionStages": list(stages)} if stages else {}
    return cloud.secretsmanager.put_secret_value(SecretId=name, SecretString=text, ClientRequestToken=version, **more)


def stages(cloud: Cloud, name: str) -> dict[str, set[str]]:
    found = cloud.secretsmanager.describe_secret(SecretId=name)["VersionIdsToStages"]
    return {version: set(labels) for version, labels in found.items()}


def move(cloud: Cloud, name: str, stage: str, **more: str) -> Any:
    return cloud.secretsmanager.update_secret_version_stage(SecretId=name, VersionStage=stage, **more)


def test_a_secret_is_created_read_and_changed(cloud: Cloud, key: str) -> None:
    created = cloud.secretsmanager.create_secret(Name=key, SecretString="first")
    answer = cloud.secretsmanager.get_secret_value(SecretId=key)
    assert (answer["Name"], answer["SecretString"], answer["VersionStages"]) == (key, "first", ["AWSCURRENT"])
    assert answer["VersionId"] == created["VersionId"]
    assert value(cloud, created["ARN"]) == "first"
    second = cloud.secretsmanager.put_secret_value(SecretId=key, SecretString="second")
    assert second["VersionStages"] == ["AWSCURRENT"]
    assert value(cloud, key) == "second"
    assert value(cloud, key, VersionStage="AWSPREVIOUS") == "first"
    assert stages(cloud, key) == {created["VersionId"]: {"AWSPREVIOUS"}, second["VersionId"]: {"AWSCURRENT"}}


def test_a_secret_is_created_once(cloud: Cloud, key: str) -> None:
    cloud.secretsmanager.create_secret(Name=key, SecretString="first")
    with pytest.raises(cloud.secretsmanager.exceptions.ResourceExistsException):
        cloud.secretsmanager.create_secret(Name=key, SecretString="second")


def test_a_secret_that_is_not_there_is_missing(cloud: Cloud, key: str) -> None:
    secrets = cloud.secretsmanager
    for call in (secrets.get_secret_value, secrets.describe_secret, secrets.delete_secret):
        assert code(call, SecretId=key) == "ResourceNotFoundException"
    assert code(secrets.put_secret_value, SecretId=key, SecretString="x") == "ResourceNotFoundException"
    secrets.create_secret(Name=key, SecretString="x")
    given = [{"VersionStage": "AWSPENDING"}, {"VersionId": token()}]
    for more in given:
        assert code(secrets.get_secret_value, SecretId=key, **more) == "ResourceNotFoundException"


def test_a_pending_version_changes_nothing_for_the_others(cloud: Cloud, key: str) -> None:
    first, second = token(), token()
    add_first(cloud, key, first)
    answer = add(cloud, key, "second", second, "AWSPENDING")
    assert (answer["VersionId"], answer["VersionStages"]) == (second, ["AWSPENDING"])
    assert value(cloud, key) == "first"
    assert value(cloud, key, VersionId=second) == value(cloud, key, VersionStage="AWSPENDING") == "second"
    assert value(cloud, key, VersionId=second, VersionStage="AWSPENDING") == "second"


@besides(EMBEDDED)  # it leaves the label at both
def test_a_label_is_at_one_version_only(cloud: Cloud, key: str) -> None:
    second, third = token(), token()
    add_first(cloud, key, token())
    add(cloud, key, "second", second, "AWSPENDING")
    add(cloud, key, "third", third, "AWSPENDING")
    assert value(cloud, key, VersionStage="AWSPENDING") == "third"
    assert not stages(cloud, key).get(second)  # AWS names no version without a label, moto does


def add_first(cloud: Cloud, key: str, version: str) -> None:
    """Create a secret whose current version has this id."""
    cloud.secretsmanager.create_secret(Name=key, SecretString="before")
    add(cloud, key, "first", version)


def test_a_value_is_put_once_per_token(cloud: Cloud, key: str) -> None:
    first = token()
    add_first(cloud, key, first)
    pending = token()
    for _ in range(2):
        answer = add(cloud, key, "second", pending, "AWSPENDING")
        assert answer["VersionStages"] == ["AWSPENDING"]
    assert value(cloud, key) == "first"


@besides(MOTO, EMBEDDED)  # they do not mind; moto takes the other value
def test_another_value_under_the_same_token_is_refused(cloud: Cloud, key: str) -> None:
    pending = token()
    add_first(cloud, key, token())
    add(cloud, key, "second", pending, "AWSPENDING")
    with pytest.raises(ClientError, match="ResourceExistsException"):
        add(cloud, key, "other", pending, "AWSPENDING")
    assert value(cloud, key, VersionStage="AWSPENDING") == "second"


@besides(EMBEDDED)  # it looks at the version only
def test_a_version_and_a_stage_that_disagree_are_refused(cloud: Cloud, key: str) -> None:
    first = token()
    add_first(cloud, key, first)
    given = {"SecretId": key, "VersionId": first, "VersionStage": "AWSPENDING"}
    assert code(cloud.secretsmanager.get_secret_value, **given) == "InvalidRequestException"


def test_a_token_has_32_characters(cloud: Cloud, key: str) -> None:
    cloud.secretsmanager.create_secret(Name=key, SecretString="x")
    with pytest.raises(ParamValidationError):
        add(cloud, key, "y", "short")
    with pytest.raises(ParamValidationError):
        value(cloud, key, VersionId="short")


@besides(MOTO)  # it moves the label and goes on answering with the former value
def test_the_current_label_moves_and_leaves_previous_behind(cloud: Cloud, key: str) -> None:
    first, second = token(), token()
    add_first(cloud, key, first)
    add(cloud, key, "second", second, "AWSPENDING")
    move(cloud, key, "AWSCURRENT", MoveToVersionId=second, RemoveFromVersionId=first)
    assert value(cloud, key) == "second"
    assert stages(cloud, key) == {first: {"AWSPREVIOUS"}, second: {"AWSCURRENT", "AWSPENDING"}}
    move(cloud, key, "AWSPENDING", RemoveFromVersionId=second)
    assert stages(cloud, key) == {first: {"AWSPREVIOUS"}, second: {"AWSCURRENT"}}


def test_who_moves_a_label_must_know_where_it_is(cloud: Cloud, key: str) -> None:
    first, second = token(), token()
    add_first(cloud, key, first)
    add(cloud, key, "second", second, "AWSPENDING")
    for more in ({}, {"RemoveFromVersionId": second}):
        given = {"SecretId": key, "VersionStage": "AWSCURRENT", "MoveToVersionId": second, **more}
        assert code(cloud.secretsmanager.update_secret_version_stage, **given) == "InvalidParameterException"
    assert value(cloud, key) == "first"


@besides(MOTO, EMBEDDED)  # they take it away
def test_the_current_label_cannot_be_taken_away(cloud: Cloud, key: str) -> None:
    first = token()
    add_first(cloud, key, first)
    given = {"SecretId": key, "VersionStage": "AWSCURRENT", "RemoveFromVersionId": first}
    assert code(cloud.secretsmanager.update_secret_version_stage, **given) == "InvalidParameterException"


def test_a_label_moves_only_to_a_version_that_is_there(cloud: Cloud, key: str) -> None:
    first = token()
    add_first(cloud, key, first)
    given = {"SecretId": key, "VersionStage": "AWSCURRENT", "MoveToVersionId": token(), "RemoveFromVersionId": first}
    refusal = code(cloud.secretsmanager.update_secret_version_stage, **given)
    assert refusal == ("InvalidParameterException" if cloud.name == MOTO else "ResourceNotFoundException")
    if cloud.name != MOTO:  # which takes the label away before it refuses
        assert stages(cloud, key)[first] == {"AWSCURRENT"}


def listed(cloud: Cloud, prefix: str) -> dict[str, Any]:
    filters = [{"Key": "name", "Values": [prefix]}]
    paging = {} if cloud.name == STAND_IN else {"PaginationConfig": {"PageSize": PAGE_SIZE}}
    pages = cloud.secretsmanager.get_paginator("list_secrets").paginate(Filters=filters, **paging)
    return {secret["Name"]: secret for page in pages for secret in page["SecretList"]}


def test_secrets_are_listed_by_the_beginning_of_their_names_over_all_pages(cloud: Cloud, key: str) -> None:
    wanted = {f"{key}/duba/{number}" for number in range(5)}
    for name in (*wanted, f"{key}/altinn/1"):
        cloud.secretsmanager.create_secret(Name=name, SecretString="x")
    assert set(listed(cloud, f"{key}/duba/")) == wanted
    assert listed(cloud, f"{key}/none/") == {}


@besides(EMBEDDED)  # it looks anywhere in the name
def test_a_secret_is_not_listed_by_the_middle_of_its_name(cloud: Cloud, key: str) -> None:
    cloud.secretsmanager.create_secret(Name=f"other/{key}/duba", SecretString="x")
    assert listed(cloud, f"{key}/duba") == {}


def test_a_change_shows_in_the_list(cloud: Cloud, key: str) -> None:
    cloud.secretsmanager.create_secret(Name=key, SecretString="x")
    before = listed(cloud, key)[key]["LastChangedDate"]
    cloud.wait(1.1)
    cloud.secretsmanager.put_secret_value(SecretId=key, SecretString="y")
    after = listed(cloud, key)[key]["LastChangedDate"]
    assert before.tzinfo is not None
    assert after > before
    assert cloud.secretsmanager.describe_secret(SecretId=key)["LastChangedDate"] == after


def test_a_deleted_secret_is_gone_at_once_and_its_name_taken(cloud: Cloud, key: str) -> None:
    secrets = cloud.secretsmanager
    secrets.create_secret(Name=key, SecretString="x")
    secrets.delete_secret(SecretId=key)
    assert code(secrets.get_secret_value, SecretId=key) == "InvalidRequestException"
    assert listed(cloud, key) == {}
    assert secrets.describe_secret(SecretId=key)["DeletedDate"] is not None
    refusal = code(secrets.create_secret, Name=key, SecretString="y")
    assert refusal == (
        "InvalidRequestException" if cloud.name == STAND_IN else "ResourceExistsException"
    )  # AWS: the first


@besides(MOTO)  # it does not mind
def test_a_deleted_secret_takes_no_value(cloud: Cloud, key: str) -> None:
    cloud.secretsmanager.create_secret(Name=key, SecretString="x")
    cloud.secretsmanager.delete_secret(SecretId=key)
    given = {"SecretId": key, "SecretString": "y"}
    assert code(cloud.secretsmanager.put_secret_value, **given) == "InvalidRequestException"


def test_a_secret_deleted_without_recovery_can_be_created_again(cloud: Cloud, key: str) -> None:
    secrets = cloud.secretsmanager
    secrets.create_secret(Name=key, SecretString="x")
    secrets.delete_secret(SecretId=key, ForceDeleteWithoutRecovery=True)
    assert code(secrets.get_secret_value, SecretId=key) == "ResourceNotFoundException"
    secrets.create_secret(Name=key, SecretString="y")
    assert value(cloud, key) == "y"


def test_several_secrets_are_read_at_once_and_what_has_no_value_is_named(cloud: Cloud, key: str) -> None:
    secrets = cloud.secretsmanager
    names = [f"{key}/{number}" for number in range(3)]
    for name in names:
        secrets.create_secret(Name=name, SecretString=f"value of {name}")
    secrets.delete_secret(SecretId=names[2])
    answer = secrets.batch_get_secret_value(SecretIdList=[*names, f"{key}/none"])
    assert {each["Name"]: each["SecretString"] for each in answer["SecretValues"]} == {
        name: f"value of {name}" for name in names[:2]
    }
    codes = {each["SecretId"]: each["ErrorCode"] for each in answer["Errors"]}
    assert codes == {names[2]: "InvalidRequestException", f"{key}/none": "ResourceNotFoundException"}
    assert not answer.get("NextToken")


@besides(MOTO, EMBEDDED)  # they do not count
def test_no_more_than_twenty_secrets_are_read_at_once(cloud: Cloud, key: str) -> None:
    names = [f"{key}/{number}" for number in range(21)]
    assert code(cloud.secretsmanager.batch_get_secret_value, SecretIdList=names) == "InvalidParameterException"


# --- EventBridge ---


def event(detail: str) -> dict[str, str]:
    return {"EventBusName": BUS, "Source": "amtsbote", "DetailType": "Document Received", "Detail": detail}


@besides(EMBEDDED)  # it takes any text
def test_events_are_taken_one_by_one(cloud: Cloud) -> None:
    answer = cloud.events.put_events(Entries=[event("{}"), event("no JSON"), event('{"id": "1"}')])
    assert answer["FailedEntryCount"] == 1
    assert ["EventId" in entry for entry in answer["Entries"]] == [True, False, True]
    assert answer["Entries"][1]["ErrorCode"] == "MalformedDetail"


def test_at_most_ten_events_are_taken(cloud: Cloud) -> None:
    assert cloud.events.put_events(Entries=[event("{}")] * 10)["FailedEntryCount"] == 0
    assert code(cloud.events.put_events, Entries=[event("{}")] * 11) == "ValidationException"


# --- KMS ---

CONTEXT = {"amtsbote-reference": "amtsbote-1"}


def sealed(cloud: Cloud, key_id: str, secret: bytes = b"geheim", context: dict[str, str] = CONTEXT) -> bytes:
    return bytes(cloud.kms.encrypt(KeyId=key_id, Plaintext=secret, EncryptionContext=context)["CiphertextBlob"])


def test_a_secret_opens_with_its_key_under_its_context(cloud: Cloud) -> None:
    key_id, _ = cloud.keys()
    blob = sealed(cloud, key_id)
    assert b"geheim" not in blob and blob != sealed(cloud, key_id)
    for named in ({"KeyId": key_id}, {}):
        answer = cloud.kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, **named)
        assert answer["Plaintext"] == b"geheim" and answer["KeyId"].endswith(f"key/{key_id}")
    again = cloud.kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, KeyId=answer["KeyId"])
    assert again["Plaintext"] == b"geheim"


@pytest.mark.parametrize("context", [{}, {"amtsbote-reference": "amtsbote-2"}, {**CONTEXT, "more": "x"}])
def test_a_secret_opens_under_no_other_context(cloud: Cloud, context: dict[str, str]) -> None:
    key_id, _ = cloud.keys()
    blob = sealed(cloud, key_id)
    assert code(cloud.kms.decrypt, CiphertextBlob=blob, EncryptionContext=context) == "InvalidCiphertextException"


@besides(MOTO)  # it denies the access
def test_what_kms_has_not_sealed_does_not_open(cloud: Cloud) -> None:
    key_id, _ = cloud.keys()
    assert code(cloud.kms.decrypt, CiphertextBlob=b"x" * 200, KeyId=key_id) == "InvalidCiphertextException"


@besides(MOTO, EMBEDDED)  # the one denies the access, the other opens it
def test_a_secret_opens_with_no_other_key(cloud: Cloud) -> None:
    key_id, other = cloud.keys()
    blob = sealed(cloud, key_id)
    opening = partial(cloud.kms.decrypt, CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert code(opening, KeyId=other) == "IncorrectKeyException"


def test_a_key_that_is_not_there_seals_nothing(cloud: Cloud) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    assert code(cloud.kms.encrypt, KeyId=missing, Plaintext=b"x") == "NotFoundException"


@besides(EMBEDDED)  # it seals whatever comes
def test_a_secret_has_1_to_4096_bytes(cloud: Cloud) -> None:
    key_id, _ = cloud.keys()
    assert sealed(cloud, key_id, b"x" * 4096)
    for size in (0, 4097):
        assert code(cloud.kms.encrypt, KeyId=key_id, Plaintext=b"x" * size) == "ValidationException"


# --- the stand-ins alone ---


@pytest.fixture
def clock() -> Clock:
    """Provide a time that stands still."""
    return Clock()


@pytest.fixture
def own(clock: Clock) -> Cloud:
    """Provide stand-ins of this test's own."""
    return stand_ins(clock)


@pytest.mark.parametrize("service", SERVICES)
def test_unknown_operations_are_refused(own: Cloud, service: str) -> None:
    with pytest.raises(NotImplementedError, match="tag_resource"):
        getattr(own, service).tag_resource()
    assert not hasattr(getattr(own, service), "meta")
    with pytest.raises(NotImplementedError, match="list_everything"):
        getattr(own, service).get_paginator("list_everything")


def operations_of(client: Client) -> list[Callable[..., Any]]:
    """Return everything of a stand-in that has the form of a boto3 operation."""
    members = (getattr(client, name) for name, member in vars(type(client)).items() if inspect.isfunction(member))
    return [each for each in members if each.__name__[0] != "_" and is_operation(each)]


def is_operation(member: Callable[..., Any]) -> bool:
    parameters = inspect.signature(member).parameters.values()
    return bool(parameters) and all(each.name[0].isupper() for each in parameters)


@pytest.mark.parametrize("service", SERVICES)
def test_unknown_parameters_are_refused(own: Cloud, service: str) -> None:
    operations = operations_of(getattr(own, service))
    assert operations
    for operation in operations:
        required = dict.fromkeys(inspect.signature(operation).parameters, "x")
        with pytest.raises(TypeError, match="RequestPayer"):
            operation(**required, RequestPayer="requester")


@pytest.mark.parametrize(
    ("service", "paginator"),
    [
        ("s3", "list_objects_v2"),
        ("s3", "list_object_versions"),
        ("dynamodb", "query"),
        ("secretsmanager", "list_secrets"),
    ],
)
def test_unknown_parameters_of_paginators_are_refused(own: Cloud, service: str, paginator: str) -> None:
    with pytest.raises(TypeError, match="Sideways"):
        list(getattr(own, service).get_paginator(paginator).paginate(Sideways="x"))


@pytest.mark.parametrize(
    "condition",
    [
        "attribute_exists(pk)",
        "attribute_not_exists(pk) AND #version = :version",
        "#version > :version",
        "attribute_not_exists(pk) OR size(#version) < :version",
        "NOT #version = :version",
    ],
)
def test_unknown_conditions_are_refused(own: Cloud, condition: str) -> None:
    more = {"ExpressionAttributeNames": VERSION_NAME, "ExpressionAttributeValues": IS_VERSION}
    with pytest.raises(NotImplementedError):
        write(own, row("a"), ConditionExpression=condition, **more)


def test_other_things_that_nobody_asks_for_are_refused(own: Cloud) -> None:
    url = own.queue("q")
    calls: list[Callable[[], object]] = [
        lambda: put(own, "key", IfNoneMatch='"etag"'),
        lambda: own.dynamodb.get_item(TableName=TABLE, Key=row("a"), ConsistentRead=False),
        lambda: own.dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": [row("a")], "ConsistentRead": False}}),
        lambda: own.dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": [row("a")]}}),
        lambda: own.pages(
            own.dynamodb,
            "query",
            TableName=TABLE,
            IndexName="due",
            KeyConditionExpression="begins_with(dueQueue, :queue)",
            ExpressionAttributeValues={":queue": {"S": "q"}},
        ),
        lambda: own.pages(
            own.dynamodb,
            "query",
            TableName=TABLE,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "q"}},
        ),
        lambda: own.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "key"}], "Quiet": True}),
        lambda: own.sqs.send_message_batch(
            QueueUrl=url, Entries=[{"Id": "0", "MessageBody": "x", "MessageGroupId": "g"}]
        ),
        lambda: own.sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["SenderId"]),
        lambda: own.pages(own.secretsmanager, "list_secrets", Filters=[{"Key": "tag-key", "Values": ["x"]}]),
        lambda: own.events.put_events(Entries=[{**event("{}"), "EventBusName": "other"}]),
        lambda: own.events.put_events(Entries=[{**event("{}"), "Resources": []}]),
    ]
    own.sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "0", "MessageBody": "x"}])
    for call in calls:
        with pytest.raises(NotImplementedError):
            call()


def test_equal_runs_have_equal_ids(clock: Clock) -> None:
    def told(cloud: Cloud) -> list[Any]:
        url = cloud.queue("q")
        answers = [put(cloud, "key"), cloud.s3.delete_object(Bucket=BUCKET, Key="key"), begin(cloud, "key")]
        answers += [send_all(cloud, url, "a"), receive(cloud, url)]
        answers += [cloud.secretsmanager.create_secret(Name="a", SecretString="x")]
        return [*answers, cloud.events.put_events(Entries=[event("{}")])]

    assert told(stand_ins(clock)) == told(stand_ins(clock))


def test_every_write_and_removal_of_an_object_is_observed(own: Cloud) -> None:
    seen: list[tuple[str, str, str, bool, bool]] = []
    own.s3.observers.append(lambda b, k, v: seen.append((b, k, v.id, v.is_delete_marker, v.deleted)))
    first = put(own, "key", IfNoneMatch="*")["VersionId"]
    with pytest.raises(ClientError):
        put(own, "key", IfNoneMatch="*")
    upload = begin(own, "key")
    parts = [send(own, "key", upload, 1, b"x")]
    second = complete(own, "key", upload, parts)["VersionId"]
    marker = own.s3.delete_object(Bucket=BUCKET, Key="key")["VersionId"]
    own.s3.delete_object(Bucket=BUCKET, Key="key", VersionId=first)
    own.s3.delete_object(Bucket=BUCKET, Key="key", VersionId=first)
    written = [(BUCKET, "key", version, version == marker, False) for version in (first, second, marker)]
    assert seen == [*written, (BUCKET, "key", first, False, True)]
    assert own.s3.keys(BUCKET) == []
    assert [version.id for version in own.s3.versions(BUCKET, "key")] == [marker, second]


def test_an_upload_that_was_left_behind_shows(own: Cloud) -> None:
    begin(own, "left")
    own.s3.abort_multipart_upload(Bucket=BUCKET, Key="aborted", UploadId=begin(own, "aborted"))
    assert [upload.key for upload in own.s3.uploads] == ["left"]


def test_parts_may_be_as_small_as_a_simulation_wants_them(clock: Clock) -> None:
    s3 = InMemoryS3(clock, [BUCKET], smallest_part_bytes=2)
    small = Cloud(STAND_IN, s3, None, None, None, None, None, clock.forward)
    for size, fits in ((2, True), (1, False)):
        upload = begin(small, "key")
        parts = [send(small, "key", upload, number, b"x" * size) for number in (1, 2)]
        if fits:
            complete(small, "key", upload, parts)
        else:
            assert code(complete, cloud=small, key="key", upload=upload, parts=parts) == "EntityTooSmall"


def test_a_list_that_changes_between_its_pages_goes_on_behind_the_last_entry(own: Cloud) -> None:
    for name in "abcefg":
        put(own, name)
    pages = own.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    assert [each["Key"] for each in next(pages)["Contents"]] == ["a", "b", "c"]
    for name in "cg":
        own.s3.delete_object(Bucket=BUCKET, Key=name)
    for name in "1d":
        put(own, name)
    assert [each["Key"] for page in pages for each in page["Contents"]] == ["d", "e", "f"]


def test_every_write_of_a_row_is_observed(own: Cloud) -> None:
    seen: list[Any] = []
    own.dynamodb.observers.append(lambda before, after: seen.append((before, after)))
    first, second = row("a", n={"N": "1"}), row("a", n={"N": "2"})
    write(own, first)
    assert not write_if(own, second, "attribute_not_exists(pk)")
    write(own, second)
    assert seen == [(None, first), (first, second)]
    assert dict(own.dynamodb.rows) == {("a", "STATE"): second}


def test_a_row_shares_nothing_with_whoever_wrote_or_read_it(own: Cloud) -> None:
    item = row("a", history={"L": [{"S": "first"}]}, more={"M": {"x": {"S": "y"}}})
    write(own, item)
    item["history"]["L"].append({"S": "second"})
    stored(own, "a")["more"]["M"].clear()
    assert stored(own, "a") == row("a", history={"L": [{"S": "first"}]}, more={"M": {"x": {"S": "y"}}})


def lagging(clock: Clock, *lags: float) -> Cloud:
    """Return a cloud whose index takes so long for each write, one after the other."""
    drawn = iter(lags)
    dynamodb = InMemoryDynamoDb(clock, TABLE, lag=lambda: next(drawn))
    return Cloud(STAND_IN, None, dynamodb, None, None, None, None, clock.forward)


def test_the_index_lags_behind_the_table(clock: Clock) -> None:
    cloud = lagging(clock, 5, 5)
    write(cloud, row("x-1", dueQueue={"S": "q"}, dueAt={"S": "1"}))
    assert names(due(cloud, "q", "9")) == []
    clock.forward(5)
    assert names(due(cloud, "q", "9")) == ["1"]
    write(cloud, row("x-1"))
    assert stored(cloud, "x-1") == row("x-1")
    assert names(due(cloud, "q", "9")) == ["1"], "the row as it was"
    clock.forward(5)
    assert names(due(cloud, "q", "9")) == []


def test_changes_of_one_row_reach_the_index_in_their_order(clock: Clock) -> None:
    cloud = lagging(clock, 9, 1, 1)
    write(cloud, row("x-1", dueQueue={"S": "q"}, dueAt={"S": "1"}))
    write(cloud, row("x-1"))
    write(cloud, row("x-2", dueQueue={"S": "q"}, dueAt={"S": "1"}))
    clock.forward(1)
    assert names(due(cloud, "q", "9")) == ["2"]
    clock.forward(8)
    assert names(due(cloud, "q", "9")) == ["2"], "the removal has overtaken the image"


def test_a_batched_read_may_leave_keys_out(clock: Clock) -> None:
    left = iter((2, 0, 3))
    dynamodb = InMemoryDynamoDb(clock, TABLE, unprocessed=lambda count: next(left))
    cloud = Cloud(STAND_IN, None, dynamodb, None, None, None, None, clock.forward)
    for name in "abc":
        write(cloud, row(name))
    wanted: Any = {TABLE: {"Keys": [row(name) for name in "abc"], "ConsistentRead": True}}
    first = dynamodb.batch_get_item(RequestItems=wanted)
    assert first["Responses"][TABLE] == [row("a")]
    second = dynamodb.batch_get_item(RequestItems=first["UnprocessedKeys"])
    assert {found["pk"]["S"] for found in second["Responses"][TABLE]} == {"b", "c"}
    assert second["UnprocessedKeys"] == {}
    assert code(dynamodb.batch_get_item, RequestItems=wanted) == "ProvisionedThroughputExceededException"


def test_a_receive_may_come_in_any_order(clock: Clock) -> None:
    sqs = InMemorySqs(clock, order=lambda messages: messages.reverse())
    cloud = Cloud(STAND_IN, None, None, sqs, None, None, None, clock.forward)
    url = cloud.queue("q")
    send_all(cloud, url, "a", "b", "c")
    assert [message["Body"] for message in receive(cloud, url, 2)] == ["c", "b"]
    assert [message["Body"] for message in receive(cloud, url, 2)] == ["a"]


def test_the_handle_of_an_earlier_receive_has_no_effect(own: Cloud) -> None:
    url = own.queue("q", visibility_seconds=1)
    send_all(own, url, "slow")
    (first,) = receive(own, url)
    own.wait(1)
    (second,) = receive(own, url)
    assert hiding(own, url, first["ReceiptHandle"], 60) == "InvalidParameterValue"
    own.sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert [message.body for message in own.sqs.messages(url)] == ["slow"]
    own.sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    assert own.sqs.messages(url) == []


def test_a_hidden_message_can_be_hidden_for_what_is_left_of_12_hours(own: Cloud) -> None:
    url = own.queue("q", visibility_seconds=7200)
    send_all(own, url, "slow")
    (message,) = receive(own, url)
    own.wait(3600)
    assert hiding(own, url, message["ReceiptHandle"], 11 * 3600 + 1) == "InvalidParameterValue"
    own.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=11 * 3600)
    own.wait(11 * 3600 - 1)
    assert receive(own, url) == []
    own.wait(1)
    assert len(receive(own, url)) == 1


def test_dead_letters_and_the_next_moment_are_seen(own: Cloud, clock: Clock) -> None:
    letters = own.queue("dead")
    url = own.queue("q", visibility_seconds=60, tries=1, dead_letters=letters)
    assert own.sqs.next_visible_at is None
    send_all(own, url, "poison", delay=10)
    assert own.sqs.next_visible_at == clock() + timedelta(seconds=10)
    own.wait(10)
    receive(own, url)
    assert own.sqs.next_visible_at == clock() + timedelta(seconds=60)
    own.wait(60)
    receive(own, url)
    assert [message.body for message in own.sqs.dead_letters] == ["poison"]
    assert own.sqs.next_visible_at is None


def test_a_message_becomes_a_record_of_a_lambda_event(own: Cloud) -> None:
    url = own.queue("q")
    send_all(own, url, "x")
    answer = own.sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["All"])
    record = record_of(answer["Messages"][0])
    real = json.loads((ROOT / "events" / "fetch.json").read_text(encoding="utf-8"))["Records"][0]
    assert record.keys() <= real.keys()
    assert record["attributes"].keys() <= real["attributes"].keys()
    assert (record["body"], record["attributes"]["ApproximateReceiveCount"]) == ("x", "1")


def test_a_rotation_begins_with_an_empty_version(own: Cloud) -> None:
    secrets, pending = own.secretsmanager, token()
    secrets.create_secret(Name="a", SecretString="before")
    secrets.begin_rotation("a", pending)
    description = secrets.describe_secret(SecretId="a")
    assert description["RotationEnabled"] is True
    assert description["VersionIdsToStages"][pending] == ["AWSPENDING"]
    given = {"SecretId": "a", "VersionId": pending, "VersionStage": "AWSPENDING"}
    assert code(secrets.get_secret_value, **given) == "ResourceNotFoundException"
    add(own, "a", "after", pending, "AWSPENDING")
    secrets.begin_rotation("a", pending)
    assert value(own, "a", VersionId=pending, VersionStage="AWSPENDING") == "after"
    assert value(own, "a") == "before"


def test_what_was_published_is_kept_in_order(own: Cloud, clock: Clock) -> None:
    own.events.put_events(Entries=[event('{"id": "1"}'), event("[]"), event('{"id": "2"}')])
    assert [each.detail for each in own.events.published] == [{"id": "1"}, {"id": "2"}]
    first = own.events.published[0]
    assert (first.at, first.bus, first.source, first.detail_type) == (clock(), BUS, "amtsbote", "Document Received")


def test_a_call_costs_some_ten_microseconds(own: Cloud) -> None:
    """So that a simulation can make millions; the limit leaves room for a slow machine."""
    item = row("a") | {f"name-{number}": {"S": "some text"} for number in range(15)}
    calls: list[Callable[[], object]] = [
        lambda: put(own, "key"),
        lambda: read(own, "key"),
        lambda: write(own, item),
        lambda: stored(own, "a"),
    ]
    for call in calls:
        assert min(timeit.repeat(call, number=CALLS, repeat=5)) / CALLS < AFFORDABLE_SECONDS
