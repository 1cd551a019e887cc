"""DynamoDB in memory: the ledger's table with its indexes, which may lag behind as real ones do."""

import re
from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

from tests.simulation.cloud.client import PAGE_SIZE, Answer, Client, Clock, Pages, in_pages
from tests.simulation.cloud.errors import Exceptions, refused

Item = dict[str, Any]
"""A row as it travels: attribute name → `{"S": …}`, `{"N": …}` …"""
Key = tuple[str, str]
Observer = Callable[[Item | None, Item], None]

PARTITION, SORT = "pk", "sk"
INDEXES = {"due": ("dueQueue", "dueAt"), "shelves": ("shelf", "shelvedAt")}
KEYS_ONLY = frozenset({"shelves"})
ITEM_BYTES = 400 * 1024
KEY_BYTES = (2048, 1024)  # of partition and sort
MOST_KEYS = 100
COLLECTION_BYTES = 3  # of a list or a map; and one more byte per element
MOST_ACTIONS = 100
TRANSACTION_BYTES = 4 * 1024 * 1024
CODES = ("ConditionalCheckFailedException", "ProvisionedThroughputExceededException", "ResourceNotFoundException")

MOST_ANSWERS = 10**9


def _backwards(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return (one < other) - (one > other)


Backwards = cmp_to_key(_backwards)

NOT_EXISTS = re.compile(r"attribute_not_exists\((#?\w+)\)")
COMPARISON = re.compile(r"(#?\w+) ([=<]) (:\w+)")
QUERY = re.compile(r"(\w+) = (:\w+)(?: AND (\w+) (?:(<=|<) (:\w+)|BETWEEN (:\w+) AND (:\w+)))?")
PLACEHOLDER = re.compile(r"[#:]\w+")


@dataclass(frozen=True, order=True)
class Change:
    """An image on its way into the index; None takes the row out of it."""

    visible_at: datetime
    number: int
    key: Key
    image: Item | None


class Index:
    """One index of the table: the rows that have both of its attributes, as they were when a change reached it."""

    def __init__(self, partition: str, sort: str, clock: Clock, *, keys_only: bool) -> None:
        self.partition, self.sort = partition, sort
        self._clock = clock
        self._kept = (PARTITION, SORT, partition, sort) if keys_only else None
        self._rows: dict[Key, Item] = {}
        self._under_way: list[Change] = []
        self._visible_at: dict[Key, datetime] = {}

    def pass_on(self, key: Key, row: Item | None, number: int, lag: float) -> None:
        """Let a change find its way into the index, never before an earlier change of the same row."""
        moment = self._clock() + timedelta(seconds=lag)
        moment = max(moment, self._visible_at.get(key, moment))
        self._visible_at[key] = moment
        insort(self._under_way, Change(moment, number, key, self._image(row)))

    def _image(self, row: Item | None) -> Item | None:
        if row is None or self.partition not in row or self.sort not in row:
            return None
        return row if self._kept is None else {name: row[name] for name in self._kept}

    def rows(self) -> list[Item]:
        """Return what has reached the index."""
        now = self._clock()
        arrived = next((at for at, each in enumerate(self._under_way) if each.visible_at > now), len(self._under_way))
        for change in self._under_way[:arrived]:
            if change.image is None:
                self._rows.pop(change.key, None)
            else:
                self._rows[change.key] = change.image
        del self._under_way[:arrived]
        return list(self._rows.values())


class InMemoryDynamoDb(Client):
    """A stand-in for the DynamoDB client with one table, keyed by `pk` and `sk`.

    `lag` draws the seconds that a write takes to reach an index; without it they follow at once. Changes of one
    row reach an index in their order. `unprocessed` draws how many of n keys a batched read leaves out; all n is
    refused as throttling, as DynamoDB does. `observers` are called after each write with the row before and after it,
    which are theirs to read and not to change.
    """

    exceptions = Exceptions(*CODES)

    def __init__(
        self,
        clock: Clock,
        table: str,
        *,
        page_size: int = PAGE_SIZE,
        lag: Callable[[], float] | None = None,
        unprocessed: Callable[[int], int] | None = None,
    ) -> None:
        super().__init__(clock)
        self.observers: list[Observer] = []
        self._table = table
        self._page_size = page_size
        self._lag = lag
        self._unprocessed = unprocessed
        self._rows: dict[Key, Item] = {}
        self._indexes = {
            name: Index(*attributes, clock, keys_only=name in KEYS_ONLY) for name, attributes in INDEXES.items()
        }

    # --- what the simulation looks at ---

    @property
    def rows(self) -> Mapping[Key, Item]:
        """All rows by (pk, sk), as they are now; to read and not to change."""
        return self._rows

    # --- operations ---

    def put_item(
        self,
        *,
        TableName: str,
        Item: Item,
        ConditionExpression: str | None = None,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Item] | None = None,
    ) -> Answer:
        """Write a row as a whole; ConditionalCheckFailedException when the condition does not hold."""
        self._check_table("PutItem", TableName)
        key = _key_of("PutItem", Item)
        _check_item(Item)
        if ConditionExpression is not None:
            condition = Condition(ConditionExpression, ExpressionAttributeNames or {}, ExpressionAttributeValues or {})
            if not condition.holds(self._rows.get(key) or {}):
                raise refused("PutItem", "ConditionalCheckFailedException", "The conditional request failed")
        self._write(key, Item)
        return {}

    def transact_write_items(self, *, TransactItems: Sequence[Mapping[str, Mapping[str, Any]]]) -> Answer:
        """Write up to 100 rows, all or none; TransactionCanceledException where a condition does not hold."""
        puts = [self._checked_put(action) for action in TransactItems]
        keys = [_key_of("TransactWriteItems", put["Item"]) for put in puts]
        size = sum(_size_of(put["Item"]) for put in puts)
        if not 1 <= len(puts) <= MOST_ACTIONS or len(set(keys)) < len(keys) or size > TRANSACTION_BYTES:
            raise refused("TransactWriteItems", "ValidationException", "Too many, too large, or one row twice")
        for key, put in zip(keys, puts, strict=True):
            if not _condition_of(put).holds(self._rows.get(key) or {}):
                raise refused("TransactWriteItems", "TransactionCanceledException", "Transaction cancelled")
        for key, put in zip(keys, puts, strict=True):
            self._write(key, put["Item"])
        return {}

    def _checked_put(self, action: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        ((kind, put),) = action.items()
        if kind != "Put":
            raise NotImplementedError(f"a transaction with {kind}")
        self._check_table("TransactWriteItems", put["TableName"])
        _check_item(put["Item"])
        return put

    def _write(self, key: Key, item: Item) -> None:
        before = self._rows.get(key)
        self._rows[key] = after = _copied(item)
        self._pass_on(key, after)
        for observer in self.observers:
            observer(before, after)

    def delete_item(self, *, TableName: str, Key: Item) -> Answer:
        """Delete a row; one that is not there is no error."""
        self._check_table("DeleteItem", TableName)
        key = _exact_key("DeleteItem", Key)
        if self._rows.pop(key, None) is not None:
            self._pass_on(key, None)
        return {}

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool) -> Answer:
        """Return a row as it is now."""
        self._check_table("GetItem", TableName)
        _check_consistent(ConsistentRead)
        found = self._rows.get(_exact_key("GetItem", Key))
        return {} if found is None else {"Item": _copied(found)}

    def batch_get_item(self, *, RequestItems: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Return up to 100 rows, in no order that could be relied on, and the keys that were left out this time."""
        wanted = self._wanted_keys(RequestItems)
        count = len(wanted) - (self._unprocessed(len(wanted)) if self._unprocessed else 0)
        if count <= 0:
            raise refused("BatchGetItem", "ProvisionedThroughputExceededException", "The request was throttled")
        taken, left = wanted[:count], RequestItems[self._table]["Keys"][count:]
        found = [_copied(self._rows[key]) for key in reversed(taken) if key in self._rows]
        unprocessed = {self._table: {**RequestItems[self._table], "Keys": left}} if left else {}
        return {"Responses": {self._table: found}, "UnprocessedKeys": unprocessed}

    def _paginators(self) -> dict[str, Pages]:
        return {"query": self._query_pages}

    def _query_pages(
        self,
        *,
        TableName: str,
        KeyConditionExpression: str,
        ExpressionAttributeValues: Mapping[str, Item],
        IndexName: str | None = None,
        ConsistentRead: bool = False,
        ScanIndexForward: bool = True,
        PaginationConfig: Mapping[str, int] | None = None,
    ) -> Iterator[Answer]:
        self._check_table("Query", TableName)
        left = (PaginationConfig or {}).get("MaxItems", MOST_ANSWERS)  # boto3's own: AWS knows no such limit
        if ConsistentRead is (IndexName is not None):
            raise NotImplementedError("a query of the table that may be stale, or of an index that may not")
        _check_placeholders("Query", KeyConditionExpression, {}, ExpressionAttributeValues)
        names = INDEXES[IndexName] if IndexName else (PARTITION, SORT)
        is_asked_for = _understood_query(KeyConditionExpression, ExpressionAttributeValues, *names)

        def found() -> list[Item]:
            rows = self._indexes[IndexName].rows() if IndexName else list(self._rows.values())
            return sorted(filter(is_asked_for, rows), key=place)

        def place(item: Item) -> Any:
            forward = tuple(item[name]["S"] for name in (names[1], PARTITION, SORT))
            return forward if ScanIndexForward else Backwards(forward)

        for found_page, more in in_pages(found, place, self._page_size):
            page, left = found_page[:left], left - len(found_page)
            answer = {"Items": [_copied(item) for item in page], "Count": len(page), "ScannedCount": len(page)}
            yield answer | ({"LastEvaluatedKey": _last_key(page[-1], *names)} if more else {})
            if left <= 0:
                return

    # --- the table ---

    def _check_table(self, operation: str, table: str) -> None:
        if table != self._table:
            raise refused(operation, "ResourceNotFoundException", "Requested resource not found")

    def _wanted_keys(self, wanted: Mapping[str, Mapping[str, Any]]) -> list[Key]:
        operation = "BatchGetItem"
        if len(wanted) != 1:
            raise NotImplementedError("a batched read of other than one table")
        ((table, request),) = wanted.items()
        self._check_table(operation, table)
        if set(request) != {"Keys", "ConsistentRead"}:
            raise NotImplementedError(f"a batched read with {sorted(request)}")
        _check_consistent(request["ConsistentRead"])
        keys = [_exact_key(operation, key) for key in request["Keys"]]
        if not 1 <= len(keys) <= MOST_KEYS:
            raise refused(operation, "ValidationException", "Too many items requested for the BatchGetItem call")
        if len(set(keys)) < len(keys):
            raise refused(operation, "ValidationException", "Provided list of item keys contains duplicates")
        return keys

    def _pass_on(self, key: Key, row: Item | None) -> None:
        lag = self._lag() if self._lag else 0
        for index in self._indexes.values():
            index.pass_on(key, row, self._next_number(), lag)


def _understood_query(expression: str, values: Mapping[str, Item], partition: str, sort: str) -> Callable[[Item], bool]:
    """Return whether a row is asked for: `p = :v`, alone or with `s < :v`, `s <= :v` or `s BETWEEN :v AND :w`."""
    found = QUERY.fullmatch(expression)
    if found is None or found[1] != partition or found[3] not in (None, sort):
        raise NotImplementedError(f"query {expression!r} of {partition} and {sort}")
    text = {name: value["S"].encode() for name, value in values.items()}

    def is_asked_for(row: Item) -> bool:
        if row[partition]["S"].encode() != text[found[2]]:
            return False
        place = row[sort]["S"].encode()
        match found[4]:
            case "<":
                return bool(place < text[found[5]])
            case "<=":
                return bool(place <= text[found[5]])
        return found[6] is None or bool(text[found[6]] <= place <= text[found[7]])

    return is_asked_for


def _condition_of(put: Mapping[str, Any]) -> "Condition | Always":
    if "ConditionExpression" not in put:
        return Always()
    names, values = put.get("ExpressionAttributeNames"), put.get("ExpressionAttributeValues")
    return Condition(put["ConditionExpression"], names or {}, values or {})


class Always:
    """The condition of a write without one."""

    def holds(self, row: Item) -> bool:
        """Return True."""
        return True


class Condition:
    """A condition of a write: `attribute_not_exists(a)`, `a = :v`, `a < :v`, or several of them joined by OR."""

    def __init__(self, expression: str, names: Mapping[str, str], values: Mapping[str, Item]) -> None:
        self._names = names
        self._values = values
        self._alternatives = [self._understood(alternative) for alternative in expression.split(" OR ")]
        _check_placeholders("PutItem", expression, names, values)

    def holds(self, row: Item) -> bool:
        """Return whether it holds for a row; `row` is empty where there is none."""
        return any(holds(row) for holds in self._alternatives)

    def _understood(self, alternative: str) -> Callable[[Item], bool]:
        if missing := NOT_EXISTS.fullmatch(alternative):
            absent = missing[1]
            return lambda row: self._name(absent) not in row
        if comparison := COMPARISON.fullmatch(alternative):
            name, operator, value = comparison.groups()
            return lambda row: _compares(row.get(self._name(name)), operator, self._values[value])
        raise NotImplementedError(f"condition {alternative!r}")

    def _name(self, name: str) -> str:
        return self._names.get(name, name)


def _compares(stored: Item | None, operator: str, given: Item) -> bool:
    """Compare two values; what is missing or of another type is neither equal nor less."""
    if stored is None or stored.keys() != given.keys():
        return False
    ((kind, left),) = stored.items()
    right = given[kind]
    match kind, operator:
        case "N", _:
            left, right = Decimal(left), Decimal(right)
        case "S", _:
            left, right = left.encode(), right.encode()
        case _:
            raise NotImplementedError(f"comparison of {kind}")
    return bool(left == right if operator == "=" else left < right)


def _check_placeholders(operation: str, expression: str, names: Mapping[str, str], values: Mapping[str, Item]) -> None:
    """Refuse what DynamoDB refuses: a name or value that is used and not given, or given and not used."""
    used, given = set(PLACEHOLDER.findall(expression)), {*names, *values}
    if used != given:
        raise refused(operation, "ValidationException", f"not both given and used: {sorted(used ^ given)}")


def _check_consistent(consistent: bool) -> None:
    if consistent is not True:
        raise NotImplementedError("a read that may be stale")


def _key_of(operation: str, item: Item) -> Key:
    """Return the key of a row, which are two texts that are not empty."""
    key = (item.get(PARTITION, {}).get("S"), item.get(SORT, {}).get("S"))
    if not key[0] or not key[1]:
        raise refused(operation, "ValidationException", "The key is not complete, or of another type")
    if any(_size(part) > most for part, most in zip(key, KEY_BYTES, strict=True)):
        raise refused(operation, "ValidationException", "Size of hashkey or rangekey has exceeded the maximum")
    return key[0], key[1]


def _exact_key(operation: str, key: Item) -> Key:
    if key.keys() != {PARTITION, SORT}:
        raise refused(operation, "ValidationException", "The provided key element does not match the schema")
    return _key_of(operation, key)


def _check_item(item: Item) -> None:
    attributes = (name for names in INDEXES.values() for name in names)
    if any(name in item and not item[name].get("S") for name in attributes):
        raise refused("PutItem", "ValidationException", "Type mismatch for Index Key")
    if _size_of(item) > ITEM_BYTES:
        raise refused("PutItem", "ValidationException", "Item size has exceeded the maximum allowed size")


def _size_of(attributes: Item) -> int:
    return sum(_size(name) + _size_of_value(value) for name, value in attributes.items())


def _size_of_value(value: Item) -> int:
    """Return the bytes that DynamoDB counts for a value, to a few bytes per number."""
    ((kind, content),) = value.items()
    match kind:
        case "S" | "B":
            return _size(content)
        case "N":
            return len(content) // 2 + 1
        case "M":
            return COLLECTION_BYTES + len(content) + _size_of(content)
        case "L":
            return COLLECTION_BYTES + len(content) + sum(map(_size_of_value, content))
        case "BOOL" | "NULL":
            return 1
    raise NotImplementedError(f"an attribute of the type {kind}")


def _size(content: str | bytes) -> int:
    return len(content.encode()) if isinstance(content, str) else len(content)


def _copied(attributes: Item) -> Item:
    """Return a row that shares nothing that could be changed."""
    return {name: _copied_value(value) for name, value in attributes.items()}


def _copied_value(value: Item) -> Item:
    ((kind, content),) = value.items()
    match content:
        case dict():
            return {kind: _copied(content)}
        case list():
            return {kind: [_copied_value(each) for each in content]}
        case _:
            return {kind: content}


def _last_key(item: Item, partition: str, sort: str) -> Item:
    return _copied({name: item[name] for name in (PARTITION, SORT, partition, sort)})
