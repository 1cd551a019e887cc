"""Every exchange that the page documents, through the client: the request is the documented one, the answer is read."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from email.parser import BytesParser
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from pydantic.alias_generators import to_camel
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from amtsbote.deadline import Deadline
from amtsbote.errors import Unavailable
from amtsbote.http import PortalHttp, Transport
from amtsbote.portals.docxworld import DocxworldClient, models
from amtsbote.portals.docxworld import administration as admin
from amtsbote.portals.docxworld.errors import translate
from amtsbote.portals.docxworld.resources.approvals import ApprovalFilter, Attachment
from amtsbote.portals.docxworld.resources.base import ROLE_HEADER, Filter, Page, Paging
from amtsbote.portals.docxworld.resources.companies import CompanyFilter, ContractFilter
from amtsbote.portals.docxworld.resources.downloads import DownloadFilter
from amtsbote.portals.docxworld.resources.technical_access import TechnicalAccessFilter
from amtsbote.portals.docxworld.resources.uploads import UploadFilter
from amtsbote.portals.docxworld.resources.users import UserFilter
from amtsbote.portals.docxworld.resources.workflows import TargetFilter, WorkflowFilter

DATA = Path(__file__).parents[3] / "data" / "docxworld-exchanges.json"
EXCHANGES: list[dict[str, Any]] = json.loads(DATA.read_text())
BY_ID = {exchange["id"]: exchange for exchange in EXCHANGES}
TITLED = [pytest.param(exchange, id=f"{exchange['id']}-{exchange['title']}") for exchange in EXCHANGES]
ANSWERED = [pytest.param(one, id=one["title"]) for one in EXCHANGES if (one["response"].get("status") or 500) < 300]

ID = "00000000-0000-0000-0000-000000000001"
ACCESS = "00000000-0000-0000-0000-000000000010"
TASK = "00000000-0000-0000-0000-000000000000"
UPLOADER = models.Role.CUSTOMER_UPLOADER

Call = Callable[[DocxworldClient, Any], object]


class Recorder(BaseAdapter):
    """The wire's end: keeps the request and gives the answer it was told to."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__()
        self.answer = (status, b"" if body is None else json.dumps(body).encode())
        self.requests: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        self.requests.append(request)
        response = requests.Response()
        response.status_code = self.answer[0]
        response.raw = HTTPResponse(BytesIO(self.answer[1]), preload_content=False)
        response.headers["Content-Type"] = "application/json"
        response.request = request
        return response

    def close(self) -> None:
        """Nothing is open."""


class NoLogin:
    """An account that needs no login."""

    def headers(self) -> Mapping[str, str]:
        return {}

    def renew(self) -> bool:
        return False


def client_on(recorder: Recorder) -> DocxworldClient:
    session = requests.Session()
    session.mount("http://", recorder)
    transport = Transport(Deadline(60), allow_loopback=True, session=session)
    return DocxworldClient(PortalHttp(transport, "http://127.0.0.1", NoLogin(), translate))


def query(number: int, name: str) -> list[str]:
    """Return the documented values of a query parameter."""
    return [value for key, value in BY_ID[number]["request"]["query"] if key == name]


def narrowed(kind: type[Filter], number: int) -> Any:
    """Return the filter that stands for the documented query parameters."""
    words = {"true": True, "false": False}
    given: dict[str, Any] = {}
    for field, annotation in kind.__annotations__.items():
        values = query(number, to_camel(field))
        if values:
            plain = words.get(values[0], values[0])
            given[field] = tuple(values) if "Sequence" in str(annotation) else plain
    return kind(**given)


def paging(number: int) -> Paging:
    page, size = (next(iter(query(number, name)), None) for name in ("page", "size"))
    return Paging(page and int(page), size and int(size), tuple(query(number, "sort")))  # type: ignore[arg-type]


def instants(body: list[str]) -> list[datetime]:
    return [datetime.fromisoformat(text) for text in body]


