"""Altinn as a destination: files, processes and new instances, each sent once whatever happens in between."""

import email
import json
import unicodedata
from email.message import Message
from typing import Any

import pytest

from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, OutOfTime, Reject, Retry
from amtsbote.http import Transport
from amtsbote.portals.altinn import PORTAL
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Delivery, Destination, Drop, Outcome
from amtsbote.tokens import TokenCache
from tests.unit.portals.altinn.conftest import (
    ELEMENT,
    GET_INSTANCE,
    GUID,
    ID,
    LOST,
    NOW,
    OF_APP,
    PARTY,
    Asked,
    Notes,
    ScriptedPortal,
    Secret,
    ToDestination,
    drop,
    element,
    instance,
)

ADD = f"POST {OF_APP}/data/model1"
SENT = b"<svar/>"
PROCESS, NEXT = f"GET {OF_APP}/process", f"PUT {OF_APP}/process/next"
CREATE = "POST /org/app/instances"
NEW = "0d1c3b1e-0000-4000-8000-000000000001"
GET_NEW = f"{GET_INSTANCE}/data/{NEW}"
ISSUES = [{"severity": 1, "code": "ContentTypeNotAllowed", "description": "Only XML is taken"}]


@pytest.fixture
def destination(destination_of: ToDestination) -> Destination:
    return destination_of()


@pytest.fixture
def proposed(destination_of: ToDestination) -> Destination:
    return destination_of(dialect="proposal")


def data_drop(name: str = "svar.xml", data_type: str = "model1", **more: Any) -> Drop:
    return drop("org", "app", PARTY, GUID, data_type, name, **more)


def template_drop(said: Any = None, name: str = "brev.instance.json") -> Drop:
    content = said if isinstance(said, bytes) else json.dumps(said or {"instanceOwner": {"partyId": PARTY}}).encode()
    return drop("org", "app", name, content=content, content_type="application/json")


def at(task: str | None, flow: int = 2, kind: str = "data", **more: Any) -> dict[str, Any]:
    """A process at a task."""
    current = None if task is None else {"elementId": task, "flow": flow, "altinnTaskType": kind}
    return {"started": "2026-01-01T00:00:00Z", "currentTask": current} | more


# a file


def test_a_file_becomes_a_data_element(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, {"newDataElementId": NEW, "instance": instance(), "newDataModels": []}, status=201)
    delivery = destination.deliver(data_drop(), Notes())
    assert (delivery.portal_id, delivery.outcome) == (NEW, Outcome.DELIVERED)
    assert delivery.result == {"dataElementId": NEW, "instanceId": ID}
    (asked,) = portal.requests(ADD)
    assert (asked.body, asked.headers["Content-Type"]) == (b"<svar/>", "application/xml")
    assert asked.headers["Content-Length"] == "7" and "Transfer-Encoding" not in asked.headers


def test_the_proposal_takes_the_data_type_as_a_parameter(proposed: Destination, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(f"POST {OF_APP}/data", element(NEW), status=201)
    assert proposed.deliver(data_drop(), Notes()).portal_id == NEW
    assert portal.asked[-1].query == [("dataType", "model1")]


@pytest.mark.parametrize(
    "name",
    [
        "svar.xml",
        "Søknad om løyve – Æ.pdf",
        "日本語.txt",
        'with "quotes" and \\.txt',
        "x\r\nX-Injected: 1.txt",
        "50% + 1;a=b.txt",
    ],
)
def test_any_name_arrives_and_none_begins_a_new_header(
    destination: Destination, portal: ScriptedPortal, name: str
) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, element(NEW), status=201)
    destination.deliver(data_drop(name), Notes())
    asked = portal.asked[-1]
    assert "X-Injected" not in asked.headers
    assert star_name_of(asked.headers["Content-Disposition"]) == name


