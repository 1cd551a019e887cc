"""Connections from real secrets (moto's): listed by name, cached, validated, and never a value in an error or a log."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from amtsbote.connections import (
    CACHE_SECONDS,
    SECRETS_PER_CALL,
    SETTLED_AFTER,
    Connections,
    Listed,
    Switch,
    UnknownConnection,
)
from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.portals import portal_named
from amtsbote.portals.portal import AcknowledgePolicy, Portal
from amtsbote.portals.protocols import Source
from tests.unit.support import NOW, Clock, Logged, Recorder, later, refusal

CANARY = "canary-4711-geheim"
DUBA = {"baseUrl": "https://elim.example.com", "username": "amtsbote", "password": CANARY}


@pytest.fixture
def client(secrets: Any) -> Recorder:
    return Recorder(secrets)


@pytest.fixture
def connections(client: Any, clock: Clock) -> Connections:
    return Connections(client, portal_named("duba"), clock)


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


def test_what_a_secret_said_is_believed_for_a_minute(
    connections: Connections, secrets: Any, clock: Clock, name: str
) -> None:
    connect(secrets, name)
    connections.get(name)
    change(secrets, name, username="new")
    clock.forward(seconds=CACHE_SECONDS - 1)
    assert connections.get(name).secret.username == "amtsbote"
    clock.forward(seconds=1)
    assert connections.get(name).secret.username == "new"


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


# --- switched on or off ---

LONG_AGO = NOW - timedelta(days=30)


def switches(connections: Connections, *listed: Listed) -> list[Switch]:
    return list(connections.switches(listed).values())


def test_twenty_secrets_are_asked_for_in_one_call(connections: Connections, secrets: Any, client: Recorder) -> None:
    listed = [Listed(f"k{uuid4().hex}", LONG_AGO) for _ in range(2 * SECRETS_PER_CALL + 1)]
    for number, each in enumerate(listed):
        connect(secrets, each.name, DUBA | {"enabled": number % 2 == 0})
    found = connections.switches(listed)
    assert [found[each] for each in listed] == [number % 2 == 0 for number in range(len(listed))]
    asked = [len(call["SecretIdList"]) for call in client.named("batch_get_secret_value")]
    assert asked == [SECRETS_PER_CALL, SECRETS_PER_CALL, 1]
    assert client.named("get_secret_value") == []


def test_what_a_secret_said_is_known_until_the_list_shows_a_change(
    connections: Connections, secrets: Any, client: Recorder, clock: Clock, name: str
) -> None:
    connect(secrets, name)
    for _ in range(3):
        assert switches(connections, Listed(name, LONG_AGO)) == [True]
        clock.forward(days=1)
    assert len(client.named("batch_get_secret_value")) == 1
    change(secrets, name, enabled=False)
    assert switches(connections, Listed(name, LONG_AGO)) == [True], "the list is behind"
    assert switches(connections, Listed(name, clock())) == [False]


def test_a_secret_that_has_just_changed_is_read_each_time_as_its_list_may_be_behind(
    connections: Connections, secrets: Any, client: Recorder, clock: Clock, name: str
) -> None:
    """Given two changes within one second, and a list that tells seconds."""
    connect(secrets, name)
    just = Listed(name, NOW)
    clock.now = NOW + SETTLED_AFTER - timedelta(seconds=1)
    assert switches(connections, just) == [True]
    change(secrets, name, enabled=False)
    clock.forward(seconds=1)
    assert switches(connections, just) == [False]
    switches(connections, just)
    assert len(client.named("batch_get_secret_value")) == 2, "now it has settled"


def test_a_secret_of_which_nobody_knows_when_it_changed_is_read_each_time(
    connections: Connections, secrets: Any, name: str
) -> None:
    connect(secrets, name)
    assert switches(connections, Listed(name, None)) == [True]
    change(secrets, name, enabled=False)
    assert switches(connections, Listed(name, None)) == [False]


def test_an_invalid_secret_is_told_by_its_field_each_time_and_read_once(
    connections: Connections, secrets: Any, client: Recorder, name: str, logged: Logged
) -> None:
    connect(secrets, name, DUBA | {"acknowledge": CANARY})
    for _ in range(3):
        (said,) = switches(connections, Listed(name, LONG_AGO))
        assert isinstance(said, Misconfigured)
        assert "acknowledge: " in said.message
        assert CANARY not in f"{said!r} {logged()}"
    assert len(client.named("batch_get_secret_value")) == 1


def test_a_secret_that_is_gone_does_not_hide_the_others_and_is_not_remembered(
    connections: Connections, secrets: Any, name: str
) -> None:
    other = f"{name[:20]}-2"
    connect(secrets, other)
    both = (Listed(name, LONG_AGO), Listed(other, LONG_AGO))
    gone, found = switches(connections, *both)
    assert isinstance(gone, UnknownConnection)
    assert found is True
    connect(secrets, name)
    assert switches(connections, *both) == [True, True]


def test_what_is_listed_no_longer_is_forgotten(
    connections: Connections, secrets: Any, client: Recorder, name: str
) -> None:
    connect(secrets, name)
    for listed in ([Listed(name, LONG_AGO)], [], [Listed(name, LONG_AGO)]):
        connections.switches(listed)
    assert len(client.named("batch_get_secret_value")) == 2


def test_no_secret_is_kept(connections: Connections, secrets: Any, name: str) -> None:
    connect(secrets, name)
    switches(connections, Listed(name, LONG_AGO))
    assert CANARY not in str(connections.__dict__)


class InPages:
    """A Secrets Manager that answers one secret a page, and one of them not at all."""

    def __init__(self, bodies: dict[str, str]) -> None:
        self._pages: Iterator[tuple[str, str]] = iter(bodies.items())
        self._left = len(bodies)

    def batch_get_secret_value(self, *, SecretIdList: list[str], NextToken: str = "") -> Any:
        name, body = next(self._pages)
        self._left -= 1
        return {"SecretValues": [{"Name": name, "SecretString": body}], "NextToken": "more" if self._left else ""}


def test_an_answer_in_pages_is_read_to_its_end_and_what_is_missing_comes_later() -> None:
    names = [f"k{number}" for number in range(4)]
    client: Any = InPages({f"amtsbote/duba/{each}": text_of(DUBA) for each in names[:3]})
    connections = Connections(client, portal_named("duba"))
    *found, missing = switches(connections, *(Listed(each, LONG_AGO) for each in names))
    assert found == [True, True, True]
    assert isinstance(missing, Retry)
    assert missing.message == "the secret amtsbote/duba/k3 could not be read: NotAnswered"


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

    def batch_get_secret_value(self, **_: Any) -> None:
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


def test_a_secrets_manager_that_refuses_a_whole_call_is_a_retry_for_each_of_its_connections() -> None:
    client: Any = Refusing(refusal("ThrottlingException"))
    connections = Connections(client, portal_named("duba"))
    for said in switches(connections, Listed("klinikum", LONG_AGO), Listed("gericht", LONG_AGO)):
        assert isinstance(said, Retry)
        assert said.code == "SECRETS_UNREACHABLE"
        assert said.message.endswith("ThrottlingException")
