"""docs/threat-model.md and docs/privacy.md are true: the tests, parameters, pages and commands that they name exist."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache

import pytest

from amtsbote.cli.app import parser
from tests.template.loading import ROOT, load_template, stack

DOCS = ROOT / "docs"
PAGES = {name: (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("threat-model", "privacy", "deploy")}
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGES["threat-model"])))
LINKS = sorted({(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(([^)]+)\)", text)})
VERBS = "status|documents|show|audit|receipt|retention|retry ID|release ID|redrive|reconcile"
SPANS = re.compile(rf"`((?:{VERBS})(?: [^`]+)?)`|python -m amtsbote\.cli ([^`\n]+)")
SAID = {command for text in PAGES.values() for found in SPANS.findall(text) for command in found if command}
COMMANDS = sorted(SAID - {"documents", "show"})
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
LEAST_TESTS = 20


@pytest.mark.parametrize(("path", "name"), TESTS, ids=lambda value: value)
def test_each_test_that_the_threat_model_names_exists(path: str, name: str) -> None:
    assert name in functions_of(path)


@cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_threat_is_stopped_by_a_test_or_by_nothing() -> None:
    section = PAGES["threat-model"].partition("## What an attacker wants")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")] for row in ROW.findall(section)][2:]
    assert len(TESTS) >= LEAST_TESTS
    for _, wanted, stopped, shown in rows:
        assert "::" in shown or (shown == "–" and stopped.startswith("nothing")), wanted


def test_every_function_and_store_is_in_the_picture() -> None:
    picture = PAGES["threat-model"].partition("```mermaid")[2].partition("```")[0]
    for verb in {each.verb for each in stack(RoutingRules="[1]").functions()}:
        assert re.search(rf"\b{verb}\b", picture), verb
    for store in ("inbox", "outbox", "ledger", "secrets", "bus", "logs"):
        assert re.search(rf"\b{store}\b", picture), store


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_each_link_leads_somewhere(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (DOCS / path).resolve() if path else DOCS / f"{page}.md"
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z][a-z]+(?:[A-Z]\w+)+)`", PAGES["privacy"]))))
def test_each_parameter_that_the_page_on_privacy_names_exists(name: str) -> None:
    assert name in load_template()["Parameters"]


@pytest.mark.parametrize(
    ("parameter", "row"),
    [
        ("NoncurrentVersionRetentionDays", "older versions of both"),
        ("AuditDays", "ledger, rows"),
        ("LogRetentionDays", "logs"),
    ],
)
def test_each_time_is_the_templates(parameter: str, row: str) -> None:
    (line,) = [line for line in PAGES["privacy"].splitlines() if line.startswith(f"| {row} ")]
    assert f"`{parameter}` ({load_template()['Parameters'][parameter]['Default']})" in line


def test_the_times_that_are_no_parameters_are_the_templates_too() -> None:
    deployed = stack()
    rules = deployed.of_type("AWS::S3::Bucket")["InboxBucket"]["LifecycleConfiguration"]["Rules"]
    (reports,) = [rule["ExpirationInDays"] for rule in rules if rule["Id"] == "ExpireReports"]
    assert f"| {reports} days |" in PAGES["privacy"]
    days = {int(queue["MessageRetentionPeriod"]) // 86400 for queue in deployed.of_type("AWS::SQS::Queue").values()}
    assert f"| {min(days)} to {max(days)} days |" in PAGES["privacy"]


def test_by_default_nothing_is_deleted() -> None:
    assert load_template()["Parameters"]["RetentionRules"]["Default"] == "{}"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_one_of_the_command_line(command: str) -> None:
    assert parser().parse_args(shlex.split(command)).command == command.split(maxsplit=1)[0]


def test_commands_are_named() -> None:
    assert {command.split()[0] for command in COMMANDS} >= {"status", "documents", "reconcile", "show", "audit"}
