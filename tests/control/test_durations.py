"""How long jobs and boots take is learned from what really happened, once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from town import ROLE, Town

from chalicelib.control import pings
from chalicelib.control.durations import Lessons, learned
from chalicelib.control.submit import submit
from chalicelib.core.durations import ALL, BOOT, ENOUGH, Learned, boot_s, expected_s, key_of
from chalicelib.core.host import HostState
from chalicelib.core.job import Finish
from chalicelib.core.job_spec import JobSpec
from chalicelib.errors import StoreUnavailable


def of(town: Town) -> dict[str, Learned]:
    return town.stores.durations.of("default", "1970-01-01")  # type: ignore[no-any-return]


def test_jobs_are_learned_by_family_and_together_and_boots_of_hosts() -> None:
    """What the next look at the pool believes is what the jobs of this one took."""
    town = Town()
    for seconds in (5, 7, 9):
        submit(town.plane, JobSpec(command=f"run {seconds}", timeout_s=600, family="essay"), "ann")
    submit(town.plane, JobSpec(command="run 39", timeout_s=600), "ann")
    town.run_until_quiet()
    known = of(town)
    assert known[key_of("essay")] == Learned(3, 21.0, 155.0)
    assert known[ALL] == Learned(4, 60.0, 155.0 + 39.0 * 39.0)
    assert known[BOOT].count == len(town.hosts())
    assert known[BOOT].mean_s >= town.boot_s
    town.now += 31
    assert expected_s("essay", 600, learned(town.plane, "default")) == 7.0
    assert expected_s("", 600, learned(town.plane, "default")) == 15.0
    assert learned(town.plane, "other") == {}


def test_doubled_messages_are_learned_once() -> None:
    """SQS delivers at least once: what did not move a row teaches nothing."""
    town = Town()
    town.duplicate = 1.0
    for _ in range(6):
        town.submit("run 5")
    town.run_until_quiet()
    assert of(town)[ALL] == Learned(6, 30.0, 150.0)
    assert of(town)[BOOT].count == len(town.hosts())


def test_a_cancelled_job_teaches_nothing() -> None:
    """How long it ran says when somebody lost patience, not how long it takes."""
    from chalicelib.control.cancel import cancel

    town = Town()
    job = town.submit("run 500")
    town.run(60)
    cancel(town.plane, job.id)
    town.run_until_quiet()
    assert ALL not in of(town)


def a_finish(outcome: str, started_at: float | None, finished_at: float) -> Finish:
    return Finish(outcome=outcome, reason="", started_at=started_at, finished_at=finished_at)


class Notebook:
    """A table of durations that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Learned]]] = []

    def add(self, pool: str, day: str, sums: Any, expires_at: float) -> None:
        self.calls.append((pool, dict(sums)))


def taught(town: Town, *finishes: Finish) -> list[tuple[str, dict[str, Learned]]]:
    job = town.submit("run 5")  # its timeout is 600 s
    lessons, notebook = Lessons(), Notebook()
    for finish in finishes:
        lessons.finished(job, finish)
    lessons.write(replace(town.plane, stores=replace(town.plane.stores, durations=notebook)))
    return notebook.calls


def test_one_invocation_writes_each_sum_once() -> None:
    finishes = [a_finish("succeeded", 100.0, 100.0 + n) for n in (1, 2, 3)]
    assert taught(Town(), *finishes) == [("default", {ALL: Learned(3, 6.0, 14.0)})]


def test_only_ends_that_the_job_itself_made_are_learned() -> None:
    """A fault of ours, a cancellation and a job that never began say nothing about how long it takes; a failure does."""
    assert taught(Town(), a_finish("infrastructure", 1.0, 9.0), a_finish("cancelled", 1.0, 9.0)) == []
    assert taught(Town(), a_finish("failed", None, 9.0)) == []
    assert taught(Town(), a_finish("failed", 1.0, 9.0)) == [("default", {ALL: Learned(1, 8.0, 64.0)})]


def test_a_job_that_was_cut_off_took_its_whole_timeout() -> None:
    """It would have taken longer still; what its host measured is that and the time to kill it."""
    for ended_at in (599.7, 604.2):
        assert taught(Town(), a_finish("timed_out", 0.0, ended_at)) == [
            ("default", {ALL: Learned(1, 600.0, 360_000.0)})
        ]


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(started_at=anything, finished_at=anything)
def test_no_clock_of_a_host_teaches_nonsense(started_at: float, finished_at: float) -> None:
    """Whatever a host's clock says, a duration lies between nothing and the job's timeout."""
    ((_, sums),) = taught(Town(), a_finish("succeeded", started_at, finished_at))
    assert 0.0 <= sums[ALL].total_s <= 600.0


def test_a_table_that_does_not_answer_loses_lessons_and_no_ping() -> None:
    """Means over many can spare some; a finish must not come again because of them."""

    class Down:
        def add(self, *_: Any) -> None:
            raise StoreUnavailable("throttled")

        def of(self, *_: Any) -> dict[str, Learned]:
            return {}

    town = Town()
    town.plane = replace(town.plane, stores=replace(town.plane.stores, durations=Down()))
    job = town.submit("run 5")
    town.run_until_quiet()
    assert town.job(job.id).state == "succeeded"


def test_a_second_hello_is_no_second_boot() -> None:
    """An agent that restarts says hello again; its host has not booted again."""
    town = Town()
    town.submit("run 100")
    town.run(40)
    host = next(h for h in town.hosts() if h.state is HostState.READY)
    body = {"v": 1, "pool": "default", "host": host.id, "pings": [{"kind": "hello", "at": town.now}]}
    assert host.userid.startswith(ROLE)
    pings.receive(town.plane, [pings.Message(host.userid, json.dumps(body))])
    assert of(town)[BOOT].count == 1


def test_few_observations_are_not_believed() -> None:
    """One quick job must not make a flood of slow ones look quick."""
    few = {ALL: Learned(ENOUGH - 1, 1.0, 1.0), BOOT: Learned(ENOUGH - 1, 1.0, 1.0)}
    assert expected_s("", 600, few) == 60.0
    assert expected_s("", 20, few) == 20.0
    assert boot_s(few) == 45.0
