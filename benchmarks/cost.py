"""The monthly bill of three organisations, by service, with the idle cost apart.

    python -m benchmarks.cost [--quick]

Counted on the lean AWS: the requests of one document of each flow and of one turn of each schedule, with what Lambda
and SQS add by themselves. Durations are measured with the latency of AWS, and the processor's part of them is stretched
to the share of a core that the function's memory gives. Prices are data (`prices.json`).
"""

import argparse
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cloud.running import RunningAws
from benchmarks.fleet import Fleet
from benchmarks.flows import FLOWS, Flow, walk
from benchmarks.offices import duba, secret_of
from benchmarks.usage import Usage, Work, metrics_in, usage_of
from tests.template.loading import Function, stack

FOLDER = Path(__file__).parent
PRICES = FOLDER / "prices.json"
MINUTES_PER_MONTH = 365.25 * 24 * 60 / 12
PORTALS = 4  # of the stack: the schedules of all of them tick, whoever has connections
IDLE_RECEIVES_PER_MINUTE = 15  # of each queue: Lambda waits there with five pollers, 20 seconds a time
SHARE_COMING_IN = 0.8
BEGUN = ("acknowledge", "track")  # tasks that are sent only to connections with work
SECRET_READS = "secretsmanager GetSecretValue"
DOCUMENT_BYTES = 64 * 1024
DOCUMENTS, QUICK_DOCUMENTS = 50, 5
IDLE_CONNECTIONS, QUICK_IDLE_CONNECTIONS = (20, 120), (2, 4)
POLLS_AT_ONCE = 5
VERBS = ("dispatch", "poll", "acknowledge", "track")
TASKS = ("poll", "acknowledge", "track")
MOST_TRACES_PER_SECOND, FURTHER_TRACES = 1.0, 0.05  # what X-Ray samples of each function's invocations
FUNCTIONS_THAT_TICK = 4
ONE_SECRET = Usage({"Secrets Manager, calls": 1.0})  # it is kept for a minute, so each turn of a connection reads it
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Organisation:
    """Who pays: so many connections, and documents a month."""

    name: str
    connections: int
    documents: int


ORGANISATIONS = (
    Organisation("hospital", 1, 2_000),
    Organisation("city", 10, 300_000),
    Organisation("computing centre", 500, 30_000_000),
)


@dataclass(frozen=True)
class Rates:
    """After how many minutes the turn of each schedule comes again, and whether metrics carry connections."""

    poll: float = 5.0
    acknowledge: float = 1.0
    track: float = 1.0
    connection_metrics: bool = False

    def turns(self, task: str) -> float:
        """Return how many turns a month has."""
        return MINUTES_PER_MONTH / float(getattr(self, task))


@dataclass(frozen=True)
class Observed:
    """What was counted: per document in and out, per turn and per turn and connection; custom metrics by name.

    `per_begun` is what a task takes that is sent to a connection with work, beside the work itself.
    """

    coming_in: Usage
    going_out: Usage
    per_turn: Mapping[str, Usage]
    per_connection: Mapping[str, Usage]
    per_begun: Mapping[str, Usage]
    metrics_of_connection: int
    metrics_of_portal: int


@dataclass(frozen=True)
class Bill:
    """A month's bill in dollars by the name of the price."""

    idle: Mapping[str, float]
    documents: Mapping[str, float]

    @property
    def total(self) -> float:
        """All together."""
        return sum(self.idle.values()) + sum(self.documents.values())


# --- the bill, from what was observed --------------------------------------------------------------------------------


def read_prices(path: Path = PRICES) -> dict[str, float]:
    """Return the prices in dollars by name."""
    return {name: float(price["usd"]) for name, price in json.loads(path.read_text())["prices"].items()}


def priced(usage: Usage, prices: Mapping[str, float]) -> dict[str, float]:
    """Return what a usage costs, by the name of the price; what has no price here is left out only when it is zero."""
    missing = {name for name, amount in usage.amounts.items() if amount and name not in prices}
    if missing:
        raise KeyError(f"no price for {sorted(missing)}")
    return {name: amount * prices[name] for name, amount in usage.amounts.items() if amount}


def bill_of(who: Organisation, observed: Observed, prices: Mapping[str, float], rates: Rates, fixed: Usage) -> Bill:
    """Return the bill of a month. `fixed` is what the stack has whoever uses it: alarms, a dashboard, a key."""
    idle = fixed + standing(who, observed, rates) + turned(who, observed, rates)
    share_in = observed.coming_in.times(who.documents * SHARE_COMING_IN)
    documents = share_in + observed.going_out.times(who.documents * (1 - SHARE_COMING_IN)) + begun(who, observed, rates)
    stored = Usage({"S3, storage": who.documents * DOCUMENT_BYTES / 1e9})
    return Bill(priced(idle + traced(idle), prices), priced(documents + stored + traced(documents), prices))


