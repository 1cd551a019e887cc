"""What all stand-ins have in common: they refuse what they do not know, and they answer lists in small pages."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

Answer = dict[str, Any]
Clock = Callable[[], datetime]
Pages = Callable[..., Iterator[Answer]]
Entry = TypeVar("Entry")

PAGE_SIZE = 3  # small, so that paging happens at all in a simulation


class Client:
    """A stand-in for a boto3 client. `clock` tells the time (UTC).

    Operations take keyword arguments only; an unknown parameter is a TypeError, an unknown operation, paginator or
    expression a NotImplementedError. Not for use by several threads at once, except to read.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._count = 0

    def get_paginator(self, operation_name: str) -> "Paginator":
        """Return the paginator of an operation."""
        pages = self._paginators().get(operation_name)
        if pages is None:
            raise NotImplementedError(f"{type(self).__name__} has no paginator {operation_name}")
        return Paginator(pages)

    def _paginators(self) -> dict[str, Pages]:
        return {}

    def _next_number(self) -> int:
        """Return the next number of this client's ids, so that equal runs have equal ids."""
        self._count += 1
        return self._count

    if not TYPE_CHECKING:  # mypy finds an unknown operation by itself

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_") or name == "meta":  # no operation; Powertools does without its event system
                raise AttributeError(name)
            raise NotImplementedError(f"{type(self).__name__} has no {name}")


class Paginator:
    """A paginator whose every page is one call, made when the page is asked for."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def paginate(self, **parameters: Any) -> Iterator[Answer]:
        """Yield the pages."""
        return self._pages(**parameters)


def in_pages(
    entries: Callable[[], list[Entry]], place: Callable[[Entry], Any], size: int
) -> Iterator[tuple[list[Entry], bool]]:
    """Yield pages of what `entries` returns in the order of `place`, each with whether more follow.

    As with a continuation token, each page is read when it is asked for and begins behind the last entry of the one
    before; what has changed meanwhile shows.
    """
    found, more = entries(), True
    while more:
        page, more = found[:size], len(found) > size
        yield page, more
        if more:
            last = place(page[-1])
            found = [entry for entry in entries() if place(entry) > last]
