"""Spot prices over time: a step function for each zone and instance type, and the holes in what is known of them.

A price holds from its change to the next one. Integrals are prefix sums and look-ups are bisections, so that a back-test over half a
year of prices takes seconds without any numeric library.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

HOLE_S = 3 * 3600  # no change of any price anywhere for at least this long …
HOLE_GAPS = 40  # … and for so many times the usual gap: the record is broken, the market was not asleep


@dataclass(frozen=True, slots=True)
class Change:
    """From `at` (Unix seconds) on, spot of `instance_type` in `zone` costs `usd_h`.

    `on_demand_usd_h`: None where the source does not say.
    """

    at: float
    zone: str
    instance_type: str
    usd_h: float
    on_demand_usd_h: float | None = None


class Steps:
    """One price over time. `times` ascend strictly; `values` in USD an hour; integrals in USD."""

    __slots__ = ("_paid", "times", "values")

    def __init__(self, changes: Iterable[tuple[float, float]]) -> None:
        """`changes`: (Unix seconds, USD an hour) in any order; of several at one second the last one counts. Raises ValueError for none."""
        latest = dict(sorted(changes, key=lambda change: change[0]))
        if not latest:
            raise ValueError("a price that was never told is no price history")
        self.times = list(latest)
        self.values = list(latest.values())
        self._paid = [0.0]
        for (begin, usd_h), end in zip(latest.items(), self.times[1:], strict=False):
            self._paid.append(self._paid[-1] + usd_h * (end - begin) / 3600)

    def at(self, when: float) -> float:
        """The price at a time; before the first change: that change's price, since nothing better is known."""
        return self.values[max(0, bisect_right(self.times, when) - 1)]

    def paid(self, begin: float, end: float) -> float:
        """What a host costs from `begin` to `end`, billed by the second at the market price, in USD."""
        return self._until(end) - self._until(begin)

    def mean(self, begin: float, end: float) -> float:
        """The mean price of a time, in USD an hour."""
        return self.paid(begin, end) * 3600 / (end - begin)

    def next_change(self, after: float) -> float | None:
        """When the price changes next, strictly after a time; None: never again."""
        index = bisect_right(self.times, after)
        return self.times[index] if index < len(self.times) else None

    def next_above(self, limit_usd_h: float, begin: float, end: float) -> float | None:
        """The first moment in [begin, end) at which the price exceeds a limit; None: it does not."""
        index = max(0, bisect_right(self.times, begin) - 1)
        for position in range(index, bisect_left(self.times, end)):
            if self.values[position] > limit_usd_h:
                return max(begin, self.times[position])
        return None

    def spans(self, begin: float, end: float) -> list[tuple[float, float]]:
        """(seconds, USD an hour) of each step in [begin, end)."""
        first = max(0, bisect_right(self.times, begin) - 1)
        last = bisect_left(self.times, end)
        edges = [begin, *self.times[first + 1 : last], end]
        return [(b - a, usd_h) for (a, b), usd_h in zip(pairwise(edges), self.values[first:last], strict=True)]

    def percentile(self, share: float, begin: float, end: float) -> float:
        """The price that was not exceeded for `share` (0 to 1) of a time."""
        return weighted_percentile(self.spans(begin, end), share)

    def until(self, when: float) -> Steps:
        """The same price as it was known at a time: without any later change."""
        known = bisect_right(self.times, when)
        return Steps(zip(self.times[: max(1, known)], self.values[: max(1, known)], strict=True))

    def _until(self, when: float) -> float:
        index = max(0, bisect_right(self.times, when) - 1)
        return self._paid[index] + self.values[index] * (when - self.times[index]) / 3600


def weighted_percentile(spans: Iterable[tuple[float, float]], share: float) -> float:
    """The value that is not exceeded for `share` of the weight of (weight, value) pairs. Raises ValueError for none."""
    ordered = sorted((value, weight) for weight, value in spans if weight > 0)
    if not ordered:
        raise ValueError("no percentile of nothing")
    wanted = share * sum(weight for _, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= wanted:
            return value
    return ordered[-1][0]


@dataclass(frozen=True)
class Market:
    """One instance type: its spot price by zone, and what it costs on demand in USD an hour."""

    instance_type: str
    zones: Mapping[str, Steps]
    on_demand_usd_h: float

    @property
    def begins(self) -> float:
        """From when on every zone has a price."""
        return max(steps.times[0] for steps in self.zones.values())

    @property
    def ends(self) -> float:
        """The last moment of which anything is known."""
        return max(steps.times[-1] for steps in self.zones.values())


def markets(changes: Sequence[Change], on_demand_usd_h: Mapping[str, float] | None = None) -> dict[str, Market]:
    """The markets in a record of changes, by instance type.

    A type's on-demand price: `on_demand_usd_h`, else the last one that the record itself tells; a type without either is left out.
    """
    steps: dict[str, dict[str, list[tuple[float, float]]]] = {}
    listed: dict[str, float] = {}
    for change in changes:
        steps.setdefault(change.instance_type, {}).setdefault(change.zone, []).append((change.at, change.usd_h))
        if change.on_demand_usd_h:
            listed[change.instance_type] = change.on_demand_usd_h
    listed.update(on_demand_usd_h or {})
    return {
        kind: Market(kind, {zone: Steps(told) for zone, told in sorted(zones.items())}, listed[kind])
        for kind, zones in sorted(steps.items())
        if kind in listed
    }


def holes(changes: Iterable[Change]) -> list[tuple[float, float]]:
    """The times in which nothing was recorded at all, (begin, end): what a price was there nobody knows.

    Only for records that people kept: what EC2 itself tells is whole. Prices of today change a few times a day, so how long a silence must
    be to be a hole depends on the record.
    """
    times = sorted({change.at for change in changes})
    if len(times) < 2:
        return []
    hole_s = max(HOLE_S, HOLE_GAPS * (times[-1] - times[0]) / (len(times) - 1))
    return [(a, b) for a, b in pairwise(times) if b - a > hole_s]
