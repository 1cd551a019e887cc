"""The login: a signed grant, an exchange, two cached tokens, and what a refusal means."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.http import Transport
from amtsbote.portals.altinn.connection import Maskinporten
from amtsbote.portals.altinn.errors import Undone
from amtsbote.portals.altinn.login import MaskinportenLogin, is_ageing, login_of, token_in
from amtsbote.tokens import TokenCache
from tests.unit.portals.altinn.conftest import LIST, Asked, ScriptedPortal, Secret, page

TOKEN, EXCHANGE = "POST /token", "GET /exchange"
SCOPES = ["altinn:serviceowner/instances.read", "altinn:serviceowner/instances.write"]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> TokenCache:
    return TokenCache(clock)


def altinn_token(clock: Clock, *, seconds: float = 1800, **claims: Any) -> str:
    now = int(clock().timestamp())
    return jwt.encode({"iat": now, "exp": now + seconds, **claims}, "x" * 32, algorithm="HS256")


@pytest.fixture
def maskinporten(portal: ScriptedPortal, clock: Clock) -> None:
    """Answers each grant, and each exchange, with a new token."""
    count = iter(range(100))
    portal.answers(TOKEN, lambda _: {"access_token": f"mp-{next(count)}", "expires_in": 119, "token_type": "Bearer"})
    portal.answers(EXCHANGE, lambda _: json.dumps(altinn_token(clock, jti=next(count))).encode())


def auth_of(portal: ScriptedPortal, **changes: Any) -> Maskinporten:
    body = {
        "clientId": "client-1",
        "keyId": "key-1",
        "privateKey": pem(KEY),
        "scopes": SCOPES,
        "tokenUrl": f"{portal.url}/token",
        "audience": "https://maskinporten.example/",
        "exchangeUrl": f"{portal.url}/exchange",
    }
    return Maskinporten.model_validate(body | changes)


Login = Callable[..., MaskinportenLogin]


@pytest.fixture
def login(portal: ScriptedPortal, transport: Transport, tokens: TokenCache, clock: Clock) -> Login:
    def made(**changes: Any) -> MaskinportenLogin:
        return MaskinportenLogin(auth_of(portal, **changes), transport, tokens, clock)

    return made


def form_of(request: Asked) -> dict[str, str]:
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


def signed(request: Asked) -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(
        form_of(request)["assertion"],
        KEY.public_key(),
        algorithms=["RS256"],
        audience="https://maskinporten.example/",
        options=options,
    )
    return claims


# the grant


@pytest.mark.usefixtures("maskinporten")
def test_the_grant_is_signed_and_says_who_asks_for_what(login: Login, portal: ScriptedPortal, clock: Clock) -> None:
    login().headers()
    (asked,) = portal.requests(TOKEN)
    claims = signed(asked)
    assert form_of(asked)["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert jwt.get_unverified_header(form_of(asked)["assertion"]) == {"alg": "RS256", "kid": "key-1", "typ": "JWT"}
    assert (claims["iss"], claims["scope"], claims["iat"]) == ("client-1", " ".join(SCOPES), clock().timestamp())
    assert 0 < claims["exp"] - claims["iat"] <= 120
    assert set(claims) == {"aud", "iss", "scope", "iat", "exp", "jti"}, "unknown claims are refused"


@pytest.mark.usefixtures("maskinporten")
def test_each_grant_has_an_id_of_its_own(login: Login, portal: ScriptedPortal, clock: Clock) -> None:
    login().headers()
    clock.passes(hours=1)
    login().headers()
    first, second = portal.requests(TOKEN)
    assert signed(first)["jti"] != signed(second)["jti"]


@pytest.mark.parametrize(
    "key", ["not a key", pem(ec.generate_private_key(ec.SECP256R1())), "-----BEGIN PRIVATE KEY-----\nAAAA\n"]
)
def test_a_key_that_cannot_sign_is_a_mistake_in_the_secret(login: Login, portal: ScriptedPortal, key: str) -> None:
    with pytest.raises(Misconfigured, match=r"auth\.privateKey"):
        login(privateKey=key).headers()
    assert portal.asked == []


# the exchange


@pytest.mark.parametrize("shape", ["{}", '"{}"', ' "{}"\n'])
def test_the_exchanged_token_is_taken_bare_or_quoted(
    login: Login, portal: ScriptedPortal, clock: Clock, shape: str
) -> None:
    token = altinn_token(clock)
    portal.answers(TOKEN, {"access_token": "mp", "expires_in": 119})
    portal.answers(EXCHANGE, shape.format(token).encode())
    assert login().headers() == {"Authorization": f"Bearer {token}"}
    assert portal.requests(EXCHANGE)[0].headers["Authorization"] == "Bearer mp"


@pytest.mark.parametrize("answer", [b"", b"<html>maintenance</html>", b'{"token": "x"}', b"a" * 70_000])
def test_an_exchange_that_answers_no_token_is_tried_later(login: Login, portal: ScriptedPortal, answer: bytes) -> None:
    portal.answers(TOKEN, {"access_token": "mp"})
    portal.answers(EXCHANGE, answer)
    with pytest.raises(Retry, match="LOGIN_UNAVAILABLE"):
        login().headers()


def test_a_refused_grant_is_bought_anew_once(login: Login, portal: ScriptedPortal, clock: Clock) -> None:
    portal.answers(TOKEN, {"access_token": "revoked", "expires_in": 119})
    portal.answers(TOKEN, {"access_token": "good", "expires_in": 119})
    portal.answers(EXCHANGE, b"", status=401)
    portal.answers(EXCHANGE, altinn_token(clock).encode())
    login().headers()
    bearers = [asked.headers["Authorization"] for asked in portal.requests(EXCHANGE)]
    assert bearers == ["Bearer revoked", "Bearer good"]


# the cache


@pytest.mark.usefixtures("maskinporten")
def test_both_tokens_are_kept(login: Login, portal: ScriptedPortal) -> None:
    assert login().headers() == login().headers()
    assert portal.routes() == [TOKEN, EXCHANGE]


@pytest.mark.usefixtures("maskinporten")
def test_a_token_is_replaced_shortly_before_its_end(login: Login, portal: ScriptedPortal, clock: Clock) -> None:
    before = login().headers()
    clock.passes(minutes=28)
    assert login().headers() == before
    clock.passes(minutes=1, seconds=30)
    assert login().headers() != before


@pytest.mark.parametrize("change", [{"keyId": "key-2"}, {"scopes": SCOPES[:1]}, {"clientId": "client-2"}])
@pytest.mark.usefixtures("maskinporten")
def test_a_changed_secret_logs_in_anew(login: Login, portal: ScriptedPortal, change: dict[str, Any]) -> None:
    login().headers()
    login(**change).headers()
    assert portal.routes() == [TOKEN, EXCHANGE] * 2


@pytest.mark.usefixtures("maskinporten")
def test_a_changed_key_logs_in_anew(login: Login, portal: ScriptedPortal) -> None:
    login().headers()
    login(privateKey=pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))).headers()
    assert portal.routes() == [TOKEN, EXCHANGE] * 2


@pytest.mark.parametrize(("minutes", "asked"), [(19, 1), (21, 2)])
@pytest.mark.usefixtures("maskinporten")
def test_a_long_batch_begins_with_a_token_that_lasts(
    login: Login, portal: ScriptedPortal, clock: Clock, minutes: int, asked: int
) -> None:
    login().headers()
    clock.passes(minutes=minutes)
    login().freshen()
    assert len(portal.requests(EXCHANGE)) == asked


def test_a_token_that_hides_its_life_is_kept_for_some_minutes(
    login: Login, portal: ScriptedPortal, clock: Clock
) -> None:
    portal.answers(TOKEN, {"access_token": "mp"})
    portal.answers(EXCHANGE, b"opaque")
    login().headers()
    clock.passes(minutes=3)
    login().freshen()
    assert len(portal.requests(EXCHANGE)) == 1
    clock.passes(minutes=2)
    login().headers()
    assert len(portal.requests(EXCHANGE)) == 2


def test_a_short_lived_token_serves_more_than_one_call(login: Login, portal: ScriptedPortal, clock: Clock) -> None:
    portal.answers(TOKEN, {"access_token": "mp", "expires_in": 30})
    portal.answers(EXCHANGE, lambda _: altinn_token(clock, seconds=30).encode())
    login().headers()
    clock.passes(seconds=10)
    login().headers()
    assert portal.routes() == [TOKEN, EXCHANGE]


# a 401 of the portal


@pytest.fixture
def connected(secret: Secret, portal: ScriptedPortal, transport: Transport, tokens: TokenCache, clock: Clock) -> Any:
    from amtsbote.portals.altinn import AltinnClient

    account = secret(auth=auth_of(portal).model_dump(by_alias=True) | {"privateKey": pem(KEY)})
    return AltinnClient.of(account, transport=transport, tokens=tokens, clock=clock)


@pytest.mark.usefixtures("maskinporten")
def test_a_401_renews_the_token_once(connected: Any, portal: ScriptedPortal) -> None:
    portal.answers(LIST, b"", status=401)
    portal.answers(LIST, page())
    assert list(connected.storage.instances(_everything())) == []
    first, second = (asked.headers["Authorization"] for asked in portal.requests(LIST))
    assert first != second


@pytest.mark.usefixtures("maskinporten")
def test_a_second_401_is_a_wrong_connection(connected: Any, portal: ScriptedPortal) -> None:
    portal.answers(LIST, b"", status=401)
    with pytest.raises(Misconfigured, match="LOGIN_REFUSED"):
        list(connected.storage.instances(_everything()))
    assert len(portal.requests(LIST)) == 2


def test_a_bearer_token_is_not_renewed(
    secret: Secret, portal: ScriptedPortal, transport: Transport, tokens: TokenCache
) -> None:
    login = login_of(secret().auth, transport, tokens, lambda: datetime.now(UTC))
    login.freshen()
    assert login.headers() == {"Authorization": "Bearer test-token"}
    assert not login.renew()


# refusals


@pytest.mark.parametrize(
    ("error", "field"),
    [
        ("invalid_client", "auth.clientId"),
        ("invalid_grant", "auth.privateKey"),
        ("invalid_scope", "auth.scopes"),
        ("something_new", "auth.audience"),
    ],
)
def test_a_refused_grant_names_what_to_check(login: Login, portal: ScriptedPortal, error: str, field: str) -> None:
    portal.answers(TOKEN, {"error": error, "error_description": "Invalid assertion (trace: 1)"}, status=400)
    with pytest.raises(Misconfigured) as refusal:
        login().headers()
    assert refusal.value.code == "LOGIN_REFUSED"
    assert error in refusal.value.message and field in refusal.value.message
    assert "Invalid assertion" in (refusal.value.portal_words or "")
    assert "Invalid assertion" not in str(refusal.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_token_service_is_asked_later(login: Login, portal: ScriptedPortal, status: int) -> None:
    portal.answers(TOKEN, b"busy", status=status, headers={"Retry-After": "7"} if status == 429 else {})
    with pytest.raises(Undone) as refusal:
        login().headers()
    assert refusal.value.after_seconds == (7 if status == 429 else None)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Misconfigured), (403, Misconfigured), (410, Misconfigured), (429, Retry), (500, Retry)]
)
def test_a_refused_exchange(login: Login, portal: ScriptedPortal, status: int, kind: type[AmtsboteError]) -> None:
    portal.answers(TOKEN, {"access_token": "mp", "expires_in": 119})
    portal.answers(EXCHANGE, b"", status=status)
    with pytest.raises(kind, match="exchange"):
        login().headers()


def test_a_grant_without_a_token_is_tried_later(login: Login, portal: ScriptedPortal) -> None:
    portal.answers(TOKEN, ["no token"])
    with pytest.raises(Retry, match="LOGIN_UNAVAILABLE"):
        login().headers()


# small things


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a..c", "a.W10.c", ""])
def test_a_token_that_says_nothing_is_not_ageing(token: str) -> None:
    assert not is_ageing(token, datetime.now(UTC))


@pytest.mark.parametrize(("body", "token"), [(b'"abc"', "abc"), (b"abc", "abc"), (b'"', '"'), (b"", "")])
def test_quotes_around_a_token_are_taken_off(body: bytes, token: str) -> None:
    assert token_in(body) == token


def _everything() -> Any:
    from amtsbote.portals.altinn.queries import InstanceQuery

    return InstanceQuery(app_id="org/app")
