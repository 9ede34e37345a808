"""The agenda in DynamoDB, in the registry table: rows that are nothing but their keys, sorted by time."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.core.agenda import Item, read
from chalicelib.store.batches import write_batch
from chalicelib.store.tables import DueRow

DUE = "due"


class DynamoAgenda:
    """`ports.Agenda`: hash `due`, range `<second>#<kind>#<name>`."""

    def __init__(self, row: type[DueRow]) -> None:
        self._row = row

    def put(self, items: Sequence[Item]) -> None:
        if len(items) == 1:
            self._row(DUE, items[0].key).save()
        else:
            write_batch(self._row, puts=[self._row(DUE, key) for key in dict.fromkeys(i.key for i in items)])

    def due(self, until: float, limit: int) -> list[Item]:
        before = self._row.name < f"{int(until) + 1:012d}#"
        rows = self._row.query(DUE, before, limit=limit, consistent_read=True)
        return [read(row.name) for row in rows]

    def remove(self, items: Sequence[Item]) -> None:
        write_batch(self._row, deletes=[{"kind": DUE, "name": key} for key in dict.fromkeys(i.key for i in items)])
