"""Access tokens, kept in the memory of the process until shortly before they end."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750
TOKEN_CHARACTERS_AT_MOST = 16 * 1024  # what comes back in each request's header must be one that servers take
LIFETIME_AT_MOST_SECONDS = 24 * 3600.0  # a token that claims more is asked for again once a day
EARLY = timedelta(seconds=60)  # a token this close to its end is not used for another call


@dataclass(frozen=True)
class Token:
    """An access token and the moment (UTC) at which the portal stops accepting it."""

    value: str = field(repr=False)
    expires_at: datetime


def is_token(value: object) -> bool:
    """Return whether what a login answered is a bearer token that a header can hold."""
    short = isinstance(value, str) and len(value) <= TOKEN_CHARACTERS_AT_MOST
    return short and BEARER_TOKEN.fullmatch(str(value)) is not None


def lifetime_seconds(value: object) -> float | None:
    """Return how long a token lives by the word of its login, at most a day; None where that says nothing sensible."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:  # NaN neither
        return None
    return float(min(value, LIFETIME_AT_MOST_SECONDS))


class TokenCache:
    """Tokens by account. Of an account one thread at a time logs in, and the others wait for its token."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._tokens: dict[str, Token] = {}
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._lock = Lock()

    def get(self, account: str, log_in: Callable[[], Token], *, refused: str | None = None) -> str:
        """Return a valid token of the account, logging in when there is none.

        `refused` is the token that the portal has just answered 401 to: a cached token is then used only if it is
        another one, so that many threads with the same dead token log in once.
        """
        with self._lock:
            of_account = self._locks[account]
        with of_account:
            token = self._tokens.get(account)
            if token is None or token.value == refused or token.expires_at - EARLY <= self._clock():
                token = log_in()
                self._tokens[account] = token
            return token.value
