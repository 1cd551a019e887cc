"""The ledger's table in SQLite: conditional writes, batched reads, the index `due`; and what DynamoDB would bill."""

import json
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.simulation.cloud.dynamodb import Condition

Item = dict[str, Any]
Units = Counter[str]

PAGE_BYTES = 1024 * 1024  # of one answer to a query
ALL_ROWS = 1_000_000_000  # where a query sets no limit
WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096
QUERY = re.compile(r"dueQueue = (:\w+) AND dueAt <= (:\w+)")
WRITES, READS = "write units", "read units"

SCHEMA = """
CREATE TABLE ledger (pk TEXT, sk TEXT, due_queue TEXT, due_at TEXT, shelf TEXT, shelved_at TEXT, body TEXT,
                     PRIMARY KEY (pk, sk)) WITHOUT ROWID;
CREATE INDEX due ON ledger (due_queue, due_at, pk, sk) WHERE due_queue IS NOT NULL;
CREATE INDEX shelves ON ledger (shelf, shelved_at, pk, sk) WHERE shelf IS NOT NULL;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
"""
FILL = """
WITH RECURSIVE number(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM number WHERE n < :last)
INSERT INTO ledger SELECT replace(pk, :id, n), sk, due_queue, due_at, shelf, printf('%s-%09d', shelved_at, n),
                          replace(body, :id, n) FROM ledger, number WHERE pk = :pk AND sk = :sk
"""


