"""Uploads and their approvals: presigned URLs, chunks, completion, the lists, and the decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.portals.server import Clock

from .catalogue import Catalogue, Target, contains
from .encryption import NO_ENCRYPTION, TAG_BYTES, Encryption, EncryptionRequest, read_encryption
from .errors import RefusedError, malformed, not_found, refused
from .fields import Body, Query, page_of
from .identity import Account
from .jobs import APPROVAL_STATES, APPROVED_FIRST, CUT_SHORT, JOB_STATES, TRANSFERRED_SOON, WAITING, Job, Script
from .storage import META_PREFIX, MIN_PART_BYTES, Blob, MultipartUpload, Storage, StoredObject

FEATURES = ("MULTIPART", "CS_CONTENT_ENCRYPTION")
PRIORITIES = ("NORMAL", "HI")
FILE_FORMATS = ("PDF", "UNKNOWN")
DECISIONS = ("APPROVED", "REJECTED")
EMAIL_OPTIONS = ("ONLY_UPLOADER", "CC_APPROVER")
MAX_REFERENCE = 100
MAX_MESSAGE = 255
MIN_URLS = 2
MIB = 1024 * 1024
UPLOAD_FILTERS = (
    "page", "size", "sort", "companyId", "customerNumber", "jobState", "jobStates", "approvalStates", "freeSearch",
    "expectedFileFormat", "startPeriod", "endPeriod",
)  # fmt: skip
TASK_FILTERS = (
    "page", "size", "sort", "targetName", "processIds", "approvalStates", "freeSearch", "uploadStartPeriod",
    "uploadEndPeriod",
)  # fmt: skip
ADMINISTRATORS = frozenset({"ROLE_SYS_ADMIN", "ROLE_PF_ADMIN", "ROLE_CUSTOMER_ADMIN"})

Linked = Callable[[str], list[dict[str, Any]]]
"""The downloads that belong to an upload, as uploads show them."""


@dataclass
class UploadOptions:
    """What the documentation leaves to the server.

    `url_count` None gives one URL per `bytes_per_url`, two at least. `etag_base` is the counter of the first URL. A
    repeated reference is answered with the job it has, with fresh URLs (where `chunks_begin_anew` of another chunked
    upload) or with none, or refused altogether. A repeated completion is refused unless `repeated_complete_accepted`.

    Of encrypted uploads, `announced_size` is what fileSize means. The key of a repeated request is the `same`,
    `another`, or `none`; with `encryption_ignored` there never is one. `java_mask` wraps it as Java does.
    """

    chunk_threshold_bytes: int = 100 * 1000 * 1000
    bytes_per_url: int = 8 * MIB
    url_count: int | None = None
    etag_base: int = 1
    link_seconds: int = 3587
    read_link_seconds: int = 3600
    fresh_urls_for_existing: bool = True
    existing_refused: bool = False
    chunks_begin_anew: bool = False
    repeated_complete_accepted: bool = False
    announced_size: str = "plaintext"
    repeated_key: str = "same"
    encryption_ignored: bool = False
    java_mask: bool = True


@dataclass(frozen=True)
class Decision:
    """A decision that came in: the file is the changed PDF, or None."""

    task_id: str
    process_id: str
    state: str
    message: str | None
    email_option: str
    file: bytes | None


class Uploads:
    """All uploads of all accounts. `linked` finds the downloads of one; it is set by the portal."""

    def __init__(self, clock: Clock, storage: Storage, catalogue: Catalogue) -> None:
        self.clock, self.storage, self.catalogue = clock, storage, catalogue
        self.options = UploadOptions()
        self.scripts: dict[str, Script] = {}
        self.jobs: dict[str, Job] = {}
        self.decisions: list[Decision] = []
        self.linked: Linked = lambda _: []
        self._opened: dict[str, tuple[StoredObject, bytes, tuple[str, int] | None]] = {}

    def advance(self) -> None:
        """Let every job take the steps that are due."""
        now = self.clock()
        for job in self.jobs.values():
            job.advance(now)

    # --- request and answer of URLs ---

    def request_urls(self, account: Account, body: Body) -> dict[str, Any]:
        """PUT /v1/uploads."""
        features = body.choices("supportedUploadFeatures", FEATURES)
        encryption = read_encryption(body, features)
        job = self._read_job(account, body, encryption)
        body.close()
        existing = self._same_reference(account, job.reference_id)
        if existing is None:
            self._open(job, chunked=self._is_chunked(job, features))
        elif self.options.existing_refused:
            raise refused("client.job_already_exists", "Job already exists exception", job.reference_id)
        return self._urls(existing or job, encryption, exists=existing is not None)

    def _read_job(self, account: Account, body: Body, encryption: EncryptionRequest | None) -> Job:
        target = self._target(account, body.required_uuid("targetId"))
        if encryption is not None and not target.workflow.encryption_allowed:
            raise refused("client.encryption_not_allowed", "Encryption not allowed exception")
        return Job(
            owner=account,
            target=target,
            file_name=body.required_text("fileName"),
            file_size=body.size("fileSize"),
            created=self.clock(),
            approval_state="REQUIRED" if target.workflow.approval_needed else "NOT_REQUIRED",
            reference_id=body.text("referenceId", MAX_REFERENCE),
            customer_references=tuple(body.text(f"jobCustomerReference{n}", MAX_REFERENCE) for n in range(1, 7)),
            priority=body.choice("priority", PRIORITIES) or "NORMAL",
            encryption=self._new_encryption(encryption),
        )

    def _new_encryption(self, request: EncryptionRequest | None) -> Encryption | None:
        if request is None or self.options.encryption_ignored:
            return None
        return Encryption(request.provider, java_mask=self.options.java_mask)

    def _target(self, account: Account, target_id: str) -> Target:
        target = self.catalogue.named(
            account, target_id, not_found("client.target_not_exists", "Target not exists exception")
        )
        if not target.workflow.active:
            raise refused("client.target_inactive", "Target inactive exception", target_id)
        return target

    def _same_reference(self, account: Account, reference_id: str | None) -> Job | None:
        mine = (job for job in self.jobs.values() if job.owner is account and reference_id)
        return next((job for job in mine if job.reference_id == reference_id), None)

    def _is_chunked(self, job: Job, features: list[str]) -> bool:
        return "MULTIPART" in features and job.file_size >= self.options.chunk_threshold_bytes

    def _open(self, job: Job, chunked: bool) -> None:
        if chunked:
            wanted = self.options.url_count or -(-job.file_size // self.options.bytes_per_url)
            job.url_count = max(MIN_URLS, wanted)
            job.upload_id = self.storage.start_multipart(job.key)
        self.jobs[job.id] = job
        if job.encryption is not None:
            self.storage.never_other_bytes(job.key)

    def _urls(self, job: Job, encryption: EncryptionRequest | None, exists: bool) -> dict[str, Any]:
        open_again = job.scheduled and (not exists or self.options.fresh_urls_for_existing)
        if exists and job.scheduled and job.encryption and self.options.repeated_key == "another":
            job.encryption = self._new_encryption(encryption) or job.encryption
        if exists and open_again and job.upload_id and self.options.chunks_begin_anew:
            job.upload_id = self.storage.start_multipart(job.key)
        headers = self._headers(job) if job.upload_id is None else {}
        forgotten = exists and self.options.repeated_key == "none"
        known = encryption is not None and job.encryption is not None and not forgotten
        keys = job.encryption.answer(encryption) if known and job.encryption and encryption else NO_ENCRYPTION
        return {
            "id": job.id,
            "headers": headers,
            "uploadUrls": self._presigned(job, headers) if open_again else [],
            "s3Key": job.key.removeprefix("dwc-upload/"),
            "jobAlreadyExists": exists,
            **keys,
        }

    def _headers(self, job: Job) -> dict[str, str]:
        values = {
            "id": job.id,
            "contractnumber": job.target.workflow.customer_contract or "",
            "jobpriority": job.priority,
            "userid": job.owner.id,
        }
        encrypted = job.encryption.headers(job.file_size - self._tag_announced()) if job.encryption else {}
        return {**{META_PREFIX + name: value for name, value in values.items()}, **encrypted}

    def _presigned(self, job: Job, headers: Mapping[str, str]) -> list[str]:
        seconds = self.options.link_seconds
        if job.upload_id is None:
            return [self.storage.presign("PUT", job.key, seconds, headers)]
        parts = ({"partNumber": str(n), "uploadId": job.upload_id} for n in range(1, job.url_count + 1))
        return [self.storage.presign("PUT", job.key, seconds, parameters=part) for part in parts]

    # --- the content has come ---

    def stored(self, key: str) -> None:
        """The storage tells that a single upload is there. An object written again changes nothing."""
        job = next((each for each in self.jobs.values() if each.key == key), None)
        if job is not None and job.scheduled:
            self._start(job)

    def _start(self, job: Job) -> None:
        default = APPROVED_FIRST if job.target.workflow.approval_needed else TRANSFERRED_SOON
        script = self.scripts.get(job.target.id, default)
        job.start(script if self._is_whole(job) else CUT_SHORT, self.clock())

    def _tag_announced(self) -> int:
        return TAG_BYTES if self.options.announced_size == "ciphertext" else 0

    def _is_whole(self, job: Job) -> bool:
        """Whether the content has the announced size and, when it is encrypted, opens."""
        stored = self.storage.objects[job.key]
        if job.encryption is None:
            return job.accepts_size(stored.size)
        opened = self.opened(job.id)
        if opened is None:
            self.storage.flags.append(f"an encrypted upload does not open: {job.id}")
        return opened is not None and opened[1] == job.file_size - self._tag_announced()

    def opened(self, process_id: str) -> tuple[str, int] | None:
        """Hash (SHA-256) and length of the plain text of an encrypted upload; None while it is not there.

        What is stored is opened once with each key, and nothing of it is kept.
        """
        job = self.jobs[process_id]
        stored = self.storage.objects.get(job.key)
        if stored is None or job.encryption is None:
            return None
        known = self._opened.get(process_id)
        if known is None or known[0] is not stored or known[1] != job.encryption.key:
            known = stored, job.encryption.key, job.encryption.opened(stored.read())
            self._opened[process_id] = known
        return known[2]

    def complete(self, account: Account, body: Body) -> dict[str, Any]:
        """PUT /v1/uploads/complete."""
        process_id, etags = body.required_text("processId"), body.strings("etags")
        body.close()
        job = self._own(account, process_id)
        upload = self.storage.multiparts.get(job.upload_id or "")
        if upload is None:
            if not (job.upload_id and self.options.repeated_complete_accepted):
                raise _cannot_complete("there is no open chunked upload")
        else:
            self._check_parts(job, upload, _by_counter(etags))
            self.storage.complete_multipart(str(job.upload_id))
            self._start(job)
        return {"message": "complete upload response"}

    def _check_parts(self, job: Job, upload: MultipartUpload, etags: Mapping[int, str]) -> None:
        used = {number - 1 + self.options.etag_base: blob for number, blob in sorted(upload.parts.items())}
        if set(used) - set(etags) or (job.file_size and not used):
            raise refused("client.chunk_missing", "Cannot complete upload. Chunks are missing")
        if set(etags) - set(used):
            raise _cannot_complete("etags of URLs that were not used")
        if any(etags[counter].strip('"') != blob.etag for counter, blob in used.items()):
            self.storage.flags.append(f"a wrong ETag: {job.id}")
            raise _cannot_complete("an etag is not the one that was answered")
        self._check_sizes(list(used.values()))

    def _check_sizes(self, parts: list[Blob]) -> None:
        if any(part.size < MIN_PART_BYTES for part in parts[:-1]):
            self.storage.flags.append("a chunk below 5 MiB")
            raise _cannot_complete("only the last chunk may be smaller than 5 MB")

    # --- looking ---

    def _own(self, account: Account, process_id: str, role: str | None = None) -> Job:
        job = self.jobs.get(process_id)
        if job is None or not self._sees(account, role, job):
            raise not_found("client.job_not_found", "Job not exists exception", process_id)
        return job

    def _sees(self, account: Account, role: str | None, job: Job) -> bool:
        """An administrator sees the uploads of the targets, an approver those with a task, anybody else their own."""
        if role in ADMINISTRATORS:
            return account.may_use(job.target.id)
        if role == "ROLE_CUSTOMER_APPROVER":
            return job.task_created and account.may_use(job.target.id)
        return job.owner is account

    def upload(self, account: Account, role: str | None, process_id: str) -> dict[str, Any]:
        """GET /v1/uploads/{id}."""
        return self._own(account, process_id, role).show(self.linked(process_id))

    def list_uploads(self, account: Account, role: str | None, query: Query) -> dict[str, Any]:
        """GET /v1/uploads."""
        matches = _upload_filter(query)
        found = [job for job in self.jobs.values() if self._sees(account, role, job) and matches(job)]
        return page_of(query, found, UPLOAD_SORTS, lambda job: job.show_in_list(self.linked(job.id)))

    def link(self, account: Account, role: str | None, process_id: str) -> dict[str, Any]:
        """GET /v1/uploads/{id}/generate-link."""
        job = self._own(account, process_id, role)
        if not job.downloadable:
            raise refused("server.file_not_downloadable", "File not downloadable", process_id)
        url = self.storage.presign("GET", job.key, self.options.read_link_seconds)
        return {"id": job.id, "downloadLink": url}

    # --- approvals ---

    def cancel(self, account: Account, process_id: str, body: Body) -> dict[str, Any]:
        """PUT /v1/uploads/{id}/cancel."""
        message = body.text("message", MAX_MESSAGE)
        body.close()
        job = self._own(account, process_id)
        if job.approval_state != WAITING:
            raise refused("server.upload_not_cancellable", "Upload not cancellable exception", process_id)
        job.decide("CANCELLED", None, message, self.clock())
        return job.show_in_list(self.linked(process_id))

    def list_tasks(self, account: Account, query: Query) -> dict[str, Any]:
        """GET /v1/approval-tasks."""
        matches = _task_filter(query)
        found = [
            job for job in self.jobs.values() if job.task_created and account.may_use(job.target.id) and matches(job)
        ]
        return page_of(query, found, TASK_SORTS, lambda job: job.show_task(self.linked(job.id)))

    def decide(self, account: Account, task_id: str, body: Body, file: bytes | None) -> dict[str, Any]:
        """POST /v1/approval-tasks/{id}/decide."""
        state, message = body.required_choice("approvalState", DECISIONS), body.text("message", MAX_MESSAGE)
        email_option = body.choice("emailOptions", EMAIL_OPTIONS) or "ONLY_UPLOADER"
        body.close()
        job = self._task(account, task_id)
        if job.approval_state != WAITING:
            raise refused("server.approval_task_not_decidable", "Approval task not decidable exception", task_id)
        job.decide(state, account, message, self.clock())
        self.decisions.append(Decision(task_id, job.id, state, message, email_option, file))
        return job.show_task(self.linked(job.id))

    def _tasks(self, account: Account) -> list[Job]:
        return [job for job in self.jobs.values() if job.task_created and account.may_use(job.target.id)]

    def _task(self, account: Account, task_id: str) -> Job:
        job = next((each for each in self._tasks(account) if each.task_id == task_id), None)
        if job is None:
            raise not_found("server.approval_task_not_found", "Approval task not exists exception", task_id)
        return job


UPLOAD_SORTS: Mapping[str, Callable[[Job], Any]] = {
    "customerContract": lambda job: job.target.workflow.customer_contract or "",
    "jobState": lambda job: job.state,
    "created": lambda job: job.created,
    "companyId": lambda job: job.target.workflow.company_id,
    "customerNumber": lambda job: job.target.workflow.customer_number,
    "targetName": lambda job: job.target.workflow.name,
    "targetId": lambda job: job.target.id,
    "approvalState": lambda job: job.approval_state,
}
TASK_SORTS: Mapping[str, Callable[[Job], Any]] = {
    "approvalState": lambda job: job.approval_state,
    "uploadCreated": lambda job: job.created,
    "targetName": lambda job: job.target.workflow.name,
    "uploaderName": lambda job: job.owner.name,
}


def _by_counter(etags: Mapping[str, str]) -> dict[int, str]:
    try:
        return {int(counter): etag for counter, etag in etags.items()}
    except ValueError as error:
        raise malformed("etags: the keys are the counters of the URLs") from error


def _cannot_complete(debug: str) -> RefusedError:
    return refused("client.s3_complete_upload", "Cannot complete upload.", debug)


def _upload_filter(query: Query) -> Callable[[Job], bool]:
    company, number, free = query.one("companyId"), query.one("customerNumber"), query.one("freeSearch")
    states = query.many("jobState", JOB_STATES) + query.many("jobStates", JOB_STATES)
    approvals, formats = query.many("approvalStates", APPROVAL_STATES), query.many("expectedFileFormat", FILE_FORMATS)
    in_period = _period(query, "startPeriod", "endPeriod")

    def matches(job: Job) -> bool:
        workflow = job.target.workflow
        return (
            company in (None, workflow.company_id)
            and number in (None, workflow.customer_number)
            and (not states or job.state in states)
            and (not approvals or job.approval_state in approvals)
            and (not formats or job.target.expected_file_format in formats)
            and contains(free, job.file_name, workflow.name, job.target.id, job.id)
            and in_period(job)
        )

    return matches


def _task_filter(query: Query) -> Callable[[Job], bool]:
    name, process_ids, free = query.one("targetName"), query.many("processIds"), query.one("freeSearch")
    approvals = query.many("approvalStates", APPROVAL_STATES)
    in_period = _period(query, "uploadStartPeriod", "uploadEndPeriod")

    def matches(job: Job) -> bool:
        return (
            name in (None, job.target.workflow.name)
            and (not process_ids or job.id in process_ids)
            and (not approvals or job.approval_state in approvals)
            and contains(free, job.file_name, job.owner.name)
            and in_period(job)
        )

    return matches


def _period(query: Query, start_name: str, end_name: str) -> Callable[[Job], bool]:
    """Created after the one and before the other; either may be missing."""
    start, end = query.instant(start_name), query.instant(end_name)
    return lambda job: (start is None or job.created > start) and (end is None or job.created < end)
