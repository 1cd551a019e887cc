"""What is dropped for drafts becomes a technical download draft at docxworld, filled once, and followed until ready."""

from datetime import timedelta
from typing import Any

import pytest

from sandbox.portals.docxworld import Target
from sandbox.portals.docxworld.downloads import Download, Readiness
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import ObservedDocxworld
from tests.flows.mortality import MortalWorld, moments

FILE = b"<daten>eins</daten>"
METADATA = {"download-type": "RESULT", "reference-id": "external-42", "sourcesystem": "sap", "run.no_1": "17"}
CREATE, STORAGE, LOOK = "POST /v1/downloads/", "PUT /s3/.*", "GET /v1/downloads.*"
DOWNLOADERS = {"ROLE_CUSTOMER_DOWNLOADER_RESULTS", "ROLE_CUSTOMER_DOWNLOADER_REPORTS"}
A_LONG_CALM = timedelta(minutes=11)  # longer than a lease and than a message stays hidden
UNKNOWN = "OUTCOME_UNKNOWN"


@pytest.fixture
def world(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> MortalWorld:
    """Provide a world whose one connection is a technical access that sends only."""
    docxworld.add_technical_access("client-1", "secret-1", {"ROLE_CUSTOMER_UPLOADER", *DOWNLOADERS})
    docxworld_world.connect("klinikum", technical(docxworld))
    return docxworld_world


def technical(docxworld: ObservedDocxworld) -> dict[str, Any]:
    """Return the body of a secret for the technical access."""
    auth = {"kind": "client-credentials", "tokenUrl": docxworld.token_url, "clientId": "client-1"}
    return {"baseUrl": docxworld.base_url, "auth": {**auth, "clientSecret": "secret-1"}, "uploader": {}}


def draft(world: MortalWorld, *, metadata: dict[str, str] | None = None, body: bytes = FILE) -> str:
    """Drop a file for a draft, let the function work, and return its key."""
    key = "docxworld/klinikum/drafts/BRIEF/daten.xml"
    world.drop(key, body, METADATA if metadata is None else metadata)
    world.drain()
    return key


def follow(world: MortalWorld) -> None:
    """Let some time pass in which everything is tracked."""
    for _ in range(6):
        world.later("track", minutes=20)


def recover(world: MortalWorld) -> None:
    """Let everything come again that a dead process has left behind."""
    for _ in range(5):
        world.clock.now += A_LONG_CALM
        world.drain()
        world.tick("track")
        world.drain()
        if not world.due() and not world.sqs.queue("own"):
            return


def end(world: MortalWorld, key: str) -> tuple[str, str | None]:
    """Return the status and the error's code of a receipt."""
    receipt = world.receipt(key)
    return receipt["status"], receipt["error"] and receipt["error"]["code"]


def words(world: MortalWorld, key: str) -> str:
    """Return the error's message of a receipt."""
    return str(world.receipt(key)["error"]["message"])


def ready(docxworld: ObservedDocxworld) -> list[Download]:
    """Return the drafts that have become downloads."""
    return docxworld.drafts(Readiness.READY)


# --- how they get there ---


@pytest.mark.parametrize("signed", [True, False], ids=["headers signed", "headers compared"])
@pytest.mark.parametrize("kind", ["RESULT", "REPORT"])
def test_a_draft_is_created_filled_and_followed_until_it_is_ready(
    docxworld: ObservedDocxworld, world: MortalWorld, kind: str, signed: bool
) -> None:
    docxworld.downloads.draft_headers_signed = signed
    key = draft(world, metadata={**METADATA, "download-type": kind})
    assert end(world, key) == ("IN_PROGRESS", None)
    (download,) = ready(docxworld)
    assert (download.type, download.file_name, download.target) == (kind, "daten.xml", docxworld.letters)
    assert (download.reference_id, download.metadata) == ("external-42", {"sourcesystem": "sap", "run.no_1": "17"})
    assert b"".join(docxworld.storage.objects[download.key].read()) == FILE
    world.later("track", seconds=10)
    receipt = world.receipt(key)
    assert (receipt["status"], receipt["portalId"], receipt["error"]) == ("DELIVERED", download.id, None)
    assert receipt["result"] == {"downloadId": download.id, "downloadType": kind}
    assert {"UPLOADED", "READY", "DELIVERED"} <= {each["state"] for each in receipt["history"]}
    assert world.due() == []


def test_it_is_asked_for_without_a_role_and_its_file_goes_without_credentials(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    draft(world)
    (asked,) = docxworld.asked("POST", "/v1/downloads/")
    assert "x-pf-dwc-requester-role" not in asked.header_names
    (put,) = docxworld.asked("PUT", "/s3/.*")
    assert {"authorization", "x-pf-dwc-requester-role"}.isdisjoint(put.header_names)
    assert {"x-amz-meta-x-pf-sourcesystem", "x-amz-meta-contractnumber"} <= set(put.header_names)


def test_the_target_may_be_named_by_its_uuid_and_the_reference_may_be_left_out(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/drafts/{docxworld.letters.id}/daten.xml"
    world.drop(key, FILE, {"download-type": "REPORT"})
    world.drain()
    (download,) = ready(docxworld)
    assert str(download.reference_id).startswith("amtsbote-") and download.metadata == {}


def test_an_account_that_may_not_read_downloads_ends_with_the_file_in_the_storage(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    docxworld.identities.accounts["client-1"].roles -= DOWNLOADERS
    key = draft(world)
    follow(world)
    assert end(world, key) == ("DELIVERED", None)
    assert "READY" not in [each["state"] for each in world.receipt(key)["history"]]
    assert world.events_of("Connection Unhealthy") == []


def test_a_draft_in_error_is_failed_after_an_hour_and_says_where_to_ask(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    key = draft(world)
    (download,) = ready(docxworld)
    download.readiness = Readiness.ERROR
    world.later("track", minutes=20)
    assert end(world, key) == ("IN_PROGRESS", None)
    follow(world)
    assert end(world, key) == ("FAILED", "DRAFT_NOT_READY")
    assert "marked the draft as an error" in words(world, key)


# --- what is refused ---


def test_a_users_connection_is_told_that_it_cannot(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    key = draft(docxworld_world)
    assert end(docxworld_world, key) == ("FAILED", "TECHNICAL_ACCESS_REQUIRED")
    assert "client-credentials" in words(docxworld_world, key)
    assert docxworld.requests == []


@pytest.mark.parametrize(
    ("metadata", "code", "named"),
    [
        ({}, "DOWNLOAD_TYPE_INVALID", "download-type must be RESULT or REPORT"),
        ({"download-type": "LETTER"}, "DOWNLOAD_TYPE_INVALID", "'LETTER'"),
        ({"download-type": "RESULT", "small": "1", "large": "x" * 1600}, "METADATA_INVALID", "'large'"),
    ],
)
def test_wrong_metadata_are_refused_by_name_before_the_portal_is_asked(
    docxworld: ObservedDocxworld, world: MortalWorld, metadata: dict[str, str], code: str, named: str
) -> None:
    key = draft(world, metadata=metadata)
    assert end(world, key) == ("FAILED", code)
    assert named in words(world, key)
    assert docxworld.requests == []


def test_an_empty_file_makes_no_draft(docxworld: ObservedDocxworld, world: MortalWorld) -> None:
    assert end(world, draft(world, body=b"")) == ("FAILED", "FILE_EMPTY")
    assert docxworld.requests == []


def test_a_target_that_is_denied_is_the_drops_fault_and_not_the_connections(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    docxworld.identities.accounts["client-1"].targets = set()
    key = f"docxworld/klinikum/drafts/{docxworld.letters.id}/daten.xml"
    world.drop(key, FILE, METADATA)
    world.drain()
    assert end(world, key) == ("FAILED", "TARGET_DENIED")
    assert world.events_of("Connection Unhealthy") == []


def test_a_target_without_a_contract_is_refused(docxworld: ObservedDocxworld, world: MortalWorld) -> None:
    target: Target = docxworld.add_target("Ohne Vertrag", "OHNE", customer_contract=None)
    key = f"docxworld/klinikum/drafts/{target.id}/daten.xml"
    world.drop(key, FILE, METADATA)
    world.drain()
    assert end(world, key) == ("FAILED", "TARGET_CUSTOMER_CONTRACT_MISSING")


# --- answers that are lost ---


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.RESET, Kind.GARBAGE_JSON, Kind.SERVER_ERROR])
def test_a_draft_whose_creation_was_not_answered_is_not_created_again(
    docxworld: ObservedDocxworld, world: MortalWorld, kind: Kind
) -> None:
    docxworld.faults.add(Fault(kind, CREATE, times=1))
    key = draft(world)
    recover(world)
    assert end(world, key) == ("FAILED", UNKNOWN)
    assert not world.receipt(key)["error"]["retryable"]
    assert len(docxworld.asked("POST", "/v1/downloads/")) == 1
    assert len(docxworld.asked("GET", "/v1/downloads")) == 1, "the list was looked through"


def test_a_draft_that_the_list_shows_is_named(docxworld: ObservedDocxworld, world: MortalWorld) -> None:
    """Given a portal whose list shows drafts too, and an older one of the same reference."""
    more: dict[str, Any] = {"reference_id": "external-42", "metadata": {"sourcesystem": "sap", "run.no_1": "17"}}
    old = world.clock() - timedelta(days=1)
    docxworld.add_download(docxworld.letters, FILE, file_name="daten.xml", created=old, **more)
    mine = docxworld.add_download(docxworld.letters, b"", file_name="daten.xml", **more)
    docxworld.faults.add(Fault(Kind.RESET, CREATE, times=1))
    key = draft(world)
    assert end(world, key) == ("FAILED", "DRAFT_WITHOUT_ADDRESS")
    assert mine.id in words(world, key)


@pytest.mark.parametrize("kind", [Kind.TOO_MANY_REQUESTS, Kind.EXPIRED_TOKEN])
def test_a_creation_that_was_certainly_refused_is_tried_again(
    docxworld: ObservedDocxworld, world: MortalWorld, kind: Kind
) -> None:
    docxworld.faults.add(Fault(kind, CREATE, times=1, retry_after=30))
    key = draft(world)
    recover(world)
    assert end(world, key) == ("DELIVERED", None)
    assert len(ready(docxworld)) == 1


def test_a_login_that_fails_first_leaves_nothing_unknown(docxworld: ObservedDocxworld, world: MortalWorld) -> None:
    docxworld.faults.add(Fault(Kind.RESET, "POST /oauth2/token", times=2))
    key = f"docxworld/klinikum/drafts/{docxworld.letters.id}/daten.xml"
    world.drop(key, FILE, METADATA)
    recover(world)
    assert end(world, key) == ("DELIVERED", None)


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.SERVER_ERROR, Kind.HTML_WITH_200])
def test_a_file_whose_transfer_was_not_answered_is_looked_for_before_it_is_sent_again(
    docxworld: ObservedDocxworld, world: MortalWorld, kind: Kind
) -> None:
    docxworld.faults.add(Fault(kind, STORAGE, times=1))
    key = draft(world)
    recover(world)
    assert end(world, key) == ("DELIVERED", None)
    (download,) = ready(docxworld)
    assert docxworld.storage.puts[download.key] == 1
    assert docxworld.drafts(Readiness.DRAFT) == []


def test_an_address_that_is_refused_before_anything_was_sent_makes_another_draft(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    docxworld.faults.add(Fault(Kind.EXPIRED_TOKEN, STORAGE, times=1))
    key = draft(world)
    recover(world)
    assert end(world, key) == ("DELIVERED", None)
    assert (len(ready(docxworld)), len(docxworld.drafts(Readiness.DRAFT))) == (1, 1)


def test_a_storage_that_refuses_every_address_gets_no_third_draft(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    docxworld.faults.add(Fault(Kind.EXPIRED_TOKEN, STORAGE))
    key = draft(world)
    recover(world)
    assert end(world, key) == ("FAILED", "DRAFT_ADDRESS_REFUSED")
    assert len(docxworld.drafts(Readiness.DRAFT)) == 2


def test_a_file_that_may_have_arrived_and_can_be_sent_no_more_is_an_unknown_outcome(
    docxworld: ObservedDocxworld, world: MortalWorld
) -> None:
    docxworld.downloads.upload_link_seconds = 300
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, times=1))
    key = draft(world)
    world.clock.forward(minutes=11)
    recover(world)
    assert end(world, key) == ("FAILED", UNKNOWN)
    assert docxworld.drafts(Readiness.DRAFT)[0].id in words(world, key)


# --- processes that die ---


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
def test_a_process_that_dies_at_any_call_of_a_draft_has_filled_one_or_says_that_it_does_not_know(
    docxworld: ObservedDocxworld, world: MortalWorld, after: bool
) -> None:
    key = "docxworld/klinikum/drafts/BRIEF/probe.xml"
    world.drop(key, FILE, METADATA)
    world.services = world.new_services()
    with world.lifeline.cut(0, after=False):
        world.drain()
    calls, unknown = list(world.lifeline.calls), []
    recover(world)
    for number in moments(calls, after=after):
        name = f"daten-{number}.xml"
        key = f"docxworld/klinikum/drafts/BRIEF/{name}"
        event = world.drop(key, FILE, METADATA)
        world.services = world.new_services()
        with world.lifeline.cut(number, after=after):
            world.drain()
        where = world.lifeline.cut_at_call
        assert where, "there is a call of this number"
        if number % 2:
            world.arrive(event)  # and the event comes once more
        recover(world)
        drafts = [each for each in docxworld.downloads.downloads.values() if each.file_name == name]
        if end(world, key) == ("FAILED", UNKNOWN):
            unknown.append(where)
            assert len(drafts) <= 1 and not any(each.readiness is Readiness.READY for each in drafts), where
        else:
            assert end(world, key) == ("DELIVERED", None), where
            assert [each.readiness for each in drafts] == [Readiness.READY], where
            assert docxworld.storage.puts[drafts[0].key] == 1, where
        assert world.due() == [] and not any(world.sqs.queue(each) for each in ("own", "track")), where
    create = next(number for number, call in enumerate(calls, 1) if call == "POST /v1/downloads/")
    at_most = 3  # written down before the call, the call itself, and before its answer was written down
    assert 1 <= len(unknown) <= at_most, unknown
    assert all(int(where.split("call ")[1].split(",")[0]) in range(create - 1, create + 2) for where in unknown)
    assert not world.sqs.dead_letters
