"""The simulated Altinn against its pages: who may call, what a query finds, what becomes of instances and data."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest

from sandbox.portals.altinn import (
    PROPOSAL,
    READ,
    V1,
    App,
    DataType,
    File,
    Instance,
    Issue,
    SimulatedAltinn,
    Task,
    new_key_pair,
)
from sandbox.portals.altinn.apps import BYTES_PER_MEGABYTE, DEFAULT_TASKS
from sandbox.portals.altinn.identity import ENTERPRISE_USER_HEADER, FORM_CONTENT_TYPE, GRANT_TYPE
from sandbox.portals.altinn.portal import EXCHANGE_PATH, TOKEN_PATH
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.sandbox.client import Answer, ask, ask_json

START = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)
STORAGE, PROPOSED = "/storage/api/v1", "/storage"
APP = "/org/app"
BEARER = "a-static-token"
PDF, TEXT, JSON = "application/pdf", "text/plain", "application/json"
ATTACHMENT = File("attachment", "Søknad.pdf", PDF, b"%PDF-1.7 attachment")
INSTANCE = {"instanceOwner": {"partyId": "347829"}}


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **more: float) -> None:
        self.now += timedelta(**more)


@dataclass
class Desk:
    """A portal that is served, and a service owner in front of it."""

    altinn: SimulatedAltinn
    port: int
    clock: Clock

    def call(
        self, method: str, target: str, body: bytes | None = None, token: str | None = BEARER, **headers: str
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        return ask(self.port, method, target, body=body, headers=named)

    def send(self, method: str, target: str, document: object, **headers: str) -> Answer:
        return self.call(method, target, json.dumps(document).encode(), Content_Type=JSON, **headers)

    def get(self, target: str) -> Any:
        answer = self.call("GET", target)
        assert answer.status == 200, answer.body
        return answer.json()

    def upload(self, target: str, content: bytes, filename: str = "brev.pdf", content_type: str = PDF) -> Answer:
        disposition = f'attachment; filename="{filename}"'
        return self.call("POST", target, content, Content_Type=content_type, Content_Disposition=disposition)

    def page(self, **query: Any) -> Any:
        return self.get(f"{STORAGE}/instances?{urlencode({'appId': 'org/app', **query}, doseq=True)}")

    def found(self, **query: Any) -> list[str]:
        return [each["id"] for each in self.page(**query)["instances"]]


def desk_of(dialect: str, **more: Any) -> Iterator[Desk]:
    clock = Clock()
    altinn = SimulatedAltinn(dialect=dialect, clock=clock, **more)
    altinn.add_bearer(BEARER)
    altinn.add_app()
    with serve(altinn) as running:
        yield Desk(altinn, running.port, clock)


@pytest.fixture
def desk() -> Iterator[Desk]:
    yield from desk_of(V1)


@pytest.fixture
def proposal() -> Iterator[Desk]:
    yield from desk_of(PROPOSAL)


@pytest.fixture(scope="module")
def key_pair() -> tuple[str, str]:
    return new_key_pair()


def ids(*instances: Instance) -> list[str]:
    return [each.id for each in instances]


def of(instance: Instance, tail: str = "", base: str = STORAGE) -> str:
    return f"{base}/instances/{instance.id}{tail}"


def multipart(*parts: tuple[str, str | None, str | None, bytes]) -> tuple[bytes, str]:
    """A form of (name, file name, content type, content), and its content type."""
    lines: list[bytes] = []
    for name, filename, content_type, content in parts:
        named = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        lines.append(f"--edge\r\nContent-Disposition: {named}\r\n{kind}\r\n".encode() + content + b"\r\n")
    return b"".join(lines) + b"--edge--\r\n", 'multipart/form-data; boundary="edge"'


# --- Maskinporten and the exchange -----------------------------------------------------------------------------------


@dataclass
class Grantee:
    """A client that asks Maskinporten for tokens; what it says can be changed claim by claim."""

    desk: Desk
    private_key: str

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(self.desk.clock().timestamp())
        claims = {
            "aud": self.desk.altinn.audience, "iss": "amtsbote", "scope": READ, "iat": now, "exp": now + 120,
            "jti": str(uuid.uuid4()), **changed,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def assertion(self, algorithm: str = "RS256", kid: str | None = "key-1", **changed: Any) -> str:
        headers = {} if kid is None else {"kid": kid}
        return jwt.encode(self.claims(**changed), self.private_key, algorithm=algorithm, headers=headers)

    def ask(self, assertion: str, grant_type: str = GRANT_TYPE, content_type: str = FORM_CONTENT_TYPE) -> Answer:
        body = urlencode({"grant_type": grant_type, "assertion": assertion}).encode()
        return self.desk.call("POST", TOKEN_PATH, body, None, Content_Type=content_type)

    def refused(self, **changed: Any) -> str:
        answer = self.ask(self.assertion(**changed))
        assert answer.status == 400
        assert answer.json()["error_description"]
        return str(answer.json()["error"])

    def token(self, **changed: Any) -> str:
        return str(self.ask(self.assertion(**changed)).json()["access_token"])

    def exchanged(self, token: str, **headers: str) -> Answer:
        return self.desk.call("GET", EXCHANGE_PATH, None, token, **headers)

    def altinn_token(self, **changed: Any) -> str:
        return self.exchanged(self.token(**changed)).body.decode()


@pytest.fixture
def grantee(desk: Desk, key_pair: tuple[str, str]) -> Grantee:
    private, public = key_pair
    desk.altinn.add_client("amtsbote", "org", [READ, "other:scope"], {"key-1": public})
    return Grantee(desk, private)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_a_signed_grant_becomes_a_token(grantee: Grantee, algorithm: str) -> None:
    answer = grantee.ask(grantee.assertion(algorithm))
    assert answer.status == 200
    document = answer.json()
    assert (document["token_type"], document["expires_in"], document["scope"]) == ("Bearer", 120, READ)
    assert grantee.desk.altinn.identities.grants == 1


def test_the_way_from_the_grant_to_the_storage(grantee: Grantee) -> None:
    token = grantee.altinn_token()
    assert grantee.desk.call("GET", f"{STORAGE}/instances?appId=org/app", None, token).status == 200


def test_a_login_is_made_whole(desk: Desk) -> None:
    login = desk.altinn.add_login("org")
    grantee = Grantee(desk, login.private_key)
    assert grantee.ask(grantee.assertion(kid=login.key_id, iss=login.client_id)).status == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"aud": "https://elsewhere.example/"}, "invalid_grant"),
        ({"aud": None}, "invalid_grant"),
        ({"jti": None}, "invalid_grant"),
        ({"nbf": 1}, "invalid_grant"),
        ({"scope": "altinn:unknown"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": [READ]}, "invalid_scope"),
        ({"iss": "nobody"}, "invalid_client"),
        ({"kid": "key-2"}, "invalid_grant"),
        ({"kid": None}, "invalid_grant"),
    ],
)
def test_a_grant_that_says_something_else_is_refused(grantee: Grantee, changed: Mapping[str, Any], error: str) -> None:
    assert grantee.refused(**changed) == error
    assert grantee.desk.altinn.identities.grants == 0


def test_the_audience_is_one_string_and_not_the_token_url(grantee: Grantee) -> None:
    assert grantee.refused(aud=[grantee.desk.altinn.audience]) == "invalid_grant"
    assert grantee.refused(aud=grantee.desk.altinn.token_url) == "invalid_grant"


@pytest.mark.parametrize(
    ("issued_in", "lives", "status"),
    [
        (0, 120, 200),
        (0, 121, 400),
        (0, 0, 400),
        (10, 60, 200),
        (11, 60, 400),
        (-10, 60, 200),
        (-11, 60, 400),
        (-9, 5, 400),
    ],
)
def test_a_grant_is_of_now_and_short(grantee: Grantee, issued_in: int, lives: int, status: int) -> None:
    issued = int(START.timestamp()) + issued_in
    assert grantee.ask(grantee.assertion(iat=issued, exp=issued + lives)).status == status


def test_times_are_whole_seconds(grantee: Grantee) -> None:
    assert grantee.refused(iat=START.timestamp() + 0.5) == "invalid_grant"


def test_a_jti_is_good_once(grantee: Grantee) -> None:
    assertion = grantee.assertion(jti="once")
    assert [grantee.ask(assertion).status, grantee.ask(assertion).status] == [200, 400]
    assert grantee.refused(jti="once") == "invalid_grant"


def test_another_key_or_a_symmetric_one_signs_nothing(grantee: Grantee) -> None:
    stranger = Grantee(grantee.desk, new_key_pair()[0])
    assert stranger.refused() == "invalid_grant"
    forged = jwt.encode(grantee.claims(), "x" * 64, algorithm="HS256", headers={"kid": "key-1"})
    assert grantee.ask(forged).status == 400
    assert grantee.ask("no.jwt").json()["error"] == "invalid_grant"


def test_the_token_request_is_a_form_with_the_grant_type(grantee: Grantee) -> None:
    assert grantee.ask(grantee.assertion(), grant_type="client_credentials").json()["error"] == "unsupported_grant_type"
    assert grantee.ask(grantee.assertion(), content_type=JSON).json()["error"] == "invalid_request"
    empty = grantee.desk.call("POST", TOKEN_PATH, f"grant_type={GRANT_TYPE}".encode(), Content_Type=FORM_CONTENT_TYPE)
    assert empty.json()["error"] == "invalid_request"


def test_the_exchanged_token_is_bare_or_quoted(grantee: Grantee) -> None:
    bare = grantee.exchanged(grantee.token())
    quoted = grantee.exchanged(grantee.token(), Accept=JSON)
    assert bare.body.count(b".") == 2
    assert not bare.body.startswith(b'"')
    assert quoted.body.startswith(b'"')
    assert quoted.json().count(".") == 2


def test_the_exchange_refuses_what_maskinporten_did_not_give(grantee: Grantee) -> None:
    assert grantee.exchanged("invented").status == 401
    assert grantee.exchanged(grantee.altinn_token()).status == 401
    assert grantee.exchanged(grantee.token(), **{ENTERPRISE_USER_HEADER: "x"}).status == 410


def test_a_token_of_maskinporten_does_not_open_the_storage(grantee: Grantee) -> None:
    answer = grantee.desk.call("GET", f"{STORAGE}/instances?appId=org/app", None, grantee.token())
    assert (answer.status, answer.body) == (401, b"")
    assert "invalid_token" in answer.headers["www-authenticate"]


def test_tokens_run_out_to_the_second(grantee: Grantee) -> None:
    early, token = grantee.token(), grantee.altinn_token()
    target = f"{STORAGE}/instances?appId=org/app"
    grantee.desk.clock.passes(seconds=120)
    assert grantee.exchanged(early).status == 401
    grantee.desk.clock.passes(seconds=30 * 60 - 121)
    assert grantee.desk.call("GET", target, None, token).status == 200
    grantee.desk.clock.passes(seconds=1)
    assert grantee.desk.call("GET", target, None, token).status == 401


def test_all_issued_tokens_can_expire_at_once_and_static_ones_stay(grantee: Grantee) -> None:
    target, token, early = f"{STORAGE}/instances?appId=org/app", grantee.altinn_token(), grantee.token()
    grantee.desk.altinn.expire_tokens()
    assert grantee.desk.call("GET", target, None, token).status == 401
    assert grantee.exchanged(early).status == 401
    assert grantee.desk.call("GET", target).status == 200
    grantee.desk.altinn.revoke_bearer(BEARER)
    assert grantee.desk.call("GET", target).status == 401


def test_without_a_service_owners_scope_there_is_no_organisation(grantee: Grantee) -> None:
    token = grantee.altinn_token(scope="other:scope")
    assert grantee.desk.call("GET", f"{STORAGE}/instances?appId=org/app", None, token).status == 403


def test_reading_is_no_licence_to_write(grantee: Grantee) -> None:
    instance = grantee.desk.altinn.add_instance(ended=True)
    token = grantee.altinn_token()
    assert grantee.desk.call("GET", of(instance), None, token).status == 200
    assert grantee.desk.call("POST", of(instance, "/complete"), None, token).status == 403
    assert grantee.desk.altinn.confirmations(instance) == []


def test_a_key_that_is_not_rsa_is_not_registered(desk: Desk) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="RSA"):
        desk.altinn.add_client("amtsbote", "org", [READ], {"key-1": pem})


# --- the query of today ----------------------------------------------------------------------------------------------


def three(desk: Desk, step: timedelta = timedelta(hours=1)) -> list[Instance]:
    return [desk.altinn.add_instance(ended=True, created=START + number * step) for number in range(3)]


def test_the_newest_change_comes_first_unless_asked_otherwise(desk: Desk) -> None:
    first, second, third = three(desk)
    assert desk.found() == ids(third, second, first)
    assert desk.found(order="asc:lastChanged") == ids(first, second, third)
    desk.altinn.touch(first, START + timedelta(days=1))
    assert desk.found(order="asc:lastChanged") == ids(second, third, first)


def test_an_answer_counts_itself_and_nothing_else(desk: Desk) -> None:
    three(desk)
    page = desk.page()
    assert page["count"] == 3
    assert page["next"] is None
    assert page["self"].startswith(f"{desk.altinn.storage_url}/instances?appId=")
    assert "totalHits" not in page


def test_next_follows_a_full_page_so_that_the_last_one_is_empty(desk: Desk) -> None:
    instances = [*three(desk), desk.altinn.add_instance(created=START + timedelta(days=1))]
    pages = list(all_pages(desk, f"{STORAGE}/instances?appId=org/app&order=asc:lastChanged&size=2"))
    assert [page["count"] for page in pages] == [2, 2, 0]
    assert [each["id"] for page in pages for each in page["instances"]] == ids(*instances)


def all_pages(desk: Desk, target: str) -> Iterator[Any]:
    link: str | None = target
    while link is not None:
        page = desk.get(link.removeprefix(desk.altinn.base_url))
        yield page
        link = page.get("next")


def test_the_continuation_token_is_the_change_and_the_number_of_the_last_one(desk: Desk) -> None:
    desk.altinn.add_instance(created=datetime(2026, 1, 1, tzinfo=UTC))
    link = desk.page(size=1, order="asc:lastChanged")["next"]
    assert parse_qs(urlsplit(link).query)["continuationToken"] == ["639028224000000000;1"]
    assert link.endswith("%3B1")
    assert desk.call("GET", link.removeprefix(desk.altinn.base_url).replace("%3B", "%253B")).status == 500


def test_equal_changes_are_lost_at_a_page_edge_downwards_and_not_upwards(desk: Desk) -> None:
    instances = three(desk, step=timedelta(0))
    down = list(all_pages(desk, f"{STORAGE}/instances?appId=org/app&size=1"))
    up = list(all_pages(desk, f"{STORAGE}/instances?appId=org/app&size=1&order=asc:lastChanged"))
    assert [each["id"] for page in down for each in page["instances"]] == ids(instances[0])
    assert [each["id"] for page in up for each in page["instances"]] == ids(*instances)


def test_a_page_has_as_many_instances_as_the_portal_was_made_with() -> None:
    for desk in chain(desk_of(V1, page_size=2), desk_of(PROPOSAL, page_size=2)):
        three(desk)
        target = f"{desk.altinn.storage_url}/instances?appId=org/app".removeprefix(desk.altinn.base_url)
        assert [page["count"] for page in all_pages(desk, target)] == [2, 1]


def test_what_changes_between_two_pages_jumps_ahead_of_the_cursor(desk: Desk) -> None:
    first, second, third = three(desk)
    desk.altinn.after_each_page(lambda: desk.altinn.touch(first, START + timedelta(days=1)))
    down = list(all_pages(desk, f"{STORAGE}/instances?appId=org/app&size=1"))
    assert [each["id"] for page in down for each in page["instances"]] == ids(third, second)
    up = list(all_pages(desk, f"{STORAGE}/instances?appId=org/app&size=1&order=asc:lastChanged"))
    assert [each["id"] for page in up for each in page["instances"]] == ids(second, third, first)


def test_one_hundred_are_a_page_unless_another_size_is_asked_for(desk: Desk) -> None:
    for number in range(101):
        desk.altinn.add_instance(created=START + timedelta(seconds=number))
    assert desk.page()["count"] == 100
    assert desk.page(size=101)["count"] == 101


@pytest.mark.parametrize("query", ["size=0", "size=x", "process.currentTasks=Task_1", "confirmed=maybe"])
def test_a_query_that_cannot_be_read_is_refused(desk: Desk, query: str) -> None:
    assert desk.call("GET", f"{STORAGE}/instances?appId=org/app&{query}").status == 400


def test_an_organisation_or_an_app_must_be_named_and_be_ones_own(desk: Desk) -> None:
    desk.altinn.add_instance("org/app")
    desk.altinn.add_instance("org/other")
    desk.altinn.add_instance("else/app")
    assert desk.call("GET", f"{STORAGE}/instances").status == 400
    assert desk.get(f"{STORAGE}/instances?org=org")["count"] == 2
    assert desk.page()["count"] == 1
    for foreign in ("org=else", "appId=else/app", "org=else&appId=org/app"):
        assert desk.call("GET", f"{STORAGE}/instances?{foreign}").status == 403


@pytest.mark.parametrize("name", ["lastChanged", "created"])
@pytest.mark.parametrize(
    ("operator", "places"), [("gt", [2]), ("gte", [1, 2]), ("lt", [0]), ("lte", [0, 1]), ("eq", [1])]
)
def test_times_are_compared_by_an_operator(desk: Desk, name: str, operator: str, places: list[int]) -> None:
    instances = three(desk)
    condition = {name: f"{operator}:2026-02-19T15:30:00Z", "order": "asc:lastChanged"}
    assert desk.found(**condition) == [instances[place].id for place in places]


def test_a_range_is_two_operators_and_one_of_them_twice_breaks_the_query(desk: Desk) -> None:
    _, second, _ = three(desk)
    assert desk.found(lastChanged=["gt:2026-02-19T14:30:00Z", "lt:2026-02-19T16:30:00Z"]) == ids(second)
    twice = urlencode({"lastChanged": ["gt:2026-02-19", "gt:2026-02-20"]}, doseq=True)
    answer = desk.call("GET", f"{STORAGE}/instances?appId=org/app&{twice}")
    assert answer.status == 500
    assert b"query" in answer.body


def test_a_bare_time_is_ignored_and_a_bare_date_breaks_the_query(desk: Desk) -> None:
    three(desk)
    assert desk.page(lastChanged="2030-01-01T00:00:00Z")["count"] == 3
    assert desk.call("GET", f"{STORAGE}/instances?appId=org/app&lastChanged=2030-01-01").status == 500
    assert desk.call("GET", f"{STORAGE}/instances?appId=org/app&lastChanged=gt:yesterday").status == 500


def test_an_order_or_a_version_that_there_is_not(desk: Desk) -> None:
    assert desk.call("GET", f"{STORAGE}/instances?appId=org/app&order=asc:created").status == 500
    assert desk.call("GET", f"{STORAGE}/instances?appId=org/app&mainVersionInclude=all").status == 400


def test_the_end_of_the_process_is_compared_as_text(desk: Desk) -> None:
    instance = desk.altinn.add_instance(ended=True)
    desk.altinn.add_instance()
    assert desk.found(**{"process.ended": "gt:2026-02-19T14:00:00Z"}) == ids(instance)
    assert desk.found(**{"process.ended": "gt:2026-02-19T16:00:00+02:00"}) == []


def test_due_and_visible_are_compared_as_text_too(desk: Desk) -> None:
    instance = desk.altinn.add_instance(due_before="2026-06-01T12:00:00Z", visible_after="2026-05-01T00:00:00Z")
    assert desk.found(dueBefore="lt:2026-06-02T00:00:00Z", visibleAfter="gte:2026-05-01T00:00:00Z") == ids(instance)
    assert desk.found(dueBefore="lt:2026-06-01T00:00:00Z") == []


def test_tasks_states_and_parties_select(desk: Desk) -> None:
    filling = desk.altinn.add_instance(party_id=1)
    confirming = desk.altinn.add_instance(party_id=2, task="Task_2")
    archived = desk.altinn.add_instance(party_id=3, ended=True, soft_deleted=True)
    assert desk.found(**{"process.currentTask": "Task_2"}) == ids(confirming)
    assert desk.found(**{"process.isComplete": "true"}) == ids(archived)
    assert desk.found(**{"status.isArchived": "False"}) == ids(filling, confirming)
    assert desk.found(**{"status.isSoftDeleted": "true"}) == ids(archived)
    assert desk.found(**{"instanceOwner.partyId": "1"}) == ids(filling)
    assert desk.found(**{"process.endEvent": "no such thing"}) == ids(filling, confirming, archived)


def test_hard_deleted_instances_are_among_the_answers_unless_left_out(desk: Desk) -> None:
    deleted = desk.altinn.add_instance(ended=True, hard_deleted=True)
    there = desk.altinn.add_instance(ended=True)
    assert desk.found() == ids(deleted, there)
    assert desk.found(**{"status.isHardDeleted": "false"}) == ids(there)


def test_confirmed_speaks_of_the_callers_own_organisation(desk: Desk) -> None:
    confirmed = desk.altinn.add_instance(ended=True, confirmed=True)
    by_another = desk.altinn.add_instance(ended=True, confirmed=["skd"])
    assert desk.found(confirmed="false") == ids(by_another)
    assert desk.found(confirmed="true") == ids(confirmed)
    assert desk.found(excludeConfirmedBy="skd") == ids(confirmed)


def test_what_was_migrated_is_hidden_unless_asked_for(desk: Desk) -> None:
    migrated = desk.altinn.add_instance(main_version=2)
    there = desk.altinn.add_instance()
    assert desk.found() == ids(there)
    assert desk.found(mainVersionInclude="2") == ids(migrated)
    assert desk.found(mainVersionExclude="1") == ids(migrated, there)


def test_a_person_or_an_organisation_is_named_in_a_header(desk: Desk) -> None:
    instance = desk.altinn.add_instance(owner={"personNumber": "12247918309"})
    desk.altinn.add_instance()
    target = f"{STORAGE}/instances?appId=org/app"
    answer = desk.call("GET", target, X_Ai_InstanceOwnerIdentifier="Person:12247918309")
    assert [each["id"] for each in answer.json()["instances"]] == ids(instance)
    assert desk.call("GET", target, X_Ai_InstanceOwnerIdentifier="12247918309").status == 400


def test_an_answer_can_do_without_data_elements(desk: Desk) -> None:
    desk.altinn.add_instance(files=[ATTACHMENT])
    assert len(desk.page()["instances"][0]["data"]) == 1
    assert desk.page(includeDataElements="false")["instances"][0]["data"] == []


def test_presentation_texts_can_be_searched(desk: Desk) -> None:
    instance = desk.altinn.add_instance()
    desk.altinn.add_instance()
    assert desk.send("PUT", of(instance, "/presentationtexts"), {"texts": {"name": "Nordmann"}}).status == 200
    assert desk.found(searchString="nordm") == ids(instance)


def test_the_next_link_can_lead_to_a_stranger(desk: Desk) -> None:
    three(desk)
    desk.altinn.lead_next_to("http://stranger.example")
    assert desk.page(size=1)["next"].startswith(f"http://stranger.example{STORAGE}/instances?")
    desk.altinn.lead_next_to(None)
    assert desk.page(size=1)["next"].startswith(desk.altinn.base_url)


# --- instances and data elements of today ----------------------------------------------------------------------------


def test_an_instance_as_it_is_shown(desk: Desk) -> None:
    instance = desk.altinn.add_instance(files=[ATTACHMENT], task="Task_2", party_id=347829)
    shown = desk.get(of(instance))
    (element,) = shown["data"]
    assert shown["instanceOwner"]["partyId"] == "347829"
    assert shown["process"]["currentTask"]["elementId"] == "Task_2"
    assert (element["filename"], element["size"], element["contentHash"]) == ("Søknad.pdf", 19, None)
    assert element["selfLinks"]["platform"] == f"{desk.altinn.base_url}{of(instance)}/data/{element['id']}"
    assert element["fileScanResult"] == "NotApplicable"
    assert shown == desk.get(f"{STORAGE}/instances/{instance.guid}")
    assert desk.get(of(instance, "/dataelements"))["dataElements"] == [element]


def test_instances_of_nobody_and_of_others(desk: Desk) -> None:
    foreign = desk.altinn.add_instance("else/app", files=[ATTACHMENT])
    (element_id,) = foreign.elements
    assert desk.call("GET", f"{STORAGE}/instances/1/{uuid.uuid4()}").status == 404
    assert desk.call("GET", f"{STORAGE}/instances/{uuid.uuid4()}").status == 404
    for target in (
        of(foreign),
        of(foreign, f"/data/{element_id}"),
        of(foreign, "/events"),
        of(foreign, base="/else/app"),
    ):
        assert desk.call("GET", target).status == 403
    assert desk.call("GET", of(foreign), None, None).status == 401


def test_data_is_handed_out_with_its_name_and_counted_where_only_the_test_looks(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "stor.bin"
    path.write_bytes(bytes(300_000))
    big = File("attachment", 'a"b.bin', "application/octet-stream", path)
    instance = desk.altinn.add_instance(files=[ATTACHMENT, big])
    before = desk.get(of(instance))
    small_id, big_id = instance.elements
    answer = desk.call("GET", of(instance, f"/data/{small_id}"))
    assert (answer.body, answer.headers["content-type"]) == (ATTACHMENT.content, PDF)
    assert "filename*=UTF-8''S%C3%B8knad.pdf" in answer.headers["content-disposition"]
    assert desk.call("GET", of(instance, f"/data/{big_id}")).body == bytes(300_000)
    assert desk.get(of(instance)) == before
    assert desk.altinn.downloads(instance) == {small_id: 1, big_id: 1}
    assert desk.call("GET", of(instance, f"/data/{uuid.uuid4()}")).status == 404


def test_a_scan_has_a_result_sooner_or_later(desk: Desk) -> None:
    instance = desk.altinn.add_instance(files=[("attachment", "a.txt", TEXT, b"a", "Pending"), ATTACHMENT])
    first, _ = instance.elements
    desk.altinn.set_scan_result(instance, "Infected", first)
    assert [each["fileScanResult"] for each in desk.get(of(instance))["data"]] == ["Infected", "NotApplicable"]
    with pytest.raises(ValueError, match="no scan result"):
        desk.altinn.set_scan_result(instance, "Fine")
    with pytest.raises(ValueError, match="no scan result"):
        desk.altinn.add_instance(files=[("attachment", "a.txt", TEXT, b"a", "Fine")])


def test_complete_counts_once_for_each_organisation(desk: Desk) -> None:
    instance = desk.altinn.add_instance(ended=True)
    desk.clock.passes(minutes=1)
    answer = desk.call("POST", of(instance, "/complete"), b"whatever")
    assert answer.status == 200
    expected = [{"stakeholderId": "org", "confirmedOn": "2026-02-19T14:31:00Z"}]
    assert answer.json()["completeConfirmations"] == expected
    assert answer.json()["lastChanged"] == "2026-02-19T14:31:00Z"
    desk.clock.passes(minutes=1)
    assert desk.call("POST", of(instance, "/complete", APP)).json()["completeConfirmations"] == expected
    assert instance.last_changed == START + timedelta(minutes=1)
    assert desk.altinn.confirmations(instance) == [START + timedelta(minutes=1)]
    assert desk.altinn.complete_calls(instance) == 2
    assert desk.found(confirmed="false") == []


def test_complete_needs_the_apps_permission(desk: Desk) -> None:
    desk.altinn.add_app("org/closed", may_complete=False)
    instance = desk.altinn.add_instance("org/closed", ended=True)
    assert desk.call("POST", of(instance, "/complete")).status == 403
    assert (desk.altinn.confirmations(instance), desk.altinn.complete_calls(instance)) == ([], 0)


def test_a_deleted_instance_vanishes_a_week_after_its_confirmation(desk: Desk) -> None:
    instance = desk.altinn.add_instance(ended=True)
    assert desk.call("DELETE", of(instance, "?hard=true")).json()["status"]["isHardDeleted"] is True
    desk.clock.passes(days=30)
    assert desk.call("POST", of(instance, "/complete")).status == 200
    desk.clock.passes(days=6, hours=23)
    assert desk.call("GET", of(instance)).status == 200
    desk.clock.passes(hours=1)
    assert desk.call("GET", of(instance)).status == 404
    with pytest.raises(KeyError):
        desk.altinn.instance(instance)


def test_a_confirmed_instance_that_nobody_deleted_stays(desk: Desk) -> None:
    instance = desk.altinn.add_instance(ended=True, confirmed=True)
    assert desk.call("DELETE", of(instance)).json()["status"]["isSoftDeleted"] is True
    desk.clock.passes(days=365)
    assert desk.call("GET", of(instance)).status == 200


def test_what_never_was_archived_goes_with_the_next_clean_up(desk: Desk) -> None:
    instance = desk.altinn.add_instance(hard_deleted=True)
    assert desk.call("GET", of(instance)).status == 200
    desk.clock.passes(days=1)
    assert desk.call("GET", of(instance)).status == 404


def test_an_app_can_forbid_deletion(desk: Desk) -> None:
    desk.altinn.add_app("org/kept", no_deletion_for_days=30)
    instance = desk.altinn.add_instance("org/kept", ended=True)
    assert desk.call("DELETE", of(instance, "?hard=true")).status == 403
    assert instance.soft_deleted is None


def test_storage_takes_data_elements_with_references(desk: Desk) -> None:
    instance = desk.altinn.add_instance(files=[ATTACHMENT], ended=True)
    (first,) = instance.elements
    answer = desk.upload(of(instance, f"/data?dataType=ref-data-as-pdf&refs={first}"), b"%PDF")
    assert answer.status == 201
    assert answer.json()["refs"] == [first]
    assert desk.upload(of(instance, "/data"), b"x").status == 400
    assert desk.upload(of(instance, "/data?dataType=unknown"), b"x").status == 400
    assert desk.upload(of(instance, "/data?dataType=attachment&refs=unknown"), b"x").status == 400
    assert desk.upload(of(instance, "/data?dataType=attachment"), b"").status == 422
    assert len(instance.elements) == 2


def test_a_locked_data_element_stays_as_it_is(desk: Desk) -> None:
    instance = desk.altinn.add_instance(files=[ATTACHMENT])
    (id,) = instance.elements
    target = of(instance, f"/data/{id}")
    assert desk.call("PUT", f"{target}/lock").json()["locked"] is True
    assert desk.call("PUT", target, b"new", Content_Type=TEXT).status == 409
    assert desk.call("DELETE", target).status == 409
    assert desk.call("DELETE", f"{target}/lock").json()["locked"] is False
    assert desk.call("PUT", target, b"", Content_Type=TEXT).status == 422
    assert desk.call("PUT", target, b"new", Content_Type=TEXT).json()["size"] == 3
    assert desk.call("DELETE", target).status == 200
    assert instance.elements == {}


def test_substatus_and_data_values(desk: Desk) -> None:
    instance = desk.altinn.add_instance()
    assert desk.send("PUT", of(instance, "/substatus"), {"label": "Mottatt"}).status == 200
    assert desk.get(of(instance))["status"]["substatus"] == {"label": "Mottatt", "description": None}
    assert desk.send("PUT", of(instance, "/substatus"), {}).status == 400
    assert desk.send("PUT", of(instance, "/datavalues"), {"values": {"case": "7"}}).json()["dataValues"] == {
        "case": "7"
    }
    assert desk.send("PUT", of(instance, "/datavalues"), {"values": {"case": 7}}).status == 400


def test_an_instance_has_a_list_of_events(desk: Desk) -> None:
    instance = desk.altinn.add_instance(files=[ATTACHMENT], task="Task_1")
    desk.clock.passes(hours=1)
    desk.call("POST", of(instance, "/complete"))
    events = desk.get(of(instance, "/events"))["instanceEvents"]
    kinds = [each["eventType"] for each in events]
    assert kinds == ["Created", "process_StartEvent", "process_StartTask", "ConfirmedComplete"]
    assert [e["eventType"] for e in desk.get(of(instance, "/events?eventTypes=Created"))["instanceEvents"]] == [
        "Created"
    ]
    late = desk.get(of(instance, "/events?from=2026-02-19T15:00:00Z"))["instanceEvents"]
    assert [each["eventType"] for each in late] == ["ConfirmedComplete"]
    assert desk.call("GET", of(instance, "/events?from=late")).status == 400


def test_applications_and_history_in_storage(desk: Desk) -> None:
    instance = desk.altinn.add_instance(ended=True)
    history = desk.get(of(instance, "/process/history"))["processHistory"]
    assert [each["elementId"] for each in history] == ["StartEvent_1", "Task_1", "Task_2", "EndEvent_1"]
    assert desk.get(f"{STORAGE}/applications/org/app")["id"] == "org/app"
    assert [each["id"] for each in desk.get(f"{STORAGE}/applications/org")["applications"]] == ["org/app"]
    assert desk.call("GET", f"{STORAGE}/applications/else").status == 403
    assert desk.call("GET", f"{STORAGE}/applications/org/unknown").status == 404


# --- the app of today ------------------------------------------------------------------------------------------------


def test_an_instance_is_created_from_a_form_with_its_files(desk: Desk) -> None:
    body, content_type = multipart(
        ("instance", None, JSON, json.dumps(INSTANCE).encode()),
        ("model", None, "application/xml", b"<skjema/>"),
        ("attachment", "Bilag.pdf", PDF, b"%PDF"),
    )
    answer = desk.call("POST", f"{APP}/instances", body, Content_Type=content_type)
    assert answer.status == 201
    document = answer.json()
    assert answer.headers["location"] == document["selfLinks"]["apps"]
    assert [(each["dataType"], each["filename"]) for each in document["data"]] == [
        ("model", None),
        ("attachment", "Bilag.pdf"),
    ]
    assert document["process"]["currentTask"]["elementId"] == "Task_1"
    (created,) = desk.altinn.created_instances()
    assert (created.id, created.party_id) == (document["id"], 347829)
    assert [each.content for each in desk.altinn.uploads(created)] == [b"<skjema/>", b"%PDF"]


@pytest.mark.parametrize(
    "parts",
    [
        [("model", None, "application/xml", b"<a/>"), ("instance", None, JSON, b"{}")],
        [("instance", None, JSON, b"{}")],
        [("instance", None, JSON, b"[]")],
        [("instance", None, JSON, b"{")],
        [("instance", None, TEXT, json.dumps(INSTANCE).encode())],
        [("instance", None, JSON, json.dumps({**INSTANCE, "appId": "org/other"}).encode())],
        [("instance", None, JSON, json.dumps({**INSTANCE, "dueBefore": "2026-06-01T12:00:00+02:00"}).encode())],
        [("instance", None, JSON, json.dumps({"instanceOwner": {"personNumber": "1"}}).encode())],
        [("instance", None, JSON, json.dumps(INSTANCE).encode()), ("unknown", "a.pdf", PDF, b"a")],
        [("instance", None, JSON, json.dumps(INSTANCE).encode()), ("model", None, PDF, b"a")],
        [("instance", None, JSON, json.dumps(INSTANCE).encode()), ("attachment", "a.pdf", None, b"a")],
        [
            ("instance", None, JSON, json.dumps(INSTANCE).encode()),
            ("model", None, JSON, b"{}"),
            ("model", None, JSON, b"{}"),
        ],
    ],
)
def test_nothing_is_created_from_a_wrong_form(
    desk: Desk, parts: list[tuple[str, str | None, str | None, bytes]]
) -> None:
    body, content_type = multipart(*parts)
    assert desk.call("POST", f"{APP}/instances", body, Content_Type=content_type).status == 400
    assert (desk.altinn.created_instances(), desk.altinn.uploads()) == ([], [])


def test_an_instance_can_be_created_for_a_party_without_a_template(desk: Desk) -> None:
    assert desk.call("POST", f"{APP}/instances?instanceOwnerPartyId=77").json()["instanceOwner"]["partyId"] == "77"
    assert desk.call("POST", f"{APP}/instances").status == 400
    body, content_type = multipart(("instance", None, JSON, json.dumps(INSTANCE).encode()))
    both = desk.call("POST", f"{APP}/instances?instanceOwnerPartyId=77", body, Content_Type=content_type)
    assert both.status == 400


def test_a_template_alone_goes_to_create(desk: Desk) -> None:
    assert desk.send("POST", f"{APP}/instances", INSTANCE).status == 415
    template = {
        "instanceOwner": {"organisationNumber": "910457292"},
        "dueBefore": "2026-06-01T12:00:00Z",
        "prefill": {"felt": "verdi"},
    }
    answer = desk.send("POST", f"{APP}/instances/create", template)
    assert answer.status == 201
    assert answer.json()["instanceOwner"]["organisationNumber"] == "910457292"
    assert answer.json()["dueBefore"] == "2026-06-01T12:00:00Z"
    again = desk.send("POST", f"{APP}/instances/create", template).json()
    assert again["instanceOwner"] == answer.json()["instanceOwner"]
    assert desk.send("POST", f"{APP}/instances/create", {**template, "prefill": {"felt": 1}}).status == 400
    assert desk.send("POST", "/org/unknown/instances/create", template).status == 404
    assert desk.send("POST", "/else/app/instances/create", template).status == 404
    assert len(desk.altinn.created_instances()) == 2


def test_an_app_makes_its_own_form(desk: Desk) -> None:
    types = [DataType("skjema", ("application/xml",), class_ref="Skjema", auto_create=True, task_id="Task_1")]
    desk.altinn.add_app("org/form", data_types=types)
    document = desk.send("POST", "/org/form/instances/create", INSTANCE).json()
    assert [each["dataType"] for each in document["data"]] == ["skjema"]
    assert desk.altinn.uploads() == []


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="brev.pdf"', "brev.pdf"),
        ("attachment; filename=brev.pdf", "brev.pdf"),
        ("attachment; filename*=UTF-8''Bes%C3%B8k%20%E2%82%AC%20%F0%9F%93%84.pdf", "Besøk € 📄.pdf"),
        ("attachment; filename=\"x.pdf\"; filename*=UTF-8''%C3%A6.pdf", "æ.pdf"),
    ],
)
def test_a_data_element_has_the_name_of_its_header(desk: Desk, disposition: str, name: str) -> None:
    instance = desk.altinn.add_instance()
    target = of(instance, "/data/attachment", APP)
    answer = desk.call("POST", target, b"%PDF", Content_Type=PDF, Content_Disposition=disposition)
    assert answer.status == 201
    (upload,) = desk.altinn.uploads(instance)
    assert (answer.json()["filename"], upload.filename, upload.content) == (name, name, b"%PDF")
    assert (upload.content_type, upload.api, upload.replaced) == (PDF, "app", False)


def test_a_name_in_raw_bytes_is_refused(desk: Desk) -> None:
    instance = desk.altinn.add_instance()
    raw = 'attachment; filename="Besøk.pdf"'.encode().decode("latin-1")
    answer = desk.call("POST", of(instance, "/data/attachment", APP), b"a", Content_Type=PDF, Content_Disposition=raw)
    assert answer.status == 400
    assert desk.altinn.uploads() == []


def codes(answer: Answer) -> list[str]:
    assert all(each["severity"] == 1 for each in answer.json())
    return [each["code"] for each in answer.json()]


def test_the_issues_of_a_file_are_a_list(desk: Desk) -> None:
    instance = desk.altinn.add_instance()
    nameless = desk.call("POST", of(instance, "/data/attachment", APP), b"", Content_Type=PDF)
    assert (nameless.status, codes(nameless)) == (400, ["MissingFileName", "DataElementEmpty"])
    wrong = desk.upload(of(instance, "/data/ref-data-as-pdf", APP), b"a", "a.txt", TEXT)
    assert (wrong.status, codes(wrong)) == (400, ["ContentTypeNotAllowed"])
    assert desk.upload(of(instance, "/data/unknown", APP), b"a").status == 400
    assert desk.upload(of(instance, "/data?dataType=attachment", APP), b"a").status == 404
    assert instance.elements == {}


def test_a_form_needs_no_name_and_is_there_once(desk: Desk) -> None:
    instance = desk.altinn.add_instance()
    target = of(instance, "/data/model", APP)
    assert desk.call("POST", target, b"{}", Content_Type="application/json; charset=utf-8").status == 201
    assert codes(desk.call("POST", target, b"{}", Content_Type=JSON)) == ["TooManyDataElementsOfType"]


def test_a_file_above_its_types_size_is_too_large(desk: Desk) -> None:
    desk.altinn.add_app("org/small", data_types=[DataType("note", max_megabytes=1)])
    instance = desk.altinn.add_instance("org/small")
    target = of(instance, "/data/note", "/org/small")
    assert desk.upload(target, bytes(BYTES_PER_MEGABYTE + 1)).status == 413
    assert desk.upload(target, bytes(BYTES_PER_MEGABYTE)).status == 201


def test_without_a_current_task_nothing_is_taken(desk: Desk) -> None:
    for instance in (desk.altinn.add_instance(ended=True), desk.altinn.add_instance(task=None, ended=False)):
        assert desk.upload(of(instance, "/data/attachment", APP), b"a").status == 409
        assert instance.elements == {}


def test_a_data_element_is_replaced_and_deleted_through_the_app(desk: Desk) -> None:
    instance = desk.altinn.add_instance(files=[ATTACHMENT])
    (id,) = instance.elements
    target = of(instance, f"/data/{id}", APP)
    disposition = 'attachment; filename="ny.pdf"'
    assert desk.call("PUT", target, b"new", Content_Type=PDF, Content_Disposition=disposition).json()["size"] == 3
    assert desk.call("PUT", target, b"new", Content_Type=PDF).status == 400
    assert desk.call("GET", target).body == b"new"
    assert desk.call("DELETE", target).status == 200
    assert [each.replaced for each in desk.altinn.uploads(instance)] == [True]
    assert instance.elements == {}


def test_an_upload_to_a_scanned_type_waits_for_its_scan(desk: Desk) -> None:
    desk.altinn.add_app("org/scanned", data_types=[DataType("note", scanned=True)])
    instance = desk.altinn.add_instance("org/scanned")
    assert desk.upload(of(instance, "/data/note", "/org/scanned"), b"a").json()["fileScanResult"] == "Pending"


def test_the_process_moves_on_to_its_end(desk: Desk) -> None:
    instance = desk.altinn.add_instance()
    target = of(instance, "/process/next", APP)
    desk.clock.passes(minutes=1)
    assert desk.call("PUT", f"{target}?id=EndEvent_1").json()["currentTask"]["elementId"] == "Task_2"
    assert desk.send("PUT", target, {"action": "sign"}).status == 403
    ended = desk.send("PUT", target, {"action": "confirm"}).json()
    assert (ended["currentTask"], ended["endEvent"]) == (None, "EndEvent_1")
    assert desk.send("PUT", target, {}).status == 409
    assert desk.altinn.process_steps(instance) == ["Task_2", "EndEvent_1"]
    assert desk.get(of(instance))["status"]["isArchived"] is True
    assert desk.get(of(instance, "/process", APP))["ended"] == "2026-02-19T14:31:00Z"
    history = desk.get(of(instance, "/process/history", APP))["processHistory"]
    assert [each["elementId"] for each in history] == ["StartEvent_1", "Task_1", "Task_2", "EndEvent_1"]


@pytest.mark.parametrize("status", [409, 423])
def test_a_lock_keeps_the_process_where_it_is_for_a_while(desk: Desk, status: int) -> None:
    instance = desk.altinn.add_instance()
    desk.altinn.lock_instance(instance, times=2, status=status)
    target = of(instance, "/process/next", APP)
    answers = [desk.call("PUT", target) for _ in range(3)]
    assert [answer.status for answer in answers] == [status, status, 200]
    assert answers[0].json()["status"] == status
    assert desk.altinn.process_steps(instance) == ["Task_2"]


def test_issues_keep_the_process_where_it_is(desk: Desk) -> None:
    types = [DataType("attachment", min_count=1, task_id="Task_1"), DataType("later", min_count=1, task_id="Task_2")]
    desk.altinn.add_app("org/strict", data_types=types)
    instance = desk.altinn.add_instance("org/strict")
    one = of(instance, "", "/org/strict")
    refused = desk.call("PUT", f"{one}/process/next")
    assert (refused.status, codes(refused)) == (409, ["TooFewDataElementsOfType"])
    assert desk.get(f"{one}/validate") == refused.json()
    element = desk.altinn.add_element(instance, ATTACHMENT)
    desk.altinn.set_scan_result(instance, "Infected")
    (issue,) = desk.get(f"{one}/data/{element.id}/validate")
    assert (issue["code"], issue["dataElementId"]) == ("DataElementFileInfected", element.id)
    desk.altinn.set_scan_result(instance, "Clean")
    desk.altinn.set_issues(instance, [Issue("Odd", "Something is odd", "Warning")])
    assert desk.get(f"{one}/validate")[0]["severity"] == 2
    assert desk.call("PUT", f"{one}/process/next").status == 200


def test_a_process_is_started_once_and_completed_at_one_go(desk: Desk) -> None:
    instance = desk.altinn.add_instance(task=None)
    one = of(instance, "/process", APP)
    assert desk.call("PUT", f"{one}/next").status == 409
    assert desk.call("POST", f"{one}/start?startEvent=Elsewhere").status == 409
    assert desk.call("POST", f"{one}/start").json()["currentTask"]["elementId"] == "Task_1"
    assert desk.call("POST", f"{one}/start").status == 409
    assert desk.call("PUT", f"{one}/completeProcess").json()["endEvent"] == "EndEvent_1"
    assert desk.altinn.process_steps(instance) == ["Task_2", "EndEvent_1"]
    assert desk.call("PUT", f"{one}/completeProcess").status == 409


def test_completing_stops_at_a_task_that_cannot_be_completed(desk: Desk) -> None:
    desk.altinn.add_app("org/strict", data_types=[DataType("later", min_count=1, task_id="Task_2")])
    instance = desk.altinn.add_instance("org/strict")
    answer = desk.call("PUT", of(instance, "/process/completeProcess", "/org/strict"))
    assert (answer.status, codes(answer)) == (409, ["TooFewDataElementsOfType"])
    assert instance.process.task == DEFAULT_TASKS[1]


def test_the_metadata_of_an_app(desk: Desk) -> None:
    metadata = desk.get(f"{APP}/api/v1/applicationmetadata")
    assert (metadata["id"], [each["id"] for each in metadata["dataTypes"]]) == (
        "org/app",
        ["model", "attachment", "ref-data-as-pdf"],
    )
    assert metadata["dataTypes"][0]["appLogic"]["classRef"] == "Skjema"
    assert desk.call("GET", "/org/unknown/api/v1/applicationmetadata").status == 404


def test_deleting_and_showing_through_the_app(desk: Desk) -> None:
    instance = desk.altinn.add_instance()
    assert desk.call("DELETE", of(instance, "?hard=false", APP)).status == 200
    assert desk.get(of(instance, "", APP)) == desk.get(of(instance))
    desk.altinn.add_app("org/other")
    assert desk.call("GET", of(instance, "", "/org/other")).status == 404


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # aiohttp warns of the header that cannot be read
def test_bodies_that_are_not_what_they_say_are_refused(desk: Desk) -> None:
    create = f"{APP}/instances/create"
    assert desk.call("POST", create, b"{", Content_Type=JSON).status == 400
    assert desk.call("POST", create, b"[]", Content_Type=JSON).status == 400
    assert desk.call("POST", create, b"{}", Content_Type=TEXT).status == 415
    assert desk.send("POST", create, {**INSTANCE, "visibleAfter": "2026-13-01T00:00:00Z"}).status == 400
    form = 'multipart/form-data; boundary="edge"'
    for body in (b"no parts", b"--edge--\r\n"):
        assert desk.call("POST", f"{APP}/instances", body, Content_Type=form).status == 400
    target = of(desk.altinn.add_instance(), "/data/attachment", APP)
    assert desk.call("POST", target, b"a", Content_Type=PDF, Content_Disposition="=;").status == 400


def test_a_data_element_above_everything_is_too_large(desk: Desk) -> None:
    target = of(desk.altinn.add_instance(), "/data/attachment", APP)
    assert desk.call("POST", target, b"", Content_Type=PDF, Content_Length=str(2000 * 1024**2 + 1)).status == 413


# --- the Events API --------------------------------------------------------------------------------------------------

EVENTS = "/events/api/v1/app/org/app"


def polled(desk: Desk, query: str = "from=2020-01-01T00:00:00Z") -> list[Any]:
    return list(desk.get(f"{EVENTS}?{query}"))


def test_events_are_readable_after_half_a_minute(desk: Desk) -> None:
    instance = desk.altinn.add_instance(task="Task_2")
    desk.clock.passes(seconds=29)
    assert polled(desk) == []
    desk.clock.passes(seconds=1)
    events = polled(desk)
    assert [each["type"] for each in events] == [
        "app.instance.created",
        "app.instance.process.movedTo.Task_1",
        "app.instance.process.movedTo.Task_2",
    ]
    assert events[0]["source"] == f"{desk.altinn.base_url}{of(instance, '', APP)}"
    assert (events[0]["specversion"], events[0]["resourceinstance"]) == ("1.0", instance.id)


def test_events_are_polled_page_by_page(desk: Desk) -> None:
    desk.altinn.add_instance(ended=True)
    desk.clock.passes(minutes=1)
    first = desk.call("GET", f"{EVENTS}?from=2020-01-01T00:00:00Z&size=3")
    rest = desk.call("GET", first.headers["next"].removeprefix(desk.altinn.base_url))
    assert [len(first.json()), len(rest.json())] == [3, 1]
    assert rest.json()[0]["type"] == "app.instance.process.completed"
    last = desk.call("GET", f"{EVENTS}?after={rest.json()[0]['id']}")
    assert (last.json(), "next" in last.headers) == ([], False)


def test_an_unknown_or_forgotten_event_makes_all_come_again(desk: Desk) -> None:
    desk.altinn.add_instance()
    desk.clock.passes(minutes=1)
    oldest = polled(desk)[0]["id"]
    assert len(polled(desk, "after=unknown")) == 2
    desk.clock.passes(days=89)
    desk.altinn.add_instance()
    desk.clock.passes(days=1)
    assert [each["id"] for each in polled(desk)] == [each.id for each in desk.altinn.published_events()[2:]]
    assert len(polled(desk, f"after={oldest}")) == 2


def test_hidden_events_take_their_place_in_a_page(desk: Desk) -> None:
    desk.altinn.add_instance(ended=True)
    desk.clock.passes(minutes=1)
    desk.altinn.events.hidden.update(each["id"] for each in polled(desk)[:2])
    answer = desk.call("GET", f"{EVENTS}?from=2020-01-01T00:00:00Z&size=2")
    assert (answer.json(), "next" in answer.headers) == ([], False)


def test_a_poll_says_where_it_begins(desk: Desk) -> None:
    desk.altinn.add_instance(party_id=1)
    desk.altinn.add_instance(party_id=2, created=START + timedelta(hours=1))
    desk.clock.passes(hours=2)
    assert len(polled(desk, "from=2026-02-19T15:00:00Z")) == 2
    assert len(polled(desk, "from=2020-01-01T00:00:00Z&party=1&type=app.instance.created")) == 1
    for query in ("", "from=2026-02-19T15:00:00", "from=never", "after=x&size=0", "after=x&colour=red"):
        assert desk.call("GET", f"{EVENTS}?{query}").status == 400
    desk.altinn.add_app("else/app")
    assert desk.call("GET", "/events/api/v1/app/else/app?after=x").status == 403


# --- the proposal ----------------------------------------------------------------------------------------------------


def proposed(desk: Desk, **query: Any) -> list[str]:
    page = desk.get(f"{PROPOSED}/instances?{urlencode({'appId': 'org/app', **query}, doseq=True)}")
    return [each["id"] for each in page["instances"]]


def test_each_dialect_lacks_what_only_the_other_has(desk: Desk, proposal: Desk) -> None:
    today, early = desk.altinn.add_instance(), proposal.altinn.add_instance()
    assert proposal.call("POST", of(early, "/complete", PROPOSED)).status == 404
    assert proposal.call("POST", of(early, "/complete")).status == 404
    assert proposal.call("GET", f"{APP}/api/v1/applicationmetadata").status == 404
    assert proposal.call("GET", f"{PROPOSED}/instances?appId=org/app&confirmed=false").status == 400
    assert desk.call("PUT", of(today, "/dataelements/confirmDownload")).status == 404
    assert desk.call("GET", of(today, "/downloadAll")).status == 404
    assert desk.call("GET", of(today, "/process/next", APP)).status == 405
    with pytest.raises(ValueError, match="no dialect"):
        SimulatedAltinn(dialect="v2")


def test_the_proposal_counts_all_hits(proposal: Desk) -> None:
    instances = [proposal.altinn.add_instance() for _ in range(3)]
    pages = list(all_pages(proposal, f"{PROPOSED}/instances?appId=org/app&size=2"))
    assert [(page["totalHits"], page["count"]) for page in pages] == [(3, 2), (3, 1)]
    assert [each["id"] for page in pages for each in page["instances"]] == ids(*instances)
    assert "%25" in pages[0]["next"]
    assert "next" not in pages[1]
    assert proposal.call("GET", f"{PROPOSED}/instances?appId=org/app&continuationToken=x").status == 400


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        ("gt:2026-02-19T15:30:00Z", [2]),
        ("2026-02-19T15:30:00Z", [1]),
        ("eq:2026-02-19T15:30:00Z", [1]),
        ("lt:2026-03", [0, 1, 2]),
        ("gte:2026-02-20", []),
    ],
)
def test_the_proposals_conditions_may_be_blank(proposal: Desk, condition: str, places: list[int]) -> None:
    instances = three(proposal)
    assert proposed(proposal, lastChanged=condition) == [instances[place].id for place in places]


def test_the_proposals_ranges_labels_and_tasks(proposal: Desk) -> None:
    one = proposal.altinn.add_instance(labels=("gr", "x2"), task="Task_2", due_before="2026-02-10T00:00:00Z")
    two = proposal.altinn.add_instance(labels=("gr",), due_before="2026-04-01T00:00:00Z")
    ended = proposal.altinn.add_instance(ended=True)
    assert proposed(proposal, **{"appOwner.label": "gr"}) == ids(one, two)
    assert proposed(proposal, **{"appOwner.label": ["gr", "x2"]}) == ids(one)
    assert proposed(proposal, **{"process.currentTask": "Task_2"}) == ids(one)
    assert proposed(proposal, dueBefore=["gt:2026-02", "lt:2026-03-01"]) == ids(one)
    assert proposed(proposal, **{"process.ended": "gt:2026-02-19"}) == ids(ended)
    assert proposal.call("GET", f"{PROPOSED}/instances?appId=org/app&lastChanged=gt:soon").status == 400


def test_a_download_is_logged_and_confirmed_one_by_one_or_all_at_once(proposal: Desk) -> None:
    instance = proposal.altinn.add_instance(files=[ATTACHMENT, ATTACHMENT], ended=True)
    first, second = instance.elements
    proposal.call("GET", of(instance, f"/data/{first}", PROPOSED))
    proposal.clock.passes(days=1)
    assert proposal.call("PUT", of(instance, f"/dataelements/{first}/confirmDownload", PROPOSED)).status == 200
    (element, untouched) = proposal.get(of(instance, "", PROPOSED))["data"]
    assert element["applicationOwner"] == {
        "downloaded": ["2026-02-19T14:30:00Z"],
        "downloadConfirmed": ["2026-02-20T14:30:00Z"],
    }
    assert untouched["applicationOwner"] == {}
    assert "fileScanResult" not in element
    answer = proposal.call("PUT", of(instance, "/dataelements/confirmDownload", PROPOSED))
    assert answer.json()["id"] == instance.id
    confirmed = proposal.altinn.confirmed_downloads(instance)
    assert [len(confirmed[first]), len(confirmed[second])] == [2, 1]


def test_the_proposals_data_elements(proposal: Desk) -> None:
    instance = proposal.altinn.add_instance(files=[ATTACHMENT])
    (id,) = instance.elements
    (listed,) = proposal.get(of(instance, "/data", PROPOSED))
    assert proposal.get(of(instance, "/dataelements", PROPOSED)) == [listed]
    assert proposal.get(of(instance, f"/dataelements/{id}", PROPOSED)) == listed
    receipt = proposal.upload(of(instance, f"/data?dataType=ref-data-as-pdf&refs={id}", PROPOSED), b"%PDF")
    assert receipt.json()["refs"] == [id]


def test_everything_comes_in_one_answer(proposal: Desk) -> None:
    instance = proposal.altinn.add_instance(files=[ATTACHMENT, ("attachment", "b.txt", TEXT, b"linje\r\n", "Clean")])
    answer = proposal.call("GET", of(instance, "/downloadAll", PROPOSED))
    message = message_from_bytes(f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode() + answer.body)
    parts: list[Any] = list(message.get_payload())
    assert [part.get_content_type() for part in parts] == [JSON, PDF, TEXT]
    assert json.loads(parts[0].get_payload())["id"] == instance.id
    assert parts[1].get_payload(decode=True) == ATTACHMENT.content
    assert set(proposal.altinn.downloads(instance).values()) == {1}


def test_the_proposal_creates_from_a_template_with_labels_and_a_title(proposal: Desk) -> None:
    template = {**INSTANCE, "appId": "org/app", "appOwner": {"labels": ["gr", "x2"]}, "title": {"nb": "Melding"}}
    document = proposal.send("POST", f"{APP}/instances", template).json()
    assert (document["appOwner"], document["title"]) == ({"labels": ["gr", "x2"]}, {"nb": "Melding"})
    assert document["status"] == {"archived": None, "softDeleted": None, "hardDeleted": None}
    body, content_type = multipart(
        ("instance", None, JSON, json.dumps(template).encode()), ("attachment", "a.pdf", PDF, b"%PDF")
    )
    answer = proposal.call("POST", f"{APP}/instances", body, Content_Type=content_type)
    assert [each["filename"] for each in answer.json()["data"]] == ["a.pdf"]
    assert len(proposal.altinn.created_instances()) == 2


def test_the_proposal_takes_data_by_a_parameter_and_the_first_part_of_many(proposal: Desk) -> None:
    instance = proposal.altinn.add_instance()
    body, content_type = multipart(("a", "første.pdf", PDF, b"first"), ("b", "second.pdf", PDF, b"second"))
    target = of(instance, "/data", APP)
    assert proposal.call("POST", target, body, Content_Type=content_type).status == 400
    created = proposal.call("POST", f"{target}?dataType=attachment", body, Content_Type=content_type)
    assert (created.status, created.json()["filename"], created.json()["size"]) == (201, "første.pdf", 5)
    disposition = 'attachment; filename="ny.pdf"'
    replaced = proposal.call(
        "PUT", f"{target}/{created.json()['id']}", b"new", Content_Type=PDF, Content_Disposition=disposition
    )
    assert (replaced.json()["id"], replaced.json()["data"][0]["size"]) == (instance.id, 3)


BRANCHING = (Task("Task_1", "Valg", leads_to=("Task_2", "Task_3")), Task("Task_2", "A"), Task("Task_3", "B", "submit"))


def test_the_proposals_process_is_led_by_the_client(proposal: Desk) -> None:
    proposal.altinn.add_app("org/branch", tasks=BRANCHING)
    instance = proposal.altinn.add_instance("org/branch")
    target = of(instance, "/process/next", "/org/branch")
    assert proposal.get(target) == ["Task_2", "Task_3"]
    assert proposal.call("PUT", target).status == 409
    assert proposal.call("PUT", f"{target}?id=EndEvent_1").status == 409
    assert proposal.call("PUT", f"{target}?id=Task_3").json()["currentTask"]["altinnTaskType"] == "submit"
    assert proposal.call("PUT", target).json()["endEvent"] == "EndEvent_1"
    history = proposal.get(of(instance, "/process/history", "/org/branch"))
    assert [(each["flow"], each["type"]) for each in history] == [
        (1, "process:startEvent"),
        (2, "process:task"),
        (3, "process:task"),
        (4, "process:endEvent"),
    ]


def test_the_proposal_validates_and_calculates_files(proposal: Desk) -> None:
    body, content_type = multipart(("file", "a.pdf", PDF, b"%PDF"))
    (issue,) = proposal.call("PUT", f"{APP}/validate?dataType=model", body, Content_Type=content_type).json()
    assert (issue["severity"], issue["code"]) == ("Error", "ContentTypeNotAllowed")
    assert proposal.call("PUT", f"{APP}/validate?dataType=attachment", body, Content_Type=content_type).json() == []
    assert proposal.call("PUT", f"{APP}/validate?dataType=attachment", b"a", Content_Type=PDF).status == 415
    assert proposal.call("PUT", f"{APP}/validate?dataType=no", body, Content_Type=content_type).status == 404
    assert (
        proposal.call("PUT", f"{APP}/calculate?dataType=model", b"<a/>", Content_Type="application/xml").body == b"<a/>"
    )
    assert proposal.call("PUT", f"{APP}/calculate?dataType=model", b"a", Content_Type=PDF).status == 400


def test_the_proposals_events_metadata_and_model(proposal: Desk) -> None:
    instance = proposal.altinn.add_instance(task="Task_2")
    kinds = [each["eventType"] for each in proposal.get(of(instance, "/events", PROPOSED))]
    assert kinds[:2] == ["created", "process:StartEvent"]
    at_task = proposal.get(f"{PROPOSED}/applications/org/app/events?created=gte:2026-02-19&process.currentTask=Task_2")
    assert [each["eventType"] for each in at_task] == ["process:StartTask"]
    assert proposal.get(APP)["id"] == "org/app"
    assert b'sourceRef="Task_1" targetRef="Task_2"' in proposal.call("GET", f"{APP}/process").body


# --- faults, control and what tests ask ------------------------------------------------------------------------------


def test_faults_speak_altinns_language(desk: Desk) -> None:
    desk.altinn.faults.add(Fault(Kind.TOO_MANY_REQUESTS, f"GET {EXCHANGE_PATH}", retry_after=7))
    desk.altinn.faults.add(Fault(Kind.EXPIRED_TOKEN, f"POST {TOKEN_PATH}"))
    desk.altinn.faults.add(Fault(Kind.EXPIRED_TOKEN, f"GET {STORAGE}/.*", times=1))
    assert desk.call("GET", EXCHANGE_PATH).headers["retry-after"] == "7"
    assert desk.call("POST", TOKEN_PATH).json()["error"] == "invalid_grant"
    assert desk.call("GET", f"{STORAGE}/instances?org=org").status == 401
    assert desk.call("GET", f"{STORAGE}/instances?org=org").status == 200


def test_a_lost_answer_to_complete_had_its_effect(desk: Desk) -> None:
    instance = desk.altinn.add_instance(ended=True)
    desk.altinn.faults.add(Fault(Kind.LOST_ANSWER, "POST .*/complete", times=1))
    with pytest.raises(ConnectionError):
        desk.call("POST", of(instance, "/complete"))
    assert len(desk.altinn.confirmations(instance, "org")) == 1
    assert desk.call("POST", of(instance, "/complete")).status == 200
    assert (len(desk.altinn.confirmations(instance)), desk.altinn.calls("POST .*/complete")) == (1, 2)


def test_an_instance_is_added_over_http(desk: Desk) -> None:
    content = b64encode(b"hei").decode()
    file = {"dataType": "attachment", "filename": "ø.txt", "contentBase64": content, "scanResult": "Pending"}
    body = {"app": "org/app", "ended": True, "created": "2026-01-01T00:00:00Z", "files": [file, {}]}
    added = ask_json(desk.port, "POST", "/_sandbox/instances", body)
    assert added.status == 201
    assert added.json()["created"] == "2026-01-01T00:00:00Z"
    one = f"/_sandbox/instances/{added.json()['id']}"
    assert ask_json(desk.port, "POST", f"{one}/scan", {"result": "Infected"}).json()["data"][0]["fileScanResult"] == (
        "Infected"
    )
    assert ask(desk.port, "POST", f"{one}/touch").json()["lastChanged"] == "2026-02-19T14:30:00Z"
    state = ask(desk.port, "GET", "/_sandbox/state").json()
    assert (state["portal"], state["dialect"], state["instances"]) == ("altinn", "v1", 1)


@pytest.mark.parametrize(
    "body", [[], {"colour": 1}, {"partyId": "1"}, {"created": "x"}, {"files": [{"a": 1}]}, {"task": "Task_9"}]
)
def test_a_wrong_instance_is_not_added_over_http(desk: Desk, body: object) -> None:
    assert ask_json(desk.port, "POST", "/_sandbox/instances", body).status == 400
    assert (desk.page()["count"], desk.altinn.published_events()) == (0, [])
    assert ask_json(desk.port, "POST", "/_sandbox/instances/1/unknown/scan", {"result": "Clean"}).status == 400


def test_a_size_can_be_announced_wrongly_and_an_instance_can_go(desk: Desk) -> None:
    instance = desk.altinn.add_instance(files=[ATTACHMENT])
    next(iter(instance.elements.values())).announced_size = 7
    assert desk.get(of(instance))["data"][0]["size"] == 7
    desk.altinn.purge(instance)
    assert desk.call("GET", of(instance)).status == 404


def test_fractions_of_a_second_have_seven_digits(desk: Desk) -> None:
    instance = desk.altinn.add_instance(created=START + timedelta(microseconds=120))
    assert desk.get(of(instance))["created"] == "2026-02-19T14:30:00.0001200Z"
    assert desk.found(lastChanged="eq:2026-02-19T14:30:00.0001200Z") == ids(instance)


def test_every_helper_leads_into_this_portal(desk: Desk) -> None:
    helpers: list[Callable[[SimulatedAltinn], str]] = [
        lambda a: a.token_url,
        lambda a: a.audience,
        lambda a: a.exchange_url,
        lambda a: a.storage_url,
        lambda a: a.apps_url,
        lambda a: a.events_url,
    ]
    assert all(helper(desk.altinn).startswith(f"{desk.altinn.base_url}/") for helper in helpers)
    assert desk.altinn.apps_url.format(org="org", app="app") == f"{desk.altinn.base_url}/org/app"
    assert isinstance(desk.altinn.add_app("org/more"), App)
