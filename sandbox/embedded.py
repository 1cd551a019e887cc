"""An AWS of our own for as long as it is needed: one process group on 127.0.0.1, spoken to only by the AWS API."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Self
from urllib.request import urlopen

import boto3

REGION = "eu-central-1"
ADMINISTRATOR_KEY = "test"
HOST = "127.0.0.1"
SERVER = Path(__file__).with_name("aws_server.py")

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
IN_MEMORY_BYTES = 2 * 1024**3
START_SECONDS = 60.0
ANSWER_SECONDS = 5.0
STOP_SECONDS = 20.0
LOCK_SECONDS = 20.0
POLL_SECONDS = 0.05
BACKLOG = 128
ACCOUNT_CONCURRENCY = 64  # a throttled batch would stay hidden for its whole visibility timeout
WARM_SECONDS = 600
LOG_TAIL_LINES = 40


class EmbeddedAwsError(Exception):
    """The embedded AWS did not start, or its folder is in use; the message says what to do."""


@dataclass
class EmbeddedAws:
    """A running embedded AWS. Made by `start`, ended by `stop` or by leaving the `with` block.

    Each function runs under its own role and unknown keys are refused; `credentials` are the administrator's.
    """

    endpoint: str
    folder: Path
    _process: "subprocess.Popen[bytes]" = field(repr=False)
    _keep_folder: bool
    region: str = REGION
    access_key_id: str = ADMINISTRATOR_KEY
    secret_access_key: str = ADMINISTRATOR_KEY

    @classmethod
    def start(cls, state_dir: Path | None = None, port: int = 0) -> Self:
        """Start it and return when it answers.

        With `state_dir` everything is kept there: an answered change survives kill -9, and the next start in the same
        folder goes on from it. Without, everything is gone at the end. Port 0 takes a free one (the former one again
        with `state_dir`). Raises EmbeddedAwsError when the port or the folder is taken, or when it does not come up.
        """
        folder = _prepared(state_dir)
        try:
            with contextlib.ExitStack() as handed_down:
                lock = handed_down.enter_context(_locked(folder))
                listener = handed_down.enter_context(_listening(port) if port else _listening_again(folder))
                _clear_temporary(folder)
                _release_messages(folder / "state" / "sqs.json")
                process = _spawn(folder, listener, lock, durable=state_dir is not None)
                endpoint = f"http://{HOST}:{listener.getsockname()[1]}"
            aws = cls(endpoint, folder, process, _keep_folder=state_dir is not None)
            aws._wait_until_ready()
        except BaseException:
            if state_dir is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return aws

    @property
    def process_id(self) -> int:
        """The id of the server's process, which is also its group's."""
        return self._process.pid

    def session(self) -> boto3.Session:
        """A boto3 session with the administrator's keys; its clients need `endpoint_url=aws.endpoint`."""
        return boto3.Session(self.access_key_id, self.secret_access_key, region_name=self.region)

    def environment(self) -> dict[str, str]:
        """The variables that point any AWS tool at it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def exit_code(self) -> int | None:
        """None while it runs; afterwards how it ended (negative: the signal)."""
        return self._process.poll()

    def log_tail(self) -> str:
        """The last lines that the server wrote, for a message about its end."""
        log = self.folder / "server.log"
        if not log.exists():
            return ""
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def stop(self) -> None:
        """End the whole process group and remove what is not to be kept. May be called any number of times."""
        with _uninterrupted():
            _end_group(self._process)
            if self._process.stdin is not None:
                self._process.stdin.close()
            for name in ("tmp", "home"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            if not self._keep_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.exit_code() is None:
            if self._answers():
                return
            time.sleep(POLL_SECONDS)
        tail = self.log_tail()
        self.stop()
        raise EmbeddedAwsError(f"the embedded AWS did not come up; the end of its log:\n{tail}")

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.endpoint}/_ministack/ready", timeout=ANSWER_SECONDS):  # noqa: S310
                return True
        except (OSError, HTTPException):
            return False


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals wait until the block is done, so that an impatient Ctrl-C leaves nothing behind."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepared(state_dir: Path | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="amtsbote-aws-", dir=fast_folder())) if state_dir is None else state_dir
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def fast_folder() -> Path | None:
    """Where files live in memory, if there is room: each worker unpacks its layers, and on disk that takes long."""
    roomy = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > IN_MEMORY_BYTES
    return IN_MEMORY if roomy else None


def _clear_temporary(folder: Path) -> None:
    for name in ("tmp", "home"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[IO[bytes]]:
    """Two servers on one folder would destroy it. The server inherits the lock, so it lasts as long as the server."""
    with (folder / "lock").open("wb") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise EmbeddedAwsError(f"{folder} is in use by another embedded AWS")
            time.sleep(POLL_SECONDS)
        yield lock


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release_messages(queues: Path) -> None:
    """Hand messages out again that were in the hands of a function when the former server ended.

    No function is at work when the server starts, so nobody waits for the end of their visibility timeouts, which may
    be an hour away. The AWS API cannot do that without the lost receipt handles; MiniStack's saved state can.
    """
    if not queues.exists():
        return
    released = json.loads(queues.read_text(), object_hook=_released)
    copy = queues.with_suffix(".released")
    copy.write_text(json.dumps(released))
    copy.replace(queues)


def _released(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"visible_at": record["sent_at"]} if record.get("receive_count") else record


def _first_port(folder: Path) -> int:
    """The port of the first start in this folder, or 0."""
    port = folder / "port"
    return int(port.read_text()) if port.exists() else 0


def _listening_again(folder: Path) -> socket.socket:
    """A listening socket on the folder's port, or on a free one when that is taken or there was none."""
    try:
        return _listening(_first_port(folder))
    except EmbeddedAwsError:
        return _listening(0)


def _listening(port: int) -> socket.socket:
    """A bound, listening socket: the port is ours from here on, so nobody can take it before the server accepts."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise EmbeddedAwsError(f"port {port} of {HOST} cannot be used: {error}") from error
    listener.listen(BACKLOG)
    return listener


def _spawn(folder: Path, listener: socket.socket, lock: IO[bytes], *, durable: bool) -> "subprocess.Popen[bytes]":
    port = listener.getsockname()[1]
    first_port = _first_port(folder) or port
    (folder / "port").write_text(str(first_port))
    temporary = folder / "tmp" if durable else folder
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-I", SERVER, str(listener.fileno()), "durable" if durable else "fleeting", temporary],
            cwd=folder,
            env=_server_environment(folder, port, first_port, durable=durable),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(), lock.fileno()),
            start_new_session=True,
        )


def _server_environment(folder: Path, port: int, first_port: int, *, durable: bool) -> Mapping[str, str]:
    """Nothing of the caller's environment: a proxy, a profile or a real key must not reach a function.

    Queue URLs are made of GATEWAY_PORT and are kept in the state, where queues are found by them. So that stays the
    port of the first start; no AWS client connects to the address in a queue URL.
    """
    kept = {"PERSIST_STATE": "1", "STATE_DIR": str(folder / "state")} if durable else {}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "GATEWAY_PORT": str(first_port),
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AUTH": "true",
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder}/no-docker",
        "LAMBDA_EXECUTOR": "local",
        "LAMBDA_WARM_TTL_SECONDS": str(WARM_SECONDS),
        "LAMBDA_ACCOUNT_CONCURRENCY": str(ACCOUNT_CONCURRENCY),
        "LOG_LEVEL": "INFO",
    }


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Ask, wait, then insist; workers that outlived their server are ended too."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
