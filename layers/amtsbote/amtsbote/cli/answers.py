"""What is printed: JSON for programs, plain aligned text for people. Moments are UTC in JSON, local for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, TextIO

from pydantic.alias_generators import to_camel

from amtsbote.admin.output import write_json, write_table
from amtsbote.cli.moments import shown
from amtsbote.times import written

HIDDEN = frozenset({"handle"})  # a key to a message in a queue, of no use to anybody who reads this


def as_json(value: Any) -> Any:
    """Return a result as what JSON knows, with camelCase names."""
    return _plain(value, written)


def _plain(value: Any, moment: Any) -> Any:
    if isinstance(value, datetime):
        return moment(value)
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.name not in HIDDEN]
        return {to_camel(name): _plain(getattr(value, name), moment) for name in names}
    if isinstance(value, Mapping):
        return {str(name): _plain(entry, moment) for name, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(entry, moment) for entry in value]
    return value


class Printer:
    """Prints the answer of one command, in the form that was asked for."""

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self.as_json = as_json

    def json(self, value: Any) -> None:
        """Print a result as JSON, and nothing where people read."""
        if self.as_json:
            write_json(as_json(value), self._out)

    def line(self, text: str) -> None:
        """Print a sentence for people, and nothing where a program reads."""
        if not self.as_json:
            self._out.write(printable(text) + "\n")

    def json_line(self, value: Any) -> None:
        """Print one line of JSON, whoever reads."""
        self._out.write(json.dumps(as_json(value), ensure_ascii=True, separators=(",", ":")) + "\n")

    def table(self, rows: Iterable[Any], columns: Sequence[str]) -> None:
        """Print rows as a table for people."""
        if not self.as_json:
            write_table([_plain(row, shown) for row in rows], columns, self._out)

    def facts(self, values: Mapping[str, Any]) -> None:
        """Print names and values for people, those that are there."""
        if not self.as_json:
            told = {name: _plain(value, shown) for name, value in values.items() if value not in (None, (), [], {})}
            write_table(told, (), self._out)


def printable(text: str) -> str:
    """Return a text without control characters, which could move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
