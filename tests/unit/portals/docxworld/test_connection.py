"""The secret of a connection: what it takes, what it refuses, and that it never shows a value."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from amtsbote.portals.docxworld import PORTAL, DocxworldSecret
from amtsbote.portals.docxworld.connection import ClientCredentials, UserPassword
from amtsbote.portals.portal import Connection, Tools

TECHNICAL = {"kind": "client-credentials", "tokenUrl": "https://auth.example/oauth2/token", "clientId": "c"}


def test_the_contracts_example_is_taken(body: dict[str, Any]) -> None:
    secret = DocxworldSecret.model_validate(body)
    assert isinstance(secret.auth, UserPassword)
    assert secret.downloader is not None
    assert secret.downloader.client_id == "amtsbote-test"


def test_client_credentials_are_the_other_kind(body: dict[str, Any]) -> None:
    auth = TECHNICAL | {"clientSecret": "s", "scopes": ["tower/customer-uploader"]}
    secret = DocxworldSecret.model_validate(body | {"auth": auth})
    assert isinstance(secret.auth, ClientCredentials)
    assert secret.auth.scopes == ("tower/customer-uploader",)


def test_what_is_left_out_has_a_default(body: dict[str, Any]) -> None:
    secret = DocxworldSecret.model_validate(body | {"uploader": {}, "downloader": {"clientId": "x"}})
    assert secret.uploader is not None
    assert secret.uploader.file_size == "plaintext"
    assert (secret.uploader.role, secret.uploader.encryption, secret.uploader.etag_base) == (
        "ROLE_CUSTOMER_UPLOADER",
        "none",
        1,
    )
    assert secret.downloader is not None
    assert secret.downloader.types == ("RESULT", "REPORT")


def test_a_trailing_slash_of_the_address_does_not_matter(body: dict[str, Any]) -> None:
    assert DocxworldSecret.model_validate(body | {"baseUrl": "https://d.example/"}).base_url == "https://d.example"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"baseUrl": "ftp://d.example"}, "baseUrl"),
        ({"auth": {"kind": "magic"}}, "auth"),
        ({"auth": TECHNICAL}, "clientSecret"),
        ({"uploader": {"etagBase": 2}}, "etagBase"),
        ({"uploader": {"encryption": "rot13"}}, "encryption"),
        ({"uploader": {"fileSize": "both"}}, "fileSize"),
        ({"uploader": {"role": "ROLE_KING"}}, "role"),
        ({"downloader": {"clientId": " "}}, "clientId"),
        ({"downloader": {"clientId": "x", "types": ["LETTER"]}}, "types"),
        ({"surprise": 1}, "surprise"),
        ({"uploader": {"etag_base": 0}}, "etag_base"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        DocxworldSecret.model_validate(body | changes)
    assert any(field in map(str, problem["loc"]) for problem in refused.value.errors())


def test_values_are_never_shown(body: dict[str, Any]) -> None:
    secret = DocxworldSecret.model_validate(body)
    assert "geheim" not in repr(secret)
    with pytest.raises(ValidationError) as refused:
        DocxworldSecret.model_validate(body | {"auth": body["auth"] | {"password": ["geheim"]}})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("kind", ["none", "docxworld", "kms"])
@pytest.mark.parametrize("size", ["plaintext", "ciphertext"])
def test_encryption_is_switched_on_by_the_secret(
    connect: Callable[..., Connection], tools: Tools, kind: str, size: str
) -> None:
    assert PORTAL.destination(connect(uploader={"encryption": kind, "fileSize": size}), tools) is not None


def test_a_direction_that_is_left_out_is_off(connect: Callable[..., Connection], tools: Tools) -> None:
    assert PORTAL.destination(connect(uploader=None), tools) is None
    assert PORTAL.source(connect(downloader=None), tools) is None
