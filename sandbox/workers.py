"""The processes in which the functions of the embedded AWS run, as the machine shows them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROCESSES = Path("/proc")
FUNCTION = re.compile(rb"AWS_LAMBDA_FUNCTION_NAME=[^\0]*?(\w+)Function")
UNKNOWN_WORKER = "worker"
SOCKET = "socket:[{}]"
KIBIBYTE = 1024


@dataclass(frozen=True)
class Worker:
    """A process in which a function runs, and the processor time that it has used, in ticks."""

    process_id: int
    function: str
    ticks: int


def workers_of(server: int) -> list[Worker]:
    """The children of the embedded AWS with this process id. It needs /proc, which only Linux has."""
    found = (_worker(int(entry.name), server) for entry in PROCESSES.iterdir() if entry.name.isdecimal())
    return [each for each in found if each is not None]


def _worker(process_id: int, server: int) -> Worker | None:
    try:
        fields = (PROCESSES / str(process_id) / "stat").read_text().rpartition(")")[2].split()
        if int(fields[1]) != server or fields[0] == "Z":
            return None
        named = FUNCTION.search((PROCESSES / str(process_id) / "environ").read_bytes())
    except OSError:  # it has ended meanwhile
        return None
    name = named.group(1).decode() if named else UNKNOWN_WORKER
    return Worker(process_id, name, int(fields[11]) + int(fields[12]))


def caller_on(port: int, server: int) -> int | None:
    """The id of the process that has called from this port of the loopback, None where it cannot be found.

    With /proc only workers of that server are found, without it (by `lsof`) anybody but ourselves.
    """
    return _caller_by_lsof(port) if not PROCESSES.is_dir() else _caller_by_proc(port, server)


def _caller_by_proc(port: int, server: int) -> int | None:
    sockets = {SOCKET.format(inode) for inode in _inodes(port)}
    found = (each.process_id for each in workers_of(server) if sockets & _open_files(each.process_id))
    return next(found, None)


def _inodes(port: int) -> Iterator[str]:
    """The sockets that are bound to a port; each line says its own address, the other's, …, and its inode."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROCESSES / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        yield from (fields[9] for fields in map(str.split, lines) if int(fields[1].rpartition(":")[2], 16) == port)


def _open_files(process_id: int) -> set[str]:
    try:
        return {str(entry.readlink()) for entry in (PROCESSES / str(process_id) / "fd").iterdir()}
    except OSError:  # the process, or one of its files, is gone
        return set()


def _caller_by_lsof(port: int) -> int | None:
    try:
        said = subprocess.run(["lsof", "-nP", "-t", f"-iTCP:{port}"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return next((int(line) for line in said.stdout.split() if int(line) != os.getpid()), None)


def peak_memory_bytes(process_id: int) -> int:
    """The most memory that a process has had resident so far; 0 where that cannot be said."""
    try:
        status = (PROCESSES / str(process_id) / "status").read_text()
    except OSError:
        return 0
    found = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return next(found, 0) * KIBIBYTE