def star_name_of(disposition: str) -> str:
    """The file name as a reader of RFC 6266 understands it."""
    message = Message()
    message["Content-Disposition"] = "attachment;" + disposition.rpartition(";")[2]
    name = message.get_filename()
    assert disposition.isascii() and name is not None
    return name


def test_a_content_type_that_is_none_is_not_passed_on(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, element(NEW), status=201)
    destination.deliver(data_drop(content_type="x\r\nX-Injected: 1"), Notes())
    assert portal.asked[-1].headers["Content-Type"] == "application/octet-stream"


def test_an_empty_file_is_sent_with_its_length(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, element(NEW), status=201)
    destination.deliver(data_drop(content=b""), Notes())
    assert portal.asked[-1].headers["Content-Length"] == "0"


# a file: repeats


def test_an_upload_whose_answer_was_lost_is_found_and_not_repeated(
    destination: Destination, portal: ScriptedPortal
) -> None:
    notes = Notes()
    portal.answers(GET_INSTANCE, instance(data=[element()]))
    portal.answers(ADD, LOST)
    with pytest.raises(Retry):
        destination.deliver(data_drop("svar.xml"), notes)
    portal.forgets(GET_INSTANCE)
    portal.answers(GET_INSTANCE, instance(data=[element(), element(NEW, filename="svar.xml")]))
    portal.answers(GET_NEW, SENT)
    assert destination.deliver(data_drop("svar.xml"), notes.after_a_crash()).portal_id == NEW
    assert len(portal.requests(ADD)) == 1


def test_an_upload_that_never_arrived_is_repeated(destination: Destination, portal: ScriptedPortal) -> None:
    notes = Notes()
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, LOST)
    portal.answers(ADD, element(NEW), status=201)
    with pytest.raises(Retry):
        destination.deliver(data_drop(), notes)
    assert destination.deliver(data_drop(), notes.after_a_crash()).portal_id == NEW
    assert [asked.body for asked in portal.requests(ADD)] == [b"<svar/>"] * 2


def test_an_equal_file_that_was_there_before_is_not_taken_for_ours(
    destination: Destination, portal: ScriptedPortal
) -> None:
    notes = Notes()
    portal.answers(GET_INSTANCE, instance(data=[element(filename="svar.xml")]))
    portal.answers(ADD, LOST)
    portal.answers(ADD, element(NEW), status=201)
    with pytest.raises(Retry):
        destination.deliver(data_drop("svar.xml"), notes)
    assert destination.deliver(data_drop("svar.xml"), notes.after_a_crash()).portal_id == NEW


@pytest.mark.parametrize(
    ("other", "sent"),
    [
        ({"filename": "other.xml"}, 2),
        ({"size": 8}, 2),
        ({"dataType": "model2"}, 2),
        ({"deleteStatus": {"isHardDeleted": True}}, 2),
        ({"size": None}, 1),
        ({"filename": unicodedata.normalize("NFD", "svår.xml")}, 1),
    ],
)
def test_only_an_equal_file_is_adopted(
    destination: Destination, portal: ScriptedPortal, other: dict[str, Any], sent: int
) -> None:
    dropped, notes = data_drop("svår.xml"), Notes()
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(GET_INSTANCE, instance(data=[element(NEW, **({"filename": "svår.xml"} | other))]))
    portal.answers(GET_NEW, SENT)
    portal.answers(ADD, LOST)
    portal.answers(ADD, element("another"), status=201)
    with pytest.raises(Retry):
        destination.deliver(dropped, notes)
    destination.deliver(dropped, notes.after_a_crash())
    assert len(portal.requests(ADD)) == sent


def test_what_is_delivered_is_not_looked_for_again(destination: Destination, portal: ScriptedPortal) -> None:
    notes = Notes(state={"dataElementId": NEW})
    assert destination.deliver(data_drop(), notes).portal_id == NEW
    assert portal.asked == []


