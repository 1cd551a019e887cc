"""What becomes of a magic link that the portal answers otherwise than its guide says."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest

from amtsbote.errors import Misconfigured, Reject, Retry
from amtsbote.http import Transport
from amtsbote.portals.duba import PORTAL, DubaSecret
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import Delivery, Drop, Outcome, Step
from amtsbote.tokens import TokenCache
from tests.unit.portals.duba.conftest import ScriptedPortal, message

LIST = "GET /api/duba/v1/messages"
MEMENTO = "POST /api/duba/v1/memento"
NOW = datetime(2026, 2, 19, 14, 30, 0, 500_000, tzinfo=UTC)
LINK = "/mtl/geheim/duba/?m=eyJ..geheim"

Deliver = Callable[..., Delivery]


@dataclass
class Forgetful:
    """A journal, of which nothing is expected."""

    state: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        raise AssertionError("there is nothing to resume")


def drop(form: object, name: str = "BetreuungAnregung") -> Drop:
    body = json.dumps(form).encode()
    return Drop(
        key=f"duba/klinikum/{name}/fall.json",
        version_id="v1",
        path=(name, "fall.json"),
        size=len(body),
        content_type="application/json",
        metadata={},
        reference="amtsbote-1",
        read=lambda start, length: BytesIO(body[start : start + length]),
    )


@pytest.fixture
def deliver(portal: ScriptedPortal, transport: Transport) -> Deliver:
    def delivered(form: object = None, **more: Any) -> Delivery:
        secret = DubaSecret.model_validate({"baseUrl": portal.url, "username": "u", "password": "p"})
        tools = Tools(transport, TokenCache(), lambda: NOW)
        destination = PORTAL.destination(Connection("duba", "klinikum", secret), tools)
        assert destination is not None
        return destination.deliver(drop(form or {"jobId": "job-7"}, **more), Forgetful())

    return delivered


def test_a_delivery_says_until_when_it_is_secret_and_what_proves_it(deliver: Deliver, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [])
    portal.answers(MEMENTO, {"memento": "eyJ..geheim", "magicLink": LINK})
    assert deliver() == Delivery(
        "job-7",
        Outcome.DELIVERED,
        (Step(NOW, "MAGIC_LINK_MADE"),),
        {"magicLink": portal.url + LINK, "expiresAt": "2026-02-19T15:30:00Z", "form": "BetreuungAnregung"},
        secret_until=NOW + timedelta(hours=1),
        proven_by="job-7",
    )


def test_the_portal_is_asked_for_just_this_job_before(deliver: Deliver, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [])
    portal.answers(MEMENTO, {"memento": "m", "magicLink": LINK})
    deliver({"jobId": "Fall 7 & 8/ä"})
    assert [(each.method, each.query) for each in portal.asked] == [("GET", [("jobId", "Fall 7 & 8/ä")]), ("POST", [])]


@pytest.mark.parametrize("row", [message(1), {"id": "unreadable"}])
def test_any_message_of_the_job_means_that_it_was_used(deliver: Deliver, portal: ScriptedPortal, row: object) -> None:
    portal.answers(LIST, [row])
    with pytest.raises(Reject, match="JOB_ID_USED"):
        deliver()


@pytest.mark.parametrize("link", ["https://elsewhere.example/mtl/geheim", "//elsewhere.example/geheim", "mtl/geheim"])
def test_a_link_that_is_no_path_is_not_passed_on(deliver: Deliver, portal: ScriptedPortal, link: str) -> None:
    portal.answers(LIST, [])
    portal.answers(MEMENTO, {"memento": "m", "magicLink": link})
    with pytest.raises(Reject, match="MAGIC_LINK_FOREIGN") as refusal:
        deliver()
    assert "geheim" not in str(refusal.value)


@pytest.mark.parametrize("link", [None, ""])
def test_no_link_is_a_failure(deliver: Deliver, portal: ScriptedPortal, link: str | None) -> None:
    portal.answers(LIST, [])
    portal.answers(MEMENTO, {"memento": "geheim", "magicLink": link})
    with pytest.raises(Reject, match="NO_MAGIC_LINK") as refusal:
        deliver()
    assert "geheim" not in str(refusal.value)


def test_an_answer_without_a_memento_is_tried_again(deliver: Deliver, portal: ScriptedPortal) -> None:
    portal.answers(LIST, [])
    portal.answers(MEMENTO, {"magicLink": LINK})
    with pytest.raises(Retry) as refusal:
        deliver()
    assert "geheim" not in str(refusal.value)


@pytest.mark.parametrize("status", [400, 422])
def test_what_the_portal_refuses_is_in_its_own_words(deliver: Deliver, portal: ScriptedPortal, status: int) -> None:
    portal.answers(LIST, [])
    portal.answers(MEMENTO, {"error": "Validation failed", "errors": ["Frau Geheim"]}, status=status)
    with pytest.raises(Reject, match="FORM_DATA_INVALID") as refusal:
        deliver()
    assert refusal.value.portal_words == "Validation failed; Frau Geheim"
    assert "Geheim" not in str(refusal.value)


def test_a_user_without_access_is_the_connections_mistake(deliver: Deliver, portal: ScriptedPortal) -> None:
    portal.answers(LIST, {"error": "Forbidden"}, status=403)
    with pytest.raises(Misconfigured):
        deliver()
