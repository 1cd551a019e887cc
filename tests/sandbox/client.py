"""A plain HTTP client for the tests of simulated portals: one connection per request, nothing retried or followed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


def ask(
    port: int, method: str, target: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request to 127.0.0.1 and read the whole answer. Broken connections raise what http.client raises."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def ask_json(port: int, method: str, target: str, document: object) -> Answer:
    """Send a JSON document."""
    return ask(port, method, target, body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})


def basic(username: str, password: str) -> str:
    """The value of an Authorization header for HTTP Basic."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
