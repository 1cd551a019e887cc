"""The template as values: its tags read, its parameters and conditions resolved, its functions one object each.

Resources are referred to as in `Fn::Sub`: `!GetAtt InboxBucket.Arn` becomes the text `${InboxBucket.Arn}` and
`!Ref InboxBucket` becomes `${InboxBucket}`, so that a policy's resource can be compared as it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
VERBS = ("dispatch", "poll", "fetch", "acknowledge", "deliver", "track")
UNROUTED = "unrouted"
EVERY = "all"

_ABSENT = object()
_SHORT_NAMES = {"Ref": "Ref", "Condition": "Condition"}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags in their long form."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    return {_SHORT_NAMES.get(suffix, f"Fn::{suffix}"): _argument(loader, suffix, node)}


def _argument(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        text = loader.construct_scalar(node)
        return text.split(".", 1) if suffix == "GetAtt" else text
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _intrinsic)


@cache
def template_text() -> str:
    """The template as it is written."""
    return TEMPLATE.read_text(encoding="utf-8")


def load_template() -> dict[str, Any]:
    """The template with its tags in long form, a fresh copy at each call."""
    return deepcopy(_parsed())


@cache
def _parsed() -> dict[str, Any]:
    loaded = yaml.load(template_text(), Loader=_Loader)  # noqa: S506 (it is a SafeLoader)
    assert isinstance(loaded, dict)
    return loaded


@dataclass(frozen=True)
class Stack:
    """The template with its parameters filled in."""

    parameters: Mapping[str, str]
    conditions: Mapping[str, bool]
    mappings: Mapping[str, Any]
    resources: Mapping[str, Any]

    def of_type(self, resource_type: str) -> dict[str, dict[str, Any]]:
        """Logical id → properties of each resource of this type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == resource_type
        }

    def functions(self) -> list[Function]:
        """Every function that works off a queue, in the order of the template."""
        return [function for function in self.all_functions() if "Events" in function.properties]

    def rotating(self) -> Function:
        """The one function without a queue: Secrets Manager calls it."""
        (function,) = [function for function in self.all_functions() if "Events" not in function.properties]
        return function

    def retaining(self) -> Function:
        """The function that erases, for every portal."""
        (function,) = [function for function in self.functions() if function.verb == "retain"]
        return function

    def all_functions(self) -> list[Function]:
        """Every function of the stack, in the order of the template."""
        return [Function(self, name, props) for name, props in self.of_type("AWS::Serverless::Function").items()]


@dataclass(frozen=True)
class Statement:
    """One statement of a policy, its actions and resources always lists."""

    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: Mapping[str, Any]


def logical(portal: str) -> str:
    """How a portal is called in logical ids: DigitaleGemeinde for digitale-gemeinde."""
    return "".join(part.title() for part in portal.split("-"))


@dataclass(frozen=True)
class Function:
    """One function with what belongs to it."""

    stack: Stack
    name: str
    properties: Mapping[str, Any]

    @property
    def verb(self) -> str:
        return str(self.properties["CodeUri"]).strip("/").removeprefix("functions/")

    @property
    def portal(self) -> str:
        return self.environment["AMTSBOTE_PORTAL"]

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.properties["Environment"]["Variables"])

    @property
    def timeout_seconds(self) -> int:
        return int(self.properties["Timeout"])

    @property
    def role_name(self) -> str:
        return str(self.properties["Role"]).removeprefix("${").removesuffix(".Arn}")

    @property
    def queue_name(self) -> str:
        (event,) = self.properties["Events"].values()
        return str(event["Properties"]["Queue"]).removeprefix("${").removesuffix(".Arn}")

    @property
    def queue(self) -> dict[str, Any]:
        return self.stack.of_type("AWS::SQS::Queue")[self.queue_name]

    @property
    def receives(self) -> int:
        """How often the queue hands a message out before it is a dead letter."""
        return int(self.queue["RedrivePolicy"]["maxReceiveCount"])

    def statements(self, effect: str = "Allow") -> list[Statement]:
        """What the function's role says, without the denials unless they are asked for."""
        role = self.stack.of_type("AWS::IAM::Role")[self.role_name]
        return [s for policy in role["Policies"] for s in statements(policy["PolicyDocument"]) if s.effect == effect]

    def may(self, prefix: str = "") -> set[str]:
        """The actions that the role allows anywhere, of the services that start so."""
        return {a for s in self.statements() for a in s.actions if a.startswith(prefix)}

    def resources_of(self, action: str) -> set[str]:
        """On what the role allows an action."""
        return {r for s in self.statements() if action in s.actions for r in s.resources}


