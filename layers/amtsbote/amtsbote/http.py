"""HTTP to portals: bounded in time and size, two retries at most for idempotent reads, credentials to one host only.

`Transport` moves bytes and maps failures of the wire to errors. `PortalHttp` adds one portal account: its base URL,
its credentials, and the portal's way of saying what went wrong.
"""

import functools
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import HTTPError, NewConnectionError

from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Reject, Retry
from amtsbote.foreign_json import parsed
from amtsbote.wire import LEAST_PATIENCE_SECONDS, GuardedAdapter, Limits, Reach, addresses_of, limited

CONNECT_TIMEOUT_SECONDS = 5.0
READ_RETRIES = 2
RETRY_PAUSE_SECONDS = 0.5
RETRY_AFTER_AT_MOST_SECONDS = 24 * 3600.0  # a portal that asks for more is asked again once a day
JSON_LIMIT_BYTES = 16 * 1024 * 1024  # as text that needs four bytes a character: 64 MiB, twice while it is parsed
ERROR_LIMIT_BYTES = 1024 * 1024  # of an answer that is no success: nobody has that much to say
CHUNK_BYTES = 256 * 1024
LENGTH_DIGITS = 18  # of a Content-Length; what is longer is no length of anything
IDEMPOTENT_READS = frozenset({"GET", "HEAD"})
THROTTLED = frozenset({429, 503})
STRUCK_OUT = "…"
HOST_SHOWN = 100  # characters of a host's name that an error shows
KNOWN_KIND = re.compile(  # anything else is the portal's own word, in which it could say what it was just told
    r"(text/(html|plain|xml)|application/([a-z]{1,7}\+)?(json|xml|zip|pdf|octet-stream))", re.IGNORECASE
)

Query = Sequence[tuple[str, str]]
Body = bytes | Iterator[bytes] | Any


@dataclass(frozen=True)
class Answer:
    """A whole answer of a portal: status, headers (case-insensitive) and body."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Return whether the status is 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the parsed body; Retry when it is no JSON, as a portal in maintenance answers HTML with 200.

        JSON that is made to use up memory or stack is none either (`foreign_json`).
        """
        try:
            return parsed(self.body)
        except ValueError as error:
            raise Retry("PORTAL_ANSWERED_NO_JSON", f"{self.method} {self.path} answered {self.kind()}") from error

    def believed(self) -> "Answer":
        """Return the answer itself; Retry when it is no API's: a page for people, or JSON that is broken.

        A portal in maintenance answers such things with 200, also to a call that changes something and whose answer
        nobody needs to read.
        """
        content_type = self.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if content_type == "text/html":
            raise Retry("PORTAL_ANSWERED_A_PAGE", f"{self.method} {self.path} answered {self.kind()}")
        if self.body and content_type.endswith("json"):
            self.json()
        return self

    def kind(self) -> str:
        """Return a description of the body that is safe to log."""
        content_type = self.headers.get("Content-Type", "nothing").split(";")[0].strip()
        known = content_type == "nothing" or KNOWN_KIND.fullmatch(content_type)
        return f"{self.status} with {len(self.body)} bytes of {content_type if known else 'an unusual kind'}"


@dataclass(frozen=True)
class StreamedAnswer:
    """An answer whose body is still on the wire; `size` is its Content-Length, None where it is not announced."""

    status: int
    headers: Mapping[str, str]
    size: int | None
    chunks: Iterator[bytes]


