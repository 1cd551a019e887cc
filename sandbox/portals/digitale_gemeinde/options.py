"""What the portal's pages leave open, as switches: tests turn them, also while the portal runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from types import MappingProxyType

from .tokens import TokenShape

DEFAULT_ROUTES: Mapping[str, str] = MappingProxyType(
    {
        "token": "POST /Token",
        "count": "GET /Form/count",
        "search": "POST /Form/search",
        "details": "GET /Form/{formId}/document/{documentId}",
        "update": "PUT /Form/{formId}/document/{documentId}",
        "upload": "POST /Form/{formId}/document/{documentId}/file/{fieldId}",
    }
)
"""Each call's method and path template. Only those of count and search are published."""

DEFAULT_TOKEN_LIFETIME = timedelta(hours=1)
SHORTEST_WAIT_SECONDS = 1


class FileShape(StrEnum):
    """How the details show the files of a field."""

    OBJECT = "OBJECT"
    """`fileUploadAdditionalData` is one object: the newest file hides the ones before it."""
    LIST = "LIST"
    """`fileUploadAdditionalData` is a list of all files, oldest first."""
    VALUE = "VALUE"
    """`value` is the newest file's object as JSON text and `fileUploadAdditionalData` null: what a field holds as
    the citizen's browser submits it."""


@dataclass(frozen=True)
class StatusNames:
    """The four statuses that the guide's life cycle speaks of, as this municipality calls them."""

    new: str = "Neu"
    processing: str = "In Bearbeitung"
    done: str = "Abgeschlossen"
    refund: str = "Refund"

    def all(self) -> tuple[str, ...]:
        """In the order in which a form lists them; the first is the initial one."""
        return (self.new, self.processing, self.done, self.refund)


@dataclass(frozen=True)
class RateLimit:
    """So many calls of any kind in a window that opens with the first of them; refused calls do not count."""

    calls: int
    window: timedelta


@dataclass
class Options:
    """The switches. `routes` and `api_key_header` are read once, when the portal is served; all others at each call.

    `routes` may name some routes only. `refusal_status` (401, 403) answers a token that is missing, expired or
    foreign, `missing_status` (500, 404) a document that is not there. `split_key` None leaves the split by status out
    of the count; `split_label` names the status in it. `time_zone` is the server's, for dates that carry no zone.
    """

    routes: Mapping[str, str] = field(default_factory=dict)
    api_key_header: str = "Ocp-Apim-Subscription-Key"
    statuses: StatusNames = field(default_factory=StatusNames)
    token_shape: TokenShape = TokenShape.TOKEN
    token_signed: bool = True
    token_lifetime: timedelta = DEFAULT_TOKEN_LIFETIME
    refusal_status: int = 401
    missing_status: int = 500
    split_key: str | None = "formNavigations"
    split_label: str = "name"
    state_key: str = "state"
    file_shape: FileShape = FileShape.OBJECT
    upload_status: int = 200
    rate_limit: RateLimit | None = None
    time_zone: tzinfo = UTC


@dataclass
class RateLimiter:
    """The calls of the window that is open now."""

    opened: datetime | None = None
    calls: int = 0

    def seconds_to_wait(self, limit: RateLimit, now: datetime) -> int:
        """Admit a call (0), or say after how many whole seconds the next window opens."""
        if self.opened is None or now >= self.opened + limit.window:
            self.opened, self.calls = now, 0
        if self.calls < limit.calls:
            self.calls += 1
            return 0
        left = self.opened + limit.window - now
        return max(SHORTEST_WAIT_SECONDS, math.ceil(left.total_seconds()))
