"""Deliveries to Digitale-Gemeinde: a file into a field of a document, or a status. (guide, steps 5 and 6)

The portal cannot tell a repeat, so it is looked at before anything is sent again:

- A file whose upload was tried before is looked for in the details first. Where the field shows one file only, and now
  another one than before, it may hide ours beneath: the outcome is then unknown, and nobody but a person sends again.
- A refund moves money. It is asked for once: that is written down before, and after a lost answer only the status in
  the portal counts. Where that does not show the refund, nobody but a person may ask again.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from io import BytesIO
from typing import Any, BinaryIO

from amtsbote.errors import AmtsboteError, OutOfTime, Quarantine, Reject, Retry, Unavailable
from amtsbote.portals.digitale_gemeinde.client import DigitaleGemeindeClient
from amtsbote.portals.digitale_gemeinde.connection import Statuses
from amtsbote.portals.digitale_gemeinde.errors import Throttled
from amtsbote.portals.digitale_gemeinde.lookup import Lookup
from amtsbote.portals.digitale_gemeinde.models import Field, FormDetails, HeldFile, same
from amtsbote.portals.digitale_gemeinde.multipart import BLOCK_BYTES, FileToSend
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Delivery, Drop, Journal, Outcome, Step

STATUS_FILE = "status.json"
STATUS_LIMIT_BYTES = 64 * 1024
COMPLETE = "complete"
LISTED_AT_MOST = 20

HELD = "held"  # journal: how many such files the field held before the upload was tried
SHOWN = "shown"  # journal: a digest of what the field showed before the upload was tried
UPLOADED = "uploaded"
REFUND_ASKED = "refundAsked"
NOTHING_DONE = frozenset({"LOGIN_REFUSED", "LOGIN_UNAVAILABLE"})  # the call itself was not carried out


class DigitaleGemeindeDestination:
    """The results and statuses that go to one tenant."""

    def __init__(self, client: DigitaleGemeindeClient, lookup: Lookup, statuses: Statuses, tools: Tools) -> None:
        self._client = client
        self._lookup = lookup
        self._statuses = statuses
        self._tools = tools

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Send a drop; its path is (form id, document id, field id, file name) or (form id, document id, status.json).

        Reject names the mistake: an unknown field or status, a document that is gone, a status.json that is none.
        """
        match drop.path:
            case (form_id, document_id, last) if last == STATUS_FILE:
                return self._deliver_status(form_id, document_id, drop, journal)
            case (form_id, document_id, field_id, _):
                return self._deliver_file(form_id, document_id, field_id, drop, journal)
        rules = "<formId>/<documentId>/<fieldId>/<file name> or <formId>/<documentId>/status.json"
        raise Reject("KEY_FITS_NO_RULE", f"what follows the connection's name in the key must look like {rules}")

    def track(self, portal_id: str) -> Delivery:
        """Return that the delivery has arrived: the portal has no later state to follow."""
        return Delivery(portal_id, Outcome.DELIVERED)

    # --- files -------------------------------------------------------------------------------------------------------

    def _deliver_file(self, form_id: str, document_id: str, field_id: str, drop: Drop, journal: Journal) -> Delivery:
        completes = _completes(drop)
        details = self._details(form_id, document_id)
        field = _file_field(details, field_id)
        if not journal.state.get(UPLOADED):
            self._upload(form_id, document_id, field, drop, journal)
        if not completes:
            return self._delivered(form_id, document_id, details.status, "UPLOADED")
        if details.status != self._statuses.done:
            self._update(form_id, document_id, self._statuses.done)
        return self._delivered(form_id, document_id, self._statuses.done, "UPLOADED", "COMPLETED")

    def _upload(self, form_id: str, document_id: str, field: Field, drop: Drop, journal: Journal) -> None:
        """Send the file, unless an earlier try has brought it there: then the field holds one more than before it."""
        there = _copies(field, drop)
        if there <= journal.state.get(HELD, there):
            _refuse_hidden(field, journal)
            self._tools.transport.deadline.check()
            journal.state.setdefault(HELD, there)
            journal.state.setdefault(SHOWN, _shown(field))
            journal.save()
            with _named("the field does not take the file, or routes.upload is wrong"), _in_one_go():
                self._client.upload(form_id, document_id, field.id, _to_send(drop))
        journal.state[UPLOADED] = True
        journal.save()

    # --- statuses ----------------------------------------------------------------------------------------------------

    def _deliver_status(self, form_id: str, document_id: str, drop: Drop, journal: Journal) -> Delivery:
        wanted = _wanted_status(drop)
        details = self._details(form_id, document_id)
        current = self._lookup.status(form_id, document_id, details)
        if current is None or not same(current, wanted):
            self._refuse_unknown(wanted, details)
            if same(wanted, self._statuses.refund):
                self._refund(form_id, document_id, wanted, journal)
            else:
                self._update(form_id, document_id, wanted)
        return self._delivered(form_id, document_id, wanted, "STATUS_SET")

    def _refund(self, form_id: str, document_id: str, status: str, journal: Journal) -> None:
        """Ask for a refund, once: also a crash right after it was written down is an unknown outcome."""
        if journal.state.get(REFUND_ASKED):
            said = "a refund was asked for, its answer was lost, and the portal does not show it"
            mend = "look there, and at the payment provider, whether it was made before you drop it again"
            raise Reject("OUTCOME_UNKNOWN", f"{said}; {mend}")
        self._tools.transport.deadline.check()
        journal.state[REFUND_ASKED] = True
        journal.save()
        try:
            self._update(form_id, document_id, status)
        except AmtsboteError as error:
            if isinstance(error, Throttled) or error.code in NOTHING_DONE:
                del journal.state[REFUND_ASKED]
                journal.save()
            raise

    def _refuse_unknown(self, wanted: str, details: FormDetails) -> None:
        """Refuse a status that neither the form offers nor the connection names."""
        known = dict.fromkeys([*details.offered, *self._statuses.all])
        if wanted not in known:
            listed = ", ".join(repr(each[:60]) for each in list(known)[:LISTED_AT_MOST])
            raise Reject("STATUS_UNKNOWN", f"the form knows no such status; it must be one of {listed}")

    # --- both --------------------------------------------------------------------------------------------------------

    def _details(self, form_id: str, document_id: str) -> FormDetails:
        with _named("the portal has no such document, or no longer; check formId and documentId in the key"):
            return self._lookup.details(form_id, document_id)

    def _update(self, form_id: str, document_id: str, status: str) -> None:
        with _named("the portal does not find the document to set its status; if this stays, check routes.update"):
            self._client.update_status(form_id, document_id, status)

    def _delivered(self, form_id: str, document_id: str, status: str | None, *states: str) -> Delivery:
        now = self._tools.clock()
        result = {"documentId": document_id, "status": status}
        steps = tuple(Step(now, state) for state in states)
        return Delivery(f"{form_id}/{document_id}", Outcome.DELIVERED, steps, result)


