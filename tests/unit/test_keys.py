"""The key grammar: hostile names become harmless ones, hostile ids stay in their place, odd keys are named."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amtsbote.errors import Reject
from amtsbote.keys import (
    CONNECTION_NAME,
    FILE_NAME_BYTES,
    KEY_BYTES,
    DropAddress,
    document_key,
    drop_reference,
    item_prefix,
    parse_drop,
    quarantine_key,
    receipt_key,
    safe_id,
    safe_name,
    secret_prefix,
)

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("./\\ \u00a0ä\u0301\u200d\ud800x", max_size=300)
LONGEST_CONNECTION = "k" * 40

# --- file names ---


@given(ANY_TEXT)
@example("\u00a0..")
@example("." + " " * 300 + "x" * 25)
@example(".." + " " * 300 + "x" * 25)
@example("e\u200d\u0301.pdf")
@example("\ud800.pdf")
@example("ä" * 300 + ".pdf")
def test_any_name_becomes_safe(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert len(safe.encode()) <= FILE_NAME_BYTES
    assert unicodedata.is_normalized("NFC", safe)
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in safe)
    assert not set("/\\") & set(safe)
    assert safe.strip() == safe
    assert safe.strip(". \u00a0") != ""
    assert safe.casefold() != "document.json"


@given(st.lists(ANY_TEXT | st.sampled_from(["a.pdf", "A.PDF", "document.json", "x" * 250 + ".pdf"]), max_size=12))
def test_the_names_of_an_item_are_unique_also_where_case_does_not_count(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(safe_name(name, taken))
    assert len({name.casefold() for name in taken}) == len(names)
    assert all(len(name.encode()) <= FILE_NAME_BYTES for name in taken)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("brief.pdf", "brief.pdf"),
        ("Anträge Müller (1).pdf", "Anträge Müller (1).pdf"),
        ("Antra\u0308ge.pdf", "Anträge.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Temp\\brief.pdf", "brief.pdf"),
        ("a\x00b\nc\u202ed.pdf", "abcd.pdf"),
        ("  brief.pdf\t", "brief.pdf"),
        (".profile", ".profile"),
        ("", "file"),
        ("..", "file"),
        (". .", "file"),
        ("ordner/", "file"),
        ("document.json", "document-2.json"),
        ("Document.JSON", "Document-2.JSON"),
        ("x" * 250 + ".pdf", "x" * 196 + ".pdf"),
        ("x." + "y" * 250, "x." + "y" * 198),
        ("ä" * 150, "ä" * 100),
    ],
)
def test_a_name_keeps_what_is_harmless_in_it(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("taken", "safe"),
    [
        (["a.pdf"], "a-2.pdf"),
        (["A.PDF"], "a-2.pdf"),
        (["a.pdf", "a-2.pdf"], "a-3.pdf"),
        (["b.pdf"], "a.pdf"),
    ],
)
def test_a_taken_name_is_numbered_before_its_extension(taken: list[str], safe: str) -> None:
    assert safe_name("a.pdf", taken) == safe


def test_the_number_of_a_long_name_fits_into_its_length() -> None:
    assert safe_name("x" * 250 + ".pdf", ["x" * 196 + ".pdf"]) == "x" * 194 + "-2.pdf"


# --- item ids ---


@pytest.mark.parametrize("id_", ["214", "50012/0c1b-4a", "a b@c:d+e=f,g~h-i.j_k", "...", "5b7f2a34-9c1d"])
def test_an_ordinary_id_is_left_as_it_is(id_: str) -> None:
    assert safe_id(id_) == id_


@pytest.mark.parametrize("id_", ["", ".", "..", "../x", "a/../b", "/a", "a/", "a//b", "x" * 301, "ü" * 51])
def test_an_id_that_climbs_or_is_too_long_is_replaced_by_its_digest(id_: str) -> None:
    assert safe_id(id_).startswith("id-")
    assert len(safe_id(id_)) == 67


def test_an_id_of_the_longest_length_is_kept() -> None:
    assert safe_id("x" * 300) == "x" * 300


@pytest.mark.parametrize(("id_", "safe"), [("a\nb", "a%0Ab"), ("a%2Fb", "a%252Fb"), ("ü", "%C3%BC"), ("?#", "%3F%23")])
def test_what_is_odd_in_an_id_is_escaped(id_: str, safe: str) -> None:
    assert safe_id(id_) == safe


@given(ANY_TEXT)
def test_no_id_climbs_out_of_its_place(id_: str) -> None:
    safe = safe_id(id_)
    assert not {"", ".", ".."} & set(safe.split("/"))
    assert safe.isascii()
    assert safe.isprintable()


@given(st.lists(ANY_TEXT, unique=True, min_size=2, max_size=2))
def test_two_ids_never_share_a_place(ids: list[str]) -> None:
    assert safe_id(ids[0]) != safe_id(ids[1])


# --- whole keys ---


@given(ANY_TEXT, ANY_TEXT)
@example("x" * 300, "ü" * 300)
def test_no_key_in_the_inbox_is_longer_than_s3_takes(id_: str, name: str) -> None:
    prefix = item_prefix("digitale-gemeinde", LONGEST_CONNECTION, id_)
    for key in (f"{prefix}/{safe_name(name)}", document_key(prefix), quarantine_key(prefix, safe_name(name))):
        assert len(key.encode()) <= KEY_BYTES


def test_the_keys_are_those_of_the_contract() -> None:
    prefix = item_prefix("altinn", "stadt", "50012/0c1b")
    assert prefix == "altinn/stadt/50012/0c1b"
    assert document_key(prefix) == "altinn/stadt/50012/0c1b/document.json"
    assert quarantine_key(prefix, "a.pdf") == "quarantine/altinn/stadt/50012/0c1b/a.pdf"
    assert receipt_key("docxworld/k/t/a.pdf") == "receipts/docxworld/k/t/a.pdf.json"
    assert secret_prefix("duba") == "amtsbote/duba/"


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("k", True),
        ("0-9", True),
        ("k" * 40, True),
        ("k" * 41, False),
        ("", False),
        ("-k", False),
        ("K", False),
        ("k_1", False),
        ("klinikum\n", False),
        ("ä", False),
    ],
)
def test_a_connection_name_follows_the_contracts_rule(name: str, fits: bool) -> None:
    assert bool(CONNECTION_NAME.fullmatch(name)) is fits


# --- drops ---


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("docxworld/klinikum/5b7f/brief.pdf", DropAddress("docxworld", "klinikum", ("5b7f", "brief.pdf"))),
        ("docxworld/k/RG/Müller & Söhne.pdf", DropAddress("docxworld", "k", ("RG", "Müller & Söhne.pdf"))),
        ("docxworld/k/RG/approvals", DropAddress("docxworld", "k", ("RG", "approvals"))),
        ("docxworld/k/RG/a.cancel.json", DropAddress("docxworld", "k", ("RG", "a.cancel.json"))),
        ("docxworld/k/approvals/1/decision.json", DropAddress("docxworld", "k", ("approvals", "1", "decision.json"))),
        ("docxworld/k/approvals/1/file.pdf", DropAddress("docxworld", "k", ("approvals", "1", "file.pdf"))),
        ("docxworld/k/drafts/RG/a.xml", DropAddress("docxworld", "k", ("drafts", "RG", "a.xml"))),
        ("docxworld/k/drafts/RG/a.cancel.json", DropAddress("docxworld", "k", ("drafts", "RG", "a.cancel.json"))),
        ("duba/klinikum/Formular/fall.json", DropAddress("duba", "klinikum", ("Formular", "fall.json"))),
    ],
)
def test_a_drop_key_says_for_whom_and_where(key: str, address: DropAddress) -> None:
    assert parse_drop(key) == address


@pytest.mark.parametrize(
    ("key", "mistake"),
    [
        ("klinikum/brief.pdf", "begins with no portal"),
        ("", "begins with no portal"),
        ("/docxworld/klinikum/t/a.pdf", "begins with no portal"),
        ("Docxworld/klinikum/t/a.pdf", "begins with no portal"),
        ("duba/klinikum/BetreuungAnregung/fall.pdf", "fits no rule of duba"),
        ("duba/klinikum/BetreuungAnregung/.json", "fits no rule of duba"),
        ("duba/klinikum/fall.json", "fits no rule of duba"),
        ("docxworld", "second part is no connection name"),
        ("docxworld/", "second part is no connection name"),
        ("docxworld/Klinikum/t/a.pdf", "second part is no connection name"),
        ("docxworld/" + "k" * 41 + "/t/a.pdf", "second part is no connection name"),
        ("docxworld/klinikum", "fits no rule of docxworld"),
        ("docxworld/klinikum/", "fits no rule of docxworld"),
        ("docxworld/klinikum/a.pdf", "fits no rule of docxworld"),
        ("docxworld/klinikum//a.pdf", "fits no rule of docxworld"),
        ("docxworld/klinikum/t/", "fits no rule of docxworld"),
        ("docxworld/klinikum/t/u/a.pdf", "fits no rule of docxworld"),
        ("docxworld/klinikum/approvals/decision.json", "fits no rule of docxworld"),
        ("docxworld/klinikum/drafts/a.pdf", "fits no rule of docxworld"),
        ("docxworld/klinikum/t/.cancel.json", "have a meaning of their own"),
        ("docxworld/klinikum/t/a.pdf.cancel.json.cancel.json", "have a meaning of their own"),
        ("docxworld/klinikum/drafts/a.pdf.cancel.json", "have a meaning of their own"),
        ("docxworld/klinikum/approvals/17/decision.txt", "fits no rule of docxworld"),
        ("docxworld/klinikum/approvals/17/18/decision.json", "fits no rule of docxworld"),
        ("docxworld/klinikum/t/u/a.pdf.cancel.json", "fits no rule of docxworld"),
    ],
)
def test_a_key_that_fits_no_rule_is_refused_by_naming_the_mistake(key: str, mistake: str) -> None:
    with pytest.raises(Reject, match=mistake) as raised:
        parse_drop(key)
    assert raised.value.code == "KEY_FITS_NO_RULE"


@pytest.mark.parametrize("key", ["klinikum/brief.pdf", "docxworld/K/t/a.pdf", "docxworld/klinikum/a.pdf"])
def test_the_refusal_shows_what_a_key_must_look_like(key: str) -> None:
    with pytest.raises(Reject, match="docxworld/<connection>/<target>/<file name>"):
        parse_drop(key)


def test_a_version_is_named_at_the_portal_the_same_at_every_try() -> None:
    assert drop_reference("outbox", "a/b", "v1") == drop_reference("outbox", "a/b", "v1")


def test_another_bucket_key_or_version_has_another_name_at_the_portal() -> None:
    triples = [("outbox", "a/b", "v1"), ("outbox", "a/b", "v2"), ("outbox", "a/c", "v1"), ("other", "a/b", "v1")]
    assert len({drop_reference(*triple) for triple in triples}) == 4


@given(ANY_TEXT.filter(lambda text: text.isprintable()))
def test_a_name_at_the_portal_is_short_and_plain(key: str) -> None:
    reference = drop_reference("outbox", key, "v1")
    assert len(reference) <= 100
    assert reference.replace("-", "").isalnum()
