"""What can be seen from outside: inbox, bus, portals, dead letters. Nothing of Amtsbote's own is asked."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from mypy_boto3_s3 import S3Client

from sandbox.demo.large import Transfer
from sandbox.demo.scenario import Fingerprint
from sandbox.portals.altinn import SimulatedAltinn
from sandbox.portals.catalog import Portals
from sandbox.portals.digitale_gemeinde import Document, SimulatedDigitaleGemeinde
from sandbox.portals.docxworld import Job, SimulatedDocxworld
from sandbox.portals.duba import MAGIC_LINK_LIFETIME, SimulatedDuba

READ_BYTES = 1024 * 1024
ASKING = (
    "/api/duba/v1/messages",
    "/v1/downloads",
    "/v1/targets",
    "/v1/workflows",
    "/Form/count",
    "/Form/search",
    "/storage/api/v1/instances",
)
LOGIN = (
    "/cognito",
    "/oauth2/token",
    "/Token",
    "/maskinporten/token",
    "/authentication/api/v1/exchange/maskinporten",
)
BY_API = "api"
AFTER_SLASH = chr(ord("/") + 1)


@dataclass(frozen=True)
class StoredObject:
    """One key of the inbox: how often it was written, what is there now; `text` for JSON only."""

    versions: int
    content: Fingerprint
    text: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Searched:
    """How much of each kind was read, how many private texts were looked for in it; which were there, and where."""

    read: Mapping[str, int] = field(default_factory=dict)
    looked_for: int = 0
    leaks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """The calls to AWS that IAM has judged by the functions' roles; `kinds`: each action of each function once."""

    calls: int = 0
    kinds: int = 0
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """The portal was told that we have an item: `client` and `reference` where the portal takes them."""

    portal: str
    id: str
    client: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Uploaded:
    """One upload as the portal has it; `content` is None while it is not complete. Of one that came `encrypted` it is
    what the portal has decrypted."""

    id: str
    target: str
    file_name: str
    content: Fingerprint | None
    portal: str = "docxworld"
    encrypted: bool = False


@dataclass(frozen=True)
class StatusSet:
    """A status that was set through the portal's API: of which document, as `<formId>/<documentId>`, or to which
    task which instance was moved."""

    portal: str
    id: str
    status: str


@dataclass(frozen=True)
class MagicLink:
    """A link that DUBA gave for a job. Who has the `token` can open the form."""

    job_id: str
    url: str
    token: str
    expires_at: datetime


@dataclass(frozen=True)
class Published:
    """One event of the stack's bus; `text` is its whole detail."""

    type: str
    portal: str
    id: str | None
    key: str | None
    status: str | None = None
    version_id: str | None = None
    text: str = field(default="", repr=False)

    @classmethod
    def of(cls, detail_type: str, detail: Mapping[str, Any]) -> Published:
        """From an event's detail type and detail."""
        return cls(
            detail_type,
            detail["portal"],
            detail["id"],
            detail["key"],
            detail.get("status"),
            detail.get("versionId"),
            json.dumps(detail),
        )


@dataclass(frozen=True)
class Observation:
    """Everything that was seen at one moment."""

    inbox: Mapping[str, StoredObject] = field(default_factory=dict)
    told: Sequence[Told] = ()
    uploads: Sequence[Uploaded] = ()
    statuses: Sequence[StatusSet] = ()
    refunds: Mapping[str, int] = field(default_factory=dict)
    """How often money went back, by document as in `StatusSet`."""
    links: Sequence[MagicLink] = ()
    events: Sequence[Published] = ()
    dead_letters: int = 0
    left_in_queues: Mapping[str, int] = field(default_factory=dict)
    transfers: Mapping[str, Transfer] = field(default_factory=dict)
    """The uploads that are interrupted, by file name."""
    searched: Searched = Searched()
    judged: Judged = Judged()

    def under(self, prefix: str) -> dict[str, StoredObject]:
        """The objects below a prefix, which is given without a slash at its end."""
        keys = self._sorted_keys
        first, end = bisect_left(keys, f"{prefix}/"), bisect_left(keys, f"{prefix}{AFTER_SLASH}")
        return {key: self.inbox[key] for key in keys[first:end]}

    @cached_property
    def _sorted_keys(self) -> list[str]:
        """In order, so that a look at each of many items does not go through the whole inbox."""
        return sorted(self.inbox)

    @cached_property
    def told_by_item(self) -> Mapping[tuple[str, str], Sequence[Told]]:
        """What each portal was told of each item, by portal and id."""
        found: dict[tuple[str, str], list[Told]] = {}
        for each in self.told:
            found.setdefault((each.portal, each.id), []).append(each)
        return found

    @cached_property
    def happened(self) -> frozenset[tuple[str, str, str | None]]:
        """The events as type, portal and id."""
        return frozenset((each.type, each.portal, each.id) for each in self.events)


