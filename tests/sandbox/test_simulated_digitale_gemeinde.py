"""The simulated Digitale-Gemeinde against the portal's pages: what it accepts, what it refuses, what it remembers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.portals.digitale_gemeinde import (
    NEVER,
    FileShape,
    FormField,
    Options,
    RateLimit,
    SimulatedDigitaleGemeinde,
    StatusNames,
    TokenShape,
    file_field,
)
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.sandbox.client import Answer, ask, ask_json

KEY, TENANT = "schlüssel-1", 17
KEY_HEADER = "Ocp-Apim-Subscription-Key"
START = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
JSON = "application/json"
NEW, PROCESSING, DONE, REFUND = "Neu", "In Bearbeitung", "Abgeschlossen", "Refund"
RESULT_FIELD = 3
BOUNDARY = "grenze"
NAME = "Bestätigung für Zoë – 証明書 👩‍👩‍👧.pdf"
IN_ORDER = {"orderBy": "submittedDate,documentId", "orderByDirection": "Ascending"}


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def moves(self, **by: float) -> None:
        self.now += timedelta(**by)


class Caller:
    """What a client does, in so many words: each method one call, with the token that it was given last."""

    def __init__(self, port: int, tenant: object = TENANT) -> None:
        self.port = port
        self.tenant = tenant
        self.token = ""

    def login(self, key: str = KEY, header: str = KEY_HEADER, path: str = "/Token") -> Answer:
        return ask(self.port, "POST", path, headers={header: key.encode().decode("latin-1")})

    def logged_in(self) -> Caller:
        self.token = self.login().json()["token"]
        return self

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Content-Type": content_type} if content_type else {})
        return ask(self.port, method, f"{path}?tenantId={self.tenant}", body=body, headers=headers)

    def count(self) -> Answer:
        return self.call("GET", "/Form/count")

    def search(self, **body: Any) -> Answer:
        return self.call("POST", "/Form/search", json.dumps(body).encode(), JSON)

    def listed(self, **body: Any) -> list[str]:
        answer = self.search(**body)
        assert answer.status == 200, answer.body
        return [row["documentId"] for row in answer.json()["data"]]

    def details(self, form: str, document: str) -> Answer:
        return self.call("GET", f"/Form/{form}/document/{document}")

    def update(self, form: str, document: str, status: str) -> Answer:
        body = json.dumps({"status": status}).encode()
        return self.call("PUT", f"/Form/{form}/document/{document}", body, JSON)

    def upload(self, form: str, document: str, field: int | str, body: bytes) -> Answer:
        path = f"/Form/{form}/document/{document}/file/{field}"
        return self.call("POST", path, body, f"multipart/form-data; boundary={BOUNDARY}")


def part(disposition: str, content: bytes = b"%PDF", content_type: str | None = "application/pdf") -> bytes:
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode() + content + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def file_named(name: str, content: bytes = b"%PDF") -> bytes:
    return multipart(part(f'form-data; name="file"; filename="{name}"', content))


def claims(token: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def field_of(details: Answer, name: str) -> Mapping[str, Any]:
    found: list[Mapping[str, Any]] = [each for each in details.json()["fields"] if each["name"] == name]
    return found[0]


def decoded(data_url: str) -> bytes:
    return base64.b64decode(data_url.partition(",")[2], validate=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def portal(clock: Clock) -> SimulatedDigitaleGemeinde:
    return SimulatedDigitaleGemeinde(KEY, TENANT, clock=clock)


@pytest.fixture
def form(portal: SimulatedDigitaleGemeinde) -> str:
    return portal.add_form("Wohnsitzbestätigung", tags=["Einwohner", "Zuzug"])


@pytest.fixture
def port(portal: SimulatedDigitaleGemeinde) -> Iterator[int]:
    with serve(portal) as running:
        yield running.port


@pytest.fixture
def client(port: int) -> Caller:
    return Caller(port).logged_in()


# --- the token -------------------------------------------------------------------------------------------------------


def test_a_key_buys_a_token_whose_exp_is_its_lifetime(
    portal: SimulatedDigitaleGemeinde, client: Caller, clock: Clock
) -> None:
    portal.options.token_lifetime = timedelta(minutes=10)
    token = client.login().json()["token"]
    assert claims(token)["exp"] == int((START + timedelta(minutes=10)).timestamp())
    assert len(token.split(".")) == 3 and token.split(".")[2]


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        (TokenShape.TOKEN, lambda answer: answer.json()["token"]),
        (TokenShape.ACCESS_TOKEN, lambda answer: answer.json()["accessToken"]),
        (TokenShape.OAUTH, lambda answer: answer.json()["access_token"]),
        (TokenShape.BARE, lambda answer: answer.body.decode()),
        (TokenShape.QUOTED, lambda answer: answer.json()),
    ],
)
def test_the_token_comes_in_any_shape(
    portal: SimulatedDigitaleGemeinde, client: Caller, shape: TokenShape, read: Any
) -> None:
    portal.options.token_shape = shape
    client.token = read(client.login())
    assert client.count().status == 200


def test_an_unsigned_token_has_an_empty_signature(portal: SimulatedDigitaleGemeinde, client: Caller) -> None:
    portal.options.token_signed = False
    token = client.logged_in().token
    assert token.endswith(".") and client.count().status == 200


def test_a_wrong_or_missing_key_is_401(client: Caller) -> None:
    assert client.login("falsch").status == 401
    assert client.login(header="X-Api-Key").status == 401


def test_the_key_may_live_in_another_header() -> None:
    with serve(SimulatedDigitaleGemeinde(KEY, options=Options(api_key_header="X-Api-Key"))) as running:
        assert Caller(running.port).login(header="X-Api-Key").status == 200
        assert Caller(running.port).login().status == 401


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_missing_foreign_or_expired_is_refused(
    portal: SimulatedDigitaleGemeinde, client: Caller, clock: Clock, status: int
) -> None:
    portal.options.refusal_status = status
    good = client.token
    for bad in ("", good + "x", good[:-2], good.rpartition(".")[0] + "."):
        client.token = bad
        assert client.count().status == status
    client.token = good
    clock.moves(seconds=3599)
    assert client.count().status == 200
    clock.moves(seconds=1)
    assert client.count().status == status


def test_expired_tokens_are_replaced_for_the_same_key(portal: SimulatedDigitaleGemeinde, client: Caller) -> None:
    portal.expire_tokens()
    assert client.count().status == 401
    assert client.logged_in().count().status == 200


def test_a_revoked_key_ends_its_tokens_and_a_new_one_begins(portal: SimulatedDigitaleGemeinde, client: Caller) -> None:
    portal.revoke_key()
    assert (client.count().status, client.login().status) == (401, 401)
    portal.change_key("neu")
    assert (client.login().status, client.login("neu").status) == (401, 200)


def test_tokens_outlive_a_changed_key(portal: SimulatedDigitaleGemeinde, client: Caller) -> None:
    portal.change_key("neu")
    assert client.count().status == 200


def test_routes_and_status_names_are_settings() -> None:
    statuses = StatusNames(new="Eingegangen", refund="Erstattet")
    routes = {"token": "GET /auth/jwt", "details": "GET /api/dokumente/{documentId}"}
    portal = SimulatedDigitaleGemeinde(KEY, options=Options(routes=routes, statuses=statuses))
    document = portal.add_document(portal.add_form())
    with serve(portal) as running:
        client = Caller(running.port)
        assert client.login().status == 404
        client.token = ask(
            running.port, "GET", "/auth/jwt", headers={KEY_HEADER: KEY.encode().decode("latin-1")}
        ).json()["token"]
        assert client.call("GET", f"/api/dokumente/{document}").json()["state"] == "Eingegangen"
        assert client.listed(status="Eingegangen") == [document]
    portal.set_status(document, "Erstattet")
    assert portal.refunds(document) == 1


# --- tenants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["", "abc", "17.0", "2147483648", "17&tenantId=17", "17&x=1", "١٧"])
def test_the_tenant_is_required_as_an_int32_on_every_form_call(form: str, client: Caller, tenant: str) -> None:
    client.tenant = tenant.encode().decode("latin-1") if tenant.isascii() else "%D9%A1%D9%A7"
    answers = [
        client.count(),
        client.search(),
        client.details(form, "1"),
        client.update(form, "1", NEW),
        client.upload(form, "1", RESULT_FIELD, file_named("a.pdf")),
    ]
    assert [answer.status for answer in answers] == [400] * 5
    assert all(answer.headers["content-type"].startswith("application/problem+json") for answer in answers)


def test_another_tenant_sees_and_changes_nothing(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    document = portal.add_document(form)
    client.tenant = 18
    assert (client.count().json(), client.listed()) == ([], [])
    assert client.details(form, document).status == 500
    assert client.update(form, document, DONE).status == 500
    assert client.upload(form, document, RESULT_FIELD, file_named("a.pdf")).status == 500
    assert portal.status_of(document) == NEW and not portal.uploads(document, RESULT_FIELD)


# --- count -----------------------------------------------------------------------------------------------------------


def test_the_count_splits_by_status_and_prepares_searches(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    empty = portal.add_form("Leer")
    for status in (NEW, NEW, DONE):
        portal.add_document(form, status=status)
    first, second = client.count().json()
    assert (first["id"], first["count"], second["id"], second["count"]) == (form, 3, empty, 0)
    assert {entry["name"]: entry["count"] for entry in first["formNavigations"]} == {NEW: 2, DONE: 1}
    assert second["formNavigations"] == []
    assert first["request"] == {"formId": form, "page": 0, "pageSize": 50}
    assert first["formNavigations"][0]["request"] == {"formId": form, "status": NEW, "page": 0, "pageSize": 50}


def test_the_prepared_search_fails_when_it_is_sent_as_it_is(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    document = portal.add_document(form)
    request = client.count().json()[0]["request"]
    assert client.search(**request).status == 500
    assert client.listed(**{**request, "page": 1}) == [document]


def test_the_split_may_be_missing_or_have_other_names(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    portal.add_document(form)
    portal.options.split_key = None
    assert set(client.count().json()[0]) == {"id", "name", "count", "request"}
    portal.options.split_key, portal.options.split_label = "statuses", "status"
    assert [(each["status"], each["count"]) for each in client.count().json()[0]["statuses"]] == [(NEW, 1)]


# --- search ----------------------------------------------------------------------------------------------------------


def test_a_row_says_what_is_documented_and_its_date_has_no_zone(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    document = portal.add_document(form, submitted=START.replace(microsecond=120_000))
    portal.options.time_zone = timezone(timedelta(hours=1))
    answer = client.search().json()
    row = answer.pop("data")[0]
    assert answer == {"totalCount": 1, "pageNumber": 1, "pageSize": 100}
    assert row.pop("id")
    assert row == {
        "name": "Wohnsitzbestätigung",
        "documentId": document,
        "status": NEW,
        "tenantId": TENANT,
        "formId": form,
        "tenantName": "Gemeinde 17",
        "submittedDate": "2026-02-19T15:30:00.12",
    }


def test_filters_are_exact_except_the_keyword(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    other = portal.add_form("Hundesteuer")
    new, done, dog = portal.add_document(form), portal.add_document(form, status=DONE), portal.add_document(other)
    assert set(client.listed(status=NEW)) == {new, dog}
    assert client.listed(status="neu") == []
    assert set(client.listed(formId=form)) == {new, done}
    assert client.listed(formId=form, status=DONE) == [done]
    assert client.listed(keyword="hunde") == [] and client.listed(keyword="unde") == [dog]
    assert set(client.listed(keyword="Zuz")) == {new, done}
    assert set(client.listed(keyword=None, status="", formId=" ")) == {new, done, dog}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"page": 0}, 500),
        ({"page": -1}, 500),
        ({"pageSize": 0}, 500),
        ({"orderBy": "createdAt"}, 500),
        ({"orderBy": "submittedDate, documentId"}, 500),
        ({"page": "1"}, 400),
        ({"page": None}, 400),
        ({"page": True}, 400),
        ({"page": 2**31}, 400),
        ({"orderByDirection": "asc"}, 400),
        ({"status": 1}, 400),
        ({"size": 50}, 400),
    ],
)
def test_a_search_that_breaks_the_rules_fails(client: Caller, body: Mapping[str, Any], status: int) -> None:
    assert client.search(**body).status == status


@pytest.mark.parametrize(
    ("body", "content_type", "status"), [(b"{", JSON, 400), (b"[]", JSON, 400), (b"{}", "text/plain", 415)]
)
def test_a_search_body_is_a_json_object(client: Caller, body: bytes, content_type: str, status: int) -> None:
    assert client.call("POST", "/Form/search", body, content_type).status == status


def test_pages_in_order_show_every_row_once(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    ids = [portal.add_document(form, submitted=START + timedelta(seconds=n // 2)) for n in range(25)]
    pages = [client.listed(page=page, pageSize=10, **IN_ORDER) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [id for page in pages for id in page] == ids
    downwards = client.listed(orderBy="SubmittedDate,DOCUMENTID", orderByDirection="Descending")
    assert downwards == list(reversed(ids))


@pytest.mark.parametrize("order", [{}, {"orderBy": "name"}])
def test_pages_without_a_full_order_miss_rows(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, order: Mapping[str, str]
) -> None:
    ids = {portal.add_document(form) for _ in range(40)}
    seen = [id for page in (1, 2, 3, 4) for id in client.listed(page=page, pageSize=10, **order)]
    assert len(seen) == 40 and set(seen) < ids


def test_the_disorder_is_the_same_in_each_run(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    twin = SimulatedDigitaleGemeinde(KEY, TENANT)
    twin_form = twin.add_form()
    for _ in range(10):
        portal.add_document(form)
        twin.add_document(twin_form)
    with serve(twin) as running:
        other = Caller(running.port).logged_in()
        orders = [(client.listed(), other.listed()) for _ in range(3)]
    assert all(mine == theirs for mine, theirs in orders)
    assert orders[0] != orders[1]


def test_a_filtered_list_shrinks_while_statuses_change(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    ids = [portal.add_document(form, submitted=START + timedelta(seconds=n)) for n in range(4)]
    assert client.listed(status=NEW, page=1, pageSize=2, **IN_ORDER) == ids[:2]
    for id in ids[:2]:
        client.update(form, id, PROCESSING)
    assert client.listed(status=NEW, page=2, pageSize=2, **IN_ORDER) == []
    assert client.listed(status=NEW, page=1, pageSize=2, **IN_ORDER) == ids[2:]


def test_rows_come_and_go_between_two_pages(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    ids = [portal.add_document(form, submitted=START + timedelta(seconds=n)) for n in range(4)]
    portal.after_page(1, lambda: portal.add_document(form, submitted=START - timedelta(days=1)))
    first = client.search(page=1, pageSize=2, **IN_ORDER).json()
    assert ([row["documentId"] for row in first["data"]], first["totalCount"]) == (ids[:2], 4)
    assert client.listed(page=2, pageSize=2, **IN_ORDER) == ids[1:3], "the earlier row pushes one onto the next page"
    portal.remove(ids[0])
    assert len(client.listed(page=1, **IN_ORDER)) == 4, "the action ran once"


def test_a_row_may_be_on_its_page_twice(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    document = portal.add_document(form, listed_times=2)
    answer = client.search().json()
    assert [row["documentId"] for row in answer["data"]] == [document, document]
    assert answer["totalCount"] == 1


def test_a_late_row_appears_with_an_old_date(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, clock: Clock
) -> None:
    late = portal.add_document(form, submitted=START - timedelta(days=3), visible_after=START + timedelta(seconds=5))
    never = portal.add_document(form, visible_after=NEVER)
    assert client.listed() == [] and client.count().json()[0]["count"] == 0
    assert client.details(form, late).status == 500
    clock.moves(seconds=6)
    assert client.listed() == [late] and client.details(form, late).status == 200
    portal.reveal(never)
    assert set(client.listed()) == {late, never}


# --- details ---------------------------------------------------------------------------------------------------------


def test_the_details_show_values_files_and_the_other_states(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    document = portal.add_document(form, {"name": "Zoë"}, {"beilage": [("Pass.pdf", b"\x00%PDF", "application/pdf")]})
    answer = client.details(form, document)
    details = answer.json()
    assert (details["documentId"], details["name"], details["state"]) == (document, "Wohnsitzbestätigung", NEW)
    assert (details["formDataRetentionDays"], details["tags"]) == (180, ["Einwohner", "Zuzug"])
    assert [state["value"] for state in details["formStatesConfig"]] == [PROCESSING, DONE, REFUND]
    assert field_of(answer, "name") == {
        "id": 1,
        "name": "name",
        "displayName": "Name",
        "datatype": "text",
        "value": "Zoë",
        "isRequired": True,
        "tabName": "Angaben",
        "fileUploadAdditionalData": None,
    }
    file = field_of(answer, "beilage")["fileUploadAdditionalData"]
    assert (file["key"], file["name"], file["type"]) == ("beilage", "Pass.pdf", "application/pdf")
    assert file["base64File"].startswith("data:application/pdf;base64,")
    assert decoded(file["base64File"]) == b"\x00%PDF"
    assert field_of(answer, "antwort")["fileUploadAdditionalData"] is None


def test_the_state_may_go_by_another_name(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    portal.options.state_key = "status"
    details = client.details(form, portal.add_document(form)).json()
    assert details["status"] == NEW and "state" not in details


def test_a_field_may_hold_several_files_where_the_details_are_a_list(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    two = {"beilage": [("a.txt", b"a", "text/plain"), ("a.txt", b"b", "text/plain")]}
    with pytest.raises(ValueError, match="LIST"):
        portal.add_document(form, files=two)
    portal.options.file_shape = FileShape.LIST
    files = field_of(client.details(form, portal.add_document(form, files=two)), "beilage")["fileUploadAdditionalData"]
    assert [(file["name"], decoded(file["base64File"])) for file in files] == [("a.txt", b"a"), ("a.txt", b"b")]


def test_a_file_may_be_json_text_in_the_value(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    portal.options.file_shape = FileShape.VALUE
    document = portal.add_document(form, files={"beilage": [("a.txt", b"a", "text/plain")]})
    shown = field_of(client.details(form, document), "beilage")
    assert shown["fileUploadAdditionalData"] is None
    assert decoded(json.loads(shown["value"])["base64File"]) == b"a"


def test_a_garbled_file_is_no_base64(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    document = portal.add_document(form, files={"beilage": [("a.txt", b"a", "text/plain")]})
    portal.garble(document, "beilage")
    shown = field_of(client.details(form, document), "beilage")["fileUploadAdditionalData"]
    with pytest.raises(ValueError, match=r"base64|padding|data"):
        decoded(shown["base64File"])


def test_a_missing_document_is_a_500_or_a_404(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    other, document = portal.add_form("Andere"), portal.add_document(form)
    assert client.details(form, "4711").status == 500
    assert client.details(other, document).status == 500
    portal.options.missing_status = 404
    assert client.details(form, "4711").status == 404
    assert client.update(form, "4711", DONE).status == 404


def test_retention_takes_a_document_away(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    gone, unreadable = portal.add_document(form), portal.add_document(form)
    portal.remove(gone)
    portal.remove(unreadable, keep_row=True)
    assert client.listed() == [unreadable]
    assert [client.details(form, id).status for id in (gone, unreadable)] == [500, 500]


@pytest.mark.parametrize("by_fault", [False, True])
def test_only_the_other_calls_tell_an_outage_from_a_missing_document(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, by_fault: bool
) -> None:
    def problem(answer: Answer) -> tuple[int, set[str], Any]:
        problem = answer.json()
        assert problem.pop("traceId")
        return answer.status, set(answer.headers) - {"date"}, problem

    document = portal.add_document(form)
    missing = problem(client.details(form, "4711"))
    assert client.count().status == 200
    if by_fault:
        portal.faults.add(Fault(Kind.SERVER_ERROR))
    portal.outage = not by_fault
    assert problem(client.details(form, document)) == missing
    assert [client.count().status, client.search().status, client.login().status] == [500] * 3


# --- update ----------------------------------------------------------------------------------------------------------


def test_an_update_overwrites_without_asking_and_returns_the_document(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, clock: Clock
) -> None:
    document = portal.add_document(form)
    assert client.update(form, document, PROCESSING).json()["state"] == PROCESSING
    clock.moves(minutes=1)
    portal.set_status(document, DONE)
    clock.moves(minutes=1)
    assert client.update(form, document, PROCESSING).status == 200
    assert client.update(form, document, PROCESSING).status == 200
    history = [(change.status, change.who) for change in portal.history(document)]
    assert history == [(NEW, "citizen"), (PROCESSING, "api"), (DONE, "clerk"), (PROCESSING, "api"), (PROCESSING, "api")]
    assert [change.at for change in portal.history(document)][2:4] == [
        START + timedelta(minutes=1),
        START + timedelta(minutes=2),
    ]


@pytest.mark.parametrize(
    "body", [{"status": "Erledigt"}, {"status": 1}, {}, {"status": DONE, "x": 1}, {"Status": DONE}]
)
def test_an_update_the_form_does_not_know_is_400(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, body: Mapping[str, Any]
) -> None:
    document = portal.add_document(form)
    answer = client.call("PUT", f"/Form/{form}/document/{document}", json.dumps(body).encode(), JSON)
    assert answer.status == 400 and len(portal.history(document)) == 1


def test_statuses_belong_to_the_form(portal: SimulatedDigitaleGemeinde, client: Caller) -> None:
    form = portal.add_form("Zwei", states=["Offen", "Zu"])
    document = portal.add_document(form)
    assert portal.status_of(document) == "Offen"
    assert (client.update(form, document, DONE).status, client.update(form, document, "Zu").status) == (400, 200)
    with pytest.raises(ValueError, match="no status"):
        portal.set_status(document, DONE)


def test_every_refund_is_counted_also_one_whose_answer_was_lost(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    document, other = portal.add_document(form), portal.add_document(form)
    portal.faults.add(Fault(Kind.LOST_ANSWER, match="PUT /.*", times=1))
    with suppress(OSError, HTTPException):
        client.update(form, document, REFUND)
    assert portal.refunds(document) == 1
    client.update(form, document, REFUND)
    assert (portal.refunds(document), portal.refunds(other)) == (2, 0)


# --- upload ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filename",
    [
        f'filename="{NAME}"',
        f"filename*=UTF-8''{quote(NAME)}",
        f"filename=\"x.pdf\"; filename*=utf-8''{quote(NAME)}",
        f"filename*=utf-8''{quote(NAME)}; filename=\"x.pdf\"",
        f"filename*0*=utf-8''{quote(NAME[:9])}; filename*1*={quote(NAME[9:-4])}; filename*2=.pdf",
    ],
)
def test_a_file_name_arrives_however_it_is_written(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, filename: str
) -> None:
    document = portal.add_document(form)
    assert (
        client.upload(form, document, RESULT_FIELD, multipart(part(f"form-data; name=file; {filename}"))).status == 200
    )
    shown = field_of(client.details(form, document), "antwort")
    assert shown["fileUploadAdditionalData"]["name"] == shown["value"] == NAME


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
def test_semicolons_and_quotes_in_a_file_name_survive(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    document = portal.add_document(form)
    client.upload(form, document, RESULT_FIELD, file_named('a;b; c=d \\"x\\".pdf'))
    assert portal.uploads(document, RESULT_FIELD)[0].name == 'a;b; c=d "x".pdf'


def test_a_file_arrives_byte_for_byte(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    document, content = portal.add_document(form), bytes(range(256)) * 8192
    body = multipart(part('form-data; name="file"; filename="a.bin"', content, None))
    assert client.upload(form, document, RESULT_FIELD, body).status == 200
    (stored,) = portal.uploads(document, RESULT_FIELD)
    assert hashlib.sha256(stored.content).digest() == hashlib.sha256(content).digest()
    assert stored.content_type == "application/octet-stream"
    shown = field_of(client.details(form, document), "antwort")["fileUploadAdditionalData"]
    assert decoded(shown["base64File"]) == content


def test_a_second_upload_of_the_same_file_is_a_duplicate(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    document = portal.add_document(form)
    for _ in range(2):
        client.upload(form, document, RESULT_FIELD, file_named("a.pdf"))
    assert [file.name for file in portal.uploads(document, RESULT_FIELD)] == ["a.pdf", "a.pdf"]
    assert field_of(client.details(form, document), "antwort")["fileUploadAdditionalData"]["name"] == "a.pdf"
    portal.options.file_shape = FileShape.LIST
    assert len(field_of(client.details(form, document), "antwort")["fileUploadAdditionalData"]) == 2


def test_an_upload_whose_answer_was_lost_is_in_the_details(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller
) -> None:
    document = portal.add_document(form)
    portal.faults.add(Fault(Kind.LOST_ANSWER, match="POST /Form/.*/file/.*", times=1))
    with suppress(OSError, HTTPException):
        client.upload(form, document, RESULT_FIELD, file_named("a.pdf"))
    assert field_of(client.details(form, document), "antwort")["fileUploadAdditionalData"]["name"] == "a.pdf"


@pytest.mark.parametrize("field", [1, 99, "antwort", "03"])
def test_only_a_file_field_takes_a_file(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, field: int | str
) -> None:
    document = portal.add_document(form)
    assert client.upload(form, document, field, file_named("a.pdf")).status == 400


GOOD_PART = part('form-data; name="file"; filename="a.pdf"')


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
@pytest.mark.parametrize(
    "body",
    [
        multipart(),
        multipart(GOOD_PART, GOOD_PART),
        multipart(GOOD_PART, part('form-data; name="comment"', b"x")),
        multipart(part('form-data; name="document"; filename="a.pdf"')),
        multipart(part('form-data; name="file"')),
        multipart(part('form-data; name="file"; filename=""')),
        multipart(part('attachment; name="file"; filename="a.pdf"')),
        multipart(part('form-data; name="file"; filename="ä.pdf"')).replace("ä".encode(), b"\xe4"),
        GOOD_PART,
        GOOD_PART[: len(GOOD_PART) // 2],
        multipart(GOOD_PART)[:-5],
        b"%PDF",
        b"",
    ],
)
def test_an_upload_has_exactly_one_part_with_a_name(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, body: bytes
) -> None:
    document = portal.add_document(form)
    assert client.upload(form, document, RESULT_FIELD, body).status == 400
    assert portal.uploads(document, RESULT_FIELD) == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("application/pdf", 415), ("multipart/mixed; boundary=grenze", 415), ("multipart/form-data", 400)],
)
def test_an_upload_is_multipart_form_data(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, content_type: str, status: int
) -> None:
    path = f"/Form/{form}/document/{portal.add_document(form)}/file/{RESULT_FIELD}"
    assert client.call("POST", path, file_named("a.pdf"), content_type).status == status


@pytest.mark.parametrize("status", [201, 204])
def test_an_upload_may_be_answered_otherwise(
    portal: SimulatedDigitaleGemeinde, form: str, client: Caller, status: int
) -> None:
    portal.options.upload_status = status
    answer = client.upload(form, portal.add_document(form), RESULT_FIELD, file_named("a.pdf"))
    assert (answer.status, bool(answer.body)) == (status, status == 201)


# --- limits, counts, faults, control ---------------------------------------------------------------------------------


def test_the_rate_limit_opens_again_when_it_says(
    portal: SimulatedDigitaleGemeinde, client: Caller, clock: Clock
) -> None:
    portal.options.rate_limit = RateLimit(2, timedelta(seconds=30))
    assert [client.count().status, client.count().status] == [200, 200]
    clock.moves(seconds=10.5)
    refused = client.count()
    assert (refused.status, refused.headers["retry-after"]) == (429, "20")
    assert client.login().status == 429
    clock.moves(seconds=19)
    assert client.count().headers["retry-after"] == "1"
    clock.moves(seconds=1)
    assert client.count().status == 200


def test_calls_are_counted_by_route_and_document(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    document = portal.add_document(form)
    client.details(form, document)
    client.details(form, "4711")
    client.token = ""
    client.details(form, document)
    assert (portal.calls("details"), portal.calls("details", document)) == (3, 2)
    assert (portal.calls("token"), portal.calls("upload")) == (1, 0)


@pytest.mark.parametrize("status", [401, 403])
def test_the_expired_token_fault_is_worded_as_a_refusal(
    portal: SimulatedDigitaleGemeinde, client: Caller, status: int
) -> None:
    portal.options.refusal_status = status
    portal.faults.add(Fault(Kind.EXPIRED_TOKEN))
    assert (client.count().status, client.login().status) == (status, 401)


def test_forms_refuse_what_they_do_not_have(portal: SimulatedDigitaleGemeinde) -> None:
    form = portal.add_form("Klein", [FormField(7, "text"), file_field(8, "datei")], form_id="f-1")
    with pytest.raises(ValueError, match="no field"):
        portal.add_document(form, {"name": "x"})
    with pytest.raises(ValueError, match="takes files"):
        portal.add_document(form, {"datei": "x"})
    with pytest.raises(ValueError, match="takes no files"):
        portal.add_document(form, files={"text": [("a", b"", "text/plain")]})
    with pytest.raises(ValueError, match="no form"):
        portal.add_document("f-2")
    with pytest.raises(ValueError, match="exists"):
        portal.add_document(form, document_id=portal.add_document(form))
    with pytest.raises(ValueError, match="exists"):
        portal.add_form(form_id="f-1")


def test_the_control_routes_add_show_and_change(portal: SimulatedDigitaleGemeinde, form: str, client: Caller) -> None:
    documents = "/_sandbox/documents"
    file = {"name": "a.txt", "contentBase64": base64.b64encode(b"a").decode(), "contentType": "text/plain"}
    added = ask_json(
        client.port,
        "POST",
        documents,
        {"fields": {"name": "Zoë"}, "files": {"beilage": [file]}, "submitted": "2026-02-19T09:00:00"},
    )
    assert added.status == 201
    document = added.json()["documentId"]
    assert added.json()["submittedDate"] == "2026-02-19T09:00:00"
    assert field_of(client.details(form, document), "beilage")["fileUploadAdditionalData"]["name"] == "a.txt"
    client.upload(form, document, RESULT_FIELD, file_named("r.pdf"))
    assert ask_json(client.port, "POST", f"{documents}/{document}/status", {"status": REFUND}).status == 200
    assert ask(client.port, "GET", f"{documents}/{document}").json() == {
        "documentId": document,
        "status": REFUND,
        "history": [[NEW, "citizen"], [REFUND, "clerk"]],
        "uploads": {"3": ["r.pdf"]},
        "refunds": 1,
    }
    state = ask(client.port, "GET", "/_sandbox/state").json()
    assert (state["documents"], state["uploads"], state["refunds"], state["statuses"]) == (1, 1, 1, {REFUND: 1})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"formId": "x"}),
        ("", {"unknown": 1}),
        ("", {"fields": []}),
        ("", {"files": {"beilage": [{"name": "a"}]}}),
        ("", {"submitted": "gestern"}),
        ("/4711/status", {"status": DONE}),
    ],
)
def test_the_control_routes_refuse_nonsense(form: str, client: Caller, path: str, body: Mapping[str, Any]) -> None:
    assert ask_json(client.port, "POST", f"/_sandbox/documents{path}", body).status == 400
