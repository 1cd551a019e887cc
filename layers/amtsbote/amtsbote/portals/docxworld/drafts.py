"""Technical download drafts (page, "Create technical download draft"): created, filled, followed until they are ready.

A draft is created once. Its address is given once, with its creation, so an answer that was lost cannot be made good:
the list of downloads is looked through (the page does not say that it shows drafts), and the receipt says what is
known; nothing is created again. Only a draft whose address was refused before any file was sent is given up for
another one.
"""

import base64
import re
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from typing import NamedTuple

from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Reject, Retry, Unavailable
from amtsbote.http import was_never_sent
from amtsbote.portals.docxworld.connection import ClientCredentials, UserPassword
from amtsbote.portals.docxworld.models import Download, DownloadType, Draft, DraftOrder, read
from amtsbote.portals.docxworld.outgoing import DRAFTS, SEPARATOR
from amtsbote.portals.docxworld.presigned import Content, DeadLink, ends_at, put
from amtsbote.portals.docxworld.resources.base import Paging
from amtsbote.portals.docxworld.resources.downloads import DownloadFilter
from amtsbote.portals.docxworld.roles import DOWNLOADER_ROLES, ROLE_REFUSALS
from amtsbote.portals.docxworld.uploads import DocxworldDestination
from amtsbote.portals.protocols import Delivery, Drop, Journal, Outcome, Step

DOWNLOAD_TYPE, REFERENCE_ID = "download-type", "reference-id"
METADATA_KEY = re.compile(r"[A-Za-z0-9._-]+")
METADATA_LIMIT_BYTES = 2048  # of the keys and of the values in base64
FILE_LIMIT_BYTES = 5 * 1024**3  # what a storage takes in one piece
SHOWN = 40  # characters of what is wrong that an error shows

CREATE_SECONDS_AT_LEAST = 10  # with less time left, an answer could be lost only because nobody waits for it
ENDING = timedelta(seconds=60)  # an address this close to its end is not used any more
DRAFTS_AT_MOST = 2  # so often a draft is created whose address was refused before anything was sent
CLOCKS_APART = timedelta(minutes=5)
READY_WITHIN = timedelta(hours=1)  # after its file, a draft that is not ready is in error

ASKED = "askedAt"  # journal: when the draft was asked for
DRAFT = "draft"  # journal: the draft with its address and headers
BEGAN = "began"  # journal: the file may have reached the storage
UPLOADED = "uploadedAt"  # journal: when the storage had the file
CREATED = "created"  # journal: how many drafts were created


class Followed(NamedTuple):
    """A filled draft on its way to be ready, as it is written into `tracked_as`."""

    kind: DownloadType
    draft_id: str
    uploaded: datetime

    def text(self) -> str:
        """Return it as one text."""
        return SEPARATOR.join((DRAFTS, self.kind, self.draft_id, self.uploaded.isoformat()))

    @classmethod
    def of(cls, text: str) -> "Followed":
        """Return what `text` has made one text of."""
        _, kind, draft_id, uploaded = text.split(SEPARATOR, 3)
        return cls(DownloadType(kind), draft_id, datetime.fromisoformat(uploaded))


