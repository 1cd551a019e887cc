"""Secrets that end: when a delivered row falls due to forget, and which versions of its receipt go."""

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from amtsbote.deliveries import (
    DropRow,
    DropState,
    Failed,
    Failure,
    Forgotten,
    Reported,
    SendLease,
    Told,
    advance_drop,
    has_expired,
    received,
)
from amtsbote.errors import Retry
from amtsbote.ledger import Ledger
from amtsbote.lifecycle import Due, ImpossibleTransition, Work
from amtsbote.portals.protocols import Delivery, Outcome
from amtsbote.proofs import Awaited, awaited_again, proven
from amtsbote.receipts import ROUNDS, Receipts
from tests.unit.support import NOW, Clock, Recorder, later, refusal

KEY = "duba/klinikum/BetreuungAnregung/fall.json"
RECEIPT = f"receipts/{KEY}.json"
END = later(hours=1)
LINK = {"magicLink": "https://elim.example.com/mtl/geheim"}


def fresh(version_id: str = "v1", sequence: str = "01") -> DropRow:
    return received("outbox", KEY, version_id, sequence, ("duba", "klinikum"), NOW)


def sending() -> DropRow:
    return advance_drop(fresh(), SendLease(later(minutes=4)), NOW)


def delivery(**more: Any) -> Delivery:
    said: dict[str, Any] = {"result": LINK, "secret_until": END} | more
    return Delivery("job-7", Outcome.DELIVERED, **said)


def delivered(**more: Any) -> DropRow:
    return advance_drop(sending(), Reported(delivery(**more), 1), NOW)


# --- the row ---


def test_a_secret_delivery_is_first_told_and_then_due_to_be_forgotten() -> None:
    row = delivered()
    assert (row.due, row.secret_until) == (Due(Work.TRACK, later(minutes=1)), END)
    assert advance_drop(row, Told(), NOW) == replace(row, due=Due(Work.FORGET, END))


def test_telling_again_changes_nothing() -> None:
    told = advance_drop(delivered(), Told(), NOW)
    assert advance_drop(told, Told(), later(minutes=5)) == told


def test_a_delivery_without_a_secret_is_done_when_told() -> None:
    assert advance_drop(delivered(secret_until=None), Told(), NOW).due is None


def test_one_that_is_told_only_after_the_end_is_forgotten_next() -> None:
    told = advance_drop(delivered(), Told(), later(days=1))
    assert told.due == Due(Work.FORGET, END)
    assert advance_drop(told, Forgotten(), later(days=1)).due is None


def test_forgetting_takes_the_result_and_leaves_the_state() -> None:
    told = advance_drop(delivered(), Told(), NOW)
    row = advance_drop(told, Forgotten(), END)
    assert row == replace(told, result="{}", due=None)
    assert (row.state, row.portal_id) == (DropState.DELIVERED, "job-7")
    assert advance_drop(row, Forgotten(), later(days=1)) == row
    assert advance_drop(row, Told(), later(days=1)) == row


def test_nothing_is_forgotten_before_its_end() -> None:
    with pytest.raises(ImpossibleTransition):
        advance_drop(delivered(), Forgotten(), later(minutes=59))


@pytest.mark.parametrize(
    "row",
    [
        fresh(),
        sending(),
        delivered(secret_until=None),
        advance_drop(sending(), Failed(Failure("REFUSED", "no"), 1), NOW),
    ],
    ids=lambda row: str(row.state),
)
def test_what_holds_no_secret_cannot_be_forgotten(row: DropRow) -> None:
    with pytest.raises(ImpossibleTransition):
        advance_drop(row, Forgotten(), later(days=9))


def test_a_secret_has_expired_from_its_end_on() -> None:
    assert not has_expired(delivered(), later(minutes=59, seconds=59))
    assert has_expired(delivered(), END)
    assert not has_expired(delivered(secret_until=None), later(days=9))


def test_a_later_report_keeps_the_end_of_the_secret() -> None:
    under_way = Delivery("job-7", Outcome.IN_PROGRESS, result=LINK, secret_until=END)
    row = advance_drop(sending(), Reported(under_way, 1), NOW)
    assert advance_drop(row, Reported(Delivery("job-7", Outcome.DELIVERED)), NOW).secret_until == END


# --- the receipt ---


@pytest.fixture
def ledger(dynamodb: Any, table: str, clock: Clock) -> Ledger:
    return Ledger(dynamodb, table, clock)


@pytest.fixture
def client(s3: Any) -> Any:
    return Recorder(s3)


@pytest.fixture
def receipts(client: Any, bucket: str, ledger: Ledger) -> Receipts:
    return Receipts(client, bucket, ledger)


