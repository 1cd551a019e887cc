"""docs/deploy.md is true: parameters, the deployer's policy, what an update leaves in place, names of stages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import cfnlint  # type: ignore[import-untyped]
import pytest

from tests.template.loading import ROOT, Stack, deployed, load_template, stack
from tests.template.test_transformed import resources

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
PARAMETERS = load_template()["Parameters"]
ROW = re.compile(r"^\| `(\w+)` \| (?:`(.*?)`)? \| (.+) \|$", re.MULTILINE)
SCHEMAS = Path(cfnlint.__file__).parent / "data" / "schemas"
REGION = "eu-central-1"
POLICY_CHARACTERS_AT_MOST = 6144  # of a customer-managed policy; IAM does not count white space
TRIGGERS_AT_MOST = 5
A_DAY_SECONDS = 24 * 3600
TEMPLATE_BYTES_AT_MOST = 1_000_000
ALSO_VALID = {  # for each parameter, another value that its rule takes
    "Runtime": "python3.12",
    "AlarmEmail": "operator@example.com",
    "KmsKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/1",
    "OperatorRoleArn": "arn:aws:iam::111122223333:role/operator",
    "SubnetIds": "subnet-1",
    "SecurityGroupIds": "sg-1",
    "RetentionRules": '{"*":{"DELIVERED":90}}',
    "RoutingRules": "[1]",
    "PollRate": "rate(7 minutes)",
    "ReconcileSchedule": "rate(1 day)",
    "AcknowledgeRate": "rate(7 minutes)",
    "TrackRate": "rate(7 minutes)",
    "RetainRate": "rate(7 minutes)",
}
HOLDS_WORK = ("AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Events::EventBus", "AWS::KMS::Key")
NOT_FOR_US = {  # what resource schemas ask for and this template has not
    "*:*Kinesis*|kinesis:*|firehose:*": "streams",
    "s3tables:*|s3:*Metadata*|s3files:*|elasticfilesystem:*": "tables and file systems",
    "dynamodb:*Import*|dynamodb:*Replica*|dynamodb:*Contributor*|iam:CreateServiceLinkedRole": "imports, replicas",
    "*:*ResourcePolicy|*:*PermissionsBoundary": "policies that the resources do not have",
    "iam:*GroupPolicy|iam:*UserPolicy": "groups and users",
    "lambda:*CodeSigning*|lambda:*CapacityProvider|lambda:*Scaling*|lambda:PublishVersion": "versions, signing",
    "lambda:AssociateRuntimeAlias|lambda:DeleteFunctionConcurrency": "runtime aliases, reserved concurrency",
    "logs:*DataProtection*|logs:*IndexPolicy|logs:*Bearer*|logs:*LogDelivery|logs:*DeletionProtection": "log features",
    "s3:DeleteBucketAnalytics*|s3:DeleteBucketCors|s3:DeleteBucketEncryption|s3:DeleteBucketLifecycle": "never removed",
    "s3:DeleteBucketMetrics*|s3:DeleteBucketReplication|s3:DeleteBucketWebsite|s3:PutObjectAcl": "never removed",
    "s3:REST.PUT.OBJECT|sns:PutDataProtectionPolicy|billing:*": "deliveries of logs, data protection, billing views",
}
OUR_DATA = {  # and what they ask for that would open documents, rows or logs: a deployment works without
    *(f"dynamodb:{each}Item" for each in ("BatchWrite", "Delete", "Get", "Put", "Update")),
    *("dynamodb:Query", "dynamodb:Scan", "s3:DeleteObject"),
    *("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
}


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_every_parameter_with_its_default() -> None:
    shown = {name: default for name, default, _ in ROW.findall(PAGE)}
    assert shown == {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items()}


def changed(name: str) -> str:
    """Return another value that a parameter takes."""
    parameter = PARAMETERS[name]
    allowed = [str(value) for value in parameter.get("AllowedValues", ())]
    if allowed:
        return next(value for value in allowed if value != str(parameter["Default"]))
    return ALSO_VALID.get(name) or str(int(parameter["Default"]) + 1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_parameter_replaces_what_holds_work(name: str) -> None:
    """Judged by the properties of which CloudFormation's schemas say that they are set at creation only."""
    before, after = dict(fixed(stack())), dict(fixed(stack(**{name: changed(name)})))
    assert {logical_id: after[logical_id] for logical_id in before} == before


