"""A court's mailbox: messages that come late, unhydrated or twice, that others take, and forms that become links."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sandbox.portals.duba import NEVER, SimulatedDuba, court_zip, repacked
from tests.simulation.offices.office import (
    ABSENT,
    ACKNOWLEDGED,
    QUARANTINED,
    STORED,
    UNAVAILABLE,
    ExpectedDrop,
    ExpectedItem,
    Office,
)

HOST = "127.0.0.21:8001"
KLINIKUM = "klinikum"
USER, PASSWORD, NEXT_PASSWORD = "amtsbote", "kanarienvogel-geheim", "kanarienvogel-neu"
PERSON = "Kanarienvogel-Patient"
RETENTION_SECONDS = 90 * 3600.0
FORM = "BetreuungAnregung"


class DubaOffice(Office):
    """One mailbox of one API user."""

    name = "duba"
    secrets = (PASSWORD, NEXT_PASSWORD, PERSON)

    def open(self) -> None:
        """Fill the mailbox by chance."""
        chance = self.chance
        self.duba = SimulatedDuba(USER, PASSWORD, zip_varies=chance.happens(0.3), clock=self.clock)
        self.serve(self.duba, HOST)
        policy = chance.one_of(("stored", "stored", "stored", "processed", "never"))
        self._secret = {
            "baseUrl": f"http://{HOST}",
            "username": USER,
            "password": PASSWORD,
            "acknowledge": policy,
        }
        self.connect(KLINIKUM, self._secret)
        self._kinds: tuple[Any, ...] = (
            self._plain,
            self._plain,
            self._plain,
            self._unhydrated,
            self._hydrated_after_days,
            self._late,
            self._outgoing,
            self._unreadable,
            self._twice,
            self._taken_away,
            self._forbidden,
            self._ack_fails_once,
            self._left_out_of_ack_once,
        )
        for number in range(1, chance.number(2, 9) + 1):
            chance.one_of(self._kinds)(number, self.at_some_time() if chance.happens(0.6) else 0.0)
        for number in range(chance.number(0, 3)):
            self._form(number)
        if chance.happens(0.25):
            self._change_password()
        if chance.happens(0.25):
            self._pause()
        self.machine.at(RETENTION_SECONDS, self._retention)

    # --- messages ----------------------------------------------------------------------------------------------------

    def _arrive(
        self,
        id_: int,
        seconds: float,
        story: str,
        ends: frozenset[str] = ACKNOWLEDGED,
        *,
        others_take_it: bool = False,
        **more: Any,
    ) -> ExpectedItem:
        def now() -> None:
            self.duba.add_message(id_, **{"content": court_zip(id_, f"12 XVII {id_}/26"), **more})

        self.happens(f"message {id_} arrives, {story}", seconds, now)
        return self.expect(KLINIKUM, str(id_), ends, story, others_take_it=others_take_it)

    def _plain(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "plain", message_id="derselbe" if self.chance.happens(0.2) else None)

    def _unhydrated(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "hydrated later", hydrated=False)
        later = seconds + self.chance.between(30, 2400)
        self.happens(f"message {id_} is hydrated", later, lambda: self.duba.hydrate(id_))

    def _hydrated_after_days(self, id_: int, seconds: float) -> None:
        """It can be fetched only when the portal's newest message is younger than the overlap."""
        later = seconds + self.chance.between(52, 70) * 3600
        item = self._arrive(id_, seconds, "hydrated after days", hydrated=False)
        item.ready_seconds = later
        self.happens(f"message {id_} is hydrated", later, lambda: self.duba.hydrate(id_))
        self._arrive(id_ + 100, later - 3600, "days later").ready_seconds = later - 3600

    def _late(self, id_: int, seconds: float) -> None:
        age = timedelta(hours=self.chance.between(0, 46))
        self._arrive(id_, seconds, "old and late", created_at=self.clock() - age, visible_after=NEVER)
        later = seconds + self.chance.between(10, 900)
        self.happens(f"message {id_} is indexed", later, lambda: self.duba.reveal(id_))

    def _outgoing(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "sent by ourselves", ABSENT, direction="OUTGOING")

    def _unreadable(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "no ZIP", QUARANTINED, content=b"Kein ZIP, aber ein Beweis.")

    def _twice(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "listed twice", listed_times=2)

    def _taken_away(self, id_: int, seconds: float) -> None:
        ends = ACKNOWLEDGED | STORED | UNAVAILABLE | ABSENT
        self._arrive(id_, seconds, "gone on the EGVP server", ends, others_take_it=True)
        later = seconds + self.chance.between(1, 600)
        self.happens(f"message {id_} is gone", later, lambda: self.duba.sync_delete(id_))

    def _forbidden(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "forbidden", UNAVAILABLE)
        self.machine.at(seconds, lambda: self.duba.forbid(id_))

    def _ack_fails_once(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "acknowledgement fails once")
        self.machine.at(seconds, lambda: self.duba.fail_ack_once(id_))

    def _left_out_of_ack_once(self, id_: int, seconds: float) -> None:
        self._arrive(id_, seconds, "the answer to the acknowledgement leaves it out once")
        self.machine.at(seconds, lambda: self.duba.leave_out_of_ack_once(id_))

    def _retention(self) -> None:
        """The portal's backstop: what was not fetched by now is lost."""
        for id_, message in self.duba.messages.items():
            if message.deletion is None:
                self.duba.retention_delete(id_)

    # --- the connection ----------------------------------------------------------------------------------------------

    def _change_password(self) -> None:
        at = self.at_some_time()
        self.happens("the password is changed at the portal", at, lambda: self.duba.change_password(NEXT_PASSWORD))
        later, secret = at + self.chance.between(0, 600), {**self._secret, "password": NEXT_PASSWORD}
        self.happens("the password is changed in the secret", later, lambda: self.connect(KLINIKUM, secret))
        self._secret = secret

    def _pause(self) -> None:
        at = self.at_some_time()
        self.happens("the connection is paused", at, lambda: self.connect(KLINIKUM, {**self._secret, "enabled": False}))
        self.happens("the connection goes on", at + 3000, lambda: self.connect(KLINIKUM, self._secret))

    # --- forms -------------------------------------------------------------------------------------------------------

    def _form(self, number: int) -> None:
        job = f"job-{number}"
        body = json.dumps({"jobId": job, "betroffener": {"name": {"nachname": PERSON}}}).encode()
        key = f"duba/{KLINIKUM}/{FORM}/{number}.json"
        if self.chance.happens(0.2):
            failed, codes = frozenset({"FAILED"}), frozenset({"FORM_DATA_INVALID"})
            self.drop(
                self.at_some_time(), key, b'{"jobId": 7}', ends=failed, codes=codes, story="wrong data", at_most=0
            )
        else:
            self.drop(self.at_some_time(), key, body, story=job, at_most=1000)

    # --- what the judge asks -----------------------------------------------------------------------------------------

    def acknowledged(self) -> Iterable[tuple[str, str]]:
        """The messages whose content was deleted by an acknowledgement."""
        return [(KLINIKUM, str(id_)) for id_ in self.duba.acknowledged_ids()]

    def is_content(self, item: ExpectedItem, files: Mapping[str, bytes], document: Mapping[str, Any]) -> bool:
        """Compare the one file with the ZIP, or with what is in it where the portal packs anew each time."""
        expected = court_zip(int(item.id), f"12 XVII {item.id}/26")
        content = files.get(f"duba/{KLINIKUM}/{item.id}/message-{item.id}.zip")
        moment = self.duba.clock()
        same = content is not None and repacked(content, moment) == repacked(expected, moment)
        return same and len(files) == 1 and document["metadata"]["id"] == int(item.id)

    def arrivals(self, drop: ExpectedDrop) -> int:
        """Count the mementos of the job; each call makes one, and an unanswered one harms nobody."""
        job = json.loads(drop.body).get("jobId")
        return sum(memento.job_id == job for memento in self.duba.mementos)
