"""The command line as a person uses it, at a simulated portal: output, exit codes, rehearsals, and no secret shown."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from amtsbote.cli.app import main
from amtsbote.cli.asking import Questions
from amtsbote.deliveries import received
from amtsbote.ledger import Ledger
from amtsbote.operations.office import Office
from amtsbote.storage import json_text
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import serve
from tests.unit.operations.support import acknowledged, create_stack, found, office, quarantined
from tests.unit.support import NOW, Clock, aws_client, later

PASSWORD = "geheim-wie-ein-Kanarienvogel"
KEPT = "quarantine/duba/klinikum/214/message-214.zip"


@pytest.fixture(scope="module")
def duba() -> Iterator[SimulatedDuba]:
    portal = SimulatedDuba(username="amtsbote", password=PASSWORD, clock=Clock())
    with serve(portal):
        yield portal


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
    """A person at a command line; `answers` are what they type when they are asked."""

    office: Office
    answers: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> Ran:
        """Run a command."""
        out, err = io.StringIO(), io.StringIO()
        questions = Questions(self._answer, self._answer)
        code = main(arguments, out=out, err=err, questions=questions, open_office=lambda _: self.office)
        return Ran(code, out.getvalue(), err.getvalue())

    def _answer(self, question: str) -> str:
        self.asked.append(question)
        return self.answers.pop(0)

    @property
    def ledger(self) -> Ledger:
        return self.office.ledger

    def connect(self, duba: SimulatedDuba, **more: Any) -> None:
        """Store the secret of the connection `duba/klinikum`."""
        body = {"baseUrl": duba.base_url, "username": "amtsbote", "password": PASSWORD, **more}
        self.office.vault.write("amtsbote/duba/klinikum", json.dumps(body))

    def keep(self, content: bytes = b"no ZIP") -> None:
        """Put bytes into quarantine."""
        self.office.s3.put_object(Bucket=self.office.stack.inbox_bucket, Key=KEPT, Body=content)

    def waiting(self, verb: str) -> list[Any]:
        """Return the requests that wait in a queue of DUBA."""
        answer = self.office.sqs.receive_message(QueueUrl=self.office.stack.queue_url(verb, "duba"))
        return [json.loads(each["Body"]) for each in answer.get("Messages", [])]


@pytest.fixture
def terminal(duba: SimulatedDuba) -> Iterator[Terminal]:
    with mock_aws():
        terminal = Terminal(office(create_stack(), Clock(), allow_loopback=True))
        terminal.connect(duba)
        yield terminal


# --- looking ---


def test_documents_are_a_table_newest_first(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("1"))
    quarantined(terminal.ledger, found("2", later(minutes=1)))
    head, *rows = terminal.run("documents").out.splitlines()
    assert head.split() == ["seenAt", "direction", "portal", "connection", "state", "id", "reason"]
    assert [row.split()[-3:] for row in rows] == [["QUARANTINED", "2", "NO_ZIP"], ["ACKNOWLEDGED", "1", "DELETED"]]


def test_documents_as_json_are_the_operations_answer(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("1", aktenzeichen="9 M 1/26"))
    for command in (("--json", "documents", "--case", "9 M 1/26"), ("documents", "--case", "9 m*", "--json")):
        said = terminal.run(*command).json
        assert [each["id"] for each in said["documents"]] == ["1"]
        assert said["documents"][0]["seenAt"] == "2026-02-19T14:30:00Z"
        assert said["more"] is None


def test_a_page_says_how_to_go_on(terminal: Terminal) -> None:
    for number in range(3):
        acknowledged(terminal.ledger, found(str(number), later(minutes=number)))
    first = terminal.run("documents", "--limit", "2").out
    token = first.splitlines()[-1].split("'")[1]
    assert terminal.run("documents", "--after", token).out.splitlines()[1].split()[-2] == "0"


def test_nothing_found_is_said(terminal: Terminal) -> None:
    assert terminal.run("documents", "--in", "--on", "tuesday").out == "nothing found\n"


def test_a_day_that_is_none_is_refused_with_examples(terminal: Terminal) -> None:
    ran = terminal.run("documents", "--on", "Dienstag")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "WRONG_MOMENT: Dienstag is no moment; say tuesday, yesterday, 2026-02-17 or so\n"


def test_show_tells_a_documents_whole_story(terminal: Terminal, tmp_path: Path) -> None:
    quarantined(terminal.ledger, found("214", aktenzeichen="9 M 1/26"))
    terminal.keep()
    ran = terminal.run("show", "duba/klinikum/214", "--files", str(tmp_path))
    assert ran.code == 0
    assert "QUARANTINED (NO_ZIP)" in ran.out
    assert f"message-214.zip, 6 bytes, s3://{terminal.office.stack.inbox_bucket}/{KEPT}" in ran.out
    assert (tmp_path / "message-214.zip").read_bytes() == b"no ZIP"
    said = terminal.run("--json", "show", "214").json
    assert [past["state"] for past in said["history"]] == ["DISCOVERED", "FETCHING", "QUARANTINED"]
    assert said["metadata"] == {"aktenzeichen": "9 M 1/26"}


def test_what_a_portal_says_cannot_move_the_cursor(terminal: Terminal) -> None:
    quarantined(terminal.ledger, found("214", subject="\x1b[2J\x07"))
    assert "\x1b" not in terminal.run("show", "214").out


def test_what_is_not_known_is_an_error_with_a_sentence(terminal: Terminal) -> None:
    ran = terminal.run("show", "4711")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "NOT_FOUND: nothing is known of 4711; look for it with `documents`\n"


def test_a_receipts_secret_is_left_out(terminal: Terminal) -> None:
    key = "duba/klinikum/F/a.json"
    link = "https://elim.example.com/?memento=geheim"
    said = {"outboxKey": key, "status": "DELIVERED", "result": {"magicLink": link}}
    bucket = terminal.office.stack.inbox_bucket
    terminal.office.s3.put_object(Bucket=bucket, Key=f"receipts/{key}.json", Body=json_text(said))
    assert "memento" not in terminal.run("receipt", key).out
    assert terminal.run("receipt", key, "--reveal", "--json").json["result"]["magicLink"] == link
    assert terminal.run("receipt", "duba/klinikum/F/b.json").code == 1


# --- the trail ---


def break_trail(terminal: Terminal, id: str) -> None:
    """Let somebody change a step in the table, behind the ledger's back."""
    key = {"pk": {"S": f"ITEM#duba#klinikum#{id}"}, "sk": {"S": "STATE"}}
    change = {"UpdateExpression": "SET history[1].#by = :by", "ExpressionAttributeNames": {"#by": "by"}}
    values = {":by": {"S": "operator:0"}}
    table = terminal.office.stack.ledger_table
    aws_client("dynamodb").update_item(TableName=table, Key=key, ExpressionAttributeValues=values, **change)


