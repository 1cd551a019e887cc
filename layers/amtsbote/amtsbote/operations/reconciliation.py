"""What comparisons found, and what a person wants done about it.

A repair is an `Intent` like every decision: a sentence, and the doing of it. It looks at how things are now, so that
nothing is done about a difference that is gone by itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import sleep
from typing import TYPE_CHECKING, Any

from amtsbote.deliveries import DropRow, DropState
from amtsbote.errors import Reject, Retry
from amtsbote.keys import DOCUMENT, document_key, item_prefix
from amtsbote.ledger import drop_partition
from amtsbote.lifecycle import ContentLost, ItemRow, State
from amtsbote.messages import (
    DropDetail,
    DroppedBucket,
    DroppedObject,
    DropRequest,
    FetchRequest,
    Task,
)
from amtsbote.operations.office import Account, Intent, Office
from amtsbote.operations.sentences import said
from amtsbote.operations.trail import on_trail
from amtsbote.reconciliation import Difference, Repair, Report

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

WAIT_SECONDS = 900.0
LOOK_SECONDS = 2.0
REPAIR = "repair"


# --- looking ---------------------------------------------------------------------------------------------------------


def reports(office: Office, account: Account) -> list[datetime]:
    """Return when the comparisons of a connection began (UTC), the latest first; each has a report."""
    return office.reports.moments(account.portal, account.name)


def report(office: Office, account: Account, at: datetime | None = None) -> Report:
    """Return the report of the comparison that began then, or the latest; Reject where there is none."""
    moments = reports(office, account) if at is None else [at]
    found = office.reports.read(account.portal, account.name, moments[0]) if moments else None
    if found is None:
        raise Reject(
            "NO_REPORT", said("there is no report of {connection}; ask for one with `reconcile`", connection=account)
        )
    return found


def awaited(
    office: Office,
    account: Account,
    since: datetime,
    *,
    seconds: float = WAIT_SECONDS,
    pause: Callable[[float], object] = sleep,
) -> Report:
    """Return the report of a comparison that began `since` then, when it is complete; Retry where none comes."""
    began = since.replace(microsecond=0)
    for _ in range(int(seconds / LOOK_SECONDS)):
        for moment in (each for each in reports(office, account) if each >= began):
            found = report(office, account, moment)
            if found.complete:
                return found
        pause(LOOK_SECONDS)
    pattern = "no report of {connection} within {seconds:.0f} s; look with `status` whether it works"
    raise Retry("NO_REPORT_YET", said(pattern, connection=account, seconds=seconds))


# --- repairing -------------------------------------------------------------------------------------------------------


def repair(office: Office, account: Account, difference: Difference) -> Intent:
    """Do what can be done about a difference; Reject where nothing can, or where nothing differs any more."""
    repairs = {
        Repair.ASK_PORTAL: _ask_portal,
        Repair.TELL_PORTAL: _tell_portal,
        Repair.RESTORE_FILES: _mend_files,
        Repair.DELIVER: _deliver,
    }
    if difference.repair is None:
        pattern = "{about}: {difference}; nothing can be done about it from here"
        raise Reject("NO_REPAIR", said(pattern, about=difference.about, difference=difference.says))
    intent = repairs[difference.repair](office, account, difference)
    return on_trail(office, REPAIR, [account], intent, about=difference.about)


def _row(office: Office, account: Account, difference: Difference, *states: State) -> ItemRow:
    row = office.ledger.item(account.portal, account.name, difference.id or "")
    if row is None or row.state not in states:
        state = row.state if row else said("unknown")
        raise Reject("CHANGED_MEANWHILE", said("{name} is {state} by now", name=difference.about, state=state))
    return row


def _ask_portal(office: Office, account: Account, difference: Difference) -> Intent:
    row = _row(office, account, difference, State.DISCOVERED, State.FETCHING)
    request = FetchRequest(portal=row.portal, connection=row.connection, id=row.id)
    pattern = "ask {portal} for {name} once more; where it is gone, it becomes UNAVAILABLE"
    says = said(pattern, portal=row.portal, name=f"{account}/{row.id}")
    return Intent(says, lambda: office.ask("fetch", row.portal, [request]))


def _tell_portal(office: Office, account: Account, difference: Difference) -> Intent:
    row = _row(office, account, difference, State.STORED)
    pattern = "tell {portal} of {name} once more; where it is gone there, the row says so"
    says = said(pattern, portal=row.portal, name=f"{account}/{row.id}")
    return Intent(says, lambda: office.ask_for(Task.ACKNOWLEDGE, account))


# --- files -----------------------------------------------------------------------------------------------------------

Fits = Callable[[Mapping[str, Any]], bool]
"""Whether a version, as S3 lists it, has the content that is wanted."""


@dataclass(frozen=True)
class Older:
    """A version of an object that is to be its content again. `markers` say that it is deleted and lie on it."""

    key: str
    version_id: str
    markers: tuple[str, ...]


def _mend_files(office: Office, account: Account, difference: Difference) -> Intent:
    row = _row(office, account, difference, State.STORED, State.ACKNOWLEDGED)
    prefix = item_prefix(row.portal, row.connection, row.id)
    older, name = _restorable(office, row, prefix), f"{account}/{row.id}"
    if older == []:
        raise Reject("NOTHING_DIFFERS", said("{name} is as it was stored by now", name=name))
    if older is not None:
        files = ", ".join(each.key.removeprefix(f"{prefix}/") for each in older)
        says = said("restore {files} of {name} from older versions", files=files, name=name)
        return Intent(says, lambda: _restore(office, older))
    if row.state is State.ACKNOWLEDGED:
        why = (
            "of {name} no version that fits is left, and its portal was told that we have it; ask the portal's operator"
        )
        raise Reject("NOTHING_TO_RESTORE", said(why, name=name))
    pattern = "delete what is left of {name} (its versions stay) and fetch it again from {portal}"
    says = said(pattern, name=name, portal=row.portal)
    return Intent(says, lambda: _fetch_again(office, account, row, prefix))


def _restorable(office: Office, row: ItemRow, prefix: str) -> list[Older] | None:
    """Return the versions that make the document whole again, none where it is; None where one is wanting."""
    document, wanted = _document(office, row, prefix)
    if document is None:
        return None
    for file in _wrong_files(office, document["files"], office.inbox.sizes(prefix)):
        older = _older(office, file["key"], _same_as(office, file))
        if older is None:
            return None
        wanted.append(older)
    return wanted


def _document(office: Office, row: ItemRow, prefix: str) -> tuple[dict[str, Any] | None, list[Older]]:
    """Return document.json, and what has to be restored for it to be there."""
    document = office.inbox.document(prefix)
    if document is not None:
        return document, []
    older = _older(office, document_key(prefix), lambda _: True)
    if older is None:
        return None, []
    bucket = office.stack.inbox_bucket
    answer = office.s3.get_object(Bucket=bucket, Key=older.key, VersionId=older.version_id)
    said = json.loads(answer["Body"].read())
    return (said, [older]) if said.get("id") == row.id else (None, [])


def _wrong_files(
    office: Office, files: Sequence[Mapping[str, Any]], sizes: Mapping[str, int]
) -> list[Mapping[str, Any]]:
    """Return the files that are not what they were; where all have their size, by their content."""
    wrong = [file for file in files if sizes.get(file["key"]) != file["size"]]
    return wrong or [file for file in files if office.inbox.sha256(file["key"], lambda: None) != file["sha256"]]


def _same_as(office: Office, file: Mapping[str, Any]) -> Fits:
    """Return what tells the version that a file had when it was stored."""

    def fits(version: Mapping[str, Any]) -> bool:
        if version["Size"] != file["size"]:
            return False
        digest = office.inbox.sha256(file["key"], lambda: None, version["VersionId"])
        return digest is not None and digest == file["sha256"]

    return fits


def _older(office: Office, key: str, fits: Fits) -> Older | None:
    """Return the newest version of an object that fits."""
    versions, markers = _versions(office, office.stack.inbox_bucket, key)
    found = next((each for each in versions if fits(each)), None)
    if found is None:
        return None
    deleted = found is versions[0] and any(each["IsLatest"] for each in markers)
    above = [each["VersionId"] for each in markers if deleted and each["LastModified"] >= found["LastModified"]]
    return Older(key, found["VersionId"], tuple(above))


def _versions(office: Office, bucket: str, key: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the versions of an object, and its delete markers, each newest first."""
    versions: list[Mapping[str, Any]] = []
    markers: list[Mapping[str, Any]] = []
    for page in office.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        versions += [each for each in page.get("Versions", []) if each["Key"] == key]
        markers += [each for each in page.get("DeleteMarkers", []) if each["Key"] == key]
    return versions, markers


