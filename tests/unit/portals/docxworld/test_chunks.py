"""The chunk plan, for any size and any number of addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.chunks import LARGEST_CHUNK_BYTES, SMALLEST_CHUNK_BYTES, Chunk, chunk_plan

MIB = 1024 * 1024
SIZES = st.integers(1, 500 * 1024 * MIB)
URLS = st.integers(100, 1_000)
FEW_URLS = st.integers(2, 20)
SMALL_SIZES = st.integers(1, 4 * 1024 * MIB)


@given(SIZES, URLS)
def test_the_pieces_are_the_file(size: int, urls: int) -> None:
    plan = chunk_plan(size, urls)
    ends = [chunk.start + chunk.length for chunk in plan]
    assert [0, *ends[:-1]] == [chunk.start for chunk in plan]
    assert ends[-1] == size


@given(SIZES, URLS)
def test_every_piece_has_an_address_of_its_own(size: int, urls: int) -> None:
    plan = chunk_plan(size, urls)
    assert [chunk.counter for chunk in plan] == list(range(len(plan)))
    assert len(plan) <= urls


@given(SMALL_SIZES, FEW_URLS)
def test_no_piece_but_the_last_is_small(size: int, urls: int) -> None:
    assert all(chunk.length >= SMALLEST_CHUNK_BYTES for chunk in chunk_plan(size, urls)[:-1])


@given(st.integers(0, 1024 * MIB), FEW_URLS)
def test_the_pieces_are_balanced_where_there_is_enough_for_all(more: int, urls: int) -> None:
    lengths = [chunk.length for chunk in chunk_plan(urls * SMALLEST_CHUNK_BYTES + more, urls)]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(2, 20))
def test_all_addresses_are_used_where_the_file_is_large_enough(urls: int) -> None:
    assert len(chunk_plan(urls * SMALLEST_CHUNK_BYTES, urls)) == urls


@given(SMALL_SIZES, FEW_URLS)
def test_no_address_is_left_out_that_could_be_used(size: int, urls: int) -> None:
    count = len(chunk_plan(size, urls))
    assert count == urls or size <= count * SMALLEST_CHUNK_BYTES


def test_the_last_piece_may_be_small() -> None:
    assert [chunk.length for chunk in chunk_plan(12 * MIB, 3)] == [5 * MIB, 5 * MIB, 2 * MIB]


def test_a_small_file_takes_one_address() -> None:
    assert chunk_plan(7, 3) == [Chunk(0, 0, 7)]


def test_a_piece_that_the_storage_does_not_take_is_refused() -> None:
    chunk_plan(2 * LARGEST_CHUNK_BYTES, 2)
    with pytest.raises(Reject, match="parts"):
        chunk_plan(2 * LARGEST_CHUNK_BYTES + 1, 2)