def test_show_says_whose_each_step_was(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("214"))
    assert "FETCHING by operator:" in terminal.run("show", "214").out
    assert terminal.run("--json", "show", "214").json["history"][1]["by"].startswith("operator:")


def test_a_trail_that_is_whole_is_told_and_fine(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("214"))
    ran = terminal.run("show", "214", "--verify")
    said = "trail of duba/klinikum/214: whole, 4 steps; 1 of them were kept before the trail was sealed"
    assert (ran.code, ran.out.splitlines()[-1]) == (0, said)
    assert terminal.run("--json", "show", "214", "--verify").json["trail"]["wrong"] == []
    assert "trail" not in terminal.run("--json", "show", "214").json


def test_a_trail_that_is_broken_is_told_with_the_place_and_ends_with_1(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("214"))
    break_trail(terminal, "214")
    ran = terminal.run("show", "214", "--verify")
    assert ran.code == 1
    assert "BROKEN" in ran.out
    assert "step 2 (FETCHING, 2026-02-19T14:30:00.000000Z) is not what it was" in ran.out


def test_audit_tells_every_step_and_every_action(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("214"))
    terminal.run("connections", "pause", "duba/klinikum")
    lines = terminal.run("audit").out.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["duba/klinikum/214"] * 4 + ["duba/klinikum"]
    assert [line.split("  ")[2].split()[0] for line in lines] == [
        *("DISCOVERED", "FETCHING", "STORED", "ACKNOWLEDGED", "pause")
    ]
    assert all(" by operator:" in line for line in lines[1:])


