"""Least privilege, as far as the template can show it: what each role allows, and on what."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from tests.template.loading import EVERY, UNROUTED, Function, logical, stack, template_text

STACK = stack()
SANDBOX = stack(AllowLoopbackPortals="true")
FULL = stack(RoutingRules="[1]")  # with what exists only where there are rules, whose tests are in test_routed
FUNCTIONS = [f for f in STACK.functions() if f.portal != EVERY]  # who erases has tests of its own, below
SECRETS = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret"
PORTALS = ("duba", "docxworld", "digitale-gemeinde", "altinn")
EACH_FUNCTION = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)

# AWS offers no resource to name for these.
UNNAMEABLE = {
    "secretsmanager:BatchGetSecretValue",  # which reads no secret that GetSecretValue does not allow
    "secretsmanager:ListSecrets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}

# On AWS this is sqs:SendMessage and no other action.
SEND = "sqs:SendMessage*"

ALWAYS = {
    "events:PutEvents",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
LOGIN = {"secretsmanager:GetSecretValue"}
MANY_SECRETS = {"secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"}
ROWS = {"dynamodb:GetItem", "dynamodb:PutItem"}
RECEIPTS = {"s3:GetObject", "s3:ListBucket", "s3:PutObject"}
COMPARES = {"s3:GetObject", "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject"}
"""What a comparison needs beyond a poll: it reads the inbox, lists the outbox, and writes reports."""
ALLOWED = {
    "dispatch": LOGIN | ROWS | {"dynamodb:BatchGetItem", "dynamodb:Query", SEND} | MANY_SECRETS,
    "poll": LOGIN | ROWS | {"dynamodb:BatchGetItem", "dynamodb:Query", SEND} | COMPARES,
    "fetch": LOGIN | ROWS | {"s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:PutObject"},
    "acknowledge": LOGIN | ROWS | {"dynamodb:Query", "s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"},
    "deliver": LOGIN | ROWS | RECEIPTS | {"s3:GetObjectVersion", SEND},
    "track": LOGIN | ROWS | RECEIPTS | {"dynamodb:Query"},
}
SEALS = {"kms:Decrypt", "kms:Encrypt"}
ALLOWED_UNROUTED = ROWS | RECEIPTS
FORGETS = {"s3:DeleteObjectVersion", "s3:GetObjectVersion", "s3:ListBucketVersions"}
"""What deletes receipts, which is done only where they hold links that end."""


def forgets(function: Function) -> bool:
    return (function.portal, function.verb) == ("duba", "track")


def own_resources(function: Function) -> set[str]:
    return {r for s in function.statements() for r in s.resources}


@EACH_FUNCTION
def test_a_role_belongs_to_one_function(function: Function) -> None:
    assert [f.name for f in FUNCTIONS if f.role_name == function.role_name] == [function.name]
    role = STACK.of_type("AWS::IAM::Role")[function.role_name]
    assert role.keys() == {"AssumeRolePolicyDocument", "ManagedPolicyArns", "Policies"}
    assert role["ManagedPolicyArns"] == [], "what AWS manages names no resource"
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_there_is_no_role_but_the_functions() -> None:
    assert STACK.of_type("AWS::IAM::Role").keys() == {f.role_name for f in STACK.all_functions()}
    assert not STACK.of_type("AWS::IAM::Policy")
    assert not STACK.of_type("AWS::IAM::ManagedPolicy")


@EACH_FUNCTION
def test_a_function_may_do_what_its_verb_needs_and_nothing_else(function: Function) -> None:
    expected = ALLOWED_UNROUTED if function.portal == UNROUTED else ALLOWED[function.verb]
    if (function.portal, function.verb) == ("docxworld", "deliver"):
        expected = expected | SEALS | {"dynamodb:Query"}
    assert function.may() == ALWAYS | expected | (FORGETS if forgets(function) else set())


@EACH_FUNCTION
def test_every_action_is_spelt_out_on_a_named_resource(function: Function) -> None:
    for statement in function.statements():
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action) for action in set(statement.actions) - {SEND})
        if "*" in statement.resources:
            assert set(statement.actions) <= UNNAMEABLE


@EACH_FUNCTION
def test_a_function_receives_from_its_own_queue_only(function: Function) -> None:
    own = {f"${{{function.queue_name}.Arn}}"}
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"):
        assert function.resources_of(action) == own


@pytest.mark.parametrize(
    ("verb", "targets"),
    [
        ("dispatch", {"Poll", "Acknowledge", "Track"}),
        ("poll", {"Fetch", "Poll"}),
        ("fetch", set()),
        ("acknowledge", set()),
        ("deliver", {"Deliver"}),
        ("track", set()),
    ],
)
def test_a_function_sends_to_the_next_queues_of_its_portal_only(verb: str, targets: set[str]) -> None:
    queues = STACK.of_type("AWS::SQS::Queue")
    for function in (f for f in FUNCTIONS if f.verb == verb and f.portal != UNROUTED):
        names = {f"{target}{logical(function.portal)}Queue" for target in targets} & queues.keys()
        assert function.resources_of(SEND) == {f"${{{name}.Arn}}" for name in names}


@EACH_FUNCTION
def test_a_function_writes_its_own_log_only(function: Function) -> None:
    group = function.properties["LoggingConfig"]["LogGroup"].strip("${}")
    assert function.resources_of("logs:PutLogEvents") == {f"${{{group}.Arn}}"}


@EACH_FUNCTION
def test_a_function_reads_the_logins_of_its_own_portal_only(function: Function) -> None:
    secrets = function.resources_of("secretsmanager:GetSecretValue")
    own = f"{SECRETS}:amtsbote/{function.portal}/*"
    assert secrets == (set() if function.portal == UNROUTED else {own})


@EACH_FUNCTION
def test_nothing_of_another_portal_is_named_in_a_role(function: Function) -> None:
    for other in set(PORTALS) - {function.portal}:
        assert not [r for r in own_resources(function) if other in r.lower()]


ADMINISTRATOR = f"{SECRETS}:amtsbote-admin/docxworld/klinikum-a1B2c3"


def test_the_logins_of_administrators_are_read_by_who_rotates_and_by_nobody_else() -> None:
    """Judged as IAM does it: by what a resource with its wildcards matches, not by how it is spelt."""
    for function in STACK.all_functions():
        reached = {r for r in own_resources(function) if r != "*" and fnmatchcase(ADMINISTRATOR, r)}
        expected = {f"{SECRETS}:amtsbote-admin/docxworld/*"} if function == STACK.rotating() else set()
        assert reached == expected


def test_what_is_allowed_everywhere_reads_no_secret() -> None:
    everywhere = {a for f in STACK.all_functions() for s in f.statements() if "*" in s.resources for a in s.actions}
    assert everywhere <= UNNAMEABLE
    assert "secretsmanager:GetSecretValue" not in UNNAMEABLE


def test_who_rotates_may_do_that_with_its_portals_secrets_and_nothing_else() -> None:
    rotating = STACK.rotating()
    always = {a for a in ALWAYS if a.startswith(("logs:", "xray:"))}
    versions = {"DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"}
    assert rotating.may() == always | {f"secretsmanager:{action}" for action in versions}
    for action in versions - {"GetSecretValue"}:
        assert rotating.resources_of(f"secretsmanager:{action}") == {f"{SECRETS}:amtsbote/docxworld/*"}
    own_log = rotating.properties["LoggingConfig"]["LogGroup"].strip("${}")
    assert rotating.resources_of("logs:PutLogEvents") == {f"${{{own_log}.Arn}}"}


def test_a_role_of_its_own_belongs_to_who_rotates() -> None:
    rotating = STACK.rotating()
    assert [f.name for f in STACK.all_functions() if f.role_name == rotating.role_name] == [rotating.name]
    role = STACK.of_type("AWS::IAM::Role")[rotating.role_name]
    assert role.keys() == {"AssumeRolePolicyDocument", "ManagedPolicyArns", "Policies"}
    assert role["ManagedPolicyArns"] == []


def test_secrets_manager_and_nobody_else_may_call_who_rotates() -> None:
    (permission,) = STACK.of_type("AWS::Lambda::Permission").values()
    assert permission == {
        "FunctionName": f"${{{STACK.rotating().name}}}",
        "Action": "lambda:InvokeFunction",
        "Principal": "secretsmanager.amazonaws.com",
        "SourceAccount": "${AWS::AccountId}",
    }


def test_only_who_dispatches_asks_for_many_secrets_at_once() -> None:
    asking = {f.verb for f in STACK.all_functions() if "secretsmanager:BatchGetSecretValue" in f.may()}
    assert asking == {"dispatch"}


def test_who_dispatches_has_nothing_to_do_with_the_buckets() -> None:
    assert [f.may("s3:") for f in FUNCTIONS if f.verb == "dispatch"] == [set()] * len(PORTALS)


@pytest.mark.parametrize("portal", PORTALS)
def test_who_compares_reads_its_portals_inbox_lists_its_drops_and_writes_reports_alone(portal: str) -> None:
    (poll,) = [f for f in FUNCTIONS if (f.verb, f.portal) == ("poll", portal)]
    reports = f"${{InboxBucket.Arn}}/reports/{portal}/*"
    assert poll.resources_of("s3:PutObject") == {reports}
    assert poll.resources_of("s3:GetObject") == {reports, f"${{InboxBucket.Arn}}/{portal}/*"}
    (listing,) = [s for s in poll.statements() if "s3:ListBucketVersions" in s.actions]
    assert (listing.actions, listing.resources) == (("s3:ListBucketVersions",), ("${OutboxBucket.Arn}",))
    assert listing.condition == {"StringLike": {"s3:prefix": f"{portal}/*"}}


@EACH_FUNCTION
def test_only_fetch_writes_documents_and_only_its_portals(function: Function) -> None:
    written = {r for r in function.resources_of("s3:PutObject") if "/receipts/" not in r and "/reports/" not in r}
    inbox = "${InboxBucket.Arn}"
    own = {f"{inbox}/{function.portal}/*", f"{inbox}/quarantine/{function.portal}/*"}
    assert written == (own if function.verb == "fetch" else set())


def test_fetch_does_not_read_what_is_in_quarantine() -> None:
    for function in (f for f in FUNCTIONS if f.verb == "fetch"):
        assert function.resources_of("s3:GetObject") == {f"${{InboxBucket.Arn}}/{function.portal}/*"}


@EACH_FUNCTION
def test_only_acknowledge_sees_what_the_backend_has_processed(function: Function) -> None:
    tags = function.resources_of("s3:GetObjectTagging")
    document = f"${{InboxBucket.Arn}}/{function.portal}/*/document.json"
    assert tags == ({document} if function.verb == "acknowledge" else set())


def test_acknowledge_reads_no_document_but_its_manifest() -> None:
    for function in (f for f in FUNCTIONS if f.verb == "acknowledge"):
        assert function.resources_of("s3:GetObject") == {f"${{InboxBucket.Arn}}/{function.portal}/*/document.json"}


@EACH_FUNCTION
def test_only_the_portals_deliver_reads_the_outbox(function: Function) -> None:
    outbox = {r for r in own_resources(function) if "OutboxBucket" in r}
    lists = {"${OutboxBucket.Arn}"}
    expected = {"deliver": lists | {f"${{OutboxBucket.Arn}}/{function.portal}/*"}, "poll": lists}
    assert outbox == (set() if function.portal == UNROUTED else expected.get(function.verb, set()))


@EACH_FUNCTION
def test_receipts_are_written_by_deliver_and_track_of_their_portal(function: Function) -> None:
    receipts = {r for r in function.resources_of("s3:PutObject") if "/receipts/" in r}
    prefix = "" if function.portal == UNROUTED else f"{function.portal}/"
    writes = function.verb in ("deliver", "track")
    assert receipts == ({f"${{InboxBucket.Arn}}/receipts/{prefix}*"} if writes else set())


@EACH_FUNCTION
def test_a_bucket_is_listed_only_below_what_may_be_read_there(function: Function) -> None:
    for statement in (s for s in function.statements() if "s3:ListBucket" in s.actions):
        assert statement.actions == ("s3:ListBucket",)
        (bucket,) = statement.resources
        prefix = statement.condition["StringLike"]["s3:prefix"]
        readable = function.resources_of("s3:GetObject") | function.resources_of("s3:GetObjectVersion")
        assert any(r.startswith(f"{bucket}/{prefix.removesuffix('*')}") for r in readable)


@EACH_FUNCTION
def test_nobody_deletes_a_document_or_a_row(function: Function) -> None:
    deleted = {a for a in function.may("s3:") | function.may("dynamodb:") if "Delete" in a}
    assert deleted == ({"s3:DeleteObjectVersion"} if forgets(function) else set())
    assert function.resources_of("s3:DeleteObjectVersion") <= {"${InboxBucket.Arn}/receipts/duba/*"}


def test_who_forgets_sees_the_versions_of_receipts_only() -> None:
    (function,) = [f for f in FUNCTIONS if forgets(f)]
    assert function.resources_of("s3:GetObjectVersion") == {"${InboxBucket.Arn}/receipts/duba/*"}
    (listing,) = [s for s in function.statements() if "s3:ListBucketVersions" in s.actions]
    assert (listing.actions, listing.resources) == (("s3:ListBucketVersions",), ("${InboxBucket.Arn}",))
    assert listing.condition == {"StringLike": {"s3:prefix": "receipts/duba/*"}}


# ── who erases ───────────────────────────────────────────────────────────────────────────────────────────────────────

RETAINING = STACK.retaining()
INBOX, OUTBOX, LEDGER = "${InboxBucket.Arn}", "${OutboxBucket.Arn}", "${LedgerTable.Arn}"
ERASES = {
    "dynamodb:BatchGetItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketVersions",
}


def test_who_erases_may_do_that_and_nothing_else() -> None:
    assert RETAINING.may() == (ALWAYS - {"events:PutEvents"}) | ERASES
    assert not RETAINING.may("secretsmanager:"), "it erases also what belongs to a connection without a secret"
    for statement in RETAINING.statements():
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z0-9]+", action) for action in statement.actions)
        assert "*" not in statement.resources or set(statement.actions) <= UNNAMEABLE


def test_who_erases_deletes_in_both_buckets_and_reads_receipts_alone() -> None:
    assert RETAINING.resources_of("s3:DeleteObjectVersion") == {f"{INBOX}/*", f"{OUTBOX}/*"}
    assert RETAINING.resources_of("s3:DeleteObject") == {f"{INBOX}/*"}
    assert RETAINING.resources_of("s3:GetObjectVersion") == {f"{INBOX}/receipts/*"}
    assert RETAINING.resources_of("s3:ListBucketVersions") == {INBOX}


def test_who_erases_deletes_words_and_no_row_of_another_kind() -> None:
    (statement,) = [s for s in RETAINING.statements() if "dynamodb:DeleteItem" in s.actions]
    assert (statement.actions, statement.resources) == (("dynamodb:DeleteItem",), (LEDGER,))
    assert statement.condition == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "WORD#*"}}
    assert RETAINING.resources_of("dynamodb:Query") == {LEDGER, f"{LEDGER}/index/due", f"{LEDGER}/index/shelves"}


def test_a_role_of_its_own_belongs_to_who_erases() -> None:
    assert [f.name for f in STACK.all_functions() if f.role_name == RETAINING.role_name] == [RETAINING.name]
    own_log = RETAINING.properties["LoggingConfig"]["LogGroup"].strip("${}")
    assert RETAINING.resources_of("logs:PutLogEvents") == {f"${{{own_log}.Arn}}"}
    assert RETAINING.resources_of("sqs:ReceiveMessage") == {f"${{{RETAINING.queue_name}.Arn}}"}


def test_nobody_else_deletes_an_object_but_receipts_that_hold_links() -> None:
    deleting = {
        f.name for f in STACK.all_functions() for action in f.may() if "Delete" in action and action[:3] != "sqs"
    }
    assert deleting == {RETAINING.name, "TrackDubaFunction"}


def versions_of(function: Function) -> set[str]:
    return {LEDGER} if function.portal == "docxworld" else set()


@EACH_FUNCTION
def test_the_ledger_is_queried_by_its_indexes_only(function: Function) -> None:
    """docxworld's deliveries excepted: what a cancellation or a file speaks of is found among a key's versions."""
    due, shelves = "${LedgerTable.Arn}/index/due", "${LedgerTable.Arn}/index/shelves"
    more = {"poll": {shelves}, "deliver": versions_of(function), "track": versions_of(function)}
    assert function.resources_of("dynamodb:Query") <= {due} | more.get(function.verb, set())
    rows = {r for a in function.may("dynamodb:") - {"dynamodb:Query"} for r in function.resources_of(a)}
    assert rows == {"${LedgerTable.Arn}"}


@EACH_FUNCTION
def test_events_go_to_the_stacks_own_bus(function: Function) -> None:
    assert function.resources_of("events:PutEvents") == {"${EventBus.Arn}"}


def test_only_who_encrypts_uses_the_vaults_key() -> None:
    """By its own role and by the key's policy, which lets the account administer the key and not use it."""
    users = {
        f.name: f.resources_of(action) for f in STACK.all_functions() for action in SEALS if f.resources_of(action)
    }
    assert users == {"DeliverDocxworldFunction": {"${VaultKey.Arn}"}}
    key = STACK.of_type("AWS::KMS::Key")["VaultKey"]
    administer, seal = key["KeyPolicy"]["Statement"]
    assert key["EnableKeyRotation"] is True
    assert not [a for a in administer["Action"] if fnmatchcase("kms:Decrypt", a) or fnmatchcase("kms:Encrypt", a)]
    assert set(seal["Action"]) == SEALS
    ((role,),) = seal["Condition"]["ArnLike"].values()
    assert role.endswith(":role/${AWS::StackName}-DeliverDocxworldRole-*")
    assert seal["Condition"]["Null"] == {"kms:EncryptionContext:amtsbote-reference": "false"}


