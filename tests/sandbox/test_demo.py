"""The demo's judge says yes to what is right and no to what is not; its run ends in time; its report says it all.

The judge is fed by the real verbs in process (moto) and simulated portals over HTTP; then the world is tampered with.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from moto import mock_aws
from rich.cells import cell_len
from rich.console import Console

from sandbox import demo
from sandbox.demo import report, run
from sandbox.demo.large import Interrupter, Noise, NoiseFile, Transfer
from sandbox.demo.observation import (
    Calls,
    InboxReader,
    Observation,
    Published,
    StoredObject,
    UploadReader,
    calls,
    magic_links,
    moves_at_altinn,
    refunds_made,
    statuses_set,
    told_to_altinn,
    told_to_digitale_gemeinde,
    told_to_docxworld,
    told_to_duba,
    uploads_to_altinn,
    uploads_to_digitale_gemeinde,
)
from sandbox.demo.run import Moment, Run
from sandbox.demo.scenario import (
    HOSTILE_NAME,
    LARGE_NAME,
    Change,
    End,
    ExpectedDocument,
    ExpectedDrop,
    ExpectedFile,
    Fingerprint,
    Scenario,
    approved_and_cancelled,
    draft,
    draft_as_download,
    large,
    seed,
)
from sandbox.demo.verdict import Finding, Verdict, judge
from sandbox.embedded import EmbeddedAws, EmbeddedAwsError
from sandbox.portals.altinn import File, Instance
from sandbox.portals.altinn.bodies import Part
from sandbox.portals.catalog import (
    APP,
    DUBA_LOGIN,
    ETAT,
    HANDED_IN,
    IN_WORK,
    KLINIKUM,
    STADT,
    USER_LOGIN,
    Portals,
    downloader_client,
    example_pdf,
    open_portals,
    secrets,
)
from tests.flows.world import INBOX, REGION, World

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}
PDF = "application/pdf"
NO_ZIP = example_pdf("kein ZIP")


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Provide an empty AWS in this process."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield


@pytest.fixture
def portals() -> Iterator[Portals]:
    """Provide the portals without documents."""
    with ExitStack() as running:
        yield open_portals(running)


@dataclass
class Played:
    """A small scenario that the real verbs have worked through."""

    portals: Portals
    world: World
    scenario: Scenario
    more: list[Published] = field(default_factory=list)
    transfers: Mapping[str, Transfer] = field(default_factory=dict)

    def observe(self) -> Observation:
        """Look from outside, as the demo does."""
        municipality, altinn = self.portals.digitale_gemeinde, self.portals.altinn
        to_docxworld = told_to_docxworld(self.portals.docxworld)
        to_municipality = told_to_digitale_gemeinde(municipality)
        uploads = UploadReader(self.portals.docxworld).read()
        return Observation(
            inbox=InboxReader(self.world.client("s3"), INBOX).read(),
            told=[*told_to_duba(self.portals.duba), *to_docxworld, *to_municipality, *told_to_altinn(altinn)],
            uploads=[*uploads, *uploads_to_digitale_gemeinde(municipality), *uploads_to_altinn(altinn)],
            statuses=[*statuses_set(municipality), *moves_at_altinn(altinn)],
            refunds=refunds_made(municipality),
            links=magic_links(self.portals.duba),
            events=[Published.of(kind, detail) for kind, detail in self.world.events()],
            transfers=self.transfers,
        )

    def verdict(self) -> Verdict:
        """Judge what is there now."""
        return judge(self.scenario, self.observe())

    def put(self, key: str, body: bytes) -> None:
        """Tamper with the inbox."""
        self.world.client("s3").put_object(Bucket=INBOX, Key=key, Body=body)

    def wrongs(self) -> set[str]:
        """Judge, and return all problems."""
        verdict = self.verdict()
        assert not verdict.ok
        return {problem for each in (*verdict.documents, *verdict.drops) for problem in each.problems} | set(
            verdict.problems
        )


def connected(world: World, portals: Portals) -> World:
    """Connect all connections of the world's portal."""
    for name, body in secrets(portals).items():
        _, portal, connection = name.split("/")
        if portal == world.portal:
            world.connect(connection, body)
    return world


@pytest.fixture
def mailbox(portals: Portals) -> Played:
    """Provide DUBA messages that were fetched: an ordinary one, an outgoing one, one that is no ZIP."""
    contents: Mapping[str, tuple[bytes | None, str, End]] = {
        "1": (None, "INCOMING", End.ACKNOWLEDGED),
        "2": (None, "OUTGOING", End.LEFT_ALONE),
        "3": (NO_ZIP, "INCOMING", End.QUARANTINED),
    }
    for id_, (content, direction, _) in contents.items():
        portals.duba.add_message(int(id_), content=content, direction=direction)
    expected = [
        ExpectedDocument("duba", KLINIKUM, id_, f"12 XVII {id_}/26", content_of(portals, int(id_)), end)
        for id_, (_, _, end) in contents.items()
    ]
    world = connected(World("duba"), portals)
    world.settle(rounds=2)
    return Played(portals, world, Scenario(tuple(expected), ()))


def content_of(portals: Portals, id_: int) -> Fingerprint:
    """Return what DUBA holds."""
    content = portals.duba.messages[id_].content
    assert isinstance(content, bytes)
    return Fingerprint.of(content)


