"""What the pages tell and do: search, a document's life, downloads that are checked, and actions that ask first."""

import hashlib
import json
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from amtsbote.deliveries import Failed, Failure, Noted, Reported, SendLease, received
from amtsbote.errors import Quarantine
from amtsbote.keys import document_key, item_prefix, quarantine_key
from amtsbote.lifecycle import Committed, LeaseTaken, State
from amtsbote.messages import FetchRequest
from amtsbote.operations.details import File
from amtsbote.operations.office import Account
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import SHOWN, Delivery, Outcome
from amtsbote.reconciliation import Difference, Kind, Repair, Report
from amtsbote.status import polled
from console.chart import HEIGHT, TOP, chart
from console.retention import Patience, alarms_of, parameter_of
from console.traffic import DAYS, Day, traffic
from console.views import files
from console.views.files import checked
from console.views.reconciliation import reference_of
from tests.template.loading import load_template
from tests.unit.console.conftest import Browser, fields
from tests.unit.operations.support import acknowledged, found, quarantined
from tests.unit.support import NOW, later, refusal

NAME = "duba/klinikum/214"
HOSTILE = "<script>alert(1)</script>\u202e\"'&" + "ä" * 80
KEY = "docxworld/klinikum/BRIEF/Brief.pdf"


def store(browser: Browser, id: str = "214", content: bytes = b"zip", sha256: str | None = None) -> str:
    """Let a document be in the inbox, not yet acknowledged; returns its file's key."""
    prefix = item_prefix("duba", "klinikum", id)
    key = f"{prefix}/message-{id}.zip"
    digest = sha256 or hashlib.sha256(content).hexdigest()
    file = {"key": key, "name": f"message-{id}.zip", "size": len(content), "sha256": digest}
    said = {"files": [file], "metadata": {"aktenzeichen": "12 XVII 214/26"}}
    for place, body in ((key, content), (document_key(prefix), json.dumps(said).encode())):
        browser.office.s3.put_object(Bucket=browser.office.stack.inbox_bucket, Key=place, Body=body)
    ledger, row = browser.office.ledger, found(id, aktenzeichen="12 XVII 214/26")
    ledger.open(row)
    leased = ledger.advance(row, LeaseTaken(later(minutes=4)))
    ledger.advance(leased, Committed(AcknowledgePolicy.STORED))
    return key


def keep(browser: Browser, content: bytes = b"no zip") -> None:
    """Let a document be in quarantine, with its bytes."""
    quarantined(browser.office.ledger, found())
    key = quarantine_key(item_prefix("duba", "klinikum", "214"), "message-214.zip")
    browser.office.s3.put_object(Bucket=browser.office.stack.inbox_bucket, Key=key, Body=content)


def deliver(browser: Browser, key: str = KEY) -> Any:
    """Let a drop be on its way and return its row."""
    portal, connection, *_ = key.split("/")
    first = received(browser.office.stack.outbox_bucket, key, "v1", "1", (portal, connection), NOW)
    ledger = browser.office.ledger
    return ledger.advance_drop(ledger.open_drop(first), SendLease(later(hours=1)))


def state(browser: Browser) -> State | None:
    """Return the state of the document."""
    row = browser.office.ledger.item("duba", "klinikum", "214")
    return row.state if row else None


# --- the overview ---


def test_the_overview_measures_the_oldest_against_what_the_portal_keeps(browser: Browser) -> None:
    store(browser)
    browser.clock.forward(days=12)
    page = browser.text("/")
    assert "12 days old; the portal keeps documents for about 30 days" in page
    assert 'value="40"' in page
    assert "Too old" not in page
    browser.clock.forward(days=8)
    assert "Too old" in browser.text("/")


def test_all_being_well_is_said_and_else_what_waits(browser: Browser) -> None:
    assert "Nobody has to do anything" in browser.text("/")
    keep(browser)
    page = browser.text("/")
    assert "Nobody has to do anything" not in page
    assert 'href="/search?state=QUARANTINED"' in page


