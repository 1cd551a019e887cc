"""The rules of retention: what they say, for whom, and what is wrong with them."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from amtsbote.ledger import Kind
from amtsbote.lifecycle import Shelf
from amtsbote.retention import Rule, Rules, in_turn, keep_until, read_rules
from amtsbote.settings import Settings, read_settings
from amtsbote.storage import delete_below
from tests.unit.support import NOW, later

LEAST = {
    "AMTSBOTE_PORTAL": "all",
    "AMTSBOTE_VERB": "retain",
    "AMTSBOTE_LEDGER_TABLE": "ledger",
    "AMTSBOTE_EVENT_BUS": "bus",
    "AMTSBOTE_QUEUE_URL": "queue",
}


def days(rules: Rules, portal: str) -> dict[str, int]:
    """Return what the rules say for a portal: state → days."""
    return {rule.state: rule.kept_for.days for rule in rules.of(portal)}


def test_a_portals_own_word_goes_before_that_for_all_state_by_state() -> None:
    rules = read_rules('{"duba": {"ACKNOWLEDGED": 90, "DELIVERED": null}, "*": {"ACKNOWLEDGED": 7, "DELIVERED": 8}}')
    assert days(rules, "duba") == {"ACKNOWLEDGED": 90}
    assert days(rules, "altinn") == {"ACKNOWLEDGED": 7, "DELIVERED": 8}
    assert days(rules, "") == days(rules, "altinn"), "a key that fits no rule is for no portal"


def test_nothing_is_said_by_no_rules() -> None:
    assert read_rules("{}").of("duba") == []
    assert read_settings(LEAST).retention_rules is None


def test_a_rule_knows_where_its_rows_stand() -> None:
    rules = read_rules('{"duba": {"FAILED": 1, "STORED": 2}}').of("duba")
    assert [(rule.kind, rule.shelf) for rule in rules] == [(Kind.DROP, Shelf.FAILED), (Kind.ITEM, Shelf.STORED)]
    assert rules[0] == Rule(Kind.DROP, Shelf.FAILED, "FAILED", timedelta(days=1))
    assert rules[0].erasure(NOW).ended_by == later(days=-1)


@pytest.mark.parametrize(
    ("said", "mistake"),
    [
        ("{", "are no JSON, such as"),
        ("[" * 100_000, "are no JSON, such as"),
        ("[]", "are no JSON object"),
        ('{"dubaa": {}}', "'dubaa' is no portal; there are altinn"),
        ('{"duba": 90}', "the rules of duba are no object"),
        ('{"duba": {"ARRIVED": 90}}', "'ARRIVED' is no state that ends; there are STORED"),
        ('{"*": {"SENT": 90}}', "'SENT' is no state that ends"),
        ('{"duba": {"QUARANTINED": 90}}', "a person decides about it"),
        ('{"duba": {"FAILED": 0}}', "FAILED is kept for 1 to 36500 whole days, or null: for ever"),
        ('{"duba": {"FAILED": 36501}}', "1 to 36500 whole days"),
        ('{"duba": {"FAILED": true}}', "whole days"),
        ('{"duba": {"FAILED": "90"}}', "whole days"),
        ('{"duba": {"FAILED": 1.5}}', "whole days"),
    ],
)
def test_a_mistake_is_named_when_the_function_starts(said: str, mistake: str) -> None:
    with pytest.raises(ValidationError, match="retention_rules") as refused:
        read_settings({**LEAST, "AMTSBOTE_RETENTION_RULES": said})
    assert mistake in str(refused.value)


@pytest.mark.parametrize(("said", "kept"), [("0", 0), ("365", 365), ("3650", 3650)])
def test_rows_are_kept_for_a_year_at_least_or_for_ever(said: str, kept: int) -> None:
    assert read_settings({**LEAST, "AMTSBOTE_AUDIT_DAYS": said}).audit_days == kept


@pytest.mark.parametrize("said", ["-1", "1", "364", "36501", "ten"])
def test_an_audit_period_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(ValidationError, match="audit_days"):
        read_settings({**LEAST, "AMTSBOTE_AUDIT_DAYS": said})


def test_a_row_ends_after_the_audit_period_or_never() -> None:
    assert keep_until(NOW, 365) == later(days=365)
    assert keep_until(NOW, 0) is None
    assert Settings.model_fields["audit_days"].default == 0, "who says nothing deletes no row"


def test_each_hour_begins_with_another_connection_and_all_have_their_turn() -> None:
    firsts = [in_turn("abc", later(hours=hour))[0] for hour in range(3)]
    assert sorted(firsts) == ["a", "b", "c"]
    assert sorted(in_turn("abc", NOW)) == ["a", "b", "c"]
    assert in_turn("", NOW) == []


class CarelessS3:
    """A stand-in for S3 that knows no delimiter, as not every server does."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys
        self.deleted: list[str] = []

    def get_paginator(self, _: str) -> "CarelessS3":
        """Return what pages are asked of."""
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        """Return one page with everything, as versions and as markers."""
        listed = [{"Key": key, "VersionId": "1"} for key in self._keys]
        return [{"Versions": listed[:1], "DeleteMarkers": listed[1:]}]

    def delete_objects(self, *, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        """Delete what is named."""
        self.deleted += [each["Key"] for each in Delete["Objects"]]
        return {}


def test_what_lies_deeper_is_never_deleted_even_if_it_is_listed() -> None:
    s3: Any = CarelessS3("duba/k/1/a", "duba/k/1/b", "duba/k/1/2/a")
    delete_below(s3, "inbox", "duba/k/1/")
    assert s3.deleted == ["duba/k/1/a", "duba/k/1/b"]
    nothing: Any = CarelessS3("duba/k/1/2/a")
    delete_below(nothing, "inbox", "duba/k/1/")
    assert nothing.deleted == []
