"""What is printed: JSON for programs, a plain aligned table for people. No colours, so that a file reads the same."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from pydantic import BaseModel

GAP = "  "
TOO_NESTED = "…"
SHOWN_ONCE = "This client secret is shown once and never again. Keep it now."


def plain(value: Any) -> Any:
    """Return a result as what JSON knows."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    return value


def write_json(value: Any, out: TextIO) -> None:
    """Print a result as JSON."""
    out.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def write_table(value: Any, columns: Sequence[str], out: TextIO) -> None:
    """Print a result for people: a list as a table of these columns, an object as names and values."""
    shown = plain(value)
    if isinstance(shown, list):
        _write_rows([list(columns), *([_cell(_at(row, column)) for column in columns] for row in shown)], out)
    elif isinstance(shown, dict):
        _write_rows([[name, _cell(entry)] for name, entry in shown.items()], out)
    else:
        out.write("done\n" if shown is None else f"{shown}\n")


def _at(row: Any, column: str) -> Any:
    """Return the value of a column; `workflow.name` is the name of the row's workflow."""
    for name in column.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _write_rows(rows: Sequence[Sequence[str]], out: TextIO) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.write(GAP.join(cells).rstrip() + "\n")


def _cell(value: Any) -> str:
    """Return a value as one line; control characters, which could move a terminal's cursor, become spaces."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else _compact(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _compact(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_name_of(entry) for entry in value) or "-"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _name_of(entry: Any) -> str:
    """Return how an entry of a nested list is called: by its number, its state, its role."""
    if not isinstance(entry, dict):
        return str(entry)
    names = (entry.get(name) for name in ("number", "state", "role", "contractNumber", "action"))
    return next((str(name) for name in names if name is not None), TOO_NESTED)
