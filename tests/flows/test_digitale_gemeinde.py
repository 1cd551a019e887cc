"""Forms that citizens sent to their municipality arrive once; results, statuses and refunds go back exactly once."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
import requests

from amtsbote.portals.digitale_gemeinde.client import DigitaleGemeindeClient
from sandbox.portals.digitale_gemeinde import (
    NEVER,
    FileShape,
    FormField,
    Options,
    SimulatedDigitaleGemeinde,
    StatusNames,
    TokenShape,
    file_field,
)
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import RecordedRequest, serve
from tests.flows.conftest import LogLines
from tests.flows.mortality import MortalWorld, moments
from tests.flows.world import INBOX, Clock

KEY, TENANT = "kanarienvogel-Schluessel", 17
NEW, PROCESSING, DONE, REFUND = "Neu", "In Bearbeitung", "Abgeschlossen", "Refund"
COUNT, SEARCH = "GET /Form/count", "POST /Form/search"
DETAILS, UPDATE, UPLOAD = "GET /Form/.*/document/.*", "PUT /Form/.*/document/.*", "POST /Form/.*/file/.*"
LETTER = b"%PDF-1.7 eine Antwort der Gemeinde"
SCAN = ("scan.pdf", b"%PDF-1.7 kanarienvogel-Inhalt", "application/pdf")
ANSWER_FIELD = 3
A_LONG_CALM = timedelta(minutes=11)  # longer than a lease and than a message stays hidden
SECONDS = 5


@pytest.fixture
def portal(clock: Clock) -> Iterator[SimulatedDigitaleGemeinde]:
    """Provide a simulated Digitale-Gemeinde with one form, reachable over HTTP."""
    portal = SimulatedDigitaleGemeinde(KEY, TENANT, options=Options(file_shape=FileShape.LIST), clock=clock)
    portal.add_form()
    with serve(portal):
        yield portal


@pytest.fixture
def world(portal: SimulatedDigitaleGemeinde, clock: Clock) -> MortalWorld:
    """Provide a world with one connection, `stadt`."""
    world = MortalWorld("digitale-gemeinde", clock=clock)
    world.connect("stadt", secret_of(portal))
    return world


def secret_of(portal: SimulatedDigitaleGemeinde, **more: Any) -> dict[str, Any]:
    """Return a valid secret, or one that differs from it."""
    return {"baseUrl": portal.base_url, "apiKey": KEY, "tenantId": TENANT} | more


def form_of(portal: SimulatedDigitaleGemeinde) -> str:
    """Return the id of the first form."""
    return next(iter(portal.forms))


def submit(portal: SimulatedDigitaleGemeinde, *files: tuple[str, bytes, str], **more: Any) -> str:
    """Let a citizen submit the first form, with these files as its enclosures."""
    return portal.add_document(form_of(portal), {"name": "Kanarienvogel"}, {"beilage": files} if files else {}, **more)


def statuses(portal: SimulatedDigitaleGemeinde, id_: str) -> list[tuple[str, str]]:
    """Return what was done to the status of a document since it was submitted, and by whom."""
    return [(change.status, change.who) for change in portal.history(id_)[1:]]


def asked(portal: SimulatedDigitaleGemeinde, call: str) -> list[RecordedRequest]:
    """Return the requests of a call ("METHOD /path/regex") in their order."""
    method, _, path = call.partition(" ")
    return [each for each in portal.requests if each.method == method and re.fullmatch(path, each.path)]


def fail(portal: SimulatedDigitaleGemeinde, kind: Kind, match: str, *, times: int | None = 1, **more: Any) -> None:
    """Arm a fault."""
    portal.faults.add(Fault(kind, match, times=times, **more))


def is_safe_and_acknowledged(portal: SimulatedDigitaleGemeinde, world: MortalWorld, id_: str) -> bool:
    """Return whether a document is in the inbox once, whole as document.json says, and acknowledged once."""
    files = world.document("stadt", id_)["files"]
    keys = [each["key"] for each in files]
    prefix = f"digitale-gemeinde/stadt/{id_}/"
    return (
        all(sha256(world.content(each["key"])).hexdigest() == each["sha256"] for each in files)
        and sorted(world.inbox_keys(prefix)) == sorted([*keys, f"{prefix}document.json"])
        and all(world.versions(key) == 1 for key in [*keys, f"{prefix}document.json"])
        and statuses(portal, id_) == [(PROCESSING, "api")]
        and world.state("stadt", id_) == "ACKNOWLEDGED"
    )


def recover(world: MortalWorld) -> None:
    """Let everything come again that a dead process has left behind."""
    for _ in range(4):
        world.clock.now += A_LONG_CALM
        world.settle("poll", "acknowledge", rounds=1)
        if not world.due() and not world.sqs.queue("own"):
            return


# --- what arrives ---


def test_where_count_says_that_nothing_is_new_nothing_else_is_asked(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    for status in (PROCESSING, DONE, REFUND):
        submit(portal, status=status)
    world.settle("poll", "acknowledge", rounds=3)
    assert {each.path for each in portal.requests} == {"/Token", "/Form/count"}
    assert (portal.calls("token"), portal.calls("count")) == (1, 3)


@pytest.mark.parametrize("split", [None, "statuses"])
def test_a_new_form_is_found_however_count_splits_its_numbers(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, split: str | None
) -> None:
    portal.options.split_key = split
    id_ = submit(portal)
    world.settle(rounds=2)
    assert is_safe_and_acknowledged(portal, world, id_)


def test_130_forms_over_two_pages_arrive_and_all_are_listed_before_the_first_is_changed(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    """The portal shuffles what no order is asked for, and its list of new ones shrinks with each change."""
    start = portal.clock() - timedelta(days=3)
    ids = {submit(portal, submitted=start + timedelta(minutes=number)) for number in range(130)}
    world.tick("poll")
    world.run("poll")
    assert len(asked(portal, SEARCH)) == 2
    assert len(world.sqs.queue("fetch")) == 130
    world.settle(rounds=1)
    assert world.received("stadt") == ids
    assert {tuple(statuses(portal, id_)) for id_ in ids} == {((PROCESSING, "api"),)}
    paths = [f"{each.method} {each.path}" for each in portal.requests]
    changed = next(n for n, path in enumerate(paths) if path.startswith("PUT"))
    assert paths[:changed].count(SEARCH) == 2 * paths[:changed].count(COUNT)


def test_a_list_that_shrinks_while_it_is_read_hides_nothing_for_good(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    """Given 102 new forms, when a person takes the first five while we read page 1, so that page 2 moves up."""
    start = portal.clock() - timedelta(days=3)
    ids = [submit(portal, submitted=start + timedelta(minutes=number)) for number in range(102)]
    for id_ in ids[:5]:
        portal.after_page(1, partial(portal.set_status, id_, PROCESSING))
    world.tick("poll")
    world.run("poll")
    assert len(world.sqs.queue("fetch")) < len(ids), "given: something was missed"
    world.tick("poll")
    world.run("poll")
    opened = {json.loads(body)["id"] for queue, body in world.sqs.sent if queue == "fetch"}
    assert opened == set(ids)


def test_form_json_is_the_answer_verbatim(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = submit(portal, SCAN)
    world.connect("stadt", secret_of(portal, acknowledge="never"))
    world.settle(rounds=2)
    assert world.content(f"digitale-gemeinde/stadt/{id_}/form.json") == details_of(portal, id_)
    (form, _) = world.document("stadt", id_)["files"]
    assert (form["name"], form["portalName"], form["contentType"]) == ("form.json", None, "application/json")


def details_of(portal: SimulatedDigitaleGemeinde, id_: str) -> bytes:
    """Ask for a document as anybody can, and return the answer's bytes."""
    key = {"Ocp-Apim-Subscription-Key": KEY}
    token = requests.post(f"{portal.base_url}/Token", headers=key, timeout=SECONDS).json()["token"]
    url = f"{portal.base_url}/Form/{form_of(portal)}/document/{id_}?tenantId={TENANT}"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS).content


