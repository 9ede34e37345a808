"""A host serves one owner in its life, or one at a time where the pool shares them: what plans make of that."""

from __future__ import annotations

from typing import Any

from builders import NOW, OFFERING, a_host, a_pool, a_snapshot, an_assignment, an_entry

from chalicelib.core import invariants
from chalicelib.core import plan as do
from chalicelib.core.catalogue import price_usd_h
from chalicelib.core.reconcile import reconcile

CLOSED = {OFFERING.asked_with(None, None): NOW + 60}


def plan(hosts: tuple[Any, ...] = (), backlog: tuple[Any, ...] = (), **spec: Any) -> do.Plan:
    s = a_snapshot(hosts=hosts, backlog=backlog, pool=a_pool(**spec))
    made = reconcile(s)
    assert invariants.of_plan(s, made) == []
    return made


def loads(made: do.Plan) -> list[int]:
    """How many jobs each launched host takes along."""
    return [len(load) for action in made.actions if isinstance(action, do.Start) for load in action.loads]


def test_whether_hosts_suffice_is_counted_owner_by_owner() -> None:
    """Three owners with a job each need three hosts of two slots, whatever the policy divides."""
    backlog = tuple(an_entry(owner, owner=owner) for owner in ("alice", "bob", "carol"))
    for policy in ("slo", "square_root", "headroom", "one_per_job"):
        made = plan(policy=policy, backlog=backlog)
        assert len([1 for load in loads(made) if load]) == 3, policy


def test_an_idle_host_of_another_owner_makes_way_where_the_pool_may_have_no_more() -> None:
    """It may serve nobody else in its life, so who waits could wait for as long as its owner comes now and then."""
    its = a_host("hers", domain="alice", freed_at=NOW - 5)
    made = plan(hosts_max=1, hosts=(its,), backlog=(an_entry("b", owner="bob"),))
    assert made.kinds() == [do.Drain, do.Retire, do.Start]
    assert "may serve only alice" in made.actions[0].reason
    assert loads(plan(hosts_max=2, hosts=(its,), backlog=(an_entry("b", owner="bob"),))) == [1]


def test_nobody_makes_way_for_its_own_owner_nor_while_it_works_nor_where_no_host_could_be_launched() -> None:
    busy = a_host("hers", domain="alice", assignments=(an_assignment(),))
    idle = a_host("hers", domain="alice")
    bobs = an_entry("b", owner="bob")
    for made in (
        plan(hosts_max=1, hosts=(busy,), backlog=(bobs,)),
        plan(hosts_max=1, hosts=(idle,), backlog=(an_entry("wide", cpu=2.0, slots=2, memory_mib=9000),)),
        plan(hosts_max=1, hosts=(idle,), backlog=(bobs,), scaling_enabled=False),
        plan(hosts_max=1, hosts=(idle,), backlog=(bobs,), skips=CLOSED),
    ):
        assert not made.kinds()
        assert len(made.waits) == 1


def test_the_budget_counts_what_an_idle_host_that_makes_way_cost() -> None:
    price = price_usd_h(OFFERING, a_pool().spec)
    its = a_host("hers", domain="alice", freed_at=NOW - 5)
    made = plan(budget_usd_h=1.5 * price, hosts=(its,), backlog=(an_entry("b", owner="bob"),))
    assert made.kinds() == [do.Drain, do.Retire, do.Start]


def test_an_empty_shared_host_takes_another_owners_job() -> None:
    made = plan(share_hosts=True, hosts=(a_host("hers", domain="alice"),), backlog=(an_entry("b", owner="bob"),))
    assert made.kinds() == [do.Assign, do.Ring]


def test_one_owners_stream_of_jobs_does_not_keep_its_hosts_from_who_has_waited_too_long() -> None:
    """Its host gets no more of what came later, and makes way when it is empty."""
    busy = a_host("hers", domain="alice", assignments=(an_assignment(),))
    backlog = (an_entry("b", owner="bob", rank="1", queued_at=NOW - 400), an_entry("a", rank="2"))
    made = plan(hosts_max=1, hosts=(busy,), backlog=backlog)
    assert not made.kinds()
    made = plan(hosts_max=1, hosts=(a_host("hers", domain="alice"),), backlog=backlog)
    assert made.kinds() == [do.Drain, do.Retire, do.Start]
    assert [entry.job for entry in made.placed] == ["b"]


def test_who_waits_beside_idle_hosts_of_others_is_told_so() -> None:
    hosts = tuple(a_host(f"host-{n}", domain="alice") for n in range(2))
    made = plan(hosts_max=2, skips=CLOSED, hosts_min=2, hosts=hosts, backlog=(an_entry("b", owner="bob"),))
    assert not made.kinds()
    made = plan(hosts_max=3, hosts_desired=0, hosts=hosts, backlog=(an_entry("b", owner="bob"),))
    assert "2 idle ones may serve only other owners" in made.waits[0][1]


def test_a_host_whose_row_is_older_than_domains_serves_whom_it_carries() -> None:
    its = a_host(assignments=(an_assignment(),))
    made = plan(hosts=(its,), backlog=(an_entry("b", owner="bob", rank="1"), an_entry("a", rank="2")))
    assert [(a.entry.job, a.host) for a in made.actions if isinstance(a, do.Assign)] == [("a", "host-1")]
