"""What every portal package offers: its name, the schema of its secret, and how its adapters are made."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from amtsbote.http import Transport
from amtsbote.portals.protocols import Destination, Source
from amtsbote.tokens import TokenCache


class AcknowledgePolicy(StrEnum):
    """When the portal is told that a document is safe with us."""

    STORED = "stored"
    PROCESSED = "processed"
    NEVER = "never"


def plain_address(value: str) -> str:
    """Return an absolute address as it is; ValueError when it is none. Transport decides whether http is allowed."""
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must be an address that begins with https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must hold no credentials, query or fragment")
    return value


def base_address(value: str) -> str:
    """Return an absolute address that paths are appended to, without a trailing slash."""
    return plain_address(value).rstrip("/")


Address = Annotated[str, AfterValidator(plain_address)]
BaseAddress = Annotated[str, AfterValidator(base_address)]


class SecretPart(BaseModel):
    """A part of a secret: unknown fields are refused, values never shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, hide_input_in_errors=True)


class ConnectionSecret(SecretPart):
    """The body of a connection's secret: what all portals share."""

    enabled: bool = True
    acknowledge: AcknowledgePolicy = AcknowledgePolicy.STORED


@dataclass(frozen=True)
class Connection:
    """One account at one portal, as its secret describes it."""

    portal: str
    name: str
    secret: Any  # the portal's own subclass of ConnectionSecret

    @property
    def prefix(self) -> str:
        """Return `<portal>/<connection>`, which begins every key of this connection."""
        return f"{self.portal}/{self.name}"


@dataclass(frozen=True)
class Tools:
    """What an adapter works with, all of it bound to the current invocation."""

    transport: Transport
    tokens: TokenCache
    clock: Callable[[], datetime]


@dataclass(frozen=True)
class Portal:
    """A portal: `source` and `destination` return None where the connection has that direction switched off."""

    name: str
    secret: type[ConnectionSecret]
    source: Callable[[Connection, Tools], Source | None]
    destination: Callable[[Connection, Tools], Destination | None]