@pytest.fixture
def exchange(portals: Portals) -> Played:
    """Provide downloads that were fetched, one of them contested, and drops that were delivered or refused."""
    names = {"Ergebnis.pdf": End.ACKNOWLEDGED, HOSTILE_NAME: End.ACKNOWLEDGED, "Umkämpft.pdf": End.UNAVAILABLE}
    expected = [lay_ready(portals, name, end) for name, end in names.items()]
    world = connected(World("docxworld"), portals)
    portals.docxworld.clock = world.clock
    world.settle(rounds=2)
    brief = portals.targets["BRIEF"].id
    drops = [
        ExpectedDrop(f"docxworld/{KLINIKUM}/BRIEF/brief.pdf", example_pdf("eins"), target=brief),
        ExpectedDrop(
            f"docxworld/{KLINIKUM}/NIRGENDS/brief.pdf",
            example_pdf("zwei"),
            End.FAILED,
            "TARGET_UNKNOWN",
            at_portal=False,
        ),
    ]
    dropped = tuple(drop(world, each) for each in drops)
    return Played(portals, follow(world), Scenario(tuple(expected), dropped))


def lay_ready(portals: Portals, name: str, end: End) -> ExpectedDocument:
    """Lay a download ready."""
    content = example_pdf(name)
    download = portals.docxworld.add_download(portals.targets["BRIEF"], content, file_name=name)
    if end is End.UNAVAILABLE:
        portals.docxworld.contested.add(download.id)
    client = downloader_client(KLINIKUM)
    return ExpectedDocument(
        "docxworld", KLINIKUM, download.id, name, Fingerprint.of(content), end, portal_name=name, client=client
    )


def drop(world: World, expected: ExpectedDrop) -> ExpectedDrop:
    """Drop an object, whose event comes twice."""
    event = world.drop(expected.key, expected.content)
    world.arrive(event)
    return replace(expected, version_id=event["detail"]["object"]["version-id"])


def follow(world: World) -> World:
    """Let time pass until the uploads have ended and their receipts say so."""
    world.drain()
    for _ in range(2):
        world.clock.forward(minutes=1)
        world.settle("track", rounds=1)
    return world


@pytest.fixture
def office(portals: Portals) -> Played:
    """Provide a form with two files of one name that was fetched, a result and a refund that were delivered."""
    municipality, form = portals.digitale_gemeinde, next(iter(portals.forms.values()))
    contents = (example_pdf("eins"), example_pdf("zwei"))
    files = [("Scan.pdf", content, "application/pdf") for content in contents]
    id_ = municipality.add_document(form, {"name": "Muster"}, {"beilage": files})
    details = json.dumps(municipality.documents[id_].details(municipality.options)).encode()
    more = tuple(ExpectedFile(Fingerprint.of(content), "Scan.pdf") for content in contents)
    document = ExpectedDocument("digitale-gemeinde", STADT, id_, "Wohnsitz", Fingerprint.of(details), more=more)
    world = connected(World("digitale-gemeinde"), portals)
    municipality.clock = world.clock
    world.settle(rounds=2)
    first, second = (municipality.add_document(form, status="In Bearbeitung") for _ in range(2))
    key, status = (
        f"digitale-gemeinde/{STADT}/{form}/{{}}/3/brief.pdf",
        f"digitale-gemeinde/{STADT}/{form}/{{}}/status.json",
    )
    drops = (
        ExpectedDrop(
            key.format(first),
            example_pdf("drei"),
            target=f"{first}/3",
            sets="Abgeschlossen",
            portal_id=f"{form}/{first}",
        ),
        ExpectedDrop(
            status.format(second),
            b'{"status": "Refund"}',
            at_portal=False,
            sets="Refund",
            refunds=True,
            portal_id=f"{form}/{second}",
        ),
    )
    dropped = tuple(drop(world, each) for each in drops)
    world.drain()
    return Played(portals, world, Scenario((document,), dropped))


@pytest.fixture
def agency(portals: Portals) -> Played:
    """Provide an instance that was fetched, an infected one, a decision that ended a process, and a new instance."""
    altinn = portals.altinn
    files = [File("model", None, "application/xml", b"<skjema/>"), File("attachment", "Kart.pdf", PDF, b"%PDF kart")]
    fetched = altinn.add_instance(APP, 50_001, files, task=HANDED_IN)
    infected = altinn.add_instance(APP, 50_002, [files[1]._replace(scan_result="Infected")], task=HANDED_IN)
    more = tuple(
        ExpectedFile(Fingerprint.of(content), name)
        for content, name in ((b"<skjema/>", None), (b"%PDF kart", "Kart.pdf"))
    )
    documents = (
        ExpectedDocument("altinn", ETAT, fetched.id, "S", record_of(portals, fetched), more=more),
        ExpectedDocument("altinn", ETAT, infected.id, "V", record_of(portals, infected), End.QUARANTINED),
    )
    world = connected(World("altinn"), portals)
    altinn.clock = world.clock
    world.settle(rounds=2)
    in_work = altinn.add_instance(APP, 50_003, files[:1], task=IN_WORK)
    drops = (
        ExpectedDrop(
            f"altinn/{ETAT}/{APP}/{in_work.id}/attachment/Vedtak.pdf",
            example_pdf("vedtak"),
            target=f"{in_work.id}/attachment",
        ),
        new_instance("Ny.txt", 60_009),
    )
    dropped = tuple(drop(world, each) for each in drops)
    world.drain()
    return Played(portals, world, Scenario(documents, dropped))


def record_of(portals: Portals, instance: Instance) -> Fingerprint:
    """Return how the portal answers an instance."""
    record = portals.altinn.storage.wire.instance(instance)
    return Fingerprint.of(json.dumps(record, ensure_ascii=False).encode())


def new_instance(file_name: str, party: int) -> ExpectedDrop:
    """Return the drop of a template with one file."""
    file = {"dataType": "attachment", "contentType": "text/plain", "fileName": file_name, "text": "ny"}
    body = {"instance": {"instanceOwner": {"partyId": str(party)}}, "data": [file]}
    return ExpectedDrop(
        f"altinn/{ETAT}/{APP}/sak.instance.json",
        json.dumps(body).encode(),
        target=f"{APP}/{party}",
        arrives=ExpectedFile(Fingerprint.of(b"ny"), file_name),
    )


