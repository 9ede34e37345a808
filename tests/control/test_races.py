"""Two at a time at one job, in each state that it can be in: whatever the one does happens in the middle of the other, at every call.

People cancel and reprioritise, passes place and skip, the sweep repairs, hosts vanish, agents finish. Whoever is second, the job ends
once, its command begins as often as it allows, it stands in the backlog where its row says, and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import product

import pytest
from fragile import fragile
from town import OFFERING, Town

from chalicelib.control import bulk, reconcile_pool, sweep
from chalicelib.control.cancel import cancel
from chalicelib.control.reprioritise import reprioritise
from chalicelib.control.retry import retry
from chalicelib.core import invariants
from chalicelib.core.backlog import entry_of
from chalicelib.core.job import FINAL, JobState
from chalicelib.core.job_filter import JobFilter
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import Conflict

SPEC = PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1, linger_s=30)


def waiting() -> tuple[Town, str]:
    """Behind one that runs."""
    town = Town(SPEC)
    town.submit("run 60")
    town.run(30)
    return town, town.submit("run 5", max_attempts=2).id


def waiting_too_long() -> tuple[Town, str]:
    """The moment in which it is to be skipped, and in which the host falls free."""
    town = Town(SPEC)
    town.submit("run 60")
    town.run(30)
    job = town.submit("run 5", queue_ttl_s=45).id
    town.now += 50
    return town, job


def on_a_host_that_boots() -> tuple[Town, str]:
    town = Town(SPEC)
    job = town.submit("run 5", max_attempts=2).id
    town.run(5)
    return town, job


def running() -> tuple[Town, str]:
    town = Town(SPEC)
    job = town.submit("run 40", max_attempts=2).id
    town.run(25)
    return town, job


def ended() -> tuple[Town, str]:
    town = Town(SPEC)
    job = town.submit("fail 1").id
    town.run(30)
    return town, job


def cancels(town: Town, job: str) -> None:
    cancel(town.plane, job)


def moves_it(town: Town, job: str) -> None:
    reprioritise(town.plane, job, 0)


def moves_all(town: Town, job: str) -> None:
    bulk.bulk(town.plane, "reprioritise", JobFilter(pool="default"), ids=[job], priority=9, expect=1)


def runs_it_again(town: Town, job: str) -> None:
    retry(town.plane, town.job(job), key="k")


def looks(town: Town, job: str) -> None:
    reconcile_pool.run(town.plane, "default")


def sweeps(town: Town, job: str) -> None:
    sweep.sweep(town.plane, "default")


def takes_the_host(town: Town, job: str) -> None:
    for machine in town.cloud.compute.alive():
        town.cloud.compute.lose(machine.id)


def goes_on(town: Town, job: str) -> None:
    """All that is due happens: agents finish, their pings are heard."""
    town.run(16)


SITUATIONS = [waiting, waiting_too_long, on_a_host_that_boots, running, ended]
FIRST = [cancels, moves_it, runs_it_again, looks, sweeps]
SECOND = [cancels, moves_it, moves_all, runs_it_again, looks, sweeps, takes_the_host, goes_on]


def attempted(act: Callable[[Town, str], None], town: Town, job: str) -> None:
    with suppress(Conflict):  # it came too late, and was told so
        act(town, job)


def check(town: Town, job: str) -> None:
    if (now := town.job(job)).state is JobState.PENDING:
        assert [e for e in town.stores.backlog.head("default", 10) if e.job == job] == [entry_of(now)]
    town.run_until_quiet()
    assert not (broken := invariants.at_rest(town.world())), broken
    ends = [line for line in town.stores.story.of(job, 1000) if line.event in FINAL]
    assert len(ends) == 1, ends
    assert town.job(job).ended
    again = [each for each in town.world().jobs if each.retry_of == job]
    assert len(again) <= 1


@pytest.mark.parametrize(
    ("situation", "first"),
    [
        pytest.param(s, f, id=f"{f.__name__}-{s.__name__}")
        for s, f in product(SITUATIONS, FIRST)
        if f is not runs_it_again or s is ended
    ],
)
def test_whatever_happens_in_the_middle_the_job_ends_once(
    situation: Callable[[], tuple[Town, str]], first: Callable[[Town, str], None]
) -> None:
    """Every second actor at every third call; which third, changes from one to the next."""
    tried = 0
    for turn, second in enumerate(SECOND):
        point = 1 + turn % 3
        while True:
            town, job = situation()
            fuse = fragile(town)
            happened: list[int] = []

            def meanwhile(_: type[Exception], town: Town = town, job: str = job, act=second, seen=happened) -> None:  # type: ignore[no-untyped-def]
                seen.append(1)
                attempted(act, town, job)

            fuse.order(point, meanwhile)
            attempted(first, town, job)
            if not happened:
                break
            fuse.heal()
            try:
                check(town, job)
            except AssertionError as error:
                raise AssertionError(f"{second.__name__} at call {point}: {error}") from error
            tried += 1
            point += 3
    assert tried
