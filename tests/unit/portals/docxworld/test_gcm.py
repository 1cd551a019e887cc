"""GCM in sections against the library's own AES-GCM: any key, IV, length and split, also where the counter wraps."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from amtsbote.portals.docxworld.gcm import (
    BLOCK_BYTES,
    COUNTERS,
    FIELD_BITS,
    MOST_BYTES,
    ONE,
    TAG_BYTES,
    Gcm,
    inverse,
    multiply,
    power,
)

KEYS = st.binary(min_size=32, max_size=32)
IVS = st.binary(min_size=12, max_size=12) | st.binary(min_size=16, max_size=16) | st.binary(min_size=8, max_size=40)
MESSAGES = st.binary(max_size=400)
ELEMENTS = st.integers(0, 2**FIELD_BITS - 1)
CUTS = st.lists(st.integers(0, 400 // BLOCK_BYTES), max_size=6)
PIECES = st.integers(1, 50)
KEY, IV = bytes(range(32)), bytes(range(100, 116))


def in_sections(key: bytes, iv: bytes, message: bytes, cuts: Sequence[int], piece: int = 33) -> bytes:
    """Return ciphertext and tag, the sections encrypted last one first, in pieces that fit no block."""
    gcm, size = Gcm(key, iv), len(message)
    places = sorted({0, *(cut * BLOCK_BYTES for cut in cuts if cut * BLOCK_BYTES < size)})
    shares, done = 0, {}
    for start, end in reversed(list(pairwise([*places, size]))):
        section = gcm.section(start)
        done[start] = b"".join(section.encrypt(message[at : min(at + piece, end)]) for at in range(start, end, piece))
        shares ^= section.share(size)
    return b"".join(done[start] for start in sorted(done)) + gcm.tag(shares, size)


def the_librarys(key: bytes, iv: bytes, message: bytes) -> bytes:
    return AESGCM(key).encrypt(iv, message, None)


@given(KEYS, IVS, MESSAGES, CUTS, PIECES)
def test_sections_in_any_split_are_the_librarys_message(
    key: bytes, iv: bytes, message: bytes, cuts: list[int], piece: int
) -> None:
    assert in_sections(key, iv, message, cuts, piece) == the_librarys(key, iv, message)


@pytest.mark.parametrize("iv", [bytes(range(12)), IV], ids=["12 bytes", "16 bytes"])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 1000, 1 << 20])
def test_the_edges_of_a_block(size: int, iv: bytes) -> None:
    message = bytes(range(256)) * (size // 256 + 1)
    assert in_sections(KEY, iv, message[:size], [1, 2, 40]) == the_librarys(KEY, iv, message[:size])


def iv_that_begins_at(counter: int) -> bytes:
    """Return the IV of 16 bytes whose first counter block is this one: GHASH, undone."""
    hash_key = Gcm(KEY, bytes(12))._hash_key
    divisor = inverse(hash_key)
    return multiply(multiply(counter, divisor) ^ 128, divisor).to_bytes(BLOCK_BYTES, "big")


@pytest.mark.parametrize("before", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("cuts", [[], [1], [2], [3], [1, 2, 3, 4]])
def test_the_counter_wraps_in_its_32_bits_and_carries_nothing(before: int, cuts: list[int]) -> None:
    iv = iv_that_begins_at((7 << 96) + COUNTERS - 1 - before)
    message = bytes(200)
    assert Gcm(KEY, iv)._first % COUNTERS == COUNTERS - 1 - before
    assert in_sections(KEY, iv, message, cuts) == the_librarys(KEY, iv, message)


def test_a_share_far_from_the_end_is_weighed_by_all_that_follows() -> None:
    """Given a message as long as GCM allows that is not there, its first block's share is its hash times H^n."""
    gcm = Gcm(KEY, IV)
    section = gcm.section(0)
    block = int.from_bytes(section.encrypt(bytes(BLOCK_BYTES)), "big")
    weight = 1 + (MOST_BYTES - BLOCK_BYTES) // BLOCK_BYTES
    assert section.share(MOST_BYTES) == multiply(block, power(gcm._hash_key, weight))


def test_a_section_begins_at_a_block() -> None:
    with pytest.raises(ValueError, match="boundary"):
        Gcm(KEY, IV).section(8)


def test_a_different_byte_gives_another_tag() -> None:
    one, other = (in_sections(KEY, IV, message, [1])[-TAG_BYTES:] for message in (b"a" * 40, b"a" * 39 + b"b"))
    assert one != other


# --- the field ---


@given(ELEMENTS, ELEMENTS, ELEMENTS)
def test_multiplication_is_that_of_a_field(a: int, b: int, c: int) -> None:
    assert multiply(a, b) == multiply(b, a)
    assert multiply(multiply(a, b), c) == multiply(a, multiply(b, c))
    assert multiply(a, b ^ c) == multiply(a, b) ^ multiply(a, c)
    assert multiply(a, ONE) == a


@given(ELEMENTS.filter(bool))
def test_everything_but_zero_has_an_inverse(element: int) -> None:
    assert multiply(element, inverse(element)) == ONE


def test_zero_stays_zero() -> None:
    assert inverse(0) == 0


@given(ELEMENTS, st.integers(0, 60), st.integers(0, 60))
def test_powers_add_up(base: int, one: int, other: int) -> None:
    assert multiply(power(base, one), power(base, other)) == power(base, one + other)
