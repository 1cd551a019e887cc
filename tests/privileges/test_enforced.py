"""What the embedded AWS refuses to a role as the template has it: that the demo and the soak run under the roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from sandbox.aws_server import TAKEN_PATH
from sandbox.embedded import EmbeddedAws
from tests.privileges.recorder import Caller
from tests.privileges.roles import document_of

POLL, FETCH = Caller("duba", "poll"), Caller("duba", "fetch")
RETAIN, ROUTE = Caller("all", "retain"), Caller("all", "route")
INBOX, OUTBOX, LEDGER = "the-inbox", "the-outbox", "the-ledger"
SECRETS = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}"
WHO = (POLL, FETCH, RETAIN, ROUTE)
HERE = {
    "${InboxBucket.Arn}": f"arn:aws:s3:::{INBOX}",
    "${OutboxBucket.Arn}": f"arn:aws:s3:::{OUTBOX}",
    "${LedgerTable.Arn}": f"arn:aws:dynamodb:eu-central-1:000000000000:table/{LEDGER}",
    SECRETS: "arn:aws:secretsmanager:eu-central-1:000000000000",
}
DENIED = {"AccessDenied", "AccessDeniedException"}
FORBIDDEN = {*DENIED, "403"}  # a HEAD has no body to say it in


@pytest.fixture(scope="module")
def aws() -> Iterator[EmbeddedAws]:
    """Provide an AWS with buckets, a table and two secrets in it."""
    with EmbeddedAws.start() as running:
        session: Any = running.session()
        s3, secrets = (session.client(name, endpoint_url=running.endpoint) for name in ("s3", "secretsmanager"))
        for bucket in (INBOX, OUTBOX):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": running.region})
        for portal in ("duba", "altinn"):
            s3.put_object(Bucket=INBOX, Key=f"{portal}/konto/1/document.json", Body=b"{}")
            s3.put_object(Bucket=OUTBOX, Key=f"{portal}/konto/brief.pdf", Body=b"brief")
            secrets.create_secret(Name=f"amtsbote/{portal}/konto", SecretString="{}")
        dynamodb = session.client("dynamodb", endpoint_url=running.endpoint)
        pk = {"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}
        names = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
        dynamodb.create_table(
            TableName=LEDGER, KeySchema=list(pk), AttributeDefinitions=names, BillingMode="PAY_PER_REQUEST"
        )
        yield running


@pytest.fixture(scope="module")
def people(aws: EmbeddedAws) -> dict[Caller, boto3.Session]:
    """Provide, for some functions, a session of somebody who may do what the function may."""
    return {caller: somebody(aws, f"{caller.portal}-{caller.verb}", policy_of(caller)) for caller in WHO}


def policy_of(caller: Caller) -> str:
    policy = json.dumps(document_of(caller))
    for reference, arn in HERE.items():
        policy = policy.replace(reference, arn)
    return policy


def somebody(aws: EmbeddedAws, name: str, policy: str) -> boto3.Session:
    """Return a session of a user with this policy."""
    administrator: Any = aws.session()
    iam = administrator.client("iam", endpoint_url=aws.endpoint)
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], region_name=aws.region)


KEY = {"pk": {"S": "ITEM#1"}, "sk": {"S": "STATE"}}
UNREADABLE = {"Bucket": INBOX, "Key": "quarantine/duba/konto/1/brief.pdf"}
DROPPED = {"Bucket": OUTBOX, "Key": "duba/konto/brief.pdf"}
COPIED = {"Bucket": OUTBOX, "Key": "altinn/konto/brief.pdf"}
ALLOWED: list[tuple[Caller, str, str, dict[str, Any]]] = [
    (POLL, "s3", "get_object", {"Bucket": INBOX, "Key": "duba/konto/1/document.json"}),
    (POLL, "s3", "list_objects_v2", {"Bucket": INBOX, "Prefix": "duba/konto/"}),
    (POLL, "s3", "list_object_versions", {"Bucket": OUTBOX, "Prefix": "duba/konto/"}),
    (POLL, "s3", "put_object", {"Bucket": INBOX, "Key": "reports/duba/konto/1.json", "Body": b"{}"}),
    (POLL, "dynamodb", "get_item", {"TableName": LEDGER, "Key": KEY}),
    (POLL, "dynamodb", "put_item", {"TableName": LEDGER, "Item": KEY}),
    (POLL, "secretsmanager", "get_secret_value", {"SecretId": "amtsbote/duba/konto"}),
    (FETCH, "s3", "put_object", {**UNREADABLE, "Body": b"?"}),
    (RETAIN, "s3", "delete_object", {**DROPPED, "VersionId": "null"}),
    (ROUTE, "s3", "head_object", {**COPIED, "VersionId": "null"}),
]
REFUSED: list[tuple[Caller, str, str, dict[str, Any]]] = [
    (POLL, "s3", "get_object", {"Bucket": INBOX, "Key": "altinn/konto/1/document.json"}),
    (POLL, "s3", "list_objects_v2", {"Bucket": INBOX, "Prefix": "altinn/konto/"}),
    (POLL, "s3", "list_objects_v2", {"Bucket": INBOX}),
    (POLL, "s3", "get_object", {"Bucket": OUTBOX, "Key": "duba/konto/brief.pdf"}),
    (POLL, "s3", "put_object", {"Bucket": INBOX, "Key": "duba/konto/1/document.json", "Body": b"{}"}),
    (POLL, "s3", "delete_object", {"Bucket": INBOX, "Key": "duba/konto/1/document.json"}),
    (POLL, "dynamodb", "delete_item", {"TableName": LEDGER, "Key": KEY}),
    (POLL, "dynamodb", "scan", {"TableName": LEDGER}),
    (POLL, "secretsmanager", "get_secret_value", {"SecretId": "amtsbote/altinn/konto"}),
    (POLL, "secretsmanager", "list_secrets", {}),
    (FETCH, "s3", "get_object", UNREADABLE),
    (RETAIN, "s3", "delete_object", DROPPED),
    (RETAIN, "s3", "get_object", {"Bucket": INBOX, "Key": "duba/konto/1/document.json"}),
    (ROUTE, "s3", "head_object", COPIED),
    (ROUTE, "s3", "get_object", UNREADABLE),
]


def call(aws: EmbeddedAws, session: Any, service: str, operation: str, parameters: dict[str, Any]) -> str | None:
    """Make a call, and return the code with which it is refused."""
    client = session.client(service, endpoint_url=aws.endpoint)
    try:
        getattr(client, operation)(**parameters)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


@pytest.mark.parametrize(("caller", "service", "operation", "parameters"), ALLOWED)
def test_what_the_role_allows_works(
    aws: EmbeddedAws, people: Any, caller: Caller, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    assert call(aws, people[caller], service, operation, parameters) is None


@pytest.mark.parametrize(("caller", "service", "operation", "parameters"), REFUSED)
def test_what_the_role_does_not_allow_is_refused(
    aws: EmbeddedAws, people: Any, caller: Caller, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    assert call(aws, people[caller], service, operation, parameters) in FORBIDDEN


def test_what_is_asked_for_is_taken_down_with_what_the_role_says_to_it(aws: EmbeddedAws, people: Any) -> None:
    one = {"TableName": LEDGER}
    assert call(aws, people[POLL], "dynamodb", "get_item", {**one, "Key": KEY}) is None
    assert call(aws, people[POLL], "dynamodb", "delete_table", one) in FORBIDDEN
    judged = requests.get(f"{aws.endpoint}{TAKEN_PATH}", timeout=10).json()["judged"]
    mine = [tuple(each[1:3]) for each in judged if each[0].endswith(":user/duba-poll")]
    assert {("dynamodb:GetItem", True), ("dynamodb:DeleteTable", False)} <= set(mine)


def test_where_it_is_milder_than_aws(aws: EmbeddedAws) -> None:
    """It tells somebody who may not list a bucket what is not there. AWS answers 403, which only the proof sees."""
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{INBOX}/*"}
    blind = somebody(aws, "blind", json.dumps({"Version": "2012-10-17", "Statement": [reading]}))
    missing = {"Bucket": INBOX, "Key": "duba/konto/missing.json"}
    assert call(aws, blind, "s3", "list_objects_v2", {"Bucket": INBOX}) in DENIED
    assert call(aws, blind, "s3", "get_object", missing) == "NoSuchKey"
