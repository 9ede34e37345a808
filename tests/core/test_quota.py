"""Quotas: what an owner may have waiting, at work and spent - the others never notice."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from builders import NOW, a_host, a_snapshot, an_assignment, an_entry
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import quota
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity
from chalicelib.core.host import Host
from chalicelib.core.quota import OwnerQuota, Quota
from chalicelib.core.reconcile import reconcile

OWNERS = ("alice", "bob", "cs101")
cores = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 4.0])
owners = st.sampled_from(OWNERS)


@st.composite
def backlogs(draw: st.DrawFn) -> list[Entry]:
    made = draw(st.lists(st.tuples(owners, cores), max_size=12))
    return [
        an_entry(f"job-{n:02d}", rank=f"05#{n:02d}", owner=owner, cpu=cpu) for n, (owner, cpu) in enumerate(made, 20)
    ]


@st.composite
def fleets(draw: st.DrawFn) -> list[Host]:
    made = draw(st.lists(st.tuples(st.integers(0, 2), owners, cores, st.booleans()), max_size=8))
    carried: defaultdict[int, list[object]] = defaultdict(list)
    for n, (on, owner, cpu, runs) in enumerate(made):
        started = NOW - 3600 if runs else None
        carried[on].append(an_assignment(f"job-{n:02d}", owner=owner, cpu=cpu, started_at=started))
    return [a_host(f"host-{on}", assignments=tuple(carried[on])) for on in range(3)]


limits = st.dictionaries(
    owners,
    st.builds(
        Quota,
        cpu_max=st.none() | st.sampled_from([0.0, 0.5, 1.0, 2.5, 8.0]),
        usd_per_day=st.none() | st.sampled_from([0.0, 0.05, 1.0]),
    ),
)
money = st.dictionaries(owners, st.floats(0, 2))


COSTS = quota.Costs(
    takes_s=lambda family, timeout_s: 1800.0, usd_h=lambda host: 0.09, usual=(Capacity(2.0, 3712, 2), 0.09)
)


def at_work(hosts: list[Host]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for host in hosts:
        for a in host.assignments:
            total[a.owner] += a.cpu
    return total


@given(backlogs(), fleets(), limits, money)
def test_what_may_begin_never_exceeds_the_cores_of_its_owner(
    backlog: list[Entry], hosts: list[Host], quotas: dict[str, Quota], spent: dict[str, float]
) -> None:
    """With all that its hosts carry, except where they carry more already: nothing is taken back for a quota."""
    waits = quota.over(NOW, backlog, hosts, quotas, spent, COSTS)
    free, held = quota.parted(backlog, waits)
    assert sorted([*free, *(entry for entry, _ in held)], key=lambda e: e.rank) == backlog
    before = at_work(hosts)
    for owner in OWNERS:
        begins = sum(entry.cpu for entry in free if entry.owner == owner)
        limit = quotas.get(owner, Quota()).cpu_max
        assert limit is None or not begins or before.get(owner, 0.0) + begins <= limit + 1e-9
    assert not [entry for entry, _ in held if entry.owner not in quotas]


@given(backlogs(), fleets(), limits, money)
def test_an_owners_jobs_take_turns_in_order_of_rank(
    backlog: list[Entry], hosts: list[Host], quotas: dict[str, Quota], spent: dict[str, float]
) -> None:
    """Of those that could ever begin, the first ones may: a wide job is not overtaken for ever by small ones of its own owner."""
    waits = quota.over(NOW, backlog, hosts, quotas, spent, COSTS)
    for owner, limit in quotas.items():
        fits = [e for e in backlog if e.owner == owner and (limit.cpu_max is None or e.cpu <= limit.cpu_max)]
        begins = [entry.rank not in waits for entry in fits]
        assert begins == sorted(begins, reverse=True)


@given(backlogs(), fleets(), limits, money)
def test_an_owners_quota_is_nobody_elses(
    backlog: list[Entry], hosts: list[Host], quotas: dict[str, Quota], spent: dict[str, float]
) -> None:
    """Whether a job may begin depends on its own owner's jobs only."""
    waits = quota.over(NOW, backlog, hosts, quotas, spent, COSTS)
    for owner in OWNERS:
        own = [entry for entry in backlog if entry.owner == owner]
        alone = quota.over(NOW, own, hosts, {o: q for o, q in quotas.items() if o == owner}, spent, COSTS)
        assert alone == {e.rank: waits[e.rank] for e in own if e.rank in waits}


def test_what_a_host_carries_already_is_not_held_again() -> None:
    """A crash between the host's row and the job's: the rest is written, whatever the quota has become."""
    host = a_host(assignments=(an_assignment("job-1", owner="alice", cpu=2.0, started_at=None),))
    backlog = [an_entry("job-1", cpu=2.0), an_entry("job-2", cpu=2.0)]
    waits = quota.over(NOW, backlog, [host], {"alice": Quota(cpu_max=2.0)}, {}, COSTS)
    assert list(waits) == ["05#job-2"]
    assert waits["05#job-2"] == "alice may have 2 cores of this pool at work, and they are taken"


