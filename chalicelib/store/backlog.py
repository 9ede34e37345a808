"""The backlog in DynamoDB: one partition for each pool and shard, sorted by rank.

A partition takes 1,000 writes a second. That is far more than one pool places, so there is one shard; more of them need no other code than
the number, because `head` merges.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Sequence
from dataclasses import fields
from itertools import islice

from chalicelib.core.backlog import Entry
from chalicelib.store.batches import write_batch
from chalicelib.store.connection import ConditionFailed, done
from chalicelib.store.tables import EntryRow

BACKLOG_SHARDS = 1

_COPIED = tuple(f.name for f in fields(Entry) if f.name not in ("pool", "rank", "of"))


class DynamoBacklog:
    """`ports.Backlog` over the backlog table."""

    def __init__(self, row: type[EntryRow]) -> None:
        self._row = row

    def put(self, entry: Entry) -> None:
        self.row_of(entry).save()

    def put_if_absent(self, entry: Entry) -> bool:
        return done(lambda: self.row_of(entry).save(condition=self._row.job.does_not_exist()))

    def put_many(self, entries: Sequence[Entry]) -> None:
        latest = {(entry.pool, entry.rank): entry for entry in entries}
        write_batch(self._row, puts=map(self.row_of, latest.values()))

    def remove(self, entries: Sequence[Entry]) -> None:
        keys = {(_queue(entry), entry.rank) for entry in entries}
        write_batch(self._row, deletes=[{"queue": queue, "rank": rank} for queue, rank in sorted(keys)])

    def head(self, pool: str, limit: int) -> list[Entry]:
        shards = (
            self._row.query(f"{pool}#{shard}", consistent_read=True, limit=limit) for shard in range(BACKLOG_SHARDS)
        )
        merged = heapq.merge(*shards, key=lambda row: row.rank)
        return [_entry(pool, row) for row in islice(merged, limit)]

    def advance(self, entry: Entry, next_index: int) -> bool:
        row = self._row(_queue(entry), entry.rank)
        shape = self._row
        try:
            row.update(
                [shape.next_index.set(next_index)],
                condition=shape.job.exists() & (shape.next_index < next_index),
            )
        except ConditionFailed:
            return self.has(entry)
        return True

    def has(self, entry: Entry) -> bool:
        try:
            self._row.get(_queue(entry), entry.rank, consistent_read=True, attributes_to_get=["rank"])
        except self._row.DoesNotExist:
            return False
        return True

    def find(self, entry: Entry) -> Entry | None:
        try:
            return _entry(entry.pool, self._row.get(_queue(entry), entry.rank, consistent_read=True))
        except self._row.DoesNotExist:
            return None

    def row_of(self, entry: Entry) -> EntryRow:
        """The row that an entry is kept as."""
        return self._row(_queue(entry), entry.rank, **{name: getattr(entry, name) for name in _COPIED})


def _queue(entry: Entry) -> str:
    return f"{entry.pool}#{zlib.crc32(entry.job.encode()) % BACKLOG_SHARDS}"


def _entry(pool: str, row: EntryRow) -> Entry:
    return Entry(pool=pool, rank=row.rank, **{name: getattr(row, name) for name in _COPIED})
