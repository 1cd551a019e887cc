"""EventBridge in memory: what was published, and when."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.simulation.cloud.client import Answer, Client, Clock
from tests.simulation.cloud.errors import Exceptions, refused, unsendable

MOST_ENTRIES = 10
FIELDS = {"EventBusName", "Source", "DetailType", "Detail"}


@dataclass(frozen=True)
class Published:
    """One event on a bus."""

    id: str
    at: datetime
    bus: str
    source: str
    detail_type: str
    detail: dict[str, Any]


class InMemoryEventBridge(Client):
    """A stand-in for the EventBridge client; `published` holds every event, in order. `observers` are told of each."""

    exceptions = Exceptions()

    def __init__(self, clock: Clock, bus: str) -> None:
        super().__init__(clock)
        self.published: list[Published] = []
        self.observers: list[Callable[[Published], object]] = []
        self._bus = bus

    def put_events(self, *, Entries: Sequence[Mapping[str, Any]]) -> Answer:
        """Publish up to ten events; one whose detail is no JSON object fails by itself."""
        if not Entries or len(Entries) > MOST_ENTRIES:
            raise refused("PutEvents", "ValidationException", "There must be 1 to 10 entries")
        answers = [self._published(entry) for entry in Entries]
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}

    def _published(self, entry: Mapping[str, Any]) -> Answer:
        if entry.keys() != FIELDS or entry["EventBusName"] != self._bus:
            raise NotImplementedError(f"an entry with {sorted(entry)} for the bus {entry.get('EventBusName')}")
        detail = _json_object(entry["Detail"])
        if detail is None:
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        event_id = f"event-{self._next_number():06d}"
        published = Published(event_id, self.clock(), self._bus, entry["Source"], entry["DetailType"], detail)
        self.published.append(published)
        for observer in self.observers:
            observer(published)
        return {"EventId": event_id}


def _json_object(text: object) -> dict[str, Any] | None:
    if not isinstance(text, str):
        raise unsendable("Invalid type for parameter Entries[].Detail")
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
