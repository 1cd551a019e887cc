"""Moments as people say and read them: in the time of the machine that the command line runs on."""

from datetime import UTC, datetime, time, timedelta

from amtsbote.errors import Reject

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
A_DAY = timedelta(days=1)
INTO_THE_NEXT_DAY = timedelta(hours=30)  # from the begin of any day, also of one in which clocks change


def moment(text: str, now: datetime) -> datetime:
    """Return the moment (UTC) that a text names: a day's begin, or an ISO time; Reject for anything else.

    A day is an ISO date, `today`, `yesterday` or a weekday, which is the latest one that is not today.
    """
    local = now.astimezone()
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        return _begin_of(local - A_DAY * (word == "yesterday"))
    if word in WEEKDAYS:
        back = (local.weekday() - WEEKDAYS.index(word)) % len(WEEKDAYS) or len(WEEKDAYS)
        return _begin_of(local - A_DAY * back)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Reject("WRONG_MOMENT", f"{text} is no moment; say tuesday, yesterday, 2026-02-17 or so") from None


def end_of_day(begin: datetime) -> datetime:
    """Return when the day ends (UTC) that begins then."""
    return _begin_of(begin.astimezone() + INTO_THE_NEXT_DAY)


def shown(at: datetime) -> str:
    """Return a moment for people: `2026-02-17 08:14`."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M")


def _begin_of(day: datetime) -> datetime:
    return datetime.combine(day.date(), time()).astimezone(UTC)  # naive: the zone's rule for that very day
