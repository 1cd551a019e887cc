"""A stream of documents and drops under violence, on the embedded AWS: `python -m sandbox soak`."""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from sandbox.demo import PARAMETERS
from sandbox.demo.stack import Clients, DemoStack
from sandbox.deployment import SAM, DeploymentError, StackOutputs, deploy
from sandbox.embedded import EmbeddedAwsError, fast_folder
from sandbox.portals.catalog import Portals, prepare_portals
from sandbox.soak.haste import hurry
from sandbox.soak.report import WIDTH, Figures, Line, as_json, figures, print_result
from sandbox.soak.run import TICK_SECONDS, Moment, Soak, read_dead_letters
from sandbox.soak.scenario import Rates, Stream, arrivals
from sandbox.soak.violence import Listeners, Mains, Violence, plan
from sandbox.soak.witness import Witness, bucket_folder
from sandbox.ticker import Ticker

MINUTES = 5.0
DRAIN_SECONDS = 600.0
TICK_AT_MOST_SECONDS = 30.0
"""The schedules wait so long at most for functions that are behind: more tasks would only make them later."""
INTERRUPTED = 130
SEED_BITS = 32


@dataclass(frozen=True)
class Result:
    """How a soak ended."""

    moment: Moment
    figures: Figures
    log: list[str]


def main(arguments: Sequence[str]) -> int:
    """Run a soak; 0 only when nothing was lost, doubled, altered or acknowledged too early. Cleans up in any case."""
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, quiet=options.json)
    try:
        return _soak(options, console)
    except KeyboardInterrupt:
        return _say("interrupted; everything that was started is gone", INTERRUPTED)
    except (EmbeddedAwsError, DeploymentError, OSError) as error:
        return _say(f"the soak could not run: {error}")
    except (BotoCoreError, ClientError) as error:
        return _say(f"the embedded AWS does not do what it should: {error}")


def _soak(options: argparse.Namespace, console: Console) -> int:
    if not SAM.exists():
        return _say("the AWS SAM CLI is missing here; `make setup` installs it")
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # who kills clients need not hear that they died
    rates = Rates(options.documents_per_second, options.drops_per_second)
    seed = random.getrandbits(SEED_BITS) if options.seed is None else options.seed
    result = soak(options.minutes * 60, seed, rates, options.drain_seconds, console)
    if options.json:
        print(json.dumps(as_json(result.moment, result.figures, result.log), ensure_ascii=False), flush=True)
    else:
        print_result(console, result.moment, result.figures)
    return 0 if result.figures.ok else 1


def soak(seconds: float, seed: int, rates: Rates, drain_seconds: float, console: Console) -> Result:
    """Deploy the stack, let the violence go on for so many seconds, wait so long for the rest at most, and judge."""
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory(prefix="amtsbote-soak-", dir=fast_folder()))
        mains = Mains(Path(folder))
        running.callback(mains.stop)
        outputs = deploy(mains.aws, parameters=PARAMETERS)
        hurry(mains.aws)
        return _Course(running, mains, outputs, seed, seconds).run(rates, drain_seconds, console)


class _Course:
    """Puts a soak together from its parts and lets it run."""

    def __init__(self, running: ExitStack, mains: Mains, outputs: StackOutputs, seed: int, seconds: float) -> None:
        self._seconds = seconds
        self._mains = mains
        self._outputs = outputs
        self._seed = seed
        self._dice = random.Random(f"violence {seed}")
        self._running = running
        self._portals = prepare_portals(running)
        self._stream = Stream(self._portals, seed, seconds)
        self._witness = Witness(bucket_folder(mains.aws.folder, outputs.inbox_bucket), self._stream.documents)
        self._witness.watch(self._portals)
        self._listeners = Listeners(self._portals.all())
        running.callback(self._listeners.stop)

    def run(self, rates: Rates, drain_seconds: float, console: Console) -> Result:
        """The whole course."""
        names = _names(self._portals)
        coming = arrivals(self._dice, self._seconds, rates, names)
        log: list[str] = []
        clients = Clients.of(self._mains.aws)
        fire = Ticker(self._mains.aws, TICK_SECONDS).fire
        stack = DemoStack(clients, self._outputs, self._portals, fire, TICK_AT_MOST_SECONDS)
        stack.connect()

        def say(text: str) -> None:
            log.append(f"{course.now():6.1f} s  {text}")
            console.print(log[-1], style="dim", highlight=False, markup=False, soft_wrap=True)

        portals = {each.name: each for each in self._portals.all()}
        blows = plan(self._dice, self._seconds, names)
        violence = Violence(self._mains, self._listeners, portals, blows, self._dice, say)
        line = Line(console, violence)
        self._running.callback(line.stop)
        url = self._outputs.dead_letter_queue_url
        course = Soak(
            stream=self._stream,
            stack=stack,
            plug=self._mains.lock,
            violence=violence,
            witness=self._witness,
            dead_letters=lambda: read_dead_letters(clients.sqs, url),
            report=line.show,
        )
        course.rage(coming, self._seconds)
        say("peace")
        moment = course.drain(drain_seconds)
        line.stop()
        given = {"seed": self._seed, "acknowledgements": self._witness.seen}
        return Result(moment, figures(moment, violence, seconds=self._seconds, **given), log)


def _names(portals: Portals) -> list[str]:
    return [each.name for each in portals.all()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox soak", description=__doc__)
    rates = Rates()
    parser.add_argument("--minutes", type=_positive, default=MINUTES, metavar="M", help="default: %(default).0f")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat what came and what went wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead")
    for name, default in (("documents", rates.documents_per_second), ("drops", rates.drops_per_second)):
        parser.add_argument(f"--{name}-per-second", type=_positive, default=default, metavar="R", help=f"{default:g}")
    parser.add_argument(
        "--drain-seconds", type=_positive, default=DRAIN_SECONDS, metavar="S", help="judge so long after the violence"
    )
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return number


def _say(text: str, code: int = 1) -> int:
    print(text, file=sys.stderr, flush=True)
    return code
