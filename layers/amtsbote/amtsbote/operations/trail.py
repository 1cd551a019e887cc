"""The trail: what happened to each document, and what people did, told step by step, and whether it is still whole."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from amtsbote.audit import Deed, facts_of, facts_of_deed, unsealed, verify, verify_deeds
from amtsbote.deliveries import DropRow
from amtsbote.errors import AmtsboteError
from amtsbote.keys import document_key, item_prefix
from amtsbote.lifecycle import ItemRow, Past
from amtsbote.operations.documents import UNROUTED, Question, accounts_of, entries, find
from amtsbote.operations.office import Account, Intent, Office
from amtsbote.storage import get_or_none
from amtsbote.times import sortable

PAGE_ROWS = 500  # in memory at once
WHOLE_STACK = UNROUTED
"""The trail of what concerns no single connection."""

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Verified:
    """Whether a document's trail is whole: `wrong` says what is not, and at which step.

    Of `steps`, `unsealed` were kept before there were seals.
    """

    document: str
    steps: int
    unsealed: int
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What a check of many trails found; `broken` are those that are not whole, the first 1000 of them."""

    documents: int
    steps: int
    unsealed: int
    actions: int
    broken_count: int
    broken: tuple[Verified, ...] = ()


BROKEN_AT_MOST = 1000


# --- leaving a trail -------------------------------------------------------------------------------------------------


def on_trail(
    office: Office, action: str, accounts: Sequence[Account], intent: Intent, about: str | None = None
) -> Intent:
    """Return an intent that leaves a line in the trail of each of the connections when it is carried out."""

    def do() -> object:
        with leaving_trail(office, action, accounts, about):
            return intent.do()

    return Intent(intent.says, do)


@contextmanager
def leaving_trail(office: Office, action: str, accounts: Sequence[Account], about: str | None = None) -> Iterator[None]:
    """Note an action before it is done, so that none is done that is not noted, and once more where it fails."""
    deeds = [Deed(each.portal, each.name, 0, office.clock(), action, office.actor, about) for each in accounts]
    for deed in deeds:
        office.ledger.note_deed(deed)
    try:
        yield
    except Exception as error:
        code = error.code if isinstance(error, AmtsboteError) else type(error).__name__
        for deed in deeds:
            office.ledger.note_deed(replace(deed, at=office.clock(), failed=code))
        raise


# --- telling it ------------------------------------------------------------------------------------------------------


def lines(office: Office, question: Question) -> Iterator[Line]:
    """Yield the whole life of each document first seen in the time asked for, then the actions of that time.

    Connection by connection, newest document first, one page of rows in memory. Names are camelCase; moments are UTC
    with microseconds, as the digests are over them (`audit`).
    """
    for account in places_of(office, question):
        for row in rows_of(office, account, question):
            yield from lines_of(row)
        for deed in deeds_of(office, account):
            if _within(deed.at, question):
                yield _line_of(deed)


def places_of(office: Office, question: Question) -> list[Account]:
    """Return the connections that a question is about, and last the stack as a whole."""
    return sorted(accounts_of(office, question), key=lambda each: (each == WHOLE_STACK, str(each)))


def rows_of(office: Office, account: Account, question: Question) -> Iterator[ItemRow | DropRow]:
    """Yield the rows of one connection that were opened in the time asked for, newest first, read page by page."""
    after: str | None = None
    while True:
        page = entries(office, [account], question, PAGE_ROWS, after)
        yield from office.ledger.rows([entry.key for entry in page]).values()
        if len(page) < PAGE_ROWS:
            return
        after = page[-1].at


def deeds_of(office: Office, account: Account) -> Iterator[Deed]:
    """Yield all that people did with a connection, from the first on."""
    after = 0
    while page := office.ledger.deeds(account.portal, account.name, after=after, limit=PAGE_ROWS):
        yield from page
        after = page[-1].number


def lines_of(row: ItemRow | DropRow) -> Iterator[Line]:
    """Yield a line per step of a row, then those that the portal told of a delivery, which are not sealed."""
    which = _which(row)
    for number, past in enumerate(row.history, start=1):
        seal = row.seal if number == len(row.history) else None
        yield _said({**which, **facts_of(past), "digest": past.digest, "after": past.after, "seal": seal})
    for step in row.steps if isinstance(row, DropRow) else ():
        yield _said({**which, "kind": "portal-step", "at": sortable(step.at), "state": step.state})


def _which(row: ItemRow | DropRow) -> dict[str, Any]:
    where = {"portal": row.portal, "connection": row.connection}
    if isinstance(row, DropRow):
        return {"kind": "delivery", **where, "bucket": row.bucket, "key": row.key, "version": row.version_id}
    return {"kind": "item", **where, "id": row.id}


def _line_of(deed: Deed) -> Line:
    where = {"kind": "action", "portal": deed.portal, "connection": deed.connection}
    return _said({**where, **facts_of_deed(deed), "digest": deed.digest})


def _said(facts: Mapping[str, Any]) -> Line:
    return {name: value for name, value in facts.items() if value is not None}


def _within(at: datetime, question: Question) -> bool:
    return (question.since is None or at >= question.since) and (question.until is None or at < question.until)


# --- holding it against itself ---------------------------------------------------------------------------------------


def verified(office: Office, name: str) -> Verified:
    """Return whether the trail of one document is whole, and its document.json the one that was stored."""
    row = find(office, name)
    whole = _verified(row)
    return whole if isinstance(row, DropRow) else replace(whole, wrong=(*whole.wrong, *_document_differs(office, row)))


def check(office: Office, question: Question) -> Checked:
    """Hold every trail of the documents first seen in the time asked for, and all actions, against themselves."""
    found = Checked(0, 0, 0, 0, 0)
    for account in places_of(office, question):
        for row in rows_of(office, account, question):
            found = _counted(found, _verified(row))
        found = _with_actions(office, account, found)
    return found


def _verified(row: ItemRow | DropRow) -> Verified:
    name = row.key if isinstance(row, DropRow) else f"{row.portal}/{row.connection}/{row.id}"
    return Verified(name, len(row.history), unsealed(row), tuple(verify(row)))


def _counted(found: Checked, one: Verified) -> Checked:
    documents, steps = found.documents + 1, found.steps + one.steps
    return _broken(replace(found, documents=documents, steps=steps, unsealed=found.unsealed + one.unsealed), one)


def _broken(found: Checked, one: Verified) -> Checked:
    if not one.wrong:
        return found
    kept = (*found.broken, one)[:BROKEN_AT_MOST]
    return replace(found, broken_count=found.broken_count + 1, broken=kept)


def _with_actions(office: Office, account: Account, found: Checked) -> Checked:
    last: Deed | None = None
    wrong: list[str] = []
    count = 0
    for deed in deeds_of(office, account):
        wrong += verify_deeds([deed], last)[: BROKEN_AT_MOST - len(wrong)]
        last, count = deed, count + 1
    of = str(account) if account != WHOLE_STACK else "the whole stack"
    return _broken(replace(found, actions=found.actions + count), Verified(f"actions on {of}", count, 0, tuple(wrong)))


def _document_differs(office: Office, row: ItemRow) -> list[str]:
    """Return a complaint where document.json is not what the trail says was stored; what is gone is not missed."""
    known: list[Past] = [past for past in row.history if past.sha256 is not None]
    key = document_key(item_prefix(row.portal, row.connection, row.id))
    there = get_or_none(office.s3, office.stack.inbox_bucket, key) if known else None
    if there is None or sha256(there[0]).hexdigest() == known[-1].sha256:
        return []
    return [f"{key} is not the one that was stored: its SHA-256 differs"]
