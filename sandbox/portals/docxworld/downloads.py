"""Downloads: what lies ready for whom, links to it, its acknowledgement by one client, and drafts to be filled."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sandbox.portals.server import Clock

from .catalogue import Catalogue, Target, contains
from .errors import RefusedError, invalid, not_found, refused
from .fields import Body, Query, page_of, show_instant
from .identity import Account
from .storage import META_PREFIX, Storage

TYPES = ("RESULT", "REPORT")
TYPES_OF_ROLE: Mapping[str, tuple[str, ...]] = {
    "ROLE_CUSTOMER_DOWNLOADER_RESULTS": ("RESULT",),
    "ROLE_CUSTOMER_DOWNLOADER_REPORTS": ("REPORT",),
}
FILTERS = (
    "targets", "customerContract", "companyId", "downloaded", "downloadTypes", "freeSearch", "referenceId", "page",
    "size", "sort",
)  # fmt: skip
MAX_CLIENT_ID = 255
METADATA_KEY = re.compile(r"[A-Za-z0-9._-]+")
MAX_METADATA_BYTES = 2048
METADATA_PREFIX = f"{META_PREFIX}x-pf-"


class Readiness(Enum):
    """Whether the file of a download is there; ERROR is a draft whose upload did not carry its metadata."""

    DRAFT = "DRAFT"
    READY = "READY"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Acknowledgement:
    """Who took a download, when, and under which reference."""

    download_id: str
    client_id: str
    reference_id: str | None
    at: datetime
    account: Account | None


@dataclass
class Download:
    """A file for somebody to fetch. `process_id` is the upload it came from, if there was one; `recorded_size` is what
    its record says of the file where that is wrong."""

    target: Target
    type: str
    file_name: str
    created: datetime
    reference_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    process_id: str | None = None
    readiness: Readiness = Readiness.READY
    acknowledged: Acknowledgement | None = None
    link_generated: bool = False
    recorded_size: int | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def key(self) -> str:
        """Where the file is stored."""
        return f"dwc-download/{self.id}-{self.file_name.replace('/', '_')}"

    def show_in_upload(self) -> dict[str, Any]:
        """The download as its upload shows it."""
        taken = self.acknowledged
        return {
            "id": self.id,
            "type": self.type,
            "created": show_instant(self.created),
            "downloaded": show_instant(taken.at) if taken else None,
            "downloadedBy": taken.account.id if taken and taken.account else None,
            "downloadedByClient": taken.client_id if taken else None,
            "downloadedReferenceId": taken.reference_id if taken else None,
        }

    def show(self, size: int | None) -> dict[str, Any]:
        """The download as its list shows it."""
        taken = self.acknowledged
        return {
            **self.show_in_upload(),
            "referenceId": self.reference_id,
            "fileName": self.file_name,
            "customerContract": self.target.workflow.customer_contract,
            "targetId": self.target.id,
            "targetName": self.target.workflow.name,
            "downloadLinkGenerated": self.link_generated,
            "downloaderEmail": taken.account.login if taken and taken.account else None,
            "size": size,
            "metadata": dict(self.metadata),
        }

    def draft_headers(self) -> dict[str, str]:
        """The headers that the upload of this draft must carry."""
        encoded = {name.lower(): base64.b64encode(value.encode()).decode() for name, value in self.metadata.items()}
        contract = {f"{META_PREFIX}contractnumber": self.target.workflow.customer_contract or ""}
        return {**{METADATA_PREFIX + name: value for name, value in encoded.items()}, **contract}


class Downloads:
    """All downloads. With `draft_headers_signed` the storage itself refuses a draft's upload without its headers;
    without it, the upload is taken and the draft marked as an error. `draft_ids` are those of the next drafts, so that
    somebody can know them beforehand; further ones get ids of their own."""

    def __init__(self, clock: Clock, storage: Storage, catalogue: Catalogue) -> None:
        self.clock, self.storage, self.catalogue = clock, storage, catalogue
        self.link_seconds = 548767
        self.upload_link_seconds = 3587
        self.draft_headers_signed = True
        self.draft_ids: list[str] = []
        self.downloads: dict[str, Download] = {}
        self.acknowledgements: list[Acknowledgement] = []

    def of_upload(self, process_id: str) -> list[dict[str, Any]]:
        """The downloads of an upload, as uploads show them."""
        return [each.show_in_upload() for each in self.downloads.values() if each.process_id == process_id]

    def add(self, download: Download, content: bytes | Path) -> Download:
        """Lay a download ready."""
        self.storage.put_content(download.key, content)
        self.downloads[download.id] = download
        return download

    def remove(self, download_id: str) -> None:
        """Take a download and its file away, as if docxworld had cleaned up."""
        self.storage.objects.pop(self.downloads.pop(download_id).key, None)

    # --- looking ---

    def list_downloads(self, account: Account, role: str | None, query: Query) -> dict[str, Any]:
        """GET /v1/downloads."""
        matches = _filter(query)
        found = [each for each in self.downloads.values() if self._sees(account, role, each) and matches(each)]
        return page_of(query, found, SORTS, self._show)

    def download(self, account: Account, role: str | None, download_id: str) -> dict[str, Any]:
        """GET /v1/downloads/{id}."""
        return self._show(self._visible(account, role, download_id))

    def _sees(self, account: Account, role: str | None, download: Download) -> bool:
        typed = download.type in TYPES_OF_ROLE.get(role or "", TYPES)
        return typed and download.readiness is Readiness.READY and account.may_use(download.target.id)

    def _visible(self, account: Account, role: str | None, download_id: str) -> Download:
        download = self.downloads.get(download_id)
        if download is None or not self._sees(account, role, download):
            raise not_found("client.download_not_exists", "Download not exists exception", download_id)
        return download

    def _show(self, download: Download) -> dict[str, Any]:
        stored = self.storage.objects.get(download.key)
        size = stored.size if stored else None
        return download.show(size if download.recorded_size is None else download.recorded_size)

    def link(self, account: Account, role: str | None, download_id: str) -> dict[str, Any]:
        """GET /v1/downloads/{id}/generate-link."""
        download = self._visible(account, role, download_id)
        if download.key not in self.storage.objects:
            raise not_found("client.file_not_exists", "File not exists exception", download_id)
        download.link_generated = True
        url = self.storage.presign("GET", download.key, self.link_seconds)
        return {"id": download.id, "downloadLink": url}

    # --- acknowledging ---

    def acknowledge(self, account: Account, role: str | None, download_id: str, body: Body) -> dict[str, Any]:
        """POST /v1/downloads/{id}/acknowledge: the first client has it, and may say so again."""
        client_id = body.required_text("clientId", MAX_CLIENT_ID)
        reference_id = body.text("referenceId", MAX_CLIENT_ID, at_least=1)
        body.close()
        download = self._visible(account, role, download_id)
        if download.acknowledged is None:
            self.take(download, client_id, reference_id, account)
        elif download.acknowledged.client_id != client_id:
            raise _already_saved(download_id, download.acknowledged.client_id)
        return self._show(download)

    def take(self, download: Download, client_id: str, reference_id: str | None, account: Account | None) -> None:
        """The download belongs to this client from now on."""
        taken = Acknowledgement(download.id, client_id, reference_id, self.clock(), account)
        download.acknowledged = taken
        self.acknowledgements.append(taken)

    # --- drafts ---

    def draft(self, account: Account, body: Body) -> dict[str, Any]:
        """POST /v1/downloads/."""
        target_id, file_name = body.required_uuid("targetId"), body.required_text("fileName")
        kind, reference_id = body.required_choice("downloadType", TYPES), body.required_text("referenceId")
        metadata = body.strings("metadata")
        body.close()
        _check_metadata(metadata)
        target = self.catalogue.named(
            account, target_id, not_found("client.target_not_exists", "Target not exists exception")
        )
        if not target.workflow.customer_contract:
            raise refused("client.target_customer_contract_missing", "Target customer contract missing", target_id)
        draft = Download(target, kind, file_name, self.clock(), reference_id, metadata, readiness=Readiness.DRAFT)
        draft.id = self.draft_ids.pop(0) if self.draft_ids else draft.id
        self.downloads[draft.id] = draft
        return self._draft_answer(draft)

    def _draft_answer(self, draft: Download) -> dict[str, Any]:
        headers = draft.draft_headers()
        signed = headers if self.draft_headers_signed else {}
        url = self.storage.presign("PUT", draft.key, self.upload_link_seconds, signed)
        return {"id": draft.id, "headers": headers, "uploadUrl": url}

    def is_draft(self, key: str) -> bool:
        """Whether this key is that of a draft, whose metadata need not be signed."""
        return any(each.key == key and each.readiness is not Readiness.READY for each in self.downloads.values())

    def stored(self, key: str) -> None:
        """The storage tells that a draft's file is there; what does not carry its metadata is marked as an error."""
        draft = next((each for each in self.downloads.values() if each.key == key), None)
        if draft is not None and draft.readiness is Readiness.DRAFT:
            fits = self.storage.objects[key].metadata == draft.draft_headers()
            draft.readiness = Readiness.READY if fits else Readiness.ERROR


