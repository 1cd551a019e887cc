"""The rotation as it is deployed: the four steps by the real function, under its own role, in the embedded AWS."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from botocore.config import Config

from sandbox.deployment import StackOutputs, deploy
from sandbox.embedded import EmbeddedAws
from sandbox.portals.docxworld import Account, SimulatedDocxworld, Step
from sandbox.portals.server import serve

CANARY = "kanarienvogel"
NAME, ADMINISTRATOR = "amtsbote/docxworld/klinikum", "amtsbote-admin/docxworld/klinikum"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
SETTLE_SECONDS = 62  # longer than a function keeps a secret
STEP_SECONDS = 180
TOKEN_SECONDS = 100  # so short that functions log in again and again, also with what they keep of the secret
LETTER_EACH_SECONDS = 1.0
ARRIVAL_SECONDS = 120.0
ROTATIONS = 2
AT_ONCE = (Step(0, "UPLOADED"), Step(0, "TRANSFERRED"))


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
        session: Any = self.aws.session()
        patient = Config(read_timeout=STEP_SECONDS, retries={"total_max_attempts": 1})
        answer = session.client("lambda", endpoint_url=self.aws.endpoint, config=patient).invoke(
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


@dataclass
class Traffic:
    """Letters that are dropped again and again, until it is closed."""

    deployed: Deployed
    keys: list[str] = field(default_factory=list)
    _closed: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        """Drop a letter every second, until it is closed."""
        s3 = self.deployed.client("s3")
        while not self._closed.wait(LETTER_EACH_SECONDS):
            key = f"docxworld/klinikum/BRIEF/Brief {len(self.keys) + 1}.pdf"
            s3.put_object(Bucket=self.deployed.outputs.outbox_bucket, Key=key, Body=key.encode())
            self.keys.append(key)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Let letters come during a block."""
        thread = threading.Thread(target=self.go_on, name="letters")
        thread.start()
        try:
            yield
        finally:
            self._closed.set()
            thread.join()

    def ends(self) -> dict[str, str]:
        """Return the status of each letter by its key, when all have ended or have had the time to."""
        s3, found, until = self.deployed.client("s3"), dict.fromkeys(self.keys, "no receipt"), time.monotonic()
        while not set(found.values()) <= {"DELIVERED", "FAILED"} and time.monotonic() < until + ARRIVAL_SECONDS:
            time.sleep(1)
            found = {key: self._status(s3, key) for key in self.keys}
        return found

    def _status(self, s3: Any, key: str) -> str:
        try:
            answer = s3.get_object(Bucket=self.deployed.outputs.inbox_bucket, Key=f"receipts/{key}.json")
        except s3.exceptions.NoSuchKey:
            return "no receipt"
        return str(json.load(answer["Body"])["status"])


def refused_calls(portal: SimulatedDocxworld) -> list[str]:
    """Return the logins and calls of ours that the portal did not let in."""
    logins = [each for each in portal.requests if each.path == "/oauth2/token" and each.status != 200]
    others = [each for each in portal.requests if each.status in (401, 403)]
    return [f"{each.method} {each.path}: {each.status}" for each in (*logins, *others)]


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """Provide the deployed stack with one connection."""
    portal = SimulatedDocxworld(token_seconds=TOKEN_SECONDS)
    portal.add_target("Briefpost", "BRIEF", script=AT_ONCE)
    account = portal.add_technical_access("klinikum-client", f"{CANARY}-1", {"ROLE_CUSTOMER_UPLOADER"})
    portal.add_user("verwaltung@example.com", f"{CANARY}-2", roles={"ROLE_CUSTOMER_ADMIN"})
    with serve(portal), EmbeddedAws.start() as aws:
        outputs = deploy(aws, parameters={"Schedules": "DISABLED", "RotationSettleSeconds": str(SETTLE_SECONDS)})
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
def test_the_deployed_function_rotates_again_and_again_while_uploads_go_on(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployed.outputs.rotation_function_arn
    seen, traffic, began = [deployed.current()], Traffic(deployed), time.monotonic()
    with traffic.flowing():
        for _ in range(ROTATIONS):
            token = deployed.schedule()
            assert [deployed.step(step, token) for step in STEPS] == [None] * len(STEPS)
            seen.append(deployed.current())
            assert deployed.account.secrets == {seen[-1]}
            assert deployed.account.rotation_started is None
            assert not [label for label in deployed.labels() if label.startswith("AMTSBOTE") or label == "AWSPENDING"]
    ends, seconds = traffic.ends(), time.monotonic() - began
    logins = sum(each.path == "/oauth2/token" for each in deployed.portal.requests)
    with capsys.disabled():
        print(  # noqa: T201  (the figures, which nobody else can count)
            f"\n{ROTATIONS} rotations in {seconds:.0f} s: {len(ends)} letters dropped meanwhile, "
            f"{list(ends.values()).count('DELIVERED')} delivered; {len(deployed.portal.requests)} calls, "
            f"{logins} logins by client secret, {len(refused_calls(deployed.portal))} refused"
        )
    assert len(set(seen)) == len(seen)
    assert set(ends.values()) == {"DELIVERED"}
    assert len({each.key for each in deployed.portal.jobs()}) == len(traffic.keys) > ROTATIONS * SETTLE_SECONDS / 5
    assert logins > len(STEPS) * ROTATIONS
    assert refused_calls(deployed.portal) == []


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
