"""The body of an Altinn connection's secret (contract, section 1)."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from amtsbote.portals.portal import Address, BaseAddress, ConnectionSecret, SecretPart, base_address

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
APP_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750
PRODUCTION = "https://platform.altinn.no"
READ_SCOPE = "altinn:serviceowner/instances.read"
WRITE_SCOPE = "altinn:serviceowner/instances.write"


class Dialect(StrEnum):
    """Which Altinn is spoken to: the one that runs today, or the early proposal of its API."""

    V1 = "v1"
    PROPOSAL = "proposal"


def _template(value: str) -> str:
    if set(PLACEHOLDER.findall(value)) != {"org", "app"}:
        raise ValueError("must hold the placeholders {org} and {app}, and no other")
    return base_address(value)


def _token(value: SecretStr) -> SecretStr:
    if not BEARER_TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError("must be a bearer token: one word without quotes")
    return value


NotEmpty = Annotated[str, Field(min_length=1, pattern=r"\S")]
Scope = Annotated[str, Field(pattern=r"^[!-~]+$")]
AppId = Annotated[str, Field(pattern=f"^{APP_ID}$")]


class Maskinporten(SecretPart):
    """The login of an organisation: a key pair registered at Maskinporten, whose token Altinn exchanges for its own.

    `private_key` is PEM (RSA). It is read when it is first used: a key that cannot be read is then Misconfigured.
    """

    kind: Literal["maskinporten"] = "maskinporten"
    client_id: NotEmpty
    key_id: NotEmpty
    private_key: SecretStr = Field(min_length=1)
    scopes: tuple[Scope, ...] = Field(default=(READ_SCOPE, WRITE_SCOPE), min_length=1)
    token_url: Address = "https://maskinporten.no/token"  # noqa: S105 - an address
    audience: NotEmpty = "https://maskinporten.no/"
    exchange_url: Address = f"{PRODUCTION}/authentication/api/v1/exchange/maskinporten"


class Bearer(SecretPart):
    """A ready token of a test environment; nobody renews it."""

    kind: Literal["bearer"] = "bearer"
    token: Annotated[SecretStr, AfterValidator(_token)]


Auth = Annotated[Maskinporten | Bearer, Field(discriminator="kind")]


class AltinnSecret(ConnectionSecret):
    """`amtsbote/altinn/<connection>`: the apps of one organisation.

    `current_task` narrows what is fetched to instances that are at this task of their process; None fetches all that
    are not confirmed, drafts included.
    """

    storage_url: BaseAddress = f"{PRODUCTION}/storage/api/v1"
    apps_url: Annotated[str, AfterValidator(_template)] = "https://{org}.apps.altinn.no/{org}/{app}"
    apps: tuple[AppId, ...] = Field(min_length=1)
    current_task: NotEmpty | None = None
    dialect: Dialect = Dialect.V1
    auth: Auth
