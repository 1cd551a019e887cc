"""The layers that are deployed can be built again to the bit, and nobody has to trust who built them."""

import hashlib
import marshal
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import CodeType

import pytest

from sandbox.deployment import ARCHITECTURES, python_version

LAYERS = Path(__file__).parents[2] / "layers"
BUILD_SECONDS = 300
HEADER_BYTES = 16  # of a .pyc: magic number, flags, hash of the source
UNCHECKED_HASH = 1


def built(layer: str, folder: Path) -> Path:
    """Build a layer as `sam build` does, into a folder of its own."""
    settings = {
        "ARTIFACTS_DIR": str(folder),
        "AMTSBOTE_PYTHON": python_version(),
        "AMTSBOTE_ARCHITECTURE": ARCHITECTURES[platform.machine().lower()],
        "AMTSBOTE_COMPILER": sys.executable,
        "PIP": f"{sys.executable} -m pip",
    }
    command = ["make", "--silent", "build-Layer", *(f"{name}={value}" for name, value in settings.items())]
    subprocess.run(command, cwd=LAYERS / layer, check=True, timeout=BUILD_SECONDS, capture_output=True)
    return folder / "python"


def contents(layer: Path) -> dict[str, str]:
    """What SAM puts into a layer's archive: each file's path, whether it may be run, and the hash of its bytes."""
    files = sorted(path for path in layer.rglob("*") if path.is_file())
    return {f"{path.relative_to(layer)} {os.access(path, os.X_OK)}": _digest(path) for path in files}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.once
@pytest.mark.parametrize("layer", ["amtsbote", "dependencies", "cryptography"])
def test_two_builds_of_a_layer_are_the_same(layer: str, tmp_path: Path) -> None:
    first, second = built(layer, tmp_path / "here"), built(layer, tmp_path / "and" / "elsewhere")
    once, again = contents(first), contents(second)
    assert [name for name in once.keys() | again.keys() if once.get(name) != again.get(name)] == []
    assert any(".pyc" in name for name in once)


def test_bytecode_is_not_asked_for_the_time_of_its_source_and_names_the_place_of_the_layer(tmp_path: Path) -> None:
    layer = built("amtsbote", tmp_path)
    (compiled,) = (layer / "amtsbote" / "__pycache__").glob("keys.*.pyc")
    content = compiled.read_bytes()
    code = marshal.loads(content[HEADER_BYTES:])  # noqa: S302  (our own)
    assert isinstance(code, CodeType)
    assert int.from_bytes(content[4:8], "little") == UNCHECKED_HASH
    assert code.co_filename == "/opt/python/amtsbote/keys.py"
