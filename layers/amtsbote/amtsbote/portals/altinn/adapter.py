"""Altinn as a Source of instances that nobody has confirmed yet."""

import mimetypes
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import BinaryIO

from pydantic import ValidationError

from amtsbote.errors import OutOfTime, Quarantine, Reject, Retry, Unavailable
from amtsbote.http import CHUNK_BYTES, Answer
from amtsbote.portals.altinn.client import AltinnClient
from amtsbote.portals.altinn.connection import AltinnSecret, Dialect
from amtsbote.portals.altinn.content import ANY_CONTENT, JSON_TYPE, media_type
from amtsbote.portals.altinn.models import (
    INFECTED,
    DataElement,
    Instance,
    InstanceId,
    Listed,
    Record,
    id_of,
    read,
    waits_for_scan,
)
from amtsbote.portals.altinn.queries import Bound, InstanceQuery, Operator
from amtsbote.portals.protocols import (
    Acknowledgement,
    AcknowledgeOutcome,
    Finding,
    IncomingFile,
    Item,
    LeftOut,
)

ACKNOWLEDGE_BATCH = 25  # each instance is a call of its own; this many fit into one invocation
INSTANCE_FILE = "instance.json"
APP_ID = "appId"
VIRUS_SCAN = "virus scan"
OLDEST_CHANGE_FIRST = "asc:lastChanged"
PORTAL_THROTTLED = "PORTAL_THROTTLED"
PATH_SEPARATOR = re.compile(r"[/\\]")
EXTENSIONS = {  # the ones that matter here, so that a name does not depend on the machine's own tables
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/xml": ".xml",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "text/plain": ".txt",
    "text/xml": ".xml",
}


