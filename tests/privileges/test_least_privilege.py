"""Nothing is allowed that is not used, nothing is used that is not allowed: every function, every action, resource."""

from __future__ import annotations

import re
from itertools import takewhile

import pytest
from ministack.core.iam_evaluator import parse_policy_document  # type: ignore[import-untyped]

from tests.privileges.proof import (
    BY_AWS_WHERE_SET,
    EXCEPTIONS,
    ON_WHICH_RESOURCE,
    comparison,
    record,
    table,
    unexplained,
)
from tests.privileges.recorder import Caller
from tests.privileges.roles import Role, caller_of, functions, managed, roles
from tests.privileges.uses import RULES, Use, uses_of
from tests.template.loading import ROOT

SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
EACH = pytest.mark.parametrize(
    "caller", [caller_of(each) for each in functions()], ids=lambda c: f"{c.portal}-{c.verb}"
)


def test_every_function_was_seen_at_work() -> None:
    assert {caller for caller, uses in record().uses.items() if uses} == {caller_of(each) for each in functions()}


def test_of_every_call_it_is_known_what_it_needs() -> None:
    assert record().unknown == set(), f"look up what it needs, and say it in {uses_of.__module__}"


@EACH
def test_what_a_function_uses_is_allowed(caller: Caller) -> None:
    assert comparison()[caller].not_allowed == ()


@EACH
def test_what_a_function_is_allowed_is_used(caller: Caller) -> None:
    assert [str(grant) for grant in unexplained(comparison()[caller])] == []


@EACH
def test_a_resource_is_named_where_aws_lets_it_be_named(caller: Caller) -> None:
    everywhere = {grant.action for grant in comparison()[caller].allowed if grant.resource == "*"}
    assert everywhere <= ON_WHICH_RESOURCE.keys()


def test_an_exception_is_one() -> None:
    """Each is allowed to somebody, and never seen; each resource that cannot be named is left open by somebody."""
    not_used = {grant.action for each in comparison().values() for grant in each.not_used}
    assert not_used == EXCEPTIONS.keys()
    everywhere = {g.action for each in comparison().values() for g in each.allowed if g.resource == "*"}
    assert everywhere == ON_WHICH_RESOURCE.keys()


def test_what_a_parameter_adds_is_an_exception_too() -> None:
    """What the given key and the VPC need, AWS does in a function's name; every role gets it, and no role more."""
    added = {action for statement in managed() for action in statement.actions}
    assert added == BY_AWS_WHERE_SET.keys()
    assert all(statement.conditions for statement in managed()), "only by AWS's own services"


# ── that the comparison can fail ─────────────────────────────────────────────────────────────────────────────────────


def role_of(action: str, resource: str, **more: object) -> Role:
    statement = {"Sid": "It", "Effect": "Allow", "Action": action, "Resource": resource, **more}
    return Role(parse_policy_document({"Statement": [statement]}))


READ = Use("s3:GetObject", "${InboxBucket.Arn}/duba/konto/1/document.json")


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("s3:GetObject", "${InboxBucket.Arn}/duba/*", True),
        ("s3:GetObject", "${InboxBucket.Arn}/altinn/*", False),
        ("s3:GetObject", "${OutboxBucket.Arn}/duba/*", False),
        ("s3:GetObjectVersion", "${InboxBucket.Arn}/duba/*", False),
    ],
)
def test_a_use_is_judged_by_action_and_resource(action: str, resource: str, allowed: bool) -> None:
    assert role_of(action, resource).allows(READ) is allowed
    assert bool(role_of(action, resource).unused([READ])) is not allowed


def test_a_use_is_judged_by_its_conditions() -> None:
    below = {"Condition": {"StringLike": {"s3:prefix": "duba/*"}}}
    listing = role_of("s3:ListBucket", "${InboxBucket.Arn}", **below)
    for prefix, allowed in (("duba/konto/", True), ("altinn/konto/", False)):
        assert listing.allows(Use("s3:ListBucket", "${InboxBucket.Arn}", (("s3:prefix", (prefix,)),))) is allowed
    assert not listing.allows(Use("s3:ListBucket", "${InboxBucket.Arn}"))


def test_a_denial_wins() -> None:
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    denied = {"Effect": "Deny", "Action": "s3:*", "Resource": "${InboxBucket.Arn}/duba/*"}
    assert not Role(parse_policy_document({"Statement": [allowed, denied]})).allows(READ)


def test_a_denial_of_the_bucket_wins_too() -> None:
    """Poll with a role that would let it write documents: the bucket lets only fetch."""
    fetching, polling = roles()[Caller("duba", "fetch")], roles()[Caller("duba", "poll")]
    once = (("s3:if-none-match", ("*",)), ("s3:ObjectCreationOperation", ("true",)))
    written = Use("s3:PutObject", "${InboxBucket.Arn}/duba/konto/1/document.json", once)
    assert fetching.allows(written)
    assert not fetching.allows(Use(written.action, written.resource, once[1:])), "it would overwrite"
    assert not polling.with_statements_of(fetching).allows(written)


@pytest.mark.parametrize("caller", [Caller("duba", "poll"), Caller("docxworld", "deliver"), Caller("all", "retain")])
def test_what_is_taken_from_a_role_is_missed(caller: Caller) -> None:
    """Each grant that is no exception: without it, something that was used is refused."""
    uses, own = comparison()[caller].used, roles()[caller].grants()
    kept = [grant for grant in own if grant.action not in EXCEPTIONS]
    for grant in kept:
        rest = Role(statement for other, statement in own.items() if other != grant)
        assert not all(map(rest.allows, uses)), f"{grant} is doubled by another"


def test_the_calls_that_the_package_makes_are_those_with_a_rule() -> None:
    """A rule for a call that nobody makes any more is one to delete."""
    package = ROOT / "layers" / "amtsbote" / "amtsbote"
    text = "\n".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    assert [call for call in RULES if not re.search(rf"\b{call.partition('.')[2]}\b", text)] == []


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_of_the_page_is_the_comparison() -> None:
    lines = SECURITY[SECURITY.index("| function | allowed |") :].splitlines()
    shown = list(takewhile(lambda line: line.startswith("|"), lines))
    assert "\n".join(shown) == table(), "PYTHONPATH=layers/amtsbote:. python -m tests.privileges prints it as it is now"


@pytest.mark.parametrize("action", [*EXCEPTIONS, *ON_WHICH_RESOURCE, *BY_AWS_WHERE_SET])
def test_the_page_names_each_exception(action: str) -> None:
    assert f"`{action}`" in SECURITY
