"""Instances of an organisation's apps at Altinn arrive once, with all their files, and are confirmed after that."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from sandbox.portals.altinn import PROPOSAL, App, DataType, File, Instance, Login, SimulatedAltinn
from sandbox.portals.faults import Kind
from sandbox.portals.server import serve
from tests.flows.altinn_office import (
    ATTACHMENT,
    BEARER,
    COMPLETE,
    DATA,
    FORM,
    LIST,
    ONE,
    ObservedAltinn,
    is_byte_for_byte,
    is_safe_and_completed,
    is_stored_whole,
    new_world,
    recover,
    unhealthy,
    versions_of,
)
from tests.flows.conftest import LogLines
from tests.flows.mortality import MortalWorld, moments
from tests.flows.world import Clock

GRANT, EXCHANGE = "POST /maskinporten/token", "GET /authentication/.*"
CONFIRM = "PUT /storage/.*/confirmDownload"
PAGE = 100
SECONDS = 5


@pytest.fixture
def altinn(clock: Clock) -> Iterator[ObservedAltinn]:
    """Provide a simulated Altinn of today, reachable over HTTP."""
    portal = ObservedAltinn(clock)
    with serve(portal):
        yield portal


@pytest.fixture
def world(altinn: ObservedAltinn, clock: Clock) -> MortalWorld:
    """Provide a world with one connection, `etat`, that has a bearer token."""
    return new_world(altinn, clock)


@pytest.fixture
def proposed(clock: Clock) -> Iterator[ObservedAltinn]:
    """Provide a simulated Altinn that speaks the proposal."""
    portal = ObservedAltinn(clock, PROPOSAL)
    with serve(portal):
        yield portal


def many(altinn: ObservedAltinn, number: int, *files: File) -> list[Instance]:
    """Let so many instances be handed in, one a minute."""
    start = altinn.clock() - timedelta(days=3)
    return [altinn.submit(*files, created=start + timedelta(minutes=each)) for each in range(number)]


def polled(world: MortalWorld) -> list[str]:
    """Poll, fetch nothing, and return the ids that were queued to be fetched."""
    world.tick("poll")
    world.run("poll")
    return [json.loads(body)["id"] for queue, body in world.sqs.sent if queue == "fetch"]


def ids(*instances: Instance) -> set[str]:
    """Return the ids of instances."""
    return {each.id for each in instances}


# --- what arrives ---


def test_120_instances_over_two_pages_arrive_whole_and_are_completed_once_each_after_that(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    instances = many(altinn, 120, FORM)
    for each in instances[::6]:
        altinn.add_element(each, ATTACHMENT)
    world.settle("poll", rounds=1)
    assert world.received("etat") == ids(*instances)
    assert altinn.asked(COMPLETE) == []
    first, second = altinn.asked(LIST)
    query = {"appId": "org/app", "order": "asc:lastChanged", "confirmed": "false", "status.isHardDeleted": "false"}
    assert dict(first.query) == query
    assert dict(second.query).keys() == query.keys() | {"continuationToken"}
    world.settle("poll", "acknowledge", rounds=2)
    assert all(is_byte_for_byte(world, each) for each in instances)
    written = versions_of(world, "altinn/etat/")
    assert len(written) == len(set(written)) == 120 * 3 + 20, "the files, instance.json and document.json"
    assert [altinn.complete_calls(each) for each in instances] == [1] * 120
    assert {world.state("etat", each.id) for each in instances} == {"ACKNOWLEDGED"}
    assert {count for each in instances for count in altinn.downloads(each).values()} == {1}


def test_instance_json_is_the_answer_verbatim(altinn: ObservedAltinn, world: MortalWorld) -> None:
    world.connect("etat", altinn.secret(acknowledge="never"))
    instance = altinn.submit(FORM)
    world.settle()
    url = f"{altinn.storage_url}/instances/{instance.id}"
    answer = requests.get(url, headers={"Authorization": f"Bearer {BEARER}"}, timeout=SECONDS).content
    assert world.content(f"altinn/etat/{instance.id}/instance.json") == answer
    document = world.document("etat", instance.id)
    assert document["metadata"] == json.loads(answer)
    (event,) = world.events_of("Document Received")
    assert event["key"] == f"altinn/etat/{instance.id}/document.json"


def test_files_are_named_after_their_element_and_keep_name_and_content_type(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    strange = File("attachment", "../../etc/Gr\u00fc\u00dfe\x07.png", "image/png", b"\x89PNG")
    instance = altinn.submit(FORM, ATTACHMENT, ATTACHMENT, strange)
    world.settle()
    elements = list(instance.elements)
    files = world.document("etat", instance.id)["files"][1:]
    assert [each["portalName"] for each in files] == [None, ATTACHMENT.filename, ATTACHMENT.filename, strange.filename]
    assert [each["contentType"] for each in files] == ["application/xml", *["application/pdf"] * 2, "image/png"]
    assert [each["name"][:36] for each in files] == elements
    assert files[0]["name"] == f"{elements[0]}-model.xml"
    assert files[1]["name"] == f"{elements[1]}-{ATTACHMENT.filename}"
    assert "/" not in files[3]["name"] and files[3]["name"].endswith("Gr\u00fc\u00dfe.png")
    assert is_safe_and_completed(altinn, world, instance)


def test_an_instance_without_files_and_an_empty_file_arrive(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instances = [altinn.submit(), altinn.submit(File("attachment", "tom.txt", "text/plain", b""))]
    world.settle()
    assert all(is_safe_and_completed(altinn, world, each) for each in instances)


def test_a_large_file_goes_through_in_parts(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(File("attachment", "stor.bin", "application/octet-stream", bytes(range(256)) * 40_000))
    parts = world.calls("s3", "UploadPart")
    world.settle()
    assert is_safe_and_completed(altinn, world, instance)
    assert len(parts) >= 2


def test_every_app_of_the_secret_is_asked_and_no_other(altinn: ObservedAltinn, world: MortalWorld) -> None:
    world.connect("etat", altinn.secret(apps=["org/app", "org/byggesak"]))
    wanted = [altinn.submit(FORM), altinn.submit(FORM, app="org/byggesak")]
    other = altinn.submit(FORM, app="org/annet")
    world.settle()
    assert world.received("etat") == ids(*wanted)
    assert all(is_safe_and_completed(altinn, world, each) for each in wanted)
    assert altinn.confirmations(other) == []


@pytest.mark.parametrize("kind", [Kind.TRUNCATED_BODY, Kind.RESET, Kind.SERVER_ERROR])
def test_nothing_is_completed_while_a_file_is_missing(altinn: ObservedAltinn, world: MortalWorld, kind: Kind) -> None:
    instance = altinn.submit(FORM, ATTACHMENT)
    last = list(instance.elements)[-1]
    altinn.fail(kind, f"GET .*/data/{last}", times=None)
    world.settle()
    world.later(hours=1)
    assert (world.received("etat"), altinn.confirmations(instance)) == (set(), [])
    altinn.faults.clear()
    recover(world)
    assert is_safe_and_completed(altinn, world, instance)


def test_a_file_shorter_than_its_record_says_is_not_taken_for_whole(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(ATTACHMENT)
    (element,) = instance.elements.values()
    element.announced_size = element.size + 1
    world.settle()
    world.later(hours=2)
    assert (world.received("etat"), altinn.confirmations(instance)) == (set(), [])


# --- completing ---


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.SERVER_ERROR, Kind.RESET, Kind.HTML_WITH_200])
def test_a_completion_whose_answer_fails_counts_once(altinn: ObservedAltinn, world: MortalWorld, kind: Kind) -> None:
    instance = altinn.submit(FORM)
    altinn.fail(kind, COMPLETE)
    world.settle(rounds=1)
    world.later(hours=1, rounds=2)
    assert is_safe_and_completed(altinn, world, instance)
    assert len(world.events_of("Document Acknowledged")) == 1


@pytest.mark.parametrize("policy", ["never", "processed"])
def test_the_portal_is_told_when_the_secret_says_so(altinn: ObservedAltinn, world: MortalWorld, policy: str) -> None:
    world.connect("etat", altinn.secret(acknowledge=policy))
    instance = altinn.submit(FORM)
    world.settle()
    assert is_stored_whole(world, instance) and altinn.confirmations(instance) == []
    world.mark_processed("etat", instance.id)
    world.later(hours=1)
    assert len(altinn.confirmations(instance)) == (1 if policy == "processed" else 0)


def test_an_app_whose_policy_forbids_complete_stops_no_other(altinn: ObservedAltinn, world: MortalWorld) -> None:
    altinn.add_app("org/lukket", may_complete=False)
    world.connect("etat", altinn.secret(apps=["org/lukket", "org/app"]))
    closed, instance = altinn.submit(FORM, app="org/lukket"), altinn.submit(FORM)
    world.settle()
    assert is_safe_and_completed(altinn, world, instance)
    assert is_stored_whole(world, closed)
    assert world.state("etat", closed.id) != "ACKNOWLEDGED"


# --- the login ---


@pytest.fixture
def login(altinn: ObservedAltinn, world: MortalWorld) -> Login:
    """Provide a Maskinporten client, whose key the connection has."""
    login = altinn.known_login()
    world.connect("etat", altinn.secret(auth=altinn.maskinporten(login)))
    return login


def bought(altinn: ObservedAltinn) -> tuple[int, int]:
    """Return how many tokens Maskinporten and Altinn have issued."""
    return altinn.identities.grants, altinn.identities.exchanges


@pytest.mark.usefixtures("login")
def test_one_grant_and_one_exchange_serve_a_whole_run(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instances = many(altinn, 3, FORM, ATTACHMENT)
    world.settle(rounds=3)
    assert all(is_safe_and_completed(altinn, world, each) for each in instances)
    assert bought(altinn) == (1, 1)
    assert {each.status for each in altinn.requests} <= {200, 201}


@pytest.mark.usefixtures("login")
def test_tokens_are_renewed_before_they_are_refused(altinn: ObservedAltinn, world: MortalWorld) -> None:
    for _ in range(12):
        altinn.submit(FORM)
        world.later(minutes=5)
    assert {each.status for each in altinn.requests} <= {200, 201}
    assert 2 <= bought(altinn)[1] <= 4, "an hour: each of Altinn's tokens lives for half an hour"


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("call", [LIST, ONE, DATA, COMPLETE])
def test_tokens_that_end_early_are_renewed_once_and_nobody_notices(
    altinn: ObservedAltinn, world: MortalWorld, call: str
) -> None:
    altinn.fail(Kind.EXPIRED_TOKEN, call)
    instance = altinn.submit(FORM)
    world.settle(rounds=1)
    assert is_safe_and_completed(altinn, world, instance)
    assert bought(altinn)[1] == 2
    assert unhealthy(world) == []


@pytest.mark.usefixtures("login")
def test_when_both_tokens_have_ended_both_are_bought_once_more(altinn: ObservedAltinn, world: MortalWorld) -> None:
    world.settle(rounds=1)
    altinn.expire_tokens()
    instances = many(altinn, 3, FORM)
    world.settle()
    assert all(is_safe_and_completed(altinn, world, each) for each in instances)
    assert bought(altinn) == (2, 2)
    assert unhealthy(world) == []


def test_a_wrong_key_makes_the_connection_unhealthy_and_is_not_hammered(
    altinn: ObservedAltinn, world: MortalWorld, login: Login, log_lines: LogLines
) -> None:
    stranger = SimulatedAltinn().add_login()
    world.connect("etat", altinn.secret(auth=altinn.maskinporten(stranger)))
    instance = altinn.submit(FORM)
    for _ in range(30):
        world.later("poll", "acknowledge", minutes=2)
    assert unhealthy(world) == [("etat", "LOGIN_REFUSED")]
    assert {each.path for each in altinn.requests} == {"/maskinporten/token"}
    assert len(altinn.requests) <= 9, "an hour: nine tries at most"
    world.clock.forward(seconds=1)
    world.connect("etat", altinn.secret(auth=altinn.maskinporten(login)))
    world.settle()
    assert is_safe_and_completed(altinn, world, instance)
    assert [each["connection"] for each in world.events_of("Connection Recovered")] == ["etat"]
    assert "PRIVATE KEY" not in log_lines.text and "eyJ" not in log_lines.text


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"audience": "https://maskinporten.no/"}, "auth.audience"),
        ({"keyId": "key-2"}, "auth.keyId"),
        ({"clientId": "somebody"}, "auth.clientId"),
        ({"scopes": ["altinn:serviceowner/other"]}, "auth.scopes"),
        ({"privateKey": "-----BEGIN nothing"}, "auth.privateKey"),
    ],
)
def test_what_is_wrong_with_a_login_is_named(
    altinn: ObservedAltinn, world: MortalWorld, login: Login, log_lines: LogLines, wrong: dict[str, Any], field: str
) -> None:
    world.connect("etat", altinn.secret(auth=altinn.maskinporten(login, **wrong)))
    world.settle(rounds=1)
    assert [connection for connection, _ in unhealthy(world)] == ["etat"]
    (told, *_) = [line for line in log_lines.lines if line.startswith("connection unhealthy")]
    assert field in told


def test_a_bearer_token_that_is_refused_makes_the_connection_unhealthy(
    altinn: ObservedAltinn, world: MortalWorld, log_lines: LogLines
) -> None:
    altinn.revoke_bearer(BEARER)
    for _ in range(10):
        world.later("poll", "acknowledge", minutes=1)
    assert unhealthy(world) == [("etat", "LOGIN_REFUSED")]
    assert len(altinn.requests) <= 5
    assert BEARER not in log_lines.text


@pytest.mark.parametrize("call", [GRANT, EXCHANGE])
@pytest.mark.usefixtures("login")
def test_a_token_service_that_is_down_is_waited_for(altinn: ObservedAltinn, world: MortalWorld, call: str) -> None:
    altinn.fail(Kind.SERVER_ERROR, call, times=4, status=503)
    instance = altinn.submit(FORM)
    world.settle()
    for _ in range(4):
        world.later(minutes=20)
    assert is_safe_and_completed(altinn, world, instance)
    assert unhealthy(world) == []


# --- the virus scan ---


@pytest.fixture
def scanned(altinn: ObservedAltinn) -> App:
    """Provide an app whose attachments are scanned."""
    return altinn.add_app("org/app", data_types=(DataType("model"), DataType("attachment", scanned=True)))


@pytest.mark.usefixtures("scanned")
def test_a_file_that_is_being_scanned_is_waited_for(altinn: ObservedAltinn, world: MortalWorld) -> None:
    waiting, other = altinn.submit(FORM, ATTACHMENT._replace(scan_result="Pending")), altinn.submit(FORM)
    world.settle()
    world.later(hours=1)
    assert world.received("etat") == ids(other)
    assert set(altinn.downloads(waiting).values()) == {0}
    altinn.set_scan_result(waiting, "Clean")
    recover(world)
    assert is_safe_and_completed(altinn, world, waiting)


@pytest.mark.usefixtures("scanned")
def test_a_scan_that_begins_after_the_list_was_read_is_waited_for(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(FORM, ATTACHMENT)
    polled(world)
    altinn.set_scan_result(instance, "Pending")
    world.drain()
    assert (world.received("etat"), set(altinn.downloads(instance).values())) == (set(), {0})
    altinn.set_scan_result(instance, "Clean")
    recover(world)
    assert is_safe_and_completed(altinn, world, instance)


@pytest.mark.usefixtures("scanned")
@pytest.mark.parametrize("listed", ["Infected", "Clean"])
def test_an_infected_instance_is_quarantined_and_its_bytes_never_leave_the_portal(
    altinn: ObservedAltinn, world: MortalWorld, listed: str
) -> None:
    infected, other = altinn.submit(FORM, ATTACHMENT._replace(scan_result=listed)), altinn.submit(FORM)
    polled(world)
    altinn.set_scan_result(infected, "Infected", list(infected.elements)[1])
    world.settle()
    world.later(days=1, rounds=2)
    assert world.state("etat", infected.id) == "QUARANTINED"
    assert world.received("etat") == ids(other)
    assert world.inbox_keys(f"altinn/etat/{infected.id}/") == []
    assert set(altinn.downloads(infected).values()) == {0}
    assert altinn.confirmations(infected) == []
    (kept,) = world.inbox_keys(f"quarantine/altinn/etat/{infected.id}/instance.json")
    assert json.loads(world.content(kept))["id"] == infected.id


# --- what a list hides and what it repeats ---


def test_what_was_deleted_for_good_is_left_out(altinn: ObservedAltinn, world: MortalWorld) -> None:
    altinn.submit(FORM, hard_deleted=True)
    there, bin_ = altinn.submit(FORM), altinn.submit(FORM, soft_deleted=True)
    world.settle()
    assert world.received("etat") == ids(there, bin_)
    assert world.events_of("Document Unavailable") == []


@pytest.mark.parametrize("how", ["hard-deleted", "purged"])
def test_what_is_deleted_before_it_is_fetched_is_unavailable(
    altinn: ObservedAltinn, world: MortalWorld, how: str
) -> None:
    gone, there = altinn.submit(FORM), altinn.submit(FORM)
    polled(world)
    if how == "purged":
        altinn.purge(gone)
    else:
        gone.hard_deleted = altinn.clock()
    world.settle()
    assert world.state("etat", gone.id) == "UNAVAILABLE"
    assert [each["id"] for each in world.events_of("Document Unavailable")] == [gone.id]
    assert is_safe_and_completed(altinn, world, there)


@pytest.mark.parametrize("dialect", ["v1", PROPOSAL])
def test_current_task_narrows_what_is_fetched(clock: Clock, dialect: str) -> None:
    portal = ObservedAltinn(clock, dialect)
    with serve(portal):
        world = new_world(portal, clock, currentTask="Task_2")
        draft, handed_in = portal.submit(FORM), portal.submit(FORM, task="Task_2")
        ended = portal.submit(FORM, ended=True)
        world.settle()
        assert world.received("etat") == ids(handed_in)
        world.connect("etat", portal.secret())
        world.settle()
        assert world.received("etat") == ids(draft, handed_in, ended)


def test_the_last_page_may_be_empty(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instances = many(altinn, PAGE)
    assert set(polled(world)) == ids(*instances)
    assert len(altinn.asked(LIST)) == 2
    assert unhealthy(world) == []


def test_instances_that_change_while_pages_are_read_are_neither_lost_nor_fetched_twice(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    instances = many(altinn, PAGE + 5)
    moved = iter(instances[:3])

    def change_one() -> None:
        for each in moved:
            altinn.touch(each)
            return

    altinn.after_each_page(change_one)
    assert sorted(polled(world)) == sorted(ids(*instances))


def test_instances_of_one_and_the_same_moment_are_all_found(altinn: ObservedAltinn, world: MortalWorld) -> None:
    at = altinn.clock() - timedelta(hours=1)
    instances = [altinn.submit(created=at) for _ in range(PAGE + 5)]
    assert sorted(polled(world)) == sorted(ids(*instances))


def test_a_next_link_to_another_host_is_refused_and_the_token_stays_here(
    altinn: ObservedAltinn, world: MortalWorld, clock: Clock
) -> None:
    stranger = SimulatedAltinn(clock=clock)
    many(altinn, PAGE + 5)
    with serve(stranger):
        altinn.lead_next_to(stranger.base_url)
        assert polled(world) == []
        assert stranger.requests == []
    assert unhealthy(world) == [("etat", "FOREIGN_NEXT_LINK")]
    altinn.lead_next_to(None)
    world.clock.forward(hours=1)
    assert len(polled(world)) == PAGE + 5


def test_an_instance_that_changes_before_it_is_completed_arrives_as_it_was_fetched_and_once(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    instance = altinn.submit(FORM)
    world.settle("poll", rounds=1)
    altinn.touch(instance, altinn.clock() + timedelta(minutes=1))
    world.later(minutes=5, rounds=3)
    assert is_safe_and_completed(altinn, world, instance)
    assert altinn.complete_calls(instance) == 1


def test_an_instance_that_was_changed_long_ago_and_shows_up_late_arrives(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    """v1 asks for what is not confirmed, whenever it was changed: no bare date, no watermark that could hide it."""
    known = altinn.submit(FORM)
    world.settle()
    late = altinn.submit(FORM, created=altinn.clock() - timedelta(days=30))
    world.later(minutes=5)
    assert is_safe_and_completed(altinn, world, known) and is_safe_and_completed(altinn, world, late)


@pytest.mark.parametrize("call", [LIST, ONE, COMPLETE])
def test_retry_after_is_obeyed(altinn: ObservedAltinn, world: MortalWorld, call: str) -> None:
    instance = altinn.submit(FORM)
    altinn.fail(Kind.TOO_MANY_REQUESTS, call, retry_after=37)
    world.settle(rounds=1)
    while not altinn.confirmations(instance) and len(altinn.requests) < 60:
        world.later(seconds=1)
    (number,) = [number for number, each in enumerate(altinn.requests) if each.status == 429]
    waited = altinn.requests[number + 1].at - altinn.requests[number].at
    assert waited == timedelta(seconds=37)
    assert is_safe_and_completed(altinn, world, instance)


# --- the proposal ---


def test_the_proposals_instances_arrive_and_their_downloads_are_confirmed_once(
    proposed: ObservedAltinn, clock: Clock
) -> None:
    world = new_world(proposed, clock)
    instances = many(proposed, 4, FORM, ATTACHMENT)
    world.settle(rounds=2)
    assert all(is_stored_whole(world, each) for each in instances)
    assert len(proposed.asked(CONFIRM)) == 4, "all files of an instance by one call"
    assert {len(each) for one in instances for each in proposed.confirmed_downloads(one).values()} == {1}
    world.later(days=1, rounds=2)
    assert len(proposed.asked(CONFIRM)) == 4
    assert set(map(len, map(proposed.confirmed_downloads, instances))) == {2}


def test_the_proposals_pages_are_followed_to_the_end(proposed: ObservedAltinn, clock: Clock) -> None:
    instances = many(proposed, 2 * PAGE + 5)
    assert sorted(polled(new_world(proposed, clock))) == sorted(ids(*instances))
    assert len(proposed.asked(LIST)) == 3


def test_the_proposals_times_are_asked_with_an_operator_and_in_utc(proposed: ObservedAltinn, clock: Clock) -> None:
    world = new_world(proposed, clock)
    first = proposed.submit(FORM)
    world.settle()
    world.later(days=5)
    second = proposed.submit(FORM)
    world.later(minutes=5)
    assert world.received("etat") == ids(first, second)
    asked = [dict(each.query).get("lastChanged") for each in proposed.asked(LIST)]
    bounds = [each for each in asked if each is not None]
    assert bounds and all(each.startswith("gte:") and each.endswith("Z") for each in bounds)


def test_the_proposals_hard_deleted_ones_are_left_out(proposed: ObservedAltinn, clock: Clock) -> None:
    world = new_world(proposed, clock)
    gone, there = proposed.submit(FORM, hard_deleted=True), proposed.submit(FORM, ATTACHMENT)
    world.settle()
    assert world.received("etat") == ids(there)
    assert set(proposed.downloads(gone).values()) == {0}


# --- crashes ---


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_at_any_call_to_the_portal_costs_nothing(
    altinn: ObservedAltinn, world: MortalWorld, after: bool
) -> None:
    world.settle(rounds=1)  # the first time of all a connection is enrolled
    world.later(rounds=1, hours=1)  # and soon after its change a secret is read each time
    altinn.submit(FORM, ATTACHMENT)
    world.services = world.new_services()
    with world.lifeline.cut(0, after=after):
        world.settle(rounds=1)
    calls = world.lifeline.calls
    portal_calls = [number for number in moments(calls, after=after) if " /" in calls[number - 1]]
    assert len(portal_calls) == 5, "the list, the instance, its two files, the completion"
    for moment in portal_calls:
        instance = altinn.submit(FORM, ATTACHMENT)
        world.services = world.new_services()
        with world.lifeline.cut(moment, after=after):
            world.settle(rounds=1)
        assert world.lifeline.cut_at_call
        recover(world)
        assert is_safe_and_completed(altinn, world, instance), world.lifeline.cut_at_call
        assert len([e for e in world.events_of("Document Acknowledged") if e["id"] == instance.id]) == 1


def test_nothing_personal_and_nothing_secret_is_logged_or_told(
    altinn: ObservedAltinn, world: MortalWorld, log_lines: LogLines
) -> None:
    altinn.submit(File("attachment", "kanarienvogel.pdf", "application/pdf", b"kanarienvogel"))
    altinn.submit(File("attachment", "kanarienvogel.exe", "text/plain", b"kanarienvogel", "Infected"))
    world.settle()
    assert "kanarienvogel" not in (log_lines.text + json.dumps(world.events())).lower()
