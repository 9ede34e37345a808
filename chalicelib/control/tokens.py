"""The launch tokens of one pass: taken once for all launches it is about to send, before any row is written."""

from __future__ import annotations

from chalicelib.core import rationing
from chalicelib.core.bucket import Ask, dated_anew
from chalicelib.core.plan import Plan
from chalicelib.wiring import Plane


class Tokens:
    """What one pass holds of the bucket that all pools share (core/bucket.py)."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._held: dict[str, int] = {}  # region → calls that may still be sent
        self._taken_at: dict[str, float] = {}

    def ration(self, plan: Plan) -> Plan:
        """The plan as far as there are tokens for its launches; they are taken."""
        now, taken = self._plane.clock(), {}
        for region, asks in rationing.asks(plan).items():
            got = taken[region] = self._plane.stores.buckets.take(region, asks, now)
            self._held[region] = got.whole + bool(got.part)
            self._taken_at[region] = now
        return rationing.rationed(plan, taken, now)

    def spend(self, region: str, hosts: int) -> float | None:
        """Ask, right before it is sent, whether one call for so many hosts may be sent now: None, or when it may be."""
        now = self._plane.clock()
        ask: Ask | None = Ask(hosts, whole=True)
        if self._held.get(region):
            self._held[region] -= 1
            ask = dated_anew(hosts, now - self._taken_at[region])
        while ask is not None:
            if (next_at := self._plane.stores.buckets.take(region, [ask], now).next_at) is not None:
                return next_at
            ask, now = (
                dated_anew(hosts, self._plane.clock() - now),
                self._plane.clock(),
            )  # the take itself may have taken long
        return None
