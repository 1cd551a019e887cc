"""What a person decides about a document: fetch it again, send it again, release it, tell the portal of it.

Each function looks, and returns an `Intent`: the sentence that says what will happen, and the doing of it. What cannot
be done is a Reject that says why. Rows change by the ledger's own transitions, and the work is queued to the functions
that always do it: nothing here talks to a portal.
"""

import json
from collections.abc import Iterator
from mimetypes import guess_type
from typing import TYPE_CHECKING

from amtsbote.deliveries import DropRow, DropState, ResendWanted
from amtsbote.errors import Reject
from amtsbote.events import Event, EventType
from amtsbote.inbox import PROCESSED_TAG, Identity, contents_of
from amtsbote.keys import document_key, item_prefix
from amtsbote.lifecycle import (
    AcknowledgeWanted,
    ItemRow,
    Released,
    RetryWanted,
    State,
    has_been_stored,
)
from amtsbote.messages import DropDetail, DroppedBucket, DroppedObject, DropRequest, FetchRequest, Task
from amtsbote.operations.details import READ_BYTES, File, kept_files
from amtsbote.operations.documents import document_of, find, require_item
from amtsbote.operations.office import Account, Intent, Office
from amtsbote.operations.sentences import Sentence, said
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import IncomingFile

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import TagTypeDef

ANY_TYPE = "application/octet-stream"


def retry(office: Office, name: str) -> Intent:
    """Fetch a quarantined or unavailable item again; send a delivery again that failed and may succeed."""
    row = find(office, name)
    return _resend(office, row) if isinstance(row, DropRow) else _refetch(office, row)


def release(office: Office, name: str) -> Intent:
    """Put the quarantined bytes of an item into the inbox as they are; it is then acknowledged like any other."""
    row = require_item(office, name)
    prefix = item_prefix(row.portal, row.connection, row.id)
    if row.state is not State.QUARANTINED:
        why = said("{name} is {state}; only what is in quarantine can be released", name=_called(row), state=row.state)
        raise Reject("NOT_QUARANTINED", why)
    kept = kept_files(office, prefix)
    if not kept:
        raise Reject(
            "NOTHING_KEPT", said("of {name} no bytes could be kept; fetch it again with `retry`", name=_called(row))
        )
    policy = _policy(office, row)
    sizes = ", ".join(f"{file.name} ({file.size} bytes)" for file in kept)
    says = said(
        "put {files} of {name} into the inbox, unreadable as it is, and tell the backend; {then}",
        files=sizes,
        name=_called(row),
        then=_then(policy),
    )
    return Intent(says, lambda: _release(office, row, prefix, kept, policy))


def acknowledge(office: Office, name: str) -> Intent:
    """Have the portal told of a stored item now, also where the backend has not said that it has processed it."""
    row = require_item(office, name)
    if row.state is not State.STORED:
        why = said("{name} is {state}; a portal is told only of what is stored", name=_called(row), state=row.state)
        raise Reject("NOT_STORED", why)
    policy = _policy(office, row)
    if policy is AcknowledgePolicy.NEVER:
        why = said(
            "the connection of {name} never tells its portal; change `acknowledge` in its secret", name=_called(row)
        )
        raise Reject("NEVER_ACKNOWLEDGED", why)
    processed = policy is AcknowledgePolicy.PROCESSED
    pattern = "mark {name} as processed in the backend's stead, and have {portal} told of it"
    says = said(pattern if processed else "have {portal} told of {name}", portal=row.portal, name=_called(row))
    return Intent(says, lambda: _acknowledge(office, row, mark=processed))


# --- doing -----------------------------------------------------------------------------------------------------------


def _refetch(office: Office, row: ItemRow) -> Intent:
    if row.state not in (State.QUARANTINED, State.UNAVAILABLE):
        raise Reject("NOTHING_TO_RETRY", _waits(row))
    if row.state is State.UNAVAILABLE and has_been_stored(row):
        return Intent(
            said("have {portal} told once more of {name}, which is in the inbox", portal=row.portal, name=_called(row)),
            lambda: _tell_again(office, row),
        )
    says = said("fetch {name} again from {portal}", name=_called(row), portal=row.portal)
    return Intent(says, lambda: _fetch_again(office, row))


def _waits(row: ItemRow) -> Sentence:
    """Return why there is nothing to fetch again."""
    name, state = _called(row), row.state
    if row.waiting_for:
        pattern = "{name} is {state} and waits for its {what} at the portal; there is nothing to fetch again"
        return said(pattern, name=name, state=state, what=row.waiting_for)
    if row.due:
        pattern = "{name} is {state} and due by itself at {at:%Y-%m-%d %H:%M} UTC; there is nothing to fetch again"
        return said(pattern, name=name, state=state, at=row.due.at)
    return said("{name} is {state}; there is nothing to fetch again", name=name, state=state)