def test_a_connection_that_no_poll_reaches_is_not_called_well(browser: Browser) -> None:
    assert "condition-new" in browser.text("/")
    ledger = browser.office.ledger
    status = ledger.status("duba", "klinikum")
    ledger.change_status(status, lambda each: polled(each, None, browser.clock(), whole=True))
    browser.clock.forward(minutes=59)
    page = browser.text("/")
    assert "condition-works" in page and "Nobody has to do anything" in page
    browser.clock.forward(minutes=2)
    page = browser.text("/")
    assert "No longer polled" in page and "condition-silent" in page
    assert "Nobody has to do anything" not in page


def test_a_connection_with_a_wrong_secret_comes_first_with_its_problem(browser: Browser) -> None:
    browser.office.vault.write("amtsbote/duba/zuletzt", '{"baseUrl": 7}')
    names = re.findall(r"<small>(\w+)</small></h3>", browser.text("/"))
    assert names == ["zuletzt", "klinikum"]
    assert "SECRET_INVALID" in browser.text("/")


@pytest.mark.parametrize(
    ("age", "alarm", "kept", "share", "late"),
    [
        (3, 20, 30, 10, False),
        (20, 20, 30, 66, True),
        (90, 20, 30, 100, True),
        (7, 14, None, 50, False),
        (7, None, None, 0, False),
    ],
)
def test_patience(age: int, alarm: int | None, kept: int | None, share: int, late: bool) -> None:
    days = [None if each is None else timedelta(days=each) for each in (alarm, kept)]
    patience = Patience(timedelta(days=age), *days)
    assert (patience.share, patience.is_late) == (share, late)


class Described:
    """A stack's description with the parameters of the template."""

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        """Return the stack."""
        parameters = load_template()["Parameters"]
        said = [{"ParameterKey": name, "ParameterValue": str(each["Default"])} for name, each in parameters.items()]
        return {"Stacks": [{"StackName": StackName, "Parameters": said}]}


def test_the_ages_of_alarm_are_those_of_the_template() -> None:
    client: Any = Described()
    days = {portal: age.days for portal, age in alarms_of(client, "amtsbote").items()}
    assert days == {"duba": 20, "docxworld": 7, "digitale-gemeinde": 7, "altinn": 14}
    assert parameter_of("digitale-gemeinde") == "DigitaleGemeindeUnacknowledgedAlarmSeconds"


# --- traffic ---


def test_the_days_are_counted_by_when_documents_were_first_seen(browser: Browser) -> None:
    ledger = browser.office.ledger
    acknowledged(ledger, found("1", NOW - timedelta(days=2)))
    quarantined(ledger, found("2"))
    deliver(browser, "duba/klinikum/F/a.json")
    days = traffic(browser.office, browser.office.accounts_with_rows())
    assert len(days) == DAYS
    assert [(day.received, day.sent) for day in days[-3:]] == [(1, 0), (0, 0), (1, 1)]
    assert not any(day.more for day in days)


