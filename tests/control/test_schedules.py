"""Schedules: what the clock does with them, and people."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fragile import fragile
from town import Crash, Town

from chalicelib.control import families, fires, quotas, schedules, tick
from chalicelib.core import schedule as schedule_core
from chalicelib.core.cron import local
from chalicelib.core.family import Family
from chalicelib.core.job import Job, JobState
from chalicelib.core.quota import Quota
from chalicelib.core.schedule import Fired, Outcome, Schedule
from chalicelib.errors import BadRequest, Conflict, NotFound, PreconditionFailed

JOB = {"command": "run 5", "timeout_s": 60}


def said(timing: str = "*/5 * * * *", **more: Any) -> Schedule:
    given: dict[str, Any] = {"name": "nightly", "owner": "alice", "zone": "UTC", "job": JOB, **more}
    return Schedule(timing=timing, **given)


def jobs_of(town: Town, name: str = "nightly") -> list[Job]:
    ids = town.stores.jobs.of_pool("default", limit=1000)[0]
    return sorted((j for j in town.stores.jobs.get_many(ids).values() if j.schedule == name), key=lambda j: j.id)


def fired(town: Town) -> list[Fired]:
    return town.stores.schedules.fired("nightly")[::-1]


def test_a_schedule_submits_its_job_at_each_of_its_times() -> None:
    """To the second, with a job for each."""
    town = Town()
    schedules.put(town.plane, said())
    town.run(3601)
    assert len(jobs_of(town)) == 12
    assert all(0 <= job.submitted_at - job.submitted_at // 300 * 300 < 1 for job in jobs_of(town))
    assert [f.job for f in fired(town)] == [j.id for j in jobs_of(town)]
    assert all(j.state is JobState.SUCCEEDED for j in jobs_of(town)[:-1])


@pytest.mark.parametrize(
    ("nights", "fires_at"),
    [
        (
            ["2027-03-27T01:50+01:00", "2027-03-28T01:50+01:00", "2027-03-29T01:50+02:00"],
            ["27T02:30:00+01:00", "28T03:00:00+02:00", "29T02:30:00+02:00"],
        ),
        (
            ["2027-10-30T01:50+02:00", "2027-10-31T01:50+02:00", "2027-11-01T01:50+01:00"],
            ["30T02:30:00+02:00", "31T02:30:00+02:00", "01T02:30:00+01:00"],
        ),
    ],
    ids=["spring", "autumn"],
)
def test_nights_in_which_clocks_are_changed_have_one_fire_each(nights: list[str], fires_at: list[str]) -> None:
    """The world's clock is moved over the ends of daylight saving, from ten to two on, in each night."""
    town = Town()
    for night in nights:
        town.now = datetime.fromisoformat(night).timestamp()
        town._next_tick = town.now + 60
        if night == nights[0]:
            schedules.put(town.plane, said("30 2 * * *", zone="Europe/Berlin"))
        town.run(9000)
    assert [local(f.at, ZoneInfo("Europe/Berlin"))[8:] for f in fired(town)] == fires_at
    assert [round(job.submitted_at - f.at) for job, f in zip(jobs_of(town), fired(town), strict=True)] == [0, 0, 0]


def test_two_ticks_at_a_time_fire_once() -> None:
    town = Town()
    schedules.put(town.plane, said())
    for _ in range(20):
        town.run(60)
        tick.run(town.plane)
        tick.run(town.plane)
    assert len(jobs_of(town)) == 4


def test_a_fire_that_is_told_twice_at_once_is_done_once() -> None:
    """The second one reads the first one's decision, whatever it would have decided itself."""
    town = Town()
    at = schedules.put(town.plane, said()).next_at
    assert at is not None
    town.now = at + 1
    before = town.stores.schedules.get("nightly")
    assert before is not None
    fires.fire(town.plane, "nightly", at)
    town.stores.schedules.advance("nightly", before.next_at or 0, at, None)
    rewound = town.stores.schedules.get("nightly")
    assert rewound is not None
    town.stores.schedules.advance("nightly", rewound.next_at or 0, at, None)  # as the other one has read it
    fires.fire(town.plane, "nightly", at)
    assert len(jobs_of(town)) == 1


