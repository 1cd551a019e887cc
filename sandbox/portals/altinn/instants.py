"""Instants as Altinn writes, reads and counts them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

TICKS_PER_MICROSECOND = 10
EPOCH_OF_TICKS = datetime(1, 1, 1, tzinfo=UTC)


def written(instant: datetime | None) -> str | None:
    """In UTC with a Z; seven digits after the point, or none at a whole second, as .NET does."""
    return None if instant is None else text_of(instant)


def text_of(instant: datetime) -> str:
    """The same for an instant that is there."""
    utc = instant.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + (f".{utc.microsecond:06}0Z" if utc.microsecond else "Z")


def parsed(text: str) -> datetime:
    """An ISO 8601 date or time, without a zone in UTC. ValueError when it is none."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def parsed_month(text: str) -> datetime:
    """The same, where a year and a month alone will do too."""
    return parsed(f"{text}-01" if len(text) == len("YYYY-MM") else text)


def is_zulu(text: object) -> bool:
    """Whether it is a time in UTC written with a Z, the only form that a template may have."""
    try:
        return isinstance(text, str) and text.endswith("Z") and "T" in text and bool(parsed(text))
    except ValueError:
        return False


def ticks(instant: datetime) -> int:
    """100-nanosecond steps since the year 1."""
    return (instant - EPOCH_OF_TICKS) // timedelta(microseconds=1) * TICKS_PER_MICROSECOND
