"""The benchmarks' own arithmetic: ratios and limits, tables and pictures, the lean AWS's ledger, the bill."""

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from benchmarks import __main__ as command
from benchmarks.cloud.table import LedgerTable, Refused, write_units
from benchmarks.cost import (
    ORGANISATIONS,
    Bill,
    Observed,
    Organisation,
    Rates,
    begun,
    bill_of,
    page,
    priced,
    read_prices,
    turned,
)
from benchmarks.flows import FLOWS
from benchmarks.measured import Limit, Line, Measured, Options, alone, at_least, at_most, compared, faster
from benchmarks.pictures import picture
from benchmarks.requests_per_document import AWS, PORTAL, least
from benchmarks.table import cells, markdown, shown
from benchmarks.usage import Usage, Work, metrics_in, usage_of

TABLE = "LedgerTable"
Item = dict[str, Any]


# --- figures and limits ---


@pytest.mark.parametrize(
    ("line", "ratio", "kept"),
    [
        (faster("f", 10.0, 120.0, at_least(12.0)), 12.0, True),
        (faster("f", 10.1, 120.0, at_least(12.0)), 120.0 / 10.1, False),
        (compared("c", 1.25, 1.0, "s", at_most(1.25)), 1.25, True),
        (compared("c", 1.26, 1.0, "s", at_most(1.25)), 1.26, False),
        (alone("a", 61.0, "MB", at_most(60.0)), 61.0, False),
        (compared("c", 9.0, 1.0, "s", Limit()), 9.0, True),
    ],
)
def test_a_limit_is_judged_by_the_ratio(line: Line, ratio: float, kept: bool) -> None:
    assert math.isclose(line.ratio, ratio)
    assert line.kept is kept


def test_the_margin_is_above_one_where_there_is_room_to_spare() -> None:
    assert at_least(12).margin(24) == 2.0
    assert at_most(1.5).margin(3.0) == 0.5
    assert Limit().margin(0.0) == 1.0


def test_a_comparison_is_kept_only_when_all_of_its_lines_are() -> None:
    good, bad = alone("good", 1, "x", at_most(2)), alone("bad", 3, "x", at_most(2))
    assert Measured("n", "w", "a", (good,)).kept
    assert not Measured("n", "w", "a", (good, bad)).kept


def test_quick_options_take_the_small_sizes() -> None:
    assert (Options(quick=True).scaled(1000, 10), Options().scaled(1000, 10)) == (10, 1000)


# --- tables and pictures ---

MEASURED = Measured(
    "duba-inbound",
    "messages <come in>",
    "curl",
    (faster("fetched", 0.5, 6.0, at_least(10.0)), alone("calls", 1.2, "calls", at_most(1.03))),
    ("What has to be known.",),
)


@pytest.mark.parametrize(
    ("figure", "unit", "said"),
    [
        (0.0123, "s", "12.3 ms"),
        (12.34, "s", "12.3 s"),
        (1234.5, "MB/s", "1,234 MB/s"),
        (None, "s", "–"),
        (0.0, "s", "0 s"),
    ],
)
def test_figures_have_three_digits(figure: float | None, unit: str, said: str) -> None:
    assert shown(figure, unit) == said


def test_a_row_says_ratio_and_limit() -> None:
    assert cells(MEASURED.lines[0]) == ("fetched", "500 ms", "6 s", "12.00", "at least 10", "1.20 kept")
    assert cells(MEASURED.lines[1])[-1] == "0.86 MISSED"


def test_the_page_names_its_date_and_shows_each_picture() -> None:
    said = markdown([MEASURED], Options(runs=5), date(2026, 2, 19))
    assert "2026-02-19" in said
    assert "medians of 5 runs" in said
    assert "](duba-inbound.svg)" in said
    assert "- What has to be known." in said


def test_a_picture_is_well_formed_and_reads_on_light_and_dark() -> None:
    drawn = picture(MEASURED)
    root = Xml.fromstring(drawn)  # noqa: S314 - our own text
    bars = [each for each in root.iter() if each.tag.endswith("rect")]
    assert [bar.get("class") for bar in bars] == ["ours", "other", "missed"]
    assert float(bars[1].get("width", "0")) == 12 * float(bars[0].get("width", "0"))
    assert "prefers-color-scheme: dark" in drawn


def test_every_comparison_can_be_run_by_its_name() -> None:
    names = [command.row(module).NAME for module in command.MODULES]
    assert len(set(names)) == len(command.MODULES) == 6


def test_what_was_measured_before_stays_on_the_page(tmp_path: Any) -> None:
    other = Measured("idle-poll", "a poll", "itself", (alone("time", 0.01, "s", Limit()),))
    command.write([MEASURED], Options(), tmp_path)
    command.write([other], Options(), tmp_path)
    said = (tmp_path / "results.md").read_text()
    assert said.index("messages <come in>") < said.index("a poll")
    assert {path.name for path in tmp_path.glob("*.svg")} == {"duba-inbound.svg", "idle-poll.svg"}


# --- the lean AWS's ledger ---


