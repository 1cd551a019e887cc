"""Nobody gets in who should not: wrong host, wrong origin, no cookie, no form's value; and nothing leads elsewhere."""

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from console.app import application
from console.guard import FORM_BYTES_AT_MOST, HEADERS, Keys, Place
from console.pages import back_to
from tests.unit.console.conftest import ALARMS, PLACE, Browser, fields, let_in
from tests.unit.operations.support import found, quarantined

PAGES = (
    "/",
    "/traffic",
    "/search",
    "/reconciliation",
    "/document?name=duba/klinikum/214",
    "/confirm?action=pause&of=duba/klinikum",
)
DEEDS = ("/do", "/preferences")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all: what is refused changes nothing. There is a document in quarantine."""
    with let_in() as one:
        quarantined(one.office.ledger, found())
        yield one


def stranger(browser: Browser) -> TestClient:
    """Return a client that has not been let in."""
    app = application(browser.office, ALARMS, PLACE, browser.keys)
    return TestClient(app, base_url=PLACE.url, follow_redirects=False)


# --- the way in ---


@pytest.mark.parametrize(
    "path", [*PAGES, "/file?name=a&key=b", "/receipt?name=a", "/progress?name=a", "/static/console.css"]
)
def test_without_the_cookie_nothing_is_shown(browser: Browser, path: str) -> None:
    answer = stranger(browser).get(path)
    assert answer.status_code == 401
    assert "klinikum" not in answer.text


def test_the_printed_address_lets_one_in_by_a_cookie_that_only_the_browser_sees(browser: Browser) -> None:
    client = stranger(browser)
    answer = client.get(f"/enter?key={browser.keys.address}")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert browser.keys.address not in cookie
    assert client.get("/search").status_code == 200


@pytest.mark.parametrize("key", ["", "x", "%ff", "ä"])
def test_a_wrong_key_lets_nobody_in(browser: Browser, key: str) -> None:
    answer = stranger(browser).get(f"/enter?key={key}")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_cookie_of_another_start_lets_nobody_in(browser: Browser) -> None:
    client = stranger(browser)
    client.cookies.set(PLACE.cookie, Keys().cookie)
    assert client.get("/").status_code == 401


def test_two_consoles_have_cookies_of_their_own() -> None:
    assert Place(1).cookie != Place(2).cookie


def test_each_start_has_keys_of_its_own_that_no_text_shows() -> None:
    one, other = Keys(), Keys()
    assert len({one.address, one.cookie, one.form, other.address, other.cookie, other.form}) == 6
    assert one.cookie not in repr(one)


# --- host and origin ---


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:8931", ""])
@pytest.mark.parametrize("path", [*PAGES, "/enter"])
def test_another_host_is_refused(browser: Browser, host: str, path: str) -> None:
    answer = browser.client.get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert "klinikum" not in answer.text


def test_localhost_is_this_machine_too(browser: Browser) -> None:
    assert browser.client.get("/search", headers={"Host": f"localhost:{PLACE.port}"}).status_code == 200


@pytest.mark.parametrize("path", DEEDS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:8931"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": ""},
        {"Origin": PLACE.url, "Sec-Fetch-Site": "cross-site"},
        {"Origin": PLACE.url, "Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_from_elsewhere_is_refused(browser: Browser, path: str, headers: dict[str, str]) -> None:
    form = fields(browser.text("/confirm", action="pause", of="duba/klinikum"))
    assert browser.client.post(path, data=form, headers=headers).status_code == 403
    assert_nothing_changed(browser)


@pytest.mark.parametrize("path", DEEDS)
def test_a_form_that_names_no_origin_is_refused(browser: Browser, path: str) -> None:
    assert browser.client.post(path, data={"csrf": browser.keys.form}).status_code == 403


def test_a_script_of_another_site_reads_nothing(browser: Browser) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}):
        assert browser.client.get("/", headers=headers).status_code == 403


def test_a_link_from_elsewhere_may_lead_to_a_page(browser: Browser) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert browser.client.get("/search", headers=headers).status_code == 200


# --- forms ---


@pytest.mark.parametrize("path", DEEDS)
@pytest.mark.parametrize("csrf", [None, "", "wrong", "ä"])
def test_a_form_without_the_value_of_this_start_is_refused(browser: Browser, path: str, csrf: str | None) -> None:
    form = fields(browser.text("/confirm", action="pause", of="duba/klinikum"))
    del form["csrf"]
    answer = browser.post(path, form if csrf is None else {**form, "csrf": csrf})
    assert answer.status_code == 403
    assert "not from this console" in answer.text
    assert_nothing_changed(browser)


@pytest.mark.parametrize("body", [b"csrf=" + b"x" * FORM_BYTES_AT_MOST, b"\xff", b"&".join([b"a=b"] * 100)])
def test_a_form_that_is_none_is_refused(browser: Browser, body: bytes) -> None:
    answer = browser.client.post("/do", content=body, headers={"Origin": PLACE.url})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", DEEDS)
def test_nothing_is_done_by_a_link(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 405


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_not_written_to(browser: Browser, path: str) -> None:
    assert browser.post(path, {"csrf": browser.keys.form}).status_code == 405


def assert_nothing_changed(browser: Browser) -> None:
    """The connection is as switched on as it was."""
    assert '"enabled"' not in (browser.office.vault.read("amtsbote/duba/klinikum") or "")


@pytest.mark.parametrize("address", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/a\nb"])
def test_the_way_back_stays_here(address: str) -> None:
    assert back_to(address) == "/"


def test_a_choice_leads_back_to_our_own_pages_only(browser: Browser) -> None:
    form = {"csrf": browser.keys.form, "language": "de", "back": "//evil.example"}
    assert browser.post("/preferences", form).headers["location"] == "/"


# --- what every page carries ---


@pytest.mark.parametrize("path", [*PAGES, "/document?name=nothing", "/static/console.js", "/enter", "/nowhere"])
def test_every_answer_is_hardened(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_the_policy_allows_nothing_from_elsewhere_and_nothing_inline() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "*" not in policy


@pytest.mark.parametrize("path", [*PAGES, "/document?name=nothing"])
def test_no_page_names_another_host_or_has_anything_inline(browser: Browser, path: str) -> None:
    page = browser.get(path).text
    assert re.findall(r'(?:href|src|action|hx-get|hx-post|poster|srcset)="(?!/[^/]|#)[^"]*"', page) == []
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=|javascript:", page) == []


def test_what_is_served_as_it_is_leads_nowhere_either(browser: Browser) -> None:
    for name in ("console.css", "console.js"):
        assert "//" not in re.sub(r"^\s*//.*$|/\*.*?\*/", "", browser.text(f"/static/{name}"), flags=re.MULTILINE)


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fguard.py"])
def test_no_other_file_is_served(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 404
