"""How things are asked for: paths, moments with their operators, and the parameters of an instance query."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import quote

from amtsbote.errors import Reject
from amtsbote.http import Query
from amtsbote.portals.altinn.models import InstanceId


class Operator(StrEnum):
    """How a moment is compared."""

    AFTER = "gt"
    FROM = "gte"
    BEFORE = "lt"
    UNTIL = "lte"
    AT = "eq"


@dataclass(frozen=True)
class Bound:
    """One end of a range of time. Written with its operator always: Altinn ignores a bare moment without a word."""

    operator: Operator
    moment: datetime

    def __str__(self) -> str:
        return f"{self.operator}:{instant(self.moment)}"


Bounds: TypeAlias = Sequence[Bound]


@dataclass(frozen=True)
class InstanceQuery:
    """What instances are narrowed to; None and () are not sent.

    `app_id` or `org` is needed. `confirmed`, the `is_…` filters, `order` and what follows them are of v1 only, `label`
    is of the proposal only. `order` should be `asc:lastChanged`: with the default, pages skip what changes meanwhile.
    """

    app_id: str | None = None
    org: str | None = None
    current_task: str | None = None
    process_ended: Bounds = ()
    last_changed: Bounds = ()
    created: Bounds = ()
    visible_after: Bounds = ()
    due_before: Bounds = ()
    owner_party_id: str | None = None
    label: str | None = None
    size: int | None = None
    order: str | None = None
    confirmed: bool | None = None
    exclude_confirmed_by: str | None = None
    is_complete: bool | None = None
    is_archived: bool | None = None
    is_soft_deleted: bool | None = None
    is_hard_deleted: bool | None = None
    main_version_include: int | None = None
    main_version_exclude: int | None = None
    include_data_elements: bool | None = None
    search_string: str | None = None

    def parameters(self) -> Query:
        """Return the query parameters; ValueError where a moment has one operator twice, which Altinn cannot take."""
        return [(_PARAMETERS[field.name], text) for field in fields(self) for text in _texts(getattr(self, field.name))]


_PARAMETERS = {
    "app_id": "appId",
    "org": "org",
    "current_task": "process.currentTask",
    "process_ended": "process.ended",
    "last_changed": "lastChanged",
    "created": "created",
    "visible_after": "visibleAfter",
    "due_before": "dueBefore",
    "owner_party_id": "instanceOwner.partyId",
    "label": "appOwner.label",
    "size": "size",
    "order": "order",
    "confirmed": "confirmed",
    "exclude_confirmed_by": "excludeConfirmedBy",
    "is_complete": "process.isComplete",
    "is_archived": "status.isArchived",
    "is_soft_deleted": "status.isSoftDeleted",
    "is_hard_deleted": "status.isHardDeleted",
    "main_version_include": "mainVersionInclude",
    "main_version_exclude": "mainVersionExclude",
    "include_data_elements": "includeDataElements",
    "search_string": "searchString",
}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, str | int):
        yield str(value)
    elif isinstance(value, Sequence):
        operators = [bound.operator for bound in value]
        if len(set(operators)) < len(operators):
            raise ValueError("a moment may be compared with each operator once")
        yield from map(str, value)


def instant(moment: datetime) -> str:
    """Return a moment as Altinn compares it: UTC with a trailing Z. ValueError where it has no zone."""
    if moment.tzinfo is None:
        raise ValueError("the moment must have a time zone, or instances could be missed by hours")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def path(*segments: str) -> str:
    """Return a path with every segment escaped; Reject for one that would lead elsewhere."""
    if any(segment in ("", ".", "..") for segment in segments):
        raise Reject("WRONG_ID", "an id is empty or consists of dots; give the portal's id")
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def instance_path(instance: InstanceId, *segments: str) -> str:
    """Return the path of something of an instance."""
    return path("instances", instance.party_id, instance.guid, *segments)


def given(**parameters: object) -> Query:
    """Return those query parameters that have a value."""
    return [(name, text) for name, value in parameters.items() for text in _texts(value)]
