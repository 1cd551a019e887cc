"""The process that serves the embedded AWS: MiniStack under hypercorn, tied to the process that started it.

Run by `sandbox.embedded` only, as a file, in a clean environment: `python -I aws_server.py SOCKET MODE TEMPORARY`.
It adds five things to MiniStack:

- It ends, in good order, as soon as its standard input closes: whoever started it may be killed, it is not left behind.
- In the mode `durable` the answer to a change leaves only when the change is on disk. MiniStack by itself saves when it
  is told to shut down and at no other time. ASGI has a message for that, so this server sends it whenever something
  changed, and lets all changes that arrived meanwhile share the next save.
- A range of a named version is answered with that range, as S3 does. MiniStack by itself reads and sends the whole.
- Where nothing is kept, it takes down who asked for what and whether IAM allowed it, and what was sent to queues and
  buses: `GET /_sandbox/taken`. Whoever judges a run reads it; no function does.
- A layer is unpacked once. MiniStack by itself unpacks it for each worker, and nothing else goes on meanwhile.
"""

import asyncio
import hashlib
import importlib
import itertools
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from hypercorn.asyncio import serve
from hypercorn.config import Config

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

APPLICATION = "ministack.app:app"
S3_MODULE = "ministack.services.s3"
RUNTIME_MODULE = "ministack.core.lambda_runtime"
EVALUATOR_MODULE = "ministack.core.iam_evaluator"
TAKEN_PATH = "/_sandbox/taken"
"""No bucket's name begins with `_`, so it is nobody's."""

SENDING = (b"AmazonSQS.SendMessage", b"AWSEvents.PutEvents")
LAYER = "layer_"
"""How the folders and archives of layers begin among those of a worker."""
KEEP_ALIVE_SECONDS = 75
STOP_SECONDS = {True: 3.0, False: 0.2}
"""How long requests that are under way may take at the end: when durable, and when nothing is kept anyway."""

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
READING_ACTIONS = ("Get", "List", "Describe", "Query", "Scan", "BatchGet", "TransactGet", "Receive", "Filter")

GATHER_SECONDS = 0.02
"""How long a save waits for what a change sets off behind its answer, such as an object's event on its way to a queue.
After a long save it waits that long again, so that saving takes half of the time at most."""

QUIET_SECONDS = 5.0
"""How often it is saved without a request, for what happens by itself: schedules, message retention, dead letters."""

OFTEN = frozenset({"s3", "sqs", "dynamodb", "eventbridge", "secretsmanager"})
"""What requests to objects, messages, rows, events and secrets change. All other states are saved when a request may
concern them and once a minute: among them are the functions with their code, and to write 16 MB and fifty small files
for each row of a table would take all of the time."""

OFTEN_ACTIONS = ("DynamoDB_", "AmazonSQS", "AWSEvents", "secretsmanager")
"""How the targets of their actions begin. S3 has none, its paths begin with a bucket."""

WHOLE_ROUNDS = 12
"""Every so many rounds of `QUIET_SECONDS` everything is saved."""

SAVING_LOGGERS = ("persistence", "transfer")
"""They tell of every save and of every service; only their warnings are worth a line."""

orphaned = threading.Event()
"""Set when the process that started this one has gone without stopping it."""


def changes_something(scope: Scope) -> bool:
    """Whether a request may leave the state different: by its method, and by its action where all are POST."""
    if scope["type"] != "http" or scope["method"] in READING_METHODS:
        return False
    return not _target(scope).decode().rpartition(".")[2].startswith(READING_ACTIONS)


def concerns_others(scope: Scope) -> bool:
    """Whether a change may be one of a state that is not in `OFTEN`. Lambda's paths begin with a year, and actions
    without a target, such as CloudFormation's, have no path."""
    target = _target(scope)
    if target:
        return not target.decode().startswith(OFTEN_ACTIONS)
    path: str = scope.get("path", "/")
    return path == "/" or path.startswith("/20")


