"""Receipts: what became of a drop, beside the inbox's documents at `receipts/<outbox key>.json`.

Whoever knows what lies there need not ask the ledger: nothing, where no version of the key has been seen before; or
the receipt of the row as it was before its latest step, by the ETag that S3 gave it in this process, else by a look.
Where something else lies there, the row as it is now and the newest version decide.
"""

import json
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from amtsbote.deliveries import ERASED_STATES, DropRow, DropState, has_expired
from amtsbote.errors import Retry
from amtsbote.keys import KEY_BYTES, receipt_key
from amtsbote.ledger import Ledger
from amtsbote.lifecycle import Past
from amtsbote.portals.protocols import SHOWN, Outcome
from amtsbote.storage import JSON_TYPE, MISSING, TAKEN, code_of, delete_version, get_or_none, json_text
from amtsbote.times import written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEMA = "amtsbote.receipt/1"
ROUNDS = 5
REMEMBERED_ETAGS = 100
STATUS = {DropState.DELIVERED: Outcome.DELIVERED, DropState.FAILED: Outcome.FAILED}
SHOWN_STATES = frozenset({DropState.RECEIVED, DropState.SENDING, DropState.SENT})


def status_of(row: DropRow) -> Outcome:
    """Return how far a delivery is, as receipts and events say it."""
    return STATUS.get(row.state, Outcome.IN_PROGRESS)


def receipt_of(row: DropRow) -> dict[str, Any]:
    """Return the receipt that a row stands for; equal rows give equal receipts."""
    failure, story, meanwhile = row.failure, _story(row), _meanwhile(row)
    return {
        "schema": SCHEMA,
        "outboxKey": row.key,
        "versionId": row.version_id,
        "status": status_of(row),
        "portalId": row.portal_id,
        "updatedAt": written(max(story[-1].at, datetime.fromisoformat(meanwhile["at"])) if meanwhile else story[-1].at),
        "history": [{"at": written(past.at), "state": past.state} for past in story],
        "result": {**json.loads(row.result), **meanwhile.get("result", {})},
        "error": failure and {"code": failure.code, "message": failure.message, "retryable": failure.retryable},
        **({"origin": row.provenance.origin} if row.provenance else {}),
    }


def _meanwhile(row: DropRow) -> dict[str, Any]:
    """Return what the adapter wants to be seen while it sends; it ends with the sending, as the journal does."""
    return json.loads(row.journal).get(SHOWN) or {}


def _story(row: DropRow) -> list[Past]:
    """Return our own steps and the portal's in the order of time, each state once in a row."""
    story: list[Past] = []
    for past in sorted([*row.history, *row.steps], key=lambda each: each.at):
        if not story or story[-1].state != past.state:
            story.append(past)
    return story


class Receipts:
    """The receipts in the inbox bucket."""

    def __init__(self, client: "S3Client", bucket: str, ledger: Ledger) -> None:
        self._client = client
        self._bucket = bucket
        self._ledger = ledger
        self._etags: dict[str, str] = {}  # of what this process has written lately, by the digest of its content

    def write_first(self, row: DropRow) -> str | None:
        """Write the receipt of a drop just opened, of whose key no other version had been seen; return as `write`."""
        key = receipt_key(row.key)
        fits = len(key.encode()) <= KEY_BYTES
        return key if fits and self._put(key, json_text(receipt_of(row)), None) else self.write(row)

    def write(self, row: DropRow, over: DropRow | None = None) -> str | None:
        """Write the receipt of a drop as the ledger knows it now; return its key, None when no receipt can lie there.

        A receipt speaks of the newest version of its key. The ETag seen before asking the ledger guards the write, so
        that neither an older version nor an older step ever overwrites what is newer. A receipt whose secret has ended,
        or whose drop is erased, is not written again. `over` is the row just before the step that the caller has
        made: where its receipt lies there, no newer version or step has written one, and the ledger is not asked.
        """
        key = receipt_key(row.key)
        if len(key.encode()) > KEY_BYTES:
            return None
        before = None if over is None else json_text(receipt_of(over))
        seen = self._remembered(before)
        for _ in range(ROUNDS):
            seen = seen or get_or_none(self._client, self._bucket, key)
            current = row if seen is not None and seen[0] == before else self._current(row)
            body = None if current is None or self._is_forgotten(current) else json_text(receipt_of(current))
            if body is None or (seen is not None and seen[0] == body):
                return key
            if self._put(key, body, None if seen is None else seen[1]):
                return key
            seen = None
        raise Retry("RECEIPT_CONTENDED", "the receipt is being written by too many workers at once")

    def _current(self, row: DropRow) -> DropRow | None:
        """Return the row as it is now, None where a newer version of its key has been seen."""
        current = self._ledger.drop(row)
        return current if self._ledger.is_newest(row) else None

    def _is_forgotten(self, row: DropRow) -> bool:
        return has_expired(row, self._ledger.clock()) or row.state in ERASED_STATES

    def _remembered(self, content: bytes | None) -> tuple[bytes, str] | None:
        """Return a receipt as this process has written it, with its ETag; another may lie there by now."""
        etag = None if content is None else self._etags.get(sha256(content).hexdigest())
        return None if content is None or etag is None else (content, etag)

    def forget(self, row: DropRow) -> None:
        """Delete every version of the receipt that speaks of this drop; a newer drop's receipt stays.

        Where this drop's is the current one, what lies beneath goes too: it speaks of older drops, and would show.
        """
        for _ in range(ROUNDS):
            doomed = self._doomed(row, receipt_key(row.key))
            if not doomed:
                return
            for version_id in doomed:
                delete_version(self._client, self._bucket, receipt_key(row.key), version_id)
        raise Retry("RECEIPT_CONTENDED", "the receipt is being written while it is forgotten")

    def _doomed(self, row: DropRow, key: str) -> list[str]:
        """Return the version ids to delete, the oldest first, so that none is uncovered by the one above it."""
        if len(key.encode()) > KEY_BYTES:
            return []
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
        versions = [each for page in pages for each in page.get("Versions", []) if each["Key"] == key]
        own = [each for each in versions if self._speaks_of(row, key, each["VersionId"])]
        goes = versions if own and own[0]["IsLatest"] else own
        return [each["VersionId"] for each in reversed(goes)]

    def _speaks_of(self, row: DropRow, key: str, version_id: str) -> bool:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=version_id)
            said = json.loads(answer["Body"].read())
        except ClientError as error:
            if code_of(error) in MISSING:
                return False
            raise
        except ValueError:  # not of ours
            return False
        return isinstance(said, dict) and said.get("versionId") == row.version_id

    def _put(self, key: str, body: bytes, etag: str | None) -> bool:
        condition: Any = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType=JSON_TYPE, **condition
            )
        except ClientError as error:
            if code_of(error) in TAKEN | MISSING:  # changed, or forgotten, since it was seen
                return False
            raise
        if len(self._etags) >= REMEMBERED_ETAGS:
            self._etags.clear()
        self._etags[sha256(body).hexdigest()] = answer["ETag"]
        return True
