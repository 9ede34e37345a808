"""Which waiting job goes onto which host: pure bookkeeping of rooms.

A room is what a host still has free. Entries are taken in rank order; one that does not fit is passed over, so nothing at the
head blocks what stands behind it. Among the rooms of the best tier that fit, the fullest is taken (best fit), so that big jobs still find
big rooms and idle hosts can leave. Rooms only shrink while placing: a reservation that found no room
answers for every reservation that is at least as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity
from chalicelib.core.host import Host
from chalicelib.core.job import Reservation

CPU_GRAIN = 1e-9  # cores are floats; sums of tenths must not refuse the last one


@dataclass(slots=True)
class Room:
    """What a host has free. `tier`: the lower is preferred whatever fits better.

    `sole_owner`: a host not yet launched takes its jobs along in its user data, which holds one owner's jobs only.
    """

    key: str
    tier: int
    total: Capacity
    cpu: float
    memory_mib: int
    slots: int
    sole_owner: bool = False
    taken: list[Entry] = field(default_factory=list)

    def fits(self, entry: Entry) -> bool:
        return (
            entry.slots <= self.slots
            and entry.memory_mib <= self.memory_mib
            and entry.cpu <= self.cpu + CPU_GRAIN
            and not (self.sole_owner and self.taken and self.taken[0].owner != entry.owner)
        )

    def take(self, entry: Entry) -> None:
        self.cpu -= entry.cpu
        self.memory_mib -= entry.memory_mib
        self.slots -= entry.slots
        self.taken.append(entry)

    def slack(self) -> float:
        """How empty it is, in shares of the whole; the fullest room has the least."""
        return self.cpu / self.total.cpu + self.memory_mib / self.total.memory_mib + self.slots / self.total.slots


def room_of(host: Host, tier: int) -> Room:
    """The room of a host: its capacity less what its assignments reserve."""
    return Room(
        key=host.id,
        tier=tier,
        total=Capacity(host.cpu, host.memory_mib, host.slots),
        cpu=host.cpu - sum(a.cpu for a in host.assignments),
        memory_mib=host.memory_mib - sum(a.memory_mib for a in host.assignments),
        slots=host.slots - sum(a.slots for a in host.assignments),
    )


def new_room(key: str, tier: int, total: Capacity) -> Room:
    """The room of a host that is still to be launched."""
    return Room(
        key=key,
        tier=tier,
        total=total,
        cpu=total.cpu,
        memory_mib=total.memory_mib,
        slots=total.slots,
        sole_owner=True,
    )


def place(
    entries: Iterable[Entry], rooms: list[Room], open_room: Callable[[Entry], Room | None] = lambda entry: None
) -> list[Entry]:
    """Put entries into rooms, in order; those that fit nowhere are returned in order.

    `open_room` is asked for a further room for an entry that fits in none; a room that it gives is appended to `rooms`.
    """
    left: list[Entry] = []
    refused: list[tuple[str, Reservation]] = []
    for entry in entries:
        wanted = entry.reservation
        if any(owner == entry.owner and _covers(wanted, other) for owner, other in refused):
            left.append(entry)
            continue
        room = _best(rooms, entry)
        if room is None and (room := open_room(entry)) is not None:
            rooms.append(room)
        if room is None:
            left.append(entry)
            refused.append((entry.owner, wanted))
        else:
            room.take(entry)
    return left


def _best(rooms: Sequence[Room], entry: Entry) -> Room | None:
    fitting = (room for room in rooms if room.fits(entry))
    return min(fitting, key=lambda room: (room.tier, room.slack(), room.key), default=None)


def _covers(wanted: Reservation, refused: Reservation) -> bool:
    """Whether `wanted` is at least as large as one that was refused, in every way."""
    return wanted.cpu >= refused.cpu and wanted.memory_mib >= refused.memory_mib and wanted.slots >= refused.slots
