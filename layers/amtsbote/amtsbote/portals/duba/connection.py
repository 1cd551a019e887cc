"""What a DUBA connection's secret holds, and how a request is logged in with it."""

import base64
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from amtsbote.portals.portal import BaseAddress, ConnectionSecret


class Direction(StrEnum):
    """Which way a message went: to us from a court, or from us."""

    INCOMING = "INCOMING"
    OUTGOING = "OUTGOING"


def _without_colon(username: str) -> str:
    if ":" in username:  # Basic authentication would take the rest for a part of the password
        raise ValueError("must hold no colon")
    return username


NotEmpty = Annotated[str, Field(min_length=1)]


class DubaSecret(ConnectionSecret):
    """One API user of one DUBA instance, and which of its messages are wanted (contract, section 1).

    Empty `safe_ids` and `job_ids` mean all that the user has access to. With `job_ids`, only messages that DUBA has
    matched to one of these jobs are listed, and none that a court sent unasked (guide, "Filtering Behavior").
    """

    base_url: BaseAddress
    username: Annotated[NotEmpty, AfterValidator(_without_colon)]
    password: Annotated[SecretStr, Field(min_length=1)]
    safe_ids: tuple[NotEmpty, ...] = ()
    job_ids: tuple[NotEmpty, ...] = ()
    directions: Annotated[tuple[Direction, ...], Field(min_length=1)] = (Direction.INCOMING,)


class BasicLogin:
    """HTTP Basic authentication, the only one DUBA has (guide, "Authentication")."""

    def __init__(self, username: str, password: SecretStr) -> None:
        pair = f"{username}:{password.get_secret_value()}".encode()
        self._authorization = f"Basic {base64.b64encode(pair).decode()}"

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header."""
        return {"Authorization": self._authorization}

    def renew(self) -> bool:
        """Return False: the same password is refused again, and each try costs the portal a key derivation."""
        return False