class Transport:
    """Sends single requests. It follows no redirect, holds no credentials and keeps within the deadline."""

    def __init__(
        self,
        deadline: Deadline,
        *,
        allow_loopback: bool = False,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.deadline = deadline
        self._allow_loopback = allow_loopback
        self._session = session or new_session()
        self._sleep = sleep

    def call(
        self,
        method: str,
        url: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        reach: Reach = Reach.NAMED_BY_OPERATOR,
    ) -> Answer:
        """Send a request and read the whole answer, whatever its status; Retry when the wire fails."""
        with self._open(method, url, query, headers, body, self._limits(reach)) as response:
            limit = JSON_LIMIT_BYTES if response.ok else ERROR_LIMIT_BYTES
            path = urlsplit(url).path
            try:
                content = b"".join(_at_most(self._chunks(response), limit))
            except OutOfTime as error:  # counted as a try, or a portal that drips its answers is asked for ever
                raise Retry("PORTAL_TOO_SLOW", "the answer did not end within the invocation's time") from error
            return Answer(method, path, response.status_code, response.headers, content)

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        reach: Reach = Reach.NAMED_BY_OPERATOR,
    ) -> Iterator[StreamedAnswer]:
        """Open a request whose body is read piece by piece; a body that ends early raises Retry while it is read.

        The body of a success may take until the deadline.
        """
        plain = {"Accept-Encoding": "identity", **(headers or {})}  # so that Content-Length speaks of what we store
        limits = self._limits(reach)
        with self._open(method, url, query, plain, None, limits) as response:
            size = _content_length(response)
            chunks = self._chunks(response)
            if response.status_code >= 300:
                chunks = _at_most(chunks, ERROR_LIMIT_BYTES)  # an error is read whole, into memory
            else:
                limits.answer_ends_at = None
            yield StreamedAnswer(response.status_code, response.headers, size, chunks)

    def _limits(self, reach: Reach) -> Limits:
        return Limits(self.deadline, reach, self._allow_loopback)

    def _open(
        self,
        method: str,
        url: str,
        query: Query,
        headers: Mapping[str, str] | None,
        body: Body,
        limits: Limits,
    ) -> requests.Response:
        self._refuse_unsafe(url)
        for pause in self._pauses(method):
            self.deadline.check()
            try:
                with limited(limits):
                    response = self._send(method, url, query, headers, body, limits)
            except (InvalidURL, InvalidSchema, MissingSchema):
                raise _no_address() from None
            except (InvalidHeader, UnicodeEncodeError):  # their texts hold the value
                said = "a header of the request cannot hold its value; check the connection's secret for odd characters"
                raise Misconfigured("HEADER_INVALID", said) from None
            except requests.RequestException as error:
                failure = Retry("PORTAL_UNREACHABLE", f"{method} {urlsplit(url).path}: {type(error).__name__}")
                if pause is None:
                    raise failure from None  # its text may hold a presigned address
            else:
                if pause is None or response.status_code < 500 or "Retry-After" in response.headers:
                    return response
                response.close()
            self._sleep(pause)
        raise AssertionError("the last round returns or raises")

    def _send(
        self,
        method: str,
        url: str,
        query: Query,
        headers: Mapping[str, str] | None,
        body: Body,
        limits: Limits,
    ) -> requests.Response:
        limits.answer_ends_at = None  # as long as the request is sent
        return self._session.request(
            method,
            url,
            params=list(query) or None,
            headers=dict(headers or {}),
            data=body,
            timeout=(CONNECT_TIMEOUT_SECONDS, max(LEAST_PATIENCE_SECONDS, limits.patience_seconds())),
            allow_redirects=False,
            stream=True,
        )

    def _pauses(self, method: str) -> Iterator[float | None]:
        """Yield a pause for each try that another one follows, None for the last try."""
        for attempt in range(READ_RETRIES if method in IDEMPOTENT_READS else 0):
            yield RETRY_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        yield None

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body; urllib3 compares it with what was announced, by length or by chunks."""
        received = 0
        try:
            # read1 hands over what has come: to wait for a whole chunk would let a trickle run past the deadline
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                self.deadline.check()
                received += len(chunk)
                yield chunk
        except HTTPError as error:
            raise Retry("PORTAL_BODY_CUT", f"the body ended after {received} bytes: {type(error).__name__}") from None

    def _refuse_unsafe(self, url: str) -> None:
        """Refuse what no request is sent for. Where its host leads is judged when the connection is made (`wire`)."""
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            host.encode("idna")
        except ValueError:
            raise _no_address() from None
        if self._allow_loopback and _is_loopback(host):
            return
        if parts.scheme != "https" or not host:
            raise Misconfigured("URL_NOT_HTTPS", f"the address of {host[:HOST_SHOWN]} must begin with https://")


class Login(Protocol):
    """The credentials of one portal account."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that log a request in."""
        ...

    def renew(self) -> bool:
        """Forget what the portal has just refused with 401; False where asking again cannot help."""
        ...


