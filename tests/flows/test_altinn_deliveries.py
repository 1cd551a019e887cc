"""Files and new instances go to Altinn exactly once, and a receipt says what became of them."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.portals.altinn import PROPOSAL, DataType, Instance, Issue, SimulatedAltinn, Task
from sandbox.portals.altinn.apps import DEFAULT_TASKS
from sandbox.portals.faults import Kind
from sandbox.portals.server import serve
from tests.flows.altinn_office import (
    CREATE,
    DATA,
    FORM,
    LETTER,
    NEXT,
    PDF,
    UPLOAD,
    ObservedAltinn,
    calm,
    new_world,
)
from tests.flows.conftest import LogLines
from tests.flows.mortality import MortalWorld
from tests.flows.world import OUTBOX, Clock

NAME = "Vedtak \u201eMai\u201c \u2013 \u65e5\u672c \U0001f4c4.pdf"
TEMPLATE = "altinn/etat/org/app/sak-17.instance.json"
OWNER = {"instanceOwner": {"partyId": "347829"}}
LOST = [Kind.LOST_ANSWER, Kind.RESET, Kind.SERVER_ERROR, Kind.HTML_WITH_200, Kind.TRUNCATED_BODY]


@pytest.fixture(params=["v1", PROPOSAL])
def either(clock: Clock, request: pytest.FixtureRequest) -> Iterator[ObservedAltinn]:
    """Provide a simulated Altinn of each dialect, reachable over HTTP."""
    portal = ObservedAltinn(clock, request.param)
    with serve(portal):
        yield portal


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


def key_of(instance: Instance, name: str = NAME, data_type: str = "attachment") -> str:
    """Return the outbox key of a file for an instance."""
    return f"altinn/etat/{instance.app.id}/{instance.id}/{data_type}/{name}"


def deliver(world: MortalWorld, key: str, content: bytes = LETTER, **metadata: str) -> dict[str, Any]:
    """Drop a PDF, let the function work, and return the event; underscores in names of metadata become hyphens."""
    named = {name.replace("_", "-"): value for name, value in metadata.items()}
    answer = world.client("s3").put_object(Bucket=OUTBOX, Key=key, Body=content, ContentType=PDF, Metadata=named)
    event = world.drop_event(key, answer["VersionId"], len(content))
    world.arrive(event)
    world.drain()
    return event


def deliver_template(world: MortalWorld, body: object, key: str = TEMPLATE) -> dict[str, Any]:
    """Drop a template, let the function work, and return the event."""
    return deliver(world, key, body if isinstance(body, bytes) else json.dumps(body).encode())


def held(altinn: ObservedAltinn, instance: Instance) -> list[tuple[str, str | None, str, bytes]]:
    """Return what was uploaded into an instance: data type, name, content type, content."""
    return [(each.data_type, each.filename, each.content_type, each.content) for each in altinn.uploads(instance)]


def failure(world: MortalWorld, key: str) -> tuple[str, str]:
    """Return code and message of a delivery that failed for good."""
    receipt = world.receipt(key)
    assert (receipt["status"], receipt["error"]["retryable"]) == ("FAILED", False)
    return receipt["error"]["code"], receipt["error"]["message"]


def states(world: MortalWorld, key: str) -> list[str]:
    """Return the steps that a receipt shows of a delivered drop."""
    receipt = world.receipt(key)
    assert (receipt["status"], receipt["error"]) == ("DELIVERED", None)
    return [each["state"] for each in receipt["history"]]


# --- a file ---


def test_a_file_becomes_a_data_element_with_its_name_and_content_type(either: ObservedAltinn, clock: Clock) -> None:
    world = new_world(either, clock)
    instance = either.submit(FORM)
    deliver(world, key_of(instance))
    assert held(either, instance) == [("attachment", NAME, PDF, LETTER)]
    receipt = world.receipt(key_of(instance))
    element_id = either.uploads(instance)[0].element_id
    assert states(world, key_of(instance))[-1] == "UPLOADED"
    assert receipt["portalId"] == element_id
    assert receipt["result"] == {"dataElementId": element_id, "instanceId": instance.id}
    assert either.process_steps(instance) == []
    assert [each["status"] for each in world.events_of("Delivery Updated")] == ["DELIVERED"]


@pytest.mark.parametrize("name", ["plain.pdf", 'with "quotes" \\ and ; = %41.pdf', "Gru\u0308\u00dfe.pdf", "..pdf"])
def test_any_file_name_comes_through(altinn: ObservedAltinn, world: MortalWorld, name: str) -> None:
    instance = altinn.submit(FORM)
    deliver(world, key_of(instance, name))
    assert [each.filename for each in altinn.uploads(instance)] == [name]


def test_a_large_file_is_streamed(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance, content = altinn.submit(FORM), bytes(range(256)) * 20_000
    deliver(world, key_of(instance), content)
    assert held(altinn, instance) == [("attachment", NAME, PDF, content)]


@pytest.mark.parametrize("kind", LOST)
def test_an_upload_whose_answer_is_lost_is_looked_up_before_it_is_repeated(
    either: ObservedAltinn, clock: Clock, kind: Kind
) -> None:
    world = new_world(either, clock)
    instance = either.submit(FORM)
    either.fail(kind, UPLOAD)
    deliver(world, key_of(instance))
    calm(world)
    assert held(either, instance) == [("attachment", NAME, PDF, LETTER)]
    assert states(world, key_of(instance))[-1] == "UPLOADED"


def test_an_equal_file_that_was_there_before_is_not_taken_for_the_one_that_was_sent(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    instance = altinn.submit(FORM)
    altinn.add_element(instance, ("attachment", NAME, PDF, LETTER[::-1]))
    altinn.fail(Kind.RESET, UPLOAD)
    deliver(world, key_of(instance))
    calm(world)
    assert held(altinn, instance) == [("attachment", NAME, PDF, LETTER)]


def test_a_second_version_and_the_same_again_are_deliveries_of_their_own(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    instance = altinn.submit(FORM)
    for content in (LETTER, LETTER[::-1], LETTER):
        altinn.fail(Kind.LOST_ANSWER, UPLOAD)
        deliver(world, key_of(instance), content)
        calm(world)
    assert [each.content for each in altinn.uploads(instance)] == [LETTER, LETTER[::-1], LETTER]


def test_a_version_that_was_lost_is_not_taken_for_another_one_as_long(either: ObservedAltinn, clock: Clock) -> None:
    world = new_world(either, clock)
    instance = either.submit(FORM)
    either.fail(Kind.RESET, UPLOAD)
    deliver(world, key_of(instance), LETTER)
    deliver(world, key_of(instance), LETTER[::-1])
    calm(world)
    assert [each.content for each in either.uploads(instance)] == [LETTER[::-1], LETTER]


def test_a_page_in_place_of_the_file_that_was_sent_is_no_reason_to_send_it_again(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    instance = altinn.submit(FORM)
    altinn.fail(Kind.LOST_ANSWER, UPLOAD)
    altinn.fail(Kind.HTML_WITH_200, DATA)
    deliver(world, key_of(instance))
    calm(world)
    assert held(altinn, instance) == [("attachment", NAME, PDF, LETTER)]
    assert states(world, key_of(instance))[-1] == "UPLOADED"


def test_an_event_that_comes_twice_changes_nothing(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(FORM)
    for event in (deliver(world, key_of(instance), process_next="true"), deliver_template(world, OWNER)):
        world.arrive(event)
        calm(world)
    assert len(altinn.uploads(instance)) == 1
    assert altinn.process_steps(instance) == ["Task_2"]
    assert len(altinn.created_instances()) == 1


# --- process/next ---


def test_process_next_moves_the_process_on_once(either: ObservedAltinn, clock: Clock) -> None:
    world = new_world(either, clock)
    instance = either.submit(FORM)
    deliver(world, key_of(instance), process_next="true")
    calm(world)
    assert either.process_steps(instance) == ["Task_2"]
    assert states(world, key_of(instance))[-2:] == ["UPLOADED", "PROCESS_MOVED_ON"]


@pytest.mark.parametrize("kind", LOST)
def test_process_next_whose_answer_is_lost_moves_on_once(
    altinn: ObservedAltinn, world: MortalWorld, kind: Kind
) -> None:
    instance = altinn.submit(FORM)
    altinn.fail(kind, NEXT)
    deliver(world, key_of(instance), process_next="true")
    calm(world)
    assert (len(altinn.uploads(instance)), altinn.process_steps(instance)) == (1, ["Task_2"])
    assert states(world, key_of(instance))[-1] == "PROCESS_MOVED_ON"


def test_the_last_task_leads_to_the_end_by_the_action_that_it_has(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(FORM, task="Task_2")
    deliver(world, key_of(instance), process_next="true")
    assert altinn.process_steps(instance) == ["EndEvent_1"]
    assert instance.process.ended is not None


def test_where_the_proposals_process_branches_the_receipt_says_so(clock: Clock) -> None:
    portal = ObservedAltinn(clock, PROPOSAL)
    portal.add_app(
        "org/app",
        tasks=(Task("Task_1", "Valg", leads_to=("Task_2", "Task_3")), DEFAULT_TASKS[1], Task("Task_3", "Betaling")),
    )
    with serve(portal):
        world, instance = new_world(portal, clock), portal.submit(FORM)
        deliver(world, key_of(instance), process_next="true")
        code, words = failure(world, key_of(instance))
        assert code == "PROCESS_BRANCHES" and "Task_2, Task_3" in words and "the file is there" in words
        assert (len(portal.uploads(instance)), portal.process_steps(instance)) == (1, [])


def test_the_proposals_process_is_moved_on_to_the_element_that_follows(clock: Clock) -> None:
    portal = ObservedAltinn(clock, PROPOSAL)
    with serve(portal):
        world, instance = new_world(portal, clock), portal.submit(FORM)
        deliver(world, key_of(instance), process_next="true")
        assert [each.query for each in portal.asked(NEXT)] == [(("id", "Task_2"),)]
        assert portal.process_steps(instance) == ["Task_2"]


def test_an_instance_whose_process_has_ended_takes_no_file_and_is_told_from_a_locked_one(
    either: ObservedAltinn, clock: Clock
) -> None:
    world = new_world(either, clock)
    instance = either.submit(FORM, ended=True)
    deliver(world, key_of(instance))
    code, words = failure(world, key_of(instance))
    assert code == "PROCESS_ENDED" and "takes no more files" in words
    assert either.uploads(instance) == []


@pytest.mark.parametrize("status", [409, 423])
def test_a_lock_is_waited_for(altinn: ObservedAltinn, world: MortalWorld, status: int) -> None:
    instance = altinn.submit(FORM)
    altinn.lock_instance(instance, times=3, status=status)
    deliver(world, key_of(instance), process_next="true")
    assert world.receipt(key_of(instance))["status"] == "IN_PROGRESS"
    calm(world, rounds=5)
    assert (len(altinn.uploads(instance)), altinn.process_steps(instance)) == (1, ["Task_2"])
    assert states(world, key_of(instance))[-1] == "PROCESS_MOVED_ON"


def test_validation_issues_become_the_receipts_error(either: ObservedAltinn, clock: Clock) -> None:
    world = new_world(either, clock)
    instance = either.submit(FORM)
    either.set_issues(instance, [Issue("ManglerSignatur", "Skjemaet er ikke signert")])
    deliver(world, key_of(instance), process_next="true")
    code, words = failure(world, key_of(instance))
    assert code == "VALIDATION_FAILED"
    assert "ManglerSignatur" in words and "Skjemaet er ikke signert" in words
    assert f"the file is there: {either.uploads(instance)[0].element_id}" in words
    assert either.process_steps(instance) == []


def test_process_next_that_is_neither_true_nor_false_is_named(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(FORM)
    deliver(world, key_of(instance), process_next="ja")
    code, words = failure(world, key_of(instance))
    assert code == "METADATA_INVALID" and "process-next" in words
    assert altinn.uploads(instance) == []


# --- mistakes in a key, and what the app refuses ---


def test_an_instance_that_does_not_exist_is_named(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(FORM)
    key = key_of(instance)
    altinn.purge(instance)
    deliver(world, key)
    code, words = failure(world, key)
    assert code == "NOT_FOUND" and "check partyId and instanceGuid" in words


def test_a_data_type_that_the_app_does_not_have_is_named(either: ObservedAltinn, clock: Clock) -> None:
    world = new_world(either, clock)
    instance = either.submit(FORM)
    deliver(world, key_of(instance, data_type="kvittering"))
    _, words = failure(world, key_of(instance, data_type="kvittering"))
    assert "kvittering" in words
    assert either.uploads(instance) == []


def test_an_app_that_is_not_the_connections_is_named(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(FORM, app="org/annet")
    for key in (key_of(instance), "altinn/etat/org/annet/sak.instance.json"):
        deliver_template(world, OWNER, key)
        code, words = failure(world, key)
        assert code == "APP_UNKNOWN" and "org/annet" in words and "org/app" in words
    assert altinn.requests == []


def test_an_instance_of_another_app_is_not_written_to(altinn: ObservedAltinn, world: MortalWorld) -> None:
    world.connect("etat", altinn.secret(apps=["org/app", "org/annet"]))
    instance = altinn.submit(FORM, app="org/annet")
    key = f"altinn/etat/org/app/{instance.id}/attachment/brev.pdf"
    deliver(world, key)
    assert failure(world, key)[0] == "APP_DIFFERS"
    assert altinn.uploads(instance) == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (DataType("vedtak", ("image/png",)), "ContentTypeNotAllowed"),
        (DataType("vedtak", max_count=0), "TooManyDataElementsOfType"),
    ],
)
def test_a_file_that_the_app_refuses_fails_with_the_apps_words(
    either: ObservedAltinn, clock: Clock, rule: DataType, code: str
) -> None:
    either.add_app("org/app", data_types=(DataType("model"), rule))
    world, instance = new_world(either, clock), either.submit(FORM)
    deliver(world, key_of(instance, data_type="vedtak"))
    said, words = failure(world, key_of(instance, data_type="vedtak"))
    assert said == "VALIDATION_FAILED" and code in words
    assert either.uploads(instance) == []


def test_a_file_that_is_too_large_for_its_type_is_refused(altinn: ObservedAltinn, world: MortalWorld) -> None:
    altinn.add_app("org/app", data_types=(DataType("model"), DataType("liten", max_megabytes=0)))
    instance = altinn.submit(FORM)
    deliver(world, key_of(instance, data_type="liten"))
    assert failure(world, key_of(instance, data_type="liten"))[0] == "TOO_LARGE"


@pytest.mark.parametrize("dialect", ["v1", PROPOSAL])
def test_an_empty_file_is_refused_by_the_app_and_said_so(clock: Clock, dialect: str) -> None:
    portal = ObservedAltinn(clock, dialect)
    with serve(portal):
        world, instance = new_world(portal, clock), portal.submit(FORM)
        deliver(world, key_of(instance), b"")
        code, words = failure(world, key_of(instance))
        assert code == "VALIDATION_FAILED" and "DataElementEmpty" in words


def test_a_drop_in_an_outage_waits_until_it_is_over(altinn: ObservedAltinn, world: MortalWorld) -> None:
    instance = altinn.submit(FORM)
    altinn.fail(Kind.SERVER_ERROR, "* /.*", times=None, status=503)
    deliver(world, key_of(instance))
    calm(world, rounds=2)
    assert world.receipt(key_of(instance))["status"] == "IN_PROGRESS"
    altinn.faults.clear()
    for _ in range(3):
        world.later("poll", hours=1)
    assert held(altinn, instance) == [("attachment", NAME, PDF, LETTER)]


@pytest.mark.parametrize("rest", ["org/app/brev.pdf", "org/app/1/2/brev.pdf", "org/app/1/2/attachment/mappe/brev.pdf"])
def test_a_key_that_fits_no_rule_says_which_rules_there_are(
    altinn: ObservedAltinn, world: MortalWorld, rest: str
) -> None:
    deliver(world, f"altinn/etat/{rest}")
    code, words = failure(world, f"altinn/etat/{rest}")
    assert code == "KEY_FITS_NO_RULE" and "<dataType>/<file name>" in words and "<name>.instance.json" in words
    assert altinn.requests == []


# --- a new instance ---


def test_a_template_becomes_an_instance(either: ObservedAltinn, clock: Clock) -> None:
    world = new_world(either, clock)
    deliver_template(world, {**OWNER, "dueBefore": "2027-01-31T12:00:00Z"})
    (instance,) = either.created_instances()
    assert (instance.party_id, instance.due_before) == (347829, "2027-01-31T12:00:00Z")
    assert states(world, TEMPLATE)[-1] == "CREATED"
    receipt = world.receipt(TEMPLATE)
    assert (receipt["portalId"], receipt["result"]) == (instance.id, {"instanceId": instance.id})


def test_a_template_with_data_becomes_an_instance_that_holds_it(either: ObservedAltinn, clock: Clock) -> None:
    world = new_world(either, clock)
    form = {"dataType": "model", "contentType": "application/xml", "text": "<skjema>\u00e6</skjema>"}
    letter = {
        "dataType": "attachment",
        "contentType": PDF,
        "fileName": NAME,
        "base64": base64.b64encode(LETTER).decode(),
    }
    deliver_template(world, {"instance": OWNER, "data": [form, letter]})
    (instance,) = either.created_instances()
    assert held(either, instance) == [
        ("model", None, "application/xml", "<skjema>\u00e6</skjema>".encode()),
        ("attachment", NAME, PDF, LETTER),
    ]
    assert states(world, TEMPLATE)[-1] == "CREATED"


@pytest.mark.parametrize("kind", LOST)
def test_a_new_instance_whose_answer_is_lost_is_not_asked_for_again(
    altinn: ObservedAltinn, world: MortalWorld, kind: Kind
) -> None:
    altinn.fail(kind, CREATE)
    event = deliver_template(world, OWNER)
    calm(world)
    world.arrive(event)
    world.drain()
    assert len(altinn.asked(CREATE)) == 1
    assert len(altinn.created_instances()) == (1 if kind in (Kind.LOST_ANSWER, Kind.TRUNCATED_BODY) else 0)
    code, words = failure(world, TEMPLATE)
    assert code == "OUTCOME_UNKNOWN" and "check at the portal" in words


@pytest.mark.parametrize("kind", [Kind.TOO_MANY_REQUESTS, Kind.EXPIRED_TOKEN])
def test_what_was_certainly_not_created_is_asked_for_again(
    altinn: ObservedAltinn, world: MortalWorld, kind: Kind
) -> None:
    world.connect("etat", altinn.secret(auth=altinn.maskinporten(altinn.known_login())))
    altinn.fail(kind, CREATE)
    deliver_template(world, OWNER)
    calm(world)
    assert len(altinn.created_instances()) == 1
    assert states(world, TEMPLATE)[-1] == "CREATED"


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"{", "TEMPLATE_INVALID", "no JSON"),
        (b"[]", "TEMPLATE_INVALID", "no object"),
        ({"appId": "org/annet", **OWNER}, "TEMPLATE_INVALID", "org/app"),
        ({"instance": OWNER, "data": [{"dataType": "model"}]}, "TEMPLATE_INVALID", "contentType"),
        ({"title": {"nb": "Uten eier"}}, "REFUSED", "Missing instanceOwner"),
        ({**OWNER, "dueBefore": "i morgen"}, "REFUSED", "dueBefore"),
    ],
)
def test_a_template_that_cannot_be_used_fails_with_words(
    altinn: ObservedAltinn, world: MortalWorld, body: object, code: str, said: str
) -> None:
    deliver_template(world, body)
    found, words = failure(world, TEMPLATE)
    assert (found, said in words) == (code, True), words
    assert altinn.created_instances() == []


def test_data_that_the_app_refuses_creates_no_instance(altinn: ObservedAltinn, world: MortalWorld) -> None:
    part = {"dataType": "model", "contentType": "image/png", "text": "x"}
    deliver_template(world, {"instance": OWNER, "data": [part]})
    code, words = failure(world, TEMPLATE)
    assert code == "VALIDATION_FAILED" and "ContentTypeNotAllowed" in words
    assert altinn.created_instances() == []


def test_an_app_that_does_not_exist_at_the_portal_is_named(altinn: ObservedAltinn, world: MortalWorld) -> None:
    world.connect("etat", altinn.secret(apps=["org/app", "org/glemt"]))
    key = "altinn/etat/org/glemt/sak.instance.json"
    deliver_template(world, OWNER, key)
    code, words = failure(world, key)
    assert code == "NOT_FOUND" and "the app does not exist" in words


def test_personal_words_of_the_portal_reach_the_receipt_and_no_log(
    altinn: ObservedAltinn, world: MortalWorld, log_lines: LogLines
) -> None:
    instance = altinn.submit(FORM)
    altinn.set_issues(instance, [Issue("Feil", "Kari Kanarienvogel har ikke signert")])
    deliver(world, key_of(instance, "kanarienvogel.pdf"), b"kanarienvogel", process_next="true")
    assert "Kari Kanarienvogel" in failure(world, key_of(instance, "kanarienvogel.pdf"))[1]
    assert "kanarienvogel" not in log_lines.text.lower()


# --- crashes ---


def calls_of(world: MortalWorld, key: str, content: bytes, **metadata: str) -> list[str]:
    """Return all calls that a fresh process makes to deliver an object."""
    world.services = world.new_services()
    world.drop(key, content, metadata)
    with world.lifeline.cut(0, after=False):
        world.drain()
    return world.lifeline.calls


def test_a_worker_that_dies_at_any_moment_uploads_and_moves_on_once(altinn: ObservedAltinn, world: MortalWorld) -> None:
    """To die after a call leaves what dying before the next one leaves, so each moment is tried once."""
    metadata = {"process-next": "true"}
    calls = calls_of(world, key_of(altinn.submit(FORM)), LETTER, **metadata)
    for moment in range(2, len(calls) + 1):
        instance = altinn.submit(FORM)
        world.drop(key_of(instance), LETTER, metadata)
        world.services = world.new_services()
        with world.lifeline.cut(moment, after=False):
            world.drain()
        assert world.lifeline.cut_at_call
        calm(world, rounds=2)
        assert len(altinn.uploads(instance)) == 1, world.lifeline.cut_at_call
        assert altinn.process_steps(instance) == ["Task_2"], world.lifeline.cut_at_call
        assert states(world, key_of(instance))[-1] == "PROCESS_MOVED_ON"


def test_a_worker_that_dies_at_any_moment_never_creates_two_instances(
    altinn: ObservedAltinn, world: MortalWorld
) -> None:
    body, unknown = json.dumps(OWNER).encode(), 0
    calls = calls_of(world, TEMPLATE, body)
    for moment in range(2, len(calls) + 1):
        before, key = len(altinn.created_instances()), f"altinn/etat/org/app/{moment}.instance.json"
        world.drop(key, body)
        world.services = world.new_services()
        with world.lifeline.cut(moment, after=False):
            world.drain()
        assert world.lifeline.cut_at_call
        calm(world, rounds=2)
        created = len(altinn.created_instances()) - before
        if world.receipt(key)["status"] == "DELIVERED":
            assert created == 1, world.lifeline.cut_at_call
        else:
            assert failure(world, key)[0] == "OUTCOME_UNKNOWN" and created <= 1, world.lifeline.cut_at_call
            unknown += 1
    assert unknown == 2, "a death between the note in the ledger and the call, or before the call's answer is noted"


def test_a_simulated_altinn_of_another_organisation_is_not_asked(clock: Clock, altinn: ObservedAltinn) -> None:
    """Given two connections, when a file is dropped for one, then the other's portal hears nothing of it."""
    other = SimulatedAltinn(clock=clock)
    with serve(other):
        world, instance = new_world(altinn, clock), altinn.submit(FORM)
        secret = altinn.secret(storageUrl=other.storage_url, appsUrl=other.apps_url)
        world.connect("annen-etat", secret)
        deliver(world, key_of(instance))
        assert len(altinn.uploads(instance)) == 1 and other.requests == []
