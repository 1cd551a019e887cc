"""The chain of what was routed: where a drop comes from, and one row per file that a rule copies. Pure, no I/O.

    form (item) ──rule──► drop ──portal──► result (item, answers the drop) ──rule──► drop

`hops` counts the rules that a document has passed; `root` is the item at which its chain began. All rows of a chain
lie together in the ledger under its root, so that it is seen whole from any of its members.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from amtsbote.keys import CONNECTION_NAME
from amtsbote.portals import NAMES

HOPS_AT_MOST = 4
MARK = "amtsbote-"
"""What our own user metadata begins with; no adapter sees it."""
ORIGIN, RULE, FILE, HOPS, ROOT = (f"{MARK}{name}" for name in ("origin", "rule", "file", "hops", "root"))
FILE_LETTERS = 16  # of the hash of a file's name, which itself may have letters that no header takes
UPLOAD_LIVES = timedelta(days=6)  # the outbox's own rule aborts what was begun seven days ago


@dataclass(frozen=True)
class Provenance:
    """Where a routed drop comes from: item and root by their key prefix in the inbox, and the rule's name."""

    origin: str
    rule: str
    hops: int
    root: str


class CopyState(StrEnum):
    """How far one file of one rule is."""

    PLANNED = "PLANNED"
    BEGUN = "BEGUN"
    ROUTED = "ROUTED"
    FAILED = "FAILED"  # tried again when its request comes again: the rules may have been mended


@dataclass(frozen=True)
class RoutedCopy:
    """One file that one rule copies into the outbox, in the ledger.

    `upload_id` is the one upload by which that ever happens: S3 completes an upload once, so whoever dies, repeats or
    comes second goes on with it and cannot make a second version. `version_id` is None until then, and where the
    version was deleted before anybody could note it.
    """

    root: str
    origin: str
    rule: str
    file: str
    hops: int
    bucket: str
    key: str
    state: CopyState
    changed_at: datetime
    version: int = 1
    upload_id: str | None = None
    begun_at: datetime | None = None
    version_id: str | None = None
    code: str | None = None
    message: str | None = None

    @property
    def provenance(self) -> Provenance:
        """Return what the drop says of itself."""
        return Provenance(self.origin, self.rule, self.hops, self.root)


class Begun(NamedTuple):
    """A worker has begun an upload for the copy; it counts unless another one to this key does already."""

    upload_id: str
    key: str


class Routed(NamedTuple):
    """By this upload the copy lies in the outbox, as this version, or lay there, where the version is None."""

    version_id: str | None
    upload_id: str


class Refused(NamedTuple):
    """The copy cannot be made as things are; `message` names the mistake and holds no value of the document."""

    code: str
    message: str


CopyEvent = Begun | Routed | Refused


def planned(provenance: Provenance, file: str, place: tuple[str, str], now: datetime) -> RoutedCopy:
    """Return the first row of a copy to a place (bucket, key); the key is empty where it could not be made."""
    said = (provenance.root, provenance.origin, provenance.rule, file, provenance.hops)
    return RoutedCopy(*said, *place, CopyState.PLANNED, now)


def advance_copy(copy: RoutedCopy, event: CopyEvent, now: datetime) -> RoutedCopy:
    """Return the row after the event; what is ROUTED stays as it is."""
    if copy.state is CopyState.ROUTED:
        return copy
    match event:
        case Begun(upload_id, key):
            return copy if upload_lives(copy, key, now) else _begun(copy, upload_id, key, now)
        case Routed(version_id, upload_id) if version_id is not None or upload_id == copy.upload_id:
            done = replace(copy, version_id=version_id, code=None, message=None)
            return replace(done, state=CopyState.ROUTED, changed_at=now)
        case Refused(code, message) if (copy.code, copy.message) != (code, message):
            return replace(copy, state=CopyState.FAILED, code=code, message=message, changed_at=now)
    return copy


def upload_lives(copy: RoutedCopy, key: str, now: datetime) -> bool:
    """Return whether the copy has an upload to this key to go on with."""
    return copy.upload_id is not None and copy.key == key and now < (copy.begun_at or now) + UPLOAD_LIVES


def _begun(copy: RoutedCopy, upload_id: str, key: str, now: datetime) -> RoutedCopy:
    begun = replace(copy, upload_id=upload_id, key=key, begun_at=now, code=None, message=None)
    return replace(begun, state=CopyState.BEGUN, changed_at=now)


def mark_of(copy: RoutedCopy) -> dict[str, str]:
    """Return the user metadata that tells a copy's object from all others."""
    digest = sha256(copy.file.encode("utf-8", "surrogatepass")).hexdigest()[:FILE_LETTERS]
    return {ORIGIN: copy.origin, RULE: copy.rule, FILE: digest, HOPS: str(copy.hops), ROOT: copy.root}


def provenance_of(metadata: Mapping[str, str]) -> Provenance | None:
    """Return where an object with this user metadata comes from; None where it says nothing, or nothing possible."""
    origin, rule, hops = (metadata.get(name, "") for name in (ORIGIN, RULE, HOPS))
    root = metadata.get(ROOT, origin)
    if not (is_item_name(origin) and is_item_name(root) and rule and hops.isdecimal()):
        return None
    return Provenance(origin, rule, int(hops), root)


def without_mark(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the user metadata that is for the portal."""
    return {name: value for name, value in metadata.items() if not name.startswith(MARK)}


def is_item_name(name: str) -> bool:
    """Return whether a text is `<portal>/<connection>/<id>`, the key prefix of an item in the inbox."""
    portal, _, rest = name.partition("/")
    connection, _, id_ = rest.partition("/")
    return portal in NAMES and CONNECTION_NAME.fullmatch(connection) is not None and bool(id_)
