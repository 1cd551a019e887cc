"""The client by itself: every documented call as it goes over the wire, and what is made of the answers."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from amtsbote.errors import AmtsboteError, Misconfigured, Reject, Retry, Unavailable
from amtsbote.portals.altinn import AltinnClient
from amtsbote.portals.altinn.content import Content
from amtsbote.portals.altinn.events import EventFilter
from amtsbote.portals.altinn.models import InstanceId
from amtsbote.portals.altinn.queries import Bound, InstanceQuery, Operator
from amtsbote.portals.portal import Tools
from tests.unit.portals.altinn.conftest import (
    APP,
    ELEMENT,
    GET_INSTANCE,
    GUID,
    ID,
    INSTANCE,
    LIST,
    OF_APP,
    OF_STORAGE,
    PARTY,
    STORAGE,
    ScriptedPortal,
    Secret,
    element,
    instance,
    page,
)

EVERYTHING = InstanceQuery(app_id="org/app")
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
XML = Content(7, "application/xml", "skjema.xml", lambda: BytesIO(b"<skjema"))
PROCESS = {"started": "2026-01-01T00:00:00Z", "currentTask": {"elementId": "Task_1", "flow": 2}}

Call = Callable[[AltinnClient], Any]


# every call: what is sent


CALLS_OF_BOTH: list[tuple[str, Call, str, list[tuple[str, str]], Any, Any]] = [
    ("get", lambda c: c.storage.get(INSTANCE), GET_INSTANCE, [], None, instance()),
    ("delete", lambda c: c.storage.delete(INSTANCE, hard=True), f"DELETE {OF_STORAGE}", [("hard", "true")], None, {}),
    ("events", lambda c: c.storage.events(INSTANCE), f"GET {OF_STORAGE}/events", [], None, []),
    (
        "receipt",
        lambda c: c.storage.add_data(INSTANCE, "ref-data-as-pdf", XML, refs=["a", "b"]),
        f"POST {OF_STORAGE}/data",
        [("dataType", "ref-data-as-pdf"), ("refs", "a"), ("refs", "b")],
        None,
        element(),
    ),
    ("app get", lambda c: c.app("org/app").get(INSTANCE), f"GET {OF_APP}", [], None, instance()),
    ("validate", lambda c: c.app("org/app").validate(INSTANCE), f"GET {OF_APP}/validate", [], None, []),
    (
        "validate data",
        lambda c: c.app("org/app").validate_data(INSTANCE, ELEMENT),
        f"GET {OF_APP}/data/{ELEMENT}/validate",
        [],
        None,
        [],
    ),
    (
        "replace",
        lambda c: c.app("org/app").replace_data(INSTANCE, ELEMENT, XML),
        f"PUT {OF_APP}/data/{ELEMENT}",
        [],
        None,
        instance(),
    ),
    ("process", lambda c: c.app("org/app").process(INSTANCE), f"GET {OF_APP}/process", [], None, PROCESS),
    (
        "start",
        lambda c: c.app("org/app").start_process(INSTANCE, "StartEvent_1"),
        f"POST {OF_APP}/process/start",
        [("startEvent", "StartEvent_1")],
        None,
        PROCESS,
    ),
    ("nexts", lambda c: c.app("org/app").next_elements(INSTANCE), f"GET {OF_APP}/process/next", [], None, ["Task_2"]),
    (
        "complete process",
        lambda c: c.app("org/app").complete_process(INSTANCE),
        f"PUT {OF_APP}/process/completeProcess",
        [],
        None,
        PROCESS,
    ),
    (
        "history",
        lambda c: c.app("org/app").process_history(INSTANCE),
        f"GET {OF_APP}/process/history",
        [],
        None,
        [{"flow": 1}],
    ),
]
CALLS_OF_V1: list[tuple[str, Call, str, list[tuple[str, str]], Any, Any]] = [
    ("by guid", lambda c: c.storage.get_by_guid(GUID), f"GET {STORAGE}/instances/{GUID}", [], None, instance()),
    ("complete", lambda c: c.storage.complete(INSTANCE), f"POST {OF_STORAGE}/complete", [], None, instance()),
    (
        "substatus",
        lambda c: c.storage.set_substatus(INSTANCE, "Mottatt", "…"),
        f"PUT {OF_STORAGE}/substatus",
        [],
        {"label": "Mottatt", "description": "…"},
        instance(),
    ),
    (
        "read status",
        lambda c: c.storage.set_read_status(INSTANCE, "Read"),
        f"PUT {OF_STORAGE}/readstatus",
        [("status", "Read")],
        None,
        instance(),
    ),
    (
        "texts",
        lambda c: c.storage.set_presentation_texts(INSTANCE, {"a": "b"}),
        f"PUT {OF_STORAGE}/presentationtexts",
        [],
        {"texts": {"a": "b"}},
        instance(),
    ),
    (
        "values",
        lambda c: c.storage.set_data_values(INSTANCE, {"a": "b"}),
        f"PUT {OF_STORAGE}/datavalues",
        [],
        {"values": {"a": "b"}},
        instance(),
    ),
    (
        "events in a range",
        lambda c: c.storage.events(INSTANCE, event_types=["Created", "Saved"], since=MARCH, until=MARCH),
        f"GET {OF_STORAGE}/events",
        [
            ("eventTypes", "Created"),
            ("eventTypes", "Saved"),
            ("from", "2026-03-01T00:00:00Z"),
            ("to", "2026-03-01T00:00:00Z"),
        ],
        None,
        {"instanceEvents": []},
    ),
    (
        "storage history",
        lambda c: c.storage.process_history(INSTANCE),
        f"GET {OF_STORAGE}/process/history",
        [],
        None,
        {"processHistory": []},
    ),
    (
        "elements",
        lambda c: c.storage.data_elements(INSTANCE),
        f"GET {OF_STORAGE}/dataelements",
        [],
        None,
        {"dataElements": [element()]},
    ),
    (
        "storage replace",
        lambda c: c.storage.replace_data(INSTANCE, ELEMENT, XML),
        f"PUT {OF_STORAGE}/data/{ELEMENT}",
        [],
        None,
        element(),
    ),
    (
        "storage delete data",
        lambda c: c.storage.delete_data(INSTANCE, ELEMENT),
        f"DELETE {OF_STORAGE}/data/{ELEMENT}",
        [],
        None,
        element(),
    ),
    ("lock", lambda c: c.storage.lock_data(INSTANCE, ELEMENT), f"PUT {OF_STORAGE}/data/{ELEMENT}/lock", [], None, {}),
    (
        "unlock",
        lambda c: c.storage.unlock_data(INSTANCE, ELEMENT),
        f"DELETE {OF_STORAGE}/data/{ELEMENT}/lock",
        [],
        None,
        {},
    ),
    (
        "apps",
        lambda c: c.storage.applications("org"),
        f"GET {STORAGE}/applications/org",
        [],
        None,
        {"applications": []},
    ),
    (
        "app of storage",
        lambda c: c.storage.application("org/app"),
        f"GET {STORAGE}/applications/org/app",
        [],
        None,
        {"id": "org/app"},
    ),
    (
        "metadata",
        lambda c: c.app("org/app").metadata(),
        f"GET {APP}/api/v1/applicationmetadata",
        [],
        None,
        {"id": "org/app"},
    ),
    ("model", lambda c: c.app("org/app").process_model(), f"GET {APP}/api/v1/meta/process", [], None, b"<bpmn/>"),
    (
        "create simple",
        lambda c: c.app("org/app").create_simple({"prefill": {"a": "1"}}),
        f"POST {APP}/instances/create",
        [],
        {"prefill": {"a": "1"}},
        instance(),
    ),
    ("active", lambda c: c.app("org/app").active(PARTY), f"GET {APP}/instances/{PARTY}/active", [], None, [{"id": ID}]),
    ("app delete", lambda c: c.app("org/app").delete(INSTANCE), f"DELETE {OF_APP}", [("hard", "false")], None, {}),
    ("app complete", lambda c: c.app("org/app").complete(INSTANCE), f"POST {OF_APP}/complete", [], None, {}),
    (
        "app substatus",
        lambda c: c.app("org/app").set_substatus(INSTANCE, "a", "b"),
        f"PUT {OF_APP}/substatus",
        [],
        {"label": "a", "description": "b"},
        {},
    ),
    (
        "app add",
        lambda c: c.app("org/app").add_data(INSTANCE, "model1", XML),
        f"POST {OF_APP}/data/model1",
        [],
        None,
        {"newDataElementId": ELEMENT},
    ),
    (
        "patch",
        lambda c: c.app("org/app").patch_data(INSTANCE, ELEMENT, {"patch": []}),
        f"PATCH {OF_APP}/data/{ELEMENT}",
        [],
        {"patch": []},
        {},
    ),
    (
        "app delete data",
        lambda c: c.app("org/app").delete_data(INSTANCE, ELEMENT),
        f"DELETE {OF_APP}/data/{ELEMENT}",
        [],
        None,
        {},
    ),
    (
        "move on",
        lambda c: c.app("org/app").move_on(INSTANCE, action="confirm"),
        f"PUT {OF_APP}/process/next",
        [],
        {"action": "confirm"},
        PROCESS,
    ),
]
CALLS_OF_THE_PROPOSAL: list[tuple[str, Call, str, list[tuple[str, str]], Any, Any]] = [
    ("elements", lambda c: c.storage.data_elements(INSTANCE), f"GET {OF_STORAGE}/data", [], None, [element()]),
    (
        "confirm one",
        lambda c: c.storage.confirm_download(INSTANCE, ELEMENT),
        f"PUT {OF_STORAGE}/dataelements/{ELEMENT}/confirmDownload",
        [],
        None,
        {},
    ),
    (
        "confirm all",
        lambda c: c.storage.confirm_download(INSTANCE),
        f"PUT {OF_STORAGE}/dataelements/confirmDownload",
        [],
        None,
        {},
    ),
    (
        "app events",
        lambda c: c.storage.application_events("org/app", created=[Bound(Operator.FROM, MARCH)], current_task="Task_2"),
        f"GET {STORAGE}/applications/org/app/events",
        [("created", "gte:2026-03-01T00:00:00Z"), ("process.currentTask", "Task_2")],
        None,
        [],
    ),
    ("metadata", lambda c: c.app("org/app").metadata(), f"GET {APP}", [], None, {"id": "org/app"}),
    ("model", lambda c: c.app("org/app").process_model(), f"GET {APP}/process", [], None, b"<bpmn/>"),
    (
        "app add",
        lambda c: c.app("org/app").add_data(INSTANCE, "model1", XML),
        f"POST {OF_APP}/data",
        [("dataType", "model1")],
        None,
        element(),
    ),
    (
        "move on",
        lambda c: c.app("org/app").move_on(INSTANCE, element_id="Task_2"),
        f"PUT {OF_APP}/process/next",
        [("id", "Task_2")],
        None,
        PROCESS,
    ),
]
V1 = [pytest.param("v1", *call[1:], id=f"v1 {call[0]}") for call in CALLS_OF_BOTH + CALLS_OF_V1]
PROPOSAL = [
    pytest.param("proposal", *call[1:], id=f"proposal {call[0]}") for call in CALLS_OF_BOTH + CALLS_OF_THE_PROPOSAL
]


@pytest.mark.parametrize(("dialect", "call", "route", "query", "body", "answer"), V1 + PROPOSAL)
def test_a_call_goes_where_the_documentation_says(
    secret: Secret,
    portal: ScriptedPortal,
    tools: Tools,
    dialect: str,
    call: Call,
    route: str,
    query: list[tuple[str, str]],
    body: Any,
    answer: Any,
) -> None:
    portal.answers(route, answer)
    call(AltinnClient.of(secret(dialect=dialect), transport=tools.transport))
    (asked,) = portal.asked
    assert (asked.route, asked.query) == (route, query)
    assert asked.headers["Authorization"] == "Bearer test-token"
    if body is not None:
        assert asked.json == body


# what is made of the answers


def test_an_instance_is_read(client: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, instance())
    said = client.storage.get(INSTANCE)
    assert (said.id, said.instance_owner.party_id, said.last_changed) == (
        ID,
        PARTY,
        datetime(2026, 2, 6, 15, 0, 23, 123456, tzinfo=UTC),
    )
    assert said.process is not None and said.process.current_task is not None
    assert said.process.current_task.element_id == "Task_2"
    assert [(each.filename, each.size, each.refs) for each in said.data] == [("default.xml", 7, ())]


def test_the_proposals_example_is_read_although_its_dates_do_not_exist(
    proposal: AltinnClient, portal: ScriptedPortal
) -> None:
    task = {"started": "2019-10-10T32:22.00Z", "elementId": "Task_1", "altinnTaskType": "data"}
    portal.answers(GET_INSTANCE, instance(created="2019-10-04T12:00.00Z", process={"currentTask": task}))
    said = proposal.storage.get(INSTANCE)
    assert said.created is None
    assert said.process is not None and said.process.current_task is not None
    assert said.process.current_task.started == "2019-10-10T32:22.00Z"


@pytest.mark.parametrize("wrapped", [True, False])
def test_lists_are_read_wrapped_or_bare(client: AltinnClient, portal: ScriptedPortal, wrapped: bool) -> None:
    row = {"flow": 3, "eventType": "process:task", "elementId": "Task_2", "started": "2019-10-05T08:14:33Z"}
    portal.answers(f"GET {OF_STORAGE}/process/history", {"processHistory": [row]} if wrapped else [row])
    portal.answers(f"GET {OF_STORAGE}/events", {"instanceEvents": [{"eventType": "deleted"}]} if wrapped else [{}])
    portal.answers(f"GET {OF_STORAGE}/dataelements", {"dataElements": [element()]} if wrapped else [element()])
    assert [step.element_id for step in client.storage.process_history(INSTANCE)] == ["Task_2"]
    assert len(client.storage.events(INSTANCE)) == 1
    assert [each.id for each in client.storage.data_elements(INSTANCE)] == [ELEMENT]


def test_validation_issues_are_read_in_both_ways_of_writing(client: AltinnClient, portal: ScriptedPortal) -> None:
    named = {"severity": "Error", "scope": "INSTANCE", "code": "TooManyDataElementsOfType", "targetId": None}
    portal.answers(f"GET {OF_APP}/validate", [named, {"severity": 1, "code": "x"}])
    issues = client.app("org/app").validate(INSTANCE)
    assert [(issue.severity, issue.code) for issue in issues] == [("Error", "TooManyDataElementsOfType"), ("1", "x")]


def test_an_apps_metadata_name_what_it_takes(client: AltinnClient, portal: ScriptedPortal) -> None:
    model = {"id": "model1", "allowedContentTypes": ["application/json"], "taskId": "Task_1", "maxSize": -1}
    portal.answers(
        f"GET {APP}/api/v1/applicationmetadata",
        {"id": "org/app", "dataTypes": [model, {"id": "receipt", "allowedContentTypes": None}]},
    )
    types = client.app("org/app").metadata().data_types
    assert [(each.id, each.allowed_content_types, each.max_size) for each in types] == [
        ("model1", ("application/json",), -1),
        ("receipt", (), None),
    ]


def test_a_new_element_is_known_by_either_id(client: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(f"POST {OF_APP}/data/model1", {"newDataElementId": "a"})
    portal.answers(f"POST {OF_APP}/data/model1", element("b"))
    app = client.app("org/app")
    assert [app.add_data(INSTANCE, "model1", XML).element_id for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize("where", ["storage", "app"])
def test_a_file_is_streamed(client: AltinnClient, portal: ScriptedPortal, where: str) -> None:
    content = bytes(range(256)) * 4096
    base = OF_STORAGE if where == "storage" else OF_APP
    portal.answers(f"GET {base}/data/{ELEMENT}", content)
    part = client.storage if where == "storage" else client.app("org/app")
    with part.open_data(INSTANCE, ELEMENT) as answer:
        assert (answer.size, b"".join(answer.chunks)) == (len(content), content)


def test_an_upload_is_sent_again_whole_after_a_401(portal: ScriptedPortal, secret: Secret, tools: Tools) -> None:
    class Renewing:
        def headers(self) -> dict[str, str]:
            return {}

        def renew(self) -> bool:
            return True

        def freshen(self) -> None: ...

    portal.answers(f"POST {OF_APP}/data/model1", b"", status=401)
    portal.answers(f"POST {OF_APP}/data/model1", element())
    AltinnClient(secret(), Renewing(), tools.transport).app("org/app").add_data(INSTANCE, "model1", XML)
    assert [asked.body for asked in portal.asked] == [b"<skjema"] * 2


def test_a_file_that_ends_early_is_not_passed_off_as_whole(client: AltinnClient, portal: ScriptedPortal) -> None:
    short = Content(9, "application/xml", "x.xml", lambda: BytesIO(b"<skjema"))
    with pytest.raises(Retry, match="DROP_CUT"):
        client.app("org/app").add_data(INSTANCE, "model1", short)


def test_an_app_that_the_secret_does_not_name_gets_no_token(client: AltinnClient) -> None:
    with pytest.raises(Misconfigured, match="APP_UNKNOWN"):
        client.app("evil/app")


def test_an_app_is_spoken_to_at_its_organisations_host(secret: Secret, tools: Tools) -> None:
    spoken = secret(apps=["ttd/my-app"], appsUrl="http://{org}.apps.invalid/{org}/{app}")
    with pytest.raises(Misconfigured, match=r"ttd\.apps\.invalid"):
        AltinnClient.of(spoken, transport=tools.transport).app("ttd/my-app").metadata()


# pages


def test_a_page_says_how_many_there_are(proposal: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, {"totalHits": 234, "count": 1, "instances": [instance()], "next": None})
    first = proposal.storage.page(EVERYTHING)
    assert (first.total_hits, first.count, first.next, first.instances) == (234, 1, None, (instance(),))


def test_an_empty_last_page_ends_the_list(client: AltinnClient, portal: ScriptedPortal) -> None:
    link = f"{portal.url}{STORAGE}/instances?continuationToken=1"
    portal.answers(LIST, page(instance(), next=link))
    portal.answers(LIST, page(next=link))
    assert len(list(client.storage.instances(EVERYTHING))) == 1
    assert len(portal.asked) == 2


def test_a_list_that_goes_round_in_circles_is_given_up(client: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(LIST, page(instance(), next=f"{portal.url}{STORAGE}/instances?continuationToken=1"))
    with pytest.raises(Retry, match="PORTAL_PAGING_BROKEN"):
        list(client.storage.instances(EVERYTHING))
    assert len(portal.asked) == 2


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/storage/api/v1/instances",
        "{url}.evil.example/storage/api/v1/instances",
        "{url}@evil.example/storage/api/v1/instances",
        "http://user@{host}/storage/api/v1/instances",
        "http://127.0.0.1:1/storage/api/v1/instances",
        "http://127.0.0.1:port/storage/api/v1/instances",
        "https://{host}/storage/api/v1/instances",
        "//evil.example/storage/api/v1/instances",
        "{url}/storage/api/v10/instances",
        "{url}/elsewhere",
        "{url}/storage/api/v1/../../elsewhere",
        "{url}/storage/api/v1/%2e%2e/%2e%2e/elsewhere",
        "{url}/storage/api/v1/..%2f..%2felsewhere",
        "{url}/storage/api/v1/..\\elsewhere",
        "file:///etc/passwd",
    ],
)
def test_a_link_that_leads_out_of_storage_is_refused(client: AltinnClient, portal: ScriptedPortal, link: str) -> None:
    link = link.replace("{url}", portal.url).replace("{host}", portal.url.removeprefix("http://"))
    portal.answers(LIST, page(instance(), next=link))
    with pytest.raises(Misconfigured, match="foreign next link refused"):
        list(client.storage.instances(EVERYTHING))
    assert len(portal.asked) == 1


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ("{url}/storage/api/v1/instances?a=%257b%2522%252b", [("a", "%7b%22%2b")]),
        ("/storage/api/v1/instances?page=2", [("page", "2")]),
        ("instances?page=2", [("page", "2")]),
    ],
)
def test_a_link_within_storage_is_followed_as_it_is(
    client: AltinnClient, portal: ScriptedPortal, link: str, query: list[tuple[str, str]]
) -> None:
    portal.answers(LIST, page())
    client.storage.next_page(link.replace("{url}", portal.url))
    assert portal.asked[0].query == query


@pytest.mark.parametrize("answer", [b"<html/>", b"[]", b'{"count": 1}', b'{"instances": null}'])
def test_a_list_that_is_none_is_tried_later(client: AltinnClient, portal: ScriptedPortal, answer: bytes) -> None:
    portal.answers(LIST, answer)
    with pytest.raises(Retry):
        list(client.storage.instances(EVERYTHING))


# a whole instance at once (proposal)


def test_an_instance_with_all_files_is_read_as_a_stream_of_parts(
    proposal: AltinnClient, portal: ScriptedPortal
) -> None:
    said = json.dumps(instance()).encode()
    body = (
        b"--x\r\nContent-Type: application/json\r\n\r\n"
        + said
        + b'\r\n--x\r\nContent-Type: application/xml\r\nContent-Disposition: form-data; name="model1"\r\n\r\n<xml/>!'
        + b"\r\n--x--\r\n"
    )
    portal.answers(f"GET {OF_STORAGE}/downloadAll", body, headers={"Content-Type": 'multipart/mixed; boundary="x"'})
    with proposal.storage.download_all(INSTANCE) as parts:
        found = [(part.headers["content-type"], b"".join(part.chunks)) for part in parts]
    assert found == [("application/json", said), ("application/xml", b"<xml/>!")]


def test_a_whole_instance_that_is_no_multipart_is_tried_later(proposal: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(f"GET {OF_STORAGE}/downloadAll", b"<html/>", headers={"Content-Type": "text/html"})
    with pytest.raises(Retry, match="multipart"), proposal.storage.download_all(INSTANCE):
        pass


# events


APP_EVENTS = "GET /events/api/v1/app/org/app"


def event(event_id: str) -> dict[str, Any]:
    return {
        "id": event_id,
        "type": "app.instance.process.completed",
        "source": f"https://org.apps.altinn.no/org/app/instances/{ID}",
        "specversion": "1.0",
        "time": "2026-02-06T15:00:23Z",
    }


def test_events_are_asked_for_after_an_id_or_a_moment(client: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(APP_EVENTS, [event("1")])
    client.events.page("org/app", after="0", narrowed=EventFilter(party=PARTY, size=10))
    client.events.page("org/app", since=MARCH, narrowed=EventFilter(until=MARCH, type="app.instance.created"))
    assert portal.asked[0].query == [("after", "0"), ("party", PARTY), ("size", "10")]
    assert portal.asked[1].query == [
        ("from", "2026-03-01T00:00:00Z"),
        ("to", "2026-03-01T00:00:00Z"),
        ("type", "app.instance.created"),
    ]


def test_events_need_a_beginning(client: AltinnClient) -> None:
    with pytest.raises(ValueError, match="after"):
        client.events.page("org/app")


def test_events_are_read_on_from_the_last_one_seen(client: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(APP_EVENTS, [event("1"), event("2")])
    portal.answers(APP_EVENTS, [event("3")])
    portal.answers(APP_EVENTS, [])
    assert [each.id for each in client.events.all("org/app", since=MARCH)] == ["1", "2", "3"]
    assert [asked.query for asked in portal.asked[1:]] == [[("after", "2")], [("after", "3")]]


def test_events_that_begin_again_from_the_oldest_are_not_told_twice(
    client: AltinnClient, portal: ScriptedPortal
) -> None:
    portal.answers(APP_EVENTS, [event("1"), event("2")])
    portal.answers(APP_EVENTS, [event("2"), event("3")])
    portal.answers(APP_EVENTS, [event("1"), event("2")])
    assert [each.id for each in client.events.all("org/app", after="0")] == ["1", "2", "3"]


def test_events_are_beside_storage_or_nowhere(secret: Secret, portal: ScriptedPortal) -> None:
    with pytest.raises(Misconfigured, match="NO_EVENTS_HERE"):
        _ = AltinnClient.of(secret(storageUrl=portal.url + "/elsewhere")).events


# refusals


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, Reject, "REFUSED"),
        (401, Misconfigured, "LOGIN_REFUSED"),
        (403, Unavailable, "FORBIDDEN"),
        (404, Unavailable, "NOT_FOUND"),
        (409, Retry, "LOCKED"),
        (410, Unavailable, "NOT_FOUND"),
        (423, Retry, "LOCKED"),
        (429, Retry, "PORTAL_THROTTLED"),
        (499, Retry, "PORTAL_ERROR"),
        (500, Retry, "PORTAL_ERROR"),
        (302, Misconfigured, "REDIRECT_REFUSED"),
    ],
)
def test_a_refusal_says_what_now(
    client: AltinnClient, portal: ScriptedPortal, status: int, kind: type[AmtsboteError], code: str
) -> None:
    portal.answers(GET_INSTANCE, b"", status=status)
    with pytest.raises(kind) as refusal:
        client.storage.get(INSTANCE)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ([{"code": "A", "description": "Ola mangler"}, {"code": "B", "description": "B"}], "", "A: Ola mangler; B"),
        ({"title": "Feil", "detail": "Ola mangler"}, "", "Feil; Ola mangler"),
        ("Ola mangler", "", "Ola mangler"),
        (b"Ola mangler", "text/plain; charset=utf-8", "Ola mangler"),
        (b"<html>Ola</html>", "text/html", None),
        (b"", "", None),
        ([1, None, {"code": 7}], "", None),
    ],
)
def test_the_portals_words_are_kept_apart(
    client: AltinnClient, portal: ScriptedPortal, body: Any, content_type: str, words: str | None
) -> None:
    portal.answers(GET_INSTANCE, body, status=400, headers={"Content-Type": content_type} if content_type else {})
    with pytest.raises(Reject) as refusal:
        client.storage.get(INSTANCE)
    assert refusal.value.portal_words == words
    assert "Ola" not in str(refusal.value)


def test_words_have_an_end(client: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(GET_INSTANCE, {"detail": "a" * 10_000}, status=400)
    with pytest.raises(Reject) as refusal:
        client.storage.get(INSTANCE)
    assert len(refusal.value.portal_words or "") == 2000


# ids


@pytest.mark.parametrize(("text", "party"), [(ID, None), (GUID, PARTY), (ID, "7")])
def test_an_id_is_read_with_its_party_or_beside_it(text: str, party: str | None) -> None:
    assert str(InstanceId.parse(text, party)) == ID


@pytest.mark.parametrize("text", ["", "/", GUID, f"{PARTY}/", f"/{GUID}", "1/2/3", "../x", "x/.."])
def test_an_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Reject, match="WRONG_ID"):
        InstanceId.parse(text)


def test_an_id_cannot_leave_its_place_in_the_path(client: AltinnClient, portal: ScriptedPortal) -> None:
    portal.answers(f"GET {STORAGE}/instances/a%3Fb/c%23d", instance())
    client.storage.get(InstanceId(party_id="a?b", guid="c#d"))
    assert portal.routes() == [f"GET {STORAGE}/instances/a%3Fb/c%23d"]
