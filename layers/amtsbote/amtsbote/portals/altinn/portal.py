"""Altinn as the verbs find it: its name, its secrets' schema, and its adapters, loaded when asked for.

Who only reads secrets, as dispatch does, so loads neither; who delivers does not load what fetches.
"""

from typing import TYPE_CHECKING

from amtsbote.portals.altinn.connection import AltinnSecret
from amtsbote.portals.portal import Connection, Portal, Tools
from amtsbote.portals.protocols import Destination, Source

if TYPE_CHECKING:
    from amtsbote.portals.altinn.client import AltinnClient


def source(connection: Connection, tools: Tools) -> Source:
    """Return the unconfirmed instances of a connection."""
    from amtsbote.portals.altinn.adapter import AltinnSource

    secret: AltinnSecret = connection.secret
    return AltinnSource(_client(secret, tools), secret)


def destination(connection: Connection, tools: Tools) -> Destination:
    """Return the apps of a connection, to send to."""
    from amtsbote.portals.altinn.delivery import AltinnDestination

    secret: AltinnSecret = connection.secret
    return AltinnDestination(_client(secret, tools), secret, tools)


def _client(secret: AltinnSecret, tools: Tools) -> "AltinnClient":
    from amtsbote.portals.altinn.client import AltinnClient

    return AltinnClient.of(secret, transport=tools.transport, tokens=tools.tokens, clock=tools.clock)


PORTAL = Portal("altinn", AltinnSecret, source, destination)
