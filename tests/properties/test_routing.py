"""Whatever a portal says in its record: a rule makes a key that fits its grammar and its place, or refuses."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from amtsbote.chain import (
    Begun,
    CopyState,
    Provenance,
    Refused,
    Routed,
    advance_copy,
    mark_of,
    planned,
    provenance_of,
    without_mark,
)
from amtsbote.errors import Reject
from amtsbote.keys import parse_drop
from amtsbote.routing import Arrived, Context, in_header, read_routing_rules
from tests.properties.strategies import MOMENTS

TO = "docxworld/druck/{metadata.target}/{id}-{name}"
(RULE,) = read_routing_rules(
    json.dumps([{"name": "a", "from": {"portal": "duba"}, "to": TO, "metadata": {"reference-id": "{metadata.target}"}}])
).rules
VALUES = st.one_of(st.text(), st.none(), st.integers(), st.booleans(), st.lists(st.text(), max_size=2))
EVENTS = st.one_of(
    st.builds(Begun, st.sampled_from("uvw"), st.sampled_from(("k", "l"))),
    st.builds(Routed, st.one_of(st.none(), st.just("1")), st.sampled_from("uvw")),
    st.builds(Refused, st.sampled_from("AB"), st.just("said")),
)


@given(VALUES, st.text(min_size=1), st.text(min_size=1))
def test_a_key_is_whole_and_in_its_place_or_refused(value: Any, id_: str, name: str) -> None:
    try:
        target = RULE.target(Context(Arrived("duba", "klinikum", id_, {"target": value}), name))
    except Reject:
        return
    address = parse_drop(target.key)
    assert (address.portal, address.connection, len(address.path)) == ("docxworld", "druck", 2)
    assert address.path[0].strip(". ")
    assert target.metadata["reference-id"].isascii()


@given(st.text())
def test_metadata_survives_a_header(value: str) -> None:
    header = in_header(value)
    assert header.isascii()
    assert header.isprintable()


@given(st.lists(st.tuples(EVENTS, MOMENTS), max_size=12))
def test_what_is_routed_stays_so_and_by_an_upload_that_was_begun(happened: list[tuple[Any, Any]]) -> None:
    place = ("outbox", "")
    copy = (
        planned(Provenance("duba/klinikum/1", "a", 1, "duba/klinikum/1"), "f.pdf", place, happened[0][1])
        if (happened)
        else None
    )
    for event, moment in happened:
        assert copy is not None
        after = advance_copy(copy, event, moment)
        if copy.state is CopyState.ROUTED:
            assert after == copy
        if isinstance(event, Routed) and event.version_id is None and event.upload_id != copy.upload_id:
            assert after == copy
        copy = after


@given(st.integers(1, 9), st.text(min_size=1))
def test_a_mark_says_again_where_a_drop_comes_from_and_is_nothing_for_the_portal(hops: int, file: str) -> None:
    provenance = Provenance("docxworld/druck/8a7b", "a", hops, "duba/klinikum/1")
    mark = mark_of(planned(provenance, file, ("outbox", "k"), None))  # type: ignore[arg-type]
    assert provenance_of(mark) == provenance
    assert without_mark({**mark, "priority": "HI"}) == {"priority": "HI"}
    assert all(value.isascii() for value in mark.values())
