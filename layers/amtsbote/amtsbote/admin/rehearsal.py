"""What is sent, told before it is sent; and the rehearsal of `--dry-run`, which sends nothing that changes anything."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from amtsbote.http import IDEMPOTENT_READS, Answer, Body, PortalHttp, Query


@dataclass(frozen=True)
class Call:
    """A call to the portal, without its credentials. `sent` is false for one that was kept back."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: Any
    sent: bool

    def __str__(self) -> str:
        """Return the call as it would go over the wire, and whether it did."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        lines = [f"{'sent    ' if self.sent else 'not sent'} {self.method} {self.path}{query}"]
        lines += [f"           {name}: {value}" for name, value in self.headers.items()]
        if self.body is not None:
            lines.append(f"           {json.dumps(self.body, ensure_ascii=False)}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the call as a JSON object."""
        return {
            "method": self.method,
            "path": self.path,
            "query": [list(pair) for pair in self.query],
            "headers": dict(self.headers),
            "body": self.body,
            "sent": self.sent,
        }


class NotSent(Exception):
    """A call that changes something was kept back: there is no answer to go on with."""


class RehearsedHttp(PortalHttp):
    """A portal account of which only reads are made. Every call is told to `tell`."""

    tell: Callable[[Call], None]

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        json_body: Any = None,
        body: Body = None,
    ) -> Answer:
        """Return the answer to a read; NotSent for everything else."""
        reads = method in IDEMPOTENT_READS
        told = dict(headers or {})
        if json_body is not None:
            told.setdefault("Content-Type", "application/json")
        self.tell(Call(method, path, tuple(query), told, json_body, reads))
        if not reads:
            raise NotSent
        return super().call(method, path, query=query, headers=headers, json_body=json_body, body=body)
