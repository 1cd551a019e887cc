"""Connections from real secrets (moto's): listed by name, cached, validated, and never a value in an error or a log."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from amtsbote.connections import Connections, UnknownConnection
from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.portals import portal_named
from amtsbote.portals.portal import AcknowledgePolicy, Portal
from amtsbote.portals.protocols import Source
from tests.unit.support import Logged, Recorder, later, refusal

CANARY = "canary-4711-geheim"
DUBA = {"baseUrl": "https://elim.example.com", "username": "amtsbote", "password": CANARY}


@pytest.fixture
def client(secrets: Any) -> Recorder:
    return Recorder(secrets)


@pytest.fixture
def connections(client: Any) -> Connections:
    return Connections(client, portal_named("duba"))


@pytest.fixture
def name() -> str:
    return f"k{uuid4().hex}"


def connect(secrets: Any, name: str, body: Any = DUBA, portal: str = "duba") -> None:
    content = {"SecretBinary": body} if isinstance(body, bytes) else {"SecretString": text_of(body)}
    secrets.create_secret(Name=f"amtsbote/{portal}/{name}", **content)


def change(secrets: Any, name: str, **changes: Any) -> None:
    secrets.put_secret_value(SecretId=f"amtsbote/duba/{name}", SecretString=text_of(DUBA | changes))


def text_of(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def without_direction(*_: object) -> Source | None:
    return None


# --- listing ---


def test_connections_are_listed_by_the_names_of_their_secrets(secrets: Any) -> None:
    portal = Portal(f"p{uuid4().hex}", portal_named("duba").secret, without_direction, lambda *_: None)
    fitting = ["klinikum", "0", "a-b", "k" * 40]
    for each in [*fitting, "Klinikum", "-k", "a_b", "k" * 41, "a/b"]:
        connect(secrets, each, portal=portal.name)
    connect(secrets, "other", portal=portal.name + "x")
    secrets.create_secret(Name=f"amtsbote-admin/{portal.name}/klinikum", SecretString="{}")
    listed = list(Connections(secrets, portal).listed())
    assert sorted(each.name for each in listed) == sorted(fitting)
    assert all(isinstance(each.changed_at, datetime) and each.changed_at.tzinfo for each in listed)


def test_more_connections_than_a_page_holds_are_all_listed(secrets: Any) -> None:
    portal = Portal(f"p{uuid4().hex}", portal_named("duba").secret, without_direction, lambda *_: None)
    for number in range(105):
        connect(secrets, f"k{number}", portal=portal.name)
    assert len(list(Connections(secrets, portal).listed())) == 105


# --- reading ---


def test_a_connection_is_read_from_its_secret(connections: Connections, secrets: Any, name: str) -> None:
    connect(secrets, name, DUBA | {"acknowledge": "processed", "enabled": False})
    connection = connections.get(name)
    assert (connection.portal, connection.name, connection.prefix) == ("duba", name, f"duba/{name}")
    assert (connection.secret.acknowledge, connection.secret.enabled) == (AcknowledgePolicy.PROCESSED, False)
    assert connection.secret.base_url == "https://elim.example.com"


def test_by_default_a_connection_is_on_and_acknowledges_what_is_stored(
    connections: Connections, secrets: Any, name: str
) -> None:
    connect(secrets, name)
    secret = connections.get(name).secret
    assert (secret.enabled, secret.acknowledge) == (True, AcknowledgePolicy.STORED)


def test_a_connection_shows_no_password(connections: Connections, secrets: Any, name: str) -> None:
    connect(secrets, name)
    assert CANARY not in repr(connections.get(name))


def test_a_secret_is_read_once_while_nothing_says_that_it_changed(
    connections: Connections, secrets: Any, client: Recorder, name: str
) -> None:
    connect(secrets, name)
    for changed_at in (later(), later(), None):
        connections.get(name, changed_at=changed_at)
    assert len(client.named("get_secret_value")) == 1


def test_a_secret_known_to_have_changed_is_read_afresh(connections: Connections, secrets: Any, name: str) -> None:
    connect(secrets, name)
    connections.get(name, changed_at=later())
    change(secrets, name, username="new")
    assert connections.get(name, changed_at=later()).secret.username == "amtsbote"
    assert connections.get(name, changed_at=later(seconds=1)).secret.username == "new"


def test_a_secret_asked_for_afresh_is_read_afresh(connections: Connections, secrets: Any, name: str) -> None:
    connect(secrets, name)
    connections.get(name)
    change(secrets, name, username="new")
    assert connections.get(name).secret.username == "amtsbote"
    assert connections.get(name, fresh=True).secret.username == "new"


def test_a_mended_secret_is_believed_as_soon_as_its_change_is_known(
    connections: Connections, secrets: Any, name: str
) -> None:
    connect(secrets, name, DUBA | {"acknowledge": "sometimes"})
    with pytest.raises(Misconfigured):
        connections.get(name, changed_at=later())
    change(secrets, name)
    assert connections.get(name, changed_at=datetime.now(UTC)).secret.username == "amtsbote"


# --- what is wrong ---


def complaint(secrets: Any, name: str, body: Any, portal: str = "duba") -> str:
    connect(secrets, name, body, portal)
    with pytest.raises(Misconfigured) as raised:
        Connections(secrets, portal_named(portal)).get(name)
    error = raised.value
    assert error.code == "SECRET_INVALID"
    assert f"amtsbote/{portal}/{name}" in error.message
    assert error.__suppress_context__
    return f"{error} {error!r} {error.args}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"baseUrl": f"ftp://{CANARY}"}, "baseUrl"),
        ({"baseUrl": f"https://[{CANARY}]/"}, "baseUrl"),
        ({"baseUrl": None}, "baseUrl"),
        ({"username": f"a:{CANARY}"}, "username"),
        ({"password": {"x": CANARY}}, "password"),
        ({"password": ""}, "password"),
        ({"acknowledge": CANARY}, "acknowledge"),
        ({"enabled": CANARY}, "enabled"),
        ({"directions": ["INCOMING", CANARY]}, "directions.1"),
        ({"safeIds": CANARY}, "safeIds"),
        ({"userName": CANARY}, "userName"),
        ({"base_url": CANARY}, "base_url"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_never_shown(
    secrets: Any, name: str, logged: Logged, changes: dict[str, Any], field: str
) -> None:
    said = complaint(secrets, name, DUBA | changes)
    assert f"{field}: " in said
    assert CANARY not in said + logged()


def test_a_wrong_kind_of_login_is_answered_with_the_known_kinds(secrets: Any, name: str) -> None:
    body = {"baseUrl": "https://x.example", "auth": {"kind": CANARY, "password": CANARY}}
    said = complaint(secrets, name, body, "docxworld")
    assert "auth: must be one of 'user-password', 'client-credentials'" in said
    assert CANARY not in said


@pytest.mark.parametrize("missing", ["baseUrl", "username", "password"])
def test_a_missing_field_is_named(secrets: Any, name: str, missing: str) -> None:
    said = complaint(secrets, name, {key: value for key, value in DUBA.items() if key != missing})
    assert f"{missing}: Field required" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    "body",
    [CANARY, f'{{"password": "{CANARY}"', "[" * 20_000, b"\xff\xfe" + CANARY.encode()],
    ids=["text", "cut", "deep", "binary"],
)
def test_a_secret_that_is_no_json_is_named_and_its_content_never_shown(secrets: Any, name: str, body: Any) -> None:
    said = complaint(secrets, name, body)
    assert "is no JSON" in said
    assert CANARY not in said


@pytest.mark.parametrize("body", [[CANARY], CANARY, 17, None])
def test_a_secret_that_is_no_object_is_wrong_as_a_whole(secrets: Any, name: str, body: Any) -> None:
    said = complaint(secrets, name, json.dumps(body))
    assert "body: " in said
    assert CANARY not in said


def test_no_more_than_five_mistakes_are_named(secrets: Any, name: str) -> None:
    assert complaint(secrets, name, DUBA | {f"x{number}": 1 for number in range(20)}).count("Extra inputs") == 3 * 5


def test_a_secret_kept_as_bytes_is_read_too(connections: Connections, secrets: Any, name: str) -> None:
    connect(secrets, name, json.dumps(DUBA).encode())
    assert connections.get(name).secret.username == "amtsbote"


def test_a_connection_without_secret_is_unknown(connections: Connections, name: str) -> None:
    with pytest.raises(UnknownConnection, match=f"there is no secret amtsbote/duba/{name}; create it"):
        connections.get(name)


def test_a_connection_whose_secret_is_marked_for_deletion_is_unknown(
    connections: Connections, secrets: Any, name: str
) -> None:
    connect(secrets, name)
    connections.get(name)
    secrets.delete_secret(SecretId=f"amtsbote/duba/{name}", RecoveryWindowInDays=7)
    with pytest.raises(UnknownConnection):
        connections.get(name, fresh=True)


class Refusing:
    """A Secrets Manager that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_secret_value(self, **_: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusal("ThrottlingException"), "ThrottlingException"),
        (refusal("AccessDeniedException"), "AccessDeniedException"),
        (TimeoutError(CANARY), "Unknown"),
    ],
)
def test_a_secrets_manager_that_does_not_answer_is_a_retry(error: Exception, code: str) -> None:
    client: Any = Refusing(error)
    with pytest.raises(Retry, match=f"SECRETS_UNREACHABLE.*amtsbote/duba/klinikum could not be read: {code}") as raised:
        Connections(client, portal_named("duba")).get("klinikum")
    said: AmtsboteError = raised.value
    assert CANARY not in str(said)
    assert "geheim" not in str(said)