def test_an_answer_without_an_id_is_looked_up_by_the_next_try(destination: Destination, portal: ScriptedPortal) -> None:
    notes = Notes()
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(GET_INSTANCE, instance(data=[element(NEW, filename="svar.xml")]))
    portal.answers(GET_NEW, SENT)
    portal.answers(ADD, {}, status=201)
    with pytest.raises(Retry):
        destination.deliver(data_drop("svar.xml"), notes)
    assert destination.deliver(data_drop("svar.xml"), notes.after_a_crash()).portal_id == NEW


# a file: refusals


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, ISSUES, "VALIDATION_FAILED"),
        (400, {"title": "File validation failed", "uploadValidationIssues": ISSUES}, "VALIDATION_FAILED"),
        (409, {"title": "Conflict", "validationIssues": [{"source": "File", "issues": ISSUES}]}, "VALIDATION_FAILED"),
        (413, b"", "TOO_LARGE"),
        (415, b"", "CONTENT_TYPE_REFUSED"),
        (422, b"", "REFUSED"),
        (403, b"", "FORBIDDEN"),
        (404, b"", "NOT_FOUND"),
    ],
)
def test_a_refused_file_has_failed(
    destination: Destination, portal: ScriptedPortal, status: int, body: Any, code: str
) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, body, status=status)
    with pytest.raises(Reject) as refusal:
        destination.deliver(data_drop(), Notes())
    assert refusal.value.code == code
    if body:
        assert "ContentTypeNotAllowed: Only XML is taken" in (refusal.value.portal_words or "")
        assert "Only XML" not in str(refusal.value)


@pytest.mark.parametrize("status", [409, 423, 429, 500, 503])
def test_a_lock_or_an_outage_is_tried_later(destination: Destination, portal: ScriptedPortal, status: int) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, {"title": "Conflict"}, status=status)
    with pytest.raises(Retry):
        destination.deliver(data_drop(), Notes())


def test_a_data_type_that_does_not_exist_is_named(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(data=[]))
    portal.answers(ADD, b"", status=404)
    with pytest.raises(Reject, match="data type 'model1'"):
        destination.deliver(data_drop(), Notes())


def test_an_instance_that_does_not_exist_is_named(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, b"", status=404)
    with pytest.raises(Reject, match="instanceGuid"):
        destination.deliver(data_drop(), Notes())


def test_an_instance_of_another_app_is_named(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance(appId="org/other"))
    with pytest.raises(Reject, match="APP_DIFFERS"):
        destination.deliver(data_drop(), Notes())


def test_an_app_that_is_not_connected_gets_nothing(destination: Destination, portal: ScriptedPortal) -> None:
    with pytest.raises(Reject, match="APP_UNKNOWN"):
        destination.deliver(drop("org", "other", PARTY, GUID, "model1", "svar.xml"), Notes())
    assert portal.asked == []


@pytest.mark.parametrize(
    "path", [("org", "app"), ("org", "app", "brev.json"), ("org", "app", PARTY, GUID, "svar.xml"), ("a",) * 7]
)
def test_a_key_that_fits_no_rule_is_refused(destination: Destination, path: tuple[str, ...]) -> None:
    with pytest.raises(Reject, match="KEY_FITS_NO_RULE"):
        destination.deliver(drop(*path), Notes())


@pytest.mark.parametrize("climbing", [("..", GUID), (PARTY, "."), ("", GUID)])
def test_a_key_that_climbs_is_refused(
    destination: Destination, portal: ScriptedPortal, climbing: tuple[str, str]
) -> None:
    with pytest.raises(Reject, match="WRONG_ID"):
        destination.deliver(drop("org", "app", *climbing, "model1", "svar.xml"), Notes())
    assert portal.asked == []


# the process


@pytest.fixture
def uploaded(portal: ScriptedPortal) -> Notes:
    """The notes of a delivery whose file is there."""
    return Notes(state={"dataElementId": NEW}, saved={"dataElementId": NEW})


