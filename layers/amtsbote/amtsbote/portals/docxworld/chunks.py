"""How a file is cut for a chunked upload (page, "Upload": the client decides, only the last may be small)."""

from dataclasses import dataclass
from typing import NamedTuple

from amtsbote.errors import Reject

SMALLEST_CHUNK_BYTES = 5 * 1024 * 1024
LARGEST_CHUNK_BYTES = 5 * 1024 * 1024 * 1024 - 16  # S3's limit of one part, less the tag that the last may carry
MOST_CHUNKS = 10_000  # S3's limit of one upload
BOUNDARY_BYTES = 16  # pieces begin at a block of AES, so that each can be encrypted by itself


class Chunk(NamedTuple):
    """One piece of a file: the place of its URL in the portal's list (from 0), its first byte, its length in bytes."""

    counter: int
    start: int
    length: int


@dataclass(frozen=True)
class ChunkPlan:
    """All pieces of a file of `size` bytes: each has `chunk_bytes` but the last, which has what is left."""

    size: int
    chunk_bytes: int

    @property
    def count(self) -> int:
        """How many pieces there are; an empty file has one."""
        return max(1, -(-self.size // self.chunk_bytes))

    @property
    def last(self) -> int:
        """The place of the last piece."""
        return self.count - 1

    def chunk(self, counter: int) -> Chunk:
        """Return the piece of that place."""
        start = counter * self.chunk_bytes
        return Chunk(counter, start, min(self.chunk_bytes, self.size - start))


def chunk_plan(size: int, urls: int) -> ChunkPlan:
    """Return the pieces of a file of `size` bytes for `urls` addresses, in order and without gaps.

    As many addresses are used as 5 MiB for every piece but the last allow, because the portal may miss the chunk of an
    address that was left out. Reject where a piece would be larger than the storage takes.
    """
    count = max(1, min(urls, MOST_CHUNKS, -(-size // SMALLEST_CHUNK_BYTES)))
    chunk_bytes = size if count == 1 else max(SMALLEST_CHUNK_BYTES, _to_boundary(-(-size // count)))
    if chunk_bytes > LARGEST_CHUNK_BYTES:
        raise Reject("FILE_TOO_LARGE", f"{size} bytes do not fit into the {urls} parts that docxworld offers")
    return ChunkPlan(size, max(chunk_bytes, BOUNDARY_BYTES))


def _to_boundary(length: int) -> int:
    return -(-length // BOUNDARY_BYTES) * BOUNDARY_BYTES