SORTS: Mapping[str, Callable[[Download], Any]] = {
    "created": lambda download: download.created,
    "targetName": lambda download: download.target.workflow.name,
    "type": lambda download: download.type,
}


def _filter(query: Query) -> Callable[[Download], bool]:
    targets, references = query.uuids("targets"), query.many("referenceId")
    types, downloaded, free = query.many("downloadTypes", TYPES), query.flag("downloaded"), query.one("freeSearch")
    contract, company = query.one("customerContract"), query.one("companyId")

    def matches(download: Download) -> bool:
        workflow = download.target.workflow
        return (
            (not targets or download.target.id in targets)
            and (not references or download.reference_id in references)
            and (not types or download.type in types)
            and downloaded in (None, download.acknowledged is not None)
            and contract in (None, workflow.customer_contract)
            and company in (None, workflow.company_id)
            and contains(free, workflow.name, download.file_name, download.id, download.reference_id)
        )

    return matches


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if any(METADATA_KEY.fullmatch(name) is None for name in metadata):
        raise invalid("metadata: keys must match [A-Za-z0-9._-]+")
    if len({name.lower() for name in metadata}) < len(metadata):
        raise invalid("metadata: keys must be unique ignoring case")
    footprint = sum(len(name) + len(base64.b64encode(value.encode())) for name, value in metadata.items())
    if footprint > MAX_METADATA_BYTES:
        raise invalid("metadata: more than 2 KB")


def _already_saved(download_id: str, client_id: str) -> RefusedError:
    debug = f"Download with id '{download_id}' was already marked as acknowledged by client '{client_id}'"
    return RefusedError(
        HTTPStatus.CONFLICT, "client.download_already_saved", "Download was marked as saved already", debug
    )