def test_what_is_beyond_the_limit_is_said_to_be_there(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.traffic.ROWS_AT_MOST", 2)
    for number in range(4):
        acknowledged(browser.office.ledger, found(str(number), NOW - timedelta(days=number)))
    days = traffic(browser.office, browser.office.accounts_with_rows())
    assert [(day.received, day.more) for day in days[-3:]] == [(0, True), (1, True), (1, False)]
    assert "at least as many" in browser.text("/traffic")


def test_the_highest_bar_reaches_the_top_and_none_stands_for_nothing() -> None:
    bars = chart([Day(NOW.date(), 4, 2), Day(NOW.date(), 0, 0)]).bars
    assert bars[0].height == bars[1].height * 2
    assert bars[0].y == TOP
    assert all(0 <= bar.y <= HEIGHT for bar in bars)
    assert [bar.height for bar in bars[2:]] == [0, 0]
    assert chart([]).bars == ()


# --- search ---


@pytest.mark.parametrize(
    "query",
    [
        {"text": "12 xvii 214/26"},
        {"text": "12 XVII*"},
        {"text": "12 XVII 214/26", "within": "case"},
        {"text": "214"},
        {"text": "214", "within": "portal_id"},
        {"text": NAME},
        {"connection": "duba/klinikum"},
        {"connection": "duba", "direction": "in", "state": "STORED"},
        {"first": "2026-02-19", "last": "2026-02-19"},
    ],
)
def test_a_document_is_found_by_what_is_known_of_it(browser: Browser, query: dict[str, str]) -> None:
    store(browser)
    page = browser.text("/search", **query)
    assert "12 XVII 214/26" in re.sub(r"<input[^>]*>", "", page)
    assert page.count('class="headline"') == 1


@pytest.mark.parametrize(
    "query",
    [
        {"text": "12 XVII"},
        {"text": "214", "within": "case"},
        {"text": "214", "direction": "out"},
        {"text": "214", "state": "QUARANTINED"},
        {"text": "214", "last": "2026-02-18"},
        {"text": "214", "connection": "altinn"},
        {"state": "ARRIVING"},
        {"first": "2026-02-20"},
    ],
)
def test_what_does_not_fit_is_not_found(browser: Browser, query: dict[str, str]) -> None:
    store(browser)
    page = browser.text("/search", **query)
    assert 'class="headline"' not in page
    assert "Nothing found." in page


@pytest.mark.parametrize("query", [{"first": "tuesday"}, {"state": "LOST"}, {"connection": "duba/K!"}])
def test_a_question_that_makes_no_sense_is_answered_with_a_sentence(browser: Browser, query: dict[str, str]) -> None:
    answer = browser.get("/search", **query)
    assert answer.status_code == 400
    assert 'class="notice bad"' in answer.text


def test_pages_follow_each_other_to_the_end(browser: Browser) -> None:
    for number in range(30):
        browser.office.ledger.open(found(str(number), later(seconds=number)))
    first = browser.text("/search", direction="in")
    (onward,) = re.findall(r'href="(/search[^"]*)" rel="next"', first)
    second = browser.text(onward.replace("&amp;", "&"))
    assert (first.count('class="headline"'), second.count('class="headline"')) == (25, 5)
    assert 'rel="next"' not in second
    assert "direction=in" in onward


def test_a_search_never_reads_the_whole_table(browser: Browser) -> None:
    store(browser)
    operations: list[str] = []
    browser.office.ledger._client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: operations.append(model.name)
    )
    browser.text("/search", text="12 XVII 214/26")
    browser.text("/search")
    assert operations
    assert "Scan" not in operations


# --- a document ---


def test_a_document_s_life_is_told_with_its_files(browser: Browser) -> None:
    store(browser)
    page = browser.text("/document", name=NAME)
    assert [word for word in ("Discovered", "Being fetched", "Stored") if word not in page] == []
    assert hashlib.sha256(b"zip").hexdigest() in page
    assert 'title="2026-02-19 14:30:00 UTC"' in page
    assert "Acknowledge by hand" in page


def test_an_unknown_document_is_told_of(browser: Browser) -> None:
    answer = browser.get("/document", name="4711")
    assert answer.status_code == 404
    assert "nothing is known of" in answer.text


def test_a_delivery_shows_how_far_it_is_until_it_ends(browser: Browser) -> None:
    row = deliver(browser)
    shown = {SHOWN: {"at": NOW.isoformat(), "result": {"bytesSent": 25, "bytesTotal": 100}}}
    row = browser.office.ledger.advance_drop(row, Noted(row.fence, json.dumps(shown)))
    browser.office.receipts.write(row)
    page = browser.text("/document", name=KEY)
    assert '<progress max="100" value="25"' in page
    assert "25 B of 100 B are at the portal (25 %)" in page
    part = browser.get("/progress", name=KEY)
    assert "every 2s" in part.text
    assert "<html" not in part.text
    browser.office.ledger.advance_drop(row, Reported(Delivery("up-7", Outcome.DELIVERED), row.fence))
    part = browser.get("/progress", name=KEY)
    assert part.headers["HX-Refresh"] == "true"
    assert "every 2s" not in part.text


