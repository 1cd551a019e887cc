"""The client secret of a connection is renewed while the work goes on, and never lost where that can be helped."""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import EndpointConnectionError
from moto.secretsmanager.models import secretsmanager_backends

from amtsbote import observability
from amtsbote.connections import CACHE_SECONDS
from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.rotation import CURRENT, ENDING, PENDING, STAGED, RotationLost, RotationRequest
from amtsbote.services import Services
from amtsbote.verbs.rotate import rotate
from sandbox.portals.docxworld import Account
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import Death, MortalWorld, moments
from tests.flows.world import MOTO_ACCOUNT, REGION, Clock

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
SETTLE_SECONDS = 90
INVOCATION_SECONDS = 300.0
NAME, ADMINISTRATOR = "amtsbote/docxworld/klinikum", "amtsbote-admin/docxworld/klinikum"
CLIENT, FIRST_SECRET = "kanarienvogel-client", "kanarienvogel-erstes-Geheimnis"
HANDED_OUT = f"kanarienvogel-{uuid4()}"  # by Secrets Manager, with each step
ADMIN_LOGIN = ("verwaltung@klinikum.example", "kanarienvogel-Verwaltung")
WORKS = {"ROLE_CUSTOMER_UPLOADER", "ROLE_CUSTOMER_DOWNLOADER_RESULTS", "ROLE_CUSTOMER_DOWNLOADER_REPORTS"}
START, COMPLETE, LOGIN = (
    "POST /v1/technical-access/.*/rotate-secret",
    "POST /v1/technical-access/.*/rotate-secret/complete",
    "POST /oauth2/token",
)


class RotatingWorld(MortalWorld):
    """A world with the function that rotates; a process of its own for each step, unless it is told otherwise."""

    waited: float = 0.0

    def new_services(self) -> Services:
        """Return services as a fresh process has them."""
        services = super().new_services()
        services.settings = services.settings.model_copy(update={"settle_seconds": SETTLE_SECONDS})
        return services

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.waited += seconds
        self.clock.forward(seconds=seconds)


@dataclass
class Office:
    """An operator with one connection that logs in by client credentials, and Secrets Manager, which rotates it."""

    portal: ObservedDocxworld
    world: RotatingWorld
    account: Account
    sleep: Callable[[float], None] = field(init=False)
    steps_done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sleep = self.world.sleep

    @property
    def secrets(self) -> Any:
        """Return the client of Secrets Manager."""
        return self.world.client("secretsmanager")

    def schedule(self) -> str:
        """Let Secrets Manager begin: a version without a value that is pending. Returns the token.

        By then no process of an earlier rotation is alive: Secrets Manager rotates every four hours at most.
        """
        self.world.clock.forward(hours=4)
        return self.schedule_at_once()

    def schedule_at_once(self) -> str:
        """Let a person want a rotation right after the one before."""
        self.unlabel_pending()
        token, secret = str(uuid4()), self.stored()
        secret.rotation_enabled = secret.rotation_requested = True
        empty = {"createdate": int(self.world.clock().timestamp()), "version_id": token, "version_stages": [PENDING]}
        secret.versions[token] = empty
        return token

    def stored(self) -> Any:
        """Return the secret inside of moto, whose own RotateSecret skips the four steps."""
        return secretsmanager_backends[MOTO_ACCOUNT][REGION].secrets[NAME]

    def follow_label(self, **_: Any) -> None:
        """Let moto answer with the current version when it is asked for none, as AWS does."""
        stored = self.stored()
        for version, content in stored.versions.items():
            if CURRENT in content["version_stages"]:
                stored.default_version_id = version

    def unlabel_pending(self) -> None:
        """Do what AWS's guide says after a rotation that failed: take AWSPENDING away."""
        for version in [version for version, labels in self.labels().items() if PENDING in labels]:
            self.secrets.update_secret_version_stage(SecretId=NAME, VersionStage=PENDING, RemoveFromVersionId=version)

    def step(self, name: str, token: str, secret_id: str = NAME) -> None:
        """Invoke the function for one step, in a fresh process."""
        event = {"SecretId": secret_id, "ClientRequestToken": token, "Step": name, "RotationToken": HANDED_OUT}
        request = RotationRequest.model_validate(event)
        rotate(request, self.world.new_services(), self.deadline(INVOCATION_SECONDS), self.sleep)
        self.steps_done.append(name)

    def deadline(self, seconds: float) -> Deadline:
        """Return a deadline in the world's time."""
        return Deadline(seconds, clock=lambda: self.world.clock().timestamp())

    def rotate(self, token: str | None = None) -> str:
        """Let Secrets Manager do all four steps; returns the token."""
        token = token or self.schedule()
        for name in STEPS:
            self.step(name, token)
        return token

    def labels(self) -> dict[str, set[str]]:
        """Return the labels of the versions that have any."""
        found = self.secrets.describe_secret(SecretId=NAME)["VersionIdsToStages"]
        return {version: set(labels) for version, labels in found.items() if labels}

    def body(self, label: str = CURRENT) -> dict[str, Any]:
        """Return the body of the version with this label."""
        text = self.secrets.get_secret_value(SecretId=NAME, VersionStage=label)["SecretString"]
        body: dict[str, Any] = json.loads(text)
        return body

    def current(self) -> str:
        """Return the client secret that work logs in with."""
        return str(self.body()["auth"]["clientSecret"])

    def works(self) -> bool:
        """Return whether the portal takes the client secret that work logs in with."""
        return self.current() in self.account.secrets

    def is_settled(self) -> bool:
        """Return whether nothing of a rotation is left: one secret, the current one, and no label of ours."""
        labels = set().union(*self.labels().values())
        return (
            self.account.secrets == {self.current()}
            and self.account.rotation_started is None
            and not [label for label in labels if label.startswith(STAGED)]
            and PENDING not in labels
        )

    def told(self, call: str) -> int:
        """Return how many requests the portal has had of a call that it answered."""
        return len(self.portal.asked(*call.split(" ")))


