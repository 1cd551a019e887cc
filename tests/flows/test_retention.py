"""Retention: content goes after the time set and not before, its row stays, and what it was is still known."""

import json
from datetime import timedelta
from typing import Any

import pytest

from amtsbote.deadline import Deadline
from amtsbote.lifecycle import ItemRow
from amtsbote.messages import Task, Tick
from amtsbote.retention import read_rules
from amtsbote.services import Services
from amtsbote.verbs import retain as verb
from amtsbote.verbs.retain import ERASERS, retain
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from tests.flows.alarms import MetricLines, alarm, is_raised
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.test_connections import secret_of
from tests.flows.test_inbound_failures import DOWNLOAD
from tests.flows.test_receipts import put, version_of
from tests.flows.world import INBOX, LEDGER, OUTBOX, Crash, World

RULES = {
    "duba": {"ACKNOWLEDGED": 90, "UNAVAILABLE": 30, "STORED": 60},
    "*": {"ACKNOWLEDGED": 1, "DELIVERED": 90, "FAILED": 180},
}
TICK = Tick(portal="all", task=Task.RETAIN)
AUDIT_DAYS = 3650


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Erase one document after the other: moto's lists break when something is deleted meanwhile."""
    monkeypatch.setattr(verb, "side_by_side", lambda work, things, _: [work(thing) for thing in things])


def services_of(world: World, rules: dict[str, Any] | None = None, audit_days: int = AUDIT_DAYS) -> Services:
    """Return the services of the one function that erases: it serves every portal and reads no secret."""
    said = {"retention_rules": read_rules(json.dumps(RULES if rules is None else rules)), "audit_days": audit_days}
    settings = world.services.settings.model_copy(update={"portal": "all", **said})

    def client(name: str) -> Any:
        assert name in ("dynamodb", "s3"), f"to erase takes no {name}"
        return world.client(name)

    return Services(settings, client, world.clock)


def turn(world: World, rules: dict[str, Any] | None = None, **more: int) -> int:
    """Let the schedule of the erasures come round and return how many documents were erased."""
    return retain(TICK, services_of(world, rules, **more), Deadline(60))


def days_later(world: World, days: float, rules: dict[str, Any] | None = None) -> int:
    """Let days pass, then erase."""
    world.clock.forward(days=days)
    return turn(world, rules)


def all_keys(world: World, bucket: str = INBOX) -> set[str]:
    """Return the keys of everything in a bucket but reports, in whatever version, markers too."""
    pages = world.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket)
    found = [each["Key"] for page in pages for kind in ("Versions", "DeleteMarkers") for each in page.get(kind, [])]
    return {key for key in found if not key.startswith("reports/")}


def table(world: World) -> list[dict[str, Any]]:
    """Return every row of the table as it is stored."""
    found: list[dict[str, Any]] = world.client("dynamodb").scan(TableName=LEDGER)["Items"]
    return found


def words(world: World) -> list[str]:
    """Return what rows are found by."""
    return sorted(each["sk"]["S"].rpartition("#")[0] for each in table(world) if each["pk"]["S"].startswith("WORD#"))


def item(world: World, id_: str) -> ItemRow:
    """Return the row of an item."""
    row = world.services.ledger.item("duba", "klinikum", id_)
    assert row is not None
    return row


# --- what arrives ---


