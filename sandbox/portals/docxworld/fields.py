"""Reading requests strictly, field by field and parameter by parameter; what is not documented is refused."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import web

from .errors import bad_sort, invalid, malformed

DEFAULT_PAGE_SIZE = 35
JSON_CHARSETS = ("utf-8", "utf8", "UTF8", "UTF-8")
SORT_DIRECTIONS = ("ASC", "DESC")
ITEMS = "[]"  # the name under which the items of a body that is an array are read
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")

T = TypeVar("T")


async def json_object(request: web.Request) -> Body:
    """The body as an object. 415 for another content type, 400 for anything that is no JSON object."""
    _check_content_type(request)
    return parse_object(await request.read())


async def json_array(request: web.Request) -> Body:
    """The body as an array, which is read as the field `ITEMS`; 415 and 400 as for an object."""
    _check_content_type(request)
    values = _parse(await request.read())
    if not isinstance(values, list):
        raise malformed("not an array")
    return Body({ITEMS: values})


def _check_content_type(request: web.Request) -> None:
    if request.content_type != "application/json" or (request.charset or "utf-8") not in JSON_CHARSETS:
        raise malformed("Content type not supported", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise malformed("not JSON") from error


def parse_object(text: bytes) -> Body:
    """A JSON object, or 400."""
    values = _parse(text)
    if not isinstance(values, dict):
        raise malformed("not an object")
    return Body(values)


@dataclass
class Body:
    """The fields of a JSON object, each read once and checked; `close` refuses the ones nobody asked for."""

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        self._read: set[str] = set()

    def _take(self, name: str) -> Any:
        self._read.add(name)
        return self.values.get(name)

    def text(self, name: str, at_most: int | None = None, at_least: int = 0) -> str | None:
        """A string of `at_least` to `at_most` characters, or null."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise malformed(f"{name}: must be a string")
        if at_most is not None and not at_least <= len(value) <= at_most:
            raise invalid(f"{name}: size must be between {at_least} and {at_most}")
        return value

    def required_text(self, name: str, at_most: int | None = None) -> str:
        """A string that is not blank."""
        value = self.text(name, at_most)
        if value is None or not value.strip():
            raise invalid(f"{name}: must not be blank")
        return value

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        """One of the allowed values, or null."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise malformed(f"{name}: allowed values: {', '.join(allowed)}")
        return value

    def required_choice(self, name: str, allowed: Sequence[str]) -> str:
        """One of the allowed values."""
        return _present(name, self.choice(name, allowed))

    def choices(self, name: str, allowed: Sequence[str]) -> list[str]:
        """A list of allowed values; null reads as the empty list."""
        values = self._take(name) or []
        if not isinstance(values, list) or any(value not in allowed for value in values):
            raise malformed(f"{name}: allowed values: {', '.join(allowed)}")
        return values

    def required_choices(self, name: str, allowed: Sequence[str]) -> list[str]:
        """A list of allowed values that is not empty."""
        return _filled(name, self.choices(name, allowed))

    def texts(self, name: str) -> list[str]:
        """A list of strings that is not empty."""
        values = self._list(name)
        if not all(isinstance(value, str) for value in values):
            raise malformed(f"{name}: must be strings")
        return _filled(name, values)

    def uuids(self, name: str) -> list[str]:
        """A list of UUIDs; null reads as the empty list."""
        return [as_uuid(name, str(value)) for value in self._list(name)]

    def object(self, name: str) -> Body | None:
        """An object, or null."""
        value = self._take(name)
        if not isinstance(value, dict | None):
            raise malformed(f"{name}: must be an object")
        return None if value is None else Body(value)

    def objects(self, name: str) -> list[Body] | None:
        """A list of objects, or null."""
        if self.values.get(name) is None:
            self._read.add(name)
            return None
        values = self._list(name)
        if not all(isinstance(value, dict) for value in values):
            raise malformed(f"{name}: must be objects")
        return [Body(value) for value in values]

    def _list(self, name: str) -> list[Any]:
        values = self._take(name)
        if not isinstance(values, list | None):
            raise malformed(f"{name}: must be an array")
        return values or []

    def email(self, name: str) -> str | None:
        """A well-formed e-mail address, or null."""
        value = self.text(name)
        if value is not None and not EMAIL.fullmatch(value):
            raise invalid(f"{name}: must be a well-formed email address")
        return value

    def flag(self, name: str) -> bool | None:
        """true, false or null."""
        value = self._take(name)
        if not isinstance(value, bool | None):
            raise malformed(f"{name}: must be a boolean")
        return value

    def number(self, name: str, at_most: int) -> int | None:
        """A whole number from 0 to `at_most`, or null."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise malformed(f"{name}: must be a number")
        if not 0 <= value <= at_most:
            raise invalid(f"{name}: must be at least 0 and at most {at_most}")
        return value

    def required_number(self, name: str, at_most: int) -> int:
        """A whole number from 0 to `at_most`."""
        return _present(name, self.number(name, at_most))

    def instant(self, name: str) -> datetime | None:
        """An ISO 8601 instant in UTC, or null."""
        value = self.text(name)
        return None if value is None else _instant(name, value)

    def instants(self) -> list[datetime]:
        """The items of an array, each an instant."""
        return [_instant(ITEMS, str(value)) for value in self._list(ITEMS)]

    def required_uuid(self, name: str) -> str:
        """A UUID in its usual form."""
        return as_uuid(name, _present(name, self.text(name)))

    def size(self, name: str) -> int:
        """A number of bytes."""
        value = _present(name, self._take(name))
        if not isinstance(value, int) or isinstance(value, bool):
            raise malformed(f"{name}: must be a number")
        if value < 0:
            raise invalid(f"{name}: must not be negative")
        return value

    def strings(self, name: str) -> dict[str, str]:
        """A map of strings; null reads as the empty map."""
        values = self._take(name) or {}
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise malformed(f"{name}: must be a map of strings")
        return values

    def close(self) -> None:
        """Refuse the fields that are not documented."""
        unknown = sorted(set(self.values) - self._read)
        if unknown:
            raise invalid(f"{', '.join(unknown)}: unknown")


