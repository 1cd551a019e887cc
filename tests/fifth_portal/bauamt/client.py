"""The API of a Bauamt: every endpoint, typed."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import SecretStr, ValidationError

from amtsbote import times
from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Reject, Retry, Unavailable
from amtsbote.http import Answer, PortalHttp, StreamedAnswer, Transport

from .connection import ApiKeyLogin
from .models import Page, Reply, Said

APPLICATIONS = "/applications"
REPLIES = "/replies"

SaidT = TypeVar("SaidT", bound=Said)


class BauamtClient:
    """One API key at one Bauamt; its methods raise the errors of `amtsbote.errors`."""

    def __init__(self, base_url: str, api_key: SecretStr, *, transport: Transport | None = None) -> None:
        transport = transport or Transport(Deadline(math.inf))
        self._http = PortalHttp(transport, base_url, ApiKeyLogin(api_key), translate)

    def applications(self, since: datetime | None = None) -> Iterator[dict[str, Any]]:
        """Yield the records of all applications that are not confirmed, page by page from page 1."""
        query = [] if since is None else [("since", times.written(since))]
        number, pages = 0, 1
        while number < pages:
            number += 1
            page = _read(Page, self._http.call("GET", APPLICATIONS, query=[*query, ("page", str(number))]))
            yield from page.applications
            pages = page.pages

    def download(self, application_id: str) -> AbstractContextManager[StreamedAnswer]:
        """Open the application's PDF, streamed while the context lasts; Unavailable when it is gone."""
        return self._http.stream(f"{_path(application_id)}/file")

    def confirm(self, application_id: str) -> None:
        """Tell the office that the application has arrived; repeating is safe. Unavailable when it is gone."""
        self._http.call("POST", f"{_path(application_id)}/confirmation")

    def reply(self, application_id: str, name: str, content: bytes, content_type: str, key: str) -> Reply:
        """Send a file to the applicant; a repeat with the same `key` gives the reply that is there already."""
        headers = {"Content-Type": content_type, "Idempotency-Key": key}
        path = f"{_path(application_id)}/replies/{quote(name, safe='')}"
        return _read(Reply, self._http.call("PUT", path, headers=headers, body=content))

    def reply_state(self, reply_id: str) -> Reply:
        """Return how far a reply is."""
        return _read(Reply, self._http.call("GET", f"{REPLIES}/{quote(reply_id, safe='')}"))


def translate(answer: Answer) -> AmtsboteError | None:
    """Return what a refusal means where the status alone does not say it."""
    if answer.status != 404 or f"{APPLICATIONS}/" not in answer.path:
        return None
    if answer.method == "PUT":
        return Reject("NO_SUCH_APPLICATION", "the office has no such application; check the key's third part")
    return Unavailable("NO_SUCH_APPLICATION", "the application is gone at the office")


def _path(application_id: str) -> str:
    return f"{APPLICATIONS}/{quote(application_id, safe='')}"


def _read(model: type[SaidT], answer: Answer) -> SaidT:
    said = answer.json()
    try:
        return model.model_validate(said)
    except ValidationError:
        raise Retry("PORTAL_ANSWERED_NONSENSE", f"{answer.method} {answer.path}: no {model.__name__}") from None
