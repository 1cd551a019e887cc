"""The figures as a table: for the terminal, and as Markdown with a date."""

import os
import platform
from collections.abc import Iterator, Sequence
from datetime import date

from rich.console import Console
from rich.table import Table

from benchmarks.measured import Bound, Line, Measured, Options

HEADINGS = ("what", "ours", "alternative", "ratio", "limit", "to the limit")


def shown(figure: float | None, unit: str) -> str:
    """Return a figure with its unit, with as many digits as it can be trusted with."""
    if figure is None:
        return "–"
    if unit == "s" and 0 < figure < 1:
        return f"{figure * 1000:.3g} ms"
    digits = f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"
    return f"{digits} {unit}".strip()


def cells(line: Line) -> tuple[str, ...]:
    """Return a line as the table shows it."""
    ratio = "–" if line.alternative is None else f"{line.ratio:.2f}"
    free = line.limit.bound is Bound.NONE or not line.limit.value
    margin = "–" if free else f"{line.limit.margin(line.ratio):.2f} {'kept' if line.kept else 'MISSED'}"
    limit = "–" if free else str(line.limit)
    return line.label, shown(line.ours, line.unit), shown(line.alternative, line.unit), ratio, limit, margin


def print_table(measured: Sequence[Measured]) -> None:
    """Print all comparisons."""
    table = Table(*HEADINGS, title="Amtsbote, measured side by side")
    for each in measured:
        table.add_row(f"[bold]{each.what}[/], against {each.against}", end_section=False)
        for line in each.lines:
            table.add_row(*cells(line), style="" if line.kept else "red")
        table.add_section()
    Console(width=150).print(table)


def markdown(measured: Sequence[Measured], options: Options, today: date) -> str:
    """Return the page `results.md`."""
    return "\n".join(_page(measured, options, today)) + "\n"


def _page(measured: Sequence[Measured], options: Options, today: date) -> Iterator[str]:
    yield "# What was measured"
    yield ""
    size = " with small sizes (`--quick`)" if options.quick else ""
    yield (
        f"`make bench`, {today.isoformat()}, {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}{size}; medians of {options.runs} runs where nothing else is said."
    )
    yield "“To the limit” is above 1 where the limit is kept with room to spare."
    for each in measured:
        yield from _section(each)


def _section(each: Measured) -> Iterator[str]:
    yield ""
    yield f"## {each.what}"
    yield ""
    yield f"Against {each.against}. ![{each.name}]({each.name}.svg)"
    yield ""
    yield f"| {' | '.join(HEADINGS)} |"
    yield f"|{'---|' * len(HEADINGS)}"
    for line in each.lines:
        yield f"| {' | '.join(cells(line))} |"
    if each.notes:
        yield ""
        yield from (f"- {note}" for note in each.notes)
