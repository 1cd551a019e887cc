"""The function that rotates, as AWS's runtime client runs it: the four steps, what it answers, what it logs."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from sandbox.portals.docxworld import Account, SimulatedDocxworld
from tests.handlers.cloud import EVENTS, PASSWORD, Cloud
from tests.handlers.runtime_api import HostedFunction, Result

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@pytest.fixture
def account(docxworld: SimulatedDocxworld) -> Account:
    """Provide a technical access."""
    return docxworld.add_technical_access("klinikum-client", PASSWORD, {"ROLE_CUSTOMER_UPLOADER"})


@pytest.fixture
def rotating(cloud: Cloud) -> Iterator[HostedFunction]:
    """Provide the function, which does not wait."""
    with cloud.new_function("rotate", "docxworld", AMTSBOTE_SETTLE_SECONDS="0") as function:
        yield function


@pytest.fixture
def technical_connection(cloud: Cloud, docxworld: SimulatedDocxworld, account: Account) -> str:
    """Provide the name of a connection's secret, with an administrator's beside it."""
    login = {"tokenUrl": docxworld.token_url, "clientId": account.login, "clientSecret": PASSWORD}
    own = {"baseUrl": docxworld.base_url, "auth": {"kind": "client-credentials", **login}}
    name = cloud.connect("docxworld", own)
    user = {"username": "office@example.com", "password": PASSWORD}
    auth = {"kind": "user-password", "cognitoUrl": docxworld.cognito_url, "clientId": docxworld.app_client_id, **user}
    body = {"baseUrl": docxworld.base_url, "technicalAccessId": account.id, "role": "ROLE_CUSTOMER_ADMIN", "auth": auth}
    cloud.client("secretsmanager").create_secret(Name=f"amtsbote-admin/docxworld/{name}", SecretString=json.dumps(body))
    return f"amtsbote/docxworld/{name}"


def scheduled(cloud: Cloud, secret: str) -> dict[str, Any]:
    """Let Secrets Manager make the pending version, and return the sample event, speaking of it."""
    secrets, token = cloud.client("secretsmanager"), str(uuid4())
    secrets.rotate_secret(SecretId=secret)
    secrets.put_secret_value(SecretId=secret, ClientRequestToken=token, VersionStages=["AWSPENDING"])
    event: dict[str, Any] = json.loads((EVENTS / "rotate.json").read_text(encoding="utf-8"))
    return event | {"SecretId": secrets.describe_secret(SecretId=secret)["ARN"], "ClientRequestToken": token}


def logged(result: Result) -> list[dict[str, Any]]:
    """Return what the function logged, metrics too; the runtime's own words about an error are no JSON."""
    return [json.loads(line) for line in result.log.splitlines() if line.startswith("{")]


def test_the_sample_event_begins_a_rotation_that_the_other_steps_end(
    cloud: Cloud, rotating: HostedFunction, account: Account, technical_connection: str
) -> None:
    event = scheduled(cloud, technical_connection)
    outcomes = []
    for step in STEPS:
        result = rotating.invoke(event | {"Step": step})
        assert (result.failed, result.payload) == (False, None)
        outcomes += [line["outcome"] for line in result.lines]
    assert outcomes == ["CREATED", "NOTHING_TO_SET", "LOGGED_IN", "COMPLETE"]
    stored = cloud.client("secretsmanager").get_secret_value(SecretId=technical_connection)["SecretString"]
    assert account.secrets == {json.loads(stored)["auth"]["clientSecret"]} != {PASSWORD}
    assert not [secret for secret in account.secrets if secret in cloud.logs()]


def test_a_step_that_fails_is_an_error_of_the_function_and_is_counted(
    cloud: Cloud, rotating: HostedFunction, docxworld: SimulatedDocxworld, account: Account, technical_connection: str
) -> None:
    event = scheduled(cloud, technical_connection)
    docxworld.change_secrets("office@example.com", {"another"})
    result = rotating.invoke(event)
    assert (result.failed, result.error_type) == (True, "Misconfigured")
    assert "LOGIN_REFUSED" in result.payload["errorMessage"]
    lines = logged(result)
    assert [line["RotationFailed"] for line in lines if "RotationFailed" in line] == [[1.0]]
    assert [line["code"] for line in lines if line.get("message") == "rotation failed"] == ["LOGIN_REFUSED"]
    assert event["RotationToken"] not in result.log
    assert account.secrets == {PASSWORD}


def test_an_event_that_is_no_step_of_a_rotation_is_refused(rotating: HostedFunction) -> None:
    result = rotating.invoke({"Step": "createSecret", "RotationToken": PASSWORD})
    assert (result.failed, result.error_type) == (True, "ValidationError")
    assert PASSWORD not in str(result.payload)
