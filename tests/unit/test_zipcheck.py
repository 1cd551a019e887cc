"""Damaged and hostile ZIPs: what passes can be read to the last byte, and the rest is Quarantine and nothing else."""

import errno
import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amtsbote.errors import OutOfTime, Quarantine
from amtsbote.zipcheck import ZipLimits, verify_zip

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
CENTRAL = b"PK\x01\x02"
LOCAL_BYTES, CENTRAL_BYTES, END_BYTES = 30, 46, 22

Entries = Sequence[tuple[str, bytes, int]]


def zip_of(entries: Entries, comment: bytes = b"") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.comment = comment
        for name, data, method in entries:
            archive.writestr(name, data, method)
    return content.getvalue()


MESSAGE: Entries = [
    ("xjustiz_nachricht.xml", "<nachricht>Müller</nachricht>".encode() * 50, DEFLATED),
    ("Anträge/Müller.pdf", bytes(range(256)), STORED),
    ("Anträge/", b"", STORED),
    ("leer.txt", b"", DEFLATED),
]


def verify(content: bytes, limits: ZipLimits | None = None) -> None:
    verify_zip(io.BytesIO(content), limits or ZipLimits())


def quarantined(content: bytes, limits: ZipLimits | None = None) -> str:
    """Return the code with which the bytes are quarantined."""
    with pytest.raises(Quarantine) as raised:
        verify(content, limits)
    return raised.value.code


def patched(content: bytes, position: int, value: bytes) -> bytes:
    return content[:position] + value + content[position + len(value) :]


def central_at(content: bytes, number: int = 0) -> int:
    """Return where the directory's record of an entry begins."""
    position = -1
    for _ in range(number + 1):
        position = content.index(CENTRAL, position + 1)
    return position


# what is readable


class Unseekable(io.RawIOBase):
    """A pipe: an archive written to it carries its sizes behind the entries."""

    def __init__(self) -> None:
        self.written = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self.written.write(data)  # type: ignore[arg-type]


def test_a_message_is_readable() -> None:
    verify(zip_of(MESSAGE))


def test_a_message_on_disk_is_readable() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(zip_of(MESSAGE))
        verify_zip(file)


def test_an_archive_written_to_a_pipe_is_readable() -> None:
    pipe = Unseekable()
    with zipfile.ZipFile(pipe, "w", DEFLATED) as archive:
        for name, data, _method in MESSAGE:
            archive.writestr(name, data)
    verify(pipe.written.getvalue())


def test_an_archive_with_64_bit_entries_is_readable() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, archive.open("a.xml", "w", force_zip64=True) as entry:
        entry.write(b"<a/>")
    verify(content.getvalue())


def with_64_bit_end(content: bytes) -> bytes:
    """Rewrite the end of an archive as writers do that always use the 64-bit record."""
    *_, entries, size, offset, _comment = struct.unpack("<4s4H2LH", content[-END_BYTES:])
    end64_at = len(content) - END_BYTES
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end64_at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:end64_at] + end64 + locator + end


def test_an_archive_with_a_64_bit_end_is_readable() -> None:
    verify(with_64_bit_end(zip_of(MESSAGE)))


def test_a_64_bit_end_cannot_hide_entries() -> None:
    content = with_64_bit_end(zip_of(MESSAGE))
    assert quarantined(patched(content, content.index(b"PK\x06\x06") + 32, b"\x03")) == "ZIP_DAMAGED"


def test_a_comment_and_bytes_after_the_end_are_tolerated() -> None:
    verify(zip_of(MESSAGE, comment=b"Gericht") + b"\r\n")


def test_hostile_names_are_no_damage() -> None:
    verify(zip_of([("../../etc/passwd", b"x", STORED), ("/abs", b"x", STORED), ("a\nb", b"x", STORED)]))


def test_a_blank_page_below_the_free_size_may_be_as_dense_as_it_likes() -> None:
    verify(zip_of([("blank.tif", bytes(1024 * 1024), DEFLATED)]))


# what is damaged


