"""What the functions' layers hold, as a CycloneDX bill of materials: bill_of_materials.py FILE, or nothing for a table.

Packages, versions, hashes and who needs whom come from the layers' lock files, licences from the metadata of the same
packages as they are installed here. Nothing in it depends on when or where it is written.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("dependencies", "cryptography")
ENTRY = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?P<rest>.*?)(?=^\w|\Z)", re.MULTILINE | re.DOTALL)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NEEDED_BY = re.compile(r"^    #(?: via |   )([\w.-]+)$", re.MULTILINE)
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Package:
    """One entry of a layer's lock file."""

    layer: str
    name: str
    version: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]

    @property
    def url(self) -> PackageURL:
        """The name that every scanner knows it by."""
        return PackageURL("pypi", name=self.name, version=self.version)


def packages() -> list[Package]:
    """Everything that the layers hold beside our own code, by layer and name."""
    return [package for layer in LAYERS for package in locked(layer, _lock_of(layer))]


def locked(layer: str, lock: str) -> Iterator[Package]:
    """The packages of a lock file, given its text."""
    for found in ENTRY.finditer(lock):
        hashes, needed_by = HASH.findall(found["rest"]), NEEDED_BY.findall(found["rest"])
        yield Package(layer, found["name"], found["version"], tuple(hashes), tuple(needed_by))


def licence_of(package: Package) -> str:
    """The licence that a package's own metadata names, "unknown" where it names none.

    ValueError when another version is installed here than the layer holds.
    """
    said = metadata(package.name)
    if said["Version"] != package.version:
        raise ValueError(f"{package.name} {said['Version']} is installed, the layer holds {package.version}")
    return next((said[field] for field in ("License-Expression", "License") if field in said), UNKNOWN)


def bill(held: Iterable[Package]) -> Bom:
    """The bill of materials of these packages, and of nothing else."""
    ours = _amtsbote()
    components = {package.name: _component(package) for package in held}
    bom = Bom(components=components.values(), dependencies=_dependencies(ours, components, held))
    bom.metadata.component = ours
    bom.serial_number = uuid5(NAMESPACE_URL, " ".join(sorted(map(str, (c.purl for c in components.values())))))
    return bom


def as_json(bom: Bom) -> str:
    """A bill of materials as CycloneDX 1.6 has it, without the moment at which it was written."""
    bom.metadata.timestamp = None  # type: ignore[assignment]  # it is optional in the format
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def table(held: Iterable[Package]) -> str:
    """Packages with version, layer and licence, as the documentation shows them."""
    rows = [f"| {p.name} | {p.version} | {p.layer} | {licence_of(p)} |" for p in held]
    return "\n".join(["| package | version | layer | licence |", "|---|---|---|---|", *rows]) + "\n"


def _lock_of(layer: str) -> str:
    return (ROOT / "layers" / layer / "requirements.txt").read_text(encoding="utf-8")


def _amtsbote() -> Component:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    return Component(type=ComponentType.APPLICATION, name=name, version=version, bom_ref=f"{name}@{version}")


def _component(package: Package) -> Component:
    files = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.hashes]
    source = ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(str(package.url)), hashes=files)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=package.url,
        bom_ref=str(package.url),
        licenses=[LicenseFactory().make_from_string(licence_of(package))],
        external_references=[source],
        properties=[Property(name="amtsbote:layer", value=package.layer)],
    )


def _dependencies(ours: Component, components: dict[str, Component], held: Iterable[Package]) -> list[Dependency]:
    """Who needs whom; what no other package needs, the application does."""
    needs: dict[str, list[str]] = {name: [] for name in components}
    direct: list[str] = []
    for package in held:
        for name in package.needed_by or [""]:
            needs.get(name, direct).append(package.name)
    named = [(ours, direct), *((components[name], names) for name, names in needs.items())]
    return [Dependency(c.bom_ref, [Dependency(components[n].bom_ref) for n in names]) for c, names in named]


def main(arguments: list[str]) -> int:
    """Write the bill of materials into the file that is named, or print the table of licences."""
    if not arguments:
        print(table(packages()), end="")
        return 0
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_json(bill(packages())), encoding="utf-8")
    print(f"{path}: {len(packages())} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
