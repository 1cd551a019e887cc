"""Asking a person for what a connection's secret needs, or reading it from a file that only its owner can read."""

import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import Any

from amtsbote.admin.account import READABLE_BY_OTHERS
from amtsbote.errors import Misconfigured, Reject
from amtsbote.operations.accounts import Wanted, wanted_of


@dataclass(frozen=True)
class Questions:
    """How a person is asked: in the open, and for a secret, which is not shown while it is typed."""

    ask: Callable[[str], str] = input
    ask_secretly: Callable[[str], str] = getpass


def body_in_file(path: Path) -> dict[str, Any]:
    """Return the body of a secret in a JSON file; only its owner may be able to read it."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & READABLE_BY_OTHERS:
            raise Misconfigured("FILE_NOT_PRIVATE", f"{path} holds a secret and others may read it; chmod 600 {path}")
        body = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Reject("FILE_UNREADABLE", f"{path} is no JSON file that can be read: {type(error).__name__}") from None
    if not isinstance(body, dict):
        raise Reject("FILE_UNREADABLE", f"{path} holds no JSON object")
    return body


def body_asked_for(portal: str, questions: Questions) -> dict[str, Any]:
    """Ask for each value that the portal's secret must hold and return its body."""
    body: dict[str, Any] = {}
    chosen: dict[tuple[str, ...], str] = {}
    answered: set[tuple[str, ...]] = set()
    while (wanted := _next(portal, chosen, answered)) is not None:
        value = _answer(wanted, questions)
        answered.add(wanted.path)
        if wanted.choices:
            chosen[wanted.path] = value
        _put(body, wanted.path, value)
    return body


def _next(portal: str, chosen: dict[tuple[str, ...], str], answered: set[tuple[str, ...]]) -> Wanted | None:
    return next((each for each in wanted_of(portal, chosen) if each.path not in answered), None)


def _answer(wanted: Wanted, questions: Questions) -> Any:
    name = ".".join(wanted.path)
    if wanted.choices:
        return questions.ask(f"{name} ({' or '.join(wanted.choices)}): ").strip() or wanted.choices[0]
    if wanted.secret:
        return questions.ask_secretly(f"{name} (not shown): ")
    text = questions.ask(f"{name}{' (several with commas)' if wanted.many else ''}: ").strip()
    return [each.strip() for each in text.split(",") if each.strip()] if wanted.many else text


def _put(body: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        body = body.setdefault(name, {})
    body[path[-1]] = value
