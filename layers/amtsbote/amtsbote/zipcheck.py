"""Whether the bytes of a ZIP can be read to the last one, judged without unpacking anything to disk.

Memory stays at a piece of one entry plus the central directory, whose size is bounded before it is parsed. What an
archive announces of itself is never believed: sizes are counted while decompressing. Names of entries are hostile and
may name persons; they are neither judged nor repeated in a message, which speaks of entry numbers instead.
"""

import copy
import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from amtsbote.errors import Quarantine

MIB = 1024 * 1024
PIECE_BYTES = 64 * 1024
# zipfile bounds what it decompresses at once for these methods only: of bzip2 and LZMA it takes 4 KiB of input whole,
# from which bzip2 makes gigabytes (measured: 150 MB out of 246 bytes, in one piece).
BOUNDED_METHODS = frozenset({ZIP_STORED, ZIP_DEFLATED})
UNBOUNDED = 1 << 62  # announced to zipfile instead of the archive's own figure, at which it would stop reading

COMMENT_MAX_BYTES = 0xFFFF
ENCRYPTED_FLAG = 0x1
LOCAL_HEADER = struct.Struct("<4s2H22x")  # signature, version needed, flags, …
END_RECORD = struct.Struct("<4s3H H 2L H")  # signature, disks, entries, directory size and offset, comment length
END64_LOCATOR = struct.Struct("<4sLQL")
END64_RECORD = struct.Struct("<4sQ2H2LQ Q 2Q")
LOCAL_SIGNATURE, END_SIGNATURE = b"PK\x03\x04", b"PK\x05\x06"
END64_LOCATOR_SIGNATURE, END64_SIGNATURE = b"PK\x06\x07", b"PK\x06\x06"

