"""The trail of what the real verbs did, and documents found by the names of their files, at the simulated portals."""

import json
from hashlib import sha256

from amtsbote.operations import decisions, trail
from amtsbote.operations.details import show
from amtsbote.operations.documents import Question, documents
from amtsbote.operations.office import Office
from sandbox.portals.digitale_gemeinde import FileShape, Options, SimulatedDigitaleGemeinde
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import serve
from tests.flows.altinn_office import ATTACHMENT, FORM, ObservedAltinn, new_world
from tests.flows.conftest import LogLines
from tests.flows.mortality import MortalWorld
from tests.flows.test_operations import office_of, unreadable
from tests.flows.world import Clock, World

KEY, TENANT = "geheimer-schluessel", 17
PDF = "application/pdf"
EVERYTHING = Question()


def found_by(office: Office, name: str) -> list[str]:
    """Return the ids of the documents that have a file of that name."""
    return [each.id for each in documents(office, Question(file=name)).documents]


def is_whole(office: Office) -> bool:
    """Return whether there is a trail, and all of it is sound and of the functions."""
    checked = trail.check(office, EVERYTHING)
    return checked.documents > 0 and (checked.broken_count, checked.unsealed) == (0, 0)


# --- the trail ---


def test_a_documents_trail_tells_its_bytes_its_hash_and_the_portals_answer(
    duba: SimulatedDuba, duba_world: World
) -> None:
    id = str(duba.add_message())
    duba_world.settle()
    office = office_of(duba_world)
    steps = show(office, id).history
    stored, told = steps[-2:]
    body = duba_world.content(f"duba/klinikum/{id}/document.json")
    assert (stored.state, stored.sha256) == ("STORED", sha256(body).hexdigest())
    assert stored.size_bytes == sum(each["size"] for each in json.loads(body)["files"])
    assert (told.state, told.reason) == ("ACKNOWLEDGED", "DELETED")
    assert is_whole(office)
    assert trail.verified(office, id).wrong == ()


def test_each_function_logs_the_begin_of_each_steps_digest(
    duba: SimulatedDuba, duba_world: World, log_lines: LogLines
) -> None:
    id = str(duba.add_message())
    duba_world.settle()
    for past in show(office_of(duba_world), id).history:
        assert past.digest is not None
        assert any(past.digest[:16] in line for line in log_lines.lines)


def test_a_delivery_that_failed_has_its_trail(duba: SimulatedDuba, duba_world: World) -> None:
    office = office_of(duba_world)
    duba_world.drop("duba/klinikum/BetreuungAnregung/a.json", b"no JSON")
    duba_world.settle()
    lines = list(trail.lines(office, EVERYTHING))
    assert [line["state"] for line in lines if line["kind"] == "delivery"] == ["RECEIVED", "SENDING", "FAILED"]
    assert is_whole(office)


def test_a_released_document_is_in_the_trail_as_it_was_stored(duba: SimulatedDuba, duba_world: World) -> None:
    id = unreadable(duba)
    duba_world.settle()
    office = office_of(duba_world)
    decisions.release(office, id).do()
    duba_world.settle()
    released = next(past for past in show(office, id).history if past.state == "STORED")
    body = duba_world.content(f"duba/klinikum/{id}/document.json")
    assert (released.reason, released.sha256) == ("BY_HAND", sha256(body).hexdigest())
    assert released.by is not None
    assert released.by.startswith("operator:")
    assert is_whole(office)


# --- files ---


def test_a_message_is_found_by_the_name_of_its_zip(duba: SimulatedDuba, duba_world: World) -> None:
    ids = [str(duba.add_message()) for _ in range(2)]
    duba_world.settle()
    assert found_by(office_of(duba_world), f"message-{ids[0]}.zip") == [ids[0]]


def test_a_form_is_found_by_the_names_of_its_enclosures(clock: Clock) -> None:
    portal = SimulatedDigitaleGemeinde(KEY, TENANT, options=Options(file_shape=FileShape.LIST), clock=clock)
    form = portal.add_form()
    with serve(portal):
        world = MortalWorld("digitale-gemeinde", clock=clock)
        world.connect("stadt", {"baseUrl": portal.base_url, "apiKey": KEY, "tenantId": TENANT})
        id = portal.add_document(form, {"name": "x"}, {"beilage": [("Lageplan Süd.pdf", b"%PDF-1.7", PDF)]})
        portal.add_document(form, {"name": "y"}, {})
        world.settle("poll", "acknowledge", rounds=1)
    office = office_of(world)
    assert found_by(office, "lageplan süd.PDF") == [id]
    assert found_by(office, "Lageplan*") == [id]
    assert is_whole(office)


def test_an_instance_is_found_by_the_names_of_its_elements(clock: Clock) -> None:
    altinn = ObservedAltinn(clock)
    with serve(altinn):
        world = new_world(altinn, clock)
        instance = altinn.submit(FORM, ATTACHMENT)
        world.settle("poll", "acknowledge", rounds=1)
    office = office_of(world)
    assert found_by(office, ATTACHMENT.filename or "") == [instance.id]
    assert is_whole(office)