def test_a_magic_link_is_left_out_of_a_receipt(browser: Browser) -> None:
    key = "duba/klinikum/BetreuungAnregung/a.json"
    row = deliver(browser, key)
    result = {"magicLink": "https://elim.example.com/geheim"}
    done = Delivery("job", Outcome.DELIVERED, result=result, secret_until=later(days=3))
    browser.office.receipts.write(browser.office.ledger.advance_drop(row, Reported(done, row.fence)))
    for page in (browser.text("/document", name=key), browser.text("/receipt", name=key)):
        assert "magicLink" in page
        assert "geheim" not in page


def test_the_function_the_size_and_the_hash_of_a_step_are_shown_where_they_are_known(browser: Browser) -> None:
    ledger, row = browser.office.ledger, found()
    ledger.open(row)
    past = ledger.item("duba", "klinikum", "214")
    assert past is not None
    page = browser.text("/document", name=NAME)
    assert (past.history[-1].by or "Discovered") in page


# --- reconciliation ---


def test_a_connection_that_was_never_compared_says_so(browser: Browser) -> None:
    assert "not compared yet" in browser.text("/reconciliation")
    assert browser.get("/reconciliation", connection="duba/klinikum").status_code == 404
    assert browser.get("/reconciliation", connection="duba/klinikum", at="yesterday").status_code == 404


def test_reports_are_listed_and_read(browser: Browser) -> None:
    gone = Difference(kind=Kind.UNKNOWN_THERE, says="the portal no longer lists it", id="214", repair=Repair.ASK_PORTAL)
    stray = Difference(kind=Kind.NO_ROW, says="nobody knows it", key=f"duba/klinikum/{HOSTILE}")
    for at, differences in ((NOW - timedelta(days=1), ()), (NOW, (gone, stray))):
        counts = Counter(each.kind for each in differences)
        said = Report(
            portal="duba", connection="klinikum", started_at=at, complete=True, differences=differences, counts=counts
        )
        browser.office.reports.write(said)
    assert "2 differences" in browser.text("/reconciliation")
    page = browser.text("/reconciliation", connection="duba/klinikum")
    assert 'href="/document?name=duba%2Fklinikum%2F214"' in page
    assert "The portal no longer lists it" in page
    assert "<script>alert" not in page
    earlier = browser.text("/reconciliation", connection="duba/klinikum", at=(NOW - timedelta(days=1)).isoformat())
    assert "All agrees" in earlier


def a_report(browser: Browser, *differences: Difference) -> str:
    """Write the report of a comparison, and return the name of its first difference for the action that repairs it."""
    counts = Counter(each.kind for each in differences)
    report = Report(
        portal="duba", connection="klinikum", started_at=NOW, complete=True, differences=differences, counts=counts
    )
    browser.office.reports.write(report)
    return reference_of(Account("duba", "klinikum"), report, 0)


def test_a_difference_is_repaired_one_at_a_time(browser: Browser) -> None:
    browser.office.ledger.open(found())
    gone = Difference(kind=Kind.UNKNOWN_THERE, says="it is not listed", id="214", repair=Repair.ASK_PORTAL)
    stray = Difference(kind=Kind.NO_ROW, says="nobody knows it", key="duba/klinikum/7/document.json")
    of = a_report(browser, gone, stray)
    page = browser.text("/reconciliation", connection="duba/klinikum")
    assert page.count("action=repair") == 2  # one button: its address, and the same for the dialog
    assert "ask duba for duba/klinikum/214 once more" in browser.text("/confirm", action="repair", of=of)
    assert "That is under way" in browser.confirm("repair", of).text
    queue = browser.office.sqs.receive_message(QueueUrl=browser.office.stack.queue_url("fetch", "duba"))
    assert [json.loads(each["Body"])["id"] for each in queue["Messages"]] == ["214"]
    deeds = browser.office.ledger.deeds("duba", "klinikum", after=0, limit=9)
    assert [deed.action for deed in deeds] == ["repair"]


@pytest.mark.parametrize("number", ["7", "-1", "", "one", "²"])
def test_a_difference_that_is_not_in_the_report_is_not_repaired(browser: Browser, number: str) -> None:
    of = a_report(browser, Difference(kind=Kind.NO_ROW, says="nobody knows it", key="duba/klinikum/7/document.json"))
    answer = browser.get("/confirm", action="repair", of=f"{of.rpartition(' ')[0]} {number}")
    assert answer.status_code == 404
    assert "no such difference" in answer.text


