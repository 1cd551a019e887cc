"""Form data for DUBA becomes a magic link, which is kept no longer than it lives and told to nobody else."""

import json
from datetime import timedelta
from typing import Any

import pytest
import requests

from amtsbote.errors import Retry
from amtsbote.storage import NOT_DELETED
from sandbox.portals.duba import ALWAYS_USED_JOB, SimulatedDuba
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.flows.conftest import LogLines
from tests.flows.mortality import MortalWorld, moments
from tests.flows.world import INBOX, LEDGER, OUTBOX, Clock, World

KEY = "duba/klinikum/BetreuungAnregung/fall.json"
FORM: dict[str, Any] = {
    "jobId": "job-2026-7",
    "meldeZeitpunkt": "2026-02-19T14:30:00+01:00",
    "absender": {"name": "Klinikum Musterstadt", "egvp_account_id": 42},
    "empfaenger": {"type": "Gericht", "safeId": "gov2test"},
    "betroffener": {
        "name": {"vorname": "Kanarienvogel", "nachname": "Mustermann"},
        "geburtsdatum": "1950-01-15",
        "familienstand": "Verheiratet",
    },
    "einwilligung": {"erteilt": True},  # of the form, and not in the guide
}
PREPARE = "POST .*/memento"
LOOK_UP = "GET .*/messages"


