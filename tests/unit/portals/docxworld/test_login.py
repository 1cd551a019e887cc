"""Both logins: what is asked, how long a token is used, and what a refusal means."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Retry
from amtsbote.portals.docxworld import DocxworldClient
from amtsbote.portals.portal import Connection, Tools
from tests.unit.portals.docxworld.conftest import Clock
from tests.unit.portals.docxworld.server import Reply, Server, page

COGNITO, TOKEN = "/cognito/", "/oauth2/token"


@pytest.fixture
def client(server: Server, connection: Connection, tools: Tools) -> DocxworldClient:
    server.on("GET", "/v1/downloads", page([]))
    return client_of(connection, tools)


def client_of(connection: Connection, tools: Tools) -> DocxworldClient:
    secret = connection.secret
    return DocxworldClient.of(
        secret.base_url, secret.auth, transport=tools.transport, tokens=tools.tokens, clock=tools.clock
    )


@pytest.fixture
def technical(server: Server, connect: Callable[..., Connection], tools: Tools) -> Callable[..., DocxworldClient]:
    server.on("GET", "/v1/downloads", page([]))
    server.on("POST", TOKEN, Reply(body={"access_token": "machine", "expires_in": 3600, "token_type": "Bearer"}))

    def make(*scopes: str, secret: str = "s3cret") -> DocxworldClient:
        auth = {"kind": "client-credentials", "tokenUrl": server.url + TOKEN, "clientId": "c", "clientSecret": secret}
        return client_of(connect(auth=auth | {"scopes": list(scopes)}), tools)

    return make


def tokens_used(server: Server) -> list[str]:
    return [request.headers["authorization"] for request in server.sent("GET", "/v1/downloads")]


def test_a_password_is_given_to_cognito_as_the_page_shows(server: Server, client: DocxworldClient) -> None:
    client.downloads.page()
    (asked,) = server.sent("POST", COGNITO)
    assert asked.headers["content-type"] == "application/x-amz-json-1.1"
    assert asked.headers["x-amz-target"] == "AWSCognitoIdentityProviderService.InitiateAuth"
    assert asked.json == {
        "AuthParameters": {"USERNAME": "amtsbote@example.org", "PASSWORD": "geheim"},
        "AuthFlow": "USER_PASSWORD_AUTH",
        "ClientId": "app",
    }
    assert tokens_used(server) == ["Bearer jwt"]


def test_a_token_is_used_until_shortly_before_its_end(server: Server, client: DocxworldClient, clock: Clock) -> None:
    client.downloads.page()
    clock.forward(seconds=3500)
    client.downloads.page()
    assert len(server.sent("POST", COGNITO)) == 1
    clock.forward(seconds=50)
    client.downloads.page()
    assert len(server.sent("POST", COGNITO)) == 2


def test_a_token_that_the_portal_refuses_is_replaced_once(server: Server, client: DocxworldClient) -> None:
    first, second = ({"AuthenticationResult": {"AccessToken": name, "ExpiresIn": 3600}} for name in ("old", "new"))
    server.on("POST", COGNITO, Reply(body=first), Reply(body=second))
    server.on("GET", "/v1/downloads", Reply(401, {}), page([]))
    client.downloads.page()
    assert tokens_used(server) == ["Bearer old", "Bearer new"]


def test_a_portal_that_refuses_every_token_is_a_wrong_connection(server: Server, client: DocxworldClient) -> None:
    server.on("GET", "/v1/downloads", Reply(401, {}))
    with pytest.raises(Misconfigured):
        client.downloads.page()
    assert len(tokens_used(server)) == 2


def test_a_changed_password_is_tried_at_once(
    server: Server, client: DocxworldClient, connect: Callable[..., Connection], body: dict[str, Any], tools: Tools
) -> None:
    client.downloads.page()
    changed = connect(auth=body["auth"] | {"password": "neu"})
    client_of(changed, tools).downloads.page()
    assert [request.json["AuthParameters"]["PASSWORD"] for request in server.sent("POST", COGNITO)] == ["geheim", "neu"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"__type": "NotAuthorizedException", "message": "Incorrect username or password."}),
        Reply(400, {"__type": "com.amazonaws#UserNotFoundException"}),
        Reply(400, {"__type": "ResourceNotFoundException"}),
        Reply(200, {"ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": "x"}),
    ],
)
def test_a_refused_password_is_a_wrong_connection(server: Server, client: DocxworldClient, reply: Reply) -> None:
    server.on("POST", COGNITO, reply)
    with pytest.raises(Misconfigured) as refused:
        client.downloads.page()
    assert "amtsbote@example.org" not in refused.value.message


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"__type": "TooManyRequestsException"}),
        Reply(400, {}, headers={"x-amzn-ErrorType": "TooManyRequestsException:http://internal"}),
        Reply(429, {}),
        Reply(500, {"__type": "InternalErrorException"}),
        Reply(503, b"<html>maintenance</html>"),
        Reply(200, b"<html>maintenance</html>"),
        Reply(200, {}),
    ],
)
def test_a_busy_token_service_is_waited_for(server: Server, client: DocxworldClient, reply: Reply) -> None:
    server.on("POST", COGNITO, reply)
    with pytest.raises(Retry):
        client.downloads.page()


def test_the_wait_that_the_token_service_asks_for_is_kept(server: Server, client: DocxworldClient) -> None:
    server.on("POST", COGNITO, Reply(429, {}, headers={"Retry-After": "17"}))
    with pytest.raises(Retry) as asked:
        client.downloads.page()
    assert asked.value.after_seconds == 17


def test_client_credentials_go_into_a_basic_header(server: Server, technical: Callable[..., DocxworldClient]) -> None:
    technical("tower/one", "tower/two").downloads.page()
    (asked,) = server.sent("POST", TOKEN)
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"c:s3cret").decode()
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.body == b"grant_type=client_credentials&scope=tower%2Fone+tower%2Ftwo"
    assert tokens_used(server) == ["Bearer machine"]


def test_without_scopes_none_are_sent(server: Server, technical: Callable[..., DocxworldClient]) -> None:
    technical().downloads.page()
    assert server.sent("POST", TOKEN)[0].body == b"grant_type=client_credentials"


def test_a_wrong_client_secret_is_a_wrong_connection(server: Server, technical: Callable[..., DocxworldClient]) -> None:
    server.on("POST", TOKEN, Reply(400, {"error": "invalid_client"}))
    with pytest.raises(Misconfigured, match="invalid_client"):
        technical().downloads.page()


def test_a_token_without_a_lifetime_is_used_for_a_short_time(
    server: Server, technical: Callable[..., DocxworldClient], clock: Clock
) -> None:
    server.on("POST", TOKEN, Reply(body={"access_token": "machine"}))
    client = technical()
    client.downloads.page()
    clock.forward(minutes=5)
    client.downloads.page()
    assert len(server.sent("POST", TOKEN)) == 2
