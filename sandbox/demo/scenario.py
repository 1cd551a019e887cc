"""What the demo lets happen, and the end that each document and each drop should reach."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from functools import cached_property, partial
from typing import Any

from sandbox.demo.large import Noise
from sandbox.portals.altinn import File, Instance
from sandbox.portals.catalog import (
    APP,
    ARCHIV,
    BEING_FILLED_IN,
    DRUCKSTRASSE,
    ETAT,
    HANDED_IN,
    HELD,
    IN_WORK,
    KLINIKUM,
    STADT,
    Portals,
    downloader_client,
    example_pdf,
)
from sandbox.portals.digitale_gemeinde import NEVER as HIDDEN
from sandbox.portals.docxworld import Step
from sandbox.portals.docxworld.jobs import WAITING
from sandbox.portals.duba import NEVER, court_zip
from sandbox.portals.faults import Fault, Kind

FIRST_MESSAGE = 201
HOSTILE_NAME = "../../etc/Grüße\x07 \u202ean alle.pdf"
CHUNKED_BYTES = 25_000_000
LARGE_BYTES, LARGE_NAME = 300_000_000, "Bilddaten.tar"
SEED = 20260219
INTERRUPTIONS = 2
FIRST_DROP_SECONDS = 1.0
DROP_EACH_SECONDS = 0.3


class End(StrEnum):
    """Where a document or a drop ends."""

    ACKNOWLEDGED = "acknowledged"
    QUARANTINED = "quarantined"
    UNAVAILABLE = "unavailable"
    LEFT_ALONE = "left alone"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Fingerprint:
    """Length and SHA-256 (hexadecimal) of a content."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Fingerprint:
        """Of bytes in memory."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class ExpectedFile:
    """One file of an item; `portal_name` is the portal's own name of it, None where it gives none."""

    content: Fingerprint
    portal_name: str | None = None


@dataclass(frozen=True)
class ExpectedDocument:
    """One item at a portal and the end it should reach.

    Its first file has this `content` and `portal_name`, `more` are those after it. `label` is what people call it.
    `client` is the name under which it is acknowledged, None where the portal knows no such name. `from_seconds` is
    when it can be fetched, counted from the start of the scenario.
    """

    portal: str
    connection: str
    id: str
    label: str
    content: Fingerprint
    end: End = End.ACKNOWLEDGED
    story: str = ""
    portal_name: str | None = None
    client: str | None = None
    from_seconds: float = 0.0
    more: tuple[ExpectedFile, ...] = ()

    @property
    def files(self) -> tuple[ExpectedFile, ...]:
        """All files in their order."""
        return (ExpectedFile(self.content, self.portal_name), *self.more)

    @property
    def prefix(self) -> str:
        """Where it belongs in the inbox."""
        return f"{self.portal}/{self.connection}/{self.id}"


