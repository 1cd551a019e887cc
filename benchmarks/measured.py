"""What a comparison found: lines of ours against an alternative, each with the limit that it has to keep."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Bound(StrEnum):
    """Which way a ratio must not go."""

    AT_LEAST = "at least"
    AT_MOST = "at most"
    NONE = "no limit"


@dataclass(frozen=True)
class Limit:
    """What the ratio (or, where there is no alternative, our own figure) has to keep."""

    bound: Bound = Bound.NONE
    value: float = 0.0

    def margin(self, figure: float) -> float:
        """Return how well a figure keeps the limit: 1 is just so, above is better."""
        if self.bound is Bound.NONE or not figure or not self.value:
            return 1.0
        return figure / self.value if self.bound is Bound.AT_LEAST else self.value / figure

    def kept(self, figure: float) -> bool:
        """Return whether a figure keeps the limit."""
        return self.margin(figure) >= 1.0

    def __str__(self) -> str:
        return "" if self.bound is Bound.NONE else f"{self.bound} {self.value:g}"


def at_least(value: float) -> Limit:
    """Return a lower limit."""
    return Limit(Bound.AT_LEAST, value)


def at_most(value: float) -> Limit:
    """Return an upper limit."""
    return Limit(Bound.AT_MOST, value)


@dataclass(frozen=True)
class Line:
    """One figure of ours against one of the alternative, both in `unit`; `ratio` is what the limit speaks of."""

    label: str
    ours: float
    alternative: float | None
    unit: str
    ratio: float
    limit: Limit = field(default_factory=Limit)

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.limit.kept(self.ratio)


@dataclass(frozen=True)
class Measured:
    """One comparison: what against what, its lines, and what has to be known to read them."""

    name: str
    what: str
    against: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether all limits are kept."""
        return all(line.kept for line in self.lines)


@dataclass(frozen=True)
class Options:
    """How thoroughly to measure: `runs` of each figure, of which the median counts; `quick` makes everything small."""

    runs: int = 3
    quick: bool = False

    def scaled(self, full: int, quick: int) -> int:
        """Return the size to use."""
        return quick if self.quick else full


Comparison = Callable[[Options], Measured]


def faster(label: str, ours_seconds: float, alternative_seconds: float, limit: Limit) -> Line:
    """Return the line of two durations; its ratio says how many times faster ours is."""
    return Line(label, ours_seconds, alternative_seconds, "s", alternative_seconds / ours_seconds, limit)


def compared(label: str, ours: float, alternative: float, unit: str, limit: Limit) -> Line:
    """Return the line of two figures; its ratio is ours by the alternative."""
    return Line(label, ours, alternative, unit, ours / alternative if alternative else 0.0, limit)


def alone(label: str, ours: float, unit: str, limit: Limit) -> Line:
    """Return the line of a figure that has a limit of its own and no alternative."""
    return Line(label, ours, None, unit, ours, limit)


def median_of(figures: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(figures)


def repeated(runs: int, measure: Callable[[], float]) -> float:
    """Return the median of several runs."""
    return median_of([measure() for _ in range(runs)])
