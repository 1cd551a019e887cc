"""Whether anything secret or personal got into the logs: what CloudWatch has, and what must not be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sandbox.demo.observation import LogsRead, magic_links
from sandbox.demo.scenario import Scenario
from sandbox.portals.catalog import Portals, secrets

LOG_GROUPS = "/amtsbote/"
SECRET_FIELDS = frozenset({"password", "apiKey", "clientSecret", "privateKey"})
SIGNATURE = "X-Amz-Signature="
"""In whatever address it stands, the address is presigned: who has it needs no login."""


def private_texts(portals: Portals, scenario: Scenario) -> dict[str, str]:
    """What no log may contain, and what to call it: logins, links that open something, courts' case numbers."""
    found = {text: name for name, body in secrets(portals).items() for text in _secret_values(name, body)}
    found |= {link.token: f"the magic link of job {link.job_id}" for link in magic_links(portals.duba)}
    found |= {each.label: f"the case number of {each.id}" for each in scenario.documents if each.portal == "duba"}
    found[SIGNATURE] = "a presigned address"
    return found


def _secret_values(name: str, body: Mapping[str, Any]) -> Iterator[str]:
    for field, value in body.items():
        if isinstance(value, Mapping):
            yield from _secret_values(name, value)
        elif field in SECRET_FIELDS:
            yield str(value)


def read_logs(client: Any, texts: Mapping[str, str]) -> LogsRead:
    """Read every line of every function's log group and look for each text, as it is and as addresses spell it."""
    spelled = {spelling: name for text, name in texts.items() for spelling in _spellings(text)}
    lines, leaks = 0, dict[str, None]()
    for page in client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=LOG_GROUPS):
        for group in (each["logGroupName"] for each in page["logGroups"]):
            for line in _lines(client, group):
                lines += 1
                leaks |= {f"{name} is in {group}": None for text, name in spelled.items() if text in line}
    return LogsRead(lines, len(texts), tuple(leaks))


def _lines(client: Any, group: str) -> Iterator[str]:
    for page in client.get_paginator("filter_log_events").paginate(logGroupName=group):
        yield from (event["message"] for event in page["events"])


def _spellings(text: str) -> set[str]:
    escaped = text.replace("\n", "\\n")  # as JSON has a private key
    return {text, escaped, quote(text, safe="")}
