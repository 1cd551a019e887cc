"""The judge: looks at every write and at every portal call, and at the end at everything, and says what is wrong.

It knows the outside only: what lies in the buckets, what the portal holds, what was published; of the ledger it looks
at rows as they are written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from amtsbote.audit import verify
from amtsbote.ledger import Ledger
from tests.simulation.account import INBOX, LEDGER, OUTBOX
from tests.simulation.cloud.s3 import Version
from tests.simulation.machine import AUDIT_DAYS, FUNCTIONS, START, Machine
from tests.simulation.mishaps import Mishaps
from tests.simulation.offices.office import ExpectedDrop, ExpectedItem, Office

ABSENT = "absent"
UNDER_WAY = frozenset({ABSENT, "DISCOVERED", "FETCHING", "UNAVAILABLE"})  # the last, too, may be tried again
ENDED = frozenset({"DELIVERED", "FAILED"})
LATEST_SECONDS = 8 * 3600.0
LONGEST_INVOCATION_SECONDS = 600.0
CALLS_PER_THING = 250
CALLS_PER_INVOCATION = 25
CALLS_PER_STROKE = 60
CRASH = re.compile(r"'msg': 'crashed'.*?'error_type': '(\w+)'")
OF_AWS = frozenset(
    {
        "ClientError",
        "EndpointConnectionError",
        "ReadTimeoutError",
        "ProvisionedThroughputExceededException",
        "InvalidParameterValue",
    }
)
"""What may crash a worker: AWS, struck. Its request comes again; every other error has a meaning, or is a defect."""
NEXT_STATES: Mapping[str, frozenset[str]] = {
    "DISCOVERED": frozenset({"DISCOVERED", "FETCHING", "STORED"}),  # STORED here and below: by a worker without a lease
    "FETCHING": frozenset({"FETCHING", "DISCOVERED", "STORED", "QUARANTINED", "UNAVAILABLE"}),
    "STORED": frozenset({"STORED", "ACKNOWLEDGED", "UNAVAILABLE", "ERASING", "DISCOVERED"}),
    "ACKNOWLEDGED": frozenset({"ACKNOWLEDGED", "ERASING"}),
    "QUARANTINED": frozenset({"QUARANTINED", "STORED"}),
    "UNAVAILABLE": frozenset({"UNAVAILABLE", "DISCOVERED", "STORED", "ERASING"}),
    "RECEIVED": frozenset({"RECEIVED", "SENDING", "FAILED"}),
    "SENDING": frozenset({"SENDING", "SENT", "DELIVERED", "FAILED"}),
    "SENT": frozenset({"SENT", "DELIVERED", "FAILED"}),
    "DELIVERED": frozenset({"DELIVERED", "ERASING"}),
    "FAILED": frozenset({"FAILED", "ERASING"}),
    "ERASING": frozenset({"ERASING", "ERASED"}),
    "ERASED": frozenset({"ERASED", "DISCOVERED"}),
}
OPENED = (["DISCOVERED"], ["RECEIVED"], ["RECEIVED", "SENDING"])
"""What the first write of a row may tell of."""
GONE = frozenset({"ERASING", "ERASED"})
OF_THE_CONTENT = ("record", "failure", "lease_until", "dueQueue")
"""What no row holds any more once it is erased."""


class Judge:
    """Watches a machine and an office; `complaints` fills with what must not be."""

    def __init__(self, machine: Machine, office: Office, mishaps: Mishaps) -> None:
        self._machine = machine
        self._mishaps = mishaps
        self._office = office
        self._account = machine.account
        self.complaints: list[str] = []
        self._told: set[tuple[str, str]] = set()
        self._seen: dict[str, list[str]] = defaultdict(list)
        self._sealed: dict[str, set[str]] = defaultdict(set)
        self._erased: set[str] = set()  # prefixes of items that were here once
        rules = machine.conditions.rules.of(office.name)
        self._kept_for = {rule.state: rule.kept_for for rule in rules}
        machine.account.s3.observers.append(self._written)
        machine.account.dynamodb.observers.append(self._recorded)
        machine.after_portal_call = self._called

    # --- after each step ---------------------------------------------------------------------------------------------

    def _called(self) -> None:
        """Look at what the portal takes for acknowledged since the last call."""
        now = set(self._office.acknowledged())
        for connection, id_ in now - self._told:
            self._acknowledged(connection, id_)
        self._told |= now

    def _acknowledged(self, connection: str, id_: str) -> None:
        prefix = self._prefix(connection, id_)
        if self._document(prefix) is None:
            self._complain(f"{id_} was acknowledged and is not in the inbox")
        policy = self._office.policies[connection]
        if policy == "never":
            self._complain(f"{id_} was acknowledged, and the connection says never")
        if policy == "processed" and not self._is_processed(prefix):
            self._complain(f"{id_} was acknowledged before the backend had processed it")

    def _written(self, bucket: str, key: str, version: Version) -> None:
        if key in self._mishaps.deleted and version.is_delete_marker:
            return  # put there by somebody, taken away by the operator
        if version.deleted:
            self._removed(bucket, key, version)
        elif bucket != INBOX:
            return
        elif key.startswith("receipts/"):
            self._receipt_written(json.loads(version.body))
        elif key.startswith("reports/"):
            self._mishaps.written(json.loads(version.body))
        elif not key.startswith("quarantine/"):
            self._file_written(key, version)

    def _file_written(self, key: str, version: Version) -> None:
        if len(self._account.s3.versions(INBOX, key)) > 1:
            self._complain(f"{key} was written twice")
        if key.rpartition("/")[0] in self._erased:
            self._complain(f"{key} came again after it was erased")
        if key.endswith("/document.json"):
            self._committed(key.removesuffix("/document.json"), json.loads(version.body))

    def _committed(self, prefix: str, document: Mapping[str, Any]) -> None:
        item = self._office.items.get((document["connection"], document["id"]))
        if item is None:
            return self._complain(f"{prefix} is in the inbox, and the portal never had it for us")
        late = self._machine.clock.seconds() - item.ready_seconds
        if late > LATEST_SECONDS:
            self._complain(f"{prefix} ({item.story}) came {late / 3600:.0f} hours after it could have been fetched")
        files = {each["key"]: self._content(each["key"]) for each in document["files"]}
        for each in document["files"]:
            body = files[each["key"]]
            if body is None:
                return self._complain(f"{prefix}: document.json came before {each['name']}")
            if (len(body), hashlib.sha256(body).hexdigest()) != (each["size"], each["sha256"]):
                self._complain(f"{prefix}: {each['name']} is not what document.json says")
        whole = {key: body for key, body in files.items() if body is not None}
        if not self._office.is_content(item, whole, document):
            self._complain(f"{prefix} ({item.story}) is not what the portal has")
        return None

    def _receipt_written(self, receipt: Mapping[str, Any]) -> None:
        drop = self._drop(receipt["outboxKey"], receipt["versionId"])
        if drop is None:
            return self._complain(f"a receipt speaks of {receipt['outboxKey']}, which was never dropped so")
        name = f"{drop.key} {drop.version}"
        if receipt["status"] == "DELIVERED" and not self._office.arrivals(drop):
            self._complain(f"{name}: the receipt says DELIVERED, the portal does not have it")
        before = self._seen[f"receipt {name}"]
        if before and before[-1] in ENDED and receipt["status"] != before[-1]:
            self._complain(f"{name}: the receipt said {before[-1]} and now {receipt['status']}")
        before.append(receipt["status"])
        beneath = self._account.s3.versions(INBOX, f"receipts/{drop.key}.json")[1:2]
        if any(each.body and _place_of(json.loads(each.body)) > _place_of(receipt) for each in beneath):
            self._complain(f"{name}: the receipt was written over a newer one")
        return None

    def _recorded(self, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> None:
        name = new["pk"]["S"]
        if not name.startswith(("ITEM#", "DROP#")) or "state" not in new:
            return
        name, state = f"{name} {new['sk']['S']}", new["state"]["S"]
        before = None if old is None else old["state"]["S"]
        if old is not None:
            self._moved(name, old, new)
        if old is None:
            self._seen[name] += _states_of(new)
        elif state != before:
            self._seen[name].append(state)
        self._trailed(name, old, new)
        if state == "ERASING" and before != "ERASING":
            self._erasure_begun(name, old or {})
        if state == "ERASED":
            self._row_erased(name, new)
        if state == "STORED" and before != "STORED":
            prefix = self._prefix(new["connection"]["S"], new["id"]["S"])
            if self._document(prefix) is None:
                self._complain(f"{name} says STORED without a document.json")

    def _moved(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """A row moves by the rules, one write after the other, and what was deferred not before its time."""
        before, state = old["state"]["S"], new["state"]["S"]
        if state not in NEXT_STATES[before]:
            self._complain(f"{name} went from {before} to {state}")
        if int(new["version"]["N"]) != int(old["version"]["N"]) + 1:
            self._complain(f"{name} lost a write")
        until = old.get("not_before", {"S": START.isoformat()})
        if state == "FETCHING" and datetime.fromisoformat(until["S"]) > self._machine.clock():
            self._complain(f"{name} was deferred, and is fetched before its time")

    def _trailed(self, name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> None:
        """A trail is only added to, by one step at a time; a drop may be opened by the worker that sends it."""
        before, after = (_digests_of(row) for row in (old or {}, new))
        self._sealed[name].update(after)
        opened = old is None and _states_of(new) in OPENED
        if not opened and not set(after[:-1]) <= set(before):
            self._complain(f"{name}: the trail was written anew")

    # --- what is erased ----------------------------------------------------------------------------------------------

    def _erasure_begun(self, name: str, old: Mapping[str, Any]) -> None:
        """An erasure begins when its time has come, of what nobody waits for."""
        state = old["state"]["S"]
        kept_for = self._kept_for.get(state)
        since = datetime.fromisoformat(old["history"]["L"][-1]["M"]["at"]["S"])
        if kept_for is None or self._machine.clock() - since < kept_for:
            self._complain(f"{name} is erased before its time as {state}")
        if "dueQueue" in old or "lease_until" in old:
            self._complain(f"{name} is erased, and is not done with")
        if state == "STORED" and self._office.policies[old["connection"]["S"]] != "never":
            self._complain(f"{name} is erased, and the portal was not told of it")

    def _row_erased(self, name: str, row: Mapping[str, Any]) -> None:
        """A row says that it is erased when nothing is left, and says nothing of the content itself."""
        if row["pk"]["S"].startswith("ITEM#") and "STORED" in self._seen[name]:
            self._erased.add(self._prefix(row["connection"]["S"], row["id"]["S"]))
        if left := [*self._left_of(row), *(each for each in OF_THE_CONTENT if each in row)]:
            self._complain(f"{name} is erased, and {left[0]} is there")
        until = self._machine.clock() + timedelta(days=AUDIT_DAYS)
        if abs(int(row["expiresAt"]["N"]) - until.timestamp()) > LONGEST_INVOCATION_SECONDS:
            self._complain(f"{name} is not kept for the time that was set")

    def _left_of(self, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is there of a row's content: objects, receipts, words."""
        pk, sk = row["pk"]["S"], row["sk"]["S"]
        if pk.startswith("ITEM#"):
            prefix = f"{self._prefix(row['connection']['S'], row['id']['S'])}/"
            for place in (prefix, f"quarantine/{prefix}"):
                keys = self._account.s3.all_keys(INBOX, place)
                yield from (key for key in keys if "/" not in key.removeprefix(place))
        else:
            key = pk.removeprefix(f"DROP#{OUTBOX}/")
            yield from (key for each in self._account.s3.versions(OUTBOX, key) if each.id == sk)
            receipts = self._account.s3.versions(INBOX, f"receipts/{key}.json")
            yield from (f"a receipt of {key}" for each in receipts if _speaks_of(each, sk))
        for (place, word), found in self._account.dynamodb.rows.items():
            if place.startswith("WORD#") and (found["ofPk"]["S"], found["ofSk"]["S"]) == (pk, sk):
                yield f"the word {word}"

    def _removed(self, bucket: str, key: str, version: Version) -> None:
        """Nothing is deleted for good but of a row that is being erased, and receipts whose secret has ended."""
        if bucket == OUTBOX:
            owner = (f"DROP#{OUTBOX}/{key}", version.id)
        elif key.startswith("receipts/"):
            return self._receipt_removed(key, version)
        else:
            connection, id_ = key.removeprefix("quarantine/").split("/", 2)[1:]
            owner = (f"ITEM#{self._office.name}#{connection}#{id_.rpartition('/')[0]}", "STATE")
        row = self._account.dynamodb.rows.get(owner)
        if row is None or row["state"]["S"] not in GONE:
            self._complain(f"{key} was deleted, and its row says {row and row['state']['S']}")
        return None

    def _receipt_removed(self, key: str, version: Version) -> None:
        outbox_key = key.removeprefix("receipts/").removesuffix(".json")
        said = json.loads(version.body)["versionId"] if version.body else ""
        drop = self._drop(outbox_key, said)
        row = self._account.dynamodb.rows.get((f"DROP#{OUTBOX}/{outbox_key}", said), {})
        gone = "secret_until" in row or ("state" in row and row["state"]["S"] in GONE)
        if drop is not None and drop.newest and not gone:
            self._complain(f"{key} was deleted, and its delivery is kept")

    def _waits_for_erasure(self) -> bool:
        """Return whether something is there that a rule will be for."""
        return any(self._is_doomed(row) for row in self._account.dynamodb.rows.values())

    def _is_doomed(self, row: Mapping[str, Any]) -> bool:
        return "state" in row and row["state"]["S"] in self._kept_for and "dueQueue" not in row

    # --- what is left to do ------------------------------------------------------------------------------------------

    def has_work(self) -> bool:
        """Return whether something is left to do: a row that is due, an item or a drop that has not come to its end."""
        if self._waits_for_erasure() or self._mishaps.is_open:
            return True
        due = any("dueQueue" in row for row in self._account.dynamodb.rows.values())
        return bool(self._office.ahead) or due or any(map(self._is_under_way, self._office.items.values()))

    def _is_under_way(self, item: ExpectedItem) -> bool:
        state = self._state_of(item)
        return state in UNDER_WAY and state not in item.ends

    def _state_of(self, item: ExpectedItem) -> str:
        key = (f"ITEM#{self._office.name}#{item.connection}#{item.id}", "STATE")
        return self._ended_as(key)[0]

    def _ended_as(self, key: tuple[str, str]) -> tuple[str, bool]:
        """Return a row's state, or that in which its content was erased; and whether it was."""
        row = self._account.dynamodb.rows.get(key)
        if row is None:
            return ABSENT, False
        state = str(row["state"]["S"])
        lived = [each for each in self._seen[" ".join(key)] if each not in GONE]
        return (lived[-1], True) if state in GONE else (state, False)

    # --- at the end --------------------------------------------------------------------------------------------------

    def close(self, settled: bool, log: str) -> list[str]:
        """Look at everything and return all that must not be."""
        if not settled:
            self.complaints += list(self._unsettled())
        for item in self._office.items.values():
            self._close_item(item)
        for drop in self._office.drops:
            self._close_drop(drop)
        self._close_histories()
        self._close_trails()
        self.complaints += self._mishaps.complaints()
        self._close_events()
        self.complaints += [f"{word!r} stands in a log" for word in self._office.secrets if word in log]
        self.complaints += [f"a worker crashed with {name}" for name in CRASH.findall(log) if name not in OF_AWS]
        self.complaints += self._machine.defects
        self.complaints += self._office.complaints()
        self._close_work()
        return self.complaints

    def _unsettled(self) -> Iterator[str]:
        yield "the machine does not come to rest"
        for (name, place), row in self._account.dynamodb.rows.items():
            if "dueQueue" in row:
                yield f"still due: {name} {place} {row.get('state', {}).get('S')} {row['dueQueue']['S']}"

    def _close_item(self, item: ExpectedItem) -> None:
        state, erased = self._ended_as((f"ITEM#{self._office.name}#{item.connection}#{item.id}", "STATE"))
        name = f"{item.id} ({item.story})" if item.story else item.id
        if state not in item.ends:
            self._complain(f"{name} ended {state}, and should be {' or '.join(sorted(item.ends))}")
        there = self._document(self._prefix(item.connection, item.id)) is not None
        if state in ("STORED", "ACKNOWLEDGED") and there is erased:
            self._complain(f"{name} is {state} and not in the inbox")
        if state == "ACKNOWLEDGED" and item.key not in self._told and not item.others_take_it:
            self._complain(f"{name} is ACKNOWLEDGED here and not at the portal")
        if there and state not in ("STORED", "ACKNOWLEDGED", "UNAVAILABLE"):
            self._complain(f"{name} is in the inbox, and the ledger says {state}")

    def _close_drop(self, drop: ExpectedDrop) -> None:
        name = f"{drop.key} {drop.version} ({drop.story})"
        row = self._account.dynamodb.rows.get((f"DROP#outbox/{drop.key}", drop.version))
        state, erased = self._ended_as((f"DROP#outbox/{drop.key}", drop.version))
        arrivals = self._office.arrivals(drop)
        if state not in drop.ends:
            self._complain(f"{name} ended {state}, and should be {' or '.join(sorted(drop.ends))}")
        if arrivals > drop.at_most:
            self._complain(f"{name} took effect {arrivals} times")
        if state == "DELIVERED" and not arrivals:
            self._complain(f"{name} is DELIVERED here and not at the portal")
        if erased:
            return
        if row is not None and state == "FAILED":
            code = row["failure"]["M"]["code"]["S"]
            if code not in drop.codes:
                self._complain(f"{name} failed with {code}")
        if drop.newest and state in ENDED:
            self._close_receipt(name, drop, state, row or {})

    def _close_receipt(self, name: str, drop: ExpectedDrop, state: str, row: Mapping[str, Any]) -> None:
        body = self._content(f"receipts/{drop.key}.json")
        if body is None:
            if "secret_until" not in row:
                self._complain(f"{name} has no receipt")
            return
        receipt = json.loads(body)
        if (receipt["versionId"], receipt["status"]) != (drop.version, state):
            self._complain(f"{name}: the receipt says {receipt['status']} of {receipt['versionId']}")
        if (receipt["error"] is not None) != (state == "FAILED"):
            self._complain(f"{name}: the receipt's error does not fit {state}")

    def _close_histories(self) -> None:
        """A row's history is what was seen of it; one that tries again and again keeps the first and the latest."""
        for (pk, sk), row in self._account.dynamodb.rows.items():
            seen = self._seen.get(f"{pk} {sk}")
            if seen is None or "history" not in row:
                continue
            told = _states_of(row)
            if not _tells(_without_repeats(told), seen):
                self._complain(f"{pk} {sk}: history says {told}, and it was {seen}")

    def _close_trails(self) -> None:
        """Every row's trail is whole, knows which function each step was of, and counts all steps that were seen."""
        stored = [key for key, row in self._account.dynamodb.rows.items() if "history" in row]
        ledger = Ledger(cast(Any, self._account.dynamodb), LEDGER, self._machine.clock)
        for place, row in ledger.rows(stored).items():
            name = " ".join(place)
            self.complaints += [f"the trail of {name}: {wrong}" for wrong in verify(row)]
            if any(past.by not in FUNCTIONS for past in row.history):
                self._complain(f"the trail of {name} does not know whose a step is")
            if row.history[-1].number != len(self._sealed[name]):
                self._complain(
                    f"the trail of {name} counts {row.history[-1].number} of {len(self._sealed[name])} steps"
                )

    def _close_events(self) -> None:
        kinds: Counter[tuple[str, str]] = Counter()
        for event in self._account.events.published:
            kinds[(event.detail_type, f"{event.detail['connection']} {event.detail['id']}")] += 1
            key = event.detail["key"]
            missing = event.detail_type == "Document Received" and self._content(key) is None
            if missing and key.rpartition("/")[0] not in self._erased:
                self._complain(f"an event tells of {event.detail['key']}, which is not there")
        for item in self._office.items.values():
            if self._document(self._prefix(item.connection, item.id)) is None:
                continue
            if not kinds[("Document Received", f"{item.connection} {item.id}")]:
                self._complain(f"no event tells of {item.id}")

    def _close_work(self) -> None:
        things = len(self._office.items) + len(self._office.drops)
        tally = self._machine.boundary.tally
        calls, strokes = sum(tally.calls.values()), sum(tally.strokes.values())
        most = CALLS_PER_THING * things + CALLS_PER_INVOCATION * self._machine.invocations + CALLS_PER_STROKE * strokes
        if calls > most:
            self._complain(f"{calls} calls for {things} things, more than {most}")

    # --- looking -----------------------------------------------------------------------------------------------------

    def _complain(self, what: str) -> None:
        self._machine.tell(f"!! {what}")
        self.complaints.append(what)

    def _prefix(self, connection: str, id_: str) -> str:
        return f"{self._office.name}/{connection}/{id_}"

    def _drop(self, key: str, version: str) -> ExpectedDrop | None:
        return next((each for each in self._office.drops if (each.key, each.version) == (key, version)), None)

    def _content(self, key: str) -> bytes | None:
        versions = self._account.s3.versions(INBOX, key)
        return versions[0].body if versions and not versions[0].is_delete_marker else None

    def _document(self, prefix: str) -> bytes | None:
        return self._content(f"{prefix}/document.json")

    def _is_processed(self, prefix: str) -> bool:
        tags = self._account.s3.get_object_tagging(Bucket=INBOX, Key=f"{prefix}/document.json")["TagSet"]
        return {"Key": "processed", "Value": "true"} in tags


def _place_of(receipt: Mapping[str, Any]) -> tuple[str, str]:
    """Return what orders the receipts of a key: the version it speaks of, and when its last step was made."""
    return str(receipt["versionId"]), str(receipt["updatedAt"])


def _speaks_of(receipt: Version, version_id: str) -> bool:
    return bool(receipt.body) and json.loads(receipt.body)["versionId"] == version_id


def _states_of(row: Mapping[str, Any]) -> list[str]:
    return [each["M"]["state"]["S"] for each in row["history"]["L"]]


def _digests_of(row: Mapping[str, Any]) -> list[str]:
    return [each["M"]["digest"]["S"] for each in row.get("history", {"L": []})["L"]]


def _without_repeats(states: Sequence[str]) -> list[str]:
    return [state for number, state in enumerate(states) if number == 0 or states[number - 1] != state]


def _tells(told: Sequence[str], seen: Sequence[str]) -> bool:
    """Return whether these steps tell of what was seen: from the first to the last, in order, no state left out."""
    rest = iter(seen)
    in_order = all(state in rest for state in told)
    return in_order and (told[0], told[-1]) == (seen[0], seen[-1]) and set(told) == set(seen)
