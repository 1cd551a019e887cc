"""The requests that travel between the verbs: names and ids only, no content and no secrets."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """A request in a queue."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )

    def body(self) -> dict[str, Any]:
        """Return the JSON object that is sent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Task(StrEnum):
    """What a schedule asks for."""

    POLL = "poll"
    RECONCILE = "reconcile"  # a poll without a watermark that compares, too
    ACKNOWLEDGE = "acknowledge"
    TRACK = "track"
    RETAIN = "retain"  # of all portals at once


class Tick(Message):
    """A schedule's turn: this task for every enabled connection of the portal."""

    portal: str
    task: Task


class ConnectionTask(Message):
    """One task for one connection; `changed_at` is when its secret was changed last.

    The rest is of a reconciliation: look at `everything`, read and hash files (`deep`), or go on with the one that
    began at `goes_on`.
    """

    portal: str
    connection: str
    task: Task
    changed_at: datetime | None = None
    everything: bool | None = None
    deep: bool | None = None
    goes_on: datetime | None = None


class FetchRequest(Message):
    """Bring this item into the inbox."""

    portal: str
    connection: str
    id: str


class DroppedBucket(Message):
    """The bucket of a drop."""

    name: str


class DroppedObject(Message):
    """The object version of a drop; `sequencer` orders the versions of a key."""

    key: str
    version_id: str = Field(alias="version-id", default="null")
    sequencer: str = ""
    size: int = 0


class DropDetail(Message):
    """What EventBridge says of a drop."""

    bucket: DroppedBucket
    object: DroppedObject


class DropRequest(Message):
    """Deliver this object version: EventBridge's "Object Created" event, of which only this much is read."""

    detail: DropDetail


class ArrivedDetail(Message):
    """What our own event says of a document that arrived."""

    portal: str
    connection: str
    id: str


class RouteRequest(Message):
    """Copy this document where the rules say: our own event "Document Received", of which only this much is read."""

    detail: ArrivedDetail
