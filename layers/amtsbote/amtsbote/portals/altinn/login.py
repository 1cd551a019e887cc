"""The login of an app's owner: a signed grant at Maskinporten buys a token, which Altinn exchanges for its own.

Both tokens are kept until shortly before their end. Maskinporten's page "JWT grant" documents the assertion; the
exchange answers the token itself, bare or quoted.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.foreign_json import parsed
from amtsbote.http import THROTTLED, Answer, Transport, error_of_status, throttled
from amtsbote.portals.altinn.connection import Auth, Bearer, Maskinporten
from amtsbote.portals.altinn.errors import Undone, words
from amtsbote.tokens import EARLY, Token, TokenCache, is_token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ALGORITHM = "RS256"
ASSERTION_SECONDS = 100  # Maskinporten takes 120 at most
RSA_BITS_AT_LEAST = 2048
UNSTATED_LIFETIME = timedelta(minutes=5)  # of a token that does not say when it ends
LONGEST_LIFETIME = timedelta(hours=24)
LONGEST_MOMENT_SECONDS = 1e12
TOKEN_LIMIT_BYTES = 64 * 1024
FRESH_PART = 2 / 3  # of a token's life; what comes after is not begun a long batch with

FIELDS_TO_CHECK = {
    "invalid_client": "auth.clientId and auth.keyId",
    "invalid_grant": "auth.privateKey, auth.keyId, auth.clientId and auth.audience",
    "invalid_scope": "auth.scopes",
    "unauthorized_client": "auth.clientId and auth.scopes",
}
ALL_FIELDS = "auth.clientId, auth.keyId, auth.privateKey, auth.audience and auth.scopes"

Clock = Callable[[], datetime]


class AltinnLogin(Protocol):
    """The credentials of one organisation at Altinn."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that log a request in."""
        ...

    def renew(self) -> bool:
        """Forget what the portal has just refused with 401; False where asking again cannot help."""
        ...

    def freshen(self) -> None:
        """Log in anew where the token would not last for a long batch."""
        ...


class BearerLogin:
    """A ready token, used as it is."""

    def __init__(self, auth: Bearer) -> None:
        self._headers = {"Authorization": f"Bearer {auth.token.get_secret_value()}"}

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header."""
        return self._headers

    def renew(self) -> bool:
        """Return False: there is no other token."""
        return False

    def freshen(self) -> None:
        """Do nothing: there is no other token."""


class MaskinportenLogin:
    """Altinn's token of an organisation, exchanged for Maskinporten's."""

    def __init__(self, auth: Maskinporten, transport: Transport, tokens: TokenCache, clock: Clock) -> None:
        self._auth = auth
        self._transport = transport
        self._tokens = tokens
        self._clock = clock
        identity = [auth.client_id, auth.key_id, auth.private_key.get_secret_value(), *auth.scopes]
        self._granted = account_of("maskinporten", auth.token_url, auth.audience, *identity)
        self._exchanged = account_of("altinn", auth.exchange_url, auth.token_url, auth.audience, *identity)
        self._token: str | None = None

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header; Misconfigured where the login is refused, Undone where it must wait."""
        self._token = self._tokens.get(self._exchanged, self._exchange)
        return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """Replace the token that was refused; the answer is always worth a second call."""
        self._tokens.get(self._exchanged, self._exchange, refused=self._token)
        return True

    def freshen(self) -> None:
        """Exchange a new token where the cached one is in the last third of its life."""
        token = self._tokens.get(self._exchanged, self._exchange)
        if is_ageing(token, self._clock()):
            self._tokens.get(self._exchanged, self._exchange, refused=token)

    def _exchange(self) -> Token:
        """Return Altinn's token. Maskinporten's, where it is refused, is bought anew once."""
        granted = self._tokens.get(self._granted, self._grant)
        answer = self._ask_to_exchange(granted)
        if answer.status == 401:
            answer = self._ask_to_exchange(self._tokens.get(self._granted, self._grant, refused=granted))
        if not answer.ok:
            raise _refusal(answer, "Altinn's exchange", "auth.exchangeUrl, auth.clientId and auth.scopes")
        return _token_of(token_in(answer.body), None, answer, self._clock())

    def _ask_to_exchange(self, granted: str) -> Answer:
        headers = {"Authorization": f"Bearer {granted}", "Accept": "application/json"}
        return self._transport.call("GET", self._auth.exchange_url, headers=headers)

    def _grant(self) -> Token:
        now = self._clock()
        form = urlencode({"grant_type": GRANT_TYPE, "assertion": assertion(self._auth, now)})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        answer = self._transport.call("POST", self._auth.token_url, headers=headers, body=form.encode())
        said = _object_or_empty(answer)
        if not answer.ok:
            fields = FIELDS_TO_CHECK.get(str(said.get("error")), ALL_FIELDS)
            raise _refusal(answer, "Maskinporten", fields)
        return _token_of(said.get("access_token"), said.get("expires_in"), answer, now)


