"""From the target in a key to its id: UUIDs as they are, abbreviations looked up and remembered for a while."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Reject
from amtsbote.portals.docxworld import DocxworldClient
from amtsbote.portals.docxworld.routing import TargetBook
from amtsbote.portals.portal import Connection, Tools
from tests.unit.portals.docxworld.server import Reply, Server, page, refusal

WORKFLOWS, TARGETS = "/v1/workflows", "/v1/targets"
ROLE = "ROLE_CUSTOMER_UPLOADER"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def client(connection: Connection, tools: Tools) -> DocxworldClient:
    secret = connection.secret
    return DocxworldClient.of(secret.base_url, secret.auth, transport=tools.transport, tokens=tools.tokens)


@pytest.fixture
def book() -> TargetBook:
    return TargetBook()


def workflow(abbreviation: str, number: int = 1, status: str = "ACTIVE") -> dict[str, Any]:
    return {"id": f"w{number}", "abbreviation": abbreviation, "status": status}


def target(number: int, of: dict[str, Any], kind: str = "DEFAULT") -> dict[str, Any]:
    return {"id": f"t{number}", "targetType": kind, "workflow": of}


def known(server: Server, workflows: list[dict[str, Any]], targets: list[dict[str, Any]]) -> None:
    server.on("GET", WORKFLOWS, page(workflows))
    server.on("GET", TARGETS, page(targets))


def test_a_uuid_is_taken_as_it_is(server: Server, client: DocxworldClient, book: TargetBook) -> None:
    given = "A84397C4-fadd-4fb7-9145-7d580646cc86"
    assert book.find("a", given, client, ROLE, NOW) == given
    assert not server.requests


def test_an_abbreviation_leads_over_its_workflow_to_the_target(
    server: Server, client: DocxworldClient, book: TargetBook
) -> None:
    one = workflow("W1")
    known(server, [workflow("W12", 2), one], [target(1, one)])
    assert book.find("a", "w1", client, ROLE, NOW) == "t1"
    assert ("abbreviation", "w1") in server.sent("GET", WORKFLOWS)[0].query
    assert ("workflowIds", "w1") in server.sent("GET", TARGETS)[0].query
    assert {request.role for request in server.sent("GET", TARGETS)} == {ROLE}


def test_of_two_targets_the_default_one_counts(server: Server, client: DocxworldClient, book: TargetBook) -> None:
    one = workflow("W1")
    known(server, [one], [target(1, one, "MANUAL"), target(2, one)])
    assert book.find("a", "W1", client, ROLE, NOW) == "t2"


@pytest.mark.parametrize(
    ("workflows", "targets", "code"),
    [
        ([], [], "TARGET_UNKNOWN"),
        ([workflow("W12")], [], "TARGET_UNKNOWN"),
        ([workflow("W1", status="INACTIVE")], [], "TARGET_INACTIVE"),
        ([workflow("W1")], [], "TARGET_UNKNOWN"),
        ([workflow("W1"), workflow("w1", 2)], [], "TARGET_AMBIGUOUS"),
        ([workflow("W1")], [target(1, workflow("W1")), target(2, workflow("W1"))], "TARGET_AMBIGUOUS"),
        ([workflow("W1")], [target(1, workflow("W1", 9))], "TARGET_UNKNOWN"),
    ],
)
def test_an_abbreviation_that_leads_nowhere_is_refused_and_not_repeated(
    server: Server,
    client: DocxworldClient,
    book: TargetBook,
    workflows: list[dict[str, Any]],
    targets: list[dict[str, Any]],
    code: str,
) -> None:
    known(server, workflows, targets)
    with pytest.raises(Reject) as refused:
        book.find("a", "W1", client, ROLE, NOW)
    assert refused.value.code == code
    assert "w1" not in str(refused.value).lower(), "it is logged, and may be a person's name"


def test_a_role_that_may_not_look_up_is_told_to_use_uuids(
    server: Server, client: DocxworldClient, book: TargetBook
) -> None:
    server.on("GET", WORKFLOWS, refusal(403, "connect.company.error.client.access_denied"))
    with pytest.raises(Reject, match="UUID"):
        book.find("a", "W1", client, ROLE, NOW)


@pytest.mark.parametrize("refused", [Reply(401, {}), refusal(401, "connect.company.error.client.access_denied")])
def test_an_account_that_is_refused_stays_the_connections_mistake(
    server: Server, client: DocxworldClient, book: TargetBook, refused: Reply
) -> None:
    server.on("GET", WORKFLOWS, refused)
    with pytest.raises(Misconfigured):
        book.find("a", "W1", client, ROLE, NOW)


def test_a_target_is_remembered_for_a_while_and_per_account(
    server: Server, client: DocxworldClient, book: TargetBook
) -> None:
    one = workflow("W1")
    known(server, [one], [target(1, one)])
    for account, minutes in (("a", 0), ("a", 4), ("b", 4), ("a", 6)):
        book.find(account, "W1", client, ROLE, NOW + timedelta(minutes=minutes))
    assert len(server.sent("GET", WORKFLOWS)) == 3


def test_a_mistake_is_not_remembered(server: Server, client: DocxworldClient, book: TargetBook) -> None:
    known(server, [], [])
    with pytest.raises(Reject):
        book.find("a", "W1", client, ROLE, NOW)
    one = workflow("W1")
    known(server, [one], [target(1, one)])
    assert book.find("a", "W1", client, ROLE, NOW) == "t1"
