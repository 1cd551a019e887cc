"""Rows 2 and 3: a gibibyte from S3 to presigned addresses, one of them and eight, plain and encrypted.

Ours: docxworld's deliver, the real handler in a process of its own, from the event of the drop to its answer. The
alternative: curl that reads the same bytes from the same server and writes them to the same sink, one pipe for each
address. What is encrypted is compared with the slower of curl and AES-256-GCM on one thread of this machine.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from benchmarks.cloud.running import RunningAws
from benchmarks.fleet import OUTBOX, Fleet
from benchmarks.measured import Line, Measured, Options, alone, at_least, at_most, compared, median_of
from benchmarks.offices import LOGIN
from benchmarks.sink import sink
from sandbox.embedded import fast_folder
from sandbox.portals.docxworld import SimulatedDocxworld, UploadOptions
from sandbox.portals.docxworld.fields import Body
from sandbox.portals.docxworld.identity import Account
from sandbox.portals.docxworld.jobs import TRANSFERRED_SOON
from sandbox.portals.docxworld.uploads import Uploads
from sandbox.portals.server import serve

NAME = "upload-rate"
MIB = 1024 * 1024
SIZE, QUICK_SIZE = 1024 * MIB, 64 * MIB
WARM_UP_BYTES = MIB
GOAL = 0.8
MEMORY_MEGABYTES = 200.0
BLOCK_BYTES = 256 * 1024
MANY = 8
NEVER_BYTES = 1 << 50  # no file is so large that it is sent in chunks
CONNECTION = "office"
PIPE = 'curl -sf -r "$2-$3" "$1" | curl -sf -T - -H "Content-Length: $4" -H "Transfer-Encoding:" -H "Expect:" "$5"'


class TrustingUploads(Uploads):
    """Uploads whose content lies elsewhere: the portal believes that it came when it is told, or asked, of it."""

    def complete(self, account: Account, body: Body) -> dict[str, Any]:  # noqa: ARG002 - there is one
        """PUT /v1/uploads/complete."""
        process_id = body.required_text("processId")
        body.strings("etags")
        body.close()
        self._came(process_id)
        return {"message": "complete upload response"}

    def upload(self, account: Account, role: str | None, process_id: str) -> dict[str, Any]:
        """GET /v1/uploads/{id}."""
        self._came(process_id)
        return super().upload(account, role, process_id)

    def _came(self, process_id: str) -> None:
        job = self.jobs[process_id]
        if job.scheduled:
            job.start(TRANSFERRED_SOON, self.clock())


class ForwardingDocxworld(SimulatedDocxworld):
    """A docxworld whose presigned addresses lead to another server."""

    def __init__(self, storage: str, urls: int) -> None:
        from_bytes = 2 * WARM_UP_BYTES if urls > 1 else NEVER_BYTES
        super().__init__(options=UploadOptions(chunk_threshold_bytes=from_bytes, url_count=urls))
        self._to = storage
        trusting = TrustingUploads(self._now, self.storage, self.catalogue)
        trusting.options, trusting.linked = self.uploads.options, self.uploads.linked
        self.uploads = trusting

    def _origin(self) -> str:
        return getattr(self, "_to", self.base_url)


@dataclass(frozen=True)
class Rate:
    """How fast it went, in MB/s, and how much memory the process had at most."""

    megabytes_per_second: float
    peak_megabytes: float


def run(options: Options) -> Measured:
    """Measure one address and eight, plain and encrypted."""
    size = options.scaled(SIZE, QUICK_SIZE)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=fast_folder()) as folder:
        return _measured(_made(Path(folder) / "source", size), size, options)


def _measured(source: Path, size: int, options: Options) -> Measured:
    cipher = median_of([_cipher_rate(size) for _ in range(options.runs)])
    lines: list[Line] = []
    peak = 0.0
    for urls in (1, MANY):
        curl = median_of([_curl_rate(source, size, urls) for _ in range(options.runs)])
        for encryption in ("none", "docxworld"):
            rate = _ours(source, size, urls, encryption, options.runs)
            alternative = curl if encryption == "none" else min(curl, cipher)
            lines.append(_line(urls, encryption, rate, alternative))
            peak = max(peak, rate.peak_megabytes)
    memory = alone("peak memory of the process", peak, "MB", at_most(MEMORY_MEGABYTES))
    return Measured(
        NAME,
        f"{size // MIB} MiB from S3 to presigned addresses",
        "curl between the same endpoints; encrypted: the slower of curl and AES-256-GCM on one thread",
        (*lines, memory),
        (
            f"AES-256-GCM on one thread: {cipher:.0f} MB/s. Both endpoints are on this machine and share its cores with"
            " what is measured; no TLS on either side, no latency. A Lambda function has some 75 MB/s of network.",
            "From the event to the handler's answer: with ledger, receipt and events; warm.",
        ),
    )


def _line(urls: int, encryption: str, rate: Rate, alternative: float) -> Line:
    label = f"{urls} address{'es' if urls > 1 else ''}, {'plain' if encryption == 'none' else 'encrypted'}"
    return compared(label, rate.megabytes_per_second, alternative, "MB/s", at_least(GOAL))


def _made(path: Path, size: int) -> Path:
    """Write a file of noise, in memory where there is room."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)
    return path


