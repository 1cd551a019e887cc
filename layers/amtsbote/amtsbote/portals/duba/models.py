"""What DUBA says and is told, as its integration guide 0.2.1 documents it. Unknown fields are ignored.

Times are UTC; one without a zone is taken for UTC, as the guide promises that ("Timestamp Format").
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel

from amtsbote.portals.duba.connection import Direction

Record = Mapping[str, Any]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:  # year 1 or 9999 at the edge of its zone
        raise ValueError("must be a time that exists in UTC") from error


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be an integer, not a truth value")
    return value


Moment = Annotated[datetime, AfterValidator(_in_utc)]
MessageId = Annotated[int, BeforeValidator(_no_truth_value)]


class Said(BaseModel):
    """What the portal says: built when first used, lenient about what is new, silent about values in its errors."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
        hide_input_in_errors=True,
    )


class MessageInfo(Said):
    """One listed message (guide, "Understanding MessageInfo"). `id` identifies it: a `message_id` may repeat.

    Before `hydrated_at` is set, DUBA has not read the message: there is no `aktenzeichen`, and no `job_id`.
    """

    id: MessageId
    message_id: str
    direction: Direction
    created_at: Moment
    url: str
    job_id: str | None = None
    aktenzeichen: str | None = None
    received_at: Moment | None = None
    hydrated_at: Moment | None = None
    _record: Record = PrivateAttr(default_factory=dict)

    @property
    def record(self) -> Record:
        """Return the message as it was answered, with every field that this model does not know."""
        return self._record

    @classmethod
    def read(cls, record: Record) -> Self:
        """Return the message that a record describes; ValidationError when it breaks the schema."""
        message = cls.model_validate(record)
        message._record = record
        return message


class _Identified(Said):
    """The least that makes a row worth mentioning."""

    id: MessageId


@dataclass(frozen=True)
class UnreadableRow:
    """A listed row that breaks the schema: `wrong_fields` names where, `id` is None where even that is unreadable."""

    id: int | None
    wrong_fields: tuple[str, ...]
    record: Any


@dataclass(frozen=True)
class Listing:
    """An answer to list_messages, in the portal's order. One bad row does not hide the others."""

    messages: tuple[MessageInfo, ...]
    unreadable: tuple[UnreadableRow, ...] = ()

    @classmethod
    def read(cls, rows: list[Any]) -> Self:
        """Sort the rows of an answer into messages and unreadable ones."""
        read = [_read_row(row) for row in rows]
        return cls(
            messages=tuple(row for row in read if isinstance(row, MessageInfo)),
            unreadable=tuple(row for row in read if isinstance(row, UnreadableRow)),
        )


def _read_row(row: Any) -> MessageInfo | UnreadableRow:
    try:
        return MessageInfo.read(row)
    except ValidationError as error:
        wrong = tuple(sorted({str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}))
        return UnreadableRow(_id_of(row), wrong, row)


def _id_of(row: Any) -> int | None:
    try:
        return _Identified.model_validate(row).id
    except ValidationError:
        return None


class AckStatus(StrEnum):
    """What the guide says can become of an acknowledged message ("Status Values")."""

    DELETED = "DELETED"
    ALREADY_DELETED = "ALREADY_DELETED"
    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    ERROR = "ERROR"


class AckResult(Said):
    """The answer for one acknowledged message. `status` is normally an AckStatus; a new one is kept as it came."""

    id: MessageId
    status: str
    message: str | None = None


class Memento(Said):
    """Form data, encrypted into a link. Both values are secrets: whoever holds the link sees the form.

    `magic_link` is relative, opens the form without a login and ends after an hour by default.
    """

    memento: str = Field(repr=False)
    magic_link: str | None = Field(default=None, repr=False)


class FormName(StrEnum):
    """The web forms that a memento can be opened in ("Alternative: Manual Form URL")."""

    BETREUUNG_ANREGUNG = "BetreuungAnregung"
    UNTERBRINGUNG_ANTRAG = "UnterbringungAntrag"
    FREIHEITSENTZUG_ANTRAG = "FreiheitsentzugAntrag"


class Told(BaseModel):
    """What the portal is told: documented fields are checked, others pass, as each form has more than the guide."""

    model_config = ConfigDict(
        extra="allow", alias_generator=to_camel, populate_by_name=True, defer_build=True, hide_input_in_errors=True
    )


def _written(shape: str, parse: Callable[[str], date], example: str) -> BeforeValidator:
    """Return a reader of texts of this shape alone; pydantic's would take a number for seconds since 1970."""

    def read(value: Any) -> date:
        if isinstance(value, date):
            return value
        with suppress(ValueError):  # its text holds the value
            if isinstance(value, str) and re.match(shape, value):
                return parse(value)
        raise ValueError(f"must look like {example}")

    return BeforeValidator(read)


Day = Annotated[date, _written(r"\d{4}-\d{2}-\d{2}\Z", date.fromisoformat, "1950-01-15")]
Instant = Annotated[datetime, _written(r"\d{4}-\d{2}-\d{2}T", datetime.fromisoformat, "2025-12-10T14:30:00+01:00")]


class Anschrift(Told):
    """A postal address."""

    strasse: str | None = None
    plz: str | None = None
    stadt: str | None = None


class PersonenName(Told):
    """The name of a person."""

    vorname: str | None = None
    nachname: str | None = None


class Absender(Told):
    """Who sends the form. Without `egvp_account_id` the form can be opened and not submitted."""

    name: str | None = None
    aktenzeichen: str | None = None
    egvp_account_id: int | None = Field(default=None, alias="egvp_account_id")  # the one name that is no camelCase


class Empfaenger(Told):
    """Who the form goes to."""

    name: str | None = None
    type: Literal["Gericht", "Sonstige"] | None = None
    safe_id: str | None = None
    aktenzeichen: str | None = None
    adresse: Anschrift | None = None


class Betroffener(Told):
    """The person whom the form is about."""

    name: PersonenName | None = None
    geburtsdatum: Day | None = None
    familienstand: Literal["Ledig", "Verheiratet", "Geschieden", "Verwitwet"] | None = None
    anschrift: Anschrift | None = None
    anschrift_telefon: str | None = None
    gegenwaertiger_aufenthalt: str | None = None


class FormData(Told):
    """The content of a form ("Form Pre-fill with Memento Endpoint"); `job_id` is used up by one submitted form."""

    job_id: str
    melde_zeitpunkt: Instant | None = None
    absender: Absender | None = None
    empfaenger: Empfaenger | None = None
    betroffener: Betroffener | None = None
