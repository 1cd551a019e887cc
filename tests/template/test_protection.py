"""What the template protects: keys, buckets' own policies, lock, network and purse, with each parameter and without.

All of it is read from the template after SAM's transformation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.template.loading import EVERY, ROOT, UNROUTED, Function, Stack, deployed, stack
from tests.template.test_transformed import of_type as transformed_of_type
from tests.template.test_transformed import resources

ACCOUNT = "arn:aws:iam::111122223333"
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OPERATOR = f"{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-central-1/AWSReservedSSO_Amtsbote_*"
SIGNED_IN = f"{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-central-1/AWSReservedSSO_Amtsbote_0f1e2d"
ADMINISTRATOR = f"{ACCOUNT}:role/Administrator"
INBOX, OUTBOX = "${InboxBucket.Arn}", "${OutboxBucket.Arn}"
DOCUMENT = f"{INBOX}/duba/klinikum/214/document.json"


def transformed(**parameters: str) -> Stack:
    """The stack after SAM's transformation, with these parameters."""
    return deployed(resources(), **parameters)


PLAIN = transformed()
KEYED = transformed(KmsKeyArn=KEY)
OPERATED = transformed(OperatorRoleArn=OPERATOR)
ROUTED = transformed(RoutingRules="[1]")
FUNCTIONS = stack().functions()


# ── the key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bucket", ["InboxBucket", "OutboxBucket"])
def test_a_bucket_is_encrypted_with_the_key_that_is_given(bucket: str) -> None:
    (keyed,) = KEYED.of_type("AWS::S3::Bucket")[bucket]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (plain,) = PLAIN.of_type("AWS::S3::Bucket")[bucket]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert keyed["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert keyed["BucketKeyEnabled"] is True, "else each object costs a call to KMS"
    assert plain == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}


def test_the_ledger_is_encrypted_with_the_key_that_is_given() -> None:
    keyed = KEYED.of_type("AWS::DynamoDB::Table")["LedgerTable"]["SSESpecification"]
    assert keyed == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}


def test_every_queue_is_encrypted_with_the_key_that_is_given() -> None:
    for name, keyed in KEYED.of_type("AWS::SQS::Queue").items():
        assert keyed["KmsMasterKeyId"] == KEY
        assert "SqsManagedSseEnabled" not in keyed, "AWS takes one of the two"
        plain = PLAIN.of_type("AWS::SQS::Queue")[name]
        assert (plain["SqsManagedSseEnabled"], "KmsMasterKeyId" in plain) == (True, False)


def test_every_log_is_encrypted_with_the_key_that_is_given() -> None:
    assert {log["KmsKeyId"] for log in KEYED.of_type("AWS::Logs::LogGroup").values()} == {KEY}
    assert not [log for log in PLAIN.of_type("AWS::Logs::LogGroup").values() if "KmsKeyId" in log]


def test_the_alarm_topic_needs_no_key_of_its_own_where_one_is_given() -> None:
    assert KEYED.of_type("AWS::SNS::Topic")["AlarmTopic"]["KmsMasterKeyId"] == KEY
    assert PLAIN.resources.keys() - KEYED.resources.keys() == {"AlarmTopicKey"}


def test_nothing_that_can_be_encrypted_is_left_out() -> None:
    holding = ("S3::Bucket", "DynamoDB::Table", "SQS::Queue", "Logs::LogGroup", "SNS::Topic")
    kinds = {r["Type"] for r in KEYED.resources.values() if KEY in str(r.get("Properties"))}
    assert kinds == {f"AWS::{kind}" for kind in (*holding, "IAM::ManagedPolicy")}


def attached(of: Stack) -> set[tuple[str, ...]]:
    return {tuple(role["ManagedPolicyArns"]) for role in of.of_type("AWS::IAM::Role").values()}