def test_the_process_moves_on_where_that_is_asked_for(
    destination: Destination, portal: ScriptedPortal, uploaded: Notes
) -> None:
    portal.answers(PROCESS, at("Task_1"))
    portal.answers(NEXT, at("Task_2", 3))
    delivery = destination.deliver(data_drop(process_next="true"), uploaded)
    assert [step.state for step in delivery.steps] == ["UPLOADED", "PROCESS_MOVED_ON"]
    assert portal.asked[-1].json == {"action": "write"}


@pytest.mark.parametrize(
    ("kind", "body"), [("data", {"action": "write"}), ("confirmation", {"action": "confirm"}), ("signing", {})]
)
def test_the_action_is_the_one_of_the_task(
    destination: Destination, portal: ScriptedPortal, uploaded: Notes, kind: str, body: dict[str, str]
) -> None:
    portal.answers(PROCESS, at("Task_1", kind=kind))
    portal.answers(NEXT, b"")
    destination.deliver(data_drop(process_next="TRUE"), uploaded)
    assert portal.asked[-1].json == body


@pytest.mark.parametrize(("reachable", "query"), [(["Task_2"], [("id", "Task_2")]), ([], []), ([{"id": "Task_2"}], [])])
def test_the_proposal_moves_on_to_the_element_that_follows(
    proposed: Destination,
    portal: ScriptedPortal,
    uploaded: Notes,
    reachable: list[object],
    query: list[tuple[str, str]],
) -> None:
    portal.answers(PROCESS, at("Task_1"))
    portal.answers(NEXT.replace("PUT", "GET"), reachable)
    portal.answers(NEXT, at("Task_2", 3))
    proposed.deliver(data_drop(process_next="true"), uploaded)
    assert (portal.asked[-1].body, portal.asked[-1].query) == (b"", query)


@pytest.mark.parametrize("metadata", [{}, {"process_next": "false"}])
def test_the_process_stays_where_nothing_is_asked(
    destination: Destination, portal: ScriptedPortal, uploaded: Notes, metadata: dict[str, str]
) -> None:
    destination.deliver(data_drop(**metadata), uploaded)
    assert portal.asked == []


def test_a_wish_that_is_neither_is_refused_before_anything_is_sent(
    destination: Destination, portal: ScriptedPortal
) -> None:
    with pytest.raises(Reject, match="METADATA_INVALID"):
        destination.deliver(data_drop(process_next="yes"), Notes())
    assert portal.asked == []


@pytest.mark.parametrize("later", [at("Task_2", 3), at("Task_1", 4), at(None, ended="2026-01-02T00:00:00Z")])
def test_a_process_that_has_moved_is_not_moved_again(
    destination: Destination, portal: ScriptedPortal, uploaded: Notes, later: dict[str, Any]
) -> None:
    portal.answers(PROCESS, at("Task_1", 2))
    portal.answers(NEXT, LOST)
    with pytest.raises(Retry):
        destination.deliver(data_drop(process_next="true"), uploaded)
    portal.forgets(PROCESS)
    portal.answers(PROCESS, later)
    delivery = destination.deliver(data_drop(process_next="true"), uploaded.after_a_crash())
    assert delivery.outcome is Outcome.DELIVERED
    assert len(portal.requests(NEXT)) == 1


def test_a_process_that_has_not_moved_is_asked_again(
    destination: Destination, portal: ScriptedPortal, uploaded: Notes
) -> None:
    portal.answers(PROCESS, at("Task_1"))
    portal.answers(NEXT, {"title": "locked"}, status=409)
    portal.answers(NEXT, at("Task_2", 3))
    with pytest.raises(Retry, match="LOCKED"):
        destination.deliver(data_drop(process_next="true"), uploaded)
    destination.deliver(data_drop(process_next="true"), uploaded.after_a_crash())
    assert len(portal.requests(NEXT)) == 2


