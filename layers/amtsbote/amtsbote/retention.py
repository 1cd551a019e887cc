"""How long content is kept, by portal and state: the rules. `verbs.retain` acts on them; docs/retention.md explains.

    {"duba": {"ACKNOWLEDGED": 90, "UNAVAILABLE": 30}, "altinn": {"DELIVERED": null}, "*": {"DELIVERED": 90}}

Days since the last step of a row, for each portal and state. What a portal does not say, "*" says for it; null, and
what nobody says, is for ever.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from amtsbote.deliveries import DropRow, DropState, drop_may_be_erased
from amtsbote.ledger import Kind, Ledger, Place
from amtsbote.lifecycle import ErasureBegun, ItemRow, Shelf, State, may_be_erased
from amtsbote.portals import NAMES

EVERY_PORTAL = "*"
DAYS_AT_MOST = 36_500
AUDIT_DAYS_AT_LEAST = 365
SHELVES: Mapping[str, tuple[Kind, Shelf]] = {
    State.STORED: (Kind.ITEM, Shelf.STORED),
    State.ACKNOWLEDGED: (Kind.ITEM, Shelf.ACKNOWLEDGED),
    State.UNAVAILABLE: (Kind.ITEM, Shelf.UNAVAILABLE),
    DropState.DELIVERED: (Kind.DROP, Shelf.DELIVERED),
    DropState.FAILED: (Kind.DROP, Shelf.FAILED),
}
"""The states that a rule may be for, and where their rows stand."""

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Rule:
    """What stands on this shelf of one portal's connections, in this state for `kept_for`, is erased."""

    kind: Kind
    shelf: Shelf
    state: str
    kept_for: timedelta

    def erasure(self, now: datetime) -> ErasureBegun:
        """Return the event that begins an erasure now."""
        return ErasureBegun(self.state, now - self.kept_for)

    def applies(self, row: ItemRow | DropRow, now: datetime) -> bool:
        """Return whether the row's content may go now."""
        event = self.erasure(now)
        return drop_may_be_erased(row, event) if isinstance(row, DropRow) else may_be_erased(row, event)


@dataclass(frozen=True)
class Rules:
    """How long what is kept: portal or "*" → state → for how long, None for ever."""

    kept_for: Mapping[str, Mapping[str, timedelta | None]] = field(default_factory=dict)

    def of(self, portal: str) -> list[Rule]:
        """Return the rules for one portal's connections."""
        said = {**self.kept_for.get(EVERY_PORTAL, {}), **self.kept_for.get(portal, {})}
        return [Rule(*SHELVES[state], state, span) for state, span in said.items() if span is not None]


def read_rules(text: str) -> Rules:
    """Return the rules that a JSON text gives; ValueError with a sentence that names the mistake."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError('the retention rules are no JSON, such as {"duba": {"ACKNOWLEDGED": 90}}') from None
    if not isinstance(said, dict):
        raise ValueError('the retention rules are no JSON object, such as {"duba": {"ACKNOWLEDGED": 90}}')
    return Rules({portal: dict(_spans(portal, states)) for portal, states in said.items()})


def _spans(portal: str, states: Any) -> Iterator[tuple[str, timedelta | None]]:
    if portal not in (*NAMES, EVERY_PORTAL):
        raise ValueError(f'{portal!r} is no portal; there are {", ".join(NAMES)}, and "*" for all')
    if not isinstance(states, dict):
        raise ValueError(f'the rules of {portal} are no object, such as {{"ACKNOWLEDGED": 90}}')
    for state, days in states.items():
        _check(portal, state, days)
        yield state, None if days is None else timedelta(days=days)


def _check(portal: str, state: str, days: Any) -> None:
    if state == State.QUARANTINED:
        raise ValueError(f"{portal}: what is QUARANTINED is never deleted by itself; a person decides about it")
    if state not in SHELVES:
        raise ValueError(f"{portal}: {state!r} is no state that ends; there are {', '.join(SHELVES)}")
    if days is not None and (type(days) is not int or not 1 <= days <= DAYS_AT_MOST):
        raise ValueError(f"{portal}: {state} is kept for 1 to {DAYS_AT_MOST} whole days, or null: for ever")


def doomed(ledger: Ledger, portal: str, connection: str, rule: Rule) -> Iterator[ItemRow | DropRow]:
    """Yield the rows of a connection that a rule is for now, those that were opened first before the others."""
    now = ledger.clock()
    place = Place(rule.kind, portal, connection, rule.shelf)
    return (row for row in ledger.opened_before(place, now - rule.kept_for) if rule.applies(row, now))


def checked_audit_days(days: int) -> int:
    """Return for how many days a row is kept after its content went, 0 for ever; ValueError where that is too few."""
    if days != 0 and not AUDIT_DAYS_AT_LEAST <= days <= DAYS_AT_MOST:
        raise ValueError(f"rows are kept for {AUDIT_DAYS_AT_LEAST} to {DAYS_AT_MOST} days, or 0: for ever")
    return days


def keep_until(now: datetime, audit_days: int) -> datetime | None:
    """Return when the row of what is erased now may go too, None where never."""
    return now + timedelta(days=audit_days) if audit_days else None


def in_turn(things: Sequence[Thing], now: datetime) -> list[Thing]:
    """Return the things in order, beginning at another one each hour, so that none waits for another's backlog."""
    first = int(now.timestamp() // 3600) % len(things) if things else 0
    return [*things[first:], *things[:first]]
