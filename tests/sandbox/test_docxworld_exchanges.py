"""Every documented exchange that the simulated docxworld serves, replayed: same status, same shape of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from sandbox.portals.docxworld import Download, Job, SimulatedDocxworld, Step, Target, UploadOptions
from sandbox.portals.docxworld.companies import Contract, CustomerNumber, State
from sandbox.portals.server import serve
from tests.sandbox.client import Answer, ask, basic

EXCHANGES: Mapping[int, dict[str, Any]] = {
    each["id"]: each
    for each in json.loads((Path(__file__).parents[1] / "data" / "docxworld-exchanges.json").read_text("utf-8"))
}
FIRST_ID = "00000000-0000-0000-0000-000000000001"
UPLOAD_TARGET_ID = "a84397c4-fadd-4fb7-9145-7d580646cc86"
TASK_ID = "00000000-0000-0000-0000-000000000000"
ACCESS_ID = "00000000-0000-0000-0000-000000000010"
USER_ID = "123"
LONG_AGO, SOON = datetime(2020, 1, 1, tzinfo=UTC), datetime(2121, 2, 15, 11, 22, 33, 456_000, tzinfo=UTC)
PROCESS_ID = "processId"
NOT_TAKEN_YET = {
    f"$.content[].{name}"
    for name in ("downloaded", "downloadedBy", "downloaderEmail", "downloadedByClient", "downloadedReferenceId")
}
"""The documented list asks for downloads that nobody has taken, and shows two that somebody has."""


class Scene:
    """A portal, a user in all roles, and a technical access."""

    def __init__(self, portal: SimulatedDocxworld) -> None:
        self.portal = portal
        self.user = portal.add_user("user@example.com", "password")
        portal.add_technical_access("client", "secret", {"ROLE_CUSTOMER_UPLOADER"})

    def user_token(self) -> str:
        return self.portal.identities.issue(self.user, self.user.roles)

    def technical_token(self) -> str:
        sent = {"Authorization": basic("client", "secret"), "Content-Type": "application/x-www-form-urlencoded"}
        answer = ask(port_of(self.portal), "POST", "/oauth2/token", body=b"grant_type=client_credentials", headers=sent)
        return str(answer.json()["access_token"])

    def target(self, name: str = "targetName", **more: Any) -> Target:
        return self.portal.add_target(name, "W1", **{"target_id": FIRST_ID, **more})

    def upload(self, target: Target, content: bytes | None = b"letter", **more: Any) -> Job:
        references = tuple(f"reference {n}" for n in range(1, 7))
        fields = {"id": PROCESS_ID, "reference_id": "referenceId", "customer_references": references, **more}
        return self.portal.add_upload(self.user, target, content, **fields)

    def download(self, target: Target, taken_by: str | None = None, **more: Any) -> Download:
        metadata = {"anotherKey": "anotherValue", "anyKey": "anyValue"}
        download = self.portal.add_download(target, **{"reference_id": "42", "metadata": metadata, **more})
        if taken_by:
            self.portal.downloads.take(download, taken_by, "reference", self.user)
        return download


def request_urls(scene: Scene) -> None:
    scene.portal.uploads.options = UploadOptions(chunk_threshold_bytes=100)
    scene.target(target_id=UPLOAD_TARGET_ID)


def complete_nothing(scene: Scene) -> None:
    """No etags are complete only where nothing was announced and nothing was sent."""
    job = scene.upload(scene.target(), None, file_size=0)
    job.upload_id = scene.portal.storage.start_multipart(job.key)


def finished_upload(scene: Scene) -> None:
    job = scene.upload(scene.target())
    scene.download(job.target, taken_by="TestClient/1.0", process_id=job.id)


def waiting_upload(scene: Scene) -> None:
    scene.upload(scene.target(approval_needed=True))


def duplicated_uploads(scene: Scene) -> None:
    script = [Step(0, "UPLOADED"), Step(0, "WAITING_APPROVAL"), Step(0, "DUPLICATED")]
    target = scene.target("test", approval_needed=True, file_type="PDF", script=script)
    for number in (1, 2):
        job = scene.upload(target, id=f"job-{number}")
        scene.portal.decide_approval(job.id, "APPROVED", scene.user)
        scene.download(target, taken_by="TestClient/1.0", process_id=job.id)


def seven_tasks(scene: Scene) -> None:
    target = scene.target(approval_needed=True)
    for number in range(7):
        job = scene.upload(target, id=f"job-{number}", file_name="free.pdf")
        scene.portal.decide_approval(job.id, "APPROVED", scene.user)
        scene.download(target, taken_by="TestClient/1.0", process_id=job.id)


def open_task(scene: Scene) -> None:
    scene.upload(scene.target(approval_needed=True), task_id=TASK_ID)


def one_target(scene: Scene) -> None:
    scene.target("workflow", id=FIRST_ID, description="12345", customer_contract="2")


def searched_download(scene: Scene) -> None:
    target = scene.target(customer_contract="customerContract")
    scene.download(target, file_name="filename.pdf", reference_id="referenceId2")


def taken_download(scene: Scene) -> None:
    scene.download(scene.target(), taken_by="client_42", id=FIRST_ID)


def free_download(scene: Scene) -> None:
    scene.download(scene.target(), id=FIRST_ID)


def draft_target(scene: Scene) -> None:
    scene.target(customer_contract="contract-number-company2-1-1")


def nothing(_: Scene) -> None:
    """What every portal has is enough."""


def one_user(scene: Scene) -> None:
    scene.portal.add_user("email@email.com", "x", {"ROLE_PF_ADMIN"}, set(), id=USER_ID, must_change_password=True)


def two_users(scene: Scene) -> None:
    for number in range(12):
        scene.portal.add_user(f"email{number}@email.com", "x", {"ROLE_CUSTOMER_USER"}, company_id=FIRST_ID)


def scoped_user(scene: Scene) -> None:
    one_user(scene)
    scene.portal.companies.companies[FIRST_ID].numbers[0].contracts.append(Contract("number1"))
    scene.portal.users.by_email("email@email.com").contracts["ROLE_PF_ADMIN"] = {"number1"}


def uploading_user(scene: Scene) -> None:
    one_user(scene)
    scene.target()
    scene.portal.users.by_email("email@email.com").account.roles.add("ROLE_CUSTOMER_UPLOADER")


def user_with_target(scene: Scene) -> None:
    uploading_user(scene)
    scene.portal.users.by_email("email@email.com").targets["ROLE_CUSTOMER_UPLOADER"] = {FIRST_ID}


def own_target(scene: Scene) -> None:
    scene.target()
    scene.portal.users.by_email(scene.user.login).targets["ROLE_CUSTOMER_UPLOADER"] = {FIRST_ID}


def one_access(scene: Scene) -> None:
    scene.portal.add_technical_access("client-id-123", "x", {"ROLE_CUSTOMER_UPLOADER"}, id=ACCESS_ID)


def open_rotation(scene: Scene) -> None:
    one_access(scene)
    account = scene.portal.rotations.access(ACCESS_ID)
    account.rotation_started, account.next_secret = LONG_AGO, "next"


def numbered_company(scene: Scene) -> None:
    """The customer numbers and contracts that the examples name, none of them ever in use."""
    for number in ("1", "67", "customerNumber-1"):
        contracts = [Contract(each, later_states()) for each in ("1", "2", "3124")] if number != "67" else []
        added = CustomerNumber(number, later_states(), contracts=contracts)
        scene.portal.companies.companies[FIRST_ID].numbers.insert(0, added)


def no_numbers(scene: Scene) -> None:
    scene.portal.companies.companies[FIRST_ID].numbers.clear()


def later_states() -> list[State]:
    return [State("ACTIVE", SOON), State("INACTIVE", SOON + timedelta(days=10))]


def found_contract(scene: Scene) -> None:
    scene.portal.companies.companies[FIRST_ID].numbers.append(
        CustomerNumber(
            "customerNumber",
            contracts=[
                Contract(
                    "customerContract",
                    [State("ACTIVE", LONG_AGO)],
                    description="a description",
                    approvable=True,
                    collectable=True,
                )
            ],
        )
    )


PREPARED: Mapping[int, Callable[[Scene], None]] = {
    1: nothing,
    2: one_user,
    3: two_users,
    **dict.fromkeys((4, 5, 6, 7, 15), one_user),
    8: scoped_user,
    9: scoped_user,
    10: uploading_user,
    11: user_with_target,
    12: nothing,
    13: own_target,
    14: own_target,
    16: nothing,
    17: one_access,
    18: one_access,
    19: one_access,
    20: one_access,
    21: open_rotation,
    22: request_urls,
    23: complete_nothing,
    24: finished_upload,
    25: waiting_upload,
    26: finished_upload,
    27: duplicated_uploads,
    28: seven_tasks,
    29: open_task,
    **dict.fromkeys((30, 31, 32, 34, 35, 36, 37, 47, 50), nothing),
    **dict.fromkeys((39, 40, 41, 42, 44, 45, 46), numbered_company),
    33: no_numbers,
    38: no_numbers,
    43: numbered_company,
    48: found_contract,
    49: found_contract,
    51: one_target,
    52: one_target,
    53: one_target,
    54: one_target,
    55: one_target,
    56: one_target,
    57: one_target,
    58: searched_download,
    59: taken_download,
    60: draft_target,
    61: free_download,
    62: free_download,
    63: taken_download,
}
"""The exchanges that are served, and the state in which each is replayed."""

TECHNICAL = {60}
NOT_TOLD = {"$.lastLogin", "$.content[].lastLogin"}
NEW_USER = {"$.companyId", "$.companyName", "$.roles"}
"""The documented user is registered without a company and without roles, and is answered with both."""
NO_DESCRIPTION = {
    "$.customerNumbers[].customerContracts[].description",
    "$.customerNumbers[].customerContracts",
    "$.content[].customerNumbers[].customerContracts[].description",
}
EMPTY_ALLOWED: Mapping[int, set[str]] = {
    1: NEW_USER | NOT_TOLD,
    7: NOT_TOLD | {"$.roles"},
    **dict.fromkeys((2, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15), NOT_TOLD),
    **dict.fromkeys((30, 31), NO_DESCRIPTION),
    58: NOT_TAKEN_YET,
}
MAPS = ("scopedTargets", "scopedCustomerContracts", ".grants[]")
"""Fields whose keys are data."""


class Clock:
    """A clock on which a second passes whenever it is read: every script has run its course."""

    def __init__(self) -> None:
        self.now = datetime(2026, 2, 19, 14, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def scene() -> Iterator[Scene]:
    portal = SimulatedDocxworld(clock=Clock())
    with serve(portal):
        yield Scene(portal)
    portal.close()


def port_of(portal: SimulatedDocxworld) -> int:
    return urlsplit(portal.base_url).port or 0


def replay(scene: Scene, number: int) -> Answer:
    """The documented request, with a token."""
    request = EXCHANGES[number]["request"]
    token = scene.technical_token() if number in TECHNICAL else scene.user_token()
    headers = {**request["headers"], "Authorization": f"Bearer {token}"}
    body = json.dumps(request["body"]).encode() if request["body"] is not None else None
    if "parts" in request:
        body, headers["Content-Type"] = multipart(request["parts"])
    query = urlencode([(name, value) for name, value in request["query"]])
    target = f"{request['path']}?{query}" if query else request["path"]
    return ask(port_of(scene.portal), request["method"], target, body=body, headers=headers)


def multipart(parts: list[dict[str, Any]]) -> tuple[bytes, str]:
    lines = []
    for part in parts:
        text = part["body"] if isinstance(part["body"], str) else json.dumps(part["body"])
        lines += [
            "--boundary",
            f"Content-Disposition: form-data; name={part['name']}; filename={part['filename']}",
            f"Content-Type: {part['contentType']}",
            "",
            text,
        ]
    return "\r\n".join([*lines, "--boundary--", ""]).encode(), "multipart/form-data;charset=UTF8; boundary=boundary"


def differences(documented: Any, answered: Any, null_allowed: set[str], path: str = "$") -> list[str]:
    """Where an answer has another shape than documented: keys, JSON types, lists that should not be empty.

    What is documented as null, or as an empty list or map, says nothing about what else may be there.
    """
    if documented is None or path.endswith(MAPS) or (not answered and path in null_allowed):
        return []
    if type(documented) is not type(answered):
        return [f"{path}: {type(answered).__name__} instead of {type(documented).__name__}"]
    if isinstance(documented, dict):
        return _differences_of_objects(documented, answered, null_allowed, path)
    if isinstance(documented, list) and documented:
        found = [each for item in answered for each in differences(documented[0], item, null_allowed, f"{path}[]")]
        return found if answered else [f"{path}: empty"]
    return []


def _differences_of_objects(
    documented: dict[str, Any], answered: dict[str, Any], null_allowed: set[str], path: str
) -> list[str]:
    missing = [f"{path}.{key}: missing" for key in documented if key not in answered]
    extra = [f"{path}.{key}: not documented" for key in answered if key not in documented]
    shared = [key for key in documented if key in answered]
    return [
        *missing,
        *extra,
        *(
            each
            for key in shared
            for each in differences(documented[key], answered[key], null_allowed, f"{path}.{key}")
        ),
    ]


def titled(number: int) -> str:
    return f"{number} {EXCHANGES[number]['title']}"


ANSWERED = [number for number in PREPARED if EXCHANGES[number]["response"]["status"] is not None]
UNANSWERED = [number for number in PREPARED if number not in ANSWERED]
"""The exchanges for which the page shows no answer."""


@pytest.mark.parametrize("number", UNANSWERED, ids=titled)
def test_an_exchange_without_a_documented_answer_succeeds(scene: Scene, number: int) -> None:
    PREPARED[number](scene)

    assert replay(scene, number).status in (200, 204)


@pytest.mark.parametrize("number", ANSWERED, ids=titled)
def test_an_exchange_is_answered_as_documented(scene: Scene, number: int) -> None:
    PREPARED[number](scene)

    answer = replay(scene, number)

    documented = EXCHANGES[number]["response"]
    assert answer.status == documented["status"], answer.body
    assert answer.headers["content-type"] == documented["headers"]["Content-Type"].split(";")[0]
    assert differences(documented["body"], answer.json(), EMPTY_ALLOWED.get(number, set())) == []


@pytest.mark.parametrize(
    "number",
    [2, *range(4, 12), 15, *range(18, 22), 24, 25, 26, 29, *range(39, 47), 51, 52, 53, 54, 56, 59, 61, 62],
    ids=titled,
)
def test_without_its_state_an_exchange_is_not_found(scene: Scene, number: int) -> None:
    answer = replay(scene, number)
    assert answer.status == 404
    assert differences(EXCHANGES[63]["response"]["body"], answer.json(), set()) == []


def test_the_conflict_says_the_documented_words(scene: Scene) -> None:
    taken_download(scene)
    answer, documented = replay(scene, 63).json(), EXCHANGES[63]["response"]["body"]
    for name in ("status", "message", "messageCode", "path"):
        assert answer[name] == documented[name]
    assert answer["debugMessages"] == [documented["debugMessages"][0].replace("spooler_1", "client_42")]


def test_every_exchange_is_accounted_for() -> None:
    assert sorted(PREPARED) == list(range(1, 64)) == sorted(EXCHANGES)


@pytest.mark.parametrize(
    ("documented", "answered", "expected"),
    [
        ({"a": 1}, {"a": 2}, []),
        ({"a": 1}, {}, ["$.a: missing"]),
        ({}, {"a": 1}, ["$.a: not documented"]),
        ({"a": 1}, {"a": True}, ["$.a: bool instead of int"]),
        ({"a": "x"}, {"a": None}, ["$.a: NoneType instead of str"]),
        ({"a": None}, {"a": "x"}, []),
        ([{"a": 1}], [{"a": 1}, {"a": "1"}], ["$[].a: str instead of int"]),
        ([1], [], ["$: empty"]),
        ([], [1], []),
    ],
)
def test_differences_of_shape_are_told(documented: Any, answered: Any, expected: list[str]) -> None:
    assert differences(documented, answered, set()) == expected
