"""Parameters, buckets, ledger, queues, rules, alarms and outputs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from amtsbote.retention import read_rules
from amtsbote.settings import read_settings
from tests.template.loading import ROOT, Stack, load_template, logical, stack, statements, template_text

TEMPLATE = load_template()
STACK = stack()
SANDBOX = stack(AllowLoopbackPortals="true")
QUEUES = STACK.of_type("AWS::SQS::Queue")
BUCKETS = STACK.of_type("AWS::S3::Bucket")
FUNCTIONS = STACK.functions()
LONGEST_RETENTION_SECONDS = 14 * 24 * 3600
LEAST = {f"AMTSBOTE_{name}": "x" for name in ("PORTAL", "VERB", "LEDGER_TABLE", "EVENT_BUS", "QUEUE_URL")}
CONSTRAINTS = {"AllowedValues", "AllowedPattern", "MinValue", "MaxValue", "MinLength", "MaxLength"}


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_a_parameter_says_what_it_is_and_bounds_its_values(name: str) -> None:
    parameter = TEMPLATE["Parameters"][name]
    assert parameter["Description"].strip()
    assert "Default" in parameter
    assert CONSTRAINTS & parameter.keys()


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_a_default_keeps_its_own_constraint(name: str) -> None:
    parameter = TEMPLATE["Parameters"][name]
    default = parameter["Default"]
    assert str(default) in [str(v) for v in parameter.get("AllowedValues", [default])]
    assert re.search(parameter.get("AllowedPattern", ""), str(default))
    assert parameter.get("MinValue", default) <= default <= parameter.get("MaxValue", default)


@pytest.mark.parametrize("expression", ["rate(1 minute)", "rate(5 minutes)", "rate(12 hours)", "cron(17 2 * * ? *)"])
def test_a_schedule_parameter_takes_what_eventbridge_takes(expression: str) -> None:
    assert re.search(TEMPLATE["Parameters"]["PollRate"]["AllowedPattern"], expression)


@pytest.mark.parametrize("expression", ["5 minutes", "rate(0 minutes)", "rate(1 minutes)", "rate(5 minute)", "cron()"])
def test_a_schedule_parameter_refuses_what_eventbridge_refuses(expression: str) -> None:
    assert not re.search(TEMPLATE["Parameters"]["PollRate"]["AllowedPattern"], expression)


def test_every_parameter_is_used() -> None:
    text = template_text()
    unused = [n for n in TEMPLATE["Parameters"] if not re.search(rf"!Ref {n}\b|\${{{n}}}", text)]
    assert unused == []


def test_the_stack_takes_the_portals_of_the_internet_only_unless_told_otherwise() -> None:
    assert TEMPLATE["Parameters"]["AllowLoopbackPortals"]["Default"] == "false"


@pytest.mark.parametrize(("tries", "entry"), TEMPLATE["Mappings"]["ReceivesByTries"].items())
def test_the_last_try_of_a_delivery_comes_before_the_queue_gives_it_up(tries: str, entry: dict[str, int]) -> None:
    assert entry["Receives"] == int(tries) + 2


@pytest.mark.parametrize(
    ("mapping", "parameter"),
    [
        ("ReceivesByTries", "DeliverTries"),
        ("Concurrency", "DubaMaximumConcurrency"),
        ("Concurrency", "DocxworldMaximumConcurrency"),
        ("Concurrency", "DigitaleGemeindeMaximumConcurrency"),
        ("Concurrency", "AltinnMaximumConcurrency"),
        ("Concurrency", "UnroutedMaximumConcurrency"),
    ],
)
def test_a_mapping_answers_each_value_that_its_parameter_allows(mapping: str, parameter: str) -> None:
    allowed = [str(value) for value in TEMPLATE["Parameters"][parameter]["AllowedValues"]]
    assert list(TEMPLATE["Mappings"][mapping]) == allowed


# ── buckets and ledger ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_versioned_encrypted_private_and_kept(name: str) -> None:
    bucket = BUCKETS[name]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    blocked = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(blocked, True)
    assert "BucketName" not in bucket, "a fixed name forbids a second stage, and a replacement"


@pytest.mark.parametrize("name", ["InboxBucket", "OutboxBucket", "LedgerTable"])
def test_what_holds_documents_or_their_history_outlives_the_stack(name: str) -> None:
    resource = TEMPLATE["Resources"][name]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def lifecycle(deployed: Stack, bucket: str) -> dict[str, dict[str, Any]]:
    rules = deployed.of_type("AWS::S3::Bucket")[bucket]["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    return {rule["Id"]: rule for rule in rules}


@pytest.mark.parametrize(("bucket", "days"), [("InboxBucket", 1), ("OutboxBucket", 7)])
def test_an_upload_that_nobody_finishes_is_cleared_away(bucket: str, days: int) -> None:
    rule = lifecycle(STACK, bucket)["AbortIncompleteUploads"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": days}


@pytest.mark.parametrize("bucket", BUCKETS)
def test_no_object_expires_by_its_age_as_that_says_nothing_of_its_state(bucket: str) -> None:
    rules = lifecycle(STACK, bucket)
    reports = {"ExpireReports"} if bucket == "InboxBucket" else set()
    assert rules.keys() == {"AbortIncompleteUploads", "ExpireDeleteMarkers", "ExpireNoncurrentVersions"} | reports
    assert rules["ExpireDeleteMarkers"].keys() - {"Id", "Status"} == {"ExpiredObjectDeleteMarker"}
    assert rules["ExpireNoncurrentVersions"].keys() - {"Id", "Status"} == {"NoncurrentVersionExpiration"}


def test_reports_alone_expire_after_400_days() -> None:
    rule = lifecycle(STACK, "InboxBucket")["ExpireReports"]
    assert rule == {"Id": "ExpireReports", "Status": "Enabled", "Prefix": "reports/", "ExpirationInDays": 400}


RULES_PARAMETER = TEMPLATE["Parameters"]["RetentionRules"]


@pytest.mark.parametrize(
    "rules",
    [
        "{}",
        '{"duba": {"ACKNOWLEDGED": 90, "UNAVAILABLE": 30}, "*": {"DELIVERED": 90, "FAILED": 180}}',
        '{"altinn":{"DELIVERED":null,"STORED":1},"digitale-gemeinde":{}}',
    ],
)
def test_the_rules_of_retention_are_taken(rules: str) -> None:
    assert re.fullmatch(RULES_PARAMETER["AllowedPattern"], rules)
    assert read_rules(rules) == read_settings({**LEAST, "AMTSBOTE_RETENTION_RULES": rules}).retention_rules


@pytest.mark.parametrize(
    "rules",
    [
        *("", "[]", "90", '{"duba": 90}', '{"duba": {"QUARANTINED": 90}}', '{"duba": {"ACKNOWLEDGED": 0}}'),
        *('{"duba": {"ACKNOWLEDGED": -1}}', '{"duba": {"ACKNOWLEDGED": 1.5}}', '{"duba": {"ACKNOWLEDGED": "90"}}'),
        *('{"duba": {"DISCOVERED": 90}}', '{"duba": {"SENT": 90}}', '{"duba": {"ACKNOWLEDGED": 90}', "{'duba': {}}"),
    ],
)
def test_rules_of_retention_that_are_wrong_are_refused_by_the_template_and_by_the_function(rules: str) -> None:
    assert not re.fullmatch(RULES_PARAMETER["AllowedPattern"], rules)
    with pytest.raises(ValidationError):
        read_settings({**LEAST, "AMTSBOTE_RETENTION_RULES": rules})


def test_the_environments_of_samconfig_have_rules_that_are_taken() -> None:
    said = re.findall(r"RetentionRules=\"(.*)\"'", (ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    assert len(said) == 1
    assert read_rules(said[0].replace('\\"', '"')).of("duba")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_noncurrent_versions_expire_unless_the_parameter_is_zero(bucket: str) -> None:
    rule = lifecycle(stack(NoncurrentVersionRetentionDays="7"), bucket)["ExpireNoncurrentVersions"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": "7"}
    assert "ExpireNoncurrentVersions" not in lifecycle(stack(NoncurrentVersionRetentionDays="0"), bucket)


def test_the_ledger_is_keyed_indexed_backed_up_and_forgets_by_itself() -> None:
    table = STACK.of_type("AWS::DynamoDB::Table")["LedgerTable"]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert keys(table) == {"HASH": "pk", "RANGE": "sk"}
    due, shelves = table["GlobalSecondaryIndexes"]
    assert (due["IndexName"], due["Projection"]) == ("due", {"ProjectionType": "ALL"})
    assert keys(due) == {"HASH": "dueQueue", "RANGE": "dueAt"}
    assert (shelves["IndexName"], shelves["Projection"]) == ("shelves", {"ProjectionType": "KEYS_ONLY"})
    assert keys(shelves) == {"HASH": "shelf", "RANGE": "shelvedAt"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}


def keys(schema: dict[str, Any]) -> dict[str, str]:
    return {key["KeyType"]: key["AttributeName"] for key in schema["KeySchema"]}


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def guarded(resource_type: str, reference: str) -> dict[str, dict[str, Any]]:
    """Each resource that a policy of this type is attached to, and the policy's document."""
    found: dict[str, dict[str, Any]] = {}
    for policy in STACK.of_type(resource_type).values():
        targets = policy[reference] if isinstance(policy[reference], list) else [policy[reference]]
        found |= {target.strip("${}"): policy["PolicyDocument"] for target in targets}
    return found


