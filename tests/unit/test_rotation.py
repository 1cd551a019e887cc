"""What is next in a rotation, judged by labels and by the portal's word; and what a step's request may be."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from pydantic import ValidationError

from amtsbote.connections import CACHE_SECONDS
from amtsbote.deadline import RESERVE_SECONDS
from amtsbote.errors import Misconfigured
from amtsbote.rotation import (
    CURRENT,
    PENDING,
    Completion,
    Creation,
    Fresh,
    PortalState,
    RotationRequest,
    Staged,
    Step,
    Versions,
    check_turn,
    plan_completion,
    plan_creation,
    seconds_to_settle,
    staged_label,
    still_open,
)
from tests.template.loading import load_template, stack

NOW = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
TOKEN = "3f1c9a52-7d84-4b0e-9e6a-5c2d8f4b7a10"
LABEL = staged_label(NOW)
OURS, THEIRS = PortalState(True, NOW), PortalState(True, NOW + timedelta(hours=1))
CLOSED, UNSAID = PortalState(False), PortalState(True)


def versions(**labels: set[str]) -> Versions:
    """Return the versions of a secret that rotates; `new` is that of the token."""
    named = {TOKEN if name == "new" else name: frozenset(each) for name, each in labels.items()}
    return Versions("amtsbote/docxworld/klinikum", named)


def request(**changes: str) -> RotationRequest:
    """Return a request that differs in some fields."""
    event = {"SecretId": "a", "ClientRequestToken": TOKEN, "Step": "createSecret"}
    return RotationRequest.model_validate(event | changes)


@pytest.mark.parametrize("step", Step)
def test_a_step_may_be_spelt_in_two_ways(step: Step) -> None:
    assert request(Step=step.value).step is step
    assert request(Step=step.value.replace("Secret", "_secret")).step is step


@pytest.mark.parametrize(
    "changes", [{"Step": "kanarienvogel"}, {"ClientRequestToken": "kanarienvogel"}, {"SecretId": ""}], ids=str
)
def test_a_request_that_cannot_be_carried_out_is_refused_without_its_values(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        request(**changes)
    assert "kanarienvogel" not in str(refused.value).replace("createSecret", "")


@pytest.mark.parametrize(("token", "passed_on"), [("", None), ("short", None), ("a" * 36, "a" * 36), ("ä" * 40, None)])
def test_a_rotation_token_is_passed_on_only_if_it_will_be_taken(token: str, passed_on: str | None) -> None:
    assert request(RotationToken=token).token_to_pass_on() == passed_on
    assert request().token_to_pass_on() is None


def test_a_new_secret_does_not_show_in_its_representation() -> None:
    assert "kanarienvogel" not in repr(Fresh("kanarienvogel", NOW))
    assert "kanarienvogel" not in repr(request(RotationToken="kanarienvogel" * 4))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (replace(versions(new={PENDING}), rotation_enabled=False), "ROTATION_NOT_ENABLED"),
        (versions(old={CURRENT}), "ROTATION_UNKNOWN"),
        (versions(old={CURRENT}, new={"AWSPREVIOUS"}), "ROTATION_NOT_PENDING"),
        (versions(old={CURRENT}, new={LABEL}), "ROTATION_NOT_PENDING"),
    ],
)
def test_a_step_that_is_not_due_is_refused(found: Versions, code: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        check_turn(found, TOKEN)
    assert refused.value.code == code


@pytest.mark.parametrize("labels", [{PENDING}, {CURRENT}, {CURRENT, PENDING}, {CURRENT, LABEL}])
def test_a_step_that_may_have_something_to_do_is_let_through(labels: set[str]) -> None:
    check_turn(versions(old={"AWSPREVIOUS"}, new=labels), TOKEN)


def test_a_label_tells_when_its_rotation_was_started() -> None:
    assert LABEL == "AMTSBOTE_STAGED_20260219T143000Z"
    assert Staged("v", LABEL).started_at == NOW
    assert Staged("v", staged_label(None)).started_at is None
    assert Staged("v", staged_label(NOW.astimezone())).started_at == NOW


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, True),
        (CLOSED, False),
        (UNSAID, True),
        (OURS, True),
        (PortalState(True, NOW + timedelta(seconds=59)), True),
        (THEIRS, False),
        (PortalState(True, NOW - timedelta(minutes=2)), False),
    ],
)
def test_an_open_rotation_is_ours_if_it_was_started_when_ours_was(state: PortalState | None, expected: bool) -> None:
    assert still_open(Staged("v", LABEL), state) is expected
    assert still_open(Staged("v", staged_label(None)), state) is (state is None or state.is_open)


@pytest.mark.parametrize(
    ("labels", "state", "expected"),
    [
        ({"old": {CURRENT}}, CLOSED, Creation.BEGIN),
        ({"old": {CURRENT}}, THEIRS, Creation.BEGIN),
        ({"old": {CURRENT, LABEL}}, OURS, Creation.COMPLETE_FIRST),
        ({"old": {CURRENT, LABEL}}, None, Creation.COMPLETE_FIRST),
        ({"old": {CURRENT, LABEL}}, CLOSED, Creation.BEGIN),
        ({"old": {CURRENT, LABEL}}, THEIRS, Creation.BEGIN),
        ({"old": {CURRENT}, "given-up": {LABEL}}, OURS, Creation.ADOPT),
        ({"old": {CURRENT}, "given-up": {LABEL}}, CLOSED, Creation.BEGIN),
        ({"old": {CURRENT, LABEL}, "given-up": {staged_label(NOW - timedelta(days=1))}}, OURS, Creation.COMPLETE_FIRST),
    ],
)
def test_what_create_secret_does(labels: dict[str, set[str]], state: PortalState | None, expected: Creation) -> None:
    assert plan_creation(versions(new={PENDING}, **labels), state) is expected


def test_nothing_is_completed_unless_the_current_version_is_that_of_the_open_rotation() -> None:
    """Given every place that the labels can be at, and every word of the portal."""
    places = ("old", "new", "other")
    for current, staged, state in product(places, (*places, None), (None, CLOSED, UNSAID, OURS, THEIRS)):
        labels = {name: {"AWSPREVIOUS"} for name in places}
        labels[current].add(CURRENT)
        if staged is not None:
            labels[staged].add(LABEL)
        plan = plan_completion(versions(**labels), state)
        is_open = state in (None, UNSAID, OURS)
        assert (plan is Completion.COMPLETE) == (current == staged and is_open)
        assert (plan is Completion.NOT_OURS) == (staged not in (None, current) and is_open)


@pytest.mark.parametrize(
    ("moved_seconds_ago", "left"), [(None, 90), (0, 90), (30, 60), (90, 0), (1000, 0), (-5, 90), (-1000, 90)]
)
def test_the_older_secret_lives_for_the_time_that_caches_need(moved_seconds_ago: int | None, left: int) -> None:
    moved_at = None if moved_seconds_ago is None else NOW - timedelta(seconds=moved_seconds_ago)
    assert seconds_to_settle(moved_at, NOW, 90) == left


def test_the_function_has_time_to_let_every_cache_run_out() -> None:
    settle, timeout = load_template()["Parameters"]["RotationSettleSeconds"], stack().rotating().timeout_seconds
    assert CACHE_SECONDS < settle["Default"] <= settle["MaxValue"] < timeout - RESERVE_SECONDS
