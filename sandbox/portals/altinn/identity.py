"""Who may call: Maskinporten's JWT grant, the exchange at Altinn, and bearer tokens for test environments."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from multidict import MultiMapping

from sandbox.portals.server import Clock

from .errors import Refusal, json_answer

READ = "altinn:serviceowner/instances.read"
WRITE = "altinn:serviceowner/instances.write"
SERVICE_OWNER = "altinn:serviceowner"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
ALGORITHMS = ("RS256", "RS384", "RS512")
REQUIRED_CLAIMS = frozenset({"aud", "iss", "scope", "iat", "exp", "jti"})
KNOWN_CLAIMS = REQUIRED_CLAIMS | {"resource", "consumer_org"}
ENTERPRISE_USER_HEADER = "X-Altinn-EnterpriseUser-Authentication"
MAX_GRANT_SECONDS = 120
MAX_CLOCK_DIFFERENCE_SECONDS = 10
MASKINPORTEN_SECONDS = 120
ALTINN_SECONDS = 30 * 60
RSA_BITS = 2048
PUBLIC_EXPONENT = 65537


@dataclass(frozen=True)
class Login:
    """What a client needs for the JWT grant; `private_key` is PEM (PKCS 8)."""

    client_id: str
    key_id: str
    private_key: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Client:
    """A client as Maskinporten knows it."""

    org: str
    scopes: frozenset[str]
    keys: Mapping[str, RSAPublicKey]


@dataclass(frozen=True)
class Grant:
    """What a token stands for; `expires_at` None: until it is taken away."""

    org: str
    scopes: frozenset[str]
    expires_at: datetime | None

    def is_good(self, now: datetime) -> bool:
        """Whether the token still counts: to the instant, without any skew."""
        return self.expires_at is None or now < self.expires_at

    @property
    def is_service_owner(self) -> bool:
        """Whether Altinn knows the organisation: the claim is only set with a scope of service owners."""
        return any(scope.startswith(SERVICE_OWNER) for scope in self.scopes)


@dataclass
class GrantError(Exception):
    """A token request that Maskinporten refuses."""

    error: str
    description: str

    def answer(self) -> web.Response:
        """400 in OAuth's shape."""
        body = {"error": self.error, "error_description": self.description}
        return json_answer(body, HTTPStatus.BAD_REQUEST)


def new_key_pair() -> tuple[str, str]:
    """A fresh RSA key: private (PKCS 8) and public, both PEM."""
    key = generate_private_key(PUBLIC_EXPONENT, RSA_BITS)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


