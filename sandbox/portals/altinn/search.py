"""The query for instances: today's, with everything in it that surprises, and the proposal's."""

from __future__ import annotations

import base64
import binascii
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from multidict import MultiMapping

from .errors import Refusal, bad_request, broken_query, forbidden
from .instants import parsed, parsed_month, ticks, written
from .records import MAIN_VERSION, Instance

DEFAULT_SIZE = 100
OWNER_HEADER = "X-Ai-InstanceOwnerIdentifier"
OWNER_FIELDS = {"person": "personNumber", "organisation": "organisationNumber"}
ASCENDING, DESCENDING = "asc:lastChanged", "desc:lastChanged"
TOKEN = re.compile(r"(\d+);(\d+)")
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
}

Test = Callable[[Instance], bool]


@dataclass(frozen=True)
class Page:
    """One page: `token` leads to the next (None: there is none), `total` is how many the query matches in all."""

    instances: Sequence[Instance]
    token: str | None
    total: int


def check_known(query: MultiMapping[str], names: Iterable[str]) -> None:
    """400 for a parameter that is not documented (where the pages are silent, this is the stricter reading)."""
    unknown = set(query) - set(names)
    if unknown:
        raise bad_request(f"Unknown query parameter: {', '.join(sorted(unknown))}")


def owned(query: MultiMapping[str], org: str) -> list[Test]:
    """`org` or `appId`, of which one must be there, and neither may be another organisation's."""
    app_id, asked = query.get("appId"), query.get("org")
    if not app_id and not asked:
        raise bad_request("Org or AppId must be defined.")
    if asked not in (None, org) or (app_id or org).partition("/")[0] != org:
        raise forbidden()
    return [lambda i: i.app.org == org, lambda i: app_id is None or i.app.id == app_id]


def page_size(query: MultiMapping[str], default: int) -> int:
    """`size`, or the portal's own when it is not asked for."""
    size = query.get("size", str(default))
    if not size.isdecimal() or int(size) == 0:
        raise bad_request("size must be a positive integer")
    return int(size)


def flag(text: str, name: str) -> bool:
    """`true` or `false`, in any case."""
    if text.lower() not in ("true", "false"):
        raise bad_request(f"The value '{text}' is not valid for {name}.")
    return text.lower() == "true"


# --- today -----------------------------------------------------------------------------------------------------------

INSTANT_COLUMNS: Mapping[str, Callable[[Instance], datetime]] = {
    "lastChanged": lambda i: i.last_changed,
    "created": lambda i: i.created,
}
TEXT_COLUMNS: Mapping[str, Callable[[Instance], str | None]] = {
    "process.ended": lambda i: written(i.process.ended),
    "dueBefore": lambda i: i.due_before,
    "visibleAfter": lambda i: i.visible_after,
}
"""Compared as text, whatever the value looks like."""
FLAGS: Mapping[str, Test] = {
    "process.isComplete": lambda i: i.process.ended is not None,
    "status.isArchived": lambda i: i.archived is not None,
    "status.isSoftDeleted": lambda i: i.soft_deleted is not None,
    "status.isHardDeleted": lambda i: i.hard_deleted is not None,
}
PARAMETERS = frozenset(
    {
        "org", "appId", "process.currentTask", "process.endEvent", "instanceOwner.partyId", "excludeConfirmedBy",
        "confirmed", "size", "continuationToken", "order", "mainVersionInclude", "mainVersionExclude",
        "includeDataElements", "searchString", *INSTANT_COLUMNS, *TEXT_COLUMNS, *FLAGS,
    }
)  # fmt: skip