@pytest.mark.parametrize("calls", range(1, 40))
def test_a_crash_at_any_call_neither_loses_a_fire_nor_repeats_it(calls: int) -> None:
    """What a crash leaves, the next timer of the tick finds."""
    town = Town()
    schedules.put(town.plane, said("0 * * * *"))
    fuse = fragile(town)
    at = town.stores.schedules.get("nightly").next_at  # type: ignore[union-attr]
    assert at is not None
    town.now = at + 1
    fuse.burn_at = {fuse.calls + calls}
    town.invoke(fires.fire, "nightly", at)
    fuse.heal()
    town.run(180)
    assert len(jobs_of(town)) == 1
    after = town.stores.schedules.get("nightly")
    assert after is not None
    assert after.next_at == at + 3600
    assert [i.name for i in town.stores.agenda.due(at + 3600, 10)] == ["nightly"]
    town.run_until_quiet()
    assert jobs_of(town)[0].state is JobState.SUCCEEDED


@pytest.mark.parametrize("calls", range(1, 40))
def test_a_fire_that_is_done_in_the_middle_of_itself_is_done_once(calls: int) -> None:
    """Two timers at the same moment: the second one begins and ends between any two calls of the first."""
    town = Town()
    schedules.put(town.plane, said("0 * * * *", overlap="skip"))
    fuse = fragile(town)
    at = schedules.known(town.plane, "nightly").next_at
    assert at is not None
    town.now = at + 1
    fuse.order(calls, lambda _: fires.fire_all(town.plane, ["nightly"], at))
    fires.fire_all(town.plane, ["nightly"], at)
    assert len(jobs_of(town)) == len(fired(town)) == 1
    assert fired(town)[0].outcome == Outcome.SUBMIT
    town.run(10)
    assert [i.at for i in town.stores.agenda.due(at + 3600, 10)] == [at + 3600]


def test_an_owner_has_at_most_a_hundred_schedules() -> None:
    town = Town()
    for number in range(100):
        schedules.put(town.plane, said(name=f"s{number}"))
    with pytest.raises(Conflict, match="alice has 100"):
        schedules.put(town.plane, said(name="one-more"))
    schedules.put(town.plane, said(name="bobs", owner="bob"))
    schedules.put(town.plane, said(name="s7"))
    town.run(301)
    assert sum(len(jobs_of(town, f"s{number}")) for number in range(100)) == 100


def test_what_was_decided_is_done_though_the_schedule_was_paused_meanwhile() -> None:
    """A crash between the decision and the job: whoever reads that it was submitted finds it."""
    town = Town()
    at = schedules.put(town.plane, said()).next_at
    assert at is not None
    town.now = at
    row = schedules.known(town.plane, "nightly")
    decided = Fired(
        schedule="nightly", at=at, outcome="submit", reason="due", decided_at=at, job=schedule_core.job_of(row, at)
    )
    town.stores.schedules.decide(decided, at + 1000)
    schedules.pause(town.plane, "nightly", by="bob")
    town.run(70)
    assert [job.id for job in jobs_of(town)] == [decided.job]
    assert not town.stores.agenda.due(town.now + 1e6, 10)


def test_a_timer_that_comes_again_changes_nothing_of_what_was_done() -> None:
    """Not even when the job would be refused by now."""
    town = Town()
    at = schedules.put(town.plane, said()).next_at
    assert at is not None
    town.run(at - town.now + 1)
    before, job = fired(town), jobs_of(town)
    row = schedules.known(town.plane, "nightly")
    town.stores.schedules.put(replace(row, job={**JOB, "pool": "gone"}), version=row.version)
    assert fires.fire(town.plane, "nightly", at) is None
    assert (fired(town), [j.id for j in jobs_of(town)]) == (before, [j.id for j in job])


def test_a_timer_that_comes_too_early_by_this_clock_comes_again() -> None:
    """Clocks differ by parts of a second: that must not cost a minute."""
    town = Town()
    at = schedules.put(town.plane, said()).next_at
    assert at is not None
    town.now = at - 0.2
    town._next_tick = town.now + 60
    assert fires.fire(town.plane, "nightly", at) is None
    town.run(2)
    assert len(jobs_of(town)) == 1


@pytest.mark.parametrize(("misfire", "jobs"), [("skip", 0), ("once", 1)])
def test_what_was_missed_is_skipped_or_done_once(misfire: str, jobs: int) -> None:
    """Nobody looked for an hour: twelve fires are due. The reason says how many."""
    town = Town()
    at = schedules.put(town.plane, said(misfire=misfire)).next_at
    assert at is not None
    town.now = at + 3500
    fires.fire(town.plane, "nightly", at)
    assert len(jobs_of(town)) == jobs
    (only,) = fired(town)
    assert "missed" in only.reason
    assert "11 more" in only.reason
    schedule = town.stores.schedules.get("nightly")
    assert schedule is not None
    assert schedule.next_at is not None
    assert schedule.next_at > town.now - 120


