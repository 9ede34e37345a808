"""Rules of scaling policies and of the target within its limits. Worked examples come from the systems that the formulas come from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.pool import Pool, PoolSpec, Scaling
from chalicelib.core.scaling.bounds import parameters
from chalicelib.core.scaling.parameters import faults, parameters_of
from chalicelib.core.scaling.policies import DEFAULT, POLICIES
from chalicelib.core.scaling.target import PEAKS_MAX, affordable, wanted
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import hosts_for, jobs_of_people, some, with_square_root

NOW = 1_700_000_000.0


def a_view(**over: Any) -> PoolView:
    return PoolView(**({"now": NOW} | over))


def decide(policy: str, view: PoolView, **given_: float) -> Any:
    return POLICIES[policy].decide(view, parameters_of(policy, given_))


def a_pool(**spec: Any) -> Pool:
    return Pool(name="default", spec=PoolSpec(**({"hosts_max": 10_000} | spec)))


def manual(hosts: int, **spec: Any) -> Pool:
    return a_pool(policy="manual", parameters={"hosts": hosts}, **spec)


# Worked examples


def test_waiting_time_is_300_s_in_courseras_example() -> None:
    """120 queued × 30 s ÷ (3 hosts × 4 slots) = 300 s: just not too long, so the hosts stay as they are."""
    target = decide("waiting_time", a_view(queued=120, expected_s=30, hosts=3, busy_hosts=3, slots=4))
    assert target.variables["waiting_time_s"] == 300.0
    assert (target.hosts, target.stepped) == (3, False)


def test_waiting_time_steps_up_by_one_above_300_s() -> None:
    target = decide("waiting_time", a_view(queued=10_000, expected_s=30, hosts=3, busy_hosts=3, slots=4))
    assert (target.hosts, target.stepped) == (4, True)


def test_waiting_time_steps_down_by_one_below_50_s() -> None:
    """19 × 30 ÷ 12 = 47.5 s, 20 × 30 ÷ 12 = 50 s."""
    lower = decide("waiting_time", a_view(queued=19, expected_s=30, hosts=3, slots=4))
    assert (lower.hosts, lower.stepped) == (2, True)
    assert decide("waiting_time", a_view(queued=20, expected_s=30, hosts=3, slots=4)).hosts == 3


def test_waiting_time_is_at_least_what_was_waited_already() -> None:
    """One wide job, one host full of small ones: by the formula it waits 15 s, for ever."""
    stuck = a_view(queued=1, expected_s=30, hosts=1, busy_hosts=1, slots=2, oldest_s=301.0)
    target = decide("waiting_time", stuck)
    assert (target.hosts, target.variables["waiting_time_s"]) == (2, 301.0)
    assert decide("waiting_time", replace(stuck, oldest_s=299.0)).hosts == 1


def test_waiting_time_never_steps_down_into_hosts_that_carry_work() -> None:
    target = decide("waiting_time", a_view(hosts=3, busy_hosts=3, on_healthy=12))
    assert (target.hosts, target.stepped) == (3, False)


def test_waiting_time_never_steps_down_on_a_part_of_the_queue() -> None:
    part = a_view(queued=19, expected_s=30, hosts=3, slots=4, queue_complete=False)
    assert decide("waiting_time", part).hosts == 3


def test_waiting_time_without_a_host_is_counted_from_the_boot() -> None:
    """And the first host is wanted at once, whatever the wait and the last step."""
    just_stepped = Scaling(target=0, stepped_at=NOW - 1)
    target = decide("waiting_time", a_view(queued=4, expected_s=30, slots=4, boot_s=45, memory=just_stepped))
    assert target.variables["waiting_time_s"] == 75.0
    assert (target.hosts, target.stepped) == (1, True)


def test_waiting_time_wants_nothing_where_nobody_waits_and_nothing_is_there() -> None:
    """However long a boot takes: a pool without work must come to rest."""
    target = decide("waiting_time", a_view(boot_s=400))
    assert (target.hosts, target.variables["waiting_time_s"]) == (0, 0.0)


def test_waiting_time_makes_one_step_a_minute_and_holds_it_between() -> None:
    crowded = a_view(queued=10_000, hosts=3, memory=Scaling(target=4, stepped_at=NOW - 59.9))
    assert (decide("waiting_time", crowded).hosts, decide("waiting_time", crowded).stepped) == (4, False)
    later = replace(crowded, hosts=4, memory=Scaling(target=4, stepped_at=NOW - 60))
    assert (decide("waiting_time", later).hosts, decide("waiting_time", later).stepped) == (5, True)


@pytest.mark.parametrize(
    ("target", "queued", "held"), [(4, 900, 4), (3, 900, 3), (2, 900, 2), (50, 900, 4), (50, 0, 3), (0, 900, 2)]
)
def test_a_step_holds_only_within_a_step_of_what_is_there(target: int, queued: int, held: int) -> None:
    """A target that was remembered may have been a booking's, another policy's, or one that EC2 refused."""
    view = a_view(queued=queued, hosts=3, memory=Scaling(target=target, stepped_at=NOW - 5))
    assert decide("waiting_time", view).hosts == held


def test_square_root_wants_room_for_120_jobs_when_100_are_active() -> None:
    target = decide("square_root", a_view(queued=30, on_healthy=60, on_launching=5, on_unhealthy=5))
    assert (target.hosts, target.variables["desired_jobs"]) == (120, 120.0)
    assert decide("square_root", a_view(queued=100, slots=50)).hosts == 3
    assert [decide("square_root", a_view(), min_hosts=n).hosts for n in (0, 2)] == [0, 2]


def test_headroom_is_275_jobs_in_prairielearns_example() -> None:
    """100 on healthy hosts + 50 launching + 250 active × (1.5 - 1)."""
    target = decide("headroom", a_view(on_healthy=100, on_launching=50, on_unhealthy=100, slots=10), factor=1.5)
    assert (target.hosts, target.variables["desired_jobs"]) == (28, 275.0)
    queued = decide("headroom", a_view(on_healthy=100, queued=50, on_unhealthy=100, slots=10), factor=1.5)
    assert queued.hosts == 28


def test_headroom_keeps_one_host_when_nothing_is_there() -> None:
    assert decide("headroom", a_view()).hosts == 1
    assert decide("headroom", a_view(), min_hosts=0).hosts == 0


def test_headrooms_tenths_cost_no_host() -> None:
    """10 + 10 × (1.3 - 1) is a little more than 13 in floating point; 13 slots take it all the same."""
    assert decide("headroom", a_view(on_healthy=10, slots=13)).hosts == 1


def test_grader_load_takes_the_largest_estimate() -> None:
    """Ungraded 12; running 10 × 1.5 = 15; 300 people × 4 jobs an hour × 60 s = 20 jobs at a time."""
    view = a_view(queued=2, on_healthy=10)
    assert decide("grader_load", view).hosts == 12
    assert decide("grader_load", view, current_factor=1.5).hosts == 15
    assert decide("grader_load", replace(view, people=300), current_factor=1.5).hosts == 20
    assert decide("grader_load", replace(view, people=300, slots=8), current_factor=1.5).hosts == 3


def test_grader_load_predicts_what_people_will_submit_and_not_what_waits_now() -> None:
    """One long job that waits says nothing of what the people who look now will hand in."""
    assert decide("grader_load", a_view(queued=1, people=300, expected_s=3600.0)).hosts == 20


def test_grader_load_counts_as_current_only_what_runs() -> None:
    """Else the jobs that a launch takes along would ask for the next launch."""
    assert decide("grader_load", a_view(queued=10), current_factor=1.5).hosts == 10
    assert decide("grader_load", a_view(on_launching=10), current_factor=1.5).hosts == 10
    assert decide("grader_load", a_view(on_unhealthy=10), current_factor=1.5).hosts == 15


def test_grader_load_keeps_a_host_when_nothing_is_there() -> None:
    assert [decide("grader_load", a_view(), **p).hosts for p in ({}, {"min_hosts": 0})] == [1, 0]


def test_a_peak_is_the_largest_of_its_minute() -> None:
    pool = a_pool(policy="grader_load")
    memory = wanted(a_view(now=NOW, queued=9), pool, None)[1]
    memory = wanted(a_view(now=NOW + 1, queued=4, memory=memory), pool, None)[1]
    assert memory.peaks == {str(int(NOW // 60)): 9}


def test_grader_load_keeps_the_largest_wish_of_the_last_quarter_of_an_hour() -> None:
    minute = int(NOW // 60)
    memory = Scaling(peaks={str(minute - 14): 9, str(minute - 20): 50})
    assert decide("grader_load", a_view(queued=4, memory=memory)).hosts == 9
    assert decide("grader_load", a_view(queued=4, memory=memory), latch_s=60).hosts == 4


def test_one_per_job_wants_no_host_for_jobs_whose_host_it_does_not_count() -> None:
    """Draining and unhealthy hosts carry theirs themselves."""
    view = a_view(queued=3, on_healthy=5, on_draining=2, on_launching=4, on_unhealthy=7, slots=8)
    assert decide("one_per_job", view).hosts == 10


def test_manual_is_a_number() -> None:
    assert decide("manual", a_view(queued=500), hosts=7).hosts == 7


def test_slo_wants_the_busy_hosts_and_those_that_are_needed_and_no_idle_one() -> None:
    view = a_view(hosts=9, busy_hosts=5, needed=2, queued=40)
    assert decide("slo", view).hosts == 7
    assert decide("slo", view, margin=1.5).hosts == 11


# The target within its limits


def test_scaling_that_is_switched_off_wants_what_is_there() -> None:
    target, _ = wanted(a_view(hosts=5, queued=900), a_pool(scaling_enabled=False, hosts_max=3), 1.0, (90, "an exam"))
    assert (target.hosts, target.why) == (5, "scaling is switched off")


def test_a_persons_number_stands_in_place_of_the_policys() -> None:
    target, _ = wanted(a_view(queued=900), a_pool(policy="square_root", hosts_desired=2), None)
    assert (target.hosts, target.why) == (2, "a person asked for 2 hosts")
    none, _ = wanted(a_view(queued=900), a_pool(policy="square_root", hosts_desired=0), None)
    assert none.hosts == 0


def test_a_persons_number_is_limited_too() -> None:
    target, _ = wanted(a_view(), a_pool(hosts_desired=50, hosts_max=10), None)
    assert (target.hosts, target.why) == (10, "a person asked for 50 hosts; the pool may have 10")


def test_the_calendar_raises_the_wish_and_never_lowers_it() -> None:
    raised, _ = wanted(a_view(), manual(3), None, (12, "“Exam” asks for 12 hosts"))
    assert (raised.hosts, "“Exam” asks for 12 hosts" in raised.why) == (12, True)
    kept, _ = wanted(a_view(), manual(30), None, (12, "“Exam” asks for 12 hosts"))
    assert (kept.hosts, "Exam" in kept.why) == (30, False)


def test_each_limit_that_bites_says_so() -> None:
    most, _ = wanted(a_view(), manual(12, hosts_max=10), None)
    assert most.why == "manual wants 12: the operator set 12 hosts; the pool may have 10"
    least, _ = wanted(a_view(), manual(1, hosts_min=3), None)
    assert (least.hosts, least.why.endswith("the pool must have at least 3")) == (3, True)
    poor, _ = wanted(a_view(), manual(12, budget_usd_h=0.3), 0.1)
    assert (poor.hosts, "the budget of 0.3 USD an hour pays for 3, the next at 0.1 USD" in poor.why) == (3, True)
    assert poor.variables == {"desired_hosts": 12.0, "target_hosts": 3.0}


def test_money_that_is_not_there_is_not_spent_for_a_minimum() -> None:
    target, _ = wanted(a_view(), manual(1, hosts_min=5, budget_usd_h=0.2), 0.1)
    assert target.hosts == 2


def test_a_budget_without_a_price_adds_no_host() -> None:
    target, _ = wanted(a_view(hosts=2), manual(12, budget_usd_h=1.0), None)
    assert (target.hosts, "no price is known" in target.why) == (2, True)
    fewer, _ = wanted(a_view(hosts=20), manual(12, budget_usd_h=1.0), None)
    assert fewer.hosts == 12


def test_what_a_budget_pays_for_is_not_lost_to_floating_point() -> None:
    """0.3 // 0.1 is 2."""
    assert affordable(PoolSpec(budget_usd_h=0.3), 0.1) == 3
    assert affordable(PoolSpec(budget_usd_h=0.29), 0.1) == 2
    assert affordable(PoolSpec(), 0.1) is None