class Identities:
    """Maskinporten's clients, Altinn's tokens. `audience` is Maskinporten's issuer, asked for each time."""

    def __init__(self, clock: Clock, audience: Callable[[], str]) -> None:
        self.clock = clock
        self._audience = audience
        self.clients: dict[str, Client] = {}
        self.maskinporten_seconds: float = MASKINPORTEN_SECONDS
        self.altinn_seconds: float = ALTINN_SECONDS
        self.grants = 0
        """How many tokens Maskinporten has issued."""
        self.exchanges = 0
        """How many tokens Altinn has issued."""
        self._maskinporten: dict[str, Grant] = {}
        self._altinn: dict[str, Grant] = {}
        self._used: set[str] = set()
        self._signing_key = secrets.token_bytes(64)

    def add_client(self, client_id: str, org: str, scopes: Iterable[str], keys: Mapping[str, str]) -> None:
        """Let a client in with its public keys (PEM) by key id. ValueError for a key that is not RSA."""
        loaded = {key_id: load_pem_public_key(pem.encode()) for key_id, pem in keys.items()}
        rsa = {key_id: key for key_id, key in loaded.items() if isinstance(key, RSAPublicKey)}
        if len(rsa) != len(loaded):
            raise ValueError("Maskinporten takes RSA keys only")
        self.clients[client_id] = Client(org, frozenset(scopes), rsa)

    def add_bearer(self, token: str, org: str, scopes: Iterable[str]) -> None:
        """A token that is good until `revoke`."""
        self._altinn[token] = Grant(org, frozenset(scopes), None)

    def revoke(self, token: str) -> None:
        """Take one token away."""
        self._altinn.pop(token, None)

    def expire_all(self) -> None:
        """Every token issued so far, by Maskinporten and by Altinn, is no longer good."""
        self._maskinporten.clear()
        self._altinn = {token: grant for token, grant in self._altinn.items() if grant.expires_at is None}

    # --- Maskinporten ---

    def maskinporten(self, content_type: str, form: MultiMapping[Any]) -> web.Response:
        """The token endpoint."""
        try:
            _check_form(content_type, form)
            claims, client = self._verified(str(form["assertion"]))
            self._check_times(claims)
            scopes = _scopes(claims, client)
            self._use(claims["jti"])
        except GrantError as refusal:
            return refusal.answer()
        return self._granted(Grant(client.org, scopes, self._after(self.maskinporten_seconds)))

    def _granted(self, grant: Grant) -> web.Response:
        self.grants += 1
        token = self._jwt(grant, {"consumer": grant.org, "scope": " ".join(sorted(grant.scopes))})
        self._maskinporten[token] = grant
        seconds = int(self.maskinporten_seconds)
        scope = " ".join(sorted(grant.scopes))
        return json_answer({"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope})

    def _verified(self, assertion: str) -> tuple[dict[str, Any], Client]:
        """The claims after signature and form are checked; the times are not looked at yet."""
        header, issuer = _unverified(assertion)
        client = self.clients.get(issuer)
        if client is None:
            raise GrantError("invalid_client", f"MP-100: unknown client {issuer}")
        key = client.keys.get(str(header.get("kid")))
        if header.get("alg") not in ALGORITHMS or key is None:
            raise GrantError("invalid_grant", "MP-110: alg must be RS256, RS384 or RS512, kid a registered key")
        try:
            claims = jwt.decode(assertion, key, algorithms=[header["alg"]], options=_SIGNATURE_ONLY)
        except jwt.PyJWTError as error:
            raise GrantError("invalid_grant", "MP-110: the signature is wrong") from error
        self._check_claims(claims)
        return claims, client

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        missing, unknown = REQUIRED_CLAIMS - set(claims), set(claims) - KNOWN_CLAIMS
        if missing or unknown:
            raise GrantError("invalid_grant", f"MP-120: missing {sorted(missing)}, unknown {sorted(unknown)}")
        if claims["aud"] != self._audience():
            raise GrantError("invalid_grant", "MP-121: aud must be the issuer, as one string")

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        issued, expires, now = claims["iat"], claims["exp"], self.clock().timestamp()
        if type(issued) is not int or type(expires) is not int:
            raise GrantError("invalid_grant", "MP-120: iat and exp must be whole seconds")
        if abs(issued - now) > MAX_CLOCK_DIFFERENCE_SECONDS:
            raise GrantError("invalid_grant", "MP-120: iat is not now")
        if not 0 < expires - issued <= MAX_GRANT_SECONDS or expires <= now:
            raise GrantError(
                "invalid_grant", f"MP-120: exp must be in the future, at most {MAX_GRANT_SECONDS} s after iat"
            )

    def _use(self, jti: object) -> None:
        if not isinstance(jti, str) or not jti or jti in self._used:
            raise GrantError("invalid_grant", "MP-120: jti must be a string that was never used before")
        self._used.add(jti)

    # --- Altinn ---

    def exchange(self, authorization: str, headers: Mapping[str, str]) -> web.Response:
        """A token of Altinn's own for one of Maskinporten's: the bare string, or quoted when JSON is asked for."""
        if ENTERPRISE_USER_HEADER in headers:
            return web.Response(status=HTTPStatus.GONE)
        grant = self._maskinporten.get(_bearer(authorization))
        if grant is None or not grant.is_good(self.clock()):
            return unauthorized()
        token = self._exchanged(Grant(grant.org, grant.scopes, self._after(self.altinn_seconds)))
        if "application/json" in headers.get("Accept", ""):
            return json_answer(token)
        return web.Response(text=token)

    def _exchanged(self, grant: Grant) -> str:
        self.exchanges += 1
        owner = {"urn:altinn:org": grant.org} if grant.is_service_owner else {}
        token = self._jwt(grant, {**owner, "scope": " ".join(sorted(grant.scopes)), "iss": "altinn"})
        self._altinn[token] = grant
        return token

    def caller(self, authorization: str, scope: str | None) -> str:
        """The organisation that calls; 401 without a good token, 403 without the scope or as no service owner."""
        grant = self._altinn.get(_bearer(authorization))
        if grant is None or not grant.is_good(self.clock()):
            raise Refusal(HTTPStatus.UNAUTHORIZED)
        if not grant.is_service_owner or (scope is not None and scope not in grant.scopes):
            raise Refusal(HTTPStatus.FORBIDDEN)
        return grant.org

    def _after(self, seconds: float) -> datetime:
        return self.clock() + timedelta(seconds=seconds)

    def _jwt(self, grant: Grant, claims: Mapping[str, Any]) -> str:
        expires = self.clock() if grant.expires_at is None else grant.expires_at
        times = {"iat": int(self.clock().timestamp()), "exp": int(expires.timestamp())}
        return jwt.encode({**claims, **times, "jti": str(uuid.uuid4())}, self._signing_key, algorithm="HS256")


_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    **{f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")},
}
"""The portal's clock decides about times, and its own sentences say what is wrong."""


def unauthorized() -> web.Response:
    """401 as the platform gives it: no body, a challenge."""
    return web.Response(status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _check_form(content_type: str, form: MultiMapping[Any]) -> None:
    if content_type != FORM_CONTENT_TYPE:
        raise GrantError("invalid_request", f"Content-Type must be {FORM_CONTENT_TYPE}")
    if form.get("grant_type") != GRANT_TYPE:
        raise GrantError("unsupported_grant_type", f"grant_type must be {GRANT_TYPE}")
    if "assertion" not in form:
        raise GrantError("invalid_request", "assertion is missing")


def _unverified(assertion: str) -> tuple[dict[str, Any], str]:
    """Header and issuer of an assertion before anything about it is believed."""
    try:
        issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
        return jwt.get_unverified_header(assertion), str(issuer)
    except jwt.PyJWTError as error:
        raise GrantError("invalid_grant", "MP-110: assertion is no JWT") from error


def _scopes(claims: Mapping[str, Any], client: Client) -> frozenset[str]:
    asked = frozenset(claims["scope"].split()) if isinstance(claims["scope"], str) else frozenset()
    if not asked or not asked <= client.scopes:
        raise GrantError("invalid_scope", "MP-120: scope must be a blank separated list of scopes that the client has")
    return asked


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" else ""
