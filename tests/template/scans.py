"""The scanners over the template: as it is written, and as SAM's transformation leaves it to CloudFormation.

`python -m tests.template.scans` prints what they find, by rule, and fails on what nobody accepted (`accepted.yaml`),
and on what was accepted and is no longer found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.template.loading import ROOT, TEMPLATE, deployed, load_template
from tests.template.test_transformed import resources

CHECKOV = ROOT / ".tools" / "checkov" / "bin" / "checkov"
CFN_LINT = Path(sys.executable).with_name("cfn-lint")
ACCEPTED = Path(__file__).with_name("accepted.yaml")
FORMAT = "2010-09-09"
CHECKOV_FOUND, LINT_FOUND = (0, 1), (0, 2, 4, 6, 8, 10, 12, 14)
"""How the scanners end when they have done their work, whether or not they found something."""

PROTECTED = {
    "KmsKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "OperatorRoleArn": "arn:aws:iam::111122223333:role/Operator",
    "ObjectLockDays": "365",
    "SubnetIds": "subnet-0a1",
    "SecurityGroupIds": "sg-0c3",
    "MonthlyBudget": "300",
    "AlarmEmail": "operator@example.com",
    "RoutingRules": "[1]",
}
"""Everything that protects and is off by default, and whatever exists only by a parameter."""


@dataclass(frozen=True, order=True)
class Finding:
    """A rule that a resource breaks in one form of the template."""

    rule: str
    where: str
    resource: str


@dataclass(frozen=True)
class Accepted:
    """A rule that may be broken, in which forms of the template, and why."""

    rule: str
    name: str
    where: tuple[str, ...]
    reason: str


def read_accepted(text: str) -> list[Accepted]:
    """What is accepted, from the text of `accepted.yaml`; TypeError or KeyError where a part is missing."""
    return [Accepted(e["rule"], e["name"], tuple(e["where"]), e["reason"]) for e in yaml.safe_load(text)]


def complaints(found: Iterable[Finding], accepted: Sequence[Accepted]) -> list[str]:
    """One sentence for each finding that nobody accepted, and for each acceptance that nothing needs."""
    may = {(entry.rule, where) for entry in accepted for where in entry.where}
    broken = {(finding.rule, finding.where) for finding in found}
    new = [f"{f.rule}: {f.resource}, {f.where}" for f in sorted(found) if (f.rule, f.where) not in may]
    return new + [f"{rule} is accepted, {where}, and no longer found" for rule, where in sorted(may - broken)]


def scan(folder: Path) -> list[Finding]:
    """Everything that checkov and cfn-lint find in the template's forms, which are written into `folder`."""
    forms = {"written": TEMPLATE, **{name: _written(folder, name, form) for name, form in deployed_forms().items()}}
    whole = _written(folder, "transformed", transformed())
    with ThreadPoolExecutor() as side_by_side:
        checked = side_by_side.submit(_checkov, forms)
        linted = side_by_side.submit(_cfn_lint, whole)
        return checked.result() + linted.result()


def deployed_forms() -> dict[str, dict[str, Any]]:
    """The transformed template with its conditions decided: by default, and with every protection."""
    return {"plain": _form(), "protected": _form(**PROTECTED)}


def transformed() -> dict[str, Any]:
    """The template as CloudFormation gets it."""
    kept = ("AWSTemplateFormatVersion", "Parameters", "Mappings", "Conditions", "Outputs")
    return {name: part for name, part in load_template().items() if name in kept} | {"Resources": resources()}


def _form(**parameters: str) -> dict[str, Any]:
    decided = deployed(resources(), **parameters).resources
    plain = {name: {k: v for k, v in resource.items() if k != "Condition"} for name, resource in decided.items()}
    return {"AWSTemplateFormatVersion": FORMAT, "Resources": plain}


def _written(folder: Path, name: str, form: Mapping[str, Any]) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(form, indent=1), encoding="utf-8")
    return path


def _checkov(forms: Mapping[str, Path]) -> list[Finding]:
    files = [argument for path in forms.values() for argument in ("--file", str(path))]
    options = ("--framework", "cloudformation", "--compact", "--quiet", "--output", "json", "--skip-download")
    said = _run([str(CHECKOV), *files, *options], CHECKOV_FOUND)
    names = {path.name: where for where, path in forms.items()}
    failed = said["results"]["failed_checks"]
    return [Finding(f["check_id"], names[Path(f["file_path"]).name], f["resource"]) for f in failed]


def _cfn_lint(template: Path) -> list[Finding]:
    said = _run([str(CFN_LINT), "--format", "json", "--include-checks", "W", "--", str(template)], LINT_FOUND)
    return [Finding(f["Rule"]["Id"], "transformed", "/".join(map(str, f["Location"]["Path"][:2]))) for f in said]


def _run(command: Sequence[str], ends: Sequence[int]) -> Any:
    """What a scanner says, without the account or the configuration of whoever runs this."""
    nobody = {"HOME": os.devnull, "PATH": os.defpath, "LANG": "C.UTF-8"}
    result = subprocess.run(command, capture_output=True, text=True, env=nobody, cwd=ROOT, check=False)
    if result.returncode not in ends:
        raise RuntimeError(f"{command[0]} ended with {result.returncode}: {result.stderr[-2000:]}")
    return json.loads(result.stdout or "[]")


def main() -> int:
    """Print how many resources break which rule where, and what is wrong with that; return 1 if anything is."""
    with TemporaryDirectory() as folder:
        found = scan(Path(folder))
    for (rule, where), count in sorted(Counter((f.rule, f.where) for f in found).items()):
        print(f"{rule:<12} {where:<10} {count:>4}")  # noqa: T201
    wrong = complaints(found, read_accepted(ACCEPTED.read_text(encoding="utf-8")))
    for sentence in wrong:
        print(sentence, file=sys.stderr)  # noqa: T201
    print(f"{len(found)} findings, {len(wrong)} of them for somebody to look at")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