def test_a_process_that_has_ended_already_is_left_alone(
    destination: Destination, portal: ScriptedPortal, uploaded: Notes
) -> None:
    portal.answers(PROCESS, at(None, ended="2026-01-02T00:00:00Z"))
    delivery = destination.deliver(data_drop(process_next="true"), uploaded)
    assert [step.state for step in delivery.steps] == ["UPLOADED", "PROCESS_ENDED"]


def test_a_task_that_cannot_be_ended_says_why_and_that_the_file_is_there(
    destination: Destination, portal: ScriptedPortal, uploaded: Notes
) -> None:
    portal.answers(PROCESS, at("Task_1"))
    portal.answers(NEXT, {"title": "Validation failed", "validationIssues": ISSUES}, status=409)
    with pytest.raises(Reject, match=rf"VALIDATION_FAILED.*the file is there: {NEW}") as refusal:
        destination.deliver(data_drop(process_next="true"), uploaded)
    assert "ContentTypeNotAllowed" in (refusal.value.portal_words or "")


# a new instance


def parts_of(asked: Asked) -> list[tuple[str, str | None, str, bytes]]:
    """The parts as (name, file name, content type, content)."""
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + asked.body)
    assert message.is_multipart() and not message.defects
    found = []
    for part in message.get_payload():
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = part.get_param("name", header="content-disposition")
        found.append((str(name), part.get_filename(), part.get_content_type(), content))
    return found


def test_an_instance_is_created_from_a_template(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(CREATE, instance(), status=201)
    notes = Notes()
    delivery = destination.deliver(template_drop({"instanceOwner": {"personNumber": "12247918309"}}), notes)
    assert (delivery.portal_id, delivery.result) == (ID, {"instanceId": ID})
    ((name, file_name, content_type, content),) = parts_of(portal.asked[-1])
    assert (name, file_name, content_type) == ("instance", None, "application/json")
    assert json.loads(content) == {"instanceOwner": {"personNumber": "12247918309"}}


def test_files_can_go_with_an_instance(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(CREATE, instance(), status=201)
    said = {
        "instance": {"appId": "org/app"},
        "data": [
            {"dataType": "model1", "contentType": "application/xml", "text": "<skjema>æ</skjema>"},
            {"dataType": "cert", "contentType": "application/pdf", "fileName": "c.pdf", "base64": "JVBERi0AAQ=="},
        ],
    }
    destination.deliver(template_drop(said), Notes())
    assert parts_of(portal.asked[-1]) == [
        ("instance", None, "application/json", b'{"appId": "org/app"}'),
        ("model1", None, "application/xml", "<skjema>æ</skjema>".encode()),
        ("cert", "c.pdf", "application/pdf", b"%PDF-\x00\x01"),
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"{", "no JSON"),
        (b'{"a": NaN}', "no JSON"),
        (b"[]", "no object"),
        (b"\xff", "no JSON"),
        ({"appId": "org/other"}, "appId"),
        ({"instance": []}, "instance"),
        ({"instance": {}, "more": 1}, "more"),
        ({"instance": {}, "data": [{"dataType": "m", "contentType": "a/b"}]}, "either text or base64"),
        ({"instance": {}, "data": [{"dataType": "m", "contentType": "a/b", "base64": "?"}]}, "base64"),
        ({"instance": {}, "data": [{"dataType": "m\r\nX: 1", "contentType": "a/b", "text": ""}]}, "dataType"),
        (b" " * (1024 * 1024 + 1), "TEMPLATE_TOO_LARGE"),
    ],
)
def test_a_template_that_is_none_is_refused_before_anything_is_asked(
    destination: Destination, portal: ScriptedPortal, said: Any, words: str
) -> None:
    with pytest.raises(Reject, match=words):
        destination.deliver(template_drop(said), Notes())
    assert portal.asked == []