@pytest.fixture
def clerk(portals: Portals) -> Played:
    """Provide form data that became a magic link, and form data that was refused."""
    world = connected(World("duba"), portals)
    portals.duba.clock = world.clock
    key = f"duba/{KLINIKUM}/BetreuungAnregung/fall-{{}}.json"
    drops = (
        ExpectedDrop(key.format(1), b'{"jobId": "job-1"}', at_portal=False, portal_id="job-1", link_of="job-1"),
        ExpectedDrop(key.format(2), b'{"jobId": 2}', End.FAILED, "FORM_DATA_INVALID", at_portal=False),
    )
    dropped = tuple(drop(world, each) for each in drops)
    world.drain()
    return Played(portals, world, Scenario((), dropped))


# --- what is right ---------------------------------------------------------------------------------------------------


def test_a_mailbox_that_was_worked_off_is_right(mailbox: Played) -> None:
    verdict = mailbox.verdict()
    assert [each.problems for each in verdict.documents] == [(), (), ()]
    assert [each.reached for each in verdict.documents] == [End.ACKNOWLEDGED, End.LEFT_ALONE, End.QUARANTINED]
    assert verdict.ok


def test_an_exchange_that_was_worked_off_is_right(exchange: Played) -> None:
    verdict = exchange.verdict()
    assert [each.problems for each in (*verdict.documents, *verdict.drops)] == [()] * 5
    assert [each.reached for each in verdict.documents] == [End.ACKNOWLEDGED, End.ACKNOWLEDGED, End.UNAVAILABLE]
    assert [each.reached for each in verdict.drops] == [End.DELIVERED, End.FAILED]
    assert verdict.ok


def test_forms_results_and_a_refund_that_went_as_they_should_are_right(office: Played) -> None:
    verdict = office.verdict()
    assert [each.problems for each in (*verdict.documents, *verdict.drops)] == [()] * 3
    assert [each.reached for each in verdict.drops] == [End.DELIVERED, End.DELIVERED]
    assert verdict.ok


def test_instances_and_decisions_that_went_as_they_should_are_right(agency: Played) -> None:
    verdict = agency.verdict()
    assert [each.problems for each in (*verdict.documents, *verdict.drops)] == [()] * 4
    assert [each.reached for each in verdict.documents] == [End.ACKNOWLEDGED, End.QUARANTINED]
    assert verdict.ok


def test_a_magic_link_that_only_the_receipt_tells_is_right(clerk: Played) -> None:
    verdict = clerk.verdict()
    assert [each.problems for each in verdict.drops] == [(), ()]
    assert [each.reached for each in verdict.drops] == [End.DELIVERED, End.FAILED]
    assert verdict.ok


# --- what is not -----------------------------------------------------------------------------------------------------


def test_nothing_at_all_is_not_right(portals: Portals) -> None:
    scenario = seed(portals)
    verdict = judge(scenario, Observation())
    right = [each.end for each, found in zip(scenario.documents, verdict.documents, strict=True) if found.ok]
    assert set(right) == {End.LEFT_ALONE}
    assert not any(found.ok for found in verdict.drops)


def test_a_missing_document_is_noticed(mailbox: Played) -> None:
    mailbox.world.client("s3").delete_object(Bucket=INBOX, Key=f"duba/{KLINIKUM}/1/document.json")
    assert mailbox.wrongs() == {"document.json is missing"}


def test_a_file_that_was_written_twice_is_noticed(mailbox: Played) -> None:
    key = f"duba/{KLINIKUM}/1/message-1.zip"
    mailbox.put(key, mailbox.world.content(key))
    assert mailbox.wrongs() == {"message-1.zip was written 2 times"}


def test_a_document_that_was_committed_twice_is_noticed(mailbox: Played) -> None:
    key = f"duba/{KLINIKUM}/1/document.json"
    mailbox.put(key, mailbox.world.content(key))
    assert mailbox.wrongs() == {"document.json was written 2 times"}


def test_altered_bytes_are_noticed(mailbox: Played) -> None:
    seen = mailbox.observe()
    key = f"duba/{KLINIKUM}/1/message-1.zip"
    altered = StoredObject(1, replace(seen.inbox[key].content, sha256="0" * 64))
    verdict = judge(mailbox.scenario, replace(seen, inbox={**seen.inbox, key: altered}))
    assert verdict.documents[0].problems == (
        "the bytes of message-1.zip are not the portal's",
        "document.json does not describe the files that are there",
    )


def test_a_file_beside_the_document_is_noticed(mailbox: Played) -> None:
    mailbox.put(f"duba/{KLINIKUM}/1/message-1-2.zip", b"noch einmal")
    assert "there are 2 files beside document.json, not 1" in mailbox.wrongs()


def test_an_acknowledgement_of_what_must_not_be_acknowledged_is_noticed(mailbox: Played) -> None:
    acknowledge_by_hand(mailbox.portals, 2, 3)
    assert mailbox.wrongs() == {"it was acknowledged although it should not be"}


def acknowledge_by_hand(portals: Portals, *ids: int) -> None:
    """Acknowledge messages as a faulty Amtsbote would."""
    answer = requests.post(
        f"{portals.duba.base_url}/api/duba/v1/messages/ack", json={"messageIds": ids}, auth=DUBA_LOGIN, timeout=5
    )
    assert answer.status_code == 200


def test_a_message_that_should_be_left_alone_is_noticed_in_the_inbox(mailbox: Played) -> None:
    mailbox.put(f"duba/{KLINIKUM}/2/message-2.zip", b"")
    assert mailbox.wrongs() == {"it was fetched although it should not be"}


def test_a_missing_acknowledgement_is_noticed(exchange: Played) -> None:
    seen = exchange.observe()
    verdict = judge(exchange.scenario, replace(seen, told=seen.told[1:]))
    assert ("the portal was not told that we have it",) in [each.problems for each in verdict.documents]


