"""Where chance comes from: one seed, and from it a stream for each purpose, so that none disturbs another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


class Chance:
    """The dice of one purpose. Equal seeds and purposes give equal throws, on every machine and Python."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._random = random.Random(f"{seed} {purpose}")

    def happens(self, probability: float) -> bool:
        """Throw once."""
        return self._random.random() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number in the interval, evenly spread."""
        return low + (high - low) * self._random.random()

    def number(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return low + int(self._random.random() * (high - low + 1))

    def one_of(self, things: Sequence[Thing]) -> Thing:
        """Return one of the things."""
        return things[int(self._random.random() * len(things))]

    def bytes(self, count: int) -> bytes:
        """Return so many bytes."""
        return self._random.randbytes(count)

    def seed(self) -> int:
        """Return a seed for dice elsewhere."""
        return self._random.getrandbits(32)

    def shuffle(self, things: list[Thing]) -> None:
        """Put the things into another order, in place."""
        self._random.shuffle(things)
