"""docxworld as the verbs see it: a Source of results and reports, a Destination for uploads."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from amtsbote.errors import Misconfigured, Quarantine, Reject, Retry, Unavailable
from amtsbote.http import Transport
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.connection import DocxworldSecret, Downloader
from amtsbote.portals.docxworld.models import Download, DownloadType, Role, read
from amtsbote.portals.docxworld.presigned import opened
from amtsbote.portals.docxworld.roles import DOWNLOADER_ROLES, ROLE_REFUSALS
from amtsbote.portals.portal import Connection, Portal, Rotation, Tools
from amtsbote.portals.protocols import (
    Acknowledgement,
    AcknowledgeOutcome,
    Destination,
    Drop,
    Finding,
    IncomingFile,
    Item,
    Record,
    Source,
)

ACKNOWLEDGE_BATCH = 25  # each item is a call of its own; this many fit into one invocation
ANY_CONTENT = "application/octet-stream"
THROTTLED = "PORTAL_THROTTLED"
GENERATION = re.compile(r"\.[2-9]$")  # of an upload that replaces another one (`uploads.reference_of_generation`)


class DocxworldSource:
    """The downloads of one account (page, "Download")."""

    acknowledge_batch = ACKNOWLEDGE_BATCH

    def __init__(self, client: DocxworldClient, transport: Transport, downloader: Downloader) -> None:
        self._client = client
        self._transport = transport
        self._downloader = downloader

    def discover(self, since: datetime | None) -> list[Finding]:  # noqa: ARG002  (the protocol's)
        """Return all downloads that nobody has acknowledged; `since` is ignored, the portal's list is exact."""
        found = {finding.id: finding for kind in self._downloader.types for finding in self._listed(kind)}
        return list(found.values())

    def _listed(self, kind: DownloadType) -> list[Finding]:
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


def _finding(record: Record, kind: DownloadType) -> Finding:
    download = read(Download, record)
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


def _client(secret: DocxworldSecret, tools: Tools) -> DocxworldClient:
    return DocxworldClient.of(
        secret.base_url, secret.auth, transport=tools.transport, tokens=tools.tokens, clock=tools.clock
    )


def source(connection: Connection, tools: Tools) -> Source | None:
    """Return the downloads of a connection, None where it has no `downloader`."""
    secret: DocxworldSecret = connection.secret
    if secret.downloader is None:
        return None
    return DocxworldSource(_client(secret, tools), tools.transport, secret.downloader)


def destination(connection: Connection, tools: Tools) -> Destination | None:
    """Return what is sent from a connection, None where it has no `uploader`."""
    from amtsbote.portals.docxworld.outgoing import Outgoing
    from amtsbote.portals.docxworld.uploads import DocxworldDestination

    secret: DocxworldSecret = connection.secret
    if secret.uploader is None:
        return None
    return Outgoing(
        DocxworldDestination(_client(secret, tools), tools, secret.uploader, f"{connection.prefix} {secret.base_url}"),
        secret.auth,
    )


def rotation() -> Rotation:
    """Return how the client secret of a technical access is rotated; loaded by the one function that does it."""
    from amtsbote.portals.docxworld.rotation import ROTATION

    return ROTATION


def answered_as(drop: Drop) -> str | None:
    """Return the `referenceId` of an upload, which its results carry; None for what is no upload."""
    from amtsbote.portals.docxworld.orders import reference_of
    from amtsbote.portals.docxworld.outgoing import is_upload

    try:
        return reference_of(drop) if is_upload(drop) else None
    except Reject:  # the delivery says so
        return None


def answers(record: Record) -> str | None:
    """Return the `referenceId` of the upload that a download comes from, without the counter of one sent anew."""
    reference = record.get("referenceId")
    return GENERATION.sub("", reference) if isinstance(reference, str) and reference else None


PORTAL = Portal("docxworld", DocxworldSecret, source, destination, rotation, answered_as, answers)
