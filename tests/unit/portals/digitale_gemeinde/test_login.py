"""The API key buys a JWT that is used until shortly before its end, and is renewed once when it is refused."""

import json
from datetime import timedelta

import pytest

from amtsbote.errors import Misconfigured, Retry
from amtsbote.portals.digitale_gemeinde import DigitaleGemeindeClient
from amtsbote.portals.digitale_gemeinde.login import end_of, token_in
from tests.unit.portals.digitale_gemeinde.conftest import FORM, NOW, Clock, Document, TinyPortal, jwt


def test_one_token_serves_many_calls(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    for _ in range(3):
        client.count()
    assert portal.names == ["token", "count", "count", "count"]


def test_the_key_goes_to_the_token_route_only(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    client.count()
    assert "Ocp-Apim-Subscription-Key" not in portal.calls("count")[0].headers


def test_a_token_is_renewed_shortly_before_it_ends(
    client: DigitaleGemeindeClient, portal: TinyPortal, clock: Clock
) -> None:
    client.count()
    clock.now += timedelta(minutes=59, seconds=30)
    client.count()
    assert len(portal.calls("token")) == 2


def test_a_token_that_lives_shorter_than_the_margin_still_serves_for_half_of_its_life(
    client: DigitaleGemeindeClient, portal: TinyPortal, clock: Clock
) -> None:
    portal.lifetime = timedelta(seconds=40)
    client.count()
    clock.now += timedelta(seconds=19)
    client.count()
    assert len(portal.calls("token")) == 1
    clock.now += timedelta(seconds=2)
    client.count()
    assert len(portal.calls("token")) == 2


def test_a_token_that_does_not_say_when_it_ends_is_kept_for_a_few_minutes(
    client: DigitaleGemeindeClient, portal: TinyPortal, clock: Clock
) -> None:
    portal.tokens.append("opaque")
    portal.answers("token", "opaque")
    client.count()
    clock.now += timedelta(minutes=3)
    client.count()
    assert len(portal.calls("token")) == 1
    clock.now += timedelta(minutes=2)
    client.count()
    assert len(portal.calls("token")) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_renewed_once(client: DigitaleGemeindeClient, portal: TinyPortal, status: int) -> None:
    portal.answers("count", {}, status)
    assert client.count() == []
    assert portal.names == ["token", "count", "token", "count"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_refused_at_the_details_is_renewed_once(
    client: DigitaleGemeindeClient, portal: TinyPortal, status: int
) -> None:
    portal.has(Document("d1", FORM))
    portal.answers("details", {}, status)
    assert client.details(FORM, "d1").status == "Neu"
    assert portal.names == ["token", "details", "token", "details"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_whose_new_token_is_refused_too_is_misconfigured(
    client: DigitaleGemeindeClient, portal: TinyPortal, status: int
) -> None:
    portal.answers("count", {"title": "Frau Muster"}, status, times=9)
    with pytest.raises(Misconfigured, match="apiKey") as refusal:
        client.count()
    assert portal.names == ["token", "count", "token", "count"]
    assert "Muster" not in str(refusal.value)


def test_a_refused_key_is_misconfigured_and_not_shown(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.answers("token", {}, 403)
    with pytest.raises(Misconfigured, match="apiKey") as refusal:
        client.count()
    assert "key-of-the-tenant" not in str(refusal.value)
    assert portal.names == ["token"]


def test_a_busy_token_route_is_waited_for_as_long_as_it_says(
    client: DigitaleGemeindeClient, portal: TinyPortal
) -> None:
    portal.answers("token", {}, 429, Retry_After="77")
    with pytest.raises(Retry) as wait:
        client.count()
    assert wait.value.after_seconds == 77


def test_a_page_instead_of_a_token_is_an_outage(client: DigitaleGemeindeClient, portal: TinyPortal) -> None:
    portal.answers("token", b"<html>Wartung</html>")
    with pytest.raises(Retry, match="LOGIN_UNAVAILABLE"):
        client.count()


@pytest.mark.parametrize("name", ["token", "accessToken", "access_token"])
def test_a_token_is_found_in_each_known_field(name: str) -> None:
    assert token_in(json.dumps({"expiresIn": 1, name: "a.b.c"}).encode()) == "a.b.c"


@pytest.mark.parametrize("body", [b"a.b.c", b' "a.b.c"\n', b"\xef\xbb\xbfa.b.c"])
def test_a_token_may_be_bare_or_quoted(body: bytes) -> None:
    assert token_in(body) == "a.b.c"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token": 7}', b"<html>", b"a b", b'"a\\r\\nX: y"', b"a" * 20_000])
def test_what_cannot_go_into_a_header_is_no_token(body: bytes) -> None:
    assert token_in(body) is None


def test_the_end_is_read_without_checking_the_signature() -> None:
    assert end_of(jwt(NOW)) == NOW.timestamp()


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "a.e30.c", "a." + "A" * 20_000 + ".c", "a.W10.c", "a.MTI.c"])
def test_an_unreadable_end_is_none(token: str) -> None:
    assert end_of(token) is None
