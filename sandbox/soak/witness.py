"""Sees every acknowledgement at the moment when it reaches a portal, and whether the document was there by then."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.demo.scenario import ExpectedDocument
from sandbox.demo.verdict import DOCUMENT
from sandbox.portals.catalog import Portals
from sandbox.portals.server import SimulatedPortal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ACCOUNT = "000000000000"
PROCESSING = "In Bearbeitung"
ACKNOWLEDGEMENTS: Mapping[str, str] = {
    "duba": r"POST /api/duba/v1/messages/ack",
    "docxworld": r"POST /v1/downloads/(?P<id>[^/]+)/acknowledge",
    "digitale-gemeinde": r"PUT /Form/[^/]+/document/(?P<id>[^/]+)",
    "altinn": r"POST /storage/api/v1/instances/(?P<id>[^/]+/[^/]+)/complete",
}
"""Each portal's request, with the item's id in it; DUBA's has the ids in its body."""


def bucket_folder(aws_folder: Path, bucket: str) -> Path:
    """Where the embedded AWS keeps the objects of a bucket, each as a file under its key."""
    return aws_folder / "s3" / ACCOUNT / bucket


class Witness:
    """Notes each acknowledgement that comes before its document.json.

    It looks at the bucket's folder, not at the API: the AWS may be dead at that moment, what is on disk is there.
    """

    def __init__(self, inbox: Path, documents: Mapping[tuple[str, str], ExpectedDocument]) -> None:
        self._inbox = inbox
        self._documents = documents
        self.seen = 0
        """How many acknowledgements were looked at, repeated ones included."""
        self.too_early: list[tuple[str, str]] = []
        """Portal and id of each that came too early."""

    def watch(self, portals: Portals) -> None:
        """Look at everything that reaches the portals from their next start on."""
        for portal in portals.all():
            portal.middlewares.append(self._middleware(portal))

    def _middleware(self, portal: SimulatedPortal) -> Any:
        pattern = re.compile(ACKNOWLEDGEMENTS[portal.name])

        @web.middleware
        async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
            found = pattern.fullmatch(f"{request.method} {request.path}")
            if found is not None:
                body = await request.read()
                for id_ in acknowledged(found, body):
                    self._judge(portal.name, id_)
            return await handler(request)

        return look

    def _judge(self, portal: str, id_: str) -> None:
        """An item that nobody expects is the verdict's matter."""
        self.seen += 1
        document = self._documents.get((portal, id_))
        if document is not None and not (self._inbox / document.prefix / DOCUMENT).exists():
            self.too_early.append((portal, id_))


def acknowledged(request: re.Match[str], body: bytes) -> Iterator[str]:
    """The ids of the items that a request acknowledges; a status that is set for another reason acknowledges none."""
    try:
        said = json.loads(body or b"{}")
    except ValueError:
        return
    if "id" not in request.groupdict():
        yield from (str(id_) for id_ in said.get("messageIds", []))
    elif not request.string.startswith("PUT ") or said.get("status") == PROCESSING:
        yield request["id"]