@pytest.mark.parametrize(
    ("overlap", "jobs", "reason"),
    [
        ("allow", 2, "due"),
        ("skip", 1, "one runs at a time"),
        ("queue", 2, "waits for the end"),
        ("replace", 2, "replaces"),
    ],
)
def test_a_fire_while_the_last_job_runs(overlap: str, jobs: int, reason: str) -> None:
    town = Town()
    schedules.put(town.plane, said("* * * * *", overlap=overlap, job={"command": "run 100", "timeout_s": 600}))
    town.run(121)
    assert len(jobs_of(town)) == jobs
    assert reason in fired(town)[-1].reason
    town.run(120)
    first, second = jobs_of(town)[0], jobs_of(town)[1] if jobs > 1 else None
    if overlap == "replace":
        assert first.state is JobState.CANCELLED
    if overlap == "queue":
        assert second is not None
        assert second.entered["running"] >= first.entered["succeeded"]
        assert "one waits at a time" in fired(town)[2].reason


@pytest.mark.parametrize("adverse", ["skip", "submit"])
def test_a_pool_that_is_killed_is_no_place_for_a_job(adverse: str) -> None:
    """The reason is written down; who wants the job to wait there says so."""
    town = Town()
    schedules.put(town.plane, said(adverse=adverse))
    pool = town.stores.registry.pool("default")
    assert pool is not None
    town.stores.registry.put_pool("default", replace(pool.spec, killed=True), version=pool.version)
    town.run(301)
    assert len(jobs_of(town)) == (adverse == "submit")
    assert fired(town)[0].outcome == ("submit" if adverse == "submit" else "skip")
    assert (adverse == "submit") or "pool default is killed" in fired(town)[0].reason


def test_what_would_be_refused_is_skipped_with_the_refusal() -> None:
    town = Town()
    schedules.put(town.plane, said())
    row = town.stores.schedules.get("nightly")
    assert row is not None
    town.stores.schedules.put(replace(row, job={**JOB, "pool": "gone"}), version=row.version)
    town.run(301)
    assert fired(town)[0].outcome == Outcome.SKIP
    assert "there is no pool named 'gone'" in fired(town)[0].reason


def test_an_owner_that_is_over_its_quota_is_skipped_with_the_sentence() -> None:
    """It would be refused, and the reason is kept."""
    town = Town()
    schedules.put(town.plane, said())
    row = town.stores.schedules.get("nightly")
    assert row is not None
    quotas.put(town.plane, row.owner, Quota(jobs_max=0), by="root")
    town.run(301)
    assert not jobs_of(town)
    assert fired(town)[0].outcome == Outcome.SKIP
    assert f"{row.owner} may have 0 jobs that have not ended" in fired(town)[0].reason


def test_a_paused_schedule_does_not_fire_and_makes_up_for_nothing() -> None:
    town = Town()
    schedules.put(town.plane, said())
    assert schedules.pause(town.plane, "nightly", by="bob").next_at is None
    town.run(1000)
    assert not jobs_of(town)
    resumed = schedules.resume(town.plane, "nightly", by="bob")
    assert resumed.next_at is not None
    assert resumed.next_at > town.now
    town.run(301)
    assert len(jobs_of(town)) == 1


def test_running_one_now_changes_nothing_of_what_is_to_come() -> None:
    town = Town()
    made = schedules.put(town.plane, said())
    job = schedules.run_now(town.plane, made, by="bob")
    assert job.schedule == "nightly"
    after = schedules.known(town.plane, "nightly")
    assert (after.next_at, after.last_job) == (made.next_at, job.id)
    assert fired(town)[0].by == "bob"
    town.run(301)
    assert len(jobs_of(town)) == 2


def test_a_deleted_schedule_is_silent() -> None:
    town = Town()
    schedules.put(town.plane, said())
    schedules.delete(town.plane, "nightly")
    town.run(700)
    assert not jobs_of(town)
    with pytest.raises(NotFound):
        schedules.known(town.plane, "nightly")


def test_a_schedule_that_was_changed_goes_on_by_its_new_times() -> None:
    """The agenda's old row is found to be nothing."""
    town = Town()
    schedules.put(town.plane, said("*/5 * * * *"))
    schedules.put(town.plane, said("*/20 * * * *"))
    town.run(3601)
    assert len(jobs_of(town)) == 3