def test_an_acknowledgement_under_another_reference_is_noticed(exchange: Played) -> None:
    seen = exchange.observe()
    strange = [replace(each, reference="docxworld/klinikum") for each in seen.told]
    verdict = judge(exchange.scenario, replace(seen, told=strange))
    assert "it was acknowledged under a wrong name or reference" in verdict.documents[0].problems


def test_a_document_that_nobody_expects_is_noticed(exchange: Played) -> None:
    exchange.put("docxworld/klinikum/0/document.json", b"{}")
    assert exchange.wrongs() == {"unexpected in the inbox: docxworld/klinikum/0/document.json"}


def test_an_upload_that_was_doubled_is_noticed(exchange: Played) -> None:
    docxworld = exchange.portals.docxworld
    again = exchange.scenario.drops[0]
    docxworld.add_upload(
        docxworld.identities.accounts[USER_LOGIN[0]],
        exchange.portals.targets["BRIEF"],
        again.content,
        file_name=again.label,
    )
    wrongs = exchange.wrongs()
    assert {"the portal has it 2 times, not 1", "unexpected upload at docxworld: brief.pdf"} <= wrongs


def test_an_upload_that_arrived_altered_is_noticed(exchange: Played) -> None:
    seen = exchange.observe()
    altered = [replace(each, content=Fingerprint.of(b"other")) for each in seen.uploads]
    verdict = judge(exchange.scenario, replace(seen, uploads=altered))
    assert "the portal has it 0 times, not 1" in verdict.drops[0].problems
    assert verdict.problems == ("unexpected upload at docxworld: brief.pdf",)


def test_a_refused_drop_that_reached_the_portal_is_noticed(exchange: Played) -> None:
    refused = exchange.scenario.drops[1]
    docxworld = exchange.portals.docxworld
    docxworld.add_upload(
        docxworld.identities.accounts[USER_LOGIN[0]], exchange.portals.targets["BRIEF"], refused.content
    )
    assert "the portal has it 1 times, not 0" in exchange.wrongs()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"status": "IN_PROGRESS"}, "the receipt says IN_PROGRESS"),
        ({"versionId": "another"}, "the receipt speaks of another version"),
        ({"portalId": "another"}, "the receipt names another upload"),
        ({"error": {"code": "ODD", "message": "?"}}, "the receipt's error is ODD"),
    ],
)
def test_a_receipt_that_says_something_else_is_noticed(exchange: Played, change: dict[str, Any], problem: str) -> None:
    key = exchange.scenario.drops[0].key
    exchange.put(f"receipts/{key}.json", json.dumps(exchange.world.receipt(key) | change).encode())
    assert exchange.wrongs() == {problem}


def test_missing_events_are_noticed(exchange: Played) -> None:
    verdict = judge(exchange.scenario, replace(exchange.observe(), events=()))
    assert not any(each.ok for each in (*verdict.documents, *verdict.drops))


def test_dead_letters_and_work_that_is_left_are_noticed(exchange: Played) -> None:
    verdict = judge(
        exchange.scenario, replace(exchange.observe(), dead_letters=2, left_in_queues={"fetch": 1, "own": 0})
    )
    assert verdict.problems == ("2 messages in the dead-letter queue", "1 messages are left in fetch")
    assert verdict.ended
    assert not verdict.ok


def test_a_form_that_was_acknowledged_twice_is_noticed(office: Played) -> None:
    id_ = office.scenario.documents[0].id
    office.portals.digitale_gemeinde.set_status(id_, "In Bearbeitung", who="api")
    assert office.wrongs() == {"the portal counts 2 acknowledgements"}


def test_a_missing_file_of_a_form_is_noticed(office: Played) -> None:
    seen = office.observe()
    key = f"digitale-gemeinde/{STADT}/{office.scenario.documents[0].id}/Scan-2.pdf"
    kept = {each: found for each, found in seen.inbox.items() if each != key}
    problems = judge(office.scenario, replace(seen, inbox=kept)).documents[0].problems
    assert "there are 2 files beside document.json, not 3" in problems


def test_a_file_that_is_there_in_place_of_another_is_noticed(office: Played) -> None:
    seen = office.observe()
    prefix = f"digitale-gemeinde/{STADT}/{office.scenario.documents[0].id}"
    swapped = {**seen.inbox, f"{prefix}/Scan-2.pdf": seen.inbox[f"{prefix}/Scan.pdf"]}
    problems = judge(office.scenario, replace(seen, inbox=swapped)).documents[0].problems
    assert "document.json does not describe the files that are there" in problems


def test_a_second_refund_is_noticed(office: Played) -> None:
    id_ = str(office.scenario.drops[1].portal_id).rpartition("/")[2]
    office.portals.digitale_gemeinde.set_status(id_, "Refund", who="api")
    assert office.wrongs() == {
        "the portal was told the status Refund 2 times, not once",
        "the money went back 2 times, not once",
    }


def test_a_refund_that_nobody_asked_for_is_noticed(office: Played) -> None:
    id_ = office.scenario.documents[0].id
    office.portals.digitale_gemeinde.set_status(id_, "Refund", who="api")
    place = f"{next(iter(office.portals.forms.values()))}/{id_}"
    unexpected = {f"unexpected status at digitale-gemeinde: Refund of {place}", f"unexpected refund: {place}"}
    assert office.wrongs() == unexpected


def test_a_result_that_came_twice_is_noticed(office: Played) -> None:
    seen = office.observe()
    verdict = judge(office.scenario, replace(seen, uploads=[*seen.uploads, *seen.uploads]))
    assert verdict.drops[0].problems == ("the portal has it 2 times, not 1",)
    assert verdict.problems == ("unexpected upload at digitale-gemeinde: brief.pdf",) * 2


