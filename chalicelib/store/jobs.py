"""Jobs in DynamoDB. Every change of state is one UpdateItem that names the states it may leave and the attempt it speaks of."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.core.job import ANEW, FINAL, End, Finish, Job, JobEvent, JobState, sources, target
from chalicelib.core.progress import Progress
from chalicelib.core.telling import Telling
from chalicelib.store.attributes import end_text
from chalicelib.store.batches import read_batch
from chalicelib.store.connection import done
from chalicelib.store.ports import KeyHold, must_say
from chalicelib.store.tables import JobRow, JobsTable, KeyRow

PART = "job"
UNTOLD = "#untold"  # no pool can be called that
PREFIX = "job-"


class DynamoJobs:
    """`ports.Jobs` over the jobs table."""

    def __init__(self, row: type[JobRow], key: type[KeyRow]) -> None:
        self._row, self._key = row, key

    def put(self, job: Job, expires_at: float | None = None) -> bool:
        row = self.row_of(job)
        row.expires_at = expires_at
        return done(lambda: row.save(condition=self._row.id.does_not_exist()))

    def get(self, job_id: str) -> Job | None:
        try:
            return _job(self._row.get(job_id, PART, consistent_read=True))
        except self._row.DoesNotExist:
            return None

    def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        wanted = dict.fromkeys(job_ids)
        rows = read_batch(self._row, [{"id": job_id, "part": PART} for job_id in wanted])
        found = {row.id: _job(row) for row in rows}
        return {job_id: found[job_id] for job_id in wanted if job_id in found}

    def move(
        self,
        job_id: str,
        event: JobEvent,
        *,
        attempt: int,
        at: float,
        reason: str,
        host: str | None = None,
        userid: str | None = None,
        finish: Finish | None = None,
        charge: bool = False,
        fault: bool = False,
        interruption: bool = False,
        expires_at: float | None = None,
        untold: bool | None = None,
        rank: str | None = None,
        rank_before: str | None = None,
        members: tuple[str, ...] | None = None,
        peers: tuple[str, ...] | None = None,
    ) -> Job | None:
        row, state = self._row, target(event)
        changes: list[Action] = [
            row.state.set(str(state)),
            row.entered[str(state)].set(at),
            row.reason.set(reason),
            row.waiting_for.remove(),
        ]
        if host is not None:
            changes.append(row.host.set(host))
        if userid is not None:
            changes.append(row.userid.set(userid))
        if finish is not None:
            changes.append(row.finish.set(finish))
        if rank is not None:
            changes.append(row.rank.set(rank))
        if members is not None:
            changes += [row.members.set(members), row.ends.set({}), row.cause.remove(), row.peers.remove()]
        if peers is not None:
            changes.append(row.peers.set(peers))
        if event in (JobEvent.RELEASE, JobEvent.RETRY):
            changes.append(row.attempt.set(attempt + 1))
        if event in ANEW:
            changes.append(row.retried_at.set(at))
        if charge:
            changes.append(row.charged.add(1))
        if fault:
            changes.append(row.faults.add(1))
        if interruption:
            changes.append(row.interruptions.add(1))
        if state in FINAL:
            must_say(untold)
            changes.append(row.active_owner.remove())
            changes.append(row.active_pool.set(UNTOLD) if untold else row.active_pool.remove())
            if expires_at is not None:
                changes.append(row.expires_at.set(expires_at))
        as_read = row.state.is_in(*map(str, sources(event))) & (row.attempt == attempt)
        if rank_before is not None:
            as_read &= row.rank == rank_before
        if peers is not None:
            as_read &= row.cause.does_not_exist() & (row.cancel_requested == False)  # noqa: E712  # an expression
        return self._change(job_id, changes, as_read)

    def note_end(self, job_id: str, rank: int, end: End, *, attempt: int, state: JobState) -> Job | None:
        row = self._row
        changes: list[Action] = [row.ends[str(rank)].set(end_text(end))]
        if end.event is not JobEvent.SUCCEED:
            changes.append(row.cause.set(row.cause | rank))
        as_read = (row.state == str(state)) & (row.attempt == attempt) & row.ends[str(rank)].does_not_exist()
        return self._change(job_id, changes, as_read)

    def rerank(self, job_id: str, *, attempt: int, before: str, rank: str) -> Job | None:
        row = self._row
        same = self._alive() & (row.attempt == attempt) & (row.rank == before)
        return self._change(job_id, [row.rank.set(rank)], same)

    def request_cancel(self, job_id: str) -> Job | None:
        return self._change(job_id, [self._row.cancel_requested.set(True)], self._alive())

    def wait_for(self, job_id: str, attempt: int, sentence: str) -> None:
        pending = (self._row.state == str(JobState.PENDING)) & (self._row.attempt == attempt)
        self._change(job_id, [self._row.waiting_for.set(sentence)], pending)

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        return self.active(UNTOLD, after, limit)

    def progressed(self, job_id: str, was: Progress, now: Progress) -> bool:
        row = self._row
        as_read = row.progress.does_not_exist() if was == Progress() else row.progress == was
        return self._change(job_id, [row.progress.set(now)], self._alive() & as_read) is not None

    def tell_again(self, job_id: str, was: Telling, now: Telling) -> bool:
        row = self._row
        as_read = row.telling.does_not_exist() if was == Telling() else row.telling == was
        changes: list[Action] = [row.telling.set(now)]
        if now.given_up:
            changes.append(row.active_pool.remove())
        return self._change(job_id, changes, self._ended() & row.delivered_at.does_not_exist() & as_read) is not None

    def delivered(self, job_id: str, at: float) -> bool:
        row = self._row
        changes: list[Action] = [row.delivered_at.set(at), row.active_pool.remove()]
        return self._change(job_id, changes, self._ended() & row.delivered_at.does_not_exist()) is not None

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        rows = self._row.by_active.query(pool, self._row.id > (after or PREFIX), limit=limit)
        return _page([row.id for row in rows], limit)

    def active_of(self, owner: str, most: int = 1_000_000) -> int:
        connection, start, found = self._row._get_connection(), None, 0
        while found < most:
            answer = connection.query(
                owner,
                self._row.id.startswith("job-"),  # an owner's arrays are there, too
                index_name="by_active_owner",
                select="COUNT",
                exclusive_start_key=start,
                limit=most - found,
            )
            found += answer["Count"]
            start = answer.get("LastEvaluatedKey")
            if start is None:
                break
        return found

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        earlier = None if before is None else self._row.id < before
        return _newest(self._row.by_pool.query(pool, earlier, limit=limit, scan_index_forward=False), limit)

    def of_owner(self, owner: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        earlier = None if before is None else self._row.id < before
        return _newest(self._row.by_owner.query(owner, earlier, limit=limit, scan_index_forward=False), limit)

    def active_newest(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        earlier = None if before is None else self._row.id < before
        return _newest(self._row.by_active.query(pool, earlier, limit=limit, scan_index_forward=False), limit)

    def hold_key(self, owner: str, key: str, body_hash: str, job_id: str, expires_at: float) -> KeyHold:
        """One write that is its own answer: each attribute is set only where there is none."""
        shape = self._key
        row = shape(f"key-{quote(owner, safe='')}/{key}", "key")
        row.update(
            [
                shape.job.set(shape.job | job_id),
                shape.body_hash.set(shape.body_hash | body_hash),
                shape.expires_at.set(shape.expires_at | expires_at),
            ]
        )
        return KeyHold(row.job, row.body_hash)

    def _ended(self) -> Condition:
        return self._row.state.is_in(*map(str, sorted(FINAL)))

    def _alive(self) -> Condition:
        """An unknown job has no state, and is in none of these."""
        return self._row.state.is_in(*map(str, sorted(set(JobState) - FINAL)))

    def _change(self, job_id: str, changes: list[Action], condition: Condition) -> Job | None:
        row = self._row(job_id, PART)
        return _job(row) if done(lambda: row.update(changes, condition=condition)) else None

    def row_of(self, job: Job) -> JobRow:
        """The row that a job is kept as."""
        return self._row(
            job.id,
            PART,
            pool=job.pool,
            active_pool=_index_of(job),
            active_owner=None if job.ended else job.owner,
            owner=job.owner,
            spec=job.spec,
            state=str(job.state),
            submitted_at=job.submitted_at,
            attempt=job.attempt,
            charged=job.charged,
            faults=job.faults,
            interruptions=job.interruptions,
            retried_at=job.retried_at,
            entered=dict(job.entered),
            reason=job.reason,
            waiting_for=job.waiting_for or None,
            cancel_requested=job.cancel_requested,
            rank=job.rank,
            host=job.host,
            userid=job.userid,
            finish=job.finish,
            members=job.members or None,
            peers=job.peers or None,
            ends=dict(job.ends) if job.members else None,
            cause=job.cause,
            array=job.array,
            element=job.index,
            awaited=job.awaited or None,
            retry_of=job.retry_of,
            schedule=job.schedule,
            origin=job.origin or None,
            delivered_at=job.delivered_at,
            telling=None if job.telling == Telling() else job.telling,
            progress=None if job.progress == Progress() else job.progress,
        )


def _index_of(job: Job) -> str | None:
    """Under which name `by_active` finds it."""
    if not job.ended:
        return job.pool
    return UNTOLD if job.listeners and job.delivered_at is None and not job.telling.given_up else None


def _newest(found: Iterable[JobsTable], limit: int) -> tuple[list[str], str | None]:
    """A page of an index in which rows other than jobs may stand, too: they are left out, the cursor is the last row's."""
    rows = list(found)
    return [row.id for row in rows if row.part == PART], rows[-1].id if len(rows) == limit else None


def _page(ids: list[str], limit: int) -> tuple[list[str], str | None]:
    return ids, ids[-1] if len(ids) == limit else None


def _job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        pool=row.pool,
        owner=row.owner,
        spec=row.spec,
        state=JobState(row.state),
        submitted_at=row.submitted_at,
        attempt=row.attempt,
        charged=row.charged,
        faults=row.faults or 0,
        interruptions=row.interruptions or 0,
        retried_at=row.retried_at,
        entered=row.entered,
        reason=row.reason,
        waiting_for=row.waiting_for or "",
        cancel_requested=row.cancel_requested,
        rank=row.rank,
        host=row.host,
        userid=row.userid,
        finish=row.finish,
        members=row.members or (),
        peers=row.peers or (),
        ends=row.ends or {},
        cause=row.cause,
        array=row.array,
        index=row.element,
        awaited=bool(row.awaited),
        retry_of=row.retry_of,
        schedule=row.schedule,
        origin=row.origin or {},
        delivered_at=row.delivered_at,
        telling=row.telling or Telling(),
        progress=row.progress or Progress(),
    )
