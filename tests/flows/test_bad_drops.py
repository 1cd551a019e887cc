"""Drops that cannot be delivered: each gets a receipt that names mistake and mend, and none delays another."""

from typing import Any

import pytest

from sandbox.portals.docxworld import Step
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import USER_LOGIN, LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.world import OUTBOX

LETTER = b"%PDF-1.7 kanarienvogel-Brief"
UNKNOWN_UUID = "00000000-1111-2222-3333-444444444444"


def key_of(docxworld: ObservedDocxworld, name: str = "brief.pdf") -> str:
    """Return the outbox key of a file for the letters."""
    return f"docxworld/klinikum/{docxworld.letters.id}/{name}"


def drop(world: MortalWorld, key: str, content: bytes = LETTER, **metadata: str) -> dict[str, Any]:
    """Drop a file, let the function work once on what is there, and return the receipt."""
    world.drop(key, content, {name.replace("_", "-"): value for name, value in metadata.items()})
    world.drain()
    return world.receipt(key)


def exhaust(world: MortalWorld) -> None:
    """Let as many tries pass as the queue grants."""
    for _ in range(world.tries + 3):
        world.clock.forward(hours=1, minutes=15)
        world.drain()


def failed_at_once(world: MortalWorld, receipt: dict[str, Any], code: str, *words: str) -> bool:
    """Return whether a drop is FAILED for good with this code and these words, told once and left alone."""
    (event,) = world.events_of("Delivery Updated")
    error = receipt["error"]
    return (
        (receipt["status"], error["code"], error["retryable"]) == ("FAILED", code, False)
        and all(word in error["message"] for word in words)
        and (event["status"], event["key"]) == ("FAILED", f"receipts/{receipt['outboxKey']}.json")
        and not world.sqs.queue("own")
        and not world.due()
        and not world.sqs.dead_letters
    )


# --- targets ---


@pytest.mark.parametrize(
    ("target", "code", "word"),
    [
        (UNKNOWN_UUID, "TARGET_NOT_EXISTS", "check its UUID"),
        ("NIRGENDWO", "TARGET_UNKNOWN", "abbreviation"),
        ("ALT", "TARGET_INACTIVE", "activated"),
    ],
)
def test_a_target_that_is_none_is_named(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, target: str, code: str, word: str
) -> None:
    docxworld.add_target("Veraltet", "ALT", active=False)
    receipt = drop(docxworld_world, f"docxworld/klinikum/{target}/brief.pdf")
    assert failed_at_once(docxworld_world, receipt, code, word)
    assert docxworld.jobs() == []


def test_a_person_in_the_place_of_a_target_is_named_in_no_log(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, log_lines: LogLines
) -> None:
    receipt = drop(docxworld_world, "docxworld/klinikum/Erika Muster/brief.pdf")
    assert failed_at_once(docxworld_world, receipt, "TARGET_UNKNOWN", "abbreviation")
    assert "Erika" in receipt["outboxKey"], "the receipt says it by its key"
    assert "TARGET_UNKNOWN" in log_lines.text and "Erika" not in log_lines.text


