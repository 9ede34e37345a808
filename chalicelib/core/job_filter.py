"""Which jobs somebody means: by pool, owner, state, family, labels, schedule, array and time of submission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.job import FINAL, Job, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """What is None or empty does not matter. `labels`: name → value, None for any. Epoch seconds: since ≤ submitted < until."""

    pool: str | None = None
    owner: str | None = None
    states: frozenset[JobState] = frozenset()
    family: str | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict)
    schedule: str | None = None
    array: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def alive(self) -> bool:
        """Whether it can only mean jobs that have not ended."""
        return bool(self.states) and not self.states & FINAL

    def takes(self, job: Job) -> bool:
        """Whether it means this job."""
        return (
            self.pool in (None, job.pool)
            and self.owner in (None, job.owner)
            and (not self.states or job.state in self.states)
            and self.family in (None, job.spec.family)
            and self.schedule in (None, job.schedule)
            and self.array in (None, job.array)
            and all(
                name in job.spec.labels and value in (None, job.spec.labels[name])
                for name, value in self.labels.items()
            )
            and (self.since is None or job.submitted_at >= self.since)
            and (self.until is None or job.submitted_at < self.until)
        )