def test_the_function_for_unrouted_drops_is_kept_from_the_receipts_of_the_portals() -> None:
    (unrouted,) = [f for f in FUNCTIONS if f.portal == UNROUTED]
    (denial,) = unrouted.statements("Deny")
    assert denial.actions == ("s3:*",)
    delivering = {f.portal for f in FUNCTIONS if f.verb == "deliver"} - {UNROUTED}
    assert set(denial.resources) == {f"${{InboxBucket.Arn}}/receipts/{portal}/*" for portal in delivering}


def test_what_the_sandbox_allows_beyond_is_to_look_up_versions() -> None:
    for function, same in zip(STACK.functions(), SANDBOX.functions(), strict=True):
        more = set(map(str, same.statements())) - set(map(str, function.statements()))
        assert len(more) == (1 if function.verb == "deliver" else 0)
        assert same.may() - function.may() <= {"s3:ListBucketVersions"}


def test_a_comment_says_why_each_permission_is_there() -> None:
    lines = template_text().splitlines()
    statements = [n for n, line in enumerate(lines) if re.match(r"^ {14}- Sid: ", line)]
    assert len(statements) == sum(len(f.statements()) + len(f.statements("Deny")) for f in FULL.all_functions())
    assert [lines[n] for n in statements if not re.match(r"^ {14}# \w.*\.$", lines[n - 1])] == []
