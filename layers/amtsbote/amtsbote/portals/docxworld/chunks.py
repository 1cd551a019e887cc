"""How a file is cut for a chunked upload (page, "Upload": the client decides, only the last may be small)."""

from itertools import accumulate
from typing import NamedTuple

from amtsbote.errors import Reject

SMALLEST_CHUNK_BYTES = 5 * 1024 * 1024
LARGEST_CHUNK_BYTES = 5 * 1024 * 1024 * 1024  # S3's limit of one part


class Chunk(NamedTuple):
    """One piece of a file: the place of its URL in the portal's list (from 0), its first byte, its length in bytes."""

    counter: int
    start: int
    length: int


def chunk_plan(size: int, urls: int) -> list[Chunk]:
    """Return the pieces of a file of `size` bytes for `urls` addresses, in order and without gaps.

    As many addresses are used as 5 MiB for every piece but the last allow, because the portal may miss the chunk of an
    address that was left out. Where there is enough for all, the pieces differ by one byte at most. Reject where a
    piece would be larger than the storage takes.
    """
    count = max(1, min(urls, -(-size // SMALLEST_CHUNK_BYTES)))
    lengths = _balanced(size, count) if size >= count * SMALLEST_CHUNK_BYTES else _smallest(size, count)
    if max(lengths) > LARGEST_CHUNK_BYTES:
        raise Reject("FILE_TOO_LARGE", f"{size} bytes do not fit into the {urls} parts that docxworld offers")
    starts = accumulate(lengths, initial=0)
    return [Chunk(counter, start, length) for counter, (start, length) in enumerate(zip(starts, lengths, strict=False))]


def _balanced(size: int, count: int) -> list[int]:
    length, longer = divmod(size, count)
    return [length + (number < longer) for number in range(count)]


def _smallest(size: int, count: int) -> list[int]:
    return [SMALLEST_CHUNK_BYTES] * (count - 1) + [size - SMALLEST_CHUNK_BYTES * (count - 1)]
