"""Altinn's Events API (v1): what happened to an app's instances, as CloudEvents. Readable after 30 s, kept 90 days."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from amtsbote.errors import Retry
from amtsbote.portals.altinn.errors import AltinnHttp
from amtsbote.portals.altinn.models import CloudEvent, read_all
from amtsbote.portals.altinn.queries import given, instant, path
from amtsbote.portals.altinn.storage import JSON_ANSWER, PAGE_LIMIT


@dataclass(frozen=True)
class EventFilter:
    """What an app's events are narrowed to."""

    party: str | None = None
    unit: str | None = None
    type: str | None = None
    until: datetime | None = None
    size: int | None = None


class Events:
    """The events of an organisation's apps."""

    def __init__(self, http: AltinnHttp) -> None:
        self._http = http

    def page(
        self,
        app_id: str,
        *,
        after: str | None = None,
        since: datetime | None = None,
        narrowed: EventFilter = EventFilter(),
    ) -> tuple[CloudEvent, ...]:
        """Return events after an event's id, or since a moment; ValueError without either.

        An id that is unknown, or too old, starts again from the oldest event. A page may be short, or empty, although
        more follow.
        """
        if after is None and since is None:
            raise ValueError("either `after` or `since` must be given")
        begin = given(after=after) if since is None else [*given(after=after), ("from", instant(since))]
        until = None if narrowed.until is None else instant(narrowed.until)
        query = [*begin, *given(to=until, party=narrowed.party, unit=narrowed.unit)]
        query += given(type=narrowed.type, size=narrowed.size)
        return read_all(
            CloudEvent, self._http.call("GET", path("app", *app_id.split("/")), query=query, headers=JSON_ANSWER).json()
        )

    def all(
        self,
        app_id: str,
        *,
        after: str | None = None,
        since: datetime | None = None,
        narrowed: EventFilter = EventFilter(),
    ) -> Iterator[CloudEvent]:
        """Yield each event once, page after page by the last id seen, until a page brings nothing new."""
        seen: set[str] = set()
        for _ in range(PAGE_LIMIT):
            page = self.page(app_id, after=after, since=since, narrowed=narrowed)
            fresh = [event for event in page if event.id not in seen]
            if not fresh:
                return
            yield from fresh
            seen.update(event.id for event in fresh)
            after, since = page[-1].id, None
        raise Retry("PORTAL_PAGING_BROKEN", f"Altinn's events have not ended after {PAGE_LIMIT} pages")