@pytest.mark.parametrize("content", [b"", b"P", b"kein ZIP", b"<html>Wartung</html>", bytes(70_000)])
def test_other_bytes_are_no_zip(content: bytes) -> None:
    assert quarantined(content) == "NOT_A_ZIP"


def test_a_cut_archive_misses_its_directory() -> None:
    assert quarantined(zip_of(MESSAGE)[:-END_BYTES]) == "ZIP_TRUNCATED"


def test_a_cut_archive_is_not_mistaken_for_the_archive_inside_it() -> None:
    inner = zip_of(MESSAGE)
    outer = zip_of([("anlage.zip", inner, STORED), ("rest.pdf", b"rest" * 50, STORED)])
    cut = outer[: outer.index(b"rest.pdf")]
    assert zipfile.ZipFile(io.BytesIO(cut)).testzip() is None  # the trap: zipfile is content with the inner one
    assert quarantined(cut) == "ZIP_MISPLACED"


def test_a_changed_byte_of_an_entry_breaks_its_crc() -> None:
    content = zip_of([("a.pdf", b"content of a", STORED)])
    assert quarantined(content.replace(b"content of a", b"content of b")) == "ZIP_DAMAGED"


def test_an_archive_without_entries_is_empty() -> None:
    assert quarantined(zip_of([])) == "ZIP_EMPTY"


def test_an_entry_that_the_directory_swallowed_is_missed() -> None:
    content = zip_of([("a", b"a", STORED), ("b", b"b", STORED)])
    comment_length_at = central_at(content) + 32
    swallowing = patched(content, comment_length_at, struct.pack("<H", CENTRAL_BYTES + 1))
    assert zipfile.ZipFile(io.BytesIO(swallowing)).namelist() == ["a"]  # the trap: zipfile does not notice
    assert quarantined(swallowing) == "ZIP_DAMAGED"


def test_an_unknown_compression_method_is_unsupported() -> None:
    content = zip_of([("a", b"a" * 100, DEFLATED)])
    assert quarantined(patched(content, central_at(content) + 10, struct.pack("<H", 97))) == "ZIP_UNSUPPORTED"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_output_cannot_be_bounded_are_unsupported(method: int) -> None:
    assert quarantined(zip_of([("a", b"a" * 100, method)])) == "ZIP_UNSUPPORTED"


def test_an_unknown_version_is_unsupported() -> None:
    content = zip_of([("a", b"a", STORED)])
    assert quarantined(patched(content, central_at(content) + 6, b"\x7f")) == "ZIP_UNSUPPORTED"


def test_an_announced_size_must_be_true() -> None:
    content = zip_of([("a", b"a" * 100, DEFLATED)])
    assert quarantined(patched(content, central_at(content) + 24, b"\x65")) == "ZIP_DAMAGED"


def test_a_name_in_no_encoding_is_damage() -> None:
    content = zip_of([("ü", b"a", STORED)])
    assert quarantined(content.replace("ü".encode(), b"\xff\xff")) == "ZIP_DAMAGED"


def test_a_failing_disk_is_not_blamed_on_the_archive() -> None:
    class FailingDisk(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "disk")

    with pytest.raises(OSError, match="disk"):
        verify_zip(FailingDisk(zip_of(MESSAGE)))


def test_no_name_of_an_entry_is_repeated() -> None:
    content = zip_of([("Betreuung Erika Mustermann.pdf", b"content of a", STORED)])
    with pytest.raises(Quarantine) as raised:
        verify(content.replace(b"content of a", b"content of b"))
    assert "Mustermann" not in str(raised.value)
    assert raised.value.__suppress_context__  # zipfile's own message does name it, and tracebacks are logged


# what is encrypted


def encrypted(content: bytes) -> bytes:
    """Mark the first entry as encrypted in both of its headers."""
    return patched(patched(content, 6, b"\x01"), central_at(content) + 8, b"\x01")


def test_an_encrypted_entry_is_accepted_unread() -> None:
    verify(encrypted(zip_of([("a", b"only the password tells", STORED), ("b", b"b", STORED)])))


def test_an_entry_beside_an_encrypted_one_is_still_read() -> None:
    content = encrypted(zip_of([("a", b"secret", STORED), ("b", b"content of b", STORED)]))
    assert quarantined(content.replace(b"content of b", b"content of c")) == "ZIP_DAMAGED"


