"""Arrays without tables: an element is what follows from its array and its number."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import arrays, backlog, fairness, graph, merge
from chalicelib.core.arrays import Array, ArrayEvent, ArrayState, Tally
from chalicelib.core.backlog import Entry, rank
from chalicelib.core.graph import Fate
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import Input, JobSpec

NOW = 1_000_000.0


def an_array(number: int = 0, count: int = 5, first_s: float = 3.0, step_ms: int = 1500, **over: object) -> Array:
    array_id = f"array-{number:026d}"
    fields: dict[str, object] = {
        "id": array_id,
        "pool": "p",
        "owner": "ann",
        "spec": JobSpec(command="./grade.sh", timeout_s=60, priority=4, queue_ttl_s=900, market="spot", family="f"),
        "count": count,
        "state": ArrayState.OPEN,
        "submitted_at": NOW,
        "rank": rank(4, first_s, array_id),
        "step_ms": step_ms,
        "entered": {"open": NOW + 5},
    }
    return Array(**(fields | over))  # type: ignore[arg-type]


@given(st.integers(0, 5), st.integers(1, 40), st.integers(0, 50))
def test_an_element_waits_where_its_job_would(number: int, count: int, limit: int) -> None:
    """The entries that a pass makes of an array's one entry are those that its jobs would have, in order of rank."""
    spec = JobSpec(command="x", timeout_s=9, inputs=(Input(path="a", sha256="ab" * 32),), instance_types=("c7i.*",))
    array = an_array(number, count, spec=spec)
    entry = arrays.entry_of(array)
    seen = list(arrays.elements(entry, limit))
    jobs = [arrays.element(array, index, {}, JobState.PENDING, NOW) for index in range(min(count, limit))]
    assert seen == [backlog.entry_of(job) for job in jobs]
    assert [one.rank for one in seen] == sorted(one.rank for one in seen)
    assert all(entry.rank < one.rank for one in seen), "it is read before them"
    assert [arrays.element_of(job.id) for job in jobs] == [(array.id, job.index) for job in jobs]
    assert arrays.element_of("job-01ABC") is None


entries = st.lists(
    st.one_of(
        st.builds(lambda n, s: arrays.entry_of(an_array(n, 1 + n % 7, s)), st.integers(0, 99), st.floats(0, 60)),
        st.builds(
            lambda n, s: replace(
                arrays.entry_of(an_array(n)), job=f"job-{n:026d}", size=0, rank=f"{rank(4, s, f'job-{n:026d}')}#1"
            ),
            st.integers(0, 99),
            st.floats(0, 60),
        ),
    ),
    max_size=12,
    unique_by=lambda entry: entry.job,
)


@given(entries, st.integers(1, 30), st.data())
def test_what_a_pass_sees_is_the_beginning_of_what_waits(waiting: list[Entry], limit: int, data: st.DataObject) -> None:
    """However little was read: no element is seen before one that has precedence, and nothing is called complete that is not."""
    table = sorted(waiting, key=lambda entry: entry.rank)
    table = [replace(e, next_index=data.draw(st.integers(0, e.size))) if e.size else e for e in table]
    everything = sorted(
        (one for e in table for one in (arrays.elements(e, 100) if e.size else [e])), key=lambda entry: entry.rank
    )
    seen, complete = arrays.unfolded(table[:limit], limit)
    assert len(seen) <= limit
    assert arrays.waiting(table) == len(everything)
    if complete:
        assert seen == everything
    elif len(table) < limit or any(not entry.size for entry in table[:limit]):
        assert seen == everything[: len(seen)]
        assert seen or not everything
    else:  # nothing but arrays was read: their elements go on, whoever stands behind them
        assert seen or all(entry.next_index == entry.size for entry in table[:limit])


def test_elements_are_charged_one_after_another() -> None:
    """Their start tags are their owner's, one cost apart: the pool's clock goes with them."""
    array = an_array(first_s=10.0, step_ms=2000)
    tags = [fairness.place_of(entry.rank) for entry in arrays.elements(arrays.entry_of(array), 3)]
    assert tags == [("4", 10.0), ("4", 12.0), ("4", 14.0)]


@given(
    st.dictionaries(st.integers(0, 9), st.sampled_from(sorted(JobState)[:3]), max_size=10),
    st.booleans(),
    st.integers(10, 12),
)
def test_an_array_succeeds_only_as_a_whole(ends: dict[int, JobState], cancelled: bool, count: int) -> None:
    tally = Tally({state: frozenset(i for i, s in ends.items() if s is state) for state in set(ends.values())})
    event, reason = arrays.verdict(an_array(count=count, cancel_requested=cancelled), tally)
    good = len(ends) == count and set(ends.values()) == {JobState.SUCCEEDED}
    assert (event is ArrayEvent.SUCCEED) is good
    assert good or event is (ArrayEvent.CANCEL if cancelled else ArrayEvent.FAIL)
    assert reason


# -- waiting for others

ends = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.sampled_from([None, "succeeded", "failed", "cancelled", "skipped"])
)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1), st.sampled_from(["success", "finish"]), ends)
def test_nobody_begins_before_all_have_ended_and_nobody_waits_in_vain(
    after: list[str], on: str, states: dict[str, str | None]
) -> None:
    """One that is not known any more has ended long ago, and nobody knows how."""
    ruling = graph.ruling(after, on, states)
    seen = [states.get(one, "unknown") for one in after]
    if on == "success" and any(state not in (None, "succeeded") for state in seen):
        expected = Fate.SKIP
    else:
        expected = Fate.WAIT if None in seen else Fate.UNBLOCK
    assert ruling.fate is expected
    assert ruling.reason


# -- one table


def a_row(index: int, result: object) -> dict[str, object]:
    job = arrays.element(an_array(), index, {}, JobState.PENDING, NOW)
    assert isinstance(job, Job)
    return {**merge.row(job, {"n": index}), "result.score": result}


def test_a_table_has_a_column_for_whatever_anybody_said() -> None:
    """Cells of others stay empty; formulas are disarmed, numbers are not."""
    text = merge.table([a_row(0, 3), {**a_row(1, "=1+1"), "result.note": "a,b\n"}, a_row(2, -4)])
    lines = text.split("\r\n")
    assert lines[0].endswith("reason,parameters.n,result.score,result.note")
    assert lines[1].endswith(",0,3,")
    assert lines[2].endswith(',1,\'=1+1,"a,b\n"')
    assert lines[3].endswith(",2,-4,")
