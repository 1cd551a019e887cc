"""The rotation as it is deployed: the four steps by the real function, under its own role, in the embedded AWS."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from sandbox.deployment import StackOutputs, deploy
from sandbox.embedded import EmbeddedAws
from sandbox.portals.docxworld import Account, SimulatedDocxworld
from sandbox.portals.server import serve

CANARY = "kanarienvogel"
NAME, ADMINISTRATOR = "amtsbote/docxworld/klinikum", "amtsbote-admin/docxworld/klinikum"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@dataclass
class Deployed:
    """The stack, the portal, and what Secrets Manager itself would do."""

    aws: EmbeddedAws
    outputs: StackOutputs
    portal: SimulatedDocxworld
    account: Account

    def client(self, name: str) -> Any:
        """Return an administrator's client."""
        session: Any = self.aws.session()
        return session.client(name, endpoint_url=self.aws.endpoint)

    def schedule(self) -> str:
        """Make a pending version without a value; the embedded RotateSecret only says that the secret rotates."""
        secrets, token = self.client("secretsmanager"), str(uuid4())
        secrets.rotate_secret(SecretId=NAME, RotationLambdaARN=self.outputs.rotation_function_arn)
        secrets.put_secret_value(SecretId=NAME, ClientRequestToken=token, VersionStages=["AWSPENDING"])
        return token

    def step(self, step: str, token: str) -> Any:
        """Invoke the function; returns its error, None where there is none."""
        event = {"SecretId": NAME, "ClientRequestToken": token, "Step": step}
        answer = self.client("lambda").invoke(
            FunctionName=self.outputs.rotation_function_arn, Payload=json.dumps(event).encode()
        )
        said = json.loads(answer["Payload"].read() or b"null")
        return said if "FunctionError" in answer else None

    def current(self) -> str:
        """Return the client secret of the connection."""
        text = self.client("secretsmanager").get_secret_value(SecretId=NAME)["SecretString"]
        return str(json.loads(text)["auth"]["clientSecret"])

    def labels(self) -> set[str]:
        """Return every label of the secret's versions."""
        found = self.client("secretsmanager").describe_secret(SecretId=NAME)["VersionIdsToStages"]
        return {label for labels in found.values() for label in labels}


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """Provide the deployed stack with one connection."""
    portal = SimulatedDocxworld()
    account = portal.add_technical_access("klinikum-client", f"{CANARY}-1", {"ROLE_CUSTOMER_UPLOADER"})
    portal.add_user("verwaltung@example.com", f"{CANARY}-2", roles={"ROLE_CUSTOMER_ADMIN"})
    with serve(portal), EmbeddedAws.start() as aws:
        outputs = deploy(aws, parameters={"Schedules": "DISABLED", "RotationSettleSeconds": "1"})
        stack = Deployed(aws, outputs, portal, account)
        for name, body in secrets_of(portal, account).items():
            stack.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(body))
        yield stack
    portal.close()


def secrets_of(portal: SimulatedDocxworld, account: Account) -> dict[str, Any]:
    """Return the secrets of the connection and of its administrator."""
    own = {
        "kind": "client-credentials",
        "tokenUrl": portal.token_url,
        "clientId": account.login,
        "clientSecret": f"{CANARY}-1",
    }
    login = {"username": "verwaltung@example.com", "password": f"{CANARY}-2"}
    auth = {"kind": "user-password", "cognitoUrl": portal.cognito_url, "clientId": portal.app_client_id, **login}
    access = {"technicalAccessId": account.id, "role": "ROLE_CUSTOMER_ADMIN"}
    return {
        NAME: {"baseUrl": portal.base_url, "auth": own, "uploader": {}},
        ADMINISTRATOR: {"baseUrl": portal.base_url, **access, "auth": auth},
    }


@pytest.mark.once
def test_the_deployed_function_rotates_again_and_again(deployed: Deployed) -> None:
    assert deployed.outputs.rotation_function_arn
    seen = [deployed.current()]
    for _ in range(2):
        token = deployed.schedule()
        assert [deployed.step(step, token) for step in STEPS] == [None] * len(STEPS)
        seen.append(deployed.current())
        assert deployed.account.secrets == {seen[-1]}
        assert deployed.account.rotation_started is None
        assert not [label for label in deployed.labels() if label.startswith("AMTSBOTE") or label == "AWSPENDING"]
    assert len(set(seen)) == len(seen)


@pytest.mark.once
def test_the_deployed_function_says_what_is_wrong_and_no_secret(deployed: Deployed) -> None:
    before = deployed.current()
    deployed.schedule()
    error = deployed.step("createSecret", str(uuid4()))
    assert "ROTATION_UNKNOWN" in error["errorMessage"]
    assert deployed.current() == before
    logs = deployed.client("logs")
    group = "/amtsbote/docxworld/rotate"
    lines = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
    assert any("ROTATION_UNKNOWN" in line for line in lines)
    assert not [line for line in lines if CANARY in line or before in line]
