"""`python -m sandbox up` leaves the whole system running; `python -m sandbox demo` runs all flows end to end;
`python -m sandbox soak` does so for minutes, under violence.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from sandbox.deployment import STACK_NAME, DeploymentError, StackOutputs, deploy
from sandbox.embedded import EmbeddedAws, EmbeddedAwsError
from sandbox.staying import serve_console, wait
from sandbox.ticker import Ticker

INTERRUPTED = 130
HIGHEST_PORT = 65535
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Portals = Mapping[str, Mapping[str, Any]]


def main(arguments: Sequence[str]) -> int:
    """Run a command. SIGINT, SIGTERM and SIGHUP end it in good order; for `up` that is the regular end and gives 0."""
    for number in ENDING_SIGNALS:
        signal.signal(number, _interrupt)
    if arguments[:1] == ["demo"]:
        return _demo(arguments[1:])
    if arguments[:1] == ["soak"]:
        return _soak(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        return up(options)
    except KeyboardInterrupt:
        return 0
    except (EmbeddedAwsError, DeploymentError) as error:
        _say(str(error))
        return 1


def up(options: argparse.Namespace) -> int:
    """Bring everything up, say where it is, and wait. Returns 1 when the embedded AWS ends by itself."""
    with ExitStack() as running:
        aws = running.enter_context(EmbeddedAws.start(options.state_dir, options.aws_port))
        outputs = deploy(aws, parameters={"Schedules": "DISABLED" if options.tick_seconds else "ENABLED"})
        portals = {} if options.no_portals else _start_portals(aws, running)
        if options.tick_seconds:
            running.enter_context(Ticker(aws, options.tick_seconds))
        console = None if options.no_console else serve_console(aws, running)
        _announce(aws, outputs, portals, console, as_json=options.json)
        return wait(aws)


def _demo(arguments: Sequence[str]) -> int:
    from sandbox.demo import main as demo

    try:
        return demo(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _soak(arguments: Sequence[str]) -> int:
    from sandbox.soak import main as soak

    try:
        return soak(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _start_portals(aws: EmbeddedAws, running: ExitStack) -> Portals:
    from sandbox.portals.catalog import start_all

    return start_all(aws, running)


def _announce(aws: EmbeddedAws, outputs: StackOutputs, portals: Portals, console: str | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_endpoints(aws, portals) | ({"console": console} if console else {})), flush=True)
        return
    print(f"AWS                {aws.endpoint}  ({aws.region}, keys {aws.access_key_id} / {aws.secret_access_key})")
    print(f"inbox              s3://{outputs.inbox_bucket}")
    print(f"outbox             s3://{outputs.outbox_bucket}")
    for name, portal in portals.items():
        print(f"{name:<18} {portal['baseUrl']}")
    if console:
        print(f"console            {console}")
    if portals:
        from sandbox.portals.catalog import how_to_add

        print(how_to_add(portals))
    print("Ctrl-C ends it.", flush=True)


def _endpoints(aws: EmbeddedAws, portals: Portals) -> dict[str, Any]:
    return {
        "awsEndpoint": aws.endpoint,
        "region": aws.region,
        "stack": STACK_NAME,
        "accessKeyId": aws.access_key_id,
        "secretAccessKey": aws.secret_access_key,
        "portals": dict(portals),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="up|demo|soak")
    up_command = commands.add_parser("up", help="the whole system, left running until Ctrl-C")
    up_command.add_argument(
        "--aws-port", type=_port, default=0, metavar="N", help="port of the AWS (default: a free one)"
    )
    up_command.add_argument("--no-portals", action="store_true", help="only the AWS side, with no connection")
    up_command.add_argument("--tick-seconds", type=_seconds, metavar="S", help="fire every schedule each S seconds")
    up_command.add_argument("--state-dir", type=Path, metavar="DIR", help="keep everything there and go on from it")
    up_command.add_argument("--no-console", action="store_true", help="without the operator's console")
    up_command.add_argument("--json", action="store_true", help="first line on standard output: one JSON object")
    commands.add_parser("demo", help="all flows end to end")
    commands.add_parser("soak", help="a stream of documents and drops for minutes, under violence")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError("seconds must be a number above 0")
    return seconds


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal ends it, further ones must not disturb the end."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