class AltinnSource:
    """The instances of one organisation's apps that it has not confirmed yet. Identity is party id and guid."""

    acknowledge_batch = ACKNOWLEDGE_BATCH

    def __init__(self, client: AltinnClient, secret: AltinnSecret) -> None:
        self._client = client
        self._secret = secret

    def discover(self, since: datetime | None) -> list[Finding | LeftOut]:
        """Return the instances of all apps that are still to be fetched, each once; all pages are read first.

        v1 ignores `since`: the portal itself lists just what is not confirmed, and of that nothing may be missed. The
        proposal has no such filter, so there `since` keeps the list short: whatever happens to an instance moves its
        lastChanged, and the caller holds `since` back for what it has not settled.
        """
        self._client.freshen()
        found: dict[str, Finding] = {}
        left_out: list[LeftOut] = []
        for app_id in dict.fromkeys(self._secret.apps):
            for record in self._client.storage.instances(self._query(app_id, since)):
                finding = self._finding(record, app_id)
                if isinstance(finding, LeftOut):
                    left_out.append(finding)
                elif finding is not None:
                    found[finding.id] = finding
        return [*found.values(), *left_out]

    def _query(self, app_id: str, since: datetime | None) -> InstanceQuery:
        task = self._secret.current_task
        if self._secret.dialect is Dialect.PROPOSAL:
            changed = () if since is None else (Bound(Operator.FROM, since),)
            return InstanceQuery(app_id=app_id, current_task=task, last_changed=changed)
        return InstanceQuery(
            app_id=app_id, current_task=task, order=OLDEST_CHANGE_FIRST, confirmed=False, is_hard_deleted=False
        )

    def _finding(self, record: Record, app_id: str) -> Finding | LeftOut | None:
        """Return what was found; None where there is nothing to fetch."""
        try:
            listed = Listed.model_validate(record)
            id_ = str(id_of(listed))
        except (ValidationError, Reject):
            return LeftOut(("id",))
        if (listed.status is not None and listed.status.deleted_for_good) or self._is_confirmed(listed):
            return None
        waiting = VIRUS_SCAN if waits_for_scan(listed.elements) else None
        # the proposal says of files only that they are confirmed, so an instance without any goes on being listed
        stays = self._secret.dialect is Dialect.PROPOSAL and not listed.elements
        return Finding(id_, listed.last_changed, record, waiting, {APP_ID: app_id}, stays=stays)

    def _is_confirmed(self, listed: Listed) -> bool:
        """Return whether all files are confirmed, which in the proposal only the files say (v1 lists no such ones)."""
        elements = listed.elements
        by_files = self._secret.dialect is Dialect.PROPOSAL and bool(elements)
        return by_files and all(element.is_confirmed for element in elements)

    # --- fetch -------------------------------------------------------------------------------------------------------

    def fetch(self, item: Item) -> Iterator[IncomingFile]:
        """Stream `instance.json`, as it is now and byte by byte, then each data element.

        Unavailable when the instance is gone, Retry while its files are scanned. Of an infected instance only
        `instance.json` is handed out, to be quarantined: the infected bytes never leave the portal.
        """
        self._client.freshen()
        instance_id = InstanceId.parse(item.id)
        answer = self._client.storage.get_answer(instance_id)
        instance = read(Instance, answer.json())
        if instance.deleted_for_good:
            raise Unavailable("HARD_DELETED", "the instance was deleted for good")
        if waits_for_scan(instance.present):
            raise Retry("VIRUS_SCAN_PENDING", "the portal has not scanned all files of the instance yet")
        infected = [element for element in instance.present if element.file_scan_result == INFECTED]
        yield _instance_file(answer, infected)
        if infected:
            raise _infection(len(infected))
        for element in instance.present:
            yield from self._file(instance_id, element)

    def _file(self, instance: InstanceId, element: DataElement) -> Iterator[IncomingFile]:
        with self._client.storage.open_data(instance, element.id) as answer:
            yield IncomingFile(
                name=f"{element.id}-{file_name_of(element)}",
                chunks=answer.chunks,
                content_type=media_type(element.content_type or ANY_CONTENT),
                size=answer.size if element.size is None else element.size,
                portal_name=element.filename,
            )

    # --- acknowledge -------------------------------------------------------------------------------------------------

    def acknowledge(self, items: Sequence[Item]) -> Iterator[Acknowledgement]:
        """Confirm each instance by a call of its own; a refused one does not stop the others.

        Repeating is safe. A throttle or a wrong connection is raised: the remaining calls would meet the same.
        """
        self._client.freshen()
        for item in items:
            yield self._acknowledge(item.id)

    def _acknowledge(self, id_: str) -> Acknowledgement:
        try:
            return Acknowledgement(id_, AcknowledgeOutcome.DONE, self._confirm(InstanceId.parse(id_)))
        except (Unavailable, Reject) as error:
            return Acknowledgement(id_, AcknowledgeOutcome.UNAVAILABLE, error.code)
        except OutOfTime as error:
            return Acknowledgement(id_, AcknowledgeOutcome.TRY_AGAIN, error.code)
        except Retry as error:
            if error.code in (PORTAL_THROTTLED, "LOGIN_UNAVAILABLE") or error.after_seconds is not None:
                raise
            return Acknowledgement(id_, AcknowledgeOutcome.TRY_AGAIN, error.code)

    def _confirm(self, instance: InstanceId) -> str:
        """Return what was done, as a stable code; Retry where the answer is a page of something else."""
        by_files = self._secret.dialect is Dialect.PROPOSAL
        storage = self._client.storage
        answer = storage.confirm_download(instance) if by_files else storage.complete(instance)
        if answer.body.strip():
            answer.json()
        return "DOWNLOAD_CONFIRMED" if by_files else "COMPLETED"


def _instance_file(answer: Answer, infected: Sequence[DataElement]) -> IncomingFile:
    body = memoryview(answer.body)
    pieces = (bytes(body[start : start + CHUNK_BYTES]) for start in range(0, len(body), CHUNK_BYTES))

    def refuse(_: BinaryIO) -> None:
        raise _infection(len(infected))

    return IncomingFile(INSTANCE_FILE, pieces, JSON_TYPE, size=len(body), verify=refuse if infected else None)


def _infection(files: int) -> Quarantine:
    return Quarantine("INFECTED", f"the portal found a virus in {files} of the instance's files; none was fetched")


def file_name_of(element: DataElement) -> str:
    """Return a data element's own file name; where it has none, its data type with an extension of its content.

    Without the path that some name comes with: what is put before it would be taken for a part of that.
    """
    last = PATH_SEPARATOR.split(element.filename or "")[-1]
    if last:
        return last
    kind = (element.content_type or "").split(";")[0].strip().lower()
    extension = EXTENSIONS.get(kind) or mimetypes.guess_extension(kind) or ""
    return (element.data_type or "data") + extension