def states(body: list[Any]) -> list[admin.StateTransition]:
    return [admin.StateTransition.model_validate(state) for state in body]


def decide(client: DocxworldClient, _: object) -> object:
    file, decision = BY_ID[29]["request"]["parts"]
    attachment = Attachment(file["filename"], file["body"].encode())
    return client.approvals.decide(TASK, models.Decision.model_validate(decision["body"]), attachment)


CALLS: dict[int, Call] = {
    1: lambda c, b: c.users.create(admin.UserOrder.model_validate(b)),
    2: lambda c, b: c.users.get("123"),
    3: lambda c, b: c.users.page(narrowed(UserFilter, 3), paging(3)),
    4: lambda c, b: c.users.update("123", first_name="Max", last_name="Musterman"),
    5: lambda c, b: c.users.set_state("123", models.Status.ACTIVE),
    6: lambda c, b: c.users.assign_role("123", models.Role.PF_ADMIN),
    7: lambda c, b: c.users.retract_role("123", models.Role.PF_ADMIN),
    8: lambda c, b: c.users.assign_contracts("123", ["number1"], target_role=models.Role.PF_ADMIN),
    9: lambda c, b: c.users.remove_contracts("123", ["number1"], target_role=models.Role.PF_ADMIN),
    10: lambda c, b: c.users.assign_targets("123", [ID], target_role=UPLOADER),
    11: lambda c, b: c.users.remove_targets("123", [ID], target_role=UPLOADER),
    12: lambda c, b: c.users.grants(),
    13: lambda c, b: c.users.settings(),
    14: lambda c, b: c.users.update_settings(admin.SettingsOrder.model_validate(b)),
    15: lambda c, b: c.users.reset_initial_password("123"),
    16: lambda c, b: c.technical_access.create(admin.TechnicalAccessOrder.model_validate(b)),
    17: lambda c, b: c.technical_access.page(narrowed(TechnicalAccessFilter, 17)),
    18: lambda c, b: c.technical_access.set_state(ACCESS, models.Status.INACTIVE),
    19: lambda c, b: c.technical_access.delete(ACCESS),
    20: lambda c, b: c.technical_access.start_rotation(ACCESS),
    21: lambda c, b: c.technical_access.complete_rotation(ACCESS),
    22: lambda c, b: c.uploads.request_urls(models.UploadOrder.model_validate(b)),
    23: lambda c, b: c.uploads.complete("processId", {}),
    24: lambda c, b: c.uploads.get("processId", role=models.Role.PF_ADMIN),
    25: lambda c, b: c.uploads.cancel("processId", "cancel message"),
    26: lambda c, b: c.uploads.generate_link("processId"),
    27: lambda c, b: c.uploads.page(narrowed(UploadFilter, 27), paging(27)),
    28: lambda c, b: c.approvals.page(narrowed(ApprovalFilter, 28), paging(28)),
    29: decide,
    30: lambda c, b: c.companies.get(ID),
    31: lambda c, b: c.companies.page(),
    32: lambda c, b: c.companies.page(narrowed(CompanyFilter, 32), paging(32)),
    33: lambda c, b: c.companies.create(admin.CompanyOrder.model_validate(b)),
    34: lambda c, b: c.companies.create(admin.CompanyOrder.model_validate(b)),
    35: lambda c, b: c.companies.create(admin.CompanyOrder.model_validate(b)),
    36: lambda c, b: c.companies.rename(ID, "Company Name"),
    37: lambda c, b: c.companies.set_technical_access_limit(ID, 100),
    38: lambda c, b: c.companies.add_customer_numbers(ID, [admin.CustomerNumberOrder.model_validate(n) for n in b]),
    39: lambda c, b: c.companies.customer(ID, "1").add_states(states(b)),
    40: lambda c, b: c.companies.customer(ID, "67").delete(),
    41: lambda c, b: c.companies.customer(ID, "1").delete_states(instants(b)),
    42: lambda c, b: c.companies.customer(ID, "1").contract("2").describe("new description"),
    43: lambda c, b: c.companies.customer(ID, "1").add_contracts([admin.ContractOrder.model_validate(n) for n in b]),
    44: lambda c, b: c.companies.customer(ID, "1").contract("1").add_states(states(b)),
    45: lambda c, b: c.companies.customer(ID, "customerNumber-1").contract("3124").delete(),
    46: lambda c, b: c.companies.customer(ID, "1").contract("1").delete_states(instants(b)),
    47: lambda c, b: c.companies.dw24(),
    48: lambda c, b: c.contracts.page(narrowed(ContractFilter, 48), paging(48)),
    49: lambda c, b: c.contracts.page(narrowed(ContractFilter, 49), paging(49)),
    50: lambda c, b: c.workflows.create(models.WorkflowOrder.model_validate(b)),
    51: lambda c, b: c.workflows.update(ID, **b),
    52: lambda c, b: c.workflows.update_settings(ID, models.WorkflowSettings.model_validate(b)),
    53: lambda c, b: c.workflows.set_status(ID, models.Status.INACTIVE),
    54: lambda c, b: c.workflows.get(ID),
    55: lambda c, b: c.workflows.page(narrowed(WorkflowFilter, 55), paging(55)),
    56: lambda c, b: c.targets.get(ID),
    57: lambda c, b: c.targets.page(narrowed(TargetFilter, 57), paging(57)),
    58: lambda c, b: c.downloads.page(narrowed(DownloadFilter, 58), paging(58)),
    59: lambda c, b: c.downloads.get(ID),
    60: lambda c, b: c.downloads.create_draft(models.DraftOrder.model_validate(b)),
    61: lambda c, b: c.downloads.generate_link(ID),
    62: lambda c, b: c.downloads.acknowledge(ID, client_id="spooler_1", reference_id="idInSpooler"),
    63: lambda c, b: c.downloads.acknowledge(ID, client_id="spooler_1", reference_id="idInSpooler"),
}