# --- in German ---


def test_a_german_reader_is_asked_and_refused_in_german(browser: Browser) -> None:
    browser.language = "de"
    keep(browser)
    page = browser.text("/confirm", action="release", of=NAME)
    assert '<blockquote lang="de"><bdi>Amtsbote wird' in page
    assert "in den Eingang legen, unlesbar wie es ist" in page
    assert "das Portal erfährt dann, dass wir es haben" in page
    refused = browser.get("/confirm", action="acknowledge", of=NAME).text
    assert "hat den Stand „In Quarantäne“; ein Portal erfährt nur von dem, was gespeichert ist" in refused
    assert '<p lang="en">' not in refused


# --- hostile names ---


def test_a_hostile_name_is_spelled_out_and_never_markup(browser: Browser) -> None:
    key = f"duba/klinikum/F/{HOSTILE.replace('/', '∕')}.json"
    deliver(browser, key)
    quarantined(browser.office.ledger, found(HOSTILE, aktenzeichen=HOSTILE))
    for page in (
        browser.text("/search"),
        browser.text("/document", name=key),
        browser.text("/document", name=f"duba/klinikum/{HOSTILE}"),
        browser.text("/search", text=HOSTILE),
    ):
        assert "<script>alert" not in page
        assert "\u202e" not in re.sub(r'"[^"]*"', "", page)
        assert "U+202E" in page


def test_a_hostile_name_goes_through_a_confirmation_unchanged(browser: Browser) -> None:
    id_ = f"a\nb\r\n{HOSTILE}"
    quarantined(browser.office.ledger, found(id_))
    answer = browser.confirm("retry", f"duba/klinikum/{id_}")
    assert "Another try has been asked for" in answer.text
    row = browser.office.ledger.item("duba", "klinikum", id_)
    assert row is not None
    assert row.state is State.DISCOVERED


# --- downloads ---


def test_a_file_is_downloaded_under_its_name_and_never_shown_by_the_browser(browser: Browser) -> None:
    key = store(browser, content=b"<script>alert(1)</script>")
    answer = browser.get("/file", name=NAME, key=key)
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''message-214.zip"
    assert answer.headers["content-length"] == "25"


@pytest.mark.parametrize("key", ["", "duba/klinikum/215/message-215.zip", "receipts/a.json", "../secret"])
def test_only_a_document_s_own_files_are_downloaded(browser: Browser, key: str) -> None:
    store(browser)
    assert browser.get("/file", name=NAME, key=key).status_code == 404


def test_a_file_that_is_not_what_was_stored_breaks_off_before_its_end(browser: Browser) -> None:
    key = store(browser, content=b"x" * 3_000_000, sha256="0" * 64)
    with pytest.raises(Quarantine, match="SHA256_DIFFERS"):
        browser.get("/file", name=NAME, key=key)


class Body:
    """An object's content in three pieces."""

    def iter_chunks(self, _: int) -> list[bytes]:
        """Return the pieces."""
        return [b"a", b"b", b"c"]


def test_the_last_piece_goes_only_when_all_are_right() -> None:
    right, wrong = (File("k", "n", 3, digest) for digest in (hashlib.sha256(b"abc").hexdigest(), "0" * 64))
    assert b"".join(checked(Body(), right)) == b"abc"
    with pytest.raises(Quarantine, match="SHA256_DIFFERS"):
        list(checked(Body(), wrong))
    pieces = checked(Body(), wrong)
    assert [next(pieces), next(pieces)] == [b"a", b"b"]
    assert list(checked(Body(), File("k", "n", 3))) == [b"a", b"b", b"c"]


def test_what_is_in_quarantine_can_be_downloaded_too(browser: Browser) -> None:
    keep(browser)
    (link,) = re.findall(r'href="(/file[^"]*)"', browser.text("/document", name=NAME))
    assert browser.get(link.replace("&amp;", "&")).content == b"no zip"


