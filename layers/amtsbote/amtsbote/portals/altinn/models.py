"""What Altinn says, in both dialects. Read leniently: what is unknown is ignored, what may be missing is None.

The proposal's own examples hold dates that do not exist; a moment that cannot be read is None and no reason to fail.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

from amtsbote.errors import Reject, Retry

Record = Mapping[str, Any]

PENDING = "Pending"
INFECTED = "Infected"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:  # year 1 or 9999 at the edge of its zone
        raise ValueError("must be a time that exists in UTC") from error


def _none_if_unreadable(value: Any, read_value: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read_value(value)
    except ValidationError:
        return None


def _list(value: Any) -> Any:
    return () if value is None else value


Lenient = WrapValidator(_none_if_unreadable)
Moment = Annotated[Annotated[datetime, AfterValidator(_in_utc)] | None, Lenient]
"""A moment in UTC, None where it is missing or cannot be read."""


class Said(BaseModel):
    """An object that Altinn answers; its JSON names are camelCase."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
    )


AnyModel = TypeVar("AnyModel", bound=Said)


def read(model: type[AnyModel], answered: object) -> AnyModel:
    """Return a portal's answer as a model; Retry, naming the fields and no values, when it is something else."""
    try:
        return model.model_validate(answered)
    except ValidationError as error:
        fields = sorted({".".join(map(str, problem["loc"])) or "all of it" for problem in error.errors()})
        said = f"Altinn's {model.__name__} is unreadable: {', '.join(fields[:10])}"
        raise Retry("PORTAL_ANSWER_UNREADABLE", said) from None


def read_all(model: type[AnyModel], answered: object) -> tuple[AnyModel, ...]:
    """Return a list that the portal answered, element by element; Retry when it is none."""
    if not isinstance(answered, list):
        raise Retry("PORTAL_ANSWER_UNREADABLE", f"Altinn answered no list of {model.__name__}")
    return tuple(read(model, each) for each in answered)


# --- instances --------------------------------------------------------------------------------------------------------


class ApplicationOwner(Said):
    """What the owner of the app did with a data element (proposal)."""

    downloaded: Annotated[tuple[Any, ...], BeforeValidator(_list)] = ()
    download_confirmed: Annotated[tuple[Any, ...], BeforeValidator(_list)] = ()


class DeleteStatus(Said):
    """Whether a data element was deleted by its user and is kept only for a while."""

    is_hard_deleted: bool = False


class DataElement(Said):
    """One file of an instance, as it is described; `size` in bytes."""

    id: str
    instance_guid: str | None = None
    data_type: str | None = None
    content_type: str | None = None
    filename: str | None = None
    size: Annotated[int | None, Lenient] = None
    locked: bool | None = None
    created: Moment = None
    last_changed: Moment = None
    refs: Annotated[tuple[str, ...], BeforeValidator(_list)] = ()
    file_scan_result: str | None = None
    delete_status: Annotated[DeleteStatus | None, Lenient] = None
    application_owner: Annotated[ApplicationOwner | None, Lenient] = None

    @property
    def is_confirmed(self) -> bool:
        """Return whether the app's owner has confirmed the download (proposal)."""
        return self.application_owner is not None and bool(self.application_owner.download_confirmed)

    @property
    def is_deleted(self) -> bool:
        """Return whether the element was deleted for good and is only listed."""
        return self.delete_status is not None and self.delete_status.is_hard_deleted


class InstanceOwner(Said):
    """Whom an instance belongs to."""

    party_id: str | None = None
    person_number: str | None = None
    organisation_number: str | None = None


class InstanceStatus(Said):
    """Whether an instance is archived or deleted. v1 says so twice, the proposal by moments alone."""

    is_archived: bool | None = None
    archived: Any = None
    is_soft_deleted: bool | None = None
    soft_deleted: Any = None
    is_hard_deleted: bool | None = None
    hard_deleted: Any = None
    read_status: Any = None
    substatus: Any = None

    @property
    def deleted_for_good(self) -> bool:
        """Return whether the instance is hard-deleted."""
        return bool(self.is_hard_deleted or self.hard_deleted)


class Task(Said):
    """A task of a process; `flow` and `started` tell two visits of the same task apart."""

    element_id: str | None = None
    flow: int | None = None
    started: str | None = None
    ended: str | None = None
    name: str | None = None
    altinn_task_type: str | None = None
    validated: Any = None


class Process(Said):
    """How far an instance is; without a current task it has ended, or has not begun."""

    started: str | None = None
    start_event: str | None = None
    current_task: Task | None = None
    ended: str | None = None
    end_event: str | None = None


