"""A dropped `<name>.instance.json`: what a new instance is created from. No I/O but the reading of the drop.

It is a JSON object, in one of two forms:

- the template itself, as Altinn documents it: `{"instanceOwner": {"organisationNumber": "…"}, "dueBefore": "…", …}`
- the template with files that go into the instance at once:
  `{"instance": {…}, "data": [{"dataType": "model1", "contentType": "application/xml", "fileName": "form.xml",
  "text": "<form/>"}, {"dataType": "certificate", "contentType": "application/pdf", "base64": "JVBERi0…"}]}`.
  `fileName` may be missing; the content is either `text` (sent as UTF-8) or `base64`.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from amtsbote.errors import Reject
from amtsbote.portals.altinn.content import DataPart
from amtsbote.portals.protocols import Drop

SUFFIX = ".instance.json"
LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class NewInstance:
    """What is to be created: the template as JSON, and the files that go with it."""

    template: bytes
    parts: Sequence[DataPart]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, hide_input_in_errors=True)

    data_type: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    content_type: str = Field(min_length=1)
    file_name: str | None = None
    text: str | None = None
    base64: str | None = None

    @model_validator(mode="after")
    def _one_content(self) -> "_Part":
        if (self.text is None) == (self.base64 is None):
            raise ValueError("must have either text or base64")
        return self

    def read(self) -> DataPart:
        return DataPart(self.data_type, self.content_type, self.file_name, self._content())

    def _content(self) -> bytes:
        if self.base64 is None:
            return (self.text or "").encode("utf-8", "replace")
        return base64.b64decode(self.base64, validate=True)


class _WithData(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    instance: dict[str, Any]
    data: tuple[_Part, ...] = ()


def new_instance(drop: Drop, app_id: str) -> NewInstance:
    """Return what a drop asks for; Reject, naming the mistake, when it is no template or one of another app."""
    said = _parsed(drop)
    template, parts = _with_data(said) if "instance" in said else (said, ())
    other = template.get("appId")
    if other is not None and other != app_id:
        raise Reject("TEMPLATE_INVALID", f"the template's appId differs from the key's {app_id}; correct one of them")
    return NewInstance(json.dumps(template, ensure_ascii=False).encode("utf-8", "replace"), parts)


def _with_data(said: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[DataPart]]:
    try:
        whole = _WithData.model_validate(said)
        return whole.instance, tuple(part.read() for part in whole.data)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc'])) or 'template'}: {each['msg']}" for each in error.errors()]
        raise Reject("TEMPLATE_INVALID", f"the template cannot be used; {'; '.join(wrong[:5])}") from None
    except binascii.Error:
        raise Reject("TEMPLATE_INVALID", "a base64 in the template's data is none; correct it") from None


def _parsed(drop: Drop) -> dict[str, Any]:
    if drop.size > LIMIT_BYTES:
        said = f"the template has {drop.size} bytes, at most {LIMIT_BYTES} are read"
        raise Reject("TEMPLATE_TOO_LARGE", f"{said}; send larger files as data elements of the new instance")
    try:
        said = json.loads(_read(drop).decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Reject("TEMPLATE_INVALID", "the template is no JSON; it must be an object") from None
    if not isinstance(said, dict):
        raise Reject("TEMPLATE_INVALID", "the template is no object; see the documentation for its two forms")
    return said


def _read(drop: Drop) -> bytes:
    if not drop.size:
        return b""
    with closing(drop.read(0, drop.size)) as content:
        return content.read()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
