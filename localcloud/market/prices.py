"""Spot prices now and before: a history file replayed from a chosen moment, and prices set by hand over it.

Theory of operation. The replay maps our clock onto the history: the moment `began` of our clock is the moment `start` of the file; after it
the history runs `speed` times as fast, before it it ran at its own pace. So whoever asks for the last seven days, by our clock, gets
the file's seven days before `start`, and prices change faster only from now on. Times go in and out by our clock.
A price set by hand holds from its moment on, until the next one by hand: the replay of that offer is over.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from localcloud.market.price_file import Offer, PriceFile, Series


@dataclass(frozen=True)
class Price:
    """From `at` (our clock) on, `offer` costs `price` (USD an hour, as text: EC2 and the file write it so)."""

    at: float
    offer: Offer
    price: str


@dataclass
class Replay:
    """A history from `start` (its time), begun at `began` (our time)."""

    file: PriceFile
    start: float
    began: float
    speed: float

    def their_time(self, now: float) -> float:
        """The moment of the history that `now` is."""
        since = now - self.began
        return self.start + since * (self.speed if since > 0 else 1.0)

    def our_time(self, at: float) -> float:
        """When it is `at` in the history."""
        since = at - self.start
        return self.began + since / (self.speed if since > 0 else 1.0)


@dataclass
class Prices:
    """All spot prices. `clock` answers epoch seconds. Safe in threads."""

    clock: Callable[[], float]
    replay: Replay | None = None
    by_hand: dict[Offer, Series] = field(default_factory=dict)
    on_demand: dict[tuple[str, str], float] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, file: PriceFile, start: float, speed: float) -> None:
        """Replay a file from `start` (its time) on; what was set by hand is forgotten."""
        with self._lock:
            self.by_hand.clear()
            self.on_demand = dict(file.on_demand)
            self.replay = Replay(file, start, self.clock(), speed)

    def put(self, offer: Offer, price: str) -> None:
        """From now on `offer` costs this."""
        with self._lock:
            series = self.by_hand.setdefault(offer, Series())
            series.times.append(self.clock())
            series.prices.append(price)

    def clear(self) -> None:
        """No prices at all."""
        with self._lock:
            self.replay = None
            self.by_hand.clear()
            self.on_demand.clear()

    def offers(self) -> list[Offer]:
        """What there is a price of."""
        with self._lock:
            return sorted(
                {*self.by_hand, *(self.replay.file.offers if self.replay else ())},
                key=lambda o: (o.zone, o.instance_type, o.product),
            )

    def now(self, offer: Offer) -> float | None:
        """What an offer costs now; None when nothing is known of it."""
        now = self.clock()
        last = next(iter(self.newest_first(offer, now, now)), None)
        return float(last.price) if last else None

    def next_change(self, offer: Offer) -> float | None:
        """When the price of an offer changes next (our time); None when it does not."""
        with self._lock:
            if self.replay is None or offer in self.by_hand or offer not in self.replay.file.offers:
                return None
            times = self.replay.file.offers[offer].times
            after = bisect.bisect_right(times, self.replay.their_time(self.clock()))
            return self.replay.our_time(times[after]) if after < len(times) else None

    def newest_first(self, offer: Offer, since: float, until: float) -> Iterator[Price]:
        """The changes in [since, until], and the one before, whose price was valid at `since`."""
        with self._lock:
            hand = self.by_hand.get(offer, Series())
            replay = self.replay
        after = bisect.bisect_right(hand.times, until)
        for number in range(after - 1, -1, -1):
            yield Price(hand.times[number], offer, hand.prices[number])
            if hand.times[number] <= since:
                return
        if replay is None or offer not in replay.file.offers:
            return
        series = replay.file.offers[offer]
        latest = replay.their_time(min(until, hand.times[0]) if hand.times else until)
        for number in range(bisect.bisect_right(series.times, latest) - 1, -1, -1):
            when = replay.our_time(series.times[number])
            yield Price(when, offer, series.prices[number])
            if when <= since:
                return


def written(at: float) -> str:
    """A time as EC2 writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
