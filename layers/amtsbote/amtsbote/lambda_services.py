"""The services of a running function: made at the first invocation, kept as long as the process lives.

The clients are botocore's, the same that boto3 hands out. boto3 itself, with its resources and its transfer manager,
would be a tenth of a first invocation and is loaded only for what it alone can do.
"""

from functools import cache
from threading import Lock
from typing import Any

import botocore.session
from botocore.config import Config

from amtsbote.api_models import LeanLoader
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
    session = botocore.session.get_session()
    session.register_component("data_loader", LeanLoader())
    session.register("creating-client-class.s3", _add_transfers)
    lock = Lock()  # a session is not made for the workers of a batch, the first of which need their clients at once

    def client(name: str) -> Any:
        with lock:
            return session.create_client(name, config=CONFIG)

    return Services(SETTINGS, client)


def _add_transfers(**made: Any) -> None:
    made["class_attributes"]["upload_fileobj"] = _upload_fileobj


def _upload_fileobj(client: Any, *args: Any, **named: Any) -> None:
    from boto3.s3.inject import upload_fileobj  # slow to load, and only what goes to quarantine needs it

    upload_fileobj(client, *args, **named)
