"""What Altinn's refusals mean. Its words, and its validation issues, may name persons: they go into `portal_words`."""

from collections.abc import Iterator
from typing import Any

from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry, Unavailable
from amtsbote.foreign_json import parsed
from amtsbote.http import THROTTLED, Answer, PortalHttp, error_of_status, throttled

GONE = frozenset({404, 410})
LOCKED = frozenset({409, 423})
CLIENT_CLOSED = 499  # what Storage answers where it thinks that the caller has gone
REFUSALS = {400: "REFUSED", 413: "TOO_LARGE", 415: "CONTENT_TYPE_REFUSED", 422: "REFUSED"}
WORDS_LIMIT = 2000
SAYING = ("title", "detail", "message", "error", "error_description")
ISSUE_LISTS = ("validationIssues", "uploadValidationIssues", "issues")


class Undone(Retry):
    """The portal refused for now, and said so: what it was asked for has certainly not happened."""


class AltinnHttp(PortalHttp):
    """HTTP of one of Altinn's hosts. Where a call was refused before anything happened, the Retry is an `Undone`."""

    def error_of(self, answer: Answer) -> AmtsboteError:
        """Return the error of an answer that is not 2xx. A 503 is definite only where it names a time to come back."""
        if answer.status not in THROTTLED:
            return translate(answer)
        error = throttled(answer)
        if answer.status == 429 or error.after_seconds is not None:
            return Undone(error.code, error.message, after_seconds=error.after_seconds)
        return error


def translate(answer: Answer) -> AmtsboteError:
    """Return what a refused request means; the portal's own explanation goes into `portal_words`."""
    error = _meaning(answer)
    error.portal_words = words(answer)
    return error


def _meaning(answer: Answer) -> AmtsboteError:
    said = f"{answer.method} {answer.path} answered {answer.status}"
    if answer.method == "GET" and answer.path.endswith("/instances"):
        return _of_list(answer, said)
    if answer.status in GONE:
        return Unavailable("NOT_FOUND", said)
    if answer.status == 403:
        return Unavailable("FORBIDDEN", f"{said}; check the scopes, and the app's policy")
    if answer.status in LOCKED:
        return Reject("VALIDATION_FAILED", said) if has_issues(answer) else Undone("LOCKED", said)
    if answer.status in REFUSALS:
        return Reject("VALIDATION_FAILED" if has_issues(answer) else REFUSALS[answer.status], said)
    if answer.status == CLIENT_CLOSED:
        return Retry("PORTAL_ERROR", said)
    return error_of_status(answer)


def _of_list(answer: Answer, said: str) -> AmtsboteError:
    """Return what it means that a query is refused: it is the same at every try, until the connection is mended."""
    if answer.status in GONE:
        return Misconfigured("NO_STORAGE_HERE", f"{said}; check storageUrl")
    if answer.status == 403:
        return Misconfigured("FORBIDDEN", f"{said}; check auth.scopes and apps")
    if answer.status in REFUSALS:
        return Misconfigured("QUERY_REFUSED", f"{said}; check dialect, apps and currentTask")
    return error_of_status(answer)


def has_issues(answer: Answer) -> bool:
    """Return whether an answer lists validation issues."""
    return next(_issues(_parsed(answer)), None) is not None


def words(answer: Answer) -> str | None:
    """Return the portal's own explanation and its validation issues, None where it gives none. It may name persons."""
    said = _parsed(answer)
    if isinstance(said, str):
        return said[:WORDS_LIMIT] or None
    sayings = [said[key] for key in SAYING if isinstance(said.get(key), str)] if isinstance(said, dict) else []
    return "; ".join(dict.fromkeys([*sayings, *_issues(said)]))[:WORDS_LIMIT] or None


def _issues(said: Any) -> Iterator[str]:
    """Yield the validation issues as `code: description`, wherever the app's version puts them."""
    if isinstance(said, list):
        for each in said:
            yield from _issues(each)
    if isinstance(said, dict):
        for name in ISSUE_LISTS:
            yield from _issues(said.get(name))
        told = [said[key] for key in ("code", "description") if isinstance(said.get(key), str) and said[key]]
        if told:
            yield ": ".join(dict.fromkeys(told))


def _parsed(answer: Answer) -> Any:
    """Return the JSON of an answer, the text of a plain one, None where it is neither."""
    try:
        return parsed(answer.body)
    except ValueError:
        plain = answer.headers.get("Content-Type", "").lower().startswith("text/plain")
        return answer.body[:WORDS_LIMIT].decode("utf-8", "replace") if plain else None
