"""The soak's judge says no to what is lost, doubled, altered or acknowledged too early; its witness sees every
acknowledgement; its violence hits what it should and nothing else; and a short soak ends well.
"""

import io
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from moto import mock_aws
from rich.console import Console

from sandbox import soak
from sandbox.demo.observation import MagicLink, Observation, Published, StatusSet, StoredObject, Told, Uploaded
from sandbox.demo.scenario import End, ExpectedDocument, ExpectedDrop, Fingerprint, Scenario
from sandbox.portals.catalog import DUBA_LOGIN, KLINIKUM, Portals, prepare_portals, secrets
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.soak import report
from sandbox.soak.run import Moment
from sandbox.soak.scenario import Rates, Stream, arrivals
from sandbox.soak.verdict import DeadLetter, SoakVerdict, judge_soak
from sandbox.soak.violence import Act, Blow, Listeners, Mains, Violence, plan
from sandbox.soak.witness import Witness
from sandbox.workers import workers_of
from tests.flows.world import REGION, World

NAMES = ["duba", "docxworld", "digitale-gemeinde", "altinn"]
LINK_END = datetime(2026, 2, 19, 15, 30, tzinfo=UTC)

# --- the judge -------------------------------------------------------------------------------------------------------

ZIP = Fingerprint.of(b"PK")
DOCUMENT = ExpectedDocument("duba", KLINIKUM, "1", "12 XVII 1/26", ZIP)
FILE_KEY, DOCUMENT_KEY = f"{DOCUMENT.prefix}/message-1.zip", f"{DOCUMENT.prefix}/document.json"
DROP = ExpectedDrop(f"docxworld/{KLINIKUM}/BRIEF/brief.pdf", b"brief", target="t-1", version_id="v1")
RECEIPT_KEY = f"receipts/{DROP.key}.json"
SCENARIO = Scenario((DOCUMENT,), (DROP,))
UPLOAD = Uploaded("u-1", "t-1", "brief.pdf", DROP.fingerprint)


def stored(text: Mapping[str, Any], versions: int = 1) -> StoredObject:
    return StoredObject(versions, Fingerprint.of(json.dumps(text).encode()), text)


def manifest() -> dict[str, Any]:
    file = {"key": FILE_KEY, "size": ZIP.size, "sha256": ZIP.sha256, "portalName": None}
    return {"portal": "duba", "connection": KLINIKUM, "id": "1", "files": [file]}


def receipt(**change: Any) -> StoredObject:
    return stored({"versionId": "v1", "status": "DELIVERED", "portalId": "u-1", "error": None, **change})


def delivery(status: str = "DELIVERED") -> Published:
    return Published("Delivery Updated", "docxworld", "u-1", RECEIPT_KEY, status, "v1")


INBOX = {FILE_KEY: StoredObject(1, ZIP), DOCUMENT_KEY: stored(manifest()), RECEIPT_KEY: receipt()}
RECEIVED = Published("Document Received", "duba", "1", DOCUMENT_KEY)
ACKNOWLEDGED = Published("Document Acknowledged", "duba", "1", DOCUMENT_KEY)
RIGHT = Observation(
    inbox=INBOX, told=[Told("duba", "1")], uploads=[UPLOAD], events=[RECEIVED, ACKNOWLEDGED, delivery()]
)


def judged(seen: Observation, **more: Any) -> SoakVerdict:
    return judge_soak(SCENARIO, seen, **more)


def with_object(key: str, found: StoredObject) -> Observation:
    return replace(RIGHT, inbox={**INBOX, key: found})


def without_object(key: str) -> Observation:
    return replace(RIGHT, inbox={name: found for name, found in INBOX.items() if name != key})


def test_what_went_as_it_should_is_right() -> None:
    verdict = judged(RIGHT)
    assert verdict.ok and verdict.ended
    assert (verdict.lost, verdict.doubled, verdict.too_early, verdict.unknown) == ((), (), (), ())


def test_a_lost_document_is_noticed() -> None:
    verdict = judged(without_object(DOCUMENT_KEY))
    assert verdict.lost == (DOCUMENT.prefix,)
    assert not verdict.ok


@pytest.mark.parametrize("seen", [without_object(RECEIPT_KEY), with_object(RECEIPT_KEY, receipt(status="IN_PROGRESS"))])
def test_a_drop_without_an_end_is_noticed(seen: Observation) -> None:
    verdict = judged(seen)
    assert verdict.lost == (DROP.key,)
    assert not verdict.ok


def test_a_drop_that_never_reached_the_portal_is_noticed_whatever_its_receipt_says() -> None:
    verdict = judged(replace(RIGHT, uploads=[]))
    assert "the portal has it 0 times, not 1" in verdict.verdict.drops[0].problems
    assert not verdict.ok


