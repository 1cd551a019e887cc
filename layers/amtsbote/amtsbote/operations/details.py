"""One document, whole: its row, its history, its files and where they lie; and a download of those files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from amtsbote.chain import RoutedCopy
from amtsbote.deliveries import ERASED_STATES, DropRow, Failure
from amtsbote.errors import Quarantine, Reject
from amtsbote.keys import document_key, item_prefix, quarantine_key, receipt_key
from amtsbote.lifecycle import ItemRow, Past, State
from amtsbote.operations.documents import Document, document_of, find
from amtsbote.operations.office import Office
from amtsbote.operations.sentences import said
from amtsbote.portals import portal_named
from amtsbote.storage import get_or_none

READ_BYTES = 1024 * 1024
VERSIONS_AT_MOST = 100  # of one outbox key, when the one is looked for that was routed there
SECRET_SHOWN = "(a secret; it lies in the receipt)"  # noqa: S105 - says that there is one


@dataclass(frozen=True)
class File:
    """One file of a document: its key in the inbox bucket, its size in bytes, its SHA-256 where it is known."""

    key: str
    name: str
    size: int
    sha256: str | None = None
    content_type: str | None = None
    portal_name: str | None = None


@dataclass(frozen=True)
class RoutedStep:
    """One step of a chain: what arrived as `origin`, the rule that copied its file, and the drop that came of it.

    `delivery` is the state of that drop, None while there is none. `why` says why a rule could not be followed.
    """

    origin: str
    rule: str
    file: str
    state: str
    outbox_key: str | None = None
    delivery: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class Detail:
    """Everything about one document. `metadata` is the portal's own record of it, which may name persons.

    `files` are in quarantine, not in the inbox, while the document is QUARANTINED. `document_key` is None while there
    is no document.json, `receipt_key` for what arrives.

    What was routed: `origin` is the item that a drop is a copy of, `answers` the outbox key of the drop that an item
    answers, `chain` every step of it, the first one first, whichever member is shown.
    """

    document: Document
    history: tuple[Past, ...]
    bucket: str
    document_key: str | None = None
    files: tuple[File, ...] = ()
    metadata: Any = None
    due_for: str | None = None
    receipt_key: str | None = None
    failure: Failure | None = None
    steps: tuple[Past, ...] = ()
    note: str | None = None  # a sentence, where what is missing is missing on purpose
    origin: str | None = None
    answers: str | None = None
    chain: tuple[RoutedStep, ...] = ()


def show(office: Office, name: str) -> Detail:
    """Return everything about the document of that name; Reject as `find`."""
    row = find(office, name)
    detail = _of_delivery(office, row) if isinstance(row, DropRow) else _of_item(office, row)
    return _with_chain(office, row, detail)


def _with_chain(office: Office, row: ItemRow | DropRow, detail: Detail) -> Detail:
    """Add what was routed before and after, as the ledger knows it from whichever member."""
    if isinstance(row, DropRow):
        behind = row.provenance
        return detail if behind is None else _in_chain(office, behind.root, replace(detail, origin=behind.origin))
    answered = _answered(office, row, detail)
    if answered is None or answered.provenance is None:
        return _in_chain(office, item_prefix(row.portal, row.connection, row.id), detail)
    return _in_chain(office, answered.provenance.root, replace(detail, answers=answered.key))


def _in_chain(office: Office, root: str, detail: Detail) -> Detail:
    return replace(detail, chain=tuple(_step_of(office, copy) for copy in office.ledger.chain(root)))


def _answered(office: Office, row: ItemRow, detail: Detail) -> DropRow | None:
    """Return the routed drop that an item answers; None where it answers none, or its record is gone."""
    answers = portal_named(row.portal).answers
    name = answers(detail.metadata) if answers and isinstance(detail.metadata, dict) else None
    return office.ledger.answered_by(row.portal, row.connection, name) if name else None


def _step_of(office: Office, copy: RoutedCopy) -> RoutedStep:
    versions = office.ledger.versions_of(copy.bucket, copy.key, limit=VERSIONS_AT_MOST) if copy.key else []
    drop = next((each for each in versions if each.version_id == copy.version_id), None)
    why = f"{copy.code}: {copy.message}" if copy.code else None
    state = None if drop is None else drop.state
    return RoutedStep(copy.origin, copy.rule, copy.file, copy.state, copy.key or None, state, why)


def receipt(office: Office, outbox_key: str, *, reveal: bool = False) -> dict[str, Any]:
    """Return the receipt of an outbox key; Reject where there is none.

    A result that holds a secret (a magic link) has its values left out, unless they are to be revealed.
    """
    found = get_or_none(office.s3, office.stack.inbox_bucket, receipt_key(outbox_key))
    if found is None:
        why = said("there is no receipt of {key}; it is the key in the outbox bucket", key=outbox_key)
        raise Reject("NO_RECEIPT", why)
    content: dict[str, Any] = json.loads(found[0])
    row = office.ledger.newest_drop(office.stack.outbox_bucket, outbox_key)
    secret = row is None or row.secret_until is not None
    if secret and not reveal and content.get("result"):
        content["result"] = dict.fromkeys(content["result"], SECRET_SHOWN)
    return content


def download(office: Office, detail: Detail, folder: Path) -> list[Path]:
    """Write the files of a document into a folder and return where they are.

    Reject where a file of that name is there already; Quarantine where the bytes are not those that were stored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(office, file, folder / file.name) for file in detail.files]