def test_a_status_that_was_never_set_is_noticed(office: Played) -> None:
    verdict = judge(office.scenario, replace(office.observe(), statuses=[], refunds={}))
    assert verdict.drops[0].problems == ("the portal was told the status Abgeschlossen 0 times, not once",)
    assert "the money went back 0 times, not once" in verdict.drops[1].problems


def test_an_infected_instance_that_was_completed_is_noticed(agency: Played) -> None:
    infected = agency.portals.altinn.instance(agency.scenario.documents[1].id)
    agency.portals.altinn.world.complete(infected, infected.app.org)
    assert agency.wrongs() == {"it was acknowledged although it should not be"}


def test_an_instance_that_was_never_completed_is_noticed(agency: Played) -> None:
    agency.portals.altinn.instance(agency.scenario.documents[0].id).confirmations.clear()
    assert agency.wrongs() == {"the portal was not told that we have it"}


def test_a_process_that_was_moved_on_unasked_is_noticed(agency: Played) -> None:
    instance = agency.portals.altinn.instance(agency.scenario.drops[0].key.split("/", 4)[4].rsplit("/", 2)[0])
    agency.portals.altinn.world.advance(instance, "EndEvent_1")
    assert agency.wrongs() == {f"unexpected status at altinn: EndEvent_1 of {instance.id}"}


def test_a_process_that_was_not_moved_on_is_noticed(agency: Played) -> None:
    moved = replace(agency.scenario.drops[0], portal_id="50003/-", sets="EndEvent_1")
    verdict = judge(Scenario(agency.scenario.documents, (moved, agency.scenario.drops[1])), agency.observe())
    assert verdict.drops[0].problems == ("the portal was told the status EndEvent_1 0 times, not once",)


def test_an_instance_that_was_created_twice_is_noticed(agency: Played) -> None:
    world, created = agency.portals.altinn.world, agency.portals.altinn.created_instances()[0]
    part = Part("attachment", "Ny.txt", "text/plain", b"ny")
    world.instantiate(created.app, {"instanceOwner": {"partyId": str(created.party_id)}}, [part])
    wrongs = {"the portal has it 2 times, not 1", "unexpected upload at altinn: Ny.txt"}
    assert agency.wrongs() == wrongs


def test_a_link_in_an_event_is_noticed(clerk: Played) -> None:
    seen = clerk.observe()
    told = replace(seen.events[0], text=f'{{"id": "{seen.links[0].url}"}}')
    problems = judge(clerk.scenario, replace(seen, events=[told, *seen.events[1:]])).drops[0].problems
    assert problems == ("an event tells the link, which is a secret",)


def test_a_second_link_and_one_for_refused_form_data_are_noticed(clerk: Played) -> None:
    seen = clerk.observe()
    strange = replace(seen.links[0], job_id="2")
    verdict = judge(clerk.scenario, replace(seen, links=[*seen.links, *seen.links, strange]))
    assert verdict.drops[0].problems == ("the portal gave 2 links, not one",)
    assert verdict.problems == ("unexpected link for 2",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"magicLink": "/mtl/relative"}, "the receipt does not have the portal's link"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "the receipt does not say when the link ends"),
        ({"expiresAt": None}, "the receipt does not say when the link ends"),
        ({"expiresAt": "2026-02-19T14:30:00"}, "the receipt does not say when the link ends"),
    ],
)
def test_a_receipt_without_a_usable_link_is_noticed(clerk: Played, change: dict[str, Any], problem: str) -> None:
    key = clerk.scenario.drops[0].key
    receipt = clerk.world.receipt(key)
    clerk.put(f"receipts/{key}.json", json.dumps(receipt | {"result": receipt["result"] | change}).encode())
    assert clerk.wrongs() == {problem}


# --- the scenario ----------------------------------------------------------------------------------------------------


def test_the_scenario_is_as_large_as_promised(portals: Portals) -> None:
    scenario = seed(portals)
    messages = [each for each in scenario.documents if each.portal == "duba"]
    downloads = [each for each in scenario.documents if each.portal == "docxworld"]
    kinds = {each.type for each in portals.docxworld.downloads.downloads.values()}
    results = [each for each in portals.docxworld.downloads.downloads.values() if each.type == "RESULT"]
    forms = [each for each in scenario.documents if each.portal == "digitale-gemeinde"]
    assert len([each for each in forms if each.end is End.ACKNOWLEDGED]) >= 120
    assert len([each for each in scenario.drops if each.refunds]) == 1
    instances = [each for each in scenario.documents if each.portal == "altinn"]
    assert len([each for each in instances if each.end is End.ACKNOWLEDGED]) >= 120
    assert [each.story for each in instances if each.end is End.QUARANTINED] == ["a file is infected"]
    assert len([each for each in scenario.drops if each.link_of]) == 1
    assert len(messages) >= 25
    assert len(downloads) >= 45
    assert kinds == {"RESULT", "REPORT"}
    assert len(results) > portals.docxworld.most_per_page
    assert len(scenario.drops) >= 12
    assert max(len(each.content) for each in scenario.drops) == 25_000_000
    (large_drop,) = [each for each in scenario.drops if each.generated]
    assert (large_drop.fingerprint.size, large_drop.interruptions, large_drop.encrypted) == (300_000_000, 2, True)


def test_every_content_of_the_scenario_is_unlike_every_other(portals: Portals) -> None:
    scenario = seed(portals)
    prints = [each.fingerprint for each in scenario.drops]
    assert len(set(prints)) == len(prints)


# --- the large upload ------------------------------------------------------------------------------------------------

SMALL_LARGE_BYTES = 24_000_000


