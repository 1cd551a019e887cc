"""dispatch: one request per enabled connection that has work for the task. It never talks to a portal."""

from collections.abc import Mapping, Sequence

from amtsbote.batches import side_by_side
from amtsbote.connections import Listed, Switch
from amtsbote.errors import AmtsboteError, Misconfigured
from amtsbote.health import report_failure
from amtsbote.lifecycle import Work
from amtsbote.messages import ConnectionTask, Task, Tick
from amtsbote.observability import log, seconds
from amtsbote.queues import describe
from amtsbote.services import Services
from amtsbote.settings import Settings

ASKERS = 10  # questions to the index side by side
WORK: Mapping[Task, Sequence[Work]] = {Task.ACKNOWLEDGE: (Work.ACKNOWLEDGE,), Task.TRACK: (Work.TRACK, Work.FORGET)}
"""What must be due for a task to have anything to do; a poll finds out for itself."""


def dispatch(tick: Tick, services: Services) -> int:
    """Queue the task for each enabled connection that has work for it, and return for how many.

    A broken connection does not delay the others. What the index does not show yet is found at the next tick.
    """
    enabled = _enabled(services)
    _report_poll_ages(tick, enabled, services)
    requests = (
        ConnectionTask(portal=tick.portal, connection=each.name, task=tick.task, changed_at=each.changed_at).body()
        for each in _with_work(tick, enabled, services)
    )
    return services.queue(_queue_url(tick.task, services.settings)).send_all(requests)


def _enabled(services: Services) -> list[Listed]:
    listed = list(services.connections.listed())
    switches = services.connections.switches(listed)
    return [each for each, switch in switches.items() if _is_on(each, switch, services)]


def _is_on(listed: Listed, switch: Switch, services: Services) -> bool:
    if isinstance(switch, Misconfigured):
        report_failure(services, listed.name, switch)
    elif isinstance(switch, AmtsboteError):
        log.warning("connection skipped", extra={"connection": listed.name, **describe(switch)})
    return switch is True


def _report_poll_ages(tick: Tick, enabled: Sequence[Listed], services: Services) -> None:
    """Report how long ago a poll succeeded or the secret was changed, in seconds: the longest, at each tick.

    It is 0 without connections: a portal that nobody uses is in order, a schedule that stands still is not. Each single
    one is reported only when polls are due, as a line for each minute and connection would cost more than it tells.
    """
    statuses = services.ledger.statuses(tick.portal, [each.name for each in enabled])
    ages = {}
    for each in enabled:
        moments = [moment for moment in (statuses[each.name].polled_at, each.changed_at) if moment is not None]
        ages[each.name] = (services.clock() - max(moments)).total_seconds() if moments else 0.0
    seconds("PollAge", max([0.0, *ages.values()]))
    for name, age in ages.items() if tick.task is Task.POLL else ():
        seconds("PollAge", age, connection=name)


def _with_work(tick: Tick, enabled: Sequence[Listed], services: Services) -> list[Listed]:
    wanted = WORK.get(tick.task)
    if wanted is None:
        return list(enabled)

    def has_work(each: Listed) -> bool:
        return any(services.ledger.is_due(work, tick.portal, each.name) for work in wanted)

    answers = side_by_side(has_work, enabled, ASKERS)
    return [each for each, has in zip(enabled, answers, strict=True) if has]


def _queue_url(task: Task, settings: Settings) -> str:
    urls = {Task.ACKNOWLEDGE: settings.acknowledge_queue_url, Task.TRACK: settings.track_queue_url}
    return urls.get(task, settings.poll_queue_url)
