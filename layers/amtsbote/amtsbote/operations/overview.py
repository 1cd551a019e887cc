"""How everything is: each connection, what waits there, and what was given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from amtsbote.batches import side_by_side
from amtsbote.deliveries import DropRow
from amtsbote.errors import AmtsboteError
from amtsbote.ledger import Kind, Place
from amtsbote.lifecycle import ItemRow, Shelf
from amtsbote.operations.documents import SHELVES, UNROUTED
from amtsbote.operations.office import Account, Office
from amtsbote.status import ConnectionStatus

COUNTED_AT_MOST = 10_000  # then a count says that there are at least as many
LATELY = timedelta(days=1)
CONNECTIONS_AT_ONCE = 4
ENDED_WELL = frozenset({Shelf.ACKNOWLEDGED, Shelf.DELIVERED})
"""Shelves that grow for ever; of these only what was seen lately is counted."""


@dataclass(frozen=True)
class Health:
    """How one connection is. `problem` is None where it works, `failing_since` the last moment at which it did.

    `counts` is how many documents are in each state, COUNTED_AT_MOST meaning that or more; of what ended well only what
    came in the last 24 hours.
    """

    connection: str
    enabled: bool
    problem: str | None
    failing_since: datetime | None
    polled_at: datetime | None
    left_alone_until: datetime | None
    oldest_unacknowledged: datetime | None
    oldest_delivery: datetime | None
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Overview:
    """How everything is. `failed` counts the deliveries of the last day that failed, also those of no connection."""

    connections: tuple[Health, ...] = ()
    dead_letters: int = 0
    quarantined: int = 0
    failed: int = 0


def overview(office: Office, portal: str | None = None, connection: str | None = None) -> Overview:
    """Return how everything is, or how it is with the connections of one portal, or of one name."""
    accounts = office.accounts(portal, connection)
    found = side_by_side(lambda account: health(office, account), accounts, CONNECTIONS_AT_ONCE)
    quarantined = sum(each.counts[Shelf.QUARANTINED] for each in found)
    return Overview(tuple(found), dead_letters(office), quarantined, _failed_lately(office, found, portal, connection))


def _failed_lately(office: Office, found: Sequence[Health], portal: str | None, connection: str | None) -> int:
    """Count the failed deliveries of the last day: of these connections, of such as do not exist, and of no portal."""
    without = {each.connection for each in found if not each.counts[Shelf.FAILED]}
    accounts = [each for each in office.accounts_with_rows(portal, connection) if str(each) not in without]
    if not (portal or connection):
        accounts.append(UNROUTED)
    places = [_place(Kind.DROP, each, Shelf.FAILED) for each in accounts]
    lately = office.clock() - LATELY

    def count(place: Place) -> int:
        return office.ledger.count_on_shelf(place, since=lately, at_most=COUNTED_AT_MOST)

    return sum(side_by_side(count, places, CONNECTIONS_AT_ONCE))


def dead_letters(office: Office) -> int:
    """Return about how many requests were given up."""
    answer = office.sqs.get_queue_attributes(
        QueueUrl=office.stack.dead_letter_queue_url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def health(office: Office, account: Account) -> Health:
    """Return how one connection is."""
    status = office.ledger.status(account.portal, account.name)
    enabled, problem = _secret(office, account)
    problem = problem or status.reason
    return Health(
        connection=str(account),
        enabled=enabled,
        problem=problem,
        failing_since=(status.polled_at or status.failed_at) if problem else None,
        polled_at=status.polled_at,
        left_alone_until=_pause(office, status),
        oldest_unacknowledged=_oldest(office, _place(Kind.ITEM, account, Shelf.STORED)),
        oldest_delivery=_oldest(office, _place(Kind.DROP, account, Shelf.UNDER_WAY)),
        counts={
            shelf: _count(office, kind, account, shelf)
            for kind in Kind
            for shelf in SHELVES[kind]
            if shelf is not Shelf.ERASED
        },
    )


def _secret(office: Office, account: Account) -> tuple[bool, str | None]:
    """Return whether the connection is switched on, and what is wrong with its secret."""
    try:
        return bool(office.connections(account.portal).get(account.name).secret.enabled), None
    except AmtsboteError as error:
        return False, f"{error.code}: {error.message}"


def _pause(office: Office, status: ConnectionStatus) -> datetime | None:
    until = status.pause_until
    return until if until is not None and until > office.clock() else None


def _oldest(office: Office, place: Place) -> datetime | None:
    row: ItemRow | DropRow | None = office.ledger.oldest_on_shelf(place)
    if row is None:
        return None
    return row.received_at if isinstance(row, DropRow) else row.discovered_at


def _count(office: Office, kind: Kind, account: Account, shelf: Shelf) -> int:
    since = office.clock() - LATELY if shelf in ENDED_WELL else None
    return office.ledger.count_on_shelf(_place(kind, account, shelf), since=since, at_most=COUNTED_AT_MOST)


def _place(kind: Kind, account: Account, shelf: Shelf) -> Place:
    return Place(kind, account.portal, account.name, shelf)
