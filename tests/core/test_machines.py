"""The state machines, enumerated: every state with every event."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from chalicelib.core import arrays, host, job
from chalicelib.core.machine import IllegalTransition

STATES: dict[Any, Any] = {job: job.JobState, host: host.HostState, arrays: arrays.ArrayState}


@pytest.mark.parametrize("machine", list(STATES), ids=["job", "host", "array"])
def test_every_state_is_a_row(machine: Any) -> None:
    assert set(machine.TRANSITIONS) == set(STATES[machine])


@pytest.mark.parametrize(
    ("machine", "state", "event"),
    [(job, s, e) for s in job.JobState for e in job.JobEvent]
    + [(host, s, e) for s in host.HostState for e in host.HostEvent]
    + [(arrays, s, e) for s in arrays.ArrayState for e in arrays.ArrayEvent],
)
def test_the_table_is_the_machine(machine: Any, state: StrEnum, event: StrEnum) -> None:
    """`after` follows the table and raises the machine's one error where the table has no entry."""
    expected = machine.TRANSITIONS[state].get(event)
    if expected is None:
        with pytest.raises(IllegalTransition, match=f"a {machine.MACHINE.noun} that is {state.value}"):
            machine.after(state, event)
        assert state not in machine.sources(event)
    else:
        assert machine.after(state, event) is expected is machine.target(event)
        assert state in machine.sources(event)


def test_an_event_leads_to_one_state_only() -> None:
    """`target` may be asked without knowing the state: what a conditional write sets."""
    for machine, events in ((job, job.JobEvent), (host, host.HostEvent), (arrays, arrays.ArrayEvent)):
        for event in events:
            assert len({row[event] for row in machine.TRANSITIONS.values() if event in row}) == 1, event


def test_from_every_state_of_a_job_an_end_can_be_reached() -> None:
    reach = {state: {state} for state in job.JobState}
    for _ in job.JobState:
        for state, row in job.TRANSITIONS.items():
            reach[state] |= {end for next_ in row.values() for end in reach[next_]}
    assert all(ends & job.FINAL for ends in reach.values())


def test_finish_may_overtake_start() -> None:
    assert job.after(job.JobState.ASSIGNED, job.JobEvent.SUCCEED) is job.JobState.SUCCEEDED