def _restore(office: Office, wanted: Sequence[Older]) -> None:
    """Take the delete markers away, or put the older content over what was written since; document.json last."""
    bucket = office.stack.inbox_bucket
    for each in sorted(wanted, key=lambda older: older.key.endswith(f"/{DOCUMENT}")):
        for marker in each.markers:
            office.s3.delete_object(Bucket=bucket, Key=each.key, VersionId=marker)
        if not each.markers:
            source: CopySourceTypeDef = {"Bucket": bucket, "Key": each.key, "VersionId": each.version_id}
            office.s3.copy(source, bucket, each.key)


def _fetch_again(office: Office, account: Account, row: ItemRow, prefix: str) -> None:
    """Let the row wait for the portal's list first: from then on nobody tells the portal of it."""
    office.ledger.advance(row, ContentLost())
    for key in sorted(office.inbox.sizes(prefix), reverse=True):
        if "/" not in key.removeprefix(f"{prefix}/"):  # what lies beneath is another item's
            office.s3.delete_object(Bucket=office.stack.inbox_bucket, Key=key)
    office.ask_for(Task.RECONCILE, account)  # whose list goes back to where this item is


# --- drops -----------------------------------------------------------------------------------------------------------


def _deliver(office: Office, account: Account, difference: Difference) -> Intent:
    key, version_id = difference.outbox_key or "", difference.version_id or ""
    bucket = office.stack.outbox_bucket
    versions, _ = _versions(office, bucket, key)
    rows = office.ledger.rows([(drop_partition(bucket, key), each["VersionId"]) for each in versions])
    known = {row.version_id: row for row in rows.values() if isinstance(row, DropRow)}
    row = known.get(version_id)
    if row is not None and row.state not in (DropState.RECEIVED, DropState.SENDING):
        version = said("version {version} of {key}", version=version_id, key=key)
        raise Reject("CHANGED_MEANWHILE", said("{name} is {state} by now", name=version, state=row.state))
    sequence = row.sequence if row else _sequence(versions, version_id, known)
    dropped = DroppedObject(key=key, version_id=version_id, sequencer=sequence)
    request = DropRequest(detail=DropDetail(bucket=DroppedBucket(name=bucket), object=dropped))
    says = said("send version {version} of {key}", version=version_id, key=key)
    return Intent(says, lambda: office.ask("deliver", account.portal, [request]))


def _sequence(versions: Sequence[Mapping[str, Any]], version_id: str, known: Mapping[str, DropRow]) -> str:
    """Return what orders a version whose event was lost among those whose events came, by the order that S3 keeps.

    It sorts behind the sequence of the version before it, and before that of the one after. Reject where it is gone.
    """
    place = next((number for number, each in enumerate(versions) if each["VersionId"] == version_id), None)
    if place is None:
        why = said("version {version} was deleted; drop the file again", version=version_id)
        raise Reject("OBJECT_VANISHED", why)
    before = [known[each["VersionId"]].sequence for each in versions[place + 1 :] if each["VersionId"] in known]
    return f"{before[0] if before else ''} {versions[place]['LastModified']:%Y%m%dT%H%M%S}-{len(versions) - place:06d}"
