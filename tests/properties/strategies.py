"""What the properties are tried with: lives of rows, hostile names, odd keys, listings."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from amtsbote.deliveries import (
    DropEvent,
    DropRow,
    DropState,
    Failed,
    Failure,
    Forgotten,
    Noted,
    Paused,
    Reported,
    ResendWanted,
    SendLease,
    Told,
    TrackLater,
    advance_drop,
    received,
)
from amtsbote.errors import LeaseLost
from amtsbote.lifecycle import (
    Acknowledged,
    AcknowledgeDeferred,
    AcknowledgeWanted,
    Committed,
    ContentLost,
    Contents,
    Deferred,
    Erased,
    ErasureBegun,
    FoundGone,
    FoundUnreadable,
    Hydrated,
    ImpossibleTransition,
    ItemEvent,
    ItemRow,
    LeaseTaken,
    Released,
    Reopened,
    Requeued,
    RetryWanted,
    State,
    advance,
    opened,
)
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import SHOWN, Delivery, Finding, Outcome, Step

Row = TypeVar("Row", ItemRow, DropRow)
Event = TypeVar("Event")

START = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
MOST_TURNS = 16
EXAMPLES_FOR_ALL_OF_A_GRAPH = 900

# --- moments ---

PAUSES = st.sampled_from([0, 0, 1, 30, 59, 60, 239, 240, 900, 3600, 86_400]).map(lambda s: timedelta(seconds=s))
"""How long nothing happens; never below zero, and often just what a lease or a pause lasts."""

AHEAD = st.one_of(PAUSES, st.integers(-3600, 10**6).map(lambda s: timedelta(seconds=s)))
MOMENTS = AHEAD.map(lambda ahead: START + ahead)

# --- lives ---


@dataclass(frozen=True)
class Turn(Generic[Row, Event]):
    """One event in the life of a row; where it was refused, `after` is the row before, and `refused` says why."""

    before: Row
    event: Event
    now: datetime
    after: Row
    refused: ImpossibleTransition | LeaseLost | None = None


LAGS = st.sampled_from(
    [0, 0, 0, 0, 0, 1, 2, -1]
)  # mostly the worker that holds the lease, sometimes one before or none
FENCED = st.just(1)  # only that there is a fence; its number comes from the lag
REASONS = st.sampled_from(["OUTAGE", "LOCKED", "GONE"])


@st.composite
def lives(
    draw: DrawFn,
    first: SearchStrategy[Row],
    events: SearchStrategy[Event],
    likely: Mapping[str, SearchStrategy[Event]],
    change: Callable[[Row, Event, datetime], Row],
) -> list[Turn[Row, Event]]:
    """Draw lives: events, possible or not, of any lease, at moments that do not go back.

    Every other event is one of those that are `likely` in the row's state, so that lives get anywhere. Any error of
    `change` but the two documented ones leaves here.
    """
    row, now, turns = draw(first), START, list[Turn[Row, Event]]()
    for _ in range(draw(st.integers(0, MOST_TURNS))):
        now += draw(PAUSES)
        drawn = draw(events) if draw(st.booleans()) else draw(likely.get(row.state, events))
        turns.append(_turn(row, aimed(drawn, row, now, draw(LAGS)), now, change))
        row = turns[-1].after
    return turns


def _turn(row: Row, event: Event, now: datetime, change: Callable[[Row, Event, datetime], Row]) -> Turn[Row, Event]:
    try:
        return Turn(row, event, now, change(row, event, now))
    except (ImpossibleTransition, LeaseLost) as refused:
        return Turn(row, event, now, row, refused)


def aimed(event: Event, row: ItemRow | DropRow, now: datetime, lag: int = 0) -> Event:
    """Return the event as it happens to this row now: its `until` counts from now, its fence lies `lag` leases back."""
    changes: dict[str, Any] = {}
    if getattr(event, "fence", None) is not None:
        changes["fence"] = row.fence - lag
    if (until := getattr(event, "until", None)) is not None:
        changes["until"] = now + (until - START)
    changeable: Any = event
    return cast(Event, changeable._replace(**changes))


# --- erasures ---

STATES_OF_RULES = st.sampled_from(["STORED", "ACKNOWLEDGED", "UNAVAILABLE", "DELIVERED", "FAILED", "QUARANTINED"])
ERASURES = st.builds(ErasureBegun, STATES_OF_RULES, MOMENTS)
ENDS_OF_ERASURES = st.builds(Erased, st.none() | MOMENTS)


def erasures_of(state: str) -> SearchStrategy[ErasureBegun]:
    """Draw erasures that are likely to be possible in that state."""
    return st.builds(ErasureBegun, st.just(state), st.just(START + timedelta(days=365)))


# --- inbound items ---

RECORDS = st.sampled_from(['{"id": 1}', '{"id": 1, "more": true}'])
CONTENTS = st.builds(
    Contents,
    st.sampled_from([(), ("a.pdf",), ("message-214.zip", "a.pdf", "b.pdf")]),
    st.none() | st.integers(0, 10**12),
    st.none() | st.just("ab" * 32),
)
ITEM_EVENTS: SearchStrategy[ItemEvent] = st.one_of(
    st.builds(LeaseTaken, MOMENTS),
    st.builds(Hydrated, RECORDS),
    st.builds(Requeued),
    st.builds(Reopened, RECORDS),
    st.builds(Committed, st.sampled_from(AcknowledgePolicy), CONTENTS),
    st.builds(Deferred, FENCED, MOMENTS, REASONS),
    st.builds(FoundUnreadable, FENCED, REASONS),
    st.builds(FoundGone, REASONS, st.none() | FENCED),
    st.builds(AcknowledgeWanted, st.booleans()),
    st.builds(Acknowledged, REASONS),
    st.builds(AcknowledgeDeferred, MOMENTS, REASONS),
    st.builds(RetryWanted),
    st.builds(Released, st.sampled_from(AcknowledgePolicy), CONTENTS),
    st.builds(ContentLost),
    ERASURES,
    ENDS_OF_ERASURES,
)
FINDINGS = st.builds(
    Finding,
    id=st.sampled_from(["214", "50012/0c1b"]),
    created_at=st.none() | MOMENTS,
    record=st.just({"id": 1}),
    waiting_for=st.sampled_from([None, None, None, "hydration"]),
    hints=st.just({"account": "7"}),
)
FIRST_ITEMS: SearchStrategy[ItemRow] = FINDINGS.map(
    lambda finding: opened("duba", "klinikum", finding, json.dumps(finding.record), START)
)
ItemTurn = Turn[ItemRow, ItemEvent]


ENDS_OF_A_FETCH: SearchStrategy[ItemEvent] = st.one_of(
    st.builds(Committed, st.sampled_from(AcknowledgePolicy), CONTENTS),
    st.builds(Deferred, FENCED, MOMENTS, REASONS),
    st.builds(FoundGone, REASONS, FENCED),
    st.builds(FoundUnreadable, FENCED, REASONS),
)
ANSWERS_TO_AN_ACKNOWLEDGEMENT: SearchStrategy[ItemEvent] = st.one_of(
    st.builds(FoundGone, REASONS), st.builds(Acknowledged, REASONS), st.builds(AcknowledgeDeferred, MOMENTS, REASONS)
)
LIKELY_FOR_ITEMS: Mapping[str, SearchStrategy[ItemEvent]] = {
    State.DISCOVERED: st.builds(LeaseTaken, MOMENTS),
    State.FETCHING: ENDS_OF_A_FETCH,
    State.STORED: st.one_of(
        erasures_of(State.STORED), ANSWERS_TO_AN_ACKNOWLEDGEMENT, erasures_of(State.STORED), st.builds(ContentLost)
    ),
    State.ACKNOWLEDGED: erasures_of(State.ACKNOWLEDGED),
    State.UNAVAILABLE: st.one_of(st.builds(Reopened, RECORDS), st.builds(RetryWanted), erasures_of(State.UNAVAILABLE)),
    State.ERASING: ENDS_OF_ERASURES,
    State.ERASED: st.one_of(st.builds(Reopened, RECORDS), ENDS_OF_ERASURES),
    State.QUARANTINED: st.one_of(
        st.builds(RetryWanted), st.builds(Released, st.sampled_from(AcknowledgePolicy), CONTENTS)
    ),
}
ITEM_LIVES: SearchStrategy[list[ItemTurn]] = lives(FIRST_ITEMS, ITEM_EVENTS, LIKELY_FOR_ITEMS, advance)

# --- drops ---

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
RESULTS = st.sampled_from([{}, {}, {"magicLink": "https://x"}, {"ort": "Köln", "at": START}])
STEPS = st.builds(Step, MOMENTS, st.sampled_from(["UPLOADED", "PRINTED", "SENT"]))
DELIVERIES = st.builds(
    Delivery,
    portal_id=st.sampled_from(["up-7", "up-8"]),
    outcome=st.sampled_from([Outcome.IN_PROGRESS, *Outcome]),
    steps=st.just(()) | st.lists(STEPS, max_size=3).map(tuple),
    result=RESULTS,
    error_code=st.none() | REASONS,
    error_message=st.none() | st.just("infected"),
    secret_until=st.none() | st.none() | MOMENTS,
)
FAILURES = st.builds(Failure, REASONS, st.text(max_size=8), st.booleans())
JOURNALS = st.just('{"part": 3}') | st.builds(
    lambda at: json.dumps({SHOWN: {"at": at.isoformat(), "result": {"bytesSent": 3}}}), MOMENTS
)
DROP_EVENTS: SearchStrategy[DropEvent] = st.one_of(
    st.builds(SendLease, MOMENTS),
    st.builds(Noted, FENCED, JOURNALS),
    st.builds(Paused, FENCED, st.none() | REASONS),
    st.builds(Reported, DELIVERIES, FENCED, st.none() | st.integers(0, 10**12)),
    st.builds(Reported, DELIVERIES, st.none()),
    st.builds(Told),
    st.builds(Forgotten),
    st.builds(TrackLater, MOMENTS),
    st.builds(Failed, FAILURES, st.none() | FENCED),
    st.builds(ResendWanted),
    ERASURES,
    ENDS_OF_ERASURES,
)
FIRST_DROPS: SearchStrategy[DropRow] = st.sampled_from([("docxworld", "klinikum"), ("docxworld", "k"), ("", "")]).map(
    lambda address: received("outbox", "docxworld/klinikum/ziel/brief.pdf", "v1", "0001", address, START)
)
DropTurn = Turn[DropRow, DropEvent]


LIKELY_FOR_DROPS: Mapping[str, SearchStrategy[DropEvent]] = {
    DropState.RECEIVED: st.one_of(
        st.builds(SendLease, MOMENTS), st.builds(SendLease, MOMENTS), st.builds(Failed, FAILURES, st.none())
    ),
    DropState.SENDING: st.one_of(
        st.builds(Reported, DELIVERIES, FENCED), st.builds(Paused, FENCED, REASONS), st.builds(Noted, FENCED, JOURNALS)
    ),
    DropState.SENT: st.builds(Reported, DELIVERIES, st.none()),
    DropState.DELIVERED: st.one_of(st.sampled_from([Told(), Forgotten()]), erasures_of(DropState.DELIVERED)),
    DropState.FAILED: st.one_of(st.sampled_from([Told(), ResendWanted()]), erasures_of(DropState.FAILED)),
    DropState.ERASING: ENDS_OF_ERASURES,
}
DROP_LIVES: SearchStrategy[list[DropTurn]] = lives(FIRST_DROPS, DROP_EVENTS, LIKELY_FOR_DROPS, advance_drop)
DROPS: SearchStrategy[DropRow] = st.one_of(FIRST_DROPS, DROP_LIVES.filter(bool).map(lambda life: life[-1].after))

# --- text ---

ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates, too
HOSTILE_PIECES = st.sampled_from(
    [
        *("/", "\\", ".", "..", ". .", " ", "\t", "\n", "\x00", "\x7f", "\x85", "\u00a0", "\u2028", "\ufeff"),
        *("\u200d", "\u200e", "\u202e", "\u2066", "\ud800", "\udfff", "\ue000", "\ufffe", "\U0010ffff"),
        *("e\u0301", "\u0301", "\u0323\u0307", "\u1100\u1161\u11a8", "\u212b", "\u0345", "ß", "ẞ", "İ", "ſ", "ǆ", "ﬁ"),
        *("👩‍👩‍👧", "🇩🇪", "𝔐", "漢字"),
        *("CON", "nul.txt", "aux", "COM1.pdf", "C:", "~", "%2e%2e", "a", "Brief", ".pdf", ".tar.gz", "." + "y" * 25),
        *("document.json", "DOCUMENT.JSON", "document-2.json", "-2", "x" * 197, "ä" * 99, "🙂" * 50),
    ]
)
HOSTILE_TEXT = st.lists(HOSTILE_PIECES | ANY_CHARACTER, max_size=8).map("".join)
LONG_TEXT = st.builds(lambda text, times: (text * times)[:5000], HOSTILE_TEXT, st.sampled_from([50, 500, 5000]))
NAMES = st.one_of(HOSTILE_TEXT, LONG_TEXT, st.text(ANY_CHARACTER, max_size=300))
"""File names and ids as the worst of portals may give them, empty ones and such of 5,000 characters among them."""
