"""Programs that run beside a benchmark: started, awaited, ended; how much they used."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "layers" / "amtsbote"
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Started:
    """A program that has said its first line."""

    popen: "subprocess.Popen[str]"
    first_line: str


def environment_of_python() -> Mapping[str, str]:
    """Return the environment of a Python that finds the package, the sandbox and the benchmarks, and nothing else."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": f"{PACKAGE}{os.pathsep}{ROOT}"}


@contextmanager
def started(command: Sequence[str], **more: str) -> Iterator[Started]:
    """Run a program that ends when its standard input does; hand it over when it has said its first line."""
    popen = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**environment_of_python(), **more},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert popen.stdout is not None
        line = popen.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{command[:3]} ended at once")
        yield Started(popen, line)
    finally:
        _end(popen)


def _end(popen: "subprocess.Popen[str]") -> None:
    for pipe in (popen.stdin, popen.stdout):
        if pipe is not None:
            pipe.close()
    try:
        popen.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """Return the most memory that a process has had resident so far (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


PYTHON = sys.executable
