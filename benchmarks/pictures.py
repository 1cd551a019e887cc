"""One picture per comparison: bars of ours and of the alternative, as SVG that reads on light and on dark."""

from collections.abc import Iterator
from html import escape

from benchmarks.measured import Line, Measured
from benchmarks.table import shown

WIDTH = 760
LABEL_WIDTH = 330
BAR_WIDTH = 270
BAR_HEIGHT = 12
LINE_HEIGHT = 40
TOP = 64
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 14px }
.ours { fill: #1a7f64 } .missed { fill: #c2410c } .other { fill: #8c959f } .quiet { fill: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ours { fill: #3fb68b } .missed { fill: #f0883e } .other { fill: #6e7681 }
  .quiet { fill: #9198a1 }
}
"""


def picture(measured: Measured) -> str:
    """Return the SVG of a comparison; lines of the same unit share a scale."""
    height = TOP + LINE_HEIGHT * len(measured.lines) + 10
    body = "\n".join(_content(measured))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{escape(measured.what)}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _content(measured: Measured) -> Iterator[str]:
    yield _text(8, 18, measured.what, "title")
    yield _text(8, 36, "upper bar: Amtsbote (orange where the limit is missed)", "quiet")
    yield _text(8, 52, f"lower bar: {measured.against}", "quiet")
    for number, line in enumerate(measured.lines):
        yield from _line(line, _scale(measured, line.unit), TOP + number * LINE_HEIGHT)


def _scale(measured: Measured, unit: str) -> float:
    """Return how many pixels a unit has, so that the longest bar of this unit fills the width."""
    figures = [figure for line in measured.lines if line.unit == unit for figure in (line.ours, line.alternative or 0)]
    return BAR_WIDTH / max([*figures, 1e-9])


def _line(line: Line, scale: float, top: int) -> Iterator[str]:
    yield _text(8, top + BAR_HEIGHT + 5, line.label, "")
    yield _bar(top, line.ours * scale, "ours" if line.kept else "missed", shown(line.ours, line.unit))
    if line.alternative is not None:
        yield _bar(top + BAR_HEIGHT + 2, line.alternative * scale, "other", shown(line.alternative, line.unit))


def _bar(top: int, width: float, kind: str, said: str) -> str:
    bar = f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{top}" width="{max(width, 1):.1f}" height="{BAR_HEIGHT}" rx="2"/>'
    return bar + _text(LABEL_WIDTH + max(width, 1) + 6, top + BAR_HEIGHT - 2, said, "quiet")


def _text(x: float, y: float, said: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(said)}</text>'