def test_a_policy_that_this_code_does_not_know_stops_no_pool() -> None:
    """A row written by newer code, read after a rollback."""
    target, _ = wanted(a_view(needed=2), a_pool(policy="clairvoyant", parameters={"margin": 3.0}), None)
    assert (target.hosts, "there is no policy 'clairvoyant', so slo decides" in target.why) == (2, True)


def test_surplus_is_remembered_from_when_it_began() -> None:
    first = wanted(a_view(hosts=5), manual(3), None)[1]
    assert first.surplus_since == NOW
    second = wanted(a_view(now=NOW + 20, hosts=5, memory=first), manual(3), None)[1]
    assert second.surplus_since == NOW
    none = wanted(a_view(now=NOW + 40, hosts=3, memory=second), manual(3), None)[1]
    assert none.surplus_since is None


def test_only_a_step_is_remembered_as_one() -> None:
    pool = a_pool(policy="waiting_time")
    stepped = wanted(a_view(queued=9000, hosts=3), pool, None)[1]
    assert (stepped.target, stepped.stepped_at) == (4, NOW)
    held = wanted(a_view(now=NOW + 30, queued=9000, hosts=4, memory=stepped), pool, None)[1]
    assert (held.target, held.stepped_at) == (4, NOW)


def test_peaks_are_what_was_wanted_before_the_latch_and_pass() -> None:
    """A surge of 40 holds for a quarter of an hour, not for ever."""
    pool, memory, seen = a_pool(policy="grader_load"), Scaling(), []
    for minute in range(20):
        view = a_view(now=NOW + 60 * minute, queued=40 if minute == 0 else 2, memory=memory)
        target, memory = wanted(view, pool, None)
        seen.append(target.hosts)
        assert len(memory.peaks) <= PEAKS_MAX
    assert seen[:15] == [40] * 15
    assert seen[16:] == [2] * 4


