"""The pieces of a file on their way to the storage: several side by side, each read, covered and sent in blocks.

Memory: `PARTS_IN_FLIGHT` × 3 × `BLOCK_BYTES` (a block as it was read, the same encrypted, and what the HTTP library
holds of it), whatever the size of file and parts; and the addresses and ETags of all parts, about 1.5 KB each.

One thread, that of `Transfer.run`, keeps the journal; the others only move bytes. A part counts when the journal has
its ETag, and no worker begins another part before that, so that a death costs at most one part per worker.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import TYPE_CHECKING, BinaryIO, Protocol

from amtsbote.deadline import Deadline
from amtsbote.errors import OutOfTime, Retry
from amtsbote.http import Transport
from amtsbote.portals.docxworld.chunks import Chunk
from amtsbote.portals.docxworld.presigned import DeadLink, put
from amtsbote.portals.docxworld.progress import Progress
from amtsbote.portals.protocols import UNREADABLE, Drop

if TYPE_CHECKING:
    from amtsbote.portals.docxworld.encryption import FileCipher

PARTS_IN_FLIGHT = 4
BLOCK_BYTES = 1024 * 1024
READS = 3  # of the dropped object, where the line to it breaks in the middle of a part
GLANCE_SECONDS = 1.0  # how often the bytes on their way are counted
MARGIN = 1.25  # a part is begun only where this many times the longest part so far fits into the time that is left


class Piece(Protocol):
    """A piece of the file as it goes over the wire: `length` bytes of it; afterwards its share in the file's hash."""

    length: int
    share: int

    def outgoing(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield what is sent for the blocks that are read."""
        ...


class PlainPiece:
    """A piece that goes out as it is."""

    share = 0

    def __init__(self, chunk: Chunk) -> None:
        self.length = chunk.length

    def outgoing(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Return the blocks."""
        return blocks


class Stream:
    """A piece while it is sent; `passed` counts the bytes of the file that have gone out."""

    def __init__(self, drop: Drop, chunk: Chunk, piece: Piece, check: Callable[[], None]) -> None:
        self.chunk = chunk
        self.piece = piece
        self.passed = 0
        self._drop = drop
        self._check = check
        self._source: BinaryIO | None = None

    def __len__(self) -> int:
        return self.piece.length

    def __iter__(self) -> Iterator[bytes]:
        return self.piece.outgoing(self._blocks())

    def open(self) -> None:
        """Begin to read, so that what cannot be read is noticed before anything is sent."""
        if self._left:
            self._source = self._opened()

    def _opened(self) -> BinaryIO:
        source, self._source = self._source, None
        return source or self._drop.read(self.chunk.start + self.passed, self._left)

    @property
    def _left(self) -> int:
        return self.chunk.length - self.passed

    def _blocks(self) -> Iterator[bytes]:
        """Yield the file's bytes; where the line to it breaks, it is opened again at the byte that was reached."""
        for reads_left in reversed(range(READS)):
            try:
                yield from self._read_on()
            except Retry as error:
                if error.code != UNREADABLE or not reads_left:
                    raise
            else:
                return

    def _read_on(self) -> Iterator[bytes]:
        if not self._left:
            return
        with closing(self._opened()) as source:
            while self._left:
                self._check()
                block = source.read(min(BLOCK_BYTES, self._left))
                if not block:
                    raise Retry("DROP_CUT", f"the dropped object ended {self._left} bytes early")
                self.passed += len(block)
                yield block


@dataclass(frozen=True)
class Sent:
    """A piece that the storage has."""

    chunk: Chunk
    etag: str
    share: int
    seconds: float


class Transfer:
    """All missing pieces of one upload. `check` raises OutOfTime or DeadLink where none may be begun any more."""

    def __init__(
        self,
        transport: Transport,
        drop: Drop,
        progress: Progress,
        cipher: "FileCipher | None",
        check: Callable[[], None],
        clock: Callable[[], datetime],
        at_once: int = PARTS_IN_FLIGHT,
    ) -> None:
        self._at_once = at_once
        self._transport = transport
        self._drop = drop
        self._progress = progress
        self._cipher = cipher
        self._check = check
        self._clock = clock
        self._waiting = deque(progress.missing())
        self._under_way: dict[Future[Sent], Stream] = {}
        self._sum = cipher.open_sum(progress.sum) if cipher else 0
        self._there = progress.bytes_there
        self._longest_seconds = 0.0
        self._failure: Exception | None = None
        self._stopped = Event()

    def run(self) -> None:
        """Return when the storage has all pieces. The first error is raised once the others under way have ended."""
        with ThreadPoolExecutor(self._at_once) as pool:
            try:
                self._start_some(pool)
                while self._under_way:
                    self._keep(self._ended())
                    self._start_some(pool)
            except BaseException:  # the journal is no longer ours, or the process dies: nothing more may be sent
                self._stopped.set()
                raise
        if self._failure is not None:
            raise self._failure

    # --- in the thread of the journal --------------------------------------------------------------------------------

    def _start_some(self, pool: ThreadPoolExecutor) -> None:
        while self._failure is None and len(self._under_way) < self._at_once and self._may_start():
            try:
                self._check_time()
            except (OutOfTime, DeadLink) as pause:
                self._failure = pause
                return
            chunk = self._waiting.popleft()
            piece = self._cipher.piece(chunk, self._sum) if self._cipher else PlainPiece(chunk)
            stream = Stream(self._drop, chunk, piece, self._check_going)
            self._under_way[pool.submit(self._send, stream)] = stream

    def _may_start(self) -> bool:
        """Return whether there is a piece to start. The last carries the tag over all others, and waits for them."""
        if not self._waiting:
            return False
        return self._cipher is None or len(self._waiting) > 1 or not self._under_way

    def _check_time(self) -> None:
        self._check()
        if self._deadline.remaining_seconds() < self._longest_seconds * MARGIN:
            raise OutOfTime

    def _ended(self) -> list[Future[Sent]]:
        """Return the pieces that have ended by now, after a glance's time at most."""
        together = self._progress.heavy
        ended, others = wait(self._under_way, GLANCE_SECONDS, ALL_COMPLETED if together else FIRST_COMPLETED)
        return [] if together and others else list(ended)

    def _keep(self, ended: list[Future[Sent]]) -> None:
        """Write down which pieces the storage has."""
        sent = [future.result() for future in ended if self._succeeded(future)]
        for each in sent:
            self._progress.has_part(each.chunk.counter, each.etag)
            self._sum ^= each.share
            self._there += each.chunk.length
            self._longest_seconds = max(self._longest_seconds, each.seconds)
        for future in ended:
            del self._under_way[future]
        passed = self._there + sum(stream.passed for stream in self._under_way.values())
        worth_keeping = sent and len(self._progress.urls) > 1  # the end of a single upload is written down by itself
        if self._progress.show(passed, self._drop.size, self._clock()) or worth_keeping:
            self._progress.keep_parts(self._cipher.seal_sum(self._sum) if self._cipher and sent else None)

    def _succeeded(self, future: Future[Sent]) -> bool:
        error = future.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        if error is not None and (self._failure is None or isinstance(self._failure, OutOfTime)):
            self._failure = error
        return error is None

    # --- in the threads that send ------------------------------------------------------------------------------------

    @property
    def _deadline(self) -> Deadline:
        return self._transport.deadline

    def _check_going(self) -> None:
        self._deadline.check()
        if self._stopped.is_set():
            raise OutOfTime

    def _send(self, stream: Stream) -> Sent:
        """Send a piece; an answer without an ETag is not the storage's (a page of some proxy)."""
        began = time.monotonic()
        url = self._progress.urls[stream.chunk.counter]
        stream.open()
        etag = put(self._transport, url, self._progress.headers, stream).get("ETag")
        if not etag:
            raise Retry("STORAGE_ERROR", "what was sent to the storage was answered without an ETag")
        return Sent(stream.chunk, etag, stream.piece.share, time.monotonic() - began)