def login_of(auth: Auth, transport: Transport, tokens: TokenCache, clock: Clock) -> AltinnLogin:
    """Return the login of an account; a changed key or scope is another account to the token cache."""
    if isinstance(auth, Bearer):
        return BearerLogin(auth)
    return MaskinportenLogin(auth, transport, tokens, clock)


def account_of(*identity: str) -> str:
    """Return the name of an account in the token cache."""
    return "altinn:" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def assertion(auth: Maskinporten, now: datetime) -> str:
    """Return a signed JWT that Maskinporten takes once; Misconfigured where the key is none."""
    import jwt

    issued = int(now.timestamp())
    claims = {
        "aud": auth.audience,
        "iss": auth.client_id,
        "scope": " ".join(auth.scopes),
        "iat": issued,
        "exp": issued + ASSERTION_SECONDS,
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode(claims, _key_of(auth), algorithm=ALGORITHM, headers={"kid": auth.key_id})


def _key_of(auth: Maskinporten) -> "RSAPrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(auth.private_key.get_secret_value().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _wrong_key("it must be a PEM private key without a password") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < RSA_BITS_AT_LEAST:
        raise _wrong_key(f"it must be an RSA key of at least {RSA_BITS_AT_LEAST} bits")
    return key


def _wrong_key(mend: str) -> Misconfigured:
    return Misconfigured("SECRET_INVALID", f"auth.privateKey cannot be used; {mend}")


def token_in(body: bytes) -> str | None:
    """Return the token of the exchange's answer, bare or quoted; None where it is none."""
    text = body[: TOKEN_LIMIT_BYTES + 1].decode("utf-8-sig", "replace").strip()
    bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    return bare if len(text) <= TOKEN_LIMIT_BYTES else None


def is_ageing(token: str, now: datetime) -> bool:
    """Return whether a JWT is in the last third of its life; False where it does not say when it began and ends."""
    claims = _claims(token)
    begin, end = (_seconds(claims.get(name)) for name in ("iat", "exp"))
    if begin is None or end is None or end <= begin:
        return False
    return now.timestamp() > begin + (end - begin) * FRESH_PART


def _token_of(value: object, lifetime: object, answer: Answer, now: datetime) -> Token:
    if not isinstance(value, str) or not is_token(value):
        raise Undone("LOGIN_UNAVAILABLE", f"{answer.path} answered {answer.kind()}, and no token in it")
    return Token(value, _cached_until(value, _seconds(lifetime), now))


def _cached_until(token: str, lifetime: float | None, now: datetime) -> datetime:
    """Return the end that the cache is told, such that a short-lived token serves for half of its life at least."""
    end = _seconds(_claims(token).get("exp"))
    stated = lifetime if lifetime is not None else None if end is None else end - now.timestamp()
    alive = UNSTATED_LIFETIME
    if stated is not None:
        alive = timedelta(seconds=min(max(0.0, stated), LONGEST_LIFETIME.total_seconds()))
    return now + alive - min(EARLY, alive / 2) + EARLY


def _claims(token: str) -> Mapping[str, Any]:
    """Return what a JWT says, unchecked: all that is read here is for how long to keep it."""
    parts = token.split(".")
    try:
        said = parsed(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, LookupError):
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(value: object) -> float | None:
    """Return a number of seconds, None for what is none; one that no moment can be made of is as good as endless."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(max(-LONGEST_MOMENT_SECONDS, min(value, LONGEST_MOMENT_SECONDS)))


def _refusal(answer: Answer, who: str, fields: str) -> AmtsboteError:
    """Return the error of a refused login: a wait where the token service is busy or down, else the wrong fields."""
    reason = str(_object_or_empty(answer).get("error", ""))[:60]
    said = f"{who} answered {answer.kind()} ({reason or 'no reason given'})"
    if answer.status in THROTTLED:
        return Undone("LOGIN_UNAVAILABLE", said, after_seconds=throttled(answer).after_seconds)
    if isinstance(error_of_status(answer), Retry):
        return Undone("LOGIN_UNAVAILABLE", said)
    return Misconfigured("LOGIN_REFUSED", f"{said}; check {fields}", portal_words=words(answer))


def _object_or_empty(answer: Answer) -> Mapping[str, Any]:
    try:
        said = parsed(answer.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
