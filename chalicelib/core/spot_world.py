"""The world in which strategies for spot are compared, and its one way to pay: what a job costs when a strategy decides for it.

Time goes in ticks of 30 s: every decision is made on one. A launch takes 180 s, in which the host is billed and does nothing. On spot, each
10 min of progress is followed by a save of 30 s; what is not saved is lost with the host. EC2 takes a spot host back at the second at
which its price exceeds its max price; it is billed by the second at the market price until then, and the next decision is made on the next
tick. On demand is always to be had at list price, and needs no saves, since nobody takes it back. One host at a time.

A strategy is a function of what is known now: `State`, and `Prices`, which shows nothing later than now. `play` asks it: when it has no
host, on the next tick after any zone's price changed or when it asked to be woken; when it has one, on the next tick after that zone's
price changed and after each save.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from chalicelib.core.spot_history import Market, Steps

TICK_S = 30
NO_LIMIT = math.inf  # a max price that no market price exceeds


@dataclass(frozen=True, slots=True)
class Terms:
    """A job and what surrounds it. `work_s`: uninterrupted run time; `deadline_s`: after its start. Multiples of a tick, except `work_s`.

    `reclaims`: whether EC2 may also take a spot host back for its capacity, whatever its max price. In the world of the back-test it never
    does; on today's market it may.
    """

    work_s: int
    deadline_s: int
    checkpoint_s: int = 600
    save_s: int = 30
    launch_s: int = 180
    reclaims: bool = False

    def __post_init__(self) -> None:
        for name in ("deadline_s", "checkpoint_s", "save_s", "launch_s"):
            if getattr(self, name) % TICK_S or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, and must be a multiple of {TICK_S} s")
        if self.work_s < 1 or self.checkpoint_s < TICK_S:
            raise ValueError("a job works for at least a second, and saves at most once in a tick")

    @property
    def chunks(self) -> int:
        """How many pieces the work is saved in; the last one ends with the job itself, without a save."""
        return math.ceil(self.work_s / self.checkpoint_s)

    def left_s(self, saved: int) -> int:
        """The work that is left after `saved` chunks, in seconds."""
        return max(0, self.work_s - saved * self.checkpoint_s)

    def chunk_s(self, saved: int) -> int:
        """How long the next chunk takes on spot, its save included."""
        left = self.left_s(saved)
        return self.checkpoint_s + self.save_s if left > self.checkpoint_s else left

    def spot_s(self, saved: int) -> int:
        """How long the rest takes on a spot host that runs and is never taken back."""
        return self.left_s(saved) + max(0, self.chunks - saved - 1) * self.save_s

    def on_demand_s(self, saved: int) -> int:
        """How long the rest takes on demand, from the launch on."""
        return self.launch_s + self.left_s(saved)


@dataclass(frozen=True, slots=True)
class Host:
    """A spot host that is ours: `chunk_ends_at` is when the chunk that it is in (or launches for) is saved."""

    zone: str
    max_price_usd_h: float
    launched_at: float
    chunk_ends_at: float


@dataclass(frozen=True, slots=True)
class State:
    """Where a job is. `saved`: chunks that nobody can take away; `host`: None while it waits."""

    now: float
    deadline_at: float
    saved: int = 0
    host: Host | None = None
    interruptions: int = 0


class Prices:
    """What is known of a market at `now`; asking for later is an error, so no strategy looks ahead by mistake."""

    __slots__ = ("_market", "now")

    def __init__(self, market: Market, now: float) -> None:
        self._market = market
        self.now = now

    @property
    def zones(self) -> list[str]:
        return list(self._market.zones)

    @property
    def on_demand_usd_h(self) -> float:
        return self._market.on_demand_usd_h

    def at(self, zone: str) -> float:
        """The zone's price now, in USD an hour."""
        return self._market.zones[zone].at(self.now)

    def cheapest(self) -> str:
        """The zone that is cheapest now; of equals, the first by name."""
        return min(self._market.zones, key=lambda zone: (self.at(zone), zone))

    def past(self, zone: str, seconds: float, ends: float | None = None) -> list[tuple[float, float]]:
        """(seconds, USD an hour) of the zone's steps over the `seconds` before `ends` (default: now). ValueError for later than now."""
        until = self.now if ends is None else ends
        if until > self.now:
            raise ValueError("nobody knows the prices of tomorrow")
        return self._market.zones[zone].spans(until - seconds, until)

    def begins(self, zone: str) -> float:
        """Since when the zone's price is known."""
        return self._market.zones[zone].times[0]

    def means(self, zone: str, begin: float, every_s: float, count: int) -> list[float]:
        """The zone's mean price over each of `count` spans of `every_s` from `begin`; ValueError where one ends later than now."""
        if begin + every_s * count > self.now:
            raise ValueError("nobody knows the prices of tomorrow")
        steps: Steps = self._market.zones[zone]
        return [steps.mean(begin + every_s * number, begin + every_s * (number + 1)) for number in range(count)]

    def sampled(self, zone: str, begin: float, every_s: float, count: int) -> list[float]:
        """The zone's price at `begin`, `begin + every_s`, …; ValueError for later than now."""
        if begin + every_s * (count - 1) > self.now:
            raise ValueError("nobody knows the prices of tomorrow")
        steps: Steps = self._market.zones[zone]
        return [steps.at(begin + every_s * number) for number in range(count)]