def test_a_damaged_flag_does_not_switch_the_check_off() -> None:
    content = zip_of([("a", b"a", STORED)])
    assert quarantined(patched(content, central_at(content) + 8, b"\x01")) == "ZIP_DAMAGED"


# what is a bomb


def test_too_many_entries_are_refused() -> None:
    content = zip_of([(str(number), b"", STORED) for number in range(4)])
    verify(content, ZipLimits(entries=4))
    assert quarantined(content, ZipLimits(entries=3)) == "ZIP_TOO_MANY_ENTRIES"


def test_a_huge_directory_is_refused_before_it_is_parsed() -> None:
    content = zip_of(MESSAGE)
    directory = len(content) - END_BYTES - central_at(content)
    verify(content, ZipLimits(directory_bytes=directory))
    assert quarantined(content, ZipLimits(directory_bytes=directory - 1)) == "ZIP_TOO_MANY_ENTRIES"


def test_too_large_a_total_is_refused() -> None:
    content = zip_of([("a", bytes(600), DEFLATED), ("b", bytes(600), DEFLATED)])
    verify(content, ZipLimits(total_bytes=1200))
    assert quarantined(content, ZipLimits(total_bytes=1199)) == "ZIP_TOO_LARGE"


def test_too_dense_an_entry_is_refused() -> None:
    assert quarantined(zip_of([("a", bytes(3 * 1024 * 1024), DEFLATED)])) == "ZIP_TOO_DENSE"


def test_a_bomb_that_announces_little_is_found_while_it_unpacks() -> None:
    """The announced size and CRC are those of the first kilobyte: zipfile stops there and is content."""
    content = zip_of([("a", bytes(3 * 1024 * 1024), DEFLATED)])
    at = central_at(content)
    lying = patched(content, at + 16, struct.pack("<L", zlib.crc32(bytes(1024))))
    lying = patched(lying, at + 24, struct.pack("<L", 1024))
    assert zipfile.ZipFile(io.BytesIO(lying)).testzip() is None
    assert quarantined(lying) == "ZIP_TOO_DENSE"


def test_a_bomb_is_stopped_at_its_limit_and_not_at_its_end() -> None:
    pieces = 0

    def count() -> None:
        nonlocal pieces
        pieces += 1

    content = zip_of([("a", bytes(20 * 1024 * 1024), DEFLATED)])
    with pytest.raises(Quarantine):
        verify_zip(io.BytesIO(content), check_deadline=count)
    assert pieces < 100  # of the 320 that it holds


def test_entries_that_point_to_the_same_bytes_are_refused() -> None:
    content = zip_of([("a", b"x" * 50, STORED), ("b", b"x" * 50, STORED)])
    second_offset_at = central_at(content, 1) + 42
    assert quarantined(patched(content, second_offset_at, struct.pack("<L", 0))) == "ZIP_OVERLAPPING"


def quoted_bomb(files: int, kernel: bytes) -> bytes:
    """A bomb of Fifield's kind: each entry quotes the header of the next as stored data and shares its kernel."""
    names = [f"{number:03}".encode() for number in range(files)]
    crc, size, body = zlib.crc32(kernel), len(kernel), deflated(kernel)
    chain = [local_header(names[-1], crc, len(body), size) + body]
    for name in reversed(names[:-1]):
        quoted = chain[0][: LOCAL_BYTES + len(name)]
        body = b"\x00" + struct.pack("<HH", len(quoted), len(quoted) ^ 0xFFFF) + quoted + chain[0][len(quoted) :]
        size += len(quoted)
        crc = zlib.crc32(zlib.decompress(body, -15))
        chain.insert(0, local_header(name, crc, len(body), size) + body)
    return with_directory(chain, names)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def local_header(name: bytes, crc: int, packed: int, size: int) -> bytes:
    return struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, DEFLATED, 0, 33, crc, packed, size, len(name), 0) + name


