"""What a draft is asked for with, and how its following is written down."""

from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO

import pytest

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.drafts import FILE_LIMIT_BYTES, Followed, check, metadata_of, order_of
from amtsbote.portals.docxworld.models import DownloadType
from amtsbote.portals.protocols import Drop

RESULT = {"download-type": "RESULT"}


def a_drop(metadata: Mapping[str, str] = RESULT, *, size: int = 3, name: str = "daten.xml") -> Drop:
    return Drop(
        key=f"docxworld/klinikum/drafts/W1/{name}",
        version_id="v1",
        path=("drafts", "W1", name),
        size=size,
        content_type="application/xml",
        metadata=metadata,
        reference="amtsbote-1",
        read=lambda start, length: BytesIO(b"abc"[start : start + length]),
    )


def test_all_that_is_not_meant_for_us_is_the_drafts_metadata() -> None:
    metadata = {**RESULT, "reference-id": "external-42", "sourcesystem": "sap", "a.b_c-1": ""}
    assert order_of(a_drop(metadata), DownloadType.RESULT, "t1").body() == {
        "targetId": "t1",
        "fileName": "daten.xml",
        "downloadType": "RESULT",
        "referenceId": "external-42",
        "metadata": {"sourcesystem": "sap", "a.b_c-1": ""},
    }


@pytest.mark.parametrize("given", [{}, {"reference-id": " "}])
def test_without_a_reference_the_drops_own_goes(given: Mapping[str, str]) -> None:
    assert order_of(a_drop({**RESULT, **given}), DownloadType.RESULT, "t1").reference_id == "amtsbote-1"


@pytest.mark.parametrize("key", ["a b", "a+b", "ä", "", "a/b"])
def test_a_name_with_other_characters_is_named(key: str) -> None:
    with pytest.raises(Reject, match="METADATA_INVALID") as raised:
        metadata_of({key: "1"})
    assert repr(key) in raised.value.message


def test_names_that_differ_in_case_only_are_both_named() -> None:
    with pytest.raises(Reject, match=r"'Run' and 'run' differ in case only"):
        metadata_of({"run": "1", "Run": "2"})


def test_2_kb_of_keys_and_base64_go_along_and_no_byte_more() -> None:
    assert metadata_of({"key": "x" * 1533}) == {"key": "x" * 1533}
    with pytest.raises(Reject, match=r"have 2053 bytes in base64, at most 2048 go along; the largest is 'key'"):
        metadata_of({"key": "x" * 1536, "a": ""} | {"b": ""})


@pytest.mark.parametrize(
    ("drop", "code"),
    [
        (a_drop({}), "DOWNLOAD_TYPE_INVALID"),
        (a_drop({"download-type": "result"}), "DOWNLOAD_TYPE_INVALID"),
        (a_drop(size=0), "FILE_EMPTY"),
        (a_drop(size=FILE_LIMIT_BYTES + 1), "FILE_TOO_LARGE"),
        (a_drop(name=" "), "KEY_FITS_NO_RULE"),
        (a_drop({**RESULT, "a b": "1"}), "METADATA_INVALID"),
    ],
)
def test_what_docxworld_would_not_take_is_refused_by_name(drop: Drop, code: str) -> None:
    with pytest.raises(Reject) as raised:
        check(drop)
    assert raised.value.code == code


def test_what_is_followed_can_be_read_back() -> None:
    followed = Followed(DownloadType.REPORT, "d1", datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert Followed.of(followed.text()) == followed
