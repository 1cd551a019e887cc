"""An operator's morning: where a document is, what is wrong, and what a person decides, at the simulated portals."""

import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Reject
from amtsbote.operations import accounts, decisions
from amtsbote.operations.details import download, receipt, show
from amtsbote.operations.documents import Direction, Document, Question, documents
from amtsbote.operations.office import Account, Office
from amtsbote.operations.overview import health, overview
from amtsbote.operations.stack import Stack
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.queue_service import QueueService
from tests.flows.world import BUS, INBOX, LEDGER, OUTBOX, Crash, World

KLINIKUM = Account("duba", "klinikum")
LOGIN = {"username": "amtsbote", "password": "geheim"}


def office_of(world: World) -> Office:
    """Return the operator's view of a world's stack."""
    queues = {"deliver": "own"}
    stack = Stack(INBOX, OUTBOX, LEDGER, BUS, "dead", lambda verb, _: queues.get(verb, verb))
    clients = {"sqs": CountedQueues(world.sqs)}
    return Office(stack, lambda name: clients.get(name) or world.client(name), world.clock, allow_loopback=True)


class CountedQueues:
    """The world's queues with the one question more that an operator has."""

    def __init__(self, queues: QueueService) -> None:
        self.send_message_batch = queues.send_message_batch
        self._queues = queues

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        """Return how many messages a queue has."""
        return {"Attributes": {name: str(len(self._queues.queue(QueueUrl))) for name in AttributeNames}}


@pytest.fixture
def office(duba_world: World) -> Office:
    """Provide the operator of the world with DUBA."""
    return office_of(duba_world)


def unreadable(duba: SimulatedDuba) -> str:
    """Let a message be there that is no ZIP, and return its id."""
    return str(duba.add_message(content=b"PK\x03\x04 but then no ZIP at all"))


def listed(office: Office, **asked: Any) -> list[str]:
    """Return the ids of the documents that a question finds."""
    return [each.id for each in documents(office, Question(**asked)).documents]


# --- looking ---