def test_noise_is_the_same_from_any_byte_on_and_nothing_makes_it_smaller() -> None:
    noise = Noise(7, 3_000_001)
    whole = b"".join(noise.blocks())
    assert len(whole) == noise.size and noise.sha256 == Fingerprint.of(whole).sha256
    assert b"".join(noise.blocks(1_234_567)) == whole[1_234_567:]
    assert len(zlib.compress(whole)) >= noise.size
    file = NoiseFile(noise)
    assert (file.seek(-5, io.SEEK_END), file.read()) == (noise.size - 5, whole[-5:])
    assert (file.seek(17), file.read(1000), file.tell()) == (17, whole[17:1017], 1017)


@pytest.fixture
def archive(portals: Portals) -> Played:
    """Provide a large file that was delivered, encrypted and in parts, to a portal that saw two interruptions."""
    world = connected(World("docxworld"), portals)
    portals.docxworld.clock = world.clock
    vault = {"vault_key": world.client("kms").create_key()["KeyMetadata"]["KeyId"]}
    world.services.settings = world.services.settings.model_copy(update=vault)
    expected = large(portals, SMALL_LARGE_BYTES)
    assert expected.generated is not None
    event = world.drop(expected.key, b"".join(expected.generated.blocks()))
    dropped = replace(expected, version_id=event["detail"]["object"]["version-id"])
    transfers = {LARGE_NAME: Transfer(SMALL_LARGE_BYTES + 5_000_000, (7_000_000, 16_000_000), 90 * 1024 * 1024)}
    return Played(portals, follow(world), Scenario((), (dropped,)), transfers=transfers)


def test_a_large_file_that_was_interrupted_twice_and_arrived_whole_is_right(archive: Played) -> None:
    verdict = archive.verdict()
    assert (verdict.drops[0].problems, verdict.problems) == ((), ())
    (job,) = archive.portals.docxworld.jobs()
    assert job.encryption is not None and job.url_count > 1


@pytest.mark.parametrize(
    ("transfer", "times"),
    [(None, 0), (Transfer(1, (1,)), 1), (Transfer(3, (1, 2, 3)), 3)],
)
def test_a_large_file_that_was_not_interrupted_exactly_twice_is_noticed(
    archive: Played, transfer: Transfer | None, times: int
) -> None:
    archive.transfers = {} if transfer is None else {LARGE_NAME: transfer}
    assert archive.wrongs() == {f"its sender was killed {times} times, not 2"}


def test_a_large_file_that_did_not_arrive_byte_for_byte_is_noticed(archive: Played) -> None:
    (expected,) = archive.scenario.drops
    archive.scenario = Scenario((), (replace(expected, generated=Noise(1, SMALL_LARGE_BYTES)),))
    assert "the portal has it 0 times, not 1" in archive.wrongs()


def test_a_large_file_that_went_out_in_clear_is_noticed(archive: Played) -> None:
    seen = archive.observe()
    clear = replace(seen, uploads=[replace(each, encrypted=False) for each in seen.uploads])
    assert judge(archive.scenario, clear).drops[0].problems == ("it went out in clear",)


def test_the_report_tells_of_a_large_upload(archive: Played) -> None:
    seen = archive.observe()
    moment = Moment(41.0, archive.scenario, judge(archive.scenario, seen), seen, (40.2,))
    figures = report.summary(moment, calls(archive.portals), 60.0)
    told = report.as_json(moment, figures)["summary"]["largeUploads"]
    assert told == [
        {
            "name": LARGE_NAME,
            "bytes": SMALL_LARGE_BYTES,
            "seconds": 40.2,
            "interruptions": 2,
            "bytesSentAgain": 5_000_000,
            "peakMemoryBytes": 90 * 1024 * 1024,
        }
    ]
    console = Console(width=report.WIDTH, record=True, file=io.StringIO())
    report.print_result(console, moment, figures)
    assert "24 MB, 40 s, 2 × interrupted, 5 MB sent again, at most 90 MiB of memory" in console.export_text()


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ({"result": {}}, "0%"),
        ({"result": {"bytesSent": 6_000_000, "bytesTotal": 24_000_000}}, "25%"),
        ({"result": {}, "history": [{"state": "SENDING"}]}, "0%"),
        ({"result": {}, "history": [{"state": "SENDING"}, {"state": "SENT"}]}, "100%"),
    ],
)
def test_a_bar_shows_what_the_receipt_says(archive: Played, said: dict[str, Any], share: str) -> None:
    (expected,) = archive.scenario.drops
    receipt = {"versionId": expected.version_id, "status": "IN_PROGRESS", **said}
    inbox = {f"receipts/{expected.key}.json": StoredObject(1, Fingerprint(0, ""), receipt)}
    seen = Observation(inbox=inbox, transfers={LARGE_NAME: Transfer(1, (1,))})
    moment = Moment(9.0, archive.scenario, judge(archive.scenario, seen), seen, (None,))
    console = Console(width=report.WIDTH, record=True, file=io.StringIO(), force_terminal=True)
    with report.Screen(console, silent=False) as screen:
        screen.show(moment)
    shown = console.export_text()
    assert f"{share} of 24 MB" in shown and "1 × interrupted" in shown
    assert f"{LARGE_NAME} {share}" in report.progress(moment)


SENDER = """
import socket, sys
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
line.sendall(b"x")
sys.stdin.read()
"""


@dataclass(frozen=True)
class Sender:
    """A child of ours with a line to us, and the port that it calls from."""

    process: subprocess.Popen[bytes]
    port: int


def sender_to(server: socket.socket, running: ExitStack) -> Sender:
    """Start a child that calls, and end it with `running`."""
    command = [sys.executable, "-c", SENDER, str(server.getsockname()[1])]
    process = running.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
    running.callback(process.kill)
    line, (_, port) = server.accept()
    running.enter_context(line)
    return Sender(process, port)


