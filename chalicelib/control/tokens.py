"""The launch tokens of one pass: taken once for all launches it is about to send, before any row is written."""

from __future__ import annotations

from chalicelib.core import rationing
from chalicelib.core.bucket import Ask, dated_anew
from chalicelib.core.plan import Plan
from chalicelib.errors import StoreUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


class Tokens:
    """What one pass holds of the bucket that all pools share (core/bucket.py); what it has not spent at its end goes back."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._held: dict[str, list[int]] = {}  # region → calls that may still be sent, and for how many hosts in all
        self._taken_at: dict[str, float] = {}

    def ration(self, plan: Plan) -> Plan:
        """The plan as far as there are tokens for its launches; they are taken."""
        now, taken = self._plane.clock(), {}
        for region, asks in rationing.asks(plan).items():
            got = taken[region] = self._plane.stores.buckets.take(region, asks, now)
            hosts = sum(int(ask.hosts) for ask in asks[: got.whole]) + got.part
            self._held[region] = [got.whole + bool(got.part), hosts]
            self._taken_at[region] = now
        return rationing.rationed(plan, taken, now)

    def spend(self, region: str, hosts: int) -> float | None:
        """Ask, right before it is sent, whether one call for so many hosts may be sent now: None, or when it may be."""
        now = self._plane.clock()
        ask: Ask | None = Ask(hosts, whole=True)
        held = self._held.get(region)
        if held and held[0]:
            held[0], held[1] = held[0] - 1, max(0, held[1] - hosts)
            ask = dated_anew(hosts, now - self._taken_at[region])
        while ask is not None:
            if (next_at := self._plane.stores.buckets.take(region, [ask], now).next_at) is not None:
                return next_at
            ask, now = (
                dated_anew(hosts, self._plane.clock() - now),
                self._plane.clock(),
            )  # the take itself may have taken long
        return None

    def __enter__(self) -> Tokens:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Out of time, overtaken, failed: a thousand hosts are a whole bucket. A function that dies gives nothing back."""
        if kind is not None and not issubclass(kind, Exception):
            return
        for region, (calls, hosts) in self._held.items():
            if calls:
                try:
                    self._plane.stores.buckets.take(region, [Ask(-hosts, -calls)], self._plane.clock())
                except StoreUnavailable as error:  # the bucket fills up again by itself
                    log.warning("launch tokens could not be given back", extra={"region": region, "error": str(error)})
