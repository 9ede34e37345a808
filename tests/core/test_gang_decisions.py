"""Jobs on several hosts, decided: where they go, when they begin, what ends them (core/gathering.py, core/gang.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, OFFERING, a_gang, a_host, a_member, a_pool, a_snapshot, an_assignment, an_entry

from chalicelib.core import gang
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.job import End, Finish, Job, JobEvent, JobState, Log
from chalicelib.core.plan import Assign, Gather, Go, Halt, Reclaim, Ring, Start
from chalicelib.core.pool import Supply
from chalicelib.core.reconcile import AGED_S, reconcile
from chalicelib.core.snapshot import Snapshot

WEST = Offering(region="us-west-2", instance_type="c7i.large")
LARGE = Offering(region="us-east-1", instance_type="c7i.xlarge")
WORKING = {"assignments": (an_assignment("job-1", cpu=2.0, slots=2),)}


def the(kind: type[Any], s: Snapshot) -> list[Any]:
    return [action for action in reconcile(s).actions if isinstance(action, kind)]


def waits_for(s: Snapshot, job: str = "job-9") -> str:
    return next(sentence for entry, sentence in reconcile(s).waits if entry.job == job)


def hosts(count: int, **facts: Any) -> tuple[Host, ...]:
    return tuple(a_host(f"host-{n}", **facts) for n in range(count))


# -- where they go


def test_rooms_that_are_there_come_before_new_hosts():
    """All on what is there, if it suffices; else only what is missing is launched."""
    (all_there,) = the(Gather, a_snapshot(hosts=hosts(3), backlog=(an_entry(hosts=3),)))
    assert (set(all_there.hosts), all_there.missing, all_there.offering) == ({"host-0", "host-1", "host-2"}, 0, None)
    (mixed,) = the(Gather, a_snapshot(hosts=hosts(2), backlog=(an_entry(hosts=5),), pool=a_pool(hosts_max=5)))
    assert (set(mixed.hosts), mixed.missing, mixed.offering) == ({"host-0", "host-1"}, 3, OFFERING)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (a_pool(hosts_max=3), "of 3 that the pool may have 1 are left"),
        (a_pool(hosts_max=9, budget_usd_h=0.3), "the budget of 0.3 USD an hour does not pay for 2 more"),
        (a_pool(hosts_max=9, scaling_enabled=False), "scaling of this pool is switched off"),
        (a_pool(hosts_max=9, killed=True), "killed"),
        (a_pool(hosts_max=9, capacity="asg"), "Auto Scaling groups"),
        (
            replace(a_pool(hosts_max=9), supply=Supply(skips={OFFERING.key: NOW + 60})),
            "no c7i.large on-demand in us-east-1",
        ),
        (replace(a_pool(hosts_max=9), supply=Supply(protected_at=NOW - 9)), "protected mode"),
    ],
    ids=["hosts_max", "budget", "switched off", "killed", "groups", "refused", "protected"],
)
def test_none_is_placed_while_not_all_can_be(pool: Any, said: str):
    """No limit is passed for part of a gang, and the sentence says which one it was."""
    s = a_snapshot(hosts=hosts(2), backlog=(an_entry(hosts=4),), pool=pool)
    assert not the(Gather, s)
    assert not the(Start, s)
    assert said in waits_for(s)


def test_a_gang_stays_in_one_region():
    """Peers reach each other by private addresses: two rooms here and two there are no four."""
    pool = a_pool(offerings=(OFFERING, WEST), hosts_max=6)
    there = (*hosts(2), *(a_host(f"west-{n}", offering=WEST) for n in range(2)))
    (mixed,) = the(Gather, a_snapshot(hosts=there, backlog=(an_entry(hosts=4),), pool=pool))
    assert mixed.missing == 2
    assert mixed.offering is not None
    regions = {host.offering.region for host in there if host.id in mixed.hosts} | {mixed.offering.region}
    assert len(regions) == 1


def test_a_gang_takes_its_turn_by_rank():
    """Before it, singles take what they need; behind it, they take what it leaves."""
    before, behind = an_entry("job-1", rank="01#a", cpu=2.0), an_entry("job-3", rank="09#c", cpu=2.0)
    pair = an_entry("job-2", rank="05#b", hosts=2, cpu=2.0)
    s = a_snapshot(hosts=hosts(3), backlog=(before, pair, behind), pool=a_pool(hosts_max=3))
    assert [a.entry.job for a in the(Assign, s)] == ["job-1"]
    assert [a.entry.job for a in the(Gather, s)] == ["job-2"]
    s = replace(s, hosts=hosts(2))
    assert [a.entry.job for a in the(Assign, replace(s, pool=a_pool(hosts_max=2)))] == ["job-1", "job-3"]


def test_a_gang_leaves_those_before_it_what_they_may_need_of_the_maximum():
    """Until it has waited for too long itself."""
    before = tuple(an_entry(f"job-{n}", rank=f"01#{n}", cpu=2.0, timeout_s=9) for n in range(3))
    pair = an_entry("job-9", rank="05#b", hosts=2)
    s = a_snapshot(backlog=(*before, pair), pool=a_pool(hosts_max=4))
    assert not the(Gather, s)
    assert "for those before it" in waits_for(s)
    old = replace(pair, queued_at=NOW - AGED_S - 1)
    assert [a.missing for a in the(Gather, replace(s, backlog=(*before, old)))] == [2]


def test_rooms_are_kept_for_a_gang_that_has_waited_for_too_long():
    """What falls free is not given to small jobs behind it, again and again."""
    busy, free = a_host("host-0", **WORKING), a_host("host-1")
    small = an_entry("job-s", rank="09#s", cpu=0.1)
    s = a_snapshot(hosts=(busy, free), backlog=(an_entry(hosts=2, rank="05#g"), small), pool=a_pool(hosts_max=2))
    assert [a.entry.job for a in the(Assign, s)] == ["job-s"]
    old = an_entry(hosts=2, rank="05#g", queued_at=NOW - AGED_S - 1)
    assert not the(Assign, replace(s, backlog=(old, small)))
    theirs = replace(s, hosts=(replace(busy, domain="bob"), free), backlog=(old, small))
    assert the(Assign, theirs), "nothing is kept of another owner's hosts"
    never = an_entry(hosts=3, rank="05#g", queued_at=NOW - AGED_S - 1)
    assert the(Assign, replace(s, backlog=(never, small))), "nothing is kept for what could not be had even so"


def test_what_a_crash_left_of_a_placement_is_taken_away_before_the_next_one():
    """The row does not speak of it: the hosts let go of it once nobody can be at it any more, and nothing is placed twice."""
    s = a_snapshot(
        hosts=(a_host("host-0", assignments=(a_member(0, "job-9", assigned_at=NOW - 34),)), *hosts(3)[1:]),
        backlog=(an_entry(hosts=2),),
        gangs={"job-9": a_gang("job-9", state=JobState.PENDING)},
    )
    assert not the(Gather, s)
    assert not the(Reclaim, s)
    assert [a.host.id for a in the(Reclaim, replace(s, now=NOW + 2))] == ["host-0"]
    plan = reconcile(s)
    assert plan.wake_at is not None
    assert plan.wake_at <= NOW + 2


# -- when they begin


def gathering(first: dict[str, Any] | None = None, second: dict[str, Any] | None = None, **row: Any) -> Snapshot:
    """Two members; `first`, `second`: facts of their hosts, and under `a` of their assignments."""
    carriers = []
    for rank, facts in enumerate((first or {}, second or {})):
        facts = dict(facts)
        member = a_member(rank, **facts.pop("a", {}))
        carriers.append(a_host(f"host-{rank + 1}", assignments=(member,), **facts))
    return a_snapshot(hosts=tuple(carriers), gangs={"job-g": a_gang(**row)})


READY: dict[str, Any] = {"a": {"ready_at": NOW - 1, "address": "10.0.0.1"}}


def test_all_are_told_to_begin_when_all_are_ready():
    """With the addresses by rank; not while one of them is missing."""
    (go,) = the(Go, gathering(READY, {"a": {"ready_at": NOW, "address": "10.0.0.2"}}))
    assert (go.job, [host.id for host in go.hosts]) == ("job-g", ["host-1", "host-2"])
    assert go.addresses == ("10.0.0.1", "10.0.0.2")
    assert not the(Go, gathering(READY, {}))
    assert not the(Go, replace(gathering(READY, READY), hosts=gathering(READY, READY).hosts[:1]))


@pytest.mark.parametrize(
    ("s", "said"),
    [
        (gathering(READY, {**READY, "state": HostState.UNHEALTHY, "reason": "silent"}), "host-2 is unhealthy: silent"),
        (gathering(READY, {**READY, "state": HostState.TERMINATING}), "host-2 is being terminated"),
        (gathering(READY, {**READY, "interrupt_at": NOW + 90}), "EC2 takes host-2 back"),
        (gathering(READY, READY, cancel_requested=True), "it is cancelled"),
        (
            gathering(READY, {"ready_at": NOW - gang.READY_MAX_S - 1, "a": {"assigned_at": 0.0}}),
            "host-2 was not ready within 20 min",
        ),
    ],
    ids=["unhealthy", "terminating", "interrupted", "cancelled", "late"],
)
def test_what_goes_wrong_before_the_go_takes_all_of_them_back(s: Snapshot, said: str):
    """Whose fault it is comes first: its end is the cause."""
    if "not ready" in said:
        s = replace(s, hosts=(replace(s.hosts[0], ready_at=NOW - gang.READY_MAX_S - 1), s.hosts[1]))
        s = replace(
            s, hosts=tuple(replace(h, assignments=(replace(h.assignments[0], assigned_at=0.0),)) for h in s.hosts)
        )
    reclaims = the(Reclaim, s)
    assert not the(Go, s)
    assert {a.host.id for a in reclaims} == {"host-1", "host-2"}
    assert all(said in a.reason for a in reclaims)
    assert "cancelled" in said or reclaims[0].host.id == "host-2"


def test_a_host_that_boots_is_not_late():
    """It has a deadline of its own; the others wait for it."""
    booting = {"state": HostState.LAUNCHING, "ready_at": None, "a": {"assigned_at": 0.0}}
    assert not the(Reclaim, gathering({**READY, "ready_at": NOW - 9999}, booting))


def test_who_was_told_to_begin_and_does_not_say_so_is_rung_again():
    """After ten seconds; who runs is not."""
    running = {"state": JobState.RUNNING, "peers": ("10.0.0.1", "10.0.0.2"), "entered": {"running": NOW - 11}}
    s = gathering(READY, {"a": {"ready_at": NOW - 20, "started_at": NOW - 10}}, **running)
    assert [a.hosts for a in the(Ring, s)] == [("host-1",)]
    young = gathering(READY, READY, **{**running, "entered": {"running": NOW - 9}})
    assert not the(Ring, young)
    assert reconcile(young).wake_at is not None


# -- what ends them

RUNNING: dict[str, Any] = {"state": JobState.RUNNING, "peers": ("10.0.0.1", "10.0.0.2")}
STARTED: dict[str, Any] = {"a": {"ready_at": NOW - 9, "started_at": NOW - 8}}


def test_one_ends_badly_and_the_others_are_told_to_end():
    """Once; and nothing is taken back from them, for they run."""
    bad = End(event=JobEvent.FAIL, reason="exit 1", at=NOW)
    s = gathering(STARTED, STARTED, **RUNNING, ends={0: bad}, cause=0)
    s = replace(s, hosts=s.hosts[1:])
    assert [a.host.id for a in the(Halt, s)] == ["host-2"]
    assert not the(Reclaim, s)
    flagged = replace(s.hosts[0], assignments=(replace(s.hosts[0].assignments[0], cancel=True),))
    assert not the(Halt, replace(s, hosts=(flagged,)))
    good = End(event=JobEvent.SUCCEED, reason="exit 0", at=NOW)
    assert not the(Halt, replace(s, gangs={"job-g": a_gang(**RUNNING, ends={0: good})}))


def a_finish(**facts: Any) -> Finish:
    return Finish(**{"outcome": "succeeded", "reason": "exit 0", "finished_at": NOW, "started_at": NOW - 9, **facts})


def noted(*ends: tuple[int, JobEvent, Finish | None]) -> Job:
    """A gang of three with these ends, in this order."""
    job = a_gang(members=("a", "b", "c"), **RUNNING)
    for rank, event, finish in ends:
        ruling = gang.Verdict(event, f"end of {rank}", charge=True)
        end = gang.end_of(job, rank, ruling, NOW, f"role:{rank}", finish)
        cause = rank if job.cause is None and event is not JobEvent.SUCCEED else job.cause
        job = replace(job, ends={**job.ends, rank: end}, cause=cause)
    return job


def test_it_succeeds_when_all_do_and_rank_0_speaks_for_it():
    """Processor time is added up, the largest memory counts, and it took from the first beginning to the last end."""
    finishes = [a_finish(cpu_s=n + 1.0, memory_peak_mib=9.0 * n, result=n, finished_at=NOW + n) for n in range(3)]
    job = noted(*((n, JobEvent.SUCCEED, finishes[n]) for n in (2, 0, 1)))
    assert gang.complete(job)
    ruling, end = gang.whole(job)
    assert (ruling.event, ruling.charge, end.userid) == (JobEvent.SUCCEED, True, "role:0")
    assert end.finish is not None
    assert (end.finish.result, end.finish.cpu_s, end.finish.memory_peak_mib) == (0, 6.0, 18.0)
    assert end.finish.finished_at == NOW + 2


def test_the_first_bad_end_is_the_jobs():
    """Whatever the others say afterwards, and whatever rank 0 did."""
    failed = a_finish(outcome="failed", reason="exit 3", exit_code=3, result={"a": 1})
    job = noted((0, JobEvent.SUCCEED, a_finish()), (2, JobEvent.FAIL, failed), (1, JobEvent.CANCEL, a_finish()))
    ruling, end = gang.whole(job)
    assert (ruling.event, end.userid) == (JobEvent.FAIL, "role:2")
    assert ruling.reason == "rank 2 of 3, on c: end of 2"
    assert end.finish is not None
    assert (end.finish.exit_code, end.finish.result) == (3, {"a": 1})


def test_a_row_keeps_results_of_rank_0_and_of_the_cause_only():
    """A hundred members' results and logs would not fit into a row."""
    much = a_finish(result="x" * 9999, log=Log(bytes=5000, text="y" * 5000))
    failed = replace(much, outcome="failed")
    job = noted((1, JobEvent.FAIL, failed), (2, JobEvent.FAIL, failed), (0, JobEvent.CANCEL, much))
    kept = {rank: end.finish for rank, end in job.ends.items()}
    assert kept[1] == failed
    assert kept[0] == much
    assert kept[2] is not None
    assert (kept[2].result, kept[2].log) == (None, Log(bytes=5000))


def test_before_the_go_only_a_fault_of_its_own_ends_it():
    """An input that is bad fails it; all else gives the attempt back, though it allows only one."""
    waits, runs = a_gang(), a_gang(**RUNNING)
    lost, bad = a_finish(outcome="infrastructure", reason="stopped"), a_finish(outcome="failed", reason="no such input")
    assert gang.member_verdict(waits, lost, interrupted=False).event is JobEvent.RELEASE
    assert gang.member_verdict(waits, bad, interrupted=False).event is JobEvent.FAIL
    assert gang.member_verdict(runs, lost, interrupted=False).event is JobEvent.LOSE