def told(ledger: Ledger, receipts: Receipts, version_id: str = "v1", sequence: str = "01") -> DropRow:
    """Deliver a version whose link lives an hour, with a receipt for each step."""
    row = ledger.advance_drop(ledger.open_drop(fresh(version_id, sequence)), SendLease(later(hours=2)))
    receipts.write(row)
    end = ledger.clock() + (END - NOW)
    row = ledger.advance_drop(row, Reported(delivery(secret_until=end), row.fence))
    receipts.write(row)
    return ledger.advance_drop(row, Told())


def spoken_of(s3: Any, bucket: str) -> list[str]:
    """Return the drop versions that the versions of the receipt speak of, the newest first."""
    found = s3.list_object_versions(Bucket=bucket, Prefix=RECEIPT).get("Versions", [])
    bodies = [s3.get_object(Bucket=bucket, Key=RECEIPT, VersionId=each["VersionId"])["Body"].read() for each in found]
    return [json.loads(body)["versionId"] for body in bodies]


def test_every_version_of_the_receipt_goes(receipts: Receipts, ledger: Ledger, s3: Any, bucket: str) -> None:
    row = told(ledger, receipts)
    assert spoken_of(s3, bucket) == ["v1", "v1"]
    receipts.forget(row)
    assert s3.list_object_versions(Bucket=bucket, Prefix=RECEIPT).get("Versions", []) == []


def test_the_receipt_of_a_newer_drop_stays(receipts: Receipts, ledger: Ledger, s3: Any, bucket: str) -> None:
    row = told(ledger, receipts)
    told(ledger, receipts, "v2", "02")
    receipts.forget(row)
    assert spoken_of(s3, bucket) == ["v2", "v2"]


def test_what_lies_beneath_the_newest_goes_first(
    receipts: Receipts, ledger: Ledger, client: Recorder, s3: Any, bucket: str
) -> None:
    told(ledger, receipts)
    row = told(ledger, receipts, "v2", "02")
    oldest_first = [each["VersionId"] for each in s3.list_object_versions(Bucket=bucket, Prefix=RECEIPT)["Versions"]]
    receipts.forget(row)
    assert [each["VersionId"] for each in client.named("delete_object")] == oldest_first[::-1]


def test_objects_of_others_under_the_key_stay(receipts: Receipts, ledger: Ledger, s3: Any, bucket: str) -> None:
    row = told(ledger, receipts)
    bodies = (b"no JSON", b"[]", b"{}")
    for body in bodies:
        s3.put_object(Bucket=bucket, Key=RECEIPT, Body=body)
    s3.put_object(Bucket=bucket, Key=f"{RECEIPT}.bak", Body=json.dumps({"versionId": "v1"}).encode())
    receipts.forget(row)
    left = s3.list_object_versions(Bucket=bucket, Prefix=RECEIPT)["Versions"]
    assert [each["Key"] for each in left] == [RECEIPT] * len(bodies) + [f"{RECEIPT}.bak"]


def test_to_forget_twice_does_no_harm(receipts: Receipts, ledger: Ledger, client: Recorder) -> None:
    row = told(ledger, receipts)
    receipts.forget(row)
    deleted = len(client.named("delete_object"))
    receipts.forget(row)
    assert len(client.named("delete_object")) == deleted


def test_a_receipt_is_not_written_once_its_secret_has_ended(
    receipts: Receipts, ledger: Ledger, clock: Clock, s3: Any, bucket: str
) -> None:
    row = told(ledger, receipts)
    clock.forward(hours=1)
    receipts.forget(row)
    assert receipts.write(row) == RECEIPT
    assert spoken_of(s3, bucket) == []