def standing(who: Organisation, observed: Observed, rates: Rates) -> Usage:
    """Return what connections cost by being there: their secrets, and the metrics that carry their names if any do."""
    of_connections = who.connections * observed.metrics_of_connection if rates.connection_metrics else 0
    metrics = of_connections + PORTALS * observed.metrics_of_portal
    return Usage({"Secrets Manager, secrets": who.connections, "CloudWatch, metrics": metrics})


def turned(who: Organisation, observed: Observed, rates: Rates) -> Usage:
    """Return what the schedules' turns cost when they find nothing."""
    usage = Usage()
    for task in TASKS:
        turns = rates.turns(task)
        usage += observed.per_turn[task].times(turns * PORTALS)
        usage += observed.per_connection[task].times(turns * who.connections)
    return usage


def begun(who: Organisation, observed: Observed, rates: Rates) -> Usage:
    """Return what the turns cost that find work, beside the work: as many as there can be, documents come evenly."""
    usage = Usage()
    for task, share in zip(BEGUN, (SHARE_COMING_IN, 1 - SHARE_COMING_IN), strict=True):
        turns = who.connections * rates.turns(task)
        with_work = turns * -math.expm1(-who.documents * share / turns) if turns else 0.0
        usage += observed.per_begun[task].times(with_work)
    return usage


def traced(usage: Usage) -> Usage:
    """Return the traces that X-Ray records of invocations: one a second of each function, and 5 % of the rest."""
    invocations = usage.amounts.get("Lambda, requests", 0.0)
    whole = MOST_TRACES_PER_SECOND * SECONDS_PER_MINUTE * MINUTES_PER_MONTH * FUNCTIONS_THAT_TICK
    return Usage({"X-Ray": min(invocations, whole) + max(0.0, invocations - whole) * FURTHER_TRACES})


def fixed_usage() -> Usage:
    """Return what the template makes that has a price by itself."""
    resources = stack()
    return Usage(
        {
            "CloudWatch, alarms": len(resources.of_type("AWS::CloudWatch::Alarm")),
            "CloudWatch, dashboard": len(resources.of_type("AWS::CloudWatch::Dashboard")),
            "KMS, key": len(resources.of_type("AWS::KMS::Key")),
            "SQS": len(resources.functions()) * IDLE_RECEIVES_PER_MINUTE * MINUTES_PER_MONTH,
        }
    )


# --- counting --------------------------------------------------------------------------------------------------------


def observe(*, quick: bool = False) -> Observed:
    """Count and measure everything that the bills are made of."""
    documents = QUICK_DOCUMENTS if quick else DOCUMENTS
    few, many = QUICK_IDLE_CONNECTIONS if quick else IDLE_CONNECTIONS
    (some, _), (more, begun_of) = _turns(few), _turns(many)
    per_connection = {task: more[task].less(some[task]).times(1 / (many - few)) for task in TASKS}
    per_turn = {task: some[task].less(per_connection[task].times(few)) for task in TASKS}
    per_connection["poll"] += ONE_SECRET
    per_begun = {task: usage.times(1 / many) + ONE_SECRET for task, usage in begun_of.items()}
    found = [_document(flow, documents) for flow in FLOWS]
    coming_in, going_out = _mean(found, inbound=True), _mean(found, inbound=False)
    of_connection = set().union(*(each[1] for each in found))
    of_portal = set().union(*(each[2] for each in found))
    usages = (coming_in, going_out, per_turn, per_connection, per_begun)
    return Observed(*usages, len(of_connection), len(of_portal))


def _document(flow: Flow, documents: int) -> tuple[Flow, set[str], set[str], Usage]:
    """Return what one document of a flow uses, and the metrics that it makes."""
    walked = walk(flow, documents, latency=1.0)
    of_connection, of_portal = metrics_in(walked.log)
    works = [_work(each, walked.works[each.verb]) for each in _functions(flow.portal) if each.verb in walked.works]
    usage = usage_of(walked.aws, walked.units, works, len(walked.log))
    return flow, of_connection, of_portal, usage.times(1 / documents)


def _mean(found: Sequence[tuple[Flow, set[str], set[str], Usage]], *, inbound: bool) -> Usage:
    chosen = [usage for flow, _, _, usage in found if flow.inbound is inbound]
    return sum(chosen, Usage()).times(1 / len(chosen))


def _functions(portal: str) -> list[Function]:
    return [each for each in stack().functions() if each.portal == portal]


def _work(function: Function, used: tuple[int, float, float]) -> Work:
    invocations, wall, cpu = used
    return Work(invocations, wall, cpu, float(function.properties["MemorySize"]))


