"""The application: which address is which view."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from amtsbote.operations.office import Office
from console.desk import Desk, done, looked_at
from console.guard import ENTRANCE, Guard, Keys, Place, enter
from console.pages import Pages
from console.views import actions, documents, files, overview, preferences, reconciliation, search

STATIC = Path(__file__).with_name("static")


def application(office: Office, alarms: Mapping[str, timedelta], place: Place, keys: Keys) -> ASGIApp:
    """Return the console of a stack as it answers at a place, guarded."""
    _make_clients(office)
    desk = Desk(office, Pages(keys.form), keys, alarms)

    async def entrance(request: Request) -> Response:
        return enter(request, place, keys)

    routes = [
        Route(ENTRANCE, entrance, methods=["GET"]),
        Route("/", looked_at(desk, overview.view), methods=["GET"]),
        Route("/traffic", looked_at(desk, overview.view_traffic), methods=["GET"]),
        Route("/search", looked_at(desk, search.view), methods=["GET"]),
        Route("/document", looked_at(desk, documents.view), methods=["GET"]),
        Route("/progress", looked_at(desk, documents.view_progress), methods=["GET"]),
        Route("/file", looked_at(desk, files.view), methods=["GET"]),
        Route("/receipt", looked_at(desk, files.view_receipt), methods=["GET"]),
        Route("/reconciliation", looked_at(desk, reconciliation.view), methods=["GET"]),
        Route("/confirm", looked_at(desk, actions.view), methods=["GET"]),
        Route("/do", done(desk, actions.do), methods=["POST"]),
        Route("/preferences", done(desk, preferences.change), methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Guard(Starlette(routes=routes), place, keys)


def _make_clients(office: Office) -> None:
    """Make every client before requests come side by side: boto3 cannot make two at once."""
    _ = office.ledger, office.s3, office.sqs, office.inbox, office.receipts, office.bus, office.vault
