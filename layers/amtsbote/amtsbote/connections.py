"""Connections: found by the name of their secret, read with a short cache, validated, isolated from one another."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from amtsbote.batches import in_batches
from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry
from amtsbote.keys import CONNECTION_NAME, secret_prefix
from amtsbote.observability import log
from amtsbote.portals.portal import Connection, Portal, SecretPart
from amtsbote.times import now

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from pydantic_core import ErrorDetails

CACHE_SECONDS = 60
SECRETS_PER_CALL = 20  # that BatchGetSecretValue takes
SETTLED_AFTER = timedelta(minutes=5)  # a list may be that far behind its secrets, AWS says
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


Switch = bool | AmtsboteError
"""Whether a connection is switched on, or why that cannot be told."""


class Connections:
    """The connections of one portal."""

    def __init__(self, client: "SecretsManagerClient", portal: Portal, clock: Callable[[], datetime] = now) -> None:
        self._client = client
        self._portal = portal
        self._clock = clock
        self._kept: dict[str, tuple[str, datetime]] = {}  # what a secret said, and until when that is believed
        self._read_at: dict[str, datetime | None] = {}
        self._switches: dict[Listed, Switch] = {}

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

    def switches(self, listed: Sequence[Listed]) -> dict[Listed, Switch]:
        """Return for each listed connection whether it is on; a secret is read again only when it has changed.

        What it said is remembered by the moment of its change, and no secret is. One that was changed within the last
        five minutes is read each time, as the list may not show yet that it has changed again.
        """
        known = {each: self._switches[each] for each in listed if each in self._switches}
        unknown = [each for each in listed if each not in known]
        read = self._read_all([each.name for each in unknown])
        found = known | {each: read[each.name] for each in unknown}
        self._switches = {each: switch for each, switch in found.items() if _is_settled(each, switch, self._clock())}
        return found

    def is_current(self, connection: Connection) -> bool:
        """Return whether a connection still is what its secret says, read afresh; True when that cannot be read."""
        try:
            return self.get(connection.name, fresh=True) == connection
        except AmtsboteError:
            return True

    def _read(self, secret: str, *, fresh: bool) -> str:
        text, believed_until = self._kept.get(secret, ("", None))
        if fresh or believed_until is None or believed_until <= self._clock():
            text = self._asked(secret)
            self._kept[secret] = text, self._clock() + timedelta(seconds=CACHE_SECONDS)
        return text

    def _asked(self, secret: str) -> str:
        try:
            answer = self._client.get_secret_value(SecretId=secret)
        except (ClientError, BotoCoreError, OSError) as error:
            raise _unreadable(secret, _code_of(error)) from None
        return _text(answer.get("SecretString", answer.get("SecretBinary", "")))

    def _read_all(self, names: Sequence[str]) -> dict[str, Switch]:
        """Return for each name what its secret says now, twenty to a call."""
        found: dict[str, Switch] = {}
        for some in in_batches(names, SECRETS_PER_CALL):
            bodies = self._bodies([f"{secret_prefix(self._portal.name)}{name}" for name in some])
            found |= {name: self._switch(name, body) for name, body in zip(some, bodies, strict=True)}
        return found

    def _bodies(self, secrets: Sequence[str]) -> list[str | AmtsboteError]:
        """Return the bodies of up to twenty secrets in their order, or why there is none."""
        found: dict[str, str | AmtsboteError] = {}
        code = "NotAnswered"
        try:
            for answer in self._answers(secrets):
                for each in answer.get("SecretValues", []):
                    found[each["Name"]] = _text(each.get("SecretString", each.get("SecretBinary", "")))
                for error in answer.get("Errors", []):
                    found[error["SecretId"]] = _unreadable(error["SecretId"], error["ErrorCode"])
        except (ClientError, BotoCoreError) as error:
            code = _code_of(error)
        return [found.get(secret, _unreadable(secret, code)) for secret in secrets]

    def _answers(self, secrets: Sequence[str]) -> Iterator[dict[str, Any]]:
        more: dict[str, Any] = {}
        for _ in secrets:  # at most: AWS may answer any of them on a page of its own
            answer: Any = self._client.batch_get_secret_value(SecretIdList=list(secrets), **more)
            yield answer
            if not answer.get("NextToken"):
                return
            more = {"NextToken": answer["NextToken"]}

    def _switch(self, name: str, body: str | AmtsboteError) -> Switch:
        if isinstance(body, AmtsboteError):
            return body
        try:
            return bool(self._validated(name, body).enabled)
        except Misconfigured as error:
            return error

    def _validated(self, name: str, body: str) -> Any:
        return validated(self._portal.secret, f"{secret_prefix(self._portal.name)}{name}", body)


def _is_settled(listed: Listed, switch: Switch, moment: datetime) -> bool:
    """Return whether it stays so until the list shows another change."""
    if isinstance(switch, UnknownConnection | Retry):
        return False
    return listed.changed_at is not None and listed.changed_at + SETTLED_AFTER <= moment


def _unreadable(secret: str, code: str) -> AmtsboteError:
    if code in ("ResourceNotFoundException", "InvalidRequestException"):  # the latter: marked for deletion
        return UnknownConnection(UNKNOWN_CONNECTION, f"there is no secret {secret}; create it")
    return Retry("SECRETS_UNREACHABLE", f"the secret {secret} could not be read: {code}")


def _code_of(error: BaseException | None) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else "Unknown"


def _text(body: object) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else str(body)


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