def test_the_version_that_was_dropped_is_downloaded_and_not_a_newer_one(browser: Browser) -> None:
    s3, bucket = browser.office.s3, browser.office.stack.outbox_bucket
    version = s3.put_object(Bucket=bucket, Key=KEY, Body=b"brief")["VersionId"]
    s3.put_object(Bucket=bucket, Key=KEY, Body=b"newer")
    browser.office.ledger.open_drop(received(bucket, KEY, version, "1", ("docxworld", "klinikum"), NOW))
    (link,) = re.findall(r'href="(/file[^"]*)"', browser.text("/document", name=KEY))
    answer = browser.get(link.replace("&amp;", "&"))
    assert (answer.content, answer.headers["content-length"]) == (b"brief", "5")


def test_a_dropped_file_that_is_gone_is_not_offered(browser: Browser) -> None:
    deliver(browser)
    assert 'href="/file' not in browser.text("/document", name=KEY)


def test_a_name_in_a_header_is_only_a_name() -> None:
    header = files._attached('a"\r\nSet-Cookie: x=1\u202e;.pdf')["Content-Disposition"]
    assert re.fullmatch(r"attachment; filename\*=UTF-8''[A-Za-z0-9%._-]+", header)


# --- actions ---


def test_a_confirmation_says_what_will_happen_and_changes_nothing(browser: Browser) -> None:
    keep(browser)
    page = browser.text("/confirm", action="retry", of=NAME)
    assert "Amtsbote will fetch duba/klinikum/214 again from duba." in page
    assert state(browser) is State.QUARANTINED


def test_a_confirmed_action_is_done_and_told_once(browser: Browser) -> None:
    keep(browser)
    form = fields(browser.text("/confirm", action="retry", of=NAME, back=f"/document?name={NAME}"))
    answer = browser.post("/do", form)
    assert answer.status_code == 303
    assert state(browser) is State.DISCOVERED
    queue = browser.office.sqs.receive_message(QueueUrl=browser.office.stack.queue_url("fetch", "duba"))
    wanted = FetchRequest(portal="duba", connection="klinikum", id="214").body()
    assert [json.loads(each["Body"]) for each in queue["Messages"]] == [wanted]
    location = answer.headers["location"]
    assert location.startswith("/document?name=duba/klinikum/214&notice=")
    assert "Another try has been asked for" in browser.text(location)
    assert "Another try has been asked for" not in browser.text(location)


def test_what_is_no_longer_so_is_asked_again(browser: Browser) -> None:
    keep(browser)
    form = fields(browser.text("/confirm", action="release", of=NAME))
    key = quarantine_key(item_prefix("duba", "klinikum", "214"), "more.zip")
    browser.office.s3.put_object(Bucket=browser.office.stack.inbox_bucket, Key=key, Body=b"more")
    answer = browser.post("/do", form)
    assert answer.status_code == 409
    assert "Something has changed meanwhile" in answer.text
    assert "more.zip (4 bytes)" in answer.text
    assert state(browser) is State.QUARANTINED
    assert browser.post("/do", fields(answer.text)).status_code == 303
    assert state(browser) is State.STORED


@pytest.mark.parametrize(("action", "said"), [("release", "has been released"), ("keep", "stays in quarantine")])
def test_quarantine_is_left_or_kept(browser: Browser, action: str, said: str) -> None:
    keep(browser)
    assert said in browser.confirm(action, NAME).text
    assert state(browser) is (State.STORED if action == "release" else State.QUARANTINED)


def test_that_somebody_keeps_a_document_is_in_the_trail(browser: Browser) -> None:
    keep(browser)
    browser.confirm("keep", NAME)
    deeds = browser.office.ledger.deeds("duba", "klinikum", after=0, limit=9)
    assert [(deed.action, deed.about) for deed in deeds] == [("keep", "214")]


def test_a_stored_document_is_acknowledged(browser: Browser) -> None:
    store(browser)
    assert "The portal is being told" in browser.confirm("acknowledge", NAME).text


