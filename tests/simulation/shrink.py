"""From a run that failed to the shortest history that fails in the same way: fewer strokes, and workers in line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tests.simulation.boundary import Stroke
from tests.simulation.run import Outcome, Script, run

TRIES_AT_MOST = 150
Strokes = Mapping[int, Stroke]


def shrink(failed: Outcome) -> Outcome:
    """Return the shortest run found that complains of the same thing first; its history is complete."""
    wanted, tries = kind_of(failed), 0

    def fails(script: Script) -> bool:
        nonlocal tries
        tries += 1
        return tries <= TRIES_AT_MOST and kind_of(run(script)) == wanted

    best = replace(failed.script, strokes=failed.struck)
    if not fails(best):  # what was drawn does not repeat what was given: leave it as it is
        return run(failed.script, with_history=True)
    best = replace(best, strokes=_fewer(best.strokes or {}, lambda strokes: fails(replace(best, strokes=strokes))))
    if fails(replace(best, orderly=True)):
        best = replace(best, orderly=True)
        best = replace(best, strokes=_fewer(best.strokes or {}, lambda strokes: fails(replace(best, strokes=strokes))))
    return run(best, with_history=True)


def kind_of(outcome: Outcome) -> str:
    """Return what went wrong first, without what tells one item from another; empty where nothing did."""
    words = outcome.complaints[0].split() if outcome.complaints else []
    return " ".join(word for word in words if not any(each.isdigit() or each == "/" for each in word))


def _fewer(strokes: Strokes, fails: Callable[[Strokes], bool]) -> Strokes:
    """Leave strokes out, halves first and single ones at last, as long as the run still fails."""
    numbers = sorted(strokes)
    size = len(numbers)
    while size >= 1:
        for start in range(0, len(numbers), size):
            left = _without(numbers, start, size)
            if len(left) < len(numbers) and fails({number: strokes[number] for number in left}):
                return _fewer({number: strokes[number] for number in left}, fails)
        size //= 2
    return strokes


def _without(numbers: Sequence[int], start: int, size: int) -> list[int]:
    return [*numbers[:start], *numbers[start + size :]]