def search(
    instances: Iterable[Instance],
    query: MultiMapping[str],
    headers: Mapping[str, str],
    org: str,
    default_size: int = DEFAULT_SIZE,
) -> Page:
    """One page of what matches. There is a next page exactly when this one is full, so the last may be empty."""
    check_known(query, PARAMETERS)
    tests = [*owned(query, org), *_plain_tests(query), *_date_tests(query), *_flag_tests(query)]
    tests += [*_confirmation_tests(query, org), *_version_tests(query), *_owner_tests(headers)]
    found = [each for each in instances if all(test(each) for test in tests)]
    size, ascending = page_size(query, default_size), _is_ascending(query)
    page = _ordered(_after(found, query.get("continuationToken"), ascending), ascending)[:size]
    full = len(page) == size
    return Page(page, f"{ticks(page[-1].last_changed)};{page[-1].number}" if full else None, len(found))


def _is_ascending(query: MultiMapping[str]) -> bool:
    order = query.get("order", DESCENDING)
    if order not in (ASCENDING, DESCENDING):
        raise broken_query(f"order {order}")
    return order == ASCENDING


def _ordered(found: Iterable[Instance], ascending: bool) -> list[Instance]:
    """By time of change, in either direction; ties are always broken upwards, by Storage's own number."""
    upwards = sorted(found, key=lambda each: each.number)
    return sorted(upwards, key=lambda each: each.last_changed, reverse=not ascending)


def _after(found: Iterable[Instance], token: str | None, ascending: bool) -> Iterable[Instance]:
    """What lies beyond the cursor. Downwards it compares the number downwards too, although the order breaks ties
    upwards: of several instances changed at the same instant some are left out, and some come twice."""
    if token is None:
        return found
    match = TOKEN.fullmatch(token)
    if match is None:
        raise broken_query("continuationToken")
    cursor = (int(match[1]), int(match[2]))
    beyond = operator.gt if ascending else operator.lt
    return [each for each in found if beyond((ticks(each.last_changed), each.number), cursor)]


def _plain_tests(query: MultiMapping[str]) -> list[Test]:
    tests: list[Test] = []
    if "process.currentTask" in query:
        task = query["process.currentTask"]
        tests.append(lambda i: i.process.task is not None and i.process.task.id == task)
    if "instanceOwner.partyId" in query:
        party = query["instanceOwner.partyId"]
        tests.append(lambda i: str(i.party_id) == party)
    if "searchString" in query:
        wanted = query["searchString"].lower()
        tests.append(lambda i: any(wanted in text.lower() for text in (i.app.title, *i.presentation_texts.values())))
    return tests


def _flag_tests(query: MultiMapping[str]) -> list[Test]:
    return [_is(FLAGS[name], flag(query[name], name)) for name in FLAGS if name in query]


def _is(test: Test, wanted: bool) -> Test:
    return lambda instance: test(instance) is wanted


def _confirmation_tests(query: MultiMapping[str], org: str) -> list[Test]:
    tests: list[Test] = []
    if "confirmed" in query:
        tests.append(_is(lambda i: i.confirmed_by(org) is not None, flag(query["confirmed"], "confirmed")))
    if "excludeConfirmedBy" in query:
        stakeholder = query["excludeConfirmedBy"]
        tests.append(lambda i: i.confirmed_by(stakeholder) is None)
    return tests


def _version_tests(query: MultiMapping[str]) -> list[Test]:
    """Without a word about versions only those of the present platform: what was migrated from older ones is hidden."""
    included, excluded = query.get("mainVersionInclude"), query.get("mainVersionExclude")
    if not all(text is None or text.isdecimal() for text in (included, excluded)):
        raise bad_request("A main version is an integer")
    if excluded is not None:
        return [lambda i: i.main_version != int(excluded)]
    wanted = MAIN_VERSION if included is None else int(included)
    return [lambda i: i.main_version == wanted]


def _owner_tests(headers: Mapping[str, str]) -> list[Test]:
    identifier = headers.get(OWNER_HEADER)
    if identifier is None:
        return []
    kind, _, number = identifier.partition(":")
    field = OWNER_FIELDS.get(kind.lower())
    if field is None or not number.isdecimal():
        raise bad_request(f"{OWNER_HEADER} must read Person:<number> or Organisation:<number>")
    return [lambda i: i.owner.get(field) == number]