def test_every_role_may_use_the_key_that_is_given_through_the_services_that_hold_data_and_not_by_itself() -> None:
    assert attached(KEYED) == {("${KeyPolicy}",)}
    assert attached(PLAIN) == {()}
    ((statement,),) = [p["PolicyDocument"]["Statement"] for p in KEYED.of_type("AWS::IAM::ManagedPolicy").values()]
    assert (statement["Resource"], statement["Effect"]) == (KEY, "Allow")
    assert statement["Action"] == ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
    through = statement["Condition"]["StringLike"]["kms:ViaService"]
    assert through == [f"{service}.*.amazonaws.com" for service in ("dynamodb", "s3", "secretsmanager", "sqs")]


def key_policy() -> dict[str, Any]:
    """The policy that the documentation asks the key's owner for."""
    documented = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    (said,) = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", documented, re.DOTALL) if "Logs" in text]
    return {statement["Sid"]: statement for statement in said["Statement"]}


def services(documents: Iterable[Mapping[str, Any]]) -> set[str]:
    """The services of AWS that resource policies let in."""
    granted = [s for document in documents for s in document["Statement"] if s["Effect"] == "Allow"]
    return {service for s in granted for service in _listed(s["Principal"].get("Service", []))}


def test_the_documented_policy_of_the_key_lets_in_who_fills_queues_topic_and_logs() -> None:
    policy = key_policy()
    queues = services(q["PolicyDocument"] for q in KEYED.of_type("AWS::SQS::QueuePolicy").values())
    topic = services(t["PolicyDocument"] for t in KEYED.of_type("AWS::SNS::TopicPolicy").values())
    assert set(_listed(policy["RulesFillQueues"]["Principal"]["Service"])) == queues
    assert set(policy["AlarmsPublish"]["Principal"]["Service"]) == topic
    (logs,) = policy["Logs"]["Condition"]["ArnLike"].values()
    groups = [log["LogGroupName"] for log in KEYED.of_type("AWS::Logs::LogGroup").values()]
    assert all(fnmatchcase(name.replace("${AWS::StackName}", "amtsbote"), logs.split(":")[-1]) for name in groups)


def test_the_documented_policy_of_the_key_lets_the_roles_do_what_theirs_does_and_the_table_be_encrypted() -> None:
    policy = key_policy()
    ((own,),) = [p["PolicyDocument"]["Statement"] for p in KEYED.of_type("AWS::IAM::ManagedPolicy").values()]
    assert policy["UseThroughServices"]["Action"] == own["Action"]
    assert policy["UseThroughServices"]["Condition"] == own["Condition"]
    assert policy["EncryptTheTable"]["Action"] == "kms:CreateGrant"
    assert not [a for a in policy["Administer"]["Action"] if fnmatchcase("kms:Decrypt", a)]


# ── what the buckets say themselves, whatever a role may ─────────────────────────────────────────────────────────────


def denials(of: Stack, bucket: str, action: str, resource: str, **context: str) -> list[str]:
    """The statements of a bucket's policy by which AWS would refuse this; the context's names with __ for a colon."""
    said = {name.replace("__", ":").replace("_", "-"): value for name, value in context.items()}
    said.setdefault("aws:SecureTransport", "true")
    policy = of.of_type("AWS::S3::BucketPolicy")[f"{bucket}Policy"]["PolicyDocument"]
    return [each["Sid"] for each in policy["Statement"] if _denies(each, action, resource, said)]


def _denies(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    if not any(fnmatchcase(action, pattern) for pattern in _listed(statement["Action"])):
        return False
    named = any(fnmatchcase(resource, p) for p in _listed(statement.get("Resource", statement.get("NotResource"))))
    if named != ("Resource" in statement):
        return False
    asked = [(o, key, _listed(v)) for o, keys in statement["Condition"].items() for key, v in keys.items()]
    return all(_holds(operator, context.get(key), values) for operator, key, values in asked)


def _holds(operator: str, said: str | None, values: list[str]) -> bool:
    """One condition as IAM judges it: what is not said holds for a negation, and for nothing else."""
    match operator:
        case "Null":
            return (said is None) == (values == ["true"])
        case "Bool":
            return said in values
        case "NotIpAddress":
            return True  # nobody here speaks from the machine itself
        case "ArnNotLike":
            return said is None or not any(fnmatchcase(said, value) for value in values)
    raise NotImplementedError(operator)


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def role_of(function: Function) -> str:
    return f"${{{function.role_name}.Arn}}"


EACH_FUNCTION = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)