class Refused(Exception):
    """What DynamoDB answers with status 400; `code` is its name of the error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class LedgerTable:
    """One table keyed by pk and sk. `units` counts the request units that on-demand tables are billed by."""

    def __init__(self, path: Path | None = None) -> None:
        self.units: Units = Counter()
        self._database = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._database.executescript(SCHEMA)

    def operate(self, operation: str, request: Mapping[str, Any]) -> Item:
        """Answer a request of the API; Refused when its condition does not hold or it is not known here."""
        match operation:
            case "PutItem":
                return self._put(request)
            case "TransactWriteItems":
                return self._transact(request)
            case "GetItem":
                return self._get(request)
            case "BatchGetItem":
                return self._batch_get(request)
            case "Query":
                return self._query(request)
        raise Refused("UnknownOperationException")

    def multiply(self, pk: str, sk: str, id_: str, first: int, last: int) -> None:
        """Copy a row under the ids `first` to `last`, in place of `id_` in its key and its content."""
        self._database.execute(FILL, {"pk": pk, "sk": sk, "id": id_, "first": first, "last": last})

    def count(self) -> int:
        """Return how many rows there are."""
        (number,) = self._database.execute("SELECT count(*) FROM ledger").fetchone()
        return int(number)

    def rows(self) -> list[Item]:
        """Return all rows, as they travel."""
        return [json.loads(body) for (body,) in self._database.execute("SELECT body FROM ledger")]

    def _put(self, request: Mapping[str, Any]) -> Item:
        if not self._may_put(request):
            self.units[WRITES] += 1
            raise Refused("ConditionalCheckFailedException")
        self._write(request["Item"])
        return {}

    def _transact(self, request: Mapping[str, Any]) -> Item:
        """Write all rows or none; DynamoDB writes each twice, and bills that."""
        puts = [action["Put"] for action in request["TransactItems"]]
        if not all(map(self._may_put, puts)):
            self.units[WRITES] += 2 * len(puts)
            raise Refused("TransactionCanceledException")
        for put in puts:
            self._write(put["Item"])
            self.units[WRITES] += math.ceil(size_of(put["Item"]) / WRITE_UNIT_BYTES)
        return {}

    def _may_put(self, request: Mapping[str, Any]) -> bool:
        if "ConditionExpression" not in request:
            return True
        names, values = request.get("ExpressionAttributeNames"), request.get("ExpressionAttributeValues")
        before = self._row(request["Item"]["pk"]["S"], request["Item"]["sk"]["S"])
        return Condition(request["ConditionExpression"], names or {}, values or {}).holds(before or {})

    def _write(self, item: Item) -> None:
        key = (item["pk"]["S"], item["sk"]["S"])
        before = self._row(*key)
        columns = [item.get(name, {}).get("S") for name in ("dueQueue", "dueAt", "shelf", "shelvedAt")]
        body = json.dumps(item, separators=(",", ":"))
        self._database.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)", (*key, *columns, body))
        self.units[WRITES] += write_units(before, item)

    def _get(self, request: Mapping[str, Any]) -> Item:
        found = self._row(request["Key"]["pk"]["S"], request["Key"]["sk"]["S"])
        self.units[READS] += read_units(found)
        return {} if found is None else {"Item": found}

    def _batch_get(self, request: Mapping[str, Any]) -> Item:
        ((table, wanted),) = request["RequestItems"].items()
        found = [self._row(key["pk"]["S"], key["sk"]["S"]) for key in wanted["Keys"]]
        self.units[READS] += sum(map(read_units, found))
        return {"Responses": {table: [row for row in found if row is not None]}, "UnprocessedKeys": {}}

    def _query(self, request: Mapping[str, Any]) -> Item:
        expression = QUERY.fullmatch(request["KeyConditionExpression"])
        if request.get("IndexName") != "due" or expression is None:
            raise Refused("ValidationException")
        queue, until = (request["ExpressionAttributeValues"][name]["S"] for name in expression.groups())
        start = request.get("ExclusiveStartKey", {})
        after = [start[name]["S"] if start else "" for name in ("dueAt", "pk", "sk")]
        rows, more = self._page(queue, until, after, int(request.get("Limit", ALL_ROWS)))
        self.units[READS] += 0.5 * max(1, math.ceil(sum(map(size_of, rows)) / READ_UNIT_BYTES))  # type: ignore[assignment]
        answer: Item = {"Items": rows, "Count": len(rows), "ScannedCount": len(rows)}
        return answer | ({"LastEvaluatedKey": _place(rows[-1])} if more else {})

    def _page(self, queue: str, until: str, after: Sequence[str], limit: int) -> tuple[list[Item], bool]:
        """Return up to a megabyte, and up to so many, of the rows that are due, and whether there are more."""
        found = self._database.execute(
            "SELECT body FROM ledger INDEXED BY due WHERE due_queue = ? AND due_at <= ? "
            "AND (due_at, pk, sk) > (?, ?, ?) ORDER BY due_at, pk, sk",
            (queue, until, *after),
        )
        rows: list[Item] = []
        size = 0
        for (body,) in found:
            size += len(body)
            if rows and (size > PAGE_BYTES or len(rows) == limit):
                return rows, True
            rows.append(json.loads(body))
        return rows, False

    def _row(self, pk: str, sk: str) -> Item | None:
        found = self._database.execute("SELECT body FROM ledger WHERE pk = ? AND sk = ?", (pk, sk)).fetchone()
        return None if found is None else json.loads(found[0])


def _place(row: Item) -> Item:
    return {name: row[name] for name in ("pk", "sk", "dueQueue", "dueAt")}


def size_of(item: Item) -> int:
    """Return about how many bytes DynamoDB counts for a row: names and values, without their types."""
    return sum(len(name) + _size_of_value(value) for name, value in item.items())


def _size_of_value(value: Item) -> int:
    ((kind, content),) = value.items()
    if kind == "M":
        return 3 + size_of(content)
    if kind == "L":
        return 3 + sum(map(_size_of_value, content))
    return len(str(content).encode())


def read_units(item: Item | None) -> int:
    """Return the units of a consistent read."""
    return max(1, math.ceil(size_of(item or {}) / READ_UNIT_BYTES))


def write_units(before: Item | None, after: Item) -> int:
    """Return the units of a write: of the table, and of each index that holds the row before or after it."""
    size = max(size_of(before or {}), size_of(after))
    whole = math.ceil(size / WRITE_UNIT_BYTES)
    due = _index_writes(before, after, ("dueQueue", "dueAt"), rewritten=True) * whole
    return whole + due + _index_writes(before, after, ("shelf", "shelvedAt"), rewritten=False)


def _index_writes(before: Item | None, after: Item, names: Sequence[str], *, rewritten: bool) -> int:
    """Return how often an index is written: enter, leave, both for a move, once where its copy of the row changes."""
    old, new = ([(row or {}).get(name) for name in names] for row in (before, after))
    if old == new:
        return int(rewritten and None not in new)
    return (None not in old) + (None not in new)
