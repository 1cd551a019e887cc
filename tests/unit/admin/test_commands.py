"""Every documented exchange of the administration as a command line: what goes over the wire is the documented one."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from amtsbote.admin.cli import parser
from amtsbote.admin.commands import COMMANDS, Command, Desk
from amtsbote.admin.handover import Handover
from amtsbote.portals.docxworld.resources.base import ROLE_HEADER
from tests.unit.portals.docxworld.test_contract import ACCESS, BY_ID, ID, Recorder, answer_of, client_on

OTHER = ID[:-1] + "2"
BODY = "BODY"  # stands for a file with the documented body
FEBRUARY, JANUARY = "INACTIVE@2121-02-01T11:22:33.456Z", "ACTIVE@2121-01-31T11:22:33.456Z"
FIFTH = "INACTIVE@2121-02-05T11:22:33.456Z"
BEGINS = ("2121-02-15T11:22:33.456Z", "2121-02-25T11:22:33.456Z")
ANY_FILTER = {"page", "size", "sort"}
"""What the command line leaves to itself: it pages through lists."""

LINES: dict[int, tuple[str, ...]] = {
    1: ("users", "create", "email@email.com", "--first-name", "Max", "--last-name", "Musterman", "--status", "ACTIVE"),
    2: ("users", "get", "123"),
    3: (
        *("users", "list", "--search", "email", "--with-role", "ROLE_NO_ROLE", "--with-role", "customer-user"),
        *("--company", "SYS_COMPANY", "--company", ID, "--sort", "email", "--sort", "status,DESC"),
    ),
    4: ("users", "update", "123", "--first-name", "Max", "--last-name", "Musterman"),
    5: ("users", "set-state", "123", "ACTIVE"),
    6: ("roles", "assign", "123", "pf-admin"),
    7: ("roles", "retract", "123", "ROLE_PF_ADMIN"),
    8: ("contracts", "assign", "123", "pf-admin", "number1"),
    9: ("contracts", "remove", "123", "pf-admin", "number1"),
    10: ("targets", "assign", "123", "customer-uploader", ID),
    11: ("targets", "remove", "123", "customer-uploader", ID),
    12: ("roles", "list"),
    13: ("settings", "get"),
    14: ("settings", "update", "ALL_ASSIGNED"),
    15: ("users", "reset-initial-password", "123"),
    16: ("technical-access", "create", ID, "download integration", "customer-uploader"),
    17: ("technical-access", "list", "--company", ID),
    18: ("technical-access", "set-state", ACCESS, "INACTIVE"),
    19: ("technical-access", "delete", ACCESS),
    20: ("technical-access", "start-rotation", ACCESS),
    21: ("technical-access", "complete-rotation", ACCESS),
    30: ("companies", "get", ID),
    31: ("companies", "list"),
    32: ("companies", "list", "--search", "123"),
    33: ("companies", "create", "--body", BODY),
    34: ("companies", "create", "Profiforms", "--limit", "0", "--number", "customerNumber_1"),
    35: ("companies", "create", "--body", BODY),
    36: ("companies", "rename", ID, "Company Name"),
    37: ("companies", "set-limit", ID, "100"),
    38: ("customer-numbers", "add-all", ID, "--body", BODY),
    39: ("customer-numbers", "add-states", ID, "1", JANUARY, FIFTH),
    40: ("customer-numbers", "delete", ID, "67"),
    41: ("customer-numbers", "delete-states", ID, "1", *BEGINS),
    42: ("customer-contracts", "describe", ID, "1", "2", "new description"),
    43: ("customer-contracts", "add-all", ID, "1", "--body", BODY),
    44: ("customer-contracts", "add-states", ID, "1", "1", JANUARY, FIFTH),
    45: ("customer-contracts", "delete", ID, "customerNumber-1", "3124"),
    46: ("customer-contracts", "delete-states", ID, "1", "1", *BEGINS),
    47: ("companies", "dw24"),
    48: (
        *(
            "contracts",
            "list",
            "--sort",
            "fileType,DESC",
            "--sort",
            "uploadType,DESC",
            "--contract",
            "customerContract",
        ),
        *("--number", "customerNumber", "--company", ID, "--upload-type", "JOB", "--file-type", "PDF"),
        *("--approvable", "yes", "--collectable", "yes", "--state", "ACTIVE", "--expected-file-format", "PDF"),
    ),
    50: (
        *("workflows", "create", "W1", "workflow 1", "customerContract-1-1", "--description", "description workflow 1"),
        *("--approval-needed", "no", "--escalation-days", "0", "--approvers-days", "0", "--status", "ACTIVE"),
        *("--receiver", "https://external-receiver-url"),
    ),
    52: (
        *("workflows", "update-settings", ID, "--approval-needed", "yes", "--escalation-days", "0"),
        *("--approvers-days", "0"),
    ),
    53: ("workflows", "set-status", ID, "INACTIVE"),
    54: ("workflows", "get", ID),
    55: (
        *("workflows", "list", "--search", "345", "--name", "workflow", "--contract", "1", "--contract", "2"),
        *("--company", ID, "--company", OTHER, "--abbreviation", "w1", "--approval-needed", "no"),
    ),
    56: ("targets", "get", ID),
    57: (
        *("targets", "list", "--contract", "1", "--contract", "2", "--company", ID, "--company", OTHER),
        *("--workflow", ID, "--workflow", OTHER),
    ),
}
ADMINISTRATION = {*range(1, 22), *range(30, 58)} - {49, 51}
"""49 is 48 once more; 51 is preceded by a read and has a test of its own."""

TITLED = [pytest.param(number, id=f"{number}-{BY_ID[number]['title']}") for number in LINES]


def parsed(line: tuple[str, ...]) -> Namespace:
    return parser().parse_args(["docxworld", "--base-url", "http://127.0.0.1", *line])


def command_of(line: tuple[str, ...]) -> Command:
    return next(each for each in COMMANDS if (each.resource, each.action) == line[:2])


def sent_by(number: int, line: tuple[str, ...], answer: Any = None) -> list[Any]:
    exchange = BY_ID[number]
    recorder = Recorder(*(answer or answer_of(exchange)))
    role = exchange["request"]["headers"].get(ROLE_HEADER, "ROLE_CUSTOMER_ADMIN")
    handover = Handover("http://127.0.0.1", lambda _: None, lambda: pytest.fail("no vault"), None)
    command_of(line).run(Desk(client_on(recorder), role, handover), parsed(line))
    return recorder.requests


def with_body(number: int, folder: Path) -> tuple[str, ...]:
    file = folder / "body.json"
    file.write_text(json.dumps(BY_ID[number]["request"]["body"]))
    return tuple(str(file) if part == BODY else part for part in LINES[number])


def without_nulls(body: Any) -> Any:
    """Return a body without what is not sent because it was not given."""
    return {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body


def test_every_documented_call_of_the_administration_has_a_command() -> None:
    assert set(LINES) == ADMINISTRATION


@pytest.mark.parametrize("number", TITLED)
def test_a_command_sends_the_documented_request(number: int, tmp_path: Path) -> None:
    documented, line = BY_ID[number]["request"], with_body(number, tmp_path)
    (sent,) = sent_by(number, line)
    parts = urlsplit(str(sent.url))
    assert (sent.method, parts.path) == (documented["method"], documented["path"])
    assert narrowed(parse_qsl(parts.query), line) == narrowed(documented["query"], line)
    assert sent.headers[ROLE_HEADER] == documented["headers"].get(ROLE_HEADER, "ROLE_CUSTOMER_ADMIN")
    assert without_nulls(json.loads(sent.body or "null")) == without_nulls(documented["body"])


def narrowed(query: list[Any], line: tuple[str, ...]) -> list[tuple[str, str]]:
    left_alone = ANY_FILTER - ({"sort"} if "--sort" in line else set())
    return sorted((name, value) for name, value in query if name not in left_alone)


def test_a_workflow_keeps_what_is_not_given() -> None:
    line = ("workflows", "update", ID, "--name", "newName")
    recorded = sent_by(54, line)
    assert [each.method for each in recorded] == ["GET", "PUT"]
    assert json.loads(recorded[1].body) == {
        "name": "newName",
        "abbreviation": "W1",
        "description": "description workflow 1",
    }


def test_a_list_can_be_cut_short() -> None:
    recorder = Recorder(*answer_of(BY_ID[3]))
    line = ("users", "list", "--first", "1")
    desk = Desk(
        client_on(recorder), "ROLE_PF_ADMIN", Handover("", lambda _: None, lambda: pytest.fail("no vault"), None)
    )
    assert len(command_of(line).run(desk, parsed(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        ("users",),
        ("users", "explode"),
        ("roles", "assign", "123", "nobody"),
        ("users", "set-state", "123", "MAYBE"),
        ("companies", "set-limit", ID, "101"),
        ("customer-numbers", "delete-states", ID, "1", "2027-01-01T00:00:00"),
        ("contracts", "list", "--approvable", "perhaps"),
        ("--json", "users", "list", "--json", "--table"),
    ],
)
def test_wrong_usage_ends_with_two(line: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(line)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
