"""Make a virtual environment and fill it from a lock file with hashes: environment.py FOLDER REQUIREMENTS."""

import subprocess
import sys
import venv
from pathlib import Path

OLDEST_PYTHON = (3, 11)

COMPLETE = ("--require-hashes", "--no-deps")
"""The lock files name everything, so pip has nothing to resolve; an old pip that tries stumbles over pinned extras."""


def make_environment(folder: Path, requirements: Path) -> None:
    """Create the folder's environment when it is missing and install exactly what the lock file names."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True, symlinks=True)
    install = [str(python), "-m", "pip", "install", "--quiet", *COMPLETE, "--requirement", str(requirements)]
    subprocess.run(install, check=True, stdin=subprocess.DEVNULL)


def main(arguments: list[str]) -> int:
    """Return 0 when the environment is complete, 1 when pip failed, 2 when the interpreter is too old."""
    if sys.version_info < OLDEST_PYTHON:
        print(f"Amtsbote needs Python {'.'.join(map(str, OLDEST_PYTHON))} or newer: make PYTHON=…", file=sys.stderr)
        return 2
    folder, requirements = map(Path, arguments)
    try:
        make_environment(folder, requirements)
    except subprocess.CalledProcessError as failure:
        print(f"{folder}: pip ended with {failure.returncode}, see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
