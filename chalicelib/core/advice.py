"""Which instance types to choose: ranked by what a job-slot costs, or by how fast its core is.

Theory of operation. A host carries as many jobs at once as its slots allow, and as its cores and memory hold. The advisor's slots are
vCPUs + 1 (what Coursera's graders ran with: while one job waits for its disk or the network, another computes); a pool's own default
is one for each vCPU, because a pool guarantees what a job reserved. Coursera's other finding was to always choose the fastest cores: a
student waits for one job, not for many. Hence three orders: by `price` (of a slot), by `speed` (of a core), and by `work`: what an hour of
computing costs, a core being worth its speed, however many jobs share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from chalicelib.core.catalogue import InstanceType

EXTRA_SLOTS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a type must have. `cpu`, `memory_mib`: what one job reserves (cpu None: its share of the cores).

    `slots`, `slots_max`: how many jobs at once a host runs, at least and at most. `extra_slots`: more than vCPUs.
    `families`: only these, though they be burstable or previous: who names one knows it.
    """

    cpu: float | None = None
    memory_mib: int = 512
    arch: str | None = None
    slots: int = 1
    slots_max: int | None = None
    market: str = "on_demand"
    families: tuple[str, ...] = ()
    burstable: bool = False
    metal: bool = False
    previous: bool = False
    extra_slots: int = EXTRA_SLOTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One type as an offering. Prices in USD an hour."""

    name: str
    kind: InstanceType
    slots: int
    usd_h: float

    @property
    def usd_slot_h(self) -> float:
        return self.usd_h / self.slots

    @property
    def usd_work_h(self) -> float | None:
        """What the computing of an hour on a c7i's vCPU costs here; None where the speed is not known."""
        return self.usd_h / (min(self.slots, self.kind.vcpus) * self.kind.speed) if self.kind.speed else None


def slots(kind: InstanceType, wish: Wish) -> int:
    """How many such jobs a host of this type runs at once."""
    count = kind.vcpus + wish.extra_slots
    if wish.cpu:
        count = min(count, int(kind.vcpus / wish.cpu + 1e-9))
    if wish.memory_mib:
        count = min(count, kind.memory_for_jobs_mib // wish.memory_mib)
    return max(0, count)


def advise(
    types: Mapping[str, InstanceType], prices: Mapping[str, float], wish: Wish, by: str = "price"
) -> list[Advice]:
    """The types that do, best first; only those that have a price in `prices` (name → USD an hour)."""
    fit = [
        Advice(name=name, kind=types[name], slots=count, usd_h=usd_h)
        for name, usd_h in prices.items()
        if name in types and _allowed(name, types[name], wish)
        if (count := slots(types[name], wish)) >= max(1, wish.slots)
        if wish.slots_max is None or count <= wish.slots_max
    ]
    return ranked(fit, by)


def ranked(found: Iterable[Advice], by: str) -> list[Advice]:
    """In one of `ORDERS`; ties by price, then by name. KeyError for another order."""
    order = _KEYS[by]
    return sorted(found, key=lambda a: (*order(a), a.usd_h, a.name))


_KEYS: Mapping[str, Callable[[Advice], tuple[float, ...]]] = {
    "price": lambda a: (a.usd_slot_h, -a.kind.speed),
    "speed": lambda a: (-a.kind.speed, a.usd_slot_h),
    "work": lambda a: (inf if a.usd_work_h is None else a.usd_work_h,),
}
ORDERS = tuple(_KEYS)


def _allowed(name: str, kind: InstanceType, wish: Wish) -> bool:
    family, _, size = name.partition(".")
    return (
        (wish.arch is None or kind.arch == wish.arch)
        and (not wish.families or family in wish.families)
        and (wish.burstable or not kind.burstable or bool(wish.families))
        and (wish.metal or not size.startswith("metal"))
        and (wish.previous or kind.current or bool(wish.families))
        and (wish.market != "spot" or kind.spot)
    )
