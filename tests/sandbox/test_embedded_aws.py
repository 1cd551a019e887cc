"""The embedded AWS by itself: that it comes up, keeps what it should, and is gone afterwards."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client

from sandbox.embedded import EmbeddedAws, EmbeddedAwsError

ROOT = Path(__file__).parents[2]
BUCKET = "round-trip"
PATIENCE_SECONDS = 10.0


def s3_of(aws: EmbeddedAws, key: str | None = None) -> S3Client:
    secret = key or aws.secret_access_key
    return aws.session().client(
        "s3", endpoint_url=aws.endpoint, aws_access_key_id=key or aws.access_key_id, aws_secret_access_key=secret
    )


def put(aws: EmbeddedAws, body: bytes) -> None:
    s3 = s3_of(aws)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket=BUCKET, Key="Grüße & a+b.txt", Body=body)


def got(aws: EmbeddedAws) -> bytes:
    return s3_of(aws).get_object(Bucket=BUCKET, Key="Grüße & a+b.txt")["Body"].read()


def group_is_alive(process_group: int) -> bool:
    """Whether a process of the group still runs; one that only waits to be collected does not."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return any(int(group) == process_group and not state.startswith("Z") for group, state in rows)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedAws]:
    with EmbeddedAws.start() as aws:
        yield aws


def test_an_object_comes_back_as_it_went_in(running: EmbeddedAws) -> None:
    put(running, b"brief")
    assert got(running) == b"brief"


def test_unknown_keys_are_refused(running: EmbeddedAws) -> None:
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        s3_of(running, key="AKIAUNKNOWN").list_buckets()


def test_it_listens_on_this_machine_only(running: EmbeddedAws) -> None:
    port = int(running.endpoint.rpartition(":")[2])
    with socket.socket() as elsewhere:
        elsewhere.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elsewhere.bind(("127.0.0.2", port))


def test_nothing_of_the_callers_environment_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMTSBOTE_TEST_MARK", "must not be seen")
    with EmbeddedAws.start() as aws:
        environment = Path(f"/proc/{aws.process_id}/environ")
        if not environment.exists():
            pytest.fail("this test reads /proc, which only Linux has")
        assert b"AMTSBOTE_TEST_MARK" not in environment.read_bytes()


def test_stopping_leaves_no_process_and_no_folder() -> None:
    aws = EmbeddedAws.start()
    put(aws, b"brief")
    aws.stop()
    assert not group_is_alive(aws.process_id)
    assert not aws.folder.exists()


def test_it_may_be_stopped_twice() -> None:
    aws = EmbeddedAws.start()
    aws.stop()
    aws.stop()
    assert aws.exit_code() is not None


def test_it_ends_with_the_process_that_started_it() -> None:
    program = "import time\nfrom sandbox.embedded import EmbeddedAws\naws = EmbeddedAws.start()\n"
    program += "print(aws.process_id, aws.folder, flush=True)\ntime.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout as told:
        process_group, folder = told.readline().split()
        parent.kill()
    assert eventually(lambda: not group_is_alive(int(process_group)) and not Path(folder).exists())


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedAwsError, match=str(port)):
            EmbeddedAws.start(port=port)


def test_answered_changes_survive_kill_9(tmp_path: Path) -> None:
    killed = EmbeddedAws.start(tmp_path)
    put(killed, b"brief")
    sqs = killed.session().client("sqs", endpoint_url=killed.endpoint)
    queue = sqs.create_queue(QueueName="work", Attributes={"VisibilityTimeout": "3600"})["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="in somebody's hands")
    sqs.receive_message(QueueUrl=queue)
    secrets = killed.session().client("secretsmanager", endpoint_url=killed.endpoint)
    secrets.create_secret(Name="amtsbote/duba/klinikum", SecretString="{}")
    os.killpg(killed.process_id, signal.SIGKILL)
    with EmbeddedAws.start(tmp_path) as again:
        assert got(again) == b"brief"
        names = again.session().client("secretsmanager", endpoint_url=again.endpoint).list_secrets()["SecretList"]
        assert [secret["Name"] for secret in names] == ["amtsbote/duba/klinikum"]
        sqs = again.session().client("sqs", endpoint_url=again.endpoint)
        received = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="work")["QueueUrl"])
        assert [message["Body"] for message in received["Messages"]] == ["in somebody's hands"]
    killed.stop()


def test_a_kept_folder_has_one_server_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.embedded.LOCK_SECONDS", 0.2)
    with EmbeddedAws.start(tmp_path), pytest.raises(EmbeddedAwsError, match="in use"):
        EmbeddedAws.start(tmp_path)
