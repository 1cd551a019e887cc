"""Whether anything secret or personal got where it must not be, and whether a function did what its role forbids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from sandbox.aws_server import TAKEN_PATH
from sandbox.demo.observation import Judged, Searched, StoredObject, magic_links
from sandbox.demo.scenario import Scenario
from sandbox.embedded import EmbeddedAwsError
from sandbox.portals.catalog import Portals, secrets

LOG_GROUPS, RECEIPTS = "/amtsbote/", "receipts/"
LINK = "the magic link"
IN_A_ROLE = ":assumed-role/"
TAKEN_SECONDS = 30.0
SECRET_FIELDS = frozenset({"password", "apiKey", "clientSecret", "privateKey"})
SIGNATURE = "X-Amz-Signature="
"""In whatever address it stands, the address is presigned: who has it needs no login."""


def private_texts(portals: Portals, scenario: Scenario) -> dict[str, str]:
    """What may be nowhere, and what to call it: logins, links that open something, courts' case numbers."""
    found = {text: name for name, body in secrets(portals).items() for text in _secret_values(name, body)}
    found |= {link.token: f"{LINK} of job {link.job_id}" for link in magic_links(portals.duba)}
    found |= {each.label: f"the case number of {each.id}" for each in scenario.documents if each.portal == "duba"}
    found[SIGNATURE] = "a presigned address"
    return found


def _secret_values(name: str, body: Mapping[str, Any]) -> Iterator[str]:
    for field, value in body.items():
        if isinstance(value, Mapping):
            yield from _secret_values(name, value)
        elif field in SECRET_FIELDS:
            yield str(value)


@dataclass(frozen=True)
class Taken:
    """What the embedded AWS has taken down: what was sent to queues and buses, and how IAM judged which calls."""

    sent: Sequence[str]
    judged: Judged

    @classmethod
    def of(cls, endpoint: str) -> Taken:
        """Ask the embedded AWS; EmbeddedAwsError where it has seen no function at work, which would prove nothing."""
        answer = requests.get(f"{endpoint}{TAKEN_PATH}", timeout=TAKEN_SECONDS)
        answer.raise_for_status()
        taken = answer.json()
        of_functions = [each for each in taken["judged"] if IN_A_ROLE in each[0]]
        if not of_functions or not taken["sent"]:
            raise EmbeddedAwsError("it has taken down no call of a function, so nobody can say what was refused")
        return cls(
            [text for body in taken["sent"] for text in _strings(json.loads(body))],
            Judged(
                calls=sum(times for *_, times in of_functions),
                kinds=len({(_role(who), action) for who, action, *_ in of_functions}),
                refused=tuple(
                    f"{_role(who)} was refused {action}, {times} times"
                    for who, action, allowed, times in of_functions
                    if not allowed
                ),
            ),
        )


def search(client: Any, sent: Iterable[str], inbox: Mapping[str, StoredObject], texts: Mapping[str, str]) -> Searched:
    """Look for each text, as it is and as addresses and JSON spell it.

    Read are every line of every function's log group (metrics are such lines), everything `sent` to queues and buses,
    and every receipt; what a receipt is for may stand in it.
    """
    of_receipts = {text: name for text, name in texts.items() if not name.startswith(LINK)}
    places = (
        ("log lines", _log_lines(client), texts),
        ("messages and events", (("a message or an event", text) for text in sent), texts),
        ("receipts", _receipts(inbox), of_receipts),
    )
    read, leaks = dict[str, int](), dict[str, None]()
    for kind, entries, private in places:
        spelled = {spelling: name for text, name in private.items() for spelling in _spellings(text)}
        read[kind] = 0
        for place, entry in entries:
            read[kind] += 1
            leaks |= {f"{name} is in {place}": None for text, name in spelled.items() if text in entry}
    return Searched(read, len(texts), tuple(leaks))


def _log_lines(client: Any) -> Iterator[tuple[str, str]]:
    for page in client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=LOG_GROUPS):
        for group in (each["logGroupName"] for each in page["logGroups"]):
            for lines in client.get_paginator("filter_log_events").paginate(logGroupName=group):
                yield from ((group, event["message"]) for event in lines["events"])


def _receipts(inbox: Mapping[str, StoredObject]) -> Iterator[tuple[str, str]]:
    for key, stored in inbox.items():
        if key.startswith(RECEIPTS):
            yield key, json.dumps(stored.text)


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping | list):
        for each in node.values() if isinstance(node, Mapping) else node:
            yield from _strings(each)


def _role(who: str) -> str:
    """Return the role's name of somebody who acts in it: `arn:aws:sts::1:assumed-role/<name>/<session>`."""
    return who.split("/")[1]


def _spellings(text: str) -> set[str]:
    return {text, quote(text, safe=""), json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