class Instance(Said):
    """A form that somebody handed in, or is about to."""

    id: str
    app_id: str | None = None
    org: str | None = None
    instance_owner: InstanceOwner = InstanceOwner()
    created: Moment = None
    last_changed: Moment = None
    due_before: Moment = None
    visible_after: Moment = None
    process: Annotated[Process | None, Lenient] = None
    status: Annotated[InstanceStatus | None, Lenient] = None
    data: Annotated[tuple[DataElement, ...], BeforeValidator(_list)] = ()
    complete_confirmations: Any = None

    @property
    def deleted_for_good(self) -> bool:
        """Return whether the instance is hard-deleted."""
        return self.status is not None and self.status.deleted_for_good

    @property
    def present(self) -> tuple[DataElement, ...]:
        """Return the data elements that were not deleted."""
        return tuple(element for element in self.data if not element.is_deleted)


class CreatedData(Said):
    """The answer to a new data element: the element itself, or (v1 by data type) its id beside the whole instance."""

    id: str | None = None
    new_data_element_id: str | None = None

    @property
    def element_id(self) -> str | None:
        """Return the element's id."""
        return self.new_data_element_id or self.id


class Listed(Said):
    """What a listed instance must say to be found; everything else only concerns those who read its record."""

    id: str
    instance_owner: Annotated[InstanceOwner | None, Lenient] = None
    last_changed: Moment = None
    status: Annotated[InstanceStatus | None, Lenient] = None
    data: Any = None

    @property
    def elements(self) -> tuple[DataElement, ...]:
        """Return the data elements that can be read."""
        found = (_element_or_none(each) for each in (self.data if isinstance(self.data, list) else ()))
        return tuple(element for element in found if element is not None and not element.is_deleted)


def _element_or_none(said: object) -> DataElement | None:
    try:
        return DataElement.model_validate(said)
    except ValidationError:
        return None


def waits_for_scan(elements: Iterable[DataElement]) -> bool:
    """Return whether the virus scan has to be waited for; not where it has found something already."""
    results = {element.file_scan_result for element in elements}
    return PENDING in results and INFECTED not in results


# --- processes, validation, events, applications ----------------------------------------------------------------------


class ProcessStep(Said):
    """One step of a process's history."""

    flow: int | None = None
    type: str | None = None
    event_type: str | None = None
    element_id: str | None = None
    occured: str | None = None
    started: str | None = None
    ended: str | None = None


class ProcessHistory(Said):
    """v1 wraps the history in an object; the proposal answers the list alone."""

    process_history: tuple[ProcessStep, ...] = ()


class Issue(Said):
    """One finding of a validation; v1 numbers severities, the proposal names them."""

    severity: str | None = None
    scope: str | None = None
    target_id: str | None = None
    field: str | None = None
    code: str | None = None
    description: str | None = None


class InstanceEvent(Said):
    """Something that happened to an instance."""

    id: str | None = None
    instance_id: str | None = None
    data_id: str | None = None
    event_type: str | None = None
    created: Moment = None
    created_date_time: Moment = None
    instance_owner_party_id: str | None = None
    user: Any = None


class InstanceEvents(Said):
    """v1 wraps an instance's events in an object."""

    instance_events: tuple[InstanceEvent, ...] = ()


class CloudEvent(Said):
    """An event of the Events API (CloudEvents 1.0)."""

    id: str
    type: str
    source: str
    time: Moment = None
    subject: str | None = None
    resource: str | None = None
    resourceinstance: str | None = None
    alternativesubject: str | None = None
    data: Any = None


class DataType(Said):
    """A kind of file that an app takes; `max_size` in the unit of the app's dialect, -1 or None for no limit."""

    id: str
    allowed_content_types: Annotated[tuple[str, ...], BeforeValidator(_list)] = ()
    task_id: str | None = None
    max_size: int | None = None
    min_count: int | None = None
    max_count: int | None = None
    description: Any = None
    app_logic: Any = None


class Application(Said):
    """What an app says of itself."""

    id: str
    org: str | None = None
    app: str | None = None
    version_id: str | None = None
    title: Any = None
    data_types: Annotated[tuple[DataType, ...], BeforeValidator(_list)] = ()


# --- ids --------------------------------------------------------------------------------------------------------------


class InstanceId(Said):
    """An instance's id: its owner's party id and its own guid."""

    party_id: str
    guid: str

    def __str__(self) -> str:
        return f"{self.party_id}/{self.guid}"

    @classmethod
    def parse(cls, text: str, party_id: str | None = None) -> "InstanceId":
        """Return the id of `<party id>/<guid>`, or of a guid alone with the party it belongs to; Reject for neither."""
        party, slash, guid = text.rpartition("/")
        party = party if slash else party_id or ""
        if "/" in party or any(part in ("", ".", "..") for part in (party, guid)):
            raise Reject("WRONG_ID", "an instance's id must look like <party id>/<instance guid>")
        return cls(party_id=party, guid=guid)


def id_of(said: Instance | Listed) -> InstanceId:
    """Return an instance's id, whichever way the portal writes it; Reject where it names no party."""
    owner = said.instance_owner
    return InstanceId.parse(said.id, owner.party_id if owner else None)
