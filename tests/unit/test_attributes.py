"""Values of rows in DynamoDB's spelling: as boto3 spells them, and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from amtsbote.attributes import attribute_of, value_of
from amtsbote.codec import Codec
from amtsbote.lifecycle import State
from amtsbote.messages import Message

WHOLE = st.integers(-(10**37), 10**37)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
TOGETHER = 8


@given(VALUES)
def test_a_value_is_spelled_as_boto3_does_and_comes_back_as_it_was(value: Any) -> None:
    spelled = attribute_of(value)
    assert spelled == TypeSerializer().serialize(value)
    assert value_of(spelled) == value


def test_a_member_of_an_enumeration_is_its_text() -> None:
    assert attribute_of(State.STORED) == {"S": "STORED"}


@pytest.mark.parametrize("value", [1.5, {1}, datetime(2026, 1, 1, tzinfo=UTC)])
def test_what_no_row_may_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a row holds no"):
        attribute_of({"deep": [value]})


def test_what_we_never_write_is_not_guessed_at() -> None:
    with pytest.raises(TypeError, match="a row holds no SS"):
        value_of({"SS": ["a"]})


# --- rows ---


@dataclass(frozen=True)
class Thing:
    """A row."""

    name: str
    number: int = 0
    at: datetime | None = None


def test_a_row_is_written_as_json_has_it_without_what_is_none_and_read_again() -> None:
    codec, thing = Codec(Thing), Thing("a", 3, datetime(2026, 1, 1, tzinfo=UTC))
    assert codec.written(thing) == {"name": "a", "number": 3, "at": "2026-01-01T00:00:00Z"}
    assert codec.written(Thing("a")) == {"name": "a", "number": 0}
    assert codec.read(codec.written(thing)) == thing


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(ValidationError):
        Codec(Thing).read({"number": 3})


class Late(Message):
    """A request whose schema is built when the first comes."""

    portal_name: str


def test_the_first_requests_may_come_side_by_side() -> None:
    """What is built late is built once, whichever of the workers of a batch is the first."""
    start = Barrier(TOGETHER)

    def read(number: int) -> str:
        start.wait()
        return Late.model_validate({"portalName": str(number)}).portal_name

    assert not Late.__pydantic_complete__
    with ThreadPoolExecutor(TOGETHER) as pool:
        assert list(pool.map(read, range(TOGETHER))) == [str(number) for number in range(TOGETHER)]