@pytest.mark.parametrize("key", [FILE_KEY, DOCUMENT_KEY])
def test_a_doubled_document_is_noticed(key: str) -> None:
    verdict = judged(with_object(key, replace(INBOX[key], versions=2)))
    assert verdict.doubled == (key,)
    assert not verdict.ok


def test_a_doubled_drop_is_noticed() -> None:
    verdict = judged(replace(RIGHT, uploads=[UPLOAD, replace(UPLOAD, id="u-2")]))
    assert verdict.doubled == (DROP.key,)
    assert not verdict.ok


def test_a_status_and_a_refund_that_were_doubled_are_noticed() -> None:
    refund = StatusSet("digitale-gemeinde", "f/1", "Refund")
    verdict = judged(replace(RIGHT, statuses=[refund, refund], refunds={"f/1": 2}))
    assert verdict.doubled == ("digitale-gemeinde/f/1: Refund", "refund of f/1")
    assert not verdict.ok


def test_an_altered_document_is_noticed() -> None:
    verdict = judged(with_object(FILE_KEY, StoredObject(1, Fingerprint.of(b"other"))))
    assert "the bytes of message-1.zip are not the portal's" in verdict.verdict.documents[0].problems
    assert not verdict.ok


def test_an_altered_drop_is_noticed() -> None:
    verdict = judged(replace(RIGHT, uploads=[replace(UPLOAD, content=Fingerprint.of(b"other"))]))
    assert verdict.verdict.problems == ("unexpected upload at docxworld: brief.pdf",)
    assert not verdict.ok


def test_an_acknowledgement_that_came_too_early_is_noticed_though_all_else_is_right() -> None:
    verdict = judged(RIGHT, too_early=[("duba", "1")])
    assert verdict.too_early == ("duba/1",)
    assert verdict.ended
    assert not verdict.ok


def test_a_missing_acknowledgement_and_one_that_nobody_expects_are_noticed() -> None:
    verdict = judged(replace(RIGHT, told=[Told("duba", "2")]))
    assert "the portal was not told that we have it" in verdict.verdict.documents[0].problems
    assert verdict.verdict.problems == ("unexpected acknowledgement: 2",)


def test_a_repeated_acknowledgement_is_counted_and_not_wrong() -> None:
    verdict = judged(replace(RIGHT, told=[Told("duba", "1")] * 3))
    assert verdict.ok
    assert verdict.told_again == 2


def test_an_object_that_nobody_expects_and_work_that_is_left_are_noticed() -> None:
    seen = replace(with_object("duba/klinikum/2/document.json", stored({})), left_in_queues={"fetch": 1})
    assert len(judged(seen).verdict.problems) == 2
    assert not judged(seen).ok


def test_a_dead_letter_is_a_defect_unless_its_schedule_comes_again() -> None:
    seen = replace(RIGHT, dead_letters=1)
    assert judged(seen, dead_letters=[DeadLetter('{"task": "poll"}', is_task=True)]).ok
    assert not judged(seen, dead_letters=[DeadLetter('{"id": "1"}', is_task=False)]).ok
    assert not judged(seen).ok


# --- outcomes that nobody can know, links that were made anew --------------------------------------------------------


def unknown(uploads: list[Uploaded], *, message: str = "look it up") -> SoakVerdict:
    error = {"code": "OUTCOME_UNKNOWN", "message": message, "retryable": False}
    inbox = {**INBOX, RECEIPT_KEY: receipt(status="FAILED", portalId=None, error=error)}
    return judged(replace(RIGHT, inbox=inbox, uploads=uploads, events=[RECEIVED, ACKNOWLEDGED, delivery("FAILED")]))


@pytest.mark.parametrize("uploads", [[], [UPLOAD]])
def test_a_drop_whose_outcome_is_unknown_may_have_arrived_or_not(uploads: list[Uploaded]) -> None:
    verdict = unknown(uploads)
    assert verdict.ok
    assert verdict.unknown == (DROP.key,)
    assert verdict.verdict.drops[0].reached == End.FAILED


def test_a_drop_whose_outcome_is_unknown_has_not_arrived_twice() -> None:
    assert not unknown([UPLOAD, replace(UPLOAD, id="u-2")]).ok


def test_an_unknown_outcome_needs_a_reason() -> None:
    assert not unknown([], message="").ok


def test_any_other_failure_of_a_drop_that_could_be_delivered_is_wrong() -> None:
    error = {"code": "PORTAL_UNREACHABLE", "message": "gone", "retryable": True}
    assert not judged(with_object(RECEIPT_KEY, receipt(status="FAILED", error=error))).ok


