"""A declarative file applied to the simulated docxworld: to its end, twice, and by processes that die at every call."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from amtsbote.admin import cli
from amtsbote.admin.account import Vault
from amtsbote.deadline import Deadline
from amtsbote.http import Transport, new_session
from amtsbote.portals.docxworld import DocxworldClient, DocxworldSecret
from sandbox.portals.docxworld import SimulatedDocxworld
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.flows.mortality import Death, Lifeline, _MortalAdapter
from tests.flows.world import REGION

SECRET = "amtsbote/docxworld/spooler"
FILE = f"""
schema = "amtsbote.docxworld/1"

[[companies]]
name = "Klinikum"
technical-access-limit = 1

[[companies.customer-numbers]]
number = "4711"
status = "ACTIVE"

[[companies.customer-numbers.contracts]]
number = "4711-1"
description = "Tagespost"
approvable = true
status = "ACTIVE"
states = [{{ state = "INACTIVE", from = 2090-01-01T00:00:00Z }}]

[[workflows]]
abbreviation = "POST"
name = "Tagespost"
contract = "4711-1"
approval-needed = true

[[technical-access]]
name = "spooler"
company = "Klinikum"
roles = ["customer-uploader"]
secret = "{SECRET}"

[[users]]
email = "frida@example.com"
first-name = "Frida"
last-name = "Frei"
company = "Klinikum"

[users.roles.customer-approver]
targets = ["POST"]

