"""Arrays and graphs, against memory tables and memory AWS."""

from __future__ import annotations

import csv
import io

import pytest
from town import OFFERING, Town

from chalicelib.control import arrays
from chalicelib.control.elements import Elements
from chalicelib.control.submit import submit, submit_many
from chalicelib.core.arrays import Array, ArrayState, element_id, unfolded
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import JobSpec, Notify
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest, Conflict


def spec(command: str = "run 5", **over: object) -> JobSpec:
    return JobSpec(**{"command": command, "timeout_s": 600, **over})  # type: ignore[arg-type]


def array_of(town: Town, count: int, own: list[dict[str, object]] | None = None, **over: object) -> Array:
    return arrays.submit(town.plane, spec(**over), count, own, "alice").array  # type: ignore[arg-type]


def now(town: Town, array: Array) -> Array:
    return arrays.get(town.plane, array.id)


def merged(town: Town, array: Array) -> list[dict[str, str]]:
    results = now(town, array).results
    assert results is not None, "the results are merged when the array has ended"
    text = (town.cloud.blobs.get(results.key) or b"").decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_an_array_is_one_entry_and_its_elements_run_each_once() -> None:
    """Submitted as one row, run as 30 jobs, ended as one thing."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=4))
    array = array_of(town, 30)
    assert len(town.stores.backlog.head("default", 10)) == 1
    town.run_until_quiet()
    assert now(town, array).state is ArrayState.SUCCEEDED
    assert now(town, array).reason == "all 30 succeeded"
    assert town.began == {(element_id(array.id, index), 1): 1 for index in range(30)}
    assert [row["index"] for row in merged(town, array)] == [str(index) for index in range(30)]


def test_an_element_is_given_its_number_and_its_own_parameters() -> None:
    """What an element runs follows from the array's row, its number, and what the caller listed for it."""
    town = Town()
    array = array_of(town, 2, [{"seed": 7}, {"seed": 8, "deep": {"a": [1]}}], parameters={"seed": 0, "mode": "x"})
    town.run_until_quiet()
    first, second = (town.job(element_id(array.id, index)) for index in (0, 1))
    assert first.spec.parameters == {"seed": 7, "mode": "x"}
    assert second.spec.parameters == {"seed": 8, "mode": "x", "deep": {"a": [1]}}
    assert second.spec.environment["SPILLWAY_ARRAY_INDEX"] == "1"
    assert second.spec.environment["SPILLWAY_ARRAY"] == array.id
    assert [row["parameters.seed"] for row in merged(town, array)] == ["7", "8"]


def test_an_array_is_not_ahead_of_who_comes_after_it_with_one_job() -> None:
    """Elements have start tags of their own: another owner's job waits for one of them at most, not for thousands."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1, share_hosts=True))
    array = array_of(town, 50, command="run 10")
    town.run(25)
    late = submit(town.plane, spec("run 10"), "bob").job
    town.run(45)
    assert town.job(late.id).ended
    assert not now(town, array).ended


def test_a_repeated_submission_is_the_same_array() -> None:
    """An idempotency key stands for one array and one body."""
    town = Town()
    first = arrays.submit(town.plane, spec(idempotency_key="k"), 3, None, "alice")
    again = arrays.submit(town.plane, spec(idempotency_key="k"), 3, None, "alice")
    assert (first.created, again.created, again.array.id) == (True, False, first.array.id)
    with pytest.raises(Conflict):
        arrays.submit(town.plane, spec(idempotency_key="k"), 4, None, "alice")


def test_a_cancelled_array_ends_at_once_where_nothing_runs() -> None:
    """What never began has no rows, and never gets one."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=0))
    array = array_of(town, 9_000)
    town.run(5)
    ended = arrays.cancel(town.plane, array.id)
    assert (ended.state, ended.reason) == (ArrayState.CANCELLED, "of 9000: 9000 never began")
    assert town.stores.backlog.head("default", 10) == []
    assert arrays.counts(town.plane, ended) == {"cancelled": 9_000}


def test_what_runs_of_a_cancelled_array_is_told_and_the_rest_never_begins() -> None:
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=2))
    array = array_of(town, 10, command="run 500")
    town.run(30)
    arrays.cancel(town.plane, array.id)
    town.run(30)
    assert now(town, array).state is ArrayState.CANCELLED
    assert sum(town.began.values()) == 2
    assert {row["state"] for row in merged(town, array)} == {"cancelled"}
    town.run_until_quiet()


