"""What docxworld says in the daily business: uploads, downloads, approvals, workflows, targets (page, same names).

Answers tolerate what the page does not list: unknown fields are ignored, words that are closed lists today (states,
roles, types) arrive as plain strings, and whatever may be missing is None. A StrEnum member equals its plain string.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from amtsbote.errors import Retry

REFERENCE_LIMIT = 100  # characters of referenceId and of each customer reference of an upload


class Role(StrEnum):
    """The roles that `X-PF-DWC-Requester-Role` can name."""

    SYS_ADMIN = "ROLE_SYS_ADMIN"
    PF_ADMIN = "ROLE_PF_ADMIN"
    CUSTOMER_ADMIN = "ROLE_CUSTOMER_ADMIN"
    CUSTOMER_USER = "ROLE_CUSTOMER_USER"
    CUSTOMER_UPLOADER = "ROLE_CUSTOMER_UPLOADER"
    CUSTOMER_DOWNLOADER_RESULTS = "ROLE_CUSTOMER_DOWNLOADER_RESULTS"
    CUSTOMER_DOWNLOADER_REPORTS = "ROLE_CUSTOMER_DOWNLOADER_REPORTS"
    CUSTOMER_APPROVER = "ROLE_CUSTOMER_APPROVER"


class DownloadType(StrEnum):
    """What a download is."""

    RESULT = "RESULT"
    REPORT = "REPORT"


class Priority(StrEnum):
    """How urgent an upload is."""

    NORMAL = "NORMAL"
    HI = "HI"


class JobState(StrEnum):
    """The steps of an upload."""

    SCHEDULED = "SCHEDULED"
    UPLOADED = "UPLOADED"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    TRANSFERRED = "TRANSFERRED"
    DUPLICATED = "DUPLICATED"
    DELETED = "DELETED"
    WAITING_FOR_COLLECT = "WAITING_FOR_COLLECT"
    COLLECTED = "COLLECTED"


class ApprovalState(StrEnum):
    """How far the approval of an upload is."""

    REQUIRED = "REQUIRED"
    NOT_REQUIRED = "NOT_REQUIRED"
    WAITING_APPROVAL = "WAITING_APPROVAL"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Status(StrEnum):
    """Whether a user, a technical access, a workflow or a contract is in use."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


def instant_text(moment: datetime) -> str:
    """Return a moment as the page writes it: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:  # year 1 or 9999 at the edge of its zone
        raise ValueError("must be a time that exists in UTC") from error


Instant = Annotated[datetime, AfterValidator(_in_utc), PlainSerializer(instant_text, when_used="json")]
"""A moment in UTC."""


class Model(BaseModel):
    """An object that docxworld answers or takes; its JSON names are camelCase."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
        hide_input_in_errors=True,
    )

    def body(self) -> dict[str, Any]:
        """Return the JSON object to send: just the fields that were given, a given None as null."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


AnyModel = TypeVar("AnyModel", bound=Model)


def read(model: type[AnyModel], answered: object) -> AnyModel:
    """Return a portal's answer as a model; Retry, naming the fields and no values, when it is something else."""
    try:
        return model.model_validate(answered)
    except ValidationError as error:
        fields = sorted({".".join(map(str, problem["loc"])) or "all of it" for problem in error.errors()})
        said = f"docxworld's {model.__name__} is unreadable: {', '.join(fields)}"
        raise Retry("PORTAL_ANSWER_UNREADABLE", said) from None


# --- downloads -------------------------------------------------------------------------------------------------------


class Download(Model):
    """A document that docxworld holds ready (page, "List downloads request"); `size` is in bytes."""

    id: Annotated[str, Field(min_length=1)]
    reference_id: str | None = None
    file_name: str | None = None
    customer_contract: str | None = None
    target_id: str | None = None
    target_name: str | None = None
    created: Instant | None = None
    downloaded: Instant | None = None
    download_link_generated: bool | None = None
    downloaded_by: str | None = None
    downloader_email: str | None = None
    downloaded_by_client: str | None = None
    downloaded_reference_id: str | None = None
    size: int | None = None
    type: str
    metadata: dict[str, str | None] | None = None


class Link(Model):
    """A presigned address to read from: a secret that needs no credentials."""

    id: str
    download_link: str = Field(repr=False)


class DraftOrder(Model):
    """What a technical download draft is created from (page, "Create technical download draft")."""

    target_id: str
    file_name: str
    download_type: DownloadType
    reference_id: str
    metadata: dict[str, str]


class Draft(Model):
    """A created draft: the file goes to `upload_url` with `headers` unchanged."""

    id: str
    headers: dict[str, str] = Field(default_factory=dict)
    upload_url: str = Field(repr=False)


# --- uploads ---------------------------------------------------------------------------------------------------------


class UploadOrder(Model):
    """What upload addresses are asked for with (page, "Getting upload URL"); `file_size` is in bytes."""

    supported_upload_features: tuple[str, ...]
    target_id: str
    reference_id: str | None = None
    job_customer_reference1: str | None = None
    job_customer_reference2: str | None = None
    job_customer_reference3: str | None = None
    job_customer_reference4: str | None = None
    job_customer_reference5: str | None = None
    job_customer_reference6: str | None = None
    file_name: str
    priority: Priority | None = None
    file_size: int
    client_wrap_key: str | None = Field(default=None, alias="b64ClientWrapKey")
    data_encryption_algorithm: str | None = None
    client_wrap_key_encryption_alg: str | None = None
    data_key_provider_type: str | None = None


