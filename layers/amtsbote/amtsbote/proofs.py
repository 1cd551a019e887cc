"""Proofs that a delivery reached its recipient, long after the portal took it. Pure functions, no I/O."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Awaited:
    """A delivery whose arrival the portal will prove by listing an item named `name`.

    `key` and `version_id` are those of its drop, the latest one that awaits this name. `proven_by` are the ids of the
    items that have been told of.
    """

    portal: str
    connection: str
    name: str
    key: str
    version_id: str
    version: int = 0
    proven_by: tuple[str, ...] = ()


def awaited_again(known: Awaited, key: str, version_id: str) -> Awaited:
    """Return the same for a later drop, which is the one that a proof will be told of from now on."""
    return replace(known, key=key, version_id=version_id)


def proven(known: Awaited, item_id: str) -> Awaited:
    """Return the same once more is told of: the item of this id."""
    return known if item_id in known.proven_by else replace(known, proven_by=(*known.proven_by, item_id))