def test_an_element_can_be_cancelled_before_it_is_a_job() -> None:
    """Its row is put in the place of the one that a pass would have put, so no pass makes it any more."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1))
    array = array_of(town, 5)
    cancelled = arrays.cancel_job(town.plane, element_id(array.id, 1))
    assert cancelled.state is JobState.CANCELLED
    town.run_until_quiet()
    assert town.began.keys() == {(element_id(array.id, index), 1) for index in (0, 2, 3, 4)}
    assert (now(town, array).state, now(town, array).reason) == (ArrayState.FAILED, "of 5: 4 succeeded, 1 cancelled")


def test_an_array_that_waits_too_long_is_given_up() -> None:
    """Time to live in the queue: what has begun goes on, the rest is skipped."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1))
    array = array_of(town, 20, command="run 60", queue_ttl_s=100)
    town.run_until_quiet()
    ended = now(town, array)
    assert ended.state is ArrayState.FAILED
    assert arrays.counts(town.plane, ended) == {"succeeded": 2, "skipped": 18}


def test_a_launch_that_ec2_refuses_leaves_no_element_out() -> None:
    """Elements that were given to a host which never came wait again like any job; those behind them follow."""
    town = Town(PoolSpec(offerings=(OFFERING,), slots_per_host=1, hosts_max=6))
    town.cloud.compute.limit(OFFERING, 2)
    array = array_of(town, 12)
    town.run(30)
    town.cloud.compute.limit(OFFERING, None)
    town.run_until_quiet()
    assert now(town, array).state is ArrayState.SUCCEEDED
    assert sum(town.began.values()) == 12


# -- graphs


def test_a_job_begins_after_those_that_it_waits_for() -> None:
    town = Town()
    first = town.submit("run 5")
    array = array_of(town, 3)
    last = submit(town.plane, spec(after=(first.id, array.id)), "alice").job
    assert last.state is JobState.BLOCKED
    town.run_until_quiet()
    ended = town.job(last.id)
    assert ended.state is JobState.SUCCEEDED
    assert ended.entered["pending"] >= max(
        town.job(first.id).entered["succeeded"], now(town, array).entered["succeeded"]
    )


def test_an_array_waits_for_a_job_and_is_skipped_when_that_fails() -> None:
    """on success is the default; who waited is told why it never began, and who waited for that one too."""
    town = Town()
    first = town.submit("fail 5")
    array = array_of(town, 3, after=(first.id,))
    assert now(town, array).reason == f"submitted; waits for {first.id}"
    last = submit(town.plane, spec(after=(array.id,)), "alice").job
    anyway = submit(town.plane, spec(after=(array.id,), after_on="finish"), "alice").job
    town.run_until_quiet()
    assert now(town, array).state is ArrayState.SKIPPED
    assert town.job(last.id).reason == f"it was to begin after {array.id} succeeds, and that is skipped"
    assert town.job(anyway.id).state is JobState.SUCCEEDED


def test_a_chain_of_five_hundred_is_skipped_to_its_end() -> None:
    """Skipping goes from one to the next, in many messages if it must."""
    town = Town()
    specs = [spec("fail 1"), *(spec(after=(f"#{n}",)) for n in range(499))]
    jobs = [s.job for s in submit_many(town.plane, specs, "alice")]
    town.run_until_quiet()
    assert {town.job(job.id).state for job in jobs[1:]} == {JobState.SKIPPED}


def test_who_waits_for_what_has_ended_already_begins_at_once() -> None:
    town = Town()
    first = town.submit("run 1")
    town.run(60)
    last = submit(town.plane, spec(after=(first.id,)), "alice").job
    assert last.state is JobState.PENDING
    town.run_until_quiet()


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (("job-unknown",), "there is no job or array job-unknown of alice"),
        (("#1",), "#1 is no earlier job of this batch"),
        (("#7",), "#7 is no earlier job of this batch"),
    ],
)
def test_who_waits_for_nobody_is_refused(after: tuple[str, ...], message: str) -> None:
    """A batch names earlier jobs only, so nobody can wait for himself."""
    town = Town()
    with pytest.raises(BadRequest, match=message):
        submit_many(town.plane, [spec(), spec(after=after)], "alice")


