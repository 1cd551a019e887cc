"""The real template, built by `sam build` and deployed by `sam deploy` to the embedded AWS, as it would be to AWS."""

import fcntl
import hashlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from sandbox.embedded import EmbeddedAws

ROOT = Path(__file__).resolve().parent.parent
SAM = ROOT / ".tools" / "sam" / "bin" / "sam"
STACK_NAME = "amtsbote"

SOURCES = ("template.yaml", "functions", "layers", "samconfig.toml")
"""What a deployment is made of; while none of it changes, neither build nor deploy has anything to do."""

FEW = "2"  # workers per function: each costs a start, and a laptop has few cores
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class DeploymentError(Exception):
    """`sam` failed; what it wrote has already been shown."""


@dataclass(frozen=True)
class StackOutputs:
    """The stack's outputs, by the names of the contract."""

    inbox_bucket: str
    outbox_bucket: str
    ledger_table: str
    event_bus: str
    dead_letter_queue_url: str
    rotation_function_arn: str | None

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "StackOutputs":
        """From CloudFormation's names; only the rotation function may be missing, anything else is a KeyError."""
        return cls(
            inbox_bucket=values["InboxBucketName"],
            outbox_bucket=values["OutboxBucketName"],
            ledger_table=values["LedgerTableName"],
            event_bus=values["EventBusName"],
            dead_letter_queue_url=values["DeadLetterQueueUrl"],
            rotation_function_arn=values.get("RotationFunctionArn"),
        )


def this_machine() -> dict[str, str]:
    """The template's parameters for the interpreter and processor that run this, with loopback portals allowed."""
    return {
        "Runtime": f"python{python_version()}",
        "Architecture": ARCHITECTURES[platform.machine().lower()],
        "AllowLoopbackPortals": "true",
        "RotationSettleSeconds": "3",  # a rotation that is watched; whoever holds the old secret then reads again
        "DubaMaximumConcurrency": FEW,
        "DocxworldMaximumConcurrency": FEW,
        "DigitaleGemeindeMaximumConcurrency": FEW,
        "AltinnMaximumConcurrency": FEW,
    }


def python_version() -> str:
    """Major and minor version of this interpreter, such as 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def deploy(aws: EmbeddedAws, *, parameters: Mapping[str, str] | None = None, root: Path = ROOT) -> StackOutputs:
    """Build and deploy the template in `root` and return the stack's outputs.

    `parameters` override those of `this_machine`. Each step's duration goes to standard error. A build is reused while
    no source has changed; a stack that was deployed from the same sources with the same parameters is left as it is.
    Raises DeploymentError when a step fails; sam's own words are on standard error by then.
    """
    return StackOutputs.of(deploy_stack(aws, parameters=this_machine() | dict(parameters or {}), root=root))


def deploy_stack(aws: EmbeddedAws, *, parameters: Mapping[str, str], root: Path) -> dict[str, str]:
    """As `deploy`, for any template: returns the outputs by their own names."""
    wanted = _fingerprint(root, parameters)
    deployed = aws.folder / "deployed"
    outputs = _outputs(aws)
    if outputs is not None and deployed.exists() and deployed.read_text() == wanted:
        _say("the stack is already there")
        return outputs
    built = _build(aws, root, parameters)
    environment = _environment(aws, parameters) | aws.environment()
    with _timed("sam deploy"):
        _run([SAM, "deploy", *_deploy_arguments(aws, built, parameters)], environment, root)
    deployed.write_text(wanted)
    return _outputs(aws) or {}


def _build(aws: EmbeddedAws, root: Path, parameters: Mapping[str, str]) -> Path:
    """The folder with the built template; one per interpreter and processor, as only these change what is built."""
    folder = root / "build" / f"sam-{parameters['Runtime']}-{parameters['Architecture']}"
    wanted, stamp = _fingerprint(root, {}), folder / "built"
    with _alone(folder):
        if stamp.exists() and stamp.read_text() == wanted:
            _say("the build is up to date")
            return folder / "template"
        stamp.unlink(missing_ok=True)
        with _timed("sam build"):
            _run([SAM, "build", *_build_arguments(root, folder, parameters)], _environment(aws, parameters), root)
        stamp.write_text(wanted)
    return folder / "template"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time build into a folder; the next ones find it built."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_arguments(root: Path, folder: Path, parameters: Mapping[str, str]) -> list[str]:
    return [
        *("--template-file", str(root / "template.yaml")),
        *("--build-dir", str(folder / "template")),
        *("--cached", "--cache-dir", str(folder / "cache"), "--parallel"),
        *_overrides(parameters),
    ]


def _deploy_arguments(aws: EmbeddedAws, built: Path, parameters: Mapping[str, str]) -> list[str]:
    return [
        *("--template-file", str(built / "template.yaml")),
        *("--stack-name", STACK_NAME, "--region", aws.region, "--resolve-s3"),
        *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"),
        *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
        *_overrides(parameters),
    ]


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in sorted(parameters.items()))]


def _environment(aws: EmbeddedAws, parameters: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, as pip may be configured in it, without its AWS account."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_CLI_"))}
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "SAM_CLI_TELEMETRY": "0",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": aws.region,
        "AMTSBOTE_PYTHON": parameters["Runtime"].removeprefix("python"),
        "AMTSBOTE_ARCHITECTURE": parameters["Architecture"],
        "AMTSBOTE_COMPILER": sys.executable,
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1"))),
        "TMPDIR": str(aws.folder / "tmp"),
    }


def _run(command: list[Path | str], environment: Mapping[str, str], root: Path) -> None:
    """Run quietly; what was written is shown when it fails. Interrupted, it takes along what sam had started."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        written, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        print(written, file=sys.stderr)
        raise DeploymentError(f"sam {command[1]} ended with {process.returncode}, see above")


def _outputs(aws: EmbeddedAws) -> dict[str, str] | None:
    """The outputs of the finished stack; None while there is none."""
    try:
        stacks = aws.session().client("cloudformation", endpoint_url=aws.endpoint).describe_stacks(StackName=STACK_NAME)
    except ClientError:
        return None
    stack = stacks["Stacks"][0]
    if not stack["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in stack["StackStatus"]:
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _fingerprint(root: Path, parameters: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(parameters.items())).encode())
    for file in _source_files(root):
        digest.update(str(file.relative_to(root)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _source_files(root: Path) -> Iterator[Path]:
    for source in SOURCES:
        path = root / source
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (file for file in files if file.is_file() and file.suffix != ".pyc")


@contextmanager
def _timed(step: str) -> Iterator[None]:
    started = time.monotonic()
    _say(f"{step} …")
    yield
    _say(f"{step}: {time.monotonic() - started:.1f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
