"""Row 7: five hundred connections of one portal, of which one hangs and one fails its login.

Every connection has new messages; the time counts until all those of the others are in the inbox. Two offices of their
own, one without trouble and one with it, take turns round by round, as a shared machine's pace drifts by a quarter
within minutes. There are rounds in which the portal begins to hang, and rounds after its second time-out, when it is
left alone for ever longer pauses. A round of the healthy office has all messages on a single connection. While the
portal is hung on to, two thousand connections are dispatched, by a process that knows nothing yet and by one that knows
their secrets.
"""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from urllib.parse import urlsplit

from amtsbote.status import TIMEOUTS_IN_A_ROW
from benchmarks.cloud.running import RunningAws
from benchmarks.fleet import Fleet
from benchmarks.measured import Limit, Line, Measured, Options, alone, at_least, at_most, compared, median_of
from benchmarks.offices import duba, secret_of
from benchmarks.usage import Work

NAME = "many-connections"
CONNECTIONS, QUICK_CONNECTIONS = 500, 20
MESSAGES = 1  # of each connection and round
HANGING, FAILING = 7, 11
WARMING = 40  # connections of a first round that does not count
PORTAL_SECONDS = 0.2
VERBS = ("dispatch", "poll", "fetch")
DISPATCHED, QUICK_DISPATCHED = 2000, 50
SHARE_OF_TIMEOUT = 1 / 3  # that dispatching so many may take
TASKS = ("poll", "acknowledge", "track")
GOAL = 0.9  # the noise of one round
GLANCE_SECONDS = 0.05
WAIT_SECONDS = 600.0


def run(options: Options) -> Measured:
    """Measure without trouble, with it, and with one connection."""
    connections = options.scaled(CONNECTIONS, QUICK_CONNECTIONS)
    others = [number for number in range(connections) if number not in (HANGING, FAILING)]
    with ExitStack() as running:
        healthy, troubled = _Office(connections, running), _Office(connections, running)
        for office in (healthy, troubled):
            office.round(others[:WARMING])
            office.round(others)  # does not count: all secrets are read for the first time
        troubled.make_trouble()
        beginning = _in_turns(troubled, healthy, others, 1)
        dispatched = _dispatched(options.scaled(DISPATCHED, QUICK_DISPATCHED))
        troubled.wait_until_left_alone()
        settled = _in_turns(troubled, healthy, others, options.runs)
        single = healthy.round([0], len(others) * MESSAGES)
    return Measured(
        NAME,
        f"{connections} connections of one portal, one hanging, one failing its login",
        "the same without the two; one connection with all the messages",
        (
            compared(f"the other {len(others)} while it begins to hang", *beginning, "documents/s", Limit()),
            compared("the same from its second time-out on", *settled, "documents/s", at_least(GOAL)),
            compared("the same, against one connection", settled[0], single, "documents/s", Limit()),
            *dispatched,
        ),
        (
            "A new message per connection, the portal answering in 200 ms. The hanging portal takes the"
            " request and never answers, which keeps one of ten invocations until its time is up; the second time in a"
            " row its connection is paused. The failing one answers 401.",
            "The office with the two and the one without take turns, round by round.",
            "Dispatching is billed time: waiting as it was, the processor's part stretched to the share of a core that"
            " the function's memory gives; the limit is a third of its timeout.",
        ),
    )


def _in_turns(troubled: "_Office", healthy: "_Office", numbers: Sequence[int], rounds: int) -> tuple[float, float]:
    """Return the documents per second of both: the median round of each, the two taking turns."""
    pairs = [(troubled.round(numbers), healthy.round(numbers)) for _ in range(rounds)]
    return median_of([pair[0] for pair in pairs]), median_of([pair[1] for pair in pairs])


def _dispatched(connections: int) -> list[Line]:
    """Measure how long so many connections take to be dispatched, at the first time and for each task."""
    with ExitStack() as running:
        aws = running.enter_context(RunningAws())
        secret = secret_of("https://elim.example.com")
        aws.connect("duba", {f"office-{number}": secret for number in range(connections)})
        fleet = running.enter_context(Fleet(aws, "duba", "dispatch", at_once={"dispatch": 1}))
        first = _billed(fleet, "poll")
        known = max(_billed(fleet, task) for task in TASKS)
        limit = at_most(fleet.sources["dispatch"].function.timeout_seconds * SHARE_OF_TIMEOUT)
    return [
        alone(f"{connections:,} connections dispatched for the first time", first, "s", limit),
        alone("the same, their secrets known, the slowest task", known, "s", limit),
    ]


def _billed(fleet: Fleet, task: str) -> float:
    source = fleet.sources["dispatch"]
    fleet.invoked.clear()
    before = source.cpu_seconds()
    fleet.tick(task)
    fleet.wait_until_quiet("dispatch")
    wall = sum(each.seconds for each in fleet.invoked)
    return Work(1, wall, source.cpu_seconds() - before, float(source.function.properties["MemorySize"])).billed_seconds


class _Office:
    """The portal, its connections and the functions."""

    def __init__(self, connections: int, running: ExitStack) -> None:
        self.address = running.enter_context(duba(0, 0, PORTAL_SECONDS, accounts=connections))
        self._aws = running.enter_context(RunningAws())
        secrets = {f"office-{n}": secret_of(f"{self.address}/{n}") for n in range(connections)}
        self._aws.connect("duba", secrets)
        self._fleet = running.enter_context(Fleet(self._aws, "duba", *VERBS, at_once={"dispatch": 1}))

    def round(self, numbers: Sequence[int], messages: int = MESSAGES) -> float:
        """Give each of these connections new messages; return the documents per second."""
        for number in numbers:
            self._post(f"/{number}/_sandbox/messages", {}, times=messages)
        wanted = self._aws.counted().documents + len(numbers) * messages
        began = time.monotonic()
        self._fleet.tick("poll")
        while self._aws.counted().documents < wanted:
            if time.monotonic() - began > WAIT_SECONDS:
                raise TimeoutError(f"{wanted} documents did not come: {self._fleet.logs()[-2000:]}")
            time.sleep(GLANCE_SECONDS)
        return len(numbers) * messages / (time.monotonic() - began)

    def make_trouble(self) -> None:
        """Let one portal hang from now on, and one refuse its password."""
        self._post(f"/{HANGING}/_sandbox/faults", {"kind": "LATENCY", "delay_seconds": 3600.0})
        wrong = secret_of(f"{self.address}/{FAILING}", password="falsch")
        self._aws.connect("duba", {f"office-{FAILING}": wrong})

    def wait_until_left_alone(self) -> None:
        """Let the hanging portal be polled until it has let us wait often enough, the round before included."""
        self._fleet.wait_until_quiet()
        for _ in range(TIMEOUTS_IN_A_ROW - 1):
            self._fleet.tick("poll")
            self._fleet.wait_until_quiet()

    def _post(self, path: str, body: object, times: int = 1) -> None:
        parts = urlsplit(self.address)
        connection = HTTPConnection(str(parts.hostname), parts.port)
        for _ in range(times):
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{path} answered {answer.status}")
        connection.close()
