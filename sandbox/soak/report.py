"""What a soak says: one line that changes while it runs, a line for each blow, a table at the end, or all as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table

from sandbox.soak.run import Moment
from sandbox.soak.verdict import SoakVerdict
from sandbox.soak.violence import Act, Violence

WIDTH = 100
PLAIN_EVERY_SECONDS = 15.0
PROBLEMS_SHOWN = 40
OK, WRONG = "✓", "✗"


class Line:
    """How things stand: in a terminal one line that changes, elsewhere a line now and then; nothing when silent."""

    def __init__(self, console: Console, violence: Violence) -> None:
        self._console = console
        self._violence = violence
        self._status = Status("starting", console=console) if console.is_terminal and not console.quiet else None
        self._next_line_at = 0.0
        if self._status is not None:
            self._status.start()

    def show(self, moment: Moment) -> None:
        """Show this moment."""
        text = progress(moment, self._violence)
        if self._status is not None:
            self._status.update(text)
        elif moment.seconds >= self._next_line_at:
            self._next_line_at = moment.seconds + PLAIN_EVERY_SECONDS
            self._console.print(text, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()


def progress(moment: Moment, violence: Violence) -> str:
    """How far it is, in a line."""
    documents, drops = moment.verdict.verdict.documents, moment.verdict.verdict.drops
    aws = violence.kills[Act.KILL_AWS]
    done = f"{sum(each.ok for each in documents)}/{len(documents)} documents, "
    done += f"{sum(each.ok for each in drops)}/{len(drops)} drops"
    wrong = f"{violence.kills.total() - aws}+{aws} kills, {violence.outages.total()} outages"
    return f"{moment.seconds:6.0f} s  {done}; {wrong}; oldest open {moment.oldest_open_seconds:.0f} s"


@dataclass(frozen=True)
class Figures:
    """The figures of a soak. Delays are in seconds, to the nearest look; faults are requests that met one."""

    ok: bool
    seed: int
    minutes: float
    drain_seconds: float
    documents: int
    drops: int
    delivered: int
    failed: int
    failed_unknown: int
    workers_killed: dict[str, int]
    aws_killed: int
    outages: dict[str, int]
    faults: dict[str, int]
    acknowledgements_seen: int
    acknowledged_again: int
    links_again: int
    lost: int
    doubled: int
    acknowledged_too_early: int
    dead_letters: int
    longest_delay_seconds: float


def figures(moment: Moment, violence: Violence, *, seed: int, seconds: float, acknowledgements: int) -> Figures:
    """The figures of the last moment; `seconds` is how long the violence went on."""
    verdict = moment.verdict
    ends = Counter(each.reached for each in verdict.verdict.drops)
    kills = dict(sorted(violence.kills.items()))
    return Figures(
        ok=verdict.ok,
        seed=seed,
        minutes=round(seconds / 60, 2),
        drain_seconds=round(moment.seconds - seconds, 1),
        documents=len(moment.scenario.documents),
        drops=len(moment.scenario.drops),
        delivered=ends["delivered"],
        failed=ends["failed"],
        failed_unknown=len(verdict.unknown),
        aws_killed=kills.pop(Act.KILL_AWS, 0),
        workers_killed=kills,
        outages=dict(sorted(violence.outages.items())),
        faults=dict(sorted(violence.faults.items())),
        acknowledgements_seen=acknowledgements,
        acknowledged_again=verdict.told_again,
        links_again=verdict.links_again,
        lost=len(verdict.lost),
        doubled=len(verdict.doubled),
        acknowledged_too_early=len(verdict.too_early),
        dead_letters=moment.seen.dead_letters,
        longest_delay_seconds=round(moment.longest_seconds, 1),
    )


def print_result(console: Console, moment: Moment, shown: Figures) -> None:
    """The table, and every problem."""
    console.print(_table(shown))
    found = list(problems(moment.verdict, moment))
    for problem in found[:PROBLEMS_SHOWN]:
        console.print(f"{WRONG} {problem}", markup=False, highlight=False, soft_wrap=True)
    if len(found) > PROBLEMS_SHOWN:
        console.print(f"… and {len(found) - PROBLEMS_SHOWN} more")
    for letter in moment.dead_letters:
        kind = "a scheduled task; its schedule comes again" if letter.is_task else "a defect"
        console.print(f"dead letter: {letter.body} ({kind})", markup=False, highlight=False, soft_wrap=True)
    good = "Nothing was lost, doubled, altered or acknowledged too early; everything reached its end."
    console.print(f"{OK} {good}" if shown.ok else f"{WRONG} {len(found)} problems", highlight=False)


def _table(shown: Figures) -> Table:
    table = Table(title=f"Soak, seed {shown.seed}", width=WIDTH, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(shown):
        table.add_row(name, value)
    return table


def _rows(shown: Figures) -> Iterator[tuple[str, str]]:
    yield "minutes of violence", f"{shown.minutes:g}, then {shown.drain_seconds:.0f} s until all was done"
    yield "documents", str(shown.documents)
    yield "drops", f"{shown.drops}: {shown.delivered} delivered, {shown.failed} failed with a reason"
    yield "  of these, outcome unknown", str(shown.failed_unknown)
    yield "workers killed", _counted(shown.workers_killed)
    yield "AWS killed", str(shown.aws_killed)
    yield "portal outages", _counted(shown.outages)
    yield "requests that met a fault", _counted(shown.faults)
    yield "acknowledgements watched", f"{shown.acknowledgements_seen}, {shown.acknowledged_again} had effect again"
    yield "magic links made again", str(shown.links_again)
    yield "lost", str(shown.lost)
    yield "doubled", str(shown.doubled)
    yield "acknowledged too early", str(shown.acknowledged_too_early)
    yield "dead letters", str(shown.dead_letters)
    yield "longest delay", f"{shown.longest_delay_seconds:.0f} s"


def _counted(counts: dict[str, int]) -> str:
    each = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{sum(counts.values())}" + (f": {each}" if each else "")


def problems(verdict: SoakVerdict, moment: Moment) -> Iterator[str]:
    """Everything that is wrong, each with what it is about."""
    yield from (f"lost: {each}" for each in verdict.lost)
    yield from (f"doubled: {each}" for each in verdict.doubled)
    yield from (f"acknowledged before its document.json was there: {each}" for each in verdict.too_early)
    names = [each.prefix for each in moment.scenario.documents] + [each.key for each in moment.scenario.drops]
    findings = (*verdict.verdict.documents, *verdict.verdict.drops)
    for name, finding in zip(names, findings, strict=True):
        yield from (f"{name}: {problem}" for problem in finding.problems)
    yield from verdict.verdict.problems


def as_json(moment: Moment, shown: Figures, log: list[str]) -> dict[str, Any]:
    """The whole result for machines."""
    named = {_camel(name): value for name, value in asdict(shown).items()}
    letters = [asdict(each) for each in moment.dead_letters]
    return {**named, "problems": list(problems(moment.verdict, moment)), "deadLetterBodies": letters, "log": log}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
