"""Deliveries to docxworld: single or chunked as the portal decides, resumable, and looked at before they are repeated.

Documented on the page under "Upload". What the page leaves open is settled here on the safe side:

- An upload that may have arrived (its last step was tried and the answer lost) is looked at before anything is sent.
- Addresses that are refused or ended are asked for again under the same `referenceId`; the portal answers the same
  upload. Parts that are there already are kept only where the new addresses name the same upload in the storage.
- An upload that cannot be gone on with (no address, another key than the one that bytes were sent under) is replaced:
  the drop is uploaded anew under a further `referenceId`, once it is certain that the old one has not arrived and
  will not. The old one is looked at again before the new one's last step, and named in the receipt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Reject, Retry, Unavailable
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.connection import Uploader
from amtsbote.portals.docxworld.models import REFERENCE_LIMIT, ApprovalTask, Role, Upload, UploadOrder, UploadUrls
from amtsbote.portals.docxworld.orders import check, order_of, reference_of
from amtsbote.portals.docxworld.parts import PARTS_IN_FLIGHT, Transfer
from amtsbote.portals.docxworld.presigned import DeadLink
from amtsbote.portals.docxworld.progress import Progress
from amtsbote.portals.docxworld.resources.base import Paging
from amtsbote.portals.docxworld.routing import TargetBook
from amtsbote.portals.docxworld.tracking import delivery_of, has_arrived, was_refused
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Delivery, Drop, Journal

if TYPE_CHECKING:
    from amtsbote.portals.docxworld.protection import Protection

ROUNDS = 2  # addresses that are refused, with no part sent, are asked for again once per invocation
FRUITLESS_LIMIT = 4  # times that an unfinished upload may come without an address that works
GENERATIONS = 3  # uploads of one drop, each replacing the one before
FAIR_SECONDS = 300  # an invocation with so much time left should get at least one part through
SLOW_LIMIT = 5  # invocations in a row that did not; after the first, parts go one at a time
ENDING = timedelta(seconds=60)  # an address this close to its end is not used any more
SETTLING = timedelta(minutes=10)  # after a last step whose answer was lost, until "not there" is certain
UNASSEMBLED = frozenset({"CHUNK_MISSING", "S3_COMPLETE_UPLOAD"})
NOT_ENCRYPTED = "none"

_BOOK = TargetBook()  # shared by all invocations of this process


class DocxworldDestination:
    """The uploads of one account."""

    def __init__(
        self, client: DocxworldClient, tools: Tools, uploader: Uploader, account: str, book: TargetBook = _BOOK
    ) -> None:
        self.client = client
        self.tools = tools
        self.uploader = uploader
        self.account = account
        self.book = book

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Upload a drop, going on where the journal stands; its path is (target, file name).

        Reject names what docxworld refuses and the mend. OutOfTime leaves between two parts.
        """
        check(drop)
        progress = Progress(journal)
        process_id = Delivering(self, drop, progress).run()
        try:
            delivery = self.track(process_id)
        except AmtsboteError:
            journal.save()  # else the row's next write follows at once; after a death the upload is looked at
            raise
        if not progress.replaced:
            return delivery
        return replace(delivery, result={**delivery.result, "replaces": progress.replaced})

    def track(self, portal_id: str) -> Delivery:
        """Return how far an upload is; Reject where docxworld does not know it (any more)."""
        upload = self.client.uploads.get(portal_id, role=self.uploader.role)
        return delivery_of(upload, self._task(upload))

    def _task(self, upload: Upload) -> ApprovalTask | None:
        """Return the approval task of a refused upload, None where the account may not read it.

        The page shows tasks to approvers; an account that is none has to do without the words.
        """
        from amtsbote.portals.docxworld.resources.approvals import ApprovalFilter

        if not was_refused(upload):
            return None
        narrowed = ApprovalFilter(process_ids=(upload.process_id,))
        try:
            tasks = list(self.client.approvals.all(narrowed, role=Role.CUSTOMER_APPROVER))
        except (Misconfigured, Reject, Unavailable):
            return None
        own = [task for task in tasks if task.process_id == upload.process_id]
        return next((task for task in own if task.approval_state == upload.approval_state), None)


def reference_of_generation(reference: str, generation: int) -> str:
    """Return the `referenceId` of one upload of a drop: the drop's own for the first, with a counter for the next."""
    if generation == 1:
        return reference
    counter = f".{generation}"
    return reference[: REFERENCE_LIMIT - len(counter)] + counter