def test_an_acknowledged_document_goes_after_its_time_and_its_row_stays(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(214, job_id="7e57", aktenzeichen="77 XVII 214/26")
    duba_world.settle()
    assert len(words(duba_world)) >= 2
    assert days_later(duba_world, 89.9) == 0
    assert duba_world.inbox_keys("duba/klinikum/214/") != []
    assert days_later(duba_world, 0.2) == 1
    row = item(duba_world, "214")
    assert (row.state, row.record, row.words, dict(row.hints), row.due) == ("ERASED", None, (), {}, None)
    states = ["DISCOVERED", "FETCHING", "STORED", "ACKNOWLEDGED", "ERASING", "ERASED"]
    assert [past.state for past in row.history] == states
    assert (all_keys(duba_world), words(duba_world)) == (set(), [])
    assert "214/26" not in str(table(duba_world))
    assert turn(duba_world) == 0


def test_a_row_ends_after_the_audit_period_by_the_tables_own_clock(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba_world.settle()
    assert days_later(duba_world, 91) == 1
    (stored,) = [each for each in table(duba_world) if each["pk"]["S"] == "ITEM#duba#klinikum#1"]
    kept = timedelta(seconds=int(stored["expiresAt"]["N"])) - timedelta(seconds=duba_world.clock().timestamp())
    assert abs(kept - timedelta(days=AUDIT_DAYS)) < timedelta(seconds=1)


def test_a_row_is_kept_for_ever_where_the_audit_period_has_no_end(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba_world.settle()
    duba_world.clock.forward(days=91)
    assert turn(duba_world, audit_days=0) == 1
    assert [each for each in table(duba_world) if "expiresAt" in each] == []


def test_without_a_rule_nothing_is_ever_deleted(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba_world.settle()
    kept = all_keys(duba_world)
    assert days_later(duba_world, 36_500, {}) == 0
    assert days_later(duba_world, 1, {"duba": {"ACKNOWLEDGED": None}, "*": {"ACKNOWLEDGED": 1}}) == 0
    assert days_later(duba_world, 1, {"altinn": {"ACKNOWLEDGED": 1}}) == 0
    assert all_keys(duba_world) == kept != set()


@pytest.mark.parametrize("policy", ["stored", "processed"])
def test_what_the_portal_was_not_told_of_stays_whatever_the_rules_say(
    duba: SimulatedDuba, duba_world: World, policy: str
) -> None:
    duba_world.connect("klinikum", secret_of(duba, acknowledge=policy))
    duba.add_message(1)
    if policy == "stored":
        duba.faults.add(Fault(Kind.SERVER_ERROR, "POST /.*ack.*"))
    duba_world.settle()
    assert item(duba_world, "1").state == "STORED"
    assert days_later(duba_world, 3650) == 0
    assert "1" in duba_world.received("klinikum")


def test_what_nobody_shall_be_told_of_goes_by_the_rule_for_stored(duba: SimulatedDuba, duba_world: World) -> None:
    duba_world.connect("klinikum", secret_of(duba, acknowledge="never"))
    duba.add_message(1)
    duba_world.settle()
    assert days_later(duba_world, 59) == 0
    assert days_later(duba_world, 2) == 1
    assert all_keys(duba_world) == set()


def test_an_erased_document_that_the_portal_still_lists_is_not_fetched_again(
    duba: SimulatedDuba, duba_world: World
) -> None:
    duba_world.connect("klinikum", secret_of(duba, acknowledge="never"))
    duba.add_message(1)
    duba_world.settle()
    assert days_later(duba_world, 61) == 1
    fetches = len(duba_world.sqs.sent)
    for _ in range(3):
        duba_world.clock.forward(days=30)
        duba_world.settle("reconcile", "poll", "acknowledge")
    assert item(duba_world, "1").state == "ERASED"
    assert not [queue for queue, _ in duba_world.sqs.sent[fetches:] if queue == "fetch"]
    duba_world.connect("klinikum", secret_of(duba))
    duba_world.settle("reconcile", "acknowledge")
    assert duba.acknowledged_ids() == [], "and the portal is never told of what is not there"


def test_a_document_that_never_came_comes_when_it_is_listed_again_although_its_row_was_erased(
    duba: SimulatedDuba, duba_world: World
) -> None:
    duba.add_message(1)
    duba.faults.add(Fault(Kind.SERVER_ERROR, DOWNLOAD, status=404))
    duba_world.settle("poll", rounds=1)
    assert item(duba_world, "1").state == "UNAVAILABLE"
    assert days_later(duba_world, 31) == 1
    assert item(duba_world, "1").record is None
    duba.faults.clear()
    duba_world.settle("reconcile")
    assert item(duba_world, "1").state == "ERASED", "not at once: whoever erases may still be at it"
    duba_world.clock.forward(days=1)
    duba_world.settle()
    row = item(duba_world, "1")
    assert (row.state, row.expires_at) == ("ACKNOWLEDGED", None)
    assert "1" in duba_world.received("klinikum")


def test_what_is_in_quarantine_waits_for_a_person(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1, content=b"kein ZIP")
    duba_world.settle()
    assert item(duba_world, "1").state == "QUARANTINED"
    kept = all_keys(duba_world)
    assert days_later(duba_world, 3650) == 0
    assert all_keys(duba_world) == kept != set()


def test_bytes_that_were_in_quarantine_go_with_the_document(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba_world.settle()
    duba_world.client("s3").put_object(Bucket=INBOX, Key="quarantine/duba/klinikum/1/message-1.zip", Body=b"?")
    assert days_later(duba_world, 91) == 1
    assert all_keys(duba_world) == set()


def test_every_version_goes_and_nothing_that_another_item_owns(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba_world.settle()
    s3, others = duba_world.client("s3"), {"duba/klinikum/1/9/document.json", "quarantine/duba/klinikum/1/9/a.zip"}
    others |= {"duba/klinikum/10/document.json", "duba/klinikum/1", "duba/gericht/1/document.json"}
    for key in others:
        s3.put_object(Bucket=INBOX, Key=key, Body=b"another item's")
    s3.put_object(Bucket=INBOX, Key="duba/klinikum/1/notiz.txt", Body=b"of the backend")
    s3.delete_object(Bucket=INBOX, Key="duba/klinikum/1/notiz.txt")
    assert days_later(duba_world, 91) == 1
    assert all_keys(duba_world) == others


def test_the_documents_of_a_connection_that_was_deleted_go_too(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba_world.settle()
    duba_world.disconnect("klinikum")
    assert days_later(duba_world, 91) == 1
    assert all_keys(duba_world) == set()


# --- dying, and being late ---

CALLS = [
    ("s3", "ListObjectVersions"),
    ("s3", "DeleteObjects"),
    ("dynamodb", "DeleteItem"),
]


@pytest.mark.parametrize(("service", "call"), CALLS)
@pytest.mark.parametrize("rules", [RULES, {}], ids=["rules", "no-rules"])
def test_who_dies_on_the_way_leaves_what_the_next_turn_ends(
    duba: SimulatedDuba, duba_world: World, service: str, call: str, rules: dict[str, Any]
) -> None:
    duba.add_message(1, aktenzeichen="77 XVII 214/26")
    duba_world.settle()
    duba_world.clock.forward(days=91)
    duba_world.crash(service, call)
    with pytest.raises(Crash):
        turn(duba_world)
    assert item(duba_world, "1").state == "ERASING"
    duba_world.settle("reconcile", "poll", "acknowledge")
    assert item(duba_world, "1").state == "ERASING", "nothing leads back"
    assert turn(duba_world, rules) == 1
    assert item(duba_world, "1").state == "ERASED"
    assert (all_keys(duba_world), words(duba_world)) == (set(), [])


def test_the_row_says_erased_only_when_nothing_is_left(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1, aktenzeichen="77 XVII 214/26")
    duba_world.settle()
    duba_world.clock.forward(days=91)
    left: list[tuple[set[str], list[str]]] = []

    def look() -> None:
        left.append((all_keys(duba_world), words(duba_world)))

    duba_world.before("dynamodb", "PutItem", look, key='"ERASED"')
    assert turn(duba_world) == 1
    assert left == [(set(), [])]


def test_an_item_that_comes_again_just_then_is_left_alone(duba: SimulatedDuba, duba_world: World) -> None:
    duba.add_message(1)
    duba.faults.add(Fault(Kind.SERVER_ERROR, DOWNLOAD, status=404))
    duba_world.settle("poll", rounds=1)
    duba.faults.clear()
    duba_world.clock.forward(days=31)
    duba_world.before("dynamodb", "PutItem", lambda: duba_world.settle("reconcile"), key='"ERASING"')
    assert turn(duba_world) == 0
    assert "1" in duba_world.received("klinikum")


def test_what_there_is_no_time_for_is_left_to_the_next_turn(duba: SimulatedDuba, duba_world: World) -> None:
    for id_ in range(1, ERASERS + 3):
        duba.add_message(id_)
    duba_world.settle()
    duba_world.clock.forward(days=91)
    seconds = iter([0.0, 0.0, 60.0, 60.0])
    first = retain(TICK, services_of(duba_world), Deadline(30, clock=lambda: next(seconds)))
    assert first == ERASERS
    assert turn(duba_world) == 2


# --- deliveries ---


def delivered(docxworld: ObservedDocxworld, world: MortalWorld, name: str = "brief.pdf") -> str:
    """Send a letter until it is delivered, and return its key."""
    key = f"docxworld/klinikum/{docxworld.letters.id}/{name}"
    world.drop(key, b"ein Brief")
    end(world)
    assert world.receipt(key)["status"] == "DELIVERED"
    return key


def end(world: MortalWorld) -> None:
    """Let everything under way come to its end."""
    world.drain()
    for _ in range(3):
        world.later("track", minutes=5)


def test_a_delivery_goes_with_its_receipt_and_its_words(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = delivered(docxworld, docxworld_world)
    assert len(words(docxworld_world)) == 2
    assert days_later(docxworld_world, 89) == 0
    assert days_later(docxworld_world, 2) == 1
    assert (all_keys(docxworld_world, OUTBOX), all_keys(docxworld_world), words(docxworld_world)) == (set(), set(), [])
    row = docxworld_world.services.ledger.newest_drop(OUTBOX, key)
    assert row is not None
    assert (row.state, row.result, row.failure, row.due) == ("ERASED", "{}", None, None)
    assert [past.state for past in row.history][-3:] == ["DELIVERED", "ERASING", "ERASED"]
    ends = [each for each in table(docxworld_world) if each["pk"]["S"].startswith("DROP#")]
    assert {each["sk"]["S"] for each in ends if "expiresAt" not in each} == set()


def test_an_older_version_goes_alone(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    key = delivered(docxworld, docxworld_world)
    docxworld_world.clock.forward(days=50)
    newer = version_of(docxworld_world.drop(key, b"noch ein Brief"))
    end(docxworld_world)
    assert days_later(docxworld_world, 41) == 1
    assert docxworld_world.receipt(key)["versionId"] == newer
    versions = docxworld_world.client("s3").list_object_versions(Bucket=OUTBOX)["Versions"]
    assert [each["VersionId"] for each in versions] == [newer]
    assert len(words(docxworld_world)) == 2, "those of the newer version"
    newest = docxworld_world.services.ledger.newest_drop(OUTBOX, key)
    assert newest is not None
    assert (newest.version_id, newest.state) == (newer, "DELIVERED")


def test_a_drop_that_fits_no_rule_goes_by_the_rules_for_all(docxworld_world: MortalWorld) -> None:
    docxworld_world.drop("klinikum/brief.pdf", b"?")
    docxworld_world.drain()
    assert days_later(docxworld_world, 179) == 0
    assert days_later(docxworld_world, 2) == 1
    assert (all_keys(docxworld_world), all_keys(docxworld_world, OUTBOX)) == (set(), set())


def test_an_event_that_comes_again_after_the_erasure_changes_nothing(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    key = f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf"
    events = [put(docxworld_world, key, b"ein Brief"), put(docxworld_world, "klinikum/brief.pdf", b"?")]
    for event in events:
        docxworld_world.arrive(event)
    end(docxworld_world)
    assert days_later(docxworld_world, 181) == 2
    rows = table(docxworld_world)
    for event in events:
        docxworld_world.arrive(event)
    end(docxworld_world)
    assert (all_keys(docxworld_world), len(docxworld.jobs())) == (set(), 1)
    assert table(docxworld_world) == rows


def test_what_is_under_way_is_never_touched(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, "* /.*"))
    docxworld_world.drop(f"docxworld/klinikum/{docxworld.letters.id}/brief.pdf", b"ein Brief")
    docxworld_world.drain()
    kept = all_keys(docxworld_world, OUTBOX)
    assert days_later(docxworld_world, 365) == 0
    assert all_keys(docxworld_world, OUTBOX) == kept != set()


# --- what is told ---


def test_one_that_cannot_be_erased_does_not_keep_the_others_and_raises_an_alarm(
    duba: SimulatedDuba, duba_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id_ in (1, 2, 3):
        duba.add_message(id_)
    duba_world.settle()
    lines = MetricLines(monkeypatch, "all")
    duba_world.clock.forward(days=91)
    services = services_of(duba_world)
    services.__dict__["_s3"] = Locked(duba_world.client("s3"), "duba/klinikum/2/")
    assert retain(TICK, services, Deadline(60)) == 2
    assert [item(duba_world, each).state for each in ("1", "2", "3")] == ["ERASED", "ERASING", "ERASED"]
    first = lines.period()
    assert [line["Erased"] for line in first if line["portal"] == "duba"] == [[2.0]]
    assert {line["connection"] for line in first if "Erased" in line} == {"klinikum"}
    assert retain(TICK, services, Deadline(60)) == 0
    second = lines.period()
    assert not is_raised(alarm("RetainAllFailedAlarm"), [], first), "the next hour may make it good"
    assert is_raised(alarm("RetainAllFailedAlarm"), first, second)
    assert turn(duba_world) == 1
    assert not is_raised(alarm("RetainAllFailedAlarm"), second, lines.period())


class Locked:
    """S3, which refuses to delete what lies below a prefix."""

    def __init__(self, s3: Any, prefix: str) -> None:
        self._s3 = s3
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def delete_objects(self, **asked: Any) -> dict[str, Any]:
        """Delete, or say of each that it was not."""
        if asked["Delete"]["Objects"][0]["Key"].startswith(self._prefix):
            return {"Errors": [{"Key": each["Key"], "Code": "AccessDenied"} for each in asked["Delete"]["Objects"]]}
        answer: dict[str, Any] = self._s3.delete_objects(**asked)
        return answer


def test_a_turn_that_breaks_raises_the_alarm_too(
    duba: SimulatedDuba, duba_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    duba.add_message(1)
    duba_world.settle()
    lines = MetricLines(monkeypatch, "all")
    duba_world.clock.forward(days=91)
    periods = []
    for _ in range(2):
        duba_world.crash("dynamodb", "Query")
        with pytest.raises(Crash):
            turn(duba_world)
        periods.append(lines.period())
    assert is_raised(alarm("RetainAllFailedAlarm"), *periods)


def test_nothing_of_the_content_is_logged(duba: SimulatedDuba, duba_world: World, log_lines: LogLines) -> None:
    duba.add_message(1, aktenzeichen="77 XVII 214/26")
    duba_world.settle()
    log_lines.lines.clear()
    assert days_later(duba_world, 91) == 1
    assert "214/26" not in log_lines.text
    assert "message-1" not in log_lines.text
