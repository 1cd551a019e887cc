"""What the demo says: a live table while it runs, then a line for each document and a summary, or all as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sandbox.demo.large import Transfer
from sandbox.demo.observation import Calls
from sandbox.demo.run import Moment
from sandbox.demo.scenario import End, ExpectedDocument, ExpectedDrop
from sandbox.demo.verdict import NOTHING, ON_ITS_WAY, STORED, Finding, receipt_of

WIDTH = 100
PLAIN_EVERY_SECONDS = 5.0
NEWS_LINES = 6
ID_CHARACTERS = 8
OK, WRONG = "✓", "✗"
HAVE = (STORED, End.ACKNOWLEDGED, End.UNAVAILABLE)
COUNT_CELLS = 12
BAR_CELLS = 40
MEGABYTE, MEBIBYTE = 1_000_000, 1024 * 1024
MANY = 40
"""So many ordinary documents of one kind that ended well share a line at the end."""
NOUNS = {"digitale-gemeinde": "forms", "altinn": "instances"}
Columns = Mapping[str, Collection[str]]
ARRIVAL_COLUMNS: Columns = {
    "in the inbox": HAVE,
    "acknowledged": (End.ACKNOWLEDGED,),
    "set aside": (End.QUARANTINED, End.UNAVAILABLE),
}
DROP_COLUMNS: Columns = {"on their way": (ON_ITS_WAY,), "delivered": (End.DELIVERED,), "failed": (End.FAILED,)}


@dataclass(frozen=True)
class Line:
    """One document or drop as it is shown."""

    way: str
    label: str
    expected: End
    story: str
    finding: Finding
    seconds: float | None


def lines(moment: Moment) -> list[Line]:
    """All documents, then all drops."""
    documents = [_document(each) for each in moment.scenario.documents]
    shown = [*documents, *(_drop(each) for each in moment.scenario.drops)]
    outcomes = zip(shown, moment.findings, moment.seconds_taken, strict=True)
    return [Line(*head, finding, seconds) for head, finding, seconds in outcomes]


def _document(each: ExpectedDocument) -> tuple[str, str, End, str]:
    number = f"{each.id}  " if each.portal_name is None and len(each.id) <= ID_CHARACTERS else ""
    return f"{each.portal}/{each.connection}", number + printable(each.label), each.end, each.story


def _drop(each: ExpectedDrop) -> tuple[str, str, End, str]:
    way = "/".join(each.key.split("/")[:2])
    return f"→ {way}", printable(each.label), each.end, each.story or each.code or ""


def printable(text: str) -> str:
    """The text with a visible sign for each character that would disturb a line."""
    return "".join(each if each.isprintable() else "␦" for each in text)


# --- while it runs ---------------------------------------------------------------------------------------------------


class Screen:
    """How things stand: in a terminal a table that changes, elsewhere a line now and then, nothing when silent."""

    def __init__(self, console: Console, *, silent: bool) -> None:
        self._console = console
        self._silent = silent
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next_line_at = 0.0
        self._news: list[str] = []
        self._before: tuple[str, ...] = ()

    def __enter__(self) -> Screen:
        if self._live is not None and not self._silent:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """Show this moment."""
        if self._silent:
            return
        if self._live is not None:
            self._gather_news(moment)
            self._live.update(Group(flows(moment), *bars(moment), *self._news_lines()), refresh=True)
        elif moment.seconds >= self._next_line_at:
            self._next_line_at = moment.seconds + PLAIN_EVERY_SECONDS
            self._console.print(progress(moment), highlight=False)

    def _gather_news(self, moment: Moment) -> None:
        shown = lines(moment)
        reached = tuple(line.finding.reached for line in shown)
        changed = zip(shown, self._before or [NOTHING] * len(shown), strict=True)
        fresh = [line for line, before in changed if line.finding.reached not in (before, NOTHING, End.LEFT_ALONE)]
        self._news = [*self._news, *(f"{moment.seconds:5.1f} s  {row(line)}" for line in fresh)][-NEWS_LINES:]
        self._before = reached

    def _news_lines(self) -> Iterator[Text]:
        yield Text()
        for news in self._news:
            yield Text(set_cell_size(news, WIDTH - 1).rstrip(), style="dim")


def progress(moment: Moment) -> str:
    """How far it is, in a line."""
    documents, drops = moment.verdict.documents, moment.verdict.drops
    done = (sum(each.ok for each in documents), sum(each.ok for each in drops))
    shares = "".join(f", {each.label} {each.share:.0%}" for each in under_way(moment))
    counts = f"{done[0]} of {len(documents)} documents and {done[1]} of {len(drops)} drops done"
    return f"{moment.seconds:5.0f} s   {counts}{shares}"


@dataclass(frozen=True)
class UnderWay:
    """A large file as its receipt tells of it: how much of it has been sent (0 to 1), how often it was interrupted."""

    label: str
    share: float
    size: int
    interruptions: int


def under_way(moment: Moment) -> Iterator[UnderWay]:
    """The large files whose receipts say how much of them has been sent."""
    drops = zip(moment.scenario.drops, moment.verdict.drops, strict=True)
    for drop, finding in ((drop, finding) for drop, finding in drops if drop.interruptions):
        receipt = receipt_of(drop, moment.seen) or {}
        result = receipt.get("result")
        said = result if isinstance(result, dict) else {}
        share = said["bytesSent"] / said["bytesTotal"] if said.get("bytesTotal") else 0.0
        transfer = moment.seen.transfers.get(drop.label, Transfer())
        sent = 1.0 if finding.reached == End.DELIVERED or _is_sent(receipt) else share
        yield UnderWay(drop.label, sent, drop.fingerprint.size, len(transfer.interruptions))


def _is_sent(receipt: Mapping[str, Any]) -> bool:
    """Whether all of the bytes have arrived, and the portal is at work on them."""
    history = receipt.get("history")
    return isinstance(history, list) and any(isinstance(step, dict) and step.get("state") == "SENT" for step in history)


def bars(moment: Moment) -> Iterator[RenderableType]:
    """A bar for each large file."""
    for each in under_way(moment):
        grid = Table.grid(padding=(0, 1))
        interrupted = f"{each.interruptions} × interrupted"
        bar = ProgressBar(total=1.0, completed=each.share, width=BAR_CELLS)
        grid.add_row(printable(each.label), bar, f"{each.share:4.0%} of {each.size / MEGABYTE:.0f} MB", interrupted)
        yield grid


def flows(moment: Moment) -> RenderableType:
    """The tables: a row for each way that documents take, to us and from us."""
    shown = lines(moment)
    arrivals, drops = shown[: len(moment.scenario.documents)], shown[len(moment.scenario.documents) :]
    coming = [line for line in arrivals if line.expected is not End.LEFT_ALONE]
    title = Text(f"Amtsbote · {moment.seconds:.0f} s", style="bold")
    return Group(title, _table("from", ARRIVAL_COLUMNS, coming), _table("to", DROP_COLUMNS, drops))


def _table(title: str, columns: Columns, shown: Sequence[Line]) -> Table:
    """A row for each way: by column, how many have reached one of its ends; then how many are as they should be."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(title, width=WAY_CELLS)
    for name in ("in all", *columns, "as it should"):
        table.add_column(name, justify="right", width=COUNT_CELLS)
    for way in dict.fromkeys(line.way for line in shown):
        own = [line for line in shown if line.way == way]
        ends = Counter(line.finding.reached for line in own)
        counts = [sum(ends[end] for end in column) for column in columns.values()]
        table.add_row(way, *map(str, (len(own), *counts, sum(line.finding.ok for line in own))))
    return table