@contextmanager
def _named(mistake: str) -> Iterator[None]:
    """Say what is wrong with the drop where the portal says that it does not find something."""
    try:
        yield
    except Unavailable as gone:
        raise Reject(gone.code, mistake, portal_words=gone.portal_words) from gone


@contextmanager
def _in_one_go() -> Iterator[None]:
    """Count a try that the time was too short for: a file too large for any invocation must not come for ever."""
    try:
        yield
    except OutOfTime as error:
        raise Retry("UPLOAD_CUT", "the time was too short to send the whole file") from error


def _completes(drop: Drop) -> bool:
    """Return whether the status is to become done; Reject where the user metadata is neither true nor false."""
    value = drop.metadata.get(COMPLETE, "true").strip().lower()
    if value not in ("true", "false"):
        raise Reject("METADATA_INVALID", f"the user metadata {COMPLETE} must be true or false")
    return value == "true"


def _file_field(details: FormDetails, field_id: str) -> Field:
    field = details.field(field_id)
    if field is not None and field.is_file_field:
        return field
    code, mistake = ("FIELD_UNKNOWN", "no field") if field is None else ("FIELD_TAKES_NO_FILE", "no file field")
    takes = [repr(each.id[:60]) for each in details.fields if each.is_file_field][:LISTED_AT_MOST]
    mend = f"its file fields are {', '.join(takes)}" if takes else "it has no file field at all"
    raise Reject(code, f"the form has {mistake} of the id in the key; {mend}")


