"""An encrypted upload in chunks whose workers are killed at random: does it arrive, in how much memory, at what cost?

    PYTHONPATH=layers/amtsbote .venv/bin/python -m benchmarks.upload_resume [--megabytes 3000] [--kill-after 1 5]

Real: the adapter (addresses, parts side by side, encryption, resume), HTTP, files on disk, processes and SIGKILL.
Stand-ins: docxworld and its storage (the simulated portal, in the process that kills), the outbox (a local file read
by offset), the ledger (a JSON file, replaced by each save), KMS (AES-GCM with a key in a file). The network is the
loopback: the speed is that of this machine.
"""

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amtsbote.deadline import Deadline
from amtsbote.errors import OutOfTime, Retry
from amtsbote.http import Transport
from amtsbote.portals.docxworld import PORTAL, DocxworldSecret
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Drop
from amtsbote.tokens import TokenCache
from sandbox.portals.docxworld import SimulatedDocxworld, UploadOptions
from sandbox.portals.server import serve

MIB = 1024 * 1024
LOGIN = ("bench@example.com", "ein Passwort")
INVOCATION_SECONDS = 15.0  # so that time runs out too, not only lives
GLANCE_SECONDS = 0.05
SEED = 7
GOES_ON, DONE = 75, 0  # exit codes of a worker


# --- one worker: what a function does in one invocation ---


class FileJournal:
    """A journal in a file, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def save(self) -> None:
        """Write the state down."""
        fresh = self._path.with_suffix(".fresh")
        fresh.write_text(json.dumps(self.state))
        fresh.replace(self._path)


class FileVault:
    """A vault whose key lies in a file."""

    def __init__(self, path: Path) -> None:
        self._aes = AESGCM(path.read_bytes())

    def seal(self, secret: bytes, context: str) -> bytes:
        """Seal."""
        nonce = os.urandom(12)
        return nonce + self._aes.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Open."""
        return self._aes.decrypt(sealed[:12], sealed[12:], context.encode())


def worker(folder: Path) -> int:
    """Go on with the upload until it is there or time is up; return the exit code."""
    given = json.loads((folder / "given.json").read_text())
    source = folder / "source"

    def read(start: int, _: int) -> BinaryIO:
        file = FileIO(source)
        file.seek(start)
        return cast(BinaryIO, file)

    drop = Drop(
        key=f"docxworld/bench/{given['target']}/gross.pdf",
        version_id="v1",
        path=(given["target"], "gross.pdf"),
        size=source.stat().st_size,
        content_type="application/pdf",
        metadata={},
        reference="amtsbote-bench",
        read=read,
    )
    transport = Transport(Deadline(INVOCATION_SECONDS), allow_loopback=True)
    tools = Tools(transport, TokenCache(), lambda: datetime.now(UTC), vault=FileVault(folder / "vault"))
    connection = Connection("docxworld", "bench", DocxworldSecret.model_validate(given["secret"]))
    destination = PORTAL.destination(connection, tools)
    assert destination is not None
    try:
        destination.deliver(drop, FileJournal(folder / "journal.json"))
    except OutOfTime:
        return GOES_ON
    except Retry as retry:
        print(f"  a worker comes again: {retry}", file=sys.stderr)
        return GOES_ON
    return DONE


# --- the bench: portal, workers, signals ---


@dataclass
class Story:
    """What happened."""

    killed: int = 0
    out_of_time: int = 0
    peak_kilobytes: list[int] = field(default_factory=list)
    journal_bytes: int = 0