# --- at the end ------------------------------------------------------------------------------------------------------

WAY_CELLS, LABEL_CELLS, END_CELLS, TITLE_CELLS = 26, 26, 13, 17


def row(line: Line) -> str:
    """One document or drop as one line, without its time."""
    cells = ((line.way, WAY_CELLS), (line.label, LABEL_CELLS), (line.finding.reached, END_CELLS))
    return "".join(_cell(text, width) for text, width in cells)


def _cell(text: str, width: int) -> str:
    """The text in so many columns, the last one a blank; what is too long ends in an ellipsis."""
    if cell_len(text) >= width:
        text = set_cell_size(text, width - 2) + "…"
    return set_cell_size(text, width)


def gathered(shown: Sequence[Line]) -> Iterator[Line]:
    """The lines, with one for all ordinary ones of a kind that ended well where they are many; it comes first of these
    and has the longest time."""
    groups: dict[str, list[Line]] = {}
    for line in shown:
        if _is_ordinary(line):
            groups.setdefault(line.way, []).append(line)
    many = {way: lines for way, lines in groups.items() if len(lines) >= MANY}
    for line in shown:
        if not _is_ordinary(line) or line.way not in many:
            yield line
        elif line is many[line.way][0]:
            yield _together(many[line.way])


def _is_ordinary(line: Line) -> bool:
    return line.finding.ok and not line.story and line.expected is End.ACKNOWLEDGED


