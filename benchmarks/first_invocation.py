"""Row 4: what a function's first invocation costs before it does any work, and how large its layers are.

Measured is processor time, in a fresh process: everything that is imported, the boto3 clients that the verb needs, the
connection's secret read into its model, and the portal's adapter ready for its first call. The alternative does nothing
of that but the same clients and a Powertools logger. Both find their modules compiled, as the layers ship them.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.cloud.running import REGION
from benchmarks.measured import Line, Measured, Options, alone, at_most, median_of
from benchmarks.processes import PACKAGE, PYTHON, ROOT
from sandbox.portals import catalog
from tests.template.loading import Function, stack

NAME = "first-invocation"
GOAL = 1.25
OF_FUNCTIONS = ROOT / ".venv313" / "bin" / "python"
INTERPRETER = str(OF_FUNCTIONS) if OF_FUNCTIONS.exists() else PYTHON
"""Python 3.13, on which the functions run, where the machine has it."""
LAYER_MEGABYTES = 60.0
ROUNDS, QUICK_ROUNDS = 5, 1
MEGABYTE = 1_000_000
FULL_LAYERS = (
    ("amtsbote", "AmtsboteLayer"),
    ("dependencies", "DependenciesLayer"),
    ("cryptography", "CryptographyLayer"),
)

HERE = {
    "AMTSBOTE_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
    "AMTSBOTE_ARCHITECTURE": {"aarch64": "arm64"}.get(platform.machine(), platform.machine()),
}
SERVICES = ("dynamodb", "secretsmanager", "s3", "events", "sqs")
SELDOM: Mapping[str, Sequence[str]] = {"dispatch": ("events",), "poll": ("events",)}
"""What a verb may call and seldom does: these two tell only of connections that fail or recover."""
SIDES = {"poll": "source", "fetch": "source", "acknowledge": "source", "deliver": "destination", "track": "destination"}
"""Which of the portal's adapters a verb works with."""

OURS = """
import json, sys, time
began = time.process_time()
import app
from amtsbote.lambda_services import services
from amtsbote.deadline import Deadline
own, (clients, secret, side) = services(), json.loads(sys.argv[1])
made = [own._client(name) for name in clients]
if side:
    from amtsbote.portals.portal import Connection
    body = own.portal.secret.model_validate(secret)
    getattr(own.portal, side)(Connection(own.settings.portal, "office", body), own.tools(Deadline(60)))
print(json.dumps(time.process_time() - began))
"""
BARE = """
import json, sys, time
began = time.process_time()
import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config
log, session = Logger(service="bare"), boto3.Session()
config = Config(retries={"mode": "standard"}, connect_timeout=5, read_timeout=20)
made = [session.client(name, config=config) for name in json.loads(sys.argv[1])]
def handler(event, context):
    return {"batchItemFailures": []}
print(json.dumps(time.process_time() - began))
"""


def run(options: Options) -> Measured:
    """Measure every function of the template."""
    functions = [each for each in stack().all_functions() if each.portal != "unrouted"]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as running:
        package = _compiled(Path(folder))
        secrets = _secrets(running)
        rounds = options.scaled(ROUNDS, QUICK_ROUNDS)
        verbs = dict.fromkeys(each.verb for each in functions)
        groups = [[each for each in functions if each.verb == verb] for verb in verbs]
        lines = [line for group in groups for line in _lines(group, package, secrets, rounds)]
        size = _layers_megabytes(Path(folder) / "layers")
    return Measured(
        NAME,
        "the first invocation of each function: imports and clients",
        "a handler that only makes the same boto3 clients and a Powertools logger",
        (*lines, alone("all three layers, unzipped", size, "MB", at_most(LAYER_MEGABYTES))),
        (
            f"Processor time in a fresh process of {_version()}, medians of {rounds} pairs, ours and the bare"
            " handler next to each other. boto3 is not in the layers: the runtime brings it.",
            "The layers are built as `sam build` does it, for the processor and the Python of this machine, with .pyc.",
        ),
    )


def _version() -> str:
    return subprocess.run([INTERPRETER, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def _compiled(folder: Path) -> Path:
    """Copy the package and compile it, as its layer does."""
    shutil.copytree(PACKAGE / "amtsbote", folder / "package" / "amtsbote", ignore=shutil.ignore_patterns("__pycache__"))
    command = [INTERPRETER, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder / "package")]
    subprocess.run(command, check=True)
    return folder / "package"


def _secrets(running: ExitStack) -> dict[str, Any]:
    """Return a connection's secret for each portal."""
    portals = catalog.open_portals(running)
    return {name.split("/")[1]: body for name, body in catalog.secrets(portals).items()}


def _lines(group: Sequence[Function], package: Path, secrets: Mapping[str, Any], rounds: int) -> list[Line]:
    """Measure each function of one verb beside the bare handler: two in a row have the machine at one pace.

    The ratio is the middle one of the pairs'.
    """
    clients = clients_of(group[0])
    pairs: dict[str, list[tuple[float, float]]] = {each.portal: [] for each in group}
    for _ in range(rounds):
        for each in group:
            argument = json.dumps([clients, secrets.get(each.portal), SIDES.get(each.verb)])
            bare = _printed(BARE, json.dumps(clients), each, package)
            pairs[each.portal].append((_printed(OURS, argument, each, package), bare))
    return [_line(f"{group[0].verb} of {portal}", each) for portal, each in pairs.items()]


def _line(label: str, pairs: Sequence[tuple[float, float]]) -> Line:
    ours, bare = (median_of(side) for side in zip(*pairs, strict=True))
    return Line(label, ours, bare, "s", median_of([own / other for own, other in pairs]), at_most(GOAL))


def clients_of(function: Function) -> list[str]:
    """Return the services that a function calls when it has something to do: those of its role, by what is known."""
    allowed = {action.partition(":")[0] for action in function.may()}
    return [name for name in SERVICES if name in allowed and name not in SELDOM.get(function.verb, ())]


def _printed(script: str, argument: str, function: Function, package: Path) -> float:
    """Run a script as the function's process and return the number that it prints."""
    done = subprocess.run(
        [INTERPRETER, "-c", script, argument],
        cwd=ROOT / "functions" / function.verb,
        env={**function.environment, **_variables(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.splitlines()[-1])


def _variables(package: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(package),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AMTSBOTE_ALLOW_LOOPBACK": "true",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "BENCHMARK",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _layers_megabytes(folder: Path) -> float:
    """Build all layers as `sam build` does, and return how large they are together."""
    for name, logical_id in FULL_LAYERS:
        target = folder / name
        target.mkdir(parents=True)
        given = {"ARTIFACTS_DIR": target, "PIP": f"{PYTHON} -m pip", "AMTSBOTE_COMPILER": PYTHON, **HERE}
        command = ["make", "--silent", f"build-{logical_id}", *(f"{key}={value}" for key, value in given.items())]
        subprocess.run(command, cwd=ROOT / "layers" / name, check=True, env=dict(os.environ), capture_output=True)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MEGABYTE
