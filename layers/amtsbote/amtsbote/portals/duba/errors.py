"""What DUBA's refusals mean, endpoint by endpoint (guide, "Error Codes" and "Error Handling")."""

import json
from collections.abc import Iterator
from typing import Any

from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Unavailable
from amtsbote.foreign_json import parsed
from amtsbote.http import Answer, error_of_status

BASE = "/api/duba/v1"
MESSAGES = f"{BASE}/messages"
DOWNLOAD = f"{BASE}/download/"
ACKNOWLEDGE = f"{BASE}/messages/ack"
MEMENTO = f"{BASE}/memento"

INVALID = frozenset({400, 422})  # the guide says 400, the vendor's form bridge 422
GONE = frozenset({404, 410})  # 410 is what a sister module of the vendor says
WORDS_LIMIT = 2000
SAYING = ("error", "title", "detail", "message")  # of the guide's errors, and of RFC 9457 problem+json


def translate(answer: Answer) -> AmtsboteError:
    """Return what a refused request means; the portal's own explanation goes into `portal_words`."""
    error = _meaning(answer) or error_of_status(answer)
    error.portal_words = words(answer)
    return error


def _meaning(answer: Answer) -> AmtsboteError | None:
    if DOWNLOAD in answer.path:
        return _of_download(answer)
    if answer.path.endswith(ACKNOWLEDGE):
        return _of_acknowledge(answer)
    if answer.path.endswith(MESSAGES):
        return _of_messages(answer)
    return _of_memento(answer)


def _of_download(answer: Answer) -> AmtsboteError | None:
    if answer.status in GONE:
        return Unavailable("NOT_FOUND", "the message is gone at the portal: acknowledged, withdrawn or too old")
    if answer.status == 403:
        return Unavailable("FORBIDDEN", "the portal gives this user no access to the message")
    return None


def _of_acknowledge(answer: Answer) -> AmtsboteError | None:
    if answer.status in INVALID | GONE:
        return Reject("BATCH_REFUSED", f"the portal refused the whole acknowledgement with {answer.status}")
    return None


def _of_messages(answer: Answer) -> AmtsboteError | None:
    if answer.status in INVALID:
        return Misconfigured("FILTER_REFUSED", "the portal refused the filters; check safeIds and jobIds")
    if answer.status == 403:
        return Misconfigured("FORBIDDEN", "the user has no access; check safeIds and the user's permissions")
    if answer.status in GONE:
        return Misconfigured("NO_DUBA_HERE", f"there is no DUBA at this address; baseUrl must end before {BASE}")
    return None


def _of_memento(answer: Answer) -> AmtsboteError | None:
    if answer.status in INVALID:
        return Reject("FORM_DATA_INVALID", "the portal refused the form data; its reasons are in the portal's words")
    return None


def words(answer: Answer) -> str | None:
    """Return the portal's own explanation, None where it gives none. It may name persons."""
    try:
        said = parsed(answer.body)
    except ValueError:
        return None
    found = list(dict.fromkeys(_sayings(said))) if isinstance(said, dict) else []
    return "; ".join(found)[:WORDS_LIMIT] or None


def _sayings(said: dict[str, Any]) -> Iterator[str]:
    yield from (said[key] for key in SAYING if isinstance(said.get(key), str))
    errors = said.get("errors")
    for each in errors if isinstance(errors, list) else ():
        yield each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
