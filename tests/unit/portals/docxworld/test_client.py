"""What holds for the whole client: what is loaded when, ids in paths, the role header."""

import subprocess
import sys

import pytest

from amtsbote.errors import Reject
from amtsbote.portals import docxworld
from amtsbote.portals.docxworld import DocxworldClient
from amtsbote.portals.docxworld.models import DownloadType, DraftOrder
from amtsbote.portals.docxworld.resources.base import path
from amtsbote.portals.portal import Connection, Tools
from tests.unit.portals.docxworld.server import Reply, Server

POLLING = """
import sys
from amtsbote.portals.docxworld import PORTAL
import amtsbote.portals.docxworld.resources.downloads
loaded = [name for name in sys.modules if name.startswith("amtsbote.portals.docxworld")]
assert not [name for name in loaded if name.endswith(("administration", "users", "companies", "uploads"))], loaded
"""


def test_a_function_that_polls_does_not_load_the_administration() -> None:
    subprocess.run([sys.executable, "-c", POLLING], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Postbote"):
        _ = docxworld.Postbote


def test_ids_are_escaped_in_paths() -> None:
    assert path("users", "a/b?c", "roles") == "/v1/users/a%2Fb%3Fc/roles"


@pytest.mark.parametrize("wrong", ["", ".", ".."])
def test_an_id_that_leads_elsewhere_is_refused(wrong: str) -> None:
    with pytest.raises(Reject):
        path("users", wrong)


def test_a_draft_is_created_without_any_role(server: Server, connection: Connection, tools: Tools) -> None:
    server.on("POST", "/v1/downloads/", Reply(body={"id": "d1", "headers": {}, "uploadUrl": "https://s3.example"}))
    order = DraftOrder(
        target_id="t", file_name="a.xml", download_type=DownloadType.RESULT, reference_id="r", metadata={}
    )
    client = DocxworldClient.of(server.url, connection.secret.auth, transport=tools.transport)
    assert client.downloads.create_draft(order).id == "d1"
    assert server.sent("POST", "/v1/downloads/")[0].role is None
