"""How long the current invocation may still work."""

import time
from collections.abc import Callable
from typing import Protocol

from amtsbote.errors import OutOfTime

READ_TIMEOUT_SECONDS = 60.0  # for which a portal may keep silent
RESERVE_SECONDS = 8.0  # kept back to write the ledger and report the batch before Lambda cuts the invocation


class LambdaContext(Protocol):
    """What the package needs of the Lambda context object."""

    def get_remaining_time_in_millis(self) -> int: ...


class Deadline:
    """A point in time after which no new piece of work may begin."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + seconds

    @classmethod
    def of(cls, context: LambdaContext) -> "Deadline":
        """Return the deadline of a Lambda invocation, with a reserve for putting things in order."""
        return cls(context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)

    def remaining_seconds(self) -> float:
        """Return the seconds left; zero when the time is used up."""
        return max(0.0, self._ends_at - self._clock())

    def check(self) -> None:
        """Raise OutOfTime when the time is used up."""
        if self.remaining_seconds() <= 0:
            raise OutOfTime