def statements(document: Mapping[str, Any]) -> list[Statement]:
    """The statements of a policy document."""
    return [_statement(each) for each in document["Statement"]]


def _statement(each: Mapping[str, Any]) -> Statement:
    actions, resources = _as_tuple(each["Action"]), _as_tuple(each.get("Resource", ()))
    return Statement(each.get("Sid", ""), each["Effect"], actions, resources, each.get("Condition", {}))


def _as_tuple(value: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def stack(**overrides: str) -> Stack:
    """The stack as it is deployed with these parameters, the others at their defaults."""
    return deployed(_with_globals(load_template()), **overrides)


def deployed(written: Mapping[str, Any], **overrides: str) -> Stack:
    """These resources, written as in the template, with these parameters filled in, the others at their defaults."""
    template = load_template()
    parameters = {name: str(p["Default"]) for name, p in template["Parameters"].items()} | overrides
    bare = Stack(parameters, {}, template["Mappings"], {})
    conditions = {name: _truth(rule, bare) for name, rule in template["Conditions"].items()}
    context = Stack(parameters, conditions, template["Mappings"], {})
    resources = _resolve(written, context)
    present = {n: r for n, r in resources.items() if conditions.get(r.get("Condition", ""), True)}
    return Stack(parameters, conditions, template["Mappings"], present)


def _with_globals(template: dict[str, Any]) -> dict[str, Any]:
    """The resources, each function with what SAM's Globals give to it."""
    shared = template["Globals"]["Function"]
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"] = _merged(shared, resource["Properties"])
    return dict(template["Resources"])


def _merged(base: Any, own: Any) -> Any:
    if isinstance(base, dict) and isinstance(own, dict):
        return {key: _merged(base.get(key), own[key]) if key in own else base[key] for key in [*base, *own]}
    if isinstance(base, list) and isinstance(own, list):
        return [*base, *own]  # as SAM does it
    return base if own is None else own


def _truth(rule: Mapping[str, Any], context: Stack) -> bool:
    (operator, arguments), *_ = rule.items()
    if operator == "Fn::Not":
        return not _truth(arguments[0], context)
    assert operator == "Fn::Equals", operator
    left, right = (str(_resolve(argument, context)) for argument in arguments)
    return left == right


def _resolve(node: Any, context: Stack) -> Any:
    if isinstance(node, list):
        return [value for value in (_resolve(item, context) for item in node) if value is not _ABSENT]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        (name, argument), *_ = node.items()
        if name == "Ref" or name.startswith("Fn::"):
            return _call(name, argument, context)
    return dict(_present_items(node, context))


def _present_items(node: Mapping[str, Any], context: Stack) -> Iterator[tuple[str, Any]]:
    for key, item in node.items():
        value = _resolve(item, context)
        if value is not _ABSENT:
            yield key, value


def _call(name: str, argument: Any, context: Stack) -> Any:
    match name:
        case "Ref" if argument == "AWS::NoValue":
            return _ABSENT
        case "Ref":
            return context.parameters.get(argument, f"${{{argument}}}")
        case "Fn::GetAtt":
            return f"${{{'.'.join(argument)}}}"
        case "Fn::Sub":
            return argument
        case "Fn::If":
            condition, then, otherwise = argument
            return _resolve(then if context.conditions[condition] else otherwise, context)
        case "Fn::Join":
            delimiter, parts = (_resolve(part, context) for part in argument)
            return parts if isinstance(parts, str) else delimiter.join(parts)  # a list parameter is a text here
        case "Fn::FindInMap":
            mapping, key, field = (_resolve(part, context) for part in argument)
            return context.mappings[mapping][key][field]
    raise NotImplementedError(name)
