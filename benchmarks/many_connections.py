"""Row 7: five hundred connections of one portal, of which one hangs and one fails its login.

Every connection has new messages; the time counts until all those of the others are in the inbox. A round without
trouble comes first, with the same connections, and one with all messages on a single connection.
"""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from urllib.parse import urlsplit

from benchmarks.cloud.running import RunningAws
from benchmarks.fleet import Fleet
from benchmarks.measured import Limit, Measured, Options, at_least, compared, median_of
from benchmarks.offices import duba, secret_of

NAME = "many-connections"
CONNECTIONS, QUICK_CONNECTIONS = 500, 20
MESSAGES = 2  # of each connection and round
HANGING, FAILING = 7, 11
WARMING = 40  # connections of a first round that does not count
PORTAL_SECONDS = 0.2
VERBS = ("dispatch", "poll", "fetch")
GOAL = 0.9  # the noise of one round, and the one of ten invocations that the hanging connection takes up
GLANCE_SECONDS = 0.05
WAIT_SECONDS = 600.0


def run(options: Options) -> Measured:
    """Measure without trouble, with it, and with one connection."""
    connections = options.scaled(CONNECTIONS, QUICK_CONNECTIONS)
    others = [number for number in range(connections) if number not in (HANGING, FAILING)]
    with ExitStack() as running:
        office = _Office(connections, running)
        office.round(others[:WARMING])
        healthy = median_of([office.round(others) for _ in range(max(1, options.runs - 1))])
        single = office.round([0], len(others) * MESSAGES)
        office.make_trouble()
        troubled = office.round(others)
    return Measured(
        NAME,
        f"{connections} connections of one portal, one hanging, one failing its login",
        "the same without the two; one connection with all the messages",
        (
            compared(f"the other {len(others)}, against no trouble", troubled, healthy, "documents/s", at_least(GOAL)),
            compared("the same, against one connection", troubled, single, "documents/s", Limit()),
        ),
        (
            f"{MESSAGES} new messages per connection, the portal answering in 200 ms. One round with trouble, as the"
            " hanging connection keeps its invocation until its time is up: one of ten, once in five minutes.",
            "The hanging portal takes the request and never answers; the failing one answers 401.",
        ),
    )


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
        self._fleet.wait_until_quiet()
        self._post(f"/{HANGING}/_sandbox/faults", {"kind": "LATENCY", "delay_seconds": 3600.0})
        wrong = secret_of(f"{self.address}/{FAILING}", password="falsch")
        self._aws.connect("duba", {f"office-{FAILING}": wrong})

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