def test_document_json_keeps_the_portals_own_record(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = submit(portal)
    record = portal.documents[id_].row(portal.options.time_zone)
    world.settle(rounds=2)
    document = world.document("stadt", id_)
    assert (document["portal"], document["connection"], document["id"]) == ("digitale-gemeinde", "stadt", id_)
    assert document["metadata"] == record
    (event,) = world.events_of("Document Received")
    assert event["key"] == f"digitale-gemeinde/stadt/{id_}/document.json"


def test_each_inline_file_is_an_object_with_a_safe_name_of_its_own_and_its_content_type(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    form = portal.add_form("Baugesuch", [file_field(1, "plan"), FormField(2, "ort"), file_field(3, "foto")])
    plans = [("plan.pdf", b"eins", "application/pdf"), ("plan.pdf", b"zwei", "application/pdf")]
    photos = [("../../etc/Gr\u00fc\u00dfe\x07.png", b"\x89PNG", "image/png"), ("PLAN.PDF", b"", "application/pdf")]
    id_ = portal.add_document(form, {"ort": "Muri"}, {"plan": plans, "foto": photos})
    world.settle(rounds=2)
    files = world.document("stadt", id_)["files"][1:]
    names = ["plan.pdf", "plan-2.pdf", "Gr\u00fc\u00dfe.png", "PLAN-3.PDF"]
    assert [each["name"] for each in files] == names
    assert [each["portalName"] for each in files] == [name for name, _, _ in plans + photos]
    assert [world.content(each["key"]) for each in files] == [content for _, content, _ in plans + photos]
    assert [stored_type(world, each["key"]) for each in files] == [kind for _, _, kind in plans + photos]
    assert is_safe_and_acknowledged(portal, world, id_)


def stored_type(world: MortalWorld, key: str) -> str:
    """Return the content type that an object of the inbox is stored with."""
    content_type: str = world.client("s3").head_object(Bucket=INBOX, Key=key)["ContentType"]
    return content_type


@pytest.mark.parametrize("shape", FileShape)
def test_a_file_arrives_however_the_details_show_it(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, shape: FileShape
) -> None:
    portal.options.file_shape = shape
    id_ = submit(portal, SCAN)
    world.settle(rounds=2)
    (_, file) = world.document("stadt", id_)["files"]
    assert (file["portalName"], file["contentType"]) == (SCAN[0], SCAN[2])
    assert world.content(file["key"]) == SCAN[1]


def test_a_large_file_goes_through_in_parts(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    content = bytes(range(256)) * 40_000
    id_ = submit(portal, ("gross.bin", content, "application/octet-stream"))
    parts = world.calls("s3", "UploadPart")
    world.settle(rounds=2)
    assert world.content(f"digitale-gemeinde/stadt/{id_}/gross.bin") == content
    assert len(parts) >= 4, "form.json, which holds it as base64, and the file itself"


def test_a_form_that_is_listed_twice_arrives_once(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = submit(portal, listed_times=2)
    world.settle(rounds=2)
    assert is_safe_and_acknowledged(portal, world, id_)
    assert len(world.events_of("Document Received")) == 1


def test_a_form_that_is_listed_twice_hides_none_of_the_next_page(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults: Any = DigitaleGemeindeClient.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "page_size", 2)
    world.connect("stadt", secret_of(portal, acknowledge="never"))  # so that the list never gets shorter
    ids = {submit(portal), submit(portal, listed_times=2), submit(portal)}
    world.settle("poll")
    assert world.received("stadt") == ids


def test_a_form_that_appears_late_with_an_old_date_arrives(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    known = submit(portal)
    late = submit(portal, submitted=portal.clock() - timedelta(days=9), visible_after=NEVER)
    world.settle(rounds=2)
    assert world.received("stadt") == {known}
    portal.reveal(late)
    world.later(hours=1)
    assert is_safe_and_acknowledged(portal, world, late)


def test_only_the_forms_of_the_secret_are_asked_for(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    wanted = portal.add_form("Hundesteuer")
    world.connect("stadt", secret_of(portal, formIds=[wanted]))
    other, id_ = submit(portal), portal.add_document(wanted, {"name": "Muster"})
    world.settle(rounds=2)
    assert world.received("stadt") == {id_}
    assert portal.status_of(other) == NEW


# --- acknowledging ---


def test_every_form_is_acknowledged_exactly_once(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    ids = [submit(portal, SCAN) for _ in range(5)]
    for _ in range(4):
        world.later(hours=7, rounds=2)
    assert all(is_safe_and_acknowledged(portal, world, id_) for id_ in ids)
    assert [portal.calls("update", id_) for id_ in ids] == [1] * 5
    assert len(world.events_of("Document Acknowledged")) == 5


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.SERVER_ERROR, Kind.RESET])
def test_an_acknowledgement_whose_answer_fails_counts_once(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, kind: Kind
) -> None:
    id_ = submit(portal)
    fail(portal, kind, UPDATE)
    world.settle(rounds=1)
    world.later(hours=1, rounds=2)
    assert is_safe_and_acknowledged(portal, world, id_)
    assert len(world.events_of("Document Acknowledged")) == 1


@pytest.mark.parametrize("kind", [Kind.HTML_WITH_200, Kind.GARBAGE_JSON])
def test_an_answer_that_is_no_apis_acknowledges_nothing(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, kind: Kind
) -> None:
    id_ = submit(portal)
    fail(portal, kind, UPDATE)
    world.settle("poll", "acknowledge", rounds=1)
    assert world.state("stadt", id_) == "STORED"
    recover(world)
    assert is_safe_and_acknowledged(portal, world, id_)


@pytest.mark.parametrize("status", [DONE, REFUND])
def test_what_a_person_has_set_meanwhile_is_never_overwritten(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, status: str
) -> None:
    id_ = submit(portal)
    world.settle("poll", rounds=1)
    portal.set_status(id_, status)
    world.later(hours=1, rounds=2)
    assert statuses(portal, id_) == [(status, "clerk")]
    assert world.state("stadt", id_) == "ACKNOWLEDGED"


def test_a_person_who_puts_a_form_back_to_new_is_left_in_peace(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    id_ = submit(portal)
    world.settle(rounds=2)
    portal.set_status(id_, NEW)
    world.later(days=1, rounds=2)
    assert statuses(portal, id_) == [(PROCESSING, "api"), (NEW, "clerk")]
    assert world.versions(f"digitale-gemeinde/stadt/{id_}/document.json") == 1


@pytest.mark.parametrize("policy", ["never", "processed"])
def test_the_portal_is_told_when_the_secret_says_so(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, policy: str
) -> None:
    world.connect("stadt", secret_of(portal, acknowledge=policy))
    id_ = submit(portal)
    world.settle(rounds=2)
    assert world.received("stadt") == {id_} and statuses(portal, id_) == []
    world.mark_processed("stadt", id_)
    world.later(hours=1)
    assert statuses(portal, id_) == ([(PROCESSING, "api")] if policy == "processed" else [])


def test_nothing_is_acknowledged_whose_document_json_is_not_there(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    lost, safe = submit(portal), submit(portal)
    world.settle("poll", rounds=1)
    world.client("s3").delete_object(Bucket=INBOX, Key=f"digitale-gemeinde/stadt/{lost}/document.json")
    world.later(hours=1, rounds=2)
    assert (portal.status_of(lost), portal.status_of(safe)) == (NEW, PROCESSING)


# --- the login ---


@pytest.mark.parametrize("shape", [TokenShape.TOKEN, TokenShape.BARE])
def test_a_token_is_bought_once_and_again_shortly_before_its_end(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, shape: TokenShape
) -> None:
    portal.options.token_shape = shape
    submit(portal)
    world.settle(rounds=2)
    world.later(minutes=58)
    assert portal.calls("token") == 1
    world.later(minutes=1.5)  # its hour has not passed
    assert portal.calls("token") == 2
    assert {each.status for each in portal.requests} == {200}, "no token was used up to a refusal"


@pytest.mark.parametrize(("status", "call"), [(401, DETAILS), (403, COUNT), (403, DETAILS), (403, UPDATE)])
def test_a_refused_token_is_renewed_once_and_nobody_notices(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, status: int, call: str
) -> None:
    portal.options.refusal_status = status
    id_ = submit(portal, SCAN)
    fail(portal, Kind.EXPIRED_TOKEN, call)
    world.settle(rounds=1)
    assert is_safe_and_acknowledged(portal, world, id_)
    assert portal.calls("token") == 2
    assert world.events_of("Connection Unhealthy") == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_again_makes_the_connection_unhealthy_and_is_not_hammered(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, status: int
) -> None:
    portal.options.refusal_status = status
    fail(portal, Kind.EXPIRED_TOKEN, "* /Form/.*", times=None)
    id_ = submit(portal)
    for _ in range(60):
        world.later("poll", "acknowledge", minutes=1)
    (told,) = world.events_of("Connection Unhealthy")
    assert (told["connection"], told["code"]) == ("stadt", "LOGIN_REFUSED")
    assert len(portal.requests) <= 9 * 4, "an hour: nine tries at most, each asks twice, with a token before each"
    portal.faults.clear()
    world.later(minutes=16, rounds=2)
    assert is_safe_and_acknowledged(portal, world, id_)
    assert [each["connection"] for each in world.events_of("Connection Recovered")] == ["stadt"]


def test_a_refused_key_is_told_once_and_a_new_one_works_at_once(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, log_lines: LogLines
) -> None:
    portal.revoke_key()
    submit(portal)
    world.settle(rounds=2)
    assert [each["code"] for each in world.events_of("Connection Unhealthy")] == ["LOGIN_REFUSED"]
    assert portal.calls("token") == 1
    portal.change_key("kanarienvogel-neu")
    world.clock.forward(seconds=1)
    world.connect("stadt", secret_of(portal, apiKey="kanarienvogel-neu"))
    world.settle(rounds=2)
    assert len(world.received("stadt")) == 1
    assert "kanarienvogel" not in log_lines.text + json.dumps(world.events())


# --- limits, outages, damage ---


@pytest.mark.parametrize("call", ["POST /Token", COUNT, SEARCH, UPDATE])
def test_retry_after_is_obeyed_to_the_second(portal: SimulatedDigitaleGemeinde, world: MortalWorld, call: str) -> None:
    id_ = submit(portal)
    fail(portal, Kind.TOO_MANY_REQUESTS, call, retry_after=7)
    world.settle(rounds=1)
    while portal.status_of(id_) == NEW:
        world.later(seconds=1)
    assert waited(portal) == 7.0
    assert is_safe_and_acknowledged(portal, world, id_)
    assert world.events_of("Connection Unhealthy") == []


def test_retry_after_a_fetch_is_obeyed(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = submit(portal)
    fail(portal, Kind.TOO_MANY_REQUESTS, DETAILS, retry_after=7)
    world.settle(rounds=1)
    while portal.status_of(id_) == NEW and len(portal.requests) < 50:
        world.later(seconds=1)
    assert waited(portal) == 7.0
    assert is_safe_and_acknowledged(portal, world, id_)


def waited(portal: SimulatedDigitaleGemeinde) -> float:
    """Return how many seconds nothing was asked after the 429."""
    (number,) = [number for number, each in enumerate(portal.requests) if each.status == 429]
    return (portal.requests[number + 1].at - portal.requests[number].at).total_seconds()


def test_a_connection_that_is_throttled_does_not_hold_up_another(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, clock: Clock
) -> None:
    other = SimulatedDigitaleGemeinde(KEY, TENANT, clock=clock)
    fail(portal, Kind.TOO_MANY_REQUESTS, COUNT, times=None, retry_after=600)
    submit(portal)
    with serve(other):
        id_ = other.add_document(other.add_form(), {"name": "Muster"})
        world.connect("dorf", secret_of(other))
        world.settle(rounds=2)
        assert other.status_of(id_) == PROCESSING
    assert (world.received("dorf"), world.received("stadt")) == ({id_}, set())
    assert len(asked(portal, COUNT)) == 1


@pytest.mark.parametrize("missing_status", [500, 404])
def test_a_form_that_is_gone_is_unavailable_although_the_portal_calls_that_an_error(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, missing_status: int
) -> None:
    portal.options.missing_status = missing_status
    gone, there = submit(portal), submit(portal)
    world.tick("poll")
    world.run("poll")
    portal.remove(gone)
    world.settle(rounds=2)
    assert world.state("stadt", gone) == "UNAVAILABLE"
    assert [each["id"] for each in world.events_of("Document Unavailable")] == [gone]
    assert is_safe_and_acknowledged(portal, world, there)


def test_an_outage_takes_nothing_for_gone(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    """Given known forms, when every call fails, worded like a missing document, for two hours."""
    fetched, known = submit(portal), submit(portal)
    world.tick("poll")
    world.run("poll")
    portal.outage = True
    for _ in range(8):
        world.later("poll", "acknowledge", minutes=15)
    assert world.events_of("Document Unavailable") == []
    portal.outage = False
    world.later(hours=2)
    world.later(hours=2)
    assert is_safe_and_acknowledged(portal, world, fetched) and is_safe_and_acknowledged(portal, world, known)


def test_a_form_that_is_listed_and_cannot_be_read_is_not_taken_for_gone(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    id_ = submit(portal)
    portal.remove(id_, keep_row=True)
    world.settle(rounds=2)
    world.later(hours=2)
    assert world.events_of("Document Unavailable") == []
    assert world.state("stadt", id_) != "UNAVAILABLE"
    assert world.inbox_keys() == []


def test_base64_that_is_none_goes_to_quarantine_and_is_not_acknowledged(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    damaged, whole = submit(portal, SCAN), submit(portal, SCAN)
    portal.garble(damaged, "beilage")
    world.settle(rounds=2)
    world.later(days=1, rounds=2)
    assert world.state("stadt", damaged) == "QUARANTINED"
    assert world.received("stadt") == {whole}
    assert world.inbox_keys(f"digitale-gemeinde/stadt/{damaged}/") == []
    prefix = f"quarantine/digitale-gemeinde/stadt/{damaged}/"
    kept = [world.content(key) for key in world.inbox_keys(prefix)]
    assert details_of(portal, damaged) in kept, "the evidence is the answer that holds it"
    assert statuses(portal, damaged) == []


def test_nothing_personal_and_nothing_secret_is_logged_or_told(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, log_lines: LogLines
) -> None:
    id_ = submit(portal, ("kanarienvogel.pdf", b"kanarienvogel", "application/pdf"))
    damaged = submit(portal, ("kanarienvogel.pdf", b"kanarienvogel", "application/pdf"))
    portal.garble(damaged, "beilage")
    world.settle(rounds=2)
    deliver(world, key_of(portal, id_, "kanarienvogel.pdf"))
    said = log_lines.text + json.dumps(world.events_of("Document Received"))
    assert "kanarienvogel" not in said.lower()
    assert "eyJ" not in said, "a token begins like this"


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_at_any_call_to_the_portal_costs_nothing(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, after: bool
) -> None:
    submit(portal, SCAN)
    with world.lifeline.cut(0, after=after):
        world.settle(rounds=1)
    calls = world.lifeline.calls
    for moment in [n for n in moments(calls, after=after) if " /" in calls[n - 1]]:
        id_ = submit(portal, SCAN)
        world.services = world.new_services()
        with world.lifeline.cut(moment, after=after):
            world.settle(rounds=1)
        assert world.lifeline.cut_at_call
        recover(world)
        assert is_safe_and_acknowledged(portal, world, id_), world.lifeline.cut_at_call


# --- results that go back ---


def key_of(portal: SimulatedDigitaleGemeinde, id_: str, name: str = "antwort.pdf", field: int = ANSWER_FIELD) -> str:
    """Return the outbox key of a file for a field of a document."""
    return f"digitale-gemeinde/stadt/{form_of(portal)}/{id_}/{field}/{name}"


def status_key(portal: SimulatedDigitaleGemeinde, id_: str) -> str:
    """Return the outbox key of a status of a document."""
    return f"digitale-gemeinde/stadt/{form_of(portal)}/{id_}/status.json"


def status_body(status: str) -> bytes:
    """Return a status.json."""
    return json.dumps({"status": status}).encode()


def deliver(world: MortalWorld, key: str, content: bytes = LETTER, **metadata: str) -> dict[str, Any]:
    """Drop an object, let the function work, and return the event."""
    event = world.drop(key, content, metadata)
    world.drain()
    return event


def calm(world: MortalWorld, rounds: int = 4) -> None:
    """Let everything come again that is to be tried again."""
    for _ in range(rounds):
        world.clock.now += A_LONG_CALM
        world.drain()


def calls_of_a_delivery(world: MortalWorld, key: str, content: bytes) -> list[str]:
    """Return all calls that a fresh process makes to deliver an object."""
    world.drop(key, content)
    world.services = world.new_services()
    with world.lifeline.cut(0, after=False):
        world.drain()
    return world.lifeline.calls


def first_to_the_portal(calls: list[str]) -> int:
    """Return the number of the first call to the portal: what comes before it is the same for every portal."""
    return next(number for number, call in enumerate(calls, start=1) if " /" in call)


def in_work(portal: SimulatedDigitaleGemeinde) -> str:
    """Add a document that is being worked on."""
    return submit(portal, status=PROCESSING)


def held(portal: SimulatedDigitaleGemeinde, id_: str) -> list[tuple[str, bytes]]:
    """Return the files that came into the answer's field: name and content."""
    return [(file.name, file.content) for file in portal.uploads(id_, ANSWER_FIELD)]


def failure(world: MortalWorld, key: str) -> tuple[str, str]:
    """Return code and message of a delivery that failed for good."""
    receipt = world.receipt(key)
    assert receipt["status"] == "FAILED"
    return receipt["error"]["code"], receipt["error"]["message"]


def test_a_file_goes_to_its_field_and_then_the_form_is_done(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    id_ = in_work(portal)
    key = key_of(portal, id_, "Best\u00e4tigung \u201eMai\u201c.pdf")
    deliver(world, key)
    assert held(portal, id_) == [("Best\u00e4tigung \u201eMai\u201c.pdf", LETTER)]
    assert statuses(portal, id_) == [(DONE, "api")]
    methods = [each.method for each in portal.requests if "/document/" in each.path]
    assert methods == ["GET", "POST", "PUT"], "looked at, uploaded, and only then done"
    receipt = world.receipt(key)
    assert (receipt["status"], receipt["error"]) == ("DELIVERED", None)
    assert receipt["result"] == {"documentId": id_, "status": DONE}
    assert [each["status"] for each in world.events_of("Delivery Updated")] == ["DELIVERED"]


def test_the_content_type_goes_with_the_file(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    s3, key = world.client("s3"), key_of(portal, id_)
    answer = s3.put_object(Bucket="outbox", Key=key, Body=LETTER, ContentType="application/pdf")
    world.arrive(world.drop_event(key, answer["VersionId"], len(LETTER)))
    world.drain()
    assert [file.content_type for file in portal.uploads(id_, ANSWER_FIELD)] == ["application/pdf"]


def test_complete_false_leaves_the_status_alone(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    deliver(world, key_of(portal, id_), complete="false")
    assert held(portal, id_) == [("antwort.pdf", LETTER)]
    assert statuses(portal, id_) == []
    assert world.receipt(key_of(portal, id_))["status"] == "DELIVERED"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        *((Kind.LOST_ANSWER, shape) for shape in FileShape),
        (Kind.RESET, FileShape.LIST),
        (Kind.SERVER_ERROR, FileShape.LIST),
    ],
)
def test_an_upload_whose_answer_is_lost_is_looked_up_before_it_is_repeated(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, shape: FileShape, kind: Kind
) -> None:
    portal.options.file_shape = shape
    id_ = in_work(portal)
    fail(portal, kind, UPLOAD)
    deliver(world, key_of(portal, id_))
    calm(world)
    assert held(portal, id_) == [("antwort.pdf", LETTER)]
    assert statuses(portal, id_) == [(DONE, "api")]
    assert world.receipt(key_of(portal, id_))["status"] == "DELIVERED"


@pytest.mark.parametrize("shape", FileShape)
def test_a_second_version_is_a_delivery_of_its_own_also_where_its_answer_is_lost(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, shape: FileShape
) -> None:
    """Also of the same length, in a field that shows its newest file only."""
    portal.options.file_shape = shape
    id_, second = in_work(portal), LETTER[::-1]
    deliver(world, key_of(portal, id_))
    fail(portal, Kind.LOST_ANSWER, UPLOAD)
    event = deliver(world, key_of(portal, id_), second)
    calm(world)
    assert [content for _, content in held(portal, id_)] == [LETTER, second]
    receipt = world.receipt(key_of(portal, id_))
    assert (receipt["status"], receipt["versionId"]) == ("DELIVERED", event["detail"]["object"]["version-id"])


def test_the_same_file_dropped_again_is_sent_again(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    for _ in range(2):
        fail(portal, Kind.LOST_ANSWER, UPLOAD)
        deliver(world, key_of(portal, id_))
        calm(world)
    assert held(portal, id_) == [("antwort.pdf", LETTER)] * 2


def test_an_event_that_comes_twice_changes_nothing(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    for key, body in ((key_of(portal, id_), LETTER), (status_key(portal, id_), status_body(PROCESSING))):
        event = deliver(world, key, body)
        world.arrive(event)
        calm(world)
    assert len(held(portal, id_)) == 1
    assert statuses(portal, id_) == [(DONE, "api"), (PROCESSING, "api")]


def test_a_throttled_upload_waits_as_long_as_it_is_told(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    fail(portal, Kind.TOO_MANY_REQUESTS, UPLOAD, retry_after=120)
    deliver(world, key_of(portal, id_))
    world.clock.forward(seconds=119)
    world.drain()
    assert held(portal, id_) == [] and waits_since(portal) == 1
    calm(world, rounds=1)
    assert len(held(portal, id_)) == 1


def waits_since(portal: SimulatedDigitaleGemeinde) -> int:
    """Return how many requests there are from the 429 on, itself included."""
    (number,) = [number for number, each in enumerate(portal.requests) if each.status == 429]
    return len(portal.requests) - number


def test_a_worker_that_dies_at_any_moment_of_an_upload_uploads_once(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    """To die after a call leaves what dying before the next one leaves, so each moment is tried once."""
    calls = calls_of_a_delivery(world, key_of(portal, in_work(portal)), LETTER)
    for moment in range(first_to_the_portal(calls), len(calls) + 1):
        id_ = in_work(portal)
        event = world.drop(key_of(portal, id_), LETTER)
        world.services = world.new_services()
        with world.lifeline.cut(moment, after=False):
            world.drain()
        assert world.lifeline.cut_at_call
        calm(world, rounds=2)
        assert held(portal, id_) == [("antwort.pdf", LETTER)], world.lifeline.cut_at_call
        assert statuses(portal, id_) == [(DONE, "api")], world.lifeline.cut_at_call
        world.arrive(event)
        world.drain()
        assert len(held(portal, id_)) == 1 and world.receipt(key_of(portal, id_))["status"] == "DELIVERED"


# --- statuses and refunds ---


@pytest.mark.parametrize("status", [NEW, DONE])
def test_status_json_sets_that_status(portal: SimulatedDigitaleGemeinde, world: MortalWorld, status: str) -> None:
    id_ = in_work(portal)
    deliver(world, status_key(portal, id_), status_body(status))
    assert statuses(portal, id_) == [(status, "api")]
    receipt = world.receipt(status_key(portal, id_))
    assert (receipt["status"], receipt["result"]["status"]) == ("DELIVERED", status)


def test_a_status_that_only_this_form_knows_is_set_too(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    form = portal.add_form("Baugesuch", states=[NEW, "Zur\u00fcckgestellt", DONE])
    id_ = portal.add_document(form)
    deliver(world, f"digitale-gemeinde/stadt/{form}/{id_}/status.json", status_body("Zur\u00fcckgestellt"))
    assert portal.status_of(id_) == "Zur\u00fcckgestellt"


def refunded_once(portal: SimulatedDigitaleGemeinde, world: MortalWorld, id_: str) -> bool:
    """Return whether the money was sent back once, and the receipt says that it was."""
    return portal.refunds(id_) == 1 and world.receipt(status_key(portal, id_))["status"] == "DELIVERED"


def test_a_refund_is_asked_for_once_though_its_event_comes_twice(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    id_ = in_work(portal)
    event = world.drop(status_key(portal, id_), status_body(REFUND))
    world.arrive(event)
    world.run("own", workers=2)
    calm(world)
    world.arrive(event)
    world.drain()
    assert refunded_once(portal, world, id_)


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.TRUNCATED_BODY])
def test_a_refund_whose_answer_is_lost_is_not_asked_for_again(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, kind: Kind
) -> None:
    id_ = in_work(portal)
    fail(portal, kind, UPDATE)
    deliver(world, status_key(portal, id_), status_body(REFUND))
    calm(world)
    assert refunded_once(portal, world, id_)


def test_a_refund_that_a_person_has_undone_meanwhile_is_not_asked_for_again(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    """Given a lost answer, when the status no longer shows the refund, then nobody but a person may ask again."""
    id_ = in_work(portal)
    fail(portal, Kind.LOST_ANSWER, UPDATE)
    deliver(world, status_key(portal, id_), status_body(REFUND))
    portal.set_status(id_, PROCESSING)
    calm(world)
    assert portal.refunds(id_) == 1
    code, words = failure(world, status_key(portal, id_))
    assert code == "OUTCOME_UNKNOWN" and "before you drop it again" in words


@pytest.mark.parametrize("kind", [Kind.TOO_MANY_REQUESTS, Kind.EXPIRED_TOKEN])
def test_a_refund_that_was_certainly_not_carried_out_is_asked_for_again(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, kind: Kind
) -> None:
    id_ = in_work(portal)
    fail(portal, kind, UPDATE)
    deliver(world, status_key(portal, id_), status_body(REFUND))
    calm(world)
    assert refunded_once(portal, world, id_)


def test_a_second_status_json_that_asks_for_the_same_refund_pays_nothing_again(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    id_ = in_work(portal)
    for _ in range(2):
        deliver(world, status_key(portal, id_), status_body(REFUND))
    assert refunded_once(portal, world, id_)


def test_a_worker_that_dies_at_any_moment_of_a_refund_never_pays_twice(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld
) -> None:
    """To die after a call leaves what dying before the next one leaves, so each moment is tried once."""
    calls = calls_of_a_delivery(world, status_key(portal, in_work(portal)), status_body(REFUND))
    unknown = 0
    for moment in range(first_to_the_portal(calls), len(calls) + 1):
        id_ = in_work(portal)
        event = world.drop(status_key(portal, id_), status_body(REFUND))
        world.services = world.new_services()
        with world.lifeline.cut(moment, after=False):
            world.drain()
        assert world.lifeline.cut_at_call
        calm(world, rounds=2)
        world.arrive(event)
        world.drain()
        if portal.refunds(id_) == 0:
            assert failure(world, status_key(portal, id_))[0] == "OUTCOME_UNKNOWN", world.lifeline.cut_at_call
            unknown += 1
        else:
            assert refunded_once(portal, world, id_), world.lifeline.cut_at_call
    assert unknown == 1, "only a death between the note in the ledger and the call leaves the outcome open"


def test_a_file_never_asks_for_a_refund(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    deliver(world, key_of(portal, id_, "refund.json"), status_body(REFUND))
    assert (portal.refunds(id_), portal.status_of(id_)) == (0, DONE)


# --- mistakes ---


def test_a_field_that_the_form_does_not_have_is_named(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    key = key_of(portal, id_, field=77)
    deliver(world, key)
    code, words = failure(world, key)
    assert code == "FIELD_UNKNOWN" and "its file fields are '2', '3'" in words
    assert statuses(portal, id_) == []


def test_a_field_that_takes_no_files_is_told_apart(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    key = key_of(portal, in_work(portal), field=1)
    deliver(world, key)
    code, words = failure(world, key)
    assert code == "FIELD_TAKES_NO_FILE" and "'2', '3'" in words


def test_a_status_that_the_form_does_not_know_is_named(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    deliver(world, status_key(portal, id_), status_body("Erledigt"))
    code, words = failure(world, status_key(portal, id_))
    assert code == "STATUS_UNKNOWN" and "'Abgeschlossen'" in words
    assert statuses(portal, id_) == []


@pytest.mark.parametrize(("missing_status", "what"), [(500, "document"), (404, "form")])
def test_a_document_that_does_not_exist_fails_at_once_with_words(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, missing_status: int, what: str
) -> None:
    portal.options.missing_status = missing_status
    form = form_of(portal) if what == "document" else portal.add_form("Leer")
    id_ = "999999" if what == "document" else in_work(portal)
    for last, body in ((f"{ANSWER_FIELD}/antwort.pdf", LETTER), ("status.json", status_body(DONE))):
        key = f"digitale-gemeinde/stadt/{form}/{id_}/{last}"
        deliver(world, key, body)
        code, words = failure(world, key)
        assert code == "NOT_FOUND" and "check formId and documentId in the key" in words


def test_a_drop_in_an_outage_waits_until_it_is_over(portal: SimulatedDigitaleGemeinde, world: MortalWorld) -> None:
    id_ = in_work(portal)
    portal.outage = True
    deliver(world, key_of(portal, id_))
    calm(world, rounds=2)
    assert world.receipt(key_of(portal, id_))["status"] == "IN_PROGRESS"
    portal.outage = False
    calm(world)
    assert held(portal, id_) == [("antwort.pdf", LETTER)] and portal.status_of(id_) == DONE


@pytest.mark.parametrize("body", [b"{", b'{"status": "Refund", "status": "Neu"}'])
def test_a_status_json_that_makes_no_sense_is_refused(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, body: bytes
) -> None:
    id_ = in_work(portal)
    deliver(world, status_key(portal, id_), body)
    assert failure(world, status_key(portal, id_))[0] == "STATUS_INVALID"
    assert statuses(portal, id_) == []


@pytest.mark.parametrize("rest", ["{form}/{id}/antwort.pdf", "{form}/{id}/3/ordner/antwort.pdf"])
def test_a_key_that_fits_no_rule_says_which_rules_there_are(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, rest: str
) -> None:
    key = f"digitale-gemeinde/stadt/{rest.format(form=form_of(portal), id=in_work(portal))}"
    deliver(world, key)
    code, words = failure(world, key)
    assert code == "KEY_FITS_NO_RULE" and "<formId>/<documentId>/<fieldId>/<file name>" in words
    assert portal.requests == []


# --- settings ---


def test_routes_header_and_status_names_are_settings(clock: Clock) -> None:
    """A portal that calls everything otherwise works both ways, when the secret says how."""
    names = {"new": "Offen", "processing": "L\u00e4uft", "done": "Fertig", "refund": "R\u00fcckzahlung"}
    routes = {
        "token": "POST /auth/v2/token",
        "count": "GET /v2/forms/count",
        "search": "POST /v2/forms/search",
        "details": "GET /v2/documents/{documentId}",
        "update": "PUT /v2/documents/{documentId}",
        "upload": "POST /v2/documents/{documentId}/{fieldId}",
    }
    options = Options(routes=routes, api_key_header="X-Api-Key", statuses=StatusNames(**names), state_key="State")
    portal = SimulatedDigitaleGemeinde(KEY, TENANT, options=options, clock=clock)
    world = MortalWorld("digitale-gemeinde", clock=clock)
    with serve(portal):
        portal.add_form()
        world.connect("stadt", secret_of(portal, routes=routes, apiKeyHeader="X-Api-Key", statuses=names))
        id_ = submit(portal, SCAN)
        world.settle(rounds=2)
        deliver(world, key_of(portal, id_))
        deliver(world, status_key(portal, id_), status_body(names["refund"]))
    wanted = [names[each] for each in ("processing", "done", "refund")]
    assert [status for status, _ in statuses(portal, id_)] == wanted
    assert (len(held(portal, id_)), portal.refunds(id_)) == (1, 1)


@pytest.mark.parametrize("kind", [Kind.HTML_WITH_200, Kind.GARBAGE_JSON])
def test_an_answer_that_is_no_apis_delivers_no_file(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, kind: Kind
) -> None:
    id_ = submit(portal, status=PROCESSING)
    fail(portal, kind, UPLOAD)
    key = key_of(portal, id_)
    world.drop(key, LETTER)
    world.drain()
    assert world.receipt(key)["status"] == "IN_PROGRESS"
    world.clock.forward(seconds=A_LONG_CALM.total_seconds())
    world.drain()
    assert world.receipt(key)["status"] == "DELIVERED"
    assert [file.content for file in portal.uploads(id_, ANSWER_FIELD)] == [LETTER]


@pytest.mark.parametrize("shape", [FileShape.OBJECT, FileShape.VALUE, FileShape.LIST])
def test_a_file_that_a_newer_one_may_hide_is_not_sent_again(
    portal: SimulatedDigitaleGemeinde, world: MortalWorld, shape: FileShape
) -> None:
    portal.options.file_shape = shape
    id_ = submit(portal, status=PROCESSING)
    key = key_of(portal, id_)
    fail(portal, Kind.LOST_ANSWER, UPLOAD)
    world.drop(key, LETTER)
    world.drain()
    world.drop(key, LETTER + b", neu")
    world.drain()
    world.clock.forward(seconds=A_LONG_CALM.total_seconds())
    world.drain()
    assert [file.content for file in portal.uploads(id_, ANSWER_FIELD)] == [LETTER, LETTER + b", neu"]
    rows = world.rows(f"DROP#outbox/{key}")
    failures = [row["failure"]["M"]["code"]["S"] for row in rows if "failure" in row]
    assert failures == ([] if shape is FileShape.LIST else ["OUTCOME_UNKNOWN"])
