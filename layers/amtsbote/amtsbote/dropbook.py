"""What an adapter may know of other drops, read from the ledger."""

import json

from amtsbote.deliveries import DropRow, DropState
from amtsbote.ledger import Ledger
from amtsbote.portals.protocols import KnownDrop
from amtsbote.receipts import status_of

PENDING = frozenset({DropState.RECEIVED, DropState.SENDING})


class LedgerDropBook:
    """The drops as the ledger knows them: read, never changed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def newest(self, bucket: str, key: str) -> KnownDrop | None:
        """Return the newest version of an outbox key that has been seen."""
        return _known(self._ledger.newest_drop(bucket, key))

    def newest_sent(self, bucket: str, key: str) -> KnownDrop | None:
        """Return the newest version of an outbox key that the portal has."""
        return _known(self._ledger.newest_sent_drop(bucket, key))


def _known(row: DropRow | None) -> KnownDrop | None:
    if row is None:
        return None
    failed = row.failure is not None
    return KnownDrop(
        row.version_id,
        row.state in PENDING,
        status_of(row),
        row.portal_id,
        json.loads(row.result),
        row.failure.code if row.failure else None,
        row.history[-1].at if failed and row.history else None,
    )
