"""Deliveries to docxworld: single or chunked as the portal decides, resumable, and looked at before they are repeated.

Documented on the page under "Upload". What the page leaves open is settled here on the safe side:

- An upload that may have arrived (its last step was tried and the answer lost) is looked at before anything is sent.
- Addresses that are refused or ended are asked for again under the same `referenceId`; the portal answers the same
  upload. Parts that are there already are kept only where the new addresses name the same upload in the storage.
- An upload that exists without an address to send to is asked for a few times, then refused with a mend.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta

from amtsbote.errors import Misconfigured, OutOfTime, Reject, Retry, Unavailable
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.connection import Uploader
from amtsbote.portals.docxworld.models import ApprovalTask, Role, Upload, UploadOrder, UploadUrls
from amtsbote.portals.docxworld.orders import check, order_of
from amtsbote.portals.docxworld.presigned import Content, DeadLink, put
from amtsbote.portals.docxworld.progress import Progress
from amtsbote.portals.docxworld.resources.base import Paging
from amtsbote.portals.docxworld.routing import TargetBook
from amtsbote.portals.docxworld.tracking import delivery_of, has_arrived, was_refused
from amtsbote.portals.portal import Tools
from amtsbote.portals.protocols import Delivery, Drop, Journal

ROUNDS = 2  # addresses that are refused are asked for again once per invocation
FRUITLESS_LIMIT = 4  # times that an unfinished upload may come without an address
ENDING = timedelta(seconds=60)  # an address this close to its end is not used any more
UNASSEMBLED = frozenset({"CHUNK_MISSING", "S3_COMPLETE_UPLOAD"})
NO_HEADERS: Mapping[str, str] = {}

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
        delivering = Delivering(self, drop, Progress(journal))
        return self.track(delivering.run())

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


class Delivering:
    """One drop on its way: the steps of `DocxworldDestination.deliver`."""

    def __init__(self, destination: DocxworldDestination, drop: Drop, progress: Progress) -> None:
        self._uploads = destination.client.uploads
        self._destination = destination
        self._transport = destination.tools.transport
        self._role = destination.uploader.role
        self._drop = drop
        self._progress = progress

    def run(self) -> str:
        """Bring the file to the portal, unless it is there; return the portal's id of the upload."""
        if not self._progress.sent:
            self._send(order_of(self._drop, self._target()))
            self._progress.finish()
        return self._progress.process_id

    def _target(self) -> str:
        if self._progress.target is None:
            to, now = self._destination, self._destination.tools.clock()
            found = to.book.find(to.account, self._drop.path[0], to.client, self._role, now)
            self._progress.aim(found)
        return str(self._progress.target)

    def _send(self, order: UploadOrder) -> None:
        """Return when the portal has the file; refused addresses are asked for again."""
        if self._progress.began and self._arrived():
            return
        for round_number in range(1, ROUNDS + 1):
            if not self._progress.urls and self._ask(order):
                return
            try:
                self._transfer()
            except DeadLink:
                self._progress.forget_addresses()
                if round_number == ROUNDS:
                    raise
            else:
                return

    # --- addresses ---------------------------------------------------------------------------------------------------

    def _ask(self, order: UploadOrder) -> bool:
        """Ask for addresses; return True where the portal turns out to have the file already."""
        answer = self._request(order)
        urls = answer.upload_urls or ()
        self._progress.adopt(answer.id, urls, answer.headers or {}, self._drop.size)
        if answer.job_already_exists and self._arrived():
            return True
        if not urls:
            self._give_up_slowly()
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

    def _give_up_slowly(self) -> None:
        if self._progress.count_fruitless() >= FRUITLESS_LIMIT:
            said = "docxworld has an unfinished upload of this drop and gives no address to send it to"
            raise Reject("UPLOAD_STUCK", f"{said}; have it deleted there and drop the file again")
        raise Retry("UPLOAD_WITHOUT_ADDRESS", "docxworld knows the upload and gives no address to send it to yet")

    def _check_alive(self) -> None:
        end = self._progress.ends_at
        if end is not None and end - ENDING <= self._destination.tools.clock():
            raise DeadLink("the presigned addresses have ended")

    # --- transfer ----------------------------------------------------------------------------------------------------

    def _transfer(self) -> None:
        urls = self._progress.urls
        if len(urls) == 1:
            self._send_whole(urls[0])
        else:
            self._send_chunks(urls)
            self._complete()

    def _send_whole(self, url: str) -> None:
        self._ready()
        self._progress.begin()
        self._put(url, self._progress.headers, 0, self._drop.size)

    def _send_chunks(self, urls: Sequence[str]) -> None:
        for chunk in self._progress.missing():
            self._ready()
            etag = self._put(urls[chunk.counter], NO_HEADERS, chunk.start, chunk.length)
            self._progress.has_part(chunk.counter, etag)

    def _ready(self) -> None:
        """Raise OutOfTime or DeadLink before a piece is begun that could not be ended."""
        self._transport.deadline.check()
        self._check_alive()

    def _put(self, url: str, headers: Mapping[str, str], start: int, length: int) -> str:
        """Send a piece and return its ETag; an answer without one is not the storage's (a page of some proxy)."""
        with closing(self._drop.read(start, length)) as source:
            content = Content(source, length, self._transport.deadline.check)
            etag = put(self._transport, url, headers, content).get("ETag")
        if not etag:
            raise Retry("STORAGE_ERROR", "what was sent to the storage was answered without an ETag")
        return etag

    def _complete(self) -> None:
        """Have the parts put together; an error is believed only after a look at the upload."""
        base = self._destination.uploader.etag_base
        etags = {counter + base: etag for counter, etag in sorted(self._progress.etags.items())}
        self._progress.begin()
        try:
            self._uploads.complete(self._progress.process_id, etags, role=self._role)
        except OutOfTime:
            raise
        except (Retry, Reject, Unavailable) as error:
            if self._arrived():
                return
            if error.code in UNASSEMBLED:
                self._progress.start_over()
            raise

    def _arrived(self) -> bool:
        """Return whether the upload's steps say that the portal has the file."""
        try:
            return has_arrived(self._uploads.get(self._progress.process_id, role=self._role))
        except Reject as error:
            if error.code != "JOB_NOT_FOUND":
                raise
            return False