def piece_of(file_name: str, port: int) -> Any:
    """Return what the interrupter looks at of a request."""
    transport = SimpleNamespace(get_extra_info=lambda _: ("127.0.0.1", port))
    return SimpleNamespace(path=f"/s3/dwc-upload/1-{file_name}", transport=transport)


def test_an_interrupter_kills_who_sends_at_its_thresholds_and_nobody_else() -> None:
    """Given children that have each a line to us: the one whose pieces come is killed, twice and no more."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as running:
        senders = [sender_to(server, running) for _ in range(4)]
        interrupter = Interrupter(os.getpid(), "groß.tar", 1000)
        bystander, first, second, third = senders
        interrupter.watch(piece_of("anderes.tar", bystander.port), 5000)
        for sender, count in ((first, 200), (first, 150), (second, 250), (second, 200), (third, 5000)):
            interrupter.watch(piece_of("groß.tar", sender.port), count)
        assert [each.process.wait(5) for each in (first, second)] == [-signal.SIGKILL] * 2
        assert [each.process.poll() for each in (bystander, third)] == [None, None]
    seen = interrupter.transfers()["groß.tar"]
    assert (seen.received, seen.interruptions) == (5800, (350, 800))
    assert seen.peak_bytes > 1024 * 1024


# --- the run ---------------------------------------------------------------------------------------------------------


@dataclass
class InstantStack:
    """A stack in which every drop is refused at once, and nothing else ever happens."""

    dropped: list[ExpectedDrop] = field(default_factory=list)
    ticks: int = 0

    def tick(self) -> None:
        """Count."""
        self.ticks += 1

    def drop(self, expected: ExpectedDrop) -> ExpectedDrop:
        """Take a drop."""
        self.dropped.append(replace(expected, version_id=f"v{len(self.dropped)}"))
        return self.dropped[-1]

    def left_in_queues(self) -> dict[str, int]:
        """Nothing."""
        return {"fetch": 0}

    def observe(self, *, anew: bool = False) -> Observation:
        """Receipts and events of failures."""
        return Observation(
            inbox={f"receipts/{each.key}.json": self._receipt(each) for each in self.dropped},
            events=[
                Published("Delivery Updated", "", None, f"receipts/{each.key}.json", "FAILED", each.version_id)
                for each in self.dropped
            ],
        )

    def _receipt(self, each: ExpectedDrop) -> StoredObject:
        said = {"versionId": each.version_id, "status": "FAILED", "error": {"code": each.code, "message": "so"}}
        return StoredObject(1, Fingerprint(0, ""), said)


REFUSED = ExpectedDrop("unbekannt/zettel.txt", b"x", End.FAILED, "KEY_FITS_NO_RULE", at_portal=False)
NEVER_COMING = ExpectedDocument("duba", KLINIKUM, "9", "12 XVII 9/26", Fingerprint.of(b"x"), story="never comes")


def test_a_run_ends_as_soon_as_everything_has_reached_its_end() -> None:
    happened: list[str] = []
    scenario = Scenario((), (REFUSED,), (Change(0.6, lambda: happened.append("hydrated")),))
    stack = InstantStack()
    moment = Run(scenario, stack, lambda _: None).watch(limit_seconds=10)
    assert moment.verdict.ok
    assert happened == ["hydrated"]
    assert stack.ticks >= 2
    assert moment.seconds < 3


def test_a_run_that_does_not_end_says_at_the_limit_what_is_open() -> None:
    moment = Run(Scenario((NEVER_COMING,), (REFUSED,)), InstantStack(), lambda _: None).watch(limit_seconds=0.1)
    assert [each.ok for each in moment.verdict.documents] == [False]
    assert [each.ok for each in moment.verdict.drops] == [True]
    assert moment.seconds_taken[0] is None


def test_a_run_does_not_wait_for_the_limit_when_everything_is_at_some_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WRONG_END_SECONDS", 0.5)
    should_arrive = replace(REFUSED, end=End.DELIVERED, code=None)
    moment = Run(Scenario((), (should_arrive,)), InstantStack(), lambda _: None).watch(limit_seconds=30)
    assert moment.verdict.drops[0].reached == End.FAILED
    assert not moment.verdict.ok
    assert moment.seconds < 5


# --- what waits ------------------------------------------------------------------------------------------------------


def test_the_letters_that_wait_and_the_draft_reach_their_ends(portals: Portals) -> None:
    """Given the scenario's approvals and its draft: each is dropped once it is ready, as the demo does."""
    world = connected(World("docxworld"), portals)
    portals.docxworld.clock = world.clock
    waiting, dropped = [*approved_and_cancelled(portals), draft(portals)], []
    assert [each.ready() for each in waiting] == [True, True, False, False, True]
    for _ in range(3):
        for each in [each for each in waiting if each.ready()]:
            waiting.remove(each)
            event = world.drop(each.key, each.content, dict(each.metadata))
            dropped.append(replace(each, version_id=event["detail"]["object"]["version-id"]))
        follow(world)
    world.settle()
    assert waiting == []
    verdict = Played(portals, world, Scenario((draft_as_download(),), tuple(dropped))).verdict()
    assert [each.problems for each in (*verdict.documents, *verdict.drops)] == [()] * 6
    assert verdict.problems == ()


