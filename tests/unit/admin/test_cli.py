"""The command line as a person uses it, at a simulated portal: logins, output, one-time secrets, exit codes."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from amtsbote.admin import cli
from amtsbote.admin.handover import OTHER_LOGIN, held_login
from amtsbote.admin.output import write_table
from sandbox.portals.docxworld import SimulatedDocxworld
from sandbox.portals.server import serve

REGION = "eu-central-1"
PASSWORD = "geheim-wie-ein-Kanarienvogel"
SECRET = "amtsbote/docxworld/spooler"
COMPANY = "Musterfirma GmbH"


@pytest.fixture
def portal() -> Iterator[SimulatedDocxworld]:
    found = SimulatedDocxworld()
    found.add_user("admin@example.com", PASSWORD, name="Ada Admin")
    with serve(found):
        yield found
    found.close()


@dataclass
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Terminal:
    """A person at a command line."""

    portal: SimulatedDocxworld

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AMTSBOTE_DOCXWORLD_COGNITO_URL": self.portal.cognito_url,
            "AMTSBOTE_DOCXWORLD_CLIENT_ID": self.portal.app_client_id,
            "AMTSBOTE_DOCXWORLD_USERNAME": "admin@example.com",
            "AMTSBOTE_DOCXWORLD_PASSWORD": PASSWORD,
        }

    @property
    def account(self) -> dict[str, Any]:
        auth = {"kind": "user-password", "cognitoUrl": self.portal.cognito_url, "clientId": self.portal.app_client_id}
        login = {"username": "admin@example.com", "password": PASSWORD}
        return {"baseUrl": self.portal.base_url, "role": "ROLE_PF_ADMIN", "auth": {**auth, **login}}

    def runs(self, *line: str, login: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        head = ("docxworld", *(login or ("--base-url", self.portal.base_url)), "--allow-loopback")
        chosen = self.environment if environment is None else environment
        role = () if login else ("--role", "pf-admin")
        code = cli.main([*head, *role, *line], out=out, err=err, environment=chosen)
        assert PASSWORD not in out.getvalue() + err.getvalue()
        return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture
def terminal(portal: SimulatedDocxworld) -> Terminal:
    return Terminal(portal)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield boto3.client("secretsmanager", region_name=REGION)


# --- logins ---


def test_the_login_is_a_secret_in_secrets_manager(terminal: Terminal, aws: Any) -> None:
    body = {**terminal.account, "technicalAccessId": "1"}
    aws.create_secret(Name="amtsbote-admin/docxworld/klinikum", SecretString=json.dumps(body))
    login = ("--connection", "klinikum", "--region", REGION)
    assert terminal.runs("users", "list", "--json", login=login).json[0]["email"] == "admin@example.com"


def test_a_connection_without_a_secret_is_told(terminal: Terminal, aws: Any) -> None:
    ran = terminal.runs("users", "list", login=("--connection", "klinikum", "--region", REGION))
    assert ran.code == cli.FAILED
    assert "there is no secret amtsbote-admin/docxworld/klinikum" in ran.err


def test_the_login_is_a_file_that_nobody_else_may_read(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "admin.json"
    file.write_text(json.dumps(terminal.account))
    file.chmod(0o644)
    assert "chmod 600" in terminal.runs("users", "list", login=("--config", str(file))).err
    file.chmod(0o600)
    assert terminal.runs("users", "list", login=("--config", str(file))).code == cli.FINE


def test_an_incomplete_environment_names_what_is_missing(terminal: Terminal) -> None:
    left = {name: value for name, value in terminal.environment.items() if not name.endswith("PASSWORD")}
    ran = terminal.runs("users", "list", environment=left)
    assert (ran.code, "AMTSBOTE_DOCXWORLD_PASSWORD" in ran.err) == (cli.FAILED, True)


# --- output ---


def test_a_table_is_plain_and_aligned(terminal: Terminal, portal: SimulatedDocxworld) -> None:
    portal.add_target("Briefpost", "BRIEF")
    head, row = terminal.runs("targets", "list").out.splitlines()
    assert head.split() == ["id", "targetType", "workflow.abbreviation", "workflow.name", "workflow.status"]
    assert head.index("workflow.abbreviation") == row.index("BRIEF")


def test_a_table_keeps_control_characters_from_the_terminal() -> None:
    out = io.StringIO()
    write_table([{"name": "\x1b[31mrot\nzwei"}], ("name",), out)
    assert out.getvalue() == "name\n [31mrot zwei\n"


def test_a_refusal_is_a_sentence_with_the_portals_words(terminal: Terminal) -> None:
    ran = terminal.runs("users", "create", "admin@example.com")
    assert (ran.code, ran.out) == (cli.FAILED, "")
    assert ran.err.startswith("USER_ALREADY_EXISTS: ") and "User already exists exception" in ran.err


def test_a_name_that_is_not_there_is_told(terminal: Terminal) -> None:
    assert "there is no user x@example.com" in terminal.runs("users", "get", "x@example.com").err


def test_a_dry_run_shows_the_calls_and_keeps_the_changing_one_back(
    terminal: Terminal, portal: SimulatedDocxworld
) -> None:
    ran = terminal.runs("users", "set-state", "admin@example.com", "INACTIVE", "--dry-run", "--json")
    read, change = ran.json["calls"]
    assert (read["method"], read["sent"]) == ("GET", True)
    user = portal.users.by_email("admin@example.com")
    assert change == {
        "method": "PUT",
        "path": f"/v1/users/{user.account.id}/state",
        "query": [],
        "headers": {"X-PF-DWC-Requester-Role": "ROLE_PF_ADMIN", "Content-Type": "application/json"},
        "body": {"status": "INACTIVE"},
        "sent": False,
    }
    assert user.status == "ACTIVE"


# --- one-time secrets ---

CREATE = ("technical-access", "create", COMPANY, "spooler", "customer-uploader")


def secret_of(portal: SimulatedDocxworld) -> str:
    (access,) = portal.accesses.all()
    (secret,) = access.secrets
    return secret


def test_a_new_secret_is_shown_once_with_a_warning(terminal: Terminal, portal: SimulatedDocxworld) -> None:
    ran = terminal.runs(*CREATE)
    assert ran.out.count(secret_of(portal)) == 1
    assert "shown once" in ran.err and secret_of(portal) not in ran.err


def test_a_new_secret_is_in_the_json_once(terminal: Terminal, portal: SimulatedDocxworld) -> None:
    ran = terminal.runs(*CREATE, "--json")
    assert ran.json["auth"]["clientSecret"] == secret_of(portal)
    assert ran.out.count(secret_of(portal)) == 1


def test_a_new_secret_goes_to_a_file_of_its_owner_alone(
    terminal: Terminal, portal: SimulatedDocxworld, tmp_path: Path
) -> None:
    file = tmp_path / "login.json"
    ran = terminal.runs(*CREATE, "--secret-file", str(file))
    assert secret_of(portal) not in ran.out + ran.err
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["auth"]["clientSecret"] == secret_of(portal)


def test_no_secret_is_made_where_its_file_is_there_already(
    terminal: Terminal, portal: SimulatedDocxworld, tmp_path: Path
) -> None:
    (tmp_path / "login.json").write_text("precious")
    assert terminal.runs(*CREATE, "--secret-file", str(tmp_path / "login.json")).code == cli.FAILED
    assert portal.accesses.all() == []
    assert (tmp_path / "login.json").read_text() == "precious"


def test_a_new_secret_takes_its_place_in_a_connection(terminal: Terminal, portal: SimulatedDocxworld, aws: Any) -> None:
    aws.create_secret(Name=SECRET, SecretString='{"downloader": {"clientId": "prod"}}')
    ran = terminal.runs("--region", REGION, *CREATE, "--secret-name", SECRET)
    kept = json.loads(aws.get_secret_value(SecretId=SECRET)["SecretString"])
    assert secret_of(portal) not in ran.out + ran.err
    assert kept["downloader"] == {"clientId": "prod"}
    assert kept["auth"]["clientSecret"] == secret_of(portal)


def test_a_secret_with_another_login_is_left_alone(terminal: Terminal, portal: SimulatedDocxworld, aws: Any) -> None:
    body = json.dumps({"auth": {"kind": "user-password", "password": "x"}})
    aws.create_secret(Name=SECRET, SecretString=body)
    ran = terminal.runs("--region", REGION, *CREATE, "--secret-name", SECRET)
    assert (ran.code, portal.accesses.all()) == (cli.FAILED, [])
    assert aws.get_secret_value(SecretId=SECRET)["SecretString"] == body


def test_a_rotation_has_two_steps(terminal: Terminal, portal: SimulatedDocxworld) -> None:
    terminal.runs(*CREATE)
    old = secret_of(portal)
    new = terminal.runs("technical-access", "start-rotation", "spooler", "--json").json["auth"]["clientSecret"]
    assert portal.accesses.all()[0].secrets == {old, new}
    assert terminal.runs("technical-access", "complete-rotation", "spooler").code == cli.FINE
    assert secret_of(portal) == new


@pytest.mark.parametrize(
    ("body", "login"),
    [
        ('{"auth": {"kind": "client-credentials", "clientId": "c"}}', "c"),
        ("{}", None),
        ('{"auth": {"kind": "user-password"}}', OTHER_LOGIN),
        ("no JSON", OTHER_LOGIN),
        ("[]", OTHER_LOGIN),
    ],
)
def test_what_a_secret_keeps_is_known(body: str, login: str | None) -> None:
    assert held_login(body) == login


# --- files ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = ", "is no TOML"),
        ("", "schema: Field required"),
        ('schema = "amtsbote.docxworld/1"\nusrs = []', "usrs: Extra inputs"),
        ('schema = "amtsbote.docxworld/1"\n[[companies]]\nname="A"\n[[companies]]\nname="a"', "listed twice"),
        ('schema = "amtsbote.docxworld/1"\n[[users]]\nemail="a@b"\nroles={boss={}}', "users.0.roles.boss"),
        ('schema = "amtsbote.docxworld/1"\n[[users]]\nemail="a@b"\nroles={customer-user={targets=["W"]}}', "targets"),
    ],
)
def test_a_wrong_file_is_refused_with_its_mistake(terminal: Terminal, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wanted.toml"
    file.write_text(text)
    ran = terminal.runs("plan", str(file))
    assert ran.code == cli.FAILED and said in ran.err


def test_an_obstacle_keeps_apply_from_doing_anything(
    terminal: Terminal, portal: SimulatedDocxworld, tmp_path: Path
) -> None:
    file = tmp_path / "wanted.toml"
    file.write_text(
        'schema = "amtsbote.docxworld/1"\n[[companies]]\nname = "Leer"\n[[users]]\nemail = "neu@example.com"'
    )
    assert terminal.runs("plan", str(file)).code == cli.FAILED
    ran = terminal.runs("apply", str(file))
    assert ran.code == cli.FAILED and "cannot be done: company Leer" in ran.out
    assert len(portal.users.all()) == 1


def test_an_empty_list_prunes_all_users_but_oneself(
    terminal: Terminal, portal: SimulatedDocxworld, tmp_path: Path
) -> None:
    portal.add_user("old@example.com", "x", {"ROLE_CUSTOMER_USER"})
    file = tmp_path / "wanted.toml"
    file.write_text(f'schema = "amtsbote.docxworld/1"\nusers = []\n[[companies]]\nname = "{COMPANY}"')
    assert terminal.runs("apply", str(file), "--prune").code == cli.FINE
    assert {user.account.login: user.status for user in portal.users.all()} == {
        "admin@example.com": "ACTIVE",
        "old@example.com": "INACTIVE",
    }
