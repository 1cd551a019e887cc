"""The simulated portals as one set: where they are, who may log in, which targets there are, and the secrets for them.

`start_all` fills them with a few examples for `make up`; the demo opens the same set and seeds its own scenario.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import boto3
from aiohttp import web
from mypy_boto3_secretsmanager import SecretsManagerClient

from sandbox.portals.altinn import READ, WRITE, File, Login, SimulatedAltinn, Task, new_key_pair
from sandbox.portals.digitale_gemeinde import DEFAULT_FIELDS, FileShape, FormField, Options, SimulatedDigitaleGemeinde
from sandbox.portals.docxworld import Account, Download, Script, SimulatedDocxworld, Step, Target, UploadOptions
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import CONTROL_PREFIX, SimulatedPortal, serve

KLINIKUM, DRUCKSTRASSE, ARCHIV, STADT, ETAT = "klinikum", "druckstrasse", "archiv", "stadt", "etat"
DUBA_LOGIN = ("amtsbote", "ein-Passwort-fuer-DUBA")
USER_LOGIN = ("amtsbote@klinikum.example", "ein-Passwort-fuer-docxworld")
CLIENT_LOGIN = ("druckstrasse-client", "ein-Geheimnis-fuer-docxworld")
ARCHIVE_LOGIN = ("archiv@klinikum.example", "noch-ein-Passwort-fuer-docxworld")
TENANT_ID, TENANT_KEY = 17, "ein-Schluessel-fuer-die-Stadt"
ALTINN_CLIENT, ALTINN_KEY = "amtsbote-etat", "etat-1"
ROLES = frozenset({"ROLE_CUSTOMER_UPLOADER", "ROLE_CUSTOMER_DOWNLOADER_RESULTS", "ROLE_CUSTOMER_DOWNLOADER_REPORTS"})
APPROVER = "ROLE_CUSTOMER_APPROVER"
SCOPES = ("tower/customer-uploader", "tower/customer-downloader-results", "tower/customer-downloader-reports")

CHUNKED_FROM_BYTES = 10_000_000
MOST_PER_PAGE = 20
EXAMPLE_MESSAGES = 5
EXAMPLE_DOWNLOADS = 4
EXAMPLE_FORMS = 3
EXAMPLE_INSTANCES = 3

WAITING = "WAITING_APPROVAL"
APPROVED: Script = (Step(0, "UPLOADED"), Step(0, WAITING), Step(1.5, "APPROVED"), Step(0.5, "TRANSFERRED"))
REJECTED: Script = (Step(0, "UPLOADED"), Step(0, WAITING), Step(1.5, "REJECTED", message="Briefkopf veraltet"))
HELD: Script = (Step(0, "UPLOADED"), Step(0, WAITING), Step(0.5, "TRANSFERRED"))
NOT_TRANSFERRED: Script = (Step(0, "UPLOADED"), Step(1, "TRANSFER_FAILED"))


class Embedded(Protocol):
    """What is needed of the embedded AWS."""

    @property
    def endpoint(self) -> str:
        """Where it answers."""

    def session(self) -> boto3.Session:
        """A session with the administrator's keys."""


@dataclass(frozen=True)
class TargetKind:
    """A target as it is set up: whose it is, its workflow's name and abbreviation, what becomes of uploads to it."""

    connection: str
    name: str
    abbreviation: str
    script: Script | None = None


TARGETS = (
    TargetKind(KLINIKUM, "Briefpost", "BRIEF"),
    TargetKind(KLINIKUM, "Freigabepflichtig", "FREIGABE", APPROVED),
    TargetKind(KLINIKUM, "Wird abgelehnt", "ABLEHNUNG", REJECTED),
    TargetKind(KLINIKUM, "Gestört", "STOERUNG", NOT_TRANSFERRED),
    TargetKind(KLINIKUM, "Wartet auf Entscheidung", "ENTSCHEID", HELD),
    TargetKind(KLINIKUM, "Wartet auf Rückruf", "RUECKRUF", HELD),
    TargetKind(DRUCKSTRASSE, "Massendruck", "MASSE"),
    TargetKind(ARCHIV, "Langzeitarchiv", "AKTEN"),
)


