"""The services of a running function: made at the first invocation, kept as long as the process lives."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from amtsbote.services import Services
from amtsbote.settings import read_settings

CONNECTIONS = 16
CONFIG = Config(
    retries={"mode": "standard"},
    connect_timeout=5,
    read_timeout=20,
    max_pool_connections=CONNECTIONS,
)


SETTINGS = read_settings()  # at import: a variable that is missing fails the initialisation, not each message


@cache
def services() -> Services:
    """Return the services of this process."""
    session = boto3.Session()

    def client(name: str) -> Any:
        return session.client(name, config=CONFIG)  # type: ignore[call-overload]

    return Services(SETTINGS, client)
