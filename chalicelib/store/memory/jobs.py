"""Jobs in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from threading import Lock

from chalicelib.core.job import ANEW, FINAL, End, Finish, Job, JobEvent, JobState, sources, target
from chalicelib.core.progress import Progress
from chalicelib.core.telling import Telling
from chalicelib.store.ports import KeyHold, must_say


class MemoryJobs:
    """`ports.Jobs` over a dict."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows: dict[str, Job] = {}
        self._keys: dict[tuple[str, str], KeyHold] = {}
        self._untold: set[str] = set()
        self.expires: dict[str, float] = {}

    def put(self, job: Job, expires_at: float | None = None) -> bool:
        with self._lock:
            if job.id in self._rows:
                return False
            self._put(job)
            if expires_at is not None:
                self.expires[job.id] = expires_at
            return True

    def _put(self, job: Job) -> None:
        self._rows[job.id] = job
        if job.ended and job.listeners and job.delivered_at is None and not job.telling.given_up:
            self._untold.add(job.id)

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            return self._rows.get(job_id)

    def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        with self._lock:
            return {i: self._rows[i] for i in job_ids if i in self._rows}

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
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or job.attempt != attempt or job.state not in sources(event):
                return None
            if rank_before not in (None, job.rank):
                return None
            if peers is not None and (job.cause is not None or job.cancel_requested):
                return None
            state = target(event)
            if state in FINAL:
                must_say(untold)
            job = self._rows[job_id] = replace(
                job,
                state=state,
                entered={**job.entered, str(state): at},
                reason=reason,
                waiting_for="",
                attempt=job.attempt + (event in (JobEvent.RELEASE, JobEvent.RETRY)),
                charged=job.charged + charge,
                faults=job.faults + fault,
                interruptions=job.interruptions + interruption,
                retried_at=at if event in ANEW else job.retried_at,
                rank=job.rank if rank is None else rank,
                host=job.host if host is None else host,
                userid=job.userid if userid is None else userid,
                finish=job.finish if finish is None else finish,
                peers=job.peers if peers is None else peers,
            )
            if members is not None:
                job = self._rows[job_id] = replace(job, members=members, peers=(), ends={}, cause=None)
            if job.ended and expires_at is not None:
                self.expires[job_id] = expires_at
            if job.ended and untold:
                self._untold.add(job_id)
            return job

    def note_end(self, job_id: str, rank: int, end: End, *, attempt: int, state: JobState) -> Job | None:
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or (job.attempt, job.state) != (attempt, state) or rank in job.ends:
                return None
            first = job.cause is None and end.event is not JobEvent.SUCCEED
            job = replace(job, ends={**job.ends, rank: end}, cause=rank if first else job.cause)
            self._rows[job_id] = job
            return job

    def rerank(self, job_id: str, *, attempt: int, before: str, rank: str) -> Job | None:
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or job.ended or job.attempt != attempt or job.rank != before:
                return None
            job = self._rows[job_id] = replace(job, rank=rank)
            return job

    def request_cancel(self, job_id: str) -> Job | None:
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or job.ended:
                return None
            job = self._rows[job_id] = replace(job, cancel_requested=True)
            return job

    def await_end(self, job_id: str) -> bool:
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or job.ended:
                return False
            self._rows[job_id] = replace(job, awaited=True)
            return True

    def wait_for(self, job_id: str, attempt: int, sentence: str) -> None:
        with self._lock:
            job = self._rows.get(job_id)
            if job is not None and job.state == JobState.PENDING and job.attempt == attempt:
                self._rows[job_id] = replace(job, waiting_for=sentence)

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        with self._lock:
            ids = sorted(job.id for job in self._rows.values() if job.pool == pool and not job.ended)
        return _page([i for i in ids if after is None or i > after], limit)

    def active_of(self, owner: str, most: int = 1_000_000) -> int:
        with self._lock:
            return min(most, sum(job.owner == owner and not job.ended for job in self._rows.values()))

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        with self._lock:
            ids = sorted(self._untold)
        return _page([i for i in ids if after is None or i > after], limit)

    def progressed(self, job_id: str, was: Progress, now: Progress) -> bool:
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or job.ended or job.progress != was:
                return False
            self._rows[job_id] = replace(job, progress=now)
            return True

    def tell_again(self, job_id: str, was: Telling, now: Telling) -> bool:
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or not job.ended or job.delivered_at is not None or job.telling != was:
                return False
            self._rows[job_id] = replace(job, telling=now)
            if now.given_up:
                self._untold.discard(job_id)
            return True

    def delivered(self, job_id: str, at: float) -> bool:
        with self._lock:
            job = self._rows.get(job_id)
            if job is None or not job.ended or job.delivered_at is not None:
                return False
            self._rows[job_id] = replace(job, delivered_at=at)
            self._untold.discard(job_id)
            return True

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        with self._lock:
            return _newest((job.id for job in self._rows.values() if job.pool == pool), before, limit)

    def of_owner(self, owner: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        with self._lock:
            return _newest((job.id for job in self._rows.values() if job.owner == owner), before, limit)

    def active_newest(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        with self._lock:
            active = (job.id for job in self._rows.values() if job.pool == pool and not job.ended)
            return _newest(active, before, limit)

    def hold_key(self, owner: str, key: str, body_hash: str, job_id: str, expires_at: float) -> KeyHold:
        with self._lock:
            return self._keys.setdefault((owner, key), KeyHold(job_id, body_hash))


def _newest(ids: Iterable[str], before: str | None, limit: int) -> tuple[list[str], str | None]:
    return _page(sorted((i for i in ids if before is None or i < before), reverse=True), limit)


def _page(ids: list[str], limit: int) -> tuple[list[str], str | None]:
    """As DynamoDB does: a full page has a cursor, even when nothing follows."""
    page = ids[:limit]
    return page, page[-1] if len(page) == limit else None
