"""The console as a server: on this machine only, with sentences where it cannot start, and let go of at the end."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import build_opener

import pytest
from moto import mock_aws

from amtsbote.operations.office import Office
from console.__main__ import parser
from console.guard import ENTRANCE
from console.server import PortTaken, serving
from tests.unit.operations.support import create_stack, office
from tests.unit.support import Clock

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60


@pytest.fixture
def desk() -> Iterator[Office]:
    with mock_aws():
        yield office(create_stack(), Clock())


def port_of(url: str) -> int:
    """Return the port of an address."""
    return int(url.partition("127.0.0.1:")[2].partition("/")[0])


def test_the_address_that_it_gives_lets_one_in_and_nothing_else_does(desk: Office) -> None:
    with serving(desk, {}) as url:
        base = url.partition(ENTRANCE)[0]
        with pytest.raises(HTTPError, match="401"):
            build_opener().open(base)
        answer = build_opener().open(url)
        assert answer.status == 200
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert "Server" not in answer.headers


def test_it_listens_on_this_machine_only(desk: Office) -> None:
    with serving(desk, {}) as url, socket.socket() as elsewhere:
        elsewhere.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elsewhere.bind(("127.0.0.2", port_of(url)))


def test_its_port_is_free_again_at_the_end(desk: Office) -> None:
    with serving(desk, {}) as url:
        port = port_of(url)
    with serving(desk, {}, port) as again:
        assert port_of(again) == port


def test_a_taken_port_is_named(desk: Office) -> None:
    with serving(desk, {}) as url, pytest.raises(PortTaken, match=str(port_of(url))), serving(desk, {}, port_of(url)):
        pytest.fail("two of them cannot be there")


@pytest.mark.parametrize("wrong", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--port", wrong])
    assert "--port" in capsys.readouterr().err


def start(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m console` against an AWS that is not there."""
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1", "AWS_CONFIG_FILE": "/none"}
    return subprocess.run(
        [sys.executable, "-m", "console", "--region", "eu-central-1", *arguments],
        cwd=ROOT,
        env=os.environ | keys,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_a_stack_that_cannot_be_seen_is_told_of_in_a_sentence() -> None:
    ended = start("--endpoint-url", "http://127.0.0.1:9")
    assert ended.returncode == 1
    assert ended.stderr.startswith("STACK_MISSING: there is no stack amtsbote to be seen")
    assert "Traceback" not in ended.stderr


def test_a_profile_that_is_not_there_is_told_of_in_a_sentence() -> None:
    ended = start("--profile", "nobody")
    assert ended.returncode == 1
    assert ended.stderr.startswith("AWS_INVALID: ")
    assert "--profile" in ended.stderr
