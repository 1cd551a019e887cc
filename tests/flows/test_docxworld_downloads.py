"""What docxworld holds ready arrives in the inbox once and is acknowledged; nobody else's is touched."""

import json
from hashlib import sha256
from typing import Any

import pytest

from amtsbote.messages import ConnectionTask, Task
from amtsbote.reconciliation import Kind as Differs
from amtsbote.status import failed
from sandbox.portals.docxworld import Download
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import MOST_PER_PAGE, USER_LOGIN, LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld, moments
from tests.flows.world import INBOX, OUTBOX

LIST, LINK, STORAGE, ACKNOWLEDGE = (
    "GET /v1/downloads",
    "GET /v1/downloads/.*/generate-link",
    "GET /s3/.*",
    "POST /v1/downloads/.*/acknowledge",
)
ROLES = {"RESULT": "ROLE_CUSTOMER_DOWNLOADER_RESULTS", "REPORT": "ROLE_CUSTOMER_DOWNLOADER_REPORTS"}
CONTENT = b"%PDF-1.7 kanarienvogel-Inhalt"
CALM_MINUTES = 11  # longer than a lease and than a message stays hidden


def add(docxworld: ObservedDocxworld, name: str = "ergebnis.pdf", content: bytes = CONTENT, **more: Any) -> Download:
    """Lay a download ready."""
    return docxworld.add_download(docxworld.letters, content, file_name=name, **more)


def file_of(world: MortalWorld, download: Download) -> dict[str, Any]:
    """Return what document.json says of the one file of a download."""
    (file,) = world.document("klinikum", download.id)["files"]
    assert isinstance(file, dict)
    return file


def acknowledged(docxworld: ObservedDocxworld) -> list[tuple[str, str, str | None]]:
    """Return which downloads were acknowledged, by which client and under which reference."""
    return [(each.download_id, each.client_id, each.reference_id) for each in docxworld.acknowledgements()]


def ours(*downloads: Download) -> list[tuple[str, str, str]]:
    """Return how we acknowledge downloads."""
    return [(each.id, "amtsbote-test", f"docxworld/klinikum/{each.id}") for each in downloads]


def is_safe_and_acknowledged(docxworld: ObservedDocxworld, world: MortalWorld, download: Download) -> bool:
    """Return whether a download is in the inbox once, whole, and acknowledged once."""
    file = file_of(world, download)
    prefix = f"docxworld/klinikum/{download.id}"
    held = docxworld.downloaded_content(download.id).sha256
    return (
        held == file["sha256"] == sha256(world.content(file["key"])).hexdigest()
        and world.versions(file["key"]) == 1 == world.versions(f"{prefix}/document.json")
        and [each for each in acknowledged(docxworld) if each[0] == download.id] == ours(download)
        and world.state("klinikum", download.id) == "ACKNOWLEDGED"
    )


# --- what arrives ---


