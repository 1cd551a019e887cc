"""The two logins of docxworld: a user's password at Cognito, and the client credentials of a technical access.

Documented on the page under "Authentication and Authorization" and "Technical Access"; both ask Cognito for a token
that is used until shortly before its end.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.http import THROTTLED, Answer, Login, Transport, retry_after_seconds
from amtsbote.portals.docxworld.connection import ClientCredentials, UserPassword
from amtsbote.tokens import Token, TokenCache, is_token, lifetime_seconds

REASON_AT_MOST = 200
UNSTATED_LIFETIME_SECONDS = 300  # of a token whose answer does not say how long it lives
COGNITO_THROTTLES = frozenset(  # Cognito answers these with 400, like a wrong password
    {"TooManyRequestsException", "LimitExceededException", "ThrottlingException", "InternalErrorException"}
)

Clock = Callable[[], datetime]


class TokenLogin:
    """A login that sends a bearer token, asked for by `log_in` when there is none."""

    def __init__(self, account: str, tokens: TokenCache, log_in: Callable[[], Token]) -> None:
        self._account = account
        self._tokens = tokens
        self._log_in = log_in
        self._token: str | None = None

    def headers(self) -> Mapping[str, str]:
        """Return the Authorization header; Misconfigured where the login is refused."""
        self._token = self._tokens.get(self._account, self._log_in)
        return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """Replace the token that was refused; the answer is always worth a second call."""
        self._tokens.get(self._account, self._log_in, refused=self._token)
        return True


def login_of(auth: UserPassword | ClientCredentials, transport: Transport, tokens: TokenCache, clock: Clock) -> Login:
    """Return the login of an account; a changed password or secret is another account to the token cache."""
    if isinstance(auth, UserPassword):
        secret, ask = auth.password.get_secret_value(), lambda: ask_cognito(auth, transport, clock())
        identity = [auth.cognito_url, auth.client_id, auth.username, secret]
    else:
        secret, ask = auth.client_secret.get_secret_value(), lambda: ask_token_endpoint(auth, transport, clock())
        identity = [auth.token_url, auth.client_id, " ".join(auth.scopes), secret]
    account = "docxworld:" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    return TokenLogin(account, tokens, ask)


def ask_cognito(auth: UserPassword, transport: Transport, now: datetime) -> Token:
    """Log a user in (Cognito's InitiateAuth, USER_PASSWORD_AUTH)."""
    order = {
        "AuthParameters": {"USERNAME": auth.username, "PASSWORD": auth.password.get_secret_value()},
        "AuthFlow": "USER_PASSWORD_AUTH",
        "ClientId": auth.client_id,
    }
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
    }
    answer = transport.call("POST", auth.cognito_url + "/", headers=headers, body=json.dumps(order).encode())
    if not answer.ok:
        raise _refusal(answer, _cognito_reason(answer), "auth.username, auth.password and auth.clientId")
    said = _object(answer)
    if "ChallengeName" in said:
        challenge = str(said["ChallengeName"])[:60]
        mend = "use an account that logs in with its password alone"
        raise Misconfigured("LOGIN_CHALLENGED", f"Cognito asks for {challenge} instead of giving a token; {mend}")
    result = said.get("AuthenticationResult")
    return _token(result if isinstance(result, dict) else {}, "AccessToken", "ExpiresIn", now)


def ask_token_endpoint(auth: ClientCredentials, transport: Transport, now: datetime) -> Token:
    """Log a technical access in (OAuth client credentials, client_secret_basic)."""
    credentials = f"{auth.client_id}:{auth.client_secret.get_secret_value()}".encode()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": "Basic " + base64.b64encode(credentials).decode(),
    }
    form = {"grant_type": "client_credentials"}
    if auth.scopes:
        form["scope"] = " ".join(auth.scopes)
    answer = transport.call("POST", auth.token_url, headers=headers, body=urlencode(form).encode())
    if not answer.ok:
        reason = str(_object_or_empty(answer).get("error", ""))
        raise _refusal(answer, reason, "auth.clientId, auth.clientSecret and auth.scopes")
    return _token(_object(answer), "access_token", "expires_in", now)


def _refusal(answer: Answer, reason: str, fields: str) -> AmtsboteError:
    """Return the error of a refused login: a wait where the token service is busy or down, else the wrong secret."""
    said = f"the token service answered {answer.kind()} ({reason[:60] or 'no reason given'})"
    if answer.status in THROTTLED or answer.status >= 500 or reason in COGNITO_THROTTLES:
        after = retry_after_seconds(answer.headers, datetime.now(UTC))
        return Retry("LOGIN_UNAVAILABLE", said, after_seconds=after)
    return Misconfigured("LOGIN_REFUSED", f"{said}; check {fields}")


def _cognito_reason(answer: Answer) -> str:
    """Return the name of Cognito's exception, without its namespace."""
    kind = _object_or_empty(answer).get("__type") or answer.headers.get("x-amzn-ErrorType", "")
    return str(kind)[:REASON_AT_MOST].split("#")[-1].split(":")[0]


def _token(said: Mapping[str, Any], value: str, lifetime: str, now: datetime) -> Token:
    if not is_token(said.get(value)):
        raise Retry("LOGIN_UNAVAILABLE", f"the token service answered without {value}, or with one that is none")
    alive = lifetime_seconds(said.get(lifetime)) or UNSTATED_LIFETIME_SECONDS
    return Token(said[value], now + timedelta(seconds=alive))


def _object(answer: Answer) -> dict[str, Any]:
    said = answer.json()
    if not isinstance(said, dict):
        raise Retry("LOGIN_UNAVAILABLE", f"the token service answered {answer.kind()}")
    return said


def _object_or_empty(answer: Answer) -> dict[str, Any]:
    try:
        return _object(answer)
    except Retry:
        return {}
