"""The trail: how a step is sealed, what is left out, rows of before there were seals, and what a break is called."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from amtsbote.audit import (
    Deed,
    canonical,
    facts_of,
    left_out,
    next_deed,
    pseudonym,
    sealed,
    unsealed,
    verify,
    verify_deeds,
)
from amtsbote.deliveries import DropRow, DropState, SendLease, advance_drop, received
from amtsbote.lifecycle import (
    Committed,
    Contents,
    Deferred,
    ItemEvent,
    ItemRow,
    LeaseTaken,
    Past,
    State,
    advance,
    opened,
)
from amtsbote.portals.portal import AcknowledgePolicy
from amtsbote.portals.protocols import Finding
from tests.unit.support import NOW, later

ROLE = "arn:aws:sts::123456789012:assumed-role/Operators/erika"


def item(id: str = "214") -> ItemRow:
    return opened("duba", "klinikum", Finding(id, NOW, {}), "{}", NOW)


def drop(version: str = "v1") -> DropRow:
    return received("outbox", "duba/klinikum/BetreuungAnregung/a.json", version, "1", ("duba", "klinikum"), NOW)


def after(row: ItemRow, event: ItemEvent, by: str, minutes: int = 1) -> ItemRow:
    """Let an event happen to a row, sealed as the ledger does."""
    return sealed(advance(row, event, later(minutes=minutes)), by, row)


def stored() -> ItemRow:
    fetching = after(sealed(item(), "poll"), LeaseTaken(later(minutes=4)), "fetch")
    contents = Contents(("a.pdf",), 48213, "ab" * 32)
    return after(fetching, Committed(AcknowledgePolicy.STORED, contents), "fetch", 2)


def failing(times: int, row: ItemRow | None = None, *, from_hour: int = 0) -> ItemRow:
    """Return an item that is fetched in vain again and again, in the same way."""
    row = row or sealed(item(), "poll")
    for hour in range(from_hour, from_hour + times):
        row = after(row, LeaseTaken(later(hours=hour, minutes=4)), "fetch", 60 * hour)
        row = after(row, Deferred(row.fence, later(hours=hour + 1), "OUTAGE"), "fetch", 60 * hour + 1)
    return row


def digest(before: str, step: dict[str, object]) -> str:
    """Compute a digest as the documentation says, with nothing of the package."""
    text = before + "\n" + json.dumps(step, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:32]


# --- sealing ---


def test_a_step_says_when_who_what_how_large_and_its_digest_can_be_computed_by_anybody() -> None:
    row = stored()
    first = {"number": 1, "at": "2026-02-19T14:30:00.000000Z", "state": "DISCOVERED", "by": "poll"}
    second = {"number": 2, "at": "2026-02-19T14:31:00.000000Z", "state": "FETCHING", "by": "fetch"}
    third = {"number": 3, "at": "2026-02-19T14:32:00.000000Z", "state": "STORED", "by": "fetch"}
    third |= {"sizeBytes": 48213, "sha256": "ab" * 32}
    one = digest("ITEM#duba#klinikum#214", first)
    two = digest(one, second)
    assert [past.digest for past in row.history] == [one, two, digest(two, third)]
    assert verify(row) == []


def test_two_rows_with_the_same_steps_have_other_digests() -> None:
    assert sealed(item("1"), "poll").history[0].digest != sealed(item("2"), "poll").history[0].digest
    assert sealed(drop("v1"), "deliver").history[0].digest != sealed(drop("v2"), "deliver").history[0].digest


def test_a_change_without_a_step_leaves_the_trail_as_it_is() -> None:
    row = stored()
    assert sealed(replace(row, attempts=7), "acknowledge", row).history == row.history


def test_a_delivery_is_sealed_likewise() -> None:
    row = sealed(drop(), "deliver")
    sending = sealed(advance_drop(row, SendLease(later(minutes=4)), later(minutes=1)), "deliver", row)
    assert (verify(sending), [past.by for past in sending.history]) == ([], ["deliver", "deliver"])
    assert sending.state is DropState.SENDING


def test_a_row_whose_id_no_utf_8_can_hold_is_sealed() -> None:
    assert verify(sealed(item("\ud800"), "poll")) == []


def test_canonical_json_leaves_out_what_is_not_there() -> None:
    past = Past(NOW, "STORED", by="fetch", number=3, digest="d", after="a")
    assert canonical(facts_of(past)) == (
        '{"at":"2026-02-19T14:30:00.000000Z","by":"fetch","number":3,"state":"STORED"}'
    )


def test_a_person_is_known_by_a_pseudonym_that_who_knows_the_arn_can_check() -> None:
    assert pseudonym(ROLE) == "operator:" + sha256(ROLE.encode()).hexdigest()[:12]
    assert pseudonym(ROLE) != pseudonym(ROLE + "x")


# --- gaps ---


def test_the_chain_closes_over_the_repeats_that_are_left_out() -> None:
    row = failing(50)
    gaps = [left_out(row.history, place) for place in range(len(row.history))]
    assert verify(row) == []
    assert len(row.history) <= 6
    assert sum(gaps) + len(row.history) == 101 == row.history[-1].number
    assert [past.after is not None for past in row.history] == [gap > 0 for gap in gaps]


def test_a_gap_that_is_said_to_be_smaller_or_closed_is_a_break() -> None:
    row = failing(50)
    place = next(place for place, past in enumerate(row.history) if past.after)
    for change in ({"after": None}, {"after": row.history[place - 1].digest}, {"number": 6}):
        assert verify(tampered(row, place, **change))


def test_steps_left_out_by_hand_and_marked_as_a_gap_are_a_break() -> None:
    """The chain alone would close over it; the row's seal does not."""
    row = stored()
    gap = replace(row.history[2], after=row.history[1].digest)
    assert verify(replace(row, history=(row.history[0], gap))) == [
        "steps were left out or added, as the row's seal is that of another history"
    ]


