"""A chunk plan is the whole file, once and in order, for any size and any number of addresses."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.chunks import (
    BOUNDARY_BYTES,
    LARGEST_CHUNK_BYTES,
    MOST_CHUNKS,
    SMALLEST_CHUNK_BYTES,
    Chunk,
    ChunkPlan,
    chunk_plan,
)

LARGEST_FILE_BYTES = 5 * 1024**4
AROUND_A_LIMIT = st.builds(
    lambda chunks, more: max(0, chunks * SMALLEST_CHUNK_BYTES + more), st.integers(0, 10_001), st.integers(-17, 17)
)
SIZES = st.integers(0, LARGEST_FILE_BYTES) | AROUND_A_LIMIT | st.integers(0, 100)
URLS = st.integers(1, 20) | st.integers(1, 20_000)


def planned(size: int, urls: int) -> ChunkPlan | None:
    """Return the plan of a file, None where its pieces would be larger than the storage takes."""
    try:
        return chunk_plan(size, urls)
    except Reject:
        return None


def ends_of(plan: ChunkPlan) -> list[Chunk]:
    """Return the first and the last pieces, which is where a plan can go wrong, and some in between."""
    places = {*range(min(5, plan.count)), *range(max(0, plan.count - 5), plan.count), plan.count // 2}
    return [plan.chunk(place) for place in sorted(places)]


@given(SIZES, URLS)
@example(0, 1)
@example(LARGEST_CHUNK_BYTES, 1)
@example(LARGEST_FILE_BYTES, 20_000)
def test_the_pieces_are_the_file_once_and_in_order(size: int, urls: int) -> None:
    if plan := planned(size, urls):
        pieces = ends_of(plan)
        assert (pieces[0].start, pieces[-1].start + pieces[-1].length) == (0, size)
        assert all(
            one.start + one.length == two.start for one, two in pairwise(pieces) if two.counter == one.counter + 1
        )
        assert all(piece.start == piece.counter * pieces[0].length for piece in pieces)


@given(st.integers(0, 200 * SMALLEST_CHUNK_BYTES), URLS)
def test_the_lengths_of_all_pieces_add_up_to_the_size(size: int, urls: int) -> None:
    plan = chunk_plan(size, urls)
    pieces = [plan.chunk(place) for place in range(plan.count)]
    assert sum(piece.length for piece in pieces) == size
    assert [piece.counter for piece in pieces] == list(range(plan.count))
    assert plan.last == pieces[-1].counter


@given(SIZES, URLS)
def test_no_piece_but_the_last_is_small_and_none_is_larger_than_the_storage_takes(size: int, urls: int) -> None:
    if plan := planned(size, urls):
        *others, last = ends_of(plan)
        assert all(SMALLEST_CHUNK_BYTES <= piece.length <= LARGEST_CHUNK_BYTES for piece in others)
        assert min(size, 1) <= last.length <= LARGEST_CHUNK_BYTES


@given(SIZES, URLS)
def test_every_piece_begins_where_it_can_be_encrypted_by_itself(size: int, urls: int) -> None:
    if plan := planned(size, urls):
        assert all(piece.start % BOUNDARY_BYTES == 0 for piece in ends_of(plan))


@given(SIZES, URLS)
def test_every_address_that_the_size_allows_is_used(size: int, urls: int) -> None:
    if plan := planned(size, urls):
        allowed = max(1, -(-size // SMALLEST_CHUNK_BYTES))
        assert plan.count == min(urls, MOST_CHUNKS, allowed)


@given(SIZES, URLS)
def test_a_file_is_refused_only_where_its_addresses_do_not_hold_it(size: int, urls: int) -> None:
    held = min(urls, MOST_CHUNKS) * LARGEST_CHUNK_BYTES
    assert (planned(size, urls) is None) is (size > held)


def test_the_largest_file_that_s3_takes_has_a_plan_and_one_address_is_too_few_for_it() -> None:
    assert chunk_plan(LARGEST_FILE_BYTES, MOST_CHUNKS).count == MOST_CHUNKS
    with pytest.raises(Reject, match="5497558138880 bytes") as raised:
        chunk_plan(LARGEST_FILE_BYTES, 1)
    assert raised.value.code == "FILE_TOO_LARGE"