def _turns(connections: int) -> tuple[dict[str, Usage], dict[str, Usage]]:
    """Return what one turn of each schedule uses with so many connections that have nothing to do, and what tasks use
    that are sent to all of them although there is nothing to do.
    """
    with ExitStack() as running:
        address = running.enter_context(duba(0, 0, 0.2))
        aws = running.enter_context(RunningAws())
        names = [f"office-{number}" for number in range(connections)]
        aws.connect("duba", dict.fromkeys(names, secret_of(address)))
        at_once = dict.fromkeys(VERBS, 1) | {"poll": POLLS_AT_ONCE}
        fleet = running.enter_context(Fleet(aws, "duba", *VERBS, at_once=at_once))
        fleet.tick("poll")  # so that each connection has its row, and what its secret says is known
        fleet.wait_until_quiet()
        turns = {task: _measured(partial(fleet.tick, task), ("dispatch", task), fleet) for task in TASKS}
        begun_of = {task: _measured(partial(_begin, task, names, fleet), (task,), fleet) for task in BEGUN}
        return turns, begun_of


def _begin(task: str, connections: Sequence[str], fleet: Fleet) -> None:
    """Send a task to connections, whether there is work or not."""
    bodies = [{"portal": "duba", "connection": connection, "task": task} for connection in connections]
    fleet.aws.send(fleet.sources[task].queue, *bodies)


def _measured(happen: Callable[[], None], verbs: Sequence[str], fleet: Fleet) -> Usage:
    """Return what functions use from a moment on until all is quiet, the reading of single secrets aside."""
    fleet.aws.ask("forget")
    fleet.invoked.clear()
    cpu, logged = {verb: fleet.sources[verb].cpu_seconds() for verb in verbs}, len(fleet.logs())
    happen()
    fleet.wait_until_quiet()
    counted, log = fleet.aws.counted(), len(fleet.logs()) - logged
    requests = {name: number for name, number in counted.requests.items() if name != SECRET_READS}
    works = []
    for verb in verbs:
        mine = [each for each in fleet.invoked if each.verb == verb]
        used = (len(mine), sum(each.seconds for each in mine), fleet.sources[verb].cpu_seconds() - cpu[verb])
        works.append(_work(fleet.sources[verb].function, used))
    return usage_of(requests, counted.units, works, log)


# --- telling ---------------------------------------------------------------------------------------------------------


def bills(observed: Observed) -> dict[str, dict[str, Bill]]:
    """Return the bills of all organisations: as it is, and with other settings."""
    prices, fixed = read_prices(), fixed_usage()
    variants = {
        "as it is": Rates(),
        "polled each minute": Rates(poll=1.0),
        "with ConnectionMetrics=true": Rates(connection_metrics=True),
    }
    return {
        name: {who.name: bill_of(who, observed, prices, rates, fixed) for who in ORGANISATIONS}
        for name, rates in variants.items()
    }


def page(found: Mapping[str, Mapping[str, Bill]]) -> str:
    """Return the bills as Markdown."""
    known = json.loads(PRICES.read_text())
    head = [
        "# What a month costs",
        "",
        f"`python -m benchmarks.cost`, {datetime.now(UTC).date().isoformat()}; list prices of {known['region']} as"
        f" known in {known['knownFor']}, in {known['currency']}, without free tiers and taxes. {known['note']}",
        f"{SHARE_COMING_IN:.0%} of the documents come in, the rest goes out; the mean of the four portals' flows;"
        f" {DOCUMENT_BYTES // 1024} KiB each, kept for a month.",
    ]
    return "\n".join([*head, *(line for name, each in found.items() for line in _variant(name, each))]) + "\n"


def _variant(name: str, each: Mapping[str, Bill]) -> list[str]:
    services = sorted({service for bill in each.values() for service in (*bill.idle, *bill.documents)})
    head = f"| | {' | '.join(f'{who}: idle | documents' for who in each)} |"
    lines = ["", f"## {name[0].upper()}{name[1:]}", "", head]
    lines.append(f"|---|{'---:|---:|' * len(each)}")
    for service in services:
        cells = (
            f"{bill.idle.get(service, 0.0):,.2f} | {bill.documents.get(service, 0.0):,.2f}" for bill in each.values()
        )
        lines.append(f"| {service} | {' | '.join(cells)} |")
    sums = (f"**{sum(bill.idle.values()):,.2f}** | **{sum(bill.documents.values()):,.2f}**" for bill in each.values())
    return [*lines, f"| **together** | {' | '.join(sums)} |"]


def print_bills(found: Mapping[str, Mapping[str, Bill]]) -> None:
    """Print the sums."""
    table = Table("", *(who.name for who in ORGANISATIONS), title="A month, in dollars: idle + documents")
    for name, each in found.items():
        cells = (f"{sum(b.idle.values()):,.2f} + {sum(b.documents.values()):,.2f}" for b in each.values())
        table.add_row(name, *cells)
    Console(width=140).print(table)


def main() -> None:
    """Count, print, write `costs.md`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few documents and connections; nothing is written")
    given = parser.parse_args()
    logging.disable(logging.ERROR)
    found = bills(observe(quick=given.quick))
    print_bills(found)
    if not given.quick:
        (FOLDER / "costs.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
