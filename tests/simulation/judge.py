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
from typing import Any

from tests.simulation.account import INBOX
from tests.simulation.cloud.s3 import Version
from tests.simulation.machine import Machine
from tests.simulation.offices.office import ExpectedDrop, ExpectedItem, Office

ABSENT = "absent"
UNDER_WAY = frozenset({ABSENT, "DISCOVERED", "FETCHING", "UNAVAILABLE"})  # the last, too, may be tried again
ENDED = frozenset({"DELIVERED", "FAILED"})
LATEST_SECONDS = 8 * 3600.0
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
    "DISCOVERED": frozenset({"DISCOVERED", "FETCHING"}),
    "FETCHING": frozenset({"FETCHING", "DISCOVERED", "STORED", "QUARANTINED", "UNAVAILABLE"}),
    "STORED": frozenset({"STORED", "ACKNOWLEDGED", "UNAVAILABLE"}),
    "ACKNOWLEDGED": frozenset({"ACKNOWLEDGED"}),
    "QUARANTINED": frozenset({"QUARANTINED"}),
    "UNAVAILABLE": frozenset({"UNAVAILABLE", "DISCOVERED"}),
    "RECEIVED": frozenset({"RECEIVED", "SENDING", "FAILED"}),
    "SENDING": frozenset({"SENDING", "SENT", "DELIVERED", "FAILED"}),
    "SENT": frozenset({"SENT", "DELIVERED", "FAILED"}),
    "DELIVERED": frozenset({"DELIVERED"}),
    "FAILED": frozenset({"FAILED"}),
}


class Judge:
    """Watches a machine and an office; `complaints` fills with what must not be."""

    def __init__(self, machine: Machine, office: Office) -> None:
        self._machine = machine
        self._office = office
        self._account = machine.account
        self.complaints: list[str] = []
        self._told: set[tuple[str, str]] = set()
        self._seen: dict[str, list[str]] = defaultdict(list)
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
        if bucket != INBOX or version.deleted:
            return
        if key.startswith("receipts/"):
            self._receipt_written(json.loads(version.body))
        elif not key.startswith("quarantine/"):
            self._file_written(key, version)

    def _file_written(self, key: str, version: Version) -> None:
        if len(self._account.s3.versions(INBOX, key)) > 1:
            self._complain(f"{key} was written twice")
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
        return None

    def _recorded(self, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> None:
        name = new["pk"]["S"]
        if not name.startswith(("ITEM#", "DROP#")) or "state" not in new:
            return
        name, state = f"{name} {new['sk']['S']}", new["state"]["S"]
        before = None if old is None else old["state"]["S"]
        if before is not None and state not in NEXT_STATES[before]:
            self._complain(f"{name} went from {before} to {state}")
        if old is not None and int(new["version"]["N"]) != int(old["version"]["N"]) + 1:
            self._complain(f"{name} lost a write")
        if state != before:
            self._seen[name].append(state)
        if state == "STORED" and before != "STORED":
            prefix = self._prefix(new["connection"]["S"], new["id"]["S"])
            if self._document(prefix) is None:
                self._complain(f"{name} says STORED without a document.json")

    def has_work(self) -> bool:
        """Return whether something is left to do: a row that is due, an item or a drop that has not come to its end."""
        due = any("dueQueue" in row for row in self._account.dynamodb.rows.values())
        return bool(self._office.ahead) or due or any(map(self._is_under_way, self._office.items.values()))

    def _is_under_way(self, item: ExpectedItem) -> bool:
        state = self._state_of(item)
        return state in UNDER_WAY and state not in item.ends

    def _state_of(self, item: ExpectedItem) -> str:
        row = self._account.dynamodb.rows.get((f"ITEM#{self._office.name}#{item.connection}#{item.id}", "STATE"))
        return ABSENT if row is None else str(row["state"]["S"])

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
        state = self._state_of(item)
        name = f"{item.id} ({item.story})" if item.story else item.id
        if state not in item.ends:
            self._complain(f"{name} ended {state}, and should be {' or '.join(sorted(item.ends))}")
        there = self._document(self._prefix(item.connection, item.id)) is not None
        if state in ("STORED", "ACKNOWLEDGED") and not there:
            self._complain(f"{name} is {state} and not in the inbox")
        if state == "ACKNOWLEDGED" and item.key not in self._told and not item.others_take_it:
            self._complain(f"{name} is ACKNOWLEDGED here and not at the portal")
        if there and state not in ("STORED", "ACKNOWLEDGED", "UNAVAILABLE"):
            self._complain(f"{name} is in the inbox, and the ledger says {state}")

    def _close_drop(self, drop: ExpectedDrop) -> None:
        name = f"{drop.key} {drop.version} ({drop.story})"
        row = self._account.dynamodb.rows.get((f"DROP#outbox/{drop.key}", drop.version))
        state = ABSENT if row is None else row["state"]["S"]
        arrivals = self._office.arrivals(drop)
        if state not in drop.ends:
            self._complain(f"{name} ended {state}, and should be {' or '.join(sorted(drop.ends))}")
        if arrivals > drop.at_most:
            self._complain(f"{name} took effect {arrivals} times")
        if state == "DELIVERED" and not arrivals:
            self._complain(f"{name} is DELIVERED here and not at the portal")
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
            told = [each["M"]["state"]["S"] for each in row["history"]["L"]]
            if not _tells(_without_repeats(told), seen):
                self._complain(f"{pk} {sk}: history says {told}, and it was {seen}")

    def _close_events(self) -> None:
        kinds: Counter[tuple[str, str]] = Counter()
        for event in self._account.events.published:
            kinds[(event.detail_type, f"{event.detail['connection']} {event.detail['id']}")] += 1
            if event.detail_type == "Document Received" and self._content(event.detail["key"]) is None:
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


def _without_repeats(states: Sequence[str]) -> list[str]:
    return [state for number, state in enumerate(states) if number == 0 or states[number - 1] != state]


def _tells(told: Sequence[str], seen: Sequence[str]) -> bool:
    """Return whether these steps tell of what was seen: from the first to the last, in order, no state left out."""
    rest = iter(seen)
    in_order = all(state in rest for state in told)
    return in_order and (told[0], told[-1]) == (seen[0], seen[-1]) and set(told) == set(seen)
