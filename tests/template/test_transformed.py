"""The template as CloudFormation gets it, after SAM's transformation."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import boto3
import pytest
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]

from tests.template.loading import load_template, stack

REGION = "eu-central-1"
PACKAGED = "s3://artifacts/package.zip"
MOST_RESOURCES = 500  # CloudFormation's limit
FUNCTIONS = stack().functions()


@cache
def resources() -> dict[str, dict[str, Any]]:
    """The resources that CloudFormation creates, logical id → resource."""
    template = load_template()
    parameters = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()}
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    transformed = translator.translate(packaged(template), parameters)
    return dict(transformed["Resources"])


def packaged(template: dict[str, Any]) -> dict[str, Any]:
    """The template as `sam package` leaves it: with code in S3."""
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource["Properties"]:
                resource["Properties"][name] = PACKAGED
    return template


def of_type(resource_type: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in resources().items() if r["Type"] == resource_type}


def test_the_stack_is_below_the_limit_of_cloudformation() -> None:
    assert len(resources()) < MOST_RESOURCES


def test_sam_adds_no_role_and_no_policy_of_its_own() -> None:
    roles = of_type("AWS::IAM::Role")
    assert roles.keys() == {f.role_name for f in stack(RoutingRules="[1]").all_functions()}  # before conditions
    attached = {arn["Fn::If"][1]["Ref"] for role in roles.values() for arn in role["ManagedPolicyArns"]}
    assert attached == of_type("AWS::IAM::ManagedPolicy").keys()
    used = Counter(str(function["Role"]) for function in of_type("AWS::Lambda::Function").values())
    assert set(used.values()) == {1}


def test_sam_adds_nothing_that_may_invoke_a_function_or_reach_it_from_outside() -> None:
    kinds = {resource["Type"] for resource in resources().values()}
    assert not kinds & {"AWS::Lambda::Url", "AWS::Lambda::EventInvokeConfig"}
    assert [p["Principal"] for p in of_type("AWS::Lambda::Permission").values()] == ["secretsmanager.amazonaws.com"]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_each_function_is_fed_by_its_queue_with_partial_failures_and_bounded_concurrency(function: Any) -> None:
    mappings = of_type("AWS::Lambda::EventSourceMapping").values()
    (mapping,) = [m for m in mappings if m["FunctionName"] == {"Ref": function.name}]
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": [function.queue_name, "Arn"]}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "MaximumConcurrency" in mapping["ScalingConfig"]


@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS])
def test_what_globals_give_reaches_each_function(name: str) -> None:
    function = of_type("AWS::Lambda::Function")[name]
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["Handler"] == "app.handler"
    assert len(function["Layers"]) == (3 if "Altinn" in name or name == "DeliverDocxworldFunction" else 2)
    assert function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == "amtsbote"
    assert function["LoggingConfig"]["LogGroup"]