def with_directory(chain: list[bytes], names: list[bytes]) -> bytes:
    whole = chain[0]
    records = []
    for each, name in zip(chain, names, strict=True):
        offset = len(whole) - len(each)
        fields = each[4:LOCAL_BYTES]
        records.append(CENTRAL + b"\x14\x00" + fields + struct.pack("<3H2L", 0, 0, 0, 0, offset) + name)
    directory = b"".join(records)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(names), len(names), len(directory), len(whole), 0)
    return whole + directory + end


def test_quoted_entries_that_share_a_kernel_are_refused() -> None:
    bomb = quoted_bomb(20, bytes(10_000))
    assert len(zipfile.ZipFile(io.BytesIO(bomb)).infolist()) == 20  # it is an archive, not damage
    assert quarantined(bomb) == "ZIP_OVERLAPPING"


def test_one_entry_of_that_make_is_readable() -> None:
    verify(quoted_bomb(1, bytes(10_000)))


def test_a_deadline_stops_a_long_check() -> None:
    def time_is_up() -> None:
        raise OutOfTime

    with pytest.raises(OutOfTime):
        verify_zip(io.BytesIO(zip_of(MESSAGE)), check_deadline=time_is_up)


# whatever happens to it


contents = st.one_of(st.binary(max_size=80), st.just(zip_of([("inner", b"inner", STORED)])), st.just(b"<x/>" * 99))
entries = st.tuples(st.sampled_from(["a", "ü.pdf", "b/c.xml", "d" * 90]), contents, st.sampled_from([STORED, DEFLATED]))
archives = st.lists(entries, min_size=1, max_size=4, unique_by=lambda entry: entry[0])


def read(content: BinaryIO) -> list[bytes]:
    with zipfile.ZipFile(content) as archive:
        return [archive.read(entry) for entry in archive.infolist()]


def passes(content: bytes) -> bool:
    """Return whether the bytes pass; whatever else than Quarantine is raised fails the test."""
    try:
        verify(content)
    except Quarantine:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(archives, st.data())
def test_a_changed_byte_never_changes_what_passes(archive: Entries, data: st.DataObject) -> None:
    content = zip_of(archive)
    position = data.draw(st.integers(0, len(content) - 1))
    changed = patched(content, position, bytes([data.draw(st.integers(0, 255))]))
    if passes(changed):
        assert read(io.BytesIO(changed)) == [each for _name, each, _method in archive]


@settings(max_examples=200, deadline=None)
@given(archives, st.data())
def test_a_cut_archive_never_passes(archive: Entries, data: st.DataObject) -> None:
    content = zip_of(archive)
    assert not passes(content[: data.draw(st.integers(0, len(content) - 1))])


@settings(max_examples=200, deadline=None)
@given(archives, st.data())
def test_a_lost_stretch_never_passes(archive: Entries, data: st.DataObject) -> None:
    content = zip_of(archive)
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start + 1, len(content)))
    assert not passes(content[:start] + content[end:])


@settings(max_examples=400, deadline=None)
@given(archives, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12))
def test_hostile_changes_are_quarantined_or_readable(archive: Entries, changes: list[tuple[int, int]]) -> None:
    content = bytearray(zip_of(archive))
    for position, value in changes:
        content[-1 - position % len(content)] = value
    if passes(bytes(content)):
        verify_with_an_independent_reader(bytes(content))


def verify_with_an_independent_reader(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert all(entry.flag_bits & 1 or archive.read(entry) is not None for entry in archive.infolist())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=100))
def test_arbitrary_bytes_between_signatures_are_quarantined(start: bytes, rest: bytes) -> None:
    assert not passes(b"PK\x03\x04" + start + CENTRAL + rest + b"PK\x05\x06" + rest)


@pytest.mark.parametrize("offset", [0, 1, 100_000, 0x7FFFFFFF, 0xFFFFFFFE])
def test_an_offset_to_nowhere_is_damage_in_memory_and_on_disk(offset: int) -> None:
    content = zip_of(MESSAGE)
    lost = patched(content, len(content) - END_BYTES + 16, struct.pack("<L", offset))
    quarantined(lost)
    with tempfile.TemporaryFile() as file:
        file.write(lost)
        with pytest.raises(Quarantine):
            verify_zip(file)
