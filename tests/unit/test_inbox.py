"""The inbox on a real bucket (moto's): written once, checked before it is visible, evidence kept, memory bounded."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pytest
from botocore.exceptions import ClientError

from amtsbote.errors import OutOfTime, Quarantine, Retry
from amtsbote.inbox import PART_BYTES, Identity, Inbox, StoredFile
from amtsbote.portals.protocols import IncomingFile
from tests.unit.support import NOW, Recorder, refusal

PREFIX = "duba/klinikum/214"
IDENTITY = Identity("duba", "klinikum", "214", PREFIX)
MIB = 1024 * 1024
LARGE = bytes(range(256)) * (9 * 4096)  # 9 MiB: a part and a bit
SMALL = "Grüße\r\n".encode()


@pytest.fixture
def inbox(s3: Any, bucket: str) -> Inbox:
    return Inbox(s3, bucket)


def pieces(content: bytes, size: int = 256 * 1024) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def incoming(content: bytes, name: str = "a.pdf", **more: Any) -> IncomingFile:
    return IncomingFile(name, pieces(content), "application/pdf", **more)


def store(inbox: Inbox, *files: IncomingFile, last_try: bool = False) -> list[StoredFile]:
    return inbox.store_all(PREFIX, files, last_try=last_try)


def content_of(s3: Any, bucket: str, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def keys_in(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def writes_of(s3: Any, bucket: str, key: str) -> int:
    versions = s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", [])
    return sum(each["Key"] == key for each in versions)


def unfinished_uploads(s3: Any, bucket: str) -> int:
    return len(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def refuse(code: str = "NO_ZIP", *, may_pass: bool = False) -> Callable[[BinaryIO], None]:
    def verify(_: BinaryIO) -> None:
        raise Quarantine(code, "no ZIP at all", may_pass=may_pass)

    return verify


# --- storing ---


@pytest.mark.parametrize(
    "content", [b"", b"x", SMALL, b"p" * PART_BYTES, LARGE], ids=["0", "1", "small", "part", "9MiB"]
)
@pytest.mark.parametrize("verified", [False, True])
def test_a_file_arrives_byte_for_byte(inbox: Inbox, s3: Any, bucket: str, content: bytes, verified: bool) -> None:
    seen: list[bytes] = []
    verify = (lambda file: seen.append(file.read())) if verified else None
    (stored,) = store(inbox, incoming(content, size=len(content), portal_name="A/a.pdf", verify=verify))
    assert content_of(s3, bucket, f"{PREFIX}/a.pdf") == content
    digest = hashlib.sha256(content).hexdigest()
    assert stored == StoredFile(f"{PREFIX}/a.pdf", "a.pdf", "A/a.pdf", len(content), digest, "application/pdf")
    assert seen == ([content] if verified else [])


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "9MiB"])
def test_a_file_has_the_type_that_the_portal_gave_it(inbox: Inbox, s3: Any, bucket: str, content: bytes) -> None:
    store(inbox, incoming(content))
    assert s3.head_object(Bucket=bucket, Key=f"{PREFIX}/a.pdf")["ContentType"] == "application/pdf"


def test_a_file_without_announced_size_is_stored_too(inbox: Inbox, s3: Any, bucket: str) -> None:
    (stored,) = store(inbox, incoming(LARGE, size=None))
    assert (stored.size, content_of(s3, bucket, stored.key)) == (len(LARGE), LARGE)


def test_the_files_of_an_item_have_safe_and_unique_names_in_their_order(inbox: Inbox) -> None:
    names = ["a.pdf", "../a.pdf", "A.PDF", "document.json", ""]
    stored = store(inbox, *(incoming(SMALL, name) for name in names))
    assert [file.name for file in stored] == ["a.pdf", "a-2.pdf", "A-3.PDF", "document-2.json", "file"]
    assert [file.key for file in stored] == [f"{PREFIX}/{file.name}" for file in stored]


def test_a_file_is_consumed_before_the_next_is_asked_for(inbox: Inbox) -> None:
    story: list[str] = []

    def chunks(name: str) -> Iterator[bytes]:
        story.append(f"{name} begins")
        yield SMALL
        story.append(f"{name} ends")

    def files() -> Iterator[IncomingFile]:
        for name in "ab":
            story.append(f"{name} asked for")
            yield IncomingFile(name, chunks(name), "text/plain")

    inbox.store_all(PREFIX, files(), last_try=False)
    assert story == ["a asked for", "a begins", "a ends", "b asked for", "b begins", "b ends"]


def test_a_large_file_is_sent_in_parts_and_a_small_one_in_one_call(s3: Any, bucket: str) -> None:
    client: Any = Recorder(s3)
    store(Inbox(client, bucket), incoming(LARGE, "large"), incoming(SMALL, "small"))
    assert [len(part["Body"]) for part in client.named("upload_part")] == [PART_BYTES, MIB]
    assert [put["Key"] for put in client.named("put_object")] == [f"{PREFIX}/small"]


# --- written once ---


@pytest.mark.parametrize(
    ("first", "second"), [(SMALL, b"other"), (LARGE, LARGE[::-1]), (SMALL, LARGE), (LARGE, SMALL)], ids=len
)
def test_a_file_that_is_there_is_adopted_whatever_comes_the_second_time(
    inbox: Inbox, s3: Any, bucket: str, first: bytes, second: bytes
) -> None:
    (before,) = store(inbox, incoming(first))
    (adopted,) = store(inbox, incoming(second))
    assert adopted == before
    assert adopted.sha256 == hashlib.sha256(first).hexdigest()
    assert content_of(s3, bucket, adopted.key) == first
    assert writes_of(s3, bucket, adopted.key) == 1
    assert unfinished_uploads(s3, bucket) == 0


@pytest.mark.parametrize(
    ("content", "method"), [(SMALL, "put_object"), (LARGE, "complete_multipart_upload")], ids=["small", "9MiB"]
)
def test_a_write_under_way_elsewhere_is_a_retry(s3: Any, bucket: str, content: bytes, method: str) -> None:
    client: Any = Refusing(s3, method, "ConditionalRequestConflict")
    with pytest.raises(Retry, match="FILE_CONTENDED"):
        store(Inbox(client, bucket), incoming(content))
    assert unfinished_uploads(s3, bucket) == 0


class Refusing:
    """A client whose one method is refused by AWS."""

    def __init__(self, client: Any, method: str, code: str) -> None:
        self._client = client
        self._method = method
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return self._refuse if name == self._method else getattr(self._client, name)

    def _refuse(self, **_: Any) -> None:
        raise refusal(self._code)


@pytest.mark.parametrize(("method", "content"), [("put_object", SMALL), ("upload_part", LARGE)])
def test_any_other_refusal_of_the_bucket_is_passed_on(s3: Any, bucket: str, method: str, content: bytes) -> None:
    client: Any = Refusing(s3, method, "AccessDenied")
    with pytest.raises(ClientError):
        store(Inbox(client, bucket), incoming(content))
    assert unfinished_uploads(s3, bucket) == 0


# --- what fails on the way ---


@pytest.mark.parametrize("error", [OutOfTime(), Retry("PORTAL_BODY_CUT", "cut"), RuntimeError("defect")])
@pytest.mark.parametrize("before", [SMALL, LARGE], ids=["small", "9MiB"])
def test_a_file_that_breaks_off_leaves_nothing_behind(
    inbox: Inbox, s3: Any, bucket: str, error: Exception, before: bytes
) -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(before)
        raise error

    with pytest.raises(type(error)):
        store(inbox, IncomingFile("a", broken(), "x/y", verify=lambda _: None), last_try=True)
    assert keys_in(s3, bucket) == []
    assert unfinished_uploads(s3, bucket) == 0


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "9MiB"])
@pytest.mark.parametrize("announced", [0, 5, len(LARGE) + 1])
def test_a_file_of_another_length_than_announced_may_come_right_next_time(
    inbox: Inbox, s3: Any, bucket: str, content: bytes, announced: int
) -> None:
    with pytest.raises(Retry, match=rf"SIZE_DIFFERS: \d+( or more)? bytes came, {announced} were announced"):
        store(inbox, incoming(content, size=announced))
    assert keys_in(s3, bucket) == []
    assert unfinished_uploads(s3, bucket) == 0


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "9MiB"])
def test_at_the_last_try_a_file_of_another_length_is_quarantined_as_it_came(
    inbox: Inbox, s3: Any, bucket: str, content: bytes
) -> None:
    with pytest.raises(Quarantine, match="SIZE_DIFFERS"):
        store(inbox, incoming(content, size=len(content) + 1), last_try=True)
    assert keys_in(s3, bucket) == [f"quarantine/{PREFIX}/a.pdf"]
    assert content_of(s3, bucket, f"quarantine/{PREFIX}/a.pdf") == content


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "9MiB"])
@pytest.mark.parametrize("last_try", [False, True])
def test_unreadable_bytes_are_kept_verbatim_and_never_become_visible(
    inbox: Inbox, s3: Any, bucket: str, content: bytes, last_try: bool
) -> None:
    with pytest.raises(Quarantine, match="NO_ZIP"):
        store(inbox, incoming(content, verify=refuse()), last_try=last_try)
    assert keys_in(s3, bucket) == [f"quarantine/{PREFIX}/a.pdf"]
    assert content_of(s3, bucket, f"quarantine/{PREFIX}/a.pdf") == content
    assert unfinished_uploads(s3, bucket) == 0


def test_unreadable_bytes_that_may_come_right_are_fetched_again_and_leave_nothing(
    inbox: Inbox, s3: Any, bucket: str
) -> None:
    with pytest.raises(Retry, match="MAINTENANCE"):
        store(inbox, incoming(SMALL, verify=refuse("MAINTENANCE", may_pass=True)))
    assert keys_in(s3, bucket) == []


def test_unreadable_bytes_that_did_not_come_right_are_quarantined_at_the_last_try(
    inbox: Inbox, s3: Any, bucket: str
) -> None:
    with pytest.raises(Quarantine, match="MAINTENANCE"):
        store(inbox, incoming(SMALL, verify=refuse("MAINTENANCE", may_pass=True)), last_try=True)
    assert content_of(s3, bucket, f"quarantine/{PREFIX}/a.pdf") == SMALL


def test_the_files_before_an_unreadable_one_stay(inbox: Inbox, s3: Any, bucket: str) -> None:
    with pytest.raises(Quarantine):
        store(inbox, incoming(SMALL, "good"), incoming(SMALL, "bad", verify=refuse()), incoming(SMALL, "never"))
    assert keys_in(s3, bucket) == [f"{PREFIX}/good", f"quarantine/{PREFIX}/bad"]


def test_a_stream_that_finds_itself_unreadable_is_kept_while_it_is_whole(inbox: Inbox, s3: Any, bucket: str) -> None:
    with pytest.raises(Quarantine):
        store(inbox, IncomingFile("a", unreadable_after(SMALL), "x/y"))
    assert content_of(s3, bucket, f"quarantine/{PREFIX}/a") == SMALL


def test_the_end_of_a_stream_alone_does_not_pass_for_its_evidence(inbox: Inbox, s3: Any, bucket: str) -> None:
    with pytest.raises(Quarantine):
        store(inbox, IncomingFile("a", unreadable_after(LARGE), "x/y"))
    assert keys_in(s3, bucket) == []


def unreadable_after(content: bytes) -> Iterator[bytes]:
    yield from pieces(content)
    raise Quarantine("TAG_WRONG", "the content was changed on its way")


# --- memory ---


class Bottomless:
    """A bucket that takes everything and keeps only the lengths."""

    def __init__(self) -> None:
        self.taken = 0

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "upload"}

    def upload_part(self, *, Body: bytes, **_: Any) -> dict[str, str]:
        self.taken += len(Body)
        return {"ETag": "etag"}

    def complete_multipart_upload(self, **_: Any) -> None:
        """Take the object as complete."""


@pytest.mark.parametrize("verify", [None, lambda _: None], ids=["streamed", "spooled"])
def test_a_file_of_64_mib_needs_less_than_40_mib_of_memory(verify: Any) -> None:
    bucket: Any = Bottomless()
    chunk = b"x" * (256 * 1024)
    file = IncomingFile("a", (chunk for _ in range(256)), "x/y", size=64 * MIB, verify=verify)
    tracemalloc.start()
    try:
        store(Inbox(bucket, "inbox"), file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bucket.taken == 64 * MIB
    assert peak < 40 * MIB


# --- document.json ---


def test_the_commit_writes_the_document_of_the_contract(inbox: Inbox, s3: Any, bucket: str) -> None:
    stored = store(inbox, incoming(SMALL, "message-214.zip", portal_name=None))
    document = inbox.commit(IDENTITY, stored, {"betreff": "Müller", "preis": 1.5, "leer": None}, NOW)
    assert document == {
        "schema": "amtsbote.document/1",
        "portal": "duba",
        "connection": "klinikum",
        "id": "214",
        "receivedAt": "2026-02-19T14:30:00Z",
        "files": [
            {
                "key": "duba/klinikum/214/message-214.zip",
                "name": "message-214.zip",
                "portalName": None,
                "size": len(SMALL),
                "sha256": hashlib.sha256(SMALL).hexdigest(),
                "contentType": "application/pdf",
            }
        ],
        "metadata": {"betreff": "Müller", "preis": 1.5, "leer": None},
    }
    body = content_of(s3, bucket, f"{PREFIX}/document.json")
    assert json.loads(body) == document
    assert "Müller".encode() in body
    assert s3.head_object(Bucket=bucket, Key=f"{PREFIX}/document.json")["ContentType"] == "application/json"


def test_a_document_that_another_worker_has_committed_is_adopted(inbox: Inbox, s3: Any, bucket: str) -> None:
    first = inbox.commit(IDENTITY, [], {"first": True}, NOW)
    assert inbox.commit(IDENTITY, [], {"first": False}, NOW) == first
    assert inbox.document(PREFIX) == first
    assert writes_of(s3, bucket, f"{PREFIX}/document.json") == 1


def test_a_commit_under_way_elsewhere_is_a_retry(s3: Any, bucket: str) -> None:
    client: Any = Refusing(s3, "put_object", "ConditionalRequestConflict")
    with pytest.raises(Retry, match="COMMIT_CONTENDED"):
        Inbox(client, bucket).commit(IDENTITY, [], {}, NOW)


def test_an_item_is_there_as_soon_as_its_document_is_and_not_before(inbox: Inbox) -> None:
    store(inbox, incoming(SMALL))
    assert (inbox.is_committed(PREFIX), inbox.document(PREFIX)) == (False, None)
    inbox.commit(IDENTITY, [], {}, NOW)
    assert inbox.is_committed(PREFIX)


@pytest.mark.parametrize(
    ("tags", "processed"),
    [
        ({}, False),
        ({"processed": "true"}, True),
        ({"processed": "false"}, False),
        ({"Processed": "true"}, False),
        ({"other": "true", "processed": "true"}, True),
    ],
)
def test_a_document_is_processed_when_the_backend_has_tagged_it_so(
    inbox: Inbox, s3: Any, bucket: str, tags: dict[str, str], processed: bool
) -> None:
    inbox.commit(IDENTITY, [], {}, NOW)
    tag_set = [{"Key": key, "Value": value} for key, value in tags.items()]
    if tag_set:
        s3.put_object_tagging(Bucket=bucket, Key=f"{PREFIX}/document.json", Tagging={"TagSet": tag_set})
    assert inbox.is_processed(PREFIX) is processed


def test_a_document_that_is_not_there_is_not_processed(inbox: Inbox) -> None:
    assert not inbox.is_processed(PREFIX)


def test_a_document_that_was_deleted_is_not_processed(s3: Any, bucket: str) -> None:
    """S3 answers the tags of a delete marker with MethodNotAllowed; moto does not."""
    client: Any = Refusing(s3, "get_object_tagging", "MethodNotAllowed")
    assert not Inbox(client, bucket).is_processed(PREFIX)


@pytest.mark.parametrize("method", ["head_object", "get_object", "get_object_tagging"])
def test_a_bucket_that_may_not_be_read_is_never_taken_for_an_empty_one(s3: Any, bucket: str, method: str) -> None:
    client: Any = Refusing(s3, method, "AccessDenied")
    ask = {"head_object": Inbox.is_committed, "get_object": Inbox.document, "get_object_tagging": Inbox.is_processed}
    with pytest.raises(ClientError):
        ask[method](Inbox(client, bucket), PREFIX)