@dataclass(frozen=True)
class Version:
    """The newest version of a key and how many there are; no id where the key was deleted."""

    count: int
    id: str


class InboxReader:
    """Reads the inbox bucket; an object that has not changed since is not read again."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._known: dict[tuple[str, str], tuple[Fingerprint, Mapping[str, Any] | None]] = {}

    def read(self) -> dict[str, StoredObject]:
        """Everything in the bucket by key."""
        return {key: self._object(key, version) for key, version in self._newest().items()}

    def forget(self) -> None:
        """Read everything anew the next time."""
        self._known.clear()

    def _newest(self) -> dict[str, Version]:
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket)
        found: dict[str, Version] = {}
        for each in (each for page in pages for each in page.get("Versions", [])):
            before = found.get(each["Key"], Version(0, ""))
            found[each["Key"]] = Version(before.count + 1, each["VersionId"] if each["IsLatest"] else before.id)
        return {key: version for key, version in found.items() if version.id}

    def _object(self, key: str, version: Version) -> StoredObject:
        if (key, version.id) not in self._known:
            self._known[key, version.id] = self._content(key)
        return StoredObject(version.count, *self._known[key, version.id])

    def _content(self, key: str) -> tuple[Fingerprint, Mapping[str, Any] | None]:
        body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
        if key.endswith(".json"):
            whole = body.read()
            return Fingerprint.of(whole), json.loads(whole)
        return fingerprint(body.iter_chunks(READ_BYTES)), None


def fingerprint(chunks: Iterable[bytes]) -> Fingerprint:
    """Of a content that comes in pieces."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return Fingerprint(size, digest.hexdigest())


# --- the portals -----------------------------------------------------------------------------------------------------


def told_to_duba(duba: SimulatedDuba) -> Iterator[Told]:
    """The messages that DUBA deleted because they were acknowledged."""
    return (Told("duba", str(id_)) for id_ in duba.acknowledged_ids())


def told_to_docxworld(docxworld: SimulatedDocxworld) -> Iterator[Told]:
    """The downloads that were acknowledged through the API, by any account; not those that a test took away."""
    for each in docxworld.acknowledgements():
        if each.account is not None:
            yield Told("docxworld", each.download_id, each.client_id, each.reference_id)


def told_to_digitale_gemeinde(municipality: SimulatedDigitaleGemeinde) -> Iterator[Told]:
    """The documents that were set to processing through the API, one for each time."""
    for document, status in _set_by_api(municipality):
        if status == municipality.options.statuses.processing:
            yield Told(municipality.name, document.id)


def statuses_set(municipality: SimulatedDigitaleGemeinde) -> Iterator[StatusSet]:
    """Every other status that was set through the API, one for each time."""
    for document, status in _set_by_api(municipality):
        if status != municipality.options.statuses.processing:
            yield StatusSet(municipality.name, _place(document), status)


def refunds_made(municipality: SimulatedDigitaleGemeinde) -> dict[str, int]:
    """How often money went back, by document."""
    with municipality.lock:
        documents = list(municipality.documents.values())
    return {_place(each): each.refunds for each in documents if each.refunds}


