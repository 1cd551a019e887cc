"""Nothing leaks: flows over all four portals, in and out, with canaries for everything secret or personal.

Everything that any of it writes is looked through at DEBUG level: log lines with their fields and tracebacks, metric
lines, events, queue messages, what the ledger says of errors, receipts. What the contract puts somewhere is named.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from amtsbote.observability import CHATTY, log, metrics
from sandbox.portals.altinn import File
from sandbox.portals.digitale_gemeinde import FileShape, Options, SimulatedDigitaleGemeinde
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import SimulatedPortal, serve
from tests.flows.altinn_office import ObservedAltinn
from tests.flows.conftest import LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld
from tests.flows.test_duba_magic_links import FORM
from tests.flows.world import INBOX, LEDGER, Clock
from tests.hostile.canaries import Canaries, spelled
from tests.hostile.server import Bytes, Request, head, hostile_portal

NOT_OURS = ("aiohttp", "asyncio", "moto", "responses", "sandbox", "werkzeug", "faker", "hypothesis")
FAULTS = (Kind.RESET, Kind.SERVER_ERROR, Kind.TRUNCATED_BODY, Kind.HTML_WITH_200, Kind.EXPIRED_TOKEN, Kind.LOST_ANSWER)
DROP_NAME = "name of a dropped file"
"""It is a part of the key, which S3's own event, our events and receipts name (contract, sections 3 and 4)."""