def test_money_is_what_ended_today_and_what_is_at_work() -> None:
    """Half a host of 0.09 USD an hour, for two hours, and 0.02 from before; what began yesterday costs today from midnight on."""
    noon = 1_000_000 // 86_400 * 86_400 + 43_200.0
    running = an_assignment("job-1", owner="alice", cpu=1.0, memory_mib=64, started_at=noon - 7200)
    host, entry = a_host(assignments=(running,)), an_entry("job-2")

    def waits(usd_per_day: float, at: float = noon, **facts: float | None) -> bool:
        on = replace(host, assignments=(replace(running, **facts),))  # type: ignore[arg-type]
        limit = {"alice": Quota(usd_per_day=usd_per_day)}
        return bool(quota.over(at, [entry], [on], limit, {"alice": 0.02}, COSTS))

    assert waits(0.10999)
    assert not waits(0.11001)
    for begins in (None, noon - 600):  # believed to take half an hour
        assert waits(0.04249, started_at=begins)
        assert not waits(0.04251, started_at=begins)
    overnight = {"at": noon - 43_200 + 3600, "started_at": noon - 86_400}
    assert waits(0.06499, **overnight)
    assert not waits(0.06501, **overnight)


def test_a_days_money_is_not_begun_all_at_once() -> None:
    """Each that begins is believed to cost 0.0225 USD: of a hundred, so many begin that the limit is passed by one at most."""
    backlog = [an_entry(f"job-{n:03d}") for n in range(100)]
    waits = quota.over(NOW, backlog, [], {"alice": Quota(usd_per_day=0.1)}, {}, COSTS)
    assert [entry.job for entry in backlog if entry.rank not in waits] == [f"job-{n:03d}" for n in range(5)]


@pytest.mark.parametrize(
    ("limits", "jobs", "usd", "more", "refused"),
    [
        (Quota(), 10**6, 1e6, 500, None),
        (Quota(jobs_max=10), 9, 0.0, 1, None),
        (Quota(jobs_max=10), 9, 0.0, 2, "cs101 may have 10 jobs that have not ended, and has 9: 2 more"),
        (Quota(jobs_max=1), 1, 0.0, 1, "cs101 may have 1 job that has not ended, and has 1: 1 more"),
        (Quota(jobs_max=0), 0, 0.0, 1, "cs101 may have 0 jobs"),
        (Quota(usd_per_day=5), 0, 4.99, 500, None),
        (Quota(usd_per_day=5), 0, 5.0, 1, "cs101 has spent 5.00 of the 5.00 USD"),
    ],
    ids=["none", "last", "batch", "one", "nothing", "rich", "poor"],
)
def test_a_refusal_says_what_is_used_and_what_to_do(
    limits: Quota, jobs: int, usd: float, more: int, refused: str | None
) -> None:
    sentence = quota.refusal("cs101", limits, jobs=jobs, usd=usd, more=more)
    assert sentence is None if refused is None else sentence is not None and sentence.startswith(refused)


def test_no_host_is_launched_for_who_must_wait_and_the_plan_says_why() -> None:
    """To the plan a job that its quota holds back is not there."""
    entry = an_entry()
    assert reconcile(a_snapshot(backlog=(entry,))).target.hosts == 1  # type: ignore[union-attr]
    plan = reconcile(a_snapshot(held=((entry, "its quota"),)))
    assert plan.actions == ()
    assert plan.waits == ((entry, "its quota"),)


def test_a_job_is_too_wide_where_it_needs_more_than_its_owner_may_ever_have() -> None:
    """Exactly as much is not too wide, sums of tenths are not, and without a limit nothing is."""
    assert quota.too_wide("alice", Quota(), 1024.0) is None
    assert quota.too_wide("alice", Quota(cpu_max=0.3), 0.1 + 0.2) is None
    assert quota.too_wide("alice", Quota(cpu_max=2.0), 2.5) == "is 2.5; alice may have 2 cores of a pool at work"


def test_a_pass_minds_only_limits_that_it_can_hold() -> None:
    """How many jobs there are is asked at submit; an owner without a row has no limit, version 0, and nobody said so."""
    rows = [
        OwnerQuota(owner="jobs", quota=Quota(jobs_max=1)),
        OwnerQuota(owner="cpu", quota=Quota(cpu_max=0.0)),
        OwnerQuota(owner="usd", quota=Quota(usd_per_day=0.0)),
        OwnerQuota(owner="none"),
    ]
    assert [owner for owner, _ in quota.limited(rows)] == ["cpu", "usd"]
    assert (rows[3].version, rows[3].by, rows[3].at, rows[3].quota) == (0, "", 0.0, Quota())


def test_what_nobody_can_price_costs_nothing() -> None:
    """A pool whose offerings the catalogue does not know: its jobs begin, until what ended has used up the money."""
    costs = replace(COSTS, usual=None)
    limit = {"alice": Quota(usd_per_day=0.1)}
    backlog = [an_entry(f"job-{n}") for n in range(9)]
    assert quota.over(NOW, backlog, [], limit, {}, costs) == {}
    assert len(quota.over(NOW, backlog, [], limit, {"alice": 0.1}, costs)) == 9


def test_who_has_waited_too_long_is_not_held_but_left_to_be_skipped() -> None:
    """Else nobody would end it: only what a plan sees is skipped by it."""
    backlog = [an_entry("job-1", give_up_at=NOW), an_entry("job-2", give_up_at=NOW + 1)]
    waits = quota.over(NOW, backlog, [], {"alice": Quota(cpu_max=0.0)}, {}, COSTS)
    assert list(waits) == ["05#job-2"]