def puts(of: Stack, resource: str, principal: str, **context: str) -> list[str]:
    """What refuses that an object is made in the inbox by one call."""
    made = {"s3__ObjectCreationOperation": "true"} | context
    return denials(of, "InboxBucket", "s3:PutObject", resource, aws__PrincipalArn=principal, **made)


ONCE = {"s3__if_none_match": "*"}


@EACH_FUNCTION
@pytest.mark.parametrize("resource", [DOCUMENT, f"{INBOX}/duba/klinikum/214/message-214.zip", f"{INBOX}/quarantine/x"])
def test_documents_and_evidence_are_written_by_fetch_and_by_no_other_function(
    function: Function, resource: str
) -> None:
    expected = [] if function.verb == "fetch" else ["OnlyFetchWritesDocuments"]
    assert puts(PLAIN, resource, role_of(function), **ONCE) == expected


@EACH_FUNCTION
def test_receipts_are_written_by_deliver_and_track_and_by_no_other_function(function: Function) -> None:
    expected = [] if function.verb in ("deliver", "track") else ["OnlyDeliverAndTrackWriteReceipts"]
    assert puts(PLAIN, f"{INBOX}/receipts/duba/klinikum/BetreuungAnregung/a.json.json", role_of(function)) == expected


@EACH_FUNCTION
def test_reports_are_written_by_poll_and_by_no_other_function(function: Function) -> None:
    expected = [] if function.verb == "poll" else ["OnlyPollWritesReports"]
    assert puts(PLAIN, f"{INBOX}/reports/duba/klinikum/2026.json", role_of(function)) == expected


@pytest.mark.parametrize("resource", [DOCUMENT, f"{INBOX}/receipts/duba/x.json", f"{INBOX}/reports/duba/x.json"])
def test_not_even_an_administrator_writes_the_inbox_and_the_operator_that_is_named_does(resource: str) -> None:
    for deployed_so in (PLAIN, OPERATED):
        assert len(puts(deployed_so, resource, ADMINISTRATOR, **ONCE)) == 1
    assert puts(PLAIN, resource, SIGNED_IN, **ONCE)
    assert not puts(OPERATED, resource, SIGNED_IN, **ONCE)


FETCH = "${FetchDubaRole.Arn}"


@pytest.mark.parametrize("name", ["document.json", "message-214.zip"])
def test_no_document_is_written_over_another(name: str) -> None:
    key = f"{INBOX}/duba/klinikum/214/{name}"
    assert puts(PLAIN, key, FETCH) == ["NoDocumentIsOverwritten"]
    assert puts(PLAIN, key, FETCH, **ONCE) == []


def test_the_parts_of_an_upload_need_no_condition_as_they_make_no_object_and_its_end_does() -> None:
    assert puts(PLAIN, DOCUMENT, FETCH, s3__ObjectCreationOperation="false") == []
    assert puts(PLAIN, DOCUMENT, FETCH, s3__ObjectCreationOperation="true") == ["NoDocumentIsOverwritten"]


def test_what_is_written_anew_at_each_step_needs_no_condition() -> None:
    receipt = f"{INBOX}/receipts/duba/klinikum/BetreuungAnregung/document.json"
    assert puts(PLAIN, receipt, "${DeliverDubaRole.Arn}") == []
    assert puts(PLAIN, f"{INBOX}/reports/duba/klinikum/document.json", "${PollDubaRole.Arn}") == []
    assert puts(PLAIN, f"{INBOX}/quarantine/duba/klinikum/214/document.json", FETCH) == []


