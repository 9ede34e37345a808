"""The world of the back-test, by hand: launches, saves, interruptions and bills; and the rules of the decision in it."""

from __future__ import annotations

import math

import pytest
from markets import BEGIN, HOUR, a_market, terms

from chalicelib.core.spot_advice import Place, advise
from chalicelib.core.spot_decide import decide, max_price
from chalicelib.core.spot_history import Market
from chalicelib.core.spot_outlook import Outlook, learn
from chalicelib.core.spot_strategies import cheapest_now
from chalicelib.core.spot_world import Choice, Do, Host, Prices, State, Terms, play

DAY = 24 * HOUR


def asked(market: Market, each: Terms, *, saved: int = 0, host: Host | None = None, now: float = BEGIN) -> Choice:
    """What `decide` says of a job that began at BEGIN."""
    prices = Prices(market, now)
    outlook = Outlook(learn(prices, each.checkpoint_s + each.save_s), each, market.on_demand_usd_h)
    return decide(State(now, BEGIN + each.deadline_s, saved, host), prices, each, outlook)


def test_an_undisturbed_hour_is_a_launch_six_chunks_and_five_saves() -> None:
    outcome = play(cheapest_now(terms(1, 2)), a_market(a=[(-DAY, 0.1)]), terms(1, 2), BEGIN)
    assert outcome.end - BEGIN == 180 + 3600 + 5 * 30
    assert outcome.usd == pytest.approx(0.1 * (180 + 3600 + 150) / HOUR)


def test_an_interruption_is_paid_to_its_second_and_loses_what_was_not_saved() -> None:
    """At 1417 s the second chunk is 607 s old, all but saved: the next host does it again, from the next tick on."""
    market = a_market(a=[(-DAY, 0.1), (1417, 5.0)], b=[(-DAY, 0.2)])
    outcome = play(cheapest_now(terms(1, 3)), market, terms(1, 3), BEGIN)
    first, second = outcome.windows
    assert (first.zone, first.end - BEGIN, first.interrupted) == ("a", 1417, True)
    assert first.usd == pytest.approx(0.1 * 1417 / HOUR)
    assert (second.zone, second.begin - BEGIN) == ("b", 1440)
    assert second.end - second.begin == 180 + 3000 + 4 * 30
    assert outcome.interruptions == 1


def test_a_price_at_the_max_price_is_no_interruption() -> None:
    market = a_market(a=[(-DAY, 0.1), (600, 1.0), (900, 0.1)])
    assert play(cheapest_now(terms(1, 3)), market, terms(1, 3), BEGIN).interruptions == 0


def test_the_max_price_is_on_demands_while_an_interruption_would_be_survived_and_then_has_no_limit() -> None:
    """In a world in which only the price interrupts; where EC2 reclaims as well, a high max price would promise what it cannot keep."""
    prices = Prices(a_market(a=[(-DAY, 0.1)]), BEGIN)
    roomy, tight = State(BEGIN, BEGIN + 2 * HOUR), State(BEGIN, BEGIN + HOUR + 15 * 60)
    assert max_price(roomy, prices, terms(1, 2)) == 1.0
    assert max_price(tight, prices, terms(1, 1.25)) == math.inf
    assert max_price(tight, prices, terms(1, 1.25, reclaims=True)) == 1.0
    assert asked(a_market(a=[(-DAY, 0.1)]), terms(1, 1.25)).do is Do.SPOT
    assert asked(a_market(a=[(-DAY, 0.1)]), terms(1, 1.25, reclaims=True)).do is Do.WAIT


def test_a_spike_is_waited_out_while_there_is_slack() -> None:
    """Spikes of a quarter of an hour every two hours: ten times the price now is no reason to pay it."""
    day = [(-k * 2 * HOUR, 2.0) for k in range(1, 60)] + [(-k * 2 * HOUR + 900, 0.1) for k in range(1, 60)]
    market = a_market(a=[*day, (0, 0.9)])
    assert asked(market, terms(1, 4)).do is Do.WAIT
    assert asked(a_market(a=day), terms(1, 4)).do is Do.SPOT


