"""What is allowed against what is used: the comparison itself, and the table of it that docs/security.md shows."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

from moto import mock_aws

from tests.privileges.rare import play
from tests.privileges.recorder import Caller, Record, recorded
from tests.privileges.roles import Grant, Role, caller_of, functions, in_the_template, roles
from tests.privileges.uses import Use
from tests.simulation.run import OFFICES, Script, run

SEEDS_AT_LEAST, SEEDS_AT_MOST = 3, 40  # of each portal
NOBODY = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-central-1"}

BY_LAMBDA = "Lambda itself does it in the function's name, so no code of ours shows it"
EXCEPTIONS: Mapping[str, str] = {
    "logs:CreateLogStream": f"{BY_LAMBDA}: it writes what the function prints",
    "logs:PutLogEvents": f"{BY_LAMBDA}: it writes what the function prints",
    "xray:PutTraceSegments": f"{BY_LAMBDA}: it traces each invocation",
    "xray:PutTelemetryRecords": f"{BY_LAMBDA}: it traces each invocation",
    "sqs:ReceiveMessage": f"{BY_LAMBDA}: it takes the messages from the queue",
    "sqs:DeleteMessage": f"{BY_LAMBDA}: it deletes what was done",
    "sqs:GetQueueAttributes": f"{BY_LAMBDA}: it looks at the queue when the two are joined",
}
"""What is allowed and cannot be seen to be used, with the reason."""

BY_THE_KEY = "S3, SQS, DynamoDB and Secrets Manager use the given key in the name of who calls them"
BY_THE_VPC = "Lambda joins the function to the subnets before it runs; refused to the function's own code"
BY_AWS_WHERE_SET: Mapping[str, str] = {
    "kms:Decrypt": BY_THE_KEY,
    "kms:DescribeKey": BY_THE_KEY,
    "kms:GenerateDataKey": BY_THE_KEY,
    "ec2:AssignPrivateIpAddresses": BY_THE_VPC,
    "ec2:CreateNetworkInterface": BY_THE_VPC,
    "ec2:DeleteNetworkInterface": BY_THE_VPC,
    "ec2:DescribeNetworkInterfaces": BY_THE_VPC,
    "ec2:DescribeSubnets": BY_THE_VPC,
    "ec2:UnassignPrivateIpAddresses": BY_THE_VPC,
}
"""What every role gets besides where KmsKeyArn or SubnetIds are set."""

ON_WHICH_RESOURCE = {
    "secretsmanager:ListSecrets": "the list is of the whole account; it has names and no values",
    "secretsmanager:BatchGetSecretValue": "AWS asks for secretsmanager:GetSecretValue on each secret besides",
    "xray:PutTraceSegments": "traces belong to no resource",
    "xray:PutTelemetryRecords": "traces belong to no resource",
}
"""Actions for which AWS lets no resource be named, with what that means."""


@dataclass(frozen=True)
class Compared:
    """One function: what it used, and what of that and of its role does not fit."""

    caller: Caller
    allowed: tuple[Grant, ...]
    used: frozenset[Use]
    not_allowed: tuple[Use, ...]
    not_used: tuple[Grant, ...]


def compare(caller: Caller, role: Role, record: Record) -> Compared:
    """Compare a role with the record, in the template's names."""
    used = frozenset(in_the_template(use, caller.portal) for use in record.uses.get(caller, ()))
    not_allowed = tuple(sorted(use for use in used if not role.allows(use)))
    return Compared(caller, tuple(role.grants()), used, not_allowed, tuple(role.unused(used)))


def unexplained(compared: Compared) -> list[Grant]:
    """Return what is allowed, was not used, and is no exception."""
    return [grant for grant in compared.not_used if grant.action not in EXCEPTIONS]


@cache
def record() -> Record:
    """Return what all functions use: in rare cases, and in simulated runs until nothing more is to be expected."""
    taken = Record()
    with patch.dict(os.environ, NOBODY), mock_aws():
        play(taken)
    with recorded(taken):
        for seed in range(SEEDS_AT_MOST):
            if seed >= SEEDS_AT_LEAST and not any(map(unexplained, _all(taken))):
                break
            for portal in OFFICES:
                run(Script(seed, portal))
    return taken


@cache
def comparison() -> Mapping[Caller, Compared]:
    """Return the comparison of each function."""
    return {each.caller: each for each in _all(record())}


def _all(taken: Record) -> Iterator[Compared]:
    return (compare(caller, role, taken) for caller, role in roles().items())


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def table() -> str:
    """Return the table of docs/security.md: per function, what is allowed and used, and what only Lambda uses."""
    alike = defaultdict(list)
    for function in functions():
        alike[_figures(comparison()[caller_of(function)])].append(function.name.removesuffix("Function"))
    lines = ["| function | allowed | used | by Lambda | what it may do |", "|---|---|---|---|---|"]
    lines += [f"| {', '.join(names)} | {figures} |" for figures, names in alike.items()]
    return "\n".join([*lines, _total()])


def _figures(compared: Compared) -> str:
    by_lambda = sum(grant.action in EXCEPTIONS for grant in compared.not_used)
    allowed, used = len(compared.allowed), len(compared.allowed) - len(compared.not_used)
    return f"{allowed} | {used} | {by_lambda} | {_by_service(compared)}"


def _by_service(compared: Compared) -> str:
    own = sorted({grant.action for grant in compared.allowed} - EXCEPTIONS.keys())
    services: dict[str, list[str]] = defaultdict(list)
    for action in own:
        service, _, name = action.partition(":")
        services[service].append(name)
    return "; ".join(f"{service}: {', '.join(names)}" for service, names in services.items())


def _total() -> str:
    every = comparison().values()
    allowed, not_used = sum(len(each.allowed) for each in every), sum(len(each.not_used) for each in every)
    return f"| **all {len(every)}** | **{allowed}** | **{allowed - not_used}** | **{not_used}** | |"
