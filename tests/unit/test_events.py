"""Events on the bus: ten a call, nothing of the document in them, and a refusal that is noticed."""

import json
from typing import Any

import pytest

from amtsbote.errors import Retry
from amtsbote.events import Event, EventBus, EventType


class Bus:
    """An EventBridge that remembers what it is told and refuses the entries of some calls."""

    def __init__(self, *refused: int) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self._refused = list(refused)

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.calls.append(Entries)
        return {"FailedEntryCount": self._refused.pop(0) if self._refused else 0}


def event(number: int = 0, **more: Any) -> Event:
    return Event(EventType.DOCUMENT_RECEIVED, "duba", "klinikum", str(number), "duba/klinikum/0/document.json", **more)


def bus_of(client: Any) -> EventBus:
    return EventBus(client, "amtsbote-bus")


def test_the_detail_types_are_those_of_the_contract() -> None:
    assert [each.value for each in EventType] == [
        "Document Received",
        "Document Acknowledged",
        "Document Unavailable",
        "Delivery Updated",
        "Connection Unhealthy",
        "Connection Recovered",
    ]


def test_an_event_is_published_as_the_contract_says() -> None:
    client = Bus()
    bus_of(client).publish(event(214))
    ((entry,),) = client.calls
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (
        "amtsbote-bus",
        "amtsbote",
        "Document Received",
    )
    assert json.loads(entry["Detail"]) == {
        "portal": "duba",
        "connection": "klinikum",
        "id": "214",
        "key": "duba/klinikum/0/document.json",
    }


def test_a_connections_event_has_neither_id_nor_key_but_a_code() -> None:
    client = Bus()
    bus_of(client).publish(Event(EventType.CONNECTION_UNHEALTHY, "duba", "klinikum", more={"code": "LOGIN_REFUSED"}))
    assert json.loads(client.calls[0][0]["Detail"]) == {
        "portal": "duba",
        "connection": "klinikum",
        "id": None,
        "key": None,
        "code": "LOGIN_REFUSED",
    }


def test_events_are_published_ten_a_call_in_their_order() -> None:
    client = Bus()
    bus_of(client).publish_all(event(number) for number in range(21))
    assert [len(call) for call in client.calls] == [10, 10, 1]
    assert [json.loads(entry["Detail"])["id"] for call in client.calls for entry in call] == list(map(str, range(21)))


def test_no_events_need_no_call() -> None:
    client = Bus()
    bus_of(client).publish_all([])
    assert client.calls == []


def test_events_that_the_bus_refuses_are_a_retry() -> None:
    with pytest.raises(Retry, match="EVENTS_NOT_TAKEN: the event bus refused 2 events"):
        bus_of(Bus(0, 2)).publish_all(event(number) for number in range(20))
