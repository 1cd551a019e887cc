"""The requests that travel between the verbs: names and ids only, no content and no secrets."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """A request in a queue."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    def body(self) -> dict[str, Any]:
        """Return the JSON object that is sent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Task(StrEnum):
    """What a schedule asks for."""

    POLL = "poll"
    RECONCILE = "reconcile"  # a poll that asks without a watermark
    ACKNOWLEDGE = "acknowledge"
    TRACK = "track"


class Tick(Message):
    """A schedule's turn: this task for every enabled connection of the portal."""

    portal: str
    task: Task


class ConnectionTask(Message):
    """One task for one connection; `changed_at` is when its secret was changed last."""

    portal: str
    connection: str
    task: Task
    changed_at: datetime | None = None


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
