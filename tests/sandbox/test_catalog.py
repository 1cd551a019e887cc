"""The set of simulated portals: they can be reached, their connections' secrets are valid, and more can be added."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import boto3
import pytest
import requests
from moto import mock_aws

from amtsbote.portals.altinn.connection import AltinnSecret
from amtsbote.portals.digitale_gemeinde.connection import DigitaleGemeindeSecret
from amtsbote.portals.docxworld.connection import DocxworldSecret
from amtsbote.portals.duba.connection import DubaSecret
from amtsbote.portals.portal import ConnectionSecret
from sandbox.portals.catalog import Portals, connect, how_to_add, open_portals, secrets, start_all

SECONDS = 5


@dataclass
class InProcessAws:
    """moto in place of the embedded AWS."""

    endpoint: str = "https://secretsmanager.eu-central-1.amazonaws.com"

    def session(self) -> boto3.Session:
        """Return a session with keys that nobody checks."""
        return boto3.Session("testing", "testing", region_name="eu-central-1")


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """Provide what the portals are stopped with."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def portals(running: ExitStack) -> Portals:
    """Provide the portals without documents."""
    return open_portals(running)


def bodies() -> dict[str, dict[str, object]]:
    """Return the body of every secret by its name."""
    secretsmanager = InProcessAws().session().client("secretsmanager")
    names = [each["Name"] for each in secretsmanager.list_secrets()["SecretList"]]
    return {name: json.loads(secretsmanager.get_secret_value(SecretId=name)["SecretString"]) for name in names}


def test_every_secret_is_one_that_the_product_takes(portals: Portals) -> None:
    models: dict[str, type[ConnectionSecret]] = {
        "duba": DubaSecret,
        "docxworld": DocxworldSecret,
        "digitale-gemeinde": DigitaleGemeindeSecret,
        "altinn": AltinnSecret,
    }
    for name, body in secrets(portals).items():
        _, portal, connection = name.split("/")
        models[portal].model_validate(json.loads(json.dumps(body)))
        assert connection in ("klinikum", "druckstrasse", "archiv", "stadt", "etat")


def test_every_kind_of_login_is_shown(portals: Portals) -> None:
    kinds = {name: body["auth"]["kind"] for name, body in secrets(portals).items() if "auth" in body}
    assert kinds == {
        "amtsbote/docxworld/klinikum": "user-password",
        "amtsbote/docxworld/druckstrasse": "client-credentials",
        "amtsbote/docxworld/archiv": "user-password",
        "amtsbote/altinn/etat": "maskinporten",
    }


def test_starting_all_creates_the_secrets_and_tells_the_addresses(running: ExitStack) -> None:
    with mock_aws():
        addresses = start_all(InProcessAws(), running)
        created = bodies()
    assert set(created) == {
        "amtsbote/duba/klinikum",
        "amtsbote/docxworld/klinikum",
        "amtsbote/docxworld/druckstrasse",
        "amtsbote/docxworld/archiv",
        "amtsbote/digitale-gemeinde/stadt",
        "amtsbote/altinn/etat",
    }
    assert created["amtsbote/duba/klinikum"]["baseUrl"] == addresses["duba"]["baseUrl"]
    state = requests.get(f"{addresses['docxworld']['baseUrl']}/_sandbox/state", timeout=SECONDS).json()
    assert state["downloads"] > 0
    state = requests.get(f"{addresses['altinn']['baseUrl']}/_sandbox/state", timeout=SECONDS).json()
    assert state["instances"] > 0


def test_connecting_again_points_the_secrets_at_the_new_portals(running: ExitStack) -> None:
    with mock_aws():
        client = InProcessAws().session().client("secretsmanager")
        connect(open_portals(running), client)
        newer = open_portals(running)
        connect(newer, client)
        assert bodies()["amtsbote/duba/klinikum"]["baseUrl"] == newer.duba.base_url


def test_the_portals_stop_with_what_they_were_started_with() -> None:
    with ExitStack() as stack:
        address = open_portals(stack).duba.base_url
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{address}/_sandbox/state", timeout=SECONDS)


