"""A municipality's forms: handed in at any time, moved on by clerks, answered with files, statuses and refunds."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from amtsbote.portals.digitale_gemeinde.client import DigitaleGemeindeClient
from sandbox.portals.digitale_gemeinde import NEVER, Options, SimulatedDigitaleGemeinde
from sandbox.portals.digitale_gemeinde.options import FileShape
from sandbox.portals.digitale_gemeinde.tokens import TokenShape
from tests.simulation.offices.office import (
    ACKNOWLEDGED,
    QUARANTINED,
    STORED,
    UNAVAILABLE,
    ExpectedDrop,
    ExpectedItem,
    Office,
)

HOST = "127.0.0.22:8002"
STADT = "stadt"
TENANT = 17
KEY, NEXT_KEY = "kanarienvogel-schluessel", "kanarienvogel-neuer-schluessel"
PERSON = "Kanarienvogel-Buergerin"
NEW, PROCESSING, DONE, REFUND = "Neu", "In Bearbeitung", "Abgeschlossen", "Refund"
ANSWER_FIELD = "3"
RETENTION_SECONDS = 40 * 3600.0
PAGE = 2
FAILED = frozenset({"FAILED"})
DELIVERED_OR_UNKNOWN = frozenset({"DELIVERED", "FAILED"})
UNKNOWN = frozenset({"OUTCOME_UNKNOWN"})
HOSTILE = "../../etc/Grüße\u202ean alle.pdf"


class DigitaleGemeindeOffice(Office):
    """One tenant with two forms."""

    name = "digitale-gemeinde"
    secrets = (KEY, NEXT_KEY, PERSON)

    @classmethod
    def conditions(cls) -> AbstractContextManager[Any]:
        """Two rows a page."""
        return patch.dict(DigitaleGemeindeClient.__init__.__kwdefaults__, {"page_size": PAGE})

    def open(self) -> None:
        """Let citizens hand in forms."""
        chance = self.chance
        self.options = Options(
            token_shape=chance.one_of(list(TokenShape)),
            token_lifetime=timedelta(seconds=chance.one_of((120, 900, 3600))),
            refusal_status=chance.one_of((401, 403)),
            missing_status=chance.one_of((500, 404)),
            split_key=chance.one_of(("formNavigations", None)),
            file_shape=chance.one_of(list(FileShape)),
            upload_status=chance.one_of((200, 201, 204)),
        )
        self.portal = SimulatedDigitaleGemeinde(KEY, TENANT, options=self.options, clock=self.clock)
        self.serve(self.portal, HOST)
        self._forms = [self.portal.add_form("Wohnsitz"), self.portal.add_form("Hundesteuer")]
        policy = chance.one_of(("stored", "stored", "processed", "never"))
        form_ids = self._forms if chance.happens(0.3) else []
        self._secret = {
            "baseUrl": f"http://{HOST}",
            "apiKey": KEY,
            "tenantId": TENANT,
            "formIds": form_ids,
            "acknowledge": policy,
        }
        self.connect(STADT, self._secret)
        self.contents: dict[str, list[bytes]] = {}
        kinds = (
            self._plain,
            self._plain,
            self._with_files,
            self._with_files,
            self._late,
            self._twice,
            self._garbled,
            self._a_clerk_has_it,
            self._a_clerk_takes_it,
            self._removed,
        )
        for number in range(1, chance.number(2, 8) + 1):
            chance.one_of(kinds)(str(number), self.at_some_time() if chance.happens(0.6) else 0.0)
        for number in range(chance.number(0, 4)):
            chance.one_of((self._answer, self._answer, self._status, self._refund, self._bad_drop))(str(900 + number))
        if chance.happens(0.25):
            self._change_key()
        if chance.happens(0.2):
            self._pause()
        if chance.happens(0.3):
            self.happens("all tokens end", self.at_some_time(), self.portal.expire_tokens)
        self.machine.at(RETENTION_SECONDS, self._retention)

    # --- what citizens hand in ---------------------------------------------------------------------------------------

    def _submit(self, id_: str, seconds: float, story: str, *names: str, **more: Any) -> None:
        contents = [f"{id_} {name} {number}".encode() * 20 for number, name in enumerate(names)]
        if self.options.file_shape is not FileShape.LIST:
            names, contents = names[:1], contents[:1]
        files = [(name, content, "application/pdf") for name, content in zip(names, contents, strict=True)]
        attached = {"beilage": files} if files else {}
        form, age = self.chance.one_of(self._forms), timedelta(hours=self.chance.between(0, 100))
        self.contents[id_] = contents

        def now() -> None:
            given = {"document_id": id_, "submitted": self.clock() - age, **more}
            self.portal.add_document(form, {"name": PERSON}, attached, **given)

        self.happens(f"form {id_} is handed in, {story}", seconds, now)

    def _plain(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "plain")
        self.expect(STADT, id_, ACKNOWLEDGED, "plain")

    def _with_files(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "with files", HOSTILE, HOSTILE, "form.json")
        self.expect(STADT, id_, ACKNOWLEDGED, "with files")

    def _late(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "seen late", visible_after=NEVER)
        self.happens(f"form {id_} is shown", seconds + self.chance.between(10, 900), lambda: self.portal.reveal(id_))
        self.expect(STADT, id_, ACKNOWLEDGED, "seen late")

    def _twice(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "listed twice", listed_times=2)
        self.expect(STADT, id_, ACKNOWLEDGED, "listed twice")

    def _garbled(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "no base64", "Defekt.pdf")
        self.machine.at(seconds, lambda: self.portal.garble(id_, "beilage"))
        self.expect(STADT, id_, QUARANTINED, "no base64")

    def _a_clerk_has_it(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "a clerk has it", status=PROCESSING)

    def _a_clerk_takes_it(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "a clerk takes it")
        later, status = seconds + self.chance.between(1, 900), self.chance.one_of((PROCESSING, DONE))
        self.happens(f"a clerk takes form {id_}", later, lambda: self.portal.set_status(id_, status))
        self.expect(STADT, id_, self.end_of(STADT) | {"absent"}, "a clerk takes it", others_take_it=True)

    def _removed(self, id_: str, seconds: float) -> None:
        self._submit(id_, seconds, "removed")
        later = seconds + self.chance.between(1, 900)
        self.happens(f"form {id_} is removed", later, lambda: self.portal.remove(id_))
        ends = ACKNOWLEDGED | STORED | UNAVAILABLE | {"absent"}
        self.expect(STADT, id_, ends, "removed", others_take_it=True)

    def _retention(self) -> None:
        """What was not fetched by now is lost."""
        for id_ in list(self.portal.documents):
            self.portal.remove(id_)

    # --- the connection ----------------------------------------------------------------------------------------------

    def _change_key(self) -> None:
        at, secret = self.at_some_time(), {**self._secret, "apiKey": NEXT_KEY}

        def revoke() -> None:
            self.portal.change_key(NEXT_KEY)
            self.portal.expire_tokens()

        self.happens("the key is changed at the portal", at, revoke)
        later = at + self.chance.between(0, 600)
        self.happens("the key is changed in the secret", later, lambda: self.connect(STADT, secret))
        self._secret = secret

    def _pause(self) -> None:
        at = self.at_some_time()
        self.happens("the connection is paused", at, lambda: self.connect(STADT, {**self._secret, "enabled": False}))
        self.happens("the connection goes on", at + 3000, lambda: self.connect(STADT, self._secret))

    # --- what goes back ----------------------------------------------------------------------------------------------

    def _in_work(self, id_: str) -> str:
        """Return the prefix of drops for a document that a clerk works on."""
        form = self.chance.one_of(self._forms)
        self.portal.add_document(form, {"name": PERSON}, {}, status=PROCESSING, document_id=id_)
        return f"digitale-gemeinde/{STADT}/{form}/{id_}"

    def _answer(self, id_: str) -> None:
        """One file, or two versions of one key into the one field, which may show its newest file only."""
        prefix = self._in_work(id_)
        metadata = {"complete": "false"} if self.chance.happens(0.3) else {}
        versions = self.chance.number(1, 2)
        hidden = versions > 1 and self.options.file_shape is not FileShape.LIST
        ends = DELIVERED_OR_UNKNOWN if hidden else frozenset({"DELIVERED"})
        for version in range(versions):
            body, key = f"{PERSON} {id_} {version}".encode(), f"{prefix}/{ANSWER_FIELD}/Bescheid.pdf"
            self.drop(self.at_some_time(), key, body, metadata, story="answer", ends=ends, codes=UNKNOWN)

    def _status(self, id_: str) -> None:
        body = json.dumps({"status": DONE}).encode()
        self.drop(self.at_some_time(), f"{self._in_work(id_)}/status.json", body, story="status", at_most=1000)

    def _refund(self, id_: str) -> None:
        body = json.dumps({"status": REFUND}).encode()
        key, at = f"{self._in_work(id_)}/status.json", self.at_some_time()
        self.drop(at, key, body, story="refund", ends=DELIVERED_OR_UNKNOWN, codes=UNKNOWN)
        if self.chance.happens(0.5):
            later = at + self.chance.between(60, 400)
            self.happens(f"a clerk closes {id_}", later, lambda: self._close_refunded(id_))

    def _close_refunded(self, id_: str) -> None:
        """The money is on its way, so that the status no longer shows that it was asked for."""
        if self.portal.status_of(id_) == REFUND:
            self.portal.set_status(id_, DONE)

    def _bad_drop(self, id_: str) -> None:
        body, key, code = self.chance.one_of(
            (
                (b'{"status": "Gibt es nicht"}', f"{self._in_work(id_)}/status.json", "STATUS_UNKNOWN"),
                (b"kein JSON", f"{self._in_work(id_ + '1')}/status.json", "STATUS_INVALID"),
                (b"x", f"{self._in_work(id_ + '2')}/77/Bescheid.pdf", "FIELD_UNKNOWN"),
                (b"x", f"{self._in_work(id_ + '3')}/1/Bescheid.pdf", "FIELD_TAKES_NO_FILE"),
                (b"x", f"digitale-gemeinde/{STADT}/{self._forms[0]}/4711/3/Bescheid.pdf", "NOT_FOUND"),
                (b"x", "digitale-gemeinde/gibtsnicht/f/1/3/Bescheid.pdf", "UNKNOWN_CONNECTION"),
            )
        )
        self.drop(self.at_some_time(), key, body, ends=FAILED, codes=frozenset({code}), story="bad", at_most=0)

    # --- what the judge asks -----------------------------------------------------------------------------------------

    def acknowledged(self) -> Iterable[tuple[str, str]]:
        """The documents that the API has moved on from new."""
        for key in self.items:
            document = self.portal.documents.get(key[1])
            if document is not None and any(change.who == "api" for change in document.history):
                yield key

    def is_content(self, item: ExpectedItem, files: Mapping[str, bytes], document: Mapping[str, Any]) -> bool:
        """Compare the details but for their status, and the attached files in their order."""
        first, *others = [files[each["key"]] for each in document["files"]]
        details = json.loads(first)
        shown = [each for each in details["fields"] if each["name"] == "beilage" and each["fileUploadAdditionalData"]]
        inline = shown[0]["fileUploadAdditionalData"] if shown else []
        encoded = [each["base64File"].partition(",")[2] for each in ([inline] if isinstance(inline, dict) else inline)]
        seen = [base64.b64decode(each) for each in encoded] if encoded else self.contents[item.id]
        return details["documentId"] == item.id and others == self.contents[item.id] == seen

    def arrivals(self, drop: ExpectedDrop) -> int:
        """Count the uploads of a file, the refunds, or how often a status was set."""
        _, _, _, id_, *rest = drop.key.split("/")
        document = self.portal.documents.get(id_)
        if document is None:
            return 0
        if rest[0] != "status.json":
            return sum(file.content == drop.body for files in document.uploads.values() for file in files)
        if drop.story == "refund":
            return document.refunds
        return sum(change.who == "api" for change in document.history)
