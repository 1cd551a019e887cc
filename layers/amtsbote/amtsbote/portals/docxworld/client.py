"""docxworld's whole API behind one object, usable on its own.

account = UserPassword(cognitoUrl="https://…", clientId="…", username="…", password=SecretStr("…"))
client = DocxworldClient.of("https://…", account)
for workflow in client.workflows.all():
    …
"""

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from amtsbote.deadline import Deadline
from amtsbote.http import PortalHttp, Transport
from amtsbote.portals.docxworld.connection import ClientCredentials, UserPassword
from amtsbote.portals.docxworld.errors import translate
from amtsbote.portals.docxworld.login import Clock, login_of
from amtsbote.tokens import TokenCache

if TYPE_CHECKING:
    from amtsbote.portals.docxworld.resources.approvals import Approvals
    from amtsbote.portals.docxworld.resources.companies import Companies, Contracts
    from amtsbote.portals.docxworld.resources.downloads import Downloads
    from amtsbote.portals.docxworld.resources.technical_access import TechnicalAccesses
    from amtsbote.portals.docxworld.resources.uploads import Uploads
    from amtsbote.portals.docxworld.resources.users import Users
    from amtsbote.portals.docxworld.resources.workflows import Targets, Workflows

A_DAY_SECONDS = 86_400.0  # how long a client outside of a Lambda function may work


def _now() -> datetime:
    return datetime.now(UTC)


class DocxworldClient:
    """One account at docxworld. Each part of the API is loaded when it is first used.

    Every call raises the package's errors (`amtsbote.errors`); the portal's `messageCode` decides which.
    """

    def __init__(self, http: PortalHttp) -> None:
        self._http = http

    @classmethod
    def of(
        cls,
        base_url: str,
        auth: UserPassword | ClientCredentials,
        *,
        transport: Transport | None = None,
        tokens: TokenCache | None = None,
        clock: Clock = _now,
    ) -> "DocxworldClient":
        """Return a client of an account; without a transport it may work for a day."""
        transport = transport or Transport(Deadline(A_DAY_SECONDS))
        login = login_of(auth, transport, tokens or TokenCache(), clock)
        return cls(PortalHttp(transport, base_url, login, translate))

    def log_in(self) -> None:
        """Have a token ready, so that the next call fails for reasons of its own only."""
        self._http.log_in()

    @cached_property
    def downloads(self) -> "Downloads":
        """Documents that docxworld holds ready."""
        from amtsbote.portals.docxworld.resources.downloads import Downloads

        return Downloads(self._http)

    @cached_property
    def uploads(self) -> "Uploads":
        """Documents on their way to docxworld's targets."""
        from amtsbote.portals.docxworld.resources.uploads import Uploads

        return Uploads(self._http)

    @cached_property
    def approvals(self) -> "Approvals":
        """Decisions on uploads."""
        from amtsbote.portals.docxworld.resources.approvals import Approvals

        return Approvals(self._http)

    @cached_property
    def workflows(self) -> "Workflows":
        """What happens to uploads."""
        from amtsbote.portals.docxworld.resources.workflows import Workflows

        return Workflows(self._http)

    @cached_property
    def targets(self) -> "Targets":
        """Where uploads are sent to."""
        from amtsbote.portals.docxworld.resources.workflows import Targets

        return Targets(self._http)

    @cached_property
    def users(self) -> "Users":
        """Users and their roles."""
        from amtsbote.portals.docxworld.resources.users import Users

        return Users(self._http)

    @cached_property
    def technical_access(self) -> "TechnicalAccesses":
        """Logins for machines."""
        from amtsbote.portals.docxworld.resources.technical_access import TechnicalAccesses

        return TechnicalAccesses(self._http)

    @cached_property
    def companies(self) -> "Companies":
        """Companies and their customer numbers."""
        from amtsbote.portals.docxworld.resources.companies import Companies

        return Companies(self._http)

    @cached_property
    def contracts(self) -> "Contracts":
        """Contracts of all companies."""
        from amtsbote.portals.docxworld.resources.companies import Contracts

        return Contracts(self._http)
