"""The simulation itself: a few seeds of each portal, that a run repeats exactly, that it can fail, that it shrinks."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import pytest

from amtsbote.settings import Settings
from tests.simulation.boundary import Stroke
from tests.simulation.machine import FUNCTIONS
from tests.simulation.mutants import MUTANTS, PACKAGE, ROOT
from tests.simulation.run import OFFICES, Script, run, script_of
from tests.simulation.shrink import kind_of, shrink
from tests.template.loading import stack

SEEDS_EACH = 6


@pytest.mark.parametrize("portal", sorted(OFFICES))
@pytest.mark.parametrize("seed", range(10_000, 10_000 + SEEDS_EACH))
def test_nothing_is_lost_and_nothing_doubled(portal: str, seed: int) -> None:
    assert run(Script(seed, portal)).complaints == []


@pytest.mark.parametrize("portal", sorted(OFFICES))
def test_a_seed_repeats_its_run_call_by_call(portal: str) -> None:
    script = Script(4711, portal)
    first, second = run(script, with_history=True), run(script, with_history=True)
    assert first.history == second.history
    assert first.struck == second.struck


def test_a_seed_repeats_its_run_in_another_process() -> None:
    script = script_of(4712)
    here = "\n".join(run(script, with_history=True).history)
    command = [sys.executable, "-m", "tests.simulation", "--seed", "4712", "--history"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PACKAGE), str(ROOT))), "PYTHONHASHSEED": "7"}
    there = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert here[-20_000:] in there


def test_what_was_struck_can_be_given() -> None:
    drawn = run(Script(4713, "duba"), with_history=True)
    given = run(replace(drawn.script, strokes=drawn.struck), with_history=True)
    assert drawn.struck
    assert given.struck
    assert run(replace(drawn.script, strokes={}), with_history=True).struck == {}


def test_every_mutant_can_be_made() -> None:
    """The list stays in step with the code: each change fits exactly one place."""
    for mutant in MUTANTS:
        text = (PACKAGE / "amtsbote" / mutant.file).read_text(encoding="utf-8")
        assert text.count(mutant.old) == 1, mutant.mistake
        assert mutant.new != mutant.old
        assert mutant.portal in OFFICES


def test_a_run_that_fails_is_shortened_and_still_fails() -> None:
    with patch.object(Settings, "overlap", timedelta(0)):
        seeds = (Script(seed, "duba") for seed in range(100))
        failed = next(outcome for outcome in map(run, seeds) if outcome.complaints and outcome.struck)
        short = shrink(failed)
    assert kind_of(short) == kind_of(failed)
    assert len(short.struck) <= len(failed.struck)
    assert any(line.rpartition("!! ")[2] == short.complaints[0] for line in short.history)


def test_the_machine_has_the_templates_figures() -> None:
    rules = '[{"from": {"portal": "duba"}, "to": "docxworld/druck/BRIEF/{name}"}]'
    resources = stack(RoutingRules=rules).resources
    for function in FUNCTIONS.values():
        name = f"{function.name.capitalize()}{'All' if function.name in ('retain', 'route') else 'Duba'}"
        properties = resources[f"{name}Function"]["Properties"]
        event = properties["Events"]["Work"]["Properties"]
        queue = resources[f"{name}Queue"]["Properties"]
        variables = properties["Environment"]["Variables"]
        assert properties["Timeout"] == function.timeout
        assert event["BatchSize"] == function.batch
        assert queue["VisibilityTimeout"] == function.visibility
        assert queue["RedrivePolicy"]["maxReceiveCount"] == function.receives
        assert int(variables.get("AMTSBOTE_LEASE_SECONDS", 0)) == function.lease
        assert int(variables.get("AMTSBOTE_TRIES", 1)) == function.tries


def test_every_kind_of_stroke_is_dealt() -> None:
    dealt = set[str]()
    for seed in range(200):
        dealt |= set(run(script_of(seed)).tally.strokes)
        if len(dealt) == len(Stroke):
            break
    assert dealt == set(Stroke)
