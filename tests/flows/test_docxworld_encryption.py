"""What is dropped for a connection that encrypts leaves encrypted: one key per upload, one tag, exactly once."""

import base64
import hashlib
from collections.abc import Iterator
from uuid import uuid4

import pytest

from amtsbote.services import Services
from sandbox.portals.faults import Fault, Kind
from tests.flows.conftest import CHUNKED_FROM_BYTES, LogLines, ObservedDocxworld
from tests.flows.mortality import MortalWorld, moments
from tests.flows.test_docxworld_uploads import (
    COMPLETE,
    LETTER,
    MIB,
    REQUEST_URLS,
    STORAGE,
    calls_of_a_delivery,
    deliver,
    follow,
    key_of,
    noise,
    only_job,
    recover,
)
from tests.flows.world import LEDGER, Clock

LARGE = 25 * MIB + 1
EXPIRED = {"hours": 2}
SIZES = pytest.mark.parametrize("size", [len(LETTER), CHUNKED_FROM_BYTES], ids=["single", "chunked"])


class SealingWorld(MortalWorld):
    """A world whose stack has a key in KMS, the calls of which a process can die at too."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("docxworld", clock=clock)
        kms = self.client("kms")
        self.key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.meta.events.register("before-call", lambda model, **_: self.lifeline.before(f"{model.name}"))
        kms.meta.events.register("after-call", lambda **_: self.lifeline.after())
        self.services = self.new_services()

    def new_services(self) -> Services:
        """Return services as a fresh process has them."""
        services = super().new_services()
        services.settings = services.settings.model_copy(update={"vault_key": getattr(self, "key", "")})
        return services


@pytest.fixture
def world(docxworld: ObservedDocxworld, clock: Clock) -> SealingWorld:
    """Provide a world with one docxworld connection that encrypts, `klinikum`."""
    sealing = SealingWorld(clock)
    sealing.connect("klinikum", docxworld.secret(uploader={"encryption": "docxworld"}))
    return sealing


@pytest.fixture(autouse=True)
def no_key_is_ever_used_twice(docxworld: ObservedDocxworld) -> Iterator[None]:
    """After each test: no different bytes under one key, no credentials in the storage, nothing that does not open."""
    yield
    assert docxworld.storage.flags == []


def opened_once(docxworld: ObservedDocxworld, world: MortalWorld, key: str, content: bytes) -> bool:
    """Return whether exactly one upload of that name arrived, opens to this content, and the receipt names it."""
    name = key.rpartition("/")[2]
    (job,) = [job for job in docxworld.jobs() if job.file_name == name and job.content_complete]
    receipt = world.receipt(key)
    return (
        docxworld.uploads.opened(job.id) == (hashlib.sha256(content).hexdigest(), len(content))
        and [state for _, state in job.events].count("UPLOADED") == 1
        and (receipt["status"], receipt["portalId"]) == ("DELIVERED", job.id)
    )


def reference_counters(docxworld: ObservedDocxworld) -> list[str]:
    """Return what stands behind the drop's own reference in the references of all uploads."""
    return [str(job.reference_id).partition(".")[2] for job in docxworld.jobs()]


def drops_in_ledger(world: MortalWorld) -> str:
    """Return everything that the ledger holds of drops."""
    rows = world.client("dynamodb").scan(TableName=LEDGER)["Items"]
    return str([row for row in rows if row["pk"]["S"].startswith("DROP#")])


# --- how files get there ---


@pytest.mark.parametrize("provider", ["docxworld", "kms"])
@pytest.mark.parametrize("size", [1, 15, 16, len(LETTER), CHUNKED_FROM_BYTES, LARGE])
def test_a_drop_arrives_encrypted_and_opens_to_what_was_dropped(
    docxworld: ObservedDocxworld, world: SealingWorld, provider: str, size: int
) -> None:
    world.connect("klinikum", docxworld.secret(uploader={"encryption": provider}))
    content = noise(size)
    deliver(world, key_of(docxworld), content)
    follow(world)
    assert opened_once(docxworld, world, key_of(docxworld), content)
    stored = docxworld.read_upload(only_job(docxworld).id)
    assert len(stored) == size + 16
    assert size < 16 or stored[:size] != content  # of a few bytes, any may be encrypted to itself
    assert len(docxworld.asked("PUT", "/v1/uploads")) == 1
    encryption = only_job(docxworld).encryption
    assert encryption is not None and encryption.provider == provider.upper()


def test_the_last_part_goes_last_and_carries_the_tag(docxworld: ObservedDocxworld, world: SealingWorld) -> None:
    deliver(world, key_of(docxworld), noise(LARGE))
    sizes = [put.body_bytes for put in docxworld.asked("PUT", "/s3/.*")]
    assert len(sizes) > 3 and sum(sizes) == LARGE + 16
    assert min(sizes[:-1]) >= 5 * MIB and all(size % 16 == 0 for size in sizes[:-1])
    assert sizes[-1] % 16 == LARGE % 16