def test_a_host_is_left_for_a_zone_that_is_much_cheaper_but_not_for_one_that_is_a_little() -> None:
    host = Host("a", 1.0, BEGIN - 810, BEGIN + 630)
    for other, wanted in ((0.38, Do.STAY), (0.1, Do.SPOT)):
        market = a_market(a=[(-DAY, 0.4)], b=[(-DAY, other)])
        assert asked(market, terms(2, 6), saved=1, host=host).do is wanted


def test_on_demand_is_the_last_resort_at_the_last_tick_and_not_before() -> None:
    market = a_market(a=[(-DAY, 3.0)])  # spot has always been dearer than on demand
    each = terms(1, 2)
    last = BEGIN + 2 * HOUR - HOUR - 180
    assert asked(market, each, now=last - 30).do is Do.WAIT
    assert asked(market, each, now=last).do is Do.ON_DEMAND


def test_a_host_without_limit_is_not_kept_at_five_times_on_demand() -> None:
    """At the last moment for on demand, what spot costs now decides; a deadline in danger is no reason to pay any price."""
    each = terms(1, 1.25)
    last = BEGIN + 4500 - 180 - 3000  # one chunk is saved
    host = Host("a", math.inf, BEGIN, last + 540)
    assert asked(a_market(a=[(-DAY, 5.0)]), each, saved=1, host=host, now=last).do is Do.ON_DEMAND
    assert asked(a_market(a=[(-DAY, 0.5)]), each, saved=1, host=host, now=last).do is Do.STAY


def test_what_is_expected_is_in_the_reason() -> None:
    reason = asked(a_market(a=[(-DAY, 0.1)], b=[(-DAY, 0.3)]), terms(1, 2)).reason
    assert reason.startswith("launch in a: the rest is expected to cost 0.109 USD; otherwise ")


def test_advice_on_a_steady_market_is_its_price_and_on_demand_is_beside_it() -> None:
    market = a_market(a=[(-20 * DAY, 0.1), (-60, 0.1)], b=[(-20 * DAY, 0.3), (-60, 0.3)])
    best, *others = advise([Place("us-east-1", market, transfer_usd=0.5)], terms(1, 4, reclaims=True), BEGIN)
    assert (best.offering.zone, best.todo, best.interruptions, best.in_time, best.replays) == (
        "a",
        "launch",
        0,
        1.0,
        40,
    )
    assert best.usd == pytest.approx(0.1 * (180 + 3600 + 150) / HOUR + 0.5)
    assert [(other.offering.market, other.offering.zone) for other in others] == [("spot", "b"), ("on_demand", None)]
    assert others[0].todo == "rather launch in a, at 0.1 USD/h"


def test_a_market_whose_past_is_all_holes_is_advised_on_demand() -> None:
    market = a_market(a=[(-20 * DAY, 0.1), (-60, 0.1)])
    (only,) = advise([Place("us-east-1", market)], terms(1, 4), BEGIN, holes=[(BEGIN - 20 * DAY, BEGIN - 60)])
    assert "too little is known of spot" in only.todo


def test_on_demand_is_not_told_to_launch_where_waiting_is_the_advice() -> None:
    """In a spike above on demand no zone can be launched in: then the list is on demand alone, and its advice is still to wait."""
    market = a_market(
        a=[(at, usd) for k in range(1, 200) for at, usd in ((-k * 7200, 0.1), (-k * 7200 - 900, 2.0))] + [(-60, 2.0)]
    )
    (only,) = advise([Place("us-east-1", market)], terms(1, 4, reclaims=True), BEGIN)
    assert only.offering.market == "on_demand"
    assert only.todo.startswith("wait")


def test_a_market_without_a_past_is_advised_on_demand_and_says_why() -> None:
    (only,) = advise([Place("us-east-1", a_market(a=[(-600, 0.1)]))], terms(1, 4), BEGIN)
    assert only.offering.market == "on_demand"
    assert "too little is known of spot" in only.todo
