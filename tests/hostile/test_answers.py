"""Answers that are JSON and mean harm: what cannot be held, what cannot be written again, what is no number or name.

All four portals are asked through their own adapters, for a list and for whatever else a poll and a login ask.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amtsbote.deadline import Deadline
from amtsbote.errors import AmtsboteError, Misconfigured, Retry
from amtsbote.foreign_json import DEPTH_AT_MOST, VALUES_AT_MOST, parsed
from amtsbote.http import JSON_LIMIT_BYTES, Answer, Transport
from amtsbote.portals import portal_named
from amtsbote.portals.portal import Connection, Tools
from amtsbote.portals.protocols import LeftOut
from amtsbote.storage import json_text
from amtsbote.tokens import TokenCache
from tests.hostile.bounds import MIB, within
from tests.hostile.server import Behaviour, Bytes, Request, head, hostile_portal, says

SECONDS = 20.0
JSON = {"Content_Type": "application/json"}
LONG = "x" * 5000

# --- shapes -----------------------------------------------------------------------------------------------------------

BOMBS: dict[str, bytes] = {
    "lists": b"[" + b"[]," * (JSON_LIMIT_BYTES // 3 - 1) + b"0]",
    "objects": b"[" + b"{}," * (JSON_LIMIT_BYTES // 3 - 1) + b"0]",
    "texts": b"[" + b'"ab",' * (JSON_LIMIT_BYTES // 5 - 1) + b"0]",
    "names": b"{" + b",".join(b'"%x":0' % number for number in range(VALUES_AT_MOST + 1)) + b"}",
    "depth 10,000": b"[" * 10_000 + b"]" * 10_000,
    "depth 10,000 of objects": b'{"a":' * 10_000 + b"0" + b"}" * 10_000,
    "depth that could be read and not written": b"[" * 900 + b"]" * 900,
    "depth without an end": b"[" * JSON_LIMIT_BYTES,
    "brackets behind quotes": b'["\\\\", ' + b"[" * 10_000 + b"]" * 10_000 + b', "\\""]',
    "UTF-16": "[1]".encode("utf-16"),
    "UTF-32": "[1]".encode("utf-32"),
    "invalid UTF-8": b'["\xff\xfe\xc0\x80"]',
    "half a character": b'["\xe2\x82"]',
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "1e999": b"[1e999]",
    "a number of 5,000 digits": b"[" + b"9" * 5000 + b"]",
    "a comment": b"[1] // 2",
    "nothing": b"",
    "blanks": b" " * JSON_LIMIT_BYTES,
    "two values": b"[1][2]",
    "a page": b"<!DOCTYPE html><html><body>Wartung</body></html>",
    "XML with entities": b'<!DOCTYPE a [<!ENTITY b "cccccccccc">]><a>&b;</a>',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_json_that_means_harm_is_none(bomb: bytes) -> None:
    with within(seconds=10, mebibytes=96), pytest.raises(Retry, match="PORTAL_ANSWERED_NO_JSON"):
        Answer("GET", "/list", 200, {}, bomb).json()


HEAVY: dict[str, bytes] = {
    "lists": b"[" + b"[]," * (VALUES_AT_MOST // 2 - 2) + b"0]",
    "objects": b"[" + b",".join(b'{"%x":1}' % number for number in range(VALUES_AT_MOST // 2 - 1)) + b"]",
    "names": b"{" + b",".join(b'"%x":"%x"' % (number, number) for number in range(VALUES_AT_MOST - 2)) + b"}",
    "one text": b'["' + b"a" * (JSON_LIMIT_BYTES - 4) + b'"]',
    "one text of wide letters": b'["' + b"a" * (JSON_LIMIT_BYTES - 8) + "😀".encode() + b'"]',
    "escapes": b'["' + b'\\"' * (JSON_LIMIT_BYTES // 2 - 2) + b'"]',
    "depth": b"[" * DEPTH_AT_MOST + b"]" * DEPTH_AT_MOST,
}


@pytest.mark.parametrize("heavy", HEAVY.values(), ids=HEAVY)
def test_the_heaviest_json_that_is_taken_fits_into_a_function(heavy: bytes) -> None:
    with within(seconds=20, mebibytes=140):
        parsed(heavy)


SCALARS = st.none() | st.booleans() | st.integers() | st.text()
ANYTHING = st.recursive(SCALARS, lambda each: st.lists(each) | st.dictionaries(st.text(), each))


@given(ANYTHING)
@settings(max_examples=100, deadline=None)
def test_whatever_is_harmless_is_read_as_it_was_meant(content: Any) -> None:
    for text in (json.dumps(content), json.dumps(content, ensure_ascii=False, indent=1)):
        assert parsed(text.encode("utf-8", "surrogatepass")) == content


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\ 01eE.-nulltrue"', max_size=60).map(str.encode))
@settings(max_examples=500, deadline=None)
def test_whatever_is_read_can_be_written_again(body: bytes) -> None:
    try:
        content = parsed(body)
    except ValueError:
        return
    assert json.loads(json_text(content)) == content


# --- portals ----------------------------------------------------------------------------------------------------------


def secret_of(portal: str, url: str) -> dict[str, Any]:
    """Return the secret of a connection whose every address is the hostile portal."""
    secrets: dict[str, dict[str, Any]] = {
        "duba": {"baseUrl": url, "username": "amtsbote", "password": "geheim"},
        "digitale-gemeinde": {"baseUrl": url, "apiKey": "geheim", "tenantId": 17},
        "altinn": {
            "storageUrl": f"{url}/storage/api/v1",
            "appsUrl": url + "/{org}/{app}",
            "apps": ["org/app"],
            "auth": {"kind": "bearer", "token": "geheim"},
        },
        "docxworld": {
            "baseUrl": url,
            "auth": {"kind": "client-credentials", "tokenUrl": f"{url}/token", "clientId": "a", "clientSecret": "b"},
            "downloader": {"clientId": "amtsbote"},
        },
    }
    return secrets[portal]


def tools(seconds: float = SECONDS) -> Tools:
    """Return what an adapter works with."""
    transport = Transport(Deadline(seconds), allow_loopback=True, sleep=lambda _: None)
    return Tools(transport, TokenCache(), lambda: datetime(2026, 2, 19, tzinfo=UTC))


def discover(portal: str, url: str) -> list[Any]:
    """Return what a poll finds there; any error but ours is a failure."""
    adapter = portal_named(portal)
    secret = adapter.secret.model_validate(secret_of(portal, url))
    source = adapter.source(Connection(portal, "klinikum", secret), tools())
    assert source is not None
    return list(source.discover(None))


PORTALS = ("duba", "digitale-gemeinde", "altinn", "docxworld")
TOKEN = json.dumps({"access_token": "gut", "token": "gut", "expires_in": 3600}).encode()
COUNT = b'[{"id": "f", "count": 5}]'


def after_login(answer: Callable[[Request], bytes]) -> Behaviour:
    """Let the login be one, and answer everything else with this JSON."""

    def behaviour(request: Request) -> Bytes:
        is_login = "oken" in request.line
        body = TOKEN if is_login else COUNT if "/Form/count" in request.line else answer(request)
        return [head(Content_Length=str(len(body)), **JSON) + body]

    return behaviour


def wrapped(portal: str, rows: str) -> bytes:
    """Return a list as the portal answers it, made of the JSON text of its rows."""
    shapes = {
        "duba": f"[{rows}]",
        "digitale-gemeinde": f'{{"data": [{rows}], "totalCount": 1}}',
        "altinn": f'{{"instances": [{rows}]}}',
        "docxworld": f'{{"content": [{rows}], "last": true, "number": 0}}',
    }
    return shapes[portal].encode("utf-8", "surrogatepass")


GOOD: dict[str, dict[str, Any]] = {
    "duba": {"id": 1, "messageId": "m", "direction": "INCOMING", "createdAt": "2026-01-01T00:00:00Z", "url": "/u"},
    "digitale-gemeinde": {"documentId": "d", "formId": "f", "name": "n", "status": "Neu"},
    "altinn": {"id": "1/g", "instanceOwner": {"partyId": "1"}, "lastChanged": "2026-01-01T00:00:00Z", "data": []},
    "docxworld": {"id": "d", "fileName": "a.pdf", "created": "2026-01-01T00:00:00Z", "type": "RESULT", "size": 5},
}
VALUES = [
    *[
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "1e308",
        "-1e308",
        "123456789012345678901234567890",
        '""',
        "[]",
        "{}",
        "[[]]",
        "[null]",
        '{"":null}',
    ],
    *("9" * 4000, '" "', '"\\ud800"', '"\\u0000"', '"\\r\\nX-Injected: 1"', f'"{LONG}"', '"../../etc/passwd"', '".."'),
    *('"https://evil.example/"', '"//evil"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"'),
    *('"0000-00-00"', '"2026-02-30T25:61:61Z"', '"+275760-09-13T00:00:00Z"', '"1e999"', '"\\u202e\\ufeff\\u200b"'),
    *('"a/b/c/d"', '"a?b#c%2f..%2f"', '"NaN"', '"-0"', "1.0e-400"),
]


@pytest.mark.parametrize("portal", PORTALS)
def test_no_field_of_a_list_can_crash_a_poll(portal: str) -> None:
    current = {"row": ""}
    with hostile_portal(after_login(lambda _: wrapped(portal, current["row"]))) as hostile:
        tried = 0
        for field in GOOD[portal]:
            for value in VALUES:
                good = {name: each for name, each in GOOD[portal].items() if name != field}
                current["row"] = json.dumps(good)[:-1] + f', "{field}": {value}}}'
                found = found_by(portal, hostile.url)
                assert all(json_text(finding.record) and finding.id for finding in found)
                tried += 1
    assert tried == len(GOOD[portal]) * len(VALUES)


def found_by(portal: str, url: str) -> list[Any]:
    """Return what a poll finds, nothing where it ends with an error of ours, or leaves the row out."""
    try:
        return [each for each in discover(portal, url) if not isinstance(each, LeftOut)]
    except AmtsboteError:
        return []


SOMETHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=10), each, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("portal", PORTALS)
def test_no_answer_at_all_can_crash_a_poll(portal: str) -> None:
    current = {"body": b""}
    names = st.sampled_from(sorted(GOOD[portal])) | st.text(max_size=8)
    rows = st.lists(st.dictionaries(names, SOMETHING, max_size=6) | SOMETHING, max_size=3)
    whole = st.one_of(SOMETHING, rows, st.fixed_dictionaries(dict.fromkeys(("data", "instances", "content"), rows)))

    def answer(request: Request) -> Bytes:
        return says(current["body"])(request)

    with hostile_portal(answer) as hostile:

        @given(whole, st.booleans())
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        def nothing_crashes(content: Any, logged_in: bool) -> None:
            current["body"] = json.dumps(content).encode()
            found_by(portal, hostile.url)

        nothing_crashes()
    assert hostile.asked


@pytest.mark.parametrize("portal", PORTALS)
@pytest.mark.parametrize("bomb", ["lists", "depth 10,000", "invalid UTF-8", "NaN", "UTF-16", "blanks"])
def test_a_bomb_in_place_of_a_list_ends_a_poll_with_a_word(portal: str, bomb: str) -> None:
    behaviour = after_login(lambda _: BOMBS[bomb])
    with hostile_portal(behaviour) as hostile, within(seconds=10, mebibytes=96), pytest.raises(Retry):
        discover(portal, hostile.url)


# --- lists that never end ---------------------------------------------------------------------------------------------


def endless_list(portal: str, base: Callable[[], str]) -> Behaviour:
    """Answer each page with a new item and a next page."""
    count = iter(range(10**9))

    def answer(_: Request) -> bytes:
        number = next(count)
        fresh = {**GOOD[portal], "documentId": f"d{number}", "id": f"1/g{number}"}
        body: dict[str, Any] = {
            "content": [fresh],
            "last": False,
            "number": None,
            "data": [fresh],
            "instances": [fresh],
        }
        return json.dumps({**body, "next": f"{base()}/storage/api/v1/instances?page={number}"}).encode()

    return after_login(answer)


@pytest.mark.parametrize("portal", PORTALS[1:])  # DUBA has no pages
def test_a_list_without_an_end_ends_with_the_time_or_the_pages(portal: str) -> None:
    adapter = portal_named(portal)
    with hostile_portal(endless_list(portal, lambda: hostile.url)) as hostile, within(seconds=15, mebibytes=96):
        secret = adapter.secret.model_validate(secret_of(portal, hostile.url))
        source = adapter.source(Connection(portal, "klinikum", secret), tools(seconds=3))
        assert source is not None
        with pytest.raises(Retry):
            list(source.discover(None))
    assert len(hostile.asked) <= 10_010


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/storage/api/v1/instances?page=2",
        "//evil.example/storage/api/v1/instances",
        "https://127.0.0.1@evil.example/storage/api/v1/instances",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "/other/api/v1/instances",
        "/storage/api/v1/../../admin",
        "/storage/api/v1/%2e%2e/%2e%2e/admin",
        "javascript:alert(1)",
        "https://[::1",
    ],
)
def test_a_next_page_at_another_place_gets_no_token(link: str) -> None:
    page = json.dumps({"instances": [GOOD["altinn"]], "next": link}).encode()
    with hostile_portal(says(page)) as hostile, pytest.raises(Misconfigured, match="FOREIGN_NEXT_LINK"):
        discover("altinn", hostile.url)
    assert len(hostile.asked) == 1


def test_the_url_of_a_message_is_not_followed() -> None:
    with hostile_portal(says(b"[]")) as thief:
        row = {**GOOD["duba"], "url": f"{thief.url}/api/duba/v1/download/1", "hydratedAt": "2026-01-01T00:00:00Z"}
        with hostile_portal(says(json.dumps([row]).encode())) as hostile:
            assert [finding.id for finding in discover("duba", hostile.url)] == ["1"]
    assert thief.connections == 0


# --- logins -----------------------------------------------------------------------------------------------------------

TOKENS: dict[str, bytes] = {
    "100 MB": b'{"access_token": "' + b"x" * 100 * MIB + b'"}',
    "15 MB": b'{"access_token": "' + b"x" * 15 * MIB + b'", "expires_in": 60}',
    "a header more": b'{"access_token": "x\\r\\nX-Injected: 1", "token": "x\\r\\nX-Injected: 1"}',
    "another alphabet": '{"access_token": "ключ", "token": "ключ"}'.encode(),
    "nothing": b'{"access_token": "", "token": ""}',
    "a number": b'{"access_token": 5, "token": 5}',
    "a list": b"[]",
    "a bomb": BOMBS["lists"],
    "a deep one": BOMBS["depth 10,000"],
}


@pytest.mark.parametrize("portal", ["digitale-gemeinde", "docxworld"])
@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_what_a_login_answers_must_be_a_token(portal: str, token: bytes) -> None:
    with hostile_portal(says(token)) as hostile, within(seconds=10, mebibytes=96), pytest.raises(Retry):
        discover(portal, hostile.url)
    assert all("oken" in asked.line for asked in hostile.asked), "nothing else was asked"


LIFETIMES = ["1e308", "-1", "0", '"soon"', "null", "true", "[]", "9" * 400, "1e-300"]


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("portal", ["digitale-gemeinde", "docxworld"])
def test_no_lifetime_of_a_token_crashes_a_login(portal: str, lifetime: str) -> None:
    answer = f'{{"access_token": "gut", "token": "gut", "expires_in": {lifetime}}}'.encode()

    def behaviour(request: Request) -> Bytes:
        body = answer if "oken" in request.line else COUNT if "/Form/count" in request.line else wrapped(portal, "")
        return [head(Content_Length=str(len(body)), **JSON) + body]

    with hostile_portal(behaviour) as hostile:
        assert discover(portal, hostile.url) == []
