"""What the role of each function allows, read from the transformed template and judged as IAM does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ministack.core.iam_evaluator import (  # type: ignore[import-untyped]
    EvalContext,
    ParsedStatement,
    evaluate,
    parse_policy_document,
)

from tests.privileges.recorder import EVERY, FOR_ALL_PORTALS, Caller
from tests.privileges.uses import Use, bucket_arn
from tests.simulation.account import BUS, INBOX, LEDGER, OUTBOX, VAULT_KEY
from tests.template.loading import Function, deployed, logical, stack
from tests.template.test_transformed import resources

BUCKET_POLICY = "AWS::S3::BucketPolicy"
ROLE, MANAGED = "AWS::IAM::Role", "AWS::IAM::ManagedPolicy"
ROUTED = {"RoutingRules": "[1]"}  # with the function that exists only where there are rules
ACCOUNT, REGION = "123456789012", "eu-central-1"
SECRET = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:"
SECRET_TAIL = "-a1B2c3"  # that Secrets Manager adds to a name


Denials = Mapping[str, list[ParsedStatement]]


@dataclass(frozen=True)
class Grant:
    """One action on one resource that a statement allows."""

    statement: str
    action: str
    resource: str
    condition: str = ""

    def __str__(self) -> str:
        """Return it as a line for people."""
        return " ".join(filter(None, (self.statement, self.action, self.resource, self.condition)))


class Role:
    """The role of one function. Resources are written as in `Fn::Sub`, those of a use as well.

    `denials` are what each bucket's own policy forbids, by its ARN, to whoever is not named `arn` there.
    """

    def __init__(self, statements: Iterable[ParsedStatement], arn: str = "", denials: Denials | None = None) -> None:
        self._statements = list(statements)
        self._arn = arn
        self._denials = denials or {}

    def allows(self, use: Use) -> bool:
        """Return whether IAM would let the function have this use."""
        denied = self._denials.get(use.resource.partition("/")[0], [])
        return _decision([*self._statements, *denied], use, self._arn) == "Allow"

    def with_statements_of(self, other: Role) -> Role:
        """Return this function's role, had it the policy of another."""
        return Role(other._statements, self._arn, self._denials)

    def grants(self) -> dict[Grant, ParsedStatement]:
        """Return everything that is allowed, piece by piece, each as a statement of its own."""
        return dict(_pieces(each) for statement in self._statements for each in _split(statement))

    def unused(self, uses: Iterable[Use]) -> list[Grant]:
        """Return what is allowed and was never used."""
        known = list(uses)
        alone = self.grants().items()
        return [grant for grant, piece in alone if not any(_decision([piece], use) == "Allow" for use in known)]


def _split(statement: ParsedStatement) -> Iterator[ParsedStatement]:
    if statement.effect == "Allow":
        for action in statement.actions:
            for resource in statement.resources:
                yield replace(statement, actions=[action], resources=[resource])


def _pieces(alone: ParsedStatement) -> tuple[Grant, ParsedStatement]:
    condition = str(alone.conditions) if alone.conditions else ""
    return Grant(alone.sid, alone.actions[0], alone.resources[0], condition), alone


def _decision(statements: list[ParsedStatement], use: Use, arn: str = "") -> str:
    said = {name.lower(): [_on_one_line(value) for value in values] for name, values in use.context}
    context: Mapping[str, Any] = {name: values[0] if len(values) == 1 else values for name, values in said.items()}
    asked = EvalContext(
        principal_arn=arn,
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=use.action,
        resource_arn=_on_one_line(use.resource),
        region=REGION,
        secure_transport=True,
        service_context=context,
    )
    return str(evaluate(asked, [statements]).decision)


def _on_one_line(text: str) -> str:
    """Return a text without the ends of lines, at which the "*" of this judge ends, and IAM's does not."""
    return text.replace("\n", " ")


@cache
def roles() -> dict[Caller, Role]:
    """Return the role of each function, as the transformed template has it."""
    denials = bucket_denials()
    return {
        caller_of(each): Role(
            parse_policy_document(document_of(caller_of(each))), f"${{{each.role_name}.Arn}}", denials
        )
        for each in functions()
    }


def document_of(caller: Caller) -> Mapping[str, Any]:
    """Return the one policy of a function's role."""
    (function,) = [each for each in functions() if caller_of(each) == caller]
    (policy,) = _roles_written()[function.role_name]["Policies"]
    document: Mapping[str, Any] = policy["PolicyDocument"]
    return document


@cache
def _roles_written() -> Mapping[str, Any]:
    written = {name: each for name, each in resources().items() if each["Type"] == ROLE}
    return deployed(written, **ROUTED).of_type(ROLE)


def bucket_denials() -> Denials:
    """Return what the policy of each bucket forbids, by the bucket's ARN."""
    written = {name: each for name, each in resources().items() if each["Type"] == BUCKET_POLICY}
    policies = deployed(written, **ROUTED).of_type(BUCKET_POLICY).values()
    return {policy["Bucket"].replace("}", ".Arn}"): _denied(policy["PolicyDocument"]) for policy in policies}


def _denied(document: Mapping[str, Any]) -> list[ParsedStatement]:
    return [each for each in parse_policy_document(document) if each.effect == "Deny"]


def managed() -> list[ParsedStatement]:
    """Return what parameters add to every role: the statements of the managed policies."""
    written = {name: each for name, each in resources().items() if each["Type"] == MANAGED}
    documents = deployed(written, KmsKeyArn="arn:aws:kms:…", SubnetIds="subnet-1").of_type(MANAGED).values()
    return [each for document in documents for each in parse_policy_document(document["PolicyDocument"])]


@cache
def functions() -> list[Function]:
    """Return every function, also that which exists only where documents are routed."""
    return stack(**ROUTED).all_functions()


def caller_of(function: Function) -> Caller:
    """Return a function as the record names it."""
    return Caller(function.portal, function.verb)


def in_the_template(use: Use, portal: str) -> Use:
    """Return a use with its resource named as the template names it, in place of the simulation's name."""
    for name, reference in _references():
        if use.resource == name or use.resource.startswith(f"{name}/"):
            return replace(use, resource=reference + use.resource.removeprefix(name))
    kind, _, name = use.resource.partition("/")
    if kind == "secret":
        return replace(use, resource=f"{SECRET}{name}{SECRET_TAIL}")
    if kind == "queue":
        owner = EVERY if name in FOR_ALL_PORTALS else portal
        return replace(use, resource=f"${{{name.capitalize()}{logical(owner)}Queue.Arn}}")
    return use


def _references() -> Iterator[tuple[str, str]]:
    yield bucket_arn(INBOX), "${InboxBucket.Arn}"
    yield bucket_arn(OUTBOX), "${OutboxBucket.Arn}"
    yield f"table/{LEDGER}", "${LedgerTable.Arn}"
    yield f"event-bus/{BUS}", "${EventBus.Arn}"
    yield f"key/{VAULT_KEY}", "${VaultKey.Arn}"
