"""Lists of jobs: what a filter means, page by page (chalicelib/control/listing.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from chalice.app import MultiDict
from hypothesis import given
from hypothesis import strategies as st
from town import Town

from chalicelib import ids
from chalicelib.api import job_view, job_wire, wire
from chalicelib.control import arrays, listing
from chalicelib.core.job import FINAL, Job, JobState
from chalicelib.core.job_filter import JobFilter
from chalicelib.core.job_spec import JobSpec
from chalicelib.errors import BadRequest

T0 = 1_770_000_000.0

some_job = st.builds(
    lambda pool, owner, state, family, labels: {
        "pool": pool,
        "owner": owner,
        "state": state,
        "spec": JobSpec(command="x", timeout_s=5, pool=pool, family=family, labels=labels),
    },
    st.sampled_from("pq"),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(JobState),
    st.sampled_from([None, "f"]),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
)
some_filter = st.builds(
    JobFilter,
    pool=st.sampled_from([None, "p", "q"]),
    owner=st.sampled_from([None, "ann"]),
    states=st.frozensets(st.sampled_from([JobState.PENDING, JobState.RUNNING, JobState.FAILED]), max_size=2),
    family=st.sampled_from([None, "f"]),
    labels=st.dictionaries(st.sampled_from("ab"), st.sampled_from([None, "1"]), max_size=1),
    since=st.sampled_from([None, T0 + 200.0]),
    until=st.sampled_from([None, T0 + 900.0]),
).filter(lambda f: f.pool or f.owner)


def a_town(rows: list[dict[str, Any]]) -> tuple[Town, list[Job]]:
    """Jobs submitted every 50 s from T0 on, each with an id of its time."""
    town = Town()
    jobs = [
        Job(id=f"job-{ids.ulid(T0 + 50 * n, bytes([n] * 10))}", submitted_at=T0 + 50.0 * n, **row)
        for n, row in enumerate(rows)
    ]
    town.stores.submissions.create(jobs)
    return town, jobs


@given(st.lists(some_job, max_size=30), some_filter, st.integers(1, 5), st.sampled_from([100, 200]))
def test_the_pages_of_a_list_are_what_the_filter_means_once_each_and_newest_first(
    rows: list[dict[str, Any]], wanted: JobFilter, limit: int, looked_max: int
) -> None:
    """Whichever index is read, however long the pages are, and however much one request may look at."""
    town, jobs = a_town(rows)
    found: list[Job] = []
    cursor: str | None = None
    while True:
        page, cursor = listing.find(town.plane, wanted, cursor, limit, looked_max)
        assert len(page) <= limit
        found += page
        if cursor is None:
            break
    assert found == [job for job in reversed(jobs) if wanted.takes(job)]


def test_one_request_looks_at_so_many_rows_and_no_more() -> None:
    """A filter that means one old job answers short pages that lead to it."""
    spec = JobSpec(command="x", timeout_s=5)
    row = {"pool": "p", "owner": "ann", "state": JobState.SUCCEEDED, "spec": spec}
    town, jobs = a_town([{**row, "spec": replace(spec, family="old")}, *([row] * 249)])
    wanted = JobFilter(pool="p", family="old")
    page, cursor = listing.find(town.plane, wanted, None, 10, looked_max=200)
    assert (page, cursor) == ([], jobs[50].id)
    assert listing.find(town.plane, wanted, cursor, 10, looked_max=200) == ([jobs[0]], None)


def asked(**said: list[str]) -> job_wire.JobsQuery:
    return wire.query(MultiDict(said), job_wire.JobsQuery)


def test_a_query_says_its_filter() -> None:
    """Numbers come as text, lists by saying the name again; a submitter means its own jobs, an operator the pool default."""
    query = asked(state=["pending", "failed"], label=["course:cs:1", "exam"], since=["5"], family=["f"])
    mine = job_wire.job_filter(query, "ann")
    assert mine == JobFilter(
        owner="ann",
        states=frozenset({JobState.PENDING, JobState.FAILED}),
        labels={"course": "cs:1", "exam": None},
        since=5.0,
        family="f",
    )
    assert not mine.alive
    assert job_wire.job_filter(asked(), None) == JobFilter(pool="default")
    assert job_wire.job_filter(asked(owner=["bob"]), None) == JobFilter(owner="bob")
    assert job_wire.job_filter(asked(owner=["bob"], pool=["p"]), "ann") == JobFilter(owner="ann", pool="p")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("limit", ["0"]),
        ("limit", ["201"]),
        ("limit", ["1", "2"]),
        ("state", ["done"]),
        ("states", ["pending"]),
        ("since", ["yesterday"]),
        ("since", ["nan"]),
        ("until", ["null"]),
        ("label", [":x"]),
        ("ids", ["a,,b"]),
        ("cursor", ["job 1"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_query_that_means_nothing_is_refused_by_its_parameters_name(field: str, values: list[str]) -> None:
    """A filter that is misspelt must not show all jobs as if they fitted."""
    with pytest.raises(BadRequest) as refused:
        asked(**{field: values})
    assert refused.value.faults[0].field.partition("[")[0] == field


def test_a_page_of_large_jobs_ends_before_it_is_too_large_for_lambda() -> None:
    """The cursor is then the page's own last job: nothing is left out, nothing said twice."""
    spec = JobSpec(command='"' * 60_000, timeout_s=5)
    town, jobs = a_town([{"pool": "p", "owner": "ann", "state": JobState.PENDING, "spec": spec}] * 100)
    found, cursor = listing.find(town.plane, JobFilter(pool="p"), None, 100)
    page = job_view.page(found, cursor, lambda _: None)
    assert 0 < len(page.items) < 100
    assert page.next == page.items[-1].id
    assert len(wire.to_json(wire.to_json(page))) < 6_000_000
    rest, _ = listing.find(town.plane, JobFilter(pool="p"), page.next, 100)
    assert [i.id for i in page.items] + [j.id for j in rest] == [j.id for j in reversed(jobs)]


def test_every_final_state_is_one_that_a_filter_for_live_jobs_never_means() -> None:
    for state in JobState:
        assert JobFilter(states=frozenset({state})).alive == (state not in FINAL)
    assert not JobFilter().alive


def test_no_cursor_tells_of_the_arrays_of_others() -> None:
    """Whoever pages one by one would count them, and learn when they were submitted."""
    town = Town()
    for owner in ("ann", "bob", "bob", "ann", "bob"):
        arrays.submit(town.plane, JobSpec(command="run 1", timeout_s=5), 2, None, owner)
        town.now += 1
    seen: list[str | None] = []
    cursor = None
    for _ in range(5):
        found, cursor = listing.find_arrays(town.plane, "default", "ann", cursor, 1)
        seen += [array.owner for array in found]
        if cursor is None:
            break
        assert cursor == found[-1].id
    assert seen == ["ann", "ann"]
    everybodys, cursor = listing.find_arrays(town.plane, "default", None, None, 3)
    assert [array.owner for array in everybodys] == ["bob", "ann", "bob"]
    assert [a.owner for a in listing.find_arrays(town.plane, "default", None, cursor, 3)[0]] == ["bob", "ann"]
