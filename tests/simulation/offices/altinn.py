"""An owner of apps at Altinn: forms that come late, grow or go, viruses, letters, moved processes, new forms."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cache, partial
from typing import Any
from unittest.mock import patch

from aiohttp import web
from aiohttp.typedefs import Handler

from amtsbote.portals.altinn import login
from amtsbote.portals.altinn.connection import Maskinporten
from sandbox.portals.altinn import (
    PROPOSAL,
    READ,
    V1,
    WRITE,
    DataType,
    File,
    Instance,
    Issue,
    SimulatedAltinn,
    Task,
    new_key_pair,
)
from tests.simulation.boundary import Stroke
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
STRANGER = "http://127.0.0.99:9"
ETAT, ORG = "etat", "org"
MAIN, SECOND, NOT_OURS, FOREIGN = "org/app", "org/second", "org/other", "fremd/app"
TASK_1, TASK_2, TASK_3 = "Task_1", "Task_2", "Task_3"
BEARER, NEXT_BEARER = "kanarienvogel-token", "kanarienvogel-token-2"
CLIENT = "amtsbote"
PERSON = "Kanarienvogel-Person"
PDF = "application/pdf"
PAGE_SIZE = 2
FILE_BYTES = (120, 400)  # more than a maintenance page has: Altinn gives no hash, and one just as long would pass
ABSENT = frozenset({"absent"})
LEFT = timedelta(minutes=5)

DATA_TYPES = (
    DataType("model", ("application/xml", "application/json"), max_count=1, class_ref="Skjema"),
    DataType("attachment"),
    DataType("ref-data-as-pdf", (PDF,)),
    DataType("tiny", max_megabytes=0),
)
BRANCHES = (Task(TASK_1, "Utfylling", leads_to=(TASK_2, TASK_3)), Task(TASK_2, "A", "confirmation"), Task(TASK_3, "B"))
NAMES = (
    None,
    "",
    "Vedlegg.pdf",
    f"S\u00f8knad \u201e{PERSON}\u201c.pdf",
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "..",
    "document.json",
    "instance.json",
    "linje\r\nX-Ond: ja.txt",
    "\u202egpj.exe",
    "A\u030asen.txt",
    "langt navn " * 30 + ".pdf",
)
LETTERS = ("vedtak.pdf", "Vedtak \u00e6\u00f8\u00e5.pdf", "A\u030asen + 100 %.pdf", 'sa "ja"; x=y.pdf')

INSTANCE = re.compile(r"/(?:storage(?:/api/v1)?|(\w+/\w+))/instances/(\d+/[^/]+)(/.*)?")
LIST = re.compile(r"/storage(/api/v1)?/instances")
UNSETTLING = {Stroke.PORTAL_TOKEN_EXPIRED, Stroke.STALLS}  # after a stall a signed assertion is too old
REFUSALS = {Stroke.PORTAL_429, Stroke.PORTAL_TOKEN_EXPIRED}
CONFIRMATIONS = {"/complete", "/dataelements/confirmDownload"}


class AltinnOffice(Office):
    """One organisation with two apps, of which one or both are connected, beside others that are none of ours."""

    name = "altinn"

    @classmethod
    def conditions(cls) -> AbstractContextManager[Any]:
        """Let a private key be read once: that takes longer than all the rest of a run."""
        return patch.object(login, "_key_of", _read_key)

    def open(self) -> None:
        """Set apps, login and forms up by chance."""
        chance = self.chance
        self._dialect = chance.one_of((V1, V1, PROPOSAL))
        self._task = chance.one_of((None, None, TASK_2))
        self._begin_records()
        self.altinn = SimulatedAltinn(dialect=self._dialect, page_size=PAGE_SIZE, clock=self.clock)
        self.altinn.middlewares.append(_watched_by(self))
        self.serve(self.altinn, HOST)
        self._add_apps()
        self._log_in()
        self._fill()
        self._things_happen()

    def _begin_records(self) -> None:
        self._served: dict[str, list[bytes]] = defaultdict(list)
        self._held: dict[str, set[bytes]] = defaultdict(set)
        self._confirmed: set[str] = set()
        self._refuse_once: set[str] = set()
        self._changing: set[str] = set()
        self._not_ours: set[str] = set()
        self._wanted_steps: Counter[str] = Counter()
        self._wanted_parts: dict[str, list[bytes]] = {}
        self._wrongs: list[str] = []

    def _add_apps(self) -> None:
        chance = self.chance
        self.altinn.add_app(MAIN, data_types=DATA_TYPES)
        self._second = self.altinn.add_app(SECOND, data_types=DATA_TYPES, tasks=BRANCHES)
        self._second.may_complete = chance.happens(0.7)
        self._apps = chance.one_of(((MAIN,), (MAIN, SECOND), (SECOND, MAIN), (MAIN, SECOND, MAIN)))
        for app in (NOT_OURS, FOREIGN):
            for _ in range(chance.number(0, 2)):
                self._not_ours.add(self.altinn.add_instance(app, files=[_form(0)], task=self._task or TASK_1).id)

    # --- the account -------------------------------------------------------------------------------------------------

    def _log_in(self) -> None:
        chance = self.chance
        self.secrets = (BEARER, NEXT_BEARER, PERSON)
        self._policy = chance.one_of(("stored", "stored", "stored", "processed", "never"))
        self._with_key = chance.happens(0.5)
        identities = self.altinn.identities
        identities.altinn_seconds = chance.one_of((1800.0, 300.0, 70.0))
        identities.maskinporten_seconds = chance.one_of((120.0, 20.0))
        self._let_in(0)
        self._credentials = 0
        self._astray = False
        self.connect(ETAT, self._secret())

    def _let_in(self, number: int) -> None:
        """Let the portal know the credentials of this number, and no others."""
        if self._with_key:
            private, public = _key_pair(number)
            self.altinn.add_client(CLIENT, ORG, (READ, WRITE), {f"key-{number}": public})
            self.secrets += tuple(private.splitlines()[1:3])
        else:
            for token in (BEARER, NEXT_BEARER):
                self.altinn.revoke_bearer(token)
            self.altinn.add_bearer((BEARER, NEXT_BEARER)[number], ORG)

    def _secret(self, **more: Any) -> dict[str, Any]:
        altinn, number = self.altinn, self._credentials
        auth: dict[str, Any] = {"kind": "bearer", "token": (BEARER, NEXT_BEARER)[number]}
        if self._with_key:
            key = {"clientId": CLIENT, "keyId": f"key-{number}", "privateKey": _key_pair(number)[0]}
            urls = {"tokenUrl": altinn.token_url, "audience": altinn.audience, "exchangeUrl": altinn.exchange_url}
            auth = {"kind": "maskinporten", "scopes": [READ, WRITE], **key, **urls}
        where = {"storageUrl": altinn.storage_url, "appsUrl": altinn.apps_url, "dialect": self._dialect}
        what = {"apps": list(self._apps), "currentTask": self._task, "acknowledge": self._policy}
        return {**where, **what, "auth": auth, **more}

    def _things_happen(self) -> None:
        chance = self.chance
        if chance.happens(0.25):
            self._change_credentials()
        if chance.happens(0.25):
            self._pause()
        if chance.happens(0.1):
            self._lead_astray()
        for _ in range(chance.number(0, 2)):
            self.happens("all tokens end", self.at_some_time(), self.altinn.expire_tokens)
        if chance.happens(0.4):
            self.altinn.after_each_page(self._touch_one)

    def _change_credentials(self) -> None:
        at = self.at_some_time()

        def in_the_secret() -> None:
            self._credentials = 1
            self.connect(ETAT, self._secret())

        self.happens("other credentials are good at the portal", at, lambda: self._let_in(1))
        if self.chance.happens(0.5):
            self.happens("and the tokens of the old ones are not", at, self.altinn.expire_tokens)
        self.happens("they are in the secret", at + self.chance.between(0, 600), in_the_secret)

    def _pause(self) -> None:
        at = self.at_some_time()
        self.happens("the connection is paused", at, lambda: self.connect(ETAT, self._secret(enabled=False)))
        self.happens("the connection goes on", at + 3000, lambda: self.connect(ETAT, self._secret()))

    def _lead_astray(self) -> None:
        """Let next pages lie elsewhere for a while; a request that goes there is a defect to the machine."""
        at, self._astray = self.at_some_time(), True
        self.happens("next pages lead to a stranger", at, lambda: self.altinn.lead_next_to(STRANGER))
        self.happens("next pages are here again", at + 600, lambda: self.altinn.lead_next_to(None))

    def _touch_one(self) -> None:
        """Change a row while the list is read: it moves to the end, and is listed twice."""
        here = [each for each in self.items if each[1] in self.altinn.world.instances]
        if here and self.chance.happens(0.3) and self.clock.seconds() < 3600:
            self.altinn.touch(self.chance.one_of(here)[1])

    # --- forms -------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        chance = self.chance
        kinds: tuple[Callable[[int, float], object], ...] = (
            *(self._plain,) * 4,
            self._late,
            self._at_the_end,
            self._in_the_bin,
            self._empty,
            self._deleted_before,
            self._deleted_later,
            self._purged,
            self._confirmed_before,
            self._migrated,
            self._scanned,
            self._infected,
            self._of_another_size,
            self._growing,
            self._shrinking,
            self._ack_fails_once,
            self._handed_in_later,
            self._moved_by_people,
        )
        for number in range(1, chance.number(2, 9) + 1):
            chance.one_of(kinds)(number, self.at_some_time() if chance.happens(0.6) else 0.0)
        for number in range(chance.number(0, 4)):
            chance.one_of(self._drop_kinds())(number)

    def _end(self, app: str) -> frozenset[str]:
        """Return the end of a form with which nothing is wrong, but that the policy of its app may forbid."""
        forbidden = self._dialect == V1 and app == SECOND and not self._second.may_complete
        return UNAVAILABLE if forbidden and self._policy != "never" else self.end_of(ETAT)

    def _app(self) -> str:
        return self.chance.one_of(self._apps)

    def _files(self, number: int) -> list[File]:
        files = [_form(number)] if self.chance.happens(0.7) else []
        for place in range(self.chance.number(0 if files else 1, 3)):
            content = f"%PDF-1.7 {number}.{place} ".encode() + self.chance.bytes(self.chance.number(*FILE_BYTES))
            files.append(File("attachment", self.chance.one_of(NAMES), PDF, content))
        return files

    def _add(self, app: str, files: Iterable[File], ends: frozenset[str], story: str, **more: Any) -> Instance:
        more.setdefault("task", self._task or self.chance.one_of((TASK_1, TASK_2)))
        instance = self.altinn.add_instance(app, self.chance.number(50001, 50003), files, **more)
        self._note(instance)
        self.machine.tell(f"  ({instance.id} {story})")
        if app in self._apps:
            self.expect(ETAT, instance.id, ends, story)
        return instance

    def _note(self, instance: Instance) -> None:
        """Remember which bytes each data element has ever had."""
        for element in instance.elements.values():
            assert isinstance(element.content, bytes)
            self._held[element.id].add(element.content)

    def _arrive(
        self,
        number: int,
        seconds: float,
        story: str,
        ends: frozenset[str] | None = None,
        then: Callable[[Instance], object] = lambda _: None,
        files: Iterable[File] | None = None,
        **more: Any,
    ) -> None:
        """Let a form come; `then` is done with it at once."""
        app, given = self._app(), self._files(number) if files is None else files
        awaited = self._end(app) if ends is None else ends
        self.happens(
            f"form {number} comes, {story}", seconds, lambda: then(self._add(app, given, awaited, story, **more))
        )

    def _later(
        self, story: str, low: float, high: float, do: Callable[[Instance], object]
    ) -> Callable[[Instance], None]:
        """Return what lets something happen to a form some time after it came, if it is still there."""
        pause = self.chance.between(low, high)

        def after(instance: Instance) -> None:
            def now() -> None:
                if instance.id in self.altinn.world.instances:
                    do(instance)

            self.happens(f"{instance.id} {story}", self.clock.seconds() + pause, now)

        return after

    def _plain(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "plain")

    def _late(self, number: int, seconds: float) -> None:
        age = timedelta(hours=self.chance.between(0, 46))
        self._arrive(number, seconds, "visible late", created=self.clock() - age)

    def _at_the_end(self, number: int, seconds: float) -> None:
        ends = ABSENT if self._task else None  # the list of a task has none whose process has ended
        self._arrive(number, seconds, "ended", ends, ended=True)

    def _in_the_bin(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "deleted softly, which can be taken back", soft_deleted=True)

    def _empty(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "without files", files=())

    def _deleted_before(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "deleted before it came", ABSENT, hard_deleted=True)

    def _gone_ends(self) -> frozenset[str]:
        """Return how a form may end that goes away: before it was listed, before it was fetched, or after that."""
        return ACKNOWLEDGED | STORED | UNAVAILABLE | ABSENT

    def _deleted_later(self, number: int, seconds: float) -> None:
        delete = self._later("is deleted", 1, 600, lambda instance: self.altinn.world.delete(instance, hard=True))
        self._arrive(number, seconds, "deleted for good by its owner", self._gone_ends(), delete)

    def _purged(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "gone", self._gone_ends(), self._later("is gone", 1, 600, self.altinn.purge))

    def _confirmed_before(self, number: int, seconds: float) -> None:
        def confirm(instance: Instance) -> None:
            for element in instance.elements.values():
                element.confirmed.append(self.clock())

        self._arrive(number, seconds, "confirmed before", ABSENT, confirm, confirmed=True)

    def _migrated(self, number: int, seconds: float) -> None:
        ends = None if self._dialect == PROPOSAL else ABSENT  # today's list leaves out what older Altinns had
        self._arrive(number, seconds, "of an older Altinn", ends, main_version=2)

    def _scanned(self, number: int, seconds: float) -> None:
        files = [_form(number), _scanned_file(number, "Pending")]
        clean = self._later("is found clean", 10, 2400, lambda each: self.altinn.set_scan_result(each, "Clean"))
        self._arrive(number, seconds, "scanned for a while", None, clean, files)

    def _infected(self, number: int, seconds: float) -> None:
        at_once = self.chance.happens(0.5)
        files = [_form(number), _scanned_file(number, "Infected" if at_once else "Pending")]
        found = self._later("is found infected", 10, 2400, lambda each: self.altinn.set_scan_result(each, "Infected"))
        ends = None if self._dialect == PROPOSAL else QUARANTINED  # the proposal knows of no scan
        self._arrive(number, seconds, "infected", ends, (lambda _: None) if at_once else found, files)

    def _of_another_size(self, number: int, seconds: float) -> None:
        def announce(instance: Instance) -> None:
            element = self.chance.one_of(list(instance.elements.values()))
            element.announced_size = element.size + self.chance.one_of((-1, 1, 1000))

        self._arrive(number, seconds, "of another size than its record says", QUARANTINED, announce)

    def _growing(self, number: int, seconds: float) -> None:
        """A draft whose user adds a file and sends another version of one, perhaps while it is fetched."""

        def grow(instance: Instance) -> None:
            element = self.chance.one_of(list(instance.elements.values()))
            element.content, element.last_changed = b"%PDF-1.7 " + self.chance.bytes(40), self.clock()
            self.altinn.add_element(instance, File("attachment", "mer.pdf", PDF, f"mer {number}".encode()))
            self._note(instance)

        self._arrive(number, seconds, "changed by its user", None, self._changed(self._later("grows", 1, 900, grow)))

    def _shrinking(self, number: int, seconds: float) -> None:
        """A draft whose user takes a file back; what was listed and is not there comes again an hour later."""

        def shrink(instance: Instance) -> None:
            self.altinn.world.remove(instance, self.chance.one_of(list(instance.elements.values())))

        then = self._changed(self._later("loses a file", 1, 900, shrink))
        self._arrive(number, seconds, "less by a file", None, then)

    def _changed(self, then: Callable[[Instance], None]) -> Callable[[Instance], None]:
        def changed(instance: Instance) -> None:
            self._changing.add(instance.id)
            then(instance)

        return changed

    def _ack_fails_once(self, number: int, seconds: float) -> None:
        self._arrive(number, seconds, "acknowledgement fails once", None, lambda each: self._refuse_once.add(each.id))

    def _handed_in_later(self, number: int, seconds: float) -> None:
        hand_in = self._later("is handed in", 10, 1800, partial(self._move, target=TASK_2))
        self._arrive(number, seconds, "a draft for a while", None, hand_in, task=TASK_1)

    def _moved_by_people(self, number: int, seconds: float) -> None:
        """A form that leaves its task: nobody lists it any more where one task is wanted."""
        ends = self._end_of_what_moves if self._task else None
        move = self._later("is done", 1, 600, partial(self._move, target="EndEvent_1"))
        app = self._app()
        known = self._end(app) if ends is None else ends(app)
        self.happens(
            f"form {number} comes, and will be moved on",
            seconds,
            lambda: move(self._add(app, self._files(number), known, "moved on by people")),
        )

    def _end_of_what_moves(self, app: str) -> frozenset[str]:
        return self._end(app) | ABSENT

    def _move(self, instance: Instance, target: str) -> None:
        self.altinn.world.enter(instance, target, self.clock())
        self.altinn.touch(instance)

    # --- drops -------------------------------------------------------------------------------------------------------

    def _drop_kinds(self) -> tuple[Callable[[int], object], ...]:
        return (
            *(self._letter,) * 3,
            *(self._letter_that_moves_on,) * 2,
            self._two_letters,
            self._wrong_letter,
            self._letter_to_nowhere,
            self._letter_to_what_has_not_begun,
            self._letter_that_cannot_move_on,
            self._form_for_a_citizen,
            self._form_for_a_citizen,
            self._wrong_form,
        )

    def _target(self, story: str, app: str = MAIN, **more: Any) -> Instance:
        """Add a form that something will be sent to; it is one of ours like every other."""
        more.setdefault("task", TASK_1)
        instance = self._add(app, [_form(99)], frozenset(), story, **more)
        self._changing.add(instance.id)
        self._await(instance)
        return instance

    def _await(self, instance: Instance) -> None:
        """Say how a form ends whose process is moved on: as any other once it is, or was, at the task."""
        item = self.items.get((ETAT, instance.id))
        if item is None:
            return
        task = instance.process.task.id if instance.process.task else None
        if self._task in (None, task):
            item.ends = self._end(instance.app.id)
        else:
            item.ends = item.ends | ABSENT

    def _key(self, instance: Instance | str, data_type: str, name: str, app: str = MAIN) -> str:
        id_ = instance if isinstance(instance, str) else instance.id
        return f"altinn/{ETAT}/{app}/{id_}/{data_type}/{name}"

    def _send(self, key: str, body: bytes, story: str, metadata: dict[str, str] | None = None, **more: Any) -> None:
        self.drop(self.at_some_time(), key, body, metadata, story=story, **more)

    def _fails(self, key: str, body: bytes, story: str, code: str, metadata: dict[str, str] | None = None) -> None:
        """Drop what the portal can never take: at most none of it arrives."""
        codes = frozenset({code})
        self._send(key, body, story, metadata, ends=frozenset({"FAILED"}), codes=codes, at_most=0)

    def _letter(self, number: int) -> None:
        name = self.chance.one_of(LETTERS)
        self._send(self._key(self._target("gets a letter"), "attachment", name), _pdf(number), "a letter")

    def _two_letters(self, number: int) -> None:
        """Two versions of one key, of one size: neither may be taken for the other."""
        key = self._key(self._target("gets two letters"), "attachment", "to.pdf")
        self._send(key, _pdf(number, b"1"), "the first version")
        self._send(key, _pdf(number, b"2"), "the second version")

    def _letter_that_moves_on(self, number: int) -> None:
        app = SECOND if SECOND in self._apps and self.chance.happens(0.3) else MAIN
        target = self._target("gets a letter and moves on", app)
        self._wanted_steps[target.id] += 1
        if self.chance.happens(0.3):
            self.altinn.lock_instance(target, times=self.chance.number(1, 4), status=self.chance.one_of((409, 423)))
        ends, codes = frozenset({"DELIVERED"}), frozenset[str]()
        if app == SECOND and self._dialect == PROPOSAL:  # the letter is there, and a person has to choose
            ends, codes = frozenset({"FAILED"}), frozenset({"PROCESS_BRANCHES"})
        key = self._key(target, "attachment", "videre.pdf", app)
        self._send(key, _pdf(number), "moves on", {"process-next": "true"}, ends=ends, codes=codes)

    def _letter_that_cannot_move_on(self, number: int) -> None:
        """The letter itself arrives; only the task cannot be ended, and the words name a person."""
        target = self._target("cannot move on")
        self.altinn.set_issues(target, [Issue("MANGLER", f"{PERSON} mangler")])
        failed, codes = frozenset({"FAILED"}), frozenset({"VALIDATION_FAILED"})
        key = self._key(target, "attachment", "stopp.pdf")
        self._send(key, _pdf(number), "cannot move on", {"process-next": "True"}, ends=failed, codes=codes)

    def _letter_to_what_has_not_begun(self, number: int) -> None:
        target = self._target("has not begun", task=None)
        self._send(self._key(target, "attachment", "tidlig.pdf"), _pdf(number), "early")

        def begin() -> None:
            self.altinn.world.start(target)
            self._await(target)

        self.happens(f"{target.id} begins", self.chance.between(300, 2400), begin)

    def _wrong_letter(self, number: int) -> None:
        story, data_type, body, code = self.chance.one_of(
            (
                ("no such data type", "ukjent", _pdf(number), "REFUSED"),
                ("no PDF", "ref-data-as-pdf", _pdf(number), "VALIDATION_FAILED"),
                ("empty", "attachment", b"", "VALIDATION_FAILED"),
                ("too large", "tiny", _pdf(number), "TOO_LARGE"),
                ("neither true nor false", "attachment", _pdf(number), "METADATA_INVALID"),
            )
        )
        metadata = {"process-next": "kanskje"} if code == "METADATA_INVALID" else {}
        self._fails(self._key(self._target("gets nothing"), data_type, "feil.pdf"), body, story, code, metadata)

    def _letter_to_nowhere(self, number: int) -> None:
        ended = self._target("has ended", task=None, ended=True)
        other = self._target("of the other app", SECOND)
        keys = (
            ("no such form", self._key("50001/00000000-0000-0000-0000-000000000000", "attachment", "x"), "NOT_FOUND"),
            ("ended", self._key(ended, "attachment", "sent.pdf"), "PROCESS_ENDED"),
            ("of another app", self._key(other, "attachment", "x.pdf"), "APP_DIFFERS"),
            ("no app of ours", self._key(other, "attachment", "x.pdf", NOT_OURS), "APP_UNKNOWN"),
            ("no rule", f"altinn/{ETAT}/{MAIN}/x.json", "KEY_FITS_NO_RULE"),
            ("no connection", "altinn/annen/org/app/x.instance.json", "UNKNOWN_CONNECTION"),
            ("no id", self._key("50001/..", "attachment", "x.pdf"), "WRONG_ID"),
        )
        story, key, code = self.chance.one_of(keys)
        self._fails(key, _pdf(number), story, code)

    def _form_for_a_citizen(self, number: int) -> None:
        """A template, perhaps in two versions; whether it came to something cannot be looked up after a lost answer."""
        key = f"altinn/{ETAT}/{MAIN}/{number}.instance.json"
        for version in range(self.chance.one_of((1, 1, 2))):
            body = self._template(f"{PERSON} {number}.{version}")
            ends, codes = frozenset({"DELIVERED", "FAILED"}), frozenset({"OUTCOME_UNKNOWN"})
            self._send(key, body, "a form for a citizen", ends=ends, codes=codes)

    def _template(self, title: str) -> bytes:
        owner = self.chance.one_of(({"partyId": "50077"}, {"organisationNumber": "910441205"}))
        template: dict[str, Any] = {"instanceOwner": owner, "title": {"nb": title}, "dueBefore": "2026-06-01T12:00:00Z"}
        self._wanted_parts[title] = []
        if self.chance.happens(0.3):
            template["appId"] = MAIN
        if self.chance.happens(0.5):
            return json.dumps(template).encode()
        form, letter = f"<skjema>{title} \u00e6</skjema>", _pdf(7)
        self._wanted_parts[title] = [form.encode(), letter]
        pdf = {"contentType": PDF, "fileName": "\u00c5pning.pdf", "base64": base64.b64encode(letter).decode()}
        data = [
            {"dataType": "model", "contentType": "application/xml", "text": form},
            {"dataType": "attachment", **pdf},
        ]
        return json.dumps({"instance": template, "data": data}).encode()

    def _wrong_form(self, number: int) -> None:
        owned: dict[str, Any] = {"instanceOwner": {"partyId": "50077"}}
        text = {"contentType": "text/plain", "text": "hei"}
        unknown, wrong = ({"instance": owned, "data": [{"dataType": kind, **text}]} for kind in ("ukjent", "model"))
        kinds: tuple[tuple[str, bytes | dict[str, Any], str], ...] = (
            ("no JSON", b"{", "TEMPLATE_INVALID"),
            ("a list", b"[]", "TEMPLATE_INVALID"),
            ("of another app", {**owned, "appId": SECOND}, "TEMPLATE_INVALID"),
            ("nobody's", {"title": {"nb": "x"}}, "REFUSED"),
            ("with an unknown part", unknown, "REFUSED"),
            ("with a wrong part", wrong, "VALIDATION_FAILED"),
        )
        story, body, code = self.chance.one_of(kinds)
        key = f"altinn/{ETAT}/{MAIN}/feil-{number}.instance.json"
        codes = frozenset({code} if code == "TEMPLATE_INVALID" else {code, "OUTCOME_UNKNOWN"})
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._send(key, sent, story, ends=frozenset({"FAILED"}), codes=codes, at_most=0)

    # --- what the portal sees ----------------------------------------------------------------------------------------

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer that keeps a request from having an effect, None where it goes its way."""
        id_, rest = _parts_of(request.path)
        if id_ in self._not_ours:
            self._wrongs.append(f"{request.method} of a form that is none of ours")
        self._look_at_download(id_, rest)
        if rest in CONFIRMATIONS and id_ in self._refuse_once:
            self._refuse_once.discard(id_)
            return web.Response(status=self.chance.one_of((500, 409, 423)))
        return None

    def _look_at_download(self, id_: str, rest: str) -> None:
        instance = self.altinn.world.instances.get(id_)
        element = instance.elements.get(rest.removeprefix("/data/")) if instance else None
        if self._dialect == V1 and element is not None and element.scan_result in ("Pending", "Infected"):
            self._wrongs.append(f"a file was read whose scan is {element.scan_result}")

    def saw(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Take note of what a request has come to at the portal."""
        id_, rest = _parts_of(request.path)
        if LIST.fullmatch(request.path) and answer.status not in (200, 401):
            self._wrongs.append(f"a query was answered {answer.status}")
        if answer.status >= 300:
            return
        body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
        if request.path.startswith(("/maskinporten", "/authentication")):
            self._issued(json.loads(body))
        elif (request.method, rest) == ("GET", "") and request.path.startswith("/storage") and id_:
            self._served[id_].append(body)
        elif rest in CONFIRMATIONS:
            self._confirmed.add(id_)
        elif request.method in ("POST", "PUT"):
            self._written(id_ or str(json.loads(body)["id"]), is_new=not id_)

    def _issued(self, said: Any) -> None:
        self.secrets += (said if isinstance(said, str) else str(said["access_token"]),)

    def _written(self, id_: str, *, is_new: bool) -> None:
        instance = self.altinn.world.instances[id_]
        self._note(instance)
        if is_new:
            self.expect(ETAT, id_, frozenset(), "made from a template")
        self._await(instance)

    # --- what the judge asks -----------------------------------------------------------------------------------------

    def acknowledged(self) -> Iterable[tuple[str, str]]:
        """The forms that were completed, or whose files were confirmed, in calls that the portal granted."""
        return [(ETAT, id_) for id_ in self._confirmed]

    def is_content(self, item: ExpectedItem, files: Mapping[str, bytes], document: Mapping[str, Any]) -> bool:
        """Compare `instance.json` with what was served, and each file with what its data element held.

        Of a form that is changed while it is fetched in two tries, `instance.json` may be older than the files: what
        is in the inbox is never overwritten. The files are then those of another state that was served.
        """
        listed = document["files"]
        contents = [files[each["key"]] for each in listed]
        states = self._served[item.id] if item.id in self._changing else contents[:1]
        return (
            contents[0] in self._served[item.id]
            and listed[0]["name"] == "instance.json"
            and document["metadata"]["id"] == item.id
            and any(self._is_state(listed[1:], contents[1:], state) for state in states)
        )

    def _is_state(self, listed: list[Mapping[str, Any]], contents: list[bytes], state: bytes) -> bool:
        """Return whether these are the files that a form had when it was served so, in their order."""
        elements = json.loads(state)["data"]
        return len(elements) == len(contents) and all(
            file["name"].startswith(f"{element['id']}-")
            and file["portalName"] == element["filename"]
            and file["contentType"] == element["contentType"]
            and content in self._held[element["id"]]
            for element, file, content in zip(elements, listed, contents, strict=True)
        )

    def arrivals(self, drop: ExpectedDrop) -> int:
        """Count the uploads of just these bytes to this form, or the forms made from this template."""
        if drop.key.endswith(".instance.json"):
            title = _title_of(drop.body)
            return sum(title is not None and each.title == {"nb": title} for each in self.altinn.created_instances())
        *_, party, guid, data_type, name = drop.key.split("/")
        return sum(
            (each.instance_id, each.data_type, each.content) == (f"{party}/{guid}", data_type, drop.body)
            and unicodedata.normalize("NFC", each.filename or "") == unicodedata.normalize("NFC", name)
            for each in self.altinn.uploads()
        )

    def complaints(self) -> Iterable[str]:
        """What the portal noticed, and forms, processes and outcomes that are not what was asked for."""
        yield from self._wrongs
        yield from self._wrong_steps()
        yield from self._wrong_forms()
        yield from self._half_confirmed()
        yield from self._needless_failures()
        yield from self._needless_alarms()

    def _wrong_steps(self) -> Iterable[str]:
        for id_, steps in self.altinn.world.steps.items():
            if len(steps) > self._wanted_steps[id_]:
                yield f"{id_} was moved on {len(steps)} times"
        for drop in self.drops:
            id_ = "/".join(drop.key.split("/")[4:6])
            moved = self.altinn.process_steps(id_)
            if drop.story == "moves on" and drop.ends == {"DELIVERED"} and not moved:
                yield f"{id_} was not moved on"

    def _wrong_forms(self) -> Iterable[str]:
        for each in self.altinn.created_instances():
            title = str((each.title or {}).get("nb"))
            held = [element.content for element in each.elements.values()]
            if held[: len(self._wanted_parts.get(title, []))] != self._wanted_parts.get(title):
                yield f"the form {each.id} does not hold what was dropped"

    def _half_confirmed(self) -> Iterable[str]:
        """In the proposal the files are what is confirmed; those that came later need not be."""
        for id_ in self._confirmed - self._changing if self._dialect == PROPOSAL else ():
            instance = self.altinn.world.instances.get(id_)
            if instance and not all(each.confirmed for each in instance.elements.values()):
                yield f"{id_} is confirmed in part"

    def _needless_failures(self) -> Iterable[str]:
        """An unknown outcome has a cause: who was refused, or not struck at all, knows what has become of it."""
        if any(process == "deliver" and each not in REFUSALS for process, each in self.machine.boundary.tally.struck):
            return
        for drop in self.drops:
            row = self.machine.lived.get((f"DROP#outbox/{drop.key}", drop.version), {})
            if "failure" in row and row["failure"]["M"]["code"]["S"] == "OUTCOME_UNKNOWN":
                yield f"{drop.key}: an unknown outcome, and nothing had happened"

    def _needless_alarms(self) -> Iterable[str]:
        """Tokens that end are bought anew: who has the right credentials is never unhealthy for that."""
        struck = {each for _, each in self.machine.boundary.tally.struck}
        if self._credentials or self._astray or struck & UNSETTLING:
            return
        for event in self.machine.account.events.published:
            if event.detail_type == "Connection Unhealthy":
                yield f"{event.detail['connection']} was unhealthy, and nothing was wrong"


def _watched_by(office: AltinnOffice) -> Any:
    """Return the middleware that shows an office what its portal does."""

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = office.refusal(request)
        if refusal is not None:
            return refusal
        answer = await handler(request)
        office.saw(request, answer)
        return answer

    return watch


_KEY_OF = login._key_of


@cache
def _read_key(auth: Maskinporten) -> Any:
    """Return a connection's key as the package reads it."""
    return _KEY_OF(auth)


@cache
def _key_pair(number: int) -> tuple[str, str]:
    """Return a private and a public key; the same in all runs of a process, because a new one takes long."""
    assert number in (0, 1)
    return new_key_pair()


def _parts_of(path: str) -> tuple[str, str]:
    """Return the id of the instance that a path is about, and what comes after it; empty where it is about none."""
    found = INSTANCE.fullmatch(path)
    return (found[2], found[3] or "") if found else ("", "")


def _form(number: int) -> File:
    return File("model", None, "application/xml", f"<skjema>{PERSON} {number}</skjema>".encode())


def _scanned_file(number: int, result: str) -> File:
    return File("attachment", "skannet.pdf", PDF, f"%PDF-1.7 skannet {number}".encode(), result)


def _pdf(number: int, version: bytes = b"") -> bytes:
    return b"%PDF-1.7 vedtak " + str(number).encode() + version


def _title_of(body: bytes) -> str | None:
    """Return the title in a template, whichever form it has; None where there is none."""
    try:
        said = json.loads(body)
    except ValueError:
        return None
    template = said.get("instance", said) if isinstance(said, dict) else {}
    return template.get("title", {}).get("nb") if isinstance(template, dict) else None
