"""Which waiting attempts begin now. Pure, but for `capacity`, which asks the machine.

In the order they came; one that does not fit waits, and those behind it wait too: the control plane has placed them in this
order, and letting small ones pass would starve a wide one for ever. One that can never fit (larger than the host) begins when
the host is empty: the control plane chose this host, and waiting for ever helps nobody.
"""

from __future__ import annotations

import os
from typing import NamedTuple, Sequence

ROUNDING = 1e-6  # reservations of 0.1 cpu add up to a hair more than one


class Load(NamedTuple):
    """What an attempt reserves, or a host has: slots, cores, MiB."""

    slots: int
    cpu: float
    memory_mib: int


def total(loads: Sequence[Load]) -> Load:
    """The sum of reservations."""
    return Load(sum(x.slots for x in loads), sum(x.cpu for x in loads), sum(x.memory_mib for x in loads))


def fits(load: Load, used: Load, host: Load) -> bool:
    """Whether `load` can be added to `used` on `host`."""
    return (
        used.slots + load.slots <= host.slots
        and used.cpu + load.cpu <= host.cpu + ROUNDING
        and used.memory_mib + load.memory_mib <= host.memory_mib
    )


def admit(waiting: Sequence[Load], running: Sequence[Load], host: Load) -> int:
    """How many of `waiting`, from the front, begin now."""
    used = total(running)
    count = 0
    for load in waiting:
        alone = not running and count == 0
        if not alone and not fits(load, used, host):
            break
        used = total((used, load))
        count += 1
    return count


def capacity(slots: int) -> Load:
    """What this machine has."""
    with open("/proc/meminfo") as file:
        total_kib = int(file.readline().split()[1])
    return Load(slots, float(os.cpu_count() or 1), total_kib >> 10)
