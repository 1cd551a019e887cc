"""Files that mean harm: bombs, files larger than announced, names that climb. Time, memory and storage are bounded."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import repeat
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amtsbote import inbox as inbox_module
from amtsbote.errors import Quarantine, Retry
from amtsbote.inbox import FILE_BYTES_AT_MOST, PART_BYTES, Inbox
from amtsbote.keys import FILE_NAME_BYTES, item_prefix, safe_name
from amtsbote.portals.protocols import IncomingFile
from amtsbote.zipcheck import DEFAULT_LIMITS, verify_zip
from tests.hostile.bounds import MIB, within

REGION = "eu-central-1"
BUCKET = "inbox"


# --- ZIP bombs --------------------------------------------------------------------------------------------------------


def zipped(*contents: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP of these files."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.xml", content)
    return file.getvalue()


def overlapping(files: int = 1000) -> bytes:
    """Return a ZIP whose every entry is the same kernel of zeros: kilobytes that unpack to gigabytes."""
    packer = zlib.compressobj(9, wbits=-15)
    kernel = packer.compress(bytes(MIB)) + packer.flush()
    crc, name = zlib.crc32(bytes(MIB)), b"a"
    fields = struct.pack("<5H3L2H", 20, 0, 8, 0, 33, crc, len(kernel), MIB, len(name), 0)
    local = b"PK\x03\x04" + fields + name + kernel
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<3H2L", 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, files, files, len(entry) * files, len(local), 0)
    return local + entry * files + end


def many(entries: int) -> bytes:
    """Return a ZIP of empty files."""
    return zipped(*repeat(b"", entries), method=zipfile.ZIP_STORED)


def lying(announced: int) -> bytes:
    """Return a ZIP whose one entry announces another size than it has."""
    content = bytearray(zipped(bytes(4 * MIB)))
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.find(signature) + place
        content[at : at + 4] = struct.pack("<L", announced)
    return bytes(content)


BOMBS: dict[str, bytes] = {
    "a gigabyte of zeros": zipped(bytes(256 * MIB)),
    "many large files": zipped(*repeat(bytes(16 * MIB), 20)),
    "shared bytes": overlapping(),
    "more files than anybody has": many(DEFAULT_LIMITS.entries + 1),
    "a size that is too small": lying(10),
    "a size that is too large": lying(2**31),
    "bzip2": zipped(bytes(16 * MIB), method=zipfile.ZIP_BZIP2),
    "LZMA": zipped(bytes(16 * MIB), method=zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_zip_bomb_goes_to_quarantine(bomb: bytes) -> None:
    with within(seconds=10, mebibytes=24), pytest.raises(Quarantine):
        verify_zip(BytesIO(bomb))


def test_what_is_nested_in_a_zip_is_not_unpacked() -> None:
    nested = b"quine"
    for _ in range(10):
        nested = zipped(*repeat(nested, 10))
    with within(seconds=5, mebibytes=8):
        verify_zip(BytesIO(nested))


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_no_damage_of_a_zip_does_more_than_quarantine(noise: bytes, at: int) -> None:
    sound = zipped(b"<form/>" * 20, b"%PDF-1.7")
    for damaged in (noise, sound[:at] + noise + sound[at + len(noise) :], sound[:at] + sound[at + len(noise) :]):
        with suppress(Quarantine):
            verify_zip(BytesIO(damaged))


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3() -> Any:
    """Provide an S3 with an inbox in it."""
    client: Any = boto3.client("s3", region_name=REGION)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


class Poured:
    """Bytes without an end, of which it is known how many were taken."""

    def __init__(self, bytes_at_most: int) -> None:
        self.taken = 0
        self._at_most = bytes_at_most

    def __iter__(self) -> Iterator[bytes]:
        while self.taken < self._at_most:
            self.taken += 256 * 1024
            yield bytes(256 * 1024)


TEN_GIGABYTES = 10 * 1024 * MIB


def stored(s3: Any) -> list[str]:
    """Return what lies in the bucket, unfinished uploads too."""
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return [each["Key"] for each in [*s3.list_objects_v2(Bucket=BUCKET).get("Contents", []), *uploads]]


@pytest.mark.parametrize("checked", [True, False])
def test_of_10_gigabytes_where_10_megabytes_were_announced_nothing_more_is_read(s3: Any, checked: bool) -> None:
    content = Poured(TEN_GIGABYTES)
    file = IncomingFile("brief.pdf", iter(content), "a/b", size=10 * MIB, verify=(lambda _: None) if checked else None)
    with within(seconds=20, mebibytes=96), pytest.raises(Retry, match="SIZE_DIFFERS"):
        Inbox(s3, BUCKET).store_all("duba/klinikum/1", [file], last_try=False)
    assert content.taken <= 10 * MIB + 256 * 1024
    assert stored(s3) == []


@pytest.mark.parametrize("last_try", [True, False])
def test_of_10_gigabytes_without_an_announcement_no_more_is_read_than_a_file_may_have(s3: Any, last_try: bool) -> None:
    content = Poured(TEN_GIGABYTES)
    with within(seconds=20, mebibytes=96), pytest.raises(Quarantine, match="FILE_TOO_LARGE"):
        Inbox(s3, BUCKET, 12 * MIB).store_all("a/b/1", [IncomingFile("a", iter(content), "a/b")], last_try=last_try)
    assert content.taken <= 12 * MIB + 256 * 1024
    assert stored(s3) == []


def test_what_has_to_be_seen_whole_may_not_fill_the_disk(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "SPOOL_BYTES", 9 * MIB)
    content = Poured(TEN_GIGABYTES)
    file = IncomingFile("message-1.zip", iter(content), "application/zip", verify=lambda _: None)
    with within(seconds=20, mebibytes=96), pytest.raises(Quarantine, match="FILE_TOO_LARGE"):
        Inbox(s3, BUCKET).store_all("duba/klinikum/1", [file], last_try=True)
    assert content.taken <= 9 * MIB + 256 * 1024
    assert stored(s3) == []


def test_a_disk_that_others_have_filled_is_no_defect(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(inbox_module, "SpooledTemporaryFile", lambda **_: Full())
    file = IncomingFile("message-1.zip", iter([b"PK"]), "application/zip", verify=lambda _: None)
    with pytest.raises(Retry, match="NO_ROOM"):
        Inbox(s3, BUCKET).store_all("duba/klinikum/1", [file], last_try=True)
    assert stored(s3) == []


def test_no_file_may_have_more_than_s3_can_hold_in_parts() -> None:
    assert FILE_BYTES_AT_MOST == 10_000 * PART_BYTES


# --- names ------------------------------------------------------------------------------------------------------------

CLIMBERS = st.lists(
    st.sampled_from(["..", ".", "/", "\\", "\0", "\r\n", "\u202e", "C:", "~", "a", "%2e%2e", "\ud800", "ﷺ"])
)


@given(st.text() | CLIMBERS.map("".join), st.lists(st.text(), max_size=3))
@settings(max_examples=500, deadline=None)
def test_no_name_climbs_hides_or_says_a_header(name: str, taken: list[str]) -> None:
    safe = safe_name(name, taken)
    assert safe not in ("", ".", "..") and safe not in taken
    assert not any(char in safe for char in "/\\\0\r\n\u202e\u2028")
    assert len(safe.encode()) <= FILE_NAME_BYTES


@given(st.text() | CLIMBERS.map("".join))
@settings(max_examples=500, deadline=None)
def test_no_id_leaves_its_connection(id_: str) -> None:
    prefix = item_prefix("altinn", "etat", id_)
    assert prefix.startswith("altinn/etat/") and len(prefix.encode()) < 700
    assert not any(part in ("", ".", "..") for part in prefix.split("/"))