def _fetch_again(office: Office, row: ItemRow) -> None:
    """Let it be wanted first: a request that is lost is then queued again by the next poll."""
    office.ledger.advance(row, RetryWanted())
    office.ask("fetch", row.portal, [FetchRequest(portal=row.portal, connection=row.connection, id=row.id)])


def _tell_again(office: Office, row: ItemRow) -> None:
    office.ledger.advance(row, RetryWanted())
    office.ask_for(Task.ACKNOWLEDGE, Account(row.portal, row.connection))


def _resend(office: Office, row: DropRow) -> Intent:
    if row.failure is None and row.state is not DropState.RECEIVED:  # that may have been wanted, and never queued
        why = said("{key} is {state}; only what failed can be sent again", key=row.key, state=row.state)
        raise Reject("NOT_FAILED", why)
    if row.failure is not None and (not row.failure.retryable or row.portal_id is not None):
        why = said(
            "{key} would fail again ({code}: {message}); mend it and drop it as a new version",
            key=row.key,
            code=row.failure.code,
            message=row.failure.message,
        )
        raise Reject("NOT_RETRYABLE", why)
    if not row.portal:
        raise Reject("NOT_RETRYABLE", said("{key} names no portal", key=row.key))
    says = said(
        "send version {version} of {key} again; what its portal got of it before, it may get twice",
        version=row.version_id,
        key=row.key,
    )
    return Intent(says, lambda: _send_again(office, row))


def _send_again(office: Office, row: DropRow) -> None:
    """Let it be wanted first, as a request for what FAILED does nothing; one that is lost is asked for again."""
    office.ledger.advance_drop(row, ResendWanted())
    dropped = DroppedObject(key=row.key, version_id=row.version_id, sequencer=row.sequence)
    request = DropRequest(detail=DropDetail(bucket=DroppedBucket(name=row.bucket), object=dropped))
    office.ask("deliver", row.portal, [request])


def _release(office: Office, row: ItemRow, prefix: str, kept: list[File], policy: AcknowledgePolicy) -> None:
    """Write files and document.json, then say so; a repeat finds them there and adopts them."""
    present = _present_files(office, prefix)
    names = {file.name for file in kept}
    files = [*(file for file in present if file.name not in names), *kept]
    stored = office.inbox.store_all(prefix, (_incoming(office, file) for file in files), last_try=True)
    identity = Identity(row.portal, row.connection, row.id, prefix)
    document = office.inbox.commit(identity, stored, json.loads(row.record or "{}"), office.clock())
    event = Event(EventType.DOCUMENT_RECEIVED, row.portal, row.connection, row.id, document_key(prefix))
    office.bus.publish(event)
    office.ledger.advance(row, Released(policy, contents_of(document)))


def _present_files(office: Office, prefix: str) -> list[File]:
    """Return the files of an item that were stored before one of them turned out to be unreadable."""
    pages = office.s3.get_paginator("list_objects_v2").paginate(Bucket=office.stack.inbox_bucket, Prefix=f"{prefix}/")
    found = [each for page in pages for each in page.get("Contents", [])]
    files = [File(each["Key"], each["Key"].removeprefix(f"{prefix}/"), each["Size"]) for each in found]
    return [file for file in files if "/" not in file.name and file.key != document_key(prefix)]


def _incoming(office: Office, file: File) -> IncomingFile:
    def chunks() -> Iterator[bytes]:
        answer = office.s3.get_object(Bucket=office.stack.inbox_bucket, Key=file.key)
        yield from answer["Body"].iter_chunks(READ_BYTES)

    return IncomingFile(file.name, chunks(), guess_type(file.name)[0] or ANY_TYPE)


def _acknowledge(office: Office, row: ItemRow, *, mark: bool) -> None:
    if mark:
        _mark_processed(office, document_key(item_prefix(row.portal, row.connection, row.id)))
    office.ledger.advance(row, AcknowledgeWanted(by_hand=True))
    office.ask_for(Task.ACKNOWLEDGE, Account(row.portal, row.connection))


def _mark_processed(office: Office, key: str) -> None:
    """Set the tag that a backend sets; the other tags stay."""
    bucket = office.stack.inbox_bucket
    tags = {each["Key"]: each["Value"] for each in office.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}
    tags |= dict([PROCESSED_TAG])
    tag_set: list[TagTypeDef] = [{"Key": name, "Value": value} for name, value in tags.items()]
    office.s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tag_set})


# --- words -----------------------------------------------------------------------------------------------------------


def _policy(office: Office, row: ItemRow) -> AcknowledgePolicy:
    connection = office.connections(row.portal).get(row.connection)
    policy: AcknowledgePolicy = connection.secret.acknowledge
    return policy


def _then(policy: AcknowledgePolicy) -> Sentence:
    return {
        AcknowledgePolicy.STORED: said("its portal is then told that we have it"),
        AcknowledgePolicy.PROCESSED: said("its portal is told when the backend has processed it"),
        AcknowledgePolicy.NEVER: said("its portal is not told"),
    }[policy]


def _called(row: ItemRow) -> str:
    return document_of(row).name