@dataclass
class Heard:
    """What was written during a test, by where it went."""

    places: dict[str, str] = field(default_factory=dict)

    def leaks(self, canaries: Canaries, allowed: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
        """Return which canaries got out, and where."""
        return [
            (place, purpose)
            for place, text in self.places.items()
            for purpose in canaries.found_in(text, allowed.get(place, ()))
        ]


@pytest.fixture
def loud(log_lines: LogLines, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogLines]:
    """Let everything log at DEBUG level that an operator can make log at it, and be heard."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    log.setLevel(logging.DEBUG)
    log_lines.addFilter(lambda record: record.name.split(".")[0] not in NOT_OURS)
    yield log_lines
    root.setLevel(before)
    log.setLevel(logging.INFO)


def heard(world: MortalWorld, lines: LogLines, written: str) -> Heard:
    """Return everything that was written."""
    sent = [(queue, body) for queue, body in world.sqs.sent]
    receipts = [world.content(key).decode() for key in world.inbox_keys("receipts/")]
    rows = world.client("dynamodb").scan(TableName=LEDGER)["Items"]
    errors = [str(row.get(name)) for row in rows for name in ("failure", "reason", "error", "reasons", "history")]
    return Heard(
        {
            "logs": lines.text,
            "metrics": written,
            "events": "\n".join(body for queue, body in sent if queue == "__bus__"),
            "queues": "\n".join(body for queue, body in sent if queue not in ("__bus__", "own")),
            "drops": "\n".join(body for queue, body in sent if queue == "own"),
            "errors in the ledger": "\n".join(errors),
            "receipts": "\n".join(receipts),
        }
    )


def arm(portal: SimulatedPortal) -> None:
    """Let each kind of fault happen a few times, to whatever comes."""
    for kind in FAULTS:
        portal.faults.add(Fault(kind, "* /.*", times=3))


def go_on(world: MortalWorld) -> None:
    """Let the machine work until everything had its chance."""
    for _ in range(12):
        world.later("poll", "acknowledge", "track", hours=1, minutes=20)
    world.services.ledger  # noqa: B018 - the last process is the one that is looked at


# --- the four portals -------------------------------------------------------------------------------------------------


def duba(canaries: Canaries, clock: Clock) -> MortalWorld:
    """Send and receive with DUBA."""
    password = canaries.plant("password")
    portal = SimulatedDuba(username="amtsbote", password=password, clock=clock)
    with serve(portal):
        world = MortalWorld("duba", clock=clock, tries=12)
        world.connect("klinikum", {"baseUrl": portal.base_url, "username": "amtsbote", "password": password})
        for number in range(3):
            portal.add_message(content=canaries.plant(f"content {number}").encode() if number == 2 else None)
        portal.add_message(aktenzeichen=canaries.plant("file number"))
        name = canaries.plant(DROP_NAME)
        person = {"nachname": canaries.plant("surname")}
        form = json.loads(json.dumps(FORM)) | {"kanarienvogel": person}
        world.drop(f"duba/klinikum/BetreuungAnregung/{name}.json", json.dumps(form).encode())
        world.drain()
        for number, link in enumerate(_links(world)):
            canaries.plant(f"magic link {number}", link)
        arm(portal)
        for number, wrong in enumerate(({"jobId": 5} | person, {"jobId": person}, form)):
            world.drop(f"duba/klinikum/BetreuungAnregung/{name}-{number}.json", json.dumps(wrong).encode())
        go_on(world)
    return world


def _links(world: MortalWorld) -> list[str]:
    receipts = [json.loads(world.content(key)) for key in world.inbox_keys("receipts/")]
    return [each["result"]["magicLink"] for each in receipts if each["result"].get("magicLink")]


def municipality(canaries: Canaries, clock: Clock) -> MortalWorld:
    """Send and receive with Digitale-Gemeinde."""
    key = canaries.plant("API key")
    portal = SimulatedDigitaleGemeinde(key, 17, options=Options(file_shape=FileShape.LIST), clock=clock)
    portal.add_form()
    with serve(portal):
        form_id = next(iter(portal.forms))
        scan = (f"{canaries.plant('name of a file')}.pdf", canaries.plant("content").encode(), "application/pdf")
        ids = [portal.add_document(form_id, {"name": canaries.plant("person")}, {"beilage": (scan,)}) for _ in range(2)]
        world = MortalWorld("digitale-gemeinde", clock=clock, tries=12)
        world.connect("stadt", {"baseUrl": portal.base_url, "apiKey": key, "tenantId": 17})
        arm(portal)
        letter = canaries.plant("content of a letter").encode()
        for field_id in ("3", "99"):
            where = f"digitale-gemeinde/stadt/{form_id}/{ids[0]}/{field_id}/{canaries.plant(DROP_NAME)}.pdf"
            world.drop(where, letter)
        world.drop(f"digitale-gemeinde/stadt/{form_id}/{ids[1]}/status.json", canaries.plant("a bad order").encode())
        go_on(world)
        for number, token in enumerate(_tokens(world)):
            canaries.plant(f"token {number}", token)
    return world


def altinn(canaries: Canaries, clock: Clock) -> MortalWorld:
    """Send and receive with Altinn."""
    portal = ObservedAltinn(clock)
    login = portal.known_login()
    canaries.plant("private key", login.private_key.splitlines()[3])
    with serve(portal):
        form = File("model", None, "application/xml", canaries.plant("content").encode())
        file = File("attachment", f"{canaries.plant('name of a file')}.pdf", "application/pdf", b"%PDF")
        instance = portal.submit(form, file)
        portal.submit(form)
        world = MortalWorld("altinn", clock=clock, tries=12)
        world.connect("etat", portal.secret(auth=portal.maskinporten(login)))
        arm(portal)
        name, letter = canaries.plant(DROP_NAME), canaries.plant("content of a letter").encode()
        for kind in ("attachment", "unsinn"):
            world.drop(f"altinn/etat/org/app/{instance.id}/{kind}/{name}.pdf", letter, {"process-next": "true"})
        template = {"instanceOwner": {"personNumber": canaries.plant("number of a person")}}
        for body in (json.dumps(template), canaries.plant("a bad template")):
            world.drop(f"altinn/etat/org/app/{name}-{len(body)}.instance.json", body.encode())
        go_on(world)
        for number, token in enumerate(_tokens(world)):
            canaries.plant(f"token {number}", token)
    return world


def docxworld(canaries: Canaries, clock: Clock) -> MortalWorld:
    """Send and receive with docxworld."""
    portal = ObservedDocxworld(clock)
    password = canaries.plant("password")
    user = portal.add_user("kanarie@klinikum.example", password, name=canaries.plant("person"))
    user.targets = portal.user.targets
    links: list[str] = []
    with serve(portal):
        secret = portal.secret()
        secret["auth"] |= {"username": canaries.plant("user", "kanarie@klinikum.example"), "password": password}
        content, name = canaries.plant("content").encode(), canaries.plant("name of a file")
        for number in range(3):
            portal.add_download(portal.letters, content, file_name=f"{name}-{number}.pdf")
        world = MortalWorld("docxworld", clock=clock, tries=12)
        world.connect("klinikum", secret)
        arm(portal)
        name, letter = canaries.plant(DROP_NAME), canaries.plant("content of a letter").encode()
        metadata = {"reference-id": canaries.plant("reference"), "customer-reference-1": canaries.plant("case")}
        for target in (portal.letters.id, "00000000-1111-2222-3333-444444444444", "NIRGENDWO"):
            world.drop(f"docxworld/klinikum/{target}/{name}.pdf", letter, metadata)
        world.drop(f"docxworld/klinikum/{portal.letters.id}/{name}-gross.pdf", letter * 300_000, metadata)
        go_on(world)
        links = [value for asked in portal.requests for part, value in asked.query if part == "X-Amz-Signature"]
        for number, token in enumerate(_tokens(world)):
            canaries.plant(f"token {number}", token)
    for number, link in enumerate(dict.fromkeys(links)):
        canaries.plant(f"signature of a presigned link {number}", link)
    portal.close()
    return world


def _tokens(world: MortalWorld) -> list[str]:
    """Return the tokens that the last process holds."""
    return [token.value for token in world.services.tokens._tokens.values()]


FLOWS: dict[str, Callable[[Canaries, Clock], MortalWorld]] = {
    "duba": duba,
    "digitale-gemeinde": municipality,
    "altinn": altinn,
    "docxworld": docxworld,
}


SPECIAL = {
    "duba": {"password", "magic link"},
    "digitale-gemeinde": {"API key", "token"},
    "altinn": {"private key", "token"},
    "docxworld": {"password", "token", "signature of a presigned link"},
}
"""What only a flow that goes through brings about, beside what opens it."""
CONNECTIONS = {"duba": {"klinikum"}, "digitale-gemeinde": {"stadt"}, "altinn": {"etat"}, "docxworld": {"klinikum"}}


@pytest.mark.parametrize("portal", FLOWS)
def test_nothing_secret_or_personal_gets_out(
    portal: str, clock: Clock, loud: LogLines, capsys: pytest.CaptureFixture[str]
) -> None:
    canaries = Canaries()
    world = FLOWS[portal](canaries, clock)
    metrics.flush_metrics()
    said = heard(world, loud, capsys.readouterr().out)
    magic = tuple(f"magic link {number}" for number in range(9))
    references = ("reference", "case")
    allowed = {
        "events": (DROP_NAME,),
        "drops": (DROP_NAME,),
        "receipts": (DROP_NAME, *magic, *references),
    }
    leaks = said.leaks(canaries, allowed)
    assert SPECIAL[portal] <= {purpose.rstrip(" 0123456789") for purpose in canaries.purposes}, "the flow went through"
    assert world.received(next(iter(CONNECTIONS[portal]))), "and so did the other direction"
    assert all(said.places[place] for place in ("logs", "metrics", "events", "queues", "drops", "receipts"))
    assert leaks == []
    read = sum(map(len, said.places.values()))
    print(f"{portal}: {len(canaries)} canaries, {canaries.spellings} spellings, {read} characters read, 0 found")  # noqa: T201


# --- a portal that says back what it hears ----------------------------------------------------------------------------

STATUSES = (200, 302, 400, 401, 403, 404, 409, 415, 422, 429, 500, 503)


def echo(status: int) -> Callable[[Request], Bytes]:
    """Say everything back that was heard, wherever an answer has room for it."""

    def behaviour(request: Request) -> Bytes:
        if request.line.split()[1].startswith(("/token", "/Token")):
            body = json.dumps({"access_token": "kanarientoken", "token": "kanarientoken", "expires_in": 60}).encode()
            return [head(Content_Length=str(len(body)), Content_Type="application/json") + body]
        secret = request.headers.get("authorization", "") or str(request.headers)
        words = f"{secret} {request.body[:500].decode('latin-1')} {request.line}"
        names = ("error", "message", "detail", "title", "messageCode", "code", "description", "__type", "status")
        body = json.dumps({**dict.fromkeys(names, words), "errors": [words]}).encode()
        plain = words.replace("\r", " ").replace("\n", " ").replace("/", "-")[:200]
        reason, kind = f"{status} {plain}", f"application/{plain.replace(' ', '-')}"
        more = {"X-Echo": plain, "Location": f"https://evil.example/?{plain}", "Retry-After": plain, "ETag": plain}
        return [head(reason, Content_Length=str(len(body)), Content_Type=kind, **more) + body]

    return behaviour


@pytest.mark.parametrize("portal", FLOWS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_portal_that_says_back_what_it_hears_is_not_quoted(
    portal: str, status: int, clock: Clock, loud: LogLines, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.hostile.test_answers import secret_of

    canaries = Canaries()
    canaries.plant("token", "kanarientoken")
    with hostile_portal(echo(status)) as hostile:
        text = json.dumps(secret_of(portal, hostile.url)).replace("geheim", canaries.plant("password or key"))
        secret = json.loads(text)
        if portal == "docxworld":
            secret["uploader"] = {}
            secret["auth"]["clientSecret"] = canaries.plant("client secret")
        world = MortalWorld(portal, clock=clock, tries=2)
        world.connect("klinikum", secret)
        letter = canaries.plant("content").encode()
        keys = {
            "duba": "duba/klinikum/BetreuungAnregung/a.json",
            "digitale-gemeinde": "digitale-gemeinde/klinikum/f/d/3/a.pdf",
            "altinn": "altinn/klinikum/org/app/1/0c1b54f2/attachment/a.pdf",
            "docxworld": "docxworld/klinikum/00000000-1111-2222-3333-444444444444/a.pdf",
        }
        content = json.dumps({"jobId": letter.decode()}).encode() if portal == "duba" else letter
        world.drop(keys[portal], content)
        world.later("poll", "track", rounds=2, hours=2)
        assert hostile.asked
    metrics.flush_metrics()
    said = heard(world, loud, capsys.readouterr().out)
    words = ("content", "password or key") if portal == "duba" else ("content",)  # see docs/security.md
    allowed = {"receipts": words, "errors in the ledger": words}
    assert said.leaks(canaries, allowed) == []


# --- the tests can fail -----------------------------------------------------------------------------------------------


def test_a_canary_is_found_in_every_spelling() -> None:
    import base64
    from urllib.parse import quote

    canaries = Canaries()
    value = canaries.plant("password", "Käthe & Söhne/ÄÖ?4711")
    hidden = [value, quote(value, safe=""), value.encode().hex(), json.dumps(value)[1:-1]]
    hidden += [
        base64.b64encode(f"{'x' * number}{value}{'y' * more}".encode()).decode()
        for number in range(6)
        for more in range(6)
    ]
    hidden += [base64.urlsafe_b64encode(f"amtsbote:{value}".encode()).decode()]
    assert [canaries.found_in(f"… {each} …") for each in hidden] == [["password"]] * len(hidden)
    assert canaries.found_in("nothing of it") == []
    assert all(len(spelling) > 8 for spelling in spelled(value))


@pytest.mark.parametrize("name", CHATTY)
def test_the_libraries_below_say_nothing_whatever_the_level(name: str, loud: LogLines) -> None:
    for logger in (name, f"{name}.connectionpool", f"{name}.parsers"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(logger).log(level, "kanarienvogel")
    assert "kanarienvogel" not in loud.text
    assert INBOX
