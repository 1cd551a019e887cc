"""The flows whose requests are counted: a portal with documents, what is done to it, and how it must end."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cloud.running import RunningAws
from benchmarks.fleet import OUTBOX, Fleet
from benchmarks.offices import LOGIN, secret_of, zip_of
from sandbox.portals import catalog
from sandbox.portals.altinn import File
from sandbox.portals.digitale_gemeinde import SimulatedDigitaleGemeinde
from sandbox.portals.docxworld import SimulatedDocxworld
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import SimulatedPortal, serve

CONNECTION = "office"
BYTES = 4096
VERBS = ("dispatch", "poll", "fetch", "acknowledge", "deliver", "track")
TRACK_SECONDS, TRACKED_AT_MOST = 6.0, 10  # a delivery is looked after for the first time after five seconds
ANSWER_FIELD = "3"
FORM = '{"jobId": "job-%d", "absender": {"egvp_account_id": 42}}'


@dataclass
class Prepared:
    """A portal that is served, the secret of its connection, and the drops to make: key → content."""

    portal: SimulatedPortal
    secret: Mapping[str, Any]
    drops: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Flow:
    """One way of a document: `prepare` makes so many of them, `inbound` says which way they go."""

    name: str
    portal: str
    inbound: bool
    prepare: Callable[[int, ExitStack], Prepared]


@dataclass(frozen=True)
class Walked:
    """What a flow's documents took: requests to AWS by name, calls of the portal by method and kind of path.

    `works` are by verb: invocations, their wall seconds, the processor seconds of the verb's process meanwhile.
    """

    documents: int
    aws: Mapping[str, float]
    units: Mapping[str, float]
    calls: Mapping[str, int]
    works: Mapping[str, tuple[int, float, float]]
    log: str

    @property
    def aws_per_document(self) -> float:
        """All requests to AWS, by document."""
        return sum(self.aws.values()) / self.documents

    @property
    def calls_per_document(self) -> float:
        """All calls of the portal, by document."""
        return sum(self.calls.values()) / self.documents


def walk(flow: Flow, documents: int, *, latency: float = 0.0) -> Walked:
    """Let so many documents go the whole way, and count. `latency` multiplies the time that AWS would take."""
    with ExitStack() as running:
        prepared = flow.prepare(documents, running)
        aws = running.enter_context(RunningAws(latency=latency))
        aws.connect(flow.portal, {CONNECTION: prepared.secret})
        fleet = running.enter_context(_fleet(aws, flow.portal))
        prepared.portal.forget_requests()
        aws.ask("forget")
        cpu_before = {verb: source.cpu_seconds() for verb, source in fleet.sources.items()}
        if flow.inbound:
            _come_in(fleet)
        else:
            _go_out(fleet, aws, prepared.drops)
        _check(aws, flow, documents)
        counted, works = aws.counted(), _works(fleet, cpu_before)
        return Walked(documents, counted.requests, counted.units, _calls(prepared.portal), works, fleet.logs())


@contextmanager
def _fleet(aws: RunningAws, portal: str) -> Iterator[Fleet]:
    with Fleet(aws, portal, *VERBS, at_once=dict.fromkeys(VERBS, 1)) as fleet:
        yield fleet


def _come_in(fleet: Fleet) -> None:
    for task in ("poll", "acknowledge"):
        fleet.tick(task)
        fleet.wait_until_quiet()


def _go_out(fleet: Fleet, aws: RunningAws, drops: Mapping[str, str]) -> None:
    for key, content in drops.items():
        aws.ask("object", path=f"{OUTBOX.lower()}/{key}", text=content)
    fleet.drop(*drops)
    fleet.wait_until_quiet()
    for _ in range(TRACKED_AT_MOST):
        if not any(row.get("dueQueue", {}).get("S", "").startswith("track#") for row in aws.ask("rows")):
            return
        time.sleep(TRACK_SECONDS)
        fleet.tick("track")
        fleet.wait_until_quiet()


def _check(aws: RunningAws, flow: Flow, documents: int) -> None:
    """Make sure that all of them arrived."""
    wanted = "ACKNOWLEDGED" if flow.inbound else "DELIVERED"
    states = [row["state"]["S"] for row in aws.ask("rows") if "state" in row]
    if states.count(wanted) != documents:
        raise AssertionError(f"{flow.name}: {documents} documents, and these states: {sorted(states)}")


def _calls(portal: SimulatedPortal) -> dict[str, int]:
    """Return the calls by method and path, with the ids taken out."""
    counts: dict[str, int] = {}
    for request in portal.requests:
        kind = f"{request.method} {_without_ids(request.path)}"
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _without_ids(path: str) -> str:
    parts = path.split("/")
    return "/".join(
        "…" if any(letter.isdigit() for letter in part) and part not in ("v1", "s3") else part for part in parts
    )


def _works(fleet: Fleet, cpu_before: Mapping[str, float]) -> dict[str, tuple[int, float, float]]:
    """Return what the invocations of each verb took together."""
    works = {}
    for verb in {each.verb for each in fleet.invoked}:
        mine = [each for each in fleet.invoked if each.verb == verb]
        cpu = fleet.sources[verb].cpu_seconds() - cpu_before[verb]
        works[verb] = (len(mine), sum(each.seconds for each in mine), cpu)
    return works


# --- the flows -------------------------------------------------------------------------------------------------------


def _duba(documents: int, running: ExitStack) -> Prepared:
    portal = SimulatedDuba(*LOGIN)
    content = zip_of(BYTES)
    for number in range(documents):
        portal.add_message(content=content, job_id=f"job-{number}")
    running.enter_context(serve(portal))
    return Prepared(portal, secret_of(portal.base_url))


def _duba_links(documents: int, running: ExitStack) -> Prepared:
    portal = SimulatedDuba(*LOGIN)
    running.enter_context(serve(portal))
    keys = (f"duba/{CONNECTION}/BetreuungAnregung/form-{number}.json" for number in range(documents))
    return Prepared(portal, secret_of(portal.base_url), {key: FORM % n for n, key in enumerate(keys)})


def _municipality(running: ExitStack) -> tuple[SimulatedDigitaleGemeinde, str]:
    portal = SimulatedDigitaleGemeinde(catalog.TENANT_KEY, catalog.TENANT_ID)
    form = portal.add_form()
    running.enter_context(serve(portal))
    return portal, form


def _forms(documents: int, running: ExitStack) -> Prepared:
    portal, form = _municipality(running)
    for _ in range(documents):
        portal.add_document(form, {"name": "Muster"}, {"beilage": [("Ausweis.pdf", b"%PDF-1.7", "application/pdf")]})
    return Prepared(portal, catalog.municipality_secret(portal))


def _answers(documents: int, running: ExitStack) -> Prepared:
    portal, form = _municipality(running)
    ids = [portal.add_document(form, {"name": "Muster"}, status="In Bearbeitung") for _ in range(documents)]
    keys = (f"digitale-gemeinde/{CONNECTION}/{form}/{id_}/{ANSWER_FIELD}/antwort.pdf" for id_ in ids)
    return Prepared(portal, catalog.municipality_secret(portal), dict.fromkeys(keys, "%PDF-1.7"))


def _docxworld(running: ExitStack) -> tuple[SimulatedDocxworld, Mapping[str, Any]]:
    portal = SimulatedDocxworld()
    running.callback(portal.close)
    portal.add_user(*LOGIN)
    running.enter_context(serve(portal))
    auth = {
        "kind": "user-password",
        "cognitoUrl": portal.cognito_url,
        "clientId": portal.app_client_id,
        "username": LOGIN[0],
        "password": LOGIN[1],
    }
    sides = {"uploader": {}, "downloader": {"clientId": "amtsbote-bench"}}
    return portal, {"baseUrl": portal.base_url, "auth": auth, **sides}


def _results(documents: int, running: ExitStack) -> Prepared:
    portal, secret = _docxworld(running)
    target = portal.add_target()
    for number in range(documents):
        portal.add_download(target, b"%PDF-1.7", file_name=f"Ergebnis {number}.pdf")
    return Prepared(portal, secret)


def _letters(documents: int, running: ExitStack) -> Prepared:
    portal, secret = _docxworld(running)
    target = portal.add_target()
    keys = (f"docxworld/{CONNECTION}/{target.id}/brief-{number}.pdf" for number in range(documents))
    return Prepared(portal, secret, dict.fromkeys(keys, "%PDF-1.7"))


def _altinn(documents: int, running: ExitStack) -> tuple[catalog.Portals, list[str]]:
    portals = catalog.prepare_portals(running)
    for _ in range(documents):
        file = File("attachment", "soknad.pdf", "application/pdf", b"%PDF-1.7")
        portals.altinn.add_instance(catalog.APP, files=[file], task=catalog.HANDED_IN)
    running.enter_context(serve(portals.altinn))
    return portals, [str(each) for each in _instances(portals)]


def _instances(portals: catalog.Portals) -> Iterable[str]:
    return portals.altinn.world.instances


def _filings(documents: int, running: ExitStack) -> Prepared:
    portals, _ = _altinn(documents, running)
    return Prepared(portals.altinn, catalog.altinn_secret(portals.altinn, portals.altinn_login))


def _decisions(documents: int, running: ExitStack) -> Prepared:
    portals, ids = _altinn(documents, running)
    keys = (f"altinn/{CONNECTION}/{catalog.APP}/{id_}/attachment/vedtak.pdf" for id_ in ids)
    secret = catalog.altinn_secret(portals.altinn, portals.altinn_login)
    return Prepared(portals.altinn, secret, dict.fromkeys(keys, "%PDF-1.7"))


FLOWS = (
    Flow("duba: a message comes in", "duba", True, _duba),
    Flow("digitale-gemeinde: a form with a file comes in", "digitale-gemeinde", True, _forms),
    Flow("altinn: an instance with a file comes in", "altinn", True, _filings),
    Flow("docxworld: a result comes in", "docxworld", True, _results),
    Flow("duba: form data becomes a magic link", "duba", False, _duba_links),
    Flow("digitale-gemeinde: an answer goes out", "digitale-gemeinde", False, _answers),
    Flow("altinn: a data element goes out", "altinn", False, _decisions),
    Flow("docxworld: a letter goes out, and is followed", "docxworld", False, _letters),
)
