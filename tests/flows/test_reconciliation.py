"""Once a day portal, ledger and buckets are compared: each kind of difference is made, reported, repaired, and gone."""

import io
import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from amtsbote.cli.app import main
from amtsbote.errors import Reject, Retry
from amtsbote.lifecycle import Erased, ErasureBegun, State
from amtsbote.messages import ConnectionTask, Task
from amtsbote.operations import accounts, reconciliation
from amtsbote.operations.office import Account, Office
from amtsbote.operations.reconciliation import awaited, repair, reports
from amtsbote.operations.reconciliation import report as report_of
from amtsbote.reconciliation import Difference, Kind, Report
from sandbox.portals.duba import SimulatedDuba
from tests.flows.test_duba_magic_links import FORM, KEY
from tests.flows.test_operations import office_of
from tests.flows.world import INBOX, OUTBOX, World

KLINIKUM = Account("duba", "klinikum")
LOGIN = {"username": "amtsbote", "password": "geheim"}


@pytest.fixture
def office(duba_world: World) -> Office:
    """Provide the operator."""
    return office_of(duba_world)


def compared(world: World, **wanted: Any) -> Report:
    """Let a comparison happen, with all that follows, and return its report."""
    world.clock.forward(seconds=1)  # reports are named by the second
    task = ConnectionTask(portal=world.portal, connection="klinikum", task=Task.RECONCILE, **wanted)
    world.arrive_in("poll", task.body())
    world.drain()
    return latest(world)


def latest(world: World) -> Report:
    """Return the newest report."""
    reports = world.services.reports
    report = reports.read(world.portal, "klinikum", reports.moments(world.portal, "klinikum")[0])
    assert report is not None
    return report


def kinds(report: Report) -> list[str]:
    """Return the kinds of a report's differences, sorted."""
    return sorted(each.kind for each in report.differences)


def mended(world: World, office: Office) -> Report:
    """Repair what the latest report lists, let that happen, and compare again."""
    for each in report_of(office, KLINIKUM).differences:
        repair(office, KLINIKUM, each).do()
    world.settle()
    return compared(world)


def the_one(report: Report, kind: Kind) -> Difference:
    """Return the one difference that there is."""
    assert [each.kind for each in report.differences] == [kind]
    assert (report.counts, report.complete, report.found) == ({kind: 1}, True, 1)
    return report.differences[0]


def zip_key(id: int) -> str:
    """Return where a message's file lies."""
    return f"duba/klinikum/{id}/message-{id}.zip"


def stored(world: World, duba: SimulatedDuba, policy: str = "stored") -> int:
    """Let a message arrive, and be told of as the connection says; return its id."""
    world.connect("klinikum", {"baseUrl": duba.base_url, **LOGIN, "acknowledge": policy})
    id = duba.add_message()
    world.settle()
    return id


def delete(world: World, key: str, bucket: str = INBOX) -> None:
    """Let somebody delete an object."""
    world.client("s3").delete_object(Bucket=bucket, Key=key)


def test_where_nothing_differs_the_report_says_so(duba: SimulatedDuba, duba_world: World) -> None:
    ids = [duba.add_message() for _ in range(3)]
    duba_world.settle()
    duba_world.clock.forward(hours=3)
    report = compared(duba_world, deep=True, everything=True)
    assert (report.complete, report.counts, report.differences) == (True, {}, ())
    assert report.compared >= len(ids)
    said = json.loads(duba_world.content(f"reports/duba/klinikum/{report.started_at:%Y-%m-%dT%H%M%SZ}.json"))
    assert (said["schema"], said["portal"], said["connection"]) == ("amtsbote.reconciliation/1", "duba", "klinikum")
    assert (said["complete"], said["more"], said["notHashed"], said["goesOnAt"]) == (True, 0, 0, None)


# --- portal against ledger ---