def test_results_and_reports_arrive_each_under_its_role(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    downloads = {kind: add(docxworld, f"{kind}.pdf", type=kind) for kind in ROLES}
    docxworld_world.settle()
    for kind, download in downloads.items():
        assert is_safe_and_acknowledged(docxworld, docxworld_world, download)
        asked = [each for each in docxworld.requests if each.path.startswith(f"/v1/downloads/{download.id}/")]
        assert {request.headers["x-pf-dwc-requester-role"] for request in asked} == {ROLES[kind]}
    for request in docxworld.asked("GET", "/v1/downloads"):
        (kind,) = [value for name, value in request.query if name == "downloadTypes"]
        assert request.headers["x-pf-dwc-requester-role"] == ROLES[kind]
        assert ("downloaded", "false") in request.query


@pytest.mark.parametrize("kind", list(ROLES))
def test_only_the_configured_types_are_asked_for(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, kind: str
) -> None:
    docxworld_world.connect("klinikum", docxworld.secret(downloader={"clientId": "amtsbote-test", "types": [kind]}))
    downloads = {each: add(docxworld, type=each) for each in ROLES}
    docxworld_world.settle()
    assert docxworld_world.received("klinikum") == {downloads[kind].id}
    assert {dict(request.query)["downloadTypes"] for request in docxworld.asked("GET", "/v1/downloads")} == {kind}


def test_document_json_says_what_the_contract_promises(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    download = add(docxworld, "Ergebnis März.pdf", metadata={"sourceSystem": "sap"})
    record = json.loads(json.dumps(download.show(len(CONTENT))))
    docxworld_world.settle()
    key = f"docxworld/klinikum/{download.id}/Ergebnis März.pdf"
    assert docxworld_world.content(key) == CONTENT
    assert docxworld_world.document("klinikum", download.id) == {
        "schema": "amtsbote.document/1",
        "portal": "docxworld",
        "connection": "klinikum",
        "id": download.id,
        "receivedAt": docxworld_world.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": [
            {
                "key": key,
                "name": "Ergebnis März.pdf",
                "portalName": "Ergebnis März.pdf",
                "size": len(CONTENT),
                "sha256": sha256(CONTENT).hexdigest(),
                "contentType": "binary/octet-stream",
            }
        ],
        "metadata": record,
    }
    assert docxworld_world.events_of("Document Received") == [
        {
            "portal": "docxworld",
            "connection": "klinikum",
            "id": download.id,
            "key": f"docxworld/klinikum/{download.id}/document.json",
        }
    ]


def test_45_downloads_over_two_pages_are_all_listed_before_the_first_is_acknowledged(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    downloads = [add(docxworld, f"ergebnis-{number}.pdf") for number in range(45)]
    docxworld_world.settle(rounds=2)
    assert sorted(acknowledged(docxworld)) == sorted(ours(*downloads))
    assert docxworld_world.received("klinikum") == {download.id for download in downloads}
    first = next(n for n, each in enumerate(docxworld.requests) if each.path.endswith("/acknowledge"))
    pages = [
        dict(each.query)["page"]
        for each in docxworld.requests[:first]
        if each.path == "/v1/downloads" and ("downloadTypes", "RESULT") in each.query
    ]
    assert pages == ["0", "1"] and MOST_PER_PAGE < 45


def test_an_acknowledgement_during_the_poll_hides_nothing(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    """Given downloads that are stored and not acknowledged, when a poll and an acknowledge turn come together."""
    downloads = [add(docxworld, f"ergebnis-{number}.pdf") for number in range(MOST_PER_PAGE + 5)]
    for task in ("poll", "acknowledge", "poll"):
        docxworld_world.tick(task)
    docxworld_world.drain()
    docxworld_world.settle()
    assert sorted(acknowledged(docxworld)) == sorted(ours(*downloads))


def test_the_presigned_address_is_asked_without_any_credentials(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    add(docxworld)
    docxworld_world.settle()
    (request,) = docxworld.asked("GET", "/s3/.*")
    assert set(request.header_names) <= {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert {"authorization", "x-pf-dwc-requester-role"}.isdisjoint(request.header_names)


def test_an_empty_file_arrives(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    download = add(docxworld, content=b"")
    docxworld_world.settle()
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)


def test_a_large_file_goes_through_in_parts(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    parts = docxworld_world.calls("s3", "UploadPart")
    download = add(docxworld, content=bytes(range(256)) * 40_000)
    docxworld_world.settle()
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)
    assert len(parts) == 2


# --- acknowledging ---


@pytest.mark.parametrize("policy", ["never", "processed"])
def test_the_portal_is_told_when_the_secret_says_so(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, policy: str
) -> None:
    docxworld_world.connect("klinikum", docxworld.secret(acknowledge=policy))
    download = add(docxworld)
    for _ in range(3):
        docxworld_world.later(hours=1)
    assert docxworld_world.received("klinikum") == {download.id} and acknowledged(docxworld) == []
    docxworld_world.mark_processed("klinikum", download.id)
    docxworld_world.later(hours=1)
    assert acknowledged(docxworld) == (ours(download) if policy == "processed" else [])


def test_nothing_is_acknowledged_whose_document_json_is_not_there(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    lost, safe = add(docxworld, "eins.pdf"), add(docxworld, "zwei.pdf")
    docxworld_world.settle("poll", rounds=1)
    key = f"docxworld/klinikum/{lost.id}/document.json"
    docxworld_world.client("s3").delete_object(Bucket=INBOX, Key=key)
    docxworld_world.later(hours=1, rounds=2)
    assert acknowledged(docxworld) == ours(safe)


def test_a_download_that_another_client_took_is_unavailable_and_everybody_is_told(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    contested, free = add(docxworld, "eins.pdf"), add(docxworld, "zwei.pdf")
    docxworld.contested.add(contested.id)  # somebody is quicker, between our link and our acknowledgement
    docxworld_world.settle()
    row = docxworld_world.services.ledger.item("docxworld", "klinikum", contested.id)
    assert row is not None and (row.state, row.reason) == ("UNAVAILABLE", "DOWNLOAD_ALREADY_SAVED")
    (event,) = docxworld_world.events_of("Document Unavailable")
    assert event == {
        "portal": "docxworld",
        "connection": "klinikum",
        "id": contested.id,
        "key": f"docxworld/klinikum/{contested.id}/document.json",
    }
    assert is_safe_and_acknowledged(docxworld, docxworld_world, free)
    docxworld_world.later(days=1, rounds=2)
    assert len(docxworld.asked("POST", f"/v1/downloads/{contested.id}/acknowledge")) == 1, "not hammered"
    assert docxworld_world.events_of("Connection Unhealthy") == []


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.TRUNCATED_BODY, Kind.HTML_WITH_200, Kind.SERVER_ERROR])
def test_a_lost_acknowledgement_is_repeated_and_counts_once(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, kind: Kind
) -> None:
    downloads = [add(docxworld, f"{number}.pdf") for number in range(3)]
    docxworld.faults.add(Fault(kind, ACKNOWLEDGE, times=1))
    docxworld_world.settle(rounds=1)
    assert docxworld_world.events_of("Document Acknowledged") != []
    docxworld_world.later(minutes=2, rounds=2)
    assert all(is_safe_and_acknowledged(docxworld, docxworld_world, each) for each in downloads)
    assert len(docxworld_world.events_of("Document Acknowledged")) == 3


@pytest.mark.parametrize("how", ["lose_file", "remove"])
def test_a_download_that_is_gone_is_unavailable(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, how: str
) -> None:
    gone, there = add(docxworld, "eins.pdf"), add(docxworld, "zwei.pdf")
    docxworld_world.tick("poll")
    docxworld_world.run("poll")
    getattr(docxworld, how)(gone.id)
    docxworld_world.settle()
    assert docxworld_world.state("klinikum", gone.id) == "UNAVAILABLE"
    assert [each["id"] for each in docxworld_world.events_of("Document Unavailable")] == [gone.id]
    assert is_safe_and_acknowledged(docxworld, docxworld_world, there)


# --- hostile names ---

HOSTILE_NAMES = {
    "a path": ("../../../etc/passwd", "passwd"),
    "a Windows path": ("C:\\Briefe\\brief.pdf", "brief.pdf"),
    "control characters": ("br\x00ie\x1b[2Jf\r\n.pdf", "brie[2Jf.pdf"),
    "text that runs backwards": ("brief\u202efdp.exe", "brieffdp.exe"),
    "300 characters": ("ä" * 300 + ".pdf", "ä" * 98 + ".pdf"),
    "decomposed umlauts": ("Ma\u0308rz.pdf", "März.pdf"),
    "our own name": ("document.json", "document-2.json"),
    "our own name, shouted": ("DOCUMENT.JSON", "DOCUMENT-2.JSON"),
    "only dots": ("..", "file"),
}


@pytest.mark.parametrize(("name", "safe"), HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_hostile_name_is_made_safe_and_kept_in_document_json(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, name: str, safe: str
) -> None:
    download = add(docxworld, name)
    docxworld_world.settle()
    file = file_of(docxworld_world, download)
    assert (file["name"], file["portalName"]) == (safe, name)
    assert len(safe.encode()) <= 200
    prefix = f"docxworld/klinikum/{download.id}"
    assert sorted(docxworld_world.inbox_keys()) == sorted([f"{prefix}/{safe}", f"{prefix}/document.json"])
    assert docxworld_world.content(f"{prefix}/{safe}") == CONTENT
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)


def test_two_downloads_of_the_same_name_do_not_meet(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    downloads = [add(docxworld, content=f"Ergebnis {number}".encode()) for number in range(2)]
    docxworld_world.settle()
    assert all(is_safe_and_acknowledged(docxworld, docxworld_world, each) for each in downloads)


# --- portals that stutter ---


@pytest.mark.parametrize(
    "kind", [Kind.TRUNCATED_BODY, Kind.HTML_WITH_200, Kind.RESET, Kind.SERVER_ERROR, Kind.EXPIRED_TOKEN]
)
def test_a_file_that_does_not_come_whole_is_fetched_again(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, kind: Kind
) -> None:
    download = add(docxworld)
    docxworld.faults.add(Fault(kind, STORAGE, times=3))  # three, as HTTP itself repeats a read twice
    docxworld_world.settle()
    assert acknowledged(docxworld) == [] and docxworld_world.inbox_keys() == []
    for _ in range(3):
        docxworld_world.later(minutes=5)
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)
    assert docxworld_world.inbox_keys("quarantine/") == []


def test_a_file_that_is_never_of_the_recorded_size_is_quarantined_with_its_bytes(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    bad, good = add(docxworld, "schlecht.pdf"), add(docxworld, "gut.pdf")
    docxworld.faults.add(Fault(Kind.HTML_WITH_200, f"GET /s3/.*{bad.id}.*"))
    docxworld_world.settle("poll", rounds=1)
    for _ in range(docxworld_world.tries):
        docxworld_world.clock.forward(hours=1, minutes=15)
        docxworld_world.drain()
    docxworld_world.settle()
    assert docxworld_world.state("klinikum", bad.id) == "QUARANTINED"
    kept = docxworld_world.content(f"quarantine/docxworld/klinikum/{bad.id}/schlecht.pdf")
    assert b"Wartungsarbeiten" in kept
    assert acknowledged(docxworld) == ours(good)


@pytest.mark.parametrize("kind", [Kind.HTML_WITH_200, Kind.GARBAGE_JSON, Kind.SERVER_ERROR, Kind.TRUNCATED_BODY])
@pytest.mark.parametrize("call", [LIST, LINK, "POST /cognito/?"])
def test_an_unreadable_answer_is_asked_for_again_and_blames_nobody(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, call: str, kind: Kind
) -> None:
    download = add(docxworld)
    docxworld.faults.add(Fault(kind, call, times=3))
    for _ in range(5):
        docxworld_world.later(minutes=5)
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)
    assert docxworld_world.events_of("Connection Unhealthy") == []


@pytest.mark.parametrize("call", [LIST, LINK, STORAGE, ACKNOWLEDGE])
def test_retry_after_is_honoured(docxworld: ObservedDocxworld, docxworld_world: MortalWorld, call: str) -> None:
    download = add(docxworld)
    docxworld.faults.add(Fault(Kind.TOO_MANY_REQUESTS, call, times=1, retry_after=90))
    docxworld_world.settle(rounds=1)
    docxworld.forget_requests()
    for _ in range(8):
        docxworld_world.later(seconds=11)
    assert docxworld.requests == []
    for _ in range(3):
        docxworld_world.later(minutes=2)
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)
    assert docxworld_world.events_of("Connection Unhealthy") == []


# --- logins ---


def test_one_login_serves_many_calls_and_a_new_one_comes_before_the_token_ends(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    for number in range(3):
        add(docxworld, f"{number}.pdf")
        docxworld_world.later(minutes=15)
    assert docxworld.logins == 1
    docxworld_world.later(minutes=29.5)  # half a minute before its end
    assert docxworld.logins == 2
    assert not [request for request in docxworld.requests if request.status == 401]


def test_a_token_that_is_refused_is_replaced_once(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld_world.settle("poll", rounds=1)
    docxworld.expire_tokens()
    download = add(docxworld)
    docxworld_world.settle()
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)
    assert docxworld.logins == 2
    assert [request.status for request in docxworld.requests].count(401) == 1
    assert docxworld_world.events_of("Connection Unhealthy") == []


def test_a_portal_that_refuses_every_token_is_not_asked_for_ever(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld.faults.add(Fault(Kind.EXPIRED_TOKEN, "* /v1/.*"))
    docxworld_world.settle("poll", rounds=1)
    assert docxworld.logins == 2
    assert len(docxworld_world.events_of("Connection Unhealthy")) == 1


def test_a_technical_access_logs_in_with_its_secret(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld.add_technical_access("client-1", "ein Geheimnis:", set(ROLES.values()))
    auth = {"kind": "client-credentials", "tokenUrl": docxworld.token_url, "clientId": "client-1"}
    docxworld_world.connect("klinikum", docxworld.secret(auth={**auth, "clientSecret": "ein Geheimnis:"}))
    downloads = [add(docxworld, type=kind) for kind in ROLES]
    docxworld_world.settle()
    assert all(is_safe_and_acknowledged(docxworld, docxworld_world, each) for each in downloads)
    assert len(docxworld.asked("POST", "/oauth2/token")) == 1 and not docxworld.asked("POST", "/cognito.*")


@pytest.mark.parametrize("kind", ["user-password", "client-credentials"])
def test_a_wrong_password_is_told_once_and_tried_ever_more_rarely(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, kind: str
) -> None:
    docxworld.add_technical_access("client-1", "richtig", set(ROLES.values()))
    right = {
        "user-password": docxworld.secret()["auth"],
        "client-credentials": {
            "kind": kind, "tokenUrl": docxworld.token_url, "clientId": "client-1", "clientSecret": "richtig",
        },
    }[kind]  # fmt: skip
    wrong = right | ({"password": "falsch"} if kind == "user-password" else {"clientSecret": "falsch"})
    docxworld_world.connect("klinikum", docxworld.secret(auth=wrong))
    download = add(docxworld)
    for _ in range(60):
        docxworld_world.later("poll", "acknowledge", "track", minutes=1)
    (event,) = docxworld_world.events_of("Connection Unhealthy")
    assert (event["connection"], event["code"]) == ("klinikum", "LOGIN_REFUSED")
    attempts = docxworld.asked("POST", "/cognito/?") + docxworld.asked("POST", "/oauth2/token")
    assert 2 <= len(attempts) <= 9
    docxworld_world.connect("klinikum", docxworld.secret(auth=right))
    for _ in range(2):
        docxworld_world.later(minutes=1)
    assert len(docxworld_world.events_of("Connection Recovered")) == 1
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)


def test_a_role_that_is_missing_is_named_with_the_mend(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, log_lines: LogLines
) -> None:
    docxworld.user.roles.remove(ROLES["REPORT"])
    docxworld_world.settle("poll", rounds=1)
    assert [each["code"] for each in docxworld_world.events_of("Connection Unhealthy")] == ["ACCESS_DENIED"]
    assert "downloader.types names REPORT" in log_lines.text


# --- directions that are off ---


def test_without_a_downloader_nothing_is_listed(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld_world.connect("klinikum", {k: v for k, v in docxworld.secret().items() if k != "downloader"})
    add(docxworld)
    docxworld_world.settle("poll", "acknowledge", "track", rounds=2)
    assert docxworld.requests == [] and docxworld_world.events() == []
    docxworld_world.drop(f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf", b"ein Brief")
    docxworld_world.drain()
    assert len(docxworld.jobs()) == 1


def only_sends(docxworld: ObservedDocxworld, world: MortalWorld) -> None:
    world.connect("klinikum", {k: v for k, v in docxworld.secret().items() if k != "downloader"})


def test_a_connection_that_only_sends_counts_as_polled_and_raises_no_alarm(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    only_sends(docxworld, docxworld_world)
    docxworld_world.settle("poll")
    status = docxworld_world.services.ledger.status("docxworld", "klinikum")
    assert status.polled_at is not None and docxworld.requests == []


def test_a_poll_of_a_connection_that_only_sends_does_not_call_its_login_good(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    only_sends(docxworld, docxworld_world)
    ledger = docxworld_world.services.ledger
    status = ledger.status("docxworld", "klinikum")
    ledger.change_status(status, lambda each: failed(each, "LOGIN_REFUSED", docxworld_world.clock()))
    docxworld_world.later("poll", hours=1)
    after = ledger.status("docxworld", "klinikum")
    assert (after.healthy, after.reason, after.polled_at) == (False, "LOGIN_REFUSED", docxworld_world.clock())


def test_what_was_dropped_for_a_connection_that_only_sends_is_compared(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    only_sends(docxworld, docxworld_world)
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    docxworld_world.client("s3").put_object(Bucket=OUTBOX, Key=key, Body=b"ein Brief")  # and its event never comes
    docxworld_world.clock.forward(minutes=20)
    task = ConnectionTask(portal="docxworld", connection="klinikum", task=Task.RECONCILE)
    docxworld_world.arrive_in("poll", task.body())
    docxworld_world.drain()
    reports = docxworld_world.services.reports
    report = reports.read("docxworld", "klinikum", reports.moments("docxworld", "klinikum")[0])
    assert report is not None and report.complete
    assert [(each.kind, each.outbox_key) for each in report.differences] == [(Differs.NOT_SENT, key)]


def test_without_an_uploader_downloads_arrive_and_a_drop_waits_until_there_is_one(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld_world.connect("klinikum", {k: v for k, v in docxworld.secret().items() if k != "uploader"})
    download = add(docxworld)
    docxworld_world.drop(f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf", b"ein Brief")
    for _ in range(docxworld_world.tries + 1):
        docxworld_world.later("poll", "acknowledge", "track", hours=1)
    assert is_safe_and_acknowledged(docxworld, docxworld_world, download)
    assert docxworld.jobs() == []
    docxworld_world.connect("klinikum", docxworld.secret())
    docxworld_world.later("track", hours=1)
    assert len(docxworld.jobs()) == 1


# --- silence ---


def test_nothing_secret_is_logged_published_or_queued_whatever_goes_wrong(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, log_lines: LogLines
) -> None:
    kinds = (Kind.TRUNCATED_BODY, Kind.RESET, Kind.SERVER_ERROR, Kind.EXPIRED_TOKEN, Kind.LOST_ANSWER)
    for number, kind in enumerate(kinds):
        add(docxworld, f"kanarienvogel-{number}.pdf")
        docxworld.faults.add(Fault(kind, STORAGE, times=3))
        docxworld.faults.add(Fault(kind, LINK, times=3))
        docxworld.faults.add(Fault(kind, ACKNOWLEDGE, times=1))
        for _ in range(2):
            docxworld_world.later(minutes=20)
    docxworld.change_secrets(USER_LOGIN[0], {"ein anderes"})
    docxworld_world.later(hours=2)
    said = "\n".join([log_lines.text, *(body for _, body in docxworld_world.sqs.sent)])
    assert "pause_seconds" in said and "LOGIN_REFUSED" in said, "things went wrong"
    for canary in ("anarienvogel", "X-Amz", "Signature", "Bearer", "eyJ", USER_LOGIN[0], "%PDF"):
        assert canary not in said


# --- processes that die ---


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
def test_a_process_that_dies_at_any_call_loses_nothing_and_stores_nothing_twice(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, after: bool
) -> None:
    world = docxworld_world
    for name in ("the first of the connection.pdf", "counted.pdf"):
        add(docxworld, name)
        world.services = world.new_services()
        with world.lifeline.cut(0, after=False):
            world.settle(rounds=1)
    calls = world.lifeline.calls
    for number in moments(calls, after=after):
        download = add(docxworld, f"ergebnis-{number}.pdf", f"Ergebnis {number}".encode())
        world.services = world.new_services()
        with world.lifeline.cut(number, after=after):
            world.settle(rounds=1)
        assert world.lifeline.cut_at_call, "there is a call of this number"
        for _ in range(2):
            world.later(minutes=CALM_MINUTES)
        assert is_safe_and_acknowledged(docxworld, world, download), world.lifeline.cut_at_call
        assert world.due() == [], world.lifeline.cut_at_call
        assert not any(world.sqs.queue(name) for name in ("poll", "fetch", "acknowledge")), world.lifeline.cut_at_call
        told = [kind for kind, detail in world.events() if detail["id"] == download.id]
        assert set(told) == {"Document Received", "Document Acknowledged"}, world.lifeline.cut_at_call
    assert len(calls) > 25, "the way of a download has at least so many calls"
    assert not world.sqs.dead_letters