def test_a_connection_is_paused_and_resumed(browser: Browser) -> None:
    assert "is paused" in browser.confirm("pause", "duba/klinikum").text
    assert "Paused" in browser.text("/")
    assert "works again" in browser.confirm("resume", "duba/klinikum").text
    assert "Paused" not in browser.text("/")


@pytest.mark.parametrize("of", ["", "duba", "duba/klinikum"])
def test_a_comparison_is_asked_for(browser: Browser, of: str) -> None:
    assert "comparison has been asked for" in browser.confirm("reconcile", of).text
    queue = browser.office.sqs.receive_message(QueueUrl=browser.office.stack.queue_url("poll", "duba"))
    assert [json.loads(each["Body"])["task"] for each in queue["Messages"]] == ["reconcile"]


def test_a_test_tells_what_it_found(browser: Browser) -> None:
    browser.office.vault.write("amtsbote/duba/kaputt", '{"baseUrl": 7}')
    answer = browser.confirm("test", "duba/kaputt")
    assert "SECRET_INVALID" in answer.text
    assert 'class="notice bad"' in answer.text


def test_dead_letters_are_shown_and_then_sent_back(browser: Browser) -> None:
    body = FetchRequest(portal="duba", connection="klinikum", id="214").body()
    for said in (body, {"unknown": True}):
        browser.office.sqs.send_message(
            QueueUrl=browser.office.stack.dead_letter_queue_url, MessageBody=json.dumps(said)
        )
    page = browser.text("/confirm", action="redrive", of="")
    assert "fetch of duba/klinikum/214" in page
    answer = browser.confirm("redrive", "")
    assert "1 sent back to their queues, 1 left" in answer.text


@pytest.mark.parametrize(
    ("action", "of", "code"),
    [
        ("retry", "duba/klinikum/4711", "NOT_FOUND"),
        ("release", NAME, "NOT_QUARANTINED"),
        ("keep", NAME, "NOT_QUARANTINED"),
        ("retry", NAME, "NOTHING_TO_RETRY"),
        ("pause", "duba", "WRONG_CONNECTION"),
        ("test", "klinikum", "WRONG_CONNECTION"),
        ("resume", "bauamt/a", "UNKNOWN_PORTAL"),
        ("reconcile", "altinn", "NO_CONNECTION"),
        ("delete-all", "", "UNKNOWN_ACTION"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_sentence(browser: Browser, action: str, of: str, code: str) -> None:
    store(browser)
    form = {"csrf": browser.keys.form, "action": action, "of": of, "says": "", "back": "/"}
    for answer in (browser.get("/confirm", action=action, of=of), browser.post("/do", form)):
        assert answer.status_code in (404, 409)
        assert code in answer.text


def test_a_refusal_of_a_part_is_read_as_a_whole_page(browser: Browser) -> None:
    browser.headers["HX-Request"] = "true"
    answer = browser.get("/confirm", action="release", of="duba/klinikum/4711")
    assert (answer.status_code, answer.text) == (200, "")
    browser.headers.clear()
    assert "nothing is known of" in browser.get(answer.headers["HX-Redirect"]).text


def test_a_question_is_a_part_of_a_page_where_that_is_asked_for(browser: Browser) -> None:
    browser.headers["HX-Request"] = "true"
    part = browser.text("/confirm", action="pause", of="duba/klinikum")
    assert "<html" not in part
    assert "Yes: Pause" in part
    assert "<html" not in browser.text("/traffic")


def test_a_failed_delivery_that_cannot_succeed_is_not_offered_again(browser: Browser) -> None:
    row = deliver(browser)
    browser.office.ledger.advance_drop(row, Failed(Failure("TARGET_UNKNOWN", "there is none"), row.fence))
    page = browser.text("/document", name=KEY)
    assert "Another try does not help" in page
    assert "action=retry" not in page


def test_what_aws_refuses_is_told_by_its_code_alone(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise refusal("AccessDeniedException")

    monkeypatch.setattr("console.views.overview.overview", refused)
    answer = browser.get("/")
    assert answer.status_code == 502
    assert "AccessDeniedException" in answer.text
    assert "geheim" not in answer.text
