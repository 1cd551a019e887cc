"""From a drop to an upload order: references, priority, and every drop that docxworld would not take."""

from collections.abc import Mapping
from io import BytesIO

import pytest

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.orders import BACKEND_REFERENCE_LIMIT, check, order_of, reference_of
from amtsbote.portals.protocols import Drop


def a_drop(*path: str, size: int = 3, reference: str = "amtsbote-1", metadata: Mapping[str, str] | None = None) -> Drop:
    return Drop(
        key="docxworld/klinikum/" + "/".join(path or ("W1", "brief.pdf")),
        version_id="v1",
        path=path or ("W1", "brief.pdf"),
        size=size,
        content_type="application/pdf",
        metadata=metadata or {},
        reference=reference,
        read=lambda start, length: BytesIO(b"abc"[start : start + length]),
    )


def test_a_plain_drop_asks_for_both_kinds_of_upload() -> None:
    assert order_of(a_drop(), "t1").body() == {
        "supportedUploadFeatures": ["MULTIPART"],
        "targetId": "t1",
        "referenceId": "amtsbote-1",
        "fileName": "brief.pdf",
        "priority": "NORMAL",
        "fileSize": 3,
    }


def test_priority_and_customer_references_come_from_the_user_metadata() -> None:
    metadata = {"priority": "HI", "customer-reference-1": "a", "customer-reference-6": "b" * 100, "mtime": "1"}
    order = order_of(a_drop(metadata=metadata), "t1")
    assert (order.priority, order.job_customer_reference1, order.job_customer_reference6) == ("HI", "a", "b" * 100)


def test_a_backends_reference_stands_in_front_of_ours() -> None:
    reference = reference_of(a_drop(metadata={"reference-id": "invoice 17"}))
    assert reference.startswith("invoice 17.")
    assert reference == reference_of(a_drop(metadata={"reference-id": "invoice 17"}))


def test_two_versions_under_one_reference_are_two_uploads() -> None:
    metadata = {"reference-id": "invoice 17"}
    first, second = (a_drop(metadata=metadata, reference=name) for name in ("amtsbote-1", "amtsbote-2"))
    assert reference_of(first) != reference_of(second)


def test_the_longest_reference_fits() -> None:
    assert len(reference_of(a_drop(metadata={"reference-id": "x" * BACKEND_REFERENCE_LIMIT}))) == 100


@pytest.mark.parametrize(
    ("drop", "named"),
    [
        (a_drop(metadata={"priority": "URGENT"}), "priority"),
        (a_drop(metadata={"reference-id": "x" * (BACKEND_REFERENCE_LIMIT + 1)}), "reference-id"),
        (a_drop(metadata={"customer-reference-2": "x" * 101}), "customer-reference-2"),
        (a_drop(metadata={"customer-reference-7": "x"}), "customer-reference-7"),
        (a_drop(size=0), "no bytes"),
        (a_drop("W1"), "key"),
        (a_drop("W1", "a", "b.pdf"), "key"),
    ],
)
def test_what_docxworld_would_not_take_is_refused_by_name(drop: Drop, named: str) -> None:
    with pytest.raises(Reject, match=named):
        order_of(drop, "t1")


def test_an_empty_file_is_refused_before_the_portal_is_asked() -> None:
    with pytest.raises(Reject):
        check(a_drop(size=0))
