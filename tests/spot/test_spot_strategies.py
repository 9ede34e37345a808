"""What holds for every strategy on every market: deadlines, the clairvoyant's bound, the bill, and no look into the future."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markets import BEGIN, HOUR, a_market, any_market, any_terms, terms

from chalicelib.core.spot_backtest import DAY_S, outlook_at, strategies
from chalicelib.core.spot_clairvoyant import clairvoyant, paid_by_tick
from chalicelib.core.spot_history import Market, Steps
from chalicelib.core.spot_world import NO_LIMIT, Choice, Do, Outcome, Prices, State, Strategy, Terms, play

FEW = settings(max_examples=60, deadline=None)


def everybody(market: Market, each: Terms) -> dict[str, Strategy]:
    return strategies(market, each, BEGIN, outlook_at(market, each, BEGIN))


def outcomes(market: Market, each: Terms) -> dict[str, Outcome]:
    return {name: play(strategy, market, each, BEGIN) for name, strategy in everybody(market, each).items()}


@FEW
@given(any_market(), any_terms())
def test_no_strategy_misses_a_deadline_that_on_demand_meets_at_the_start(market: Market, each: Terms) -> None:
    """Whatever prices do, even far above any max price, and if there is no second to spare."""
    late = {name: outcome for name, outcome in outcomes(market, each).items() if outcome.missed}
    assert late == {}


@FEW
@given(any_market(), any_terms())
def test_nobody_pays_less_than_the_clairvoyant(market: Market, each: Terms) -> None:
    best = clairvoyant(market, each, BEGIN)
    assert not best.missed
    for name, outcome in outcomes(market, each).items():
        assert best.usd <= outcome.usd + 1e-9, name


@FEW
@given(any_market(), any_terms())
def test_the_bill_is_the_price_over_the_time_of_each_host_and_nothing_else(market: Market, each: Terms) -> None:
    """Windows do not overlap, each is paid at its zone's price by the second, and the job ends with the last one."""
    for outcome in [*outcomes(market, each).values(), clairvoyant(market, each, BEGIN)]:
        at = BEGIN
        for window in outcome.windows:
            assert at <= window.begin < window.end or (window.interrupted and window.begin <= window.end)
            at = window.end
            if window.zone:
                steps = market.zones[window.zone]
                by_hand = math.fsum(seconds * usd_h for seconds, usd_h in steps.spans(window.begin, window.end)) / HOUR
                assert window.usd == pytest.approx(by_hand, abs=1e-9)
            else:
                assert window.usd == pytest.approx(market.on_demand_usd_h * (window.end - window.begin) / HOUR)
        assert outcome.end == outcome.windows[-1].end
        worked = math.fsum(window.end - window.begin for window in outcome.windows)
        assert worked >= each.work_s + each.launch_s


@FEW
@given(any_market(), any_market(), any_terms(), st.integers(0, 4 * HOUR))
def test_prices_after_a_moment_change_no_decision_before_it(
    market: Market, other: Market, each: Terms, later: int
) -> None:
    """No look-ahead: two markets that agree until `later` see the same decisions until then."""
    moment = BEGIN + later
    changed = continued(market, other, moment)
    for name in everybody(market, each):
        one = play(everybody(market, each)[name], market, each, BEGIN, keep_decisions=True)
        two = play(everybody(changed, each)[name], changed, each, BEGIN, keep_decisions=True)
        assert [d for d in one.decisions if d[0] <= moment] == [d for d in two.decisions if d[0] <= moment], name


@FEW
@given(any_market(), any_market(), any_terms(), st.integers(0, 3))
def test_what_the_backtest_learns_is_of_the_time_before_the_start(
    market: Market, other: Market, each: Terms, days: int
) -> None:
    """The same prices until the start, any after it: the same outlook, whatever day the start is on."""
    begin = BEGIN + days * DAY_S
    one, two = outlook_at(market, each, begin), outlook_at(continued(market, other, begin), each, begin)
    assert (one.chain, one.e_off, one.e_on) == (two.chain, two.e_off, two.e_on)


def continued(market: Market, other: Market, moment: float) -> Market:
    """The market as it is until a moment, and then other prices."""
    tail = next(iter(other.zones.values())).values
    return Market(
        market.instance_type,
        {
            zone: Steps(
                [pair for pair in zip(steps.times, steps.values, strict=True) if pair[0] <= moment]
                + [(moment + 1 + number * 37, usd_h) for number, usd_h in enumerate(tail)]
            )
            for zone, steps in market.zones.items()
        },
        market.on_demand_usd_h,
    )


def test_nothing_later_than_now_can_be_asked() -> None:
    prices = Prices(a_market(a=[(-HOUR, 0.1), (HOUR, 9.0)]), BEGIN)
    with pytest.raises(ValueError, match="tomorrow"):
        prices.sampled("a", BEGIN, 60, 2)
    with pytest.raises(ValueError, match="tomorrow"):
        prices.means("a", BEGIN, 60, 1)
    with pytest.raises(ValueError, match="tomorrow"):
        prices.past("a", 60, ends=BEGIN + 1)


