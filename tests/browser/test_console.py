"""The console in a real browser: every page, every action, by keyboard, on a phone, for a screen reader, both ways."""

import hashlib
import os
import re
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zipfile import ZipFile

import pytest
from playwright.sync_api import Page, expect

from amtsbote.deliveries import Failed, Failure
from amtsbote.operations.deadletters import read_dead_letters
from amtsbote.operations.decisions import release
from amtsbote.operations.details import show
from amtsbote.operations.overview import dead_letters
from sandbox.portals.catalog import KLINIKUM, STADT, example_pdf
from tests.browser.conftest import (
    COURTS_LETTER,
    HOSTILE,
    HOSTILE_KEY,
    MEGABYTE,
    SLOW_KEY,
    WRONG_LOGIN,
    Town,
    Visit,
    give_up,
    slow_upload,
    wait_until,
)

pytestmark = pytest.mark.once

AXE = Path(__file__).with_name("axe-4.14.1.min.js")
PAGES = ("overview", "traffic", "search", "nothing", "refused search", "letter", "unreadable", "delivery", "hostile",
         "reconciliation", "report", "confirm", "redrive", "refused")  # fmt: skip
LANGUAGES, SCHEMES = ("de", "en"), ("light", "dark")


def address(town: Town, page: str) -> str:
    """Return where a page of the console is."""
    named = {
        "overview": "/",
        "traffic": "/traffic",
        "search": "/search",
        "nothing": "/search?text=nothing-of-the-kind",
        "refused search": "/search?first=tuesday",
        "letter": document(town.letter),
        "unreadable": document(town.unreadable[0]),
        "delivery": document(f"docxworld/{KLINIKUM}/ABLEHNUNG/Rundschreiben.pdf"),
        "hostile": document(HOSTILE_KEY),
        "reconciliation": "/reconciliation",
        "report": f"/reconciliation?{urlencode({'connection': f'duba/{KLINIKUM}'})}",
        "confirm": f"/confirm?{urlencode({'action': 'pause', 'of': f'duba/{KLINIKUM}'})}",
        "redrive": "/confirm?action=redrive&of=",
        "refused": document("duba/klinikum/4711"),
    }
    return named[page]


def document(name: str) -> str:
    """Return where the page of a document is."""
    return f"/document?{urlencode({'name': name})}"


def a_zip() -> bytes:
    """Return what DUBA should have had from the beginning."""
    whole = BytesIO()
    with ZipFile(whole, "w") as archive:
        archive.writestr("brief.pdf", example_pdf("brief"))
    return whole.getvalue()


@cache
def axe_source() -> str:
    """Return the program that looks for what shuts people out."""
    return AXE.read_text(encoding="utf-8")


def faults(page: Page) -> list[str]:
    """Return what axe finds on a page as it is now: the rule and where."""
    page.evaluate(axe_source())
    found: Any = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found["violations"]]


# --- the way in ---


def test_the_printed_address_lets_one_in_and_does_not_stay_in_the_bar(visit: Visit) -> None:
    visitor = visit()
    assert visitor.page.url == f"{visitor.town.base}/"
    (cookie,) = visitor.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert cookie["value"] not in visitor.page.content()


def test_without_the_address_nobody_gets_in(visit: Visit, town: Town) -> None:
    visitor = visit()
    visitor.context.clear_cookies()
    answer = visitor.page.goto(f"{town.base}/search")
    assert answer is not None
    assert answer.status == 401


# --- every page, for everybody ---


@pytest.mark.parametrize(("language", "scheme"), zip(LANGUAGES, SCHEMES, strict=True))
def test_every_page_is_open_to_everybody(visit: Visit, town: Town, language: str, scheme: str) -> None:
    visitor = visit(language, scheme)
    found = {name: faults(visitor.opens(address(town, name))) for name in PAGES}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_open_question_is_open_to_everybody(visit: Visit, scheme: str) -> None:
    page = visit("de", scheme).opens("/")
    page.get_by_role("link", name="Anhalten").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []


def test_what_shuts_people_out_would_be_found(visit: Visit) -> None:
    page = visit().opens("/search")
    page.evaluate("document.querySelector('label[for=state]').remove(); document.documentElement.lang = ''")
    assert {each.partition(":")[0] for each in faults(page)} >= {"select-name", "html-has-lang"}


def test_no_page_has_to_be_moved_sideways_on_a_phone(visit: Visit, town: Town) -> None:
    visitor = visit("de", phone=True)  # its words are the longer ones
    wide = {}
    for name in PAGES:
        page = visitor.opens(address(town, name))
        wide[name] = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert {name: pixels for name, pixels in wide.items() if pixels > 0} == {}