def kept_files(office: Office, prefix: str) -> list[File]:
    """Return the files of an item that are in quarantine, by their names."""
    place = quarantine_key(prefix, "")
    pages = office.s3.get_paginator("list_objects_v2").paginate(Bucket=office.stack.inbox_bucket, Prefix=place)
    found = [each for page in pages for each in page.get("Contents", [])]
    files = [File(each["Key"], each["Key"].removeprefix(place), each["Size"]) for each in found]
    return [file for file in files if "/" not in file.name]  # an item whose id goes on lies beneath


def _of_item(office: Office, row: ItemRow) -> Detail:
    prefix = item_prefix(row.portal, row.connection, row.id)
    said = office.inbox.document(prefix)
    files = tuple(_files(said)) if said else ()
    if row.state is State.QUARANTINED:
        files = tuple(kept_files(office, prefix))
    metadata = said["metadata"] if said else json.loads(row.record or "null")
    key = document_key(prefix) if said else None
    due = row.due.work if row.due else row.waiting_for
    return Detail(
        document_of(row), row.history, office.stack.inbox_bucket, key, files, metadata, due, note=_erasure(row)
    )


def _of_delivery(office: Office, row: DropRow) -> Detail:
    return Detail(
        document=document_of(row),
        history=row.history,
        bucket=office.stack.outbox_bucket,
        due_for=row.due.work if row.due else None,
        receipt_key=None if row.state in ERASED_STATES else receipt_key(row.key),
        failure=row.failure,
        steps=row.steps,
        note=_erasure(row),
    )


def _erasure(row: ItemRow | DropRow) -> str | None:
    """Return the sentence that says why nothing of the content is there."""
    if row.state == State.ERASING:
        return "its content is being deleted, as it was kept for the time set"
    if row.state != State.ERASED:
        return None
    until = f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "for ever"
    return f"its content was deleted on {row.history[-1].at:%Y-%m-%d} after the time set; this row is kept {until}"


def _files(said: dict[str, Any]) -> Iterator[File]:
    for each in said["files"]:
        yield File(
            each["key"], each["name"], each["size"], each["sha256"], each.get("contentType"), each.get("portalName")
        )


def _write(office: Office, file: File, path: Path) -> Path:
    digest = sha256()
    body = office.s3.get_object(Bucket=office.stack.inbox_bucket, Key=file.key)["Body"]
    try:
        with path.open("xb") as out:
            for chunk in body.iter_chunks(READ_BYTES):
                digest.update(chunk)
                out.write(chunk)
    except FileExistsError:
        raise Reject("FILE_EXISTS", said("{path} exists; name another folder", path=path)) from None
    if file.sha256 not in (None, digest.hexdigest()):
        raise Quarantine("SHA256_DIFFERS", f"{path} is not what was stored: its SHA-256 differs")
    return path
