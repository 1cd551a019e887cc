"""The overview: how each connection is, what waits for a person, and the traffic of the last days."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from amtsbote.lifecycle import Shelf
from amtsbote.operations.documents import UNROUTED
from amtsbote.operations.overview import COUNTED_AT_MOST, Health, Overview, overview
from console.chart import chart
from console.desk import Desk
from console.retention import KEPT_FOR, Patience
from console.traffic import traffic

WORKS, PAUSED, NEW, SILENT, FAILS = "works", "paused", "new", "silent", "fails"
URGENCY = (FAILS, SILENT, NEW, PAUSED, WORKS)
NEEDS_SOMEBODY = (FAILS, SILENT)
SILENT_PARAMETER, SILENT_SECONDS = "NotPolledAlarmSeconds", "3600"


@dataclass(frozen=True)
class Card:
    """One connection as the overview shows it: its health in a word, and how long its oldest document has waited."""

    health: Health
    condition: str
    patience: Patience | None

    @property
    def portal(self) -> str:
        """Return the portal's name."""
        return self.health.connection.partition("/")[0]

    @property
    def counts(self) -> list[tuple[Shelf, int]]:
        """Return what there is, by shelf."""
        return [(Shelf(name), count) for name, count in self.health.counts.items() if count]


def view(desk: Desk, request: Request) -> Response:
    """Show how everything is."""
    found = overview(desk.office)
    now = desk.office.clock()
    cards = sorted(
        (_card(desk, each, now) for each in found.connections), key=lambda card: URGENCY.index(card.condition)
    )
    return desk.pages.show(
        request,
        "overview.html",
        cards=cards,
        found=found,
        under_way=sum(each.counts[Shelf.UNDER_WAY] for each in found.connections),
        failing=sum(card.condition in NEEDS_SOMEBODY for card in cards),
        is_calm=_is_calm(found, cards),
        number=number,
        now=now,
    )


def view_traffic(desk: Desk, request: Request) -> Response:
    """Show the last days: a chart, and the same as a table."""
    days = traffic(desk.office, [*desk.office.accounts_with_rows(), UNROUTED])
    template = "traffic_part.html" if "hx-request" in request.headers else "traffic.html"
    return desk.pages.show(request, template, days=days, chart=chart(days))


def number(count: int) -> str:
    """Return a count as it is shown; beyond what is counted there may be more."""
    return f"{count}+" if count >= COUNTED_AT_MOST else str(count)


def _card(desk: Desk, health: Health, now: datetime) -> Card:
    silent_after = timedelta(seconds=int(desk.office.stack.parameters.get(SILENT_PARAMETER, SILENT_SECONDS)))
    oldest, portal = health.oldest_unacknowledged, health.connection.partition("/")[0]
    patience = Patience(now - oldest, desk.alarms.get(portal), KEPT_FOR.get(portal)) if oldest else None
    return Card(health, _condition(health, now - silent_after), patience)


def _condition(health: Health, silent_since: datetime) -> str:
    """Return how a connection is in a word; one that no poll has reached for as long as raises an alarm is silent."""
    if health.problem is not None:
        return FAILS
    if not health.enabled:
        return PAUSED
    if health.polled_at is None:
        return NEW
    return SILENT if health.polled_at < silent_since else WORKS


def _is_calm(found: Overview, cards: list[Card]) -> bool:
    waits = found.dead_letters or found.quarantined or found.failed
    return not waits and all(card.condition not in NEEDS_SOMEBODY and not _is_late(card) for card in cards)


def _is_late(card: Card) -> bool:
    return card.patience is not None and card.patience.is_late
