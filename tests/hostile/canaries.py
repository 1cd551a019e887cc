"""Canaries: strings that are secret or personal, and every spelling in which one could get out."""

import base64
import json
import secrets
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus


class Canaries:
    """The canaries of one test; each has a purpose, which is all that a failure shows."""

    def __init__(self) -> None:
        self._planted: dict[str, str] = {}

    def plant(self, purpose: str, value: str | None = None) -> str:
        """Return a string that must not get out, a new one or one that the portal has made."""
        self._planted[purpose] = value or f"kanari{secrets.token_hex(8)}"
        return self._planted[purpose]

    @property
    def purposes(self) -> tuple[str, ...]:
        """Return what was planted, by its purpose."""
        return tuple(self._planted)

    def __len__(self) -> int:
        return len(self._planted)

    @property
    def spellings(self) -> int:
        """Return how many different strings are looked for."""
        return sum(len(set(spelled(value))) for value in self._planted.values())

    def found_in(self, text: str, but: Iterable[str] = ()) -> list[str]:
        """Return the purposes of the canaries that a text holds in any spelling, but for those."""
        allowed = set(but)
        return [
            purpose
            for purpose, value in self._planted.items()
            if purpose not in allowed and any(spelling in text for spelling in spelled(value))
        ]


def spelled(value: str) -> Iterator[str]:
    """Yield a string as it is, escaped, in hexadecimal, and in base64 wherever it may begin in there."""
    content = value.encode()
    yield from (value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1])
    yield from (content.hex(), content.hex().upper())
    for offset in range(3):
        begin, end = (offset * 4 + 2) // 3 if offset else 0, (offset + len(content)) // 3 * 4
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * offset + content).decode()[begin:end]
