"""How many documents came and went on each of the last days, counted in the ledger's index `shelves`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from amtsbote.batches import side_by_side
from amtsbote.ledger import Kind, Place, Shelved
from amtsbote.operations.documents import READERS, SHELVES
from amtsbote.operations.office import Account, Office

DAYS = 7
ROWS_AT_MOST = 2000  # of one shelf; what there is beyond them is said to be there, and not counted


@dataclass(frozen=True)
class Day:
    """What was first seen on one day of the operator's calendar. Where `more`, it was at least that much."""

    day: date
    received: int
    sent: int
    more: bool = False


def traffic(office: Office, accounts: Sequence[Account]) -> list[Day]:
    """Return the last days, the oldest first: one query per connection and shelf, each with a limit."""
    today = office.clock().astimezone().date()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    begin = datetime.combine(days[0], time()).astimezone()
    places = [
        Place(kind, each.portal, each.name, shelf) for each in accounts for kind in Kind for shelf in SHELVES[kind]
    ]

    def read(place: Place) -> list[Shelved]:
        return office.ledger.on_shelf(place, since=begin, limit=ROWS_AT_MOST)

    found = list(zip(places, side_by_side(read, places, READERS), strict=True))
    counts = Counter((place.kind, day_of(entry)) for place, entries in found for entry in entries)
    unsure = _last_sure_day(entries for _, entries in found)
    return [
        Day(day, counts[Kind.ITEM, day], counts[Kind.DROP, day], more=unsure is not None and day <= unsure)
        for day in days
    ]


def day_of(entry: Shelved) -> date:
    """Return the day, by the operator's clock, on which an entry's row was opened."""
    return datetime.fromisoformat(entry.at.partition("#")[0]).astimezone().date()


def _last_sure_day(shelves: Iterable[Sequence[Shelved]]) -> date | None:
    """Return the newest day of which something may not have been read; entries come newest first."""
    cut = [day_of(entries[-1]) for entries in shelves if len(entries) >= ROWS_AT_MOST]
    return max(cut, default=None)
