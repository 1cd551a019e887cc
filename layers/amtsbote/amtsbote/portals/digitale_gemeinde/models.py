"""What Digitale-Gemeinde says. Its answers are read leniently: most of them are not published.

Names of fields count as equal when they differ in the case of their first letter only, as the portal's software writes
`State` and `state` for the same thing.
"""

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from amtsbote.errors import Quarantine
from amtsbote.foreign_json import parsed

Record = Mapping[str, Any]

FILE_DATATYPE = "file"
INLINE_FILE = "fileUploadAdditionalData"
ANY_CONTENT = "application/octet-stream"
DECODE_CHARACTERS = 256 * 1024
DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
DATA_URL_HEAD_CHARACTERS = 1024
MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")
WHITESPACE = str.maketrans("", "", " \t\r\n")


def folded(record: Record) -> dict[str, Any]:
    """Return a record with the first letter of every name in lower case."""
    return {str(name)[:1].lower() + str(name)[1:]: value for name, value in record.items()}


def same(one: str, other: str) -> bool:
    """Return whether two names or ids mean the same to a portal that is written with and without capitals."""
    return one.strip().casefold() == other.strip().casefold()


def _text(value: Any) -> str | None:
    """Return an id or name as text, None where there is none; the portal numbers some things and names others."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _records(value: Any) -> list[dict[str, Any]]:
    """Return the JSON objects of a list, or of a single object."""
    several = value if isinstance(value, list) else [value]
    return [folded(each) for each in several if isinstance(each, dict)]


# --- count ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FormCount:
    """How many documents a form has, over all statuses and, where the portal says so, by status.

    The ready-made search `request` of the answer is left out on purpose: its pages begin at 0, those of search at 1.
    """

    form_id: str
    name: str | None
    total: int | None
    by_status: Mapping[str, int]

    @classmethod
    def read(cls, record: Record) -> Self | None:
        """Return what a row says, None where it does not say of which form."""
        said = folded(record)
        form_id = _text(said.get("id")) or _text(said.get("formId"))
        if form_id is None:
            return None
        return cls(form_id, _text(said.get("name")), _number(said.get("count")), _split(said))

    def of(self, status: str) -> int | None:
        """Return how many documents have a status, None where the portal does not say.

        A status that the split leaves out has none only if the rest adds up to the total.
        """
        if self.total == 0:
            return 0
        listed = [number for name, number in self.by_status.items() if same(name, status)]
        if listed:
            return sum(listed)
        return 0 if self.by_status and sum(self.by_status.values()) == self.total else None


def _split(said: Record) -> dict[str, int]:
    """Return the counts by status. What their field is called is not published, so every one is looked at."""
    for name, value in said.items():
        pairs = _pairs(value) if name != "request" else []
        if pairs and all(status and number is not None for status, number in pairs):
            return {str(status): number for status, number in pairs if number is not None}
    return {}


def _pairs(value: Any) -> list[tuple[str | None, int | None]]:
    """Return what may be statuses and their counts: [{"name", "count"}, …] or {"<status>": <count>, …}."""
    if isinstance(value, dict):
        return [(_text(status), _number(number)) for status, number in value.items()]
    rows = _records(value) if isinstance(value, list) else []
    return [(_status_of(row), _number(row.get("count"))) for row in rows]


def _status_of(row: Record) -> str | None:
    return next((found for name in ("status", "name", "value", "label") if (found := _text(row.get(name)))), None)


# --- search -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundForm:
    """One row of a search. `submitted_date` is as it was said: it has no zone, so it is no moment."""

    document_id: str
    form_id: str | None
    status: str | None
    name: str | None
    submitted_date: str | None
    record: Record

    @classmethod
    def read(cls, record: Record) -> Self | None:
        """Return what a row says, None where it names no document."""
        said = folded(record)
        document_id = _text(said.get("documentId"))
        if document_id is None:
            return None
        form_id, status, name, submitted = map(_text, map(said.get, ("formId", "status", "name", "submittedDate")))
        return cls(document_id, form_id, status, name, submitted, record)


@dataclass(frozen=True)
class Page:
    """One page of a search; `unreadable` rows name no document. `total` is None where the portal does not say."""

    forms: tuple[FoundForm, ...]
    unreadable: int
    total: int | None
    number: int | None

    @property
    def rows(self) -> int:
        """Return how many rows the page has."""
        return len(self.forms) + self.unreadable

    @classmethod
    def read(cls, said: Record) -> Self | None:
        """Return what an answer says, None where it is no page."""
        said = folded(said)
        rows = said.get("data")
        if rows is None and "data" in said:
            rows = []
        if not isinstance(rows, list):
            return None
        read = [FoundForm.read(row) if isinstance(row, dict) else None for row in rows]
        forms = tuple(form for form in read if form is not None)
        return cls(forms, len(rows) - len(forms), _number(said.get("totalCount")), _number(said.get("pageNumber")))


# --- details ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InlineFile:
    """One file that a citizen uploaded (or that was delivered), inline as a base64 data URL."""

    field_id: str
    name: str | None
    content_type: str
    content: str

    def __repr__(self) -> str:
        """Say nothing of the content, nor of its name."""
        return f"InlineFile(field_id={self.field_id!r})"

    @property
    def size(self) -> int | None:
        """Return the length in bytes, None where the content is not plain base64 in one line."""
        start = self._start()
        if start is None or any(blank in self.content for blank in " \t\r\n"):
            return None
        length = len(self.content) - start
        return length // 4 * 3 - self.content[-2:].count("=") if length % 4 == 0 else None

    def chunks(self) -> Iterator[bytes]:
        """Decode piece by piece; Quarantine, naming the field, where it is no base64."""
        start = self._start()
        if start is None:
            raise self._unreadable()
        rest = ""
        for position in range(start, len(self.content), DECODE_CHARACTERS):
            rest += self.content[position : position + DECODE_CHARACTERS].translate(WHITESPACE)
            whole = max(0, len(rest) - 1) // 4 * 4  # the last group, which may be padded, comes at the end
            yield from self._decoded(rest[:whole])
            rest = rest[whole:]
        yield from self._decoded(rest)

    def _start(self) -> int | None:
        """Return where the base64 begins, None where the content is a data URL of another kind."""
        if self.content[:5].lower() != "data:":
            return 0
        head = DATA_URL.match(self.content[:DATA_URL_HEAD_CHARACTERS])
        return head.end() if head and head[2].lower().endswith(";base64") else None

    def _decoded(self, text: str) -> Iterator[bytes]:
        try:
            if text:
                yield binascii.a2b_base64(text, strict_mode=True)
        except ValueError:
            raise self._unreadable() from None

    def _unreadable(self) -> Quarantine:
        return Quarantine("BASE64_INVALID", f"the file of the field {self.field_id[:100]!r} is no valid base64")


@dataclass(frozen=True)
class HeldFile:
    """A file that a field holds, `inline` where its content is there."""

    name: str
    inline: InlineFile | None

    @property
    def size(self) -> int | None:
        """Return the length in bytes, None where it cannot be seen."""
        return self.inline.size if self.inline else None


@dataclass(frozen=True)
class Field:
    """One field of a form: its inline files, and what it holds as far as the portal names it.

    `shows_all` is True where the files come as a list; otherwise an older file may be hidden by a newer one.
    """

    id: str
    name: str | None
    is_file_field: bool
    files: tuple[InlineFile, ...]
    holds: tuple[HeldFile, ...] = field(repr=False)
    shows_all: bool = False

    @classmethod
    def read(cls, record: Record, number: int) -> Self:
        """Return what a field says; one without an id goes by its name, or its place from 1."""
        said = folded(record)
        name = _text(said.get("name"))
        field_id = _text(said.get("id")) or name or str(number)
        entries, value = _records(said.get(INLINE_FILE)), _text(said.get("value"))
        entries, value = (entries, value) if entries else _entries_in(value)
        files = [file for entry in entries if (file := _inline_file(field_id, entry))]
        if not files and value and value[:5].lower() == "data:":
            files = [_file(field_id, {}, value)]
        is_file_field = FILE_DATATYPE in str(said.get("datatype")).lower() or bool(entries) or bool(files)
        held = tuple(_held(field_id, entries, value))
        return cls(field_id, name, is_file_field, tuple(files), held, isinstance(said.get(INLINE_FILE), list))


def _entries_in(value: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Return the files that a value is as JSON text, as the citizen's browser sends them; else the value as it is."""
    if value is None or value.lstrip()[:1] not in ("{", "["):
        return [], value
    try:
        entries = _records(parsed(value.encode()))
    except ValueError:
        return [], value
    files = [entry for entry in entries if "base64File" in entry]
    return (files, None) if files else ([], value)


