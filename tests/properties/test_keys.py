"""The key grammar against the worst of names: what comes out is harmless, told apart, and the same each time."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amtsbote.errors import Reject
from amtsbote.keys import (
    CONNECTION_NAME,
    DROP_RULES,
    FILE_NAME_BYTES,
    KEY_BYTES,
    RESERVED,
    document_key,
    drop_reference,
    item_prefix,
    parse_drop,
    quarantine_key,
    safe_id,
    safe_name,
)
from tests.properties.strategies import HOSTILE_PIECES, HOSTILE_TEXT, NAMES

INVISIBLE = {
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Zl",
    "Zp",
}  # control, format, surrogate, private use, separators
LONGEST_CONNECTION = "k" * 40
TAKEN = st.lists(NAMES, max_size=5)

# --- file names ---


@given(NAMES, TAKEN)
@example("\u202e" * 5000, [])
@example("🙂" * 5000 + ".pdf", [])
@example("e" + "\u0301" * 5000, [])
@example("e\u200d\u0301.pdf", [])
def test_a_safe_name_is_short_visible_and_no_path(name: str, taken: list[str]) -> None:
    safe = safe_name(name, taken)
    assert 0 < len(safe.encode()) <= FILE_NAME_BYTES
    assert unicodedata.is_normalized("NFC", safe)
    assert not INVISIBLE & {unicodedata.category(char) for char in safe}
    assert not set("/\\") & set(safe)
    assert safe == safe.strip() and safe.strip(". \u00a0")


@given(NAMES, TAKEN)
def test_a_safe_name_is_none_that_is_taken_whatever_the_case(name: str, taken: list[str]) -> None:
    used = {other.casefold() for other in (*taken, "document.json")}
    assert safe_name(name, taken).casefold() not in used


@given(NAMES, st.integers(2, 12))
def test_equal_names_are_numbered_apart(name: str, times: int) -> None:
    taken: list[str] = []
    for _ in range(times):
        taken.append(safe_name(name, taken))
    assert len({each.casefold() for each in taken}) == times
    assert all(len(each.encode()) <= FILE_NAME_BYTES for each in taken)


@given(HOSTILE_TEXT)
@example("ΐ.pdf")
def test_a_name_in_capitals_is_the_same_name_to_a_file_system_that_ignores_case(name: str) -> None:
    first = safe_name(name)
    second = safe_name(name.upper(), [first])
    assert len({unicodedata.normalize("NFC", each.casefold()) for each in (first, second)}) == 2


@given(NAMES, TAKEN)
def test_a_safe_name_depends_on_nothing_but_the_name_and_what_is_taken(name: str, taken: list[str]) -> None:
    assert safe_name(name, taken) == safe_name(name, frozenset(taken)) == safe_name(name, [*reversed(taken), *taken])


@given(NAMES)
def test_a_safe_name_is_left_as_it_is(name: str) -> None:
    safe = safe_name(name)
    assert safe_name(safe) == safe


@given(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=30).filter(lambda name: name.isascii()))
def test_an_ordinary_name_is_left_as_it_is(name: str) -> None:
    assert safe_name(f"{name}.pdf") == f"{name}.pdf"


# --- places in the inbox ---


@given(NAMES)
def test_no_id_climbs_out_of_its_place(id_: str) -> None:
    safe = safe_id(id_)
    assert safe.isascii() and safe.isprintable()
    assert not {"", ".", ".."} & set(safe.split("/"))


@given(st.lists(NAMES | HOSTILE_PIECES, min_size=2, max_size=6, unique=True))
@example(["\ud800", "\udfff", "?", "�"])
def test_items_never_share_a_prefix(ids: list[str]) -> None:
    prefixes = [item_prefix("duba", "klinikum", id_) for id_ in ids]
    assert len(set(prefixes)) == len(ids)


@given(NAMES | st.sampled_from(["", "..", "a//b", "x" * 301]))
@example("..")
def test_an_id_that_is_the_place_of_another_one_has_a_place_of_its_own(id_: str) -> None:
    assert safe_id(safe_id(id_)) != safe_id(id_) or id_ == safe_id(id_)


@given(NAMES, NAMES, NAMES, NAMES)
@example("a", "b/c", "a/b", "c")
@example("a", "document.json", "a/document.json", "x")
def test_two_files_never_share_a_key(id_: str, name: str, other_id: str, other_name: str) -> None:
    one = f"{item_prefix('altinn', 'k', id_)}/{safe_name(name)}"
    other = f"{item_prefix('altinn', 'k', other_id)}/{safe_name(other_name)}"
    assert (one == other) is (id_ == other_id and safe_name(name) == safe_name(other_name))
    assert one != document_key(item_prefix("altinn", "k", other_id))


@given(NAMES, NAMES, TAKEN)
@example("x" * 300, "x" * 5000, [])
def test_no_key_is_longer_than_s3_takes(id_: str, name: str, taken: list[str]) -> None:
    prefix = item_prefix("digitale-gemeinde", LONGEST_CONNECTION, id_)
    safe = safe_name(name, taken)
    for key in (f"{prefix}/{safe}", document_key(prefix), quarantine_key(prefix, safe)):
        assert len(key.encode()) <= KEY_BYTES


# --- drops ---

RULES = [rule for rules in DROP_RULES.values() for rule in rules]
PARTS = st.one_of(
    st.sampled_from(["approvals", "drafts", "..", ".", "a.cancel.json", ".cancel.json", "status.json", "\n", "a b"]),
    HOSTILE_TEXT.map(lambda text: text.replace("/", "")).filter(bool),
)
CONNECTIONS = st.from_regex(re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII), fullmatch=True)


def _filled(piece: str) -> SearchStrategy[str]:
    if piece == "<connection>":
        return CONNECTIONS
    return PARTS if piece.startswith("<") else st.just(piece)


@st.composite
def _keys(draw: st.DrawFn) -> str:
    rule = draw(st.sampled_from(RULES))
    return "".join(draw(_filled(piece)) for piece in re.split(r"(<[^>]+>)", rule))


DROP_KEYS = _keys()


@st.composite
def _mistaken(draw: st.DrawFn) -> str:
    key = draw(DROP_KEYS)
    place = draw(st.integers(0, len(key)))
    return key[:place] + draw(HOSTILE_TEXT | st.just("/")) + key[place + draw(st.integers(0, 3)) :]


ANY_KEYS = st.one_of(NAMES, DROP_KEYS, _mistaken(), st.builds("{}/{}".format, st.sampled_from([*DROP_RULES]), NAMES))


@given(DROP_KEYS)
def test_a_key_made_by_a_rule_is_read_part_by_part_unless_it_is_reserved(key: str) -> None:
    if RESERVED.fullmatch(key):
        with pytest.raises(Reject, match="meaning of their own"):
            parse_drop(key)
    else:
        address = parse_drop(key)
        assert [address.portal, address.connection, *address.path] == key.split("/")


@given(ANY_KEYS)
@example("duba/klinikum//fall.json")
def test_any_text_is_an_address_whose_parts_give_the_key_back_or_is_refused_by_name(key: str) -> None:
    try:
        address = parse_drop(key)
    except Reject as refusal:
        said = [refusal.code, *(rule for rule in RULES if rule in refusal.message)]
    else:
        said = []
        assert "/".join((address.portal, address.connection, *address.path)) == key
        assert address.portal in DROP_RULES and CONNECTION_NAME.fullmatch(address.connection)
        assert all(address.path)
    assert not said or (said[0] == "KEY_FITS_NO_RULE" and len(said) > 1)


@given(ANY_KEYS)
def test_a_refusal_says_nothing_of_the_key_itself(key: str) -> None:
    marked = f"docxworld/K/{key}"
    with pytest.raises(Reject) as raised:
        parse_drop(marked)
    assert marked not in raised.value.message


WRITABLE = st.text(max_size=20)


@given(st.lists(st.tuples(WRITABLE, WRITABLE.filter(lambda version: "\n" not in version)), unique=True, max_size=5))
def test_every_version_of_every_key_has_a_name_of_its_own_at_the_portal(versions: list[tuple[str, str]]) -> None:
    references = {drop_reference("outbox", key, version) for key, version in versions}
    assert len(references) == len(versions)
    assert all(re.fullmatch(r"amtsbote-[0-9a-f]{40}", reference) for reference in references)
