"""A multipart answer, cut into pieces at any place, is the same parts."""

from collections.abc import Iterator

import pytest

from amtsbote.errors import Retry
from amtsbote.portals.altinn.parts import boundary_of, parts_of

BODY = (
    b"preamble\r\n--edge\r\nContent-Type: application/json\r\n\r\n{}\r\n"
    b"--edge\r\nContent-Type: application/xml\r\nContent-Disposition: form-data; name=m\r\n\r\n"
    b"--edge \r\n-- <x/>\r\n\r\n"
    b"--edge  \r\n\r\nno headers\r\n--edge\r\nX: empty\r\n\r\n\r\n--edge--\r\nepilogue"
)
PARTS = [b"{}", b"--edge \r\n-- <x/>\r\n", b"no headers", b""]


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 64, 10_000])
def test_parts_do_not_depend_on_how_the_bytes_come(size: int) -> None:
    assert [b"".join(part.chunks) for part in parts_of(pieces(BODY, size), "edge")] == PARTS


def test_headers_are_read() -> None:
    found = [dict(part.headers) for part in parts_of(pieces(BODY, 9), "edge")]
    assert found == [
        {"content-type": "application/json"},
        {"content-type": "application/xml", "content-disposition": "form-data; name=m"},
        {},
        {"x": "empty"},
    ]


def test_a_part_that_is_not_read_is_stepped_over() -> None:
    parts = parts_of(pieces(BODY, 4), "edge")
    next(parts)
    assert b"".join(next(parts).chunks) == PARTS[1]


def test_a_large_part_is_not_kept_in_memory() -> None:
    def large() -> Iterator[bytes]:
        yield b"--edge\r\n\r\n"
        for _ in range(100):
            yield b"\r" * 65_536
        yield b"\r\n--edge--"

    (sizes,) = [[len(chunk) for chunk in part.chunks] for part in parts_of(large(), "edge")]
    assert sum(sizes) == 100 * 65_536 and max(sizes) <= 2 * 65_536


@pytest.mark.parametrize("end", [3, 20, 60, 100, len(BODY) - 14])
def test_a_body_that_ends_early_is_tried_later(end: int) -> None:
    with pytest.raises(Retry, match="PORTAL_BODY_CUT"):
        [b"".join(part.chunks) for part in parts_of(pieces(BODY[:end], 8), "edge")]


def test_headers_without_an_end_are_given_up() -> None:
    endless = (b"--edge\r\n" if number == 0 else b"a" * 8192 for number in range(1000))
    with pytest.raises(Retry, match="headers"):
        next(parts_of(endless, "edge"))


def test_no_part_at_all_is_none() -> None:
    assert list(parts_of(iter([b"--edge--\r\n"]), "edge")) == []


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [("multipart/form-data; boundary=edge", "edge"), ('Multipart/Mixed; charset=x; boundary="a b"', "a b")],
)
def test_a_boundary_is_read(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["", "text/html", "multipart/mixed", "multipart/mixed; boundary=" + "x" * 300])
def test_what_is_no_multipart_is_tried_later(content_type: str) -> None:
    with pytest.raises(Retry, match="multipart"):
        boundary_of(content_type)
