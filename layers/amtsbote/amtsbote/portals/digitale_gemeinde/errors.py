"""What Digitale-Gemeinde's refusals mean. Its bodies are ProblemDetails, whose words may name persons.

A document that does not exist is answered with 404 or 500, and an outage with 500 too: `InternalError` is the answer
that may be either, and the adapter tells them apart (see `lookup.py`).
"""

from amtsbote.errors import AmtsboteError, Misconfigured, Retry, Unavailable
from amtsbote.foreign_json import parsed
from amtsbote.http import Answer, error_of_status

GONE = frozenset({404, 410})
REFUSED_LOGIN = frozenset({401, 403})  # guide, step 1: both mean an expired token, or a wrong key
WORDS_LIMIT = 2000
SAYING = ("title", "detail", "message", "error")


class InternalError(Retry):
    """The portal answered 500: it is broken, or what was asked for does not exist."""


class LoginRefused(Misconfigured):
    """The portal answered 401 or 403. Nothing was done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__("LOGIN_REFUSED", message)
        self.status = status


class Throttled(Retry):
    """The portal answered 429: it takes no call before `after_seconds`. Nothing was done."""


def translate(answer: Answer) -> AmtsboteError | None:
    """Return what a refused request means; the portal's own explanation goes into `portal_words`."""
    error = _meaning(answer)
    error.portal_words = words(answer)
    return error


def _meaning(answer: Answer) -> AmtsboteError:
    said = f"{answer.method} {answer.path} answered {answer.status}"
    if answer.status in REFUSED_LOGIN:
        return LoginRefused(answer.status, f"{said}; check apiKey, tenantId and what the key may do")
    if answer.status in GONE:
        return Unavailable("NOT_FOUND", said)
    if answer.status == 500:
        return InternalError("PORTAL_ERROR", said)
    return error_of_status(answer)


def words(answer: Answer) -> str | None:
    """Return the portal's own explanation, None where it gives none. It may name persons."""
    try:
        said = parsed(answer.body)
    except ValueError:
        return None
    found = [said[key] for key in SAYING if isinstance(said.get(key), str)] if isinstance(said, dict) else []
    return "; ".join(dict.fromkeys(found))[:WORDS_LIMIT] or None
