"""What each function is given: time, memory, log, queue, environment."""

from __future__ import annotations

import ast
import re

import pytest

from tests.template.loading import EVERY, ROOT, UNROUTED, VERBS, Function, load_template, logical, stack

STACK = stack()
FUNCTIONS = STACK.functions()
EACH_FUNCTION = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
LEASING = [f for f in FUNCTIONS if f.verb in ("fetch", "deliver")]
EACH_LEASING_FUNCTION = pytest.mark.parametrize("function", LEASING, ids=lambda f: f.name)

TIMEOUT_SECONDS = {
    "dispatch": 120,
    "poll": 120,
    "fetch": 120,
    "acknowledge": 120,
    "deliver": 600,
    "track": 120,
    "retain": 600,
}
MEMORY_MEGABYTES = {"dispatch": 512, "fetch": 512, "deliver": 1024}
RECEIVES = {"dispatch": 3, "poll": 5, "fetch": 12, "acknowledge": 5, "track": 5, "retain": 3}
ALWAYS = {
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_LOG_LEVEL",
    "PYDANTIC_DISABLE_PLUGINS",
    "AMTSBOTE_CONNECTION_METRICS",
    "AMTSBOTE_LEDGER_TABLE",
    "AMTSBOTE_EVENT_BUS",
    "AMTSBOTE_PORTAL",
    "AMTSBOTE_VERB",
    "AMTSBOTE_QUEUE_URL",
}
SIGNING = ("altinn",)  # portals whose login is signed
PORTALS = ("duba", "docxworld", "digitale-gemeinde", "altinn")
ALSO = {
    "dispatch": {"AMTSBOTE_POLL_QUEUE_URL", "AMTSBOTE_ACKNOWLEDGE_QUEUE_URL", "AMTSBOTE_TRACK_QUEUE_URL"},
    "poll": {
        "AMTSBOTE_FETCH_QUEUE_URL",
        "AMTSBOTE_OVERLAP_HOURS",
        "AMTSBOTE_POLL_QUEUE_URL",
        "AMTSBOTE_INBOX_BUCKET",
        "AMTSBOTE_OUTBOX_BUCKET",
    },
    "fetch": {
        "AMTSBOTE_INBOX_BUCKET",
        "AMTSBOTE_FILE_MEBIBYTES",
        "AMTSBOTE_LEASE_SECONDS",
        "AMTSBOTE_TRIES",
    },
    "acknowledge": {"AMTSBOTE_INBOX_BUCKET"},
    "deliver": {"AMTSBOTE_INBOX_BUCKET", "AMTSBOTE_OUTBOX_BUCKET", "AMTSBOTE_LEASE_SECONDS", "AMTSBOTE_TRIES"},
    "track": {"AMTSBOTE_INBOX_BUCKET"},
    "retain": {"AMTSBOTE_INBOX_BUCKET", "AMTSBOTE_RETENTION_RULES", "AMTSBOTE_AUDIT_DAYS"},
}


def encrypts(function: Function) -> bool:
    """Whether a function encrypts what it sends, and keeps the key under way."""
    return (function.portal, function.verb) == ("docxworld", "deliver")


def test_each_portal_has_one_function_per_verb() -> None:
    found = {(f.portal, f.verb) for f in FUNCTIONS}
    of_no_portal = {(UNROUTED, "deliver"), (EVERY, "retain")}
    assert found == {*((portal, verb) for portal in PORTALS for verb in VERBS), *of_no_portal}
    assert len(found) == len(FUNCTIONS)


@EACH_FUNCTION
def test_a_function_is_named_by_verb_and_portal(function: Function) -> None:
    stem = f"{function.verb.title()}{logical(function.portal)}"
    assert function.name == f"{stem}Function"
    assert (function.queue_name, function.role_name) == (f"{stem}Queue", f"{stem}Role")


@EACH_FUNCTION
def test_a_function_knows_the_verb_that_the_trail_names_it_by(function: Function) -> None:
    assert function.environment["AMTSBOTE_VERB"] == function.verb


@EACH_FUNCTION
def test_the_handler_of_a_function_exists(function: Function) -> None:
    module, name = function.properties["Handler"].split(".")
    source = (ROOT / "functions" / function.verb / f"{module}.py").read_text(encoding="utf-8")
    defined = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    assert name in defined


@EACH_FUNCTION
def test_a_function_has_its_time_and_memory(function: Function) -> None:
    small = function.portal == UNROUTED
    assert function.timeout_seconds == (30 if small else TIMEOUT_SECONDS[function.verb])
    assert function.properties["MemorySize"] == (256 if small else MEMORY_MEGABYTES.get(function.verb, 256))


def test_fetch_has_room_for_a_large_file_in_tmp() -> None:
    sizes = {f.verb: f.properties.get("EphemeralStorage", {}).get("Size", 512) for f in FUNCTIONS}
    assert sizes.pop("fetch") == 2048
    assert set(sizes.values()) == {512}


@EACH_FUNCTION
def test_a_function_is_traced_and_writes_a_log_that_ends(function: Function) -> None:
    group = function.properties["LoggingConfig"]["LogGroup"].strip("${}")
    properties = STACK.of_type("AWS::Logs::LogGroup")[group]
    assert function.properties["Tracing"] == "Active"
    assert properties["RetentionInDays"] == STACK.parameters["LogRetentionDays"]
    assert properties["LogGroupName"] == f"/${{AWS::StackName}}/{function.portal}/{function.verb}"


