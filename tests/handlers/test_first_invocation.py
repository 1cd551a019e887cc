"""What a function loads until it works, by name: whoever imports more pays for it at each first invocation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.template.loading import UNROUTED, Function, stack

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "layers" / "amtsbote"
FUNCTIONS = [each for each in stack().all_functions() if each.portal != UNROUTED]
SIDES = {"poll": "source", "fetch": "source", "acknowledge": "source", "deliver": "destination", "track": "destination"}
SLOW = {"boto3", "s3transfer", "cryptography", "aws_xray_sdk", "aws_lambda_powertools.utilities.parameters"}
SELDOM = {"amtsbote.reconciliation", "amtsbote.verbs.reconcile"}
HTTP = {"requests", "amtsbote.http", "amtsbote.wire"}
PEOPLE = ("amtsbote.cli", "amtsbote.admin", "amtsbote.operations")
RULES = {"amtsbote.retention": "retain", "amtsbote.routing": "route", "amtsbote.rotation": "rotate"}
LOGIN = {"username": "u", "password": "p"}
SECRETS: dict[str, dict[str, Any]] = {
    "duba": {"baseUrl": "https://elim.example.com", **LOGIN},
    "digitale-gemeinde": {"baseUrl": "https://form.example.com", "apiKey": "k", "tenantId": 17},
    "altinn": {"apps": ["org/app"], "auth": {"kind": "bearer", "token": "t"}},
    "docxworld": {
        "baseUrl": "https://tower.example.com",
        "auth": {
            "kind": "client-credentials",
            "tokenUrl": "https://t.example.com",
            "clientId": "c",
            "clientSecret": "s",
        },
        "uploader": {},
        "downloader": {"clientId": "amtsbote"},
    },
}
READY = """
import gc, json, sys
import app
collects, kept = gc.isenabled(), gc.get_freeze_count()
from amtsbote.lambda_services import services
own, (side, secret) = services(), json.loads(sys.argv[1])
own.ledger
if "__portal__" != "all":
    own.connections
if side:
    from amtsbote.deadline import Deadline
    from amtsbote.portals.portal import Connection
    body = own.portal.secret.model_validate(secret)
    assert getattr(own.portal, side)(Connection(own.settings.portal, "office", body), own.tools(Deadline(60)))
print(json.dumps([sorted(sys.modules), collects, kept]))
"""


@cache
def started(verb: str, portal: str) -> tuple[frozenset[str], bool, int]:
    """Return what the process of a function has loaded when it is ready for its first call, and how it collects."""
    (function,) = [each for each in FUNCTIONS if (each.verb, each.portal) == (verb, portal)]
    script = READY.replace("__portal__", portal)
    done = run(function, script, json.dumps([SIDES.get(verb), SECRETS.get(portal)]))
    modules, collects, kept = json.loads(done.stdout.splitlines()[-1])
    return frozenset(modules), collects, kept


def run(function: Function, script: str, argument: str) -> subprocess.CompletedProcess[str]:
    region = {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1"}
    keys = {"AWS_ACCESS_KEY_ID": "TESTING", "AWS_SECRET_ACCESS_KEY": "testing"}
    environment = {**function.environment, **region, **keys, "PYTHONPATH": str(PACKAGE)}
    return subprocess.run(
        [sys.executable, "-c", script, argument],
        cwd=ROOT / "functions" / function.verb,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def loaded(verb: str, portal: str) -> frozenset[str]:
    return started(verb, portal)[0]


def below(modules: frozenset[str], names: Sequence[str]) -> set[str]:
    """Return the modules of these packages."""
    return {each for each in modules for name in names if each == name or each.startswith(f"{name}.")}


every_function = pytest.mark.parametrize(
    ("verb", "portal"), [(each.verb, each.portal) for each in FUNCTIONS if each.verb != "route"]
)


QUARANTINE = """
import io
import boto3
from moto import mock_aws
with mock_aws():
    from amtsbote.lambda_services import services
    s3 = services()._client("s3")
    assert not hasattr(s3, "create_bucket"), "only what functions call"
    elsewhere = {"LocationConstraint": "eu-central-1"}
    boto3.client("s3").create_bucket(Bucket="inbox", CreateBucketConfiguration=elsewhere)
    for content in (b"no zip", b"in several parts" * 2**20):
        s3.upload_fileobj(io.BytesIO(content), "inbox", "quarantine/x")
        assert s3.get_object(Bucket="inbox", Key="quarantine/x")["Body"].read() == content
"""


@every_function
def test_nothing_slow_is_loaded_that_the_function_does_without(verb: str, portal: str) -> None:
    modules = loaded(verb, portal)
    assert (SLOW | SELDOM) & modules == set()
    assert below(modules, PEOPLE) == set()
    assert {user for rules, user in RULES.items() if rules in modules} <= {verb}


@every_function
def test_only_who_talks_to_a_portal_loads_http_and_an_adapter(verb: str, portal: str) -> None:
    modules = loaded(verb, portal)
    talks = verb in SIDES
    assert (modules >= HTTP, bool(HTTP & modules)) == (talks, talks)
    module = portal.replace("-", "_")
    assert (f"amtsbote.portals.{module}.adapter" in modules) == (SIDES.get(verb) == "source")
    assert (f"amtsbote.portals.{module}.client" in modules) == talks


@every_function
def test_no_function_loads_another_portal(verb: str, portal: str) -> None:
    folders = {each.split(".")[2] for each in loaded(verb, portal) if each.startswith("amtsbote.portals.")}
    assert folders - {"portal", "protocols"} <= {portal.replace("-", "_")}


def test_garbage_is_looked_for_when_the_app_is_loaded_and_what_it_loaded_is_left_alone() -> None:
    _, collects, kept = started("dispatch", "duba")
    assert collects
    assert kept > 50_000, "the objects of botocore and pydantic"


def test_the_package_by_itself_leaves_the_collector_alone() -> None:
    script = "import amtsbote.observability, amtsbote.services, gc; assert gc.isenabled() and not gc.get_freeze_count()"
    run(FUNCTIONS[0], script, "")


def test_the_client_of_s3_uploads_what_goes_to_quarantine() -> None:
    (fetch,) = [each for each in FUNCTIONS if (each.verb, each.portal) == ("fetch", "duba")]
    run(fetch, QUARANTINE, "")
