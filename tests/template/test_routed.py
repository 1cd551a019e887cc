"""Routing exists where there are rules, reads documents, writes drops, and can do nothing else."""

from __future__ import annotations

import json
import re

import pytest

from amtsbote.routing import read_routing_rules
from amtsbote.settings import read_settings
from tests.template.loading import ROOT, Function, load_template, stack, template_text
from tests.template.patterns import matches

RULES = '[{"name": "a", "from": {"portal": "duba"}, "to": "docxworld/druck/BRIEF/{id}-{name}"}]'
WITHOUT, WITH = stack(), stack(RoutingRules=RULES)
ADDED = set(WITH.resources) - set(WITHOUT.resources)
STEM = "RouteAll"
LAMBDA_ENVIRONMENT_BYTES = 4096


@pytest.fixture
def routing() -> Function:
    (function,) = [each for each in WITH.functions() if each.verb == "route"]
    return function


def test_without_rules_nothing_of_it_exists_and_nobody_pays() -> None:
    assert not [name for name in WITHOUT.resources if name.startswith(STEM)]
    parts = ("Rule", "Queue", "QueuePolicy", "LogGroup", "Role", "Function", "OldestMessageAlarm")
    assert {f"{STEM}{part}" for part in parts} == ADDED


def test_the_default_is_no_rule_and_can_be_read() -> None:
    assert read_routing_rules(load_template()["Parameters"]["RoutingRules"]["Default"]).rules == ()


def test_the_rules_fit_into_the_environment_of_a_function(routing: Function) -> None:
    others = {name: value for name, value in routing.environment.items() if name != "AMTSBOTE_ROUTING_RULES"}
    longest = load_template()["Parameters"]["RoutingRules"]["MaxLength"]
    assert longest + sum(len(name) + len(value) + 40 for name, value in others.items()) < LAMBDA_ENVIRONMENT_BYTES


def test_the_function_has_what_it_needs_and_its_names(routing: Function) -> None:
    assert (routing.name, routing.queue_name, routing.role_name) == (
        "RouteAllFunction",
        "RouteAllQueue",
        "RouteAllRole",
    )
    assert (routing.portal, routing.environment["AMTSBOTE_VERB"]) == ("all", "route")
    assert read_settings(routing.environment).routing_rules == read_routing_rules(RULES)
    group = WITH.of_type("AWS::Logs::LogGroup")["RouteAllLogGroup"]
    assert group["LogGroupName"] == "/${AWS::StackName}/all/route"
    assert (ROOT / "functions" / "route" / "app.py").exists()


def test_its_queue_is_like_the_others(routing: Function) -> None:
    assert routing.queue["VisibilityTimeout"] >= 6 * routing.timeout_seconds
    assert (routing.receives, routing.queue["SqsManagedSseEnabled"]) == (12, True)
    assert routing.queue["RedrivePolicy"]["deadLetterTargetArn"] == "${DeadLetterQueue.Arn}"
    work = routing.properties["Events"]["Work"]["Properties"]
    assert (work["BatchSize"], work["FunctionResponseTypes"]) == (1, ["ReportBatchItemFailures"])
    alarm = WITH.of_type("AWS::CloudWatch::Alarm")["RouteAllOldestMessageAlarm"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "${RouteAllQueue.QueueName}"}]
    assert alarm["Threshold"] == WITH.parameters["OldestMessageAlarmSeconds"]


def test_every_document_that_arrives_comes_to_it_and_what_cannot_becomes_a_dead_letter() -> None:
    rule = WITH.of_type("AWS::Events::Rule")["RouteAllRule"]
    assert rule["EventBusName"] == "${EventBus}"
    sample = json.loads((ROOT / "events" / "route.json").read_text(encoding="utf-8"))
    event = json.loads(sample["Records"][0]["body"])
    assert matches(rule["EventPattern"], event)
    assert not matches(rule["EventPattern"], {**event, "detail-type": "Document Acknowledged"})
    assert not matches(rule["EventPattern"], {**event, "source": "aws.s3"})
    (target,) = rule["Targets"]
    assert (target["Arn"], target["DeadLetterConfig"]) == (
        "${RouteAllQueue.Arn}",
        {"Arn": "${DeadLetterQueue.Arn}"},
    )
    for queue in ("DeadLetterQueuePolicy", "RouteAllQueuePolicy"):
        assert "${RouteAllRule.Arn}" in json.dumps(WITH.of_type("AWS::SQS::QueuePolicy")[queue])
    assert STEM not in json.dumps(WITHOUT.of_type("AWS::SQS::QueuePolicy"))


def test_it_may_read_documents_and_write_drops_and_nothing_else(routing: Function) -> None:
    assert routing.may("s3:") == {
        "s3:AbortMultipartUpload",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:ListBucket",
        "s3:ListBucketVersions",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
    }
    assert routing.resources_of("s3:PutObject") == {"${OutboxBucket.Arn}/*"}
    assert routing.resources_of("s3:ListBucket") == {"${InboxBucket.Arn}"}
    (denial,) = routing.statements("Deny")
    assert denial.actions == ("s3:*",)
    assert set(denial.resources) == {"${InboxBucket.Arn}/receipts/*", "${InboxBucket.Arn}/quarantine/*"}
    assert routing.may("dynamodb:") == {f"dynamodb:{each}" for each in ("BatchGetItem", "GetItem", "PutItem", "Query")}
    assert routing.resources_of("sqs:SendMessage*") == {"${RouteAllQueue.Arn}"}


def test_it_reads_no_secret_uses_no_key_and_tells_no_event(routing: Function) -> None:
    services = {action.partition(":")[0] for action in routing.may()}
    assert services == {"dynamodb", "logs", "s3", "sqs", "xray"}


def test_no_other_function_changes_by_the_rules() -> None:
    before = {each.name: [str(s) for s in each.statements()] for each in WITHOUT.all_functions()}
    after = {each.name: [str(s) for s in each.statements()] for each in WITH.all_functions()}
    assert {name: after[name] for name in before} == before


def test_a_comment_says_why_each_of_its_permissions_is_there() -> None:
    lines = template_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line == "  RouteAllRole:")
    end = next(n for n, line in enumerate(lines) if line == "  RouteAllFunction:")
    said = [n for n in range(begin, end) if re.match(r"^ {14}- Sid: ", lines[n])]
    assert len(said) == 11
    assert [lines[n] for n in said if not re.match(r"^ {14}# \w.*\.$", lines[n - 1])] == []
