"""Whether everything reached the end it should: pure functions of what was expected and what was seen from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox.demo.observation import MagicLink, Observation, StoredObject, Told, Uploaded
from sandbox.demo.scenario import End, ExpectedDocument, ExpectedDrop, Scenario

DOCUMENT = "document.json"
QUARANTINE, RECEIPTS = "quarantine", "receipts"
REPORTS = "reports/"  # what reconciliations have found, which nobody has to expect
NAME_BYTES = 200
EXPIRY_TOLERANCE = timedelta(seconds=60)
RECEIPT_STATUS = {End.DELIVERED: "DELIVERED", End.FAILED: "FAILED"}
NOTHING, STORED, PARTLY, ON_ITS_WAY = "nothing yet", "stored", "partly stored", "on its way"


@dataclass(frozen=True)
class Finding:
    """What became of one document or drop. It is as it should be when there is no problem."""

    reached: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it reached its end, and nothing else happened to it."""
        return not self.problems


@dataclass(frozen=True)
class Verdict:
    """The findings in the order of the scenario, and the problems that belong to no single document."""

    documents: tuple[Finding, ...]
    drops: tuple[Finding, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return not self.problems and self.ended

    @property
    def ended(self) -> bool:
        """Whether every document and drop is as it should be."""
        return all(finding.ok for finding in (*self.documents, *self.drops))


def judge(scenario: Scenario, seen: Observation) -> Verdict:
    """Compare a scenario, whose drops have their versions by now, with what was seen."""
    return Verdict(
        tuple(judge_document(each, seen) for each in scenario.documents),
        tuple(judge_drop(each, seen) for each in scenario.drops),
        tuple(judge_whole(scenario, seen)),
    )


# --- documents -------------------------------------------------------------------------------------------------------


def judge_document(expected: ExpectedDocument, seen: Observation) -> Finding:
    """Say which end an item reached, and everything about it that is not as it should be."""
    match expected.end:
        case End.ACKNOWLEDGED:
            problems = (*_stored(expected, seen), *_acknowledged(expected, seen))
        case End.UNAVAILABLE:
            problems = (*_not_told(expected, seen), *_published(expected, seen, "Document Unavailable"))
        case End.QUARANTINED:
            problems = (*_quarantined(expected, seen), *_not_told(expected, seen))
        case _:
            problems = (*_untouched(expected, seen), *_not_told(expected, seen))
    return Finding(_document_end(expected, seen), problems)


def _document_end(expected: ExpectedDocument, seen: Observation) -> str:
    stored = seen.under(expected.prefix)
    if seen.under(f"{QUARANTINE}/{expected.prefix}"):
        return End.QUARANTINED
    if _has_event(expected, seen, "Document Unavailable"):
        return End.UNAVAILABLE
    if _tellings(expected, seen):
        return End.ACKNOWLEDGED
    if f"{expected.prefix}/{DOCUMENT}" in stored:
        return STORED
    if stored:
        return PARTLY
    return End.LEFT_ALONE if expected.end is End.LEFT_ALONE else NOTHING


def _stored(expected: ExpectedDocument, seen: Observation) -> Iterator[str]:
    """Its files and its document.json are in the inbox, each written once, and nothing beside them."""
    found = seen.under(expected.prefix)
    document = found.pop(f"{expected.prefix}/{DOCUMENT}", None)
    if document is None:
        yield "document.json is missing"
        return
    yield from (f"{_name(key)} was written {each.versions} times" for key, each in found.items() if each.versions > 1)
    if document.versions > 1:
        yield f"document.json was written {document.versions} times"
    if len(found) != len(expected.files):
        yield f"there are {len(found)} files beside document.json, not {len(expected.files)}"
    yield from (problem for key, each in found.items() for problem in _file(expected, key, each))
    yield from _manifest(expected, document, found)


def _file(expected: ExpectedDocument, key: str, stored: StoredObject) -> Iterator[str]:
    name = key.removeprefix(f"{expected.prefix}/")
    if stored.content not in [each.content for each in expected.files]:
        yield f"the bytes of {_name(key)} are not the portal's"
    if "/" in name or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        yield "its file name is not safe"


def _manifest(expected: ExpectedDocument, document: StoredObject, files: Mapping[str, StoredObject]) -> Iterator[str]:
    """document.json says what the contract promises."""
    said = document.text or {}
    identity = (expected.portal, expected.connection, expected.id)
    if (said.get("portal"), said.get("connection"), said.get("id")) != identity:
        yield "document.json speaks of another item"
    listed = {(each["key"], each["size"], each["sha256"]) for each in said.get("files", [])}
    if listed != {(key, each.content.size, each.content.sha256) for key, each in files.items()}:
        yield "document.json does not describe the files that are there"
    names = Counter((each["sha256"], each["portalName"]) for each in said.get("files", []))
    if names != Counter((each.content.sha256, each.portal_name) for each in expected.files):
        yield "document.json does not describe the files of the portal"


def _acknowledged(expected: ExpectedDocument, seen: Observation) -> Iterator[str]:
    tellings = _tellings(expected, seen)
    if not tellings:
        yield "the portal was not told that we have it"
    if len(tellings) > 1:
        yield f"the portal counts {len(tellings)} acknowledgements"
    wanted = (expected.client, expected.prefix if expected.client else None)
    if any((each.client, each.reference) != wanted for each in tellings):
        yield "it was acknowledged under a wrong name or reference"
    for kind in ("Document Received", "Document Acknowledged"):
        yield from _published(expected, seen, kind)


def _quarantined(expected: ExpectedDocument, seen: Observation) -> Iterator[str]:
    kept = seen.under(f"{QUARANTINE}/{expected.prefix}")
    if not kept:
        yield "nothing of it is in quarantine"
    if any(each.content != expected.content for each in kept.values()):
        yield "the quarantine does not hold the bytes as they came"
    if seen.under(expected.prefix):
        yield "it is in the inbox although it cannot be read"


def _untouched(expected: ExpectedDocument, seen: Observation) -> Iterator[str]:
    if seen.under(expected.prefix) or seen.under(f"{QUARANTINE}/{expected.prefix}"):
        yield "it was fetched although it should not be"


def _not_told(expected: ExpectedDocument, seen: Observation) -> Iterator[str]:
    if _tellings(expected, seen):
        yield "it was acknowledged although it should not be"


def _published(expected: ExpectedDocument, seen: Observation, kind: str) -> Iterator[str]:
    if not _has_event(expected, seen, kind):
        yield f"the event {kind} is missing"


def _has_event(expected: ExpectedDocument, seen: Observation, kind: str) -> bool:
    return (kind, expected.portal, expected.id) in seen.happened


def _tellings(expected: ExpectedDocument, seen: Observation) -> Sequence[Told]:
    return seen.told_by_item.get((expected.portal, expected.id), ())


def _name(key: str) -> str:
    return key.rpartition("/")[2]


# --- drops -----------------------------------------------------------------------------------------------------------


def judge_drop(expected: ExpectedDrop, seen: Observation) -> Finding:
    """Say which end a drop reached, and everything about it that is not as it should be."""
    problems = (
        *_sent(expected, seen),
        *_interrupted(expected, seen),
        *_status_set(expected, seen),
        *_linked(expected, seen),
        *_told_of_end(expected, seen),
        *_receipt(expected, seen),
    )
    return Finding(_drop_end(expected, seen), problems)


def _drop_end(expected: ExpectedDrop, seen: Observation) -> str:
    statuses = _statuses(expected, seen)
    for end, status in RECEIPT_STATUS.items():
        if status in statuses:
            return end
    return ON_ITS_WAY if statuses or receipt_of(expected, seen) else NOTHING


def _sent(expected: ExpectedDrop, seen: Observation) -> Iterator[str]:
    """The portal has it once, byte for byte, at the right target; or not at all, where it should have nothing."""
    own = _uploads_of(expected, seen)
    wanted = 1 if expected.at_portal else 0
    if len(own) != wanted:
        yield f"the portal has it {len(own)} times, not {wanted}"
    if any((each.target, each.file_name) != (expected.target, expected.arriving.portal_name) for each in own):
        yield "it arrived at another target or under another name"


def _interrupted(expected: ExpectedDrop, seen: Observation) -> Iterator[str]:
    """Whoever sent it was killed as often as it should be; what arrived was encrypted, where it should be."""
    transfer = seen.transfers.get(expected.label)
    times = 0 if transfer is None else len(transfer.interruptions)
    if times != expected.interruptions:
        yield f"its sender was killed {times} times, not {expected.interruptions}"
    if expected.encrypted and not all(each.encrypted for each in _uploads_of(expected, seen)):
        yield "it went out in clear"


def _status_set(expected: ExpectedDrop, seen: Observation) -> Iterator[str]:
    """The portal was given the status once; and the money went back once, where that was asked for."""
    if expected.sets is None:
        return
    times = sum((each.id, each.status) == (expected.portal_id, expected.sets) for each in seen.statuses)
    if times != 1:
        yield f"the portal was told the status {expected.sets} {times} times, not once"
    refunds = seen.refunds.get(expected.portal_id or "", 0)
    if expected.refunds and refunds != 1:
        yield f"the money went back {refunds} times, not once"


def _linked(expected: ExpectedDrop, seen: Observation) -> Iterator[str]:
    """DUBA gave one link for the job; the receipt has it, absolute and with its end, and no event has it."""
    if expected.link_of is None:
        return
    links = [each for each in seen.links if each.job_id == expected.link_of]
    if len(links) != 1:
        yield f"the portal gave {len(links)} links, not one"
        return
    yield from _result_says(links[0], (receipt_of(expected, seen) or {}).get("result"))
    if any(links[0].token in each.text for each in seen.events):
        yield "an event tells the link, which is a secret"


def _result_says(link: MagicLink, result: object) -> Iterator[str]:
    said = result if isinstance(result, dict) else {}
    if said.get("magicLink") != link.url:
        yield "the receipt does not have the portal's link"
    if not _ends_with(link, said.get("expiresAt")):
        yield "the receipt does not say when the link ends"


def _ends_with(link: MagicLink, said: object) -> bool:
    try:
        return abs(datetime.fromisoformat(str(said)) - link.expires_at) <= EXPIRY_TOLERANCE
    except (ValueError, TypeError):  # no instant, or one without an offset
        return False


def _uploads_of(expected: ExpectedDrop, seen: Observation) -> list[Uploaded]:
    return [each for each in seen.uploads if each.content == expected.arriving.content]


def _told_of_end(expected: ExpectedDrop, seen: Observation) -> Iterator[str]:
    if _statuses(expected, seen) & set(RECEIPT_STATUS.values()) != {RECEIPT_STATUS[expected.end]}:
        yield f"no event Delivery Updated says {RECEIPT_STATUS[expected.end]}, or one says something else"


def _statuses(expected: ExpectedDrop, seen: Observation) -> set[str]:
    return {
        each.status
        for each in seen.events
        if (each.key, each.version_id) == (_receipt_key(expected), expected.version_id) and each.status
    }


def _receipt(expected: ExpectedDrop, seen: Observation) -> Iterator[str]:
    """The receipt of the key speaks of its newest version and says how it ended, and why where it failed."""
    receipt = receipt_of(expected, seen)
    if receipt is None:
        yield "the receipt is missing"
    elif expected.newest:
        yield from _receipt_says(expected, receipt, seen)


def _receipt_says(expected: ExpectedDrop, receipt: Mapping[str, object], seen: Observation) -> Iterator[str]:
    if receipt.get("versionId") != expected.version_id:
        yield "the receipt speaks of another version"
    if receipt.get("status") != RECEIPT_STATUS[expected.end]:
        yield f"the receipt says {receipt.get('status')}"
    error = receipt.get("error")
    said = (error.get("code"), bool(error.get("message"))) if isinstance(error, dict) else (None, False)
    if said != (expected.code, expected.code is not None):
        yield f"the receipt's error is {said[0]}"
    uploads: list[str | None] = [each.id for each in _uploads_of(expected, seen)]
    if receipt.get("portalId") not in (uploads or [expected.portal_id]):
        yield "the receipt names another upload"


def receipt_of(expected: ExpectedDrop, seen: Observation) -> Mapping[str, object] | None:
    """The receipt of a drop's key, None while there is none."""
    found = seen.inbox.get(_receipt_key(expected))
    return None if found is None else found.text


def _receipt_key(expected: ExpectedDrop) -> str:
    return f"{RECEIPTS}/{expected.key}.json"


# --- everything together ---------------------------------------------------------------------------------------------


def judge_whole(scenario: Scenario, seen: Observation) -> Iterator[str]:
    """Nothing is there that nobody expects: objects, acknowledgements, uploads, dead letters, work in the queues."""
    yield from (f"unexpected in the inbox: {key}" for key in sorted(_unexpected_keys(scenario, seen)))
    known = {(each.portal, each.id) for each in scenario.documents}
    yield from (f"unexpected acknowledgement: {each.id}" for each in seen.told if (each.portal, each.id) not in known)
    yield from _unexpected_uploads(scenario.drops, seen)
    yield from _unexpected_statuses(scenario.drops, seen)
    expected_links = {each.link_of for each in scenario.drops}
    yield from (f"unexpected link for {each.job_id}" for each in seen.links if each.job_id not in expected_links)
    if seen.dead_letters:
        yield f"{seen.dead_letters} messages in the dead-letter queue"
    yield from seen.searched.leaks
    yield from seen.judged.refused
    yield from (f"{count} messages are left in {name}" for name, count in seen.left_in_queues.items() if count)


def _unexpected_keys(scenario: Scenario, seen: Observation) -> set[str]:
    items = {each.prefix for each in scenario.documents}
    expected = tuple(f"{root}{prefix}/" for prefix in items for root in ("", f"{QUARANTINE}/"))
    receipts = {_receipt_key(each) for each in scenario.drops}
    return {key for key in seen.inbox if key not in receipts and not key.startswith((*expected, REPORTS))}


def _unexpected_uploads(drops: Sequence[ExpectedDrop], seen: Observation) -> Iterator[str]:
    surplus = Counter(each.content for each in seen.uploads)
    surplus.subtract(Counter(each.arriving.content for each in drops if each.at_portal))
    for each in seen.uploads:
        if surplus[each.content] > 0:
            yield f"unexpected upload at {each.portal}: {each.file_name}"


def _unexpected_statuses(drops: Sequence[ExpectedDrop], seen: Observation) -> Iterator[str]:
    expected = {(each.portal_id, each.sets) for each in drops if each.sets}
    for each in seen.statuses:
        if (each.id, each.status) not in expected:
            yield f"unexpected status at {each.portal}: {each.status} of {each.id}"
    refunds = {each.portal_id for each in drops if each.refunds}
    yield from (f"unexpected refund: {id_}" for id_ in seen.refunds if id_ not in refunds)
