"""EventBridge's patterns, as far as the template uses them: exact values, prefix, anything-but prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether a rule with this pattern passes the event on."""
    return all(_field_matches(condition, event.get(name)) for name, condition in pattern.items())


def _field_matches(condition: Any, value: Any) -> bool:
    if isinstance(condition, Mapping):
        return isinstance(value, Mapping) and matches(condition, value)
    return any(_value_matches(alternative, value) for alternative in condition)


def _value_matches(alternative: Any, value: Any) -> bool:
    if not isinstance(alternative, Mapping):
        return bool(alternative == value)
    match dict(alternative):
        case {"prefix": str(prefix)}:
            return isinstance(value, str) and value.startswith(prefix)
        case {"anything-but": {"prefix": list(prefixes)}}:
            return isinstance(value, str) and not value.startswith(tuple(prefixes))
    raise NotImplementedError(alternative)