[users.roles.customer-admin]
contracts = ["4711-1"]
"""
CHANGED = (
    FILE.replace('name = "Tagespost"', 'name = "Post"')
    .replace('last-name = "Frei"', 'last-name = "Fromm"')
    .replace('status = "ACTIVE"\nstates', 'status = "INACTIVE"\nstates')
    .replace('[users.roles.customer-admin]\ncontracts = ["4711-1"]', "[users.roles.customer-user]")
)


@dataclass
class Office:
    """An administrator at a portal, with a command line and a Secrets Manager."""

    portal: SimulatedDocxworld
    file: Path
    lifeline: Lifeline = field(default_factory=Lifeline)
    out: str = ""

    def runs(self, *arguments: str) -> int:
        """Run a command; what it prints is in `out`."""
        out, err = io.StringIO(), io.StringIO()
        head = ("docxworld", "--base-url", self.portal.base_url, "--allow-loopback", "--role", "pf-admin")
        try:
            return cli.main([*head, *arguments], out=out, err=err, environment=self.environment)
        finally:
            self.out = out.getvalue()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AMTSBOTE_DOCXWORLD_COGNITO_URL": self.portal.cognito_url,
            "AMTSBOTE_DOCXWORLD_CLIENT_ID": self.portal.app_client_id,
            "AMTSBOTE_DOCXWORLD_USERNAME": "admin@example.com",
            "AMTSBOTE_DOCXWORLD_PASSWORD": "geheim",
        }

    def applies(self, text: str, *more: str) -> int:
        """Apply a file."""
        self.file.write_text(text)
        return self.runs("apply", str(self.file), *more)

    def changes(self) -> list[str]:
        """Return what was asked of the portal beside reading and logging in."""
        return [f"{r.method} {r.path}" for r in self.portal.requests if r.method != "GET" and r.path[:4] == "/v1/"]


NewOffice = Callable[[], Office]


@pytest.fixture
def new_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NewOffice]:
    """Provide offices, each at a portal of its own."""
    running: list[Any] = []

    def make() -> Office:
        portal = SimulatedDocxworld()
        portal.add_user("admin@example.com", "geheim", name="Ada Admin")
        running.append(serve(portal))
        office = Office(portal, tmp_path / "wanted.toml")
        client = boto3.client("secretsmanager", region_name=REGION)
        for secret in client.list_secrets()["SecretList"]:
            client.delete_secret(SecretId=secret["Name"], ForceDeleteWithoutRecovery=True)
        client.meta.events.register("before-call", lambda model, **_: office.lifeline.before(f"{model.name}"))
        client.meta.events.register("after-call", lambda **_: office.lifeline.after())
        monkeypatch.setattr(cli, "vault_of", lambda *_: Vault(client))
        monkeypatch.setattr("amtsbote.http.new_session", lambda: _mortal_session(office.lifeline))
        return office

    yield make
    for each in running:
        each.stop()
        each.portal.close()


def _mortal_session(lifeline: Lifeline) -> Any:
    session = new_session()
    session.mount("http://", _MortalAdapter(lifeline))
    return session


@pytest.fixture
def office(new_office: NewOffice) -> Office:
    return new_office()


def kept() -> dict[str, Any]:
    """Return what Secrets Manager keeps of the technical access."""
    client = boto3.client("secretsmanager", region_name=REGION)
    found: dict[str, Any] = json.loads(client.get_secret_value(SecretId=SECRET)["SecretString"])
    return found


def is_as_wanted(office: Office) -> None:
    """Everything is there, once; and the login that is kept is a good one, and the only one."""
    portal = office.portal
    assert [each.name for each in portal.companies.companies.values()].count("Klinikum") == 1
    (target,) = portal.catalogue.targets.values()
    frida = portal.users.by_email("frida@example.com")
    assert frida.targets == {"ROLE_CUSTOMER_APPROVER": {target.id}}
    (access,) = portal.accesses.all()
    secret = DocxworldSecret.model_validate(kept())
    assert access.secrets == {kept()["auth"]["clientSecret"]} and access.rotation_started is None
    transport = Transport(Deadline(10), allow_loopback=True, session=new_session())
    DocxworldClient.of(secret.base_url, secret.auth, transport=transport).log_in()


def test_a_file_is_applied_and_a_second_time_nothing_is_done(office: Office) -> None:
    assert office.applies(FILE) == cli.FINE
    is_as_wanted(office)
    office.portal.forget_requests()

    assert office.applies(FILE) == cli.FINE
    assert office.out == "nothing to do\n" and office.changes() == []
    assert office.runs("plan", str(office.file)) == cli.FINE


def test_a_changed_file_changes_what_differs_and_with_prune_takes_away(office: Office) -> None:
    office.applies(FILE)
    office.portal.forget_requests()
    frida_id = office.portal.users.by_email("frida@example.com").account.id
    klinikum = next(each.id for each in office.portal.companies.companies.values() if each.name == "Klinikum")
    workflow_id = next(iter(office.portal.catalogue.targets.values())).workflow.id

    assert office.applies(CHANGED, "--prune") == cli.FINE
    assert [change.replace(frida_id, "frida").rpartition("/v1/")[2] for change in office.changes()] == [
        f"companies/{klinikum}/customer-numbers/4711/customer-contracts/4711-1/states",
        f"workflows/{workflow_id}",
        "users/frida",
        "users/frida/roles",
        "users/frida/roles",
    ]
    frida = office.portal.users.by_email("frida@example.com")
    assert frida.last_name == "Fromm"
    assert frida.account.roles == {"ROLE_CUSTOMER_APPROVER", "ROLE_CUSTOMER_USER"}
    assert office.runs("plan", str(office.file), "--prune") == cli.FINE


def test_what_is_pending_is_told_and_not_done(office: Office) -> None:
    office.file.write_text(FILE)
    assert office.runs("plan", str(office.file)) == cli.PENDING
    assert "1. create company Klinikum" in office.out
    assert office.changes() == []


def test_a_rehearsal_tells_every_call_and_makes_none(office: Office) -> None:
    assert office.applies(FILE, "--dry-run", "--json") == cli.FINE
    told = json.loads(office.out)
    rehearsed = [(call["method"], call["path"]) for call in told["calls"] if not call["sent"]]
    assert office.changes() == []

    office.applies(FILE)
    made = [tuple(change.split(" ")) for change in office.changes()]
    assert [method for method, _ in rehearsed] == [method for method, _ in made]
    assert rehearsed[0] == made[0] == ("POST", "/v1/companies")
    assert "Authorization" not in json.dumps(told)


def test_apply_stops_at_the_first_failure_and_goes_on_later(office: Office) -> None:
    office.portal.faults.add(Fault(Kind.SERVER_ERROR, match="POST /v1/users", times=1))

    assert office.applies(FILE) == cli.FAILED
    lines = office.out.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == ["done", "done", "done", "FAILED"]
    assert all(line.startswith("not done:") for line in lines[4:]) and len(lines) > 4

    assert office.applies(FILE) == cli.FINE
    is_as_wanted(office)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_that_dies_at_any_call_leaves_what_the_next_one_finishes(new_office: NewOffice, after: bool) -> None:
    calls = counted(new_office())
    assert len(calls) > 15
    changing = [number for number, call in enumerate(calls, start=1) if not call.startswith("GET ")]
    for number in changing:
        office = new_office()
        with office.lifeline.cut(number, after=after), pytest.raises(Death):
            office.applies(FILE)

        assert office.applies(FILE) == cli.FINE, office.lifeline.cut_at_call
        is_as_wanted(office)
        assert office.runs("plan", str(office.file)) == cli.FINE, office.lifeline.cut_at_call


def counted(office: Office) -> list[str]:
    """Return the calls of an apply that comes to its end."""
    with office.lifeline.cut(0, after=False):
        office.applies(FILE)
    return list(office.lifeline.calls)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_renewal_that_dies_at_any_call_is_finished(new_office: NewOffice, after: bool) -> None:
    """The secret is deleted by mistake: the next apply renews it, and dies."""
    client = boto3.client("secretsmanager", region_name=REGION)
    for number in range(1, 20):
        office = new_office()
        office.applies(FILE)
        client.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
        with office.lifeline.cut(number, after=after):
            try:
                office.applies(FILE)
            except Death:
                died = True
            else:
                died = False
        assert office.applies(FILE) == cli.FINE, office.lifeline.cut_at_call
        if not died:
            return
        DocxworldSecret.model_validate(kept())
        access = office.portal.accesses.all()[0]
        assert kept()["auth"]["clientSecret"] in access.secrets, office.lifeline.cut_at_call
    raise AssertionError("a renewal takes fewer calls")
