"""Handlers and the time that Lambda gives them: they stop before they are cut, and a cut one is taken over from."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sandbox.portals.duba import Message, SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import StreamedResponse, serve
from tests.handlers.cloud import PASSWORD, Cloud, sample
from tests.handlers.runtime_api import TIMED_OUT

NEARLY_OVER_SECONDS = 9  # one more than what is kept back for putting things in order
FETCH_QUEUE = "FetchDubaQueue"
LEASE_SECONDS = 3
CUT_SECONDS = 2.0  # enough to take the lease
SLOW_SECONDS = 30.0


@contextmanager
def silent_server() -> Iterator[str]:
    """Provide the address of a service that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def polled(cloud: Cloud, connection: str) -> None:
    """Let poll open the rows of what the portal lists."""
    assert cloud.function("poll", "duba").invoke(sample("poll", connection=connection)).failures == []
    cloud.bodies(FETCH_QUEUE)


def test_a_fetch_that_was_killed_is_taken_over_when_its_lease_runs_out(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    duba.add_message(1)
    polled(cloud, connection)
    event = sample("fetch", connection=connection, id="1")
    del event["Records"][1:]

    with silent_server() as address:
        hanging: dict[str, str | None] = {
            "AMTSBOTE_LEASE_SECONDS": str(LEASE_SECONDS),
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": address,
        }
        with cloud.new_function("fetch", "duba", **hanging) as function:
            cut = function.invoke(event, timeout_seconds=CUT_SECONDS)
    assert cut.error_type == TIMED_OUT
    assert f"Task timed out after {CUT_SECONDS:.2f} seconds" in cut.log
    row = cloud.row("duba", connection, "1")
    assert (row["state"], row["fence"]) == ("FETCHING", "1")
    assert cloud.inbox_keys(f"duba/{connection}/") == set()

    left = (datetime.fromisoformat(row["lease_until"]) - datetime.now(UTC)).total_seconds()
    time.sleep(max(0.0, left) + 0.05)
    assert cloud.function("fetch", "duba").invoke(event).failures == []
    row = cloud.row("duba", connection, "1")
    assert (row["state"], row["fence"]) == ("STORED", "2")
    assert f"duba/{connection}/1/document.json" in cloud.inbox_keys(f"duba/{connection}/")


def comes_again(cloud: Cloud, connection: str, id_: str) -> None:
    """Fetch an item with little time left: the handler must answer in time and ask for the message again."""
    records = cloud.delivered(FETCH_QUEUE, {"portal": "duba", "connection": connection, "id": id_})
    function = cloud.function("fetch", "duba")
    function.invoke({"Records": []})  # the start of the process is not what is measured

    result = function.invoke({"Records": records}, timeout_seconds=NEARLY_OVER_SECONDS)

    assert result.failures == [record["messageId"] for record in records]
    assert result.seconds < NEARLY_OVER_SECONDS
    assert [line["code"] for line in result.lines if line["message"] == "deferred"] == ["OUT_OF_TIME"]
    row = cloud.row("duba", connection, id_)
    assert (row["state"], row["reason"]) == ("DISCOVERED", "OUT_OF_TIME")


def test_a_fetch_stops_in_time_when_the_portal_is_slow_to_answer(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    duba.add_message(1)
    polled(cloud, connection)
    duba.faults.add(Fault(Kind.LATENCY, "GET /.*/download/1", delay_seconds=SLOW_SECONDS))
    comes_again(cloud, connection, "1")


class TricklingDuba(SimulatedDuba):
    """A DUBA whose downloads never pause for long and never end."""

    def _content(self, message: Message) -> StreamedResponse:
        return StreamedResponse(self._drops(), size=1_000_000, content_type="application/zip")

    async def _drops(self) -> AsyncIterator[bytes]:
        for _ in range(int(SLOW_SECONDS / 0.1)):
            yield b"PK"
            await asyncio.sleep(0.1)


def test_a_fetch_stops_in_time_when_a_body_only_trickles(cloud: Cloud) -> None:
    duba = TricklingDuba(username="amtsbote", password=PASSWORD)
    duba.add_message(1)
    with serve(duba):
        login = {"username": "amtsbote", "password": PASSWORD}
        connection = cloud.connect("duba", {"baseUrl": duba.base_url, **login})
        polled(cloud, connection)
        comes_again(cloud, connection, "1")
