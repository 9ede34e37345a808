"""The spot market: prices as they are replayed, and the interruption of every machine whose maximum price they pass.

A thread looks whenever the price of a machine that runs may have changed, and after every launch; it runs only while there are
prices. A machine's maximum is its request's MaxPrice, else the on-demand price, else (where nobody said one) there is none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol

from localcloud.gaps.ec2_launch_request import LaunchRequest, Refusal
from localcloud.instances.machine import Machine
from localcloud.market import price_file
from localcloud.market.price_file import Offer
from localcloud.market.price_route import PriceRoute
from localcloud.market.prices import Prices

log = logging.getLogger("localcloud.market")

LOOK_AGAIN_S = 60.0


class Interrupter(Protocol):
    """What of the fleet is needed here."""

    def interrupt(self, instance_id: str, in_s: float = 120.0) -> None: ...


class SpotMarket:
    """The conditions `spot_prices` and `spot_price`. `machines()` are all that the embedded cloud knows."""

    kinds: ClassVar[tuple[str, ...]] = ("spot_prices", "spot_price")

    def __init__(
        self,
        front: Any,
        fleet: Interrupter,
        machines: Callable[[], Iterable[Machine]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fleet, self._machines = fleet, machines
        self.prices = Prices(clock)
        self._route = PriceRoute(front, self.prices)
        self._told: dict[str, Any] = {}
        self._warning_s = 120.0
        self._look = threading.Condition()
        self._news = False
        self._watch: threading.Thread | None = None
        front.observe("ec2", "RunInstances", lambda *_: self._wake())

    def set(self, kind: str, fields: dict[str, Any]) -> None:
        """Replay a file, or put one price. Raises ValueError with a sentence."""
        if kind == "spot_price":
            self._put(fields)
        else:
            self._replay(fields)
        with self._look:
            if self._watch is None:
                self._watch = threading.Thread(target=self._watching, name="spot-market", daemon=True)
                self._watch.start()
        self._wake()

    def clear(self) -> None:
        """No prices: nobody is interrupted any more."""
        with self._look:
            watch, self._watch = self._watch, None
            self._look.notify_all()
        if watch is not None:
            watch.join(5)
        self.prices.clear()
        self._told = {}

    def listed(self) -> list[dict[str, Any]]:
        """What is replayed, and at which moment of the history it is."""
        replay = self.prices.replay
        put = [
            {"kind": "spot_price", "zone": o.zone, "instance_type": o.instance_type, "price": s.prices[-1]}
            for o, s in self.prices.by_hand.items()
        ]
        if replay is None:
            return put
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(replay.their_time(self.prices.clock())))
        return [{"kind": "spot_prices", **self._told, "now_at": moment}, *put]

    def limit(self, region: str, instance_type: str, max_price: float | None) -> float | None:
        """What a machine may cost at most, USD an hour."""
        return max_price if max_price is not None else self.prices.on_demand.get((region, instance_type))

    def refusal(self, request: LaunchRequest) -> Refusal | None:
        """EC2's answer to a spot launch in a zone whose price is above the maximum."""
        if request.market != "spot" or request.zone is None:
            return None
        price = self.prices.now(Offer(request.zone, request.instance_type))
        limit = self.limit(request.region, request.instance_type, request.max_price)
        if price is None or limit is None or price <= limit:
            return None
        return Refusal(
            "SpotMaxPriceTooLow",
            f"Your Spot request price of {limit:g} is lower than the minimum required Spot request fulfillment price of {price:g}.",
        )

    def _replay(self, fields: dict[str, Any]) -> None:
        speed, warning_s = fields["speed"], fields["warning_s"]
        if not all(isinstance(each, int | float) and each > 0 for each in (speed, warning_s)):
            raise ValueError(f"speed and warning_s must be numbers above 0, not {speed!r} and {warning_s!r}.")
        file = price_file.read(Path(str(fields["file"])))
        try:
            start = price_file.at(fields["start"]) if fields["start"] else file.begin
        except (TypeError, ValueError):
            raise ValueError(f"start must be a time like 2015-05-01T00:00:00Z, not {fields['start']!r}.") from None
        on_demand = fields["on_demand"] or {}
        if not isinstance(on_demand, dict) or not all(isinstance(each, int | float) for each in on_demand.values()):
            raise ValueError(f"on_demand must be an object of instance types and their USD an hour, not {on_demand!r}.")
        for offer in file.offers:
            if offer.instance_type in on_demand:
                file.on_demand[offer.zone[:-1], offer.instance_type] = float(on_demand[offer.instance_type])
        self.prices.begin(file, start, float(speed))
        self._warning_s = float(warning_s)
        self._told = fields

    def _put(self, fields: dict[str, Any]) -> None:
        zone, instance_type = str(fields["zone"]), str(fields["instance_type"])
        for name in ("price", "on_demand", "warning_s"):
            value = fields[name]
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float | None)
                or (name == "price" and value is None)
            ):
                raise ValueError(f"{name} must be a number, not {value!r}.")
        if fields["on_demand"] is not None:
            self.prices.on_demand[zone[:-1], instance_type] = float(fields["on_demand"])
        if fields["warning_s"] is not None:
            self._warning_s = float(fields["warning_s"])
        self.prices.put(Offer(zone, instance_type), f"{float(fields['price']):.6f}")

    def _wake(self) -> None:
        with self._look:
            self._news = True
            self._look.notify_all()

    def _watching(self) -> None:
        while True:
            with self._look:
                if self._watch is not threading.current_thread():
                    return
                self._news = False
            try:
                wait_s = self._look_at_all()
            except Exception:
                log.exception("the spot market stumbled")
                wait_s = LOOK_AGAIN_S
            with self._look:
                self._look.wait_for(lambda: self._news or self._watch is not threading.current_thread(), wait_s)

    def _look_at_all(self) -> float:
        """Interrupt whoever is outbid; how long until a price changes that concerns anyone."""
        spot = [
            m
            for m in self._machines()
            if m.market == "spot" and m.state in ("pending", "running") and m.interrupt_at is None
        ]
        concerned = set()
        for machine in spot:
            offer = Offer(machine.zone, machine.instance_type)
            price = self.prices.now(offer)
            limit = self.limit(machine.region, machine.instance_type, machine.max_price)
            if price is not None and limit is not None and price > limit:
                log.info("outbid instance=%s price=%g limit=%g", machine.id, price, limit)
                self._fleet.interrupt(machine.id, self._warning_s)
            else:
                concerned.add(offer)
        changes = [change for offer in concerned if (change := self.prices.next_change(offer)) is not None]
        return min(LOOK_AGAIN_S, max(0.0, min(changes) - self.prices.clock())) if changes else LOOK_AGAIN_S
