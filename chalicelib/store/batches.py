"""Many rows in few requests. DynamoDB may leave part of a batch undone: that part is sent again after a growing wait."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pynamodb.expressions.condition import Condition
from pynamodb.models import Model

from chalicelib.errors import StoreUnavailable

WRITE_MAX = 25  # DynamoDB's limits for one request
GET_MAX = 100
SENDS_MAX = 6
WAIT_S = 0.05  # doubled each time: about 3 s in all

Row = TypeVar("Row", bound=Model)
Item = dict[str, Any]


def write_batch(row: type[Row], *, puts: Iterable[Row] = (), deletes: Iterable[Item] = ()) -> None:
    """Put rows, and delete rows by their keys, in one table, without conditions. No row may be named twice."""
    work: list[Item] = [{"PutRequest": {"Item": item.serialize()}} for item in puts]
    work += [{"DeleteRequest": {"Key": key}} for key in deletes]
    connection = row._get_connection()
    for start in range(0, len(work), WRITE_MAX):
        page: Sequence[Item] = work[start : start + WRITE_MAX]
        for wait_s in waits(connection.table_name):
            answer = connection.batch_write_item(
                put_items=[w["PutRequest"]["Item"] for w in page if "PutRequest" in w],
                delete_items=[w["DeleteRequest"]["Key"] for w in page if "DeleteRequest" in w],
            )
            page = answer.get("UnprocessedItems", {}).get(connection.table_name, ())
            if not page:
                break
            time.sleep(wait_s)


def read_batch(row: type[Row], keys: Sequence[Any]) -> Iterator[Row]:
    """The rows that exist of these distinct keys, in no order, strongly consistent."""
    connection = row._get_connection()
    for start in range(0, len(keys), GET_MAX):
        page = keys[start : start + GET_MAX]
        for wait_s in waits(connection.table_name):
            answer = connection.batch_get_item(page, consistent_read=True)
            found = answer["Responses"].get(connection.table_name, [])
            yield from map(row.from_raw_data, found)
            page = answer.get("UnprocessedKeys", {}).get(connection.table_name, {}).get("Keys", ())
            if not page:
                break
            if not found:  # else only the answer was full, and nobody throttles us
                time.sleep(wait_s)


def read_all(row: type[Row], hash_key: str, condition: Condition | None = None) -> Iterator[Item]:
    """Every item under a hash key, all pages, by range key, strongly consistent, in DynamoDB's notation."""
    connection = row._get_connection()
    start = None
    while True:
        answer = connection.query(hash_key, condition, consistent_read=True, exclusive_start_key=start)
        yield from answer["Items"]
        start = answer.get("LastEvaluatedKey")
        if start is None:
            return


def waits(table: str) -> Iterator[float]:
    """How long to wait before what was left undone is sent again, growing. Raises StoreUnavailable in the end."""
    for n in range(SENDS_MAX):
        yield WAIT_S * 2**n * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
    raise StoreUnavailable(
        f"table {table} left part of a batch undone {SENDS_MAX} times: throttled; try again in a moment"
    )
