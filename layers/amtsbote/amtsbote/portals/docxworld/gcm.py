"""AES-GCM of one long message in sections: encrypted in any order, at different times, with one tag over all of it.

GCM (NIST SP 800-38D) is AES in counter mode plus GHASH, a polynomial in the hash key H over GF(2^128) whose
coefficients are the blocks of the ciphertext. Both come apart at a boundary of blocks: the keystream can begin at any
block, and a polynomial is the sum of its sections, each times the power of H that stands for the blocks after it.

The library hashes a section at the speed of the processor when the section's ciphertext is handed to it as associated
data of an empty message; what comes back is `(Y + length) * H + mask`, from which Y follows by one division. Only that,
and few multiplications more per section, is done with Python's integers. No I/O, no randomness.
"""

from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB, GCM

BLOCK_BYTES = 16
TAG_BYTES = 16
MOST_BYTES = 2**36 - 32  # of one message, about 64 GiB: then the counter of 32 bits has come around
SHORT_IV_BYTES = 12  # an IV of this length is taken as it is, every other is hashed
COUNTERS = 2**32  # the counter wraps in its 32 bits and never carries into the rest of its block
FIELD_BITS = 128
ONE = 1 << (FIELD_BITS - 1)  # GCM writes polynomials with the lowest power first
REDUCTION = 0xE1 << (FIELD_BITS - 8)


def multiply(one: int, other: int) -> int:
    """Return the product of two elements of GCM's field."""
    product = 0
    for bit in range(FIELD_BITS - 1, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (REDUCTION if other & 1 else 0)
    return product


def power(base: int, exponent: int) -> int:
    """Return an element of GCM's field to the power of a number that is not negative."""
    result = ONE
    while exponent:
        if exponent & 1:
            result = multiply(result, base)
        base, exponent = multiply(base, base), exponent >> 1
    return result


def inverse(element: int) -> int:
    """Return what gives 1 when multiplied with an element; 0 for 0, which the formulas here take as it should be."""
    return power(element, 2**FIELD_BITS - 2)


class Gcm:
    """One message of at most `MOST_BYTES` under one key and one IV, without associated data.

    Never encrypt two different messages with the same key and IV: that gives away both, and the hash key.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aes = AES(key)
        self._hash_key = self._encrypted(0)
        self._first = self._first_counter(iv)
        self._mask = self._encrypted(self._first)

    def section(self, start: int) -> "Section":
        """Return what encrypts the message from the byte `start` on, which must be at a boundary of blocks."""
        if start % BLOCK_BYTES:
            raise ValueError("a section begins at a boundary of blocks")
        return Section(self, start)

    def tag(self, shares: int, size: int) -> bytes:
        """Return the tag of a message of `size` bytes from the shares of all its sections, added up with XOR."""
        return _block(multiply(shares ^ size * 8, self._hash_key) ^ self._mask)

    def share(self, value: int, end: int, size: int) -> int:
        """Return what a section that ends at the byte `end` adds to the hash of a message of `size` bytes."""
        return multiply(value, power(self._hash_key, _blocks(size) - _blocks(end)))

    def keystream(self, block: int) -> tuple[Any, int]:
        """Return an encryptor from a block of the message on, and for how many bytes it is good."""
        base, counter = divmod(self._first, COUNTERS)
        counter = (counter + 1 + block) % COUNTERS
        stream = Cipher(self._aes, CTR(_block(base * COUNTERS + counter))).encryptor()
        return stream, (COUNTERS - counter) * BLOCK_BYTES

    def hasher(self) -> Any:
        """Return what takes ciphertext as associated data; `hashed` reads the result off its tag."""
        return Cipher(self._aes, GCM(bytes(SHORT_IV_BYTES))).encryptor()

    def hashed(self, tag: bytes, size: int) -> int:
        """Return the GHASH of `size` bytes that a hasher has taken, without the block of lengths."""
        length = size * 8 << FIELD_BITS // 2
        return multiply(int.from_bytes(tag, "big") ^ self._hasher_mask, self._inverse) ^ length

    @cached_property
    def _inverse(self) -> int:
        return inverse(self._hash_key)

    @cached_property
    def _hasher_mask(self) -> int:
        return self._encrypted(1)  # the first counter of an IV of twelve zeros

    def _first_counter(self, iv: bytes) -> int:
        if len(iv) == SHORT_IV_BYTES:
            return int.from_bytes(iv, "big") * COUNTERS + 1
        value = 0
        padded = iv + bytes(-len(iv) % BLOCK_BYTES) + (len(iv) * 8).to_bytes(BLOCK_BYTES, "big")
        for start in range(0, len(padded), BLOCK_BYTES):
            block = int.from_bytes(padded[start : start + BLOCK_BYTES], "big")
            value = multiply(value ^ block, self._hash_key)
        return value

    def _encrypted(self, block: int) -> int:
        one_block = Cipher(self._aes, ECB()).encryptor()  # noqa: S305 - one block, as GCM itself is defined
        return int.from_bytes(one_block.update(_block(block)), "big")


class Section:
    """A stretch of the message on its way through, in pieces of any length. Memory: the piece that is in hand."""

    def __init__(self, gcm: Gcm, start: int) -> None:
        self._gcm = gcm
        self._hasher = gcm.hasher()
        self._stream, self._good_for = gcm.keystream(start // BLOCK_BYTES)
        self._start = start
        self._size = 0

    def encrypt(self, piece: bytes) -> bytes:
        """Return the ciphertext of the next piece."""
        encrypted = self._covered(piece)
        self._hasher.authenticate_additional_data(encrypted)
        self._size += len(piece)
        return encrypted

    def share(self, size: int) -> int:
        """End the section and return its share in the hash of a message of `size` bytes; asked for once."""
        self._hasher.finalize()
        value = self._gcm.hashed(self._hasher.tag, self._size)
        return self._gcm.share(value, self._start + self._size, size)

    def _covered(self, piece: bytes) -> bytes:
        head, rest = piece[: self._good_for], piece[self._good_for :]
        encrypted: bytes = self._stream.update(head)
        self._good_for -= len(head)
        if not rest:
            return encrypted
        done = self._start + self._size + len(head)
        self._stream, self._good_for = self._gcm.keystream(done // BLOCK_BYTES)
        return encrypted + self._covered(rest)


def _blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES)


def _block(value: int) -> bytes:
    return value.to_bytes(BLOCK_BYTES, "big")
