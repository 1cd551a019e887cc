"""What docs/deploy.md says of restoring: from copies of ledger and inbox, in a new stack, everything goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amtsbote.keys import receipt_key
from amtsbote.services import Services
from sandbox.portals.docxworld import Download
from tests.flows.conftest import ObservedDocxworld
from tests.flows.test_docxworld_downloads import acknowledged, add, ours
from tests.flows.test_docxworld_uploads import LETTER, key_of
from tests.flows.world import INBOX, LEDGER, OUTBOX, REGION, RecordingBus, World, _ledger_schema
from tools.copy_rows import copy_rows

NEW_INBOX, NEW_OUTBOX, NEW_LEDGER = "inbox-of-the-new", "outbox-of-the-new", "ledger-of-the-new"
SENT, NOT_SENT = "gesendet.pdf", "noch-nicht.pdf"


class NewStack(World):
    """Another stack in the same account, with its own buckets, table, queues and bus, and nothing in them."""

    def __init__(self, old: World) -> None:
        self._old = old
        super().__init__(old.portal, clock=old.clock)

    def client(self, name: str) -> Any:
        """Return the account's client, but for the queues and the bus."""
        return self.clients[name] if name in self.clients else self._old.client(name)

    def new_services(self) -> Services:
        """Return services as a fresh process of the new stack has them."""
        made = super().new_services()
        names = {"inbox_bucket": NEW_INBOX, "outbox_bucket": NEW_OUTBOX, "ledger_table": NEW_LEDGER}
        return Services(made.settings.model_copy(update=names), self.client, self.clock)

    def read(self, key: str) -> Any:
        """Return a JSON object of the inbox."""
        return json.loads(self.client("s3").get_object(Bucket=NEW_INBOX, Key=key)["Body"].read())

    def drop_anew(self, key: str, body: bytes) -> None:
        """Drop a file into the new outbox."""
        answer = self.client("s3").put_object(Bucket=NEW_OUTBOX, Key=key, Body=body)
        event = self.drop_event(key, answer["VersionId"], len(body))
        event["detail"]["bucket"]["name"] = NEW_OUTBOX
        self.arrive(event)
        self.drain()

    def _create_resources(self) -> None:
        s3 = self.client("s3")
        for bucket in (NEW_INBOX, NEW_OUTBOX):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self.client("dynamodb").create_table(TableName=NEW_LEDGER, **_ledger_schema())
        self.clients["events"] = RecordingBus(self.sqs)


@pytest.fixture
def old(docxworld_world: World) -> World:
    """Provide the stack that will be lost."""
    return docxworld_world


@pytest.fixture
def documents(docxworld: ObservedDocxworld, old: World) -> list[Download]:
    """Provide three documents: one that the portal has been told of, one that is stored, one that was only found."""
    told = add(docxworld, "gemeldet.pdf")
    old.settle("poll", "acknowledge", rounds=2)
    stored = add(docxworld, "gespeichert.pdf")
    old.settle("poll", rounds=1)
    found = add(docxworld, "gefunden.pdf")
    old.tick("poll")
    old.run("poll")
    states = [old.state("klinikum", each.id) for each in (told, stored, found)]
    assert states == ["ACKNOWLEDGED", "STORED", "DISCOVERED"]
    return [told, stored, found]


@pytest.fixture
def drops(docxworld: ObservedDocxworld, old: World) -> None:
    """Let one drop be sent and not be at its end, and one be lost before anybody has seen it."""
    old.drop(key_of(docxworld, SENT), LETTER)
    old.run("own")
    old.client("s3").put_object(Bucket=OUTBOX, Key=key_of(docxworld, NOT_SENT), Body=LETTER)
    assert old.receipt(key_of(docxworld, SENT))["status"] == "IN_PROGRESS"


@pytest.fixture
def new(old: World, documents: list[Download], drops: None) -> NewStack:
    """Provide the new stack, with what the page says is to be copied, and no more."""
    stack = NewStack(old)
    s3 = stack.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=INBOX):
        for each in page["Contents"]:
            s3.copy_object(Bucket=NEW_INBOX, Key=each["Key"], CopySource={"Bucket": INBOX, "Key": each["Key"]})
    assert copy_rows(stack.client("dynamodb"), LEDGER, NEW_LEDGER) == len(rows(stack, LEDGER)) > 0
    return stack


def rows(stack: World, table: str) -> list[Any]:
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    return sorted((row for page in pages for row in page["Items"]), key=lambda row: (row["pk"]["S"], row["sk"]["S"]))


def goes_on(new: NewStack) -> None:
    """Let hours pass in the new stack."""
    for _ in range(3):
        new.later("poll", "acknowledge", "track", hours=2)


def test_the_copy_has_every_row_as_it_was(old: World, new: NewStack) -> None:
    assert rows(new, NEW_LEDGER) == rows(old, LEDGER)


def test_nothing_is_fetched_twice_and_what_was_found_is_fetched(
    docxworld: ObservedDocxworld, documents: list[Download], new: NewStack
) -> None:
    goes_on(new)
    for download in documents:
        assert len(docxworld.asked("GET", f"/v1/downloads/{download.id}/generate-link")) == 1, download.file_name
        document = new.read(f"docxworld/klinikum/{download.id}/document.json")
        assert document["files"][0]["sha256"] == docxworld.downloaded_content(download.id).sha256
        assert new.state("klinikum", download.id) == "ACKNOWLEDGED"


