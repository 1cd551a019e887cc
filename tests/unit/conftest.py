"""AWS of this process, by moto, for the modules that ask for it; clients are made once per module."""

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from amtsbote.observability import log
from tests.unit.support import Bus, Clock, Logged, aws_client, new_bucket, new_table


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture(scope="module")
def s3(aws: None) -> Any:
    return aws_client("s3")


@pytest.fixture(scope="module")
def dynamodb(aws: None) -> Any:
    return aws_client("dynamodb")


@pytest.fixture(scope="module")
def secrets(aws: None) -> Any:
    return aws_client("secretsmanager")


@pytest.fixture
def bucket(s3: Any) -> str:
    return new_bucket(s3)


@pytest.fixture
def table(dynamodb: Any) -> str:
    return new_table(dynamodb)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """Provide what was logged so far, as the lines that leave the function."""
    return lambda: "\n".join(log.registered_formatter.format(record) for record in caplog.records)
