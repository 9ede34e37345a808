"""What the broker advises for a job that could start now: offerings in order of what the job is expected to cost there.

An offering is judged by replay: the job starts at the moments of the past whose prices were most like those of now, its first host is of
that offering, and from then on `decide` does what it would do today, moving to other zones of the type, waiting, or finishing on demand.
What these replays cost, and how many were in time, is the expectation. Replays see each moment's future only as it unfolds, but the
outlook that they decide by is learned from the same weeks: a forecast, not a back-test. On demand is the reference, and always in the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.core.host import Offering
from chalicelib.core.spot_decide import decide, fits, max_price
from chalicelib.core.spot_history import Market
from chalicelib.core.spot_outlook import HISTORY_S, Outlook, learn
from chalicelib.core.spot_world import NO_LIMIT, TICK_S, Choice, Do, Outcome, Prices, State, Strategy, Terms, play

REPLAYS = 40
APART_S = 1800  # two replays that start closer together would tell the same story twice
SURE = 0.95  # offerings that meet the deadline less often are ranked below all that do


@dataclass(frozen=True, slots=True)
class Place:
    """A market in a region, and what the job's data costs on its way there and back, in USD."""

    region: str
    market: Market
    transfer_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Advice:
    """One offering. `in_time`: share of replays that met the deadline; `finish_s`: mean time from now to the end; `usd`: with transfer.

    `max_price_usd_h`: None on demand, or where no limit is advised. `todo`: what to do first, in a sentence.
    """

    offering: Offering
    price_usd_h: float
    max_price_usd_h: float | None
    usd: float
    transfer_usd: float
    finish_s: float
    in_time: float
    interruptions: float
    replays: int
    todo: str


def advise(
    places: Sequence[Place], terms: Terms, now: float, holes: Sequence[tuple[float, float]] = ()
) -> list[Advice]:
    """All offerings of these places, best first: those that are sure to be in time, then by expected cost, then by finish."""
    found = [advice for place in places for advice in _of(place, terms, now, holes)]
    return sorted(found, key=lambda advice: (advice.in_time < SURE, advice.usd, advice.finish_s, advice.offering.key))


def _of(place: Place, terms: Terms, now: float, holes: Sequence[tuple[float, float]]) -> list[Advice]:
    market = place.market
    prices = Prices(market, now)
    on_demand = _on_demand(place, terms)
    starts = like_now(market, terms, now, holes)
    if not starts:
        return [
            replace(on_demand, todo=f"{on_demand.todo}; too little is known of spot: less than one deadline of prices")
        ]
    outlook = Outlook(learn(prices, terms.checkpoint_s + terms.save_s), terms, market.on_demand_usd_h)
    state = State(now=now, deadline_at=now + terms.deadline_s)
    choice = decide(state, prices, terms, outlook)
    limit = max_price(state, prices, terms)
    first_end = now + terms.launch_s + terms.chunk_s(0)
    out = [replace(on_demand, todo=_todo("", choice, prices)) if on_demand.in_time else on_demand]
    for zone in market.zones:
        if prices.at(zone) > limit or not fits(state, terms, first_end, limit):
            continue
        played = [play(_first(zone, limit, terms, outlook), market, terms, begin) for begin in starts]
        out.append(_spot(place, zone, prices.at(zone), limit, played, _todo(zone, choice, prices)))
    return out


def like_now(
    market: Market, terms: Terms, now: float, holes: Sequence[tuple[float, float]], count: int = REPLAYS
) -> list[float]:
    """The starts of the past weeks whose prices were most like those of now, whose jobs had ended by now, oldest first."""
    first = max(market.begins, now - HISTORY_S)
    last = now - terms.deadline_s
    logs = {zone: math.log(steps.at(now)) for zone, steps in market.zones.items()}
    begin = math.ceil(first / TICK_S) * TICK_S
    candidates = []
    while begin <= last:
        if not any(begin < end and start < begin + terms.deadline_s for start, end in holes):
            far = sum(abs(math.log(steps.at(begin)) - logs[zone]) for zone, steps in market.zones.items())
            candidates.append((round(far, 3), -begin))
        begin += APART_S
    return sorted(-negative for _, negative in sorted(candidates)[:count])


def _first(zone: str, limit: float, terms: Terms, outlook: Outlook) -> Strategy:
    """`decide`, but the first host is in this zone as soon as it may be."""

    def strategy(state: State, prices: Prices) -> Choice:
        untouched = state.host is None and state.saved == 0 and state.interruptions == 0
        if untouched and state.now == state.deadline_at - terms.deadline_s and prices.at(zone) <= limit:
            return Choice(Do.SPOT, "asked for", zone, limit)
        return decide(state, prices, terms, outlook)

    return strategy


def _spot(place: Place, zone: str, price: float, limit: float, played: Sequence[Outcome], todo: str) -> Advice:
    count = len(played)
    return Advice(
        offering=Offering(
            region=place.region,
            instance_type=place.market.instance_type,
            market="spot",
            zone=zone,
            max_price_usd_h=None if limit == NO_LIMIT else limit,
        ),
        price_usd_h=price,
        max_price_usd_h=None if limit == NO_LIMIT else limit,
        usd=math.fsum(outcome.usd for outcome in played) / count + place.transfer_usd,
        transfer_usd=place.transfer_usd,
        finish_s=math.fsum(outcome.end - outcome.begin for outcome in played) / count,
        in_time=sum(not outcome.missed for outcome in played) / count,
        interruptions=sum(outcome.interruptions for outcome in played) / count,
        replays=count,
        todo=todo,
    )


def _on_demand(place: Place, terms: Terms) -> Advice:
    seconds = terms.on_demand_s(0)
    return Advice(
        offering=Offering(region=place.region, instance_type=place.market.instance_type),
        price_usd_h=place.market.on_demand_usd_h,
        max_price_usd_h=None,
        usd=place.market.on_demand_usd_h * seconds / 3600 + place.transfer_usd,
        transfer_usd=place.transfer_usd,
        finish_s=seconds,
        in_time=float(seconds <= terms.deadline_s),
        interruptions=0.0,
        replays=0,
        todo="launch"
        if seconds <= terms.deadline_s
        else "launch, although even on demand is too late for the deadline",
    )


def _todo(zone: str, choice: Choice, prices: Prices) -> str:
    """What to do first, said of spot in a zone; of on demand where that is ""."""
    if choice.do is Do.WAIT:
        return "wait: the prices of the past weeks say that it gets cheaper soon"
    if choice.zone == zone:  # "" on demand
        return "launch"
    if choice.do is Do.SPOT:
        return f"rather launch in {choice.zone}, at {prices.at(choice.zone):g} USD/h"
    return "rather launch on demand"