def _held(field_id: str, entries: Sequence[Record], value: str | None) -> Iterator[HeldFile]:
    """Yield what a field holds; one without entries may say the name of its file as its value."""
    for entry in entries:
        name = _text(entry.get("name"))
        if name:
            yield HeldFile(name, _inline_file(field_id, entry))
    if not entries and value and value[:5].lower() != "data:":
        yield HeldFile(value, None)


def _inline_file(field_id: str, entry: Record) -> InlineFile | None:
    content = entry.get("base64File")
    return _file(field_id, entry, content) if isinstance(content, str) and content else None


def _file(field_id: str, entry: Record, content: str) -> InlineFile:
    head = DATA_URL.match(content[:DATA_URL_HEAD_CHARACTERS])
    stated = [head[1] if head else "", str(entry.get("type") or "")]
    content_type = next((each for each in stated if MEDIA_TYPE.fullmatch(each)), ANY_CONTENT)
    return InlineFile(field_id, _text(entry.get("name")), content_type, content)


@dataclass(frozen=True)
class FormDetails:
    """One document: its status, the other statuses that its form offers, its fields. `body` is the answer's bytes."""

    status: str | None
    offered: tuple[str, ...]
    fields: tuple[Field, ...]
    body: bytes

    def __repr__(self) -> str:
        """Say nothing of what a citizen wrote."""
        return f"FormDetails(status={self.status!r}, {len(self.fields)} fields)"

    @property
    def files(self) -> Iterator[InlineFile]:
        """Yield the inline files in the order of the form."""
        for each in self.fields:
            yield from each.files

    def field(self, field_id: str) -> Field | None:
        """Return the field of that id, None where there is none."""
        return next((each for each in self.fields if each.id == field_id), None)

    @classmethod
    def read(cls, said: Any, body: bytes) -> Self | None:
        """Return what an answer says, None where it is no form."""
        record = folded(said) if isinstance(said, dict) else {}
        fields = record.get("fields", "missing") or []
        if not isinstance(fields, list):
            return None
        rows = [row for row in fields if isinstance(row, dict)]
        return cls(
            _text(record.get("status")) or _text(record.get("state")),
            tuple(_offered(record.get("formStatesConfig"))),
            tuple(Field.read(row, number) for number, row in enumerate(rows, start=1)),
            body,
        )


def _offered(states: Any) -> Iterator[str]:
    """Yield the statuses that a form offers; the portal compares their `value`, the `label` is for people."""
    rows: Sequence[Any] = states if isinstance(states, list) else []
    for row in rows:
        said = folded(row) if isinstance(row, dict) else {"value": row}
        status = _text(said.get("value")) or _text(said.get("label"))
        if status:
            yield status
