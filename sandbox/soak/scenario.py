"""What keeps coming during a soak: documents at all portals and drops for each, and the end that each should reach."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.demo.scenario import (
    ANSWER_FIELD,
    DONE,
    END_OF_PROCESS,
    FIRST_PARTY,
    REFUND,
    Downloads,
    ExpectedDocument,
    ExpectedDrop,
    Forms,
    Instances,
    Messages,
    Scenario,
    applicant_form,
    decision,
    magic_link,
    new_instance,
    refused,
    result_file,
    status_change,
    to_target,
)
from sandbox.portals.altinn import File
from sandbox.portals.catalog import APP, CHUNKED_FROM_BYTES, DRUCKSTRASSE, ETAT, IN_WORK, KLINIKUM, STADT, Portals

PDF = "application/pdf"
SIZES_BYTES = (0, 3_000, 30_000, 300_000)
LARGE_BYTES = CHUNKED_FROM_BYTES + 1_000_000
SECOND_FILE_OF = 3
"""Every so many forms and instances have a file beside them."""
JITTER = 0.5
LINKS_IN_THE_LAST_SECONDS = 2400.0
"""A receipt forgets its magic link after an hour; a link that is made earlier could not be judged at the end."""
NOBODY = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Rates:
    """How much comes, over all portals together."""

    documents_per_second: float = 1.0
    drops_per_second: float = 0.25


@dataclass(frozen=True)
class Arrival:
    """So many seconds after the start something comes to a portal: a document there, or a drop for it."""

    at_seconds: float
    portal: str
    is_drop: bool


def arrivals(dice: random.Random, seconds: float, rates: Rates, portals: Sequence[str]) -> list[Arrival]:
    """Everything that comes within that time, in order: evenly spread, the portals in turn, no two at one moment."""
    documents = _evenly(dice, seconds, rates.documents_per_second, portals, is_drop=False)
    drops = _evenly(dice, seconds, rates.drops_per_second, portals, is_drop=True)
    return sorted((*documents, *drops), key=lambda each: each.at_seconds)


def _evenly(
    dice: random.Random, seconds: float, per_second: float, portals: Sequence[str], *, is_drop: bool
) -> Iterator[Arrival]:
    for number in range(int(seconds * per_second)):
        at_seconds = (number + dice.uniform(0, JITTER)) / per_second
        yield Arrival(at_seconds, portals[number % len(portals)], is_drop)


class Stream:
    """Lays documents ready at the portals and makes drops for them; the same seed makes the same ones.

    Documents and drops may come from two threads, each with dice of its own.
    """

    def __init__(self, portals: Portals, seed: int, seconds: float) -> None:
        self._portals = portals
        self._dice = random.Random(f"documents {seed}")
        self._drop_dice = random.Random(f"drops {seed}")
        self._links_from_seconds = seconds - LINKS_IN_THE_LAST_SECONDS
        self._messages = Messages(portals)
        self._downloads = Downloads(portals)
        self._forms = Forms(portals)
        self._instances = Instances(portals)
        self._form_id = next(iter(portals.forms.values()))
        self._drop_number = 0
        self.documents: dict[tuple[str, str], ExpectedDocument] = {}
        """By portal and id."""
        self.drops: list[ExpectedDrop] = []
        """Those that were dropped, with their versions."""

    def scenario(self) -> Scenario:
        """Everything that has come so far."""
        return Scenario(tuple(self.documents.values()), tuple(self.drops))

    # --- documents ---

    def add_document(self, portal: str, at_seconds: float) -> ExpectedDocument:
        """Lay one document ready at the portal."""
        builders: Mapping[str, Callable[[float], Sequence[ExpectedDocument]]] = {
            "duba": self._message,
            "docxworld": self._download,
            "digitale-gemeinde": self._form,
            "altinn": self._instance,
        }
        added = builders[portal](at_seconds)[-1]
        self.documents[added.portal, added.id] = added
        return added

    def _message(self, at_seconds: float) -> Sequence[ExpectedDocument]:
        self._messages.add(from_seconds=at_seconds)
        return self._messages.expected

    def _download(self, at_seconds: float) -> Sequence[ExpectedDocument]:
        connection, kind = self._dice.choice((KLINIKUM, DRUCKSTRASSE)), self._dice.choice(("RESULT", "REPORT"))
        name = f"Ergebnis {len(self._downloads.expected) + 1:05}.pdf"
        self._downloads.add(connection, kind, name, content=self._bytes(name), from_seconds=at_seconds)
        return self._downloads.expected

    def _form(self, at_seconds: float) -> Sequence[ExpectedDocument]:
        number = len(self._forms.expected) + 1
        name = f"Beilage {number:05}.pdf"
        files = [] if number % SECOND_FILE_OF else [(name, self._bytes(name), PDF)]
        self._forms.add(*files, from_seconds=at_seconds, submitted=self._portals.digitale_gemeinde.clock())
        return self._forms.expected

    def _instance(self, at_seconds: float) -> Sequence[ExpectedDocument]:
        number = len(self._instances.expected) + 1
        name = f"Vedlegg {number:05}.pdf"
        files = [] if number % SECOND_FILE_OF else [File("attachment", name, PDF, self._bytes(name))]
        self._instances.add(*files, from_seconds=at_seconds)
        return self._instances.expected

    def _bytes(self, name: str) -> bytes:
        return _bytes(self._dice, name)

    # --- drops ---

    def next_drop(self, portal: str, at_seconds: float) -> ExpectedDrop:
        """Make one drop for the portal; it counts only once it was handed to `dropped`."""
        self._drop_number += 1
        if portal == "duba" and at_seconds < self._links_from_seconds:
            portal = "docxworld"
        kinds: Mapping[str, Callable[[str], Sequence[Callable[[], ExpectedDrop]]]] = {
            "duba": self._for_duba,
            "docxworld": self._for_docxworld,
            "digitale-gemeinde": self._for_municipality,
            "altinn": self._for_altinn,
        }
        make = self._drop_dice.choice(kinds[portal](f"{self._drop_number:05}"))
        return replace(make(), from_seconds=at_seconds)

    def dropped(self, drop: ExpectedDrop) -> None:
        """The drop is in the outbox and has its version."""
        self.drops.append(drop)

    def _for_duba(self, number: str) -> Sequence[Callable[[], ExpectedDrop]]:
        key, wrong = f"duba/{KLINIKUM}/BetreuungAnregung/Fall {number}.json", f'{{"jobId": {int(number)}}}'.encode()
        return (
            *(lambda: magic_link(f"amtsbote-soak-{number}", f"Fall {number}"),) * 4,
            lambda: refused(key, "FORM_DATA_INVALID", content=wrong),
        )

    def _for_docxworld(self, number: str) -> Sequence[Callable[[], ExpectedDrop]]:
        def letter(connection: str, target: str, content: bytes) -> ExpectedDrop:
            target_id = self._portals.targets[target].id
            return to_target(connection, target, f"Brief {number}.pdf", target_id, content=content)

        content = _bytes(self._drop_dice, f"Brief {number}")
        return (
            *(lambda: letter(KLINIKUM, "BRIEF", content),) * 3,
            *(lambda: letter(DRUCKSTRASSE, "MASSE", content),) * 2,
            lambda: letter(KLINIKUM, "FREIGABE", content),
            lambda: letter(DRUCKSTRASSE, "MASSE", self._drop_dice.randbytes(LARGE_BYTES)),
            lambda: refused(f"docxworld/{KLINIKUM}/GIBTSNICHT/Brief {number}.pdf", "TARGET_UNKNOWN"),
        )

    def _for_municipality(self, number: str) -> Sequence[Callable[[], ExpectedDrop]]:
        municipality, form = self._portals.digitale_gemeinde, self._form_id

        def in_work() -> str:
            return municipality.add_document(form, {"name": f"Muster {number}"}, status="In Bearbeitung")

        return (
            *(lambda: result_file(form, in_work(), f"Bescheid {number}.pdf", "a file, then done"),) * 3,
            lambda: status_change(form, in_work(), DONE, "set to done"),
            lambda: status_change(form, in_work(), REFUND, "refund", refunds=True),
            lambda: refused(
                f"digitale-gemeinde/{STADT}/{form}/nirgends-{number}/{ANSWER_FIELD}/Bescheid.pdf", "NOT_FOUND"
            ),
        )

    def _for_altinn(self, number: str) -> Sequence[Callable[[], ExpectedDrop]]:
        def in_work() -> str:
            return self._portals.altinn.add_instance(APP, FIRST_PARTY, [applicant_form("Søker")], task=IN_WORK).id

        def moved() -> ExpectedDrop:
            instance, on = in_work(), {"process-next": "true"}
            fields: dict[str, Any] = {"metadata": on, "portal_id": instance, "sets": END_OF_PROCESS}
            return decision(instance, f"Vedtak {number}.pdf", "process moved on", **fields)

        return (
            *(lambda: decision(in_work(), f"Brev {number}.pdf", "a letter"),) * 3,
            moved,
            lambda: new_instance(f"Ny sak {number}.pdf", f"Sak {number}"),
            lambda: refused(f"altinn/{ETAT}/{APP}/{FIRST_PARTY}/{NOBODY}/attachment/Brev {number}.pdf", "NOT_FOUND"),
        )


def _bytes(dice: random.Random, name: str) -> bytes:
    """A content of some size that is like no other."""
    return f"%PDF-1.7\n% {name}\n".encode() + dice.randbytes(dice.choice(SIZES_BYTES))