@pytest.fixture
def locked(s3: Any, bucket: str) -> str:
    """Provide the bucket with S3 Object Lock, as ObjectLockDays makes the inbox."""
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 365}}
    s3.create_bucket(
        Bucket=f"{bucket}-locked",
        ObjectLockEnabledForBucket=True,
        CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name},
    )
    s3.put_object_lock_configuration(
        Bucket=f"{bucket}-locked", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    return f"{bucket}-locked"


def test_a_receipt_that_is_locked_waits_until_it_is_not(ledger: Ledger, client: Any, s3: Any, locked: str) -> None:
    row = told(ledger, Receipts(client, locked, ledger))
    with pytest.raises(Retry, match="NOT_DELETED"):
        Receipts(client, locked, ledger).forget(row)
    assert spoken_of(s3, locked) == ["v1", "v1"]
    assert len(client.named("delete_object")) == 1


class Interrupted:
    """A bucket in which another worker does something just before each of the first `times` calls of a method."""

    def __init__(self, client: Any, method: str, interrupt: Any, times: int = 1) -> None:
        self._client, self._method, self._interrupt, self._left = client, method, interrupt, times

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._left:
            self._left -= 1
            self._interrupt()
        return getattr(self._client, name)


def test_a_newer_drop_that_has_seen_the_forgotten_receipt_still_gets_its_own(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    row = told(ledger, receipts)
    newer = ledger.open_drop(fresh("v2", "02"))
    overtaken: Any = Interrupted(s3, "put_object", lambda: receipts.forget(row))
    Receipts(overtaken, bucket, ledger).write(newer)
    assert spoken_of(s3, bucket) == ["v2"]


def test_a_version_written_while_others_are_deleted_goes_too(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    row = told(ledger, receipts)
    body = json.dumps({"versionId": "v1"}).encode()
    late: Any = Interrupted(s3, "delete_object", lambda: s3.put_object(Bucket=bucket, Key=RECEIPT, Body=body))
    Receipts(late, bucket, ledger).forget(row)
    assert spoken_of(s3, bucket) == []


def test_a_receipt_that_is_written_all_the_time_is_a_retry(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    row = told(ledger, receipts)
    body = json.dumps({"versionId": "v1"}).encode()
    put: Any = Interrupted(s3, "delete_object", lambda: s3.put_object(Bucket=bucket, Key=RECEIPT, Body=body), 100)
    with pytest.raises(Retry, match="RECEIPT_CONTENDED"):
        Receipts(put, bucket, ledger).forget(row)
    assert ROUNDS < 100


def test_a_version_that_vanishes_while_it_is_looked_at_is_no_matter(
    receipts: Receipts, ledger: Ledger, s3: Any, bucket: str
) -> None:
    row = told(ledger, receipts)
    rival: Any = Interrupted(s3, "get_object", lambda: receipts.forget(row))
    Receipts(rival, bucket, ledger).forget(row)
    assert spoken_of(s3, bucket) == []


def test_a_refusal_of_the_bucket_is_passed_on(receipts: Receipts, ledger: Ledger, s3: Any, bucket: str) -> None:
    def refuse() -> None:
        raise refusal("AccessDenied")

    row = told(ledger, receipts)
    refusing: Any = Interrupted(s3, "get_object", refuse)
    with pytest.raises(ClientError):
        Receipts(refusing, bucket, ledger).forget(row)


def test_the_due_rows_of_one_kind_of_work_are_found(ledger: Ledger, receipts: Receipts, clock: Clock) -> None:
    row = told(ledger, receipts)
    assert list(ledger.due_drops("duba", "klinikum", Work.FORGET)) == []
    clock.forward(hours=1)
    assert list(ledger.due_drops("duba", "klinikum", Work.FORGET)) == [row]
    assert list(ledger.due_drops("duba", "klinikum")) == []


# --- proofs ---

AWAITED = Awaited("duba", "klinikum", "job-7", KEY, "v1")


def test_a_proof_is_told_of_once_and_each_item_by_itself() -> None:
    once = proven(AWAITED, "214")
    assert proven(once, "214") == once
    assert proven(once, "215").proven_by == ("214", "215")


def test_a_later_drop_takes_the_name_over_and_keeps_what_was_told() -> None:
    again = awaited_again(proven(AWAITED, "214"), "duba/klinikum/BetreuungAnregung/neu.json", "v9")
    assert (again.key, again.version_id, again.proven_by) == (
        "duba/klinikum/BetreuungAnregung/neu.json", "v9", ("214",),
    )  # fmt: skip


def test_the_ledger_knows_what_is_awaited(ledger: Ledger) -> None:
    ledger.await_proof(fresh(), "job-7")
    (known,) = ledger.awaited("duba", "klinikum", ["job-7", "job-8"]).values()
    assert known == replace(AWAITED, version=1)
    assert ledger.awaited("duba", "andere", ["job-7"]) == {}


def test_the_ledger_keeps_what_was_told_when_another_drop_takes_over(ledger: Ledger) -> None:
    ledger.await_proof(fresh(), "job-7")
    ledger.note_proof(ledger.awaited("duba", "klinikum", ["job-7"])["job-7"], "214")
    ledger.await_proof(fresh("v2", "02"), "job-7")
    known = ledger.awaited("duba", "klinikum", ["job-7"])["job-7"]
    assert (known.version_id, known.proven_by) == ("v2", ("214",))


def test_two_polls_that_tell_of_two_items_note_both(ledger: Ledger) -> None:
    ledger.await_proof(fresh(), "job-7")
    known = ledger.awaited("duba", "klinikum", ["job-7"])["job-7"]
    ledger.note_proof(known, "214")
    assert ledger.note_proof(known, "215").proven_by == ("214", "215")
