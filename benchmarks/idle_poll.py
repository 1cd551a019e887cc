"""Row 6: a poll that finds nothing new, with nothing, a thousand and a million items known.

The rows lie in SQLite with the ledger's keys and its two indexes as B-trees, made from the row of one document that
went the whole way. The portal no longer lists what was acknowledged, as DUBA does not. The handler's own process is
measured from the event to its answer.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cloud.running import RunningAws
from benchmarks.fleet import Fleet
from benchmarks.measured import Limit, Measured, Options, alone, at_most, compared, median_of
from benchmarks.offices import duba, secret_of, state_of

NAME = "idle-poll"
KNOWN, QUICK_KNOWN = (0, 1_000, 1_000_000), (0, 1_000, 20_000)
POLLS = 41  # of each size
FLAT = 1.25  # the noise that two medians of milliseconds may have
VERBS = ("dispatch", "poll", "fetch", "acknowledge")
GLANCE_SECONDS = 0.001
CALLS = ("calls to AWS", "calls to the portal")


def run(options: Options) -> Measured:
    """Measure all sizes, in turns, so that what else the machine does falls on all of them alike."""
    sizes = QUICK_KNOWN if options.quick else KNOWN
    with ExitStack() as running:
        stations = {size: _Station(size, running) for size in sizes}
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(POLLS):
            for size, station in stations.items():
                seconds[size].append(station.poll())
        calls = {size: station.calls() for size, station in stations.items()}
    return _measured(sizes, {size: median_of(each) for size, each in seconds.items()}, calls)


def _measured(sizes: Sequence[int], seconds: Mapping[int, float], calls: Mapping[int, tuple[float, float]]) -> Measured:
    none, *more = sizes
    lines = [alone("nothing known: time of a poll", seconds[none], "s", Limit())]
    for size in more:
        lines.append(compared(f"{size:,} known: time of a poll", seconds[size], seconds[none], "s", at_most(FLAT)))
        for name, ours, first in zip(CALLS, calls[size], calls[none], strict=True):
            lines.append(compared(f"{size:,} known: {name}", ours, first, "calls", at_most(1.0)))
    return Measured(
        NAME,
        "a poll that finds nothing new",
        "itself, with nothing known",
        tuple(lines),
        (
            f"Median of {POLLS} polls of a warm process, the sizes in turns. The ledger is SQLite with its keys and"
            " both indexes as B-trees; the rows are copies of one acknowledged DUBA message's. No latency is added,"
            " so that a difference shows.",
            "Only the history grows here: what a portal still lists (items within the overlap that it is not told of)"
            " costs one batched read per 100.",
        ),
    )


class _Station:
    """A portal, an AWS whose ledger knows so many items, and a function that polls."""

    def __init__(self, known: int, running: ExitStack) -> None:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self._address = running.enter_context(duba(1, 2048, 0.0))
        self._aws = running.enter_context(RunningAws(latency=0, table=folder / "ledger"))
        self._aws.connect("duba", {"klinikum": secret_of(self._address)})
        fleet = Fleet(self._aws, "duba", *VERBS, at_once=dict.fromkeys(VERBS, 1))
        self._fleet = running.enter_context(fleet)
        for task in ("poll", "acknowledge", "poll"):
            fleet.tick(task)
            fleet.wait_until_quiet()
        if known:
            first = 10_000_000
            self._aws.ask("fill", pk="ITEM#duba#klinikum#1", sk="STATE", id="1", first=first, last=first + known - 1)
        self._aws.ask("forget")
        self._calls_before = state_of(self._address)["requests"]

    def poll(self) -> float:
        """Poll once and return the seconds of the invocation."""
        before = len(self._fleet.invoked)
        task = {"portal": "duba", "connection": "klinikum", "task": "poll"}
        self._aws.send(self._fleet.sources["poll"].queue, task)
        while len(self._fleet.invoked) == before:
            time.sleep(GLANCE_SECONDS)
        return self._fleet.invoked[-1].seconds

    def calls(self) -> tuple[float, float]:
        """Return how often a poll called AWS and the portal."""
        to_portal = state_of(self._address)["requests"] - self._calls_before
        return self._aws.counted().total / POLLS, to_portal / POLLS
