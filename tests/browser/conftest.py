"""One sandbox for the whole suite, started as `make up` starts it, with its console; and Chromium."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from amtsbote.deliveries import DropRow, Noted, SendLease, received
from amtsbote.messages import ConnectionTask, Task
from amtsbote.operations.documents import Question, documents
from amtsbote.operations.office import Office
from amtsbote.operations.stack import stack_named
from amtsbote.portals.protocols import SHOWN
from amtsbote.times import now
from sandbox.portals import catalog
from sandbox.portals.catalog import KLINIKUM, STADT, example_pdf
from tests.unit.support import later

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1200, "height": 800}
TICK_SECONDS = "3"
PATIENCE_SECONDS = 240.0
LOOK_SECONDS = 1.0
STOP_SECONDS = 60.0
PAGE_MILLISECONDS = 30_000

NO_ZIP = b"\x00\x01 these bytes are no ZIP"
HOSTILE = "<img src=x onerror=alert(1)>\u202efdp.exe \"'&" + "ä" * 75
"""A name that would do harm where it is not escaped: markup, a change of direction, and 200 bytes long."""
HOSTILE_KEY = f"docxworld/{KLINIKUM}/BRIEF/{HOSTILE}"
SLOW_KEY = f"docxworld/{KLINIKUM}/BRIEF/Jahresbericht.pdf"
WRONG_LOGIN = "archiv"
COURTS_LETTER = "12 XVII 214/26"
MEGABYTE = 1_000_000


@dataclass
class Town:
    """The running sandbox: its console's address, its operator's view, and the portals in this process."""

    console: str
    office: Office
    portals: catalog.Portals
    unreadable: list[str] = field(default_factory=list)
    stored: str = ""
    letter: str = ""

    @property
    def base(self) -> str:
        """Return where the console is, without the key of the way in."""
        return self.console.partition("/enter")[0]

    def state(self, name: str) -> str:
        """Return the state of a document now."""
        portal, connection, id_ = name.split("/", 2)
        row = self.office.ledger.item(portal, connection, id_)
        return row.state if row else "NOTHING"

    def awaits(self, name: str, state: str) -> None:
        """Wait until a document is in that state."""
        wait_until(lambda: self.state(name) == state, f"{name} to be {state}")


def chromium() -> str:
    """Return where Chromium is; empty where there is none."""
    look = ["sh", str(ROOT / "tools" / "find-chromium")]
    return subprocess.run(look, check=True, capture_output=True, text=True).stdout.strip()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something of the sandbox; fails, naming it, when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited too long for {what}")
        time.sleep(LOOK_SECONDS)


# --- the sandbox -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """The sandbox with documents of every kind; started once."""
    if not chromium():
        pytest.skip("there is no Chromium here: apt-get install chromium, or name one in CHROMIUM")
    with ExitStack() as running:
        said = _up(running)
        office = _office(said)
        portals = catalog.open_portals(running)
        town = Town(said["console"], office, portals)
        _seed(town)
        yield town


def _up(running: ExitStack) -> dict[str, Any]:
    command = [sys.executable, "-m", "sandbox", "up", "--json", "--no-portals", "--tick-seconds", TICK_SECONDS]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    running.callback(_end, process)
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
    assert said, "the sandbox did not come up"
    return said


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    process.wait(STOP_SECONDS)


def _office(said: dict[str, Any]) -> Office:
    session = boto3.Session(said["accessKeyId"], said["secretAccessKey"], region_name=said["region"])
    make: Any = session.client  # its overloads take only literal names
    client = cache(lambda name: make(name, endpoint_url=said["awsEndpoint"]))
    return Office(stack_named(client("cloudformation"), said["stack"]), client, allow_loopback=True)


def _seed(town: Town) -> None:
    """Let there be documents of every kind, and wait until each is where it should be."""
    duba = town.portals.duba
    letter = duba.add_message(aktenzeichen=COURTS_LETTER)
    broken = [duba.add_message(aktenzeichen=f"9 M {number}/26", content=NO_ZIP) for number in (1, 2, 3)]
    town.letter = f"duba/{KLINIKUM}/{letter}"
    town.unreadable = [f"duba/{KLINIKUM}/{id_}" for id_ in broken]
    form = next(iter(town.portals.forms.values()))
    file = ("Ausweis.pdf", example_pdf("Ausweis"), "application/pdf")
    town.portals.digitale_gemeinde.add_document(form, {"name": "Muster"}, {"beilage": [file]})
    town.portals.docxworld.add_download(
        town.portals.targets["BRIEF"], example_pdf("x"), type="RESULT", file_name=HOSTILE
    )
    _connect(town)
    drop(town, f"docxworld/{KLINIKUM}/ABLEHNUNG/Rundschreiben.pdf")
    drop(town, HOSTILE_KEY)
    drop(town, "nirgendwo/Irrläufer.pdf")
    give_up(town)
    town.awaits(town.letter, "ACKNOWLEDGED")
    for name in town.unreadable:
        town.awaits(name, "QUARANTINED")
    town.stored = _first(town, Question("digitale-gemeinde", STADT, states=("STORED",)))
    _first(town, Question("docxworld", KLINIKUM, states=("FAILED",)))
    _first(town, Question("docxworld", KLINIKUM, states=("ACKNOWLEDGED",)))
    wait_until(lambda: town.office.ledger.status("duba", WRONG_LOGIN).reason is not None, "the wrong login to be known")


def _connect(town: Town) -> None:
    bodies = catalog.secrets(town.portals)
    bodies[f"amtsbote/digitale-gemeinde/{STADT}"]["acknowledge"] = "processed"
    bodies[f"amtsbote/duba/{WRONG_LOGIN}"] = catalog.duba_secret(town.portals.duba) | {"password": "falsch"}
    for name, body in bodies.items():
        town.office.vault.write(name, json.dumps(body))


def _first(town: Town, question: Question) -> str:
    """Return the name of the first document that a question finds, as soon as there is one."""
    wait_until(lambda: bool(documents(town.office, question).documents), str(question))
    return documents(town.office, question).documents[0].name


def drop(town: Town, key: str) -> None:
    """Put a file into the outbox."""
    town.office.s3.put_object(Bucket=town.office.stack.outbox_bucket, Key=key, Body=example_pdf(key))


def give_up(town: Town) -> None:
    """Let a request be a dead letter."""
    body = ConnectionTask(portal="duba", connection=KLINIKUM, task=Task.POLL).body()
    town.office.sqs.send_message(QueueUrl=town.office.stack.dead_letter_queue_url, MessageBody=json.dumps(body))


def slow_upload(town: Town, sent: int, row: DropRow | None = None) -> DropRow:
    """Let an upload of 100 MB be as far as that many bytes, as the function that sends it would note it."""
    ledger, bucket = town.office.ledger, town.office.stack.outbox_bucket
    if row is None:
        first = received(bucket, SLOW_KEY, "slow-1", "1", ("docxworld", KLINIKUM), now())
        row = ledger.advance_drop(ledger.open_drop(first), SendLease(now() + (later(hours=1) - later())))
    shown = {SHOWN: {"at": now().isoformat(), "result": {"bytesSent": sent, "bytesTotal": 100 * MEGABYTE}}}
    row = ledger.advance_drop(row, Noted(row.fence, json.dumps(shown)))
    town.office.receipts.write(row)
    return row


# --- the browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(town: Town) -> Iterator[Browser]:
    """Chromium, without a head."""
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        yield one
        one.close()


@dataclass
class Visitor:
    """Opens pages of the console as one reader, and remembers what went wrong there."""

    town: Town
    context: BrowserContext
    page: Page
    asked_for: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def opens(self, path: str) -> Page:
        """Open a page and wait until it is whole."""
        self.page.goto(self.town.base + path)
        self.page.wait_for_load_state("networkidle")
        return self.page


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Browser, town: Town) -> Iterator[Visit]:
    """Return what lets a reader in; at the end none may have asked another host for anything, or met a fault."""
    visitors: list[Visitor] = []

    def let_in(language: str = "en", scheme: Any = "light", *, phone: bool = False, scripts: bool = True) -> Visitor:
        context = browser.new_context(
            locale={"en": "en-GB", "de": "de-DE"}[language],
            color_scheme=scheme,
            viewport=PHONE if phone else DESK,  # type: ignore[arg-type]
            java_script_enabled=scripts,
            timezone_id="Europe/Berlin",
        )
        context.set_default_timeout(PAGE_MILLISECONDS)
        page = context.new_page()
        visitor = Visitor(town, context, page)
        page.on("request", lambda request: visitor.asked_for.append(request.url))
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        page.on("console", lambda said: visitor.complaints.append(said.text) if _is_fault(said) else None)
        page.goto(town.console)
        page.wait_for_url(f"{town.base}/")
        visitors.append(visitor)
        return visitor

    yield let_in
    for visitor in visitors:
        visitor.context.close()
    assert [url for each in visitors for url in each.asked_for if not url.startswith(town.base)] == []
    assert [said for each in visitors for said in each.complaints] == []


def _is_fault(said: Any) -> bool:
    """An answer that refuses is no fault of the page."""
    return said.type == "error" and "responded with a status of" not in said.text
