"""DUBA as the verbs find it: its name, its secrets' schema, and its adapters, loaded when asked for.

Who only reads secrets, as dispatch does, so loads neither; who delivers does not load what fetches.
"""

from typing import TYPE_CHECKING

from amtsbote.portals.duba.connection import DubaSecret
from amtsbote.portals.portal import Connection, Portal, Tools
from amtsbote.portals.protocols import Destination, Source

if TYPE_CHECKING:
    from amtsbote.portals.duba.client import DubaClient


def source(connection: Connection, tools: Tools) -> Source:
    """Return the messages of a connection."""
    from amtsbote.portals.duba.adapter import DubaSource

    return DubaSource(_client(connection, tools), connection.secret, tools.transport.deadline.check)


def destination(connection: Connection, tools: Tools) -> Destination:
    """Return the forms of a connection: form data becomes a magic link."""
    from amtsbote.portals.duba.delivery import DubaDestination

    return DubaDestination(_client(connection, tools), tools)


def _client(connection: Connection, tools: Tools) -> "DubaClient":
    from amtsbote.portals.duba.client import DubaClient

    secret: DubaSecret = connection.secret
    return DubaClient(secret.base_url, secret.username, secret.password, transport=tools.transport)


PORTAL = Portal("duba", DubaSecret, source, destination)
