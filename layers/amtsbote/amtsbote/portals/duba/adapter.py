"""DUBA as a Source of messages, which are listed, downloaded as ZIPs, acknowledged and thereby deleted there."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, BinaryIO

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from amtsbote.errors import Quarantine, Reject
from amtsbote.http import StreamedAnswer
from amtsbote.portals.duba.client import ACKNOWLEDGE_MAX, DubaClient
from amtsbote.portals.duba.connection import Direction, DubaSecret
from amtsbote.portals.duba.models import AckResult, AckStatus, Listing, MessageId, Moment, Said, UnreadableRow
from amtsbote.portals.protocols import (
    Acknowledgement,
    AcknowledgeOutcome,
    Finding,
    IncomingFile,
    Item,
    LeftOut,
    Record,
)
from amtsbote.zipcheck import DEFAULT_LIMITS, verify_zip

HYDRATION = "hydration"
READABLE_DIRECTION = "readable direction"
TEXT_PEEK_BYTES = 64
BLANK = b"\xef\xbb\xbf \t\r\n"  # what may come before the first character of a page

NOT_ANSWERED = "NOT_ANSWERED"
UNKNOWN_STATUS = "UNKNOWN_STATUS"
OUTCOMES: Mapping[str, AcknowledgeOutcome] = {
    AckStatus.DELETED: AcknowledgeOutcome.DONE,
    AckStatus.ALREADY_DELETED: AcknowledgeOutcome.DONE,
    AckStatus.ERROR: AcknowledgeOutcome.TRY_AGAIN,
    AckStatus.FORBIDDEN: AcknowledgeOutcome.UNAVAILABLE,
    AckStatus.NOT_FOUND: AcknowledgeOutcome.UNAVAILABLE,
}

log = logging.getLogger(__name__)


def _none_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


class Essentials(Said):
    """What a listed message must say to be fetched; everything else only concerns those who read its record."""

    id: MessageId
    direction: Annotated[Direction | None, WrapValidator(_none_if_unreadable)] = None
    created_at: Annotated[Moment | None, WrapValidator(_none_if_unreadable)] = None
    hydrated_at: Any = None
    job_id: Annotated[str | None, WrapValidator(_none_if_unreadable)] = None
    received_at: Annotated[Moment | None, WrapValidator(_none_if_unreadable)] = None


class DubaSource:
    """The messages of one DUBA connection. Identity is the message's `id`: a `messageId` may repeat."""

    acknowledge_batch = ACKNOWLEDGE_MAX

    def __init__(self, client: DubaClient, secret: DubaSecret, check_deadline: Callable[[], None]) -> None:
        self._client = client
        self._secret = secret
        self._check_deadline = check_deadline

    def discover(self, since: datetime | None) -> Iterable[Finding | LeftOut]:
        """List the messages of the wanted directions, each id once.

        A message from us that its recipient has fetched proves that, also where that direction is not wanted.
        A row that breaks the schema elsewhere is found all the same. One without a readable direction waits: fetched,
        it would be acknowledged, and so deleted, although nobody may have asked for it. One without an id is left out.
        """
        listing = self._client.list_messages(self._secret.job_ids, self._secret.safe_ids, since)
        _report(listing.unreadable)
        found: dict[str, Finding] = {}
        for finding in self._findings(listing):
            known = found.get(finding.id)
            if known is None or (known.waiting_for and not finding.waiting_for):
                found[finding.id] = finding
        left_out = (LeftOut(row.wrong_fields) for row in listing.unreadable if row.id is None)
        return [*found.values(), *left_out]

    def _findings(self, listing: Listing) -> Iterator[Finding]:
        for record in _records(listing):
            message = Essentials.model_validate(record)
            wanted = message.direction is None or message.direction in self._secret.directions
            proves = _proves(message)
            if wanted or proves:
                yield Finding(
                    str(message.id), message.created_at, record, _waiting_for(message), proves=proves, wanted=wanted
                )

    def fetch(self, item: Item) -> Iterator[IncomingFile]:
        """Stream the message's ZIP, addressed by its id: the `url` in the record is not followed."""
        with self._client.download(int(item.id)) as answer:
            yield IncomingFile(
                name=f"message-{item.id}.zip",
                chunks=answer.chunks,
                content_type="application/zip",
                size=answer.size,
                verify=lambda content: self._verify(content, answer),
            )

    def _verify(self, content: BinaryIO, answer: StreamedAnswer) -> None:
        if _is_text(content, answer):
            raise Quarantine("TEXT_INSTEAD_OF_ZIP", "the portal answered a page instead of a ZIP", may_pass=True)
        try:
            verify_zip(content, DEFAULT_LIMITS, check_deadline=self._check_deadline)
        except Quarantine as damage:
            if answer.size is not None:
                raise
            # without an announced length, a cut body looks like this
            raise Quarantine(damage.code, damage.message, may_pass=True) from damage

    def acknowledge(self, items: Sequence[Item]) -> Iterator[Acknowledgement]:
        """Tell DUBA that these messages are safe, and yield what became of each, in any order.

        A batch that is refused as a whole does not say which id is at fault: it is halved until the others got through,
        in 2n - 1 calls at most. An id refused alone is UNAVAILABLE when others got through, else TRY_AGAIN: then it is
        not known whether the id is at fault or the portal.
        """
        waiting = deque([list(items)] if items else [])
        refused: list[tuple[Item, str]] = []
        any_answered = False
        while waiting:
            batch = waiting.popleft()
            try:
                results = self._client.acknowledge([int(item.id) for item in batch])
            except Reject as refusal:
                refused += [(batch[0], refusal.code)] if len(batch) == 1 else []
                waiting += _halves(batch)
            else:
                any_answered = True
                yield from _acknowledgements(batch, results)
        outcome = AcknowledgeOutcome.UNAVAILABLE if any_answered else AcknowledgeOutcome.TRY_AGAIN
        yield from (Acknowledgement(item.id, outcome, code) for item, code in refused)


