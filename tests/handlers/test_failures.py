"""What a handler answers, and what it logs, when records, portals or its own code go wrong."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web

from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import SimulatedPortal, serve
from tests.handlers.cloud import PASSWORD, Cloud, sample
from tests.handlers.runtime_api import Result

CANARY = "Kanarienvogel"  # in places whose content must never be logged
FETCH_QUEUE = "FetchDubaQueue"
BATCH = 10
FIRST_PAUSE_SECONDS = (4, 6)  # five, with a fifth of jitter either way
COMES_AGAIN_WITHIN_SECONDS = 8  # and not only after the visibility timeout of the queue, 18 minutes


def crashes(result: Result) -> list[dict[str, Any]]:
    """Return the log lines of records that crashed."""
    return [line for line in result.lines if line["message"] == "crashed"]


def requests(connection: str, ids: Sequence[int]) -> list[dict[str, str]]:
    """Return fetch requests."""
    return [{"portal": "duba", "connection": connection, "id": str(id_)} for id_ in ids]


def polled(cloud: Cloud, connection: str) -> None:
    """Let poll open the rows of what the portal lists."""
    assert cloud.function("poll", "duba").invoke(sample("poll", connection=connection)).failures == []
    cloud.bodies(FETCH_QUEUE)


def test_a_portal_that_fails_makes_just_that_message_come_again_soon(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    for id_ in (1, 2):
        duba.add_message(id_)
    polled(cloud, connection)
    duba.faults.add(Fault(Kind.SERVER_ERROR, "GET /.*/download/2", status=500))
    records = cloud.delivered(FETCH_QUEUE, *requests(connection, [1, 2]))
    of_second = next(record["messageId"] for record in records if '"2"' in record["body"])

    result = cloud.function("fetch", "duba").invoke({"Records": records})

    assert result.failures == [of_second]
    (line,) = [line for line in result.lines if line["message"] == "deferred"]
    low, high = FIRST_PAUSE_SECONDS
    assert low <= line["pause_seconds"] <= high
    assert cloud.received(FETCH_QUEUE) == set()
    assert cloud.received(FETCH_QUEUE, COMES_AGAIN_WITHIN_SECONDS) == {of_second}
    assert [cloud.row("duba", connection, id_)["state"] for id_ in ("1", "2")] == ["STORED", "DISCOVERED"]


def test_a_record_that_crashes_leaves_the_other_nine_alone(cloud: Cloud, duba: SimulatedDuba, connection: str) -> None:
    for id_ in range(1, BATCH + 1):
        duba.add_message(id_, aktenzeichen=f"{CANARY} {id_}")
    polled(cloud, connection)
    cloud.change_row("duba", connection, "4", record=f'{{"aktenzeichen": "{CANARY}"')
    records = cloud.delivered(FETCH_QUEUE, *requests(connection, range(1, BATCH + 1)))
    spoiled = next(record["messageId"] for record in records if '"4"' in record["body"])

    result = cloud.function("fetch", "duba").invoke({"Records": records})

    assert result.failures == [spoiled]
    states = [cloud.row("duba", connection, str(id_))["state"] for id_ in range(1, BATCH + 1)]
    assert states.count("STORED") == BATCH - 1
    (line,) = crashes(result)
    assert (line["level"], line["error_type"]) == ("ERROR", "JSONDecodeError")
    assert any(place.startswith("fetch.py:") for place in line["at"]), "it says where"
    assert result.metrics["Crashed"] == 1
    assert CANARY not in result.log
    assert "exception" not in line, "the text of an exception may hold data"


def test_what_a_portal_said_is_not_logged_when_it_breaks_the_code(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    duba.add_message(1, aktenzeichen=CANARY)
    polled(cloud, connection)
    cloud.change_row("duba", connection, "1", record=f'{{"aktenzeichen": "{CANARY}"')

    result = cloud.function("fetch", "duba").invoke(
        {"Records": cloud.delivered(FETCH_QUEUE, *requests(connection, [1]))}
    )

    assert len(result.failures) == 1
    assert [line["error_type"] for line in crashes(result)] == ["JSONDecodeError"]
    assert CANARY not in result.log


@pytest.mark.parametrize(
    "body",
    [
        f'{{"portal": "duba", "connection": "{CANARY}"',
        f'"{CANARY}"',
        f'{{"portal": "duba", "connection": ["{CANARY}"], "id": 1}}',
        "",
    ],
    ids=["cut short", "a text", "wrong types", "empty"],
)
def test_a_malformed_body_fails_alone(cloud: Cloud, duba: SimulatedDuba, connection: str, body: str) -> None:
    duba.add_message(1)
    polled(cloud, connection)
    event = sample("fetch", connection=connection, id="1")
    event["Records"][1]["body"] = body

    result = cloud.function("fetch", "duba").invoke(event)

    assert result.failures == [event["Records"][1]["messageId"]]
    assert cloud.row("duba", connection, "1")["state"] == "STORED"
    assert [line["error_type"] for line in crashes(result)] == ["ValidationError"]
    assert CANARY not in result.log


def test_an_error_that_escapes_a_handler_has_its_own_type_and_tells_no_data(cloud: Cloud) -> None:
    function = cloud.function("fetch", "duba")
    without_records = function.invoke({"records": CANARY})
    without_id = function.invoke({"Records": [{"body": CANARY}]})

    assert [each.error_type for each in (without_records, without_id)] == ["KeyError", "KeyError"]
    assert [each.payload["errorMessage"] for each in (without_records, without_id)] == ["'Records'", "'messageId'"]
    assert CANARY not in without_records.log + without_id.log
    assert not function.invoke({"Records": []}).failed, "the process lives on"


class Babbler(SimulatedPortal):
    """A portal that answers every request with words that name persons."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__()
        self._answer = status, body

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Everything is answered alike."""
        return [web.route("*", "/{path:.*}", self._babble)]

    async def _babble(self, _: web.Request) -> web.Response:
        status, body = self._answer
        return web.json_response(body, status=status, reason=CANARY)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error": CANARY}),
        (401, {"error": CANARY}),
        (400, {"message": CANARY, CANARY: [CANARY]}),
        (302, {"location": CANARY}),
        (200, {"messages": CANARY}),
        (200, [{"id": CANARY, "direction": CANARY, "createdAt": CANARY}]),
        (200, CANARY),
    ],
)
def test_the_words_of_a_portal_are_in_no_log(cloud: Cloud, status: int, body: object) -> None:
    with serve(Babbler(status, body)) as portal:
        login = {"username": "amtsbote", "password": PASSWORD}
        connection = cloud.connect("duba", {"baseUrl": portal.base_url, **login})
        result = cloud.function("poll", "duba").invoke(sample("poll", connection=connection))

    assert result.failures == [], "the schedule comes again anyway"
    assert {line.get("connection") for line in result.lines if line["level"] != "INFO"} <= {connection, None}
    assert [line for line in result.lines if line["level"] != "INFO"], "it is told that something is wrong"
    assert {line["function_request_id"] for line in result.lines} == {result.request_id}
    assert CANARY not in result.log


def test_each_log_line_is_json_with_the_id_of_its_request(cloud: Cloud, duba: SimulatedDuba, connection: str) -> None:
    for id_ in (214, 215):
        duba.add_message(id_)
    calls = [("poll", "poll"), ("fetch", "fetch"), ("acknowledge", "acknowledge")]
    results = [cloud.function(verb, "duba").invoke(sample(name, connection=connection)) for verb, name in calls]

    for result in results:
        assert result.failures == []
        assert result.lines
        for line in result.lines:
            assert line["function_request_id"] == result.request_id
            assert (line["service"], line["level"]) == ("amtsbote", "INFO")
            assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
        assert PASSWORD not in result.log