def test_the_portal_is_told_of_each_document_once(
    docxworld: ObservedDocxworld, documents: list[Download], new: NewStack
) -> None:
    assert acknowledged(docxworld) == ours(documents[0])
    goes_on(new)
    assert sorted(acknowledged(docxworld)) == sorted(ours(*documents))


def test_what_was_sent_is_followed_to_its_end_and_not_sent_again(docxworld: ObservedDocxworld, new: NewStack) -> None:
    goes_on(new)
    assert [job.file_name for job in docxworld.jobs()] == [SENT]
    assert new.read(receipt_key(key_of(docxworld, SENT)))["status"] == "DELIVERED"


def test_an_event_of_the_old_bucket_that_comes_again_sends_nothing(docxworld: ObservedDocxworld, new: NewStack) -> None:
    version = new.client("s3").list_object_versions(Bucket=OUTBOX, Prefix=key_of(docxworld, SENT))["Versions"][0]
    new.arrive(new.drop_event(key_of(docxworld, SENT), version["VersionId"], version["Size"]))
    new.drain()
    goes_on(new)
    assert [job.file_name for job in docxworld.jobs()] == [SENT]


def test_what_the_portal_does_not_have_is_dropped_again_and_sent_once(
    docxworld: ObservedDocxworld, new: NewStack
) -> None:
    new.drop_anew(key_of(docxworld, NOT_SENT), LETTER)
    goes_on(new)
    assert sorted(job.file_name for job in docxworld.jobs()) == sorted([SENT, NOT_SENT])
    assert new.read(receipt_key(key_of(docxworld, NOT_SENT)))["status"] == "DELIVERED"


def test_a_drop_that_is_copied_would_be_sent_again(docxworld: ObservedDocxworld, new: NewStack) -> None:
    """Why the page says that nothing of the outbox is to be copied."""
    new.drop_anew(key_of(docxworld, SENT), LETTER)
    assert [job.file_name for job in docxworld.jobs()] == [SENT, SENT]


def test_the_ledger_as_it_was_an_hour_ago_finds_what_happened_since(
    docxworld: ObservedDocxworld, old: World, documents: list[Download]
) -> None:
    """Of a table that was lost and brought back to a moment before: what is stored is adopted."""
    before = rows(old, LEDGER)
    old.settle("poll", "acknowledge", rounds=2)
    brought_back(old, before)
    for _ in range(3):
        old.later("poll", "acknowledge", hours=2)
    for download in documents:
        prefix = f"docxworld/klinikum/{download.id}"
        assert old.versions(f"{prefix}/document.json") == old.versions(f"{prefix}/{download.file_name}") == 1
    assert {each[0] for each in acknowledged(docxworld)} == {each.id for each in documents}


def brought_back(old: World, before: list[Any]) -> None:
    """Let the ledger be as it was."""
    table = old.client("dynamodb")
    for row in rows(old, LEDGER):
        table.delete_item(TableName=LEDGER, Key={name: row[name] for name in ("pk", "sk")})
    for row in before:
        table.put_item(TableName=LEDGER, Item=row)
    old.services = old.new_services()


def test_a_drop_that_was_sent_since_is_not_sent_again_by_itself(docxworld: ObservedDocxworld, old: World) -> None:
    """And the comparison names it, so that a person can look; its repair would send it."""
    old.settle("poll", rounds=1)
    before = rows(old, LEDGER)
    old.drop(key_of(docxworld, SENT), LETTER)
    old.run("own")
    brought_back(old, before)
    for _ in range(2):
        old.later("poll", "acknowledge", "track", hours=2)
    old.settle("reconcile", rounds=1)
    assert [job.file_name for job in docxworld.jobs()] == [SENT]
    (report,) = [json.loads(old.content(key)) for key in old.inbox_keys("reports/")]
    assert [(each["kind"], each["outboxKey"]) for each in report["differences"]] == [
        ("NOT_SENT", key_of(docxworld, SENT))
    ]


def test_rows_that_dynamodb_leaves_for_later_are_copied_too(monkeypatch: pytest.MonkeyPatch, old: World) -> None:
    old.client("dynamodb").create_table(TableName=NEW_LEDGER, **_ledger_schema())
    for number in range(60):
        key = {"pk": {"S": f"ITEM#{number:03}"}, "sk": {"S": "STATE"}}
        old.client("dynamodb").put_item(TableName=LEDGER, Item=key)
    monkeypatch.setattr("tools.copy_rows.PAUSE_SECONDS", 0)
    copy_rows(Busy(old.client("dynamodb")), LEDGER, NEW_LEDGER)
    assert rows(old, NEW_LEDGER) == rows(old, LEDGER)


class Busy:
    """DynamoDB that takes three rows of a batch."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.get_paginator = client.get_paginator

    def batch_write_item(self, *, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:
        """Take three, and leave the rest."""
        ((table, wanted),) = RequestItems.items()
        self._client.batch_write_item(RequestItems={table: wanted[:3]})
        return {"UnprocessedItems": {table: wanted[3:]} if wanted[3:] else {}}
