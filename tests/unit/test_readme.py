"""What the README says is true: its targets, files, secrets, keys and imports exist and work as written."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from amtsbote.keys import DROP_RULES, DropAddress, document_key, item_prefix, parse_drop, receipt_key
from amtsbote.portals import NAMES, portal_named

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DROPS = [key for key in re.findall(r"^\| `([a-z-]+/[^`]*)` \|", README, re.MULTILINE) if key.split("/")[0] in NAMES]
SECRETS = re.findall(r"--name amtsbote/([a-z-]+)/([a-z-]+) --secret-string '(.*?)'", README, re.DOTALL)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_each_target_is_one_of_the_makefile(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:docs|functions|layers|sandbox|tests)/[^`<]*)`", README))))
def test_each_path_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("portal", "connection", "body"), SECRETS, ids=lambda value: value[:20])
def test_each_secret_is_valid_as_it_stands(portal: str, connection: str, body: str) -> None:
    secret = portal_named(portal).secret.model_validate(json.loads(body))
    assert secret.enabled, connection


def test_every_portal_is_shown_with_its_secret() -> None:
    assert {portal for portal, *_ in SECRETS} == set(NAMES)


def test_what_arrives_lies_where_the_readme_says() -> None:
    prefix = item_prefix("duba", "klinikum", "214")
    assert f"    {prefix}/message-214.zip\n" in README
    assert f"    {document_key(prefix)} " in README


@pytest.mark.parametrize("key", DROPS)
def test_what_is_sent_is_dropped_where_the_readme_says(key: str) -> None:
    portal, connection, *path = key.split("/")
    assert parse_drop(key) == DropAddress(portal, connection, tuple(path))
    assert receipt_key(key) == f"receipts/{key}.json"


def test_each_kind_of_drop_is_shown() -> None:
    rules = [rule for rules in DROP_RULES.values() for rule in rules]
    assert sorted(key.count("/") for key in DROPS) == sorted(rule.count("/") for rule in rules)


def test_the_named_environment_of_sam_exists() -> None:
    (environment,) = re.findall(r"--config-env ([a-z]+)", README)
    assert environment in tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("line", re.findall(r"^    (from amtsbote.*)$", README, re.MULTILINE))
def test_each_import_works(line: str) -> None:
    exec(line, {})  # noqa: S102 - our own README