def test_audit_as_json_lines_is_one_object_per_line(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("214"))
    terminal.ledger.open_drop(received("outbox", "duba/klinikum/x/Käse.json", "v1", "1", ("duba", "klinikum"), NOW))
    for command in (("audit", "--jsonl"), ("--json", "audit", "--portal", "duba", "--connection", "klinikum")):
        said = [json.loads(line) for line in terminal.run(*command).out.splitlines()]
        assert {(line["kind"], line.get("id") or line["key"]) for line in said} == {
            ("item", "214"),
            ("delivery", "duba/klinikum/x/Käse.json"),
        }
        assert all(len(line["digest"]) == 32 for line in said)
    assert terminal.run("audit", "--jsonl", "--portal", "altinn").out == ""
    assert terminal.run("audit", "--jsonl", "--until", "2026-02-19T00:00+00:00").out == ""


def test_audit_verifies_a_whole_range_and_lists_what_is_broken(terminal: Terminal) -> None:
    for id in ("214", "215"):
        acknowledged(terminal.ledger, found(id))
    fine = terminal.run("audit", "--verify")
    assert (fine.code, fine.out.partition(":")[0]) == (0, "2 documents with 8 steps, 0 actions of people")
    break_trail(terminal, "215")
    ran = terminal.run("audit", "--verify")
    assert ran.code == 1
    assert ": 1 broken" in ran.out
    assert "trail of duba/klinikum/215: BROKEN" in ran.out
    said = terminal.run("--json", "audit", "--verify").json
    assert (said["brokenCount"], said["broken"][0]["document"]) == (1, "duba/klinikum/215")


# --- status ---


def test_status_is_fine_where_nothing_waits_for_a_person(terminal: Terminal) -> None:
    acknowledged(terminal.ledger, found("1"))
    ran = terminal.run("status")
    assert (ran.code, ran.out) == (0, "duba/klinikum: healthy, not polled yet; 1 acknowledged in a day\n")


def test_status_asks_for_a_person_where_one_is_needed(terminal: Terminal) -> None:
    quarantined(terminal.ledger, found("214"))
    terminal.office.sqs.send_message(QueueUrl=terminal.office.stack.dead_letter_queue_url, MessageBody="{}")
    ran = terminal.run("status")
    assert ran.code == 3
    assert ran.out.splitlines()[1:] == [
        "1 requests were given up: look with `redrive --dry-run`",
        "1 documents are in quarantine: look with `documents --state QUARANTINED`",
    ]
    said = terminal.run("status", "--json").json
    assert (said["deadLetters"], said["quarantined"]) == (1, 1)


def test_status_names_what_is_wrong_with_a_secret_and_never_a_value(terminal: Terminal, duba: SimulatedDuba) -> None:
    terminal.connect(duba, passwort=PASSWORD)
    ran = terminal.run("status")
    assert ran.code == 3
    assert "NOT WORKING (SECRET_INVALID: the secret amtsbote/duba/klinikum: passwort:" in ran.out
    assert PASSWORD not in ran.out


# --- deciding ---


def test_a_rehearsal_says_what_would_happen_and_changes_nothing(terminal: Terminal) -> None:
    before = quarantined(terminal.ledger, found("214"))
    terminal.keep()
    for command, said in (
        ("retry", "would fetch duba/klinikum/214 again from duba\n"),
        ("release", "would put message-214.zip (6 bytes) of duba/klinikum/214 into the inbox"),
    ):
        ran = terminal.run(command, "214", "--dry-run")
        assert ran.code == 0
        assert ran.out.startswith(said)
        assert "done" not in ran.out
    assert terminal.ledger.item("duba", "klinikum", "214") == before
    assert not terminal.waiting("fetch")