def test_a_drop_waits_until_it_is_ready() -> None:
    happened: list[str] = []
    later = replace(REFUSED, key="unbekannt/später.txt", ready=lambda: bool(happened))
    scenario = Scenario((), (later, REFUSED), (Change(0.6, lambda: happened.append("a letter waits")),))
    stack = InstantStack()
    moment = Run(scenario, stack, lambda _: None).watch(limit_seconds=10)
    assert moment.verdict.ok
    assert [each.key for each in stack.dropped] == [REFUSED.key, later.key]


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_missing_sam_is_named_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SAM", tmp_path / "sam")
    assert demo.main([]) == 1
    assert "make setup" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("happens", "code", "said"),
    [
        (EmbeddedAwsError("port 4566 is taken"), 1, "the demo could not run: port 4566 is taken"),
        (KeyboardInterrupt(), 130, "interrupted; everything that was started is gone"),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject"),
            1,
            "the embedded AWS does not do what it should",
        ),
    ],
)
def test_what_stops_the_demo_is_said_without_a_stack_trace(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    happens: BaseException,
    code: int,
    said: str,
) -> None:
    def start() -> None:
        raise happens

    (tmp_path / "sam").touch()
    monkeypatch.setattr(demo, "SAM", tmp_path / "sam")
    monkeypatch.setattr(EmbeddedAws, "start", start)
    assert demo.main(["--json"]) == code
    told = capsys.readouterr()
    assert told.err.startswith(said)
    assert told.out == ""


@pytest.mark.parametrize(("more", "stays"), [((), False), (("--stay",), True)])
def test_the_demo_stays_with_the_console_until_it_is_interrupted_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: Sequence[str],
    stays: bool,
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    ended = SimpleNamespace(verdict=SimpleNamespace(ok=True))
    (tmp_path / "sam").touch()
    monkeypatch.setattr(demo, "SAM", tmp_path / "sam")
    monkeypatch.setattr(EmbeddedAws, "start", nullcontext)
    monkeypatch.setattr(demo, "_run", lambda *_: (ended, None))
    monkeypatch.setattr(demo, "print_result", lambda *_: None)
    monkeypatch.setattr(demo, "Ticker", lambda *_: nullcontext())
    monkeypatch.setattr(demo, "serve_console", lambda *_: "http://127.0.0.1:1/enter")
    monkeypatch.setattr(demo, "wait", interrupted)
    assert demo.main(more) == 0
    assert ("http://127.0.0.1:1/enter" in capsys.readouterr().out) is stays


# --- the report ------------------------------------------------------------------------------------------------------


@pytest.fixture
def moment(portals: Portals) -> Moment:
    """Provide a moment of the whole scenario in which nothing has come yet."""
    scenario = seed(portals)
    verdict = judge(scenario, Observation())
    taken = (None,) * (len(scenario.documents) + len(scenario.drops))
    return Moment(1.0, scenario, verdict, Observation(), taken)


def shown(moment: Moment) -> list[str]:
    """Return the lines of the result as people see them."""
    out = io.StringIO()
    figures = report.summary(moment, {"duba": Calls(10, 0, 27)}, 12.3)
    report.print_result(Console(file=out, width=report.WIDTH), moment, figures)
    return out.getvalue().splitlines()


def test_no_line_is_wider_than_a_hundred_columns(moment: Moment) -> None:
    assert max(cell_len(line) for line in shown(moment)) <= 100


def test_each_document_and_drop_has_its_line_and_what_is_wrong_with_it(moment: Moment) -> None:
    text = "\n".join(shown(moment))
    for label in ("201  12 XVII 201/26", "Ergebnis 01.pdf", "Jahresdruck.afp", "document.json is missing"):
        assert label in text
    assert "\x07" not in text
    assert "did not reach the end they should" in text


def all_well(moment: Moment) -> Moment:
    """Return a moment at whose end everything is as it should be."""
    documents = tuple(Finding(each.end, ()) for each in moment.scenario.documents)
    drops = tuple(Finding(each.end, ()) for each in moment.scenario.drops)
    taken = tuple(float(number % 50) for number in range(len(documents) + len(drops)))
    return replace(moment, verdict=Verdict(documents, drops, ()), seconds_taken=taken)


def test_many_ordinary_ones_that_ended_well_share_a_line(moment: Moment) -> None:
    told = shown(all_well(moment))
    (instances,) = [line for line in told if "116 ordinary instances" in line]
    assert instances.split()[0] == "✓" and "acknowledged" in instances and "49.0 s" in instances
    assert len([line for line in told if "116 ordinary forms" in line]) == 1
    assert len([line for line in told if line.startswith("✓ altinn/etat")]) == 8
    assert len(told) < 145


def test_an_ordinary_one_that_went_wrong_keeps_its_own_line(moment: Moment) -> None:
    well = all_well(moment)
    number = next(n for n, each in enumerate(well.scenario.documents) if each.label == "Søknad 007")
    findings = list(well.verdict.documents)
    findings[number] = Finding("stored", ("the portal was not told that we have it",))
    told = shown(replace(well, verdict=replace(well.verdict, documents=tuple(findings))))
    assert len([line for line in told if line.startswith("✗ altinn/etat") and "Søknad 007" in line]) == 1
    assert [line for line in told if "115 ordinary instances" in line]


def test_the_json_names_every_document_and_whether_all_is_well(moment: Moment) -> None:
    said = json.loads(json.dumps(report.as_json(moment, report.summary(moment, {}, 1.0))))
    assert said["ok"] is False
    assert len(said["documents"]) == len(moment.scenario.documents)
    assert said["drops"][0]["key"] == "docxworld/archiv/AKTEN/Bilddaten.tar"
    assert said["documents"][0]["expected"] == "acknowledged"
    assert said["summary"]["deadLetters"] == 0


def test_without_a_terminal_there_is_a_line_now_and_then(moment: Moment) -> None:
    out = io.StringIO()
    with report.Screen(Console(file=out, width=report.WIDTH), silent=False) as screen:
        for seconds in (0.0, 0.5, 5.0):
            screen.show(replace(moment, seconds=seconds))
    assert len(out.getvalue().splitlines()) == 2


def test_in_a_terminal_there_is_a_table(moment: Moment) -> None:
    out = io.StringIO()
    with report.Screen(Console(file=out, width=report.WIDTH, force_terminal=True), silent=False) as screen:
        screen.show(moment)
    assert "duba/klinikum" in out.getvalue()
