"""How the functions start: what they import, what they say when they cannot, what they count when they do."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.handlers.cloud import Cloud, sample

PORTALS = ("duba", "docxworld")
CLIENTS_OF_POLL = {"dynamodb", "secretsmanager", "sqs"}
NOT_FOR_FUNCTIONS = {"aws_xray_sdk", "moto", "ministack", "pytest", "sandbox", "aiohttp"}

LOOK_AT_IMPORTS = """
import json, sys
import app
print(json.dumps(sorted(sys.modules)))
"""
LOOK_AT_CLIENTS = """
import gc, json, sys
import app
from botocore.client import BaseClient

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "probe"
    def get_remaining_time_in_millis(self):
        return 60_000

def clients():
    return sorted(o.meta.service_model.service_name for o in gc.get_objects() if isinstance(o, BaseClient))

before = clients()
answer = app.handler(json.loads(sys.argv[1]), Context())
print(json.dumps([before, answer, clients()]))
"""


def printed(cloud: Cloud, verb: str, portal: str, script: str, *arguments: str) -> Any:
    """Run a script in a function's folder and environment; returns the JSON that it prints last."""
    function = cloud.function(verb, portal)
    environment = {**function.environment, "PYTHONPATH": function.python_path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=function.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("portal", PORTALS)
def test_a_function_imports_no_other_portal_and_no_heavy_helper(cloud: Cloud, portal: str) -> None:
    modules = printed(cloud, "poll", portal, LOOK_AT_IMPORTS)
    others = {f"amtsbote.portals.{other}" for other in PORTALS if other != portal}
    assert not {name for name in modules if any(name == o or name.startswith(f"{o}.") for o in others)}
    assert not {name.split(".")[0] for name in modules} & NOT_FOR_FUNCTIONS


def test_a_function_makes_clients_when_it_needs_them_and_only_those(cloud: Cloud, connection: str) -> None:
    event = sample("poll", connection=connection)
    before, answer, after = printed(cloud, "poll", "duba", LOOK_AT_CLIENTS, json.dumps(event))
    assert answer == {"batchItemFailures": []}
    assert before == []
    assert sorted(after) == sorted(CLIENTS_OF_POLL), "one of each, and none for another service"


@pytest.mark.parametrize("variable", ["AMTSBOTE_PORTAL", "AMTSBOTE_LEDGER_TABLE"])
def test_a_missing_variable_fails_the_initialisation_and_is_named(cloud: Cloud, variable: str) -> None:
    overrides: dict[str, str | None] = {variable: None}
    with cloud.new_function("dispatch", "duba", **overrides) as function:
        result = function.invoke(sample("dispatch"))
    assert (result.failed, result.error_type) == (True, "ValidationError")
    assert variable.removeprefix("AMTSBOTE_").lower() in result.payload["errorMessage"]


def test_wrong_rules_of_retention_fail_the_initialisation_with_a_sentence(cloud: Cloud) -> None:
    with cloud.new_function("retain", "all", AMTSBOTE_RETENTION_RULES='{"duba": {"QUARANTINED": 30}}') as function:
        result = function.invoke(sample("retain"))
    assert (result.failed, result.error_type) == (True, "ValidationError")
    assert "a person decides about it" in result.payload["errorMessage"]


def test_who_erases_imports_no_portal_and_makes_no_client_that_reads_secrets(cloud: Cloud) -> None:
    modules = printed(cloud, "retain", "all", LOOK_AT_IMPORTS)
    assert not [name for name in modules if name.startswith(("amtsbote.portals.duba", "amtsbote.portals.altinn"))]
    before, answer, after = printed(cloud, "retain", "all", LOOK_AT_CLIENTS, json.dumps(sample("retain")))
    assert (before, answer) == ([], {"batchItemFailures": []})
    assert set(after) <= {"dynamodb", "sqs"}, "and S3 only when something is deleted"


def test_a_missing_layer_fails_the_initialisation_as_an_import(cloud: Cloud) -> None:
    function = cloud.new_function("poll", "duba")
    function.python_path = ""
    with function:
        result = function.invoke(sample("poll"))
    assert (result.failed, result.error_type) == (True, "Runtime.ImportModuleError")
    assert "No module named 'amtsbote'" in result.payload["errorMessage"]


def test_a_cold_start_is_counted_once(cloud: Cloud) -> None:
    with cloud.new_function("dispatch", "duba") as function:
        first, second = (function.invoke(sample("dispatch")) for _ in range(2))
    assert (first.cold, second.cold) == (True, False)
    assert first.metrics["ColdStart"] == 1
    assert "ColdStart" not in second.metrics