def test_language_and_scheme_can_be_chosen_and_are_kept(visit: Visit) -> None:
    visitor = visit("en", "light")
    page = visitor.opens("/search?text=nothing-of-the-kind")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Dokumente suchen")
    assert page.url.endswith("/search?text=nothing-of-the-kind")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dunkel").click()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    expect(visitor.opens("/").get_by_role("heading", level=1)).to_have_text("Überblick")
    expect(page.get_by_role("button", name="Dunkel")).to_have_attribute("aria-pressed", "true")


# --- looking ---


def test_the_overview_tells_how_each_connection_is(visit: Visit) -> None:
    page = visit().opens("/")
    broken = page.get_by_role("article", name=f"DUBA {WRONG_LOGIN}")
    expect(broken).to_contain_text("Not working")
    expect(broken).to_contain_text("LOGIN_REFUSED")
    expect(page.get_by_role("article", name=f"DUBA {KLINIKUM}")).to_contain_text("Working")
    waiting = page.get_by_role("article", name=f"Digitale-Gemeinde {STADT}")
    expect(waiting).to_contain_text("not acknowledged yet")
    expect(waiting).to_contain_text("alarm from 7 days on")
    expect(page.locator(".tile", has_text="failed")).to_contain_text("2")


def test_the_traffic_is_a_chart_and_a_table_of_the_same(visit: Visit) -> None:
    page = visit().opens("/")
    expect(page.get_by_role("img", name="Bar chart")).to_be_visible()
    page.get_by_text("As a table").click()
    rows = page.get_by_role("table").get_by_role("row")
    expect(rows).to_have_count(8)
    received, sent = rows.last.get_by_role("cell").all_text_contents()
    assert int(received) >= 6
    assert int(sent) >= 3
    assert [received, sent] == page.locator(".chart rect + text").all_text_contents()


@pytest.mark.parametrize("text", [COURTS_LETTER, COURTS_LETTER.lower(), "12 XVII*"])
def test_the_courts_letter_is_found_by_its_case_number(visit: Visit, town: Town, text: str) -> None:
    page = visit().opens("/search")
    page.get_by_label("Look for").fill(text)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=COURTS_LETTER).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(COURTS_LETTER)
    expect(page.get_by_role("main")).to_contain_text("the portal knows that we have it")


def test_it_is_found_from_the_overview(visit: Visit) -> None:
    page = visit().opens("/")
    page.get_by_label("Look for").fill(COURTS_LETTER)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name=COURTS_LETTER)).to_be_visible()


def test_it_is_found_by_its_day_too(visit: Visit) -> None:
    page = visit().opens("/search")
    page.get_by_role("link", name="Today").click()
    expect(page.get_by_role("link", name=COURTS_LETTER)).to_be_visible()
    page.get_by_role("link", name="Yesterday").click()
    expect(page.get_by_text("Nothing found.")).to_be_visible()


def test_a_search_is_narrowed_by_its_fields(visit: Visit) -> None:
    page = visit().opens("/search")
    page.get_by_label("Connection").select_option(f"duba/{KLINIKUM}")
    page.get_by_label("State").select_option("QUARANTINED")
    page.get_by_role("button", name="Search").click()
    shown = page.locator("table.found tbody tr")
    expect(shown.first).to_contain_text("In quarantine")
    assert all("DUBA" in row and "In quarantine" in row for row in shown.all_text_contents())


def test_a_document_tells_its_whole_life(visit: Visit, town: Town) -> None:
    page = visit().opens(document(town.letter))
    steps = page.locator(".life .step").all_text_contents()
    assert [step.split(" ")[0].strip() for step in steps] == ["Discovered", "Being", "Stored", "Acknowledged"]
    file = show(town.office, town.letter).files[0]
    expect(page.get_by_role("main")).to_contain_text(str(file.sha256))
    moments = page.locator(".life time")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", each.get_attribute("title") or "")
               for each in moments.all())  # fmt: skip


def test_a_file_is_downloaded_as_it_was_stored(visit: Visit, town: Town, tmp_path: Path) -> None:
    page = visit().opens(document(town.letter))
    with page.expect_download() as expected:
        page.get_by_role("link", name="Download").click()
    path = tmp_path / "file"
    expected.value.save_as(path)
    file = show(town.office, town.letter).files[0]
    assert expected.value.suggested_filename == file.name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def test_a_receipt_is_shown_and_downloaded(visit: Visit) -> None:
    page = visit().opens(document(f"docxworld/{KLINIKUM}/ABLEHNUNG/Rundschreiben.pdf"))
    expect(page.get_by_role("main")).to_contain_text("Briefkopf veraltet")
    with page.expect_download() as expected:
        page.get_by_role("link", name="Download the receipt").click()
    assert expected.value.suggested_filename == "Rundschreiben.pdf.json"