GUARDED = (
    guarded("AWS::S3::BucketPolicy", "Bucket")
    | guarded("AWS::SQS::QueuePolicy", "Queues")
    | guarded("AWS::SNS::TopicPolicy", "Topics")
)


def test_every_bucket_queue_and_topic_has_its_policy() -> None:
    assert GUARDED.keys() == {*BUCKETS, *QUEUES, *STACK.of_type("AWS::SNS::Topic")}


@pytest.mark.parametrize("name", GUARDED)
def test_nothing_is_reached_without_tls(name: str) -> None:
    (deny,) = [s for s in GUARDED[name]["Statement"] if s["Sid"] == "TlsOnly"]
    assert deny["Effect"] == "Deny"
    assert deny["Principal"] == "*"
    assert deny["Action"] in ("s3:*", "sqs:*", "sns:Publish")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert all(name in resource for resource in statements(GUARDED[name])[0].resources)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_tls_is_asked_for_on_the_bucket_and_on_its_objects(bucket: str) -> None:
    assert set(statements(GUARDED[bucket])[0].resources) == {f"${{{bucket}.Arn}}", f"${{{bucket}.Arn}}/*"}


def test_only_the_machine_itself_may_do_without_tls_in_the_sandbox() -> None:
    for resource_type in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"):
        for policy in SANDBOX.of_type(resource_type).values():
            condition = policy["PolicyDocument"]["Statement"][0]["Condition"]
            assert condition["Bool"] == {"aws:SecureTransport": "false"}
            assert condition["NotIpAddress"] == {"aws:SourceIp": "127.0.0.0/8"}


# ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_is_encrypted_and_gives_up_into_the_one_dead_letter_queue(name: str) -> None:
    queue = QUEUES[name]
    assert queue["SqsManagedSseEnabled"] is True
    redrive = queue.get("RedrivePolicy", {}).get("deadLetterTargetArn")
    assert redrive == (None if name == "DeadLetterQueue" else "${DeadLetterQueue.Arn}")


def test_dead_letters_are_kept_longest() -> None:
    retentions = {name: queue["MessageRetentionPeriod"] for name, queue in QUEUES.items()}
    assert retentions.pop("DeadLetterQueue") == LONGEST_RETENTION_SECONDS
    assert max(retentions.values()) < LONGEST_RETENTION_SECONDS, "the age counts from the first send"


def test_every_queue_but_the_dead_letters_has_one_function() -> None:
    assert sorted(f.queue_name for f in FUNCTIONS) == sorted(QUEUES.keys() - {"DeadLetterQueue"})


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────

RULES = STACK.of_type("AWS::Events::Rule")
SCHEDULES = {name: rule for name, rule in RULES.items() if "ScheduleExpression" in rule}
DROPS = {name: rule for name, rule in RULES.items() if "EventPattern" in rule}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_targets_a_queue_that_takes_messages_from_it(name: str) -> None:
    for target in RULES[name]["Targets"]:
        queue = target["Arn"].removeprefix("${").removesuffix(".Arn}")
        assert name in senders(queue)


