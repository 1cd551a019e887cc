"""Digitale-Gemeinde as the verbs find it: its name, its secrets' schema, and its adapters, loaded when asked for.

Who only reads secrets, as dispatch does, so loads neither; who delivers does not load what fetches.
"""

from amtsbote.portals.digitale_gemeinde.connection import DigitaleGemeindeSecret
from amtsbote.portals.portal import Connection, Portal, Tools
from amtsbote.portals.protocols import Destination, Source


def source(connection: Connection, tools: Tools) -> Source:
    """Return the new forms of a connection."""
    from amtsbote.portals.digitale_gemeinde.adapter import DigitaleGemeindeSource
    from amtsbote.portals.digitale_gemeinde.client import DigitaleGemeindeClient
    from amtsbote.portals.digitale_gemeinde.lookup import Lookup

    secret: DigitaleGemeindeSecret = connection.secret
    client = DigitaleGemeindeClient.of(secret, tools)
    return DigitaleGemeindeSource(client, Lookup(client, secret.statuses.new), secret.statuses, secret.form_ids)


def destination(connection: Connection, tools: Tools) -> Destination:
    """Return the results and statuses of a connection."""
    from amtsbote.portals.digitale_gemeinde.client import DigitaleGemeindeClient
    from amtsbote.portals.digitale_gemeinde.delivery import DigitaleGemeindeDestination
    from amtsbote.portals.digitale_gemeinde.lookup import Lookup

    secret: DigitaleGemeindeSecret = connection.secret
    client = DigitaleGemeindeClient.of(secret, tools)
    return DigitaleGemeindeDestination(client, Lookup(client, secret.statuses.new), secret.statuses, tools)


PORTAL = Portal("digitale-gemeinde", DigitaleGemeindeSecret, source, destination)
