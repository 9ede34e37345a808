"""Quotas of owners in the whole system: at submit, in passes, and when an attempt ends."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.control import arrays, explain, quotas, story
from chalicelib.control.reconcile_pool import BACKLOG_READ_MIN, observe
from chalicelib.control.submit import submit, submit_many
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.core.quota import Quota, day
from chalicelib.errors import BadRequest, Conflict, OverQuota, PreconditionFailed


def a_spec(command: str = "run 5", **facts: Any) -> JobSpec:
    return JobSpec(command=command, timeout_s=600, **facts)


def a_town(**limits: Any) -> Town:
    """Alice is limited, bob is not."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=10))
    quotas.put(town.plane, "alice", Quota(**limits), by="root")
    return town


def test_more_jobs_than_an_owner_may_have_are_refused_all_or_none_of_them() -> None:
    """429 with the owner as its field; others submit as they like, and what has ended makes room."""
    town = a_town(jobs_max=3)
    submit_many(town.plane, [a_spec(), a_spec()], "alice")
    with pytest.raises(OverQuota, match=r"alice may have 3 jobs .* has 2: 2 more would be too many") as caught:
        submit_many(town.plane, [a_spec(), a_spec()], "alice")
    assert (caught.value.status, [f.field for f in caught.value.faults]) == (429, ["owner"])
    assert town.stores.jobs.active_of("alice") == 2
    submit(town.plane, a_spec(), "alice")
    submit_many(town.plane, [a_spec()] * 5, "bob")
    with pytest.raises(OverQuota):
        submit(town.plane, a_spec(), "alice")
    town.run(120)
    assert submit(town.plane, a_spec(), "alice").created


@pytest.mark.parametrize("key", ["mine", "at-{}-mine"], ids=["held", "timed"])
def test_a_repeated_submission_is_answered_also_when_the_quota_is_used_up(key: str) -> None:
    """It asks for nothing new: the client may not have heard the first answer."""
    town = a_town(jobs_max=1)
    spec = a_spec(idempotency_key=key.format(int(town.now * 1000)))
    first = submit(town.plane, spec, "alice")
    town.now += quotas.USED_AGE_MAX_S + 1
    again = submit(town.plane, spec, "alice")
    assert (again.job.id, again.created) == (first.job.id, False)
    with pytest.raises(OverQuota):
        submit(town.plane, a_spec(), "alice")


def test_a_key_that_met_a_full_quota_submits_later() -> None:
    """What was refused left no job: the same request, when there is room, makes it."""
    town = a_town(jobs_max=1)
    submit(town.plane, a_spec(), "alice")
    with pytest.raises(OverQuota):
        submit(town.plane, a_spec(idempotency_key="mine"), "alice")
    town.run(120)
    job = submit(town.plane, a_spec(idempotency_key="mine"), "alice").job
    assert town.job(job.id).state is JobState.PENDING


def test_an_owner_without_a_quota_costs_one_request_in_ten_seconds() -> None:
    """That it has none is remembered too."""
    town = Town()
    asked: list[str] = []
    of = town.stores.owners.quota
    town.stores.owners.quota = lambda owner: asked.append(owner) or of(owner)  # type: ignore[method-assign,func-returns-value]
    for _ in range(10):
        submit(town.plane, a_spec(), "bob")
        town.now += 0.9
    assert asked == ["bob"]


def test_a_job_wider_than_its_owner_may_ever_have_is_refused_by_its_field() -> None:
    town = a_town(cpu_max=1.5)
    with pytest.raises(BadRequest, match=r"cpu: is 2; alice may have 1.5 cores of a pool at work") as caught:
        submit(town.plane, a_spec(cpu=2.0), "alice")
    assert caught.value.status == 400


def test_an_owner_never_has_more_cores_at_work_and_the_others_do_not_wait() -> None:
    """At every moment, by what the hosts' rows reserve; who waits says so; everything ends."""
    town = a_town(cpu_max=2.0)
    alices = [town.submit("run 40").id for _ in range(8)]
    bobs = [submit(town.plane, a_spec("run 40"), "bob").job.id for _ in range(8)]
    said = set()
    most: defaultdict[str, float] = defaultdict(float)
    for _ in range(400):
        town.run(1)
        now: defaultdict[str, float] = defaultdict(float)
        for host in town.hosts():
            for a in host.assignments:
                now[a.owner] += a.cpu
        for owner, cpu in now.items():
            most[owner] = max(most[owner], cpu)
        said |= {town.job(job).waiting_for for job in alices}
    assert most == {"alice": 2.0, "bob": 8.0}
    assert "alice may have 2 cores of this pool at work, and they are taken" in said
    town.run_until_quiet()
    assert {town.job(job).state for job in (*alices, *bobs)} == {JobState.SUCCEEDED}
    begun = {job: town.job(job).entered["running"] for job in (*alices, *bobs)}
    assert max(begun[job] for job in bobs) <= sorted(begun[job] for job in alices)[2]


def test_jobs_that_a_quota_holds_do_not_hold_the_pools_clock() -> None:
    """Else who comes anew would start from the tag of a job that nobody serves, before all who came in between."""
    town = a_town(cpu_max=0.0)
    town.stores.owners.put_quota("alice", Quota(), version=1, by="root", at=town.now)
    town.submit("run 10")
    town.stores.owners.put_quota("alice", Quota(cpu_max=0.0), version=2, by="root", at=town.now)
    for _ in range(5):
        submit(town.plane, a_spec("run 10"), "bob")
        town.run(60)
    pool = town.stores.registry.pool("default")
    assert pool is not None
    assert pool.clocks["5"] > 0