def senders(queue: str) -> list[str]:
    """The rules that may send to a queue."""
    allowed = [s for s in GUARDED[queue]["Statement"] if s["Effect"] == "Allow"]
    arns: list[str] = []
    for statement in allowed:
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert statement["Action"] == "sqs:SendMessage"
        source = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        arns += [source] if isinstance(source, str) else source
    return [arn.removeprefix("${").removesuffix(".Arn}") for arn in arns]


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_takes_messages_only_from_the_rules_that_target_it(queue: str) -> None:
    arn = f"${{{queue}.Arn}}"
    ends = {n: [(t["Arn"], t.get("DeadLetterConfig", {}).get("Arn")) for t in r["Targets"]] for n, r in RULES.items()}
    assert sorted(senders(queue)) == sorted(n for n, targets in ends.items() if any(arn in pair for pair in targets))


def ticks() -> list[tuple[str, str, str]]:
    return [(r["ScheduleExpression"], r["Targets"][0]["Input"], r["Targets"][0]["Arn"]) for r in SCHEDULES.values()]


def test_the_schedules_tick_each_task_of_each_portal_at_its_rate() -> None:
    rates = {
        "poll": STACK.parameters["PollRate"],
        "reconcile": STACK.parameters["ReconcileSchedule"],
        "acknowledge": STACK.parameters["AcknowledgeRate"],
        "track": STACK.parameters["TrackRate"],
    }
    erasing = (STACK.parameters["RetainRate"], '{"portal":"all","task":"retain"}', "${RetainAllQueue.Arn}")
    expected = {(portal, t) for portal in ("duba", "docxworld", "digitale-gemeinde", "altinn") for t in rates}
    dispatched = [
        (rates[task], f'{{"portal":"{portal}","task":"{task}"}}', f"${{Dispatch{logical(portal)}Queue.Arn}}")
        for portal, task in expected
    ]
    assert sorted(ticks()) == sorted([*dispatched, erasing])


def test_schedules_can_be_stopped_and_drops_go_on() -> None:
    stopped = stack(Schedules="DISABLED").of_type("AWS::Events::Rule")
    assert {stopped[name]["State"] for name in SCHEDULES} == {"DISABLED"}
    assert all("State" not in stopped[name] for name in DROPS)


@pytest.mark.parametrize("name", DROPS)
def test_a_drop_whose_event_cannot_be_queued_becomes_a_dead_letter(name: str) -> None:
    (target,) = DROPS[name]["Targets"]
    assert target["DeadLetterConfig"] == {"Arn": "${DeadLetterQueue.Arn}"}


def test_only_objects_of_the_outbox_are_drops() -> None:
    assert BUCKETS["OutboxBucket"]["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    assert "NotificationConfiguration" not in BUCKETS["InboxBucket"]
    for rule in DROPS.values():
        assert "EventBusName" not in rule, "S3 speaks on the default bus only"
        assert rule["EventPattern"]["detail"]["bucket"] == {"name": ["${OutboxBucket}"]}


def test_nothing_invokes_a_function_but_its_queue() -> None:
    invoked = {permission["FunctionName"] for permission in STACK.of_type("AWS::Lambda::Permission").values()}
    assert invoked == {f"${{{STACK.rotating().name}}}"}
    assert not STACK.of_type("AWS::Lambda::Url")
    for function in FUNCTIONS:
        assert [event["Type"] for event in function.properties["Events"].values()] == ["SQS"]


# ── alarms and outputs ───────────────────────────────────────────────────────────────────────────────────────────────

ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_what_to_do_and_tells_somebody(name: str) -> None:
    alarm = ALARMS[name]
    assert re.search(r"\b(Look|Read)\b", alarm["AlarmDescription"])
    assert alarm["AlarmActions"] == alarm["OKActions"] == ["${AlarmTopic}"]
    assert alarm["TreatMissingData"] in ("notBreaching", "breaching")


def watched(metric: str) -> set[str]:
    dimensions = [a["Dimensions"] for a in ALARMS.values() if a["MetricName"] == metric]
    values = [d["Value"] for ds in dimensions for d in ds if d["Name"] == "QueueName"]
    return {value.strip("${}").removesuffix(".QueueName") for value in values}


def test_dead_letters_raise_an_alarm_at_the_first() -> None:
    assert watched("ApproximateNumberOfMessagesVisible") == {"DeadLetterQueue"}
    alarm = ALARMS["DeadLettersAlarm"]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)