def _together(alike: Sequence[Line]) -> Line:
    noun = NOUNS.get(alike[0].way.partition("/")[0], "documents")
    seconds = max((line.seconds for line in alike if line.seconds is not None), default=None)
    return replace(alike[0], label=f"{len(alike)} ordinary {noun}", seconds=seconds)


def whole_line(line: Line) -> str:
    """One document or drop: whether it is as it should be, what it is, the end it reached, how long it took."""
    taken = "      –" if line.seconds is None or line.expected is End.LEFT_ALONE else f"{line.seconds:5.1f} s"
    mark = OK if line.finding.ok else WRONG
    return set_cell_size(f"{mark} {row(line)}{taken}  {line.story}", WIDTH).rstrip()


@dataclass(frozen=True)
class LargeUpload:
    """The figures of an upload that was interrupted. `bytes_sent_again` is what reached the portal beyond the file; the
    memory is the most that a sender had, 0 where it cannot be measured."""

    name: str
    bytes: int
    seconds: float | None
    interruptions: int
    bytes_sent_again: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Summary:
    """The figures of a run. `searched`: how much of what was read for `private_texts`, which may be nowhere in it."""

    found: int
    stored: int
    acknowledged: int
    quarantined: int
    unavailable: int
    left_alone: int
    dropped: int
    delivered: int
    failed: int
    events: Mapping[str, int]
    portal_calls: Mapping[str, Calls]
    calls_per_document: Mapping[str, float]
    dead_letters: int
    large_uploads: Sequence[LargeUpload]
    searched: Mapping[str, int]
    private_texts: int
    private_texts_found: int
    aws_calls: int
    aws_actions: int
    aws_calls_refused: int
    flow_seconds: float
    seconds: float


def summary(moment: Moment, calls: Mapping[str, Calls], seconds: float) -> Summary:
    """The figures of a moment; `seconds` is what the whole demo took."""
    arrived = Counter(each.reached for each in moment.verdict.documents)
    sent = Counter(each.reached for each in moment.verdict.drops)
    return Summary(
        found=len(moment.verdict.documents) - arrived[NOTHING] - arrived[End.LEFT_ALONE],
        stored=sum(arrived[end] for end in HAVE),
        acknowledged=arrived[End.ACKNOWLEDGED],
        quarantined=arrived[End.QUARANTINED],
        unavailable=arrived[End.UNAVAILABLE],
        left_alone=arrived[End.LEFT_ALONE],
        dropped=len(moment.verdict.drops),
        delivered=sent[End.DELIVERED],
        failed=sent[End.FAILED],
        events=dict(sorted(Counter(each.type for each in moment.seen.events).items())),
        portal_calls=calls,
        calls_per_document={name: _per_document(name, each, moment) for name, each in calls.items()},
        dead_letters=moment.seen.dead_letters,
        large_uploads=tuple(_large_uploads(moment)),
        searched=moment.seen.searched.read,
        private_texts=moment.seen.searched.looked_for,
        private_texts_found=len(moment.seen.searched.leaks),
        aws_calls=moment.seen.judged.calls,
        aws_actions=moment.seen.judged.kinds,
        aws_calls_refused=len(moment.seen.judged.refused),
        flow_seconds=round(moment.seconds, 1),
        seconds=round(seconds, 1),
    )


def _large_uploads(moment: Moment) -> Iterator[LargeUpload]:
    taken = moment.seconds_taken[len(moment.scenario.documents) :]
    for drop, seconds in zip(moment.scenario.drops, taken, strict=True):
        if drop.interruptions:
            seen, size = moment.seen.transfers.get(drop.label, Transfer()), drop.fingerprint.size
            again, took = max(0, seen.received - size), None if seconds is None else round(seconds, 1)
            yield LargeUpload(drop.label, size, took, len(seen.interruptions), again, seen.peak_bytes)


def _per_document(portal: str, calls: Calls, moment: Moment) -> float:
    handled = sum(each.portal == portal for each in moment.scenario.documents)
    handled += sum(each.portal == portal for each in moment.seen.uploads)
    return round(calls.documents / max(1, handled), 1)