def row(number: int, *, due_at: str | None = None, **more: str) -> Item:
    """A row as it travels."""
    texts = {"pk": f"ITEM#{number}", "sk": "STATE", "id": str(number), "shelf": "ITEM#duba#fetched", "shelvedAt": "1"}
    due = {} if due_at is None else {"dueQueue": "fetch#duba#klinikum", "dueAt": due_at}
    return {name: {"S": value} for name, value in {**texts, **due, **more}.items()}


def put(table: LedgerTable, item: Item, **condition: Any) -> None:
    """Write a row."""
    table.operate("PutItem", {"TableName": TABLE, "Item": item, **condition})


def due(table: LedgerTable, until: str) -> list[str]:
    """Ask for what is due, page by page."""
    request: Item = {
        "TableName": TABLE,
        "IndexName": "due",
        "KeyConditionExpression": "dueQueue = :queue AND dueAt <= :now",
        "ExpressionAttributeValues": {":queue": {"S": "fetch#duba#klinikum"}, ":now": {"S": until}},
    }
    ids: list[str] = []
    while True:
        answer = table.operate("Query", request)
        ids += [each["id"]["S"] for each in answer["Items"]]
        if "LastEvaluatedKey" not in answer:
            return ids
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def test_a_row_is_opened_once() -> None:
    table = LedgerTable()
    only_new = {"ConditionExpression": "attribute_not_exists(pk)"}
    put(table, row(1), **only_new)
    with pytest.raises(Refused, match="ConditionalCheckFailedException"):
        put(table, row(1), **only_new)


def test_the_index_holds_what_is_due_in_its_order_and_no_more() -> None:
    table = LedgerTable()
    for number, moment in ((1, "2026-03"), (2, "2026-01"), (3, "2026-09")):
        put(table, row(number, due_at=moment))
    put(table, row(4))
    assert due(table, "2026-05") == ["2", "1"]
    put(table, row(2))
    assert due(table, "2026-05") == ["1"]


def test_a_query_is_cut_at_a_megabyte_and_goes_on() -> None:
    table = LedgerTable()
    for number in range(30):
        put(table, row(number, due_at=f"2026-{number:02}", record="x" * 100_000))
    assert due(table, "2027") == [str(number) for number in range(30)]


def test_a_query_with_a_limit_reads_and_bills_so_many_rows_and_goes_on() -> None:
    table = LedgerTable()
    for number in range(3):
        put(table, row(number, due_at=f"2026-{number}"))
    table.units.clear()
    request = {
        "IndexName": "due",
        "KeyConditionExpression": "dueQueue = :queue AND dueAt <= :now",
        "ExpressionAttributeValues": {":queue": {"S": "fetch#duba#klinikum"}, ":now": {"S": "2027"}},
        "Limit": 1,
    }
    answer = table.operate("Query", request)
    assert [each["id"]["S"] for each in answer["Items"]] == ["0"]
    assert "LastEvaluatedKey" in answer
    assert table.units == {"read units": 0.5}


def test_a_million_rows_are_copies_of_one() -> None:
    table = LedgerTable()
    put(table, row(1, pk="ITEM#duba#1"))
    table.multiply("ITEM#duba#1", "STATE", "1", 100, 149)
    keys = [{"pk": {"S": f"ITEM#duba#{number}"}, "sk": {"S": "STATE"}} for number in (100, 149, 150)]
    found = table.operate("BatchGetItem", {"RequestItems": {TABLE: {"Keys": keys, "ConsistentRead": True}}})
    assert [each["id"]["S"] for each in found["Responses"][TABLE]] == ["100", "149"]
    assert table.count() == 51


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        (None, row(1), 1 + 1),  # the table, and the entry on its shelf
        (None, row(1, due_at="2026"), 1 + 1 + 1),
        (row(1, due_at="2026"), row(1, due_at="2027"), 1 + 2),  # an entry of the index moves: out and in
        (row(1, due_at="2026"), row(1), 1 + 1),
        (row(1), row(1, shelf="other"), 1 + 2),
        (None, row(1, due_at="2026", record="x" * 3000), 4 + 4 + 1),  # per kibibyte where the whole row is projected
    ],
)
def test_writes_are_counted_as_they_are_billed(before: Item | None, after: Item, units: int) -> None:
    assert write_units(before, after) == units


def test_what_the_lean_aws_does_not_know_is_refused() -> None:
    with pytest.raises(Refused):
        LedgerTable().operate("Scan", {"TableName": TABLE})


# --- the least ---


def test_the_least_is_written_down_for_every_flow() -> None:
    names = {flow.name for flow in FLOWS}
    assert names == AWS.keys() == PORTAL.keys()
    assert all(need.reason and need.requests > 0 for needs in (*AWS.values(), *PORTAL.values()) for need in needs)


def test_a_message_of_duba_needs_one_download_and_its_share_of_two_calls() -> None:
    assert least(PORTAL["duba: a message comes in"]) == pytest.approx(1.02)


# --- the bill ---

PRICES = read_prices()


def usage(**amounts: float) -> Usage:
    """Amounts by a short name."""
    return Usage(
        {{"requests": "Lambda, requests", "writes": "DynamoDB, writes"}[name]: n for name, n in amounts.items()}
    )


