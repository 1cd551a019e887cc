"""The DUBA API, version 1: every endpoint of the integration guide 0.2.1, typed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr, ValidationError

from amtsbote import times
from amtsbote.deadline import Deadline
from amtsbote.errors import Retry
from amtsbote.http import Answer, PortalHttp, StreamedAnswer, Transport
from amtsbote.portals.duba.connection import BasicLogin
from amtsbote.portals.duba.errors import ACKNOWLEDGE, DOWNLOAD, MEMENTO, MESSAGES, translate
from amtsbote.portals.duba.models import AckResult, FormData, FormName, Listing, Memento

ACKNOWLEDGE_MAX = 100


class DubaClient:
    """One API user at one DUBA instance.

    Usable on its own: `DubaClient("https://elim.example.com", "user", "password").list_messages()`. Every method raises
    the errors of `amtsbote.errors`: Misconfigured when the login is refused, Retry when the portal cannot answer.
    """

    def __init__(
        self, base_url: str, username: str, password: str | SecretStr, *, transport: Transport | None = None
    ) -> None:
        secret = password if isinstance(password, SecretStr) else SecretStr(password)
        transport = transport or Transport(Deadline(math.inf))
        self._http = PortalHttp(transport, base_url, BasicLogin(username, secret), translate)

    def list_messages(
        self, job_ids: Iterable[str] = (), safe_ids: Iterable[str] = (), since: datetime | None = None
    ) -> Listing:
        """Return the messages that match all filters; there is no paging and no promised order.

        `since` keeps what was created after it, to the second; ValueError when it has no zone. With `job_ids`, messages
        that are not hydrated are never listed. ("List Messages Endpoint")
        """
        query = [("jobId", job) for job in job_ids] + [("safeId", safe) for safe in safe_ids]
        if since is not None:
            query.append(("since", _as_utc(since)))
        answer = self._http.call("GET", MESSAGES, query=query)
        rows = answer.json()
        if not isinstance(rows, list):
            raise _unreadable(answer, "no list")
        return Listing.read(rows)

    def download(self, message_id: int) -> AbstractContextManager[StreamedAnswer]:
        """Open the message's ZIP, streamed while the context lasts; Unavailable when it is gone or forbidden.

        ("Download Message Endpoint")
        """
        return self._http.stream(f"{DOWNLOAD}{message_id:d}")

    def download_headers(self, message_id: int) -> Mapping[str, str]:
        """Return the headers of a download without its body: Content-Length, Content-Type."""
        plain = {"Accept-Encoding": "identity"}  # or Content-Length would speak of a compressed body
        return self._http.call("HEAD", f"{DOWNLOAD}{message_id:d}", headers=plain).headers

    def acknowledge(self, message_ids: Sequence[int]) -> list[AckResult]:
        """Tell DUBA to delete 1 to 100 messages for good, and return what it says of each.

        It may speak of ids that were not asked and be silent about others; repeating is safe. Reject when the batch is
        refused as a whole. ("Acknowledge Messages Endpoint")
        """
        if not 1 <= len(message_ids) <= ACKNOWLEDGE_MAX:
            raise ValueError(f"DUBA acknowledges 1 to {ACKNOWLEDGE_MAX} messages at once, not {len(message_ids)}")
        answer = self._http.call("POST", ACKNOWLEDGE, json_body={"messageIds": list(message_ids)})
        said = answer.json()
        results = said.get("results") if isinstance(said, dict) else None
        if not isinstance(results, list):
            raise _unreadable(answer, "no results")
        return [result for row in results if (result := _ack_result(row))]

    def create_memento(self, form_data: FormData | Mapping[str, Any]) -> Memento:
        """Encrypt form data into a memento and a magic link; Reject, with the portal's reasons, when it is invalid.

        Empty fields of FormData are left out; a mapping is sent as it is. ("Form Pre-fill with Memento Endpoint")
        """
        if isinstance(form_data, FormData):
            form_data = form_data.model_dump(mode="json", by_alias=True, exclude_none=True)
        answer = self._http.call("POST", MEMENTO, json_body=dict(form_data))
        said = answer.json()
        try:
            return Memento.model_validate(said)
        except ValidationError:
            raise _unreadable(answer, "no memento") from None

    def absolute(self, link: str) -> str:
        """Return a relative link of the portal as an address; Reject when it points to another host."""
        return self._http.url(link)

    def form_url(self, form: FormName, memento: Memento) -> str:
        """Return the address of a form for a user who is logged in already."""
        return self._http.url(f"/duba/{form}?m={quote(memento.memento, safe='')}")


def _as_utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("since must have a time zone, or messages could be missed by hours")
    return times.written(moment)


def _ack_result(row: Any) -> AckResult | None:
    try:
        return AckResult.model_validate(row)
    except ValidationError:
        return None


def _unreadable(answer: Answer, missing: str) -> Retry:
    return Retry("PORTAL_ANSWERED_NONSENSE", f"{answer.method} {answer.path} answered {answer.kind()}: {missing}")