def made_source(path: Path, size: int) -> str:
    """Write a file of noise and return its SHA-256."""
    noise, digest = random.Random(SEED), hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            block = noise.randbytes(min(MIB, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def peak_kilobytes(process: "subprocess.Popen[bytes]") -> int:
    """Return the most memory that a process has had resident so far (VmHWM)."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def live(process: "subprocess.Popen[bytes]", seconds: float, story: Story) -> int | None:
    """Let a worker live for so long; return its exit code, None where it was killed."""
    end, peak = time.monotonic() + seconds, 0
    while process.poll() is None and time.monotonic() < end:
        peak = max(peak, peak_kilobytes(process))
        time.sleep(GLANCE_SECONDS)
    story.peak_kilobytes.append(peak)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return None
    return process.returncode


def work_until_done(folder: Path, kill_after: Sequence[float], story: Story) -> None:
    """Start worker after worker, and kill most of them, until one says that the upload is there."""
    dice = random.Random(SEED)
    command = [sys.executable, "-m", "benchmarks.upload_resume", "--worker", str(folder)]
    while True:
        process = subprocess.Popen(command)
        code = live(process, dice.uniform(*kill_after) if dice.random() < 0.8 else 3600.0, story)
        journal = folder / "journal.json"
        story.journal_bytes = max(story.journal_bytes, journal.stat().st_size if journal.exists() else 0)
        if code == DONE:
            return
        if code is None:
            story.killed += 1
        elif code == GOES_ON:
            story.out_of_time += 1
        else:
            raise SystemExit(f"a worker ended with {code}")


def prepare(portal: SimulatedDocxworld, folder: Path) -> None:
    """Write down what the workers need."""
    portal.add_user(*LOGIN)
    target = portal.add_target("Massendruck", "MASSE")
    login = {"username": LOGIN[0], "password": LOGIN[1]}
    auth = {"kind": "user-password", "cognitoUrl": portal.cognito_url, "clientId": portal.app_client_id, **login}
    secret = {"baseUrl": portal.base_url, "auth": auth, "uploader": {"encryption": "docxworld"}}
    (folder / "given.json").write_text(json.dumps({"target": target.id, "secret": secret}))
    (folder / "vault").write_bytes(os.urandom(32))


def bench(options: argparse.Namespace, folder: Path) -> int:
    """Run it, print what came of it, and return 0 when what was asked for is so."""
    size, story = options.megabytes * 1_000_000 + 5, Story()
    print(f"{size} bytes, workers killed after {options.kill_after[0]} to {options.kill_after[1]} s")
    digest = made_source(folder / "source", size)
    (folder / "storage").mkdir()
    upload_options = UploadOptions(link_seconds=options.link_seconds)
    portal = SimulatedDocxworld(folder=folder / "storage", options=upload_options)
    with serve(portal):
        prepare(portal, folder)
        began = time.monotonic()
        work_until_done(folder, options.kill_after, story)
        seconds = time.monotonic() - began
    return report(portal, story, (digest, size), seconds)


def report(portal: SimulatedDocxworld, story: Story, expected: tuple[str, int], seconds: float) -> int:
    """Print the figures; return 0 when the file arrived once, byte for byte, and nothing was flagged."""
    (job,) = portal.jobs()
    whole = portal.uploads.opened(job.id) == expected
    puts = [request for request in portal.requests if request.method == "PUT" and request.path.startswith("/s3/")]
    sent = sum(request.body_bytes for request in puts)
    asked = sum(request.method == "PUT" and request.path == "/v1/uploads" for request in portal.requests)
    print("real: adapter, encryption, HTTP, processes, SIGKILL; stand-ins: portal, storage, outbox, ledger, KMS")
    print(f"arrived byte for byte (SHA-256 of what opens): {whole}; flags of the storage: {portal.storage.flags}")
    print(f"{job.url_count} parts, {len(puts)} transfers begun; addresses asked for {asked} times")
    print(f"workers killed: {story.killed}, out of time: {story.out_of_time}, ended by themselves: 1")
    print(f"peak memory of a worker (RSS): {max(story.peak_kilobytes) / 1024:.0f} MiB")
    print(f"largest journal: {story.journal_bytes} bytes")
    print(f"received beyond the file: {(sent - expected[1] - 16) / MIB:.1f} MiB ({sent / expected[1] - 1:.1%})")
    print(f"time: {seconds:.1f} s ({expected[1] / MIB / seconds:.0f} MiB/s with all deaths)")
    return 0 if whole and not portal.storage.flags else 1


def main() -> int:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=3000)
    parser.add_argument("--kill-after", type=float, nargs=2, default=(1.0, 5.0), metavar=("FROM", "TO"))
    parser.add_argument("--link-seconds", type=int, default=75)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker)
    logging.disable(logging.ERROR)  # the portal tells of each line that breaks, which is what happens here
    with tempfile.TemporaryDirectory(prefix="upload-resume-") as folder:
        return bench(options, Path(folder))


if __name__ == "__main__":
    raise SystemExit(main())
