"""The staged rotation of a technical access's client secret (page, "Technical Access", start and complete)."""

from datetime import datetime
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from amtsbote.errors import Misconfigured, Reject, Retry, Unavailable
from amtsbote.portals.docxworld.administration import TechnicalAccess
from amtsbote.portals.docxworld.client import DocxworldClient
from amtsbote.portals.docxworld.connection import ClientCredentials, DocxworldSecret, UserPassword
from amtsbote.portals.docxworld.login import ask_token_endpoint
from amtsbote.portals.docxworld.models import Instant, Role
from amtsbote.portals.portal import BaseAddress, Rotation, SecretPart, Tools
from amtsbote.rotation import Fresh, NoRotation, PortalState, RotationOpen

OPEN_ALREADY = "TECHNICAL_ACCESS_ROTATION_ALREADY_IN_PROGRESS"
NOT_OPEN = "TECHNICAL_ACCESS_ROTATION_NOT_IN_PROGRESS"
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


class AdministratorSecret(SecretPart):
    """`amtsbote-admin/docxworld/<connection>`: who may rotate, and which technical access is the connection's."""

    base_url: BaseAddress
    technical_access_id: str = Field(min_length=1)
    role: Role = Role.CUSTOMER_ADMIN
    auth: UserPassword


class DocxworldRotator:
    """The rotation of one technical access, by its administrator."""

    def __init__(self, administrator: AdministratorSecret, secret: DocxworldSecret, tools: Tools) -> None:
        self._access_id = administrator.technical_access_id
        self._role = administrator.role
        self._client_id = _technical(secret).client_id
        self._tools = tools
        self._client = DocxworldClient.of(
            administrator.base_url,
            administrator.auth,
            transport=tools.transport,
            tokens=tools.tokens,
            clock=tools.clock,
        )

    def look(self) -> PortalState | None:
        """Return what docxworld says of the rotation; None where it does not show the technical access.

        Misconfigured where the technical access is another client's: to rotate it would end a foreign secret.
        """
        try:
            access = self._client.technical_access.get(self._access_id, role=self._role)
        except (Reject, Unavailable):
            return None  # the page names this call and shows no example of it
        self._require_own(access)
        if access.rotation_in_progress is None:
            return None
        return PortalState(access.rotation_in_progress, access.rotation_started_at)

    def _require_own(self, access: TechnicalAccess) -> None:
        if access.cognito_client_id not in (None, self._client_id):
            mend = "set technicalAccessId to the technical access whose client id is auth.clientId of the connection"
            raise Misconfigured("TECHNICAL_ACCESS_DIFFERS", f"the technical access belongs to another client; {mend}")

    def begin(self) -> Fresh:
        """Have a second client secret made; RotationOpen where a rotation is open already."""
        try:
            answered = self._client.technical_access.begin_rotation(self._access_id, role=self._role)
        except Reject as refusal:
            if refusal.code == OPEN_ALREADY:
                raise RotationOpen(refusal.code, refusal.message) from None
            raise
        return _fresh(answered)

    def log_in(self, secret: DocxworldSecret) -> None:
        """Ask the token endpoint for a token, which is then thrown away."""
        ask_token_endpoint(_technical(secret), self._tools.transport, self._tools.clock())

    def complete(self) -> None:
        """Have the older client secret ended; NoRotation where no rotation is open."""
        try:
            self._client.technical_access.complete_rotation(self._access_id, role=self._role)
        except Reject as refusal:
            if refusal.code == NOT_OPEN:
                raise NoRotation(refusal.code, refusal.message) from None
            raise


def _fresh(answered: Any) -> Fresh:
    """Return the one field that exists nowhere else; nothing that is wrong with another field may lose it."""
    said = answered if isinstance(answered, dict) else {}
    value = _part(said, "oauth").get("clientSecret")
    if not isinstance(value, str) or not value:
        raise Retry("PORTAL_ANSWER_UNREADABLE", "docxworld's answer to rotate-secret holds no oauth.clientSecret")
    try:
        started_at = _INSTANT.validate_python(_part(said, "technicalAccess").get("rotationStartedAt"))
    except ValidationError:
        started_at = None
    return Fresh(value, started_at)


def _part(said: dict[str, Any], name: str) -> dict[str, Any]:
    part = said.get(name)
    return part if isinstance(part, dict) else {}


def _technical(secret: DocxworldSecret) -> ClientCredentials:
    if isinstance(secret.auth, ClientCredentials):
        return secret.auth
    mend = "cancel the rotation of this secret, or give the connection auth of the kind client-credentials"
    raise Misconfigured("NOT_ROTATABLE", f"only auth of the kind client-credentials can be rotated; {mend}")


def value_of(secret: DocxworldSecret) -> str:
    """Return what rotates; Misconfigured where the connection logs in with a user's password."""
    return _technical(secret).client_secret.get_secret_value()


def with_value(content: dict[str, Any], value: str) -> dict[str, Any]:
    """Return the JSON object of a secret with another client secret, and every other field as it is."""
    return {**content, "auth": {**content["auth"], "clientSecret": value}}


ROTATION = Rotation(AdministratorSecret, DocxworldRotator, value_of, with_value)
