"""What is sent to Altinn: one file as a streamed body, its headers, and the multipart body of a new instance."""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

from amtsbote.errors import Retry
from amtsbote.http import Body

BLOCK_BYTES = 64 * 1024
ANY_CONTENT = "application/octet-stream"
JSON_TYPE = "application/json"
MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}(\s*;[ -~]{1,200})?")
NOT_PLAIN = re.compile(r"[^ !#-\[\]-~]")  # what a quoted ASCII file name cannot hold


@dataclass(frozen=True)
class Content:
    """The bytes of one file; `open` gives all `size` of them, each time that it is called."""

    size: int
    content_type: str
    file_name: str | None
    open: Callable[[], BinaryIO]

    def headers(self) -> Mapping[str, str]:
        """Return Content-Type and Content-Disposition."""
        found = {"Content-Type": media_type(self.content_type)}
        if self.file_name:
            found["Content-Disposition"] = f"attachment; {file_name_parameters(self.file_name)}"
        return found

    def body(self, check: Callable[[], None] = lambda: None) -> Body:
        """Return the body, streamed; `check` is called before each block and may raise."""
        return StreamedBody(self, check) if self.size else b""  # an empty stream would be sent without its length


class StreamedBody:
    """A body whose length is known and that may be sent again: each iteration is the whole. Memory: one block."""

    def __init__(self, content: Content, check: Callable[[], None]) -> None:
        self._content = content
        self._check = check

    def __len__(self) -> int:
        return self._content.size

    def __iter__(self) -> Iterator[bytes]:
        left = self._content.size
        with closing(self._content.open()) as source:
            while left:
                self._check()
                block = source.read(min(BLOCK_BYTES, left))
                if not block:
                    raise Retry("DROP_CUT", f"the dropped object ended {left} bytes early")
                left -= len(block)
                yield block


@dataclass(frozen=True)
class DataPart:
    """One file that goes with a new instance; `data_type` is one that the app's metadata names."""

    data_type: str
    content_type: str
    file_name: str | None
    content: bytes


def new_instance_body(template: bytes, parts: Sequence[DataPart]) -> tuple[str, bytes]:
    """Return content type and body of a new instance: the part `instance` first, then one part per file."""
    boundary = f"amtsbote-{secrets.token_hex(16)}"
    pieces = [_part(boundary, 'name="instance"', f"{JSON_TYPE}; charset=utf-8", template)]
    for part in parts:
        named = f"; {file_name_parameters(part.file_name)}" if part.file_name else ""
        name = f'name="{plain_name(part.data_type)}"'
        pieces.append(_part(boundary, name + named, media_type(part.content_type), part.content))
    return f'multipart/form-data; boundary="{boundary}"', b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _part(boundary: str, parameters: str, content_type: str, content: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Disposition: form-data; {parameters}\r\nContent-Type: {content_type}\r\n\r\n"
    return head.encode() + content + b"\r\n"


def file_name_parameters(name: str) -> str:
    """Return the parameters that name a file in any Unicode (RFC 6266); what comes in cannot begin a new header."""
    known = name.encode("utf-8", "replace").decode()
    return f"filename=\"{plain_name(known)}\"; filename*=UTF-8''{quote(known, safe='!#$&+-.^_`|~')}"


def plain_name(name: str) -> str:
    """Return a name in plain ASCII that may stand between quotes."""
    return NOT_PLAIN.sub("_", name)


def media_type(content_type: str) -> str:
    """Return a content type that is one; anything else is unknown content."""
    return content_type if MEDIA_TYPE.fullmatch(content_type) else ANY_CONTENT
