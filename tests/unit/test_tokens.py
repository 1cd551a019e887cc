"""Access tokens: renewed early, renewed when refused, and one login for many threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from amtsbote.tokens import Token, TokenCache
from tests.unit.support import Clock, later


class Portal:
    """A portal that counts its logins; each token lives an hour."""

    def __init__(self, clock: Clock) -> None:
        self.logins = 0
        self._clock = clock

    def log_in(self) -> Token:
        self.logins += 1
        return Token(f"token-{self.logins}", self._clock() + timedelta(hours=1))


@pytest.fixture
def portal(clock: Clock) -> Portal:
    return Portal(clock)


@pytest.fixture
def cache(clock: Clock) -> TokenCache:
    return TokenCache(clock)


@pytest.mark.parametrize(
    ("seconds", "token"), [(0, "token-1"), (3539, "token-1"), (3540, "token-2"), (7200, "token-2")]
)
def test_a_token_is_used_until_a_minute_before_its_end(
    cache: TokenCache, portal: Portal, clock: Clock, seconds: int, token: str
) -> None:
    cache.get("duba/klinikum", portal.log_in)
    clock.forward(seconds=seconds)
    assert cache.get("duba/klinikum", portal.log_in) == token


def test_each_account_has_its_own_token(cache: TokenCache, portal: Portal) -> None:
    assert [cache.get(account, portal.log_in) for account in ("a", "b", "a")] == ["token-1", "token-2", "token-1"]


def test_a_refused_token_is_renewed(cache: TokenCache, portal: Portal) -> None:
    refused = cache.get("a", portal.log_in)
    assert cache.get("a", portal.log_in, refused=refused) == "token-2"


def test_a_token_refused_to_another_thread_too_is_renewed_once(cache: TokenCache, portal: Portal) -> None:
    refused = cache.get("a", portal.log_in)
    renewed = {cache.get("a", portal.log_in, refused=refused) for _ in range(5)}
    assert (renewed, portal.logins) == ({"token-2"}, 2)


def test_many_threads_log_in_once(cache: TokenCache, portal: Portal) -> None:
    together = threading.Barrier(8, timeout=5)

    def ask(_: int) -> str:
        together.wait()
        return cache.get("a", portal.log_in)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"token-1"}
    assert portal.logins == 1


def test_a_slow_login_of_one_account_does_not_keep_another_waiting(cache: TokenCache, portal: Portal) -> None:
    begun, done = threading.Event(), threading.Event()

    def slow() -> Token:
        begun.set()
        assert done.wait(5)
        return portal.log_in()

    with ThreadPoolExecutor(2) as pool:
        slow_one = pool.submit(cache.get, "slow", slow)
        assert begun.wait(5)
        try:
            assert pool.submit(cache.get, "quick", portal.log_in).result(timeout=5) == "token-1"
        finally:
            done.set()
        assert slow_one.result(timeout=5) == "token-2"


def test_a_login_that_fails_leaves_no_token_and_no_lock(cache: TokenCache, portal: Portal) -> None:
    def refused() -> Token:
        raise PermissionError

    with pytest.raises(PermissionError):
        cache.get("a", refused)
    assert cache.get("a", portal.log_in) == "token-1"


def test_a_token_is_not_shown() -> None:
    assert "geheim" not in repr(Token("geheim", later(hours=1)))