def test_a_blocked_job_can_be_cancelled() -> None:
    town = Town()
    first = town.submit("run 60")
    last = submit(town.plane, spec(after=(first.id,)), "alice").job
    assert arrays.cancel_job(town.plane, last.id).state is JobState.CANCELLED
    town.run_until_quiet()
    assert town.job(last.id).state is JobState.CANCELLED


def test_who_asked_is_told_of_the_whole_and_not_of_each() -> None:
    """One webhook and one notice for a hundred elements, with the counts; also where the webhook was away."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=20))
    town.cloud.outside.answers[:] = [500]
    array = array_of(town, 100, notify=Notify(webhook="https://example.org/x", topic=True))
    town.run_until_quiet()
    assert [post.body["type"] for post in town.cloud.outside.posts] == ["array_finished"] * 2
    told = town.cloud.outside.posts[-1].body["array"]
    assert (told["id"], told["state"], told["counts"]) == (array.id, "succeeded", {"succeeded": 100})
    assert [n["subject"] for n in town.cloud.notices.published if n["type"] == "array_finished"] == [array.id]
    assert now(town, array).delivered_at is not None
    assert town.stores.arrays.untold() == ([], None)


def test_an_array_that_never_began_is_told_of_too() -> None:
    """Cancelled while it waits for others, or skipped because they failed."""
    town = Town()
    heard = Notify(topic=True)
    bad = submit(town.plane, spec("fail 5", notify=heard), "alice").job
    waits = submit(town.plane, spec(after=(bad.id,), notify=heard), "alice").job
    skipped = array_of(town, 3, after=(bad.id,), notify=heard)
    cancelled = array_of(town, 3, after=(bad.id,), notify=heard)
    arrays.cancel(town.plane, cancelled.id)
    town.run_until_quiet()
    town.run(200)
    told = {n["subject"] for n in town.cloud.notices.published if n["type"].endswith("_finished")}
    assert told == {bad.id, waits.id, skipped.id, cancelled.id}


def test_each_elements_parameters_are_checked_with_those_that_all_have() -> None:
    """By the family's schema and by what an environment can hold; what is wrong is told with the number of the element."""
    from chalicelib.api import array_wire, wire
    from chalicelib.control import element_parameters, families
    from chalicelib.core.family import Family

    town = Town()
    schema = {"required": ["student", "course"], "properties": {"student": {"type": "string"}, "seed": {"default": 7}}}
    families.put(
        town.plane, Family(name="grade", version=0, defaults={"command": "./g", "timeout_s": 9}, schema=schema)
    )

    def checked(elements: list[object]) -> list[dict[str, object]]:
        body = {"job": {"family": "grade", "parameters": {"course": "c1"}}, "elements": elements}
        said = wire.convert(body, array_wire.ArrayWire)
        job = families.apply(town.plane, said.job, "job.", check=False)
        return element_parameters.checked(
            town.plane, said.elements or [], job.parameters, (job.family, job.family_version)
        )

    assert checked([{"student": "ada"}]) == [{"course": "c1", "student": "ada", "seed": 7}]
    with pytest.raises(BadRequest, match=r"elements\[1\].student"):
        checked([{"student": "ada"}, {"student": 3}])
    with pytest.raises(BadRequest, match=r"elements\[0\]"):
        checked([{}])
    with pytest.raises(BadRequest, match=r"elements\[1\].a_b: is called"):
        checked([{"student": "x"}, {"student": "x", "a-b": 1, "a_b": 2}])


def test_what_a_pass_makes_of_an_array_while_it_is_cancelled_is_cancelled_by_that_pass() -> None:
    """It had read the array before: the sweep would find what it made too, but a minute later."""
    town = Town(PoolSpec(offerings=(OFFERING,), scaling_enabled=False))
    array = array_of(town, 3)
    making = Elements(town.plane)
    (first, *_), _ = unfolded(town.plane.stores.backlog.head(array.pool, 10), 10)
    bound = making.bind(first)
    assert bound is not None
    arrays.cancel(town.plane, array.id)
    made = making.make(bound, "host-1", town.now, "assigned")
    assert made is not None
    making.advance()
    assert town.job(made.id).cancel_requested