# --- rows of before ---


def test_a_row_of_before_there_were_seals_is_sound_and_says_so() -> None:
    row = item()
    assert (verify(row), unsealed(row), row.seal) == ([], 1, None)


def test_a_row_of_before_is_sealed_at_its_next_step_and_nobody_gets_its_old_ones() -> None:
    old = advance(item(), LeaseTaken(later(minutes=4)), later(minutes=1))
    row = after(old, Committed(AcknowledgePolicy.STORED), "fetch", 2)
    assert [past.by for past in row.history] == [None, None, "fetch"]
    assert (verify(row), unsealed(row)) == ([], 2)
    assert verify(tampered(row, 0, reason="OTHER"))


def test_a_row_of_before_that_has_left_steps_out_is_sealed_all_the_same() -> None:
    old = item()
    for hour in range(20):
        old = advance(old, LeaseTaken(later(hours=hour, minutes=4)), later(hours=hour))
        old = advance(old, Deferred(old.fence, later(hours=hour + 1), "OUTAGE"), later(hours=hour, minutes=1))
    assert verify(failing(3, old, from_hour=20)) == []


def test_a_row_that_lost_its_seals_only_in_part_is_broken() -> None:
    row = stored()
    assert verify(replace(row, seal=None))
    assert verify(tampered(row, 1, digest=None))


# --- breaks ---


def tampered(row: ItemRow, place: int, **change: object) -> ItemRow:
    """Return a row with one step changed."""
    changed = replace(row.history[place], **change)  # type: ignore[arg-type]
    return replace(row, history=(*row.history[:place], changed, *row.history[place + 1 :]))


@pytest.mark.parametrize(
    "change",
    [
        {"at": later(seconds=1)},
        {"state": "QUARANTINED"},
        {"reason": "OTHER"},
        {"by": "operator:0"},
        {"size_bytes": 1},
        {"sha256": "ab"},
        {"number": 4},
        {"digest": "0" * 32},
        {"after": "0" * 32},
    ],
)
def test_what_is_changed_in_a_step_is_told_with_its_place(change: dict[str, object]) -> None:
    row = stored()
    before = {name: getattr(row.history[1], name) for name in change}
    assert before != change
    said = verify(tampered(row, 1, **change))
    assert said
    assert said[0].startswith("step 2 (")


def test_a_last_step_that_is_gone_is_told() -> None:
    row = stored()
    assert len(verify(replace(row, history=row.history[:-1]))) == 2


def test_a_row_that_says_another_state_than_its_trail_is_told() -> None:
    assert verify(replace(stored(), state=State.ACKNOWLEDGED)) == [
        "the last step is STORED, and the row is ACKNOWLEDGED"
    ]


def test_a_trail_of_another_row_is_told() -> None:
    assert verify(replace(stored(), id="215"))


# --- what people did ---


def deeds(*actions: str) -> list[Deed]:
    made: list[Deed] = []
    for action in actions:
        deed = Deed("duba", "klinikum", 0, NOW, action, "operator:0")
        made.append(next_deed(deed, made[-1] if made else None))
    return made


def test_actions_are_numbered_and_chained() -> None:
    made = deeds("pause", "resume", "pause")
    assert [deed.number for deed in made] == [1, 2, 3]
    assert verify_deeds(made) == []
    assert verify_deeds(made[1:], made[0]) == []
    step = {"number": 1, "action": "pause", "by": "operator:0", "at": "2026-02-19T14:30:00.000000Z"}
    assert made[0].digest == digest("AUDIT#duba#klinikum", step)


def test_an_action_changed_left_out_or_of_another_connection_is_told() -> None:
    one, two, three = deeds("pause", "resume", "pause")
    assert len(verify_deeds([one, replace(two, by="operator:1"), three])) == 1
    assert len(verify_deeds([one, three])) == 1
    assert len(verify_deeds([replace(one, connection="andere"), two])) == 1
    assert verify_deeds([two]) == ["action 2 (resume, 2026-02-19T14:30:00.000000Z) does not follow, or was changed"]