def test_the_operator_that_is_named_may_put_back_what_was_there() -> None:
    assert puts(OPERATED, DOCUMENT, SIGNED_IN) == []
    assert puts(OPERATED, DOCUMENT, ADMINISTRATOR) == ["OnlyFetchWritesDocuments", "NoDocumentIsOverwritten"]


@EACH_FUNCTION
@pytest.mark.parametrize("action", ["s3:GetObject", "s3:GetObjectVersion"])
def test_drops_are_read_by_deliver_and_by_no_other_function(function: Function, action: str) -> None:
    dropped = f"{OUTBOX}/duba/klinikum/BetreuungAnregung/a.json"
    refused = denials(PLAIN, "OutboxBucket", action, dropped, aws__PrincipalArn=role_of(function))
    of_a_portal = function.verb == "deliver" and function.portal not in (UNROUTED, EVERY)
    assert refused == ([] if of_a_portal else ["OnlyDeliverReadsDrops"])


@pytest.mark.parametrize(
    ("of", "principal", "may"),
    [
        (PLAIN, ADMINISTRATOR, False),
        (PLAIN, SIGNED_IN, False),
        (OPERATED, SIGNED_IN, True),
        (PLAIN, "${RouteAllRole.Arn}", False),
        (ROUTED, "${RouteAllRole.Arn}", True),
    ],
    ids=["administrator", "nobody named", "operator", "routing off", "routing on"],
)
def test_who_else_reads_drops(of: Stack, principal: str, may: bool) -> None:
    refused = denials(of, "OutboxBucket", "s3:GetObject", f"{OUTBOX}/duba/a/b/c.json", aws__PrincipalArn=principal)
    assert (not refused) == may


def test_a_backend_goes_on_dropping_and_reading_the_inbox() -> None:
    backend = {"aws__PrincipalArn": f"{ACCOUNT}:role/Backend", "s3__ObjectCreationOperation": "true"}
    assert not denials(PLAIN, "OutboxBucket", "s3:PutObject", f"{OUTBOX}/duba/a/b/c.json", **backend)
    assert not denials(PLAIN, "InboxBucket", "s3:GetObject", DOCUMENT, **backend)
    assert not denials(PLAIN, "InboxBucket", "s3:PutObjectTagging", DOCUMENT, **backend)  # processed=true


def test_without_tls_nobody_gets_anything() -> None:
    for bucket, arn in (("InboxBucket", INBOX), ("OutboxBucket", OUTBOX)):
        for action in ("s3:GetObject", "s3:PutObject", "s3:ListBucket"):
            refused = denials(OPERATED, bucket, action, arn, aws__PrincipalArn=SIGNED_IN, aws__SecureTransport="false")
            assert "TlsOnly" in refused


def test_a_function_is_known_by_its_own_role_and_by_no_name_that_somebody_could_take() -> None:
    for name in ("InboxBucketPolicy", "OutboxBucketPolicy"):
        for statement in PLAIN.of_type("AWS::S3::BucketPolicy")[name]["PolicyDocument"]["Statement"]:
            for principals in statement["Condition"].get("ArnNotLike", {}).values():
                assert [p for p in principals if "*" in p] == []


def test_the_sandbox_knows_a_role_by_its_session_and_aws_sees_no_such_name() -> None:
    sandbox = transformed(AllowLoopbackPortals="true")
    session = "arn:${AWS::Partition}:sts::${AWS::AccountId}:assumed-role/${AWS::StackName}-FetchDubaRole-1A2B/x"
    assert puts(sandbox, DOCUMENT, session, **ONCE) == []
    assert puts(PLAIN, DOCUMENT, session, **ONCE) == ["OnlyFetchWritesDocuments"]


