"""Instance types and markets that a job asks for: told at submit where none is offered, kept in every placement, said while it waits."""

from __future__ import annotations

from typing import Any

import pytest
from builders import NOW, OFFERING, a_host, a_pool, a_snapshot, an_entry

from chalicelib.core import admission, invariants
from chalicelib.core.constraint import Constraint
from chalicelib.core.host import Offering
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.plan import Assign, Plan, Start
from chalicelib.core.pool import PoolSpec, Supply
from chalicelib.core.reconcile import reconcile

SPOT = Offering(region="us-east-1", instance_type="c7i.large", market="spot")
OTHER = Offering(region="us-east-1", instance_type="m7i.xlarge", market="spot")
POOL = a_pool(offerings=(SPOT, OTHER, OFFERING), hosts_max=5)


def placed(plan: Plan) -> dict[str, str]:
    """Job → its host, or the offering of the one that is launched for it."""
    there = {a.entry.job: a.host for a in plan.actions if isinstance(a, Assign)}
    new = {e.job: a.offering.key for a in plan.actions if isinstance(a, Start) for load in a.loads for e in load}
    return there | new


@pytest.mark.parametrize(
    ("constraint", "offering", "takes"),
    [
        pytest.param(Constraint(), OTHER, True, id="nothing is asked for"),
        pytest.param(Constraint(("c7i.*",)), SPOT, True, id="a pattern"),
        pytest.param(Constraint(("c7i.*",)), OTHER, False, id="a pattern of others"),
        pytest.param(Constraint(("c7i.*", "*.xlarge")), OTHER, True, id="one of two patterns"),
        pytest.param(Constraint(("c7i.large",)), SPOT, True, id="a name"),
        pytest.param(Constraint(("C7I.LARGE",)), SPOT, False, id="case counts"),
        pytest.param(Constraint(market="spot"), OFFERING, False, id="the other market"),
        pytest.param(Constraint(("m*",), "spot"), OTHER, True, id="both"),
        pytest.param(Constraint(("m*",), "on_demand"), OTHER, False, id="both must be met"),
        pytest.param(Constraint(("m*",), "spot"), None, True, id="a host of which nothing is known"),
    ],
)
def test_what_is_asked_for_is_met_or_not(constraint: Constraint, offering: Offering | None, takes: bool) -> None:
    assert constraint.takes(offering) is takes


def test_jobs_go_to_hosts_that_meet_what_they_ask_for_and_new_ones_are_launched_for_the_others() -> None:
    hosts = (a_host("host-spot", offering=SPOT), a_host("host-demand"))
    backlog = (
        an_entry("job-1", market="on_demand"),
        an_entry("job-2", market="on_demand"),
        an_entry("job-3", market="on_demand"),
        an_entry("job-4", instance_types=("m7i.*",)),
        an_entry("job-5", market="spot"),
    )
    s = a_snapshot(pool=POOL, hosts=hosts, backlog=backlog)
    plan = reconcile(s)
    assert not invariants.of_plan(s, plan)
    assert placed(plan) == {
        "job-1": "host-demand",
        "job-2": "host-demand",
        "job-3": OFFERING.key,
        "job-4": OTHER.key,
        "job-5": "host-spot",
    }


def test_one_that_waits_for_a_type_does_not_hold_up_those_behind_it() -> None:
    closed = Supply(skips={OTHER.key: NOW + 100})
    pool = a_pool(offerings=POOL.spec.offerings, supply=closed)
    backlog = (an_entry("job-1", instance_types=("m7i.*",)), an_entry("job-2"))
    plan = reconcile(a_snapshot(pool=pool, hosts=(a_host("host-1"),), backlog=backlog))
    assert placed(plan) == {"job-2": "host-1"}


@pytest.mark.parametrize(
    ("asked", "pool", "said"),
    [
        pytest.param(
            {"instance_types": ("m7i.*",)},
            a_pool(offerings=POOL.spec.offerings, supply=Supply(skips={OTHER.key: NOW + 100})),
            "no m7i.xlarge spot in us-east-1 until",
            id="what it asks for is refused for a while",
        ),
        pytest.param(
            {"instance_types": ("g5.*",), "market": "spot"},
            POOL,
            "no offering of the pool that it may go to (g5.*, spot) is large enough for it",
            id="the pool offers it no more",
        ),
        pytest.param(
            {"market": "on_demand"},
            a_pool(offerings=POOL.spec.offerings, budget_usd_h=0.0),
            "no host that it may go to (on demand) has room for it",
            id="it is not paid for",
        ),
    ],
)
def test_who_waits_is_told_what_it_asked_for(asked: dict[str, Any], pool: Any, said: str) -> None:
    """A job may outlive the offering that it was accepted for: the operator changed the pool."""
    plan = reconcile(a_snapshot(pool=pool, backlog=(an_entry("job-1", **asked),)))
    (wait,) = plan.waits
    assert said in wait[1]
    assert not [a for a in plan.actions if isinstance(a, Start)]


def test_an_interrupted_job_that_asks_for_spot_stays_on_spot() -> None:
    """Its user's word outranks the interruption ladder; another one's second try is on demand, of the types that it asks for."""
    backlog = (
        an_entry("job-1", market="spot", interruptions=1),
        an_entry("job-2", instance_types=("c7i.*",), interruptions=1),
        an_entry("job-3", instance_types=("m7i.*",), interruptions=1),
    )
    plan = reconcile(a_snapshot(pool=POOL, backlog=backlog))
    assert placed(plan) == {"job-1": SPOT.key, "job-2": OFFERING.key, "job-3": OTHER.key}


@pytest.mark.parametrize(
    ("asked", "fields", "said"),
    [
        pytest.param({}, [], "", id="nothing"),
        pytest.param({"instance_types": ("c7i.*",), "market": "spot"}, [], "", id="what is offered"),
        pytest.param({"instance_types": ("g5.*", "p4d.*")}, ["instance_types"], "matches g5.* or p4d.*", id="types"),
        pytest.param({"market": "spot"}, [], "", id="a market"),
        pytest.param(
            {"instance_types": ("g5.*",), "market": "on_demand"}, ["instance_types"], "g5.*", id="types in a market"
        ),
        pytest.param(
            {"instance_types": ("m7i.*",), "market": "on_demand"},
            ["instance_types"],
            "no offering that matches is on_demand",
            id="types that are offered in the other market",
        ),
        pytest.param(
            {"instance_types": ("c7i.large",), "cpu": 4.0},
            ["cpu"],
            "is 4; any offering of pool default that is c7i.large has at most 2",
            id="types that are too small",
        ),
    ],
)
def test_what_no_offering_matches_is_refused_at_submit(asked: dict[str, Any], fields: list[str], said: str) -> None:
    """By field, with what the pool does offer."""
    found = list(admission.faults(JobSpec(command="true", timeout_s=60, **asked), POOL.spec))
    assert [fault.field for fault in found] == fields
    assert not found or said in found[0].message


def test_a_market_that_a_pool_does_not_have_is_refused() -> None:
    found = list(
        admission.faults(JobSpec(command="true", timeout_s=60, market="spot"), PoolSpec(offerings=(OFFERING,)))
    )
    assert [fault.field for fault in found] == ["market"]
    assert "pool default offers c7i.large (on demand)" in found[0].message
