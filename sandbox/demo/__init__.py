"""All flows end to end on the embedded AWS and simulated portals: `python -m sandbox demo`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from sandbox.demo.large import Interrupter, let_senders_die_young
from sandbox.demo.leaks import Taken, private_texts, search
from sandbox.demo.observation import Judged, Searched, StoredObject, calls
from sandbox.demo.report import WIDTH, Screen, Summary, as_json, print_result, summary
from sandbox.demo.run import Moment, Run
from sandbox.demo.scenario import LARGE_BYTES, LARGE_NAME, seed
from sandbox.demo.stack import TICK_SECONDS, Clients, DemoStack
from sandbox.deployment import SAM, DeploymentError, deploy
from sandbox.embedded import EmbeddedAws, EmbeddedAwsError
from sandbox.portals.catalog import open_portals
from sandbox.staying import serve_console, wait
from sandbox.ticker import Ticker

LIMIT_SECONDS = 120.0
PARAMETERS = {
    "Schedules": "DISABLED",
    "LogLevel": "DEBUG",
    "DubaMaximumConcurrency": "2",
    "DocxworldMaximumConcurrency": "2",
    "DigitaleGemeindeMaximumConcurrency": "2",
    "AltinnMaximumConcurrency": "2",
}
"""The demo fires the schedules itself, and reads the logs at their most talkative. Two workers per function: more only
wait for each other on a small machine."""
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run the demo; 0 only when every document and every drop reached the end it should. Cleans up in any case."""
    options = _parser().parse_args(arguments)
    console = Console(width=WIDTH, quiet=options.json)
    try:
        return _demo(options, console)
    except KeyboardInterrupt:
        return _say("interrupted; everything that was started is gone", INTERRUPTED)
    except (EmbeddedAwsError, DeploymentError, OSError) as error:
        return _say(f"the demo could not run: {error}")
    except (BotoCoreError, ClientError) as error:
        return _say(f"the embedded AWS does not do what it should: {error}")


def _demo(options: argparse.Namespace, console: Console) -> int:
    if not SAM.exists():
        return _say("the AWS SAM CLI is missing here; `make setup` installs it")
    started = time.monotonic()
    with ExitStack() as running:
        aws = running.enter_context(EmbeddedAws.start())
        moment, figures = _run(aws, running, console, options.limit_seconds, started)
        if options.json:
            print(json.dumps(as_json(moment, figures), ensure_ascii=False), flush=True)
        else:
            print_result(console, moment, figures)
        if options.stay:
            _stay(aws, running)
    return 0 if moment.verdict.ok else 1


def _stay(aws: EmbeddedAws, running: ExitStack) -> None:
    """Leave everything running, with the operator's console, until Ctrl-C; that is the regular end."""
    running.enter_context(Ticker(aws, TICK_SECONDS))
    print(f"\nconsole   {serve_console(aws, running)}\nIt shows all of this. Ctrl-C ends it.", flush=True)
    with suppress(KeyboardInterrupt):
        wait(aws)


def _run(
    aws: EmbeddedAws, running: ExitStack, console: Console, limit_seconds: float, started: float
) -> tuple[Moment, Summary]:
    outputs = deploy(aws, parameters=PARAMETERS)
    let_senders_die_young(aws)
    portals = open_portals(running)
    scenario = seed(portals)
    interrupter = Interrupter(aws.process_id, LARGE_NAME, LARGE_BYTES)
    portals.docxworld.storage.watchers.append(interrupter.watch)
    fire = Ticker(aws, TICK_SECONDS).fire
    logs = aws.session().client("logs", endpoint_url=aws.endpoint)

    def look_closely(inbox: Mapping[str, StoredObject]) -> tuple[Searched, Judged]:
        taken = Taken.of(aws.endpoint)
        return search(logs, taken.sent, inbox, private_texts(portals, scenario)), taken.judged

    clients = Clients.of(aws)
    stack = DemoStack(clients, outputs, portals, fire, transfers=interrupter.transfers, look_closely=look_closely)
    with Screen(console, silent=console.quiet) as screen:
        stack.connect()
        run = Run(scenario, stack, screen.show)
        run.watch(limit_seconds)
    moment = run.settle()
    return moment, summary(moment, calls(portals), time.monotonic() - started)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--stay", action="store_true", help="leave it running, with the operator's console")
    parser.add_argument(
        "--limit-seconds",
        type=float,
        default=LIMIT_SECONDS,
        metavar="S",
        help="judge after so many seconds, finished or not (default: %(default).0f)",
    )
    return parser


def _say(text: str, code: int = 1) -> int:
    print(text, file=sys.stderr, flush=True)
    return code