EMPTY_PAGE = {"content": [], "last": True, "number": 0}
UNDOCUMENTED_LISTS = {32, 49}  # the page shows these requests without an answer


def answer_of(exchange: dict[str, Any]) -> tuple[int, object]:
    response = exchange["response"]
    body = EMPTY_PAGE if exchange["id"] in UNDOCUMENTED_LISTS else response.get("body")
    return response.get("status") or 200, body


def perform(exchange: dict[str, Any], status: int, body: object) -> tuple[object, requests.PreparedRequest]:
    recorder = Recorder(status, body)
    client = client_on(recorder)
    try:
        said: object = CALLS[exchange["id"]](client, exchange["request"].get("body"))
    except Unavailable as error:
        said = error
    return said, recorder.requests[0]


def content(sent: requests.PreparedRequest) -> bytes:
    assert isinstance(sent.body, bytes)
    return sent.body


def with_strange_fields(answered: Any) -> Any:
    """Return the answer as a later edition of the portal might give it: more fields everywhere."""
    if isinstance(answered, list):
        return [with_strange_fields(entry) for entry in answered]
    if isinstance(answered, dict):
        more = {name: with_strange_fields(value) for name, value in answered.items()}
        return more | ({} if _is_a_map(answered) else {"somethingNew": {"of": ["a", "later", "edition"]}})
    return answered


def _is_a_map(answered: dict[str, Any]) -> bool:
    """Return whether the keys are data, so that an unknown one is no unknown field."""
    maps = (("action",), ("anyKey",), ("x-amz-meta",), ("ROLE_",))
    return not answered or any(key.startswith(prefix) for key in answered for (prefix,) in maps)


def test_the_client_covers_every_documented_exchange() -> None:
    assert set(CALLS) == set(BY_ID)