def _date_tests(query: MultiMapping[str]) -> list[Test]:
    tests: list[Test] = []
    for name, column in INSTANT_COLUMNS.items():
        tests += [_compared(column, op, _database_instant(text)) for op, text in _conditions(query, name).items()]
    for name, text_column in TEXT_COLUMNS.items():
        tests += [_compared(text_column, op, text) for op, text in _conditions(query, name).items()]
    return tests


def _compared(column: Callable[[Instance], Any], op: str, wanted: Any) -> Test:
    def test(instance: Instance) -> bool:
        value = column(instance)
        return value is not None and COMPARISONS[op](value, wanted)

    return test


def _conditions(query: MultiMapping[str], name: str) -> dict[str, str]:
    """The operand of each operator. A value is split at its first colon: what stands before it and is no operator
    makes the whole value count for nothing; without any colon, or with an operator said twice, the query breaks."""
    conditions: dict[str, str] = {}
    for value in query.getall(name, []):
        op, colon, operand = value.partition(":")
        if not colon or op in conditions:
            raise broken_query(f"{name}={value}")
        if op in COMPARISONS:
            conditions[op] = operand
    return conditions


def _database_instant(text: str) -> datetime:
    try:
        return parsed(text)
    except ValueError as error:
        raise broken_query(f"timestamp '{text}'") from error


# --- the proposal ----------------------------------------------------------------------------------------------------

PROPOSAL_INSTANTS: Mapping[str, Callable[[Instance], datetime | None]] = {
    "lastChanged": lambda i: i.last_changed,
    "created": lambda i: i.created,
    "process.ended": lambda i: i.process.ended,
    "dueBefore": lambda i: _parsed_or_none(i.due_before),
    "visibleAfter": lambda i: _parsed_or_none(i.visible_after),
}
PROPOSAL_PARAMETERS = frozenset(
    {"org", "appId", "process.currentTask", "appOwner.label", "size", "continuationToken", *PROPOSAL_INSTANTS}
)


def search_proposal(
    instances: Iterable[Instance], query: MultiMapping[str], org: str, default_size: int = DEFAULT_SIZE
) -> Page:
    """One page of what matches, in the order of creation. There is a next page exactly when something is left."""
    check_known(query, PROPOSAL_PARAMETERS)
    labels = set(query.getall("appOwner.label", []))
    tests = [*owned(query, org), *_plain_tests(query), *proposal_date_tests(query)]
    found = [each for each in instances if labels <= set(each.labels) and all(test(each) for test in tests)]
    start = _proposal_start(query.get("continuationToken"))
    rest = [each for each in sorted(found, key=lambda each: each.number) if each.number > start]
    page = rest[: page_size(query, default_size)]
    token = _proposal_token(page[-1].number) if len(page) < len(rest) else None
    return Page(page, token, len(found))


def proposal_date_tests(query: MultiMapping[str]) -> list[Test]:
    """The conditions on times: an operator, or none for equal; several of them make a range."""
    return [
        _compared(column, *proposal_condition(value))
        for name, column in PROPOSAL_INSTANTS.items()
        for value in query.getall(name, [])
    ]


def proposal_condition(value: str) -> tuple[str, datetime]:
    """Operator and instant of one condition; 400 when it has none."""
    op, colon, operand = value.partition(":")
    op, operand = (op, operand) if colon and op in COMPARISONS else ("eq", value)
    try:
        return op, parsed_month(operand)
    except ValueError as error:
        raise bad_request(f"'{value}' is no condition on a time") from error


def _proposal_token(number: int) -> str:
    """As in the page's example a token has percent signs of its own: it goes into a link encoded once more."""
    return quote(base64.b64encode(json.dumps({"token": "+RID", "range": number}).encode()).decode(), safe="")


def _proposal_start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(json.loads(base64.b64decode(unquote(token), validate=True))["range"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "continuationToken cannot be read") from error


def _parsed_or_none(text: str | None) -> datetime | None:
    return None if text is None else parsed(text)