def test_retry_does_it_and_says_so(terminal: Terminal) -> None:
    quarantined(terminal.ledger, found("214"))
    ran = terminal.run("retry", "214")
    assert ran.out == "will fetch duba/klinikum/214 again from duba\ndone\n"
    assert terminal.waiting("fetch") == [{"portal": "duba", "connection": "klinikum", "id": "214"}]


def test_release_needs_kept_bytes(terminal: Terminal) -> None:
    quarantined(terminal.ledger, found("214"))
    ran = terminal.run("release", "214", "--json")
    assert ran.code == 1
    assert ran.err.startswith("NOTHING_KEPT: ")
    terminal.keep()
    said = terminal.run("release", "214", "--json").json
    assert said["done"] is True
    row = terminal.ledger.item("duba", "klinikum", "214")
    assert row is not None and row.state == "STORED"


def test_a_delivery_is_not_acknowledged(terminal: Terminal) -> None:
    bucket = terminal.office.stack.outbox_bucket
    terminal.ledger.open_drop(received(bucket, "duba/klinikum/F/a.json", "v1", "1", ("duba", "klinikum"), NOW))
    ran = terminal.run("acknowledge", "duba/klinikum/F/a.json")
    assert (ran.code, ran.err.partition(":")[0]) == (1, "NOT_INCOMING")


def test_redrive_shows_what_it_sends_back(terminal: Terminal) -> None:
    body = {"portal": "duba", "connection": "klinikum", "id": "214"}
    dead = terminal.office.stack.dead_letter_queue_url
    terminal.office.sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(body))
    rehearsed = terminal.run("redrive", "--dry-run", "--json").json
    assert [letter["about"] for letter in rehearsed["letters"]] == ["fetch of duba/klinikum/214"]
    assert "handle" not in rehearsed["letters"][0]
    ran = terminal.run("redrive")
    assert ran.out.splitlines()[-1] == "1 sent back to their queues, 0 left where they are"
    assert terminal.waiting("fetch") == [body]
    assert terminal.run("redrive").out.startswith("there are no dead letters\n")


def test_reconcile_queues_one_task_per_connection(terminal: Terminal) -> None:
    assert terminal.run("reconcile", "--portal", "duba").code == 0
    assert terminal.waiting("poll") == [{"portal": "duba", "connection": "klinikum", "task": "reconcile"}]


# --- connections ---


def test_connections_are_listed_with_what_is_wrong(terminal: Terminal) -> None:
    terminal.office.vault.write("amtsbote/altinn/a", "{}")
    said = terminal.run("connections", "list", "--json").json
    assert [(each["connection"], each["enabled"]) for each in said] == [("altinn/a", False), ("duba/klinikum", True)]
    assert "apps" in said[0]["problem"]


def test_a_connection_is_added_by_answering_questions(terminal: Terminal, duba: SimulatedDuba) -> None:
    terminal.answers = [duba.base_url, "amtsbote", PASSWORD]
    ran = terminal.run("connections", "add", "duba/verwaltung")
    assert ran.code == 0
    assert terminal.asked == ["baseUrl: ", "username: ", "password (not shown): "]
    assert PASSWORD not in ran.out
    assert json.loads(terminal.office.vault.read("amtsbote/duba/verwaltung") or "")["password"] == PASSWORD


def test_a_form_of_login_is_chosen_before_its_values(terminal: Terminal) -> None:
    terminal.answers = ["org/app, org/other", "bearer", "ey.x.y"]
    ran = terminal.run("connections", "add", "altinn/a", "--dry-run")
    assert terminal.asked == [
        "apps (several with commas): ",
        "auth.kind (maskinporten or bearer): ",
        "auth.token (not shown): ",
    ]
    assert ran.code == 1, "there is no Altinn to be reached"
    assert ran.err.startswith("LOGIN_FAILED: nothing was stored: ")
    assert terminal.office.vault.read("amtsbote/altinn/a") is None


