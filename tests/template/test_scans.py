"""What the scanners find is judged by the reasons in `accepted.yaml`. `make template` runs the scanners themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.template.loading import ROOT, load_template
from tests.template.scans import (
    ACCEPTED,
    CHECKOV,
    PROTECTED,
    Accepted,
    Finding,
    complaints,
    deployed_forms,
    read_accepted,
    transformed,
)

SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ENTRIES = read_accepted(ACCEPTED.read_text(encoding="utf-8"))
KNOWN = Accepted("CKV_AWS_18", "a bucket's access is logged", ("written", "plain"), "It is logged elsewhere.")
LOGGED = [Finding("CKV_AWS_18", where, "AWS::S3::Bucket.InboxBucket") for where in KNOWN.where]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.rule)
def test_what_is_accepted_has_its_reason(entry: Accepted) -> None:
    assert entry.where
    assert set(entry.where) <= {"written", "plain", "protected", "transformed"}
    assert len(entry.name.split()) > 3
    assert entry.reason.strip().endswith(".")
    assert len(entry.reason.split()) > 9


def test_a_rule_is_accepted_once_with_one_reason() -> None:
    assert len({entry.rule for entry in ENTRIES}) == len({entry.reason for entry in ENTRIES}) == len(ENTRIES)


def test_what_was_accepted_and_is_found_is_no_complaint() -> None:
    assert complaints(LOGGED, [KNOWN]) == []


def test_a_finding_that_nobody_accepted_is_one() -> None:
    new = Finding("CKV_AWS_57", "plain", "AWS::S3::Bucket.OutboxBucket")
    assert complaints([*LOGGED, new], [KNOWN]) == ["CKV_AWS_57: AWS::S3::Bucket.OutboxBucket, plain"]


def test_so_is_a_finding_where_it_was_not_accepted() -> None:
    elsewhere = Finding("CKV_AWS_18", "protected", "AWS::S3::Bucket.InboxBucket")
    assert complaints([*LOGGED, elsewhere], [KNOWN]) == ["CKV_AWS_18: AWS::S3::Bucket.InboxBucket, protected"]


def test_and_what_is_accepted_and_no_longer_found() -> None:
    assert complaints(LOGGED[:1], [KNOWN]) == ["CKV_AWS_18 is accepted, plain, and no longer found"]


def test_the_forms_that_are_scanned_hold_everything_that_can_be_deployed() -> None:
    forms = deployed_forms()
    everything = transformed()["Resources"].keys()
    assert forms["plain"]["Resources"].keys() | forms["protected"]["Resources"].keys() == everything
    assert "Fn::If" not in json.dumps(forms)
    assert PROTECTED.keys() <= load_template()["Parameters"].keys()


def test_the_documentation_names_what_is_accepted_and_nothing_else() -> None:
    told = re.findall(r"^\| (CKV_\w+|[EWI]\d+), .* \| ([\w, ]+) \| .*\w.* \|$", SECURITY, re.MULTILINE)
    every = ("written", "plain", "protected")
    assert told == [(e.rule, "all" if e.where == every else ", ".join(e.where)) for e in ENTRIES]
    assert f"| {len(ENTRIES)} rules |" in SECURITY


def test_make_runs_the_scanners_from_an_environment_that_it_makes_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(BIN)/python -m tests.template.scans" in makefile
    assert str(Path(*CHECKOV.parts[-4:-2])) in makefile
