"""Access tokens, kept in the memory of the process until shortly before they end."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

EARLY = timedelta(seconds=60)  # a token this close to its end is not used for another call


@dataclass(frozen=True)
class Token:
    """An access token and the moment (UTC) at which the portal stops accepting it."""

    value: str = field(repr=False)
    expires_at: datetime


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