def test_versions_and_owners_guard_a_schedule() -> None:
    town = Town()
    schedules.put(town.plane, said())
    with pytest.raises(PreconditionFailed):
        schedules.put(town.plane, said(), version=7)
    with pytest.raises(Conflict):
        schedules.put(town.plane, said(owner="mallory"))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"timing": "61 * * * *"}, "timing"),
        ({"timing": "at(2001-01-01T00:00:00)", "zone": "UTC"}, "timing"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"zone": "/etc/passwd"}, "zone"),
        ({"job": {"command": "true", "timeout_s": 60, "pool": "nowhere"}}, "job.pool"),
        ({"job": {"command": "true", "timeout_s": 60, "family": "nobody"}}, "job.family"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_could_never_fire_is_refused_at_once(more: dict[str, Any], field: str) -> None:
    town = Town()
    town.now = 1_790_000_000.0
    with pytest.raises(BadRequest) as refused:
        schedules.put(town.plane, said(**{"timing": "*/5 * * * *", **more}))
    assert refused.value.faults[0].field == field


def test_a_schedule_that_is_in_no_agenda_is_mended() -> None:
    """Its writer died between the row and the note: a quarter of an hour is what that costs at most."""
    town = Town()
    fuse = fragile(town)
    fuse.order(1, lambda error: None)
    schedules.put(town.plane, said())
    town.stores.agenda.remove(town.stores.agenda.due(town.now + 1e6, 10))
    town.cloud.queues.timers.messages.clear()
    town.run(1900)
    assert len(jobs_of(town)) >= 3
    assert Crash is not None


def test_a_pool_whose_hosts_do_not_come_up_gets_no_more_work_by_the_clock() -> None:
    """Protected mode, with its reason."""
    town = Town()
    schedules.put(town.plane, said())
    pool = town.stores.registry.begin_pass("default")
    assert pool is not None
    supply = replace(pool.supply, protected_at=town.now)
    assert town.stores.registry.note_pass("default", pool.pass_no, supply=supply)
    at = schedules.known(town.plane, "nightly").next_at
    assert at is not None
    town.now = at
    fires.fire(town.plane, "nightly", at)
    assert not jobs_of(town)
    assert "protected mode" in fired(town)[0].reason


def test_a_schedule_submits_what_its_family_says_at_that_time() -> None:
    """The newest version when it fires, unless it names one."""
    town = Town()
    for name, pinned in (("follows", {}), ("stays", {"family_version": 1})):
        families.put(town.plane, Family(name="nightly-job", version=0, defaults=JOB))
        schedules.put(town.plane, said(name=name, job={"family": "nightly-job", **pinned}))
    families.put(town.plane, Family(name="nightly-job", version=0, defaults={**JOB, "timeout_s": 77}))
    town.run(301)
    assert [jobs_of(town, name)[0].spec.timeout_s for name in ("follows", "stays")] == [77, 60]
    assert [jobs_of(town, name)[0].spec.family_version for name in ("follows", "stays")] == [2, 1]


def test_who_takes_the_name_of_a_schedule_that_was_somebody_elses_sees_nothing_of_it() -> None:
    """Its fires are kept for 90 days, and tell of its jobs."""
    town = Town()
    schedules.put(town.plane, said())
    town.run(301)
    assert len(schedules.fired(town.plane, schedules.known(town.plane, "nightly"), 20)) == 1
    schedules.delete(town.plane, "nightly")
    town.now += 1
    his = schedules.put(town.plane, said(owner="bob"))
    assert schedules.fired(town.plane, his, 20) == []
    town.run(301)
    assert len(schedules.fired(town.plane, schedules.known(town.plane, "nightly"), 20)) == 1


def test_what_an_earlier_schedule_of_its_name_left_half_done_is_none_of_its_jobs() -> None:
    """A crash between the decision and the job; then the schedule is deleted, and another owner takes its name."""
    town = Town()
    at = schedules.put(town.plane, said()).next_at
    assert at is not None
    town.now = at
    town.stores.schedules.decide(fires._decided(town.plane, schedules.known(town.plane, "nightly"), at), at + 1000)
    schedules.delete(town.plane, "nightly")
    town.now += 1
    schedules.put(town.plane, said(owner="bob"))
    fires.fire(town.plane, "nightly", at)
    assert jobs_of(town) == []


def test_the_version_of_a_schedule_is_told_to_its_owner_only() -> None:
    town = Town()
    schedules.put(town.plane, said())
    with pytest.raises(Conflict, match="of another owner"):
        schedules.put(town.plane, said(owner="bob"), version=7)


@pytest.mark.parametrize("timing", ["at(0001-01-01T00:00:00)", "at(9999-12-31T23:59:59)"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_a_time_that_some_zones_have_not_is_refused(timing: str, zone: str) -> None:
    """In UTC it would lie before the first year, or after the last: that was an error of ours."""
    with pytest.raises(BadRequest, match="outside of the years"):
        schedules.put(Town().plane, said(timing, zone=zone))
