"""Cutting work into the sizes that an API takes, and doing independent pieces of it side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def in_batches(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Yield the things in order, in lists of `size`; the last may be shorter."""
    batch: list[Thing] = []
    for thing in things:
        batch.append(thing)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def side_by_side(work: Callable[[Thing], Result], things: Sequence[Thing], workers: int) -> list[Result]:
    """Return the results in order, working on up to `workers` things at once.

    The first error is raised when what is under way has ended; what has not begun by then may not begin any more.
    """
    if workers == 1 or len(things) < 2:
        return [work(thing) for thing in things]
    with ThreadPoolExecutor(max_workers=min(workers, len(things))) as pool:
        return list(pool.map(work, things))
