"""Serving the console on 127.0.0.1, in a thread that ends with the block."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import boto3
import uvicorn

from amtsbote.observability import log
from amtsbote.operations.office import Office
from amtsbote.operations.stack import stack_named
from console.app import application
from console.guard import ENTRANCE, Keys, Place
from console.retention import alarms_of

HOST = "127.0.0.1"
HIGHEST_PORT = 65535
BACKLOG = 128
START_SECONDS = 10.0
STOP_SECONDS = 5
LOOK_SECONDS = 0.02


class PortTaken(Exception):
    """The port cannot be listened on; the message names it."""


@contextmanager
def serving_stack(
    session: boto3.Session, endpoint: str | None, stack: str, *, allow_loopback: bool = False, port: int = 0
) -> Iterator[str]:
    """Serve the console of the stack that a session leads to; see `serving`. Misconfigured where there is none."""
    log.setLevel("CRITICAL")  # the package's log lines are for its functions
    make: Any = session.client  # its overloads take only literal names
    client = cache(lambda name: make(name, endpoint_url=endpoint))
    office = Office(stack_named(client("cloudformation"), stack), client, allow_loopback=allow_loopback)
    client("sts")  # before requests come side by side, like the others: boto3 cannot make two clients at once
    with serving(office, alarms_of(client("cloudformation"), stack), port) as url:
        yield url


@contextmanager
def serving(office: Office, alarms: Mapping[str, timedelta], port: int = 0) -> Iterator[str]:
    """Serve the console of a stack and yield the address that lets one in; port 0 takes a free one.

    `alarms` is from which age on a document that a portal has not been told of raises an alarm, by portal.
    """
    listener = _listening(port)
    place, keys = Place(listener.getsockname()[1]), Keys()
    config = uvicorn.Config(
        application(office, alarms, place, keys),
        log_level="error",
        access_log=False,  # its lines would hold the names of documents
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="console", daemon=True)
    thread.start()
    try:
        _wait_until_ready(server)
        yield f"{place.url}{ENTRANCE}?key={keys.address}"
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS + 1)
        listener.close()


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"port {port} of {HOST} cannot be used: {error.strerror}; name another with --port") from None
    listener.listen(BACKLOG)
    return listener


def _wait_until_ready(server: uvicorn.Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