def linked(told: str) -> SoakVerdict:
    """Judge a job of which the portal made two links and the receipt tells one."""
    drop = ExpectedDrop("duba/k/F/a.json", b"{}", at_portal=False, portal_id="j", link_of="j", version_id="v1")
    key = f"receipts/{drop.key}.json"
    links = [MagicLink("j", f"http://duba/{token}", token, LINK_END) for token in ("one", "two")]
    said = receipt(portalId="j", result={"magicLink": told, "expiresAt": LINK_END.isoformat()})
    events = [Published("Delivery Updated", "duba", "j", key, "DELIVERED", "v1")]
    return judge_soak(Scenario((), (drop,)), Observation(inbox={key: said}, links=links, events=events))


def test_a_link_that_was_made_anew_is_counted_and_not_wrong() -> None:
    verdict = linked("http://duba/two")
    assert verdict.ok
    assert verdict.links_again == 1


def test_a_link_that_the_portal_did_not_make_is_noticed() -> None:
    assert not linked("http://duba/three").ok


# --- the witness -----------------------------------------------------------------------------------------------------


@pytest.fixture
def portals() -> Iterator[Portals]:
    """Provide portals that are not served yet."""
    with ExitStack() as running:
        yield prepare_portals(running)


@pytest.fixture
def watched(portals: Portals, tmp_path: Path) -> Iterator[tuple[Witness, Stream]]:
    """Provide portals whose acknowledgements are watched, with a document each and an empty inbox on disk."""
    stream = Stream(portals, seed=1, seconds=60)
    witness = Witness(tmp_path, stream.documents)
    witness.watch(portals)
    listeners = Listeners(portals.all())
    for name in NAMES:
        stream.add_document(name, 0.0)
    yield witness, stream
    listeners.stop()


def acknowledge(portals: Portals, id_: str) -> None:
    url = f"{portals.duba.base_url}/api/duba/v1/messages/ack"
    assert requests.post(url, json={"messageIds": [int(id_)]}, auth=DUBA_LOGIN, timeout=5).status_code == 200


def test_an_acknowledgement_before_the_document_is_there_is_seen(
    watched: tuple[Witness, Stream], portals: Portals, tmp_path: Path
) -> None:
    witness, stream = watched
    document = next(each for each in stream.documents.values() if each.portal == "duba")
    (tmp_path / document.prefix).mkdir(parents=True)
    (tmp_path / document.prefix / "message.zip").touch()
    acknowledge(portals, document.id)
    assert witness.too_early == [("duba", document.id)]


def test_an_acknowledgement_after_it_is_right(
    watched: tuple[Witness, Stream], portals: Portals, tmp_path: Path
) -> None:
    witness, stream = watched
    document = next(each for each in stream.documents.values() if each.portal == "duba")
    (tmp_path / document.prefix).mkdir(parents=True)
    (tmp_path / document.prefix / "document.json").touch()
    acknowledge(portals, document.id)
    assert (witness.seen, witness.too_early) == (1, [])