# Parameters


def test_every_parameter_has_bounds_that_hold_its_default() -> None:
    for policy in POLICIES.values():
        for parameter in parameters(policy.parameters):
            assert parameter.fault(parameter.default) is None
            assert parameter.bounds.about
        assert faults(policy.name, {}) == []
    assert DEFAULT in POLICIES
    assert PoolSpec().policy == DEFAULT


@pytest.mark.parametrize(
    ("policy", "given_", "field", "part"),
    [
        ("best", {}, "policy", "there are grader_load, headroom, manual"),
        ("headroom", {"fcator": 2}, "parameters.fcator", "it has factor, min_hosts"),
        ("one_per_job", {"hosts": 2}, "parameters.hosts", "it has none"),
        ("headroom", {"factor": True}, "parameters.factor", "must be a number, not True"),
        ("headroom", {"factor": "2"}, "parameters.factor", "must be a number, not '2'"),
        ("headroom", {"factor": None}, "parameters.factor", "must be a number, not None"),
        ("headroom", {"factor": 0.9}, "parameters.factor", "must be between 1 and 10, not 0.9"),
        ("headroom", {"factor": float("nan")}, "parameters.factor", "must be between 1 and 10"),
        ("headroom", {"min_hosts": float("inf")}, "parameters.min_hosts", "must be between 0 and 10000 hosts, not inf"),
        ("headroom", {"min_hosts": 1.5}, "parameters.min_hosts", "must be a whole number"),
        ("waiting_time", {"step_every_s": 0}, "parameters.step_every_s", "must be between 1 and 3600 s"),
        ("waiting_time", {"in_below_s": 400}, "parameters.in_below_s", "must be below out_above_s, which is 300 s"),
    ],
)
def test_what_is_wrong_with_parameters_is_said(policy: str, given_: dict[str, Any], field: str, part: str) -> None:
    (fault,) = faults(policy, given_)
    assert fault.field == field
    assert part in fault.message