@pytest.fixture
def office(docxworld: ObservedDocxworld, clock: Clock) -> Office:
    """Provide the office."""
    account = docxworld.add_technical_access(CLIENT, FIRST_SECRET, set(WORKS))
    docxworld.add_user(*ADMIN_LOGIN, roles={"ROLE_CUSTOMER_ADMIN"})
    world = RotatingWorld("docxworld", clock=clock)
    world.connect("klinikum", technical_secret(docxworld))
    office = Office(docxworld, world, account)
    office.secrets.meta.events.register("after-call.secretsmanager.UpdateSecretVersionStage", office.follow_label)
    office.secrets.create_secret(Name=ADMINISTRATOR, SecretString=json.dumps(administrator(docxworld, account)))
    docxworld.requests.clear()
    return office


def technical_secret(docxworld: ObservedDocxworld, **auth: Any) -> dict[str, Any]:
    """Return the body of a connection that logs in by client credentials."""
    login = {
        "kind": "client-credentials",
        "tokenUrl": docxworld.token_url,
        "clientId": CLIENT,
        "clientSecret": FIRST_SECRET,
    }
    return docxworld.secret(auth={**login, **auth}, acknowledge="stored", downloader={"clientId": "Bürgerbüro"})


def administrator(docxworld: ObservedDocxworld, account: Account, **more: Any) -> dict[str, Any]:
    """Return the body of the administrator's secret."""
    auth = {"kind": "user-password", "cognitoUrl": docxworld.cognito_url, "clientId": docxworld.app_client_id}
    login = dict(zip(("username", "password"), ADMIN_LOGIN, strict=True))
    access = {"technicalAccessId": account.id, "role": "ROLE_CUSTOMER_ADMIN"}
    return {"baseUrl": docxworld.base_url, **access, "auth": {**auth, **login}, **more}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Provide the names of the counters that were added to."""
    names: list[str] = []

    def add(name: str, unit: MetricUnit, value: float, connection: str | None) -> None:
        names.extend([name] * int(value))

    monkeypatch.setattr(observability.metrics, "add_metric", add)
    return names


# --- a rotation that nothing disturbs ---


def test_a_rotation_renews_the_secret_and_ends_the_old_one(office: Office) -> None:
    before = office.body()
    token = office.rotate()
    assert office.current() != FIRST_SECRET
    assert office.is_settled()
    assert office.labels()[token] == {CURRENT}
    assert {**office.body(), "auth": before["auth"]} == before, "every other field stays as it is"
    assert {**office.body()["auth"], "clientSecret": FIRST_SECRET} == before["auth"]
    assert (office.told(START), office.told(COMPLETE)) == (1, 1)


def test_the_next_rotation_renews_it_again(office: Office) -> None:
    seen = {office.current()}
    for _ in range(3):
        office.rotate()
        seen.add(office.current())
        assert office.is_settled()
    assert len(seen) == 4


def test_each_step_does_its_part_and_no_more(office: Office) -> None:
    token = office.schedule()
    office.step("createSecret", token)
    new = office.body(PENDING)["auth"]["clientSecret"]
    assert (office.current(), office.account.secrets) == (FIRST_SECRET, {FIRST_SECRET, new})
    labels = office.labels()
    calls = len(office.portal.requests)
    office.step("setSecret", token)
    assert len(office.portal.requests) == calls
    office.step("testSecret", token)
    assert [request.path for request in office.portal.requests[calls:]] == ["/oauth2/token"]
    assert (office.labels(), office.current(), office.told(COMPLETE)) == (labels, FIRST_SECRET, 0)
    office.step("finishSecret", token)
    assert (office.current(), office.account.secrets) == (new, {new})


def test_every_step_can_be_repeated_at_any_time(office: Office) -> None:
    token = office.schedule()
    for name in STEPS:
        for _ in range(3):
            office.step(name, token)
    settled = office.current()
    for name in STEPS:
        office.step(name, token)
    assert (office.current(), office.told(START), office.told(COMPLETE)) == (settled, 1, 1)
    assert office.is_settled()


def test_the_steps_may_be_spelt_with_underscores_and_the_secret_named_by_its_arn(office: Office) -> None:
    arn = office.secrets.describe_secret(SecretId=NAME)["ARN"]
    token = office.schedule()
    for name in ("create_secret", "set_secret", "test_secret", "finish_secret"):
        office.step(name, token, arn)
    assert office.is_settled()
    assert office.current() != FIRST_SECRET


def test_the_old_secret_lives_until_no_cache_can_hold_it(office: Office) -> None:
    token = office.schedule()
    seen: list[tuple[float, set[str], str]] = []

    def sleep(seconds: float) -> None:
        seen.append((seconds, set(office.account.secrets), office.current()))
        office.world.sleep(seconds)

    office.sleep = sleep
    for name in STEPS:
        office.step(name, token)
    ((waited, alive, current),) = seen
    assert waited == SETTLE_SECONDS > CACHE_SECONDS
    assert alive == {FIRST_SECRET, current} and current != FIRST_SECRET


def test_an_invocation_without_the_time_to_wait_leaves_the_end_to_the_next_one(office: Office) -> None:
    token = office.schedule()
    for name in STEPS[:3]:
        office.step(name, token)
    request = RotationRequest(SecretId=NAME, ClientRequestToken=token, Step="finishSecret")
    with pytest.raises(Retry, match="ROTATION_SETTLING"):
        rotate(request, office.world.new_services(), office.deadline(SETTLE_SECONDS / 2), office.sleep)
    assert (office.world.waited, office.told(COMPLETE)) == (0, 0)
    assert len(office.account.secrets) == 2 and office.works()
    office.step("finishSecret", token)
    assert office.is_settled()


# --- a process that dies ---


def calls_of_a_rotation(office: Office, token: str) -> list[str]:
    """Return every call of an undisturbed rotation."""
    with office.world.lifeline.cut(0, after=False):
        office.rotate(token)
        return list(office.world.lifeline.calls)


def rotate_and_die(office: Office, token: str, at: int, *, after: bool) -> str:
    """Let the process die at a call, and return which one that was."""
    lifeline = office.world.lifeline
    with lifeline.cut(at, after=after), suppress(Death):
        office.rotate(token)
    lifeline.dead = False
    assert lifeline.cut_at_call, f"there is no call {at}"
    return lifeline.cut_at_call


@pytest.mark.parametrize("again", ["same token", "new token"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_may_die_at_any_call(office: Office, after: bool, again: str, counted: list[str]) -> None:
    """Given any moment of death, the rotation is done again: it ends well, or the loss is told and nothing ends."""
    lost: list[str] = []
    calls = calls_of_a_rotation(office, office.schedule())
    assert {"DescribeSecret", "PutSecretValue", "UpdateSecretVersionStage"} <= set(calls)
    for at in moments(calls, after=after):
        token = office.schedule()
        before = office.current()
        where = rotate_and_die(office, token, at, after=after)
        assert office.works(), where
        try:
            office.rotate(token if again == "same token" else None)
        except RotationLost:
            lost.append(where)
            assert (office.current(), office.works()) == (before, True), where
            start_over(office)
        assert office.is_settled(), where
        office.rotate()
        assert office.is_settled() and office.current() != before, where
    assert [where.split(", ")[1].split("/")[-1] for where in lost] == (
        ["rotate-secret"] if after else lost_before(lost)
    )
    assert counted.count("RotationFailed") >= len(lost)


def lost_before(lost: list[str]) -> list[str]:
    """Deaths before a call of Secrets Manager are not tried: they leave what deaths after the call before leave."""
    assert lost == []
    return []


def start_over(office: Office) -> None:
    """Do what the guide says: a new technical access takes the place of the old one."""
    account, docxworld = office.account, office.portal
    fresh = docxworld.add_technical_access(f"{CLIENT}-{uuid4()}", "ein-neues-Geheimnis", set(WORKS))
    office.secrets.put_secret_value(
        SecretId=NAME,
        SecretString=json.dumps(technical_secret(docxworld, clientId=fresh.login, clientSecret="ein-neues-Geheimnis")),
    )
    office.secrets.put_secret_value(SecretId=ADMINISTRATOR, SecretString=json.dumps(administrator(docxworld, fresh)))
    del docxworld.identities.accounts[account.login]
    office.account = fresh
    office.unlabel_pending()


# --- answers that get lost ---


def test_a_lost_answer_with_the_new_secret_is_told_and_nothing_is_ended(
    office: Office, counted: list[str], log_lines: LogLines
) -> None:
    token = office.schedule()
    office.portal.faults.add(Fault(Kind.LOST_ANSWER, START, times=1))
    with pytest.raises(Retry, match="PORTAL_UNREACHABLE"):
        office.step("createSecret", token)
    for number in range(3):
        with pytest.raises(RotationLost, match=r"The old secret works on; docs/rotation\.md"):
            office.step("createSecret", token if number < 2 else office.schedule())
    assert counted.count("RotationFailed") == 4
    assert "ROTATION_LOST" in log_lines.text
    assert (office.told(COMPLETE), office.works(), office.current()) == (0, True, FIRST_SECRET)
    start_over(office)
    office.rotate()
    assert office.is_settled()


@pytest.mark.parametrize("kind", [Kind.TRUNCATED_BODY, Kind.RESET, Kind.SERVER_ERROR, Kind.TOO_MANY_REQUESTS])
def test_whatever_becomes_of_the_first_answer_the_old_secret_works_on(office: Office, kind: Kind) -> None:
    token = office.schedule()
    office.portal.faults.add(Fault(kind, START, times=1))
    with pytest.raises(Retry):
        office.step("createSecret", token)
    assert office.works()
    if kind is Kind.TRUNCATED_BODY:
        with pytest.raises(RotationLost):
            office.rotate(token)
        assert (office.told(COMPLETE), office.current()) == (0, FIRST_SECRET)
    else:
        office.rotate(token)
        assert office.is_settled()


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.TRUNCATED_BODY, Kind.RESET, Kind.SERVER_ERROR])
@pytest.mark.parametrize("again", ["same token", "new token"])
def test_whatever_becomes_of_the_last_answer_the_rotation_ends_well(office: Office, kind: Kind, again: str) -> None:
    token = office.schedule()
    office.portal.faults.add(Fault(kind, COMPLETE, times=1))
    with pytest.raises(Retry):
        office.rotate(token)
    new = office.current()
    assert office.works() and new != FIRST_SECRET
    office.rotate(token if again == "same token" else None)
    assert office.is_settled()
    assert (office.current() == new) == (again == "same token")


def test_nothing_is_begun_while_another_worker_may_still_end_the_rotation_before(office: Office) -> None:
    """Its late word would end the secret that we work with by then."""
    office.portal.faults.add(Fault(Kind.LOST_ANSWER, COMPLETE, times=1))
    with pytest.raises(Retry, match="PORTAL_UNREACHABLE"):
        office.rotate(office.schedule())
    begun = office.told(START)
    token = office.schedule_at_once()
    office.world.clock.forward(seconds=INVOCATION_SECONDS - SETTLE_SECONDS)
    with pytest.raises(Retry, match="ROTATION_ENDING"):
        office.step("createSecret", token)
    assert (office.told(START), office.works()) == (begun, True)
    office.world.clock.forward(seconds=2 * INVOCATION_SECONDS)
    office.rotate(token)
    assert office.is_settled()
    assert not [label for labels in office.labels().values() for label in labels if label.startswith(ENDING)]


def test_the_new_secret_is_stored_as_soon_as_secrets_manager_takes_it(office: Office) -> None:
    token = office.schedule()
    left = [5]

    def refuse(**_: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise EndpointConnectionError(endpoint_url="https://nowhere.example")

    office.secrets.meta.events.register("before-send.secretsmanager.PutSecretValue", refuse)
    office.rotate(token)
    assert (left, office.told(START)) == ([0], 1)
    assert office.is_settled()


def test_a_version_that_has_another_value_already_does_not_lose_the_new_secret(office: Office) -> None:
    """Given a version that somebody made by hand: versions do not change, so the secret is kept as another one."""
    token = str(uuid4())
    office.rotate()
    before = office.current()
    office.secrets.put_secret_value(
        SecretId=NAME, ClientRequestToken=token, SecretString=json.dumps(office.body()), VersionStages=[PENDING]
    )
    office.world.before("secretsmanager", "PutSecretValue", office.unlabel_pending)  # only then moto refuses
    with pytest.raises(Misconfigured, match="VERSION_TAKEN"):
        office.step("createSecret", token)
    assert (office.current(), len(office.account.secrets)) == (before, 2)
    office.rotate()
    assert office.is_settled() and office.current() != before
    assert office.told(START) == 2, "the one that was kept was taken over"


# --- rotations that are given up, by Secrets Manager or by a person ---


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_rotation_that_was_given_up_is_taken_over_by_the_next_one(office: Office, done: int) -> None:
    given_up = office.schedule()
    for name in STEPS[:done]:
        office.step(name, given_up)
    new = office.body(PENDING)["auth"]["clientSecret"]
    office.rotate()
    assert office.is_settled()
    assert (office.current(), office.told(START)) == (new, 1)


def test_a_secret_changed_by_hand_between_two_steps_ends_nothing(office: Office) -> None:
    """Given an operator who puts the old secret back while the rotation is open."""
    token = office.schedule()
    office.step("createSecret", token)
    office.unlabel_pending()
    by_hand = {**office.body(), "acknowledge": "never"}
    office.secrets.put_secret_value(SecretId=NAME, SecretString=json.dumps(by_hand))
    with pytest.raises(Misconfigured, match="ROTATION_NOT_PENDING"):
        office.step("finishSecret", token)
    assert office.works() and office.told(COMPLETE) == 0
    office.rotate()
    assert office.is_settled() and office.body()["acknowledge"] == "never"


def test_a_current_secret_that_went_back_is_not_completed(office: Office) -> None:
    """Given a stop between the two halves, and an operator who makes the old version the current one again."""
    token = office.schedule()
    office.portal.faults.add(Fault(Kind.SERVER_ERROR, COMPLETE, times=1))
    with pytest.raises(Retry):
        office.rotate(token)
    (old,) = [version for version, labels in office.labels().items() if "AWSPREVIOUS" in labels]
    office.secrets.update_secret_version_stage(
        SecretId=NAME, VersionStage=CURRENT, MoveToVersionId=old, RemoveFromVersionId=token
    )
    with pytest.raises(AmtsboteError):
        office.step("finishSecret", token)
    assert (office.current(), office.works(), office.account.rotated) == (FIRST_SECRET, True, None)
    office.rotate()
    assert office.is_settled()


def test_a_rotation_that_a_person_opened_at_the_portal_is_not_completed_for_them(office: Office, clock: Clock) -> None:
    """Given our label left behind by a lost last answer, and later another rotation, by hand, at the portal."""
    token = office.schedule()
    office.portal.faults.add(Fault(Kind.LOST_ANSWER, COMPLETE, times=1))
    with pytest.raises(Retry):
        office.rotate(token)
    clock.forward(hours=1)
    office.account.rotation_started, office.account.next_secret = clock(), "von-Hand"
    office.account.secrets.add("von-Hand")
    office.step("finishSecret", token)
    assert office.works() and "von-Hand" in office.account.secrets
    with pytest.raises(RotationLost):
        office.rotate()
    assert office.works()


# --- what must not be begun ---


def refused(office: Office, token: str, code: str) -> None:
    """Assert that a step is refused with this code, and that the portal was not asked for a secret."""
    with pytest.raises(Misconfigured, match=code):
        office.step("createSecret", token)
    assert (office.told(START), office.works()) == (0, True)


def test_a_secret_that_does_not_rotate_is_refused(office: Office) -> None:
    token = str(uuid4())
    office.secrets.put_secret_value(SecretId=NAME, ClientRequestToken=token, SecretString="{}", VersionStages=[PENDING])
    refused(office, token, "ROTATION_NOT_ENABLED")


def test_a_version_that_there_is_not_is_refused(office: Office) -> None:
    office.schedule()
    refused(office, str(uuid4()), "ROTATION_UNKNOWN")


def test_a_version_that_is_not_pending_is_refused(office: Office) -> None:
    token = office.schedule()
    office.secrets.update_secret_version_stage(SecretId=NAME, VersionStage="SOMETHING", MoveToVersionId=token)
    office.unlabel_pending()
    refused(office, token, "ROTATION_NOT_PENDING")


def test_a_version_without_a_value_cannot_be_tested_or_finished(office: Office) -> None:
    token = office.schedule()
    for name in ("testSecret", "finishSecret"):
        with pytest.raises(Misconfigured, match="ROTATION_EMPTY"):
            office.step(name, token)
    assert office.current() == FIRST_SECRET


def test_a_new_secret_that_the_portal_refuses_does_not_become_the_current_one(office: Office) -> None:
    token = office.schedule()
    office.step("createSecret", token)
    office.account.secrets.discard(office.body(PENDING)["auth"]["clientSecret"])
    for name in ("testSecret", "finishSecret"):
        with pytest.raises(Misconfigured, match="LOGIN_REFUSED"):
            office.step(name, token)
    assert (office.current(), office.works(), office.told(COMPLETE)) == (FIRST_SECRET, True, 0)


def test_a_connection_with_a_users_password_is_refused(office: Office) -> None:
    body = json.dumps(office.portal.secret())
    office.secrets.put_secret_value(SecretId=NAME, SecretString=body)
    token = office.schedule()
    with pytest.raises(Misconfigured, match=r"NOT_ROTATABLE: .*client-credentials"):
        office.step("createSecret", token)
    assert office.told(START) == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"technicalAccessId": "that-of-somebody-else"}, "TECHNICAL_ACCESS_DIFFERS"),
        ({"auth": {"kind": "client-credentials"}}, "SECRET_INVALID: .*auth"),
        ({"baseUrl": "kanarienvogel"}, "SECRET_INVALID: .*baseUrl"),
        ({"role": "ROLE_PF_ADMIN"}, "ROLE_NOT_ASSIGNED|ACCESS_DENIED"),
        (None, "ADMINISTRATOR_MISSING: .*amtsbote-admin/docxworld/klinikum"),
    ],
    ids=["other access", "other login", "no address", "other role", "none"],
)
def test_a_wrong_administrator_is_told_and_nothing_is_begun(
    office: Office, change: dict[str, Any] | None, code: str
) -> None:
    foreign = office.portal.add_technical_access("another-client", "x", set(WORKS), id="that-of-somebody-else")
    body = administrator(office.portal, office.account) | (change or {})
    office.secrets.put_secret_value(SecretId=ADMINISTRATOR, SecretString=json.dumps(body))
    if change is None:
        office.secrets.delete_secret(SecretId=ADMINISTRATOR, ForceDeleteWithoutRecovery=True)
    refused(office, office.schedule(), code)
    assert foreign.secrets == {"x"}


def test_a_portal_that_does_not_show_the_technical_access_is_believed_by_its_other_answers(office: Office) -> None:
    """The page names that call and shows no example of it: without it the label and the login decide."""
    office.portal.faults.add(Fault(Kind.SERVER_ERROR, "GET /v1/technical-access/.*", status=404))
    office.rotate()
    assert office.is_settled() and office.current() != FIRST_SECRET


# --- what nobody may read ---


def test_no_secret_is_in_a_log_line_or_in_an_error(
    office: Office, log_lines: LogLines, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Given a bit of everything that can go wrong."""
    log = logging.getLogger("amtsbote")
    log.setLevel(logging.DEBUG)
    seen, told = {FIRST_SECRET, ADMIN_LOGIN[1], HANDED_OUT, "kanarienvogel"}, ""
    for match in (START, COMPLETE, LOGIN, "POST /cognito/?", "GET /v1/technical-access/.*"):
        for kind in (Kind.SERVER_ERROR, Kind.EXPIRED_TOKEN, Kind.HTML_WITH_200, Kind.GARBAGE_JSON, Kind.RESET):
            office.portal.faults.add(Fault(kind, match, times=1))
            told += outcome(office.rotate)
            seen |= office.account.secrets
    token = office.schedule()
    office.world.crash("secretsmanager", "DescribeSecret")
    told += outcome(lambda: office.step("testSecret", token))
    office.secrets.put_secret_value(SecretId=NAME, SecretString=f'{{"auth": "{FIRST_SECRET}"')
    told += outcome(office.rotate)
    log.setLevel(logging.INFO)
    assert "rotation failed" in log_lines.text and "crashed" in log_lines.text and len(seen) > 4
    everything = log_lines.text + told + "".join(capfd.readouterr()) + caplog.text
    ours = [line for line in everything.splitlines() if "botocore" not in line and "urllib3" not in line]
    assert not [secret for secret in seen for line in ours if secret in line]


