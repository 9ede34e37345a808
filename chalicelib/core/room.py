"""A room: what a host, one that is there or one still to be launched, has free for jobs. Bookkeeping, no decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity
from chalicelib.core.host import Host, Offering

CPU_GRAIN = 1e-9  # cores are floats; sums of tenths must not refuse the last one
NEW_TIER = 3


@dataclass(slots=True)
class Room:
    """What a host has free. `tier`: the lower is preferred whatever fits better.

    `exclusive`: takes one job at a time. `newest`: when it was launched, in a tier whose newest rooms come first; else 0.
    `used`: carries assignments already. `taken`: what this placing put there.
    `domain`: the owner whose jobs it takes; None: whoever comes first. `open`: it is empty, and another owner may follow (`share_hosts`).
    """

    key: str
    tier: int
    total: Capacity
    cpu: float
    memory_mib: int
    slots: int
    holds: frozenset[str] = frozenset()
    exclusive: bool = False
    newest: float = 0.0
    offering: Offering | None = None
    used: bool = False
    domain: str | None = None
    open: bool = False
    taken: list[Entry] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more, however small."""
        return self.exclusive and (self.used or bool(self.taken))

    @property
    def on_demand(self) -> bool:
        """Whether EC2 leaves its host to us for as long as we want it."""
        return self.offering is None or self.offering.market != "spot"

    @property
    def free(self) -> bool:
        """Whether it is anybody's to take."""
        return self.domain is None or self.open

    def serves(self, owner: str) -> bool:
        return self.domain == owner or self.free

    def fits(self, entry: Entry) -> bool:
        return self.serves(entry.owner) and self.has(entry)

    def has(self, entry: Entry) -> bool:
        """Whether it is large enough, whomever it serves."""
        return (
            entry.slots <= self.slots
            and entry.memory_mib <= self.memory_mib
            and entry.cpu <= self.cpu + CPU_GRAIN
            and not self.closed
        )

    def take(self, entry: Entry) -> None:
        self.cpu -= entry.cpu
        self.memory_mib -= entry.memory_mib
        self.slots -= entry.slots
        self.taken.append(entry)
        if self.free:
            self.open = False
            if self.domain != entry.owner:
                self.domain, self.holds = entry.owner, frozenset()  # what another owner left there is gone by then

    def slack(self) -> float:
        """How empty it is, in shares of the whole; the fullest room has the least."""
        total = self.total
        return self.cpu / total.cpu + self.memory_mib / total.memory_mib + self.slots / total.slots


@lru_cache(maxsize=64)  # a pool has few sizes and thousands of hosts
def _size(cpu: float, memory_mib: int, slots: int) -> Capacity:
    return Capacity(cpu, memory_mib, slots)


def room_of(host: Host, tier: int, exclusive: bool = False, share: bool = False) -> Room:
    """The room of a host: its capacity less what its assignments reserve. In tier 1 the newest host comes first.

    `share`: whether it may serve another owner once it is empty; one on which an install ran is changed for good, and its owner's for life.
    """
    domain = host.serves
    cpu, memory_mib, slots = host.cpu, host.memory_mib, host.slots
    for a in host.assignments:
        cpu -= a.cpu
        memory_mib -= a.memory_mib
        slots -= a.slots
    return Room(
        key=host.id,
        tier=tier,
        total=_size(host.cpu, host.memory_mib, host.slots),
        cpu=cpu,
        memory_mib=memory_mib,
        slots=slots,
        holds=host.holds,
        exclusive=exclusive,
        newest=host.launched_at if tier == 1 else 0.0,
        offering=host.offering,
        used=bool(host.assignments),
        domain=domain,
        open=share and domain is not None and not host.assignments and not host.installs_at,
    )
