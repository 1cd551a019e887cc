"""Simulated portals in processes of their own.

    python -m benchmarks.offices duba --messages 1000 --bytes 65536 --latency 0.2 --accounts 1

prints the address of the portal as the first line, and ends when its standard input does. With several accounts each
has a portal of its own at `<address>/<number>`, all in one server.
"""

import argparse
import io
import json
import logging
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen
from zipfile import ZIP_STORED, ZipFile

from aiohttp import web

from benchmarks.processes import PYTHON, started
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault
from sandbox.portals.server import SimulatedPortal, serve

LOGIN = ("amtsbote", "geheim")
SEED = 7
ZIP_FRAME_BYTES = 120  # what a ZIP with one stored file has beside that file, about


class Offices(SimulatedPortal):
    """Many DUBA accounts behind one address."""

    name = "duba"

    def __init__(self, portals: list[SimulatedDuba]) -> None:
        super().__init__()
        self._portals = portals

    def application(self) -> web.Application:
        """Return a server that has each account below its number."""
        application = web.Application()
        for number, portal in enumerate(self._portals):
            application.add_subapp(f"/{number}/", portal.application())
        return application


def zip_of(size: int) -> bytes:
    """Return a ZIP of about so many bytes, with an XML file and noise as an attachment."""
    noise, packed = random.Random(SEED), io.BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as file:
        file.writestr("anhang.bin", noise.randbytes(max(0, size - ZIP_FRAME_BYTES)))
    return packed.getvalue()


def filled_duba(messages: int, size: int, latency: float) -> SimulatedDuba:
    """Return a DUBA with so many messages that can be fetched."""
    portal, content = SimulatedDuba(*LOGIN, latency_seconds=latency), zip_of(size)
    for _ in range(messages):
        portal.add_message(content=content, job_id=None)
    return portal


@contextmanager
def duba(messages: int, size: int, latency: float, *, accounts: int = 0, hanging: int = -1) -> Iterator[str]:
    """Run a DUBA in a process of its own; hand over its address. `hanging` is an account that never answers."""
    numbers = {"messages": messages, "bytes": size, "latency": latency, "accounts": accounts, "hanging": hanging}
    arguments = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    with started([PYTHON, "-m", "benchmarks.offices", *arguments]) as process:
        yield process.first_line


def state_of(address: str) -> dict[str, Any]:
    """Return what a portal counts."""
    with urlopen(f"{address}/_sandbox/state", timeout=60) as answer:  # noqa: S310 - our own server
        counts: dict[str, Any] = json.loads(answer.read())
    return counts


def secret_of(address: str, *, password: str = LOGIN[1]) -> dict[str, Any]:
    """Return the secret of a connection to an account."""
    return {"baseUrl": address, "username": LOGIN[0], "password": password}


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("messages", "bytes", "accounts", "hanging"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # asyncio tells of each request that is still open at the end
    portals = [filled_duba(options.messages, options.bytes, options.latency) for _ in range(max(1, options.accounts))]
    if options.hanging >= 0 and options.accounts:
        portals[options.hanging].faults.add(Fault.from_json({"kind": "LATENCY", "delay_seconds": 3600.0}))
    with serve(Offices(portals) if options.accounts else portals[0]) as running:
        print(running.base_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
