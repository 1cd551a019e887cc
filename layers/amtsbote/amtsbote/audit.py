"""The trail: each step sealed by a digest over itself and the step before. Pure functions, no I/O.

    digest of a step = first 32 hex digits of SHA-256(<digest of the step before> "\\n" <canonical JSON of the step>)

For the first step the row's identity stands in place of a digest before. Canonical JSON is that of `canonical`: what is
not None, names in order, no spaces, ASCII. Where a history no longer keeps steps (the repeats of an endless failure),
the step behind the gap carries the digest of the last one left out (`after`), so that the chain closes over the gap,
and the numbers say how many are missing. The row's `seal` covers all digests of the history as it stands.

It shows that something was changed afterwards, by whoever does not know of it or forgot a part. Who can write the table
and knows this page can seal anew; against them the functions' logs hold the begin of each digest.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from amtsbote.deliveries import DropRow
from amtsbote.lifecycle import ItemRow, Past
from amtsbote.times import sortable

DIGEST_LETTERS = 32
PSEUDONYM_LETTERS = 12
WITNESS_LETTERS = 16  # of a digest, in a log
OPERATOR = "operator:"

Fact = str | int | None
AnyRow = TypeVar("AnyRow", ItemRow, DropRow)


@dataclass(frozen=True)
class Deed:
    """One action of a person on a connection, or on the whole stack (no portal, no connection); sealed like a step.

    `action` is its name, `about` how many or which, `failed` the code where it did not succeed.
    """

    portal: str
    connection: str
    number: int
    at: datetime
    action: str
    by: str
    about: str | None = None
    failed: str | None = None
    digest: str | None = None


def pseudonym(arn: str) -> str:
    """Return how the trail names a person, from the ARN that AWS knows them by; who knows the ARN can check it."""
    return OPERATOR + sha256(arn.encode()).hexdigest()[:PSEUDONYM_LETTERS]


def identity_of(row: ItemRow | DropRow) -> str:
    """Return what the first step's digest begins with."""
    if isinstance(row, DropRow):
        return f"DROP#{row.bucket}/{row.key}#{row.version_id}"
    return f"ITEM#{row.portal}#{row.connection}#{row.id}"


# --- sealing ---------------------------------------------------------------------------------------------------------


def sealed(row: AnyRow, by: str, before: AnyRow | None = None) -> AnyRow:
    """Return a changed row with its new steps sealed as those of `by`; `before` is the row that it was.

    Steps of a row that was written before there were seals get theirs now, and nobody's name.
    """
    known = () if before is None else before.history
    if row.seal is not None and row.history == known:
        return row
    identity = identity_of(row)
    kept = _sealed_before(before)
    same = {id(past): step for past, step in zip(known, kept, strict=True)}  # what stays is the very same object
    steps, head = list[Past](), kept[-1] if kept else None
    for past in row.history:
        step = same.get(id(past)) or _linked(replace(past, by=past.by or by), head, identity)
        head = head if id(past) in same else step
        steps.append(step)
    closed = tuple(_closed(steps, kept))
    return replace(row, history=closed, seal=seal_of(identity, closed))


def _sealed_before(before: ItemRow | DropRow | None) -> tuple[Past, ...]:
    """Return the steps that a row had, sealed also where it was written before there were seals."""
    if before is None or before.seal is not None:
        return () if before is None else before.history
    steps = list[Past]()
    for past in before.history:
        steps.append(_linked(past, steps[-1] if steps else None, identity_of(before)))
    return tuple(steps)


def _linked(past: Past, head: Past | None, identity: str) -> Past:
    """Return a step sealed as the one that follows the head, or as the first."""
    numbered = replace(past, number=1 if head is None else (head.number or 0) + 1)
    return replace(numbered, digest=digest_of(identity if head is None else str(head.digest), facts_of(numbered)))


def _closed(steps: Sequence[Past], known: Sequence[Past]) -> Iterator[Past]:
    """Yield the steps; one behind a gap that has just come to be says which step is the last one left out."""
    left_out = {past.number: past.digest for past in known}
    for place, step in enumerate(steps):
        follows = place == 0 or steps[place - 1].number == (step.number or 0) - 1
        yield step if follows or step.after else replace(step, after=left_out[(step.number or 0) - 1])


