"""Bauamt as the verbs find it: its name, its secrets' schema, and its adapters, loaded when asked for."""

from typing import TYPE_CHECKING

from amtsbote.portals.portal import Connection, Portal, Tools
from amtsbote.portals.protocols import Destination, Source

from .connection import BauamtSecret

if TYPE_CHECKING:
    from .client import BauamtClient


def source(connection: Connection, tools: Tools) -> Source:
    """Return the applications of a connection."""
    from .adapter import BauamtSource

    return BauamtSource(_client(connection, tools))


def destination(connection: Connection, tools: Tools) -> Destination:
    """Return the replies of a connection."""
    from .adapter import BauamtDestination

    return BauamtDestination(_client(connection, tools))


def _client(connection: Connection, tools: Tools) -> "BauamtClient":
    from .client import BauamtClient

    secret: BauamtSecret = connection.secret
    return BauamtClient(secret.base_url, secret.api_key, transport=tools.transport)


PORTAL = Portal(name="bauamt", secret=BauamtSecret, source=source, destination=destination)
