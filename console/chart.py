"""The chart of the last days: where each bar of an SVG stands. Pure numbers; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from console.traffic import Day

WIDTH, HEIGHT = 640, 180
TOP, BOTTOM, LEFT = 18, 28, 8
BAR = 26
GAP = 4


@dataclass(frozen=True)
class Bar:
    """One bar with its number above it; `kind` is `received` or `sent`."""

    kind: str
    x: float
    y: float
    height: float
    label: str

    @property
    def middle(self) -> float:
        """Return where its number stands."""
        return self.x + BAR / 2


@dataclass(frozen=True)
class Chart:
    """All bars, and where the days are named."""

    bars: tuple[Bar, ...]
    names: tuple[tuple[float, date], ...]
    floor: float = HEIGHT - BOTTOM
    width: int = WIDTH
    height: int = HEIGHT
    bar: int = BAR


def chart(days: Sequence[Day]) -> Chart:
    """Return the chart of these days; the highest bar reaches the top."""
    most = max((count for day in days for count in (day.received, day.sent)), default=0) or 1
    column = (WIDTH - 2 * LEFT) / max(len(days), 1)
    centres = [LEFT + column * (index + 0.5) for index in range(len(days))]
    bars = tuple(bar for day, centre in zip(days, centres, strict=True) for bar in _bars(day, centre, most))
    return Chart(bars, tuple((centre, day.day) for day, centre in zip(days, centres, strict=True)))


def _bars(day: Day, centre: float, most: int) -> tuple[Bar, Bar]:
    received = _bar("received", centre - BAR - GAP / 2, day.received, most, more=day.more)
    return received, _bar("sent", centre + GAP / 2, day.sent, most, more=day.more)


def _bar(kind: str, x: float, count: int, most: int, *, more: bool) -> Bar:
    height = round((HEIGHT - TOP - BOTTOM) * count / most, 1)
    return Bar(kind, round(x, 1), HEIGHT - BOTTOM - height, height, f"{count}{'+' if more else ''}")