@pytest.mark.parametrize("path", ["/search?text=*&within=file", "/search", document(HOSTILE_KEY)])
def test_a_hostile_name_is_only_read(visit: Visit, path: str) -> None:
    visitor = visit()
    alerts: list[str] = []
    visitor.page.on("dialog", lambda dialog: alerts.append(dialog.message))
    page = visitor.opens(path)
    expect(page.get_by_role("main")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.get_by_text("U+202E").first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


def test_a_download_with_a_hostile_name_comes_under_a_safe_one(visit: Visit, town: Town) -> None:
    page = visit().opens(f"/search?{urlencode({'connection': f'docxworld/{KLINIKUM}', 'direction': 'in'})}")
    page.locator("table.found a").first.click()
    with page.expect_download() as expected:
        page.get_by_role("link", name="Download").click()
    assert "\u202e" not in expected.value.suggested_filename
    assert Path(expected.value.path()).read_bytes() == example_pdf("x")
    assert HOSTILE[:20] in page.content() or "&lt;img" in page.content()


def test_a_long_upload_shows_how_far_it_is(visit: Visit, town: Town) -> None:
    row = slow_upload(town, 10 * MEGABYTE)
    page = visit().opens(document(SLOW_KEY))
    expect(page.get_by_text("10.0 MB of 100.0 MB")).to_be_visible()
    page.evaluate("window.isTheSamePage = true")
    row = slow_upload(town, 60 * MEGABYTE, row)
    expect(page.get_by_text("60.0 MB of 100.0 MB")).to_be_visible()
    expect(page.locator("progress")).to_have_attribute("value", str(60 * MEGABYTE))
    assert page.evaluate("window.isTheSamePage")
    town.office.ledger.advance_drop(row, Failed(Failure("TARGET_DENIED", "the account may not write to this target")))
    expect(page.get_by_text("The delivery has failed.")).to_be_visible()
    expect(page.locator("progress")).to_have_count(0)


# --- deciding ---


def says_yes(page: Page, action: str) -> None:
    """Click an action, read the question that opens, and say yes."""
    page.get_by_role("link", name=action, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name=f"Yes: {action}").click()
    page.wait_for_load_state("networkidle")


def test_a_connection_is_paused_and_resumed(visit: Visit, town: Town) -> None:
    page = visit().opens("/")
    card = page.get_by_role("article", name="Altinn")
    card.get_by_role("link", name="Pause").click()
    expect(page.get_by_role("dialog")).to_contain_text("Amtsbote will switch altinn/etat off")
    page.get_by_role("dialog").get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("The connection is paused.")
    expect(card).to_contain_text("Paused")
    card.get_by_role("link", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("works again")
    expect(card).to_contain_text("Working")


def test_a_connection_is_tested(visit: Visit) -> None:
    page = visit().opens("/")
    for name, said in ((KLINIKUM, "the login works"), (WRONG_LOGIN, "LOGIN_REFUSED")):
        page.get_by_role("article", name=f"DUBA {name}").get_by_role("link", name="Test").click()
        page.get_by_role("dialog").get_by_role("button").click()
        expect(page.get_by_role("status")).to_contain_text(said)


def test_a_connection_is_reconciled(visit: Visit, town: Town) -> None:
    before = town.office.ledger.status("duba", KLINIKUM).reconciled_at
    page = visit().opens("/")
    page.get_by_role("article", name=f"DUBA {KLINIKUM}").get_by_role("link", name="Reconcile").click()
    page.get_by_role("dialog").get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("comparison has been asked for")
    wait_until(lambda: town.office.ledger.status("duba", KLINIKUM).reconciled_at != before, "the comparison")


def test_dead_letters_go_back(visit: Visit, town: Town) -> None:
    if not dead_letters(town.office):
        give_up(town)
    page = visit().opens("/")
    page.get_by_role("link", name="Queue again").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"poll of duba/{KLINIKUM}")
    page.get_by_role("dialog").get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("1 sent back to their queues, 0 left")
    assert read_dead_letters(town.office) == []


def test_a_document_is_kept_in_quarantine_and_then_released(visit: Visit, town: Town) -> None:
    name = town.unreadable[0]
    page = visit().opens(document(name))
    says_yes(page, "Keep in quarantine")
    expect(page.get_by_role("status")).to_contain_text("stays in quarantine")
    assert town.state(name) == "QUARANTINED"
    says_yes(page, "Release")
    expect(page.get_by_role("status")).to_contain_text("has been released")
    town.awaits(name, "ACKNOWLEDGED")


def test_an_unreadable_document_is_fetched_again_when_it_is_mended(visit: Visit, town: Town) -> None:
    name = town.unreadable[1]
    message = town.portals.duba.messages[int(name.rpartition("/")[2])]
    message.content = a_zip()
    page = visit().opens(document(name))
    says_yes(page, "Try again")
    expect(page.get_by_role("status")).to_contain_text("Another try has been asked for")
    town.awaits(name, "ACKNOWLEDGED")


def test_a_stored_document_is_acknowledged_by_hand(visit: Visit, town: Town) -> None:
    page = visit().opens(document(town.stored))
    says_yes(page, "Acknowledge by hand")
    expect(page.get_by_role("status")).to_contain_text("The portal is being told")
    town.awaits(town.stored, "ACKNOWLEDGED")


def test_what_cannot_be_done_is_refused_with_a_sentence(visit: Visit, town: Town) -> None:
    page = visit().opens(f"/confirm?{urlencode({'action': 'release', 'of': town.letter})}")
    expect(page.get_by_role("alert")).to_contain_text("only what is in quarantine can be released")


def test_a_refusal_is_told_in_the_dialog_s_place(visit: Visit, town: Town) -> None:
    name = town.unreadable[2]
    page = visit().opens(document(name))
    release(town.office, name).do()
    page.get_by_role("link", name="Release", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("only what is in quarantine can be released")


def test_all_works_without_scripts(visit: Visit) -> None:
    page = visit(scripts=False).opens("/")
    card = page.get_by_role("article", name="Altinn")
    card.get_by_role("link", name="Pause").click()
    page.get_by_role("button", name="Yes: Pause").click()
    expect(page.get_by_role("status")).to_contain_text("The connection is paused.")
    card.get_by_role("link", name="Resume").click()
    page.get_by_role("button", name="Yes: Resume").click()
    expect(page.get_by_role("status")).to_contain_text("works again")
    page.get_by_role("link", name="See the figures").click()
    expect(page.get_by_role("img", name="Bar chart")).to_be_visible()


# --- by keyboard ---


def focused(page: Page) -> str:
    """Return the text of what has the focus."""
    text: str = page.evaluate("document.activeElement.innerText || document.activeElement.value || ''")
    return text.strip()


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what says this has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if focused(page).startswith(text):
            return
    pytest.fail(f"nobody gets to {text} by keyboard")


def test_the_letter_is_found_and_downloaded_by_keyboard_alone(visit: Visit, town: Town) -> None:
    page = visit().opens("/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    tab_to(page, "Search")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(COURTS_LETTER)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?text=*")
    tab_to(page, f"{COURTS_LETTER} ·")
    page.keyboard.press("Enter")
    page.wait_for_url("**/document?*")
    tab_to(page, "Download")
    with page.expect_download() as expected:
        page.keyboard.press("Enter")
    assert expected.value.suggested_filename.endswith(".zip")


def test_a_question_is_answered_by_keyboard_alone(visit: Visit) -> None:
    page = visit().opens("/")
    page.get_by_role("article", name="Altinn").get_by_role("link", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert focused(page) == "Yes: Pause"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).not_to_be_visible()
    assert focused(page) == "Pause"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Tab")
    assert focused(page) == "Cancel"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).not_to_be_visible()
    expect(page.get_by_role("article", name="Altinn")).to_contain_text("Working")


# --- for the docs ---


SHOTS = {
    "overview": ("overview", "light", False),
    "overview-dark": ("overview", "dark", False),
    "search": ("search", "light", False),
    "document": ("letter", "light", False),
    "quarantine": ("unreadable", "light", False),
    "phone": ("overview", "light", True),
}
IMAGES = Path(__file__).parents[2] / "docs" / "images"
IMAGE_BYTES_AT_MOST = 150_000


@pytest.mark.skipif("AMTSBOTE_SCREENSHOTS" not in os.environ, reason="only `make screenshots` writes docs/images")
@pytest.mark.parametrize("name", SHOTS)
def test_a_picture_for_the_docs(visit: Visit, town: Town, name: str) -> None:
    shown, scheme, phone = SHOTS[name]
    page = visit("en", scheme, phone=phone).opens(address(town, shown))
    path = IMAGES / f"console-{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size < IMAGE_BYTES_AT_MOST


@pytest.mark.skipif("AMTSBOTE_SCREENSHOTS" not in os.environ, reason="only `make screenshots` writes docs/images")
def test_a_picture_of_a_question(visit: Visit) -> None:
    page = visit("de").opens("/")
    page.get_by_role("article", name="Altinn").get_by_role("link", name="Anhalten").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.screenshot(path=IMAGES / "console-question.png")
    assert (IMAGES / "console-question.png").stat().st_size < IMAGE_BYTES_AT_MOST
