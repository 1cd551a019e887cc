"""What the flow tests of Altinn share: the portal as they use it, the connection `etat`, and what they ask of both."""

import json
import re
from datetime import timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from sandbox.portals.altinn import READ, V1, WRITE, File, Instance, Login, SimulatedAltinn, new_key_pair
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import RecordedRequest
from tests.flows.mortality import MortalWorld
from tests.flows.world import INBOX, Clock

BEARER = "kanarienvogel-token"
PDF = "application/pdf"
FORM = File("model", None, "application/xml", b"<skjema>kanarienvogel</skjema>")
ATTACHMENT = File("attachment", "S\u00f8knad \u201emai\u201c.pdf", PDF, b"%PDF-1.7 et vedlegg")
LETTER = b"%PDF-1.7 et vedtak"
A_LONG_CALM = timedelta(minutes=11)  # longer than a lease and than a message stays hidden

LIST = "GET /storage(/api/v1)?/instances"
ONE = "GET /storage(/api/v1)?/instances/[0-9]+/[^/]+"
DATA = "GET /storage.*/data/[^/]+"
COMPLETE = "POST /storage.*/complete"
UPLOAD = "POST /org/app/instances/[0-9]+/.*/data.*"
NEXT = "PUT /org/app/.*/process/next"
CREATE = "POST /org/app/instances"


class ObservedAltinn(SimulatedAltinn):
    """An Altinn with one app, `org/app`, and a bearer token for its owner."""

    def __init__(self, clock: Clock, dialect: str = V1) -> None:
        super().__init__(dialect=dialect, clock=clock)
        self.add_bearer(BEARER)
        self.add_app()

    def secret(self, **more: Any) -> dict[str, Any]:
        """Return the body of a secret with a bearer token, or one that differs from it."""
        places = {"storageUrl": self.storage_url, "appsUrl": self.apps_url, "dialect": self.dialect}
        return {**places, "apps": ["org/app"], "auth": {"kind": "bearer", "token": BEARER}, **more}

    def maskinporten(self, login: Login, **more: Any) -> dict[str, Any]:
        """Return the part `auth` of a secret that logs in with a key."""
        key = {"clientId": login.client_id, "keyId": login.key_id, "privateKey": login.private_key}
        places = {"tokenUrl": self.token_url, "audience": self.audience, "exchangeUrl": self.exchange_url}
        return {"kind": "maskinporten", "scopes": list(login.scopes), **key, **places, **more}

    def known_login(self) -> Login:
        """Return a Maskinporten client; its key is the same in all tests, because a new one takes long."""
        private, public = _key_pair()
        self.add_client("amtsbote", "org", (READ, WRITE), {"key-1": public})
        return Login("amtsbote", "key-1", private, (READ, WRITE))

    def asked(self, call: str) -> list[RecordedRequest]:
        """Return the requests of a call ("METHOD /path/regex") in their order."""
        method, _, path = call.partition(" ")
        return [each for each in self.requests if each.method == method and re.fullmatch(path, each.path)]

    def fail(self, kind: Kind, match: str, *, times: int | None = 1, **more: Any) -> None:
        """Arm a fault."""
        self.faults.add(Fault(kind, match, times=times, **more))

    def submit(self, *files: File, **more: Any) -> Instance:
        """Let somebody hand in a form with these files."""
        return self.add_instance(files=files, **more)


@cache
def _key_pair() -> tuple[str, str]:
    return new_key_pair()


def new_world(altinn: ObservedAltinn, clock: Clock, **more: Any) -> MortalWorld:
    """Return a world with the connection `etat`; `more` is what its secret says besides."""
    world = MortalWorld("altinn", clock=clock)
    world.connect("etat", altinn.secret(**more))
    return world


def is_stored_whole(world: MortalWorld, instance: Instance) -> bool:
    """Return whether the inbox holds an instance whole, and each object of it was written once."""
    prefix = f"altinn/etat/{instance.id}/"
    keys = [f"{prefix}document.json", *(each["key"] for each in world.document("etat", instance.id)["files"])]
    return is_byte_for_byte(world, instance) and versions_of(world, prefix) == sorted(keys)


def is_byte_for_byte(world: MortalWorld, instance: Instance) -> bool:
    """Return whether the files of a document are `instance.json` and every data element in its order."""
    files = world.document("etat", instance.id)["files"]
    contents = [world.content(each["key"]) for each in files]
    names = ["instance.json", *(f"{id_}-" for id_ in instance.elements)]
    return (
        [each["id"] for each in json.loads(contents[0])["data"]] == list(instance.elements)
        and contents[1:] == [each.content for each in instance.elements.values()]
        and all(each["name"].startswith(name) for each, name in zip(files, names, strict=True))
        and [sha256(each).hexdigest() for each in contents] == [each["sha256"] for each in files]
    )


def versions_of(world: MortalWorld, prefix: str) -> list[str]:
    """Return the keys below a prefix of the inbox, each as often as it was written."""
    answer = world.client("s3").list_object_versions(Bucket=INBOX, Prefix=prefix)
    return sorted(each["Key"] for each in answer.get("Versions", []))


def is_safe_and_completed(altinn: ObservedAltinn, world: MortalWorld, instance: Instance) -> bool:
    """Return whether an instance is stored whole and was completed, in effect once."""
    return (
        is_stored_whole(world, instance)
        and len(altinn.confirmations(instance)) == 1
        and world.state("etat", instance.id) == "ACKNOWLEDGED"
    )


def unhealthy(world: MortalWorld) -> list[tuple[str, str]]:
    """Return connection and code of each `Connection Unhealthy`."""
    return [(each["connection"], each["code"]) for each in world.events_of("Connection Unhealthy")]


def recover(world: MortalWorld) -> None:
    """Let everything come again that a dead process has left behind."""
    for _ in range(4):
        world.clock.now += A_LONG_CALM
        world.settle("poll", "acknowledge", rounds=1)
        if not world.due() and not world.sqs.queue("own"):
            return


def calm(world: MortalWorld, rounds: int = 3) -> None:
    """Let everything come again that is to be tried again."""
    for _ in range(rounds):
        world.clock.now += A_LONG_CALM
        world.drain()
