"""A printer of letters: results and reports to fetch, uploads in one piece or many, approvals, drafts, encryption."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from itertools import cycle
from typing import Any
from unittest.mock import patch

from aiohttp import web
from aiohttp.typedefs import Handler
from cryptography.hazmat.primitives.asymmetric import rsa

from amtsbote.portals.docxworld import approvals, chunks, encryption, parts
from amtsbote.portals.docxworld.resources import base
from amtsbote.status import TOO_SLOW
from sandbox.portals.docxworld import Job, Readiness, SimulatedDocxworld, Step, Target, UploadOptions, scope_of
from sandbox.portals.docxworld import uploads as simulated_uploads
from tests.simulation.boundary import Stroke
from tests.simulation.offices.office import (
    ACKNOWLEDGED,
    QUARANTINED,
    UNAVAILABLE,
    ExpectedDrop,
    ExpectedItem,
    Office,
)
from tests.simulation.rotation import Rotations

UNHEALTHY = "Connection Unhealthy"
HOST = "127.0.0.24:8004"
HAUS = "haus"
LOGIN, PASSWORD, NEXT_PASSWORD = "amtsbote@example.com", "kanarienvogel-geheim", "kanarienvogel-neu"
ADMIN_LOGIN, ADMIN_PASSWORD = "verwaltung@example.com", "kanarienvogel-verwaltung"
TOKEN, COMPLETE_ROTATION = "/oauth2/token", "/rotate-secret/complete"
PERSON, WORDS = "Kanarienvogel-Person", "Kanarienvogel-Worte"
SIGNATURE, JWT = "X-Amz-Signature", "eyJhbGci"
CLIENT, OTHER_CLIENT = "amtsbote-prod", "another-client"
UPLOADER, APPROVER = "ROLE_CUSTOMER_UPLOADER", "ROLE_CUSTOMER_APPROVER"
DOWNLOADERS = {"ROLE_CUSTOMER_DOWNLOADER_RESULTS", "ROLE_CUSTOMER_DOWNLOADER_REPORTS"}
RESULT, REPORT = "RESULT", "REPORT"
WAITING = "WAITING_APPROVAL"
OF_DRAFTS = ("download-type", "reference-id")
MISREAD = ("client.validation", "client.malformed_request", "client.bad_request", "client.invalid_sort_argument")

PAGE_SIZE = 2
SMALLEST_CHUNK, CHUNKED_FROM, BLOCK = 1024, 4096, 1000
GLANCE_SECONDS = 20.0
RSA_KEYS = 3
RETENTION_SECONDS = 40 * 3600.0
EVENING_SECONDS = 2 * 3600.0
CALM_SECONDS = 1.5 * 3600.0

ABSENT, DELIVERED, FAILED = frozenset({"absent"}), frozenset({"DELIVERED"}), frozenset({"FAILED"})
NAMES = (
    "ergebnis.pdf",
    f"Grüße an {PERSON}.pdf",
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "..",
    "document.json",
    "Zeile\r\nzwei.txt",
    "\u202egpj.exe",
    "A\u030angstrom.txt",
    "langer Name " * 30 + ".pdf",
)
LETTERS = ("Brief.pdf", f"Grüße an {PERSON}.pdf", "a+b %41 & c.pdf", 'er sagt "ja".pdf', "Zeile\nzwei.pdf", "x.json")
SIZES = (1, 200, CHUNKED_FROM - 1, CHUNKED_FROM, 9000, 20_000)


@dataclass(frozen=True)
class Fate:
    """How a drop may end, with which codes, and how often it may take effect."""

    ends: frozenset[str] = DELIVERED
    codes: frozenset[str] = frozenset()
    at_most: int = 1

    def fields(self) -> dict[str, Any]:
        """Return it as the fields of an expected drop."""
        return {"ends": self.ends, "codes": self.codes, "at_most": self.at_most}

    def or_fails(self, *codes: str) -> Fate:
        """Return it with further ways to fail."""
        return replace(self, ends=self.ends | FAILED, codes=self.codes | set(codes))


def never(*codes: str) -> Fate:
    """Return the fate of what can never succeed."""
    return Fate(FAILED, frozenset(codes), at_most=0)


@dataclass(frozen=True)
class AskedDraft:
    """A draft that was created: for which target, with which address, and when (seconds)."""

    target: str
    path: str
    at: float


class DocxworldOffice(Office):
    """One account with targets of its own, beside others that are none of ours."""

    name = "docxworld"
    secrets: tuple[str, ...] = (PASSWORD, NEXT_PASSWORD, ADMIN_PASSWORD, PERSON, WORDS, SIGNATURE, JWT)

    @classmethod
    def conditions(cls) -> AbstractContextManager[Any]:
        """Two entries a page, chunks of 1 KiB, and few RSA keys, for making one takes longer than all the rest."""
        return _small()

    def open(self) -> None:
        """Set account, options, downloads and drops up by chance."""
        self._begin_records()
        self._choose()
        self.portal = SimulatedDocxworld(
            clock=self.clock, options=self.options, token_seconds=self.chance.one_of((3600, 300, 90))
        )
        self.portal.downloads.link_seconds = self.chance.one_of((548767, 30))
        lifetime = self.chance.one_of((3587, 3587, 90))
        self.portal.downloads.upload_link_seconds = lifetime
        self._draft_seconds = lifetime - 60.0  # the last minute of an address is not used
        self.portal.downloads.draft_headers_signed = self.chance.happens(0.5)
        self.portal.middlewares.append(_watched_by(self))
        self.serve(self.portal, HOST)
        self._log_in()
        self._fill()
        self._things_happen()

    def close(self) -> None:
        """Delete the contents, which lie on a disk."""
        self.portal.close()

    def _begin_records(self) -> None:
        self._contents: dict[str, tuple[str, bytes]] = {}
        self._refuse_once: set[str] = set()
        self._drafted: dict[str, bytes] = {}
        self._drafts_asked_for: list[AskedDraft] = []
        self._cancelled: Counter[str] = Counter()
        self._aims: dict[bytes, str] = {}
        self._metadata: dict[bytes, dict[str, str]] = {}
        self._checks: list[Callable[[], Iterable[str]]] = []
        self._wrongs: list[str] = []
        self._rotations: Rotations | None = None
        self._dead_logins = 0
        self._numbers = iter(range(1, 256))

    def _choose(self) -> None:
        """Choose the settings of the connection, and what the documentation leaves to the portal."""
        chance = self.chance
        self._policy = chance.one_of(("stored", "stored", "stored", "processed", "never"))
        self._is_technical = chance.happens(0.5)
        self._may_decide = chance.happens(0.8)
        self._types = chance.one_of(((RESULT, REPORT), (RESULT, REPORT), (RESULT,), (REPORT,)))
        self._encryption = chance.one_of(("none", "none", "docxworld", "kms"))
        self._notices_late = chance.happens(0.1)
        other_key = self._encryption != "none" and chance.happens(0.4)  # seen when links have ended
        repeats = chance.one_of(({}, {}, {}, {"fresh_urls_for_existing": False}, {"existing_refused": True}))
        self.options = UploadOptions(
            chunk_threshold_bytes=CHUNKED_FROM,
            bytes_per_url=chance.one_of((SMALLEST_CHUNK, 3000, 8192)),
            url_count=chance.one_of((None, None, 2, 7, 30)),
            etag_base=chance.one_of((0, 1)),
            link_seconds=120 if other_key else chance.one_of((3587, 120)),
            chunks_begin_anew=chance.happens(0.3),
            repeated_complete_accepted=chance.happens(0.3),
            announced_size=chance.one_of(("plaintext", "ciphertext")),
            repeated_key="another" if other_key else chance.one_of(("same", "same", "none")),
            encryption_ignored=chance.happens(0.1),
            java_mask=chance.happens(0.5),
            **repeats,
        )

    # --- the account -------------------------------------------------------------------------------------------------

    def _log_in(self) -> None:
        roles = {UPLOADER, *DOWNLOADERS} | ({APPROVER} if self._may_decide else set())
        self._ours: set[str] = set()
        add = self.portal.add_technical_access if self._is_technical else self.portal.add_user
        self._account = add(LOGIN, PASSWORD, roles, self._ours)
        self._clerk = self.portal.add_user("sachbearbeitung@example.com", "x", name=PERSON)
        scopes = sorted(map(scope_of, roles)) if self.chance.happens(0.5) else []
        auth: dict[str, Any] = {"kind": "user-password", "cognitoUrl": self.portal.cognito_url, "username": LOGIN}
        auth |= {"clientId": self.portal.app_client_id, "password": PASSWORD}
        if self._is_technical:
            auth = {"kind": "client-credentials", "tokenUrl": self.portal.token_url, "scopes": scopes}
            auth |= {"clientId": LOGIN, "clientSecret": PASSWORD}
        self._secret: dict[str, Any] = {
            "baseUrl": f"http://{HOST}",
            "acknowledge": self._policy,
            "auth": auth,
            "uploader": {
                "role": UPLOADER,
                "encryption": self._encryption,
                "etagBase": self.options.etag_base,
                "fileSize": self.options.announced_size,
            },
            "downloader": {"clientId": CLIENT, "types": list(self._types)},
        }
        self.connect(HAUS, self._secret)

    def _things_happen(self) -> None:
        chance = self.chance
        self._locked_out = False
        if self._is_technical and chance.happens(0.6):
            self._rotate()
        else:
            self._a_person_changes_things()
        for _ in range(chance.number(0, 2)):
            self.happens("all tokens end", self.at_some_time(), self.portal.expire_tokens)
        self.machine.at(RETENTION_SECONDS, self._retention)

    def _a_person_changes_things(self) -> None:
        if self.chance.happens(0.25):
            self._change_password()
        if self.chance.happens(0.25):
            self._pause()

    def _rotate(self) -> None:
        """Let Secrets Manager rotate the secret once or twice among the work, and again when it is calm."""
        chance = self.chance
        self.portal.add_user(ADMIN_LOGIN, ADMIN_PASSWORD, {"ROLE_CUSTOMER_ADMIN"})
        auth = {"kind": "user-password", "cognitoUrl": self.portal.cognito_url, "username": ADMIN_LOGIN}
        auth |= {"clientId": self.portal.app_client_id, "password": ADMIN_PASSWORD}
        administrator = {"baseUrl": f"http://{HOST}", "technicalAccessId": self._account.id, "auth": auth}
        secrets, name = self.machine.account.secretsmanager, f"amtsbote/docxworld/{HAUS}"
        secrets.create_secret(Name=f"amtsbote-admin/docxworld/{HAUS}", SecretString=json.dumps(administrator))
        self._rotations = Rotations(self.machine, chance, name, self._rotates)
        for at in (*(self.at_some_time() for _ in range(chance.number(1, 2))), CALM_SECONDS, EVENING_SECONDS):
            self.happens("the secret is to be rotated", at, self._rotations.begin)

    def _rotates(self, more: int) -> None:
        self.ahead += more

    def _change_password(self) -> None:
        at, field = self.at_some_time(), "clientSecret" if self._is_technical else "password"
        self._secret = {**self._secret, "auth": {**self._secret["auth"], field: NEXT_PASSWORD}}

        def at_the_portal() -> None:
            self.portal.change_secrets(LOGIN, {NEXT_PASSWORD})
            self.portal.expire_tokens()

        self._locked_out = True
        self.happens("the password is changed at the portal", at, at_the_portal)
        later = at + self.chance.between(0, 600)
        self.happens("the password is changed in the secret", later, partial(self.connect, HAUS, self._secret))

    def _pause(self) -> None:
        """Let the connection, or one of its directions, be off for a while."""
        at, off = self.at_some_time(), dict(self._secret)
        match self.chance.one_of(("all", "uploader", "downloader")):
            case "all":
                off["enabled"] = False
            case direction:
                del off[direction]
        self._locked_out = True
        self.happens("the connection is paused", at, partial(self.connect, HAUS, off))
        self.happens("the connection goes on", at + 3000, lambda: self.connect(HAUS, self._secret))

    def _retention(self) -> None:
        """What was not acknowledged by now is lost."""
        for download in list(self.portal.downloads.downloads.values()):
            if download.acknowledged is None:
                self.portal.remove(download.id)

    def _add_target(self, script: Sequence[Step] = (), *, ours: bool = True, **workflow: Any) -> Target:
        number = next(self._numbers)
        target = self.portal.add_target(f"Verfahren {number}", f"W{number}", script=script or None, **workflow)
        if ours:
            self._ours.add(target.id)
        return target

    def _named(self, target: Target) -> str:
        """Return how a key names a target: its UUID, or its workflow's abbreviation in any case."""
        abbreviation = target.workflow.abbreviation
        return self.chance.one_of((target.id, abbreviation, abbreviation.lower()))

    def _fill(self) -> None:
        chance = self.chance
        self._hall = self._add_target()
        self._elsewhere = self._add_target(ours=False)
        kinds: tuple[Callable[[int, float], object], ...] = (
            *(self._plain,) * 4,
            self._late,
            self._contested,
            self._taken_before,
            self._removed,
            self._file_lost,
            self._of_another_size,
            self._none_of_ours,
            self._ready_later,
            self._ack_fails_once,
        )
        for number in range(1, chance.number(2, 9) + 1):
            chance.one_of(kinds)(number, self.at_some_time() if chance.happens(0.6) else 0.0)
        for number in range(chance.number(0, 4)):
            chance.one_of(self._drop_kinds())(number)

    # --- downloads ---------------------------------------------------------------------------------------------------

    def _id(self) -> str:
        return str(uuid.UUID(bytes=self.chance.bytes(16), version=4))

    def _arrive(
        self,
        number: int,
        seconds: float,
        story: str,
        ends: frozenset[str] = ACKNOWLEDGED,
        *,
        others_take_it: bool = False,
        **more: Any,
    ) -> str:
        """Let a download lie ready, and return its id."""
        id_, kind, name = self._id(), self.chance.one_of((RESULT, RESULT, REPORT)), self.chance.one_of(NAMES)
        content = f"%PDF-1.7 {number} ".encode() + self.chance.bytes(self.chance.number(0, 2000))
        self._contents[id_] = (name, content)
        given = {"id": id_, "type": kind, "file_name": name, "target": self._hall, **more}
        self.happens(
            f"{kind} {id_} comes, {story}", seconds, lambda: self.portal.add_download(content=content, **given)
        )
        self.expect(HAUS, id_, ends if kind in self._types else ABSENT, story, others_take_it=others_take_it)
        return id_

    def _plain(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "plain")

    def _late(self, number: int, seconds: float) -> None:
        age = timedelta(hours=self.chance.between(0, 100))
        self._arrive(number, seconds, "old and late", created=self.clock() - age)

    def _whoever_is_first(self) -> frozenset[str]:
        """Return how a download may end that goes: before it was listed, before it was ours, or after that."""
        return ABSENT | UNAVAILABLE | self.end_of(HAUS)

    def _contested(self, number: int, seconds: float) -> None:
        id_ = self._arrive(number, seconds, "contested", self._whoever_is_first(), others_take_it=True)

        def take() -> None:
            if self.portal.downloads.downloads[id_].acknowledged is None:
                self.portal.taken_by_other_client(id_, OTHER_CLIENT)

        self.happens(f"{id_} is taken by another client", seconds + self.chance.between(1, 600), take)

    def _taken_before(self, number: int, seconds: float) -> None:
        id_ = self._arrive(number, seconds, "another client's", ABSENT)
        self.machine.at(seconds, lambda: self.portal.taken_by_other_client(id_, OTHER_CLIENT))

    def _removed(self, number: int, seconds: float) -> None:
        id_ = self._arrive(number, seconds, "removed", self._whoever_is_first(), others_take_it=True)
        self.happens(f"{id_} is removed", seconds + self.chance.between(1, 600), lambda: self.portal.remove(id_))

    def _file_lost(self, number: int, seconds: float) -> None:
        ends = UNAVAILABLE | self.end_of(HAUS)
        id_ = self._arrive(number, seconds, "its file is lost", ends)
        at_once = self.chance.happens(0.5)
        later = 0 if at_once else self.chance.between(1, 600)
        self.happens(f"the file of {id_} is lost", seconds + later, lambda: self.portal.lose_file(id_))

    def _of_another_size(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "of another size than recorded", QUARANTINED, recorded_size=4711)

    def _none_of_ours(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "for another target", ABSENT, target=self._elsewhere)

    def _ready_later(self, number: int, seconds: float) -> None:
        id_ = self._arrive(number, seconds, "ready later", readiness=Readiness.DRAFT)

        def finish() -> None:
            self.portal.downloads.downloads[id_].readiness = Readiness.READY

        self.happens(f"{id_} is ready", seconds + self.chance.between(10, 2400), finish)

    def _ack_fails_once(self, number: int, seconds: float) -> None:
        self._refuse_once.add(self._arrive(number, seconds, "its acknowledgement fails once"))

    # --- drops -------------------------------------------------------------------------------------------------------

    def _drop_kinds(self) -> tuple[Callable[[int], object], ...]:
        return (
            *(self._letter,) * 5,
            self._two_versions,
            self._failing_letter,
            self._wrong_letter,
            self._letter_to_nowhere,
            *(self._cancelled_letter,) * 2,
            self._cancelled_version,
            self._wrong_cancellation,
            *(self._decision,) * 2,
            self._two_decisions,
            self._file_after_its_decision,
            self._file_without_its_decision,
            self._wrong_decision,
            *(self._draft,) * 2,
            self._wrong_draft,
        )

    def _body(self) -> bytes:
        """Return a content that nothing else has, even where it is of one byte."""
        return bytes([next(self._numbers)]) + self.chance.bytes(self.chance.one_of(SIZES) - 1)

    def _send(
        self,
        path: str,
        body: bytes,
        story: str,
        fate: Fate,
        metadata: dict[str, str] | None = None,
        at: float | None = None,
    ) -> str:
        """Drop something, and return its key."""
        key = f"docxworld/{HAUS}/{path}"
        self._metadata[body] = metadata or {}
        when = self.at_some_time() if at is None else at
        self.drop(when, key, body, metadata, story=story, **fate.fields())
        return key

    def _upload_fate(self, fate: Fate = Fate()) -> Fate:
        """Return the fate of an upload with these options: what cannot be gone on with is replaced twice at most."""
        if self._encryption != "none" and self.options.encryption_ignored:
            return never("NOT_ENCRYPTED")
        repeats_well = self.options.fresh_urls_for_existing and not self.options.existing_refused
        same_key = self._encryption == "none" or self.options.repeated_key == "same"
        return fate if repeats_well and same_key else fate.or_fails("UPLOAD_STUCK")

    def _upload(self, target: Target, body: bytes, story: str, fate: Fate = Fate(), **more: Any) -> str:
        """Drop a letter and return its key."""
        self._aims[body] = target.id
        name = more.pop("name", None) or self.chance.one_of(LETTERS)
        segment = more.pop("segment", None) or self._named(target)
        return self._send(f"{segment}/{name}", body, story, self._upload_fate(fate), **more)

    def _steps(self, *states: str) -> list[Step]:
        """Return a script of these states, some time apart."""
        first = Step(self.chance.between(0, 60) if self._notices_late else 0, "UPLOADED")
        others = [Step(self.chance.one_of((0.0, 1.0, 1.0)) * self.chance.between(0, 600), state) for state in states]
        decided = [replace(step, approver=self._clerk, message=WORDS) for step in others]
        return [first, *decided]

    def _letter(self, number: int) -> None:
        states = self.chance.one_of(
            (
                ("TRANSFERRED",),
                ("TRANSFERRED",),
                ("WAITING_FOR_COLLECT", "COLLECTED"),
                ("DUPLICATED",),
                ("TRANSFERRED", "DELETED"),
                (WAITING, "APPROVED", "TRANSFERRED"),
            )
        )
        target = self._add_target(self._steps(*states), approval_needed=WAITING in states)
        said = {"priority": "HI", "customer-reference-6": "Kunde 7", "reference-id": f"Az. {number}", "eigenes": "x"}
        self._upload(target, self._body(), "a letter", metadata=said if self.chance.happens(0.3) else {})

    def _two_versions(self, number: int) -> None:
        """Two versions of one key, under one reference of the backend's: neither may be taken for the other."""
        target = self._add_target(self._steps("TRANSFERRED"))
        name, segment = self.chance.one_of(LETTERS), self._named(target)
        for version in range(2):
            body, said = self._body(), {"reference-id": "Az. 1"}
            self._upload(target, body, f"version {version + 1}", metadata=said, name=name, segment=segment)

    def _failing_letter(self, number: int) -> None:
        states, code = self.chance.one_of(
            (
                (("TRANSFER_FAILED",), "TRANSFER_FAILED"),
                (("DELETED",), "DELETED"),
                ((WAITING, "REJECTED"), "APPROVAL_REJECTED"),
                ((WAITING, "REJECTED", "DELETED"), "APPROVAL_REJECTED"),
                ((WAITING, "EXPIRED"), "APPROVAL_EXPIRED"),
                ((WAITING, "CANCELLED"), "APPROVAL_CANCELLED"),
            )
        )
        target = self._add_target(self._steps(*states), approval_needed=WAITING in states)
        self._upload(target, self._body(), "refused at last", Fate(FAILED, frozenset({code})))

    def _wrong_letter(self, number: int) -> None:
        story, metadata, body, code = self.chance.one_of(
            (
                ("empty", {}, b"", "FILE_EMPTY"),
                ("of no priority", {"priority": "SOFORT"}, b"x", "PRIORITY_UNKNOWN"),
                ("reference too long", {"reference-id": "x" * 76}, b"x", "REFERENCE_TOO_LONG"),
                ("a seventh reference", {"customer-reference-7": "x"}, b"x", "CUSTOMER_REFERENCE_UNKNOWN"),
                ("a long reference", {"customer-reference-1": "x" * 101}, b"x", "REFERENCE_TOO_LONG"),
            )
        )
        path = f"{self._named(self._hall)}/falsch-{number}.pdf"
        self._send(path, body and body + f"{number}".encode(), story, never(code), metadata)

    def _letter_to_nowhere(self, number: int) -> None:
        inactive = self._add_target(active=False)
        open_only = self._add_target(encryption_allowed=False)
        kinds = [
            ("no such abbreviation", "GIBTSNICHT", "TARGET_UNKNOWN"),
            ("no such target", self._id(), "TARGET_NOT_EXISTS"),
            ("inactive", self._named(inactive), "TARGET_INACTIVE"),
            ("another's target", self._elsewhere.id, "TARGET_DENIED"),
            ("another's abbreviation", self._elsewhere.workflow.abbreviation, "TARGET_UNKNOWN"),
            ("no rule", "approvals", "KEY_FITS_NO_RULE"),
        ]
        kinds += [("in clear only", open_only.id, "ENCRYPTION_NOT_ALLOWED")] if self._encryption != "none" else []
        story, segment, code = self.chance.one_of(kinds)
        self._send(f"{segment}/{number}.pdf", self._body(), story, never(code))

    # --- approvals of our own uploads --------------------------------------------------------------------------------

    def _waiting_target(self) -> Target:
        """Return a target whose uploads wait for a decision that no script takes."""
        return self._add_target([*self._steps(WAITING), Step(5, "TRANSFERRED")], approval_needed=True)

    def _cancelled_letter(self, number: int) -> None:
        """A letter whose approval is cancelled, unless somebody at the portal is quicker and approves."""
        target, contested, at = self._waiting_target(), self.chance.happens(0.4), self.at_some_time()
        refused = Fate(FAILED, frozenset({"APPROVAL_CANCELLED"}))
        letter = replace(refused, ends=FAILED | DELIVERED) if contested else refused
        key = self._upload(target, self._body(), "to be cancelled", letter, at=at)
        self._cancel(key, target, at, Fate().or_fails("NOTHING_TO_CANCEL") if contested else Fate())
        if contested:
            approve = partial(self._approve_all, target)
            self.happens("somebody approves", at + self.chance.between(1, 900), approve)
            self.happens("somebody approves in the evening", at + EVENING_SECONDS, approve)

    def _cancelled_version(self, number: int) -> None:
        """Two versions that wait, and one cancellation: which one it is for depends on what it finds."""
        target, at = self._waiting_target(), self.at_some_time()
        name, segment = self.chance.one_of(LETTERS), self._named(target)
        either = Fate(FAILED | DELIVERED, frozenset({"APPROVAL_CANCELLED"}))
        for version in range(2):
            when, body = at + version * self.chance.between(1, 300), self._body()
            key = self._upload(target, body, "one of two", either, at=when, name=name, segment=segment)
        self._cancel(key, target, at, Fate().or_fails("NOTHING_TO_CANCEL"))
        self.happens("somebody approves in the evening", at + EVENING_SECONDS, partial(self._approve_all, target))

    def _cancel(self, letter: str, target: Target, at: float, fate: Fate) -> None:
        """Drop a cancellation some time after a letter; who cancels is told so, and nobody else."""
        words = json.dumps({"message": WORDS} if self.chance.happens(0.7) else {}).encode()
        after = at + self.chance.between(1, 600)
        if self._upload_fate().at_most == 0:
            fate = never("NOTHING_TO_CANCEL")
        elif "UPLOAD_STUCK" in self._upload_fate().codes:
            fate = fate.or_fails("NOTHING_TO_CANCEL")
        path = letter.split("/", 2)[2] + ".cancel.json"
        key = self._send(path, words, "a cancellation", fate, at=after)

        def check() -> Iterator[str]:
            cancelled = sum(self._code(each) == "APPROVAL_CANCELLED" for each in self._drops_of(letter))
            done = sum(self._state(each) == "DELIVERED" for each in self._drops_of(key))
            at_the_portal = sum(job.approval_state == "CANCELLED" for job in self._jobs_of(target))
            if not cancelled == done == at_the_portal:
                yield f"{letter}: {cancelled} letters cancelled, {done} cancellations, {at_the_portal} at the portal"

        self._checks.append(check)

    def _approve_all(self, target: Target) -> None:
        for job in self._jobs_of(target):
            if job.approval_state == WAITING:
                self.portal.decide_approval(job.id, "APPROVED", self._clerk, WORDS)

    def _wrong_cancellation(self, number: int) -> None:
        target = self._add_target(self._steps("TRANSFERRED"))
        letter = self._upload(target, self._body(), "not to be cancelled")
        path = letter.split("/", 2)[2]
        story, path, body, code = self.chance.one_of(
            (
                ("no JSON", path, b"kein JSON", "CANCELLATION_INVALID"),
                ("too long", path, json.dumps({"message": "x" * 256}).encode(), "CANCELLATION_INVALID"),
                ("of another letter", f"{path}.anders", b"{}", "NOTHING_TO_CANCEL"),
                ("of a cancellation", f"{path}.cancel.json", b"{}", "KEY_FITS_NO_RULE"),
            )
        )
        self._send(f"{path}.cancel.json", body, story, never(code))

    # --- decisions on uploads of others ------------------------------------------------------------------------------

    def _task(self, at: float) -> str:
        """Let somebody else's upload wait for a decision from then on, and return the task's id."""
        id_, target = self._id(), self._waiting_target()
        self.portal.follow_script(target.id, [Step(0, "UPLOADED"), Step(0, WAITING), Step(5, "TRANSFERRED")])
        content = b"von anderen " + id_.encode()
        add = partial(self.portal.add_upload, self._clerk, target, content, task_id=id_)
        self.happens(f"task {id_} waits", at, lambda: add(created=self.clock()))
        return id_

    def _said(self, state: str, **more: str) -> bytes:
        options = self.chance.one_of(({}, {"emailOptions": "CC_APPROVER"}))
        return json.dumps({"approvalState": state, "message": f"{WORDS} {next(self._numbers)}", **options}).encode()

    def _decide(self, task: str, body: bytes, story: str, fate: Fate, at: float) -> str:
        allowed = fate if self._may_decide else never("APPROVER_ROLE_MISSING")
        return self._send(f"approvals/{task}/decision.json", body, story, allowed, at=at)

    def _decision(self, number: int) -> None:
        """A decision, perhaps with a changed file; or one that somebody at the portal may come before."""
        at, state = self.at_some_time(), self.chance.one_of(("APPROVED", "REJECTED"))
        task, later, body = self._task(at), at + self.chance.between(40, 900), self._said(state)
        match self.chance.one_of(("plain", "file", "contested")):
            case "file" if self._may_decide:
                self._send(f"approvals/{task}/file.pdf", b"%PDF " + body, "goes along", Fate(), at=later - 30)
                self._decide(task, body, "a decision with a file", Fate(), later)
            case "contested":
                other = "REJECTED" if state == "APPROVED" else "APPROVED"
                self._decide(task, body, "contested", Fate().or_fails("APPROVAL_TASK_NOT_DECIDABLE"), later)
                self.happens("somebody decides", at + self.chance.between(1, 900), partial(self._decided, task, other))
            case _:
                self._decide(task, body, "a decision", Fate(), later)

    def _decided(self, task: str, state: str) -> None:
        job = next(job for job in self.portal.jobs() if job.task_id == task)
        if job.approval_state == WAITING:
            self.portal.decide_approval(job.id, state, self._clerk, f"{WORDS} dort")

    def _two_decisions(self, number: int) -> None:
        """Two versions of a decision: a task is decided once, by the one that comes first."""
        at = self.at_some_time()
        task, either = self._task(at), Fate().or_fails("APPROVAL_TASK_NOT_DECIDABLE")
        for state in ("APPROVED", self.chance.one_of(("APPROVED", "REJECTED"))):
            key = self._decide(task, self._said(state), "one of two", either, at + self.chance.between(1, 900))
        self._once_decided(key)

    def _once_decided(self, key: str) -> None:
        def check() -> Iterator[str]:
            decided = sum(self._state(each) == "DELIVERED" for each in self._drops_of(key))
            if decided != self._may_decide:
                yield f"{key} was decided {decided} times"

        self._checks.append(check)

    def _file_after_its_decision(self, number: int) -> None:
        """A file that comes too late for its decision: it is refused, or not used, unless the next one takes it."""
        if not self._may_decide:
            return
        at = self.at_some_time()
        task, refusals = self._task(at), ("FILE_CAME_LATER", "APPROVAL_TASK_NOT_DECIDABLE")
        first, body = at + 60, self._said("APPROVED")
        self._decide(task, body, "before its file", Fate().or_fails(*refusals), first)
        self._send(
            f"approvals/{task}/file.pdf", b"%PDF " + body, "late", Fate().or_fails("FILE_NOT_USED"), at=first + 1
        )
        self._once_decided(
            self._decide(task, self._said("APPROVED"), "again", Fate().or_fails(*refusals[1:]), first + 3000)
        )

    def _file_without_its_decision(self, number: int) -> None:
        """A file beside which no decision comes, or only one that fails: it is told so, and not used."""
        at, body = self.at_some_time(), b"%PDF " + self._body()
        code, task = "DECISION_MISSING", self._task(at)
        if self.chance.happens(0.6):
            code = "DECISION_FAILED"
            wrong, task = self.chance.one_of(((b"{}", task), (self._said("APPROVED"), self._id())))
            reason = "DECISION_INVALID" if wrong == b"{}" else "APPROVAL_TASK_NOT_FOUND"
            reason = reason if self._may_decide or wrong == b"{}" else "APPROVER_ROLE_MISSING"
            self._send(f"approvals/{task}/decision.json", wrong, "fails", never(reason), at=at + 300)
        self._send(f"approvals/{task}/file.pdf", body, "beside no decision", never(code), at=at)

    def _wrong_decision(self, number: int) -> None:
        at = self.at_some_time()
        waiting = self._task(at)
        story, task, body, code = self.chance.one_of(
            (
                ("no JSON", waiting, b"kein JSON", "DECISION_INVALID"),
                ("no state", waiting, b"{}", "DECISION_INVALID"),
                ("an unknown state", waiting, b'{"approvalState": "VIELLEICHT"}', "DECISION_INVALID"),
                ("an unknown field", waiting, b'{"approvalState": "APPROVED", "x": 1}', "DECISION_INVALID"),
                ("a long message", waiting, self._said("APPROVED")[:-1] + b', "message": ""}', "DECISION_INVALID"),
                ("no such task", self._id(), self._said("APPROVED"), "APPROVAL_TASK_NOT_FOUND"),
            )
        )
        code = code if self._may_decide or code == "DECISION_INVALID" else "APPROVER_ROLE_MISSING"
        self._send(f"approvals/{task}/decision.json", body, story, never(code), at=at + 60)

    # --- drafts ------------------------------------------------------------------------------------------------------

    def _draft(self, number: int) -> None:
        """A draft, which is a download of ours once it is filled; a creation whose answer is lost is not repeated."""
        target, body = self._add_target(), b"%PDF draft " + self._body()
        said = {"download-type": self.chance.one_of((RESULT, REPORT)), "farbe": "blau", "A.b-c_d": "x"}
        said |= {"reference-id": f"Az. {number}"} if self.chance.happens(0.5) else {}
        fate = Fate().or_fails("OUTCOME_UNKNOWN", "DRAFT_WITHOUT_ADDRESS", "DRAFT_ADDRESS_REFUSED")
        fate = fate if self._is_technical else never("TECHNICAL_ACCESS_REQUIRED")
        path = f"drafts/{self._named(target)}/{self.chance.one_of(LETTERS)}"
        self._aims[body] = target.id
        self._send(path, body, "a draft", fate, said)

    def _wrong_draft(self, number: int) -> None:
        result = {"download-type": RESULT}
        story, metadata, segment, code = self.chance.one_of(
            (
                ("of no type", {}, self._hall.id, "DOWNLOAD_TYPE_INVALID"),
                ("of another type", {"download-type": "result"}, self._hall.id, "DOWNLOAD_TYPE_INVALID"),
                ("a wrong name", {**result, "a b": "x"}, self._hall.id, "METADATA_INVALID"),
                ("too much", {**result, "x": "y" * 1900}, self._hall.id, "METADATA_INVALID"),
                ("no such target", result, self._id(), "TARGET_NOT_EXISTS"),
                ("another's target", result, self._elsewhere.id, "TARGET_DENIED"),
            )
        )
        fate = never("TECHNICAL_ACCESS_REQUIRED")
        if (
            self._is_technical
        ):  # a refusal that is not heard is an unknown outcome: only the creation itself is answered
            fate = never(code, "OUTCOME_UNKNOWN") if code.startswith("TARGET") else never(code)
        self._send(f"drafts/{segment}/falsch.pdf", self._body(), story, fate, metadata)

    # --- what the portal sees ----------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer that keeps a request from having an effect, None where it goes its way."""
        *_, id_, last = request.path.split("/")
        if last == "acknowledge" and id_ in self._refuse_once:
            self._refuse_once.discard(id_)
            return self.portal.error(500, "not now")
        return None

    def saw(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Take note of what a request has come to at the portal."""
        body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
        if answer.status == 400 and any(code.encode() in body for code in MISREAD):
            self._wrongs.append(f"{request.method} {request.path} was answered {body!r}")
        self._saw_rotation(request, answer)
        *_, id_, last = request.path.split("/")
        if request.method == "POST" and request.path == "/v1/downloads/" and answer.status == 200:
            draft = self.portal.drafts(Readiness.DRAFT)[-1]
            self._drafts_asked_for.append(AskedDraft(draft.target.id, f"/s3/{draft.key}", self.clock.seconds()))
        if last == "cancel" and answer.status == 200:
            self._cancelled[id_] += 1
        if request.method == "PUT":
            self._note_drafts()

    def _saw_rotation(self, request: web.Request, answer: web.StreamResponse) -> None:
        """The portal ends an older secret only when the current version of ours holds the newer one."""
        if self._rotations is None:
            return
        if request.path == TOKEN and answer.status == 400:
            self._dead_logins += 1
        if self._account.next_secret:
            self.secrets = tuple({*self.secrets, self._account.next_secret})
        if request.path.endswith(COMPLETE_ROTATION) and not self._current_is_alive():
            self._wrongs.append("the portal has ended the secret that is the current version")

    def _current_is_alive(self) -> bool:
        versions = self.machine.account.secretsmanager
        text = versions.get_secret_value(SecretId=f"amtsbote/docxworld/{HAUS}")["SecretString"]
        return json.loads(text)["auth"]["clientSecret"] in self._account.secrets

    def _wrong_rotation(self) -> Iterator[str]:
        """At the end the current secret logs in, and each rotation is complete, or somebody was told why not."""
        if self._rotations is None:
            return
        struck = set(self.machine.boundary.strokes.struck.values())
        if not self._current_is_alive():
            yield "the current secret does not log in"
        if self._rotations.lost and not struck:
            yield "a rotated secret was lost, and nothing had happened"
        if not self._rotations.lost and not self._is_settled():
            yield f"the rotation has not come to its end: {self._rotations.codes}"
        if self._dead_logins and Stroke.STALLS not in struck:
            yield f"{self._dead_logins} logins with a secret that was ended"
        slow = TOO_SLOW if Stroke.STALLS in struck else None  # a stalled worker takes itself for a slow portal
        told = [each for each in self.machine.account.events.published if each.detail_type == UNHEALTHY]
        unhealthy = [each for each in told if each.detail["code"] != slow]
        if unhealthy and Stroke.PORTAL_TOKEN_EXPIRED not in struck:
            yield f"the connection was called unhealthy {len(unhealthy)} times while its secret was rotated"

    def _is_settled(self) -> bool:
        found = self.machine.account.secretsmanager.describe_secret(SecretId=f"amtsbote/docxworld/{HAUS}")
        labels = {label for labels in found["VersionIdsToStages"].values() for label in labels}
        return self._account.rotation_started is None and labels <= {"AWSCURRENT", "AWSPREVIOUS"}

    def saw_completion(self, said: Mapping[str, Any], status: int) -> None:
        """Parts that were answered are there: what is put together can only be refused once it is whole."""
        job = self.portal.job(said["processId"])
        if status == 400 and not job.content_complete:
            self._wrongs.append(f"{job.id} was to be put together of parts that are not there")

    def _note_drafts(self) -> None:
        """A draft that is filled is a download like any other, for whoever may see it."""
        for each in self.portal.drafts(Readiness.READY):
            if each.id in self._contents or each.id in self._drafted:
                continue
            self._drafted[each.id] = content = b"".join(self.portal.storage.objects[each.key].read())
            self._contents[each.id] = (each.file_name, content)
            seen = each.type in self._types
            self.expect(HAUS, each.id, ACKNOWLEDGED if seen else ABSENT, "a draft of ours")

    # --- what the judge asks -----------------------------------------------------------------------------------------

    def acknowledged(self) -> Iterable[tuple[str, str]]:
        """The downloads that were acknowledged under our name."""
        taken = self.portal.acknowledgements()
        return [(HAUS, each.download_id) for each in taken if each.client_id == CLIENT]

    def is_content(self, item: ExpectedItem, files: Mapping[str, bytes], document: Mapping[str, Any]) -> bool:
        """Compare the one file with what lay ready."""
        name, content = self._contents[item.id]
        (listed,) = document["files"]
        said = (listed["portalName"], document["metadata"]["id"], document["metadata"]["fileName"])
        return list(files.values()) == [content] and said == (name, item.id, name)

    def arrivals(self, drop: ExpectedDrop) -> int:
        """Count the uploads, drafts, decisions or cancellations that have come of a drop."""
        path = drop.key.split("/")[2:]
        match path:
            case ("drafts", _, _):
                return sum(content == drop.body for content in self._drafted.values())
            case ("approvals", task, name):
                return self._decisions(task, name, drop.body)
            case (_, name) if name.endswith(".cancel.json"):
                return self._cancellations(drop.key.removesuffix(".cancel.json"))
        return sum(self._has_come(job, drop.body) for job in self._own_jobs())

    def _decisions(self, task: str, name: str, body: bytes) -> int:
        taken = [each for each in self.portal.decisions() if each.task_id == task]
        if name == "file.pdf":
            return sum(each.file == body for each in taken)
        return sum(json.dumps(each.message).encode() in body for each in taken)

    def _cancellations(self, letter: str) -> int:
        bodies = [each.body for each in self._drops_of(letter)]
        return sum(
            self._cancelled[job.id] for job in self._own_jobs() if any(self._has_come(job, body) for body in bodies)
        )

    def _own_jobs(self) -> list[Job]:
        return [job for job in self.portal.jobs() if job.owner is self._account]

    def _jobs_of(self, target: Target) -> list[Job]:
        return [job for job in self.portal.jobs() if job.target.id == target.id]

    def _has_come(self, job: Job, body: bytes) -> bool:
        """Return whether a job is complete and holds these bytes, under whatever encryption."""
        return job.content_complete and self._digest(job) == (hashlib.sha256(body).hexdigest(), len(body))

    def _digest(self, job: Job) -> tuple[str, int] | None:
        if job.encryption is not None:
            return self.portal.uploads.opened(job.id)
        content = self.portal.read_upload(job.id)
        return hashlib.sha256(content).hexdigest(), len(content)

    def _drops_of(self, key: str) -> list[ExpectedDrop]:
        return [drop for drop in self.drops if drop.key == key]

    def _row(self, drop: ExpectedDrop) -> Mapping[str, Any]:
        return self.machine.lived.get((f"DROP#outbox/{drop.key}", drop.version), {})

    def _state(self, drop: ExpectedDrop) -> str:
        return str(self._row(drop).get("state", {}).get("S"))

    def _code(self, drop: ExpectedDrop) -> str | None:
        row = self._row(drop)
        return str(row["failure"]["M"]["code"]["S"]) if self._state(drop) == "FAILED" else None

    def complaints(self) -> Iterable[str]:
        """What the portal noticed, and what is not as it was asked for."""
        yield from self._wrongs
        yield from self._wrong_rotation()
        yield from self.portal.storage.flags
        for check in self._checks:
            yield from check()
        for job in self._own_jobs():
            yield from self._wrong_job(job)
        yield from self._wrong_drafts()
        yield from self._repeated_drafts()
        yield from self._wrong_acknowledgements()
        yield from self._leaks()
        yield from self._needless()

    def _wrong_job(self, job: Job) -> Iterator[str]:
        if self._encryption != "none" and job.content_complete and job.encryption is None:
            yield f"{job.id} went out in clear"
        if job.upload_id is None and not self._notices_late and self.portal.storage_puts(job.id) > 1:
            yield f"{job.id} was sent {self.portal.storage_puts(job.id)} times"
        if not job.content_complete:
            return
        drop = next((each for each in self.drops if self._has_come(job, each.body)), None)
        if drop is None:
            yield f"{job.id} holds what nobody has dropped"
            return
        said = self._metadata[drop.body]
        wanted = (drop.key.split("/")[-1], self._aims[drop.body], said.get("priority", "NORMAL"))
        if (job.file_name, job.target.id, job.priority) != wanted:
            yield f"{job.id} is not what was dropped as {drop.key}"
        if job.customer_references[5] != said.get("customer-reference-6"):
            yield f"{job.id} has other references than {drop.key}"
        if not str(job.reference_id).startswith(said.get("reference-id", "")):
            yield f"{job.id} does not go by its reference-id"
        if self._code(drop) == "UPLOAD_STUCK":
            yield f"{drop.key} is stuck, and has arrived"

    def _wrong_drafts(self) -> Iterator[str]:
        for each in self.portal.drafts(Readiness.ERROR):
            yield f"the draft {each.id} is marked as an error"
        for each in self.portal.drafts(Readiness.READY):
            if each.id not in self._drafted:
                continue
            said = self._metadata.get(self._drafted[each.id], {})
            metadata = {name.lower(): value for name, value in said.items() if name not in OF_DRAFTS}
            aim = (self._aims.get(self._drafted[each.id]), said.get("download-type"), metadata)
            if (each.target.id, each.type, each.metadata) != aim:
                yield f"the draft {each.id} is not what was dropped"

    def _repeated_drafts(self) -> Iterator[str]:
        """One drop, one draft (its target is its own), unless its address was refused; and its file is sent once."""
        before: dict[str, AskedDraft] = {}
        refused = {each.path for each in self.portal.requests if each.status is not None and 400 <= each.status < 500}
        for draft in self._drafts_asked_for:
            last = before.get(draft.target)
            if last and draft.at - last.at < self._draft_seconds and last.path not in refused:
                yield f"a second draft was created of one drop, for {draft.target}"
            before[draft.target] = draft
        for id_ in self._drafted:
            key = f"dwc-download/{id_}-{self._contents[id_][0].replace('/', '_')}"
            if self.portal.storage.puts.get(key, 0) > 1:
                yield f"the file of the draft {id_} was sent {self.portal.storage.puts[key]} times"

    def _wrong_acknowledgements(self) -> Iterator[str]:
        others = {each.download_id for each in self.portal.acknowledgements() if each.client_id == OTHER_CLIENT}
        rows = self.machine.lived
        for id_ in others:
            row = rows.get((f"ITEM#{self.name}#{HAUS}#{id_}", "STATE"), {})
            if row.get("state") == {"S": "ACKNOWLEDGED"}:
                yield f"{id_} is ACKNOWLEDGED here, and it is another client's"
        for each in self.portal.acknowledgements():
            wanted = None if each.client_id == OTHER_CLIENT else f"docxworld/{HAUS}/{each.download_id}"
            if each.client_id not in (CLIENT, OTHER_CLIENT) or each.reference_id != wanted:
                yield f"{each.download_id} was acknowledged by {each.client_id} as {each.reference_id}"

    def _leaks(self) -> Iterator[str]:
        """No key of a file stands anywhere at rest, and no person's words in an event."""
        rows = str(self.machine.account.dynamodb.rows)
        for job in self.portal.jobs():
            if job.encryption and _base64(job.encryption.key) in rows:
                yield f"the key of {job.id} stands in the ledger"
        events = str([each.detail for each in self.machine.account.events.published])
        yield from (f"{word} stands in an event" for word in (WORDS, SIGNATURE, JWT) if word in events)

    def _needless(self) -> Iterator[str]:
        """A run in which nothing was struck knows all outcomes and uses no address after its end.

        It also replaces no upload, unless the account was locked out until the addresses of one had ended.
        """
        if self.machine.boundary.strokes.struck:
            return
        for drop in self.drops:
            if self._code(drop) in (
                "OUTCOME_UNKNOWN",
                "DRAFT_WITHOUT_ADDRESS",
                "DRAFT_ADDRESS_REFUSED",
                "UPLOAD_STUCK",
            ):
                yield f"{drop.key}: {self._code(drop)}, and nothing had happened"
        replaceable = self.options.encryption_ignored or self._locked_out
        if any(not job.content_complete for job in self._own_jobs()) and not replaceable:
            yield "an upload was begun and left, and nothing had happened"
        if self.portal.storage.expired_uses:
            yield "an address was used after its end, and nothing had happened"


def _watched_by(office: DocxworldOffice) -> Any:
    """Return the middleware that shows an office what its portal does."""

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = office.refusal(request)
        if refusal is not None:
            return refusal
        answer = await handler(request)
        office.saw(request, answer)
        if request.path == "/v1/uploads/complete" and answer.status in (200, 400):
            office.saw_completion(json.loads(await request.read()), answer.status)
        return answer

    return watch


@contextmanager
def _small() -> Iterator[None]:
    """Let pages, chunks and blocks be small, and RSA keys be made once per process."""
    keys = cycle(range(RSA_KEYS))
    with (
        patch.object(base, "PAGE_SIZE", PAGE_SIZE),
        patch.object(approvals, "ANOTHER_DECISION", timedelta(hours=2)),
        patch.object(approvals, "DECISION_WAIT", timedelta(hours=6)),
        patch.object(chunks, "SMALLEST_CHUNK_BYTES", SMALLEST_CHUNK),
        patch.object(simulated_uploads, "MIN_PART_BYTES", SMALLEST_CHUNK),
        patch.object(parts, "BLOCK_BYTES", BLOCK),
        patch.object(parts, "GLANCE_SECONDS", GLANCE_SECONDS),
        patch.object(encryption, "generate_private_key", lambda exponent, bits: _rsa_key(next(keys), exponent, bits)),
    ):
        yield


@cache
def _rsa_key(number: int, exponent: int, bits: int) -> rsa.RSAPrivateKey:
    """Return a key; the same in all runs of a process, because a new one takes long."""
    assert number < RSA_KEYS
    return rsa.generate_private_key(exponent, bits)


def _base64(value: bytes) -> str:
    return encryption._b64(value)