def test_a_message_a_download_a_form_and_an_instance_can_be_added_as_the_help_says(portals: Portals) -> None:
    addresses = portals.addresses()
    help_text = how_to_add(addresses)
    for portal, what in (
        ("duba", "messages"),
        ("docxworld", "downloads"),
        ("digitale-gemeinde", "documents"),
        ("altinn", "instances"),
    ):
        url = f"{addresses[portal]['baseUrl']}/_sandbox/{what}"
        assert url in help_text
        body = {"task": "Task_2"} if portal == "altinn" else {}
        assert requests.post(url, json=body, timeout=SECONDS).status_code == 201
        assert f"-d '{json.dumps(body)}'" in help_text or portal == "docxworld"
    assert portals.duba.listed_ids() == [1]
    assert [each.file_name for each in portals.docxworld.downloads.downloads.values()] == ["Ergebnis.pdf"]
    assert [each.status for each in portals.digitale_gemeinde.documents.values()] == ["Neu"]
    assert portals.altinn.state()["instances"] == 1


@pytest.mark.parametrize("body", ["{", "[]", '{"target": "GIBTSNICHT"}', '{"contentBase64": 7}'])
def test_a_download_that_makes_no_sense_is_refused_with_400(portals: Portals, body: str) -> None:
    answer = requests.post(f"{portals.docxworld.base_url}/_sandbox/downloads", data=body, timeout=SECONDS)
    assert answer.status_code == 400
    assert portals.docxworld.downloads.downloads == {}


def user_headers(portals: Portals, role: str) -> dict[str, str]:
    """Log in as the user of `klinikum`."""
    auth = secrets(portals)["amtsbote/docxworld/klinikum"]["auth"]
    login = {"USERNAME": auth["username"], "PASSWORD": auth["password"]}
    answer = requests.post(
        auth["cognitoUrl"],
        data=json.dumps({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": auth["clientId"], "AuthParameters": login}),
        headers={
            "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
            "Content-Type": "application/x-amz-json-1.1",
        },
        timeout=SECONDS,
    )
    token = answer.json()["AuthenticationResult"]["AccessToken"]
    return {"Authorization": f"Bearer {token}", "X-PF-DWC-Requester-Role": role}


def test_a_page_is_shorter_than_asked_for_and_says_so(portals: Portals) -> None:
    for _ in range(25):
        portals.docxworld.add_download(portals.targets["BRIEF"])
    headers = user_headers(portals, "ROLE_CUSTOMER_DOWNLOADER_RESULTS")
    url = f"{portals.docxworld.base_url}/v1/downloads"
    page = requests.get(url, params={"page": "0", "size": "100"}, headers=headers, timeout=SECONDS).json()
    assert (page["size"], page["numberOfElements"], page["totalPages"], page["last"]) == (20, 20, 2, False)


def test_another_client_is_quicker_once_the_link_was_asked_for(portals: Portals) -> None:
    download = portals.docxworld.add_download(portals.targets["BRIEF"])
    portals.docxworld.contested.add(download.id)
    headers = user_headers(portals, "ROLE_CUSTOMER_DOWNLOADER_RESULTS")
    url = f"{portals.docxworld.base_url}/v1/downloads/{download.id}"
    assert requests.get(f"{url}/generate-link", headers=headers, timeout=SECONDS).status_code == 200
    told = requests.post(f"{url}/acknowledge", json={"clientId": "we"}, headers=headers, timeout=SECONDS)
    assert told.status_code == 409


def test_each_connection_sees_its_own_targets_only(portals: Portals) -> None:
    portals.docxworld.add_download(portals.targets["MASSE"])
    headers = user_headers(portals, "ROLE_CUSTOMER_DOWNLOADER_RESULTS")
    page = requests.get(f"{portals.docxworld.base_url}/v1/downloads", headers=headers, timeout=SECONDS).json()
    assert page["content"] == []