def test_a_login_that_does_not_work_is_not_stored(terminal: Terminal, duba: SimulatedDuba) -> None:
    terminal.answers = [duba.base_url, "amtsbote", "falsch-und-geheim"]
    ran = terminal.run("connections", "add", "duba/verwaltung")
    assert ran.code == 1
    assert ran.err.startswith("LOGIN_FAILED: nothing was stored: LOGIN_REFUSED")
    assert "falsch-und-geheim" not in ran.out + ran.err
    assert terminal.office.vault.read("amtsbote/duba/verwaltung") is None


def test_nobody_is_asked_for_a_connection_that_there_is(terminal: Terminal) -> None:
    assert terminal.run("connections", "add", "duba/klinikum").err.startswith("CONNECTION_EXISTS: ")
    assert terminal.run("connections", "add", "bauamt/a").err.startswith("UNKNOWN_PORTAL: ")
    assert terminal.run("connections", "add", "duba/Groß").err.startswith("WRONG_CONNECTION: ")
    assert not terminal.asked


def test_a_secret_in_a_file_must_be_its_owners_alone(terminal: Terminal, duba: SimulatedDuba, tmp_path: Path) -> None:
    file = tmp_path / "secret.json"
    file.write_text(json.dumps({"baseUrl": duba.base_url, "username": "amtsbote", "password": PASSWORD}))
    file.chmod(0o644)
    command = ("connections", "add", "duba/verwaltung", "--file", str(file), "--dry-run")
    assert terminal.run(*command).err.startswith("FILE_NOT_PRIVATE: ")
    file.chmod(0o600)
    ran = terminal.run(*command)
    assert ran.out.splitlines() == [
        f"duba/verwaltung: the login works, and the portal lists {len(duba.messages)} documents",
        "would store the secret amtsbote/duba/verwaltung, which switches duba/verwaltung on",
    ]
    assert terminal.office.vault.read("amtsbote/duba/verwaltung") is None


def test_a_test_that_fails_says_why_and_ends_with_1(terminal: Terminal, duba: SimulatedDuba) -> None:
    assert terminal.run("connections", "test", "duba/klinikum").code == 0
    terminal.connect(duba, password="falsch")
    ran = terminal.run("connections", "test", "duba/klinikum")
    assert ran.code == 1
    assert ran.out.startswith("duba/klinikum: NOT WORKING: LOGIN_REFUSED: ")


def test_pause_and_resume_keep_everything_else(terminal: Terminal) -> None:
    before = json.loads(terminal.office.vault.read("amtsbote/duba/klinikum") or "")
    assert terminal.run("connections", "pause", "duba/klinikum", "--dry-run").out.startswith("would switch ")
    assert json.loads(terminal.office.vault.read("amtsbote/duba/klinikum") or "") == before
    terminal.run("connections", "pause", "duba/klinikum")
    assert json.loads(terminal.office.vault.read("amtsbote/duba/klinikum") or "") == before | {"enabled": False}
    assert terminal.run("connections", "pause", "duba/nirgends").code == 1
    terminal.run("connections", "resume", "duba/klinikum")
    assert json.loads(terminal.office.vault.read("amtsbote/duba/klinikum") or "") == before | {"enabled": True}


# --- the command line itself ---


@pytest.mark.parametrize("arguments", [[], ["sing"], ["documents", "--in", "--out"], ["show"], ["connections"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_an_aws_profile_that_is_none_is_told() -> None:
    err = io.StringIO()
    assert main(["--profile", "no-such-profile", "status"], out=io.StringIO(), err=err) == 1
    assert err.getvalue().startswith("AWS_INVALID: ")


def test_a_refusal_of_aws_is_one_line_without_its_words(terminal: Terminal) -> None:
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/none"
    terminal.office.stack = replace(terminal.office.stack, dead_letter_queue_url=url)
    ran = terminal.run("redrive")
    assert ran.code == 1
    assert ran.err.startswith("AWS_REFUSED: ") and ran.err.count("\n") == 1
