"""The body of a Digitale-Gemeinde connection's secret (contract, section 1).

The vendor publishes two routes only, so the others, the key's header and the names of the statuses are settings.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from amtsbote.errors import Reject
from amtsbote.portals.portal import BaseAddress, ConnectionSecret, SecretPart

INT32_MAX = 2**31 - 1
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
HEADERS_OF_HTTP = frozenset({"host", "connection", "content-length", "content-type", "transfer-encoding"})
HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/(?:[^\s/?#]+/)*[^\s/?#]*)")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
DEFAULT_KEY_HEADER = "Ocp-Apim-Subscription-Key"

NotEmpty = Annotated[str, Field(min_length=1, pattern=r"\S")]


class Statuses(SecretPart):
    """What the forms call the four statuses that Amtsbote knows; they must differ, or one could be set for another."""

    new: NotEmpty = "Neu"
    processing: NotEmpty = "In Bearbeitung"
    done: NotEmpty = "Abgeschlossen"
    refund: NotEmpty = "Refund"

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len({name.casefold() for name in self.all}) < len(self.all):
            raise ValueError("the four statuses must have different names")
        return self

    @property
    def all(self) -> tuple[str, ...]:
        """Return the four names."""
        return (self.new, self.processing, self.done, self.refund)


_IDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "details": (frozenset({"documentId"}), frozenset({"formId", "documentId"})),
    "update": (frozenset({"documentId"}), frozenset({"formId", "documentId"})),
    "upload": (frozenset({"documentId", "fieldId"}), frozenset({"formId", "documentId", "fieldId"})),
}
"""Which placeholders a route must have, and which it may have; the routes that are not named here have none."""


class Routes(SecretPart):
    """Method and path of every call, below the base URL; `{formId}` and the like stand for the ids of the call."""

    token: str = "POST /Token"  # noqa: S105 - an address
    count: str = "GET /Form/count"
    search: str = "POST /Form/search"
    details: str = "GET /Form/{formId}/document/{documentId}"
    update: str = "PUT /Form/{formId}/document/{documentId}"
    upload: str = "POST /Form/{formId}/document/{documentId}/file/{fieldId}"

    @field_validator("*")
    @classmethod
    def _is_route(cls, route: str, info: ValidationInfo) -> str:
        needed, known = _IDS.get(str(info.field_name), (frozenset(), frozenset()))
        match = ROUTE.fullmatch(route)
        if match is None:
            raise ValueError("must be a method, a space and a path that begins with one slash and has no query")
        found = PLACEHOLDER.findall(route)
        if (
            re.search(r"[{}]", PLACEHOLDER.sub("", route))
            or not known.issuperset(found)
            or len(set(found)) < len(found)
        ):
            raise ValueError(f"may hold each of these placeholders once and no other: {_listed(known)}")
        if not needed.issubset(found):
            raise ValueError(f"must hold the placeholders {_listed(needed)}")
        if {".", ".."} & set(match[2].split("/")):
            raise ValueError("must not climb")
        return route


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names)) or "none"


def address(route: str, ids: Mapping[str, str]) -> tuple[str, str]:
    """Return method and path of a call, every id escaped; Reject for an id that would lead elsewhere."""
    method, path = route.split(" ", 1)
    for name, value in ids.items():
        if value in ("", ".", ".."):
            raise Reject("WRONG_ID", f"{name} is empty or consists of dots; give the portal's id")
        path = path.replace(f"{{{name}}}", quote(value, safe="", errors="replace"))
    return method, path


def _header_name(name: str) -> str:
    if not HEADER_NAME.fullmatch(name) or name.lower() in HEADERS_OF_HTTP:
        raise ValueError("must be the name of a header, like Ocp-Apim-Subscription-Key")
    return name


def _header_value(key: SecretStr) -> SecretStr:
    if not HEADER_VALUE.fullmatch(key.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces around it")
    return key


BaseUrl = BaseAddress
TenantId = Annotated[int, Field(ge=0, le=INT32_MAX, strict=True)]


class DigitaleGemeindeSecret(ConnectionSecret):
    """`amtsbote/digitale-gemeinde/<connection>`: one tenant. Without `form_ids`, all of its forms are wanted."""

    base_url: BaseUrl
    api_key: Annotated[SecretStr, AfterValidator(_header_value)]
    tenant_id: TenantId
    form_ids: tuple[NotEmpty, ...] = ()
    statuses: Statuses = Statuses()
    api_key_header: Annotated[str, AfterValidator(_header_name)] = DEFAULT_KEY_HEADER
    routes: Routes = Routes()
