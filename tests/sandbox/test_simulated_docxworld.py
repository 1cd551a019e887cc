"""The simulated docxworld against the portal's page: what it accepts, what it refuses, what it remembers."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sandbox.portals.docxworld import (
    Account,
    Content,
    Readiness,
    SimulatedDocxworld,
    Step,
    Target,
    UploadOptions,
)
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.sandbox.client import Answer, ask, basic

START = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
MIB = 1024 * 1024
PART = 5 * MIB
JSON = "application/json"
COGNITO_JSON = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded"
USER, PASSWORD = "user@example.com", "päss:word"
UPLOADER, APPROVER, ADMIN = "ROLE_CUSTOMER_UPLOADER", "ROLE_CUSTOMER_APPROVER", "ROLE_CUSTOMER_ADMIN"
RESULTS, REPORTS = "ROLE_CUSTOMER_DOWNLOADER_RESULTS", "ROLE_CUSTOMER_DOWNLOADER_REPORTS"
UPLOAD_ERROR = "de.profiforms.docxworld.upload.error"
DOWNLOAD_ERROR = "de.profiforms.docxworld.connect.download.error"
COMPANY_ERROR = "de.profiforms.docxworld.connect.company.error"


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Caller:
    """A client with a token, acting in one role."""

    port: int
    token: str | None
    role: str | None = UPLOADER

    def acting_as(self, role: str | None) -> Caller:
        return replace(self, role=role)

    def asks(self, method: str, path: str, document: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.role:
            sent["X-PF-DWC-Requester-Role"] = self.role
        if document is not None:
            sent["Content-Type"] = f"{JSON};charset=UTF8"
        body = None if document is None else json.dumps(document).encode()
        return ask(self.port, method, path, body=body, headers={**sent, **(headers or {})})

    def gets(self, path: str) -> Any:
        answer = self.asks("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    def lists(self, path: str) -> list[Any]:
        content: list[Any] = self.gets(path)["content"]
        return content


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def portal(clock: Clock) -> Iterator[SimulatedDocxworld]:
    options = UploadOptions(chunk_threshold_bytes=10 * MIB)
    simulated = SimulatedDocxworld(clock=clock, options=options, token_seconds=3600)
    with serve(simulated):
        yield simulated
    simulated.close()


@pytest.fixture
def user(portal: SimulatedDocxworld) -> Account:
    return portal.add_user(USER, PASSWORD)


@pytest.fixture
def caller(portal: SimulatedDocxworld, user: Account) -> Caller:
    return Caller(port_of(portal), logs_in(portal).json()["AuthenticationResult"]["AccessToken"])


@pytest.fixture
def technical(portal: SimulatedDocxworld) -> Caller:
    portal.add_technical_access("client-1", "secret-1", {UPLOADER, RESULTS})
    return Caller(port_of(portal), asks_for_token(portal).json()["access_token"])


@pytest.fixture
def target(portal: SimulatedDocxworld) -> Target:
    return portal.add_target("Briefe", "W1")


def port_of(portal: SimulatedDocxworld) -> int:
    port = urlsplit(portal.base_url).port
    assert port is not None
    return port


def logs_in(portal: SimulatedDocxworld, headers: Mapping[str, str] | None = None, **changes: Any) -> Answer:
    body = {
        "AuthFlow": "USER_PASSWORD_AUTH",
        "ClientId": portal.app_client_id,
        "AuthParameters": {"USERNAME": USER, "PASSWORD": PASSWORD},
        **changes,
    }
    sent = {"Content-Type": COGNITO_JSON, "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth"}
    path = urlsplit(portal.cognito_url).path
    return ask(port_of(portal), "POST", path, body=json.dumps(body).encode(), headers={**sent, **(headers or {})})


def asks_for_token(
    portal: SimulatedDocxworld,
    client: tuple[str, str] = ("client-1", "secret-1"),
    headers: Mapping[str, str] | None = None,
    **form: str,
) -> Answer:
    body = urlencode({"grant_type": "client_credentials", **form}).encode()
    sent = {"Authorization": basic(*client), "Content-Type": FORM, **(headers or {})}
    return ask(port_of(portal), "POST", urlsplit(portal.token_url).path, body=body, headers=sent)


def upload_request(target: Target, content: bytes = b"", **changes: Any) -> dict[str, Any]:
    return {
        "supportedUploadFeatures": ["MULTIPART"],
        "targetId": target.id,
        "referenceId": "ref-1",
        "fileName": "Bescheid Müller.pdf",
        "fileSize": len(content),
        "priority": "NORMAL",
        **changes,
    }


def opens(caller: Caller, target: Target, content: bytes = b"", **changes: Any) -> dict[str, Any]:
    answer = caller.asks("PUT", "/v1/uploads", upload_request(target, content, **changes))
    assert answer.status == 200, answer.body
    opened: dict[str, Any] = answer.json()
    return opened


def fetch(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    parts = urlsplit(url)
    assert parts.port is not None
    return ask(parts.port, method, f"{parts.path}?{parts.query}", body=body, headers=headers)


def puts(opened: Mapping[str, Any], content: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    sent = opened["headers"] if headers is None else headers
    return fetch("PUT", opened["uploadUrls"][0], content, sent)


def puts_parts(opened: Mapping[str, Any], *parts: bytes) -> dict[str, str]:
    answers = [fetch("PUT", url, part) for url, part in zip(opened["uploadUrls"], parts, strict=False)]
    assert [answer.status for answer in answers] == [200] * len(parts)
    return {str(counter): answer.headers["etag"] for counter, answer in enumerate(answers, start=1)}


def completes(caller: Caller, opened: Mapping[str, Any], etags: Mapping[str, str]) -> Answer:
    return caller.asks("PUT", "/v1/uploads/complete", {"processId": opened["id"], "etags": etags})


def uploads(caller: Caller, target: Target, content: bytes = b"%PDF-1.7 a letter", **changes: Any) -> str:
    opened = opens(caller, target, content, **changes)
    assert puts(opened, content).status == 200
    return str(opened["id"])


def states(caller: Caller, process_id: str) -> list[str]:
    return [event["action"] for event in caller.gets(f"/v1/uploads/{process_id}")["events"]]


def sees(portal: SimulatedDocxworld, prefix: str, within_seconds: float = 5) -> None:
    """Wait until the portal is done with a request below this path."""
    end = time.monotonic() + within_seconds
    while not any(request.path.startswith(prefix) for request in list(portal.requests)):
        assert time.monotonic() < end, f"no request below {prefix}"
        time.sleep(0.01)


def refusal(answer: Answer) -> tuple[int, str]:
    """The status, and the message code without the prefix of its service; the body must have the documented shape."""
    body = answer.json()
    assert set(body) == {"id", "status", "timestamp", "message", "messageCode", "debugMessages", "path"}
    return answer.status, body["messageCode"].partition(".error.")[2]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def s3_refusal(answer: Answer) -> tuple[int, str | None]:
    assert answer.headers["content-type"].startswith("application/xml")
    return answer.status, ElementTree.fromstring(answer.body).findtext("Code")  # noqa: S314 - it is our own server's


# --- login -----------------------------------------------------------------------------------------------------------


def test_a_user_logs_in_at_cognito(portal: SimulatedDocxworld, user: Account) -> None:
    answer = logs_in(portal)

    assert (answer.status, answer.headers["content-type"]) == (200, COGNITO_JSON)
    body = answer.json()
    assert body["ChallengeParameters"] == {}
    assert set(body["AuthenticationResult"]) == {"AccessToken", "ExpiresIn", "IdToken", "RefreshToken", "TokenType"}
    assert body["AuthenticationResult"]["ExpiresIn"] == 3600
    assert portal.logins == 1


def test_the_access_token_says_when_it_ends(portal: SimulatedDocxworld, caller: Caller) -> None:
    claims = str(caller.token).split(".")[1]
    claims += "=" * (-len(claims) % 4)
    assert json.loads(base64.urlsafe_b64decode(claims))["exp"] == START.timestamp() + 3600


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"AuthParameters": {"USERNAME": USER, "PASSWORD": "wrong"}}, "NotAuthorizedException"),
        ({"AuthParameters": {"USERNAME": "nobody@example.com", "PASSWORD": PASSWORD}}, "NotAuthorizedException"),
        ({"AuthFlow": "USER_SRP_AUTH"}, "InvalidParameterException"),
        ({"ClientId": "another"}, "ResourceNotFoundException"),
    ],
)
def test_cognito_refuses_in_its_own_shape(
    portal: SimulatedDocxworld, user: Account, changes: dict[str, Any], kind: str
) -> None:
    answer = logs_in(portal, **changes)

    assert answer.status == 400
    assert answer.json()["__type"] == kind
    assert set(answer.json()) == {"__type", "message"}


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Content-Type": JSON}, "SerializationException"),
        ({"X-Amz-Target": "AWSCognitoIdentityProviderService.SignUp"}, "UnknownOperationException"),
    ],
)
def test_cognito_wants_its_headers(
    portal: SimulatedDocxworld, user: Account, headers: dict[str, str], kind: str
) -> None:
    assert logs_in(portal, headers).json()["__type"] == kind


def test_an_initial_password_is_answered_with_a_challenge(portal: SimulatedDocxworld) -> None:
    portal.add_user(USER, PASSWORD, must_change_password=True)
    answer = logs_in(portal)
    assert answer.status == 200
    assert answer.json()["ChallengeName"] == "NEW_PASSWORD_REQUIRED"
    assert "AuthenticationResult" not in answer.json()


def test_a_technical_access_gets_a_token(portal: SimulatedDocxworld, technical: Caller) -> None:
    answer = asks_for_token(portal)
    assert answer.status == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}
    assert technical.asks("GET", "/v1/uploads").status == 200


def test_a_scope_narrows_the_roles_of_a_token(portal: SimulatedDocxworld, technical: Caller) -> None:
    token = asks_for_token(portal, scope="tower/customer-uploader").json()["access_token"]
    narrow = replace(technical, token=token)
    assert narrow.asks("GET", "/v1/uploads").status == 200
    assert refusal(narrow.acting_as(RESULTS).asks("GET", "/v1/downloads")) == (403, "client.access_denied")


@pytest.mark.parametrize(
    ("client", "headers", "form", "error"),
    [
        (("client-1", "wrong"), {}, {}, "invalid_client"),
        (("nobody", "secret-1"), {}, {}, "invalid_client"),
        (("client-1", "secret-1"), {"Authorization": "Bearer secret-1"}, {}, "invalid_client"),
        (("client-1", "secret-1"), {}, {"scope": "tower/customer-admin"}, "invalid_scope"),
        (("client-1", "secret-1"), {}, {"grant_type": "password"}, "unsupported_grant_type"),
        (("client-1", "secret-1"), {"Content-Type": "text/plain"}, {}, "invalid_request"),
    ],
)
def test_the_token_endpoint_refuses_with_400(
    portal: SimulatedDocxworld,
    technical: Caller,
    client: tuple[str, str],
    headers: dict[str, str],
    form: dict[str, str],
    error: str,
) -> None:
    answer = asks_for_token(portal, client, headers, **form)
    assert (answer.status, answer.json()) == (400, {"error": error})


def test_both_secrets_of_a_rotation_are_good(portal: SimulatedDocxworld, technical: Caller) -> None:
    portal.change_secrets("client-1", {"secret-1", "secret-2"})
    assert asks_for_token(portal, ("client-1", "secret-1")).status == 200
    assert asks_for_token(portal, ("client-1", "secret-2")).status == 200

    portal.change_secrets("client-1", {"secret-2"})
    assert asks_for_token(portal, ("client-1", "secret-1")).status == 400


def test_a_user_is_no_client_and_a_client_no_user(portal: SimulatedDocxworld, user: Account, technical: Caller) -> None:
    assert asks_for_token(portal, (USER, PASSWORD)).status == 400
    assert logs_in(portal, AuthParameters={"USERNAME": "client-1", "PASSWORD": "secret-1"}).status == 400


# --- tokens and roles ------------------------------------------------------------------------------------------------


def test_a_call_without_a_good_token_is_refused(portal: SimulatedDocxworld, caller: Caller) -> None:
    identity = logs_in(portal).json()["AuthenticationResult"]["IdToken"]
    for token in (None, "made-up", identity):
        assert refusal(replace(caller, token=token).asks("GET", "/v1/uploads")) == (401, "client.unauthorized")


def test_a_token_runs_out(caller: Caller, clock: Clock) -> None:
    clock.passes(3599)
    assert caller.asks("GET", "/v1/uploads").status == 200
    clock.passes(1)
    assert caller.asks("GET", "/v1/uploads").status == 401


def test_all_tokens_can_be_ended_at_once(portal: SimulatedDocxworld, caller: Caller) -> None:
    portal.expire_tokens()
    assert caller.asks("GET", "/v1/uploads").status == 401
    assert logs_in(portal).status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/downloads", f"{DOWNLOAD_ERROR}.client.role_header_missing"),
        ("/v1/targets", f"{COMPANY_ERROR}.client.role_header_missing"),
        ("/v1/uploads", f"{UPLOAD_ERROR}.client.bad_request"),
    ],
)
def test_the_header_of_the_role_is_required(caller: Caller, path: str, code: str) -> None:
    answer = caller.acting_as(None).asks("GET", path)
    assert (answer.status, answer.json()["messageCode"]) == (400, code)
    assert answer.json()["path"] == path
    assert answer.json()["status"] == "BAD_REQUEST"


def test_a_role_must_be_held_and_fit_the_call(portal: SimulatedDocxworld, caller: Caller) -> None:
    portal.add_user(USER, PASSWORD, roles={UPLOADER, APPROVER})
    token = logs_in(portal).json()["AuthenticationResult"]["AccessToken"]
    limited = replace(caller, token=token)

    assert limited.asks("GET", "/v1/uploads").status == 200
    for role in (ADMIN, "ROLE_MADE_UP"):
        assert refusal(limited.acting_as(role).asks("GET", "/v1/uploads")) == (403, "client.access_denied")
    assert refusal(limited.acting_as(APPROVER).asks("PUT", "/v1/uploads", {})) == (403, "client.access_denied")


def test_unknown_paths_and_parameters_are_refused(caller: Caller) -> None:
    assert refusal(caller.asks("GET", "/v1/nothing"))[0] == 404
    assert refusal(caller.asks("POST", "/v1/downloads", {}))[0] == 404
    assert refusal(caller.asks("GET", "/v1/uploads?pageSize=5")) == (400, "client.validation")
    assert refusal(caller.asks("GET", f"/v1/targets/{uuid4()}?page=0")) == (400, "client.validation")


# --- single uploads --------------------------------------------------------------------------------------------------


def test_a_small_file_is_uploaded_with_one_url(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    content = b"%PDF-1.7 a letter"
    opened = opens(caller, target, content)
    assert len(opened["uploadUrls"]) == 1
    assert (opened["jobAlreadyExists"], opened["b64DataKey"]) == (False, None)

    answer = puts(opened, content)

    assert answer.headers["etag"] == f'"{md5(content)}"'
    assert portal.uploaded_content(opened["id"]) == Content(hashlib.sha256(content).hexdigest(), len(content))
    assert portal.read_upload(opened["id"]) == content
    assert portal.storage_puts(opened["id"]) == 1
    job = portal.upload_by_reference("ref-1")
    assert job is not None and job.id == opened["id"]


def test_an_upload_moves_on_by_itself(caller: Caller, target: Target, clock: Clock) -> None:
    opened = opens(caller, target, b"letter")
    assert states(caller, opened["id"]) == ["SCHEDULED"]

    clock.passes(5)
    puts(opened, b"letter")
    assert states(caller, opened["id"]) == ["SCHEDULED", "UPLOADED"]

    clock.passes(1)
    shown = caller.gets(f"/v1/uploads/{opened['id']}")
    assert shown["events"] == [
        {"created": "2026-02-19T14:30:00Z", "action": "SCHEDULED"},
        {"created": "2026-02-19T14:30:05Z", "action": "UPLOADED"},
        {"created": "2026-02-19T14:30:05.500000Z", "action": "TRANSFERRED"},
    ]
    assert (shown["approvalState"], shown["fileName"]) == ("NOT_REQUIRED", "Bescheid Müller.pdf")


def test_the_content_must_have_the_announced_length(caller: Caller, target: Target) -> None:
    process_id = opens(caller, target, b"letter", fileSize=7)
    assert puts(process_id, b"letter").status == 200
    assert states(caller, process_id["id"]) == ["SCHEDULED", "UPLOADED", "TRANSFER_FAILED"]


def test_every_field_of_an_upload_is_kept(caller: Caller, target: Target) -> None:
    references: dict[str, Any] = {f"jobCustomerReference{n}": f"ref {n}" for n in range(1, 7)}
    shown = caller.gets(f"/v1/uploads/{uploads(caller, target, priority='HI', **references)}")
    assert {name: shown[name] for name in references} == references
    assert (shown["targetId"], shown["targetName"], shown["targetAbbreviation"]) == (target.id, "Briefe", "W1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"targetId": None}, (400, "client.validation")),
        ({"targetId": "W1"}, (400, "client.malformed_request")),
        ({"targetId": str(uuid4())}, (404, "client.target_not_exists")),
        ({"referenceId": "x" * 101}, (400, "client.validation")),
        ({"jobCustomerReference6": "x" * 101}, (400, "client.validation")),
        ({"priority": "LOW"}, (400, "client.malformed_request")),
        ({"fileName": "  "}, (400, "client.validation")),
        ({"fileSize": -1}, (400, "client.validation")),
        ({"fileSize": "12"}, (400, "client.malformed_request")),
        ({"supportedUploadFeatures": ["CHUNKED"]}, (400, "client.malformed_request")),
        ({"contractNumber": "1"}, (400, "client.validation")),
        ({"dataKeyProviderType": "DOCXWORLD"}, (400, "client.encryption_parameters_missing")),
    ],
)
def test_an_upload_is_checked(
    caller: Caller, target: Target, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert refusal(caller.asks("PUT", "/v1/uploads", upload_request(target, b"letter", **changes))) == expected


def test_the_longest_reference_is_taken(caller: Caller, target: Target) -> None:
    assert opens(caller, target, referenceId="x" * 100)["jobAlreadyExists"] is False


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({"Content-Type": JSON}, b"{", 400),
        ({"Content-Type": JSON}, b"[]", 400),
    ],
)
def test_a_body_must_be_a_json_object(caller: Caller, headers: dict[str, str], body: bytes, status: int) -> None:
    sent = {"Authorization": f"Bearer {caller.token}", "X-PF-DWC-Requester-Role": UPLOADER, **headers}
    answer = ask(caller.port, "PUT", "/v1/uploads", body=body, headers=sent)
    assert refusal(answer) == (status, "client.malformed_request")


def test_an_inactive_target_takes_nothing(portal: SimulatedDocxworld, caller: Caller) -> None:
    inactive = portal.add_target("Alt", "OLD", active=False)
    answer = caller.asks("PUT", "/v1/uploads", upload_request(inactive))
    assert refusal(answer) == (400, "client.target_inactive")


def test_a_target_must_be_assigned(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    portal.add_user(USER, PASSWORD, targets={str(uuid4())})
    stranger = replace(caller, token=logs_in(portal).json()["AuthenticationResult"]["AccessToken"])
    assert refusal(stranger.asks("PUT", "/v1/uploads", upload_request(target))) == (403, "client.access_denied")
    assert stranger.lists("/v1/targets") == stranger.lists("/v1/workflows") == []


# --- a repeated reference --------------------------------------------------------------------------------------------


def test_a_repeated_reference_is_the_same_upload(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    first, second = opens(caller, target, b"letter"), opens(caller, target, b"letter")

    assert (second["jobAlreadyExists"], second["id"]) == (True, first["id"])
    assert puts(second, b"letter").status == 200
    assert len(portal.jobs()) == 1
    assert states(caller, first["id"]) == ["SCHEDULED", "UPLOADED"]


def test_a_finished_upload_offers_no_url_again(caller: Caller, target: Target) -> None:
    process_id = uploads(caller, target)
    again = opens(caller, target)
    assert (again["jobAlreadyExists"], again["id"], again["uploadUrls"]) == (True, process_id, [])


def test_fresh_urls_can_be_left_out(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    portal.uploads.options.fresh_urls_for_existing = False
    opens(caller, target, b"letter")
    assert opens(caller, target, b"letter")["uploadUrls"] == []


def test_a_repeat_can_begin_the_chunks_anew(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    portal.uploads.options = UploadOptions(chunk_threshold_bytes=1, url_count=2, chunks_begin_anew=True)
    first = opens(caller, target, b"letter")
    etags = puts_parts(first, b"letter")
    again = opens(caller, target, b"letter")

    assert (again["jobAlreadyExists"], again["id"]) == (True, first["id"])
    assert portal.chunk_puts(first["id"]) == {}
    assert refusal(completes(caller, again, etags)) == (400, "client.chunk_missing")
    assert completes(caller, again, puts_parts(again, b"letter")).status == 200
    assert portal.read_upload(first["id"]) == b"letter"


def test_a_repeat_can_be_refused(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    portal.uploads.options.existing_refused = True
    opens(caller, target)
    assert refusal(caller.asks("PUT", "/v1/uploads", upload_request(target))) == (400, "client.job_already_exists")


def test_references_of_others_and_missing_ones_do_not_clash(
    portal: SimulatedDocxworld, caller: Caller, technical: Caller, target: Target
) -> None:
    assert opens(caller, target)["jobAlreadyExists"] is False
    assert opens(technical, target)["jobAlreadyExists"] is False
    for _ in range(2):
        assert opens(caller, target, referenceId=None)["jobAlreadyExists"] is False
    assert len(portal.jobs()) == 4


# --- the storage -----------------------------------------------------------------------------------------------------


def test_signed_headers_must_come_unchanged(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter")
    changed = {**opened["headers"], "x-amz-meta-jobpriority": "HI"}
    missing = {name: value for name, value in opened["headers"].items() if name != "x-amz-meta-id"}

    for headers in (changed, missing, {}):
        assert s3_refusal(puts(opened, b"letter", headers)) == (403, "SignatureDoesNotMatch")
    assert portal.uploaded_content(opened["id"]) is None


def test_unsigned_headers_of_s3_are_refused(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter")
    headers = {**opened["headers"], "x-amz-meta-more": "1"}
    assert s3_refusal(puts(opened, b"letter", headers)) == (403, "AccessDenied")
    assert puts(opened, b"letter", {**opened["headers"], "X-Anything": "1"}).status == 200


@pytest.mark.parametrize("authorization", ["Bearer a-token", basic("a", "b")])
def test_a_presigned_url_takes_no_other_authorization(caller: Caller, target: Target, authorization: str) -> None:
    opened = opens(caller, target, b"letter")
    answer = puts(opened, b"letter", {**opened["headers"], "Authorization": authorization})
    assert s3_refusal(answer) == (400, "InvalidArgument")
    assert b"Only one auth mechanism allowed" in answer.body


def test_an_upload_url_runs_out(caller: Caller, target: Target, clock: Clock) -> None:
    opened = opens(caller, target, b"letter")
    query = parse_qs(urlsplit(opened["uploadUrls"][0]).query)
    assert (query["X-Amz-Expires"], query["X-Amz-Date"]) == (["3587"], ["20260219T143000Z"])

    clock.passes(3587)
    answer = puts(opened, b"letter")

    assert s3_refusal(answer) == (403, "AccessDenied")
    assert b"Request has expired" in answer.body


def test_a_url_is_good_for_what_was_signed_only(caller: Caller, target: Target) -> None:
    url = opens(caller, target, b"letter")["uploadUrls"][0]
    longer = url.replace("X-Amz-Expires=3587", "X-Amz-Expires=99999")
    assert s3_refusal(fetch("PUT", longer, b"letter")) == (403, "SignatureDoesNotMatch")
    assert s3_refusal(fetch("GET", url)) == (403, "SignatureDoesNotMatch")
    assert s3_refusal(fetch("PUT", url.partition("?")[0], b"letter")) == (403, "AccessDenied")


def test_a_body_of_unknown_length_is_refused(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter")
    parts = urlsplit(opened["uploadUrls"][0])
    connection = HTTPConnection("127.0.0.1", caller.port, timeout=5)
    connection.request("PUT", f"{parts.path}?{parts.query}", iter([b"letter"]), opened["headers"], encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 501
    assert b"NotImplemented" in answer.read()
    connection.close()


def test_a_body_that_breaks_off_leaves_nothing(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter")
    parts = urlsplit(opened["uploadUrls"][0])
    connection = HTTPConnection("127.0.0.1", caller.port, timeout=5)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    for name, value in {**opened["headers"], "Content-Length": "6"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"let")
    connection.close()
    sees(portal, "/s3/")

    assert caller.gets(f"/v1/uploads/{opened['id']}")["events"][-1]["action"] == "SCHEDULED"
    assert portal.storage_puts(opened["id"]) == 0
    assert list(portal.storage.folder.iterdir()) == []


def test_a_digest_that_comes_along_is_checked(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter")
    wrong, right = (base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest()) for text in (b"x", b"letter"))

    refused = puts(opened, b"letter", {**opened["headers"], "Content-MD5": wrong.decode()})
    assert s3_refusal(refused) == (400, "BadDigest")
    assert portal.uploaded_content(opened["id"]) is None
    assert list(portal.storage.folder.iterdir()) == []
    assert puts(opened, b"letter", {**opened["headers"], "Content-MD5": right.decode()}).status == 200


def test_an_upload_sent_twice_is_counted_and_does_no_harm(
    portal: SimulatedDocxworld, caller: Caller, target: Target
) -> None:
    opened = opens(caller, target, b"letter")
    puts(opened, b"letter")
    puts(opened, b"letter")
    assert portal.storage_puts(opened["id"]) == 2
    assert states(caller, opened["id"]) == ["SCHEDULED", "UPLOADED"]


@pytest.mark.parametrize("name", ["a b+c%20&=?#.pdf", "../../Grüße/x.pdf", "Ä" * 100])
def test_any_file_name_makes_a_url_that_works(
    portal: SimulatedDocxworld, caller: Caller, target: Target, name: str
) -> None:
    process_id = uploads(caller, target, b"letter", fileName=name)
    link = caller.gets(f"/v1/uploads/{process_id}/generate-link")["downloadLink"]
    assert fetch("GET", link).body == b"letter"
    assert portal.job(process_id).file_name == name


# --- chunked uploads -------------------------------------------------------------------------------------------------


def test_the_server_decides_on_chunks(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    at_threshold = opens(caller, target, fileSize=10 * MIB, referenceId="1")
    large = opens(caller, target, fileSize=25 * MIB, referenceId="2")
    below = opens(caller, target, fileSize=10 * MIB - 1, referenceId="3")
    unsupported = opens(caller, target, fileSize=25 * MIB, referenceId="4", supportedUploadFeatures=[])
    portal.uploads.options.url_count = 7
    more = opens(caller, target, fileSize=10 * MIB, referenceId="5")

    answers = (at_threshold, large, below, unsupported, more)
    assert [len(each["uploadUrls"]) for each in answers] == [2, 4, 1, 1, 7]
    assert [each["headers"] == {} for each in answers] == [True, True, False, False, True]


def test_chunks_make_one_upload(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    content = bytes(range(256)) * (11 * MIB // 256)
    opened = opens(caller, target, content)
    parts = content[:PART], content[PART:]

    etags = puts_parts(opened, *parts)
    assert portal.uploaded_content(opened["id"]) is None
    assert portal.chunk_puts(opened["id"]) == {1: 1, 2: 1}
    answer = completes(caller, opened, etags)

    assert set(answer.json()) == {"message"}
    assert portal.uploaded_content(opened["id"]) == Content(hashlib.sha256(content).hexdigest(), len(content))
    assert states(caller, opened["id"]) == ["SCHEDULED", "UPLOADED"]
    link = caller.gets(f"/v1/uploads/{opened['id']}/generate-link")["downloadLink"]
    ranged = fetch("GET", link, headers={"Range": f"bytes={PART - 2}-{PART + 1}"})
    assert (ranged.status, ranged.body) == (206, content[PART - 2 : PART + 2])


def test_fewer_urls_than_offered_may_be_used(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    opened = opens(caller, target, fileSize=10 * MIB)
    unquoted = {counter: etag.strip('"') for counter, etag in puts_parts(opened, bytes(10 * MIB)).items()}
    assert completes(caller.acting_as(None), opened, unquoted).status == 200
    assert portal.uploaded_content(opened["id"]) is not None


def test_a_chunk_takes_no_metadata(caller: Caller, target: Target) -> None:
    url = opens(caller, target, fileSize=10 * MIB)["uploadUrls"][0]
    assert s3_refusal(fetch("PUT", url, b"x", {"x-amz-meta-id": "1"})) == (403, "AccessDenied")


def test_a_completion_is_checked(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, fileSize=10 * MIB)
    assert refusal(completes(caller, opened, {})) == (400, "client.chunk_missing")
    etags = puts_parts(opened, bytes(PART), bytes(PART))

    assert refusal(completes(caller, opened, {"1": etags["1"]})) == (400, "client.chunk_missing")
    assert refusal(completes(caller, opened, {**etags, "3": etags["1"]})) == (400, "client.s3_complete_upload")
    assert refusal(completes(caller, opened, {**etags, "2": '"0"'})) == (400, "client.s3_complete_upload")
    assert refusal(completes(caller, opened, {"one": "1"})) == (400, "client.malformed_request")
    unknown = {"id": str(uuid4())}
    assert refusal(completes(caller, unknown, etags)) == (404, "client.job_not_found")
    assert completes(caller, opened, etags).status == 200


def test_the_counter_can_start_at_zero(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    portal.uploads.options.etag_base = 0
    opened = opens(caller, target, fileSize=10 * MIB)
    from_one = puts_parts(opened, bytes(PART), bytes(PART))

    assert refusal(completes(caller, opened, from_one)) == (400, "client.chunk_missing")
    assert completes(caller, opened, {"0": from_one["1"], "1": from_one["2"]}).status == 200


def test_only_the_last_chunk_may_be_small(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, fileSize=10 * MIB)
    etags = puts_parts(opened, bytes(PART - 1), bytes(PART + 1))
    assert refusal(completes(caller, opened, etags)) == (400, "client.s3_complete_upload")


def test_a_chunk_can_be_sent_again_with_fresh_urls(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    first = opens(caller, target, fileSize=10 * MIB)
    etags = puts_parts(first, b"\x01" * PART)
    again = opens(caller, target, fileSize=10 * MIB)
    etags["2"] = fetch("PUT", again["uploadUrls"][1], bytes(PART)).headers["etag"]
    etags["1"] = fetch("PUT", again["uploadUrls"][0], bytes(PART)).headers["etag"]

    assert completes(caller, first, etags).status == 200
    assert portal.storage_puts(first["id"]) == 3
    assert portal.read_upload(first["id"]) == bytes(10 * MIB)


def test_chunks_of_the_wrong_total_fail_the_transfer(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, fileSize=10 * MIB)
    assert completes(caller, opened, puts_parts(opened, bytes(PART))).status == 200
    assert states(caller, opened["id"])[-1] == "TRANSFER_FAILED"


@pytest.mark.parametrize("accepted", [True, False])
def test_a_repeated_completion(portal: SimulatedDocxworld, caller: Caller, target: Target, accepted: bool) -> None:
    portal.uploads.options.repeated_complete_accepted = accepted
    opened = opens(caller, target, fileSize=10 * MIB)
    etags = puts_parts(opened, bytes(10 * MIB))
    completes(caller, opened, etags)

    assert completes(caller, opened, etags).status == (200 if accepted else 400)
    assert states(caller, opened["id"]) == ["SCHEDULED", "UPLOADED"]
    assert s3_refusal(fetch("PUT", opened["uploadUrls"][0], b"late")) == (404, "NoSuchUpload")


def test_a_single_upload_is_not_completed(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter")
    assert refusal(completes(caller, opened, {})) == (400, "client.s3_complete_upload")


# --- encryption ------------------------------------------------------------------------------------------------------


def encrypted(wrap_key: str | None = None) -> dict[str, Any]:
    wrapping = {"b64ClientWrapKey": wrap_key, "clientWrapKeyEncryptionAlg": "RSA/ECB/OAEPWithSHA-256AndMGF1Padding"}
    return {
        "supportedUploadFeatures": ["CS_CONTENT_ENCRYPTION"],
        "dataEncryptionAlgorithm": "AES/GCM/NoPadding",
        "dataKeyProviderType": "DOCXWORLD",
        **(wrapping if wrap_key else {}),
    }


def test_a_data_key_is_wrapped_for_the_client(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    private = generate_private_key(65537, 2048)
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    opened = opens(caller, target, b"letter", **encrypted(base64.b64encode(spki).decode()))

    wrapped = base64.b64decode(opened["b64encryptedDataKey"])
    mask = MGF1(hashes.SHA1())  # noqa: S303 - what Java means by the algorithm's name
    key = private.decrypt(wrapped, OAEP(mask, hashes.SHA256(), None))
    encryption = portal.job(opened["id"]).encryption
    assert encryption is not None and encryption.key == key
    assert (len(key), len(base64.b64decode(opened["b64Iv"])), opened["b64DataKey"]) == (32, 16, None)
    assert opened["headers"]["x-amz-meta-x-amz-iv"] == opened["b64Iv"]
    assert opened["headers"]["x-amz-meta-x-amz-unencrypted-content-length"] == "6"


def under_its_key(opened: dict[str, Any], content: bytes) -> bytes:
    """The content as the answer asks for it: encrypted, with the tag behind it."""
    key, iv = (base64.b64decode(opened[name]) for name in ("b64DataKey", "b64Iv"))
    return AESGCM(key).encrypt(iv, content, None)


def test_the_key_stays_the_same_for_a_repeat_and_the_content_is_opened(
    portal: SimulatedDocxworld, caller: Caller, target: Target
) -> None:
    first, again = (opens(caller, target, b"letter", **encrypted()) for _ in range(2))
    assert (first["b64DataKey"], first["b64Iv"]) == (again["b64DataKey"], again["b64Iv"])

    puts(again, under_its_key(again, b"letter"))
    assert states(caller, first["id"]) == ["SCHEDULED", "UPLOADED"]
    assert portal.uploads.opened(first["id"]) == (hashlib.sha256(b"letter").hexdigest(), 6)
    assert portal.storage.flags == []


@pytest.mark.parametrize("content", [b"letter" + bytes(16), b"letter"])
def test_what_does_not_open_is_not_transferred(
    portal: SimulatedDocxworld, caller: Caller, target: Target, content: bytes
) -> None:
    opened = opens(caller, target, b"letter", **encrypted())
    puts(opened, content)
    assert states(caller, opened["id"])[-1] == "TRANSFER_FAILED"
    assert any("does not open" in flag for flag in portal.storage.flags)


def test_other_bytes_under_the_same_key_are_flagged(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    opened = opens(
        caller,
        target,
        fileSize=10 * MIB,
        **{**encrypted(), "supportedUploadFeatures": ["MULTIPART", "CS_CONTENT_ENCRYPTION"]},
    )
    puts_parts(opened, b"\x01" * PART)
    puts_parts(opened, b"\x01" * (PART + 1))
    assert portal.storage.flags == []
    puts_parts(opened, b"\x01" * PART + b"\x02")
    assert any("one key and IV" in flag for flag in portal.storage.flags)


def test_credentials_on_a_presigned_address_are_flagged(
    portal: SimulatedDocxworld, caller: Caller, target: Target
) -> None:
    opened = opens(caller, target, b"letter")
    fetch("PUT", opened["uploadUrls"][0], b"letter", {**opened["headers"], "Authorization": "Bearer x"})
    assert any("credentials" in flag for flag in portal.storage.flags)


def test_encryption_is_checked(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    closed = portal.add_target("Klar", "K", encryption_allowed=False)
    unreadable = {**encrypted("AAAA")}
    unknown = {**encrypted(), "dataEncryptionAlgorithm": "AES/CBC"}
    for asked_target, asked, code in (
        (closed, encrypted(), "client.encryption_not_allowed"),
        (target, unreadable, "client.validation"),
        (target, unknown, "server.no_such_data_encr_algorithm"),
    ):
        answer = caller.asks("PUT", "/v1/uploads", upload_request(asked_target, b"letter", **asked))
        assert refusal(answer) == (400, code)


def test_the_feature_alone_means_a_plain_upload(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter", supportedUploadFeatures=["CS_CONTENT_ENCRYPTION"])
    assert (opened["b64Iv"], opened["dataEncryptionAlgorithm"]) == (None, None)
    assert puts(opened, b"letter").status == 200


# --- what becomes of an upload ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    [["TRANSFER_FAILED"], ["DUPLICATED"], ["TRANSFERRED", "DELETED"], ["WAITING_FOR_COLLECT", "COLLECTED"]],
)
def test_a_target_can_have_a_script(portal: SimulatedDocxworld, caller: Caller, clock: Clock, last: list[str]) -> None:
    script = [Step(2, "UPLOADED"), *(Step(10, state) for state in last)]
    process_id = uploads(caller, portal.add_target("Skript", "S", script=script))
    assert states(caller, process_id) == ["SCHEDULED"]

    clock.passes(2)
    assert states(caller, process_id) == ["SCHEDULED", "UPLOADED"]
    clock.passes(100)
    assert states(caller, process_id) == ["SCHEDULED", "UPLOADED", *last]


def test_a_script_knows_its_states() -> None:
    with pytest.raises(ValueError, match="unknown state"):
        Step(0, "SENT")


def test_a_scripted_approval(portal: SimulatedDocxworld, caller: Caller, user: Account, clock: Clock) -> None:
    script = [Step(0, "UPLOADED"), Step(1, "WAITING_APPROVAL"), Step(5, "REJECTED", user, "no"), Step(1, "TRANSFERRED")]
    target = portal.add_target("Freigabe", "F", approval_needed=True, script=script)
    process_id = uploads(caller, target)
    assert caller.gets(f"/v1/uploads/{process_id}")["approvalState"] == "REQUIRED"

    clock.passes(1)
    assert caller.gets(f"/v1/uploads/{process_id}")["approvalState"] == "WAITING_APPROVAL"
    clock.passes(60)
    shown = caller.gets(f"/v1/uploads/{process_id}")

    assert (shown["approvalState"], shown["approverEmail"], shown["approverName"]) == ("REJECTED", USER, user.name)
    assert states(caller, process_id) == ["SCHEDULED", "UPLOADED"]


@pytest.mark.parametrize(
    ("decision", "transferred"), [("APPROVED", True), ("REJECTED", False), ("EXPIRED", False), ("CANCELLED", False)]
)
def test_a_decision_at_the_portal(
    portal: SimulatedDocxworld, caller: Caller, clock: Clock, decision: str, transferred: bool
) -> None:
    process_id = uploads(caller, portal.add_target("Freigabe", "F", approval_needed=True))
    clock.passes(100)
    assert states(caller, process_id)[-1] == "UPLOADED"

    portal.decide_approval(process_id, decision)
    clock.passes(1)

    assert caller.gets(f"/v1/uploads/{process_id}")["approvalState"] == decision
    assert (states(caller, process_id)[-1] == "TRANSFERRED") is transferred
    with pytest.raises(ValueError, match=decision):
        portal.decide_approval(process_id, "APPROVED")


def test_cancelling_ends_the_wait_for_approval_only(portal: SimulatedDocxworld, caller: Caller, clock: Clock) -> None:
    process_id = uploads(caller, portal.add_target("Freigabe", "F", approval_needed=True))
    cancel = f"/v1/uploads/{process_id}/cancel"
    assert refusal(caller.asks("PUT", cancel, {"message": "x" * 256})) == (400, "client.validation")

    cancelled = caller.asks("PUT", cancel, {"message": "wrong file"}).json()
    clock.passes(60)

    assert (cancelled["approvalState"], cancelled["approvalCancelable"]) == ("CANCELLED", False)
    assert (cancelled["jobState"], cancelled["hasApprovalTaskMessage"]) == ("UPLOADED", True)
    assert states(caller, process_id) == ["SCHEDULED", "UPLOADED"]
    assert refusal(caller.asks("PUT", cancel, {})) == (400, "server.upload_not_cancellable")


def decides(caller: Caller, task_id: str, *parts: tuple[str, str, str]) -> Answer:
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n{text}\r\n"
        for name, kind, text in parts
    )
    headers = {
        "Authorization": f"Bearer {caller.token}",
        "X-PF-DWC-Requester-Role": APPROVER,
        "Content-Type": "multipart/form-data; boundary=b",
    }
    path = f"/v1/approval-tasks/{task_id}/decide"
    return ask(caller.port, "POST", path, body=f"{body}--b--\r\n".encode(), headers=headers)


def test_an_approver_decides(portal: SimulatedDocxworld, caller: Caller, user: Account, clock: Clock) -> None:
    process_id = uploads(caller, portal.add_target("Freigabe", "F", approval_needed=True))
    [task] = caller.acting_as(APPROVER).lists("/v1/approval-tasks?approvalStates=WAITING_APPROVAL")
    assert (task["processId"], task["uploaderEmail"], task["approverId"]) == (process_id, USER, None)

    decision = '{"approvalState": "APPROVED", "message": "fine", "emailOptions": "CC_APPROVER"}'
    answer = decides(caller, task["id"], ("file", "application/pdf", "%PDF-new"), ("decision", JSON, decision))
    clock.passes(1)

    assert (answer.status, answer.json()["approvalState"], answer.json()["message"]) == (200, "APPROVED", "fine")
    assert answer.json()["approverId"] == user.id
    assert states(caller, process_id)[-1] == "TRANSFERRED"
    [made] = portal.decisions()
    assert (made.process_id, made.state, made.email_option, made.file) == (
        process_id,
        "APPROVED",
        "CC_APPROVER",
        b"%PDF-new",
    )
    assert refusal(decides(caller, task["id"], ("decision", JSON, decision)))[1] == "server.approval_task_not_decidable"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], (400, "client.malformed_request")),
        ([("decision", "text/plain", '{"approvalState": "APPROVED"}')], (415, "client.malformed_request")),
        ([("decision", JSON, '{"approvalState": "EXPIRED"}')], (400, "client.malformed_request")),
        ([("decision", JSON, '{"message": "fine"}')], (400, "client.validation")),
        ([("decision", JSON, '{"approvalState": "APPROVED", "by": "me"}')], (400, "client.validation")),
        ([("attachment", JSON, "{}")], (400, "client.malformed_request")),
        ([("file", "text/plain", "x")], (415, "client.malformed_request")),
        ([("decision", JSON, '{"approvalState": "APPROVED"}')], (404, "server.approval_task_not_found")),
    ],
)
def test_a_decision_is_checked(caller: Caller, parts: list[tuple[str, str, str]], expected: tuple[int, str]) -> None:
    assert refusal(decides(caller, str(uuid4()), *parts)) == expected


def test_approval_tasks_are_filtered(portal: SimulatedDocxworld, caller: Caller, clock: Clock) -> None:
    one, two = (portal.add_target(f"Freigabe {n}", f"F{n}", approval_needed=True) for n in (1, 2))
    first = uploads(caller, one, referenceId="1", fileName="alpha.pdf")
    clock.passes(10)
    second = uploads(caller, two, referenceId="2", fileName="beta.pdf")
    portal.decide_approval(second, "APPROVED")
    approver = caller.acting_as(APPROVER)

    def found(query: str) -> list[str]:
        return [task["processId"] for task in approver.lists(f"/v1/approval-tasks?{query}")]

    assert found("approvalStates=WAITING_APPROVAL") == found("freeSearch=ALPHA") == [first]
    assert found("targetName=Freigabe%202") == found(f"processIds={second}") == [second]
    assert found("sort=uploadCreated,DESC") == [second, first]
    assert found("uploadStartPeriod=2026-02-19T14:30:05Z") == [second]
    assert found("uploadEndPeriod=2026-02-19T14:30:05Z") == [first]
    assert refusal(approver.asks("GET", "/v1/approval-tasks?sort=fileName")) == (400, "client.invalid_sort_argument")


# --- looking at uploads ----------------------------------------------------------------------------------------------


def test_uploads_are_filtered(portal: SimulatedDocxworld, caller: Caller, target: Target, clock: Clock) -> None:
    pdf = portal.add_target("PDF", "P", file_type="PDF", company_id=str(uuid4()), customer_number="7")
    first = uploads(caller, target, referenceId="1", fileName="alpha.pdf")
    clock.passes(10)
    second = str(opens(caller, pdf, b"letter", referenceId="2", fileName="beta.pdf")["id"])

    def found(query: str) -> list[str]:
        return [upload["processId"] for upload in caller.lists(f"/v1/uploads?{query}")]

    assert found("jobState=TRANSFERRED") == found("jobStates=TRANSFERRED&jobStates=DELETED") == [first]
    assert found("jobState=TRANSFERRED&jobStates=SCHEDULED&sort=created") == [first, second]
    assert found("expectedFileFormat=PDF") == found("customerNumber=7") == found("freeSearch=BETA") == [second]
    assert found(f"companyId={pdf.workflow.company_id}") == found(f"freeSearch={pdf.id}") == [second]
    assert found("startPeriod=2026-02-19T14:30:05Z") == [second]
    assert found("endPeriod=2026-02-19T14:30:05Z") == [first]
    assert found("approvalStates=APPROVED") == []
    for wrong in ("jobState=SENT", "approvalStates=NO", "startPeriod=yesterday", "expectedFileFormat=RAW"):
        assert refusal(caller.asks("GET", f"/v1/uploads?{wrong}")) == (400, "client.validation")


def test_lists_come_in_pages(caller: Caller, target: Target, clock: Clock) -> None:
    ids = []
    for number in range(5):
        ids.append(opens(caller, target, referenceId=str(number))["id"])
        clock.passes(1)

    pages = [caller.gets(f"/v1/uploads?sort=created,DESC&size=2&page={page}") for page in range(4)]

    assert [[each["processId"] for each in page["content"]] for page in pages] == [
        [ids[4], ids[3]],
        [ids[2], ids[1]],
        [ids[0]],
        [],
    ]
    assert [(page["first"], page["last"], page["number"], page["numberOfElements"]) for page in pages] == [
        (True, False, 0, 2),
        (False, False, 1, 2),
        (False, True, 2, 1),
        (False, True, 3, 0),
    ]
    assert {(page["totalElements"], page["totalPages"], page["size"]) for page in pages} == {(5, 3, 2)}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("page=-1", "client.validation"),
        ("size=0", "client.validation"),
        ("size=many", "client.validation"),
        ("sort=fileName", "client.invalid_sort_argument"),
        ("sort=created,DOWN", "client.invalid_sort_argument"),
    ],
)
def test_paging_is_checked(caller: Caller, query: str, code: str) -> None:
    assert refusal(caller.asks("GET", f"/v1/uploads?{query}")) == (400, code)


def test_an_uploader_sees_only_its_own(caller: Caller, technical: Caller, target: Target) -> None:
    process_id = uploads(caller, target)
    assert refusal(technical.asks("GET", f"/v1/uploads/{process_id}")) == (404, "client.job_not_found")
    assert technical.lists("/v1/uploads") == []
    assert [each["processId"] for each in caller.acting_as(ADMIN).lists("/v1/uploads")] == [process_id]


def test_a_file_can_be_read_again_once_it_is_there(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, b"letter")
    link = f"/v1/uploads/{opened['id']}/generate-link"
    assert refusal(caller.asks("GET", link)) == (400, "server.file_not_downloadable")
    puts(opened, b"letter")
    assert fetch("GET", caller.gets(link)["downloadLink"]).body == b"letter"


# --- targets and workflows -------------------------------------------------------------------------------------------


def test_a_workflow_is_found_by_its_abbreviation_in_any_case(portal: SimulatedDocxworld, caller: Caller) -> None:
    target, other = portal.add_target("Briefe", "W1"), portal.add_target("Alt", "W11", active=False)

    [workflow] = caller.lists("/v1/workflows?abbreviation=w1")
    [found] = caller.lists(f"/v1/targets?workflowIds={workflow['id']}")

    assert (found["id"], found["workflow"]) == (target.id, workflow)
    assert (workflow["status"], workflow["version"]) == ("ACTIVE", None)
    assert caller.gets(f"/v1/workflows/{other.workflow.id}")["status"] == "INACTIVE"
    assert caller.gets(f"/v1/targets/{other.id}")["workflow"]["abbreviation"] == "W11"


def test_workflows_and_targets_are_filtered(portal: SimulatedDocxworld, caller: Caller) -> None:
    company = str(uuid4())
    portal.add_target("Briefe", "B", description="all letters", customer_contract="1")
    portal.add_target("Urteile", "U", approval_needed=True, customer_contract="2", company_id=company)

    def names(query: str) -> list[str]:
        return sorted(each["name"] for each in caller.lists(f"/v1/workflows?{query}"))

    assert names("") == ["Briefe", "Urteile"]
    assert names("freeSearch=LETTER") == names("name=briefe") == names("approvalNeeded=false") == ["Briefe"]
    assert names("customerContracts=2") == names(f"companyIds={company}") == names("approvalNeeded=true") == ["Urteile"]
    assert names("name=brief") == []
    found = caller.lists("/v1/targets?sort=workflow,DESC&customerContracts=1&customerContracts=2")
    assert [each["workflow"]["name"] for each in found] == ["Urteile", "Briefe"]
    assert refusal(caller.asks("GET", "/v1/targets?workflowIds=W1"))[0] == 400


def test_what_does_not_exist_is_not_found(caller: Caller) -> None:
    assert refusal(caller.asks("GET", f"/v1/targets/{uuid4()}")) == (404, "client.target_not_exists")
    assert refusal(caller.asks("GET", f"/v1/workflows/{uuid4()}")) == (404, "client.workflow_not_exists")
    assert refusal(caller.asks("GET", f"/v1/uploads/{uuid4()}")) == (404, "client.job_not_found")
    answer = caller.acting_as(RESULTS).asks("GET", f"/v1/downloads/{uuid4()}")
    assert refusal(answer) == (404, "client.download_not_exists")


def test_an_abbreviation_is_unique(portal: SimulatedDocxworld, target: Target) -> None:
    with pytest.raises(ValueError, match="already exists"):
        portal.add_target("Andere", "w1")


# --- downloads -------------------------------------------------------------------------------------------------------


def test_a_role_sees_its_type_only(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    result = portal.add_download(target, b"result")
    report = portal.add_download(target, b"report", type="REPORT")
    both = "/v1/downloads?downloadTypes=RESULT&downloadTypes=REPORT"

    assert [each["id"] for each in caller.acting_as(RESULTS).lists(both)] == [result.id]
    assert [each["id"] for each in caller.acting_as(REPORTS).lists(both)] == [report.id]
    assert len(caller.acting_as(ADMIN).lists(both)) == 2
    assert caller.acting_as(RESULTS).asks("GET", f"/v1/downloads/{report.id}").status == 404
    assert caller.acting_as(UPLOADER).asks("GET", both).status == 403


def test_downloads_are_filtered_and_sorted(portal: SimulatedDocxworld, caller: Caller, clock: Clock) -> None:
    one, two = portal.add_target("Briefe", "B", customer_contract="1"), portal.add_target("Akten", "A")
    later = clock() + timedelta(hours=1)
    letter = portal.add_download(one, file_name="letter.pdf", reference_id="r1", created=later).id
    file = portal.add_download(two, file_name="file.pdf", reference_id="r2").id
    downloader = caller.acting_as(RESULTS)

    def found(query: str) -> list[str]:
        return [each["id"] for each in downloader.lists(f"/v1/downloads?{query}")]

    assert found(f"targets={one.id}") == found("freeSearch=LETTER") == found("customerContract=1") == [letter]
    assert found("referenceId=r2") == found("freeSearch=Akten") == found(f"freeSearch={file}") == [file]
    assert found("sort=created") == found("sort=targetName") == [file, letter]
    assert found("sort=type&sort=created,DESC") == found("referenceId=r1&referenceId=r2&sort=created,DESC")
    assert found(f"companyId={uuid4()}") == []
    assert refusal(downloader.asks("GET", "/v1/downloads?sort=size")) == (400, "client.invalid_sort_argument")
    assert refusal(downloader.asks("GET", "/v1/downloads?downloaded=no")) == (400, "client.validation")


def test_the_record_of_a_download_may_be_wrong(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    portal.add_download(target, b"1234")
    portal.add_download(target, b"1234", recorded_size=5)
    listed = caller.acting_as(RESULTS).lists("/v1/downloads")
    assert [each["size"] for each in listed] == [4, 5]


def test_a_download_is_fetched_by_a_link_that_runs_out(
    portal: SimulatedDocxworld, caller: Caller, target: Target, clock: Clock, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "big").write_bytes(content)
    download = portal.add_download(target, tmp_path / "big", file_name="Ergebnis 1.zip")
    downloader = caller.acting_as(RESULTS)
    link = downloader.gets(f"/v1/downloads/{download.id}/generate-link")["downloadLink"]

    answer = fetch("GET", link)
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(content)))
    assert answer.body == content
    assert answer.headers["etag"] == f'"{md5(content)}"'
    shown = downloader.gets(f"/v1/downloads/{download.id}")
    assert (shown["downloadLinkGenerated"], shown["size"], shown["downloaded"]) == (True, len(content), None)

    assert s3_refusal(fetch("GET", link, headers={"Authorization": "Bearer x"}))[0] == 400
    assert s3_refusal(fetch("GET", link, headers={"Range": f"bytes={len(content)}-"})) == (416, "InvalidRange")
    clock.passes(548767)
    assert s3_refusal(fetch("GET", link)) == (403, "AccessDenied")


def acknowledges(caller: Caller, download_id: str, **body: Any) -> Answer:
    return caller.asks("POST", f"/v1/downloads/{download_id}/acknowledge", body)


def test_one_client_acknowledges_and_may_repeat_it(
    portal: SimulatedDocxworld, caller: Caller, target: Target, clock: Clock
) -> None:
    download, downloader = portal.add_download(target), caller.acting_as(RESULTS)

    first = acknowledges(downloader, download.id, clientId="amtsbote", referenceId="a/b/c")
    clock.passes(60)
    again = acknowledges(downloader, download.id, clientId="amtsbote", referenceId="other")
    other = acknowledges(downloader, download.id, clientId="spooler")

    assert (first.status, again.status, again.json()) == (200, 200, first.json())
    assert first.json()["downloaded"] == "2026-02-19T14:30:00Z"
    assert (first.json()["downloadedByClient"], first.json()["downloadedReferenceId"]) == ("amtsbote", "a/b/c")
    assert refusal(other) == (409, "client.download_already_saved")
    assert other.json()["status"] == "CONFLICT"
    [made] = portal.acknowledgements()
    assert (made.download_id, made.client_id, made.reference_id) == (download.id, "amtsbote", "a/b/c")


def test_an_acknowledged_download_leaves_the_list(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    taken, left = portal.add_download(target), portal.add_download(target)
    downloader = caller.acting_as(RESULTS)
    acknowledges(downloader, taken.id, clientId="amtsbote")

    assert [each["id"] for each in downloader.lists("/v1/downloads?downloaded=false")] == [left.id]
    assert [each["id"] for each in downloader.lists("/v1/downloads?downloaded=true")] == [taken.id]
    assert len(downloader.lists("/v1/downloads?downloaded=null")) == len(downloader.lists("/v1/downloads")) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"clientId": ""},
        {"clientId": "x" * 256},
        {"clientId": "a", "referenceId": ""},
        {"clientId": "a", "referenceId": "x" * 256},
        {"clientId": "a", "more": 1},
    ],
)
def test_an_acknowledgement_is_checked(
    portal: SimulatedDocxworld, caller: Caller, target: Target, body: dict[str, Any]
) -> None:
    download = portal.add_download(target)
    assert refusal(acknowledges(caller.acting_as(RESULTS), download.id, **body)) == (400, "client.validation")
    assert portal.acknowledgements() == []


def test_what_another_client_holds_and_what_is_gone(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    held, gone, lost = (portal.add_download(target) for _ in range(3))
    downloader = caller.acting_as(RESULTS)
    link = downloader.gets(f"/v1/downloads/{gone.id}/generate-link")["downloadLink"]

    portal.taken_by_other_client(held.id)
    portal.remove(gone.id)
    portal.lose_file(lost.id)

    assert refusal(acknowledges(downloader, held.id, clientId="a")) == (409, "client.download_already_saved")
    assert refusal(acknowledges(downloader, gone.id, clientId="a")) == (404, "client.download_not_exists")
    assert s3_refusal(fetch("GET", link)) == (404, "NoSuchKey")
    lost_link = downloader.asks("GET", f"/v1/downloads/{lost.id}/generate-link")
    assert refusal(lost_link) == (404, "client.file_not_exists")


def test_an_upload_shows_its_downloads(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    process_id = uploads(caller, target)
    download = portal.add_download(target, process_id=process_id)
    acknowledges(caller.acting_as(RESULTS), download.id, clientId="amtsbote", referenceId="r")

    [shown] = caller.gets(f"/v1/uploads/{process_id}")["downloads"]
    [listed] = caller.lists("/v1/uploads")

    assert (shown["id"], shown["downloadedByClient"], shown["downloadedReferenceId"]) == (download.id, "amtsbote", "r")
    assert listed["downloads"] == [shown]


# --- drafts ----------------------------------------------------------------------------------------------------------


def draft_request(target: Target, **changes: Any) -> dict[str, Any]:
    return {
        "targetId": target.id,
        "fileName": "generated.xml",
        "downloadType": "RESULT",
        "referenceId": "external-42",
        "metadata": {"sourceSystem": "säp"},
        **changes,
    }


def drafts(technical: Caller, target: Target, **changes: Any) -> Answer:
    return technical.acting_as(None).asks("POST", "/v1/downloads/", draft_request(target, **changes))


def test_a_draft_is_finalised_by_its_file(portal: SimulatedDocxworld, technical: Caller, target: Target) -> None:
    draft = drafts(technical, target).json()
    assert draft["headers"] == {
        "x-amz-meta-x-pf-sourcesystem": base64.b64encode("säp".encode()).decode(),
        "x-amz-meta-contractnumber": "customerContract-1-1",
    }
    downloader = technical.acting_as(RESULTS)
    assert downloader.lists("/v1/downloads") == []

    assert fetch("PUT", draft["uploadUrl"], b"<xml/>", draft["headers"]).status == 200

    [ready] = downloader.lists("/v1/downloads")
    assert (ready["id"], ready["referenceId"], ready["size"]) == (draft["id"], "external-42", 6)
    assert ready["metadata"] == {"sourceSystem": "säp"}
    assert [each.id for each in portal.drafts(Readiness.READY)] == [draft["id"]]
    assert portal.downloaded_content(draft["id"]) == Content(hashlib.sha256(b"<xml/>").hexdigest(), 6)


@pytest.mark.parametrize("headers", [{}, {"x-amz-meta-x-pf-sourcesystem": "other"}])
def test_a_file_without_the_metadata_of_its_draft_is_an_error(
    portal: SimulatedDocxworld, technical: Caller, target: Target, headers: dict[str, str]
) -> None:
    portal.downloads.draft_headers_signed = False
    draft = drafts(technical, target).json()
    assert fetch("PUT", draft["uploadUrl"], b"<xml/>", headers).status == 200
    assert [each.id for each in portal.drafts(Readiness.ERROR)] == [draft["id"]]

    fetch("PUT", draft["uploadUrl"], b"<xml/>", draft["headers"])
    assert technical.acting_as(RESULTS).lists("/v1/downloads") == []


def test_the_storage_insists_on_the_metadata_itself(technical: Caller, target: Target) -> None:
    draft = drafts(technical, target).json()
    assert s3_refusal(fetch("PUT", draft["uploadUrl"], b"<xml/>", {})) == (403, "SignatureDoesNotMatch")
    assert fetch("PUT", draft["uploadUrl"], b"<xml/>", draft["headers"]).status == 200


def test_the_ids_of_drafts_and_of_an_approval_task_can_be_known_beforehand(
    portal: SimulatedDocxworld, technical: Caller, user: Account, target: Target
) -> None:
    portal.downloads.draft_ids = ["d1"]
    ids = [drafts(technical, target).json()["id"] for _ in range(2)]
    assert ids[0] == "d1" != ids[1]
    assert portal.downloads.draft_ids == []
    portal.follow_script(target.id, (Step(0, "UPLOADED"), Step(0, "WAITING_APPROVAL", task_id="t1")))
    assert portal.add_upload(user, target, b"a letter").task_id == "t1"


def test_a_draft_is_for_technical_access_without_a_role(
    portal: SimulatedDocxworld, caller: Caller, technical: Caller, target: Target
) -> None:
    body = draft_request(target)
    by_user = caller.acting_as(None).asks("POST", "/v1/downloads/", body)
    with_role = technical.asks("POST", "/v1/downloads/", body)
    assert refusal(by_user) == (403, "client.technical_access_required")
    assert refusal(with_role) == (400, "client.validation")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"targetId": str(uuid4())}, (404, "client.target_not_exists")),
        ({"fileName": ""}, (400, "client.validation")),
        ({"downloadType": None}, (400, "client.validation")),
        ({"downloadType": "LETTER"}, (400, "client.malformed_request")),
        ({"referenceId": " "}, (400, "client.validation")),
        ({"metadata": {"a b": "1"}}, (400, "client.validation")),
        ({"metadata": {"key": "1", "KEY": "2"}}, (400, "client.validation")),
        ({"metadata": {"key": "x" * 1600}}, (400, "client.validation")),
        ({"metadata": {"key": 1}}, (400, "client.malformed_request")),
        ({"type": "RESULT"}, (400, "client.validation")),
    ],
)
def test_a_draft_is_checked(
    technical: Caller, target: Target, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert refusal(drafts(technical, target, **changes)) == expected


def test_metadata_up_to_2_kb_are_taken(technical: Caller, target: Target) -> None:
    assert drafts(technical, target, metadata={"key": "x" * 1533}).status == 200


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_lost_answer_has_had_its_effect(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    download = portal.add_download(target)
    portal.faults.add(Fault(Kind.LOST_ANSWER, "POST /v1/downloads/.*/acknowledge", times=1))
    downloader = caller.acting_as(RESULTS)

    with pytest.raises((HTTPException, OSError)):
        acknowledges(downloader, download.id, clientId="amtsbote")

    assert len(portal.acknowledgements()) == 1
    assert acknowledges(downloader, download.id, clientId="amtsbote").status == 200


def test_a_truncated_file_is_noticed_by_its_length(portal: SimulatedDocxworld, caller: Caller, target: Target) -> None:
    download = portal.add_download(target, bytes(MIB))
    link = caller.acting_as(RESULTS).gets(f"/v1/downloads/{download.id}/generate-link")["downloadLink"]
    portal.faults.add(Fault(Kind.TRUNCATED_BODY, "GET /s3/.*", times=1))

    with pytest.raises(HTTPException):
        fetch("GET", link)
    assert fetch("GET", link).body == bytes(MIB)


def test_each_endpoint_has_its_own_word_for_spent_credentials(
    portal: SimulatedDocxworld, caller: Caller, technical: Caller, target: Target
) -> None:
    opened = opens(caller, target, b"letter")
    portal.faults.add(Fault(Kind.EXPIRED_TOKEN))

    assert refusal(caller.asks("GET", "/v1/uploads")) == (401, "client.unauthorized")
    assert logs_in(portal).json()["__type"] == "NotAuthorizedException"
    assert asks_for_token(portal).json() == {"error": "invalid_client"}
    assert s3_refusal(puts(opened, b"letter")) == (403, "AccessDenied")


def test_errors_of_faults_have_the_documented_body(portal: SimulatedDocxworld, caller: Caller) -> None:
    portal.faults.add(Fault(Kind.TOO_MANY_REQUESTS, retry_after=7, times=1))
    portal.faults.add(Fault(Kind.SERVER_ERROR, times=1))
    busy, broken = caller.asks("GET", "/v1/uploads"), caller.asks("GET", "/v1/uploads")
    assert (refusal(busy)[0], busy.headers["retry-after"]) == (429, "7")
    assert refusal(broken) == (500, "server.unexpected_internal")


def test_secrets_are_not_recorded(portal: SimulatedDocxworld, caller: Caller) -> None:
    caller.asks("GET", "/v1/uploads")
    assert str(caller.token) not in repr(portal.requests)
    assert "authorization" in portal.requests[-1].header_names


def test_contents_go_with_the_portal(clock: Clock) -> None:
    portal = SimulatedDocxworld(clock=clock)
    portal.add_download(portal.add_target(), b"letter")
    folder = portal.storage.folder
    assert any(folder.iterdir())
    portal.close()
    assert not folder.exists()


def test_the_path_of_an_object_is_what_its_key_says(caller: Caller, target: Target) -> None:
    opened = opens(caller, target, fileName="Ä b.pdf")
    path = urlsplit(opened["uploadUrls"][0]).path
    assert unquote(path) == f"/s3/dwc-upload/{opened['s3Key']}"
    assert path.endswith(quote("Ä b.pdf"))
