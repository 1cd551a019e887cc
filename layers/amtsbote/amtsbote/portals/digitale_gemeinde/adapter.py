"""Digitale-Gemeinde as a Source of submitted forms."""

import logging
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from amtsbote.errors import OutOfTime, Quarantine, Reject, Retry, Unavailable
from amtsbote.portals.digitale_gemeinde.client import NONSENSE, DigitaleGemeindeClient
from amtsbote.portals.digitale_gemeinde.connection import Statuses
from amtsbote.portals.digitale_gemeinde.lookup import Lookup
from amtsbote.portals.digitale_gemeinde.models import FormCount, FormDetails, FoundForm, InlineFile, same
from amtsbote.portals.protocols import (
    Acknowledgement,
    AcknowledgeOutcome,
    Finding,
    IncomingFile,
    Item,
    LeftOut,
)

ACKNOWLEDGE_BATCH = 25  # each item is two calls of its own; this many fit into one invocation
CHUNK_BYTES = 256 * 1024
FORM_FILE = "form.json"
FORM_ID = "formId"
JSON_TYPE = "application/json"
PORTAL_THROTTLED = "PORTAL_THROTTLED"

log = logging.getLogger(__name__)


class DigitaleGemeindeSource:
    """The new forms of one tenant. Identity is the `documentId`; the form's id is needed to ask for it, and a hint."""

    acknowledge_batch = ACKNOWLEDGE_BATCH

    def __init__(
        self, client: DigitaleGemeindeClient, lookup: Lookup, statuses: Statuses, form_ids: Sequence[str]
    ) -> None:
        self._client = client
        self._lookup = lookup
        self._statuses = statuses
        self._form_ids = tuple(dict.fromkeys(form_ids))

    def discover(self, since: datetime | None) -> list[Finding | LeftOut]:  # noqa: ARG002  (the protocol's)
        """Return all documents of status new, each once; where `count` says that there are none, nothing else is asked.

        `since` is ignored: the list by status is exact. `created_at` is None, as the portal's `submittedDate` has no
        zone: taken for UTC it could be hours in the future and hide what was submitted meanwhile.
        """
        found: dict[str, Finding] = {}
        left_out: list[LeftOut] = []
        for form_id in self._worth_searching():
            for page in self._client.pages(form_id=form_id, status=self._statuses.new):
                left_out += [LeftOut(("documentId",))] * page.unreadable
                left_out += [out for form in page.forms if (out := self._take(form, form_id, found))]
        return [*found.values(), *left_out]

    def _worth_searching(self) -> list[str | None]:
        """Return the forms that may have new documents; None stands for all forms in one search."""
        counts = self._counts()
        if counts is None:
            return list(self._form_ids) or [None]
        if not self._form_ids:
            return [None] if any(self._may_have_new(count) for count in counts) else []
        return [form_id for form_id in self._form_ids if self._form_may_have_new(form_id, counts)]

    def _counts(self) -> list[FormCount] | None:
        """Return what `count` says, None where it says it in a way that is not known."""
        try:
            return self._client.count()
        except Retry as error:
            if error.code != NONSENSE:
                raise
            return None

    def _form_may_have_new(self, form_id: str, counts: Sequence[FormCount]) -> bool:
        """Believe `count` only of a form that it mentions: it leaves out forms whose design was withdrawn."""
        own = [count for count in counts if same(count.form_id, form_id)]
        return any(map(self._may_have_new, own)) if own else bool(counts)

    def _may_have_new(self, count: FormCount) -> bool:
        return count.of(self._statuses.new) != 0

    def _take(self, form: FoundForm, asked: str | None, found: dict[str, Finding]) -> LeftOut | None:
        """Add what was found, unless it is another status or form than was asked for (a filter was ignored).

        Returned is a document whose form nobody knows: it could not be fetched.
        """
        form_id = form.form_id or asked
        if form.status is not None and not same(form.status, self._statuses.new):
            return None
        if asked is not None and not same(form_id or "", asked):
            return None
        if form_id is None:
            return LeftOut((FORM_ID,), form.document_id)
        known = found.setdefault(
            form.document_id, Finding(form.document_id, None, form.record, hints={FORM_ID: form_id})
        )
        if not same(known.hints[FORM_ID], form_id):
            # the inbox has one place for an id, and the portal's own calls go by the documentId alone
            log.error("the document %s is listed under two forms; the first is taken", form.document_id)
        return None

    def fetch(self, item: Item) -> Iterator[IncomingFile]:
        """Stream `form.json`, the details byte by byte as answered, then each file that is inline in them.

        Memory: twice the answer, which has a limit. Unavailable when the document is gone, Retry in an outage. Where
        one of the files is unreadable it is `form.json` that goes to quarantine: it holds them as they came.
        """
        details = self._lookup.details(_form_id(item), item.id)
        body = memoryview(details.body)
        pieces = (bytes(body[start : start + CHUNK_BYTES]) for start in range(0, len(body), CHUNK_BYTES))
        yield IncomingFile(FORM_FILE, pieces, JSON_TYPE, size=len(body), verify=lambda _: _verify(details))
        for file in details.files:
            yield _incoming(file)

    def acknowledge(self, items: Sequence[Item]) -> Iterator[Acknowledgement]:
        """Set each document to processing, if its status still is new; a failed one does not stop the others.

        One that a person has moved on is left alone and counts as done. The portal has no compare-and-set, so the look
        and the change are two calls, and a person who is quicker than that is overwritten. A throttle or a wrong
        connection is raised: the remaining calls would meet the same.
        """
        for item in items:
            yield self._acknowledge(item)

    def _acknowledge(self, item: Item) -> Acknowledgement:
        try:
            return Acknowledgement(item.id, AcknowledgeOutcome.DONE, self._set_processing(item.id, _form_id(item)))
        except (Unavailable, Reject, Quarantine) as error:
            return Acknowledgement(item.id, AcknowledgeOutcome.UNAVAILABLE, error.code)
        except OutOfTime as error:
            return Acknowledgement(item.id, AcknowledgeOutcome.TRY_AGAIN, error.code)
        except Retry as error:
            if error.code == PORTAL_THROTTLED or error.after_seconds is not None:
                raise
            return Acknowledgement(item.id, AcknowledgeOutcome.TRY_AGAIN, error.code)

    def _set_processing(self, document_id: str, form_id: str) -> str:
        """Return what was done, as a stable code."""
        status = self._lookup.status(form_id, document_id, self._lookup.details(form_id, document_id))
        if status is None:
            raise Retry("STATUS_UNKNOWN", "the portal says nowhere which status the document has")
        if not same(status, self._statuses.new):
            return f"ALREADY_{_as_code(status)}"
        self._client.update_status(form_id, document_id, self._statuses.processing)
        return "ACKNOWLEDGED"


def _form_id(item: Item) -> str:
    """Return the form that an item belongs to; an item keeps its hints when its record is gone."""
    form_id = item.hints.get(FORM_ID) or item.record.get(FORM_ID)
    if not isinstance(form_id, str) or not form_id:
        raise Reject("FORM_UNKNOWN", "it is not known which form the document belongs to")
    return form_id


def _as_code(status: str) -> str:
    """Return a status in capitals: `In Bearbeitung` is IN_BEARBEITUNG."""
    return re.sub(r"\W+", "_", status.strip()).upper()[:60]


def _verify(details: FormDetails) -> None:
    """Decode every inline file to the end; Quarantine where one is no base64."""
    for file in details.files:
        for _ in file.chunks():
            pass


def _incoming(file: InlineFile) -> IncomingFile:
    name = file.name or f"{file.field_id}.bin"
    return IncomingFile(name, file.chunks(), file.content_type, portal_name=file.name)