class PortalHttp:
    """HTTP of one portal account: paths below its base URL, its credentials, its errors.

    After a 401 the login is renewed once. `translate` turns an answer that is not 2xx into the error to raise, None to
    fall back to the meaning of the status.
    """

    def __init__(
        self,
        transport: Transport,
        base_url: str,
        login: Login,
        translate: Callable[[Answer], AmtsboteError | None],
    ) -> None:
        self.transport = transport
        self._base_url = base_url.rstrip("/")
        self._login = login
        self._translate = translate

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        json_body: Any = None,
        body: Body = None,
    ) -> Answer:
        """Return the 2xx answer to a request; every other one is raised as an error that says what now.

        Whether an answer to a changing call is the portal's at all is looked at here, because nobody may read it.
        """
        extra = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body, ensure_ascii=False).encode()
            extra.setdefault("Content-Type", "application/json")
        answer = self._call(method, path, query, extra, body)
        if answer.status == 401 and self._login.renew():
            answer = self._call(method, path, query, extra, body)
        if not answer.ok:
            raise self._without_login(self.error_of(answer))
        return answer if method in IDEMPOTENT_READS else answer.believed()

    def log_in(self) -> None:
        """Have the credentials ready, so that the next call fails for reasons of its own only."""
        self._login.headers()

    def _call(self, method: str, path: str, query: Query, extra: Mapping[str, str], body: Body) -> Answer:
        headers = {**extra, **self._login.headers()}
        self.transport.deadline.check()
        try:
            return self.transport.call(method, self.url(path), query=query, headers=headers, body=body)
        except OutOfTime as error:  # what cannot be gone on with must count, or a slow portal is asked for ever
            raise _too_slow(method, path, body) from error

    @contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[StreamedAnswer]:
        """Open a download below the base URL; any answer but 200 is raised as its error."""
        with ExitStack() as stack:
            answer = stack.enter_context(self._stream(path, headers))
            if answer.status == 401 and self._login.renew():
                answer = stack.enter_context(self._stream(path, headers))
            if answer.status != 200:
                body = b"".join(_at_most(answer.chunks, JSON_LIMIT_BYTES))
                raise self._without_login(self.error_of(Answer("GET", path, answer.status, answer.headers, body)))
            yield answer

    def _stream(self, path: str, headers: Mapping[str, str] | None) -> AbstractContextManager[StreamedAnswer]:
        return self.transport.stream("GET", self.url(path), headers={**(headers or {}), **self._login.headers()})

    def _without_login(self, error: AmtsboteError) -> AmtsboteError:
        """Strike out of the portal's words what it was told to log us in: some say back everything that they heard."""
        if error.portal_words:
            for value in self._login.headers().values():
                for secret in (value, value.rpartition(" ")[2]):
                    error.portal_words = error.portal_words.replace(secret, STRUCK_OUT)
        return error

    def url(self, path: str) -> str:
        """Return the absolute URL of a path; credentials never go anywhere else."""
        if not path.startswith("/") or path.startswith("//"):
            raise Reject("FOREIGN_URL", "a path must begin with one slash; absolute addresses are refused")
        return self._base_url + path

    def error_of(self, answer: Answer) -> AmtsboteError:
        """Return the error of an answer that is not 2xx: the wait that was asked for, the portal's word, the status."""
        if answer.status in THROTTLED:
            return throttled(answer)
        return self._translate(answer) or error_of_status(answer)


def _too_slow(method: str, path: str, body: Body) -> Retry:
    if body is None or isinstance(body, bytes):
        return Retry("PORTAL_TOO_SLOW", f"{method} {path} was not answered within the invocation's time")
    return Retry("UPLOAD_CUT", "the time was too short to send the whole file")


def throttled(answer: Answer) -> Retry:
    """Return the Retry of a 429 or 503, with the time that Retry-After asks for (seconds or a date)."""
    after = retry_after_seconds(answer.headers, datetime.now(UTC))
    return Retry("PORTAL_THROTTLED", f"{answer.method} {answer.path} answered {answer.status}", after_seconds=after)


def error_of_status(answer: Answer) -> AmtsboteError:
    """Return the error that a status means by itself, where the portal's page says nothing else."""
    said = f"{answer.method} {answer.path} answered {answer.kind()}"
    if answer.status in (401, 403):
        return Misconfigured("LOGIN_REFUSED", f"{said}; check the connection's credentials and permissions")
    if answer.status >= 500 or answer.status in (408, 425):
        return Retry("PORTAL_ERROR", said)
    if 300 <= answer.status < 400:
        return Misconfigured(
            "REDIRECT_REFUSED", f"{said}; a redirect is not followed, put the final address in baseUrl"
        )
    return Reject("PORTAL_REFUSED", said)


def was_never_sent(error: Retry) -> bool:
    """Return whether not even a connection came about; the Transport hides the cause and keeps it as the context."""
    cause = error.__context__
    if isinstance(cause, requests.ConnectTimeout):
        return True
    reason = (
        getattr(cause.args[0], "reason", None) if isinstance(cause, requests.ConnectionError) and cause.args else None
    )
    return isinstance(reason, NewConnectionError)


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the wait that a Retry-After header asks for, a day at most; None where it asks for none."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return min(float(value), RETRY_AFTER_AT_MOST_SECONDS)
    try:
        asked = (parsedate_to_datetime(value) - now).total_seconds()
        return min(max(0.0, asked), RETRY_AFTER_AT_MOST_SECONDS)
    except (ValueError, TypeError, OverflowError):
        return None


def new_session() -> requests.Session:
    """Return a session that pools connections, keeps no cookies and takes nothing from the environment.

    It serves all connections of a portal: a cookie kept would log one account in with the session of another.
    """
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    for scheme in ("https://", "http://"):
        session.mount(scheme, GuardedAdapter())
    return session


def _no_address() -> Misconfigured:
    return Misconfigured("URL_INVALID", "the address names no host that can exist")


def _at_most(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    received = 0
    for chunk in chunks:
        received += len(chunk)
        if received > limit:
            raise Retry("PORTAL_ANSWER_TOO_LARGE", f"the answer is larger than {limit} bytes")
        yield chunk


def _content_length(response: requests.Response) -> int | None:
    if "Content-Encoding" in response.headers:  # it came packed all the same, and this is not the file's size
        return None
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdecimal() and len(value) <= LENGTH_DIGITS else None


@functools.lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    """Return whether a host is this machine, which only decides whether http may be spoken to it."""
    try:
        return any(address.is_loopback or address.is_unspecified for address in addresses_of(host))
    except OSError:
        return False  # unknown host: the connection itself will say so
