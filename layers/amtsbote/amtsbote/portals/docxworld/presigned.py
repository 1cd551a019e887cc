"""Transfers to and from presigned addresses: without any credentials of ours, and without a word about the address.

A presigned address is a secret, and its path may carry a file name: neither goes into an error text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Protocol
from urllib.parse import parse_qsl, urlsplit

from amtsbote.errors import Misconfigured, OutOfTime, Reject, Retry, Unavailable
from amtsbote.http import THROTTLED, Answer, StreamedAnswer, Transport, retry_after_seconds
from amtsbote.wire import Reach

SIGNED_AT_FORMAT = "%Y%m%dT%H%M%SZ"
GONE = frozenset({404, 410})


class DeadLink(Retry):
    """The storage does not take this address (any more): ask the portal for a new one."""

    def __init__(self, said: str) -> None:
        super().__init__("LINK_REFUSED", said)


class Sendable(Protocol):
    """What is sent: its length in bytes is known, and it is handed over block by block."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class Content:
    """A piece of a file on its way out, with its length known, so that it is sent with a Content-Length.

    Memory: one block of the HTTP library at a time.
    """

    def __init__(self, source: BinaryIO, length: int, check: Callable[[], None]) -> None:
        self._source = source
        self._length = length
        self._left = length
        self._check = check

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(64 * 1024), b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; Retry where the source ends early, OutOfTime where the invocation does."""
        if not self._left:
            return b""
        self._check()
        block = self._source.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(block)
        if not block:
            raise Retry("DROP_CUT", f"the dropped object ended {self._left} bytes early")
        return block


def put(transport: Transport, url: str, headers: Mapping[str, str], content: Sendable) -> Mapping[str, str]:
    """Send a piece of a file and return the storage's headers; DeadLink where the address is refused.

    Reject where the address leads where no portal may send us: this machine, its cloud's metadata, a private network.
    """
    body = content if len(content) else b""  # of what is empty, requests would not tell the length
    with _discreet():
        answer = transport.call("PUT", url, headers=headers, body=body, reach=Reach.NAMED_BY_PORTAL)
    if not answer.ok:
        raise _refusal(answer)
    return answer.headers


@contextmanager
def opened(transport: Transport, url: str) -> Iterator[StreamedAnswer]:
    """Open a file for reading; Unavailable where the storage has it no more, Retry for any other refusal.

    Reject where the address leads where no portal may send us.
    """
    with ExitStack() as stack:
        with _discreet():
            answer = stack.enter_context(transport.stream("GET", url, reach=Reach.NAMED_BY_PORTAL))
        if answer.status in GONE:
            raise Unavailable("FILE_GONE", "the storage has the file no more")
        if answer.status != 200:
            raise _refusal(answer)
        yield answer


def ends_at(urls: Sequence[str]) -> datetime | None:
    """Return when the first of these addresses ends (UTC), None where they do not say."""
    ends = [end for end in map(_end, urls) if end is not None]
    return min(ends, default=None)


def multipart_upload_of(url: str) -> str | None:
    """Return the storage's id of the multipart upload that an address belongs to, None where it does not say."""
    return dict(parse_qsl(urlsplit(url).query)).get("uploadId")


def _end(url: str) -> datetime | None:
    query = dict(parse_qsl(urlsplit(url).query))
    try:
        signed = datetime.strptime(query["X-Amz-Date"], SIGNED_AT_FORMAT).replace(tzinfo=UTC)
        return signed + timedelta(seconds=int(query["X-Amz-Expires"]))
    except (KeyError, ValueError, OverflowError):
        return None


def _refusal(answer: Answer | StreamedAnswer) -> Retry:
    if answer.status in THROTTLED or answer.status >= 500 or answer.status < 400:
        after = retry_after_seconds(answer.headers, datetime.now(UTC))
        return Retry("STORAGE_ERROR", f"the storage answered {answer.status}", after_seconds=after)
    return DeadLink(f"the storage refuses the presigned address with {answer.status}; it may have ended")


@contextmanager
def _discreet() -> Iterator[None]:
    """Say that a transfer failed without saying where. An address is the portal's word: no fault of the connection."""
    try:
        yield
    except OutOfTime:
        raise
    except Misconfigured:
        said = "the portal gave an address for a file that is no https, or leads into a network closed to portals"
        raise Reject("LINK_NOT_ALLOWED", f"{said}; it was not followed, ask the portal's operator") from None
    except Retry as error:
        if error.code != "PORTAL_UNREACHABLE":
            raise
        raise Retry("STORAGE_UNREACHABLE", "the transfer to or from a presigned address failed") from None
