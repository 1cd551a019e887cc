"""Whatever happens to a row, its trail is whole; and whatever is done to a trail, it no longer is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from amtsbote import lifecycle
from amtsbote.audit import sealed, unsealed, verify
from amtsbote.deliveries import DropEvent, DropRow, advance_drop
from amtsbote.lifecycle import ItemEvent, ItemRow, Past, State, advance, opened, remembered
from amtsbote.portals.protocols import Finding
from tests.properties.strategies import (
    DROP_EVENTS,
    FIRST_DROPS,
    FIRST_ITEMS,
    ITEM_EVENTS,
    LIKELY_FOR_DROPS,
    LIKELY_FOR_ITEMS,
    START,
    DropTurn,
    ItemTurn,
    lives,
)

SHORT = 12  # a limit of steps that lives reach
BY = ("poll", "fetch", "acknowledge")
KINDS = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([None, "x"])), min_size=1, max_size=60)
FIELDS: dict[str, Callable[[Any], Any]] = {
    "at": lambda at: at + timedelta(microseconds=1),
    "state": lambda state: f"{state}X",
    "reason": lambda reason: f"{reason}X",
    "by": lambda by: f"{by}X",
    "size_bytes": lambda size: (size or 0) + 1,
    "sha256": lambda digest: f"{digest}0",
    "number": lambda number: number + 1,
    "digest": lambda digest: digest[::-1] + "0",
    "after": lambda after: None if after else "0" * 32,
}
"""Each field of a step, and how it becomes another one."""


def trail_of(kinds: Sequence[tuple[str, str | None]], legacy: int = 0) -> ItemRow:
    """Return a row with steps of these kinds, the first of them written before there were seals."""
    row = opened("duba", "klinikum", Finding("214", None, {}), "{}", START)
    row = row if legacy else sealed(row, "poll")
    for number, (state, reason) in enumerate(kinds, start=1):
        past = Past(START + timedelta(seconds=number), state, reason)
        changed = replace(row, state=_any_state(state), history=remembered(row.history, past))
        row = changed if number < legacy else sealed(changed, BY[number % 3], row)
    return row


def _any_state(state: str) -> State:
    return cast(State, state)


TRAILS = st.builds(trail_of, KINDS)


def sealing_item(row: ItemRow, event: ItemEvent, now: datetime) -> ItemRow:
    """Let an event happen as the ledger does."""
    return sealed(advance(row, event, now), "fetch", row)


def sealing_drop(row: DropRow, event: DropEvent, now: datetime) -> DropRow:
    """Let an event happen as the ledger does."""
    return sealed(advance_drop(row, event, now), "deliver", row)


SEALED_ITEMS = st.one_of(FIRST_ITEMS, FIRST_ITEMS.map(lambda row: sealed(row, "poll")))
SEALED_DROPS = st.one_of(FIRST_DROPS, FIRST_DROPS.map(lambda row: sealed(row, "deliver")))


@given(lives(SEALED_ITEMS, ITEM_EVENTS, LIKELY_FOR_ITEMS, sealing_item))
def test_whatever_happens_to_an_item_its_trail_is_whole(life: list[ItemTurn]) -> None:
    for turn in life:
        assert verify(turn.after) == []
        assert _told(turn.after) == _told(turn.before) or turn.after.history[-1].by == "fetch"


@given(lives(SEALED_DROPS, DROP_EVENTS, LIKELY_FOR_DROPS, sealing_drop))
def test_whatever_happens_to_a_drop_its_trail_is_whole(life: list[DropTurn]) -> None:
    for turn in life:
        assert verify(turn.after) == []
        assert _told(turn.after) == _told(turn.before) or turn.after.history[-1].by == "deliver"


def _told(row: ItemRow | DropRow) -> list[tuple[datetime, str, str | None]]:
    return [(past.at, past.state, past.reason) for past in row.history]


@given(KINDS)
def test_a_trail_is_only_added_to_and_its_last_step_counts_all(kinds: list[tuple[str, str | None]]) -> None:
    with patch.object(lifecycle, "HISTORY_AT_MOST", SHORT):
        seen: set[str | None] = set()
        for length in range(1, len(kinds) + 1):
            row = trail_of(kinds[:length])
            assert verify(row) == []
            assert {past.digest for past in row.history[:-1]} <= seen or length == 1
            seen |= {past.digest for past in row.history}
            assert row.history[-1].number == length + 1


@given(KINDS, st.integers(1, 20))
def test_a_trail_that_began_before_there_were_seals_is_whole(kinds: list[tuple[str, str | None]], legacy: int) -> None:
    with patch.object(lifecycle, "HISTORY_AT_MOST", SHORT):
        row = trail_of(kinds, legacy)
        assert verify(row) == []
        assert row.seal is None or unsealed(row) <= legacy


@given(TRAILS, st.data())
def test_any_one_thing_changed_in_a_step_is_seen(row: ItemRow, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(row.history) - 1))
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    changes: dict[str, Any] = {name: FIELDS[name](getattr(row.history[place], name))}
    assert verify(_with(row, place, replace(row.history[place], **changes)))


@given(TRAILS, st.data())
def test_a_step_removed_is_seen(row: ItemRow, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(row.history) - 1))
    assert verify(replace(row, history=row.history[:place] + row.history[place + 1 :]))


@given(TRAILS, st.data())
def test_a_step_removed_and_marked_as_a_gap_is_seen(row: ItemRow, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(row.history) - 2))
    behind = replace(row.history[place + 1], after=row.history[place].digest)
    assert verify(replace(row, history=(*row.history[:place], behind, *row.history[place + 2 :])))


@given(TRAILS, st.data())
def test_two_steps_swapped_are_seen(row: ItemRow, data: st.DataObject) -> None:
    one, two = sorted(data.draw(st.lists(st.integers(0, len(row.history) - 1), min_size=2, max_size=2, unique=True)))
    steps = list(row.history)
    steps[one], steps[two] = steps[two], steps[one]
    assert verify(replace(row, history=tuple(steps)))


@given(TRAILS, st.data())
def test_a_step_put_in_is_seen(row: ItemRow, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(row.history)))
    put_in = data.draw(st.sampled_from([*row.history, Past(START, "A", by="poll", number=place + 1, digest="0" * 32)]))
    assert verify(replace(row, history=(*row.history[:place], put_in, *row.history[place:])))


def _with(row: ItemRow, place: int, past: Past) -> ItemRow:
    return replace(row, history=(*row.history[:place], past, *row.history[place + 1 :]))