def digest_of(before: str, facts: Mapping[str, Fact]) -> str:
    """Return the digest of a step or deed that follows the one with the digest `before`."""
    return _hashed(f"{before}\n{canonical(facts)}")


def canonical(facts: Mapping[str, Fact]) -> str:
    """Return facts as JSON that is the same for everybody: what is not None, names in order, no spaces, ASCII."""
    said = {name: value for name, value in facts.items() if value is not None}
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def facts_of(past: Past) -> dict[str, Fact]:
    """Return what a step's digest is over, as an export says it."""
    return {
        "number": past.number,
        "at": sortable(past.at),
        "state": past.state,
        "reason": past.reason,
        "by": past.by,
        "sizeBytes": past.size_bytes,
        "sha256": past.sha256,
    }


def facts_of_deed(deed: Deed) -> dict[str, Fact]:
    """Return what a deed's digest is over, as an export says it."""
    facts = {name: getattr(deed, name) for name in ("number", "action", "by", "about", "failed")}
    return facts | {"at": sortable(deed.at)}


def seal_of(identity: str, steps: Sequence[Past]) -> str:
    """Return the seal of a history as it stands: over the digest of each step, and over each gap."""
    return _hashed("\n".join([identity, *(f"{step.digest} {step.after or ''}" for step in steps)]))


def next_deed(deed: Deed, last: Deed | None) -> Deed:
    """Return a deed numbered and sealed as the one that follows the last of its trail."""
    numbered = replace(deed, number=1 if last is None else last.number + 1)
    return replace(numbered, digest=digest_of(_before_deed(deed, last), facts_of_deed(numbered)))


def _before_deed(deed: Deed, last: Deed | None) -> str:
    return f"AUDIT#{deed.portal}#{deed.connection}" if last is None else str(last.digest)


def _hashed(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LETTERS]


# --- verifying -------------------------------------------------------------------------------------------------------


def verify(row: ItemRow | DropRow) -> list[str]:
    """Return what is wrong with the trail of a row, and at which step; empty where it is sound.

    A row that has not changed since before there were seals has nothing to verify, and is sound: see `unsealed`.
    """
    if row.seal is None and not any(past.digest or past.number for past in row.history):
        return []
    wrong = list(_broken_links(row))
    if not wrong and seal_of(identity_of(row), row.history) != row.seal:
        wrong.append("steps were left out or added, as the row's seal is that of another history")
    if row.history and row.history[-1].state != row.state:
        wrong.append(f"the last step is {row.history[-1].state}, and the row is {row.state}")
    return wrong


def unsealed(row: ItemRow | DropRow) -> int:
    """Return how many steps of a row were kept before the trail was sealed; nobody can say whose they are."""
    return sum(past.by is None for past in row.history)


def left_out(history: Sequence[Past], place: int) -> int:
    """Return how many steps are no longer kept before the one at this place (0 is the first)."""
    before = history[place - 1].number if place else 0
    number = history[place].number
    return 0 if number is None or before is None else number - before - 1


def verify_deeds(deeds: Sequence[Deed], last: Deed | None = None) -> list[str]:
    """Return what is wrong with some actions that follow one another, the first of them the `last` one given."""
    wrong = list[str]()
    for deed in deeds:
        if next_deed(deed, last) != deed:
            wrong.append(f"action {deed.number} ({deed.action}, {sortable(deed.at)}) does not follow, or was changed")
        last = deed
    return wrong


def _broken_links(row: ItemRow | DropRow) -> Iterator[str]:
    number, digest = 0, identity_of(row)
    for place, past in enumerate(row.history):
        follows = past.number == number + 1 and past.after is None
        behind_gap = place > 0 and past.after is not None and past.number is not None and past.number > number + 1
        where = f"step {place + 1} ({past.state}, {sortable(past.at)})"
        if not follows and not behind_gap:
            yield f"{where} does not follow the one before it"
        elif past.digest != digest_of(past.after or digest, facts_of(past)):
            yield f"{where} is not what it was, or the one before it is not"
        number, digest = past.number or 0, str(past.digest)
