"""The queue of pending jobs, whole submissions, and what owners' shares of the queue are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chalicelib.core.backlog import Entry
from chalicelib.core.job import Job


class Backlog(Protocol):
    def put(self, entry: Entry) -> None:
        """Put (again): the same pool and rank is the same entry."""

    def put_if_absent(self, entry: Entry) -> bool:
        """Put an array's entry; False if there is one of its rank, which knows better how far it is."""

    def put_many(self, entries: Sequence[Entry]) -> None: ...

    def remove(self, entries: Sequence[Entry]) -> None:
        """Gone afterwards, whether they were there or not; batched by 25."""

    def head(self, pool: str, limit: int) -> list[Entry]:
        """The first `limit` entries by rank. An array's is one of them (`core.arrays.unfolded`)."""

    def advance(self, entry: Entry, next_index: int) -> bool:
        """Say that all elements of an array below `next_index` have rows; it never goes back. False if the entry is gone."""

    def has(self, entry: Entry) -> bool: ...

    def find(self, entry: Entry) -> Entry | None:
        """The entry of this pool and rank as it is in the table."""


class Submissions(Protocol):
    def create(self, jobs: Sequence[Job]) -> set[str]:
        """Create jobs and the backlog entries of the pending ones; the ids of those that existed, whose rows stay as they are.

        As few requests as DynamoDB allows, and in no order: a pass may see an entry a moment before its job. A job that existed may have
        a second entry now.
        """


class Shares(Protocol):
    def advance(self, pool: str, share: str, cost: float, *, clock: float, now: float, expires_at: float) -> float:
        """Ask for `cost` more of virtual time, and learn where it begins: where the share's last request ended, and not before `clock`.

        What a row whose `expires_at` lies before `now` says is forgotten. `core/fairness.py` says what for.
        """
