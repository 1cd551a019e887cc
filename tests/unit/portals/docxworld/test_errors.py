"""The table of error codes: complete, and its kinds answer "what now"."""

import json

import pytest

from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry, Unavailable
from amtsbote.http import Answer
from amtsbote.portals.docxworld.errors import CODE_PREFIX, MEANINGS, translate
from tests.unit.portals.docxworld.known_codes import KNOWN_CODES


def answer(code: object, status: int = 400, **more: object) -> Answer:
    said = {"messageCode": code, "message": "Frau Muster", "debugMessages": ["Herr Muster", None], **more}
    return Answer("GET", "/v1/uploads/1", status, {}, json.dumps(said).encode())


def error(name: str) -> AmtsboteError:
    said = translate(answer(f"{CODE_PREFIX}upload.error.client.{name}"))
    assert said is not None
    return said


@pytest.mark.parametrize("code", KNOWN_CODES)
def test_every_code_of_the_page_has_a_meaning(code: str) -> None:
    assert translate(answer(code)) is not None


def test_the_table_knows_no_code_that_the_page_does_not_list() -> None:
    assert set(MEANINGS) == {code.rsplit(".", 1)[-1] for code in KNOWN_CODES}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("access_denied", Misconfigured),
        ("technical_access_required", Misconfigured),
        ("unexpected_internal", Retry),
        ("concurrent_modification", Retry),
        ("download_not_exists", Unavailable),
        ("file_not_exists", Unavailable),
        ("no_file_attached", Unavailable),
        ("download_not_available", Unavailable),
        ("download_already_saved", Unavailable),
        ("target_not_exists", Reject),
        ("job_already_exists", Reject),
        ("technical_access_rotation_already_in_progress", Reject),
    ],
)
def test_a_code_says_what_now(name: str, kind: type[AmtsboteError]) -> None:
    assert type(error(name)) is kind


def test_the_code_is_the_portals_own() -> None:
    assert error("target_inactive").code == "TARGET_INACTIVE"


def test_a_token_that_is_denied_is_no_role_that_is_denied() -> None:
    said = translate(answer(f"{CODE_PREFIX}connect.company.error.client.access_denied", 401))
    assert isinstance(said, Misconfigured) and said.code == "UNAUTHORIZED"
    role = translate(answer(f"{CODE_PREFIX}connect.company.error.client.access_denied", 403))
    assert isinstance(role, Misconfigured) and role.code == "ACCESS_DENIED"


def test_the_portals_words_stay_out_of_the_message() -> None:
    said = error("validation")
    assert said.portal_words == "Frau Muster; Herr Muster"
    assert "Muster" not in str(said)


@pytest.mark.parametrize(
    "unknown",
    [
        answer("de.profiforms.docxworld.upload.error.client.something_new"),
        answer("org.example.validation"),
        answer(None),
        answer(17),
        Answer("GET", "/v1/uploads/1", 500, {}, b"<html>"),
        Answer("GET", "/v1/uploads/1", 500, {}, b"[]"),
    ],
)
def test_anything_else_is_left_to_the_status(unknown: Answer) -> None:
    assert translate(unknown) is None