def test_the_clairvoyant_waits_for_the_cheap_hour_and_changes_zones_when_that_pays() -> None:
    """By hand: one hour on `a` at 0.1 after its spike, rather than now at 0.5."""
    market = a_market(a=[(-HOUR, 0.5), (HOUR, 0.1)], b=[(-HOUR, 0.6)])
    best = clairvoyant(market, terms(1, 3), BEGIN)
    assert [(w.zone, w.begin - BEGIN) for w in best.windows] == [("a", HOUR)]
    assert best.usd == pytest.approx((180 + 3600 + 5 * 30) * 0.1 / HOUR)

    market = a_market(
        a=[(-HOUR, 0.1), (1440, 2.0)], b=[(-HOUR, 1.9), (1440, 0.1)]
    )  # 1440 s: a launch and two saved chunks
    best = clairvoyant(market, terms(1, 1.2), BEGIN)
    assert [(w.zone, w.begin - BEGIN, w.end - BEGIN) for w in best.windows] == [
        ("a", 0, 1440),
        ("b", 1440, 1440 + 180 + 2400 + 90),
    ]


@FEW
@given(any_market(), st.integers(0, 400))
def test_prefix_sums_by_tick_are_the_integral_of_the_price(market: Market, ticks: int) -> None:
    for steps in market.zones.values():
        paid = paid_by_tick(steps, BEGIN, ticks)
        assert paid == pytest.approx([steps.paid(BEGIN, BEGIN + 30 * n) for n in range(ticks + 1)], abs=1e-9)


def brute_force(market: Market, each: Terms, now: float, saved: int, zone: str | None) -> float:
    """The least cost by trying every move, tick by tick: the definition, without any cleverness."""
    if saved == each.chunks:
        return 0.0
    deadline = BEGIN + each.deadline_s
    best = math.inf
    if now + each.on_demand_s(saved) <= deadline:
        best = market.on_demand_usd_h * each.on_demand_s(saved) / HOUR
    if zone is not None:
        end = now + each.chunk_s(saved)
        if end <= deadline:
            best = min(best, market.zones[zone].paid(now, end) + brute_force(market, each, end, saved + 1, zone))
        return min(best, brute_force(market, each, now, saved, None))
    if now + 30 <= deadline:
        best = min(best, brute_force(market, each, now + 30, saved, None))
    for name, steps in market.zones.items():
        ready = now + each.launch_s
        end = ready + each.chunk_s(saved)
        if end <= deadline:
            best = min(best, steps.paid(now, end) + brute_force(market, each, end, saved + 1, name))
    return best


@settings(max_examples=25, deadline=None)
@given(any_market(), st.integers(1, 3), st.integers(0, 9))
def test_the_clairvoyant_is_what_trying_everything_finds(market: Market, chunks: int, spare: int) -> None:
    each = Terms(work_s=60 * chunks, deadline_s=60 * chunks + 60 + 30 * spare, checkpoint_s=60, save_s=30, launch_s=60)
    assert clairvoyant(market, each, BEGIN).usd == pytest.approx(brute_force(market, each, BEGIN, 0, None), abs=1e-9)


def any_strategy(data: st.DataObject) -> Strategy:
    """Does whatever hypothesis likes, at any moment that the world asks it: bids of all heights, hosts given up half-way."""

    def decide(state: State, prices: Prices) -> Choice:
        wish = data.draw(st.sampled_from([Do.SPOT, Do.SPOT, Do.WAIT, Do.STAY, Do.STAY, Do.STAY, Do.ON_DEMAND]))
        if wish is Do.STAY and state.host is not None:
            return Choice(Do.STAY, "luck")
        zone = data.draw(st.sampled_from(prices.zones))
        limit = data.draw(st.sampled_from([prices.at(zone), prices.on_demand_usd_h, NO_LIMIT]))
        if wish in (Do.SPOT, Do.STAY) and prices.at(zone) <= limit and state.now < state.deadline_at:
            return Choice(Do.SPOT, "luck", zone, limit)
        if wish is Do.WAIT and state.now < state.deadline_at:
            return Choice(Do.WAIT, "luck", until=state.now + 30 * data.draw(st.integers(1, 40)))
        return Choice(Do.ON_DEMAND, "luck")

    return decide


@settings(max_examples=150, deadline=None)
@given(any_market(), any_terms(), st.data())
def test_no_luck_beats_the_clairvoyant(market: Market, each: Terms, data: st.DataObject) -> None:
    """The world itself keeps the account here: whoever is in time, with any decisions whatever, pays at least as much."""
    outcome = play(any_strategy(data), market, each, BEGIN)
    if not outcome.missed:
        assert clairvoyant(market, each, BEGIN).usd <= outcome.usd + 1e-9
