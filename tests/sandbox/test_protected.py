"""The stack under its own key as it is deployed: everything flows, and whoever may do anything with S3 gets nowhere."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from sandbox.deployment import StackOutputs, deploy
from sandbox.embedded import EmbeddedAws
from sandbox.portals.docxworld import SimulatedDocxworld, Step
from sandbox.portals.server import serve
from sandbox.ticker import Ticker

LOGIN = {"username": "klinikum@example.com", "password": "p"}
ROLES = {"ROLE_CUSTOMER_UPLOADER", "ROLE_CUSTOMER_DOWNLOADER_RESULTS"}
LETTER = "docxworld/klinikum/BRIEF/Brief.pdf"
ARRIVAL_SECONDS = 120.0
TICK_SECONDS = 5.0
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}

pytestmark = pytest.mark.once


@dataclass
class Deployed:
    """The stack and its key, with one document that has come in and one letter that has gone out."""

    aws: EmbeddedAws
    outputs: StackOutputs
    key: str
    document: str

    def client(self, name: str) -> Any:
        """Return an administrator's client."""
        session: Any = self.aws.session()
        return session.client(name, endpoint_url=self.aws.endpoint)

    def stranger(self) -> Any:
        """Return an S3 client of somebody in the account who may do anything there, and is no operator of ours."""
        iam = self.client("iam")
        iam.create_user(UserName="stranger")
        iam.put_user_policy(UserName="stranger", PolicyName="anything", PolicyDocument=json.dumps(ANYTHING))
        keys = iam.create_access_key(UserName="stranger")["AccessKey"]
        session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], region_name=self.aws.region)
        return session.client("s3", endpoint_url=self.aws.endpoint)


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """Provide the stack, deployed with a key, after a document came in and a letter went out."""
    portal = SimulatedDocxworld()
    portal.add_user(LOGIN["username"], LOGIN["password"], roles=ROLES)
    target = portal.add_target("Briefpost", "BRIEF", script=(Step(0, "UPLOADED"), Step(0, "TRANSFERRED")))
    download = portal.add_download(target, b"%PDF-1.7 result", file_name="Ergebnis.pdf")
    with serve(portal), EmbeddedAws.start() as aws:
        session: Any = aws.session()
        key = session.client("kms", endpoint_url=aws.endpoint).create_key()["KeyMetadata"]["Arn"]
        outputs = deploy(aws, parameters={"Schedules": "DISABLED", "KmsKeyArn": key})
        stack = Deployed(aws, outputs, key, f"docxworld/klinikum/{download.id}/document.json")
        secret = json.dumps(secret_of(portal))
        stack.client("secretsmanager").create_secret(Name="amtsbote/docxworld/klinikum", SecretString=secret)
        stack.client("s3").put_object(Bucket=outputs.outbox_bucket, Key=LETTER, Body=b"%PDF-1.7 letter")
        yield stack
    portal.close()


def secret_of(portal: SimulatedDocxworld) -> dict[str, Any]:
    """Return the connection's secret, for both directions."""
    auth = {"kind": "user-password", "cognitoUrl": portal.cognito_url, "clientId": portal.app_client_id, **LOGIN}
    downloader = {"clientId": "amtsbote-test", "types": ["RESULT"]}
    return {"baseUrl": portal.base_url, "auth": auth, "uploader": {}, "downloader": downloader}


def arrived(s3: Any, bucket: str, key: str) -> Any:
    """Return what an object says as soon as it is there, None if it does not come."""
    until = time.monotonic() + ARRIVAL_SECONDS
    while time.monotonic() < until:
        try:
            return json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
        except s3.exceptions.NoSuchKey:
            time.sleep(1)
    return None


def test_under_a_key_of_its_own_the_functions_are_not_refused_what_they_do(
    deployed: Deployed,
) -> None:
    s3, inbox = deployed.client("s3"), deployed.outputs.inbox_bucket
    with Ticker(deployed.aws, TICK_SECONDS):
        document = arrived(s3, inbox, deployed.document)
        receipt = arrived(s3, inbox, f"receipts/{LETTER}.json")
    assert document["files"][0]["name"] == "Ergebnis.pdf"
    assert receipt["status"] in ("IN_PROGRESS", "DELIVERED")
    sqs = deployed.client("sqs")
    keys = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]) for url in sqs.list_queues()["QueueUrls"]]
    assert {each["Attributes"]["KmsMasterKeyId"] for each in keys} == {deployed.key}


def test_who_may_do_anything_with_s3_writes_no_document_and_reads_no_drop(deployed: Deployed) -> None:
    s3, inbox, outbox = deployed.stranger(), deployed.outputs.inbox_bucket, deployed.outputs.outbox_bucket
    s3.put_object(Bucket=outbox, Key="docxworld/klinikum/BRIEF/Zweiter.pdf", Body=b"%PDF-1.7")
    assert s3.list_objects_v2(Bucket=inbox)["KeyCount"] >= 0
    for key in ("duba/klinikum/1/document.json", f"receipts/{LETTER}.json", "reports/duba/klinikum/x.json"):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket=inbox, Key=key, Body=b"{}")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket=outbox, Key=LETTER)