def fixed(of: Stack) -> Iterator[tuple[str, Any]]:
    for kind in HOLDS_WORK:
        names = [path.split("/")[2] for path in schema(kind).get("createOnlyProperties", ())]
        for logical_id, properties in of.of_type(kind).items():
            if logical_id != "AlarmTopicKey":  # it holds no work, and goes where a key is given
                yield logical_id, {name: properties.get(name) for name in names}


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return CloudFormation's schema of a resource type, as cfn-lint brings it."""
    files = json.loads((SCHEMAS / "providers" / f"{REGION}.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = json.loads((SCHEMAS / "resources" / f"{files[kind]}.json").read_text(encoding="utf-8"))
    return found


def test_a_message_outlives_any_update() -> None:
    shortest = min(int(queue["MessageRetentionPeriod"]) for queue in stack().of_type("AWS::SQS::Queue").values())
    assert shortest >= A_DAY_SECONDS
    assert "The shortest lives a day" in PAGE


def test_the_template_is_small_enough_for_cloudformation() -> None:
    assert len(json.dumps({**load_template(), "Resources": resources()})) < TEMPLATE_BYTES_AT_MOST


# ── the deployer ─────────────────────────────────────────────────────────────────────────────────────────────────────


def policy() -> dict[str, Any]:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def granted() -> list[tuple[str, str]]:
    """Return each action with each resource that the policy allows it on."""
    found = []
    for statement in policy()["Statement"]:
        actions, places = as_list(statement["Action"]), as_list(statement["Resource"])
        found += [(action, place) for action in actions for place in places]
    return found


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def is_granted(action: str) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern, _ in granted())


def is_left_out(action: str) -> bool:
    patterns = [pattern for group in NOT_FOR_US for pattern in group.split("|")]
    return action in OUR_DATA or any(fnmatchcase(action, pattern) for pattern in patterns)


@pytest.mark.parametrize("kind", sorted({each["Type"] for each in resources().values()}))
def test_the_deployer_may_make_change_and_remove_each_resource(kind: str) -> None:
    handlers = {name: each.get("permissions", ()) for name, each in schema(kind)["handlers"].items() if name != "list"}
    needed = {action for actions in handlers.values() for action in actions}
    assert [action for action in sorted(needed) if not is_granted(action) and not is_left_out(action)] == []


def test_the_policy_fits_into_one() -> None:
    assert len(json.dumps(policy(), separators=(",", ":"))) <= POLICY_CHARACTERS_AT_MOST


@pytest.mark.parametrize(
    "action",
    [
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:Scan",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "secretsmanager:GetSecretValue",
        "lambda:InvokeFunction",
        "logs:GetLogEvents",
        "events:PutEvents",
    ],
)
def test_the_deployer_reads_and_writes_no_data(action: str) -> None:
    assert not is_granted(action)


def test_the_deployer_reads_no_object_but_its_own_packages() -> None:
    reading = {place for action, place in granted() if fnmatchcase("s3:GetObject", action)}
    assert reading == {"arn:aws:s3:::aws-sam-cli-managed-default-*", "arn:aws:s3:::aws-sam-cli-managed-default-*/*"}


def test_the_deployer_uses_keys_through_aws_services_only() -> None:
    using = [each for each in policy()["Statement"] if "kms:Decrypt" in as_list(each["Action"])]
    assert [list(each["Condition"]["StringLike"]) for each in using] == [["kms:ViaService"]]


def test_roles_are_handed_to_lambda_only() -> None:
    (passing,) = [each for each in policy()["Statement"] if "iam:PassRole" in as_list(each["Action"])]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    assert passing["Resource"] == "arn:aws:iam::ACCOUNT:role/amtsbote-*"


# ── rollback, stages, end ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_alarms_of_a_rollback_exist_and_are_no_more_than_cloudformation_takes() -> None:
    section = PAGE[PAGE.index("## Rollback") : PAGE.index("## Several stages")]
    named = set(re.findall(r"`(\w+Alarm)`", section))
    assert named <= stack().of_type("AWS::CloudWatch::Alarm").keys()
    assert len(named) == TRIGGERS_AT_MOST


NAMES = re.compile(r"^(Name|\w+Name)$")
REFERENCES = {"FunctionName", "EventBusName", "MetricName", "PolicyName", "QueueName"}


def physical_names(name: str) -> dict[tuple[str, str], str]:
    """Return the names that a stack gives to its resources itself; what has none, CloudFormation names after it."""
    transformed = deployed(resources(), RoutingRules="[1]", AlarmEmail="operator@example.com", MonthlyBudget="1")
    return {
        (logical_id, field): str(value).replace("${AWS::StackName}", name)
        for logical_id, resource in transformed.resources.items()
        for field, value in resource.get("Properties", {}).items()
        if NAMES.match(field) and field not in REFERENCES
    }


def test_two_stacks_share_no_name() -> None:
    one, other = physical_names("amtsbote"), physical_names("amtsbote-test")
    assert one
    assert not set(one.values()) & set(other.values())


def test_what_stages_share_is_said() -> None:
    section = PAGE[PAGE.index("## Several stages") : PAGE.index("## Backup")]
    assert "amtsbote/<portal>/<connection>" in section
    assert stack().all_functions()[0].environment["POWERTOOLS_METRICS_NAMESPACE"] == "Amtsbote"


def test_what_holds_documents_and_their_history_stays_when_the_stack_goes() -> None:
    kept = {name for name, each in resources().items() if each.get("DeletionPolicy") == "Retain"}
    assert kept >= {"InboxBucket", "OutboxBucket", "LedgerTable"}
    assert all(resources()[name]["UpdateReplacePolicy"] == "Retain" for name in kept)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|tools|docs)/[\w/.]+)`", PAGE))))
def test_each_path_is_there(path: str) -> None:
    assert (ROOT / path).exists()
