"""What people did leaves a trail, whatever it was; and the trail can be read, exported and held against itself."""

import importlib
import inspect
import json
import pkgutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from moto import mock_aws

from amtsbote import operations
from amtsbote.audit import Deed, pseudonym
from amtsbote.deliveries import Failed, Failure, SendLease, received
from amtsbote.errors import Retry
from amtsbote.ledger import item_key
from amtsbote.lifecycle import Committed, Contents, ItemRow, LeaseTaken, State
from amtsbote.operations import accounts, deadletters, decisions, reconciliation, trail
from amtsbote.operations.documents import Question
from amtsbote.operations.office import Account, Intent, Office
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.reconciliation import Difference, Kind, Repair
from amtsbote.storage import json_text
from sandbox.portals.duba import SimulatedDuba
from sandbox.portals.server import serve
from tests.unit.operations.support import acknowledged, create_stack, found, office, quarantined
from tests.unit.support import NOW, Clock, aws_client, later

KLINIKUM = Account("duba", "klinikum")
EVERYTHING = Question()
DROP_KEY = "duba/klinikum/BetreuungAnregung/a.json"


@pytest.fixture(scope="module")
def duba() -> Iterator[SimulatedDuba]:
    portal = SimulatedDuba(username="amtsbote", password="geheim", clock=Clock())
    with serve(portal):
        yield portal


@pytest.fixture
def desk(duba: SimulatedDuba, clock: Clock) -> Iterator[Office]:
    with mock_aws():
        desk = office(create_stack(), clock, allow_loopback=True)
        desk.vault.write(KLINIKUM.secret, json.dumps(body_of(duba)))
        yield desk


