"""What is left running when everything is up: the operator's console, until somebody ends it."""

import sys
import threading
from contextlib import ExitStack

from sandbox.deployment import STACK_NAME
from sandbox.embedded import EmbeddedAws

LOOK_SECONDS = 0.5


def serve_console(aws: EmbeddedAws, running: ExitStack) -> str:
    """Serve the console of the stack, with the administrator's keys; returns the address that lets one in."""
    from console.server import serving_stack

    return running.enter_context(serving_stack(aws.session(), aws.endpoint, STACK_NAME, allow_loopback=True))


def wait(aws: EmbeddedAws) -> int:
    """Wait for the KeyboardInterrupt that ends it; returns 1 when the embedded AWS ends by itself."""
    pause = threading.Event()
    while aws.exit_code() is None:
        pause.wait(LOOK_SECONDS)
    said = f"the embedded AWS ended unexpectedly with {aws.exit_code()}; the end of its log:\n{aws.log_tail()}"
    print(said, file=sys.stderr, flush=True)
    return 1
