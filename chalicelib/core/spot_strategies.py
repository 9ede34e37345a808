"""The strategies that ours is compared with. All but `on_demand` share one fallback: on demand at the last safe moment.

That moment is kept by one rule: nothing is begun on spot that, lost at its last second, would leave too little time for the rest on demand.
"""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.core.spot_world import NO_LIMIT, TICK_S, Choice, Do, Prices, State, Strategy, Terms, latest_on_demand

WEEK_S = 7 * 86_400


def safe_to_launch(state: State, terms: Terms, *, interruptible: bool = True) -> bool:
    """Whether a spot host may be launched now without endangering the deadline."""
    end = state.now + terms.launch_s + terms.chunk_s(state.saved)
    return _safe_until(state, terms, end, interruptible=interruptible)


def safe_to_stay(state: State, terms: Terms, *, interruptible: bool = True) -> bool:
    """Whether the chunk that the host is in may go on without endangering the deadline."""
    return state.host is not None and _safe_until(state, terms, state.host.chunk_ends_at, interruptible=interruptible)


def _safe_until(state: State, terms: Terms, end: float, *, interruptible: bool) -> bool:
    if interruptible:
        return end <= latest_on_demand(state, terms)
    if state.saved + 1 == terms.chunks:
        return end <= state.deadline_at
    return end <= latest_on_demand(state, terms, state.saved + 1)


def on_demand(state: State, prices: Prices) -> Choice:
    """The reference: at once, at list price."""
    return Choice(Do.ON_DEMAND, "always")


def with_fallback(terms: Terms, bid: Callable[[State, Prices], tuple[str, float]]) -> Strategy:
    """Launch where and at which max price `bid` says, as soon as that is not below the market's; stay until interrupted.

    On demand at the last safe moment.
    """

    def decide(state: State, prices: Prices) -> Choice:
        if state.host is not None:
            if safe_to_stay(state, terms):
                return Choice(Do.STAY, "it runs")
            return Choice(Do.ON_DEMAND, "the last safe moment")
        if not safe_to_launch(state, terms):
            return Choice(Do.ON_DEMAND, "the last safe moment")
        zone, limit = bid(state, prices)
        if prices.at(zone) > limit:
            return Choice(Do.WAIT, "the market is above the max price", until=_last_launch(state, terms))
        return Choice(Do.SPOT, "the market is not above the max price", zone, limit)

    return decide


def cheapest_now(terms: Terms) -> Strategy:
    """The zone that is cheapest now, whatever it costs, at a max price of on demand; after an interruption again."""
    return with_fallback(terms, lambda _state, prices: (prices.cheapest(), prices.on_demand_usd_h))


def max_price_on_demand(terms: Terms, zone: str) -> Strategy:
    """One zone for the whole job, at a max price of on demand; where that is exceeded it waits."""
    return with_fallback(terms, lambda _state, prices: (zone, prices.on_demand_usd_h))


def percentile_90(terms: Terms) -> Strategy:
    """The zone that is cheapest now, at a max price that it did not exceed for 90 % of the last seven days, at most on demand."""
    from chalicelib.core.spot_history import weighted_percentile

    limits: dict[str, float] = {}

    def bid(state: State, prices: Prices) -> tuple[str, float]:
        if not limits:  # once, when the job starts
            for zone in prices.zones:
                limits[zone] = min(weighted_percentile(prices.past(zone, WEEK_S), 0.9), prices.on_demand_usd_h)
        open_zones = [zone for zone in prices.zones if prices.at(zone) <= limits[zone]]
        zone = min(open_zones or prices.zones, key=lambda name: (prices.at(name), name))
        return zone, limits[zone]

    return with_fallback(terms, bid)


def _last_launch(state: State, terms: Terms) -> float:
    """The first tick at which launching on spot is no longer safe."""
    latest = latest_on_demand(state, terms) - terms.launch_s - terms.chunk_s(state.saved)
    return max(state.now + TICK_S, latest + TICK_S)


__all__ = ["NO_LIMIT", "WEEK_S", "cheapest_now", "max_price_on_demand", "on_demand", "percentile_90"]
