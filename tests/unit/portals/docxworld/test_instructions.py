"""Small JSON drops: read strictly, every mistake named with its field."""

from io import BytesIO

import pytest

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.instructions import LIMIT_BYTES, message, one_of, read_instructions
from amtsbote.portals.protocols import Drop

CHECKS = {"state": one_of(("YES", "NO"), needed=True), "option": one_of(("A", "B"), needed=False), "message": message}


def a_drop(content: bytes, *, size: int | None = None, name: str = "a.json") -> Drop:
    return Drop(
        key=f"docxworld/klinikum/t/{name}",
        version_id="v1",
        path=("t", name),
        size=len(content) if size is None else size,
        content_type="application/json",
        metadata={},
        reference="amtsbote-1",
        read=lambda start, length: BytesIO(content[start : start + length]),
    )


@pytest.mark.parametrize("content", [b'{"state": "YES"}', b'\n{"state": "NO", "option": null, "message": ""}'])
def test_what_is_well_is_returned_as_it_is(content: bytes) -> None:
    assert read_instructions(a_drop(content), "WRONG", CHECKS)["state"] in ("YES", "NO")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"{}", "state must be YES or NO"),
        (b'{"state": null}', "state must be YES or NO"),
        (b'{"state": ["YES"]}', "state must be YES or NO"),
        (b'{"state": "yes"}', "state must be YES or NO"),
        (b'{"state": "YES", "option": "C"}', "option must be A or B, or left out"),
        (b'{"state": "YES", "message": {}}', "message must be a text of at most 255 characters, or left out"),
        (b'{"state": "YES", "Message": "x"}', "'Message' is unknown; the fields are state, option, message"),
        (b'{"state": "YES", "state": "NO"}', "names a field twice"),
        (b"[]", "must be a JSON object"),
        (b"", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 60_000, "is no JSON"),
    ],
)
def test_a_mistake_is_named(content: bytes, named: str) -> None:
    with pytest.raises(Reject, match=r"a\.json") as raised:
        read_instructions(a_drop(content), "WRONG", CHECKS)
    assert raised.value.code == "WRONG" and named in raised.value.message


@pytest.mark.parametrize("content", [b"{}", b"[]", b"no JSON", b'{"x": 1}', b"x" * (LIMIT_BYTES + 1)])
def test_the_name_of_a_letter_does_not_get_into_an_error(content: bytes) -> None:
    with pytest.raises(Reject, match=r"cancel\.json") as raised:
        read_instructions(a_drop(content, name="Kanarienvogel.pdf.cancel.json"), "WRONG", CHECKS)
    assert "Kanarienvogel" not in raised.value.message


def test_a_message_may_have_255_characters_whatever_their_bytes() -> None:
    assert message("ü" * 255) is None
    assert message("ü" * 256) == "a text of at most 255 characters; it has 256, or left out"


def test_what_is_too_large_is_not_even_read() -> None:
    with pytest.raises(Reject, match=f"has {LIMIT_BYTES + 1} bytes"):
        read_instructions(a_drop(b"", size=LIMIT_BYTES + 1), "WRONG", CHECKS)