@dataclass(frozen=True)
class ExpectedDrop:
    """One version of an outbox object and the end it should reach.

    `code` is the receipt's error code. `at_portal` says whether the portal gets the file, though it may fail there.
    `target` is docxworld's id of the target, `<documentId>/<fieldId>` of a form, `<instance id>/<data type>` at Altinn,
    or the `<app>/<partyId>` of a new instance. `newest` says whether the receipt of the key speaks of this version.
    `sets` is the status that it sets, of the document that `portal_id` names, or the task or end to which it moves that
    instance; one that `refunds` sends the money back. `arrives` is what the portal gets where that is not the dropped
    file itself, or has of it already. `link_of` is the job that becomes a magic link. It is dropped once it is `ready`.
    One that is `generated` is made while it is read, in place of `content`. It goes out `encrypted`, and whoever sends
    it is killed as often as `interruptions` says.
    """

    key: str
    content: bytes = field(repr=False)
    end: End = End.DELIVERED
    code: str | None = None
    story: str = ""
    target: str | None = None
    at_portal: bool = True
    newest: bool = True
    event_twice: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    from_seconds: float = 0.0
    version_id: str | None = None
    sets: str | None = None
    portal_id: str | None = None
    refunds: bool = False
    arrives: ExpectedFile | None = None
    link_of: str | None = None
    ready: Callable[[], bool] = field(default=lambda: True, compare=False)
    generated: Noise | None = None
    encrypted: bool = False
    interruptions: int = 0

    @property
    def label(self) -> str:
        """The file's name."""
        return self.key.rpartition("/")[2]

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Of the content."""
        if self.generated is not None:
            return Fingerprint(self.generated.size, self.generated.sha256)
        return Fingerprint.of(self.content)

    @property
    def arriving(self) -> ExpectedFile:
        """The file as the portal should get it."""
        return self.arrives or ExpectedFile(self.fingerprint, self.label)


@dataclass(frozen=True)
class Change:
    """Something that happens at a portal so many seconds after the start."""

    at_seconds: float
    happen: Callable[[], object]


@dataclass(frozen=True)
class Scenario:
    """Everything that the demo expects and lets happen."""

    documents: tuple[ExpectedDocument, ...]
    drops: tuple[ExpectedDrop, ...]
    changes: tuple[Change, ...] = ()


def seed(portals: Portals) -> Scenario:
    """Fill the portals, arm their faults, and say what should become of everything. Only ids differ between runs."""
    messages, downloads, forms, instances = (
        Messages(portals),
        Downloads(portals),
        Forms(portals),
        Instances(portals),
    )
    for each in (messages, downloads, forms, instances):
        each.add_all()
    documents = (*messages.expected, *downloads.expected, draft_as_download(), *forms.expected, *instances.expected)
    changes = (*messages.changes, *forms.changes, *instances.changes)
    return Scenario(documents, tuple(_drops(portals)), changes)


# --- DUBA ------------------------------------------------------------------------------------------------------------

DOWNLOAD = "GET /api/duba/v1/download/{id}"
ORDINARY_MESSAGES = 14
HYDRATED_AT_SECONDS = (3.0, 5.0, 7.0)
REVEALED_AT_SECONDS = 5.0


class Messages:
    """Fills the DUBA mailbox."""

    def __init__(self, portals: Portals) -> None:
        self._duba = portals.duba
        self._next = FIRST_MESSAGE
        self.expected: list[ExpectedDocument] = []
        self.changes: list[Change] = []

    def add_all(self) -> None:
        """The whole mailbox, 27 messages."""
        for _ in range(ORDINARY_MESSAGES):
            self.add()
        for at_seconds in HYDRATED_AT_SECONDS:
            self._add_unhydrated(at_seconds)
        self._add_late()
        for story in ("one messageId, 1st row", "one messageId, 2nd row"):
            self.add(story, message_id="gov2test_derselbe")
        self.add("listed twice at once", listed_times=2)
        for story in ("sent by ourselves", "sent by ourselves"):
            self.add(story, End.LEFT_ALONE, direction="OUTGOING")
        self.add("no ZIP, bytes kept", End.QUARANTINED, content=example_pdf("Dies ist kein ZIP."))
        self._add_with_fault("body cut off once", Fault(Kind.TRUNCATED_BODY, times=1))
        self._add_with_fault("500 once", Fault(Kind.SERVER_ERROR, times=1))
        self._add_with_fault("429, Retry-After 2 s", Fault(Kind.TOO_MANY_REQUESTS, times=1, retry_after=2))
        self._duba.faults.add(Fault(Kind.LOST_ANSWER, "POST /api/duba/v1/messages/ack", times=1))

    def add(self, story: str = "", end: End = End.ACKNOWLEDGED, *, from_seconds: float = 0.0, **message: Any) -> int:
        """A message, with further fields as the simulated DUBA takes them; returns its id."""
        id_, self._next = self._next, self._next + 1
        aktenzeichen = f"12 XVII {id_}/26"
        content = message.pop("content", None) or court_zip(id_, aktenzeichen)
        self._duba.add_message(id_, aktenzeichen=aktenzeichen, content=content, **message)
        fingerprint = Fingerprint.of(content)
        self.expected.append(
            ExpectedDocument(
                "duba", KLINIKUM, str(id_), aktenzeichen, fingerprint, end, story, from_seconds=from_seconds
            )
        )
        return id_

    def _add_unhydrated(self, at_seconds: float) -> None:
        id_ = self.add(f"hydrated after {at_seconds:.0f} s", from_seconds=at_seconds, hydrated=False)
        self.changes.append(Change(at_seconds, lambda: self._duba.hydrate(id_)))

    def _add_late(self) -> None:
        """A row that appears late and is older than everything that was known before."""
        at_seconds, created_at = REVEALED_AT_SECONDS, self._duba.clock() - timedelta(hours=3)
        story = f"3 h old, seen after {at_seconds:.0f} s"
        id_ = self.add(story, from_seconds=at_seconds, created_at=created_at, visible_after=NEVER)
        self.changes.append(Change(at_seconds, lambda: self._duba.reveal(id_)))

    def _add_with_fault(self, story: str, fault: Fault) -> None:
        id_ = self.add(story)
        self._duba.faults.add(replace(fault, match=DOWNLOAD.format(id=id_)))


# --- docxworld, downloads --------------------------------------------------------------------------------------------

RESULTS, REPORTS, TECHNICAL_RESULTS, TECHNICAL_REPORTS = 24, 8, 8, 3


class Downloads:
    """Lays downloads ready at docxworld, of both types and for both connections."""

    def __init__(self, portals: Portals) -> None:
        self._docxworld = portals.docxworld
        self._targets = {KLINIKUM: portals.targets["BRIEF"], DRUCKSTRASSE: portals.targets["MASSE"]}
        self.expected: list[ExpectedDocument] = []

    def add_all(self) -> None:
        """46 downloads; the results of one connection fill more than a page."""
        for number in range(1, RESULTS + 1):
            self.add(KLINIKUM, "RESULT", f"Ergebnis {number:02}.pdf")
        for number in range(1, REPORTS + 1):
            self.add(KLINIKUM, "REPORT", f"Sendebericht {number:02}.csv")
        for number in range(1, TECHNICAL_RESULTS + 1):
            self.add(DRUCKSTRASSE, "RESULT", f"Druckergebnis {number:02}.pdf")
        for number in range(1, TECHNICAL_REPORTS + 1):
            self.add(DRUCKSTRASSE, "REPORT", f"Tagesbericht {number:02}.csv")
        self.add(KLINIKUM, "RESULT", HOSTILE_NAME, story="hostile file name")
        contested = self.add(KLINIKUM, "RESULT", "Umkämpft.pdf", End.UNAVAILABLE, "another client has it")
        self._docxworld.contested.add(contested)
        cut = self.add(DRUCKSTRASSE, "RESULT", "Abgebrochen.pdf", story="body cut off once")
        self._fault(Kind.TRUNCATED_BODY, f"GET /s3/dwc-download/{cut}.*")
        lost = self.add(KLINIKUM, "REPORT", "Antwort verloren.csv", story="answer to the ack lost")
        self._fault(Kind.LOST_ANSWER, f"POST /v1/downloads/{lost}/acknowledge")
        self._fault(Kind.EXPIRED_TOKEN, "GET /v1/downloads", after=2)

    def add(
        self,
        connection: str,
        kind: str,
        name: str,
        end: End = End.ACKNOWLEDGED,
        story: str = "",
        *,
        content: bytes | None = None,
        from_seconds: float = 0.0,
    ) -> str:
        """A download of this type; returns its id."""
        content = content or example_pdf(f"{kind} {name}") * 50
        download = self._docxworld.add_download(self._targets[connection], content, type=kind, file_name=name)
        self.expected.append(
            ExpectedDocument(
                "docxworld",
                connection,
                download.id,
                name,
                Fingerprint.of(content),
                end,
                story,
                portal_name=name,
                client=downloader_client(connection),
                from_seconds=from_seconds,
            )
        )
        return download.id

    def _fault(self, kind: Kind, match: str, after: int = 0) -> None:
        self._docxworld.faults.add(Fault(kind, match, times=1, after=after))


# --- Digitale-Gemeinde, forms ---------------------------------------------------------------------------------------

ORDINARY_FORMS, FILE_EACH = 116, 8
FORM_APART = timedelta(minutes=7)
DETAILS, UPDATE = "GET /Form/{form}/document/{id}", "PUT /Form/{form}/document/{id}"
Attachment = tuple[str, bytes, str]


class Forms:
    """Lets citizens submit forms: more than fit on one page of the search."""

    def __init__(self, portals: Portals) -> None:
        self._municipality = portals.digitale_gemeinde
        self._forms = tuple(portals.forms.items())
        self._submitted = self._municipality.clock() - 200 * FORM_APART
        self._form = self._forms[0][1]
        self.expected: list[ExpectedDocument] = []
        self.changes: list[Change] = []

    def add_all(self) -> None:
        """124 forms of two kinds."""
        for number in range(1, ORDINARY_FORMS + 1):
            self.add(*([] if number % FILE_EACH else [attachment(f"Beilage {number:03}.pdf")]))
        self.add(attachment(HOSTILE_NAME), story="hostile file name")
        self.add(attachment("Scan.pdf", "eins"), attachment("Scan.pdf", "zwei"), story="two files of one name")
        self.add(story="listed twice at once", listed_times=2)
        self._add_late()
        self._garble(self.add(attachment("Defekt.pdf"), story="no base64, bytes kept", end=End.QUARANTINED))
        self.add(story="a person has it", end=End.LEFT_ALONE, status="In Bearbeitung")
        throttled = self.add(story="429, Retry-After 2 s")
        self._fault(Kind.TOO_MANY_REQUESTS, DETAILS, throttled, retry_after=2)
        self._fault(Kind.LOST_ANSWER, UPDATE, self.add(story="answer to the ack lost"))

    def add(
        self,
        *files: Attachment,
        story: str = "",
        end: End = End.ACKNOWLEDGED,
        from_seconds: float = 0.0,
        **more: Any,
    ) -> str:
        """A form with these files, submitted a little later than the one before; returns its id."""
        name, self._form = self._forms[len(self.expected) % len(self._forms)]
        self._submitted += FORM_APART
        fields = {"name": f"Muster {len(self.expected) + 1}"}
        attached = {"beilage": files} if files else {}
        given = {"submitted": self._submitted, **more}
        id_ = self._municipality.add_document(self._form, fields, attached, **given)
        attachments = tuple(ExpectedFile(Fingerprint.of(content), name) for name, content, _ in files)
        details = self._answer(id_)
        self.expected.append(
            ExpectedDocument(
                "digitale-gemeinde", STADT, id_, name, details, end, story, from_seconds=from_seconds, more=attachments
            )
        )
        return id_

    def _answer(self, id_: str) -> Fingerprint:
        """Of the details as they are answered now."""
        details = self._municipality.documents[id_].details(self._municipality.options)
        return Fingerprint.of(json.dumps(details).encode())

    def _add_late(self) -> None:
        """A form that appears late and is older than all others."""
        at_seconds, submitted = REVEALED_AT_SECONDS, self._submitted - 200 * FORM_APART
        story = f"old, seen after {at_seconds:.0f} s"
        id_ = self.add(story=story, from_seconds=at_seconds, submitted=submitted, visible_after=HIDDEN)
        self.changes.append(Change(at_seconds, lambda: self._municipality.reveal(id_)))

    def _garble(self, id_: str) -> None:
        """Make its file unreadable; what is kept of it is the answer that holds the file."""
        self._municipality.garble(id_, "beilage")
        self.expected[-1] = replace(self.expected[-1], content=self._answer(id_))

    def _fault(self, kind: Kind, match: str, id_: str, **more: Any) -> None:
        self._municipality.faults.add(Fault(kind, match.format(form=self._form, id=id_), times=1, **more))


def attachment(name: str, words: str = "") -> Attachment:
    """A file that a citizen adds to a form; what is in it is told by its name, or by `words`."""
    return name, example_pdf(words or name), "application/pdf"


# --- Digitale-Gemeinde, results --------------------------------------------------------------------------------------

ANSWER_FIELD = 3
DONE, REFUND = "Abgeschlossen", "Refund"


def _results(portals: Portals) -> Iterator[ExpectedDrop]:
    """What goes back to the municipality, each to a form of its own that is being worked on."""
    municipality, form = portals.digitale_gemeinde, next(iter(portals.forms.values()))

    def in_work() -> str:
        return municipality.add_document(form, {"name": "Muster"}, status="In Bearbeitung")

    def fault(kind: Kind, match: str, id_: str) -> None:
        municipality.faults.add(Fault(kind, match.format(form=form, id=id_), times=1))

    yield result_file(form, in_work(), "Bestätigung.pdf", "a file, then done")
    yield result_file(
        form, in_work(), "Zwischenstand.pdf", "complete: false", metadata={"complete": "false"}, sets=None
    )
    lost = in_work()
    fault(Kind.LOST_ANSWER, "POST /Form/{form}/document/{id}/file/.*", lost)
    yield result_file(form, lost, "Einmal.pdf", "answer to upload lost")
    yield status_change(form, in_work(), DONE, "set to done")
    refunded = in_work()
    fault(Kind.LOST_ANSWER, UPDATE, refunded)
    yield status_change(form, refunded, REFUND, "refund, answer lost", event_twice=True, refunds=True)
    prefix = f"digitale-gemeinde/{STADT}/{form}"
    yield refused(f"{prefix}/{in_work()}/77/Kein Feld.pdf", "FIELD_UNKNOWN")
    yield refused(f"{prefix}/999999/{ANSWER_FIELD}/Kein Formular.pdf", "NOT_FOUND")


def result_file(form: str, id_: str, name: str, story: str, **more: Any) -> ExpectedDrop:
    """A file for a field of a form, after which the form is done unless `more` says else."""
    key = f"digitale-gemeinde/{STADT}/{form}/{id_}/{ANSWER_FIELD}/{name}"
    fields = {"target": f"{id_}/{ANSWER_FIELD}", "portal_id": f"{form}/{id_}", "sets": DONE, "story": story, **more}
    return ExpectedDrop(key, example_pdf(key), **fields)


def status_change(form: str, id_: str, status: str, story: str, **more: Any) -> ExpectedDrop:
    """A status.json for a form."""
    key = f"digitale-gemeinde/{STADT}/{form}/{id_}/status.json"
    body = json.dumps({"status": status}).encode()
    return ExpectedDrop(key, body, story=story, at_portal=False, sets=status, portal_id=f"{form}/{id_}", **more)


# --- Altinn, instances -----------------------------------------------------------------------------------------------

ORDINARY_INSTANCES, SECOND_FILE_EACH = 116, 6
SCANNED_AT_SECONDS = 5.0
FIRST_PARTY = 50_001
COMPLETE = "POST /storage/api/v1/instances/{id}/complete"


class Instances:
    """Lets people hand in instances of an app: more than fit on one page of the query."""

    def __init__(self, portals: Portals) -> None:
        self._altinn = portals.altinn
        self.expected: list[ExpectedDocument] = []
        self.changes: list[Change] = []

    def add_all(self) -> None:
        """123 instances, 120 of them to be fetched whole."""
        for number in range(1, ORDINARY_INSTANCES + 1):
            self.add(*([] if number % SECOND_FILE_EACH else [enclosure(f"Vedlegg {number:03}.pdf")]))
        self.add(enclosure(HOSTILE_NAME), story="hostile file name")
        self.add(enclosure("Kart.pdf", "en"), enclosure("Kart.pdf", "to"), story="two files of one name")
        self._add_pending()
        lost = self.add(story="answer to complete lost")
        self._altinn.faults.add(Fault(Kind.LOST_ANSWER, COMPLETE.format(id=lost.id), times=1))
        infected = enclosure("Virus.pdf")._replace(scan_result="Infected")
        self.add(infected, story="a file is infected", end=End.QUARANTINED)
        self.add(story="deleted for good", end=End.LEFT_ALONE, hard_deleted=True)
        self.add(story="still being filled in", end=End.LEFT_ALONE, task=BEING_FILLED_IN)

    def add(
        self,
        *enclosures: File,
        story: str = "",
        end: End = End.ACKNOWLEDGED,
        from_seconds: float = 0.0,
        **more: Any,
    ) -> Instance:
        """An instance with a form and these files, handed in unless `more` says else."""
        number = len(self.expected) + 1
        files = (applicant_form(f"Søker {number}"), *enclosures)
        instance = self._altinn.add_instance(APP, FIRST_PARTY + number, files, **{"task": HANDED_IN, **more})
        contents = tuple(ExpectedFile(Fingerprint.of(_bytes_of(each)), each.filename) for each in files)
        label = f"Søknad {number:03}"
        record = self._record(instance)
        self.expected.append(
            ExpectedDocument(
                "altinn", ETAT, instance.id, label, record, end, story, from_seconds=from_seconds, more=contents
            )
        )
        return instance

    def _record(self, instance: Instance) -> Fingerprint:
        """Of the instance as it is answered now."""
        record = self._altinn.storage.wire.instance(instance)
        return Fingerprint.of(json.dumps(record, ensure_ascii=False).encode())

    def _add_pending(self) -> None:
        """An instance whose file is still being scanned; what is expected is how it is after that."""
        story = f"scan done after {SCANNED_AT_SECONDS:.0f} s"
        scanned = enclosure("Skannes.pdf")._replace(scan_result="Clean")
        instance = self.add(scanned, story=story, from_seconds=SCANNED_AT_SECONDS)
        element = list(instance.elements)[-1]
        self._altinn.set_scan_result(instance, "Pending", element)
        clean = partial(self._altinn.set_scan_result, instance, "Clean", element)
        self.changes.append(Change(SCANNED_AT_SECONDS, clean))


def applicant_form(applicant: str) -> File:
    """The form itself that somebody hands in."""
    return File("model", None, "application/xml", f"<skjema><navn>{applicant}</navn></skjema>".encode())


def enclosure(name: str, words: str = "") -> File:
    """A file that goes with it; what is in it is told by its name, or by `words`."""
    return File("attachment", name, "application/pdf", example_pdf(words or name))


def _bytes_of(file: File) -> bytes:
    return file.content if isinstance(file.content, bytes) else file.content.read_bytes()


# --- Altinn, decisions and new instances -----------------------------------------------------------------------------

NEW_PARTY = 60_001
END_OF_PROCESS = "EndEvent_1"


def _decisions(portals: Portals) -> Iterator[ExpectedDrop]:
    """What goes to Altinn: two decisions, of which one ends its process, a new instance, and one to nowhere."""
    altinn = portals.altinn

    def in_work() -> str:
        return altinn.add_instance(APP, FIRST_PARTY, [applicant_form("Søker")], task=IN_WORK).id

    lost = in_work()
    altinn.faults.add(Fault(Kind.LOST_ANSWER, f"POST /{APP}/instances/{lost}/data.*", times=1))
    yield decision(lost, "Brev „Mai“.pdf", "answer to upload lost", event_twice=True)
    moved, on = in_work(), {"process-next": "true"}
    yield decision(moved, "Vedtak.pdf", "process moved on", metadata=on, portal_id=moved, sets=END_OF_PROCESS)
    yield new_instance("Ny sak.pdf")
    nobody = f"{FIRST_PARTY}/00000000-0000-4000-8000-000000000000"
    yield refused(f"altinn/{ETAT}/{APP}/{nobody}/attachment/Ingen sak.pdf", "NOT_FOUND")


def decision(instance: str, name: str, story: str, **more: Any) -> ExpectedDrop:
    """A file that answers an instance."""
    key = f"altinn/{ETAT}/{APP}/{instance}/attachment/{name}"
    return ExpectedDrop(key, example_pdf(key), story=story, target=f"{instance}/attachment", **more)


def new_instance(file_name: str, name: str = "Sak 17") -> ExpectedDrop:
    """A template, dropped under this name, with a file by which the instance is known at the portal."""
    text = f"Vedlagt: {file_name}"
    file = {"dataType": "attachment", "contentType": "text/plain", "fileName": file_name, "text": text}
    template = {"instance": {"instanceOwner": {"partyId": str(NEW_PARTY)}}, "data": [file]}
    return ExpectedDrop(
        f"altinn/{ETAT}/{APP}/{name}.instance.json",
        json.dumps(template).encode(),
        story="from a template",
        target=f"{APP}/{NEW_PARTY}",
        arrives=ExpectedFile(Fingerprint.of(text.encode()), file_name),
    )


# --- DUBA, magic links -----------------------------------------------------------------------------------------------

JOB = "amtsbote-fall-17"
PERSON = {"name": {"vorname": "Erika", "nachname": "Muster"}, "geburtsdatum": "1950-01-15"}


def _mementos() -> Iterator[ExpectedDrop]:
    """Form data for DUBA: one becomes a link, one has a wrong date."""
    yield magic_link(JOB, "Fall 17")
    wrong = {"jobId": "amtsbote-fall-18", "betroffener": {**PERSON, "geburtsdatum": "15.01.1950"}}
    wrong_key = f"duba/{KLINIKUM}/BetreuungAnregung/Fall 18.json"
    yield refused(wrong_key, "FORM_DATA_INVALID", content=json.dumps(wrong).encode())


def magic_link(job: str, name: str) -> ExpectedDrop:
    """Form data that becomes a link; `name` is the file's without its ending."""
    form = {"jobId": job, "empfaenger": {"type": "Gericht", "safeId": "gov2test"}, "betroffener": PERSON}
    key, body = f"duba/{KLINIKUM}/BetreuungAnregung/{name}.json", json.dumps(form).encode()
    return ExpectedDrop(key, body, story="became a magic link", at_portal=False, portal_id=job, link_of=job)


