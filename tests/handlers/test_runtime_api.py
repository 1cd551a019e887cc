"""The host itself: it says what Lambda says of handlers that end badly. The handlers here are a few lines each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.handlers.runtime_api import EXITED, TIMED_OUT, HostedFunction

OBEDIENT = """
import os, time
calls = 0
def handler(event, context):
    global calls
    calls += 1
    match event["do"]:
        case "count":
            return calls
        case "remaining":
            return [context.aws_request_id, context.get_remaining_time_in_millis()]
        case "sleep":
            time.sleep(30)
        case "exit":
            os._exit(3)
        case "raise":
            raise LookupError("nothing there")
        case "environment":
            return dict(os.environ)
"""
NewFunction = Callable[[str], HostedFunction]


@pytest.fixture
def function_of(tmp_path: Path) -> Iterator[NewFunction]:
    """Provide a maker of functions from the text of their app.py."""
    made: list[HostedFunction] = []

    def make(code: str) -> HostedFunction:
        (tmp_path / "app.py").write_text(code, encoding="utf-8")
        made.append(HostedFunction("probe", tmp_path, {"AWS_REGION": "eu-central-1"}, timeout_seconds=20))
        return made[-1]

    yield make
    for function in made:
        function.stop()


def test_one_process_serves_many_invocations_and_knows_its_deadline(function_of: NewFunction) -> None:
    function = function_of(OBEDIENT)
    assert [function.invoke({"do": "count"}).payload for _ in range(3)] == [1, 2, 3]

    result = function.invoke({"do": "remaining"}, timeout_seconds=5)
    request_id, remaining = result.payload
    assert (request_id, result.cold, result.error_type) == (result.request_id, False, None)
    assert 4000 < remaining <= 5000
    assert result.seconds < 1, "without TCP_NODELAY each answer is late"


def test_a_process_sees_nothing_of_the_environment_around_it(
    function_of: NewFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMTSBOTE_PORTAL", "of the developer's shell")
    seen = function_of(OBEDIENT).invoke({"do": "environment"}).payload
    assert "AMTSBOTE_PORTAL" not in seen
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "probe"


def test_a_function_that_takes_too_long_is_killed_and_starts_afresh(function_of: NewFunction) -> None:
    function = function_of(OBEDIENT)
    function.invoke({"do": "count"})

    result = function.invoke({"do": "sleep"}, timeout_seconds=0.4)
    assert result.error_type == TIMED_OUT
    said = f"RequestId: {result.request_id} Error: Task timed out after 0.40 seconds"
    assert result.payload["errorMessage"] == said
    assert f"{result.request_id} Task timed out after 0.40 seconds" in result.log

    afresh = function.invoke({"do": "count"})
    assert (afresh.payload, afresh.cold) == (1, True)


def test_a_process_that_ends_by_itself_is_reported_with_its_status(function_of: NewFunction) -> None:
    result = function_of(OBEDIENT).invoke({"do": "exit"})
    assert result.error_type == EXITED
    assert result.payload["errorMessage"].endswith("Runtime exited with error: exit status 3")


def test_an_error_has_its_own_type_and_leaves_the_process_alive(function_of: NewFunction) -> None:
    function = function_of(OBEDIENT)
    result = function.invoke({"do": "raise"})
    assert (result.error_type, result.payload["errorMessage"]) == ("LookupError", "nothing there")
    assert function.invoke({"do": "count"}).payload == 2


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("import no_such_module_anywhere", "Runtime.ImportModuleError"),
        ("def handler(:", "Runtime.UserCodeSyntaxError"),
        ("def other(event, context): ...", "Runtime.HandlerNotFound"),
        ("raise OSError('at import')", "OSError"),
    ],
)
def test_an_initialisation_that_fails_is_reported_by_its_type(
    function_of: NewFunction, code: str, error_type: str
) -> None:
    result = function_of(code).invoke({})
    assert (result.failed, result.error_type) == (True, error_type)