def _copies(field: Field, drop: Drop) -> int:
    """Return how many files of the drop's name, and of its content where that can be seen, the field holds."""
    name = unicodedata.normalize("NFC", drop.file_name)
    held = [file for file in field.holds if unicodedata.normalize("NFC", file.name) == name]
    return sum(_may_be(file, drop) for file in held)


def _refuse_hidden(field: Field, journal: Journal) -> None:
    """Refuse to send again what may lie beneath the one file that the field shows."""
    shown = _shown(field)
    if field.holds and not field.shows_all and journal.state.get(SHOWN, shown) != shown:
        said = "the upload's answer was lost, and the field shows another file since, which may hide it"
        raise Reject("OUTCOME_UNKNOWN", f"{said}; look there whether it arrived before you drop it again")


def _shown(field: Field) -> str:
    """Return a digest of the files that the field shows, by their names and contents."""
    digest = hashlib.sha256()
    for file in field.holds:
        content = _digest(file.inline.chunks()) if file.inline else None
        digest.update(repr((file.name, content)).encode())
    return digest.hexdigest()


def _may_be(file: HeldFile, drop: Drop) -> bool:
    """Return whether a held file may be the drop: a field that shows its newest file only tells versions by content."""
    if file.inline is None or file.size is None:
        return True
    return file.size == drop.size and _digest(file.inline.chunks()) == _digest(_blocks(drop))


def _digest(blocks: Iterable[bytes]) -> bytes | None:
    """Return the SHA-256 of a content, None where it cannot be read."""
    digest = hashlib.sha256()
    try:
        for block in blocks:
            digest.update(block)
    except Quarantine:
        return None
    return digest.digest()


def _blocks(drop: Drop) -> Iterator[bytes]:
    with closing(_content(drop)) as source:
        while block := source.read(BLOCK_BYTES):
            yield block


def _to_send(drop: Drop) -> FileToSend:
    return FileToSend(drop.file_name, drop.size, drop.content_type, lambda: _content(drop))


def _content(drop: Drop) -> BinaryIO:
    return drop.read(0, drop.size) if drop.size else BytesIO()


def _wanted_status(drop: Drop) -> str:
    """Return what a status.json asks for; Reject, naming the mistake, when it is anything but {"status": "…"}."""
    said = _parsed(drop)
    if not isinstance(said, dict) or set(said) != {"status"}:
        raise Reject("STATUS_INVALID", 'status.json must be {"status": "…"} and hold nothing else')
    status = said["status"]
    if not isinstance(status, str) or not status.strip():
        raise Reject("STATUS_INVALID", "the status in status.json must be a text that is not empty")
    return status


def _parsed(drop: Drop) -> Any:
    if drop.size > STATUS_LIMIT_BYTES:
        raise Reject("STATUS_TOO_LARGE", f"status.json has {drop.size} bytes, at most {STATUS_LIMIT_BYTES} are read")
    with closing(_content(drop)) as content:
        text = content.read()
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise Reject("STATUS_INVALID", 'status.json is no JSON; it must be {"status": "…"}') from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    """Refuse a name that comes twice: which of two statuses is meant is not for us to guess."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)