@pytest.mark.parametrize("exchange", TITLED)
def test_the_request_is_the_documented_one(exchange: dict[str, Any]) -> None:
    _, sent = perform(exchange, *answer_of(exchange))
    documented, parts = exchange["request"], urlsplit(str(sent.url))
    assert (sent.method, parts.path) == (documented["method"], documented["path"])
    assert sorted(parse_qsl(parts.query)) == sorted(map(tuple, documented["query"]))
    assert sent.headers.get(ROLE_HEADER) == documented["headers"].get(ROLE_HEADER)


@pytest.mark.parametrize("exchange", [p for p in TITLED if p.values[0]["request"].get("body") is not None])  # type: ignore[index]
def test_the_body_is_the_documented_one(exchange: dict[str, Any]) -> None:
    _, sent = perform(exchange, *answer_of(exchange))
    assert json.loads(sent.body or b"") == exchange["request"]["body"]
    assert sent.headers["Content-Type"].split(";")[0] == "application/json"


@pytest.mark.parametrize("exchange", ANSWERED)
def test_the_documented_answer_is_read(exchange: dict[str, Any]) -> None:
    said, _ = perform(exchange, *answer_of(exchange))
    assert said is not None


@pytest.mark.parametrize("exchange", ANSWERED)
def test_fields_of_a_later_edition_do_no_harm(exchange: dict[str, Any]) -> None:
    status, body = answer_of(exchange)
    expected, _ = perform(exchange, status, body)
    assert perform(exchange, status, with_strange_fields(body))[0] == expected


@pytest.mark.parametrize("exchange", ANSWERED)
def test_no_documented_field_is_lost(exchange: dict[str, Any]) -> None:
    said, _ = perform(exchange, *answer_of(exchange))
    assert names(as_json(said)) == names(exchange["response"]["body"])


def as_json(said: object) -> Any:
    """Return what the client understood, in the page's names."""
    if isinstance(said, models.Model):
        return said.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(said, Page):
        return {"content": [as_json(entry) for entry in said.content]}
    return [as_json(entry) for entry in said] if isinstance(said, tuple) else said


def names(body: Any, where: str = "") -> set[str]:
    """Return the paths of all fields, without those that only describe a page."""
    if isinstance(body, list):
        return {name for entry in body for name in names(entry, f"{where}[]")}
    if not isinstance(body, dict):
        return {where}
    fields = {"content": body["content"]} if "content" in body else body
    return {name for field, value in fields.items() for name in names(value, f"{where}.{field}")}


def test_a_decision_is_sent_as_the_documented_parts() -> None:
    _, sent = perform(BY_ID[29], *answer_of(BY_ID[29]))
    head = f"Content-Type: {sent.headers['Content-Type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + content(sent)).get_payload()
    got = [(p.get_param("name", header="content-disposition"), p.get_filename(), p.get_content_type()) for p in parts]  # type: ignore[union-attr]
    assert got == [(p["name"], p["filename"], p["contentType"]) for p in BY_ID[29]["request"]["parts"]]


def test_a_decision_may_come_without_a_file() -> None:
    recorder = Recorder(200, BY_ID[29]["response"]["body"])
    client_on(recorder).approvals.decide(TASK, models.Decision(approval_state="APPROVED"))
    assert b'name="file"' not in content(recorder.requests[0])


def test_a_conflict_is_an_item_that_another_client_holds() -> None:
    said, _ = perform(BY_ID[63], *answer_of(BY_ID[63]))
    assert isinstance(said, Unavailable)
    assert said.code == "DOWNLOAD_ALREADY_SAVED"


def test_a_technical_access_can_be_read_alone() -> None:
    recorder = Recorder(200, BY_ID[18]["response"]["body"])
    assert client_on(recorder).technical_access.get(ACCESS).status == "INACTIVE"
    assert recorder.requests[0].path_url == f"/v1/technical-access/{ACCESS}"
