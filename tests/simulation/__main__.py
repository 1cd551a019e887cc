"""`python -m tests.simulation`: runs many seeds, or one again, and says what happened.

--seeds 500 [--first 0] [--workers 2]   so many runs; exit code 1 at the first that fails, with its shortest history
--seed 4711 [--history]                 one run, exactly as it was
--portal duba                           only this portal
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.boundary import Stroke
from tests.simulation.mutants import FOUND
from tests.simulation.run import OFFICES, Outcome, Script, run, script_of
from tests.simulation.shrink import shrink

BATCH = 10
HISTORY_LINES = 400


@dataclass
class Summary:
    """What many runs came to."""

    runs: int = 0
    items: int = 0
    drops: int = 0
    steps: int = 0
    portals: Counter[str] = field(default_factory=Counter)
    strokes: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str, list[str]]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of a run."""
        self.runs += 1
        self.items += outcome.items
        self.drops += outcome.drops
        self.steps += outcome.steps
        self.portals[outcome.script.portal] += 1
        self.strokes += outcome.tally.strokes
        self.calls += _of(outcome.script.portal, outcome.tally.calls)
        self.deaths += _of(outcome.script.portal, outcome.tally.deaths)
        if outcome.complaints:
            self.failed.append((outcome.script.seed, outcome.script.portal, outcome.complaints))

    def merge(self, other: Summary) -> None:
        """Take what other runs came to."""
        self.runs += other.runs
        self.items += other.items
        self.drops += other.drops
        self.steps += other.steps
        for name in ("portals", "strokes", "calls", "deaths"):
            getattr(self, name).update(getattr(other, name))
        self.failed += other.failed

    def crash_points(self) -> tuple[int, int]:
        """Return at how many places a process died, and how many there are: before and after each kind of call."""
        return len(self.deaths), 2 * len(self.calls)


def _of(portal: str, counted: Counter[str]) -> Counter[str]:
    return Counter({f"{portal} {name}": count for name, count in counted.items()})


def summary_of(seeds: Iterable[int], portal: str | None) -> Summary:
    """Run these seeds."""
    summary = Summary()
    for seed in seeds:
        summary.add(run(Script(seed, portal) if portal else script_of(seed)))
    return summary


def _batches(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, BATCH):
        yield range(start, min(start + BATCH, first + count))


def _run_many(options: argparse.Namespace) -> int:
    began, whole = time.monotonic(), Summary()
    with ProcessPoolExecutor(options.workers) as pool:
        batches = list(_batches(options.first, options.seeds))
        for summary in pool.map(summary_of, batches, [options.portal] * len(batches)):
            whole.merge(summary)
            if whole.failed:
                pool.shutdown(cancel_futures=True)
                break
    _print_summary(whole, time.monotonic() - began)
    if options.json:
        Path(options.json).write_text(json.dumps(_as_json(whole), indent=2, ensure_ascii=False))
    if not whole.failed:
        return 0
    seed, portal, complaints = whole.failed[0]
    print(f"\nseed {seed} ({portal}) fails: {complaints[0]}\nThe shortest history that was found:")
    _print_history(shrink(run(Script(seed, portal))))
    print(f"\nTo repeat it: make simulate SEED={seed} PORTAL={portal}")
    return 1


def _until_wrong(options: argparse.Namespace) -> int:
    """Run seeds one after the other and print the first that fails, with what was wrong: `<seed> <complaint>`."""
    for seed in range(options.first, options.first + options.seeds):
        outcome = run(Script(seed, options.portal) if options.portal else script_of(seed))
        if outcome.complaints:
            print(seed, outcome.complaints[0])
            return FOUND
    return 0


def _run_one(options: argparse.Namespace) -> int:
    script = Script(options.seed, options.portal) if options.portal else script_of(options.seed)
    outcome = run(script, with_history=True)
    if outcome.complaints and not options.history:
        print("The shortest history that was found:")
        outcome = shrink(outcome)
    _print_history(outcome)
    print(f"seed {script.seed} ({script.portal}): {'fails' if outcome.complaints else 'all as it should be'}")
    return 1 if outcome.complaints else 0


def _print_history(outcome: Outcome) -> None:
    for line in outcome.history[-HISTORY_LINES:]:
        print(line)
    strokes = ", ".join(f"#{number} {stroke}" for number, stroke in outcome.struck.items())
    print(f"strokes: {strokes or 'none'}")
    for complaint in outcome.complaints:
        print(f"wrong: {complaint}")


def _print_summary(whole: Summary, seconds: float) -> None:
    covered, points = whole.crash_points()
    portals = ", ".join(f"{name} {count}" for name, count in sorted(whole.portals.items()))
    print(f"runs          {whole.runs} in {seconds:.0f} s ({portals})")
    print(f"things        {whole.items} items, {whole.drops} drops")
    print(f"calls         {whole.steps} crossed the boundary to AWS or a portal")
    print(f"crash points  {covered} of {points} covered (before and after each kind of call of each function)")
    for stroke in Stroke:
        print(f"  {whole.strokes[stroke]:8}  {stroke}")
    print(f"wrong         {len(whole.failed)} runs" if whole.failed else "lost 0, doubled 0, wrong 0")


def _as_json(whole: Summary) -> dict[str, object]:
    covered, points = whole.crash_points()
    missed = sorted(
        f"{side} {call}"
        for call in whole.calls
        for side in ("before", "after")
        if f"{call.partition(' ')[0]} {side} {call.partition(' ')[2]}" not in whole.deaths
    )
    return {
        "runs": whole.runs,
        "items": whole.items,
        "drops": whole.drops,
        "calls": whole.steps,
        "portals": dict(whole.portals),
        "strokes": dict(whole.strokes),
        "crashPoints": {"covered": covered, "all": points, "missed": missed},
    }


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--portal", choices=sorted(OFFICES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--history", action="store_true", help="print the whole run instead of the shortest that fails")
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--until-wrong", action="store_true", help="one after the other, and only the first that fails")
    options = parser.parse_args()
    if options.until_wrong:
        return _until_wrong(options)
    return _run_many(options) if options.seed is None else _run_one(options)


if __name__ == "__main__":
    sys.exit(main())