def test_a_byte_order_mark_does_no_harm(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(CREATE, instance(), status=201)
    destination.deliver(template_drop(b"\xef\xbb\xbf{}"), Notes())
    assert parts_of(portal.asked[-1])[0][3] == b"{}"


def test_it_is_written_down_before_the_portal_is_asked(destination: Destination, portal: ScriptedPortal) -> None:
    notes, seen = Notes(), []

    def created(_: Asked) -> Any:
        seen.append(dict(notes.saved))
        return instance()

    portal.answers(CREATE, created, status=201)
    destination.deliver(template_drop(), notes)
    assert seen == [{"asked": True}]


def test_a_lost_answer_is_an_unknown_outcome(destination: Destination, portal: ScriptedPortal) -> None:
    portal.answers(CREATE, LOST)
    with pytest.raises(Reject, match=r"OUTCOME_UNKNOWN.*check at the portal"):
        destination.deliver(template_drop(), Notes())


def test_a_try_after_a_crash_does_not_ask_again(destination: Destination, portal: ScriptedPortal) -> None:
    with pytest.raises(Reject, match="OUTCOME_UNKNOWN"):
        destination.deliver(template_drop(), Notes(state={"asked": True}))
    assert portal.asked == []


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (502, b""), (503, b""), (201, b"<html/>"), (201, {"id": GUID}), (201, [])]
)
def test_an_answer_that_does_not_say_what_happened_is_an_unknown_outcome(
    destination: Destination, portal: ScriptedPortal, status: int, body: Any
) -> None:
    portal.answers(CREATE, body, status=status)
    notes = Notes()
    with pytest.raises(Reject, match="OUTCOME_UNKNOWN"):
        destination.deliver(template_drop(), notes)
    assert notes.saved == {"asked": True}


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (400, {}, Reject),
        (403, {}, Reject),
        (404, {}, Reject),
        (401, {}, Misconfigured),
        (409, {}, Retry),
        (429, {}, Retry),
        (503, {"Retry-After": "60"}, Retry),
    ],
)
def test_a_clear_refusal_is_none(
    destination: Destination,
    portal: ScriptedPortal,
    status: int,
    headers: dict[str, str],
    kind: type[AmtsboteError],
) -> None:
    portal.answers(CREATE, b"", status=status, headers=headers)
    portal.answers(CREATE, instance(), status=201)
    notes = Notes()
    with pytest.raises(kind) as refusal:
        destination.deliver(template_drop(), notes)
    assert refusal.value.code != "OUTCOME_UNKNOWN"
    assert destination.deliver(template_drop(), notes.after_a_crash()).portal_id == ID


def test_a_portal_that_cannot_be_reached_is_tried_later(destination_of: ToDestination) -> None:
    notes = Notes()
    with pytest.raises(Retry, match="PORTAL_UNREACHABLE"):
        destination_of(appsUrl="http://127.0.0.1:1/{org}/{app}").deliver(template_drop(), notes)
    assert notes.saved == {}


def test_what_could_not_be_waited_for_is_not_asked(secret: Secret, portal: ScriptedPortal) -> None:
    tools = Tools(Transport(Deadline(5), allow_loopback=True), TokenCache(), lambda: NOW)
    destination = PORTAL.destination(Connection("altinn", "etat", secret()), tools)
    assert destination is not None
    notes = Notes()
    with pytest.raises(OutOfTime):
        destination.deliver(template_drop(), notes)
    assert (portal.asked, notes.saved) == ([], {})


def test_a_login_that_fails_leaves_the_outcome_clear(destination_of: ToDestination, portal: ScriptedPortal) -> None:
    auth = {
        "kind": "maskinporten",
        "clientId": "c",
        "keyId": "k",
        "privateKey": "none",
        "tokenUrl": portal.url + "/token",
        "exchangeUrl": portal.url + "/exchange",
    }
    notes = Notes()
    with pytest.raises(Misconfigured):
        destination_of(auth=auth).deliver(template_drop(), notes)
    assert notes.saved == {}


def test_what_is_delivered_stays_so(destination: Destination) -> None:
    assert destination.track(ELEMENT) == Delivery(ELEMENT, Outcome.DELIVERED)