class _Line:
    """S3 with the object at one end, the sink at the other."""

    def __init__(self, file: Path, running: ExitStack) -> None:
        self._file = file
        self.aws = running.enter_context(RunningAws(latency=0))
        self.sink = running.enter_context(sink())

    def add(self, key: str) -> str:
        """Put the object under a key; return its address."""
        self.aws.ask("object", path=f"{OUTBOX.lower()}/{key}", file=str(self._file))
        return f"{self.aws.endpoint}/{OUTBOX.lower()}/{key}"


def _ours(source: Path, size: int, urls: int, encryption: str, runs: int) -> Rate:
    with ExitStack() as running:
        line = _Line(source, running)
        portal = ForwardingDocxworld(line.sink, urls)
        running.callback(portal.close)
        portal.add_user(*LOGIN)
        target = portal.add_target().id
        running.enter_context(serve(portal))
        line.aws.connect("docxworld", {CONNECTION: _secret(portal, encryption)})
        fleet = running.enter_context(Fleet(line.aws, "docxworld", "deliver", at_once={"deliver": 1}))
        line.aws.ask("object", path=f"{OUTBOX.lower()}/{_key(target, 'klein')}", text="x" * WARM_UP_BYTES)
        _delivered(fleet, line.aws, _key(target, "klein"))
        seconds = []
        for number in range(runs):
            key = _key(target, f"gross-{number}")
            line.add(key)
            seconds.append(_delivered(fleet, line.aws, key))
        return Rate(size / 1e6 / median_of(seconds), fleet.sources["deliver"].peak_megabytes())


def _key(target: str, name: str) -> str:
    return f"docxworld/{CONNECTION}/{target}/{name}.pdf"


def _secret(portal: SimulatedDocxworld, encryption: str) -> Mapping[str, Any]:
    login = {"username": LOGIN[0], "password": LOGIN[1]}
    auth = {"kind": "user-password", "cognitoUrl": portal.cognito_url, "clientId": portal.app_client_id, **login}
    return {"baseUrl": portal.base_url, "auth": auth, "uploader": {"encryption": encryption}}


def _delivered(fleet: Fleet, aws: RunningAws, key: str) -> float:
    """Drop, wait until it is sent, and return the seconds of the invocation."""
    fleet.invoked.clear()
    fleet.drop(key)
    fleet.wait_until_quiet()
    while not fleet.invoked:
        time.sleep(0.001)
    sent = [row for row in aws.ask("rows") if row.get("key", {}).get("S") == key and "state" in row]
    if [row["state"]["S"] for row in sent] not in (["SENT"], ["DELIVERED"]) or len(fleet.invoked) > 1:
        raise AssertionError(f"it was not sent at once: {sent}\n{fleet.logs()[-2000:]}")
    return fleet.invoked[0].seconds


def _curl_rate(file: Path, size: int, urls: int) -> float:
    """Return the MB/s of so many pipes of curl side by side."""
    with ExitStack() as running:
        line = _Line(file, running)
        source, length = line.add("object"), size // urls
        began = time.monotonic()
        pipes = [
            subprocess.Popen(["sh", "-c", PIPE, "pipe", source, *_range(n, length), f"{line.sink}/{n}"])
            for n in range(urls)
        ]
        if any(pipe.wait() for pipe in pipes):
            raise AssertionError("curl failed")
        return size / 1e6 / (time.monotonic() - began)


def _range(number: int, length: int) -> tuple[str, str, str]:
    """Return first byte, last byte and length of a part."""
    return str(number * length), str((number + 1) * length - 1), str(length)


def _cipher_rate(size: int) -> float:
    """Return the MB/s of AES-256-GCM on one thread, block by block."""
    block = bytes(BLOCK_BYTES)
    encryptor = Cipher(AES(os.urandom(32)), GCM(os.urandom(12))).encryptor()
    began = time.monotonic()
    for _ in range(size // BLOCK_BYTES):
        encryptor.update(block)
    encryptor.finalize()
    return size / 1e6 / (time.monotonic() - began)
