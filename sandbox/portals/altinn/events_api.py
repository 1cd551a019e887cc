"""The Events API: what the apps published, polled from an event or from a time on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from aiohttp import web
from multidict import MultiMapping
from yarl import URL

from .calls import Call, Rule
from .errors import bad_request, json_answer
from .records import CloudEvent
from .search import check_known
from .wire import Wire
from .world import World

PATH = "/events/api/v1/app/{org}/{app}"
PARAMETERS = ("after", "from", "to", "party", "unit", "person", "type", "size")
DEFAULT_SIZE = 50
READABLE_AFTER = timedelta(seconds=30)
KEPT = timedelta(days=90)


class EventsApi:
    """Polling. `hidden` are ids that the caller may not see: they take their place in a page and are left out of it."""

    def __init__(self, world: World, wire: Wire) -> None:
        self.world, self.wire = world, wire
        self.hidden: set[str] = set()

    def rules(self) -> list[Rule]:
        """The one call."""
        return [Rule("GET", PATH, self._poll, None)]

    def _poll(self, call: Call) -> web.Response:
        """GET app/{org}/{app}: who may see what is asked after the paging; a page without anything has no `next`."""
        check_known(call.query, PARAMETERS)
        app = self.world.app(call.app_id, call.org)
        of_app = [each for each in self._readable() if each.app is app]
        page = _selected(_beyond(of_app, call.query), call.query)[: _size(call.query)]
        shown = [each for each in page if each.id not in self.hidden]
        answer = json_answer([self.wire.cloud_event(each) for each in shown])
        if shown:
            answer.headers["next"] = str(_next(self.wire, call, shown[-1].id))
        return answer

    def _readable(self) -> list[CloudEvent]:
        """What has come through and is still kept, oldest first."""
        now = self.world.clock()
        kept = [each for each in self.world.cloud_events if READABLE_AFTER <= now - each.at < KEPT]
        return sorted(kept, key=lambda each: each.at)


def _beyond(events: Sequence[CloudEvent], query: MultiMapping[str]) -> Sequence[CloudEvent]:
    """What comes after an event. One that is unknown, or no longer kept, makes everything come again."""
    if "after" not in query and "from" not in query:
        raise bad_request("From or after must be defined.")
    if "after" not in query:
        return events
    ids = [each.id for each in events]
    return events[ids.index(query["after"]) + 1 :] if query["after"] in ids else events


def _selected(events: Sequence[CloudEvent], query: MultiMapping[str]) -> list[CloudEvent]:
    since, until = _instant(query, "from"), _instant(query, "to")
    kinds, party = query.getall("type", []), query.get("party")
    return [
        each
        for each in events
        if (since is None or each.at >= since)
        and (until is None or each.at <= until)
        and (not kinds or each.type in kinds)
        and party in (None, str(each.party_id))
    ]


def _instant(query: MultiMapping[str], name: str) -> datetime | None:
    """A time with its zone. (An unencoded `+` arrives as a blank, and is refused like any other mistake.)"""
    if name not in query:
        return None
    try:
        instant = datetime.fromisoformat(query[name])
    except ValueError as error:
        raise bad_request(f"'{name}' is no time") from error
    if instant.tzinfo is None:
        raise bad_request(f"'{name}' must have a time zone")
    return instant


def _size(query: MultiMapping[str]) -> int:
    size = query.get("size", str(DEFAULT_SIZE))
    if not size.isdecimal() or int(size) == 0:
        raise bad_request("The 'size' parameter must be a number larger that 0.")
    return int(size)


def _next(wire: Wire, call: Call, last_id: str) -> URL:
    at = wire.storage_url.removesuffix(wire.storage_path) + call.request.path
    kept = [(name, value) for name, value in call.query.items() if name not in ("after", "from")]
    return URL(at).with_query([("after", last_id), *kept])
