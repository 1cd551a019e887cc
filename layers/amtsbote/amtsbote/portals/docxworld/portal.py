"""docxworld as the verbs find it: its name, its secrets' schema, and its adapters, loaded when asked for.

Who only reads secrets, as dispatch does, so loads neither; who delivers does not load what fetches.
"""

import re
from typing import TYPE_CHECKING

from amtsbote.errors import Reject
from amtsbote.portals.docxworld.connection import DocxworldSecret
from amtsbote.portals.portal import Connection, Portal, Rotation, Tools
from amtsbote.portals.protocols import Destination, Drop, Record, Source

if TYPE_CHECKING:
    from amtsbote.portals.docxworld.client import DocxworldClient

GENERATION = re.compile(r"\.[2-9]$")  # of an upload that replaces another one (`uploads.reference_of_generation`)


def source(connection: Connection, tools: Tools) -> Source | None:
    """Return the downloads of a connection, None where it has no `downloader`."""
    from amtsbote.portals.docxworld.adapter import DocxworldSource

    secret: DocxworldSecret = connection.secret
    if secret.downloader is None:
        return None
    return DocxworldSource(_client(secret, tools), tools.transport, secret.downloader)


def destination(connection: Connection, tools: Tools) -> Destination | None:
    """Return what is sent from a connection, None where it has no `uploader`."""
    from amtsbote.portals.docxworld.outgoing import Outgoing
    from amtsbote.portals.docxworld.uploads import DocxworldDestination

    secret: DocxworldSecret = connection.secret
    if secret.uploader is None:
        return None
    return Outgoing(
        DocxworldDestination(_client(secret, tools), tools, secret.uploader, f"{connection.prefix} {secret.base_url}"),
        secret.auth,
    )


def _client(secret: DocxworldSecret, tools: Tools) -> "DocxworldClient":
    from amtsbote.portals.docxworld.client import DocxworldClient

    return DocxworldClient.of(
        secret.base_url, secret.auth, transport=tools.transport, tokens=tools.tokens, clock=tools.clock
    )


def rotation() -> Rotation:
    """Return how the client secret of a technical access is rotated; loaded by the one function that does it."""
    from amtsbote.portals.docxworld.rotation import ROTATION

    return ROTATION


def answered_as(drop: Drop) -> str | None:
    """Return the `referenceId` of an upload, which its results carry; None for what is no upload."""
    from amtsbote.portals.docxworld.orders import reference_of
    from amtsbote.portals.docxworld.outgoing import is_upload

    try:
        return reference_of(drop) if is_upload(drop) else None
    except Reject:  # the delivery says so
        return None


def answers(record: Record) -> str | None:
    """Return the `referenceId` of the upload that a download comes from, without the counter of one sent anew."""
    reference = record.get("referenceId")
    return GENERATION.sub("", reference) if isinstance(reference, str) and reference else None


PORTAL = Portal("docxworld", DocxworldSecret, source, destination, rotation, answered_as, answers)