def test_what_an_attempt_cost_is_written_once_and_ends_the_day() -> None:
    """A c7i.large for 36 s, half of it reserved; a repeated ping writes the same row; tomorrow is another day."""
    town = a_town(usd_per_day=0.0004)
    job = town.submit("run 36", cpu=1.0, memory_mib=64).id
    town.duplicate = 1.0
    town.run(120)
    assert town.job(job).state is JobState.SUCCEEDED
    usd = town.stores.owners.spent("alice", day(town.now), 1e9)
    assert usd == pytest.approx(0.08925 * 0.5 * 36 / 3600, rel=0.01)
    with pytest.raises(OverQuota, match="A new day begins at 00:00 UTC"):
        town.submit()
    town.now += 86_400
    town.submit()


def test_when_the_money_is_spent_what_waits_goes_on_the_next_day() -> None:
    """What is at work counts as what it is believed to cost, so that not all begin at once; what runs is left to run."""
    town = a_town(usd_per_day=0.0001)
    town.now = 1_000_000 // 86_400 * 86_400 + 80_000.0
    town._next_tick = town.now + 60
    first, *others = [town.submit("run 60", cpu=2.0).id for _ in range(4)]
    bobs = submit(town.plane, a_spec("run 60"), "bob").job.id
    town.run(600)
    assert town.job(first).state is JobState.SUCCEEDED
    assert town.job(bobs).state is JobState.SUCCEEDED
    waiting = [job for job in others if town.job(job).state is JobState.PENDING]
    assert waiting
    assert town.job(waiting[0]).waiting_for.startswith("alice may spend 0.00 USD a day, and has, or will have")
    town.run(7200)
    assert town.job(waiting[0]).state is JobState.SUCCEEDED


def test_nothing_is_written_for_owners_whose_money_is_not_limited() -> None:
    town = a_town(jobs_max=10)
    town.submit("run 36")
    town.run(120)
    assert town.stores.owners.spent("alice", day(town.now), 1e9) == 0.0


def test_a_quota_is_changed_from_the_version_that_was_read_and_told() -> None:
    """What changes nothing tells nothing."""
    town = a_town(jobs_max=3)
    quotas.put(town.plane, "alice", Quota(jobs_max=3), by="eve")
    made = quotas.put(town.plane, "alice", Quota(jobs_max=4, cpu_max=2.5), by="eve", version=1)
    assert made.version == 2
    with pytest.raises(PreconditionFailed, match="is at version 2, not 1"):
        quotas.put(town.plane, "alice", Quota(), by="eve", version=1)
    told = [line.reason for line in story.of_settings(town.plane)]
    assert told == [
        "alice: jobs_max: no limit → 3 (by root, version 1)",
        "alice: jobs_max: 3 → 4 (by eve, version 2)",
        "alice: cpu_max: no limit → 2.5 (by eve, version 2)",
    ]
    put = town.stores.owners.put_quota
    town.stores.owners.put_quota = lambda *args, **facts: put("alice", Quota(), version=2, by="x", at=0.0) and None  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        quotas.put(town.plane, "alice", Quota(jobs_max=5), by="eve")


def test_why_says_that_it_is_the_quota_and_how_many_are_before() -> None:
    """And no host is believed to be free for it."""
    town = a_town(cpu_max=1.0)
    jobs = [town.submit("run 300").id for _ in range(3)]
    town.run(30)
    told = explain.job(town.plane, town.job(jobs[2])).sentences
    assert "What it waits for: alice may have 1 cores of this pool at work, and they are taken." in told
    assert "1 job is before it in the queue." in told


def test_a_job_that_waits_for_its_quota_does_not_wait_for_ever() -> None:
    """Its time to live in the queue ends as that of any other: to the second."""
    town = a_town(cpu_max=1.0)
    town.submit("run 300")
    job = town.submit("run 5", queue_ttl_s=100)
    town.run(130)
    ended = town.job(job.id)
    assert ended.state is JobState.SKIPPED
    assert ended.entered["skipped"] - job.submitted_at < 102


@pytest.mark.parametrize("as_array", [False, True], ids=["jobs", "array"])
def test_a_flood_that_its_quota_holds_hides_nobody_behind_it(as_array: bool) -> None:
    """However many of its jobs stand at the head of the line, and however long: the others are read past them."""
    town = a_town(cpu_max=1.0)
    town.watched = False
    many = 3 * BACKLOG_READ_MIN
    if as_array:
        arrays.submit(town.plane, a_spec("run 300"), many, None, "alice")
    else:
        for _ in range(many // 500):
            submit_many(town.plane, [a_spec("run 300")] * 500, "alice")
    town.run(60)
    pool = town.stores.registry.pool("default")
    assert pool is not None
    town.stores.registry.note_pass("default", pool.pass_no, clocks={"5": 1e6})  # others were served for weeks meanwhile
    town.now += 15
    bobs = [submit(town.plane, a_spec("run 5"), "bob").job.id for _ in range(3)]
    seen, _ = observe(town.plane, pool)
    assert {entry.job for entry in seen.backlog} >= set(bobs)
    assert len(seen.held) >= many - 5
    town.run(60)
    assert {town.job(job).state for job in bobs} == {JobState.SUCCEEDED}


def test_elements_of_an_array_count_before_they_have_a_row() -> None:
    """Each once: those that wait in the array, and those that are jobs."""
    town = a_town(jobs_max=20)
    array = arrays.submit(town.plane, a_spec("run 40"), 15, None, "alice").array
    with pytest.raises(OverQuota, match="has 15: 6 more"):
        arrays.submit(town.plane, a_spec(), 6, None, "alice")
    town.run(30)
    assert quotas.used(town.plane, "alice")[0] == 15
    town.run(300)
    assert quotas.used(town.plane, "alice")[0] == 0
    assert town.stores.arrays.active_of("alice") == []
    assert town.stores.arrays.get(array.id) is not None
