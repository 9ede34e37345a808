"""The token bucket for launches, the backoff, and plans cut down to what may be asked of EC2."""

from __future__ import annotations

from dataclasses import replace

from builders import NOW, OFFERING, a_launch, a_pool, a_snapshot, an_entry
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core import backoff, bucket, invariants, rationing
from chalicelib.core.bucket import EC2_INSTANCES, EC2_REQUESTS, INSTANCES, KEPT_S, REQUESTS, Ask, Bucket, Taken
from chalicelib.core.plan import Resume, Start
from chalicelib.core.pool import Supply
from chalicelib.core.reconcile import reconcile

waits_s = st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.7, 3.0, 100.0])
sizes = st.integers(1, 400)


def test_ours_is_so_much_smaller_that_kept_tokens_do_not_matter() -> None:
    """A token that is `KEPT_S` old is as good as a new one (see the theory of operation)."""
    for ours, theirs in ((REQUESTS, EC2_REQUESTS), (INSTANCES, EC2_INSTANCES)):
        assert ours.per_s < theirs.per_s
        assert ours.burst + ours.per_s * KEPT_S < theirs.burst


@settings(deadline=None)
@given(st.lists(st.tuples(waits_s, st.lists(sizes, min_size=1, max_size=7), st.floats(0, 30)), max_size=40))
def test_calls_stay_under_ec2s_limits_however_long_tokens_are_kept(steps: list[tuple[float, list[int], float]]) -> None:
    """Pools take at any time and send up to 30 s later, each call on its own; what is dated anew may be refused, and is not sent."""
    held = Bucket(at=0.0)
    now = 0.0
    events: list[tuple[float, int, float]] = []  # when it is sent, hosts, when its token was taken
    calls: list[tuple[float, int]] = []

    def send_until(until: float) -> None:
        nonlocal held
        for event in sorted(e for e in events if e[0] <= until):
            at, hosts, taken_at = event
            events.remove(event)
            if (ask := bucket.dated_anew(hosts, at - taken_at)) is not None:
                held, taken = bucket.take(held, [ask], at)
                if not taken.whole:
                    continue
            calls.append((at, hosts))

    for wait_s, hosts, keep_s in steps:
        now += wait_s
        send_until(now)
        held, taken = bucket.take(held, [Ask(n) for n in hosts], now)
        granted = [*hosts[: taken.whole], *([taken.part] if taken.part else [])]
        events += [(now + keep_s * (n + 1) / len(granted), size, now) for n, size in enumerate(granted)]
    send_until(now + 100)
    assert not (broken := invariants.launch_rate(calls)), broken


@settings(deadline=None)
@given(st.floats(0, 1e6), st.lists(sizes, max_size=9), st.floats(-5, 50))
def test_nothing_is_made_of_nothing(at: float, hosts: list[int], later_s: float) -> None:
    """What is granted is what leaves; a clock that goes back refills nothing; and at `next_at` there is something."""
    full = Bucket(at=at)
    left, taken = bucket.take(full, [Ask(n) for n in hosts], at + later_s)
    spent = sum(hosts[: taken.whole]) + taken.part
    assert abs(full.instances - left.instances - spent) < 1e-6
    assert abs(full.requests - left.requests - taken.whole - bool(taken.part)) < 1e-6
    if taken.next_at is not None:
        _, then = bucket.take(left, [Ask(n) for n in hosts[taken.whole :]], taken.next_at)
        assert then.whole or then.part


def test_a_call_that_goes_short_is_not_overtaken_by_smaller_ones() -> None:
    """A launch that is sent again needs all of its hosts; were others served before it, it would never have its turn."""
    nearly_empty = Bucket(instances=5.0, at=NOW)
    _, taken = bucket.take(nearly_empty, [Ask(10, whole=True), Ask(1)], NOW)
    assert taken == Taken(0, 0, NOW + 5 / INSTANCES.per_s)


def a_plan(hosts: int, **over: object):
    """Single-job hosts of one offering, planned from nothing."""
    pool = a_pool(offerings=(OFFERING,), hosts_max=2000, slots_per_host=1, **over)
    s = a_snapshot(pool=pool, backlog=[an_entry(f"job-{n:04d}") for n in range(hosts)])
    return s, reconcile(s)


def test_what_finds_no_token_stays_in_the_backlog_and_is_told_so() -> None:
    s, plan = a_plan(250)
    assert rationing.asks(plan) == {"us-east-1": [Ask(100), Ask(100), Ask(50)]}
    cut = rationing.rationed(plan, {"us-east-1": Taken(1, 30, NOW + 3)}, NOW)
    assert [len(a.loads) for a in cut.actions if isinstance(a, Start)] == [100, 30]
    assert len(cut.waits) == 120
    assert all("only so many launches a second" in sentence for _, sentence in cut.waits)
    assert cut.wake_at == NOW + 3
    assert not (broken := invariants.of_plan(s, cut)), broken
    assert rationing.rationed(plan, {"us-east-1": Taken(3)}, NOW) is plan


def test_a_launch_is_sent_again_when_there_are_tokens_for_all_of_it() -> None:
    launch = replace(a_launch(), sent_at=NOW - 100)
    plan = reconcile(a_snapshot(launches=[launch]))
    assert Resume in plan.kinds()
    assert Resume not in rationing.rationed(plan, {"us-east-1": Taken(0, 0, NOW + 1)}, NOW).kinds()


def test_while_ec2_throttles_nothing_is_launched_or_sent_again() -> None:
    """Jobs are told until when, and the next look is ordered for then."""
    s, plan = a_plan(3)
    assert Start in plan.kinds()
    throttled = replace(s.pool, supply=Supply(backoff_s=4, backoff_until=NOW + 4))
    s = replace(s, pool=throttled, launches=(replace(a_launch(), sent_at=0.0),))
    plan = reconcile(s)
    assert not {Start, Resume} & set(plan.kinds())
    assert plan.wake_at == NOW + 4
    assert all("nothing is launched until" in sentence for _, sentence in plan.waits)
    assert not (broken := invariants.of_plan(s, plan)), broken
    assert {Start, Resume} <= set(reconcile(replace(s, now=NOW + 4)).kinds())


def test_the_wait_doubles_from_two_seconds_to_two_minutes_and_is_halved_by_an_answer() -> None:
    supply, waits = Supply(), []
    for _ in range(8):
        supply = backoff.throttled(supply, NOW)
        waits.append(supply.backoff_until - NOW)
    assert waits == [2, 4, 8, 16, 32, 64, 120, 120]
    assert backoff.throttled(Supply(), NOW, chance=1.0).backoff_until == NOW + 2.5
    for left in (60, 30, 15, 7.5, 3.75, 0):
        supply = backoff.answered(supply)
        assert (supply.backoff_s, supply.backoff_until) == (left, 0.0)
    assert backoff.answered(supply) is supply
