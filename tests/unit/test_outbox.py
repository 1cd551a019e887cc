"""The outbox on a real, versioned bucket (moto's): which version an event speaks of, and what has vanished."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError, ResponseStreamingError
from urllib3.exceptions import ProtocolError

from amtsbote.errors import Reject, Retry
from amtsbote.keys import DropAddress, drop_reference
from amtsbote.messages import DropDetail, DroppedBucket, DroppedObject, DropRequest
from amtsbote.outbox import FIRST_BYTES, Outbox, Version
from amtsbote.portals.protocols import Drop
from tests.unit.support import Recorder, refusal

KEY = "docxworld/klinikum/ziel/Brief Müller.pdf"
ADDRESS = DropAddress("docxworld", "klinikum", ("ziel", "Brief Müller.pdf"))
CONTENT = b"0123456789"
LARGE = CONTENT * FIRST_BYTES
UNREAD = FIRST_BYTES  # where a large drop goes on behind what came with the first look at it


@pytest.fixture
def outbox(s3: Any) -> Outbox:
    return Outbox(s3)


def dropped(s3: Any, bucket: str, content: bytes = CONTENT, key: str = KEY, **more: Any) -> Version:
    answer = s3.put_object(Bucket=bucket, Key=key, Body=content, **more)
    return Version(bucket, key, answer["VersionId"], "01")


def event(bucket: str, **dropped_object: str) -> DropRequest:
    detail = DropDetail(bucket=DroppedBucket(name=bucket), object=DroppedObject(key=KEY, **dropped_object))
    return DropRequest(detail=detail)


def test_an_event_speaks_of_the_version_that_it_names(outbox: Outbox, s3: Any, bucket: str) -> None:
    first = dropped(s3, bucket)
    dropped(s3, bucket, b"newer")
    request = event(bucket, version_id=first.version_id, sequencer="0055AE")
    assert list(outbox.versions(request)) == [Version(bucket, KEY, first.version_id, "0055AE")]


def test_an_event_that_names_no_version_speaks_of_all_of_the_key_oldest_first(
    outbox: Outbox, s3: Any, bucket: str
) -> None:
    ids = [dropped(s3, bucket, bytes([number])).version_id for number in range(3)]
    dropped(s3, bucket, key=KEY + ".cancel.json")
    found = list(outbox.versions(event(bucket)))
    assert [(each.key, each.version_id) for each in found] == [(KEY, id_) for id_ in ids]
    assert len({each.sequence for each in found}) == 3
    assert [each.sequence for each in found] == sorted(each.sequence for each in found)


def test_an_event_without_version_of_a_key_that_is_gone_speaks_of_none(outbox: Outbox, bucket: str) -> None:
    assert list(outbox.versions(event(bucket))) == []


def test_a_drop_is_the_object_with_its_metadata(outbox: Outbox, s3: Any, bucket: str) -> None:
    version = dropped(s3, bucket, ContentType="application/pdf", Metadata={"Reference-Id": "A-1", "priority": "HI"})
    drop = outbox.drop(version, ADDRESS)
    assert (drop.key, drop.version_id, drop.path, drop.file_name) == (
        KEY,
        version.version_id,
        ADDRESS.path,
        ADDRESS.path[1],
    )
    assert (drop.size, drop.content_type) == (10, "application/pdf")
    assert drop.metadata == {"reference-id": "A-1", "priority": "HI"}
    assert drop.reference == drop_reference(bucket, KEY, version.version_id)


def test_a_drop_is_read_in_any_pieces_of_just_its_version(outbox: Outbox, s3: Any, bucket: str) -> None:
    drop = outbox.drop(dropped(s3, bucket), ADDRESS)
    dropped(s3, bucket, b"something newer and longer")
    assert drop.read(0, 10).read() == CONTENT
    assert drop.read(3, 4).read() == b"3456"
    assert drop.read(9, 1).read() == b"9"


def test_a_small_drop_is_read_with_the_one_request_that_says_how_large_it_is(s3: Any, bucket: str) -> None:
    version, client = dropped(s3, bucket, bytes(FIRST_BYTES)), Recorder(s3)
    drop = Outbox(client).drop(version, ADDRESS)  # type: ignore[arg-type]  # it passes all on
    assert drop.read(0, drop.size).read() == bytes(FIRST_BYTES)
    assert [name for name, _ in client.calls] == ["get_object"]


@pytest.mark.parametrize("size", [0, 1, FIRST_BYTES - 1, FIRST_BYTES, FIRST_BYTES + 1, 3 * FIRST_BYTES])
def test_a_drop_of_any_size_is_what_was_dropped(outbox: Outbox, s3: Any, bucket: str, size: int) -> None:
    content = LARGE[:size]
    drop = outbox.drop(dropped(s3, bucket, content, Metadata={"priority": "HI"}), ADDRESS)
    assert (drop.size, drop.metadata) == (size, {"priority": "HI"})
    for start in (0, size // 2, max(0, size - 7)):
        assert start == size or drop.read(start, size - start).read() == content[start:]


def test_a_version_that_was_deleted_is_refused_for_good(outbox: Outbox, s3: Any, bucket: str) -> None:
    version = dropped(s3, bucket)
    s3.delete_object(Bucket=bucket, Key=KEY, VersionId=version.version_id)
    with pytest.raises(Reject, match=r"OBJECT_VANISHED.*drop it again"):
        outbox.drop(version, ADDRESS)


def test_a_version_below_a_delete_marker_is_still_delivered(outbox: Outbox, s3: Any, bucket: str) -> None:
    version = dropped(s3, bucket)
    s3.delete_object(Bucket=bucket, Key=KEY)
    assert outbox.drop(version, ADDRESS).size == 10


def test_a_delete_marker_is_no_drop(outbox: Outbox, s3: Any, bucket: str) -> None:
    dropped(s3, bucket)
    marker = s3.delete_object(Bucket=bucket, Key=KEY)["VersionId"]
    with pytest.raises(Reject, match="OBJECT_VANISHED"):
        outbox.drop(Version(bucket, KEY, marker, "02"), ADDRESS)


def test_a_version_deleted_while_it_is_delivered_is_refused_for_good(outbox: Outbox, s3: Any, bucket: str) -> None:
    version = dropped(s3, bucket, LARGE)
    drop = outbox.drop(version, ADDRESS)
    s3.delete_object(Bucket=bucket, Key=KEY, VersionId=version.version_id)
    with pytest.raises(Reject, match="OBJECT_VANISHED"):
        drop.read(UNREAD, 10)


class Refusing:
    """An outbox that answers so many calls and refuses every other for one reason."""

    def __init__(self, code: str, *, answers: int = 0) -> None:
        self._code, self._left = code, answers

    def get_object(self, **_: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise refusal(self._code)
        return {"Body": BytesIO(LARGE), "ContentLength": len(LARGE)}


def test_an_outbox_that_cannot_be_read_now_is_a_retry() -> None:
    client: Any = Refusing("SlowDown", answers=1)
    drop = Outbox(client).drop(Version("outbox", KEY, "v1", "01"), ADDRESS)
    assert (drop.content_type, drop.metadata) == ("application/octet-stream", {})
    with pytest.raises(Retry, match="OUTBOX_UNREADABLE: the outbox answered SlowDown"):
        drop.read(UNREAD, 10)


def test_an_outbox_that_may_not_be_looked_into_is_not_taken_for_an_empty_one() -> None:
    client: Any = Refusing("AccessDenied")
    with pytest.raises(ClientError):
        Outbox(client).drop(Version("outbox", KEY, "v1", "01"), ADDRESS)


class IgnoringRanges:
    """A server that answers every range with the whole object, as HTTP allows; it may lose its end on the way."""

    def __init__(self, content: bytes, announced: int | None = None) -> None:
        self._content = content
        self._announced = len(content) if announced is None else announced

    def get_object(self, **_: Any) -> Any:
        return {"Body": BytesIO(self._content), "ContentLength": self._announced}


@pytest.mark.parametrize("start", [4, UNREAD, UNREAD + 1])
def test_a_server_that_ignores_ranges_does_not_shift_the_bytes(start: int) -> None:
    client: Any = IgnoringRanges(LARGE)
    drop = Outbox(client).drop(Version("outbox", KEY, "v1", "01"), ADDRESS)
    assert drop.size == len(LARGE)
    assert drop.read(start, 3).read(3) == LARGE[start : start + 3]


class BreakingLine:
    """A line that breaks, at once or after some bytes, of the first request or of the second; was it let go?"""

    def __init__(self, error: Exception, *, at_once: bool, sound: int) -> None:
        self._error, self._at_once, self._sound = error, at_once, sound
        self.body = BytesIO(LARGE)

    def get_object(self, **_: Any) -> Any:
        self._sound -= 1
        if self._sound >= 0:
            return {"Body": BytesIO(LARGE), "ContentLength": len(LARGE)}
        if self._at_once:
            raise self._error
        return {"Body": self, "ContentRange": f"bytes 0-9/{len(LARGE)}"}

    def read(self, size: int = -1) -> bytes:
        if self.body.tell():
            raise self._error
        return self.body.read(min(size, 5))

    def close(self) -> None:
        self.body.close()


def lines_of(drop: Drop) -> Iterator[bytes]:
    with drop.read(UNREAD, 10) as content:
        while block := content.read(5):
            yield block


BROKEN = (
    ReadTimeoutError(endpoint_url="https://outbox"),
    ResponseStreamingError(error="broken"),
    ProtocolError("broken"),
    ConnectionResetError(),
)


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("sound", [0, 1])
def test_a_line_that_breaks_is_a_retry_whichever_layer_notices(error: Exception, at_once: bool, sound: int) -> None:
    line = BreakingLine(error, at_once=at_once, sound=sound)
    client: Any = line
    with pytest.raises(Retry, match="OUTBOX_UNREADABLE: .*" + type(error).__name__):
        list(lines_of(Outbox(client).drop(Version("outbox", KEY, "v1", "01"), ADDRESS)))
    assert at_once or line.body.closed


def test_an_object_shorter_than_it_was_is_a_retry() -> None:
    client: Any = IgnoringRanges(LARGE[:UNREAD], announced=len(LARGE))
    drop = Outbox(client).drop(Version("outbox", KEY, "v1", "01"), ADDRESS)
    with pytest.raises(Retry, match="OUTBOX_UNREADABLE"):
        drop.read(UNREAD + 4, 3)


def test_an_object_shorter_than_its_announced_beginning_is_a_retry() -> None:
    client: Any = IgnoringRanges(b"012", announced=10)
    with pytest.raises(Retry, match="OUTBOX_UNREADABLE"):
        Outbox(client).drop(Version("outbox", KEY, "v1", "01"), ADDRESS)


def test_what_lies_beside_a_drop_is_its_newest_version(outbox: Outbox, s3: Any, bucket: str) -> None:
    drop = outbox.drop(dropped(s3, bucket), ADDRESS)
    beside = KEY.rpartition("/")[0] + "/file.pdf"
    assert drop.beside("file.pdf") is None
    dropped(s3, bucket, b"older", key=beside)
    newest = dropped(s3, bucket, b"newer", key=beside)
    found = drop.beside("file.pdf")
    assert found is not None
    assert (found.key, found.version_id, found.path) == (beside, newest.version_id, ("ziel", "file.pdf"))
    assert found.read(0, 5).read() == b"newer" and found.bucket == bucket
    assert found.modified is not None and drop.modified is not None


def test_what_was_deleted_lies_beside_no_drop(outbox: Outbox, s3: Any, bucket: str) -> None:
    drop = outbox.drop(dropped(s3, bucket), ADDRESS)
    beside = KEY.rpartition("/")[0] + "/file.pdf"
    dropped(s3, bucket, key=beside)
    s3.delete_object(Bucket=bucket, Key=beside)
    assert drop.beside("file.pdf") is None
