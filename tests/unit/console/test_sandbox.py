"""What `make up` says of the console that comes with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.__main__ import _announce, _parser
from sandbox.deployment import StackOutputs

CONTRACT = {"awsEndpoint", "region", "stack", "accessKeyId", "secretAccessKey", "portals"}
CONSOLE = "http://127.0.0.1:8931/enter?key=k"


class Aws:
    """What is said of an embedded AWS."""

    endpoint, region, access_key_id, secret_access_key = "http://127.0.0.1:1", "eu-central-1", "test", "test"


def said(console: str | None, capsys: pytest.CaptureFixture[str], *, as_json: bool) -> str:
    """Return what is printed."""
    aws: Any = Aws()
    _announce(aws, StackOutputs("inbox", "outbox", "ledger", "amtsbote", "", None), {}, console, as_json=as_json)
    return capsys.readouterr().out


def test_the_line_of_json_gains_the_address_and_keeps_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    line = json.loads(said(CONSOLE, capsys, as_json=True))
    assert line.keys() == CONTRACT | {"console"}
    assert line["console"] == CONSOLE


def test_without_a_console_all_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(None, capsys, as_json=True)).keys() == CONTRACT
    assert "console" not in said(None, capsys, as_json=False)


def test_people_are_told_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"console            {CONSOLE}\n" in said(CONSOLE, capsys, as_json=False)


def test_it_can_be_left_out() -> None:
    assert _parser().parse_args(["up", "--no-console"]).no_console
    assert not _parser().parse_args(["up"]).no_console


def test_the_docs_show_pictures_that_are_there() -> None:
    docs = Path(__file__).parents[3] / "docs"
    text = (docs / "operating.md").read_text(encoding="utf-8")
    named = [part.partition(")")[0] for part in text.split("](images/")[1:]]
    assert named
    assert [name for name in named if not (docs / "images" / name).exists()] == []
