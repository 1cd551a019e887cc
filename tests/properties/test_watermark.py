"""The watermark holds back what is not settled and nothing else; who polls by it never misses an item."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from amtsbote.lifecycle import watermark_after
from tests.properties.strategies import START

NAMES = "abcdefgh"
HOURS = st.integers(-100, 100).map(lambda hours: START + timedelta(hours=hours))
PREVIOUS = st.none() | HOURS
LISTED = st.dictionaries(st.sampled_from(NAMES), st.none() | HOURS)
SETTLED = st.frozensets(st.sampled_from(NAMES))
Listed = Mapping[str, datetime | None]


def open_items(listed: Listed, settled: frozenset[str]) -> list[datetime | None]:
    """Return the moments of the items that are not settled."""
    return [moment for id_, moment in listed.items() if id_ not in settled]


@given(PREVIOUS, LISTED, SETTLED)
def test_it_is_never_later_than_the_oldest_item_that_is_not_settled(
    previous: datetime | None, listed: Listed, settled: frozenset[str]
) -> None:
    mark = watermark_after(previous, listed, settled)
    assert mark is None or all(mark <= moment for moment in open_items(listed, settled) if moment is not None)


@given(PREVIOUS, LISTED, SETTLED)
def test_it_is_never_lower_than_something_holds_it(
    previous: datetime | None, listed: Listed, settled: frozenset[str]
) -> None:
    mark, held = watermark_after(previous, listed, settled), open_items(listed, settled)
    known = [moment for moment in (previous, *listed.values()) if moment is not None]
    newest = max(known, default=None)
    assert mark == newest or mark in held or (None in held and mark == previous)


@given(PREVIOUS, LISTED, SETTLED)
def test_an_item_without_a_time_that_is_not_settled_keeps_it_where_it_was(
    previous: datetime | None, listed: Listed, settled: frozenset[str]
) -> None:
    mark = watermark_after(previous, {**listed, "timeless": None}, settled)
    assert mark is None if previous is None else mark is not None and mark <= previous


@given(PREVIOUS, LISTED, SETTLED, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(
    previous: datetime | None, listed: Listed, settled: frozenset[str], random: Random
) -> None:
    shuffled = list(listed.items())
    random.shuffle(shuffled)
    assert watermark_after(previous, dict(shuffled), settled) == watermark_after(previous, listed, settled)


@given(PREVIOUS, LISTED, SETTLED, SETTLED)
def test_the_more_is_settled_the_further_it_goes(
    previous: datetime | None, listed: Listed, settled: frozenset[str], more: frozenset[str]
) -> None:
    mark = watermark_after(previous, listed, settled)
    assert mark is None or (further := watermark_after(previous, listed, settled | more)) is not None
    assert mark is None or (further is not None and further >= mark)


@given(PREVIOUS, LISTED, SETTLED)
def test_the_same_list_twice_moves_it_once(previous: datetime | None, listed: Listed, settled: frozenset[str]) -> None:
    mark = watermark_after(previous, listed, settled)
    assert watermark_after(mark, listed, settled) == mark


# --- polling by it ---

OVERLAP_HOURS = 48
HORIZON_HOURS = 400


@dataclass(frozen=True)
class Letter:
    """An item of a portal: it appears `late` hours after its time, and is settled `work` hours after it was found.

    The portal knows the time of every letter and filters by it, even where it shows none that can be read.
    """

    created: int
    late: int
    work: int
    readable: bool

    def appears(self) -> int:
        """Return the hour from which the portal lists it."""
        return self.created + self.late


LETTERS = st.lists(
    st.builds(
        Letter,
        created=st.integers(0, HORIZON_HOURS),
        late=st.sampled_from([0, 0, 1, OVERLAP_HOURS]) | st.integers(0, OVERLAP_HOURS),
        work=st.sampled_from([0, 1, 100, 10 * HORIZON_HOURS]),
        readable=st.sampled_from([True, True, True, False]),
    ),
    max_size=8,
)
POLLS = st.lists(st.sampled_from([0, 1, 1, 24, 60, 120]), min_size=1, max_size=12)


def hour(number: int) -> datetime:
    """Return a moment of the model."""
    return START + timedelta(hours=number)


class Office:
    """Who polls a portal by the watermark alone, without the daily reconciliation."""

    def __init__(self, letters: list[Letter]) -> None:
        self.letters = dict(enumerate(letters))
        self.found: dict[int, int] = {}
        self.mark: datetime | None = None

    def poll(self, now: int) -> set[int]:
        """Ask the portal for what lies behind the watermark less the overlap; return what it lists."""
        settled = frozenset(str(number) for number in self.found if not self.is_open(number, now))
        listed = {number for number in self.letters if self._is_listed(self.letters[number], now)}
        self.found = dict.fromkeys(listed, now) | self.found
        times = {str(n): hour(self.letters[n].created) if self.letters[n].readable else None for n in listed}
        self.mark = watermark_after(self.mark, times, settled)
        return listed

    def is_open(self, number: int, now: int) -> bool:
        """Return whether a letter that was found is not settled yet."""
        return now < self.found[number] + self.letters[number].work

    def _is_listed(self, letter: Letter, now: int) -> bool:
        since = None if self.mark is None else self.mark - timedelta(hours=OVERLAP_HOURS)
        return letter.appears() <= now and (since is None or hour(letter.created) >= since)


@given(LETTERS, POLLS)
def test_a_late_item_is_found_at_the_first_poll_after_it_appears(letters: list[Letter], pauses: list[int]) -> None:
    office, now = Office(letters), 0
    for pause in pauses:
        now += pause
        office.poll(now)
        assert set(office.found) == {number for number, letter in office.letters.items() if letter.appears() <= now}


@given(LETTERS, POLLS)
def test_an_item_is_listed_again_until_it_is_settled(letters: list[Letter], pauses: list[int]) -> None:
    office, now = Office(letters), 0
    for pause in pauses:
        now += pause
        waiting = {number for number in office.found if office.is_open(number, now)}
        assert waiting <= office.poll(now)


@given(LETTERS)
def test_when_all_is_settled_the_list_is_no_longer_than_the_overlap(letters: list[Letter]) -> None:
    office, end = Office([letter for letter in letters if letter.readable]), 100 * HORIZON_HOURS
    for now in (end, 2 * end, 2 * end + 1):  # found, seen to be settled, asked for by the mark of then
        listed = office.poll(now)
    newest = max((letter.created for letter in office.letters.values()), default=0)
    assert all(office.letters[number].created >= newest - OVERLAP_HOURS for number in listed)