def _records(listing: Listing) -> Iterator[Record]:
    yield from (message.record for message in listing.messages)
    yield from (row.record for row in listing.unreadable if row.id is not None)


def _waiting_for(message: Essentials) -> str | None:
    if message.direction is None:
        return READABLE_DIRECTION
    return None if message.hydrated_at else HYDRATION


def _proves(message: Essentials) -> str | None:
    """Return the job whose form is shown to have reached its recipient."""
    arrived = message.direction is Direction.OUTGOING and message.received_at is not None
    return message.job_id if arrived else None


def _report(rows: Sequence[UnreadableRow]) -> None:
    for row in rows:
        log.warning("DUBA listed a message that breaks its schema: id %s, fields %s", row.id, row.wrong_fields)


def _is_text(content: BinaryIO, answer: StreamedAnswer) -> bool:
    """Return whether a page, a JSON error or nothing at all came instead of a file, as in maintenance."""
    content.seek(0)
    start = content.read(TEXT_PEEK_BYTES).lstrip(BLANK)
    return "html" in answer.headers.get("Content-Type", "").lower() or not start or start[:1] in (b"<", b"{")


def _halves(batch: list[Item]) -> list[list[Item]]:
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]] if middle else []


def _acknowledgements(batch: Sequence[Item], results: Iterable[AckResult]) -> Iterator[Acknowledgement]:
    """Judge each asked id by its own answer; an answer for an id that was not asked is ignored."""
    said = {result.id: result.status for result in results}
    for item in batch:
        yield _acknowledgement(item.id, said.get(int(item.id), NOT_ANSWERED))


def _acknowledgement(item_id: str, status: str) -> Acknowledgement:
    known = status in OUTCOMES or status == NOT_ANSWERED
    outcome = OUTCOMES.get(status, AcknowledgeOutcome.TRY_AGAIN)
    return Acknowledgement(item_id, outcome, status if known else UNKNOWN_STATUS)
