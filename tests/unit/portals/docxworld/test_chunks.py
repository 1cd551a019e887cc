"""The chunk plan, for any size and any number of addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.chunks import (
    BOUNDARY_BYTES,
    LARGEST_CHUNK_BYTES,
    MOST_CHUNKS,
    SMALLEST_CHUNK_BYTES,
    Chunk,
    chunk_plan,
)

MIB = 1024 * 1024
SIZES = st.integers(1, 499 * 1024 * MIB)
URLS = st.integers(100, 1_000)
FEW_URLS = st.integers(2, 20)
SMALL_SIZES = st.integers(1, 4 * 1024 * MIB)


def pieces(size: int, urls: int) -> list[Chunk]:
    """Return all pieces of a plan."""
    plan = chunk_plan(size, urls)
    return [plan.chunk(counter) for counter in range(plan.count)]


@given(SIZES, URLS)
def test_the_pieces_are_the_file(size: int, urls: int) -> None:
    plan = pieces(size, urls)
    ends = [chunk.start + chunk.length for chunk in plan]
    assert [0, *ends[:-1]] == [chunk.start for chunk in plan]
    assert ends[-1] == size


@given(SIZES, URLS)
def test_every_piece_has_an_address_of_its_own(size: int, urls: int) -> None:
    plan = pieces(size, urls)
    assert [chunk.counter for chunk in plan] == list(range(len(plan)))
    assert len(plan) <= urls


@given(SIZES, URLS)
def test_every_piece_begins_at_a_block_and_none_is_empty(size: int, urls: int) -> None:
    plan = pieces(size, urls)
    assert all(chunk.start % BOUNDARY_BYTES == 0 and chunk.length > 0 for chunk in plan)


@given(SMALL_SIZES, FEW_URLS)
def test_no_piece_but_the_last_is_small(size: int, urls: int) -> None:
    assert all(chunk.length >= SMALLEST_CHUNK_BYTES for chunk in pieces(size, urls)[:-1])


@given(st.integers(0, 1024 * MIB), FEW_URLS)
def test_the_pieces_are_alike_but_the_last_which_makes_up_for_the_others(more: int, urls: int) -> None:
    lengths = [chunk.length for chunk in pieces(urls * SMALLEST_CHUNK_BYTES + more, urls)]
    assert len(set(lengths[:-1])) == 1
    assert 0 <= lengths[0] - lengths[-1] <= BOUNDARY_BYTES * urls


@given(SMALL_SIZES, FEW_URLS)
def test_no_address_is_left_out_that_could_be_used(size: int, urls: int) -> None:
    count = len(pieces(size, urls))
    assert count == urls or size <= count * SMALLEST_CHUNK_BYTES


@given(st.integers(2, 20))
def test_all_addresses_are_used_where_the_file_is_large_enough(urls: int) -> None:
    assert chunk_plan(urls * SMALLEST_CHUNK_BYTES, urls).count == urls


def test_a_file_is_cut_into_no_more_pieces_than_the_storage_takes() -> None:
    assert chunk_plan(1000 * 1024 * MIB, 20_000).count == MOST_CHUNKS


def test_the_last_piece_may_be_small() -> None:
    assert [chunk.length for chunk in pieces(12 * MIB, 3)] == [5 * MIB, 5 * MIB, 2 * MIB]


@pytest.mark.parametrize("size", [0, 7])
def test_a_small_file_takes_one_address(size: int) -> None:
    assert pieces(size, 3) == [Chunk(0, 0, size)]


def test_a_piece_that_the_storage_does_not_take_is_refused() -> None:
    chunk_plan(2 * LARGEST_CHUNK_BYTES, 2)
    with pytest.raises(Reject, match="parts"):
        chunk_plan(2 * LARGEST_CHUNK_BYTES + 1, 2)
