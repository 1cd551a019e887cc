"""Each handler, as AWS's runtime client runs it, with the sample events and the environment of the template."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from amtsbote.settings import Settings
from sandbox.portals.docxworld import SimulatedDocxworld
from sandbox.portals.duba import SimulatedDuba
from tests.handlers.cloud import Cloud, sample
from tests.template.loading import Function, stack

TARGET = "5b7f2a34-9c1d-4e8a-b6f0-2d3c4e5f6a7b"  # the one that events/deliver.json names
LETTER = b"%PDF-1.7 ein Brief"


def dropped(cloud: Cloud, name: str, key: str) -> dict[str, Any]:
    """Put an object into the outbox and return the sample event, speaking of it."""
    bucket = cloud.name("OutboxBucket")
    version = cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=LETTER)["VersionId"]
    event = sample(name)
    (record,) = event["Records"]
    body = json.loads(record["body"])
    body["detail"]["bucket"]["name"] = bucket
    body["detail"]["object"] |= {"key": key, "version-id": version, "size": len(LETTER)}
    record["body"] = json.dumps(body)
    return event


def answered(cloud: Cloud, verb: str, portal: str, event: dict[str, Any]) -> None:
    """Invoke a function: it must take every record, and have nothing to warn of."""
    result = cloud.function(verb, portal).invoke(event)
    assert result.failures == []
    assert [line for line in result.lines if line["level"] != "INFO"] == []


def test_the_inbound_samples_bring_a_message_into_the_inbox_and_have_it_acknowledged(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    for id_ in (214, 215):
        duba.add_message(id_)

    answered(cloud, "dispatch", "duba", sample("dispatch"))
    tasks = [body for body in cloud.bodies("PollDubaQueue") if body["connection"] == connection]
    assert [(task["portal"], task["task"]) for task in tasks] == [("duba", "poll")]

    answered(cloud, "poll", "duba", sample("poll", connection=connection))
    wanted = [body for body in cloud.bodies("FetchDubaQueue") if body["connection"] == connection]
    assert wanted == [{"portal": "duba", "connection": connection, "id": id_} for id_ in ("214", "215")]

    answered(cloud, "fetch", "duba", sample("fetch", connection=connection))
    prefix = f"duba/{connection}/214"
    assert cloud.inbox_keys(f"{prefix}/") == {f"{prefix}/document.json", f"{prefix}/message-214.zip"}
    document = cloud.inbox(f"{prefix}/document.json")
    assert (document["schema"], document["id"]) == ("amtsbote.document/1", "214")
    assert cloud.row("duba", connection, "215")["state"] == "STORED"
    assert duba.acknowledged_ids() == []

    answered(cloud, "acknowledge", "duba", sample("acknowledge", connection=connection))
    assert duba.acknowledged_ids() == [214, 215]
    assert cloud.row("duba", connection, "214")["state"] == "ACKNOWLEDGED"


@pytest.mark.parametrize(("name", "verb"), [("dispatch-reconcile", "dispatch"), ("poll-reconcile", "poll")])
def test_the_samples_of_the_daily_comparison_are_answered(cloud: Cloud, connection: str, name: str, verb: str) -> None:
    changes = {"connection": connection} if verb == "poll" else {}
    answered(cloud, verb, "duba", sample(name, **changes))


def test_the_outbound_samples_send_a_drop_and_follow_it_to_its_end(
    cloud: Cloud, docxworld: SimulatedDocxworld, docxworld_connection: str
) -> None:
    docxworld.add_target(target_id=TARGET)
    key = f"docxworld/{docxworld_connection}/{TARGET}/brief.pdf"
    event = dropped(cloud, "deliver", key)

    answered(cloud, "deliver", "docxworld", event)
    receipt = cloud.inbox(f"receipts/{key}.json")
    assert receipt["status"] in ("IN_PROGRESS", "DELIVERED")
    assert docxworld.read_upload(receipt["portalId"]) == LETTER

    answered(cloud, "track", "docxworld", sample("track", connection=docxworld_connection))
    (job,) = docxworld.jobs()
    assert job.id == receipt["portalId"]


def test_the_inbound_functions_of_docxworld_bring_a_download_into_the_inbox(
    cloud: Cloud, docxworld: SimulatedDocxworld, docxworld_connection: str
) -> None:
    own = {"portal": "docxworld", "connection": docxworld_connection}
    id_ = docxworld.add_download(docxworld.add_target(), LETTER, file_name="brief.pdf").id

    answered(cloud, "dispatch", "docxworld", sample("dispatch", portal="docxworld"))
    tasks = [body for body in cloud.bodies("PollDocxworldQueue") if body["connection"] == docxworld_connection]
    assert [task["task"] for task in tasks] == ["poll"]

    answered(cloud, "poll", "docxworld", sample("poll", **own))
    assert own | {"id": id_} in cloud.bodies("FetchDocxworldQueue")

    answered(cloud, "fetch", "docxworld", sample("fetch", **own, id=id_))
    prefix = f"docxworld/{docxworld_connection}/{id_}"
    assert cloud.inbox_keys(f"{prefix}/") == {f"{prefix}/document.json", f"{prefix}/brief.pdf"}

    answered(cloud, "acknowledge", "docxworld", sample("acknowledge", **own))
    assert cloud.row("docxworld", docxworld_connection, id_)["state"] == "ACKNOWLEDGED"


def test_the_sample_of_a_drop_for_no_portal_gets_its_receipt(cloud: Cloud) -> None:
    event = dropped(cloud, "deliver-unrouted", "klinikum/brief.pdf")

    result = cloud.function("deliver", "unrouted").invoke(event)
    assert result.failures == []
    assert [line["code"] for line in result.lines if line["level"] == "ERROR"] == ["KEY_FITS_NO_RULE"]
    receipt = cloud.inbox("receipts/klinikum/brief.pdf.json")
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", "KEY_FITS_NO_RULE")


def test_the_sample_of_the_erasures_is_answered_and_deletes_nothing_without_a_rule(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    duba.add_message(7)
    answered(cloud, "poll", "duba", sample("poll", connection=connection))
    answered(cloud, "retain", "all", sample("retain"))
    assert cloud.row("duba", connection, "7")["state"] == "DISCOVERED"


def test_the_sample_of_the_erasures_deletes_what_is_old_enough(
    cloud: Cloud, duba: SimulatedDuba, connection: str
) -> None:
    for id_ in (214, 215):
        duba.add_message(id_)
    for verb in ("poll", "fetch", "acknowledge"):
        answered(cloud, verb, "duba", sample(verb, connection=connection))
    grow_old(cloud, connection, "214")
    rules = json.dumps({"duba": {"ACKNOWLEDGED": 30}})
    with cloud.new_function("retain", "all", AMTSBOTE_RETENTION_RULES=rules) as function:
        result = function.invoke(sample("retain"))
    assert result.failures == []
    assert [line for line in result.lines if line["level"] != "INFO"] == []
    assert cloud.row("duba", connection, "214")["state"] == "ERASED"
    assert cloud.row("duba", connection, "215")["state"] == "ACKNOWLEDGED"
    assert {key.split("/")[2] for key in cloud.inbox_keys(f"duba/{connection}/")} == {"215"}


def test_the_sample_of_a_document_that_arrived_is_copied_as_the_rules_say(cloud: Cloud) -> None:
    prefix, s3 = "digitale-gemeinde/stadt/4711", cloud.client("s3")
    file = {"key": f"{prefix}/a.pdf", "name": "a.pdf", "size": len(LETTER), "contentType": "application/pdf"}
    document = {"portal": "digitale-gemeinde", "connection": "stadt", "id": "4711", "files": [file], "metadata": {}}
    for key, body in ((file["key"], LETTER), (f"{prefix}/document.json", json.dumps(document))):
        s3.put_object(Bucket=cloud.name("InboxBucket"), Key=key, Body=body)
    rule = {"name": "a", "from": {"portal": "digitale-gemeinde"}, "to": "docxworld/druck/BRIEF/{id}-{name}"}
    with cloud.new_function("route", "all", AMTSBOTE_ROUTING_RULES=json.dumps([rule])) as function:
        result = function.invoke(sample("route"))
    assert result.failures == []
    copy = s3.get_object(Bucket=cloud.name("OutboxBucket"), Key="docxworld/druck/BRIEF/4711-a.pdf")
    assert copy["Body"].read() == LETTER
    assert copy["Metadata"]["amtsbote-origin"] == prefix


def grow_old(cloud: Cloud, connection: str, id_: str) -> None:
    """Let a document have come and gone its way four years ago."""
    table, dynamodb = cloud.name("LedgerTable"), cloud.client("dynamodb")
    key = {"pk": {"S": f"ITEM#duba#{connection}#{id_}"}, "sk": {"S": "STATE"}}
    row = dynamodb.get_item(TableName=table, Key=key)["Item"]
    year = str(datetime.now(UTC).year)
    dynamodb.put_item(TableName=table, Item=json.loads(json.dumps(row).replace(f'"{year}-', f'"{int(year) - 4}-')))


@pytest.mark.parametrize("function", stack().all_functions(), ids=lambda function: function.name)
def test_the_package_knows_each_variable_that_the_template_sets(function: Function) -> None:
    own = {name for name in function.environment if name.startswith("AMTSBOTE_")}
    assert own <= {f"AMTSBOTE_{name.upper()}" for name in Settings.model_fields}
