"""What a job would cost somebody who knows all prices to come: the yardstick of the back-test.

Exact dynamic programming, backwards over saved chunks × ticks × where the job is (waiting, or on a host of one of the zones). Everything
that takes time in the world (a launch, a chunk with its save) is a multiple of a tick, and every strategy decides on ticks, so
the ticks are no approximation: this is the least cost of any strategy in `spot_world`, hence a lower bound of all of them. Two kinds
of moves are left out since they cannot help: to give up a host with unsaved work (the time before could have been spent waiting, for
nothing), and to be interrupted (with no limit on the price, a host is given up exactly when one wants).

For `k` chunks saved, at tick `t`:
    run[k][z][t]  = paid(z, t, t + chunk) + at[k + 1][z][t + chunk]      the next chunk on the host in z
    wait[k][t]    = min(wait[k][t + 1], min over z: paid(z, t, t + launch) + run[k][z][t + launch], the rest on demand if it is in time)
    at[k][z][t]   = min(run[k][z][t], wait[k][t])                        leaving is free
A job whose length is no multiple of a tick ends inside one; its last chunk is paid to the second.
"""

from __future__ import annotations

import math
from itertools import accumulate

from chalicelib.core.spot_history import Market, Steps
from chalicelib.core.spot_world import TICK_S, Outcome, Terms, Window


def clairvoyant(market: Market, terms: Terms, begin: float) -> Outcome:
    """The cheapest way through the prices from `begin` (a tick) that meets the deadline.

    Where not even on demand at once meets it, that is the answer.
    """
    return _Search(market, terms, begin).best()


def paid_by_tick(steps: Steps, begin: float, ticks: int) -> list[float]:
    """What a host costs from `begin` to each of the next ticks, in USD; `ticks + 1` figures."""
    total, out = 0.0, [0.0]
    spans = steps.spans(begin, begin + ticks * TICK_S) if ticks else []
    room = float(TICK_S)
    for seconds, usd_h in spans:
        rate = usd_h / 3600
        while seconds >= room:
            total += rate * room
            out.append(total)
            seconds -= room
            room = float(TICK_S)
        total += rate * seconds
        room -= seconds
    if len(out) <= ticks:  # a last tick that fractions of seconds left open
        out.append(total)
    return out


class _Search:
    def __init__(self, market: Market, terms: Terms, begin: float) -> None:
        self.market, self.terms, self.begin = market, terms, begin
        self.ticks = terms.deadline_s // TICK_S
        self.paid = {zone: paid_by_tick(steps, begin, self.ticks) for zone, steps in market.zones.items()}
        self.launch = terms.launch_s // TICK_S
        self.wait: dict[int, list[float]] = {}
        self.run: dict[int, dict[str, list[float]]] = {}

    def best(self) -> Outcome:
        self._fill()
        if not self.wait or math.isinf(self.wait[0][0]):
            return self._on_demand(self.begin, 0, [])
        return self._path()

    def _fill(self) -> None:
        terms, size = self.terms, self.ticks + 1
        at = {zone: [0.0] * size for zone in self.paid}
        for saved in range(terms.chunks - 1, -1, -1):
            chunk = math.ceil(terms.chunk_s(saved) / TICK_S)
            early = chunk * TICK_S - terms.chunk_s(saved)  # of the last tick, what is not paid
            never = [math.inf] * min(size, chunk)
            run: dict[str, list[float]] = {}
            for zone, paid in self.paid.items():
                costs = [late - soon for soon, late in zip(paid, paid[chunk:], strict=False)]
                if early:
                    steps = self.market.zones[zone]
                    costs = [
                        steps.paid(self.begin + t * TICK_S, self.begin + t * TICK_S + terms.chunk_s(saved))
                        for t in range(len(costs))
                    ]
                run[zone] = [cost + after for cost, after in zip(costs, at[zone][chunk:], strict=True)] + never
            moves = [self._on_demand_costs(saved)]
            for zone, paid in self.paid.items():
                launched = [
                    late - soon + after
                    for soon, late, after in zip(paid, paid[self.launch :], run[zone][self.launch :], strict=False)
                ]
                moves.append(launched + [math.inf] * (size - len(launched)))
            wait = list(accumulate(reversed([min(each) for each in zip(*moves, strict=True)]), min))[::-1]
            self.wait[saved], self.run[saved] = wait, run
            at = {zone: [min(pair) for pair in zip(costs, wait, strict=True)] for zone, costs in run.items()}

    def _on_demand_costs(self, saved: int) -> list[float]:
        needed = self.terms.on_demand_s(saved)
        usd = self.market.on_demand_usd_h * needed / 3600
        last = (self.terms.deadline_s - needed) // TICK_S
        return [usd if t <= last else math.inf for t in range(self.ticks + 1)]

    def _on_demand(self, now: float, saved: int, windows: list[Window]) -> Outcome:
        end = now + self.terms.on_demand_s(saved)
        windows.append(Window("", now, end, self.market.on_demand_usd_h * (end - now) / 3600))
        return Outcome(self.begin, end, self.begin + self.terms.deadline_s, tuple(windows))

    def _path(self) -> Outcome:
        """Walk forward along the best moves."""
        windows: list[Window] = []
        tick, saved = 0, 0
        zone: str | None = None
        since = 0
        now = self.begin
        while saved < self.terms.chunks:
            wait = self.wait[saved]
            if zone is not None and self.run[saved][zone][tick] <= wait[tick]:
                now = self.begin + tick * TICK_S + self.terms.chunk_s(saved)
                tick += math.ceil(self.terms.chunk_s(saved) / TICK_S)
                saved += 1
                continue
            if zone is not None:
                windows.append(self._window(zone, since, self.begin + tick * TICK_S))
                zone = None
            now = self.begin + tick * TICK_S
            zone, usd = self._launch_at(tick, saved)
            on_demand = self._on_demand_costs(saved)[tick]
            if min(usd, on_demand) > wait[tick]:
                zone, tick = None, tick + 1
            elif on_demand < usd:
                return self._on_demand(now, saved, windows)
            else:
                since, tick = tick, tick + self.launch
        if zone is not None:
            windows.append(self._window(zone, since, now))
        return Outcome(self.begin, now, self.begin + self.terms.deadline_s, tuple(windows))

    def _launch_at(self, tick: int, saved: int) -> tuple[str | None, float]:
        """The best zone to launch in at a tick, and what the rest costs then."""
        ready = tick + self.launch
        if ready > self.ticks:
            return None, math.inf
        costs = {name: paid[ready] - paid[tick] + self.run[saved][name][ready] for name, paid in self.paid.items()}
        zone = min(costs, key=lambda name: (costs[name], name))
        return zone, costs[zone]

    def _window(self, zone: str, since: int, end: float) -> Window:
        begin = self.begin + since * TICK_S
        return Window(zone, begin, end, self.market.zones[zone].paid(begin, end))
