"""The back-test: the same jobs at the same moments of a recorded past, decided for by each strategy, and what each of them paid.

Starts are drawn evenly over the record after a training window of seven days. A start whose job could reach into a hole of the record is
drawn again (what prices were there nobody knows), and how many were is told. No strategy sees beyond now (`spot_world.Prices`); the
broker's outlook is learned at the start, from what was known then. All figures of a strategy:

    cost             sum over all starts, USD
    cost_p95         the 95th percentile of one start's cost, USD
    mean_hours       from the start to the end of the job
    deadline_missed  how many starts ended after their deadline
    interruptions    how many hosts EC2 took back, over all starts
    ratio, ratio_p95 cost against the clairvoyant's: of the sums; the 95th percentile of single starts'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.core.spot_clairvoyant import clairvoyant
from chalicelib.core.spot_decide import ours
from chalicelib.core.spot_history import Market
from chalicelib.core.spot_outlook import Outlook, learn
from chalicelib.core.spot_strategies import cheapest_now, max_price_on_demand, on_demand, percentile_90
from chalicelib.core.spot_world import TICK_S, Outcome, Prices, Strategy, Terms, play

TRAINING_S = 7 * 86_400
DAY_S = 86_400
DRAWS_MAX = 200  # for each start, before the record is called too short
NAMES = ("ours", "on_demand", "cheapest_now", "max_price_on_demand", "percentile_90", "clairvoyant")
SECONDS_PER_HOUR = 3600


class TooShort(ValueError):
    """The record does not hold a training window and a deadline."""


@dataclass(frozen=True, slots=True)
class Case:
    """One job of the back-test: where, when, and how it went by strategy."""

    instance_type: str
    begin: float
    outcomes: Mapping[str, Outcome]


def drawn_starts(
    market: Market, terms: Terms, holes: Sequence[tuple[float, float]], count: int, chance: Callable[[], float]
) -> tuple[list[float], int]:
    """`count` starts in order, and how many draws touched a hole. `chance` gives numbers in [0, 1). Raises TooShort."""
    first = market.begins + TRAINING_S
    last = market.ends - terms.deadline_s
    if last <= first:
        raise TooShort(
            f"the prices of {market.instance_type} cover {(market.ends - market.begins) / DAY_S:.1f} days: a back-test needs seven to "
            f"learn from and {terms.deadline_s / SECONDS_PER_HOUR:g} hours to play in"
        )
    starts: list[float] = []
    refused = 0
    while len(starts) < count:
        begin = math.ceil((first + chance() * (last - first)) / TICK_S) * TICK_S
        if any(begin < end and start < begin + terms.deadline_s for start, end in holes):
            refused += 1
            if refused > DRAWS_MAX * count:
                raise TooShort(f"the prices of {market.instance_type} have holes everywhere")
            continue
        starts.append(float(begin))
    return sorted(starts), refused


def outlook_at(market: Market, terms: Terms, begin: float) -> Outlook:
    """What the broker expects at a start: learned from what was known then."""
    return Outlook(learn(Prices(market, begin), terms.checkpoint_s + terms.save_s), terms, market.on_demand_usd_h)


def strategies(market: Market, terms: Terms, begin: float, outlook: Outlook) -> dict[str, Strategy]:
    """All strategies but the clairvoyant, for a job that starts at `begin`."""
    return {
        "ours": ours(terms, outlook),
        "on_demand": on_demand,
        "cheapest_now": cheapest_now(terms),
        "max_price_on_demand": max_price_on_demand(terms, Prices(market, begin).cheapest()),
        "percentile_90": percentile_90(terms),
    }


def cases(market: Market, terms: Terms, starts: Sequence[float]) -> Iterator[Case]:
    """Each start played by every strategy."""
    for begin in starts:
        each = strategies(market, terms, begin, outlook_at(market, terms, begin))
        outcomes = {name: play(strategy, market, terms, begin) for name, strategy in each.items()}
        yield Case(market.instance_type, begin, {**outcomes, "clairvoyant": clairvoyant(market, terms, begin)})


def figures(played: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """The figures of each strategy over some cases."""
    least = [case.outcomes["clairvoyant"].usd for case in played]
    out: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        outcomes = [case.outcomes[name] for case in played]
        costs = [outcome.usd for outcome in outcomes]
        out[name] = {
            "cost": round(math.fsum(costs), 4),
            "cost_p95": round(percentile(costs, 0.95), 4),
            "mean_hours": round(math.fsum(o.end - o.begin for o in outcomes) / len(outcomes) / SECONDS_PER_HOUR, 3),
            "deadline_missed": sum(outcome.missed for outcome in outcomes),
            "interruptions": sum(outcome.interruptions for outcome in outcomes),
            "ratio": round(math.fsum(costs) / math.fsum(least), 4),
            "ratio_p95": round(percentile([usd / best for usd, best in zip(costs, least, strict=True)], 0.95), 4),
        }
    return out


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