# --- docxworld, drops ------------------------------------------------------------------------------------------------

TASK_ID = "3f6f8d4e-5d1b-4f0e-9a57-0c5b7a1f2e11"
DRAFT_ID = "b1a7c2f0-83c4-4c55-8f0e-6a0d4a3c9d22"
DRAFT_FILE, DRAFT_CONTENT = "Sammelbuchung.xml", b"<buchungen><summe>4711,00</summe></buchungen>"


def _drops(portals: Portals) -> Iterator[ExpectedDrop]:
    """36 drops into the outbox, the large one first, the others spread over the first seconds."""
    dice = random.Random(SEED)
    to_docxworld = (
        *_delivered(portals, dice),
        *approved_and_cancelled(portals),
        draft(portals),
        *_refused_by_portal(portals),
        *_refused_by_us(),
    )
    yield large(portals)
    to_others = (*_results(portals), *_decisions(portals), *_mementos())
    for number, drop in enumerate((*to_docxworld, *to_others)):
        yield replace(drop, from_seconds=FIRST_DROP_SECONDS + number * DROP_EACH_SECONDS)


def _delivered(portals: Portals, dice: random.Random) -> Iterator[ExpectedDrop]:
    brief, masse, freigabe = (portals.targets[name].id for name in ("BRIEF", "MASSE", "FREIGABE"))
    large = dice.randbytes(CHUNKED_BYTES)
    yield to_target(DRUCKSTRASSE, "MASSE", "Jahresdruck.afp", masse, "25 MB in chunks, one 503", content=large)
    portals.docxworld.faults.add(
        Fault(Kind.SERVER_ERROR, "PUT /s3/dwc-upload/.*Jahresdruck[.]afp", times=1, after=1, status=503)
    )
    yield to_target(KLINIKUM, brief, "Einladung.pdf", brief, "target by UUID")
    yield to_target(KLINIKUM, "BRIEF", "Mahnung März & Grüße.pdf", brief, "target by abbreviation")
    references = {"reference-id": "AZ-4711", "priority": "HI", "customer-reference-1": "Station 3"}
    yield to_target(KLINIKUM, "brief", "Bescheid.pdf", brief, "references and priority", metadata=references)
    yield to_target(DRUCKSTRASSE, masse, "Serienbrief.pdf", masse, "by client credentials")
    yield to_target(KLINIKUM, "BRIEF", "Doppelt.pdf", brief, "its event came twice", event_twice=True)
    yield to_target(KLINIKUM, "FREIGABE", "Rundschreiben.pdf", freigabe, "waited for its approval")
    yield to_target(KLINIKUM, "BRIEF", "Satzung.pdf", brief, "first version", content=b"Entwurf", newest=False)
    yield to_target(DRUCKSTRASSE, "MASSE", "Lohnzettel.pdf", masse)
    yield to_target(KLINIKUM, "BRIEF", "Satzung.pdf", brief, "second version", content=b"Endfassung")


