"""docs/runbook.md is true: each alarm has its section, each section its parts, and each command is one there is."""

import re
import shlex
from pathlib import Path

import pytest

from amtsbote.cli.app import parser
from tests.template.loading import load_template, stack
from tests.template.test_alarms import counted

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+Alarm)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
ALARMS = stack().of_type("AWS::CloudWatch::Alarm")
COMMAND = "python -m amtsbote.cli "
PARTS = ("Means", "Look", "Do", "Call")


def commands(text: str) -> list[str]:
    """Return the command lines of a text, without what they all begin with."""
    return re.findall(rf"^    {re.escape(COMMAND)}(.+)$", text, re.MULTILINE)


def section_of(alarm: str) -> str:
    """Return the section that an alarm's description names."""
    (section,) = re.findall(r"docs/runbook\.md, (\w+Alarm)", ALARMS[alarm]["AlarmDescription"])
    return str(section)


@pytest.mark.parametrize("alarm", ALARMS)
def test_each_alarm_has_its_section(alarm: str) -> None:
    assert section_of(alarm) in SECTIONS
    assert alarm.endswith(section_of(alarm))


def test_no_section_is_without_an_alarm_and_all_are_in_the_table() -> None:
    assert SECTIONS.keys() == {section_of(alarm) for alarm in ALARMS}
    listed = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \|", RUNBOOK, re.MULTILINE)
    assert {name for name, _ in listed} == SECTIONS.keys()
    assert set(re.findall(r"\(#(\w+)\)", RUNBOOK)) <= {name.lower() for name in SECTIONS}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_says_what_it_means_where_to_look_what_to_do_and_whom_to_call(section: str) -> None:
    assert tuple(re.findall(r"^\*\*(\w+)\.?\*\*", SECTIONS[section], re.MULTILINE)) == PARTS
    assert commands(SECTIONS[section])


@pytest.mark.parametrize("command", sorted(set(commands(RUNBOOK))))
def test_each_command_is_one_that_the_command_line_takes(command: str) -> None:
    assert parser().parse_args(shlex.split(command)).command == command.split(maxsplit=1)[0]


@pytest.mark.parametrize("alarm", ALARMS)
def test_each_command_of_an_alarm_is_one_that_its_section_tells_of(alarm: str) -> None:
    said = ALARMS[alarm]["AlarmDescription"]
    named = re.findall(rf"{re.escape(COMMAND)}([a-z]+)", said) + re.findall(r"then run (connections test)", said)
    told = commands(SECTIONS[section_of(alarm)])
    assert [each for each in named if not any(line.startswith(each) for line in told)] == []


def test_what_the_command_line_does_not_take_would_show(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("statuses", "connections mend duba/klinikum", "redrive --force"):
        with pytest.raises(SystemExit):
            parser().parse_args(shlex.split(wrong))
    assert capsys.readouterr().err


def test_each_parameter_that_is_named_exists() -> None:
    named = set(re.findall(r"`(\w+(?:Alarm(?:Seconds|Count|Email)|Email|Rate|Concurrency))`", RUNBOOK))
    assert len(named) > 5
    assert named <= load_template()["Parameters"].keys()


@pytest.mark.parametrize(
    ("portal", "days"), re.findall(r"([a-z-]+) (\d+) days, as", RUNBOOK.partition("The defaults:")[2].split("\n")[0])
)
def test_the_days_that_are_named_are_the_defaults(portal: str, days: str) -> None:
    name = f"{''.join(part.title() for part in portal.split('-'))}UnacknowledgedAlarmSeconds"
    assert int(stack().parameters[name]) == int(days) * 24 * 3600


def test_the_table_of_metrics_has_all_that_the_code_counts() -> None:
    table = RUNBOOK.partition("| metric | counts |\n")[2].partition("\n\n")[0]
    listed = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == counted() | {"ColdStart"}


def test_each_path_is_there() -> None:
    paths = re.findall(r"`((?:tests|docs)/[^`]+)`", RUNBOOK) + [
        f"docs/{p}" for p in re.findall(r"\]\((\w+\.md)\)", RUNBOOK)
    ]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