class UploadUrls(Model):
    """Where to send a file: one URL for the whole file with `headers`, several for its parts without any."""

    id: str
    headers: dict[str, str] | None = None
    upload_urls: tuple[str, ...] | None = Field(default=None, repr=False)
    s3_key: str | None = Field(default=None, alias="s3Key")
    job_already_exists: bool | None = None
    encrypted_data_key: str | None = Field(default=None, alias="b64encryptedDataKey", repr=False)
    iv: str | None = Field(default=None, alias="b64Iv")
    data_key: str | None = Field(default=None, alias="b64DataKey", repr=False)
    client_wrap_key_encryption_alg: str | None = None
    data_encryption_algorithm: str | None = None


class UploadEvent(Model):
    """One step of an upload."""

    created: Instant
    action: str


class UploadDownload(Model):
    """A download that came out of an upload."""

    id: str
    type: str | None = None
    created: Instant | None = None
    downloaded: Instant | None = None
    downloaded_by: str | None = None
    downloaded_by_client: str | None = None
    downloaded_reference_id: str | None = None


class UploadSummary(Model):
    """What the list of uploads and the cancelling of an approval tell of an upload."""

    process_id: str
    reference_id: str | None = None
    job_state: str | None = None
    created: Instant | None = None
    file_name: str | None = None
    target_id: str | None = None
    target_name: str | None = None
    target_abbreviation: str | None = None
    expected_file_format: str | None = None
    pdf_validation_state: str | None = None
    approval_state: str | None = None
    approval_cancelable: bool | None = None
    approver_id: str | None = None
    approver_name: str | None = None
    approver_email: str | None = None
    downloads: tuple[UploadDownload, ...] | None = None
    downloadable: bool | None = None
    has_approval_task_message: bool | None = None


class Upload(UploadSummary):
    """One upload with its steps (page, "Getting upload"); `file_size` is in bytes."""

    job_customer_reference1: str | None = None
    job_customer_reference2: str | None = None
    job_customer_reference3: str | None = None
    job_customer_reference4: str | None = None
    job_customer_reference5: str | None = None
    job_customer_reference6: str | None = None
    file_size: int | None = None
    events: tuple[UploadEvent, ...] | None = None
    customer_contract: str | None = None
    customer_number: str | None = None
    user_id: str | None = None
    company_id: str | None = None
    id_in_spooler: str | None = None


class Said(Model):
    """A sentence of the portal."""

    message: str | None = None


# --- approvals -------------------------------------------------------------------------------------------------------


class ApprovalTask(Model):
    """A decision that somebody has to take, or has taken, on an upload."""

    id: str
    process_id: str | None = None
    target_id: str | None = None
    target_name: str | None = None
    upload_created: Instant | None = None
    file_name: str | None = None
    approval_state: str | None = None
    uploader_id: str | None = None
    uploader_name: str | None = None
    uploader_email: str | None = None
    approver_id: str | None = None
    approver_name: str | None = None
    approver_email: str | None = None
    message: str | None = None
    downloads: tuple[UploadDownload, ...] | None = None


class Decision(Model):
    """A decision on an approval task (page, "Approve approval-tasks")."""

    approval_state: str
    message: str | None = None
    email_options: str | None = None


# --- workflows and targets -------------------------------------------------------------------------------------------


class ExternalReceiver(Model):
    """Where a workflow hands its results on to."""

    url: str | None = None


class WorkflowOrder(Model):
    """What a workflow is created from (page, "Register new workflow request")."""

    customer_contract: str
    name: str
    abbreviation: str
    description: str | None = None
    approval_needed: bool | None = None
    escalation_deadline_notification_email: str | None = None
    escalation_notification_deadline: int | None = None
    approvers_notification_deadline: int | None = None
    status: Status | None = None
    external_receiver: ExternalReceiver | None = None


class WorkflowSettings(Model):
    """How a workflow asks for approval; deadlines are days, 0 to 30, and 0 means none."""

    approval_needed: bool | None = None
    escalation_deadline_notification_email: str | None = None
    escalation_notification_deadline: int | None = None
    approvers_notification_deadline: int | None = None


class Workflow(Model):
    """What happens to the uploads of a target."""

    id: str
    version: int | None = None
    company_id: str | None = None
    customer_contract: str | None = None
    name: str | None = None
    abbreviation: str | None = None
    description: str | None = None
    approval_needed: bool | None = None
    status: str | None = None
    encryption_allowed: bool | None = None
    file_type: str | None = None
    escalation_deadline_notification_email: str | None = None
    escalation_notification_deadline: int | None = None
    approvers_notification_deadline: int | None = None
    external_receiver: ExternalReceiver | None = None


class Target(Model):
    """Where an upload is sent to."""

    id: str
    version: int | None = None
    target_type: str | None = None
    workflow: Workflow | None = None
