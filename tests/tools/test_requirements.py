"""The lock files say enough to install from any index, and agree with each other."""

import re
from pathlib import Path

import pytest

from tools.repeat_without_extras import repeated

ROOT = Path(__file__).parents[2]
LOCKS = (
    "requirements/dev.txt",
    "requirements/sam.txt",
    "requirements/checkov.txt",
    "layers/dependencies/requirements.txt",
    "layers/cryptography/requirements.txt",
)
PINNED = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def pinned(lock: str) -> dict[str, str]:
    return dict(PINNED.findall((ROOT / lock).read_text()))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_no_folder_and_no_machine(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"--(extra-)?index-url|--find-links|://|file:|^\s*/", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_of_a_lock_has_hashes(lock: str) -> None:
    entries = re.findall(r"^\w.*?(?=^\w|\Z)", (ROOT / lock).read_text(), re.MULTILINE | re.DOTALL)
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", ["dependencies", "cryptography"])
def test_what_is_tested_is_what_the_layer_ships(name: str) -> None:
    layer, development = pinned(f"layers/{name}/requirements.txt"), pinned("requirements/dev.txt")
    assert layer
    assert {name: development.get(name) for name in layer} == layer


def test_the_layer_leaves_out_what_the_runtime_brings() -> None:
    assert {"boto3", "botocore"}.isdisjoint(pinned("layers/dependencies/requirements.txt"))


def test_an_entry_with_extras_is_repeated_without_them() -> None:
    locked = (
        "a==1 \\\n    --hash=sha256:0\n    # via b\nb[x, y]==2 \\\n    --hash=sha256:1\nc==3 \\\n    --hash=sha256:2\n"
    )
    extra = "b==2 \\\n    --hash=sha256:1\n"
    assert repeated(locked) == locked.replace("c==3", f"{extra}c==3")


def test_a_last_entry_with_extras_is_repeated_too() -> None:
    assert repeated("b[x]==2 \\\n    --hash=sha256:1\n").count("==2") == 2
