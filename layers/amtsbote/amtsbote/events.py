"""Events on the stack's own bus: what happened to which key. Never document content, never personal data."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from amtsbote.batches import in_batches
from amtsbote.errors import Retry

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "amtsbote"
ENTRIES_PER_CALL = 10


class EventType(StrEnum):
    """The detail types that a backend can build rules on."""

    DOCUMENT_RECEIVED = "Document Received"
    DOCUMENT_ACKNOWLEDGED = "Document Acknowledged"
    DOCUMENT_UNAVAILABLE = "Document Unavailable"
    DELIVERY_UPDATED = "Delivery Updated"
    CONNECTION_UNHEALTHY = "Connection Unhealthy"
    CONNECTION_RECOVERED = "Connection Recovered"


@dataclass(frozen=True)
class Event:
    """One event: `id` is the portal's id of the item, `key` that of document.json or of the receipt."""

    type: EventType
    portal: str
    connection: str
    id: str | None = None
    key: str | None = None
    more: Mapping[str, str | list[str]] | None = None  # codes and names of states, nothing of the portal's words

    def detail(self) -> dict[str, Any]:
        """Return the event's detail."""
        return {"portal": self.portal, "connection": self.connection, "id": self.id, "key": self.key} | dict(
            self.more or {}
        )


class EventBus:
    """The stack's own bus."""

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def publish(self, *events: Event) -> None:
        """Publish the events; Retry when the bus does not take all of them (some may then come twice)."""
        self.publish_all(events)

    def publish_all(self, events: Iterable[Event]) -> None:
        """Publish any number of events, ten a call."""
        for some in in_batches(events, ENTRIES_PER_CALL):
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self._name,
                        "Source": SOURCE,
                        "DetailType": event.type.value,
                        "Detail": json.dumps(event.detail(), ensure_ascii=False),
                    }
                    for event in some
                ]
            )
            if answer["FailedEntryCount"]:
                raise Retry("EVENTS_NOT_TAKEN", f"the event bus refused {answer['FailedEntryCount']} events")
