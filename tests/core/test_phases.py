"""When a job passed each stage of its life: of its present attempt, and in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.job import FINAL, TRANSITIONS, Finish, Job, JobEvent, JobState, target
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.phases import phases

SPEC = JobSpec(command="true", timeout_s=60)


def a_job(state: JobState, **facts: Any) -> Job:
    return Job(id="job-1", pool="default", owner="alice", spec=SPEC, state=state, submitted_at=0.0, **facts)


@given(st.data())
def test_whatever_a_job_went_through_its_phases_are_in_order_and_of_one_attempt(data: st.DataObject) -> None:
    """Walk the machine at random, a second a step: what is told lies after the last time that it began to wait."""
    state, entered, now, attempt = JobState.PENDING, {"pending": 0.0}, 0.0, 1
    while TRANSITIONS[state] and data.draw(st.booleans()):
        event = data.draw(st.sampled_from(sorted(TRANSITIONS[state])))
        state, now = target(event), now + 1.0
        entered[str(state)] = now
        attempt += event in (JobEvent.RELEASE, JobEvent.RETRY)
    at = phases(a_job(state, entered=entered, attempt=attempt))
    times = [t for t in (at.assigned_at, at.started_at, at.finished_at) if t is not None]
    assert times == sorted(times)
    assert all(t >= entered["pending"] for t in times)
    assert (at.finished_at is not None) == (state in FINAL)
    assert state is not JobState.RUNNING or None not in (at.assigned_at, at.started_at)
    assert state is not JobState.ASSIGNED or (at.assigned_at is not None and at.started_at is None)
    assert state is not JobState.PENDING or (at.assigned_at, at.started_at) == (None, None)


@pytest.mark.parametrize("told", [True, False], ids=["the agent told when", "the agent did not"])
def test_when_it_began_and_ended_is_the_agents_word(told: bool) -> None:
    finish = Finish(outcome="succeeded", reason="exit 0", started_at=5.5 if told else None, finished_at=7.5)
    entered = {"pending": 0.0, "assigned": 4.0, "running": 6.0, "succeeded": 9.0}
    at = phases(a_job(JobState.SUCCEEDED, entered=entered, finish=finish, delivered_at=10.0))
    assert (at.started_at, at.finished_at, at.delivered_at) == (5.5 if told else 6.0, 7.5, 10.0)


def test_a_job_that_was_skipped_after_an_attempt_shows_nothing_of_that_one() -> None:
    finish = Finish(outcome="failed", reason="exit 1", started_at=2.0, finished_at=3.0)
    entered = {"assigned": 1.0, "running": 2.0, "pending": 4.0, "skipped": 9.0}
    at = phases(a_job(JobState.SKIPPED, entered=entered, finish=finish, attempt=2))
    assert (at.assigned_at, at.started_at, at.finished_at) == (None, None, 9.0)