def test_the_courts_letter_of_tuesday_is_found_by_day_case_number_and_job(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    duba.add_message(1)
    duba_world.settle()
    duba_world.clock.forward(days=1)
    tuesday = duba_world.clock()
    duba.add_message(214, job_id="7e57", aktenzeichen="77 XVII 214/26")
    duba_world.settle()
    duba_world.clock.forward(days=1)
    duba.add_message(3)
    duba_world.settle()
    assert listed(office, since=tuesday, until=tuesday + timedelta(days=1)) == ["214"]
    assert listed(office, case="77 xvii  214/26") == ["214"]
    assert listed(office, case="77 XVII*") == ["214"]
    assert listed(office, case="77 XVII 21") == []
    assert listed(office, job="7e57", portal="duba") == ["214"]
    assert listed(office) == ["3", "214", "1"]


def test_a_case_number_that_comes_with_hydration_is_found_too(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = duba.add_message(hydrated=False)
    duba_world.settle()
    duba.hydrate(id, aktenzeichen="9 M 1/26")
    assert listed(office, case="9 M 1/26") == []
    duba_world.later(minutes=11)
    assert listed(office, case="9 M 1/26") == [str(id)]


def test_show_tells_where_the_files_are_and_downloads_them(
    duba: SimulatedDuba, duba_world: World, office: Office, tmp_path: Path
) -> None:
    id = duba.add_message(aktenzeichen="9 M 1/26")
    content = duba.messages[id].content
    assert isinstance(content, bytes)
    duba_world.settle()
    detail = show(office, str(id))
    (file,) = detail.files
    assert detail.document.state == "ACKNOWLEDGED"
    assert [past.state for past in detail.history] == ["DISCOVERED", "FETCHING", "STORED", "ACKNOWLEDGED"]
    assert (detail.bucket, file.key) == (INBOX, f"duba/klinikum/{id}/message-{id}.zip")
    assert file.sha256 == sha256(content).hexdigest()
    assert detail.metadata["aktenzeichen"] == "9 M 1/26"
    (path,) = download(office, detail, tmp_path / "files")
    assert path.read_bytes() == content
    with pytest.raises(Reject, match="exists"):
        download(office, detail, tmp_path / "files")


def test_an_id_that_two_connections_have_is_asked_back_about(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    duba_world.connect("verwaltung", {"baseUrl": duba.base_url, **LOGIN})
    duba.add_message(214)
    duba_world.settle()
    with pytest.raises(Reject, match="duba/klinikum/214, duba/verwaltung/214"):
        show(office, "214")
    assert show(office, "duba/verwaltung/214").document.connection == "verwaltung"
    with pytest.raises(Reject, match="nothing is known of 215"):
        show(office, "215")


def test_pages_show_every_document_once_newest_first(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    for _ in range(7):
        duba.add_message()
        duba_world.settle(rounds=1)
        duba_world.clock.forward(minutes=5)
    duba.add_message(hydrated=False)
    duba_world.settle()
    seen: list[Document] = []
    token: str | None = None
    while True:
        page = documents(office, Question(), limit=3, after=token)
        seen += page.documents
        token = page.more
        if token is None:
            break
    assert [each.id for each in seen] == ["8", "7", "6", "5", "4", "3", "2", "1"]
    assert [each.id for each in documents(office, Question(states=("DISCOVERED",))).documents] == ["8"]


def test_a_delivery_is_found_by_key_file_name_and_the_portals_id(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    office = office_of(docxworld_world)
    docxworld_world.drop("docxworld/klinikum/BRIEF/Bericht März.pdf", b"%PDF-1.7")
    docxworld_world.settle("track")
    (found,) = documents(office, Question(file="bericht märz.pdf")).documents
    assert (found.direction, found.id) == (Direction.OUT, "docxworld/klinikum/BRIEF/Bericht März.pdf")
    assert found.portal_id is not None
    assert show(office, found.portal_id).document == found
    assert show(office, found.id).receipt_key == f"receipts/{found.id}.json"
    assert receipt(office, found.id)["outboxKey"] == found.id
    assert listed(office, file="bericht*", direction=Direction.IN) == []


def test_a_delivery_whose_sender_died_before_it_was_noted_is_found_by_the_portals_id_later(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    office = office_of(docxworld_world)
    docxworld_world.drop("docxworld/klinikum/BRIEF/Bericht.pdf", b"%PDF-1.7")
    docxworld_world.crash("dynamodb", "TransactWriteItems", key="PORTAL_ID#")
    docxworld_world.run("own")
    (job,) = docxworld.jobs()
    with pytest.raises(Reject, match="NOT_FOUND"):
        show(office, job.id)
    docxworld_world.later("track", hours=2)
    assert show(office, job.id).document.id == "docxworld/klinikum/BRIEF/Bericht.pdf"
    assert len(docxworld.jobs()) == 1


def test_a_drop_that_fits_no_rule_is_seen(docxworld_world: MortalWorld) -> None:
    office = office_of(docxworld_world)
    docxworld_world.drop("nowhere/brief.pdf", b"%PDF")
    docxworld_world.drain()
    assert listed(office, states=("FAILED",)) == ["nowhere/brief.pdf"]
    assert listed(office, file="brief.pdf") == ["nowhere/brief.pdf"]


def test_a_drop_for_a_connection_that_does_not_exist_is_seen(docxworld_world: MortalWorld) -> None:
    """Its name is a slip of the pen, or its secret has been deleted."""
    office = office_of(docxworld_world)
    for key in ("docxworld/klinikm/BRIEF/Bescheid.pdf", "nowhere/brief.pdf"):
        docxworld_world.drop(key, b"%PDF")
    docxworld_world.drain()
    assert listed(office, file="bescheid.pdf") == ["docxworld/klinikm/BRIEF/Bescheid.pdf"]
    assert listed(office, portal="docxworld", states=("FAILED",)) == ["docxworld/klinikm/BRIEF/Bescheid.pdf"]
    assert Account("docxworld", "klinikm") in office.accounts_with_rows("docxworld")
    assert [each.connection for each in overview(office).connections] == ["docxworld/klinikum"], "it is none"
    assert overview(office).failed == 2
    assert overview(office, "docxworld").failed == 1
    docxworld_world.clock.forward(days=2)
    assert overview(office).failed == 0


def test_a_secret_in_a_receipt_is_shown_only_when_that_is_asked_for(duba_world: World, office: Office) -> None:
    key = "duba/klinikum/BetreuungAnregung/anregung.json"
    duba_world.drop(key, json.dumps({"jobId": "7e57"}).encode())
    duba_world.drain()
    shown = receipt(office, key)
    assert shown["status"] == "DELIVERED"
    assert "https://" not in json.dumps(shown) and "http://" not in json.dumps(shown)
    assert "magicLink" in shown["result"]
    assert receipt(office, key, reveal=True)["result"]["magicLink"].startswith("http")


# --- how it is ---


def test_the_overview_says_who_works_and_since_when_one_does_not(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    unreadable(duba)
    duba.add_message()
    duba_world.settle()
    worked = duba_world.clock()
    well = health(office, KLINIKUM)
    assert (well.enabled, well.problem, well.polled_at) == (True, None, worked)
    assert {name: count for name, count in well.counts.items() if count} == {"ACKNOWLEDGED": 1, "QUARANTINED": 1}
    assert overview(office).quarantined == 1
    duba_world.connect("klinikum", {"baseUrl": duba.base_url, **LOGIN, "password": "falsch"})
    duba_world.later("poll", minutes=20)
    ill = health(office, KLINIKUM)
    assert (ill.problem, ill.failing_since) == ("LOGIN_REFUSED", worked)


def test_what_is_stored_and_not_acknowledged_is_told_by_its_oldest(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    duba_world.connect("klinikum", {"baseUrl": duba.base_url, **LOGIN, "acknowledge": "processed"})
    duba.add_message()
    first = duba_world.clock()
    duba_world.settle(rounds=1)
    duba_world.clock.forward(hours=1)
    duba.add_message()
    duba_world.settle(rounds=1)
    found = health(office, KLINIKUM)
    assert found.oldest_unacknowledged == first
    assert found.counts["STORED"] == 2


def test_reconcile_lists_from_the_beginning(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    duba_world.settle()
    intent = accounts.reconcile(office, "duba")
    duba_world.clock.forward(hours=1)
    assert duba_world.services.ledger.status("duba", "klinikum").reconciled_at != duba_world.clock()
    intent.do()
    duba_world.drain()
    assert duba_world.services.ledger.status("duba", "klinikum").reconciled_at == duba_world.clock()


# --- deciding ---


def test_a_quarantined_document_is_fetched_again(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    id = unreadable(duba)
    duba_world.settle()
    assert duba_world.state("klinikum", id) == "QUARANTINED"
    (kept,) = show(office, id).files
    assert kept.key == f"quarantine/duba/klinikum/{id}/message-{id}.zip"
    good = duba.add_message()
    duba.messages[int(id)].content = duba.messages[good].content
    intent = decisions.retry(office, id)
    assert duba_world.state("klinikum", id) == "QUARANTINED", "an intent changes nothing"
    intent.do()
    duba_world.settle()
    assert duba_world.state("klinikum", id) == "ACKNOWLEDGED"
    assert int(id) in duba.acknowledged_ids()


def test_a_retry_whose_request_is_lost_is_healed_by_the_next_polls(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = unreadable(duba)
    duba_world.settle()
    decisions.retry(office, id).do()
    duba_world.sqs.lose("fetch")
    duba_world.later(minutes=2)
    assert [past.state for past in show(office, id).history][-2:] == ["FETCHING", "QUARANTINED"]


def test_a_quarantined_document_is_released_as_it_is_and_then_acknowledged(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = unreadable(duba)
    content = duba.messages[int(id)].content
    assert isinstance(content, bytes)
    duba_world.settle()
    intent = decisions.release(office, id)
    assert f"message-{id}.zip ({len(content)} bytes)" in intent.says
    intent.do()
    document = duba_world.document("klinikum", id)
    (file,) = document["files"]
    assert duba_world.content(file["key"]) == content
    assert (file["size"], file["sha256"]) == (len(content), sha256(content).hexdigest())
    assert document["metadata"] == duba.messages[int(id)].info()
    assert [each["id"] for each in duba_world.events_of("Document Received")] == [id]
    assert not duba.acknowledged_ids()
    duba_world.settle()
    assert duba.acknowledged_ids() == [int(id)]
    assert show(office, id).document_key == f"duba/klinikum/{id}/document.json"


def test_a_release_that_dies_before_the_ledger_knows_is_simply_repeated(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    id = unreadable(duba)
    duba_world.settle()
    duba_world.crash("dynamodb", "PutItem")
    with pytest.raises(Crash):
        decisions.release(office, id).do()
    assert duba_world.state("klinikum", id) == "QUARANTINED"
    decisions.release(office, id).do()
    duba_world.settle()
    assert duba_world.state("klinikum", id) == "ACKNOWLEDGED"


def test_only_what_waits_for_a_person_is_decided_about(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    id = str(duba.add_message())
    duba_world.settle()
    with pytest.raises(Reject, match="ACKNOWLEDGED"):
        decisions.retry(office, id)
    with pytest.raises(Reject, match="ACKNOWLEDGED"):
        decisions.release(office, id)
    with pytest.raises(Reject, match="ACKNOWLEDGED"):
        decisions.acknowledge(office, id)


def test_an_acknowledgement_by_hand_stands_for_a_backend_that_never_said_so(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    duba_world.connect("klinikum", {"baseUrl": duba.base_url, **LOGIN, "acknowledge": "processed"})
    id = duba.add_message()
    duba_world.settle()
    assert not duba.acknowledged_ids()
    intent = decisions.acknowledge(office, str(id))
    assert "in the backend's stead" in intent.says
    intent.do()
    duba_world.drain()
    assert duba.acknowledged_ids() == [id]


def test_a_connection_that_never_acknowledges_is_not_made_to(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    duba_world.connect("klinikum", {"baseUrl": duba.base_url, **LOGIN, "acknowledge": "never"})
    id = duba.add_message()
    duba_world.settle()
    with pytest.raises(Reject, match="change `acknowledge`"):
        decisions.acknowledge(office, str(id))


def test_a_refused_acknowledgement_is_asked_for_once_more(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    duba_world.connect("klinikum", {"baseUrl": duba.base_url, **LOGIN, "acknowledge": "processed"})
    id = duba.add_message()
    duba_world.settle()
    row = duba_world.services.ledger.item("duba", "klinikum", str(id))
    assert row is not None
    message = duba.messages.pop(id)
    decisions.acknowledge(office, str(id)).do()
    duba_world.drain()
    assert duba_world.state("klinikum", str(id)) == "UNAVAILABLE"
    duba.messages[id] = message
    intent = decisions.retry(office, str(id))
    assert "told once more" in intent.says
    intent.do()
    duba_world.drain()
    assert duba_world.state("klinikum", str(id)) == "ACKNOWLEDGED"
    assert duba.downloads_of(id) == 1


def test_a_delivery_that_ran_out_of_tries_is_sent_again_once(
    docxworld: ObservedDocxworld, docxworld_world: MortalWorld
) -> None:
    office = office_of(docxworld_world)
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, "* /v1/.*", status=503))
    key = "docxworld/klinikum/BRIEF/brief.pdf"
    docxworld_world.drop(key, b"%PDF-1.7")
    for _ in range(docxworld_world.tries + 1):
        docxworld_world.later("track", hours=2)
    assert show(office, key).document.state == "FAILED"
    docxworld.faults.clear()
    decisions.retry(office, key).do()
    docxworld_world.settle("track")
    assert docxworld_world.receipt(key)["status"] in ("IN_PROGRESS", "DELIVERED")
    assert len(docxworld.jobs()) == 1


def test_a_delivery_that_would_fail_again_is_not_sent(docxworld_world: MortalWorld) -> None:
    office = office_of(docxworld_world)
    key = "docxworld/klinikum/NIRGENDS/brief.pdf"
    docxworld_world.drop(key, b"%PDF-1.7")
    docxworld_world.settle("track")
    with pytest.raises(Reject, match="would fail again"):
        decisions.retry(office, key)


# --- connections ---


def test_a_connection_is_tried_before_it_is_stored(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    new = Account("duba", "verwaltung")
    wrong = {"baseUrl": duba.base_url, **LOGIN, "password": "falsch-und-geheim"}
    with pytest.raises(Misconfigured) as refusal:
        accounts.add(office, new, wrong)
    assert "falsch-und-geheim" not in str(refusal.value)
    assert office.vault.read(new.secret) is None
    duba.add_message()
    tested, intent = accounts.add(office, new, {"baseUrl": duba.base_url, **LOGIN})
    assert tested.says == "the login works, and the portal lists 1 documents"
    assert office.vault.read(new.secret) is None
    intent.do()
    duba_world.settle()
    assert duba_world.received("verwaltung") == {"1"}
    with pytest.raises(Reject, match="another name"):
        accounts.add(office, new, {"baseUrl": duba.base_url, **LOGIN})


def test_a_test_says_in_a_sentence_what_is_wrong(duba: SimulatedDuba, duba_world: World, office: Office) -> None:
    assert accounts.check(office, KLINIKUM).works
    duba_world.connect("klinikum", {"baseUrl": duba.base_url, **LOGIN, "password": "falsch"})
    tested = accounts.check(office, KLINIKUM)
    assert not tested.works
    assert tested.says.startswith("LOGIN_REFUSED: ")
    missing = accounts.check(office, Account("duba", "nirgends"))
    assert missing.says == "UNKNOWN_CONNECTION: there is no secret amtsbote/duba/nirgends; create it"


def test_a_paused_connection_keeps_its_secret_and_is_left_alone(
    duba: SimulatedDuba, duba_world: World, office: Office
) -> None:
    accounts.pause(office, KLINIKUM).do()
    duba_world.services = duba_world.new_services()
    duba.add_message()
    duba_world.settle()
    assert not duba_world.received("klinikum")
    assert [each.enabled for each in accounts.connections(office)] == [False]
    accounts.resume(office, KLINIKUM).do()
    assert json.loads(office.vault.read(KLINIKUM.secret) or "")["password"] == "geheim"
    duba_world.services = duba_world.new_services()
    duba_world.settle()
    assert duba_world.received("klinikum") == {"1"}
