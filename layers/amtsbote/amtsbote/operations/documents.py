"""Looking for documents: by connection, state and time, by the portal's id, by file name, case number or job.

Each question is a handful of queries of the ledger with a limit, whatever the number of rows; none reads the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from heapq import merge
from itertools import islice, product

from amtsbote.batches import side_by_side
from amtsbote.deliveries import DropRow, DropState
from amtsbote.errors import Reject
from amtsbote.ledger import Kind, Place, Shelved, begin_of, item_key
from amtsbote.lifecycle import COMMON_NAMES, ItemRow, Shelf, State, Subject, Word, id_in_name, spelled
from amtsbote.operations.office import Account, Office, is_connection
from amtsbote.operations.sentences import said
from amtsbote.times import sortable

READERS = 8  # queries side by side
PAGE_ROWS = 25
PAGE_ROWS_AT_MOST = 500
WORD_ROWS_AT_MOST = 1000  # of one connection; who finds more than that has to say more
UNROUTED = Account("", "")

SHELVES = {
    Kind.ITEM: (Shelf.ARRIVING, Shelf.STORED, Shelf.ACKNOWLEDGED, Shelf.QUARANTINED, Shelf.UNAVAILABLE, Shelf.ERASED),
    Kind.DROP: (Shelf.UNDER_WAY, Shelf.DELIVERED, Shelf.FAILED, Shelf.ERASED),
}
STATES = tuple(dict.fromkeys([*map(str, State), *map(str, DropState)]))
SHELF_OF: Mapping[str, Shelf] = {
    State.DISCOVERED: Shelf.ARRIVING,
    State.FETCHING: Shelf.ARRIVING,
    DropState.RECEIVED: Shelf.UNDER_WAY,
    DropState.SENDING: Shelf.UNDER_WAY,
    DropState.SENT: Shelf.UNDER_WAY,
    State.ERASING: Shelf.ERASED,
}
"""The shelves of the states that have none of their own."""


class Direction(StrEnum):
    """Which way a document goes."""

    IN = "in"
    OUT = "out"


DIRECTIONS = {Kind.ITEM: Direction.IN, Kind.DROP: Direction.OUT}


@dataclass(frozen=True)
class Question:
    """What documents are looked for. `since` and `until` (UTC) are about when Amtsbote first saw them.

    `file`, `case` and `job` are whole words without regard to case; a `*` at the end stands for any rest. `portal_id`
    is that of a delivery at the portal.
    """

    portal: str | None = None
    connection: str | None = None
    direction: Direction | None = None
    states: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    file: str | None = None
    case: str | None = None
    job: str | None = None
    portal_id: str | None = None

    @property
    def words(self) -> list[tuple[Subject, str]]:
        """Return the words that are looked for."""
        asked = (
            (Subject.FILE, self.file),
            (Subject.CASE, self.case),
            (Subject.JOB, self.job),
            (Subject.PORTAL_ID, self.portal_id),
        )
        return [(subject, text) for subject, text in asked if text is not None]

    @property
    def kinds(self) -> list[Kind]:
        """Return the kinds of rows that are looked for."""
        return [kind for kind, direction in DIRECTIONS.items() if self.direction in (None, direction)]


@dataclass(frozen=True)
class Document:
    """One document in a list: an item by its portal's id, a delivery by its outbox key and version."""

    direction: Direction
    portal: str
    connection: str
    id: str
    state: str
    seen_at: datetime
    changed_at: datetime
    reason: str | None = None
    version_id: str | None = None
    portal_id: str | None = None

    @property
    def name(self) -> str:
        """Return the name under which `show` finds it."""
        return self.id if self.direction is Direction.OUT else f"{self.portal}/{self.connection}/{self.id}"


@dataclass(frozen=True)
class Page:
    """Some of the documents, newest first; `more` asks for the next ones, None where these are the last."""

    documents: tuple[Document, ...] = ()
    more: str | None = field(default=None)


