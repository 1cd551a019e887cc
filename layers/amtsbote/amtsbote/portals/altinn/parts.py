"""A multipart answer, read as a stream of parts: nothing but a header block and one chunk is kept in memory."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from amtsbote.errors import Retry

HEAD_LIMIT_BYTES = 64 * 1024
BOUNDARY_LIMIT = 200
CUT = "the multipart answer ended within a part"


@dataclass(frozen=True)
class Part:
    """One part; its `chunks` may be consumed once, before the next part is asked for. Header names are lower-case."""

    headers: Mapping[str, str]
    chunks: Iterator[bytes]


def boundary_of(content_type: str) -> str:
    """Return the boundary of a multipart content type; Retry where the answer is no multipart."""
    message = Message()
    message["Content-Type"] = re.sub(r"[\r\n]", "", content_type)
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or not boundary or len(boundary) > BOUNDARY_LIMIT:
        raise Retry("PORTAL_ANSWER_UNREADABLE", "what should be a multipart answer is none")
    return boundary


def parts_of(chunks: Iterator[bytes], boundary: str) -> Iterator[Part]:
    """Yield the parts of a multipart body; Retry where it ends before its last boundary."""
    reader = _Reader(chunks, boundary)
    reader.skip_preamble()
    while reader.begins_part():
        part = Part(_headers(reader.head()), reader.content())
        yield part
        for _ in part.chunks:  # what the caller left unread
            pass


def _headers(head: bytes) -> Mapping[str, str]:
    parsed = HeaderParser().parsestr(head.decode("utf-8", "replace"))
    return {name.lower(): str(value) for name, value in parsed.items()}


class _Reader:
    """The bytes of a multipart body, looked at through a window."""

    def __init__(self, chunks: Iterator[bytes], boundary: str) -> None:
        self._chunks = chunks
        self._delimiter = b"\r\n--" + boundary.encode()
        self._window = bytearray(b"\r\n")  # so that a first boundary without a preamble looks like the others

    def skip_preamble(self) -> None:
        """Read up to and including the first boundary."""
        for _ in self.content():
            pass

    def begins_part(self) -> bool:
        """Return whether another part follows the boundary that was just read."""
        self._need(2)
        if self._window[:2] == b"--":
            return False
        self._drop_through(b"\r\n")
        return True

    def head(self) -> bytes:
        """Return the header block of a part, without the empty line."""
        if self._window[:2] == b"\r\n" or self._starts_empty():
            self._take(2)
            return b""
        return self._drop_through(b"\r\n\r\n")

    def content(self) -> Iterator[bytes]:
        """Yield everything up to the next boundary, and step over that."""
        while (end := self._window.find(self._delimiter)) < 0:
            safe = len(self._window) - len(self._delimiter) + 1  # a boundary may lie across two chunks
            if safe > 0:
                yield self._take(safe)
            self._more()
        if end:
            yield self._take(end)
        self._take(len(self._delimiter))

    def _starts_empty(self) -> bool:
        self._need(2)
        return self._window[:2] == b"\r\n"

    def _drop_through(self, mark: bytes) -> bytes:
        while (end := self._window.find(mark)) < 0:
            if len(self._window) > HEAD_LIMIT_BYTES:
                raise Retry("PORTAL_ANSWER_UNREADABLE", "a part's headers do not end")
            self._more()
        found = self._take(end)
        self._take(len(mark))
        return found

    def _need(self, size: int) -> None:
        while len(self._window) < size:
            self._more()

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise Retry("PORTAL_BODY_CUT", CUT)
        self._window += chunk

    def _take(self, size: int) -> bytes:
        taken = bytes(self._window[:size])
        del self._window[:size]
        return taken