def test_an_inactive_target_is_named_by_its_uuid_too(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    target = docxworld.add_target("Veraltet", "ALT", active=False)
    receipt = drop(docxworld_world, f"docxworld/klinikum/{target.id}/brief.pdf")
    assert failed_at_once(docxworld_world, receipt, "TARGET_INACTIVE", "activated")


def test_a_target_that_is_not_ours_is_denied_and_the_connection_stays_healthy(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    foreign = docxworld.add_target("Fremdes", "FREMD")
    docxworld.user.targets = {docxworld.letters.id}
    receipt = drop(docxworld_world, f"docxworld/klinikum/{foreign.id}/brief.pdf")
    assert failed_at_once(docxworld_world, receipt, "TARGET_DENIED", "assigned")
    assert docxworld_world.events_of("Connection Unhealthy") == []


# --- metadata and content ---

WRONG_METADATA: dict[str, tuple[dict[str, str], str, str]] = {
    "priority": ({"priority": "URGENT"}, "PRIORITY_UNKNOWN", "NORMAL or HI"),
    "priority in small letters": ({"priority": "hi"}, "PRIORITY_UNKNOWN", "NORMAL or HI"),
    "reference": ({"reference_id": "x" * 101}, "REFERENCE_TOO_LONG", "reference-id"),
    "customer reference": ({"customer_reference_3": "x" * 101}, "REFERENCE_TOO_LONG", "customer-reference-3"),
    "seventh customer reference": ({"customer_reference_7": "x"}, "CUSTOMER_REFERENCE_UNKNOWN", "reference-7"),
}


@pytest.mark.parametrize(("metadata", "code", "word"), WRONG_METADATA.values(), ids=WRONG_METADATA)
def test_metadata_that_docxworld_would_not_take_is_named(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, metadata: dict[str, str], code: str, word: str
) -> None:
    receipt = drop(docxworld_world, key_of(docxworld), LETTER, **metadata)
    assert failed_at_once(docxworld_world, receipt, code, word)
    assert docxworld.jobs() == []


def test_a_customer_reference_of_100_characters_fits(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    drop(docxworld_world, key_of(docxworld), customer_reference_1="x" * 100)
    assert docxworld.jobs()[0].customer_references[0] == "x" * 100


def test_an_empty_file_is_refused(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    receipt = drop(docxworld_world, key_of(docxworld), b"")
    assert failed_at_once(docxworld_world, receipt, "FILE_EMPTY", "no bytes")
    assert docxworld.jobs() == []


# --- keys ---


@pytest.mark.parametrize(
    "key",
    [
        "brief.pdf",
        "klinikum/brief.pdf",
        "egvp/klinikum/BetreuungAnregung/fall.json",
        "docxworld/brief.pdf",
        "docxworld/klinikum/brief.pdf",
        "docxworld/klinikum/BRIEF/",
        "docxworld/klinikum//brief.pdf",
        "docxworld/klinikum/BRIEF/unter/brief.pdf",
        "docxworld/Klinikum/BRIEF/brief.pdf",
        "docxworld/klinikum/approvals/brief.pdf",
        "docxworld/klinikum/drafts/brief.pdf",
        "docxworld/klinikum/BRIEF/.cancel.json",
        "docxworld/klinikum/BRIEF/brief.pdf.cancel.json.cancel.json",
        "docxworld/klinikum/approvals/17/brief.pdf",
    ],
)
def test_a_key_that_fits_no_rule_says_what_one_looks_like(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, key: str
) -> None:
    receipt = drop(docxworld_world, key)
    assert failed_at_once(docxworld_world, receipt, "KEY_FITS_NO_RULE")
    assert "docxworld/<connection>/<target>/<file name>" in receipt["error"]["message"]
    assert docxworld.requests == []


def test_an_unknown_connection_is_looked_up_afresh_and_then_named(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    reads = docxworld_world.calls("secretsmanager", "GetSecretValue")
    receipt = drop(docxworld_world, "docxworld/unbekannt/BRIEF/brief.pdf")
    assert failed_at_once(docxworld_world, receipt, "UNKNOWN_CONNECTION", "amtsbote/docxworld/unbekannt", "create it")
    assert len(reads) == 1


def test_a_connection_created_meanwhile_is_found_by_a_process_that_missed_it(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    assert drop(docxworld_world, "docxworld/neu/BRIEF/brief.pdf")["status"] == "FAILED"
    docxworld_world.connect("neu", docxworld.secret(), same_process=True)
    assert drop(docxworld_world, "docxworld/neu/BRIEF/brief.pdf")["status"] == "IN_PROGRESS"
    assert len(docxworld.jobs()) == 1


# --- objects that vanish ---


def test_a_version_that_was_deleted_is_failed(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    event = docxworld_world.drop(key_of(docxworld), LETTER)
    version = event["detail"]["object"]["version-id"]
    docxworld_world.client("s3").delete_object(Bucket=OUTBOX, Key=key_of(docxworld), VersionId=version)
    docxworld_world.drain()
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert failed_at_once(docxworld_world, receipt, "OBJECT_VANISHED", "drop it again")


def test_a_delete_marker_above_it_does_not_stop_a_drop(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld_world.drop(key_of(docxworld), LETTER)
    docxworld_world.client("s3").delete_object(Bucket=OUTBOX, Key=key_of(docxworld))
    docxworld_world.drain()
    assert docxworld.read_upload(docxworld.jobs()[0].id) == LETTER


def test_an_event_about_a_delete_marker_is_failed(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld_world.client("s3").put_object(Bucket=OUTBOX, Key=key_of(docxworld), Body=LETTER)
    marker = docxworld_world.client("s3").delete_object(Bucket=OUTBOX, Key=key_of(docxworld))["VersionId"]
    docxworld_world.arrive(docxworld_world.drop_event(key_of(docxworld), marker, 0))
    docxworld_world.drain()
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert failed_at_once(docxworld_world, receipt, "OBJECT_VANISHED", "drop it again")


def test_an_object_that_vanishes_while_it_is_sent_is_failed(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    event = docxworld_world.drop(key_of(docxworld), LETTER)
    version = event["detail"]["object"]["version-id"]

    def delete() -> None:
        docxworld_world.client("s3").delete_object(Bucket=OUTBOX, Key=key_of(docxworld), VersionId=version)

    docxworld_world.before("s3", "GetObject", delete, key="brief.pdf?")
    docxworld_world.drain()
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", "OBJECT_VANISHED")
    assert docxworld_world.due() == []


# --- connections that do not work ---


def test_a_drop_for_a_paused_connection_waits_however_long_and_then_goes(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld_world.connect("klinikum", docxworld.secret(enabled=False))
    docxworld_world.tries = 1  # each try would be the last
    docxworld_world.drop(key_of(docxworld), LETTER)
    exhaust(docxworld_world)
    assert docxworld.requests == [] and docxworld_world.events() == []
    assert docxworld_world.receipt(key_of(docxworld))["status"] == "IN_PROGRESS"
    assert docxworld_world.versions(f"receipts/{key_of(docxworld)}.json") == 1
    docxworld_world.connect("klinikum", docxworld.secret())
    docxworld_world.later("track", hours=1, rounds=2)
    docxworld_world.later("track", minutes=5)
    assert docxworld_world.receipt(key_of(docxworld))["status"] == "DELIVERED"
    assert len(docxworld.jobs()) == 1


def test_a_drop_for_a_connection_that_is_left_alone_has_a_receipt_at_once(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld.change_secrets(USER_LOGIN[0], {"ein anderes"})
    docxworld_world.tick("poll")
    docxworld_world.drain()  # the login is refused, and the connection left alone
    docxworld_world.drop(key_of(docxworld), LETTER)
    docxworld_world.drain()
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert (receipt["status"], [each["state"] for each in receipt["history"]]) == ("IN_PROGRESS", ["RECEIVED"])


def test_a_wrong_password_is_no_reason_to_fail_until_the_last_try(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld.change_secrets(USER_LOGIN[0], {"ein anderes"})
    docxworld_world.drop(key_of(docxworld), LETTER)
    docxworld_world.drain()
    for _ in range(docxworld_world.tries - 2):
        docxworld_world.clock.forward(hours=1, minutes=15)
        docxworld_world.drain()
        assert docxworld_world.receipt(key_of(docxworld))["status"] == "IN_PROGRESS"
    assert len(docxworld_world.events_of("Connection Unhealthy")) == 1
    exhaust(docxworld_world)
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", "LOGIN_REFUSED")
    assert receipt["error"]["retryable"] is True
    assert not docxworld_world.sqs.dead_letters and not docxworld_world.sqs.queue("own")


def test_a_password_that_is_mended_in_time_delivers_what_waited(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld.change_secrets(USER_LOGIN[0], {"ein anderes"})
    keys = [key_of(docxworld, f"{number}.pdf") for number in range(3)]
    for key in keys:
        docxworld_world.drop(key, LETTER)
    for _ in range(4):
        docxworld_world.later("track", minutes=30)
    docxworld.change_secrets(USER_LOGIN[0], {USER_LOGIN[1]})
    for _ in range(3):
        docxworld_world.later("track", hours=1, minutes=15)
    assert [docxworld_world.receipt(key)["status"] for key in keys] == ["DELIVERED"] * 3
    assert len(docxworld.jobs()) == 3
    assert len(docxworld_world.events_of("Connection Recovered")) == 1


@pytest.mark.parametrize(("call", "status"), [("PUT /v1/uploads", 500), ("PUT /s3/.*", 503), ("* /.*", 503)])
def test_a_portal_that_is_down_for_ever_is_given_up_at_the_last_try(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, call: str, status: int
) -> None:
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, call, status=status))
    docxworld_world.drop(key_of(docxworld), LETTER)
    docxworld_world.drain()
    for _ in range(docxworld_world.tries - 2):
        docxworld_world.clock.forward(hours=1, minutes=15)
        docxworld_world.drain()
    assert docxworld_world.receipt(key_of(docxworld))["status"] == "IN_PROGRESS", "not before the last try"
    exhaust(docxworld_world)
    receipt = docxworld_world.receipt(key_of(docxworld))
    assert (receipt["status"], receipt["error"]["retryable"]) == ("FAILED", True)
    assert not docxworld_world.due() and not docxworld_world.sqs.queue("own")
    assert docxworld_world.events_of("Connection Unhealthy") == []
    docxworld.faults.clear()
    docxworld_world.drop(key_of(docxworld), LETTER)  # dropping it again helps, as the receipt says
    docxworld_world.later("track", minutes=5, rounds=2)
    docxworld_world.later("track", minutes=5)
    assert docxworld_world.receipt(key_of(docxworld))["status"] == "DELIVERED"


def test_retry_after_is_honoured_by_all_drops_of_the_connection(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    docxworld.faults.add(Fault(Kind.TOO_MANY_REQUESTS, "PUT /v1/uploads", times=1, retry_after=90))
    for number in range(3):
        docxworld_world.drop(key_of(docxworld, f"{number}.pdf"), LETTER)
    docxworld_world.drain()
    docxworld.forget_requests()
    for _ in range(8):
        docxworld_world.clock.forward(seconds=11)
        docxworld_world.drain()
    assert docxworld.requests == []
    docxworld_world.clock.forward(seconds=5)
    docxworld_world.drain()
    assert len(docxworld.jobs()) == 3


# --- one among many ---


def test_a_bad_drop_delays_no_good_one(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld.add_target("Veraltet", "ALT", active=False)
    bad = ["docxworld/klinikum/ALT/1.pdf", "unsinn.pdf", "docxworld/weg/BRIEF/2.pdf", key_of(docxworld, "leer.pdf")]
    good = [key_of(docxworld, f"gut-{number}.pdf") for number in range(3)]
    for number, key in enumerate([*bad, *good]):
        docxworld_world.drop(key, b"" if "leer" in key else LETTER)
        if number == 1:
            docxworld_world.arrive_in("own", {"unsinn": True})
    docxworld_world.run("own")
    docxworld_world.later("track", minutes=1)
    assert [docxworld_world.receipt(key)["status"] for key in bad] == ["FAILED"] * 4
    assert [docxworld_world.receipt(key)["status"] for key in good] == ["DELIVERED"] * 3


# --- silence ---


def test_nothing_secret_or_personal_is_logged_published_or_queued(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld, log_lines: LogLines
) -> None:
    canary_words = "Frau Kanarienvogel sagt nein"
    target = docxworld.add_target("Mit Freigabe", "FREI", approval_needed=True)
    docxworld.follow_script(
        target.id,
        (Step(0, "UPLOADED"), Step(0, "WAITING_APPROVAL"), Step(1, "REJECTED", docxworld.user, canary_words)),
    )
    kinds = (Kind.RESET, Kind.SERVER_ERROR, Kind.EXPIRED_TOKEN, Kind.LOST_ANSWER, Kind.TRUNCATED_BODY)
    for number, kind in enumerate(kinds):
        for call in ("PUT /v1/uploads", "PUT /s3/.*", "GET /v1/uploads/.*"):
            docxworld.faults.add(Fault(kind, call, times=2))
        content = LETTER * (400_000 if number % 2 else 1)
        docxworld_world.drop(f"docxworld/klinikum/{target.id}/{number}.pdf", content, {"reference-id": "kanarienvogel"})
        docxworld_world.drop(f"docxworld/klinikum/{UNKNOWN_UUID}/{number}.pdf", content)
        for _ in range(5):
            docxworld_world.later("track", minutes=20)
    docxworld.change_secrets(USER_LOGIN[0], {"ein anderes"})
    docxworld_world.drop(key_of(docxworld), LETTER)
    docxworld_world.later("track", hours=2)
    said = "\n".join([log_lines.text, *(body for _, body in docxworld_world.sqs.sent)])
    assert "LOGIN_REFUSED" in said and "delivery failed" in said and "pause_seconds" in said, "things went wrong"
    assert canary_words in docxworld_world.receipt(f"docxworld/klinikum/{target.id}/0.pdf")["error"]["message"]
    for canary in ("anarienvogel", "X-Amz", "Signature", "Bearer", "eyJ", USER_LOGIN[0], "%PDF"):
        assert canary not in said
