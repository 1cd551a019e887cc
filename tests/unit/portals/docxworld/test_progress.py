"""The journal of an upload: small at any size, and the same after a crash."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amtsbote.portals.docxworld.chunks import MOST_CHUNKS
from amtsbote.portals.docxworld.progress import SHOWN_EVERY, Progress, SealedKey
from amtsbote.portals.protocols import SHOWN
from tests.unit.portals.docxworld.test_uploads import Memory

MIB = 1024 * 1024
GIB = 1024 * MIB
ROW_LIMIT_BYTES = 400 * 1000
SIGNED = "X-Amz-SignedHeaders=" + "host%3Bx-amz-meta-contractnumber" * 20
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TWO_PARTS_BYTES = 20 * 1024 * 1024
KEY = SealedKey("KMS", "c2VhbGVk" * 40, "aXY=")


def addresses(count: int, upload: str = "m1") -> list[str]:
    signatures = random.Random(1)
    return [
        f"https://s3.example/key?{SIGNED}&partNumber={n}&uploadId={upload}&X-Amz-Signature={signatures.randbytes(32).hex()}"
        for n in range(1, count + 1)
    ]


def etag(counter: int) -> str:
    return f'"{random.Random(counter).randbytes(16).hex()}"'


@pytest.fixture
def journal() -> Memory:
    return Memory()


def test_an_address_and_that_it_is_about_to_be_used_are_one_write(journal: Memory) -> None:
    Progress(journal).adopt("p1", addresses(1), {}, MIB, begun_at=NOW)
    after = Progress(journal.after_a_crash())
    assert (after.urls, after.began_at, after.touched) == (addresses(1), NOW, True)
    assert journal.saves == 1


def test_that_the_portal_has_the_file_goes_with_the_next_write(journal: Memory) -> None:
    progress = Progress(journal)
    progress.adopt("p1", addresses(1), {}, MIB, begun_at=NOW)
    progress.finish()
    assert not Progress(journal.after_a_crash()).sent
    progress.count_fruitless()
    after = Progress(journal.after_a_crash())
    assert (after.sent, list(after.urls), after.process_id) == (True, [], "p1")


def test_hundreds_of_addresses_fit_into_a_row(journal: Memory) -> None:
    urls = addresses(700)
    Progress(journal).adopt("p1", urls, {}, 10 * GIB)
    assert Progress(journal.after_a_crash()).urls == urls
    assert len(json.dumps(journal.saved)) < 64 * 1024 + 1000


def test_thousands_of_addresses_are_asked_for_again_after_a_crash(journal: Memory) -> None:
    progress, urls = Progress(journal), addresses(MOST_CHUNKS)
    progress.adopt("p1", urls, {}, 100 * GIB)
    assert progress.urls == urls
    assert not Progress(journal.after_a_crash()).urls
    assert "Signature" not in json.dumps(journal.saved)


def test_the_most_parts_that_the_storage_takes_fit_into_a_row(journal: Memory) -> None:
    progress = Progress(journal)
    progress.adopt("p1", addresses(MOST_CHUNKS), {}, 60 * GIB, KEY)
    for counter in range(MOST_CHUNKS):
        progress.has_part(counter, etag(counter))
    progress.keep_parts("s" * 60)
    assert len(json.dumps(journal.saved)) < ROW_LIMIT_BYTES * 0.6
    again = Progress(journal.after_a_crash())
    assert again.etags == {counter: etag(counter) for counter in range(MOST_CHUNKS)}
    assert again.bytes_there == 60 * GIB
    assert not list(again.missing())


def test_parts_that_came_out_of_turn_are_known_after_a_crash(journal: Memory) -> None:
    progress = Progress(journal)
    progress.adopt("p1", addresses(5), {}, 25 * MIB)
    for counter in (3, 0):
        progress.has_part(counter, etag(counter))
    progress.keep_parts(None)
    again = Progress(journal.after_a_crash())
    assert list(again.etags) == [0, 3]
    assert [chunk.counter for chunk in again.missing()] == [1, 2, 4]


@pytest.mark.parametrize(
    "odd",
    ['"00000000000000000000000000000000"', '"0"', "0123456789abcdef0123456789abcdef", '"' + "A" * 32 + '"', '"x-1"'],
)
def test_an_unusual_etag_is_kept_as_it_is(journal: Memory, odd: str) -> None:
    progress = Progress(journal)
    progress.adopt("p1", addresses(2), {}, 10 * MIB)
    progress.has_part(1, odd)
    progress.keep_parts(None)
    assert Progress(journal.after_a_crash()).etags == {1: odd}


@pytest.mark.parametrize(("process_id", "upload", "kept"), [("p1", "m1", 1), ("p1", "m2", 0), ("p2", "m1", 0)])
def test_parts_are_kept_for_the_same_upload_only(journal: Memory, process_id: str, upload: str, kept: int) -> None:
    progress = Progress(journal)
    progress.adopt("p1", addresses(3), {}, 15 * MIB, KEY)
    progress.has_part(0, etag(0))
    progress.keep_parts("sum")
    progress.adopt(process_id, addresses(3, upload), {}, 15 * MIB, KEY)
    assert len(progress.etags) == kept
    assert progress.sum == ("sum" if kept else None)


def test_an_upload_that_is_replaced_leaves_its_name_and_nothing_else(journal: Memory) -> None:
    progress = Progress(journal)
    progress.aim("t1")
    progress.adopt("p1", addresses(3), {}, 15 * MIB, KEY)
    progress.begin(NOW)
    progress.replace()
    again = Progress(journal.after_a_crash())
    assert (again.generation, again.replaced, again.target) == (2, ["p1"], "t1")
    assert (again.process_id, again.key, again.began_at, again.touched) == (None, None, None, False)


def test_an_upload_that_arrived_after_all_takes_its_place_again(journal: Memory) -> None:
    progress = Progress(journal)
    progress.adopt("p1", addresses(1), {}, 5)
    progress.replace()
    progress.adopt("p2", addresses(1), {}, 5)
    progress.return_to("p1")
    assert (progress.process_id, progress.replaced, list(progress.urls)) == ("p1", [], [])


def test_a_journal_of_the_older_form_keeps_its_upload_and_sends_its_parts_anew(journal: Memory) -> None:
    journal.state.update(processId="p1", chunks=[[0, 0, 5]], urls="x", etags={"0": "e"}, multipart="m1", count=1)
    progress = Progress(journal)
    assert (progress.process_id, progress.urls, progress.etags) == ("p1", [], {})


# --- what the receipt shows ---


def shown(journal: Memory) -> dict[str, Any]:
    result: dict[str, Any] = journal.state[SHOWN]["result"]
    return result


def test_the_first_percents_show_then_every_five_or_after_ten_seconds(journal: Memory) -> None:
    progress = Progress(journal)
    assert not progress.show(4, 100, NOW)
    assert progress.show(5, 100, NOW)
    assert shown(journal) == {"bytesSent": 5, "bytesTotal": 100}
    assert not progress.show(9, 100, NOW)
    assert progress.show(10, 100, NOW)
    assert not progress.show(10, 100, NOW + SHOWN_EVERY)
    assert not progress.show(11, 100, NOW + SHOWN_EVERY - timedelta(seconds=1))
    assert progress.show(11, 100, NOW + SHOWN_EVERY)


def test_a_file_in_parts_shows_from_its_first_bytes_on(journal: Memory) -> None:
    progress = Progress(journal)
    progress.adopt("p1", ["https://s3.example/a?uploadId=u", "https://s3.example/b?uploadId=u"], {}, TWO_PARTS_BYTES)
    assert progress.show(1, TWO_PARTS_BYTES, NOW)
    assert shown(journal) == {"bytesSent": 1, "bytesTotal": TWO_PARTS_BYTES}
    assert not progress.show(2, TWO_PARTS_BYTES, NOW)


def test_the_end_is_not_shown_as_it_is_told_by_itself(journal: Memory) -> None:
    assert not Progress(journal).show(100, 100, NOW)


def test_a_receipt_is_rewritten_a_bounded_number_of_times_however_small_the_steps(journal: Memory) -> None:
    progress = Progress(journal)
    assert sum(progress.show(sent, 100_000, NOW) for sent in range(100_001)) == 19
