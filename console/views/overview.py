"""The overview: how each connection is, what waits for a person, and the traffic of the last days."""

from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from amtsbote.lifecycle import Shelf
from amtsbote.operations.documents import UNROUTED
from amtsbote.operations.overview import COUNTED_AT_MOST, Health, Overview, overview
from console.chart import chart
from console.desk import Desk
from console.retention import KEPT_FOR, Patience
from console.traffic import traffic

WORKS, PAUSED, FAILS = "works", "paused", "fails"
URGENCY = (FAILS, PAUSED, WORKS)


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
        failing=sum(card.condition == FAILS for card in cards),
        is_calm=_is_calm(found, cards),
        number=number,
        now=now,
    )


def view_traffic(desk: Desk, request: Request) -> Response:
    """Show the last days: a chart, and the same as a table."""
    days = traffic(desk.office, [*desk.office.accounts(), UNROUTED])
    template = "traffic_part.html" if "hx-request" in request.headers else "traffic.html"
    return desk.pages.show(request, template, days=days, chart=chart(days))


def number(count: int) -> str:
    """Return a count as it is shown; beyond what is counted there may be more."""
    return f"{count}+" if count >= COUNTED_AT_MOST else str(count)


def _card(desk: Desk, health: Health, now: datetime) -> Card:
    condition = FAILS if health.problem is not None else WORKS if health.enabled else PAUSED
    oldest, portal = health.oldest_unacknowledged, health.connection.partition("/")[0]
    patience = Patience(now - oldest, desk.alarms.get(portal), KEPT_FOR.get(portal)) if oldest else None
    return Card(health, condition, patience)


def _is_calm(found: Overview, cards: list[Card]) -> bool:
    waits = found.dead_letters or found.quarantined or found.unrouted
    return not waits and all(card.condition != FAILS and not _is_late(card) for card in cards)


def _is_late(card: Card) -> bool:
    return card.patience is not None and card.patience.is_late