def test_every_fault_is_told_at_once() -> None:
    assert len(faults("headroom", {"factor": 0, "min_hosts": -1, "more": 1})) == 3


def test_whole_numbers_may_come_as_floats_and_unknown_names_do_not_stop_a_pass() -> None:
    built = parameters_of("headroom", {"min_hosts": 2.0, "factor": 2, "withdrawn": 1})
    assert (built.min_hosts, built.factor) == (2, 2.0)
    assert isinstance(built.min_hosts, int)


# Properties

counts = st.integers(0, 5000)


@st.composite
def memories(draw: st.DrawFn) -> Scaling:
    minute = int(NOW // 60)
    ago = st.floats(0, 7200)
    return Scaling(
        target=draw(st.integers(0, 500)),
        stepped_at=NOW - draw(ago),
        surplus_since=draw(st.none() | ago.map(lambda s: NOW - s)),
        peaks={str(minute - m): draw(st.integers(0, 500)) for m in draw(st.sets(st.integers(0, 40), max_size=5))},
    )


@st.composite
def views(draw: st.DrawFn) -> PoolView:
    hosts, healthy = draw(st.integers(0, 500)), draw(counts)
    return PoolView(
        now=NOW,
        queued=draw(counts),
        on_healthy=healthy,
        on_draining=draw(st.integers(0, healthy)),
        on_launching=draw(counts),
        on_unhealthy=draw(counts),
        hosts=hosts,
        busy_hosts=draw(st.integers(0, hosts)),
        slots=draw(st.integers(1, 64)),
        needed=draw(st.integers(0, 500)),
        expected_s=draw(st.floats(0, 86_400)),
        boot_s=draw(st.floats(0, 900)),
        people=draw(counts),
        jobs_per_person_h=draw(st.floats(0, 3600)),
        memory=draw(memories()),
    )


@st.composite
def told(draw: st.DrawFn, policy: str) -> dict[str, float]:
    """Parameters that the API would accept."""
    chosen = {}
    for parameter in parameters(POLICIES[policy].parameters):
        if draw(st.booleans()):
            low, high = parameter.bounds.ge, min(parameter.bounds.le, 1000)
            chosen[parameter.name] = draw(st.integers(int(low), int(high)) if parameter.whole else st.floats(low, high))
    return {} if faults(policy, chosen) else chosen


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    policy = draw(st.sampled_from(sorted(POLICIES)))
    least = draw(st.integers(0, 50))
    return a_pool(
        policy=policy,
        parameters=draw(told(policy)),
        hosts_min=least,
        hosts_max=draw(st.integers(least, 300)),
        hosts_desired=draw(st.none() | st.integers(0, 400)),
        budget_usd_h=draw(st.none() | st.floats(0, 50)),
    )


floors = st.just((0, "")) | st.tuples(st.integers(1, 400), st.just("“Exam” asks for hosts"))
prices = st.none() | st.floats(0.01, 20)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(data=st.data())
def test_no_policy_wants_fewer_hosts_than_none_and_each_says_why(name: str, data: st.DataObject) -> None:
    target = decide(name, data.draw(views()), **data.draw(told(name)))
    assert target.hosts >= 0
    assert len(target.why.split()) >= 3
    assert all(isinstance(value, float) for value in target.variables.values())


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(data=st.data())
def test_no_policy_wants_fewer_hosts_because_more_jobs_wait(name: str, data: st.DataObject) -> None:
    view, given_ = data.draw(views()), data.draw(told(name))
    more = replace(view, queued=view.queued + data.draw(counts))
    assert decide(name, more, **given_).hosts >= decide(name, view, **given_).hosts


@given(views(), pools(), prices, floors)
def test_a_target_is_within_its_limits(view: PoolView, pool: Pool, price: float | None, floor: tuple[int, str]) -> None:
    target, _ = wanted(view, pool, price, floor)
    pays_for = affordable(pool.spec, price)
    most = pool.spec.hosts_max if pays_for is None else min(pool.spec.hosts_max, pays_for)
    assert 0 <= target.hosts <= most
    if pool.spec.budget_usd_h is None or pays_for is not None:
        assert target.hosts >= min(pool.spec.hosts_min, most)
        assert target.hosts >= min(floor[0], most)
    if pool.spec.budget_usd_h is not None and price is not None:
        assert target.hosts * price <= pool.spec.budget_usd_h + 1e-6
    assert target.why
    assert target.variables["target_hosts"] == target.hosts


@given(views(), pools(), prices, floors, st.booleans())
def test_looking_again_with_what_was_remembered_wants_the_same(
    view: PoolView, pool: Pool, price: float | None, floor: tuple[int, str], enabled: bool
) -> None:
    pool = replace(pool, spec=replace(pool.spec, scaling_enabled=enabled))
    first, memory = wanted(view, pool, price, floor)
    second, again = wanted(replace(view, memory=memory), pool, price, floor)
    assert second.hosts == first.hosts
    assert (again.target, again.stepped_at, again.surplus_since) == (
        memory.target,
        memory.stepped_at,
        memory.surplus_since,
    )
    assert again.peaks == memory.peaks


@given(views(), pools(), floors)
def test_looking_again_after_launching_wants_no_further_host(
    view: PoolView, pool: Pool, floor: tuple[int, str]
) -> None:
    """The hosts that were missing boot now and carry what they could take of the queue."""
    target, memory = wanted(view, pool, None, floor)
    launched = max(0, target.hosts - view.hosts)
    taken = min(view.queued, launched * view.slots)
    after = replace(
        view,
        hosts=view.hosts + launched,
        queued=view.queued - taken,
        on_launching=view.on_launching + taken,
        busy_hosts=view.busy_hosts + min(launched, view.needed),
        needed=max(0, view.needed - launched),
        memory=memory,
    )
    assert wanted(after, pool, None, floor)[0].hosts <= max(target.hosts, after.hosts)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(data=st.data())
def test_a_pool_without_work_comes_to_rest(name: str, data: st.DataObject) -> None:
    """Idle hosts leave as wanted, minute by minute, until only those are left that the parameters ask for."""
    told_ = data.draw(told(name))
    pool = a_pool(policy=name, parameters=told_)
    own = parameters_of(name, told_)
    rest = {"manual": getattr(own, "hosts", 0)}.get(name, getattr(own, "min_hosts", 0))
    hosts, memory = data.draw(st.integers(0, 30)), data.draw(memories())
    minute_s = max(60.0, getattr(own, "step_every_s", 0.0)) + 1.0
    for minute in range(40):
        target, memory = wanted(a_view(now=NOW + minute_s * minute, hosts=hosts, memory=memory), pool, None)
        hosts = target.hosts
    assert hosts == rest


def test_hosts_for_jobs() -> None:
    assert [hosts_for(n, 4) for n in (0, 1, 4, 4.0000000001, 4.1, 5)] == [0, 1, 1, 1, 2, 2]
    assert hosts_for(-3, 4) == 0
    assert with_square_root(100) == 120
    assert jobs_of_people(300, 4, 60) == 20
    assert (some(1, "host"), some(2, "host")) == ("1 host", "2 hosts")
