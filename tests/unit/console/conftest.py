"""A console over a stack in moto, and a browser's side of it without a browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from httpx2 import Response
from moto import mock_aws
from starlette.testclient import TestClient

from amtsbote.operations.office import Office
from amtsbote.operations.stack import stack_named
from console.app import application
from console.guard import Keys, Place
from tests.unit.operations.support import STACK, create_stack
from tests.unit.support import Clock, aws_client

PLACE = Place(8931)
ALARMS = {"duba": timedelta(days=20), "docxworld": timedelta(days=7)}
CLIENT = cache(aws_client)
"""Makes each client once for all tests: a client outlives the AWS that it spoke to, and making one takes long."""
SECRET = '{"baseUrl": "https://elim.example.com", "username": "u", "password": "geheim"}'


@dataclass
class Browser:
    """What a person's browser does: reads pages, follows a confirmation, sends its form."""

    client: TestClient
    office: Office
    clock: Clock
    keys: Keys
    language: str = "en"
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **query: str) -> Response:
        """Read a page."""
        address = f"{path}?{urlencode(query)}" if query else path
        return self.client.get(address, headers={"Accept-Language": self.language, **self.headers})

    def text(self, path: str, **query: str) -> str:
        """Return a page that must be there."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, form: dict[str, str], **headers: str) -> Response:
        """Send a form as a browser does, from our own page."""
        sent = {"Origin": PLACE.url, "Accept-Language": self.language, **headers}
        return self.client.post(path, data=form, headers=sent)

    def confirm(self, action: str, of: str, back: str = "/") -> Response:
        """Open the confirmation of an action and say yes; returns the page after it."""
        answer = self.post("/do", fields(self.text("/confirm", action=action, of=of, back=back)))
        return answer if answer.status_code != 303 else self.get(answer.headers["location"])


def fields(page: str) -> dict[str, str]:
    """Return the hidden fields of the page's form that does something."""
    form = re.search(r'<form method="post" action="/do".*?</form>', page, re.DOTALL)
    assert form is not None, page
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form[0])
    return {name: unescape(value) for name, value in found}


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser that has been let in; one connection, duba/klinikum."""
    with let_in() as one:
        yield one


@contextmanager
def let_in() -> Iterator[Browser]:
    """Serve a console in this process and let a browser in."""
    with mock_aws():
        clock, keys = Clock(), Keys()
        stack: Any = create_stack()
        desk = Office(stack_named(stack, STACK), CLIENT, clock)
        desk.vault.write("amtsbote/duba/klinikum", SECRET)
        app = application(desk, ALARMS, PLACE, keys)
        with TestClient(app, base_url=PLACE.url, follow_redirects=False) as client:
            client.cookies.set(PLACE.cookie, keys.cookie)
            yield Browser(client, desk, clock, keys)