@dataclass(frozen=True)
class FormKind:
    """A form of the municipality as it is set up."""

    name: str
    fields: Sequence[FormField] = DEFAULT_FIELDS


FORMS = (FormKind("Wohnsitzbestätigung"), FormKind("Hundesteuer"))

APP = "org/app"
BEING_FILLED_IN, HANDED_IN, IN_WORK = "Task_1", "Task_2", "Task_3"
TASKS = (Task(BEING_FILLED_IN, "Utfylling"), Task(HANDED_IN, "Innsendt"), Task(IN_WORK, "Behandling"))
"""The process of Altinn's app: what is handed in is fetched, and what is in work gets its answer and ends."""


class ExampleDocxworld(SimulatedDocxworld):
    """A docxworld with short pages, where another client may be quicker, and that takes new downloads over HTTP."""

    def __init__(self, *, options: UploadOptions | None = None, most_per_page: int = MOST_PER_PAGE) -> None:
        super().__init__(options=options)
        self.most_per_page = most_per_page
        self.contested: set[str] = set()
        """Downloads that another client takes as soon as we have asked for their link."""

    def application(self) -> web.Application:
        """The whole server; the two habits come after faults and recording."""
        application = super().application()
        application.middlewares.append(self._habits())
        return application

    def control_routes(self) -> Sequence[web.AbstractRouteDef]:
        """`POST downloads` lays one ready: target (abbreviation), fileName, type, contentBase64; all optional."""
        return [web.post(f"{CONTROL_PREFIX}/downloads", self._control_add)]

    def _habits(self) -> Any:
        @web.middleware
        async def habits(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            answer = await handler(self._on_short_pages(request))
            if request.path.endswith("/generate-link"):
                self._let_the_other_client_in(request.match_info["id"])
            return answer

        return habits

    def _on_short_pages(self, request: web.Request) -> web.Request:
        """A server may give less per page than it was asked for; its answer says so."""
        size = request.query.get("size", "")
        if not size.isdecimal() or int(size) <= self.most_per_page:
            return request
        return request.clone(rel_url=request.rel_url.update_query(size=str(self.most_per_page)))

    def _let_the_other_client_in(self, download_id: str) -> None:
        if download_id in self.contested:
            self.contested.discard(download_id)
            self.taken_by_other_client(download_id)

    async def _control_add(self, request: web.Request) -> web.Response:
        try:
            download = self._add_from(json.loads(await request.text()))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            return web.json_response({"error": f"no download: {error}"}, status=400)
        return web.json_response({"id": download.id, "fileName": download.file_name}, status=201)

    def _add_from(self, body: Mapping[str, str]) -> Download:
        known = {each.workflow.abbreviation: each for each in self.catalogue.targets.values()}
        name = body.get("fileName", "Ergebnis.pdf")
        content = base64.b64decode(body["contentBase64"]) if "contentBase64" in body else example_pdf(name)
        return self.add_download(
            known[body.get("target", "BRIEF")], content, type=body.get("type", "RESULT"), file_name=name
        )


@dataclass(frozen=True)
class Portals:
    """The running portals. `targets` are docxworld's by abbreviation, `forms` the municipality's form ids by name."""

    duba: SimulatedDuba
    docxworld: ExampleDocxworld
    digitale_gemeinde: SimulatedDigitaleGemeinde
    targets: Mapping[str, Target]
    forms: Mapping[str, str]
    altinn: SimulatedAltinn
    altinn_login: Login

    def all(self) -> tuple[SimulatedPortal, ...]:
        """Every portal."""
        return self.duba, self.docxworld, self.digitale_gemeinde, self.altinn

    def addresses(self) -> dict[str, dict[str, str]]:
        """Where each portal answers, as `up --json` prints it."""
        return {
            "duba": {"baseUrl": self.duba.base_url},
            "docxworld": {
                "baseUrl": self.docxworld.base_url,
                "cognitoUrl": self.docxworld.cognito_url,
                "tokenUrl": self.docxworld.token_url,
            },
            "digitale-gemeinde": {"baseUrl": self.digitale_gemeinde.base_url},
            "altinn": {
                "baseUrl": self.altinn.base_url,
                "storageUrl": self.altinn.storage_url,
                "appsUrl": self.altinn.apps_url,
                "tokenUrl": self.altinn.token_url,
                "exchangeUrl": self.altinn.exchange_url,
            },
        }


def open_portals(running: ExitStack) -> Portals:
    """Serve all portals, as `prepare_portals` makes them, until `running` is closed."""
    portals = prepare_portals(running)
    for portal in portals.all():
        running.enter_context(serve(portal))
    return portals


def prepare_portals(running: ExitStack) -> Portals:
    """Make all portals, with their accounts and targets, without any document and not served yet."""
    duba = SimulatedDuba(*DUBA_LOGIN)
    docxworld = ExampleDocxworld(options=UploadOptions(chunk_threshold_bytes=CHUNKED_FROM_BYTES))
    running.callback(docxworld.close)
    targets = {kind.abbreviation: _add_target(docxworld, kind) for kind in TARGETS}
    _add_accounts(docxworld, targets)
    municipality = SimulatedDigitaleGemeinde(TENANT_KEY, TENANT_ID, options=Options(file_shape=FileShape.LIST))
    forms = {kind.name: municipality.add_form(kind.name, kind.fields) for kind in FORMS}
    altinn = SimulatedAltinn(dialect="v1")
    altinn.add_app(APP, tasks=TASKS)
    login = _add_altinn_login(altinn)
    return Portals(duba, docxworld, municipality, targets, forms, altinn, login)


def start_all(aws: Embedded, running: ExitStack) -> dict[str, dict[str, str]]:
    """Start all portals with a few examples and connect them; returns name → addresses. They stop with `running`."""
    portals = open_portals(running)
    _add_examples(portals)
    connect(portals, aws.session().client("secretsmanager", endpoint_url=aws.endpoint))
    return portals.addresses()


def how_to_add(addresses: Mapping[str, Mapping[str, str]]) -> str:
    """What to type to give the running portals more, for people."""
    names = ("duba", "docxworld", "digitale-gemeinde", "altinn")
    duba, docxworld, municipality, altinn = (addresses[name]["baseUrl"] for name in names)
    return "\n".join(
        (
            "More for the inbox:",
            f"  curl -d '{{}}' -H 'Content-Type: application/json' {duba}{CONTROL_PREFIX}/messages",
            f'  curl -d \'{{"fileName": "Ergebnis.pdf"}}\' {docxworld}{CONTROL_PREFIX}/downloads',
            f"  curl -d '{{}}' -H 'Content-Type: application/json' {municipality}{CONTROL_PREFIX}/documents",
            f'  curl -d \'{{"task": "{HANDED_IN}"}}\' {altinn}{CONTROL_PREFIX}/instances',
            f"For the outbox: docxworld/{KLINIKUM}/<{'|'.join(_abbreviations(KLINIKUM))}>/<file name>,",
            f"                docxworld/{DRUCKSTRASSE}/<{'|'.join(_abbreviations(DRUCKSTRASSE))}>/<file name>,",
            f"                docxworld/{ARCHIV}/<{'|'.join(_abbreviations(ARCHIV))}>/<file name> (encrypted),",
            f"                docxworld/{KLINIKUM}/ENTSCHEID/<file name>.cancel.json,",
            f"                docxworld/{KLINIKUM}/approvals/<task id>/decision.json,",
            f"                docxworld/{DRUCKSTRASSE}/drafts/<target>/<file name>, with the metadata download-type,",
            f"                digitale-gemeinde/{STADT}/<formId>/<documentId>/<{_file_fields()}>/<file name>,",
            f"                digitale-gemeinde/{STADT}/<formId>/<documentId>/status.json,",
            f"                altinn/{ETAT}/{APP}/<partyId>/<instanceGuid>/attachment/<file name>,",
            f"                altinn/{ETAT}/{APP}/<name>.instance.json,",
            f"                duba/{KLINIKUM}/BetreuungAnregung/<name>.json",
            f"Faults: POST <portal>{CONTROL_PREFIX}/faults, what is there: GET <portal>{CONTROL_PREFIX}/state",
        )
    )


# --- connections -----------------------------------------------------------------------------------------------------


def secrets(portals: Portals) -> dict[str, dict[str, Any]]:
    """The body of each connection's secret by its name (contract, section 1)."""
    return {
        f"amtsbote/duba/{KLINIKUM}": duba_secret(portals.duba),
        f"amtsbote/docxworld/{KLINIKUM}": _docxworld_secret(
            portals.docxworld, KLINIKUM, _user_auth(portals.docxworld, USER_LOGIN)
        ),
        f"amtsbote/docxworld/{DRUCKSTRASSE}": _docxworld_secret(
            portals.docxworld, DRUCKSTRASSE, _client_auth(portals.docxworld)
        ),
        f"amtsbote/docxworld/{ARCHIV}": _archive_secret(portals.docxworld),
        f"amtsbote/digitale-gemeinde/{STADT}": municipality_secret(portals.digitale_gemeinde),
        f"amtsbote/altinn/{ETAT}": altinn_secret(portals.altinn, portals.altinn_login),
    }


def connect(portals: Portals, client: SecretsManagerClient) -> None:
    """Switch every connection on; one that is there from an earlier start is pointed at the portals of now."""
    for name, body in secrets(portals).items():
        try:
            client.create_secret(Name=name, SecretString=json.dumps(body))
        except client.exceptions.ResourceExistsException:
            client.put_secret_value(SecretId=name, SecretString=json.dumps(body))


def duba_secret(duba: SimulatedDuba) -> dict[str, Any]:
    """The secret of a DUBA connection, everything that has a default left at it."""
    username, password = DUBA_LOGIN
    return {"baseUrl": duba.base_url, "username": username, "password": password}


def municipality_secret(municipality: SimulatedDigitaleGemeinde) -> dict[str, Any]:
    """The secret of a Digitale-Gemeinde connection, everything that has a default left at it."""
    return {"baseUrl": municipality.base_url, "apiKey": TENANT_KEY, "tenantId": TENANT_ID}


def altinn_secret(altinn: SimulatedAltinn, login: Login) -> dict[str, Any]:
    """The secret of an Altinn connection that fetches what is handed in."""
    return {
        "storageUrl": altinn.storage_url,
        "appsUrl": altinn.apps_url,
        "apps": [APP],
        "currentTask": HANDED_IN,
        "auth": {
            "kind": "maskinporten",
            "clientId": login.client_id,
            "keyId": login.key_id,
            "privateKey": login.private_key,
            "scopes": list(login.scopes),
            "tokenUrl": altinn.token_url,
            "audience": altinn.audience,
            "exchangeUrl": altinn.exchange_url,
        },
    }


def downloader_client(connection: str) -> str:
    """The name under which a connection acknowledges downloads."""
    return f"amtsbote-{connection}"


def _docxworld_secret(docxworld: SimulatedDocxworld, connection: str, auth: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "baseUrl": docxworld.base_url,
        "auth": dict(auth),
        "uploader": {"role": "ROLE_CUSTOMER_UPLOADER"},
        "downloader": {"clientId": downloader_client(connection), "types": ["RESULT", "REPORT"]},
    }


def _archive_secret(docxworld: SimulatedDocxworld) -> dict[str, Any]:
    """A connection that only sends, and encrypts what it sends."""
    uploader = {"role": "ROLE_CUSTOMER_UPLOADER", "encryption": "docxworld"}
    return {"baseUrl": docxworld.base_url, "auth": _user_auth(docxworld, ARCHIVE_LOGIN), "uploader": uploader}


def _user_auth(docxworld: SimulatedDocxworld, login: tuple[str, str]) -> dict[str, Any]:
    return {
        "kind": "user-password",
        "cognitoUrl": docxworld.cognito_url,
        "clientId": docxworld.app_client_id,
        "username": login[0],
        "password": login[1],
    }


def _client_auth(docxworld: SimulatedDocxworld) -> dict[str, Any]:
    return {
        "kind": "client-credentials",
        "tokenUrl": docxworld.token_url,
        "clientId": CLIENT_LOGIN[0],
        "clientSecret": CLIENT_LOGIN[1],
        "scopes": list(SCOPES),
    }


# --- what the portals hold -------------------------------------------------------------------------------------------


def example_pdf(text: str) -> bytes:
    """Bytes that begin like a PDF and differ with the text; nothing here looks inside."""
    return f"%PDF-1.7\n% {text}\n%%EOF\n".encode()


def _add_target(docxworld: SimulatedDocxworld, kind: TargetKind) -> Target:
    needed = kind.script is not None and any(step.state == WAITING for step in kind.script)
    return docxworld.add_target(kind.name, kind.abbreviation, script=kind.script, approval_needed=needed)


def _add_accounts(docxworld: SimulatedDocxworld, targets: Mapping[str, Target]) -> tuple[Account, ...]:
    """Each connection has an account of its own that sees its own targets only."""

    def own(connection: str) -> set[str]:
        return {targets[abbreviation].id for abbreviation in _abbreviations(connection)}

    return (
        docxworld.add_user(*USER_LOGIN, roles={*ROLES, APPROVER}, targets=own(KLINIKUM)),
        docxworld.add_technical_access(*CLIENT_LOGIN, roles=set(ROLES), targets=own(DRUCKSTRASSE)),
        docxworld.add_user(*ARCHIVE_LOGIN, roles={"ROLE_CUSTOMER_UPLOADER"}, targets=own(ARCHIV)),
    )


def _add_altinn_login(altinn: SimulatedAltinn) -> Login:
    private, public = _key_pair()
    altinn.add_client(ALTINN_CLIENT, APP.partition("/")[0], (READ, WRITE), {ALTINN_KEY: public})
    return Login(ALTINN_CLIENT, ALTINN_KEY, private, (READ, WRITE))


@cache
def _key_pair() -> tuple[str, str]:
    """One key for this process, because making a new one takes long."""
    return new_key_pair()


def _abbreviations(connection: str) -> list[str]:
    return [kind.abbreviation for kind in TARGETS if kind.connection == connection]


def _file_fields() -> str:
    """The ids of the fields that take files."""
    return "|".join(str(field.id) for field in DEFAULT_FIELDS if field.datatype == "file")


def _add_examples(portals: Portals) -> None:
    for number in range(EXAMPLE_MESSAGES):
        portals.duba.add_message(aktenzeichen=f"12 XVII {100 + number}/26")
    for number in range(EXAMPLE_DOWNLOADS):
        kind, name = ("REPORT", "Sendebericht") if number % 2 else ("RESULT", "Ergebnis")
        target = portals.targets["MASSE" if number % 2 else "BRIEF"]
        file_name = f"{name} {number + 1}.pdf"
        portals.docxworld.add_download(target, example_pdf(file_name), type=kind, file_name=file_name)
    for number in range(EXAMPLE_FORMS):
        file = (f"Ausweis {number + 1}.pdf", example_pdf(f"Ausweis {number + 1}"), "application/pdf")
        form_id = list(portals.forms.values())[number % len(portals.forms)]
        portals.digitale_gemeinde.add_document(form_id, {"name": f"Muster {number + 1}"}, {"beilage": [file]})
    for number in range(1, EXAMPLE_INSTANCES + 1):
        name = f"Søknad {number}.pdf"
        portals.altinn.add_instance(
            APP, files=[File("attachment", name, "application/pdf", example_pdf(name))], task=HANDED_IN
        )
