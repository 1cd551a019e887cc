"""One file as the body of a multipart/form-data request, streamed: nothing of it is kept in memory."""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

from amtsbote.errors import Retry

BLOCK_BYTES = 64 * 1024
PART_NAME = "file"
ANY_CONTENT = "application/octet-stream"
UNSAFE = re.compile(r'["\x00-\x1f\x7f]')  # escaped in a file name as browsers do it (HTML standard)
PRINTABLE = re.compile(r"[ -~]+")


@dataclass(frozen=True)
class FileToSend:
    """A file on its way out; `open` gives its `size` bytes from the beginning, each time that it is called."""

    name: str
    size: int
    content_type: str
    open: Callable[[], BinaryIO]


class MultipartBody:
    """The body with the one part `file`. Its length is known, and it may be sent again: each iteration is the whole."""

    def __init__(self, file: FileToSend, check: Callable[[], None] = lambda: None) -> None:
        content_type = file.content_type if PRINTABLE.fullmatch(file.content_type) else ANY_CONTENT
        boundary = f"amtsbote-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._file = file
        self._check = check
        self._head = (
            f"--{boundary}\r\n"
            f"Content-Disposition: form-data; {disposition(file.name)}\r\n"
            f"Content-Type: {content_type}\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._head) + self._file.size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with closing(self._file.open()) as source:
            yield from self._content(source)
        yield self._tail

    def _content(self, source: BinaryIO) -> Iterator[bytes]:
        """Yield exactly the announced bytes; Retry where the source ends early, and what the check raises."""
        left = self._file.size
        while left:
            self._check()
            block = source.read(min(BLOCK_BYTES, left))
            if not block:
                raise Retry("DROP_CUT", f"the dropped object ended {left} bytes early")
            left -= len(block)
            yield block


def disposition(name: str) -> str:
    """Return the parameters that name the part and its file, in any Unicode.

    The plain `filename` is raw UTF-8, as browsers send it; one that is not ASCII comes again as `filename*` (RFC 5987),
    for portals that read headers as Latin-1.
    """
    safe = name.encode("utf-8", "replace").decode()
    plain = UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", safe)
    extended = "" if safe.isascii() else f"; filename*=UTF-8''{quote(safe, safe='!#$&+-.^_`|~')}"
    return f'name="{PART_NAME}"; filename="{plain}"{extended}'
