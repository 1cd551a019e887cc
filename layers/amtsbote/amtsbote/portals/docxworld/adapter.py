"""docxworld as a Source of results and reports."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from amtsbote.errors import Misconfigured, Quarantine, Reject, Retry, Unavailable
from amtsbote.http import Transport
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.connection import Downloader
from amtsbote.portals.docxworld.models import Download, DownloadType, Role
from amtsbote.portals.docxworld.presigned import opened
from amtsbote.portals.docxworld.roles import DOWNLOADER_ROLES, ROLE_REFUSALS
from amtsbote.portals.protocols import (
    Acknowledgement,
    AcknowledgeOutcome,
    Finding,
    IncomingFile,
    Item,
    LeftOut,
    Record,
)

ACKNOWLEDGE_BATCH = 25  # each item is a call of its own; this many fit into one invocation
ANY_CONTENT = "application/octet-stream"
THROTTLED = "PORTAL_THROTTLED"


class DocxworldSource:
    """The downloads of one account (page, "Download")."""

    acknowledge_batch = ACKNOWLEDGE_BATCH

    def __init__(self, client: DocxworldClient, transport: Transport, downloader: Downloader) -> None:
        self._client = client
        self._transport = transport
        self._downloader = downloader

    def discover(self, since: datetime | None) -> list[Finding | LeftOut]:  # noqa: ARG002  (the protocol's)
        """Return all downloads that nobody has acknowledged; `since` is ignored, the portal's list is exact.

        A row that is no download is left out.
        """
        listed = [each for kind in self._downloader.types for each in self._listed(kind)]
        found = {each.id: each for each in listed if isinstance(each, Finding)}
        return [*found.values(), *(each for each in listed if isinstance(each, LeftOut))]

    def _listed(self, kind: DownloadType) -> list[Finding | LeftOut]:
        from amtsbote.portals.docxworld.resources.downloads import DownloadFilter

        narrowed, role = DownloadFilter(downloaded=False, download_types=(kind,)), DOWNLOADER_ROLES[kind]
        try:
            return [_finding(record, kind) for record in self._client.downloads.records(narrowed, role=role)]
        except Misconfigured as error:
            if error.code not in ROLE_REFUSALS:
                raise
            mend = f"downloader.types names {kind}, for which the account needs {role}"
            raise Misconfigured(error.code, f"{error.message}; {mend}", portal_words=error.portal_words) from error

    def fetch(self, item: Item) -> Iterator[IncomingFile]:
        """Stream the download's one file from its presigned address, to which no credentials go.

        Retry where the address is refused, Unavailable where the file is gone.
        """
        name = item.record.get("fileName")
        link = self._client.downloads.generate_link(item.id, role=_role(item))
        with opened(self._transport, link.download_link) as answer:
            yield IncomingFile(
                name=name or item.id,
                chunks=of_recorded_size(answer.chunks, item.record),
                content_type=answer.headers.get("Content-Type", ANY_CONTENT),
                size=answer.size,
                portal_name=name,
            )

    def acknowledge(self, items: Sequence[Item]) -> Iterator[Acknowledgement]:
        """Tell docxworld which downloads are safe, one call each; a failed one does not stop the others.

        A throttle or a wrong connection is raised: the remaining calls would meet the same.
        """
        for item in items:
            yield self._acknowledge(item)

    def _acknowledge(self, item: Item) -> Acknowledgement:
        try:
            self._client.downloads.acknowledge(
                item.id, client_id=self._downloader.client_id, reference_id=item.prefix, role=_role(item)
            )
        except (Unavailable, Reject) as error:
            return Acknowledgement(item.id, AcknowledgeOutcome.UNAVAILABLE, error.code)
        except Retry as error:
            if error.code == THROTTLED:
                raise
            return Acknowledgement(item.id, AcknowledgeOutcome.TRY_AGAIN, error.code)
        return Acknowledgement(item.id, AcknowledgeOutcome.DONE, "ACKNOWLEDGED")


def _finding(record: Any, kind: DownloadType) -> Finding | LeftOut:
    try:
        download = Download.model_validate(record)
    except ValidationError as error:
        fields = {str(wrong["loc"][0]) for wrong in error.errors(include_input=False) if wrong["loc"]}
        id_ = record.get("id") if isinstance(record, dict) else None
        return LeftOut(tuple(sorted(fields)), id_ if isinstance(id_, str) else None)
    return Finding(download.id, download.created, record, hints={"type": str(kind)})


def of_recorded_size(chunks: Iterator[bytes], record: Record) -> Iterator[bytes]:
    """Pass the chunks on; Quarantine after the last one where docxworld's record announced another size.

    What looks like a passing fault is fetched again. Nothing is held, so that a file of any size passes.
    """
    received = 0
    for chunk in chunks:
        received += len(chunk)
        yield chunk
    expected = record.get("size")
    if expected is not None and received != expected:
        said = f"the file has {received} bytes, docxworld's record of it says {expected}"
        raise Quarantine("SIZE_DIFFERS", said, may_pass=True)


def _role(item: Item) -> Role:
    """Return the role that may read this item: each type of download has its own."""
    kind = item.hints.get("type") or item.record.get("type")
    try:
        return DOWNLOADER_ROLES[DownloadType(str(kind))]
    except ValueError:
        raise Reject("DOWNLOAD_TYPE_UNKNOWN", f"{str(kind)[:40]!r} is neither RESULT nor REPORT") from None
