"""The one decision of the spot broker: where a job should be now. The back-test plays it, and `spillway spot advise` asks it.

It weighs the prices of now, and what `spot_outlook` expects of later: to stay, to move, to launch or to wait, the cheapest of what the
deadline allows. Four rules are above all weighing:
1. Nothing is begun on spot that could end, or be lost, after the last moment at which on demand would still be in time.
2. On demand is the last resort, at that last moment and not before: until then waiting costs nothing, and prices may fall.
3. Where the slack would survive an interruption, the max price is on demand's. Where it would not, there is no limit in a world in which
   only the price interrupts; and where EC2 also reclaims (`Terms.reclaims`), nothing is begun on spot any more.
4. A host is given up only where something else is better by `STAY_MARGIN`, and a launch put off by `WAIT_MARGIN`: expectations are guesses,
   and every launch is paid for. Both margins were chosen on 4 h jobs of the 2015 record (docs/spot.md tells what that is worth).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chalicelib.core.spot_outlook import Outlook, age_now
from chalicelib.core.spot_world import NO_LIMIT, TICK_S, Choice, Do, Prices, State, Strategy, Terms, latest_on_demand

STAY_MARGIN = 0.02  # of what the rest of the job is expected to cost
WAIT_MARGIN = 0.001


def decide(state: State, prices: Prices, terms: Terms, outlook: Outlook) -> Choice:
    """What to do now. Pure: the same arguments, the same choice; its reason names what was expected of it."""
    options = sorted(_options(state, prices, terms, outlook), key=lambda option: option[0])
    if not options:
        return Choice(Do.ON_DEMAND, "on demand, since nothing else is sure to be in time")
    (_, usd, best), *others = options
    reason = f"{best.reason}: the rest is expected to cost {usd:.3g} USD"
    if others:
        reason += f"; otherwise {others[0][2].reason}, {others[0][1]:.3g} USD"
    return replace(best, reason=reason)


def max_price(state: State, prices: Prices, terms: Terms) -> float:
    """What a host that is launched now may cost at most, in USD an hour.

    Enough slack is: to launch, to lose the last chunk at its last second after all others cost a save each, and to launch on demand.
    """
    slack = latest_on_demand(state, terms) - state.now
    saves = (terms.chunks - state.saved) * terms.save_s
    if slack >= 2 * terms.launch_s + terms.checkpoint_s + terms.save_s + saves:
        return prices.on_demand_usd_h
    return prices.on_demand_usd_h if terms.reclaims else NO_LIMIT


def fits(state: State, terms: Terms, end: float, limit_usd_h: float) -> bool:
    """Whether a spot host may work until `end`, when the next chunk is saved, without endangering the deadline."""
    if limit_usd_h != NO_LIMIT or terms.reclaims:
        return end <= latest_on_demand(state, terms)
    if state.saved + 1 == terms.chunks:
        return end <= state.deadline_at
    return end <= latest_on_demand(state, terms, state.saved + 1)


def ours(terms: Terms, outlook: Outlook) -> Strategy:
    """The broker as a strategy."""
    return lambda state, prices: decide(state, prices, terms, outlook)


def _options(state: State, prices: Prices, terms: Terms, outlook: Outlook) -> Iterator[tuple[float, float, Choice]]:
    """(weight, expected USD, choice) of all that may be done; the least weight is best."""
    left = terms.chunks - state.saved
    slack = latest_on_demand(state, terms) - state.now
    zones = outlook.chain.zones
    now = [prices.at(zone) for zone in zones]
    cell = outlook.chain.cell(now, age_now(prices, outlook.step_s))
    chunk = terms.chunk_s(state.saved)
    after = slack - (terms.save_s if left > 1 else 0)  # the slack when the chunk is saved, had it begun now
    host = state.host
    if host is not None and fits(state, terms, host.chunk_ends_at, host.max_price_usd_h):
        zone, rest = zones.index(host.zone), host.chunk_ends_at - state.now
        usd = now[zone] * rest / 3600 + outlook.on(left - 1, zone, after + chunk - rest, cell)
        yield usd * (1 - STAY_MARGIN), usd, Choice(Do.STAY, f"go on in {host.zone}")
    limit = max_price(state, prices, terms)
    launched = state.now + terms.launch_s + chunk
    if fits(state, terms, launched, limit):
        for zone, name in enumerate(zones):
            if now[zone] <= limit and (host is None or host.zone != name):
                usd = now[zone] * (terms.launch_s + chunk) / 3600
                usd += outlook.on(left - 1, zone, after - terms.launch_s, cell)
                yield usd, usd, Choice(Do.SPOT, f"launch in {name}", name, limit)
    if slack >= outlook.step_s:
        usd = outlook.off(left, slack - outlook.step_s, cell)
        yield usd * (1 + WAIT_MARGIN), usd, Choice(Do.WAIT, "wait", until=state.now + outlook.step_s)
    elif slack >= TICK_S:
        usd = outlook.on_demand(left)
        yield usd, usd, Choice(Do.WAIT, "wait", until=state.now + slack)
    elif slack >= 0:
        usd = outlook.on_demand(left)
        yield usd, usd, Choice(Do.ON_DEMAND, "on demand")
