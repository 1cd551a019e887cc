"""Pieces side by side: how many at once, in which order, in how much memory, and what one failure does to others."""

import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO, RawIOBase
from typing import Any, BinaryIO, cast

import pytest

from amtsbote.deadline import Deadline
from amtsbote.errors import OutOfTime, Reject, Retry
from amtsbote.http import Transport
from amtsbote.portals.docxworld.encryption import ContentKey, FileCipher
from amtsbote.portals.docxworld.parts import BLOCK_BYTES, PARTS_IN_FLIGHT, READS, PlainPiece, Stream, Transfer
from amtsbote.portals.docxworld.progress import Progress
from amtsbote.portals.protocols import UNREADABLE, Drop
from tests.unit.portals.docxworld.test_uploads import Memory

MIB = 1024 * 1024
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PART = 5 * MIB


class Sink:
    """A storage that counts and forgets; `fail` names parts that it answers with 500, `hold` waits before answers."""

    def __init__(self) -> None:
        self.fail: set[int] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.bytes = 0
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def urls(self, count: int) -> list[str]:
        return [f"{self.url}/{number}?uploadId=m" for number in range(count)]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def begin(self, number: int) -> None:
        with self._lock:
            self.begun.append(number)
            self.most_at_once = max(self.most_at_once, len(self.begun) - len(self.ended))

    def end(self, number: int, count: int) -> None:
        with self._lock:
            self.ended.append(number)
            self.bytes += count

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                number, length = int(self.path[1:].partition("?")[0]), int(self.headers["Content-Length"])
                sink.begin(number)
                left, own = length, memoryview(bytearray(64 * 1024))
                while left and (got := self.rfile.readinto(own[: min(left, len(own))])):
                    left -= got
                sink.hold.wait(10)
                sink.end(number, length)
                self.send_response(500 if number in sink.fail else 200)
                self.send_header("ETag", f'"{number:032x}"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the tests' output quiet."""

        return Handler


@pytest.fixture
def sink() -> Iterator[Sink]:
    running = Sink()
    yield running
    running.hold.set()
    running.close()


class Nothing(RawIOBase):
    """A sparse file: zeros that take no room."""

    def __init__(self, length: int) -> None:
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._left)
        buffer[:count] = bytes(count)
        self._left -= count
        return count


def a_drop(size: int, read: Any = None) -> Drop:
    def nothing(start: int, length: int) -> BinaryIO:
        return cast(BinaryIO, Nothing(length))

    return Drop("k", "v1", ("t", "f"), size, "application/pdf", {}, "amtsbote-1", read or nothing)


def a_transfer(
    sink: Sink, size: int, parts: int, *, cipher: FileCipher | None = None, drop: Drop | None = None, **more: Any
) -> tuple[Transfer, Progress, Memory]:
    journal = Memory()
    progress = Progress(journal)
    progress.adopt("p1", sink.urls(parts), {}, size)
    transport = Transport(Deadline(60), allow_loopback=True)
    drop = drop or a_drop(size)
    return Transfer(transport, drop, progress, cipher, lambda: None, lambda: NOW, **more), progress, journal


# --- how many at once ---


def test_some_parts_go_side_by_side_and_each_is_in_the_journal(sink: Sink) -> None:
    transfer, _, journal = a_transfer(sink, 8 * PART, 8)
    transfer.run()
    assert sorted(sink.ended) == list(range(8))
    assert 1 < sink.most_at_once <= PARTS_IN_FLIGHT
    assert len(Progress(journal.after_a_crash()).etags) == 8


def test_one_at_a_time_where_that_is_asked_for(sink: Sink) -> None:
    transfer, _, _ = a_transfer(sink, 3 * PART, 3, at_once=1)
    transfer.run()
    assert (sink.begun, sink.most_at_once) == ([0, 1, 2], 1)


def test_the_last_part_of_an_encrypted_file_waits_for_all_others(sink: Sink) -> None:
    cipher = FileCipher(ContentKey(bytes(32), bytes(16)), 5 * PART + 3, "r")
    transfer, _, _ = a_transfer(sink, 5 * PART + 3, 6, cipher=cipher)
    transfer.run()
    assert sink.begun[-1] == 5 and sorted(sink.ended[:5]) == [0, 1, 2, 3, 4]
    assert sink.bytes == 5 * PART + 3 + 16


def test_what_is_there_is_not_sent_again(sink: Sink) -> None:
    _, progress, journal = a_transfer(sink, 4 * PART, 4)
    for counter in (0, 2):
        progress.has_part(counter, f'"{counter + 1:032x}"')
    progress.keep_parts(None)
    transport = Transport(Deadline(60), allow_loopback=True)
    again = Progress(journal.after_a_crash())
    Transfer(transport, a_drop(4 * PART), again, None, lambda: None, lambda: NOW).run()
    assert sorted(sink.begun) == [1, 3]


# --- failures ---


def test_one_failure_starts_no_more_and_keeps_what_the_others_bring(sink: Sink) -> None:
    sink.fail = {0}
    transfer, _, journal = a_transfer(sink, 40 * PART, 40)
    with pytest.raises(Retry, match="500"):
        transfer.run()
    kept = Progress(journal.after_a_crash()).etags
    assert 0 not in kept
    assert set(kept) == set(sink.ended) - {0}
    assert len(sink.begun) < 40


def test_time_that_runs_out_begins_no_part_and_keeps_those_under_way(sink: Sink) -> None:
    left = iter([None] * 3)

    def check() -> None:
        if next(left, OutOfTime) is OutOfTime:
            raise OutOfTime

    transfer, _, journal = a_transfer(sink, 9 * PART, 9)
    transfer._check = check
    with pytest.raises(OutOfTime):
        transfer.run()
    assert len(sink.begun) == len(Progress(journal.after_a_crash()).etags) == 3


def test_a_part_that_does_not_fit_into_the_time_that_is_left_is_not_begun(sink: Sink) -> None:
    transfer, _, _ = a_transfer(sink, 9 * PART, 9)
    transfer._longest_seconds = 59
    with pytest.raises(OutOfTime):
        transfer.run()
    assert not sink.begun


def test_a_journal_that_is_lost_stops_everything(sink: Sink) -> None:
    transfer, _, journal = a_transfer(sink, 40 * PART, 40)

    def lost() -> None:
        raise Retry("LEASE_LOST", "another worker")

    journal.save = lost  # type: ignore[method-assign]
    with pytest.raises(Retry, match="LEASE_LOST"):
        transfer.run()
    assert len(sink.begun) <= 2 * PARTS_IN_FLIGHT


def test_a_heavy_journal_is_written_once_per_round(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amtsbote.portals.docxworld.progress.HEAVY_CHARACTERS", -1)
    transfer, _, journal = a_transfer(sink, 8 * PART, 8)
    saves: list[int] = []
    journal.save = lambda: saves.append(1)  # type: ignore[method-assign]
    transfer.run()
    assert len(saves) == 8 // PARTS_IN_FLIGHT


# --- reading ---


class Breaking(BytesIO):
    """A line to the dropped object that breaks after a block."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise Retry(UNREADABLE, "the line broke")
        return super().read(size)


def a_stream(content: bytes, good_after: int) -> tuple[Stream, list[tuple[int, int]]]:
    from amtsbote.portals.docxworld.chunks import Chunk

    reads: list[tuple[int, int]] = []

    def read(start: int, length: int) -> BinaryIO:
        reads.append((start, length))
        return (BytesIO if len(reads) > good_after else Breaking)(content[start : start + length])

    chunk = Chunk(0, 16, len(content) - 16)
    return Stream(a_drop(len(content), read), chunk, PlainPiece(chunk), lambda: None), reads


def test_a_line_that_breaks_is_opened_again_where_it_broke() -> None:
    content = bytes(range(256)) * (4 * BLOCK_BYTES // 256)
    stream, reads = a_stream(content, good_after=READS - 1)
    assert b"".join(stream) == content[16:]
    assert reads[1] == (16 + BLOCK_BYTES, len(content) - 16 - BLOCK_BYTES)


def test_a_line_that_breaks_all_the_time_comes_again_later() -> None:
    stream, reads = a_stream(bytes(20 * BLOCK_BYTES), good_after=99)
    with pytest.raises(Retry, match="OUTBOX_UNREADABLE"):
        b"".join(stream)
    assert len(reads) == READS


def test_an_object_that_is_gone_is_noticed_before_anything_is_sent(sink: Sink) -> None:
    def gone(start: int, length: int) -> BinaryIO:
        raise Reject("OBJECT_VANISHED", "deleted")

    transfer, _, _ = a_transfer(sink, PART, 1, drop=a_drop(PART, gone))
    with pytest.raises(Reject, match="OBJECT_VANISHED"):
        transfer.run()
    assert not sink.begun


# --- memory ---


@pytest.mark.parametrize("encrypted", [False, True])
def test_memory_is_bound_by_the_blocks_in_flight_whatever_the_size(sink: Sink, encrypted: bool) -> None:
    """Given a sparse file whose parts are many times as large as the bound: 600 MiB in parts of 75 MiB."""
    size, bound = 600 * MIB, PARTS_IN_FLIGHT * 3 * BLOCK_BYTES + 3 * MIB
    cipher = FileCipher(ContentKey(bytes(32), bytes(16)), size, "r") if encrypted else None
    transfer, _, _ = a_transfer(sink, size, 8, cipher=cipher)
    tracemalloc.start()
    try:
        transfer.run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.bytes == size + (16 if encrypted else 0)
    assert peak < bound < 75 * MIB
