"""What the README says is true: its targets, files, secrets, keys and imports exist and work as written."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from amtsbote.keys import document_key, item_prefix, parse_drop, receipt_key
from amtsbote.portals import portal_named

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
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
    assert {portal for portal, *_ in SECRETS} >= {"duba", "docxworld"}


def test_what_arrives_lies_where_the_readme_says() -> None:
    prefix = item_prefix("duba", "klinikum", "214")
    assert f"    {prefix}/message-214.zip\n" in README
    assert f"    {document_key(prefix)} " in README


def test_what_is_sent_is_dropped_where_the_readme_says() -> None:
    assert "docxworld/klinikum/<target: UUID or abbreviation>/brief.pdf" in README
    assert parse_drop("docxworld/klinikum/BRIEF/brief.pdf").path == ("BRIEF", "brief.pdf")
    assert receipt_key("docxworld/klinikum/…/brief.pdf") in README


def test_the_named_environment_of_sam_exists() -> None:
    (environment,) = re.findall(r"--config-env ([a-z]+)", README)
    assert environment in tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("line", re.findall(r"^    (from amtsbote.*)$", README, re.MULTILINE))
def test_each_import_works(line: str) -> None:
    exec(line, {})  # noqa: S102 - our own README