def print_result(console: Console, moment: Moment, figures: Summary) -> None:
    """Everything that people want to know at the end."""
    for line in gathered(lines(moment)):
        _print(console, whole_line(line), "" if line.finding.ok else "bold red")
        for problem in line.finding.problems:
            _print(console, f"    {problem}", "red")
    _print(console)
    for line_of_summary in _summary_lines(figures):
        _print(console, line_of_summary)
    _print(console)
    for problem in moment.verdict.problems:
        _print(console, f"{WRONG} {problem}", "red")
    _print(console, _conclusion(moment), "bold green" if moment.verdict.ok else "bold red")


def _print(console: Console, text: str = "", style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _summary_lines(figures: Summary) -> Iterator[str]:
    arrivals = ("found", "stored", "acknowledged", "quarantined", "unavailable", "left_alone")
    yield _titled("documents", _figures(figures, arrivals))
    yield _titled("drops", _figures(figures, ("dropped", "delivered", "failed")))
    yield from (_titled("events" if not number else "", said) for number, said in enumerate(_events(figures)))
    for portal, calls in figures.portal_calls.items():
        per_document = f"{figures.calls_per_document[portal]} calls per document"
        yield _titled(portal, f"{per_document}; besides {calls.asking} lists and {calls.logins} logins")
    yield from (_titled("large upload", _large(each)) for each in figures.large_uploads)
    yield _titled("dead letters", str(figures.dead_letters))
    read = ", ".join(f"{number} {kind}" for kind, number in figures.searched.items())
    private = f"{figures.private_texts_found} of {figures.private_texts} secrets and case numbers in them"
    yield _titled("privacy", f"{read}: {private}")
    roles = f"{figures.aws_actions} actions of functions' roles used, {figures.aws_calls_refused} refused"
    yield _titled("privileges", f"{figures.aws_calls} calls to AWS, {roles}")
    yield _titled("time", f"{figures.seconds:.0f} s, of these {figures.flow_seconds:.0f} s for the documents")


def _large(each: LargeUpload) -> str:
    taken = "not ended" if each.seconds is None else f"{each.seconds:.0f} s"
    again = f"{each.bytes_sent_again / MEGABYTE:.0f} MB sent again"
    memory = f"at most {each.peak_memory_bytes / MEBIBYTE:.0f} MiB of memory" if each.peak_memory_bytes else ""
    figures = (f"{each.bytes / MEGABYTE:.0f} MB", taken, f"{each.interruptions} × interrupted", again, memory)
    return ", ".join(figure for figure in figures if figure)


def _titled(title: str, text: str) -> str:
    return f"{title:<{TITLE_CELLS}} {text}"


def _figures(figures: Summary, names: tuple[str, ...]) -> str:
    values = asdict(figures)
    return ", ".join(f"{values[name]} {name.replace('_', ' ')}" for name in names)


def _events(figures: Summary) -> list[str]:
    return [f"{count} {kind}" for kind, count in figures.events.items()] or ["none"]


def _conclusion(moment: Moment) -> str:
    if moment.verdict.ok:
        return f"{OK} Every document and every drop reached the end it should."
    wrong = sum(not each.ok for each in moment.findings)
    return f"{WRONG} {wrong} documents or drops did not reach the end they should."


def as_json(moment: Moment, figures: Summary) -> dict[str, Any]:
    """The whole result for machines."""
    shown = lines(moment)
    documents = [
        {"portal": each.portal, "connection": each.connection, "id": each.id, "name": each.label, **_outcome(line)}
        for each, line in zip(moment.scenario.documents, shown, strict=False)
    ]
    drops = [
        {"key": each.key, "versionId": each.version_id, "code": each.code, **_outcome(line)}
        for each, line in zip(moment.scenario.drops, shown[len(documents) :], strict=True)
    ]
    return {
        "ok": moment.verdict.ok,
        "documents": documents,
        "drops": drops,
        "problems": list(moment.verdict.problems),
        "summary": _camel(asdict(figures)),
    }


def _outcome(line: Line) -> dict[str, Any]:
    return {
        "expected": line.expected.value,
        "reached": str(line.finding.reached),
        "ok": line.finding.ok,
        "problems": list(line.finding.problems),
        "seconds": None if line.seconds is None else round(line.seconds, 1),
        "story": line.story,
    }


def _camel(values: Mapping[str, Any]) -> dict[str, Any]:
    """Names as JSON writes them; the keys of inner mappings that are names of things stay as they are."""
    return {_camel_name(name): _camel_value(value) for name, value in values.items()}


def _camel_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_camel_value(each) for each in value]
    return _camel(value) if isinstance(value, dict) else value


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