def large(portals: Portals, size: int = LARGE_BYTES) -> ExpectedDrop:
    """A file of 300 MB that nobody holds in memory, encrypted, in chunks, and interrupted."""
    target = portals.targets["AKTEN"].id
    return ExpectedDrop(
        f"docxworld/{ARCHIV}/AKTEN/{LARGE_NAME}",
        b"",
        story="300 MB encrypted, its sender killed twice",
        target=target,
        generated=Noise(SEED, size),
        encrypted=True,
        interruptions=INTERRUPTIONS,
    )


def approved_and_cancelled(portals: Portals) -> Iterator[ExpectedDrop]:
    """Two letters that wait: a decision.json approves the one, a .cancel.json cancels the other."""
    approved, cancelled = portals.targets["ENTSCHEID"].id, portals.targets["RUECKRUF"].id
    named = (Step(0, "UPLOADED"), Step(0, WAITING, task_id=TASK_ID), *HELD[2:])
    portals.docxworld.follow_script(approved, named)
    yield to_target(KLINIKUM, "ENTSCHEID", "Vergleich.pdf", approved, "approved by a drop of ours")
    key = f"docxworld/{KLINIKUM}/RUECKRUF/Rückruf.pdf"
    yield refused(key, "APPROVAL_CANCELLED", target=cancelled, at_portal=True)
    yield ExpectedDrop(
        f"docxworld/{KLINIKUM}/approvals/{TASK_ID}/decision.json",
        b'{"approvalState": "APPROVED", "message": "einverstanden"}',
        story="approves that letter",
        at_portal=False,
        portal_id=TASK_ID,
        ready=partial(_waits, portals, approved),
    )
    yield ExpectedDrop(
        f"{key}.cancel.json",
        '{"message": "falscher Empfänger"}'.encode(),
        story="cancels that letter",
        target=cancelled,
        arrives=ExpectedFile(Fingerprint.of(example_pdf(key)), "Rückruf.pdf"),
        ready=partial(_waits, portals, cancelled),
    )


