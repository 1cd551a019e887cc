"""The machine under a simulated run: queues, schedules and functions as the template makes them, on simulated time.

A function is invoked with what is visible in its queue, in a container that is warm or new; it runs with its own
timeout, the batch size, the retries and the lease of the template. What it answers is deleted, the rest comes again.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import requests

from amtsbote.deadline import RESERVE_SECONDS, Deadline
from amtsbote.http import Transport
from amtsbote.messages import ConnectionTask, DropRequest, FetchRequest, Message, RouteRequest, Task, Tick
from amtsbote.portals.portal import Tools
from amtsbote.queues import each_record
from amtsbote.retention import Rules
from amtsbote.routing import RoutingRules
from amtsbote.services import Services
from amtsbote.settings import Settings
from amtsbote.verbs.acknowledge import acknowledge
from amtsbote.verbs.deliver import deliver
from amtsbote.verbs.dispatch import dispatch
from amtsbote.verbs.fetch import fetch
from amtsbote.verbs.poll import poll
from amtsbote.verbs.retain import retain
from amtsbote.verbs.route import route
from amtsbote.verbs.track import track
from tests.simulation.account import BUS, INBOX, LEDGER, OUTBOX, VAULT_KEY, Account
from tests.simulation.boundary import Boundary, Client, Stroke, Strokes
from tests.simulation.chance import Chance
from tests.simulation.turns import Death, Process, Turns
from tests.simulation.wire import InProcessAdapter, InProcessPortal, WireAnswer, path_of

Thing = TypeVar("Thing")

START = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
STEP_SECONDS = (0.005, 0.12)
DAY_SECONDS = 24 * 3600.0
WARM_FOR = timedelta(minutes=10)


@dataclass(frozen=True)
class Function:
    """One function as the template has it; times in seconds."""

    name: str
    model: type[Message]
    timeout: int
    visibility: int
    receives: int
    batch: int = 1
    concurrency: int = 2
    tries: int = 1
    lease: int = 0
    workers: int = 1
    seals: bool = False

    @property
    def queue(self) -> str:
        """The queue that feeds it."""
        return self.name


FUNCTIONS = {
    "dispatch": Function("dispatch", Tick, 120, 720, 3),
    "poll": Function("poll", ConnectionTask, 120, 720, 5),
    "fetch": Function("fetch", FetchRequest, 120, 720, 12, batch=10, tries=10, lease=130, workers=10),
    "acknowledge": Function("acknowledge", ConnectionTask, 120, 720, 5),
    "deliver": Function("deliver", DropRequest, 600, 3600, 42, batch=10, tries=40, lease=660, seals=True),
    "track": Function("track", ConnectionTask, 120, 720, 5),
    "retain": Function("retain", Tick, 600, 3600, 3),
    "route": Function("route", RouteRequest, 600, 3600, 12),
}
AUDIT_DAYS = 3650
RETAIN_SECONDS = 3600.0
OPERATOR_SECONDS = 4 * 3600.0  # after a comparison has begun, somebody reads its report


class Clock:
    """Time that the machine moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return (self.now - START).total_seconds()


@dataclass(order=True)
class Moment:
    """Something that happens at a time."""

    at: datetime
    number: int
    happen: Callable[[], object] = field(compare=False)