def body_of(duba: SimulatedDuba) -> dict[str, Any]:
    return {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"}


def me() -> str:
    return pseudonym(aws_client("sts").get_caller_identity()["Arn"])


def stored(desk: Office, id: str = "214", contents: Contents | None = None) -> ItemRow:
    """Return an item that is in the inbox."""
    desk.ledger.open(found(id))
    leased = desk.ledger.advance(found(id), LeaseTaken(later(minutes=4)))
    return desk.ledger.advance(leased, Committed(AcknowledgePolicy.STORED, contents or Contents()))


# --- every intent leaves its line ---


@dataclass
class Case:
    """A situation in which an operation can be done, and where it must leave its line."""

    intend: Callable[[Office, SimulatedDuba], Intent]
    row: tuple[str, str] | None = None
    account: Account = KLINIKUM


def _retry(desk: Office, _: SimulatedDuba) -> Intent:
    quarantined(desk.ledger, found())
    return decisions.retry(desk, "duba/klinikum/214")


def _release(desk: Office, _: SimulatedDuba) -> Intent:
    quarantined(desk.ledger, found())
    key = "quarantine/duba/klinikum/214/message-214.zip"
    desk.s3.put_object(Bucket=desk.stack.inbox_bucket, Key=key, Body=b"no ZIP")
    return decisions.release(desk, "duba/klinikum/214")


def _acknowledge(desk: Office, _: SimulatedDuba) -> Intent:
    stored(desk)
    return decisions.acknowledge(desk, "duba/klinikum/214")


def _repair(desk: Office, _: SimulatedDuba) -> Intent:
    stored(desk)
    difference = Difference(kind=Kind.STILL_THERE, says="", id="214", repair=Repair.TELL_PORTAL)
    return reconciliation.repair(desk, KLINIKUM, difference)


ITEM = item_key("duba", "klinikum", "214")
CASES = {
    "decisions.retry": Case(_retry, ITEM),
    "decisions.release": Case(_release, ITEM),
    "decisions.acknowledge": Case(_acknowledge, ITEM),
    "reconciliation.repair": Case(_repair),
    "accounts.pause": Case(lambda desk, _: accounts.pause(desk, KLINIKUM)),
    "accounts.resume": Case(lambda desk, _: accounts.resume(desk, KLINIKUM)),
    "accounts.reconcile": Case(lambda desk, _: accounts.reconcile(desk)),
    "accounts.add": Case(
        lambda desk, duba: accounts.add(desk, Account("duba", "neu"), body_of(duba))[1], account=Account("duba", "neu")
    ),
}
"""One situation for each operation that intends something. A new one needs a case here, and its line in a trail."""


def operations_that_intend() -> set[str]:
    """Return the public functions of the operations that return an Intent, alone or with something else."""
    names: set[str] = set()
    for module in pkgutil.iter_modules(operations.__path__):
        loaded = importlib.import_module(f"{operations.__name__}.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            own = function.__module__ == loaded.__name__ and not name.startswith("_")
            if own and "Intent" in str(function.__annotations__.get("return")):
                names.add(f"{module.name}.{name}")
    return names - {"trail.on_trail"}


def test_there_is_a_case_for_every_operation_that_intends_something() -> None:
    assert operations_that_intend() == set(CASES)
    assert typing.get_type_hints(accounts.pause)["return"] is Intent


@pytest.mark.parametrize("name", sorted(CASES))
def test_whatever_is_carried_out_leaves_its_line_and_says_who(name: str, desk: Office, duba: SimulatedDuba) -> None:
    case = CASES[name]
    intent = case.intend(desk, duba)
    desk = office_again(desk)
    before = list(trail.lines(desk, EVERYTHING))
    intent.do()
    (line,) = [each for each in trail.lines(desk, EVERYTHING) if each not in without_seals(before)][-1:]
    assert line["by"] == me()
    assert (line.get("id"), line.get("action")) == (("214", None) if case.row else (None, name.partition(".")[2]))
    assert (line["portal"], line["connection"]) == (case.account.portal, case.account.name)
    assert trail.check(desk, EVERYTHING).broken_count == 0


def office_again(desk: Office) -> Office:
    """Return the same stack as another command sees it."""
    return Office(desk.stack, aws_client, desk.clock, allow_loopback=True)


def without_seals(lines: list[trail.Line]) -> list[trail.Line]:
    """Return the lines as they stand once another step follows: a seal is that of the last one."""
    return [{name: value for name, value in line.items() if name != "seal"} for line in lines]


def test_looking_asks_nobody_who_it_is(desk: Office) -> None:
    acknowledged(desk.ledger, found())
    asked: list[str] = []

    def client(name: str) -> Any:
        asked.append(name)
        return aws_client(name)

    list(trail.lines(Office(desk.stack, client, desk.clock), EVERYTHING))
    assert "dynamodb" in asked
    assert "sts" not in asked


def test_a_resent_delivery_says_who_wanted_it(desk: Office) -> None:
    row = desk.ledger.open_drop(received(desk.stack.outbox_bucket, DROP_KEY, "v1", "1", ("duba", "klinikum"), NOW))
    leased = desk.ledger.advance_drop(row, SendLease(later(minutes=4)))
    desk.ledger.advance_drop(leased, Failed(Failure("OUTAGE", "the portal is away", retryable=True), leased.fence))
    decisions.retry(desk, DROP_KEY).do()
    last = desk.ledger.drop(row).history[-1]
    assert (last.state, last.reason, last.by) == ("RECEIVED", "BY_HAND", me())


def test_a_redrive_is_an_action_on_the_whole_stack(desk: Office) -> None:
    assert deadletters.redrive(desk, []).sent == 0
    assert list(trail.deeds_of(desk, trail.WHOLE_STACK)) == []
    body = '{"portal": "duba", "connection": "klinikum", "id": "214"}'
    desk.sqs.send_message(QueueUrl=desk.stack.dead_letter_queue_url, MessageBody=body)
    deadletters.redrive(desk, deadletters.read_dead_letters(desk))
    (deed,) = trail.deeds_of(desk, trail.WHOLE_STACK)
    assert (deed.action, deed.about, deed.by) == ("redrive", "1 requests", me())


def test_an_action_that_fails_is_noted_before_and_with_its_code_afterwards(desk: Office) -> None:
    def fails() -> None:
        raise Retry("OUTAGE", "Erika's secret")

    with pytest.raises(Retry):
        trail.on_trail(desk, "pause", [KLINIKUM], Intent("switch it off", fails)).do()
    told = [(deed.action, deed.failed) for deed in trail.deeds_of(desk, KLINIKUM)]
    assert told == [("pause", None), ("pause", "OUTAGE")]


def test_two_people_at_once_get_two_numbers(desk: Office) -> None:
    other = office_again(desk)
    for turn in range(3):
        for each in (desk, other):
            each.ledger.note_deed(Deed("duba", "klinikum", 0, NOW, f"action {turn}", "operator:0"))
    assert [deed.number for deed in trail.deeds_of(desk, KLINIKUM)] == [1, 2, 3, 4, 5, 6]
    assert trail.check(desk, EVERYTHING).broken_count == 0


# --- the export ---


def test_the_export_tells_a_documents_whole_life(desk: Office) -> None:
    stored(desk, contents=Contents(("Antrag.pdf",), 48213, "ab" * 32))
    lines = list(trail.lines(desk, EVERYTHING))
    assert [(line["number"], line["state"]) for line in lines] == [(1, "DISCOVERED"), (2, "FETCHING"), (3, "STORED")]
    assert {(line["kind"], line["portal"], line["connection"], line["id"]) for line in lines} == {
        ("item", "duba", "klinikum", "214")
    }
    assert (lines[-1]["sizeBytes"], lines[-1]["sha256"]) == (48213, "ab" * 32)
    assert "Antrag" not in json.dumps(lines)


def test_an_export_can_be_verified_without_this_package(desk: Office) -> None:
    """As docs/operating.md describes it."""
    stored(desk, contents=Contents((), 48213, "ab" * 32))
    accounts.pause(desk, KLINIKUM).do()
    before = {"item": "ITEM#duba#klinikum#214", "action": "AUDIT#duba#klinikum"}
    not_hashed = {"kind", "portal", "connection", "id", "digest", "after", "seal"}
    digests = [before["item"]]
    for line in trail.lines(desk, EVERYTHING):
        said = {name: value for name, value in line.items() if name not in not_hashed}
        text = before[line["kind"]] + "\n" + json.dumps(said, sort_keys=True, separators=(",", ":"))
        assert line["digest"] == sha256(text.encode()).hexdigest()[:32]
        before[line["kind"]] = line["digest"]
        digests += [line["digest"] + " "] if line["kind"] == "item" else []
        if "seal" in line:
            assert line["seal"] == sha256("\n".join(digests).encode()).hexdigest()[:32]


def test_the_export_is_about_when_a_document_was_first_seen(desk: Office, clock: Clock) -> None:
    for day in range(3):
        acknowledged(desk.ledger, found(str(day), NOW + timedelta(days=day)))
    asked = Question(since=NOW + timedelta(days=1), until=NOW + timedelta(days=2))
    assert {line["id"] for line in trail.lines(desk, asked)} == {"1"}
    clock.forward(days=1)
    accounts.pause(desk, KLINIKUM).do()
    assert {line["kind"] for line in trail.lines(desk, asked)} == {"item", "action"}
    assert {line["kind"] for line in trail.lines(desk, Question(until=NOW + timedelta(days=1)))} == {"item"}


def test_the_export_tells_also_of_connections_whose_secret_is_gone(desk: Office) -> None:
    acknowledged(desk.ledger, found())
    desk.ledger.open_drop(received("outbox", "nowhere/a.pdf", "v1", "1", ("", ""), NOW))
    aws_client("secretsmanager").delete_secret(SecretId=KLINIKUM.secret, ForceDeleteWithoutRecovery=True)
    assert {line["kind"] for line in trail.lines(desk, EVERYTHING)} == {"item", "delivery"}
    assert {line["kind"] for line in trail.lines(desk, Question(portal="duba"))} == {"item"}
    assert list(trail.lines(desk, Question(portal="altinn"))) == []


def test_the_export_reads_page_by_page_each_document_once(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "PAGE_ROWS", 2)
    for number in range(5):
        acknowledged(desk.ledger, found(str(number), later(minutes=number)))
    for _ in range(5):
        accounts.resume(desk, KLINIKUM).do()
    ids = [line["id"] for line in trail.lines(desk, EVERYTHING) if line.get("number") == 1 and "id" in line]
    assert ids == ["4", "3", "2", "1", "0"]
    assert len(list(trail.deeds_of(desk, KLINIKUM))) == 5


# --- holding it against itself ---


def change_in_table(desk: Office, row: ItemRow, **change: Any) -> None:
    """Change the last step of a row in the table, behind the ledger's back."""
    table = aws_client("dynamodb")
    pk, sk = item_key(row.portal, row.connection, row.id)
    place = f"history[{len(row.history) - 1}]"
    for name, value in change.items():
        table.update_item(
            TableName=desk.stack.ledger_table,
            Key={"pk": {"S": pk}, "sk": {"S": sk}},
            UpdateExpression=f"SET {place}.#name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": {"S": value}},
        )


def test_a_step_that_somebody_changed_in_the_table_is_found(desk: Office) -> None:
    row, other = stored(desk), stored(desk, "215")
    change_in_table(desk, row, by="operator:0")
    checked = trail.check(desk, EVERYTHING)
    assert (checked.documents, checked.steps, checked.broken_count) == (2, 6, 1)
    assert [each.document for each in checked.broken] == ["duba/klinikum/214"]
    assert trail.verified(desk, "214").wrong[0].startswith("step 3 (STORED, ")
    assert trail.verified(desk, other.id).wrong == ()


def test_a_document_json_that_is_not_the_one_that_was_stored_is_found(desk: Office) -> None:
    document = json_text({"files": []})
    stored(desk, contents=Contents((), 0, sha256(document).hexdigest()))
    assert trail.verified(desk, "214").wrong == ()  # it is gone, and the trail is kept
    place: Any = {"Bucket": desk.stack.inbox_bucket, "Key": "duba/klinikum/214/document.json"}
    desk.s3.put_object(**place, Body=document)
    assert trail.verified(desk, "214").wrong == ()
    desk.s3.put_object(**place, Body=document + b" ")
    assert "its SHA-256 differs" in trail.verified(desk, "214").wrong[0]


def test_an_action_that_somebody_deleted_is_found(desk: Office) -> None:
    for _ in range(3):
        accounts.pause(desk, KLINIKUM).do()
    key = {"pk": {"S": "AUDIT#duba#klinikum"}, "sk": {"S": f"{2:012d}"}}
    aws_client("dynamodb").delete_item(TableName=desk.stack.ledger_table, Key=key)
    (broken,) = trail.check(desk, EVERYTHING).broken
    assert (broken.document, len(broken.wrong)) == ("actions on duba/klinikum", 1)


def test_a_row_of_an_older_version_loads_and_is_said_to_be_unsealed(desk: Office) -> None:
    """As the version before wrote it: three attributes per step, one of them NULL."""
    acknowledged(desk.ledger, found())
    table = aws_client("dynamodb")
    pk, sk = ITEM
    row = table.get_item(TableName=desk.stack.ledger_table, Key={"pk": {"S": pk}, "sk": {"S": sk}})
    old = {name: value for name, value in row["Item"].items() if name != "seal"}
    old["history"] = {"L": [{"M": _as_before(step["M"])} for step in row["Item"]["history"]["L"]]}
    table.put_item(TableName=desk.stack.ledger_table, Item=old)
    checked = trail.check(desk, EVERYTHING)
    assert (checked.steps, checked.unsealed, checked.broken_count) == (4, 4, 0)
    loaded = desk.ledger.item("duba", "klinikum", "214")
    assert loaded is not None
    assert (loaded.state, loaded.history[0].reason, loaded.seal) == (State.ACKNOWLEDGED, None, None)


def _as_before(step: dict[str, Any]) -> dict[str, Any]:
    return {"at": step["at"], "state": step["state"], "reason": step.get("reason", {"NULL": True})}
