"""dispatch: one request per enabled connection and task. It never talks to a portal."""

from collections.abc import Iterable, Iterator

from amtsbote.connections import Listed, UnknownConnection
from amtsbote.errors import Misconfigured, Retry
from amtsbote.health import report_failure
from amtsbote.messages import ConnectionTask, Task, Tick
from amtsbote.observability import log, seconds
from amtsbote.queues import describe
from amtsbote.services import Services


def dispatch(tick: Tick, services: Services) -> int:
    """Queue the task for each enabled connection and return for how many; a broken one does not delay the others."""
    settings = services.settings
    urls = {
        Task.POLL: settings.poll_queue_url,
        Task.RECONCILE: settings.poll_queue_url,
        Task.ACKNOWLEDGE: settings.acknowledge_queue_url,
        Task.TRACK: settings.track_queue_url,
    }
    enabled = _measured((each for each in services.connections.listed() if _is_enabled(each, services)), services)
    requests = (
        ConnectionTask(portal=tick.portal, connection=each.name, task=tick.task, changed_at=each.changed_at).body()
        for each in enabled
    )
    return services.queue(urls[tick.task]).send_all(requests)


def _measured(enabled: Iterable[Listed], services: Services) -> Iterator[Listed]:
    """Yield the connections, and report of each how long ago a poll succeeded or its secret was changed, in seconds.

    A zero goes before them: a portal without connections is in order, a schedule that stands still is not.
    """
    seconds("PollAge", 0.0)
    for each in enabled:
        status = services.ledger.status(services.settings.portal, each.name)
        moments = [moment for moment in (status.polled_at, each.changed_at) if moment is not None]
        age = (services.clock() - max(moments)).total_seconds() if moments else 0.0
        seconds("PollAge", age, connection=each.name)
        yield each


def _is_enabled(listed: Listed, services: Services) -> bool:
    try:
        connection = services.connections.get(listed.name, changed_at=listed.changed_at)
    except Misconfigured as error:
        report_failure(services, listed.name, error)
    except (UnknownConnection, Retry) as error:
        log.warning("connection skipped", extra={"connection": listed.name, **describe(error)})
    else:
        return bool(connection.secret.enabled)
    return False