class Delivering:
    """One drop on its way: the steps of `DocxworldDestination.deliver`."""

    def __init__(self, destination: DocxworldDestination, drop: Drop, progress: Progress) -> None:
        self._uploads = destination.client.uploads
        self._destination = destination
        self._tools = destination.tools
        self._role = destination.uploader.role
        self._drop = drop
        self._progress = progress
        self._begun_with_address = False
        self._protection = self._new_protection()

    def run(self) -> str:
        """Bring the file to the portal, unless it is there; return the portal's id of the upload."""
        if not self._progress.sent:
            self._send()
            self._progress.finish()
        return str(self._progress.process_id)

    def _new_protection(self) -> "Protection | None":
        uploader = self._destination.uploader
        if self._progress.key is None and uploader.encryption == NOT_ENCRYPTED:
            return None
        from amtsbote.portals.docxworld.protection import Protection  # and with it the package that encrypts

        return Protection(uploader, self._tools.vault, self._drop.size, self._progress)

    @cached_property
    def _target(self) -> str:
        if self._progress.target is None:
            to, named, now = self._destination, self._drop.path[0], self._tools.clock()
            found = to.book.find(to.account, named, to.client, self._role, now)
            if found == named:
                return found  # the key says it at every try
            self._progress.aim(found)
        return str(self._progress.target)

    @property
    def _reference(self) -> str:
        return reference_of_generation(reference_of(self._drop), self._progress.generation)

    def _send(self) -> None:
        """Return when the portal has the file; refused addresses are asked for again."""
        order_of(self._drop, self._target)  # so that what is wrong with the drop is said before anything else
        refusals, done = 0, self._is_settled()
        while not (done or self._is_found()):
            there = self._progress.bytes_there
            try:
                self._transfer()
                done = True
            except DeadLink as refusal:
                self._progress.forget_addresses()
                refusals = refusals + 1 if self._progress.bytes_there == there else 0
                if refusals == ROUNDS:
                    refusals, done = 0, self._gave_up_slowly(refusal)

    def _is_settled(self) -> bool:
        """Return whether what an earlier invocation began has arrived; replace it where it may not be gone on with."""
        if self._progress.began_at and self._arrived():
            return True
        begun_in_clear = self._progress.process_id is not None and self._progress.key is None
        return self._protection is not None and begun_in_clear and self._replaced_by_itself()

    def _is_found(self) -> bool:
        """Have addresses to send to; return True where the portal turns out to have the file already."""
        while not self._progress.urls:
            if self._ask():
                return True
        return False

    # --- addresses ---------------------------------------------------------------------------------------------------

    def _ask(self) -> bool:
        """Ask for addresses; return True where the portal turns out to have the file already."""
        order = order_of(self._drop, self._target).model_copy(update={"reference_id": self._reference})
        answer = self._request(self._protection.asking_for_key(order) if self._protection else order)
        exists, urls = bool(answer.job_already_exists), answer.upload_urls or ()
        if exists and self._has_arrived(answer.id):
            self._progress.name(answer.id)
            return True
        if not urls:
            self._progress.name(answer.id)
            return self._gave_up_slowly(_no_address())
        return self._adopt(answer, urls)

    def _adopt(self, answer: UploadUrls, urls: Sequence[str]) -> bool:
        """Take the addresses, and the key; where it cannot be gone on with them, replace the upload."""
        key = self._protection.key_from(answer, self._reference) if self._protection else None
        if self._protection and key is None:
            self._progress.name(answer.id)
            return self._replaced_by_itself()
        self._begun_with_address = len(urls) == 1 and not self._progress.replaced
        begun_at = self._tools.clock() if self._begun_with_address else None
        self._progress.adopt(answer.id, urls, answer.headers or {}, self._drop.size, key, begun_at)
        return False

    def _request(self, order: UploadOrder) -> UploadUrls:
        """Return the portal's answer; an upload that it only says to have is found in its list."""
        try:
            return self._uploads.request_urls(order, role=self._role)
        except Reject as error:
            if error.code != "JOB_ALREADY_EXISTS":
                raise
            return UploadUrls(id=self._find(order, error), job_already_exists=True)
        except Misconfigured as error:
            if error.code == "ACCESS_DENIED":
                self._blame(error)
            raise

    def _find(self, order: UploadOrder, refusal: Reject) -> str:
        from amtsbote.portals.docxworld.resources.uploads import UploadFilter

        listed = self._uploads.all(UploadFilter(free_search=order.file_name), role=self._role)
        found = next((upload for upload in listed if upload.reference_id == order.reference_id), None)
        if found is None:
            raise refusal
        return found.process_id

    def _blame(self, denial: Misconfigured) -> None:
        """Reject the drop where the role works and just the target is denied, so that the connection stays healthy."""
        self._uploads.page(paging=Paging(page=0, size=1), role=self._role)
        mend = f"have the target assigned to {self._role} at docxworld, or name another"
        raise Reject(
            "TARGET_DENIED", f"docxworld denies uploads to this target; {mend}", portal_words=denial.portal_words
        )

    def _check_alive(self) -> None:
        end = self._progress.ends_at
        if end is not None and end - ENDING <= self._tools.clock():
            raise DeadLink("the presigned addresses have ended")

    # --- replacing ---------------------------------------------------------------------------------------------------

    def _gave_up_slowly(self, refusal: Retry) -> bool:
        """Come again a few times, then replace the upload; return True where it turns out to have arrived."""
        if self._progress.count_fruitless() < FRUITLESS_LIMIT:
            raise refusal
        return self._replaced_by_itself()

    def _replaced_by_itself(self) -> bool:
        """Give the upload up for another one; return True where it has arrived, so that nothing more is to be done.

        Retry until it is certain that it has not: the storage may still be busy with what was sent last.
        """
        if self._progress.process_id is not None and self._arrived():
            return True
        tried = self._progress.began_at
        if tried is not None and self._tools.clock() < tried + SETTLING:
            raise Retry("UPLOAD_UNSETTLED", "whether the upload has arrived is not certain yet")
        if self._progress.generation >= GENERATIONS:
            said = "docxworld has unfinished uploads of this drop that cannot be gone on with"
            raise Reject("UPLOAD_STUCK", f"{said}; have them deleted there and drop the file again")
        self._progress.replace()
        return False

    def _began(self) -> bool:
        """Write down that the last step is tried; False where an upload that was replaced has arrived after all.

        Of a file in one piece it is the only step, and is written down with the address that it is for.
        """
        if self._begun_with_address:
            self._begun_with_address = False
            return True
        for process_id in self._progress.replaced:
            if self._has_arrived(process_id):
                self._progress.return_to(process_id)
                return False
        self._progress.begin(self._tools.clock())
        return True

    # --- transfer ----------------------------------------------------------------------------------------------------

    def _transfer(self) -> None:
        self._ready()
        if len(self._progress.urls) == 1:
            if self._began():
                self._send_parts()
        else:
            self._progress.touch()
            self._send_parts()
            if self._began():
                self._complete()

    def _send_parts(self) -> None:
        tools, progress = self._tools, self._progress
        at_once = PARTS_IN_FLIGHT if not progress.slow else 1
        cipher = self._protection.cipher(self._reference) if self._protection else None
        transfer = Transfer(tools.transport, self._drop, progress, cipher, self._ready, tools.clock, at_once)
        there, seconds = progress.bytes_there, tools.transport.deadline.remaining_seconds()
        try:
            transfer.run()
        except OutOfTime:
            if progress.bytes_there == there and seconds >= FAIR_SECONDS:
                self._note_slowness()
            raise

    def _note_slowness(self) -> None:
        """Reject a file of which not one part ever gets through in the time of a whole invocation."""
        if self._progress.count_slow() >= SLOW_LIMIT:
            part = self._progress.plan.chunk_bytes
            raise Reject("LINE_TOO_SLOW", f"no part of {part} bytes could be sent to docxworld's storage in time")

    def _ready(self) -> None:
        """Raise OutOfTime or DeadLink before a piece is begun that could not be ended."""
        self._tools.transport.deadline.check()
        self._check_alive()

    def _complete(self) -> None:
        """Have the parts put together; an error is believed only after a look at the upload."""
        base = self._destination.uploader.etag_base
        etags: Mapping[int, str] = {counter + base: etag for counter, etag in self._progress.etags.items()}
        try:
            self._uploads.complete(str(self._progress.process_id), etags, role=self._role)
        except OutOfTime:
            raise
        except (Retry, Reject, Unavailable) as error:
            if self._arrived():
                return
            if error.code in UNASSEMBLED:
                self._progress.start_over()
            raise

    def _arrived(self) -> bool:
        return self._has_arrived(str(self._progress.process_id))

    def _has_arrived(self, process_id: str) -> bool:
        """Return whether an upload's steps say that the portal has the file."""
        try:
            return has_arrived(self._uploads.get(process_id, role=self._role))
        except Reject as error:
            if error.code != "JOB_NOT_FOUND":
                raise
            return False


def _no_address() -> Retry:
    return Retry("UPLOAD_WITHOUT_ADDRESS", "docxworld knows the upload and gives no address to send it to yet")
