"""What the rest of a job may be expected to cost on spot, learned from the prices of the past weeks: the memory behind `spot_decide`.

**The chain.** The past is sampled once a step (the time of a chunk and its save). Each sample is put into a cell: the prices of all zones,
rounded finely where they are low and coarsely in spikes, and how long ago the cheapest zone was notably cheaper (a spike that has
just begun is soon over, a level that has held for a day stays). What followed on each cell, how often, makes a Markov chain of all zones
together: that zones rise and fall together, how long spikes last and where prices return to is all in it, without a formula for any of
it. Rarely seen cells are half believed to be like all others; prices that were never seen are those of the nearest cell.

**The values.** For `left` chunks, `slack` seconds until the last moment at which on demand would still do, and a cell:
    on[left][z][slack]  = min(chunk on the host in z, then E on[left - 1][z][slack - save], or `off`: leave)
    off[left][slack]    = min(wait a step: E off[left][slack - step], launch in z and run, the rest on demand)
worked out backwards over a grid of slacks, dense where there is little; between its points values are linear. The same
two equations, with the real prices of now in the place of the cell's, are the decision.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from chalicelib.core.spot_world import Prices, Terms

COARSENESS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5)  # of cells; the first that gives few enough of them
CELLS_MAX = 64
PRIOR_VISITS = 0.5  # how much a cell is believed to be like all others, in visits to it
HISTORY_S = 14 * 86_400
LOWER = 0.93  # "was cheaper" is below this share of the price now
AGES = (6, 34)  # steps since it was: lately, a while ago (6 h), else long ago
LOOK_BACK = AGES[-1]
AGE_WEIGHT = 0.3  # of one age, in the logarithm of a price, where the nearest cell is looked for
FLOOR_USD_H = 1e-5  # no spot host costs less; keeps logarithms finite

Cell = tuple[int, ...]
Vector = list[float]


@dataclass(frozen=True)
class Chain:
    """How the zones' prices move together, a step at a time.

    A cell is the place of each zone's price between its `edges`, and an age. `follow[c]`: (cell, probability) pairs; `now[z][c]`: zone z's
    mean price at a sample in the cell; `ahead[z][c]`: its mean over the step that follows, in USD an hour; `visits[c]`: samples.
    """

    zones: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    cells: tuple[Cell, ...]
    follow: tuple[tuple[tuple[int, float], ...], ...]
    now: tuple[Vector, ...]
    ahead: tuple[Vector, ...]
    visits: tuple[int, ...]

    def cell(self, prices: Sequence[float], age: int) -> int:
        """The cell of prices and age, or the one that is nearest to them."""
        wanted = (*_cell(prices, self.edges), age)
        if wanted in self._index:
            return self._index[wanted]
        logs = [math.log(max(FLOOR_USD_H, usd_h)) for usd_h in prices]

        def far(number: int) -> float:
            return AGE_WEIGHT * abs(self.cells[number][-1] - age) + sum(
                abs(math.log(max(FLOOR_USD_H, mean[number])) - log) for mean, log in zip(self.now, logs, strict=True)
            )

        return min(range(len(self.cells)), key=far)

    def ahead_of(self, cell: int, steps: int) -> list[float]:
        """The mean price of each zone over so many steps from `cell` on, in USD an hour."""
        sums, places = [0.0] * len(self.zones), {cell: 1.0}
        for _ in range(steps):
            for zone, mean in enumerate(self.ahead):
                sums[zone] += sum(share * mean[at] for at, share in places.items())
            later: dict[int, float] = {}
            for at, share in places.items():
                for to, often in self.follow[at]:
                    later[to] = later.get(to, 0.0) + share * often
            places = later
        return [total / steps for total in sums]

    @cached_property
    def _index(self) -> dict[Cell, int]:
        return {cell: number for number, cell in enumerate(self.cells)}


def _cell(prices: Sequence[float], edges: Sequence[Sequence[float]]) -> Cell:
    return tuple([bisect_right(each, usd_h) for usd_h, each in zip(prices, edges, strict=True)])


def _age(lowest: Sequence[float]) -> int:
    """How long ago the cheapest zone was notably cheaper than at the end: 0 lately, 1 a while ago, 2 long ago."""
    limit = lowest[-1] * LOWER
    for back, usd_h in enumerate(reversed(lowest)):
        if usd_h < limit:
            return next(number for number, most in enumerate(AGES) if back <= most)
    return len(AGES)


def age_now(prices: Prices, step_s: int) -> int:
    """The age of now, for `Chain.cell`."""
    sampled = [prices.sampled(zone, prices.now - LOOK_BACK * step_s, step_s, LOOK_BACK + 1) for zone in prices.zones]
    return _age([min(row) for row in zip(*sampled, strict=True)])


def _edges(usd_h: Sequence[float], coarseness: float) -> tuple[float, ...]:
    """Where one cell ends and the next begins: close together near the lowest price, where most of a job is bought, far apart in spikes.

    They are even on the scale log(1 + log(price / lowest)).
    """
    lowest = min(usd_h)
    top = math.log1p(math.log(max(usd_h) / lowest))
    count = math.ceil(top / coarseness - 0.5)
    return tuple(lowest * math.exp(math.expm1((number + 0.5) * coarseness)) for number in range(max(1, count)))


def learn(
    prices: Prices,
    step_s: int,
    history_s: float = HISTORY_S,
    cells_max: int = CELLS_MAX,
) -> Chain:
    """The chain of the `history_s` before now."""
    zones = tuple(prices.zones)
    count = int(history_s // step_s)
    begin = prices.now - count * step_s
    first = max(begin, *(prices.begins(zone) for zone in zones))
    skip = math.ceil((first - begin) / step_s)
    begin, count = begin + skip * step_s, max(1, count - skip)
    sampled = [prices.sampled(zone, begin, step_s, count + 1) for zone in zones]
    means = [prices.means(zone, begin, step_s, count) for zone in zones]
    rows = list(zip(*sampled, strict=True))
    lowest = [min(row) for row in rows]
    ages = [_age(lowest[max(0, n - LOOK_BACK) : n + 1]) for n in range(len(lowest))]
    for coarseness in COARSENESS:
        edges = tuple(_edges(values, coarseness) for values in sampled)
        keys = [(*_cell(row, edges), age) for row, age in zip(rows, ages, strict=True)]
        cells = sorted(set(keys[:-1]))  # of what is now nobody knows what follows
        if len(cells) <= cells_max:
            break
    index = {cell: number for number, cell in enumerate(cells)}
    size, width = len(cells), len(zones)
    counts: list[dict[int, int]] = [{} for _ in cells]
    seen = [0] * size
    now = [[0.0] * size for _ in zones]
    ahead = [[0.0] * size for _ in zones]
    for n in range(count):
        cell, after = index[keys[n]], index.get(keys[n + 1])
        seen[cell] += 1
        for z in range(width):
            now[z][cell] += rows[n][z]
            ahead[z][cell] += means[z][n]
        if after is not None:
            counts[cell][after] = counts[cell].get(after, 0) + 1
    for cell in range(size):
        for z in range(width):
            now[z][cell] /= seen[cell]
            ahead[z][cell] /= seen[cell]
    follow = tuple(
        tuple((to, times / sum(row.values())) for to, times in sorted(row.items())) if row else ((cell, 1.0),)
        for cell, row in enumerate(counts)
    )
    return Chain(zones, edges, tuple(cells), follow, tuple(now), tuple(ahead), tuple(seen))


def slack_grid(slack_s: float, step_s: int) -> list[float]:
    """Slacks from 0 to `slack_s`: half a step apart at first, then each gap a third longer."""
    grid, gap = [0.0], step_s / 2
    while grid[-1] < slack_s:
        grid.append(grid[-1] + gap)
        gap *= 1.33
    return grid


class Outlook:
    """Expected costs, in USD, by chunks left, slack and cell. Made once from a chain; good for as long as the chain is believed."""

    def __init__(self, chain: Chain, terms: Terms, on_demand_usd_h: float) -> None:
        self.chain, self.terms, self.on_demand_usd_h = chain, terms, on_demand_usd_h
        self.step_s = terms.checkpoint_s + terms.save_s
        self.grid = slack_grid(max(0.0, terms.deadline_s - terms.on_demand_s(0)), self.step_s)
        size, points = len(chain.cells), len(self.grid)
        seen = sum(chain.visits)
        self._often = [visits / seen for visits in chain.visits]
        self._doubt = [PRIOR_VISITS / (PRIOR_VISITS + visits) for visits in chain.visits]
        zero = [[0.0] * size for _ in range(points)]
        # [left][point][cell]: expected over what follows on the cell; e_on also by zone
        self.e_off: list[list[Vector]] = [zero]
        self.e_on: list[list[list[Vector]]] = [[zero] * len(chain.zones)]
        for left in range(1, terms.chunks + 1):
            self._add(left)

    def off(self, left: int, slack_s: float, cell: int) -> float:
        """Expected cost from the next step on, if the zones are in `cell` now and `slack_s` is left then. Infinite: it is too late."""
        return self._between(self.e_off[left], slack_s, cell, left)

    def on(self, left: int, zone: int, slack_s: float, cell: int) -> float:
        """The same with a host in a zone (by its number in the chain)."""
        return self._between(self.e_on[left][zone], slack_s, cell, left)

    def on_demand(self, left: int) -> float:
        """What `left` chunks cost on demand, launch included, in USD."""
        return self.on_demand_usd_h * self.terms.on_demand_s(self.terms.chunks - left) / 3600

    def _between(self, values: list[Vector], slack_s: float, cell: int, left: int) -> float:
        if left == 0:
            return 0.0
        if slack_s < 0:
            return self.on_demand(left) if slack_s > -1 else math.inf
        low, share = _place(self.grid, slack_s)
        return values[low][cell] + share * (values[low + 1][cell] - values[low][cell]) if share else values[low][cell]

    def _add(self, left: int) -> None:
        terms, chain = self.terms, self.chain
        saved = terms.chunks - left
        chunk = terms.chunk_s(saved)
        loss = terms.save_s if left > 1 else 0  # slack that a chunk on spot costs
        size, zones = len(chain.cells), range(len(chain.zones))
        on_demand = self.on_demand(left)
        run = [[usd_h * chunk / 3600 for usd_h in chain.ahead[z]] for z in zones]
        start = [[run[z][c] + chain.now[z][c] * terms.launch_s / 3600 for c in range(size)] for z in zones]
        e_off: list[Vector] = []
        e_on: list[list[Vector]] = [[] for _ in zones]
        for slack in self.grid:
            off = [on_demand] * size
            if slack >= self.step_s:
                later = self._vector(e_off, slack - self.step_s)
                off = [min(pair) for pair in zip(off, later, strict=True)]
            for z in zones:
                after = self._vector(self.e_on[left - 1][z], slack - loss - terms.launch_s) if left > 1 else None
                if slack - loss - terms.launch_s >= 0 or left == 1:
                    first = start[z]
                    costs = [a + b for a, b in zip(first, after, strict=True)] if after else first
                    off = [min(pair) for pair in zip(off, costs, strict=True)]
            for z in zones:
                on = off
                if slack - loss >= 0 or left == 1:
                    after = self._vector(self.e_on[left - 1][z], slack - loss) if left > 1 else None
                    costs = [a + b for a, b in zip(run[z], after, strict=True)] if after else run[z]
                    on = [min(pair) for pair in zip(off, costs, strict=True)]
                e_on[z].append(self._expect(on))
            e_off.append(self._expect(off))
        self.e_off.append(e_off)
        self.e_on.append(e_on)

    def _vector(self, values: list[Vector], slack_s: float) -> Vector:
        low, share = _place(self.grid, max(0.0, slack_s))
        if not share or low + 1 >= len(values):
            return values[min(low, len(values) - 1)]
        return [a + share * (b - a) for a, b in zip(values[low], values[low + 1], strict=True)]

    def _expect(self, values: Vector) -> Vector:
        """What each cell leads to: what followed on it, and the less often it was seen, the more the mean of all."""
        anything = sum([value * often for value, often in zip(values, self._often, strict=True)])
        return [
            doubt * anything + (1 - doubt) * sum([share * values[to] for to, share in row])
            for doubt, row in zip(self._doubt, self.chain.follow, strict=True)
        ]


def _place(grid: Sequence[float], slack_s: float) -> tuple[int, float]:
    """Between which points of the grid a slack lies: (the lower one, how far towards the next)."""
    low = min(bisect_right(grid, slack_s) - 1, len(grid) - 1)
    if low == len(grid) - 1:
        return low, 0.0
    return low, (slack_s - grid[low]) / (grid[low + 1] - grid[low])
