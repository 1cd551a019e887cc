"""The lines of metrics that the functions write: one for each connection, named, with the dimensions of the alarms."""

import json
from collections.abc import Sequence
from typing import Any

from sandbox.portals.duba import SimulatedDuba
from tests.flows.alarms import dimensions, is_raised, values
from tests.handlers.cloud import EVENTS, PASSWORD, Cloud, sample
from tests.handlers.runtime_api import Result

CANARY = "Kanarienvogel"
PORTAL_ONLY = ["service", "portal"]


def metric_lines(*results: Result) -> list[dict[str, Any]]:
    """Return the metric lines of invocations; what else they wrote may be no JSON."""
    return [json.loads(line) for each in results for line in each.log.splitlines() if line.startswith('{"_aws"')]


def fetched(cloud: Cloud, *wanted: tuple[str, int]) -> Result:
    """Fetch these messages, as (connection, id), in one invocation."""
    requests = [{"portal": "duba", "connection": connection, "id": str(id_)} for connection, id_ in wanted]
    records = cloud.delivered("FetchDubaQueue", *requests)
    return cloud.function("fetch", "duba").invoke({"Records": records})


def invoked(cloud: Cloud, verb: str, connection: str) -> Result:
    """Let one scheduled task of a connection run."""
    return cloud.function(verb, "duba").invoke(sample(verb, connection=connection))


def in_trouble(cloud: Cloud, duba: SimulatedDuba, connection: str) -> list[Result]:
    """Let a good message get lost here, one be unreadable, one crash, and a login be refused to a connection."""
    duba.add_message(1)
    duba.add_message(2, content=b"kein ZIP")
    duba.add_message(3)
    results = [cloud.function("dispatch", "duba").invoke(sample("dispatch")), invoked(cloud, "poll", connection)]
    cloud.change_row("duba", connection, "3", state="NONSENSE")
    results.append(fetched(cloud, (connection, 1), (connection, 2), (connection, 3)))
    results.append(invoked(cloud, "acknowledge", connection))
    cloud.change_row("duba", connection, "3", state="DISCOVERED")
    cloud.client("s3").delete_object(Bucket=cloud.name("InboxBucket"), Key=f"duba/{connection}/1/document.json")
    results.append(cloud.function("poll", "duba").invoke(sample("poll", connection=connection, task="reconcile")))
    duba.change_password("neu")
    return [*results, invoked(cloud, "poll", connection)]


def failed_rotation(cloud: Cloud) -> Result:
    """Let a rotation begin that cannot."""
    event = json.loads((EVENTS / "rotate.json").read_text(encoding="utf-8"))
    return cloud.function("rotate", "docxworld").invoke(event)


def our_alarms(cloud: Cloud, portals: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the alarms on metrics of our own of these portals."""
    alarms = cloud.stack.of_type("AWS::CloudWatch::Alarm")
    ours = {name: each for name, each in alarms.items() if each["Namespace"] == "Amtsbote"}
    return {name: each for name, each in ours.items() if dimensions(each)["portal"] in portals}


def test_what_an_alarm_watches_is_written_by_a_function_with_its_very_dimensions(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    lines = metric_lines(*in_trouble(cloud, duba, connection), failed_rotation(cloud))
    watched = our_alarms(cloud, ["duba"]) | {
        name: each for name, each in our_alarms(cloud, ["docxworld"]).items() if each["MetricName"] == "RotationFailed"
    }
    assert [name for name, each in watched.items() if not list(values(each, lines))] == []
    others = {each["MetricName"] for each in our_alarms(cloud, ["docxworld", "altinn", "digitale-gemeinde"]).values()}
    assert others == {each["MetricName"] for each in watched.values()}


def test_a_good_document_raises_no_alarm(cloud: Cloud, duba: SimulatedDuba, connection: str) -> None:
    duba.add_message(1)
    lines = metric_lines(
        invoked(cloud, "poll", connection), fetched(cloud, (connection, 1)), invoked(cloud, "acknowledge", connection)
    )
    alarms = our_alarms(cloud, ["duba"])
    del alarms["DubaNotPolledAlarm"]  # it watches what dispatch says of all connections, those of other tests too
    assert [name for name, each in alarms.items() if is_raised(each, lines)] == []
    sums = {name: sum(line.get(name, [0])[0] for line in lines) for name in ("Found", "Stored", "Acknowledged")}
    assert sums == {"Found": 1, "Stored": 1, "Acknowledged": 1}


def test_one_invocation_for_two_connections_counts_for_each_and_for_their_portal(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    other = cloud.connect("duba", {"baseUrl": duba.base_url, "username": "amtsbote", "password": PASSWORD})
    for id_ in range(1, 6):
        duba.add_message(id_)
    for name in (connection, other):
        invoked(cloud, "poll", name)
    wanted = [(name, id_) for id_ in range(1, 6) for name in (connection, other)]

    result = fetched(cloud, *wanted)

    lines = [line for line in metric_lines(result) if "Stored" in line]
    assert sorted((line["connection"], line["Stored"]) for line in lines) == sorted([(connection, [5]), (other, [5])])
    of_portal = {"Namespace": "Amtsbote", "MetricName": "Stored"} | {
        "Dimensions": [{"Name": "service", "Value": "amtsbote"}, {"Name": "portal", "Value": "duba"}]
    }
    assert sum(values(of_portal, lines)) == len(wanted)


def test_nothing_but_the_portal_is_a_dimension_and_nobody_named_but_a_connection(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    duba.add_message(7, aktenzeichen=CANARY)
    nobodys = sample("acknowledge", connection=CANARY.lower())
    lines = metric_lines(
        invoked(cloud, "poll", connection),
        fetched(cloud, (connection, 7)),
        cloud.function("acknowledge", "duba").invoke(nobodys),
    )
    for line in lines:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [PORTAL_ONLY], "by default"
        names = {each["Name"] for each in directive["Metrics"]}
        assert line.keys() - {"connection"} == {"_aws", *PORTAL_ONLY, *names}
        assert line.get("connection", connection) == connection
    assert CANARY.lower() not in str(lines).lower()