@dataclass(eq=False)
class Container:
    """A process that stays warm between invocations; `memory` is what its modules keep (see `Machine.own`)."""

    function: Function
    services: Services
    used_at: datetime
    busy: bool = True
    memory: dict[object, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Invocation:
    """One run of a function, until its process is over."""

    function: Function
    container: Container
    process: Process
    ends_at: datetime


@dataclass(frozen=True)
class Conditions:
    """How a run is made: what differs from seed to seed besides what the portal holds."""

    seed: int
    rate: float
    quiet_after: timedelta = timedelta(minutes=20)
    slow_after: timedelta = timedelta(hours=5)
    ends_after: timedelta = timedelta(days=5)
    orderly: bool = False  # the worker that is longest there has its turn first
    tick_every: tuple[float, float] = (45.0, 150.0)
    overrun: bool = True
    rules: Rules = field(default_factory=Rules)
    routing: RoutingRules = field(default_factory=RoutingRules)
    erasing_until: timedelta = timedelta(hours=40)  # until then what erases is struck, also where all else is calm


class Machine:
    """One portal's functions with everything around them."""

    def __init__(self, portal: str, conditions: Conditions, strokes: Strokes, tell: Callable[[str], None]) -> None:
        self.portal = portal
        self.conditions = conditions
        self.clock = Clock()
        self._listener = tell
        self.turns = Turns(self.clock)
        self.boundary = Boundary(self.turns, self.clock, strokes, self.tell)
        self.boundary.later = self.after
        self.boundary.is_restless = self._is_restless
        self.chance = Chance(conditions.seed, "turns")
        self.account = Account(self.clock, Chance(conditions.seed, "account"), self._is_calm)
        for function in FUNCTIONS.values():
            self.account.add_queue(function.queue, function.visibility, function.receives)
        self.hosts: dict[str, Callable[[requests.PreparedRequest, bytes], WireAnswer]] = {}
        self.lived: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.account.dynamodb.observers.append(self._remember)
        self.containers: list[Container] = []
        self.running: list[Invocation] = []
        self.invocations = 0
        self.defects: list[str] = []
        self.after_portal_call: Callable[[], object] = _nothing
        self.after_comparison: Callable[[], object] = _nothing
        self.loses_event: Callable[[str, str], bool] = _loses_nothing
        self._moments: list[Moment] = []
        self._events_ahead = 0
        self._numbers = itertools.count()

    def tell(self, line: str) -> None:
        """Add a line to the run's history."""
        self._listener(f"{self.clock.seconds():9.2f} s  {line}")

    def _remember(self, _: Mapping[str, Any] | None, row: Mapping[str, Any]) -> None:
        """Keep how each row was before it was erased; `lived` has it by its key."""
        if "state" in row and row["state"]["S"] not in ("ERASING", "ERASED"):
            self.lived[row["pk"]["S"], row["sk"]["S"]] = row

    # --- what the world does -----------------------------------------------------------------------------------------

    def serve(self, host: str, portal: InProcessPortal, effect: Callable[..., WireAnswer]) -> None:
        """Let a portal answer at a host (with port)."""
        self.hosts[host] = lambda request, body: self._carry(request, body, portal, effect)

    def at(self, seconds: float, happen: Callable[[], object]) -> None:
        """Let something happen so many seconds after the start."""
        heapq.heappush(self._moments, Moment(START + timedelta(seconds=seconds), next(self._numbers), happen))

    def after(self, seconds: float, happen: Callable[[], object]) -> None:
        """Let something happen so many seconds from now."""
        self.at(self.clock.seconds() + seconds, happen)

    def tick(self, *tasks: Task) -> None:
        """Let the schedules of these tasks come round; EventBridge may do so twice."""
        for task in tasks:
            portal, queue = ("all", "retain") if task is Task.RETAIN else (self.portal, "dispatch")
            for _ in range(2 if self.chance.happens(0.03) else 1):
                self.account.send(queue, json.dumps(Tick(portal=portal, task=task).body()))

    def drop(self, key: str, body: bytes, metadata: dict[str, str]) -> str:
        """Put an object into the outbox and return its version; its event comes soon, late, or twice."""
        answer = self.account.s3.put_object(Bucket=OUTBOX, Key=key, Body=body, Metadata=metadata)
        version = str(answer["VersionId"])
        sequencer = f"{next(self._numbers):016X}"
        thing = {"key": key, "version-id": version, "size": len(body), "sequencer": sequencer}
        event = json.dumps({"detail": {"bucket": {"name": OUTBOX}, "object": thing}})
        if self.loses_event(key, version):
            return version
        comes = [self.chance.between(0, 90)]
        if self.chance.happens(0.2):
            comes.append(comes[0] + self.chance.between(0, self.chance.one_of((1.0, 10.0, 600.0))))
        for seconds in comes:
            self._events_ahead += 1
            self.after(seconds, partial(self._announce, event))
        return version

    def _announce(self, event: str) -> None:
        self._events_ahead -= 1
        self.account.send("deliver", event)

    # --- the run -----------------------------------------------------------------------------------------------------

    def run(self, is_done: Callable[[], bool], is_wrong: Callable[[], bool]) -> bool:
        """Let everything happen until nothing is left to do; False when that takes longer than it may.

        What is wrong ends it too, with True: there is nothing more to learn.
        """
        self._schedule()
        quiet_from = START + self.conditions.quiet_after
        while self.clock.now < START + self.conditions.ends_after:
            if self.clock.now >= quiet_from:
                self.boundary.strokes.calm = True
            if is_wrong():
                return True
            if not self._go_on():
                if self._is_calm() and not self._queued() and is_done():
                    return True
                self._wait()
        return False

    def _is_calm(self) -> bool:
        return self.boundary.strokes.calm

    def _is_restless(self, process: str) -> bool:
        return process == "retain" and self.clock.now < START + self.conditions.erasing_until

    def _go_on(self) -> bool:
        """Do one step of what can be done now; False when there is nothing."""
        while self._moments and self._moments[0].at <= self.clock.now:
            heapq.heappop(self._moments).happen()
        self._look_after()
        steps: list[Callable[[], object]] = [partial(self.turns.give, worker) for worker in self.turns.ready()]
        steps += [partial(self._invoke, each) for each in FUNCTIONS.values() if self._may_begin(each)]
        if not steps:
            return False
        (steps[0] if self.conditions.orderly else self.chance.one_of(steps))()
        self.clock.now += timedelta(seconds=self.chance.between(*STEP_SECONDS))
        return True

    def _look_after(self) -> None:
        """Kill what has used up its time, and put away what is over."""
        for each in list(self.running):
            late = self.clock.now >= each.ends_at and not self._may_overrun(each.function)
            if late and not each.process.over:
                self.tell(f"{each.function.name}: killed at its timeout")
                self.turns.kill(each.process)
            if each.process.over:
                self._put_away(each)

    def _put_away(self, ended: Invocation) -> None:
        self.running.remove(ended)
        ended.container.busy, ended.container.used_at = False, self.clock.now
        errors = [worker.error for worker in ended.process.workers if worker.error is not None]
        if errors:
            self.containers.remove(ended.container)
        self.defects += [f"{ended.function.name} let {each!r} escape" for each in errors if not isinstance(each, Death)]

    def _wait(self) -> None:
        """Let time pass until something can happen."""
        moments = [each.at for each in self._moments[:1]] + [each.ends_at for each in self.running]
        moments += [each for each in (self.turns.next_wake(), self.account.next_visible_at()) if each is not None]
        later = [moment for moment in moments if moment > self.clock.now]
        self.clock.now = min(later, default=self.clock.now + timedelta(minutes=1))

    def _queued(self) -> bool:
        return bool(self.turns.workers or self._events_ahead) or self.account.next_visible_at() is not None

    def _schedule(self) -> None:
        """Let the schedules come round again and again, more rarely when it is calm."""
        low, high = self.conditions.tick_every

        def come_round(task: Task, factor: float) -> None:
            self.tick(task)
            self.after(self.chance.between(low, high) * factor * self._slower(), lambda: come_round(task, factor))

        for task in (Task.POLL, Task.ACKNOWLEDGE, Task.TRACK):
            self.after(self.chance.between(0, 60), partial(come_round, task, 1.0))

        def come_daily() -> None:
            self.tick(Task.RECONCILE)
            self.after(DAY_SECONDS, come_daily)
            self.after(OPERATOR_SECONDS, self.after_comparison)

        self.after(self.chance.between(300, DAY_SECONDS), come_daily)

        def come_hourly() -> None:
            self.tick(Task.RETAIN)
            self.after(RETAIN_SECONDS, come_hourly)

        if self.conditions.rules.kept_for:
            self.after(RETAIN_SECONDS, come_hourly)

    def _slower(self) -> float:
        """Return how much more rarely the schedules come round, so that days cost no more than minutes."""
        if not self._is_calm():
            return 1.0
        return 6.0 if self.clock.now < START + self.conditions.slow_after else 60.0

    # --- functions ---------------------------------------------------------------------------------------------------

    def _may_begin(self, function: Function) -> bool:
        if not self.account.has_visible(function.queue):
            return False
        return sum(each.function is function for each in self.running) < function.concurrency

    def _invoke(self, function: Function) -> None:
        records = self.account.receive(function.queue, self.chance.number(1, function.batch))
        if not records:
            return
        container = self._container(function)
        process = Process(function.name, memory=container.memory)
        self.invocations += 1

        def work() -> None:
            deadline = Deadline(function.timeout - RESERVE_SECONDS, clock=self.clock.seconds)
            failed = self._handle(function, records, container.services, deadline)
            self.turns.pause()
            self.account.delete(function.queue, [each for each in records if each["messageId"] not in failed])

        self.turns.start(process, work)
        ends_at = self.clock.now + timedelta(seconds=function.timeout)
        self.running.append(Invocation(function, container, process, ends_at))

    def _may_overrun(self, function: Function) -> bool:
        """Return whether a worker of this function may live on beyond its lease, as one whose clock stood still would.

        Not deliver: some portals cannot tell a repeat, and there it is Lambda's timeout that keeps two workers apart.
        Not retain: an item that never came may come an hour after it was erased, and nobody may be erasing it then.
        """
        return self.conditions.overrun and function.name not in ("deliver", "retain")

    def _handle(
        self, function: Function, records: Sequence[Mapping[str, Any]], own: Services, deadline: Deadline
    ) -> set[str]:
        """Do what the function's handler does, and return the ids of the messages that must come again."""
        work: dict[str, Callable[[Any, Any], object]] = {
            "dispatch": lambda request, _: dispatch(request, own),
            "poll": lambda request, _: poll(request, own, deadline),
            "fetch": lambda request, attempt: fetch(request, attempt, own, deadline),
            "acknowledge": lambda request, _: acknowledge(request, own, deadline),
            "deliver": lambda request, attempt: deliver(request, attempt, own, deadline),
            "track": lambda request, _: track(request, own, deadline),
            "retain": lambda request, _: retain(request, own, deadline),
            "route": lambda request, _: route(request, own, deadline),
        }
        answer = each_record(
            records,
            function.model,
            work[function.name],
            queue=own.own_queue,
            tries=function.tries,
            workers=function.workers,
        )
        return {each["itemIdentifier"] for each in answer["batchItemFailures"]}

    def _container(self, function: Function) -> Container:
        """Return a warm container, or a new one; the choice is chance's."""
        fresh = self.clock.now - WARM_FOR
        self.containers = [each for each in self.containers if each.busy or each.used_at >= fresh]
        warm = [each for each in self.containers if each.function is function and not each.busy]
        if warm and self.chance.happens(0.8):
            warm[0].busy = True
            return warm[0]
        container = Container(function, self._new_services(function), self.clock.now)
        self.containers.append(container)
        return container

    def _new_services(self, function: Function) -> Services:
        settings = Settings(
            portal=self.portal,
            verb=function.name,
            ledger_table=LEDGER,
            inbox_bucket=INBOX,
            outbox_bucket=OUTBOX,
            event_bus=BUS,
            queue_url=function.queue,
            poll_queue_url="poll",
            fetch_queue_url="fetch",
            acknowledge_queue_url="acknowledge",
            track_queue_url="track",
            lease_seconds=function.lease,
            tries=function.tries,
            vault_key=VAULT_KEY if function.seals else "",
            allow_loopback=True,
            retention_rules=self.conditions.rules,
            routing_rules=self.conditions.routing,
            audit_days=AUDIT_DAYS,
        )
        return SimulatedServices(settings, self)

    def own(self, make: Callable[[], Thing]) -> Thing:
        """Return what the container whose turn it is keeps in its memory; made when it is first asked for."""
        worker = self.turns.current()
        assert worker is not None, "only processes have a memory"
        memory = worker.process.memory
        if make not in memory:
            memory[make] = make()
        kept: Thing = memory[make]
        return kept

    def client(self, name: str) -> Client:
        """Return a client whose calls cross the boundary."""
        return Client(name, self.account.service(name), self.boundary)

    def session(self) -> requests.Session:
        """Return a session whose requests reach the simulated portals."""
        session = requests.Session()
        session.trust_env = False
        for scheme in ("https://", "http://"):
            session.mount(scheme, InProcessAdapter(self._send, self.boundary.reads_on))
        return session

    def _send(self, request: requests.PreparedRequest, body: bytes) -> WireAnswer:
        host = str(request.url).split("/", 3)[2]
        if host not in self.hosts:
            self.defects.append(f"a request went to {host}, which is no portal of ours")
            raise requests.ConnectionError(host)
        return self.hosts[host](request, body)

    def _carry(
        self,
        request: requests.PreparedRequest,
        body: bytes,
        portal: InProcessPortal,
        effect: Callable[..., WireAnswer],
    ) -> WireAnswer:
        method, path = str(request.method), path_of(str(request.url))
        headers = {str(name): str(value) for name, value in request.headers.items()}
        name = f"{method} {effect_name(path)}"

        def happen(stroke: Stroke | None) -> WireAnswer:
            try:
                return effect(portal, method, path, headers, body, stroke)
            finally:
                self.after_portal_call()

        return self.boundary.call_portal(name, happen)


class SimulatedServices(Services):
    """Services of a process in the machine."""

    def __init__(self, settings: Settings, machine: Machine) -> None:
        super().__init__(settings, machine.client, machine.clock)
        self._machine = machine
        self.__dict__["_session"] = machine.session()

    def tools(self, deadline: Deadline) -> Tools:
        """Return what an adapter works with; pauses take simulated time."""

        def sleep(seconds: float) -> None:
            self._machine.turns.pause(self._machine.clock.now + timedelta(seconds=seconds))

        tools = super().tools(deadline)
        transport = Transport(deadline, allow_loopback=True, session=self._session, sleep=sleep)
        return replace(tools, transport=transport)


def effect_name(path: str) -> str:
    """Return the path of a portal call without what differs between items."""
    plain = path.partition("?")[0]
    return "/".join("{}" if _differs(part) else part for part in plain.split("/"))


def _differs(part: str) -> bool:
    return any(each.isdigit() for each in part) and not (len(part) == 2 and part[0] == "v") and part != "s3"


def _nothing() -> None:
    """Look at nothing."""


def _loses_nothing(key: str, version: str) -> bool:
    """Let every event come."""
    return False