@pytest.fixture
def world(duba: SimulatedDuba, clock: Clock) -> MortalWorld:
    """Provide a world with one connection, `klinikum`, whose processes can die."""
    world = MortalWorld("duba", clock=clock)
    world.connect("klinikum", {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"})
    return world


def drop(world: World, form: object = FORM, key: str = KEY) -> dict[str, Any]:
    """Drop form data, let it be delivered, and return its receipt."""
    world.drop(key, form if isinstance(form, bytes) else json.dumps(form, ensure_ascii=False).encode())
    world.drain()
    return world.receipt(key)


def with_field(path: str, value: object) -> dict[str, Any]:
    """Return the form data with one field changed."""
    form = json.loads(json.dumps(FORM))
    *parents, last = path.split(".")
    at = form
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = value
    return dict(form)


def prepared(duba: SimulatedDuba) -> list[str]:
    """Return the requests that asked for a memento."""
    return [each.path for each in duba.requests if each.path.endswith("/memento")]


def refused(world: World, duba: SimulatedDuba, receipt: dict[str, Any], code: str) -> str:
    """Check that a drop failed at once and without a memento, and return what its receipt says."""
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", code)
    assert receipt["error"]["retryable"] is False
    assert duba.mementos == []
    assert world.sqs.queue("own") == []
    return str(receipt["error"]["message"])


def spoken_of(world: World, key: str = KEY) -> list[str]:
    """Return the drop versions that the versions of a receipt speak of, the newest first."""
    s3 = world.client("s3")
    found = s3.list_object_versions(Bucket=INBOX, Prefix=f"receipts/{key}.json").get("Versions", [])
    bodies = [
        s3.get_object(Bucket=INBOX, Key=each["Key"], VersionId=each["VersionId"])["Body"].read() for each in found
    ]
    return [json.loads(body)["versionId"] for body in bodies]


def ledger_text(world: World) -> str:
    """Return everything that the ledger holds."""
    return json.dumps(world.client("dynamodb").scan(TableName=LEDGER)["Items"], ensure_ascii=False)


def expire(world: World) -> None:
    """Let the link's hour end."""
    world.later("track", minutes=59, seconds=59)
    world.later("track", seconds=2)


# --- the link ---


@pytest.mark.parametrize("form", ["BetreuungAnregung", "UnterbringungAntrag", "FreiheitsentzugAntrag"])
def test_form_data_becomes_a_link_that_opens_the_form(
    duba: SimulatedDuba, world: MortalWorld, clock: Clock, form: str
) -> None:
    receipt = drop(world, key=f"duba/klinikum/{form}/fall.json")
    (memento,) = duba.mementos
    link = f"{duba.base_url}/mtl/{memento.token}/duba/?m={memento.memento}"
    assert (receipt["status"], receipt["portalId"], receipt["error"]) == ("DELIVERED", "job-2026-7", None)
    assert receipt["result"].keys() == {"magicLink", "expiresAt", "form"}
    assert (receipt["result"]["magicLink"], receipt["result"]["form"]) == (link, form)
    assert receipt["result"]["expiresAt"] == f"{clock() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    assert requests.get(link, allow_redirects=False, timeout=5).status_code == 200


def test_every_field_of_the_drop_reaches_the_portal(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    assert duba.mementos[0].form == FORM


def test_only_the_job_id_is_needed(duba: SimulatedDuba, world: MortalWorld) -> None:
    assert drop(world, {"jobId": "job-1"})["status"] == "DELIVERED"
    assert duba.mementos[0].form == {"jobId": "job-1"}


def test_the_event_names_job_and_receipt(duba: SimulatedDuba, world: MortalWorld) -> None:
    receipt = drop(world)
    assert world.events_of("Delivery Updated") == [
        {
            "portal": "duba",
            "connection": "klinikum",
            "id": "job-2026-7",
            "key": f"receipts/{KEY}.json",
            "status": "DELIVERED",
            "versionId": receipt["versionId"],
            "states": ["MAGIC_LINK_MADE"],
        }
    ]


def test_an_event_that_comes_twice_makes_one_link(duba: SimulatedDuba, world: MortalWorld) -> None:
    event = world.drop(KEY, json.dumps(FORM).encode())
    world.arrive(event)
    world.drain()
    first = world.receipt(KEY)
    world.arrive(event)
    world.drain()
    assert len(duba.mementos) == 1
    assert world.receipt(KEY) == first


def test_a_lost_answer_is_made_good_with_a_link_that_works(duba: SimulatedDuba, world: MortalWorld) -> None:
    duba.faults.add(Fault(Kind.LOST_ANSWER, PREPARE, times=1))
    world.drop(KEY, json.dumps(FORM).encode())
    world.drain()
    assert world.receipt(KEY)["status"] == "IN_PROGRESS"
    for _ in range(3):
        world.later("track", minutes=11)
    assert len(duba.mementos) == 2
    assert duba.mementos[1].token in world.receipt(KEY)["result"]["magicLink"]


def test_a_job_may_be_given_another_link_while_its_form_is_not_sent(duba: SimulatedDuba, world: MortalWorld) -> None:
    first = drop(world)
    second = drop(world)
    assert second["result"]["magicLink"] != first["result"]["magicLink"]
    assert len(duba.mementos) == 2


# --- what is refused ---


@pytest.mark.parametrize("direction", ["OUTGOING", "INCOMING"])
def test_a_job_that_was_used_says_so_and_how_to_mend_it(
    duba: SimulatedDuba, world: MortalWorld, direction: str
) -> None:
    duba.add_message(job_id="job-2026-7", direction=direction)
    said = refused(world, duba, drop(world), "JOB_ID_USED")
    assert "used before" in said and "new jobId" in said
    assert prepared(duba) == []


def test_the_job_that_always_counts_as_used_is_refused_unasked(duba: SimulatedDuba, world: MortalWorld) -> None:
    refused(world, duba, drop(world, {"jobId": ALWAYS_USED_JOB}), "JOB_ID_USED")
    assert duba.requests == []


def test_the_job_of_another_message_is_not_in_the_way(duba: SimulatedDuba, world: MortalWorld) -> None:
    duba.add_message(job_id="job-2026-8")
    assert drop(world)["status"] == "DELIVERED"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jobId", 471147114711),
        ("jobId", None),
        ("meldeZeitpunkt", "gestern 471147114711"),
        ("meldeZeitpunkt", "2026-02-19"),
        ("meldeZeitpunkt", "1771500000"),
        ("absender.egvp_account_id", "471147114711"),
        ("absender.egvp_account_id", True),
        ("empfaenger.type", "Behörde 471147114711"),
        ("empfaenger.adresse.plz", 471147114711),
        ("empfaenger.adresse", "471147114711"),
        ("betroffener.name.vorname", ["471147114711"]),
        ("betroffener.geburtsdatum", "47.11.1950"),
        ("betroffener.geburtsdatum", "1950-02-30"),
        ("betroffener.familienstand", "471147114711"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(
    duba: SimulatedDuba, world: MortalWorld, log_lines: LogLines, field: str, value: object
) -> None:
    said = refused(world, duba, drop(world, with_field(field, value)), "FORM_DATA_INVALID")
    assert f" {field}: " in said
    assert "471147114711" not in said + log_lines.text and "1950-02-30" not in said + log_lines.text
    assert duba.requests == []


def test_every_wrong_field_is_named_at_once(duba: SimulatedDuba, world: MortalWorld) -> None:
    said = refused(
        world, duba, drop(world, {"absender": 1, "betroffener": {"familienstand": "x"}}), "FORM_DATA_INVALID"
    )
    assert "jobId: " in said and "absender: " in said and "betroffener.familienstand: " in said


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"Kanarienvogel"',
        b'{"jobId": "\xff"}',
        b'{"jobId": "a", "jobId": "b"}',
        b'{"jobId": "a", "zahl": NaN}',
        b'{"jobId": "\\ud800"}',
        b'{"jobId": "a", "anderes": "\\ud800"}',
        b'{"jobId": ""}',
        b'{"jobId": "  "}',
        b'{"job_id": "a"}',
        json.dumps({"jobId": "j" * 501}).encode(),
        b"[" * 100_000,
        b'{"jobId": "a", "tief": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_what_is_no_form_data_is_refused_before_anything_is_sent(
    duba: SimulatedDuba, world: MortalWorld, body: bytes
) -> None:
    refused(world, duba, drop(world, body), "FORM_DATA_INVALID")
    assert duba.requests == []


def test_form_data_beyond_the_limit_is_not_even_read(duba: SimulatedDuba, world: MortalWorld) -> None:
    body = json.dumps({"jobId": "a", "text": "x" * 1024 * 1024}).encode()
    assert str(len(body)) in refused(world, duba, drop(world, body), "FORM_DATA_TOO_LARGE")


def test_an_unknown_form_is_answered_with_those_there_are(duba: SimulatedDuba, world: MortalWorld) -> None:
    said = refused(world, duba, drop(world, key="duba/klinikum/Betreuung/fall.json"), "FORM_UNKNOWN")
    assert "BetreuungAnregung, UnterbringungAntrag, FreiheitsentzugAntrag" in said


def test_the_portals_own_refusal_is_in_the_receipt_and_nowhere_else(
    duba: SimulatedDuba, world: MortalWorld, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "Field 'einwilligung' must name Frau Kanarienvogel"
    monkeypatch.setattr("sandbox.portals.duba.form_errors", lambda _: [words])
    said = refused(world, duba, drop(world), "FORM_DATA_INVALID")
    assert words in said
    assert "anarienvogel" not in log_lines.text + json.dumps([*world.events(), *world.sqs.sent])


def test_a_portal_without_magic_links_says_how_to_mend_it(world: MortalWorld, clock: Clock) -> None:
    with serve(SimulatedDuba(magic_links=False, clock=clock)) as portal:
        world.connect("ohne", {"baseUrl": portal.base_url, "username": "amtsbote", "password": "geheim"})
        receipt = drop(world, key=KEY.replace("klinikum", "ohne"))
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", "NO_MAGIC_LINK")
    assert "administrator" in receipt["error"]["message"]
    assert receipt["result"] == {}


def test_a_job_id_that_the_portal_cannot_look_up_fails_the_drop_and_not_the_connection(
    duba: SimulatedDuba, world: MortalWorld
) -> None:
    duba.faults.add(Fault(Kind.SERVER_ERROR, LOOK_UP, status=400, times=1))
    refused(world, duba, drop(world), "JOB_ID_REFUSED")
    assert world.events_of("Connection Unhealthy") == []


# --- forgetting ---


def test_the_receipt_lives_as_long_as_the_link(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    world.later("track", minutes=59, seconds=59)
    assert duba.mementos[0].token in world.receipt(KEY)["result"]["magicLink"]
    assert duba.mementos[0].token in ledger_text(world)
    world.later("track", seconds=1)
    assert spoken_of(world) == []
    assert world.inbox_keys() == []
    assert duba.mementos[0].token not in ledger_text(world)
    assert duba.mementos[0].memento not in ledger_text(world)
    assert world.due() == []


def test_forgetting_is_no_news(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    told = world.events()
    expire(world)
    assert world.events() == told


def test_an_event_that_comes_after_the_end_brings_nothing_back(duba: SimulatedDuba, world: MortalWorld) -> None:
    event = world.drop(KEY, json.dumps(FORM).encode())
    world.drain()
    expire(world)
    world.arrive(event)
    world.drain()
    world.later("track", minutes=5)
    assert len(duba.mementos) == 1
    assert (world.inbox_keys(), world.due()) == ([], [])


def test_the_receipt_of_a_newer_version_survives(duba: SimulatedDuba, world: MortalWorld) -> None:
    old = drop(world)["versionId"]
    world.later("track", minutes=30)
    new = drop(world)
    assert set(spoken_of(world)) == {old, new["versionId"]}
    world.later("track", minutes=31)
    assert set(spoken_of(world)) == {new["versionId"]}
    assert world.receipt(KEY) == new
    world.later("track", minutes=30)
    assert spoken_of(world) == []


def test_an_older_version_whose_event_comes_after_the_end_of_a_newer_link_shows_nothing(
    duba: SimulatedDuba, world: MortalWorld
) -> None:
    """There is no receipt any more, and the older version is none of whose key nothing was known."""
    stored = world.client("s3").put_object(Bucket=OUTBOX, Key=KEY, Body=json.dumps(FORM).encode())
    late = world.drop_event(KEY, stored["VersionId"], 100)
    drop(world)
    expire(world)
    world.arrive(late)
    world.drain()
    assert len(duba.mementos) == 2
    assert world.inbox_keys() == []


def test_what_lay_beneath_does_not_show_again(duba: SimulatedDuba, world: MortalWorld) -> None:
    assert drop(world, {"jobId": ""})["status"] == "FAILED"
    assert drop(world)["status"] == "DELIVERED"
    expire(world)
    assert (world.inbox_keys(), spoken_of(world)) == ([], [])


def test_a_failure_dropped_after_a_link_stays(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    failed = drop(world, {"jobId": ""})
    expire(world)
    assert set(spoken_of(world)) == {failed["versionId"]}
    assert world.receipt(KEY) == failed


def test_a_receipt_that_the_backend_deleted_leaves_nothing_beneath(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    world.client("s3").delete_object(Bucket=INBOX, Key=f"receipts/{KEY}.json")
    assert spoken_of(world)
    expire(world)
    assert spoken_of(world) == []


def test_the_neighbour_with_a_longer_name_is_left_alone(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    world.later("track", minutes=30)
    neighbour = drop(world, key=f"{KEY}.json")
    world.later("track", minutes=31)
    assert world.inbox_keys() == [f"receipts/{KEY}.json.json"]
    assert world.receipt(f"{KEY}.json") == neighbour


def test_a_connection_whose_login_fails_forgets_all_the_same(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    duba.change_password("neu")
    world.settle("poll")
    assert world.events_of("Connection Unhealthy")
    expire(world)
    assert spoken_of(world) == []


def test_a_receipt_that_cannot_be_forgotten_now_keeps_nobody_waiting(
    duba: SimulatedDuba, world: MortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [KEY.replace("fall", name) for name in ("a", "b")]
    for key in keys:
        drop(world, key=key)
    with monkeypatch.context() as patched:
        patched.setattr("amtsbote.receipts.ROUNDS", 0)
        world.later("track", minutes=61)
        assert len(world.inbox_keys()) == len(keys)
    world.settle("track")
    assert (world.inbox_keys(), world.due()) == ([], [])


def test_of_receipts_that_are_locked_the_oldest_alone_is_asked_for_until_the_lock_ends(
    duba: SimulatedDuba, world: MortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [KEY.replace("fall", name) for name in ("a", "b", "c")]
    for key in keys:
        drop(world, key=key)
    asked: list[str] = []

    def refuse(client: object, bucket: str, key: str, version_id: str) -> None:
        asked.append(key)
        raise Retry(NOT_DELETED, "S3 keeps an object that is to be deleted")

    with monkeypatch.context() as patched:
        patched.setattr("amtsbote.receipts.delete_version", refuse)
        world.later("track", minutes=61)
        assert len(world.inbox_keys()) == len(keys)
    assert set(asked) == {f"receipts/{keys[0]}.json"}, "the oldest; the others are locked for longer"
    world.settle("track")
    assert (world.inbox_keys(), world.due()) == ([], [])


def deliver_and_forget(world: MortalWorld) -> None:
    """Let a fresh process do what is done about a link when nothing goes wrong."""
    world.services = world.new_services()
    world.drain()
    world.later("track", minutes=61)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whenever_a_process_dies_the_link_is_told_and_forgotten(
    duba: SimulatedDuba, world: MortalWorld, *, after: bool
) -> None:
    world.drop(KEY, json.dumps(FORM).encode())
    with world.lifeline.cut(0, after=after):
        deliver_and_forget(world)
        calls = list(world.lifeline.calls)
    assert "DeleteObject" in calls and any("memento" in call for call in calls)
    for number in moments(calls, after=after):
        key = f"duba/klinikum/BetreuungAnregung/fall-{number}.json"
        world.drop(key, json.dumps(FORM).encode())
        with world.lifeline.cut(number, after=after):
            deliver_and_forget(world)
            where = world.lifeline.cut_at_call
        for minutes in (11, 61, 11):  # what was received comes again, and whatever became of it ends
            world.later("track", minutes=minutes)
        assert where
        ends = [each["status"] for each in world.events_of("Delivery Updated") if key in each["key"]]
        assert ends and set(ends) == {"DELIVERED"}, where
        assert spoken_of(world, key) == [], where
        assert world.due() == [], where
        assert "/mtl/" not in ledger_text(world), where


# --- nobody else is told ---


def test_neither_link_nor_memento_nor_form_data_goes_anywhere_else(
    duba: SimulatedDuba, world: MortalWorld, log_lines: LogLines, capsys: pytest.CaptureFixture[str]
) -> None:
    duba.faults.add(Fault(Kind.LOST_ANSWER, PREPARE, times=1))
    duba.faults.add(Fault(Kind.TRUNCATED_BODY, PREPARE, times=1))
    drop(world)
    for _ in range(5):
        world.later("poll", "track", minutes=11)
    assert world.receipt(KEY)["status"] == "DELIVERED"
    expire(world)
    printed = capsys.readouterr()
    sent = [body for queue, body in world.sqs.sent]
    said = "\n".join([log_lines.text, printed.out, printed.err, json.dumps(world.events()), *sent])
    assert len(duba.mementos) == 3
    for memento in duba.mementos:
        for canary in (memento.token, memento.memento, memento.memento.split(".")[-1], "/mtl/", "anarienvogel", "eyJ"):
            assert canary not in said


# --- proofs that a form arrived ---


def proofs(world: World) -> list[dict[str, Any]]:
    """Return the events that say so."""
    return [each for each in world.events_of("Delivery Updated") if each["status"] == "RECEIVED_BY_RECIPIENT"]


def send_form(duba: SimulatedDuba, job_id: str = "job-2026-7") -> int:
    """Let the clerk send the form: a message of ours that its recipient has not fetched yet."""
    return duba.add_message(job_id=job_id, direction="OUTGOING")


def fetch_form(duba: SimulatedDuba, id_: int) -> None:
    """Let the recipient fetch a message of ours."""
    duba.messages[id_].received_at = duba.clock()


def test_a_form_that_its_recipient_fetched_is_told_of_once(duba: SimulatedDuba, world: MortalWorld) -> None:
    receipt = drop(world)
    id_ = send_form(duba)
    world.later("poll", minutes=5)
    assert proofs(world) == []
    fetch_form(duba, id_)
    for _ in range(3):
        world.later("poll", minutes=5)
    world.settle("reconcile")
    assert proofs(world) == [
        {
            "portal": "duba",
            "connection": "klinikum",
            "id": str(id_),
            "key": f"receipts/{KEY}.json",
            "status": "RECEIVED_BY_RECIPIENT",
            "versionId": receipt["versionId"],
        }
    ]


def test_a_message_of_ours_is_neither_fetched_nor_acknowledged(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    id_ = send_form(duba)
    fetch_form(duba, id_)
    world.settle()
    assert proofs(world)
    assert (duba.downloads_of(id_), duba.ack_batches) == (0, [])
    assert world.received("klinikum") == set()
    assert world.state("klinikum", str(id_)) is None
    assert world.watermark("klinikum") is None


def test_a_message_of_ours_that_is_wanted_is_both(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    login = {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"}
    world.connect("klinikum", {**login, "directions": ["INCOMING", "OUTGOING"], "acknowledge": "never"})
    id_ = send_form(duba)
    world.settle()
    fetch_form(duba, id_)
    world.settle()
    assert len(proofs(world)) == 1
    assert world.received("klinikum") == {str(id_)}


@pytest.mark.parametrize("job_id", ["job-anders", None])
def test_the_message_of_a_job_that_is_not_ours_proves_nothing(
    duba: SimulatedDuba, world: MortalWorld, job_id: str | None
) -> None:
    drop(world)
    id_ = duba.add_message(job_id=job_id, direction="OUTGOING")
    fetch_form(duba, id_)
    world.settle()
    assert proofs(world) == []


def test_a_link_of_another_connection_is_not_proven(duba: SimulatedDuba, world: MortalWorld) -> None:
    world.connect("zweite", {"baseUrl": duba.base_url, "username": "amtsbote", "password": "geheim"})
    drop(world)
    fetch_form(duba, send_form(duba))
    world.settle()
    assert [each["connection"] for each in proofs(world)] == ["klinikum"]


def test_the_latest_drop_of_a_job_is_the_one_that_is_proven(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    later = drop(world, key=KEY.replace("fall", "nochmal"))
    fetch_form(duba, send_form(duba))
    world.settle()
    assert [each["versionId"] for each in proofs(world)] == [later["versionId"]]


def test_each_message_of_a_job_is_told_of(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    ids = [send_form(duba), send_form(duba)]
    for id_ in ids:
        fetch_form(duba, id_)
    world.settle()
    assert sorted(each["id"] for each in proofs(world)) == [str(id_) for id_ in ids]


def test_a_fetch_long_after_is_noticed_by_the_daily_look(duba: SimulatedDuba, world: MortalWorld) -> None:
    drop(world)
    id_ = send_form(duba)
    world.clock.forward(days=10)
    duba.add_message()
    world.settle()
    fetch_form(duba, id_)
    world.settle("poll")
    world.settle("reconcile")
    assert len(proofs(world)) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whenever_a_poll_dies_the_proof_is_told(duba: SimulatedDuba, world: MortalWorld, *, after: bool) -> None:
    drop(world)
    fetch_form(duba, send_form(duba))
    for number in range(1, 40):
        with world.lifeline.cut(number, after=after):
            world.settle("poll", rounds=1)
            cut = world.lifeline.cut_at_call
        world.later("poll", minutes=11)
        assert 1 <= len(proofs(world)) <= 2, cut
        world.client("dynamodb").delete_item(
            TableName=LEDGER, Key={"pk": {"S": "PROOF#duba#klinikum#job-2026-7"}, "sk": {"S": "AWAITED"}}
        )
        world.sqs.lose("__bus__")
        if not cut:
            return
        duba.messages.clear()
        drop(world)
        world.sqs.lose("__bus__")
        fetch_form(duba, send_form(duba))
    raise AssertionError("a poll makes fewer calls than this")


def test_the_outbox_keeps_what_was_dropped(world: MortalWorld) -> None:
    """Form data is the backend's own: only what came of it is forgotten."""
    drop(world)
    expire(world)
    assert (
        world.client("s3").get_object(Bucket=OUTBOX, Key=KEY)["Body"].read()
        == json.dumps(FORM, ensure_ascii=False).encode()
    )
