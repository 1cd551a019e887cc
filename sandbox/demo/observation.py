"""What can be seen from outside: inbox, bus, portals, dead letters. Nothing of Amtsbote's own is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mypy_boto3_s3 import S3Client

from sandbox.demo.scenario import Fingerprint
from sandbox.portals.catalog import Portals
from sandbox.portals.docxworld import SimulatedDocxworld
from sandbox.portals.duba import SimulatedDuba

READ_BYTES = 1024 * 1024
ASKING = ("/api/duba/v1/messages", "/v1/downloads", "/v1/targets", "/v1/workflows")
LOGIN = ("/cognito", "/oauth2/token")


@dataclass(frozen=True)
class StoredObject:
    """One key of the inbox: how often it was written, what is there now; `text` for JSON only."""

    versions: int
    content: Fingerprint
    text: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Told:
    """The portal was told that we have an item: `client` and `reference` where the portal takes them."""

    portal: str
    id: str
    client: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Uploaded:
    """One upload as the portal has it; `content` is None while it is not complete."""

    id: str
    target: str
    file_name: str
    content: Fingerprint | None


@dataclass(frozen=True)
class Published:
    """One event of the stack's bus."""

    type: str
    portal: str
    id: str | None
    key: str | None
    status: str | None = None
    version_id: str | None = None

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
        )


@dataclass(frozen=True)
class Observation:
    """Everything that was seen at one moment."""

    inbox: Mapping[str, StoredObject] = field(default_factory=dict)
    told: Sequence[Told] = ()
    uploads: Sequence[Uploaded] = ()
    events: Sequence[Published] = ()
    dead_letters: int = 0
    left_in_queues: Mapping[str, int] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, StoredObject]:
        """The objects below a prefix, which is given without a slash at its end."""
        return {key: found for key, found in self.inbox.items() if key.startswith(f"{prefix}/")}


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


class UploadReader:
    """Reads the uploads that docxworld has; the content of each is hashed once."""

    def __init__(self, docxworld: SimulatedDocxworld) -> None:
        self._docxworld = docxworld
        self._known: dict[str, Fingerprint] = {}

    def read(self) -> list[Uploaded]:
        """All uploads in the order in which they were asked for."""
        return [Uploaded(job.id, job.target.id, job.file_name, self._content(job.id)) for job in self._docxworld.jobs()]

    def _content(self, id_: str) -> Fingerprint | None:
        if id_ not in self._known:
            content = self._docxworld.uploaded_content(id_)
            if content is None:
                return None
            self._known[id_] = Fingerprint(content.size, content.sha256)
        return self._known[id_]


@dataclass(frozen=True)
class Calls:
    """How often a portal was called: to ask what is new, to log in, and for the documents themselves."""

    asking: int
    logins: int
    documents: int


def calls(portals: Portals) -> dict[str, Calls]:
    """The calls of each portal so far."""
    return {
        portal.name: _calls([each.path for each in portal.requests]) for portal in (portals.duba, portals.docxworld)
    }


def _calls(paths: Sequence[str]) -> Calls:
    asking, logins = sum(path in ASKING for path in paths), sum(path in LOGIN for path in paths)
    return Calls(asking, logins, len(paths) - asking - logins)
