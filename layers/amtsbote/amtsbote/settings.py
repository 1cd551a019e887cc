"""The environment of a function, read once into one model."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

PREFIX = "AMTSBOTE_"
Needed = Annotated[str, Field(min_length=1)]  # by every function


def _retention_rules(said: object) -> object:
    from amtsbote.retention import read_rules  # here and below: what only one function has is loaded by that one

    return read_rules(said) if isinstance(said, str) else said


def _routing_rules(said: object) -> object:
    from amtsbote.routing import read_routing_rules

    return read_routing_rules(said) if isinstance(said, str) else said


def _audit_days(days: int) -> int:
    from amtsbote.retention import checked_audit_days

    return checked_audit_days(days)


class Settings(BaseModel):
    """What the template tells a function. A value that a verb does not need is absent from its environment."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    portal: Needed
    verb: str = "unknown"  # whose steps the trail says they are
    ledger_table: Needed
    event_bus: Needed
    queue_url: str = ""
    inbox_bucket: str = ""
    outbox_bucket: str = ""
    poll_queue_url: str = ""
    fetch_queue_url: str = ""
    acknowledge_queue_url: str = ""
    track_queue_url: str = ""
    vault_key: str = ""
    lease_seconds: int = 0
    tries: int = 1
    workers: int = 10  # records side by side: a fetch mostly waits for the portal
    overlap_hours: int = 48
    file_mebibytes: Annotated[int, Field(ge=1)] = 10_240  # of one file that comes in
    allow_loopback: bool = False
    connection_metrics: bool = False  # which observability reads by itself, as it is there first
    routing_rules: Annotated[Any, BeforeValidator(_routing_rules)] = None  # RoutingRules
    retention_rules: Annotated[Any, BeforeValidator(_retention_rules)] = None  # retention.Rules
    audit_days: Annotated[int, AfterValidator(_audit_days)] = 0
    settle_seconds: int | None = None  # of a rotation; the function that rotates is the only one without a queue

    @model_validator(mode="after")
    def _has_a_queue_or_rotates(self) -> Self:
        if not self.queue_url and self.settle_seconds is None:
            raise ValueError("queue_url is missing")
        return self

    @property
    def file_bytes_at_most(self) -> int:
        """Return how many bytes a file may have that comes in."""
        return self.file_mebibytes * 1024 * 1024

    @property
    def overlap(self) -> timedelta:
        """Return how far behind the watermark a poll asks again."""
        return timedelta(hours=self.overlap_hours)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this function from AMTSBOTE_… variables (default: the process's environment)."""
    source = os.environ if environment is None else environment
    return Settings.model_validate(
        {key.removeprefix(PREFIX).lower(): value for key, value in source.items() if key.startswith(PREFIX)}
    )