def test_what_a_poll_would_never_have_found_is_missing_here(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    stored(duba_world, duba)
    late = duba.add_message(created_at=duba_world.clock() - timedelta(days=5))
    duba_world.settle()
    assert str(late) not in duba_world.received("klinikum")
    difference = the_one(compared(duba_world), Kind.MISSING_HERE)
    assert (difference.id, difference.repair) == (str(late), None)
    assert str(late) in duba_world.received("klinikum"), "finding it is no repair"
    duba_world.settle()
    assert kinds(compared(duba_world)) == []


def test_what_a_poll_would_have_found_too_is_no_difference(duba: SimulatedDuba, duba_world: World) -> None:
    stored(duba_world, duba)
    duba.add_message(created_at=duba_world.clock() - timedelta(hours=40))
    assert kinds(compared(duba_world)) == []


def test_an_item_that_the_portal_lost_is_unknown_there(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    id = duba.add_message()
    duba_world.tick("poll")
    duba_world.run("poll")
    duba_world.sqs.queue("fetch").clear()
    duba.retention_delete(id)
    duba_world.clock.forward(seconds=50)
    assert not asked_and_lost(duba_world).counts, "a fetch that is under way finds out by itself"
    duba_world.clock.forward(minutes=15)
    difference = the_one(asked_and_lost(duba_world), Kind.UNKNOWN_THERE)
    assert difference.id == str(id)
    assert (difference.state, difference.repair) == ("DISCOVERED", "ASK_PORTAL")
    assert kinds(mended(duba_world, office)) == []
    assert duba_world.state("klinikum", str(id)) == "UNAVAILABLE"


def asked_and_lost(world: World) -> Report:
    """Compare, with a queue of fetches that loses everything."""
    world.clock.forward(seconds=1)
    world.arrive_in("poll", ConnectionTask(portal="duba", connection="klinikum", task=Task.RECONCILE).body())
    world.run("poll")
    world.sqs.queue("fetch").clear()
    return latest(world)


def test_a_stored_item_that_the_portal_no_longer_lists_is_told_of_once_more(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = stored(duba_world, duba, "processed")
    duba.retention_delete(id)
    assert kinds(compared(duba_world)) == []
    duba_world.clock.forward(hours=2)
    difference = the_one(compared(duba_world), Kind.UNKNOWN_THERE)
    assert (difference.id, difference.state, difference.repair) == (str(id), "STORED", "TELL_PORTAL")
    duba_world.mark_processed("klinikum", str(id))
    assert kinds(mended(duba_world, office)) == []


def test_an_item_in_quarantine_that_the_portal_lost_is_told_and_left_to_a_person(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = duba.add_message(content=b"PK\x03\x04 but then no ZIP at all")
    duba_world.settle()
    duba.retention_delete(id)
    duba_world.clock.forward(minutes=15)
    difference = the_one(compared(duba_world), Kind.UNKNOWN_THERE)
    assert (difference.state, difference.repair) == ("QUARANTINED", None)
    with pytest.raises(Reject, match="nothing can be done"):
        repair(office, KLINIKUM, difference)


def test_what_a_connection_never_tells_of_may_go_at_the_portal(duba: SimulatedDuba, duba_world: World) -> None:
    duba.retention_delete(stored(duba_world, duba, "never"))
    duba_world.clock.forward(hours=2)
    assert kinds(compared(duba_world)) == []


def test_an_acknowledged_item_that_the_portal_still_lists_is_told(duba: SimulatedDuba, duba_world: World) -> None:
    id = stored(duba_world, duba)
    duba.messages[id].deletion = None  # a portal that forgets what it confirmed
    duba_world.clock.forward(minutes=50)
    assert kinds(compared(duba_world)) == []
    duba_world.clock.forward(minutes=20)
    difference = the_one(compared(duba_world), Kind.STILL_THERE)
    assert (difference.id, difference.state, difference.repair) == (str(id), "ACKNOWLEDGED", None)


# --- ledger against inbox ---


@pytest.mark.parametrize("policy", ["stored", "never"])
@pytest.mark.parametrize("name", ["message-{id}.zip", "document.json"])
def test_a_deleted_file_is_told_and_restored(
    duba: SimulatedDuba, duba_world: World, office: Office, name: str, policy: str
) -> None:
    id = stored(duba_world, duba, policy)
    content = duba_world.content(zip_key(id))
    delete(duba_world, f"duba/klinikum/{id}/{name.format(id=id)}")
    difference = the_one(compared(duba_world), Kind.FILES_DIFFER)
    assert (difference.id, difference.repair) == (str(id), "RESTORE_FILES")
    assert kinds(mended(duba_world, office)) == []
    assert duba_world.content(zip_key(id)) == content
    assert duba_world.document("klinikum", str(id))["files"][0]["sha256"] == sha256(content).hexdigest()
    with pytest.raises(Reject, match="is as it was stored"):
        repair(office, KLINIKUM, difference)


def test_a_whole_document_that_was_deleted_is_restored(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    id = stored(duba_world, duba)
    for key in (zip_key(id), f"duba/klinikum/{id}/document.json"):
        delete(duba_world, key)
        delete(duba_world, key)
    assert "document.json is missing" in the_one(compared(duba_world), Kind.FILES_DIFFER).says
    assert kinds(mended(duba_world, office)) == []
    assert duba_world.received("klinikum") == {str(id)}


@pytest.mark.parametrize("deep", [False, True])
def test_an_overwritten_file_is_told_and_restored(
    duba: SimulatedDuba, duba_world: World, office: Office, deep: bool
) -> None:
    id = stored(duba_world, duba)
    content = duba_world.content(zip_key(id))
    other = bytes(len(content)) if deep else b"other"
    duba_world.client("s3").put_object(Bucket=INBOX, Key=zip_key(id), Body=other)
    if deep:
        assert kinds(compared(duba_world)) == [], "without reading it, it looks the same"
    the_one(compared(duba_world, deep=deep), Kind.FILES_DIFFER)
    mended(duba_world, office)
    assert kinds(compared(duba_world, deep=True)) == []
    assert duba_world.content(zip_key(id)) == content


def destroy(world: World, key: str) -> None:
    """Let somebody delete all versions of an object for good."""
    s3 = world.client("s3")
    for each in s3.list_object_versions(Bucket=INBOX, Prefix=key)["Versions"]:
        s3.delete_object(Bucket=INBOX, Key=key, VersionId=each["VersionId"])


def test_a_file_that_is_gone_for_good_is_fetched_again_while_the_portal_has_it(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = stored(duba_world, duba, "never")
    content = duba_world.content(zip_key(id))
    duba_world.later("poll", days=20)
    destroy(duba_world, zip_key(id))
    the_one(compared(duba_world, everything=True), Kind.FILES_DIFFER)
    assert kinds(mended(duba_world, office)) == []
    assert kinds(compared(duba_world, everything=True)) == []
    assert duba_world.content(zip_key(id)) == content
    assert duba_world.state("klinikum", str(id)) == "STORED"


def test_what_is_gone_everywhere_cannot_be_repaired(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    id = stored(duba_world, duba)
    destroy(duba_world, zip_key(id))
    with pytest.raises(Reject, match="no version that fits is left"):
        repair(office, KLINIKUM, the_one(compared(duba_world), Kind.FILES_DIFFER))


def test_what_is_older_than_three_days_is_looked_at_when_everything_is(duba: SimulatedDuba, duba_world: World) -> None:
    id = stored(duba_world, duba)
    delete(duba_world, zip_key(id))
    duba_world.clock.forward(days=4)
    assert kinds(compared(duba_world)) == []
    assert kinds(compared(duba_world, everything=True)) == [Kind.FILES_DIFFER]


@pytest.mark.parametrize("place", ["99", "id-" + "0" * 64])
def test_a_document_that_the_ledger_does_not_know_is_told(duba_world: World, place: str) -> None:
    body = json.dumps({"id": "a//b", "files": []}).encode()
    duba_world.client("s3").put_object(Bucket=INBOX, Key=f"duba/klinikum/{place}/document.json", Body=body)
    difference = the_one(compared(duba_world), Kind.NO_ROW)
    assert (difference.id, difference.repair) == ("99" if place == "99" else "a//b", None)


# --- ledger against outbox ---


def lost_drop(world: World, name: str = "fall", form: object = FORM) -> str:
    """Drop form data whose event never comes; returns the version."""
    key, body = KEY.replace("fall", name), json.dumps(form).encode()
    version: str = world.client("s3").put_object(Bucket=OUTBOX, Key=key, Body=body)["VersionId"]
    return version


def test_a_drop_whose_event_was_lost_is_told_and_sent(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    version = lost_drop(duba_world)
    assert kinds(compared(duba_world)) == [], "its event may still be on its way"
    duba_world.clock.forward(minutes=20)
    difference = the_one(compared(duba_world), Kind.NOT_SENT)
    assert (difference.outbox_key, difference.version_id, difference.repair) == (KEY, version, "DELIVER")
    assert kinds(mended(duba_world, office)) == []
    assert duba_world.receipt(KEY)["status"] == "DELIVERED"


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_the_receipt_speaks_of_the_newest_version_whichever_event_was_lost(
    duba: SimulatedDuba, duba_world: World, office: Office, lost: int
) -> None:
    versions = []
    for number in range(3):
        body = json.dumps({**FORM, "jobId": f"job-{number}"}).encode()
        if number == lost:
            versions.append(duba_world.client("s3").put_object(Bucket=OUTBOX, Key=KEY, Body=body)["VersionId"])
        else:
            versions.append(duba_world.drop(KEY, body)["detail"]["object"]["version-id"])
            duba_world.drain()
    duba_world.clock.forward(minutes=20)
    assert the_one(compared(duba_world), Kind.NOT_SENT).version_id == versions[lost]
    assert kinds(mended(duba_world, office)) == []
    assert duba_world.receipt(KEY)["versionId"] == versions[2]


def test_a_drop_that_nobody_works_on_is_stuck(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    duba_world.drop(KEY, json.dumps(FORM).encode())
    duba_world.use_up_time()
    duba_world.before("s3", "GetObject", duba_world.use_up_time)
    duba_world.crash("s3", "GetObject")
    duba_world.run("own")
    duba_world.sqs.queue("own").clear()
    duba_world.clock.forward(minutes=100)
    assert kinds(compared(duba_world)) == []
    duba_world.clock.forward(minutes=40)
    difference = the_one(compared(duba_world), Kind.STUCK)
    assert (difference.outbox_key, difference.state, difference.repair) == (KEY, "SENDING", "DELIVER")
    assert kinds(mended(duba_world, office)) == []
    assert duba_world.receipt(KEY)["status"] == "DELIVERED"
    with pytest.raises(Reject, match="is DELIVERED by now"):
        repair(office, KLINIKUM, difference)


# --- bounds ---


def test_what_does_not_fit_into_one_invocation_goes_on_in_the_next(duba: SimulatedDuba, duba_world: World) -> None:
    first = stored(duba_world, duba)
    ids = [stored(duba_world, duba) for _ in range(3)]
    for id in (first, *ids):
        delete(duba_world, zip_key(id))
    lost_drop(duba_world)
    duba_world.clock.forward(minutes=20)
    whole = compared(duba_world)
    duba_world.clock.forward(seconds=1)
    written = duba_world.calls("s3", "PutObject")
    for service, call in (("dynamodb", "BatchGetItem"), ("s3", "ListObjectsV2"), ("s3", "ListObjectVersions")):
        events = duba_world.client(service).meta.events
        events.register(f"before-call.{service}.{call}", lambda **_: duba_world.use_up_time())
    bit_by_bit = compared(duba_world)
    assert len(written) >= 4, "one step per invocation, and the report after each"
    assert bit_by_bit.counts == whole.counts == {"FILES_DIFFER": 4, "NOT_SENT": 1}
    assert bit_by_bit.differences == whole.differences
    assert bit_by_bit.complete


def test_a_request_to_go_on_that_comes_twice_does_nothing(duba: SimulatedDuba, duba_world: World) -> None:
    stored(duba_world, duba)
    report = compared(duba_world)
    written = duba_world.calls("s3", "PutObject")
    duba_world.arrive_in(
        "poll",
        ConnectionTask(portal="duba", connection="klinikum", task=Task.RECONCILE, goes_on=report.started_at).body(),
    )
    duba_world.drain()
    assert written == []


def test_a_normal_poll_looks_at_no_bucket_and_no_shelf(duba: SimulatedDuba, duba_world: World) -> None:
    stored(duba_world, duba)
    calls = [duba_world.calls("s3", call) for call in ("GetObject", "ListObjectsV2", "ListObjectVersions", "PutObject")]
    queries = duba_world.calls("dynamodb", "Query")
    duba_world.tick("poll")
    duba_world.run("poll")
    assert calls == [[], [], [], []]
    assert len(queries) == 1
    assert "shelves" not in queries[0]


def test_nothing_takes_reports_for_documents(duba: SimulatedDuba, duba_world: World) -> None:
    stored(duba_world, duba)
    compared(duba_world)
    assert duba_world.inbox_keys("reports/duba/klinikum/")
    assert kinds(compared(duba_world, everything=True)) == []
    assert len(duba_world.events_of("Document Received")) == 1


# --- the operator ---


def test_who_asks_for_a_comparison_gets_its_report(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    stored(duba_world, duba)
    with pytest.raises(Reject, match="no report"):
        report_of(office, KLINIKUM)
    asked_at = office.clock()
    accounts.reconcile(office, "duba", "klinikum", everything=True, deep=True).do()
    with pytest.raises(Retry, match="no report"):
        awaited(office, KLINIKUM, asked_at, seconds=4, pause=lambda _: None)
    found = awaited(office, KLINIKUM, asked_at, pause=lambda _: duba_world.drain())
    assert (found.complete, found.whole, found.deep) == (True, True, True)
    assert reports(office, KLINIKUM) == [found.started_at]


def told(office: Office, *arguments: str) -> str:
    """Run the command and return what it prints."""
    out = io.StringIO()
    assert main(("reconcile", "--portal", "duba", *arguments), out=out, open_office=lambda _: office) == 0
    return out.getvalue()


def test_the_command_line_shows_what_differs_rehearses_repairs_and_compares_again(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = stored(duba_world, duba)
    delete(duba_world, zip_key(id))
    compared(duba_world)
    assert f"FILES_DIFFER {id} (ACKNOWLEDGED): a file of" in told(office, "--show")
    (shown,) = json.loads(told(office, "--show", "--json"))["reports"]
    assert (shown["schema"], shown["counts"]) == ("amtsbote.reconciliation/1", {"FILES_DIFFER": 1})
    assert told(office, "--repair", "--dry-run") == (
        f"would restore message-{id}.zip of duba/klinikum/{id} from older versions\n"
    )
    assert zip_key(id) not in duba_world.inbox_keys()
    (repaired,) = json.loads(told(office, "--repair", "--json"))["repairs"]
    assert (repaired["about"], repaired["done"]) == (str(id), True)
    assert zip_key(id) in duba_world.inbox_keys()
    assert told(office, "--repair") == f"nothing to do: duba/klinikum/{id} is as it was stored by now\n"
    compared(duba_world)
    assert "nothing differs" in told(office, "--show")
    assert told(office, "--repair") == "the latest reports list nothing to repair\n"


def test_the_command_line_waits_for_the_report(
    duba: SimulatedDuba, duba_world: World, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(duba_world, duba)
    monkeypatch.setattr(
        reconciliation.awaited, "__kwdefaults__", {"seconds": 60, "pause": lambda _: duba_world.drain()}
    )
    assert "nothing differs" in told(office, "--wait", "--all", "--deep")
    assert report_of(office, KLINIKUM).deep


def test_a_repair_stands_in_the_trail_of_its_connection(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    lost_drop(duba_world)
    duba_world.clock.forward(minutes=20)
    repair(office, KLINIKUM, the_one(compared(duba_world), Kind.NOT_SENT)).do()
    (deed,) = office.ledger.deeds("duba", "klinikum", limit=10)
    assert (deed.action, deed.about) == ("repair", KEY)


def test_the_schedule_compares_every_connection(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    duba_world.connect("zweite", {"baseUrl": duba.base_url, **LOGIN})
    duba_world.settle("reconcile", rounds=1)
    for name in ("klinikum", "zweite"):
        assert report_of(office, Account("duba", name)).complete


def test_an_erased_document_differs_in_nothing(duba: SimulatedDuba, duba_world: World) -> None:
    id = stored(duba_world, duba)
    row = duba_world.services.ledger.item("duba", "klinikum", str(id))
    assert row is not None
    later = duba_world.clock()
    erasing = duba_world.services.ledger.advance(row, ErasureBegun(State.ACKNOWLEDGED, later))
    duba_world.services.inbox.erase(f"duba/klinikum/{id}")
    assert kinds(compared(duba_world, everything=True)) == []
    duba_world.services.ledger.advance(erasing, Erased(later + timedelta(days=900)))
    assert kinds(compared(duba_world, everything=True, deep=True)) == []
