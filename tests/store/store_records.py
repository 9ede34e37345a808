"""Records for the stores' tests, and how tests race."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

from chalicelib.core.backlog import rank
from chalicelib.core.host import Assignment, Host, HostState, Launch, Offering
from chalicelib.core.job import FINAL, Job, JobState
from chalicelib.core.job_spec import JobSpec

NOW = 1_770_000_000.123456
T = TypeVar("T")


def job_id(number: int) -> str:
    return f"job-{number:026d}"


def a_job(number: int = 0, **facts: Any) -> Job:
    """A pending job of pool "p"; ids sort by number."""
    given: dict[str, Any] = {
        "id": job_id(number),
        "pool": "p",
        "owner": "ann",
        "spec": JobSpec(command="./grade.sh", timeout_s=60, environment={"WHO": "ann"}),
        "state": JobState.PENDING,
        "submitted_at": NOW,
        "entered": {"pending": NOW},
        "rank": rank(5, NOW, job_id(number)),
    }
    return Job(**given | facts)


def a_job_in(state: JobState, number: int = 0, **facts: Any) -> Job:
    """A job in any state, with what a job there has."""
    placed = {} if state in (JobState.SCHEDULED, JobState.BLOCKED, JobState.PENDING) else {"host": "host-1"}
    return a_job(
        number,
        state=state,
        entered={str(state): NOW},
        **{"waiting_for": "" if state in FINAL else "a host", **placed, **facts},
    )


OFFERING = Offering(region="us-east-1", instance_type="c7i.large", market="spot", zone="us-east-1a")


def a_host(number: int = 0, **facts: Any) -> Host:
    given: dict[str, Any] = {
        "id": f"host-{number:04d}",
        "pool": "p",
        "state": HostState.READY,
        "offering": OFFERING,
        "launch": "launch-1",
        "launch_index": number,
        "cpu": 2.0,
        "memory_mib": 3500,
        "slots": 2,
        "launched_at": NOW,
        "entered_at": NOW,
    }
    return Host(**given | facts)


def a_launch(number: int = 0, **facts: Any) -> Launch:
    given: dict[str, Any] = {
        "id": f"launch-{number:04d}",
        "pool": "p",
        "offering": OFFERING,
        "hosts": ("host-0001-0", "host-0001-1"),
        "user_data": bytes(range(256)) * 60,
        "created_at": NOW,
        "sent_at": NOW,
    }
    return Launch(**given | facts)


def an_assignment(number: int = 0, attempt: int = 1, **facts: Any) -> Assignment:
    given: dict[str, Any] = {"cpu": 0.5, "memory_mib": 512, "slots": 1, "timeout_s": 60, "assigned_at": NOW}
    return Assignment(job=job_id(number), attempt=attempt, **given | facts)


def race(n: int, run: Callable[[int], T]) -> list[T]:
    """`run(0) … run(n - 1)`, each in a thread of its own, all let go at the same moment."""
    start = Barrier(n)

    def contender(i: int) -> T:
        start.wait()
        return run(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(contender, range(n)))