def uploads_to_digitale_gemeinde(municipality: SimulatedDigitaleGemeinde) -> Iterator[Uploaded]:
    """The files that came through the API, each as often as it came."""
    with municipality.lock:
        found = [
            (document, field_id, file)
            for document in municipality.documents.values()
            for field_id, files in document.uploads.items()
            for file in files
        ]
    for document, field_id, file in found:
        content, target = Fingerprint.of(file.content), f"{document.id}/{field_id}"
        yield Uploaded(_place(document), target, file.name, content, municipality.name)


def _set_by_api(municipality: SimulatedDigitaleGemeinde) -> list[tuple[Document, str]]:
    with municipality.lock:
        documents = municipality.documents.values()
        return [(each, change.status) for each in documents for change in each.history if change.who == BY_API]


def _place(document: Document) -> str:
    return f"{document.form.id}/{document.id}"


def told_to_altinn(altinn: SimulatedAltinn) -> Iterator[Told]:
    """The instances that were completed, one for each time that this had an effect."""
    with altinn.lock:
        instances = list(altinn.world.instances.values())
    for each in instances:
        yield from (Told(altinn.name, each.id) for _ in altinn.confirmations(each))


def moves_at_altinn(altinn: SimulatedAltinn) -> Iterator[StatusSet]:
    """The tasks and ends that instances were moved to, one for each time."""
    with altinn.lock:
        steps = {id_: list(targets) for id_, targets in altinn.world.steps.items()}
    return (StatusSet(altinn.name, id_, target) for id_, targets in steps.items() for target in targets)


def uploads_to_altinn(altinn: SimulatedAltinn) -> Iterator[Uploaded]:
    """The files that came through the APIs; one that came with a new instance goes by that, its app and its party."""
    created = {each.id: f"{each.app.id}/{each.party_id}" for each in altinn.created_instances()}
    for each in altinn.uploads():
        name, content = each.filename or "", Fingerprint.of(each.content)
        if each.instance_id in created:
            yield Uploaded(each.instance_id, created[each.instance_id], name, content, altinn.name)
        else:
            target = f"{each.instance_id}/{each.data_type}"
            yield Uploaded(each.element_id, target, name, content, altinn.name)


def magic_links(duba: SimulatedDuba) -> tuple[MagicLink, ...]:
    """The links that DUBA gave, one for each time."""
    with duba.lock:
        mementos = list(duba.mementos)
    return tuple(
        MagicLink(
            each.job_id,
            f"{duba.base_url}/mtl/{each.token}/duba/?m={each.memento}",
            each.token,
            each.created_at + MAGIC_LINK_LIFETIME,
        )
        for each in mementos
    )


class UploadReader:
    """Reads the uploads that docxworld has; the content of each is hashed once."""

    def __init__(self, docxworld: SimulatedDocxworld) -> None:
        self._docxworld = docxworld
        self._known: dict[str, Fingerprint] = {}

    def read(self) -> list[Uploaded]:
        """All uploads in the order in which they were asked for."""
        return [self._uploaded(job) for job in self._docxworld.jobs()]

    def _uploaded(self, job: Job) -> Uploaded:
        encrypted = job.encryption is not None
        return Uploaded(job.id, job.target.id, job.file_name, self._content(job), encrypted=encrypted)

    def _content(self, job: Job) -> Fingerprint | None:
        if job.id not in self._known:
            content = self._docxworld.received_content(job.id)
            if content is None:
                return None
            self._known[job.id] = Fingerprint(content.size, content.sha256)
        return self._known[job.id]


@dataclass(frozen=True)
class Calls:
    """How often a portal was called: to ask what is new, to log in, and for the documents themselves."""

    asking: int
    logins: int
    documents: int


def calls(portals: Portals) -> dict[str, Calls]:
    """The calls of each portal so far."""
    running = (portals.duba, portals.docxworld, portals.digitale_gemeinde, portals.altinn)
    return {portal.name: _calls([each.path for each in portal.requests]) for portal in running}


def _calls(paths: Sequence[str]) -> Calls:
    asking, logins = sum(path in ASKING for path in paths), sum(path in LOGIN for path in paths)
    return Calls(asking, logins, len(paths) - asking - logins)
