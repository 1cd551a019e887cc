"""What is known of a connection: how far its portal is polled, and whether it is healthy. Pure functions only."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

PAUSE_FIRST = timedelta(seconds=30)
PAUSE_AT_MOST = timedelta(minutes=15)
TOO_SLOW = "PORTAL_TOO_SLOW"
TIMEOUTS_IN_A_ROW = 2  # one slow answer is no outage


@dataclass(frozen=True)
class ConnectionStatus:
    """The status of one connection. `version` 0: not written yet. `pause_until`: not to be tried before that.

    `timeouts` counts the tries in a row that its portal let wait in vain.
    """

    portal: str
    connection: str
    version: int = 0
    watermark: datetime | None = None
    polled_at: datetime | None = None
    reconciled_at: datetime | None = None
    failures: int = 0
    failed_at: datetime | None = None
    reason: str | None = None
    pause_until: datetime | None = None
    timeouts: int = 0

    @property
    def healthy(self) -> bool:
        """Return whether the last attempt to work with the connection found it in order."""
        return self.failures == 0


def asks_since(status: ConnectionStatus, overlap: timedelta) -> datetime | None:
    """Return from when on a poll asks for what is new (UTC), None where it asks for everything."""
    try:
        return None if status.watermark is None else status.watermark - overlap
    except OverflowError:  # a portal's date in the year 1
        return None


def polled(status: ConnectionStatus, watermark: datetime | None, now: datetime, *, whole: bool) -> ConnectionStatus:
    """Return the status after a successful poll; `whole` says that it asked without a watermark.

    A watermark in the future would hide what comes until then: one wrong date at the portal is enough to have it.
    """
    reconciled = now if whole else status.reconciled_at
    known = None if watermark is None else min(watermark, now)
    return recovered(replace(status, watermark=known, polled_at=now, reconciled_at=reconciled))


def recovered(status: ConnectionStatus) -> ConnectionStatus:
    """Return the status of a connection that works (again). A pause that a healthy one's portal asked for runs on."""
    if status.healthy:
        return replace(status, timeouts=0)
    return replace(status, failures=0, failed_at=None, reason=None, pause_until=None, timeouts=0)


def failed(status: ConnectionStatus, reason: str, now: datetime) -> ConnectionStatus:
    """Return the status after the connection itself failed; each failure in a row doubles the pause."""
    if status.pause_until is not None and now < status.pause_until and status.reason == reason:
        return replace(status, failed_at=now)  # one of many workers that found the same, or a new secret as wrong
    pause = min(PAUSE_FIRST * 2 ** min(status.failures, 10), PAUSE_AT_MOST)
    until = max(now + pause, status.pause_until or now)  # a longer time that the portal asked for runs on
    return replace(status, failures=status.failures + 1, failed_at=now, reason=reason, pause_until=until)


def timed_out(status: ConnectionStatus, now: datetime) -> ConnectionStatus:
    """Return the status after a try that the portal let wait in vain; from the second in a row on that is a failure."""
    counted = replace(status, timeouts=status.timeouts + 1)
    return counted if counted.timeouts < TIMEOUTS_IN_A_ROW else failed(counted, TOO_SLOW, now)


def throttled(status: ConnectionStatus, until: datetime) -> ConnectionStatus:
    """Return the status of a connection whose portal asked to be left alone until then; it stays healthy."""
    return replace(status, pause_until=max(until, status.pause_until or until))


def paused(status: ConnectionStatus, now: datetime, changed_at: datetime | None) -> bool:
    """Return whether the connection is not to be tried now. A secret changed since the failure ends the pause."""
    if status.pause_until is None or now >= status.pause_until:
        return False
    return changed_at is None or status.failed_at is None or changed_at <= status.failed_at
