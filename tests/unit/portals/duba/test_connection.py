"""What a secret may say."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from amtsbote.portals.duba import DubaSecret
from amtsbote.portals.duba.connection import BasicLogin, Direction
from amtsbote.portals.portal import AcknowledgePolicy

SMALLEST = {"baseUrl": "https://elim.example.com", "username": "u", "password": "p"}


def secret(**changes: Any) -> DubaSecret:
    return DubaSecret.model_validate(SMALLEST | changes)


def test_the_smallest_secret_takes_incoming_messages_of_every_mailbox_and_acknowledges_when_stored() -> None:
    smallest = secret()
    assert (smallest.safe_ids, smallest.job_ids, smallest.directions) == ((), (), (Direction.INCOMING,))
    assert smallest.acknowledge is AcknowledgePolicy.STORED
    assert smallest.enabled


def test_the_whole_secret_of_the_contract_is_understood() -> None:
    whole = secret(safeIds=["gov2test"], jobIds=["job-1"], directions=["INCOMING", "OUTGOING"], acknowledge="never")
    assert whole.safe_ids == ("gov2test",)
    assert whole.job_ids == ("job-1",)
    assert whole.directions == (Direction.INCOMING, Direction.OUTGOING)


def test_a_trailing_slash_of_the_address_is_dropped() -> None:
    assert secret(baseUrl="https://elim.example.com/").base_url == "https://elim.example.com"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("baseUrl", "elim.example.com"),
        ("baseUrl", "ftp://elim.example.com"),
        ("baseUrl", "https://geheim:geheim@elim.example.com"),
        ("baseUrl", "https://elim.example.com?geheim=1"),
        ("baseUrl", "https://[geheim"),
        ("username", ""),
        ("username", "geheim:zwei"),
        ("password", ""),
        ("directions", []),
        ("directions", ["geheim"]),
        ("safeIds", ["geheim", ""]),
        ("jobIds", "geheim"),
        ("safeIDs", ["geheim"]),
        ("acknowledge", "geheim"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(field: str, wrong: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        secret(**{field: wrong})
    assert refusal.value.errors()[0]["loc"][0] == field
    assert "geheim" not in str(refusal.value)


def test_a_missing_password_is_named() -> None:
    with pytest.raises(ValidationError, match="password"):
        DubaSecret.model_validate({"baseUrl": "https://elim.example.com", "username": "u"})


def test_the_password_shows_in_no_representation() -> None:
    assert "geheim" not in repr(secret(password="geheim"))


def test_the_login_is_the_one_of_the_guide() -> None:
    login = BasicLogin("username", SecretStr("password"))
    assert login.headers() == {"Authorization": "Basic dXNlcm5hbWU6cGFzc3dvcmQ="}


def test_a_refused_login_is_not_tried_again() -> None:
    assert BasicLogin("username", SecretStr("password")).renew() is False