class Do(Enum):
    """What a strategy can do next."""

    WAIT = auto()  # without a host; gives up the one that is there
    SPOT = auto()  # launch in a zone, giving up the host that is there
    STAY = auto()  # go on with the host that is there
    ON_DEMAND = auto()  # finish on demand, giving up the host that is there


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do and why. `zone` and `max_price_usd_h` with SPOT; `until` with WAIT: ask again then, if no price changed before."""

    do: Do
    reason: str
    zone: str = ""
    max_price_usd_h: float = NO_LIMIT
    until: float = math.inf


Strategy = Callable[[State, Prices], Choice]


@dataclass(frozen=True, slots=True)
class Window:
    """A host that was paid for: `zone` is "" on demand. `interrupted`: EC2 took it back."""

    zone: str
    begin: float
    end: float
    usd: float
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job went. `usd` is the sum of its windows."""

    begin: float
    end: float
    deadline_at: float
    windows: tuple[Window, ...] = ()
    decisions: tuple[tuple[float, Choice], ...] = field(default=(), compare=False)

    @property
    def usd(self) -> float:
        return math.fsum(window.usd for window in self.windows)

    @property
    def interruptions(self) -> int:
        return sum(window.interrupted for window in self.windows)

    @property
    def missed(self) -> bool:
        return self.end > self.deadline_at


def latest_on_demand(state: State, terms: Terms, saved: int | None = None) -> float:
    """The last tick at which the rest can still be finished on demand in time; `saved`: if so many chunks were saved."""
    needed = terms.on_demand_s(state.saved if saved is None else saved)
    return (state.deadline_at - needed) // TICK_S * TICK_S


def tick_after(when: float) -> float:
    """The first tick at or after a time."""
    return math.ceil(when / TICK_S) * TICK_S


def play(strategy: Strategy, market: Market, terms: Terms, begin: float, *, keep_decisions: bool = False) -> Outcome:
    """What becomes of a job that starts at `begin` (a tick) if `strategy` decides for it."""
    return _Game(strategy, market, terms, begin, keep_decisions).play()


class _Game:
    def __init__(self, strategy: Strategy, market: Market, terms: Terms, begin: float, keep: bool) -> None:
        if begin % TICK_S:
            raise ValueError(f"a job starts on a tick of {TICK_S} s")
        self.strategy, self.market, self.terms, self.begin, self.keep = strategy, market, terms, begin, keep
        self.state = State(now=begin, deadline_at=begin + terms.deadline_s)
        self.windows: list[Window] = []
        self.decisions: list[tuple[float, Choice]] = []

    def play(self) -> Outcome:
        while self.state.saved < self.terms.chunks:
            state = self.state
            choice = self.strategy(state, Prices(self.market, state.now))
            if self.keep:
                self.decisions.append((state.now, choice))
            if choice.do is Do.ON_DEMAND:
                self._finish_on_demand()
                break
            if choice.do is Do.WAIT:
                self._leave()
                self._wait(choice.until)
            elif choice.do is Do.SPOT:
                self._leave()
                self._launch(choice.zone, choice.max_price_usd_h)
            elif state.host is None:
                raise ValueError("there is no host to stay on")
            else:
                self._run(state.host)
        return Outcome(self.begin, self.state.now, self.state.deadline_at, tuple(self.windows), tuple(self.decisions))

    def _go(self, now: float, saved: int | None = None, host: Host | None = None, interrupted: int = 0) -> None:
        state = self.state
        self.state = State(
            now, state.deadline_at, state.saved if saved is None else saved, host, state.interruptions + interrupted
        )

    def _leave(self, interrupted_at: float | None = None) -> None:
        host = self.state.host
        if host is not None:
            end = self.state.now if interrupted_at is None else interrupted_at
            usd = self.market.zones[host.zone].paid(host.launched_at, end)
            self.windows.append(Window(host.zone, host.launched_at, end, usd, interrupted_at is not None))
            self._go(self.state.now)

    def _wait(self, until: float) -> None:
        now = self.state.now
        changes = [steps.next_change(now) for steps in self.market.zones.values()]
        nearest = min((change for change in changes if change is not None), default=math.inf)
        wake = min(nearest, max(until, now + TICK_S))
        if math.isinf(wake):
            raise ValueError("the strategy waits for ever")
        self._go(max(tick_after(wake), now + TICK_S))

    def _launch(self, zone: str, max_price_usd_h: float) -> None:
        now = self.state.now
        if self.market.zones[zone].at(now) > max_price_usd_h:
            raise ValueError("a launch whose max price is below the market's is refused")
        first = now + self.terms.launch_s + self.terms.chunk_s(self.state.saved)
        host = Host(zone, max_price_usd_h, now, first)
        self._go(now, host=host)
        self._run(host)

    def _run(self, host: Host) -> None:
        """Until the chunk is saved, the host is lost, or there is something to decide."""
        now, steps = self.state.now, self.market.zones[host.zone]
        end = host.chunk_ends_at
        lost_at = steps.next_above(host.max_price_usd_h, now, end)
        change = steps.next_change(now)
        look_at = math.inf if change is None else max(tick_after(change), now + TICK_S)
        if lost_at is not None and lost_at <= look_at:
            self._leave(interrupted_at=lost_at)
            self._go(max(tick_after(lost_at), now), interrupted=1)
        elif look_at < end:
            self._go(look_at, host=host)
        else:
            saved = self.state.saved + 1
            self._go(
                end, saved, Host(host.zone, host.max_price_usd_h, host.launched_at, end + self.terms.chunk_s(saved))
            )
            if saved == self.terms.chunks:
                self._leave()

    def _finish_on_demand(self) -> None:
        self._leave()
        now = self.state.now
        end = now + self.terms.on_demand_s(self.state.saved)
        self.windows.append(Window("", now, end, self.market.on_demand_usd_h * (end - now) / 3600))
        self._go(end, self.terms.chunks)
