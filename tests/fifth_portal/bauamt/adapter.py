"""Bauamt as the verbs see it: a Source of applications, a Destination for replies."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import BinaryIO

from pydantic import ValidationError

from amtsbote.errors import Quarantine, Reject, Unavailable
from amtsbote.portals.protocols import (
    Acknowledgement,
    AcknowledgeOutcome,
    Delivery,
    Drop,
    Finding,
    IncomingFile,
    Item,
    Journal,
    LeftOut,
    Outcome,
    Record,
)

from .client import BauamtClient
from .models import Application, Reply

PDF = b"%PDF-"
REPLY_BYTES = 10 * 1024 * 1024  # what the office takes
OUTCOMES = {"SENT": Outcome.DELIVERED, "RETURNED": Outcome.FAILED}


class BauamtSource:
    """The applications of one Bauamt."""

    acknowledge_batch = 1

    def __init__(self, client: BauamtClient) -> None:
        self._client = client

    def discover(self, since: datetime | None) -> Iterable[Finding | LeftOut]:
        """Return the applications that are not confirmed, all pages read; one that breaks the schema is left out."""
        return [_finding(record) for record in self._client.applications(since)]

    def fetch(self, item: Item) -> Iterator[IncomingFile]:
        """Stream the application's PDF."""
        with self._client.download(item.id) as answer:
            name = f"application-{item.id}.pdf"
            yield IncomingFile(name, answer.chunks, "application/pdf", size=answer.size, verify=_verify_pdf)

    def acknowledge(self, items: Sequence[Item]) -> Iterator[Acknowledgement]:
        """Confirm each application."""
        for item in items:
            try:
                self._client.confirm(item.id)
                yield Acknowledgement(item.id, AcknowledgeOutcome.DONE, "CONFIRMED")
            except Unavailable as gone:
                yield Acknowledgement(item.id, AcknowledgeOutcome.UNAVAILABLE, gone.code)


def _finding(record: Record) -> Finding | LeftOut:
    try:
        application = Application.model_validate(record)
    except ValidationError as error:
        return LeftOut(tuple(str(each["loc"]) for each in error.errors(include_input=False)))
    return Finding(application.id, application.submitted_at, record)


def _verify_pdf(content: BinaryIO) -> None:
    content.seek(0)
    if content.read(len(PDF)) != PDF:
        raise Quarantine("NO_PDF", "the office sent something else than a PDF", may_pass=True)


class BauamtDestination:
    """One Bauamt that replies are sent through."""

    def __init__(self, client: BauamtClient) -> None:
        self._client = client

    def deliver(self, drop: Drop, journal: Journal) -> Delivery:
        """Send the reply. The office knows a repeat by its key, so nothing has to be noted in the journal."""
        if not 0 < drop.size <= REPLY_BYTES:
            raise Reject("REPLY_SIZE", f"the office takes replies of 1 to {REPLY_BYTES} bytes, this has {drop.size}")
        application_id, name = drop.path
        content = drop.read(0, drop.size).read()
        return _delivery(self._client.reply(application_id, name, content, drop.content_type, drop.reference))

    def track(self, portal_id: str) -> Delivery:
        """Ask how far the reply is."""
        return _delivery(self._client.reply_state(portal_id))


def _delivery(reply: Reply) -> Delivery:
    outcome = OUTCOMES.get(reply.state, Outcome.IN_PROGRESS)
    if outcome is Outcome.FAILED:
        return Delivery(reply.id, outcome, error_code=reply.state, error_message="the office could not deliver it")
    return Delivery(reply.id, outcome)
