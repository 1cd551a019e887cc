"""Row 1: a thousand court messages, from the list to the acknowledgement, against the guide's shell workflow.

Ours: the real handlers in processes of their own, at most ten of a function at once, as the template has it; one poll,
its fetches, one acknowledge. The portal takes 200 ms for each request, as deriving its key does. The AWS is the lean
one, with the latency of the real one. The alternative: bash, curl and jq, on the same portal.
"""

import subprocess
import tempfile
import time

from benchmarks.cloud.running import RunningAws
from benchmarks.fleet import Fleet
from benchmarks.measured import Measured, Options, alone, at_least, at_most, faster, median_of
from benchmarks.offices import LOGIN, duba, secret_of, state_of

NAME = "duba-inbound"
MESSAGES, QUICK_MESSAGES = 1000, 60
SCRIPT_MESSAGES = 50  # the script does one after the other, so its time grows in a line
BYTES = 64 * 1024
PORTAL_SECONDS = 0.2
GOAL = 12.0
CALLS_PER_DOCUMENT = 1.03

WORKFLOW = r"""
set -eu
api="$1/api/duba/v1" login="$2:$3"
ids=$(curl -sf -u "$login" "$api/messages" | jq -r '.[].id')
for id in $ids; do
  curl -sf -u "$login" "$api/download/$id" -o "message-$id.zip"
done
echo "$ids" | xargs -n 100 | tr ' ' ',' | while read -r some; do
  curl -sf -X POST -u "$login" -H 'Content-Type: application/json' -d "{\"messageIds\": [$some]}" "$api/messages/ack"
done >answers.json
"""
"""The guide's "Download and acknowledge workflow"; in batches of 100, as the portal refuses more at once."""


def run(options: Options) -> Measured:
    """Measure both."""
    messages = options.scaled(MESSAGES, QUICK_MESSAGES)
    measured = [_ours(messages) for _ in range(options.runs)]
    ours, calls = median_of([seconds for seconds, _ in measured]), max(calls for _, calls in measured)
    counted = min(messages, SCRIPT_MESSAGES)
    script = median_of([_script(counted) for _ in range(options.runs)])
    alternative = script * messages / counted
    return Measured(
        NAME,
        f"{messages} DUBA messages of 64 KiB, the portal answering in 200 ms",
        "the portal guide's shell workflow with curl",
        (
            faster("listed, stored, recorded, acknowledged", ours, alternative, at_least(GOAL)),
            alone("portal calls per document", calls / messages, "calls", at_most(CALLS_PER_DOCUMENT)),
        ),
        (
            f"The script was run with {counted} messages ({script:.1f} s), its time multiplied: it does one at a time.",
            "Processes are warm. At most ten of a function at once, as Lambda would run them; here they share two cores"
            " with portal and AWS. AWS is the lean server with the latency of the real one; the waits between schedules"
            " (a minute at most) are left out on both sides.",
        ),
    )


def _ours(messages: int) -> tuple[float, int]:
    """Return seconds, and how many calls the portal saw."""
    with duba(messages, BYTES, PORTAL_SECONDS) as address, RunningAws() as aws:
        aws.connect("duba", {"klinikum": secret_of(address)})
        with Fleet(
            aws, "duba", "dispatch", "poll", "fetch", "acknowledge", at_once={"dispatch": 1, "poll": 1}
        ) as fleet:
            began = time.monotonic()
            fleet.tick("poll")
            fleet.wait_until_quiet()
            fleet.tick("acknowledge")
            fleet.wait_until_quiet()
            seconds = time.monotonic() - began
        state = state_of(address)
        documents = [key for key in aws.ask("keys") if key.endswith("/document.json")]
    if not state["acknowledged"] == len(documents) == messages:
        raise AssertionError(f"not everything arrived: {state}, {len(documents)} documents")
    return seconds, state["requests"]


def _script(messages: int) -> float:
    """Return seconds."""
    with duba(messages, BYTES, PORTAL_SECONDS) as address, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        began = time.monotonic()
        subprocess.run(["bash", "-c", WORKFLOW, "workflow", address, *LOGIN], cwd=folder, check=True)
        seconds = time.monotonic() - began
        state = state_of(address)
    if state["acknowledged"] != messages:
        raise AssertionError(f"the script did not finish: {state}")
    return seconds
