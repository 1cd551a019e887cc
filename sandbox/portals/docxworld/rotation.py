"""The staged rotation of a technical access's client secret, as the page describes it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.portals.server import Clock

from .api import Call, Rule
from .errors import RefusedError, not_found, refused
from .fields import show_instant
from .identity import Account, Identities, scope_of
from .uploads import ADMINISTRATORS

ACCESS = "/v1/technical-access/{id}"


@dataclass
class Rotations:
    """The technical accesses and their rotations. `token_url` and `issuer` are where their secrets are used."""

    clock: Clock
    identities: Identities
    token_url: Callable[[], str]
    more: Callable[[Account], dict[str, Any]] = lambda _: {}
    """What the administration adds to a technical access that is shown."""

    def access(self, access_id: str) -> Account:
        """The technical access with this id; 404 when there is none."""
        for account in self.identities.accounts.values():
            if account.technical and account.id == access_id:
                return account
        raise not_found("client.technical_access_not_exists", "Technical access not exists exception", access_id)

    def get(self, call: Call) -> dict[str, Any]:
        """GET /v1/technical-access/{id}."""
        return self.show(self.visible(call))

    def start(self, call: Call) -> dict[str, Any]:
        """POST …/rotate-secret: a second secret, shown this once; the first one stays good."""
        account = self.visible(call)
        if account.rotation_started is not None:
            raise _refusal("rotation_already_in_progress", "rotation already in progress")
        account.rotation_started = self.clock()
        account.next_secret = secrets.token_urlsafe(24)
        account.secrets.add(account.next_secret)
        return self.with_secret(account, account.next_secret)

    def complete(self, call: Call) -> dict[str, Any]:
        """POST …/rotate-secret/complete: the older secret is no longer good."""
        account = self.visible(call)
        if account.rotation_started is None or account.next_secret is None:
            raise _refusal("rotation_not_in_progress", "rotation not in progress")
        account.secrets.clear()
        account.secrets.add(account.next_secret)
        account.rotation_started, account.next_secret = None, None
        account.rotated = self.clock()
        return self.show(account)

    def with_secret(self, account: Account, secret: str) -> dict[str, Any]:
        """A technical access with a new secret, as the API shows it once."""
        return {"technicalAccess": self.show(account), "oauth": self._oauth(account, secret)}

    def visible(self, call: Call) -> Account:
        """The technical access in the path, as far as the caller sees it; 404 when there is none."""
        found = self.access(call.id)
        if call.role == "ROLE_CUSTOMER_ADMIN" and found.company_id != call.account.company_id:
            raise not_found("client.technical_access_not_exists", "Technical access not exists exception", call.id)
        return found

    def show(self, account: Account) -> dict[str, Any]:
        """A technical access as the API shows it."""
        return {
            "id": account.id,
            "companyId": account.company_id,
            "companyName": "Klinikum",
            "name": account.name,
            "status": "ACTIVE",
            "cognitoClientId": account.login,
            "allowedRoles": sorted(account.roles),
            "createdBy": "creator@example.com",
            "createdByDisplay": "creator@example.com",
            "createdAt": "2024-01-10T10:15:30Z",
            "lastAuthenticatedAt": None,
            "lastRotatedAt": show_instant(account.rotated),
            "rotationInProgress": account.rotation_started is not None,
            "rotationStartedAt": show_instant(account.rotation_started),
            "disabledAt": None,
            "deletedAt": None,
            **self.more(account),
        }

    def _oauth(self, account: Account, secret: str) -> dict[str, Any]:
        return {
            "clientId": account.login,
            "clientSecret": secret,
            "issuer": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_simulated",
            "tokenUrl": self.token_url(),
            "grantType": "client_credentials",
            "tokenEndpointAuthMethod": "client_secret_basic",
            "scopeSeparator": " ",
            "supportedScopes": sorted(scope_of(role) for role in account.roles),
        }


def rotation_rules(rotations: Rotations) -> list[Rule]:
    """One technical access, and the two calls of its rotation."""
    return [
        Rule("GET", ACCESS, rotations.get, ADMINISTRATORS),
        Rule("POST", f"{ACCESS}/rotate-secret", rotations.start, ADMINISTRATORS),
        Rule("POST", f"{ACCESS}/rotate-secret/complete", rotations.complete, ADMINISTRATORS),
    ]


def _refusal(code: str, message: str) -> RefusedError:
    return refused(f"client.technical_access_{code}", f"Technical access secret {message}")