@SIZES
@pytest.mark.parametrize("announced", ["plaintext", "ciphertext"])
def test_the_size_is_told_as_the_secret_says(
    docxworld: ObservedDocxworld, world: SealingWorld, announced: str, size: int
) -> None:
    docxworld.uploads.options.announced_size = announced
    world.connect("klinikum", docxworld.secret(uploader={"encryption": "kms", "fileSize": announced}))
    content = noise(size)
    deliver(world, key_of(docxworld), content)
    follow(world)
    assert only_job(docxworld).file_size == size + (16 if announced == "ciphertext" else 0)
    assert opened_once(docxworld, world, key_of(docxworld), content)


def test_a_key_that_was_wrapped_with_the_other_mask_opens_too(
    docxworld: ObservedDocxworld, world: SealingWorld
) -> None:
    docxworld.uploads.options.java_mask = False
    deliver(world, key_of(docxworld))
    follow(world)
    assert opened_once(docxworld, world, key_of(docxworld), LETTER)


def test_each_upload_has_a_key_of_its_own(docxworld: ObservedDocxworld, world: SealingWorld) -> None:
    for name in ("a.pdf", "b.pdf"):
        deliver(world, key_of(docxworld, name))
    keys = {job.encryption.key for job in docxworld.jobs() if job.encryption}
    assert len(keys) == 2


# --- what must not happen ---


def test_a_portal_that_gives_no_key_gets_nothing(docxworld: ObservedDocxworld, world: SealingWorld) -> None:
    docxworld.uploads.options.encryption_ignored = True
    deliver(world, key_of(docxworld))
    receipt = world.receipt(key_of(docxworld))
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", "NOT_ENCRYPTED")
    assert "uploader.encryption" in receipt["error"]["message"]
    assert not docxworld.asked("PUT", "/s3/.*")


def test_a_target_that_takes_no_encrypted_files_is_told_of(docxworld: ObservedDocxworld, world: SealingWorld) -> None:
    target = docxworld.add_target("Klar", "KLAR", encryption_allowed=False)
    deliver(world, f"docxworld/klinikum/{target.id}/brief.pdf")
    assert world.receipt(f"docxworld/klinikum/{target.id}/brief.pdf")["error"]["code"] == "ENCRYPTION_NOT_ALLOWED"


def test_neither_key_nor_hash_is_ever_in_clear_in_ledger_or_log(
    docxworld: ObservedDocxworld, world: SealingWorld, log_lines: LogLines
) -> None:
    seen: list[str] = []
    world.before("dynamodb", "PutItem", lambda: seen.append(drops_in_ledger(world)), key="touched")
    calls = world.calls("dynamodb", "PutItem")
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, after=3, times=1, status=500))
    world.drop(key_of(docxworld), noise(LARGE))
    world.drain()
    encryption = only_job(docxworld).encryption
    assert encryption is not None and "sealed" in seen[0]
    journals = "".join(calls)
    assert "sum" in journals
    for secret in (base64.b64encode(encryption.key).decode(), encryption.key.hex(), repr(encryption.key)):
        assert secret not in journals + drops_in_ledger(world) + log_lines.text


def test_the_journal_is_forgotten_when_the_portal_has_the_file(
    docxworld: ObservedDocxworld, world: SealingWorld
) -> None:
    deliver(world, key_of(docxworld))
    assert "sealed" not in drops_in_ledger(world)


def test_a_vault_that_is_closed_lets_the_drop_wait(docxworld: ObservedDocxworld, world: SealingWorld) -> None:
    key, world.key = world.key, str(uuid4())
    world.services = world.new_services()
    deliver(world, key_of(docxworld))
    assert world.receipt(key_of(docxworld))["status"] == "IN_PROGRESS"
    assert not docxworld.asked("PUT", "/s3/.*")
    world.key = key
    world.services = world.new_services()
    recover(world)
    assert opened_once(docxworld, world, key_of(docxworld), LETTER)


def test_a_function_without_a_vault_says_so(docxworld: ObservedDocxworld, docxworld_world: MortalWorld) -> None:
    docxworld_world.connect("klinikum", docxworld.secret(uploader={"encryption": "kms"}))
    deliver(docxworld_world, key_of(docxworld))
    assert docxworld_world.receipt(key_of(docxworld))["history"]
    (unhealthy,) = docxworld_world.events_of("Connection Unhealthy")
    assert unhealthy["code"] == "VAULT_MISSING"
    assert not docxworld.asked("PUT", "/s3/.*")


# --- time, addresses, answers ---


def test_an_upload_goes_on_over_many_invocations_with_one_key(
    docxworld: ObservedDocxworld, world: SealingWorld
) -> None:
    content = noise(LARGE)
    world.drop(key_of(docxworld), content)
    for _ in range(5):
        world.before("dynamodb", "PutItem", world.use_up_time, key="etags")
        world.run("own")
        world.services = world.new_services()  # another process, which knows only the journal
    world.drain()
    follow(world)
    assert opened_once(docxworld, world, key_of(docxworld), content)
    assert docxworld.storage_puts(only_job(docxworld).id) == only_job(docxworld).url_count
    assert len(docxworld.asked("PUT", "/v1/uploads")) == 1


