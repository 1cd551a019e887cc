"""Routing rules: what they match, what they make of a document, and the sentence for each mistake in them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from amtsbote.chain import HOPS_AT_MOST, Provenance
from amtsbote.errors import Reject
from amtsbote.routing import (
    Arrived,
    Context,
    RoutingRule,
    check_hops,
    in_header,
    next_provenance,
    part_of_key,
    read_routing_rules,
    value_at,
)
from amtsbote.settings import read_settings

RULE: dict[str, Any] = {
    "name": "forms-to-print",
    "from": {"portal": "digitale-gemeinde", "connection": "stadt", "match": {"formId": ["4711", 12]}},
    "files": "*.pdf",
    "to": "docxworld/druck/BRIEF/{id}-{name}",
    "metadata": {"reference-id": "F-{id}", "customer-reference-1": "{metadata.case.number}"},
}
FORM = Arrived("digitale-gemeinde", "stadt", "100", {"formId": "4711", "case": {"number": "K/17"}})
ENVIRONMENT = {"AMTSBOTE_PORTAL": "all", "AMTSBOTE_LEDGER_TABLE": "l", "AMTSBOTE_EVENT_BUS": "b"}


def rule_of(**changed: Any) -> RoutingRule:
    (rule,) = read_routing_rules(json.dumps([{**RULE, **changed}])).rules
    return rule


def form(**changed: Any) -> Arrived:
    return Arrived(**{"portal": FORM.portal, "connection": FORM.connection, "id": "100", "metadata": {}, **changed})


# --- what a rule is for ---


@pytest.mark.parametrize(
    ("document", "is_for"),
    [
        (FORM, True),
        (form(metadata={"formId": 12}), True),
        (form(metadata={"formId": "12"}), True),
        (form(metadata={"formId": "13"}), False),
        (form(metadata={}), False),
        (form(metadata={"formId": True}), False),
        (form(connection="dorf", metadata={"formId": "4711"}), False),
        (form(portal="duba", metadata={"formId": "4711"}), False),
    ],
)
def test_a_rule_is_for_documents_of_its_account_with_its_values(document: Arrived, *, is_for: bool) -> None:
    assert rule_of().is_for(document) is is_for


def test_without_connection_and_match_a_rule_is_for_all_of_a_portal() -> None:
    rule = rule_of(**{"from": {"portal": "duba"}})
    assert rule.is_for(Arrived("duba", "klinikum", "1", {}))
    assert not rule.is_for(FORM)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (None, ["Antrag.PDF", "Foto.jpg"]),
        ("*.pdf", ["Antrag.PDF"]),
        ("form.json", ["form.json"]),
        ("*", ["form.json", "Antrag.PDF", "Foto.jpg"]),
        ("nichts", []),
    ],
)
def test_a_rule_chooses_files_by_their_names(files: str | None, chosen: list[str]) -> None:
    assert rule_of(files=files).chosen(["form.json", "Antrag.PDF", "Foto.jpg"]) == chosen


# --- what it makes of a document ---


def test_placeholders_take_their_values_from_document_and_origin() -> None:
    rule = rule_of(
        to="altinn/{origin.connection}/org/app/{origin.id.0}/{origin.id.1}/{portal}/{connection}-{id}-{name}",
        metadata={"process-next": "{origin.metadata.list.1.next}"},
    )
    origin = Arrived("altinn", "etat", "50001/guid", {"list": [{}, {"next": "true"}]})
    target = rule.target(Context(FORM, "a b.pdf", origin))
    assert target.key == "altinn/etat/org/app/50001/guid/digitale-gemeinde/stadt-100-a b.pdf"
    assert target.metadata == {"process-next": "true"}


def test_a_value_cannot_climb_out_of_its_part_of_the_key() -> None:
    rule = rule_of(to="docxworld/druck/BRIEF/{metadata.case.number}")
    target = rule.target(Context(form(metadata={"case": {"number": "../a\\b\x00\u202e"}}), "x"))
    assert target.key == "docxworld/druck/BRIEF/..-a-b"


@pytest.mark.parametrize(("value", "part"), [("a/b\\c", "a-b-c"), ("a\u0308", "ä"), ("\x07x\u200b", "x")])
def test_a_part_of_a_key_has_no_slash_and_nothing_invisible(value: str, part: str) -> None:
    assert part_of_key(value) == part


@pytest.mark.parametrize(
    ("value", "header"), [("Müller-Groß", "Muller-Gross"), ("日本", "??"), (" a\r\nb ", "a  b"), ("ok", "ok")]
)
def test_metadata_is_written_as_headers_take_it(value: str, header: str) -> None:
    assert in_header(value) == header


@pytest.mark.parametrize(
    ("to", "metadata", "record", "code"),
    [
        ("docxworld/druck/BRIEF/{metadata.x}", {}, {}, "PLACEHOLDER_EMPTY"),
        ("docxworld/druck/BRIEF/{metadata.x}", {}, {"x": ""}, "PLACEHOLDER_EMPTY"),
        ("docxworld/druck/BRIEF/{metadata.x}", {}, {"x": None}, "PLACEHOLDER_EMPTY"),
        ("docxworld/druck/BRIEF/{metadata.x}", {}, {"x": ["a"]}, "PLACEHOLDER_EMPTY"),
        ("docxworld/druck/BRIEF/{metadata.x}", {}, {"x": ".."}, "PLACEHOLDER_UNFIT"),
        ("docxworld/druck/BRIEF/{metadata.x}", {}, {"x": "\x00"}, "PLACEHOLDER_UNFIT"),
        ("docxworld/druck/BRIEF/{metadata.x}", {}, {"x": "a" * 201}, "PLACEHOLDER_UNFIT"),
        ("docxworld/druck/BRIEF/" + "{metadata.x}" * 6, {}, {"x": "a" * 200}, "KEY_TOO_LONG"),
        ("docxworld/druck/{metadata.x}/a.pdf", {}, {"x": "drafts"}, "KEY_FITS_NO_RULE"),
        ("docxworld/{metadata.x}/BRIEF/a.pdf", {}, {"x": "Groß"}, "KEY_FITS_NO_RULE"),
        ("docxworld/druck/BRIEF/a.pdf", {"reference-id": "{metadata.x}"}, {}, "PLACEHOLDER_EMPTY"),
        ("docxworld/druck/BRIEF/a.pdf", {"reference-id": "{metadata.x}"}, {"x": "a" * 800}, "METADATA_TOO_LONG"),
    ],
)
def test_a_key_is_never_half_filled_and_no_value_is_in_the_message(
    to: str, metadata: Mapping[str, str], record: Mapping[str, Any], code: str
) -> None:
    rule = rule_of(**{"from": {"portal": "duba"}, "to": to, "metadata": metadata})
    with pytest.raises(Reject) as raised:
        rule.target(Context(Arrived("duba", "klinikum", "1", record), "a.pdf"))
    assert raised.value.code == code
    assert "aaaa" not in raised.value.message


def test_a_path_goes_through_objects_and_lists_to_a_text_or_a_whole_number() -> None:
    record = {"a": [{"b": 7}], "c": 1.5, "d": False}
    assert [value_at(record, path) for path in ("a.0.b", "a.1.b", "a.b", "c", "d", "e.f")] == ["7", *[None] * 5]


# --- how far a document goes ---


def test_each_rule_is_one_hop_from_the_root() -> None:
    first = next_provenance("duba/klinikum/1", "a", None)
    assert first == Provenance("duba/klinikum/1", "a", 1, "duba/klinikum/1")
    second = next_provenance("docxworld/druck/x", "b", first)
    assert second == Provenance("docxworld/druck/x", "b", 2, "duba/klinikum/1")


def test_a_document_passes_four_rules_at_most() -> None:
    last = Provenance("duba/klinikum/1", "a", HOPS_AT_MOST, "duba/klinikum/1")
    check_hops(last)
    with pytest.raises(Reject, match="routing rule b: the document has passed 4 rules already"):
        check_hops(next_provenance("docxworld/druck/x", "b", last))


# --- mistakes ---


def wrong(**changed: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in {**RULE, **changed}.items() if value != "left out"}]


MISTAKES = [
    ("[", "the routing rules are no JSON; write a list of objects, or [] for none"),
    ({}, "the routing rules are no list; write [] around them"),
    ([1], "routing rule number 1, all of it: it is no object"),
    (wrong(name="left out"), "routing rule number 1, name: give it one of a-z, 0-9 and -, at most 40 letters"),
    (wrong(name="A"), "routing rule number 1, name: give it one of a-z, 0-9 and -, at most 40 letters"),
    (wrong() * 2, "routing rule forms-to-print, name: two rules have it; give each a name of its own"),
    (
        wrong(form="x"),
        "routing rule forms-to-print, form: there is no such field, only files, from, metadata, name, to",
    ),
    (wrong(**{"from": "duba"}), 'routing rule forms-to-print, from: say what is routed, such as {"portal": "duba"}'),
    (
        wrong(**{"from": {"portal": "duba", "form": 1}}),
        "routing rule forms-to-print, from.form: there is no such field, only connection, match, portal",
    ),
    (
        wrong(**{"from": {"portal": "post"}}),
        "routing rule forms-to-print, from.portal: name one of altinn, digitale-gemeinde, duba, docxworld",
    ),
    (
        wrong(**{"from": {"portal": "duba", "connection": "A B"}}),
        "routing rule forms-to-print, from.connection: name a connection (a-z, 0-9 and -), or leave it out for all",
    ),
    (
        wrong(**{"from": {"portal": "duba", "match": []}}),
        'routing rule forms-to-print, from.match: write paths and values, such as {"formId": ["4711"]}',
    ),
    (
        wrong(**{"from": {"portal": "duba", "match": {"a": []}}}),
        "routing rule forms-to-print, from.match.a: give texts or whole numbers, one at least",
    ),
    (
        wrong(files=["a"]),
        'routing rule forms-to-print, files: write one pattern, such as "*.pdf", or leave it out for all',
    ),
    (
        wrong(to="left out"),
        'routing rule forms-to-print, to: say where it goes, such as "docxworld/druck/BRIEF/{id}-{name}"',
    ),
    (
        wrong(to="{portal}/a/b/c"),
        "routing rule forms-to-print, to: begin it with one of docxworld, altinn, digitale-gemeinde, duba",
    ),
    (
        wrong(to="duba/klinikum/{id}"),
        "routing rule forms-to-print, to: the key fits no rule of duba; "
        "it must look like duba/<connection>/<form name>/<name>.json",
    ),
    (
        wrong(to="docxworld/druck/BRIEF/{datum}"),
        "routing rule forms-to-print, to: {datum} is no placeholder; there are portal, connection, id, name, "
        "metadata.<path>, and with origin. before them all but name",
    ),
    (
        wrong(to="docxworld/druck/BRIEF/{id"),
        "routing rule forms-to-print, to: a brace stands alone; write {…} around a placeholder",
    ),
    (
        wrong(metadata=["a"]),
        'routing rule forms-to-print, metadata: write names and texts, such as {"priority": "HI"}',
    ),
    (
        wrong(metadata={"amtsbote-origin": "x"}),
        "routing rule forms-to-print, metadata.amtsbote-origin: a name has a-z, 0-9, . _ and -, "
        "and does not begin with amtsbote-",
    ),
    (wrong(metadata={"priority": 1}), "routing rule forms-to-print, metadata.priority: write a text"),
    (
        wrong(**{"from": {"portal": "docxworld"}}),
        "routing rule forms-to-print, to: forms-to-print → forms-to-print is a loop, in which a document would go "
        "round; narrow `from` or change `to`",
    ),
]


@pytest.mark.parametrize(("rules", "sentence"), MISTAKES, ids=[sentence[:60] for _, sentence in MISTAKES])
def test_a_mistake_is_named_with_its_rule_its_field_and_the_mend(rules: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the whole sentence is compared)
        read_routing_rules(rules if isinstance(rules, str) else json.dumps(rules))
    assert str(raised.value) == sentence


def test_a_bad_rule_fails_the_initialisation_with_that_sentence() -> None:
    with pytest.raises(ValidationError, match="routing rule number 1, name: give it one of"):
        read_settings({**ENVIRONMENT, "AMTSBOTE_QUEUE_URL": "q", "AMTSBOTE_ROUTING_RULES": "[{}]"})


# --- loops ---


def rules_of(*ways: tuple[dict[str, Any], str]) -> str:
    names = "abcdef"
    return json.dumps([{"name": names[n], "from": source, "to": to} for n, (source, to) in enumerate(ways)])


def test_a_loop_over_several_portals_is_named_whole() -> None:
    ways = (
        ({"portal": "docxworld", "connection": "druck"}, "altinn/etat/org/app/{id}.instance.json"),
        ({"portal": "altinn"}, "docxworld/{connection}/BRIEF/{name}"),
    )
    with pytest.raises(ValueError, match="a → b → a is a loop"):
        read_routing_rules(rules_of(*ways))


@pytest.mark.parametrize(
    "ways",
    [
        (
            ({"portal": "digitale-gemeinde"}, "docxworld/druck/BRIEF/{name}"),
            ({"portal": "docxworld"}, "digitale-gemeinde/stadt/1/{origin.id}/3/{name}"),
        ),
        (({"portal": "docxworld", "connection": "post"}, "docxworld/druck/BRIEF/{name}"),),
        (({"portal": "altinn"}, "altinn/etat/org/app/{id.0}/{id.1}/vedtak/{name}"),),
        (({"portal": "docxworld"}, "docxworld/druck/approvals/{id}/decision.json"),),
    ],
)
def test_a_way_that_ends_is_no_loop(ways: tuple[tuple[dict[str, Any], str], ...]) -> None:
    assert len(read_routing_rules(rules_of(*ways)).rules) == len(ways)