class Drafts:
    """The drafts of one technical access."""

    def __init__(self, uploads: DocxworldDestination, auth: UserPassword | ClientCredentials) -> None:
        self._account = uploads
        self._downloads = uploads.client.downloads
        self._tools = uploads.tools
        self._auth = auth

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Create a draft and send its file; the path is (drafts, target, file name). `track` tells when it is ready."""
        self._require_technical_access()
        kind = check(drop)
        if UPLOADED not in journal.state:
            self._send(drop, kind, journal)
            journal.state[UPLOADED] = self._tools.clock().isoformat()
            journal.save()
        uploaded = datetime.fromisoformat(journal.state[UPLOADED])
        return _delivery(Followed(kind, _draft(journal).id, uploaded), Outcome.IN_PROGRESS)

    def track(self, tracked_as: str) -> Delivery:
        """Return whether the draft has become a download.

        An account that may not read downloads of this type cannot see that; for it the file in the storage is the end.
        """
        followed = Followed.of(tracked_as)
        ready = self._is_ready(followed.kind, followed.draft_id)
        if ready is None:
            return _delivery(followed, Outcome.DELIVERED)
        if ready:
            return _delivery(followed, Outcome.DELIVERED, Step(self._tools.clock(), "READY"))
        if self._tools.clock() < followed.uploaded + READY_WITHIN:
            return _delivery(followed, Outcome.IN_PROGRESS)
        return _delivery(followed, Outcome.FAILED)

    def _require_technical_access(self) -> None:
        if not isinstance(self._auth, ClientCredentials):
            said = "docxworld takes drafts from a technical access only"
            mend = "drop it for a connection whose auth.kind is client-credentials"
            raise Reject("TECHNICAL_ACCESS_REQUIRED", f"{said}; {mend}")

    def _is_ready(self, kind: DownloadType, draft_id: str) -> bool | None:
        """Return whether the draft is a download by now, None where the account may not see that."""
        try:
            self._downloads.get(draft_id, role=DOWNLOADER_ROLES[kind])
        except Unavailable:
            return False
        except Misconfigured as error:
            if error.code not in ROLE_REFUSALS:
                raise
            return None
        return True

    # --- creating ----------------------------------------------------------------------------------------------------

    def _create(self, drop: Drop, kind: DownloadType, journal: Journal) -> None:
        """Create the draft, once: also a crash right after it was written down is an unknown outcome."""
        order = order_of(drop, kind, self._target(drop))
        if ASKED in journal.state:
            raise self._lost(order, datetime.fromisoformat(journal.state[ASKED]))
        self._account.client.log_in()
        if self._tools.transport.deadline.remaining_seconds() < CREATE_SECONDS_AT_LEAST:
            raise OutOfTime
        asked = self._tools.clock()
        journal.state[ASKED] = asked.isoformat()
        journal.save()
        try:
            draft = self._downloads.create_draft(order)
        except AmtsboteError as error:
            if not _nothing_happened(error):
                raise self._lost(order, asked) from error
            del journal.state[ASKED]
            journal.save()
            self._blame_the_target(error)
            raise
        journal.state[DRAFT] = draft.body()
        journal.state[CREATED] = journal.state.get(CREATED, 0) + 1
        journal.save()

    def _target(self, drop: Drop) -> str:
        to = self._account
        return to.book.find(to.account, drop.path[1], to.client, to.uploader.role, self._tools.clock())

    def _lost(self, order: DraftOrder, asked: datetime) -> Reject:
        """Return what is to be said of a draft whose creation was not answered."""
        found = self._find(order, asked)
        if found is None:
            said = "a draft was asked for, the answer was lost, and the list of downloads does not show it"
            mend = "a draft without a file harms nobody; drop the file again if docxworld shows no download of it"
            return Reject("OUTCOME_UNKNOWN", f"{said}; {mend}")
        said = f"the draft {found.id} was created, and the answer with its address was lost"
        return Reject("DRAFT_WITHOUT_ADDRESS", f"{said}; have it removed at docxworld and drop the file again")

    def _find(self, order: DraftOrder, asked: datetime) -> Download | None:
        """Return the draft as the list shows it, None where it does not, or may not be read, or cannot be now."""
        narrowed = DownloadFilter(download_types=(order.download_type,), reference_id=(order.reference_id,))
        try:
            records = list(self._downloads.records(narrowed, role=DOWNLOADER_ROLES[order.download_type]))
            listed = [read(Download, record) for record in records]
        except AmtsboteError:
            return None
        return next((each for each in listed if _may_be(each, order, asked)), None)

    def _blame_the_target(self, denial: AmtsboteError) -> None:
        """Reject the drop where the account works and just its target is denied: the connection stays healthy."""
        if denial.code == "TECHNICAL_ACCESS_REQUIRED":
            raise Reject(denial.code, denial.message, portal_words=denial.portal_words)
        if not isinstance(denial, Misconfigured) or denial.code != "ACCESS_DENIED":
            return
        role = self._account.uploader.role
        self._account.client.uploads.page(paging=Paging(page=0, size=1), role=role)
        said = "docxworld denies drafts for this target; have it assigned to the technical access, or name another"
        raise Reject("TARGET_DENIED", said, portal_words=denial.portal_words)

    # --- sending -----------------------------------------------------------------------------------------------------

    def _send(self, drop: Drop, kind: DownloadType, journal: Journal) -> None:
        """Return when the storage has the file."""
        if DRAFT not in journal.state:
            self._create(drop, kind, journal)
        draft, began_before = _draft(journal), bool(journal.state.get(BEGAN))
        if began_before and self._is_ready(kind, draft.id):
            return
        self._tools.transport.deadline.check()
        journal.state[BEGAN] = True
        journal.save()
        try:
            self._put(drop, draft)
        except DeadLink as refusal:
            if began_before:
                raise _unknown(draft) from refusal
            self._give_up(journal, refusal)
        except OutOfTime as error:  # a file too large for any invocation must not come for ever
            raise Retry("UPLOAD_CUT", "the time was too short to send the whole file") from error

    def _put(self, drop: Drop, draft: Draft) -> None:
        """Send the file; an answer without an ETag is not the storage's (a page of some proxy)."""
        end = ends_at([draft.upload_url])
        if end is not None and end - ENDING <= self._tools.clock():
            raise DeadLink("the presigned address has ended")
        with closing(drop.read(0, drop.size)) as source:
            content = Content(source, drop.size, self._tools.transport.deadline.check)
            headers = put(self._tools.transport, draft.upload_url, draft.headers, content)
        if not headers.get("ETag"):
            raise Retry("STORAGE_ERROR", "what was sent to the storage was answered without an ETag")

    def _give_up(self, journal: Journal, refusal: DeadLink) -> None:
        """Forget a draft that can never be filled, so that the next try creates another; at last Reject."""
        if journal.state[CREATED] >= DRAFTS_AT_MOST:
            said = "the storage refuses the addresses that docxworld gives for the file"
            raise Reject("DRAFT_ADDRESS_REFUSED", f"{said}; ask docxworld, then drop it again") from refusal
        for name in (ASKED, DRAFT, BEGAN):
            journal.state.pop(name, None)
        journal.save()
        raise refusal