def documents(office: Office, question: Question, *, limit: int = PAGE_ROWS, after: str | None = None) -> Page:
    """Return the documents that a question asks for, `after` the page that gave this token.

    A page may hold fewer than `limit` and yet not be the last. Reject where the question makes no sense.
    """
    _check(question, limit)
    if question.words:
        found_entries = _by_words(office, question)
    else:
        found_entries = entries(office, accounts_of(office, question), question, limit + 1, after)
    older = [entry for entry in found_entries if after is None or entry.at < after]
    page, rest = older[:limit], older[limit:]
    rows = office.ledger.rows(list(dict.fromkeys(entry.key for entry in page)))
    found = tuple(document_of(row) for row in rows.values() if not question.states or row.state in question.states)
    return Page(found, page[-1].at if rest else None)


def document_of(row: ItemRow | DropRow) -> Document:
    """Return a row as lists show it."""
    latest = row.history[-1]
    if isinstance(row, ItemRow):
        at = (row.discovered_at, latest.at)
        return Document(Direction.IN, row.portal, row.connection, row.id, row.state, *at, row.reason)
    code = row.failure.code if row.failure else latest.reason
    return Document(
        Direction.OUT,
        row.portal,
        row.connection,
        row.key,
        row.state,
        row.received_at,
        latest.at,
        code,
        row.version_id,
        row.portal_id,
    )


def find(office: Office, name: str) -> ItemRow | DropRow:
    """Return the one document of that name. Reject where there is none, or more than one: it lists their full names.

    A name is `<portal>/<connection>/<id>`, the portal's id alone, or an outbox key, whose newest version it means.
    """
    found = _named(office, name.removesuffix("/document.json")) or _with_id(office, name)
    if not found:
        raise Reject("NOT_FOUND", said("nothing is known of {name}; look for it with `documents`", name=name))
    if len(found) > 1:
        names = ", ".join(document_of(row).name for row in found)
        raise Reject(
            "AMBIGUOUS", said("{name} may be any of {names}; name one of them in full", name=name, names=names)
        )
    return found[0]


def require_item(office: Office, name: str) -> ItemRow:
    """Return the one inbound item of that name; Reject where it is a delivery."""
    row = find(office, name)
    if isinstance(row, DropRow):
        raise Reject("NOT_INCOMING", said("{name} is a delivery, and this is about what arrives", name=name))
    return row


def _named(office: Office, name: str) -> list[ItemRow | DropRow]:
    """Return the item and the delivery that have this full name."""
    portal, _, rest = name.partition("/")
    connection, _, id_ = rest.partition("/")
    item = office.ledger.item(portal, connection, id_) if id_ and is_connection(portal, connection) else None
    drop = office.ledger.newest_drop(office.stack.outbox_bucket, name)
    return [row for row in (item, drop) if row is not None]


def _with_id(office: Office, id_: str) -> list[ItemRow | DropRow]:
    """Return the items and the deliveries that have this id at their portal, whichever it is."""
    accounts = office.accounts_with_rows()
    keys = [item_key(each.portal, each.name, id_) for each in accounts]
    sent = _found(office, accounts, Subject.PORTAL_ID, id_)
    return list(office.ledger.rows([*keys, *(entry.key for entry in sent)]).values())


# --- by shelves ------------------------------------------------------------------------------------------------------


def entries(
    office: Office, accounts: Sequence[Account], question: Question, limit: int, after: str | None = None
) -> list[Shelved]:
    """Return up to `limit` entries of these connections' shelves, newest first, `after` the one of that moment.

    Of the question only direction, states and time count.
    """
    before = after or (sortable(question.until) if question.until else None)

    def read(place: Place) -> list[Shelved]:
        return office.ledger.on_shelf(place, since=question.since, before=before, limit=limit)

    shelves = side_by_side(read, list(_places(accounts, question)), READERS)
    newest = merge(*shelves, key=lambda entry: entry.at, reverse=True)
    return list(islice(dict.fromkeys(newest), limit))  # one that is being moved may stand on two