def test_the_age_of_the_oldest_message_is_watched_on_every_work_queue() -> None:
    assert watched("ApproximateAgeOfOldestMessage") == QUEUES.keys() - {"DeadLetterQueue"}


@pytest.mark.parametrize("portal", ["duba", "docxworld", "digitale-gemeinde", "altinn"])
def test_quarantine_of_every_portal_raises_an_alarm(portal: str) -> None:
    alarm = ALARMS[f"{logical(portal)}QuarantineAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("Amtsbote", "Quarantined", "Sum")
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "amtsbote"}, {"Name": "portal", "Value": portal}]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


@pytest.mark.parametrize("portal", ["duba", "docxworld", "digitale-gemeinde", "altinn"])
def test_the_age_of_the_oldest_work_is_watched_for_every_portal(portal: str) -> None:
    alarm = ALARMS[f"{logical(portal)}OldestWorkAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("Amtsbote", "OldestWorkAge")
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "amtsbote"}, {"Name": "portal", "Value": portal}]
    assert alarm["Threshold"] == STACK.parameters["OldestWorkAlarmSeconds"]


def test_a_rotation_that_fails_raises_an_alarm_at_the_first_step() -> None:
    alarm = ALARMS["RotateDocxworldFailedAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("Amtsbote", "RotationFailed", "Sum")
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "amtsbote"}, {"Name": "portal", "Value": "docxworld"}]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


def test_alarms_can_publish_to_the_encrypted_topic() -> None:
    key = STACK.of_type("AWS::KMS::Key")["AlarmTopicKey"]
    assert STACK.of_type("AWS::SNS::Topic")["AlarmTopic"]["KmsMasterKeyId"] == "${AlarmTopicKey}"
    assert key["EnableKeyRotation"] is True
    for document, action in ((key["KeyPolicy"], "kms:Decrypt"), (GUARDED["AlarmTopic"], "sns:Publish")):
        (grant,) = [s for s in document["Statement"] if s["Principal"] == {"Service": "cloudwatch.amazonaws.com"}]
        assert action in grant["Action"]
        assert grant["Condition"] == {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}


def test_alarms_are_mailed_only_when_somebody_is_named() -> None:
    assert not STACK.of_type("AWS::SNS::Subscription")
    (mail,) = stack(AlarmEmail="operator@example.com").of_type("AWS::SNS::Subscription").values()
    assert (mail["Protocol"], mail["Endpoint"]) == ("email", "operator@example.com")


def test_the_outputs_are_those_that_operators_rely_on() -> None:
    expected = {"InboxBucketName", "OutboxBucketName", "LedgerTableName", "EventBusName", "DeadLetterQueueUrl"}
    assert TEMPLATE["Outputs"].keys() >= expected | {"RotationFunctionArn"}
    assert TEMPLATE["Outputs"]["RotationFunctionArn"]["Value"] == {"Fn::GetAtt": [STACK.rotating().name, "Arn"]}
    assert all(output["Description"] for output in TEMPLATE["Outputs"].values())


def test_the_bus_is_named_like_the_stack() -> None:
    assert STACK.of_type("AWS::Events::EventBus")["EventBus"]["Name"] == "${AWS::StackName}"
