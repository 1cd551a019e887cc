"""The bill of materials of the layers: complete, valid, the same each time; and a known licence for everything."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import bill_of_materials
from tools.bill_of_materials import Package, as_json, bill, licence_of, locked, main, packages, table

ROOT = Path(__file__).parents[2]
TAKEN = {"MIT", "MIT-0", "BSD-3-Clause", "Apache-2.0", "Apache-2.0 OR BSD-3-Clause", "PSF-2.0", "MPL-2.0"}
"""Licences under which a public body may run a package unchanged, and pass it on; MPL-2.0 asks for no more than its own
files' source."""

LOCK = """\
requests==2.34.2 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
    # via -r layers/dependencies/requirements.in
urllib3==2.8.0 ; python_version > '3' \\
    --hash=sha256:{a}
    # via
    #   requests
    #   another.one
idna==3.20 \\
    --hash=sha256:{b}
    # via requests
""".format(a="a" * 64, b="b" * 64)


def test_a_lock_file_is_read_whole() -> None:
    assert list(locked("dependencies", LOCK)) == [
        Package("dependencies", "requests", "2.34.2", ("a" * 64, "b" * 64), ()),
        Package("dependencies", "urllib3", "2.8.0", ("a" * 64,), ("requests", "another.one")),
        Package("dependencies", "idna", "3.20", ("b" * 64,), ("requests",)),
    ]


@pytest.fixture
def written() -> dict[str, Any]:
    """Provide the bill as it is written."""
    said: dict[str, Any] = json.loads(as_json(bill(packages())))
    return said


def test_the_bill_is_valid_cyclonedx() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(as_json(bill(packages()))) is None


def test_the_bill_names_every_package_of_both_layers_with_all_its_hashes(written: dict[str, Any]) -> None:
    locks = [ROOT / "layers" / layer / "requirements.txt" for layer in ("dependencies", "cryptography")]
    text = "".join(lock.read_text(encoding="utf-8") for lock in locks)
    names = {(c["name"], c["version"]) for c in written["components"]}
    assert names == set(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))
    hashes = {h["content"] for c in written["components"] for e in c["externalReferences"] for h in e["hashes"]}
    assert hashes == set(re.findall(r"sha256:(\w+)", text))


def test_the_bill_says_who_needs_whom(written: dict[str, Any]) -> None:
    needs = {each["ref"].split("@")[0]: each.get("dependsOn", []) for each in written["dependencies"]}
    direct = {ref.split("/")[1].split("@")[0] for ref in needs["amtsbote"]}
    assert direct == {"aws-lambda-powertools", "cryptography", "pydantic", "pyjwt", "requests"}
    assert any(ref.startswith("pkg:pypi/urllib3@") for ref in needs["pkg:pypi/requests"])


def test_two_bills_of_the_same_locks_are_the_same() -> None:
    assert as_json(bill(packages())) == as_json(bill(packages()))
    assert "timestamp" not in as_json(bill(packages()))


@pytest.mark.parametrize("package", packages(), ids=lambda p: p.name)
def test_the_licence_of_what_is_shipped_is_known_and_taken(package: Package) -> None:
    assert licence_of(package) in TAKEN


def test_another_version_than_the_layers_says_nothing_of_the_layer() -> None:
    with pytest.raises(ValueError, match=r"the layer holds 0\.1"):
        licence_of(Package("dependencies", "requests", "0.1", (), ()))


def test_the_documentation_shows_the_licences_as_they_are() -> None:
    assert table(packages()) in (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_make_sbom_writes_the_bill_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "build" / "sbom.json"
    assert main([str(target)]) == 0
    assert json.loads(target.read_text(encoding="utf-8"))["bomFormat"] == "CycloneDX"
    assert f"{len(packages())} packages" in capsys.readouterr().out
    assert main([]) == 0
    assert capsys.readouterr().out == table(packages())
    assert Path(bill_of_materials.__file__).name in (ROOT / "Makefile").read_text(encoding="utf-8")