# --- what is asked for -----------------------------------------------------------------------------------------------


def check(drop: Drop) -> DownloadType:
    """Return the download's type; Reject, naming the mistake and the mend, what docxworld would not take."""
    if not all(part.strip() for part in drop.path):
        raise Reject("KEY_FITS_NO_RULE", "a part of the key is blank; name the target and the file")
    if drop.size == 0:
        raise Reject("FILE_EMPTY", "the file has no bytes; drop it again with its content")
    if drop.size > FILE_LIMIT_BYTES:
        raise Reject("FILE_TOO_LARGE", f"a draft takes at most {FILE_LIMIT_BYTES} bytes; the file has {drop.size}")
    metadata_of(drop.metadata)
    given = drop.metadata.get(DOWNLOAD_TYPE, "")
    try:
        return DownloadType(given)
    except ValueError:
        said = f"the user metadata {DOWNLOAD_TYPE} must be RESULT or REPORT, not {given[:SHOWN]!r}"
        raise Reject("DOWNLOAD_TYPE_INVALID", said) from None


def order_of(drop: Drop, kind: DownloadType, target_id: str) -> DraftOrder:
    """Return what to ask for; without a `reference-id` the drop's own reference goes with it."""
    return DraftOrder(
        target_id=target_id,
        file_name=drop.file_name,
        download_type=kind,
        reference_id=drop.metadata.get(REFERENCE_ID, "").strip() or drop.reference,
        metadata=metadata_of(drop.metadata),
    )


def metadata_of(user_metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of the draft: all but what is meant for us. Reject, naming the key, what cannot go along."""
    metadata = {key: value for key, value in user_metadata.items() if key not in (DOWNLOAD_TYPE, REFERENCE_ID)}
    seen: dict[str, str] = {}
    for key in metadata:
        if not METADATA_KEY.fullmatch(key):
            raise _wrong(f"the user metadata {key[:SHOWN]!r} has a name with other characters than A-Z a-z 0-9 . _ -")
        if key.lower() in seen:
            raise _wrong(f"the user metadata {key[:SHOWN]!r} and {seen[key.lower()][:SHOWN]!r} differ in case only")
        seen[key.lower()] = key
    sizes = {key: len(key) + len(base64.b64encode(value.encode())) for key, value in metadata.items()}
    if sum(sizes.values()) > METADATA_LIMIT_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        said = f"the user metadata have {sum(sizes.values())} bytes in base64, at most {METADATA_LIMIT_BYTES} go along"
        raise _wrong(f"{said}; the largest is {largest[:SHOWN]!r}")
    return metadata


def _wrong(said: str) -> Reject:
    return Reject("METADATA_INVALID", f"{said}; correct it")


# --- what is found ---------------------------------------------------------------------------------------------------


def _draft(journal: Journal) -> Draft:
    return Draft.model_validate(journal.state[DRAFT])


def _nothing_happened(error: AmtsboteError) -> bool:
    """Return whether the call was certainly refused, or never left us. A 503 is definite only where it names a time."""
    if not isinstance(error, Retry):
        return True
    throttled = error.code == "PORTAL_THROTTLED" and (error.after_seconds is not None or error.message.endswith(" 429"))
    return throttled or was_never_sent(error)


def _may_be(listed: Download, order: DraftOrder, asked: datetime) -> bool:
    """Return whether a download that is listed is the one that was asked for then."""
    same = (listed.target_id, listed.file_name, listed.reference_id, listed.metadata or {})
    asked_for = (order.target_id, order.file_name, order.reference_id, order.metadata)
    return same == asked_for and (listed.created is None or listed.created >= asked - CLOCKS_APART)


def _unknown(draft: Draft) -> Reject:
    said = f"the file was sent for the draft {draft.id}, the answer was lost, and its address takes no more"
    return Reject("OUTCOME_UNKNOWN", f"{said}; drop it again only if docxworld shows no download of it")


def _delivery(followed: Followed, outcome: Outcome, *more: Step) -> Delivery:
    failed = outcome is Outcome.FAILED
    said = "docxworld took the file and made no download of it; it may have marked the draft as an error, ask there"
    return Delivery(
        portal_id=followed.draft_id,
        outcome=outcome,
        steps=(Step(followed.uploaded, "UPLOADED"), *more),
        result={"downloadId": followed.draft_id, "downloadType": followed.kind},
        error_code="DRAFT_NOT_READY" if failed else None,
        error_message=said if failed else None,
        tracked_as=followed.text(),
    )
