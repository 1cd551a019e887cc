"""What a poll has seen, for those who look closer."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from amtsbote.lifecycle import ItemRow
from amtsbote.portals.protocols import Finding, Source


class Listing(NamedTuple):
    """What the portal lists (`findings`, by id), what was known of it, and which of it had no row until now.

    `started_at` (UTC) is from before the list was read; `asked_since` is from when on an ordinary poll asks `source`,
    which is None where the connection only sends.
    """

    started_at: datetime
    findings: Mapping[str, Finding]
    known: Mapping[str, ItemRow]
    fresh: tuple[Finding, ...]
    asked_since: datetime | None
    source: Source | None
