"""`python -m console`: serve the console of one stack until Ctrl-C, and print where it is."""

import argparse
import sys
import threading
from collections.abc import Sequence

import boto3
from botocore.exceptions import BotoCoreError, ClientError

import console  # noqa: F401 - finds the package
from amtsbote.cli.app import DEFAULT_STACK
from amtsbote.errors import AmtsboteError, Misconfigured
from amtsbote.operations.stack import reason
from console.server import HIGHEST_PORT, PortTaken, serving_stack

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C (0); 1, with a sentence, where the stack cannot be seen or the port is taken."""
    args = parser().parse_args(arguments)
    try:
        return _serve(args)
    except KeyboardInterrupt:
        return 0
    except AmtsboteError as error:
        return _failed(f"{error.code}: {error.message}")
    except PortTaken as error:
        return _failed(str(error))
    except (ClientError, BotoCoreError) as error:
        return _failed(f"AWS_REFUSED: {reason(error)}; check --stack, --profile, --region and the permissions")


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar: the options of `amtsbote.cli`, and a port."""
    whole = argparse.ArgumentParser(prog="python -m console", description="The operator's console, on this machine.")
    whole.add_argument("--stack", default=DEFAULT_STACK, metavar="NAME", help=f"default: {DEFAULT_STACK}")
    whole.add_argument("--profile", help="profile of the AWS configuration")
    whole.add_argument("--region", help="AWS region")
    whole.add_argument("--endpoint-url", metavar="URL", help="AWS elsewhere, such as the sandbox")
    whole.add_argument("--allow-loopback", action="store_true", help="allow portals on this machine: the sandbox")
    whole.add_argument("--port", type=_port, default=0, metavar="N", help="default: a free one")
    return whole


def _serve(args: argparse.Namespace) -> int:
    try:
        session = boto3.Session(profile_name=args.profile, region_name=args.region)
    except (BotoCoreError, ValueError) as error:
        raise Misconfigured("AWS_INVALID", f"{error}; check --profile and --region") from None
    with serving_stack(
        session, args.endpoint_url, args.stack, allow_loopback=args.allow_loopback, port=args.port
    ) as url:
        sys.stdout.write(f"The console is at\n  {url}\nThis address lets anybody in who has it. Ctrl-C ends it.\n")
        sys.stdout.flush()
        threading.Event().wait()
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def _failed(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
