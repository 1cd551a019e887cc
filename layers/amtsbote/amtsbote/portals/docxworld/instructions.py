"""Drops that are no documents but say what to do: small JSON objects, read strictly, every mistake named."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import Any

from amtsbote.errors import Reject
from amtsbote.portals.protocols import Drop

LIMIT_BYTES = 64 * 1024
MESSAGE_LIMIT = 255  # characters, as documented for decisions and cancellations
SHOWN = 40  # characters of a wrong value, or of a field's name, that an error shows

Mistake = str | None
Check = Callable[[Any], Mistake]


def read_instructions(drop: Drop, code: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    """Return the fields of a dropped JSON object; Reject under `code`, naming the field and the mend.

    `checks` has an entry for each field that may be there: it returns what the field must be, None where it is well.
    A field that is missing is checked as None.
    """
    said = _object(drop, code)
    for name in said:
        if name not in checks:
            known = ", ".join(checks)
            raise Reject(code, f"{_named(drop)}: the field {name[:SHOWN]!r} is unknown; the fields are {known}")
    for name, check in checks.items():
        mistake = check(said.get(name))
        if mistake:
            raise Reject(code, f"{_named(drop)}: {name} must be {mistake}")
    return said


def one_of(allowed: Collection[str], *, needed: bool) -> Check:
    """Return the check of a field that takes some words only."""

    def check(value: Any) -> Mistake:
        well = (value is None and not needed) or (isinstance(value, str) and value in allowed)
        return None if well else " or ".join(allowed) + ("" if needed else ", or left out")

    return check


def message(value: Any) -> Mistake:
    """Check a message, which may be left out."""
    if value is None or (isinstance(value, str) and len(value) <= MESSAGE_LIMIT):
        return None
    has = f"; it has {len(value)}" if isinstance(value, str) else ""
    return f"a text of at most {MESSAGE_LIMIT} characters{has}, or left out"


def _named(drop: Drop) -> str:
    """Return how an error names a drop: by the end of its name, for what precedes `.cancel.json` may name a person."""
    return ".".join(drop.file_name.split(".")[-2:])


def _object(drop: Drop, code: str) -> dict[str, Any]:
    if drop.size > LIMIT_BYTES:
        raise Reject(code, f"{_named(drop)} has {drop.size} bytes; at most {LIMIT_BYTES} are read")
    try:
        said = json.loads(_text(drop), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise Reject(code, f"{_named(drop)} is no JSON in UTF-8, or names a field twice; correct it") from None
    if not isinstance(said, dict):
        raise Reject(code, f"{_named(drop)} must be a JSON object")
    return said


def _text(drop: Drop) -> bytes:
    if not drop.size:
        return b""
    with closing(drop.read(0, drop.size)) as content:
        return content.read()


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: which of the two is meant is not for us to guess."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)
