"""Arrays in DynamoDB: a row in the jobs table, and beside it the rows that tell how its elements ended.

Each end is noted by adding a number to a set: done twice it is done once, so a message that comes again counts nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.core.arrays import CHUNK, FINAL, Array, ArrayEvent, ArrayState, Results, Tally, sources, target
from chalicelib.core.job import FINAL as ENDS
from chalicelib.core.job import JobState
from chalicelib.core.telling import Telling
from chalicelib.store.batches import read_batch
from chalicelib.store.connection import done
from chalicelib.store.jobs import UNTOLD
from chalicelib.store.ports import must_say
from chalicelib.store.tables import ArrayRow, TallyRow

PART = "array"
PREFIX = "array-"


class DynamoArrays:
    """`ports.Arrays` over the jobs table."""

    def __init__(self, row: type[ArrayRow], tally: type[TallyRow]) -> None:
        self._row, self._tally = row, tally

    def put(self, array: Array) -> bool:
        return done(lambda: self._of(array).save(condition=self._row.id.does_not_exist()))

    def get(self, array_id: str) -> Array | None:
        try:
            return _array(self._row.get(array_id, PART, consistent_read=True))
        except self._row.DoesNotExist:
            return None

    def get_many(self, array_ids: Iterable[str]) -> dict[str, Array]:
        wanted = dict.fromkeys(array_ids)
        rows = read_batch(self._row, [{"id": array_id, "part": PART} for array_id in wanted])
        found = {row.id: _array(row) for row in rows}
        return {array_id: found[array_id] for array_id in wanted if array_id in found}

    def move(
        self,
        array_id: str,
        event: ArrayEvent,
        *,
        at: float,
        reason: str,
        expires_at: float | None = None,
        untold: bool | None = None,
    ) -> Array | None:
        row, state = self._row, target(event)
        changes: list[Action] = [
            row.state.set(str(state)),
            row.entered[str(state)].set(at),
            row.reason.set(reason),
            row.waiting_for.remove(),
        ]
        if state in FINAL:
            must_say(untold)
            changes.append(row.active_pool.set(UNTOLD) if untold else row.active_pool.remove())
            changes.append(row.active_owner.remove())
            if expires_at is not None:
                changes.append(row.expires_at.set(expires_at))
        return self._change(array_id, changes, row.state.is_in(*map(str, sources(event))))

    def request_cancel(self, array_id: str) -> Array | None:
        return self._change(array_id, [self._row.cancel_requested.set(True)], self._alive())

    def expire(self, array_id: str) -> Array | None:
        return self._change(array_id, [self._row.expired.set(True)], self._row.state == str(ArrayState.OPEN))

    def all_made(self, array_id: str) -> Array | None:
        return self._change(array_id, [self._row.made.set(True)], self._row.state.exists())

    def wait_for(self, array_id: str, sentence: str) -> None:
        self._change(array_id, [self._row.waiting_for.set(sentence)], self._row.state == str(ArrayState.OPEN))

    def note_results(self, array_id: str, results: Results) -> None:
        self._change(array_id, [self._row.results.set(results)], self._row.state.exists())

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        return self.active(UNTOLD, after, limit)

    def tell_again(self, array_id: str, was: Telling, now: Telling) -> bool:
        row = self._row
        as_read = row.telling.does_not_exist() if was == Telling() else row.telling == was
        changes: list[Action] = [row.telling.set(now)]
        if now.given_up:
            changes.append(row.active_pool.remove())
        return self._change(array_id, changes, self._ended() & row.delivered_at.does_not_exist() & as_read) is not None

    def delivered(self, array_id: str, at: float) -> bool:
        row = self._row
        changes: list[Action] = [row.delivered_at.set(at), row.active_pool.remove()]
        return self._change(array_id, changes, self._ended() & row.delivered_at.does_not_exist()) is not None

    def _ended(self) -> Condition:
        return self._row.state.is_in(*map(str, sorted(FINAL)))

    def _alive(self) -> Condition:
        return self._row.state.is_in(*map(str, sorted(set(ArrayState) - FINAL)))

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        ours = self._row.id.startswith(PREFIX) if after is None else self._row.id.between(after + "!", PREFIX + "~")
        return _page([row.id for row in self._row.by_active.query(pool, ours, limit=limit)], limit)

    def active_of(self, owner: str, limit: int = 100) -> list[str]:
        return [row.id for row in self._row.by_active_owner.query(owner, self._row.id.startswith(PREFIX), limit=limit)]

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        earlier = self._row.id < (before or PREFIX + "~")
        rows = self._row.by_pool.query(pool, earlier, limit=limit, scan_index_forward=False)
        return _page([row.id for row in rows], limit)

    def count(self, array_id: str, index: int, state: JobState, expires_at: float) -> int:
        shape = self._tally
        row = shape(array_id, f"tally#{index // CHUNK:03d}")
        row.update([getattr(shape, state).add({index}), shape.expires_at.set(expires_at)])
        return sum(len(getattr(row, end) or ()) for end in ENDS)

    def tally(self, array_id: str) -> Tally:
        ended: dict[JobState, set[int]] = {}
        for row in self._tally.query(array_id, self._tally.part.startswith("tally#"), consistent_read=True):
            for end in ENDS:
                ended.setdefault(end, set()).update(map(int, getattr(row, end) or ()))
        return Tally({state: frozenset(indices) for state, indices in ended.items() if indices})

    def _change(self, array_id: str, changes: list[Action], condition: Condition) -> Array | None:
        row = self._row(array_id, PART)
        return _array(row) if done(lambda: row.update(changes, condition=condition)) else None

    def _of(self, array: Array) -> ArrayRow:
        return self._row(
            array.id,
            PART,
            pool=array.pool,
            active_pool=_index_of(array),
            active_owner=None if array.ended else array.owner,
            owner=array.owner,
            spec=array.spec,
            size=array.count,
            state=str(array.state),
            submitted_at=array.submitted_at,
            rank=array.rank,
            step_ms=array.step_ms,
            listed=array.listed,
            entered=dict(array.entered),
            reason=array.reason,
            waiting_for=array.waiting_for or None,
            cancel_requested=array.cancel_requested,
            expired=array.expired or None,
            made=array.made or None,
            awaited=array.awaited or None,
            results=array.results,
            delivered_at=array.delivered_at,
            telling=None if array.telling == Telling() else array.telling,
        )


def _index_of(array: Array) -> str | None:
    """Under which name `by_active` finds it."""
    if not array.ended:
        return array.pool
    return UNTOLD if array.listeners and array.delivered_at is None and not array.telling.given_up else None


def _page(ids: list[str], limit: int) -> tuple[list[str], str | None]:
    return ids, ids[-1] if len(ids) == limit else None


def _array(row: ArrayRow) -> Array:
    return Array(
        id=row.id,
        pool=row.pool,
        owner=row.owner,
        spec=row.spec,
        count=row.size,
        state=ArrayState(row.state),
        submitted_at=row.submitted_at,
        rank=row.rank,
        step_ms=row.step_ms,
        listed=row.listed,
        entered=row.entered,
        reason=row.reason,
        waiting_for=row.waiting_for or "",
        cancel_requested=row.cancel_requested,
        expired=bool(row.expired),
        made=bool(row.made),
        awaited=bool(row.awaited),
        results=row.results,
        delivered_at=row.delivered_at,
        telling=row.telling or Telling(),
    )
