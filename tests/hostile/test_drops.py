"""Drops that mean harm, or make no sense: any key, any metadata, any content, for all four portals.

Whatever is dropped ends with a receipt that says DELIVERED, or FAILED and in a sentence why, or with a delivery under
way. Nothing crashes a function, and no drop delays another.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amtsbote.keys import KEY_BYTES, receipt_key
from sandbox.portals.digitale_gemeinde import FileShape, Options, SimulatedDigitaleGemeinde
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import serve
from tests.flows.altinn_office import ATTACHMENT, FORM, ObservedAltinn
from tests.flows.altinn_office import new_world as altinn_world
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.world import Clock

ANSWER_FIELD = 3
EXAMPLES = 60  # per portal
STATUSES = ("IN_PROGRESS", "DELIVERED", "FAILED")


@dataclass(frozen=True)
class Office:
    """A portal with its world, the parts that its keys are made of, and contents that nearly make sense."""

    world: MortalWorld
    fitting: tuple[str, ...]
    heads: tuple[str, ...]
    parts: tuple[str, ...]
    names: tuple[str, ...]
    metadata: tuple[str, ...]
    contents: tuple[Any, ...]


@contextmanager
def duba_office(clock: Clock) -> Iterator[Office]:
    """Provide DUBA."""
    portal = SimulatedDuba(username="amtsbote", password="geheim", clock=clock)
    with serve(portal):
        world = MortalWorld("duba", clock=clock)
        world.connect("klinikum", {"baseUrl": portal.base_url, "username": "amtsbote", "password": "geheim"})
        form = {"jobId": "job-1", "betroffener": {"nachname": "Kanarienvogel", "geburtsdatum": "1950-01-15"}}
        yield Office(
            world,
            ("duba/klinikum/BetreuungAnregung/{}.json", "duba/klinikum/FreiheitsentzugAntrag/{}.json"),
            ("duba/klinikum/", "duba/", "duba/unbekannt/"),
            ("BetreuungAnregung", "UnterbringungAntrag", "Unsinn"),
            ("fall.json", "fall.xml"),
            ("reference-id",),
            (form, {"jobId": 5}, {"jobId": ""}, [form]),
        )


@contextmanager
def municipality_office(clock: Clock) -> Iterator[Office]:
    """Provide Digitale-Gemeinde."""
    portal = SimulatedDigitaleGemeinde("schluessel", 17, options=Options(file_shape=FileShape.LIST), clock=clock)
    portal.add_form()
    with serve(portal):
        form_id = next(iter(portal.forms))
        document_id = portal.add_document(form_id, {"name": "Kanarienvogel"}, {})
        world = MortalWorld("digitale-gemeinde", clock=clock)
        world.connect("stadt", {"baseUrl": portal.base_url, "apiKey": "schluessel", "tenantId": 17})
        place = f"digitale-gemeinde/stadt/{form_id}/{document_id}"
        yield Office(
            world,
            (f"{place}/{ANSWER_FIELD}/{{}}", f"{place}/status.json", f"{place}/{{}}/bescheid.pdf"),
            (f"digitale-gemeinde/stadt/{form_id}/{document_id}/", "digitale-gemeinde/stadt/", "digitale-gemeinde/"),
            (form_id, document_id, "antwort", "beilage", "3", "1"),
            ("status.json", "bescheid.pdf"),
            ("complete",),
            ({"status": "Neu"}, {"status": "Refund"}, {"status": 5}, {"status": "Unsinn"}, {"status": ["Neu"]}),
        )


@contextmanager
def altinn_office(clock: Clock) -> Iterator[Office]:
    """Provide Altinn."""
    portal = ObservedAltinn(clock)
    with serve(portal):
        instance = portal.submit(FORM, ATTACHMENT)
        template = {"instanceOwner": {"partyId": "50001"}}
        yield Office(
            altinn_world(portal, clock),
            (f"altinn/etat/org/app/{instance.id}/attachment/{{}}", "altinn/etat/org/app/{}.instance.json"),
            (f"altinn/etat/org/app/{instance.id}/", "altinn/etat/org/app/", "altinn/etat/", "altinn/etat/org/andere/"),
            ("attachment", "model", "unsinn", "50001", "org", "app"),
            ("neu.instance.json", "vedtak.pdf"),
            ("process-next",),
            (
                template,
                {"instance": template, "data": [{"dataType": "model", "text": "<a/>"}]},
                {"instance": 5, "data": 7},
            ),
        )


@contextmanager
def docxworld_office(clock: Clock) -> Iterator[Office]:
    """Provide docxworld."""
    portal = ObservedDocxworld(clock)
    with ExitStack() as stack:
        stack.enter_context(serve(portal))
        stack.callback(portal.close)
        world = MortalWorld("docxworld", clock=clock)
        world.connect("klinikum", portal.secret())
        target = f"docxworld/klinikum/{portal.letters.id}"
        yield Office(
            world,
            (f"{target}/{{}}", f"{target}/{{}}.cancel.json", "docxworld/klinikum/approvals/{}/decision.json"),
            ("docxworld/klinikum/", f"docxworld/klinikum/{portal.letters.id}/", "docxworld/klinikum/BRIEF/"),
            ("BRIEF", portal.letters.id, "approvals", "drafts", "NIRGENDWO"),
            ("brief.pdf", "brief.pdf.cancel.json", "decision.json", "file.pdf"),
            ("reference-id", "priority", "customer-reference-1", "customer-reference-7", "download-type"),
            ({"approvalState": "APPROVED"}, {"approvalState": 5}, {"message": "nein"}, {"message": ["nein"]}),
        )


OFFICES: dict[str, Callable[[Clock], Any]] = {
    "duba": duba_office,
    "digitale-gemeinde": municipality_office,
    "altinn": altinn_office,
    "docxworld": docxworld_office,
}
ODD = (
    "..",
    ".",
    " ",
    "%2e%2e",
    "%2F",
    "?a=b",
    "#",
    "&",
    "\\",
    "{id}",
    "$(id)",
    "'",
    '"',
    "<b>",
    "\t",
    "ä",
    "日本",
    "😀",
    "\u202e",
    "x" * 300,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=12), each, max_size=4),
    max_leaves=10,
)
DEEP = b"[" * 5000 + b"]" * 5000


def keys_for(office: Office) -> st.SearchStrategy[str]:
    """Return keys: some that fit, most of which nearly do."""
    part = st.sampled_from([*office.parts, *ODD]) | st.text(min_size=1, max_size=12)
    name = st.sampled_from([*office.names, *ODD]) | st.text(min_size=1, max_size=30)
    tail = st.lists(part, max_size=3).flatmap(lambda parts: name.map(lambda last: "/".join([*parts, last])))
    fitting = st.builds(lambda key, part: key.replace("{}", part), st.sampled_from(office.fitting), part)
    return fitting | fitting | st.builds(str.__add__, st.sampled_from(office.heads), tail) | tail


def contents_for(office: Office) -> st.SearchStrategy[bytes]:
    """Return contents: what nearly makes sense, any JSON, any bytes."""
    nearly = st.sampled_from(office.contents) | JSON
    mixed = st.sampled_from(office.contents).flatmap(
        lambda each: JSON.map(lambda more: {**each, "message": more} if isinstance(each, dict) else more)
    )
    return (nearly | mixed).map(lambda said: json.dumps(said).encode()) | st.binary(max_size=200) | st.just(DEEP)


def metadata_for(office: Office) -> st.SearchStrategy[dict[str, str]]:
    """Return user metadata as S3 takes it: printable ASCII."""
    value = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=120)
    value = value | st.sampled_from(["true", "false", "NORMAL", "HI", "RESULT", "=?utf-8?Q?=0D=0AX-Injected:_1?="])
    return st.dictionaries(st.sampled_from(office.metadata), value, max_size=3)


def judged(world: MortalWorld, key: str) -> str:
    """Return what the receipt of a drop says, after checking that it can be understood."""
    if len(receipt_key(key).encode()) > KEY_BYTES:
        return "NO_RECEIPT_FITS"  # the ledger and the event say what became of it
    receipt = world.receipt(key)
    assert receipt["status"] in STATUSES and receipt["outboxKey"] == key
    error = receipt["error"]
    assert (error is not None) == (receipt["status"] == "FAILED")
    if error is not None:
        assert len(error["message"]) > 20 and error["code"].replace("_", "").isalnum()
    return str(receipt["status"])


@pytest.mark.parametrize("portal", OFFICES)
def test_no_drop_crashes_and_each_has_a_receipt(portal: str, clock: Clock, log_lines: LogLines) -> None:
    outcomes: dict[str, int] = {}
    with OFFICES[portal](clock) as office:

        @given(keys_for(office), contents_for(office), metadata_for(office))
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def one(key: str, content: bytes, metadata: dict[str, str]) -> None:
            try:
                office.world.drop(key, content, metadata)
            except (ClientError, ParamValidationError, UnicodeEncodeError):
                return  # S3 itself refuses the key: nothing was dropped
            office.world.run("own")
            outcome = judged(office.world, key)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

        one()
        assert "crashed" not in log_lines.text
        assert not office.world.sqs.dead_letters
    assert sum(outcomes.values()) >= EXAMPLES // 2 and outcomes.get("FAILED", 0) > 0
    print(f"{portal}: {outcomes}")  # noqa: T201 - the figures of docs/security.md
