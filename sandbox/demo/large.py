"""The one large upload of the demo: made as it is read, and interrupted by killing who sends it."""

from __future__ import annotations

import hashlib
import io
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from sandbox.deployment import STACK_NAME
from sandbox.embedded import EmbeddedAws
from sandbox.workers import caller_on, peak_memory_bytes

BLOCK_BYTES = 1024 * 1024
AES_BLOCK_BYTES = 16
INTERRUPTED_AT = (0.30, 0.65)
"""The sender is killed when so much of the file, what came twice counted twice, has reached the portal."""
GLANCE_BYTES = 8 * 1024 * 1024
"""So often it is looked how much memory the sender has had."""

SENDER = "DeliverDocxworld"
TIMEOUT_SECONDS, LEASE_SECONDS, VISIBILITY_SECONDS = 25, 25, 26
"""Of the function that sends: in the cloud it may run for ten minutes, and what a dead one had comes again after an
hour. As there, no worker outlives its lease."""
LEASE = "AMTSBOTE_LEASE_SECONDS"


# --- its content -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """So many bytes that no program makes smaller: a key stream. The same seed gives the same bytes."""

    seed: int
    size: int

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """Yield it from a byte on, a block at a time; nothing is held."""
        first, skipped = divmod(start, AES_BLOCK_BYTES)
        stream = Cipher(AES(self._key), CTR(first.to_bytes(AES_BLOCK_BYTES, "big"))).encryptor()
        stream.update(bytes(skipped))
        for at in range(start, self.size, BLOCK_BYTES):
            yield stream.update(bytes(min(BLOCK_BYTES, self.size - at)))

    @property
    def _key(self) -> bytes:
        return hashlib.sha256(f"noise {self.seed}".encode()).digest()

    @cached_property
    def sha256(self) -> str:
        """Of all of it, hexadecimal."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()


class NoiseFile(io.RawIOBase):
    """Noise as a file that can be read, also again from any byte."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self._noise = noise
        self.seek(0)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The byte that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on from another byte."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: getattr(self, "_at", 0), io.SEEK_END: self._noise.size}[whence]
        self._at = base + offset
        self._blocks, self._rest = self._noise.blocks(self._at), memoryview(b"")
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one block goes."""
        into = memoryview(buffer).cast("B")
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        piece, self._rest = self._rest[: len(into)], self._rest[len(into) :]
        into[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


# --- its interruptions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transfer:
    """A file on its way, as the portal saw it: how many bytes came in all, and after how many of them its sender was
    killed; the most memory of a sender in bytes, 0 where that cannot be measured."""

    received: int = 0
    interruptions: tuple[int, ...] = ()
    peak_bytes: int = 0


class Interrupter:
    """Watches what reaches a portal's storage, and kills the process that sends a file (kill -9) at its thresholds."""

    def __init__(self, server: int, file_name: str, size: int) -> None:
        self._server = server
        self._name = file_name
        self._thresholds = [int(size * share) for share in INTERRUPTED_AT]
        self._callers: dict[int, int | None] = {}
        self._seen = Transfer()
        self._glance_at = 0
        self._lock = Lock()

    def transfers(self) -> dict[str, Transfer]:
        """What has been seen so far, by file name."""
        with self._lock:
            return {self._name: self._seen}

    def watch(self, request: web.Request, count: int) -> None:
        """Hear of a piece that has come. It is called in the portal's own thread, which waits meanwhile."""
        if not request.path.endswith(self._name):
            return
        received, killed, peak = self._seen.received + count, self._seen.interruptions, self._seen.peak_bytes
        due = bool(self._thresholds) and received >= self._thresholds[0]
        if due or received >= self._glance_at:
            self._glance_at = received + GLANCE_BYTES
            caller = self._caller(request)
            peak = max(peak, 0 if caller is None else peak_memory_bytes(caller))
            if due and caller is not None and _kill(caller):
                self._thresholds.pop(0)
                killed = (*killed, received)
        with self._lock:
            self._seen = Transfer(received, killed, peak)

    def _caller(self, request: web.Request) -> int | None:
        """The process at the other end of a request's connection."""
        address = request.transport.get_extra_info("peername") if request.transport else None
        if not address:
            return None
        port = int(address[1])
        if self._callers.get(port) is None:
            self._callers[port] = caller_on(port, self._server)
        return self._callers[port]


def _kill(process_id: int) -> bool:
    try:
        os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def let_senders_die_young(aws: EmbeddedAws) -> None:
    """Let the function that sends to docxworld run for seconds only, so that nobody waits for an hour for its dead.

    Timeout, lease and the queue's visibility timeout become shorter together; all else stays as the template says.
    """
    functions: Any = aws.session().client("lambda", endpoint_url=aws.endpoint)
    queues = aws.session().client("sqs", endpoint_url=aws.endpoint)
    for page in functions.get_paginator("list_functions").paginate():
        for function in (each for each in page["Functions"] if SENDER in each["FunctionName"]):
            variables = {**function["Environment"]["Variables"], LEASE: str(LEASE_SECONDS)}
            functions.update_function_configuration(
                FunctionName=function["FunctionName"], Timeout=TIMEOUT_SECONDS, Environment={"Variables": variables}
            )
    for url in queues.list_queues(QueueNamePrefix=f"{STACK_NAME}-{SENDER}").get("QueueUrls", []):
        queues.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})
