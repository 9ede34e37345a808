"""What is worth another attempt: `retry_on` names it, and nothing else is repeated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.job import Finish, Job, JobEvent, JobState
from chalicelib.core.job_spec import RETRY_ON, JobSpec, RetryOn
from chalicelib.core.retry import began_and_was_lost, never_began, verdict


def a_job(*retry_on: str, max_attempts: int = 3, **facts: Any) -> Job:
    spec = JobSpec(command="true", timeout_s=60, max_attempts=max_attempts, retry_on=retry_on)
    return Job(id="job-1", pool="default", owner="alice", spec=spec, state=JobState.RUNNING, submitted_at=0.0, **facts)


def an_end(outcome: str, exit_code: int | None = None) -> Finish:
    return Finish(outcome=outcome, reason="it ended", finished_at=9.0, exit_code=exit_code)


@pytest.mark.parametrize(
    ("retry_on", "end", "again"),
    [
        pytest.param(RETRY_ON, an_end("failed", 1), True, id="all, and a failure"),
        pytest.param(RETRY_ON, an_end("timed_out"), True, id="all, and a timeout"),
        pytest.param(("timeout",), an_end("failed", 1), False, id="timeout only, and a failure"),
        pytest.param(("timeout",), an_end("timed_out"), True, id="timeout only, and a timeout"),
        pytest.param(("failure",), an_end("timed_out"), False, id="failure only, and a timeout"),
        pytest.param(("exit:75",), an_end("failed", 75), True, id="an exit code, and this one"),
        pytest.param(("exit:75",), an_end("failed", 1), False, id="an exit code, and another one"),
        pytest.param(("exit:75",), an_end("failed", None), False, id="an exit code, and a signal"),
        pytest.param(("failure",), an_end("failed", None), True, id="any failure, and a signal"),
        pytest.param((), an_end("failed", 1), False, id="nothing"),
        pytest.param(RETRY_ON, an_end("succeeded", 0), False, id="all, and a success"),
    ],
)
def test_an_end_by_the_jobs_own_command_is_repeated_where_it_is_listed(
    retry_on: tuple[str, ...], end: Finish, again: bool
) -> None:
    """Either way the attempt is charged, as it was the user's own."""
    ruling = verdict(a_job(*retry_on), end)
    assert (ruling.event is JobEvent.RETRY) is again
    assert ruling.charge


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("listed", [(), ("infrastructure",), ("interruption",), RETRY_ON])
def test_an_attempt_that_was_lost_is_repeated_where_its_cause_is_listed(
    listed: tuple[str, ...], interrupted: bool
) -> None:
    """A fault of ours and an interruption are told apart, and neither is ever charged."""
    ruling = began_and_was_lost(a_job(*listed), "its host is gone", interrupted=interrupted)
    cause = RetryOn.INTERRUPTION if interrupted else RetryOn.INFRASTRUCTURE
    assert ruling.event is (JobEvent.RETRY if cause in listed else JobEvent.LOSE)
    assert not ruling.charge
    assert cause in listed or "retry_on" in ruling.reason


@given(
    st.lists(st.sampled_from([*RETRY_ON, "exit:1"]), max_size=3),
    st.sampled_from(["succeeded", "failed", "timed_out", "cancelled", "infrastructure"]),
    st.booleans(),
    st.integers(0, 2),
)
def test_a_job_that_allows_one_attempt_is_never_repeated_once_it_began(
    retry_on: list[str], outcome: str, interrupted: bool, exit_code: int
) -> None:
    """At most once, whatever `retry_on` says."""
    job = a_job(*retry_on, max_attempts=1)
    assert verdict(job, an_end(outcome, exit_code), interrupted=interrupted).event is not JobEvent.RETRY


def test_an_attempt_that_never_began_waits_again_whatever_is_listed() -> None:
    """Nothing of it ran: that is no repetition."""
    assert never_began(a_job(max_attempts=1), "no room there", fault=False).event is JobEvent.RELEASE