def _waits(portals: Portals, target_id: str) -> bool:
    """Whether a letter for this target waits for its approval."""
    return any(job.approval_state == WAITING and job.target.id == target_id for job in portals.docxworld.jobs())


def draft(portals: Portals) -> ExpectedDrop:
    """A draft for a target that the same account reads, so that it comes back as a download."""
    portals.docxworld.downloads.draft_ids.append(DRAFT_ID)
    return ExpectedDrop(
        f"docxworld/{DRUCKSTRASSE}/drafts/MASSE/{DRAFT_FILE}",
        DRAFT_CONTENT,
        story="became a download",
        at_portal=False,
        portal_id=DRAFT_ID,
        metadata={"download-type": "RESULT", "reference-id": "AZ-4712", "sourcesystem": "sap"},
    )


def draft_as_download() -> ExpectedDocument:
    """The draft as it comes back."""
    return ExpectedDocument(
        "docxworld",
        DRUCKSTRASSE,
        DRAFT_ID,
        DRAFT_FILE,
        Fingerprint.of(DRAFT_CONTENT),
        story="was our draft",
        portal_name=DRAFT_FILE,
        client=downloader_client(DRUCKSTRASSE),
        from_seconds=FIRST_DROP_SECONDS,
    )


def _refused_by_portal(portals: Portals) -> Iterator[ExpectedDrop]:
    for abbreviation, name, code in (
        ("STOERUNG", "Gutachten.pdf", "TRANSFER_FAILED"),
        ("ABLEHNUNG", "Pressetext.pdf", "APPROVAL_REJECTED"),
    ):
        target = portals.targets[abbreviation].id
        yield refused(f"docxworld/{KLINIKUM}/{abbreviation}/{name}", code, target=target, at_portal=True)