@pytest.mark.parametrize("name", NAMES)
def test_the_witness_sees_what_the_functions_tell_each_portal(
    name: str, watched: tuple[Witness, Stream], portals: Portals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inbox is elsewhere (in moto), so each of them counts as too early: none escapes."""
    witness, stream = watched
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        world = World(name)
        for secret, body in secrets(portals).items():
            if secret.split("/")[1] == name:
                world.connect(secret.rpartition("/")[2], body)
        world.settle(rounds=2)
    expected = [(each.portal, each.id) for each in stream.documents.values() if each.portal == name]
    assert witness.too_early == expected


# --- what comes, and what goes wrong ---------------------------------------------------------------------------------


def test_the_stream_is_steady_and_every_portal_has_its_share() -> None:
    coming = arrivals(random.Random(1), 60, Rates(2, 0.5), NAMES)
    assert [each.at_seconds for each in coming] == sorted(each.at_seconds for each in coming)
    for is_drop, count in ((False, 30), (True, 7)):
        shares = [sum(each.portal == name and each.is_drop is is_drop for each in coming) for name in NAMES]
        assert min(shares) >= count
        assert max(shares) - min(shares) <= 1


def test_every_content_of_a_stream_is_unlike_every_other(portals: Portals) -> None:
    stream = Stream(portals, seed=1, seconds=60)
    drops = [stream.next_drop(name, 0.0) for name in NAMES * 8]
    prints = [each.arriving.content for each in drops if each.sets not in ("Abgeschlossen", "Refund") or each.at_portal]
    assert len(set(prints)) == len(prints)
    assert len({each.key for each in drops}) == len(drops)
    documents = [stream.add_document(name, 0.0) for name in NAMES * 4]
    assert len(stream.documents) == len(documents)


def test_a_plan_can_be_repeated_and_has_everything_in_it() -> None:
    first, again = (plan(random.Random(7), 120, NAMES) for _ in range(2))
    assert first == again
    assert {blow.act for blow in first} == set(Act)
    assert all(blow.at_seconds + blow.seconds <= 120 for blow in first)
    assert plan(random.Random(8), 120, NAMES) != first


def test_a_portal_that_was_unreachable_comes_back_where_it_was_with_what_it_had() -> None:
    duba = SimulatedDuba(*DUBA_LOGIN)
    id_ = duba.add_message()
    listeners = Listeners([duba])
    url = f"{duba.base_url}/api/duba/v1/messages"
    listeners.close("duba")
    with pytest.raises(requests.ConnectionError):
        requests.get(url, auth=DUBA_LOGIN, timeout=5)
    listeners.open_again("duba")
    assert [each["id"] for each in requests.get(url, auth=DUBA_LOGIN, timeout=5).json()] == [id_]
    listeners.stop()


def test_only_children_of_the_server_are_workers() -> None:
    environment = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "amtsbote-FetchDubaFunction-0A1B"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as child:
        time.sleep(0.2)
        found = [each for each in workers_of(os.getpid()) if each.process_id == child.pid]
        assert [each.function for each in found] == ["FetchDuba"]
        assert child.pid not in [each.process_id for each in workers_of(child.pid)]
        child.kill()


def test_an_aws_that_is_cut_off_loses_its_workers_and_keeps_its_answers(tmp_path: Path) -> None:
    mains = Mains(tmp_path)
    try:
        before, endpoint = mains.aws.process_id, mains.aws.endpoint
        s3 = mains.aws.session().client("s3", endpoint_url=endpoint)
        s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        mains.cut(0.0)
        assert mains.aws.process_id != before
        assert mains.aws.endpoint == endpoint
        assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["kept"]
    finally:
        mains.stop()


def test_at_the_end_nothing_is_wrong_any_more() -> None:
    duba, said = SimulatedDuba(*DUBA_LOGIN), list[str]()
    listeners = Listeners([duba])
    mains: Any = None  # nothing of this plan touches the AWS
    blows = [
        Blow(1, Act.OUTAGE, 5, "duba"),
        Blow(2, Act.FAULTS, 5, "duba", Fault(Kind.RESET)),
    ]
    violence = Violence(mains, listeners, {"duba": duba}, blows, random.Random(3), said.append)
    violence.strike(3)
    assert (violence.outages.total(), len(said)) == (1, 2)
    duba.faults.strike("GET", "/")
    violence.end()
    assert violence.faults == {"RESET": 1}
    assert requests.get(f"{duba.base_url}/_sandbox/state", timeout=5).json()["faults"] == []
    listeners.stop()


# --- the report and the command --------------------------------------------------------------------------------------


def moment(verdict: SoakVerdict) -> Moment:
    return Moment(75.0, SCENARIO, verdict, RIGHT, 0.0, 12.0)


def shown(verdict: SoakVerdict) -> str:
    mains: Any = None
    listeners: Any = None
    violence = Violence(mains, listeners, {}, [], random.Random(1), print)
    violence.kills.update({"FetchDuba": 2, Act.KILL_AWS: 1})
    figures = report.figures(moment(verdict), violence, seed=7, seconds=60, acknowledgements=1)
    out = io.StringIO()
    report.print_result(Console(file=out, width=report.WIDTH), moment(verdict), figures)
    assert json.dumps(report.as_json(moment(verdict), figures, []))
    assert report.progress(moment(verdict), violence).count("2+1 kills") == 1
    return out.getvalue()


def test_the_report_says_that_all_is_well_only_when_it_is() -> None:
    assert "Nothing was lost" in shown(judged(RIGHT))
    wrong = shown(judged(without_object(DOCUMENT_KEY), too_early=[("duba", "1")]))
    assert "Nothing was lost" not in wrong
    assert f"lost: {DOCUMENT.prefix}" in wrong
    assert "acknowledged before its document.json was there: duba/1" in wrong


def test_a_missing_sam_is_named_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "SAM", tmp_path / "sam")
    assert soak.main([]) == 1
    assert "make setup" in capsys.readouterr().err


# --- a short soak ----------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_short_soak_loses_and_doubles_nothing() -> None:
    result = soak.soak(40, 20260219, Rates(0.5, 0.2), 300, Console(quiet=True))
    assert list(report.problems(result.moment.verdict, result.moment)) == []
    figures = result.figures
    assert figures.ok
    assert (figures.documents, figures.drops) == (20, 8)
    assert figures.aws_killed >= 1
    assert sum(figures.workers_killed.values()) >= 1  # a slow machine kills fewer in its time
    assert sum(figures.outages.values()) >= 1
    assert figures.acknowledgements_seen >= figures.documents
