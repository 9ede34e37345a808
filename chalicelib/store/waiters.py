"""Who waits for whose end, in DynamoDB: a row for each pair, under the id that is waited for."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.core import arrays, job
from chalicelib.core.arrays import ArrayState
from chalicelib.core.job import JobState
from chalicelib.store.batches import write_batch
from chalicelib.store.connection import done
from chalicelib.store.tables import ArrayRow, JobRow, WaiterRow

PREFIX = "after#"
ALIVE = {  # array or not → the states in which it may be awaited; an unknown row has none
    False: [str(state) for state in JobState if state not in job.FINAL],
    True: [str(state) for state in ArrayState if state not in arrays.FINAL],
}


class DynamoWaiters:
    """`ports.Waiters` over the jobs table."""

    def __init__(self, row: type[WaiterRow], job_row: type[JobRow], array_row: type[ArrayRow]) -> None:
        self._row, self._job, self._array = row, job_row, array_row

    def add(self, pairs: Sequence[tuple[str, str]], expires_at: float) -> None:
        write_batch(
            self._row,
            puts=[
                self._row(subject, f"{PREFIX}{waiter}", expires_at=expires_at) for waiter, subject in sorted(set(pairs))
            ],
        )

    def await_end(self, subject: str) -> bool:
        shape: type[JobRow] | type[ArrayRow] = self._array if subject.startswith("array-") else self._job
        row = shape(subject, "array" if shape is self._array else "job")
        return done(
            lambda: row.update([shape.awaited.set(True)], condition=shape.state.is_in(*ALIVE[shape is self._array]))
        )

    def of(self, subject: str, after: str = "", limit: int = 1000) -> list[str]:
        shape = self._row
        later = shape.part.between(f"{PREFIX}{after}!" if after else PREFIX, f"{PREFIX}~")
        rows = shape.query(subject, later, consistent_read=True, limit=limit)
        return [row.part.removeprefix(PREFIX) for row in rows]
