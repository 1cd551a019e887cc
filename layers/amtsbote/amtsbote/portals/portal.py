"""What every portal package offers: its name, the schema of its secret, and how its adapters are made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from amtsbote.portals.protocols import Destination, Drop, DropBook, NoDrops, Record, Source

if TYPE_CHECKING:  # who only reads secrets, as dispatch does, speaks no HTTP and rotates nothing
    from amtsbote.http import Transport
    from amtsbote.rotation import Rotator
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

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, hide_input_in_errors=True, defer_build=True
    )


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


class KeyVault(Protocol):
    """Keeps small secrets safe at rest. `context` is no secret; a secret opens only under the context it has."""

    def seal(self, secret: bytes, context: str) -> bytes:
        """Return a secret (4 KiB at most) in a form that only this vault can open."""
        ...

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return the secret; Retry where the vault does not open it."""
        ...


@dataclass(frozen=True)
class Tools:
    """What an adapter works with, all of it bound to the current invocation. Only who seals something has a vault."""

    transport: "Transport"
    tokens: "TokenCache"
    clock: Callable[[], datetime]
    drops: DropBook = field(default_factory=NoDrops)
    vault: KeyVault | None = None


@dataclass(frozen=True)
class Rotation:
    """How a portal rotates what its connections log in with.

    `rotator` takes the secrets of the administrator and of the connection; `value_of` returns the value that rotates,
    `with_value` the JSON object of a secret with another one. All raise Misconfigured where a login cannot rotate.
    """

    administrator: type[SecretPart]
    rotator: "Callable[[Any, Any, Tools], Rotator]"
    value_of: Callable[[Any], str]
    with_value: Callable[[dict[str, Any], str], dict[str, Any]]


@dataclass(frozen=True)
class Portal:
    """A portal: `source` and `destination` return None where the connection has that direction switched off.

    `rotation` is None where the portal cannot make a new secret by itself. `answered_as` returns the name by which what
    arrives later says that it answers a drop, None where nothing answers it; `answers` returns that name as an item's
    record says it, None where it says none. A portal whose documents answer nothing has neither.
    """

    name: str
    secret: type[ConnectionSecret]
    source: Callable[[Connection, Tools], Source | None]
    destination: Callable[[Connection, Tools], Destination | None]
    rotation: Callable[[], Rotation] | None = None
    answered_as: Callable[[Drop], str | None] | None = None
    answers: Callable[[Record], str | None] | None = None