def _present(name: str, value: T | None) -> T:
    if value is None:
        raise invalid(f"{name}: must not be null")
    return value


def _filled(name: str, values: list[T]) -> list[T]:
    if not values:
        raise invalid(f"{name}: must not be empty")
    return values


def as_uuid(name: str, value: str) -> str:
    """The UUID in lower case; only the 36-character form counts."""
    try:
        parsed = str(uuid.UUID(value))
    except ValueError as error:
        raise malformed(f"{name}: must be a UUID") from error
    if parsed != value.lower():
        raise malformed(f"{name}: must be a UUID")
    return parsed


class Query:
    """The query parameters of a list; only the names in `allowed` (and page, size, sort where asked for) may occur."""

    def __init__(self, request: web.Request, allowed: Iterable[str] = ()) -> None:
        self._values = request.query
        unknown = sorted(set(self._values) - set(allowed))
        if unknown:
            raise invalid(f"{', '.join(unknown)}: unknown parameter")

    def one(self, name: str) -> str | None:
        """The value; given twice it is refused."""
        values = self._values.getall(name, [])
        if len(values) > 1:
            raise invalid(f"{name}: given more than once")
        return values[0] if values else None

    def many(self, name: str, allowed: Sequence[str] | None = None) -> list[str]:
        """All values, each of them allowed."""
        values = list(self._values.getall(name, []))
        if allowed is not None and any(value not in allowed for value in values):
            raise invalid(f"{name}: allowed values: {', '.join(allowed)}")
        return values

    def uuids(self, name: str) -> list[str]:
        """All values, each of them a UUID."""
        return [as_uuid(name, value) for value in self.many(name)]

    def flag(self, name: str) -> bool | None:
        """true, false, or null like nothing at all."""
        value = self.one(name)
        if value not in (None, "true", "false", "null"):
            raise invalid(f"{name}: allowed values: true, false, null")
        return None if value in (None, "null") else value == "true"

    def instant(self, name: str) -> datetime | None:
        """An ISO 8601 instant in UTC."""
        value = self.one(name)
        return None if value is None else _instant(name, value)

    def number(self, name: str, default: int, at_least: int) -> int:
        """A whole number that is not below `at_least`."""
        value = self.one(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or int(value) < at_least:
            raise invalid(f"{name}: must be a number from {at_least}")
        return int(value)

    def sorts(self, allowed: Sequence[str]) -> list[tuple[str, bool]]:
        """The sorts asked for, in their order, each with whether it descends; 400 for what is not allowed."""
        return [_sort(value, allowed) for value in self._values.getall("sort", [])]


def _instant(name: str, value: str) -> datetime:
    try:
        if not value.endswith("Z"):
            raise ValueError("not in UTC")
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError as error:
        raise invalid(f"{name}: must be an instant") from error


def _sort(value: str, allowed: Sequence[str]) -> tuple[str, bool]:
    prop, _, direction = value.partition(",")
    if prop not in allowed or (direction or "ASC") not in SORT_DIRECTIONS:
        raise bad_sort(f"sort: {value}")
    return prop, direction == "DESC"


def page_of(
    query: Query, found: Sequence[T], keys: Mapping[str, Callable[[T], Any]], show: Callable[[T], Any]
) -> dict[str, Any]:
    """One page of what was found, as every list answers it: 0-based, 35 by default, sorted as asked."""
    ordered = list(found)
    for prop, descending in reversed(query.sorts(list(keys))):
        ordered.sort(key=keys[prop], reverse=descending)
    number, size = query.number("page", 0, at_least=0), query.number("size", DEFAULT_PAGE_SIZE, at_least=1)
    content = [show(each) for each in ordered[number * size : (number + 1) * size]]
    pages = -(-len(ordered) // size)
    return {
        "content": content,
        "totalElements": len(ordered),
        "totalPages": pages,
        "last": number + 1 >= pages,
        "first": number == 0,
        "numberOfElements": len(content),
        "size": size,
        "number": number,
        "sort": [],
    }


def show_instant(moment: datetime | None) -> str | None:
    """An instant as docxworld writes it; no fraction when there is none."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