class Durable:
    """An ASGI application that holds the answer to every change back until the state that contains it is saved."""

    def __init__(self, application: Application) -> None:
        self.partly = False
        """Whether the save that is under way may leave out what is not in `OFTEN`."""
        self._whole = True
        self._application = application
        self._waiting: list[asyncio.Future[None]] = []
        self._saver: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the first message of an answer waits for the save, the rest follows it."""
        if not changes_something(scope):
            await self._application(scope, receive, send)
            return
        others = concerns_others(scope)

        async def send_when_saved(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._whole |= others
                await self._saved()
            await send(message)

        await self._application(scope, receive, send_when_saved)

    async def save_regularly(self) -> None:
        """Save every few seconds, for ever."""
        for number in itertools.count(1):
            await asyncio.sleep(QUIET_SECONDS)
            self._whole |= number % WHOLE_ROUNDS == 0
            await self._saved()

    async def _saved(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._saver is None or self._saver.done():
            self._saver = asyncio.create_task(self._save_until_quiet())
        await waiter

    async def _save_until_quiet(self) -> None:
        pause = GATHER_SECONDS
        while self._waiting:
            await asyncio.sleep(pause)
            waiting, self._waiting = self._waiting, []
            started = time.monotonic()
            try:
                await self._save()
            finally:
                self._release(waiting)
            pause = max(GATHER_SECONDS, time.monotonic() - started)

    @staticmethod
    def _release(waiting: list[asyncio.Future[None]]) -> None:
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _save(self) -> None:
        async def shutdown() -> Message:
            return {"type": "lifespan.shutdown"}

        async def ignore(_: Message) -> None:
            return None

        self.partly, self._whole = not self._whole, False
        try:
            await self._application({"type": "lifespan", "asgi": {"version": "3.0"}}, shutdown, ignore)
        finally:
            self.partly = False


class Taken:
    """An ASGI application that takes down what is sent to queues and buses, and what IAM was asked, and tells of it."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._sent: list[str] = []
        self._judged = Counter[tuple[str, str, bool]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] == TAKEN_PATH:
            await self._tell(send)
        elif scope["type"] == "http" and _target(scope).startswith(SENDING):
            await self._application(scope, self._listening(receive), send)
        else:
            await self._application(scope, receive, send)

    def judged(self, who: str, action: str, *, allowed: bool) -> None:
        """Take down what IAM has judged."""
        self._judged[who, action, allowed] += 1

    def _listening(self, receive: Receive) -> Receive:
        body = bytearray()

        async def heard() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body"):
                self._sent.append(body.decode(errors="replace"))
            return message

        return heard

    async def _tell(self, send: Send) -> None:
        judged = [[*each, times] for each, times in self._judged.items()]
        body = json.dumps({"judged": judged, "sent": self._sent}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": HTTPStatus.OK.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _target(scope: Scope) -> bytes:
    found: bytes = next((value for name, value in scope["headers"] if name.lower() == b"x-amz-target"), b"")
    return found


def take_down_what_is_judged(taken: Taken) -> None:
    """Let MiniStack's IAM tell of each of its decisions; the caller is the one that it has found for the request."""
    evaluator: Any = importlib.import_module(EVALUATOR_MODULE)
    enforce = evaluator.enforce

    def enforced(access_key_id: str, iam_action: str, *more: Any, **named: Any) -> Any:
        denied = enforce(access_key_id, iam_action, *more, **named)
        taken.judged(evaluator.caller_arn(), iam_action, allowed=denied is None)
        return denied

    evaluator.enforce = enforced


def load(path: str) -> Application:
    """The application that `module:name` names, as every ASGI server finds it."""
    module, _, name = path.partition(":")
    application: Application = getattr(importlib.import_module(module), name)
    return application


def save_parts(path: str, kept: Durable) -> None:
    """Let MiniStack, whose application is at `path`, save no more than `OFTEN` whenever `kept` allows it."""
    module: Any = importlib.import_module(path.partition(":")[0])
    save_all = module.save_all

    def save_due(services: dict[str, Any]) -> None:
        save_all({name: state for name, state in services.items() if name in OFTEN or not kept.partly})

    module.save_all = save_due


@dataclass
class AskedRange:
    """The `Range` that a request for one version named; once it was read, the bytes from and to, and of how many."""

    text: str
    span: tuple[int, int] | None = None
    size: int = 0


def answer_ranges_of_versions() -> None:
    """Let MiniStack's S3 read and answer just the range that is asked for where a version is named."""
    s3: Any = importlib.import_module(S3_MODULE)
    get_object, version_body = s3._get_object, s3._version_body
    asked: ContextVar[AskedRange | None] = ContextVar("asked", default=None)

    def body_of(bucket: dict[str, Any], name: str, key: str, version: dict[str, Any]) -> bytes | None:
        wanted = asked.get()
        span: tuple[int, int] | None = s3._parse_range(wanted.text, version["size"]) if wanted else None
        if wanted is None or span is None:
            whole: bytes | None = version_body(bucket, name, key, version)
            return whole
        wanted.span, wanted.size = span, version["size"]
        first, last = span
        if s3._version_file_exists(name, key, version["version_id"]):
            with Path(s3._version_disk_path(name, key, version["version_id"])).open("rb") as file:
                file.seek(first)
                return file.read(last - first + 1)
        there: bytes | None = version_body(bucket, name, key, version)
        return None if there is None else there[first : last + 1]

    def get_range(name: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> Any:
        wanted = AskedRange(headers["range"]) if headers.get("range") and (query or {}).get("versionId") else None
        token = asked.set(wanted)
        try:
            status, said, body = get_object(name, key, headers, query)
        finally:
            asked.reset(token)
        if wanted is None or wanted.span is None or status != HTTPStatus.OK:
            return status, said, body
        first, last = wanted.span
        about_all = {name for name in said if name.lower().startswith("x-amz-checksum-")}
        kept = {name: value for name, value in said.items() if name not in about_all}
        part = {"Content-Length": str(len(body)), "Content-Range": f"bytes {first}-{last}/{wanted.size}"}
        return HTTPStatus.PARTIAL_CONTENT.value, kept | part, body

    s3._get_object, s3._version_body = get_range, body_of


class SharedLayer(zipfile.ZipFile):
    """An archive that, where it is a layer's, is unpacked into a folder that all workers share."""

    _unpacked: ClassVar[dict[str, Path]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def namelist(self) -> list[str]:
        """The names; of a layer that is unpacked already none, as they have been checked."""
        return [] if self._digest in self._unpacked else super().namelist()

    def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
        """Unpack it; of a layer, put links to what is unpacked already."""
        if self._digest is None:
            super().extractall(path, members, pwd)
            return
        with self._lock:
            if self._digest not in self._unpacked:
                folder = Path(tempfile.mkdtemp(prefix="layer-"))
                super().extractall(folder)
                self._unpacked[self._digest] = folder
        for each in self._unpacked[self._digest].iterdir():
            (Path(path) / each.name).symlink_to(each)

    @cached_property
    def _digest(self) -> str | None:
        name = Path(str(self.filename))
        if not name.name.startswith(LAYER):
            return None
        with name.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def unpack_layers_once() -> None:
    """Let MiniStack's workers share what is unpacked of their layers, as they only read it."""
    runtime: Any = importlib.import_module(RUNTIME_MODULE)
    runtime.zipfile = SimpleNamespace(
        ZipFile=SharedLayer, BadZipFile=zipfile.BadZipFile, LargeFileError=zipfile.LargeZipFile
    )


def configuration(descriptor: int, *, durable: bool) -> Config:
    """Hypercorn on the socket that was handed down: it was bound before, so no other process can take the port."""
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.graceful_timeout = STOP_SECONDS[durable]
    return config


async def run(descriptor: int, *, durable: bool) -> None:
    """Serve until SIGTERM, SIGINT or the end of standard input."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    threading.Thread(target=_stop_with_parent, args=(loop, stop), daemon=True).start()
    application = load(APPLICATION)
    answer_ranges_of_versions()
    unpack_layers_once()
    for name in SAVING_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    if not durable:
        taken = Taken(application)
        take_down_what_is_judged(taken)
        await _serve(taken, configuration(descriptor, durable=False), stop)
        return
    kept = Durable(application)
    save_parts(APPLICATION, kept)
    async with asyncio.TaskGroup() as tasks:
        saving = tasks.create_task(kept.save_regularly())
        await _serve(kept, configuration(descriptor, durable=True), stop)
        saving.cancel()


async def _serve(application: Application, config: Config, stop: asyncio.Event) -> None:
    served: Any = application
    await serve(served, config, shutdown_trigger=stop.wait)


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    orphaned.set()
    loop.call_soon_threadsafe(stop.set)


def _clear_up(temporary: str) -> None:
    """End the whole group, then remove the folder: from a process outside the group, as workers still write to it."""
    group = os.getpgid(0)
    if os.fork():
        signal.pause()
    os.setsid()
    os.killpg(group, signal.SIGKILL)
    shutil.rmtree(temporary, ignore_errors=True)
    os._exit(0)


def main(descriptor: str, durable: str, temporary: str) -> None:
    """Serve on the socket, then take the workers along; and the folder, when nobody is left who would remove it."""
    try:
        asyncio.run(run(int(descriptor), durable=durable == "durable"))
    finally:
        if orphaned.is_set():
            _clear_up(temporary)
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
