"""One document's whole life: its steps, its files, its receipt, and what may be decided about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from amtsbote.deliveries import DropState
from amtsbote.errors import Reject
from amtsbote.lifecycle import Past, State
from amtsbote.operations.details import Detail, receipt, show
from amtsbote.operations.documents import Direction
from console.desk import Desk, name_in
from console.headlines import headline
from console.views.files import files_of

DECISIONS: Mapping[str, tuple[str, ...]] = {
    State.QUARANTINED: ("retry", "release", "keep"),
    State.UNAVAILABLE: ("retry",),
    State.STORED: ("acknowledge",),
    DropState.FAILED: ("retry",),
}
"""What a person may decide in each state; the operations refuse what does not fit after all."""
OURS = frozenset({*State, *DropState})


@dataclass(frozen=True)
class Progress:
    """How many bytes of a delivery the portal has."""

    sent: int
    total: int


def view(desk: Desk, request: Request) -> Response:
    """Show everything about one document."""
    detail = show(desk.office, name_in(request))
    said = _receipt_of(desk, detail)
    return desk.pages.show(
        request,
        "document.html",
        detail=detail,
        document=detail.document,
        headline=_headline(detail),
        files=files_of(desk.office, detail),
        steps=steps_of(detail),
        ours=OURS,
        receipt=said,
        progress=progress_of(said),
        is_moving=is_moving(detail),
        decisions=decisions_for(detail),
        another_version=request.query_params.get("version", "") not in ("", detail.document.version_id),
    )


def view_progress(desk: Desk, request: Request) -> Response:
    """Show how far a delivery is; where it has ended, have the browser read the whole page again."""
    detail = show(desk.office, name_in(request))
    answer = desk.pages.show(
        request,
        "progress_part.html",
        document=detail.document,
        progress=progress_of(_receipt_of(desk, detail)),
        is_moving=is_moving(detail),
    )
    if not is_moving(detail):
        answer.headers["HX-Refresh"] = "true"
    return answer


def steps_of(detail: Detail) -> list[Past]:
    """Return our own steps and the portal's in the order of time."""
    return sorted((*detail.history, *detail.steps), key=lambda past: past.at)


def is_moving(detail: Detail) -> bool:
    """Return whether a delivery is under way."""
    return detail.document.state in (DropState.RECEIVED, DropState.SENDING, DropState.SENT)


def progress_of(said: Mapping[str, Any] | None) -> Progress | None:
    """Return how far a receipt says that the bytes are; None where it does not."""
    result = (said or {}).get("result") or {}
    sent, total = result.get("bytesSent"), result.get("bytesTotal")
    return Progress(sent, total) if isinstance(sent, int) and isinstance(total, int) and total > 0 else None


def decisions_for(detail: Detail) -> tuple[str, ...]:
    """Return what may be decided about a document as it is now."""
    failure = detail.failure
    if failure is not None and not failure.retryable:
        return ()
    return DECISIONS.get(detail.document.state, ())


def _headline(detail: Detail) -> str:
    if detail.document.direction is Direction.OUT:
        return detail.document.id.rpartition("/")[2]
    return headline(detail.metadata, [file.name for file in detail.files]) or detail.document.id


def _receipt_of(desk: Desk, detail: Detail) -> dict[str, Any] | None:
    if detail.document.direction is Direction.IN:
        return None
    try:
        return receipt(desk.office, detail.document.id)
    except Reject:
        return None