def _refused_by_us() -> Iterator[ExpectedDrop]:
    yield refused(f"docxworld/{KLINIKUM}/GIBTSNICHT/Irrläufer.pdf", "TARGET_UNKNOWN")
    yield refused(f"docxworld/{KLINIKUM}/BRIEF/Leer.pdf", "FILE_EMPTY", content=b"")
    yield refused("docxworld/niemand/BRIEF/Ohne Absender.pdf", "UNKNOWN_CONNECTION")
    yield refused("unbekannt/klinikum/Zettel.txt", "KEY_FITS_NO_RULE")
    yield refused(f"docxworld/{KLINIKUM}/ohne-Ziel.pdf", "KEY_FITS_NO_RULE")


def to_target(connection: str, target: str, name: str, target_id: str, story: str = "", **more: Any) -> ExpectedDrop:
    """A file for a target of docxworld, by whatever name of it; `target_id` is its UUID."""
    key = f"docxworld/{connection}/{target}/{name}"
    fields = {"content": example_pdf(key) * 20, "story": story, "target": target_id, **more}
    return ExpectedDrop(key, **fields)


def refused(
    key: str, code: str, *, content: bytes | None = None, target: str | None = None, at_portal: bool = False
) -> ExpectedDrop:
    """A drop that fails with this code."""
    body = example_pdf(key) if content is None else content
    return ExpectedDrop(key, body, End.FAILED, code, target=target, at_portal=at_portal)
