"""Submissions in memory."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.core.backlog import entry_of
from chalicelib.core.job import Job, JobState
from chalicelib.store.memory.backlog import MemoryBacklog
from chalicelib.store.memory.jobs import MemoryJobs


class MemorySubmissions:
    """`ports.Submissions` over the dicts of jobs and backlog."""

    def __init__(self, jobs: MemoryJobs, backlog: MemoryBacklog) -> None:
        self._jobs, self._backlog = jobs, backlog

    def create(self, jobs: Sequence[Job]) -> set[str]:
        self._backlog.put_many([entry_of(job) for job in jobs if job.state is JobState.PENDING])
        return {job.id for job in jobs if not self._jobs.put(job)}
