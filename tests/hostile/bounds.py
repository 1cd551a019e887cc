"""Bounds on what a piece of work may cost, in time and in memory, and a count of what was tried."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

MIB = 1024 * 1024


@contextmanager
def within(*, seconds: float, mebibytes: float) -> Iterator[None]:
    """Fail where the work takes longer, or has at any time more memory allocated by Python, than this."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        took, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()
    assert peak <= mebibytes, f"{peak:.0f} MiB at the peak, more than {mebibytes}"
    assert took <= seconds, f"{took:.1f} s, more than {seconds}"