def outcome(work: Callable[[], object]) -> str:
    """Return what an error says of itself."""
    try:
        work()
    except Exception as error:
        return f"{error!r} {error} {vars(error)}"
    return ""


# --- work goes on meanwhile ---


@pytest.fixture
def busy(office: Office) -> Office:
    """Provide the office in the middle of its work: uploads and downloads at every turn, tokens that end soon."""
    office.portal.identities.token_seconds = 70  # used for ten seconds, then bought anew
    office.world.settle("poll", "acknowledge", "track")
    office.portal.requests.clear()
    return office


def work(office: Office, number: int) -> None:
    """Let one letter go out and one come in."""
    target, world = office.portal.letters, office.world
    office.portal.add_download(target, f"Ergebnis {number}".encode(), file_name=f"{number}.pdf")
    world.drop(f"docxworld/klinikum/{target.id}/{number}.pdf", f"Brief {number}".encode())
    world.settle("poll", "acknowledge", "track", rounds=1)


def refusals(office: Office) -> list[tuple[str, int | None]]:
    """Return the calls that the portal did not answer with success."""
    return [(each.path, each.status) for each in office.portal.requests if each.status is None or each.status >= 400]


def test_work_goes_on_while_its_secret_is_renewed_and_no_call_fails(busy: Office) -> None:
    """Given processes that keep what they have read: uploads, polls and acknowledgements during every wait."""
    numbers = iter(range(1000))

    def sleep(seconds: float) -> None:
        for _ in range(int(seconds // 15)):
            busy.world.sleep(15)
            work(busy, next(numbers))

    busy.sleep = sleep
    for _ in range(2):  # rotations
        token = busy.schedule()
        for name in STEPS:
            work(busy, next(numbers))
            busy.step(name, token)
    for _ in range(3):
        busy.world.clock.forward(minutes=1)
        work(busy, next(numbers))
    done = next(numbers)
    assert done > 20 and busy.is_settled()
    assert refusals(busy) == []
    assert busy.world.events_of("Connection Unhealthy") == []
    assert len(busy.world.received("klinikum")) == done == len(busy.portal.acknowledgements())
    assert len(busy.portal.jobs()) == done


@pytest.mark.parametrize("task", ["poll", "fetch", "acknowledge", "own", "track"])
def test_a_worker_that_still_holds_the_old_secret_reads_the_new_one_before_it_complains(
    office: Office, clock: Clock, task: str
) -> None:
    """Given a process that has read the secret just now, a token that ended, and no waiting at all."""
    world, target = office.world, office.portal.letters
    office.portal.add_download(target, b"Ergebnis", file_name="1.pdf")
    world.drop(f"docxworld/klinikum/{target.id}/1.pdf", b"Brief")
    queues = {"fetch": ("poll",), "acknowledge": ("poll", "fetch"), "track": ("own",)}.get(task, ())
    for queue in queues:
        if queue == "poll":
            world.tick("poll")
        world.run(queue)
    if task in ("poll", "acknowledge", "track"):
        world.tick(task)
    process = world.services
    process.connections.get("klinikum")
    office.sleep = lambda seconds: None
    office.rotate()
    office.portal.expire_tokens()
    world.services = process
    world.run(task)
    assert world.events_of("Connection Unhealthy") == []
    assert process.ledger.status("docxworld", "klinikum").healthy
    for _ in range(4):
        world.later("poll", "acknowledge", "track", minutes=1)
    assert world.events_of("Connection Unhealthy") == []
    assert len(world.received("klinikum")) == 1 == len(office.portal.acknowledgements())
    assert [job.state for job in office.portal.jobs()] == [office.portal.jobs()[0].state]
