"""The login of Digitale-Gemeinde: an API key buys a JWT, which every other call carries (guide, step 1).

The JWT is used until shortly before its `exp`. Its signature is not checked: it is the portal's own business whether it
accepts what it has given out, and all that is read here is for how long to keep it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.http import THROTTLED, Answer, Transport, error_of_status, throttled
from amtsbote.tokens import EARLY, Token, TokenCache

TOKEN_LIMIT_BYTES = 16 * 1024
UNSTATED_LIFETIME = timedelta(minutes=5)  # of a token that does not say when it ends
LONGEST_LIFETIME = timedelta(hours=24)  # a token that claims more is asked for again once a day
TOKEN_FIELDS = ("token", "accessToken", "access_token")
BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750

Clock = Callable[[], datetime]


class TokenLogin:
    """A login that sends a bearer token, asked for by `log_in` when there is none."""

    def __init__(self, account: str, tokens: TokenCache, log_in: Callable[[], Token]) -> None:
        self._account = account
        self._tokens = tokens
        self._log_in = log_in
        self._token: str | None = None

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header; Misconfigured where the key is refused."""
        return {"Authorization": f"Bearer {self.token()}"}

    def token(self) -> str:
        """Return the token that is good now."""
        self._token = self._tokens.get(self._account, self._log_in)
        return self._token

    def renew(self) -> bool:
        """Replace the token that was refused; the answer is always worth a second call."""
        self._tokens.get(self._account, self._log_in, refused=self._token)
        return True


def account_of(*identity: str) -> str:
    """Return the name of an account in the token cache; a changed key is another account."""
    return "digitale-gemeinde:" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def ask_for_token(transport: Transport, method: str, url: str, key: Mapping[str, str], now: datetime) -> Token:
    """Buy a token with the key's header; Misconfigured where it is refused, Retry where the portal cannot answer."""
    answer = transport.call(method, url, headers={"Accept": "application/json", **key})
    if not answer.ok:
        raise _refusal(answer)
    token = token_in(answer.body)
    if token is None:
        raise Retry("LOGIN_UNAVAILABLE", f"the token route answered {answer.kind()}, and no token in it")
    return Token(token, _cached_until(token, now))


def token_in(body: bytes) -> str | None:
    """Return the token of an answer: in one of the known fields, quoted, or bare. None where there is none."""
    if len(body) > TOKEN_LIMIT_BYTES:
        return None
    text = body.decode("utf-8-sig", "replace").strip()
    said = _json_or(text, text)
    if isinstance(said, dict):
        said = next((said[name] for name in TOKEN_FIELDS if said.get(name)), None)
    return said if isinstance(said, str) and BEARER_TOKEN.fullmatch(said) else None


def end_of(token: str) -> float | None:
    """Return a JWT's `exp` (seconds since 1970), None where it cannot be read."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > TOKEN_LIMIT_BYTES:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        end = json.loads(payload)["exp"]
        return None if isinstance(end, bool | str) else float(end)
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return None


def _cached_until(token: str, now: datetime) -> datetime:
    """Return the end that the cache is told, such that a short-lived token serves for half of its life at least."""
    end = end_of(token)
    alive = UNSTATED_LIFETIME
    if end is not None:
        alive = timedelta(seconds=min(max(0.0, end - now.timestamp()), LONGEST_LIFETIME.total_seconds()))
    return now + alive - min(EARLY, alive / 2) + EARLY


def _refusal(answer: Answer) -> AmtsboteError:
    said = f"the token route answered {answer.kind()}"
    if answer.status in THROTTLED:
        return Retry("LOGIN_UNAVAILABLE", said, after_seconds=throttled(answer).after_seconds)
    if isinstance(error_of_status(answer), Retry):
        return Retry("LOGIN_UNAVAILABLE", said)
    return Misconfigured("LOGIN_REFUSED", f"{said}; check apiKey, apiKeyHeader and routes.token")


def _json_or(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