def observed(**changes: Any) -> Observed:
    """Something simple to make bills of."""
    tasks = ("poll", "acknowledge", "track")
    found: Mapping[str, Any] = {
        "coming_in": usage(writes=10),
        "going_out": usage(writes=20),
        "per_turn": dict.fromkeys(tasks, usage(requests=1)),
        "per_connection": dict.fromkeys(tasks, usage(requests=2)),
        "per_begun": dict.fromkeys(tasks[1:], usage(requests=1)),
        "metrics_of_connection": 5,
        "metrics_of_portal": 7,
    }
    return Observed(**(dict(found) | changes))


def test_a_small_function_takes_longer_for_what_the_processor_does() -> None:
    whole, small = (Work(1, 1.0, 0.4, memory) for memory in (1769, 442.25))
    assert whole.billed_seconds == pytest.approx(1.0)
    assert small.billed_seconds == pytest.approx(0.6 + 0.4 * 4)


def test_requests_are_billed_by_their_service() -> None:
    counted = {"s3 PUT": 2, "s3 GET": 3, "s3 HEAD": 1, "sqs SendMessageBatch": 4, "dynamodb PutItem": 9}
    found = usage_of(counted, {"write units": 16}, [Work(5, 1, 1, 1024)], log_bytes=1e9).amounts
    assert (found["S3, writes"], found["S3, reads"]) == (2, 4)
    assert found["SQS"] == 4 + 2 * 5, "Lambda receives and deletes each batch"
    assert found["DynamoDB, writes"] == 16
    assert found["CloudWatch, logs"] == pytest.approx(1.0, rel=1e-5)
    assert "DynamoDB" not in found


def test_what_has_no_price_is_not_left_out_silently() -> None:
    with pytest.raises(KeyError, match="Mainframe"):
        priced(Usage({"Mainframe": 1.0}), PRICES)


def test_idle_costs_grow_with_turns_and_connections_and_not_with_documents() -> None:
    few, many = Organisation("few", 1, 1000), Organisation("many", 1, 2000)
    first, second = (bill_of(who, observed(), PRICES, Rates(), Usage()) for who in (few, many))
    assert first.idle == second.idle
    assert second.documents["DynamoDB, writes"] == pytest.approx(2 * first.documents["DynamoDB, writes"])
    slow, fast = (turned(few, observed(), Rates(poll=minutes)).amounts["Lambda, requests"] for minutes in (5, 1))
    assert fast > slow


def test_the_share_that_comes_in_is_weighed() -> None:
    bill = bill_of(Organisation("one", 0, 100), observed(), PRICES, Rates(), Usage())
    assert bill.documents["DynamoDB, writes"] == pytest.approx(100 * (0.8 * 10 + 0.2 * 20) * PRICES["DynamoDB, writes"])


def test_metrics_by_connection_have_their_price_and_change_nothing_else() -> None:
    centre = ORGANISATIONS[-1]
    without, with_them = (
        bill_of(centre, observed(), PRICES, Rates(connection_metrics=said), Usage()) for said in (False, True)
    )
    more = with_them.idle["CloudWatch, metrics"] - without.idle["CloudWatch, metrics"]
    assert more == pytest.approx(500 * 5 * PRICES["CloudWatch, metrics"])
    assert with_them.total - without.total == pytest.approx(more)


def test_a_turn_with_work_costs_an_invocation_and_there_are_no_more_of_them_than_turns_or_documents() -> None:
    def invocations(documents: int) -> float:
        return begun(Organisation("one", 1, documents), observed(), Rates()).amounts["Lambda, requests"]

    assert invocations(0) == 0.0
    assert invocations(100) == pytest.approx(100, rel=0.01), "each document has a turn of its own"
    most = 2 * Rates().turns("acknowledge")
    assert invocations(10**9) == pytest.approx(most), "two tasks, each at each of its turns"
    assert invocations(100_000) < most


def test_the_page_has_a_sum_for_everybody() -> None:
    bill = Bill({"SQS": 1.5}, {"SQS": 2.5})
    said = page({"as it is": {who.name: bill for who in ORGANISATIONS}})
    assert said.count("**1.50** | **2.50**") == len(ORGANISATIONS)


def test_metrics_are_told_apart_by_whom_they_speak_of() -> None:
    def line(*names: str, **more: str) -> str:
        directive = {"Metrics": [{"Name": name} for name in names]}
        return json.dumps({"_aws": {"CloudWatchMetrics": [directive]}, **more})

    log = "\n".join((line("PollAge"), line("Found", "Stored", connection="klinikum"), '{"message": "polled"}'))
    assert metrics_in(log) == ({"Found", "Stored"}, {"Found", "Stored", "PollAge"})


def test_every_price_says_what_it_is_for() -> None:
    known = json.loads((command.FOLDER / "prices.json").read_text())
    assert known["region"] == "eu-central-1"
    assert known["knownFor"]
    assert all(price["per"] and price["usd"] > 0 for price in known["prices"].values())