@pytest.mark.parametrize("repeated", ["same", "none"])
def test_addresses_that_end_in_between_are_asked_for_again_and_the_key_stays(
    docxworld: ObservedDocxworld, world: SealingWorld, repeated: str
) -> None:
    content = noise(LARGE)
    docxworld.uploads.options.repeated_key = repeated
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, after=2, times=1, status=500))
    world.drop(key_of(docxworld), content)
    world.drain()
    world.clock.forward(**EXPIRED)
    world.services = world.new_services()
    world.drain()
    follow(world)
    assert opened_once(docxworld, world, key_of(docxworld), content)
    assert len(docxworld.asked("PUT", "/v1/uploads")) == 2
    assert docxworld.storage_puts(only_job(docxworld).id) == only_job(docxworld).url_count


@pytest.mark.parametrize("size", [len(LETTER), LARGE], ids=["single", "chunked"])
def test_another_key_after_bytes_were_sent_starts_over_under_another_reference(
    docxworld: ObservedDocxworld, world: SealingWorld, size: int
) -> None:
    """Given an upload whose storage fails in the middle, when its addresses end and the portal makes another key."""
    content = noise(size)
    docxworld.uploads.options.repeated_key = "another"
    docxworld.faults.add(Fault(Kind.RESET, STORAGE, after=2 if size == LARGE else 0, times=1))
    world.drop(key_of(docxworld), content)
    world.drain()
    for _ in range(4):
        world.clock.forward(**EXPIRED)
        world.drain()
    follow(world)
    first, second = docxworld.jobs()
    assert reference_counters(docxworld) == ["", "2"]
    assert not first.content_complete
    assert opened_once(docxworld, world, key_of(docxworld), content)
    assert world.receipt(key_of(docxworld))["result"]["replaces"] == [first.id]
    assert world.receipt(key_of(docxworld))["portalId"] == second.id


def test_another_key_before_anything_was_sent_is_simply_used(docxworld: ObservedDocxworld, world: SealingWorld) -> None:
    docxworld.uploads.options.repeated_key = "another"
    docxworld.faults.add(Fault(Kind.LOST_ANSWER, REQUEST_URLS, times=1))
    world.drop(key_of(docxworld), LETTER)
    world.drain()
    recover(world)
    assert reference_counters(docxworld) == [""]
    assert opened_once(docxworld, world, key_of(docxworld), LETTER)


@SIZES
def test_encryption_that_is_switched_on_in_the_middle_begins_anew(
    docxworld: ObservedDocxworld, world: SealingWorld, size: int
) -> None:
    content = noise(size)
    world.connect("klinikum", docxworld.secret())
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, times=1, status=500))
    world.drop(key_of(docxworld), content)
    world.drain()
    world.connect("klinikum", docxworld.secret(uploader={"encryption": "docxworld"}))
    recover(world)
    plain, _ = docxworld.jobs()
    assert plain.encryption is None and not plain.content_complete
    assert opened_once(docxworld, world, key_of(docxworld), content)


def test_encryption_that_is_switched_off_in_the_middle_is_ended_as_it_was_begun(
    docxworld: ObservedDocxworld, world: SealingWorld
) -> None:
    content = noise(LARGE)
    docxworld.faults.add(Fault(Kind.SERVER_ERROR, STORAGE, after=1, times=1, status=500))
    world.drop(key_of(docxworld), content)
    world.drain()
    world.connect("klinikum", docxworld.secret())
    recover(world)
    assert opened_once(docxworld, world, key_of(docxworld), content)
    assert len(docxworld.jobs()) == 1


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.TRUNCATED_BODY, Kind.HTML_WITH_200])
@pytest.mark.parametrize("call", [REQUEST_URLS, STORAGE, COMPLETE])
def test_a_lost_or_unreadable_answer_leads_to_one_upload_all_the_same(
    docxworld: ObservedDocxworld, world: SealingWorld, call: str, kind: Kind
) -> None:
    content = noise(CHUNKED_FROM_BYTES) if call == COMPLETE else LETTER
    docxworld.faults.add(Fault(kind, call, times=1))
    world.drop(key_of(docxworld), content)
    world.drain()
    recover(world)
    assert opened_once(docxworld, world, key_of(docxworld), content)
    assert not world.due() and not world.sqs.queue("own")


# --- processes that die ---


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
@SIZES
def test_a_process_that_dies_at_any_call_has_delivered_once_in_the_end(
    docxworld: ObservedDocxworld, world: SealingWorld, size: int, after: bool
) -> None:
    content = noise(size)
    calls = calls_of_a_delivery(docxworld, world, content)
    first = calls.index("PUT /v1/uploads") if after else 1  # what comes before is the same without encryption
    for number in (each for each in moments(calls, after=after) if each > first):
        key = key_of(docxworld, f"brief-{number}.pdf")
        world.drop(key, content)
        world.services = world.new_services()
        with world.lifeline.cut(number, after=after):
            world.drain()
        recover(world)
        assert opened_once(docxworld, world, key, content), world.lifeline.cut_at_call
        assert world.due() == [], world.lifeline.cut_at_call
    assert not world.sqs.dead_letters
