"""Jobs, their arrays, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.arrays import Array, ArrayEvent, Results, Tally
from chalicelib.core.job import End, Finish, Job, JobEvent, JobState
from chalicelib.core.progress import Progress
from chalicelib.core.telling import Telling


def must_say(untold: bool | None) -> None:
    """Who ends a job must say whether somebody is to be told of it: forgotten, nobody would ever hear. Raises TypeError."""
    if untold is None:
        raise TypeError("a move into a final state must say whether it is `untold`")


@dataclass(frozen=True, slots=True)
class KeyHold:
    """What an idempotency key stands for: the job it was first used for, and the hash of that request's body."""

    job: str
    body_hash: str


class Jobs(Protocol):
    def put(self, job: Job, expires_at: float | None = None) -> bool:
        """Create; False if the id exists. Active until it ends (`active`). `expires_at`: of one that has ended."""

    def get(self, job_id: str) -> Job | None: ...

    def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Those that exist, by id; batched by 100."""

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
        """Apply `event` if the job is in one of `sources(event)`, at `attempt` and (when given) has `rank_before`; the job then, or None.

        Sets state, `entered[state] = at`, reason; empties `waiting_for`. host, userid, finish, rank: set when given. RELEASE and RETRY
        raise `attempt` by one, RETRY, DUE and UNBLOCK set retried_at; `charge` raises `charged`, `fault` raises `faults`,
        `interruption` raises `interruptions`. A final state leaves the `by_active` index and sets `expires_at` (when given). `untold`:
        whether somebody is to be told of the end, so that it is found by `untold` from this very write on; who ends a job must say so
        (else TypeError).

        Of a gang: `members`, set when given, forgets the ends, the cause and the peers of the attempt before; with `peers`, which is set,
        the job must have neither a cause nor `cancel_requested`.
        """

    def note_end(self, job_id: str, rank: int, end: End, *, attempt: int, state: JobState) -> Job | None:
        """Note how a member of a gang ended, if the job is in that state at that attempt and nothing is noted of that rank; the job
        then, or None. The first that is no success is the `cause`."""

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """Ids of jobs of all pools that have ended and whose listeners have not all been told. Eventually consistent."""

    def progressed(self, job_id: str, was: Progress, now: Progress) -> bool:
        """What a job that has not ended says of itself; False if another has written since `was` was read, or it has ended."""

    def tell_again(self, job_id: str, was: Telling, now: Telling) -> bool:
        """Say how far the telling of an ended job has come; False if another has said so since `was` was read.

        Given up: no more `untold`.
        """

    def delivered(self, job_id: str, at: float) -> bool:
        """All who wanted to know of its end have been told; False if that was said before."""

    def rerank(self, job_id: str, *, attempt: int, before: str, rank: str) -> Job | None:
        """Another place in the queue for a job that has not ended, is at `attempt` and has the rank `before`; the job then, or None."""

    def request_cancel(self, job_id: str) -> Job | None:
        """Set the flag on a job that has not ended; None if it has, or is unknown."""

    def wait_for(self, job_id: str, attempt: int, sentence: str) -> None:
        """Say what a pending job waits for; does nothing if it is no longer pending at `attempt`."""

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """Ids of jobs that have not ended, oldest first, and the cursor of the next page. Eventually consistent."""

    def active_of(self, owner: str, most: int = 1_000_000) -> int:
        """How many jobs of an owner have not ended, in all pools; beyond `most` it stops counting. Eventually consistent."""

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """Ids of a pool's jobs, newest first, and the cursor of the next page. Eventually consistent.

        A page may have fewer than `limit` ids, even none, and still a cursor: other rows stand in the same index."""

    def of_owner(self, owner: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """The same of an owner's jobs, whatever their pool."""

    def active_newest(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """The same of a pool's jobs that have not ended."""

    def hold_key(self, owner: str, key: str, body_hash: str, job_id: str, expires_at: float) -> KeyHold:
        """Take an idempotency key for `job_id`, or learn what it already stands for. The first taker wins, for ever the same answer."""


class Arrays(Protocol):
    def put(self, array: Array) -> bool:
        """Create; False if the id exists. Active until it ends."""

    def get(self, array_id: str) -> Array | None: ...

    def get_many(self, array_ids: Iterable[str]) -> dict[str, Array]:
        """Those that exist, by id; batched by 100."""

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
        """Apply `event` if the array is in one of `sources(event)`; the array as it is then, or None. As `Jobs.move`."""

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """As `Jobs.untold`."""

    def tell_again(self, array_id: str, was: Telling, now: Telling) -> bool:
        """As `Jobs.tell_again`."""

    def delivered(self, array_id: str, at: float) -> bool:
        """As `Jobs.delivered`."""

    def request_cancel(self, array_id: str) -> Array | None:
        """Set the flag on an array that has not ended; None if it has, or is unknown."""

    def expire(self, array_id: str) -> Array | None:
        """Say of an open array that it has waited for too long; None if it is not open."""

    def all_made(self, array_id: str) -> Array | None:
        """Say that every element has a row; the array as it is then, None if it is unknown."""

    def wait_for(self, array_id: str, sentence: str) -> None:
        """Say what an open array waits for; does nothing if it is not open any more."""

    def note_results(self, array_id: str, results: Results) -> None:
        """Say where its merged results lie; does nothing if there is no such array."""

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        """Ids of arrays that have not ended, oldest first, and the cursor of the next page. Eventually consistent."""

    def active_of(self, owner: str, limit: int = 100) -> list[str]:
        """The first ids of an owner's arrays that have not ended, in all pools, oldest first. Eventually consistent."""

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """Ids of a pool's arrays, newest first, and the cursor of the next page. Eventually consistent."""

    def count(self, array_id: str, index: int, state: JobState, expires_at: float) -> int:
        """Note that an element has ended so; how many of its chunk (`core.arrays.CHUNK`) have. Again changes nothing."""

    def tally(self, array_id: str) -> Tally:
        """Which elements were noted, and how they ended."""


class Waiters(Protocol):
    def add(self, pairs: Sequence[tuple[str, str]], expires_at: float) -> None:
        """(who waits, whom it waits for), batched. Again changes nothing."""

    def await_end(self, subject: str) -> bool:
        """Flag a job or an array as awaited; False if it has ended, or is unknown: then nobody will look for who waits for it."""

    def of(self, subject: str, after: str = "", limit: int = 1000) -> list[str]:
        """Who waits for a job or an array, by id, greater than `after`."""
