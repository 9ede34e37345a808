"""The one decision of the spot broker: where a job should be now. The back-test plays it, and `spillway spot advise` asks it.

It weighs the prices of now and what `spot_outlook` expects of later: stay, move, launch, wait, or finish on demand; the cheapest of
what the deadline allows. Three rules are above all weighing:
1. Nothing is begun that could end after the last moment at which on demand would still be in time.
2. Where the slack would not survive an interruption, the max price has no limit - in a world in which only the price interrupts.
   Where EC2 also reclaims (`Terms.reclaims`), nothing is begun on spot then.
3. A host is given up only for a gain of more than `MOVE_MARGIN` of what remains, since all expectations are guesses.
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.spot_outlook import Outlook
from chalicelib.core.spot_world import NO_LIMIT, Choice, Do, Prices, State, Strategy, Terms, latest_on_demand

MOVE_MARGIN = 0.0


@dataclass(frozen=True, slots=True)
class _Option:
    usd: float
    choice: Choice


def decide(state: State, prices: Prices, terms: Terms, outlook: Outlook) -> Choice:
    """What to do now. Pure: the same arguments, the same choice."""
    left = terms.chunks - state.saved
    slack = latest_on_demand(state, terms) - state.now
    now = [prices.at(zone) for zone in outlook.chain.zones]
    cell = outlook.chain.cell(now)
    options = [_Option(outlook.on_demand(left), Choice(Do.ON_DEMAND, "nothing else is in time, or cheaper"))]
    loss = terms.save_s if left > 1 else 0
    chunk = terms.chunk_s(state.saved)
    # rest of the chunk under way
    if state.host is not None:
        rest = state.host.chunk_ends_at - state.now
        if fits(state, terms, state.host.chunk_ends_at, state.host.max_price_usd_h):
            zone = outlook.chain.zones.index(state.host.zone)
            done = chunk - rest  # negative while it launches
            usd = now[zone] * rest / 3600 + outlook.on(left - 1, zone, slack + done - loss if left > 1 else 0.0, cell)
            options.append(_Option(usd * (1 - MOVE_MARGIN), Choice(Do.STAY, "it runs")))
    for zone, name in enumerate(outlook.chain.zones):
        if state.host is not None and state.host.zone == name:
            continue
        end = state.now + terms.launch_s + chunk
        limit = max_price(state, prices, terms)
        if limit is None or now[zone] > limit or not fits(state, terms, end, limit):
            continue
        usd = now[zone] * (terms.launch_s + chunk) / 3600
        usd += outlook.on(left - 1, zone, slack - terms.launch_s - loss if left > 1 else 0.0, cell)
        options.append(_Option(usd, Choice(Do.SPOT, "cheapest", name, limit)))
    if slack >= outlook.step_s:
        usd = outlook.off(left, slack - outlook.step_s, cell)
        options.append(_Option(usd, Choice(Do.WAIT, "prices may fall", until=state.now + outlook.step_s)))
    return min(options, key=lambda option: option.usd).choice


def max_price(state: State, prices: Prices, terms: Terms) -> float | None:
    """What a host that is launched now may cost at most, in USD an hour; None: no spot host may be launched any more."""
    slack = latest_on_demand(state, terms) - state.now
    saves = (terms.chunks - state.saved) * terms.save_s
    if slack >= terms.launch_s + terms.checkpoint_s + terms.save_s + saves + terms.launch_s:
        return prices.on_demand_usd_h
    return None if terms.reclaims else NO_LIMIT


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
