"""JSON of somebody else: parsed only where its shape is one that memory and stack can hold, and JSON can say again.

A few megabytes of `[[],[],…` become gigabytes of objects, and what is nested just deep enough to be parsed cannot be
written again. Both are seen in the text, before anything is built of it: brackets and commas outside of strings say how
many values there are, brackets alone how deep they lie. Only operations on whole texts are used, so that a look at
16 MiB costs some tenths of a second.
"""

import json
import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NoReturn

VALUES_AT_MOST = 400_000  # some 90 MB of objects at worst; a list of 36,000 records of ten fields
DEPTH_AT_MOST = 100
BLOCK_BYTES = 1024 * 1024

ESCAPED_BACKSLASH, ESCAPED_QUOTE, QUOTE = b"\\\\", b'\\"', b'"'
BRACKETS = b"[]{}"
NO_BRACKETS = bytes(byte for byte in range(256) if byte not in BRACKETS)
STEP = {byte: 1 if byte in b"[{" else -1 for byte in BRACKETS}


def parsed(body: bytes) -> Any:
    """Return what a text says; ValueError where it is no JSON in UTF-8, or of a shape that is refused.

    What JSON has no word for (NaN, a number that would become Infinity) is refused too, as it could not be stored.
    """
    check_shape(body)
    text = body.decode("utf-8-sig", "surrogatepass")
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def check_shape(body: bytes) -> None:
    """Raise ValueError where a JSON text holds too many values, or too deep ones."""
    values, depth = 1, 0
    for text in _outside_of_strings(body):
        values += text.count(b",") + text.count(b"[") + text.count(b"{")
        if values > VALUES_AT_MOST:
            raise ValueError("the JSON holds too many values")
        depths = list(accumulate(map(STEP.__getitem__, text.translate(None, NO_BRACKETS)), initial=depth))
        if max(depths) > DEPTH_AT_MOST:
            raise ValueError("the JSON is nested too deeply")
        depth = depths[-1]


def _outside_of_strings(body: bytes) -> Iterator[bytes]:
    """Yield what stands outside of strings, block by block."""
    plain = body.replace(ESCAPED_BACKSLASH, b"").replace(ESCAPED_QUOTE, b"") if b"\\" in body else body
    inside = 0
    for start in range(0, len(plain), BLOCK_BYTES):
        pieces = plain[start : start + BLOCK_BYTES].split(QUOTE)
        yield b"".join(pieces[inside::2])
        inside = (inside + len(pieces) - 1) % 2


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    """Return the number; what is too large for one would become Infinity, which is no JSON when it is stored."""
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text)
