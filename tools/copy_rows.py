"""Copy every row of one DynamoDB table into another, over rows of the same key: `copy_rows.py SOURCE TARGET`.

AWS restores a table under a new name only, and the stack knows its own; so the last step of a restore is this one
(docs/deploy.md). Repeating it is harmless. Credentials and region are those of the environment.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import boto3

ROWS_AT_ONCE = 25  # what DynamoDB takes in a call
PAUSE_SECONDS = 0.5


def copy_rows(client: Any, source: str, target: str) -> int:
    """Copy the rows and return how many there were. One page of them is in memory."""
    copied = 0
    for page in client.get_paginator("scan").paginate(TableName=source, ConsistentRead=True):
        for some in _batches(page["Items"]):
            _write(client, target, some)
            copied += len(some)
    return copied


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE))


def _write(client: Any, target: str, rows: Sequence[Any]) -> None:
    left: Any = {target: [{"PutRequest": {"Item": row}} for row in rows]}
    while left:
        left = client.batch_write_item(RequestItems=left).get("UnprocessedItems")
        if left:
            time.sleep(PAUSE_SECONDS)


def main(source: str, target: str) -> None:
    """Copy, and say how much it was."""
    print(f"{copy_rows(boto3.client('dynamodb'), source, target)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