# Everything that zipfile and zlib raise on damaged or hostile input; OSError is judged apart. RuntimeError includes
# NotImplementedError (a version or a flag that zipfile does not know), ValueError includes UnicodeDecodeError.
BROKEN = (
    BadZipFile,
    EOFError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class ZipLimits:
    """What an archive may hold before it counts as a bomb.

    `ratio` is uncompressed to compressed bytes of one entry, and judged only beyond `ratio_free_bytes` of it.
    `directory_bytes` bounds what is parsed into memory: ten thousand entries of 400 bytes each.
    """

    entries: int = 10_000
    total_bytes: int = 2 * 1024 * MIB
    ratio: int = 200
    ratio_free_bytes: int = MIB
    directory_bytes: int = 4 * MIB


DEFAULT_LIMITS = ZipLimits()


@dataclass(frozen=True)
class EndRecord:
    """What the archive's last record says of its central directory."""

    entries: int
    directory_bytes: int


def verify_zip(
    content: BinaryIO, limits: ZipLimits = DEFAULT_LIMITS, *, check_deadline: Callable[[], None] = lambda: None
) -> None:
    """Read the whole archive; Quarantine, naming what is wrong, unless every entry is readable and within `limits`.

    `content` must be seekable and is left at an arbitrary position. `check_deadline` is called for each piece and may
    raise to stop a long check. Bytes after the end of the archive are tolerated, bytes before its beginning are not:
    they are what remains of a cut archive when one of its entries was a ZIP itself.

    An encrypted entry is accepted when its place and header are sound. Its CRC cannot be checked without the password,
    and nothing says that it is damaged: the password may be known to the backend, and bytes in quarantine would be
    kept from it for no reason. Compression methods other than stored and deflated are refused as unreadable.
    """
    with _damage_means_quarantine():
        _check_end_record(_read_end_record(content), limits)
        with ZipFile(content) as archive:
            entries = archive.infolist()
            _check_directory(entries, _read_end_record(content), limits)
            _check_places(entries, archive.start_dir)
            _check_contents(archive, content, limits, check_deadline)


@contextmanager
def _damage_means_quarantine() -> Iterator[None]:
    """Turn what zipfile raises into Quarantine, without its words: they repeat the names of entries."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a file says to a seek before its beginning
            raise  # our own disk, not the archive
        raise _damaged(error) from None
    except BROKEN as error:
        raise _damaged(error) from None


def _damaged(error: Exception) -> Quarantine:
    if isinstance(error, NotImplementedError):
        return Quarantine("ZIP_UNSUPPORTED", "the ZIP uses a version or a feature that cannot be read")
    return Quarantine("ZIP_DAMAGED", f"the ZIP is damaged: {type(error).__name__} while reading it")


def _read_end_record(content: BinaryIO) -> EndRecord:
    """Find the record that every ZIP ends with, the 64-bit one where there is one, just where zipfile looks for it."""
    size = content.seek(0, os.SEEK_END)
    start = max(0, size - END_RECORD.size - COMMENT_MAX_BYTES)
    content.seek(start)
    tail = content.read()
    at = len(tail) - END_RECORD.size
    if at < 0 or not tail.startswith(END_SIGNATURE, at):
        at = tail.rfind(END_SIGNATURE)
    if at < 0 or at + END_RECORD.size > len(tail):
        raise _without_end(content)
    fields = END_RECORD.unpack_from(tail, at)
    return _read_end64_record(content, start + at) or EndRecord(entries=fields[4], directory_bytes=fields[5])


def _without_end(content: BinaryIO) -> Quarantine:
    content.seek(0)
    if content.read(len(LOCAL_SIGNATURE)) == LOCAL_SIGNATURE:
        return Quarantine("ZIP_TRUNCATED", "the ZIP is cut off: its central directory is missing")
    return Quarantine("NOT_A_ZIP", "the bytes are no ZIP: they neither begin nor end like one")


def _read_end64_record(content: BinaryIO, end: int) -> EndRecord | None:
    locator = _peek(content, end - END64_LOCATOR.size, END64_LOCATOR.size)
    if not locator.startswith(END64_LOCATOR_SIGNATURE):
        return None
    record = _peek(content, end - END64_LOCATOR.size - END64_RECORD.size, END64_RECORD.size)
    if not record.startswith(END64_SIGNATURE):
        return None
    fields = END64_RECORD.unpack(record)
    return EndRecord(entries=fields[7], directory_bytes=fields[8])


def _peek(content: BinaryIO, position: int, size: int) -> bytes:
    if position < 0:
        return b""
    content.seek(position)
    return content.read(size)


def _check_end_record(end: EndRecord, limits: ZipLimits) -> None:
    """Refuse a directory that would not fit into memory before zipfile parses it."""
    if end.directory_bytes > limits.directory_bytes:
        raise Quarantine("ZIP_TOO_MANY_ENTRIES", f"the central directory is larger than {limits.directory_bytes} bytes")


def _check_directory(entries: Sequence[ZipInfo], end: EndRecord, limits: ZipLimits) -> None:
    if len(entries) > limits.entries:
        raise Quarantine("ZIP_TOO_MANY_ENTRIES", f"the ZIP has more than {limits.entries} entries")
    if len(entries) != end.entries:  # a damaged length in the directory can swallow its neighbour unnoticed
        raise Quarantine("ZIP_DAMAGED", f"the ZIP announces {end.entries} entries and lists {len(entries)}")
    if not entries:
        raise Quarantine("ZIP_EMPTY", "the ZIP has no entries")


def _check_places(entries: Sequence[ZipInfo], directory_at: int) -> None:
    """Refuse entries that share bytes: so a bomb of kilobytes unpacks to petabytes with honest ratios."""
    in_order = sorted(entries, key=lambda entry: entry.header_offset)
    if in_order[0].header_offset != 0:
        raise Quarantine("ZIP_MISPLACED", "the ZIP does not begin where the bytes begin; it may be the rest of another")
    ends = [entry.header_offset + LOCAL_HEADER.size + entry.compress_size for entry in in_order]
    starts = [entry.header_offset for entry in in_order[1:]] + [directory_at]
    if any(start < end for start, end in zip(starts, ends, strict=True)):
        raise Quarantine("ZIP_OVERLAPPING", "entries of the ZIP share bytes, as in a bomb")


def _check_contents(archive: ZipFile, content: BinaryIO, limits: ZipLimits, check_deadline: Callable[[], None]) -> None:
    total = 0
    for number, entry in enumerate(archive.infolist(), 1):
        check_deadline()
        if entry.flag_bits & ENCRYPTED_FLAG:
            _check_encrypted(content, entry, number)
            continue
        if entry.compress_type not in BOUNDED_METHODS:
            raise Quarantine("ZIP_UNSUPPORTED", f"entry {number} uses compression method {entry.compress_type}")
        for piece_bytes in _decompress(archive, entry, number, limits):
            check_deadline()
            total += piece_bytes
            if total > limits.total_bytes:
                raise Quarantine("ZIP_TOO_LARGE", f"the ZIP unpacks to more than {limits.total_bytes} bytes")


def _check_encrypted(content: BinaryIO, entry: ZipInfo, number: int) -> None:
    """Refuse an entry that only the directory calls encrypted: a damaged flag must not switch its check off."""
    signature, _version, flags = LOCAL_HEADER.unpack(_peek(content, entry.header_offset, LOCAL_HEADER.size))
    if signature != LOCAL_SIGNATURE or not flags & ENCRYPTED_FLAG:
        raise Quarantine("ZIP_DAMAGED", f"entry {number} is encrypted by the directory and not by its header")


def _decompress(archive: ZipFile, entry: ZipInfo, number: int, limits: ZipLimits) -> Iterator[int]:
    """Yield the size of each decompressed piece; zipfile compares the CRC after the last one."""
    endless = copy.copy(entry)
    endless.file_size = UNBOUNDED
    seen = 0
    with archive.open(endless) as stream:
        for piece in iter(partial(stream.read, PIECE_BYTES), b""):
            seen += len(piece)
            if seen > max(limits.ratio_free_bytes, limits.ratio * entry.compress_size):
                raise Quarantine("ZIP_TOO_DENSE", f"entry {number} unpacks to more than {limits.ratio} times its size")
            yield len(piece)
    if seen != entry.file_size:
        raise Quarantine("ZIP_DAMAGED", f"entry {number} announces {entry.file_size} bytes and has {seen}")
