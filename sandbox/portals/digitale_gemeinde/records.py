"""What the portal holds: forms, the documents that citizens submitted with them, and how the API shows both."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from .options import FileShape, Options

NEVER = datetime.max.replace(tzinfo=UTC)
"""For `visible_after`: not listed until `reveal` is called."""
FILE = "file"
TEXT = "text"
NOT_BASE64 = "data:application/pdf;base64,%%% unlesbar %%%"
PREPARED_PAGE, PREPARED_PAGE_SIZE = 0, 50  # the prepared search requests are initialised so, although pages start at 1


@dataclass(frozen=True)
class FormField:
    """One field of a form's design. `id` is what an upload names, `name` what a submission names."""

    id: int
    name: str
    datatype: str = TEXT
    display_name: str = ""
    is_required: bool = False
    tab_name: str = "Angaben"


def file_field(id: int, name: str, display_name: str = "") -> FormField:
    """A field that takes files."""
    return FormField(id, name, FILE, display_name)


DEFAULT_FIELDS = (
    FormField(1, "name", is_required=True, display_name="Name"),
    file_field(2, "beilage", "Beilage"),
    file_field(3, "antwort", "Antwort der Gemeinde"),
)


@dataclass(frozen=True)
class Form:
    """A form's design. `states` are the statuses that its documents may have; the first is the initial one."""

    id: str
    number: int
    name: str
    tenant_id: int
    tenant_name: str
    fields: tuple[FormField, ...]
    states: tuple[str, ...]
    category: str
    tags: tuple[str, ...]
    data_retention_days: int

    def field_named(self, name: str) -> FormField:
        """The field; ValueError when there is none of that name."""
        found = next((each for each in self.fields if each.name == name), None)
        if found is None:
            raise ValueError(f"form {self.name} has no field {name}")
        return found

    def file_field(self, id: str) -> FormField | None:
        """The field of this id when it takes files."""
        return next((each for each in self.fields if str(each.id) == id and each.datatype == FILE), None)


@dataclass
class StoredFile:
    """A file in a field. `garbled` shows something that is no base64 in place of its content."""

    name: str
    content: bytes
    content_type: str
    garbled: bool = False

    def shown(self, key: str) -> dict[str, Any]:
        """The file as the details carry it, inline."""
        encoded = base64.b64encode(self.content).decode()
        data_url = NOT_BASE64 if self.garbled else f"data:{self.content_type};base64,{encoded}"
        return {"key": key, "name": self.name, "type": self.content_type, "base64File": data_url}


@dataclass(frozen=True)
class StatusChange:
    """One entry of a document's history; `who` is `citizen`, `api`, or a person in the Cockpit."""

    at: datetime
    status: str
    who: str


@dataclass
class Document:
    """One submitted form. `files` are by field name; `uploads` what came through the API, by field id, in order."""

    id: str
    row_id: str
    form: Form
    values: Mapping[str, str]
    files: dict[str, list[StoredFile]]
    submitted: datetime
    history: list[StatusChange]
    visible_after: datetime | None = None
    listed_times: int = 1
    listed: bool = True
    removed: bool = False
    refunds: int = 0
    uploads: dict[int, list[StoredFile]] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The status now."""
        return self.history[-1].status

    def known_at(self, now: datetime) -> bool:
        """Whether the portal shows the document yet."""
        return self.visible_after is None or now > self.visible_after

    def row(self, zone: tzinfo) -> dict[str, Any]:
        """The document as a search lists it."""
        return {
            "id": self.row_id,
            "name": self.form.name,
            "documentId": self.id,
            "status": self.status,
            "tenantId": self.form.tenant_id,
            "formId": self.form.id,
            "tenantName": self.form.tenant_name,
            "submittedDate": server_local(self.submitted, zone),
        }

    def details(self, options: Options) -> dict[str, Any]:
        """The document whole. The statuses offered leave out the one that it has."""
        return {
            "id": self.form.number,
            "documentId": self.id,
            "documentTypeName": self.form.name,
            "name": self.form.name,
            "category": self.form.category,
            options.state_key: self.status,
            "formStatesConfig": [{"label": each, "value": each} for each in self.form.states if each != self.status],
            "fields": [self._field(each, options.file_shape) for each in self.form.fields],
            "formDataRetentionDays": self.form.data_retention_days,
            "tags": list(self.form.tags),
        }

    def _field(self, design: FormField, shape: FileShape) -> dict[str, Any]:
        value, additional = self._content(design, shape)
        return {
            "id": design.id,
            "name": design.name,
            "displayName": design.display_name or design.name,
            "datatype": design.datatype,
            "value": value,
            "isRequired": design.is_required,
            "tabName": design.tab_name,
            "fileUploadAdditionalData": additional,
        }

    def _content(self, design: FormField, shape: FileShape) -> tuple[str | None, Any]:
        """What `value` and `fileUploadAdditionalData` say."""
        files = self.files.get(design.name, [])
        if not files:
            return self.values.get(design.name), None
        shown = [each.shown(design.name) for each in files]
        match shape:
            case FileShape.OBJECT:
                return files[-1].name, shown[-1]
            case FileShape.LIST:
                return ", ".join(each.name for each in files), shown
            case FileShape.VALUE:
                return json.dumps(shown[-1], ensure_ascii=False), None


def server_local(instant: datetime, zone: tzinfo) -> str:
    """A date as the server writes it: its own wall clock, no zone, and a fraction only where there is one."""
    text = instant.astimezone(zone).replace(tzinfo=None).isoformat()
    return text.rstrip("0") if "." in text else text


def counted(form: Form, statuses: Sequence[str], options: Options) -> dict[str, Any]:
    """One entry of the count: the form, how many documents it has with these `statuses`, and prepared searches."""
    entry = {"id": form.id, "name": form.name, "count": len(statuses), "request": _prepared(form)}
    if options.split_key is not None:
        entry[options.split_key] = [
            {
                "id": f"{form.id}-{status}",
                options.split_label: status,
                "count": statuses.count(status),
                "request": _prepared(form, status),
            }
            for status in dict.fromkeys(statuses)
        ]
    return entry


def _prepared(form: Form, status: str | None = None) -> dict[str, Any]:
    """A search request as the count delivers it. Sent unchanged it fails: its page is 0."""
    request = {"formId": form.id, "page": PREPARED_PAGE, "pageSize": PREPARED_PAGE_SIZE}
    return request if status is None else {**request, "status": status}
