"""Two clients at the same job in the same moment: for every pair of transitions of every state, the table decides, and both learn how."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import pytest
from store_records import NOW, a_job_in, job_id, race

from chalicelib.core.job import FINAL, TRANSITIONS, Job, JobEvent, JobState
from chalicelib.store.ports import Stores

LATER = NOW + 9
FENCED = (JobEvent.RELEASE, JobEvent.RETRY)  # they raise the attempt: who speaks of the old one comes too late
PAIRS = [
    (state, first, second)
    for state, row in TRANSITIONS.items()
    for first, second in combinations_with_replacement(sorted(row), 2)
]


def one_after_the_other(state: JobState, events: tuple[JobEvent, JobEvent]) -> set[tuple[JobState, frozenset[int]]]:
    """The outcomes that the machine allows: the state in the end, and whose event went through."""
    allowed = set()
    for order in ((0, 1), (1, 0)):
        now, fenced, through = state, False, set()
        for who in order:
            target = TRANSITIONS[now].get(events[who])
            if target is not None and not fenced:
                now, fenced = target, events[who] in FENCED
                through.add(who)
        allowed.add((now, frozenset(through)))
    return allowed


def test_every_pair_of_transitions_in_a_race_ends_as_one_of_its_two_orders_would(stores: Stores) -> None:
    """Nothing in between, and who lost was told so; the job ends at most once."""
    ends: dict[str, list[Job]] = {}
    for number, (state, *pair) in enumerate(PAIRS):
        events = (pair[0], pair[1])
        stores.jobs.put(a_job_in(state, number))

        def contend(who: int, number: int = number, events: tuple[Any, Any] = events) -> Job | None:
            return stores.jobs.move(job_id(number), events[who], attempt=1, at=LATER, reason=f"by {who}", untold=False)

        outcomes = race(2, contend)
        stored = stores.jobs.get(job_id(number))
        assert stored is not None
        through = frozenset(who for who, outcome in enumerate(outcomes) if outcome is not None)
        assert (stored.state, through) in one_after_the_other(state, events), (state, events)
        ends[stored.id] = [outcome for outcome in outcomes if outcome is not None and outcome.state in FINAL]
        assert len(ends[stored.id]) <= 1
        assert stored in [outcome for outcome in outcomes if outcome is not None]
    assert len(PAIRS) > 70


@pytest.mark.parametrize("state", [s for s in JobState if s not in FINAL])
def test_a_place_in_the_queue_is_given_by_one_of_two(stores: Stores, state: JobState) -> None:
    """Both read the same rank; the second one's write names it in vain."""
    job = a_job_in(state)
    stores.jobs.put(job)
    outcomes = race(2, lambda who: stores.jobs.rerank(job.id, attempt=1, before=job.rank, rank=f"0{who}#x"))
    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert stores.jobs.get(job.id) == winner
    assert winner.priority in (0, 1)


def test_a_job_that_has_ended_or_has_another_attempt_keeps_its_place(stores: Stores) -> None:
    for number, state in enumerate(JobState):
        job = a_job_in(state, number, attempt=2)
        stores.jobs.put(job)
        assert stores.jobs.rerank(job.id, attempt=1, before=job.rank, rank="00#x") is None
        moved = stores.jobs.rerank(job.id, attempt=2, before=job.rank, rank="00#x")
        assert (moved is None) == (state in FINAL)
    assert stores.jobs.rerank("job-none", attempt=1, before="", rank="00#x") is None
    assert stores.jobs.get("job-none") is None
