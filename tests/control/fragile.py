"""The control plane on parts that fail: its functions may die, be refused, or be overtaken just before or after any call.

A `Fuse` counts every call to tables and AWS; what is ordered for the n-th one happens there. The agents and the town itself
work on the whole parts beneath.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from town import Crash, Town

from chalicelib.errors import CloudUnavailable, StoreUnavailable
from chalicelib.store.told import told

Fault = Callable[[type[Exception]], None]  # is given the error that this part raises when it does not answer


class Fuse:
    """Counts calls to tables and AWS; burns through at the chosen ones, and lets happen there what was ordered."""

    def __init__(self) -> None:
        self.calls = 0
        self.burn_at: set[int] = set()
        self.orders: dict[int, list[Fault]] = {}
        self.chance: Callable[[], Fault | None] = lambda: None  # what else may happen at any call
        self.overtime: Callable[[], bool] = lambda: False  # whether Lambda has ended the running function

    def order(self, calls_from_now: int, fault: Fault) -> None:
        """Something is to happen at a call to come."""
        self.orders.setdefault(self.calls + calls_from_now, []).append(fault)

    def heal(self) -> None:
        """Nothing more happens."""
        self.burn_at.clear()
        self.orders.clear()
        self.chance = lambda: None

    def blow(self, error: type[Exception]) -> None:
        self.calls += 1
        if self.calls in self.burn_at or self.overtime():
            raise Crash
        for fault in self.orders.pop(self.calls, ()):
            fault(error)
        if (fault := self.chance()) is not None:
            fault(error)


class Fragile:
    """Any part of stores or cloud; its caller may die just before or just after each call."""

    def __init__(self, part: Any, fuse: Fuse, error: type[Exception]) -> None:
        self._part = part
        self._fuse = fuse
        self._error = error

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._fuse.blow(self._error)
            result = value(*args, **kwargs)
            self._fuse.blow(self._error)
            return result

        return call


def fragile(town: Town) -> Fuse:
    """Let the control plane (not the agents, not the town) work through fragile parts."""
    fuse = Fuse()
    names = type(town.stores).__dataclass_fields__
    stores = type(town.stores)(**{n: Fragile(getattr(town.stores, n), fuse, StoreUnavailable) for n in names})
    cloud: Any = type("FragileCloud", (), {})()
    for name in ("compute", "groups", "blobs", "queues", "notices", "outside", "secrets"):
        setattr(cloud, name, Fragile(getattr(town.plane.cloud, name), fuse, CloudUnavailable))
    town.plane = replace(town.plane, stores=told(stores), cloud=cloud)
    return fuse


def crash(_: type[Exception]) -> None:
    """The function dies here."""
    raise Crash


def unavailable(error: type[Exception]) -> None:
    """This call is not answered; nobody knows whether it did anything."""
    raise error("it does not answer now")