def _places(accounts: Sequence[Account], question: Question) -> Iterable[Place]:
    for kind in question.kinds:
        own = accounts if kind is Kind.DROP else [each for each in accounts if each != UNROUTED]
        shelves = [shelf for shelf in SHELVES[kind] if not question.states or shelf in _shelves(question.states)]
        for account, shelf in product(own, shelves):
            yield Place(kind, account.portal, account.name, shelf)


def accounts_of(office: Office, question: Question) -> list[Account]:
    """Return the connections that a question is about; without a name, also the place of drops that fit no rule."""
    unrouted = [] if question.portal or question.connection else [UNROUTED]
    return [*office.accounts_with_rows(question.portal, question.connection), *unrouted]


def _shelves(states: Iterable[str]) -> set[str]:
    return {SHELF_OF.get(state, state) for state in states}


# --- by words --------------------------------------------------------------------------------------------------------


def _by_words(office: Office, question: Question) -> list[Shelved]:
    """Return the entries that all the words speak of, newest first."""
    accounts = accounts_of(office, question)
    # by key: two polls that see an item at once both write its words, each with its own moment
    found = [
        {entry.key: entry for entry in _found(office, accounts, subject, text)} for subject, text in question.words
    ]
    entries = [found[0][key] for key in set.intersection(*map(set, found))]
    return sorted((each for each in entries if _within(each, question)), key=lambda each: each.at, reverse=True)


def _found(office: Office, accounts: Sequence[Account], subject: Subject, text: str) -> list[Shelved]:
    _require_own_name(subject, text)
    word, begins = Word(subject, spelled(text.removesuffix("*"))), text.endswith("*")

    def read(account: Account) -> list[Shelved]:
        return office.ledger.found_by(
            account.portal, account.name, word, only_begins=begins, limit=WORD_ROWS_AT_MOST + 1
        )

    lists = side_by_side(read, accounts, READERS)
    if any(len(found) > WORD_ROWS_AT_MOST for found in lists):
        pattern = "more than {count} documents are found by {text}; give more of the word"
        raise Reject("TOO_MANY", said(pattern, count=WORD_ROWS_AT_MOST, text=text))
    return [*(entry for found in lists for entry in found), *_named_by_id(office, accounts, subject, text)]


def _require_own_name(subject: Subject, text: str) -> None:
    """Reject a name that every document of a portal has a file of."""
    portal = COMMON_NAMES.get(spelled(text)) if subject is Subject.FILE else None
    if portal is not None:
        pattern = "every document of {portal} has a {text}; ask for what came in from it (--in --portal {portal})"
        raise Reject("EVERY_ONE_HAS_IT", said(pattern, portal=portal, text=text))


def _named_by_id(office: Office, accounts: Sequence[Account], subject: Subject, text: str) -> list[Shelved]:
    """Return the items that a file's name follows from, which are not found by a word."""
    id_ = id_in_name(spelled(text)) if subject is Subject.FILE else None
    keys = [item_key(each.portal, each.name, id_) for each in accounts] if id_ else []
    return [Shelved(begin_of(row), key) for key, row in office.ledger.rows(keys).items()]


def _within(entry: Shelved, question: Question) -> bool:
    since = question.since is None or entry.at >= sortable(question.since)
    until = question.until is None or entry.at < sortable(question.until)
    return since and until and entry.key[0].partition("#")[0] in question.kinds


def _check(question: Question, limit: int) -> None:
    unknown = [state for state in question.states if state not in STATES]
    if unknown:
        why = said("{name} is no state; there are {states}", name=unknown[0], states=", ".join(STATES))
        raise Reject("UNKNOWN_STATE", why)
    if not 1 <= limit <= PAGE_ROWS_AT_MOST:
        raise Reject("WRONG_LIMIT", said("a page has 1 to {count} documents", count=PAGE_ROWS_AT_MOST))
    if question.portal and question.connection and not is_connection(question.portal, question.connection):
        name = f"{question.portal}/{question.connection}"
        raise Reject("WRONG_CONNECTION", said("{name} cannot be a connection", name=name))