@EACH_FUNCTION
def test_a_function_runs_on_the_chosen_runtime_with_the_layers_it_needs(function: Function) -> None:
    assert function.properties["Runtime"] == STACK.parameters["Runtime"]
    assert function.properties["Architectures"] == [STACK.parameters["Architecture"]]
    signs = ["${CryptographyLayer}"] if function.portal in SIGNING or encrypts(function) else []
    assert function.properties["Layers"] == ["${AmtsboteLayer}", "${DependenciesLayer}", *signs]


@EACH_FUNCTION
def test_a_message_stays_hidden_for_six_timeouts(function: Function) -> None:
    assert function.queue["VisibilityTimeout"] >= 6 * function.timeout_seconds


@EACH_FUNCTION
def test_a_queue_hands_a_message_out_as_often_as_its_verb_needs(function: Function) -> None:
    tries = int(STACK.parameters["DeliverTries"])
    expected = 5 if function.portal == UNROUTED else RECEIVES.get(function.verb, tries + 2)
    assert function.receives == expected


@EACH_FUNCTION
def test_a_function_takes_batches_and_reports_what_must_come_again(function: Function) -> None:
    event = function.properties["Events"]["Work"]["Properties"]
    assert event["BatchSize"] == (10 if function.verb in ("fetch", "deliver") else 1)
    assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_no_more_than_the_least_number_of_functions_erases_at_once() -> None:
    event = STACK.retaining().properties["Events"]["Work"]["Properties"]
    assert event["ScalingConfig"] == {"MaximumConcurrency": 2}


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.portal != EVERY], ids=lambda f: f.name)
def test_the_concurrency_of_a_function_is_bounded_by_its_portals_parameter(function: Function) -> None:
    wider = stack(**{f"{logical(function.portal)}MaximumConcurrency": "50"})
    (same,) = [f for f in wider.functions() if f.name == function.name]
    assert same.properties["Events"]["Work"]["Properties"]["ScalingConfig"] == {"MaximumConcurrency": 50}


@EACH_LEASING_FUNCTION
def test_a_lease_outlives_the_function_that_holds_it(function: Function) -> None:
    assert 10 <= int(function.environment["AMTSBOTE_LEASE_SECONDS"]) - function.timeout_seconds <= 60


@EACH_LEASING_FUNCTION
def test_a_lease_ends_before_the_message_comes_again(function: Function) -> None:
    assert int(function.environment["AMTSBOTE_LEASE_SECONDS"]) < function.queue["VisibilityTimeout"]


@EACH_LEASING_FUNCTION
@pytest.mark.parametrize("tries", load_template()["Parameters"]["DeliverTries"]["AllowedValues"])
def test_the_function_gives_up_before_its_queue_does(function: Function, tries: int) -> None:
    (same,) = [f for f in stack(DeliverTries=str(tries)).functions() if f.name == function.name]
    assert int(same.environment["AMTSBOTE_TRIES"]) < same.receives


@EACH_FUNCTION
def test_the_environment_holds_what_the_verb_needs_and_nothing_else(function: Function) -> None:
    expected = ALWAYS | ALSO[function.verb] | ({"AMTSBOTE_VAULT_KEY"} if encrypts(function) else set())
    if function.portal not in (UNROUTED, EVERY):
        expected |= {"AMTSBOTE_ALLOW_LOOPBACK"}
    if function.name == "FetchDigitaleGemeindeFunction":
        expected |= {"AMTSBOTE_WORKERS"}
    assert function.environment.keys() == expected


@EACH_FUNCTION
def test_the_queues_in_the_environment_are_the_portals_own(function: Function) -> None:
    for name, value in function.environment.items():
        if match := re.fullmatch(r"AMTSBOTE_(\w+)_QUEUE_URL", name):
            assert value == f"${{{match[1].title()}{logical(function.portal)}Queue}}"
    assert function.environment["AMTSBOTE_QUEUE_URL"] == f"${{{function.queue_name}}}"


@pytest.mark.parametrize("said", ["true", "false"])
def test_whether_metrics_carry_connections_is_told_to_every_function(said: str) -> None:
    assert {f.environment["AMTSBOTE_CONNECTION_METRICS"] for f in stack(ConnectionMetrics=said).all_functions()} == {
        said
    }
    assert {f.environment["AMTSBOTE_CONNECTION_METRICS"] for f in STACK.all_functions()} == {"false"}


@EACH_FUNCTION
def test_only_the_sandbox_allows_portals_on_the_machine_itself(function: Function) -> None:
    assert function.environment.get("AMTSBOTE_ALLOW_LOOPBACK", "false") == "false"


def test_who_rotates_is_given_what_it_needs_and_nothing_else() -> None:
    rotating = STACK.rotating()
    assert (rotating.name, rotating.verb, rotating.portal) == ("RotateDocxworldFunction", "rotate", "docxworld")
    own = {"AMTSBOTE_SETTLE_SECONDS", "AMTSBOTE_ALLOW_LOOPBACK"}
    assert rotating.environment.keys() == (ALWAYS - {"AMTSBOTE_QUEUE_URL"}) | own
    assert rotating.environment["AMTSBOTE_ALLOW_LOOPBACK"] == "false"
    assert rotating.properties["Layers"] == ["${AmtsboteLayer}", "${DependenciesLayer}"]
    assert rotating.properties["MemorySize"] == 256
    group = STACK.of_type("AWS::Logs::LogGroup")[rotating.properties["LoggingConfig"]["LogGroup"].strip("${}")]
    assert group["LogGroupName"] == "/${AWS::StackName}/docxworld/rotate"
    assert group["RetentionInDays"] == STACK.parameters["LogRetentionDays"]
