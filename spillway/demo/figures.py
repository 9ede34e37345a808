"""What the demo measured, as `.demo/report.json`. Every number comes from a clock or a counter of this run."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spillway.records import Job


@dataclass(frozen=True)
class Report:
    """`…_p50`: medians, null where nothing was measured. Times from just before the client's request to `started_at`.

    `processes_left` is null where the embedded cloud was left running.
    """

    jobs: int
    by_state: dict[str, int]
    instances_launched: int
    run_instances_calls: int
    instances_left: int
    warm_submit_to_start_ms_p50: float | None
    cold_submit_to_start_ms_p50: float | None
    deploy_s: float
    total_s: float
    lambda_cold_start_ms_p50: float | None
    batch_jobs: int
    batch_run_instances_calls: int
    warm_jobs: int
    warm_submit_to_start_ms: list[float]
    lambda_cold_starts: int
    processes_left: int | None
    marks_wrong: dict[str, str]
    skipped: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the report, whole or not at all."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n")
        fresh.replace(path)


def median_ms(milliseconds: Sequence[float]) -> float | None:
    """The median, to a tenth of a millisecond; None of nothing."""
    return round(statistics.median(milliseconds), 1) if milliseconds else None


def submit_to_start_ms(submitted: Mapping[str, float], jobs: Sequence[Job]) -> list[float]:
    """For each job that started: milliseconds since the client began to submit it (`submitted`: epoch seconds by id)."""
    return [
        round((job.started_at - submitted[job.id]) * 1000, 1)
        for job in jobs
        if job.started_at is not None and job.id in submitted
    ]


def by_state(jobs: Sequence[Job]) -> dict[str, int]:
    """How many jobs ended in each state."""
    return dict(sorted(Counter(job.state for job in jobs).items()))


def cold_starts_ms(counters: Mapping[str, Any]) -> list[float]:
    """Every function's cold starts, from the embedded cloud's counters."""
    return [float(ms) for function in counters.get("functions", []) for ms in function.get("cold_start_ms", [])]


def calls(counters: Mapping[str, Any], service: str, action: str) -> int:
    """How often an AWS operation was called, from the embedded cloud's counters."""
    return int(counters.get("calls", {}).get(f"{service}:{action}", 0))
