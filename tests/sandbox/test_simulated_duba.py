"""The simulated DUBA against the vendor's guide: what it accepts, what it refuses, what it remembers."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.client import IncompleteRead
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest

from sandbox.portals.duba import ALWAYS_USED_JOB, NEVER, AckStatus, SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import RunningPortal, serve
from tests.sandbox.client import Answer, ask, ask_json, basic

USER, PASSWORD = "klinikum", "päß:wort"
START = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
API = "/api/duba/v1"
JSON = "application/json"


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def duba(clock: Clock) -> SimulatedDuba:
    return SimulatedDuba(USER, PASSWORD, clock=clock)


@pytest.fixture
def port(duba: SimulatedDuba) -> Iterator[int]:
    with serve(duba) as running:
        yield running.port


def call(port: int, method: str, path: str, body: bytes | None = None, content_type: str | None = None) -> Answer:
    headers = {"Authorization": basic(USER, PASSWORD)}
    if content_type is not None:
        headers["Content-Type"] = content_type
    return ask(port, method, API + path, body=body, headers=headers)


def post(port: int, path: str, document: Any) -> Answer:

    return call(port, "POST", path, json.dumps(document).encode(), JSON)


def listed(port: int, query: str = "") -> list[int]:
    answer = call(port, "GET", f"/messages{query}")
    assert answer.status == 200
    return [row["id"] for row in answer.json()]


def download(port: int, id: int | str, method: str = "GET") -> Answer:
    return call(port, method, f"/download/{id}")


def acknowledge(port: int, *ids: int) -> list[str]:
    answer = post(port, "/messages/ack", {"messageIds": list(ids)})
    assert answer.status == 200
    assert [result["id"] for result in answer.json()["results"]] == list(ids)
    assert all(result["message"] for result in answer.json()["results"])
    return [result["status"] for result in answer.json()["results"]]


# --- authentication ---


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!",
        basic(USER, "wrong"),
        basic("other", PASSWORD),
        basic(USER, PASSWORD).replace("Basic", "Bearer"),
    ],
)
@pytest.mark.parametrize("target", ["GET /messages", "GET /download/1", "POST /messages/ack", "POST /memento"])
def test_without_the_right_credentials_nothing_is_answered(
    duba: SimulatedDuba, port: int, authorization: str | None, target: str
) -> None:
    duba.add_message(1)
    method, path = target.split()
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = ask(port, method, API + path, body=b'{"messageIds": [1]}' if method == "POST" else None, headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert duba.listed_ids() == [1]


def test_a_changed_password_replaces_the_old_one(duba: SimulatedDuba, port: int) -> None:
    duba.change_password("neu")
    assert call(port, "GET", "/messages").status == 401
    answer = ask(port, "GET", f"{API}/messages", headers={"Authorization": basic(USER, "neu")})
    assert answer.status == 200


def test_an_expired_credential_is_answered_like_a_wrong_one(duba: SimulatedDuba, port: int) -> None:
    duba.faults.add(Fault(Kind.EXPIRED_TOKEN, times=1))
    answer = call(port, "GET", "/messages")
    assert answer.status == 401 and "www-authenticate" in answer.headers
    assert call(port, "GET", "/messages").status == 200


def test_deriving_the_key_takes_its_time_and_only_for_the_right_user() -> None:
    with serve(SimulatedDuba(USER, PASSWORD, latency_seconds=0.15)) as running:
        started = time.monotonic()
        assert ask(running.port, "GET", f"{API}/messages").status == 401
        refused = time.monotonic()
        assert call(running.port, "GET", "/messages").status == 200
        assert refused - started < 0.15 <= time.monotonic() - refused


# --- listing ---


def test_a_hydrated_message_is_listed_with_all_its_fields(duba: SimulatedDuba, port: int, clock: Clock) -> None:
    duba.add_message(214, message_id="gov2test_1", job_id="job-1", aktenzeichen="12 XVII 456/24", created_at=START)
    clock.now += timedelta(minutes=1)
    assert call(port, "GET", "/messages").json() == [
        {
            "id": 214,
            "messageId": "gov2test_1",
            "jobId": "job-1",
            "aktenzeichen": "12 XVII 456/24",
            "direction": "INCOMING",
            "createdAt": "2026-02-19T14:30:00Z",
            "receivedAt": "2026-02-19T14:30:00Z",
            "hydratedAt": "2026-02-19T14:30:00Z",
            "url": "/api/duba/v1/download/214",
        }
    ]


def test_what_hydration_finds_out_is_null_before_it(duba: SimulatedDuba, port: int, clock: Clock) -> None:
    duba.add_message(1, job_id="job-1", aktenzeichen="1 XVII 1/26", hydrated=False)
    (row,) = call(port, "GET", "/messages").json()
    assert [row[name] for name in ("jobId", "aktenzeichen", "receivedAt", "hydratedAt")] == [None] * 4
    clock.now += timedelta(hours=1)
    duba.hydrate(1)
    (row,) = call(port, "GET", "/messages").json()
    assert (row["jobId"], row["aktenzeichen"]) == ("job-1", "1 XVII 1/26")
    assert (row["createdAt"], row["hydratedAt"]) == ("2026-02-19T14:30:00Z", "2026-02-19T15:30:00Z")


def test_a_job_filter_shows_hydrated_messages_of_these_jobs_only(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, job_id="a")
    duba.add_message(2, job_id="b", hydrated=False)
    duba.add_message(3, job_id="c")
    duba.add_message(4)
    assert listed(port) == [1, 2, 3, 4]
    assert listed(port, "?jobId=a&jobId=b") == [1]
    duba.hydrate(2)
    assert listed(port, "?jobId=a&jobId=b") == [1, 2]


def test_a_safe_id_filter_shows_these_mailboxes(duba: SimulatedDuba, port: int) -> None:
    for id, safe_id in enumerate(("x", "y", "z"), start=1):
        duba.add_message(id, safe_id=safe_id, job_id="job")
    assert listed(port, "?safeId=x&safeId=z") == [1, 3]
    assert listed(port, "?safeId=x&jobId=job&since=2026-02-19T14:29:59Z") == [1]


def test_since_is_strictly_after_the_creation_time(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, created_at=START)
    duba.add_message(2, created_at=START + timedelta(seconds=1))
    assert listed(port, "?since=2026-02-19T14:29:59Z") == [1, 2]
    assert listed(port, "?since=2026-02-19T14:30:00Z") == [2]


@pytest.mark.parametrize(
    "since", ["2026-02-19T14:30:00.5Z", "2026-02-19T14:30:00%2B00:00", "2026-02-19T14:30:00.123456Z"]
)
def test_since_may_have_a_fraction_or_a_spelled_out_offset(duba: SimulatedDuba, port: int, since: str) -> None:
    duba.add_message(1, created_at=START + timedelta(seconds=1))
    assert listed(port, f"?since={since}") == [1]


@pytest.mark.parametrize(
    "query",
    [
        "since=invalid-date",
        "since=2026-02-19",
        "since=2026-02-19T14:30:00",
        "since=2026-02-19%2014:30:00Z",
        "since=2026-02-19T15:30:00%2B01:00",
        "since=2026-02-19T14:30:00+00:00",
        "since=2026-02-30T14:30:00Z",
        "since=1771511400",
        "since=2026-02-19T14:30:00Z&since=2026-02-19T14:30:00Z",
        "since=",
        "jobId=",
        "jobID=a",
        "direction=INCOMING",
        "page=1",
    ],
)
def test_a_malformed_or_unknown_parameter_is_refused(port: int, query: str) -> None:
    answer = call(port, "GET", f"/messages?{query}")
    assert answer.status == 400 and answer.json()["error"]


def test_a_late_row_appears_with_its_old_creation_time(duba: SimulatedDuba, port: int, clock: Clock) -> None:
    duba.add_message(1, created_at=START - timedelta(hours=1), visible_after=START + timedelta(minutes=5))
    assert listed(port) == [] and download(port, 1).status == 404 and acknowledge(port, 1) == ["NOT_FOUND"]
    clock.now += timedelta(minutes=6)
    assert listed(port) == [1]
    assert listed(port, "?since=2026-02-19T14:00:00Z") == []


def test_a_hidden_message_appears_when_it_is_revealed(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, visible_after=NEVER)
    assert listed(port) == []
    duba.reveal(1)
    assert listed(port) == [1]


def test_a_row_can_be_listed_twice(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, listed_times=2)
    assert listed(port) == [1, 1]


def test_one_transport_message_may_lie_under_several_ids(duba: SimulatedDuba, port: int) -> None:
    ids = [duba.add_message(message_id="same"), duba.add_message(message_id="same")]
    assert ids == [1, 2] and listed(port) == [1, 2]


def test_messages_of_other_mailboxes_are_kept_from_the_user() -> None:
    duba = SimulatedDuba(USER, PASSWORD, safe_ids=["ours"])
    duba.add_message(1, safe_id="ours")
    duba.add_message(2, safe_id="theirs")
    with serve(duba) as running:
        assert listed(running.port) == [1]
        assert listed(running.port, "?safeId=theirs") == []
        assert download(running.port, 2).status == 403
        assert acknowledge(running.port, 2) == ["FORBIDDEN"]


def test_an_outgoing_message_is_not_received_until_the_court_fetches_it(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, direction="OUTGOING")
    (row,) = call(port, "GET", "/messages").json()
    assert (row["direction"], row["receivedAt"]) == ("OUTGOING", None) and row["hydratedAt"]


def test_an_id_is_used_once_and_a_direction_is_one_of_two(duba: SimulatedDuba) -> None:
    duba.add_message(1)
    with pytest.raises(ValueError, match="1"):
        duba.add_message(1)
    with pytest.raises(ValueError, match="incoming"):
        duba.add_message(2, direction="incoming")


# --- download ---


def test_a_message_is_a_zip_with_an_xjustiz_file_that_lists_the_attachment(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(7, aktenzeichen="12 XVII 456/24 <neu>")
    answer = download(port, 7)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-length"] == str(len(answer.body))
    archive = ZipFile(BytesIO(answer.body))
    assert archive.testzip() is None
    message = ElementTree.fromstring(archive.read("xjustiz_nachricht.xml"))  # noqa: S314 - our own bytes
    assert message.findtext(".//{http://www.xjustiz.de}aktenzeichen.absender") == "12 XVII 456/24 <neu>"
    name = message.findtext(".//{http://www.xjustiz.de}dateiname")
    assert name is not None and archive.read(name).startswith(b"%PDF-1.4")


def test_the_same_message_has_the_same_bytes_and_another_has_others(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    duba.add_message(2)
    assert download(port, 1).body == download(port, 1).body != download(port, 2).body
    assert (duba.downloads_of(1), duba.downloads_of(2)) == (2, 1)


def test_a_varying_zip_has_the_same_files_and_another_hash() -> None:
    duba = SimulatedDuba(USER, PASSWORD, zip_varies=True)
    duba.add_message(1)
    duba.add_message(2, content=b"no zip")
    with serve(duba) as running:
        first, second = download(running.port, 1).body, download(running.port, 1).body
        assert sha256(first).digest() != sha256(second).digest()
        one, other = ZipFile(BytesIO(first)), ZipFile(BytesIO(second))
        assert [(i.filename, i.CRC) for i in one.infolist()] == [(i.filename, i.CRC) for i in other.infolist()]
        assert download(running.port, 2).body == b"no zip"


def test_head_shows_the_length_and_is_no_download(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    head = download(port, 1, "HEAD")
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", "application/zip")
    assert duba.downloads_of(1) == 0
    assert head.headers["content-length"] == str(len(download(port, 1).body))


@pytest.mark.parametrize("content", [b"<html>no zip</html>", b""])
def test_content_need_not_be_a_zip(duba: SimulatedDuba, port: int, content: bytes) -> None:
    duba.add_message(1, content=content, content_type="text/html")
    answer = download(port, 1)
    assert (answer.body, answer.headers["content-type"]) == (content, "text/html")


def test_large_content_comes_from_a_file(duba: SimulatedDuba, port: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / "large.zip").write_bytes(content)
    duba.add_message(1, content=tmp_path / "large.zip")
    assert download(port, 1).body == content
    assert acknowledge(port, 1) == ["DELETED"]
    assert (tmp_path / "large.zip").exists()


def test_what_cannot_be_downloaded(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, hydrated=False)
    duba.add_message(2)
    duba.forbid(2)
    statuses = [download(port, id).status for id in (1, 2, 99, "abc", "-1", quote("²"))]
    assert statuses == [404, 403, 404, 400, 400, 400]
    assert download(port, 99, "HEAD").status == 404
    assert (duba.downloads_of(1), duba.downloads_of(2)) == (0, 0)


def test_a_truncated_download_promises_more_than_it_sends(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    duba.faults.add(Fault(Kind.TRUNCATED_BODY, match=f"GET {API}/download/.*", times=1))
    with pytest.raises(IncompleteRead):
        download(port, 1)
    assert ZipFile(BytesIO(download(port, 1).body)).testzip() is None


@pytest.mark.parametrize("delete", ["retention_delete", "sync_delete"])
def test_a_message_that_the_portal_removed_is_gone_and_was_not_acknowledged(
    duba: SimulatedDuba, port: int, delete: str
) -> None:
    duba.add_message(1)
    getattr(duba, delete)(1)
    assert listed(port) == [] and download(port, 1).status == 404
    assert acknowledge(port, 1) == ["ALREADY_DELETED"]
    assert duba.acknowledged_ids() == []


# --- acknowledgement ---


def test_an_acknowledged_message_is_gone_at_once_and_its_metadata_stays(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, aktenzeichen="1 XVII 1/26")
    assert acknowledge(port, 1) == ["DELETED"]
    assert listed(port) == [] and download(port, 1).status == 404
    assert duba.acknowledged_ids() == [1]
    assert (duba.messages[1].content, duba.messages[1].aktenzeichen) == (None, "1 XVII 1/26")


def test_an_acknowledged_message_stays_one_when_retention_comes_later(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    acknowledge(port, 1)
    duba.retention_delete(1)
    assert duba.acknowledged_ids() == [1]


def test_some_acknowledgements_succeed_while_others_fail(duba: SimulatedDuba, port: int) -> None:
    for id in (1, 2, 3, 4):
        duba.add_message(id)
    acknowledge(port, 2)
    duba.forbid(3)
    duba.fail_ack_once(4)
    statuses = acknowledge(port, 1, 2, 3, 4, 99)
    assert statuses == ["DELETED", "ALREADY_DELETED", "FORBIDDEN", "ERROR", "NOT_FOUND"]
    assert listed(port) == [3, 4]
    assert acknowledge(port, 4) == ["DELETED"]
    assert duba.ack_batches == [(2,), (1, 2, 3, 4, 99), (4,)]


def test_an_answer_may_leave_a_message_out_and_then_nothing_has_happened_to_it(duba: SimulatedDuba, port: int) -> None:
    for id in (1, 2):
        duba.add_message(id)
    duba.leave_out_of_ack_once(2)
    answer = post(port, "/messages/ack", {"messageIds": [1, 2]})
    assert [(result["id"], result["status"]) for result in answer.json()["results"]] == [(1, "DELETED")]
    assert listed(port) == [2]
    assert acknowledge(port, 2) == ["DELETED"]


def test_the_same_id_twice_in_one_batch_is_deleted_once(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    assert acknowledge(port, 1, 1) == ["DELETED", "ALREADY_DELETED"]


def test_a_message_nobody_downloaded_is_deleted_all_the_same(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1, hydrated=False)
    assert acknowledge(port, 1) == ["DELETED"]


def test_an_overridden_status_has_no_effect(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    duba.override_ack(1, AckStatus.NOT_FOUND)
    assert acknowledge(port, 1) == acknowledge(port, 1) == ["NOT_FOUND"]
    assert listed(port) == [1]


def test_a_lost_answer_to_an_acknowledgement_leaves_it_done(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    duba.faults.add(Fault(Kind.LOST_ANSWER, match=f"POST {API}/messages/ack", times=1))
    with pytest.raises(ConnectionResetError):
        acknowledge(port, 1)
    assert duba.acknowledged_ids() == [1]
    assert acknowledge(port, 1) == ["ALREADY_DELETED"]


def test_a_hundred_messages_are_acknowledged_at_once_and_no_more(duba: SimulatedDuba, port: int) -> None:
    assert acknowledge(port, *range(1, 101)) == ["NOT_FOUND"] * 100
    assert post(port, "/messages/ack", {"messageIds": list(range(101))}).status == 400
    assert len(duba.ack_batches) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[1]",
        b"{}",
        b'{"messageIds": []}',
        b'{"messageIds": 1}',
        b'{"messageIds": null}',
        b'{"messageIds": ["1"]}',
        b'{"messageIds": [1, "2"]}',
        b'{"messageIds": [1.0]}',
        b'{"messageIds": [true]}',
        b'{"messageIds": [9223372036854775808]}',
        b'{"messageIds": [1], "reason": "done"}',
    ],
)
def test_a_malformed_acknowledgement_is_refused_whole(duba: SimulatedDuba, port: int, body: bytes) -> None:
    duba.add_message(1)
    answer = call(port, "POST", "/messages/ack", body, JSON)
    assert answer.status == 400 and answer.json()["error"]
    assert duba.listed_ids() == [1] and duba.ack_batches == []


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_an_acknowledgement_must_say_that_it_is_json(duba: SimulatedDuba, port: int, content_type: str | None) -> None:
    duba.add_message(1)
    assert call(port, "POST", "/messages/ack", b'{"messageIds": [1]}', content_type).status == 400
    assert duba.acknowledged_ids() == []
    assert call(port, "POST", "/messages/ack", b'{"messageIds": [1]}', f"{JSON}; charset=utf-8").status == 200


# --- memento ---

FORM: dict[str, Any] = {
    "jobId": "job-2024-12345",
    "meldeZeitpunkt": "2025-12-10T14:30:00+01:00",
    "absender": {"name": "Klinikum Musterstadt", "aktenzeichen": "KH-2024-001", "egvp_account_id": 42},
    "empfaenger": {
        "name": "Amtsgericht Musterstadt",
        "type": "Gericht",
        "safeId": "gov2test",
        "aktenzeichen": "AZ-2024-67890",
        "adresse": {"strasse": "Gerichtsplatz 1", "plz": "12345", "stadt": "Musterstadt"},
    },
    "betroffener": {
        "name": {"vorname": "Max", "nachname": "Mustermann"},
        "geburtsdatum": "1950-01-15",
        "familienstand": "Verheiratet",
        "anschrift": {"strasse": "Musterstraße 42", "plz": "12345", "stadt": "Musterstadt"},
        "anschriftTelefon": "+49 123 456789",
        "gegenwaertigerAufenthalt": "Klinik XY, Station 3, Zimmer 12",
    },
}


def open_form(port: int, link: str) -> tuple[int, str | None]:
    answer = ask(port, "GET", link)
    return answer.status, answer.headers.get("location")


@pytest.mark.parametrize(
    "form", [FORM, {"jobId": "job-1"}, {"jobId": "job-1", "weiteres": {"feld": 1}, "absender": None}]
)
def test_form_data_becomes_a_memento_and_a_relative_link(duba: SimulatedDuba, port: int, form: dict[str, Any]) -> None:
    answer = post(port, "/memento", form)
    assert answer.status == 200 and set(answer.json()) == {"memento", "magicLink"}
    memento, link = answer.json()["memento"], answer.json()["magicLink"]
    assert link.startswith("/mtl/") and link.endswith(f"/duba/?m={memento}")
    assert quote(memento, safe="") == memento
    assert [(each.job_id, each.form) for each in duba.mementos] == [(form["jobId"], form)]


def test_each_memento_is_unique_even_for_the_same_data(port: int) -> None:
    first, second = (post(port, "/memento", FORM).json() for _ in range(2))
    assert first["memento"] != second["memento"] and first["magicLink"] != second["magicLink"]


def test_a_missing_job_id_is_answered_as_documented(duba: SimulatedDuba, port: int) -> None:
    answer = post(port, "/memento", {"invalid": "data"})
    assert answer.status == 400
    assert answer.json() == {"error": "Validation failed", "errors": ["Field 'jobId' is required"]}
    assert duba.mementos == []


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"jobId": ""}, ["jobId"]),
        ({"jobId": 7}, ["jobId"]),
        ({"jobId": "j", "meldeZeitpunkt": "gestern"}, ["meldeZeitpunkt"]),
        ({"jobId": "j", "meldeZeitpunkt": "2025-12-10"}, ["meldeZeitpunkt"]),
        ({"jobId": "j", "absender": {"egvp_account_id": "42"}}, ["absender.egvp_account_id"]),
        ({"jobId": "j", "absender": {"egvp_account_id": True}}, ["absender.egvp_account_id"]),
        ({"jobId": "j", "absender": "Klinikum"}, ["absender"]),
        ({"jobId": "j", "empfaenger": {"type": "gericht"}}, ["empfaenger.type"]),
        ({"jobId": "j", "empfaenger": {"adresse": {"plz": 12345}}}, ["empfaenger.adresse.plz"]),
        ({"jobId": "j", "betroffener": {"geburtsdatum": "15.01.1950"}}, ["betroffener.geburtsdatum"]),
        ({"jobId": "j", "betroffener": {"geburtsdatum": "1950-02-30"}}, ["betroffener.geburtsdatum"]),
        (
            {"jobId": "j", "betroffener": {"familienstand": "Getrennt", "name": []}},
            ["betroffener.name", "betroffener.familienstand"],
        ),
    ],
)
def test_each_wrong_field_is_named(port: int, form: dict[str, Any], named: list[str]) -> None:
    answer = post(port, "/memento", form)
    assert answer.status == 400
    assert [error.split("'")[1] for error in answer.json()["errors"]] == named


def test_a_body_that_is_no_json_object_is_refused(port: int) -> None:
    assert post(port, "/memento", ["jobId"]).json()["errors"]
    assert call(port, "POST", "/memento", b"{", JSON).status == 400
    assert call(port, "POST", "/memento", b'{"jobId": "j"}', "text/plain").status == 400


def test_a_link_may_be_missing() -> None:
    with serve(SimulatedDuba(USER, PASSWORD, magic_links=False)) as running:
        answer = post(running.port, "/memento", FORM).json()
    assert answer["magicLink"] is None and answer["memento"]


def test_the_link_opens_the_form_without_credentials_once_per_job(port: int) -> None:
    first, second = (post(port, "/memento", FORM).json()["magicLink"] for _ in range(2))
    assert open_form(port, first) == (200, None)
    assert open_form(port, first) == open_form(port, second) == (302, "/duba/error")


def test_the_reserved_job_always_counts_as_used(port: int) -> None:
    link = post(port, "/memento", {"jobId": ALWAYS_USED_JOB}).json()["magicLink"]
    assert open_form(port, link) == (302, "/duba/error")


def test_a_link_dies_after_an_hour_and_with_the_password(duba: SimulatedDuba, port: int, clock: Clock) -> None:
    old = post(port, "/memento", FORM).json()["magicLink"]
    clock.now += timedelta(hours=1, seconds=1)
    young = post(port, "/memento", FORM).json()["magicLink"]
    assert open_form(port, old) == (302, "/login")
    duba.change_password("neu")
    assert open_form(port, young) == (302, "/login")
    assert open_form(port, "/mtl//duba/?m=") == (404, None)


# --- over HTTP, for a person ---


def test_a_message_is_added_and_hydrated_over_http(duba: SimulatedDuba, port: int) -> None:
    message = {"id": 5, "jobId": "j", "createdAt": "2026-02-19T10:00:00Z", "hydrated": False, "safeId": None}
    added = control(port, "/messages", message)
    assert (added.status, added.json()["createdAt"], added.json()["hydratedAt"]) == (201, "2026-02-19T10:00:00Z", None)
    assert control(port, "/messages/5/hydrate", {}).json()["jobId"] == "j"
    assert control(port, "/messages/6/hydrate", {}).status == 404
    assert control(port, "/messages", {"contentBase64": b64encode(b"no zip").decode()}).json()["id"] == 6
    assert download(port, 6).body == b"no zip"


@pytest.mark.parametrize(
    "message",
    [
        [],
        {"id": "5"},
        {"id": 1},
        {"unknown": 1},
        {"hydrated": "no"},
        {"createdAt": "gestern"},
        {"direction": "UP"},
        {"contentBase64": "?"},
    ],
)
def test_a_malformed_message_is_refused(duba: SimulatedDuba, port: int, message: object) -> None:
    duba.add_message(1)
    assert control(port, "/messages", message).status == 400
    assert duba.listed_ids() == [1]


def test_the_state_shows_counts_and_no_credentials(duba: SimulatedDuba, port: int) -> None:
    duba.add_message(1)
    duba.add_message(2, hydrated=False)
    download(port, 1)
    acknowledge(port, 1)
    answer = ask(port, "GET", "/_sandbox/state")
    counts = {
        "messages": 2,
        "hydrated": 1,
        "acknowledged": 1,
        "deleted": 1,
        "downloads": 1,
        "ackBatches": 1,
        "mementos": 0,
    }
    assert answer.json() == {"portal": "duba", "requests": 2, "faults": [], **counts}


def test_a_test_may_change_the_mailbox_while_it_is_served(duba: SimulatedDuba, port: int) -> None:
    for id in range(1, 30):
        duba.add_message(id)
        assert listed(port) == list(range(1, id + 1))


def test_it_comes_back_on_its_port_with_its_messages(duba: SimulatedDuba) -> None:
    with serve(duba) as first:
        duba.add_message(1)
    with serve(duba, port=first.port) as second:
        assert listed(second.port) == [1]


def control(port: int, path: str, document: object) -> Answer:
    return ask_json(port, "POST", f"/_sandbox{path}", document)


def test_the_portal_type_is_kept_by_serve(duba: SimulatedDuba) -> None:
    running: RunningPortal[SimulatedDuba]
    with serve(duba) as running:
        assert running.portal is duba and duba.base_url == running.base_url
