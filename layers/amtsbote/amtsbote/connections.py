"""Connections: found by the name of their secret, read with a short cache, validated, isolated from one another."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError
from pydantic import ValidationError

from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry
from amtsbote.keys import CONNECTION_NAME, secret_prefix
from amtsbote.observability import log
from amtsbote.portals.portal import Connection, Portal, SecretPart

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from pydantic_core import ErrorDetails

CACHE_SECONDS = 60
UNKNOWN_CONNECTION = "UNKNOWN_CONNECTION"
NAME_RULE = "its last part is no connection name (a-z, 0-9 and -, at most 40); create it under another name"
_QUOTED = re.compile(r"""(['"]).*\1""")


class UnknownConnection(Reject):
    """There is no secret of that name."""


@dataclass(frozen=True)
class Listed:
    """A connection whose secret exists, and when that secret was changed last (UTC)."""

    name: str
    changed_at: datetime | None


class Connections:
    """The connections of one portal."""

    def __init__(self, client: "SecretsManagerClient", portal: Portal) -> None:
        self._client = client
        self._portal = portal
        self._provider = SecretsProvider(boto3_client=client)
        self._read_at: dict[str, datetime | None] = {}

    def listed(self) -> Iterator[Listed]:
        """Yield the connections of the portal by their secrets' names; one that breaks the rule is left out."""
        prefix = secret_prefix(self._portal.name)
        pages = self._client.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [prefix]}])
        for page in pages:
            for secret in page["SecretList"]:
                name = secret["Name"].removeprefix(prefix)
                if not secret["Name"].startswith(prefix):
                    continue
                if CONNECTION_NAME.fullmatch(name):
                    yield Listed(name, secret.get("LastChangedDate"))
                else:
                    log.warning("secret left out", extra={"secret": secret["Name"], "error": NAME_RULE})

    def get(self, name: str, *, changed_at: datetime | None = None, fresh: bool = False) -> Connection:
        """Return a connection, from the cache unless its secret is known to have changed since it was read.

        UnknownConnection when there is no such secret, Misconfigured (naming the field, never a value) when its body
        is invalid, Retry when Secrets Manager does not answer.
        """
        stale = changed_at is not None and changed_at != self._read_at.get(name)
        body = self._read(f"{secret_prefix(self._portal.name)}{name}", fresh=fresh or stale)
        if changed_at is not None:
            self._read_at[name] = changed_at
        return Connection(self._portal.name, name, self._validated(name, body))

    def is_current(self, connection: Connection) -> bool:
        """Return whether a connection still is what its secret says, read afresh; True when that cannot be read."""
        try:
            return self.get(connection.name, fresh=True) == connection
        except AmtsboteError:
            return True

    def _read(self, secret: str, *, fresh: bool) -> str:
        try:
            body = self._provider.get(secret, max_age=CACHE_SECONDS, force_fetch=fresh)
        except GetParameterError as error:
            cause = error.__cause__ or error.__context__
            code = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else "Unknown"
            if code in ("ResourceNotFoundException", "InvalidRequestException"):  # the latter: marked for deletion
                raise UnknownConnection(UNKNOWN_CONNECTION, f"there is no secret {secret}; create it") from None
            raise Retry("SECRETS_UNREACHABLE", f"the secret {secret} could not be read: {code}") from None
        return body.decode(errors="replace") if isinstance(body, bytes) else str(body)

    def _validated(self, name: str, body: str) -> Any:
        return validated(self._portal.secret, f"{secret_prefix(self._portal.name)}{name}", body)


def validated(model: type[SecretPart], secret: str, body: str) -> Any:
    """Return the body of a secret as its model; Misconfigured, naming the field and never a value, when it is wrong."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Misconfigured("SECRET_INVALID", f"the secret {secret} is no JSON") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise Misconfigured("SECRET_INVALID", f"the secret {secret}: {_complaints(error)}") from None


def _complaints(error: ValidationError) -> str:
    """Name the wrong fields and what is wrong with them, never a value."""
    found = error.errors(include_input=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'body'}: {_complaint(each)}" for each in found[:5])


def _complaint(found: "ErrorDetails") -> str:
    if found["type"] == "union_tag_invalid":  # pydantic's own words quote the value here
        return f"must be one of {found['ctx']['expected_tags']}"
    if found["type"] == "value_error":  # and the standard library's may
        return _QUOTED.sub("…", found["msg"])
    return found["msg"]