# ── lock, network, purse ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_inbox_is_locked_only_where_that_is_asked_for() -> None:
    locked = transformed(ObjectLockDays="365", ObjectLockMode="COMPLIANCE").of_type("AWS::S3::Bucket")
    assert locked["InboxBucket"]["ObjectLockEnabled"] is True
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": "365"}}
    assert locked["InboxBucket"]["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled", "Rule": rule}
    unlocked = [*PLAIN.of_type("AWS::S3::Bucket").values(), locked["OutboxBucket"]]
    assert not [bucket for bucket in unlocked if any(name.startswith("ObjectLock") for name in bucket)]


NETWORKED = transformed(SubnetIds="subnet-0a1,subnet-0b2", SecurityGroupIds="sg-0c3")


def test_every_function_joins_the_network_that_is_given() -> None:
    joined = [f["VpcConfig"] for f in NETWORKED.of_type("AWS::Lambda::Function").values()]
    assert joined == [{"SubnetIds": "subnet-0a1,subnet-0b2", "SecurityGroupIds": "sg-0c3"}] * len(joined)
    assert len(joined) == len(transformed_of_type("AWS::Lambda::Function")) - 1, "but routing, which is off"
    assert not [f for f in PLAIN.of_type("AWS::Lambda::Function").values() if "VpcConfig" in f]


def test_lambda_may_make_interfaces_for_a_function_and_the_function_itself_may_not() -> None:
    assert attached(NETWORKED) == {("${NetworkPolicy}",)}
    ((statement,),) = [p["PolicyDocument"]["Statement"] for p in NETWORKED.of_type("AWS::IAM::ManagedPolicy").values()]
    assert all(action.startswith("ec2:") for action in statement["Action"])
    assert statement["Condition"] == {"Null": {"lambda:SourceFunctionArn": "true"}}


def test_both_policies_go_together() -> None:
    both = transformed(KmsKeyArn=KEY, SubnetIds="subnet-0a1", SecurityGroupIds="sg-0c3")
    assert attached(both) == {("${KeyPolicy}", "${NetworkPolicy}")}


def test_a_budget_tells_the_alarm_topic_and_there_is_none_unless_it_is_set() -> None:
    assert not PLAIN.of_type("AWS::Budgets::Budget")
    (budget,) = transformed(MonthlyBudget="300").of_type("AWS::Budgets::Budget").values()
    assert budget["Budget"]["BudgetLimit"] == {"Amount": "300", "Unit": "USD"}
    told = [
        (n["Notification"]["NotificationType"], n["Notification"]["Threshold"], n["Subscribers"])
        for n in budget["NotificationsWithSubscribers"]
    ]
    topic = [{"SubscriptionType": "SNS", "Address": "${AlarmTopic}"}]
    assert told == [("ACTUAL", 80, topic), ("FORECASTED", 100, topic)]


def test_the_budget_may_publish_to_the_encrypted_topic() -> None:
    key = PLAIN.of_type("AWS::KMS::Key")["AlarmTopicKey"]["KeyPolicy"]
    topic = PLAIN.of_type("AWS::SNS::TopicPolicy")["AlarmTopicPolicy"]["PolicyDocument"]
    for document, actions in ((key, ["kms:Decrypt", "kms:GenerateDataKey*"]), (topic, "sns:Publish")):
        (grant,) = [s for s in document["Statement"] if s["Principal"] == {"Service": "budgets.amazonaws.com"}]
        assert grant["Action"] == actions
        assert grant["Condition"] == {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}


def test_no_function_runs_without_a_bound() -> None:
    """By its queue's mapping, or, where Secrets Manager calls it, by one secret being rotated at a time."""
    mappings = transformed_of_type("AWS::Lambda::EventSourceMapping").values()
    bounded = {m["FunctionName"]["Ref"] for m in mappings if m.get("ScalingConfig", {}).get("MaximumConcurrency")}
    assert transformed_of_type("AWS::Lambda::Function").keys() - bounded == {"RotateDocxworldFunction"}
