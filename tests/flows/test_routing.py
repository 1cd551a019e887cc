"""A citizen's form is printed and its result goes back to the form, by rules alone and with one chain of receipts."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from amtsbote import copying
from amtsbote.chain import CopyState
from amtsbote.cli.app import main
from amtsbote.deadline import Deadline
from amtsbote.inbox import Identity, StoredFile
from amtsbote.messages import RouteRequest
from amtsbote.operations.details import show
from amtsbote.routing import read_routing_rules
from amtsbote.verbs.route import route
from sandbox.portals.digitale_gemeinde import FileShape, Options, SimulatedDigitaleGemeinde
from sandbox.portals.server import serve
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import Death
from tests.flows.routed_world import PAUSE_SECONDS, RoutedWorld
from tests.flows.test_operations import office_of
from tests.flows.world import INBOX, OUTBOX, Clock

KEY, TENANT, ANSWER_FIELD = "kanarienvogel-Schluessel", 17, 3
SCAN = ("Antrag.pdf", b"%PDF-1.7 der Antrag", "application/pdf")
PICTURE = ("Foto.jpg", b"ein Bild", "image/jpeg")
DEATHS_AT_MOST = 24
CALLS_UP_TO_THE_UPLOAD = 14
RESULT = b"%PDF-1.7 der Bescheid"
PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
PRINT, BACK = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
FORM = "Wohnsitz anmelden"


@pytest.fixture
def town(clock: Clock) -> Iterator[SimulatedDigitaleGemeinde]:
    """Provide a simulated Digitale-Gemeinde with one form."""
    portal = SimulatedDigitaleGemeinde(KEY, TENANT, options=Options(file_shape=FileShape.LIST), clock=clock)
    portal.add_form(FORM)
    with serve(portal):
        yield portal


@pytest.fixture
def world(town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, clock: Clock) -> RoutedWorld:
    """Provide a stack with both portals and both rules."""
    return world_with(town, docxworld, clock, PRINT, BACK)


def world_with(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, clock: Clock, *rules: dict[str, Any]
) -> RoutedWorld:
    world = RoutedWorld(clock, ("digitale-gemeinde", "docxworld"), rules)
    world["digitale-gemeinde"].connect("stadt", {"baseUrl": town.base_url, "apiKey": KEY, "tenantId": TENANT})
    world["docxworld"].connect("druck", docxworld.secret())
    return world


def submit(town: SimulatedDigitaleGemeinde, *files: tuple[str, bytes, str]) -> str:
    return town.add_document(next(iter(town.forms)), {"name": "Kanarienvogel"}, {"beilage": files})


def print_key(id_: str) -> str:
    return f"docxworld/druck/BRIEF/{id_}-Antrag.pdf"


def back_key(town: SimulatedDigitaleGemeinde, id_: str) -> str:
    return f"digitale-gemeinde/stadt/{next(iter(town.forms))}/{id_}/{ANSWER_FIELD}/Bescheid.pdf"


def answer(docxworld: ObservedDocxworld, world: RoutedWorld, id_: str) -> str:
    """Let docxworld lay the result of a form's print ready; return the download's id."""
    upload = docxworld.job(world.receipt(print_key(id_))["portalId"])
    more: dict[str, Any] = {"reference_id": upload.reference_id, "process_id": upload.id, "file_name": "Bescheid.pdf"}
    return docxworld.add_download(docxworld.letters, RESULT, **more).id


def whole_chain(town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld) -> tuple[str, str]:
    """Let a form be printed and its result go back; return the ids of form and result."""
    id_ = submit(town, SCAN)
    world.settle(1)
    result = answer(docxworld, world, id_)
    world.settle(2)
    return id_, result


# --- the way there and back ---


def test_what_the_page_says_to_write_into_samconfig_is_a_rule() -> None:
    (line,) = [each for each in PAGE.splitlines() if "parameter_overrides" in each]
    text = line.partition('RoutingRules="')[2].removesuffix("\"']").replace('\\"', '"')
    assert [rule.name for rule in read_routing_rules(text).rules] == ["a"]


def test_a_form_is_printed_and_its_result_goes_back_to_the_form(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    id_, result = whole_chain(town, docxworld, world)

    printed, back = world.receipt(print_key(id_)), world.receipt(back_key(town, id_))
    assert (printed["status"], printed["origin"]) == ("DELIVERED", f"digitale-gemeinde/stadt/{id_}")
    assert (back["status"], back["origin"]) == ("DELIVERED", f"docxworld/druck/{result}")
    assert world.outbox_keys() == [back_key(town, id_), print_key(id_)]
    assert docxworld.read_upload(printed["portalId"]) == SCAN[1]
    upload = docxworld.job(printed["portalId"])
    assert str(upload.reference_id).startswith(f"{id_}.")
    assert [each.status for each in town.history(id_)][-1] == "Abgeschlossen"
    assert [each.content for each in town.uploads(id_, ANSWER_FIELD)] == [RESULT]


def test_every_member_of_a_chain_shows_it_whole(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    id_, result = whole_chain(town, docxworld, world)

    chain = world.services.ledger.chain(f"digitale-gemeinde/stadt/{id_}")
    assert [(each.origin, each.rule, each.file, each.key, each.hops, each.state) for each in chain] == [
        (f"digitale-gemeinde/stadt/{id_}", "forms-to-print", "Antrag.pdf", print_key(id_), 1, CopyState.ROUTED),
        (f"docxworld/druck/{result}", "results-to-forms", "Bescheid.pdf", back_key(town, id_), 2, CopyState.ROUTED),
    ]
    drops = [world.services.ledger.newest_drop(OUTBOX, each.key) for each in chain]
    assert [drop and drop.version_id for drop in drops] == [each.version_id for each in chain]
    assert [drop and drop.provenance and drop.provenance.root for drop in drops] == [chain[0].root] * 2


def test_an_operator_sees_the_chain_from_whichever_member_is_asked_for(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    id_, result = whole_chain(town, docxworld, world)
    form, download = f"digitale-gemeinde/stadt/{id_}", f"docxworld/druck/{result}"
    members = [form, print_key(id_), download, back_key(town, id_)]
    office = office_of(world.hub)

    details = [show(office, member) for member in members]
    assert [(detail.origin, detail.answers) for detail in details] == [
        (None, None),
        (form, None),
        (None, print_key(id_)),
        (download, None),
    ]
    assert [[(step.origin, step.outbox_key, step.delivery) for step in detail.chain] for detail in details] == [
        [(form, print_key(id_), "DELIVERED"), (download, back_key(town, id_), "DELIVERED")]
    ] * len(members)

    said = StringIO()
    assert main(["show", result], out=said, open_office=lambda _: office) == 0
    assert f"routed: {form}, Antrag.pdf by forms-to-print to {print_key(id_)} (DELIVERED)" in said.getvalue()
    assert f"answers  {print_key(id_)}" in re.sub(" +", "  ", said.getvalue())


def test_only_the_files_that_a_rule_names_are_copied(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    id_ = submit(town, SCAN, PICTURE)
    world.settle()
    assert world.outbox_keys() == [print_key(id_)]


def test_without_a_pattern_all_files_but_the_portals_own_record_are_copied(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, clock: Clock
) -> None:
    world = world_with(town, docxworld, clock, {name: value for name, value in PRINT.items() if name != "files"})
    id_ = submit(town, SCAN, PICTURE)
    world.settle()
    assert world.outbox_keys() == [print_key(id_), f"docxworld/druck/BRIEF/{id_}-Foto.jpg"]


def test_a_result_that_answers_nothing_routed_stays_in_the_inbox(
    docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    docxworld.add_download(docxworld.letters, RESULT, reference_id="von Hand")
    docxworld.add_download(docxworld.letters, RESULT)
    world.settle()
    assert (len(world["docxworld"].received("druck")), world.outbox()) == (2, [])
    assert world.sqs.queue("own") == []


def test_nothing_that_names_a_person_is_in_messages_events_or_logs(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld, log_lines: LogLines
) -> None:
    whole_chain(town, docxworld, world)
    said = json.dumps([*world.sqs.sent, *world.hub.events()]) + log_lines.text
    assert "Kanarienvogel" not in said.replace(KEY, "")


# --- exactly once ---


def received_event(id_: str) -> dict[str, Any]:
    return {"portal": "digitale-gemeinde", "connection": "stadt", "id": id_}


def arrived(town: SimulatedDigitaleGemeinde, world: RoutedWorld) -> str:
    """Let a form arrive in the inbox, and its event not yet at route."""
    id_ = submit(town, SCAN)
    world["digitale-gemeinde"].settle("poll", rounds=1)
    return id_


def test_an_event_that_comes_again_copies_nothing_again(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    id_ = arrived(town, world)
    for _ in range(2):
        world.event(received_event(id_))
        world.event(received_event(id_))
        world.settle(1)
    assert world.outbox_keys() == [print_key(id_)]
    assert len(docxworld.uploads.jobs) == 1


@pytest.mark.parametrize("for_good", [True, False])
def test_what_was_deleted_from_the_outbox_since_is_not_copied_again(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld, for_good: bool
) -> None:
    id_ = arrived(town, world)
    world.settle(1)
    ((key, version, _),) = world.outbox()
    world.hub.client("s3").delete_object(Bucket=OUTBOX, Key=key, **({"VersionId": version} if for_good else {}))
    world.event(received_event(id_))
    world.settle(1)
    assert world.outbox_keys() == ([] if for_good else [key])
    assert len(docxworld.uploads.jobs) == 1


@pytest.mark.parametrize("call", ["CreateMultipartUpload", "ListParts"])
def test_two_workers_make_one_version(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld, call: str
) -> None:
    """One stands just before a call while the other does all of it; between all others, the simulation lets them stand.

    (moto breaks down where it should say that an upload is over.)
    """
    request = RouteRequest.model_validate({"detail": received_event(arrived(town, world))})
    quick: list[int] = []
    world.hub.before("s3", call, lambda: quick.append(route(request, world.services, Deadline(60))))
    slow = route(request, world.services, Deadline(60))
    assert (quick, slow) == ([1], 1)
    world.settle()
    assert world.outbox_keys() == [print_key(request.detail.id)]
    assert len(docxworld.uploads.jobs) == 1
    assert world.hub.client("s3").list_multipart_uploads(Bucket=OUTBOX).get("Uploads", []) == []


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_at_whatever_call_leaves_one_version_in_the_end(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld, *, after: bool
) -> None:
    ids = [submit(town, SCAN) for _ in range(DEATHS_AT_MOST)]
    world["digitale-gemeinde"].settle("poll", rounds=1)
    died: list[str] = []
    for number, id_ in enumerate(ids, start=1):
        request = RouteRequest.model_validate({"detail": received_event(id_)})
        with world.hub.lifeline.cut(number, after=after), suppress(Death):
            route(request, world.services, Deadline(60))
            break
        world.hub.lifeline.dead = False
        died.append(world.hub.lifeline.cut_at_call)
        route(request, world.services, Deadline(60))
        assert world.outbox_keys().count(print_key(id_)) == 1, died[-1]
    assert any("CompleteMultipartUpload" in each for each in died), died
    assert len(died) < DEATHS_AT_MOST, "the last one did not die"
    world.settle(1)
    assert len(docxworld.uploads.jobs) == len(world.outbox()) == len(ids)


def test_a_deliver_that_dies_leaves_a_drop_that_knows_its_origin_and_its_answer(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    ids = [submit(town, SCAN) for _ in range(CALLS_UP_TO_THE_UPLOAD)]
    world["digitale-gemeinde"].settle("poll", rounds=1)
    for id_ in ids:
        route(RouteRequest.model_validate({"detail": received_event(id_)}), world.services, Deadline(60))
    for number, (key, version, size) in enumerate(world.outbox(), start=1):
        deliver, beside = world["docxworld"], world.hub.lifeline
        deliver.arrive(deliver.drop_event(key, version, size))
        with beside.cut(number, after=True):
            deliver.run("own")
    world.settle(3)
    assert len(docxworld.uploads.jobs) == CALLS_UP_TO_THE_UPLOAD
    for id_ in ids:
        receipt = world.receipt(print_key(id_))
        assert (receipt["status"], receipt["origin"]) == ("DELIVERED", f"digitale-gemeinde/stadt/{id_}")
        reference = docxworld.job(receipt["portalId"]).reference_id
        answered = world.services.ledger.answered_by("docxworld", "druck", str(reference))
        assert answered is not None and answered.key == print_key(id_)


# --- what goes wrong ---


def failed_rule(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, clock: Clock, **changed: Any
) -> tuple[RoutedWorld, str]:
    """Let one form arrive under a rule that cannot be followed; return its id."""
    world = world_with(town, docxworld, clock, {**PRINT, **changed})
    id_ = submit(town, SCAN)
    world.settle(1)
    return world, id_


def test_a_placeholder_without_a_value_is_a_dead_letter_and_no_half_filled_key(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, clock: Clock
) -> None:
    world, id_ = failed_rule(town, docxworld, clock, to="docxworld/druck/BRIEF/{metadata.caseNumber}-{name}")
    while not world.sqs.dead_letters:
        world.hub.clock.forward(seconds=PAUSE_SECONDS)
        world.route()
    assert world.outbox() == []
    (dead,) = world.sqs.dead_letters
    assert json.loads(dead.body)["detail"]["id"] == id_
    (copy,) = world.services.ledger.chain(f"digitale-gemeinde/stadt/{id_}")
    assert (copy.state, copy.code) == (CopyState.FAILED, "PLACEHOLDER_EMPTY")
    said = "routing rule forms-to-print: {metadata.caseNumber} has no value in this document; mend the rule"
    assert copy.message == said

    world.rules = json.dumps([PRINT])
    world.sqs.send_message_batch(QueueUrl="own", Entries=[{"MessageBody": dead.body}])  # redriven
    world.settle(1)
    assert world.outbox_keys() == [print_key(id_)]


def test_a_key_under_which_something_else_lies_is_left_alone(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, clock: Clock
) -> None:
    world = world_with(town, docxworld, clock, {**PRINT, "to": "docxworld/druck/BRIEF/{name}"})
    ids = [submit(town, SCAN), submit(town, SCAN)]
    world.settle(2)
    assert world.outbox_keys() == ["docxworld/druck/BRIEF/Antrag.pdf"]
    chains = [world.services.ledger.chain(f"digitale-gemeinde/stadt/{id_}") for id_ in ids]
    assert sorted((copy.state, copy.code) for (copy,) in chains) == [("FAILED", "KEY_TAKEN"), ("ROUTED", None)]

    world.rules = json.dumps([PRINT])
    world.settle(2)
    (lost,) = [id_ for id_, (copy,) in zip(ids, chains, strict=True) if copy.code]
    assert world.outbox_keys() == [print_key(lost), "docxworld/druck/BRIEF/Antrag.pdf"]


def test_a_backends_own_mark_that_names_no_item_is_ignored(docxworld: ObservedDocxworld, world: RoutedWorld) -> None:
    world["docxworld"].drop(
        "docxworld/druck/BRIEF/a.pdf", RESULT, {"amtsbote-origin": "irgendwo", "amtsbote-hops": "1"}
    )
    world["docxworld"].settle("track")
    assert "origin" not in world.receipt("docxworld/druck/BRIEF/a.pdf")


def test_what_has_passed_four_rules_stays(
    town: SimulatedDigitaleGemeinde, docxworld: ObservedDocxworld, world: RoutedWorld
) -> None:
    mark = {"amtsbote-origin": "duba/klinikum/1", "amtsbote-rule": "elsewhere", "amtsbote-hops": "4"}
    world["docxworld"].drop("docxworld/druck/BRIEF/a.pdf", RESULT, mark)
    world["docxworld"].settle("track")
    upload = docxworld.job(world.receipt("docxworld/druck/BRIEF/a.pdf")["portalId"])
    docxworld.add_download(docxworld.letters, RESULT, reference_id=upload.reference_id)
    world.settle(1)
    (copy,) = world.services.ledger.chain("duba/klinikum/1")
    assert (copy.state, copy.code, copy.hops) == (CopyState.FAILED, "TOO_MANY_HOPS", 5)


@pytest.mark.parametrize("size", [0, 5])
def test_files_of_any_size_are_copied_part_by_part(
    monkeypatch: pytest.MonkeyPatch, world: RoutedWorld, clock: Clock, size: int
) -> None:
    """A part is 1 GiB; here 5 MiB, the least that S3 takes."""
    mebibyte = 1024 * 1024
    monkeypatch.setattr(copying, "PART_BYTES", 5 * mebibyte)
    s3, content = world.hub.client("s3"), bytes(range(256)) * 4096 * size + b"Rest" * (size > 0)
    prefix = "digitale-gemeinde/stadt/gross"
    s3.put_object(Bucket=INBOX, Key=f"{prefix}/gross.pdf", Body=content)
    identity = Identity("digitale-gemeinde", "stadt", "gross", prefix)
    file = StoredFile(f"{prefix}/gross.pdf", "gross.pdf", None, len(content), "", "application/pdf")
    world.services.inbox.commit(identity, [file], {"name": FORM}, clock())
    copied = world.hub.calls("s3", "UploadPartCopy")
    route(RouteRequest.model_validate({"detail": received_event("gross")}), world.services, Deadline(60))
    body = s3.get_object(Bucket=OUTBOX, Key="docxworld/druck/BRIEF/gross-gross.pdf")["Body"].read()
    assert body == content
    assert len(copied) == (2 if size else 0)


def test_a_copy_whose_time_is_up_goes_on_in_the_next_invocation(
    town: SimulatedDigitaleGemeinde, world: RoutedWorld
) -> None:
    request = RouteRequest.model_validate({"detail": received_event(arrived(town, world))})
    assert route(request, world.services, Deadline(0)) == 0
    assert len(world.sqs.queue("own")) == 1
    world.settle(1)
    assert world.outbox_keys() == [print_key(request.detail.id)]
