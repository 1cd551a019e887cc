"""Who may call: accounts, their login at Cognito, the client-credentials grant, and access tokens that run out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from sandbox.portals.server import Clock

DEFAULT_TOKEN_SECONDS = 3600
DEFAULT_APP_CLIENT_ID = "simulated-app-client"
COGNITO_CONTENT_TYPE = "application/x-amz-json-1.1"
INITIATE_AUTH = "AWSCognitoIdentityProviderService.InitiateAuth"
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
COMPANY_ID = "00000000-0000-0000-0000-000000000001"

ROLES = frozenset(
    {
        "ROLE_SYS_ADMIN",
        "ROLE_PF_ADMIN",
        "ROLE_CUSTOMER_ADMIN",
        "ROLE_CUSTOMER_USER",
        "ROLE_CUSTOMER_UPLOADER",
        "ROLE_CUSTOMER_DOWNLOADER_RESULTS",
        "ROLE_CUSTOMER_DOWNLOADER_REPORTS",
        "ROLE_CUSTOMER_APPROVER",
    }
)


@dataclass
class Account:
    """A user, or a technical access. `login` is the e-mail or the client id; `targets` None means all of them."""

    login: str
    secrets: set[str]
    roles: set[str]
    technical: bool = False
    targets: set[str] | None = None
    name: str = "Erika Mustermann"
    company_id: str = COMPANY_ID
    must_change_password: bool = False
    rotation_started: datetime | None = None
    next_secret: str | None = None
    rotated: datetime | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def may_use(self, target_id: str) -> bool:
        """Whether this target is among those that the account is assigned to."""
        return self.targets is None or target_id in self.targets


@dataclass(frozen=True)
class Token:
    """What an access token stands for."""

    account: Account
    roles: frozenset[str]
    expires_at: datetime


def scope_of(role: str) -> str:
    """The OAuth scope of a role: ROLE_CUSTOMER_UPLOADER is tower/customer-uploader."""
    return "tower/" + role.removeprefix("ROLE_").lower().replace("_", "-")


class Identities:
    """All accounts and the tokens issued to them."""

    def __init__(self, clock: Clock, token_seconds: float, app_client_id: str) -> None:
        self.clock = clock
        self.token_seconds = token_seconds
        self.app_client_id = app_client_id
        self.accounts: dict[str, Account] = {}
        self.logins = 0
        self._tokens: dict[str, Token] = {}
        self._signing_key = secrets.token_bytes(32)

    def add(self, account: Account) -> Account:
        """Let an account in. ValueError for a role that docxworld does not have."""
        unknown = account.roles - ROLES
        if unknown:
            raise ValueError(f"unknown roles: {', '.join(sorted(unknown))}")
        self.accounts[account.login] = account
        return account

    def expire_all(self) -> None:
        """Every token issued so far is no longer good."""
        self._tokens.clear()

    def token(self, text: str) -> Token | None:
        """What an access token stands for; None when it is unknown or has run out."""
        found = self._tokens.get(text)
        return found if found and self.clock() < found.expires_at else None

    def issue(self, account: Account, roles: Iterable[str]) -> str:
        """A new access token."""
        self.logins += 1
        token = self._jwt(account, "access")
        self._tokens[token] = Token(account, frozenset(roles), self._expiry())
        return token

    def _expiry(self) -> datetime:
        return self.clock() + timedelta(seconds=self.token_seconds)

    def _jwt(self, account: Account, use: str) -> str:
        claims = {"sub": account.id, "token_use": use, "exp": int(self._expiry().timestamp()), "jti": str(uuid.uuid4())}
        signed = f"{_b64url({'alg': 'HS256', 'typ': 'JWT'})}.{_b64url(claims)}"
        signature = hmac.new(self._signing_key, signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    # --- Cognito ---

    def initiate_auth(self, target: str, content_type: str, body: bytes) -> web.Response:
        """Cognito's InitiateAuth, for USER_PASSWORD_AUTH only."""
        if content_type != COGNITO_CONTENT_TYPE:
            return cognito_error("SerializationException", "")
        if target != INITIATE_AUTH:
            return cognito_error("UnknownOperationException", "")
        try:
            return self._password_login(json.loads(body))
        except (ValueError, AttributeError):
            return cognito_error("SerializationException", "")

    def _password_login(self, call: Mapping[str, Any]) -> web.Response:
        if call.get("AuthFlow") != "USER_PASSWORD_AUTH":
            return cognito_error("InvalidParameterException", "Initiate Auth method not supported.")
        if call.get("ClientId") != self.app_client_id:
            return cognito_error("ResourceNotFoundException", "User pool client does not exist.")
        parameters = call.get("AuthParameters") or {}
        account = self.accounts.get(parameters.get("USERNAME", ""))
        if account is None or account.technical or parameters.get("PASSWORD") not in account.secrets:
            return cognito_error("NotAuthorizedException", "Incorrect username or password.")
        return cognito_answer(_challenge() if account.must_change_password else self._authentication(account))

    def _authentication(self, account: Account) -> dict[str, Any]:
        result = {
            "AccessToken": self.issue(account, account.roles),
            "ExpiresIn": int(self.token_seconds),
            "IdToken": self._jwt(account, "id"),
            "RefreshToken": self._jwt(account, "refresh"),
            "TokenType": "Bearer",
        }
        return {"AuthenticationResult": result, "ChallengeParameters": {}}

    # --- OAuth ---

    def client_credentials(self, authorization: str, content_type: str, form: MultiMapping[Any]) -> web.Response:
        """The token endpoint: grant type client_credentials, the client known by HTTP Basic only."""
        if content_type != FORM_CONTENT_TYPE:
            return oauth_error("invalid_request")
        account = self._client(authorization)
        if account is None:
            return oauth_error("invalid_client")
        if form.get("grant_type") != "client_credentials":
            return oauth_error("unsupported_grant_type")
        roles = {scope_of(role): role for role in account.roles}
        asked = str(form.get("scope", "")).split() or list(roles)
        if not set(asked) <= set(roles):
            return oauth_error("invalid_scope")
        token = self.issue(account, (roles[scope] for scope in asked))
        return _json({"access_token": token, "token_type": "Bearer", "expires_in": int(self.token_seconds)})

    def _client(self, authorization: str) -> Account | None:
        client_id, _, secret = _basic(authorization).partition(":")
        account = self.accounts.get(client_id)
        return account if account and account.technical and secret in account.secrets else None


def _basic(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    try:
        return base64.b64decode(value, validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _b64url(values: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _challenge() -> dict[str, Any]:
    """What Cognito answers to the first login with an initial password."""
    return {"ChallengeName": "NEW_PASSWORD_REQUIRED", "ChallengeParameters": {}, "Session": secrets.token_urlsafe(32)}


def _json(values: Mapping[str, Any], status: int = 200, content_type: str = "application/json") -> web.Response:
    return web.Response(status=status, body=json.dumps(values).encode(), content_type=content_type)


def cognito_answer(values: Mapping[str, Any], status: int = 200) -> web.Response:
    """An answer as Cognito gives it."""
    return _json(values, status, COGNITO_CONTENT_TYPE)


def cognito_error(kind: str, message: str) -> web.Response:
    """400 in Cognito's own shape, which is not the one of docxworld."""
    return cognito_answer({"__type": kind, "message": message}, status=400)


def oauth_error(kind: str) -> web.Response:
    """400 in OAuth's shape; Cognito says 400 also to a wrong secret."""
    return _json({"error": kind}, status=400)
