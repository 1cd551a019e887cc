"""Fixtures of the handlers' contract tests: an embedded AWS, one process per function, portals over HTTP."""

from collections.abc import Iterator

import pytest

from sandbox.embedded import EmbeddedAws
from sandbox.portals.docxworld import SimulatedDocxworld
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import serve
from tests.handlers.cloud import PASSWORD, Cloud


@pytest.fixture(scope="session")
def shared_cloud() -> Iterator[Cloud]:
    """Provide the AWS and the functions for all tests of this process."""
    with EmbeddedAws.start() as aws:
        cloud = Cloud(aws)
        try:
            yield cloud
        finally:
            cloud.stop()


@pytest.fixture
def cloud(shared_cloud: Cloud) -> Iterator[Cloud]:
    """Provide the AWS; after each test, no function may have logged a password."""
    yield shared_cloud
    assert PASSWORD not in shared_cloud.logs()


@pytest.fixture
def duba() -> Iterator[SimulatedDuba]:
    """Provide a simulated DUBA."""
    portal = SimulatedDuba(username="amtsbote", password=PASSWORD)
    with serve(portal):
        yield portal


@pytest.fixture
def connection(cloud: Cloud, duba: SimulatedDuba) -> str:
    """Provide the name of a connection to the simulated DUBA, one that no other test has."""
    return cloud.connect("duba", {"baseUrl": duba.base_url, "username": "amtsbote", "password": PASSWORD})


@pytest.fixture
def docxworld() -> Iterator[SimulatedDocxworld]:
    """Provide a simulated docxworld with one user, `office@example.com`."""
    portal = SimulatedDocxworld()
    portal.add_user("office@example.com", PASSWORD)
    with serve(portal):
        yield portal


@pytest.fixture
def docxworld_connection(cloud: Cloud, docxworld: SimulatedDocxworld) -> str:
    """Provide the name of a connection to the simulated docxworld that sends and receives."""
    login = {
        "kind": "user-password",
        "cognitoUrl": docxworld.cognito_url,
        "clientId": docxworld.app_client_id,
        "username": "office@example.com",
        "password": PASSWORD,
    }
    secret = {
        "baseUrl": docxworld.base_url,
        "auth": login,
        "uploader": {},
        "downloader": {"clientId": "amtsbote-test"},
    }
    return cloud.connect("docxworld", secret)
