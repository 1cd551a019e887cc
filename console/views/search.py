"""Looking for documents: the form, what its fields mean, and the page of what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from amtsbote.cli.moments import end_of_day
from amtsbote.deliveries import DropState
from amtsbote.errors import Reject
from amtsbote.ledger import item_key
from amtsbote.lifecycle import Shelf, State
from amtsbote.operations.documents import Direction, Document, Page, Question, document_of, documents
from amtsbote.operations.office import Account
from amtsbote.operations.sentences import said
from console.desk import Desk
from console.headlines import headlines

ANYTHING, PORTAL_ID = "anything", "portal_id"
FIELDS = (ANYTHING, "case", "file", "job", PORTAL_ID)
"""What a word may be looked for in."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    Shelf.ARRIVING: (State.DISCOVERED, State.FETCHING),
    Shelf.UNDER_WAY: (DropState.RECEIVED, DropState.SENDING, DropState.SENT),
}
"""Names for several states at once: those that pass by themselves."""
STATES: Mapping[str, tuple[str, ...]] = {
    Direction.IN: (Shelf.ARRIVING, *State),
    Direction.OUT: (Shelf.UNDER_WAY, *DropState),
}
DAYS_AT_HAND = 7
NEEDING_A_REASON = frozenset({State.QUARANTINED, State.UNAVAILABLE, State.STORED, DropState.FAILED})
"""States of which a list says the reason: why it is not well, or why it waits."""


@dataclass(frozen=True)
class Asked:
    """What the form says, as text; an empty field asks for nothing."""

    text: str = ""
    within: str = ANYTHING
    connection: str = ""
    direction: str = ""
    state: str = ""
    first: str = ""
    last: str = ""
    after: str = ""

    @classmethod
    def of(cls, query: QueryParams) -> "Asked":
        """Return what an address asks for."""
        names = ("text", "within", "connection", "direction", "state", "first", "last", "after")
        asked = cls(**{name: query.get(name, "").strip() for name in names})
        return asked if asked.within in FIELDS else replace(asked, within=ANYTHING)

    @property
    def address(self) -> str:
        """Return the address of the page that answers this."""
        said = {name: value for name, value in vars(self).items() if value and (name, value) != ("within", ANYTHING)}
        return f"/search?{urlencode(said)}" if said else "/search"


def view(desk: Desk, request: Request) -> Response:
    """Show the form and what is found."""
    asked = Asked.of(request.query_params)
    accounts = desk.office.accounts_with_rows()
    refusal: Reject | None = None
    page = Page()
    try:
        page = found(desk, asked, accounts)
    except Reject as error:
        refusal = error
    return desk.pages.show(
        request,
        "search.html",
        200 if refusal is None else 400,
        asked=asked,
        page=page,
        found=list(zip(page.documents, headlines(desk.office, page.documents), strict=True)),
        needing_a_reason=NEEDING_A_REASON,
        refusal=refusal,
        accounts=accounts,
        fields=FIELDS,
        states=STATES,
        days=_days_at_hand(desk.office.clock()),
        onward=replace(asked, after=page.more).address if page.more else None,
        first=replace(asked, after="").address if asked.after else None,
        on_day=lambda day: replace(asked, first=str(day), last=str(day), after="").address,
    )


def found(desk: Desk, asked: Asked, accounts: Sequence[Account]) -> Page:
    """Return the documents that are asked for; Reject where the form makes no sense."""
    question = question_of(asked)
    if not asked.text:
        return documents(desk.office, question, after=asked.after or None)
    if asked.within not in (ANYTHING, PORTAL_ID):
        return documents(desk.office, _with_word(question, asked.within, asked.text), after=asked.after or None)
    words = ("case", "file", "job", PORTAL_ID) if asked.within == ANYTHING else (PORTAL_ID,)
    pages = [documents(desk.office, _with_word(question, word, asked.text)) for word in words]
    named = [each for each in _with_id(desk, asked.text, accounts) if _fits(each, question)]
    documents_found = [*named, *(each for page in pages for each in page.documents)]
    once = {(each.name, each.version_id): each for each in documents_found}
    return Page(tuple(sorted(once.values(), key=lambda each: each.seen_at, reverse=True)), _any_more(pages))


def _with_word(question: Question, field: str, text: str) -> Question:
    words: Mapping[str, Any] = {field: text}
    return replace(question, **words)


def question_of(asked: Asked) -> Question:
    """Return the question without its words; days are those of the operator's calendar."""
    portal, _, connection = asked.connection.partition("/")
    return Question(
        portal=portal or None,
        connection=connection or None,
        direction=Direction(asked.direction) if asked.direction in set(Direction) else None,
        states=GROUPS.get(asked.state, (asked.state,)) if asked.state else (),
        since=_begin_of(asked.first) if asked.first else None,
        until=end_of_day(_begin_of(asked.last)) if asked.last else None,
    )


def _with_id(desk: Desk, text: str, accounts: Sequence[Account]) -> list[Document]:
    """Return what arrives and has that id at its portal, or that full name."""
    keys = [item_key(each.portal, each.name, text.removeprefix(f"{each}/")) for each in accounts]
    return [document_of(row) for row in desk.office.ledger.rows(list(dict.fromkeys(keys))).values()]


def _fits(document: Document, question: Question) -> bool:
    return (
        question.portal in (None, document.portal)
        and question.connection in (None, document.connection)
        and question.direction in (None, document.direction)
        and (not question.states or document.state in question.states)
        and (question.since is None or question.since <= document.seen_at)
        and (question.until is None or document.seen_at < question.until)
    )


def _any_more(pages: Sequence[Page]) -> str | None:
    """Return the token of a search in one field alone; what lies in several has no order to go on in."""
    return pages[0].more if len(pages) == 1 else None


def _begin_of(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time()).astimezone()
    except (ValueError, OverflowError):
        raise Reject("WRONG_MOMENT", said("{text} is no day; say it as 2026-02-17", text=text)) from None


def _days_at_hand(now: datetime) -> list[date]:
    today = now.astimezone().date()
    return [today - timedelta(days=back) for back in range(DAYS_AT_HAND)]
